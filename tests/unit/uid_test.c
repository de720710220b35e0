/* uid_test - PS3.5 section 9 by its edges; transfer syntaxes that HealthImaging lists, and those that only look like one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/dicom/uid.h"

#include <string.h>

static void uid_edges(void **state)
{
    (void)state;
    char long_uid[66];
    memset(long_uid, '1', sizeof long_uid);
    long_uid[64] = '\0';
    static const char *const legal[] = {"1", "0", "1.2", "1.2.840.10008.1.2", "2.25.329800735698586629295641978511506172918", "1.02.3"};
    static const char *const illegal[] = {"", ".", "1.", ".1", "1..2", "1.2 ", " 1.2", "1.2.a", "1.2\n", "../../etc/passwd", "1,2", "1.-2", "1.2?"};
    for (size_t i = 0; i < sizeof legal / sizeof legal[0]; i++) {
        assert_true(dicom_uid_is_legal(legal[i]));
    }
    for (size_t i = 0; i < sizeof illegal / sizeof illegal[0]; i++) {
        assert_false(dicom_uid_is_legal(illegal[i]));
    }
    assert_true(dicom_uid_is_legal(long_uid));
    long_uid[64] = '1';
    long_uid[65] = '\0';
    assert_false(dicom_uid_is_legal(long_uid));
}

static void leading_zeros(void **state)
{
    (void)state;
    assert_true(dicom_uid_has_leading_zero("1.02.3"));
    assert_true(dicom_uid_has_leading_zero("01.2"));
    assert_true(dicom_uid_has_leading_zero("1.2.00"));
    assert_false(dicom_uid_has_leading_zero("1.0.2.0"));
    assert_false(dicom_uid_has_leading_zero("1.10.200"));
    assert_false(dicom_uid_has_leading_zero(""));
}

static void ae_titles(void **state)
{
    (void)state;
    assert_true(dicom_ae_is_legal("STORESCP"));
    assert_true(dicom_ae_is_legal("CT SCANNER 12345"));
    assert_false(dicom_ae_is_legal("CT SCANNER 123456"));
    assert_false(dicom_ae_is_legal(""));
    assert_false(dicom_ae_is_legal("   "));
    assert_false(dicom_ae_is_legal("A\\B"));
    assert_false(dicom_ae_is_legal("A\nB"));
    assert_false(dicom_ae_is_legal("\xc3\xa4"));
}

static void transfer_syntaxes(void **state)
{
    (void)state;
    static const char *const imported[] = {
        "1.2.840.10008.1.2",         "1.2.840.10008.1.2.1",       "1.2.840.10008.1.2.1.99",    "1.2.840.10008.1.2.2",
        "1.2.840.10008.1.2.4.50",    "1.2.840.10008.1.2.4.51",    "1.2.840.10008.1.2.4.57",    "1.2.840.10008.1.2.4.70",
        "1.2.840.10008.1.2.4.80",    "1.2.840.10008.1.2.4.81",    "1.2.840.10008.1.2.4.90",    "1.2.840.10008.1.2.4.91",
        "1.2.840.10008.1.2.4.92",    "1.2.840.10008.1.2.4.93",    "1.2.840.10008.1.2.4.112",   "1.2.840.10008.1.2.4.201",
        "1.2.840.10008.1.2.4.202",   "1.2.840.10008.1.2.4.203",   "1.2.840.10008.1.2.5",       "1.2.840.10008.1.2.4.100",
        "1.2.840.10008.1.2.4.100.1", "1.2.840.10008.1.2.4.101",   "1.2.840.10008.1.2.4.101.1", "1.2.840.10008.1.2.4.102",
        "1.2.840.10008.1.2.4.102.1", "1.2.840.10008.1.2.4.103",   "1.2.840.10008.1.2.4.103.1", "1.2.840.10008.1.2.4.104",
        "1.2.840.10008.1.2.4.104.1", "1.2.840.10008.1.2.4.105",   "1.2.840.10008.1.2.4.105.1", "1.2.840.10008.1.2.4.106",
        "1.2.840.10008.1.2.4.106.1", "1.2.840.10008.1.2.4.107",   "1.2.840.10008.1.2.4.108"};
    for (size_t i = 0; i < sizeof imported / sizeof imported[0]; i++) {
        const struct dicom_ts *t = dicom_ts_find(imported[i]);
        assert_non_null(t);
        assert_true(t->imported);
        assert_true(dicom_ts_is_standard(imported[i]));
    }
    assert_false(dicom_ts_find("1.2.840.10008.1.2.4.110")->imported);
    assert_null(dicom_ts_find("1.2.840.10008.1.2.8.1"));
    assert_true(dicom_ts_is_standard("1.2.840.10008.1.2.8.1"));
    /* the bug this guards: a prefix is not a root */
    assert_false(dicom_ts_is_standard("1.2.840.10008.1.20"));
    assert_false(dicom_ts_is_standard("1.2.840.10008.1.2."));
    assert_false(dicom_ts_is_standard("1.2.840.113619.5.2"));
    assert_false(dicom_ts_is_standard(""));
    assert_int_equal(dicom_ts_kind_of("1.2.840.10008.1.2"), DICOM_TS_IMPLICIT);
    assert_int_equal(dicom_ts_kind_of("1.2.840.10008.1.2.2"), DICOM_TS_BIG_ENDIAN);
    assert_int_equal(dicom_ts_kind_of("1.2.840.10008.1.2.4.95"), DICOM_TS_DEFLATED);
    assert_int_equal(dicom_ts_kind_of("9.9"), DICOM_TS_EXPLICIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(uid_edges), cmocka_unit_test(leading_zeros), cmocka_unit_test(ae_titles),
                                       cmocka_unit_test(transfer_syntaxes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
