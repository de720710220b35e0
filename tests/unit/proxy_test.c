/* Tests of receiver/proxy: headers of both versions byte by byte, and everything that only looks like one. */
#include "receiver/door/proxy.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#define V2 "\r\n\r\n\0\r\nQUIT\n"

/* Reads a header and what follows it, given at once and byte by byte: the same must come out. */
static enum proxy_found read_all(const void *bytes, size_t count, struct proxy_header *h)
{
    enum proxy_found at_once = proxy_read(bytes, count, h);
    size_t needed = 1;
    for (size_t n = 1; n <= count; n++) {
        struct proxy_header part;
        enum proxy_found found = proxy_read(bytes, n, &part);
        if (found == PROXY_MORE) {
            assert_true(part.bytes > n); /* else the caller would wait for nothing */
            needed = part.bytes;
            continue;
        }
        assert_int_equal(found, at_once);
        if (found == PROXY_WHOLE) {
            assert_int_equal(part.bytes, h->bytes);
            assert_int_equal(n, h->bytes);
            assert_true(needed <= n);
        }
        break;
    }
    return at_once;
}

static void source_is(const struct proxy_header *h, const char *text)
{
    char out[CIDR_TEXT_SIZE];
    assert_true(h->has_source);
    assert_string_equal(cidr_text(&h->source, out), text);
}

static void version_1_is_read(void **state)
{
    (void)state;
    struct proxy_header h;
    static const char four[] = "PROXY TCP4 192.0.2.7 198.51.100.1 40000 11112\r\n\1";
    assert_int_equal(read_all(four, sizeof four - 1, &h), PROXY_WHOLE);
    assert_int_equal(h.version, 1);
    assert_int_equal(h.bytes, sizeof four - 2);
    source_is(&h, "192.0.2.7");
    static const char six[] = "PROXY TCP6 2001:db8::7 2001:db8::1 65535 0\r\n";
    assert_int_equal(read_all(six, sizeof six - 1, &h), PROXY_WHOLE);
    source_is(&h, "2001:db8::7");
    static const char unknown[] = "PROXY UNKNOWN\r\n";
    assert_int_equal(read_all(unknown, sizeof unknown - 1, &h), PROXY_WHOLE);
    assert_false(h.has_source);
    static const char unknown_with_words[] = "PROXY UNKNOWN ffff::1 x y z\r\n";
    assert_int_equal(read_all(unknown_with_words, sizeof unknown_with_words - 1, &h), PROXY_WHOLE);
    assert_false(h.has_source);
}

static void broken_version_1_is_told(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n",         "PROXY TCP4 192.0.2.7 198.51.100.1 40000 65536\r\n",
        "PROXY TCP4 2001:db8::7 198.51.100.1 1 2\r\n",         "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n",          "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n",          "PROXY TCP4 192.0.2.7 198.51.100.1 -1 2\r\n",
        "PROXY TCP4 192.0.2 198.51.100.1 1 2\r\n",             "PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",         "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n",
        "PROXY \r\n",                                          "PROXY TCP6 ::ffff:1.2.3.4/8 ::1 1 2\r\n"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct proxy_header h;
        if (read_all(lines[i], strlen(lines[i]), &h) != PROXY_BROKEN) {
            fail_msg("taken: %s", lines[i]);
        }
        assert_non_null(h.wrong);
    }
    char endless[200];
    struct proxy_header h;
    memset(endless, 'A', sizeof endless);
    memcpy(endless, "PROXY TCP4 ", 11);
    assert_int_equal(proxy_read((unsigned char *)endless, 106, &h), PROXY_MORE);
    assert_int_equal(proxy_read((unsigned char *)endless, sizeof endless, &h), PROXY_BROKEN);
    assert_int_equal(read_all("PROXY TCP4 1.1.1.1\0 2.2.2.2 1 2\r\n", 34, &h), PROXY_BROKEN);
}

