/*
 * reconcile - reads what a job that ended left behind and writes an end to every instance of its batch.
 *
 * The output folder is listed first: S3 listings are exact, so what is not in it is not there (yet). The manifest is waited for; then
 * WARNING, SUCCESS and FAILURE are read in slices, in this order, because the first verdict on an instance holds and a warned file may or
 * may not stand in SUCCESS as well. Everything is idempotent: after a crash the next claim reads again.
 * An instance that no line mentions is never assumed imported: the results are read again once or twice, then it goes into a new batch.
 * A FAILED job is read in the same way: part of it may have been imported.
 * What the service says about a file or job may hold words of the data set: it goes into the database, not into the log.
 */
#include "common/aws/s3/s3.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "importer/importer.h"
#include "importer/results.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FILES_MAX = 64,
    SLICE_BYTES = 1 << 20, /* a line is a few hundred bytes; one that is longer than a slice is passed over */
    ROOM = 500,            /* results committed together */
    LATE_MAX = 12,         /* looks again for the manifest of a COMPLETED job, over some seven minutes */
    LATE_MAX_FAILED = 4,   /* the same of a FAILED one: it may well have written none */
    PART_MAX = 5,          /* looks again at lines that are fewer than the manifest counts, over half a minute */
    REREAD_MAX = 1         /* looks again at results that are whole and leave instances out */
};
static const int64_t read_max_bytes = 1LL << 30; /* of one job's result files */

struct result_file {
    enum results_file kind;
    int64_t bytes;
    char name[120]; /* below the folder */
};
struct reading {
    struct importer *m;
    struct state_batch *b;
    char bucket[64], folder[1025];
    struct result_file files[FILES_MAX];
    size_t file_count;
    struct results_manifest manifest;
    struct state_result *room; /* ROOM of them */
    size_t room_used;
    int64_t taken_bytes;
    /* what the lines said */
    int64_t imported, refused, again, warned, not_primary, bad, foreign;
};

/* ---- files ---------------------------------------------------------------------------------------------------------------------- */

static int note_file(void *ctx, const char *key, int64_t bytes)
{
    struct reading *r = ctx;
    size_t length = strlen(r->folder);
    enum results_file kind = strncmp(key, r->folder, length) == 0 ? results_file_of(key + length) : RESULTS_OTHER;
    if (kind == RESULTS_OTHER || strlen(key + length) >= sizeof r->files[0].name) {
        return 0;
    }
    if (r->file_count == FILES_MAX) {
        return ERR_TOO_LARGE;
    }
    struct result_file *f = &r->files[r->file_count++];
    f->kind = kind;
    f->bytes = bytes;
    (void)snprintf(f->name, sizeof f->name, "%s", key + length);
    return 0;
}

static int list_files(struct reading *r, struct err *e)
{
    char uri[1100];
    const char *store = r->b->datastore_id[0] ? r->b->datastore_id : config_text(r->m->config, CFG_DATASTORE_ID);
    int rc = results_folder(r->b->output_s3_uri, store, r->b->job_id, uri, sizeof uri);
    rc = rc ? rc : s3_uri_split(uri, r->bucket, sizeof r->bucket, r->folder, sizeof r->folder);
    if (rc != 0) {
        return err_set(e, ERR_PROTOCOL, 0, "the output of job %s is no S3 URI that can be read: %.200s", r->b->job_id, r->b->output_s3_uri);
    }
    rc = s3_list(r->m->aws, r->bucket, r->folder, note_file, r, e);
    return rc == ERR_TOO_LARGE ? err_set(e, ERR_PROTOCOL, 0, "job %s left more than %d result files", r->b->job_id, FILES_MAX) : rc;
}

static int get(struct reading *r, const struct result_file *f, int64_t from, int64_t limit, char **body, size_t *size, struct err *e)
{
    char key[1200];
    (void)snprintf(key, sizeof key, "%s%s", r->folder, f->name);
    int rc = s3_get(r->m->aws, r->bucket, key, from, limit, body, size, e);
    return rc == ERR_AWS_NOT_FOUND ? err_set(e, ERR_PROTOCOL, 0, "%s of job %s was listed and is gone", f->name, r->b->job_id) : rc;
}

