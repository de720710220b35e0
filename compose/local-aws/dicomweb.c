/*
 * dicomweb - HealthImaging's StoreDICOM and StoreDICOMStudy, and the query that tells whether an instance is there (SearchDICOMInstances by SOPInstanceUID).
 *
 * The body, one application/dicom file or a multipart/related of them, goes to a file below tmp/ while its hash is made; then every part is really read.
 * What is stored becomes part of image sets exactly as by an import job of its own (image_sets.h), in one step, after a line for each in stores.log:
 * "<ms> <SOP Instance UID> <bytes> <SHA-256 of the part>". The same instance again is not recognised, as in a job: stored again.
 * Sources: HealthImaging developer guide "Storing instances with STOW-RS", "Searching DICOM data"; PS3.18 sections 10.5, 10.6, annexes F and I.
 */
#include "common/aws/request/sigv4.h"
#include "common/runtime/runtime.h"
#include "compose/local-aws/image_sets.h"
#include "compose/local-aws/imaging.h"
#include "compose/local-aws/results.h"
#include "compose/local-aws/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BOUNDARY_MAX = 70, PARTS_MAX = 5000, CANNOT_UNDERSTAND = 0xC000, DOES_NOT_MATCH = 0xA900, PROCESSING_FAILURE = 0x0110 };
static const int64_t body_max = INT64_C(1000000000);

struct store_request {
    struct request *r;
    const char *study; /* of the path; "" if none */
    struct import *import;
    json_t *stored, *failed; /* items */
    struct text log;
    bool warned;
    int parts;
};

/* ---- DICOM JSON ---------------------------------------------------------------------------------------------------------------------- */

static void add_text(json_t *object, const char *tag, const char *vr, const char *value)
{
    (void)json_object_set_new(object, tag, json_pack("{s:s s:[s]}", "vr", vr, "Value", value));
}

static void add_number(json_t *object, const char *tag, int value)
{
    (void)json_object_set_new(object, tag, json_pack("{s:s s:[i]}", "vr", "US", "Value", value));
}

static json_t *item_of(const struct dicom_scan *scan)
{
    json_t *item = json_object();
    if (scan->sop_class_uid[0]) {
        add_text(item, "00081150", "UI", scan->sop_class_uid);
    }
    if (scan->sop_instance_uid[0]) {
        add_text(item, "00081155", "UI", scan->sop_instance_uid);
    }
    return item;
}

static void add_url(const struct request *r, json_t *item, const struct dicom_scan *scan)
{
    char url[700];
    const char *host = request_header(r, "Host");
    (void)snprintf(url, sizeof url, "http://%.200s/datastore/%s/studies/%s/series/%s/instances/%s", host ? host : "localhost", r->ids[0], scan->study_uid,
                   scan->series_uid, scan->sop_instance_uid);
    add_text(item, "00081190", "UR", url);
}

/* ---- one instance ----------------------------------------------------------------------------------------------------------------------- */

static void fail_part(struct store_request *s, const struct dicom_scan *scan, int reason)
{
    json_t *item = item_of(scan);
    add_number(item, "00081197", reason);
    (void)json_array_append_new(s->failed, item);
}

static int store_part(struct store_request *s, const unsigned char *bytes, size_t count, struct err *e)
{
    struct dicom_scan scan;
    struct import_place place;
    struct fault_effect ordered;
    char message[200];
    char where[300];
    char sha256[65];
    memset(&scan, 0, sizeof scan);
    int rc = dicom_scan_memory(bytes, count, &scan, e);
    results_judge(&scan, rc, message, sizeof message);
    faults_match(s->r->app->faults, "StoreInstance", scan.sop_instance_uid, &ordered);
    if (ordered.failure_reason != 0 || ordered.server_error || ordered.customer_error) {
        fail_part(s, &scan, ordered.failure_reason != 0 ? ordered.failure_reason : ordered.server_error ? PROCESSING_FAILURE : DOES_NOT_MATCH);
        return 0;
    }
    if (message[0] || (s->study[0] && strcmp(s->study, scan.study_uid) != 0)) {
        fail_part(s, &scan, rc != 0 ? CANNOT_UNDERSTAND : DOES_NOT_MATCH);
        return 0;
    }
    (void)snprintf(where, sizeof where, "stow/%s/%s/%s.dcm", scan.study_uid, scan.series_uid, scan.sop_instance_uid);
    rc = import_add(s->import, &scan, where, &place, e);
    if (rc != 0) {
        return rc;
    }
    sigv4_sha256_hex(bytes, count, sha256);
    text_addf(&s->log, "%lld %s %zu %s\n", (long long)clock_wall_ms(), scan.sop_instance_uid, count, sha256);
    if (!ordered.drop_result) {
        json_t *item = item_of(&scan);
        int warning = results_warning(&scan);
        add_url(s->r, item, &scan);
        if (warning != 0) {
            add_number(item, "00081196", warning);
            s->warned = true;
        }
        (void)json_array_append_new(s->stored, item);
    }
    return 0;
}

