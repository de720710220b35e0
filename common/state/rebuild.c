/*
 * rebuild - a lost state.db is made again from what S3, HealthImaging and the spool know. The table of every case is in
 * docs/states.md, section "Rebuild"; the collecting is done by storescpctl, the meaning of what was collected is here.
 *
 * A batch is in one of four cases (enum state_rebuilt_job). Its instances are 'uploaded' while more is being found, because an instance
 * may turn up again under a younger batch; state_rebuild_end() gives all of them, in one commit, the state that their batch implies.
 */
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "common/state/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SOURCE_MAX = 1024 };

/* ---- the mark -------------------------------------------------------------------------------------------------------------- */

static void state_path(char path[4352], const char *home, const char *name)
{
    (void)snprintf(path, 4352, "%s/state/%s", home, name);
}

/* What the mark says; false if there is none. */
static bool read_mark(const char *home, char source[SOURCE_MAX])
{
    char path[4352];
    state_path(path, home, "rebuild.unfinished");
    FILE *file = fopen(path, "re");
    if (!file) {
        return false;
    }
    if (!fgets(source, SOURCE_MAX, file)) {
        source[0] = '\0';
    }
    source[strcspn(source, "\n")] = '\0';
    (void)fclose(file);
    return true;
}

static int write_mark(const char *home, const char *source, struct err *e)
{
    char path[4352];
    char text[SOURCE_MAX];
    state_path(path, home, "rebuild.unfinished");
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd == -1) {
        return err_set(e, err_from_errno(errno), errno, "%s", path);
    }
    int length = snprintf(text, sizeof text, "%s\n", source);
    int rc = write_all(fd, text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1, e);
    if (rc == 0 && fsync(fd) == -1) {
        rc = err_set(e, err_from_errno(errno), errno, "%s", path);
    }
    (void)close(fd);
    state_path(path, home, "");
    return rc == 0 ? directory_sync(path, e) : rc;
}

static int remove_database(const char *home, struct err *e)
{
    static const char *const names[] = {"state.db-shm", "state.db-wal", "state.db"};
    char path[4352];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        state_path(path, home, names[i]);
        if (unlink(path) == -1 && errno != ENOENT) {
            return err_set(e, err_from_errno(errno), errno, "unlink of %s", path);
        }
    }
    return 0;
}

int state_rebuild_open(struct state **out, const char *home, const char *source, struct err *e)
{
    char path[4352];
    char before[SOURCE_MAX] = "";
    if (strlen(source) >= SOURCE_MAX - 1 || strchr(source, '\n')) {
        return err_set(e, ERR_ARGUMENT, 0, "the source of a rebuild is no line of less than %d characters", SOURCE_MAX - 1);
    }
    bool goes_on = read_mark(home, before);
    state_path(path, home, "state.db");
    if (!goes_on && access(path, F_OK) == 0) {
        return err_set(e, ERR_EXISTS, 0, "%s is there; move it away with its -wal and -shm files if it is beyond help", path);
    }
    state_path(path, home, "");
    int rc = directory_make(path, e);
    rc = rc == 0 ? write_mark(home, source, e) : rc;
    if (rc == 0 && goes_on && strcmp(before, source) != 0) {
        log_warning("rebuild_begins_anew", "reason=\"the unfinished one had other settings: %s\"", before);
        rc = remove_database(home, e);
    }
    return rc == 0 ? state_open_always(out, home, e) : rc;
}

/* ---- batches ---------------------------------------------------------------------------------------------------------------- */

int state_rebuild_batch(struct state *s, const struct state_rebuilt_batch *b, struct err *e)
{
    static const char *const states[] = {"closed", "running", "reconciling", "done"};
    static const char *const notes[] = {"rebuilt: no import job was started", "rebuilt: its job goes on",
                                        "rebuilt: the results of its job are there", "rebuilt: older than the list of jobs, no results"};
    char token[65];
    const char *destination = b->destination ? b->destination : STATE_DESTINATION_DEFAULT;
    int64_t now = clock_wall_ms();
    int added = 0;
    (void)snprintf(token, sizeof token, STATE_CLIENT_TOKEN, b->id);
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = state_run(s, &added, e,
                   "INSERT INTO batch (id, study_uid, state, opened_ms, last_added_ms, closed_ms, ended_ms, next_attempt_ms, destination) "
                   "VALUES (?1, ?2, ?3, ?4, ?4, ?5, CASE ?3 WHEN 'done' THEN ?5 END, ?5, ?6) ON CONFLICT (id) DO NOTHING",
                   "tttiit", b->id, b->study_uid, states[b->job], id_time_ms(b->id), now, destination);
    rc = rc ? rc : state_destination_note(s, destination, now, e);
    if (rc == 0 && added && (b->job == REBUILT_JOB_LISTED || b->job == REBUILT_JOB_RESULTS)) {
        rc = state_run(s, NULL, e,
                       "INSERT INTO import_job (batch, clientToken, jobName, jobId, jobStatus, submittedAt, inputS3Uri, outputS3Uri,"
                       " datastoreId, dataAccessRoleArn) VALUES (?1, ?2, ?1, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                       "ttttitttt", b->id, token, b->job_id, b->job_status, b->submitted_ms, b->input_uri, b->output_uri, b->datastore_id,
                       b->role_arn);
    }
    if (rc == 0 && added) {
        rc = state_batch_event(s, b->id, "", states[b->job], NULL, notes[b->job], now, e);
    }
    return state_end(s, rc, e);
}

