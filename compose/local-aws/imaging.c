/* imaging - the calls of medical-imaging: routing, what they accept, what they answer. API model medical-imaging 2023-07-19. */
#include "common/aws/request/sigv4.h"
#include "common/runtime/runtime.h"
#include "compose/local-aws/image_sets.h"
#include "compose/local-aws/imaging.h"
#include "compose/local-aws/jobs.h"

#include <stdlib.h>
#include <string.h>

static void start_job(struct request *r);
static void get_job(struct request *r);
static void list_jobs(struct request *r);
static void get_datastore(struct request *r);
static void list_datastores(struct request *r);

/* {n} in a path becomes ids[n]. */
static const struct route {
    const char *method, *path;
    struct operation operation;
} routes[] = {
    {"POST", "/startDICOMImportJob/datastore/{0}", {"StartDICOMImportJob", start_job, false, false}},
    {"GET", "/getDICOMImportJob/datastore/{0}/job/{1}", {"GetDICOMImportJob", get_job, false, false}},
    {"GET", "/listDICOMImportJobs/datastore/{0}", {"ListDICOMImportJobs", list_jobs, false, false}},
    {"GET", "/datastore/{0}", {"GetDatastore", get_datastore, false, false}},
    {"GET", "/datastore", {"ListDatastores", list_datastores, false, false}},
    {"POST", "/datastore/{0}/searchImageSets", {"SearchImageSets", imaging_search, false, false}},
    {"POST", "/datastore/{0}/imageSet/{1}/getImageSet", {"GetImageSet", imaging_get_set, false, false}},
    {"POST", "/datastore/{0}/studies", {"StoreDICOM", dicomweb_store, true, false}},
    {"POST", "/datastore/{0}/studies/{1}", {"StoreDICOMStudy", dicomweb_store, true, false}},
    {"GET", "/datastore/{0}/instances", {"SearchDICOMInstances", dicomweb_search_instances, false, false}},
    {"GET", "/datastore/{0}/studies/{1}/series/{2}/instances", {"SearchDICOMInstances", dicomweb_search_instances, false, false}},
};

static bool fits(struct request *r, const char *pattern)
{
    const char *p = r->path;
    for (; *pattern; pattern++) {
        if (*pattern != '{') {
            if (*p++ != *pattern) {
                return false;
            }
            continue;
        }
        int id = pattern[1] - '0';
        size_t length = strcspn(p, "/");
        if (length == 0 || !text_decode(p, length, false, r->ids[id], sizeof r->ids[id])) {
            return false;
        }
        p += length;
        pattern += 2;
    }
    return *p == '\0' || strcmp(p, "/") == 0;
}

const struct operation *imaging_route(struct request *r)
{
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (strcmp(routes[i].method, r->method) == 0 && fits(r, routes[i].path)) {
            return &routes[i].operation;
        }
    }
    answer_refuse(r, 404, "UnknownOperationException", "The stand-in does not know this operation.");
    return NULL;
}

bool imaging_may(struct request *r)
{
    if (!throttle_take(r->app->throttle, r->operation->name, clock_mono_ms())) {
        answer_refuse(r, 429, "ThrottlingException", "Rate exceeded");
        return false;
    }
    if (r->ids[0][0] && strcmp(r->ids[0], r->app->options.datastore) != 0) {
        answer_refuse(r, 404, "ResourceNotFoundException", "The data store does not exist.");
        return false;
    }
    return true;
}

int imaging_max_results(struct request *r)
{
    char number[16] = "50";
    char *end;
    (void)request_query(r, "maxResults", number, sizeof number);
    long n = strtol(number, &end, 10);
    if (*end || n < 1 || n > 50) {
        answer_refuse(r, 400, "ValidationException", "maxResults must be between 1 and 50");
        return 0;
    }
    return r->effect.page > 0 && n > r->effect.page ? r->effect.page : (int)n;
}

/* ---- StartDICOMImportJob -------------------------------------------------------------------------------------------------------- */