static void version_2_is_read(void **state)
{
    (void)state;
    struct proxy_header h;
    static const char four[] = V2 "\x21\x11\0\x0c\xc0\0\2\7\xc6\x33\x64\1\x9c\x40\x2b\x68" "\1";
    assert_int_equal(read_all(four, sizeof four - 1, &h), PROXY_WHOLE);
    assert_int_equal(h.version, 2);
    assert_int_equal(h.bytes, 28);
    source_is(&h, "192.0.2.7");
    /* with a TLV (type 4, no operation, 3 bytes) */
    static const char with_more[] = V2 "\x21\x11\0\x12\xc0\0\2\7\xc6\x33\x64\1\x9c\x40\x2b\x68\4\0\3abc\1\0";
    assert_int_equal(read_all(with_more, sizeof with_more - 1, &h), PROXY_WHOLE);
    assert_int_equal(h.bytes, 34);
    source_is(&h, "192.0.2.7");
    static const char six[] = V2 "\x21\x21\0\x24\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\x9c\x40\x2b\x68";
    assert_int_equal(read_all(six, sizeof six - 1, &h), PROXY_WHOLE);
    assert_int_equal(h.bytes, 52);
    source_is(&h, "2001:db8::7");
    static const char local[] = V2 "\x20\0\0\0";
    assert_int_equal(read_all(local, sizeof local - 1, &h), PROXY_WHOLE);
    assert_int_equal(h.bytes, 16);
    assert_false(h.has_source);
    static const char local_with_addresses[] = V2 "\x20\x11\0\x0c\xc0\0\2\7\xc6\x33\x64\1\x9c\x40\x2b\x68";
    assert_int_equal(read_all(local_with_addresses, sizeof local_with_addresses - 1, &h), PROXY_WHOLE);
    assert_false(h.has_source);
    static const char unspecified[] = V2 "\x21\0\0\3xyz";
    assert_int_equal(read_all(unspecified, sizeof unspecified - 1, &h), PROXY_WHOLE);
    assert_int_equal(h.bytes, 19);
    assert_false(h.has_source);
}

static void broken_version_2_is_told(void **state)
{
    (void)state;
    struct proxy_header h;
    static const char *const heads[] = {V2 "\x11\x11\0\x0c" "0123456789ab", V2 "\x22\x11\0\x0c" "0123456789ab", V2 "\x21\x11\0\x0b" "0123456789a",
                                        V2 "\x21\x21\0\x23" "0123456789abcdef0123456789abcdef012", V2 "\x21\x12\0\x0c" "0123456789ab",
                                        V2 "\x21\x41\0\x0c" "0123456789ab", V2 "\x21\x13\0\x0c" "0123456789ab"};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        if (read_all(heads[i], 28, &h) != PROXY_BROKEN) {
            fail_msg("head %zu was taken", i);
        }
        assert_int_equal(h.version, 2);
    }
    /* longer than we read: refused from its head, not waited for */
    assert_int_equal(read_all(V2 "\x21\x11\x10\0", 16, &h), PROXY_BROKEN);
    assert_int_equal(read_all(V2 "\x21\x11\x0f\xf0", 16, &h), PROXY_MORE);
    assert_int_equal(h.bytes, PROXY_BYTES_MAX);
}

static void other_bytes_are_left_alone(void **state)
{
    (void)state;
    struct proxy_header h;
    static const struct {
        const char *bytes;
        size_t count;
    } others[] = {{"\1\0\0\0\0\xcd", 6}, {"\x16\3\1\2\0", 5}, {"POST / HTTP/1.1\r\n", 17}, {"PROXI TCP4", 10}, {"\r\n\r\nGET /", 9}, {"proxy tcp4", 10}, {"\0", 1}};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(read_all(others[i].bytes, others[i].count, &h), PROXY_NONE);
        assert_int_equal(h.version, 0);
    }
    assert_int_equal(proxy_read((const unsigned char *)"", 0, &h), PROXY_MORE);
    assert_int_equal(proxy_read((const unsigned char *)"PROX", 4, &h), PROXY_MORE);
    assert_int_equal(h.version, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1_is_read),  cmocka_unit_test(broken_version_1_is_told),   cmocka_unit_test(version_2_is_read),
        cmocka_unit_test(broken_version_2_is_told), cmocka_unit_test(other_bytes_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
