/*
 * chunked - reads an aws-chunked body. Pure: no I/O, no memory beyond the struct, any split of the input.
 *
 *   size-in-hex [";chunk-signature=" 64 hex] CRLF  size bytes  CRLF      again and again, the last with size 0 and without bytes
 *   name ":" value CRLF                                                  trailers, possibly none
 *   CRLF
 * Sources: S3 API reference "Signature calculations: transferring payload in multiple chunks", and "... trailing headers".
 */
#ifndef STORESCP_LOCAL_AWS_CHUNKED_H
#define STORESCP_LOCAL_AWS_CHUNKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each may end the reading by a non-zero value, which chunked_feed() returns and repeats. */
struct chunked_events {
    void *ctx;
    int (*data)(void *ctx, const char *bytes, size_t count);
    int (*chunk)(void *ctx, const char *signature); /* after the bytes of each chunk, the empty one included; "" if it had none */
    int (*trailer)(void *ctx, const char *name, const char *value);
};

enum { CHUNKED_BROKEN = -1000, CHUNKED_LINE_MAX = 1024, CHUNKED_TRAILERS_MAX = 20 };

struct chunked {
    struct chunked_events events;
    int state, rc;
    char line[CHUNKED_LINE_MAX];
    size_t line_used;
    char signature[65];
    int64_t left, decoded; /* bytes of this chunk to come; bytes of all chunks so far */
    int trailers;
};

void chunked_init(struct chunked *c, const struct chunked_events *events);
/* 0, CHUNKED_BROKEN, or what an event returned. */
int chunked_feed(struct chunked *c, const char *bytes, size_t count);
/* The closing empty line was seen, and nothing after it. */
bool chunked_is_done(const struct chunked *c);

#endif
