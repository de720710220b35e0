/*
 * checksum - the digests of one body, computed while it passes: MD5 (ETag), SHA-256 (payload hash, puts.log), and what S3 calls
 * additional checksums. Values are base64 of the big-endian bytes, as in the x-amz-checksum-* headers.
 * Sources: S3 user guide "Checking object integrity"; CRC-64/NVME of the NVM Express specification (reflected 0x9a6c9329ac4bc9b5).
 */
#ifndef STORESCP_LOCAL_AWS_CHECKSUM_H
#define STORESCP_LOCAL_AWS_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum checksum { CHECKSUM_CRC32, CHECKSUM_CRC32C, CHECKSUM_CRC64NVME, CHECKSUM_SHA1, CHECKSUM_SHA256, CHECKSUM_COUNT, CHECKSUM_NONE = -1 };

/* "crc32c", as it ends the header's name. */
const char *checksum_name(enum checksum which);
/* How many bytes such a value has before it is base64. */
int checksum_bytes(enum checksum which);
/* Any case, with or without "x-amz-checksum-" before it; CHECKSUM_NONE if it is none of them. */
enum checksum checksum_find(const char *name);

struct digest {
    int64_t bytes;
    unsigned char md5[16];
    char etag[48]; /* hex, without quotes */
    char sha256_hex[65];
    char value[CHECKSUM_COUNT][64]; /* base64; "" if it was not wanted */
};

struct hashes; /* one thread at a time */
/* wanted: bits 1 << enum checksum. SHA-256 is always computed. with_md5 false: the ETag is made of the SHA-256 instead (as objects
 * under SSE-KMS have ETags that are no MD5). NULL: no memory. */
struct hashes *hashes_new(unsigned wanted, bool with_md5);
void hashes_update(struct hashes *h, const void *bytes, size_t count);
void hashes_end(struct hashes *h, struct digest *out);
void hashes_free(struct hashes *h); /* NULL is fine */

#endif
