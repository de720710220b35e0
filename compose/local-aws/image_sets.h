/*
 * image_sets - what the data store holds: image sets, one for each series, and how often each SOP instance came.
 *
 * <data>/image_sets.ndjson is the truth: a job appends its image sets, its files and a closing line in one write; lines after the last
 * closing line are of a job that did not end, and are cut off at the start. <data>/imports.log is made from it, for people and tests:
 * "<time ms> <job> <image set> <version> <primary|other> <first|again> <bucket/key> <stem of the key>" for each file that was imported.
 *
 * Rules (HealthImaging developer guide "Understanding import jobs"): series without conflict -> the primary image set, whose version goes
 * up by one with each job that adds to it; another patient id, accession number, study id or study date than the primary's -> an image
 * set of its own that is not primary; the same SOP instance again is not recognised: it is imported again.
 */
#ifndef STORESCP_LOCAL_AWS_IMAGE_SETS_H
#define STORESCP_LOCAL_AWS_IMAGE_SETS_H

#include "common/dicom/scan.h"
#include "common/runtime/err.h"

#include <jansson.h>
#include <stdbool.h>

struct image_sets;
/* durable: a committed job survives a power cut, too. */
int image_sets_open(struct image_sets **out, const char *data, bool durable, struct err *e);
void image_sets_close(struct image_sets *s);

/* How a job ended that is in the journal ({"status", "message", "ended_ms"}, new reference), NULL if it did not. */
json_t *image_sets_outcome(struct image_sets *s, const char *job);

/* The image set that holds an instance, new reference; NULL: none does. */
json_t *image_sets_of_instance(struct image_sets *s, const char *sop_instance_uid);

/* One job's changes; nobody sees them before import_commit(). One job at a time: others wait in import_begin() until import_free(). */
struct import;
struct import *import_begin(struct image_sets *s, const char *job); /* NULL: no memory */
struct import_place {
    char image_set[33];
    int version;
    bool primary, again;
};
/* Finds the image set of a file. where: "bucket/key". */
int import_add(struct import *i, const struct dicom_scan *scan, const char *where, struct import_place *out, struct err *e);
/* [{"imageSetId", "imageSetVersion", "isPrimary", "numberOfMatchedSOPInstances"}], new reference. */
json_t *import_summary(const struct import *i);
/* Writes the journal; the changes are seen from now on. outcome is borrowed. */
int import_commit(struct import *i, json_t *outcome, struct err *e);
void import_free(struct import *i);

/* Properties of an image set, new reference; NULL: unknown. {"id", "version", "primary", "study", "series", "patient_id", ...} */
json_t *image_sets_get(struct image_sets *s, const char *id);
/* Every image set, in no order. Stops on non-zero. */
int image_sets_each(struct image_sets *s, int (*each)(void *ctx, json_t *set), void *ctx);

#endif
