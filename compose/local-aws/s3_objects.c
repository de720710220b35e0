/* s3 - PutObject, GetObject, HeadObject, DeleteObject. See s3.h. */
#include "common/runtime/runtime.h"
#include "compose/local-aws/s3.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { META_MAX = 2048 };

static const char *text_of(json_t *object, const char *name)
{
    const char *s = json_string_value(json_object_get(object, name));
    return s ? s : "";
}

/* ---- what is kept with an object --------------------------------------------------------------------------------------------- */

static int keep(void *ctx, const char *name, const char *value)
{
    static const char *const kept[] = {"content-type", "content-encoding", "cache-control", "content-disposition", "content-language",
                                       "expires", "x-amz-website-redirect-location"};
    char lower[128];
    size_t i = 0;
    for (; name[i] && i + 1 < sizeof lower; i++) {
        lower[i] = (char)tolower((unsigned char)name[i]);
    }
    lower[i] = '\0';
    bool wanted = strncmp(lower, "x-amz-meta-", 11) == 0;
    for (size_t k = 0; k < sizeof kept / sizeof kept[0]; k++) {
        wanted = wanted || strcmp(lower, kept[k]) == 0;
    }
    if (!wanted) {
        return 0;
    }
    if (strcmp(lower, "content-encoding") == 0 && strncasecmp(value, "aws-chunked", 11) == 0) {
        value += 11; /* how it travelled, not what it is */
        value += strspn(value, ", ");
        if (!*value) {
            return 0;
        }
    }
    (void)json_object_set_new(ctx, lower, json_string(value));
    return 0;
}

json_t *s3_kept_headers(const struct request *r)
{
    json_t *headers = json_object();
    request_each_header(r, keep, headers);
    s3_asked_keep(r, headers);
    if (!json_object_get(headers, "content-type")) {
        (void)json_object_set_new(headers, "content-type", json_string("binary/octet-stream"));
    }
    return headers;
}

void s3_answer_etag(struct request *r, const char *etag)
{
    if (r->effect.wrong_etag) {
        answer_header(r, "ETag", "\"00000000000000000000000000000000\"");
    } else {
        answer_headerf(r, "ETag", "\"%s\"", etag);
    }
}

void s3_answer_checksums(struct request *r, json_t *description)
{
    const char *name;
    json_t *value;
    char header[64];
    json_object_foreach(json_object_get(description, "checksums"), name, value) {
        (void)snprintf(header, sizeof header, "x-amz-checksum-%s", name);
        answer_header(r, header, r->effect.wrong_checksum ? "AAAAAA==" : json_string_value(value));
    }
    answer_header(r, "x-amz-checksum-type", text_of(description, "checksum_type"));
}

/* ---- PutObject --------------------------------------------------------------------------------------------------------------------- */

