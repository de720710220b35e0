/* overdue - import jobs that do not end: noticed once, followed on, given up only by a person. */
#include "common/runtime/runtime.h"
#include "common/state/internal.h"

#include <stdio.h>

int state_batch_overdue(struct state *s, struct state_batch *b, const char *job_status, const struct err *why, int64_t next_ms, bool *first,
                        struct err *e)
{
    int changed = 0;
    int64_t known = 0;
    int64_t now = clock_wall_ms();
    int rc = state_begin(s, e);
    *first = false;
    if (rc != 0) {
        return rc;
    }
    rc = state_number(s, &known, 0, e, "SELECT overdue_ms FROM batch WHERE id = ?1", "t", b->id);
    rc = rc ? rc
            : state_run(s, &changed, e,
                        "UPDATE batch SET owner = NULL, next_attempt_ms = ?4, attempts = 0, error_code = ?5, error_text = ?6, "
                        "overdue_ms = ifnull(overdue_ms, ?7) WHERE id = ?1 AND token = ?2 AND owner = ?3 AND state = 'running'",
                        "tititti", b->id, b->token, s->worker, next_ms, err_name(why->code), why->text, now);
    if (rc == 0 && changed == 0) {
        rc = err_set(e, ERR_FENCED, 0, "batch %s is no longer ours", b->id);
    }
    rc = rc ? rc : state_run(s, NULL, e, "UPDATE import_job SET jobStatus = ?2 WHERE batch = ?1", "tt", b->id, job_status);
    if (rc == 0 && known == 0) {
        rc = state_batch_event(s, b->id, NULL, NULL, err_name(why->code), why->text, now, e);
    }
    rc = state_end(s, rc, e);
    *first = rc == 0 && known == 0;
    return rc;
}

int state_job_give_up(struct state *s, const char *batch, const char *reason, struct err *e)
{
    char note[300];
    int changed = 0;
    int64_t busy = 0;
    int64_t now = clock_wall_ms();
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    (void)snprintf(note, sizeof note, "given up by %.60s%s%.200s", s->worker, reason ? ": " : "", reason ? reason : "");
    rc = state_number(s, &busy, 0, e, "SELECT 1 FROM batch WHERE id = ?1 AND state = 'running' AND overdue_ms IS NOT NULL AND owner IS NOT NULL", "t", batch);
    if (rc == 0 && busy) {
        rc = err_set(e, ERR_BUSY, 0, "an importer looks at the job of batch %s at this moment: once more", batch);
    }
    rc = rc ? rc
            : state_run(s, &changed, e,
                        "UPDATE batch SET state = 'reconciling', attempts = 0, error_code = NULL, error_text = NULL, next_attempt_ms = ?2 "
                        "WHERE id = ?1 AND state = 'running' AND overdue_ms IS NOT NULL AND owner IS NULL",
                        "ti", batch, now);
    if (rc == 0 && changed == 0) {
        rc = err_set(e, ERR_NOT_FOUND, 0, "no import job of a batch %s runs longer than import_job_s; `storescpctl stuck` shows those that do", batch);
    }
    rc = rc ? rc : state_run(s, NULL, e, "UPDATE import_job SET jobStatus = 'GIVEN_UP', message = ?2, endedAt = ?3 WHERE batch = ?1", "tti", batch, note, now);
    rc = rc ? rc : state_batch_event(s, batch, "running", "reconciling", NULL, note, now, e);
    return state_end(s, rc, e);
}
