/* s3 - routing: which operation a request asks for, of which bucket and key. Path style, and virtual-host style where the host says so. */
#include "compose/local-aws/s3.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct operation put_object = {"PutObject", s3_put_object, true, false};
static const struct operation get_object = {"GetObject", s3_get_object, false, false};
static const struct operation head_object = {"HeadObject", s3_head_object, false, false};
static const struct operation delete_object = {"DeleteObject", s3_delete_object, false, false};
static const struct operation list_objects = {"ListObjectsV2", s3_list_objects, false, false};
static const struct operation list_buckets = {"ListBuckets", s3_list_buckets, false, false};
static const struct operation create_bucket = {"CreateBucket", s3_create_bucket, false, false};
static const struct operation head_bucket = {"HeadBucket", s3_head_bucket, false, false};
static const struct operation delete_bucket = {"DeleteBucket", s3_delete_bucket, false, false};
static const struct operation get_location = {"GetBucketLocation", s3_get_bucket_location, false, false};
static const struct operation get_encryption = {"GetBucketEncryption", s3_get_bucket_encryption, false, false};
static const struct operation create_multipart = {"CreateMultipartUpload", s3_create_multipart, false, false};
static const struct operation upload_part = {"UploadPart", s3_upload_part, true, false};
static const struct operation complete_multipart = {"CompleteMultipartUpload", s3_complete_multipart, false, false};
static const struct operation abort_multipart = {"AbortMultipartUpload", s3_abort_multipart, false, false};
static const struct operation list_parts = {"ListParts", s3_list_parts, false, false};
static const struct operation list_multiparts = {"ListMultipartUploads", s3_list_multiparts, false, false};

static bool has(const struct request *r, const char *name)
{
    return request_query(r, name, NULL, 0);
}

static const struct operation *of_key(const struct request *r)
{
    if (strcmp(r->method, "PUT") == 0) {
        if (request_header(r, "x-amz-copy-source")) {
            return NULL;
        }
        return has(r, "uploadId") ? &upload_part : has(r, "tagging") || has(r, "acl") ? NULL : &put_object;
    }
    if (strcmp(r->method, "GET") == 0) {
        return has(r, "uploadId") ? &list_parts : has(r, "tagging") || has(r, "acl") || has(r, "attributes") ? NULL : &get_object;
    }
    if (strcmp(r->method, "HEAD") == 0) {
        return &head_object;
    }
    if (strcmp(r->method, "DELETE") == 0) {
        return has(r, "uploadId") ? &abort_multipart : &delete_object;
    }
    if (strcmp(r->method, "POST") == 0) {
        return has(r, "uploads") ? &create_multipart : has(r, "uploadId") ? &complete_multipart : NULL;
    }
    return NULL;
}

static const struct operation *of_bucket(const struct request *r)
{
    char type[4] = "";
    if (strcmp(r->method, "PUT") == 0) {
        return r->query[0] == '\0' || has(r, "x-id") ? &create_bucket : NULL;
    }
    if (strcmp(r->method, "HEAD") == 0) {
        return &head_bucket;
    }
    if (strcmp(r->method, "DELETE") == 0) {
        return r->query[0] == '\0' || has(r, "x-id") ? &delete_bucket : NULL;
    }
    if (strcmp(r->method, "GET") == 0) {
        (void)request_query(r, "list-type", type, sizeof type);
        return strcmp(type, "2") == 0 ? &list_objects : has(r, "uploads") ? &list_multiparts : has(r, "location") ? &get_location
               : has(r, "encryption")       ? &get_encryption
                                            : NULL;
    }
    return NULL;
}

/* The bucket that the Host header names, "" if none: BUCKET.<domain>, BUCKET.localhost, BUCKET.s3.anything, BUCKET.s3-anything. */
static void bucket_of_host(const struct request *r, char *bucket, size_t size)
{
    char host[300];
    struct in_addr ipv4;
    const char *header = request_header(r, "Host");
    bucket[0] = '\0';
    (void)snprintf(host, sizeof host, "%s", header ? header : "");
    host[strcspn(host, ":")] = '\0';
    if (host[0] == '[' || inet_pton(AF_INET, host, &ipv4) == 1) {
        return;
    }
    const char *ends[] = {r->app->options.domain, ".localhost"};
    for (size_t i = 0; i < 2; i++) {
        size_t end = ends[i] ? strlen(ends[i]) : 0;
        if (end > 0 && strlen(host) > end && strcasecmp(host + strlen(host) - end, ends[i]) == 0) {
            (void)snprintf(bucket, size, "%.*s", (int)(strlen(host) - end), host);
            bucket[strlen(bucket) - (bucket[0] && bucket[strlen(bucket) - 1] == '.')] = '\0';
            return;
        }
    }
    char *s3 = strstr(host, ".s3.");
    s3 = s3 ? s3 : strstr(host, ".s3-");
    if (s3) {
        (void)snprintf(bucket, size, "%.*s", (int)(s3 - host), host);
    }
}

/* Fills bucket and key; refuses what cannot be one. */
static bool split_path(struct request *r)
{
    char key[STORE_KEY_MAX + 1] = "";
    const char *path = r->path + (r->path[0] == '/');
    bucket_of_host(r, r->bucket, sizeof r->bucket);
    if (!r->bucket[0] && *path) {
        size_t length = strcspn(path, "/");
        if (!text_decode(path, length, false, r->bucket, sizeof r->bucket) || !store_bucket_is_legal(r->bucket)) {
            answer_refuse(r, 400, "InvalidBucketName", "The specified bucket is not valid.");
            return false;
        }
        path += length + (path[length] == '/');
    } else if (r->bucket[0] && !store_bucket_is_legal(r->bucket)) {
        answer_refuse(r, 400, "InvalidBucketName", "The specified bucket is not valid.");
        return false;
    }
    if (strlen(path) > 3 * STORE_KEY_MAX) {
        answer_refuse(r, 400, "KeyTooLongError", "Your key is too long");
        return false;
    }
    bool decoded = text_decode(path, strlen(path), false, key, sizeof key);
    json_t *is_utf8 = decoded ? json_string(key) : NULL;
    json_decref(is_utf8);
    r->key = strdup(key);
    if (!is_utf8 || !r->key) {
        answer_refuse(r, 400, "InvalidURI", "Couldn't parse the specified URI: a key is UTF-8 of at most %d bytes.", STORE_KEY_MAX);
        return false;
    }
    return true;
}

const struct operation *s3_route(struct request *r)
{
    const struct operation *found;
    if (!split_path(r)) {
        return NULL;
    }
    if (!r->bucket[0]) {
        found = strcmp(r->method, "GET") == 0 ? &list_buckets : NULL;
    } else {
        found = r->key[0] ? of_key(r) : of_bucket(r);
    }
    if (!found) {
        answer_refuse(r, 501, "NotImplemented", "The stand-in does not know this operation.");
    }
    return found;
}

bool s3_need_bucket(struct request *r)
{
    const char *owner = request_header(r, "x-amz-expected-bucket-owner");
    if (!store_bucket_exists(r->app->store, r->bucket)) {
        answer_refuse(r, 404, "NoSuchBucket", "The specified bucket does not exist");
        return false;
    }
    if (owner && (strlen(owner) != 12 || strspn(owner, "0123456789") != 12)) {
        answer_refuse(r, 400, "InvalidBucketOwnerAWSAccountID", "The value of the expected bucket owner parameter must be an AWS account ID");
        return false;
    }
    if (owner && strcmp(owner, r->app->options.account) != 0) {
        answer_refuse(r, 403, "AccessDenied", "Access Denied");
        return false;
    }
    return true;
}
