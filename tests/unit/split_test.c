/*
 * split: one file makes every job fail that it is in. Its mates are imported all the same, in a number of jobs that grows with the logarithm; when it is
 * not a file, because nothing succeeds, the number of jobs is bounded and everything ends as failed; and an importer may die in between.
 */
#include "common/state/internal.h"
#include "tests/unit/state_fixture.h"

enum { ATTEMPTS = 5, ROOM = 1000 };
static const struct state_start_limits plenty = {60000, 10000, 10000};
static const struct state_again again = {ATTEMPTS, {.max_count = 5000, .max_bytes = 10000000000LL}};

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

/* One closed batch of a study with count uploaded instances, of which number bad_one is bad. */
static void study(struct fixture *f, const char *name, int count, int bad_one)
{
    char text[900];
    (void)snprintf(text, sizeof text,
                   "BEGIN; INSERT INTO batch (id, study_uid, state, instance_count, bytes, opened_ms, last_added_ms, closed_ms) "
                   "VALUES ('%s', '%s', 'closed', %d, %d, 1, 1, %lld);"
                   "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < %d) INSERT INTO instance (id, state, sop_class_uid, "
                   "sop_instance_uid, transfer_syntax_uid, study_uid, modality, file_bytes, data_bytes, file_crc32c, data_crc32c, received_ms, changed_ms, batch, s3_key) "
                   "SELECT printf('%s%%05d', i), 'uploaded', '1', '%s' || i, '1', '%s', CASE i WHEN %d THEN 'bad' END, 1, 1, 0, 0, 1, 1, '%s', 'p' FROM n; COMMIT",
                   name, name, count, count, (long long)clock_wall_ms(), count, name, name, name, bad_one, name);
    sql(f, text);
}

/* One job from start to its end: FAILED when a bad one is in it, or everything fails. False if no batch is there to start. */
static bool one_job(struct fixture *f, bool all_fail, int *jobs)
{
    struct state_batch b;
    struct err e = {0};
    char text[200];
    bool found = false;
    int64_t wait = 0;
    int left = 0;
    sql(f, "UPDATE instance SET state = 'uploaded', s3_key = 'p', next_attempt_ms = 0 WHERE state = 'validated' AND owner IS NULL; "
           "UPDATE batch SET state = 'closed' WHERE state = 'open'");
    assert_int_equal(state_batch_claim(f->importer, WORK_START, &b, &found, &e), 0);
    if (!found) {
        return false;
    }
    ++*jobs;
    (void)snprintf(text, sizeof text, "SELECT count(*) FROM instance WHERE batch = '%s' AND modality = 'bad'", b.id);
    bool fails = all_fail || number(f, text) > 0;
    assert_int_equal(state_batch_starting(f->importer, &b, &plenty, "i", "o", "store", "r", &wait, &e), 0);
    assert_int_equal(state_batch_running(f->importer, &b, b.id, "SUBMITTED", clock_wall_ms(), 0, &e), 0);
    assert_int_equal(state_batch_claim(f->importer, WORK_POLL, &b, &found, &e), 0);
    assert_int_equal(state_batch_ended(f->importer, &b, fails ? "FAILED" : "COMPLETED", "ordered", NULL, clock_wall_ms(), &e), 0);
    assert_int_equal(state_batch_claim(f->importer, WORK_RESULTS, &b, &found, &e), 0);
    if (!fails) {
        sqlite3_stmt *q = NULL;
        size_t n = 0;
        struct state_result *r = calloc(ROOM, sizeof *r);
        assert_non_null(r);
        (void)snprintf(text, sizeof text, "SELECT id FROM instance WHERE batch = '%s' AND state = 'importing'", b.id);
        assert_int_equal(sqlite3_prepare_v2(f->uploader->db, text, -1, &q, NULL), SQLITE_OK);
        while (sqlite3_step(q) == SQLITE_ROW) {
            assert_in_range(n, 0, ROOM - 1);
            r[n].kind = RESULT_IMPORTED;
            state_column(q, 0, r[n].id, STATE_ID_SIZE);
            (void)snprintf(r[n++].image_set_id, sizeof r[0].image_set_id, "set");
        }
        (void)sqlite3_finalize(q);
        assert_int_equal(state_batch_results(f->importer, &b, r, n, &again, &e), 0);
        free(r);
    }
    const struct err why = {.code = fails ? ERR_IMPORT_JOB_FAILED : ERR_IMPORT_UNKNOWN, .text = "ordered"};
    assert_int_equal(state_batch_done(f->importer, &b, &again, &why, &left, &e), 0);
    return true;
}

