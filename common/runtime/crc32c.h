/*
 * crc32c - CRC-32C (Castagnoli), which travels with every instance and which S3 verifies as x-amz-checksum-crc32c. Pure.
 */
#ifndef STORESCP_RUNTIME_CRC32C_H
#define STORESCP_RUNTIME_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32C (Castagnoli) of bytes appended to what had crc before (0 at the start). */
uint32_t crc32c_update(uint32_t crc, const void *bytes, size_t count);
/* CRC-32C of A||B from those of A and B and the length of B. */
uint32_t crc32c_combine(uint32_t a, uint32_t b, uint64_t b_bytes);

#endif
