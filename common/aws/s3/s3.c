/* s3 - the blocking calls and the pure parts; PutObject is in s3_put.c. See s3.h. */
#include "common/aws/s3/s3.h"
#include "common/aws/bodies.h"
#include "common/aws/internal.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE_BYTES = 8 << 20, PAGES_MAX = 100000 };

const char *s3_bucket_of(const struct aws_client *c, const char *bucket)
{
    return bucket ? bucket : config_text(c->config, CFG_DICOM_BUCKET);
}

struct aws_call *s3_call_new(struct aws_client *c, const char *operation, const char *method, const struct endpoint_place *place)
{
    struct aws_call *call = aws_call_new(c, AWS_S3, operation, method);
    if (call) {
        call->place = *place;
        aws_call_header_text(call, "x-amz-expected-bucket-owner", c->s3.owner);
    }
    return call;
}

void s3_add_options(const struct aws_client *c, struct aws_call *call)
{
    const struct s3_options *o = &c->s3;
    aws_call_header_text(call, "x-amz-server-side-encryption", o->encryption);
    aws_call_header_text(call, "x-amz-server-side-encryption-aws-kms-key-id", o->kms_key);
    aws_call_header_text(call, "x-amz-server-side-encryption-context", o->kms_context);
    aws_call_header_text(call, "x-amz-server-side-encryption-bucket-key-enabled", o->bucket_key);
    aws_call_header_text(call, "x-amz-storage-class", o->storage_class);
    aws_call_header_text(call, "x-amz-tagging", o->tagging);
}

static int call_new(struct aws_client *c, const char *operation, const char *method, const char *bucket, const char *key,
                    struct aws_call **out, struct err *e)
{
    struct endpoint_place place;
    int rc = endpoint_s3_place(&c->site.endpoints[AWS_S3], c->path_style, s3_bucket_of(c, bucket), key, &place, e);
    struct aws_call *call = rc == 0 ? s3_call_new(c, operation, method, &place) : NULL;
    if (!call) {
        return rc ? rc : err_set(e, ERR_MEMORY, 0, "no memory for a request");
    }
    *out = call;
    return 0;
}

int s3_head(struct aws_client *c, const char *bucket, const char *key, struct s3_head *out, struct err *e)
{
    struct aws_call *call = NULL;
    struct aws_result r;
    int rc = call_new(c, "HeadObject", "HEAD", bucket, key, &call, e);
    if (rc != 0) {
        return rc;
    }
    aws_call_header(call, "x-amz-checksum-mode", "ENABLED");
    rc = aws_call_blocking(c, call, &r, e);
    if (rc != 0) {
        return rc;
    }
    char *end = NULL;
    memset(out, 0, sizeof *out);
    out->bytes = strtoll(r.content_length, &end, 10);
    if (end == r.content_length || *end != '\0' || out->bytes < 0) {
        rc = err_set(e, ERR_PROTOCOL, 0, "S3 HeadObject: the answer has no Content-Length");
    }
    s3_plain_etag(r.etag, out->etag, sizeof out->etag);
    out->has_crc32c = s3_crc_read(r.crc32c, &out->crc32c);
    free(r.body);
    return rc;
}

int s3_get(struct aws_client *c, const char *bucket, const char *key, int64_t from, int64_t limit, char **body, size_t *size, struct err *e)
{
    struct aws_call *call = NULL;
    struct aws_result r;
    if (from < 0 || limit < 1 || limit > INT64_C(1) << 32) {
        return err_set(e, ERR_ARGUMENT, 0, "S3 GetObject of %lld bytes from %lld", (long long)limit, (long long)from);
    }
    int rc = call_new(c, "GetObject", "GET", bucket, key, &call, e);
    if (rc != 0) {
        return rc;
    }
    call->response_max = limit < 4096 ? 4096 : (size_t)limit; /* an error has to find room as well */
    call->cut_is_fine = true;
    aws_call_header(call, "range", "bytes=%lld-%lld", (long long)from, (long long)(from + limit - 1));
    rc = aws_call_blocking(c, call, &r, e);
    if (r.status == 416) { /* nothing there from that byte on: also an empty object from 0 */
        r.body = calloc(1, 1);
        r.body_bytes = 0;
        rc = r.body ? 0 : err_set(e, ERR_MEMORY, 0, "S3 GetObject");
    }
    if (rc == 0 && from > 0 && r.status == 200) {
        free(r.body);
        rc = err_set(e, ERR_PROTOCOL, 0, "S3 GetObject: the server does not know the Range header");
    }
    if (rc != 0) {
        return rc;
    }
    if ((int64_t)r.body_bytes > limit) {
        r.body_bytes = (size_t)limit;
        r.body[limit] = '\0';
    }
    *body = r.body;
    *size = r.body_bytes;
    return 0;
}

