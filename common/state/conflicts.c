/*
 * conflicts - images of one study or series that are described differently. HealthImaging groups by Patient ID, Accession Number, Study ID, Study
 * Date and the two UIDs, and in a series by its number: what disagrees with the primary image set becomes a non-primary one, which no search finds
 * (HealthImaging developer guide, "understanding image sets"). Here it is noticed before the upload.
 *
 * `study_seen` and `series_seen` have one row for each description that went on, so that an image costs two look-ups, however large its study is.
 * The first is what later ones are compared with, as long as an instance of it still counts. Which of two is right is for a person to say.
 */
#include "common/state/internal.h"

#include <stdio.h>
#include <string.h>

enum { FORGOTTEN_MAX = 16 /* descriptions of which nothing is left, cleared in one go */ };

/* ---- what was seen ------------------------------------------------------------------------------------------------------------ */

struct seen {
    int64_t seq; /* 0: nothing */
    char values[4][260];
    char instance[STATE_ID_SIZE];
};

static int read_seen(struct state *s, sqlite3_stmt *q, int columns, struct seen *out, struct err *e)
{
    memset(out, 0, sizeof *out);
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW) {
        out->seq = sqlite3_column_int64(q, 0);
        state_column(q, 1, out->instance, sizeof out->instance);
        for (int i = 0; i < columns; i++) {
            state_column(q, 2 + i, out->values[i], sizeof out->values[i]);
        }
    }
    (void)sqlite3_reset(q);
    return step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for what was seen of a study");
}

/* The first description of the study, with an instance that still counts. */
static int first_of_study(struct state *s, const struct state_instance *c, const struct state_identity *d, struct seen *out, struct err *e)
{
    for (int i = 0; i < FORGOTTEN_MAX; i++) {
        int64_t lives = 0;
        sqlite3_stmt *q = state_prepare(s,
                                        "SELECT seq, instance, patient_id, accession_number, study_id, study_date FROM study_seen INDEXED BY study_seen_first "
                                        "WHERE destination = ?1 AND study_uid = ?2 ORDER BY seq LIMIT 1",
                                        e);
        int rc = !q || state_bind(q, "tt", c->destination, d->study_uid) != 0 ? ERR_DATABASE : read_seen(s, q, 4, out, e);
        if (rc != 0 || out->seq == 0) {
            return rc;
        }
        if (strcmp(out->values[0], d->patient_id) == 0 && strcmp(out->values[1], d->accession_number) == 0 && strcmp(out->values[2], d->study_id) == 0 &&
            strcmp(out->values[3], d->study_date) == 0) {
            return 0; /* the same: it need not live */
        }
        rc = state_number(s, &lives, 0, e,
                          "SELECT 1 FROM instance INDEXED BY instance_study WHERE study_uid = ?1 AND destination = ?2 AND id <> ?7 "
                          "AND state IN ('validated', 'uploaded', 'importing', 'imported', 'stored') AND ifnull(patient_id, '') = ?3 "
                          "AND ifnull(accession_number, '') = ?4 AND ifnull(study_id, '') = ?5 AND ifnull(study_date, '') = ?6 LIMIT 1",
                          "ttttttt", d->study_uid, c->destination, out->values[0], out->values[1], out->values[2], out->values[3], c->r.id);
        rc = rc || lives ? rc : state_run(s, NULL, e, "DELETE FROM study_seen WHERE seq = ?1", "i", out->seq);
        if (rc != 0 || lives) {
            return rc;
        }
        out->seq = 0;
    }
    return 0;
}

