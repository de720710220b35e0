/*
 * destinations in state.db: what goes where does not mix. Claims, batches, duplicates, start buckets and multipart uploads belong to one destination each;
 * where nothing is imported an instance ends in 'stored' without a batch.
 */
#include "tests/unit/state_fixture.h"

#include "common/state/internal.h"

static const struct state_batch_limits limits = {.max_count = 5000, .max_bytes = 10000000000LL};

/* The first column of the first row. */
static const char *text_of(struct fixture *f, const char *sql)
{
    static char out[300];
    sqlite3_stmt *q = NULL;
    assert_int_equal(sqlite3_prepare_v2(f->uploader->db, sql, -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    state_column(q, 0, out, sizeof out);
    (void)sqlite3_finalize(q);
    return out;
}

/* As the validator does it. */
static enum state_verdict judge_for(struct fixture *f, const char *destination, bool without_batch)
{
    struct state_instance claim;
    size_t count = 0;
    struct err e = {0};
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &claim, 1, &count, &e), 0);
    assert_int_equal(count, 1);
    (void)snprintf(claim.destination, sizeof claim.destination, "%s", destination);
    struct state_validation v = {.claim = &claim, .without_batch = without_batch};
    (void)snprintf(v.identity.study_uid, sizeof v.identity.study_uid, "1.2.3");
    struct state_instance twin;
    bool same;
    if (state_find_twin(f->validator, &claim, &twin, &same, &e) == 1) {
        (void)snprintf(v.compared_with, sizeof v.compared_with, "%s", twin.r.id);
    }
    assert_int_equal(state_validated(f->validator, &v, 1, &limits, &e), 0);
    return v.verdict;
}

static size_t claim_for(struct fixture *f, const char *destination, struct state_instance *claim)
{
    size_t count = 9;
    struct err e = {0};
    assert_int_equal(state_claim_for(f->uploader, destination, claim, 1, &count, &e), 0);
    return count;
}

static void end(struct fixture *f, struct state_instance *claim, const char *location)
{
    struct err e = {0};
    struct state_uploaded u = {.claim = claim};
    (void)snprintf(u.location, sizeof u.location, "%s", location);
    (void)snprintf(u.warning, sizeof u.warning, "%s", location[0] ? "said so" : "");
    assert_int_equal(state_uploaded(f->uploader, &u, 1, &e), 0);
    assert_false(u.fenced);
}

static void one_study_at_two_destinations_is_two_batches(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    struct state_instance here;
    struct state_instance there;
    struct state_batch b;
    char id[STATE_ID_SIZE];
    int closed = 0;
    bool found = false;
    receive(f, "1.1", 7, id);
    assert_int_equal(judge_for(f, "default", false), VERDICT_VALIDATED);
    receive(f, "1.1", 7, id); /* the same image, for somebody else: no duplicate */
    assert_int_equal(judge_for(f, "other", false), VERDICT_VALIDATED);
    receive(f, "1.1", 7, id);
    assert_int_equal(judge_for(f, "other", false), VERDICT_DUPLICATE);

    assert_int_equal(claim_for(f, "nobody", &here), 0);
    assert_int_equal(claim_for(f, "default", &here), 1);
    assert_int_equal(claim_for(f, "other", &there), 1);
    assert_string_equal(there.destination, "other");
    assert_string_not_equal(here.batch, there.batch);
    end(f, &here, "");
    end(f, &there, "");

    assert_int_equal(state_batches_close_for(f->importer, "other", -1000, 600000, &closed, &e), 0);
    assert_int_equal(closed, 1);
    assert_int_equal(state_batch_claim(f->importer, WORK_START, &b, &found, &e), 0);
    assert_false(found);
    assert_int_equal(state_batch_claim_for(f->importer, "other", WORK_START, &b, &found, &e), 0);
    assert_true(found);
    assert_string_equal(b.id, there.batch);
    assert_string_equal(b.destination, "other");
}

