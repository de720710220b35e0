/*
 * storescp-importer - closes batches, gives each to HealthImaging as one import job, follows the jobs and writes to every instance what became
 * of it: evidence, a reason, or a new batch. Any number may run: claims decide who has a batch, one bucket in state.db limits the starts of all.
 * Each destination that imports has credentials, gates and limits of its own, so that a blocked one stops no other.
 * Work that ended goes first, then jobs that run, then new ones, a step of each in turn, so that none starves the others.
 * A step is claimed, done and recorded; on SIGTERM the step in hand is finished and nothing else begun.
 */
#include "common/aws/listeners.h"
#include "common/aws/medical_imaging.h"
#include "common/aws/s3/s3_options.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "common/worker/worker.h"
#include "importer/importer.h"
#include "importer/outside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAITING_AFTER = 3, SLOW_MS = 1000, SLOW_TIMES = 4 };

/* One destination that imports: its own credentials, gates and limits. */
struct place {
    struct importer m;
    char start[80], poll[80], results[80]; /* what its gates are called */
    int64_t rest_until_ms;                 /* its calls took long and failed: the others go on meanwhile */
};

struct process {
    struct worker worker;
    struct place *places[CONFIG_DESTINATION_LIMIT];
    size_t count;
    struct outside outside;
    int64_t close_at;
    struct worker_orphan orphan;
};

/* Why nothing goes on at the moment, for `storescpctl status`. */
static void status_text(const struct process *p, char *out, size_t size)
{
    size_t used = 0;
    bool several = config_destination_at(p->worker.config, 1) != NULL;
    (void)snprintf(out, size, "ready");
    for (size_t k = 0; k < p->count && used + 1 < size; k++) {
        const struct importer *m = &p->places[k]->m;
        const struct gate *const gates[] = {&m->start, &m->poll, &m->results};
        for (size_t i = 0; i < sizeof gates / sizeof gates[0] && used + 1 < size; i++) {
            if (gate_is_alarmed(gates[i]) || (gates[i]->failures >= WAITING_AFTER && !gates[i]->is_resting)) {
                const char *of = several ? strstr(gates[i]->name, " of ") : NULL; /* the brackets name it */
                int length = (int)(of ? of - gates[i]->name : (ptrdiff_t)strlen(gates[i]->name));
                used += (size_t)snprintf(out + used, size - used, "%s%s%s%s%.*s: %s: %s", used ? "; " : "waiting: ", several ? "[" : "",
                                         several ? config_destination_name(m->config) : "", several ? "] " : "", length, gates[i]->name,
                                         err_name(gates[i]->why.code), gates[i]->why.text); /* whole: the remedy stands at its end */
                break;
            }
        }
    }
    if (p->orphan.name[0] && used + 1 < size) {
        used += (size_t)snprintf(out + used, size - used, "%s[%s] %s: %s", used ? "; " : "waiting: ", p->orphan.name, err_name(ERR_CONFIG), p->orphan.text);
    }
    const struct gate *hints = &p->outside.hints_gate;
    if (used == 0 && (gate_is_alarmed(hints) || hints->failures >= WAITING_AFTER)) { /* imports go on without them */
        (void)snprintf(out, size, "ready, but without hints: %s: %.200s", err_name(hints->why.code), hints->why.text);
    }
}

static void say_closed(int rc, int closed, const char *reason, const struct err *e)
{
    if (rc != 0) {
        log_error("close_failed", "reason=\"%s\"", e->text);
    } else if (closed) {
        log_info("batches_closed", "count=%d%s%s%s", closed, reason[0] ? " reason=\"" : "", reason, reason[0] ? "\"" : "");
    }
}

