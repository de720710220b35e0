/* inspect - see inspect.h. */
#include "common/aws/inspect.h"
#include "common/aws/bodies.h"
#include "common/aws/credentials/credentials.h"
#include "common/aws/internal.h"
#include "common/aws/s3/multipart.h"
#include "common/runtime/runtime.h"

#include <stdlib.h>
#include <string.h>

enum { LOOK_BYTES = 65536, SLICE_MS = 20, FETCH_LIMIT_MS = 60000 };

/* ---- an endpoint ---------------------------------------------------------------------------------------------------------------- */

struct reaching {
    bool ended;
    int rc;
    struct err *e;
    struct aws_reach *out;
    struct aws_client *client;
};

static void on_reach(void *ctx, struct http_response *r)
{
    struct reaching *p = ctx;
    p->ended = true;
    p->rc = r->rc == ERR_TOO_LARGE ? 0 : r->rc;
    if (p->rc != 0 && p->e) {
        *p->e = r->why;
    }
    p->out->status = r->status;
    p->out->took_ms = r->took_ms;
    (void)snprintf(p->out->peer, sizeof p->out->peer, "%s", r->peer);
    aws_client_learn_clock(p->client, r);
}

int aws_reach(struct aws_client *c, enum aws_service service, int64_t limit_ms, struct aws_reach *out, struct err *e)
{
    const struct endpoint *place = &c->site.endpoints[service];
    struct reaching p = {.e = e, .out = out, .client = c};
    memset(out, 0, sizeof *out);
    (void)snprintf(out->url, sizeof out->url, "%s://%.260s", place->tls ? "https" : "http", place->host);
    char url[sizeof out->url + sizeof place->base + 2];
    (void)snprintf(url, sizeof url, "%s%s/", out->url, place->base);
    struct http_request q = {.method = "GET", .url = url, .body_fd = -1, .response_max = LOOK_BYTES, .cut_is_fine = true, .total_ms = limit_ms,
                             .fresh_connection = true};
    int rc = http_begin(c->http, &q, on_reach, &p, e);
    if (rc != 0) {
        return rc;
    }
    while (!p.ended) { /* it has a time limit */
        (void)http_step(c->http);
        if (!p.ended) {
            (void)http_poll(c->http, SLICE_MS, NULL, 0);
        }
    }
    return p.rc;
}

/* ---- keys ------------------------------------------------------------------------------------------------------------------------- */

int aws_keys_look(struct aws_client *c, struct aws_keys_facts *out, struct err *e)
{
    const struct credentials *keys = NULL;
    const int64_t end = clock_mono_ms() + FETCH_LIMIT_MS;
    int rc = credentials_get(c->credentials, &keys, e);
    if (rc == CREDENTIALS_WAIT) {
        while (!credentials_step(c->credentials) && clock_mono_ms() < end) {
            (void)http_poll(c->http, SLICE_MS, NULL, 0);
        }
        rc = credentials_settled(c->credentials, &keys, e);
    }
    if (rc != 0) {
        return rc;
    }
    (void)snprintf(out->origin, sizeof out->origin, "%s", keys->origin);
    (void)snprintf(out->access_key_id, sizeof out->access_key_id, "%s", keys->access_key_id);
    out->left_ms = keys->expires_ms == 0 ? -1 : keys->expires_ms - clock_wall_ms() - c->offset_ms;
    if (keys->expires_ms != 0 && out->left_ms < 0) {
        out->left_ms = 0;
    }
    return 0;
}

/* ---- who we are ------------------------------------------------------------------------------------------------------------------------ */

int aws_caller_identity(struct aws_client *c, struct aws_identity *out, struct err *e)
{
    struct aws_result r;
    struct aws_call *call = aws_call_new(c, AWS_STS, "GetCallerIdentity", "POST");
    if (!call || !(call->body = strdup("Action=GetCallerIdentity&Version=2011-06-15"))) {
        aws_call_free(call);
        return err_set(e, ERR_MEMORY, 0, "no memory for a request");
    }
    (void)snprintf(call->place.path + strlen(call->place.path), sizeof call->place.path - strlen(call->place.path), "/");
    call->body_bytes = strlen(call->body);
    call->response_max = LOOK_BYTES;
    sigv4_sha256_hex(call->body, call->body_bytes, call->payload_hash);
    aws_call_header(call, "content-type", "application/x-www-form-urlencoded");
    int rc = aws_call_blocking(c, call, &r, e);
    if (rc != 0) {
        return rc;
    }
    const struct xml_wanted wanted[] = {{"Account", out->account, sizeof out->account}, {"Arn", out->arn, sizeof out->arn}};
    memset(out, 0, sizeof *out);
    bool fine = xml_texts_read(r.body, r.body_bytes, wanted, 2) && strlen(out->account) == 12 && strspn(out->account, "0123456789") == 12;
    free(r.body);
    return fine ? 0 : err_set(e, ERR_PROTOCOL, 0, "STS GetCallerIdentity: the answer names no account");
}

