/*
 * state: a clock that ran ahead and was set back. Found by asking what becomes of a machine that starts with its clock a day ahead: what
 * was validated in that time was due a day later, and rested a day after the correction.
 */
#include "tests/unit/state_fixture.h"

#include <sqlite3.h>

/* What a clock that is `ahead_ms` ahead would have written; changes exactly one row. */
static void shift(struct fixture *f, const char *sql, int64_t ahead_ms)
{
    char path[4352];
    sqlite3 *db = NULL;
    sqlite3_stmt *q = NULL;
    (void)snprintf(path, sizeof path, "%s/state/state.db", f->home);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(db, 5000), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_bind_int64(q, 1, clock_wall_ms() + ahead_ms), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_DONE);
    assert_int_equal(sqlite3_changes(db), 1);
    assert_int_equal(sqlite3_finalize(q), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static size_t claims_of(struct state *s, enum state_stage stage)
{
    struct state_instance claim;
    struct err e = {0};
    size_t count = 9;
    assert_int_equal(state_claim(s, stage, &claim, 1, &count, &e), 0);
    if (count == 1) {
        assert_int_equal(state_unclaim(s, &claim, 1, &e), 0);
    }
    return count;
}

enum { DAY_MS = 86400000, TEN_MINUTES_MS = 600000 };

static void an_instance_that_is_due_in_a_far_future_is_due_now(void **in)
{
    static const char ahead[] = "UPDATE instance SET next_attempt_ms = ?1";
    struct fixture *f = *in;
    struct err e = {0};
    char id[27];
    receive(f, "1.2.3.4", 7, id);
    shift(f, ahead, DAY_MS);
    assert_int_equal(claims_of(f->validator, STAGE_VALIDATOR), 0);
    assert_int_equal(state_housekeep(f->importer, &e), 0);
    assert_int_equal(claims_of(f->validator, STAGE_VALIDATOR), 1);
    assert_int_equal(validate_one(f, id), VERDICT_VALIDATED);
    shift(f, ahead, DAY_MS);
    assert_int_equal(claims_of(f->uploader, STAGE_UPLOADER), 0);
    assert_int_equal(state_housekeep(f->importer, &e), 0);
    assert_int_equal(claims_of(f->uploader, STAGE_UPLOADER), 1);
    shift(f, ahead, TEN_MINUTES_MS); /* an honest backoff stays one */
    assert_int_equal(state_housekeep(f->importer, &e), 0);
    assert_int_equal(claims_of(f->uploader, STAGE_UPLOADER), 0);
}

static void an_open_batch_is_not_quiet_a_day_late(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    char id[27];
    struct state_instance claim;
    struct state_batch b;
    bool found = false;
    int closed = 0;
    receive(f, "1.2.3.5", 7, id);
    assert_int_equal(validate_one(f, id), VERDICT_VALIDATED);
    upload_one(f, &claim);
    shift(f, "UPDATE batch SET opened_ms = ?1, last_added_ms = ?1", DAY_MS);
    assert_int_equal(state_batches_close(f->importer, 0, TEN_MINUTES_MS, &closed, &e), 0);
    assert_int_equal(closed, 0);
    assert_int_equal(state_housekeep(f->importer, &e), 0);
    (void)usleep(2000);
    assert_int_equal(state_batches_close(f->importer, 0, TEN_MINUTES_MS, &closed, &e), 0);
    assert_int_equal(closed, 1);
    shift(f, "UPDATE batch SET next_attempt_ms = ?1 WHERE state = 'closed'", DAY_MS);
    assert_int_equal(state_batch_claim(f->importer, WORK_START, &b, &found, &e), 0);
    assert_false(found);
    assert_int_equal(state_housekeep(f->uploader, &e), 0);
    assert_int_equal(state_batch_claim(f->importer, WORK_START, &b, &found, &e), 0);
    assert_true(found);
    assert_string_equal(b.id, claim.batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_instance_that_is_due_in_a_far_future_is_due_now, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_open_batch_is_not_quiet_a_day_late, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