/* 0 whether there is one or not; a manifest that cannot be read counts as none. */
static int read_manifest(struct reading *r, struct err *e)
{
    for (size_t i = 0; i < r->file_count; i++) {
        char *body = NULL;
        size_t size = 0;
        if (r->files[i].kind != RESULTS_MANIFEST) {
            continue;
        }
        int rc = get(r, &r->files[i], 0, RESULTS_MANIFEST_MAX, &body, &size, e);
        if (rc != 0) {
            return rc;
        }
        struct err why = {0};
        if (results_manifest_parse(body, size, &r->manifest, &why) != 0) {
            log_warning("manifest_unreadable", "batch=%s job=%s reason=\"%s\"", r->b->id, r->b->job_id, why.text);
        }
        free(body);
    }
    return 0;
}

/* ---- lines ---------------------------------------------------------------------------------------------------------------------- */

static int flush(struct reading *r, struct err *e)
{
    int rc = state_batch_results(r->m->state, r->b, r->room, r->room_used, &r->m->again, e);
    r->room_used = 0;
    return rc;
}

static int take_line(struct reading *r, enum results_file kind, const char *line, size_t size, struct err *e)
{
    struct state_result *out = &r->room[r->room_used];
    switch (results_line_parse(line, size, kind, &r->manifest, r->b->id, out)) {
    case RESULTS_LINE_OK:
        r->imported += kind == RESULTS_SUCCESS;
        r->warned += kind == RESULTS_WARNING;
        r->refused += out->kind == RESULT_REFUSED;
        r->again += out->kind == RESULT_RETRY;
        r->not_primary += kind == RESULTS_SUCCESS && out->is_primary == 0;
        return ++r->room_used == ROOM ? flush(r, e) : 0;
    case RESULTS_LINE_BAD:
        r->bad++;
        return 0;
    case RESULTS_LINE_FOREIGN:
        r->foreign++;
        return 0;
    case RESULTS_LINE_EMPTY:
        break;
    }
    return 0;
}

/* One file, a slice at a time: memory does not grow with it. */
static int read_file(struct reading *r, const struct result_file *f, struct err *e)
{
    bool skipping = false; /* inside a line that is longer than a slice */
    int64_t at = 0;
    while (at < f->bytes) {
        char *body = NULL;
        size_t size = 0;
        if (stop_requested()) {
            return err_set(e, ERR_STOPPED, 0, "told to stop while reading results");
        }
        int rc = get(r, f, at, SLICE_BYTES, &body, &size, e);
        r->taken_bytes += (int64_t)size;
        bool last = rc == 0 && at + (int64_t)size >= f->bytes;
        size_t used = 0;
        const char *line = NULL;
        size_t length = 0;
        while (rc == 0 && results_line_next(body, size, last, &used, &line, &length)) {
            if (!skipping) {
                rc = take_line(r, f->kind, line, length, e);
            }
            skipping = false;
        }
        free(body);
        if (rc == 0 && size == 0) {
            rc = err_set(e, ERR_PROTOCOL, 0, "%s of job %s ends before its size", f->name, r->b->job_id);
        } else if (rc == 0 && r->taken_bytes > read_max_bytes) {
            rc = err_set(e, ERR_PROTOCOL, 0, "the results of job %s are larger than %lld bytes", r->b->job_id, (long long)read_max_bytes);
        }
        if (rc != 0) {
            return rc;
        }
        if (used == 0) {
            r->bad += !skipping;
            skipping = true;
            used = size;
        }
        at += (int64_t)used;
    }
    return 0;
}

static int read_lines(struct reading *r, struct err *e)
{
    static const enum results_file order[] = {RESULTS_WARNING, RESULTS_SUCCESS, RESULTS_FAILURE};
    int rc = 0;
    for (size_t k = 0; rc == 0 && k < sizeof order / sizeof order[0]; k++) {
        for (size_t i = 0; rc == 0 && i < r->file_count; i++) {
            rc = r->files[i].kind == order[k] ? read_file(r, &r->files[i], e) : 0;
        }
        rc = rc ? rc : flush(r, e);
    }
    return rc;
}

/* ---- the end ---------------------------------------------------------------------------------------------------------------------- */

/* Does every file that the manifest counts stand in a line? */
static bool is_whole(const struct reading *r)
{
    const struct results_manifest *m = &r->manifest;
    int64_t good = r->imported > r->warned ? r->imported : r->warned; /* warned ones may stand in SUCCESS, too */
    int64_t lines = good + r->refused + r->again + r->bad + r->foreign;
    return results_manifest_adds_up(m) && lines >= m->scanned;
}

