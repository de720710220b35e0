/*
 * ordered_cloud - a HealthImaging and an S3 inside a test program: the calls of common/aws that the importer makes, doing exactly what the
 * test orders through `cloud`. Included by one file of a program, which then takes nothing of these from the aws library.
 */
#ifndef STORESCP_TESTS_ORDERED_CLOUD_H
#define STORESCP_TESTS_ORDERED_CLOUD_H

#include "tests/unit/state_fixture.h"

#include "common/aws/medical_imaging.h"
#include "common/aws/s3/s3.h"
#include "importer/importer.h"

#include <sqlite3.h>

enum { JOBS = 16, OBJECTS = 8 };

static struct {
    struct ahi_job jobs[JOBS];
    char tokens[JOBS][65];
    int job_count, start_calls, get_calls, list_calls;
    int start_rc;          /* what the next start answers */
    bool answer_lost;      /* ... after it made the job */
    bool listing_lags;     /* jobs are not listed */
    int get_rc, list_rc, store_rc;
    const char *store_status;
    struct {
        char key[512], *body;
    } objects[OBJECTS];
    int object_count;
    int s3_rc, delete_rc, deletes;
    const char *other_bucket; /* beside "bucket"; empty, and every look at it answers other_rc */
    int other_rc, other_looks;
    char last_store[40]; /* that the last look at a job or a start named */
} cloud;

static int answer(int rc, struct err *e, const char *what)
{
    return rc ? err_set(e, rc, 0, "%s: ordered by the test", what) : 0;
}

int ahi_start_job(struct aws_client *c, const struct ahi_start *s, struct ahi_job *out, struct err *e)
{
    (void)c;
    cloud.start_calls++;
    (void)snprintf(cloud.last_store, sizeof cloud.last_store, "%s", s->datastore_id);
    if (cloud.start_rc && !cloud.answer_lost) {
        return answer(cloud.start_rc, e, "StartDICOMImportJob");
    }
    int i = 0;
    while (i < cloud.job_count && strcmp(cloud.tokens[i], s->client_token) != 0) {
        i++;
    }
    assert_in_range(i, 0, JOBS - 1);
    struct ahi_job *j = &cloud.jobs[i];
    if (i == cloud.job_count) {
        cloud.job_count++;
        (void)snprintf(cloud.tokens[i], sizeof cloud.tokens[i], "%s", s->client_token);
        (void)snprintf(j->job_id, sizeof j->job_id, "job%d", i);
        (void)snprintf(j->job_name, sizeof j->job_name, "%s", s->job_name);
        (void)snprintf(j->status, sizeof j->status, "SUBMITTED");
        (void)snprintf(j->input_s3_uri, sizeof j->input_s3_uri, "%s", s->input_s3_uri);
        (void)snprintf(j->output_s3_uri, sizeof j->output_s3_uri, "%s%s-DicomImport-job%d/", s->output_s3_uri, s->datastore_id, i);
        j->submitted_ms = clock_wall_ms();
    }
    assert_string_equal(j->input_s3_uri, s->input_s3_uri); /* the same token always comes with the same body */
    if (cloud.answer_lost) {
        return answer(cloud.start_rc, e, "StartDICOMImportJob");
    }
    *out = *j;
    return 0;
}

int ahi_get_job(struct aws_client *c, const char *store, const char *id, struct ahi_job *out, struct err *e)
{
    (void)c;
    cloud.get_calls++;
    (void)snprintf(cloud.last_store, sizeof cloud.last_store, "%s", store);
    if (cloud.get_rc) {
        return answer(cloud.get_rc, e, "GetDICOMImportJob");
    }
    for (int i = 0; i < cloud.job_count; i++) {
        if (strcmp(cloud.jobs[i].job_id, id) == 0) {
            *out = cloud.jobs[i];
            return 0;
        }
    }
    return answer(ERR_AWS_NOT_FOUND, e, "GetDICOMImportJob");
}

int ahi_each_job(struct aws_client *c, const char *store, const char *status, int (*each)(void *, const struct ahi_job *), void *ctx, struct err *e)
{
    (void)c;
    (void)store;
    cloud.list_calls++;
    int rc = answer(cloud.list_rc, e, "ListDICOMImportJobs");
    for (int i = 0; rc == 0 && !cloud.listing_lags && i < cloud.job_count; i++) {
        struct ahi_job summary = cloud.jobs[i];
        summary.input_s3_uri[0] = summary.output_s3_uri[0] = '\0';
        rc = strcmp(summary.status, status) == 0 ? each(ctx, &summary) : 0;
    }
    return rc;
}

int ahi_datastore_status(struct aws_client *c, const char *store, char status[24], struct err *e)
{
    (void)c;
    (void)store;
    (void)snprintf(status, 24, "%s", cloud.store_status);
    return answer(cloud.store_rc, e, "GetDatastore");
}

