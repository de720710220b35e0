/*
 * outbox - see outbox.h. Rows come from the triggers of the schema and from outbox_study.c; here they are claimed, delivered, put off and
 * given up. No token fences a claim: the name of a worker never comes again, and only a dead worker's claims are freed.
 */
#include "common/state/outbox.h"

#include "common/runtime/runtime.h"
#include "common/state/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TARGETS_MAX = 16 };

/* ---- targets ---------------------------------------------------------------------------------------------------------------- */

/* What a mirror has missed before it was one. Inside a transaction. */
static int tell_known_jobs(struct state *s, const char *target, int64_t now, struct err *e)
{
    return state_run(s, NULL, e,
                     "INSERT INTO outbox (target, kind, subject, at_ms, next_attempt_ms) SELECT ?1, 'job', batch, ?2, ?2 FROM "
                     "(SELECT batch FROM import_job WHERE jobId IS NOT NULL ORDER BY submittedAt DESC LIMIT 10000) WHERE true "
                     "ON CONFLICT (target, subject) WHERE kind = 'job' DO NOTHING",
                     "ti", target, now);
}

int state_targets(struct state *s, const struct state_target *targets, size_t count, struct err *e)
{
    int64_t now = clock_wall_ms();
    int rc = count ? state_begin(s, e) : 0;
    if (rc != 0 || count == 0) {
        return rc;
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        int64_t known = 0;
        rc = state_number(s, &known, 0, e, "SELECT 1 FROM outbox_target WHERE name = ?1", "t", targets[i].name);
        rc = rc ? rc
                : state_run(s, NULL, e,
                            "INSERT INTO outbox_target (name, takes, quiet_ms, since_ms, seen_ms) VALUES (?1, ?2, ?3, ?4, ?4) "
                            "ON CONFLICT (name) DO UPDATE SET takes = ?2, quiet_ms = ?3, seen_ms = ?4",
                            "ttii", targets[i].name, targets[i].takes_jobs ? "jobs" : "events", targets[i].quiet_ms, now);
        rc = rc == 0 && !known && targets[i].takes_jobs ? tell_known_jobs(s, targets[i].name, now, e) : rc;
    }
    return state_end(s, rc, e);
}

/* Studies are looked at for somebody; without him they are not due. Inside a transaction. */
static int forget_target(struct state *s, const char *name, struct err *e)
{
    int rc = state_run(s, NULL, e, "DELETE FROM outbox_target WHERE name = ?1", "t", name);
    return rc ? rc
              : state_run(s, NULL, e,
                          "UPDATE outbox_study SET due_ms = NULL WHERE due_ms IS NOT NULL AND NOT EXISTS (SELECT 1 FROM outbox_target WHERE takes = 'events')",
                          "");
}

static int trim_target(struct state *s, const char *name, int64_t seen_ms, int64_t keep_ms, int64_t keep_count, struct state_given_up *out, struct err *e)
{
    int64_t now = clock_wall_ms();
    int64_t old = 0;
    int64_t rows = 0;
    int changed = 0;
    memset(out, 0, sizeof *out);
    (void)snprintf(out->target, sizeof out->target, "%.31s", name);
    out->is_gone = seen_ms < now - keep_ms;
    int rc = state_number(s, &old, 0, e,
                          "SELECT 1 FROM outbox WHERE target = ?1 AND owner IS NULL AND at_ms < ?2 LIMIT 1", "ti", name,
                          now - keep_ms);
    rc = rc ? rc : state_number(s, &rows, 0, e, "SELECT count(*) FROM outbox INDEXED BY outbox_subject WHERE target = ?1", "t", name);
    if (rc != 0 || (!old && rows <= keep_count && !out->is_gone) || (rc = state_begin(s, e)) != 0) {
        return rc;
    }
    rc = state_run(s, &changed, e, "DELETE FROM outbox WHERE target = ?1 AND owner IS NULL AND (at_ms < ?2 OR ?3)", "tii", name, now - keep_ms,
                   (int64_t)out->is_gone);
    out->count += changed;
    if (rc == 0 && rows - changed > keep_count) {
        int64_t beyond = rows - changed - keep_count;
        rc = state_run(s, &changed, e,
                       "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox WHERE target = ?1 AND owner IS NULL ORDER BY seq LIMIT ?2)", "ti", name,
                       beyond);
        out->count += changed;
    }
    if (rc == 0 && out->count > 0) {
        rc = state_run(s, NULL, e, "UPDATE outbox_target SET given_up = given_up + ?2, given_up_ms = ?3 WHERE name = ?1", "tii", name, out->count, now);
    }
    rc = rc == 0 && out->is_gone ? forget_target(s, name, e) : rc;
    return state_end(s, rc, e);
}

