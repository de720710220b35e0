/*
 * request - one HTTP request from its first line to its answer, as the operations see it. One thread for each connection.
 *
 * The life of a request (http.c): the head is there -> routed to an operation, ordered faults looked up, signature checked as far as the
 * head allows -> the body passes, to a file (upload.h) or into memory -> the operation runs and fills the answer. What is refused early
 * still has its body read to the end (unless the client waits for "100 Continue"), so that the client sees the answer.
 */
#ifndef STORESCP_LOCAL_AWS_REQUEST_H
#define STORESCP_LOCAL_AWS_REQUEST_H

#include "compose/local-aws/faults.h"
#include "compose/local-aws/standin.h"
#include "compose/local-aws/text.h"

#include <stdbool.h>
#include <stdint.h>

enum service { SERVICE_S3, SERVICE_IMAGING, SERVICE_STS, SERVICE_SQS, SERVICE_LOCAL };

struct request;
struct upload;

struct operation {
    const char *name; /* AWS's own */
    void (*run)(struct request *r);
    bool streams;  /* the body goes to a file */
    bool unsigned_; /* needs no signature */
};

/* What the signature says, once it was read (auth.h). */
struct auth {
    char access_key[132], date[9], region[64], service[32], amz_date[20], signature[65];
    char signed_headers[1024];
    unsigned char signing_key[32];
    bool is_read;
};

struct answer_header {
    char name[64];
    char *value;
};

enum { ANSWER_HEADERS = 48, PATH_IDS = 3 };

struct request {
    struct standin *app;
    void *connection; /* struct MHD_Connection */
    char id[33];
    char method[16];
    char *target, *path, *query; /* raw, percent-encoded; path and query point into target */
    enum service service;
    const struct operation *operation; /* NULL: unknown */
    char bucket[64], *key;             /* S3: decoded; key is on the heap, "" if none */
    char ids[PATH_IDS][72];            /* HealthImaging: data store, job or image set */
    struct auth auth;
    struct fault_effect effect;
    struct text body;
    struct upload *upload;
    bool begun, body_is_there, cut; /* cut: end the connection without an answer */

    unsigned status; /* of the answer; 0: none yet */
    struct text out;
    int out_fd; /* >= 0: the answer's body is a piece of this file */
    int64_t out_from, out_bytes;
    struct answer_header headers[ANSWER_HEADERS];
    size_t header_count;
};

/* Value of a request header, NULL if there is none. Borrowed. */
const char *request_header(const struct request *r, const char *name);
/* Calls each() for every request header; a non-zero value ends it. */
void request_each_header(const struct request *r, int (*each)(void *ctx, const char *name, const char *value), void *ctx);
/* A query parameter, decoded; false if it is not there. value may be NULL. A broken or too long value reads as "". */
bool request_query(const struct request *r, const char *name, char *value, size_t size);

/* ---- the answer ------------------------------------------------------------------------------------------------------------ */

/* One with the same name is replaced. */
void answer_header(struct request *r, const char *name, const char *value);
void answer_headerf(struct request *r, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Turns r->out into an error in the shape of the service. The first refusal stays. */
void answer_refuse(struct request *r, unsigned status, const char *code, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Begins r->out with the XML declaration. */
void answer_xml(struct request *r, unsigned status);
/* Writes json (whose reference it takes) to r->out. */
void answer_json(struct request *r, unsigned status, json_t *json);
/* An error of our own machine: 500 InternalError or InternalServerException; logs it. */
void answer_trouble(struct request *r, const struct err *e);

/* The tables of the services: the operation that a request asks for, NULL if none (then it has been refused). They fill bucket, key, ids. */
const struct operation *s3_route(struct request *r);
const struct operation *imaging_route(struct request *r);
const struct operation *sts_route(struct request *r);
const struct operation *sqs_route(struct request *r);
const struct operation *local_route(struct request *r);

#endif
