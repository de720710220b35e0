/*
 * answers_fuzz - libFuzzer on what AWS's answers are read with: S3 errors and listings (XML), HealthImaging errors (JSON), error codes; and on
 * endpoints and S3 URIs. Beside the sanitizers it demands texts that end and are printable, keys within S3's limits, no size below 0, codes of the
 * contract. The first byte chooses the reader.
 */
#include "common/aws/bodies.h"
#include "common/aws/request/endpoint.h"
#include "common/aws/request/errors.h"
#include "common/aws/s3/s3.h"

#include <stdlib.h>
#include <string.h>

static void demand(bool truth)
{
    if (!truth) {
        abort();
    }
}

static void check_text(const char *text, size_t size)
{
    size_t n = strnlen(text, size);
    demand(n < size);
    for (size_t i = 0; i < n; i++) {
        demand((unsigned char)text[i] >= 0x20 && text[i] != 0x7f && text[i] != '"');
    }
}

static void check_error(const struct error_body *b)
{
    char plain[80];
    check_text(b->code, sizeof b->code);
    check_text(b->message, sizeof b->message);
    check_text(b->region, sizeof b->region);
    aws_error_plain_code(b->code, plain, sizeof plain);
    demand(strlen(plain) <= strlen(b->code));
    for (long status = 200; status < 600; status += 33) {
        int code = aws_error_code(status, b->code);
        demand(code == 0 ? status < 300 && !plain[0] : strcmp(err_name(code), "UNKNOWN") != 0);
    }
}

static int on_key(void *ctx, const char *key, int64_t bytes)
{
    size_t *count = ctx;
    demand(key[0] && strlen(key) <= 1024 && bytes >= 0);
    return ++*count == 7 ? 99 : 0;
}

static void page(const char *text, size_t size)
{
    struct s3_page p;
    size_t count = 0;
    int rc = s3_page_read(text, size, &p, on_key, &count, NULL);
    demand(rc == 0 || rc == ERR_PROTOCOL || (rc == 99 && count == 7));
    demand(strnlen(p.next_token, sizeof p.next_token) < sizeof p.next_token);
    demand(rc != 0 || !p.truncated || p.next_token[0]);
}

static void address(const char *text)
{
    struct endpoint e;
    struct endpoint_place place;
    char bucket[64];
    char key[1025];
    if (endpoint_parse(text, &e, NULL) == 0) {
        check_text(e.host, sizeof e.host);
        demand(e.host[0] && !strpbrk(e.host, "/@ ?#"));
        demand(e.base[0] == '\0' || (e.base[0] == '/' && e.base[strlen(e.base) - 1] != '/'));
    }
    if (s3_uri_split(text, bucket, sizeof bucket, key, sizeof key) == 0) {
        demand(bucket[0] && !strchr(bucket, '/'));
        if (endpoint_resolve(AWS_S3, &(struct endpoint_wish){.region = "us-east-1"}, &e, NULL) == 0 && endpoint_s3_place(&e, false, bucket, key, &place, NULL) == 0) {
            demand(place.path[0] == '/' && !strpbrk(place.path, " ?#\"\r\n") && !strpbrk(place.host, "/ ?#@"));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count)
{
    struct error_body b;
    if (count == 0) {
        return 0;
    }
    char *exact = malloc(count); /* one byte less than the input, and a NUL behind only for what reads texts */
    demand(exact != NULL);
    memcpy(exact, data + 1, count - 1);
    exact[count - 1] = '\0';
    switch (data[0] % 4) {
    case 0:
        error_body_xml(exact, count - 1, &b);
        check_error(&b);
        break;
    case 1:
        error_body_json(exact, count - 1, &b);
        check_error(&b);
        break;
    case 2:
        page(exact, count - 1);
        break;
    default:
        address(exact);
        break;
    }
    free(exact);
    return 0;
}
