/* results: what HealthImaging writes, what its guide prints, and what neither should: tables of manifests, keys, folders and lines. */
#include "importer/results.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define BATCH "01m8ab1fpxbqeza7dq3cy3kwzj"
#define ONE "01m8ab1fqgr3pbptbqz6g121vv"
#define KEY "storescp/" BATCH "/" ONE ".dcm"

static const struct results_manifest no_manifest = {0};

static enum results_line parse(const char *line, enum results_file file, const struct results_manifest *m, struct state_result *out)
{
    char *exact = malloc(strlen(line) + 1); /* a sanitizer sees every byte too far */
    size_t size = strlen(line);
    assert_non_null(exact);
    memcpy(exact, line, size);
    enum results_line result = results_line_parse(exact, size, file, m, BATCH, out);
    free(exact);
    return result;
}

static void lines(void **unused)
{
    (void)unused;
    static const struct {
        const char *line;
        enum results_file file;
        enum results_line expected;
        enum state_result_kind kind;
        int primary, version;
        const char *text; /* image set, or the reason */
    } table[] = {
        {"{\"inputFile\":\"" KEY "\",\"importResponse\":{\"imageSetId\":\"abc\",\"isPrimary\":true}}", RESULTS_SUCCESS, RESULTS_LINE_OK, RESULT_IMPORTED, 1, 0, "abc"},
        {"{\"inputFile\":\"" KEY "\",\"importResponse\":{\"imageSetId\":\"abc\",\"isPrimary\":True}}", RESULTS_SUCCESS, RESULTS_LINE_OK, RESULT_IMPORTED, 1, 0, "abc"},
        {"{\"inputFile\": \"" KEY "\", \"importResponse\": {\"imageSetId\": \"abc\", \"isPrimary\": False}}\r", RESULTS_SUCCESS, RESULTS_LINE_OK, RESULT_IMPORTED, 0, 0, "abc"},
        {"{\"inputFile\":\"" KEY "\",\"importResponse\":{\"imageSetId\":\"abc\",\"isPrimary\":None,\"x\":[{\"True\":\"False\"}]}}", RESULTS_SUCCESS, RESULTS_LINE_OK, RESULT_IMPORTED, -1, 0, "abc"},
        {"{\"inputFile\":\"" KEY "\",\"importResponse\":{\"imageSetId\":\"abc\",\"isPrimary\":\"false\",\"imageSetVersion\":\"7\"}}", RESULTS_SUCCESS, RESULTS_LINE_OK, RESULT_IMPORTED, 0, 7, "abc"},
        {"{\"inputFile\":\"" KEY "\",\"importResponse\":{\"imageSetId\":\"abc\"}}", RESULTS_SUCCESS, RESULTS_LINE_OK, RESULT_IMPORTED, -1, 0, "abc"},
        {"{\"inputFile\":\"s3://bucket/" KEY "\",\"importResponse\":{\"imageSetId\":\"abc\",\"imageSetVersion\":99999999999}}", RESULTS_SUCCESS, RESULTS_LINE_OK, RESULT_IMPORTED, -1, 0, "abc"},
        {"{\"inputFile\":\"" KEY "\",\"importResponse\":{\"isPrimary\":true}}", RESULTS_SUCCESS, RESULTS_LINE_BAD, 0, 0, 0, ""},
        {"{\"inputFile\":\"" KEY "\"}", RESULTS_SUCCESS, RESULTS_LINE_BAD, 0, 0, 0, ""},
        {"{\"inputFile\":\"" KEY "\",\"exception\":{\"exceptionType\":\"ValidationException\",\"message\":\"DICOM attribute TransferSyntaxUID does not exist\"}}",
         RESULTS_FAILURE, RESULTS_LINE_OK, RESULT_REFUSED, 0, 0, "ValidationException: DICOM attribute TransferSyntaxUID does not exist"},
        {"{\"inputFile\":\"" KEY "\",\"exception\":{\"exceptionType\":\"InternalServerException\",\"message\":\"oops\"}}", RESULTS_FAILURE, RESULTS_LINE_OK, RESULT_RETRY, 0, 0, "InternalServerException: oops"},
        {"{\"inputFile\":\"" KEY "\",\"exception\":{\"exceptionType\":\"NobodyKnows\"}}", RESULTS_FAILURE, RESULTS_LINE_OK, RESULT_RETRY, 0, 0, "NobodyKnows"},
        {"{\"inputFile\":\"" KEY "\"}", RESULTS_FAILURE, RESULTS_LINE_OK, RESULT_RETRY, 0, 0, "no exception type"},
        /* bytes that are no UTF-8, a raw tab, an escaped newline: the line still says what it says */
        {"{\"inputFile\":\"" KEY "\",\"exception\":{\"exceptionType\":\"ValidationException\",\"message\":\"M\xfcller\tx\\ny\"}}", RESULTS_FAILURE, RESULTS_LINE_OK, RESULT_REFUSED, 0, 0, "ValidationException: M?ller x y"},
        {"", RESULTS_SUCCESS, RESULTS_LINE_EMPTY, 0, 0, 0, ""},
        {" \t\r", RESULTS_SUCCESS, RESULTS_LINE_EMPTY, 0, 0, 0, ""},
        {"{", RESULTS_SUCCESS, RESULTS_LINE_BAD, 0, 0, 0, ""},
        {"[1]", RESULTS_SUCCESS, RESULTS_LINE_BAD, 0, 0, 0, ""},
        {"null", RESULTS_SUCCESS, RESULTS_LINE_BAD, 0, 0, 0, ""},
        {"{\"inputFile\":7}", RESULTS_SUCCESS, RESULTS_LINE_BAD, 0, 0, 0, ""},
        {"{\"inputFile\":\"storescp/" BATCH "/note.txt\",\"importResponse\":{\"imageSetId\":\"abc\"}}", RESULTS_SUCCESS, RESULTS_LINE_FOREIGN, 0, 0, 0, ""},
        {"{\"inputFile\":\"storescp/" ONE "/" ONE ".dcm\",\"importResponse\":{\"imageSetId\":\"abc\"}}", RESULTS_SUCCESS, RESULTS_LINE_FOREIGN, 0, 0, 0, ""},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct state_result r;
        memset(&r, 0x55, sizeof r);
        enum results_line got = parse(table[i].line, table[i].file, &no_manifest, &r);
        if (got != table[i].expected) {
            fail_msg("line %zu: %d, expected %d", i, (int)got, (int)table[i].expected);
        }
        if (got != RESULTS_LINE_OK) {
            continue;
        }
        assert_string_equal(r.id, ONE);
        assert_int_equal(r.kind, table[i].kind);
        if (r.kind == RESULT_IMPORTED) {
            assert_string_equal(r.image_set_id, table[i].text);
            assert_int_equal(r.is_primary, table[i].primary);
            assert_int_equal(r.image_set_version, table[i].version);
            assert_int_equal(r.why.code, 0);
        } else {
            assert_string_equal(r.why.text, table[i].text);
            assert_int_equal(r.why.code, r.kind == RESULT_REFUSED ? ERR_IMPORT_REFUSED : ERR_IMPORT_SERVER);
        }
    }
}

