/*
 * keys - under which key of S3 an instance is put. Decided once and recorded before anything is sent, so that neither a retry nor a changed setting makes
 * a second object of it. How a key is made is the uploader's business.
 */
#include "common/runtime/runtime.h"
#include "common/state/internal.h"

#include <string.h>

void state_make_keys(struct state *s, state_key_maker make, void *ctx)
{
    s->key_maker = make;
    s->key_ctx = ctx;
}

/* A key of the batch, "" if none of its instances has one. */
static int key_of_batch(struct state *s, const char *batch, char key[STATE_KEY_SIZE], struct err *e)
{
    sqlite3_stmt *q = state_prepare(s, "SELECT s3_key FROM instance WHERE batch = ?1 AND s3_key IS NOT NULL LIMIT 1", e);
    key[0] = '\0';
    if (!q || state_bind(q, "t", batch) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW) {
        state_column(q, 0, key, STATE_KEY_SIZE);
    }
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for a key of the batch");
    (void)sqlite3_reset(q);
    return rc;
}

int state_decide_keys(struct state *s, struct state_instance *claims, size_t count, struct err *e)
{
    char batch[STATE_ID_SIZE] = "";
    char batch_key[STATE_KEY_SIZE] = "";
    int rc = 0;
    for (size_t i = 0; s->key_maker && rc == 0 && i < count; i++) {
        struct state_instance *c = &claims[i];
        if (c->s3_key[0]) {
            continue;
        }
        if (c->batch[0] && (!batch_key[0] || strcmp(batch, c->batch) != 0)) {
            memcpy(batch, c->batch, sizeof batch);
            rc = key_of_batch(s, c->batch, batch_key, e);
        }
        rc = rc ? rc : s->key_maker(s->key_ctx, c, c->batch[0] ? batch_key : "", c->s3_key, e);
        if (rc == 0 && c->s3_key[0]) {
            rc = state_run(s, NULL, e, "UPDATE instance SET s3_key = ?2 WHERE id = ?1", "tt", c->r.id, c->s3_key);
        }
        if (rc == 0 && c->batch[0]) {
            memcpy(batch_key, c->s3_key, sizeof batch_key);
        }
    }
    return rc;
}

int state_key_changed(struct state *s, const struct state_instance *claim, const char *key, const struct err *why, struct err *e)
{
    int changed = 0;
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = state_run(s, &changed, e,
                   "UPDATE instance SET s3_key = ?4, owner = NULL, next_attempt_ms = 0 WHERE id = ?1 AND token = ?2 AND owner = ?3 AND state = 'validated'",
                   "titt", claim->r.id, claim->token, s->worker, key);
    rc = rc == 0 && changed == 0 ? ERR_FENCED : rc;
    if (rc == 0) {
        rc = state_run(s, NULL, e, "INSERT INTO event (at_ms, instance, batch, who, code, note) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", "iteett",
                       clock_wall_ms(), claim->r.id, claim->batch, s->worker, err_name(why->code), why->text);
    }
    return state_end(s, rc, e);
}
