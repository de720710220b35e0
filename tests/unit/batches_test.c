/*
 * batches: what several importers share. The order of claims and their cost with 10,000 batches, the bucket of starts, the count of running
 * jobs, chunks and crashes in the middle of results, and the query plan of every statement that the stages prepared on the way.
 */
#include "common/state/internal.h"
#include "tests/unit/state_fixture.h"

static const struct state_start_limits plenty = {60000, 1000, 1000};
static const struct state_again again = {5, {.max_count = 5000, .max_bytes = 10000000000LL}};

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

/* count batches in a state with one instance each; ids sort by number: <prefix>00000 ... */
static void fill(struct fixture *f, char prefix, int count, const char *batch_state, const char *instance_state)
{
    char text[900];
    (void)snprintf(text, sizeof text,
                   "BEGIN; WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < %d) "
                   "INSERT INTO batch (id, study_uid, state, opened_ms, last_added_ms, next_attempt_ms) "
                   "SELECT printf('%c%%025d', i), 's', '%s', 1, 1, i FROM n;"
                   "INSERT INTO instance (id, state, sop_class_uid, sop_instance_uid, transfer_syntax_uid, study_uid, file_bytes, data_bytes, "
                   "file_crc32c, data_crc32c, received_ms, changed_ms, batch, s3_key) SELECT 'i' || substr(id, 1, 1) || substr(id, 3), '%s', '1', id, '1', 's', 1, 1, 0, 0, 1, 1, id, "
                   "'p/' || id || '/x.dcm' FROM batch WHERE id LIKE '%c%%'; COMMIT",
                   count, prefix, batch_state, instance_state, prefix);
    sql(f, text);
}

static bool claim(struct state *s, enum state_batch_work work, struct state_batch *b)
{
    struct err e = {0};
    bool found = false;
    if (state_batch_claim(s, work, b, &found, &e) != 0) {
        fail_msg("%s", e.text);
    }
    return found;
}

static int64_t try_start(struct fixture *f, struct state_batch *b, const struct state_start_limits *limits)
{
    struct err e = {0};
    int64_t wait = -1;
    if (state_batch_starting(f->importer, b, limits, "s3://i/", "s3://o/", "d", "r", &wait, &e) != 0) {
        fail_msg("%s", e.text);
    }
    return wait;
}

/* 10,000 closed batches that wait for their uploads, 10,000 more that are done, and few that are ready: the one that waits longest comes
 * first, two importers never get the same, one that fails and is put off does not come again before the others. */
static void claims_are_fair_and_cheap(void **in)
{
    struct fixture *f = *in;
    struct state *second = worker(f->home, STAGE_IMPORTER);
    struct state_batch b;
    struct state_batch other;
    struct err e = {0};
    fill(f, 'a', 10000, "closed", "validated");
    fill(f, 'b', 10000, "done", "imported");
    int64_t begun = clock_mono_ms();
    for (int i = 0; i < 10; i++) {
        assert_false(claim(f->importer, WORK_START, &b));
        assert_false(claim(f->importer, WORK_POLL, &b));
        assert_false(claim(f->importer, WORK_RESULTS, &b));
    }
    print_message("10,000 closed batches, none ready: %.1f ms for a look\n", (double)(clock_mono_ms() - begun) / 10);
    fill(f, 'c', 3, "closed", "uploaded");
    assert_true(claim(f->importer, WORK_START, &b));
    assert_string_equal(b.id, "c0000000000000000000000000");
    assert_true(claim(second, WORK_START, &other));
    assert_string_equal(other.id, "c0000000000000000000000001");
    const struct err why = {.code = ERR_PROTOCOL, .text = "ordered"};
    assert_int_equal(state_batch_defer(f->importer, &b, NULL, &why, clock_wall_ms() + 60000, &e), 0);
    assert_true(claim(f->importer, WORK_START, &b));
    assert_string_equal(b.id, "c0000000000000000000000002");
    assert_int_equal(state_batch_unclaim(f->importer, &b, &e), 0);
    assert_true(claim(second, WORK_START, &other)); /* given back: due as before */
    assert_string_equal(other.id, "c0000000000000000000000002");
    assert_false(claim(f->importer, WORK_START, &b));
    /* one that was announced before comes before new ones */
    sql(f, "UPDATE batch SET state = 'starting', next_attempt_ms = 5 WHERE id = 'c0000000000000000000000000'");
    fill(f, 'd', 1, "closed", "uploaded");
    assert_true(claim(f->importer, WORK_START, &b));
    assert_int_equal(b.state, BATCH_STARTING);
    assert_int_equal(number(f, "SELECT count(*) FROM batch WHERE owner IS NOT NULL"), 3);
    state_close(&second);
}

