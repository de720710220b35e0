/*
 * held - a batch does not wait for ever for an instance that a person holds after it was uploaded. The instance goes back to 'validated', out of the batch
 * and into the next one of its study, where claims pass over it until it is released; then it is uploaded under that batch's prefix. Its object below the
 * old prefix would be imported with the others: the importer deletes it before the start (importer/prefix.c), and held_left says that it must.
 */
#include "common/runtime/runtime.h"
#include "common/state/internal.h"

enum { MOVE_MAX = 100 };

struct held {
    char id[STATE_ID_SIZE], study[STATE_UID_SIZE], batch[STATE_ID_SIZE];
    int64_t bytes;
};

/* Those whose spool file is gone stay: their object is the last copy. Inside a transaction. */
static int find_held(struct state *s, int64_t closed_before_ms, struct held out[MOVE_MAX], size_t *count, struct err *e)
{
    int step = SQLITE_DONE;
    sqlite3_stmt *q = state_prepare(
        s,
        "SELECT i.id, i.study_uid, i.file_bytes, i.batch FROM instance AS i INDEXED BY instance_held JOIN batch AS b ON b.id = i.batch WHERE i.held = 1 "
        "AND i.state = 'uploaded' AND i.released_ms IS NULL AND b.state = 'closed' AND b.owner IS NULL AND b.closed_ms <= ?1 AND EXISTS "
        "(SELECT 1 FROM instance AS o INDEXED BY instance_batch WHERE o.batch = b.id AND o.state = 'uploaded' AND o.held = 0) LIMIT 100",
        e);
    *count = 0;
    if (!q || state_bind(q, "i", closed_before_ms) != 0) {
        return ERR_DATABASE;
    }
    while (*count < MOVE_MAX && (step = sqlite3_step(q)) == SQLITE_ROW) {
        struct held *h = &out[(*count)++];
        state_column(q, 0, h->id, sizeof h->id);
        state_column(q, 1, h->study, sizeof h->study);
        h->bytes = sqlite3_column_int64(q, 2);
        state_column(q, 3, h->batch, sizeof h->batch);
    }
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for held instances");
    (void)sqlite3_reset(q);
    return rc;
}

int state_batches_leave_held(struct state *s, int64_t wait_ms, const struct state_batch_limits *limits, int *moved, struct err *e)
{
    struct held held[MOVE_MAX];
    size_t count = 0;
    int64_t any = 0;
    int64_t now = clock_wall_ms();
    *moved = 0;
    int rc = state_number(s, &any, 0, e, "SELECT 1 FROM instance INDEXED BY instance_held WHERE held = 1 AND state = 'uploaded' LIMIT 1", "");
    if (rc != 0 || !any || (rc = state_begin(s, e)) != 0) {
        return rc;
    }
    rc = find_held(s, now - wait_ms, held, &count, e);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        char next[STATE_ID_SIZE];
        rc = state_move(s, held[i].id, -1, "uploaded", "validated", now, "LATE", "held: its batch starts without it; uploaded again when it is released", e);
        rc = rc ? rc : state_run(s, NULL, e, "UPDATE batch SET held_left = held_left + 1 WHERE id = ?1", "t", held[i].batch);
        rc = rc ? rc : state_assign_batch(s, held[i].id, held[i].study, held[i].bytes, limits, now, next, e);
    }
    rc = state_end(s, rc, e);
    *moved = rc == 0 ? (int)count : 0;
    return rc;
}