/* ---- the parts of a body ------------------------------------------------------------------------------------------------------------------ */

/* The value of a parameter of Content-Type, without quotes; false: absent, or it does not fit. */
static bool parameter(const char *type, const char *name, char *out, size_t size)
{
    size_t length = strlen(name);
    for (const char *p = strchr(type, ';'); p; p = strchr(p, ';')) {
        p += 1 + strspn(p + 1, " \t");
        if (strncasecmp(p, name, length) == 0 && p[length] == '=') {
            p += length + 1;
            bool quoted = *p == '"';
            size_t n = quoted ? strcspn(++p, "\"") : strcspn(p, "; \t");
            return snprintf(out, size, "%.*s", (int)(n < size ? n : size), p) < (int)size && n > 0;
        }
    }
    return false;
}

/* A part's head is there and says application/dicom: where its bytes begin. NULL: it is not. */
static const unsigned char *content_of(const unsigned char *part, const unsigned char *end)
{
    const unsigned char *blank = memmem(part, (size_t)(end - part), "\r\n\r\n", 4);
    size_t head = blank ? (size_t)(blank - part) : 0;
    char text[1000];
    if (!blank || head >= sizeof text) {
        return NULL;
    }
    memcpy(text, part, head);
    text[head] = '\0';
    return strcasestr(text, "content-type: application/dicom") ? blank + 4 : NULL;
}

/* NULL, or what is wrong with the body. */
static const char *each_part(struct store_request *s, const unsigned char *body, size_t bytes, const char *boundary, int *rc, struct err *e)
{
    char line[BOUNDARY_MAX + 8];
    const unsigned char *end = body + bytes;
    int length = snprintf(line, sizeof line, "\r\n--%s", boundary);
    const unsigned char *at = bytes >= (size_t)length - 2 && memcmp(body, line + 2, (size_t)length - 2) == 0
                                  ? body + length - 2 : memmem(body, bytes, line, (size_t)length);
    at = at && memcmp(body, line + 2, (size_t)length - 2) != 0 ? at + length : at;
    while (at && *rc == 0) {
        if (end - at >= 2 && memcmp(at, "--", 2) == 0) {
            return s->parts > 0 ? NULL : "the body has no part";
        }
        if (end - at < 2 || memcmp(at, "\r\n", 2) != 0) {
            return "a boundary does not end its line";
        }
        const unsigned char *next = memmem(at, (size_t)(end - at), line, (size_t)length);
        const unsigned char *content = next ? content_of(at + 2, next) : NULL;
        if (!content || ++s->parts > PARTS_MAX) {
            return !next ? "the closing boundary is missing" : !content ? "a part is not application/dicom" : "too many parts";
        }
        *rc = store_part(s, content, (size_t)(next - content), e);
        at = next + length;
    }
    return at ? NULL : "the boundary is not in the body";
}

/* Reads the whole body. NULL, or what is wrong with it. */
static const char *read_body(struct store_request *s, const char *type, const unsigned char *body, size_t bytes, int *rc, struct err *e)
{
    char boundary[BOUNDARY_MAX + 1];
    char kind[64];
    if (strncasecmp(type, "application/dicom", 17) == 0 && (type[17] == '\0' || type[17] == ';')) {
        s->parts = 1;
        *rc = store_part(s, body, bytes, e);
        return NULL;
    }
    if (strncasecmp(type, "multipart/related", 17) != 0 || !parameter(type, "type", kind, sizeof kind) || strcasecmp(kind, "application/dicom") != 0) {
        return "Content-Type is neither application/dicom nor a multipart/related of it";
    }
    return parameter(type, "boundary", boundary, sizeof boundary) ? each_part(s, body, bytes, boundary, rc, e) : "Content-Type names no boundary";
}

/* ---- StoreDICOM ------------------------------------------------------------------------------------------------------------------------------ */

static int write_log(const struct store_request *s, struct err *e)
{
    char path[STORE_PATH];
    (void)snprintf(path, sizeof path, "%s/stores.log", store_data(s->r->app->store));
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_set(e, err_from_errno(errno), errno, "cannot write %s", path);
    }
    int rc = write_all(fd, s->log.bytes ? s->log.bytes : "", s->log.used, e);
    (void)close(fd);
    return rc;
}

static int commit(struct store_request *s, struct err *e)
{
    json_t *outcome = json_pack("{s:s s:s s:I}", "status", "COMPLETED", "message", "", "ended_ms", (json_int_t)clock_wall_ms());
    int rc = s->log.used > 0 ? write_log(s, e) : 0;
    if (rc == 0 && s->log.used > 0) {
        rc = import_commit(s->import, outcome, e);
    }
    json_decref(outcome);
    return rc;
}

