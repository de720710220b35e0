/* requestor - what a peer may answer to an association request of ours (PS3.8 section 9.3.3), and the addresses that people write. */
#include "common/dicom/requestor.h"
#include "receiver/address.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CLASS "1.2.840.10008.1.20.1"

/* An acceptance with the context's result and transfer syntax, and the role of SCP (-1: not a word of roles). */
static size_t acceptance(unsigned char out[256], int result, const char *syntax, int role)
{
    size_t n = 68;
    size_t length = strlen(syntax);
    memset(out, 0, 256);
    unsigned char context[12] = {0x21, 0, 0, (unsigned char)(8 + length), 1, 0, (unsigned char)result, 0, 0x40, 0, 0, (unsigned char)length};
    memcpy(out + n, context, 12);
    memcpy(out + n + 12, syntax, length);
    n += 12 + length;
    unsigned char user[12] = {0x50, 0, 0, (unsigned char)(role < 0 ? 8 : 36), 0x51, 0, 0, 4, 0, 0, 0x40, 0};
    memcpy(out + n, user, 12);
    n += 12;
    if (role >= 0) {
        unsigned char head[6] = {0x54, 0, 0, 24, 0, 20};
        memcpy(out + n, head, 6);
        memcpy(out + n + 6, CLASS, 20);
        out[n + 26] = 0;
        out[n + 27] = (unsigned char)role;
        n += 28;
    }
    return n;
}

static int read_exactly(const unsigned char *bytes, size_t count, struct message_link *link, struct err *e)
{
    unsigned char *copy = malloc(count ? count : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, count);
    memset(link, 0, sizeof *link);
    int rc = requestor_read_acceptance(copy, count, link, CLASS, e);
    free(copy);
    return rc;
}

static void test_acceptance(void **state)
{
    static struct message_link link;
    unsigned char body[256];
    struct err e = {0};
    (void)state;
    for (int role = -1; role < 2; role += 2) {
        size_t n = acceptance(body, 0, "1.2.840.10008.1.2", role);
        assert_int_equal(read_exactly(body, n, &link, &e), 0);
        assert_true(link.contexts[1].accepted);
        assert_string_equal(link.contexts[1].transfer_syntax, "1.2.840.10008.1.2");
        assert_string_equal(link.contexts[1].abstract_syntax, CLASS);
        assert_int_equal(link.peer_maximum_pdu, 16384);
        /* cut anywhere it is an error or says less, and is never read beyond its end */
        for (size_t cut = 0; cut < n; cut++) {
            int rc = read_exactly(body, cut, &link, &e);
            assert_true(rc == ERR_PROTOCOL || (rc == 0 && cut >= 97));
        }
    }
}

static void test_refusals(void **state)
{
    static struct message_link link;
    unsigned char body[256];
    struct err e = {0};
    (void)state;
    assert_int_equal(read_exactly(body, acceptance(body, 0, "1.2.840.10008.1.2", 0), &link, &e), ERR_PROTOCOL);
    assert_non_null(strstr(e.text, "role"));
    assert_int_equal(read_exactly(body, acceptance(body, 3, "1.2.840.10008.1.2", 1), &link, &e), ERR_PROTOCOL);
    assert_non_null(strstr(e.text, "result 3"));
    assert_int_equal(read_exactly(body, acceptance(body, 0, "1.2.840.10008.1.2.2", 1), &link, &e), ERR_PROTOCOL);
    size_t n = acceptance(body, 0, "1.2.840.10008.1.2.1", 1);
    body[72] = 3; /* another context than ours */
    assert_int_equal(read_exactly(body, n, &link, &e), ERR_PROTOCOL);
    assert_non_null(strstr(e.text, "without a presentation context"));
}

static void test_addresses(void **state)
{
    static const char *const wrong[] = {"host", "host:", ":104", "host:0", "host:65536", "host:104x", "::1:104", "@host:104", "ABCDEFGHIJKLMNOPQ@host:104", "[]:104"};
    struct address a;
    struct err e = {0};
    (void)state;
    assert_int_equal(address_parse("pacs.example:104", &a, &e), 0);
    assert_string_equal(a.host, "pacs.example");
    assert_string_equal(a.port, "104");
    assert_string_equal(a.ae_title, "");
    assert_int_equal(address_parse("CT COMMIT@[2001:db8::1]:11112", &a, &e), 0);
    assert_string_equal(a.host, "2001:db8::1");
    assert_string_equal(a.port, "11112");
    assert_string_equal(a.ae_title, "CT COMMIT");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(address_parse(wrong[i], &a, &e), ERR_CONFIG);
        assert_non_null(strstr(e.text, "host:port"));
    }
    assert_int_equal(address_parse("", &a, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, "commitment_address"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_acceptance), cmocka_unit_test(test_refusals), cmocka_unit_test(test_addresses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
