/*
 * throttle - token buckets, one for each operation that HealthImaging limits. The bucket is pure; the set has a lock.
 * Source: HealthImaging developer guide "Throttling limits" (transactions a second / burst).
 */
#ifndef STORESCP_LOCAL_AWS_THROTTLE_H
#define STORESCP_LOCAL_AWS_THROTTLE_H

#include "common/runtime/err.h"

#include <stdbool.h>
#include <stdint.h>

struct bucket {
    double per_second, burst; /* per_second 0: no limit */
    double tokens;
    int64_t at_ms; /* when tokens was right; 0: full, never used */
};

/* Takes one token if there is one. now_ms never goes back (monotonic). */
bool bucket_take(struct bucket *b, int64_t now_ms);

struct throttle;
/* With HealthImaging's published limits. NULL: no memory. */
struct throttle *throttle_new(void);
void throttle_free(struct throttle *t);
/* Before anybody takes. operation NULL: all of them. per_second 0: no limit. false: no such operation. */
bool throttle_set(struct throttle *t, const char *operation, double per_second, double burst);
/* false: the request must be refused. Operations without a limit always pass. Thread safe. */
bool throttle_take(struct throttle *t, const char *operation, int64_t now_ms);

#endif
