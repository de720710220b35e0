/* state: an instance's way through claims, duplicates, batches, a job and its end; fencing; dead workers. Batches: batches_test.c. */
#include "tests/unit/state_fixture.h"

static void from_received_to_imported(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    char id[27];
    char other[27];
    receive(f, "1.2.3.4", 7, id);
    assert_int_equal(validate_one(f, id), VERDICT_VALIDATED);
    receive(f, "1.2.3.4", 7, other);
    assert_int_equal(validate(f, other, id).verdict, VERDICT_DUPLICATE);
    receive(f, "1.2.3.4", 8, other);
    assert_int_equal(validate_one(f, other), VERDICT_UID_REUSED);

    struct state_instance claim;
    struct state_batch b;
    bool found = true;
    int closed = 0;
    assert_int_equal(state_batches_close(f->importer, -1000, 600000, &closed, &e), 0);
    assert_int_equal(closed, 1);
    assert_int_equal(state_batch_claim(f->importer, WORK_START, &b, &found, &e), 0);
    assert_false(found); /* not before its instance is uploaded */
    upload_one(f, &claim);
    assert_int_equal(state_batch_claim(f->importer, WORK_START, &b, &found, &e), 0);
    assert_true(found);
    assert_int_equal(b.state, BATCH_CLOSED);
    const struct state_start_limits limits = {60, 1, 100};
    const struct state_again again = {5, {.max_count = 5000, .max_bytes = 10000000000LL}};
    int64_t wait = -1;
    assert_int_equal(state_batch_starting(f->importer, &b, &limits, "s3://in/p/b/", "s3://out/r/b/", "ds", "role", &wait, &e), 0);
    assert_int_equal(wait, 0);
    assert_true(b.client_token[0] != '\0');
    assert_int_equal(state_batch_running(f->importer, &b, "job1", "SUBMITTED", 5, 0, &e), 0);
    assert_int_equal(state_batch_claim(f->importer, WORK_POLL, &b, &found, &e), 0);
    assert_int_equal(b.state, BATCH_RUNNING);
    assert_string_equal(b.job_id, "job1");
    assert_int_equal(state_batch_ended(f->importer, &b, "COMPLETED", "", "s3://out/r/b/x/", 9, &e), 0);
    assert_int_equal(state_batch_claim(f->importer, WORK_RESULTS, &b, &found, &e), 0);
    assert_int_equal(b.state, BATCH_RECONCILING);
    struct state_result r = {.kind = RESULT_IMPORTED, .image_set_id = "set1", .image_set_version = 1, .is_primary = 1};
    (void)snprintf(r.id, sizeof r.id, "%s", id);
    assert_int_equal(state_batch_results(f->importer, &b, &r, 1, &again, &e), 0);
    assert_int_equal(state_batch_results(f->importer, &b, &r, 1, &again, &e), 0); /* idempotent */
    int left = -1;
    struct err why = {.code = ERR_IMPORT_UNKNOWN};
    assert_int_equal(state_batch_done(f->importer, &b, &again, &why, &left, &e), 0);
    assert_int_equal(left, 0);
    char ids[4][STATE_ID_SIZE];
    size_t count = 0;
    assert_int_equal(state_releasable(f->validator, -1000, ids, 4, &count, &e), 0);
    assert_int_equal(count, 2); /* the imported one and its duplicate */
}

/* A result that no file mentions goes to a new batch, never silently away. */
static void unmentioned_goes_to_a_new_batch(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    char id[27];
    struct state_instance claim;
    struct state_batch b;
    bool found = false;
    int n = 0;
    receive(f, "1.2.3.9", 1, id);
    (void)validate_one(f, id);
    upload_one(f, &claim);
    char first[STATE_ID_SIZE];
    (void)snprintf(first, sizeof first, "%s", claim.batch);
    assert_int_equal(state_batches_close(f->importer, -1000, 600000, &n, &e), 0);
    assert_int_equal(state_batch_claim(f->importer, WORK_START, &b, &found, &e), 0);
    const struct state_start_limits limits = {60, 1, 100};
    const struct state_again again = {5, {.max_count = 5000, .max_bytes = 10000000000LL}};
    int64_t wait = -1;
    assert_int_equal(state_batch_starting(f->importer, &b, &limits, "i", "o", "d", "r", &wait, &e), 0);
    assert_int_equal(wait, 0);
    assert_int_equal(state_batch_running(f->importer, &b, "job2", "SUBMITTED", 5, 0, &e), 0);
    assert_int_equal(state_batch_claim(f->importer, WORK_POLL, &b, &found, &e), 0);
    assert_int_equal(state_batch_ended(f->importer, &b, "FAILED", "role", NULL, 9, &e), 0);
    assert_int_equal(state_batch_claim(f->importer, WORK_RESULTS, &b, &found, &e), 0);
    struct err why = {.code = ERR_IMPORT_JOB_FAILED, .text = "role"};
    assert_int_equal(state_batch_done(f->importer, &b, &again, &why, &n, &e), 0);
    assert_int_equal(n, 1);
    size_t count = 0;
    for (int i = 0; i < 40 && count == 0; i++) { /* its backoff is 1 to 2 s */
        (void)usleep(100000);
        assert_int_equal(state_claim(f->uploader, STAGE_UPLOADER, &claim, 1, &count, &e), 0);
    }
    assert_int_equal(count, 1);
    assert_string_not_equal(claim.batch, first);
}

