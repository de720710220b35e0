/* bodies: single texts of a small XML answer, and STS's form of an error. */
#include "common/aws/bodies.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static bool read_two(const char *body, char *a, size_t a_size, char *b, size_t b_size)
{
    const struct xml_wanted wanted[] = {{"Account", a, a_size}, {"Arn", b, b_size}};
    return xml_texts_read(body, strlen(body), wanted, 2);
}

static void texts_are_found_wherever_they_stand(void **unused)
{
    char a[16];
    char b[40];
    (void)unused;
    assert_true(read_two("<R xmlns='x'><G><Arn>arn:aws:iam::1:user/a&amp;b</Arn><UserId>U</UserId><Account>123456789012</Account></G>"
                         "<Account>999999999999</Account></R>", a, sizeof a, b, sizeof b));
    assert_string_equal(a, "123456789012"); /* the first counts */
    assert_string_equal(b, "arn:aws:iam::1:user/a&b");
    assert_true(read_two("<R/>", a, sizeof a, b, sizeof b));
    assert_string_equal(a, "");
    assert_true(read_two("<R><Arn>line\nand \"quote\"</Arn></R>", a, sizeof a, b, sizeof b));
    assert_string_equal(b, "line and 'quote'");
}

static void what_cannot_be_read_is_refused(void **unused)
{
    char a[16];
    char b[40];
    (void)unused;
    assert_false(read_two("<R><Account>1234567890123456789</Account></R>", a, sizeof a, b, sizeof b)); /* longer than its place */
    assert_false(read_two("<R><Account>1</Account>", a, sizeof a, b, sizeof b));
    assert_false(read_two("no XML", a, sizeof a, b, sizeof b));
    assert_false(read_two("", a, sizeof a, b, sizeof b));
    assert_false(read_two("<!DOCTYPE r [<!ENTITY e 'x'>]><R><Account>&e;</Account></R>", a, sizeof a, b, sizeof b));
}

static void an_error_of_sts_is_understood(void **unused)
{
    static const char body[] = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>InvalidClientTokenId</Code>"
                               "<Message>The security token is invalid</Message></Error><RequestId>r</RequestId></ErrorResponse>";
    struct error_body out;
    (void)unused;
    error_body_xml(body, sizeof body - 1, &out);
    assert_string_equal(out.code, "InvalidClientTokenId");
    assert_string_equal(out.message, "The security token is invalid");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(texts_are_found_wherever_they_stand), cmocka_unit_test(what_cannot_be_read_is_refused),
                                       cmocka_unit_test(an_error_of_sts_is_understood)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
