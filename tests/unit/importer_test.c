/*
 * importer: the three kinds of work against a HealthImaging and an S3 inside this program (ordered_cloud.h) that do exactly what a test orders: answers that
 * are lost, listings that lag, throttling, settings that are wrong, jobs that fail, results that are late, partial or damaged; and importers
 * that die between any two steps. What counts: one job for each batch, an end for each instance.
 */
#include "tests/unit/ordered_cloud.h"

/* ---- ours ----------------------------------------------------------------------------------------------------------------------- */

static void finish_well(struct world *w, const char *batch, char ids[][STATE_ID_SIZE], int count)
{
    char text[4000] = "";
    for (int i = 0; i < count; i++) {
        success_line(text, sizeof text, batch, ids[i]);
    }
    end_job(0, "COMPLETED");
    put_manifest(0, count, count, 0, 0);
    put_result(0, "SUCCESS/success.ndjson", text);
    later(w);
    assert_true(poll_next(&w->m));
    assert_true(results_next(&w->m));
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'imported' AND job_id = 'job0' AND image_set_id = 'set1' "
                               "AND image_set_version = 2 AND is_primary = 1"), count);
    assert_int_equal(number(w, "SELECT count(*) FROM batch WHERE state = 'done' AND owner IS NULL"), 1);
    assert_int_equal(cloud.job_count, 1);
}

/* ---- tests ----------------------------------------------------------------------------------------------------------------------- */

static void a_batch_is_imported(void **in)
{
    struct world *w = *in;
    char ids[3][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    char uri[300];
    closed_batch(w, ids, batch, 3);
    assert_false(results_next(&w->m));
    assert_false(poll_next(&w->m));
    assert_true(start_next(&w->m));
    assert_false(start_next(&w->m));
    assert_int_equal(cloud.job_count, 1);
    assert_string_equal(cloud.jobs[0].job_name, batch);
    (void)snprintf(uri, sizeof uri, "s3://bucket/p/%s/", batch);
    assert_string_equal(cloud.jobs[0].input_s3_uri, uri);
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'importing' AND job_id = 'job0'"), 3);
    later(w);
    assert_true(poll_next(&w->m));
    assert_true(text_is(w, "SELECT state FROM batch", "running"));
    assert_false(poll_next(&w->m)); /* not before its time */
    finish_well(w, batch, ids, 3);
    assert_int_equal(cloud.start_calls, 1);
    assert_int_equal(cloud.list_calls, 0);
}

/* The answer is lost and the importer is killed: the next one finds the job by its name, whatever state the job is in by then. */
static void a_lost_answer_makes_no_second_job(void **in)
{
    struct world *w = *in;
    char ids[1][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    closed_batch(w, ids, batch, 1);
    cloud.start_rc = ERR_NETWORK;
    cloud.answer_lost = true;
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.job_count, 1);
    assert_true(text_is(w, "SELECT state FROM batch", "starting"));
    killed(w);
    cloud.start_rc = 0;
    cloud.answer_lost = false;
    end_job(0, "COMPLETED");
    later(w);
    assert_true(start_next(&w->m));
    assert_true(text_is(w, "SELECT state FROM batch", "running"));
    assert_int_equal(cloud.start_calls, 1);
    finish_well(w, batch, ids, 1);
}

/* Killed between the intent and the call, or between the call and its record: the row looks the same. Listings lag: an empty one shortly
 * after the call proves nothing, and later on the same token finds the same job. */
static void a_lagging_listing_makes_no_second_job(void **in)
{
    struct world *w = *in;
    char ids[1][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    struct state_batch b;
    struct err e = {0};
    bool found = false;
    int64_t wait = -1;
    char uri[300];
    closed_batch(w, ids, batch, 1);
    (void)snprintf(uri, sizeof uri, "s3://bucket/p/%s/", batch);
    assert_int_equal(state_batch_claim(w->m.state, WORK_START, &b, &found, &e), 0);
    assert_int_equal(state_batch_starting(w->m.state, &b, &w->m.limits, uri, "s3://bucket/out/", "0123456789abcdef0123456789abcdef", "role", &wait, &e), 0);
    const struct ahi_start call = {"0123456789abcdef0123456789abcdef", b.client_token, b.id, "role", uri, "s3://bucket/out/"};
    struct ahi_job job;
    assert_int_equal(ahi_start_job(NULL, &call, &job, &e), 0);
    killed(w);
    cloud.listing_lags = true;
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.start_calls, 1); /* too early to believe the listing */
    assert_int_equal(cloud.list_calls, 4);
    later(w);
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.start_calls, 2);
    assert_int_equal(cloud.job_count, 1);
    finish_well(w, batch, ids, 1);
}

