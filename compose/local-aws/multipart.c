/* s3 - multipart uploads. See s3.h.
 *
 *   <data>/multipart/<upload id>/upload.json    bucket, key, headers, algorithm; the upload exists as long as this does
 *   <data>/multipart/<upload id>/<5 digits>     one part, sealed like an object (store.h)
 *   <data>/parts.log                            one line for each part that was to be kept: "<time ms> <key> <upload id> <part> <bytes> <SHA-256>"
 */
#include "common/aws/request/sigv4.h"
#include "common/runtime/runtime.h"
#include "compose/local-aws/multipart.h"
#include "compose/local-aws/s3.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { UPLOADS_MAX = 10000 };

static const char *text_of(json_t *object, const char *name)
{
    const char *s = json_string_value(json_object_get(object, name));
    return s ? s : "";
}

/* ---- files --------------------------------------------------------------------------------------------------------------------- */

static void upload_directory(const struct request *r, const char *id, char path[STORE_PATH])
{
    (void)snprintf(path, STORE_PATH, "%s/multipart/%s", store_data(r->app->store), id);
}

void multipart_part_path(const struct request *r, const char *id, int number, char path[STORE_PATH])
{
    (void)snprintf(path, STORE_PATH, "%s/multipart/%s/%05d", store_data(r->app->store), id, number);
}

json_t *multipart_need(struct request *r, char id[32])
{
    char path[STORE_PATH];
    json_t *upload = NULL;
    if (s3_need_bucket(r) && request_query(r, "uploadId", id, 32) && id_is_legal(id)) {
        (void)snprintf(path, sizeof path, "%s/multipart/%s/upload.json", store_data(r->app->store), id);
        upload = json_load_file(path, 0, NULL);
    }
    if (upload && (strcmp(text_of(upload, "bucket"), r->bucket) != 0 || strcmp(text_of(upload, "key"), r->key) != 0)) {
        json_decref(upload);
        upload = NULL;
    }
    if (!upload) {
        answer_refuse(r, 404, "NoSuchUpload", "The specified upload does not exist. It may have been aborted or completed.");
    }
    return upload;
}

void multipart_remove(const struct request *r, const char *id)
{
    char path[STORE_PATH];
    char file[STORE_PATH + 300];
    upload_directory(r, id, path);
    (void)snprintf(file, sizeof file, "%s/upload.json", path);
    (void)unlink(file); /* first: from here on the upload is gone */
    DIR *directory = opendir(path);
    struct dirent *d;
    while (directory && (d = readdir(directory)) != NULL) {
        if (d->d_name[0] != '.') {
            (void)snprintf(file, sizeof file, "%s/%s", path, d->d_name);
            (void)unlink(file);
        }
    }
    if (directory) {
        (void)closedir(directory);
    }
    (void)rmdir(path);
}

/* ---- CreateMultipartUpload --------------------------------------------------------------------------------------------------------- */

static int write_upload(struct request *r, const char *id, struct err *e)
{
    char path[STORE_PATH];
    const char *algorithm = request_header(r, "x-amz-checksum-algorithm");
    const char *type = request_header(r, "x-amz-checksum-type");
    json_t *upload = json_pack("{s:s s:s s:I s:s s:s s:o}", "bucket", r->bucket, "key", r->key, "initiated_ms", (json_int_t)clock_wall_ms(),
                               "algorithm", algorithm ? algorithm : "", "type", type ? type : "", "headers", s3_kept_headers(r));
    upload_directory(r, id, path);
    int rc = upload ? directory_make(path, e) : err_set(e, ERR_MEMORY, 0, "no memory for an upload");
    if (rc == 0) {
        (void)snprintf(path + strlen(path), sizeof path - strlen(path), "/upload.json");
        rc = store_save_json(r->app->store, upload, path, e);
        s3_answer_encryption(r, json_object_get(upload, "headers"));
    }
    json_decref(upload);
    return rc;
}

