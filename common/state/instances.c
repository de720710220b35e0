/*
 * instances - an instance's way through 'received', 'validated', 'uploaded' and out of the spool. state_move() is the one place
 * where a state changes; the claim (owner and token) decides who may. What a validator's verdict does: verdicts.c.
 */
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "common/state/internal.h"

#include <stdio.h>
#include <string.h>

/* ---- the transition ---------------------------------------------------------------------------------------------------- */

int state_move(struct state *s, const char *id, int64_t token, const char *from, const char *to, int64_t now_ms,
               const char *code, const char *note, struct err *e)
{
    int changed = 0;
    int rc = state_run(s, &changed, e,
                       "UPDATE instance SET state = ?3, owner = NULL, deaths = 0, attempts = CASE WHEN ?3 IN ('validated', 'received') AND "
                       "?2 = 'importing' THEN attempts ELSE 0 END, next_attempt_ms = ?4, changed_ms = ?4,"
                       " validated_ms = CASE ?3 WHEN 'validated' THEN ?4 ELSE validated_ms END,"
                       " uploaded_ms = CASE WHEN ?3 IN ('uploaded', 'stored') THEN ?4 ELSE uploaded_ms END,"
                       " importing_ms = CASE ?3 WHEN 'importing' THEN ?4 ELSE importing_ms END,"
                       " ended_ms = CASE WHEN ?3 IN ('imported', 'stored', 'duplicate', 'quarantined', 'failed') THEN ?4 END,"
                       " error_code = CASE WHEN ?3 IN ('quarantined', 'failed', 'duplicate') THEN ?5 END,"
                       " error_text = CASE WHEN ?3 IN ('quarantined', 'failed', 'duplicate') THEN ?6 END,"
                       " remedy = NULL "
                       "WHERE id = ?1 AND state = ?2 AND (?7 < 0 OR (token = ?7 AND owner = ?8))",
                       "tttiteit", id, from, to, now_ms, code, note, token, s->worker);
    if (rc != 0) {
        return rc;
    }
    if (changed == 0) {
        return ERR_FENCED;
    }
    return state_run(s, NULL, e,
                     "INSERT INTO event (at_ms, instance, batch, from_state, to_state, who, code, note) "
                     "VALUES (?1, ?2, (SELECT batch FROM instance WHERE id = ?2), ?3, ?4, ?5, ?6, ?7)",
                     "itttete", now_ms, id, from, to, s->worker, code, note ? note : "");
}

/* ---- receiver ------------------------------------------------------------------------------------------------------------ */

static int add_one(struct state *s, const struct state_received *r, int64_t now, struct err *e)
{
    int added = 0;
    int rc = state_run(s, &added, e,
                       "INSERT INTO instance (id, state, association, peer, calling_ae, called_ae, sop_class_uid, sop_instance_uid,"
                       " transfer_syntax_uid, file_bytes, data_bytes, file_crc32c, data_crc32c, received_ms, changed_ms, wait_until_ms, urgent) "
                       "VALUES (?1, 'received', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, nullif(?15, 0), ?16) "
                       "ON CONFLICT (id) DO NOTHING",
                       "teeeetttiiiiiiii", r->id, r->association, r->peer, r->calling_ae, r->called_ae, r->sop_class_uid,
                       r->sop_instance_uid, r->transfer_syntax_uid, r->file_bytes, r->data_bytes, (int64_t)r->file_crc32c,
                       (int64_t)r->data_crc32c, r->received_ms, now, r->wait_until_ms, (int64_t)r->urgent);
    if (rc != 0 || added == 0) {
        return rc;
    }
    return state_run(s, NULL, e,
                     "INSERT INTO event (at_ms, instance, to_state, who, note) VALUES (?1, ?2, 'received', ?3, ?4)", "itee", now,
                     r->id, s->worker, r->association[0] ? "" : "adopted from the spool");
}

