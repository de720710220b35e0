/*
 * commitments - see commitments.h. Who decides what counts as committed reads the instances' rows; nothing here changes an instance.
 *
 * The newest instance of a SOP Instance UID decides, because it holds what the sender would delete. A duplicate counts as its twin. Reading
 * 50,000 references takes no lock; their verdicts are written in chunks, so that no other writer waits for more than one of them.
 */
#include "common/state/commitments.h"

#include "common/runtime/runtime.h"
#include "common/state/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 500, LOOK_FIRST_MS = 200, LOOK_LAST_MS = 30000 };

static const char *const points[] = {"spooled", "uploaded", "imported"};

bool state_point_parse(const char *word, enum state_point *out)
{
    for (int i = 0; i < 3; i++) {
        if (strcmp(points[i], word) == 0) {
            *out = (enum state_point)i;
            return true;
        }
    }
    return false;
}

static int tell(struct state *s, const char *commitment, const char *code, const char *note, struct err *e)
{
    return state_run(s, NULL, e, "INSERT INTO commitment_event (commitment, at_ms, who, code, note) VALUES (?1, ?2, ?3, ?4, ?5)", "titee",
                     commitment, clock_wall_ms(), s->worker, code, note);
}

/* ---- requests ----------------------------------------------------------------------------------------------------------------- */

/* Is that the list that the recorded request has? */
static int same_list(struct state *s, const char *id, int64_t items, const char *references, bool *same, struct err *e)
{
    sqlite3_stmt *q = state_prepare(s, "SELECT sop_class_uid, sop_instance_uid FROM commitment_item WHERE commitment = ?1 ORDER BY position", e);
    int64_t count = 0;
    int step = SQLITE_DONE;
    *same = true;
    if (!q || state_bind(q, "t", id) != 0) {
        return ERR_DATABASE;
    }
    while (*same && (step = sqlite3_step(q)) == SQLITE_ROW) {
        for (int i = 0; *same && i < 2; i++) {
            const char *there = (const char *)sqlite3_column_text(q, i);
            *same = count < items && there && strcmp(there, references) == 0;
            references += *same ? strlen(references) + 1 : 0;
        }
        count++;
    }
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "compare a list of references");
    *same = *same && count == items;
    (void)sqlite3_reset(q);
    return rc;
}

/* The first request of that AE title under that Transaction UID: its id, or "". */
static int find_request(struct state *s, const struct state_commitment *c, char id[STATE_ID_SIZE], struct err *e)
{
    sqlite3_stmt *q = state_prepare(s, "SELECT id FROM commitment WHERE calling_ae = ?1 AND transaction_uid = ?2 ORDER BY id LIMIT 1", e);
    id[0] = '\0';
    if (!q || state_bind(q, "tt", c->calling_ae, c->transaction_uid) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW) {
        state_column(q, 0, id, STATE_ID_SIZE);
    }
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for a transaction");
    (void)sqlite3_reset(q);
    return rc;
}

/* One that is under way goes on, and may be reported on the new association; one that had ended begins again. */
static int repeat_request(struct state *s, const struct state_commitment *c, const char *offered_to, int64_t now, struct err *e)
{
    int again = 0;
    int rc = state_run(s, NULL, e,
                       "UPDATE commitment SET association = ?2, peer = ?3, called_ae = ?4, offered_to = ?5, next_attempt_ms = ?6 WHERE id = ?1",
                       "teeeei", c->id, c->association, c->peer, c->called_ae, offered_to, now);
    rc = rc ? rc : state_run(s, &again, e,
                             "UPDATE commitment SET state = 'waiting', failed = NULL, attempts = 0, error_code = NULL, error_text = NULL, "
                             "decided_ms = NULL, ended_ms = NULL, requested_ms = ?2, wait_until_ms = ?3, give_up_ms = ?4, point = ?5 "
                             "WHERE id = ?1 AND state IN ('reported', 'given_up')",
                             "tiiit", c->id, now, c->wait_until_ms, c->give_up_ms, points[c->point]);
    if (rc == 0 && again) {
        rc = state_run(s, NULL, e, "UPDATE commitment_item SET reason = NULL, instance = NULL WHERE commitment = ?1", "t", c->id);
    }
    return rc ? rc : tell(s, c->id, "REQUESTED", again ? "the same request again after its end: judged and reported anew" : "the same request again", e);
}

