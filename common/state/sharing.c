/*
 * sharing - small studies share a batch, and so an import job, when starts are scarce: with one start a second, hundreds of studies of one image each
 * would wait for one another.
 *
 * Which batch an instance goes to is decided before its upload, because its key lies below the batch's prefix; so nobody knows yet how large its study
 * will be. The first images of every new study go into the shared batch; a study that grows beyond share_max_count goes on in a batch of its own. It
 * begins when more batches of the destination are not yet started than the bucket lets start in the time that is allowed, and ends by itself when they
 * are fewer. What is urgent never shares. A shared batch has no study_uid; it closes a quiet time after it was opened, however many still come.
 */
#include "common/runtime/runtime.h"
#include "common/state/internal.h"

#include <string.h>

/* The open shared batch of the instance's destination. */
struct shared {
    char id[STATE_ID_SIZE]; /* "" if there is none */
    int64_t count, bytes, of_study; /* in all; of this study */
};

static int look(struct state *s, const char *id, const char *study_uid, struct shared *out, struct err *e)
{
    *out = (struct shared){.count = 0};
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT b.id, b.instance_count, b.bytes, (SELECT t.instance_count FROM shared_study AS t WHERE t.batch = b.id AND t.study_uid = ?2) "
                                    "FROM batch AS b INDEXED BY batch_open WHERE b.state = 'open' AND b.study_uid IS NULL AND b.split_of IS NULL "
                                    "AND b.destination = (SELECT destination FROM instance WHERE id = ?1) LIMIT 1",
                                    e);
    if (!q || state_bind(q, "tt", id, study_uid) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW) {
        state_column(q, 0, out->id, sizeof out->id);
        out->count = sqlite3_column_int64(q, 1);
        out->bytes = sqlite3_column_int64(q, 2);
        out->of_study = sqlite3_column_int64(q, 3);
    }
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for a shared batch");
    (void)sqlite3_reset(q);
    return rc;
}

/* Are more batches of the destination open or closed than may be? Counts no further than that. */
static int is_scarce(struct state *s, const char *id, int64_t above, bool *scarce, struct err *e)
{
    int64_t waiting = 0;
    int rc = state_number(s, &waiting, 0, e,
                          "SELECT (SELECT count(*) FROM (SELECT 1 FROM batch INDEXED BY batch_closed WHERE state = 'closed' AND owner IS NULL "
                          "AND destination = d.destination LIMIT ?2)) + (SELECT count(*) FROM (SELECT 1 FROM batch INDEXED BY batch_open WHERE state = 'open' "
                          "AND destination = d.destination LIMIT ?2)) FROM instance AS d WHERE d.id = ?1",
                          "ti", id, above + 1);
    *scarce = waiting > above;
    return rc;
}

static int open_shared(struct state *s, const char *id, int64_t now, char batch[STATE_ID_SIZE], struct err *e)
{
    id_new(batch);
    int rc = state_run(s, NULL, e,
                       "INSERT INTO batch (id, study_uid, destination, opened_ms, last_added_ms) "
                       "VALUES (?1, NULL, (SELECT destination FROM instance WHERE id = ?2), ?3, ?3)",
                       "tti", batch, id, now);
    return rc ? rc : state_batch_event(s, batch, "", "open", NULL, "small studies share it: starts of import jobs are scarce", now, e);
}

int state_share_batch(struct state *s, const char *id, const char *study_uid, int64_t bytes, const struct state_batch_limits *limits, int64_t now,
                      char batch[STATE_ID_SIZE], struct err *e)
{
    struct shared there;
    bool joins = false;
    int64_t urgent = 0;
    batch[0] = '\0';
    int rc = limits->share_above_count > 0 ? state_number(s, &urgent, 0, e, "SELECT urgent FROM instance WHERE id = ?1", "t", id) : 0;
    if (rc != 0 || urgent || limits->share_above_count <= 0) {
        return rc;
    }
    rc = look(s, id, study_uid, &there, e);
    if (rc == 0 && there.of_study > 0) {
        joins = there.of_study < limits->share_max_count;
    } else if (rc == 0) {
        rc = is_scarce(s, id, limits->share_above_count, &joins, e);
    }
    if (rc != 0 || !joins) {
        return rc;
    }
    if (there.id[0] && (there.count + 1 > limits->max_count || there.bytes + bytes > limits->max_bytes)) {
        rc = state_batch_close(s, there.id, "full", now, e);
        there.id[0] = '\0';
    }
    if (there.id[0]) {
        (void)memcpy(batch, there.id, sizeof there.id);
    } else {
        rc = rc ? rc : open_shared(s, id, now, batch, e);
    }
    return rc ? rc
              : state_run(s, NULL, e,
                          "INSERT INTO shared_study (batch, study_uid, instance_count) VALUES (?1, ?2, 1) "
                          "ON CONFLICT (batch, study_uid) DO UPDATE SET instance_count = instance_count + 1",
                          "tt", batch, study_uid);
}
