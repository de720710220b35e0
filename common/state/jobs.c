/*
 * jobs - a claimed batch's way through HealthImaging: intent before the call, effect after it, evidence at the end.
 * A state change of a batch checks owner and token; ERR_FENCED means that another importer has it.
 */
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "common/state/internal.h"

#include <stdio.h>
#include <string.h>

enum { CHUNK = 500, RETRY_BASE_MS = 2000, RETRY_CEILING_MS = 600000 };

/* The one place where a claimed batch changes its state. Inside a transaction. keep: the claim stays ours. */
static int move_batch(struct state *s, struct state_batch *b, const char *from, const char *to, bool keep, int64_t next_ms,
                      const char *note, int64_t now, struct err *e)
{
    int changed = 0;
    int rc = state_run(s, &changed, e,
                       "UPDATE batch SET state = ?5, owner = CASE WHEN ?6 THEN owner END, next_attempt_ms = ?7, attempts = 0,"
                       " error_code = NULL, error_text = NULL, ended_ms = CASE ?5 WHEN 'done' THEN ?8 END "
                       "WHERE id = ?1 AND token = ?2 AND owner = ?3 AND state = ?4",
                       "titttiii", b->id, b->token, s->worker, from, to, (int64_t)keep, next_ms, now);
    if (rc == 0 && changed == 0) {
        return err_set(e, ERR_FENCED, 0, "batch %s is no longer ours", b->id);
    }
    return rc == 0 ? state_batch_event(s, b->id, from, to, NULL, note, now, e) : rc;
}

/* The intent: job row, instances, state. Inside a transaction. */
static int store_intent(struct state *s, struct state_batch *b, const char *token, const char *input_uri, const char *output_uri,
                        const char *datastore_id, const char *role_arn, int64_t now, struct err *e)
{
    int rc = move_batch(s, b, "closed", "starting", true, now, NULL, now, e);
    if (rc == 0) {
        rc = state_run(s, NULL, e,
                       "INSERT INTO import_job (batch, clientToken, jobName, inputS3Uri, outputS3Uri, datastoreId, dataAccessRoleArn) "
                       "VALUES (?1, ?2, ?1, ?3, ?4, ?5, ?6)",
                       "tttttt", b->id, token, input_uri, output_uri, datastore_id, role_arn);
    }
    if (rc == 0) {
        rc = state_run(s, NULL, e,
                       "INSERT INTO event (at_ms, instance, batch, from_state, to_state, who) "
                       "SELECT ?2, id, batch, 'uploaded', 'importing', ?3 FROM instance WHERE batch = ?1 AND state = 'uploaded'",
                       "tit", b->id, now, s->worker);
    }
    if (rc == 0) {
        rc = state_run(s, NULL, e,
                       "UPDATE instance SET state = 'importing', importing_ms = ?2, changed_ms = ?2, owner = NULL "
                       "WHERE batch = ?1 AND state = 'uploaded'",
                       "ti", b->id, now);
    }
    return rc;
}

int state_batch_starting(struct state *s, struct state_batch *b, const struct state_start_limits *limits, const char *input_uri,
                         const char *output_uri, const char *datastore_id, const char *role_arn, int64_t *wait_ms, struct err *e)
{
    int64_t now = clock_wall_ms();
    char token[65];
    (void)snprintf(token, sizeof token, STATE_CLIENT_TOKEN, b->id);
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = state_take_start(s, datastore_id, limits, true, now, wait_ms, e);
    if (rc == 0 && *wait_ms == 0) {
        rc = store_intent(s, b, token, input_uri, output_uri, datastore_id, role_arn, now, e);
    }
    rc = state_end(s, rc, e);
    if (rc == 0 && *wait_ms == 0) {
        b->state = BATCH_STARTING;
        b->starting_ms = b->called_ms = now;
        (void)snprintf(b->client_token, sizeof b->client_token, "%s", token);
        (void)snprintf(b->input_s3_uri, sizeof b->input_s3_uri, "%s", input_uri);
        (void)snprintf(b->output_s3_uri, sizeof b->output_s3_uri, "%s", output_uri);
        (void)snprintf(b->datastore_id, sizeof b->datastore_id, "%s", datastore_id);
        (void)snprintf(b->role_arn, sizeof b->role_arn, "%s", role_arn);
    }
    return rc;
}

