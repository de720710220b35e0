/* Attempts within one call: the published formula as numbers, and the client against a scripted server: what is sent again, how often, after how long, and
 * that everything else goes on meanwhile. */
#include "common/aws/internal.h"
#include "common/aws/medical_imaging.h"
#include "common/aws/request/retry.h"
#include "common/aws/s3/s3.h"
#include "common/runtime/crc32c.h"
#include "common/runtime/runtime.h"
#include "tests/unit/client_fixture.h"

#include <fcntl.h>
#include <stdlib.h>

enum { FILE_BYTES = 200000 };

static char home[64];
static int file_fd = -1;
static uint32_t file_crc;

#define SERVE(script) serve(script, sizeof script / sizeof script[0])
static const char ok[] = "HTTP/1.1 200 OK\r\nETag: \"e1\"\r\nx-amz-request-id: R1\r\n\r\nhello";
static const char away[] = "HTTP/1.1 500 Oops\r\nx-amz-request-id: R2\r\n\r\n<Error><Code>InternalError</Code></Error>";
static const char slow[] = "HTTP/1.1 503 Slow Down\r\n\r\n<Error><Code>SlowDown</Code></Error>";

/* ---- the formula ---------------------------------------------------------------------------------------------------------------- */

static void delays(void **unused)
{
    static const struct {
        enum retry_kind kind;
        int attempt;
        uint32_t random;
        int64_t server_ms, wanted_ms;
    } cases[] = {
        {RETRY_TRANSIENT, 1, UINT32_MAX, -1, 50},    {RETRY_TRANSIENT, 2, UINT32_MAX, -1, 100},    {RETRY_TRANSIENT, 1, 0, -1, 0},
        {RETRY_THROTTLED, 1, UINT32_MAX, -1, 1000},  {RETRY_THROTTLED, 3, UINT32_MAX, -1, 4000},   {RETRY_THROTTLED, 1, UINT32_MAX / 2, -1, 499},
        {RETRY_THROTTLED, 9, UINT32_MAX, -1, 20000}, {RETRY_TRANSIENT, 1000, UINT32_MAX, -1, 20000}, /* never beyond 20 s */
        {RETRY_TRANSIENT, 1, UINT32_MAX, 700, 700},  {RETRY_TRANSIENT, 1, UINT32_MAX, 10, 50},     {RETRY_TRANSIENT, 1, UINT32_MAX, 600000, 5050},
        {RETRY_THROTTLED, 1, 0, 0, 0},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(retry_delay_ms(cases[i].kind, cases[i].attempt, cases[i].random, cases[i].server_ms), cases[i].wanted_ms);
    }
}

static void tokens(void **unused)
{
    struct retry_bucket b;
    int count = 0;
    (void)unused;
    retry_bucket_fill(&b);
    while (retry_take(&b, RETRY_TRANSIENT) == 14) {
        count++;
    }
    assert_int_equal(count, 35); /* 500 / 14 */
    assert_int_equal(b.tokens, 10);
    assert_int_equal(retry_take(&b, RETRY_THROTTLED), 5);
    assert_int_equal(retry_take(&b, RETRY_NOT), 0);
    retry_give_back(&b, 14);
    retry_give_back(&b, 0);
    assert_int_equal(b.tokens, 20);
    b.tokens = 495;
    retry_give_back(&b, 14);
    assert_int_equal(b.tokens, 500);
}

static void what_is_tried_again(void **unused)
{
    (void)unused;
    assert_int_equal(retry_kind_of(ERR_AWS_THROTTLED, false), RETRY_THROTTLED);
    assert_int_equal(retry_kind_of(ERR_AWS_SERVER, false), RETRY_TRANSIENT);
    assert_int_equal(retry_kind_of(ERR_NETWORK, false), RETRY_TRANSIENT);
    assert_int_equal(retry_kind_of(ERR_NETWORK, true), RETRY_NOT);
    assert_int_equal(retry_kind_of(ERR_TIMEOUT, true), RETRY_NOT);
    static const int never[] = {ERR_AWS_QUOTA, ERR_AWS_DENIED, ERR_AWS_CREDENTIALS, ERR_AWS_NOT_FOUND, ERR_AWS_REJECTED, ERR_AWS_CONFLICT,
                                ERR_AWS_REGION, ERR_CONFIG, ERR_SPOOL_DAMAGED, ERR_MEMORY, ERR_PROTOCOL};
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++) {
        assert_int_equal(retry_kind_of(never[i], false), RETRY_NOT);
    }
}

