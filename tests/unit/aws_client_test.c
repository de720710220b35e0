/* The AWS client against a scripted server on loopback: what goes over the wire, and what becomes of every odd answer, one attempt each (retry_test.c has the
 * others). The server gives the answers of a script in the order in which requests arrive (scripted_server.h). */
#include "common/aws/medical_imaging.h"
#include "common/aws/s3/s3.h"
#include "common/aws/request/sigv4.h"
#include "common/runtime/runtime.h"
#include "common/spool/spool.h"
#include "tests/unit/client_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

static char home[64];
static char file_path[96];

/* ---- the client ------------------------------------------------------------------------------------------------------------------- */

static struct fixture open_client(void)
{
    return fixture_open(home, "dicom_bucket = images\naws_session_token = sessiontoken\naws_max_attempts = 1\n", "", NULL);
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

/* Puts `bytes` of the test file and waits for the end. */
static struct outcome put(struct aws_client *c, int64_t bytes)
{
    struct outcome o = {0};
    struct err e;
    int fd = open(file_path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    char *content = malloc((size_t)bytes + 1);
    assert_non_null(content);
    ssize_t got = pread(fd, content, (size_t)bytes, 0);
    struct s3_put p = {.bucket = NULL, .key = "storescp/b1/i 1.dcm", .fd = fd, .bytes = bytes, .crc32c = crc32c_update(0, content, (size_t)got)};
    assert_int_equal(s3_put_begin(c, &p, on_done, &o, &e), 0);
    assert_int_equal(aws_client_busy(c), 1);
    for (int i = 0; i < 100 && o.count == 0; i++) {
        (void)aws_client_run(c, 100, NULL, 0);
    }
    assert_int_equal(o.count, 1);
    assert_int_equal(aws_client_busy(c), 0);
    (void)close(fd);
    free(content);
    return o;
}

static void has(const char *head, const char *part)
{
    if (!strcasestr(head, part)) {
        print_error("\"%s\" is not in:\n%s\n", part, head);
    }
    assert_non_null(strcasestr(head, part));
}

#define SERVE(script) serve(script, sizeof script / sizeof script[0])
static const char ok[] = "HTTP/1.1 200 OK\r\nETag: \"e1\"\r\nx-amz-request-id: R1\r\n\r\n";

static void a_put_on_the_wire(void **unused)
{
    static const struct answer script[] = {{ANSWER, ok, 0}};
    char sha[65];
    char line[120];
    (void)unused;
    SERVE(script);
    struct fixture f = open_client();
    struct outcome o = put(f.client, 300000);
    const char *head = server.heads[0];
    assert_int_equal(o.result.rc, 0);
    assert_string_equal(o.result.etag, "e1");
    assert_string_equal(o.result.request_id, "R1");
    assert_int_equal(strncmp(head, "PUT /images/storescp/b1/i%201.dcm HTTP/1.1\r\n", 44), 0);
    assert_int_equal(server.body_bytes[0], 300000);
    char *content = malloc(300000);
    int fd = open(file_path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, content, 300000, 0), 300000);
    sigv4_sha256_hex(content, 300000, sha);
    assert_string_equal(o.result.sha256, sha);
    (void)snprintf(line, sizeof line, "\r\nx-amz-content-sha256: %s\r\n", sha);
    has(head, line);
    uint32_t crc = crc32c_update(0, content, 300000);
    free(content);
    (void)close(fd);
    const char *sent = strcasestr(head, "x-amz-checksum-crc32c: ");
    assert_non_null(sent);
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint64_t bits = 0;
    for (int i = 0; i < 6; i++) {
        bits = bits << 6 | (uint64_t)(strchr(alphabet, sent[23 + i]) - alphabet);
    }
    assert_int_equal((uint32_t)(bits >> 4), crc); /* 6 characters are 36 bits: 32 and 4 of padding */
    has(head, "\r\nContent-Type: application/dicom\r\n");
    has(head, "\r\nContent-Length: 300000\r\n");
    has(head, "\r\nx-amz-security-token: sessiontoken\r\n");
    has(head, "SignedHeaders=content-type;host;if-none-match;x-amz-checksum-crc32c;x-amz-content-sha256;x-amz-date;x-amz-security-token, Signature=");
    has(head, "/us-east-1/s3/aws4_request");
    assert_null(strcasestr(head, "expect:"));
    assert_null(strcasestr(head, "transfer-encoding"));
    assert_null(strstr(head, "verysecretkey"));
    close_client(&f);
}

static void answers_and_their_meaning(void **unused)
{
    static const struct {
        struct answer answer;
        int code;
        const char *text; /* stands in the error */
    } cases[] = {
        {{ANSWER, "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nx-amz-checksum-crc32c: AAAAAA==\r\n\r\n", 0}, ERR_AWS_CHECKSUM, "AAAAAA=="},
        /* not S3, although it says 200: a proxy's page */
        {{ANSWER, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>please accept our terms</html>", 0}, ERR_NETWORK, "a proxy in between?"},
        {{ANSWER, "HTTP/1.1 200 OK\r\nETag: \"page\"\r\n\r\n<html>", 0}, ERR_NETWORK, "a proxy in between?"},
        {{ANSWER, "HTTP/1.1 503 Slow Down\r\nx-amz-request-id: R9\r\n\r\n<Error><Code>SlowDown</Code><Message>Reduce</Message></Error>", 0},
         ERR_AWS_THROTTLED, "503 SlowDown: Reduce (request R9)"},
        {{ANSWER, "HTTP/1.1 400 Bad Request\r\n\r\n<Error><Code>BadDigest</Code></Error>", 0}, ERR_AWS_CHECKSUM, "BadDigest"},
        {{ANSWER, "HTTP/1.1 403 Forbidden\r\n\r\n<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>", 0}, ERR_AWS_CREDENTIALS,
         "check the keys"},
        {{ANSWER, "HTTP/1.1 404 Not Found\r\n\r\n<Error><Code>NoSuchBucket</Code></Error>", 0}, ERR_AWS_NOT_FOUND, "NoSuchBucket"},
        {{ANSWER, "HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nx-amz-bucket-region: eu-west-2\r\n\r\n<Error><Code>PermanentRedirect</Code></Error>", 0},
         ERR_AWS_REGION, "aws_region = eu-west-2"},
        {{ANSWER, "HTTP/1.1 400 Bad Request\r\n\r\n<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>", 0},
         ERR_AWS_REGION, "aws_region = eu-west-1"},
        {{ANSWER, "HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", 0}, ERR_AWS_SERVER, "502 without an error code"},
        {{ANSWER, "HTTP/1.1 400 Bad Request\r\n\r\n<html>a proxy</html>", 0}, ERR_PROTOCOL, "400"},
        {{CLOSE_WITHOUT_ANSWER, "", 0}, ERR_NETWORK, "127.0.0.1"},
        {{SAY_NOTHING, "", 0}, ERR_TIMEOUT, "no progress"},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        serve(&cases[i].answer, 1);
        struct fixture f = open_client();
        struct outcome o = put(f.client, 5000);
        if (o.result.rc != cases[i].code || !strstr(o.result.why.text, cases[i].text)) {
            print_error("case %zu: %s %s\n", i, err_name(o.result.rc), o.result.why.text);
        }
        assert_int_equal(o.result.rc, cases[i].code);
        assert_int_equal(o.result.why.code, cases[i].code);
        assert_non_null(strstr(o.result.why.text, cases[i].text));
        assert_null(strstr(o.result.why.text, "verysecretkey"));
        assert_int_equal(server.request_count, 1); /* no redirect followed, nothing repeated */
        close_client(&f);
    }
}

static void a_dead_kept_connection_is_tried_once_more(void **unused)
{
    static const struct answer script[] = {{ANSWER, ok, 0}, {CLOSE_WITHOUT_ANSWER, "", 0}, {ANSWER, ok, 0}};
    (void)unused;
    SERVE(script);
    struct fixture f = open_client();
    assert_int_equal(put(f.client, 2000).result.rc, 0);
    assert_int_equal(put(f.client, 200000).result.rc, 0);
    assert_int_equal(server.request_count, 3);
    assert_int_equal(server.body_bytes[2], 200000); /* whole, from the start */
    assert_int_equal(server.connection_count, 2);
    close_client(&f);
}

static void a_wrong_clock_is_corrected_by_the_answer(void **unused)
{
    static const char skewed[] = "HTTP/1.1 403 Forbidden\r\n\r\n<Error><Code>RequestTimeTooSkewed</Code></Error>";
    static const struct answer script[] = {{ANSWER, skewed, 3600}, {ANSWER, ok, 3600}, {ANSWER, ok, 3600}, {ANSWER, skewed, 3600}};
    char expected[40];
    struct tm parts;
    (void)unused;
    SERVE(script);
    struct fixture f = open_client();
    assert_int_equal(put(f.client, 2000).result.rc, 0);
    assert_int_equal(server.request_count, 2);
    int64_t offset = aws_client_clock_offset_ms(f.client);
    assert_true(offset > 3597000 && offset < 3603000);
    time_t there = time(NULL) + 3600;
    (void)gmtime_r(&there, &parts);
    (void)strftime(expected, sizeof expected, "\r\nx-amz-date: %Y%m%dT%H", &parts);
    has(server.heads[1], expected);
    /* later requests are right at once; a refusal that the clock cannot explain is not repeated */
    assert_int_equal(put(f.client, 2000).result.rc, 0);
    assert_int_equal(put(f.client, 2000).result.rc, ERR_AWS_CLOCK);
    assert_int_equal(server.request_count, 4);
    close_client(&f);
}

static void a_file_that_became_shorter(void **unused)
{
    static const struct answer script[] = {{ANSWER, ok, 0}};
    (void)unused;
    SERVE(script);
    struct fixture f = open_client();
    struct outcome o = put(f.client, INT64_C(1) << 21); /* the file has 1 MiB */
    assert_int_equal(o.result.rc, ERR_SPOOL_DAMAGED);
    assert_string_equal(o.result.sha256, "");
    assert_int_equal(server.request_count, 0);
    struct s3_put p = {.key = "k", .fd = 0, .bytes = (INT64_C(5) << 30) + 1};
    struct err e;
    assert_int_equal(s3_put_begin(f.client, &p, on_done, &o, &e), ERR_TOO_LARGE);
    close_client(&f);
}

static void objects_are_read(void **unused)
{
    static const struct answer script[] = {
        {ANSWER, "HTTP/1.1 206 Partial\r\n\r\nABCDE", 0},
        {ANSWER, "HTTP/1.1 200 OK\r\n\r\n0123456789012345", 0},
        {ANSWER, "HTTP/1.1 200 OK\r\n\r\n0123456789012345", 0},
        {ANSWER, "HTTP/1.1 416 Range\r\n\r\n<Error><Code>InvalidRange</Code></Error>", 0},
        {ANSWER, "HTTP/1.1 404 Not Found\r\n\r\n<Error><Code>NoSuchKey</Code></Error>", 0},
        {ANSWER, "HTTP/1.1 200 OK\r\nContent-Length: 77\r\nETag: \"h\"\r\nx-amz-checksum-crc32c: wdBDMA==\r\n\r\n", 0},
        {ANSWER, "HTTP/1.1 404 Not Found\r\n\r\n", 0},
        {ANSWER, "HTTP/1.1 400 Bad Request\r\nx-amz-bucket-region: eu-west-2\r\n\r\n", 0},
        {ANSWER, "HTTP/1.1 400 Bad Request\r\nx-amz-bucket-region: us-east-1\r\n\r\n", 0},
    };
    char *body = NULL;
    size_t size = 99;
    struct s3_head head;
    struct err e;
    (void)unused;
    SERVE(script);
    struct fixture f = open_client();
    assert_int_equal(s3_get(f.client, "other-bucket", "k", 10, 5, &body, &size, &e), 0);
    assert_int_equal(size, 5);
    assert_string_equal(body, "ABCDE");
    free(body);
    has(server.heads[0], "GET /other-bucket/k HTTP/1.1\r\n");
    has(server.heads[0], "\r\nRange: bytes=10-14\r\n");
    assert_int_equal(s3_get(f.client, NULL, "k", 0, 10, &body, &size, &e), 0); /* a longer answer is cut */
    assert_int_equal(size, 10);
    assert_string_equal(body, "0123456789");
    free(body);
    assert_int_equal(s3_get(f.client, NULL, "k", 4, 10, &body, &size, &e), ERR_PROTOCOL); /* the range was ignored: these are other bytes */
    assert_int_equal(s3_get(f.client, NULL, "k", 16, 10, &body, &size, &e), 0);
    assert_int_equal(size, 0);
    assert_string_equal(body, "");
    free(body);
    assert_int_equal(s3_get(f.client, NULL, "k", 0, 10, &body, &size, &e), ERR_AWS_NOT_FOUND);
    assert_int_equal(s3_head(f.client, NULL, "k", &head, &e), 0);
    assert_int_equal(head.bytes, 77);
    assert_string_equal(head.etag, "h");
    assert_true(head.has_crc32c);
    assert_int_equal(head.crc32c, 0xc1d04330);
    has(server.heads[5], "\r\nx-amz-checksum-mode: ENABLED\r\n");
    assert_int_equal(s3_head(f.client, NULL, "k", &head, &e), ERR_AWS_NOT_FOUND);
    assert_int_equal(s3_head(f.client, NULL, "k", &head, &e), ERR_AWS_REGION); /* no body says so */
    has(e.text, "set aws_region = eu-west-2");
    assert_int_equal(s3_head(f.client, NULL, "k", &head, &e), ERR_PROTOCOL);
    close_client(&f);
}

static int count_key(void *ctx, const char *key, int64_t bytes)
{
    (void)key;
    *(int64_t *)ctx += bytes;
    return 0;
}

static void listings_go_on_to_the_next_page(void **unused)
{
    static const struct answer script[] = {
        {ANSWER, "HTTP/1.1 200 OK\r\n\r\n<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>a+/=</NextContinuationToken>"
                 "<Contents><Key>p/1</Key><Size>5</Size></Contents></ListBucketResult>", 0},
        {ANSWER, "HTTP/1.1 200 OK\r\n\r\n<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>p/2</Key><Size>7</Size></Contents></ListBucketResult>", 0},
    };
    int64_t sum = 0;
    struct err e;
    (void)unused;
    SERVE(script);
    struct fixture f = open_client();
    assert_int_equal(s3_list(f.client, NULL, "p/", count_key, &sum, &e), 0);
    assert_int_equal(sum, 12);
    has(server.heads[0], "GET /images?list-type=2&encoding-type=url&prefix=p%2F HTTP/1.1");
    has(server.heads[1], "&continuation-token=a%2B%2F%3D HTTP/1.1");
    close_client(&f);
}

static int count_job(void *ctx, const struct ahi_job *job)
{
    assert_true(job->job_id[0] != '\0');
    return ++*(int *)ctx == 10 ? 5 : 0;
}

static void import_jobs(void **unused)
{
    static const struct answer script[] = {
        {ANSWER, "HTTP/1.1 200 OK\r\n\r\n{\"datastoreId\":\"d1\",\"jobId\":\"j1\",\"jobStatus\":\"SUBMITTED\",\"submittedAt\":1700000000.123}", 0},
        {ANSWER, "HTTP/1.1 200 OK\r\n\r\n{\"jobProperties\":{\"jobId\":\"j1\",\"jobName\":\"n\",\"jobStatus\":\"COMPLETED\",\"datastoreId\":\"d1\",\"endedAt\":1.7E9,"
                 "\"inputS3Uri\":\"s3://b/in/\",\"outputS3Uri\":\"s3://b/out/d1-DicomImport-j1/\",\"message\":\"m\"}}", 0},
        {ANSWER, "HTTP/1.1 200 OK\r\n\r\n{\"jobSummaries\":[{\"jobId\":\"a\",\"jobStatus\":\"FAILED\"}],\"nextToken\":\"t=1\"}", 0},
        {ANSWER, "HTTP/1.1 200 OK\r\n\r\n{\"jobSummaries\":[{\"jobId\":\"b\",\"jobStatus\":\"FAILED\"}],\"nextToken\":null}", 0},
        {ANSWER, "HTTP/1.1 429 Too Many\r\nx-amzn-errortype: ThrottlingException:http://x/\r\nx-amzn-requestid: Q\r\n\r\n{\"message\":\"slow\"}", 0},
        {ANSWER, "HTTP/1.1 402 Payment\r\n\r\n{\"__type\":\"x#ServiceQuotaExceededException\",\"message\":\"100\"}", 0},
        {ANSWER, "HTTP/1.1 200 OK\r\n\r\nnot json", 0},
        {ANSWER, "HTTP/1.1 200 OK\r\n\r\n{}", 0},
        {ANSWER, "HTTP/1.1 200 OK\r\n\r\n{\"datastoreProperties\":{\"datastoreStatus\":\"ACTIVE\"}}", 0},
    };
    static const struct ahi_start start = {"d1", "token-1", "batch/1", "arn:aws:iam::1:role/r", "s3://b/in/", "s3://b/out/"};
    struct ahi_job job;
    struct err e;
    char status[24];
    int count = 0;
    (void)unused;
    SERVE(script);
    struct fixture f = open_client();
    assert_int_equal(ahi_start_job(f.client, &start, &job, &e), 0);
    assert_string_equal(job.job_id, "j1");
    assert_string_equal(job.status, "SUBMITTED");
    assert_int_equal(job.submitted_ms, 1700000000123);
    has(server.heads[0], "POST /startDICOMImportJob/datastore/d1 HTTP/1.1");
    has(server.heads[0], "\r\nContent-Type: application/json\r\n");
    has(server.heads[0], "/us-east-1/medical-imaging/aws4_request");
    assert_string_equal(server.bodies[0], "{\"jobName\":\"batch/1\",\"dataAccessRoleArn\":\"arn:aws:iam::1:role/r\",\"clientToken\":\"token-1\","
                                          "\"inputS3Uri\":\"s3://b/in/\",\"outputS3Uri\":\"s3://b/out/\"}");
    assert_int_equal(ahi_get_job(f.client, "d1", "j1", &job, &e), 0);
    has(server.heads[1], "GET /getDICOMImportJob/datastore/d1/job/j1 HTTP/1.1");
    assert_string_equal(job.output_s3_uri, "s3://b/out/d1-DicomImport-j1/");
    assert_string_equal(job.message, "m");
    assert_int_equal(job.ended_ms, 1700000000000);
    assert_int_equal(ahi_each_job(f.client, "d1", "FAILED", count_job, &count, &e), 0);
    assert_int_equal(count, 2);
    has(server.heads[2], "GET /listDICOMImportJobs/datastore/d1?maxResults=50&jobStatus=FAILED HTTP/1.1");
    has(server.heads[3], "&nextToken=t%3D1 HTTP/1.1");
    assert_int_equal(ahi_get_job(f.client, "d1", "j1", &job, &e), ERR_AWS_THROTTLED);
    has(e.text, "HealthImaging GetDICOMImportJob: 429 ThrottlingException: slow (request Q)");
    assert_int_equal(ahi_start_job(f.client, &start, &job, &e), ERR_AWS_QUOTA);
    assert_int_equal(ahi_get_job(f.client, "d1", "j1", &job, &e), ERR_PROTOCOL);
    assert_int_equal(ahi_get_job(f.client, "d1", "j1", &job, &e), ERR_PROTOCOL);
    assert_int_equal(ahi_datastore_status(f.client, "d1", status, &e), 0);
    assert_string_equal(status, "ACTIVE");
    close_client(&f);
}

static void transfers_go_on_during_a_blocking_call(void **unused)
{
    static const struct answer script[] = {{ANSWER, ok, 0}, {ANSWER, ok, 0}, {ANSWER, ok, 0}, {ANSWER, ok, 0}, {ANSWER, ok, 0}};
    struct outcome o[4] = {0};
    struct err e;
    char *body;
    size_t size;
    (void)unused;
    SERVE(script);
    struct fixture f = open_client();
    int fd = open(file_path, O_RDONLY | O_CLOEXEC);
    for (int i = 0; i < 4; i++) {
        struct s3_put p = {.key = "k", .fd = fd, .bytes = 1 << 20};
        assert_int_equal(s3_put_begin(f.client, &p, on_done, &o[i], &e), 0);
    }
    assert_int_equal(aws_client_busy(f.client), 4);
    assert_int_equal(s3_get(f.client, NULL, "k", 0, 10, &body, &size, &e), 0);
    free(body);
    for (int i = 0; i < 50 && aws_client_run(f.client, 100, NULL, 0) > 0; i++) {
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(o[i].count, 1);
        assert_int_equal(o[i].result.rc, 0);
    }
    /* closing ends what is under way without done() */
    struct s3_put p = {.key = "k", .fd = fd, .bytes = 1 << 20};
    assert_int_equal(s3_put_begin(f.client, &p, on_done, &o[0], &e), 0);
    assert_int_equal(s3_put_begin(f.client, &p, on_done, &o[0], &e), 0);
    (void)aws_client_run(f.client, 0, NULL, 0);
    close_client(&f);
    assert_int_equal(o[0].count, 1);
    (void)close(fd);
}

/* Guards a bug: files were hashed one after the other, and 512 KiB waited 4.7 s behind 1.5 GB. */
static void a_small_file_does_not_wait_behind_a_large_one(void **unused)
{
    static const struct answer script[] = {{ANSWER, ok, 0}, {ANSWER, ok, 0}};
    struct outcome large = {0};
    struct outcome small = {0};
    struct err e;
    char path[96];
    (void)unused;
    SERVE(script);
    struct fixture f = open_client();
    (void)snprintf(path, sizeof path, "%s/large", home);
    int big = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(big, 300 << 20), 0); /* a hole: nothing on disk */
    int fd = open(file_path, O_RDONLY | O_CLOEXEC);
    struct s3_put p = {.key = "large", .fd = big, .bytes = 300 << 20};
    assert_int_equal(s3_put_begin(f.client, &p, on_done, &large, &e), 0);
    p = (struct s3_put){.key = "small", .fd = fd, .bytes = 1 << 20};
    assert_int_equal(s3_put_begin(f.client, &p, on_done, &small, &e), 0);
    for (int i = 0; i < 600 && large.count == 0; i++) {
        (void)aws_client_run(f.client, 100, NULL, 0);
        assert_true(small.count == 1 || large.count == 0);
    }
    assert_int_equal(small.count, 1);
    assert_int_equal(large.result.rc, 0);
    assert_true(small.result.hash_ms <= large.result.hash_ms / 4 + 20);
    has(server.heads[0], "PUT /images/small");
    assert_int_equal(server.body_bytes[1], 300 << 20);
    (void)close(fd);
    (void)close(big);
    (void)unlink(path);
    close_client(&f);
}

static void an_extra_descriptor_ends_the_wait(void **unused)
{
    int ends[2];
    (void)unused;
    serve(NULL, 0);
    struct fixture f = open_client();
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    int64_t begun = clock_mono_ms();
    assert_int_equal(aws_client_run(f.client, 50, ends, 1), 0);
    assert_true(clock_mono_ms() - begun >= 45);
    assert_int_equal(write(ends[1], "x", 1), 1);
    begun = clock_mono_ms();
    assert_int_equal(aws_client_run(f.client, 5000, ends, 1), 0);
    assert_true(clock_mono_ms() - begun < 2000);
    (void)close(ends[0]);
    (void)close(ends[1]);
    close_client(&f);
}

static int set_up(void **unused)
{
    (void)unused;
    extern char **environ;
    for (char **v = environ; *v;) { /* the environment wins over the file: nothing of the caller's may be in it */
        char name[80];
        (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(*v, "="), *v);
        if (strncmp(name, "AWS_", 4) == 0 || strncmp(name, "STORESCP_", 9) == 0 || strcasestr(name, "_proxy") || strcmp(name, "DICOM_BUCKET") == 0) {
            (void)unsetenv(name);
            v = environ;
        } else {
            v++;
        }
    }
    (void)snprintf(home, sizeof home, "/tmp/storescp-client.XXXXXX");
    if (!mkdtemp(home)) {
        return -1;
    }
    (void)snprintf(file_path, sizeof file_path, "%s/file", home);
    FILE *f = fopen(file_path, "we");
    for (uint32_t i = 0; f && i < (1 << 18); i++) {
        uint32_t word = i * 2654435761u;
        (void)fwrite(&word, sizeof word, 1, f);
    }
    return f ? fclose(f) : -1;
}

static int tear_down(void **unused)
{
    (void)unused;
    char path[96];
    (void)snprintf(path, sizeof path, "%s/storescp.conf", home);
    (void)unlink(path);
    (void)unlink(file_path);
    return rmdir(home);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_put_on_the_wire),
        cmocka_unit_test(answers_and_their_meaning),
        cmocka_unit_test(a_dead_kept_connection_is_tried_once_more),
        cmocka_unit_test(a_wrong_clock_is_corrected_by_the_answer),
        cmocka_unit_test(a_file_that_became_shorter),
        cmocka_unit_test(objects_are_read),
        cmocka_unit_test(listings_go_on_to_the_next_page),
        cmocka_unit_test(import_jobs),
        cmocka_unit_test(transfers_go_on_during_a_blocking_call),
        cmocka_unit_test(a_small_file_does_not_wait_behind_a_large_one),
        cmocka_unit_test(an_extra_descriptor_ends_the_wait),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
