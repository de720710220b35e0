/*
 * overdue: an import job that does not end is noticed once, followed on more seldom, neither repeated nor forgotten; a person may give it up; one that
 * HealthImaging does not know any more ends by its results.
 */
#include "tests/unit/ordered_cloud.h"

static void runs_since(struct world *w, int64_t seconds)
{
    char sql[200];
    (void)snprintf(sql, sizeof sql, "UPDATE import_job SET submittedAt = %lld", (long long)(clock_wall_ms() - seconds * 1000));
    run_sql(w, sql);
}

/* A batch whose job runs since then, looked at once. */
static void looked_at(struct world *w, char ids[][STATE_ID_SIZE], char batch[STATE_ID_SIZE], int64_t seconds)
{
    closed_batch(w, ids, batch, 2);
    assert_true(start_next(&w->m));
    runs_since(w, seconds);
    later(w);
    assert_true(poll_next(&w->m));
}

static void a_job_within_its_time_is_no_news(void **in)
{
    struct world *w = *in;
    char ids[2][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    looked_at(w, ids, batch, 14390);
    assert_int_equal(number(w, "SELECT count(*) FROM v_overdue"), 0);
    assert_int_equal(number(w, "SELECT error_code IS NULL AND overdue_ms IS NULL FROM batch"), 1);
}

static void it_is_noticed_once_and_followed_on(void **in)
{
    struct world *w = *in;
    char ids[2][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    char text[2000] = "";
    looked_at(w, ids, batch, 14500);
    assert_int_equal(number(w, "SELECT count(*) FROM v_overdue WHERE running_seconds >= 14499 AND instances = 2"), 1);
    assert_true(text_is(w, "SELECT error_code FROM batch", "IMPORT_OVERDUE"));
    assert_int_equal(number(w, "SELECT count(*) FROM v_stuck WHERE batch_error_text LIKE '%import_running_max%'"), 2);
    int64_t slow = 12 * config_int(w->config, CFG_IMPORT_POLL_MS); /* jittered by an eighth */
    assert_in_range(number(w, "SELECT next_attempt_ms FROM batch"), clock_wall_ms() + slow * 3 / 4, clock_wall_ms() + slow * 5 / 4);
    int64_t noticed = number(w, "SELECT overdue_ms FROM batch");
    for (int i = 0; i < 30; i++) {
        killed(w); /* another importer does not tell it again */
        later(w);
        assert_true(poll_next(&w->m));
    }
    assert_int_equal(number(w, "SELECT overdue_ms FROM batch"), noticed);
    assert_int_equal(number(w, "SELECT count(*) FROM event WHERE code = 'IMPORT_OVERDUE'"), 1);
    assert_int_equal(number(w, "SELECT attempts FROM batch"), 0);
    assert_int_equal(cloud.start_calls, 1);
    /* it ends after all */
    end_job(0, "COMPLETED");
    success_line(text, sizeof text, batch, ids[0]);
    success_line(text, sizeof text, batch, ids[1]);
    put_manifest(0, 2, 2, 0, 0);
    put_result(0, "SUCCESS/success.ndjson", text);
    later(w);
    assert_true(poll_next(&w->m));
    assert_int_equal(number(w, "SELECT count(*) FROM v_overdue"), 0);
    assert_true(results_next(&w->m));
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'imported'"), 2);
    assert_int_equal(number(w, "SELECT count(*) FROM batch WHERE state = 'done' AND error_code IS NULL"), 1);
}

/* Nobody gives up a job that is in its time; of an overdue one the results count that are there, the rest goes again. */
static void a_person_gives_it_up(void **in)
{
    struct world *w = *in;
    char ids[2][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    char text[2000] = "";
    struct state_batch b;
    struct err e = {0};
    bool found = false;
    struct state *person = NULL;
    looked_at(w, ids, batch, 100);
    assert_int_equal(state_open(&person, w->f->home, &e), 0);
    state_person(person, "someone");
    assert_int_equal(state_job_give_up(person, batch, NULL, &e), ERR_NOT_FOUND);
    runs_since(w, 20000);
    later(w);
    assert_true(poll_next(&w->m));
    later(w);
    assert_int_equal(state_batch_claim(w->m.state, WORK_POLL, &b, &found, &e), 0);
    assert_true(found);
    assert_int_equal(state_job_give_up(person, batch, NULL, &e), ERR_BUSY);
    assert_int_equal(state_batch_unclaim(w->m.state, &b, &e), 0);
    assert_int_equal(state_job_give_up(person, batch, "AWS support says so", &e), 0);
    assert_int_equal(state_job_give_up(person, batch, NULL, &e), ERR_NOT_FOUND);
    state_close(&person);
    assert_false(poll_next(&w->m));
    success_line(text, sizeof text, batch, ids[0]);
    put_result(0, "SUCCESS/success.ndjson", text);
    for (int i = 0; i < 20 && number(w, "SELECT count(*) FROM batch WHERE state = 'reconciling'"); i++) {
        later(w);
        assert_true(results_next(&w->m));
    }
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'imported'"), 1);
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'validated' AND import_attempts = 1 AND batch <> (SELECT batch FROM import_job)"), 1);
    assert_int_equal(number(w, "SELECT count(*) FROM event WHERE who = 'person someone' AND note LIKE '%AWS support says so' AND to_state = 'reconciling'"), 1);
}

/* After 90 days, say: not known any more. Ten looks, then the results; never silently away. */
static void an_overdue_job_that_is_lost_ends_by_its_results(void **in)
{
    struct world *w = *in;
    char ids[2][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    looked_at(w, ids, batch, 8000000);
    cloud.get_rc = ERR_AWS_NOT_FOUND;
    int looks = 0;
    while (number(w, "SELECT count(*) FROM batch WHERE state = 'running'")) {
        later(w);
        assert_true(poll_next(&w->m));
        assert_in_range(++looks, 1, 12);
    }
    assert_int_equal(looks, 10);
    assert_true(text_is(w, "SELECT jobStatus FROM import_job", "GONE"));
    for (int i = 0; i < 20 && number(w, "SELECT count(*) FROM batch WHERE state = 'reconciling'"); i++) {
        later(w);
        (void)results_next(&w->m);
    }
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'validated' AND error_code = 'IMPORT_JOB_FAILED'"), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_job_within_its_time_is_no_news, world_up, world_down),
        cmocka_unit_test_setup_teardown(it_is_noticed_once_and_followed_on, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_person_gives_it_up, world_up, world_down),
        cmocka_unit_test_setup_teardown(an_overdue_job_that_is_lost_ends_by_its_results, world_up, world_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
