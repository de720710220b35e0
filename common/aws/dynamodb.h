/*
 * dynamodb - one call of Amazon DynamoDB, asynchronous (see client.h): an item is written attribute by attribute, so that what others have put into
 * it stays, and only while a guard holds, so that what is older never overwrites what is newer. AWS JSON protocol 1.0, API version 2012-08-10.
 */
#ifndef STORESCP_AWS_DYNAMODB_H
#define STORESCP_AWS_DYNAMODB_H

#include "common/aws/client.h"

struct dynamodb_attribute {
    const char *name, *value; /* a String; "" or NULL: left out */
};
struct dynamodb_update { /* borrowed for the call only */
    const char *table;
    struct dynamodb_attribute key;
    const struct dynamodb_attribute *set;
    size_t set_count;
    const char *guard;               /* an attribute; NULL: no guard */
    const char *const *guard_values; /* it is absent, or one of these */
    size_t guard_count;
};
/* rc 0: written, or the guard did not hold: what is there is newer. */
typedef void (*dynamodb_done)(void *ctx, int rc, const struct err *why);
/* UpdateItem. Exactly one done() from a later aws_client_run(), unless this returns an error or the client is closed. */
int dynamodb_update_begin(struct aws_client *c, const struct dynamodb_update *update, int64_t limit_ms, dynamodb_done done, void *ctx, struct err *e);

#endif
