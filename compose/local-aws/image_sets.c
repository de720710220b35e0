/* image_sets - see image_sets.h. */
#include "compose/local-aws/image_sets.h"

#include "common/aws/request/sigv4.h"
#include "common/runtime/runtime.h"
#include "compose/local-aws/store.h"
#include "compose/local-aws/text.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct image_sets {
    char log_path[STORE_PATH];
    int journal_fd, log_fd;
    bool durable;
    pthread_mutex_t lock;
    json_t *sets;     /* id -> image set */
    json_t *primary;  /* study and series -> the same objects */
    pthread_mutex_t job; /* held from import_begin() to import_free() */
    json_t *sops;     /* SOP Instance UID -> how often */
    json_t *homes;    /* SOP Instance UID -> id of its image set */
    json_t *outcomes; /* job -> how it ended */
};

struct import {
    struct image_sets *all;
    char job[40];
    json_t *sets;  /* id -> image set as it will be, with "matched" */
    json_t *where; /* study and series, or these and the identity -> the same objects */
    json_t *sops;  /* SOP Instance UID -> how often in this job */
    json_t *files; /* lines of the journal */
};

static const char *text_of(json_t *object, const char *name)
{
    const char *s = json_string_value(json_object_get(object, name));
    return s ? s : "";
}

/* ---- journal and log ------------------------------------------------------------------------------------------------------------ */

static void add_log_line(struct text *t, json_t *file, int64_t at_ms)
{
    char key[3 * STORE_KEY_MAX + 300];
    const char *where = text_of(file, "where");
    if (sigv4_uri_encode(where, true, key, sizeof key) != 0) {
        return;
    }
    const char *stem = strrchr(key, '/') ? strrchr(key, '/') + 1 : key;
    const char *dot = strrchr(stem, '.');
    text_addf(t, "%lld %s %s %d %s %s %s %.*s\n", (long long)at_ms, text_of(file, "job"), text_of(file, "set"),
              (int)json_integer_value(json_object_get(file, "version")), json_is_true(json_object_get(file, "primary")) ? "primary" : "other",
              json_is_true(json_object_get(file, "again")) ? "again" : "first", key, dot && dot > stem ? (int)(dot - stem) : (int)strlen(stem), stem);
}

static void see_set(struct image_sets *s, json_t *set)
{
    char key[200];
    (void)json_object_set(s->sets, text_of(set, "id"), set);
    if (json_is_true(json_object_get(set, "primary"))) {
        (void)snprintf(key, sizeof key, "%s %s", text_of(set, "study"), text_of(set, "series"));
        (void)json_object_set(s->primary, key, set);
    }
}

static void see_file(struct image_sets *s, json_t *file)
{
    const char *sop = text_of(file, "sop");
    json_int_t before = json_integer_value(json_object_get(s->sops, sop));
    (void)json_object_set_new(s->sops, sop, json_integer(before + 1));
    (void)json_object_set(s->homes, sop, json_object_get(file, "set"));
}

/* Takes in one job: its lines up to the closing one. */
static void see_job(struct image_sets *s, json_t *lines, json_t *closing, struct text *log)
{
    size_t place;
    json_t *line;
    json_array_foreach(lines, place, line) {
        json_t *set = json_object_get(line, "image_set");
        if (set) {
            see_set(s, set);
        } else {
            see_file(s, line);
            add_log_line(log, line, json_integer_value(json_object_get(json_object_get(closing, "done"), "ended_ms")));
        }
    }
    (void)json_object_set(s->outcomes, text_of(closing, "job"), json_object_get(closing, "done"));
}

static int replay(struct image_sets *s, FILE *journal, struct text *log, off_t *good)
{
    char *line = NULL;
    size_t room = 0;
    off_t at = 0;
    ssize_t n;
    json_t *lines = json_array();
    *good = 0;
    while ((n = getline(&line, &room, journal)) > 0) {
        at += n;
        json_t *parsed = line[n - 1] == '\n' ? json_loads(line, 0, NULL) : NULL;
        if (!parsed) {
            break; /* the write of the job that did not end */
        }
        if (json_object_get(parsed, "done")) {
            see_job(s, lines, parsed, log);
            (void)json_array_clear(lines);
            *good = at;
        } else {
            (void)json_array_append(lines, parsed);
        }
        json_decref(parsed);
    }
    free(line);
    json_decref(lines);
    return log->failed ? ERR_MEMORY : 0;
}

