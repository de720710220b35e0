/*
 * s3 - the few S3 operations that the product needs. Keys are plain text (encoded here); bucket NULL means dicom_bucket.
 * Virtual-host style unless s3_path_style is set, the endpoint is an IP address, or the bucket is no plain DNS label.
 */
#ifndef STORESCP_AWS_S3_H
#define STORESCP_AWS_S3_H

#include "common/aws/client.h"

#include <stdbool.h>

/* ---- PutObject, asynchronous ------------------------------------------------------------------------------------------ */
struct s3_put {
    const char *bucket, *key; /* copied */
    int fd;                   /* the whole file from offset 0 by pread; stays open and the caller's until done() */
    int64_t bytes;
    uint32_t crc32c; /* of the file: sent as x-amz-checksum-crc32c, verified by S3 before it stores anything */
    bool is_only_ours; /* the key names the instance: an object there that nobody may look at is this one's, and may be overwritten */
};
/* Nothing is overwritten while s3_if_none_match is set. What lies there already counts as a success when its size and content are this file's;
 * otherwise ERR_AWS_OTHER_OBJECT. ERR_AWS_ENCRYPTION: S3 has stored it, but encrypted otherwise than was asked; the next attempt puts it again. */
struct s3_put_result {
    int rc;         /* 0: S3 confirmed the whole object */
    struct err why; /* rc != 0 */
    char etag[80];  /* without quotes */
    char sha256[65]; /* of the file, computed here before sending; "" if it never came that far */
    char request_id[64];
    int64_t hash_ms, transfer_ms; /* multipart: transfer_ms is the whole time, hashing included */
    int64_t first_failed_ms;      /* monotonic: when the first attempt of the request that ended the transfer had failed; 0: it had only one */
    int part_count, kept_count;   /* multipart: its parts, and those that an earlier attempt had brought to S3; else 0 */
};
typedef void (*s3_put_done)(void *ctx, const struct s3_put_result *result);
/* Begins a transfer; done() is called exactly once from a later aws_client_run(), unless this returns an error. */
int s3_put_begin(struct aws_client *c, const struct s3_put *put, s3_put_done done, void *ctx, struct err *e);

/* ---- multipart upload, asynchronous --------------------------------------------------------------------------------- */
enum { S3_UPLOAD_ID_SIZE = 1025 };
/* Keeps upload_id for s3_multipart.upload_id of the next attempt, durable when it returns 0, before any part is sent; "": there is none any more. Called
 * from aws_client_run(): milliseconds, no network. On an error the transfer ends with it. */
typedef int (*s3_multipart_keep)(void *ctx, const char *upload_id, struct err *e);
struct s3_multipart {
    struct s3_put put;
    int64_t part_bytes;    /* wanted; parts grow so that 10,000 hold the file */
    int parallel;          /* parts at one time, at least 1 */
    const char *upload_id; /* of an earlier attempt for the same key, copied; "" or NULL: none */
    s3_multipart_keep keep;
    void (*progress)(void *ctx); /* a part of it went well; may be NULL */
};
/* As s3_put_begin(): done() exactly once, with the whole object confirmed or not. An error leaves the upload open for the next attempt, which sends only
 * what S3 has not; an upload that can never be completed is aborted and kept as "". s3_multipart.c tells all. */
int s3_multipart_begin(struct aws_client *c, const struct s3_multipart *m, s3_put_done done, void *ctx, struct err *e);

/* ---- blocking ----------------------------------------------------------------------------------------------------------- */
struct s3_head {
    int64_t bytes;
    char etag[80];
    bool has_crc32c;
    uint32_t crc32c;
};
/* ERR_AWS_NOT_FOUND if there is no such key. Asks for the checksum (x-amz-checksum-mode). */
int s3_head(struct aws_client *c, const char *bucket, const char *key, struct s3_head *out, struct err *e);
/* Reads bytes [from, from + limit) or to the end, at most limit, into a heap buffer that ends in a NUL beyond *size. limit is also the
 * memory bound: a longer answer is cut there and not an error. free() it. ERR_AWS_NOT_FOUND as above. */
int s3_get(struct aws_client *c, const char *bucket, const char *key, int64_t from, int64_t limit, char **body, size_t *size,
           struct err *e);
/* Every object below prefix in the order of the keys; a non-zero value of each() ends the listing and is returned. */
int s3_list(struct aws_client *c, const char *bucket, const char *prefix, int (*each)(void *ctx, const char *key, int64_t bytes),
            void *ctx, struct err *e);

/* Deletes one object; 0 as well when there is none. */
int s3_delete(struct aws_client *c, const char *bucket, const char *key, struct err *e);

/* AbortMultipartUpload: S3 forgets the parts. 0 as well when there is no such upload. */
int s3_multipart_abort(struct aws_client *c, const char *bucket, const char *key, const char *upload_id, struct err *e);

/* "s3://bucket/key" -> parts; ERR_ARGUMENT if it is none or does not fit. Pure. */
int s3_uri_split(const char *uri, char *bucket, size_t bucket_size, char *key, size_t key_size);

#endif
