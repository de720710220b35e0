/* Store requests to DICOMweb servers: what the answers mean (JSON and XML, honest and hostile), what goes over the wire for each way of showing who we are, and
 * that a server which counts repeats never gets one by accident. The server is a scripted one (scripted_server.h). */
#include "common/aws/request/sigv4.h"
#include "common/aws/dicomweb/stow.h"
#include "tests/unit/client_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UID "1.2.3.4"
#define JSON_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\n\r\n"
#define STORED_ITEM "{\"00081150\":{\"vr\":\"UI\",\"Value\":[\"1.2.840.10008.5.1.4.1.1.2\"]},\"00081155\":{\"vr\":\"UI\",\"Value\":[\"" UID "\"]}," \
                    "\"00081190\":{\"vr\":\"UR\",\"Value\":[\"http://h/studies/1/series/2/instances/" UID "\"]}}"
#define STORED "{\"00081199\":{\"vr\":\"SQ\",\"Value\":[" STORED_ITEM "]}}"
#define FAILED(reason) "{\"00081198\":{\"vr\":\"SQ\",\"Value\":[{\"00081155\":{\"vr\":\"UI\",\"Value\":[\"" UID "\"]},\"00081197\":{\"vr\":\"US\",\"Value\":[" reason "]}}]}}"

/* ---- answers --------------------------------------------------------------------------------------------------------------------------- */

static struct stow_verdict read_answer(const char *body)
{
    struct stow_verdict v = {0};
    struct err e = {0};
    int rc = stow_answer_read(body, strlen(body), UID, &v, &e);
    if (rc != 0) {
        print_error("%s: %s\n", body, e.text);
    }
    assert_int_equal(rc, 0);
    return v;
}

static void reads_json(void **unused)
{
    (void)unused;
    struct stow_verdict v = read_answer(STORED);
    assert_int_equal(v.kind, STOW_STORED);
    assert_int_equal(v.warning, 0);
    assert_string_equal(v.retrieve_url, "http://h/studies/1/series/2/instances/" UID);
    v = read_answer("\xEF\xBB\xBF [" STORED "]");
    assert_int_equal(v.kind, STOW_STORED);
    v = read_answer(FAILED("42752"));
    assert_int_equal(v.kind, STOW_FAILED);
    assert_int_equal(v.reason, 0xA700);
    v = read_answer(FAILED("\"272\""));
    assert_int_equal(v.reason, 0x0110);
    v = read_answer(FAILED("null"));
    assert_int_equal(v.kind, STOW_FAILED);
    assert_int_equal(v.reason, -1);
    v = read_answer(FAILED("-1"));
    assert_int_equal(v.reason, -1);
    v = read_answer("{\"00081199\":{\"vr\":\"SQ\",\"Value\":[{\"00081155\":{\"vr\":\"UI\",\"Value\":[\"" UID "\"]},"
                    "\"00081196\":{\"vr\":\"US\",\"Value\":[45312]},\"00081190\":{\"vr\":\"UR\",\"Value\":[\"javascript:alert(1)\"]}}]}}");
    assert_int_equal(v.kind, STOW_STORED);
    assert_int_equal(v.warning, 0xB100);
    assert_string_equal(v.retrieve_url, "");
    /* another instance, none at all, our UID only as the beginning of another */
    assert_int_equal(read_answer("{\"00081198\":{\"vr\":\"SQ\"},\"00081199\":{\"vr\":\"SQ\"}}").kind, STOW_NOT_NAMED);
    assert_int_equal(read_answer("{\"00081199\":{\"Value\":[{\"00081155\":{\"Value\":[\"" UID "5\"]}}]}}").kind, STOW_NOT_NAMED);
    /* in both: it has failed, whatever stands first */
    v = read_answer("{\"00081199\":{\"Value\":[" STORED_ITEM "]},\"00081198\":{\"Value\":[{\"00081155\":{\"Value\":[\"" UID "\"]}}]}}");
    assert_int_equal(v.kind, STOW_FAILED);
}

#define XML_ITEM "<Item number=\"1\"><DicomAttribute tag=\"00081155\" vr=\"UI\"><Value number=\"1\">" UID "</Value></DicomAttribute>%s</Item>"

