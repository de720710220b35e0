/*
 * keys - in which bucket and under which key of S3 an instance is put. Decided once and recorded before anything is sent, so that neither a retry nor a changed setting makes
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

/* The place of one instance of the batch, empty if none of them has one. */
static int place_of_batch(struct state *s, const char *batch, struct state_place *place, struct err *e)
{
    sqlite3_stmt *q = state_prepare(s, "SELECT s3_key, bucket FROM instance WHERE batch = ?1 AND s3_key IS NOT NULL LIMIT 1", e);
    memset(place, 0, sizeof *place);
    if (!q || state_bind(q, "t", batch) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW) {
        state_column(q, 0, place->key, sizeof place->key);
        state_column(q, 1, place->bucket, sizeof place->bucket);
    }
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for a key of the batch");
    (void)sqlite3_reset(q);
    return rc;
}

int state_decide_keys(struct state *s, struct state_instance *claims, size_t count, struct err *e)
{
    static const struct state_place nowhere;
    char batch[STATE_ID_SIZE] = "";
    struct state_place of_batch = nowhere;
    int rc = 0;
    for (size_t i = 0; s->key_maker && rc == 0 && i < count; i++) {
        struct state_instance *c = &claims[i];
        struct state_place place = nowhere;
        if (c->s3_key[0]) {
            continue;
        }
        if (c->batch[0] && (!of_batch.key[0] || strcmp(batch, c->batch) != 0)) {
            memcpy(batch, c->batch, sizeof batch);
            rc = place_of_batch(s, c->batch, &of_batch, e);
        }
        rc = rc ? rc : s->key_maker(s->key_ctx, c, c->batch[0] ? &of_batch : &nowhere, &place, e);
        if (rc == 0 && place.key[0]) {
            rc = state_run(s, NULL, e, "UPDATE instance SET s3_key = ?2, bucket = ?3 WHERE id = ?1", "tte", c->r.id, place.key, place.bucket);
            memcpy(c->s3_key, place.key, sizeof c->s3_key);
            memcpy(c->bucket, place.bucket, sizeof c->bucket);
        }
        if (rc == 0 && c->batch[0]) {
            of_batch = place;
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

int state_bucket_left(struct state *s, const struct state_instance *claim, const struct state_batch_limits *limits, const struct err *why, struct err *e)
{
    int64_t now = clock_wall_ms();
    char batch[STATE_ID_SIZE];
    int changed = 0;
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = state_run(s, &changed, e,
                   "UPDATE instance SET owner = NULL, next_attempt_ms = 0 WHERE id = ?1 AND token = ?2 AND owner = ?3 AND state = 'validated'", "tit",
                   claim->r.id, claim->token, s->worker);
    rc = rc == 0 && changed == 0 ? ERR_FENCED : rc;
    if (rc == 0) {
        rc = state_run(s, NULL, e, "INSERT INTO event (at_ms, instance, batch, who, code, note) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", "iteett", now, claim->r.id,
                       claim->batch, s->worker, err_name(why->code), why->text);
    }
    if (rc == 0 && claim->batch[0]) {
        rc = state_batch_close(s, claim->batch, "its bucket takes nothing any more", now, e);
        rc = rc ? rc : state_assign_batch(s, claim->r.id, claim->study_uid, claim->r.file_bytes, limits, now, batch, e);
    } else if (rc == 0) {
        rc = state_leave_batch(s, claim->r.id, e);
    }
    return state_end(s, rc, e);
}
