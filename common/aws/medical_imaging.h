/*
 * medical_imaging - the HealthImaging calls of the importer and of rebuild. Blocking, one attempt each (see client.h).
 * Rules: API model medical-imaging 2023-07-19. Times are wall-clock milliseconds, 0 if not told.
 */
#ifndef STORESCP_AWS_MEDICAL_IMAGING_H
#define STORESCP_AWS_MEDICAL_IMAGING_H

#include "common/aws/client.h"

struct ahi_start {
    const char *datastore_id, *client_token, *job_name, *role_arn, *input_s3_uri, *output_s3_uri;
};
struct ahi_job {
    char job_id[40], job_name[65], status[24], datastore_id[40]; /* status: SUBMITTED, IN_PROGRESS, COMPLETED, FAILED */
    char input_s3_uri[1025], output_s3_uri[1025];                /* empty in listings */
    char message[513];                                           /* cut; what HealthImaging says about the job */
    int64_t submitted_ms, ended_ms;
};

/* StartDICOMImportJob. The same token and body may be sent again. */
int ahi_start_job(struct aws_client *c, const struct ahi_start *start, struct ahi_job *out, struct err *e);
/* GetDICOMImportJob. ERR_AWS_NOT_FOUND: no such job. */
int ahi_get_job(struct aws_client *c, const char *datastore_id, const char *job_id, struct ahi_job *out, struct err *e);
/* ListDICOMImportJobs, all pages; status NULL: any. A non-zero value of each() ends it and is returned. */
int ahi_each_job(struct aws_client *c, const char *datastore_id, const char *status, int (*each)(void *ctx, const struct ahi_job *job),
                 void *ctx, struct err *e);
/* GetDatastore: CREATING, CREATE_FAILED, ACTIVE, DELETING, DELETED. */
int ahi_datastore_status(struct aws_client *c, const char *datastore_id, char status[24], struct err *e);
struct ahi_datastore { /* "" where nothing is told */
    char status[24], name[257], arn[321], kms_key_arn[513];
};
int ahi_datastore_look(struct aws_client *c, const char *datastore_id, struct ahi_datastore *out, struct err *e);

/* ERR_CONFIG for a datastore_id or data_access_role_arn that HealthImaging would refuse (API model 2023-07-19); what is not set is not looked at. Pure. */
int ahi_settings_check(const struct config *config, struct err *e);

#endif
