/* results - see results.h. */
#include "compose/local-aws/results.h"

#include "common/runtime/log.h"

#include <stdlib.h>
#include <string.h>

void results_clear(struct results *x)
{
    text_clear(&x->success);
    text_clear(&x->failure);
    text_clear(&x->warning);
    memset(x, 0, sizeof *x);
}

/* Takes the line's reference. */
static void add_line(struct text *t, json_t *line)
{
    char *made = json_dumps(line, JSON_COMPACT);
    t->failed = t->failed || !made;
    text_addf(t, "%s\n", made ? made : "");
    free(made);
    json_decref(line);
}

void results_judge(const struct dicom_scan *scan, int scan_rc, char *message, size_t size)
{
    const struct {
        const char *value, *name;
    } needed[] = {{scan->sop_class_uid, "SOPClassUID"},
                  {scan->study_uid, "StudyInstanceUID"},
                  {scan->series_uid, "SeriesInstanceUID"},
                  {scan->sop_instance_uid, "SOPInstanceUID"}};
    message[0] = '\0';
    if (scan->transfer_syntax_uid[0] == '\0') {
        (void)snprintf(message, size, "DICOM attribute TransferSyntaxUID does not exist");
        return;
    }
    if (scan_rc != 0) {
        (void)snprintf(message, size, "DICOM file cannot be read");
        return;
    }
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (needed[i].value[0] == '\0') {
            (void)snprintf(message, size, "DICOM attribute %s does not exist", needed[i].name);
            return;
        }
    }
}

void results_add_failure(struct results *x, const char *key, const char *type, const char *message, bool is_server, bool drop)
{
    x->scanned++;
    x->server_errors += is_server;
    x->customer_errors += !is_server;
    if (!drop) {
        add_line(&x->failure, json_pack("{s:s s:{s:s s:s}}", "inputFile", key, "exception", "exceptionType", type, "message", message));
    }
}

static void warn(json_t *list, bool is_so, int code, const char *type, const char *message)
{
    if (is_so) {
        (void)json_array_append_new(list, json_pack("{s:i s:s s:s}", "warning_reason_code", code, "type", type, "message", message));
    }
}

static json_t *warnings_of(const struct dicom_scan *scan)
{
    json_t *list = json_array();
    const struct dicom_ts *syntax = dicom_ts_find(scan->transfer_syntax_uid);
    bool bad_uid = scan->uid_is_odd || !dicom_uid_is_legal(scan->study_uid) || !dicom_uid_is_legal(scan->series_uid) ||
                   !dicom_uid_is_legal(scan->sop_instance_uid) || !dicom_uid_is_legal(scan->sop_class_uid);
    warn(list, !syntax || !syntax->imported, 45344, "UnsupportedTransferSyntax", "The transfer syntax is not supported; the pixel data is kept as it is");
    /* these two as the guide prints them in decimal, which is one more than its own hexadecimal */
    warn(list, bad_uid, 45570, "InvalidUidFormat", "A unique identifier does not have the format of one");
    warn(list, scan->long_tag != 0, 45571, "InvalidDicomValueLength", "A value is longer than the maximum length");
    return list;
}

int results_warning(const struct dicom_scan *scan)
{
    json_t *list = warnings_of(scan);
    int code = (int)json_integer_value(json_object_get(json_array_get(list, 0), "warning_reason_code"));
    json_decref(list);
    return code;
}

void results_add_import(struct results *x, const char *key, const struct dicom_scan *scan, const struct import_place *place, bool drop)
{
    json_t *warnings = warnings_of(scan);
    json_t *response = json_pack("{s:s s:b}", "imageSetId", place->image_set, "isPrimary", place->primary);
    bool warned = json_array_size(warnings) > 0;
    x->scanned++;
    x->imported++;
    if (warned) {
        (void)json_object_set_new(response, "imageSetVersion", json_integer(place->version));
        (void)json_object_set(response, "warnings", warnings);
    }
    json_t *line = json_pack("{s:s s:o}", "inputFile", key, "importResponse", response);
    if (!drop) {
        add_line(warned ? &x->warning : &x->success, line);
    } else {
        json_decref(line);
    }
    json_decref(warnings);
}

void results_add_strange(struct results *x)
{
    static const char image_set[] = "00000000000000000000000000000000";
    text_add(&x->success, "{\"inputFile\": \n");
    add_line(&x->success, json_pack("{s:s s:{s:s s:b}}", "inputFile", "elsewhere/00000000000000000000000000.dcm", "importResponse", "imageSetId", image_set,
                                    "isPrimary", true));
    add_line(&x->failure, json_pack("{s:s}", "somethingNew", "that this version of the service does not say yet"));
}

static int write_lines(struct store *store, const struct text *t, const char *bucket, const char *folder, const char *name, struct err *e)
{
    char key[STORE_KEY_MAX + 1];
    if (t->failed) {
        return err_set(e, ERR_MEMORY, 0, "no memory for the results of a job");
    }
    if (t->used == 0) {
        return 0;
    }
    if (snprintf(key, sizeof key, "%s%s", folder, name) >= (int)sizeof key) {
        return err_set(e, ERR_ARGUMENT, 0, "the output folder's name is too long");
    }
    return store_write(store, bucket, key, "application/x-ndjson", t->bytes, t->used, e);
}

static json_t *manifest(const struct results *x, json_t *job, json_t *summary)
{
    const char *output = json_string_value(json_object_get(job, "outputS3Uri"));
    json_t *inner = json_pack("{s:O s:O s:O s:s s:s+ s:s+ s:s+ s:i s:i s:i s:i s:i s:O}", "jobId", json_object_get(job, "jobId"), "datastoreId",
                              json_object_get(job, "datastoreId"), "inputS3Uri", json_object_get(job, "inputS3Uri"), "outputS3Uri", output,
                              "successOutputS3Uri", output, "SUCCESS/", "failureOutputS3Uri", output, "FAILURE/", "warningsOutputS3Uri", output,
                              "WARNING/", "numberOfScannedFiles", x->scanned, "numberOfImportedFiles", x->imported,
                              "numberOfFilesWithCustomerError", x->customer_errors, "numberOfFilesWithServerError", x->server_errors,
                              "numberOfGeneratedImageSets", (int)json_array_size(summary), "imageSetsSummary", summary);
    return json_pack("{s:o}", "jobSummary", inner);
}

int results_write(const struct results *x, struct store *store, json_t *job, json_t *summary, const char *bucket, const char *folder,
                  struct err *e)
{
    char key[STORE_KEY_MAX + 1];
    int rc = write_lines(store, &x->success, bucket, folder, "SUCCESS/success.ndjson", e);
    if (rc == 0) {
        rc = write_lines(store, &x->failure, bucket, folder, "FAILURE/failure.ndjson", e);
    }
    if (rc == 0) {
        rc = write_lines(store, &x->warning, bucket, folder, "WARNING/warning.ndjson", e);
    }
    if (rc != 0) {
        return rc;
    }
    json_t *whole = manifest(x, job, summary);
    char *text = json_dumps(whole, JSON_INDENT(2));
    if (!text || snprintf(key, sizeof key, "%sjob-output-manifest.json", folder) >= (int)sizeof key) {
        rc = err_set(e, text ? ERR_ARGUMENT : ERR_MEMORY, 0, "cannot write a manifest");
    } else {
        rc = store_write(store, bucket, key, "application/json", text, strlen(text), e);
    }
    free(text);
    json_decref(whole);
    return rc;
}
