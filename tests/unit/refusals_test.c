/* Tests of receiver/refusals: once for each peer and reason, again after an hour, never more than the limits. */
#include "receiver/door/refusals.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>

static struct refusals r;

static int begin(void **state)
{
    (void)state;
    r = (struct refusals){0};
    return 0;
}

static void told_once_and_again_after_an_hour(void **state)
{
    (void)state;
    unsigned long untold = 99;
    assert_true(refusals_due(&r, 1000, "10.0.0.1", "titles", &untold));
    assert_int_equal(untold, 0);
    for (int i = 0; i < 10; i++) {
        assert_false(refusals_due(&r, 2000 + i, "10.0.0.1", "titles", &untold));
    }
    assert_true(refusals_due(&r, 2000, "10.0.0.1", "another", &untold));
    assert_true(refusals_due(&r, 2000, "10.0.0.2", "titles", &untold));
    assert_false(refusals_due(&r, 999 + REFUSALS_REPEAT_MS, "10.0.0.1", "titles", &untold));
    assert_true(refusals_due(&r, 1000 + REFUSALS_REPEAT_MS, "10.0.0.1", "titles", &untold));
    assert_int_equal(untold, 11);
    assert_true(refusals_due(&r, 1000 + 2 * REFUSALS_REPEAT_MS, "10.0.0.1", "titles", &untold));
    assert_int_equal(untold, 0);
}

static void many_peers_do_not_fill_the_log(void **state)
{
    (void)state;
    unsigned long untold;
    char peer[32];
    int told = 0;
    for (int i = 0; i < 10000; i++) {
        (void)snprintf(peer, sizeof peer, "10.1.%d.%d", i / 256, i % 256);
        told += refusals_due(&r, 5000, peer, "titles", &untold);
    }
    assert_int_equal(told, REFUSALS_PER_MINUTE);
    assert_true(refusals_due(&r, 65000, peer, "titles", &untold));
}

static void the_oldest_makes_room(void **state)
{
    (void)state;
    unsigned long untold;
    char peer[32];
    for (int i = 0; i < REFUSALS_MAX + 1; i++) {
        (void)snprintf(peer, sizeof peer, "peer%d", i);
        assert_true(refusals_due(&r, 1000 + (int64_t)i * 1000, peer, "titles", &untold));
    }
    int64_t now = 1000 + (int64_t)(REFUSALS_MAX + 1) * 1000;
    assert_false(refusals_due(&r, now, "peer1", "titles", &untold)); /* still known */
    assert_true(refusals_due(&r, now, "peer0", "titles", &untold));  /* had made room */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(told_once_and_again_after_an_hour, begin),
        cmocka_unit_test_setup(many_peers_do_not_fill_the_log, begin),
        cmocka_unit_test_setup(the_oldest_makes_room, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