static int add_association(struct state *s, const struct state_association *a, struct err *e)
{
    return state_run(s, NULL, e,
                     "INSERT INTO association (id, peer, calling_ae, called_ae, began_ms, ended_ms, outcome, stored, refused, tls, user_name, user_checked) "
                     "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT (id) DO NOTHING",
                     "teeeiitiieei", a->id, a->peer, a->calling_ae, a->called_ae, a->began_ms, a->ended_ms, a->outcome, (int64_t)a->stored,
                     (int64_t)a->refused, a->tls, a->user_name, (int64_t)a->user_checked);
}

int state_record(struct state *s, const struct state_received *r, size_t count, const struct state_association *a, size_t associations,
                 struct err *e)
{
    int64_t now = clock_wall_ms();
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = add_one(s, &r[i], now, e);
    }
    for (size_t i = 0; rc == 0 && i < associations; i++) {
        rc = add_association(s, &a[i], e);
    }
    return state_end(s, rc, e);
}

int state_add_received(struct state *s, const struct state_received *r, size_t count, struct err *e)
{
    return state_record(s, r, count, NULL, 0, e);
}

int state_instance_known(struct state *s, const char *id, bool *releasable, struct err *e)
{
    int64_t found = 0;
    int rc = state_number(s, &found, 0, e,
                          "SELECT 1 + (state IN ('imported', 'stored', 'duplicate') AND released_ms IS NOT NULL) FROM instance WHERE id = ?1",
                          "t", id);
    if (rc != 0) {
        return rc;
    }
    *releasable = found == 2;
    return found > 0;
}

/* ---- claims -------------------------------------------------------------------------------------------------------------- */

#define CLAIM_COLUMNS " RETURNING " STATE_CLAIM_COLUMNS
/* The same as the file is that will be sent, where rules have changed it. */
#define CLAIM_AS_CHANGED                                                                                               \
    " RETURNING id, association, sop_class_uid, coalesce(change_sop_instance_uid, sop_instance_uid), transfer_syntax_uid, calling_ae, called_ae, peer,"   \
    " coalesce(change_bytes, file_bytes), data_bytes, coalesce(change_crc32c, file_crc32c), data_crc32c, received_ms, token, attempts,"   \
    " coalesce(change_study_uid, study_uid), coalesce(change_series_uid, series_uid), batch, s3_key, sha256, deaths, destination, modality, bucket"

/* One statement for each stage, the state as a literal: only then SQLite uses the partial index of that state. */
static const char claim_received[] =
    "UPDATE instance SET owner = ?1, token = token + 1 WHERE id IN (SELECT id FROM instance INDEXED BY work_received "
    "WHERE state = 'received' AND owner IS NULL AND held = 0 AND next_attempt_ms <= ?2 "
    "ORDER BY next_attempt_ms, id LIMIT ?3)" CLAIM_COLUMNS;
static const char claim_validated[] =
    "UPDATE instance SET owner = ?1, token = token + 1 WHERE id IN (SELECT id FROM instance INDEXED BY work_validated "
    "WHERE state = 'validated' AND owner IS NULL AND held = 0 AND destination = ?4 AND next_attempt_ms <= ?2 "
    "ORDER BY next_attempt_ms, id LIMIT ?3)" CLAIM_AS_CHANGED;
static const char any_received[] = "SELECT 1 FROM instance INDEXED BY work_received WHERE state = 'received' AND owner IS NULL "
                                   "AND held = 0 AND next_attempt_ms <= ?1 LIMIT 1";
static const char any_validated[] = "SELECT 1 FROM instance INDEXED BY work_validated WHERE state = 'validated' AND owner IS NULL "
                                    "AND held = 0 AND destination = ?2 AND next_attempt_ms <= ?1 LIMIT 1";

