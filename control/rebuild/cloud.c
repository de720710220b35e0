/*
 * cloud - what `rebuild` asks of S3 and HealthImaging (rebuild.h), over common/aws. A call that fails in a way that heals is repeated with
 * growing pauses, some minutes at most: a rebuild may run for hours and shall not end at one throttled answer.
 * Layout of the results: FACTS of HealthImaging's import jobs, <output>/<data store>-DicomImport-<job>/ with job-output-manifest.json and
 * SUCCESS/, WARNING/, FAILURE/ below.
 */
#include "common/aws/medical_imaging.h"
#include "common/aws/s3/s3.h"
#include "common/runtime/runtime.h"
#include "control/rebuild/rebuild.h"

#include <jansson.h>
#include <time.h>
#include <unistd.h>

enum { ATTEMPTS = 9, PAUSE_MS = 500, PAUSE_MAX_MS = 60000, SLICE = 1 << 20, MANIFEST_MAX = 16 << 20 };

struct cloud {
    struct aws_client *client;
    const char *datastore, *prefix, *output_bucket, *output_prefix;
};

int cloud_open(struct cloud **out, const struct config *config, struct err *e)
{
    struct cloud *c = calloc(1, sizeof *c);
    if (!c) {
        return err_set(e, ERR_MEMORY, 0, "rebuild");
    }
    c->datastore = config_text(config, CFG_DATASTORE_ID);
    c->prefix = config_text(config, CFG_S3_PREFIX);
    c->output_bucket = config_output_bucket(config);
    c->output_prefix = config_text(config, CFG_OUTPUT_PREFIX);
    int rc = aws_client_open(&c->client, config, e);
    if (rc != 0) {
        free(c);
        return rc;
    }
    *out = c;
    return 0;
}

void cloud_close(struct cloud **c)
{
    if (c && *c) {
        aws_client_close(&(*c)->client);
        free(*c);
        *c = NULL;
    }
}

/* True after a pause if the call that ended with rc is worth another try. */
static bool again(int rc, int *attempt)
{
    enum err_class class = err_class_of(rc);
    if (rc == 0 || ++*attempt >= ATTEMPTS ||
        (class != ERR_CLASS_RETRY_SOON && class != ERR_CLASS_RETRY_BACKOFF && class != ERR_CLASS_PEER_DOWN)) {
        return false;
    }
    int64_t ms = backoff_ms(*attempt, PAUSE_MS, PAUSE_MAX_MS, random_u32());
    struct timespec pause = {ms / 1000, (ms % 1000) * 1000000};
    (void)nanosleep(&pause, NULL);
    return true;
}

/* ---- listings -------------------------------------------------------------------------------------------------------------- */

/* Between the listing and the caller: an error of the caller's must not be taken for one of the listing. */
struct listing {
    const struct cloud *cloud;
    int (*object)(void *ctx, const char *key, int64_t bytes);
    int (*job)(void *ctx, const struct cloud_job *job);
    void *ctx;
    int stopped; /* what the caller returned */
};

static int on_object(void *ctx, const char *key, int64_t bytes)
{
    struct listing *l = ctx;
    return l->stopped = l->object(l->ctx, key, bytes);
}

/* A listing that broke off begins anew: callers take an object twice without harm. */
static int list_objects(struct cloud *c, const char *bucket, const char *prefix, struct listing *l, struct err *e)
{
    int attempt = 0;
    int rc;
    do {
        rc = s3_list(c->client, bucket, prefix, on_object, l, e);
    } while (l->stopped == 0 && again(rc, &attempt));
    return rc;
}

int cloud_each_object(struct cloud *c, int (*each)(void *ctx, const char *key, int64_t bytes), void *ctx, struct err *e)
{
    char prefix[256];
    struct listing l = {.cloud = c, .object = each, .ctx = ctx};
    (void)snprintf(prefix, sizeof prefix, "%s/", c->prefix);
    return list_objects(c, NULL, prefix, &l, e);
}

