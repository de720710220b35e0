/*
 * stow - see stow.h. The way of one instance:
 *
 *   [query: is it there?] -> [SHA-256 of the body, in slices (s3_hash.c)] -> POST -> its answer
 *
 * The boundary has 160 bits of chance: no sender can have put it into a file. For HealthImaging a POST is never sent twice by the layers below; the errors that
 * they may still heal (a clock that is off, keys that were replaced) are refusals. For others a repeat does no harm.
 */
#include "common/aws/dicomweb/stow.h"
#include "common/aws/internal.h"
#include "common/runtime/runtime.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWER_MAX = 1 << 20, BOUNDARY_SIZE = 41 };
static const int64_t healthimaging_max_bytes = INT64_C(1000000000); /* in one request; developer guide "Storing instances with STOW-RS" */

struct stow_job {
    struct aws_client *client;
    stow_done done;
    void *ctx;
    char sop_instance_uid[72], study_uid[72], series_uid[72];
    int fd;
    int64_t bytes;
    struct aws_call *call; /* waits for its hash */
    struct s3_hash hash;
    EVP_MD_CTX *body_digest;
    int64_t began_ms, put_began_ms;
    struct stow_result result;
};

static const char *service_words(const struct config *config)
{
    return stow_counts_repeats(config) ? "HealthImaging" : "DICOMweb server";
}

/* ---- a request ------------------------------------------------------------------------------------------------------------------------ */

/* A call to {base}path, authorized or to be signed. */
static int call_new(struct aws_client *c, const char *operation, const char *method, const char *path, struct aws_call **out, struct err *e)
{
    struct aws_call *call = aws_call_new(c, AWS_DICOM_MEDICAL_IMAGING, operation, method);
    if (!call) {
        return err_set(e, ERR_MEMORY, 0, "no memory for a request");
    }
    size_t used = strlen(call->place.path);
    (void)snprintf(call->place.path + used, sizeof call->place.path - used, "%s", path);
    call->response_max = ANSWER_MAX;
    call->is_plain = !stow_counts_repeats(c->config);
    aws_call_header(call, "accept", "application/dicom+json");
    int rc = stow_authorize(c->config, call, e);
    if (rc != 0) {
        aws_call_free(call);
        return rc;
    }
    *out = call;
    return 0;
}

/* What a status means that came without a verdict on the instance. Sources: PS3.18 sections 8.5 and 10.5.3, RFC 9110. */
static int code_of_status(long status)
{
    switch (status) {
    case 301: case 302: case 303: case 307: case 308: case 404: case 405: case 410:
        return ERR_STORE_NO_SERVICE;
    case 401: case 403: case 407:
        return ERR_STORE_DENIED;
    case 400: case 406: case 409: case 411: case 413: case 415: case 422:
        return ERR_STORE_FAILED;
    case 408:
        return ERR_TIMEOUT;
    case 429: case 503: case 507:
        return ERR_STORE_BUSY;
    default:
        return status >= 500 && status <= 599 ? ERR_STORE_SERVER : ERR_PROTOCOL;
    }
}

/* The status of an answer that says nothing about the instance, as an error. */
static int judge_status(const char *operation, const struct aws_answer *a, struct err *why)
{
    if (a->rc != 0) {
        *why = a->why;
        return a->rc;
    }
    int code = code_of_status(a->http->status);
    return err_set(why, code, 0, "DICOMweb server %s: %ld%s%s", operation, a->http->status, err_class_of(code) == ERR_CLASS_CONFIG ? ". " : "",
                   err_class_of(code) == ERR_CLASS_CONFIG ? err_sentence(code) : "");
}

/* ---- the end of a job ----------------------------------------------------------------------------------------------------------------- */

static void job_free(struct stow_job *job)
{
    aws_call_free(job->call);
    EVP_MD_CTX_free(job->body_digest);
    free(job);
}

static void abandon(void *ctx)
{
    job_free(ctx);
}

