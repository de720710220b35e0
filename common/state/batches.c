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

int state_batch_close(struct state *s, const char *batch, const char *why, int64_t now, struct err *e)
{
    int changed = 0;
    int rc = state_run(s, &changed, e,
                       "UPDATE batch SET state = 'closed', closed_ms = ?2, next_attempt_ms = ?2 - urgent * ?3 WHERE id = ?1 AND state = 'open'",
                       "tii", batch, now, (int64_t)STATE_URGENT_AHEAD_MS);
    return rc == 0 && changed ? state_batch_event(s, batch, "open", "closed", NULL, why, now, e) : rc;
}

int state_assign_batch(struct state *s, const char *id, const char *study_uid, int64_t bytes,
                       const struct state_batch_limits *limits, int64_t now_ms, char batch[STATE_ID_SIZE], struct err *e)
{
    int64_t count = 0;
    int64_t size = 0;
    bool was_full = false;
    batch[0] = '\0';
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT id, instance_count, bytes FROM batch INDEXED BY batch_open WHERE state = 'open' AND study_uid = ?1 "
                                    "AND destination = (SELECT destination FROM instance WHERE id = ?2) AND split_of IS NULL LIMIT 1",
                                    e);
    if (!q || state_bind(q, "tt", study_uid, id) != 0) {
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
        rc = state_batch_close(s, batch, "full", now_ms, e);
        batch[0] = '\0';
        was_full = true; /* no small study */
    }
    if (rc == 0 && !batch[0] && !was_full) {
        rc = state_share_batch(s, id, study_uid, bytes, limits, now_ms, batch, e);
    }
    if (rc == 0 && !batch[0]) {
        id_new(batch);
        rc = state_run(s, NULL, e, "INSERT INTO batch (id, study_uid, destination, opened_ms, last_added_ms) "
                       "VALUES (?1, ?2, (SELECT destination FROM instance WHERE id = ?4), ?3, ?3)", "ttit",
                       batch, study_uid, now_ms, id);
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
        rc = state_run(s, NULL, e, "UPDATE instance SET batch = ?2, s3_key = NULL, bucket = NULL, etag = NULL WHERE id = ?1", "tt", id, batch);
    }
    return rc ? rc : state_urge_batch(s, id, batch, e);
}

int state_batches_close_for(struct state *s, const char *destination, int64_t quiet_ms, int64_t max_age_ms, int *closed, struct err *e)
{
    int64_t now = clock_wall_ms();
    int64_t any = 0;
    *closed = 0;
    static const char due[] = "SELECT count(*) FROM batch INDEXED BY batch_open WHERE state = 'open' "
                              "AND destination = ?3 AND (last_added_ms <= ?1 OR opened_ms <= ?2 OR (study_uid IS NULL AND split_of IS NULL AND opened_ms <= ?1))";
    int rc = state_number(s, &any, 0, e, due, "iit", now - quiet_ms, now - max_age_ms, destination);
    if (rc != 0 || any == 0 || (rc = state_begin(s, e)) != 0) {
        return rc;
    }
    rc = state_run(s, NULL, e,
                   "INSERT INTO event (at_ms, batch, from_state, to_state, who, note) SELECT ?1, id, 'open', 'closed', ?4,"
                   " CASE WHEN study_uid IS NULL THEN 'shared' WHEN last_added_ms <= ?2 THEN 'study quiet' ELSE 'age' END FROM batch INDEXED BY batch_open "
                   "WHERE state = 'open' AND destination = ?5 AND (last_added_ms <= ?2 OR opened_ms <= ?3 "
                   "OR (study_uid IS NULL AND split_of IS NULL AND opened_ms <= ?2))",
                   "iiitt", now, now - quiet_ms, now - max_age_ms, s->worker, destination);
    if (rc == 0) {
        rc = state_run(s, closed, e,
                       "UPDATE batch INDEXED BY batch_open SET state = 'closed', closed_ms = ?1, next_attempt_ms = ?1 - urgent * ?5 "
                       "WHERE state = 'open' AND destination = ?4 AND (last_added_ms <= ?2 OR opened_ms <= ?3 "
                       "OR (study_uid IS NULL AND split_of IS NULL AND opened_ms <= ?2))",
                       "iiiti", now, now - quiet_ms, now - max_age_ms, destination, (int64_t)STATE_URGENT_AHEAD_MS);
    }
    return state_end(s, rc, e);
}

