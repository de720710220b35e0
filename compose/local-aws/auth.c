/* auth - see auth.h. */
#include "compose/local-aws/auth.h"

#include "common/aws/request/sigv4.h"
#include "common/runtime/runtime.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
enum { SIGNED_MAX = 64 };

/* ---- refusals: one thing, three services' words for it ---------------------------------------------------------------------- */

enum trouble { NO_AUTH, MALFORMED, UNKNOWN_KEY, MISMATCH, SKEWED, EXPIRED, BAD_TOKEN, WRONG_SCOPE, NOT_SIGNED };

static const struct {
    struct {
        unsigned status;
        const char *code;
    } by[3]; /* S3, HealthImaging, STS */
    const char *message;
} refusals[] = {
    [NO_AUTH] = {{{403, "AccessDenied"}, {403, "MissingAuthenticationTokenException"}, {403, "MissingAuthenticationToken"}},
                 "Access Denied: the request has no Authorization header"},
    [MALFORMED] = {{{400, "AuthorizationHeaderMalformed"}, {403, "IncompleteSignatureException"}, {400, "IncompleteSignature"}},
                   "The authorization header that you provided is not valid"},
    [UNKNOWN_KEY] = {{{403, "InvalidAccessKeyId"}, {403, "UnrecognizedClientException"}, {403, "InvalidClientTokenId"}},
                     "The access key or security token included in the request is not known"},
    [MISMATCH] = {{{403, "SignatureDoesNotMatch"}, {403, "InvalidSignatureException"}, {403, "SignatureDoesNotMatch"}},
                  "The request signature that was calculated does not match the signature you provided; check the secret access key"},
    [SKEWED] = {{{403, "RequestTimeTooSkewed"}, {403, "InvalidSignatureException"}, {403, "SignatureDoesNotMatch"}},
                "Signature expired or not yet current: the time of the request differs from the time of the service by more than 15 minutes"},
    [EXPIRED] = {{{400, "ExpiredToken"}, {403, "ExpiredTokenException"}, {403, "ExpiredToken"}},
                 "The provided token has expired"},
    [BAD_TOKEN] = {{{400, "InvalidToken"}, {403, "UnrecognizedClientException"}, {403, "InvalidClientTokenId"}},
                   "The provided token is malformed or otherwise not valid"},
    [WRONG_SCOPE] = {{{400, "AuthorizationHeaderMalformed"}, {403, "InvalidSignatureException"}, {403, "SignatureDoesNotMatch"}},
                     "The credential scope names another region, service or date than this endpoint and this request"},
    [NOT_SIGNED] = {{{403, "AccessDenied"}, {403, "InvalidSignatureException"}, {403, "SignatureDoesNotMatch"}},
                    "There were headers present in the request which must be signed and were not"},
};

static bool refuse(struct request *r, enum trouble why)
{
    int service = r->service == SERVICE_IMAGING || r->service == SERVICE_SQS ? 1 : r->service == SERVICE_STS ? 2 : 0;
    if (r->service == SERVICE_S3 && why == WRONG_SCOPE) {
        answer_header(r, "x-amz-bucket-region", r->app->options.region);
    }
    answer_refuse(r, refusals[why].by[service].status, refusals[why].by[service].code, "%s", refusals[why].message);
    return false;
}

void auth_refuse_expired(struct request *r)
{
    (void)refuse(r, EXPIRED);
}

bool auth_same(const char *a, const char *b)
{
    size_t length = strlen(a);
    return length == strlen(b) && CRYPTO_memcmp(a, b, length) == 0;
}

/* ---- reading the header ------------------------------------------------------------------------------------------------------ */

/* Copies the value of "name=" out of the header up to a comma; false: missing, empty or too long. */
static bool copy_part(const char *header, const char *name, char *out, size_t size)
{
    const char *p = strstr(header, name);
    if (!p) {
        return false;
    }
    p += strlen(name);
    size_t length = strcspn(p, ", ");
    if (length == 0 || length >= size) {
        return false;
    }
    memcpy(out, p, length);
    out[length] = '\0';
    return true;
}

/* Takes the last "/word" of text away; false: there is none or it does not fit. */
static bool cut_last(char *text, char *out, size_t size)
{
    char *slash = strrchr(text, '/');
    if (!slash || strlen(slash + 1) >= size || !slash[1]) {
        return false;
    }
    memcpy(out, slash + 1, strlen(slash + 1) + 1);
    *slash = '\0';
    return true;
}

