/* breaker: pauses grow, one probe at a time, nobody is charged for an outage; and the story of the instance that fails alone: it was the oldest row, so it was
 * every probe, and the endpoint looked down for ever while all others could have passed. */
#include "uploader/breaker.h"
#include "uploader/share.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

static const struct err network = {.code = ERR_NETWORK, .text = "refused"};
static const struct err denied = {.code = ERR_AWS_DENIED, .text = "policy"};

static void pauses_grow_and_one_probe_goes(void **unused)
{
    struct breaker b = {0};
    int64_t now = 1000;
    int64_t last = 0;
    (void)unused;
    assert_int_equal(breaker_room(&b, now, 3, 8), 5);
    assert_int_equal(breaker_room(&b, now, 8, 8), 0);
    assert_true(breaker_failed(&b, "a", &network, 900, now, 0, 0xffffffff));
    /* seven others that were under way fail as well: counted once */
    int64_t until = b.until_ms;
    assert_false(breaker_failed(&b, "b", &network, 950, now + 1, 0, 0xffffffff));
    assert_false(breaker_failed(&b, "c", &network, 990, now + 2, 0, 0));
    assert_int_equal(b.until_ms, until);
    for (int i = 0; i < 30; i++) {
        int64_t wait = breaker_wait_ms(&b, now);
        assert_true(wait >= 250 && wait <= 30000);
        assert_true(wait >= last / 2);
        assert_int_equal(breaker_room(&b, now + wait - 1, 0, 8), 0);
        assert_int_equal(breaker_room(&b, now + wait, 1, 8), 0);
        assert_int_equal(breaker_room(&b, now + wait, 0, 8), 1);
        now += wait;
        last = wait;
        assert_true(breaker_failed(&b, "a", &network, now, now + 5, 0, (uint32_t)i * 2654435761u));
        now += 5;
    }
    assert_true(breaker_wait_ms(&b, now) >= 15000);
    /* a transfer from before the pause that goes well does not close it, the probe does */
    assert_false(breaker_succeeded(&b, "old", 500, now));
    assert_true(b.open);
    now = b.until_ms;
    assert_true(breaker_succeeded(&b, "a", now, now + 10));
    assert_false(b.open);
    assert_int_equal(breaker_room(&b, now, 0, 8), 8);
    /* one good probe does not forget: the next failure waits long; a row of good ones does */
    assert_true(breaker_failed(&b, "z", &network, now + 20, now + 30, 0, 0));
    assert_true(breaker_wait_ms(&b, now + 30) >= 15000);
    now = b.until_ms;
    assert_true(breaker_succeeded(&b, "z", now, now + 1));
    for (int i = 0; i < BREAKER_STABLE; i++) {
        assert_false(breaker_succeeded(&b, "y", now + i, now + i + 1));
    }
    assert_true(breaker_failed(&b, "x", &network, now + 100, now + 101, 0, 0xffffffff));
    assert_true(breaker_wait_ms(&b, now + 101) <= 500);
    /* so does time: a site that sends ten images a day must not begin with half a minute */
    for (int i = 0; i < 8; i++) {
        now = b.until_ms;
        assert_true(breaker_failed(&b, "x", &network, now, now + 1, 0, 0));
    }
    now = b.until_ms;
    assert_true(breaker_succeeded(&b, "x", now, now + 1));
    now += 1 + BREAKER_FORGET_MS;
    assert_true(breaker_failed(&b, "w", &network, now, now, 0, 0xffffffff));
    assert_true(breaker_wait_ms(&b, now) <= 500);
}

static void a_setting_waits_longer_and_is_named(void **unused)
{
    struct breaker b = {0};
    (void)unused;
    assert_true(breaker_failed(&b, "a", &denied, 0, 10, 0, 0));
    assert_int_equal(b.why.code, ERR_AWS_DENIED);
    assert_string_equal(b.why.text, "policy");
    assert_true(breaker_wait_ms(&b, 10) >= 1000);
}

static void one_bad_instance_is_told_from_an_outage(void **unused)
{
    struct breaker b = {0};
    (void)unused;
    assert_false(breaker_blames(&b, "bad", 0));
    assert_true(breaker_failed(&b, "bad", &network, 100, 110, 0, 0));
    assert_false(breaker_blames(&b, "bad", 0)); /* once: it may be an outage */
    assert_false(breaker_succeeded(&b, "early", 50, 120)); /* began before the failure: proves nothing */
    assert_false(breaker_blames(&b, "bad", 0));
    assert_true(breaker_succeeded(&b, "good", 2000, 2010));
    assert_true(breaker_blames(&b, "bad", 0)); /* others pass since: if it fails again, it is the instance */
    assert_false(breaker_blames(&b, "other", 0));
    /* it went through after all: forgotten */
    assert_false(breaker_succeeded(&b, "bad", 3000, 3010));
    assert_false(breaker_blames(&b, "bad", 0));
    /* its first attempt of three had failed before others began and passed: one failure is enough */
    assert_false(breaker_succeeded(&b, "good", 3500, 3505));
    assert_true(breaker_blames(&b, "thrice", 3499));
    assert_false(breaker_blames(&b, "thrice", 3501));
    assert_false(breaker_blames(&b, "once", 0));
    assert_true(breaker_failed(&b, "thrice", &network, 3400, 3600, 3501, 0)); /* the good ones that began between are seen later */
    assert_false(breaker_succeeded(&b, "slow", 3550, 3650));
    assert_true(breaker_blames(&b, "thrice", 0));
    /* an outage of hundreds of instances keeps the memory bounded and blames nobody */
    for (int i = 0; i < 500; i++) {
        char id[27];
        (void)snprintf(id, sizeof id, "i%d", i);
        (void)breaker_failed(&b, id, &network, 4000 + i, 4001 + i, 0, 0);
        assert_false(breaker_blames(&b, id, 0));
    }
}

/* Destinations share the places of one uploader. */
static void places_are_shared(void **in)
{
    static const struct {
        int places, most, sending, all_sending, working, share;
    } cases[] = {
        {8, 8, 0, 0, 1, 8},  /* alone */
        {8, 4, 0, 0, 1, 4},  /* its own limit */
        {8, 8, 0, 8, 2, 4},  /* the other one has all, and may hang: an equal part all the same */
        {8, 8, 6, 8, 2, 6},  /* has more than its part, and what the other leaves */
        {8, 8, 2, 3, 2, 7},  /* the other needs little */
        {8, 8, 0, 16, 16, 1}, /* more destinations than places: one at least */
    };
    (void)in;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(share_of(cases[i].places, cases[i].most, cases[i].sending, cases[i].all_sending, cases[i].working), cases[i].share);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pauses_grow_and_one_probe_goes),
        cmocka_unit_test(a_setting_waits_longer_and_is_named),
        cmocka_unit_test(one_bad_instance_is_told_from_an_outage),
        cmocka_unit_test(places_are_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
