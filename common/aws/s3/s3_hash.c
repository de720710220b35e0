/*
 * s3_hash - the line of file ranges whose SHA-256 is needed before they are sent. See internal.h.
 *
 * aws_client_run() hashes at most HASH_SLICE bytes between two looks at the network, and HASH_TURN bytes of one range before it is the next one's
 * turn: a file of gigabytes delays no other transfer, and a small one does not wait for its end.
 */
#include "common/aws/internal.h"
#include "common/runtime/crc32c.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

enum { HASH_SLICE = 4 << 20, HASH_TURN = 1 << 20 };

static void join_line(struct aws_client *c, struct s3_hash *h)
{
    h->next = NULL;
    if (c->last_hash) {
        c->last_hash->next = h;
    } else {
        c->first_hash = h;
    }
    c->last_hash = h;
    c->hashing++;
}

static struct s3_hash *leave_line(struct aws_client *c)
{
    struct s3_hash *h = c->first_hash;
    c->first_hash = h->next;
    c->last_hash = c->first_hash ? c->last_hash : NULL;
    c->hashing--;
    return h;
}

int s3_hash_begin(struct aws_client *c, struct s3_hash *h, struct err *e)
{
    h->hashed = 0;
    h->crc32c = 0;
    h->hex[0] = '\0';
    h->digest = EVP_MD_CTX_new();
    if (!h->digest || EVP_DigestInit_ex(h->digest, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(h->digest);
        h->digest = NULL;
        return err_set(e, ERR_MEMORY, 0, "no memory for a transfer");
    }
    join_line(c, h);
    return 0;
}

int s3_hash_hex(struct evp_md_ctx_st *digest, char out[65], struct err *e)
{
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    if (EVP_DigestFinal_ex(digest, raw, &length) != 1 || length != 32) {
        return err_set(e, ERR_MEMORY, 0, "SHA-256");
    }
    for (unsigned i = 0; i < length; i++) {
        (void)snprintf(out + 2 * i, 3, "%02x", raw[i]);
    }
    return 0;
}

/* The first of the line has ended, well or not. */
static void end_first(struct aws_client *c, int rc, struct err *why)
{
    struct s3_hash *h = leave_line(c);
    rc = rc ? rc : s3_hash_hex(h->digest, h->hex, why);
    EVP_MD_CTX_free(h->digest);
    h->digest = NULL;
    h->done(h->ctx, rc, why);
}

/* Reads and hashes a piece. -> bytes, negative error. */
static int64_t hash_piece(struct aws_client *c, struct s3_hash *h, struct err *why)
{
    int64_t want = h->bytes - h->hashed;
    ssize_t n;
    want = want > AWS_HASH_BUFFER ? AWS_HASH_BUFFER : want;
    if (want == 0) {
        return 0;
    }
    do {
        n = pread(h->fd, c->hash_buffer, (size_t)want, h->from + h->hashed);
    } while (n == -1 && errno == EINTR);
    if (n == -1) {
        return err_set(why, ERR_IO, errno, "read of the file to send");
    }
    if (n == 0) {
        return err_set(why, ERR_SPOOL_DAMAGED, 0, "the file is shorter than was received");
    }
    if (EVP_DigestUpdate(h->digest, c->hash_buffer, (size_t)n) != 1 ||
        (h->whole_digest && EVP_DigestUpdate(h->whole_digest, c->hash_buffer, (size_t)n) != 1)) {
        return err_set(why, ERR_MEMORY, 0, "SHA-256");
    }
    if (h->wants_crc32c) {
        h->crc32c = crc32c_update(h->crc32c, c->hash_buffer, (size_t)n);
    }
    h->hashed += n;
    return n;
}

void s3_hash_slice(struct aws_client *c)
{
    int64_t budget = HASH_SLICE;
    int64_t turn = 0;
    while (c->first_hash && budget > 0) {
        struct s3_hash *h = c->first_hash;
        struct err why = {0};
        int64_t n = hash_piece(c, h, &why);
        budget -= n > 0 ? n : 4096;
        turn += n > 0 ? n : 0;
        if (n < 0 || h->hashed == h->bytes) {
            end_first(c, n < 0 ? (int)n : 0, &why);
            turn = 0;
        } else if (turn >= HASH_TURN) {
            join_line(c, leave_line(c));
            turn = 0;
        }
    }
}

void s3_hash_drop_all(struct aws_client *c)
{
    while (c->first_hash) {
        struct s3_hash *h = leave_line(c);
        EVP_MD_CTX_free(h->digest);
        h->digest = NULL;
        h->abandon(h->ctx);
    }
}

void s3_crc_text(uint32_t crc, char out[12])
{
    unsigned char bytes[4] = {(unsigned char)(crc >> 24), (unsigned char)(crc >> 16), (unsigned char)(crc >> 8), (unsigned char)crc};
    unsigned char text[9];
    (void)EVP_EncodeBlock(text, bytes, sizeof bytes);
    (void)snprintf(out, 12, "%s", (const char *)text);
}

bool s3_crc_read(const char *text, uint32_t *out)
{
    unsigned char raw[12];
    if (strlen(text) != 8 || EVP_DecodeBlock(raw, (const unsigned char *)text, 8) != 6) {
        return false;
    }
    *out = (uint32_t)raw[0] << 24 | (uint32_t)raw[1] << 16 | (uint32_t)raw[2] << 8 | raw[3];
    return true;
}

void s3_plain_etag(const char *quoted, char *out, size_t size)
{
    size_t n = strlen(quoted);
    bool has_quotes = n >= 2 && quoted[0] == '"' && quoted[n - 1] == '"';
    (void)snprintf(out, size, "%.*s", (int)(has_quotes ? n - 2 : n), quoted + has_quotes);
}