/* 1,000 images, one of them kills its job: the others are imported, and it alone fails. */
static void one_bad_file_is_left_alone(void **in)
{
    struct fixture *f = *in;
    int jobs = 0;
    study(f, "a", 1000, 617);
    study(f, "b", 3, -1); /* somebody else's, which shows that jobs succeed */
    while (one_job(f, false, &jobs)) {
        assert_in_range(jobs, 1, 60);
    }
    assert_int_equal(number(f, "SELECT count(*) FROM instance WHERE state = 'imported'"), 1002);
    assert_int_equal(number(f, "SELECT count(*) FROM instance WHERE state = 'failed' AND id = 'a00617' AND error_code = 'IMPORT_JOB_FAILED'"), 1);
    print_message("1,000 images with a bad one: %d jobs\n", jobs);
    assert_in_range(jobs, 12, 32); /* two for each halving, and import_attempts for the one that is alone */
    assert_int_equal(number(f, "SELECT count(*) FROM batch WHERE split_of IS NOT NULL AND instance_count <> (SELECT count(*) FROM event "
                               "WHERE event.batch = batch.id AND instance IS NOT NULL AND to_state = 'importing')"), 0);
}

/* Nothing succeeds: a wrong role, say. Not 1,000 jobs. */
static void what_is_no_files_fault_is_bounded(void **in)
{
    struct fixture *f = *in;
    int jobs = 0;
    study(f, "a", 1000, -1);
    while (one_job(f, true, &jobs)) {
        assert_in_range(jobs, 1, 60);
    }
    assert_int_equal(jobs, 16); /* 1, once more, 2, 4, 8 */
    assert_int_equal(number(f, "SELECT count(*) FROM instance WHERE state = 'failed' AND import_attempts = 5"), 1000);
}

/* Every file is bad while others' jobs succeed: halved to the end, but no half goes on for ever. */
static void many_bad_files_come_to_an_end(void **in)
{
    struct fixture *f = *in;
    int jobs = 0;
    study(f, "a", 16, -1);
    sql(f, "UPDATE instance SET modality = 'bad' WHERE batch = 'a'");
    do {
        sql(f, "INSERT OR REPLACE INTO batch (id, study_uid, opened_ms, last_added_ms, state) VALUES ('other', 'o', 1, 1, 'done')");
        char text[300];
        (void)snprintf(text, sizeof text, "INSERT OR REPLACE INTO import_job (batch, clientToken, jobName, jobId, jobStatus, endedAt, inputS3Uri, outputS3Uri, datastoreId) "
                       "VALUES ('other', 'o', 'o', 'o', 'COMPLETED', %lld, 'i', 'o', 'store')", (long long)clock_wall_ms() + 60000);
        sql(f, text);
        assert_in_range(jobs, 0, 120);
    } while (one_job(f, false, &jobs));
    assert_int_equal(number(f, "SELECT count(*) FROM instance WHERE state = 'failed'"), 16);
    print_message("16 images, all bad: %d jobs\n", jobs);
}

