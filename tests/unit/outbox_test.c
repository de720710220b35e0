/* outbox_test - common/state/outbox.h: recorded with the change, told in order, kept in one's absence, given up only aloud; and what is said: the
 * signature of a webhook against the published example of its convention, hints that may be anything, events without patient data. */
#include "common/aws/sqs.h"
#include "common/aws/webhook.h"
#include "common/state/outbox.h"
#include "importer/events.h"
#include "importer/hint.h"
#include "tests/unit/state_fixture.h"

static const struct state_target hook = {"webhook", false, 0};
static const struct state_target mirror = {"dynamodb", true, 0};
static struct events_style style = {.source = "TEST"};

static void tell(struct fixture *f, const struct state_target *t)
{
    struct err e = {0};
    assert_int_equal(state_targets(f->importer, t, 1, &e), 0);
}

/* -> how many rows wait for it */
static int64_t waiting(struct fixture *f, const char *target)
{
    struct state_given_up all[4];
    struct err e = {0};
    size_t n = 0;
    int64_t count = 0;
    assert_int_equal(state_outbox_trim(f->importer, 1000000000, 1000000, all, 4, &n, &e), 0);
    assert_int_equal(n, 0);
    assert_int_equal(state_outbox_drop(f->importer, target, &count, &e), 0);
    return count;
}

static void refuse(struct fixture *f, const char *sop, char id[27])
{
    struct state_instance claim;
    struct err e = {0};
    size_t count = 0;
    receive(f, sop, 1, id);
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &claim, 1, &count, &e), 0);
    assert_int_equal(count, 1);
    struct err why = {.code = ERR_DICOM_UID, .text = "(0020,000D) holds DOE^JOHN"};
    assert_int_equal(state_refuse(f->validator, &claim, &why, "have it sent again", &e), 0);
}

static void test_nobody_is_told(void **s)
{
    struct fixture *f = *s;
    char id[27];
    refuse(f, "1.2.3.1", id);
    tell(f, &hook);
    assert_int_equal(waiting(f, "webhook"), 0);
}

static void test_one_is_told(void **s)
{
    struct fixture *f = *s;
    struct err e = {0};
    struct state_told row;
    char id[27];
    char subject[STATE_SUBJECT_SIZE];
    bool found = false;
    tell(f, &hook);
    refuse(f, "1.2.3.1", id);
    assert_int_equal(state_outbox_claim(f->importer, "webhook", subject, &found, &e), 0);
    assert_true(found);
    assert_int_equal(state_outbox_next(f->importer, "webhook", subject, events_of_refused, &style, &row, &found, &e), 0);
    assert_true(found);
    assert_non_null(strstr(row.payload, id));
    assert_non_null(strstr(row.payload, "DICOM_UID_ILLEGAL"));
    assert_non_null(strstr(row.payload, "have it sent again"));
    assert_null(strstr(row.payload, "DOE"));
    /* in hand: nobody else gets it */
    char other[STATE_SUBJECT_SIZE];
    assert_int_equal(state_outbox_claim(f->uploader, "webhook", other, &found, &e), 0);
    assert_false(found);
    /* put off: the same bytes under the same id later, and a reason meanwhile */
    char *first = row.payload;
    char event[STATE_EVENT_SIZE];
    memcpy(event, row.event, sizeof event);
    struct err why = {.code = ERR_NETWORK, .text = "away"};
    assert_int_equal(state_outbox_defer(f->importer, &row, &why, false, clock_wall_ms() + 60000, &e), 0);
    assert_int_equal(state_outbox_claim(f->uploader, "webhook", other, &found, &e), 0);
    assert_false(found);
    assert_int_equal(state_outbox_defer(f->importer, &row, &why, false, 1, &e), 0); /* not ours any more: nothing happens */
    assert_int_equal(state_outbox_claim(f->uploader, "webhook", other, &found, &e), 0);
    assert_false(found);
    int64_t count = 0;
    assert_int_equal(state_outbox_drop(f->importer, "webhook", &count, &e), 0);
    assert_int_equal(count, 1);
    free(first);
}

static void test_order_and_death(void **s)
{
    struct fixture *f = *s;
    struct err e = {0};
    struct state_told row;
    char subject[STATE_SUBJECT_SIZE];
    char id[27];
    bool found = false;
    int freed = 0;
    tell(f, &hook);
    refuse(f, "1.2.3.1", id);
    refuse(f, "1.2.3.2", id);
    for (int k = 0; k < 2; k++) {
        assert_int_equal(state_outbox_claim(f->importer, "webhook", subject, &found, &e), 0);
        assert_true(found);
        assert_int_equal(state_outbox_next(f->importer, "webhook", subject, events_of_refused, &style, &row, &found, &e), 0);
        assert_true(found);
        assert_int_equal(state_outbox_delivered(f->importer, &row, &e), 0);
        free(row.payload);
        assert_int_equal(state_outbox_next(f->importer, "webhook", subject, events_of_refused, &style, &row, &found, &e), 0);
        assert_false(found);
    }
    refuse(f, "1.2.3.3", id);
    struct state *dead = worker(f->home, STAGE_IMPORTER);
    assert_int_equal(state_outbox_claim(dead, "webhook", subject, &found, &e), 0);
    assert_true(found);
    state_close(&dead);
    assert_int_equal(state_reclaim(f->importer, &freed, &e), 0);
    assert_int_equal(state_outbox_claim(f->importer, "webhook", subject, &found, &e), 0);
    assert_true(found);
}

