/*
 * list: words of a setting are separated by commas only. Guards a bug: AE titles with an inner space could not be listed, because spaces
 * separated words, too.
 */
#include "common/runtime/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void words(void **state)
{
    (void)state;
    const char *at = " CT 1 ,,\t MR\t, ,verylongword,";
    char word[6];
    assert_true(list_next(&at, word, sizeof word));
    assert_string_equal(word, "CT 1");
    assert_true(list_next(&at, word, sizeof word));
    assert_string_equal(word, "MR");
    assert_true(list_next(&at, word, sizeof word));
    assert_string_equal(word, "veryl");
    assert_false(list_next(&at, word, sizeof word));
    assert_false(list_next(&at, word, sizeof word));
    at = "";
    assert_false(list_next(&at, word, sizeof word));
    at = " ,\t, ";
    assert_false(list_next(&at, word, sizeof word));
}

static void fitting(void **state)
{
    static const struct {
        const char *list, *text;
        bool fits;
    } rows[] = {
        {"CT1, MR ROOM 2", "MR ROOM 2", true}, {"CT1, MR ROOM 2", "MR", false},      {"CT1, MR ROOM 2", "ROOM", false},
        {"CT1", "  CT1 ", true},               {"CT1", "CT12", false},               {"CT1", "CT", false},
        {"CT1", "ct1", false},                 {"CT*", "CT", true},                  {"CT*, MR?", "MR1", true},
        {"CT*, MR?", "MR12", false},           {"*", "", true},                      {"", "CT1", false},
        {"CT1", "\tCT1", false},               {"CT1", "CT1\t", false},             {"*STATION*", "CTSTATION3", true},     {"MR  2", "MR 2", false},             {" , ", "", false}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(list_fits(rows[i].list, rows[i].text), rows[i].fits);
    }
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_false(list_fits(text, text)); /* longer than anything that is compared */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(words), cmocka_unit_test(fitting)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
