/*
 * prefix: S3 stored an object, its answer was lost, and then the upload failed for good. HealthImaging imports whatever lies below a batch's
 * prefix, so the image was imported although its row said `failed`, the result line was thrown away, and a retry imported it a second time.
 */
#include "tests/unit/ordered_cloud.h"

#include "common/spool/spool.h"

/* A closed batch of two uploaded instances and a third that failed; the objects of all three stand in S3. */
static void batch_with_a_stray(struct world *w, char ids[3][STATE_ID_SIZE], char batch[STATE_ID_SIZE], bool has_file)
{
    struct state_instance claim;
    struct err e = {0};
    struct err why = {ERR_AWS_REJECTED, 0, "refused by the test"};
    char path[200];
    int closed = 0;
    size_t count = 0;
    for (size_t i = 0; i < 3; i++) {
        char sop[40];
        (void)snprintf(sop, sizeof sop, "1.2.3.%zu", i);
        receive(w->f, sop, (uint32_t)i, ids[i]);
        assert_int_equal(validate_one(w->f, ids[i]), VERDICT_VALIDATED);
        if (i < 2) {
            upload_one(w->f, &claim);
        } else {
            assert_int_equal(state_claim(w->f->uploader, STAGE_UPLOADER, &claim, 1, &count, &e), 0);
            assert_int_equal(state_refuse(w->f->uploader, &claim, &why, "correct it", &e), 0);
        }
        (void)snprintf(batch, STATE_ID_SIZE, "%s", claim.batch);
        (void)snprintf(path, sizeof path, "p/%s/%s.dcm", batch, ids[i]);
        put_object(path, "image");
    }
    assert_int_equal(spool_prepare(w->f->home, &e), 0);
    if (has_file) {
        (void)snprintf(path, sizeof path, "%s/spool/obj/%s.dcm", w->f->home, ids[2]);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_int_equal(fclose(f), 0);
    }
    assert_int_equal(state_batches_close(w->m.state, -1000, 600000, &closed, &e), 0);
    assert_int_equal(closed, 1);
}

static bool stands(const char *batch, const char *id)
{
    char key[200];
    (void)snprintf(key, sizeof key, "p/%s/%s.dcm", batch, id);
    for (int i = 0; i < cloud.object_count; i++) {
        if (strcmp(cloud.objects[i].key, key) == 0) {
            return true;
        }
    }
    return false;
}

/* The job ends; its results name all whose objects it found. */
static void job_imports(struct world *w, const char *batch, char ids[][STATE_ID_SIZE], int count)
{
    char text[2000] = "";
    for (int i = 0; i < count; i++) {
        success_line(text, sizeof text, batch, ids[i]);
    }
    end_job(0, "COMPLETED");
    put_manifest(0, count, count, 0, 0);
    put_result(0, "SUCCESS/success.ndjson", text);
    later(w);
    assert_true(poll_next(&w->m));
    assert_true(results_next(&w->m));
}

static void a_failed_ones_object_is_not_imported(void **in)
{
    struct world *w = *in;
    char ids[3][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    batch_with_a_stray(w, ids, batch, true);
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.job_count, 1);
    assert_int_equal(cloud.deletes, 1);
    assert_true(stands(batch, ids[0]) && stands(batch, ids[1]));
    assert_false(stands(batch, ids[2]));
    job_imports(w, batch, ids, 2);
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'imported'"), 2);
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'failed' AND warning IS NULL"), 1);
}

