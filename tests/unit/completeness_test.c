/* completeness: what is known to be missing of a study, how that is known, and what proves nothing. */
#include "common/state/commitments.h"
#include "common/state/completeness.h"
#include "common/state/internal.h"
#include "tests/unit/state_fixture.h"

static const struct state_batch_limits limits = {.max_count = 5000, .max_bytes = 10000000000LL};

/* One image of a study "1.2.S", judged; number NULL: it has none. */
static void here(struct fixture *f, const char *study, const char *series, const char *number, const char *sop)
{
    static struct state_instance claim;
    struct err e = {0};
    char id[27];
    size_t count = 0;
    receive(f, sop, 1, id);
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &claim, 1, &count, &e), 0);
    assert_int_equal(count, 1);
    struct state_validation v = {.claim = &claim};
    (void)snprintf(v.identity.study_uid, sizeof v.identity.study_uid, "%s", study);
    (void)snprintf(v.identity.series_uid, sizeof v.identity.series_uid, "%s.%s", study, series);
    (void)snprintf(v.identity.series_number, sizeof v.identity.series_number, "%s", series);
    (void)snprintf(v.identity.instance_number, sizeof v.identity.instance_number, "%s", number ? number : "");
    assert_int_equal(state_validated(f->validator, &v, 1, &limits, &e), 0);
}

/* The images number first to last of a series, by steps. */
static void series_here(struct fixture *f, const char *study, const char *series, int first, int last, int step)
{
    for (int n = first; n <= last; n += step) {
        char number[16];
        char sop[72];
        (void)snprintf(number, sizeof number, "%d", n);
        (void)snprintf(sop, sizeof sop, "%s.%s.%d", study, series, n);
        here(f, study, series, number, sop);
    }
}

struct answer {
    char expected[32], missing[32], reason[1024];
};

static int take(void *ctx, int columns, const char *const *names, const char *const *values)
{
    struct answer *a = ctx;
    for (int i = 0; i < columns; i++) {
        const char *value = values[i] ? values[i] : "-";
        if (strcmp(names[i], "expected") == 0) {
            (void)snprintf(a->expected, sizeof a->expected, "%s", value);
        } else if (strcmp(names[i], "missing") == 0) {
            (void)snprintf(a->missing, sizeof a->missing, "%s", value);
        } else if (strcmp(names[i], "missing_reason") == 0) {
            (void)snprintf(a->reason, sizeof a->reason, "%s", value);
        }
    }
    return 0;
}

/* What v_study says; look: after everything quiet was looked at. */
static struct answer ask(struct fixture *f, const char *study, bool look)
{
    struct answer a = {"", "", ""};
    struct err e = {0};
    int looked = 0;
    if (look) {
        do {
            assert_int_equal(state_completeness_look(f->validator, -1000, 8, &looked, &e), 0);
        } while (looked > 0);
    }
    assert_int_equal(state_report(f->importer, "study", study, 10, take, &a, &e), 0);
    return a;
}

#define assert_answer(study, e, m, r)                                                                                  \
    do {                                                                                                               \
        struct answer a_ = ask(f, study, true);                                                                        \
        assert_string_equal(a_.expected, e);                                                                           \
        assert_string_equal(a_.missing, m);                                                                            \
        assert_string_equal(a_.reason, r);                                                                             \
    } while (0)

static void gaps_are_told_when_it_is_quiet(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    int looked = -1;
    series_here(f, "1.2.1", "3", 1, 10, 1);
    series_here(f, "1.2.1", "3", 14, 20, 1);
    series_here(f, "1.2.1", "4", 0, 4, 1);
    assert_int_equal(state_completeness_look(f->validator, 60000, 8, &looked, &e), 0);
    assert_int_equal(looked, 0); /* it is still arriving */
    assert_string_equal(ask(f, "1.2.1", false).missing, "-");
    assert_answer("1.2.1", "25", "3", "series 3: 3 numbers missing between 1 and 20");
    series_here(f, "1.2.1", "3", 11, 12, 1);
    assert_string_equal(ask(f, "1.2.1", false).missing, "-"); /* it arrives again: nothing is said */
    assert_answer("1.2.1", "25", "1", "series 3: 1 numbers missing between 1 and 20");
    series_here(f, "1.2.1", "3", 13, 13, 1);
    assert_answer("1.2.1", "25", "0", "-");
}