static void finish(struct stow_job *job)
{
    job->client->ended++;
    job->done(job->ctx, &job->result);
    job_free(job);
}

static int judge_verdict(const struct stow_job *job, long status, struct stow_result *r)
{
    const char *who = service_words(job->client->config);
    const struct stow_verdict *v = &r->verdict;
    if (v->kind == STOW_STORED && status != 409) {
        return 0;
    }
    if (v->kind == STOW_FAILED && v->reason >= 0) {
        const char *words = stow_reason_words(v->reason);
        return err_set(&r->why, stow_reason_code(v->reason), 0, "%s StoreDICOM: %ld, failure reason %04XH%s%s", who, status, (unsigned)v->reason,
                       words[0] ? ", " : "", words);
    }
    if (status >= 200 && status <= 299 && v->kind == STOW_NOT_NAMED) {
        return err_set(&r->why, ERR_STORE_UNCONFIRMED, 0, "%s StoreDICOM: %ld, but the answer does not name the instance", who, status);
    }
    return err_set(&r->why, ERR_STORE_FAILED, 0, "%s StoreDICOM: %ld, the instance was not stored, without a reason", who, status);
}

static void on_stored(void *ctx, struct aws_answer *a)
{
    struct stow_job *job = ctx;
    struct stow_result *r = &job->result;
    const struct http_response *http = a->http;
    const long status = http ? http->status : 0;
    r->transfer_ms = clock_mono_ms() - job->put_began_ms;
    r->first_failed_ms = a->first_failed_ms;
    r->status = status;
    (void)snprintf(r->request_id, sizeof r->request_id, "%s", a->request_id);
    bool answered = http && http->rc == 0 && status != 0;
    bool may_tell = answered && ((status >= 200 && status <= 299) || status == 400 || status == 409);
    if (may_tell && stow_answer_read(http->body, http->body_bytes, job->sop_instance_uid, &r->verdict, NULL) == 0) {
        r->rc = judge_verdict(job, status, r);
    } else if (answered && status >= 200 && status <= 299) {
        r->rc = err_set(&r->why, ERR_STORE_UNCONFIRMED, 0, "%s StoreDICOM: %ld, but the answer is no response to a store request",
                        service_words(job->client->config), status);
    } else {
        r->rc = judge_status("StoreDICOM", a, &r->why);
    }
    job->client->ended--; /* counted by the client for this very end */
    finish(job);
}

/* ---- the body's hash ---------------------------------------------------------------------------------------------------------------------- */

static void send_now(struct stow_job *job)
{
    struct aws_call *call = job->call;
    job->put_began_ms = clock_mono_ms();
    job->call = NULL; /* the client's from here on */
    job->result.rc = aws_begin(job->client, call, on_stored, job, &job->result.why);
    if (job->result.rc != 0) {
        finish(job);
    }
}

static void on_hash(void *ctx, int rc, const struct err *why)
{
    struct stow_job *job = ctx;
    const char *after = job->call->after;
    job->result.hash_ms = clock_mono_ms() - job->began_ms;
    job->result.rc = rc;
    if (rc != 0) {
        job->result.why = *why;
    } else if (EVP_DigestUpdate(job->body_digest, after, strlen(after)) != 1) {
        job->result.rc = err_set(&job->result.why, ERR_MEMORY, 0, "SHA-256");
    } else {
        job->result.rc = s3_hash_hex(job->body_digest, job->call->payload_hash, &job->result.why);
        (void)snprintf(job->result.sha256, sizeof job->result.sha256, "%s", job->hash.hex);
    }
    if (job->result.rc != 0) {
        finish(job);
    } else {
        send_now(job);
    }
}

static int begin_hash(struct stow_job *job, struct err *e)
{
    const char *before = job->call->before;
    job->body_digest = EVP_MD_CTX_new();
    if (!job->body_digest || EVP_DigestInit_ex(job->body_digest, EVP_sha256(), NULL) != 1 ||
        EVP_DigestUpdate(job->body_digest, before, strlen(before)) != 1) {
        return err_set(e, ERR_MEMORY, 0, "SHA-256");
    }
    job->hash = (struct s3_hash){.fd = job->fd, .bytes = job->bytes, .whole_digest = job->body_digest, .done = on_hash, .abandon = abandon, .ctx = job};
    return s3_hash_begin(job->client, &job->hash, e);
}

