/* crc32c - CRC-32C (Castagnoli), the checksum that S3 knows as x-amz-checksum-crc32c. The bytes by isa-l (8 GB/s a core); the
 * combination of two checksums by multiplication of polynomials modulo P over GF(2), as zlib documents it for its CRC. */
#include "common/runtime/crc32c.h"

#include <isa-l/crc.h>

#define POLYNOMIAL 0x82f63b78u /* reflected */

uint32_t crc32c_update(uint32_t crc, const void *bytes, size_t count)
{
    const unsigned char *p = bytes;
    uint32_t inverted = ~crc;
    while (count > 0) { /* isa-l takes an int */
        int part = count > (1u << 30) ? 1 << 30 : (int)count;
        inverted = crc32_iscsi((unsigned char *)(uintptr_t)p, part, inverted);
        p += part;
        count -= (size_t)part;
    }
    return ~inverted;
}

/* a * b modulo P, bit 31 is x^0 */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
        if (a & bit) {
            product ^= b;
        }
        b = b & 1 ? (b >> 1) ^ POLYNOMIAL : b >> 1;
    }
    return product;
}

uint32_t crc32c_combine(uint32_t a, uint32_t b, uint64_t b_bytes)
{
    uint32_t power = 1u << 31;   /* x^0 */
    uint32_t square = 1u << 23;  /* x^8: one byte */
    for (; b_bytes != 0; b_bytes >>= 1) {
        if (b_bytes & 1) {
            power = multiply(power, square);
        }
        square = multiply(square, square);
    }
    return multiply(power, a) ^ b;
}
