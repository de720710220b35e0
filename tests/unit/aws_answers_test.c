/* What AWS's answers mean (errors), what stands in them (bodies: XML and JSON, honest and hostile), where requests go (endpoint, S3 URIs). */
#include "common/aws/bodies.h"
#include "common/aws/request/endpoint.h"
#include "common/aws/request/errors.h"
#include "common/aws/s3/s3.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

/* ---- errors ---------------------------------------------------------------------------------------------------------------- */

static void errors_by_code_then_status(void **unused)
{
    static const struct {
        long status;
        const char *code;
        int meaning;
    } cases[] = {
        {200, "", 0},
        {204, NULL, 0},
        {503, "SlowDown", ERR_AWS_THROTTLED},
        {400, "ThrottlingException", ERR_AWS_THROTTLED}, /* the status says "your fault", the code says "later" */
        {429, "ThrottlingException", ERR_AWS_THROTTLED},
        {429, "", ERR_AWS_THROTTLED},
        {402, "ServiceQuotaExceededException", ERR_AWS_QUOTA},
        {400, " ServiceQuotaExceededException", ERR_AWS_QUOTA},
        {500, "InternalServerException:http://internal.amazon.com/coral/", ERR_AWS_SERVER},
        {400, "com.amazonaws.medicalimaging#ValidationException", ERR_AWS_REJECTED},
        {500, "", ERR_AWS_SERVER},
        {502, "", ERR_AWS_SERVER},
        {503, "", ERR_AWS_SERVER},
        {400, "RequestTimeout", ERR_TIMEOUT},
        {409, "OperationAborted", ERR_AWS_CONFLICT},
        {409, "ConflictException", ERR_AWS_CONFLICT},
        {412, "PreconditionFailed", ERR_AWS_CONFLICT},
        {400, "BadDigest", ERR_AWS_CHECKSUM},
        {400, "XAmzContentSHA256Mismatch", ERR_AWS_CHECKSUM},
        {403, "RequestTimeTooSkewed", ERR_AWS_CLOCK},
        {400, "ExpiredToken", ERR_AWS_CREDENTIALS},
        {403, "ExpiredTokenException", ERR_AWS_CREDENTIALS},
        {403, "SignatureDoesNotMatch", ERR_AWS_CREDENTIALS},
        {403, "InvalidAccessKeyId", ERR_AWS_CREDENTIALS},
        {403, "UnrecognizedClientException", ERR_AWS_CREDENTIALS},
        {403, "AccessDenied", ERR_AWS_DENIED},
        {400, "KMS.DisabledException", ERR_AWS_KMS},
        {400, "KMS.ThrottlingException", ERR_AWS_THROTTLED},
        {403, "", ERR_AWS_DENIED},
        {404, "NoSuchBucket", ERR_AWS_NOT_FOUND},
        {404, "", ERR_AWS_NOT_FOUND},
        {301, "PermanentRedirect", ERR_AWS_REGION},
        {307, "", ERR_AWS_REGION},
        {400, "AuthorizationHeaderMalformed", ERR_AWS_REGION},
        {400, "EntityTooLarge", ERR_TOO_LARGE},
        {400, "InvalidArgument", ERR_AWS_REJECTED},
        {400, "SomethingNobodyKnowsYet", ERR_AWS_REJECTED},
        {501, "NotImplemented", ERR_AWS_REJECTED},
        {400, "", ERR_PROTOCOL}, /* no AWS code: a proxy's page is no reason to fail an image for good */
        {413, "", ERR_PROTOCOL},
        {418, NULL, ERR_PROTOCOL},
        {200, "InternalError", ERR_AWS_SERVER}, /* S3 can say 200 and an error inside */
    };
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (aws_error_code(cases[i].status, cases[i].code) != cases[i].meaning) {
            print_error("%ld %s\n", cases[i].status, cases[i].code ? cases[i].code : "-");
        }
        assert_int_equal(aws_error_code(cases[i].status, cases[i].code), cases[i].meaning);
    }
}