static int on_job(void *ctx, const struct ahi_job *job)
{
    struct listing *l = ctx;
    struct cloud_job out;
    if (!id_is_legal(job->job_name)) {
        return 0; /* somebody else's */
    }
    memset(&out, 0, sizeof out);
    (void)snprintf(out.batch, sizeof out.batch, "%.26s", job->job_name);
    (void)snprintf(out.job_id, sizeof out.job_id, "%s", job->job_id);
    (void)snprintf(out.status, sizeof out.status, "%s", job->status);
    out.submitted_ms = job->submitted_ms;
    return l->stopped = l->job(l->ctx, &out);
}

int cloud_each_job(struct cloud *c, int (*each)(void *ctx, const struct cloud_job *job), void *ctx, struct err *e)
{
    struct listing l = {.cloud = c, .job = each, .ctx = ctx};
    int attempt = 0;
    int rc;
    do {
        rc = ahi_each_job(c->client, c->datastore, NULL, on_job, &l, e);
    } while (l.stopped == 0 && again(rc, &attempt));
    return rc;
}

/* "<...>/<batch>/<data store>-DicomImport-<job>/job-output-manifest.json" -> a job; other keys are passed over. */
static int on_result(void *ctx, const char *key, int64_t bytes)
{
    static const char manifest[] = "/job-output-manifest.json";
    static const char middle[] = "-DicomImport-";
    struct listing *l = ctx;
    struct cloud_job out;
    size_t end = strlen(key);
    (void)bytes;
    if (end <= sizeof manifest - 1 || strcmp(key + end - (sizeof manifest - 1), manifest) != 0) {
        return 0;
    }
    end -= sizeof manifest - 1;
    size_t folder = end;
    while (folder > 0 && key[folder - 1] != '/') {
        folder--;
    }
    size_t store = strlen(l->cloud->datastore);
    size_t job = folder + store + sizeof middle - 1;
    if (folder < 28 || key[folder - 28] != '/' || job >= end || strncmp(key + folder, l->cloud->datastore, store) != 0 ||
        strncmp(key + folder + store, middle, sizeof middle - 1) != 0 || end - job >= sizeof out.job_id) {
        return 0;
    }
    memset(&out, 0, sizeof out);
    (void)snprintf(out.batch, sizeof out.batch, "%.26s", key + folder - 27);
    (void)snprintf(out.job_id, sizeof out.job_id, "%.*s", (int)(end - job), key + job);
    (void)snprintf(out.output_uri, sizeof out.output_uri, "s3://%s/%.*s/", l->cloud->output_bucket, (int)(end < 900 ? end : 900), key);
    return id_is_legal(out.batch) ? (l->stopped = l->job(l->ctx, &out)) : 0;
}

int cloud_each_result(struct cloud *c, int (*each)(void *ctx, const struct cloud_job *job), void *ctx, struct err *e)
{
    char prefix[256];
    struct listing inner = {.cloud = c, .job = each, .ctx = ctx};
    struct listing l = {.cloud = c, .object = on_result, .ctx = &inner};
    (void)snprintf(prefix, sizeof prefix, "%s/", c->output_prefix);
    return list_objects(c, c->output_bucket, prefix, &l, e);
}

/* ---- objects ----------------------------------------------------------------------------------------------------------------- */

int cloud_object_look(struct cloud *c, const char *key, struct cloud_object *out, struct err *e)
{
    struct s3_head head;
    int attempt = 0;
    int rc;
    memset(&head, 0, sizeof head);
    do {
        rc = s3_head(c->client, NULL, key, &head, e);
    } while (again(rc, &attempt));
    if (rc == 0) {
        (void)snprintf(out->etag, sizeof out->etag, "%s", head.etag);
        out->has_crc32c = head.has_crc32c;
        out->crc32c = head.crc32c;
    }
    return rc;
}

static int get(struct cloud *c, const char *bucket, const char *key, int64_t from, int64_t limit, char **body, size_t *size, struct err *e)
{
    int attempt = 0;
    int rc;
    do {
        *body = NULL;
        *size = 0;
        rc = s3_get(c->client, bucket, key, from, limit, body, size, e);
    } while (again(rc, &attempt));
    return rc;
}

int cloud_object_head(struct cloud *c, const char *key, int fd, struct err *e)
{
    char *body = NULL;
    size_t size = 0;
    int rc = get(c, NULL, key, 0, CLOUD_HEAD_BYTES, &body, &size, e);
    rc = rc == 0 ? write_all(fd, body, size, e) : rc;
    free(body);
    return rc;
}

