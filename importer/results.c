/* results - see results.h. */
#include "importer/results.h"
#include "common/aws/s3/s3_key.h"

#include "common/runtime/runtime.h"

#include <ctype.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- tolerance ------------------------------------------------------------------------------------------------------------- */

/* Length of the UTF-8 sequence at text, 0 if it is none (RFC 3629). */
static size_t sequence(const unsigned char *text, size_t rest)
{
    size_t n = text[0] < 0x80 ? 1 : text[0] >= 0xc2 && text[0] <= 0xdf ? 2 : (text[0] & 0xf0) == 0xe0 ? 3 : text[0] >= 0xf0 && text[0] <= 0xf4 ? 4 : 0;
    if (n > rest) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (text[0] == 0xe0 && n == 3 && text[1] < 0xa0) || (text[0] == 0xf0 && n == 4 && text[1] < 0x90);
    bool outside = (text[0] == 0xed && n == 3 && text[1] > 0x9f) || (text[0] == 0xf4 && n == 4 && text[1] > 0x8f);
    return overlong || outside ? 0 : n;
}

/* Makes text JSON where it nearly is: in place, no length changes. */
static void mend(char *text, size_t size)
{
    static const struct {
        const char *python, *json;
    } words[] = {{"True", "true"}, {"False", "false"}, {"None", "null"}};
    bool inside = false; /* a string */
    for (size_t i = 0; i < size;) {
        size_t n = sequence((const unsigned char *)text + i, size - i);
        if (n != 1) {
            if (n == 0) {
                text[i] = '?';
            }
            i += n ? n : 1;
            continue;
        }
        if (inside && text[i] == '\\' && i + 1 < size) {
            i += 2;
            continue;
        }
        if (text[i] == '"') {
            inside = !inside;
        } else if (inside && (unsigned char)text[i] < 0x20) {
            text[i] = ' ';
        }
        for (size_t w = 0; !inside && w < sizeof words / sizeof words[0]; w++) {
            size_t length = strlen(words[w].python);
            if (size - i >= length && memcmp(text + i, words[w].python, length) == 0) {
                memcpy(text + i, words[w].json, length);
            }
        }
        i++;
    }
}

/* The JSON object in text, NULL if it is none. */
static json_t *read_object(const char *text, size_t size)
{
    char *copy = malloc(size + 1);
    if (!copy) {
        return NULL;
    }
    memcpy(copy, text, size);
    copy[size] = '\0';
    mend(copy, size);
    json_t *root = json_loadb(copy, size, JSON_ALLOW_NUL, NULL);
    free(copy);
    if (root && !json_is_object(root)) {
        json_decref(root);
        root = NULL;
    }
    return root;
}

/* A number, or a text that is one; fallback for everything else and for what no counter can be. */
static int64_t number_of(const json_t *value, int64_t fallback)
{
    if (json_is_integer(value)) {
        json_int_t n = json_integer_value(value);
        return n >= 0 ? n : fallback;
    }
    const char *text = json_string_value(value);
    if (text && isdigit((unsigned char)text[0]) && strlen(text) < 16) {
        return strtoll(text, NULL, 10);
    }
    return fallback;
}

static int truth_of(const json_t *value)
{
    const char *text = json_string_value(value);
    if (json_is_boolean(value)) {
        return json_is_true(value);
    }
    return text && strcasecmp(text, "true") == 0 ? 1 : text && strcasecmp(text, "false") == 0 ? 0 : -1;
}

/* Copies a text, at most size - 1 bytes, no half character at the end, no control characters. */
static void copy_text(const json_t *value, char *out, size_t size)
{
    const char *text = json_string_value(value);
    size_t n = 0;
    size_t length = json_string_length(value);
    for (size_t i = 0; text && i < length;) {
        size_t step = sequence((const unsigned char *)text + i, length - i);
        step = step ? step : 1;
        if (n + step >= size) {
            break;
        }
        for (size_t k = 0; k < step; k++) {
            unsigned char c = (unsigned char)text[i + k];
            out[n++] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
        }
        i += step;
    }
    out[n] = '\0';
}

/* ---- the manifest ------------------------------------------------------------------------------------------------------------ */

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct results_image_set *)a)->id, ((const struct results_image_set *)b)->id);
}

static int version_of(const json_t *value)
{
    int64_t n = number_of(value, 0);
    return n > INT_MAX ? 0 : (int)n;
}

