/*
 * reports: what support reads is right and quick, and what a person decides does that and no more. The numbers of v_study, every report by
 * name, hold and release around a batch, drop and its way back, retry of 20,000 at once, 200,000 instances within a second.
 */
#include "tests/unit/state_fixture.h"

#include <sqlite3.h>
#include <time.h>

enum { MANY = 200000, REFUSED = 20000, SECOND_MS = 1000 };

/* ---- looking --------------------------------------------------------------------------------------------------------------- */

struct looking {
    const char *wanted;
    char value[500];
    int rows;
};

static int on_row(void *ctx, int columns, const char *const *names, const char *const *values)
{
    struct looking *l = ctx;
    for (int i = 0; i < columns; i++) {
        if (l->wanted && strcmp(names[i], l->wanted) == 0) {
            (void)snprintf(l->value, sizeof l->value, "%s", values[i] ? values[i] : "-");
        }
    }
    l->rows++;
    return 0;
}

static int rows_of(struct fixture *f, const char *report, const char *arg)
{
    struct looking l = {0};
    struct err e = {0};
    if (state_report(f->validator, report, arg, 1000000, on_row, &l, &e) != 0) {
        fail_msg("%s: %s", report, e.text);
    }
    return l.rows;
}

/* One column of the last row of a report. */
static const char *look(struct fixture *f, const char *report, const char *arg, const char *column)
{
    static struct looking l;
    struct err e = {0};
    memset(&l, 0, sizeof l);
    l.wanted = column;
    assert_int_equal(state_report(f->validator, report, arg, 1000, on_row, &l, &e), 0);
    return l.value;
}

static void is_in(struct fixture *f, const char *id, const char *state)
{
    assert_string_equal(look(f, "instance", id, "state"), state);
}

static void run_sql(struct fixture *f, const char *sql)
{
    char path[128];
    sqlite3 *db = NULL;
    char *text = NULL;
    (void)snprintf(path, sizeof path, "%s/state/state.db", f->home);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &text) != SQLITE_OK) {
        fail_msg("%s", text);
    }
    (void)sqlite3_close(db);
}

/* ---- tests ------------------------------------------------------------------------------------------------------------------- */