/* One image that cannot be uploaded (a sector of the disk that cannot be read, a person's hold) must not keep the rest of its study away from
 * HealthImaging. Its object, should an answer have been lost, is deleted by the importer before the batch starts. */
int state_batches_leave_late_for(struct state *s, const char *destination, int64_t wait_ms, const struct state_batch_limits *limits, int *moved,
                                 struct err *e)
{
    enum { MOVE_MAX = 100 };
    struct late {
        char id[STATE_ID_SIZE], study[STATE_UID_SIZE], batch[STATE_ID_SIZE];
        int64_t bytes;
    } late[MOVE_MAX];
    int64_t now = clock_wall_ms();
    int64_t any = 0;
    size_t count = 0;
    int step = SQLITE_DONE;
    static const char look_first[] = "SELECT 1 FROM instance INDEXED BY instance_late WHERE state = 'validated' AND (attempts > 0 OR held = 1) LIMIT 1";
    *moved = 0;
    int rc = state_number(s, &any, 0, e, look_first, "");
    if (rc != 0 || !any || (rc = state_begin(s, e)) != 0) {
        return rc;
    }
    sqlite3_stmt *q = state_prepare(
        s,
        "SELECT i.id, i.study_uid, i.file_bytes, i.batch FROM instance AS i INDEXED BY instance_late JOIN batch AS b ON b.id = i.batch "
        "WHERE i.state = 'validated' AND (i.attempts > 0 OR i.held = 1) AND i.owner IS NULL AND b.state = 'closed' AND b.destination = ?2 AND b.closed_ms <= ?1 AND EXISTS "
        "(SELECT 1 FROM instance AS o INDEXED BY instance_batch WHERE o.batch = b.id AND o.state = 'uploaded') LIMIT 100",
        e);
    rc = q ? state_bind(q, "it", now - wait_ms, destination) : ERR_DATABASE;
    while (rc == 0 && count < MOVE_MAX && (step = sqlite3_step(q)) == SQLITE_ROW) {
        struct late *l = &late[count++];
        state_column(q, 0, l->id, sizeof l->id);
        state_column(q, 1, l->study, sizeof l->study);
        l->bytes = sqlite3_column_int64(q, 2);
        state_column(q, 3, l->batch, sizeof l->batch);
    }
    if (rc == 0 && step != SQLITE_ROW && step != SQLITE_DONE) {
        rc = state_sql_error(s, e, "look for late instances");
    }
    if (q) {
        (void)sqlite3_reset(q);
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        char next[STATE_ID_SIZE];
        rc = state_run(s, NULL, e, "INSERT INTO event (at_ms, instance, batch, who, code, note) VALUES (?1, ?2, ?3, ?4, 'LATE', 'its batch starts without it')",
                       "ittt", now, late[i].id, late[i].batch, s->worker);
        rc = rc ? rc : state_assign_batch(s, late[i].id, late[i].study, late[i].bytes, limits, now, next, e);
    }
    rc = state_end(s, rc, e);
    *moved = rc == 0 ? (int)count : 0;
    return rc;
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

/* One statement for each kind of work, the state as a literal: only then SQLite uses the partial index of that state. */
static const char due_starting[] = "SELECT id FROM batch INDEXED BY batch_starting WHERE state = 'starting' AND owner IS NULL "
                                   "AND destination = ?2 AND next_attempt_ms <= ?1 ORDER BY next_attempt_ms, id LIMIT 1";
static const char due_closed[] =
    "SELECT id FROM batch INDEXED BY batch_closed WHERE state = 'closed' AND owner IS NULL AND destination = ?2 AND next_attempt_ms <= ?1 AND NOT EXISTS "
    "(SELECT 1 FROM instance i INDEXED BY instance_batch WHERE i.batch = batch.id AND i.state = 'validated') "
    "AND NOT EXISTS (SELECT 1 FROM instance i INDEXED BY instance_held WHERE i.batch = batch.id AND i.held = 1 AND i.state = 'uploaded') "
    "ORDER BY next_attempt_ms, id LIMIT 1";
static const char due_running[] = "SELECT id FROM batch INDEXED BY batch_running WHERE state = 'running' AND owner IS NULL "
                                  "AND destination = ?2 AND next_attempt_ms <= ?1 ORDER BY next_attempt_ms, id LIMIT 1";
static const char due_reconciling[] = "SELECT id FROM batch INDEXED BY batch_reconciling WHERE state = 'reconciling' AND owner IS NULL "
                                      "AND destination = ?2 AND next_attempt_ms <= ?1 ORDER BY next_attempt_ms, id LIMIT 1";

/* The id of the batch that has been due longest, "" if none. Reads only. */
static int look(struct state *s, const char *destination, enum state_batch_work work, int64_t now, char id[STATE_ID_SIZE], struct err *e)
{
    const char *const sql[] = {work == WORK_START ? due_starting : work == WORK_POLL ? due_running : due_reconciling,
                               work == WORK_START ? due_closed : NULL};
    id[0] = '\0';
    for (size_t i = 0; i < 2 && sql[i] && !id[0]; i++) {
        sqlite3_stmt *q = state_prepare(s, sql[i], e);
        if (!q || state_bind(q, "it", now, destination) != 0) {
            return ERR_DATABASE;
        }
        int step = sqlite3_step(q);
        if (step == SQLITE_ROW) {
            state_column(q, 0, id, STATE_ID_SIZE);
        }
        int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for a batch");
        (void)sqlite3_reset(q);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int read_claim(struct state *s, sqlite3_stmt *q, struct state_batch *out, struct err *e)
{
    char name[16];
    state_column(q, 0, out->id, sizeof out->id);
    state_column(q, 1, out->study_uid, sizeof out->study_uid);
    state_column(q, 2, name, sizeof name);
    out->state = state_of(name);
    out->token = sqlite3_column_int64(q, 3);
    out->attempts = sqlite3_column_int(q, 4);
    out->instance_count = sqlite3_column_int64(q, 5);
    out->bytes = sqlite3_column_int64(q, 6);
    const char *error = (const char *)sqlite3_column_text(q, 7);
    out->error_code = error ? err_code_of(error) : 0;
    state_column(q, 8, out->destination, sizeof out->destination);
    (void)sqlite3_reset(q);
    q = state_prepare(s,
                      "SELECT clientToken, jobId, jobStatus, message, inputS3Uri, outputS3Uri, datastoreId, dataAccessRoleArn, submittedAt,"
                      " endedAt, (SELECT min(at_ms) FROM event WHERE batch = ?1 AND instance IS NULL AND to_state = 'starting'),"
                      " (SELECT max(at_ms) FROM event WHERE batch = ?1 AND instance IS NULL AND to_state = 'starting'),"
                      " (SELECT s3_key FROM instance WHERE batch = ?1 AND s3_key IS NOT NULL LIMIT 1),"
                      " (SELECT count(*) FROM batch INDEXED BY batch_job WHERE state IN ('starting', 'running')),"
                      " (SELECT count(*) FROM instance INDEXED BY instance_batch WHERE batch = ?1 AND state = 'uploaded'),"
                      " (SELECT held_left FROM batch WHERE id = ?1), hinted_ms,"
                      " (SELECT bucket FROM instance WHERE batch = ?1 AND s3_key IS NOT NULL LIMIT 1) "
                      "FROM (SELECT ?1 AS id) LEFT JOIN import_job ON batch = id",
                      e);
    if (!q || state_bind(q, "t", out->id) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW) {
        state_column(q, 0, out->client_token, sizeof out->client_token);
        state_column(q, 1, out->job_id, sizeof out->job_id);
        state_column(q, 2, out->job_status, sizeof out->job_status);
        state_column(q, 3, out->job_message, sizeof out->job_message);
        state_column(q, 4, out->input_s3_uri, sizeof out->input_s3_uri);
        state_column(q, 5, out->output_s3_uri, sizeof out->output_s3_uri);
        state_column(q, 6, out->datastore_id, sizeof out->datastore_id);
        state_column(q, 7, out->role_arn, sizeof out->role_arn);
        out->submitted_ms = sqlite3_column_int64(q, 8);
        out->ended_ms = sqlite3_column_int64(q, 9);
        out->starting_ms = sqlite3_column_int64(q, 10);
        out->called_ms = sqlite3_column_int64(q, 11);
        state_column(q, 12, out->s3_key, sizeof out->s3_key);
        out->jobs_count = sqlite3_column_int64(q, 13);
        out->uploaded_count = sqlite3_column_int64(q, 14);
        out->held_left = sqlite3_column_int64(q, 15);
        out->hinted_ms = sqlite3_column_int64(q, 16);
        state_column(q, 17, out->bucket, sizeof out->bucket);
    }
    int rc = step == SQLITE_ROW ? 0 : state_sql_error(s, e, "read a batch");
    (void)sqlite3_reset(q);
    return rc;
}

/* A closed batch that everything has left (refused, or moved to another batch) ends without a job. Inside a transaction. */
static int end_if_empty(struct state *s, struct state_batch *b, int64_t now, bool *empty, struct err *e)
{
    int64_t any = 0;
    *empty = false;
    int rc = b->state == BATCH_CLOSED
                 ? state_number(s, &any, 0, e, "SELECT 1 FROM instance WHERE batch = ?1 AND state = 'uploaded' LIMIT 1", "t", b->id)
                 : 0;
    if (rc != 0 || any != 0 || b->state != BATCH_CLOSED) {
        return rc;
    }
    *empty = true;
    rc = state_run(s, NULL, e, "UPDATE batch SET state = 'done', owner = NULL, ended_ms = ?2 WHERE id = ?1", "ti", b->id, now);
    return rc ? rc : state_batch_event(s, b->id, "closed", "done", NULL, "no instance is left in it", now, e);
}

int state_batch_claim_for(struct state *s, const char *destination, enum state_batch_work work, struct state_batch *out, bool *found, struct err *e)
{
    enum { TRIES = 64 }; /* of losing the race against other importers, or of ending empty batches */
    int rc = 0;
    *found = false;
    for (int i = 0; rc == 0 && !*found && i < TRIES; i++) {
        int64_t now = clock_wall_ms();
        char id[STATE_ID_SIZE];
        bool empty = false;
        bool ours = false;
        rc = look(s, destination, work, now, id, e);
        if (rc != 0 || !id[0] || (rc = state_begin(s, e)) != 0) {
            return rc;
        }
        memset(out, 0, sizeof *out);
        sqlite3_stmt *q = state_prepare(s,
                                        "UPDATE batch SET owner = ?2, token = token + 1 WHERE id = ?1 AND owner IS NULL AND "
                                        "next_attempt_ms <= ?3 AND state NOT IN ('open', 'done') "
                                        "AND NOT (state = 'closed' AND EXISTS (SELECT 1 FROM instance i INDEXED BY instance_held "
                                        "WHERE i.batch = batch.id AND i.held = 1 AND i.state = 'uploaded')) " /* held since look() */
                                        "RETURNING id, study_uid, state, token,"
                                        " attempts, instance_count, bytes, error_code, destination",
                                        e);
        rc = q ? state_bind(q, "tti", id, s->worker, now) : ERR_DATABASE;
        int step = rc == 0 ? sqlite3_step(q) : SQLITE_DONE;
        if (step == SQLITE_ROW) {
            ours = true;
            rc = read_claim(s, q, out, e);
        } else if (rc == 0 && step != SQLITE_DONE) {
            rc = state_sql_error(s, e, "claim a batch");
        }
        if (q) {
            (void)sqlite3_reset(q);
        }
        rc = rc == 0 && ours ? end_if_empty(s, out, now, &empty, e) : rc;
        rc = state_end(s, rc, e);
        *found = rc == 0 && ours && !empty;
    }
    return rc;
}

int state_batch_member(struct state *s, const struct state_batch *b, const char *id, struct err *e)
{
    int64_t member = MEMBER_UNKNOWN;
    int rc = state_number(s, &member, MEMBER_UNKNOWN, e,
                          "SELECT CASE WHEN batch = ?2 AND state = 'uploaded' THEN 0 WHEN dropped_ms IS NULL THEN 1 ELSE 2 END "
                          "FROM instance WHERE id = ?1",
                          "tt", id, b->id);
    return rc ? rc : (int)member;
}

int state_batch_unclaim(struct state *s, const struct state_batch *b, struct err *e)
{
    int rc = state_begin(s, e);
    return rc ? rc
              : state_end(s, state_run(s, NULL, e, "UPDATE batch SET owner = NULL WHERE id = ?1 AND token = ?2 AND owner = ?3", "tit",
                                       b->id, b->token, s->worker), e);
}

/* ---- the start bucket -------------------------------------------------------------------------------------------------------- */

int state_take_start(struct state *s, const char *datastore_id, const struct state_start_limits *limits, bool new_job, int64_t now, int64_t *wait_ms, struct err *e)
{
    int64_t running = 0;
    double tokens = limits->burst;
    double rate = limits->per_minute / 60000.0; /* a millisecond */
    int64_t filled = now;
    int rc = new_job ? state_number(s, &running, 0, e,
                                    "SELECT count(*) FROM batch AS b INDEXED BY batch_job CROSS JOIN import_job AS j ON j.batch = b.id "
                                    "WHERE b.state IN ('starting', 'running') AND j.datastoreId = ?1", "t", datastore_id)
                     : 0;
    sqlite3_stmt *q = rc == 0 ? state_prepare(s, "SELECT tokens, filled_ms FROM start_bucket WHERE datastore = ?1", e) : NULL;
    if (!q || state_bind(q, "t", datastore_id) != 0) {
        return rc ? rc : ERR_DATABASE;
    }
    if (sqlite3_step(q) == SQLITE_ROW) {
        tokens = sqlite3_column_double(q, 0);
        filled = sqlite3_column_int64(q, 1);
    }
    (void)sqlite3_reset(q);
    tokens += now > filled ? (double)(now - filled) * rate : 0; /* a clock that was set back fills nothing, and filling begins anew */
    tokens = tokens > limits->burst ? limits->burst : tokens;
    if (new_job && running >= limits->running_max) {
        *wait_ms = 1000;
    } else if (tokens < 1.0) {
        *wait_ms = (int64_t)((1.0 - tokens) / rate) + 1;
    } else {
        *wait_ms = 0;
        tokens -= 1.0;
    }
    return state_run(s, NULL, e,
                     "INSERT INTO start_bucket (datastore, tokens, filled_ms) VALUES (?3, ?1, ?2) "
                     "ON CONFLICT (datastore) DO UPDATE SET tokens = ?1, filled_ms = ?2",
                     "dit", tokens, now, datastore_id);
}

int state_batch_defer(struct state *s, struct state_batch *b, const char *job_status, const struct err *why,
                      int64_t next_ms, struct err *e)
{
    int changed = 0;
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    enum err_class class = why ? err_class_of(why->code) : ERR_CLASS_NONE;
    bool charged = why && class != ERR_CLASS_RETRY_SOON && class != ERR_CLASS_PEER_DOWN && class != ERR_CLASS_CONFIG && why->code != ERR_TIMEOUT;
    rc = state_run(s, &changed, e,
                   "UPDATE batch SET owner = NULL, next_attempt_ms = ?4, attempts = CASE WHEN ?5 IS NULL THEN 0 ELSE attempts + ?7 END,"
                   " error_code = ?5, error_text = ?6 WHERE id = ?1 AND token = ?2 AND owner = ?3",
                   "titieti", b->id, b->token, s->worker, next_ms, why ? err_name(why->code) : NULL, why ? why->text : NULL,
                   (int64_t)charged);
    if (rc == 0 && changed == 0) {
        rc = err_set(e, ERR_FENCED, 0, "batch %s is no longer ours", b->id);
    }
    if (rc == 0 && job_status) {
        rc = state_run(s, NULL, e, "UPDATE import_job SET jobStatus = ?2 WHERE batch = ?1", "tt", b->id, job_status);
    }
    if (rc == 0 && why) {
        rc = state_batch_event(s, b->id, NULL, NULL, err_name(why->code), why->text, clock_wall_ms(), e);
    }
    return state_end(s, rc, e);
}

int state_batch_open_count(struct state *s, const char *batch, int64_t *count, struct err *e)
{
    return state_number(s, count, 0, e, "SELECT count(*) FROM instance WHERE batch = ?1 AND state = 'importing'", "t", batch);
}
