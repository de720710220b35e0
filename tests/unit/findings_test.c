/* findings_test - what the rules found is written with the verdict and replaced by the next one; a claim that was lost writes nothing; and a dead worker's
 * mark charges its death to the one instance that it had in hand. */
#include "tests/unit/state_fixture.h"

static const struct state_batch_limits limits = {.max_count = 5000, .max_bytes = 10000000000LL};

static void claim_one(struct fixture *f, struct state_instance *claim)
{
    struct err e = {0};
    size_t count = 0;
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, claim, 1, &count, &e), 0);
    assert_int_equal(count, 1);
}

static int count_row(void *ctx, int columns, const char *const *names, const char *const *values)
{
    char *found = ctx;
    (void)columns, (void)names;
    size_t used = strlen(found);
    (void)snprintf(found + used, 400 - used, "%s %s %s;", values[0], values[1], values[2]);
    return 0;
}

static void expect_findings(struct fixture *f, const char *id, const char *expected)
{
    struct err e = {0};
    char found[400] = "";
    assert_int_equal(state_report(f->validator, "findings", id, 100, count_row, found, &e), 0);
    assert_string_equal(found, expected);
}

static void written_with_the_verdict(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    struct state_instance claim;
    char id[27];
    int64_t count = 0;
    static const struct state_finding first[] = {{"pixel_short", "reject", 0x7fe00010, "short"}, {"odd_length", "warn", 0x00321032, "odd"}, {"no_frames", "note", 0, "none"}};
    static const struct state_finding second[] = {{"odd_length", "warn", 0x00321032, "odd"}};
    receive(f, "1.2.3.50", 1, id);
    claim_one(f, &claim);
    struct state_validation v = {.claim = &claim, .identity.study_uid = "1.2.3", .findings = first, .finding_count = 3, .refuse_code = ERR_DICOM_RULE,
                                 .refuse_text = "short"};
    assert_int_equal(state_validated(f->validator, &v, 1, &limits, &e), 0);
    expect_findings(f, id, "reject pixel_short 7FE0,0010;warn odd_length 0032,1032;note no_frames ;");
    /* the claim is over: what its worker comes with now is nobody's */
    v.finding_count = 1;
    assert_int_equal(state_validated(f->validator, &v, 1, &limits, &e), 0);
    assert_true(v.fenced);
    expect_findings(f, id, "reject pixel_short 7FE0,0010;warn odd_length 0032,1032;note no_frames ;");
    /* judged again: only what is so now */
    struct state *person = NULL;
    assert_int_equal(state_open(&person, f->home, &e), 0);
    state_person(person, "tester");
    assert_int_equal(state_retry(person, id, false, &count, &e), 0);
    assert_int_equal(count, 1);
    state_close(&person);
    claim_one(f, &claim);
    v = (struct state_validation){.claim = &claim, .identity.study_uid = "1.2.3", .findings = second, .finding_count = 1};
    assert_int_equal(state_validated(f->validator, &v, 1, &limits, &e), 0);
    expect_findings(f, id, "warn odd_length 0032,1032;");
}

/* A child claims three and dies, with the mark on the one in the middle, or without. */
static void die_with(struct fixture *f, const char *mark)
{
    struct err e = {0};
    int freed = 0;
    pid_t child = fork();
    if (child == 0) {
        struct state *s = NULL;
        struct state_instance claims[3];
        size_t count = 0;
        if (state_open(&s, f->home, &e) != 0 || state_worker_register(s, STAGE_VALIDATOR, &e) != 0 ||
            state_claim(s, STAGE_VALIDATOR, claims, 3, &count, &e) != 0 || count != 3) {
            _exit(1);
        }
        state_worker_mark(s, claims[0].r.id);
        state_worker_mark(s, mark);
        _exit(0);
    }
    int status = -1;
    (void)waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(state_reclaim(f->validator, &freed, &e), 0);
    assert_int_equal(freed, 3);
}

static void expect_deaths(struct fixture *f, int a, int b, int c)
{
    struct err e = {0};
    struct state_instance claims[3];
    size_t count = 0;
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, claims, 3, &count, &e), 0);
    assert_int_equal(count, 3);
    assert_int_equal(claims[0].deaths, a);
    assert_int_equal(claims[1].deaths, b);
    assert_int_equal(claims[2].deaths, c);
    assert_int_equal(state_unclaim(f->validator, claims, 3, &e), 0);
}

static void a_mark_charges_one(void **in)
{
    struct fixture *f = *in;
    char ids[3][27];
    for (size_t i = 0; i < 3; i++) {
        char sop[20];
        (void)snprintf(sop, sizeof sop, "1.2.3.6%zu", i);
        receive(f, sop, 1, ids[i]);
    }
    die_with(f, ids[1]);
    expect_deaths(f, 0, 1, 0);
    die_with(f, ids[1]);
    expect_deaths(f, 0, 2, 0);
    die_with(f, ""); /* nobody can say which: all are suspected, but that does not add up */
    expect_deaths(f, 1, 2, 1);
    die_with(f, "");
    expect_deaths(f, 1, 2, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(written_with_the_verdict, set_up, tear_down),
                                       cmocka_unit_test_setup_teardown(a_mark_charges_one, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
