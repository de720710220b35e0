/* webhook - see webhook.h. It shares the client's connections and its time, nothing else. */
#include "common/aws/webhook.h"

#include "common/aws/internal.h"
#include "common/runtime/runtime.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_MAX = 500, RESPONSE_MAX = 16384, RETRY_AFTER_MAX_MS = 300000, HEADERS = 4 };

struct webhook_call {
    struct aws_client *client;
    struct webhook_call *previous, *next;
    webhook_done done;
    void *ctx;
    char *body;
    char lines[HEADERS][256];
};

/* ---- the signature ------------------------------------------------------------------------------------------------------------------ */

static int make_key(const char *secret, unsigned char key[KEY_MAX], size_t *length, struct err *e)
{
    size_t size = strlen(secret);
    if (strncmp(secret, "whsec_", 6) != 0) {
        *length = size < KEY_MAX ? size : KEY_MAX;
        memcpy(key, secret, *length);
        return 0;
    }
    const char *text = secret + 6;
    unsigned char decoded[KEY_MAX];
    size -= 6;
    int n = size > 0 && size % 4 == 0 && size / 4 * 3 <= sizeof decoded ? EVP_DecodeBlock(decoded, (const unsigned char *)text, (int)size) : -1;
    if (n <= 0) {
        return err_set(e, ERR_CONFIG, 0, "what follows whsec_ must be base64");
    }
    n -= (text[size - 1] == '=') + (text[size - 2] == '=');
    memcpy(key, decoded, (size_t)n);
    *length = (size_t)n;
    explicit_bzero(decoded, sizeof decoded);
    return 0;
}

int webhook_sign(const char *secret, const char *event_id, int64_t seconds, const char *body, char out[64], struct err *e)
{
    unsigned char key[KEY_MAX];
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_length = 0;
    size_t key_length = 0;
    char *text = NULL;
    int rc = make_key(secret, key, &key_length, e);
    if (rc == 0 && asprintf(&text, "%s.%lld.%s", event_id, (long long)seconds, body) == -1) {
        text = NULL;
        rc = err_set(e, ERR_MEMORY, 0, "no memory for a signature");
    }
    if (rc == 0 && !HMAC(EVP_sha256(), key, (int)key_length, (const unsigned char *)text, strlen(text), mac, &mac_length)) {
        rc = err_set(e, ERR_MEMORY, 0, "no memory for a signature");
    }
    if (rc == 0) {
        unsigned char encoded[64];
        (void)EVP_EncodeBlock(encoded, mac, (int)mac_length); /* 32 bytes: 44 characters */
        (void)snprintf(out, 64, "v1,%.44s", (const char *)encoded);
    }
    explicit_bzero(key, sizeof key);
    free(text);
    return rc;
}

int webhook_check_url(const char *url, struct err *e)
{
    struct endpoint any;
    char origin[300];
    size_t scheme = strncmp(url, "https://", 8) == 0 ? 8 : strncmp(url, "http://", 7) == 0 ? 7 : 0;
    size_t length = scheme + strcspn(url + scheme, "/?#");
    if (scheme == 0 || length == scheme || length >= sizeof origin || strpbrk(url, " \t\"<>\\^`{|}") || memchr(url, '@', length)) {
        return err_set(e, ERR_CONFIG, 0, "must be like https://host/path, without a user or blanks");
    }
    (void)snprintf(origin, sizeof origin, "%.*s", (int)length, url);
    return endpoint_parse(origin, &any, e);
}

int webhook_check_secret(const char *secret, struct err *e)
{
    unsigned char key[KEY_MAX];
    size_t length = 0;
    int rc = make_key(secret, key, &length, e);
    explicit_bzero(key, sizeof key);
    return rc;
}

/* ---- the request ---------------------------------------------------------------------------------------------------------------------- */

static void call_free(struct webhook_call *w)
{
    struct aws_client *c = w->client;
    if (w->previous) {
        w->previous->next = w->next;
    } else {
        c->first_webhook = w->next;
    }
    if (w->next) {
        w->next->previous = w->previous;
    }
    free(w->body);
    free(w);
}

