/* twins: versions of one SOP Instance UID, the same UID in another study or series, descriptions of a study or series that disagree. */
#include "tests/unit/state_fixture.h"

static const struct state_batch_limits limits = {.max_count = 5000, .max_bytes = 10000000000LL};
static const struct state_policy newer = {.newer_goes_on = true};
static const struct state_policy hold = {.conflicts = CONFLICT_HOLD};
static const struct state_policy off = {.conflicts = CONFLICT_OFF};

static const struct state_identity plain = {.study_uid = "1.2.3", .series_uid = "1.2.3.1", .patient_id = "P1", .accession_number = "A1", .study_id = "S1",
                                            .study_date = "20260102", .series_number = "1", .instance_number = "1"};

/* As receive(), just now. */
static void arrive(struct fixture *f, const char *sop, uint32_t crc, char id[27])
{
    struct state_received r = {.file_bytes = 1000, .data_bytes = 900, .data_crc32c = crc, .file_crc32c = crc, .received_ms = clock_wall_ms()};
    struct err e = {0};
    (void)usleep(2000); /* ids of one millisecond have no order */
    id_new(r.id);
    (void)snprintf(r.sop_instance_uid, sizeof r.sop_instance_uid, "%s", sop);
    (void)snprintf(r.sop_class_uid, sizeof r.sop_class_uid, "1.2.840.10008.5.1.4.1.1.2");
    (void)snprintf(r.transfer_syntax_uid, sizeof r.transfer_syntax_uid, "1.2.840.10008.1.2.1");
    assert_int_equal(state_add_received(f->validator, &r, 1, &e), 0);
    (void)snprintf(id, 27, "%s", r.id);
}

/* Claims the next received one, which must be id, and judges it. */
static struct state_validation judge(struct fixture *f, const char *id, const struct state_identity *d, const struct state_policy *policy)
{
    static struct state_instance claim;
    size_t count = 0;
    struct err e = {0};
    for (int i = 0; i < 50 && count == 0; i++) { /* one that was put back is due a little later */
        assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &claim, 1, &count, &e), 0);
        (void)usleep(count ? 0 : 20000);
    }
    assert_int_equal(count, 1);
    assert_string_equal(claim.r.id, id);
    struct state_validation v = {.claim = &claim, .identity = *d, .policy = policy};
    if (state_validated(f->validator, &v, 1, &limits, &e) != 0) {
        fail_msg("%s", e.text);
    }
    assert_false(v.fenced);
    return v;
}

struct answer {
    char text[2000];
};

static int take(void *ctx, int columns, const char *const *names, const char *const *values)
{
    struct answer *a = ctx;
    for (int i = 0; i < columns; i++) {
        size_t used = strlen(a->text);
        (void)snprintf(a->text + used, sizeof a->text - used, "%s=%s ", names[i], values[i] ? values[i] : "-");
    }
    return 0;
}

/* All columns of a report as "name=value " after each other. */
static struct answer ask(struct fixture *f, const char *report, const char *argument)
{
    struct answer a = {""};
    struct err e = {0};
    if (state_report(f->importer, report, argument, 100, take, &a, &e) != 0) {
        fail_msg("%s", e.text);
    }
    return a;
}

#define assert_says(report, argument, words)                                                                           \
    do {                                                                                                               \
        struct answer a_ = ask(f, report, argument);                                                                   \
        if (!strstr(a_.text, words)) {                                                                                 \
            fail_msg("%s does not say \"%s\": %s", report, words, a_.text);                                            \
        }                                                                                                              \
    } while (0)

static void another_content_is_held_whatever_comes_after(void **in)
{
    struct fixture *f = *in;
    char id[27];
    arrive(f, "1.2.3.1.1", 1, id);
    assert_int_equal(judge(f, id, &plain, NULL).verdict, VERDICT_VALIDATED);
    arrive(f, "1.2.3.1.1", 2, id);
    struct state_validation v = judge(f, id, &plain, NULL);
    assert_int_equal(v.verdict, VERDICT_UID_REUSED);
    assert_int_equal(v.code, ERR_UID_REUSED);
    arrive(f, "1.2.3.1.1", 3, id);
    assert_int_equal(judge(f, id, &plain, &hold).verdict, VERDICT_UID_REUSED);
}

