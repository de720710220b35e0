/*
 * publish - delivers the outbox. For each target up to OUTSIDE_SLOTS subjects are in hand, the rows of a subject one after the other; the first
 * request after a failure goes alone. An outage or a setting that is wrong closes the target's gate: everything waits, nothing is charged. What is
 * refused as such waits alone, longer each time up to an hour, and holds up its own subject only. Nothing is ever given up for its number of
 * attempts, only by age and number (events_keep_s, events_keep_count), and that is said aloud and counted.
 * A crash between the answer and its record tells the same event again, under the same id.
 */
#include "common/aws/dynamodb.h"
#include "common/aws/sqs.h"
#include "common/aws/webhook.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "importer/outside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REGISTER_MS = 60000, TRIM_MS = 10000, ANNOUNCE_MS = 500, CLAIM_MS = 250, REFUSED_BASE_MS = 5000, REFUSED_CEILING_MS = 3600000 };

static const struct {
    const char *name, *gate;
    bool takes_jobs;
    enum config_key key;
} targets[TARGET_COUNT] = {{"webhook", "telling events_webhook_url", false, CFG_EVENTS_WEBHOOK_URL},
                           {"sqs", "telling events_sqs_queue_url", false, CFG_EVENTS_SQS_QUEUE_URL},
                           {"dynamodb", "writing to dynamodb_table", true, CFG_DYNAMODB_TABLE}};

int publish_open(struct outside *o, struct err *e)
{
    const char *title = config_text(o->config, CFG_AE_TITLE);
    for (int i = 0; i < TARGET_COUNT; i++) {
        o->is_told[i] = config_text(o->config, targets[i].key)[0] != '\0';
        o->gates[i].name = targets[i].gate;
        o->gates[i].word = "telling";
        for (int k = 0; k < OUTSIDE_SLOTS; k++) {
            o->slots[i][k].o = o;
            o->slots[i][k].target = (enum outside_target)i;
        }
    }
    (void)snprintf(o->style.source, sizeof o->style.source, "%.*s", (int)strcspn(title, ","), title);
    o->style.with_identity = config_bool(o->config, CFG_EVENTS_WITH_IDENTITY);
    o->room = malloc(sizeof *o->room);
    return o->room ? 0 : err_set(e, ERR_MEMORY, 0, "no memory for events");
}

bool publish_is_busy(const struct outside *o)
{
    bool busy = false;
    for (int i = 0; i < TARGET_COUNT; i++) {
        for (int k = 0; k < OUTSIDE_SLOTS; k++) {
            busy = busy || o->slots[i][k].is_under_way;
        }
    }
    return busy;
}

void publish_close(struct outside *o)
{
    for (int i = 0; i < TARGET_COUNT; i++) {
        for (int k = 0; k < OUTSIDE_SLOTS; k++) { /* claims go with the worker */
            free(o->slots[i][k].row.payload);
            o->slots[i][k].row.payload = NULL;
        }
    }
    free(o->room);
    o->room = NULL;
}

/* ---- one delivery --------------------------------------------------------------------------------------------------------------------- */

static void tell(struct publish_slot *p);

/* The subject goes back; a claim that cannot be given back is tried again with the next move. */
static void put_back(struct publish_slot *p, const struct err *why, bool charged, int64_t wait_ms)
{
    struct err e = {0};
    int rc = state_outbox_defer(p->o->state, &p->row, why, charged, clock_wall_ms() + wait_ms, &e);
    if (rc != 0) {
        log_warning("record_failed", "target=%s event=%s reason=\"%s\"", targets[p->target].name, p->row.event, e.text);
    }
    free(p->row.payload);
    p->row.payload = NULL;
    p->is_under_way = false;
    p->used = rc != 0;
}

static void not_told(struct publish_slot *p, const struct err *why, int64_t retry_after_ms)
{
    struct outside *o = p->o;
    struct gate *g = &o->gates[p->target];
    char text[640];
    int64_t now = clock_mono_ms();
    if (gate_concerns(why)) {
        if (gate_is_open(g, now)) { /* others that were under way say the same */
            gate_close(g, why, now);
            o->closed_at_ms[p->target] = now;
            g->until_ms = g->until_ms > now + retry_after_ms ? g->until_ms : now + retry_after_ms;
        }
        put_back(p, why, false, g->until_ms - now);
        return;
    }
    int64_t wait_ms = backoff_ms(p->row.attempts, REFUSED_BASE_MS, REFUSED_CEILING_MS, random_u32());
    log_error("event_refused", "target=%s event=%s attempts=%d retry_ms=%lld code=%s reason=%s effect=\"it is kept, and what follows for the same study waits\" "
              "remedy=\"correct the listener; to give it up: storescpctl events drop %s\"",
              targets[p->target].name, p->row.event[0] ? p->row.event : p->row.job.job_id, p->row.attempts + 1, (long long)wait_ms, err_name(why->code),
              log_text(why->text, text, sizeof text), targets[p->target].name);
    put_back(p, why, true, wait_ms);
}