static int insert_request(struct state *s, const struct state_commitment *c, const char *references, const char *offered_to, bool in_use,
                          int64_t now, struct err *e)
{
    int rc = state_run(s, NULL, e,
                       "INSERT INTO commitment (id, transaction_uid, calling_ae, called_ae, peer, association, state, point, offered_to, items,"
                       " failed, next_attempt_ms, requested_ms, wait_until_ms, give_up_ms, decided_ms) "
                       "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, CASE ?7 WHEN 'reporting' THEN ?10 END, ?11, ?11, ?12, ?13, "
                       "CASE ?7 WHEN 'reporting' THEN ?11 END)",
                       "ttteeetteiiii", c->id, c->transaction_uid, c->calling_ae, c->called_ae, c->peer, c->association,
                       in_use ? "reporting" : "waiting", points[c->point], offered_to, c->items, now, c->wait_until_ms, c->give_up_ms);
    for (int64_t i = 0; rc == 0 && i < c->items; i++) {
        const char *instance_uid = references + strlen(references) + 1;
        rc = state_run(s, NULL, e,
                       "INSERT INTO commitment_item (commitment, position, sop_class_uid, sop_instance_uid, reason) "
                       "VALUES (?1, ?2, ?3, ?4, CASE ?5 WHEN 0 THEN NULL ELSE ?5 END)",
                       "titti", c->id, i, references, instance_uid, (int64_t)(in_use ? REASON_DUPLICATE_TRANSACTION : 0));
        references = instance_uid + strlen(instance_uid) + 1;
    }
    rc = rc ? rc : state_completeness_named(s, c->id, now, e);
    return rc ? rc : tell(s, c->id, "REQUESTED", in_use ? "the Transaction UID is in use with another list: every instance of it fails" : "", e);
}

int state_commitment_add(struct state *s, struct state_commitment *c, const char *references, bool on_association,
                         enum state_commitment_added *added, struct err *e)
{
    const char *offered_to = on_association ? s->worker : "";
    char first[STATE_ID_SIZE];
    bool same = false;
    int64_t now = clock_wall_ms();
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = find_request(s, c, first, e);
    if (rc == 0 && first[0]) {
        rc = same_list(s, first, c->items, references, &same, e);
    }
    *added = !first[0] ? COMMITMENT_NEW : same ? COMMITMENT_AGAIN : COMMITMENT_UID_IN_USE;
    if (rc == 0 && *added == COMMITMENT_AGAIN) {
        (void)snprintf(c->id, sizeof c->id, "%s", first);
        rc = repeat_request(s, c, offered_to, now, e);
    } else if (rc == 0) {
        id_new(c->id);
        rc = insert_request(s, c, references, offered_to, *added == COMMITMENT_UID_IN_USE, now, e);
    }
    return state_end(s, rc, e);
}

/* ---- claims -------------------------------------------------------------------------------------------------------------------- */

#define CLAIM "UPDATE commitment SET owner = ?1, token = token + 1 WHERE id = "
#define CLAIM_COLUMNS                                                                                                  \
    " RETURNING id, transaction_uid, calling_ae, called_ae, peer, association, point, items, failed, requested_ms, wait_until_ms, give_up_ms,"  \
    " attempts, token"
#define DUE_WAITING                                                                                                    \
    "SELECT id FROM commitment INDEXED BY commitment_waiting WHERE state = 'waiting' AND owner IS NULL AND next_attempt_ms <= ?2 "   \
    "ORDER BY next_attempt_ms, id LIMIT 1"
#define DUE_REPORTING                                                                                                  \
    "SELECT id FROM commitment INDEXED BY commitment_reporting WHERE state = 'reporting' AND owner IS NULL AND offered_to IS NULL "  \
    "AND next_attempt_ms <= ?2 ORDER BY next_attempt_ms, id LIMIT 1"
#define OFFERED                                                                                                        \
    "SELECT id FROM commitment INDEXED BY commitment_offered WHERE offered_to IS NOT NULL AND association = ?2 AND offered_to = ?1 "  \
    "AND state = 'reporting' AND owner IS NULL LIMIT 1"

