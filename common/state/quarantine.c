/* quarantine - see quarantine.h. Chunked commits, the rows picked by an index, as for the other decisions of a person. */
#include "common/state/quarantine.h"

#include "common/runtime/list.h"
#include "common/runtime/runtime.h"
#include "common/state/internal.h"

#include <stdio.h>
#include <string.h>

enum { CHUNK = 200 };

static const char *const kinds[] = {"instance", "study", "ae"};

/* ---- release ---------------------------------------------------------------------------------------------------------------- */

static int accept_rules(struct state *s, const char *id, const char *code, const char *reason, int64_t now, struct err *e)
{
    int rc = state_run(s, NULL, e,
                       "INSERT INTO acceptance (instance, rule, at_ms, who, reason) SELECT ?1, rule, ?2, ?3, ?4 FROM finding WHERE instance = ?1 AND severity = 'reject' "
                       "ON CONFLICT (instance, rule) DO NOTHING",
                       "tite", id, now, s->worker, reason);
    rc = rc ? rc : state_run(s, NULL, e, /* it was refused by no rule of the table */
                             "INSERT INTO acceptance (instance, rule, at_ms, who, reason) SELECT ?1, ?2, ?3, ?4, ?5 WHERE NOT EXISTS "
                             "(SELECT 1 FROM finding WHERE instance = ?1 AND severity = 'reject') ON CONFLICT (instance, rule) DO NOTHING",
                             "ttite", id, code, now, s->worker, reason);
    bool by_others = strcmp(code, err_name(ERR_UID_REUSED)) == 0 || strcmp(code, err_name(ERR_UID_ELSEWHERE)) == 0 ||
                     strcmp(code, err_name(ERR_IDENTITY_CONFLICT)) == 0; /* not by what it is, but by what is here already */
    return rc != 0 || !by_others ? rc : state_run(s, NULL, e, "UPDATE instance SET accept_other_content = 1 WHERE id = ?1", "t", id);
}

int state_quarantine_release(struct state *s, const char *id, const char *code, const char *reason, bool *done, struct err *e)
{
    char note[400];
    int64_t is_so = 0;
    int64_t now = clock_wall_ms();
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = state_number(s, &is_so, 0, e, "SELECT 1 FROM instance WHERE id = ?1 AND state = 'quarantined' AND error_code = ?2 AND dropped_ms IS NULL", "tt", id, code);
    if (rc == 0 && is_so) {
        (void)snprintf(note, sizeof note, "accepted as it is, against %s%s%.300s", code, reason && reason[0] ? ": " : "", reason ? reason : "");
        rc = accept_rules(s, id, code, reason, now, e);
        rc = rc ? rc : state_move(s, id, -1, "quarantined", "received", now, "ACCEPTED", note, e);
    }
    rc = state_end(s, rc, e);
    *done = rc == 0 && is_so;
    return rc;
}

int state_rule_is_accepted(struct state *s, const char *id, const char *rule, bool *accepted, struct err *e)
{
    int64_t found = 0;
    int rc = state_number(s, &found, 0, e, "SELECT 1 FROM acceptance WHERE instance = ?1 AND rule = ?2", "tt", id, rule);
    *accepted = rc == 0 && found;
    return rc;
}

/* ---- fix ---------------------------------------------------------------------------------------------------------------------- */

/* Up to CHUNK quarantined instances of that id or study. Inside a transaction. */
static int read_quarantined(struct state *s, const struct state_fix *f, char ids[CHUNK][STATE_ID_SIZE], size_t *count, struct err *e)
{
    int step = SQLITE_DONE;
    sqlite3_stmt *q = state_prepare(s,
                                    f->kind == FIX_INSTANCE
                                        ? "SELECT id FROM instance WHERE id = ?1 AND state = 'quarantined' AND dropped_ms IS NULL LIMIT 200"
                                        : "SELECT id FROM instance INDEXED BY instance_study WHERE study_uid = ?1 AND state = 'quarantined' AND dropped_ms IS NULL LIMIT 200",
                                    e);
    *count = 0;
    if (!q || state_bind(q, "t", f->match) != 0) {
        return ERR_DATABASE;
    }
    while (*count < CHUNK && (step = sqlite3_step(q)) == SQLITE_ROW) {
        state_column(q, 0, ids[(*count)++], STATE_ID_SIZE);
    }
    (void)sqlite3_reset(q);
    return step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for quarantined instances");
}

static int insert_fix(struct state *s, const struct state_fix *f, int64_t now, int64_t *id, struct err *e)
{
    int rc = state_run(s, NULL, e, "INSERT INTO fix_rule (kind, match, actions, reason, who, at_ms, since_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", "tttttii",
                       kinds[f->kind], f->match, f->actions, f->reason, s->worker, now, f->since_ms);
    *id = rc == 0 ? sqlite3_last_insert_rowid(s->db) : 0;
    return rc;
}

int state_fix_add(struct state *s, const struct state_fix *f, int64_t *id, int64_t *count, struct err *e)
{
    char ids[CHUNK][STATE_ID_SIZE];
    char note[400];
    size_t found = CHUNK;
    *id = *count = 0;
    while (found == CHUNK) {
        int64_t order = *id;
        int64_t now = clock_wall_ms();
        int rc = state_begin(s, e);
        if (rc != 0) {
            return rc;
        }
        found = 0;
        rc = f->kind == FIX_AE ? 0 : read_quarantined(s, f, ids, &found, e);
        if (rc == 0 && order == 0 && (found > 0 || f->kind != FIX_INSTANCE)) {
            rc = insert_fix(s, f, now, &order, e);
        }
        (void)snprintf(note, sizeof note, "correction %lld ordered: %.300s", (long long)order, f->reason);
        for (size_t i = 0; rc == 0 && i < found; i++) {
            rc = state_move(s, ids[i], -1, "quarantined", "received", now, "FIX_ORDERED", note, e);
        }
        rc = state_end(s, rc, e);
        if (rc != 0) {
            return rc;
        }
        *id = order;
        *count += (int64_t)found;
    }
    return 0;
}

