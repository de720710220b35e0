/*
 * batches - which instances go to HealthImaging together: assignment, closing, claims of importers, the shared start bucket.
 * A batch owns one S3 prefix that is never used again. docs/states.md has the table of its states.
 */
#include "common/runtime/runtime.h"
#include "common/state/internal.h"

#include <stdio.h>
#include <string.h>

int state_batch_event(struct state *s, const char *batch, const char *from, const char *to, const char *code,
                      const char *note, int64_t now_ms, struct err *e)
{
    return state_run(s, NULL, e,
                     "INSERT INTO event (at_ms, batch, from_state, to_state, who, code, note) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                     "ittteee", now_ms, batch, from, to, s->worker, code, note);
}

/* ---- assignment ---------------------------------------------------------------------------------------------------------- */

static int close_batch(struct state *s, const char *batch, const char *why, int64_t now, struct err *e)
{
    int changed = 0;
    int rc = state_run(s, &changed, e,
                       "UPDATE batch SET state = 'closed', closed_ms = ?2, next_attempt_ms = ?2 WHERE id = ?1 AND state = 'open'",
                       "ti", batch, now);
    return rc == 0 && changed ? state_batch_event(s, batch, "open", "closed", NULL, why, now, e) : rc;
}

int state_assign_batch(struct state *s, const char *id, const char *study_uid, int64_t bytes,
                       const struct state_batch_limits *limits, int64_t now_ms, char batch[STATE_ID_SIZE], struct err *e)
{
    int64_t count = 0;
    int64_t size = 0;
    batch[0] = '\0';
    sqlite3_stmt *q = state_prepare(
        s, "SELECT id, instance_count, bytes FROM batch INDEXED BY batch_open WHERE state = 'open' AND study_uid = ?1 LIMIT 1", e);
    if (!q || state_bind(q, "t", study_uid) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW) {
        state_column(q, 0, batch, STATE_ID_SIZE);
        count = sqlite3_column_int64(q, 1);
        size = sqlite3_column_int64(q, 2);
    }
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for an open batch");
    (void)sqlite3_reset(q);
    if (rc == 0 && batch[0] && (count + 1 > limits->max_count || size + bytes > limits->max_bytes)) {
        rc = close_batch(s, batch, "full", now_ms, e);
        batch[0] = '\0';
    }
    if (rc == 0 && !batch[0]) {
        id_new(batch);
        rc = state_run(s, NULL, e, "INSERT INTO batch (id, study_uid, opened_ms, last_added_ms) VALUES (?1, ?2, ?3, ?3)", "tti",
                       batch, study_uid, now_ms);
        if (rc == 0) {
            rc = state_batch_event(s, batch, "", "open", NULL, NULL, now_ms, e);
        }
    }
    if (rc == 0) {
        rc = state_run(s, NULL, e,
                       "UPDATE batch SET instance_count = instance_count + 1, bytes = bytes + ?2, last_added_ms = ?3 WHERE id = ?1",
                       "tii", batch, bytes, now_ms);
    }
    if (rc == 0) {
        rc = state_run(s, NULL, e, "UPDATE instance SET batch = ?2, s3_key = NULL, etag = NULL WHERE id = ?1", "tt", id, batch);
    }
    return rc;
}

int state_batches_close(struct state *s, int64_t quiet_ms, int64_t max_age_ms, int *closed, struct err *e)
{
    int64_t now = clock_wall_ms();
    int64_t any = 0;
    *closed = 0;
    static const char due[] = "SELECT count(*) FROM batch INDEXED BY batch_open WHERE state = 'open' "
                              "AND (last_added_ms <= ?1 OR opened_ms <= ?2)";
    int rc = state_number(s, &any, 0, e, due, "ii", now - quiet_ms, now - max_age_ms);
    if (rc != 0 || any == 0 || (rc = state_begin(s, e)) != 0) {
        return rc;
    }
    rc = state_run(s, NULL, e,
                   "INSERT INTO event (at_ms, batch, from_state, to_state, who, note) SELECT ?1, id, 'open', 'closed', ?4,"
                   " CASE WHEN last_added_ms <= ?2 THEN 'study quiet' ELSE 'age' END FROM batch INDEXED BY batch_open "
                   "WHERE state = 'open' AND (last_added_ms <= ?2 OR opened_ms <= ?3)",
                   "iiit", now, now - quiet_ms, now - max_age_ms, s->worker);
    if (rc == 0) {
        rc = state_run(s, closed, e,
                       "UPDATE batch SET state = 'closed', closed_ms = ?1, next_attempt_ms = ?1 "
                       "WHERE state = 'open' AND (last_added_ms <= ?2 OR opened_ms <= ?3)",
                       "iii", now, now - quiet_ms, now - max_age_ms);
    }
    return state_end(s, rc, e);
}

/* ---- claims ---------------------------------------------------------------------------------------------------------------- */

static enum state_batch_state state_of(const char *name)
{
    static const char *const names[] = {"open", "closed", "starting", "running", "reconciling", "done"};
    for (int i = 0; i < 6; i++) {
        if (strcmp(name, names[i]) == 0) {
            return (enum state_batch_state)i;
        }
    }
    return BATCH_DONE;
}

/* Closed batches with nothing left in them (all refused, or moved to another batch) end without a job. */
static int end_empty(struct state *s, int64_t now, struct err *e)
{
    int64_t any = 0;
    static const char look[] =
        "SELECT 1 FROM batch b WHERE b.state = 'closed' AND b.owner IS NULL AND NOT EXISTS (SELECT 1 FROM instance i "
        "WHERE i.batch = b.id AND i.state IN ('validated', 'uploaded', 'importing')) LIMIT 1";
    int rc = state_number(s, &any, 0, e, look, "");
    if (rc != 0 || any == 0 || (rc = state_begin(s, e)) != 0) {
        return rc;
    }
    rc = state_run(s, NULL, e,
                   "UPDATE batch SET state = 'done', ended_ms = ?1 WHERE state = 'closed' AND owner IS NULL AND NOT EXISTS "
                   "(SELECT 1 FROM instance i WHERE i.batch = batch.id AND i.state IN ('validated', 'uploaded', 'importing'))",
                   "i", now);
    return state_end(s, rc, e);
}

int state_batch_claim(struct state *s, struct state_batch *out, bool *found, struct err *e)
{
    int64_t now = clock_wall_ms();
    *found = false;
    int rc = end_empty(s, now, e);
    if (rc != 0) {
        return rc;
    }
#define DUE                                                                                                            \
    "FROM batch b WHERE b.state <> 'done' AND b.state <> 'open' AND b.owner IS NULL AND b.next_attempt_ms <= ?1 "               \
    "AND (b.state <> 'closed' OR (EXISTS (SELECT 1 FROM instance i WHERE i.batch = b.id AND i.state = 'uploaded') "             \
    "AND NOT EXISTS (SELECT 1 FROM instance i WHERE i.batch = b.id AND i.state = 'validated'))) "                               \
    "ORDER BY CASE b.state WHEN 'reconciling' THEN 0 WHEN 'running' THEN 1 WHEN 'starting' THEN 2 ELSE 3 END,"                  \
    " b.next_attempt_ms LIMIT 1"
    int64_t any = 0;
    rc = state_number(s, &any, 0, e, "SELECT 1 " DUE, "i", now);
    if (rc != 0 || any == 0 || (rc = state_begin(s, e)) != 0) {
        return rc;
    }
    memset(out, 0, sizeof *out);
    sqlite3_stmt *q = state_prepare(s,
                                    "UPDATE batch SET owner = ?2, token = token + 1 WHERE id = (SELECT b.id " DUE ") RETURNING id,"
                                    " study_uid, state, token, attempts, instance_count, bytes, next_attempt_ms",
                                    e);
    rc = q ? state_bind(q, "it", now, s->worker) : ERR_DATABASE;
    if (rc == 0 && sqlite3_step(q) == SQLITE_ROW) {
        char name[16];
        *found = true;
        state_column(q, 0, out->id, sizeof out->id);
        state_column(q, 1, out->study_uid, sizeof out->study_uid);
        state_column(q, 2, name, sizeof name);
        out->state = state_of(name);
        out->token = sqlite3_column_int64(q, 3);
        out->attempts = sqlite3_column_int(q, 4);
        out->instance_count = sqlite3_column_int64(q, 5);
        out->bytes = sqlite3_column_int64(q, 6);
        out->next_ms = sqlite3_column_int64(q, 7);
    }
    if (q) {
        (void)sqlite3_reset(q);
    }
    if (rc == 0 && *found) {
        q = state_prepare(
            s, "SELECT clientToken, jobId, jobStatus, inputS3Uri, outputS3Uri, submittedAt FROM import_job WHERE batch = ?1", e);
        rc = q ? state_bind(q, "t", out->id) : ERR_DATABASE;
        if (rc == 0 && sqlite3_step(q) == SQLITE_ROW) {
            state_column(q, 0, out->client_token, sizeof out->client_token);
            state_column(q, 1, out->job_id, sizeof out->job_id);
            state_column(q, 2, out->job_status, sizeof out->job_status);
            state_column(q, 3, out->input_s3_uri, sizeof out->input_s3_uri);
            state_column(q, 4, out->output_s3_uri, sizeof out->output_s3_uri);
            out->started_ms = sqlite3_column_int64(q, 5);
        }
        if (q) {
            (void)sqlite3_reset(q);
        }
    }
    rc = state_end(s, rc, e);
    if (rc != 0) {
        *found = false;
    }
    return rc;
}

int state_start_permit(struct state *s, int per_minute, int burst, int running_max, int64_t *wait_ms, struct err *e)
{
    int64_t now = clock_wall_ms();
    int64_t running = 0;
    double tokens = burst;
    int64_t filled = now;
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = state_number(s, &running, 0, e, "SELECT count(*) FROM batch INDEXED BY batch_work WHERE state <> 'done' AND state IN "
                                         "('starting', 'running') AND next_attempt_ms >= 0", "");
    sqlite3_stmt *q = rc == 0 ? state_prepare(s, "SELECT tokens, filled_ms FROM start_bucket WHERE one = 1", e) : NULL;
    if (rc == 0 && q && sqlite3_step(q) == SQLITE_ROW) {
        tokens = sqlite3_column_double(q, 0);
        filled = sqlite3_column_int64(q, 1);
    }
    if (q) {
        (void)sqlite3_reset(q);
    }
    if (rc == 0) {
        double rate = per_minute / 60000.0; /* a millisecond */
        if (now > filled) {
            tokens += (double)(now - filled) * rate;
        }
        if (tokens > burst) {
            tokens = burst;
        }
        if (running >= running_max) {
            *wait_ms = 1000;
        } else if (tokens < 1.0) {
            *wait_ms = (int64_t)((1.0 - tokens) / rate) + 1;
        } else {
            *wait_ms = 0;
            tokens -= 1.0;
        }
        rc = state_run(s, NULL, e,
                       "INSERT INTO start_bucket (one, tokens, filled_ms) VALUES (1, ?1, ?2) "
                       "ON CONFLICT (one) DO UPDATE SET tokens = ?1, filled_ms = ?2",
                       "di", tokens, now);
    }
    return state_end(s, rc, e);
}

int state_batch_defer(struct state *s, struct state_batch *b, const char *job_status, const struct err *why,
                      int64_t next_ms, struct err *e)
{
    int changed = 0;
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = state_run(s, &changed, e,
                   "UPDATE batch SET owner = NULL, next_attempt_ms = ?4, attempts = CASE WHEN ?5 IS NULL THEN 0 ELSE attempts + 1 END,"
                   " error_code = ?5, error_text = ?6 WHERE id = ?1 AND token = ?2 AND owner = ?3",
                   "titiet", b->id, b->token, s->worker, next_ms, why ? err_name(why->code) : NULL, why ? why->text : NULL);
    if (rc == 0 && changed == 0) {
        rc = ERR_FENCED;
    }
    if (rc == 0 && job_status) {
        rc = state_run(s, NULL, e, "UPDATE import_job SET jobStatus = ?2 WHERE batch = ?1", "tt", b->id, job_status);
    }
    if (rc == 0 && why) {
        rc = state_batch_event(s, b->id, NULL, NULL, err_name(why->code), why->text, clock_wall_ms(), e);
    }
    return state_end(s, rc, e);
}

int state_batch_instances(struct state *s, const char *batch,
                          int (*row)(void *ctx, const char *id, const char *s3_key, int64_t bytes), void *ctx, struct err *e)
{
    sqlite3_stmt *q = state_prepare(s, "SELECT id, s3_key, file_bytes FROM instance WHERE batch = ?1 AND state = 'importing'", e);
    if (!q || state_bind(q, "t", batch) != 0) {
        return ERR_DATABASE;
    }
    int rc = 0;
    int step = SQLITE_DONE;
    while (rc == 0 && (step = sqlite3_step(q)) == SQLITE_ROW) {
        const char *key = (const char *)sqlite3_column_text(q, 1);
        rc = row(ctx, (const char *)sqlite3_column_text(q, 0), key ? key : "", sqlite3_column_int64(q, 2));
    }
    if (rc == 0 && step != SQLITE_DONE) {
        rc = state_sql_error(s, e, "read a batch");
    }
    (void)sqlite3_reset(q);
    return rc;
}