static void errors_that_one_more_try_may_heal(void **unused)
{
    (void)unused;
    assert_true(aws_error_may_be_clock(403, "RequestTimeTooSkewed"));
    assert_true(aws_error_may_be_clock(403, "SignatureDoesNotMatch"));
    assert_true(aws_error_may_be_clock(403, ""));
    assert_false(aws_error_may_be_clock(404, ""));
    assert_false(aws_error_may_be_clock(400, "ValidationException"));
    assert_true(aws_error_may_be_credentials("ExpiredToken"));
    assert_false(aws_error_may_be_credentials("AccessDenied"));
    assert_false(aws_error_may_be_credentials(""));
}

/* ---- bodies ------------------------------------------------------------------------------------------------------------------ */

static void error_xml(void **unused)
{
    struct error_body b;
    const char *text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region "
                       "\"a\" is\nwrong</Message><Region>eu-west-1</Region><RequestId>1</RequestId></Error>";
    (void)unused;
    error_body_xml(text, strlen(text), &b);
    assert_string_equal(b.code, "AuthorizationHeaderMalformed");
    assert_string_equal(b.message, "the region 'a' is wrong");
    assert_string_equal(b.region, "eu-west-1");
    /* nothing, another document, broken ones: no code, no crash */
    static const char *const others[] = {"", "x", "<html><body>502</body></html>", "<Code>A</Code>", "<Error><Inner><Code>A</Code></Inner></Error>",
                                         "<!DOCTYPE e [<!ENTITY a \"b\">]><Error><Code>&a;</Code></Error>"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        error_body_xml(others[i], strlen(others[i]), &b);
        assert_string_equal(b.code, "");
    }
    /* cut in the middle: what came before counts */
    error_body_xml(text, 90, &b);
    assert_string_equal(b.code, "AuthorizationHeaderMalformed");
    /* long texts are cut, deep ones refused */
    char *long_text = calloc(1, 100000);
    assert_non_null(long_text);
    (void)snprintf(long_text, 100000, "<Error><Code>");
    memset(long_text + strlen(long_text), 'A', 50000);
    (void)snprintf(long_text + strlen(long_text), 100, "</Code></Error>");
    error_body_xml(long_text, strlen(long_text), &b);
    assert_int_equal(strlen(b.code), sizeof b.code - 1);
    size_t n = 0;
    while (n < 60000) {
        memcpy(long_text + n, "<a>", 3);
        n += 3;
    }
    error_body_xml(long_text, n, &b);
    assert_string_equal(b.code, "");
    free(long_text);
}

static void error_json(void **unused)
{
    struct error_body b;
    (void)unused;
    const char *text = "{\"__type\":\"com.amazonaws#ThrottlingException\",\"message\":\"Rate\\u000aexceeded\"}";
    error_body_json(text, strlen(text), &b);
    assert_string_equal(b.code, "com.amazonaws#ThrottlingException");
    assert_string_equal(b.message, "Rate exceeded");
    text = "{\"Code\":\"A\",\"Message\":\"M\"}";
    error_body_json(text, strlen(text), &b);
    assert_string_equal(b.code, "A");
    assert_string_equal(b.message, "M");
    static const char *const others[] = {"", "[]", "null", "{\"code\":5}", "{", "{\"__type\":null}"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        error_body_json(others[i], strlen(others[i]), &b);
        assert_string_equal(b.code, "");
    }
}

struct listing {
    char keys[8][64];
    int64_t bytes[8];
    int count, stop_at;
};

static int on_key(void *ctx, const char *key, int64_t bytes)
{
    struct listing *l = ctx;
    assert_true(l->count < 8);
    (void)snprintf(l->keys[l->count], sizeof l->keys[0], "%s", key);
    l->bytes[l->count++] = bytes;
    return l->count == l->stop_at ? 42 : 0;
}

static int read_page(const char *text, struct s3_page *page, struct listing *l)
{
    memset(l->keys, 0, sizeof l->keys);
    l->count = 0;
    return s3_page_read(text, strlen(text), page, on_key, l, NULL);
}