/* What is left empty ends without a job; an open one, a held claim and a batch of another kind are not touched. */
static void an_empty_batch_ends_without_a_job(void **in)
{
    struct fixture *f = *in;
    struct state_batch b;
    fill(f, 'a', 200, "closed", "failed");
    fill(f, 'b', 1, "closed", "uploaded");
    fill(f, 'c', 1, "open", "quarantined");
    sql(f, "UPDATE batch SET next_attempt_ms = 1000 WHERE id LIKE 'b%'");
    int looks = 0;
    while (!claim(f->importer, WORK_START, &b)) {
        assert_in_range(++looks, 1, 10); /* ended in portions */
    }
    assert_int_equal(b.id[0], 'b');
    assert_int_equal(number(f, "SELECT count(*) FROM batch WHERE state = 'done' AND owner IS NULL AND ended_ms > 0"), 200);
    assert_int_equal(number(f, "SELECT count(*) FROM event WHERE to_state = 'done' AND note = 'no instance is left in it'"), 200);
    assert_int_equal(number(f, "SELECT count(*) FROM batch WHERE state = 'open'"), 1);
}

/* 60 a minute with a burst of 2; a refusal changes nothing; a clock that was set back stops nobody for longer than a token takes. */
static void the_bucket_of_starts(void **in)
{
    static const struct state_start_limits limits = {60, 2, 100};
    struct fixture *f = *in;
    struct state_batch b;
    struct err e = {0};
    fill(f, 'a', 6, "closed", "uploaded");
    for (int i = 0; i < 2; i++) {
        assert_true(claim(f->importer, WORK_START, &b));
        assert_int_equal(try_start(f, &b, &limits), 0);
    }
    assert_true(claim(f->importer, WORK_START, &b));
    assert_in_range(try_start(f, &b, &limits), 500, 1001);
    assert_int_equal(b.state, BATCH_CLOSED);
    assert_int_equal(number(f, "SELECT count(*) FROM import_job"), 2);
    assert_int_equal(number(f, "SELECT count(*) FROM instance WHERE state = 'importing'"), 2);
    /* half a token's time later */
    sql(f, "UPDATE start_bucket SET tokens = 0.0, filled_ms = filled_ms - 500");
    assert_in_range(try_start(f, &b, &limits), 300, 501);
    /* looking often must not lose what has filled */
    for (int i = 0; i < 50; i++) {
        (void)usleep(2000);
        (void)try_start(f, &b, &(struct state_start_limits){1, 2, 100});
    }
    sql(f, "UPDATE start_bucket SET tokens = 0.0, filled_ms = filled_ms - 1100");
    assert_int_equal(try_start(f, &b, &limits), 0);
    /* an hour of rest fills the burst and not more */
    sql(f, "UPDATE start_bucket SET filled_ms = filled_ms - 3600000");
    for (int i = 0; i < 2; i++) {
        assert_true(claim(f->importer, WORK_START, &b));
        assert_int_equal(try_start(f, &b, &limits), 0);
    }
    assert_true(claim(f->importer, WORK_START, &b));
    assert_in_range(try_start(f, &b, &limits), 500, 1001);
    /* the clock was set back by an hour */
    sql(f, "UPDATE start_bucket SET tokens = 0.0, filled_ms = filled_ms + 3600000");
    assert_in_range(try_start(f, &b, &limits), 900, 1001);
    assert_in_range(number(f, "SELECT filled_ms FROM start_bucket"), clock_wall_ms() - 5000, clock_wall_ms());
    (void)e;
}