static bool read_header(const char *header, struct auth *a)
{
    char credential[300];
    char end[16];
    if (strncmp(header, "AWS4-HMAC-SHA256 ", 17) != 0 || !copy_part(header, "Credential=", credential, sizeof credential) ||
        !copy_part(header, "SignedHeaders=", a->signed_headers, sizeof a->signed_headers) ||
        !copy_part(header, "Signature=", a->signature, sizeof a->signature)) {
        return false;
    }
    if (!cut_last(credential, end, sizeof end) || strcmp(end, "aws4_request") != 0 ||
        !cut_last(credential, a->service, sizeof a->service) || !cut_last(credential, a->region, sizeof a->region) ||
        !cut_last(credential, a->date, sizeof a->date) || strlen(credential) >= sizeof a->access_key || !credential[0]) {
        return false;
    }
    memcpy(a->access_key, credential, strlen(credential) + 1);
    return true;
}

bool auth_scope_service(const struct request *r, enum service *out)
{
    struct auth a = {0};
    const char *header = request_header(r, "Authorization");
    if (!header || !read_header(header, &a)) {
        return false;
    }
    *out = strcmp(a.service, "medical-imaging") == 0 ? SERVICE_IMAGING : strcmp(a.service, "sts") == 0 ? SERVICE_STS
           : strcmp(a.service, "sqs") == 0             ? SERVICE_SQS
                                                       : SERVICE_S3;
    return true;
}

/* "20260102T030405Z" -> ms since 1970; negative: it is none. */
static int64_t read_time(const char *s)
{
    struct tm tm = {0};
    const char *end = s && strlen(s) == 16 ? strptime(s, "%Y%m%dT%H%M%SZ", &tm) : NULL;
    return end && *end == '\0' ? (int64_t)timegm(&tm) * 1000 : -1;
}

/* ---- keys --------------------------------------------------------------------------------------------------------------------- */

static void hmac(const void *key, size_t key_bytes, const char *data, unsigned char out[32])
{
    unsigned length = 32;
    (void)HMAC(EVP_sha256(), key, (int)key_bytes, (const unsigned char *)data, strlen(data), out, &length);
}

/* hex of HMAC(secret, "what:about") cut to count bytes */
static void prove(const struct standin *app, const char *what, const char *about, size_t count, char *out)
{
    char text[300];
    unsigned char mac[32];
    (void)snprintf(text, sizeof text, "storescp-local-aws:%s:%s", what, about);
    hmac(app->options.secret_key, strlen(app->options.secret_key), text, mac);
    text_hex(mac, count, out);
}

/* The token is "<expiry ms>.<hex>"; both it and the secret follow from the access key and the owner's secret. */
static void derive(const struct standin *app, struct temporary *t)
{
    char about[80];
    char proof[65];
    prove(app, "secret", t->access_key, 20, t->secret_key);
    (void)snprintf(about, sizeof about, "%s:%lld", t->access_key, (long long)t->expires_ms);
    prove(app, "token", about, 32, proof);
    (void)snprintf(t->token, sizeof t->token, "%lld.%s", (long long)t->expires_ms, proof);
}

void auth_make_temporary(const struct standin *app, int64_t expires_ms, struct temporary *out)
{
    char hex[17];
    text_random_hex(8, hex);
    for (char *p = hex; *p; p++) {
        *p = (char)(*p >= 'a' ? *p - 32 : *p);
    }
    memset(out, 0, sizeof *out);
    out->expires_ms = expires_ms;
    (void)snprintf(out->access_key, sizeof out->access_key, "ASIA%s", hex);
    derive(app, out);
}

/* The secret that belongs to the request's access key; refuses. */
static bool find_secret(struct request *r, char *secret, size_t size)
{
    const struct options *o = &r->app->options;
    const char *token = request_header(r, "x-amz-security-token");
    if (strcmp(r->auth.access_key, o->access_key) == 0) {
        (void)snprintf(secret, size, "%s", o->secret_key);
        return token ? refuse(r, BAD_TOKEN) : true;
    }
    struct temporary t = {0};
    if (strncmp(r->auth.access_key, "ASIA", 4) != 0 || strlen(r->auth.access_key) != 20 || !token) {
        return refuse(r, UNKNOWN_KEY);
    }
    (void)snprintf(t.access_key, sizeof t.access_key, "%.20s", r->auth.access_key);
    t.expires_ms = strtoll(token, NULL, 10);
    derive(r->app, &t);
    if (!auth_same(token, t.token)) {
        return refuse(r, BAD_TOKEN);
    }
    (void)snprintf(secret, size, "%s", t.secret_key);
    return t.expires_ms > clock_wall_ms() ? true : refuse(r, EXPIRED);
}