/* The newer version goes on when the older one has ended, never together with it. */
static void the_newer_version_goes_after_the_older_one(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    char older[27];
    char id[27];
    struct state_instance claim;
    size_t count = 0;
    arrive(f, "1.2.3.1.1", 1, older);
    assert_int_equal(judge(f, older, &plain, &newer).verdict, VERDICT_VALIDATED);
    arrive(f, "1.2.3.1.1", 2, id);
    assert_int_equal(judge(f, id, &plain, &newer).verdict, VERDICT_AGAIN);
    assert_says("instance", id, "error_code=OLDER_VERSION_FIRST");
    assert_says("instance", id, " attempts=0 ");
    assert_int_equal(judge(f, id, &plain, &newer).verdict, VERDICT_AGAIN);
    struct answer past = ask(f, "history", id);
    const char *first = strstr(past.text, "OLDER_VERSION_FIRST");
    assert_non_null(first);
    assert_null(strstr(first + 1, "OLDER_VERSION_FIRST")); /* told once */
    assert_int_equal(state_claim(f->uploader, STAGE_UPLOADER, &claim, 1, &count, &e), 0);
    assert_int_equal(count, 1);
    struct err why = {.code = ERR_AWS_REJECTED, .text = "refused"};
    assert_int_equal(state_refuse(f->uploader, &claim, &why, NULL, &e), 0);
    assert_int_equal(judge(f, id, &plain, &newer).verdict, VERDICT_VALIDATED);
    assert_says("instance", id, " error_code=- ");
}

/* Which of two is the newer one is told by their reception, not by who judged first. */
static void an_older_version_does_not_go_over_a_newer_one(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    struct state *second = worker(f->home, STAGE_VALIDATOR);
    struct state_instance one;
    struct state_instance other;
    char older[27];
    char id[27];
    size_t count = 0;
    int64_t changed = 0;
    arrive(f, "1.2.3.1.1", 1, older);
    arrive(f, "1.2.3.1.1", 2, id);
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &one, 1, &count, &e), 0);
    assert_int_equal(state_claim(second, STAGE_VALIDATOR, &other, 1, &count, &e), 0);
    assert_string_equal(other.r.id, id);
    struct state_validation v = {.claim = &other, .identity = plain, .policy = &newer};
    assert_int_equal(state_validated(second, &v, 1, &limits, &e), 0);
    assert_int_equal(v.verdict, VERDICT_AGAIN); /* the other validator has the older one in hand */
    struct state_validation w = {.claim = &one, .identity = plain, .policy = &newer, .refuse_code = ERR_DICOM_UID, .refuse_text = "for the time being"};
    assert_int_equal(state_validated(f->validator, &w, 1, &limits, &e), 0);
    assert_int_equal(judge(f, id, &plain, &newer).verdict, VERDICT_VALIDATED);
    state_person(f->importer, "test");
    assert_int_equal(state_retry(f->importer, older, false, &changed, &e), 0);
    assert_int_equal(judge(f, older, &plain, &newer).verdict, VERDICT_UID_REUSED);
    assert_says("instance", older, "received later");
    assert_int_equal(state_retry(f->importer, older, true, &changed, &e), 0);
    assert_int_equal(judge(f, older, &plain, &newer).verdict, VERDICT_VALIDATED); /* a person said so */
    state_close(&second);
}

static void the_same_uid_elsewhere_is_held_whatever_the_policy(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    struct state_identity moved = plain;
    char first[27];
    char id[27];
    int64_t changed = 0;
    arrive(f, "1.2.3.1.1", 1, first);
    assert_int_equal(judge(f, first, &plain, &newer).verdict, VERDICT_VALIDATED);
    (void)snprintf(moved.series_uid, sizeof moved.series_uid, "1.2.3.2");
    arrive(f, "1.2.3.1.1", 2, id);
    struct state_validation v = judge(f, id, &moved, &newer);
    assert_int_equal(v.verdict, VERDICT_ELSEWHERE);
    assert_int_equal(v.code, ERR_UID_ELSEWHERE);
    assert_says("instance", id, "in another series (0020,000E) of this study");
    assert_says("instance", id, first);
    (void)snprintf(moved.study_uid, sizeof moved.study_uid, "1.2.4");
    arrive(f, "1.2.3.1.1", 3, id);
    assert_int_equal(judge(f, id, &moved, &newer).verdict, VERDICT_ELSEWHERE);
    assert_says("instance", id, "in another study (0020,000D)");
    assert_int_equal(state_retry(f->importer, id, true, &changed, &e), 0);
    assert_int_equal(judge(f, id, &moved, &newer).verdict, VERDICT_VALIDATED);
}

