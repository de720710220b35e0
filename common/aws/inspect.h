/*
 * inspect - what a person wants to know before the first image, and no stage asks: who we are to AWS, whether an endpoint can be reached, what a bucket
 * is like. Blocking, one attempt each, as in s3.h. Nothing here writes but s3_parts_begin().
 * Sources: STS API model 2011-06-15 (GetCallerIdentity); S3 API, pages of HeadBucket, GetBucketEncryption and ListParts.
 */
#ifndef STORESCP_AWS_INSPECT_H
#define STORESCP_AWS_INSPECT_H

#include "common/aws/client.h"
#include "common/aws/request/endpoint.h"
#include "common/aws/s3/s3.h"

#include <stdbool.h>

struct aws_reach {
    char url[300];  /* what was asked, filled in every case */
    char peer[80];  /* who answered; a proxy's address where one is used */
    long status;
    int64_t took_ms;
};
/* An unsigned GET of the endpoint's root: name, route, proxy, TLS and its certificate. Any answer of HTTP will do. limit_ms for all of it. ERR_NETWORK,
 * ERR_TIMEOUT, ERR_CONFIG (a certificate that is not trusted). Corrects the clock like every answer. */
int aws_reach(struct aws_client *c, enum aws_service service, int64_t limit_ms, struct aws_reach *out, struct err *e);

struct aws_keys_facts { /* no secret */
    char origin[64], access_key_id[129];
    int64_t left_ms; /* -1: they do not end */
};
/* Fetches the keys if there are none, and waits for that as long as a fetch takes. ERR_AWS_CREDENTIALS tells where was looked. */
int aws_keys_look(struct aws_client *c, struct aws_keys_facts *out, struct err *e);

struct aws_identity {
    char account[16], arn[400];
};
/* STS GetCallerIdentity: needs no permission at all. */
int aws_caller_identity(struct aws_client *c, struct aws_identity *out, struct err *e);

/* HeadBucket. owner: the account that the bucket has to belong to, or NULL (s3_expected_owner, where it is set, counts instead); region: of the bucket, "" if S3 does not say. ERR_AWS_DENIED: not ours, or
 * no s3:ListBucket; ERR_AWS_NOT_FOUND; ERR_AWS_REGION. */
int s3_bucket_look(struct aws_client *c, const char *bucket, const char *owner, char region[48], struct err *e);

struct s3_encryption {
    char algorithm[24], key[400]; /* "AES256", "aws:kms" ...; key "" unless one is named */
};
/* GetBucketEncryption: what S3 does with objects for which the request says nothing. */
int s3_bucket_encryption(struct aws_client *c, const char *bucket, struct s3_encryption *out, struct err *e);

/* CreateMultipartUpload, for an upload that will never be completed: abort it (s3_multipart_abort). */
int s3_parts_begin(struct aws_client *c, const char *bucket, const char *key, char upload_id[S3_UPLOAD_ID_SIZE], struct err *e);
/* ListParts of an upload: 0 if we may. */
int s3_parts_look(struct aws_client *c, const char *bucket, const char *key, const char *upload_id, struct err *e);

#endif