bool s3_commit(struct request *r, const char *path, json_t *description, const char *sha256)
{
    struct err e = {0};
    const char *condition = request_header(r, "If-None-Match");
    if (condition && strcmp(condition, "*") != 0) {
        (void)unlink(path);
        answer_refuse(r, 501, "NotImplemented", "If-None-Match takes only * here");
        return false;
    }
    int rc = store_commit(r->app->store, path, description, r->bucket, r->key, condition != NULL, sha256, &e);
    if (rc == ERR_EXISTS) {
        answer_refuse(r, 412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold");
    } else if (rc == ERR_NOT_FOUND) {
        answer_refuse(r, 404, "NoSuchBucket", "The specified bucket does not exist");
    } else if (rc != 0) {
        answer_trouble(r, &e);
    }
    return rc == 0;
}

static bool meta_is_small(struct request *r, json_t *headers)
{
    size_t bytes = 0;
    const char *name;
    json_t *value;
    json_object_foreach(headers, name, value) {
        bytes += strncmp(name, "x-amz-meta-", 11) == 0 ? strlen(name) - 11 + json_string_length(value) : 0;
    }
    if (bytes > META_MAX) {
        answer_refuse(r, 400, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size");
    }
    return bytes <= META_MAX;
}

void s3_put_object(struct request *r)
{
    struct digest d;
    enum checksum which;
    if (!s3_need_bucket(r) || !s3_asked_is_right(r) || !upload_finish(r, &d, &which)) {
        return;
    }
    json_t *headers = s3_kept_headers(r);
    if (s3_is_kms(headers)) {
        memcpy(d.etag, d.sha256_hex, 32);
    }
    json_t *description =
        json_pack("{s:s s:I s:I s:s s:o s:s s:o}", "key", r->key, "bytes", (json_int_t)d.bytes, "modified_ms", (json_int_t)clock_wall_ms(),
                  "etag", d.etag, "checksums", upload_checksums(&d, which), "checksum_type", "FULL_OBJECT", "headers", headers);
    if (description && meta_is_small(r, json_object_get(description, "headers")) && upload_seal(r, description) &&
        s3_commit(r, upload_path(r->upload), description, d.sha256_hex)) {
        upload_keep(r->upload);
        r->status = 200;
        s3_answer_etag(r, d.etag);
        s3_answer_checksums(r, description);
        s3_answer_encryption(r, json_object_get(description, "headers"));
    }
    json_decref(description);
}

/* ---- GetObject, HeadObject --------------------------------------------------------------------------------------------------------- */

/* "bytes=a-b", "bytes=a-", "bytes=-n" of size bytes. 0: no range that counts; 1: *from, *count; -1: cannot be satisfied. */
static int read_range(const char *header, int64_t size, int64_t *from, int64_t *count)
{
    char *end;
    if (!header || strncmp(header, "bytes=", 6) != 0 || strchr(header, ',')) {
        return 0;
    }
    const char *p = header + 6;
    if (*p == '-') {
        int64_t last = strtoll(p + 1, &end, 10);
        if (end == p + 1 || *end || last < 0) {
            return 0;
        }
        *count = last < size ? last : size;
        *from = size - *count;
        return *count > 0 ? 1 : -1;
    }
    int64_t first = strtoll(p, &end, 10);
    if (end == p || *end != '-' || first < 0) {
        return 0;
    }
    p = end + 1;
    int64_t last = *p ? strtoll(p, &end, 10) : size - 1;
    if ((*p && *end) || last < first) {
        return *p ? 0 : -1;
    }
    if (first >= size) {
        return -1;
    }
    *from = first;
    *count = (last < size - 1 ? last : size - 1) - first + 1;
    return 1;
}

/* If-Match and If-None-Match: false if the answer is decided. */
static bool conditions_hold(struct request *r, const char *etag)
{
    const char *match = request_header(r, "If-Match");
    const char *none = request_header(r, "If-None-Match");
    if (match && strcmp(match, "*") != 0 && !strstr(match, etag)) {
        answer_refuse(r, 412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold");
        return false;
    }
    if (none && (strcmp(none, "*") == 0 || strstr(none, etag))) {
        r->status = 304;
        return false;
    }
    return true;
}

static void answer_description(struct request *r, json_t *description)
{
    char date[32];
    const char *name;
    json_t *value;
    const char *mode = request_header(r, "x-amz-checksum-mode");
    text_time_http(json_integer_value(json_object_get(description, "modified_ms")), date);
    answer_header(r, "Last-Modified", date);
    answer_header(r, "Accept-Ranges", "bytes");
    s3_answer_etag(r, text_of(description, "etag"));
    json_object_foreach(json_object_get(description, "headers"), name, value) {
        answer_header(r, name, json_string_value(value));
    }
    if (!json_object_get(json_object_get(description, "headers"), "x-amz-server-side-encryption")) {
        answer_header(r, "x-amz-server-side-encryption", "AES256");
    }
    if (mode && strcasecmp(mode, "ENABLED") == 0 && r->status == 200) {
        s3_answer_checksums(r, description);
    }
}

void s3_get_object(struct request *r)
{
    struct err e = {0};
    int64_t size;
    json_t *description = NULL;
    if (!s3_need_bucket(r)) {
        return;
    }
    int fd = store_open_object(r->app->store, r->bucket, r->key, &size, &description, &e);
    if (fd == ERR_NOT_FOUND) {
        answer_refuse(r, 404, "NoSuchKey", "The specified key does not exist.");
        return;
    }
    if (fd < 0) {
        answer_trouble(r, &e);
        return;
    }
    r->out_fd = fd;
    r->out_bytes = size;
    r->status = 200;
    int range = read_range(request_header(r, "Range"), size, &r->out_from, &r->out_bytes);
    if (!conditions_hold(r, text_of(description, "etag"))) {
        r->out_bytes = 0;
    } else if (range < 0) {
        answer_headerf(r, "Content-Range", "bytes */%lld", (long long)size);
        answer_refuse(r, 416, "InvalidRange", "The requested range is not satisfiable");
    } else if (range > 0) {
        r->status = 206;
        answer_headerf(r, "Content-Range", "bytes %lld-%lld/%lld", (long long)r->out_from, (long long)(r->out_from + r->out_bytes - 1),
                       (long long)size);
    }
    if (r->status < 400) {
        answer_description(r, description);
    }
    json_decref(description);
}

void s3_head_object(struct request *r)
{
    s3_get_object(r); /* libmicrohttpd keeps the body back */
}

void s3_delete_object(struct request *r)
{
    struct err e = {0};
    if (!s3_need_bucket(r)) {
        return;
    }
    int rc = store_remove(r->app->store, r->bucket, r->key, &e);
    if (rc != 0 && rc != ERR_NOT_FOUND) {
        answer_trouble(r, &e);
        return;
    }
    r->status = 204;
}
