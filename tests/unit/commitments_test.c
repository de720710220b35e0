/* commitments - storage commitment in state.db: what counts as committed, repeated requests, claims, reports that cannot be delivered. */
#include "common/state/commitments.h"
#include "tests/unit/state_fixture.h"

#define CT "1.2.840.10008.5.1.4.1.1.2"

static struct state_commitment request(const char *transaction, int64_t items, enum state_point point)
{
    struct state_commitment c = {.items = items, .point = point, .wait_until_ms = clock_wall_ms() + 3600000, .give_up_ms = clock_wall_ms() + 7200000};
    (void)snprintf(c.transaction_uid, sizeof c.transaction_uid, "%s", transaction);
    (void)snprintf(c.calling_ae, sizeof c.calling_ae, "CT1");
    (void)snprintf(c.called_ae, sizeof c.called_ae, "STORESCP");
    (void)snprintf(c.association, sizeof c.association, "01m8ab1fpxbqeza7dq3cy3kwzj");
    return c;
}

static enum state_commitment_added add(struct state *s, struct state_commitment *c, const char *references, bool on_association)
{
    enum state_commitment_added added = COMMITMENT_NEW;
    struct err e = {0};
    if (state_commitment_add(s, c, references, on_association, &added, &e) != 0) {
        fail_msg("%s", e.text);
    }
    return added;
}

/* Claims what is due, or will be in some seconds, and judges; true when the report is due. */
static bool judge(struct state *s)
{
    struct state_commitment c;
    struct err e = {0};
    bool found = false;
    bool decided = false;
    int rc = 0;
    for (int i = 0; rc == 0 && !found && i < 200; i++) {
        rc = state_commitment_claim(s, COMMITMENT_JUDGE, &c, &found, &e);
        if (!found) {
            usleep(50000);
        }
    }
    if (rc != 0 || !found || state_commitment_judge(s, &c, &decided, &e) != 0) {
        fail_msg("found %d: %s", found, e.text);
    }
    return decided;
}

static bool claim(struct state *s, enum state_commitment_work work, struct state_commitment *c)
{
    struct err e = {0};
    bool found = false;
    assert_int_equal(state_commitment_claim(s, work, c, &found, &e), 0);
    return found;
}

/* The reasons of a claimed report, as many as it has. */
static void reasons_are(struct state *s, const struct state_commitment *c, const uint16_t *expected)
{
    char *references = NULL;
    size_t bytes = 0;
    uint16_t *reasons = NULL;
    struct err e = {0};
    assert_int_equal(state_commitment_load(s, c, &references, &bytes, &reasons, &e), 0);
    for (int64_t i = 0; i < c->items; i++) {
        assert_int_equal(reasons[i], expected[i]);
    }
    free(references);
    free(reasons);
}

static void test_what_counts(void **in)
{
    struct fixture *f = *in;
    struct state_instance claim_of;
    struct state_commitment c;
    struct err e = {0};
    char a[27];
    char b[27];
    static const char two[] = CT "\0" "1.1\0" CT "\0" "1.2";
    c = request("9.1", 2, POINT_UPLOADED);
    receive(f, "1.1", 1, a);
    receive(f, "1.2", 2, b);
    assert_int_equal(add(f->uploader, &c, two, false), COMMITMENT_NEW);
    assert_false(judge(f->importer)); /* both are under way */
    (void)validate_one(f, a);
    (void)validate_one(f, b);
    upload_one(f, &claim_of);
    assert_false(judge(f->importer)); /* one of them */
    upload_one(f, &claim_of);
    assert_true(judge(f->importer));
    assert_true(claim(f->importer, COMMITMENT_REPORT, &c));
    assert_false(claim(f->uploader, COMMITMENT_REPORT, &c)); /* one claim at a time */
    assert_int_equal(c.failed, 0);
    reasons_are(f->importer, &c, (const uint16_t[]){0, 0});
    assert_int_equal(state_commitment_reported(f->importer, &c, "test", &e), 0);
    assert_int_equal(state_commitment_reported(f->importer, &c, "test", &e), ERR_FENCED);
    bool any = true;
    assert_int_equal(state_commitment_any(f->importer, &any, &e), 0);
    assert_false(any);
}

