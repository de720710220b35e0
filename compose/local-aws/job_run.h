/*
 * job_run - what an import job does when its time has come: lists the input prefix, reads every object, finds its image set, writes the
 * result files, and then makes the changes seen. Killed before that last step it leaves result files that the next run replaces.
 */
#ifndef STORESCP_LOCAL_AWS_JOB_RUN_H
#define STORESCP_LOCAL_AWS_JOB_RUN_H

#include "compose/local-aws/standin.h"

#include <jansson.h>

/* job: as it is kept (jobs.c). -> {"status", "message", "ended_ms"}; NULL: our own trouble, logged, to be run again. */
json_t *job_run(struct standin *app, json_t *job);

#endif