/* What is starting or running counts against the quota, done and reconciling does not; a repeated call needs a token and no second place. */
static void running_jobs_are_counted(void **in)
{
    static const struct state_start_limits three = {60000, 1000, 3};
    struct fixture *f = *in;
    struct state_batch b;
    struct err e = {0};
    int64_t wait = -1;
    fill(f, 'a', 2, "running", "importing");
    fill(f, 'e', 3, "running", "importing"); /* of another data store: its own quota */
    sql(f, "INSERT INTO import_job (batch, clientToken, jobName, inputS3Uri, outputS3Uri, datastoreId) "
           "SELECT id, id, id, 'i', 'o', CASE WHEN id LIKE 'a%' THEN 'd' ELSE 'other' END FROM batch");
    fill(f, 'b', 5, "reconciling", "importing");
    fill(f, 'c', 5, "done", "imported");
    fill(f, 'd', 2, "closed", "uploaded");
    assert_true(claim(f->importer, WORK_START, &b));
    assert_int_equal(b.jobs_count, 5);
    assert_int_equal(try_start(f, &b, &three), 0);
    const struct err throttled = {.code = ERR_AWS_THROTTLED, .text = "ordered"};
    assert_int_equal(state_batch_defer(f->importer, &b, NULL, &throttled, 0, &e), 0);
    sql(f, "UPDATE batch SET next_attempt_ms = 99999999999999 WHERE state = 'starting'");
    struct state_batch refused;
    assert_true(claim(f->importer, WORK_START, &refused));
    assert_int_equal(refused.state, BATCH_CLOSED);
    assert_int_equal(try_start(f, &refused, &three), 1000); /* three places, all taken */
    assert_int_equal(state_batch_unclaim(f->importer, &refused, &e), 0);
    sql(f, "UPDATE batch SET next_attempt_ms = 0 WHERE state = 'starting'");
    assert_true(claim(f->importer, WORK_START, &b));
    assert_int_equal(b.state, BATCH_STARTING);
    assert_int_equal(b.error_code, ERR_AWS_THROTTLED);
    assert_int_equal(b.attempts, 0);
    assert_int_equal(state_batch_starting_again(f->importer, &b, &three, &wait, &e), 0);
    assert_int_equal(wait, 0);
    assert_int_equal(number(f, "SELECT count(*) FROM batch WHERE state = 'starting' AND error_code IS NULL"), 1);
    assert_int_equal(number(f, "SELECT count(*) FROM event WHERE from_state = 'starting' AND to_state = 'starting'"), 1);
    assert_int_equal(state_batch_running(f->importer, &b, "job", "SUBMITTED", 1, 0, &e), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM instance WHERE job_id = 'job'"), 1);
    /* a claim that is lost moves nothing */
    assert_int_equal(state_batch_running(f->importer, &b, "job2", "SUBMITTED", 1, 0, &e), ERR_FENCED);
    assert_int_equal(state_batch_starting_again(f->importer, &b, &three, &wait, &e), ERR_FENCED);
}

/* Results of a large batch are written in chunks. The importer dies after some of them; the next one writes all again: no instance moves
 * twice, the first verdict holds. */
static void results_survive_a_death_in_the_middle(void **in)
{
    enum { COUNT = 1300 };
    struct fixture *f = *in;
    struct state_batch b;
    struct err e = {0};
    int freed = 0;
    int left = 0;
    fill(f, 'a', 1, "reconciling", "importing");
    sql(f, "INSERT INTO import_job (batch, clientToken, jobName, jobId, inputS3Uri, outputS3Uri) VALUES ('a0000000000000000000000000', 't', 'n', 'j', 'i', 'o')");
    sql(f, "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < 1300) INSERT INTO instance (id, state, sop_class_uid, "
           "sop_instance_uid, transfer_syntax_uid, study_uid, file_bytes, data_bytes, file_crc32c, data_crc32c, received_ms, changed_ms, batch) "
           "SELECT printf('r%025d', i), 'importing', '1', '1.' || i, '1', 's', 1, 1, 0, 0, 1, 1, 'a0000000000000000000000000' FROM n");
    struct state_result *r = calloc(COUNT, sizeof *r);
    assert_non_null(r);
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(r[i].id, sizeof r[i].id, "r%025d", i); /* r0 does not exist: foreign lines do no harm */
        r[i].kind = i % 10 == 1 ? RESULT_REFUSED : i % 10 == 2 ? RESULT_RETRY : RESULT_IMPORTED;
        (void)err_set(&r[i].why, i % 10 == 1 ? ERR_IMPORT_REFUSED : ERR_IMPORT_SERVER, 0, "ordered");
        (void)snprintf(r[i].image_set_id, sizeof r[i].image_set_id, "set");
    }
    struct state *dying = worker(f->home, STAGE_IMPORTER);
    assert_true(claim(dying, WORK_RESULTS, &b));
    assert_int_equal(state_batch_results(dying, &b, r, 700, &again, &e), 0);
    state_close(&dying);
    assert_false(claim(f->importer, WORK_RESULTS, &b));
    assert_int_equal(state_reclaim(f->importer, &freed, &e), 0);
    assert_int_equal(freed, 1);
    assert_true(claim(f->importer, WORK_RESULTS, &b));
    assert_int_equal(state_batch_results(f->importer, &b, r, COUNT, &again, &e), 0);
    r[1].kind = RESULT_IMPORTED;
    assert_int_equal(state_batch_results(f->importer, &b, r, COUNT, &again, &e), 0);
    const struct err why = {.code = ERR_IMPORT_UNKNOWN, .text = "not mentioned"};
    assert_int_equal(state_batch_done(f->importer, &b, &again, &why, &left, &e), 0);
    assert_int_equal(left, 1); /* the one that fill() made */
    assert_int_equal(number(f, "SELECT count(*) FROM instance WHERE state = 'imported'"), 1039);
    assert_int_equal(number(f, "SELECT count(*) FROM instance WHERE state = 'failed'"), 130);
    assert_int_equal(number(f, "SELECT count(*) FROM instance WHERE state = 'validated' AND import_attempts = 1"), 131);
    assert_int_equal(number(f, "SELECT count(*) FROM event WHERE instance IS NOT NULL AND from_state = 'importing'"), 1300);
    assert_int_equal(number(f, "SELECT sum(instance_count) FROM batch WHERE state = 'open'"), 131);
    free(r);
}

