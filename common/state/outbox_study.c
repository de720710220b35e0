/*
 * outbox_study - when a study has come to an end, and what is told of it. See outbox.h.
 *
 * Every end of an instance makes its study due quiet_ms later (the triggers). A look then decides: something is under way: look again, with growing
 * pauses (the next end makes it due at its own time anyway); something came or ended less than quiet_ms ago: later; else it is told. Instances that
 * no validator has judged belong to no study yet; what they are found to be makes the study due again, and it is told again as the next revision.
 */
#include "common/runtime/runtime.h"
#include "common/state/internal.h"
#include "common/state/outbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOKS_MAX = 16, LOOK_BASE_MS = 2000, LOOK_CEILING_MS = 600000 };

static int look_at(struct state *s, struct state_study *t, int64_t *under_way, int64_t *looks, struct err *e)
{
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT sum(state IN ('received', 'validated', 'uploaded', 'importing')), sum(state = 'imported'), sum(state = 'stored'),"
                                    " sum(state = 'duplicate'), sum(state = 'quarantined'), sum(state = 'failed'), sum(dropped_ms IS NOT NULL),"
                                    " sum(state = 'imported' AND is_primary = 0), sum(warning IS NOT NULL), sum(file_bytes), min(received_ms),"
                                    " max(received_ms), max(ended_ms), max(accession_number), max(patient_id), max(study_date),"
                                    " group_concat(DISTINCT modality), (SELECT looks FROM outbox_study WHERE study_uid = ?1 AND destination = ?2) "
                                    "FROM instance WHERE study_uid = ?1 AND destination = ?2",
                                    e);
    if (!q || state_bind(q, "tt", t->study_uid, t->destination) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW) {
        int64_t *const numbers[] = {under_way,    &t->imported, &t->stored, &t->duplicate,         &t->quarantined,      &t->failed,  &t->dropped,
                                    &t->not_primary, &t->warned,   &t->bytes,  &t->first_received_ms, &t->last_received_ms, &t->ended_ms};
        int column = 0;
        for (; column < (int)(sizeof numbers / sizeof numbers[0]); column++) {
            *numbers[column] = sqlite3_column_int64(q, column);
        }
        state_column(q, column++, t->identity.accession_number, sizeof t->identity.accession_number);
        state_column(q, column++, t->identity.patient_id, sizeof t->identity.patient_id);
        state_column(q, column++, t->identity.study_date, sizeof t->identity.study_date);
        state_column(q, column++, t->identity.modalities, sizeof t->identity.modalities);
        *looks = sqlite3_column_int64(q, column);
    }
    int rc = step == SQLITE_ROW ? 0 : state_sql_error(s, e, "look at a study");
    (void)sqlite3_reset(q);
    return rc;
}

/* Calls take() with every row of a query about one study; one row more than most says that there are others. */
static int each(struct state *s, const char *literal, struct state_study *t, size_t most, size_t *count, void (*take)(sqlite3_stmt *q, struct state_study *t, size_t i),
                struct err *e)
{
    int step = SQLITE_DONE;
    sqlite3_stmt *q = state_prepare(s, literal, e);
    if (!q || state_bind(q, "tti", t->study_uid, t->destination, (int64_t)most + 1) != 0) {
        return ERR_DATABASE;
    }
    while ((step = sqlite3_step(q)) == SQLITE_ROW && *count < most) {
        take(q, t, (*count)++);
    }
    t->is_cut = t->is_cut || step == SQLITE_ROW;
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "read a study");
    (void)sqlite3_reset(q);
    return rc;
}

static void take_job(sqlite3_stmt *q, struct state_study *t, size_t i)
{
    state_column(q, 0, t->jobs[i], sizeof t->jobs[i]);
}

static void take_set(sqlite3_stmt *q, struct state_study *t, size_t i)
{
    state_column(q, 0, t->sets[i].id, sizeof t->sets[i].id);
    t->sets[i].version = sqlite3_column_int64(q, 1);
    t->sets[i].is_primary = sqlite3_column_type(q, 2) == SQLITE_NULL ? -1 : sqlite3_column_int(q, 2);
    t->sets[i].instances = sqlite3_column_int64(q, 3);
}

static void take_failure(sqlite3_stmt *q, struct state_study *t, size_t i)
{
    struct state_study_failure *f = &t->failures[i];
    state_column(q, 0, f->id, sizeof f->id);
    state_column(q, 1, f->sop_instance_uid, sizeof f->sop_instance_uid);
    state_column(q, 2, f->state, sizeof f->state);
    state_column(q, 3, f->code, sizeof f->code);
    state_column(q, 4, f->remedy, sizeof f->remedy);
}

static int read_lists(struct state *s, struct state_study *t, struct err *e)
{
    int rc = each(s, "SELECT DISTINCT job_id FROM instance WHERE study_uid = ?1 AND destination = ?2 AND job_id IS NOT NULL ORDER BY job_id LIMIT ?3", t, STATE_STUDY_JOBS,
                  &t->job_count, take_job, e);
    rc = rc ? rc
            : each(s,
                   "SELECT image_set_id, max(image_set_version), min(is_primary), count(*) FROM instance WHERE study_uid = ?1 AND destination = ?2 AND "
                   "image_set_id IS NOT NULL "
                   "GROUP BY image_set_id ORDER BY image_set_id LIMIT ?3",
                   t, STATE_STUDY_SETS, &t->set_count, take_set, e);
    return rc ? rc
              : each(s,
                     "SELECT id, sop_instance_uid, state, error_code, remedy FROM instance WHERE study_uid = ?1 AND destination = ?2 "
                     "AND state IN ('quarantined', 'failed') "
                     "AND dropped_ms IS NULL ORDER BY id LIMIT ?3",
                     t, STATE_STUDY_FAILURES, &t->failure_count, take_failure, e);
}

