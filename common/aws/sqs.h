/*
 * sqs - the calls of Amazon SQS that events and hints need, asynchronous (see client.h). AWS JSON protocol 1.0, API version 2012-11-05.
 * The queue is named by its URL; the request goes to the SQS endpoint of the settings. Nothing blocks; done() is called exactly once from a
 * later aws_client_run(), unless the function returns an error or the client is closed before.
 */
#ifndef STORESCP_AWS_SQS_H
#define STORESCP_AWS_SQS_H

#include "common/aws/client.h"

#include <stdbool.h>

enum { SQS_MESSAGES_MAX = 10 };

typedef void (*sqs_done)(void *ctx, int rc, const struct err *why);
struct sqs_send {
    const char *queue_url, *body;
    const char *group_id, *deduplication_id; /* sent to a FIFO queue only; cut and cleaned to what SQS takes */
};
int sqs_send_begin(struct aws_client *c, const struct sqs_send *send, int64_t limit_ms, sqs_done done, void *ctx, struct err *e);

struct sqs_message {
    char id[128], receipt[1400]; /* a longer receipt handle reads as "": such a message cannot be deleted and comes again */
    const char *body;            /* until received() returns */
};
/* rc 0: count messages, perhaps none. */
typedef void (*sqs_received)(void *ctx, int rc, const struct err *why, const struct sqs_message *messages, size_t count);
/* Waits up to wait_s (0 to 20) at the queue; messages that are not deleted come again after visibility_s. */
int sqs_receive_begin(struct aws_client *c, const char *queue_url, int wait_s, int visibility_s, int most, sqs_received received, void *ctx, struct err *e);
int sqs_delete_begin(struct aws_client *c, const char *queue_url, const char *receipt, int64_t limit_ms, sqs_done done, void *ctx, struct err *e);

/* Does its name end in ".fifo"? */
bool sqs_is_fifo(const char *queue_url);
/* ERR_CONFIG, with the reason, for what is no URL of a queue, or one of AWS in another region (NULL: any). name: of the setting. Pure. */
int sqs_url_check(const char *name, const char *queue_url, const char *region, struct err *e);

#endif