static void each_data_store_has_a_bucket_of_starts(void **in)
{
    struct fixture *f = *in;
    static const char *const names[] = {"one", "two", "three"}, *const stores[] = {"store1", "store2", "store1"};
    const struct state_start_limits one_each = {60, 1, 100};
    const struct state_start_limits one_running = {60, 9, 1};
    struct err e = {0};
    char id[STATE_ID_SIZE];
    for (int i = 0; i < 3; i++) {
        struct state_instance claim;
        struct state_batch b;
        int closed = 0;
        bool found = false;
        int64_t wait_ms = -1;
        receive(f, "1.1", 7, id);
        assert_int_equal(judge_for(f, names[i], false), VERDICT_VALIDATED);
        assert_int_equal(claim_for(f, names[i], &claim), 1);
        end(f, &claim, "");
        assert_int_equal(state_batches_close_for(f->importer, names[i], -1000, 600000, &closed, &e), 0);
        assert_int_equal(state_batch_claim_for(f->importer, names[i], WORK_START, &b, &found, &e), 0);
        assert_true(found);
        assert_int_equal(state_batch_starting(f->importer, &b, i < 2 ? &one_each : &one_running, "in", "out", stores[i], "role", &wait_ms, &e), 0);
        assert_int_equal(wait_ms > 0, i == 2); /* the third waits for the first: the same store */
    }
}

static void without_import_stored_is_the_end(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    struct state_instance claim;
    struct state_progress p = {0};
    bool news = false;
    bool releasable = false;
    char id[STATE_ID_SIZE];
    char ids[2][STATE_ID_SIZE];
    size_t count = 0;
    receive(f, "1.1", 7, id);
    assert_int_equal(judge_for(f, "archive", true), VERDICT_VALIDATED);
    assert_int_equal(claim_for(f, "archive", &claim), 1);
    assert_string_equal(claim.batch, "");
    end(f, &claim, "s3://archive/p/x.dcm");
    (void)snprintf(p.id, sizeof p.id, "%s", id);
    assert_int_equal(state_progress(f->importer, &p, 1, &news, &e), 0);
    assert_true(p.is_uploaded && p.is_imported && !p.is_refused);
    assert_string_equal(text_of(f, "SELECT state || ' ' || location || ' ' || warning || ' ' || (ended_ms IS NOT NULL) FROM instance"),
                        "stored s3://archive/p/x.dcm said so 1");
    assert_string_equal(text_of(f, "SELECT verdict || ' ' || stored || ' ' || destinations FROM v_study"), "stored 1 archive");
    assert_int_equal(state_releasable(f->validator, -1000, ids, 2, &count, &e), 0);
    assert_int_equal(count, 1);
    assert_int_equal(state_released(f->validator, ids, 1, &e), 0);
    assert_int_equal(state_instance_known(f->validator, id, &releasable, &e), 1);
    assert_true(releasable);
    receive(f, "1.1", 7, id); /* it comes again */
    assert_int_equal(judge_for(f, "archive", true), VERDICT_DUPLICATE);
}

static void a_failed_one_is_retried_as_it_was(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    struct err why = {0};
    struct state_instance claim;
    int64_t count = 0;
    char id[STATE_ID_SIZE];
    receive(f, "1.1", 7, id);
    assert_int_equal(judge_for(f, "archive", true), VERDICT_VALIDATED);
    assert_int_equal(claim_for(f, "archive", &claim), 1);
    (void)err_set(&why, ERR_TOO_LARGE, 0, "too large");
    assert_int_equal(state_refuse(f->uploader, &claim, &why, "r", &e), 0);
    assert_int_equal(state_retry(f->importer, id, false, &count, &e), 0);
    assert_int_equal(claim_for(f, "archive", &claim), 1);
    assert_string_equal(claim.batch, "");
}

/* The settings changed after the validator's word: a claim gets a batch, or leaves it. */
static void a_claim_is_refitted(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    struct state_instance claim;
    char id[STATE_ID_SIZE];
    receive(f, "1.1", 7, id);
    assert_int_equal(judge_for(f, "x", false), VERDICT_VALIDATED);
    assert_int_equal(claim_for(f, "x", &claim), 1);
    assert_int_equal(state_refit(f->uploader, &claim, false, &limits, &e), 0);
    assert_int_equal(state_refit(f->uploader, &claim, false, &limits, &e), ERR_FENCED);
    assert_int_equal(claim_for(f, "x", &claim), 1);
    assert_string_equal(claim.batch, "");
    assert_int_equal(state_refit(f->uploader, &claim, true, &limits, &e), 0);
    assert_int_equal(claim_for(f, "x", &claim), 1);
    assert_string_not_equal(claim.batch, "");
    assert_string_equal(text_of(f, "SELECT group_concat(note, '; ') FROM event WHERE code = 'REFITTED'"),
                        "its destination imports nothing any more; its destination imports now");
}

