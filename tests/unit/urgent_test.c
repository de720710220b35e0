/*
 * urgent: what does not wait. Its batch closes after the short quiet time, its uploads and starts go before others, but not before what has waited an hour
 * longer; a person can press the same for a batch, an instance or a study.
 */
#include "common/state/internal.h"
#include "tests/unit/state_fixture.h"

static const struct state_batch_limits limits = {.max_count = 5000, .max_bytes = 10000000000LL};

static void sql(struct fixture *f, const char *text)
{
    char *problem = NULL;
    if (sqlite3_exec(f->uploader->db, text, NULL, NULL, &problem) != SQLITE_OK) {
        fail_msg("%s: %s", text, problem);
    }
}

static int64_t number(struct fixture *f, const char *text)
{
    sqlite3_stmt *q = NULL;
    assert_int_equal(sqlite3_prepare_v2(f->uploader->db, text, -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(q, 0);
    (void)sqlite3_finalize(q);
    return n;
}

/* An instance of a study that was just judged good. */
static void judged(struct fixture *f, const char *study, const char *sop, bool urgent, char id[STATE_ID_SIZE])
{
    struct state_instance c;
    struct err e = {0};
    size_t count = 0;
    receive(f, sop, 1, id);
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &c, 1, &count, &e), 0);
    assert_int_equal(count, 1);
    struct state_validation v = {.claim = &c, .urgent = urgent};
    (void)snprintf(v.identity.study_uid, sizeof v.identity.study_uid, "%s", study);
    assert_int_equal(state_validated(f->validator, &v, 1, &limits, &e), 0);
    assert_int_equal(v.verdict, VERDICT_VALIDATED);
}

static void uploaded_is(struct fixture *f, const char *id)
{
    struct state_instance c;
    upload_one(f, &c);
    assert_string_equal(c.r.id, id);
}

static int close_urgent(struct fixture *f, int64_t quiet_ms)
{
    struct err e = {0};
    int closed = -1;
    assert_int_equal(state_batches_close_urgent(f->importer, quiet_ms, &closed, &e), 0);
    return closed;
}

static void starts_are(struct fixture *f, const char *const *studies, int count)
{
    for (int i = 0; i < count; i++) {
        struct state_batch b;
        struct err e = {0};
        bool found = false;
        int64_t wait = -1;
        assert_int_equal(state_batch_claim(f->importer, WORK_START, &b, &found, &e), 0);
        assert_true(found);
        assert_string_equal(b.study_uid, studies[i]);
        assert_int_equal(state_batch_starting(f->importer, &b, &(struct state_start_limits){60000, 100, 100}, "i", "o", "d", "r", &wait, &e), 0);
        assert_int_equal(wait, 0);
        assert_int_equal(state_batch_running(f->importer, &b, b.id, "SUBMITTED", 1, 0, &e), 0);
    }
}