int s3_uri_split(const char *uri, char *bucket, size_t bucket_size, char *key, size_t key_size)
{
    const char *slash = strncmp(uri, "s3://", 5) == 0 ? strchr(uri + 5, '/') : NULL;
    if (!slash) {
        return ERR_ARGUMENT;
    }
    (void)snprintf(bucket, bucket_size, "%.*s", (int)(slash - uri - 5), uri + 5);
    (void)snprintf(key, key_size, "%s", slash + 1);
    return 0;
}

int s3_list(struct aws_client *c, const char *bucket, const char *prefix, int (*each)(void *, const char *, int64_t), void *ctx, struct err *e)
{
    (void)c;
    if (cloud.other_bucket && strcmp(bucket, cloud.other_bucket) == 0) {
        cloud.other_looks++;
        return answer(cloud.other_rc, e, "ListObjectsV2");
    }
    assert_string_equal(bucket, "bucket");
    int rc = answer(cloud.s3_rc, e, "ListObjectsV2");
    for (int i = 0; rc == 0 && i < cloud.object_count; i++) {
        if (strncmp(cloud.objects[i].key, prefix, strlen(prefix)) == 0) {
            rc = each(ctx, cloud.objects[i].key, (int64_t)strlen(cloud.objects[i].body));
        }
    }
    return rc;
}

int s3_get(struct aws_client *c, const char *bucket, const char *key, int64_t from, int64_t limit, char **body, size_t *size, struct err *e)
{
    (void)c;
    assert_string_equal(bucket, "bucket");
    for (int i = 0; i < cloud.object_count; i++) {
        if (strcmp(cloud.objects[i].key, key) == 0) {
            size_t all = strlen(cloud.objects[i].body);
            assert_in_range(from, 0, all);
            *size = all - (size_t)from < (size_t)limit ? all - (size_t)from : (size_t)limit;
            *body = malloc(*size + 1);
            assert_non_null(*body);
            memcpy(*body, cloud.objects[i].body + from, *size);
            (*body)[*size] = '\0';
            return 0;
        }
    }
    return answer(ERR_AWS_NOT_FOUND, e, "GetObject");
}

int s3_delete(struct aws_client *c, const char *bucket, const char *key, struct err *e)
{
    (void)c;
    assert_string_equal(bucket, "bucket");
    for (int i = 0; cloud.delete_rc == 0 && i < cloud.object_count; i++) {
        if (strcmp(cloud.objects[i].key, key) == 0) {
            free(cloud.objects[i].body);
            cloud.objects[i] = cloud.objects[--cloud.object_count];
            cloud.deletes++;
        }
    }
    return answer(cloud.delete_rc, e, "DeleteObject");
}

static inline void put_object(const char *key, const char *body)
{
    assert_in_range(cloud.object_count, 0, OBJECTS - 1);
    int i = cloud.object_count++;
    (void)snprintf(cloud.objects[i].key, sizeof cloud.objects[i].key, "%s", key);
    cloud.objects[i].body = strdup(body);
}

static void put_result(int job, const char *name, const char *body)
{
    char bucket[64];
    char key[1025];
    char whole[512];
    assert_int_equal(s3_uri_split(cloud.jobs[job].output_s3_uri, bucket, sizeof bucket, key, sizeof key), 0);
    (void)snprintf(whole, sizeof whole, "%.300s%.200s", key, name);
    put_object(whole, body);
}

/* ---- our side: an importer and a look into its database ------------------------------------------------------------------------- */

struct world {
    struct config *config;
    struct fixture *f;
    struct importer m;
    sqlite3 *db;
};

static inline void run_sql(struct world *w, const char *sql)
{
    char *text = NULL;
    if (sqlite3_exec(w->db, sql, NULL, NULL, &text) != SQLITE_OK) {
        fail_msg("%s: %s", sql, text);
    }
}