/* A piece takes no others, not even of its study; and the importer that dies while it takes a batch apart leaves nothing behind. */
static void a_piece_takes_nothing_else(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    struct state_batch b;
    struct state_split split;
    char id[STATE_ID_SIZE];
    int n = 0;
    int jobs = 0;
    study(f, "1.2.3", 10, -1);
    sql(f, "UPDATE instance SET state = 'importing', import_attempts = 1; UPDATE batch SET state = 'reconciling'");
    sql(f, "INSERT INTO import_job (batch, clientToken, jobName, jobId, jobStatus, submittedAt, inputS3Uri, outputS3Uri, datastoreId) VALUES ('1.2.3', 't', 'n', 'j', 'FAILED', 1, 'i', 'o', 'store')");
    bool found = false;
    struct state *dying = worker(f->home, STAGE_IMPORTER);
    assert_int_equal(state_batch_claim(dying, WORK_RESULTS, &b, &found, &e), 0);
    assert_true(found);
    const struct err why = {.code = ERR_IMPORT_JOB_FAILED, .text = "ordered"};
    assert_int_equal(state_split_decide(dying, &b, &why, &split, &e), 0);
    assert_int_equal(split.piece_max, 5);
    assert_true(split.charged);
    assert_int_equal(state_begin(dying, &e), 0); /* a first chunk of three, and no more */
    for (int i = 0; i < 3; i++) {
        char one[STATE_ID_SIZE];
        (void)snprintf(one, sizeof one, "1.2.3%05d", i);
        assert_int_equal(state_move(dying, one, -1, "importing", "validated", clock_wall_ms(), NULL, NULL, &e), 0);
        assert_int_equal(state_split_take(dying, &b, &split, one, 1, clock_wall_ms(), &e), 0);
    }
    assert_int_equal(state_end(dying, 0, &e), 0);
    receive(f, "9.9", 1, id);
    assert_int_equal(validate_one(f, id), VERDICT_VALIDATED); /* of the same study, 1.2.3 */
    assert_int_equal(number(f, "SELECT count(*) FROM batch WHERE state = 'open'"), 2);
    assert_int_equal(number(f, "SELECT instance_count FROM batch WHERE split_of IS NOT NULL"), 3);
    state_close(&dying);
    assert_int_equal(state_reclaim(f->importer, &n, &e), 0);
    assert_int_equal(state_batch_claim(f->importer, WORK_RESULTS, &b, &found, &e), 0);
    assert_int_equal(state_batch_done(f->importer, &b, &again, &why, &n, &e), 0);
    assert_int_equal(n, 7);
    assert_int_equal(number(f, "SELECT count(*) FROM batch WHERE split_of = '1.2.3' AND state = 'closed'"), 3); /* of 3, 4 and 3 */
    assert_int_equal(number(f, "SELECT sum(instance_count) FROM batch WHERE split_of = '1.2.3'"), 10);
    assert_int_equal(number(f, "SELECT count(*) FROM instance WHERE batch IN (SELECT id FROM batch WHERE split_of = '1.2.3')"), 10);
    while (one_job(f, false, &jobs)) {
        assert_in_range(jobs, 1, 10);
    }
    assert_int_equal(jobs, 4);
    assert_int_equal(number(f, "SELECT count(*) FROM instance WHERE state = 'imported'"), 11);
}

/* Jobs that are gone, given up or without a word are no reason to take a batch apart. */
static void other_ends_do_not_split(void **in)
{
    static const struct {
        const char *status;
        int code;
    } ends[] = {{"GONE", ERR_IMPORT_JOB_FAILED}, {"GIVEN_UP", ERR_IMPORT_JOB_FAILED}, {"COMPLETED", ERR_IMPORT_UNKNOWN}, {"FAILED", ERR_IMPORT_UNKNOWN}};
    struct fixture *f = *in;
    struct err e = {0};
    study(f, "a", 4, -1);
    sql(f, "UPDATE instance SET state = 'importing', import_attempts = 2");
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct state_batch b = {.id = "a", .datastore_id = "store"};
        struct state_split split;
        const struct err why = {.code = ends[i].code};
        (void)snprintf(b.job_status, sizeof b.job_status, "%s", ends[i].status);
        assert_int_equal(state_split_decide(f->importer, &b, &why, &split, &e), 0);
        assert_int_equal(split.piece_max, 0);
        assert_true(split.charged);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_bad_file_is_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_files_fault_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_bad_files_come_to_an_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_piece_takes_nothing_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_ends_do_not_split, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
