/* state_fixture - a database of its own below /tmp with a validator, an uploader and an importer in it, and the short way of an
 * instance to 'uploaded'. For cmocka tests of common/state. */
#ifndef STORESCP_TESTS_STATE_FIXTURE_H
#define STORESCP_TESTS_STATE_FIXTURE_H

#include "common/runtime/runtime.h"
#include "common/state/state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

struct fixture {
    char home[64];
    struct state *validator, *uploader, *importer;
};

static inline int fixture_key(void *ctx, const struct state_instance *claim, const struct state_place *of_batch, struct state_place *out, struct err *e)
{
    (void)ctx, (void)of_batch, (void)e;
    (void)snprintf(out->bucket, sizeof out->bucket, "bucket");
    (void)snprintf(out->key, sizeof out->key, "p/%s/%s.dcm", claim->batch, claim->r.id);
    return 0;
}

/* What most tests ask of `default`. */
static inline int state_batches_close(struct state *s, int64_t quiet_ms, int64_t max_age_ms, int *closed, struct err *e)
{
    return state_batches_close_for(s, STATE_DESTINATION_DEFAULT, quiet_ms, max_age_ms, closed, e);
}

static inline int state_batches_leave_late(struct state *s, int64_t wait_ms, const struct state_batch_limits *limits, int *moved, struct err *e)
{
    return state_batches_leave_late_for(s, STATE_DESTINATION_DEFAULT, wait_ms, limits, moved, e);
}

static inline int state_batch_claim(struct state *s, enum state_batch_work work, struct state_batch *out, bool *found, struct err *e)
{
    return state_batch_claim_for(s, STATE_DESTINATION_DEFAULT, work, out, found, e);
}

static inline struct state *worker(const char *home, enum state_stage stage)
{
    struct state *s = NULL;
    struct err e = {0};
    if (state_open(&s, home, &e) != 0 || state_worker_register(s, stage, &e) != 0) {
        fail_msg("%s", e.text);
    }
    return s;
}

static inline int set_up(void **out)
{
    struct fixture *f = calloc(1, sizeof *f);
    (void)snprintf(f->home, sizeof f->home, "/tmp/state_test.XXXXXX");
    if (!mkdtemp(f->home)) {
        return -1;
    }
    f->validator = worker(f->home, STAGE_VALIDATOR);
    f->uploader = worker(f->home, STAGE_UPLOADER);
    state_make_keys(f->uploader, fixture_key, NULL);
    f->importer = worker(f->home, STAGE_IMPORTER);
    *out = f;
    return 0;
}

static inline int tear_down(void **in)
{
    struct fixture *f = *in;
    state_close(&f->validator);
    state_close(&f->uploader);
    state_close(&f->importer);
    pid_t child = fork();
    if (child == 0) {
        (void)execlp("rm", "rm", "-rf", f->home, (char *)NULL);
        _exit(1);
    }
    (void)waitpid(child, NULL, 0);
    free(f);
    return 0;
}

static inline void receive(struct fixture *f, const char *sop, uint32_t crc, char id[27])
{
    struct state_received r = {.file_bytes = 1000, .data_bytes = 900, .data_crc32c = crc, .file_crc32c = crc, .received_ms = 1};
    struct err e = {0};
    (void)nanosleep(&(struct timespec){0, 2000000}, NULL); /* ids of one millisecond have no order, and claims go by it */
    id_new(r.id);
    (void)snprintf(r.sop_instance_uid, sizeof r.sop_instance_uid, "%s", sop);
    (void)snprintf(r.sop_class_uid, sizeof r.sop_class_uid, "1.2.840.10008.5.1.4.1.1.2");
    (void)snprintf(r.transfer_syntax_uid, sizeof r.transfer_syntax_uid, "1.2.840.10008.1.2.1");
    assert_int_equal(state_add_received(f->validator, &r, 1, &e), 0);
    assert_int_equal(state_add_received(f->validator, &r, 1, &e), 0); /* idempotent */
    (void)snprintf(id, 27, "%s", r.id);
}

static inline struct state_validation validate(struct fixture *f, const char *id, const char *compared_with)
{
    static const struct state_batch_limits limits = {.max_count = 5000, .max_bytes = 10000000000LL};
    struct state_instance claim;
    size_t count = 0;
    struct err e = {0};
    assert_int_equal(state_claim(f->validator, STAGE_VALIDATOR, &claim, 1, &count, &e), 0);
    assert_int_equal(count, 1);
    assert_string_equal(claim.r.id, id);
    struct state_validation v = {.claim = &claim};
    (void)snprintf(v.compared_with, sizeof v.compared_with, "%s", compared_with);
    (void)snprintf(v.identity.study_uid, sizeof v.identity.study_uid, "1.2.3");
    assert_int_equal(state_validated(f->validator, &v, 1, &limits, &e), 0);
    assert_false(v.fenced);
    v.claim = NULL;
    return v;
}

static inline enum state_verdict validate_one(struct fixture *f, const char *id)
{
    return validate(f, id, "").verdict;
}

static inline void upload_one(struct fixture *f, struct state_instance *claim)
{
    size_t count = 0;
    struct err e = {0};
    assert_int_equal(state_claim(f->uploader, STAGE_UPLOADER, claim, 1, &count, &e), 0);
    assert_int_equal(count, 1);
    struct state_uploaded u = {.claim = claim};
    assert_int_equal(state_uploaded(f->uploader, &u, 1, &e), 0);
    assert_false(u.fenced);
    /* the same claim a second time does nothing */
    assert_int_equal(state_uploaded(f->uploader, &u, 1, &e), 0);
    assert_true(u.fenced);
}

#endif