/* ---- instances ---------------------------------------------------------------------------------------------------------------- */

/* Where a batch stands in the order of an instance's batches: one without a job is the last, for an instance leaves a batch only after
 * the batch's job has ended; among those with jobs the start of the job counts. */
struct rank {
    bool is_started;
    int64_t at_ms;
};

static int batch_rank(struct state *s, const char *batch, struct rank *out, struct err *e)
{
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT b.state <> 'closed', coalesce(j.submittedAt, b.opened_ms) FROM batch b "
                                    "LEFT JOIN import_job j ON j.batch = b.id WHERE b.id = ?1",
                                    e);
    if (!q || state_bind(q, "t", batch) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    int rc = step == SQLITE_ROW ? 0 : step == SQLITE_DONE ? err_set(e, ERR_ARGUMENT, 0, "batch %s was not made", batch) : state_sql_error(s, e, "read a batch");
    if (rc == 0) {
        out->is_started = sqlite3_column_int(q, 0) != 0;
        out->at_ms = sqlite3_column_int64(q, 1);
    }
    (void)sqlite3_reset(q);
    return rc;
}

static int current_batch(struct state *s, const char *id, char batch[STATE_ID_SIZE], bool *is_there, struct err *e)
{
    sqlite3_stmt *q = state_prepare(s, "SELECT batch FROM instance WHERE id = ?1", e);
    if (!q || state_bind(q, "t", id) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    *is_there = step == SQLITE_ROW;
    if (*is_there) {
        state_column(q, 0, batch, STATE_ID_SIZE);
    }
    (void)sqlite3_reset(q);
    return step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for an instance");
}

static int insert_instance(struct state *s, const struct state_rebuilt_instance *n, int64_t now, struct err *e)
{
    const struct state_received *r = &n->i.r;
    const struct state_identity *d = &n->identity;
    int rc = state_run(s, NULL, e,
                       "INSERT INTO instance (id, state, calling_ae, called_ae, sop_class_uid, sop_instance_uid, transfer_syntax_uid,"
                       " study_uid, series_uid, modality, accession_number, patient_id, study_date, study_id, series_number, instance_number, file_bytes, data_bytes, file_crc32c,"
                       " data_crc32c, batch, s3_key, etag, received_ms, changed_ms, released_ms, destination, bucket) "
                       "VALUES (?1, 'uploaded', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?23, ?24, ?25, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,"
                       " CASE ?22 WHEN 0 THEN ?21 END, (SELECT destination FROM batch WHERE batch.id = ?17), ?26)",
                       "teetttteeeeeiiiitteiiieeee", r->id, r->calling_ae, r->called_ae, r->sop_class_uid, r->sop_instance_uid,
                       r->transfer_syntax_uid, d->study_uid, d->series_uid, d->modality, d->accession_number, d->patient_id, d->study_date,
                       r->file_bytes, r->data_bytes, (int64_t)r->file_crc32c, (int64_t)r->data_crc32c, n->i.batch, n->i.s3_key, n->etag,
                       r->received_ms, now, (int64_t)n->has_spool, d->study_id, d->series_number, d->instance_number, n->i.bucket);
    rc = rc || !n->is_changed ? rc : state_change_record(s, r->id, &n->changed, now, e);
    return rc != 0 ? rc
                   : state_run(s, NULL, e,
                               "INSERT INTO event (at_ms, instance, batch, from_state, to_state, who, note) "
                               "VALUES (?1, ?2, ?3, '', 'uploaded', 'rebuild', ?4)",
                               "ittt", now, r->id, n->i.batch, n->has_spool ? "rebuilt" : "rebuilt; its spool file is gone");
}

int state_rebuild_instance(struct state *s, const struct state_rebuilt_instance *n, enum state_rebuilt_place *place, struct err *e)
{
    char batch[STATE_ID_SIZE] = "";
    bool is_there = false;
    struct rank ours;
    struct rank there;
    int64_t now = clock_wall_ms();
    int rc = state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    rc = batch_rank(s, n->i.batch, &ours, e);
    rc = rc == 0 ? current_batch(s, n->i.r.id, batch, &is_there, e) : rc;
    if (rc == 0 && !is_there) {
        *place = PLACE_NEW;
        rc = insert_instance(s, n, now, e);
    } else if (rc == 0 && strcmp(batch, n->i.batch) == 0) {
        *place = PLACE_SAME;
    } else if (rc == 0 && (rc = batch_rank(s, batch, &there, e)) == 0) {
        bool is_younger = ours.is_started != there.is_started ? there.is_started
                          : ours.at_ms != there.at_ms         ? ours.at_ms > there.at_ms
                                                              : strcmp(n->i.batch, batch) > 0;
        bool is_ambiguous = !ours.is_started && !there.is_started;
        is_younger = is_younger && !is_ambiguous;
        *place = is_ambiguous ? PLACE_AMBIGUOUS : is_younger ? PLACE_MOVED : PLACE_OLDER;
        if (is_younger) {
            rc = state_run(s, NULL, e, "UPDATE instance SET batch = ?2, s3_key = ?3, etag = ifnull(?4, etag), bucket = ?5 WHERE id = ?1 AND state = 'uploaded'", "tttee",
                           n->i.r.id, n->i.batch, n->i.s3_key, n->etag, n->i.bucket);
        }
        if (rc == 0) {
            rc = state_run(s, NULL, e, "INSERT INTO event (at_ms, instance, batch, who, note) VALUES (?1, ?2, ?3, 'rebuild', ?4)", "ittt", now,
                           n->i.r.id, n->i.batch, is_ambiguous ? "stands here too: neither batch was started"
                           : is_younger ? "stands here too: moved, this batch is younger"
                                        : "stands here too: this batch is older");
        }
    }
    return state_end(s, rc, e);
}

int state_rebuild_knows(struct state *s, const char *id, const char *batch, struct err *e)
{
    int64_t found = 0;
    int rc = state_number(s, &found, 0, e, "SELECT 1 FROM instance WHERE id = ?1 AND batch = ?2", "tt", id, batch);
    return rc != 0 ? rc : (int)found;
}

int state_rebuild_received(struct state *s, const struct state_received *r, const char *held_why, const struct err *refused,
                           const char *remedy, struct err *e)
{
    int rc = state_add_received(s, r, 1, e);
    if (rc != 0 || (!held_why && !refused)) {
        return rc;
    }
    rc = state_begin(s, e);
    if (rc == 0 && held_why) {
        int changed = 0;
        rc = state_run(s, &changed, e,
                       "UPDATE instance SET held = 1, error_code = ?2, error_text = ?3, remedy = ?4 WHERE id = ?1 AND state = 'received' "
                       "AND held = 0",
                       "ttte", r->id, err_name(ERR_IMPORT_UNKNOWN), held_why, remedy);
        if (rc == 0 && changed) {
            rc = state_run(s, NULL, e,
                           "INSERT INTO event (at_ms, instance, who, code, note) VALUES (?1, ?2, 'rebuild', ?3, ?4)", "ittt",
                           clock_wall_ms(), r->id, err_name(ERR_IMPORT_UNKNOWN), held_why);
        }
    }
    if (rc == 0 && refused) {
        rc = state_move(s, r->id, -1, "received", "quarantined", clock_wall_ms(), err_name(refused->code), refused->text, e);
        rc = rc == 0 ? state_run(s, NULL, e, "UPDATE instance SET remedy = ?2 WHERE id = ?1", "te", r->id, remedy) : rc;
        rc = rc == ERR_FENCED ? 0 : rc; /* done before */
    }
    return state_end(s, rc, e);
}

/* ---- the end -------------------------------------------------------------------------------------------------------------------- */

static const char unknown_text[] = "its batch is older than HealthImaging's list of jobs (90 days) and has no results: nobody can tell whether it "
                                   "was imported";
static const char unknown_remedy[] = "look for its study in HealthImaging; if the image is there: storescpctl drop ID --reason ...; if not: "
                                     "storescpctl retry ID, or have it sent again when its spool file is gone";

static int count_kinds(struct state *s, struct state_rebuilt *out, struct err *e)
{
    static const char *const states[] = {"closed", "running", "reconciling", "done"};
    int64_t *const counts[] = {&out->to_start, &out->to_follow, &out->to_read, &out->unknown};
    int rc = state_number(s, &out->batches, 0, e, "SELECT count(*) FROM batch", "");
    rc = rc == 0 ? state_number(s, &out->with_job, 0, e, "SELECT count(*) FROM import_job", "") : rc;
    for (size_t i = 0; rc == 0 && i < 4; i++) {
        rc = state_number(s, counts[i], 0, e,
                          "SELECT count(*) FROM instance i JOIN batch b ON b.id = i.batch WHERE i.state = 'uploaded' AND b.state = ?1", "t",
                          states[i]);
    }
    return rc;
}

/* One transaction: every instance gets the state that its batch implies. */
static int settle_all(struct state *s, int64_t now, struct err *e)
{
    int rc = state_run(s, NULL, e,
                       "INSERT INTO event (at_ms, instance, batch, from_state, to_state, who, note) SELECT ?1, id, batch, 'uploaded',"
                       " 'importing', 'rebuild', 'its batch was started before' FROM instance WHERE state = 'uploaded' "
                       "AND batch IN (SELECT id FROM batch WHERE state <> 'closed')",
                       "i", now);
    if (rc == 0) {
        rc = state_run(s, NULL, e,
                       "UPDATE instance SET state = 'importing', changed_ms = ?1, job_id = (SELECT jobId FROM import_job j WHERE "
                       "j.batch = instance.batch) WHERE state = 'uploaded' AND batch IN (SELECT id FROM batch WHERE state <> 'closed')",
                       "i", now);
    }
    if (rc == 0) {
        rc = state_run(s, NULL, e,
                       "INSERT INTO event (at_ms, instance, batch, from_state, to_state, who, code, note) SELECT ?1, id, batch, 'importing',"
                       " 'failed', 'rebuild', ?2, ?3 FROM instance WHERE state = 'importing' "
                       "AND batch IN (SELECT id FROM batch WHERE state = 'done')",
                       "itt", now, err_name(ERR_IMPORT_UNKNOWN), unknown_text);
    }
    if (rc == 0) {
        rc = state_run(s, NULL, e,
                       "UPDATE instance SET state = 'failed', changed_ms = ?1, ended_ms = ?1, error_code = ?2, error_text = ?3, remedy = ?4 "
                       "WHERE state = 'importing' AND batch IN (SELECT id FROM batch WHERE state = 'done')",
                       "ittt", now, err_name(ERR_IMPORT_UNKNOWN), unknown_text, unknown_remedy);
    }
    if (rc == 0) {
        rc = state_run(s, NULL, e,
                       "UPDATE batch SET instance_count = (SELECT count(*) FROM instance i WHERE i.batch = batch.id),"
                       " bytes = (SELECT ifnull(sum(file_bytes), 0) FROM instance i WHERE i.batch = batch.id)",
                       "");
    }
    if (rc == 0) { /* made from results, which tell no study */
        rc = state_run(s, NULL, e,
                       "UPDATE batch SET study_uid = ifnull((SELECT study_uid FROM instance i WHERE i.batch = batch.id AND study_uid IS NOT "
                       "NULL LIMIT 1), '') WHERE study_uid = ''",
                       "");
    }
    if (rc == 0) { /* it may have been sent before: a claim that is nobody's says so (state_may_have_been_sent()) */
        rc = state_run(s, NULL, e, "UPDATE instance SET token = 1 WHERE state = 'received' AND token = 0", "");
    }
    if (rc == 0) { /* small studies shared it */
        rc = state_run(s, NULL, e, "UPDATE batch SET study_uid = NULL WHERE (SELECT count(DISTINCT study_uid) FROM instance i WHERE i.batch = batch.id) > 1", "");
    }
    if (rc == 0) { /* all that stood in it has gone on to younger batches */
        rc = state_run(s, NULL, e, "UPDATE batch SET state = 'done', ended_ms = ?1 WHERE state <> 'done' AND instance_count = 0", "i", now);
    }
    return rc;
}

int state_rebuild_end(struct state *s, struct state_rebuilt *out, struct err *e)
{
    char path[4352];
    char directory[4352];
    memset(out, 0, sizeof *out);
    int rc = count_kinds(s, out, e);
    rc = rc == 0 ? state_begin(s, e) : rc;
    if (rc != 0) {
        return rc;
    }
    rc = settle_all(s, clock_wall_ms(), e);
    rc = rc ? rc : state_conflicts_seed(s, e);
    rc = rc ? rc : state_run(s, NULL, e, "INSERT INTO completeness (study_uid, news_ms) SELECT DISTINCT study_uid, ?1 FROM instance WHERE study_uid IS NOT NULL "
                             "ON CONFLICT DO NOTHING", "i", clock_wall_ms());
    rc = state_end(s, rc, e);
    rc = rc == 0 ? state_housekeep(s, e) : rc;
    state_path(path, s->home, "rebuild.unfinished");
    state_path(directory, s->home, "");
    if (rc == 0 && unlink(path) == -1 && errno != ENOENT) {
        rc = err_set(e, err_from_errno(errno), errno, "unlink of %s", path);
    }
    return rc == 0 ? directory_sync(directory, e) : rc;
}