static void a_dropped_ones_object_is_not_imported(void **in)
{
    struct world *w = *in;
    char ids[3][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    struct err e = {0};
    int64_t count = 0;
    batch_with_a_stray(w, ids, batch, false);
    assert_int_equal(state_drop(w->f->uploader, ids[2], "wrong patient", &count, &e), 0);
    assert_int_equal(count, 1);
    assert_true(start_next(&w->m));
    assert_false(stands(batch, ids[2]));
}

static void a_retried_ones_object_is_not_imported_twice(void **in)
{
    struct world *w = *in;
    char ids[3][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    struct err e = {0};
    int64_t count = 0;
    batch_with_a_stray(w, ids, batch, true);
    assert_int_equal(state_retry(w->f->uploader, ids[2], false, &count, &e), 0);
    assert_int_equal(count, 1);
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.deletes, 1);
    assert_false(stands(batch, ids[2]));
}

/* What a person holds after its upload does not keep its batch for ever, and is not imported with it: its object goes before the start, or the batch
 * does not start. Released, it is uploaded into the study's next batch. */
static void a_held_ones_object_is_not_imported(void **in)
{
    struct world *w = *in;
    struct state_instance claim;
    struct err e = {0};
    char ids[3][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    char key[200];
    int64_t count = 0;
    int64_t late = 0;
    int moved = 0;
    assert_int_equal(spool_prepare(w->f->home, &e), 0);
    closed_batch(w, ids, batch, 3);
    for (int i = 0; i < 3; i++) {
        (void)snprintf(key, sizeof key, "p/%s/%s.dcm", batch, ids[i]);
        put_object(key, "image");
        (void)snprintf(key, sizeof key, "%s/spool/obj/%s.dcm", w->f->home, ids[i]);
        FILE *f = fopen(key, "w");
        assert_non_null(f);
        assert_int_equal(fclose(f), 0);
    }
    assert_int_equal(state_hold(w->f->uploader, ids[1], "wrong patient?", &count, &late, &e), 0);
    assert_int_equal(count, 1);
    assert_false(start_next(&w->m));
    assert_int_equal(state_batches_leave_held(w->m.state, 60000, &w->m.again.limits, &moved, &e), 0);
    assert_int_equal(moved, 0); /* it is given some time */
    assert_int_equal(state_batches_leave_held(w->m.state, -1000, &w->m.again.limits, &moved, &e), 0);
    assert_int_equal(moved, 1);
    assert_int_equal(state_batches_leave_held(w->m.state, -1000, &w->m.again.limits, &moved, &e), 0);
    assert_int_equal(moved, 0);
    cloud.delete_rc = ERR_AWS_DENIED; /* better late than imported against a person's word */
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.start_calls, 0);
    assert_true(text_is(w, "SELECT error_code FROM batch WHERE held_left = 1", "AWS_CONFLICT"));
    cloud.delete_rc = 0;
    later(w);
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.job_count, 1);
    assert_false(stands(batch, ids[1]));
    assert_true(stands(batch, ids[0]) && stands(batch, ids[2]));
    char others[2][STATE_ID_SIZE];
    (void)snprintf(others[0], STATE_ID_SIZE, "%s", ids[0]);
    (void)snprintf(others[1], STATE_ID_SIZE, "%s", ids[2]);
    job_imports(w, batch, others, 2);
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'imported'"), 2);
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'validated' AND held = 1 AND s3_key IS NULL"), 1);
    assert_int_equal(state_unhold(w->f->uploader, ids[1], &count, &e), 0);
    upload_one(w->f, &claim);
    assert_string_equal(claim.r.id, ids[1]);
    assert_string_not_equal(claim.batch, batch);
}

/* A held one whose spool file is gone stays, and its batch with it: the object is the last copy. */
static void a_held_last_copy_stays(void **in)
{
    struct world *w = *in;
    struct err e = {0};
    char ids[2][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    int64_t count = 0;
    int64_t late = 0;
    int moved = 9;
    closed_batch(w, ids, batch, 2);
    assert_int_equal(state_hold(w->f->uploader, ids[1], NULL, &count, &late, &e), 0);
    run_sql(w, "UPDATE instance SET released_ms = 1");
    assert_int_equal(state_batches_leave_held(w->m.state, -1000, &w->m.again.limits, &moved, &e), 0);
    assert_int_equal(moved, 0);
    assert_false(start_next(&w->m));
}

/* Nothing is deleted that is the last copy of an image; that it was imported is found out and stays known. */
static void the_last_copy_is_imported_and_said_so(void **in)
{
    struct world *w = *in;
    char ids[3][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    batch_with_a_stray(w, ids, batch, false);
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.deletes, 0);
    job_imports(w, batch, ids, 3);
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'imported' AND job_id = 'job0' AND image_set_id = 'set1' "
                               "AND s3_key = 'p/' || batch || '/' || id || '.dcm'"), 3);
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE warning LIKE '%not among those%'"), 1);
    assert_int_equal(number(w, "SELECT count(*) FROM event WHERE code = 'UNEXPECTED_RESULT'"), 1);
    /* killed before the batch was done: the same results again say nothing new */
    run_sql(w, "UPDATE batch SET state = 'reconciling', next_attempt_ms = 0");
    later(w);
    assert_true(results_next(&w->m));
    assert_int_equal(number(w, "SELECT count(*) FROM event WHERE code = 'UNEXPECTED_RESULT'"), 1);
    assert_int_equal(number(w, "SELECT count(*) FROM event WHERE to_state = 'imported'"), 3);
}