int state_outbox_trim(struct state *s, int64_t keep_ms, int64_t keep_count, struct state_given_up *out, size_t room, size_t *count, struct err *e)
{
    struct {
        char name[32];
        int64_t seen_ms;
    } targets[TARGETS_MAX];
    size_t n = 0;
    int step = SQLITE_DONE;
    *count = 0;
    sqlite3_stmt *q = state_prepare(s, "SELECT name, seen_ms FROM outbox_target", e);
    if (!q) {
        return ERR_DATABASE;
    }
    while (n < TARGETS_MAX && (step = sqlite3_step(q)) == SQLITE_ROW) {
        state_column(q, 0, targets[n].name, sizeof targets[n].name);
        targets[n++].seen_ms = sqlite3_column_int64(q, 1);
    }
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for targets");
    (void)sqlite3_reset(q);
    for (size_t i = 0; rc == 0 && i < n && *count < room; i++) {
        rc = trim_target(s, targets[i].name, targets[i].seen_ms, keep_ms, keep_count, &out[*count], e);
        *count += rc == 0 && (out[*count].count > 0 || out[*count].is_gone);
    }
    return rc;
}

int state_outbox_drop(struct state *s, const char *target, int64_t *count, struct err *e)
{
    int changed = 0;
    *count = 0;
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = state_run(s, &changed, e, "DELETE FROM outbox WHERE target = ?1", "t", target);
    rc = rc ? rc : forget_target(s, target, e);
    rc = state_end(s, rc, e);
    *count = rc == 0 ? changed : 0;
    return rc;
}

/* ---- delivery -------------------------------------------------------------------------------------------------------------------- */

int state_outbox_claim(struct state *s, const char *target, char subject[STATE_SUBJECT_SIZE], bool *found, struct err *e)
{
    int64_t now = clock_wall_ms();
    int changed = 0;
    *found = false;
    /* what came for a subject while it is being told waits for the end of that claim */
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT subject FROM outbox o INDEXED BY outbox_due WHERE target = ?1 AND owner IS NULL AND next_attempt_ms <= ?2 "
                                    "AND NOT EXISTS (SELECT 1 FROM outbox p INDEXED BY outbox_subject WHERE p.target = o.target AND p.subject = o.subject "
                                    "AND p.owner IS NOT NULL) ORDER BY next_attempt_ms, seq LIMIT 1",
                                    e);
    if (!q || state_bind(q, "ti", target, now) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for something to tell");
    if (step == SQLITE_ROW) {
        state_column(q, 0, subject, STATE_SUBJECT_SIZE);
    }
    (void)sqlite3_reset(q);
    if (step != SQLITE_ROW || (rc = state_begin(s, e)) != 0) {
        return rc;
    }
    rc = state_run(s, &changed, e,
                   "UPDATE outbox SET owner = ?3 WHERE target = ?1 AND subject = ?2 AND owner IS NULL AND NOT EXISTS "
                   "(SELECT 1 FROM outbox p INDEXED BY outbox_subject WHERE p.target = ?1 AND p.subject = ?2 AND p.owner IS NOT NULL)",
                   "ttt", target, subject, s->worker);
    rc = state_end(s, rc, e);
    *found = rc == 0 && changed > 0;
    return rc;
}

static void read_refused(sqlite3_stmt *q, struct state_refused *r)
{
    memset(r, 0, sizeof *r);
    state_column(q, 0, r->id, sizeof r->id);
    state_column(q, 1, r->sop_class_uid, sizeof r->sop_class_uid);
    state_column(q, 2, r->sop_instance_uid, sizeof r->sop_instance_uid);
    state_column(q, 3, r->study_uid, sizeof r->study_uid);
    state_column(q, 4, r->series_uid, sizeof r->series_uid);
    state_column(q, 5, r->destination, sizeof r->destination);
    state_column(q, 6, r->state, sizeof r->state);
    state_column(q, 7, r->code, sizeof r->code);
    state_column(q, 8, r->remedy, sizeof r->remedy);
    state_column(q, 9, r->job_id, sizeof r->job_id);
    r->at_ms = sqlite3_column_int64(q, 10);
    state_column(q, 11, r->identity.accession_number, sizeof r->identity.accession_number);
    state_column(q, 12, r->identity.patient_id, sizeof r->identity.patient_id);
    state_column(q, 13, r->identity.study_date, sizeof r->identity.study_date);
    state_column(q, 14, r->identity.modalities, sizeof r->identity.modalities);
}