/* The clock ran a day ahead when the job was started and was set back since: nothing waits for that day. */
static void a_clock_that_was_set_back_delays_no_start(void **in)
{
    struct world *w = *in;
    char ids[1][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    closed_batch(w, ids, batch, 1);
    cloud.start_rc = ERR_TIMEOUT;
    assert_true(start_next(&w->m));
    later(w);
    run_sql(w, "UPDATE event SET at_ms = at_ms + 86400000 WHERE to_state = 'starting'");
    cloud.start_rc = 0;
    assert_true(start_next(&w->m));
    assert_true(text_is(w, "SELECT state FROM batch", "running"));
    assert_int_equal(cloud.job_count, 1);
}

/* A job that carries our name by chance, but another input, is not ours. */
static void a_strangers_job_is_not_adopted(void **in)
{
    struct world *w = *in;
    char ids[1][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    closed_batch(w, ids, batch, 1);
    cloud.start_rc = ERR_TIMEOUT;
    assert_true(start_next(&w->m));
    cloud.start_rc = 0;
    cloud.job_count = 1;
    (void)snprintf(cloud.jobs[0].job_id, sizeof cloud.jobs[0].job_id, "other");
    (void)snprintf(cloud.jobs[0].job_name, sizeof cloud.jobs[0].job_name, "%s", batch);
    (void)snprintf(cloud.jobs[0].status, sizeof cloud.jobs[0].status, "COMPLETED");
    (void)snprintf(cloud.jobs[0].input_s3_uri, sizeof cloud.jobs[0].input_s3_uri, "s3://another/");
    later(w);
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.job_count, 2);
    assert_true(text_is(w, "SELECT job_id FROM instance", "job1"));
}

/* Throttling, quota, network: the gate closes, nothing is charged, nobody is called until it opens, the same token is sent again. */
static void outages_only_wait(void **in)
{
    struct world *w = *in;
    static const int codes[] = {ERR_AWS_THROTTLED, ERR_AWS_QUOTA, ERR_AWS_SERVER, ERR_NETWORK, ERR_TIMEOUT};
    char ids[1][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    closed_batch(w, ids, batch, 1);
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        cloud.start_rc = codes[i];
        later(w);
        assert_true(start_next(&w->m));
        assert_int_equal(cloud.start_calls, i + 1);
        assert_false(start_next(&w->m)); /* the gate */
        run_sql(w, "UPDATE batch SET next_attempt_ms = 0");
        assert_false(start_next(&w->m));
        assert_int_equal(cloud.start_calls, i + 1);
        assert_int_equal(number(w, "SELECT attempts FROM batch"), 0);
        assert_false(gate_is_alarmed(&w->m.start));
    }
    /* a look-up that fails decides nothing */
    cloud.start_rc = 0;
    cloud.list_rc = ERR_AWS_THROTTLED;
    later(w);
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.start_calls, 5);
    cloud.list_rc = 0;
    later(w);
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.start_calls, 6);
    /* the same while following and reading */
    cloud.get_rc = ERR_AWS_THROTTLED;
    later(w);
    assert_true(poll_next(&w->m));
    assert_false(poll_next(&w->m));
    cloud.get_rc = 0;
    end_job(0, "COMPLETED");
    later(w);
    assert_true(poll_next(&w->m));
    cloud.s3_rc = ERR_AWS_SERVER;
    later(w);
    assert_true(results_next(&w->m));
    assert_false(results_next(&w->m));
    cloud.s3_rc = 0;
    assert_int_equal(number(w, "SELECT attempts FROM batch"), 0);
    char text[400] = "";
    success_line(text, sizeof text, batch, ids[0]);
    put_manifest(0, 1, 1, 0, 0);
    put_result(0, "SUCCESS/success.ndjson", text);
    later(w);
    assert_true(results_next(&w->m));
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'imported'"), 1);
    assert_int_equal(cloud.job_count, 1);
}

