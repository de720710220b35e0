/* medical_imaging - see medical_imaging.h. REST-JSON; times come as seconds with a fraction. */
#include "common/aws/medical_imaging.h"
#include "common/aws/internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_MAX_CHARS = 600, PAGES_MAX = 10000 };

static void copy_text(const json_t *object, const char *name, char *to, size_t size)
{
    const char *text = json_string_value(json_object_get(object, name));
    (void)snprintf(to, size, "%s", text ? text : "");
}

static int64_t time_ms(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    double seconds = json_is_number(value) ? json_number_value(value) : 0;
    return seconds > 0 && seconds < 1e11 ? (int64_t)(seconds * 1000 + 0.5) : 0;
}

/* Properties of a job, of a listing's row, or of the answer to a start: the same names. False without id or status. */
static bool read_job(const json_t *object, struct ahi_job *job)
{
    memset(job, 0, sizeof *job);
    copy_text(object, "jobId", job->job_id, sizeof job->job_id);
    copy_text(object, "jobName", job->job_name, sizeof job->job_name);
    copy_text(object, "jobStatus", job->status, sizeof job->status);
    copy_text(object, "datastoreId", job->datastore_id, sizeof job->datastore_id);
    copy_text(object, "inputS3Uri", job->input_s3_uri, sizeof job->input_s3_uri);
    copy_text(object, "outputS3Uri", job->output_s3_uri, sizeof job->output_s3_uri);
    copy_text(object, "message", job->message, sizeof job->message);
    job->submitted_ms = time_ms(object, "submittedAt");
    job->ended_ms = time_ms(object, "endedAt");
    return job->job_id[0] && job->status[0];
}

/* Segments alternate: literal, value, literal, value ... NULL. Values are percent-encoded. */
static int set_path(struct aws_call *call, const char *const *segments)
{
    char encoded[PATH_MAX_CHARS];
    size_t used = strlen(call->place.path);
    for (size_t i = 0; segments[i]; i++) {
        if (i % 2 == 1 && sigv4_uri_encode(segments[i], false, encoded, sizeof encoded) != 0) {
            return ERR_ARGUMENT;
        }
        int n = snprintf(call->place.path + used, sizeof call->place.path - used, "%s", i % 2 ? encoded : segments[i]);
        if (n < 0 || used + (size_t)n >= sizeof call->place.path) {
            return ERR_ARGUMENT;
        }
        used += (size_t)n;
    }
    return 0;
}

/* One call with a JSON answer; *root is the caller's. query: name, value, name, value ... NULL; body: heap, taken, or NULL. */
static int ask(struct aws_client *c, const char *operation, const char *method, const char *const *segments, const char *const *query,
               char *body, json_t **root, struct err *e)
{
    struct aws_result r;
    struct aws_call *call = aws_call_new(c, AWS_MEDICAL_IMAGING, operation, method);
    if (!call) {
        free(body);
        return err_set(e, ERR_MEMORY, 0, "no memory for a request");
    }
    call->response_max = 4 << 20;
    call->body = body;
    if (body) {
        call->no_repeat = true; /* a start: how long its clientToken is remembered is not published. The importer looks for the job in the list */
        call->body_bytes = strlen(body);
        sigv4_sha256_hex(body, call->body_bytes, call->payload_hash);
        aws_call_header(call, "content-type", "application/json");
    }
    int rc = set_path(call, segments);
    for (size_t i = 0; rc == 0 && query && query[i]; i += 2) {
        rc = aws_call_query(call, query[i], query[i + 1]);
    }
    if (rc != 0) {
        aws_call_free(call);
        return err_set(e, rc, 0, "HealthImaging %s: an identifier is too long", operation);
    }
    rc = aws_call_blocking(c, call, &r, e);
    if (rc != 0) {
        return rc;
    }
    *root = json_loadb(r.body, r.body_bytes, 0, NULL);
    free(r.body);
    return *root ? 0 : err_set(e, ERR_PROTOCOL, 0, "HealthImaging %s: the answer is no JSON", operation);
}

static int no_job(const char *operation, struct err *e)
{
    return err_set(e, ERR_PROTOCOL, 0, "HealthImaging %s: the answer holds no job id or status", operation);
}

int ahi_start_job(struct aws_client *c, const struct ahi_start *start, struct ahi_job *out, struct err *e)
{
    json_t *root = NULL;
    const char *const segments[] = {"/startDICOMImportJob/datastore/", start->datastore_id, NULL};
    json_t *body = json_pack("{s:s, s:s, s:s, s:s, s:s}", "jobName", start->job_name, "dataAccessRoleArn", start->role_arn, "clientToken",
                             start->client_token, "inputS3Uri", start->input_s3_uri, "outputS3Uri", start->output_s3_uri);
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL; /* in the order above: the same bytes every time */
    json_decref(body);
    if (!text) {
        return err_set(e, ERR_ARGUMENT, 0, "HealthImaging StartDICOMImportJob: a value is no UTF-8 text");
    }
    int rc = ask(c, "StartDICOMImportJob", "POST", segments, NULL, text, &root, e);
    if (rc == 0) {
        struct ahi_job job;
        rc = read_job(root, &job) ? 0 : no_job("StartDICOMImportJob", e);
        if (rc == 0) {
            *out = job;
        }
        json_decref(root);
    }
    return rc;
}

