/* Tests of common/runtime/cidr: networks of both families, mapped addresses, and every wrong way to write one. */
#include "common/runtime/cidr.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static bool holds(const char *list, const char *text)
{
    struct cidr_address a;
    assert_true(cidr_read(text, &a));
    assert_int_equal(cidr_check(list, NULL), 0);
    return cidr_holds(list, &a);
}

static void networks_hold_their_addresses(void **state)
{
    (void)state;
    assert_true(holds("10.1.0.0/16", "10.1.255.9"));
    assert_false(holds("10.1.0.0/16", "10.2.0.0"));
    assert_true(holds("10.1.2.128/25", "10.1.2.129"));
    assert_false(holds("10.1.2.128/25", "10.1.2.127"));
    assert_true(holds("192.168.7.9", "192.168.7.9"));
    assert_false(holds("192.168.7.9", "192.168.7.8"));
    assert_true(holds("0.0.0.0/0", "1.2.3.4"));
    assert_false(holds("0.0.0.0/0", "2001:db8::1"));
    assert_true(holds("2001:db8::/32", "2001:db8:ffff::1"));
    assert_false(holds("2001:db8::/32", "2001:db9::1"));
    assert_true(holds("fe80::/10", "febf::1"));
    assert_false(holds("fe80::/10", "fec0::1"));
    assert_true(holds("::1", "::1"));
    assert_true(holds("::/0", "2001:db8::1"));
    assert_true(holds("::/0", "9.9.9.9"));
    assert_false(holds("", "9.9.9.9"));
}

static void words_are_separated_by_commas_and_blanks(void **state)
{
    (void)state;
    assert_true(holds(" 10.0.0.0/8,, 172.16.0.0/12 ::1", "172.31.0.1"));
    assert_true(holds("10.0.0.0/8 172.16.0.0/12\t::1,", "::1"));
    assert_false(holds("10.0.0.0/8 172.16.0.0/12 ::1", "172.32.0.1"));
}

static void mapped_addresses_are_the_same(void **state)
{
    (void)state;
    assert_true(holds("10.0.0.0/8", "::ffff:10.1.2.3"));
    assert_true(holds("::ffff:10.0.0.0/104", "10.1.2.3"));
    assert_false(holds("10.0.0.0/8", "::10.1.2.3"));
    char text[CIDR_TEXT_SIZE];
    struct cidr_address a;
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    assert_true(cidr_from_socket((struct sockaddr *)&four, &a));
    assert_string_equal(cidr_text(&a, text), "127.0.0.2");
    assert_true(cidr_from_socket((struct sockaddr *)&six, &a));
    assert_string_equal(cidr_text(&a, text), "::1");
    four.sin_family = AF_UNIX;
    assert_false(cidr_from_socket((struct sockaddr *)&four, &a));
}

static void wrong_words_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *list, *says;
    } wrong[] = {{"10.0.0.0/33", "more than 32 bits"}, {"::/129", "more than 128 bits"}, {"10.0.0.0/", "no number of bits"},
                 {"10.0.0.0/a", "no number of bits"}, {"10.0.0.0/-1", "no number of bits"}, {"10.0.0.0/0008", "no number of bits"},
                 {"10.1.2.3/8", "behind its mask"}, {"2001:db8::1/32", "behind its mask"}, {"ct1.example", "no IP address"},
                 {"10.0.0", "no IP address"}, {"::1, 256.1.1.1", "256.1.1.1"}, {"10.0.0.0/255.0.0.0", "no number of bits"},
                 {"/8", "no IP address"}, {"1111111111111111111111111111111111111111111111111111111111111111111111", "too long"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct err e = {0};
        struct cidr_address a;
        assert_true(cidr_read("10.1.2.3", &a));
        assert_int_equal(cidr_check(wrong[i].list, &e), ERR_CONFIG);
        if (!strstr(e.text, wrong[i].says)) {
            fail_msg("\"%s\": %s", wrong[i].list, e.text);
        }
        assert_false(cidr_holds(wrong[i].list, &a));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_hold_their_addresses),
        cmocka_unit_test(words_are_separated_by_commas_and_blanks),
        cmocka_unit_test(mapped_addresses_are_the_same),
        cmocka_unit_test(wrong_words_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
