/*
 * state - opening, migrating, the write lock, transactions, workers, checkpoints. The rules behind it:
 *
 * - SQLite's busy handler sleeps and starves writers; every writer takes flock(state/write.lock) before BEGIN IMMEDIATE. The
 *   kernel queues the waiters fairly and drops the lock with its process.
 * - Debian's 3.40.1 carries the WAL-reset bug for several connections; so no connection checkpoints by itself, and the
 *   housekeeper's RESTART checkpoint runs under that same write lock, when no writer can reset the log. RESTART, not TRUNCATE:
 *   the log is written again from its beginning, and a sync of blocks that are there already costs a third of one that lengthens
 *   a file, because the file system has nothing of its own to commit.
 * - synchronous=FULL: a COMMIT that returned is on the disk (promise 1).
 */
#include "common/state/internal.h"

#include "common/runtime/log.h"
#include "common/runtime/runtime.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

extern const char state_schema_1[];

enum { SCHEMA_VERSION = 1, BUSY_MS = 30000, CHECKPOINT_BYTES = 16 << 20, CHECKPOINT_PAUSE_MS = 5000, LOG_WARN_BYTES = 64 << 20, FRAME_BYTES = 4096 + 24 };

const char *state_stage_name(enum state_stage stage)
{
    static const char *const names[STAGE_COUNT] = {"receiver", "validator", "uploader", "importer"};
    return stage < STAGE_COUNT ? names[stage] : stage == STAGE_NOTIFIER ? "notifier" : "?";
}

int state_sql_error(struct state *s, struct err *e, const char *what)
{
    int code = sqlite3_extended_errcode(s->db);
    int primary = code & 0xff;
    int rc = primary == SQLITE_FULL                                  ? ERR_DISK_FULL
             : primary == SQLITE_BUSY || primary == SQLITE_LOCKED    ? ERR_BUSY
             : primary == SQLITE_NOMEM                               ? ERR_MEMORY
                                                                     : ERR_DATABASE;
    return err_set(e, rc, 0, "state.db: %s: %s (SQLite %d)", what, sqlite3_errmsg(s->db), code);
}

/* ---- statements ------------------------------------------------------------------------------------------------------ */

sqlite3_stmt *state_prepare(struct state *s, const char *literal, struct err *e)
{
    for (size_t i = 0; i < s->statement_count; i++) {
        if (s->statements[i].sql == literal) {
            sqlite3_stmt *q = s->statements[i].statement;
            (void)sqlite3_reset(q);
            (void)sqlite3_clear_bindings(q);
            return q;
        }
    }
    if (s->statement_count == STATE_STATEMENTS_MAX) {
        (void)err_set(e, ERR_ARGUMENT, 0, "state.db: more statements than STATE_STATEMENTS_MAX");
        return NULL;
    }
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v3(s->db, literal, -1, SQLITE_PREPARE_PERSISTENT, &q, NULL) != SQLITE_OK) {
        (void)state_sql_error(s, e, "prepare");
        return NULL;
    }
    s->statements[s->statement_count].sql = literal;
    s->statements[s->statement_count++].statement = q;
    return q;
}

static int bind_list(sqlite3_stmt *q, const char *format, va_list args)
{
    int rc = SQLITE_OK;
    for (int i = 1; format[i - 1] && rc == SQLITE_OK; i++) {
        const char *text;
        switch (format[i - 1]) {
        case 't':
        case 'e':
            text = va_arg(args, const char *);
            rc = !text || (format[i - 1] == 'e' && !text[0]) ? sqlite3_bind_null(q, i)
                                                             : sqlite3_bind_text(q, i, text, -1, SQLITE_TRANSIENT);
            break;
        case 'i':
            rc = sqlite3_bind_int64(q, i, va_arg(args, int64_t));
            break;
        case 'd':
            rc = sqlite3_bind_double(q, i, va_arg(args, double));
            break;
        default:
            rc = sqlite3_bind_null(q, i);
            break;
        }
    }
    return rc;
}

int state_bind(sqlite3_stmt *q, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int rc = bind_list(q, format, args);
    va_end(args);
    return rc == SQLITE_OK ? 0 : ERR_DATABASE;
}