static void test_failures(void **in)
{
    struct fixture *f = *in;
    struct state_commitment c = request("9.2", 6, POINT_SPOOLED);
    struct state_instance mine;
    size_t count = 0;
    struct err e = {0};
    char id[27];
    static const char six[] = CT "\0" "2.1\0" CT "\0" "2.2\0" "1.2.3\0" "2.1\0" CT "\0" "2.3\0" CT "\0" "2.4\0" CT "\0" "2.5";
    receive(f, "2.1", 1, id);
    (void)validate_one(f, id);
    receive(f, "2.1", 1, id); /* the same again: a duplicate counts as its twin */
    char twin[27];
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &mine, 1, &count, &e), 0);
    assert_int_equal(state_unclaim(f->validator, &mine, 1, &e), 0);
    struct state_instance other;
    bool same = false;
    assert_int_equal(state_find_twin(f->validator, &mine, &other, &same, &e), 1);
    (void)snprintf(twin, sizeof twin, "%s", other.r.id);
    assert_int_equal(validate(f, id, twin).verdict, VERDICT_DUPLICATE);
    receive(f, "2.3", 3, id); /* quarantined after a good one: the newest counts */
    (void)validate_one(f, id);
    receive(f, "2.3", 4, id);
    assert_int_equal(validate_one(f, id), VERDICT_UID_REUSED);
    receive(f, "2.4", 5, id);
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &mine, 1, &count, &e), 0);
    struct err why = {.code = ERR_DICOM_MISSING, .text = "none"};
    assert_int_equal(state_refuse(f->validator, &mine, &why, NULL, &e), 0);
    receive(f, "2.5", 6, id); /* received is enough here */
    assert_int_equal(add(f->uploader, &c, six, false), COMMITMENT_NEW);
    assert_true(judge(f->importer));
    assert_true(claim(f->importer, COMMITMENT_REPORT, &c));
    assert_int_equal(c.failed, 4);
    reasons_are(f->importer, &c, (const uint16_t[]){0, REASON_NO_SUCH_INSTANCE, REASON_CLASS_CONFLICT, REASON_PROCESSING_FAILURE,
                                                   REASON_PROCESSING_FAILURE, 0});
    assert_int_equal(state_commitment_unclaim(f->importer, &c, &e), 0);
}

static void test_too_late(void **in)
{
    struct fixture *f = *in;
    struct state_commitment c = request("9.3", 1, POINT_IMPORTED);
    char id[27];
    receive(f, "3.1", 1, id);
    c.wait_until_ms = clock_wall_ms() - 1;
    assert_int_equal(add(f->uploader, &c, CT "\0" "3.1", false), COMMITMENT_NEW);
    assert_true(judge(f->importer));
    assert_true(claim(f->importer, COMMITMENT_REPORT, &c));
    reasons_are(f->importer, &c, (const uint16_t[]){REASON_RESOURCE_LIMITATION});
}

static void test_repeated(void **in)
{
    struct fixture *f = *in;
    struct state_commitment c = request("9.4", 1, POINT_SPOOLED);
    struct err e = {0};
    char id[27];
    char first[27];
    assert_int_equal(add(f->uploader, &c, CT "\0" "4.1", false), COMMITMENT_NEW);
    (void)snprintf(first, sizeof first, "%s", c.id);
    assert_int_equal(add(f->uploader, &c, CT "\0" "4.1", false), COMMITMENT_AGAIN);
    assert_string_equal(c.id, first);
    assert_true(judge(f->importer));
    assert_true(claim(f->importer, COMMITMENT_REPORT, &c));
    reasons_are(f->importer, &c, (const uint16_t[]){REASON_NO_SUCH_INSTANCE});
    assert_int_equal(state_commitment_reported(f->importer, &c, "test", &e), 0);
    /* after its end it is judged anew: the instance came meanwhile */
    receive(f, "4.1", 1, id);
    assert_int_equal(add(f->uploader, &c, CT "\0" "4.1", false), COMMITMENT_AGAIN);
    assert_true(judge(f->importer));
    assert_true(claim(f->importer, COMMITMENT_REPORT, &c));
    assert_string_equal(c.id, first);
    reasons_are(f->importer, &c, (const uint16_t[]){0});
    assert_int_equal(state_commitment_reported(f->importer, &c, "test", &e), 0);
    /* another list, a longer one, a shorter one under the same UID: each instance fails for that */
    assert_int_equal(add(f->uploader, &c, CT "\0" "4.2", false), COMMITMENT_UID_IN_USE);
    assert_true(claim(f->importer, COMMITMENT_REPORT, &c));
    reasons_are(f->importer, &c, (const uint16_t[]){REASON_DUPLICATE_TRANSACTION});
    assert_int_equal(c.failed, 1);
    assert_int_equal(state_commitment_reported(f->importer, &c, "test", &e), 0);
    c.items = 2;
    assert_int_equal(add(f->uploader, &c, CT "\0" "4.1\0" CT "\0" "4.1", false), COMMITMENT_UID_IN_USE);
    /* another sender may use it */
    c = request("9.4", 1, POINT_SPOOLED);
    (void)snprintf(c.calling_ae, sizeof c.calling_ae, "MR1");
    assert_int_equal(add(f->uploader, &c, CT "\0" "4.2", false), COMMITMENT_NEW);
}