static struct stow_verdict read_xml(const char *sequence, const char *more)
{
    char body[2000];
    (void)snprintf(body, sizeof body, "<?xml version=\"1.0\"?>\n<NativeDicomModel xmlns=\"http://dicom.nema.org/PS3.19/models/NativeDICOM\">"
                   "<DicomAttribute tag=\"00081190\" vr=\"UR\"><Value number=\"1\">http://h/all</Value></DicomAttribute>"
                   "<DicomAttribute tag=\"%s\" vr=\"SQ\">" XML_ITEM "</DicomAttribute></NativeDicomModel>", sequence, more);
    return read_answer(body);
}

static void reads_xml(void **unused)
{
    (void)unused;
    struct stow_verdict v = read_xml("00081199", "<DicomAttribute tag=\"00081190\" vr=\"UR\"><Value number=\"1\">https://h/one</Value></DicomAttribute>");
    assert_int_equal(v.kind, STOW_STORED);
    assert_string_equal(v.retrieve_url, "https://h/one");
    v = read_xml("00081198", "<DicomAttribute tag=\"00081197\" vr=\"US\"><Value number=\"1\">43264</Value></DicomAttribute>");
    assert_int_equal(v.kind, STOW_FAILED);
    assert_int_equal(v.reason, 0xA900);
    assert_int_equal(read_xml("00081199", "<DicomAttribute tag=\"00081196\" vr=\"US\"><Value number=\"1\">45062</Value></DicomAttribute>").warning, 0xB006);
    assert_int_equal(read_xml("00081150", "").kind, STOW_NOT_NAMED); /* another sequence */
}

static void bears_hostile_answers(void **unused)
{
    static const char *const bodies[] = {
        "", "{", "[]", "null", "42", "{\"message\":\"no\"}", "<html><body>login</body></html>", "<NativeDicomModel>",
        "<!DOCTYPE x [<!ENTITY a \"b\">]><NativeDicomModel>&a;</NativeDicomModel>", "{\"00081155\":{\"Value\":[\"" UID "\"]}}"};
    static const char *const harmless[] = {
        "{\"00081199\":[]}", "{\"00081199\":{\"Value\":{}}}", "{\"00081199\":{\"Value\":[1,null,[],{\"00081155\":[]},{\"00081155\":{\"Value\":[[\"" UID "\"]]}}]}}",
        "<NativeDicomModel><DicomAttribute/><DicomAttribute tag=\"00081199\"><Item/><Item><DicomAttribute tag=\"00081155\"/></Item></DicomAttribute></NativeDicomModel>",
        "<NativeDicomModel><DicomAttribute tag=\"00080005\"><Item><DicomAttribute tag=\"00081199\"><Item><DicomAttribute tag=\"00081155\"><Value>" UID
        "</Value></DicomAttribute></Item></DicomAttribute></Item></DicomAttribute></NativeDicomModel>"};
    struct stow_verdict v;
    struct err e;
    (void)unused;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        assert_int_equal(stow_answer_read(bodies[i], strlen(bodies[i]), UID, &v, &e), ERR_PROTOCOL);
    }
    for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++) {
        assert_int_equal(read_answer(harmless[i]).kind, STOW_NOT_NAMED);
    }
    /* nested far deeper than any answer; a value longer than any URL; cut at every byte */
    char *deep = calloc(1, 400000);
    assert_non_null(deep);
    (void)snprintf(deep, 100, "<NativeDicomModel>");
    for (size_t i = 0; i < 10000; i++) {
        memcpy(deep + 18 + 6 * i, "<Item>", 6);
    }
    assert_int_equal(stow_answer_read(deep, strlen(deep), UID, &v, &e), ERR_PROTOCOL);
    memset(deep, '[', 200000);
    deep[200000] = '\0';
    assert_int_equal(stow_answer_read(deep, 200000, UID, &v, &e), ERR_PROTOCOL);
    free(deep);
    for (size_t n = 0; n < strlen(STORED); n++) {
        assert_int_equal(stow_answer_read(STORED, n, UID, &v, &e), ERR_PROTOCOL);
    }
}