static const char *const look_for[] = {"SELECT 1 FROM (" DUE_WAITING ") WHERE ?1 <> ''", "SELECT 1 FROM (" DUE_REPORTING ") WHERE ?1 <> ''"};
static const char *const claim_of[] = {CLAIM "(" DUE_WAITING ")" CLAIM_COLUMNS, CLAIM "(" DUE_REPORTING ")" CLAIM_COLUMNS};
static const char look_for_offered[] = "SELECT 1 FROM (" OFFERED ")";
static const char claim_offered[] = CLAIM "(" OFFERED ")" CLAIM_COLUMNS;

static void read_claim(sqlite3_stmt *q, struct state_commitment *c)
{
    char point[12];
    memset(c, 0, sizeof *c);
    state_column(q, 0, c->id, sizeof c->id);
    state_column(q, 1, c->transaction_uid, sizeof c->transaction_uid);
    state_column(q, 2, c->calling_ae, sizeof c->calling_ae);
    state_column(q, 3, c->called_ae, sizeof c->called_ae);
    state_column(q, 4, c->peer, sizeof c->peer);
    state_column(q, 5, c->association, sizeof c->association);
    state_column(q, 6, point, sizeof point);
    (void)state_point_parse(point, &c->point);
    c->items = sqlite3_column_int64(q, 7);
    c->failed = sqlite3_column_int64(q, 8);
    c->requested_ms = sqlite3_column_int64(q, 9);
    c->wait_until_ms = sqlite3_column_int64(q, 10);
    c->give_up_ms = sqlite3_column_int64(q, 11);
    c->attempts = sqlite3_column_int(q, 12);
    c->token = sqlite3_column_int64(q, 13);
}

static int step_claim(struct state *s, sqlite3_stmt *q, struct state_commitment *out, bool *found, struct err *e)
{
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW) {
        read_claim(q, out);
        *found = true;
        step = sqlite3_step(q);
    }
    int rc = step == SQLITE_DONE ? 0 : state_sql_error(s, e, "claim a commitment");
    (void)sqlite3_reset(q);
    return rc;
}

int state_commitment_claim(struct state *s, enum state_commitment_work work, struct state_commitment *out, bool *found, struct err *e)
{
    int64_t now = clock_wall_ms();
    int64_t any = 0;
    *found = false;
    int rc = state_number(s, &any, 0, e, look_for[work], "ti", s->worker, now);
    if (rc != 0 || !any || (rc = state_begin(s, e)) != 0) {
        return rc;
    }
    sqlite3_stmt *q = state_prepare(s, claim_of[work], e);
    rc = q ? state_bind(q, "ti", s->worker, now) : ERR_DATABASE;
    rc = rc ? rc : step_claim(s, q, out, found, e);
    return state_end(s, rc, e);
}

int state_commitment_any(struct state *s, bool *any, struct err *e)
{
    static const char look[] = "SELECT EXISTS (SELECT 1 FROM commitment INDEXED BY commitment_waiting WHERE state = 'waiting' AND owner IS NULL)"
                               " OR EXISTS (SELECT 1 FROM commitment INDEXED BY commitment_reporting WHERE state = 'reporting' AND owner IS NULL "
                               "AND offered_to IS NULL)"
                               " OR EXISTS (SELECT 1 FROM commitment INDEXED BY commitment_offered WHERE offered_to IS NOT NULL)"
                               " OR EXISTS (SELECT 1 FROM commitment INDEXED BY commitment_owner WHERE owner IS NOT NULL)";
    int64_t found = 0;
    int rc = state_number(s, &found, 0, e, look, "");
    *any = found != 0;
    return rc;
}

int state_commitment_take(struct state *s, const char *association, struct state_commitment *out, bool *found, struct err *e)
{
    int64_t any = 0;
    *found = false;
    int rc = state_number(s, &any, 0, e, look_for_offered, "tt", s->worker, association);
    if (rc != 0 || !any || (rc = state_begin(s, e)) != 0) {
        return rc;
    }
    sqlite3_stmt *q = state_prepare(s, claim_offered, e);
    rc = q ? state_bind(q, "tt", s->worker, association) : ERR_DATABASE;
    rc = rc ? rc : step_claim(s, q, out, found, e);
    return state_end(s, rc, e);
}

int state_commitment_unclaim(struct state *s, const struct state_commitment *c, struct err *e)
{
    int rc = state_begin(s, e);
    return rc ? rc : state_end(s, state_run(s, NULL, e, "UPDATE commitment SET owner = NULL WHERE id = ?1 AND token = ?2 AND owner = ?3", "tit",
                                            c->id, c->token, s->worker), e);
}

