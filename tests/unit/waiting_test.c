/* waiting_test - what the recorder learns about instances whose sender waits, the closing of batches that are waited for, the backlog. */
#include "state_fixture.h"

static void receive_waited(struct fixture *f, const char *sop, uint32_t crc, int64_t wait_until_ms, struct state_progress *p)
{
    struct state_received r = {.file_bytes = 1000, .data_bytes = 900, .data_crc32c = crc, .file_crc32c = crc, .received_ms = 1, .wait_until_ms = wait_until_ms};
    struct err e = {0};
    id_new(r.id);
    (void)snprintf(r.sop_instance_uid, sizeof r.sop_instance_uid, "%s", sop);
    (void)snprintf(r.sop_class_uid, sizeof r.sop_class_uid, "1.2.840.10008.5.1.4.1.1.2");
    (void)snprintf(r.transfer_syntax_uid, sizeof r.transfer_syntax_uid, "1.2.840.10008.1.2.1");
    assert_int_equal(state_add_received(f->validator, &r, 1, &e), 0);
    memset(p, 0, sizeof *p);
    memcpy(p->id, r.id, sizeof p->id);
}

static bool look(struct state *s, struct state_progress *p, size_t count)
{
    bool news = false;
    struct err e = {0};
    assert_int_equal(state_progress(s, p, count, &news, &e), 0);
    return news;
}

static void progress_is_seen_once_somebody_commits(void **in)
{
    struct fixture *f = *in;
    struct state *watcher = worker(f->home, STAGE_RECEIVER);
    struct state_progress p[3];
    struct state_instance claim;
    struct state_instance twin;
    struct err e = {0};
    receive_waited(f, "1.2.3", 7, 0, &p[0]);
    assert_true(look(watcher, p, 1));
    assert_false(p[0].is_uploaded || p[0].is_imported || p[0].is_refused);
    assert_false(look(watcher, p, 1)); /* nothing was committed since */
    assert_int_equal(validate_one(f, p[0].id), VERDICT_VALIDATED);
    assert_true(look(watcher, p, 1));
    assert_false(p[0].is_uploaded);
    upload_one(f, &twin);
    /* its duplicate is as far as it is itself */
    receive_waited(f, "1.2.3", 7, 0, &p[1]);
    assert_int_equal(validate(f, p[1].id, p[0].id).verdict, VERDICT_DUPLICATE);
    /* and one that is refused */
    receive_waited(f, "1.2.4", 8, 0, &p[2]);
    size_t count = 0;
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &claim, 1, &count, &e), 0);
    struct err why = {.code = ERR_DICOM_MISMATCH, .text = "another class"};
    assert_int_equal(state_refuse(f->validator, &claim, &why, NULL, &e), 0);
    assert_true(look(watcher, p, 3));
    assert_true(p[0].is_uploaded && p[1].is_uploaded && !p[2].is_uploaded);
    assert_false(p[0].is_imported || p[1].is_imported || p[0].is_refused || p[1].is_refused);
    assert_true(p[2].is_refused);
    assert_string_equal(p[2].error_code, "DICOM_UID_MISMATCH");
    state_close(&watcher);
}

static void many_are_asked_at_one_time(void **in)
{
    enum { COUNT = 600 };
    struct fixture *f = *in;
    static struct state_progress p[COUNT];
    char sop[32];
    struct state_instance claim;
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(sop, sizeof sop, "1.2.%d", i);
        receive_waited(f, sop, 7, 0, &p[i]);
        if (i == 0) {
            assert_int_equal(validate_one(f, p[0].id), VERDICT_VALIDATED);
            upload_one(f, &claim);
        }
    }
    struct state *watcher = worker(f->home, STAGE_RECEIVER);
    assert_true(look(watcher, p, COUNT));
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(p[i].is_uploaded, i == 0);
    }
    state_close(&watcher);
    int64_t count = 0;
    int64_t bytes = 0;
    struct err e = {0};
    assert_int_equal(state_backlog(f->importer, &count, NULL, &e), 0);
    assert_int_equal(count, COUNT - 1);
    assert_int_equal(state_backlog(f->importer, &count, &bytes, &e), 0);
    assert_int_equal(bytes, (COUNT - 1) * 1000);
}

static int close_waited(struct fixture *f)
{
    int closed = -1;
    struct err e = {0};
    assert_int_equal(state_batches_close_waited(f->importer, &closed, &e), 0);
    return closed;
}

static void a_batch_that_is_waited_for_closes_at_once(void **in)
{
    struct fixture *f = *in;
    struct state_progress p[3];
    struct state_instance claim;
    int64_t later = clock_wall_ms() + 60000;
    receive_waited(f, "1.2.1", 1, 0, &p[0]);
    assert_int_equal(validate_one(f, p[0].id), VERDICT_VALIDATED);
    upload_one(f, &claim);
    assert_int_equal(close_waited(f), 0); /* nobody waits */
    receive_waited(f, "1.2.2", 2, later, &p[1]);
    assert_int_equal(validate_one(f, p[1].id), VERDICT_VALIDATED); /* before the next comes: ids of one millisecond have no order */
    receive_waited(f, "1.2.3", 3, later, &p[2]);
    assert_int_equal(validate_one(f, p[2].id), VERDICT_VALIDATED);
    upload_one(f, &claim);
    assert_int_equal(close_waited(f), 0); /* another one that is waited for is under way */
    upload_one(f, &claim);
    assert_int_equal(close_waited(f), 1);
    assert_int_equal(close_waited(f), 0);
}

static void nobody_waits_any_more(void **in)
{
    struct fixture *f = *in;
    struct state_progress p;
    struct state_progress again;
    struct state_instance claim;
    receive_waited(f, "1.2.1", 1, clock_wall_ms() - 1, &p);
    assert_int_equal(validate_one(f, p.id), VERDICT_VALIDATED);
    upload_one(f, &claim);
    assert_int_equal(close_waited(f), 0);
    /* it is sent again, and its sender waits: the batch of the first one is wanted now */
    receive_waited(f, "1.2.1", 1, clock_wall_ms() + 60000, &again);
    assert_int_equal(validate(f, again.id, p.id).verdict, VERDICT_DUPLICATE);
    assert_int_equal(close_waited(f), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(progress_is_seen_once_somebody_commits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_are_asked_at_one_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_batch_that_is_waited_for_closes_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_waits_any_more, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