/* What a person must correct alarms and waits; the batch is kept and goes on. */
static void a_wrong_setting_waits_with_an_alarm(void **in)
{
    struct world *w = *in;
    char ids[1][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    closed_batch(w, ids, batch, 1);
    cloud.store_status = "CREATING";
    assert_true(start_next(&w->m));
    assert_true(gate_is_alarmed(&w->m.start));
    assert_non_null(strstr(w->m.start.why.text, "CREATING"));
    assert_int_equal(cloud.start_calls, 0);
    assert_true(text_is(w, "SELECT state FROM batch", "closed"));
    cloud.store_status = "ACTIVE";
    cloud.start_rc = ERR_AWS_DENIED;
    later(w);
    assert_true(start_next(&w->m));
    assert_true(gate_is_alarmed(&w->m.start));
    assert_true(text_is(w, "SELECT error_code FROM batch", "AWS_ACCESS_DENIED"));
    assert_int_equal(number(w, "SELECT attempts FROM batch"), 0);
    cloud.start_rc = 0;
    later(w);
    assert_true(start_next(&w->m));
    assert_false(gate_is_alarmed(&w->m.start));
    /* no new job while results cannot be read */
    end_job(0, "COMPLETED");
    later(w);
    assert_true(poll_next(&w->m));
    cloud.s3_rc = ERR_AWS_DENIED;
    assert_true(results_next(&w->m));
    assert_true(gate_is_alarmed(&w->m.results));
    later(w);
    char more[1][STATE_ID_SIZE];
    char other[STATE_ID_SIZE];
    closed_batch(w, more, other, 1);
    assert_false(start_next(&w->m));
    cloud.s3_rc = 0;
    cloud.get_rc = 0;
    put_manifest(0, 1, 0, 0, 1);
    later(w);
    assert_true(results_next(&w->m));
    assert_false(gate_is_alarmed(&w->m.results));
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.job_count, 2);
}

/* The gate's work was done by another importer, so that no probe comes: it must not hold up the start of jobs for ever. */
static void an_alarm_without_work_holds_up_nothing(void **in)
{
    struct world *w = *in;
    char ids[1][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    const struct err denied = {.code = ERR_AWS_DENIED, .text = "ordered"};
    closed_batch(w, ids, batch, 1);
    gate_close(&w->m.results, &denied, clock_mono_ms());
    assert_false(start_next(&w->m));
    w->m.results.until_ms = clock_mono_ms() - 5000;
    assert_false(results_next(&w->m));
    assert_false(start_next(&w->m)); /* a batch may just be due again */
    w->m.results.until_ms = clock_mono_ms() - 11000;
    assert_false(results_next(&w->m));
    assert_false(gate_is_alarmed(&w->m.results));
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.job_count, 1);
    /* it fails again: closed and alarmed as before */
    gate_close(&w->m.results, &denied, clock_mono_ms());
    assert_true(gate_is_alarmed(&w->m.results));
    assert_int_equal(w->m.results.failures, 2);
}

/* The request itself is refused: it would be refused for ever, so its instances end with the reason, and a person may try again. */
static void a_refused_request_fails_its_instances(void **in)
{
    struct world *w = *in;
    char ids[2][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    struct err e = {0};
    int64_t count = 0;
    closed_batch(w, ids, batch, 2);
    cloud.start_rc = ERR_AWS_REJECTED;
    assert_true(start_next(&w->m));
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'failed' AND error_code = 'AWS_REJECTED' AND error_text LIKE '%ordered%' "
                               "AND remedy LIKE '%storescpctl retry%'"), 2);
    assert_true(text_is(w, "SELECT state FROM batch", "done"));
    later(w);
    assert_false(start_next(&w->m));
    assert_int_equal(state_retry(w->f->uploader, "ALL", false, &count, &e), 0);
    assert_int_equal(count, 2);
    assert_int_equal(number(w, "SELECT count(*) FROM batch WHERE state = 'open'"), 1);
}