void state_read_claim(sqlite3_stmt *q, struct state_instance *i)
{
    memset(i, 0, sizeof *i);
    state_column(q, 0, i->r.id, sizeof i->r.id);
    state_column(q, 1, i->r.association, sizeof i->r.association);
    state_column(q, 2, i->r.sop_class_uid, sizeof i->r.sop_class_uid);
    state_column(q, 3, i->r.sop_instance_uid, sizeof i->r.sop_instance_uid);
    state_column(q, 4, i->r.transfer_syntax_uid, sizeof i->r.transfer_syntax_uid);
    state_column(q, 5, i->r.calling_ae, sizeof i->r.calling_ae);
    state_column(q, 6, i->r.called_ae, sizeof i->r.called_ae);
    state_column(q, 7, i->r.peer, sizeof i->r.peer);
    i->r.file_bytes = sqlite3_column_int64(q, 8);
    i->r.data_bytes = sqlite3_column_int64(q, 9);
    i->r.file_crc32c = (uint32_t)sqlite3_column_int64(q, 10);
    i->r.data_crc32c = (uint32_t)sqlite3_column_int64(q, 11);
    i->r.received_ms = sqlite3_column_int64(q, 12);
    i->token = sqlite3_column_int64(q, 13);
    i->attempts = sqlite3_column_int(q, 14);
    state_column(q, 15, i->study_uid, sizeof i->study_uid);
    state_column(q, 16, i->series_uid, sizeof i->series_uid);
    state_column(q, 17, i->batch, sizeof i->batch);
    state_column(q, 18, i->s3_key, sizeof i->s3_key);
    state_column(q, 19, i->sha256, sizeof i->sha256);
    i->deaths = sqlite3_column_int(q, 20);
    state_column(q, 21, i->destination, sizeof i->destination);
    state_column(q, 22, i->modality, sizeof i->modality);
    state_column(q, 23, i->bucket, sizeof i->bucket);
}

/* destination NULL: the validator's */
static int claim(struct state *s, const char *destination, struct state_instance *out, size_t limit, size_t *count, struct err *e)
{
    int64_t now = clock_wall_ms();
    int64_t any = 0;
    *count = 0;
    /* An idle sweep must cost next to nothing: look before taking the write lock. */
    int rc = destination ? state_number(s, &any, 0, e, any_validated, "it", now, destination) : state_number(s, &any, 0, e, any_received, "i", now);
    if (rc != 0 || any == 0 || limit == 0) {
        return rc;
    }
    if (limit > STATE_CLAIM_MAX) {
        limit = STATE_CLAIM_MAX;
    }
    rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    sqlite3_stmt *q = state_prepare(s, destination ? claim_validated : claim_received, e);
    rc = !q            ? ERR_DATABASE
         : destination ? state_bind(q, "tiit", s->worker, now, (int64_t)limit, destination)
                       : state_bind(q, "tii", s->worker, now, (int64_t)limit);
    while (rc == 0) {
        int step = sqlite3_step(q);
        if (step == SQLITE_DONE) {
            break;
        }
        if (step != SQLITE_ROW) {
            rc = state_sql_error(s, e, "claim");
            break;
        }
        state_read_claim(q, &out[(*count)++]);
    }
    if (q) {
        (void)sqlite3_reset(q);
    }
    rc = rc || !destination ? rc : state_decide_keys(s, out, *count, e);
    rc = state_end(s, rc, e);
    if (rc != 0) {
        *count = 0;
    }
    return rc;
}

int state_claim(struct state *s, enum state_stage stage, struct state_instance *out, size_t limit, size_t *count, struct err *e)
{
    if (stage != STAGE_VALIDATOR && stage != STAGE_UPLOADER) {
        *count = 0;
        return err_set(e, ERR_ARGUMENT, 0, "the %s claims no instances", state_stage_name(stage));
    }
    return claim(s, stage == STAGE_UPLOADER ? STATE_DESTINATION_DEFAULT : NULL, out, limit, count, e);
}

int state_claim_for(struct state *s, const char *destination, struct state_instance *out, size_t limit, size_t *count, struct err *e)
{
    return claim(s, destination, out, limit, count, e);
}

bool state_may_have_been_sent(const struct state_instance *claim)
{
    return claim->token > 2;
}

int state_unclaim(struct state *s, const struct state_instance *claims, size_t count, struct err *e)
{
    int rc = count ? state_begin(s, e) : 0;
    if (rc != 0 || count == 0) {
        return rc;
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = state_run(s, NULL, e, "UPDATE instance SET owner = NULL WHERE id = ?1 AND token = ?2 AND owner = ?3", "tit",
                       claims[i].r.id, claims[i].token, s->worker);
    }
    return state_end(s, rc, e);
}