static bool only(const char *s, size_t least, size_t most, const char *letters)
{
    size_t length = strlen(s);
    return length >= least && length <= most && strspn(s, letters) == length;
}

static bool is_s3_uri(const char *s)
{
    char bucket[64];
    size_t length = strncmp(s, "s3://", 5) == 0 ? strcspn(s + 5, "/") : 0;
    if (strlen(s) > 1024 || length < 3 || length > 63) {
        return false;
    }
    (void)snprintf(bucket, sizeof bucket, "%.*s", (int)length, s + 5);
    return store_bucket_is_legal(bucket);
}

static bool is_role(const char *s)
{
    const char *iam = strncmp(s, "arn:aws", 7) == 0 ? strstr(s, ":iam::") : NULL;
    return iam && strspn(iam + 6, "0123456789") == 12 && strncmp(iam + 18, ":role/", 6) == 0 && iam[24] && strlen(s) <= 2048;
}

/* What is wrong with a request, NULL if nothing. */
static const char *judge(json_t *request)
{
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    const char *token = json_string_value(json_object_get(request, "clientToken"));
    const char *role = json_string_value(json_object_get(request, "dataAccessRoleArn"));
    const char *input = json_string_value(json_object_get(request, "inputS3Uri"));
    const char *output = json_string_value(json_object_get(request, "outputS3Uri"));
    json_t *name = json_object_get(request, "jobName");
    if (!token || !only(token, 1, 64, LETTERS "._-")) {
        return "clientToken is missing, or is not 1 to 64 of letters, digits, '.', '_' and '-'";
    }
    if (!role || !is_role(role)) {
        return "dataAccessRoleArn is missing, or is no ARN of a role";
    }
    if (!input || !is_s3_uri(input)) {
        return "inputS3Uri is missing, or is no S3 URI";
    }
    if (!output || !is_s3_uri(output)) {
        return "outputS3Uri is missing, or is no S3 URI";
    }
    if (name && (!json_is_string(name) || !only(json_string_value(name), 1, 64, LETTERS "._/#-"))) {
        return "jobName is not 1 to 64 of letters, digits, '.', '_', '/', '#' and '-'";
    }
    if (json_object_get(request, "importConfiguration")) {
        return "importConfiguration is not known to the stand-in";
    }
    return NULL;
}

static void answer_started(struct request *r, json_t *job)
{
    answer_json(r, 200, json_pack("{s:O s:O s:O s:O}", "datastoreId", json_object_get(job, "datastoreId"), "jobId",
                                  json_object_get(job, "jobId"), "jobStatus", json_object_get(job, "jobStatus"), "submittedAt",
                                  json_object_get(job, "submittedAt")));
    json_decref(job);
}

static void start_job(struct request *r)
{
    static const char *const kept[] = {"clientToken", "dataAccessRoleArn", "inputS3Uri", "outputS3Uri", "jobName"};
    struct err e = {0};
    char hash[65];
    json_t *job = NULL;
    if (!imaging_may(r)) {
        return;
    }
    json_t *body = r->body.bytes ? json_loadb(r->body.bytes, r->body.used, JSON_REJECT_DUPLICATES, NULL) : NULL;
    const char *wrong = json_is_object(body) ? judge(body) : "the body is no JSON object";
    if (wrong) {
        answer_refuse(r, 400, "ValidationException", "1 validation error detected: %s", wrong);
        json_decref(body);
        return;
    }
    const char *owner = json_string_value(json_object_get(body, "inputOwnerAccountId"));
    if (owner && strcmp(owner, r->app->options.account) != 0) {
        answer_refuse(r, 400, "ValidationException", "the input bucket does not belong to account %.12s", owner);
        json_decref(body);
        return;
    }
    json_t *request = json_pack("{s:s}", "datastoreId", r->ids[0]);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        json_t *value = json_object_get(body, kept[i]);
        if (value) {
            (void)json_object_set(request, kept[i], value);
        }
    }
    sigv4_sha256_hex(r->body.bytes, r->body.used, hash);
    int rc = jobs_start(r->app->jobs, request, hash, &job, &e);
    if (rc == 0) {
        answer_started(r, job);
    } else if (rc == ERR_AWS_CONFLICT) {
        answer_refuse(r, 409, "ConflictException", "The client token was used with other parameters");
    } else if (rc == ERR_AWS_QUOTA) {
        answer_refuse(r, 402, "ServiceQuotaExceededException", "The maximum number of concurrent import jobs has been reached");
    } else {
        answer_trouble(r, &e);
    }
    json_decref(request);
    json_decref(body);
}