static void knows_what_reasons_mean(void **unused)
{
    static const struct {
        int reason, code;
    } table[] = {{0xA700, ERR_STORE_BUSY},    {0xA7FF, ERR_STORE_BUSY},   {0xA900, ERR_STORE_REFUSED}, {0xC000, ERR_STORE_REFUSED}, {0xC122, ERR_STORE_REFUSED},
                 {0x0122, ERR_STORE_REFUSED}, {0x0110, ERR_STORE_FAILED}, {0x0111, ERR_STORE_EXISTS},  {0x1234, ERR_STORE_FAILED},  {-1, ERR_STORE_FAILED}};
    (void)unused;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        assert_int_equal(stow_reason_code(table[i].reason), table[i].code);
    }
    assert_string_equal(stow_reason_words(0xC123), "cannot understand");
    assert_string_equal(stow_reason_words(0x1234), "");
}

/* ---- over the wire ------------------------------------------------------------------------------------------------------------------------ */

static char home[64];
static char file_path[96];
enum { FILE_BYTES = 300000 };

/* more: lines of storescp.conf */
static struct fixture open_client(const char *more)
{
    char first[200];
    (void)snprintf(first, sizeof first,
                   "destination_kind = dicomweb\ndicomweb_url = http://127.0.0.1:%d/dicom-web/\ndatastore_id = 0123456789abcdef0123456789abcdef\naws_max_attempts = 1\n", server.port);
    return fixture_open(home, first, more, stow_check_settings);
}

struct outcome {
    int count;
    struct stow_result result;
};

static void on_done(void *ctx, const struct stow_result *result)
{
    struct outcome *o = ctx;
    o->count++;
    o->result = *result;
}