int state_batch_starting_again(struct state *s, struct state_batch *b, const struct state_start_limits *limits, int64_t *wait_ms,
                               struct err *e)
{
    int changed = 0;
    int64_t now = clock_wall_ms();
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = state_take_start(s, b->datastore_id, limits, false, now, wait_ms, e);
    if (rc == 0 && *wait_ms == 0) {
        rc = state_run(s, &changed, e,
                       "UPDATE batch SET error_code = NULL WHERE id = ?1 AND token = ?2 AND owner = ?3 AND state = 'starting'", "tit",
                       b->id, b->token, s->worker);
        if (rc == 0 && changed == 0) {
            rc = err_set(e, ERR_FENCED, 0, "batch %s is no longer ours", b->id);
        }
        rc = rc ? rc : state_batch_event(s, b->id, "starting", "starting", NULL, "called again with the same token", now, e);
    }
    return state_end(s, rc, e);
}

int state_batch_running(struct state *s, struct state_batch *b, const char *job_id, const char *job_status,
                        int64_t submitted_ms, int64_t next_ms, struct err *e)
{
    int64_t now = clock_wall_ms();
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = move_batch(s, b, "starting", "running", false, next_ms, job_id, now, e);
    if (rc == 0) {
        rc = state_run(s, NULL, e, "UPDATE import_job SET jobId = ?2, jobStatus = ?3, submittedAt = ?4 WHERE batch = ?1", "ttti",
                       b->id, job_id, job_status, submitted_ms);
    }
    if (rc == 0) {
        rc = state_run(s, NULL, e, "UPDATE instance SET job_id = ?2 WHERE batch = ?1 AND state = 'importing'", "tt", b->id, job_id);
    }
    return state_end(s, rc, e);
}

int state_batch_ended(struct state *s, struct state_batch *b, const char *job_status, const char *message,
                      const char *output_uri, int64_t ended_ms, struct err *e)
{
    int64_t now = clock_wall_ms();
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = move_batch(s, b, "running", "reconciling", false, now, job_status, now, e);
    if (rc == 0) {
        rc = state_run(s, NULL, e,
                       "UPDATE import_job SET jobStatus = ?2, message = ?3, outputS3Uri = ifnull(?4, outputS3Uri), endedAt = ?5 "
                       "WHERE batch = ?1",
                       "tteei", b->id, job_status, message, output_uri, ended_ms);
    }
    return state_end(s, rc, e);
}

/* ---- results ------------------------------------------------------------------------------------------------------------- */

/* importing -> failed with a remedy. Inside a transaction. */
static int fail_instance(struct state *s, const char *id, const struct err *why, const char *remedy, int64_t now, struct err *e)
{
    int rc = state_move(s, id, -1, "importing", "failed", now, err_name(why->code), why->text, e);
    return rc ? rc : state_run(s, NULL, e, "UPDATE instance SET remedy = ?2 WHERE id = ?1", "te", id, remedy);
}

/* importing -> validated in a new batch, or -> failed when enough jobs failed on it. split: NULL, or how the batch b is taken apart. Inside a transaction. */
static int send_back(struct state *s, const struct state_batch *b, const char *id, const struct err *why, const struct state_again *again,
                     struct state_split *split, int64_t now, struct err *e)
{
    char study[STATE_UID_SIZE] = "";
    char batch[STATE_ID_SIZE];
    int64_t bytes = 0;
    int jobs = 0;
    bool released = false;
    sqlite3_stmt *q = state_prepare(
        s, "SELECT study_uid, file_bytes, import_attempts, released_ms IS NOT NULL FROM instance WHERE id = ?1 AND state = 'importing'", e);
    if (!q || state_bind(q, "t", id) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW) {
        state_column(q, 0, study, sizeof study);
        bytes = sqlite3_column_int64(q, 1);
        jobs = sqlite3_column_int(q, 2) + (!split || split->charged);
        released = sqlite3_column_int(q, 3) != 0;
    }
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "read an instance");
    (void)sqlite3_reset(q);
    if (rc != 0 || step != SQLITE_ROW) {
        return rc; /* DONE: another pass has settled it already */
    }
    rc = state_run(s, NULL, e, "UPDATE instance SET import_attempts = ?2 WHERE id = ?1", "ti", id, (int64_t)jobs);
    if (rc == 0 && (jobs >= again->attempts_max || released)) {
        return fail_instance(s, id, why,
                             released ? "its spool file is gone, so it cannot be uploaded again: have the image sent again"
                                      : "look at the job's message; then try again with a new import job: storescpctl retry ID",
                             now, e);
    }
    rc = rc ? rc : state_move(s, id, -1, "importing", "validated", now, err_name(why->code), why->text, e);
    if (rc == 0) {
        rc = split && split->piece_max ? state_split_take(s, b, split, id, bytes, now, e)
                                       : state_assign_batch(s, id, study, bytes, &again->limits, now, batch, e);
    }
    if (rc == 0) {
        rc = state_run(s, NULL, e,
                       "UPDATE instance SET next_attempt_ms = ?2, error_code = ?3, error_text = ?4, job_id = NULL WHERE id = ?1", "titt",
                       id, now + backoff_ms(jobs > 0 ? jobs - 1 : 0, RETRY_BASE_MS, RETRY_CEILING_MS, random_u32()), err_name(why->code), why->text);
    }
    return rc;
}

