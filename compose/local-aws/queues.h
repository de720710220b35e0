/*
 * queues - SQS queues in memory: a restart empties them. A message that was received and not deleted comes again after its visibility timeout;
 * a FIFO queue (".fifo") keeps the order of each message group, gives no later message of a group while an earlier one is out, and takes one
 * deduplication id once in five minutes. Thread safe.
 */
#ifndef STORESCP_LOCAL_AWS_QUEUES_H
#define STORESCP_LOCAL_AWS_QUEUES_H

#include "common/runtime/err.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { QUEUES_MAX = 16, QUEUE_NAME_MAX = 80, QUEUE_MESSAGES_MAX = 100000 };

struct queues;
struct queues *queues_new(void); /* NULL: no memory */
void queues_free(struct queues *q);
/* 0 as well if it is there. ERR_ARGUMENT: the name is none, or there are too many. */
int queues_make(struct queues *q, const char *name);
bool queues_exists(struct queues *q, const char *name);
/* Message id into id. group, deduplication: NULL, or of a FIFO queue. ERR_NOT_FOUND: no such queue; ERR_TOO_LARGE: it is full. */
int queues_send(struct queues *q, const char *name, const char *body, const char *group, const char *deduplication, char id[37]);
/* New reference: the messages as ReceiveMessage tells them, at most most of them; waits up to wait_ms while there is none and *stopping is false. */
json_t *queues_receive(struct queues *q, const char *name, int most, int64_t visible_ms, int64_t wait_ms, atomic_bool *stopping);
/* False: no such receipt handle was ever given. A message that is gone already counts as deleted. */
bool queues_delete(struct queues *q, const char *name, const char *receipt);
/* Lower-case hex MD5 of a text, which SQS tells of every message. */
void queues_md5(const char *text, char out[33]);
/* {"visible", "in_flight"} */
json_t *queues_counts(struct queues *q, const char *name);

#endif
