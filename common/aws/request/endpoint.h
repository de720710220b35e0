/*
 * endpoint - where a service lives and how a bucket and key become host and path. Pure.
 * Sources: the endpoint rule sets of the API models and the published list of partitions (tests/pipeline/endpoint_rules_test.py compares), S3 user guide
 * "Virtual hosting of buckets" and "Using dual-stack endpoints", FIPS endpoints of S3 and HealthImaging.
 */
#ifndef STORESCP_AWS_ENDPOINT_H
#define STORESCP_AWS_ENDPOINT_H

#include "common/runtime/err.h"

#include <stdbool.h>
#include <stddef.h>

enum aws_service {
    AWS_S3,
    AWS_MEDICAL_IMAGING,         /* data stores and import jobs */
    AWS_RUNTIME_MEDICAL_IMAGING, /* image sets */
    AWS_DICOM_MEDICAL_IMAGING,   /* DICOMweb */
    AWS_STS,
    AWS_SQS,
    AWS_DYNAMODB,
    AWS_SERVICE_COUNT
};

struct endpoint {
    bool tls;
    char host[264]; /* as in the Host header: name, or address (IPv6 in brackets), with the port unless it is the usual one */
    char base[256]; /* path in front of every request, "" or "/..." without a slash at its end */
    bool is_address;
};

/* The name in signatures: "s3", "medical-imaging" for all three of HealthImaging, "sts", "sqs", "dynamodb". Static storage, as the next. */
const char *endpoint_service_name(enum aws_service service);
/* For sentences: "S3", "HealthImaging", "STS", "SQS", "DynamoDB". */
const char *endpoint_service_title(enum aws_service service);

/* What every ARN of a region has after "arn:": "aws", "aws-cn" ... Static storage. */
const char *endpoint_partition(const char *region);

struct endpoint_wish {
    const char *region;
    const char *url; /* a custom endpoint, "" or NULL: AWS's own */
    bool fips, dualstack;
};
/* AWS's own endpoint of a region in its partition, or the custom one. ERR_CONFIG: the region is no region's name, there is no such endpoint there, or a
 * custom endpoint is wanted together with FIPS or dual stack. The text names no setting: the caller knows where the wish came from. */
int endpoint_resolve(enum aws_service service, const struct endpoint_wish *wish, struct endpoint *out, struct err *e);
/* "https://host[:port][/path]"; ERR_CONFIG: says what is wrong with it. */
int endpoint_parse(const char *url, struct endpoint *out, struct err *e);

struct endpoint_place {
    char host[336];
    char path[3400]; /* percent-encoded, begins with a slash */
};
/* ERR_CONFIG, with the reason, for what cannot be the name of a bucket. Pure. */
int endpoint_check_bucket(const char *bucket, struct err *e);
/* Host and path of an object (key "": of the bucket). ERR_CONFIG for a bucket that cannot be one, ERR_ARGUMENT for a key longer than 1,024 bytes. */
int endpoint_s3_place(const struct endpoint *endpoint, bool path_style, const char *bucket, const char *key, struct endpoint_place *out,
                      struct err *e);

#endif