int s3_list(struct aws_client *c, const char *bucket, const char *prefix, int (*each)(void *ctx, const char *key, int64_t bytes), void *ctx,
            struct err *e)
{
    struct s3_page page = {.next_token = ""};
    for (int pages = 0; pages < PAGES_MAX; pages++) {
        struct aws_call *call = NULL;
        struct aws_result r;
        int rc = call_new(c, "ListObjectsV2", "GET", bucket, "", &call, e);
        if (rc != 0) {
            return rc;
        }
        call->response_max = PAGE_BYTES;
        if (aws_call_query(call, "list-type", "2") != 0 || aws_call_query(call, "encoding-type", "url") != 0 ||
            aws_call_query(call, "prefix", prefix) != 0 ||
            (page.next_token[0] && aws_call_query(call, "continuation-token", page.next_token) != 0)) {
            aws_call_free(call);
            return err_set(e, ERR_ARGUMENT, 0, "S3 ListObjectsV2: the prefix is too long");
        }
        rc = aws_call_blocking(c, call, &r, e);
        if (rc == 0) {
            rc = s3_page_read(r.body, r.body_bytes, &page, each, ctx, e);
            free(r.body);
        }
        if (rc != 0 || !page.truncated) {
            return rc;
        }
    }
    return err_set(e, ERR_PROTOCOL, 0, "S3 ListObjectsV2: more than %d pages", PAGES_MAX);
}

int s3_delete(struct aws_client *c, const char *bucket, const char *key, struct err *e)
{
    struct aws_call *call = NULL;
    struct aws_result r;
    int rc = call_new(c, "DeleteObject", "DELETE", bucket, key, &call, e);
    rc = rc ? rc : aws_call_blocking(c, call, &r, e);
    if (rc == 0) {
        free(r.body);
    }
    return rc;
}

int s3_multipart_abort(struct aws_client *c, const char *bucket, const char *key, const char *upload_id, struct err *e)
{
    struct aws_call *call = NULL;
    struct aws_result r;
    int rc = call_new(c, "AbortMultipartUpload", "DELETE", bucket, key, &call, e);
    if (rc != 0) {
        return rc;
    }
    rc = aws_call_query(call, "uploadId", upload_id);
    if (rc != 0) {
        aws_call_free(call);
        return err_set(e, rc, 0, "S3 AbortMultipartUpload: the upload id is too long");
    }
    rc = aws_call_blocking(c, call, &r, e);
    if (rc == 0) {
        free(r.body);
    }
    return r.status == 404 && rc == ERR_AWS_NO_UPLOAD ? 0 : rc;
}

int s3_uri_split(const char *uri, char *bucket, size_t bucket_size, char *key, size_t key_size)
{
    if (strncmp(uri, "s3://", 5) != 0) {
        return ERR_ARGUMENT;
    }
    const char *name = uri + 5;
    size_t length = strcspn(name, "/");
    const char *rest = name[length] == '/' ? name + length + 1 : name + length;
    if (length == 0 || length >= bucket_size || strlen(rest) >= key_size) {
        return ERR_ARGUMENT;
    }
    (void)snprintf(bucket, bucket_size, "%.*s", (int)length, name);
    (void)snprintf(key, key_size, "%s", rest);
    return 0;
}
