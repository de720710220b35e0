/* multipart_plan - how a file is cut, and the list that puts it together again. See multipart.h. */
#include "common/aws/internal.h"
#include "common/aws/s3/multipart.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 240 };
static const int64_t mib = 1 << 20;
static const int64_t part_max_bytes = INT64_C(5) << 30;

int multipart_plan(int64_t bytes, int64_t wanted, struct multipart_plan *out, struct err *e)
{
    int64_t part = wanted < MULTIPART_PART_MIN ? MULTIPART_PART_MIN : wanted;
    if (bytes <= 0) {
        return err_set(e, ERR_ARGUMENT, 0, "a multipart upload of %lld bytes", (long long)bytes);
    }
    if ((bytes - 1) / part + 1 > MULTIPART_PARTS_MAX) {
        part = (bytes - 1) / MULTIPART_PARTS_MAX + 1;
        part = (part + mib - 1) / mib * mib;
    }
    if (part > part_max_bytes) {
        return err_set(e, ERR_TOO_LARGE, 0, "%lld bytes are more than S3 takes in %d parts of 5 GiB", (long long)bytes, (int)MULTIPART_PARTS_MAX);
    }
    out->part_bytes = part;
    out->count = (int)((bytes - 1) / part + 1);
    return 0;
}

int64_t multipart_part_from(const struct multipart_plan *plan, int number)
{
    return (number - 1) * plan->part_bytes;
}

int64_t multipart_part_bytes(const struct multipart_plan *plan, int64_t bytes, int number)
{
    return number < plan->count ? plan->part_bytes : bytes - multipart_part_from(plan, number);
}

/* An entity tag is ours to repeat, not to trust: what XML would read as something else is written by its number. */
static size_t add_escaped(char *out, const char *text)
{
    size_t n = 0;
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '<' || c == '>' || c == '&' || c == '"' || c == '\'') {
            n += (size_t)snprintf(out + n, 6, "&#%u;", c);
        } else if (c >= 0x20 && c < 0x7f) {
            out[n++] = (char)c;
        }
    }
    out[n] = '\0';
    return n;
}

char *multipart_list_write(const struct multipart_part *parts, int count, size_t *bytes)
{
    static const char head[] = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
    static const char tail[] = "</CompleteMultipartUpload>";
    size_t size = sizeof head + sizeof tail + (size_t)count * (LINE_BYTES + 5 * sizeof parts->etag);
    char *list = malloc(size);
    if (!list) {
        return NULL;
    }
    size_t used = (size_t)snprintf(list, size, "%s", head);
    for (int i = 0; i < count; i++) {
        char etag[5 * sizeof parts->etag + 1];
        char crc[12];
        (void)add_escaped(etag, parts[i].etag);
        s3_crc_text(parts[i].crc32c, crc);
        used += (size_t)snprintf(list + used, size - used, "<Part><PartNumber>%d</PartNumber><ETag>&#34;%s&#34;</ETag><ChecksumCRC32C>%s</ChecksumCRC32C></Part>",
                                 i + 1, etag, crc);
    }
    used += (size_t)snprintf(list + used, size - used, "%s", tail);
    *bytes = used;
    return list;
}

static int nibble(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void multipart_etag(const struct multipart_part *parts, int count, char out[80])
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    EVP_MD_CTX *md5 = EVP_MD_CTX_new();
    bool ok = md5 && EVP_DigestInit_ex(md5, EVP_md5(), NULL) == 1;
    for (int i = 0; ok && i < count; i++) {
        ok = strlen(parts[i].etag) == 32;
        for (size_t k = 0; ok && k < 16; k++) {
            int high = nibble(parts[i].etag[2 * k]);
            int low = nibble(parts[i].etag[2 * k + 1]);
            raw[k] = (unsigned char)(high * 16 + low);
            ok = high >= 0 && low >= 0;
        }
        ok = ok && EVP_DigestUpdate(md5, raw, 16) == 1;
    }
    ok = ok && EVP_DigestFinal_ex(md5, raw, &length) == 1 && length == 16;
    EVP_MD_CTX_free(md5);
    out[0] = '\0';
    for (unsigned k = 0; ok && k < 16; k++) {
        (void)snprintf(out + 2 * k, 3, "%02x", raw[k]);
    }
    if (ok) {
        (void)snprintf(out + 32, 48, "-%d", count);
    }
}