int state_commitment_leave(struct state *s, const char *association, struct err *e)
{
    int rc = state_begin(s, e);
    return rc ? rc : state_end(s, state_run(s, NULL, e,
                                            "UPDATE commitment INDEXED BY commitment_offered SET offered_to = NULL, owner = NULL "
                                            "WHERE offered_to IS NOT NULL AND association = ?2 AND offered_to = ?1",
                                            "tt", s->worker, association), e);
}

/* ---- judging -------------------------------------------------------------------------------------------------------------------- */

struct verdict {
    int64_t position;
    int reason;
    char instance[STATE_ID_SIZE];
};

/* The newest row of a SOP Instance UID: its id, class and state, that of the twin for a duplicate. The last 100 that came are looked at, so
 * that a UID sent ten thousand times costs no more; among them the id tells the time, also after a rebuild. */
static int newest(struct state *s, const char *uid, struct verdict *v, char class_uid[STATE_UID_SIZE], char state[16], struct err *e)
{
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT i.id, i.sop_class_uid, CASE i.state WHEN 'duplicate' THEN coalesce((SELECT t.state FROM instance t "
                                    "WHERE t.id = i.twin), 'failed') ELSE i.state END FROM (SELECT id, sop_class_uid, state, twin FROM instance "
                                    "INDEXED BY instance_sop WHERE sop_instance_uid = ?1 ORDER BY rowid DESC LIMIT 100) i ORDER BY i.id DESC LIMIT 1",
                                    e);
    state[0] = '\0';
    if (!q || state_bind(q, "t", uid) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW) {
        state_column(q, 0, v->instance, sizeof v->instance);
        state_column(q, 1, class_uid, STATE_UID_SIZE);
        state_column(q, 2, state, 16);
    }
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for an instance");
    (void)sqlite3_reset(q);
    return rc;
}

/* 0 committed, a failure reason, or -1: not yet. */
static int reason_of(const char *state, enum state_point point)
{
    static const char *const way[] = {"received", "validated", "uploaded", "importing", "imported"};
    static const int reached_from[] = {0, 2, 4}; /* by point */
    for (int i = 0; i < 5; i++) {
        if (strcmp(way[i], state) == 0) {
            return i >= reached_from[point] ? 0 : -1;
        }
    }
    return strcmp(state, "stored") == 0 ? 0 : REASON_PROCESSING_FAILURE; /* quarantined, failed */
}

/* Verdicts on the references that are open; those that stay open are only counted. */
static int judge_all(struct state *s, const struct state_commitment *c, bool is_late, struct verdict *v, size_t room, size_t *count, size_t *open,
                     struct err *e)
{
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT position, sop_class_uid, sop_instance_uid FROM commitment_item WHERE commitment = ?1 AND reason IS NULL "
                                    "ORDER BY position", e);
    int step = SQLITE_DONE;
    int rc = q ? state_bind(q, "t", c->id) : ERR_DATABASE;
    *count = *open = 0;
    while (rc == 0 && *count < room && (step = sqlite3_step(q)) == SQLITE_ROW) {
        char asked_class[STATE_UID_SIZE];
        char uid[STATE_UID_SIZE];
        char class_uid[STATE_UID_SIZE];
        char state[16];
        struct verdict *one = &v[*count];
        memset(one, 0, sizeof *one);
        one->position = sqlite3_column_int64(q, 0);
        state_column(q, 1, asked_class, sizeof asked_class);
        state_column(q, 2, uid, sizeof uid);
        rc = newest(s, uid, one, class_uid, state, e);
        one->reason = !state[0]                              ? REASON_NO_SUCH_INSTANCE
                      : strcmp(class_uid, asked_class) != 0 ? REASON_CLASS_CONFLICT
                                                            : reason_of(state, c->point);
        one->reason = one->reason == -1 && is_late ? REASON_RESOURCE_LIMITATION : one->reason;
        *(one->reason == -1 ? open : count) += 1;
    }
    if (rc == 0 && step != SQLITE_DONE && step != SQLITE_ROW) {
        rc = state_sql_error(s, e, "judge a commitment");
    }
    if (q) {
        (void)sqlite3_reset(q);
    }
    return rc;
}