static void listings(void **unused)
{
    struct s3_page page;
    struct listing l = {.count = 0};
    (void)unused;
    const char *two = "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name><Prefix>p%20/</Prefix>"
                      "<KeyCount>2</KeyCount><IsTruncated>true</IsTruncated><NextContinuationToken>1ueG+/=</NextContinuationToken>"
                      "<Contents><Key>p+/a%2Bb%26.dcm</Key><Size>524288</Size><Owner><ID>x</ID></Owner></Contents>"
                      "<Contents><Key>p+/%C3%A4</Key><LastModified>2026</LastModified><Size>0</Size></Contents>"
                      "<EncodingType>url</EncodingType></ListBucketResult>";
    assert_int_equal(read_page(two, &page, &l), 0);
    assert_int_equal(l.count, 2);
    assert_string_equal(l.keys[0], "p /a+b&.dcm");
    assert_int_equal(l.bytes[0], 524288);
    assert_string_equal(l.keys[1], "p /\xc3\xa4");
    assert_int_equal(l.bytes[1], 0);
    assert_true(page.truncated);
    assert_string_equal(page.next_token, "1ueG+/=");
    /* a server that does not encode */
    assert_int_equal(read_page("<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a+%41&amp;</Key><Size>1</Size></Contents>"
                               "</ListBucketResult>", &page, &l), 0);
    assert_string_equal(l.keys[0], "a+%41&");
    assert_false(page.truncated);
    assert_int_equal(read_page("<ListBucketResult></ListBucketResult>", &page, &l), 0);
    assert_int_equal(l.count, 0);
    l.stop_at = 1;
    assert_int_equal(read_page(two, &page, &l), 42);
    assert_int_equal(l.count, 1);
    l.stop_at = 0;
    static const char *const bad[] = {
        "", "{}", "<Error><Code>A</Code></Error>", "<ListBucketResult>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>", /* more, but no way to ask for it: never silently less */
        "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>a%0</Key><Size>1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>a%00b</Key><Size>1</Size></Contents></ListBucketResult>"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(read_page(bad[i], &page, &l), ERR_PROTOCOL);
    }
}

/* ---- endpoint ------------------------------------------------------------------------------------------------------------------ */

static void endpoints(void **unused)
{
    static const struct {
        const char *url, *host, *base;
        bool tls, is_address, fine;
    } cases[] = {
        {"https://s3.us-east-1.amazonaws.com", "s3.us-east-1.amazonaws.com", "", true, false, true},
        {"https://s3.example.com:443/", "s3.example.com", "", true, false, true},
        {"https://s3.example.com:8443/a/b//", "s3.example.com:8443", "/a/b", true, false, true},
        {"http://127.0.0.1:9000", "127.0.0.1:9000", "", false, true, true},
        {"http://[::1]:80/x", "[::1]", "/x", false, true, true},
        {"http://[::1]", "[::1]", "", false, true, true},
        {"http://localhost", "localhost", "", false, false, true},
        {"ftp://a", "", "", false, false, false},
        {"s3.example.com", "", "", false, false, false},
        {"https://", "", "", false, false, false},
        {"https://user:pw@host", "", "", false, false, false},
        {"https://host:0", "", "", false, false, false},
        {"https://host:70000", "", "", false, false, false},
        {"https://host:+80", "", "", false, false, false},
        {"https://host:80x", "", "", false, false, false},
        {"https://host/?a=b", "", "", false, false, false},
        {"https://ho st", "", "", false, false, false},
        {"http://[::1", "", "", false, false, false},
        {"http://[zz]", "", "", false, false, false},
    };
    struct endpoint e;
    struct err why;
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int rc = endpoint_parse(cases[i].url, &e, &why);
        if ((rc == 0) != cases[i].fine) {
            print_error("%s\n", cases[i].url);
        }
        assert_int_equal(rc, cases[i].fine ? 0 : ERR_CONFIG);
        if (rc == 0) {
            assert_string_equal(e.host, cases[i].host);
            assert_string_equal(e.base, cases[i].base);
            assert_int_equal(e.tls, cases[i].tls);
            assert_int_equal(e.is_address, cases[i].is_address);
        }
    }
}