int state_defer(struct state *s, const struct state_instance *claim, const struct err *why, int64_t next_ms, struct err *e)
{
    int changed = 0;
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = state_run(s, &changed, e,
                   "UPDATE instance SET owner = NULL, attempts = attempts + 1, next_attempt_ms = ?3, error_code = ?4, error_text = ?5 "
                   "WHERE id = ?1 AND token = ?2 AND owner = ?6",
                   "tiittt", claim->r.id, claim->token, next_ms, err_name(why->code), why->text, s->worker);
    if (rc == 0 && changed == 0) {
        rc = ERR_FENCED;
    }
    if (rc == 0) {
        rc = state_run(s, NULL, e,
                       "INSERT INTO event (at_ms, instance, batch, who, code, note) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", "itettt",
                       clock_wall_ms(), claim->r.id, claim->batch, s->worker, err_name(why->code), why->text);
    }
    return state_end(s, rc, e);
}

/* The image of this claim is lost here, but it came more than once: its duplicates are judged again, the first of them is uploaded. Inside a
 * transaction. */
static int revive_duplicates(struct state *s, const struct state_instance *claim, int64_t now, struct err *e)
{
    char ids[STATE_CLAIM_MAX][STATE_ID_SIZE];
    char note[100];
    size_t count = 0;
    int step = SQLITE_DONE;
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT id FROM instance INDEXED BY instance_sop WHERE sop_instance_uid = ?1 AND twin = ?2 "
                                    "AND state = 'duplicate' AND released_ms IS NULL",
                                    e);
    if (!q || state_bind(q, "tt", claim->r.sop_instance_uid, claim->r.id) != 0) {
        return ERR_DATABASE;
    }
    while (count < STATE_CLAIM_MAX && (step = sqlite3_step(q)) == SQLITE_ROW) {
        state_column(q, 0, ids[count++], STATE_ID_SIZE);
    }
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for duplicates");
    (void)sqlite3_reset(q);
    (void)snprintf(note, sizeof note, "the file of instance %s is lost; this one takes its place", claim->r.id);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = state_move(s, ids[i], -1, "duplicate", "received", now, NULL, note, e);
    }
    return rc;
}

int state_refuse(struct state *s, const struct state_instance *claim, const struct err *why, const char *remedy,
                 struct err *e)
{
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    bool validator = strncmp(s->worker, "validator", 9) == 0;
    rc = state_move(s, claim->r.id, claim->token, validator ? "received" : "validated", validator ? "quarantined" : "failed",
                    clock_wall_ms(), err_name(why->code), why->text, e);
    if (rc == 0 && remedy) {
        rc = state_run(s, NULL, e, "UPDATE instance SET remedy = ?2 WHERE id = ?1", "tt", claim->r.id, remedy);
    }
    if (rc == 0 && !validator && (why->code == ERR_SPOOL_MISSING || why->code == ERR_SPOOL_DAMAGED)) {
        rc = revive_duplicates(s, claim, clock_wall_ms(), e);
    }
    return state_end(s, rc, e);
}

/* ---- uploader ---------------------------------------------------------------------------------------------------------------- */

int state_uploaded(struct state *s, struct state_uploaded *u, size_t count, struct err *e)
{
    int64_t now = clock_wall_ms();
    int rc = count ? state_begin(s, e) : 0;
    if (rc != 0 || count == 0) {
        return rc;
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const struct state_instance *c = u[i].claim;
        u[i].fenced = false;
        bool is_end = !c->batch[0];
        rc = state_move(s, c->r.id, c->token, "validated", is_end ? "stored" : "uploaded", now, NULL, is_end ? u[i].location : NULL, e);
        if (rc == 0) {
            rc = state_run(s, NULL, e,
                           "UPDATE instance SET s3_key = ?2, etag = ?3, sha256 = ?4, location = ?5, warning = CASE WHEN ?6 IS NULL THEN warning "
                           "WHEN warning IS NULL THEN ?6 ELSE warning || '; ' || ?6 END WHERE id = ?1",
                           "teeeee", c->r.id, c->s3_key, u[i].etag, u[i].sha256, u[i].location, u[i].warning);
            rc = rc ? rc : state_run(s, NULL, e, "DELETE FROM multipart WHERE s3_key = ?1 AND bucket = ?4 AND destination = ?2 AND instance = ?3", "tttt", c->s3_key,
                                     c->destination, c->r.id, c->bucket);
        } else if (rc == ERR_FENCED) {
            log_warning("upload_fenced", "instance=%s reason=\"another worker has it; the key is the same, nothing to do\"",
                        c->r.id);
            u[i].fenced = true;
            rc = 0;
        }
    }
    return state_end(s, rc, e);
}