static void a_warning_is_evidence_and_kept(void **unused)
{
    (void)unused;
    struct state_result r;
    assert_int_equal(parse("{\"inputFile\":\"" KEY "\",\"importResponse\":{\"imageSetId\":\"abc\",\"imageSetVersion\":1,\"isPrimary\":true,\"warnings\":["
                           "{\"warning_reason_code\":45330,\"type\":\"InvalidOffsetTable\",\"message\":\"m\"},{\"warning_reason_code\":45344}]}}",
                           RESULTS_WARNING, &no_manifest, &r), RESULTS_LINE_OK);
    assert_int_equal(r.kind, RESULT_IMPORTED);
    assert_int_equal(r.image_set_version, 1);
    assert_string_equal(r.warning, "HealthImaging warning 45330 InvalidOffsetTable: m; HealthImaging warning 45344 ");
    /* more than fits is cut, between characters */
    char line[4000] = "{\"inputFile\":\"" KEY "\",\"importResponse\":{\"imageSetId\":\"abc\",\"warnings\":[";
    for (int i = 0; i < 8; i++) {
        size_t used = strlen(line);
        (void)snprintf(line + used, sizeof line - used, "%s{\"warning_reason_code\":1,\"type\":\"t\",\"message\":\"%*s\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\"}", i ? "," : "", i, "");
    }
    size_t used = strlen(line);
    (void)snprintf(line + used, sizeof line - used, "]}}");
    assert_int_equal(parse(line, RESULTS_WARNING, &no_manifest, &r), RESULTS_LINE_OK);
    assert_in_range(strlen(r.warning), 200, 255);
    assert_true(r.warning[strlen(r.warning) - 1] != '\xc3');
}

