/*
 * storescp-uploader - puts what was validated into S3: claim, transfer, commit, hint; many transfers at one time, many ends in one commit. Nothing is
 * "uploaded" before S3 confirmed the whole object with the checksum that the receiver took from the network. Any number may run.
 * When S3 is away or refuses us the stage pauses and says so in its status; the instances wait in the spool and are not charged (breaker.h).
 * In between it also frees the claims of dead workers and checkpoints the database.
 */
#include "common/aws/client.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "common/worker/worker.h"
#include "uploader/keys.h"
#include "uploader/transport.h"
#include "uploader/upload.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { DRAIN_STEP_MS = 200 };

struct uploader {
    struct worker worker;
    struct aws_client *aws;
    struct upload upload;
};

static void chores(struct uploader *m, bool is_draining)
{
    char status[300];
    upload_status(&m->upload, status, sizeof status);
    (void)worker_chores(&m->worker, is_draining ? "draining" : status);
}

static int check_settings(const struct config *c, struct err *e)
{
    if (config_destination_kind(c) == KIND_DICOMWEB) {
        return stow_check_settings(c, e);
    }
    if (!config_text(c, CFG_DICOM_BUCKET)[0]) {
        return err_set(e, ERR_CONFIG, 0, "dicom_bucket is not set: name the S3 bucket for the images in storescp.conf (or DICOM_BUCKET)");
    }
    return keys_check(c, e);
}

static int make_key(void *ctx, const struct state_instance *claim, const char *batch_key, char key[STATE_KEY_SIZE], struct err *e)
{
    const struct uploader *m = ctx;
    return keys_make(m->worker.config, claim, batch_key, key, e);
}

static const struct worker_kind kind = {STAGE_UPLOADER, "importer", SECRETS_CLOUD, "Puts validated instances into S3", check_settings};

static int start(struct uploader *m, const char *home, struct err *e)
{
    struct upload *u = &m->upload;
    int rc = worker_start(&m->worker, &kind, home, e);
    rc = rc ? rc : aws_client_open(&m->aws, m->worker.config, e);
    if (rc != 0) {
        return rc;
    }
    state_make_keys(m->worker.state, make_key, m);
    long long connections = config_int(m->worker.config, CFG_MAX_POOL_CONNECTIONS);
    long long transfers = config_int(m->worker.config, CFG_UPLOAD_CONCURRENCY);
    u->concurrency = (int)(transfers < connections ? transfers : connections);
    long long parts = connections / u->concurrency; /* a part that waits for a connection would use up its time limit */
    long long wanted = config_int(m->worker.config, CFG_MULTIPART_PARALLEL);
    u->part_parallel = (int)(wanted < parts ? wanted : parts);
    u->config = m->worker.config;
    u->home = m->worker.home;
    u->state = m->worker.state;
    u->handoff = m->worker.handoff;
    u->aws = m->aws;
    u->transport = config_destination_kind(u->config) == KIND_DICOMWEB ? &transport_dicomweb : &transport_s3;
    return 0;
}

/* Waits for transfers while there are some, for hints otherwise. */
static void wait_for_something(struct uploader *m, int stop)
{
    struct upload *u = &m->upload;
    int wait_ms = upload_wait_ms(u);
    if (u->sending > 0) {
        if (u->sending < u->concurrency && handoff_wait(m->worker.handoff, 0, NULL, 0) > 0) {
            u->look_at_ms = 0;
        }
        (void)aws_client_run(m->aws, wait_ms, &stop, 1);
    } else if (u->ended == 0) {
        (void)handoff_wait(m->worker.handoff, wait_ms, &stop, 1);
        u->look_at_ms = 0;
    }
}

/* Finishes the transfers in hand within drain_s; the rest of the claims are for others. */
static void drain(struct uploader *m)
{
    struct upload *u = &m->upload;
    const int64_t end = clock_mono_ms() + config_int(m->worker.config, CFG_DRAIN_S) * 1000;
    upload_give_back_queue(u);
    while (u->sending > 0 && !u->broken && clock_mono_ms() < end) {
        (void)aws_client_run(m->aws, DRAIN_STEP_MS, NULL, 0);
        upload_settle(u, false);
        chores(m, true);
    }
    if (u->sending > 0) {
        log_warning("drain_cut", "transfers=%d effect=\"they are put again after the next start; of a file in parts, what S3 has not\"", u->sending);
    }
    upload_settle(u, true);
    aws_client_close(&m->aws);
    u->aws = NULL;
    upload_settle(u, true);
    upload_abandon(u);
}

int main(int argc, char **argv)
{
    static struct uploader m;
    struct err e = {0};
    const char *home;
    int code = worker_arguments(&kind, argc, argv, &home);
    if (code != WORKER_GOES_ON) {
        return code;
    }
    int rc = start(&m, home, &e);
    if (rc != 0) {
        aws_client_close(&m.aws);
        return worker_not_started(&m.worker, rc, &e);
    }
    worker_ready(&m.worker);
    const int stop = stop_fd();
    while (!stop_requested() && !m.upload.broken) {
        upload_claim(&m.upload);
        upload_begin(&m.upload);
        wait_for_something(&m, stop);
        upload_settle(&m.upload, false);
        upload_abort_leftover(&m.upload);
        chores(&m, false);
        worker_look_for_reload(&m.worker);
    }
    drain(&m);
    return worker_end(&m.worker, argv, m.upload.broken);
}
