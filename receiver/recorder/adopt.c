/*
 * adopt - complete files without a row (docs/states.md S2): not promised, and not thrown away. A walk over obj/ goes on a few entries at a
 * time between the groups, so a spool of a million files delays nobody.
 *
 * Whose is a file without a row? Perhaps that of an association whose commit is under way, here or in another receiver of this home.
 * So it is adopted when it was received before this receiver began and no other one lived then (every receiver holds a shared
 * lock on spool/receivers.lock; who gets it exclusively is alone), or when it is older than any commit can be. A row that an
 * impatient adoption wrote first does no harm: inserting is idempotent.
 */
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "receiver/recorder/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

enum { ORPHAN_AGE_MS = 30000, LOOK_EVERY_MS = 15000, STEP_FILES = 64, PART_AGE_MS = 86400000 };

int adoption_begin(struct adoption *a, const char *home, struct state *state, struct err *e)
{
    char path[4352];
    int removed = 0;
    *a = (struct adoption){.home = home, .state = state, .lock = -1};
    (void)snprintf(path, sizeof path, "%s/spool/receivers.lock", home);
    a->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (a->lock == -1) {
        return err_set(e, err_from_errno(errno), errno, "%s", path);
    }
    if (flock(a->lock, LOCK_EX | LOCK_NB) == 0) {
        a->dead_before_ms = clock_wall_ms();
        int rc = spool_sweep(home, 0, &removed, e);
        if (rc != 0) {
            return rc;
        }
        if (removed > 0) {
            log_info("unfinished_files_removed", "count=%d reason=\"their receiver is dead; nothing was promised\"", removed);
        }
    }
    while (flock(a->lock, LOCK_SH) == -1) { /* waits for a receiver that is just here, some milliseconds */
        if (errno != EINTR) {
            return err_set(e, ERR_IO, errno, "%s", path);
        }
    }
    return 0;
}

static void adopt(struct adoption *a, const char *id)
{
    bool releasable = false;
    struct err e = {0};
    struct spool_meta meta;
    struct state_received row;
    if (state_instance_known(a->state, id, &releasable, &e) != 0) {
        return;
    }
    int64_t now = clock_wall_ms();
    int rc = spool_read_received(a->home, id, 0, &meta, &e);
    if (rc == 0 && meta.received_ms >= a->dead_before_ms && now - meta.received_ms <= ORPHAN_AGE_MS) {
        return;
    }
    rc = rc == 0 ? spool_change_undo(a->home, id, &e) : rc; /* an older database was brought back: its row is lost, and its verdict */
    rc = rc == 0 ? spool_read_meta(a->home, id, 1, &meta, &e) : rc;
    if (rc == ERR_SPOOL_DAMAGED) {
        /* no row, so hardly promised; but a program throws nothing away on its own judgement */
        log_warning("torn_file_set_aside", "instance=%s room=quarantine remedy=\"look at it, then remove it by hand\"", id);
        (void)spool_quarantine(a->home, id, &e);
    } else if (rc == 0) {
        recorder_fill_row(&row, &meta);
        rc = state_add_received(a->state, &row, 1, &e);
        log_info("instance_adopted", "instance=%s result=%s", id, err_name(rc));
    } else if (rc != ERR_SPOOL_MISSING) { /* refused and removed meanwhile */
        log_warning("adoption_failed", "instance=%s reason=\"%s\"", id, e.text);
    }
}

bool adoption_step(struct adoption *a)
{
    char id[27];
    int removed = 0;
    struct err e = {0};
    if (!a->walk) {
        int64_t now = clock_mono_ms();
        if (now < a->next_at) {
            return false;
        }
        a->next_at = now + LOOK_EVERY_MS; /* moved on again at the end of the look */
        if (spool_sweep(a->home, PART_AGE_MS, &removed, &e) != 0 || spool_walk_begin(&a->walk, a->home, "obj", &e) != 0) {
            log_warning("spool_not_looked_through", "reason=\"%s\"", e.text);
            return false;
        }
    }
    for (int i = 0; i < STEP_FILES; i++) {
        if (!spool_walk_next(a->walk, id)) {
            spool_walk_end(&a->walk);
            a->next_at = clock_mono_ms() + LOOK_EVERY_MS;
            return false;
        }
        adopt(a, id);
    }
    return true;
}

void adoption_end(struct adoption *a)
{
    spool_walk_end(&a->walk);
    if (a->lock != -1) {
        (void)close(a->lock);
        a->lock = -1;
    }
}
