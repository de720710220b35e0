/*
 * act - `retry`, `hold`, `release`, `drop`: what a person decides. X is an instance id, a UID, an accession number or a patient id; for a
 * study UID the whole study is meant. Every decision is an event with the person's login name.
 *
 * Files and rows: `retry` moves the file back to obj/ first, `drop` moves it to dropped/ first, the row follows; a crash between leaves a
 * file that the next press of the same command finds, wherever it is. Two persons who decide at the same time would move each other's files:
 * one command at a time, and the next one sees what the one before decided.
 */
#include "common/spool/spool.h"
#include "control/control.h"
#include "control/table.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/file.h>
#include <unistd.h>

enum { FOUND_MAX = 5000, REFUSED_MAX = TABLE_ROWS_MAX };

struct act {
    struct request *q;
    struct state *state;
    int64_t count, late;
    int failures; /* files that could not be moved */
};

/* The name for events: who began the session, else who runs this. */
static void person_name(char *out, size_t size)
{
    const char *sudo = getenv("SUDO_USER");
    const struct passwd *user = getpwuid(getuid());
    if (sudo && sudo[0]) {
        (void)snprintf(out, size, "%s", sudo);
    } else if (user) {
        (void)snprintf(out, size, "%s", user->pw_name);
    } else {
        (void)snprintf(out, size, "uid %ld", (long)getuid());
    }
}

/* Waits for the other commands; the lock is on the directory, which is there for every user of the installation, and ends with the process. */
static int one_at_a_time(const char *home, struct err *e)
{
    char path[PATH_SIZE];
    (void)snprintf(path, sizeof path, "%s/spool", home);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd == -1) {
        return errno == ENOENT ? 0 : err_set(e, ERR_IO, errno, "%s cannot be opened", path); /* nothing was ever received */
    }
    while (flock(fd, LOCK_EX) == -1) {
        if (errno != EINTR) {
            int why = errno;
            (void)close(fd);
            return err_set(e, ERR_IO, why, "%s cannot be locked", path);
        }
    }
    return 0;
}

int open_for_person(struct state **state, const struct request *q, struct err *e)
{
    char name[48];
    int rc = open_for_reading(state, q->home, e); /* never creates: a wrong --home must not make an installation */
    state_close(state);
    rc = rc == 0 ? one_at_a_time(q->home, e) : rc;
    rc = rc == 0 ? state_open(state, q->home, e) : rc;
    if (rc == 0) {
        person_name(name, sizeof name);
        state_person(*state, name);
    }
    return rc;
}

/* ---- retry ------------------------------------------------------------------------------------------------------------------- */

struct moving {
    struct act *a;
    const char *who;
};

static int move_back(void *ctx, const char *id, const char *room)
{
    struct moving *m = ctx;
    struct table t = {0};
    struct err e = {0};
    if (strcmp(room, "quarantine") != 0) {
        return 0;
    }
    int rc = table_load(&t, m->a->state, "instance", id, 1, &e);
    const char *state = table_get(&t, 0, "state");
    const char *study = table_get(&t, 0, "study_uid");
    bool is_meant = strcmp(m->who, "ALL") == 0 || strcmp(m->who, id) == 0 || (study && strcmp(m->who, study) == 0);
    if (rc == 0 && state && (is_meant || strcmp(state, "quarantined") != 0)) {
        rc = spool_unquarantine(m->a->q->home, id, &e);
    }
    if (rc != 0) {
        m->a->failures++;
        (void)complain("%s: %s", id, e.text);
    }
    table_clear(&t);
    return 0;
}

static int retry_one(struct act *a, const char *who, struct err *e)
{
    struct moving m = {.a = a, .who = who};
    struct table t = {0};
    int64_t moved = 0;
    int rc = table_load(&t, a->state, "instance", who, 1, e);
    if (rc == 0 && table_number(&t, 0, "dropped_ms") > 0 && table_number(&t, 0, "released_ms") == 0) {
        rc = spool_unquarantine(a->q->home, who, e); /* dropped, and thought better of */
    }
    table_clear(&t);
    rc = rc == 0 ? spool_each(a->q->home, move_back, &m, e) : rc;
    rc = rc == 0 ? state_retry(a->state, who, a->q->accept, &moved, e) : rc;
    a->count += rc == 0 ? moved : 0;
    return rc;
}

