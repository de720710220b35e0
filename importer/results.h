/*
 * results - reads what an import job left in its output folder. Pure: no I/O, no clock, no globals; the input may be anything.
 *
 * Layout (HealthImaging developer guide, "Understanding import jobs"): <outputS3Uri>/<datastore>-DicomImport-<job>/ with
 * job-output-manifest.json, SUCCESS/, FAILURE/ and WARNING/ of *.ndjson, one line for each file, keyed by the object's key.
 * Read tolerantly: the guide's examples print True and False as Python does; bytes that are no UTF-8 and control characters are
 * replaced; fields may be missing, new ones are ignored. A line that cannot be read is counted and never touches the others.
 */
#ifndef STORESCP_IMPORTER_RESULTS_H
#define STORESCP_IMPORTER_RESULTS_H

#include "common/state/state.h"

enum { RESULTS_MANIFEST_MAX = 16 << 20, RESULTS_IMAGE_SETS_MAX = 20000 };

struct results_image_set {
    char id[40];
    int version;    /* 0: not told */
    int is_primary; /* 1, 0, -1: not told */
};
struct results_manifest {
    bool present; /* false: there is none, all counts are unknown */
    int64_t scanned, imported, customer_errors, server_errors;
    struct results_image_set *image_sets; /* heap, sorted by id */
    size_t image_set_count;
};
/* Parses job-output-manifest.json. ERR_PROTOCOL if it is none. results_manifest_clear() afterwards. */
int results_manifest_parse(const char *text, size_t size, struct results_manifest *out, struct err *e);
void results_manifest_clear(struct results_manifest *m);
/* scanned = imported + errors of both kinds */
bool results_manifest_adds_up(const struct results_manifest *m);

/* Where the results of a job lie: its output URI with the job's folder, which HealthImaging adds in its answers, ending in '/'.
 * ERR_TOO_LARGE if it does not fit. */
int results_folder(const char *output_uri, const char *datastore_id, const char *job_id, char *out, size_t size);

/* What an object in that folder (key after the folder's prefix) is. */
enum results_file { RESULTS_OTHER, RESULTS_MANIFEST, RESULTS_SUCCESS, RESULTS_WARNING, RESULTS_FAILURE };
enum results_file results_file_of(const char *name);

/* "<anything>/<batch>/<anything><instance id>.dcm" -> instance id (s3_key.h); false for a key of another batch or form. */
bool results_instance_of(const char *key, const char *batch, char id[STATE_ID_SIZE]);

enum results_line {
    RESULTS_LINE_OK,
    RESULTS_LINE_EMPTY,
    RESULTS_LINE_BAD,    /* no JSON, or no inputFile */
    RESULTS_LINE_FOREIGN /* a file that is no instance of this batch */
};
/* One line of a file of that kind. A failure becomes RESULT_RETRY when it is the service's fault, RESULT_REFUSED when it is the file's:
 * by the manifest's counts where they leave no choice, else by the exception's name; in doubt RETRY, which is limited by the number of jobs. */
enum results_line results_line_parse(const char *line, size_t size, enum results_file file, const struct results_manifest *m,
                                     const char *batch, struct state_result *out);

/* Takes the next whole line from text. last: no more text follows, so a line without its newline counts too. Returns false if there is none;
 * *used grows by what was taken. */
bool results_line_next(const char *text, size_t size, bool last, size_t *used, const char **line, size_t *line_size);

#endif