static void close_batches(struct process *p)
{
    struct state *s = p->worker.state;
    struct err e = {0};
    int closed = 0;
    for (size_t i = 0; i < p->count; i++) {
        const struct importer *m = &p->places[i]->m;
        const char *name = config_destination_name(m->config);
        int64_t max_age_ms = config_int(m->config, CFG_BATCH_MAX_AGE_MS);
        int rc = state_batches_close_for(s, name, config_int(m->config, CFG_BATCH_QUIET_MS), max_age_ms, &closed, &e);
        say_closed(rc, closed, "", &e);
        if (state_batches_leave_late_for(s, name, max_age_ms, &m->again.limits, &closed, &e) != 0) {
            log_error("leave_failed", "reason=\"%s\"", e.text);
        } else if (closed) {
            log_warning("late_instances", "count=%d effect=\"their batches start without them\" remedy=\"storescpctl stuck shows what holds them up\"", closed);
        }
    }
    const struct config *all = p->worker.config;
    const struct state_batch_limits limits = {.max_count = (int)config_int(all, CFG_BATCH_MAX_COUNT), .max_bytes = config_int(all, CFG_BATCH_MAX_MB) * 1000000};
    if (state_batches_leave_held(s, config_int(all, CFG_BATCH_MAX_AGE_MS), &limits, &closed, &e) != 0) {
        log_error("leave_failed", "reason=\"%s\"", e.text);
    } else if (closed) {
        log_warning("held_left", "count=%d effect=\"their batches start without them\" remedy=\"storescpctl release lets them follow\"", closed);
    }
    int rc = state_batches_close_urgent(s, config_int(p->worker.config, CFG_BATCH_URGENT_QUIET_MS), &closed, &e);
    say_closed(rc, closed, "urgent", &e);
    rc = state_batches_close_waited(s, &closed, &e);
    say_closed(rc, closed, "their senders wait for the import", &e);
}

static bool is_served(const struct config *destination)
{
    return config_destination_kind(destination) == KIND_HEALTHIMAGING;
}

static void chores(struct process *p)
{
    char status[900];
    int64_t now = clock_mono_ms();
    if (now >= p->close_at) {
        p->close_at = now + config_int(p->worker.config, CFG_SWEEP_MS);
        close_batches(p);
    }
    worker_look_for_orphan(&p->worker, &p->orphan, is_served);
    outside_move(&p->outside);
    status_text(p, status, sizeof status);
    (void)worker_chores(&p->worker, status);
}

/* HealthImaging refuses what does not look like this for every batch; better said once, before (API model 2023-07-19). */
static int check_destination(const struct config *c, struct err *e)
{
    if (!is_served(c)) {
        return 0;
    }
    struct s3_options options;
    if (!config_text(c, CFG_DICOM_BUCKET)[0]) {
        return err_set(e, ERR_CONFIG, 0, "dicom_bucket is not set: name the S3 bucket for the images in storescp.conf or in DICOM_BUCKET");
    }
    if (!config_text(c, CFG_DATASTORE_ID)[0]) {
        return err_set(e, ERR_CONFIG, 0, "datastore_id is not set: set it in storescp.conf or in DATASTORE_ID to the id of the HealthImaging data store");
    }
    if (!config_text(c, CFG_DATA_ACCESS_ROLE_ARN)[0]) {
        return err_set(e, ERR_CONFIG, 0, "data_access_role_arn is not set: set it in storescp.conf or in DATA_ACCESS_ROLE_ARN to the role that HealthImaging takes");
    }
    int rc = aws_client_check(c, e);
    rc = rc ? rc : ahi_settings_check(c, e);
    return rc ? rc : s3_options_read(c, &options, e);
}

static int check_settings(const struct config *c, struct err *e)
{
    int rc = config_check_destinations(c, check_destination, e);
    return rc ? rc : aws_listeners_check(c, NULL, e);
}

static const struct worker_kind kind = {STAGE_IMPORTER, NULL, SECRETS_CLOUD, "Starts and follows import jobs", check_settings};