static void test_limits(void **s)
{
    struct fixture *f = *s;
    struct err e = {0};
    struct state_given_up all[4];
    char id[27];
    char last[27];
    char subject[STATE_SUBJECT_SIZE];
    size_t n = 0;
    bool found = false;
    tell(f, &hook);
    refuse(f, "1.2.3.1", id);
    refuse(f, "1.2.3.2", id);
    refuse(f, "1.2.3.3", last);
    assert_int_equal(state_outbox_trim(f->importer, 60000, 1, all, 4, &n, &e), 0);
    assert_int_equal(n, 1);
    assert_string_equal(all[0].target, "webhook");
    assert_int_equal(all[0].count, 2);
    assert_false(all[0].is_gone);
    assert_int_equal(state_outbox_claim(f->importer, "webhook", subject, &found, &e), 0);
    assert_true(found);
    assert_string_equal(subject, last); /* the newest stays */
    /* a target that nobody has in his settings any more goes, with what waits */
    (void)nanosleep(&(struct timespec){0, 20000000}, NULL);
    struct state_told row = {0};
    (void)snprintf(row.target, sizeof row.target, "webhook");
    (void)snprintf(row.subject, sizeof row.subject, "%s", subject);
    assert_int_equal(state_outbox_defer(f->importer, &row, NULL, false, 0, &e), 0);
    assert_int_equal(state_outbox_trim(f->importer, 10, 1000, all, 4, &n, &e), 0);
    assert_int_equal(n, 1);
    assert_int_equal(all[0].count, 1);
    assert_true(all[0].is_gone);
    refuse(f, "1.2.3.4", id);
    assert_int_equal(state_outbox_claim(f->importer, "webhook", subject, &found, &e), 0);
    assert_false(found);
}

/* ---- studies ---------------------------------------------------------------------------------------------------------------------- */

static char told_text[20000];

static char *keep_study(void *ctx, const struct state_study *study, const char *event, int64_t now_ms)
{
    char *text = events_of_study(ctx, study, event, now_ms);
    (void)snprintf(told_text, sizeof told_text, "%s", text);
    return text;
}

static int announce(struct fixture *f, int64_t quiet_ms)
{
    static struct state_study room;
    struct err e = {0};
    int count = 0;
    told_text[0] = '\0';
    assert_int_equal(state_studies_announce(f->importer, quiet_ms, &room, keep_study, &style, &count, &e), 0);
    return count;
}

static void test_a_study(void **s)
{
    struct fixture *f = *s;
    struct err e = {0};
    struct state_instance claim;
    char id[27];
    char other[27];
    tell(f, &hook);
    receive(f, "1.2.3.1", 1, id);
    assert_int_equal(validate_one(f, id), VERDICT_VALIDATED);
    receive(f, "1.2.3.2", 2, other);
    assert_int_equal(validate_one(f, other), VERDICT_VALIDATED);
    assert_int_equal(announce(f, 0), 0); /* no news */
    size_t count = 0;
    assert_int_equal(state_claim(f->uploader, STAGE_UPLOADER, &claim, 1, &count, &e), 0);
    struct err why = {.code = ERR_SPOOL_MISSING, .text = "gone"};
    assert_int_equal(state_refuse(f->uploader, &claim, &why, NULL, &e), 0);
    assert_int_equal(announce(f, 0), 0); /* the other one is under way: looked at later */
    assert_int_equal(state_claim(f->uploader, STAGE_UPLOADER, &claim, 1, &count, &e), 0);
    assert_int_equal(state_refuse(f->uploader, &claim, &why, NULL, &e), 0);
    assert_int_equal(announce(f, 3600000), 0); /* not quiet for an hour */
    tell(f, &hook);
    int64_t changed = 0;
    assert_int_equal(state_retry(f->importer, id, false, &changed, &e), 0);
    assert_int_equal(changed, 1);
    assert_int_equal(state_claim(f->uploader, STAGE_UPLOADER, &claim, 1, &count, &e), 0);
    assert_int_equal(state_refuse(f->uploader, &claim, &why, NULL, &e), 0); /* its end makes the study due at once */
    assert_int_equal(announce(f, 0), 1);
    assert_non_null(strstr(told_text, "\"revision\":1"));
    assert_non_null(strstr(told_text, "\"failed\":2"));
    assert_non_null(strstr(told_text, "needs attention"));
    assert_int_equal(announce(f, 0), 0);
    /* dropped by a person: told again, and the first revision, which nobody has heard, is not */
    assert_int_equal(state_drop(f->importer, id, "no use", &changed, &e), 0);
    assert_int_equal(state_drop(f->importer, other, "no use", &changed, &e), 0);
    assert_int_equal(announce(f, 0), 1);
    assert_non_null(strstr(told_text, "\"revision\":2"));
    assert_non_null(strstr(told_text, "complete but for dropped"));
    assert_int_equal(waiting(f, "webhook"), 4); /* three refusals, one study */
}

