/*
 * waiting - what the receiver asks about instances whose sender waits for more than the spool, and how much is not yet uploaded. Reads only,
 * but for the closing of batches that somebody waits for.
 */
#include "common/runtime/runtime.h"
#include "common/state/internal.h"

#include <stdio.h>
#include <string.h>

enum { ASK_MAX = 256, CLOSE_MAX = 64 };

/* Takes over one row: state, uploaded_ms and error_code stand from column at on. */
static void read_row(sqlite3_stmt *q, int at, struct state_progress *p)
{
    char state[16];
    state_column(q, at, state, sizeof state);
    p->is_uploaded = sqlite3_column_type(q, at + 1) != SQLITE_NULL;
    p->is_imported = strcmp(state, "imported") == 0 || strcmp(state, "stored") == 0;
    p->is_refused = strcmp(state, "quarantined") == 0 || strcmp(state, "failed") == 0;
    state_column(q, at + 2, p->error_code, sizeof p->error_code);
}

/* One statement for up to ASK_MAX of them: their ids travel as a JSON list. */
static int ask(struct state *s, struct state_progress *p, size_t count, struct err *e)
{
    char ids[ASK_MAX * (STATE_ID_SIZE + 3) + 4];
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        used += (size_t)snprintf(ids + used, sizeof ids - used, "%c\"%s\"", i ? ',' : '[', p[i].id);
    }
    (void)snprintf(ids + used, sizeof ids - used, "]");
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT j.key, i.state, i.uploaded_ms, i.error_code, t.state, t.uploaded_ms, t.error_code "
                                    "FROM json_each(?1) AS j CROSS JOIN instance AS i ON i.id = j.value "
                                    "LEFT JOIN instance AS t ON i.state = 'duplicate' AND t.id = i.twin",
                                    e);
    if (!q || state_bind(q, "t", ids) != 0) {
        return ERR_DATABASE;
    }
    int step;
    while ((step = sqlite3_step(q)) == SQLITE_ROW) {
        size_t at = (size_t)sqlite3_column_int64(q, 0);
        if (at < count) {
            read_row(q, sqlite3_column_type(q, 4) == SQLITE_NULL ? 1 : 4, &p[at]);
        }
    }
    int rc = step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for progress");
    (void)sqlite3_reset(q);
    return rc;
}

int state_progress(struct state *s, struct state_progress *p, size_t count, bool *news, struct err *e)
{
    int64_t version = 0;
    *news = false;
    int rc = state_number(s, &version, 0, e, "PRAGMA data_version", "");
    if (rc != 0 || version == s->progress_version) {
        return rc; /* nobody else has committed since the last look */
    }
    for (size_t i = 0; rc == 0 && i < count; i += ASK_MAX) {
        rc = ask(s, p + i, count - i < ASK_MAX ? count - i : ASK_MAX, e);
    }
    if (rc == 0) {
        s->progress_version = version;
        *news = true;
    }
    return rc;
}

int state_backlog(struct state *s, int64_t *count, int64_t *bytes, struct err *e)
{
    if (!bytes) {
        return state_number(s, count, 0, e, "SELECT count(*) FROM instance INDEXED BY instance_state WHERE state IN ('received', 'validated')", "");
    }
    sqlite3_stmt *q = state_prepare(
        s, "SELECT count(*), sum(file_bytes) FROM instance INDEXED BY instance_state WHERE state IN ('received', 'validated')", e);
    int step = q ? sqlite3_step(q) : SQLITE_ERROR;
    int rc = step == SQLITE_ROW ? 0 : q ? state_sql_error(s, e, "count what waits") : ERR_DATABASE;
    if (rc == 0) {
        *count = sqlite3_column_int64(q, 0);
        *bytes = sqlite3_column_int64(q, 1);
    }
    if (q) {
        (void)sqlite3_reset(q);
    }
    return rc;
}

/* An open batch in which every instance whose sender waits is uploaded, and there is one. */
static int find_waited(struct state *s, int64_t now, char id[STATE_ID_SIZE], struct err *e)
{
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT b.id FROM instance AS i INDEXED BY instance_waited JOIN batch AS b ON b.id = i.batch "
                                    "WHERE i.state = 'uploaded' AND i.wait_until_ms > ?1 AND b.state = 'open' AND NOT EXISTS "
                                    "(SELECT 1 FROM instance AS o INDEXED BY instance_batch WHERE o.batch = b.id AND o.state = 'validated' "
                                    "AND o.wait_until_ms > ?1) LIMIT 1",
                                    e);
    id[0] = '\0';
    if (!q || state_bind(q, "i", now) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW) {
        state_column(q, 0, id, STATE_ID_SIZE);
    }
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for a batch that is waited for");
    (void)sqlite3_reset(q);
    return rc;
}

int state_batches_close_waited(struct state *s, int *closed, struct err *e)
{
    int64_t now = clock_wall_ms();
    char id[STATE_ID_SIZE];
    *closed = 0;
    int rc = find_waited(s, now, id, e);
    if (rc != 0 || !id[0] || (rc = state_begin(s, e)) != 0) {
        return rc;
    }
    int count = 0;
    while (rc == 0 && id[0] && count < CLOSE_MAX) {
        rc = state_batch_close(s, id, "its senders wait", now, e);
        count++;
        rc = rc == 0 ? find_waited(s, now, id, e) : rc;
    }
    rc = state_end(s, rc, e);
    *closed = rc == 0 ? count : 0;
    return rc;
}
