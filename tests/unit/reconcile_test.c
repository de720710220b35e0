/*
 * reconcile: results of unusual size and form. Files of several slices with a line that is longer than one, several files of a kind, more
 * files than any job leaves, a manifest that is none, an error in the middle, a stop in the middle, a batch of another data store.
 */
#include "tests/unit/ordered_cloud.h"

#include <signal.h>

/* A batch whose job has ended, ready to be read. */
static void ended_batch(struct world *w, char ids[][STATE_ID_SIZE], char batch[STATE_ID_SIZE], size_t count)
{
    closed_batch(w, ids, batch, count);
    assert_true(start_next(&w->m));
    end_job(0, "COMPLETED");
    later(w);
    assert_true(poll_next(&w->m));
}

/* Three megabytes: padding, a good line, one line of 1.5 MB that is longer than a slice, a good line that lies across a border. */
static void a_file_of_many_slices(void **in)
{
    enum { SIZE = 3 << 20 };
    struct world *w = *in;
    char ids[3][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    ended_batch(w, ids, batch, 3);
    char *text = calloc(1, SIZE + 1000);
    assert_non_null(text);
    success_line(text, SIZE, batch, ids[0]);
    size_t used = strlen(text);
    while (used < (1 << 20) - 60) { /* lines that are foreign */
        used += (size_t)snprintf(text + used, SIZE - used, "{\"inputFile\":\"p/elsewhere/%zu.dcm\"}\n", used);
    }
    text[used] = '\0';
    success_line(text + used, SIZE - used, batch, ids[1]); /* across the first border of slices */
    used += strlen(text + used);
    memset(text + used, 'x', 3 << 19);
    used += 3 << 19;
    text[used++] = '\n';
    success_line(text + used, SIZE + 1000 - used, batch, ids[2]);
    put_manifest(0, 3, 3, 0, 0);
    put_result(0, "SUCCESS/success.ndjson", text);
    free(text);
    assert_true(results_next(&w->m));
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'imported'"), 3);
    assert_true(text_is(w, "SELECT state FROM batch", "done"));
}

static void several_files_of_a_kind(void **in)
{
    struct world *w = *in;
    char ids[2][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    char one[400] = "";
    char two[400] = "";
    ended_batch(w, ids, batch, 2);
    success_line(one, sizeof one, batch, ids[0]);
    success_line(two, sizeof two, batch, ids[1]);
    put_result(0, "SUCCESS/success_1.ndjson", one);
    put_result(0, "SUCCESS/success_2.ndjson", two);
    put_result(0, "SUCCESS/", "");
    put_result(0, "notes/other.txt", "nothing of ours");
    put_manifest(0, 2, 2, 0, 0);
    assert_true(results_next(&w->m));
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'imported'"), 2);
}

/* A manifest that cannot be read is waited for like one that is not there, and in the end the lines decide without it. */
static void a_manifest_that_is_none(void **in)
{
    struct world *w = *in;
    char ids[2][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    char one[400] = "";
    int looks = 0;
    ended_batch(w, ids, batch, 2);
    success_line(one, sizeof one, batch, ids[0]);
    put_result(0, "job-output-manifest.json", "<html>not today</html>");
    put_result(0, "SUCCESS/success.ndjson", one);
    for (; looks < 30 && number(w, "SELECT count(*) FROM batch WHERE state = 'reconciling'"); looks++) {
        assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'importing'"), 2);
        later(w);
        assert_true(results_next(&w->m));
    }
    assert_int_equal(looks, 13);
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'imported'"), 1);
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'validated' AND error_code = 'IMPORT_RESULT_UNKNOWN'"), 1);
    assert_false(gate_is_alarmed(&w->m.results));
}

/* Output that is no place to read from cannot be waited away, but it must neither stop others nor end in a guess. */
static void a_batch_with_an_unreadable_output_holds_up_nobody(void **in)
{
    struct world *w = *in;
    char ids[1][STATE_ID_SIZE];
    char more[1][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    char other[STATE_ID_SIZE];
    char one[400] = "";
    ended_batch(w, ids, batch, 1);
    run_sql(w, "UPDATE import_job SET outputS3Uri = 'nonsense'");
    assert_true(results_next(&w->m));
    assert_true(text_is(w, "SELECT error_code FROM batch", "PROTOCOL"));
    assert_int_equal(number(w, "SELECT attempts FROM batch"), 1);
    closed_batch(w, more, other, 1);
    assert_true(start_next(&w->m));
    end_job(1, "COMPLETED");
    run_sql(w, "UPDATE batch SET next_attempt_ms = 0 WHERE state = 'running'");
    assert_true(poll_next(&w->m));
    success_line(one, sizeof one, other, more[0]);
    put_manifest(1, 1, 1, 0, 0);
    put_result(1, "SUCCESS/success.ndjson", one);
    assert_true(results_next(&w->m));
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'imported'"), 1);
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'importing'"), 1);
}

/* The setting names another data store since the batch was begun. What is wrong with the old one closes no gate for the new one. */
static void a_batch_of_another_data_store_holds_up_nobody(void **in)
{
    struct world *w = *in;
    char ids[1][STATE_ID_SIZE];
    char more[1][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    char other[STATE_ID_SIZE];
    closed_batch(w, ids, batch, 1);
    assert_true(start_next(&w->m));
    assert_string_equal(cloud.last_store, "0123456789abcdef0123456789abcdef");
    run_sql(w, "UPDATE import_job SET datastoreId = 'ffffffffffffffffffffffffffffffff'");
    cloud.get_rc = ERR_AWS_DENIED;
    later(w);
    assert_true(poll_next(&w->m));
    assert_string_equal(cloud.last_store, "ffffffffffffffffffffffffffffffff");
    assert_false(gate_is_alarmed(&w->m.poll));
    assert_true(gate_is_open(&w->m.poll, clock_mono_ms()));
    assert_true(text_is(w, "SELECT error_code FROM batch WHERE state = 'running'", "AWS_ACCESS_DENIED"));
    closed_batch(w, more, other, 1);
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.job_count, 2);
}

/* A place became free: who waits because of the quota need not wait for the end of its pause. */
static void a_job_that_ends_opens_the_quota(void **in)
{
    struct world *w = *in;
    char ids[1][STATE_ID_SIZE];
    char more[1][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    closed_batch(w, ids, batch, 1);
    assert_true(start_next(&w->m));
    closed_batch(w, more, batch, 1);
    cloud.start_rc = ERR_AWS_QUOTA;
    assert_true(start_next(&w->m));
    assert_false(gate_is_open(&w->m.start, clock_mono_ms()));
    end_job(0, "COMPLETED");
    run_sql(w, "UPDATE batch SET next_attempt_ms = 0");
    assert_true(poll_next(&w->m));
    cloud.start_rc = 0;
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.job_count, 2);
}

/* SIGTERM while results are read: the claim is given back, nothing is charged, the next one reads again. Last: a stop is for ever. */
static void a_stop_in_the_middle(void **in)
{
    struct world *w = *in;
    char ids[1][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    char one[400] = "";
    struct err e = {0};
    ended_batch(w, ids, batch, 1);
    success_line(one, sizeof one, batch, ids[0]);
    put_manifest(0, 1, 1, 0, 0);
    put_result(0, "SUCCESS/success.ndjson", one);
    assert_int_equal(stop_install(&e), 0);
    assert_int_equal(raise(SIGTERM), 0);
    assert_true(results_next(&w->m));
    assert_true(text_is(w, "SELECT state FROM batch", "reconciling"));
    assert_int_equal(number(w, "SELECT count(*) FROM batch WHERE owner IS NULL AND attempts = 0 AND error_code IS NULL"), 1);
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'importing'"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_of_many_slices, world_up, world_down),
        cmocka_unit_test_setup_teardown(several_files_of_a_kind, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_manifest_that_is_none, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_batch_with_an_unreadable_output_holds_up_nobody, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_batch_of_another_data_store_holds_up_nobody, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_job_that_ends_opens_the_quota, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_stop_in_the_middle, world_up, world_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