/* ---- the store request ---------------------------------------------------------------------------------------------------------------------- */

static void boundary_new(char out[BOUNDARY_SIZE])
{
    for (size_t i = 0; i < (BOUNDARY_SIZE - 1) / 8; i++) {
        (void)snprintf(out + 8 * i, 9, "%08x", random_u32());
    }
}

/* Makes the call: its length is that of the file and what stands around it. */
static int make_store(struct stow_job *job, struct err *e)
{
    char boundary[BOUNDARY_SIZE];
    struct aws_client *c = job->client;
    struct aws_call *call = NULL;
    int rc = call_new(c, "StoreDICOM", "POST", "/studies", &call, e);
    if (rc != 0) {
        return rc;
    }
    boundary_new(boundary);
    job->call = call;
    call->fd = job->fd;
    call->fd_bytes = job->bytes;
    call->abandon = abandon;
    call->no_repeat = stow_counts_repeats(c->config);
    (void)snprintf(call->before, sizeof call->before, "--%s\r\nContent-Type: application/dicom\r\n\r\n", boundary);
    (void)snprintf(call->after, sizeof call->after, "\r\n--%s--\r\n", boundary);
    aws_call_header(call, "content-type", "multipart/related; type=\"application/dicom\"; boundary=%s", boundary);
    if (!call->is_plain) {
        call->sends_hash = true;
        (void)snprintf(call->payload_hash, sizeof call->payload_hash, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
        if (strcmp(config_text(c->config, CFG_DICOMWEB_PAYLOAD), "streaming") == 0) {
            aws_call_header(call, "x-amz-decoded-content-length", "%lld",
                            (long long)(job->bytes + (int64_t)strlen(call->before) + (int64_t)strlen(call->after)));
        }
    }
    return 0;
}

/* Hashes first if that is wanted, else sends. An error here is the job's end, told to the caller of begin. */
static int store(struct stow_job *job, struct err *e)
{
    struct aws_client *c = job->client;
    int rc = make_store(job, e);
    if (rc != 0) {
        return rc;
    }
    if (!job->call->is_plain && strcmp(config_text(c->config, CFG_DICOMWEB_PAYLOAD), "sha256") == 0) {
        return begin_hash(job, e);
    }
    struct aws_call *call = job->call;
    job->put_began_ms = clock_mono_ms();
    job->call = NULL;
    return aws_begin(c, call, on_stored, job, e);
}

/* ---- is it there? ---------------------------------------------------------------------------------------------------------------------------- */

static int make_query(struct aws_client *c, const struct stow_job *job, struct aws_call **out, struct err *e)
{
    char path[600] = "/instances"; /* relational: where the study is not known */
    char study[3 * 72], series[3 * 72];
    struct aws_call *call = NULL;
    if (job->study_uid[0] && job->series_uid[0] && sigv4_uri_encode(job->study_uid, false, study, sizeof study) == 0 &&
        sigv4_uri_encode(job->series_uid, false, series, sizeof series) == 0) {
        (void)snprintf(path, sizeof path, "/studies/%s/series/%s/instances", study, series);
    }
    int rc = call_new(c, "SearchDICOMInstances", "GET", path, &call, e);
    if (rc == 0 && (rc = aws_call_query(call, "SOPInstanceUID", job->sop_instance_uid)) != 0) {
        aws_call_free(call);
        return err_set(e, rc, 0, "no memory for a request");
    }
    if (rc == 0) {
        *out = call;
    }
    return rc;
}

/* 204 and 404 say that nothing fits: a study that is not there yet is not found. */
static int judge_query(const struct stow_job *job, const struct aws_answer *a, bool *found, struct err *why)
{
    const struct http_response *http = a->http;
    *found = false;
    if (!http || http->rc != 0 || http->status == 0) {
        return judge_status("SearchDICOMInstances", a, why);
    }
    if (http->status == 204 || http->status == 404 || (http->status == 200 && http->body_bytes == 0)) {
        return 0;
    }
    return http->status == 200 ? stow_query_read(http->body, http->body_bytes, job->sop_instance_uid, found, why)
                               : judge_status("SearchDICOMInstances", a, why);
}

static void on_looked(void *ctx, struct aws_answer *a)
{
    struct stow_job *job = ctx;
    struct stow_result *r = &job->result;
    r->status = a->http ? a->http->status : 0;
    r->first_failed_ms = a->first_failed_ms;
    r->rc = judge_query(job, a, &r->was_there, &r->why);
    if (r->rc == 0 && !r->was_there) {
        r->rc = store(job, &r->why);
        if (r->rc == 0) {
            return;
        }
    }
    (void)snprintf(r->request_id, sizeof r->request_id, "%s", a->request_id);
    r->transfer_ms = clock_mono_ms() - job->began_ms;
    job->client->ended--;
    finish(job);
}

static void job_fill(struct stow_job *job, struct aws_client *c, const struct stow_put *put)
{
    job->client = c;
    job->fd = put->fd;
    job->bytes = put->bytes;
    job->began_ms = clock_mono_ms();
    job->result.verdict.reason = -1;
    (void)snprintf(job->sop_instance_uid, sizeof job->sop_instance_uid, "%s", put->sop_instance_uid);
    (void)snprintf(job->study_uid, sizeof job->study_uid, "%s", put->study_uid);
    (void)snprintf(job->series_uid, sizeof job->series_uid, "%s", put->series_uid);
}

int stow_put_begin(struct aws_client *c, const struct stow_put *put, stow_done done, void *ctx, struct err *e)
{
    struct aws_call *call = NULL;
    if (put->bytes < 0 || put->fd < 0) {
        return err_set(e, ERR_ARGUMENT, 0, "StoreDICOM without a file");
    }
    if (stow_counts_repeats(c->config) && put->bytes > healthimaging_max_bytes) {
        return err_set(e, ERR_TOO_LARGE, 0, "HealthImaging StoreDICOM: one request takes at most 1 GB, the file has %lld bytes", (long long)put->bytes);
    }
    struct stow_job *job = calloc(1, sizeof *job);
    if (!job) {
        return err_set(e, ERR_MEMORY, 0, "no memory for a transfer");
    }
    job_fill(job, c, put);
    job->done = done;
    job->ctx = ctx;
    int rc = put->look_first ? make_query(c, job, &call, e) : store(job, e);
    if (rc == 0 && call) {
        call->abandon = abandon;
        rc = aws_begin(c, call, on_looked, job, e);
    }
    if (rc != 0) {
        job_free(job);
    }
    return rc;
}

struct found {
    const struct stow_job *job;
    bool ended, found;
    int rc;
    struct err why;
};

static void on_found(void *ctx, struct aws_answer *a)
{
    struct found *f = ctx;
    f->rc = judge_query(f->job, a, &f->found, &f->why);
    f->ended = true;
}

int stow_find(struct aws_client *c, const struct stow_put *put, bool *found, struct err *e)
{
    struct stow_job job = {0};
    struct found f = {.job = &job};
    struct aws_call *call = NULL;
    job_fill(&job, c, put);
    int rc = make_query(c, &job, &call, e);
    rc = rc ? rc : aws_begin(c, call, on_found, &f, e);
    while (rc == 0 && !f.ended) { /* every request has a time limit, so this ends */
        (void)aws_client_run(c, 1000, NULL, 0);
    }
    if (rc == 0 && f.rc != 0 && e) {
        *e = f.why;
    }
    *found = rc == 0 && f.rc == 0 && f.found;
    return rc ? rc : f.rc;
}
