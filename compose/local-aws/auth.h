/*
 * auth - AWS Signature Version 4 as the services check it, and temporary credentials. A refusal is written to the request's answer in
 * the words of the service. Sources: S3 API reference "Authenticating requests", "Error responses"; common errors of each service.
 */
#ifndef STORESCP_LOCAL_AWS_AUTH_H
#define STORESCP_LOCAL_AWS_AUTH_H

#include "compose/local-aws/request.h"

enum { AUTH_SKEW_MS = 15 * 60 * 1000 };

/* Guesses the service by the credential scope, if there is one. false: no readable Authorization header. */
bool auth_scope_service(const struct request *r, enum service *out);
/* Checks everything with payload_hash as the body's hash (what x-amz-content-sha256 says for S3). false: refused. */
bool auth_check(struct request *r, const char *payload_hash);
/* Refuses with the service's word for an expired session token. */
void auth_refuse_expired(struct request *r);

/* The signature of one chunk or of the trailers of an aws-chunked body; previous: the signature before. what: "AWS4-HMAC-SHA256-PAYLOAD"
 * or "AWS4-HMAC-SHA256-TRAILER". hash: hex SHA-256 of the chunk or of the trailers. */
void auth_chunk_signature(const struct auth *a, const char *what, const char *previous, const char *hash, char out[65]);
/* Constant time. */
bool auth_same(const char *a, const char *b);

/* Temporary credentials: nothing is stored, the token proves itself. */
struct temporary {
    char access_key[24], secret_key[44], token[128];
    int64_t expires_ms;
};
void auth_make_temporary(const struct standin *app, int64_t expires_ms, struct temporary *out);

#endif
