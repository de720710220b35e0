/*
 * internal - one signed call, as the files of common/aws share it; nobody outside includes it.
 *
 * aws_begin() signs and starts; what only this layer can heal (a stale connection, a clock that is off, credentials that were replaced) is tried
 * once more inside, and what passes by itself a few times (retry.h). done() gets the answer or the error, mapped by errors.h, exactly once.
 */
#ifndef STORESCP_AWS_INTERNAL_H
#define STORESCP_AWS_INTERNAL_H

#include "common/aws/client.h"
#include "common/aws/request/endpoint.h"
#include "common/aws/request/http.h"
#include "common/aws/request/retry.h"
#include "common/aws/s3/s3_options.h"
#include "common/aws/request/sigv4.h"
#include "common/aws/request/site.h"

#include <stdbool.h>

enum { AWS_HEADERS_MAX = 12, AWS_HASH_BUFFER = 256 * 1024, STOW_PATH_MAX = 1200 };

struct aws_call {
    enum aws_service service;
    const char *operation; /* literal, for texts: "PutObject" */
    const char *method;    /* literal */
    struct endpoint_place place;
    char *query; /* heap; NULL: none */
    struct sigv4_header headers[AWS_HEADERS_MAX]; /* beside host, x-amz-date, x-amz-content-sha256, x-amz-security-token; literal names */
    char values[AWS_HEADERS_MAX][96];
    size_t header_count;
    char payload_hash[65];
    char *body; /* heap, owned by the call; NULL: none */
    size_t body_bytes;
    int fd; /* -1: none; borrowed */
    int64_t fd_from, fd_bytes;
    char before[256], after[64]; /* "", or what is sent around the file's bytes */
    bool no_repeat; /* sent once at most, unless it was refused: the other side may count repeats */
    bool sends_hash; /* x-amz-content-sha256 for others than S3, too */
    bool is_plain; /* not signed, and the answer not judged: rc is 0 for every status. authorization: heap, the header's value; NULL: none */
    char *authorization;
    size_t response_max;
    bool cut_is_fine;
    int64_t total_ms;           /* 0: as the settings have it */
    void (*abandon)(void *ctx); /* called instead of done() when the client is closed before the end; may be NULL */
};

struct aws_answer {
    int rc;
    struct err why; /* rc != 0 */
    char code[80];  /* AWS's error code, "" if none */
    char request_id[64];
    int64_t first_failed_ms;    /* monotonic: when the first of several attempts had failed; 0: there was only one */
    struct http_response *http; /* NULL if no request was made */
};
typedef void (*aws_done)(void *ctx, struct aws_answer *answer);