/* Is the claim still ours? Inside a transaction. */
static int check_claim(struct state *s, const struct state_commitment *c, struct err *e)
{
    int64_t ours = 0;
    int rc = state_number(s, &ours, 0, e, "SELECT 1 FROM commitment WHERE id = ?1 AND token = ?2 AND owner = ?3", "tit", c->id, c->token, s->worker);
    return rc ? rc : ours ? 0 : err_set(e, ERR_FENCED, 0, "another worker has the commitment");
}

static int write_verdicts(struct state *s, const struct state_commitment *c, const struct verdict *v, size_t count, struct err *e)
{
    int rc = 0;
    for (size_t from = 0; rc == 0 && from < count; from += CHUNK) {
        rc = state_begin(s, e);
        if (rc != 0) {
            return rc;
        }
        rc = check_claim(s, c, e);
        for (size_t i = from; rc == 0 && i < count && i < from + CHUNK; i++) {
            rc = state_run(s, NULL, e, "UPDATE commitment_item SET reason = ?3, instance = ?4 WHERE commitment = ?1 AND position = ?2", "tiie", c->id,
                           v[i].position, (int64_t)v[i].reason, v[i].instance);
        }
        rc = state_end(s, rc, e);
    }
    return rc;
}

/* The end of a look: the report is due, or another look after a pause that grows with the age. */
static int end_look(struct state *s, const struct state_commitment *c, bool decided, int64_t now, struct err *e)
{
    int64_t pause = (now - c->requested_ms) / 8;
    pause = pause < LOOK_FIRST_MS ? LOOK_FIRST_MS : pause > LOOK_LAST_MS ? LOOK_LAST_MS : pause;
    int64_t next = decided || now + pause < c->wait_until_ms || now >= c->wait_until_ms ? now + pause : c->wait_until_ms;
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = check_claim(s, c, e);
    if (rc == 0 && decided) {
        rc = state_run(s, NULL, e,
                       "UPDATE commitment SET state = 'reporting', owner = NULL, next_attempt_ms = ?2, decided_ms = ?2, failed = "
                       "(SELECT count(*) FROM commitment_item WHERE commitment = ?1 AND reason <> 0) WHERE id = ?1",
                       "ti", c->id, now);
        rc = rc ? rc : tell(s, c->id, "DECIDED", "", e);
    } else if (rc == 0) {
        rc = state_run(s, NULL, e, "UPDATE commitment SET owner = NULL, next_attempt_ms = ?2 WHERE id = ?1", "ti", c->id, next);
    }
    return state_end(s, rc, e);
}

int state_commitment_judge(struct state *s, const struct state_commitment *c, bool *decided, struct err *e)
{
    int64_t now = clock_wall_ms();
    size_t count = 0;
    size_t open = 0;
    size_t room = (size_t)c->items + 1;
    struct verdict *v = calloc(room, sizeof *v);
    *decided = false;
    if (!v) {
        return err_set(e, ERR_MEMORY, 0, "verdicts of a commitment");
    }
    int rc = judge_all(s, c, now >= c->wait_until_ms, v, room, &count, &open, e);
    rc = rc ? rc : write_verdicts(s, c, v, count, e);
    free(v);
    rc = rc ? rc : end_look(s, c, open == 0, now, e);
    *decided = rc == 0 && open == 0;
    return rc;
}

/* ---- reporting -------------------------------------------------------------------------------------------------------------------- */