/* ---- jobs ------------------------------------------------------------------------------------------------------------------------- */

static void test_jobs(void **s)
{
    static const struct state_start_limits limits = {6000, 10, 10};
    struct fixture *f = *s;
    struct err e = {0};
    struct state_instance claim;
    struct state_batch b;
    struct state_told row;
    char id[27];
    char subject[STATE_SUBJECT_SIZE];
    int closed = 0;
    bool found = false;
    int64_t wait_ms = 0;
    enum state_hint hint;
    receive(f, "1.2.3.1", 1, id);
    assert_int_equal(validate_one(f, id), VERDICT_VALIDATED);
    upload_one(f, &claim);
    assert_int_equal(state_batches_close(f->importer, 0, 0, &closed, &e), 0);
    assert_int_equal(state_batch_claim(f->importer, WORK_START, &b, &found, &e), 0);
    assert_true(found);
    assert_int_equal(state_batch_starting(f->importer, &b, &limits, "s3://b/in/", "s3://b/out/", "d", "r", &wait_ms, &e), 0);
    assert_int_equal(state_job_hint(f->importer, "abc", b.id, &hint, &e), 0);
    assert_int_equal(hint, HINT_EARLY); /* the answer to its start is under way */
    assert_int_equal(state_batch_running(f->importer, &b, "abc", "SUBMITTED", 1000, clock_wall_ms() + 600000, &e), 0);
    tell(f, &mirror); /* this job was there before */
    assert_int_equal(state_batch_claim(f->importer, WORK_POLL, &b, &found, &e), 0);
    assert_false(found);
    assert_int_equal(state_job_hint(f->importer, "unknown", "unknown", &hint, &e), 0);
    assert_int_equal(hint, HINT_FOREIGN);
    assert_int_equal(state_job_hint(f->importer, "abc", "", &hint, &e), 0);
    assert_int_equal(hint, HINT_TAKEN); /* due ten minutes early */
    assert_int_equal(state_batch_claim(f->importer, WORK_POLL, &b, &found, &e), 0);
    assert_true(found);
    assert_true(b.hinted_ms > 0);
    assert_int_equal(state_job_hint(f->importer, "abc", "", &hint, &e), 0);
    assert_int_equal(hint, HINT_EARLY); /* in hand */
    assert_int_equal(state_outbox_claim(f->importer, "dynamodb", subject, &found, &e), 0);
    assert_true(found);
    assert_int_equal(state_outbox_next(f->importer, "dynamodb", subject, events_of_refused, &style, &row, &found, &e), 0);
    assert_true(found && row.is_job);
    assert_string_equal(row.job.status, "SUBMITTED");
    assert_int_equal(row.job.studies, 1);
    /* it changes twice while that is being told: one more time is enough */
    assert_int_equal(state_batch_defer(f->importer, &b, "IN_PROGRESS", NULL, 0, &e), 0);
    assert_int_equal(state_batch_claim(f->importer, WORK_POLL, &b, &found, &e), 0);
    assert_true(found);
    assert_int_equal(state_batch_ended(f->importer, &b, "COMPLETED", "", NULL, 2000, &e), 0);
    assert_int_equal(state_outbox_delivered(f->importer, &row, &e), 0);
    assert_int_equal(state_outbox_claim(f->importer, "dynamodb", subject, &found, &e), 0);
    assert_true(found);
    assert_int_equal(state_outbox_next(f->importer, "dynamodb", subject, events_of_refused, &style, &row, &found, &e), 0);
    assert_true(found);
    assert_string_equal(row.job.status, "COMPLETED");
    assert_int_equal(row.job.ended_ms, 2000);
    assert_int_equal(state_outbox_delivered(f->importer, &row, &e), 0);
    assert_int_equal(state_outbox_claim(f->importer, "dynamodb", subject, &found, &e), 0);
    assert_false(found);
}

/* ---- what is said ------------------------------------------------------------------------------------------------------------------- */

