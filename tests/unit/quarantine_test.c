/*
 * quarantine: what a person decided stands in the same commit as the step that follows from it; a decision about what is not there (any more) does nothing;
 * an ordered correction concerns exactly whom it names, once, and until it is stopped.
 */
#include "common/state/quarantine.h"
#include "tests/unit/state_fixture.h"

#include <sqlite3.h>

static int64_t number(struct fixture *f, const char *sql)
{
    char path[100];
    sqlite3 *db = NULL;
    sqlite3_stmt *q = NULL;
    (void)snprintf(path, sizeof path, "%s/state/state.db", f->home);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(q, 0);
    (void)sqlite3_finalize(q);
    (void)sqlite3_close(db);
    return n;
}

/* The next instance of the validator, judged with that code and those orders. */
static void judge(struct fixture *f, const char *id, const char *study, int code, const struct state_fix *fixes, size_t count)
{
    static const struct state_batch_limits limits = {.max_count = 5000, .max_bytes = 10000000000LL};
    struct state_instance claim;
    size_t claimed = 0;
    struct err e = {0};
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &claim, 1, &claimed, &e), 0);
    assert_int_equal(claimed, 1);
    assert_string_equal(claim.r.id, id);
    struct state_validation v = {.claim = &claim, .refuse_code = code, .refuse_text = "(0008,0016) is not right: correct it", .fixes = fixes, .fix_count = count};
    (void)snprintf(v.identity.study_uid, sizeof v.identity.study_uid, "%s", study);
    assert_int_equal(state_validated(f->validator, &v, 1, &limits, &e), 0);
    assert_false(v.fenced);
}

static void quarantined(struct fixture *f, const char *sop, const char *study, int code, char id[27])
{
    receive(f, sop, 7, id);
    judge(f, id, study, code, NULL, 0);
}

static void what_is_accepted_is_recorded(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    char id[27];
    bool done = true;
    state_person(f->importer, "anna");
    quarantined(f, "1.2.3.1", "1.2.3", ERR_DICOM_MISMATCH, id);
    assert_int_equal(state_quarantine_release(f->importer, id, err_name(ERR_DICOM_UID), "seen", &done, &e), 0);
    assert_false(done); /* it is quarantined for something else than the person saw */
    assert_int_equal(number(f, "SELECT count(*) FROM acceptance"), 0);
    assert_int_equal(state_quarantine_release(f->importer, id, err_name(ERR_DICOM_MISMATCH), "seen", &done, &e), 0);
    assert_true(done);
    assert_int_equal(number(f, "SELECT count(*) FROM acceptance WHERE who = 'person anna' AND reason = 'seen'"), 1);
    assert_int_equal(number(f, "SELECT count(*) FROM event WHERE code = 'ACCEPTED' AND to_state = 'received' AND note LIKE '%DICOM_UID_MISMATCH: seen'"), 1);
    assert_int_equal(state_rule_is_accepted(f->validator, id, err_name(ERR_DICOM_MISMATCH), &done, &e), 0);
    assert_true(done);
    assert_int_equal(state_rule_is_accepted(f->validator, id, err_name(ERR_DICOM_UID), &done, &e), 0);
    assert_false(done);
    assert_int_equal(state_quarantine_release(f->importer, id, err_name(ERR_DICOM_MISMATCH), "again", &done, &e), 0);
    assert_false(done); /* it is on its way */
}

static void another_content_is_accepted_by_its_mark(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    char id[27];
    bool done = false;
    state_person(f->importer, "anna");
    quarantined(f, "1.2.3.2", "1.2.3", ERR_UID_REUSED, id);
    assert_int_equal(state_quarantine_release(f->importer, id, err_name(ERR_UID_REUSED), NULL, &done, &e), 0);
    assert_true(done);
    assert_int_equal(number(f, "SELECT accept_other_content FROM instance"), 1);
}

static size_t orders_for(struct fixture *f, const char *id, const char *study, const char *ae, int64_t received_ms, struct state_fix out[8])
{
    struct state_instance claim = {.r = {.received_ms = received_ms}};
    struct err e = {0};
    size_t count = 0;
    (void)snprintf(claim.r.id, sizeof claim.r.id, "%s", id);
    (void)snprintf(claim.r.calling_ae, sizeof claim.r.calling_ae, "%s", ae);
    assert_int_equal(state_fix_find(f->validator, &claim, study, out, 8, &count, &e), 0);
    return count;
}

static int64_t add(struct fixture *f, enum state_fix_kind kind, const char *match, int64_t expected)
{
    struct state_fix fix = {.kind = kind, .since_ms = 1000};
    struct err e = {0};
    int64_t id = 0;
    int64_t count = 0;
    (void)snprintf(fix.match, sizeof fix.match, "%s", match);
    (void)snprintf(fix.actions, sizeof fix.actions, "remove 0008,0050");
    (void)snprintf(fix.reason, sizeof fix.reason, "wrong number");
    assert_int_equal(state_fix_add(f->importer, &fix, &id, &count, &e), 0);
    assert_int_equal(count, expected);
    return id;
}