static struct outcome put(struct aws_client *c, int64_t bytes, bool look_first)
{
    struct outcome o = {0};
    struct err e = {0};
    int fd = open(file_path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    struct stow_put p = {.sop_instance_uid = UID, .study_uid = "1.2", .series_uid = "1.3", .fd = fd, .bytes = bytes, .look_first = look_first};
    int rc = stow_put_begin(c, &p, on_done, &o, &e);
    if (rc != 0) {
        o.count = 1;
        o.result.rc = rc;
        o.result.why = e;
    }
    for (int i = 0; i < 100 && o.count == 0; i++) {
        (void)aws_client_run(c, 100, NULL, 0);
    }
    assert_int_equal(o.count, 1);
    assert_int_equal(aws_client_busy(c), 0);
    (void)close(fd);
    return o;
}

static void has(const char *text, const char *part)
{
    if (!strcasestr(text, part)) {
        print_error("\"%s\" is not in:\n%s\n", part, text);
    }
    assert_non_null(strcasestr(text, part));
}

#define SERVE(script) serve(script, sizeof script / sizeof script[0])

static void sends_one_part(void **unused)
{
    static const struct answer script[] = {{ANSWER, JSON_HEAD STORED, 0}};
    char boundary[41] = "";
    char expected[200];
    (void)unused;
    SERVE(script);
    struct fixture f = open_client("");
    struct outcome o = put(f.client, FILE_BYTES, false);
    assert_int_equal(o.result.rc, 0);
    assert_int_equal(o.result.status, 200);
    assert_false(o.result.was_there);
    const char *head = server.heads[0];
    has(head, "POST /dicom-web/studies HTTP/1.1\r\n");
    has(head, "\r\nAccept: application/dicom+json\r\n");
    assert_null(strcasestr(head, "authorization"));
    assert_null(strcasestr(head, "x-amz-"));
    assert_null(strcasestr(head, "expect:"));
    has(head, "\r\nContent-Type: multipart/related; type=\"application/dicom\"; boundary=");
    assert_int_equal(sscanf(strcasestr(head, "boundary=") + 9, "%40[0-9a-f]", boundary), 1);
    assert_int_equal(strlen(boundary), 40);
    (void)snprintf(expected, sizeof expected, "--%s\r\nContent-Type: application/dicom\r\n\r\n", boundary);
    assert_int_equal(strncmp(server.bodies[0], expected, strlen(expected)), 0);
    assert_int_equal(server.bodies[0][strlen(expected)], 'A'); /* the file begins right behind */
    assert_int_equal(server.body_bytes[0], FILE_BYTES + (long long)strlen(expected) + 2 + 2 + 40 + 2 + 2);
    close_client(&f);
}

static void shows_who_we_are(void **unused)
{
    static const struct answer script[] = {{ANSWER, JSON_HEAD STORED, 0}, {ANSWER, JSON_HEAD STORED, 0}};
    char path[96];
    (void)unused;
    SERVE(script);
    struct fixture f = open_client("dicomweb_auth = basic\ndicomweb_user = Aladdin\ndicomweb_password = open sesame\n");
    assert_int_equal(put(f.client, 10, false).result.rc, 0);
    has(server.heads[0], "\r\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n");
    close_client(&f);

    (void)snprintf(path, sizeof path, "%s/token", home);
    FILE *token = fopen(path, "we");
    assert_true(token && fputs("first\n", token) >= 0 && fclose(token) == 0);
    SERVE(script);
    f = open_client("dicomweb_auth = bearer\ndicomweb_token_file = token\n");
    assert_int_equal(put(f.client, 10, false).result.rc, 0);
    token = fopen(path, "we");
    assert_true(token && fputs("second", token) >= 0 && fclose(token) == 0);
    assert_int_equal(put(f.client, 10, false).result.rc, 0);
    has(server.heads[0], "\r\nAuthorization: Bearer first\r\n");
    has(server.heads[1], "\r\nAuthorization: Bearer second\r\n");
    assert_int_equal(unlink(path), 0); /* a token that went away pauses, and says why */
    struct outcome o = put(f.client, 10, false);
    assert_int_equal(o.result.rc, ERR_STORE_DENIED);
    has(o.result.why.text, "token");
    close_client(&f);
}

static void signs_for_healthimaging(void **unused)
{
    static const struct answer script[] = {{ANSWER, JSON_HEAD STORED, 0}, {ANSWER, JSON_HEAD STORED, 0}};
    char line[120];
    char sha[65];
    (void)unused;
    SERVE(script);
    struct fixture f = open_client("dicomweb_auth = sigv4\n");
    assert_int_equal(put(f.client, FILE_BYTES, false).result.rc, 0);
    const char *head = server.heads[0];
    has(head, "/us-east-1/medical-imaging/aws4_request");
    has(head, "SignedHeaders=accept;content-type;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length, Signature=");
    has(head, "\r\nx-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\r\n");
    (void)snprintf(line, sizeof line, "\r\nx-amz-decoded-content-length: %lld\r\n", server.body_bytes[0]);
    has(head, line);
    close_client(&f);

    SERVE(script);
    f = open_client("dicomweb_auth = sigv4\ndicomweb_payload = sha256\n");
    struct outcome o = put(f.client, 10, false);
    assert_int_equal(o.result.rc, 0);
    sigv4_sha256_hex(server.bodies[0], (size_t)server.body_bytes[0], sha);
    (void)snprintf(line, sizeof line, "\r\nx-amz-content-sha256: %s\r\n", sha);
    has(server.heads[0], line);
    sigv4_sha256_hex("AAAAAAAAAA", 10, sha);
    assert_string_equal(o.result.sha256, sha);
    close_client(&f);
}

/* Without dicomweb_url the data store's own place is meant. */
static void finds_the_data_store(void **unused)
{
    static const struct answer script[] = {{ANSWER, JSON_HEAD STORED, 0}};
    (void)unused;
    SERVE(script);
    struct fixture f = open_client("dicomweb_auth = sigv4\n[x]\n");
    close_client(&f);
    char path[96];
    struct err e = {0};
    (void)snprintf(path, sizeof path, "%s/storescp.conf", home);
    SERVE(script);
    FILE *conf = fopen(path, "we");
    assert_true(conf && fprintf(conf, "destination_kind = dicomweb\ndicomweb_auth = sigv4\nendpoint_url = http://127.0.0.1:%d\naws_access_key_id = A\n"
                                      "aws_secret_access_key = b\ndatastore_id = 0123456789abcdef0123456789abcdef\n", server.port) > 0 && fclose(conf) == 0);
    assert_int_equal(config_load(&f.config, home, &e), 0);
    assert_int_equal(stow_check_settings(f.config, &e), 0);
    assert_int_equal(aws_client_open(&f.client, f.config, &e), 0);
    assert_int_equal(put(f.client, 10, false).result.rc, 0);
    has(server.heads[0], "POST /datastore/0123456789abcdef0123456789abcdef/studies HTTP/1.1");
    close_client(&f);
}

static void judges_answers(void **unused)
{
    static const struct {
        const char *answer;
        int code;
        const char *words;
    } table[] = {
        {"HTTP/1.1 202 Accepted\r\n\r\n" STORED, 0, ""},
        {"HTTP/1.1 409 Conflict\r\n\r\n" FAILED("43264"), ERR_STORE_REFUSED, "A900H, data set does not match SOP class"},
        {"HTTP/1.1 202 Accepted\r\n\r\n" FAILED("42752"), ERR_STORE_BUSY, "A700H"},
        {"HTTP/1.1 409 Conflict\r\n\r\n" FAILED("272"), ERR_STORE_FAILED, "0110H"},
        {"HTTP/1.1 409 Conflict\r\n\r\n" FAILED("null"), ERR_STORE_FAILED, "without a reason"},
        {"HTTP/1.1 400 Bad\r\n\r\n{\"00081198\":{\"vr\":\"SQ\"},\"00081199\":{\"vr\":\"SQ\"}}", ERR_STORE_FAILED, "400"}, /* Orthanc: cannot be parsed */
        {"HTTP/1.1 200 OK\r\n\r\n{\"00081198\":{\"vr\":\"SQ\"},\"00081199\":{\"vr\":\"SQ\"}}", ERR_STORE_UNCONFIRMED, "does not name"},
        {"HTTP/1.1 200 OK\r\n\r\n<html>welcome</html>", ERR_STORE_UNCONFIRMED, "no response to a store request"},
        {"HTTP/1.1 204 None\r\n\r\n", ERR_STORE_UNCONFIRMED, "no response"},
        {"HTTP/1.1 401 No\r\n\r\n", ERR_STORE_DENIED, "401"},
        {"HTTP/1.1 403 No\r\n\r\n", ERR_STORE_DENIED, "403"},
        {"HTTP/1.1 404 No\r\n\r\n", ERR_STORE_NO_SERVICE, "404"},
        {"HTTP/1.1 302 Elsewhere\r\nLocation: http://elsewhere/\r\n\r\n", ERR_STORE_NO_SERVICE, "302"},
        {"HTTP/1.1 413 Large\r\n\r\n", ERR_STORE_FAILED, "413"},
        {"HTTP/1.1 415 Type\r\n\r\n", ERR_STORE_FAILED, "415"},
        {"HTTP/1.1 429 Slow\r\n\r\n", ERR_STORE_BUSY, "429"},
        {"HTTP/1.1 503 Away\r\n\r\n", ERR_STORE_BUSY, "503"},
        {"HTTP/1.1 507 Full\r\n\r\n", ERR_STORE_BUSY, "507"},
        {"HTTP/1.1 500 Oops\r\n\r\n", ERR_STORE_SERVER, "500"},
        {"HTTP/1.1 418 Tea\r\n\r\n", ERR_PROTOCOL, "418"},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct answer script[] = {{ANSWER, table[i].answer, 0}};
        SERVE(script);
        struct fixture f = open_client("");
        struct outcome o = put(f.client, 10, false);
        if (o.result.rc != table[i].code) {
            print_error("%s: %s %s\n", table[i].answer, err_name(o.result.rc), o.result.why.text);
        }
        assert_int_equal(o.result.rc, table[i].code);
        has(o.result.rc == 0 ? "" : o.result.why.text, table[i].words);
        close_client(&f);
    }
}

/* HealthImaging's own errors come as everywhere: by code. Its verdict on the instance counts before the status. */
static void judges_healthimaging(void **unused)
{
    static const struct {
        const char *answer;
        int code;
    } table[] = {
        {"HTTP/1.1 429 Slow\r\nx-amzn-errortype: ThrottlingException\r\n\r\n{\"message\":\"Rate exceeded\"}", ERR_AWS_THROTTLED},
        {"HTTP/1.1 403 No\r\nx-amzn-errortype: AccessDeniedException\r\n\r\n{\"message\":\"no\"}", ERR_AWS_DENIED},
        {"HTTP/1.1 404 No\r\nx-amzn-errortype: ResourceNotFoundException\r\n\r\n{\"message\":\"no\"}", ERR_AWS_NOT_FOUND},
        {"HTTP/1.1 400 No\r\nx-amzn-errortype: ValidationException\r\n\r\n{\"message\":\"no\"}", ERR_AWS_REJECTED},
        {"HTTP/1.1 409 Conflict\r\n\r\n" FAILED("49442"), ERR_STORE_REFUSED},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct answer script[] = {{ANSWER, table[i].answer, 0}};
        SERVE(script);
        struct fixture f = open_client("dicomweb_auth = sigv4\n");
        struct outcome o = put(f.client, 10, false);
        assert_int_equal(o.result.rc, table[i].code);
        close_client(&f);
    }
}

/* A kept connection that dies without an answer: somebody else's server gets the request once more at once, HealthImaging does not. */
static void never_repeats_what_counts(void **unused)
{
    static const struct answer script[] = {{ANSWER, JSON_HEAD STORED, 0}, {CLOSE_WITHOUT_ANSWER, "", 0}, {ANSWER, JSON_HEAD STORED, 0}};
    (void)unused;
    SERVE(script);
    struct fixture f = open_client("dicomweb_auth = sigv4\n");
    assert_int_equal(put(f.client, FILE_BYTES, false).result.rc, 0);
    assert_int_equal(put(f.client, FILE_BYTES, false).result.rc, ERR_NETWORK);
    assert_int_equal(server.request_count, 2);
    close_client(&f);

    SERVE(script);
    f = open_client("");
    assert_int_equal(put(f.client, FILE_BYTES, false).result.rc, 0);
    assert_int_equal(put(f.client, FILE_BYTES, false).result.rc, 0);
    assert_int_equal(server.request_count, 3);
    close_client(&f);
}

static void looks_first(void **unused)
{
    static const struct answer there[] = {{ANSWER, JSON_HEAD "[{\"00080018\":{\"vr\":\"UI\",\"Value\":[\"9\"]}},{\"00080018\":{\"vr\":\"UI\",\"Value\":[\"" UID "\"]}}]", 0}};
    static const struct answer none[] = {{ANSWER, "HTTP/1.1 204 No Content\r\n\r\n", 0}, {ANSWER, JSON_HEAD STORED, 0}};
    static const struct answer unknown[] = {{ANSWER, "HTTP/1.1 404 Not Found\r\n\r\n", 0}, {ANSWER, JSON_HEAD STORED, 0}};
    static const struct answer other[] = {{ANSWER, JSON_HEAD "[{\"00080018\":{\"vr\":\"UI\",\"Value\":[\"1.2.3.45\"]}}]", 0}, {ANSWER, JSON_HEAD STORED, 0}};
    static const struct answer away[] = {{ANSWER, "HTTP/1.1 500 Oops\r\nx-amzn-errortype: InternalServerException\r\n\r\n{}", 0}};
    static const struct answer odd[] = {{ANSWER, JSON_HEAD "{}", 0}};
    (void)unused;
    SERVE(there);
    struct fixture f = open_client("dicomweb_auth = sigv4\n");
    struct outcome o = put(f.client, 10, true);
    assert_int_equal(o.result.rc, 0);
    assert_true(o.result.was_there);
    assert_int_equal(server.request_count, 1);
    has(server.heads[0], "GET /dicom-web/studies/1.2/series/1.3/instances?SOPInstanceUID=1.2.3.4 HTTP/1.1");
    close_client(&f);
    for (int i = 0; i < 3; i++) {
        serve(i == 0 ? none : i == 1 ? unknown : other, 2);
        f = open_client("dicomweb_auth = sigv4\n");
        o = put(f.client, 10, true);
        assert_int_equal(o.result.rc, 0);
        assert_false(o.result.was_there);
        assert_int_equal(server.request_count, 2);
        close_client(&f);
    }
    for (int i = 0; i < 2; i++) { /* nobody knows: nothing is sent */
        serve(i == 0 ? away : odd, 1);
        f = open_client("dicomweb_auth = sigv4\n");
        o = put(f.client, 10, true);
        assert_int_equal(o.result.rc, i == 0 ? ERR_AWS_SERVER : ERR_PROTOCOL);
        assert_int_equal(server.request_count, 1);
        close_client(&f);
    }
}

static void a_file_that_ends_early(void **unused)
{
    static const struct answer script[] = {{ANSWER, JSON_HEAD STORED, 0}};
    (void)unused;
    SERVE(script);
    struct fixture f = open_client("");
    assert_int_equal(put(f.client, FILE_BYTES + 1000, false).result.rc, ERR_SPOOL_DAMAGED);
    close_client(&f);
}

static void refuses_settings_that_cannot_work(void **unused)
{
    static const struct {
        const char *lines, *words;
    } table[] = {
        {"destination_kind = dicomweb\n", "dicomweb_url is not set"},
        {"destination_kind = dicomweb\ndicomweb_auth = sigv4\n", "datastore_id"},
        {"destination_kind = dicomweb\ndicomweb_url = pacs.example\n", "https://"},
        {"destination_kind = dicomweb\ndicomweb_url = https://h/x\ndicomweb_auth = basic\n", "dicomweb_user"},
        {"destination_kind = dicomweb\ndicomweb_url = https://h/x\ndicomweb_auth = basic\ndicomweb_user = a:b\n", "colon"},
        {"destination_kind = dicomweb\ndicomweb_url = https://h/x\ndicomweb_auth = bearer\n", "dicomweb_token_file"},
        {"destination_kind = dicomweb\ndicomweb_url = https://h/x\ndicomweb_auth = bearer\ndicomweb_token_file = missing\n", "dicomweb_token_file"},
        {"destination_kind = dicomweb\ndicomweb_url = https://h/x\ndicomweb_client_key = k\n", "dicomweb_client_certificate"},
        {"destination_kind = dicomweb\ndicomweb_url = https://h/x\ndicomweb_client_certificate = missing.pem\n", "missing.pem"},
    };
    char path[96];
    (void)unused;
    (void)snprintf(path, sizeof path, "%s/storescp.conf", home);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct config *config = NULL;
        struct err e = {0};
        FILE *conf = fopen(path, "we");
        assert_true(conf && fputs(table[i].lines, conf) >= 0 && fclose(conf) == 0);
        assert_int_equal(config_load(&config, home, &e), 0);
        assert_int_equal(stow_check_settings(config, &e), ERR_CONFIG);
        has(e.text, table[i].words);
        config_free(&config);
    }
}