/* The object came after the look (a request that S3 finished late), and a person has retried the instance: the row stays where it is, but tells. */
static void an_import_of_a_retried_one_is_told(void **in)
{
    struct world *w = *in;
    char ids[3][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    struct err e = {0};
    int64_t count = 0;
    batch_with_a_stray(w, ids, batch, false);
    assert_true(start_next(&w->m));
    assert_int_equal(state_retry(w->f->uploader, ids[2], false, &count, &e), 0);
    job_imports(w, batch, ids, 3);
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'validated' AND warning LIKE '%not among those%set1%'"), 1);
    assert_int_equal(number(w, "SELECT count(*) FROM event WHERE code = 'UNEXPECTED_RESULT'"), 1);
}

/* Without the right to list or delete, healthy images do not wait; S3 away: the batch waits, its job is not started. */
static void a_look_that_fails(void **in)
{
    struct world *w = *in;
    char ids[3][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    batch_with_a_stray(w, ids, batch, true);
    cloud.s3_rc = ERR_AWS_SERVER;
    assert_true(start_next(&w->m));
    cloud.s3_rc = 0;
    cloud.delete_rc = ERR_NETWORK;
    later(w);
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.job_count, 0);
    assert_true(text_is(w, "SELECT state FROM batch", "closed"));
    cloud.delete_rc = ERR_AWS_DENIED;
    later(w);
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.job_count, 1);
}

/* The usual batch costs no look. */
static void a_whole_batch_is_not_looked_at(void **in)
{
    struct world *w = *in;
    char ids[2][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    closed_batch(w, ids, batch, 2);
    cloud.s3_rc = ERR_AWS_SERVER;
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.job_count, 1);
}

/* hold came after the importer had chosen the batch and before it claimed it: what a person was told to be held is not started. */
static void a_batch_with_a_held_one_is_not_claimed(void **in)
{
    struct world *w = *in;
    char ids[2][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    struct err e = {0};
    int64_t count = 0;
    int64_t late = 0;
    closed_batch(w, ids, batch, 2);
    assert_int_equal(state_hold(w->f->uploader, ids[0], "wait", &count, &late, &e), 0);
    assert_int_equal(count, 1);
    assert_false(start_next(&w->m));
    assert_int_equal(cloud.job_count, 0);
    assert_int_equal(state_unhold(w->f->uploader, ids[0], &count, &e), 0);
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.job_count, 1);
}

/*
 * One image of a study cannot be read from the disk, or a person holds it: the others waited for it without an end. After a while their
 * batch starts without it; it goes on in a batch of its own, and what an answer that was lost left in S3 is not imported.
 */