/* Sent back instances respect the limits of a batch that are set, not those of HealthImaging. */
static void a_new_batch_keeps_the_limits_that_are_set(void **in)
{
    static const struct state_again small = {5, {.max_count = 2, .max_bytes = 10000000000LL}};
    struct fixture *f = *in;
    struct state_batch b;
    struct err e = {0};
    int left = 0;
    fill(f, 'a', 5, "reconciling", "importing");
    const struct err why = {.code = ERR_IMPORT_UNKNOWN, .text = "not mentioned"};
    while (claim(f->importer, WORK_RESULTS, &b)) {
        assert_int_equal(state_batch_done(f->importer, &b, &small, &why, &left, &e), 0);
        assert_int_equal(left, 1);
    }
    assert_int_equal(number(f, "SELECT max(instance_count) FROM batch WHERE state <> 'done'"), 2);
    assert_int_equal(number(f, "SELECT count(*) FROM batch WHERE state IN ('open', 'closed') AND id NOT LIKE 'a0000%'"), 3);
}

/* ---- query plans ----------------------------------------------------------------------------------------------------------------- */

/* No statement that a stage prepared may read a whole table that grows, and picking work may not sort. */
static void check_plans(struct state *s, int *picks)
{
    for (size_t i = 0; i < s->statement_count; i++) {
        char text[4000];
        sqlite3_stmt *q = NULL;
        const char *statement = s->statements[i].sql;
        bool picking = strstr(statement, "INDEXED BY") && strstr(statement, "next_attempt_ms <=");
        *picks += picking;
        (void)snprintf(text, sizeof text, "EXPLAIN QUERY PLAN %s", statement);
        if (sqlite3_prepare_v2(s->db, text, -1, &q, NULL) != SQLITE_OK) {
            fail_msg("%s: %s", statement, sqlite3_errmsg(s->db));
        }
        while (sqlite3_step(q) == SQLITE_ROW) {
            const char *detail = (const char *)sqlite3_column_text(q, 3);
            char verb[16] = "";
            char table[32] = "";
            (void)sscanf(detail, "%15s %31s", verb, table);
            bool reads = strcmp(verb, "SCAN") == 0 || strcmp(verb, "SEARCH") == 0; /* a SEARCH without an index is min() over all rows */
            bool grows = strcmp(table, "instance") == 0 || strcmp(table, "batch") == 0 || strcmp(table, "event") == 0 || strcmp(table, "import_job") == 0 ||
                         strcmp(table, "i") == 0 || strcmp(table, "b") == 0;
            if (reads && grows && !strstr(detail, "USING")) {
                fail_msg("reads a whole table: %s\n%s", detail, statement);
            }
            if (picking && strstr(detail, "TEMP B-TREE")) {
                fail_msg("sorts to pick work: %s\n%s", detail, statement);
            }
        }
        (void)sqlite3_finalize(q);
    }
}