static int look_later(struct state *s, const struct state_study *t, int64_t due_ms, bool counts, struct err *e)
{
    return state_run(s, NULL, e, "UPDATE outbox_study SET due_ms = ?3, looks = looks + ?4 WHERE study_uid = ?1 AND destination = ?2", "ttii", t->study_uid,
                     t->destination, due_ms, (int64_t)counts);
}

/* The event, for every target. An older revision that nobody has in hand is not told any more: this one says all of it. Inside a transaction. */
static int record(struct state *s, struct state_study *t, state_compose_study compose, void *ctx, int64_t now, struct err *e)
{
    char event[STATE_EVENT_SIZE];
    char subject[STATE_SUBJECT_SIZE];
    id_new(event);
    (void)snprintf(subject, sizeof subject, "%s %s", t->study_uid, t->destination);
    char *payload = compose(ctx, t, event, now);
    int rc = payload ? 0 : err_set(e, ERR_MEMORY, 0, "no memory for an event");
    rc = rc ? rc : state_run(s, NULL, e, "DELETE FROM outbox WHERE kind = 'study' AND owner IS NULL AND subject = ?1 AND target IN (SELECT name FROM outbox_target)", "t", subject);
    rc = rc ? rc
            : state_run(s, NULL, e,
                        "INSERT INTO outbox (target, kind, subject, event, payload, at_ms, next_attempt_ms) "
                        "SELECT name, 'study', ?1, ?2, ?3, ?4, ?4 FROM outbox_target WHERE takes = 'events'",
                        "ttti", subject, event, payload, now);
    rc = rc ? rc
            : state_run(s, NULL, e, "UPDATE outbox_study SET due_ms = NULL, looks = 0, revision = ?3 WHERE study_uid = ?1 AND destination = ?2", "tti",
                        t->study_uid, t->destination, t->revision);
    free(payload);
    return rc;
}

/* The study that is due longest. *found false: none. Inside a transaction. */
static int next_due(struct state *s, struct state_study *t, int64_t now, bool *found, struct err *e)
{
    memset(t, 0, sizeof *t);
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT study_uid, destination, revision + 1 FROM outbox_study INDEXED BY outbox_study_due "
                                    "WHERE due_ms IS NOT NULL AND due_ms <= ?1 ORDER BY due_ms LIMIT 1",
                                    e);
    if (!q || state_bind(q, "i", now) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    int rc = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for studies");
    *found = step == SQLITE_ROW;
    if (*found) {
        state_column(q, 0, t->study_uid, sizeof t->study_uid);
        state_column(q, 1, t->destination, sizeof t->destination);
        t->revision = sqlite3_column_int64(q, 2);
    }
    (void)sqlite3_reset(q);
    return rc;
}

int state_studies_announce(struct state *s, int64_t quiet_ms, struct state_study *t, state_compose_study compose, void *ctx, int *announced, struct err *e)
{
    int64_t now = clock_wall_ms();
    int64_t any = 0;
    bool found = true;
    *announced = 0;
    int rc = state_number(s, &any, 0, e, "SELECT 1 FROM outbox_study INDEXED BY outbox_study_due WHERE due_ms IS NOT NULL AND due_ms <= ?1 LIMIT 1", "i", now);
    if (rc != 0 || !any || (rc = state_begin(s, e)) != 0) {
        return rc;
    }
    for (int i = 0; rc == 0 && found && i < LOOKS_MAX; i++) {
        int64_t under_way = 0;
        int64_t looks = 0;
        rc = next_due(s, t, now, &found, e);
        rc = rc == 0 && found ? look_at(s, t, &under_way, &looks, e) : rc;
        if (rc != 0 || !found) {
            break;
        }
        int64_t last = t->last_received_ms > t->ended_ms ? t->last_received_ms : t->ended_ms;
        if (t->first_received_ms == 0) { /* all of it went elsewhere */
            rc = state_run(s, NULL, e, "UPDATE outbox_study SET due_ms = NULL WHERE study_uid = ?1 AND destination = ?2", "tt", t->study_uid, t->destination);
        } else if (under_way > 0) {
            rc = look_later(s, t, now + backoff_ms((int)(looks < 20 ? looks : 20), LOOK_BASE_MS, LOOK_CEILING_MS, random_u32()), true, e);
        } else if (last + quiet_ms > now && last <= now) {
            rc = look_later(s, t, last + quiet_ms, false, e);
        } else {
            rc = read_lists(s, t, e);
            rc = rc ? rc : record(s, t, compose, ctx, now, e);
            *announced += rc == 0;
        }
    }
    rc = state_end(s, rc, e);
    *announced = rc == 0 ? *announced : 0;
    return rc;
}