static int write_log(struct image_sets *s, const struct text *log, struct err *e)
{
    char temp[STORE_PATH + 8];
    (void)snprintf(temp, sizeof temp, "%s.new", s->log_path);
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_set(e, err_from_errno(errno), errno, "cannot write %s", temp);
    }
    s->log_fd = fd;
    int rc = write_all(fd, log->bytes ? log->bytes : "", log->used, e);
    if (rc == 0 && rename(temp, s->log_path) != 0) {
        rc = err_set(e, err_from_errno(errno), errno, "cannot rename %s", temp);
    }
    return rc;
}

int image_sets_open(struct image_sets **out, const char *data, bool durable, struct err *e)
{
    char path[STORE_PATH];
    struct text log = {0};
    off_t good = 0;
    struct image_sets *s = calloc(1, sizeof *s);
    if (!s) {
        return err_set(e, ERR_MEMORY, 0, "no memory for the image sets");
    }
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_mutex_init(&s->job, NULL);
    s->log_fd = -1;
    s->durable = durable;
    s->sets = json_object();
    s->primary = json_object();
    s->sops = json_object();
    s->homes = json_object();
    s->outcomes = json_object();
    (void)snprintf(s->log_path, sizeof s->log_path, "%s/imports.log", data);
    (void)snprintf(path, sizeof path, "%s/image_sets.ndjson", data);
    s->journal_fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int copy = s->journal_fd >= 0 ? dup(s->journal_fd) : -1;
    FILE *journal = copy >= 0 ? fdopen(copy, "r") : NULL;
    int rc = journal ? replay(s, journal, &log, &good) : err_set(e, err_from_errno(errno), errno, "cannot open %s", path);
    if (journal) {
        (void)fclose(journal);
    }
    if (rc == 0 && ftruncate(s->journal_fd, good) != 0) {
        rc = err_set(e, err_from_errno(errno), errno, "cannot cut %s", path);
    }
    if (rc == 0) {
        rc = write_log(s, &log, e);
    }
    text_clear(&log);
    if (rc != 0) {
        image_sets_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void image_sets_close(struct image_sets *s)
{
    if (s) {
        (void)(s->journal_fd >= 0 && close(s->journal_fd));
        (void)(s->log_fd >= 0 && close(s->log_fd));
        json_decref(s->sets);
        json_decref(s->primary);
        json_decref(s->sops);
        json_decref(s->homes);
        json_decref(s->outcomes);
        (void)pthread_mutex_destroy(&s->lock);
        (void)pthread_mutex_destroy(&s->job);
        free(s);
    }
}

json_t *image_sets_outcome(struct image_sets *s, const char *job)
{
    (void)pthread_mutex_lock(&s->lock);
    json_t *outcome = json_deep_copy(json_object_get(s->outcomes, job));
    (void)pthread_mutex_unlock(&s->lock);
    return outcome;
}

/* ---- an import job ---------------------------------------------------------------------------------------------------------------- */

struct import *import_begin(struct image_sets *s, const char *job)
{
    struct import *i = calloc(1, sizeof *i);
    if (i) {
        (void)pthread_mutex_lock(&s->job);
        i->all = s;
        (void)snprintf(i->job, sizeof i->job, "%s", job);
        i->sets = json_object();
        i->where = json_object();
        i->sops = json_object();
        i->files = json_array();
    }
    return i;
}

void import_free(struct import *i)
{
    if (i) {
        json_decref(i->sets);
        json_decref(i->where);
        json_decref(i->sops);
        json_decref(i->files);
        (void)pthread_mutex_unlock(&i->all->job);
        free(i);
    }
}

static json_t *new_set(const struct dicom_scan *scan, bool primary)
{
    char id[33];
    text_random_hex(16, id);
    json_int_t now = (json_int_t)clock_wall_ms();
    return json_pack("{s:s s:i s:b s:s s:s s:s s:s s:s s:s s:I s:I s:i}", "id", id, "version", 0, "primary", primary, "study",
                     scan->study_uid, "series", scan->series_uid, "patient_id", scan->patient_id, "accession_number", scan->accession_number,
                     "study_date", scan->study_date, "study_id", scan->study_id, "created_ms", now, "updated_ms", now, "instances", 0);
}

static bool same_identity(json_t *set, const struct dicom_scan *scan)
{
    return strcmp(text_of(set, "patient_id"), scan->patient_id) == 0 && strcmp(text_of(set, "accession_number"), scan->accession_number) == 0 &&
           strcmp(text_of(set, "study_date"), scan->study_date) == 0 && strcmp(text_of(set, "study_id"), scan->study_id) == 0;
}

/* The image set (borrowed) that the job keeps under a key: there already, a copy of the primary, or a new one. */
static json_t *touch(struct import *i, const char *key, const struct dicom_scan *scan, bool primary)
{
    json_t *set = json_object_get(i->where, key);
    if (set) {
        return set;
    }
    if (primary) {
        (void)pthread_mutex_lock(&i->all->lock);
        set = json_deep_copy(json_object_get(i->all->primary, key));
        (void)pthread_mutex_unlock(&i->all->lock);
    }
    set = set ? set : new_set(scan, primary);
    if (set) {
        (void)json_object_set_new(set, "version", json_integer(json_integer_value(json_object_get(set, "version")) + 1));
        (void)json_object_set_new(set, "updated_ms", json_integer((json_int_t)clock_wall_ms()));
        (void)json_object_set_new(set, "matched", json_integer(0));
        (void)json_object_set_new(i->where, key, set);
        (void)json_object_set(i->sets, text_of(set, "id"), set);
    }
    return set;
}

static void count_up(json_t *set, const char *name)
{
    (void)json_object_set_new(set, name, json_integer(json_integer_value(json_object_get(set, name)) + 1));
}

int import_add(struct import *i, const struct dicom_scan *scan, const char *where, struct import_place *out, struct err *e)
{
    char key[1000];
    (void)snprintf(key, sizeof key, "%s %s", scan->study_uid, scan->series_uid);
    json_t *set = touch(i, key, scan, true);
    if (set && !same_identity(set, scan)) {
        /* a conflict: the primary keeps its version if nothing else of this job belongs to it */
        (void)snprintf(key, sizeof key, "%s %s %s %s %s %s", scan->study_uid, scan->series_uid, scan->patient_id, scan->accession_number,
                       scan->study_date, scan->study_id);
        set = touch(i, key, scan, false);
    }
    if (!set) {
        return err_set(e, ERR_MEMORY, 0, "no memory for an image set");
    }
    count_up(set, "matched");
    count_up(set, "instances");
    (void)pthread_mutex_lock(&i->all->lock);
    bool again = json_object_get(i->all->sops, scan->sop_instance_uid) != NULL;
    (void)pthread_mutex_unlock(&i->all->lock);
    out->again = again || json_object_get(i->sops, scan->sop_instance_uid) != NULL;
    out->primary = json_is_true(json_object_get(set, "primary"));
    out->version = (int)json_integer_value(json_object_get(set, "version"));
    (void)snprintf(out->image_set, sizeof out->image_set, "%s", text_of(set, "id"));
    (void)json_object_set_new(i->sops, scan->sop_instance_uid, json_true());
    json_t *file = json_pack("{s:s s:s s:s s:s s:i s:b s:b}", "job", i->job, "sop", scan->sop_instance_uid, "set", out->image_set, "where",
                             where, "version", out->version, "primary", out->primary, "again", out->again);
    return file && json_array_append_new(i->files, file) == 0 ? 0 : err_set(e, ERR_MEMORY, 0, "no memory for a file of a job");
}

json_t *import_summary(const struct import *i)
{
    json_t *list = json_array();
    const char *id;
    json_t *set;
    json_object_foreach(i->sets, id, set) {
        json_int_t matched = json_integer_value(json_object_get(set, "matched"));
        if (matched > 0) {
            (void)json_array_append_new(list, json_pack("{s:s s:O s:O s:I}", "imageSetId", id, "imageSetVersion",
                                                        json_object_get(set, "version"), "isPrimary", json_object_get(set, "primary"),
                                                        "numberOfMatchedSOPInstances", matched));
        }
    }
    return list;
}

static void add_line(struct text *t, json_t *line)
{
    char *made = json_dumps(line, JSON_COMPACT);
    t->failed = t->failed || !made;
    text_addf(t, "%s\n", made ? made : "");
    free(made);
}

/* All of it or, when the disk is full, nothing: what follows a torn line would be lost at the next start. */
static int append(struct image_sets *s, const struct text *lines, struct err *e)
{
    off_t before = lseek(s->journal_fd, 0, SEEK_END);
    int rc = before < 0 ? err_set(e, ERR_IO, errno, "cannot find the end of the journal") : write_all(s->journal_fd, lines->bytes, lines->used, e);
    if (rc == 0 && s->durable && fdatasync(s->journal_fd) != 0) {
        rc = err_set(e, err_from_errno(errno), errno, "fdatasync of the journal failed");
    }
    if (rc != 0 && before >= 0 && ftruncate(s->journal_fd, before) != 0) {
        (void)err_set(e, rc, errno, "the journal of image sets could not be written, nor its torn end be cut off");
    }
    return rc;
}

int import_commit(struct import *i, json_t *outcome, struct err *e)
{
    struct text journal = {0};
    struct text log = {0};
    const char *id;
    json_t *set;
    json_t *lines = json_array();
    json_object_foreach(i->sets, id, set) {
        if (json_integer_value(json_object_get(set, "matched")) > 0) {
            (void)json_array_append_new(lines, json_pack("{s:s s:O}", "job", i->job, "image_set", set));
        }
    }
    (void)json_array_extend(lines, i->files);
    json_t *closing = json_pack("{s:s s:O}", "job", i->job, "done", outcome);
    size_t place;
    json_t *line;
    json_array_foreach(lines, place, line) {
        add_line(&journal, line);
    }
    add_line(&journal, closing);
    (void)pthread_mutex_lock(&i->all->lock);
    int rc = journal.failed ? err_set(e, ERR_MEMORY, 0, "no memory for a job's journal") : append(i->all, &journal, e);
    if (rc == 0) {
        see_job(i->all, lines, closing, &log);
        rc = write_all(i->all->log_fd, log.bytes ? log.bytes : "", log.used, e);
    }
    (void)pthread_mutex_unlock(&i->all->lock);
    text_clear(&journal);
    text_clear(&log);
    json_decref(lines);
    json_decref(closing);
    return rc;
}

/* ---- looking ------------------------------------------------------------------------------------------------------------------------ */

json_t *image_sets_get(struct image_sets *s, const char *id)
{
    (void)pthread_mutex_lock(&s->lock);
    json_t *set = json_deep_copy(json_object_get(s->sets, id));
    (void)pthread_mutex_unlock(&s->lock);
    return set;
}

json_t *image_sets_of_instance(struct image_sets *s, const char *sop_instance_uid)
{
    (void)pthread_mutex_lock(&s->lock);
    const char *id = json_string_value(json_object_get(s->homes, sop_instance_uid));
    json_t *set = id ? json_deep_copy(json_object_get(s->sets, id)) : NULL;
    (void)pthread_mutex_unlock(&s->lock);
    return set;
}

int image_sets_each(struct image_sets *s, int (*each)(void *ctx, json_t *set), void *ctx)
{
    const char *id;
    json_t *set;
    int rc = 0;
    (void)pthread_mutex_lock(&s->lock);
    json_object_foreach(s->sets, id, set) {
        rc = rc != 0 ? rc : each(ctx, set);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}