/* A killed worker's claims are free at once: its lock died with it. */
static void a_dead_workers_claims_are_free(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    char id[27];
    receive(f, "1.2.3.5", 1, id);
    pid_t child = fork();
    if (child == 0) {
        struct state *s = NULL;
        struct state_instance claim;
        size_t count = 0;
        if (state_open(&s, f->home, &e) != 0 || state_worker_register(s, STAGE_VALIDATOR, &e) != 0 ||
            state_claim(s, STAGE_VALIDATOR, &claim, 1, &count, &e) != 0 || count != 1) {
            _exit(1);
        }
        _exit(0);
    }
    int status = -1;
    (void)waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    struct state_instance claim;
    size_t count = 9;
    int freed = 0;
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &claim, 1, &count, &e), 0);
    assert_int_equal(count, 0);
    assert_int_equal(state_reclaim(f->validator, &freed, &e), 0);
    assert_int_equal(freed, 1);
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &claim, 1, &count, &e), 0);
    assert_int_equal(count, 1);
    assert_int_equal(claim.deaths, 1); /* the instance may be the cause */
    assert_int_equal(state_unclaim(f->validator, &claim, 1, &e), 0);
    assert_int_equal(validate_one(f, id), VERDICT_VALIDATED);
    receive(f, "1.2.3.5", 1, id);
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &claim, 1, &count, &e), 0);
    assert_int_equal(claim.deaths, 0);
    assert_int_equal(state_unclaim(f->validator, &claim, 1, &e), 0);
}

/*
 * Two validators judge two contents of one SOP Instance UID, equal in size and CRC32C, at the same moment: each looked for a twin before
 * the other's commit, found none, and compared no bytes. The second must not be called a duplicate of what it was never compared with.
 */
static void a_twin_that_nobody_compared_makes_no_duplicate(void **in)
{
    static const struct state_batch_limits limits = {.max_count = 5000, .max_bytes = 10000000000LL};
    struct fixture *f = *in;
    struct state *second = worker(f->home, STAGE_VALIDATOR);
    struct state_instance one;
    struct state_instance other;
    struct err e = {0};
    size_t count = 0;
    char id[27];
    char later[27];
    receive(f, "1.2.3.7", 5, id);
    receive(f, "1.2.3.7", 5, later);
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &one, 1, &count, &e), 0);
    assert_int_equal(state_claim(second, STAGE_VALIDATOR, &other, 1, &count, &e), 0);
    struct state_validation v = {.claim = &one, .identity.study_uid = "1.2.3"};
    struct state_validation w = {.claim = &other, .identity.study_uid = "1.2.3"};
    assert_int_equal(state_validated(f->validator, &v, 1, &limits, &e), 0);
    assert_int_equal(v.verdict, VERDICT_VALIDATED);
    assert_int_equal(state_validated(second, &w, 1, &limits, &e), 0);
    assert_int_equal(w.verdict, VERDICT_AGAIN);
    /* it is due at once, and judged with the comparison */
    assert_int_equal(state_claim(second, STAGE_VALIDATOR, &other, 1, &count, &e), 0);
    assert_int_equal(count, 1);
    assert_int_equal(other.attempts, 0);
    struct state_validation x = {.claim = &other, .identity.study_uid = "1.2.3", .content_differs = true};
    (void)snprintf(x.compared_with, sizeof x.compared_with, "%s", one.r.id);
    assert_int_equal(state_validated(second, &x, 1, &limits, &e), 0);
    assert_int_equal(x.verdict, VERDICT_UID_REUSED);
    /* within one call the caller has compared each with those before it */
    struct state_instance both[2];
    receive(f, "1.2.3.8", 6, id);
    receive(f, "1.2.3.8", 6, later);
    assert_int_equal(state_claim(second, STAGE_VALIDATOR, both, 2, &count, &e), 0);
    assert_int_equal(count, 2);
    struct state_validation pair[2] = {{.claim = &both[0], .identity.study_uid = "1.2.3"}, {.claim = &both[1], .identity.study_uid = "1.2.3"}};
    assert_int_equal(state_validated(second, pair, 2, &limits, &e), 0);
    assert_int_equal(pair[0].verdict, VERDICT_VALIDATED);
    assert_int_equal(pair[1].verdict, VERDICT_DUPLICATE);
    state_close(&second);
}

/*
 * An image failed, its sender was asked to send it again, and the second one is on its way. Then somebody says `retry ALL`. The first went
 * straight to its upload, and the image would have been imported twice.
 */
