/*
 * multipart - what the operations on multipart uploads share. See multipart.c for the files.
 */
#ifndef STORESCP_LOCAL_AWS_MULTIPART_H
#define STORESCP_LOCAL_AWS_MULTIPART_H

#include "compose/local-aws/request.h"

enum { PARTS_MAX = 10000 };
#define PART_BYTES_MIN (5LL << 20) /* all but the last; S3 user guide "Amazon S3 multipart upload limits" */

/* The upload that the request names (json_decref), its id; NULL: refused with NoSuchUpload. */
json_t *multipart_need(struct request *r, char id[32]);
void multipart_part_path(const struct request *r, const char *id, int number, char path[STORE_PATH]);
void multipart_remove(const struct request *r, const char *id);

#endif