/* ---- following jobs ------------------------------------------------------------------------------------------------------------------ */

static void get_job(struct request *r)
{
    if (!imaging_may(r)) {
        return;
    }
    json_t *job = jobs_get(r->app->jobs, r->ids[0], r->ids[1]);
    if (!job) {
        answer_refuse(r, 404, "ResourceNotFoundException", "The import job does not exist.");
        return;
    }
    answer_json(r, 200, json_pack("{s:o}", "jobProperties", job));
}

static void list_jobs(struct request *r)
{
    char status[24] = "";
    char after[40] = "";
    bool more = false;
    bool is_known = true; /* the token */
    size_t place;
    json_t *job;
    if (!imaging_may(r)) {
        return;
    }
    int max = imaging_max_results(r);
    if (request_query(r, "jobStatus", status, sizeof status) && strcmp(status, "SUBMITTED") != 0 && strcmp(status, "IN_PROGRESS") != 0 &&
        strcmp(status, "COMPLETED") != 0 && strcmp(status, "FAILED") != 0) {
        answer_refuse(r, 400, "ValidationException", "jobStatus must be SUBMITTED, IN_PROGRESS, COMPLETED or FAILED");
    }
    if (request_query(r, "nextToken", after, sizeof after)) {
        json_t *known = jobs_get(r->app->jobs, r->ids[0], after);
        is_known = known != NULL;
        json_decref(known);
    }
    if (!is_known) {
        answer_refuse(r, 400, "ValidationException", "nextToken is not valid");
    }
    if (r->status != 0) {
        return;
    }
    json_t *list = jobs_list(r->app->jobs, r->ids[0], status, after, max, &more);
    json_t *answer = json_pack("{s:O}", "jobSummaries", list);
    json_array_foreach(list, place, job) {
        (void)json_object_del(job, "inputS3Uri");
        (void)json_object_del(job, "outputS3Uri");
    }
    if (more) {
        (void)json_object_set(answer, "nextToken", json_object_get(json_array_get(list, json_array_size(list) - 1), "jobId"));
    }
    json_decref(list);
    answer_json(r, 200, answer);
}

/* ---- data stores ------------------------------------------------------------------------------------------------------------------------ */

static json_t *datastore(const struct request *r, bool whole)
{
    const struct options *o = &r->app->options;
    char arn[200];
    double at = (double)r->app->started_ms / 1000;
    (void)snprintf(arn, sizeof arn, "arn:aws:medical-imaging:%s:%s:datastore/%s", o->region, o->account, o->datastore);
    json_t *d = json_pack("{s:s s:s s:s s:s s:f s:f}", "datastoreId", o->datastore, "datastoreName", "local", "datastoreStatus",
                          o->datastore_status ? o->datastore_status : "ACTIVE",
                          "datastoreArn", arn, "createdAt", at, "updatedAt", at);
    if (whole) {
        (void)json_object_set_new(d, "losslessStorageFormat", json_string("HTJ2K"));
    }
    return d;
}

static void get_datastore(struct request *r)
{
    if (imaging_may(r)) {
        answer_json(r, 200, json_pack("{s:o}", "datastoreProperties", datastore(r, true)));
    }
}

static void list_datastores(struct request *r)
{
    char status[24];
    if (imaging_may(r)) {
        bool wanted = !request_query(r, "datastoreStatus", status, sizeof status) || strcmp(status, "ACTIVE") == 0;
        json_t *list = wanted ? json_pack("[o]", datastore(r, false)) : json_array();
        answer_json(r, 200, json_pack("{s:o}", "datastoreSummaries", list));
    }
}
