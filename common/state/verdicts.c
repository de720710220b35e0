/*
 * verdicts - what a validator has found becomes the state of an instance: refused, a duplicate, held for a person, or on its way into a batch. One
 * commit for a whole round.
 *
 * Twins are instances of one SOP Instance UID at one destination. What is judged may not depend on which of several validators is quicker: an
 * instance whose older twin is still 'received' waits for that verdict (VERDICT_AGAIN), unless its own bytes are here already.
 */
#include "common/runtime/runtime.h"
#include "common/state/internal.h"

#include <stdio.h>
#include <string.h>

enum { WAIT_FIRST_MS = 250, WAIT_LAST_MS = 30000, WAIT_TOLD_MS = 5000 };

static const char remedy_reused[] =
    "compare both; to let this content go on too: storescpctl retry ID --accept, or set same_uid_other_content = newer";
static const char remedy_older[] = "compare both; to let this older version go on too, after the newer one: storescpctl retry ID --accept";
static const char remedy_died[] = "keep the file and report it; after an update of the programs: storescpctl retry ID";
static const char remedy_refused[] = "have the sender correct it and send it again; or correct it here: storescpctl quarantine fix ID, or send it on as it is: "
                                     "storescpctl quarantine release ID; after a change of rules: storescpctl retry ID";
static const char remedy_unusable[] = "have the sender send it again, whole: what is here can neither be corrected nor sent on; if nobody needs it: storescpctl quarantine drop ID "
                                      "--reason TEXT; after an update of the programs: storescpctl retry ID";
static const char remedy_missing[] = "have the sender correct it and send it again, or fill it here: storescpctl quarantine fix ID";
static const char remedy_lost[] = "put the whole file back from a backup of the spool, then: storescpctl retry ID; or have the image sent again";
static const char remedy_edit[] = "end the order (storescpctl quarantine rules) or change the setting coerce, then: storescpctl retry ID";

static const char older_waits[] = "another one with the same SOP Instance UID (0008,0018) was received before and is not judged yet; it goes first";

static const char *remedy_of(int code)
{
    switch (code) {
    case ERR_WORKER_DIED:
        return remedy_died;
    case ERR_DICOM_EDIT:
        return remedy_edit;
    case ERR_DICOM_UNREADABLE:
    case ERR_DICOM_TRUNCATED:
    case ERR_DICOM_LIMIT:
        return remedy_unusable;
    case ERR_DICOM_MISSING:
        return remedy_missing;
    case ERR_SPOOL_MISSING:
    case ERR_SPOOL_DAMAGED:
        return remedy_lost;
    default:
        return remedy_refused;
    }
}

/* ---- twins ------------------------------------------------------------------------------------------------------------------- */

