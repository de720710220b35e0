/*
 * rebuild - what `rebuild` asks of the cloud. A seam: rebuild.c knows no HTTP, tests can answer instead.
 * Every function returns 0 or an error code; a callback that returns non-zero ends the listing with that value.
 */
#ifndef STORESCP_CONTROL_REBUILD_H
#define STORESCP_CONTROL_REBUILD_H

#include "common/runtime/config.h"
#include "common/state/state.h"

#include <stdbool.h>

struct cloud;
struct cloud_job {
    char batch[STATE_ID_SIZE]; /* its jobName */
    char job_id[40], status[24];
    char input_uri[1025], output_uri[1025]; /* empty until cloud_job_read() */
};

enum { CLOUD_HEAD_BYTES = 256 * 1024 };

int cloud_open(struct cloud **out, const struct config *c, struct err *e);
void cloud_close(struct cloud **c);
/* Every object below <s3_prefix>/, in the order of the keys. */
int cloud_each_object(struct cloud *c, int (*each)(void *ctx, const char *key, int64_t bytes), void *ctx, struct err *e);
/* Every import job of the data store whose name is a batch id. */
int cloud_each_job(struct cloud *c, int (*each)(void *ctx, const struct cloud_job *job), void *ctx, struct err *e);
/* Fills in the URIs and the status as of now. */
int cloud_job_read(struct cloud *c, struct cloud_job *job, struct err *e);
/* The CRC32C of the whole object, if S3 tells one. */
int cloud_object_crc(struct cloud *c, const char *key, uint32_t *crc32c, bool *is_told, struct err *e);
/* Writes the first CLOUD_HEAD_BYTES (or less) of the object to fd. */
int cloud_object_head(struct cloud *c, const char *key, int64_t bytes, int fd, struct err *e);

#endif
