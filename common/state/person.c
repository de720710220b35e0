/*
 * person - what a person decides through storescpctl: retry, hold, release, drop. Each decision is an event with the person's name and
 * reason. Chunked commits, the rows picked by an index for each kind of `who`: a decision about 100,000 instances holds up nobody.
 */
#include "common/runtime/runtime.h"
#include "common/state/internal.h"

#include <stdio.h>
#include <string.h>

enum { CHUNK = 200 };

static const struct state_batch_limits whole_job = {.max_count = 5000, .max_bytes = 10000000000LL};

void state_person(struct state *s, const char *name)
{
    (void)snprintf(s->worker, sizeof s->worker, "person %.40s", name);
}

/* ---- retry ------------------------------------------------------------------------------------------------------------------ */

#define REFUSED "SELECT id, state, study_uid, file_bytes, batch IS NOT NULL FROM instance WHERE state IN ('quarantined', 'failed') AND released_ms IS NULL "
static const char refused_all[] = REFUSED "AND dropped_ms IS NULL LIMIT 200";
static const char refused_one[] = REFUSED "AND id = ?1 LIMIT 200";
static const char refused_study[] = "SELECT id, state, study_uid, file_bytes, batch IS NOT NULL FROM instance INDEXED BY instance_study WHERE study_uid = ?1 "
                                    "AND state IN ('quarantined', 'failed') AND released_ms IS NULL AND dropped_ms IS NULL LIMIT 200";

struct refused {
    char id[STATE_ID_SIZE], study[STATE_UID_SIZE];
    bool has_failed, has_batch;
    int64_t bytes;
};

static int read_refused(struct state *s, const char *sql, const char *who, struct refused out[CHUNK], size_t *count, struct err *e)
{
    char state[16];
    int step = SQLITE_DONE;
    sqlite3_stmt *q = state_prepare(s, sql, e);
    *count = 0;
    if (!q || (sql != refused_all && state_bind(q, "t", who) != 0)) {
        return ERR_DATABASE;
    }
    while (*count < CHUNK && (step = sqlite3_step(q)) == SQLITE_ROW) {
        struct refused *r = &out[(*count)++];
        state_column(q, 0, r->id, sizeof r->id);
        state_column(q, 1, state, sizeof state);
        state_column(q, 2, r->study, sizeof r->study);
        r->has_failed = strcmp(state, "failed") == 0;
        r->bytes = sqlite3_column_int64(q, 3);
        r->has_batch = sqlite3_column_int(q, 4) != 0;
    }
    (void)sqlite3_reset(q);
    return step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for refused instances");
}

/* A failed one goes straight to its upload, unless its image has come again meanwhile: then the validator must look at both, or the same
 * image would be imported twice. */
static int retry_one(struct state *s, const struct refused *r, bool accept, int64_t now, struct err *e)
{
    char batch[STATE_ID_SIZE];
    int64_t came_again = 0;
    int rc = state_number(s, &came_again, 0, e,
                          "SELECT 1 FROM instance o INDEXED BY instance_sop WHERE o.sop_instance_uid = (SELECT sop_instance_uid FROM instance WHERE id = ?1) "
                          "AND o.id <> ?1 AND o.state IN ('validated', 'uploaded', 'importing', 'imported', 'stored') "
                          "AND o.destination = (SELECT destination FROM instance WHERE id = ?1) LIMIT 1",
                          "t", r->id);
    if (rc != 0) {
        return rc;
    }
    bool upload = r->has_failed && r->study[0] && !came_again;
    rc = state_move(s, r->id, -1, r->has_failed ? "failed" : "quarantined", upload ? "validated" : "received", now, NULL,
                        accept ? "retried by a person, another content accepted" : "retried by a person", e);
    if (rc == 0) {
        rc = state_run(s, NULL, e,
                       "UPDATE instance SET import_attempts = 0, dropped_ms = NULL, held = 0, accept_other_content = max(?2, "
                       "accept_other_content) WHERE id = ?1",
                       "ti", r->id, (int64_t)accept);
    }
    if (rc == 0 && upload) { /* under a key that is decided anew */
        rc = r->has_batch ? state_assign_batch(s, r->id, r->study, r->bytes, &whole_job, now, batch, e) : state_leave_batch(s, r->id, e);
    }
    return rc;
}

int state_retry(struct state *s, const char *who, bool accept, int64_t *count, struct err *e)
{
    const char *sql = strcmp(who, "ALL") == 0 ? refused_all : id_is_legal(who) ? refused_one : refused_study;
    size_t found = CHUNK;
    *count = 0;
    while (found == CHUNK) {
        struct refused chunk[CHUNK];
        int64_t now = clock_wall_ms();
        int rc = state_begin(s, e);
        if (rc != 0) {
            return rc;
        }
        rc = read_refused(s, sql, who, chunk, &found, e);
        for (size_t i = 0; rc == 0 && i < found; i++) {
            rc = retry_one(s, &chunk[i], accept, now, e);
        }
        rc = state_end(s, rc, e);
        if (rc != 0) {
            return rc;
        }
        *count += (int64_t)found;
    }
    return 0;
}

/* ---- hold -------------------------------------------------------------------------------------------------------------------- */

