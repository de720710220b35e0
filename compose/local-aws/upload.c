/* upload - see upload.h. */
#include "compose/local-aws/upload.h"

#include "common/aws/request/sigv4.h"
#include "common/runtime/runtime.h"
#include "compose/local-aws/auth.h"
#include "compose/local-aws/chunked.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define PUT_BYTES_MAX (5LL << 30)
enum { SHORT_CHUNK = -2000, BAD_CHUNK_SIGNATURE, WRITE_FAILED };

struct upload {
    char path[STORE_PATH];
    int fd;
    bool kept;
    struct hashes *hashes;
    struct err why; /* a write failed */
    enum checksum which, announced; /* announced: by x-amz-trailer */
    char declared[CHECKSUM_COUNT][64]; /* by header or trailer */
    int64_t raw_bytes;
    /* aws-chunked */
    bool is_chunked, is_chunk_signed, has_signed_trailers;
    struct chunked chunked;
    const struct auth *auth;
    char previous[65]; /* signature of the chunk before */
    EVP_MD_CTX *chunk_hash;
    struct text trailers;
};

int upload_fd(const struct upload *u)
{
    return u->fd;
}

const char *upload_path(const struct upload *u)
{
    return u->path;
}

void upload_keep(struct upload *u)
{
    u->kept = true;
}

void upload_free(struct upload *u)
{
    if (!u) {
        return;
    }
    if (u->fd >= 0) {
        (void)close(u->fd);
    }
    if (!u->kept && u->path[0]) {
        (void)unlink(u->path);
    }
    hashes_free(u->hashes);
    EVP_MD_CTX_free(u->chunk_hash);
    text_clear(&u->trailers);
    free(u);
}

/* ---- bytes of the object ------------------------------------------------------------------------------------------------------- */

static int take_data(void *ctx, const char *bytes, size_t count)
{
    struct upload *u = ctx;
    hashes_update(u->hashes, bytes, count);
    if (u->is_chunk_signed) {
        (void)EVP_DigestUpdate(u->chunk_hash, bytes, count);
    }
    return write_all(u->fd, bytes, count, &u->why) == 0 ? 0 : WRITE_FAILED;
}

static int take_chunk(void *ctx, const char *signature)
{
    struct upload *u = ctx;
    unsigned char hash[32];
    char hex[65];
    char expected[65];
    if (!u->is_chunk_signed) {
        return 0;
    }
    (void)EVP_DigestFinal_ex(u->chunk_hash, hash, NULL);
    (void)EVP_DigestInit_ex(u->chunk_hash, EVP_sha256(), NULL);
    text_hex(hash, sizeof hash, hex);
    auth_chunk_signature(u->auth, "AWS4-HMAC-SHA256-PAYLOAD", u->previous, hex, expected);
    memcpy(u->previous, expected, sizeof expected);
    return auth_same(expected, signature) ? 0 : BAD_CHUNK_SIGNATURE;
}

static int take_trailer(void *ctx, const char *name, const char *value)
{
    struct upload *u = ctx;
    char hex[65];
    char expected[65];
    if (strcasecmp(name, "x-amz-trailer-signature") == 0) {
        const char *signed_text = u->trailers.bytes ? u->trailers.bytes : "";
        sigv4_sha256_hex(signed_text, strlen(signed_text), hex);
        auth_chunk_signature(u->auth, "AWS4-HMAC-SHA256-TRAILER", u->previous, hex, expected);
        u->has_signed_trailers = false; /* nothing is owed any more */
        return auth_same(expected, value) ? 0 : BAD_CHUNK_SIGNATURE;
    }
    text_addf(&u->trailers, "%s:%s\n", name, value);
    enum checksum which = checksum_find(name);
    if (which != CHECKSUM_NONE && strncasecmp(name, "x-amz-checksum-", 15) == 0) {
        (void)snprintf(u->declared[which], sizeof u->declared[which], "%s", value);
    }
    return 0;
}

/* ---- what the head says ---------------------------------------------------------------------------------------------------------- */

