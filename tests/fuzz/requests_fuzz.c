/*
 * requests_fuzz - libFuzzer on what the stand-in reads of requests without a server: aws-chunked bodies, percent-encoding, base64. Beside the
 * sanitizers it demands the same outcome and the same bytes however a body is cut into pieces.
 */
#include "compose/local-aws/chunked.h"
#include "compose/local-aws/text.h"

#include <stdlib.h>
#include <string.h>

struct seen {
    struct text data, trailers;
    int chunks;
};

static void demand(bool truth)
{
    if (!truth) {
        abort();
    }
}

static int see_data(void *ctx, const char *bytes, size_t count)
{
    demand(count > 0);
    text_add_bytes(&((struct seen *)ctx)->data, bytes, count);
    return 0;
}

static int see_chunk(void *ctx, const char *signature)
{
    demand(signature[0] == '\0' || strlen(signature) == 64);
    return ++((struct seen *)ctx)->chunks == 50 ? -7 : 0;
}

static int see_trailer(void *ctx, const char *name, const char *value)
{
    demand(name[0] != '\0');
    text_addf(&((struct seen *)ctx)->trailers, "%s\n%s\n", name, value);
    return 0;
}

static int read_body(const char *bytes, size_t count, size_t step, struct seen *s, bool *done)
{
    struct chunked c;
    const struct chunked_events events = {s, see_data, see_chunk, see_trailer};
    int rc = 0;
    chunked_init(&c, &events);
    for (size_t at = 0; at < count; at += step) {
        rc = chunked_feed(&c, bytes + at, at + step < count ? step : count - at);
    }
    *done = chunked_is_done(&c);
    demand(!*done || (rc == 0 && c.decoded == (int64_t)s->data.used));
    return rc;
}

static bool same(const struct text *a, const struct text *b)
{
    return a->used == b->used && (a->used == 0 || memcmp(a->bytes, b->bytes, a->used) == 0);
}

static void read_words(const char *bytes, size_t count)
{
    char out[600];
    unsigned char raw[40];
    struct text xml = {0};
    if (text_decode(bytes, count, count % 2, out, sizeof out)) {
        demand(strlen(out) < sizeof out);
        text_add_xml(&xml, out);
        demand(!xml.bytes || !strpbrk(xml.bytes, "<>\""));
        int n = text_base64_decode(out, raw, sizeof raw);
        demand(n <= (int)sizeof raw);
    }
    text_clear(&xml);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen whole = {0};
    struct seen pieces = {0};
    bool done[2];
    if (size == 0) {
        return 0;
    }
    const char *body = (const char *)data + 1;
    int rc = read_body(body, size - 1, size, &whole, &done[0]);
    demand(read_body(body, size - 1, 1 + data[0] % 40, &pieces, &done[1]) == rc && done[0] == done[1]);
    demand(same(&whole.data, &pieces.data) && same(&whole.trailers, &pieces.trailers) && whole.chunks == pieces.chunks);
    text_clear(&whole.data);
    text_clear(&whole.trailers);
    text_clear(&pieces.data);
    text_clear(&pieces.trailers);
    read_words(body, size - 1);
    return 0;
}
