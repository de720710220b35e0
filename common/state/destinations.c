/*
 * destinations - where instances go, as far as that may change after the validator's word: a destination that imports nothing any more (or does now),
 * one that storescp.conf has lost, a person who moves what waits to another one.
 */
#include "common/runtime/runtime.h"
#include "common/state/internal.h"

#include <stdio.h>
#include <string.h>

enum { CHUNK = 200 };

int state_leave_batch(struct state *s, const char *id, struct err *e)
{
    return state_run(s, NULL, e, "UPDATE instance SET batch = NULL, s3_key = NULL, bucket = NULL, etag = NULL WHERE id = ?1", "t", id);
}

int state_destination_note(struct state *s, const char *name, int64_t now_ms, struct err *e)
{
    return state_run(s, NULL, e, "INSERT INTO destination (name, first_ms) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING", "ti", name, now_ms);
}

/* Into the open batch of its study at its destination, or out of any. Inside a transaction. */
static int fit(struct state *s, const char *id, const char *study, int64_t bytes, bool with_batch, const struct state_batch_limits *limits, int64_t now,
               struct err *e)
{
    char batch[STATE_ID_SIZE];
    return with_batch ? state_assign_batch(s, id, study, bytes, limits, now, batch, e) : state_leave_batch(s, id, e);
}

int state_refit(struct state *s, const struct state_instance *claim, bool with_batch, const struct state_batch_limits *limits, struct err *e)
{
    int64_t now = clock_wall_ms();
    int changed = 0;
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = state_run(s, &changed, e, "UPDATE instance SET owner = NULL WHERE id = ?1 AND token = ?2 AND owner = ?3 AND state = 'validated'", "tit", claim->r.id,
                   claim->token, s->worker);
    if (rc == 0 && changed == 0) {
        rc = ERR_FENCED;
    }
    if (rc == 0) {
        rc = state_run(s, NULL, e, "INSERT INTO event (at_ms, instance, batch, who, code, note) VALUES (?1, ?2, ?3, ?4, 'REFITTED', ?5)", "itett", now,
                       claim->r.id, claim->batch, s->worker, with_batch ? "its destination imports now" : "its destination imports nothing any more");
    }
    rc = rc ? rc : fit(s, claim->r.id, claim->study_uid, claim->r.file_bytes, with_batch, limits, now, e);
    return state_end(s, rc, e);
}

int state_destination_at(struct state *s, size_t i, char name[STATE_DESTINATION_SIZE], bool *found, struct err *e)
{
    sqlite3_stmt *q = state_prepare(s, "SELECT name FROM destination ORDER BY name LIMIT 1 OFFSET ?1", e);
    if (!q || state_bind(q, "i", (int64_t)i) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    *found = step == SQLITE_ROW;
    if (*found) {
        state_column(q, 0, name, STATE_DESTINATION_SIZE);
    }
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for a destination");
    (void)sqlite3_reset(q);
    return rc;
}

int state_destination_waits(struct state *s, const char *name, enum state_stage stage, bool *waits, struct err *e)
{
    static const char uploads[] = "SELECT EXISTS (SELECT 1 FROM instance INDEXED BY work_validated WHERE state = 'validated' AND owner IS NULL AND held = 0 "
                                  "AND destination = ?1)";
    static const char imports[] =
        "SELECT EXISTS (SELECT 1 FROM batch INDEXED BY batch_closed WHERE state = 'closed' AND owner IS NULL AND destination = ?1)"
        " OR EXISTS (SELECT 1 FROM batch INDEXED BY batch_starting WHERE state = 'starting' AND owner IS NULL AND destination = ?1)"
        " OR EXISTS (SELECT 1 FROM batch INDEXED BY batch_running WHERE state = 'running' AND owner IS NULL AND destination = ?1)"
        " OR EXISTS (SELECT 1 FROM batch INDEXED BY batch_reconciling WHERE state = 'reconciling' AND owner IS NULL AND destination = ?1)"
        " OR EXISTS (SELECT 1 FROM batch INDEXED BY batch_open WHERE state = 'open' AND destination = ?1)";
    int64_t any = 0;
    int rc = stage == STAGE_UPLOADER ? state_number(s, &any, 0, e, uploads, "t", name) : state_number(s, &any, 0, e, imports, "t", name);
    *waits = rc == 0 && any != 0;
    return rc;
}

/* ---- a person moves what waits --------------------------------------------------------------------------------------------------------- */

/* What may be moved: not in a worker's hand, and of what is uploaded only what no import job has been announced for. A failed one is uploaded again
 * there when it is retried. */
static const char movable[] =
    "SELECT i.id, i.state, i.study_uid, i.file_bytes FROM instance AS i INDEXED BY instance_state LEFT JOIN batch AS b ON b.id = i.batch "
    "WHERE i.state IN ('validated', 'failed', 'uploaded') AND i.destination = ?1 AND i.owner IS NULL AND i.dropped_ms IS NULL "
    "AND (i.state <> 'uploaded' OR (i.released_ms IS NULL AND b.state IN ('open', 'closed') AND b.owner IS NULL)) LIMIT 200";
static const char left_behind[] = "SELECT count(*) FROM instance AS i INDEXED BY instance_state WHERE i.destination = ?1 "
                                  "AND i.state IN ('validated', 'uploaded', 'importing')";

struct movable {
    char id[STATE_ID_SIZE], state[16], study[STATE_UID_SIZE];
    int64_t bytes;
};

static int read_movable(struct state *s, const char *from, struct movable out[CHUNK], size_t *count, struct err *e)
{
    int step = SQLITE_DONE;
    sqlite3_stmt *q = state_prepare(s, movable, e);
    *count = 0;
    if (!q || state_bind(q, "t", from) != 0) {
        return ERR_DATABASE;
    }
    while (*count < CHUNK && (step = sqlite3_step(q)) == SQLITE_ROW) {
        struct movable *m = &out[(*count)++];
        state_column(q, 0, m->id, sizeof m->id);
        state_column(q, 1, m->state, sizeof m->state);
        state_column(q, 2, m->study, sizeof m->study);
        m->bytes = sqlite3_column_int64(q, 3);
    }
    (void)sqlite3_reset(q);
    return step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for what may be moved");
}

/* The same image is there already: HealthImaging would make a version of it. Nothing is lost: it fails, and a person sees why. */
static int refuse_twin(struct state *s, const struct movable *m, const char *twin, int64_t now, struct err *e)
{
    char note[120];
    (void)snprintf(note, sizeof note, "moved; instance %s with the same SOP Instance UID (0008,0018) is at that destination already", twin);
    int rc = state_move(s, m->id, -1, "validated", "failed", now, err_name(ERR_DUPLICATE), note, e);
    return rc ? rc
              : state_run(s, NULL, e, "UPDATE instance SET remedy = 'compare both; then storescpctl drop ID --reason ..., or storescpctl retry ID --accept' WHERE id = ?1",
                          "t", m->id);
}

static int find_twin(struct state *s, const char *id, const char *to, char twin[STATE_ID_SIZE], struct err *e)
{
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT o.id FROM instance o INDEXED BY instance_sop WHERE o.sop_instance_uid = (SELECT sop_instance_uid FROM instance WHERE id = ?1) "
                                    "AND o.id <> ?1 AND o.destination = ?2 AND o.state IN ('validated', 'uploaded', 'importing', 'imported', 'stored') LIMIT 1",
                                    e);
    twin[0] = '\0';
    if (!q || state_bind(q, "tt", id, to) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW) {
        state_column(q, 0, twin, STATE_ID_SIZE);
    }
    (void)sqlite3_reset(q);
    return step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for a twin");
}