static void a_late_one_does_not_hold_up_its_study(void **in)
{
    struct world *w = *in;
    static const struct state_batch_limits limits = {.max_count = 5000, .max_bytes = 10000000000LL};
    char ids[3][STATE_ID_SIZE];
    char batch[STATE_ID_SIZE];
    char key[200];
    struct state_instance claim;
    struct err e = {0};
    struct err why = {ERR_IO, 5, "input/output error"};
    int moved = 0;
    int closed = 0;
    size_t count = 0;
    int64_t held = 0;
    int64_t late = 0;
    for (size_t i = 0; i < 3; i++) {
        char sop[40];
        (void)snprintf(sop, sizeof sop, "1.2.3.%zu", i);
        receive(w->f, sop, (uint32_t)i, ids[i]);
        assert_int_equal(validate_one(w->f, ids[i]), VERDICT_VALIDATED);
        if (i == 0) {
            upload_one(w->f, &claim);
            (void)snprintf(batch, sizeof batch, "%s", claim.batch);
        }
    }
    assert_int_equal(state_hold(w->f->uploader, ids[2], "ask", &held, &late, &e), 0);
    assert_int_equal(held, 1);
    assert_int_equal(state_batches_close(w->m.state, -1000, 600000, &closed, &e), 0);
    assert_int_equal(state_claim(w->f->uploader, STAGE_UPLOADER, &claim, 1, &count, &e), 0);
    assert_int_equal(count, 1);
    run_sql(w, "UPDATE instance SET attempts = 1 WHERE owner IS NOT NULL");
    (void)snprintf(key, sizeof key, "p/%s/%s.dcm", batch, ids[1]);
    put_object(key, "image");
    assert_int_equal(state_batches_leave_late(w->m.state, 600000, &limits, &moved, &e), 0);
    assert_int_equal(moved, 0); /* not yet */
    assert_int_equal(state_batches_leave_late(w->m.state, -1000, &limits, &moved, &e), 0);
    assert_int_equal(moved, 1); /* the held one; the other is in an uploader's hands */
    assert_int_equal(state_defer(w->f->uploader, &claim, &why, clock_wall_ms() + 600000, &e), 0);
    assert_int_equal(state_batches_leave_late(w->m.state, -1000, &limits, &moved, &e), 0);
    assert_int_equal(moved, 1);
    assert_int_equal(state_batches_leave_late(w->m.state, -1000, &limits, &moved, &e), 0);
    assert_int_equal(moved, 0);
    assert_int_equal(spool_prepare(w->f->home, &e), 0);
    (void)snprintf(key, sizeof key, "%s/spool/obj/%s.dcm", w->f->home, ids[1]);
    FILE *f = fopen(key, "w");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.job_count, 1);
    assert_string_equal(cloud.jobs[0].job_name, batch);
    assert_int_equal(cloud.deletes, 1);
    assert_int_equal(number(w, "SELECT count(*) FROM instance WHERE state = 'importing'"), 1);
    assert_int_equal(number(w, "SELECT count(*) FROM instance i JOIN batch b ON b.id = i.batch WHERE i.state = 'validated' AND b.state = 'open'"), 2);
    assert_int_equal(number(w, "SELECT count(*) FROM event WHERE code = 'LATE'"), 2);
}

/* dicom_bucket is another one by now: the job is for the bucket that was decided with the keys. One that is gone holds up its own batch only. */
static void the_bucket_that_was_decided(void **in)
{
    struct world *w = *in;
    struct state_instance claim;
    struct err e = {0};
    char id[STATE_ID_SIZE];
    int closed = 0;
    receive(w->f, "1.2.3.9", 9, id);
    assert_int_equal(validate_one(w->f, id), VERDICT_VALIDATED);
    upload_one(w->f, &claim);
    run_sql(w, "UPDATE instance SET bucket = 'older'");
    assert_int_equal(state_batches_close(w->m.state, -1000, 600000, &closed, &e), 0);
    assert_int_equal(closed, 1);
    cloud.other_bucket = "older";
    cloud.other_rc = ERR_AWS_NOT_FOUND;
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.start_calls, 0);
    assert_true(gate_is_open(&w->m.start, clock_mono_ms()));
    assert_int_equal(number(w, "SELECT count(*) FROM batch WHERE state = 'closed' AND error_code = 'AWS_CONFLICT' AND error_text LIKE '%lie in bucket older, "
                               "which was dicom_bucket%cannot be used any more%storescpctl move default %'"), 1);
    assert_int_equal(number(w, "SELECT sum(attempts + import_attempts) FROM instance"), 0);
    cloud.other_rc = ERR_AWS_DENIED; /* we may not look: HealthImaging may */
    later(w);
    assert_true(start_next(&w->m));
    assert_int_equal(cloud.start_calls, 1);
    assert_int_equal(cloud.other_looks, 2);
    assert_int_equal(number(w, "SELECT count(*) FROM import_job j JOIN instance i USING (batch) WHERE inputS3Uri = 's3://older/p/' || i.batch || '/'"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_failed_ones_object_is_not_imported, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_held_ones_object_is_not_imported, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_held_last_copy_stays, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_dropped_ones_object_is_not_imported, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_retried_ones_object_is_not_imported_twice, world_up, world_down),
        cmocka_unit_test_setup_teardown(the_last_copy_is_imported_and_said_so, world_up, world_down),
        cmocka_unit_test_setup_teardown(an_import_of_a_retried_one_is_told, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_look_that_fails, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_whole_batch_is_not_looked_at, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_late_one_does_not_hold_up_its_study, world_up, world_down),
        cmocka_unit_test_setup_teardown(the_bucket_that_was_decided, world_up, world_down),
        cmocka_unit_test_setup_teardown(a_batch_with_a_held_one_is_not_claimed, world_up, world_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
