/*
 * multiparts - multipart uploads that S3 keeps open for us. A row is written before the first part and goes in the commit that says 'uploaded', or when
 * S3 has forgotten the upload: parts that cost storage and that nobody knows of must not be. Their own table, because an upload may outlive its place
 * in a batch: then it is a leftover, to be aborted.
 */
#include "common/runtime/runtime.h"
#include "common/state/internal.h"

#include <string.h>

int state_multipart_find(struct state *s, const struct state_instance *claim, char upload_id[STATE_UPLOAD_ID_SIZE], struct err *e)
{
    sqlite3_stmt *q = state_prepare(s, "SELECT upload_id FROM multipart WHERE s3_key = ?1 AND destination = ?2 AND instance = ?3 AND bucket = ?4", e);
    if (!q || state_bind(q, "tttt", claim->s3_key, claim->destination, claim->r.id, claim->bucket) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for a multipart upload");
    if (rc == 0) {
        upload_id[0] = '\0';
    }
    if (step == SQLITE_ROW) {
        state_column(q, 0, upload_id, STATE_UPLOAD_ID_SIZE);
    }
    (void)sqlite3_reset(q);
    return rc;
}

int state_multipart_keep(struct state *s, const struct state_instance *claim, const char *upload_id, struct err *e)
{
    int changed = 0;
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    if (upload_id[0]) {
        rc = state_run(s, &changed, e,
                       "INSERT INTO multipart (s3_key, bucket, destination, instance, batch, upload_id, began_ms) SELECT ?1, ?7, destination, id, batch, ?2, ?3 FROM instance "
                       "WHERE id = ?4 AND token = ?5 AND owner = ?6 AND state = 'validated' "
                       "ON CONFLICT (s3_key, bucket, destination, instance) DO UPDATE SET batch = excluded.batch, upload_id = excluded.upload_id, began_ms = excluded.began_ms, "
                       "next_attempt_ms = 0",
                       "ttititt", claim->s3_key, upload_id, clock_wall_ms(), claim->r.id, claim->token, s->worker, claim->bucket);
        rc = rc == 0 && changed == 0 ? err_set(e, ERR_FENCED, 0, "another worker has the instance") : rc;
    } else {
        rc = state_run(s, NULL, e,
                       "DELETE FROM multipart WHERE s3_key = ?1 AND bucket = ?6 AND destination = ?5 AND instance = ?2 AND EXISTS (SELECT 1 FROM instance WHERE id = ?2 AND "
                       "token = ?3 AND owner = ?4)",
                       "ttittt", claim->s3_key, claim->r.id, claim->token, s->worker, claim->destination, claim->bucket);
    }
    return state_end(s, rc, e);
}

int state_multipart_leftover(struct state *s, const char *destination, struct state_multipart *out, bool *found, struct err *e)
{
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT m.s3_key, m.destination, m.instance, m.upload_id, m.bucket FROM multipart m LEFT JOIN instance i ON i.id = m.instance "
                                    "WHERE m.destination = ?2 AND m.next_attempt_ms <= ?1 AND (i.id IS NULL OR i.state <> 'validated' OR i.batch IS NOT m.batch "
                                    "OR i.destination <> m.destination OR i.s3_key IS NOT m.s3_key OR ifnull(i.bucket, '') <> m.bucket) LIMIT 1",
                                    e);
    *found = false;
    if (!q || state_bind(q, "it", clock_wall_ms(), destination) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for multipart uploads that were given up");
    if (step == SQLITE_ROW) {
        memset(out, 0, sizeof *out);
        state_column(q, 0, out->s3_key, sizeof out->s3_key);
        state_column(q, 1, out->destination, sizeof out->destination);
        state_column(q, 2, out->instance, sizeof out->instance);
        state_column(q, 3, out->upload_id, sizeof out->upload_id);
        state_column(q, 4, out->bucket, sizeof out->bucket);
        *found = true;
    }
    (void)sqlite3_reset(q);
    return rc;
}

int state_multipart_aborted(struct state *s, const struct state_multipart *m, int64_t next_ms, struct err *e)
{
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    if (next_ms > 0) {
        rc = state_run(s, NULL, e, "UPDATE multipart SET next_attempt_ms = ?3 WHERE s3_key = ?1 AND upload_id = ?2 AND destination = ?4 AND bucket = ?5", "ttitt",
                       m->s3_key, m->upload_id, next_ms, m->destination, m->bucket);
    } else {
        rc = state_run(s, NULL, e, "DELETE FROM multipart WHERE s3_key = ?1 AND upload_id = ?2 AND destination = ?3 AND bucket = ?4", "tttt", m->s3_key, m->upload_id,
                       m->destination, m->bucket);
    }
    return state_end(s, rc, e);
}
