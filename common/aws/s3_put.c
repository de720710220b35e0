/*
 * s3_put - PutObject: the payload's SHA-256 first, in slices, then one signed PUT. See s3.h.
 *
 * The hash has to stand in the signed head, so a file is read twice: for the hash (the page cache keeps it) and for the wire. Files wait in a
 * line; aws_client_run() hashes at most HASH_SLICE bytes between two looks at the network, and HASH_TURN bytes of one file before it is the next
 * one's turn: a file of gigabytes delays no other transfer, and a small file does not wait for its end. S3 checks twice before it stores: SHA-256
 * against what was read here, CRC-32C against what the receiver took from the network.
 * Source: S3 PutObject, "Checking object integrity". One PUT takes at most 5 GiB.
 */
#include "common/aws/internal.h"
#include "common/aws/s3.h"
#include "common/runtime/runtime.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HASH_SLICE = 4 << 20, HASH_TURN = 1 << 20 };
static const int64_t put_max_bytes = INT64_C(5) << 30;

struct s3_put_job {
    struct aws_client *client;
    struct s3_put_job *next;
    struct aws_call *call;
    s3_put_done done;
    void *ctx;
    uint32_t crc32c;
    EVP_MD_CTX *hash;
    int64_t hashed;
    int64_t hash_began_ms, put_began_ms;
    struct s3_put_result result;
};

static void job_free(struct s3_put_job *job)
{
    aws_call_free(job->call);
    EVP_MD_CTX_free(job->hash);
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

static void join_line(struct aws_client *c, struct s3_put_job *job)
{
    job->next = NULL;
    if (c->last_hash) {
        c->last_hash->next = job;
    } else {
        c->first_hash = job;
    }
    c->last_hash = job;
    c->hashing++;
}

static struct s3_put_job *leave_line(struct aws_client *c)
{
    struct s3_put_job *job = c->first_hash;
    c->first_hash = job->next;
    c->last_hash = c->first_hash ? c->last_hash : NULL;
    c->hashing--;
    return job;
}

static void crc_text(uint32_t crc, char out[12])
{
    unsigned char bytes[4] = {(unsigned char)(crc >> 24), (unsigned char)(crc >> 16), (unsigned char)(crc >> 8), (unsigned char)crc};
    unsigned char text[9];
    (void)EVP_EncodeBlock(text, bytes, sizeof bytes);
    (void)snprintf(out, 12, "%s", (const char *)text);
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
    call->fd = put->fd;
    call->fd_bytes = put->bytes;
    call->response_max = 65536;
    call->abandon = abandon;
    crc_text(put->crc32c, crc);
    aws_call_header(call, "x-amz-checksum-crc32c", "%s", crc);
    aws_call_header(call, "content-type", "application/dicom");
    job->hash = EVP_MD_CTX_new();
    int rc = endpoint_s3_place(&c->endpoints[AWS_S3], c->path_style, s3_bucket_of(c, put->bucket), put->key, &call->place, e);
    if (rc == 0 && (!job->hash || EVP_DigestInit_ex(job->hash, EVP_sha256(), NULL) != 1)) {
        rc = err_set(e, ERR_MEMORY, 0, "no memory for a transfer");
    }
    if (rc != 0) {
        job_free(job);
        return rc;
    }
    join_line(c, job);
    return 0;
}

static void on_put(void *ctx, struct aws_answer *a)
{
    struct s3_put_job *job = ctx;
    struct s3_put_result *r = &job->result;
    char theirs[16];
    char ours[12];
    r->rc = a->rc;
    r->why = a->why;
    r->transfer_ms = clock_mono_ms() - job->put_began_ms;
    (void)snprintf(r->request_id, sizeof r->request_id, "%s", a->request_id);
    if (r->rc == 0) {
        char etag[80];
        if (http_header(a->http, "etag", etag, sizeof etag)) {
            size_t n = strlen(etag);
            bool quoted = n >= 2 && etag[0] == '"' && etag[n - 1] == '"';
            (void)snprintf(r->etag, sizeof r->etag, "%.*s", (int)(quoted ? n - 2 : n), etag + quoted);
        }
        crc_text(job->crc32c, ours);
        if (http_header(a->http, "x-amz-checksum-crc32c", theirs, sizeof theirs) && strcmp(theirs, ours) != 0) {
            r->rc = err_set(&r->why, ERR_AWS_CHECKSUM, 0, "S3 PutObject: answered with the checksum %.12s instead of %s (request %s)", theirs, ours,
                            r->request_id);
        }
    }
    job->call = NULL; /* the client frees it */
    job->client->ended--; /* counted by the client for this very end */
    finish(job);
}

/* The first of the line is hashed: sign and send. */
static void send_first(struct aws_client *c)
{
    struct s3_put_job *job = leave_line(c);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    job->put_began_ms = clock_mono_ms();
    job->result.hash_ms = job->put_began_ms - job->hash_began_ms;
    if (job->result.rc == 0 && EVP_DigestFinal_ex(job->hash, digest, &length) != 1) {
        job->result.rc = err_set(&job->result.why, ERR_MEMORY, 0, "SHA-256");
    }
    if (job->result.rc == 0) {
        for (unsigned i = 0; i < length && i < 32; i++) {
            (void)snprintf(job->result.sha256 + 2 * i, 3, "%02x", digest[i]);
        }
        (void)snprintf(job->call->payload_hash, sizeof job->call->payload_hash, "%s", job->result.sha256);
        struct aws_call *call = job->call;
        job->call = NULL;
        job->result.rc = aws_begin(c, call, on_put, job, &job->result.why);
        if (job->result.rc == 0) {
            return;
        }
    }
    finish(job);
}

void s3_put_hash_slice(struct aws_client *c)
{
    int64_t budget = HASH_SLICE;
    int64_t turn = 0;
    while (c->first_hash && budget > 0) {
        struct s3_put_job *job = c->first_hash;
        int64_t rest = job->call->fd_bytes - job->hashed;
        size_t want = rest < AWS_HASH_BUFFER ? (size_t)rest : AWS_HASH_BUFFER;
        ssize_t n = want ? pread(job->call->fd, c->hash_buffer, want, job->hashed) : 0;
        if (n == -1 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            job->result.rc = err_set(&job->result.why, ERR_IO, errno, "read of the file to send");
        } else if (n == 0 && want > 0) {
            job->result.rc = err_set(&job->result.why, ERR_SPOOL_DAMAGED, 0, "the file is shorter than was received");
        } else if (n > 0 && EVP_DigestUpdate(job->hash, c->hash_buffer, (size_t)n) != 1) {
            job->result.rc = err_set(&job->result.why, ERR_MEMORY, 0, "SHA-256");
        }
        job->hashed += n > 0 ? n : 0;
        budget -= n > 0 ? n : 4096;
        turn += n > 0 ? n : 0;
        if (job->result.rc != 0 || job->hashed == job->call->fd_bytes) {
            send_first(c);
            turn = 0;
        } else if (turn >= HASH_TURN) {
            join_line(c, leave_line(c));
            turn = 0;
        }
    }
}

void s3_put_drop_all(struct aws_client *c)
{
    while (c->first_hash) {
        job_free(leave_line(c));
    }
}