int state_find_twin(struct state *s, const struct state_instance *claim, struct state_instance *twin, bool *same_content,
                    struct err *e)
{
    sqlite3_stmt *q = state_prepare(
        s,
        "SELECT " STATE_CLAIM_COLUMNS
        " FROM instance WHERE sop_instance_uid = ?1 AND id <> ?2 AND state IN ('validated', 'uploaded', 'importing', 'imported', 'stored') "
        "AND destination = ?6 "
        "ORDER BY (data_bytes = ?3 AND data_crc32c = ?4 AND transfer_syntax_uid = ?5) DESC, id LIMIT 1",
        e);
    if (!q || state_bind(q, "ttiitt", claim->r.sop_instance_uid, claim->r.id, claim->r.data_bytes, (int64_t)claim->r.data_crc32c,
                         claim->r.transfer_syntax_uid, claim->destination) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    int rc = step == SQLITE_ROW ? 1 : step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for a twin");
    if (rc == 1) {
        state_read_claim(q, twin);
        *same_content = twin->r.data_bytes == claim->r.data_bytes && twin->r.data_crc32c == claim->r.data_crc32c &&
                        strcmp(twin->r.transfer_syntax_uid, claim->r.transfer_syntax_uid) == 0;
    }
    (void)sqlite3_reset(q);
    return rc;
}

/* What all twins of other content together say. Ids go by the time of reception. */
struct versions {
    char elsewhere[STATE_ID_SIZE]; /* one in another study or series, or "" */
    bool other_study;              /* in another study even */
    char younger[STATE_ID_SIZE];   /* one that was received later and went on already, or "" */
    char under_way[STATE_ID_SIZE]; /* one that has not come to its end, or "" */
};

static int look_at_versions(struct state *s, const struct state_instance *c, const struct state_identity *d, struct versions *out, struct err *e)
{
    sqlite3_stmt *q = state_prepare(
        s,
        "SELECT min(CASE WHEN study_uid <> ?4 OR series_uid <> ?5 THEN id END), max(study_uid <> ?4), max(CASE WHEN id > ?2 THEN id END),"
        " min(CASE WHEN state IN ('validated', 'uploaded', 'importing') THEN id END) "
        "FROM instance INDEXED BY instance_sop WHERE sop_instance_uid = ?1 AND id <> ?2 AND destination = ?3 "
        "AND state IN ('validated', 'uploaded', 'importing', 'imported', 'stored')",
        e);
    memset(out, 0, sizeof *out);
    if (!q || state_bind(q, "ttttt", c->r.sop_instance_uid, c->r.id, c->destination, d->study_uid, d->series_uid) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW) {
        state_column(q, 0, out->elsewhere, sizeof out->elsewhere);
        out->other_study = sqlite3_column_int(q, 1) != 0;
        state_column(q, 2, out->younger, sizeof out->younger);
        state_column(q, 3, out->under_way, sizeof out->under_way);
    }
    int rc = step == SQLITE_ROW ? 0 : state_sql_error(s, e, "look for versions");
    (void)sqlite3_reset(q);
    return rc;
}

/* Is an older one of the same SOP Instance UID not judged yet? One that has had troubles of its own, or that a person holds, makes nobody wait. */
static int an_older_one_waits(struct state *s, const struct state_instance *c, bool *waits, struct err *e)
{
    int64_t found = 0;
    int rc = state_number(s, &found, 0, e,
                          "SELECT 1 FROM instance INDEXED BY instance_sop WHERE sop_instance_uid = ?1 AND id < ?2 AND state = 'received' "
                          "AND held = 0 AND attempts = 0 AND deaths = 0 LIMIT 1",
                          "tt", c->r.sop_instance_uid, c->r.id);
    *waits = found != 0;
    return rc;
}

/* Were the bytes of that twin compared with this claim, as struct state_validation says? */
static bool is_compared(const struct state_validation *v, const struct state_validation *first, const char *twin)
{
    if (strcmp(v->compared_with, twin) == 0) {
        return true;
    }
    for (const struct state_validation *earlier = first; earlier < v; earlier++) {
        if (strcmp(earlier->claim->r.id, twin) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- verdicts ------------------------------------------------------------------------------------------------------------------ */

static int quarantine(struct state *s, struct state_validation *v, int code, const char *text, const char *remedy, int64_t now, struct err *e)
{
    const struct state_instance *c = v->claim;
    v->code = code;
    int rc = state_move(s, c->r.id, c->token, "received", "quarantined", now, err_name(code), text, e);
    return rc ? rc : state_run(s, NULL, e, "UPDATE instance SET remedy = ?2 WHERE id = ?1", "tt", c->r.id, remedy);
}

/* Growing with its age. */
static int64_t pause_ms(const struct state_instance *c, int64_t now)
{
    int64_t ms = (now - c->r.received_ms) / 8;
    return ms < WAIT_FIRST_MS ? WAIT_FIRST_MS : ms > WAIT_LAST_MS ? WAIT_LAST_MS : ms;
}

/* Back to where it was, due at next_ms; nothing was decided and nobody is charged. why: what it waits for, NULL when that is over in a moment. */
static int put_back(struct state *s, struct state_validation *v, int64_t next_ms, const char *why, int64_t now, struct err *e)
{
    const struct state_instance *c = v->claim;
    int changed = 0;
    int news = 0;
    v->verdict = VERDICT_AGAIN;
    if (why) {
        int rc = state_run(s, &news, e, "UPDATE instance SET error_code = ?4, error_text = ?5 WHERE id = ?1 AND token = ?2 AND owner = ?3 AND error_text IS NOT ?5",
                           "titet", c->r.id, c->token, s->worker, err_name(ERR_VERSION_WAITS), why);
        rc = rc || !news ? rc
                         : state_run(s, NULL, e, "INSERT INTO event (at_ms, instance, who, code, note) VALUES (?1, ?2, ?3, ?4, ?5)", "itttt", now, c->r.id,
                                     s->worker, err_name(ERR_VERSION_WAITS), why);
        if (rc != 0) {
            return rc;
        }
    }
    int rc = state_run(s, &changed, e, "UPDATE instance SET owner = NULL, next_attempt_ms = ?4 WHERE id = ?1 AND token = ?2 AND owner = ?3", "titi", c->r.id,
                       c->token, s->worker, next_ms);
    return rc == 0 && changed == 0 ? ERR_FENCED : rc;
}

static int be_duplicate(struct state *s, struct state_validation *v, const char *twin, int64_t now, struct err *e)
{
    const struct state_instance *c = v->claim;
    char note[100];
    v->verdict = VERDICT_DUPLICATE;
    (void)snprintf(note, sizeof note, "same content as instance %s", twin);
    int rc = state_move(s, c->r.id, c->token, "received", "duplicate", now, err_name(ERR_DUPLICATE), note, e);
    return rc ? rc /* who waits for the duplicate waits for its twin */
              : state_run(s, NULL, e,
                          "UPDATE instance SET wait_until_ms = (SELECT d.wait_until_ms FROM instance AS d WHERE d.id = ?2) WHERE id = ?1 AND "
                          "coalesce(wait_until_ms, 0) < (SELECT d.wait_until_ms FROM instance AS d WHERE d.id = ?2 AND d.wait_until_ms > ?3)",
                          "tti", twin, c->r.id, now);
}

/* Its SOP Instance UID is here with another content. *decided: that was the verdict; otherwise it goes on. */
static int be_version(struct state *s, struct state_validation *v, const char *twin, bool newer_goes_on, int64_t now, bool *decided, struct err *e)
{
    const struct state_instance *c = v->claim;
    struct versions there;
    char text[320];
    char remedy[320];
    int rc = look_at_versions(s, c, &v->identity, &there, e);
    *decided = rc == 0;
    if (rc != 0) {
        return rc;
    }
    if (there.elsewhere[0]) {
        v->verdict = VERDICT_ELSEWHERE;
        (void)snprintf(text, sizeof text, "instance %s has the same SOP Instance UID (0008,0018) in another %s: two images cannot share one", there.elsewhere,
                       there.other_study ? "study (0020,000D)" : "series (0020,000E) of this study");
        (void)snprintf(remedy, sizeof remedy, "ask the sender where this image belongs (storescpctl show %s is the other one); to let this one go on too: "
                       "storescpctl retry ID --accept; to give it up: storescpctl drop with its id", there.elsewhere);
        return quarantine(s, v, ERR_UID_ELSEWHERE, text, remedy, now, e);
    }
    if (!newer_goes_on || there.younger[0]) {
        v->verdict = VERDICT_UID_REUSED;
        (void)snprintf(text, sizeof text, "instance %s%s has the same SOP Instance UID (0008,0018) and another content",
                       newer_goes_on ? there.younger : twin, newer_goes_on ? ", which was received later and went on already," : "");
        return quarantine(s, v, ERR_UID_REUSED, text, newer_goes_on ? remedy_older : remedy_reused, now, e);
    }
    if (there.under_way[0]) { /* both in one import job: nobody could say which of them stays */
        (void)snprintf(text, sizeof text, "instance %s, an older version of the same image, is still under way; this one goes after it", there.under_way);
        return put_back(s, v, now + pause_ms(c, now), text, now, e);
    }
    *decided = false;
    return 0;
}

/* Nothing of its own is against it: is it described as its study and series were, then into a batch. */
static int go_on(struct state *s, struct state_validation *v, const struct state_batch_limits *limits, bool accepted, int64_t now, struct err *e)
{
    const struct state_instance *c = v->claim;
    const enum state_conflict_policy policy = v->policy ? v->policy->conflicts : CONFLICT_WARN;
    char batch[STATE_ID_SIZE];
    struct state_conflict_found found;
    int rc = policy == CONFLICT_OFF ? (memset(&found, 0, sizeof found), 0) : state_conflicts_find(s, c, &v->identity, policy == CONFLICT_HOLD && !accepted, &found, e);
    if (rc == 0 && found.hold) {
        v->verdict = VERDICT_CONFLICT;
        return quarantine(s, v, ERR_IDENTITY_CONFLICT, found.text, found.remedy, now, e);
    }
    v->verdict = VERDICT_VALIDATED;
    rc = rc ? rc : state_move(s, c->r.id, c->token, "received", "validated", now, NULL, NULL, e);
    rc = rc || !v->changed ? rc : state_change_record(s, c->r.id, v->changed, now, e);
    rc = rc ? rc : state_conflicts_seen(s, c, &v->identity, e);
    rc = rc ? rc : state_urge_instance(s, c->r.id, v->urgent, now, e);
    if (rc == 0 && v->without_batch) {
        return state_leave_batch(s, c->r.id, e);
    }
    return rc ? rc : state_assign_batch(s, c->r.id, v->identity.study_uid, c->r.file_bytes, v->limits ? v->limits : limits, now, batch, e);
}

/* Identity first, so that support finds a quarantined instance by its study as well. */
static int write_identity(struct state *s, const struct state_validation *v, int64_t now, struct err *e)
{
    const struct state_instance *c = v->claim;
    const struct state_identity *d = &v->identity;
    int rc = state_run(s, NULL, e,
                       "UPDATE instance SET study_uid = ?2, series_uid = ?3, modality = ?4, accession_number = ?5, patient_id = ?6,"
                       " study_date = ?7, warning = ?8, destination = ?10, study_id = ?11, series_number = ?12, instance_number = ?13,"
                       " change_bytes = NULL, change_crc32c = NULL, change_sop_instance_uid = NULL, change_study_uid = NULL, change_series_uid = NULL,"
                       " change_by = NULL WHERE id = ?1 AND token = ?9",
                       "teeeeeeeiteee", c->r.id, d->study_uid, d->series_uid, d->modality, d->accession_number, d->patient_id,
                       d->study_date, d->warning, c->token, c->destination, d->study_id, d->series_number, d->instance_number);
    rc = rc ? rc : state_conflicts_forget(s, c, e);
    return rc ? rc : state_destination_note(s, c->destination, now, e);
}

/* The verdict on one claim. */
static int end_validation(struct state *s, struct state_validation *v, const struct state_validation *first,
                          const struct state_batch_limits *limits, int64_t now, struct err *e)
{
    const struct state_instance *c = v->claim;
    struct state_instance twin;
    bool same = false;
    bool waits = false;
    bool decided = false;
    int64_t accept = 0;
    v->code = 0;
    int rc = write_identity(s, v, now, e);
    if (rc == 0 && v->refuse_code != 0) {
        return quarantine(s, v, v->refuse_code, v->refuse_text, remedy_of(v->refuse_code), now, e);
    }
    rc = rc ? rc : state_number(s, &accept, 0, e, "SELECT accept_other_content FROM instance WHERE id = ?1", "t", c->r.id);
    int found = rc ? rc : state_find_twin(s, c, &twin, &same, e);
    if (found < 0) {
        return found;
    }
    bool is_same = found == 1 && same && !v->content_differs && !accept;
    if (is_same && is_compared(v, first, twin.r.id)) {
        rc = be_duplicate(s, v, twin.r.id, now, e);
    } else if (found == 1 && same && !accept && !is_compared(v, first, twin.r.id)) {
        return put_back(s, v, now, NULL, now, e);
    } else {
        rc = accept ? 0 : an_older_one_waits(s, c, &waits, e);
        if (rc == 0 && waits) {
            return put_back(s, v, now + pause_ms(c, now), now - c->r.received_ms > WAIT_TOLD_MS ? older_waits : NULL, now, e);
        }
        if (rc == 0 && found == 1 && !accept) {
            rc = be_version(s, v, twin.r.id, v->policy && v->policy->newer_goes_on, now, &decided, e);
        }
        rc = rc || decided ? rc : go_on(s, v, limits, accept != 0, now, e);
    }
    if (rc == 0 && found == 1 && v->verdict != VERDICT_AGAIN) {
        rc = state_run(s, NULL, e, "UPDATE instance SET twin = ?2 WHERE id = ?1", "tt", c->r.id, twin.r.id);
    }
    return rc;
}

int state_validated(struct state *s, struct state_validation *v, size_t count, const struct state_batch_limits *limits,
                    struct err *e)
{
    int64_t now = clock_wall_ms();
    const char *told = ""; /* most of a round belong to one study */
    int rc = count ? state_begin(s, e) : 0;
    if (rc != 0 || count == 0) {
        return rc;
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        v[i].fenced = false;
        rc = end_validation(s, &v[i], v, limits, now, e);
        if (rc == 0 && (v[i].code != 0 || v[i].verdict != VERDICT_AGAIN)) {
            rc = state_findings_write(s, v[i].claim, v[i].findings, v[i].finding_count, now, e);
            rc = rc ? rc : state_fix_done(s, &v[i], now, e);
        }
        if (rc == ERR_FENCED) {
            v[i].fenced = true;
            rc = 0;
        } else if (rc == 0 && strcmp(told, v[i].identity.study_uid) != 0) {
            told = v[i].identity.study_uid;
            rc = state_completeness_news(s, told, now, e);
        }
    }
    return state_end(s, rc, e);
}