static bool waits(struct fixture *f, const char *name, enum state_stage stage)
{
    bool is = false;
    struct err e = {0};
    assert_int_equal(state_destination_waits(f->importer, name, stage, &is, &e), 0);
    return is;
}

/* A person moves what waits: what is in a hand stays, what is uploaded is uploaded again there, a failed one goes along, a twin fails and says why. */
static void what_waits_is_moved(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    struct err why = {0};
    struct state_instance uploaded;
    struct state_instance failed;
    struct state_instance in_hand;
    char id[STATE_ID_SIZE];
    char twin[STATE_ID_SIZE];
    char name[STATE_DESTINATION_SIZE];
    bool found = false;
    int64_t count = 0;
    int64_t left = 0;
    const struct state_move_order order = {.from = "old", .to = "new", .with_batch = true, .limits = limits};
    receive(f, "1.9", 7, id);
    assert_int_equal(judge_for(f, "new", false), VERDICT_VALIDATED);
    static const char *const sops[] = {"1.1", "1.2", "1.3", "1.4"};
    for (int i = 0; i < 4; i++) {
        receive(f, sops[i], 7, id);
        assert_int_equal(judge_for(f, "old", false), VERDICT_VALIDATED);
    }
    receive(f, "1.9", 8, twin);
    assert_int_equal(judge_for(f, "old", false), VERDICT_VALIDATED);
    assert_int_equal(claim_for(f, "old", &uploaded), 1);
    end(f, &uploaded, "");
    assert_int_equal(claim_for(f, "old", &failed), 1);
    (void)err_set(&why, ERR_TOO_LARGE, 0, "too large");
    assert_int_equal(state_refuse(f->uploader, &failed, &why, "r", &e), 0);
    assert_int_equal(claim_for(f, "old", &in_hand), 1);
    assert_true(waits(f, "old", STAGE_UPLOADER) && waits(f, "old", STAGE_IMPORTER) && !waits(f, "none", STAGE_IMPORTER));
    assert_int_equal(state_destination_at(f->importer, 2, name, &found, &e), 0);
    assert_true(found);
    assert_string_equal(name, "old");

    state_person(f->validator, "Dr. Night");
    assert_int_equal(state_move_destination(f->validator, &order, &count, &left, &e), 0);
    assert_int_equal(count, 4);
    assert_int_equal(left, 1);
    assert_string_equal(text_of(f, "SELECT group_concat(state || ' ' || destination, ', ') FROM (SELECT * FROM instance ORDER BY id)"),
                        "validated new, validated new, failed new, validated old, validated new, failed new");
    assert_string_equal(text_of(f, "SELECT error_code FROM instance WHERE sop_instance_uid = '1.9' AND state = 'failed'"), "DUPLICATE");
    assert_string_equal(text_of(f, "SELECT count(*) || ' ' || min(who) || ' ' || min(note) FROM event WHERE code = 'MOVED'"),
                        "4 person Dr. Night from destination old to new");
    assert_string_equal(text_of(f, "SELECT count(*) FROM instance i JOIN batch b ON b.id = i.batch WHERE i.state = 'validated' AND b.destination <> i.destination"),
                        "0");
    assert_string_equal(text_of(f, "SELECT held_left FROM batch WHERE destination = 'old'"), "1");
    assert_int_equal(state_unclaim(f->uploader, &in_hand, 1, &e), 0);
    assert_int_equal(state_move_destination(f->validator, &order, &count, &left, &e), 0);
    assert_int_equal(count, 1);
    assert_int_equal(left, 0);
    assert_false(waits(f, "old", STAGE_UPLOADER));
    /* a retry goes where it was moved to */
    assert_int_equal(state_retry(f->validator, failed.r.id, false, &count, &e), 0);
    assert_string_equal(text_of(f, "SELECT group_concat(DISTINCT destination) FROM instance WHERE state = 'validated'"), "new");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_study_at_two_destinations_is_two_batches, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_data_store_has_a_bucket_of_starts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_import_stored_is_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failed_one_is_retried_as_it_was, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_claim_is_refitted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_waits_is_moved, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