/* ---- a bucket ---------------------------------------------------------------------------------------------------------------------------- */

static int bucket_call(struct aws_client *c, const char *operation, const char *method, const char *bucket, const char *key, struct aws_call **out,
                       struct err *e)
{
    struct endpoint_place place;
    int rc = endpoint_s3_place(&c->site.endpoints[AWS_S3], c->path_style, s3_bucket_of(c, bucket), key, &place, e);
    struct aws_call *call = rc == 0 ? s3_call_new(c, operation, method, &place) : NULL;
    if (!call) {
        return rc ? rc : err_set(e, ERR_MEMORY, 0, "no memory for a request");
    }
    call->response_max = LOOK_BYTES;
    *out = call;
    return 0;
}

int s3_bucket_look(struct aws_client *c, const char *bucket, const char *owner, char region[48], struct err *e)
{
    struct aws_call *call = NULL;
    struct aws_result r;
    region[0] = '\0';
    int rc = bucket_call(c, "HeadBucket", "HEAD", bucket, "", &call, e);
    if (rc != 0) {
        return rc;
    }
    if (owner && !c->s3.owner[0]) { /* else s3_expected_owner stands there already */
        aws_call_header(call, "x-amz-expected-bucket-owner", "%.20s", owner);
    }
    rc = aws_call_blocking(c, call, &r, e);
    (void)snprintf(region, 48, "%s", r.bucket_region);
    if (rc == 0) {
        free(r.body);
    } else if (region[0] && strcmp(region, c->site.region) != 0) { /* the status alone says little: an answer without words */
        rc = err_set(e, ERR_AWS_REGION, 0, "S3 HeadBucket: %ld, the bucket is in %s", r.status, region);
    }
    return rc;
}

int s3_bucket_encryption(struct aws_client *c, const char *bucket, struct s3_encryption *out, struct err *e)
{
    struct aws_call *call = NULL;
    struct aws_result r;
    int rc = bucket_call(c, "GetBucketEncryption", "GET", bucket, "", &call, e);
    if (rc == 0 && aws_call_query(call, "encryption", "") != 0) {
        aws_call_free(call);
        rc = err_set(e, ERR_MEMORY, 0, "no memory for a request");
    }
    rc = rc ? rc : aws_call_blocking(c, call, &r, e);
    if (rc != 0) {
        return rc;
    }
    const struct xml_wanted wanted[] = {{"SSEAlgorithm", out->algorithm, sizeof out->algorithm}, {"KMSMasterKeyID", out->key, sizeof out->key}};
    memset(out, 0, sizeof *out);
    bool fine = xml_texts_read(r.body, r.body_bytes, wanted, 2) && out->algorithm[0];
    free(r.body);
    return fine ? 0 : err_set(e, ERR_PROTOCOL, 0, "S3 GetBucketEncryption: the answer names no algorithm");
}

int s3_parts_begin(struct aws_client *c, const char *bucket, const char *key, char upload_id[S3_UPLOAD_ID_SIZE], struct err *e)
{
    struct aws_call *call = NULL;
    struct aws_result r;
    int rc = bucket_call(c, "CreateMultipartUpload", "POST", bucket, key, &call, e);
    if (rc == 0 && aws_call_query(call, "uploads", "") != 0) {
        aws_call_free(call);
        rc = err_set(e, ERR_MEMORY, 0, "no memory for a request");
    }
    if (rc == 0) {
        aws_call_header(call, "x-amz-checksum-algorithm", "CRC32C");
        aws_call_header(call, "x-amz-checksum-type", "FULL_OBJECT");
        s3_add_options(c, call);
        rc = aws_call_blocking(c, call, &r, e);
    }
    if (rc == 0) {
        rc = multipart_created_read(r.body, r.body_bytes, upload_id, e);
        free(r.body);
    }
    return rc;
}

int s3_parts_look(struct aws_client *c, const char *bucket, const char *key, const char *upload_id, struct err *e)
{
    struct aws_call *call = NULL;
    struct aws_result r;
    int rc = bucket_call(c, "ListParts", "GET", bucket, key, &call, e);
    if (rc == 0 && aws_call_query(call, "uploadId", upload_id) != 0) {
        aws_call_free(call);
        rc = err_set(e, ERR_ARGUMENT, 0, "S3 ListParts: the upload id is too long");
    }
    rc = rc ? rc : aws_call_blocking(c, call, &r, e);
    if (rc == 0) {
        free(r.body);
    }
    return rc;
}