int state_fix_stop(struct state *s, int64_t id, bool *done, struct err *e)
{
    int changed = 0;
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = state_run(s, &changed, e, "UPDATE fix_rule SET stopped_ms = ?2, stopped_by = ?3 WHERE id = ?1 AND stopped_ms IS NULL", "iit", id, clock_wall_ms(), s->worker);
    rc = state_end(s, rc, e);
    *done = rc == 0 && changed;
    return rc;
}

/* ---- for the validator ------------------------------------------------------------------------------------------------------------ */

int state_fix_any(struct state *s, bool *any, struct err *e)
{
    int64_t found = 0;
    int rc = state_number(s, &found, 0, e, "SELECT 1 FROM fix_rule LIMIT 1", "");
    *any = rc == 0 && found;
    return rc;
}

int state_fix_find(struct state *s, const struct state_instance *claim, const char *study_uid, struct state_fix *out, size_t limit, size_t *count,
                   struct err *e)
{
    int rc = 0;
    int step = SQLITE_DONE;
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT id, kind, match, actions, reason, who, since_ms, 0 FROM fix_rule INDEXED BY fix_rule_active WHERE stopped_ms IS NULL "
                                    "AND ((kind = 'instance' AND match = ?1) OR (kind = 'study' AND match IN (?2, ?4)) OR (kind = 'ae' AND since_ms <= ?3)) "
                                    "AND id NOT IN (SELECT fix FROM fix_applied WHERE instance = ?1) "
                                    "UNION ALL SELECT id, kind, match, actions, reason, who, since_ms, 1 FROM fix_rule WHERE id IN "
                                    "(SELECT fix FROM fix_applied WHERE instance = ?1) ORDER BY id",
                                    e);
    *count = 0;
    if (!q || state_bind(q, "ttit", claim->r.id, study_uid, claim->r.received_ms, claim->study_uid) != 0) {
        return ERR_DATABASE;
    }
    while (rc == 0 && (step = sqlite3_step(q)) == SQLITE_ROW) {
        char kind[16];
        char match[sizeof out->match];
        state_column(q, 1, kind, sizeof kind);
        state_column(q, 2, match, sizeof match);
        bool was_done = sqlite3_column_int(q, 7) != 0;
        if (!was_done && strcmp(kind, "ae") == 0 && !list_fits(match, claim->r.calling_ae)) {
            continue;
        }
        if (*count == limit) {
            rc = err_set(e, ERR_LIMIT, 0, "more than %zu corrections are ordered for this instance: stop some, `storescpctl quarantine rules`", limit);
            break;
        }
        struct state_fix *f = &out[(*count)++];
        f->id = sqlite3_column_int64(q, 0);
        f->kind = strcmp(kind, "instance") == 0 ? FIX_INSTANCE : strcmp(kind, "study") == 0 ? FIX_STUDY : FIX_AE;
        (void)snprintf(f->match, sizeof f->match, "%s", match);
        state_column(q, 3, f->actions, sizeof f->actions);
        state_column(q, 4, f->reason, sizeof f->reason);
        state_column(q, 5, f->who, sizeof f->who);
        f->since_ms = sqlite3_column_int64(q, 6);
        f->was_done = was_done;
    }
    (void)sqlite3_reset(q);
    return rc != 0 || step == SQLITE_DONE ? rc : state_sql_error(s, e, "look for ordered corrections");
}

int state_fix_done(struct state *s, const struct state_validation *v, int64_t now_ms, struct err *e)
{
    char note[400];
    const char *id = v->claim->r.id;
    bool is_done = v->refuse_code != ERR_DICOM_EDIT;
    int rc = 0;
    if (v->fix_count > 0 && is_done) { /* what came under another SOP Instance UID is known under the corrected one from here on */
        rc = state_run(s, NULL, e, "UPDATE instance SET sop_instance_uid = ?2 WHERE id = ?1", "tt", id, v->claim->r.sop_instance_uid);
    }
    for (size_t i = 0; rc == 0 && i < v->fix_count; i++) {
        const struct state_fix *f = &v->fixes[i];
        if (is_done && f->was_done) {
            continue; /* done again, because it is judged again */
        }
        (void)snprintf(note, sizeof note, "%s by order %lld of %s: %.300s", is_done ? "corrected" : "could not be corrected", (long long)f->id, f->who, f->reason);
        rc = is_done ? state_run(s, NULL, e, "INSERT INTO fix_applied (instance, fix, at_ms) VALUES (?1, ?2, ?3) ON CONFLICT (instance, fix) DO NOTHING", "tii", id, f->id, now_ms)
                     : 0;
        rc = rc || f->kind != FIX_INSTANCE
                 ? rc
                 : state_run(s, NULL, e, "UPDATE fix_rule SET stopped_ms = ?2, stopped_by = ?3 WHERE id = ?1 AND stopped_ms IS NULL", "iit", f->id, now_ms, s->worker);
        rc = rc ? rc : state_run(s, NULL, e, "INSERT INTO event (at_ms, instance, who, code, note) VALUES (?1, ?2, ?3, ?4, ?5)", "itttt", now_ms, id, s->worker,
                                 is_done ? "FIXED" : "FIX_FAILED", note);
    }
    return rc;
}