static int first_of_series(struct state *s, const struct state_instance *c, const struct state_identity *d, struct seen *out, struct err *e)
{
    for (int i = 0; i < FORGOTTEN_MAX; i++) {
        int64_t lives = 0;
        sqlite3_stmt *q = state_prepare(s,
                                        "SELECT seq, instance, study_uid, series_number FROM series_seen INDEXED BY series_seen_first "
                                        "WHERE destination = ?1 AND series_uid = ?2 ORDER BY seq LIMIT 1",
                                        e);
        int rc = !q || state_bind(q, "tt", c->destination, d->series_uid) != 0 ? ERR_DATABASE : read_seen(s, q, 2, out, e);
        if (rc != 0 || out->seq == 0 || (strcmp(out->values[0], d->study_uid) == 0 && strcmp(out->values[1], d->series_number) == 0)) {
            return rc;
        }
        rc = state_number(s, &lives, 0, e,
                          "SELECT 1 FROM instance INDEXED BY instance_study WHERE study_uid = ?1 AND destination = ?2 AND id <> ?5 AND series_uid = ?3 "
                          "AND state IN ('validated', 'uploaded', 'importing', 'imported', 'stored') AND ifnull(series_number, '') = ?4 LIMIT 1",
                          "ttttt", out->values[0], c->destination, d->series_uid, out->values[1], c->r.id);
        rc = rc || lives ? rc : state_run(s, NULL, e, "DELETE FROM series_seen WHERE seq = ?1", "i", out->seq);
        if (rc != 0 || lives) {
            return rc;
        }
        out->seq = 0;
    }
    return 0;
}

/* Has a description like this one gone on before? */
static int is_known(struct state *s, const struct state_instance *c, const struct state_identity *d, bool *known, struct err *e)
{
    int64_t study = 0;
    int64_t series = 0;
    int rc = state_number(s, &study, 0, e,
                          "SELECT 1 FROM study_seen WHERE destination = ?1 AND study_uid = ?2 AND patient_id = ?3 AND accession_number = ?4 "
                          "AND study_id = ?5 AND study_date = ?6",
                          "tttttt", c->destination, d->study_uid, d->patient_id, d->accession_number, d->study_id, d->study_date);
    rc = rc ? rc : state_number(s, &series, 0, e,
                                "SELECT 1 FROM series_seen WHERE destination = ?1 AND series_uid = ?2 AND study_uid = ?3 AND series_number = ?4",
                                "tttt", c->destination, d->series_uid, d->study_uid, d->series_number);
    *known = study != 0 && (series != 0 || !d->series_uid[0]);
    return rc;
}

/* ---- what differs --------------------------------------------------------------------------------------------------------------- */

struct judging {
    struct state *s;
    const struct state_instance *c;
    const char *severity;
    struct state_conflict_found *out;
    char tags[200];
    char other[STATE_ID_SIZE]; /* the first that it differs from */
};

static int differ(struct judging *j, const char *rule, const char *tag, const char *where, const char *ours, const char *theirs, const char *other,
                  struct err *e)
{
    char sentence[200];
    size_t used = strlen(j->tags);
    if (strcmp(ours, theirs) == 0) {
        return 0;
    }
    j->out->count++;
    (void)snprintf(j->tags + used, sizeof j->tags - used, "%s%s", used ? ", " : "", tag);
    (void)snprintf(j->other, sizeof j->other, "%s", other);
    (void)snprintf(sentence, sizeof sentence, "%s is not that of instance %s, which was here before in this %s", tag, other, where);
    return state_run(j->s, NULL, e, "INSERT INTO conflict (instance, rule, severity, tag, sentence, other) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", "tttttt",
                     j->c->r.id, rule, j->severity, tag, sentence, other);
}

static int compare(struct judging *j, const struct state_identity *d, struct err *e)
{
    struct seen study;
    struct seen series;
    memset(&series, 0, sizeof series);
    int rc = first_of_study(j->s, j->c, d, &study, e);
    rc = rc || !d->series_uid[0] ? rc : first_of_series(j->s, j->c, d, &series, e);
    if (rc == 0 && study.seq) {
        const char *other = study.instance;
        rc = differ(j, "conflict_patient_id", "(0010,0020) Patient ID", "study", d->patient_id, study.values[0], other, e);
        rc = rc ? rc : differ(j, "conflict_accession_number", "(0008,0050) Accession Number", "study", d->accession_number, study.values[1], other, e);
        rc = rc ? rc : differ(j, "conflict_study_id", "(0020,0010) Study ID", "study", d->study_id, study.values[2], other, e);
        rc = rc ? rc : differ(j, "conflict_study_date", "(0008,0020) Study Date", "study", d->study_date, study.values[3], other, e);
    }
    if (rc == 0 && series.seq) {
        rc = differ(j, "conflict_study_uid", "(0020,000D) Study Instance UID", "series", d->study_uid, series.values[0], series.instance, e);
        rc = rc ? rc : differ(j, "conflict_series_number", "(0020,0011) Series Number", "series", d->series_number, series.values[1], series.instance, e);
    }
    return rc;
}