static void buckets_and_keys(void **unused)
{
    struct endpoint aws, local;
    struct endpoint_place p;
    struct err why;
    char key[1100];
    (void)unused;
    assert_int_equal(endpoint_resolve(AWS_S3, &(struct endpoint_wish){.region = "us-east-1"}, &aws, &why), 0);
    assert_int_equal(endpoint_parse("http://127.0.0.1:9000/s3", &local, &why), 0);
    assert_int_equal(endpoint_s3_place(&aws, false, "images", "a/b c+.dcm", &p, &why), 0);
    assert_string_equal(p.host, "images.s3.us-east-1.amazonaws.com");
    assert_string_equal(p.path, "/a/b%20c%2B.dcm");
    assert_int_equal(endpoint_s3_place(&aws, true, "images", "k", &p, &why), 0);
    assert_string_equal(p.host, "s3.us-east-1.amazonaws.com");
    assert_string_equal(p.path, "/images/k");
    assert_int_equal(endpoint_s3_place(&aws, false, "my.images", "k", &p, &why), 0); /* a dot breaks the wildcard certificate */
    assert_string_equal(p.path, "/my.images/k");
    assert_int_equal(endpoint_s3_place(&local, false, "images", "//../k", &p, &why), 0);
    assert_string_equal(p.host, "127.0.0.1:9000");
    assert_string_equal(p.path, "/s3/images///../k"); /* S3 keys are never normalised */
    assert_int_equal(endpoint_s3_place(&aws, false, "images", "", &p, &why), 0);
    assert_string_equal(p.path, "/");
    assert_int_equal(endpoint_s3_place(&local, false, "images", "", &p, &why), 0);
    assert_string_equal(p.path, "/s3/images");
    static const char *const bad[] = {"", "ab", "a/b", "im ages", "a..b", "bucket?x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(endpoint_s3_place(&aws, false, bad[i], "k", &p, &why), ERR_CONFIG);
    }
    memset(key, 'k', sizeof key);
    key[1024] = '\0';
    assert_int_equal(endpoint_s3_place(&aws, true, "images", key, &p, &why), 0);
    memset(key, ' ', 1024);
    assert_int_equal(endpoint_s3_place(&aws, true, "images", key, &p, &why), 0);
    assert_int_equal(strlen(p.path), 8 + 3 * 1024);
    key[1024] = 'k';
    key[1025] = '\0';
    assert_int_equal(endpoint_s3_place(&aws, true, "images", key, &p, &why), ERR_ARGUMENT);
}

static void s3_uris(void **unused)
{
    char bucket[16];
    char key[16];
    (void)unused;
    assert_int_equal(s3_uri_split("s3://b-1/a/b/", bucket, sizeof bucket, key, sizeof key), 0);
    assert_string_equal(bucket, "b-1");
    assert_string_equal(key, "a/b/");
    assert_int_equal(s3_uri_split("s3://b", bucket, sizeof bucket, key, sizeof key), 0);
    assert_string_equal(key, "");
    assert_int_equal(s3_uri_split("s3://b/", bucket, sizeof bucket, key, sizeof key), 0);
    assert_string_equal(key, "");
    static const char *const bad[] = {"", "s3:/b/k", "S3://b/k", "https://b/k", "s3://", "s3:///k", "s3://0123456789abcdef/k", "s3://b/0123456789abcdef"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(s3_uri_split(bad[i], bucket, sizeof bucket, key, sizeof key), ERR_ARGUMENT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_by_code_then_status), cmocka_unit_test(errors_that_one_more_try_may_heal),
        cmocka_unit_test(error_xml),                  cmocka_unit_test(error_json),
        cmocka_unit_test(listings),                   cmocka_unit_test(endpoints),
        cmocka_unit_test(buckets_and_keys),           cmocka_unit_test(s3_uris),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