static void an_urgent_study_goes_before_others(void **in)
{
    static const char *const order[] = {"1.1", "1.3", "1.2"};
    struct fixture *f = *in;
    struct err e = {0};
    char long_waiting[STATE_ID_SIZE], plain[STATE_ID_SIZE], emergency[STATE_ID_SIZE];
    int closed = 0;
    judged(f, "1.1", "1.1.1", false, long_waiting);
    sql(f, "UPDATE instance SET next_attempt_ms = next_attempt_ms - 7200000; UPDATE batch SET opened_ms = opened_ms - 7200000, last_added_ms = last_added_ms - 7200000");
    assert_int_equal(state_batches_close(f->importer, 3600000, 86400000, &closed, &e), 0);
    sql(f, "UPDATE batch SET closed_ms = closed_ms - 7200000, next_attempt_ms = next_attempt_ms - 7200000 WHERE state = 'closed'");
    judged(f, "1.2", "1.2.1", false, plain);
    judged(f, "1.3", "1.3.1", true, emergency);
    uploaded_is(f, long_waiting); /* two hours: nobody starves */
    uploaded_is(f, emergency);
    uploaded_is(f, plain);
    assert_int_equal(close_urgent(f, 60000), 0); /* not yet quiet */
    assert_int_equal(close_urgent(f, -1000), 1);
    assert_int_equal(close_urgent(f, -1000), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM batch WHERE state = 'open'"), 1);
    assert_int_equal(number(f, "SELECT count(*) FROM event WHERE note = 'urgent, and quiet'"), 1);
    assert_int_equal(state_batches_close(f->importer, -1000, 86400000, &closed, &e), 0);
    starts_are(f, order, 3);
}

/* One urgent instance makes its batch urgent, whatever else is in it; sent back after a failed job it is urgent in its next batch, too. */
static void urgency_goes_with_the_instance(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    struct state_batch b;
    const struct state_again again = {5, limits};
    const struct err why = {.code = ERR_IMPORT_UNKNOWN, .text = "ordered"};
    static const char *const order[] = {"1.5"};
    char one[STATE_ID_SIZE], two[STATE_ID_SIZE];
    int n = 0;
    bool found = false;
    judged(f, "1.5", "1.5.1", false, one);
    judged(f, "1.5", "1.5.2", true, two);
    uploaded_is(f, two);
    uploaded_is(f, one);
    assert_int_equal(close_urgent(f, -1000), 1);
    starts_are(f, order, 1);
    assert_int_equal(state_batch_claim(f->importer, WORK_POLL, &b, &found, &e), 0);
    assert_int_equal(state_batch_ended(f->importer, &b, "COMPLETED", "", NULL, 9, &e), 0);
    assert_int_equal(state_batch_claim(f->importer, WORK_RESULTS, &b, &found, &e), 0);
    assert_int_equal(state_batch_done(f->importer, &b, &again, &why, &n, &e), 0);
    assert_int_equal(n, 2);
    assert_int_equal(number(f, "SELECT count(*) FROM batch WHERE state = 'open' AND urgent = 1 AND instance_count = 2"), 1);
}

static void a_person_closes_a_batch(void **in)
{
    static const char *const order[] = {"1.8", "1.7"};
    struct fixture *f = *in;
    struct err e = {0};
    char first[STATE_ID_SIZE], second[STATE_ID_SIZE], third[STATE_ID_SIZE];
    int n = 0;
    judged(f, "1.7", "1.7.1", false, first);
    uploaded_is(f, first);
    assert_int_equal(state_batches_close(f->importer, -1000, 86400000, &n, &e), 0);
    judged(f, "1.8", "1.8.1", false, second);
    judged(f, "1.8", "1.8.2", false, third);
    uploaded_is(f, second);
    state_person(f->uploader, "someone");
    assert_int_equal(state_import_now(f->uploader, "1.9", &n, &e), 0);
    assert_int_equal(n, 0);
    assert_int_equal(state_import_now(f->uploader, "1.8", &n, &e), 0);
    assert_int_equal(n, 1);
    assert_int_equal(number(f, "SELECT count(*) FROM batch WHERE study_uid = '1.8' AND state = 'closed' AND urgent = 1"), 1);
    assert_int_equal(number(f, "SELECT count(*) FROM event WHERE who = 'person someone' AND (code = 'URGENT' OR to_state = 'closed')"), 2);
    assert_int_equal(state_import_now(f->uploader, third, &n, &e), 0); /* the same batch, by one of its instances */
    assert_int_equal(n, 1);
    state_person(f->uploader, "other");
    (void)snprintf(f->uploader->worker, sizeof f->uploader->worker, "uploader");
    uploaded_is(f, third);
    starts_are(f, order, 2);
    assert_int_equal(state_import_now(f->uploader, "1.8", &n, &e), 0);
    assert_int_equal(n, 0); /* it is under way */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_urgent_study_goes_before_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(urgency_goes_with_the_instance, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_person_closes_a_batch, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