static void a_conflict_is_told_with_both_values(void **in)
{
    struct fixture *f = *in;
    struct state_identity d = plain;
    char first[27];
    char id[27];
    arrive(f, "1.2.3.1.1", 1, first);
    assert_int_equal(judge(f, first, &plain, NULL).verdict, VERDICT_VALIDATED);
    arrive(f, "1.2.3.1.2", 1, id);
    assert_int_equal(judge(f, id, &plain, NULL).verdict, VERDICT_VALIDATED);
    assert_string_equal(ask(f, "conflicts_of_study", "1.2.3").text, "");
    (void)snprintf(d.patient_id, sizeof d.patient_id, "P2");
    d.study_date[0] = '\0';
    arrive(f, "1.2.3.1.3", 1, id);
    assert_int_equal(judge(f, id, &d, NULL).verdict, VERDICT_VALIDATED);
    char other[27];
    arrive(f, "1.2.3.1.4", 1, other);
    assert_int_equal(judge(f, other, &d, NULL).verdict, VERDICT_VALIDATED);
    char words[400];
    (void)snprintf(words, sizeof words, "element=(0010,0020) Patient ID first_value=P1 first_instance=%s first_instances=2 value=P2 instance=%s instances=2 held=0",
                   first, id);
    assert_says("conflicts_of_study", "1.2.3", words);
    assert_says("conflicts_of_study", "1.2.3", "element=(0008,0020) Study Date first_value=20260102");
    assert_says("study", "1.2.3", " conflicts=2 ");
    assert_says("instance", id, " conflicts=2 ");
    assert_says("instance", first, " conflicts=0 ");
    assert_null(strstr(ask(f, "conflicts_of_instance", id).text, "P2")); /* a sentence holds no value */
    arrive(f, "1.2.3.1.5", 1, id); /* the first side comes again: no conflict of its own */
    assert_int_equal(judge(f, id, &plain, NULL).verdict, VERDICT_VALIDATED);
    assert_says("instance", id, " conflicts=0 ");
    arrive(f, "1.2.3.1.6", 1, id);
    assert_int_equal(judge(f, id, &d, &off).verdict, VERDICT_VALIDATED);
    assert_says("instance", id, " conflicts=0 ");
}

static void series_are_compared_too(void **in)
{
    struct fixture *f = *in;
    struct state_identity d = plain;
    char id[27];
    arrive(f, "1.2.3.1.1", 1, id);
    assert_int_equal(judge(f, id, &plain, NULL).verdict, VERDICT_VALIDATED);
    (void)snprintf(d.series_number, sizeof d.series_number, "7");
    arrive(f, "1.2.3.1.2", 1, id);
    assert_int_equal(judge(f, id, &d, NULL).verdict, VERDICT_VALIDATED);
    assert_says("conflicts_of_study", "1.2.3", "element=(0020,0011) Series Number first_value=1 ");
    d = plain;
    (void)snprintf(d.study_uid, sizeof d.study_uid, "1.2.9");
    arrive(f, "1.2.3.1.3", 1, id);
    assert_int_equal(judge(f, id, &d, NULL).verdict, VERDICT_VALIDATED);
    assert_says("conflicts_of_study", "1.2.9", "element=(0020,000D) Study Instance UID first_value=1.2.3 ");
    d = plain; /* another series of the study may have another number */
    (void)snprintf(d.series_uid, sizeof d.series_uid, "1.2.3.2");
    (void)snprintf(d.series_number, sizeof d.series_number, "2");
    arrive(f, "1.2.3.2.1", 1, id);
    assert_int_equal(judge(f, id, &d, NULL).verdict, VERDICT_VALIDATED);
    assert_says("instance", id, " conflicts=0 ");
}

