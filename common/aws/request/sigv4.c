/* sigv4 - see sigv4.h. */
#include "common/aws/request/sigv4.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HEADERS_MAX = 64, PARTS_MAX = 128 };

/* ---- a growing text; an error sticks ------------------------------------------------------------------------------------ */

struct text {
    char *bytes;
    size_t used, room;
    bool failed;
};

static void add_bytes(struct text *t, const char *bytes, size_t count)
{
    if (t->failed) {
        return;
    }
    if (t->used + count + 1 > t->room) {
        size_t room = (t->used + count + 1) * 2;
        char *grown = room < (64u << 20) ? realloc(t->bytes, room) : NULL;
        if (!grown) {
            t->failed = true;
            return;
        }
        t->bytes = grown;
        t->room = room;
    }
    memcpy(t->bytes + t->used, bytes, count);
    t->used += count;
    t->bytes[t->used] = '\0';
}

static void add(struct text *t, const char *s)
{
    add_bytes(t, s, strlen(s));
}

static bool unreserved(unsigned char c)
{
    return isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

static void add_encoded(struct text *t, const char *s, size_t count, bool keep_slash, bool keep_percent)
{
    for (size_t i = 0; i < count; i++) {
        unsigned char c = (unsigned char)s[i];
        char hex[4];
        if (unreserved(c) || (keep_slash && c == '/')) {
            add_bytes(t, s + i, 1);
        } else if (keep_percent && c == '%' && i + 2 < count && isxdigit((unsigned char)s[i + 1]) &&
                   isxdigit((unsigned char)s[i + 2])) {
            hex[0] = '%';
            hex[1] = (char)toupper((unsigned char)s[i + 1]);
            hex[2] = (char)toupper((unsigned char)s[i + 2]);
            add_bytes(t, hex, 3);
            i += 2;
        } else {
            (void)snprintf(hex, sizeof hex, "%%%02X", c);
            add_bytes(t, hex, 3);
        }
    }
}

int sigv4_uri_encode(const char *text, bool keep_slash, char *buffer, size_t size)
{
    size_t used = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (used + 4 > size) {
            return ERR_ARGUMENT;
        }
        if (unreserved(*p) || (keep_slash && *p == '/')) {
            buffer[used++] = (char)*p;
        } else {
            used += (size_t)snprintf(buffer + used, size - used, "%%%02X", *p);
        }
    }
    buffer[used] = '\0';
    return 0;
}

static void hex_of(const unsigned char *bytes, size_t count, char *out)
{
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    }
}

void sigv4_sha256_hex(const void *bytes, size_t count, char out[65])
{
    unsigned char digest[32];
    (void)EVP_Digest(bytes, count, digest, NULL, EVP_sha256(), NULL);
    hex_of(digest, sizeof digest, out);
}

/* ---- the canonical request ---------------------------------------------------------------------------------------------- */

/* RFC 3986 5.2.4 and doubled slashes, as AWS does it for every service but S3. */
static void normalize(const char *path, struct text *out)
{
    const char *segments[PARTS_MAX * 4];
    size_t lengths[PARTS_MAX * 4];
    size_t count = 0;
    const char *p = path;
    size_t total = strlen(path);
    bool trailing = total > 0 && (path[total - 1] == '/' || (total >= 2 && strcmp(path + total - 2, "/.") == 0) ||
                                  (total >= 3 && strcmp(path + total - 3, "/..") == 0));
    while (*p) {
        while (*p == '/') {
            p++;
        }
        size_t length = strcspn(p, "/");
        if (length == 2 && strncmp(p, "..", 2) == 0) {
            count -= count > 0;
        } else if (length > 0 && !(length == 1 && *p == '.') && count < PARTS_MAX * 4) {
            segments[count] = p;
            lengths[count++] = length;
        }
        p += length;
    }
    for (size_t i = 0; i < count; i++) {
        add(out, "/");
        add_bytes(out, segments[i], lengths[i]);
    }
    if (count == 0 || trailing) {
        add(out, "/");
    }
}

struct pair {
    char *name, *value;
};

static int compare_pairs(const void *a, const void *b)
{
    const struct pair *x = a;
    const struct pair *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->value, y->value);
}

static char *encoded_copy(const char *s, size_t count)
{
    struct text t = {0};
    add(&t, "");
    add_encoded(&t, s, count, false, true);
    if (t.failed) {
        free(t.bytes);
        return NULL;
    }
    return t.bytes;
}

static int add_query(struct text *out, const char *query)
{
    struct pair pairs[PARTS_MAX];
    size_t count = 0;
    int rc = 0;
    while (*query && rc == 0) {
        size_t length = strcspn(query, "&");
        if (length > 0) {
            const char *equals = memchr(query, '=', length);
            size_t name = equals ? (size_t)(equals - query) : length;
            if (count == PARTS_MAX) {
                rc = ERR_ARGUMENT;
                break;
            }
            pairs[count].name = encoded_copy(query, name);
            pairs[count].value = equals ? encoded_copy(equals + 1, length - name - 1) : encoded_copy("", 0);
            if (!pairs[count].name || !pairs[count].value) {
                rc = ERR_MEMORY;
            }
            count++;
        }
        query += length + (query[length] == '&');
    }
    if (rc == 0) {
        qsort(pairs, count, sizeof pairs[0], compare_pairs);
        for (size_t i = 0; i < count; i++) {
            add(out, i ? "&" : "");
            add(out, pairs[i].name);
            add(out, "=");
            add(out, pairs[i].value);
        }
    }
    for (size_t i = 0; i < count; i++) {
        free(pairs[i].name);
        free(pairs[i].value);
    }
    return rc;
}

