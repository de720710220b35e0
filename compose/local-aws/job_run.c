/* job_run - see job_run.h. */
#include "compose/local-aws/job_run.h"

#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "compose/local-aws/faults.h"
#include "compose/local-aws/results.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct run {
    struct standin *app;
    json_t *job;
    const char *id;
    char in_bucket[64], in_prefix[STORE_KEY_MAX + 1], out_bucket[64], out_folder[STORE_KEY_MAX + 1];
    struct import *import;
    struct results results;
    struct fault_effect ordered;
};

static const char *text_of(json_t *object, const char *name)
{
    const char *s = json_string_value(json_object_get(object, name));
    return s ? s : "";
}

/* "s3://bucket/key" -> its parts; false: it is none */
static bool split_uri(const char *uri, char bucket[64], char key[STORE_KEY_MAX + 1])
{
    if (strncmp(uri, "s3://", 5) != 0) {
        return false;
    }
    uri += 5;
    size_t length = strcspn(uri, "/");
    if (length > 63) {
        return false;
    }
    (void)snprintf(bucket, 64, "%.*s", (int)length, uri);
    return snprintf(key, STORE_KEY_MAX + 1, "%s", uri + length + (uri[length] == '/')) <= STORE_KEY_MAX && store_bucket_is_legal(bucket);
}

static json_t *outcome(const char *status, const char *message)
{
    return json_pack("{s:s s:s s:I}", "status", status, "message", message, "ended_ms", (json_int_t)clock_wall_ms());
}

/* ---- the input ------------------------------------------------------------------------------------------------------------------ */

/* Counts what is below the prefix; "" or why the job must fail. */
static int survey(const struct run *x, char *message, size_t size)
{
    const struct options *o = &x->app->options;
    struct entry entry;
    char key[STORE_KEY_MAX + 1];
    char from[STORE_KEY_MAX + 1];
    int64_t bytes = 0;
    int files = 0;
    message[0] = '\0';
    (void)snprintf(from, sizeof from, "%s", x->in_prefix);
    for (bool inclusive = true; store_next(x->app->store, x->in_bucket, from, inclusive, &entry, key) &&
                                strncmp(key, x->in_prefix, strlen(x->in_prefix)) == 0;
         inclusive = false) {
        files++;
        bytes += entry.bytes;
        if (files > o->files_max || bytes > o->job_bytes_max) {
            (void)snprintf(message, size, "The input of an import job is limited to %d files and %lld bytes", o->files_max,
                           (long long)o->job_bytes_max);
            break;
        }
        (void)snprintf(from, sizeof from, "%s", key);
    }
    return files;
}

