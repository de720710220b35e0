/*
 * s3_options - what our requests ask of S3 beside storing the bytes: encryption, owner of the bucket, storage class, tags, no overwriting.
 * Read once from the settings when a client is opened, checked there with a sentence each; the headers borrow these texts. Pure.
 *
 * Which request takes which header: S3 API model, PutObjectRequest and its neighbours. Encryption, class and tags belong to PutObject and
 * CreateMultipartUpload; If-None-Match to PutObject and CompleteMultipartUpload; the expected owner to every request for a bucket.
 * Limits: S3 user guide "Object tagging" (10 tags, keys of 128 and values of 256 characters), "Using server-side encryption with AWS KMS".
 */
#ifndef STORESCP_AWS_S3_OPTIONS_H
#define STORESCP_AWS_S3_OPTIONS_H

#include "common/runtime/config.h"
#include "common/runtime/err.h"

#include <stdbool.h>

enum { S3_TAGS_MAX = 10, S3_TAGGING_SIZE = 4096, S3_CONTEXT_SIZE = 2740 };

struct s3_options {
    const char *encryption;            /* as S3 writes it: "AES256", "aws:kms", "aws:kms:dsse"; "": the bucket's default */
    char kms_key[2049];                /* id, ARN or alias; "": the account's key for S3 */
    char kms_context[S3_CONTEXT_SIZE]; /* base64 of a JSON object; "" if none */
    const char *bucket_key;            /* "true", "false", "" */
    char owner[13];                    /* 12 digits or "" */
    char storage_class[24];            /* or "" */
    char tagging[S3_TAGGING_SIZE];     /* "k=v&k=v", percent-encoded; "" if none */
    bool if_none_match;
};

/* ERR_CONFIG: which setting, where it was set, what is wrong and what it may be. */
int s3_options_read(const struct config *config, struct s3_options *out, struct err *e);

/* Is what S3 answered (x-amz-server-side-encryption and ...-aws-kms-key-id; "" if absent) what was asked? A key that was named by an alias cannot
 * be compared with the ARN of the answer, and counts as right. */
bool s3_options_encrypted(const struct s3_options *o, const char *encryption, const char *kms_key);

#endif