/* ---- the client ------------------------------------------------------------------------------------------------------------------- */

static struct fixture open_client(void)
{
    return fixture_open(home, "dicom_bucket = images\n", "", NULL);
}

static int get(struct aws_client *c, struct err *e)
{
    char *body = NULL;
    size_t size = 0;
    int rc = s3_get(c, NULL, "k", 0, 100, &body, &size, e);
    if (rc == 0) {
        assert_string_equal(body, "hello");
        free(body);
    }
    return rc;
}

struct outcome {
    int count;
    struct s3_put_result result;
};

static void on_done(void *ctx, const struct s3_put_result *result)
{
    struct outcome *o = ctx;
    o->count++;
    o->result = *result;
}

static void begin_put(struct aws_client *c, struct outcome *o)
{
    struct err e;
    struct s3_put p = {.key = "i1.dcm", .fd = file_fd, .bytes = FILE_BYTES, .crc32c = file_crc};
    memset(o, 0, sizeof *o);
    assert_int_equal(s3_put_begin(c, &p, on_done, o, &e), 0);
}

static void until_done(struct aws_client *c, struct outcome *o)
{
    for (int i = 0; i < 100 && o->count == 0; i++) {
        (void)aws_client_run(c, 100, NULL, 0);
    }
    assert_int_equal(o->count, 1);
    assert_int_equal(aws_client_busy(c), 0);
}

static void an_upload_is_sent_again_whole(void **unused)
{
    static const struct answer script[] = {
        {ANSWER_AND_CLOSE, "HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n<html>", 0}, {CLOSE_WITHOUT_ANSWER, "", 0}, {ANSWER, ok, 0}};
    struct outcome o;
    (void)unused;
    SERVE(script);
    struct fixture f = open_client();
    begin_put(f.client, &o);
    until_done(f.client, &o);
    assert_int_equal(o.result.rc, 0);
    assert_int_equal(server.request_count, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(server.body_bytes[i], FILE_BYTES);
        assert_memory_equal(server.bodies[i], server.bodies[0], 500);
    }
    assert_int_equal(f.client->bucket.tokens, 500 - 14 - 14 + 14); /* only the last repeat is given back */
    close_client(&f);
}

static void three_attempts_and_no_more(void **unused)
{
    static const struct answer script[] = {{ANSWER, away, 0}, {ANSWER, away, 0}, {ANSWER, away, 0}, {ANSWER, ok, 0}};
    struct err e = {0};
    (void)unused;
    SERVE(script);
    struct fixture f = open_client();
    assert_int_equal(get(f.client, &e), ERR_AWS_SERVER);
    assert_int_equal(server.request_count, 3);
    assert_non_null(strstr(e.text, "500 InternalError (request R2, attempt 3)"));
    close_client(&f);
}

/* The code counts before the status: a 500 that says "throttled" waits as long as throttling asks, and costs as little. */
static void throttling_waits_longer(void **unused)
{
    static const struct answer script[] = {
        {ANSWER, "HTTP/1.1 500 X\r\nx-amzn-errortype: ThrottlingException\r\nx-amz-retry-after: 300\r\n\r\n{}", 0},
        {ANSWER, "HTTP/1.1 200 OK\r\n\r\n{\"datastoreProperties\":{\"datastoreStatus\":\"ACTIVE\"}}", 0}};
    struct err e = {0};
    char status[24];
    (void)unused;
    SERVE(script);
    struct fixture f = open_client();
    f.client->bucket.tokens = 13; /* too few for any other repeat */
    int64_t begun = clock_mono_ms();
    assert_int_equal(ahi_datastore_status(f.client, "d1", status, &e), 0);
    int64_t took = clock_mono_ms() - begun;
    assert_true(took >= 295 && took < 1500); /* the hint, or a random part of a second if that is more */
    assert_int_equal(f.client->bucket.tokens, 13);
    close_client(&f);
}