int results_manifest_parse(const char *text, size_t size, struct results_manifest *out, struct err *e)
{
    memset(out, 0, sizeof *out);
    json_t *root = size <= RESULTS_MANIFEST_MAX ? read_object(text, size) : NULL;
    json_t *summary = json_object_get(root, "jobSummary");
    if (!json_is_object(summary) || number_of(json_object_get(summary, "numberOfScannedFiles"), -1) < 0) {
        json_decref(root);
        return err_set(e, ERR_PROTOCOL, 0, "job-output-manifest.json (%zu bytes) cannot be read as a manifest", size);
    }
    const json_t *sets = json_object_get(summary, "imageSetsSummary");
    size_t count = json_array_size(sets);
    count = count > RESULTS_IMAGE_SETS_MAX ? RESULTS_IMAGE_SETS_MAX : count;
    out->image_sets = count ? calloc(count, sizeof *out->image_sets) : NULL;
    if (count && !out->image_sets) {
        json_decref(root);
        return err_set(e, ERR_MEMORY, 0, "cannot hold the image sets of a manifest");
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_array_get(sets, i);
        struct results_image_set *set = &out->image_sets[out->image_set_count];
        copy_text(json_object_get(one, "imageSetId"), set->id, sizeof set->id);
        set->version = version_of(json_object_get(one, "imageSetVersion"));
        set->is_primary = truth_of(json_object_get(one, "isPrimary"));
        out->image_set_count += set->id[0] != '\0';
    }
    if (out->image_set_count) {
        qsort(out->image_sets, out->image_set_count, sizeof *out->image_sets, by_id);
    }
    out->present = true;
    out->scanned = number_of(json_object_get(summary, "numberOfScannedFiles"), 0);
    out->imported = number_of(json_object_get(summary, "numberOfImportedFiles"), 0);
    out->customer_errors = number_of(json_object_get(summary, "numberOfFilesWithCustomerError"), 0);
    out->server_errors = number_of(json_object_get(summary, "numberOfFilesWithServerError"), 0);
    json_decref(root);
    return 0;
}

void results_manifest_clear(struct results_manifest *m)
{
    free(m->image_sets);
    memset(m, 0, sizeof *m);
}

bool results_manifest_adds_up(const struct results_manifest *m)
{
    /* as differences, so that no sum of what another side sent can overflow */
    return m->present && m->scanned >= m->imported && m->scanned - m->imported >= m->customer_errors &&
           m->scanned - m->imported - m->customer_errors == m->server_errors;
}

/* ---- names ----------------------------------------------------------------------------------------------------------------------- */

int results_folder(const char *output_uri, const char *datastore_id, const char *job_id, char *out, size_t size)
{
    char folder[128];
    size_t length = strlen(output_uri);
    while (length > 0 && output_uri[length - 1] == '/') {
        length--;
    }
    int f = snprintf(folder, sizeof folder, "/%s-DicomImport-%s", datastore_id, job_id);
    if (f < 0 || (size_t)f >= sizeof folder || length > INT_MAX) {
        return ERR_TOO_LARGE;
    }
    bool there = length >= (size_t)f && memcmp(output_uri + length - (size_t)f, folder, (size_t)f) == 0;
    int n = snprintf(out, size, "%.*s%s/", (int)length, output_uri, there ? "" : folder);
    return n < 0 || (size_t)n >= size ? ERR_TOO_LARGE : 0;
}

enum results_file results_file_of(const char *name)
{
    static const struct {
        const char *folder;
        enum results_file file;
    } folders[] = {{"SUCCESS/", RESULTS_SUCCESS}, {"FAILURE/", RESULTS_FAILURE}, {"WARNING/", RESULTS_WARNING}};
    size_t length = strlen(name);
    if (strcmp(name, "job-output-manifest.json") == 0) {
        return RESULTS_MANIFEST;
    }
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        size_t n = strlen(folders[i].folder);
        if (strncmp(name, folders[i].folder, n) == 0 && length > n + 7 && strcmp(name + length - 7, ".ndjson") == 0) {
            return folders[i].file;
        }
    }
    return RESULTS_OTHER;
}

bool results_instance_of(const char *key, const char *batch, char id[STATE_ID_SIZE])
{
    enum { ID = STATE_ID_SIZE - 1, NAME = ID + 4 };
    size_t length = strlen(key);
    size_t folder = strlen(batch) == ID ? s3_key_folder(key, batch) : 0;
    if (folder == 0 || length < folder + NAME || strcmp(key + length - 4, ".dcm") != 0 || strstr(key + folder - 1, "/.") || strstr(key + folder - 1, "//")) {
        return false;
    }
    char candidate[STATE_ID_SIZE];
    (void)snprintf(candidate, sizeof candidate, "%.*s", ID, key + length - NAME);
    if (!id_is_legal(candidate)) {
        return false;
    }
    memcpy(id, candidate, sizeof candidate);
    return true;
}

/* ---- lines -------------------------------------------------------------------------------------------------------------------------- */