/* ---- spool release -------------------------------------------------------------------------------------------------------------- */

static int read_ids(struct state *s, const char *sql, int64_t until_ms, char (*ids)[STATE_ID_SIZE], size_t limit, size_t *count,
                    struct err *e)
{
    *count = 0;
    sqlite3_stmt *q = state_prepare(s, sql, e);
    if (!q || state_bind(q, "ii", until_ms, (int64_t)limit) != 0) {
        return ERR_DATABASE;
    }
    int step = SQLITE_DONE;
    while (*count < limit && (step = sqlite3_step(q)) == SQLITE_ROW) {
        state_column(q, 0, ids[(*count)++], STATE_ID_SIZE);
    }
    int rc = step == SQLITE_DONE || step == SQLITE_ROW ? 0 : state_sql_error(s, e, "look for releasable files");
    (void)sqlite3_reset(q);
    return rc;
}

int state_releasable(struct state *s, int64_t keep_ms, char (*ids)[STATE_ID_SIZE], size_t limit, size_t *count, struct err *e)
{
    static const char ended[] = "SELECT id FROM instance INDEXED BY instance_release WHERE released_ms IS NULL "
                                "AND state IN ('imported', 'stored', 'duplicate') AND ended_ms <= ?1 AND (state IN ('imported', 'stored') OR NOT EXISTS "
                                "(SELECT 1 FROM instance AS t WHERE t.id = instance.twin AND t.state NOT IN ('imported', 'stored', 'duplicate') "
                                "AND t.dropped_ms IS NULL)) ORDER BY ended_ms LIMIT ?2";
    return read_ids(s, ended, clock_wall_ms() - keep_ms, ids, limit, count, e);
}

int state_releasable_dropped(struct state *s, int64_t keep_ms, char (*ids)[STATE_ID_SIZE], size_t limit, size_t *count, struct err *e)
{
    static const char dropped[] = "SELECT id FROM instance INDEXED BY instance_dropped WHERE released_ms IS NULL "
                                  "AND dropped_ms IS NOT NULL AND dropped_ms <= ?1 ORDER BY dropped_ms LIMIT ?2";
    return read_ids(s, dropped, clock_wall_ms() - keep_ms, ids, limit, count, e);
}

int state_released(struct state *s, char (*ids)[STATE_ID_SIZE], size_t count, struct err *e)
{
    int64_t now = clock_wall_ms();
    int rc = count ? state_begin(s, e) : 0;
    if (rc != 0 || count == 0) {
        return rc;
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = state_run(s, NULL, e, "UPDATE instance SET released_ms = ?2 WHERE id = ?1", "ti", ids[i], now);
    }
    return state_end(s, rc, e);
}

int state_quarantined_last(struct state *s, char (*ids)[STATE_ID_SIZE], size_t limit, size_t *count, struct err *e)
{
    *count = 0;
    sqlite3_stmt *q = state_prepare(
        s, "SELECT id FROM instance INDEXED BY instance_state WHERE state = 'quarantined' AND released_ms IS NULL ORDER BY changed_ms DESC LIMIT ?1", e);
    if (!q || state_bind(q, "i", (int64_t)limit) != 0) {
        return ERR_DATABASE;
    }
    int step = SQLITE_DONE;
    while (*count < limit && (step = sqlite3_step(q)) == SQLITE_ROW) {
        state_column(q, 0, ids[(*count)++], STATE_ID_SIZE);
    }
    (void)sqlite3_reset(q);
    return step == SQLITE_DONE || step == SQLITE_ROW ? 0 : state_sql_error(s, e, "look for quarantined instances");
}