static void without_tokens_there_is_one_attempt(void **unused)
{
    static const struct answer script[] = {{ANSWER, away, 0}, {ANSWER, slow, 0}, {ANSWER, ok, 0}};
    struct err e = {0};
    (void)unused;
    SERVE(script);
    struct fixture f = open_client();
    f.client->bucket.tokens = 4;
    assert_int_equal(get(f.client, &e), ERR_AWS_SERVER);
    assert_int_equal(get(f.client, &e), ERR_AWS_THROTTLED);
    assert_int_equal(f.client->bucket.tokens, 4);
    assert_int_equal(get(f.client, &e), 0);
    assert_int_equal(f.client->bucket.tokens, 5);
    assert_int_equal(server.request_count, 3);
    close_client(&f);
}

/* Nothing that has used up a time limit, and nothing that another attempt does not change. */
static void what_is_not_sent_again(void **unused)
{
    static const struct {
        struct answer answer;
        int code;
    } cases[] = {
        {{SAY_NOTHING, "", 0}, ERR_TIMEOUT},
        {{ANSWER, "HTTP/1.1 403 No\r\n\r\n<Error><Code>AccessDenied</Code></Error>", 0}, ERR_AWS_DENIED},
        {{ANSWER, "HTTP/1.1 404 No\r\n\r\n<Error><Code>NoSuchBucket</Code></Error>", 0}, ERR_AWS_NOT_FOUND},
        {{ANSWER, "HTTP/1.1 400 No\r\n\r\n<Error><Code>BadDigest</Code></Error>", 0}, ERR_AWS_CHECKSUM},
        {{ANSWER, "HTTP/1.1 412 No\r\n\r\n<Error><Code>PreconditionFailed</Code></Error>", 0}, ERR_AWS_CONFLICT},
        {{ANSWER, "HTTP/1.1 402 No\r\n\r\n", 0}, ERR_AWS_QUOTA},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct answer script[] = {cases[i].answer, {ANSWER, ok, 0}};
        struct err e = {0};
        SERVE(script);
        struct fixture f = open_client();
        assert_int_equal(get(f.client, &e), cases[i].code);
        assert_int_equal(server.request_count, 1);
        assert_int_equal(f.client->bucket.tokens, 500);
        close_client(&f);
    }
}

static void a_call_that_must_not_be_sent_twice(void **unused)
{
    static const struct answer script[] = {{ANSWER, ok, 0}, {CLOSE_WITHOUT_ANSWER, "", 0}, {ANSWER, away, 0}, {ANSWER, ok, 0}};
    static const int wanted[] = {0, ERR_NETWORK, ERR_AWS_SERVER};
    (void)unused;
    SERVE(script);
    struct fixture f = open_client();
    for (size_t i = 0; i < 3; i++) {
        struct aws_result r;
        struct err e = {0};
        struct aws_call *call = aws_call_new(f.client, AWS_SQS, "SendMessage", "POST");
        assert_non_null(call);
        call->no_repeat = true;
        (void)snprintf(call->place.path, sizeof call->place.path, "/queue");
        assert_int_equal(aws_call_blocking(f.client, call, &r, &e), wanted[i]);
        free(r.body);
    }
    assert_int_equal(server.request_count, 3);
    assert_int_equal(server.connection_count, 3); /* a kept connection may be dead, and libcurl would send it again */
    close_client(&f);
}