static void told(struct publish_slot *p)
{
    struct outside *o = p->o;
    struct err e = {0};
    const struct state_told *r = &p->row;
    if (p->begun_ms >= o->closed_at_ms[p->target]) { /* an answer to what was sent before the gate closed says nothing new */
        gate_passed(&o->gates[p->target]);
    }
    log_info(r->is_job ? "job_mirrored" : "event_told", "target=%s event=%s subject=\"%s\" attempts=%d waited_ms=%lld took_ms=%lld", targets[p->target].name,
             r->is_job ? r->job.status : r->event, r->subject, r->attempts + 1, (long long)(clock_wall_ms() - r->at_ms),
             (long long)(clock_mono_ms() - p->begun_ms));
    if (state_outbox_delivered(o->state, r, &e) != 0) {
        log_error("record_failed", "target=%s event=%s reason=\"%s\" effect=\"it is told again, under the same id\"", targets[p->target].name, r->event, e.text);
        put_back(p, NULL, false, 0);
        return;
    }
    free(p->row.payload);
    p->row.payload = NULL;
    p->is_under_way = false;
    if (o->is_ending) {
        p->used = false;
    } else if (!gate_is_open(&o->gates[p->target], clock_mono_ms())) {
        put_back(p, NULL, false, 0);
    } else {
        tell(p);
    }
}

static void ended(void *ctx, int rc, const struct err *why)
{
    struct publish_slot *p = ctx;
    if (rc == 0) {
        told(p);
    } else {
        not_told(p, why, 0);
    }
}

static void webhook_ended(void *ctx, int rc, const struct err *why, int64_t retry_after_ms)
{
    struct publish_slot *p = ctx;
    if (rc == 0) {
        told(p);
    } else {
        not_told(p, why, retry_after_ms);
    }
}

/* The commercial product's item under its own names. Every value is a String; a job of one study names it, of one image that, too. Statuses only
 * move forward: one that has ended is never overwritten by what was true before. */
static int mirror(struct publish_slot *p, int64_t limit_ms, struct err *e)
{
    static const char *const before[] = {"SUBMITTED", "IN_PROGRESS"};
    const struct state_job_told *j = &p->row.job;
    const char *guard[3];
    char submitted[40];
    char ended_at[40];
    size_t n = 0;
    bool identity = p->o->style.with_identity;
    bool one = j->instances == 1;
    const struct dynamodb_attribute set[] = {{"jobStatus", j->status},
                                             {"submittedAt", events_time(j->submitted_ms, true, submitted)},
                                             {"endedAt", events_time(j->ended_ms, true, ended_at)},
                                             {"inputS3Uri", j->input_s3_uri},
                                             {"outputS3Uri", j->output_s3_uri},
                                             {"datastoreId", j->datastore_id},
                                             {"dataAccessRoleArn", j->role_arn},
                                             {"message", j->message},
                                             {"studyDate", identity && j->studies == 1 ? j->study_date : ""},
                                             {"studyInstanceUID", j->studies == 1 ? j->study_uid : ""},
                                             {"seriesInstanceUID", j->series == 1 ? j->series_uid : ""},
                                             {"sopInstanceUID", one ? j->sop_instance_uid : ""}};
    for (size_t i = 0; i < 2; i++) {
        guard[n++] = before[i];
        if (strcmp(before[i], j->status) == 0) {
            break;
        }
    }
    if (strcmp(guard[n - 1], j->status) != 0) {
        guard[n++] = j->status;
    }
    const struct dynamodb_update update = {.table = config_text(p->o->config, CFG_DYNAMODB_TABLE),
                                           .key = {"jobId", j->job_id},
                                           .set = set,
                                           .set_count = sizeof set / sizeof set[0],
                                           .guard = "jobStatus",
                                           .guard_values = guard,
                                           .guard_count = n};
    return dynamodb_update_begin(p->o->aws, &update, limit_ms, ended, p, e);
}

static int send_row(struct publish_slot *p, struct err *e)
{
    struct outside *o = p->o;
    int64_t limit_ms = config_int(o->config, CFG_EVENTS_CALL_MS);
    if (p->target == TARGET_WEBHOOK) {
        const struct webhook w = {config_text(o->config, CFG_EVENTS_WEBHOOK_URL), config_text(o->config, CFG_EVENTS_WEBHOOK_SECRET), p->row.event, p->row.payload,
                                  limit_ms};
        return webhook_begin(o->aws, &w, webhook_ended, p, e);
    }
    if (p->target == TARGET_SQS) {
        const struct sqs_send s = {config_text(o->config, CFG_EVENTS_SQS_QUEUE_URL), p->row.payload, p->row.subject, p->row.event};
        return sqs_send_begin(o->aws, &s, limit_ms, ended, p, e);
    }
    return mirror(p, limit_ms, e);
}

