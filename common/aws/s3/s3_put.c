/*
 * s3_put - PutObject: the payload's SHA-256 first, in slices (s3_hash.c), then one signed PUT. See s3.h.
 * Status 200 is not enough: the answer names our checksum, or, from servers that know none, an ETag and a request id.
 *
 * The hash has to stand in the signed head, so a file is read twice: for the hash (the page cache keeps it) and for the wire. S3 checks twice
 * before it stores: SHA-256 against what was read here, CRC-32C against what the receiver took from the network.
 * With s3_if_none_match nothing is overwritten: on 412 HeadObject tells whether what lies there is this image (s3_found.c); where S3 knows no CRC-32C of
 * it, the file is read once more for its MD5. The same image under another encryption than was asked is put again, now over itself.
 * Source: S3 PutObject, "Checking object integrity", "Conditional writes". One PUT takes at most 5 GiB.
 */
#include "common/aws/internal.h"
#include "common/aws/s3/s3.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

static const int64_t put_max_bytes = INT64_C(5) << 30;

struct s3_put_job {
    struct aws_client *client;
    s3_put_done done;
    void *ctx;
    int fd;
    int64_t bytes;
    uint32_t crc32c;
    bool is_only_ours, is_conditional;
    struct endpoint_place place;
    struct s3_hash hash;
    EVP_MD_CTX *md5;
    char sha256[65];
    int64_t hash_began_ms, put_began_ms;
    struct s3_put_result result;
};

static void job_free(struct s3_put_job *job)
{
    EVP_MD_CTX_free(job->md5);
    free(job);
}

static void abandon(void *ctx)
{
    job_free(ctx);
}

static void finish(struct s3_put_job *job)
{
    job->result.transfer_ms = job->put_began_ms ? clock_mono_ms() - job->put_began_ms : 0;
    job->client->ended++;
    job->done(job->ctx, &job->result);
    job_free(job);
}

static void finish_with(struct s3_put_job *job, int rc, const struct err *why)
{
    job->result.rc = rc;
    job->result.why = *why;
    finish(job);
}

/* Takes the call; ends the job if it cannot go out. */
static void begin(struct s3_put_job *job, struct aws_call *call, aws_done done)
{
    struct err why = {0};
    if (call) {
        call->abandon = abandon;
    }
    int rc = call ? aws_begin(job->client, call, done, job, &why) : err_set(&why, ERR_MEMORY, 0, "no memory for a transfer");
    if (rc != 0) {
        finish_with(job, rc, &why);
    }
}

static void on_put(void *ctx, struct aws_answer *a);

static void put(struct s3_put_job *job, bool is_conditional)
{
    char crc[12];
    struct aws_call *call = s3_call_new(job->client, "PutObject", "PUT", &job->place);
    job->is_conditional = is_conditional;
    if (call) {
        call->fd = job->fd;
        call->fd_bytes = job->bytes;
        call->response_max = 65536;
        s3_crc_text(job->crc32c, crc);
        aws_call_header(call, "x-amz-checksum-crc32c", "%s", crc);
        aws_call_header(call, "content-type", "application/dicom");
        s3_add_options(job->client, call);
        aws_call_header_text(call, "if-none-match", is_conditional ? "*" : "");
        (void)snprintf(call->payload_hash, sizeof call->payload_hash, "%s", job->sha256);
    }
    begin(job, call, on_put);
}

/* ---- something lies there already ------------------------------------------------------------------------------------------------------ */

static void is_there(struct s3_put_job *job, bool encrypted)
{
    if (encrypted) {
        log_info("upload_was_there", "path=%s reason=\"an earlier transfer had arrived; size and content are the same\"", job->place.path);
        job->result.rc = 0;
        finish(job);
    } else {
        put(job, false); /* over itself */
    }
}

static void is_other(struct s3_put_job *job, bool is_unclear)
{
    struct err why = {0};
    finish_with(job, s3_found_other("PutObject", job->place.path, is_unclear, &why), &why);
}

static void on_md5(void *ctx, int rc, const struct err *why)
{
    struct s3_put_job *job = ctx;
    unsigned char raw[EVP_MAX_MD_SIZE];
    char hex[33] = "";
    unsigned length = 0;
    if (rc != 0) {
        finish_with(job, rc, why);
        return;
    }
    (void)EVP_DigestFinal_ex(job->md5, raw, &length);
    for (unsigned i = 0; i < 16 && length == 16; i++) {
        (void)snprintf(hex + 2 * i, 3, "%02x", raw[i]);
    }
    if (strcmp(hex, job->result.etag) == 0) {
        is_there(job, true);
    } else {
        is_other(job, false);
    }
}

static void compare_md5(struct s3_put_job *job)
{
    struct err why = {0};
    job->md5 = EVP_MD_CTX_new();
    job->hash = (struct s3_hash){.fd = job->fd, .bytes = job->bytes, .whole_digest = job->md5, .done = on_md5, .abandon = abandon, .ctx = job};
    int rc = job->md5 && EVP_DigestInit_ex(job->md5, EVP_md5(), NULL) == 1 ? s3_hash_begin(job->client, &job->hash, &why)
                                                                          : err_set(&why, ERR_MEMORY, 0, "no memory for MD5");
    if (rc != 0) {
        finish_with(job, rc, &why);
    }
}

