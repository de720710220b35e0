/*
 * bodies - what is inside an answer: S3's XML (errors and listings), HealthImaging's JSON errors. Pure; hostile input is bounded.
 */
#ifndef STORESCP_AWS_BODIES_H
#define STORESCP_AWS_BODIES_H

#include "common/runtime/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error_body {      /* "" where nothing was said */
    char code[80];
    char message[400]; /* cut; control characters and quotes replaced */
    char region[48];
};
/* S3's <Error>, STS's <ErrorResponse>; anything else leaves *out empty. */
void error_body_xml(const char *body, size_t bytes, struct error_body *out);
/* {"__type" or "code": ..., "message" or "Message": ...} */
void error_body_json(const char *body, size_t bytes, struct error_body *out);

/* The texts of single elements of a small document, wherever they stand; the first of each name counts. False: it is no XML, or a text does not fit. */
struct xml_wanted {
    const char *name;
    char *place;
    size_t size;
};
bool xml_texts_read(const char *body, size_t bytes, const struct xml_wanted *wanted, size_t count);

struct s3_page { /* one page of ListObjectsV2 */
    bool truncated;
    char next_token[2048];
};
/* Calls each() for every <Contents>, with the key decoded. A non-zero value of each() ends it and is returned; ERR_PROTOCOL: no listing. */
int s3_page_read(const char *body, size_t bytes, struct s3_page *page, int (*each)(void *ctx, const char *key, int64_t bytes), void *ctx,
                 struct err *e);

#endif