/* Reads the header of an object. */
static int scan_object(const struct run *x, const char *key, struct dicom_scan *scan, struct err *e)
{
    int64_t bytes;
    json_t *description = NULL;
    memset(scan, 0, sizeof *scan);
    int fd = store_open_object(x->app->store, x->in_bucket, key, &bytes, &description, e);
    if (fd < 0) {
        return ERR_IO;
    }
    json_decref(description);
    int rc;
    if (bytes == 0) {
        rc = err_set(e, ERR_DICOM_UNREADABLE, 0, "the object is empty");
    } else {
        void *content = mmap(NULL, (size_t)bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        rc = content == MAP_FAILED ? err_set(e, ERR_IO, errno, "cannot map an object") : dicom_scan_memory(content, (size_t)bytes, scan, e);
        if (content != MAP_FAILED) {
            (void)munmap(content, (size_t)bytes);
        }
    }
    (void)close(fd);
    return rc;
}

static int import_file(struct run *x, const char *key, struct err *e)
{
    char message[200];
    char where[STORE_KEY_MAX + 80];
    struct fault_effect ordered;
    struct dicom_scan scan;
    struct import_place place;
    faults_match(x->app->faults, "ImportFile", key, &ordered);
    if (ordered.skip_file) {
        return 0;
    }
    if (ordered.strange_line) {
        results_add_strange(&x->results);
    }
    if (ordered.server_error) {
        results_add_failure(&x->results, key, "InternalServerException", "Internal server error", true, ordered.drop_result);
        return 0;
    }
    if (ordered.customer_error) {
        results_add_failure(&x->results, key, "ValidationException", "ordered fault", false, ordered.drop_result);
        return 0;
    }
    int rc = scan_object(x, key, &scan, e);
    if (rc == ERR_IO || rc == ERR_MEMORY) {
        results_add_failure(&x->results, key, "InternalServerException", "Internal server error", true, ordered.drop_result);
        return 0;
    }
    results_judge(&scan, rc, message, sizeof message);
    if (message[0]) {
        results_add_failure(&x->results, key, "ValidationException", message, false, ordered.drop_result);
        return 0;
    }
    (void)snprintf(where, sizeof where, "%s/%s", x->in_bucket, key);
    rc = import_add(x->import, &scan, where, &place, e);
    if (rc == 0) {
        results_add_import(&x->results, key, &scan, &place, ordered.drop_result);
    }
    return rc;
}

static int import_files(struct run *x, int count, struct err *e)
{
    struct entry entry;
    char key[STORE_KEY_MAX + 1];
    char from[STORE_KEY_MAX + 1];
    bool inclusive = true;
    int rc = 0;
    (void)snprintf(from, sizeof from, "%s", x->in_prefix);
    for (; count > 0 && rc == 0 && store_next(x->app->store, x->in_bucket, from, inclusive, &entry, key) &&
           strncmp(key, x->in_prefix, strlen(x->in_prefix)) == 0;
         count--) {
        rc = import_file(x, key, e);
        (void)snprintf(from, sizeof from, "%s", key);
        inclusive = false;
    }
    return rc;
}

/* ---- the job ---------------------------------------------------------------------------------------------------------------------- */

/* Results first, then the journal: its closing line makes everything seen. */
static int close_job(struct run *x, json_t *ended, struct err *e)
{
    json_t *summary = import_summary(x->import);
    int rc = results_write(&x->results, x->app->store, x->job, summary, x->out_bucket, x->out_folder, e);
    if (rc == 0) {
        rc = import_commit(x->import, ended, e);
    }
    json_decref(summary);
    return rc;
}

static json_t *import_all(struct run *x)
{
    struct err e = {0};
    char text[700];
    char message[220];
    json_t *ended = NULL;
    int count = survey(x, message, sizeof message);
    if (message[0]) {
        return outcome("FAILED", message);
    }
    if (x->ordered.job_failed) {
        count = x->ordered.partial ? (count + 1) / 2 : 0;
    }
    x->import = import_begin(x->app->image_sets, x->id);
    int rc = x->import ? import_files(x, count, &e) : err_set(&e, ERR_MEMORY, 0, "no memory for a job");
    if (rc == 0 && x->ordered.job_failed && !x->ordered.partial) {
        ended = outcome("FAILED", x->ordered.message);
    } else if (rc == 0) {
        ended = outcome(x->ordered.job_failed ? "FAILED" : "COMPLETED", x->ordered.job_failed ? x->ordered.message : "");
        rc = close_job(x, ended, &e);
    }
    if (rc == ERR_NOT_FOUND || rc == ERR_ARGUMENT) { /* the output bucket went away, or its folder's name is too long */
        json_decref(ended);
        ended = outcome("FAILED", "The results cannot be written to the output location");
    } else if (rc != 0) {
        log_error("job_not_run", "job=%s error=%s detail=%s", x->id, err_name(rc), log_text(e.text, text, sizeof text));
        json_decref(ended);
        ended = NULL;
    }
    import_free(x->import);
    return ended;
}

json_t *job_run(struct standin *app, json_t *job)
{
    struct run *x = calloc(1, sizeof *x);
    json_t *ended = NULL;
    if (!x) {
        return NULL;
    }
    x->app = app;
    x->job = job;
    x->id = text_of(job, "jobId");
    faults_match(app->faults, "ImportJob", text_of(job, "jobName"), &x->ordered);
    if (!split_uri(text_of(job, "inputS3Uri"), x->in_bucket, x->in_prefix) || !store_bucket_exists(app->store, x->in_bucket)) {
        ended = outcome("FAILED", "The input bucket does not exist, or the data access role cannot read it");
    } else if (!split_uri(text_of(job, "outputS3Uri"), x->out_bucket, x->out_folder) || !store_bucket_exists(app->store, x->out_bucket)) {
        ended = outcome("FAILED", "The output bucket does not exist, or the data access role cannot write to it");
    } else {
        ended = import_all(x);
    }
    results_clear(&x->results);
    free(x);
    return ended;
}
