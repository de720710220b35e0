/*
 * storescp-uploader - puts what was validated into S3: claim, transfer, commit, hint; many transfers at one time, many ends in one commit. Nothing is
 * "uploaded" before S3 confirmed the whole object with the checksum that the receiver took from the network. Any number may run.
 * When S3 is away or refuses us the stage pauses and says so in its status; the instances wait in the spool and are not charged (breaker.h).
 * In between it also frees the claims of dead workers and checkpoints the database.
 */
#include "common/aws/client.h"
#include "common/handoff/handoff.h"
#include "common/runtime/config.h"
#include "common/runtime/log.h"
#include "common/runtime/reload.h"
#include "common/runtime/runtime.h"
#include "common/spool/spool.h"
#include "common/state/state.h"
#include "uploader/upload.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CHORES_MS = 1000, DRAIN_STEP_MS = 200 };

struct uploader {
    struct config *config;
    struct state *state;
    struct handoff *handoff;
    struct aws_client *aws;
    struct upload upload;
    int64_t chores_at;
};

static void chores(struct uploader *m, bool draining)
{
    struct err e = {0};
    char status[300];
    int freed = 0;
    if (clock_mono_ms() < m->chores_at) {
        return;
    }
    m->chores_at = clock_mono_ms() + CHORES_MS;
    upload_status(&m->upload, status, sizeof status);
    if (state_reclaim(m->state, &freed, &e) != 0 || state_worker_beat(m->state, draining ? "draining" : status, &e) != 0 ||
        state_housekeep(m->state, &e) != 0) {
        log_warning("chores_failed", "reason=\"%s\"", e.text);
    }
}

/* Keys hold nothing but [A-Za-z0-9._/-]: HealthImaging's result files name them, and nobody has promised how they escape others. */
static int check_settings(const struct config *c, struct err *e)
{
    const char *prefix = config_text(c, CFG_S3_PREFIX);
    size_t length = strlen(prefix);
    if (!config_text(c, CFG_DICOM_BUCKET)[0]) {
        return err_set(e, ERR_CONFIG, 0, "dicom_bucket is not set: name the S3 bucket for the images in storescp.conf (or DICOM_BUCKET)");
    }
    if (strspn(prefix, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-") != length || prefix[0] == '/' ||
        prefix[length - 1] == '/' || strstr(prefix, "//") || strstr(prefix, "..")) {
        return err_set(e, ERR_CONFIG, 0, "s3_prefix (%s): \"%.60s\" may hold A-Z a-z 0-9 . _ - and single slashes between", config_origin(c, CFG_S3_PREFIX),
                       prefix);
    }
    return 0;
}

static int start(struct uploader *m, const char *home, struct err *e)
{
    int rc = config_load(&m->config, home, e);
    enum log_level level = LOG_LEVEL_INFO;
    if (m->config) {
        (void)log_level_parse(config_text(m->config, CFG_LOG_LEVEL), &level);
    }
    log_init("uploader", level);
    rc = rc ? rc : check_settings(m->config, e);
    if (rc != 0) {
        return rc;
    }
    struct upload *u = &m->upload;
    u->config = m->config;
    u->home = config_home(m->config);
    u->concurrency = (int)config_int(m->config, CFG_UPLOAD_CONCURRENCY);
    if (u->concurrency > (int)config_int(m->config, CFG_MAX_POOL_CONNECTIONS)) {
        u->concurrency = (int)config_int(m->config, CFG_MAX_POOL_CONNECTIONS);
    }
    rc = stop_install(e);
    rc = rc ? rc : reload_install(e);
    rc = rc ? rc : aws_client_open(&m->aws, m->config, e);
    rc = rc ? rc : spool_prepare(u->home, e);
    rc = rc ? rc : state_open(&m->state, u->home, e);
    rc = rc ? rc : state_worker_register(m->state, STAGE_UPLOADER, e);
    rc = rc ? rc : handoff_open(&m->handoff, u->home, "uploader", "importer", state_worker_name(m->state), e);
    u->aws = m->aws;
    u->state = m->state;
    u->handoff = m->handoff;
    return rc;
}

/* Waits for transfers while there are some, for hints otherwise. */
static void wait_for_something(struct uploader *m, int stop)
{
    struct upload *u = &m->upload;
    int wait_ms = upload_wait_ms(u);
    if (u->sending > 0) {
        if (u->sending < u->concurrency && handoff_wait(m->handoff, 0, NULL, 0) > 0) {
            u->look_at_ms = 0;
        }
        (void)aws_client_run(m->aws, wait_ms, &stop, 1);
    } else if (u->ended == 0) {
        (void)handoff_wait(m->handoff, wait_ms, &stop, 1);
        u->look_at_ms = 0;
    }
}

/* Finishes the transfers in hand within drain_s; the rest of the claims are for others. */
static void drain(struct uploader *m)
{
    struct upload *u = &m->upload;
    const int64_t end = clock_mono_ms() + config_int(m->config, CFG_DRAIN_S) * 1000;
    upload_give_back_queue(u);
    while (u->sending > 0 && !u->broken && clock_mono_ms() < end) {
        (void)aws_client_run(m->aws, DRAIN_STEP_MS, NULL, 0);
        upload_settle(u, false);
        chores(m, true);
    }
    if (u->sending > 0) {
        log_warning("drain_cut", "transfers=%d effect=\"S3 keeps nothing of them; they are put again after the next start\"", u->sending);
    }
    upload_settle(u, true);
    aws_client_close(&m->aws);
    u->aws = NULL;
    upload_settle(u, true);
    upload_abandon(u);
}

static void close_all(struct uploader *m)
{
    aws_client_close(&m->aws);
    handoff_close(&m->handoff);
    state_close(&m->state);
    config_free(&m->config);
}

int main(int argc, char **argv)
{
    static struct uploader m;
    struct err e = {0};
    const char *home = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--home") == 0 && i + 1 < argc) {
            home = argv[++i];
        } else if (strcmp(argv[i], "--version") == 0) {
            return puts("storescp-uploader " STORESCP_VERSION) < 0;
        } else {
            (void)puts("usage: storescp-uploader [--home DIR] [--version]\nPuts validated instances into S3; any number may run.");
            return strcmp(argv[i], "--help") == 0 ? 0 : 2;
        }
    }
    int rc = start(&m, home, &e);
    if (rc != 0) {
        log_error("not_started", "code=%s reason=\"%s\"", err_name(rc), e.text);
        close_all(&m);
        return err_class_of(rc) == ERR_CLASS_CONFIG ? 78 : 1;
    }
    log_info("started", "worker=%s concurrency=%d", state_worker_name(m.state), m.upload.concurrency);
    ready_tell();
    const int stop = stop_fd();
    while (!stop_requested() && !m.upload.broken) {
        upload_claim(&m.upload);
        upload_begin(&m.upload);
        wait_for_something(&m, stop);
        upload_settle(&m.upload, false);
        chores(&m, false);
        reload_look(m.upload.home, check_settings);
    }
    drain(&m);
    log_info("stopped", "worker=%s", state_worker_name(m.state));
    (void)state_worker_unregister(m.state, &e);
    bool broken = m.upload.broken;
    close_all(&m);
    reload_exec(argv);
    return broken ? 1 : 0;
}