/* The next row of the slot's subject, or its end. */
static void tell(struct publish_slot *p)
{
    struct outside *o = p->o;
    struct err e = {0};
    char subject[STATE_SUBJECT_SIZE];
    bool found = false;
    (void)snprintf(subject, sizeof subject, "%s", p->row.subject);
    int rc = state_outbox_next(o->state, targets[p->target].name, subject, events_of_refused, &o->style, &p->row, &found, &e);
    if (rc != 0) {
        log_error("read_failed", "target=%s subject=\"%s\" reason=\"%s\"", targets[p->target].name, subject, e.text);
        put_back(p, &e, false, REFUSED_BASE_MS);
        return;
    }
    if (!found) {
        p->used = false;
        return;
    }
    p->begun_ms = clock_mono_ms();
    p->is_under_way = true;
    rc = send_row(p, &e);
    if (rc != 0) {
        not_told(p, &e, 0);
    }
}

/* ---- chores --------------------------------------------------------------------------------------------------------------------------------- */

static void register_targets(struct outside *o)
{
    struct state_target all[TARGET_COUNT];
    struct err e = {0};
    size_t n = 0;
    for (int i = 0; i < TARGET_COUNT; i++) {
        if (o->is_told[i]) {
            all[n++] = (struct state_target){targets[i].name, targets[i].takes_jobs, config_int(o->config, CFG_EVENTS_QUIET_MS)};
        }
    }
    if (state_targets(o->state, all, n, &e) != 0) {
        log_warning("targets_failed", "reason=\"%s\"", e.text);
    }
}

static void trim(struct outside *o)
{
    struct state_given_up all[2 * TARGET_COUNT];
    struct err e = {0};
    size_t n = 0;
    if (state_outbox_trim(o->state, config_int(o->config, CFG_EVENTS_KEEP_S) * 1000, config_int(o->config, CFG_EVENTS_KEEP_COUNT), all,
                          sizeof all / sizeof all[0], &n, &e) != 0) {
        log_warning("trim_failed", "reason=\"%s\"", e.text);
    }
    for (size_t i = 0; i < n; i++) {
        log_error("events_given_up", "target=%s count=%lld%s reason=\"%s\" remedy=\"what happened meanwhile: storescpctl studies, the views of state.db\"",
                  all[i].target, (long long)all[i].count, all[i].is_gone ? " target_is=gone" : "",
                  all[i].is_gone ? "no importer has had it in its settings for events_keep_s" : "they waited for longer than events_keep_s, or were more than events_keep_count");
    }
}

static void announce(struct outside *o)
{
    struct err e = {0};
    int count = 0;
    if (state_studies_announce(o->state, config_int(o->config, CFG_EVENTS_QUIET_MS), o->room, events_of_study, &o->style, &count, &e) != 0) {
        log_warning("announce_failed", "reason=\"%s\"", e.text);
    } else if (count > 0) {
        log_info("studies_finished", "count=%d", count);
    }
}

/* Fills the free slots of a target. */
static void claim(struct outside *o, enum outside_target target)
{
    struct gate *g = &o->gates[target];
    bool is_probing = g->why.code != 0;
    int busy = 0;
    for (int k = 0; k < OUTSIDE_SLOTS; k++) {
        busy += o->slots[target][k].used;
    }
    for (int k = 0; k < OUTSIDE_SLOTS && gate_is_open(g, clock_mono_ms()); k++) {
        struct publish_slot *p = &o->slots[target][k];
        struct err e = {0};
        bool found = false;
        if (p->used && !p->is_under_way) { /* could not be given back */
            put_back(p, NULL, false, 0);
        }
        if (p->used || (is_probing && busy > 0)) {
            continue;
        }
        memset(&p->row, 0, sizeof p->row);
        (void)snprintf(p->row.target, sizeof p->row.target, "%s", targets[target].name);
        if (state_outbox_claim(o->state, targets[target].name, p->row.subject, &found, &e) != 0) {
            log_error("claim_failed", "target=%s reason=\"%s\"", targets[target].name, e.text);
            return;
        }
        if (!found) {
            gate_rest(g, clock_mono_ms());
            return;
        }
        p->used = true;
        busy++;
        tell(p);
    }
}

void publish_move(struct outside *o)
{
    int64_t now = clock_mono_ms();
    bool events = o->is_told[TARGET_WEBHOOK] || o->is_told[TARGET_SQS];
    if (now >= o->register_at_ms) {
        o->register_at_ms = now + REGISTER_MS;
        register_targets(o);
    }
    if (now >= o->trim_at_ms) {
        o->trim_at_ms = now + TRIM_MS;
        trim(o);
    }
    if (events && now >= o->announce_at_ms) {
        o->announce_at_ms = now + ANNOUNCE_MS;
        announce(o);
    }
    if (now >= o->claim_at_ms) {
        o->claim_at_ms = now + CLAIM_MS;
        for (int i = 0; i < TARGET_COUNT; i++) {
            if (o->is_told[i]) {
                claim(o, (enum outside_target)i);
            }
        }
    }
}
