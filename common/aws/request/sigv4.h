/*
 * sigv4 - AWS Signature Version 4 as a pure function: no I/O, no clock, no globals.
 * Source of the rules: AWS General Reference "Signature Version 4", S3 "sig-v4-header-based-auth"; verified by the published vectors.
 */
#ifndef STORESCP_AWS_SIGV4_H
#define STORESCP_AWS_SIGV4_H

#include "common/runtime/err.h"

#include <stdbool.h>
#include <stddef.h>

struct sigv4_header {
    const char *name, *value;
};

struct sigv4_request {
    const char *method;
    const char *path;  /* of the request line, without the query */
    const char *query; /* of the request line, without '?'; "" if none. Already percent-encoded parts stay as they are */
    const struct sigv4_header *headers; /* all of these are signed; host and x-amz-date among them */
    size_t header_count;
    const char *payload_hash; /* hex SHA-256 of the body, or UNSIGNED-PAYLOAD and its relatives */
    bool double_encode;       /* encode the path (again): every service but S3 */
    bool normalize;           /* remove . and .. and doubled slashes: every service but S3 */
};

struct sigv4_scope {
    const char *access_key_id, *secret_access_key, *region, *service;
    const char *amz_date; /* YYYYMMDDTHHMMSSZ */
};

struct sigv4_result {
    char *canonical_request, *string_to_sign, *authorization; /* heap; sigv4_result_clear() */
    char signed_headers[1024];
    char signature[65];
};

/* ERR_MEMORY, ERR_ARGUMENT (more than 64 headers or 128 query parts). On error *out is cleared. */
int sigv4_sign(const struct sigv4_request *request, const struct sigv4_scope *scope, struct sigv4_result *out, struct err *e);
void sigv4_result_clear(struct sigv4_result *r);

/* Lower-case hex SHA-256. */
void sigv4_sha256_hex(const void *bytes, size_t count, char out[65]);
/* Percent-encodes all but A-Z a-z 0-9 - . _ ~ (and '/' if keep_slash) into buffer; ERR_ARGUMENT if it does not fit. */
int sigv4_uri_encode(const char *text, bool keep_slash, char *buffer, size_t size);

#endif
