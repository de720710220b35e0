/*
 * clock - what a clock that is set back would do to waiting rows, and what we do about it.
 *
 * Times in state.db are wall-clock times. A machine that starts with its clock an hour (or a year) ahead writes due times an hour
 * ahead; when the clock is corrected, work would rest until that hour has come. No delay of ours is longer than its horizon below:
 * a row due later than that was written by a clock that ran ahead, and is due now. An open batch that grew in the future would be
 * quiet an hour late: its last growth becomes now. A step back by less than the horizon delays work by that step at most.
 */
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "common/state/internal.h"

enum {
    HORIZON_MS = 900000,       /* backoffs of instances and batches end at 10 minutes */
    POLL_HORIZON_MS = 3900000, /* import_poll_ms goes up to an hour, and jitter; reports of commitments rest 30 minutes */
    OPEN_HORIZON_MS = 2000     /* two machines' clocks may differ a little */
};

/* One look at the far end of each index of work: next to nothing when all is well. */
static const char look[] =
    "SELECT EXISTS (SELECT 1 FROM instance INDEXED BY work_received WHERE state = 'received' AND owner IS NULL AND held = 0 AND next_attempt_ms > ?1)"
    " OR EXISTS (SELECT 1 FROM destination AS d CROSS JOIN instance AS i INDEXED BY work_validated ON i.destination = d.name "
    "WHERE i.state = 'validated' AND i.owner IS NULL AND i.held = 0 AND i.next_attempt_ms > ?1)"
    " OR EXISTS (SELECT 1 FROM destination AS d CROSS JOIN batch AS b INDEXED BY batch_closed ON b.destination = d.name "
    "WHERE b.state = 'closed' AND b.owner IS NULL AND b.next_attempt_ms > ?1)"
    " OR EXISTS (SELECT 1 FROM destination AS d CROSS JOIN batch AS b INDEXED BY batch_starting ON b.destination = d.name "
    "WHERE b.state = 'starting' AND b.owner IS NULL AND b.next_attempt_ms > ?1)"
    " OR EXISTS (SELECT 1 FROM destination AS d CROSS JOIN batch AS b INDEXED BY batch_reconciling ON b.destination = d.name "
    "WHERE b.state = 'reconciling' AND b.owner IS NULL AND b.next_attempt_ms > ?1)"
    " OR EXISTS (SELECT 1 FROM destination AS d CROSS JOIN batch AS b INDEXED BY batch_running ON b.destination = d.name "
    "WHERE b.state = 'running' AND b.owner IS NULL AND b.next_attempt_ms > ?2)"
    " OR EXISTS (SELECT 1 FROM commitment INDEXED BY commitment_waiting WHERE state = 'waiting' AND owner IS NULL AND next_attempt_ms > ?2)"
    " OR EXISTS (SELECT 1 FROM commitment INDEXED BY commitment_reporting WHERE state = 'reporting' AND owner IS NULL AND offered_to IS NULL "
    "AND next_attempt_ms > ?2)"
    " OR EXISTS (SELECT 1 FROM outbox_study INDEXED BY outbox_study_due WHERE due_ms IS NOT NULL AND due_ms > ?2)"
    " OR EXISTS (SELECT 1 FROM outbox INDEXED BY outbox_next WHERE owner IS NULL AND next_attempt_ms > ?2)"
    " OR EXISTS (SELECT 1 FROM batch INDEXED BY batch_open WHERE state = 'open' AND last_added_ms > ?3)";

/* ?1 now, ?2 the horizon as a time */
static const char *const heal[] = {
    "UPDATE instance INDEXED BY work_received SET next_attempt_ms = ?1 WHERE state = 'received' AND owner IS NULL AND held = 0 AND next_attempt_ms > ?2",
    "UPDATE instance INDEXED BY work_validated SET next_attempt_ms = ?1 WHERE state = 'validated' AND owner IS NULL AND held = 0 AND next_attempt_ms > ?2",
    "UPDATE batch INDEXED BY batch_closed SET next_attempt_ms = ?1 WHERE state = 'closed' AND owner IS NULL AND next_attempt_ms > ?2",
    "UPDATE batch INDEXED BY batch_starting SET next_attempt_ms = ?1 WHERE state = 'starting' AND owner IS NULL AND next_attempt_ms > ?2",
    "UPDATE batch INDEXED BY batch_reconciling SET next_attempt_ms = ?1 WHERE state = 'reconciling' AND owner IS NULL AND next_attempt_ms > ?2",
    "UPDATE batch INDEXED BY batch_running SET next_attempt_ms = ?1 WHERE state = 'running' AND owner IS NULL AND next_attempt_ms > ?2",
    "UPDATE commitment INDEXED BY commitment_waiting SET next_attempt_ms = ?1 WHERE state = 'waiting' AND owner IS NULL AND next_attempt_ms > ?2",
    "UPDATE commitment INDEXED BY commitment_reporting SET next_attempt_ms = ?1 WHERE state = 'reporting' AND owner IS NULL AND offered_to IS NULL "
    "AND next_attempt_ms > ?2",
    "UPDATE outbox_study SET due_ms = ?1 WHERE due_ms IS NOT NULL AND due_ms > ?2",
    "UPDATE outbox INDEXED BY outbox_next SET next_attempt_ms = ?1 WHERE owner IS NULL AND next_attempt_ms > ?2",
    "UPDATE batch INDEXED BY batch_open SET last_added_ms = ?1, opened_ms = min(opened_ms, ?1) WHERE state = 'open' AND last_added_ms > ?2"};

int state_clock_heal(struct state *s, struct err *e)
{
    int64_t now = clock_wall_ms();
    const int64_t horizon[] = {now + HORIZON_MS, now + HORIZON_MS,      now + HORIZON_MS,     now + HORIZON_MS,
                               now + HORIZON_MS, now + POLL_HORIZON_MS, now + POLL_HORIZON_MS,
                               now + POLL_HORIZON_MS, now + POLL_HORIZON_MS, now + POLL_HORIZON_MS, now + OPEN_HORIZON_MS};
    int64_t any = 0;
    int64_t rows = 0;
    int rc = state_number(s, &any, 0, e, look, "iii", horizon[0], horizon[5], horizon[10]);
    if (rc != 0 || !any || (rc = state_begin(s, e)) != 0) {
        return rc;
    }
    for (size_t i = 0; rc == 0 && i < sizeof heal / sizeof heal[0]; i++) {
        int changed = 0;
        rc = state_run(s, &changed, e, heal[i], "ii", now, horizon[i]);
        rows += changed;
    }
    rc = state_end(s, rc, e);
    if (rc == 0) {
        log_warning("clock_was_set_back", "rows=%lld effect=\"what was due in a far future is due now\" remedy=\"run a time service\"",
                    (long long)rows);
    }
    return rc;
}