/* A call on the heap with its endpoint's host and base path; NULL without memory. Given to aws_begin() or aws_call_free(). */
struct aws_call *aws_call_new(struct aws_client *c, enum aws_service service, const char *operation, const char *method);
void aws_call_free(struct aws_call *call);
void aws_call_header(struct aws_call *call, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same with a text that lives as long as the call; nothing is done when it is "". */
void aws_call_header_text(struct aws_call *call, const char *name, const char *value);
/* Appends name=value, encoded, to the query. ERR_ARGUMENT if it is too long, ERR_MEMORY. */
int aws_call_query(struct aws_call *call, const char *name, const char *value);

/* A call of the AWS JSON protocol 1.0 (SQS, DynamoDB): POST / with target "Service.Operation" and this body (heap, taken; NULL: no memory). */
struct aws_call *aws_call_new_json(struct aws_client *c, enum aws_service service, const char *operation, const char *target, char *body);

/* Takes the call in every case. On an error done() is not called. */
int aws_begin(struct aws_client *c, struct aws_call *call, aws_done done, void *ctx, struct err *e);
/* Begins it and runs the client until it has ended. *answer holds copies: body (heap, maybe NULL) is the caller's. */
struct aws_result {
    int rc;
    long status;
    char *body;
    size_t body_bytes;
    char etag[80], crc32c[16], content_length[24], bucket_region[48];
};
int aws_call_blocking(struct aws_client *c, struct aws_call *call, struct aws_result *out, struct err *e);

/* ---- inside the client ------------------------------------------------------------------------------------------------------ */

struct in_flight;

/* A range of a file whose SHA-256 is wanted. Owned by whoever asks; untouched between s3_hash_begin() and its end. s3_hash.c */
struct s3_hash {
    struct s3_hash *next;
    int fd; /* borrowed */
    int64_t from, bytes;
    struct evp_md_ctx_st *whole_digest; /* NULL, or a SHA-256 that takes the same bytes too; borrowed */
    bool wants_crc32c;
    void (*done)(void *ctx, int rc, const struct err *why); /* exactly once, from aws_client_run(); may begin others */
    void (*abandon)(void *ctx);                             /* instead, when the client is closed */
    void *ctx;
    /* filled */
    char hex[65];
    uint32_t crc32c; /* if wanted */
    int64_t hashed;
    struct evp_md_ctx_st *digest;
};

struct aws_client {
    const struct config *config;
    struct http *http;
    struct credentials_source *credentials;
    struct aws_site site;
    bool path_style;
    struct retry_bucket bucket;
    int attempts_max;
    struct s3_options s3;
    int64_t offset_ms;
    bool clock_told;
    struct in_flight *first;           /* calls under way */
    struct s3_hash *first_hash, *last_hash; /* the line of ranges to be hashed */
    int hashing;
    unsigned char *hash_buffer;
    unsigned ended; /* counts ends of calls and transfers */
    struct webhook_call *first_webhook; /* unsigned requests under way: webhook.c */
};

/* Server clock minus ours, from the Date of an answer. */
void aws_client_learn_clock(struct aws_client *c, const struct http_response *r);
/* Frees what is under way; after http_close(). */
void webhook_drop_all(struct aws_client *c);
int webhook_busy(const struct aws_client *c);

int s3_hash_begin(struct aws_client *c, struct s3_hash *h, struct err *e);
/* Hashes a slice of what waits (milliseconds) and delivers. */
void s3_hash_slice(struct aws_client *c);
void s3_hash_drop_all(struct aws_client *c);
/* Ends a SHA-256. */
int s3_hash_hex(struct evp_md_ctx_st *digest, char out[65], struct err *e);
/* A CRC-32C as S3 writes it: base64 of its four bytes. Reading: false if it is none (a composite one is none). */
void s3_crc_text(uint32_t crc, char out[12]);
bool s3_crc_read(const char *text, uint32_t *out);
/* Without its quotes, cut to size. */
void s3_plain_etag(const char *quoted, char *out, size_t size);
/* stow_settings.c: where destination_kind = dicomweb stores (at: HealthImaging's endpoint for DICOMweb; nothing is done for other kinds), and the client
 * certificate for it; paths are room for the files. */
int stow_endpoint(const struct config *config, struct endpoint *at, struct err *e);
void stow_certificate(const struct config *config, struct http_limits *limits, char paths[2][STOW_PATH_MAX]);
/* Basic or bearer: call->authorization. */
int stow_authorize(const struct config *config, struct aws_call *call, struct err *e);
/* A call for the object or bucket at place, with the expected owner; NULL without memory. */
struct aws_call *s3_call_new(struct aws_client *c, const char *operation, const char *method, const struct endpoint_place *place);
/* What a request that makes an object asks for beside its bytes: encryption, storage class, tags. */
void s3_add_options(const struct aws_client *c, struct aws_call *call);

/* ---- s3_found.c: an object lies under our key already (412) ------------------------------------------------------------------------ */
enum s3_found {
    FOUND_OURS,    /* same size and content */
    FOUND_OTHER,   /* another content */
    FOUND_BY_MD5,  /* same size, no CRC-32C: whether its ETag is our MD5 decides */
    FOUND_UNCLEAR, /* same size; nothing tells whether the content is ours */
};
/* head: the answer to HeadObject with checksums. etag: filled, without quotes. *encrypted: as was asked. */
enum s3_found s3_found_judge(const struct aws_client *c, const struct http_response *head, int64_t bytes, uint32_t crc32c, char etag[80], bool *encrypted);
/* The error of FOUND_OTHER and FOUND_UNCLEAR. */
int s3_found_other(const char *operation, const char *path, bool is_unclear, struct err *e);
/* Checks the encryption that an answer tells. ERR_AWS_ENCRYPTION. */
int s3_check_encryption(const struct aws_client *c, const char *operation, const struct http_response *r, struct err *e);
/* Words for a look that was denied; leaves other answers alone. */
void s3_explain_look(const char *path, struct aws_answer *a);
/* Was it refused because something lies under the key already? */
bool s3_is_taken(const struct aws_answer *a);
/* Words for an answer that says: this server does not know something that we ask. Leaves others alone. */
void s3_explain(const struct aws_client *c, struct aws_answer *a);

/* The bucket that NULL means. */
const char *s3_bucket_of(const struct aws_client *c, const char *bucket);

#endif