static void on_head(void *ctx, struct aws_answer *a)
{
    struct s3_put_job *job = ctx;
    struct err why = {0};
    bool encrypted = true;
    job->client->ended--; /* a step is no end; finish() counts */
    if (a->rc == ERR_AWS_DENIED && job->is_only_ours) { /* who may not look puts again: nobody else writes under this key */
        log_warning("upload_not_compared", "path=%s reason=\"%s\" effect=\"the object there is overwritten by this instance's\" remedy=\"allow s3:GetObject\"",
                    job->place.path, a->why.text);
        put(job, false);
        return;
    }
    if (a->rc == ERR_AWS_NOT_FOUND) {
        finish_with(job, err_set(&why, ERR_AWS_CONFLICT, 0, "S3 PutObject: something lay under the key, and then it did not (request %s)", a->request_id), &why);
        return;
    }
    if (a->rc != 0) {
        s3_explain_look(job->place.path, a);
        finish_with(job, a->rc, &a->why);
        return;
    }
    enum s3_found found = s3_found_judge(job->client, a->http, job->bytes, job->crc32c, job->result.etag, &encrypted);
    if (found == FOUND_OURS) {
        is_there(job, encrypted);
    } else if (found == FOUND_BY_MD5) {
        compare_md5(job);
    } else {
        is_other(job, found == FOUND_UNCLEAR);
    }
}

static void head(struct s3_put_job *job)
{
    struct aws_call *call = s3_call_new(job->client, "HeadObject", "HEAD", &job->place);
    if (call) {
        aws_call_header(call, "x-amz-checksum-mode", "ENABLED");
    }
    begin(job, call, on_head);
}

/* ---- the PUT ----------------------------------------------------------------------------------------------------------------------------- */

static int check_answer(struct s3_put_job *job, const struct http_response *http)
{
    struct s3_put_result *r = &job->result;
    char theirs[16];
    char ours[12];
    char etag[80];
    if (http_header(http, "etag", etag, sizeof etag)) {
        s3_plain_etag(etag, r->etag, sizeof r->etag);
    }
    s3_crc_text(job->crc32c, ours);
    bool has_checksum = http_header(http, "x-amz-checksum-crc32c", theirs, sizeof theirs);
    if (!has_checksum && (!r->etag[0] || !r->request_id[0])) { /* a proxy's own page is no word of S3, whatever its status */
        return err_set(&r->why, ERR_NETWORK, 0, "S3 PutObject: %ld without checksum, ETag and request id: not S3 has answered, a proxy in between?",
                       http->status);
    }
    if (has_checksum && strcmp(theirs, ours) != 0) {
        return err_set(&r->why, ERR_AWS_CHECKSUM, 0, "S3 PutObject: answered with the checksum %.12s instead of %s (request %s)", theirs, ours, r->request_id);
    }
    return s3_check_encryption(job->client, "PutObject", http, &r->why);
}

static void on_put(void *ctx, struct aws_answer *a)
{
    struct s3_put_job *job = ctx;
    struct s3_put_result *r = &job->result;
    job->client->ended--; /* finish() counts */
    (void)snprintf(r->request_id, sizeof r->request_id, "%s", a->request_id);
    if (job->is_conditional && s3_is_taken(a)) {
        head(job);
        return;
    }
    s3_explain(job->client, a);
    r->first_failed_ms = a->first_failed_ms;
    r->rc = a->rc;
    r->why = a->why;
    if (r->rc == 0) {
        r->rc = check_answer(job, a->http);
    }
    finish(job);
}

/* Sign and send. */
static void on_hash(void *ctx, int rc, const struct err *why)
{
    struct s3_put_job *job = ctx;
    job->put_began_ms = clock_mono_ms();
    job->result.hash_ms = job->put_began_ms - job->hash_began_ms;
    if (rc != 0) {
        finish_with(job, rc, why);
        return;
    }
    (void)snprintf(job->sha256, sizeof job->sha256, "%s", job->hash.hex);
    (void)snprintf(job->result.sha256, sizeof job->result.sha256, "%s", job->hash.hex);
    put(job, job->client->s3.if_none_match);
}

int s3_put_begin(struct aws_client *c, const struct s3_put *put, s3_put_done done, void *ctx, struct err *e)
{
    if (put->bytes < 0 || put->fd < 0) {
        return err_set(e, ERR_ARGUMENT, 0, "PutObject without a file");
    }
    if (put->bytes > put_max_bytes) {
        return err_set(e, ERR_TOO_LARGE, 0, "S3 PutObject: one request takes at most 5 GiB, the file has %lld bytes", (long long)put->bytes);
    }
    struct s3_put_job *job = calloc(1, sizeof *job);
    if (!job) {
        return err_set(e, ERR_MEMORY, 0, "no memory for a transfer");
    }
    job->client = c;
    job->done = done;
    job->ctx = ctx;
    job->fd = put->fd;
    job->bytes = put->bytes;
    job->crc32c = put->crc32c;
    job->is_only_ours = put->is_only_ours;
    job->hash_began_ms = clock_mono_ms();
    job->hash = (struct s3_hash){.fd = put->fd, .bytes = put->bytes, .done = on_hash, .abandon = abandon, .ctx = job};
    int rc = endpoint_s3_place(&c->site.endpoints[AWS_S3], c->path_style, s3_bucket_of(c, put->bucket), put->key, &job->place, e);
    rc = rc ? rc : s3_hash_begin(c, &job->hash, e);
    if (rc != 0) {
        job_free(job);
    }
    return rc;
}
