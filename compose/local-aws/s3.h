/*
 * s3 - the operations of S3, each of which fills the answer of its request. s3.c routes; the others are named after what they do.
 * Source: S3 API reference, the page of each operation.
 */
#ifndef STORESCP_LOCAL_AWS_S3_H
#define STORESCP_LOCAL_AWS_S3_H

#include "compose/local-aws/request.h"
#include "compose/local-aws/upload.h"

#define S3_XMLNS "http://s3.amazonaws.com/doc/2006-03-01/"

void s3_put_object(struct request *r);
void s3_get_object(struct request *r);
void s3_head_object(struct request *r);
void s3_delete_object(struct request *r);

void s3_list_objects(struct request *r);
void s3_list_buckets(struct request *r);
void s3_create_bucket(struct request *r);
void s3_head_bucket(struct request *r);
void s3_delete_bucket(struct request *r);
void s3_get_bucket_location(struct request *r);
void s3_get_bucket_encryption(struct request *r);

void s3_create_multipart(struct request *r);
void s3_upload_part(struct request *r);
void s3_complete_multipart(struct request *r);
void s3_abort_multipart(struct request *r);
void s3_list_parts(struct request *r);
void s3_list_multiparts(struct request *r);

/* NoSuchBucket and false if the bucket is not there, or is another account's. */
bool s3_need_bucket(struct request *r);
/* The headers that S3 keeps with an object and gives back: content-type and so on, x-amz-meta-*. New reference. */
json_t *s3_kept_headers(const struct request *r);
/* s3_asked.c: encryption, storage class and tags that a request asks for. false: refused. */
bool s3_asked_is_right(struct request *r);
/* Into the headers that are kept with the object. x-local-tagging: the tags themselves, for tests; AWS tells only their number. */
void s3_asked_keep(const struct request *r, json_t *headers);
/* What S3 tells of the encryption after a write. */
void s3_answer_encryption(struct request *r, json_t *headers);
/* Then an ETag is no MD5. */
bool s3_is_kms(json_t *headers);
/* x-amz-checksum-<name> of a description's checksums, for the answer. */
void s3_answer_checksums(struct request *r, json_t *description);
/* ETag as ordered faults want it. */
void s3_answer_etag(struct request *r, const char *etag);
/* Commits the sealed file that was uploaded or put together. Takes If-None-Match into account; answers what goes wrong. */
bool s3_commit(struct request *r, const char *path, json_t *description, const char *sha256);

#endif