static void what_proves_nothing(void **in)
{
    struct fixture *f = *in;
    series_here(f, "1.2.1", "1", 10, 100, 10);   /* numbered by tens */
    series_here(f, "1.2.2", "1", 5, 9, 1);       /* begins at five */
    series_here(f, "1.2.3", "1", 1, 3, 1);       /* several stretches: most numbers are not here */
    series_here(f, "1.2.3", "1", 1001, 1003, 1);
    here(f, "1.2.4", "1", "1", "1.2.4.1");       /* two have one number, and one has none: it may be the third */
    here(f, "1.2.4", "1", "2", "1.2.4.2");
    here(f, "1.2.4", "1", "2", "1.2.4.3");
    here(f, "1.2.4", "1", "4", "1.2.4.4");
    here(f, "1.2.4", "1", NULL, "1.2.4.5");
    here(f, "1.2.5", "1", "999999999999", "1.2.5.1"); /* as large as an IS may be */
    here(f, "1.2.5", "1", "-99999999999", "1.2.5.2");
    here(f, "1.2.6", "1", "7", "1.2.6.1");
    assert_answer("1.2.1", "10", "0", "-");
    assert_answer("1.2.2", "5", "0", "-");
    assert_answer("1.2.3", "6", "0", "-");
    assert_answer("1.2.4", "5", "0", "-");
    assert_answer("1.2.5", "2", "0", "-");
    assert_answer("1.2.6", "1", "0", "-");
}

/* Asks for commitment of the images first to last of study.series. */
static void commit(struct fixture *f, const char *transaction, const char *study, const char *series, int first, int last)
{
    static char references[100 * 160];
    size_t used = 0;
    struct err e = {0};
    enum state_commitment_added added;
    struct state_commitment c = {.items = last - first + 1, .point = POINT_SPOOLED, .wait_until_ms = clock_wall_ms() + 3600000,
                                 .give_up_ms = clock_wall_ms() + 7200000, .transaction_uid = "", .calling_ae = "CT1", .called_ae = "STORESCP"};
    (void)snprintf(c.transaction_uid, sizeof c.transaction_uid, "%s", transaction);
    for (int n = first; n <= last; n++) {
        used += (size_t)snprintf(references + used, sizeof references - used, "1.2.840.10008.5.1.4.1.1.2") + 1;
        used += (size_t)snprintf(references + used, sizeof references - used, "%s.%s.%d", study, series, n) + 1;
    }
    assert_int_equal(state_commitment_add(f->validator, &c, references, false, &added, &e), 0);
    assert_int_equal(added, COMMITMENT_NEW);
}

static void what_a_commitment_names_and_never_came(void **in)
{
    struct fixture *f = *in;
    series_here(f, "1.2.1", "1", 1, 7, 1);
    assert_answer("1.2.1", "7", "0", "-");
    commit(f, "9.1", "1.2.1", "1", 1, 10);
    assert_string_equal(ask(f, "1.2.1", false).missing, "-"); /* news: looked at again when it is quiet */
    assert_answer("1.2.1", "10", "3", "the storage commitment of CT1 names 3 that never came");
    commit(f, "9.2", "1.2.1", "1", 8, 12); /* names none that is here: of which study it is, nobody knows */
    assert_answer("1.2.1", "10", "3", "the storage commitment of CT1 names 3 that never came");
    commit(f, "9.3", "1.2.1", "1", 5, 10); /* the same ones again count once */
    assert_answer("1.2.1", "10", "3", "the storage commitment of CT1 names 3 that never came");
    series_here(f, "1.2.1", "1", 9, 10, 1); /* by number and by commitment it is one image */
    assert_answer("1.2.1", "12", "3", "series 1: 1 numbers missing between 1 and 10; the storage commitment of CT1 names 3 that never came");
    series_here(f, "1.2.1", "1", 8, 8, 1);
    series_here(f, "1.2.1", "1", 11, 12, 1);
    assert_answer("1.2.1", "12", "0", "-");
}