static void a_retried_one_that_came_again_is_a_duplicate(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    char first[27];
    char second[27];
    struct state_instance claim;
    struct err why = {.code = ERR_AWS_REJECTED, .text = "refused"};
    size_t claimed = 0;
    int64_t count = 0;
    receive(f, "1.2.3.6", 1, first);
    assert_int_equal(validate_one(f, first), VERDICT_VALIDATED);
    assert_int_equal(state_claim(f->uploader, STAGE_UPLOADER, &claim, 1, &claimed, &e), 0);
    assert_int_equal(claimed, 1);
    assert_int_equal(state_refuse(f->uploader, &claim, &why, NULL, &e), 0);
    receive(f, "1.2.3.6", 1, second);
    assert_int_equal(validate_one(f, second), VERDICT_VALIDATED);
    assert_int_equal(state_retry(f->importer, "ALL", false, &count, &e), 0);
    assert_int_equal(count, 1);
    assert_int_equal(validate(f, first, second).verdict, VERDICT_DUPLICATE);
    upload_one(f, &claim);
    assert_string_equal(claim.r.id, second);
    /* without a second one the way stays the short one */
    receive(f, "1.2.3.7", 1, first);
    assert_int_equal(validate_one(f, first), VERDICT_VALIDATED);
    assert_int_equal(state_claim(f->uploader, STAGE_UPLOADER, &claim, 1, &claimed, &e), 0);
    assert_int_equal(state_refuse(f->uploader, &claim, &why, NULL, &e), 0);
    assert_int_equal(state_retry(f->importer, first, false, &count, &e), 0);
    upload_one(f, &claim);
    assert_string_equal(claim.r.id, first);
}

/* How many spool files may go. */
static size_t releasable(struct fixture *f)
{
    char ids[8][STATE_ID_SIZE];
    size_t count = 0;
    struct err e = {0};
    assert_int_equal(state_releasable(f->validator, -1000, ids, 8, &count, &e), 0);
    return count;
}

/*
 * An image came twice, and the file of the first one was lost before S3 had it. The second was a duplicate: its file, whole and the only
 * one, was deleted at once, although both had been answered with success. Now it stays while its twin may need it, and takes its place.
 */
static void a_duplicate_takes_the_place_of_a_lost_twin(void **in)
{
    struct fixture *f = *in;
    char first[27];
    char second[27];
    char third[27];
    struct state_instance claim;
    struct err e = {0};
    struct err why = {ERR_SPOOL_MISSING, 0, "gone"};
    size_t count = 0;
    receive(f, "1.2.3.9", 7, first);
    assert_int_equal(validate_one(f, first), VERDICT_VALIDATED);
    receive(f, "1.2.3.9", 7, second);
    assert_int_equal(validate(f, second, first).verdict, VERDICT_DUPLICATE);
    assert_int_equal(releasable(f), 0);
    assert_int_equal(state_claim(f->uploader, STAGE_UPLOADER, &claim, 1, &count, &e), 0);
    assert_int_equal(count, 1);
    assert_int_equal(state_refuse(f->uploader, &claim, &why, "look for it", &e), 0);
    assert_int_equal(validate_one(f, second), VERDICT_VALIDATED);
    receive(f, "1.2.3.9", 7, third);
    assert_int_equal(validate(f, third, second).verdict, VERDICT_DUPLICATE);
    upload_one(f, &claim);
    assert_string_equal(claim.r.id, second);
    assert_int_equal(releasable(f), 0);
}

/* What S3 or HealthImaging refused is the same in every copy: no copy is tried by itself. */
static void a_duplicate_of_a_refused_twin_stays_one(void **in)
{
    struct fixture *f = *in;
    char first[27];
    char second[27];
    struct state_instance claim;
    struct err e = {0};
    struct err why = {ERR_AWS_REJECTED, 0, "refused"};
    size_t count = 0;
    int64_t dropped = 0;
    receive(f, "1.2.3.9", 7, first);
    assert_int_equal(validate_one(f, first), VERDICT_VALIDATED);
    receive(f, "1.2.3.9", 7, second);
    assert_int_equal(validate(f, second, first).verdict, VERDICT_DUPLICATE);
    assert_int_equal(state_claim(f->uploader, STAGE_UPLOADER, &claim, 1, &count, &e), 0);
    assert_int_equal(state_refuse(f->uploader, &claim, &why, "correct it", &e), 0);
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &claim, 1, &count, &e), 0);
    assert_int_equal(count, 0);
    assert_int_equal(releasable(f), 0);
    assert_int_equal(state_drop(f->validator, first, "given up", &dropped, &e), 0);
    assert_int_equal(releasable(f), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_retried_one_that_came_again_is_a_duplicate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(from_received_to_imported, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unmentioned_goes_to_a_new_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_dead_workers_claims_are_free, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_twin_that_nobody_compared_makes_no_duplicate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_duplicate_takes_the_place_of_a_lost_twin, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_duplicate_of_a_refused_twin_stays_one, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
