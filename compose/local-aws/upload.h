/*
 * upload - a body on its way into a file below tmp/: decoded if it is aws-chunked, hashed while it passes, checked against everything
 * that the request says about it before anybody may see it. Used by PutObject and UploadPart.
 */
#ifndef STORESCP_LOCAL_AWS_UPLOAD_H
#define STORESCP_LOCAL_AWS_UPLOAD_H

#include "compose/local-aws/checksum.h"
#include "compose/local-aws/request.h"

/* Makes r->upload; refuses what the head already shows to be wrong. */
void upload_begin(struct request *r);
void upload_feed(struct request *r, const char *bytes, size_t count);
/* The body has ended: checks length, Content-MD5, x-amz-content-sha256, checksums of headers and trailers, and the signatures of chunks.
 * false: refused. Then *digest and *which (CHECKSUM_NONE: the client named none) are not touched. */
bool upload_finish(struct request *r, struct digest *digest, enum checksum *which);
/* Writes the description behind the bytes and closes the file: its path is upload_path(). false: refused (our trouble). */
bool upload_seal(struct request *r, json_t *description);
/* The file, readable and still the upload's. */
int upload_fd(const struct upload *u);
const char *upload_path(const struct upload *u);
/* The file was renamed away: upload_free() must not remove it. */
void upload_keep(struct upload *u);
/* Removes what was not kept. NULL is fine. */
void upload_free(struct upload *u);

/* {"crc32c": "..."}: what is kept of the digest. */
json_t *upload_checksums(const struct digest *d, enum checksum which);

#endif