/* ---- the others -------------------------------------------------------------------------------------------------------------- */

static int hold_one(struct act *a, const char *who, struct err *e)
{
    int64_t count = 0;
    int64_t late = 0;
    int rc = state_hold(a->state, who, a->q->reason, &count, &late, e);
    a->count += count;
    a->late += late;
    return rc;
}

static int release_one(struct act *a, const char *who, struct err *e)
{
    int64_t count = 0;
    int rc = state_unhold(a->state, who, &count, e);
    a->count += count;
    return rc;
}

static int drop_one(struct act *a, const char *who, struct err *e)
{
    struct table t = {0};
    int rc = table_load(&t, a->state, "refused", who, REFUSED_MAX, e);
    for (size_t i = 0; rc == 0 && i < t.rows; i++) {
        const char *id = table_get(&t, i, "id");
        int64_t count = 0;
        rc = id ? spool_drop(a->q->home, id, e) : 0;
        rc = rc == 0 && id ? state_drop(a->state, id, a->q->reason, &count, e) : rc;
        a->count += count;
    }
    table_clear(&t);
    return rc;
}

/* Does it to everything that the argument means. may_be_all: the word ALL is understood. */
static int act(struct act *a, struct request *q, bool may_be_all, int (*one)(struct act *a, const char *who, struct err *e), struct err *e)
{
    struct table found = {0};
    a->q = q;
    int rc = open_for_person(&a->state, q, e);
    if (rc != 0) {
        return rc;
    }
    if (may_be_all && strcmp(q->args[0], "ALL") == 0) {
        rc = one(a, "ALL", e);
    } else {
        rc = table_load(&found, a->state, "find", q->args[0], FOUND_MAX, e);
        for (size_t i = 0; rc == 0 && i < found.rows; i++) {
            const char *kind = table_get(&found, i, "kind");
            const char *id = table_get(&found, i, "id");
            if (kind && id && (strcmp(kind, "instance") == 0 || strcmp(kind, "study") == 0)) {
                rc = one(a, id, e);
            }
        }
    }
    table_clear(&found);
    state_close(&a->state);
    return rc == 0 && a->failures ? err_set(e, ERR_IO, 0, "some spool files could not be moved") : rc;
}

static int end(const struct act *a, int rc, const struct err *e, const char *done, const char *none)
{
    if (a->count > 0) {
        (void)printf("%lld instances %s\n", (long long)a->count, done);
    }
    if (rc != 0) {
        return complain("%s", e->text);
    }
    return a->count > 0 ? EXIT_FINE : complain("nothing under %.200s %s", a->q->args[0], none);
}

int command_retry(struct request *q)
{
    struct err e = {0};
    struct act a = {0};
    if (q->job) {
        return give_up_job(q);
    }
    if (q->reason) {
        (void)complain("--reason belongs to --job here");
        return EXIT_USAGE;
    }
    int rc = act(&a, q, true, retry_one, &e);
    return end(&a, rc, &e, "are tried again; `storescpctl status` shows how it goes", "can be tried again: only quarantined and failed instances can be");
}

int command_hold(struct request *q)
{
    struct err e = {0};
    struct act a = {0};
    int rc = act(&a, q, false, hold_one, &e);
    if (a.late > 0) {
        (void)complain("%lld instances are in an import job already and cannot be held", (long long)a.late);
    }
    return end(&a, rc, &e, "are held until `storescpctl release`", "can be held: it has its end, is held, or is in an import job");
}

int command_release(struct request *q)
{
    struct err e = {0};
    struct act a = {0};
    int rc = act(&a, q, false, release_one, &e);
    return end(&a, rc, &e, "go on", "is held");
}

int command_drop(struct request *q)
{
    struct err e = {0};
    struct act a = {0};
    if (!q->reason) {
        (void)complain("drop wants --reason TEXT: whoever asks in a year shall find it");
        return EXIT_USAGE;
    }
    int rc = act(&a, q, false, drop_one, &e);
    return end(&a, rc, &e, "are dropped; their files are kept in spool/dropped for a while", "can be dropped: only quarantined, failed and held received instances can be");
}