static int move_one(struct state *s, const struct movable *m, const struct state_move_order *o, const char *note, int64_t now, struct err *e)
{
    char twin[STATE_ID_SIZE];
    bool has_failed = strcmp(m->state, "failed") == 0;
    int rc = find_twin(s, m->id, o->to, twin, e);
    rc = rc ? rc
            : state_run(s, NULL, e, "INSERT INTO event (at_ms, instance, batch, who, code, note) SELECT ?2, id, batch, ?3, 'MOVED', ?4 FROM instance WHERE id = ?1",
                        "titt", m->id, now, s->worker, note);
    if (rc == 0 && strcmp(m->state, "uploaded") == 0) { /* its batch must not start before its object there is gone: importer/prefix.c */
        rc = state_run(s, NULL, e, "UPDATE batch SET held_left = held_left + 1 WHERE id = (SELECT batch FROM instance WHERE id = ?1)", "t", m->id);
        rc = rc ? rc : state_move(s, m->id, -1, "uploaded", "validated", now, NULL, note, e);
    }
    rc = rc ? rc
            : state_run(s, NULL, e,
                        "UPDATE instance SET destination = ?2, attempts = 0, next_attempt_ms = CASE WHEN urgent THEN next_attempt_ms ELSE ?3 END WHERE id = ?1",
                        "tti", m->id, o->to, now);
    if (rc == 0 && !has_failed) {
        rc = fit(s, m->id, m->study, m->bytes, o->with_batch, &o->limits, now, e);
    }
    return rc == 0 && twin[0] && !has_failed ? refuse_twin(s, m, twin, now, e) : rc;
}

int state_move_destination(struct state *s, const struct state_move_order *o, int64_t *count, int64_t *left, struct err *e)
{
    char note[120];
    size_t found = CHUNK;
    *count = *left = 0;
    (void)snprintf(note, sizeof note, "from destination %s to %s", o->from, o->to);
    while (found == CHUNK) {
        struct movable chunk[CHUNK];
        int64_t now = clock_wall_ms();
        int rc = state_begin(s, e);
        if (rc != 0) {
            return rc;
        }
        rc = state_destination_note(s, o->to, now, e);
        rc = rc ? rc : read_movable(s, o->from, chunk, &found, e);
        for (size_t i = 0; rc == 0 && i < found; i++) {
            rc = move_one(s, &chunk[i], o, note, now, e);
        }
        rc = state_end(s, rc, e);
        if (rc != 0) {
            return rc;
        }
        *count += (int64_t)found;
    }
    return state_number(s, left, 0, e, left_behind, "t", o->from);
}
