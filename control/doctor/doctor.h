/*
 * doctor - `storescpctl doctor`: is everything there that an image will need? A table of checks, each one function and one finding.
 *
 * A check says what it saw in one sentence; when something is wrong, what to do about it, and which permission is missing. It may depend on what
 * earlier ones found (facts): what cannot be known then is "not checked" and says why, so that one cause is told once and no check waits for a server
 * that does not answer. Nothing is written but one marker object, which is removed again, and nameless files on the spool's disk.
 *
 *   doctor.c         command, order of the checks, printing
 *   doctor_local.c   settings, disk, database, stages, certificates
 *   doctor_cloud.c   endpoints, clock, credentials, who we are
 *   doctor_bucket.c  buckets, encryption, the marker object
 *   doctor_imaging.c data store, import jobs, role, quotas
 *   doctor_policy.c  permissions: one table, from which missing statements and `--policy` are made
 */
#ifndef STORESCP_CONTROL_DOCTOR_H
#define STORESCP_CONTROL_DOCTOR_H

#include "common/aws/inspect.h"
#include "common/aws/s3/s3.h"
#include "common/aws/request/site.h"
#include "common/aws/dicomweb/stow.h"
#include "control/control.h"

#include <jansson.h>

enum found { FOUND_FINE, FOUND_WARNING, FOUND_FAILED, FOUND_NOT_CHECKED };

/* What the credentials, or the role, must be allowed. Rows of the table in doctor_policy.c. */
enum permission {
    MAY_LIST, MAY_PUT, MAY_TAG, MAY_GET, MAY_DELETE, MAY_LIST_PARTS, MAY_ABORT, MAY_GET_RESULTS, MAY_SEE_ENCRYPTION, MAY_USE_KEY,
    MAY_START_JOB, MAY_GET_JOB, MAY_LIST_JOBS, MAY_GET_DATASTORE, MAY_PASS_ROLE, MAY_STORE, MAY_SEARCH, MAY_SEND_EVENTS, MAY_TAKE_HINTS, MAY_WRITE_TABLE,
    ROLE_MAY_LIST, ROLE_MAY_GET, ROLE_MAY_PUT, ROLE_MAY_USE_KEY,
    PERMISSION_COUNT,
    NO_PERMISSION = PERMISSION_COUNT
};

struct finding {
    enum found found;
    char sentence[700], remedy[500]; /* remedy: "" where there is nothing to do */
    enum permission missing;
};

/* What is known so far; a check needs some of it and adds to it. */
enum fact { FACT_CLIENT = 1, FACT_S3 = 2, FACT_IMAGING = 4, FACT_KEYS = 8, FACT_BUCKET = 16, FACT_MARKER = 32, FACT_DATASTORE = 64, FACT_OUTPUT = 128, FACT_STS = 256 };
/* Destinations, by their kind, that a check is for. */
enum { OF_IMAGING = 1, OF_S3 = 2, OF_DICOMWEB = 4, OF_AWS = OF_IMAGING | OF_S3, OF_ANY = 7 };

struct doctor {
    const struct request *q;
    const struct config *config; /* of the destination */
    const char *destination;
    unsigned kind;               /* OF_IMAGING, OF_S3 or OF_DICOMWEB */
    unsigned facts;
    struct aws_site site; /* region and endpoints; region "" if they cannot be told */
    struct aws_client *client;
    struct aws_identity identity; /* account "": not known */
    char bucket_region[48], kms_key[400];
    char marker[320];             /* key of the marker object */
};

struct check {
    const char *name;
    unsigned kinds, needs;
    void (*run)(struct doctor *d, struct finding *f);
};
extern const struct check doctor_local_checks[], doctor_cloud_checks[], doctor_bucket_checks[], doctor_imaging_checks[]; /* each ends in a name NULL */

void finding_set(struct finding *f, enum found found, const char *format, ...) __attribute__((format(printf, 3, 4)));
void finding_advise(struct finding *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What an error of AWS means to a person: its sentence, and a remedy where the code tells one; missing: the permission that the call needs. */
void finding_of_error(struct finding *f, enum found found, const struct err *e, enum permission missing);

/* Keeps in d the KMS key that images are encrypted with, if one is: what the settings ask for, else what the bucket does. */
void doctor_note_key(struct doctor *d, const struct s3_encryption *told);

/* The statement of one permission, filled in as far as is known; new reference. */
json_t *doctor_statement(const struct doctor *d, enum permission p);
/* What --policy tells of a destination: its name and the documents that it needs (none where there is no AWS); new reference. And the same for
 * people; false if it could not be written. */
json_t *doctor_policies(const struct doctor *d);
bool doctor_print_policies(const json_t *all);

#endif