static void an_order_concerns_whom_it_names(void **in)
{
    struct fixture *f = *in;
    struct state_fix found[8];
    struct err e = {0};
    char one[27];
    char two[27];
    char other[27];
    bool any = true;
    bool done = false;
    state_person(f->importer, "anna");
    quarantined(f, "1.2.3.1", "1.2.3", ERR_DICOM_UID, one);
    quarantined(f, "1.2.3.2", "1.2.3", ERR_DICOM_UID, two);
    quarantined(f, "1.2.4.1", "1.2.4", ERR_DICOM_UID, other);
    assert_int_equal(state_fix_any(f->validator, &any, &e), 0);
    assert_false(any);
    assert_true(add(f, FIX_INSTANCE, other, 1) > 0);
    assert_int_equal(number(f, "SELECT count(*) FROM instance WHERE state = 'received'"), 1);
    assert_int_equal(add(f, FIX_INSTANCE, other, 0), 0); /* it is not quarantined any more: nothing is ordered */
    int64_t study = add(f, FIX_STUDY, "1.2.3", 2);
    int64_t ae = add(f, FIX_AE, "CT*", 0);
    assert_int_equal(number(f, "SELECT count(*) FROM fix_rule WHERE who = 'person anna' AND stopped_ms IS NULL"), 3);
    assert_int_equal(state_fix_any(f->validator, &any, &e), 0);
    assert_true(any);
    assert_int_equal(orders_for(f, other, "1.2.4", "MR1", 2000, found), 1);
    assert_string_equal(found[0].actions, "remove 0008,0050");
    assert_int_equal(orders_for(f, one, "1.2.3", "CT1", 2000, found), 2);
    assert_true(found[0].id == study && found[0].kind == FIX_STUDY && found[1].id == ae && found[1].kind == FIX_AE);
    assert_int_equal(orders_for(f, one, "1.2.3", "CT1", 999, found), 1); /* received before the order about its sender */
    assert_int_equal(orders_for(f, one, "1.2.5", "MR1", 2000, found), 0);
    assert_int_equal(state_fix_stop(f->importer, ae, &done, &e), 0);
    assert_true(done);
    assert_int_equal(state_fix_stop(f->importer, ae, &done, &e), 0);
    assert_false(done);
    assert_int_equal(orders_for(f, one, "1.2.3", "CT1", 2000, found), 1);
}

static void an_order_is_done_with_the_verdict(void **in)
{
    struct fixture *f = *in;
    struct state_fix found[8];
    char one[27];
    char two[27];
    state_person(f->importer, "anna");
    quarantined(f, "1.2.3.1", "1.2.3", ERR_DICOM_UID, one);
    quarantined(f, "1.2.3.2", "1.2.3", ERR_DICOM_UID, two);
    (void)add(f, FIX_INSTANCE, one, 1);
    (void)add(f, FIX_STUDY, "1.2.3", 1);
    assert_int_equal(orders_for(f, one, "1.2.3", "CT1", 2000, found), 2);
    judge(f, one, "1.2.3", 0, found, 2);
    assert_int_equal(number(f, "SELECT count(*) FROM fix_applied"), 2);
    assert_int_equal(number(f, "SELECT count(*) FROM fix_rule WHERE kind = 'instance' AND stopped_ms > 0 AND stopped_by LIKE 'validator-%'"), 1);
    assert_int_equal(number(f, "SELECT count(*) FROM event WHERE code = 'FIXED' AND who LIKE 'validator-%' AND note LIKE 'corrected by order % of person anna: wrong number'"), 2);
    assert_int_equal(orders_for(f, one, "1.2.3", "CT1", 2000, found), 2); /* judged again, they are done again */
    assert_true(found[0].was_done && found[1].was_done);
    assert_int_equal(orders_for(f, two, "1.2.3", "CT1", 2000, found), 1);
    judge(f, two, "1.2.3", ERR_DICOM_EDIT, found, 1);
    assert_int_equal(number(f, "SELECT count(*) FROM fix_applied"), 2); /* that could not be done */
    assert_int_equal(number(f, "SELECT count(*) FROM event WHERE code = 'FIX_FAILED'"), 1);
    assert_int_equal(orders_for(f, two, "1.2.3", "CT1", 2000, found), 1); /* whoever tries again hears it again, until the order is stopped */
    (void)add(f, FIX_INSTANCE, two, 1);
    assert_int_equal(orders_for(f, two, "1.9", "CT1", 2000, found), 1);
    assert_true(found[0].kind == FIX_INSTANCE && !found[0].was_done);
    judge(f, two, "1.9", ERR_DICOM_EDIT, found, 1);
    assert_int_equal(orders_for(f, two, "1.9", "CT1", 2000, found), 0); /* an order for one instance ends there */
}

static void a_lost_claim_takes_no_order_with_it(void **in)
{
    struct fixture *f = *in;
    static const struct state_batch_limits limits = {.max_count = 5000, .max_bytes = 10000000000LL};
    struct state_instance claim;
    struct state_fix found[8];
    struct err e = {0};
    size_t count = 0;
    char id[27];
    state_person(f->importer, "anna");
    quarantined(f, "1.2.3.1", "1.2.3", ERR_DICOM_UID, id);
    (void)add(f, FIX_INSTANCE, id, 1);
    assert_int_equal(orders_for(f, id, "1.2.3", "CT1", 2000, found), 1);
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &claim, 1, &count, &e), 0);
    struct state_instance stale = claim;
    stale.token--;
    struct state_validation v = {.claim = &stale, .fixes = found, .fix_count = 1};
    assert_int_equal(state_validated(f->validator, &v, 1, &limits, &e), 0);
    assert_true(v.fenced);
    assert_int_equal(number(f, "SELECT count(*) FROM fix_applied"), 0);
    assert_int_equal(number(f, "SELECT count(*) FROM fix_rule WHERE stopped_ms IS NULL"), 1);
    assert_int_equal(number(f, "SELECT count(*) FROM event WHERE code = 'FIXED'"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_accepted_is_recorded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_content_is_accepted_by_its_mark, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_order_concerns_whom_it_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_order_is_done_with_the_verdict, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_lost_claim_takes_no_order_with_it, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