/* The payload of an instance's event: what the row remembers of that moment, the remedy only if it is still that one. */
static int make_payload(struct state *s, struct state_told *row, state_compose_refused compose, void *ctx, struct err *e)
{
    struct state_refused r;
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT i.id, i.sop_class_uid, i.sop_instance_uid, i.study_uid, i.series_uid, i.destination, o.state, o.code,"
                                    " CASE WHEN i.state = o.state AND i.error_code IS o.code THEN i.remedy END, i.job_id, o.at_ms,"
                                    " i.accession_number, i.patient_id, i.study_date, i.modality FROM outbox o JOIN instance i ON i.id = o.instance "
                                    "WHERE o.seq = ?1",
                                    e);
    if (!q || state_bind(q, "i", row->seq) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    int rc = step == SQLITE_ROW ? 0 : state_sql_error(s, e, "read what is to be told");
    if (rc == 0) {
        read_refused(q, &r);
    }
    (void)sqlite3_reset(q);
    if (rc != 0) {
        return rc;
    }
    row->payload = compose(ctx, &r, row->event);
    if (!row->payload) {
        return err_set(e, ERR_MEMORY, 0, "no memory for an event");
    }
    rc = state_begin(s, e);
    return rc ? rc : state_end(s, state_run(s, NULL, e, "UPDATE outbox SET payload = ?2 WHERE seq = ?1", "it", row->seq, row->payload), e);
}

static int read_job(struct state *s, struct state_told *row, struct err *e)
{
    struct state_job_told *j = &row->job;
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT jobId, jobStatus, inputS3Uri, outputS3Uri, datastoreId, dataAccessRoleArn, message, submittedAt, endedAt,"
                                    " n.studies, n.series, n.instances, n.study, n.one, n.sop, n.date FROM import_job,"
                                    " (SELECT count(DISTINCT study_uid) AS studies, count(DISTINCT series_uid) AS series, count(*) AS instances,"
                                    "  min(study_uid) AS study, min(series_uid) AS one, min(sop_instance_uid) AS sop, min(study_date) AS date "
                                    "  FROM instance WHERE batch = ?1) AS n WHERE batch = ?1",
                                    e);
    if (!q || state_bind(q, "t", row->subject) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    int rc = step == SQLITE_ROW ? 0 : step == SQLITE_DONE ? err_set(e, ERR_NOT_FOUND, 0, "batch %s has no import job", row->subject) : state_sql_error(s, e, "read a job");
    if (rc == 0) {
        state_column(q, 0, j->job_id, sizeof j->job_id);
        state_column(q, 1, j->status, sizeof j->status);
        state_column(q, 2, j->input_s3_uri, sizeof j->input_s3_uri);
        state_column(q, 3, j->output_s3_uri, sizeof j->output_s3_uri);
        state_column(q, 4, j->datastore_id, sizeof j->datastore_id);
        state_column(q, 5, j->role_arn, sizeof j->role_arn);
        state_column(q, 6, j->message, sizeof j->message);
        j->submitted_ms = sqlite3_column_int64(q, 7);
        j->ended_ms = sqlite3_column_int64(q, 8);
        j->studies = sqlite3_column_int64(q, 9);
        j->series = sqlite3_column_int64(q, 10);
        j->instances = sqlite3_column_int64(q, 11);
        state_column(q, 12, j->study_uid, sizeof j->study_uid);
        state_column(q, 13, j->series_uid, sizeof j->series_uid);
        state_column(q, 14, j->sop_instance_uid, sizeof j->sop_instance_uid);
        state_column(q, 15, j->study_date, sizeof j->study_date);
    }
    (void)sqlite3_reset(q);
    return rc;
}