/* ?1: an instance id or a study UID. */
#define MEANT_BY_ID "id = ?1 "
#define MEANT_BY_STUDY "study_uid = ?1 "
/* an uploaded one can be held until an importer has taken its batch */
#define HOLDABLE                                                                                                       \
    "AND held = 0 AND (state IN ('received', 'validated') OR (state = 'uploaded' AND NOT EXISTS (SELECT 1 FROM batch b WHERE "   \
    "b.id = instance.batch AND b.owner IS NOT NULL)))"
#define LATE                                                                                                           \
    "AND (state = 'importing' OR (state = 'uploaded' AND held = 0 AND EXISTS (SELECT 1 FROM batch b WHERE b.id = instance.batch "   \
    "AND b.owner IS NOT NULL)))"

int state_hold(struct state *s, const char *who, const char *reason, int64_t *count, int64_t *late, struct err *e)
{
    bool by_id = id_is_legal(who);
    int changed = 0;
    int64_t now = clock_wall_ms();
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = state_number(s, late, 0, e,
                      by_id ? "SELECT count(*) FROM instance WHERE " MEANT_BY_ID LATE : "SELECT count(*) FROM instance WHERE " MEANT_BY_STUDY LATE,
                      "t", who);
    if (rc == 0) {
        rc = state_run(s, NULL, e,
                       by_id ? "INSERT INTO event (at_ms, instance, batch, who, code, note) SELECT ?2, id, batch, ?3, 'HELD', ?4 FROM instance "
                               "WHERE " MEANT_BY_ID HOLDABLE
                             : "INSERT INTO event (at_ms, instance, batch, who, code, note) SELECT ?2, id, batch, ?3, 'HELD', ?4 FROM instance "
                               "WHERE " MEANT_BY_STUDY HOLDABLE,
                       "tite", who, now, s->worker, reason);
    }
    if (rc == 0) {
        rc = state_run(s, &changed, e,
                       by_id ? "UPDATE instance SET held = 1 WHERE " MEANT_BY_ID HOLDABLE
                             : "UPDATE instance SET held = 1 WHERE " MEANT_BY_STUDY HOLDABLE,
                       "t", who);
    }
    rc = state_end(s, rc, e);
    *count = rc == 0 ? changed : 0;
    return rc;
}

int state_unhold(struct state *s, const char *who, int64_t *count, struct err *e)
{
    bool by_id = id_is_legal(who);
    int changed = 0;
    int64_t now = clock_wall_ms();
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = state_run(s, NULL, e,
                   by_id ? "INSERT INTO event (at_ms, instance, batch, who, code) SELECT ?2, id, batch, ?3, 'RELEASED' FROM instance "
                           "WHERE " MEANT_BY_ID "AND held = 1"
                         : "INSERT INTO event (at_ms, instance, batch, who, code) SELECT ?2, id, batch, ?3, 'RELEASED' FROM instance "
                           "WHERE " MEANT_BY_STUDY "AND held = 1",
                   "tit", who, now, s->worker);
    if (rc == 0) {
        rc = state_run(s, &changed, e,
                       by_id ? "UPDATE instance SET held = 0, next_attempt_ms = ?2, error_code = NULL, error_text = NULL, remedy = NULL "
                               "WHERE " MEANT_BY_ID "AND held = 1"
                             : "UPDATE instance SET held = 0, next_attempt_ms = ?2, error_code = NULL, error_text = NULL, remedy = NULL "
                               "WHERE " MEANT_BY_STUDY "AND held = 1",
                       "ti", who, now);
    }
    rc = state_end(s, rc, e);
    *count = rc == 0 ? changed : 0;
    return rc;
}

/* ---- drop ---------------------------------------------------------------------------------------------------------------------- */

int state_drop(struct state *s, const char *id, const char *reason, int64_t *count, struct err *e)
{
    int changed = 0;
    int64_t held = 0;
    int64_t now = clock_wall_ms();
    int rc = state_begin(s, e);
    *count = 0;
    if (rc != 0) {
        return rc;
    }
    rc = state_number(s, &held, 0, e, "SELECT 1 FROM instance WHERE id = ?1 AND state = 'received' AND held = 1 AND owner IS NULL", "t", id);
    if (rc == 0 && held) {
        rc = state_move(s, id, -1, "received", "quarantined", now, err_name(ERR_IMPORT_UNKNOWN), reason, e);
        rc = rc == 0 ? state_run(s, NULL, e, "UPDATE instance SET held = 0 WHERE id = ?1", "t", id) : rc;
    }
    if (rc == 0) {
        rc = state_run(s, &changed, e,
                       "UPDATE instance SET dropped_ms = ?2, remedy = NULL WHERE id = ?1 AND dropped_ms IS NULL "
                       "AND state IN ('quarantined', 'failed')",
                       "ti", id, now);
    }
    if (rc == 0 && changed) {
        rc = state_run(s, NULL, e,
                       "INSERT INTO event (at_ms, instance, batch, who, code, note) SELECT ?2, id, batch, ?3, 'DROPPED', ?4 FROM instance "
                       "WHERE id = ?1",
                       "tite", id, now, s->worker, reason);
    }
    rc = state_end(s, rc, e);
    *count = rc == 0 ? changed : 0;
    return rc;
}
