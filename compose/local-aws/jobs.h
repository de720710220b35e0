/*
 * jobs - import jobs: started, followed, listed; their state is on disk and survives any end of the server.
 *
 *   <data>/jobs/<submitted ms>-<job id>.json
 *
 * One thread runs the jobs whose time has come, one after the other: SUBMITTED, after a quarter of --job-ms IN_PROGRESS, after all of it
 * the files are read and the results written (job_run.h), then COMPLETED or FAILED. What was under way goes on after a restart.
 */
#ifndef STORESCP_LOCAL_AWS_JOBS_H
#define STORESCP_LOCAL_AWS_JOBS_H

#include "compose/local-aws/standin.h"

#include <jansson.h>

/* Reads what is on disk; app->store and app->image_sets are open. Nothing runs yet. */
int jobs_open(struct jobs **out, struct standin *app, struct err *e);
/* Starts the thread. */
int jobs_begin(struct jobs *j, struct err *e);
/* Ends the thread after the job at hand. */
void jobs_close(struct jobs *j);

/*
 * StartDICOMImportJob: request holds clientToken, inputS3Uri, outputS3Uri, dataAccessRoleArn, datastoreId, perhaps jobName. *job: the job
 * as in jobs_get(). The same token with the same body gives the same job. body_hash: of the request.
 * ERR_AWS_CONFLICT: the token is taken by another body. ERR_AWS_QUOTA: too many are under way.
 */
int jobs_start(struct jobs *j, json_t *request, const char *body_hash, json_t **job, struct err *e);
/* New reference: {"jobId", "jobStatus", "submittedAt" and what else HealthImaging tells}; NULL: no such job. */
json_t *jobs_get(struct jobs *j, const char *datastore, const char *id);
/* Newest first, at most max (new reference), after the job `after` ("": from the newest); *more: there are others. */
json_t *jobs_list(struct jobs *j, const char *datastore, const char *status, const char *after, int max, bool *more);

#endif