/* "type (code): message; ..." of the warnings of a line */
static void read_warnings(const json_t *response, char *out, size_t size)
{
    const json_t *warnings = json_object_get(response, "warnings");
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < json_array_size(warnings) && used + 1 < size; i++) {
        const json_t *one = json_array_get(warnings, i);
        char type[64];
        char message[200];
        copy_text(json_object_get(one, "type"), type, sizeof type);
        copy_text(json_object_get(one, "message"), message, sizeof message);
        int n = snprintf(out + used, size - used, "%sHealthImaging warning %lld %s%s%s", used ? "; " : "",
                         (long long)number_of(json_object_get(one, "warning_reason_code"), 0), type, message[0] ? ": " : "", message);
        used = n < 0 || (size_t)n >= size - used ? size : used + (size_t)n;
    }
    /* a cut may have left half a character */
    size_t length = strlen(out);
    for (size_t i = 0; i < length;) {
        size_t n = sequence((const unsigned char *)out + i, length - i);
        if (n == 0) {
            out[i] = '\0';
            break;
        }
        i += n;
    }
}

static bool is_service_fault(const char *type, const struct results_manifest *m)
{
    static const char *const words[] = {"Server", "Internal", "Throttl", "Unavailable", "Timeout", "TooManyRequests", "SlowDown"};
    static const char *const others[] = {"Validation", "Dicom", "DICOM", "Invalid", "Unsupported", "AccessDenied", "Conflict", "TooLarge", "NotFound"};
    if (m->present && m->server_errors == 0) {
        return false;
    }
    if (m->present && m->customer_errors == 0) {
        return true;
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strstr(type, words[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strstr(type, others[i])) {
            return false;
        }
    }
    return true;
}

static void read_failure(const json_t *root, const struct results_manifest *m, struct state_result *out)
{
    const json_t *exception = json_object_get(root, "exception");
    char type[80];
    char message[230];
    copy_text(json_object_get(exception, "exceptionType"), type, sizeof type);
    copy_text(json_object_get(exception, "message"), message, sizeof message);
    bool again = is_service_fault(type, m);
    out->kind = again ? RESULT_RETRY : RESULT_REFUSED;
    (void)err_set(&out->why, again ? ERR_IMPORT_SERVER : ERR_IMPORT_REFUSED, 0, "%s%s%s", type[0] ? type : "no exception type",
                  message[0] ? ": " : "", message);
}

enum results_line results_line_parse(const char *line, size_t size, enum results_file file, const struct results_manifest *m,
                                     const char *batch, struct state_result *out)
{
    char key[1100];
    while (size > 0 && isspace((unsigned char)line[size - 1])) {
        size--;
    }
    if (size == 0) {
        return RESULTS_LINE_EMPTY;
    }
    json_t *root = read_object(line, size);
    const json_t *input = json_object_get(root, "inputFile");
    if (!json_is_string(input)) {
        json_decref(root);
        return RESULTS_LINE_BAD;
    }
    struct state_result r;
    memset(&r, 0, sizeof r);
    copy_text(input, key, sizeof key);
    if (!results_instance_of(key, batch, r.id)) {
        json_decref(root);
        return RESULTS_LINE_FOREIGN;
    }
    if (file == RESULTS_FAILURE) {
        read_failure(root, m, &r);
    } else {
        const json_t *response = json_object_get(root, "importResponse");
        struct results_image_set wanted = {0};
        r.kind = RESULT_IMPORTED;
        copy_text(json_object_get(response, "imageSetId"), r.image_set_id, sizeof r.image_set_id);
        r.image_set_version = version_of(json_object_get(response, "imageSetVersion"));
        r.is_primary = truth_of(json_object_get(response, "isPrimary"));
        read_warnings(response, r.warning, sizeof r.warning);
        (void)snprintf(wanted.id, sizeof wanted.id, "%s", r.image_set_id);
        const struct results_image_set *set =
            m->image_set_count ? bsearch(&wanted, m->image_sets, m->image_set_count, sizeof wanted, by_id) : NULL;
        r.image_set_version = r.image_set_version || !set ? r.image_set_version : set->version;
        r.is_primary = r.is_primary >= 0 || !set ? r.is_primary : set->is_primary;
        if (!r.image_set_id[0]) { /* an import without its image set is no evidence */
            json_decref(root);
            return RESULTS_LINE_BAD;
        }
    }
    json_decref(root);
    *out = r;
    return RESULTS_LINE_OK;
}

bool results_line_next(const char *text, size_t size, bool last, size_t *used, const char **line, size_t *line_size)
{
    const char *begin = text + *used;
    size_t rest = size - *used;
    const char *end = rest ? memchr(begin, '\n', rest) : NULL;
    if (!end && (!last || rest == 0)) {
        return false;
    }
    *line = begin;
    *line_size = end ? (size_t)(end - begin) : rest;
    *used += *line_size + (end ? 1 : 0);
    return true;
}