int state_conflicts_find(struct state *s, const struct state_instance *c, const struct state_identity *d, bool may_hold, struct state_conflict_found *out,
                         struct err *e)
{
    bool known = false;
    memset(out, 0, sizeof *out);
    int rc = may_hold ? is_known(s, c, d, &known, e) : 0;
    struct judging j = {.s = s, .c = c, .out = out, .severity = may_hold && !known ? "hold" : "warn"};
    rc = rc ? rc : compare(&j, d, e);
    if (rc != 0 || out->count == 0) {
        return rc;
    }
    out->hold = may_hold && !known;
    (void)snprintf(out->text, sizeof out->text, "%s: not as in instance %s, which was here before", j.tags, j.other);
    (void)snprintf(out->remedy, sizeof out->remedy,
                   "storescpctl why with the study's UID shows both values; find out which is right. To correct this one: storescpctl quarantine fix ID; to let it go on as it "
                   "is, and what is like it: storescpctl retry ID --accept (HealthImaging keeps it in an image set of its own)");
    return state_run(s, NULL, e, "UPDATE instance SET conflicts = ?2 WHERE id = ?1", "ti", c->r.id, (int64_t)out->count);
}

int state_conflicts_seen(struct state *s, const struct state_instance *c, const struct state_identity *d, struct err *e)
{
    bool known = false;
    int rc = is_known(s, c, d, &known, e); /* the usual case writes nothing */
    if (rc != 0 || known) {
        return rc;
    }
    rc = state_run(s, NULL, e,
                   "INSERT INTO study_seen (destination, study_uid, patient_id, accession_number, study_id, study_date, instance) "
                   "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
                   "ttttttt", c->destination, d->study_uid, d->patient_id, d->accession_number, d->study_id, d->study_date, c->r.id);
    return rc || !d->series_uid[0] ? rc
                                   : state_run(s, NULL, e,
                                               "INSERT INTO series_seen (destination, series_uid, study_uid, series_number, instance) VALUES (?1, ?2, ?3, ?4, ?5) "
                                               "ON CONFLICT DO NOTHING",
                                               "ttttt", c->destination, d->series_uid, d->study_uid, d->series_number, c->r.id);
}

int state_conflicts_forget(struct state *s, const struct state_instance *c, struct err *e)
{
    int forgotten = 0;
    int rc = state_run(s, &forgotten, e, "DELETE FROM conflict WHERE instance = ?1", "t", c->r.id);
    return rc || !forgotten ? rc : state_run(s, NULL, e, "UPDATE instance SET conflicts = 0 WHERE id = ?1", "t", c->r.id);
}

int state_conflicts_seed(struct state *s, struct err *e)
{
    int rc = state_run(s, NULL, e,
                       "INSERT INTO study_seen (destination, study_uid, patient_id, accession_number, study_id, study_date, instance) "
                       "SELECT destination, study_uid, ifnull(patient_id, ''), ifnull(accession_number, ''), ifnull(study_id, ''), ifnull(study_date, ''), min(id) "
                       "FROM instance WHERE study_uid IS NOT NULL AND state IN ('validated', 'uploaded', 'importing', 'imported', 'stored') "
                       "GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY min(id) ON CONFLICT DO NOTHING",
                       "");
    return rc ? rc
              : state_run(s, NULL, e,
                          "INSERT INTO series_seen (destination, series_uid, study_uid, series_number, instance) "
                          "SELECT destination, series_uid, study_uid, ifnull(series_number, ''), min(id) FROM instance "
                          "WHERE study_uid IS NOT NULL AND series_uid IS NOT NULL AND state IN ('validated', 'uploaded', 'importing', 'imported', 'stored') "
                          "GROUP BY 1, 2, 3, 4 ORDER BY min(id) ON CONFLICT DO NOTHING",
                          "");
}