/* What an association was refused is told where something is missing, and alone it means nothing. */
static void associations_are_told_beside(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    struct state_association a = {.peer = "10.0.0.1", .calling_ae = "CT1", .outcome = "aborted", .began_ms = 1, .ended_ms = 2, .stored = 4, .refused = 2};
    id_new(a.id);
    for (int n = 1; n <= 5; n += n == 3 ? 2 : 1) {
        struct state_received r = {.file_bytes = 1000, .data_bytes = 900, .received_ms = 1};
        struct state_instance claim;
        size_t count = 0;
        id_new(r.id);
        (void)snprintf(r.association, sizeof r.association, "%s", a.id);
        (void)snprintf(r.sop_class_uid, sizeof r.sop_class_uid, "1.2.840.10008.5.1.4.1.1.2");
        (void)snprintf(r.transfer_syntax_uid, sizeof r.transfer_syntax_uid, "1.2.840.10008.1.2.1");
        (void)snprintf(r.sop_instance_uid, sizeof r.sop_instance_uid, "1.2.1.1.%d", n);
        assert_int_equal(state_record(f->validator, &r, 1, &a, n == 5, &e), 0);
        assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &claim, 1, &count, &e), 0);
        struct state_validation v = {.claim = &claim, .identity = {.study_uid = "1.2.1", .series_uid = "1.2.1.1"}};
        (void)snprintf(v.identity.instance_number, sizeof v.identity.instance_number, "%d", n);
        assert_int_equal(state_validated(f->validator, &v, 1, &limits, &e), 0);
    }
    assert_answer("1.2.1", "5", "1",
                  "series 1.2.1.1: 1 numbers missing between 1 and 5; 2 C-STORE requests were refused on its associations; 1 of its associations were not released");
    series_here(f, "1.2.1", "1", 4, 4, 1);
    assert_answer("1.2.1", "5", "0", "-");
}

/* An association that counted more than the database has. */
static void what_an_association_stored_has_a_row(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    struct state_association a = {.peer = "10.0.0.1", .calling_ae = "CT1", .outcome = "released", .began_ms = clock_wall_ms() - 1000, .ended_ms = clock_wall_ms(), .stored = 5};
    const char *const studies[] = {"1.2.1", "1.2.1", "1.2.2", "1.2.1", "1.2.2"};
    id_new(a.id);
    for (int n = 0; n < 5; n++) {
        struct state_received r = {.file_bytes = 1000, .data_bytes = 900, .received_ms = 1};
        struct state_instance claim;
        size_t count = 0;
        id_new(r.id);
        (void)snprintf(r.association, sizeof r.association, "%s", a.id);
        (void)snprintf(r.sop_class_uid, sizeof r.sop_class_uid, "1.2.840.10008.5.1.4.1.1.2");
        (void)snprintf(r.transfer_syntax_uid, sizeof r.transfer_syntax_uid, "1.2.840.10008.1.2.1");
        (void)snprintf(r.sop_instance_uid, sizeof r.sop_instance_uid, "1.2.9.%d", n + 1);
        assert_int_equal(state_record(f->validator, &r, 1, &a, n == 4, &e), 0);
        assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &claim, 1, &count, &e), 0);
        struct state_validation v = {.claim = &claim};
        (void)snprintf(v.identity.study_uid, sizeof v.identity.study_uid, "%s", studies[n]);
        (void)snprintf(v.identity.series_uid, sizeof v.identity.series_uid, "%s.1", studies[n]);
        assert_int_equal(state_validated(f->validator, &v, 1, &limits, &e), 0);
    }
    assert_answer("1.2.1", "3", "0", "-"); /* it brought two studies, and all is here */
    assert_answer("1.2.2", "2", "0", "-");
    assert_int_equal(sqlite3_exec(f->validator->db, "DELETE FROM instance WHERE sop_instance_uid IN ('1.2.9.4', '1.2.9.5'); UPDATE completeness SET looked_ms = NULL", NULL,
                                  NULL, NULL), SQLITE_OK);
    assert_answer("1.2.1", "4", "2", "its associations stored 2 of which there is no row: was the database lost or put back? storescpctl rebuild finds them in the spool");
    assert_answer("1.2.2", "1", "0", "-");
}

/* What waits to be judged may belong to any study. */
static void nothing_is_said_while_received_ones_wait(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    int looked = -1;
    char id[27];
    series_here(f, "1.2.1", "1", 1, 3, 1);
    series_here(f, "1.2.1", "1", 5, 6, 1);
    receive(f, "1.2.1.1.4", 1, id);
    assert_int_equal(state_completeness_look(f->validator, -1000, 8, &looked, &e), 0);
    assert_int_equal(looked, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gaps_are_told_when_it_is_quiet, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_proves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_commitment_names_and_never_came, set_up, tear_down),
        cmocka_unit_test_setup_teardown(associations_are_told_beside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_an_association_stored_has_a_row, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_said_while_received_ones_wait, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
