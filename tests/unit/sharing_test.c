/*
 * sharing: while starts of import jobs are scarce small studies share a batch; otherwise each goes alone, and so do large, urgent and retried ones. Every
 * instance is in one batch, whose count is right; a shared batch closes a quiet time after it was opened, and its studies can be told.
 */
#include "common/state/internal.h"
#include "tests/unit/state_fixture.h"

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

static const struct state_batch_limits three = {.max_count = 5000, .max_bytes = 10000000000LL, .share_above_count = 3, .share_max_count = 2};

/* The next image of a study is judged good. */
static void image(struct fixture *f, int study, bool urgent, const struct state_batch_limits *limits)
{
    static int images;
    struct state_received r = {.file_bytes = 1000, .data_bytes = 900, .received_ms = 1};
    struct state_instance c;
    struct err e = {0};
    size_t count = 0;
    id_new(r.id);
    (void)snprintf(r.sop_instance_uid, sizeof r.sop_instance_uid, "1.9.%d", ++images);
    (void)snprintf(r.sop_class_uid, sizeof r.sop_class_uid, "1.2");
    (void)snprintf(r.transfer_syntax_uid, sizeof r.transfer_syntax_uid, "1.2");
    assert_int_equal(state_add_received(f->validator, &r, 1, &e), 0);
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &c, 1, &count, &e), 0);
    assert_int_equal(count, 1);
    struct state_validation v = {.claim = &c, .urgent = urgent};
    (void)snprintf(v.identity.study_uid, sizeof v.identity.study_uid, "1.2.%d", study);
    assert_int_equal(state_validated(f->validator, &v, 1, limits, &e), 0);
    assert_int_equal(v.verdict, VERDICT_VALIDATED);
}

static void counts_are_right(struct fixture *f)
{
    assert_int_equal(number(f, "SELECT count(*) FROM batch b WHERE state <> 'done' AND instance_count <> (SELECT count(*) FROM instance i WHERE i.batch = b.id)"), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM batch WHERE study_uid IS NOT NULL AND EXISTS (SELECT 1 FROM instance i WHERE i.batch = batch.id AND "
                               "i.study_uid <> batch.study_uid)"), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM shared_study t JOIN batch b ON b.id = t.batch WHERE b.state <> 'open' OR b.study_uid IS NOT NULL"), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM shared_study t WHERE instance_count <> (SELECT instances FROM v_batch_study v WHERE v.batch = t.batch AND "
                               "v.study_uid = t.study_uid)"), 0);
}