/* importing or failed -> imported, with evidence. Inside a transaction. */
static int import_instance(struct state *s, const struct state_result *r, const char *from, const char *note, int64_t now, struct err *e)
{
    int rc = state_move(s, r->id, -1, from, "imported", now, NULL, note, e);
    if (rc != 0) {
        return rc;
    }
    sqlite3_stmt *q = state_prepare(s,
                                    "UPDATE instance SET image_set_id = ?2, image_set_version = ?3, is_primary = ?4,"
                                    " warning = CASE WHEN ?5 IS NULL THEN warning WHEN warning IS NULL THEN ?5 "
                                    "ELSE warning || '; ' || ?5 END WHERE id = ?1",
                                    e);
    rc = q ? state_bind(q, "teiie", r->id, r->image_set_id, (int64_t)r->image_set_version, (int64_t)r->is_primary, r->warning) : ERR_DATABASE;
    if (rc == 0 && r->image_set_version == 0) {
        (void)sqlite3_bind_null(q, 3);
    }
    if (rc == 0 && r->is_primary < 0) {
        (void)sqlite3_bind_null(q, 4);
    }
    return rc == 0 ? state_step(s, q, NULL, e) : rc;
}

/* A line about an instance that this batch did not give away, and that no earlier reading of the same results settled: its object stood below
 * the prefix although its upload counted as failed. Nothing is thrown away: a failed one that was imported is imported, everything else
 * is an event and a warning for a person. Inside a transaction. */
static int settle_unexpected(struct state *s, const struct state_batch *b, const struct state_result *r, int64_t now, struct err *e)
{
    int64_t seen = 0;
    int64_t failed_here = 0;
    char note[300];
    int rc = state_number(s, &seen, 1, e,
                          "SELECT EXISTS (SELECT 1 FROM event WHERE instance = ?1 AND batch = ?2 AND (from_state = 'importing' OR code = 'UNEXPECTED_RESULT')) "
                          "FROM instance WHERE id = ?1",
                          "tt", r->id, b->id);
    if (rc != 0 || seen) {
        return rc; /* or there is no such row: then nothing can be said about it */
    }
    bool imported = r->kind == RESULT_IMPORTED;
    rc = state_number(s, &failed_here, 0, e, "SELECT 1 FROM instance WHERE id = ?1 AND batch = ?2 AND state = 'failed' AND dropped_ms IS NULL", "tt",
                      r->id, b->id);
    if (rc != 0 || (!imported && !failed_here)) {
        return rc; /* refused here, and elsewhere by now: no harm done */
    }
    (void)snprintf(note, sizeof note, "the import job of batch %s %s this image, which was not among those that it was given%s%s", b->id,
                   imported ? "imported" : "refused", imported ? "; image set " : "", imported ? r->image_set_id : "");
    if (rc == 0) {
        rc = state_run(s, NULL, e, "INSERT INTO event (at_ms, instance, batch, who, code, note) VALUES (?1, ?2, ?3, ?4, 'UNEXPECTED_RESULT', ?5)", "itttt",
                       now, r->id, b->id, s->worker, note);
    }
    if (rc == 0) {
        rc = state_run(s, NULL, e, "UPDATE instance SET warning = CASE WHEN warning IS NULL THEN ?2 ELSE warning || '; ' || ?2 END WHERE id = ?1", "tt",
                       r->id, note);
    }
    if (rc == 0 && imported && failed_here) {
        rc = import_instance(s, r, "failed", "its object stood in S3 although its upload counted as failed", now, e);
        rc = rc ? rc : state_run(s, NULL, e, "UPDATE instance SET job_id = ?2 WHERE id = ?1", "tt", r->id, b->job_id); /* its key is decided since its upload */
    }
    log_warning("unexpected_result", "instance=%s batch=%s job=%s imported=%s remedy=\"storescpctl why %s\"", r->id, b->id, b->job_id,
                imported ? "yes" : "no", r->id);
    return rc;
}