static void every_report_reads_and_counts(void **in)
{
    static const char *const reports[] = {"status", "workers", "batches", "queue", "studies", "study", "stuck", "instance", "history",
                                          "instances_of_study", "batch", "jobs", "find", "refused"};
    struct fixture *f = *in;
    struct state_instance claim;
    struct err e = {0};
    char good[27], twin[27], reused[27], late[27];
    int64_t count = 0;
    receive(f, "1.2.3.1", 7, good);
    assert_int_equal(validate_one(f, good), VERDICT_VALIDATED);
    upload_one(f, &claim);
    receive(f, "1.2.3.1", 7, twin);
    assert_int_equal(validate(f, twin, good).verdict, VERDICT_DUPLICATE);
    receive(f, "1.2.3.1", 8, reused);
    assert_int_equal(validate_one(f, reused), VERDICT_UID_REUSED);
    receive(f, "1.2.3.2", 9, late);
    for (size_t i = 0; i < sizeof reports / sizeof reports[0]; i++) {
        (void)rows_of(f, reports[i], good);
    }
    struct looking l = {0};
    assert_int_equal(state_report(f->validator, "nonsense", NULL, 1, on_row, &l, &e), ERR_ARGUMENT);
    assert_int_equal(rows_of(f, "status", NULL), 4);
    assert_int_equal(rows_of(f, "workers", NULL), 3);
    assert_int_equal(rows_of(f, "find", "1.2.3.1"), 3); /* instances, by SOP Instance UID */
    assert_int_equal(rows_of(f, "find", "1.2.3"), 1);   /* the study */
    assert_int_equal(rows_of(f, "find", claim.batch), 1);
    assert_int_equal(rows_of(f, "stuck", NULL), 1);
    assert_int_equal(rows_of(f, "history", good), 3);
    /* the numbers of the study; the one that was not judged belongs to none yet */
    assert_string_equal(look(f, "study", "1.2.3", "instances"), "3");
    assert_string_equal(look(f, "study", "1.2.3", "under_way"), "1");
    assert_string_equal(look(f, "study", "1.2.3", "duplicate"), "1");
    assert_string_equal(look(f, "study", "1.2.3", "quarantined"), "1");
    assert_string_equal(look(f, "study", "1.2.3", "bytes"), "3000");
    assert_string_equal(look(f, "study", "1.2.3", "verdict"), "needs attention");
    assert_string_equal(look(f, "queue", NULL, "instances"), "1");

    /* dropped: the row stays, nobody is called any more; by its own id it comes back */
    state_person(f->uploader, "someone");
    assert_int_equal(state_drop(f->uploader, good, "no", &count, &e), 0);
    assert_int_equal(count, 0); /* not a good one */
    assert_int_equal(state_drop(f->uploader, reused, "sent by mistake", &count, &e), 0);
    assert_int_equal(count, 1);
    assert_int_equal(rows_of(f, "stuck", NULL), 0);
    assert_string_equal(look(f, "study", "1.2.3", "verdict"), "under way");
    assert_string_equal(look(f, "study", "1.2.3", "dropped"), "1");
    assert_string_equal(look(f, "history", reused, "note"), "sent by mistake");
    assert_string_equal(look(f, "history", reused, "who"), "person someone");
    assert_int_equal(state_retry(f->uploader, "ALL", false, &count, &e), 0);
    assert_int_equal(count, 0);
    assert_int_equal(state_retry(f->uploader, "1.2.3", false, &count, &e), 0);
    assert_int_equal(count, 0);
    char ids[2][STATE_ID_SIZE];
    size_t found = 0;
    assert_int_equal(state_releasable_dropped(f->validator, 3600000, ids, 2, &found, &e), 0);
    assert_int_equal(found, 0);
    assert_int_equal(state_releasable_dropped(f->validator, -1000, ids, 2, &found, &e), 0);
    assert_int_equal(found, 1);
    assert_int_equal(state_retry(f->uploader, reused, true, &count, &e), 0);
    assert_int_equal(count, 1);
    is_in(f, reused, "received");
    assert_string_equal(look(f, "instance", reused, "dropped_ms"), "-");
}

/* A held instance is passed over by claims; an uploaded one keeps its batch from being started, until the importer has it in hand. */
static void what_is_held_waits(void **in)
{
    struct fixture *f = *in;
    struct state_instance claim;
    struct state_batch b;
    struct err e = {0};
    char id[27];
    size_t claimed = 9;
    int64_t count = 0;
    int64_t late = 0;
    int closed = 0;
    bool found = true;
    receive(f, "1.2.3.1", 7, id);
    assert_int_equal(state_hold(f->uploader, id, "why not", &count, &late, &e), 0);
    assert_int_equal(count, 1);
    assert_int_equal(state_hold(f->uploader, id, "again", &count, &late, &e), 0);
    assert_int_equal(count, 0);
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &claim, 1, &claimed, &e), 0);
    assert_int_equal(claimed, 0);
    assert_int_equal(rows_of(f, "stuck", NULL), 1);
    assert_int_equal(state_unhold(f->uploader, id, &count, &e), 0);
    assert_int_equal(count, 1);
    assert_int_equal(validate_one(f, id), VERDICT_VALIDATED);
    assert_int_equal(state_hold(f->uploader, "1.2.3", NULL, &count, &late, &e), 0); /* the study */
    assert_int_equal(count, 1);
    assert_int_equal(state_claim(f->uploader, STAGE_UPLOADER, &claim, 1, &claimed, &e), 0);
    assert_int_equal(claimed, 0);
    assert_int_equal(state_unhold(f->uploader, "1.2.3", &count, &e), 0);
    assert_int_equal(count, 1);
    upload_one(f, &claim);
    assert_int_equal(state_batches_close(f->importer, -1000, 600000, &closed, &e), 0);
    assert_int_equal(state_hold(f->uploader, id, NULL, &count, &late, &e), 0);
    assert_int_equal(count, 1);
    assert_int_equal(state_batch_claim(f->importer, WORK_START, &b, &found, &e), 0);
    assert_false(found);
    assert_int_equal(state_unhold(f->uploader, id, &count, &e), 0);
    assert_int_equal(state_batch_claim(f->importer, WORK_START, &b, &found, &e), 0);
    assert_true(found);
    assert_int_equal(state_hold(f->uploader, id, NULL, &count, &late, &e), 0);
    assert_int_equal(count, 0);
    assert_int_equal(late, 1);
}