/* ---- results ----------------------------------------------------------------------------------------------------------------- */

/* One result file in slices that end with a line. */
static int each_slice(struct cloud *c, const char *bucket, const char *key, int (*each)(void *ctx, const char *text), void *ctx,
                      struct err *e)
{
    int64_t from = 0;
    for (;;) {
        char *body = NULL;
        size_t size = 0;
        int rc = get(c, bucket, key, from, SLICE, &body, &size, e);
        if (rc != 0 || size == 0) {
            free(body);
            return rc == ERR_AWS_REJECTED && from > 0 ? 0 : rc; /* the range begins at the end: all was read */
        }
        size_t taken = size;
        if (size == SLICE) { /* there may be more: leave the line that is cut for the next slice */
            while (taken > 0 && body[taken - 1] != '\n') {
                taken--;
            }
            taken = taken ? taken : size;
        }
        body[taken < size ? taken : size] = '\0';
        rc = each(ctx, body);
        free(body);
        if (rc != 0 || size < SLICE) {
            return rc;
        }
        from += (int64_t)taken;
    }
}

/* Where the results of a job are: bucket, and the folder with its '/'. */
static int find_folder(struct cloud *c, const struct cloud_job *job, char bucket[80], char folder[1030], struct err *e)
{
    char uri[1025];
    int rc = 0;
    (void)snprintf(uri, sizeof uri, "%s", job->output_uri);
    if (!uri[0]) { /* only HealthImaging knows where they are */
        struct ahi_job told;
        int attempt = 0;
        memset(&told, 0, sizeof told);
        do {
            rc = ahi_get_job(c->client, c->datastore, job->job_id, &told, e);
        } while (again(rc, &attempt));
        (void)snprintf(uri, sizeof uri, "%s", told.output_s3_uri);
    }
    rc = rc == 0 ? s3_uri_split(uri, bucket, 80, folder, 1025) : rc;
    size_t length = rc == 0 ? strlen(folder) : 0;
    if (length && folder[length - 1] != '/') {
        (void)snprintf(folder + length, 1030 - length, "/");
    }
    return rc;
}

int cloud_results_count(struct cloud *c, const struct cloud_job *job, int64_t *scanned, struct err *e)
{
    char bucket[80];
    char folder[1030];
    char key[1100];
    char *body = NULL;
    size_t size = 0;
    int rc = find_folder(c, job, bucket, folder, e);
    (void)snprintf(key, sizeof key, "%sjob-output-manifest.json", rc == 0 ? folder : "");
    rc = rc == 0 ? get(c, bucket, key, 0, MANIFEST_MAX, &body, &size, e) : rc;
    if (rc == 0) {
        json_t *manifest = json_loadb(body, size, JSON_DISABLE_EOF_CHECK, NULL);
        json_t *count = json_object_get(json_object_get(manifest, "jobSummary"), "numberOfScannedFiles");
        *scanned = json_is_integer(count) ? json_integer_value(count) : INT64_MAX; /* not told: look into the results */
        json_decref(manifest);
    }
    free(body);
    return rc;
}

int cloud_results_text(struct cloud *c, const struct cloud_job *job, int (*each)(void *ctx, const char *text), void *ctx,
                       struct err *e)
{
    static const char *const files[] = {"SUCCESS/success.ndjson", "WARNING/warning.ndjson", "FAILURE/failure.ndjson"};
    char bucket[80];
    char folder[1030];
    int rc = find_folder(c, job, bucket, folder, e);
    bool found = false;
    for (size_t i = 0; rc == 0 && i < sizeof files / sizeof files[0]; i++) {
        char key[1100];
        (void)snprintf(key, sizeof key, "%s%s", folder, files[i]);
        rc = each_slice(c, bucket, key, each, ctx, e);
        found = found || rc == 0;
        rc = rc == ERR_AWS_NOT_FOUND ? 0 : rc;
    }
    return rc == 0 && !found ? err_set(e, ERR_AWS_NOT_FOUND, 0, "job %s has no results in S3", job->job_id) : rc;
}
