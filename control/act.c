/*
 * act - `retry`: a person decided that what was quarantined or failed shall be tried again.
 *
 * The spool file goes back to obj/ first, the row after: a crash between leaves a file in obj/ whose row is still quarantined,
 * and the next retry (or none) does no harm; files are found in both rooms.
 */
#include "common/spool/spool.h"
#include "control/control.h"
#include "control/table.h"

enum { FOUND_MAX = 5000 };

struct moving {
    struct state *state;
    const char *home;
    const char *who; /* instance id, study UID, "ALL" */
    int failures;
};

static int move_back(void *ctx, const char *id, const char *room)
{
    struct moving *m = ctx;
    struct table t = {0};
    struct err e = {0};
    if (strcmp(room, "quarantine") != 0) {
        return 0;
    }
    int rc = table_load(&t, m->state, "instance", id, 1, &e);
    const char *state = table_get(&t, 0, "state");
    const char *study = table_get(&t, 0, "study_uid");
    bool is_meant = strcmp(m->who, "ALL") == 0 || strcmp(m->who, id) == 0 || (study && strcmp(m->who, study) == 0);
    if (rc == 0 && state && (is_meant || strcmp(state, "quarantined") != 0)) {
        rc = spool_unquarantine(m->home, id, &e);
    }
    if (rc != 0) {
        m->failures++;
        (void)complain("%s: %s", id, e.text);
    }
    table_clear(&t);
    return 0;
}

static int retry_one(struct request *q, struct state *s, const char *who, int64_t *count, struct err *e)
{
    struct moving m = {.state = s, .home = q->home, .who = who};
    int64_t moved = 0;
    int rc = spool_each(q->home, move_back, &m, e);
    rc = rc == 0 ? state_retry(s, who, q->accept, &moved, e) : rc;
    if (rc == 0) {
        *count += moved;
    }
    return rc == 0 && m.failures ? err_set(e, ERR_IO, 0, "some spool files could not be moved back from quarantine/") : rc;
}

int command_retry(struct request *q)
{
    struct err e = {0};
    struct state *state = NULL;
    struct table found = {0};
    int64_t count = 0;
    int rc = state_open_readonly(&state, q->home, &e); /* never creates: a wrong --home must not make an installation */
    state_close(&state);
    rc = rc == 0 ? state_open(&state, q->home, &e) : rc;
    if (rc == 0 && strcmp(q->args[0], "ALL") == 0) {
        rc = retry_one(q, state, "ALL", &count, &e);
    } else if (rc == 0) {
        rc = table_load(&found, state, "find", q->args[0], FOUND_MAX, &e);
        for (size_t i = 0; rc == 0 && i < found.rows; i++) {
            const char *kind = table_get(&found, i, "kind");
            const char *id = table_get(&found, i, "id");
            if (kind && id && (strcmp(kind, "instance") == 0 || strcmp(kind, "study") == 0)) {
                rc = retry_one(q, state, id, &count, &e);
            }
        }
    }
    int code = EXIT_FINE;
    if (count > 0) {
        (void)printf("%lld instances are tried again; `storescpctl status` shows how it goes\n", (long long)count);
    }
    if (rc != 0) {
        code = complain("%s", e.text);
    } else if (count == 0) {
        code = complain("nothing to retry under %.200s: only quarantined and failed instances can be", q->args[0]);
    }
    table_clear(&found);
    state_close(&state);
    return code;
}