/* One waits a second or more for its second attempt; an upload and another call pass it. The waiting costs no processor time. */
static void others_go_on_while_one_waits(void **unused)
{
    static const struct answer script[] = {{ANSWER, "HTTP/1.1 503 Slow\r\nx-amz-retry-after: 1200\r\n\r\n<Error><Code>SlowDown</Code></Error>", 0},
                                           {ANSWER, ok, 0}, {ANSWER, ok, 0}, {ANSWER, ok, 0}};
    struct outcome first;
    struct outcome second;
    struct err e = {0};
    (void)unused;
    SERVE(script);
    struct fixture f = open_client();
    begin_put(f.client, &first);
    int64_t begun = clock_mono_ms();
    while (f.client->bucket.tokens == 500 && clock_mono_ms() - begun < 5000) {
        (void)aws_client_run(f.client, 10, NULL, 0);
    }
    assert_int_equal(server.request_count, 1);
    assert_int_equal(aws_client_busy(f.client), 1); /* waiting is being under way */
    begin_put(f.client, &second);
    assert_int_equal(get(f.client, &e), 0);
    while (second.count == 0) {
        (void)aws_client_run(f.client, 100, NULL, 0);
    }
    assert_int_equal(second.result.rc, 0);
    assert_int_equal(first.count, 0);
    clock_t used = clock();
    until_done(f.client, &first);
    used = clock() - used;
    assert_true(clock_mono_ms() - begun >= 1150);
    assert_true(used < CLOCKS_PER_SEC / 10);
    assert_int_equal(first.result.rc, 0);
    assert_int_equal(server.request_count, 4);
    close_client(&f);
}

static void closing_ends_what_waits(void **unused)
{
    static const struct answer script[] = {{ANSWER, "HTTP/1.1 503 Slow\r\nx-amz-retry-after: 4000\r\n\r\n<Error><Code>SlowDown</Code></Error>", 0}};
    struct outcome o;
    (void)unused;
    SERVE(script);
    struct fixture f = open_client();
    begin_put(f.client, &o);
    for (int i = 0; i < 200 && f.client->bucket.tokens == 500; i++) {
        (void)aws_client_run(f.client, 10, NULL, 0);
    }
    assert_int_equal(f.client->bucket.tokens, 495);
    close_client(&f);
    assert_int_equal(o.count, 0);
}

static int set_up(void **unused)
{
    (void)unused;
    static const char *const variables[] = {"AWS_REGION", "AWS_ENDPOINT_URL", "AWS_MAX_ATTEMPTS", "AWS_PROFILE", "AWS_SESSION_TOKEN", "http_proxy",
                                            "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"};
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        (void)unsetenv(variables[i]);
    }
    (void)setenv("HOME", "/nowhere", 1);
    (void)snprintf(home, sizeof home, "/tmp/storescp-retry.XXXXXX");
    if (!mkdtemp(home)) {
        return -1;
    }
    char path[96];
    (void)snprintf(path, sizeof path, "%s/file", home);
    char *content = malloc(FILE_BYTES);
    file_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (int i = 0; content && i < FILE_BYTES; i++) {
        content[i] = (char)('a' + i % 23);
    }
    bool fine = content && file_fd >= 0 && write(file_fd, content, FILE_BYTES) == FILE_BYTES && unlink(path) == 0;
    file_crc = fine ? crc32c_update(0, content, FILE_BYTES) : 0;
    free(content);
    return fine ? 0 : -1;
}

static int tear_down(void **unused)
{
    (void)unused;
    char path[96];
    (void)close(file_fd);
    (void)snprintf(path, sizeof path, "%s/storescp.conf", home);
    (void)unlink(path);
    return rmdir(home);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delays),
        cmocka_unit_test(tokens),
        cmocka_unit_test(what_is_tried_again),
        cmocka_unit_test(an_upload_is_sent_again_whole),
        cmocka_unit_test(three_attempts_and_no_more),
        cmocka_unit_test(throttling_waits_longer),
        cmocka_unit_test(without_tokens_there_is_one_attempt),
        cmocka_unit_test(what_is_not_sent_again),
        cmocka_unit_test(a_call_that_must_not_be_sent_twice),
        cmocka_unit_test(others_go_on_while_one_waits),
        cmocka_unit_test(closing_ends_what_waits),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