static void manifests(void **unused)
{
    (void)unused;
    static const char good[] = "{\"jobSummary\":{\"jobId\":\"j\",\"numberOfScannedFiles\":5,\"numberOfImportedFiles\":3,\"numberOfFilesWithCustomerError\":2,"
                               "\"numberOfFilesWithServerError\":0,\"numberOfGeneratedImageSets\":2,\"imageSetsSummary\":["
                               "{\"imageSetId\":\"b\",\"numberOfMatchedSOPInstances\":2,\"imageSetVersion\":4,\"isPrimary\":False},{\"imageSetId\":\"a\"}]}}";
    struct results_manifest m;
    struct state_result r;
    struct err e = {0};
    assert_int_equal(results_manifest_parse(good, strlen(good), &m, &e), 0);
    assert_true(m.present && results_manifest_adds_up(&m));
    assert_int_equal(m.image_set_count, 2);
    /* a success line does not tell the version, its image set does */
    assert_int_equal(parse("{\"inputFile\":\"" KEY "\",\"importResponse\":{\"imageSetId\":\"b\"}}", RESULTS_SUCCESS, &m, &r), RESULTS_LINE_OK);
    assert_int_equal(r.image_set_version, 4);
    assert_int_equal(r.is_primary, 0);
    /* no server error was counted: whatever it is called, it is the file's fault */
    assert_int_equal(parse("{\"inputFile\":\"" KEY "\",\"exception\":{\"exceptionType\":\"InternalServerException\"}}", RESULTS_FAILURE, &m, &r), RESULTS_LINE_OK);
    assert_int_equal(r.kind, RESULT_REFUSED);
    m.customer_errors = 0;
    m.server_errors = 2;
    assert_int_equal(parse("{\"inputFile\":\"" KEY "\",\"exception\":{\"exceptionType\":\"ValidationException\"}}", RESULTS_FAILURE, &m, &r), RESULTS_LINE_OK);
    assert_int_equal(r.kind, RESULT_RETRY);
    results_manifest_clear(&m);
    static const struct {
        const char *text;
        int rc;
        bool adds_up;
    } table[] = {
        {"", ERR_PROTOCOL, false},
        {"{}", ERR_PROTOCOL, false},
        {"{\"jobSummary\":7}", ERR_PROTOCOL, false},
        {"{\"jobSummary\":{}}", ERR_PROTOCOL, false},
        {"{\"jobSummary\":{\"numberOfScannedFiles\":-1}}", ERR_PROTOCOL, false},
        {"{\"jobSummary\":{\"numberOfScannedFiles\":0}}", 0, true},
        {"{\"jobSummary\":{\"numberOfScannedFiles\":3,\"numberOfImportedFiles\":3}}", 0, true},
        {"{\"jobSummary\":{\"numberOfScannedFiles\":\"3\",\"numberOfImportedFiles\":\"2\"}}", 0, false},
        {"{\"jobSummary\":{\"numberOfScannedFiles\":2,\"numberOfImportedFiles\":3}}", 0, false},
        {"{\"jobSummary\":{\"numberOfScannedFiles\":9223372036854775807,\"numberOfImportedFiles\":9223372036854775807,"
         "\"numberOfFilesWithCustomerError\":9223372036854775807,\"numberOfFilesWithServerError\":9223372036854775807}}", 0, false},
        {"{\"jobSummary\":{\"numberOfScannedFiles\":1,\"numberOfImportedFiles\":1,\"imageSetsSummary\":[1,null,{},{\"imageSetId\":5}]}}", 0, true},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (results_manifest_parse(table[i].text, strlen(table[i].text), &m, &e) != table[i].rc) {
            fail_msg("manifest %zu", i);
        }
        assert_int_equal(m.present, table[i].rc == 0);
        assert_int_equal(results_manifest_adds_up(&m), table[i].adds_up);
        assert_int_equal(m.image_set_count, 0);
        results_manifest_clear(&m);
    }
}