static void every_statement_has_its_index(void **in)
{
    struct fixture *f = *in;
    struct state_instance uploaded;
    struct state_batch b;
    struct err e = {0};
    char id[27];
    int n = 0;
    int picks = 0;
    receive(f, "1.2.3.4", 7, id);
    assert_int_equal(validate_one(f, id), VERDICT_VALIDATED);
    upload_one(f, &uploaded);
    for (int round = 0; round < 2; round++) { /* the second one sends back to a batch that is open */
        assert_int_equal(state_batches_close(f->importer, -1000, 600000, &n, &e), 0);
        fill(f, round ? 'd' : 'c', 1, "closed", "failed");
        sql(f, "UPDATE batch SET next_attempt_ms = 0 WHERE state = 'closed' AND id NOT LIKE 'c0%' AND id NOT LIKE 'd0%'");
        if (round == 0) {
            assert_true(claim(f->importer, WORK_START, &b));
            assert_int_equal(try_start(f, &b, &plenty), 0);
            int64_t wait = 0;
            assert_int_equal(state_batch_starting_again(f->importer, &b, &plenty, &wait, &e), 0);
            assert_int_equal(state_batch_running(f->importer, &b, "job1", "SUBMITTED", 5, 0, &e), 0);
            assert_true(claim(f->importer, WORK_POLL, &b));
            assert_int_equal(state_batch_defer(f->importer, &b, "IN_PROGRESS", NULL, 0, &e), 0);
            assert_true(claim(f->importer, WORK_POLL, &b));
            assert_int_equal(state_batch_ended(f->importer, &b, "COMPLETED", "", NULL, 9, &e), 0);
            assert_true(claim(f->importer, WORK_RESULTS, &b));
            assert_int_equal(state_batch_unclaim(f->importer, &b, &e), 0);
            assert_true(claim(f->importer, WORK_RESULTS, &b));
            int64_t open = 0;
            assert_int_equal(state_batch_open_count(f->importer, b.id, &open, &e), 0);
            assert_int_equal(open, 1);
            struct state_result r = {.kind = RESULT_IMPORTED, .image_set_id = "set1"};
            (void)snprintf(r.id, sizeof r.id, "%s", id);
            assert_int_equal(state_batch_results(f->importer, &b, &r, 1, &again, &e), 0);
            const struct err why = {.code = ERR_IMPORT_UNKNOWN};
            assert_int_equal(state_batch_done(f->importer, &b, &again, &why, &n, &e), 0);
        } else {
            assert_false(claim(f->importer, WORK_START, &b));
        }
    }
    char ids[4][STATE_ID_SIZE];
    size_t count = 0;
    assert_int_equal(state_releasable(f->validator, -1000, ids, 4, &count, &e), 0);
    assert_int_equal(count, 1);
    assert_int_equal(state_released(f->validator, ids, count, &e), 0);
    struct state *dead = worker(f->home, STAGE_IMPORTER);
    state_close(&dead);
    assert_int_equal(state_reclaim(f->importer, &n, &e), 0);
    assert_int_equal(state_housekeep(f->importer, &e), 0);
    assert_int_equal(state_worker_beat(f->importer, "ready", &e), 0);
    struct state_progress seen = {.id = "a"};
    int64_t waiting = 0;
    int64_t bytes = 0;
    bool news = false;
    assert_int_equal(state_progress(f->importer, &seen, 1, &news, &e), 0);
    assert_int_equal(state_backlog(f->importer, &waiting, NULL, &e), 0);
    assert_int_equal(state_backlog(f->importer, &waiting, &bytes, &e), 0);
    assert_int_equal(state_batches_close_waited(f->importer, &n, &e), 0);
    assert_int_equal(state_batches_close_urgent(f->importer, 0, &n, &e), 0);
    assert_int_equal(state_import_now(f->importer, "1.2.3", &n, &e), 0);
    assert_int_equal(state_import_now(f->importer, id, &n, &e), 0);
    struct state_split split;
    const struct state_batch_limits sharing = {.max_count = 5000, .max_bytes = 10000000000LL, .share_above_count = 1, .share_max_count = 2};
    char shared[STATE_ID_SIZE];
    fill(f, 'g', 3, "closed", "uploaded");
    assert_int_equal(state_begin(f->importer, &e), 0);
    assert_int_equal(state_end(f->importer, state_share_batch(f->importer, id, "1.2.3", 1, &sharing, 1, shared, &e), &e), 0);
    assert_true(shared[0]);
    const struct err failed = {.code = ERR_IMPORT_JOB_FAILED};
    fill(f, 'e', 1, "closed", "uploaded");
    sql(f, "UPDATE instance SET held = 1 WHERE id LIKE 'ie%'; UPDATE batch SET split_of = 'x'");
    (void)snprintf(b.job_status, sizeof b.job_status, "FAILED");
    assert_int_equal(state_split_decide(f->importer, &b, &failed, &split, &e), 0);
    assert_int_equal(state_batches_leave_held(f->importer, 0, &again.limits, &n, &e), 0);
    assert_int_equal(state_begin(f->importer, &e), 0);
    assert_int_equal(state_end(f->importer, state_split_end(f->importer, &b, 1, &e), &e), 0);
    check_plans(f->validator, &picks);
    check_plans(f->uploader, &picks);
    check_plans(f->importer, &picks);
    assert_in_range(picks, 8, 20); /* look and claim of two stages, four kinds of batches: not an empty loop */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(claims_are_fair_and_cheap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_batch_ends_without_a_job, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_bucket_of_starts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(running_jobs_are_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(results_survive_a_death_in_the_middle, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_batch_keeps_the_limits_that_are_set, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_statement_has_its_index, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