/* Held until a person lets one of them go on; then those like it follow. */
static void conflicts_may_be_held(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    struct state_identity d = plain;
    char id[27];
    char next[27];
    int64_t changed = 0;
    arrive(f, "1.2.3.1.1", 1, id);
    assert_int_equal(judge(f, id, &plain, &hold).verdict, VERDICT_VALIDATED);
    (void)snprintf(d.accession_number, sizeof d.accession_number, "A2");
    arrive(f, "1.2.3.1.2", 1, id);
    struct state_validation v = judge(f, id, &d, &hold);
    assert_int_equal(v.verdict, VERDICT_CONFLICT);
    assert_int_equal(v.code, ERR_IDENTITY_CONFLICT);
    assert_says("instance", id, "(0008,0050) Accession Number");
    assert_says("conflicts_of_study", "1.2.3", "instances=1 held=1");
    arrive(f, "1.2.3.1.3", 1, next);
    assert_int_equal(judge(f, next, &d, &hold).verdict, VERDICT_CONFLICT);
    assert_int_equal(state_retry(f->importer, id, false, &changed, &e), 0);
    assert_int_equal(judge(f, id, &d, &hold).verdict, VERDICT_CONFLICT); /* nothing has changed */
    assert_int_equal(state_retry(f->importer, id, true, &changed, &e), 0);
    assert_int_equal(judge(f, id, &d, &hold).verdict, VERDICT_VALIDATED);
    assert_int_equal(state_retry(f->importer, next, false, &changed, &e), 0);
    assert_int_equal(judge(f, next, &d, &hold).verdict, VERDICT_VALIDATED);
    assert_says("conflicts_of_study", "1.2.3", "instances=2 held=0");
}

/* What never went on counts for nothing: the first one failed for good, and its side is gone. */
static void a_side_of_which_nothing_is_left_is_no_side(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    struct state_identity d = plain;
    struct err why = {.code = ERR_AWS_REJECTED, .text = "refused"};
    struct state_instance claim;
    size_t count = 0;
    char id[27];
    arrive(f, "1.2.3.1.1", 1, id);
    assert_int_equal(judge(f, id, &plain, NULL).verdict, VERDICT_VALIDATED);
    assert_int_equal(state_claim(f->uploader, STAGE_UPLOADER, &claim, 1, &count, &e), 0);
    assert_int_equal(state_refuse(f->uploader, &claim, &why, NULL, &e), 0);
    (void)snprintf(d.study_id, sizeof d.study_id, "S2");
    (void)snprintf(d.series_number, sizeof d.series_number, "2");
    arrive(f, "1.2.3.1.2", 1, id);
    assert_int_equal(judge(f, id, &d, NULL).verdict, VERDICT_VALIDATED);
    assert_says("instance", id, " conflicts=0 ");
    arrive(f, "1.2.3.1.3", 1, id);
    assert_int_equal(judge(f, id, &plain, NULL).verdict, VERDICT_VALIDATED);
    assert_says("instance", id, " conflicts=2 ");
}

/* Each destination has images, studies and conflicts of its own. */
static void destinations_have_nothing_to_do_with_each_other(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    struct state_identity d = plain;
    struct state_instance claim;
    size_t count = 0;
    char id[27];
    arrive(f, "1.2.3.1.1", 1, id);
    assert_int_equal(judge(f, id, &plain, NULL).verdict, VERDICT_VALIDATED);
    arrive(f, "1.2.3.1.1", 2, id);
    (void)snprintf(d.patient_id, sizeof d.patient_id, "P2");
    (void)snprintf(d.series_uid, sizeof d.series_uid, "1.2.3.2");
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &claim, 1, &count, &e), 0);
    (void)snprintf(claim.destination, sizeof claim.destination, "other");
    struct state_validation v = {.claim = &claim, .identity = d};
    assert_int_equal(state_validated(f->validator, &v, 1, &limits, &e), 0);
    assert_int_equal(v.verdict, VERDICT_VALIDATED);
    assert_says("instance", id, " conflicts=0 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(another_content_is_held_whatever_comes_after, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_newer_version_goes_after_the_older_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_older_version_does_not_go_over_a_newer_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_same_uid_elsewhere_is_held_whatever_the_policy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_conflict_is_told_with_both_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(series_are_compared_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(conflicts_may_be_held, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_side_of_which_nothing_is_left_is_no_side, set_up, tear_down),
        cmocka_unit_test_setup_teardown(destinations_have_nothing_to_do_with_each_other, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