static void test_signature(void **s)
{
    char out[64];
    struct err e = {0};
    (void)s;
    assert_int_equal(webhook_sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, "{\"test\": 2432232314}", out, &e), 0);
    assert_string_equal(out, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    assert_int_equal(webhook_check_url("https://h/p?q=1", &e), 0);
    assert_int_equal(webhook_check_url("http://[::1]:8080?q=1", &e), 0);
    assert_int_equal(webhook_check_url("https://h:99999/p", &e), ERR_CONFIG);
    assert_int_equal(webhook_check_url("https://h:port/p", &e), ERR_CONFIG);
    assert_int_equal(webhook_check_url("https://[::1/p", &e), ERR_CONFIG);
    assert_int_equal(webhook_check_secret("whsec_####", &e), ERR_CONFIG);
    assert_int_equal(webhook_check_url("https://user:word@h/p", &e), ERR_CONFIG);
    assert_int_equal(webhook_check_url("ftp://h/p", &e), ERR_CONFIG);
    assert_int_equal(webhook_check_url("https:///p", &e), ERR_CONFIG);
    assert_int_equal(sqs_url_check("q", "https://sqs.eu-west-1.amazonaws.com/123456789012/a", "eu-west-1", &e), 0);
    assert_int_equal(sqs_url_check("q", "https://sqs.eu-west-1.amazonaws.com/123456789012/a", "eu-west-2", &e), ERR_CONFIG);
    assert_int_equal(sqs_url_check("q", "https://sqs.eu-west-1.amazonaws.com/", "eu-west-1", &e), ERR_CONFIG);
    assert_true(sqs_is_fifo("https://h/1/a.fifo") && !sqs_is_fifo("https://h/1/fifo"));
}

static enum hint_kind kind_of(const char *text, struct hint *out)
{
    return hint_read(text, strlen(text), out);
}

static void test_hints(void **s)
{
#define EVENT(type, detail) "{\"source\":\"aws.medical-imaging\",\"detail-type\":\"" type "\",\"detail\":" detail "}"
    static const char good[] = EVENT("Import Job Completed", "{\"jobId\":\"abc1\",\"jobName\":\"n\",\"jobStatus\":\"COMPLETED\"}");
    struct hint h;
    (void)s;
    assert_int_equal(kind_of(good, &h), HINT_JOB_ENDED);
    assert_string_equal(h.job_id, "abc1");
    assert_string_equal(h.job_name, "n");
    assert_int_equal(kind_of(EVENT("Import Job Failed", "{\"jobId\":\"abc1\"}"), &h), HINT_JOB_ENDED);
    assert_int_equal(kind_of(EVENT("Import Job In Progress", "{\"jobId\":\"abc1\",\"jobStatus\":\"IN_PROGRESS\"}"), &h), HINT_JOB_MOVES);
    assert_int_equal(kind_of(EVENT("Image Set Created", "{\"imagesetId\":\"x\"}"), &h), HINT_OTHER);
    assert_int_equal(kind_of(EVENT("Import Job Completed", "{\"jobId\":\"A/../b\"}"), &h), HINT_UNREADABLE);
    assert_int_equal(kind_of("{\"Type\":\"Notification\",\"Message\":\"{\\\"source\\\":\\\"aws.medical-imaging\\\",\\\"detail-type\\\":\\\"Import Job Failed\\\","
                             "\\\"detail\\\":{\\\"jobId\\\":\\\"abc1\\\"}}\"}",
                             &h),
                     HINT_JOB_ENDED);
    /* one byte wrong anywhere: whatever it means then, an id is one or there is none */
    for (size_t i = 0; i + 1 < sizeof good; i++) {
        for (int k = 0; k < 256; k += 3) {
            char bad[sizeof good];
            memcpy(bad, good, sizeof good);
            bad[i] = (char)k;
            (void)hint_read(bad, sizeof good - 1, &h);
            assert_int_equal(strspn(h.job_id, "abcdefghijklmnopqrstuvwxyz0123456789"), strlen(h.job_id));
            (void)hint_read(bad, i, &h);
        }
    }
}

static void test_times(void **s)
{
    char text[40];
    (void)s;
    assert_string_equal(events_time(1767323045678, false, text), "2026-01-02T03:04:05.678Z");
    assert_string_equal(events_time(1767323045678, true, text), "2026-01-02T03:04:05.678000+00:00");
    assert_string_equal(events_time(0, true, text), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nobody_is_told, set_up, tear_down), cmocka_unit_test_setup_teardown(test_one_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_order_and_death, set_up, tear_down), cmocka_unit_test_setup_teardown(test_limits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_study, set_up, tear_down),         cmocka_unit_test_setup_teardown(test_jobs, set_up, tear_down),
        cmocka_unit_test(test_signature),                                         cmocka_unit_test(test_hints),
        cmocka_unit_test(test_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