static void test_on_the_open_association(void **in)
{
    struct fixture *f = *in;
    struct state_commitment c = request("9.5", 1, POINT_SPOOLED);
    struct state_commitment taken;
    struct err e = {0};
    bool found = true;
    assert_int_equal(add(f->uploader, &c, CT "\0" "5.1", true), COMMITMENT_NEW);
    assert_int_equal(state_commitment_take(f->uploader, c.association, &taken, &found, &e), 0);
    assert_false(found); /* not decided */
    assert_true(judge(f->importer));
    assert_false(claim(f->importer, COMMITMENT_REPORT, &taken)); /* only the receiver that has the association may */
    assert_int_equal(state_commitment_take(f->importer, c.association, &taken, &found, &e), 0);
    assert_false(found);
    assert_int_equal(state_commitment_take(f->uploader, "01m8ab1fpxbqeza7dq3cy3kwzz", &taken, &found, &e), 0);
    assert_false(found);
    assert_int_equal(state_commitment_take(f->uploader, c.association, &taken, &found, &e), 0);
    assert_true(found);
    assert_int_equal(state_commitment_leave(f->uploader, c.association, &e), 0);
    assert_int_equal(state_commitment_reported(f->uploader, &taken, "late", &e), ERR_FENCED);
    assert_true(claim(f->importer, COMMITMENT_REPORT, &taken)); /* free for a new association */
    assert_int_equal(state_commitment_unclaim(f->importer, &taken, &e), 0);
    /* a receiver that dies leaves its associations */
    assert_int_equal(add(f->uploader, &c, CT "\0" "5.1", true), COMMITMENT_AGAIN);
    assert_false(claim(f->importer, COMMITMENT_REPORT, &taken));
    assert_int_equal(state_commitment_take(f->uploader, c.association, &taken, &found, &e), 0);
    assert_true(found);
    state_close(&f->uploader);
    int freed = 0;
    assert_int_equal(state_reclaim(f->importer, &freed, &e), 0);
    assert_int_equal(freed, 1);
    assert_true(claim(f->importer, COMMITMENT_REPORT, &taken));
}

static void test_cannot_be_delivered(void **in)
{
    struct fixture *f = *in;
    struct state_commitment c = request("9.6", 1, POINT_SPOOLED);
    struct state_commitment d = request("9.7", 1, POINT_SPOOLED);
    struct err e = {0};
    struct err why = {.code = ERR_NETWORK, .text = "nobody there"};
    bool given_up = true;
    assert_int_equal(add(f->uploader, &c, CT "\0" "6.1", false), COMMITMENT_NEW);
    assert_int_equal(add(f->uploader, &d, CT "\0" "6.1", false), COMMITMENT_NEW);
    assert_true(judge(f->importer));
    assert_true(judge(f->importer));
    assert_true(claim(f->importer, COMMITMENT_REPORT, &c));
    assert_int_equal(state_commitment_defer(f->importer, &c, &why, clock_wall_ms() + 2000, true, &given_up, &e), 0);
    assert_false(given_up);
    assert_false(claim(f->importer, COMMITMENT_REPORT, &d)); /* the other one to the same peer rests as well */
    for (int i = 0; i < 200 && !claim(f->importer, COMMITMENT_REPORT, &d); i++) {
        usleep(50000);
    }
    assert_true(d.token > 0);
    assert_true(claim(f->importer, COMMITMENT_REPORT, &c));
    assert_int_equal(c.attempts + d.attempts, 1);
    assert_int_equal(state_commitment_defer(f->importer, &c, &why, c.give_up_ms, false, &given_up, &e), 0);
    assert_true(given_up);
    int pruned = 0;
    assert_int_equal(state_commitment_prune(f->importer, 3600000, 10, &pruned, &e), 0);
    assert_int_equal(pruned, 0);
    assert_int_equal(state_commitment_prune(f->importer, -1000, 10, &pruned, &e), 0);
    assert_int_equal(pruned, 1);
}

/* A list of 50,000 holds up no other writer for long. */
static void test_a_long_list(void **in)
{
    struct fixture *f = *in;
    enum { MANY = 50000, EACH = 64 };
    struct state_commitment c = request("9.8", MANY, POINT_SPOOLED);
    char *list = malloc(MANY * 2 * EACH);
    size_t used = 0;
    assert_non_null(list);
    for (int i = 0; i < MANY; i++) {
        used += (size_t)snprintf(list + used, EACH, CT) + 1;
        used += (size_t)snprintf(list + used, EACH, "1.2.276.0.7230010.3.1.4.8323329.%d.%d", i * 7919 % MANY, i) + 1;
    }
    int64_t begun = clock_mono_ms();
    assert_int_equal(add(f->uploader, &c, list, false), COMMITMENT_NEW);
    int64_t added = clock_mono_ms();
    assert_true(judge(f->importer));
    int64_t judged = clock_mono_ms();
    assert_true(claim(f->importer, COMMITMENT_REPORT, &c));
    assert_int_equal(c.failed, MANY);
    (void)printf("50,000 references: recorded in %lld ms, judged in %lld ms\n", (long long)(added - begun), (long long)(judged - added));
    assert_true(added - begun < 20000 && judged - added < 60000);
    free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failures, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_too_late, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_repeated, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_on_the_open_association, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cannot_be_delivered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_long_list, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