static int make_home(void **unused)
{
    (void)unused;
    (void)snprintf(home, sizeof home, "/tmp/stow_test.%d", (int)getpid());
    (void)snprintf(file_path, sizeof file_path, "%s/file", home);
    char *content = malloc(FILE_BYTES);
    if (!content || mkdir(home, 0700) != 0) {
        return -1;
    }
    memset(content, 'A', FILE_BYTES);
    FILE *file = fopen(file_path, "we");
    bool fine = file && fwrite(content, 1, FILE_BYTES, file) == FILE_BYTES && fclose(file) == 0;
    free(content);
    return fine ? 0 : -1;
}

static int remove_home(void **unused)
{
    static const char *const names[] = {"file", "storescp.conf", "token"};
    char path[96];
    (void)unused;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", home, names[i]);
        (void)unlink(path);
    }
    return rmdir(home);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_json),
        cmocka_unit_test(reads_xml),
        cmocka_unit_test(bears_hostile_answers),
        cmocka_unit_test(knows_what_reasons_mean),
        cmocka_unit_test(sends_one_part),
        cmocka_unit_test(shows_who_we_are),
        cmocka_unit_test(signs_for_healthimaging),
        cmocka_unit_test(finds_the_data_store),
        cmocka_unit_test(judges_answers),
        cmocka_unit_test(judges_healthimaging),
        cmocka_unit_test(never_repeats_what_counts),
        cmocka_unit_test(looks_first),
        cmocka_unit_test(a_file_that_ends_early),
        cmocka_unit_test(refuses_settings_that_cannot_work),
    };
    return cmocka_run_group_tests(tests, make_home, remove_home);
}
