/*
 * urgent - studies that do not wait: of senders with `urgent` in their section, images that came with
 * DIMSE priority HIGH where `urgent_by_priority` says so, and those for which a person pressed `close`. Their batches close after a
 * short quiet time; their uploads and starts go before others, as if they had been due STATE_URGENT_AHEAD_MS longer (docs/states.md).
 */
#include "common/runtime/runtime.h"
#include "common/state/internal.h"

enum { CLOSE_MAX = 64 };

int state_urge_instance(struct state *s, const char *id, bool urgent, int64_t now_ms, struct err *e)
{
    return state_run(s, NULL, e, "UPDATE instance SET urgent = 1, next_attempt_ms = ?2 WHERE id = ?1 AND (urgent = 1 OR ?3)", "tii", id,
                     now_ms - STATE_URGENT_AHEAD_MS, (int64_t)urgent);
}

int state_urge_batch(struct state *s, const char *id, const char *batch, struct err *e)
{
    return state_run(s, NULL, e, "UPDATE batch SET urgent = 1 WHERE id = ?2 AND urgent = 0 AND (SELECT i.urgent FROM instance AS i WHERE i.id = ?1) = 1", "tt",
                     id, batch);
}

/* The ids of up to CLOSE_MAX batches that the statement names by what ?1 and ?2 are. Inside a transaction, or reading only. */
static int read_batches(struct state *s, const char *sql, const char *format, const char *text, int64_t number, char ids[CLOSE_MAX][STATE_ID_SIZE],
                        int *count, struct err *e)
{
    int step = SQLITE_DONE;
    sqlite3_stmt *q = state_prepare(s, sql, e);
    *count = 0;
    if (!q || state_bind(q, format, text, number) != 0) {
        return ERR_DATABASE;
    }
    while (*count < CLOSE_MAX && (step = sqlite3_step(q)) == SQLITE_ROW) {
        state_column(q, 0, ids[(*count)++], STATE_ID_SIZE);
    }
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for batches");
    (void)sqlite3_reset(q);
    return rc;
}

int state_batches_close_urgent(struct state *s, int64_t quiet_ms, int *closed, struct err *e)
{
    static const char due[] = "SELECT id FROM batch INDEXED BY batch_urgent WHERE state = 'open' AND urgent = 1 AND ?1 IS NULL AND last_added_ms <= ?2 LIMIT 64";
    char ids[CLOSE_MAX][STATE_ID_SIZE];
    int count = 0;
    int64_t now = clock_wall_ms();
    *closed = 0;
    int rc = read_batches(s, due, "ti", NULL, now - quiet_ms, ids, &count, e);
    if (rc != 0 || count == 0 || (rc = state_begin(s, e)) != 0) {
        return rc;
    }
    rc = read_batches(s, due, "ti", NULL, now - quiet_ms, ids, &count, e);
    for (int i = 0; rc == 0 && i < count; i++) {
        rc = state_batch_close(s, ids[i], "urgent, and quiet", now, e);
    }
    rc = state_end(s, rc, e);
    *closed = rc == 0 ? count : 0;
    return rc;
}

/* What the importer of a batch would find: urgent, closed, due before others; and what of it is not yet in S3 goes there first. */
static int import_batch_now(struct state *s, const char *batch, int64_t now, struct err *e)
{
    int64_t ahead = now - STATE_URGENT_AHEAD_MS;
    int rc = state_run(s, NULL, e, "UPDATE batch SET urgent = 1, next_attempt_ms = min(next_attempt_ms, ?2) WHERE id = ?1", "ti", batch, ahead);
    rc = rc ? rc : state_batch_event(s, batch, NULL, NULL, "URGENT", "it closes now and starts before others", now, e);
    rc = rc ? rc : state_batch_close(s, batch, "closed by a person", now, e);
    return rc ? rc
              : state_run(s, NULL, e, "UPDATE instance SET urgent = 1, next_attempt_ms = min(next_attempt_ms, ?2) WHERE batch = ?1 AND state = 'validated'", "ti",
                          batch, ahead);
}

int state_import_now(struct state *s, const char *who, int *count, struct err *e)
{
    static const char by_batch[] = "SELECT id FROM batch WHERE id = ?1 AND state IN ('open', 'closed') AND ?2 = 0";
    static const char by_instance[] = "SELECT b.id FROM instance AS i JOIN batch AS b ON b.id = i.batch WHERE i.id = ?1 AND i.state IN ('validated', 'uploaded') "
                                      "AND b.state IN ('open', 'closed') AND ?2 = 0";
    static const char by_study[] = "SELECT DISTINCT b.id FROM instance AS i INDEXED BY instance_study JOIN batch AS b ON b.id = i.batch WHERE i.study_uid = ?1 "
                                   "AND i.state IN ('validated', 'uploaded') AND b.state IN ('open', 'closed') AND ?2 = 0 LIMIT 64";
    char ids[CLOSE_MAX][STATE_ID_SIZE];
    int found = 0;
    int64_t now = clock_wall_ms();
    bool by_id = id_is_legal(who);
    int rc = state_begin(s, e);
    *count = 0;
    if (rc != 0) {
        return rc;
    }
    rc = read_batches(s, by_id ? by_batch : by_study, "ti", who, 0, ids, &found, e);
    if (rc == 0 && found == 0 && by_id) {
        rc = read_batches(s, by_instance, "ti", who, 0, ids, &found, e);
    }
    for (int i = 0; rc == 0 && i < found; i++) {
        rc = import_batch_now(s, ids[i], now, e);
    }
    rc = state_end(s, rc, e);
    *count = rc == 0 ? found : 0;
    return rc;
}