void s3_create_multipart(struct request *r)
{
    char id[27];
    struct err e = {0};
    const char *algorithm = request_header(r, "x-amz-checksum-algorithm");
    if (!s3_need_bucket(r) || !s3_asked_is_right(r)) {
        return;
    }
    if (algorithm && checksum_find(algorithm) == CHECKSUM_NONE) {
        answer_refuse(r, 400, "InvalidRequest", "Checksum algorithm provided is unsupported.");
        return;
    }
    const char *type = request_header(r, "x-amz-checksum-type");
    enum checksum which = algorithm ? checksum_find(algorithm) : CHECKSUM_NONE;
    if (type && strcasecmp(type, "FULL_OBJECT") == 0 && (which == CHECKSUM_SHA1 || which == CHECKSUM_SHA256)) {
        answer_refuse(r, 400, "InvalidRequest", "The FULL_OBJECT checksum type cannot be used with the %s checksum algorithm.", algorithm);
        return;
    }
    id_new(id);
    if (write_upload(r, id, &e) != 0) {
        answer_trouble(r, &e);
        return;
    }
    answer_xml(r, 200);
    text_add(&r->out, "<InitiateMultipartUploadResult xmlns=\"" S3_XMLNS "\">");
    text_add_element(&r->out, "Bucket", r->bucket);
    text_add_element(&r->out, "Key", r->key);
    text_add_element(&r->out, "UploadId", id);
    text_add(&r->out, "</InitiateMultipartUploadResult>");
    if (algorithm) {
        answer_header(r, "x-amz-checksum-algorithm", algorithm);
    }
}

/* ---- UploadPart ------------------------------------------------------------------------------------------------------------------------ */

static json_t *describe_part(const struct digest *d, enum checksum which)
{
    json_t *checksums = upload_checksums(d, which);
    return json_pack("{s:I s:I s:s s:s s:o}", "bytes", (json_int_t)d->bytes, "modified_ms", (json_int_t)clock_wall_ms(), "etag", d->etag,
                     "sha256", d->sha256_hex, "checksums", checksums);
}

/* Written before the part is there, as puts.log is. */
static bool log_part(struct request *r, const char *id, int part, const struct digest *d)
{
    char path[STORE_PATH];
    char key[STORE_KEY_MAX * 3 + 4];
    char line[sizeof key + 200];
    struct err e = {0};
    (void)snprintf(path, sizeof path, "%s/parts.log", store_data(r->app->store));
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || sigv4_uri_encode(r->key, true, key, sizeof key) != 0) {
        (void)err_set(&e, ERR_IO, errno, "cannot write parts.log");
    } else {
        int n = snprintf(line, sizeof line, "%lld %s %s %d %lld %s\n", (long long)clock_wall_ms(), key, id, part, (long long)d->bytes, d->sha256_hex);
        (void)write_all(fd, line, (size_t)n, &e);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    if (e.code != 0) {
        answer_trouble(r, &e);
    }
    return e.code == 0;
}

void s3_upload_part(struct request *r)
{
    char id[32];
    char number[16] = "";
    char path[STORE_PATH];
    struct digest d;
    struct err e = {0};
    enum checksum which;
    json_t *upload = multipart_need(r, id);
    (void)request_query(r, "partNumber", number, sizeof number);
    int part = atoi(number);
    if (!upload) {
        return;
    }
    if (part < 1 || part > PARTS_MAX) {
        answer_refuse(r, 400, "InvalidArgument", "Part number must be an integer between 1 and %d, inclusive", PARTS_MAX);
    } else if (upload_finish(r, &d, &which)) {
        json_t *description = describe_part(&d, which);
        multipart_part_path(r, id, part, path);
        if (upload_seal(r, description) && log_part(r, id, part, &d)) {
            if (rename(upload_path(r->upload), path) == 0) {
                upload_keep(r->upload);
                if (store_sync_entry(r->app->store, path, &e) != 0) {
                    answer_trouble(r, &e);
                }
            } else {
                answer_refuse(r, 404, "NoSuchUpload", "The specified upload was aborted or completed meanwhile.");
            }
            if (r->status == 0) {
                r->status = 200;
                s3_answer_etag(r, d.etag);
                s3_answer_checksums(r, description);
            }
        }
        json_decref(description);
    }
    json_decref(upload);
}

void s3_abort_multipart(struct request *r)
{
    char id[32];
    json_t *upload = multipart_need(r, id);
    if (upload) {
        multipart_remove(r, id);
        json_decref(upload);
        r->status = 204;
    }
}

/* ---- listings ------------------------------------------------------------------------------------------------------------------------------ */

