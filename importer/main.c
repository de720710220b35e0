/*
 * storescp-importer - closes batches, gives each to HealthImaging as one import job, follows the jobs and writes to every instance what became
 * of it: evidence, a reason, or a new batch. Any number may run: claims decide who has a batch, one bucket in state.db limits the starts of all.
 * Work that ended goes first, then jobs that run, then new ones, a step of each in turn, so that none starves the others.
 * A step is claimed, done and recorded; on SIGTERM the step in hand is finished and nothing else begun.
 */
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "common/worker/worker.h"
#include "importer/importer.h"

#include <stdio.h>
#include <string.h>

enum { WAITING_AFTER = 3 };

struct process {
    struct worker worker;
    struct importer m;
    int64_t close_at;
};

/* Why nothing goes on at the moment, for `storescpctl status`. */
static void status_text(const struct importer *m, char *out, size_t size)
{
    const struct gate *const gates[] = {&m->start, &m->poll, &m->results};
    (void)snprintf(out, size, "ready");
    for (size_t i = 0; i < sizeof gates / sizeof gates[0]; i++) {
        if (gate_is_alarmed(gates[i]) || (gates[i]->failures >= WAITING_AFTER && !gates[i]->is_resting)) {
            (void)snprintf(out, size, "waiting: %s: %s: %s", gates[i]->name, err_name(gates[i]->why.code), gates[i]->why.text);
            return;
        }
    }
}

static void chores(struct process *p)
{
    char status[420];
    struct err e = {0};
    int closed = 0;
    int64_t now = clock_mono_ms();
    if (now >= p->close_at) {
        p->close_at = now + config_int(p->m.config, CFG_SWEEP_MS);
        if (state_batches_close(p->m.state, config_int(p->m.config, CFG_BATCH_QUIET_MS), config_int(p->m.config, CFG_BATCH_MAX_AGE_MS), &closed,
                                &e) != 0) {
            log_error("close_failed", "reason=\"%s\"", e.text);
        } else if (closed) {
            log_info("batches_closed", "count=%d", closed);
        }
        if (state_batches_leave_late(p->m.state, config_int(p->m.config, CFG_BATCH_MAX_AGE_MS), &p->m.again.limits, &closed, &e) != 0) {
            log_error("leave_failed", "reason=\"%s\"", e.text);
        } else if (closed) {
            log_warning("late_instances", "count=%d effect=\"their batches start without them\" remedy=\"storescpctl stuck shows what holds them up\"", closed);
        }
        if (state_batches_leave_held(p->m.state, config_int(p->m.config, CFG_BATCH_MAX_AGE_MS), &p->m.again.limits, &closed, &e) != 0) {
            log_error("leave_failed", "reason=\"%s\"", e.text);
        } else if (closed) {
            log_warning("held_left", "count=%d effect=\"their batches start without them\" remedy=\"storescpctl release lets them follow\"", closed);
        }
        if (state_batches_close_urgent(p->m.state, config_int(p->m.config, CFG_BATCH_URGENT_QUIET_MS), &closed, &e) != 0) {
            log_error("close_failed", "reason=\"%s\"", e.text);
        } else if (closed) {
            log_info("batches_closed", "count=%d reason=urgent", closed);
        }
        if (state_batches_close_waited(p->m.state, &closed, &e) != 0) {
            log_error("close_failed", "reason=\"%s\"", e.text);
        } else if (closed) {
            log_info("batches_closed", "count=%d reason=\"their senders wait for the import\"", closed);
        }
    }
    status_text(&p->m, status, sizeof status);
    (void)worker_chores(&p->worker, status);
}

/* HealthImaging refuses what does not look like this for every batch; better said once, before (API model 2023-07-19). */
static int check_settings(const struct config *c, struct err *e)
{
    const char *store = config_text(c, CFG_DATASTORE_ID);
    const char *role = config_text(c, CFG_DATA_ACCESS_ROLE_ARN);
    if (!config_text(c, CFG_DICOM_BUCKET)[0]) {
        return err_set(e, ERR_CONFIG, 0, "dicom_bucket is not set: name the S3 bucket for the images in storescp.conf or in DICOM_BUCKET");
    }
    if (strspn(store, "0123456789abcdefghijklmnopqrstuvwxyz") != 32 || store[32] != '\0') {
        return err_set(e, ERR_CONFIG, 0, "datastore_id is %s: set it in storescp.conf or in DATASTORE_ID to the id of the HealthImaging data store, "
                       "32 letters a-z and digits", store[0] ? "not the id of a data store" : "not set");
    }
    const char *account = strstr(role, ":iam::");
    if (strncmp(role, "arn:aws", 7) != 0 || !account || strspn(account + 6, "0123456789") != 12 || strncmp(account + 18, ":role/", 6) != 0 ||
        account[24] == '\0') {
        return err_set(e, ERR_CONFIG, 0, "data_access_role_arn is %s: set it in storescp.conf or in DATA_ACCESS_ROLE_ARN to the role that HealthImaging "
                       "takes, arn:aws:iam::<account>:role/<name>", role[0] ? "not the ARN of a role" : "not set");
    }
    return 0;
}

static const struct worker_kind kind = {STAGE_IMPORTER, NULL, SECRETS_CLOUD, "Starts and follows import jobs", check_settings};

static int start(struct process *p, const char *home, struct err *e)
{
    struct importer *m = &p->m;
    int rc = worker_start(&p->worker, &kind, home, e);
    const struct config *c = p->worker.config;
    rc = rc ? rc : aws_client_open(&m->aws, c, e);
    if (rc != 0) {
        return rc;
    }
    m->config = c;
    m->state = p->worker.state;
    m->start.name = "starting import jobs";
    m->poll.name = "following import jobs";
    m->results.name = "reading results";
    m->limits.per_minute = (int)config_int(c, CFG_IMPORT_START_PER_MINUTE);
    m->limits.burst = (int)config_int(c, CFG_IMPORT_START_BURST);
    m->limits.running_max = (int)config_int(c, CFG_IMPORT_RUNNING_MAX);
    m->again.attempts_max = (int)config_int(c, CFG_IMPORT_ATTEMPTS);
    m->again.limits.max_count = (int)config_int(c, CFG_BATCH_MAX_COUNT);
    m->again.limits.max_bytes = config_int(c, CFG_BATCH_MAX_MB) * 1000000;
    return 0;
}

static void work(struct process *p)
{
    bool (*const steps[])(struct importer *) = {results_next, poll_next, start_next};
    struct importer *m = &p->m;
    const int stop = stop_fd();
    while (!stop_requested() && !m->broken) {
        bool any = false;
        for (size_t i = 0; i < sizeof steps / sizeof steps[0] && !stop_requested() && !m->broken; i++) {
            any = steps[i](m) || any;
            chores(p); /* between steps: a call may take as long as its time limit */
        }
        if (!any && !m->broken) {
            (void)handoff_wait(p->worker.handoff, (int)config_int(m->config, CFG_SWEEP_MS), &stop, 1);
        }
        worker_look_for_reload(&p->worker);
    }
}

int main(int argc, char **argv)
{
    static struct process p;
    struct err e = {0};
    const char *home;
    int code = worker_arguments(&kind, argc, argv, &home);
    if (code != WORKER_GOES_ON) {
        return code;
    }
    int rc = start(&p, home, &e);
    if (rc != 0) {
        aws_client_close(&p.m.aws);
        return worker_not_started(&p.worker, rc, &e);
    }
    worker_ready(&p.worker);
    work(&p);
    aws_client_close(&p.m.aws);
    return worker_end(&p.worker, argv, p.m.broken);
}