static int settle(struct state *s, struct state_batch *b, const struct state_result *r, const struct state_again *again, int64_t now,
                  struct err *e)
{
    int64_t ours = 0;
    int rc = state_number(s, &ours, 0, e, "SELECT 1 FROM instance WHERE id = ?1 AND batch = ?2 AND state = 'importing'", "tt",
                          r->id, b->id);
    if (rc != 0 || !ours) {
        return rc ? rc : settle_unexpected(s, b, r, now, e);
    }
    if (r->kind == RESULT_RETRY) {
        return send_back(s, b, r->id, &r->why, again, NULL, now, e);
    }
    if (r->kind == RESULT_REFUSED) {
        return fail_instance(s, r->id, &r->why,
                             "HealthImaging cannot take this file: have the sender correct and re-send it; to try the same file again: "
                             "storescpctl retry ID",
                             now, e);
    }
    return import_instance(s, r, "importing", r->warning[0] ? r->warning : NULL, now, e);
}

/* Is the batch still ours? Inside a transaction. */
static int check_claim(struct state *s, const struct state_batch *b, struct err *e)
{
    int64_t mine = 0;
    int rc = state_number(s, &mine, 0, e, "SELECT 1 FROM batch WHERE id = ?1 AND token = ?2 AND owner = ?3", "tit", b->id, b->token,
                          s->worker);
    return rc == 0 && !mine ? err_set(e, ERR_FENCED, 0, "batch %s is no longer ours", b->id) : rc;
}

int state_batch_results(struct state *s, struct state_batch *b, const struct state_result *r, size_t count,
                        const struct state_again *again, struct err *e)
{
    int rc = 0;
    for (size_t from = 0; rc == 0 && from < count; from += CHUNK) {
        int64_t now = clock_wall_ms();
        rc = state_begin(s, e);
        if (rc != 0) {
            return rc;
        }
        rc = check_claim(s, b, e);
        for (size_t i = from; rc == 0 && i < count && i < from + CHUNK; i++) {
            rc = settle(s, b, &r[i], again, now, e);
        }
        rc = state_end(s, rc, e);
    }
    return rc;
}

/* Ends a claimed batch: every instance that still is 'importing' is sent back (again) or failed (again NULL, with remedy), a chunk
 * in each commit, then the batch is DONE. A crash in between is finished by the next claim. */
static int end_batch(struct state *s, struct state_batch *b, const char *from, const struct state_again *again, const struct err *why,
                     const char *remedy, int *left_count, struct err *e)
{
    char ids[CHUNK][STATE_ID_SIZE];
    struct state_split split = {.charged = true};
    *left_count = 0;
    int decided = again ? state_split_decide(s, b, why, &split, e) : 0;
    if (decided != 0) {
        return decided;
    }
    for (;;) {
        size_t count = 0;
        int step = SQLITE_DONE;
        int64_t now = clock_wall_ms();
        int rc = state_begin(s, e);
        if (rc != 0) {
            return rc;
        }
        rc = check_claim(s, b, e);
        sqlite3_stmt *q =
            rc == 0 ? state_prepare(s, "SELECT id FROM instance WHERE batch = ?1 AND state = 'importing' LIMIT 500", e) : NULL;
        rc = rc != 0 ? rc : q ? state_bind(q, "t", b->id) : ERR_DATABASE;
        while (rc == 0 && count < CHUNK && (step = sqlite3_step(q)) == SQLITE_ROW) {
            state_column(q, 0, ids[count++], STATE_ID_SIZE);
        }
        if (rc == 0 && step != SQLITE_ROW && step != SQLITE_DONE) {
            rc = state_sql_error(s, e, "read a batch");
        }
        if (q) {
            (void)sqlite3_reset(q);
        }
        for (size_t i = 0; rc == 0 && i < count; i++) {
            rc = again ? send_back(s, b, ids[i], why, again, &split, now, e) : fail_instance(s, ids[i], why, remedy, now, e);
        }
        if (rc == 0 && count < CHUNK && again) {
            rc = state_split_end(s, b, now, e);
        }
        if (rc == 0 && count < CHUNK) {
            rc = move_batch(s, b, from, "done", false, now, NULL, now, e);
        }
        rc = state_end(s, rc, e);
        if (rc != 0) {
            return rc;
        }
        *left_count += (int)count;
        if (count < CHUNK) {
            return 0;
        }
    }
}

int state_batch_done(struct state *s, struct state_batch *b, const struct state_again *again, const struct err *why_left,
                     int *left_count, struct err *e)
{
    return end_batch(s, b, "reconciling", again, why_left, NULL, left_count, e);
}

int state_batch_refused(struct state *s, struct state_batch *b, const struct err *why, const char *remedy, int *count, struct err *e)
{
    return end_batch(s, b, "starting", NULL, why, remedy, count, e);
}