static void hundreds_of_studies_share(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    int closed = 0;
    for (int study = 0; study < 100; study++) {
        image(f, study, false, &three);
    }
    counts_are_right(f);
    assert_int_equal(number(f, "SELECT count(*) FROM batch"), 5); /* four alone, and the others */
    assert_int_equal(number(f, "SELECT count(*) FROM batch WHERE study_uid IS NULL AND instance_count = 96"), 1);
    assert_int_equal(number(f, "SELECT count(*) FROM v_batch_study v JOIN batch b ON b.id = v.batch WHERE b.study_uid IS NULL"), 96);
    /* it closes a quiet time after it was opened, although one came just now; the others are not quiet yet */
    sql(f, "UPDATE batch SET opened_ms = opened_ms - 40000; UPDATE batch SET last_added_ms = last_added_ms + 1000");
    assert_int_equal(state_batches_close(f->importer, 30000, 600000, &closed, &e), 0);
    assert_int_equal(closed, 1);
    assert_int_equal(number(f, "SELECT count(*) FROM shared_study"), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM event WHERE note = 'shared' AND to_state = 'closed'"), 1);
    image(f, 100, false, &three); /* the next one opens another */
    assert_int_equal(number(f, "SELECT count(*) FROM batch WHERE study_uid IS NULL AND state = 'open' AND instance_count = 1"), 1);
    counts_are_right(f);
}

static void without_need_every_study_goes_alone(void **in)
{
    static const struct state_batch_limits many = {.max_count = 5000, .max_bytes = 10000000000LL, .share_above_count = 1000, .share_max_count = 2};
    static const struct state_batch_limits never = {.max_count = 5000, .max_bytes = 10000000000LL, .share_max_count = 2};
    struct fixture *f = *in;
    for (int study = 0; study < 40; study++) {
        image(f, study, false, study % 2 ? &many : &never);
    }
    assert_int_equal(number(f, "SELECT count(*) FROM batch WHERE study_uid IS NOT NULL AND instance_count = 1"), 40);
    counts_are_right(f);
    /* what is under way does not count, other destinations neither */
    sql(f, "UPDATE batch SET state = 'running' WHERE rowid < 20; UPDATE batch SET destination = 'archive' WHERE rowid >= 20");
    image(f, 50, false, &three);
    assert_int_equal(number(f, "SELECT count(*) FROM batch WHERE study_uid IS NULL"), 0);
}

/* A study that turns out to be large goes on alone; one that is known to be large does not begin to share; urgent ones never do. */
static void large_and_urgent_ones_go_alone(void **in)
{
    static const struct state_batch_limits small = {.max_count = 4, .max_bytes = 10000000000LL, .share_above_count = 1, .share_max_count = 2};
    struct fixture *f = *in;
    for (int study = 0; study < 4; study++) {
        image(f, study, false, &three);
    }
    for (int i = 0; i < 7; i++) {
        image(f, 10, false, &three); /* two in the shared batch, five in its own */
        image(f, 11, i > 3, &three); /* two, two, and the urgent ones after them */
    }
    counts_are_right(f);
    assert_int_equal(number(f, "SELECT instance_count FROM batch WHERE study_uid IS NULL"), 4);
    assert_int_equal(number(f, "SELECT instance_count FROM batch WHERE study_uid = '1.2.10'"), 5);
    assert_int_equal(number(f, "SELECT instance_count FROM batch WHERE study_uid = '1.2.11' AND urgent = 1"), 5);
    image(f, 12, true, &three);
    assert_int_equal(number(f, "SELECT count(*) FROM batch WHERE study_uid = '1.2.12' AND urgent = 1"), 1);
    for (int i = 0; i < 3; i++) { /* its own is full: the next of it is no small study */
        image(f, 10, false, &small);
    }
    assert_int_equal(number(f, "SELECT count(*) FROM batch WHERE study_uid = '1.2.10'"), 2);
    for (int study = 20; study < 26; study++) { /* a shared batch has its limits, too */
        image(f, study, false, &small);
    }
    counts_are_right(f);
    assert_int_equal(number(f, "SELECT count(*) FROM batch WHERE study_uid IS NULL"), 3);
    assert_int_equal(number(f, "SELECT max(instance_count) FROM batch WHERE study_uid IS NULL"), 4);
}

/* A shared batch's job fails: its parts are shared, too, and nothing that a person or an importer sends back shares. */
static void a_shared_batch_goes_the_way_of_all(void **in)
{
    static const struct state_start_limits plenty = {60000, 100, 100};
    const struct state_again again = {5, three};
    struct fixture *f = *in;
    struct state_instance claim;
    struct state_batch b;
    struct err e = {0};
    bool found = false;
    int n = 0;
    int64_t wait = 0;
    for (int study = 0; study < 8; study++) {
        image(f, study, false, &three);
    }
    sql(f, "UPDATE instance SET state = 'failed' WHERE batch IN (SELECT id FROM batch WHERE study_uid IS NOT NULL)");
    for (int i = 0; i < 4; i++) {
        upload_one(f, &claim);
    }
    assert_int_equal(state_batches_close(f->importer, -1000, 600000, &n, &e), 0);
    assert_int_equal(state_batch_claim(f->importer, WORK_START, &b, &found, &e), 0);
    assert_true(found);
    assert_string_equal(b.study_uid, "");
    assert_int_equal(b.instance_count, 4);
    assert_int_equal(state_batch_starting(f->importer, &b, &plenty, "i", "o", "d", "r", &wait, &e), 0);
    assert_int_equal(state_batch_running(f->importer, &b, "job", "SUBMITTED", 1, 0, &e), 0);
    assert_int_equal(state_batch_claim(f->importer, WORK_POLL, &b, &found, &e), 0);
    assert_int_equal(state_batch_ended(f->importer, &b, "FAILED", "", NULL, 9, &e), 0);
    sql(f, "UPDATE instance SET import_attempts = 1 WHERE state = 'importing'");
    assert_int_equal(state_batch_claim(f->importer, WORK_RESULTS, &b, &found, &e), 0);
    const struct err why = {.code = ERR_IMPORT_JOB_FAILED, .text = "ordered"};
    assert_int_equal(state_batch_done(f->importer, &b, &again, &why, &n, &e), 0);
    assert_int_equal(n, 4);
    assert_int_equal(number(f, "SELECT count(*) FROM batch WHERE split_of IS NOT NULL AND study_uid IS NULL AND state = 'closed' AND instance_count = 2"), 2);
    counts_are_right(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hundreds_of_studies_share, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_need_every_study_goes_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_and_urgent_ones_go_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_shared_batch_goes_the_way_of_all, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
