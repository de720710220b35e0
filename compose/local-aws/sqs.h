/* sqs - see sqs.c. */
#ifndef STORESCP_LOCAL_AWS_SQS_H
#define STORESCP_LOCAL_AWS_SQS_H

#include "compose/local-aws/request.h"

/* What EventBridge brings into the queue of --events when an import job has got another status; nothing without that option. */
void sqs_tell_of_job(struct standin *app, const json_t *job);

#endif