int state_outbox_next(struct state *s, const char *target, const char *subject, state_compose_refused compose, void *ctx, struct state_told *out,
                      bool *found, struct err *e)
{
    *found = false;
    memset(out, 0, sizeof *out);
    (void)snprintf(out->target, sizeof out->target, "%s", target);
    (void)snprintf(out->subject, sizeof out->subject, "%s", subject);
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT seq, version, at_ms, attempts, kind = 'job', event, payload FROM outbox INDEXED BY outbox_subject "
                                    "WHERE target = ?1 AND subject = ?2 AND owner = ?3 ORDER BY seq LIMIT 1",
                                    e);
    if (!q || state_bind(q, "ttt", target, subject, s->worker) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "read what is to be told");
    if (step == SQLITE_ROW) {
        const char *payload = (const char *)sqlite3_column_text(q, 6);
        out->seq = sqlite3_column_int64(q, 0);
        out->version = sqlite3_column_int64(q, 1);
        out->at_ms = sqlite3_column_int64(q, 2);
        out->attempts = sqlite3_column_int(q, 3);
        out->is_job = sqlite3_column_int(q, 4) != 0;
        state_column(q, 5, out->event, sizeof out->event);
        out->payload = payload ? strdup(payload) : NULL;
    }
    (void)sqlite3_reset(q);
    if (rc == 0 && step == SQLITE_ROW) {
        rc = out->is_job ? read_job(s, out, e) : out->payload ? 0 : make_payload(s, out, compose, ctx, e);
    }
    if (rc != 0) {
        free(out->payload);
        out->payload = NULL;
        return rc;
    }
    *found = step == SQLITE_ROW;
    return 0;
}

int state_outbox_delivered(struct state *s, const struct state_told *row, struct err *e)
{
    int changed = 0;
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = state_run(s, &changed, e, "DELETE FROM outbox WHERE seq = ?1 AND version = ?2 AND owner = ?3", "iit", row->seq, row->version, s->worker);
    if (rc == 0 && changed == 0) { /* it has changed since it was read */
        rc = state_run(s, NULL, e, "UPDATE outbox SET owner = NULL, attempts = 0, error_code = NULL, error_text = NULL WHERE seq = ?1 AND owner = ?2", "it",
                       row->seq, s->worker);
    }
    return state_end(s, rc, e);
}

int state_outbox_defer(struct state *s, const struct state_told *row, const struct err *why, bool charged, int64_t next_ms, struct err *e)
{
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    if (why) {
        rc = state_run(s, NULL, e, "UPDATE outbox SET attempts = attempts + ?3, error_code = ?4, error_text = ?5 WHERE seq = ?1 AND owner = ?2", "ititt",
                       row->seq, s->worker, (int64_t)charged, err_name(why->code), why->text);
    }
    if (rc == 0) {
        rc = state_run(s, NULL, e,
                       "UPDATE outbox SET owner = NULL, next_attempt_ms = CASE WHEN ?4 > 0 THEN ?4 ELSE next_attempt_ms END "
                       "WHERE target = ?1 AND subject = ?2 AND owner = ?3",
                       "ttti", row->target, row->subject, s->worker, why ? next_ms : (int64_t)0);
    }
    return state_end(s, rc, e);
}

/* ---- hints ------------------------------------------------------------------------------------------------------------------------ */

int state_job_hint(struct state *s, const char *job_id, const char *job_name, enum state_hint *out, struct err *e)
{
    char batch[STATE_ID_SIZE] = "";
    int changed = 0;
    int64_t now = clock_wall_ms();
    int64_t busy = 0;
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT batch, 0 FROM import_job WHERE jobId = ?1 UNION ALL "
                                    "SELECT batch, 1 FROM import_job WHERE batch = ?2 AND jobId IS NULL LIMIT 1",
                                    e);
    *out = HINT_FOREIGN;
    if (!q || state_bind(q, "tt", job_id, job_name) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for a job");
    if (step == SQLITE_ROW) {
        state_column(q, 0, batch, sizeof batch);
        *out = sqlite3_column_int(q, 1) ? HINT_EARLY : HINT_TAKEN; /* EARLY: the answer to its start is under way */
    }
    (void)sqlite3_reset(q);
    if (rc != 0 || *out != HINT_TAKEN || (rc = state_begin(s, e)) != 0) {
        return rc;
    }
    rc = state_run(s, &changed, e, "UPDATE batch SET next_attempt_ms = min(next_attempt_ms, ?2) WHERE id = ?1 AND state = 'running' AND owner IS NULL", "ti", batch,
                   now);
    if (rc == 0 && changed == 0) {
        rc = state_number(s, &busy, 0, e, "SELECT 1 FROM batch WHERE id = ?1 AND state = 'running'", "t", batch);
    }
    rc = rc ? rc : state_run(s, NULL, e, "UPDATE import_job SET hinted_ms = ?2 WHERE batch = ?1", "ti", batch, now);
    rc = state_end(s, rc, e);
    *out = rc == 0 && busy ? HINT_EARLY : *out; /* somebody looks at it now, perhaps a moment too early */
    return rc;
}
