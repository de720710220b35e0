/* checksum - see checksum.h. */
#include "compose/local-aws/checksum.h"

#include "compose/local-aws/text.h"

#include <isa-l/crc.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CRC64_NVME 0x9a6c9329ac4bc9b5u /* reflected */

struct hashes {
    unsigned wanted;
    EVP_MD_CTX *md5, *sha1, *sha256;
    uint32_t crc32, crc32c;
    uint64_t crc64;
    uint64_t (*table)[256]; /* [8][256], only for CRC-64 */
    int64_t bytes;
};

static const char *const names[CHECKSUM_COUNT] = {"crc32", "crc32c", "crc64nvme", "sha1", "sha256"};

const char *checksum_name(enum checksum which)
{
    return names[which];
}

int checksum_bytes(enum checksum which)
{
    static const int bytes[CHECKSUM_COUNT] = {4, 4, 8, 20, 32};
    return bytes[which];
}

enum checksum checksum_find(const char *name)
{
    static const char head[] = "x-amz-checksum-";
    if (strncasecmp(name, head, sizeof head - 1) == 0) {
        name += sizeof head - 1;
    }
    for (int i = 0; i < CHECKSUM_COUNT; i++) {
        if (strcasecmp(name, names[i]) == 0) {
            return (enum checksum)i;
        }
    }
    return CHECKSUM_NONE;
}

/* Eight tables, so that eight bytes go in one step. */
static void make_table(uint64_t table[8][256])
{
    for (unsigned i = 0; i < 256; i++) {
        uint64_t crc = i;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc & 1 ? (crc >> 1) ^ CRC64_NVME : crc >> 1;
        }
        table[0][i] = crc;
    }
    for (unsigned i = 0; i < 256; i++) {
        for (int k = 1; k < 8; k++) {
            table[k][i] = (table[k - 1][i] >> 8) ^ table[0][table[k - 1][i] & 0xff];
        }
    }
}

static uint64_t crc64_update(uint64_t (*table)[256], uint64_t crc, const unsigned char *p, size_t count)
{
    for (; count >= 8; p += 8, count -= 8) {
        uint64_t next = 0;
        for (int k = 0; k < 8; k++) {
            next ^= table[7 - k][(unsigned char)(crc >> (8 * k)) ^ p[k]];
        }
        crc = next;
    }
    for (; count > 0; p++, count--) {
        crc = (crc >> 8) ^ table[0][(crc ^ *p) & 0xff];
    }
    return crc;
}

static EVP_MD_CTX *begin(const EVP_MD *kind, bool *ok)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    *ok = *ok && c && EVP_DigestInit_ex(c, kind, NULL) == 1;
    return c;
}

struct hashes *hashes_new(unsigned wanted, bool with_md5)
{
    bool ok = true;
    struct hashes *h = calloc(1, sizeof *h);
    if (!h) {
        return NULL;
    }
    h->wanted = wanted;
    h->sha256 = begin(EVP_sha256(), &ok);
    if (with_md5) {
        h->md5 = begin(EVP_md5(), &ok);
    }
    if (wanted & 1u << CHECKSUM_SHA1) {
        h->sha1 = begin(EVP_sha1(), &ok);
    }
    if (wanted & 1u << CHECKSUM_CRC64NVME) {
        h->table = malloc(8 * sizeof h->table[0]);
        ok = ok && h->table;
        if (h->table) {
            make_table(h->table);
        }
        h->crc64 = ~(uint64_t)0;
    }
    h->crc32c = 0xffffffffu;
    if (!ok) {
        hashes_free(h);
        return NULL;
    }
    return h;
}

void hashes_update(struct hashes *h, const void *bytes, size_t count)
{
    (void)EVP_DigestUpdate(h->sha256, bytes, count);
    if (h->md5) {
        (void)EVP_DigestUpdate(h->md5, bytes, count);
    }
    if (h->sha1) {
        (void)EVP_DigestUpdate(h->sha1, bytes, count);
    }
    if (h->table) {
        h->crc64 = crc64_update(h->table, h->crc64, bytes, count);
    }
    if (h->wanted & 1u << CHECKSUM_CRC32) {
        h->crc32 = crc32_gzip_refl(h->crc32, bytes, count);
    }
    if (h->wanted & 1u << CHECKSUM_CRC32C) { /* pieces come from a connection's buffer: they fit an int */
        h->crc32c = crc32_iscsi((unsigned char *)(uintptr_t)bytes, (int)count, h->crc32c);
    }
    h->bytes += (int64_t)count;
}

static void put_number(uint64_t number, size_t count, char *out)
{
    unsigned char bytes[8];
    for (size_t i = 0; i < count; i++) {
        bytes[i] = (unsigned char)(number >> (8 * (count - 1 - i)));
    }
    text_base64(bytes, count, out);
}

void hashes_end(struct hashes *h, struct digest *out)
{
    unsigned char sha256[32];
    unsigned char sha1[20];
    memset(out, 0, sizeof *out);
    out->bytes = h->bytes;
    (void)EVP_DigestFinal_ex(h->sha256, sha256, NULL);
    text_hex(sha256, sizeof sha256, out->sha256_hex);
    if (h->md5) {
        (void)EVP_DigestFinal_ex(h->md5, out->md5, NULL);
    } else {
        memcpy(out->md5, sha256, sizeof out->md5);
    }
    text_hex(out->md5, sizeof out->md5, out->etag);
    if (h->wanted & 1u << CHECKSUM_SHA256) {
        text_base64(sha256, sizeof sha256, out->value[CHECKSUM_SHA256]);
    }
    if (h->sha1) {
        (void)EVP_DigestFinal_ex(h->sha1, sha1, NULL);
        text_base64(sha1, sizeof sha1, out->value[CHECKSUM_SHA1]);
    }
    if (h->wanted & 1u << CHECKSUM_CRC32) {
        put_number(h->crc32, 4, out->value[CHECKSUM_CRC32]);
    }
    if (h->wanted & 1u << CHECKSUM_CRC32C) {
        put_number(~h->crc32c, 4, out->value[CHECKSUM_CRC32C]);
    }
    if (h->table) {
        put_number(~h->crc64, 8, out->value[CHECKSUM_CRC64NVME]);
    }
}

void hashes_free(struct hashes *h)
{
    if (h) {
        EVP_MD_CTX_free(h->md5);
        EVP_MD_CTX_free(h->sha1);
        EVP_MD_CTX_free(h->sha256);
        free(h->table);
        free(h);
    }
}
