/*
 * results - the files that an import job leaves in its output folder, in HealthImaging's shapes.
 *
 *   job-output-manifest.json, SUCCESS/success.ndjson, FAILURE/failure.ndjson, WARNING/warning.ndjson; a file without a line is not
 *   written. The manifest is written last. A file with warnings stands in WARNING only.
 * Source: HealthImaging developer guide "Understanding import jobs", "Warning codes".
 */
#ifndef STORESCP_LOCAL_AWS_RESULTS_H
#define STORESCP_LOCAL_AWS_RESULTS_H

#include "common/dicom/scan.h"
#include "compose/local-aws/image_sets.h"
#include "compose/local-aws/store.h"
#include "compose/local-aws/text.h"

struct results {
    struct text success, failure, warning;
    int scanned, imported, customer_errors, server_errors;
};

void results_clear(struct results *x);
/* Counts and writes down one file. drop: counted, but without its line, as an ordered fault. */
void results_add_failure(struct results *x, const char *key, const char *type, const char *message, bool is_server, bool drop);
/* warnings: what HealthImaging warns of in this scan is found here. */
void results_add_import(struct results *x, const char *key, const struct dicom_scan *scan, const struct import_place *place, bool drop);
/* As an ordered fault: lines that are no JSON, name a file that nobody sent, or hold nothing that is known. Not counted. */
void results_add_strange(struct results *x);
/* Writes the files below s3://bucket/folder. job: with jobId, datastoreId, inputS3Uri, outputS3Uri. summary: image sets, borrowed. */
int results_write(const struct results *x, struct store *store, json_t *job, json_t *summary, const char *bucket, const char *folder,
                  struct err *e);

/* The first warning that HealthImaging has about a scan, 0 if none. */
int results_warning(const struct dicom_scan *scan);

/* Why HealthImaging refuses a file, "" if it does not; scan_rc: what the scan returned. */
void results_judge(const struct dicom_scan *scan, int scan_rc, char *message, size_t size);

#endif