/* Everything in one job: imported, the file's fault, the service's fault, no word at all, and lines that cannot be read. */
static void each_instance_has_its_end(void **in)
{
    struct world *w = *in;
    char ids[5][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    char good[3000] = "garbage\n{\"inputFile\":\"p/elsewhere/x\"}\n";
    char bad[3000] = "";
    char warned[600];
    closed_batch(w, ids, batch, 5);
    assert_true(start_next(&w->m));
    end_job(0, "COMPLETED");
    later(w);
    assert_true(poll_next(&w->m));
    assert_true(results_next(&w->m)); /* no manifest yet */
    assert_true(text_is(w, "SELECT state FROM batch", "reconciling"));
    assert_true(text_is(w, "SELECT error_code FROM batch", "IMPORT_RESULT_UNKNOWN"));
    assert_false(results_next(&w->m)); /* it waits for it */
    success_line(good, sizeof good, batch, ids[0]);
    success_line(good, sizeof good, batch, ids[1]);
    failure_line(bad, sizeof bad, batch, ids[2], "ValidationException");
    failure_line(bad, sizeof bad, batch, ids[3], "InternalServerException");
    bad[strlen(bad) - 1] = '\0'; /* the last line has no newline */
    (void)snprintf(warned, sizeof warned, "{\"inputFile\":\"p/%s/%s.dcm\",\"importResponse\":{\"imageSetId\":\"set1\",\"isPrimary\":false,"
                   "\"warnings\":[{\"warning_reason_code\":45344,\"type\":\"UNSUPPORTED_TRANSFER_SYNTAX\"}]}}\n", batch, ids[1]);
    put_manifest(0, 5, 2, 1, 1);
    put_result(0, "SUCCESS/success.ndjson", good);
    put_result(0, "FAILURE/failure.ndjson", bad);
    put_result(0, "WARNING/warning.ndjson", warned);
    for (int i = 0; i < 20 && number(w, "SELECT count(*) FROM batch WHERE state = 'reconciling'"); i++) {
        later(w);
        assert_true(results_next(&w->m));
        assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'imported'"), 2);
    }
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'imported' AND is_primary = 0 AND warning LIKE '%45344%'"), 1);
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'failed' AND error_code = 'IMPORT_REFUSED' AND error_text = 'ValidationException: because'"), 1);
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'validated' AND error_code = 'IMPORT_SERVER_ERROR' AND import_attempts = 1"), 1);
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'validated' AND error_code = 'IMPORT_RESULT_UNKNOWN' AND import_attempts = 1"), 1);
    assert_int_equal(number(w, "SELECT count(*) FROM instance i JOIN batch b ON b.id = i.batch WHERE i.state = 'validated' AND b.state = 'open' AND i.job_id IS NULL"), 2);
    assert_int_equal(number(w, "SELECT count(*) FROM batch WHERE state = 'done'"), 1);
}

/* A FAILED job may have imported a part; the rest goes back with the job's message, and after enough jobs it ends in 'failed'. An upload
 * in between must not forget the count. */
static void failed_jobs_come_to_an_end(void **in)
{
    struct world *w = *in;
    char ids[2][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    char good[600] = "";
    closed_batch(w, ids, batch, 2);
    for (int job = 0; job < 3; job++) {
        assert_true(start_next(&w->m));
        end_job(job, "FAILED");
        (void)snprintf(cloud.jobs[job].message, sizeof cloud.jobs[job].message, "role cannot be assumed");
        if (job == 0) {
            success_line(good, sizeof good, batch, ids[0]);
            put_result(0, "SUCCESS/success.ndjson", good);
        }
        later(w);
        assert_true(poll_next(&w->m));
        for (int i = 0; i < 20 && number(w, "SELECT count(*) FROM batch WHERE state = 'reconciling'"); i++) {
            later(w);
            assert_true(results_next(&w->m));
        }
        assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'imported'"), 1);
        if (job < 2) {
            struct state_instance claim;
            struct err e = {0};
            int closed = 0;
            assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'validated' AND error_code = 'IMPORT_JOB_FAILED'"), 1);
            run_sql(w, "UPDATE instance SET next_attempt_ms = 0");
            upload_one(w->f, &claim);
            assert_string_equal(claim.r.id, ids[1]);
            assert_int_equal(state_batches_close(w->m.state, -1000, 600000, &closed, &e), 0);
            later(w);
        }
    }
    assert_true(text_is(w, "SELECT error_text FROM instance WHERE state = 'failed' AND remedy IS NOT NULL", "job job2 is FAILED: role cannot be assumed"));
    assert_int_equal(cloud.job_count, 3);
}

/* A job that nobody knows any more: what its results say counts, and only the rest goes back. */
static void a_job_that_is_gone_is_read_by_its_results(void **in)
{
    struct world *w = *in;
    char ids[2][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    char good[600] = "";
    closed_batch(w, ids, batch, 2);
    assert_true(start_next(&w->m));
    success_line(good, sizeof good, batch, ids[0]);
    put_manifest(0, 2, 1, 0, 1);
    put_result(0, "SUCCESS/success.ndjson", good);
    cloud.get_rc = ERR_AWS_NOT_FOUND;
    for (int i = 0; i < 30 && number(w, "SELECT count(*) FROM batch WHERE state <> 'done'  AND state <> 'open'"); i++) {
        later(w);
        (void)poll_next(&w->m);
        (void)results_next(&w->m);
    }
    assert_int_equal(cloud.get_calls, 10);
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'imported'"), 1);
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'validated'"), 1);
    /* and a data store that is gone is another thing */
    assert_false(gate_is_alarmed(&w->m.poll));
}

/* Killed before any step: the next importer goes on, nothing is done twice. */
static void killed_in_each_phase(void **in)
{
    struct world *w = *in;
    char ids[1][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    char good[400] = "";
    static const enum state_batch_work kinds[] = {WORK_START, WORK_POLL, WORK_RESULTS};
    bool (*const steps[])(struct importer *) = {start_next, poll_next, results_next};
    closed_batch(w, ids, batch, 1);
    for (size_t i = 0; i < 3; i++) {
        struct state_batch b;
        struct err e = {0};
        bool found = false;
        later(w);
        assert_int_equal(state_batch_claim(w->m.state, kinds[i], &b, &found, &e), 0);
        assert_true(found);
        struct state *other = worker(w->f->home, STAGE_IMPORTER);
        struct state_batch theirs;
        assert_int_equal(state_batch_claim(other, kinds[i], &theirs, &found, &e), 0);
        assert_false(found); /* it is ours */
        struct state *dead = w->m.state;
        struct state_batch stale = b;
        killed(w);
        assert_int_equal(state_batch_defer(other, &stale, NULL, NULL, 0, &e), ERR_FENCED);
        (void)dead;
        state_close(&other);
        if (i == 1) {
            end_job(0, "COMPLETED");
            put_manifest(0, 1, 1, 0, 0);
            success_line(good, sizeof good, batch, ids[0]);
            put_result(0, "SUCCESS/success.ndjson", good);
        }
        assert_true(steps[i](&w->m));
    }
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'imported'"), 1);
    assert_int_equal(cloud.job_count, 1);
    assert_int_equal(cloud.start_calls, 1);
}

/* 100 jobs at the least setting, two importers or ten: not more than 25 looks a second. */
static void looks_stay_within_the_rate(void **unused)
{
    (void)unused;
    for (uint32_t random = 0; random < 1000; random++) {
        int64_t ms = importer_poll_ms(50, 100, random * 2654435761U);
        assert_in_range(ms, 4375, 5625);
    }
    assert_in_range(importer_poll_ms(5000, 1, 77), 4375, 5625);
    assert_in_range(importer_poll_ms(50, 0, 77), 44, 57);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_batch_is_imported, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_lost_answer_makes_no_second_job, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_lagging_listing_makes_no_second_job, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_clock_that_was_set_back_delays_no_start, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_strangers_job_is_not_adopted, world_up, world_down),
        cmocka_unit_test_setup_teardown(outages_only_wait, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_wrong_setting_waits_with_an_alarm, world_up, world_down),
        cmocka_unit_test_setup_teardown(an_alarm_without_work_holds_up_nothing, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_refused_request_fails_its_instances, world_up, world_down),
        cmocka_unit_test_setup_teardown(each_instance_has_its_end, world_up, world_down),
        cmocka_unit_test_setup_teardown(failed_jobs_come_to_an_end, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_job_that_is_gone_is_read_by_its_results, world_up, world_down),
        cmocka_unit_test_setup_teardown(killed_in_each_phase, world_up, world_down),
        cmocka_unit_test(looks_stay_within_the_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