int ahi_get_job(struct aws_client *c, const char *datastore_id, const char *job_id, struct ahi_job *out, struct err *e)
{
    json_t *root = NULL;
    const char *const segments[] = {"/getDICOMImportJob/datastore/", datastore_id, "/job/", job_id, NULL};
    int rc = ask(c, "GetDICOMImportJob", "GET", segments, NULL, NULL, &root, e);
    if (rc == 0) {
        struct ahi_job job;
        rc = read_job(json_object_get(root, "jobProperties"), &job) ? 0 : no_job("GetDICOMImportJob", e);
        if (rc == 0) {
            *out = job;
        }
        json_decref(root);
    }
    return rc;
}

int ahi_each_job(struct aws_client *c, const char *datastore_id, const char *status, int (*each)(void *ctx, const struct ahi_job *job), void *ctx,
                 struct err *e)
{
    char token[8200] = "";
    const char *const segments[] = {"/listDICOMImportJobs/datastore/", datastore_id, NULL};
    for (int pages = 0; pages < PAGES_MAX; pages++) {
        const char *query[7] = {"maxResults", "50"};
        size_t n = 2;
        json_t *root = NULL;
        if (status) {
            query[n++] = "jobStatus";
            query[n++] = status;
        }
        if (token[0]) {
            query[n++] = "nextToken";
            query[n++] = token;
        }
        int rc = ask(c, "ListDICOMImportJobs", "GET", segments, query, NULL, &root, e);
        if (rc != 0) {
            return rc;
        }
        const json_t *rows = json_object_get(root, "jobSummaries");
        for (size_t i = 0; rc == 0 && i < json_array_size(rows); i++) {
            struct ahi_job job;
            rc = read_job(json_array_get(rows, i), &job) ? each(ctx, &job) : no_job("ListDICOMImportJobs", e);
        }
        const char *next = json_string_value(json_object_get(root, "nextToken"));
        if (rc == 0 && next && strlen(next) >= sizeof token) {
            rc = err_set(e, ERR_PROTOCOL, 0, "HealthImaging ListDICOMImportJobs: a page token of %zu bytes", strlen(next));
        }
        (void)snprintf(token, sizeof token, "%s", rc == 0 && next ? next : "");
        json_decref(root);
        if (rc != 0 || !token[0]) {
            return rc;
        }
    }
    return err_set(e, ERR_PROTOCOL, 0, "HealthImaging ListDICOMImportJobs: more than %d pages", PAGES_MAX);
}

int ahi_datastore_look(struct aws_client *c, const char *datastore_id, struct ahi_datastore *out, struct err *e)
{
    json_t *root = NULL;
    const char *const segments[] = {"/datastore/", datastore_id, NULL};
    int rc = ask(c, "GetDatastore", "GET", segments, NULL, NULL, &root, e);
    if (rc == 0) {
        const json_t *told = json_object_get(root, "datastoreProperties");
        copy_text(told, "datastoreStatus", out->status, sizeof out->status);
        copy_text(told, "datastoreName", out->name, sizeof out->name);
        copy_text(told, "datastoreArn", out->arn, sizeof out->arn);
        copy_text(told, "kmsKeyArn", out->kms_key_arn, sizeof out->kms_key_arn);
        rc = out->status[0] ? 0 : err_set(e, ERR_PROTOCOL, 0, "HealthImaging GetDatastore: the answer holds no status");
        json_decref(root);
    }
    return rc;
}

int ahi_datastore_status(struct aws_client *c, const char *datastore_id, char status[24], struct err *e)
{
    struct ahi_datastore told;
    int rc = ahi_datastore_look(c, datastore_id, &told, e);
    if (rc == 0) {
        memcpy(status, told.status, sizeof told.status);
    }
    return rc;
}

/* ---- settings ------------------------------------------------------------------------------------------------------------------------ */

static bool is_role(const char *role)
{
    const char *account = strstr(role, ":iam::");
    return strncmp(role, "arn:aws", 7) == 0 && account && strspn(account + 6, "0123456789") == 12 && strncmp(account + 18, ":role/", 6) == 0 &&
           account[24] != '\0';
}

int ahi_settings_check(const struct config *config, struct err *e)
{
    const char *store = config_text(config, CFG_DATASTORE_ID);
    const char *role = config_text(config, CFG_DATA_ACCESS_ROLE_ARN);
    if (config_destination_kind(config) != KIND_HEALTHIMAGING) {
        return 0;
    }
    if (store[0] && (strspn(store, "0123456789abcdefghijklmnopqrstuvwxyz") != 32 || store[32] != '\0')) {
        return err_set(e, ERR_CONFIG, 0, "datastore_id (%s): not the id of a data store, 32 letters a-z and digits", config_origin(config, CFG_DATASTORE_ID));
    }
    if (role[0] && !is_role(role)) {
        return err_set(e, ERR_CONFIG, 0, "data_access_role_arn (%s): not the ARN of a role, arn:aws:iam::<account>:role/<name>",
                       config_origin(config, CFG_DATA_ACCESS_ROLE_ARN));
    }
    return 0;
}
