/*
 * hint - reads what HealthImaging says through EventBridge about an import job (developer guide, "Using EventBridge"): source aws.medical-imaging,
 * detail-type "Import Job Submitted | In Progress | Completed | Failed", detail with jobId, jobName, jobStatus. As it comes from an EventBridge
 * rule, or wrapped once by an SNS topic. Pure; the input may be anything.
 */
#ifndef STORESCP_IMPORTER_HINT_H
#define STORESCP_IMPORTER_HINT_H

#include <stdbool.h>
#include <stddef.h>

enum hint_kind {
    HINT_JOB_ENDED, /* worth a look */
    HINT_JOB_MOVES, /* an import job that has not ended */
    HINT_OTHER,     /* an event of something else */
    HINT_UNREADABLE /* no event */
};
struct hint {
    char job_id[40], job_name[65]; /* [0-9a-z], [A-Za-z0-9._/#-]; job_name may be "" */
};
enum hint_kind hint_read(const char *text, size_t bytes, struct hint *out);

#endif