static int open_place(struct process *p, const struct config *c, struct err *e)
{
    struct err why = {0};
    char words[CONFIG_DESTINATION_SIZE + 20];
    struct place *place = calloc(1, sizeof *place);
    if (!place) {
        return err_set(e, ERR_MEMORY, 0, "importer");
    }
    p->places[p->count++] = place;
    struct importer *m = &place->m;
    int rc = aws_client_open(&m->aws, c, &why);
    if (rc != 0) {
        return err_set(e, rc, 0, "%s%.400s", config_destination_words(c, words, sizeof words), why.text);
    }
    const char *name = config_destination_name(c);
    bool is_only = !config_destination_at(p->worker.config, 1);
    (void)snprintf(place->start, sizeof place->start, "starting import jobs%s%s", is_only ? "" : " of ", is_only ? "" : name);
    (void)snprintf(place->poll, sizeof place->poll, "following import jobs%s%s", is_only ? "" : " of ", is_only ? "" : name);
    (void)snprintf(place->results, sizeof place->results, "reading results%s%s", is_only ? "" : " of ", is_only ? "" : name);
    m->config = c;
    m->state = p->worker.state;
    m->is_hinted = p->outside.hints_url ? &p->outside.is_hinted : NULL;
    m->start.name = place->start;
    m->poll.name = place->poll;
    m->results.name = place->results;
    m->limits.per_minute = (int)config_int(c, CFG_IMPORT_START_PER_MINUTE);
    m->limits.burst = (int)config_int(c, CFG_IMPORT_START_BURST);
    m->limits.running_max = (int)config_int(c, CFG_IMPORT_RUNNING_MAX);
    m->again.attempts_max = (int)config_int(c, CFG_IMPORT_ATTEMPTS);
    m->again.limits.max_count = (int)config_int(c, CFG_BATCH_MAX_COUNT);
    m->again.limits.max_bytes = config_int(c, CFG_BATCH_MAX_MB) * 1000000;
    return 0;
}

static int start(struct process *p, const char *home, struct err *e)
{
    const struct config *c;
    int rc = worker_start(&p->worker, &kind, home, e);
    rc = rc ? rc : outside_open(&p->outside, p->worker.config, p->worker.state, e);
    for (size_t i = 0; rc == 0 && (c = config_destination_at(p->worker.config, i)); i++) {
        rc = is_served(c) ? open_place(p, c, e) : 0;
    }
    return rc;
}

static void close_places(struct process *p)
{
    for (size_t i = 0; i < p->count; i++) {
        aws_client_close(&p->places[i]->m.aws);
        free(p->places[i]);
    }
    p->count = 0;
}

static bool is_broken(const struct process *p)
{
    for (size_t i = 0; i < p->count; i++) {
        if (p->places[i]->m.broken) {
            return true;
        }
    }
    return false;
}

/* One step of that kind at one destination; true if there was something to do. Calls wait for their answers here: one that took long and failed makes its
 * destination rest a multiple of that time, so that an endpoint that swallows requests costs the others a part of their time and not most of it. */
static bool take_step(struct process *p, struct place *place, bool (*step)(struct importer *))
{
    struct importer *m = &place->m;
    int64_t began = clock_mono_ms();
    if (began < place->rest_until_ms) {
        return false;
    }
    int failures = m->start.failures + m->poll.failures + m->results.failures;
    bool any = step(m);
    int64_t now = clock_mono_ms();
    if (p->count > 1 && now - began > SLOW_MS && m->start.failures + m->poll.failures + m->results.failures > failures) {
        place->rest_until_ms = now + SLOW_TIMES * (now - began);
    }
    return any;
}

static void work(struct process *p)
{
    bool (*const steps[])(struct importer *) = {results_next, poll_next, start_next};
    const int stop = stop_fd();
    while (!stop_requested() && !is_broken(p)) {
        bool any = false;
        for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
            for (size_t k = 0; k < p->count && !stop_requested() && !is_broken(p); k++) {
                any = take_step(p, p->places[k], steps[i]) || any;
                chores(p); /* between steps: a call may take as long as its time limit */
            }
        }
        if (p->count == 0) { /* nothing is imported here; a place for what a change of settings left behind */
            chores(p);
        }
        if (!any && !is_broken(p)) {
            outside_wait(&p->outside, p->worker.handoff, (int)config_int(p->worker.config, CFG_SWEEP_MS), stop);
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
        outside_close(&p.outside);
        close_places(&p);
        return worker_not_started(&p.worker, rc, &e);
    }
    worker_ready(&p.worker);
    work(&p);
    bool broken = is_broken(&p);
    outside_close(&p.outside);
    close_places(&p);
    return worker_end(&p.worker, argv, broken);
}