/* Some instances have no verdict. Is it worth waiting for? */
static bool may_still_come(const struct reading *r)
{
    bool completed = strcmp(r->b->job_status, "COMPLETED") == 0;
    int looks = is_whole(r) ? REREAD_MAX : !completed ? LATE_MAX_FAILED : r->manifest.present ? PART_MAX : LATE_MAX;
    return r->b->attempts < looks;
}

static int finish(struct reading *r, struct err *e)
{
    struct err why = {0};
    int left = 0;
    bool completed = strcmp(r->b->job_status, "COMPLETED") == 0;
    if (completed) {
        (void)err_set(&why, ERR_IMPORT_UNKNOWN, 0, "job %s is COMPLETED and its results do not mention this file", r->b->job_id);
    } else {
        (void)err_set(&why, ERR_IMPORT_JOB_FAILED, 0, "job %s is %s: %.240s", r->b->job_id, r->b->job_status[0] ? r->b->job_status : "of unknown outcome",
                      r->b->job_message[0] ? r->b->job_message : "no message");
    }
    int rc = state_batch_done(r->m->state, r->b, &r->m->again, &why, &left, e);
    if (rc != 0) {
        return rc;
    }
    bool odd = left > 0 || r->refused || r->again || r->bad || r->foreign || !r->manifest.present || !results_manifest_adds_up(&r->manifest);
    log_write(odd ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "batch_reconciled",
              "batch=%s job=%s status=%s scanned=%lld imported=%lld warned=%lld not_primary=%lld refused=%lld server_errors=%lld unmentioned=%d "
              "bad_lines=%lld foreign_files=%lld manifest=%s%s%s%s",
              r->b->id, r->b->job_id, r->b->job_status, (long long)r->manifest.scanned, (long long)r->imported, (long long)r->warned,
              (long long)r->not_primary, (long long)r->refused, (long long)r->again, left, (long long)r->bad, (long long)r->foreign,
              !r->manifest.present ? "missing" : results_manifest_adds_up(&r->manifest) ? "adds_up" : "does_not_add_up",
              r->refused || left ? " remedy=\"each instance says why: storescpctl show " : "", r->refused || left ? r->b->id : "", r->refused || left ? "\"" : "");
    return 0;
}

static int reconcile(struct reading *r, struct err *e)
{
    int64_t open = 0;
    int rc = list_files(r, e);
    rc = rc ? rc : read_manifest(r, e);
    if (rc != 0) {
        return rc;
    }
    if (!r->manifest.present && may_still_come(r)) {
        return err_set(e, ERR_IMPORT_UNKNOWN, 0, "the manifest of job %s is not there yet", r->b->job_id);
    }
    rc = read_lines(r, e);
    rc = rc ? rc : state_batch_open_count(r->m->state, r->b->id, &open, e);
    if (rc == 0 && open > 0 && may_still_come(r)) {
        return err_set(e, ERR_IMPORT_UNKNOWN, 0, "%lld instances of job %s have no result yet", (long long)open, r->b->job_id);
    }
    return rc ? rc : finish(r, e);
}

bool results_next(struct importer *m)
{
    struct state_batch b;
    struct err e = {0};
    bool found = false;
    if (!gate_is_open(&m->results, clock_mono_ms())) {
        return false;
    }
    if (state_batch_claim_for(m->state, config_destination_name(m->config), WORK_RESULTS, &b, &found, &e) != 0) {
        log_error("claim_failed", "reason=\"%s\"", e.text);
        return false;
    }
    if (!found) {
        gate_rest(&m->results, clock_mono_ms());
        return false;
    }
    struct reading *r = calloc(1, sizeof *r);
    struct state_result *room = calloc(ROOM, sizeof *room);
    int rc = r && room ? 0 : err_set(&e, ERR_MEMORY, 0, "cannot read results");
    if (rc == 0) {
        r->m = m;
        r->b = &b;
        r->room = room;
        rc = reconcile(r, &e);
        results_manifest_clear(&r->manifest);
    }
    free(room);
    free(r);
    if (rc == 0 || rc == ERR_IMPORT_UNKNOWN) {
        gate_passed(&m->results);
    }
    if (rc == ERR_STOPPED) {
        importer_give_back(m, &b);
    } else if (rc == ERR_FENCED) {
        log_warning("claim_lost", "batch=%s job=%s reason=\"another importer has it\"", b.id, b.job_id);
    } else if (rc != 0) {
        importer_put_off(m, &m->results, &b, &e);
    }
    return true;
}
