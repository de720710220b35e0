/*
 * s3_put - PutObject: the payload's SHA-256 first, in slices (s3_hash.c), then one signed PUT. See s3.h.
 *
 * The hash has to stand in the signed head, so a file is read twice: for the hash (the page cache keeps it) and for the wire. S3 checks twice
 * before it stores: SHA-256 against what was read here, CRC-32C against what the receiver took from the network.
 * Source: S3 PutObject, "Checking object integrity". One PUT takes at most 5 GiB.
 */
#include "common/aws/internal.h"
#include "common/aws/s3.h"
#include "common/runtime/runtime.h"

#include <stdlib.h>
#include <string.h>

static const int64_t put_max_bytes = INT64_C(5) << 30;

struct s3_put_job {
    struct aws_client *client;
    struct aws_call *call;
    s3_put_done done;
    void *ctx;
    uint32_t crc32c;
    struct s3_hash hash;
    int64_t hash_began_ms, put_began_ms;
    struct s3_put_result result;
};

static void job_free(struct s3_put_job *job)
{
    aws_call_free(job->call);
    free(job);
}

static void abandon(void *ctx)
{
    job_free(ctx);
}

static void finish(struct s3_put_job *job)
{
    job->client->ended++;
    job->done(job->ctx, &job->result);
    job_free(job);
}

static void on_put(void *ctx, struct aws_answer *a)
{
    struct s3_put_job *job = ctx;
    struct s3_put_result *r = &job->result;
    char theirs[16];
    char ours[12];
    char etag[80];
    r->rc = a->rc;
    r->why = a->why;
    r->transfer_ms = clock_mono_ms() - job->put_began_ms;
    (void)snprintf(r->request_id, sizeof r->request_id, "%s", a->request_id);
    if (r->rc == 0) {
        if (http_header(a->http, "etag", etag, sizeof etag)) {
            s3_plain_etag(etag, r->etag, sizeof r->etag);
        }
        s3_crc_text(job->crc32c, ours);
        if (http_header(a->http, "x-amz-checksum-crc32c", theirs, sizeof theirs) && strcmp(theirs, ours) != 0) {
            r->rc = err_set(&r->why, ERR_AWS_CHECKSUM, 0, "S3 PutObject: answered with the checksum %.12s instead of %s (request %s)", theirs, ours,
                            r->request_id);
        }
    }
    job->client->ended--; /* counted by the client for this very end */
    finish(job);
}

/* Sign and send. */
static void on_hash(void *ctx, int rc, const struct err *why)
{
    struct s3_put_job *job = ctx;
    struct aws_call *call = job->call;
    job->put_began_ms = clock_mono_ms();
    job->result.hash_ms = job->put_began_ms - job->hash_began_ms;
    job->result.rc = rc;
    if (rc != 0) {
        job->result.why = *why;
    } else {
        (void)snprintf(job->result.sha256, sizeof job->result.sha256, "%s", job->hash.hex);
        (void)snprintf(call->payload_hash, sizeof call->payload_hash, "%s", job->hash.hex);
        job->call = NULL; /* the client's from here on */
        job->result.rc = aws_begin(job->client, call, on_put, job, &job->result.why);
        if (job->result.rc == 0) {
            return;
        }
    }
    finish(job);
}

int s3_put_begin(struct aws_client *c, const struct s3_put *put, s3_put_done done, void *ctx, struct err *e)
{
    char crc[12];
    if (put->bytes < 0 || put->fd < 0) {
        return err_set(e, ERR_ARGUMENT, 0, "PutObject without a file");
    }
    if (put->bytes > put_max_bytes) {
        return err_set(e, ERR_TOO_LARGE, 0, "S3 PutObject: one request takes at most 5 GiB, the file has %lld bytes", (long long)put->bytes);
    }
    struct s3_put_job *job = calloc(1, sizeof *job);
    struct aws_call *call = job ? aws_call_new(c, AWS_S3, "PutObject", "PUT") : NULL;
    if (!call) {
        free(job);
        return err_set(e, ERR_MEMORY, 0, "no memory for a transfer");
    }
    job->client = c;
    job->call = call;
    job->done = done;
    job->ctx = ctx;
    job->crc32c = put->crc32c;
    job->hash_began_ms = clock_mono_ms();
    job->hash = (struct s3_hash){.fd = put->fd, .bytes = put->bytes, .done = on_hash, .abandon = abandon, .ctx = job};
    call->fd = put->fd;
    call->fd_bytes = put->bytes;
    call->response_max = 65536;
    call->abandon = abandon;
    s3_crc_text(put->crc32c, crc);
    aws_call_header(call, "x-amz-checksum-crc32c", "%s", crc);
    aws_call_header(call, "content-type", "application/dicom");
    int rc = endpoint_s3_place(&c->site.endpoints[AWS_S3], c->path_style, s3_bucket_of(c, put->bucket), put->key, &call->place, e);
    rc = rc ? rc : s3_hash_begin(c, &job->hash, e);
    if (rc != 0) {
        job_free(job);
    }
    return rc;
}
