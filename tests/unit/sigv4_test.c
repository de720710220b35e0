/* sigv4: every published case of the signing test suite (shared/aws/sigv4-tests), each stage compared. */
#include "common/aws/request/sigv4.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>

#ifndef SOURCE_DIR
#define SOURCE_DIR "."
#endif

static char *read_file(const char *directory, const char *name)
{
    char path[2048];
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *text = calloc(1, 65536);
    size_t n = fread(text, 1, 65535, f);
    text[n] = '\0';
    (void)fclose(f);
    return text;
}

static void check_case(const char *directory)
{
    json_error_t je;
    char path[2048];
    (void)snprintf(path, sizeof path, "%s/context.json", directory);
    json_t *context = json_load_file(path, 0, &je);
    assert_non_null(context);
    json_t *keys = json_object_get(context, "credentials");
    const char *token = json_string_value(json_object_get(keys, "token"));
    char date[17];
    const char *stamp = json_string_value(json_object_get(context, "timestamp"));
    size_t d = 0;
    for (const char *p = stamp; *p; p++) {
        if (*p != '-' && *p != ':') {
            date[d++] = *p;
        }
    }
    date[d] = '\0';

    char *request = read_file(directory, "request.txt");
    char *line_end = strstr(request, "\n");
    *line_end = '\0';
    char *method_end = strchr(request, ' ');
    *method_end = '\0';
    char *target = method_end + 1;
    char *version = strstr(target, " HTTP/1.1");
    *version = '\0';
    char *query = strchr(target, '?');
    if (query) {
        *query++ = '\0';
    }
    struct sigv4_header headers[40];
    size_t count = 0;
    char *p = line_end + 1;
    while (*p && *p != '\n') {
        char *end = strchr(p, '\n');
        while (end && (end[1] == ' ' || end[1] == '\t')) {
            *end = ' ';
            end = strchr(end, '\n');
        }
        char *next = end ? end + 1 : p + strlen(p);
        if (end) {
            *end = '\0';
        }
        char *colon = strchr(p, ':');
        *colon = '\0';
        headers[count].name = p;
        headers[count++].value = colon + 1;
        p = next;
    }
    const char *body = *p == '\n' ? p + 1 : p;
    char hash[65];
    sigv4_sha256_hex(body, strlen(body), hash);
    headers[count].name = "X-Amz-Date";
    headers[count++].value = date;
    if (json_is_true(json_object_get(context, "sign_body"))) {
        headers[count].name = "x-amz-content-sha256";
        headers[count++].value = hash;
    }
    if (token && !json_is_true(json_object_get(context, "omit_session_token"))) {
        headers[count].name = "X-Amz-Security-Token";
        headers[count++].value = token;
    }
    struct sigv4_request r = {request, target, query ? query : "", headers, count, hash, true,
                              json_is_true(json_object_get(context, "normalize"))};
    struct sigv4_scope scope = {json_string_value(json_object_get(keys, "access_key_id")),
                                json_string_value(json_object_get(keys, "secret_access_key")),
                                json_string_value(json_object_get(context, "region")),
                                json_string_value(json_object_get(context, "service")), date};
    struct sigv4_result result;
    struct err e = {0};
    assert_int_equal(sigv4_sign(&r, &scope, &result, &e), 0);
    char *expected = read_file(directory, "header-canonical-request.txt");
    assert_string_equal(result.canonical_request, expected);
    free(expected);
    expected = read_file(directory, "header-string-to-sign.txt");
    assert_string_equal(result.string_to_sign, expected);
    free(expected);
    expected = read_file(directory, "header-signature.txt");
    assert_string_equal(result.signature, expected);
    free(expected);
    sigv4_result_clear(&result);
    free(request);
    json_decref(context);
}

static void every_published_case(void **state)
{
    (void)state;
    char root[1024];
    const char *shared = getenv("SHARED_DIR");
    (void)snprintf(root, sizeof root, "%s/aws/sigv4-tests/v4", shared ? shared : SOURCE_DIR "/../shared");
    DIR *directory = opendir(root);
    if (!directory) {
        print_message("left out: %s is not here, the published signing cases were not checked\n", root);
        skip();
        return;
    }
    struct dirent *entry;
    int cases = 0;
    while ((entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] != '.') {
            char path[1400];
            (void)snprintf(path, sizeof path, "%s/%s", root, entry->d_name);
            print_message("%s\n", entry->d_name);
            check_case(path);
            cases++;
        }
    }
    (void)closedir(directory);
    assert_int_equal(cases, 38);
}

/* The S3 way: the path is signed as sent, the query is sorted after encoding, a valueless key gets "=". */
static void s3_keeps_the_path(void **state)
{
    (void)state;
    const struct sigv4_header headers[] = {{"Host", "b.s3.amazonaws.com"}, {"X-Amz-Date", "20130524T000000Z"}};
    struct sigv4_request r = {"GET", "/a//b/../%20", "uploads&b=2&a=1", headers, 2, "UNSIGNED-PAYLOAD", false, false};
    struct sigv4_scope scope = {"K", "S", "us-east-1", "s3", "20130524T000000Z"};
    struct sigv4_result result;
    assert_int_equal(sigv4_sign(&r, &scope, &result, NULL), 0);
    assert_string_equal(result.canonical_request, "GET\n/a//b/../%20\na=1&b=2&uploads=\nhost:b.s3.amazonaws.com\n"
                                                  "x-amz-date:20130524T000000Z\n\nhost;x-amz-date\nUNSIGNED-PAYLOAD");
    sigv4_result_clear(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_published_case), cmocka_unit_test(s3_keeps_the_path)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
