/*
 * endpoint - where a service lives and how a bucket and key become host and path. Pure.
 * Sources: endpoint rule sets of S3 and HealthImaging (FIPS and dual-stack variants are not chosen), S3 "Virtual hosting of buckets".
 */
#ifndef STORESCP_AWS_ENDPOINT_H
#define STORESCP_AWS_ENDPOINT_H

#include "common/runtime/err.h"

#include <stdbool.h>
#include <stddef.h>

enum aws_service { AWS_S3, AWS_MEDICAL_IMAGING, AWS_STS, AWS_SERVICE_COUNT };

struct endpoint {
    bool tls;
    char host[264]; /* as in the Host header: name, or address (IPv6 in brackets), with the port unless it is the usual one */
    char base[256]; /* path in front of every request, "" or "/..." without a slash at its end */
    bool is_address;
};

/* "s3", "medical-imaging", "sts": signing name and host name. Static storage. */
const char *endpoint_service_name(enum aws_service service);
/* AWS's own endpoint of a region. ERR_CONFIG if the region is no region's name. */
int endpoint_of_region(enum aws_service service, const char *region, struct endpoint *out, struct err *e);
/* "https://host[:port][/path]"; ERR_CONFIG: says what is wrong with it. */
int endpoint_parse(const char *url, struct endpoint *out, struct err *e);

struct endpoint_place {
    char host[336];
    char path[3400]; /* percent-encoded, begins with a slash */
};
/* Host and path of an object (key "": of the bucket). ERR_CONFIG for a bucket that cannot be one, ERR_ARGUMENT for a key longer than 1,024 bytes. */
int endpoint_s3_place(const struct endpoint *endpoint, bool path_style, const char *bucket, const char *key, struct endpoint_place *out,
                      struct err *e);

#endif
