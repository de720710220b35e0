/* command - command sets as real senders and hostile ones make them (PS3.7 annex E). */
#include "common/dicom/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* (0000,0002) with NUL padding, (0000,0100) C-STORE, (0000,0110) 0x1234, (0000,0800) present, (0000,1000) with space padding */
static const unsigned char request[] = {0, 0, 2,    0,    18, 0, 0, 0, '1', '.', '2', '.', '8', '4', '0', '.', '1', '0', '0', '0', '8', '.', '1', '.', '1', 0,
                                        0, 0, 0,    1,    2,  0, 0, 0, 1,   0,   0,   0,   0x10, 1,  2,   0,   0,   0,   0x34, 0x12,
                                        0, 0, 0,    8,    2,  0, 0, 0, 0,   0,   0,   0,   0,   0x10, 4,  0,   0,   0,   '1', '.', '2', ' '};

static void test_request(void **state)
{
    struct command c;
    (void)state;
    assert_int_equal(command_parse(request, sizeof request, &c, NULL), 0);
    assert_int_equal(c.field, COMMAND_C_STORE_RQ);
    assert_int_equal(c.message_id, 0x1234);
    assert_true(c.has_data_set);
    assert_false(c.uid_unusable);
    assert_string_equal(c.sop_class_uid, "1.2.840.10008.1.1");
    assert_string_equal(c.sop_instance_uid, "1.2");
}

/* (0000,0700): 1 is HIGH; what has another length is no reason to refuse anything (PS3.7 section 9.3.1.1). */
static void test_priority(void **state)
{
    static const unsigned char high[] = {0, 0, 0, 7, 2, 0, 0, 0, 1, 0};
    static const unsigned char odd[] = {0, 0, 0, 7, 4, 0, 0, 0, 1, 0, 0, 0};
    unsigned char all[sizeof request + sizeof odd];
    struct command c;
    (void)state;
    assert_int_equal(command_parse(request, sizeof request, &c, NULL), 0);
    assert_int_equal(c.priority, 0);
    memcpy(all, request, sizeof request);
    memcpy(all + sizeof request, high, sizeof high);
    assert_int_equal(command_parse(all, sizeof request + sizeof high, &c, NULL), 0);
    assert_int_equal(c.priority, COMMAND_PRIORITY_HIGH);
    memcpy(all + sizeof request, odd, sizeof odd);
    assert_int_equal(command_parse(all, sizeof request + sizeof odd, &c, NULL), 0);
    assert_int_equal(c.priority, 0);
}

/* Cut anywhere, it is either refused or complete by what it still holds; it is never read beyond its end (the copies are exact for ASan). */
static void test_every_cut(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof request; n++) {
        unsigned char *copy = malloc(n ? n : 1);
        struct command c;
        struct err e = {0};
        memcpy(copy, request, n);
        int rc = command_parse(copy, n, &c, &e);
        assert_int_equal(rc, n == sizeof request - 12 ? 0 : ERR_PROTOCOL);
        assert_true(rc == 0 || e.text[0] != '\0');
        free(copy);
    }
}

static void test_lengths_that_lie(void **state)
{
    unsigned char copy[sizeof request];
    struct command c;
    (void)state;
    memcpy(copy, request, sizeof copy);
    memset(copy + 4, 0xff, 4);
    assert_int_equal(command_parse(copy, sizeof copy, &c, NULL), ERR_PROTOCOL);
    memcpy(copy, request, sizeof copy);
    copy[30] = 1; /* (0000,0100) of one byte */
    assert_int_equal(command_parse(copy, sizeof copy, &c, NULL), ERR_PROTOCOL);
    memcpy(copy, request, sizeof copy);
    copy[0] = 8; /* not group 0000 */
    assert_int_equal(command_parse(copy, sizeof copy, &c, NULL), ERR_PROTOCOL);
}

static void test_uids_that_are_none(void **state)
{
    unsigned char long_one[36 + 8 + 100];
    struct command c;
    (void)state;
    memcpy(long_one, request + 26, 30);
    unsigned char head[8] = {0, 0, 0, 0x10, 100, 0, 0, 0};
    memcpy(long_one + 30, head, 8);
    memset(long_one + 38, '1', 100);
    assert_int_equal(command_parse(long_one, 138, &c, NULL), 0);
    assert_true(c.uid_unusable);
    long_one[34] = 70; /* more than a UID may have, and kept as it came: the validator judges */
    assert_int_equal(command_parse(long_one, 108, &c, NULL), 0);
    assert_false(c.uid_unusable);
    assert_int_equal(strlen(c.sop_instance_uid), 70);
    long_one[40] = '\n';
    assert_int_equal(command_parse(long_one, 108, &c, NULL), 0);
    assert_true(c.uid_unusable);
}

static void test_response_reads_back(void **state)
{
    unsigned char out[COMMAND_RESPONSE_MAX];
    struct command c;
    struct command back;
    (void)state;
    assert_int_equal(command_parse(request, sizeof request, &c, NULL), 0);
    memset(c.sop_class_uid, '1', sizeof c.sop_class_uid - 1); /* the longest of all */
    memset(c.sop_instance_uid, '2', sizeof c.sop_instance_uid - 1);
    size_t n = command_response(out, &c, 0xa700, "0123456789012345678901234567890123456789012345678901234567890123456789");
    assert_true(n <= sizeof out && n % 2 == 0);
    assert_int_equal(out[8] | out[9] << 8, n - 12); /* group length */
    assert_int_equal(command_parse(out, n, &back, NULL), 0);
    assert_int_equal(back.field, 0x8001);
    assert_int_equal(back.message_id, 0x1234);
    assert_false(back.has_data_set);
    assert_string_equal(back.sop_instance_uid, c.sop_instance_uid);
    assert_non_null(memmem(out, n, "\x00\x00\x00\x09\x02\x00\x00\x00\x00\xa7", 10));
    assert_non_null(memmem(out, n, "\x00\x00\x02\x09\x40\x00\x00\x00" "0123", 12));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_priority), cmocka_unit_test(test_request), cmocka_unit_test(test_every_cut), cmocka_unit_test(test_lengths_that_lie),
                                       cmocka_unit_test(test_uids_that_are_none), cmocka_unit_test(test_response_reads_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