int state_step(struct state *s, sqlite3_stmt *q, int *changed, struct err *e)
{
    int step;
    do {
        step = sqlite3_step(q);
    } while (step == SQLITE_ROW);
    if (step != SQLITE_DONE) {
        int rc = state_sql_error(s, e, "write");
        (void)sqlite3_reset(q);
        return rc;
    }
    if (changed) {
        *changed = sqlite3_changes(s->db);
    }
    (void)sqlite3_reset(q);
    return 0;
}

int state_run(struct state *s, int *changed, struct err *e, const char *literal, const char *format, ...)
{
    sqlite3_stmt *q = state_prepare(s, literal, e);
    if (!q) {
        return e && e->code ? e->code : ERR_DATABASE;
    }
    va_list args;
    va_start(args, format);
    int rc = bind_list(q, format, args);
    va_end(args);
    return rc == SQLITE_OK ? state_step(s, q, changed, e) : state_sql_error(s, e, "bind");
}

int state_number(struct state *s, int64_t *out, int64_t fallback, struct err *e, const char *literal, const char *format, ...)
{
    sqlite3_stmt *q = state_prepare(s, literal, e);
    if (!q) {
        return e && e->code ? e->code : ERR_DATABASE;
    }
    va_list args;
    va_start(args, format);
    int rc = bind_list(q, format, args);
    va_end(args);
    int step = rc == SQLITE_OK ? sqlite3_step(q) : SQLITE_ERROR;
    if (step == SQLITE_ROW && sqlite3_column_type(q, 0) != SQLITE_NULL) {
        *out = sqlite3_column_int64(q, 0);
    } else if (step == SQLITE_ROW || step == SQLITE_DONE) {
        *out = fallback;
    } else {
        rc = state_sql_error(s, e, "read");
        (void)sqlite3_reset(q);
        return rc;
    }
    (void)sqlite3_reset(q);
    return 0;
}

void state_column(sqlite3_stmt *q, int column, char *buffer, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(q, column);
    (void)snprintf(buffer, size, "%s", text ? text : "");
}

/* ---- transactions ------------------------------------------------------------------------------------------------------ */

static int write_lock(struct state *s, struct err *e)
{
    while (flock(s->write_lock, LOCK_EX) == -1) {
        if (errno != EINTR) {
            return err_set(e, ERR_IO, errno, "state/write.lock");
        }
    }
    return 0;
}

static void write_unlock(struct state *s)
{
    (void)flock(s->write_lock, LOCK_UN);
}

/* Is the file that we write to still the one with the name? */
static int check_name(const struct state *s, struct err *e)
{
    char path[4352];
    struct stat info;
    (void)snprintf(path, sizeof path, "%s/state/state.db", s->home);
    if (stat(path, &info) == 0 && info.st_ino == s->inode && info.st_dev == s->device) {
        return 0;
    }
    return err_set(e, ERR_DATABASE, 0, "%s was removed or replaced while this process had it open: put it back, or stop everything and "
                   "run `storescpctl rebuild`", path);
}

int state_begin(struct state *s, struct err *e)
{
    if (s->readonly) {
        return err_set(e, ERR_ARGUMENT, 0, "state.db was opened for reading only");
    }
    state_worker_turn(s);
    int rc = write_lock(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = check_name(s, e);
    rc = rc == 0 ? state_run(s, NULL, e, "BEGIN IMMEDIATE", "") : rc;
    if (rc != 0) {
        write_unlock(s);
    }
    return rc;
}

int state_end(struct state *s, int rc, struct err *e)
{
    if (rc == 0) {
        rc = state_run(s, NULL, e, "COMMIT", "");
        if (rc != 0 && sqlite3_extended_errcode(s->db) == SQLITE_IOERR_FSYNC) {
            /* The frames stand complete in the log. The next commit overwrites them; a crash before that brings them back. */
            rc = err_set(e, ERR_COMMIT_UNKNOWN, 0, "state.db: the sync of a commit failed: check the disk");
        }
    }
    if (rc != 0 && !sqlite3_get_autocommit(s->db)) {
        (void)state_run(s, NULL, NULL, "ROLLBACK", "");
    }
    write_unlock(s);
    return rc;
}

/* ---- opening -------------------------------------------------------------------------------------------------------------- */

static int execute(struct state *s, const char *sql, struct err *e)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : state_sql_error(s, e, "set up");
}

