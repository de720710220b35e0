/* pressure_test - the ladder's rules: order of the steps, thresholds that are off, ten percent before a step is left, what is named. */
#include "receiver/recorder/pressure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const struct pressure_limits limits = {.free_bytes = {0, 1000000000, 500000000, 250000000}, .backlog_count = {0, 100, 200, 0}, .backlog_bytes = {0, 0, 0, 9000000}};

static enum pressure_step judge(enum pressure_step now, int64_t free_mb, int64_t count, int64_t mb)
{
    char why[160];
    bool is_backlog;
    const struct pressure_seen seen = {free_mb * 1000000, count, mb * 1000000};
    enum pressure_step step = pressure_judge(now, &limits, &seen, why, &is_backlog);
    assert_int_equal(why[0] == '\0', step == PRESSURE_NONE);
    return step;
}

static void steps_by_the_disk(void **in)
{
    (void)in;
    assert_int_equal(judge(PRESSURE_NONE, 1000, 0, 0), PRESSURE_NONE);
    assert_int_equal(judge(PRESSURE_NONE, 999, 0, 0), PRESSURE_SLOW);
    assert_int_equal(judge(PRESSURE_NONE, 499, 0, 0), PRESSURE_REFUSE);
    assert_int_equal(judge(PRESSURE_SLOW, 249, 0, 0), PRESSURE_REJECT);
    /* down, each with a tenth more room */
    assert_int_equal(judge(PRESSURE_REJECT, 274, 0, 0), PRESSURE_REJECT);
    assert_int_equal(judge(PRESSURE_REJECT, 275, 0, 0), PRESSURE_REFUSE);
    assert_int_equal(judge(PRESSURE_REFUSE, 549, 0, 0), PRESSURE_REFUSE);
    assert_int_equal(judge(PRESSURE_REFUSE, 550, 0, 0), PRESSURE_SLOW);
    assert_int_equal(judge(PRESSURE_SLOW, 1099, 0, 0), PRESSURE_SLOW);
    assert_int_equal(judge(PRESSURE_SLOW, 1100, 0, 0), PRESSURE_NONE);
    assert_int_equal(judge(PRESSURE_REJECT, 5000, 0, 0), PRESSURE_NONE); /* all at once */
}

static void steps_by_the_backlog(void **in)
{
    (void)in;
    assert_int_equal(judge(PRESSURE_NONE, 5000, 99, 0), PRESSURE_NONE);
    assert_int_equal(judge(PRESSURE_NONE, 5000, 100, 0), PRESSURE_SLOW);
    assert_int_equal(judge(PRESSURE_SLOW, 5000, 200, 0), PRESSURE_REFUSE);
    assert_int_equal(judge(PRESSURE_REFUSE, 5000, 180, 0), PRESSURE_REFUSE);
    assert_int_equal(judge(PRESSURE_REFUSE, 5000, 179, 0), PRESSURE_SLOW);
    assert_int_equal(judge(PRESSURE_NONE, 5000, 1000000, 0), PRESSURE_REFUSE); /* backlog_reject_count is off */
    assert_int_equal(judge(PRESSURE_NONE, 5000, 0, 9), PRESSURE_REJECT);
    assert_int_equal(judge(PRESSURE_NONE, 499, 100, 0), PRESSURE_REFUSE); /* the higher of the two */
}

static void the_reason_names_the_setting(void **in)
{
    (void)in;
    char why[160];
    bool is_backlog = true;
    struct pressure_seen seen = {300000000, 0, 0};
    (void)pressure_judge(PRESSURE_NONE, &limits, &seen, why, &is_backlog);
    assert_non_null(strstr(why, "300 MB are free"));
    assert_non_null(strstr(why, "spool_free_mb is 500"));
    assert_false(is_backlog);
    seen = (struct pressure_seen){5000000000, 150, 0};
    (void)pressure_judge(PRESSURE_NONE, &limits, &seen, why, &is_backlog);
    assert_non_null(strstr(why, "backlog_slow_count is 100"));
    assert_true(is_backlog);
    seen = (struct pressure_seen){-1, 0, 0}; /* not known: no step for that */
    assert_int_equal(pressure_judge(PRESSURE_NONE, &limits, &seen, why, &is_backlog), PRESSURE_NONE);
    const struct pressure_limits off = {.free_bytes = {0}};
    seen = (struct pressure_seen){0, 1000000000, 1000000000};
    assert_int_equal(pressure_judge(PRESSURE_REJECT, &off, &seen, why, &is_backlog), PRESSURE_NONE);
}

static void rejection_never_comes_before_refusal(void **in)
{
    (void)in;
    char home[] = "/tmp/pressure_test.XXXXXX";
    struct config *config = NULL;
    struct pressure_limits read;
    assert_non_null(mkdtemp(home));
    assert_int_equal(setenv("STORESCP_SPOOL_FREE_MB", "100", 1), 0);
    assert_int_equal(config_load(&config, home, NULL), 0);
    pressure_read_limits(config, &read);
    assert_int_equal(read.free_bytes[PRESSURE_REFUSE], 100000000);
    assert_int_equal(read.free_bytes[PRESSURE_REJECT], 100000000); /* its default is 256 */
    config_free(&config);
    assert_int_equal(unsetenv("STORESCP_SPOOL_FREE_MB"), 0);
    assert_int_equal(remove(home), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_by_the_disk),
        cmocka_unit_test(steps_by_the_backlog),
        cmocka_unit_test(the_reason_names_the_setting),
        cmocka_unit_test(rejection_never_comes_before_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
