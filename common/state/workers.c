/*
 * workers - who is alive: a registered worker holds flock() on state/workers/<name>.lock. The kernel drops the lock with the
 * process, so a dead worker's claims are free at once; nobody guesses by a timeout.
 */
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "common/state/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RECLAIM_MAX = 64, TURN_MS = 500, MARK_AT = 32, MARK_BYTES = 32 };

static void lock_path(const struct state *s, const char *name, char *path, size_t size)
{
    (void)snprintf(path, size, "%s/state/workers/%s.lock", s->home, name);
}

const char *state_worker_name(const struct state *s)
{
    return s->worker;
}

int state_worker_register(struct state *s, enum state_stage stage, struct err *e)
{
    char id[27];
    id_new(id);
    (void)snprintf(s->worker, sizeof s->worker, "%s-%ld-%s", state_stage_name(stage), (long)getpid(), id + 16);
    lock_path(s, s->worker, s->worker_lock_path, sizeof s->worker_lock_path);
    int rc = lockfile_take(s->worker_lock_path, &s->worker_lock, e);
    if (rc != 0) {
        s->worker[0] = '\0';
        return rc;
    }
    int64_t now = clock_wall_ms();
    rc = state_begin(s, e);
    if (rc == 0) {
        rc = state_run(s, NULL, e,
                       "INSERT INTO worker (name, stage, pid, started_ms, beat_ms, status) VALUES (?1, ?2, ?3, ?4, ?4, 'ready')",
                       "ttii", s->worker, state_stage_name(stage), (int64_t)getpid(), now);
        rc = state_end(s, rc, e);
    }
    return rc;
}

void state_worker_turn(struct state *s)
{
    int64_t now = clock_mono_ms();
    if (s->worker_lock > 0 && now - s->turned_ms >= TURN_MS) {
        (void)futimens(s->worker_lock, NULL);
        s->turned_ms = now;
    }
}

/* Behind the process number, in the block that is there already: a full disk does not matter. A mark that cannot be written is missing. */
void state_worker_mark(struct state *s, const char *id)
{
    char text[MARK_BYTES] = {0};
    (void)snprintf(text, sizeof text, "%s", id);
    if (s->worker_lock > 0 && pwrite(s->worker_lock, text, sizeof text, MARK_AT) != (ssize_t)sizeof text) {
        log_warning("mark_not_written", "instance=%s effect=\"if this process dies, all that it has is suspected\"", id);
    }
}

static void read_mark(const char *path, char mark[MARK_BYTES])
{
    memset(mark, 0, MARK_BYTES);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd != -1) {
        (void)!pread(fd, mark, MARK_BYTES - 1, MARK_AT); /* shorter: there is none */
        (void)close(fd);
    }
}

int state_worker_beat(struct state *s, const char *status, struct err *e)
{
    int rc = state_begin(s, e);
    if (rc == 0) {
        /* OR REPLACE brings the row back after a rebuild or a rash hand in a shell */
        rc = state_run(s, NULL, e,
                       "INSERT INTO worker (name, stage, pid, started_ms, beat_ms, status) "
                       "VALUES (?1, substr(?1, 1, instr(?1, '-') - 1), ?2, ?3, ?3, ?4) "
                       "ON CONFLICT (name) DO UPDATE SET beat_ms = ?3, status = ?4",
                       "tiit", s->worker, (int64_t)getpid(), clock_wall_ms(), status);
        rc = state_end(s, rc, e);
    }
    return rc;
}

/* Everything that a worker held is free again. A death is counted: an instance that kills whoever touches it must be told from the others in
 * time. mark: the one that it had in hand, or "". Inside a transaction. */
static int free_claims(struct state *s, const char *name, bool died, const char *mark, int *freed, struct err *e)
{
    int instances = 0;
    int batches = 0;
    int commitments = 0;
    int rc = state_run(s, &instances, e, "UPDATE instance SET owner = NULL, deaths = CASE ?3 WHEN '' THEN max(deaths, ?2) ELSE deaths + (id = ?3) END WHERE owner = ?1",
                       "tit", name, (int64_t)died, mark);
    if (rc == 0) {
        rc = state_run(s, &batches, e, "UPDATE batch SET owner = NULL WHERE owner = ?1", "t", name);
    }
    if (rc == 0) {
        rc = state_run(s, &commitments, e, "UPDATE commitment SET owner = NULL WHERE owner = ?1", "t", name);
    }
    if (rc == 0) { /* its associations are gone with it: reports go another way */
        rc = state_run(s, NULL, e, "UPDATE commitment SET offered_to = NULL WHERE offered_to = ?1", "t", name);
    }
    if (rc == 0) { /* what it was telling is told again */
        rc = state_run(s, NULL, e, "UPDATE outbox SET owner = NULL WHERE owner = ?1", "t", name);
    }
    if (rc == 0) {
        rc = state_run(s, NULL, e, "DELETE FROM worker WHERE name = ?1", "t", name);
    }
    *freed += instances + batches + commitments;
    return rc;
}

int state_worker_unregister(struct state *s, struct err *e)
{
    int freed = 0;
    int rc = state_begin(s, e);
    if (rc == 0) {
        rc = state_end(s, free_claims(s, s->worker, false, "", &freed, e), e);
    }
    (void)unlink(s->worker_lock_path);
    if (s->worker_lock != -1) {
        (void)close(s->worker_lock);
        s->worker_lock = -1;
    }
    return rc;
}

int state_reclaim(struct state *s, int *freed, struct err *e)
{
    char names[RECLAIM_MAX][STATE_WORKER_SIZE];
    size_t count = 0;
    *freed = 0;
    /* owners without a worker row count too: the row may be gone, the claim must not stay for ever */
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT name FROM worker UNION SELECT owner FROM instance WHERE owner IS NOT NULL "
                                    "UNION SELECT owner FROM batch WHERE owner IS NOT NULL "
                                    "UNION SELECT owner FROM commitment WHERE owner IS NOT NULL "
                                    "UNION SELECT owner FROM outbox WHERE owner IS NOT NULL "
                                    "UNION SELECT offered_to FROM commitment WHERE offered_to IS NOT NULL",
                                    e);
    if (!q) {
        return ERR_DATABASE;
    }
    int step;
    while ((step = sqlite3_step(q)) == SQLITE_ROW && count < RECLAIM_MAX) {
        char path[4352];
        state_column(q, 0, names[count], sizeof names[count]);
        lock_path(s, names[count], path, sizeof path);
        if (strcmp(names[count], s->worker) != 0 && lockfile_is_free(path, NULL)) {
            count++;
        }
    }
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for dead workers");
    (void)sqlite3_reset(q);
    if (rc != 0 || count == 0) {
        return rc;
    }
    rc = state_begin(s, e);
    if (rc == 0) {
        for (size_t i = 0; rc == 0 && i < count; i++) {
            char path[4352];
            char mark[MARK_BYTES];
            lock_path(s, names[i], path, sizeof path);
            read_mark(path, mark);
            rc = free_claims(s, names[i], true, mark, freed, e);
        }
        rc = state_end(s, rc, e);
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        char path[4352];
        lock_path(s, names[i], path, sizeof path);
        (void)unlink(path);
        log_info("worker_reclaimed", "worker=%s claims=%d", names[i], *freed);
    }
    return rc;
}