static void add_part(struct request *r, const char *id, int part)
{
    char path[STORE_PATH];
    char time[32];
    int64_t bytes;
    const char *name;
    json_t *value;
    json_t *description = NULL;
    multipart_part_path(r, id, part, path);
    int fd = store_open_sealed(path, &bytes, &description, NULL);
    if (fd < 0) {
        return;
    }
    (void)close(fd);
    text_time_iso(json_integer_value(json_object_get(description, "modified_ms")), time);
    text_addf(&r->out, "<Part><PartNumber>%d</PartNumber>", part);
    text_add_element(&r->out, "LastModified", time);
    text_addf(&r->out, "<ETag>&quot;%s&quot;</ETag><Size>%lld</Size>", text_of(description, "etag"), (long long)bytes);
    json_object_foreach(json_object_get(description, "checksums"), name, value) {
        char tag[32] = "Checksum";
        for (size_t i = 0; name[i] && i + 9 < sizeof tag; i++) {
            tag[8 + i] = (char)(name[i] >= 'a' && name[i] <= 'z' ? name[i] - 32 : name[i]);
        }
        text_add_element(&r->out, tag, json_string_value(value));
    }
    text_add(&r->out, "</Part>");
    json_decref(description);
}

static int next_part(const struct request *r, const char *id, int after)
{
    char path[STORE_PATH];
    int found = 0;
    upload_directory(r, id, path);
    DIR *directory = opendir(path);
    struct dirent *d;
    while (directory && (d = readdir(directory)) != NULL) {
        int part = strlen(d->d_name) == 5 ? atoi(d->d_name) : 0;
        if (part > after && (found == 0 || part < found)) {
            found = part;
        }
    }
    if (directory) {
        (void)closedir(directory);
    }
    return found;
}

void s3_list_parts(struct request *r)
{
    char id[32];
    char word[16] = "0";
    json_t *upload = multipart_need(r, id);
    if (!upload) {
        return;
    }
    (void)request_query(r, "part-number-marker", word, sizeof word);
    int part = atoi(word);
    (void)snprintf(word, sizeof word, "1000");
    (void)request_query(r, "max-parts", word, sizeof word);
    int left = atoi(word) < 1000 && atoi(word) > 0 ? atoi(word) : 1000;
    left = r->effect.page > 0 && left > r->effect.page ? r->effect.page : left;
    int last = part;
    answer_xml(r, 200);
    text_add(&r->out, "<ListPartsResult xmlns=\"" S3_XMLNS "\">");
    text_add_element(&r->out, "Bucket", r->bucket);
    text_add_element(&r->out, "Key", r->key);
    text_add_element(&r->out, "UploadId", id);
    text_addf(&r->out, "<PartNumberMarker>%d</PartNumberMarker><MaxParts>%d</MaxParts>", part, left);
    while ((part = next_part(r, id, part)) != 0 && left-- > 0) {
        add_part(r, id, part);
        last = part;
    }
    text_addf(&r->out, "<NextPartNumberMarker>%d</NextPartNumberMarker><IsTruncated>%s</IsTruncated></ListPartsResult>", last,
              part != 0 ? "true" : "false");
    json_decref(upload);
}

void s3_list_multiparts(struct request *r)
{
    char path[STORE_PATH];
    char prefix[STORE_KEY_MAX + 1] = "";
    int count = 0;
    if (!s3_need_bucket(r)) {
        return;
    }
    (void)request_query(r, "prefix", prefix, sizeof prefix);
    answer_xml(r, 200);
    text_add(&r->out, "<ListMultipartUploadsResult xmlns=\"" S3_XMLNS "\">");
    text_add_element(&r->out, "Bucket", r->bucket);
    (void)snprintf(path, sizeof path, "%s/multipart", store_data(r->app->store));
    DIR *directory = opendir(path);
    struct dirent *d;
    while (directory && count < UPLOADS_MAX && (d = readdir(directory)) != NULL) {
        char time[32];
        if (!id_is_legal(d->d_name)) {
            continue;
        }
        (void)snprintf(path, sizeof path, "%s/multipart/%.26s/upload.json", store_data(r->app->store), d->d_name);
        json_t *upload = json_load_file(path, 0, NULL);
        if (upload && strcmp(text_of(upload, "bucket"), r->bucket) == 0 && strncmp(text_of(upload, "key"), prefix, strlen(prefix)) == 0) {
            text_time_iso(json_integer_value(json_object_get(upload, "initiated_ms")), time);
            text_add(&r->out, "<Upload>");
            text_add_element(&r->out, "Key", text_of(upload, "key"));
            text_add_element(&r->out, "UploadId", d->d_name);
            text_add_element(&r->out, "Initiated", time);
            text_add(&r->out, "<StorageClass>STANDARD</StorageClass></Upload>");
            count++;
        }
        json_decref(upload);
    }
    if (directory) {
        (void)closedir(directory);
    }
    text_add(&r->out, "<IsTruncated>false</IsTruncated></ListMultipartUploadsResult>");
}