static inline int64_t number(struct world *w, const char *sql)
{
    sqlite3_stmt *q = NULL;
    assert_int_equal(sqlite3_prepare_v2(w->db, sql, -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(q, 0);
    (void)sqlite3_finalize(q);
    return n;
}

static inline bool text_is(struct world *w, const char *sql, const char *expected)
{
    sqlite3_stmt *q = NULL;
    assert_int_equal(sqlite3_prepare_v2(w->db, sql, -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    const char *got = (const char *)sqlite3_column_text(q, 0);
    bool same = got && strcmp(got, expected) == 0;
    if (!same) {
        print_message("%s: %s, expected %s\n", sql, got ? got : "NULL", expected);
    }
    (void)sqlite3_finalize(q);
    return same;
}

/* An importer process: its own connection and name. */
static inline void born(struct world *w)
{
    w->m = (struct importer){.config = w->m.config};
    w->m.start.name = w->m.poll.name = w->m.results.name = "test";
    w->m.limits = (struct state_start_limits){60000, 100, 100};
    w->m.again = (struct state_again){3, {.max_count = 5000, .max_bytes = 10000000000LL}};
    w->m.state = worker(w->f->home, STAGE_IMPORTER);
}

/* SIGKILL: the connection and the lock go, nothing is tidied; another one frees the claims. */
static inline void killed(struct world *w)
{
    struct err e = {0};
    int freed = 0;
    state_close(&w->m.state);
    assert_int_equal(state_reclaim(w->f->uploader, &freed, &e), 0);
    born(w);
}

static inline int world_up(void **out)
{
    struct world *w = calloc(1, sizeof *w);
    struct err e = {0};
    char path[128];
    void *f = NULL;
    if (!w || set_up(&f) != 0) {
        return -1;
    }
    w->f = f;
    memset(&cloud, 0, sizeof cloud);
    cloud.store_status = "ACTIVE";
    (void)snprintf(path, sizeof path, "%s/storescp.conf", w->f->home);
    FILE *conf = fopen(path, "w");
    if (!conf || fputs("dicom_bucket = bucket\ndatastore_id = 0123456789abcdef0123456789abcdef\nimport_poll_ms = 10000\n"
                       "data_access_role_arn = arn:aws:iam::123456789012:role/r\n", conf) < 0 || fclose(conf) != 0) {
        return -1;
    }
    assert_int_equal(config_load(&w->config, w->f->home, &e), 0);
    w->m.config = w->config;
    (void)snprintf(path, sizeof path, "%s/state/state.db", w->f->home);
    assert_int_equal(sqlite3_open(path, &w->db), SQLITE_OK);
    (void)sqlite3_busy_timeout(w->db, 5000);
    born(w);
    *out = w;
    return 0;
}

static inline int world_down(void **in)
{
    struct world *w = *in;
    for (int i = 0; i < cloud.object_count; i++) {
        free(cloud.objects[i].body);
    }
    (void)sqlite3_close(w->db);
    state_close(&w->m.state);
    config_free(&w->config);
    void *f = w->f;
    free(w);
    return tear_down(&f);
}

/* count uploaded instances in one closed batch */
static inline void closed_batch(struct world *w, char ids[][STATE_ID_SIZE], char batch[STATE_ID_SIZE], size_t count)
{
    struct state_instance claim;
    struct err e = {0};
    int closed = 0;
    for (size_t i = 0; i < count; i++) {
        char sop[40];
        (void)snprintf(sop, sizeof sop, "1.2.3.%zu.%lld", i, (long long)number(w, "SELECT count(*) FROM instance"));
        receive(w->f, sop, (uint32_t)i, ids[i]);
        assert_int_equal(validate_one(w->f, ids[i]), VERDICT_VALIDATED);
        upload_one(w->f, &claim);
        (void)snprintf(batch, STATE_ID_SIZE, "%s", claim.batch);
    }
    assert_int_equal(state_batches_close(w->m.state, -1000, 600000, &closed, &e), 0);
    assert_int_equal(closed, 1);
}

/* Time passes: every wait is over. */
static inline void later(struct world *w)
{
    run_sql(w, "UPDATE batch SET next_attempt_ms = 0; UPDATE event SET at_ms = at_ms - 60000 WHERE to_state = 'starting'");
    w->m.start.until_ms = w->m.poll.until_ms = w->m.results.until_ms = w->m.start_at_ms = 0;
}

static inline void end_job(int job, const char *status)
{
    (void)snprintf(cloud.jobs[job].status, sizeof cloud.jobs[job].status, "%s", status);
    cloud.jobs[job].ended_ms = clock_wall_ms();
}

static inline void success_line(char *out, size_t size, const char *batch, const char *id)
{
    size_t used = strlen(out);
    (void)snprintf(out + used, size - used, "{\"inputFile\":\"p/%s/%s.dcm\",\"importResponse\":{\"imageSetId\":\"set1\",\"isPrimary\":True}}\n", batch, id);
}

static inline void failure_line(char *out, size_t size, const char *batch, const char *id, const char *type)
{
    size_t used = strlen(out);
    (void)snprintf(out + used, size - used, "{\"inputFile\":\"p/%s/%s.dcm\",\"exception\":{\"exceptionType\":\"%s\",\"message\":\"because\"}}\n", batch, id, type);
}

static inline void put_manifest(int job, int scanned, int imported, int customer, int server)
{
    char text[400];
    (void)snprintf(text, sizeof text, "{\"jobSummary\":{\"numberOfScannedFiles\":%d,\"numberOfImportedFiles\":%d,\"numberOfFilesWithCustomerError\":%d,"
                   "\"numberOfFilesWithServerError\":%d,\"imageSetsSummary\":[{\"imageSetId\":\"set1\",\"imageSetVersion\":2}]}}", scanned, imported, customer, server);
    put_result(job, "job-output-manifest.json", text);
}

#endif