struct ordered {
    const struct sigv4_header *header;
    size_t place;
};

static int compare_headers(const void *a, const void *b)
{
    const struct ordered *x = a;
    const struct ordered *y = b;
    int order = strcasecmp(x->header->name, y->header->name);
    return order ? order : (x->place > y->place) - (x->place < y->place);
}

/* Leading and trailing white space goes, runs of it become one space. */
static void add_trimmed(struct text *out, const char *value)
{
    bool space = false;
    bool begun = false;
    for (; *value; value++) {
        if (isspace((unsigned char)*value)) {
            space = begun;
        } else {
            add(out, space ? " " : "");
            add_bytes(out, value, 1);
            space = false;
            begun = true;
        }
    }
}

static void add_headers(struct text *out, const struct sigv4_request *r, struct text *names)
{
    struct ordered sorted[HEADERS_MAX];
    for (size_t i = 0; i < r->header_count; i++) {
        sorted[i].header = &r->headers[i];
        sorted[i].place = i;
    }
    qsort(sorted, r->header_count, sizeof sorted[0], compare_headers);
    for (size_t i = 0; i < r->header_count; i++) {
        const struct sigv4_header *h = sorted[i].header;
        bool same = i > 0 && strcasecmp(sorted[i - 1].header->name, h->name) == 0;
        if (same) {
            add(out, ",");
        } else {
            add(out, i ? "\n" : "");
            add(names, i ? ";" : "");
            for (const char *p = h->name; *p; p++) {
                char c = (char)tolower((unsigned char)*p);
                add_bytes(out, &c, 1);
                add_bytes(names, &c, 1);
            }
            add(out, ":");
        }
        add_trimmed(out, h->value);
    }
    add(out, "\n\n");
}

static void hmac(const void *key, size_t key_bytes, const char *data, unsigned char out[32])
{
    unsigned length = 32;
    (void)HMAC(EVP_sha256(), key, (int)key_bytes, (const unsigned char *)data, strlen(data), out, &length);
}

static void sign(const struct sigv4_scope *scope, const char *string_to_sign, char out[65])
{
    char seed[300];
    char date[9];
    unsigned char key[32];
    int n = snprintf(seed, sizeof seed, "AWS4%s", scope->secret_access_key);
    (void)snprintf(date, sizeof date, "%.8s", scope->amz_date);
    hmac(seed, n < (int)sizeof seed ? (size_t)n : sizeof seed - 1, date, key);
    hmac(key, sizeof key, scope->region, key);
    hmac(key, sizeof key, scope->service, key);
    hmac(key, sizeof key, "aws4_request", key);
    hmac(key, sizeof key, string_to_sign, key);
    hex_of(key, sizeof key, out);
    OPENSSL_cleanse(seed, sizeof seed);
    OPENSSL_cleanse(key, sizeof key);
}

int sigv4_sign(const struct sigv4_request *r, const struct sigv4_scope *scope, struct sigv4_result *out, struct err *e)
{
    struct text canonical = {0};
    struct text names = {0};
    struct text path = {0};
    char hash[65];
    memset(out, 0, sizeof *out);
    if (r->header_count > HEADERS_MAX) {
        return err_set(e, ERR_ARGUMENT, 0, "more than %d headers to sign", HEADERS_MAX);
    }
    add(&names, "");
    add(&path, "");
    add(&canonical, r->method);
    add(&canonical, "\n");
    if (r->normalize) {
        normalize(r->path, &path);
    } else {
        add(&path, r->path[0] ? r->path : "/");
    }
    if (r->double_encode && !path.failed) {
        add_encoded(&canonical, path.bytes, path.used, true, false);
    } else if (!path.failed) {
        add(&canonical, path.bytes);
    }
    add(&canonical, "\n");
    int rc = add_query(&canonical, r->query);
    add(&canonical, "\n");
    add_headers(&canonical, r, &names);
    if (rc == 0 && !names.failed) {
        add(&canonical, names.bytes);
        add(&canonical, "\n");
        add(&canonical, r->payload_hash);
    }
    if (rc == 0 && (canonical.failed || names.failed || path.failed)) {
        rc = ERR_MEMORY;
    }
    if (rc == 0) {
        out->canonical_request = canonical.bytes;
        canonical.bytes = NULL;
        sigv4_sha256_hex(out->canonical_request, strlen(out->canonical_request), hash);
        (void)snprintf(out->signed_headers, sizeof out->signed_headers, "%s", names.bytes);
        if (asprintf(&out->string_to_sign, "AWS4-HMAC-SHA256\n%s\n%.8s/%s/%s/aws4_request\n%s", scope->amz_date, scope->amz_date,
                     scope->region, scope->service, hash) == -1) {
            out->string_to_sign = NULL;
            rc = ERR_MEMORY;
        }
    }
    if (rc == 0) {
        sign(scope, out->string_to_sign, out->signature);
        if (asprintf(&out->authorization,
                     "AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/%s/aws4_request, SignedHeaders=%s, Signature=%s", scope->access_key_id,
                     scope->amz_date, scope->region, scope->service, out->signed_headers, out->signature) == -1) {
            out->authorization = NULL;
            rc = ERR_MEMORY;
        }
    }
    free(canonical.bytes);
    free(names.bytes);
    free(path.bytes);
    if (rc != 0) {
        sigv4_result_clear(out);
        return err_set(e, rc, 0, "cannot sign a request");
    }
    return 0;
}

void sigv4_result_clear(struct sigv4_result *r)
{
    free(r->canonical_request);
    free(r->string_to_sign);
    free(r->authorization);
    memset(r, 0, sizeof *r);
}