/* ---- the signature -------------------------------------------------------------------------------------------------------------- */

static bool is_signed(const struct auth *a, const char *name)
{
    size_t length = strlen(name);
    for (const char *p = a->signed_headers; *p;) {
        size_t part = strcspn(p, ";");
        if (part == length && strncasecmp(p, name, length) == 0) {
            return true;
        }
        p += part + (p[part] == ';');
    }
    return false;
}

struct collected {
    const struct auth *auth;
    struct sigv4_header headers[SIGNED_MAX];
    size_t count;
    bool unsigned_amz, too_many;
};

static int collect(void *ctx, const char *name, const char *value)
{
    struct collected *c = ctx;
    if (!is_signed(c->auth, name)) {
        c->unsigned_amz = c->unsigned_amz || strncasecmp(name, "x-amz-", 6) == 0;
    } else if (c->count == SIGNED_MAX) {
        c->too_many = true;
    } else {
        c->headers[c->count++] = (struct sigv4_header){name, value};
    }
    return 0;
}

static void make_signing_key(struct auth *a, const char *secret)
{
    char seed[300];
    int n = snprintf(seed, sizeof seed, "AWS4%s", secret);
    hmac(seed, n < (int)sizeof seed ? (size_t)n : sizeof seed - 1, a->date, a->signing_key);
    hmac(a->signing_key, 32, a->region, a->signing_key);
    hmac(a->signing_key, 32, a->service, a->signing_key);
    hmac(a->signing_key, 32, "aws4_request", a->signing_key);
    OPENSSL_cleanse(seed, sizeof seed);
}

static bool check_signature(struct request *r, const char *payload_hash, const char *secret)
{
    struct auth *a = &r->auth;
    struct collected c = {.auth = a};
    request_each_header(r, collect, &c);
    if (c.too_many || !is_signed(a, "host") || (r->service == SERVICE_S3 && c.unsigned_amz)) {
        return refuse(r, NOT_SIGNED);
    }
    bool is_s3 = r->service == SERVICE_S3;
    struct sigv4_request request = {r->method, r->path, r->query, c.headers, c.count, payload_hash, !is_s3, !is_s3};
    struct sigv4_scope scope = {a->access_key, secret, a->region, a->service, a->amz_date};
    struct sigv4_result result;
    if (sigv4_sign(&request, &scope, &result, NULL) != 0) {
        return refuse(r, MALFORMED);
    }
    bool same = auth_same(result.signature, a->signature);
    sigv4_result_clear(&result);
    if (!same) {
        return refuse(r, MISMATCH);
    }
    make_signing_key(a, secret);
    a->is_read = true;
    return true;
}

bool auth_check(struct request *r, const char *payload_hash)
{
    static const char *const services[] = {"s3", "medical-imaging", "sts", "sqs"};
    char secret[256];
    struct auth *a = &r->auth;
    const char *header = request_header(r, "Authorization");
    const char *stamp = request_header(r, "x-amz-date");
    if (!header) {
        return refuse(r, NO_AUTH);
    }
    int64_t at_ms = read_time(stamp);
    if (!read_header(header, a) || at_ms < 0) {
        return refuse(r, MALFORMED);
    }
    (void)snprintf(a->amz_date, sizeof a->amz_date, "%s", stamp);
    if (!find_secret(r, secret, sizeof secret)) {
        return false;
    }
    int64_t skew_ms = at_ms - clock_wall_ms();
    bool ok = true;
    if (skew_ms > AUTH_SKEW_MS || skew_ms < -AUTH_SKEW_MS) {
        ok = refuse(r, SKEWED);
    } else if (strcmp(a->service, services[r->service]) != 0 || strcmp(a->region, r->app->options.region) != 0 ||
               strncmp(a->date, a->amz_date, 8) != 0) {
        ok = refuse(r, WRONG_SCOPE);
    } else {
        ok = check_signature(r, payload_hash, secret);
    }
    OPENSSL_cleanse(secret, sizeof secret);
    return ok;
}

void auth_chunk_signature(const struct auth *a, const char *what, const char *previous, const char *hash, char out[65])
{
    char text[600];
    unsigned char mac[32];
    bool is_payload = strstr(what, "PAYLOAD") != NULL;
    (void)snprintf(text, sizeof text, "%s\n%s\n%s/%s/%s/aws4_request\n%s\n%s%s", what, a->amz_date, a->date, a->region, a->service,
                   previous, is_payload ? EMPTY_SHA256 "\n" : "", hash);
    hmac(a->signing_key, 32, text, mac);
    text_hex(mac, sizeof mac, out);
}