static int find_declared(void *ctx, const char *name, const char *value)
{
    struct upload *u = ctx;
    enum checksum which = strncasecmp(name, "x-amz-checksum-", 15) == 0 ? checksum_find(name) : CHECKSUM_NONE;
    if (which != CHECKSUM_NONE) {
        (void)snprintf(u->declared[which], sizeof u->declared[which], "%s", value);
        u->which = which;
    } else if (strcasecmp(name, "x-amz-trailer") == 0) {
        u->announced = checksum_find(value);
        u->which = u->announced != CHECKSUM_NONE ? u->announced : u->which;
    } else if (strcasecmp(name, "x-amz-sdk-checksum-algorithm") == 0 && u->which == CHECKSUM_NONE) {
        u->which = checksum_find(value);
    }
    return 0;
}

static bool begin_chunked(struct request *r, struct upload *u, const char *mode)
{
    const struct chunked_events events = {u, take_data, take_chunk, take_trailer};
    u->is_chunked = true;
    u->is_chunk_signed = strncmp(mode, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", 34) == 0;
    u->has_signed_trailers = u->is_chunk_signed && strcmp(mode + 34, "-TRAILER") == 0;
    if (!u->is_chunk_signed && strcmp(mode, "STREAMING-UNSIGNED-PAYLOAD-TRAILER") != 0) {
        answer_refuse(r, 400, "InvalidArgument", "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a streaming mode that is known here, or a SHA-256");
        return false;
    }
    if (!request_header(r, "x-amz-decoded-content-length")) {
        answer_refuse(r, 411, "MissingContentLength", "You must provide the x-amz-decoded-content-length HTTP header.");
        return false;
    }
    u->auth = &r->auth;
    memcpy(u->previous, r->auth.signature, sizeof u->previous);
    u->chunk_hash = EVP_MD_CTX_new();
    chunked_init(&u->chunked, &events);
    return u->chunk_hash && EVP_DigestInit_ex(u->chunk_hash, EVP_sha256(), NULL) == 1;
}

void upload_begin(struct request *r)
{
    struct err e = {0};
    const char *mode = request_header(r, "x-amz-content-sha256");
    const char *length = request_header(r, "Content-Length");
    if (length && strtoll(length, NULL, 10) > PUT_BYTES_MAX) {
        answer_refuse(r, 400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size.");
        return;
    }
    struct upload *u = calloc(1, sizeof *u);
    r->upload = u;
    if (!u) {
        (void)err_set(&e, ERR_MEMORY, 0, "no memory for an upload");
        answer_trouble(r, &e);
        return;
    }
    u->fd = -1;
    u->which = u->announced = CHECKSUM_NONE;
    request_each_header(r, find_declared, u);
    if (r->service == SERVICE_S3 && mode && strncmp(mode, "STREAMING-", 10) == 0 && !begin_chunked(r, u, mode)) {
        return;
    }
    unsigned wanted = u->which != CHECKSUM_NONE ? 1u << u->which : 1u << CHECKSUM_CRC64NVME;
    for (int i = 0; i < CHECKSUM_COUNT; i++) {
        wanted |= u->declared[i][0] ? 1u << i : 0;
    }
    bool with_md5 = !r->app->options.fast_etag || request_header(r, "Content-MD5");
    u->hashes = hashes_new(wanted, with_md5);
    u->fd = u->hashes ? store_temp(r->app->store, u->path, &e) : err_set(&e, ERR_MEMORY, 0, "no memory for an upload");
    if (u->fd < 0) {
        answer_trouble(r, &e);
    }
}

static void refuse_broken(struct request *r, int rc)
{
    if (rc == BAD_CHUNK_SIGNATURE) {
        answer_refuse(r, 403, "SignatureDoesNotMatch", "The signature of a chunk or of the trailers does not match.");
    } else if (rc == WRITE_FAILED) {
        answer_trouble(r, &r->upload->why);
    } else {
        answer_refuse(r, 400, "IncompleteBody", "The request body is not a complete aws-chunked body.");
    }
}

void upload_feed(struct request *r, const char *bytes, size_t count)
{
    struct upload *u = r->upload;
    u->raw_bytes += (int64_t)count;
    int rc = u->is_chunked ? chunked_feed(&u->chunked, bytes, count) : take_data(u, bytes, count);
    if (rc != 0) {
        refuse_broken(r, rc);
    }
}

/* ---- the end of the body --------------------------------------------------------------------------------------------------------------- */

static bool length_is_right(struct request *r, const struct digest *d)
{
    const struct upload *u = r->upload;
    const char *said = request_header(r, u->is_chunked ? "x-amz-decoded-content-length" : "Content-Length");
    if (u->is_chunked && (!chunked_is_done(&u->chunked) || u->has_signed_trailers)) {
        refuse_broken(r, SHORT_CHUNK);
        return false;
    }
    if (!said && d->bytes > 0 && !u->is_chunked) {
        answer_refuse(r, 411, "MissingContentLength", "You must provide the Content-Length HTTP header.");
        return false;
    }
    if (said && strtoll(said, NULL, 10) != d->bytes) {
        answer_refuse(r, 400, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header.");
        return false;
    }
    return true;
}

static bool hashes_are_right(struct request *r, const struct digest *d)
{
    const struct upload *u = r->upload;
    const char *md5 = request_header(r, "Content-MD5");
    const char *sha256 = request_header(r, "x-amz-content-sha256");
    unsigned char said[16];
    if (u->announced != CHECKSUM_NONE && !u->declared[u->announced][0]) {
        answer_refuse(r, 400, "MalformedTrailerError", "The request contained trailing data that was not well-formed or did not conform to what was announced.");
        return false;
    }
    if (md5 && text_base64_decode(md5, said, sizeof said) != 16) {
        answer_refuse(r, 400, "InvalidDigest", "The Content-MD5 you specified is not valid.");
        return false;
    }
    if (md5 && memcmp(said, d->md5, 16) != 0) {
        answer_refuse(r, 400, "BadDigest", "The Content-MD5 you specified did not match what we received.");
        return false;
    }
    if (sha256 && strlen(sha256) == 64 && !auth_same(sha256, d->sha256_hex)) {
        answer_refuse(r, 400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.");
        return false;
    }
    for (int i = 0; i < CHECKSUM_COUNT; i++) {
        unsigned char value[32];
        if (!u->declared[i][0]) {
            continue;
        }
        if (text_base64_decode(u->declared[i], value, sizeof value) != checksum_bytes((enum checksum)i)) {
            answer_refuse(r, 400, "InvalidRequest", "Value for x-amz-checksum-%s header is invalid.", checksum_name((enum checksum)i));
            return false;
        }
        if (strcmp(u->declared[i], d->value[i]) != 0) {
            answer_refuse(r, 400, "BadDigest", "The %s you specified did not match the calculated checksum.", checksum_name((enum checksum)i));
            return false;
        }
    }
    return true;
}

bool upload_finish(struct request *r, struct digest *digest, enum checksum *which)
{
    struct digest d;
    hashes_end(r->upload->hashes, &d);
    if (!length_is_right(r, &d) || !hashes_are_right(r, &d)) {
        return false;
    }
    *digest = d;
    *which = r->upload->which;
    return true;
}

bool upload_seal(struct request *r, json_t *description)
{
    struct err e = {0};
    struct upload *u = r->upload;
    int rc = store_seal(r->app->store, u->fd, description, &e);
    if (close(u->fd) != 0 && rc == 0) {
        rc = err_set(&e, err_from_errno(errno), errno, "cannot close %s", u->path);
    }
    u->fd = -1;
    if (rc != 0) {
        answer_trouble(r, &e);
    }
    return rc == 0;
}

json_t *upload_checksums(const struct digest *d, enum checksum which)
{
    enum checksum kept = which != CHECKSUM_NONE ? which : CHECKSUM_CRC64NVME;
    return json_pack("{s:s}", checksum_name(kept), d->value[kept]);
}