static void answer(struct store_request *s)
{
    bool some_failed = json_array_size(s->failed) > 0;
    unsigned status = !some_failed && !s->warned ? 200 : s->log.used > 0 ? 202 : 409;
    json_t *module = json_object();
    (void)json_object_set_new(module, "00081199", json_pack("{s:s s:O}", "vr", "SQ", "Value", s->stored));
    if (some_failed) {
        (void)json_object_set_new(module, "00081198", json_pack("{s:s s:O}", "vr", "SQ", "Value", s->failed));
    }
    answer_json(s->r, status, module);
    answer_header(s->r, "Content-Type", "application/dicom+json");
}

static void store_all(struct store_request *s, const unsigned char *body, size_t bytes)
{
    struct request *r = s->r;
    const char *type = request_header(r, "Content-Type");
    struct err e = {0};
    int rc = 0;
    const char *wrong = read_body(s, type ? type : "", body, bytes, &rc, &e);
    if (wrong) {
        answer_refuse(r, 400, "ValidationException", "%s", wrong);
        return;
    }
    rc = rc ? rc : commit(s, &e);
    if (rc != 0) {
        answer_trouble(r, &e);
    } else {
        answer(s);
    }
}

/* With the literal words in x-amz-content-sha256 the body is plain all the same, as the guide's example sends it; its length must be told then. */
static bool length_is_told(struct request *r, int64_t bytes)
{
    const char *hash = request_header(r, "x-amz-content-sha256");
    const char *said = request_header(r, "x-amz-decoded-content-length");
    if (hash && strncmp(hash, "STREAMING-", 10) == 0 && (!said || strtoll(said, NULL, 10) != bytes)) {
        answer_refuse(r, 400, "ValidationException", "x-amz-decoded-content-length is missing or is not the length of the body");
        return false;
    }
    return true;
}

void dicomweb_store(struct request *r)
{
    struct digest digest;
    enum checksum which;
    char id[40];
    struct err e = {0};
    if (!imaging_may(r) || !upload_finish(r, &digest, &which) || !length_is_told(r, digest.bytes)) {
        return;
    }
    if (digest.bytes == 0 || digest.bytes > body_max) {
        answer_refuse(r, digest.bytes == 0 ? 400 : 413, digest.bytes == 0 ? "ValidationException" : "RequestEntityTooLargeException",
                      "a request holds 1 byte to 1 GB of DICOM data");
        return;
    }
    (void)snprintf(id, sizeof id, "stow-%s", r->id);
    struct store_request s = {.r = r, .study = r->ids[1], .stored = json_array(), .failed = json_array()};
    void *body = mmap(NULL, (size_t)digest.bytes, PROT_READ, MAP_PRIVATE, upload_fd(r->upload), 0);
    s.import = body == MAP_FAILED ? NULL : import_begin(r->app->image_sets, id);
    if (!s.import) {
        (void)err_set(&e, ERR_MEMORY, errno, "no memory for a store request");
        answer_trouble(r, &e);
    } else {
        store_all(&s, body, (size_t)digest.bytes);
    }
    import_free(s.import);
    if (body != MAP_FAILED) {
        (void)munmap(body, (size_t)digest.bytes);
    }
    json_decref(s.stored);
    json_decref(s.failed);
    text_clear(&s.log);
}

/* ---- SearchDICOMInstances -------------------------------------------------------------------------------------------------------------------- */

/* r->ids: data store, and study and series if the path names them. */
void dicomweb_search_instances(struct request *r)
{
    char sop[72];
    if (!imaging_may(r)) {
        return;
    }
    if (!request_query(r, "SOPInstanceUID", sop, sizeof sop) && !request_query(r, "00080018", sop, sizeof sop)) {
        answer_refuse(r, 400, "ValidationException", "the stand-in searches for one SOPInstanceUID");
        return;
    }
    json_t *found = json_array();
    json_t *set = image_sets_of_instance(r->app->image_sets, sop);
    const char *study = json_string_value(json_object_get(set, "study"));
    const char *series = json_string_value(json_object_get(set, "series"));
    if (study && series && (!r->ids[1][0] || (strcmp(study, r->ids[1]) == 0 && strcmp(series, r->ids[2]) == 0))) {
        json_t *one = json_object();
        add_text(one, "00080018", "UI", sop);
        add_text(one, "0020000D", "UI", study);
        add_text(one, "0020000E", "UI", series);
        (void)json_array_append_new(found, one);
    }
    json_decref(set);
    answer_json(r, 200, found);
    answer_header(r, "Content-Type", "application/dicom+json");
}