int state_commitment_load(struct state *s, const struct state_commitment *c, char **references, size_t *bytes, uint16_t **reasons, struct err *e)
{
    size_t room = (size_t)c->items * 2 * STATE_UID_SIZE;
    char *text = malloc(room + 1);
    uint16_t *codes = calloc((size_t)c->items + 1, sizeof *codes);
    int64_t count = 0;
    size_t used = 0;
    int step = SQLITE_DONE;
    sqlite3_stmt *q = text && codes ? state_prepare(s, "SELECT sop_class_uid, sop_instance_uid, reason FROM commitment_item WHERE commitment = ?1 "
                                                       "ORDER BY position LIMIT ?2", e)
                                    : NULL;
    int rc = !text || !codes ? err_set(e, ERR_MEMORY, 0, "references of a commitment") : q ? state_bind(q, "ti", c->id, c->items) : ERR_DATABASE;
    while (rc == 0 && (step = sqlite3_step(q)) == SQLITE_ROW) {
        for (int i = 0; i < 2; i++) {
            state_column(q, i, text + used, STATE_UID_SIZE);
            used += strlen(text + used) + 1;
        }
        codes[count++] = sqlite3_column_type(q, 2) == SQLITE_NULL ? REASON_PROCESSING_FAILURE : (uint16_t)sqlite3_column_int(q, 2);
    }
    if (rc == 0 && (step != SQLITE_DONE || count != c->items)) {
        rc = step != SQLITE_DONE ? state_sql_error(s, e, "read a commitment") : err_set(e, ERR_DATABASE, 0, "a commitment lacks references");
    }
    if (q) {
        (void)sqlite3_reset(q);
    }
    if (rc != 0) {
        free(text);
        free(codes);
        return rc;
    }
    *references = text;
    *bytes = used;
    *reasons = codes;
    return 0;
}

int state_commitment_reported(struct state *s, const struct state_commitment *c, const char *how, struct err *e)
{
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = check_claim(s, c, e);
    rc = rc ? rc : state_run(s, NULL, e,
                             "UPDATE commitment SET state = 'reported', owner = NULL, offered_to = NULL, error_code = NULL, error_text = NULL, "
                             "ended_ms = ?2 WHERE id = ?1",
                             "ti", c->id, clock_wall_ms());
    rc = rc ? rc : tell(s, c->id, "REPORTED", how, e);
    return state_end(s, rc, e);
}

int state_commitment_defer(struct state *s, const struct state_commitment *c, const struct err *why, int64_t next_ms, bool all_of_peer,
                           bool *given_up, struct err *e)
{
    int rc = state_begin(s, e);
    *given_up = next_ms >= c->give_up_ms;
    if (rc != 0) {
        return rc;
    }
    rc = check_claim(s, c, e);
    rc = rc ? rc : state_run(s, NULL, e,
                             "UPDATE commitment SET state = ?2, owner = NULL, offered_to = NULL, attempts = attempts + 1, next_attempt_ms = ?3, "
                             "error_code = ?4, error_text = ?5, ended_ms = CASE ?2 WHEN 'given_up' THEN ?6 END WHERE id = ?1",
                             "ttitti", c->id, *given_up ? "given_up" : "reporting", next_ms, err_name(why->code), why->text, clock_wall_ms());
    rc = rc ? rc : tell(s, c->id, err_name(why->code), why->text, e);
    if (rc == 0 && all_of_peer) {
        rc = state_run(s, NULL, e,
                       "UPDATE commitment SET next_attempt_ms = ?2, error_code = ?3, error_text = ?4 WHERE id IN (SELECT id FROM commitment "
                       "INDEXED BY commitment_reporting WHERE state = 'reporting' AND owner IS NULL AND offered_to IS NULL AND next_attempt_ms < ?2 "
                       "AND calling_ae = ?1)",
                       "titt", c->calling_ae, next_ms, err_name(why->code), why->text);
    }
    return state_end(s, rc, e);
}

int state_commitment_prune(struct state *s, int64_t keep_ms, int limit, int *count, struct err *e)
{
    static const char old[] = "SELECT 1 FROM commitment INDEXED BY commitment_ended WHERE ended_ms IS NOT NULL AND ended_ms <= ?1 LIMIT 1";
    int64_t until = clock_wall_ms() - keep_ms;
    int64_t any = 0;
    *count = 0;
    int rc = state_number(s, &any, 0, e, old, "i", until);
    if (rc != 0 || !any || (rc = state_begin(s, e)) != 0) {
        return rc;
    }
#define OLD "(SELECT id FROM commitment INDEXED BY commitment_ended WHERE ended_ms IS NOT NULL AND ended_ms <= ?1 ORDER BY ended_ms LIMIT ?2)"
    rc = state_run(s, NULL, e, "DELETE FROM commitment_item WHERE commitment IN " OLD, "ii", until, (int64_t)limit);
    rc = rc ? rc : state_run(s, NULL, e, "DELETE FROM commitment_event WHERE commitment IN " OLD, "ii", until, (int64_t)limit);
    rc = rc ? rc : state_run(s, count, e, "DELETE FROM commitment WHERE id IN " OLD, "ii", until, (int64_t)limit);
    return state_end(s, rc, e);
}
