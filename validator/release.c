/* release - when spool files may go, and quarantined ones to their folder: the validator's work in idle moments. */
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "common/spool/spool.h"
#include "validator/validator.h"

#include <string.h>

enum { RELEASE_MAX = 200, RELEASE_MS = 500, UNFINISHED_MAX = 1024 };

/* Unlink first, then the mark; a crash between repeats the unlink. Goes on while there are more, for RELEASE_MS: otherwise a
 * fast site would fill its disk with what may go. A file that cannot be removed does not hold up the others. */
static void release_kind(struct validator *v, bool is_dropped)
{
    static char ids[RELEASE_MAX][STATE_ID_SIZE];
    struct err e = {0};
    int64_t end = clock_mono_ms() + RELEASE_MS;
    int64_t keep_ms = config_int(v->worker.config, is_dropped ? CFG_SPOOL_KEEP_DROPPED_S : CFG_SPOOL_KEEP_IMPORTED_S) * 1000;
    size_t count = RELEASE_MAX;
    size_t done = 1;
    while (count == RELEASE_MAX && done > 0 && clock_mono_ms() < end && !stop_requested()) {
        if ((is_dropped ? state_releasable_dropped : state_releasable)(v->state, keep_ms, ids, RELEASE_MAX, &count, &e) != 0) {
            return;
        }
        done = 0;
        for (size_t i = 0; i < count; i++) {
            if (spool_release(v->home, ids[i], &e) == 0) {
                memmove(ids[done++], ids[i], sizeof ids[i]); /* may be the same place */
            } else {
                log_warning("file_not_released", "instance=%s reason=\"%s\"", ids[i], e.text);
            }
        }
        if (state_released(v->state, ids, done, &e) != 0) {
            return;
        }
    }
}

void release_files(struct validator *v)
{
    release_kind(v, false);
    release_kind(v, true);
}

/* COMMIT of `quarantined` first, then the rename: a validator that died in between left the file in obj/. It can only be one of the newest. */
void finish_quarantine(struct validator *v)
{
    static char ids[UNFINISHED_MAX][STATE_ID_SIZE];
    struct err e = {0};
    size_t count = 0;
    v->is_move_left = false;
    if (state_quarantined_last(v->state, ids, UNFINISHED_MAX, &count, &e) != 0) {
        log_warning("quarantine_not_looked_at", "reason=\"%s\"", e.text);
    }
    for (size_t i = 0; i < count; i++) {
        int rc = spool_quarantine(v->home, ids[i], &e);
        if (rc != 0 && rc != ERR_NOT_FOUND) {
            v->is_move_left = true;
            log_warning("file_not_quarantined", "instance=%s reason=\"%s\"", ids[i], e.text);
        }
    }
}