static void names(void **unused)
{
    (void)unused;
    char out[64];
    assert_int_equal(results_folder("s3://out/r/", "ds", "job", out, sizeof out), 0);
    assert_string_equal(out, "s3://out/r/ds-DicomImport-job/");
    assert_int_equal(results_folder("s3://out/r/ds-DicomImport-job/", "ds", "job", out, sizeof out), 0);
    assert_string_equal(out, "s3://out/r/ds-DicomImport-job/");
    assert_int_equal(results_folder("s3://out/r/ds-DicomImport-job2", "ds", "job", out, sizeof out), 0);
    assert_string_equal(out, "s3://out/r/ds-DicomImport-job2/ds-DicomImport-job/");
    assert_int_equal(results_folder("s3://out/r/", "ds", "a-job-whose-name-is-too-long-for-the-buffer", out, sizeof out), ERR_TOO_LARGE);
    assert_int_equal(results_file_of("job-output-manifest.json"), RESULTS_MANIFEST);
    assert_int_equal(results_file_of("SUCCESS/success.ndjson"), RESULTS_SUCCESS);
    assert_int_equal(results_file_of("WARNING/warning.ndjson"), RESULTS_WARNING);
    assert_int_equal(results_file_of("FAILURE/failure.ndjson"), RESULTS_FAILURE);
    assert_int_equal(results_file_of("SUCCESS/"), RESULTS_OTHER);
    assert_int_equal(results_file_of("SUCCESS/.ndjson"), RESULTS_OTHER);
    assert_int_equal(results_file_of("success.ndjson"), RESULTS_OTHER);
    assert_int_equal(results_file_of(""), RESULTS_OTHER);
    static const struct {
        const char *key;
        bool ours;
    } keys[] = {{KEY, true},           {BATCH "/" ONE ".dcm", true},   {"x" BATCH "/" ONE ".dcm", false}, {ONE ".dcm", false}, {"/" ONE ".dcm", false},
                {"", false},           {KEY "x", false},               {BATCH "/" ONE, false},           {BATCH "/../" ONE ".dcm", false},
                {BATCH "/01M8AB1FQGR3PBPTBQZ6G121VV.dcm", false}};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char id[STATE_ID_SIZE] = "unchanged";
        if (results_instance_of(keys[i].key, BATCH, id) != keys[i].ours) {
            fail_msg("key %s", keys[i].key);
        }
        assert_string_equal(id, keys[i].ours ? ONE : "unchanged");
    }
}

static void slices(void **unused)
{
    (void)unused;
    const char *text = "ab\n\ncd";
    const char *line = NULL;
    size_t used = 0;
    size_t n = 9;
    assert_true(results_line_next(text, 6, false, &used, &line, &n));
    assert_int_equal(n, 2);
    assert_true(results_line_next(text, 6, false, &used, &line, &n));
    assert_int_equal(n, 0);
    assert_false(results_line_next(text, 6, false, &used, &line, &n)); /* its rest comes with the next slice */
    assert_int_equal(used, 4);
    assert_true(results_line_next(text, 6, true, &used, &line, &n));
    assert_memory_equal(line, "cd", 2);
    assert_false(results_line_next(text, 6, true, &used, &line, &n));
    assert_int_equal(used, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines), cmocka_unit_test(a_warning_is_evidence_and_kept), cmocka_unit_test(manifests),
        cmocka_unit_test(names), cmocka_unit_test(slices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