static int user_version(struct state *s, int *version, struct err *e)
{
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v2(s->db, "PRAGMA user_version", -1, &q, NULL) != SQLITE_OK || sqlite3_step(q) != SQLITE_ROW) {
        int rc = state_sql_error(s, e, "read its version");
        (void)sqlite3_finalize(q);
        return rc;
    }
    *version = sqlite3_column_int(q, 0);
    (void)sqlite3_finalize(q);
    return 0;
}

/* Brings the schema to SCHEMA_VERSION, one transaction a version. Under the write lock. */
static int migrate(struct state *s, struct err *e)
{
    static const char *const steps[SCHEMA_VERSION] = {state_schema_1};
    int version = 0;
    int rc = user_version(s, &version, e);
    while (rc == 0 && version < SCHEMA_VERSION) {
        char done[64];
        (void)snprintf(done, sizeof done, "PRAGMA user_version = %d", version + 1);
        rc = execute(s, "BEGIN IMMEDIATE", e);
        if (rc == 0 && (rc = execute(s, steps[version], e)) == 0 && (rc = execute(s, done, e)) == 0) {
            rc = execute(s, "COMMIT", e);
        }
        if (rc != 0) {
            (void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
        }
        version++;
    }
    if (rc == 0 && version > SCHEMA_VERSION) {
        rc = err_set(e, ERR_SCHEMA, 0,
                     "state.db has schema version %d, this program knows %d: start the newer programs on this home", version,
                     SCHEMA_VERSION);
    }
    return rc;
}

static int open_database(struct state *s, int flags, struct err *e)
{
    char path[4352];
    (void)snprintf(path, sizeof path, "%s/state/state.db", s->home);
    if (sqlite3_open_v2(path, &s->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, NULL) != SQLITE_OK) {
        return err_set(e, ERR_DATABASE, 0, "%s: %s", path, s->db ? sqlite3_errmsg(s->db) : "out of memory");
    }
    struct stat info;
    if (stat(path, &info) == -1) {
        return err_set(e, ERR_DATABASE, errno, "%s", path);
    }
    s->device = info.st_dev;
    s->inode = info.st_ino;
    (void)sqlite3_extended_result_codes(s->db, 1);
    (void)sqlite3_busy_timeout(s->db, BUSY_MS);
    return 0;
}

/* Does a room of the spool hold an instance's file? */
static bool room_has_files(const char *home, const char *room)
{
    char path[4352];
    bool found = false;
    (void)snprintf(path, sizeof path, "%s/spool/%s", home, room);
    DIR *directory = opendir(path);
    struct dirent *entry;
    while (directory && !found && (entry = readdir(directory)) != NULL) {
        size_t length = strlen(entry->d_name);
        found = length > 4 && strcmp(entry->d_name + length - 4, ".dcm") == 0;
    }
    if (directory) {
        (void)closedir(directory);
    }
    return found;
}

/* After each commit of ours: how long the log is by now, those of others included. */
static int on_commit(void *ctx, sqlite3 *db, const char *database, int frames)
{
    (void)db;
    (void)database;
    ((struct state *)ctx)->log_frames = frames;
    return SQLITE_OK;
}

int state_open(struct state **out, const char *home, struct err *e)
{
    char path[4352];
    (void)snprintf(path, sizeof path, "%s/state/rebuild.unfinished", home);
    if (access(path, F_OK) == 0) {
        return err_set(e, ERR_SCHEMA, 0, "a rebuild of the database was cut off: run `storescpctl rebuild` again");
    }
    (void)snprintf(path, sizeof path, "%s/state/state.db", home);
    if (access(path, F_OK) != 0 && (room_has_files(home, "obj") || room_has_files(home, "quarantine"))) {
        return err_set(e, ERR_SCHEMA, 0, "%s is missing, but the spool holds images: put it back, or run `storescpctl rebuild`; with a new "
                       "one, images would be sent twice", path);
    }
    return state_open_always(out, home, e);
}

int state_open_always(struct state **out, const char *home, struct err *e)
{
    struct state *s = calloc(1, sizeof *s);
    if (!s) {
        return err_set(e, ERR_MEMORY, 0, "cannot open state.db");
    }
    s->worker_lock = -1;
    (void)snprintf(s->home, sizeof s->home, "%s", home);
    char path[4352];
    (void)snprintf(path, sizeof path, "%s/state/workers", home);
    int rc = directory_make(path, e);
    (void)snprintf(path, sizeof path, "%s/state/write.lock", home);
    s->write_lock = rc == 0 ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (rc == 0 && s->write_lock == -1) {
        rc = err_set(e, err_from_errno(errno), errno, "%s", path);
    }
    bool locked = false;
    if (rc == 0 && (rc = write_lock(s, e)) == 0) {
        locked = true;
        mode_t old = umask(077);
        rc = open_database(s, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, e);
        if (rc == 0) {
            rc = execute(s,
                         "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;"
                         "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA mmap_size = 0;"
                         "PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 67108864",
                         e);
            (void)sqlite3_wal_hook(s->db, on_commit, s); /* after wal_autocheckpoint, which uses the same hook */
        }
        if (rc == 0) {
            rc = migrate(s, e);
        }
        (void)umask(old);
    }
    if (locked) {
        write_unlock(s);
    }
    if (rc != 0) {
        state_close(&s);
        return rc;
    }
    *out = s;
    return 0;
}

int state_open_readonly(struct state **out, const char *home, struct err *e)
{
    struct state *s = calloc(1, sizeof *s);
    if (!s) {
        return err_set(e, ERR_MEMORY, 0, "cannot open state.db");
    }
    s->worker_lock = s->write_lock = -1;
    s->readonly = true;
    (void)snprintf(s->home, sizeof s->home, "%s", home);
    int version = 0;
    int rc = open_database(s, SQLITE_OPEN_READONLY, e);
    if (rc == 0) {
        rc = user_version(s, &version, e);
    }
    if (rc == 0 && version != SCHEMA_VERSION) {
        rc = err_set(e, ERR_SCHEMA, 0, "state.db has schema version %d, this program knows %d", version, SCHEMA_VERSION);
    }
    if (rc != 0) {
        state_close(&s);
        return rc;
    }
    *out = s;
    return 0;
}

void state_close(struct state **s)
{
    if (!s || !*s) {
        return;
    }
    for (size_t i = 0; i < (*s)->statement_count; i++) {
        (void)sqlite3_finalize((*s)->statements[i].statement);
    }
    if ((*s)->db) {
        (void)sqlite3_close((*s)->db);
    }
    if ((*s)->write_lock > 0) {
        (void)close((*s)->write_lock);
    }
    if ((*s)->worker_lock > 0) {
        (void)close((*s)->worker_lock);
    }
    free(*s);
    *s = NULL;
}

int state_housekeep(struct state *s, struct err *e)
{
    int rc = state_clock_heal(s, e);
    return rc != 0 ? rc : state_checkpoint(s, e);
}

int state_checkpoint(struct state *s, struct err *e)
{
    if ((int64_t)s->log_frames * FRAME_BYTES < CHECKPOINT_BYTES || clock_mono_ms() < s->checkpoint_at_ms) {
        return 0;
    }
    int rc = write_lock(s, e);
    if (rc != 0) {
        return rc;
    }
    /* Everybody waits for the lock meanwhile, so a forgotten reader gets 200 ms, not 30 s. */
    (void)sqlite3_busy_timeout(s->db, 200);
    int frames = 0;
    int done = 0;
    int result = sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_RESTART, &frames, &done);
    (void)sqlite3_busy_timeout(s->db, BUSY_MS);
    write_unlock(s);
    if (result == SQLITE_BUSY) {
        s->checkpoint_at_ms = clock_mono_ms() + CHECKPOINT_PAUSE_MS; /* or everybody would wait for that reader all the time */
        log_debug("checkpoint_postponed", "frames=%d reason=\"a reader is in the way\"", frames);
        if ((int64_t)frames * FRAME_BYTES >= LOG_WARN_BYTES && frames / 2 >= s->log_warned_frames) { /* then when it has doubled */
            s->log_warned_frames = frames;
            log_warning("log_grows", "file=state.db-wal mb=%lld reason=\"somebody reads in a transaction that does not end\" effect=\"the log fills the "
                        "disk\" remedy=\"end the sqlite3 shell or report that is open on state.db\"", (long long)frames * FRAME_BYTES / 1000000);
        }
        return 0;
    }
    s->log_warned_frames = 0;
    s->log_frames = 0; /* whatever came of it, the next commit tells */
    return result == SQLITE_OK ? 0 : state_sql_error(s, e, "checkpoint");
}