void webhook_drop_all(struct aws_client *c)
{
    while (c->first_webhook) {
        call_free(c->first_webhook);
    }
}

int webhook_busy(const struct aws_client *c)
{
    int busy = 0;
    for (const struct webhook_call *w = c->first_webhook; w; w = w->next) {
        busy++;
    }
    return busy;
}

static int meaning_of(long status)
{
    switch (status) {
    case 408:
    case 425:
    case 429:
        return ERR_EVENT_BUSY;
    case 401:
    case 403:
    case 404:
    case 405:
    case 410:
        return ERR_EVENT_LISTENER;
    default:
        return status >= 200 && status <= 299 ? 0 : status >= 500 ? ERR_EVENT_BUSY : status >= 400 ? ERR_EVENT_REFUSED : ERR_EVENT_LISTENER;
    }
}

static void on_response(void *ctx, struct http_response *r)
{
    struct webhook_call *w = ctx;
    struct err why = {0};
    char value[32];
    int64_t retry_after_ms = 0;
    int rc = r->rc;
    if (rc != 0) {
        (void)err_set(&why, rc, 0, "webhook: %s", r->why.text);
    } else if ((rc = meaning_of(r->status)) != 0) {
        (void)err_set(&why, rc, 0, "the webhook answered %ld%s: %s", r->status, r->status >= 300 && r->status <= 399 ? ", a redirect, which is not followed" : "",
                      err_sentence(rc));
        if (http_header(r, "retry-after", value, sizeof value)) {
            long long seconds = strtoll(value, NULL, 10); /* a date reads as 0: we wait as long as without it */
            retry_after_ms = seconds > 0 ? (seconds < RETRY_AFTER_MAX_MS / 1000 ? seconds * 1000 : RETRY_AFTER_MAX_MS) : 0;
        }
    }
    w->client->ended++;
    w->done(w->ctx, rc, &why, retry_after_ms);
    call_free(w);
}

static int make_headers(struct webhook_call *w, const struct webhook *hook, const char **headers, size_t *count, struct err *e)
{
    int64_t seconds = clock_wall_ms() / 1000;
    char signature[64];
    (void)snprintf(w->lines[0], sizeof w->lines[0], "Content-Type: application/json");
    (void)snprintf(w->lines[1], sizeof w->lines[1], "webhook-id: %.200s", hook->event_id);
    (void)snprintf(w->lines[2], sizeof w->lines[2], "webhook-timestamp: %lld", (long long)seconds);
    *count = 3;
    if (hook->secret[0]) {
        int rc = webhook_sign(hook->secret, hook->event_id, seconds, hook->body, signature, e);
        if (rc != 0) {
            return rc;
        }
        (void)snprintf(w->lines[3], sizeof w->lines[3], "webhook-signature: %s", signature);
        *count = 4;
    }
    for (size_t i = 0; i < *count; i++) {
        headers[i] = w->lines[i];
    }
    return 0;
}

int webhook_begin(struct aws_client *c, const struct webhook *hook, webhook_done done, void *ctx, struct err *e)
{
    const char *headers[HEADERS];
    size_t count = 0;
    struct webhook_call *w = calloc(1, sizeof *w);
    if (!w) {
        return err_set(e, ERR_MEMORY, 0, "no memory for an event");
    }
    w->client = c;
    w->done = done;
    w->ctx = ctx;
    w->next = c->first_webhook;
    if (w->next) {
        w->next->previous = w;
    }
    c->first_webhook = w;
    w->body = strdup(hook->body);
    int rc = w->body ? make_headers(w, hook, headers, &count, e) : err_set(e, ERR_MEMORY, 0, "no memory for an event");
    if (rc == 0) {
        struct http_request q = {.method = "POST",
                                 .url = hook->url,
                                 .headers = headers,
                                 .header_count = count,
                                 .body = w->body,
                                 .body_bytes = strlen(w->body),
                                 .body_fd = -1,
                                 .response_max = RESPONSE_MAX,
                                 .cut_is_fine = true,
                                 .total_ms = hook->limit_ms};
        rc = http_begin(c->http, &q, on_response, w, e);
    }
    if (rc != 0) {
        call_free(w);
    }
    return rc;
}