/* The person decides that an image which a rebuild holds is in HealthImaging already. */
static void a_held_received_one_can_be_dropped(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    char id[27];
    int64_t count = 0;
    int64_t late = 0;
    receive(f, "1.2.3.1", 7, id);
    assert_int_equal(state_drop(f->uploader, id, "x", &count, &e), 0);
    assert_int_equal(count, 0); /* not held: it is under way */
    assert_int_equal(state_hold(f->uploader, id, NULL, &count, &late, &e), 0);
    assert_int_equal(rows_of(f, "refused", id), 1);
    assert_int_equal(state_drop(f->uploader, id, "it is there", &count, &e), 0);
    assert_int_equal(count, 1);
    is_in(f, id, "quarantined");
    assert_string_equal(look(f, "instance", id, "error_text"), "it is there");
    assert_string_equal(look(f, "instance", id, "held"), "0");
}

static void two_hundred_thousand_answer_within_a_second(void **in)
{
    static const struct {
        const char *name, *arg;
    } asked[] = {{"status", NULL}, {"queue", NULL}, {"studies", NULL}, {"study", "1.9.7"}, {"stuck", NULL}, {"find", "1.9.7"}, {"find", "A7"},
                 {"instances_of_study", "1.9.7"}, {"refused", "1.9.7"}};
    struct fixture *f = *in;
    struct err e = {0};
    char sql[1200];
    int64_t count = 0;
    (void)snprintf(sql, sizeof sql,
                   "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
                   "INSERT INTO instance (id, state, sop_class_uid, sop_instance_uid, transfer_syntax_uid, study_uid, modality, accession_number,"
                   " file_bytes, data_bytes, file_crc32c, data_crc32c, received_ms, changed_ms, ended_ms, error_code, error_text) "
                   "SELECT printf('%%026d', i), CASE WHEN i < %d THEN 'quarantined' ELSE 'imported' END, '1.2', '1.2.' || i, '1.2.1', '1.9.' || (i / 200),"
                   " 'CT', 'A' || (i / 200), 500000, 499000, i, i, i, i, i, 'X', 'x' FROM n",
                   MANY - 1, REFUSED);
    run_sql(f, sql);
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        struct looking l = {0};
        clock_t begun = clock(); /* of the processor: others may keep the machine busy */
        assert_int_equal(state_report(f->validator, asked[i].name, asked[i].arg, 50, on_row, &l, &e), 0);
        int64_t took = (int64_t)(clock() - begun) * 1000 / CLOCKS_PER_SEC;
        assert_true(l.rows > 0 || strcmp(asked[i].name, "queue") == 0);
        if (took > SECOND_MS) {
            fail_msg("report %s took %lld ms with %d instances", asked[i].name, (long long)took, MANY);
        }
    }
    clock_t begun = clock();
    assert_int_equal(state_retry(f->uploader, "1.9.7", false, &count, &e), 0);
    assert_int_equal(count, 200);
    assert_int_equal(state_retry(f->uploader, "ALL", false, &count, &e), 0);
    assert_int_equal(count, REFUSED - 200);
    assert_in_range((int64_t)(clock() - begun) * 1000 / CLOCKS_PER_SEC, 0, 20 * SECOND_MS);
    assert_string_equal(look(f, "queue", NULL, "instances"), "20000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_report_reads_and_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_held_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_held_received_one_can_be_dropped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_hundred_thousand_answer_within_a_second, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
