/*
 * split - a job that FAILED as a whole, perhaps because of one file, does not drag the mates of that file along until all of them have used up their
 * attempts: what it left goes into two new batches of half the size, again and again, until the file is alone. Such a piece takes nothing else (split_of).
 *
 * Whose fault is it? HealthImaging does not say what makes a job fail as a whole. When another job of the data store COMPLETED since this batch
 * (of a piece: the batch that it is a part of) was closed, it is something in this batch: then it is halved at once and its instances are not charged, unless its other half failed, too. When
 * nothing succeeds (a role, a bucket, an outage that looks like this) every instance is charged, as ever: the batch is tried once more as a whole, then
 * halved, and import_attempts bounds it all (sixteen jobs with five attempts).
 */
#include "common/runtime/runtime.h"
#include "common/state/internal.h"

#include <string.h>

int state_split_decide(struct state *s, const struct state_batch *b, const struct err *why, struct state_split *out, struct err *e)
{
    int64_t left = 0;
    int64_t tried = 0;
    int64_t others_succeed = 0;
    int64_t is_piece = 0;
    int64_t sibling_failed = 0;
    *out = (struct state_split){.charged = true};
    if (why->code != ERR_IMPORT_JOB_FAILED || strcmp(b->job_status, "FAILED") != 0) {
        return 0;
    }
    int rc = state_number(s, &left, 0, e, "SELECT count(*) FROM instance INDEXED BY instance_batch WHERE batch = ?1 AND state = 'importing'", "t", b->id);
    rc = rc ? rc : state_number(s, &tried, 0, e, "SELECT max(import_attempts) FROM instance INDEXED BY instance_batch WHERE batch = ?1 AND state = 'importing'", "t", b->id);
    rc = rc ? rc
            : state_number(s, &others_succeed, 0, e,
                           "SELECT 1 FROM import_job INDEXED BY job_completed WHERE jobStatus = 'COMPLETED' AND endedAt >= (SELECT min(p.closed_ms) FROM batch AS p "
                           "WHERE p.id IN (?1, (SELECT split_of FROM batch WHERE id = ?1))) AND datastoreId = ?2 LIMIT 1",
                           "tt", b->id, b->datastore_id);
    rc = rc ? rc : state_number(s, &is_piece, 0, e, "SELECT split_of IS NOT NULL FROM batch WHERE id = ?1", "t", b->id);
    if (rc == 0 && is_piece) {
        rc = state_number(s, &sibling_failed, 0, e,
                          "SELECT 1 FROM batch AS o INDEXED BY batch_split JOIN import_job AS j ON j.batch = o.id WHERE o.split_of = (SELECT split_of FROM batch "
                          "WHERE id = ?1) AND o.id <> ?1 AND j.jobStatus = 'FAILED' LIMIT 1",
                          "t", b->id);
    }
    if (rc == 0 && left > 1 && (others_succeed || is_piece || tried > 0)) {
        out->piece_max = (left + 1) / 2;
        out->charged = !others_succeed || sibling_failed;
    }
    return rc;
}

int state_split_take(struct state *s, const struct state_batch *b, struct state_split *split, const char *id, int64_t bytes, int64_t now, struct err *e)
{
    int rc = 0;
    if (!split->piece[0] || split->in_piece >= split->piece_max) {
        id_new(split->piece);
        split->in_piece = 0;
        rc = state_run(s, NULL, e,
                       "INSERT INTO batch (id, study_uid, destination, urgent, split_of, opened_ms, last_added_ms) "
                       "SELECT ?1, study_uid, destination, urgent, id, ?3, ?3 FROM batch WHERE id = ?2",
                       "tti", split->piece, b->id, now);
        rc = rc ? rc : state_batch_event(s, split->piece, "", "open", "SPLIT", "a part of a batch whose job failed", now, e);
    }
    split->in_piece++;
    rc = rc ? rc : state_run(s, NULL, e, "UPDATE batch SET instance_count = instance_count + 1, bytes = bytes + ?2, last_added_ms = ?3 WHERE id = ?1", "tii",
                             split->piece, bytes, now);
    return rc ? rc : state_run(s, NULL, e, "UPDATE instance SET batch = ?2, s3_key = NULL, bucket = NULL, etag = NULL WHERE id = ?1", "tt", id, split->piece);
}

int state_split_end(struct state *s, const struct state_batch *b, int64_t now, struct err *e)
{
    int rc = state_run(s, NULL, e,
                       "INSERT INTO event (at_ms, batch, from_state, to_state, who, note) SELECT ?2, id, 'open', 'closed', ?3, 'takes nothing else' "
                       "FROM batch INDEXED BY batch_split WHERE split_of = ?1 AND state = 'open'",
                       "tit", b->id, now, s->worker);
    return rc ? rc
              : state_run(s, NULL, e,
                          "UPDATE batch INDEXED BY batch_split SET state = 'closed', closed_ms = ?2, next_attempt_ms = ?2 - urgent * ?3 "
                          "WHERE split_of = ?1 AND state = 'open'",
                          "tii", b->id, now, (int64_t)STATE_URGENT_AHEAD_MS);
}
