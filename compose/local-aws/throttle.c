/* throttle - see throttle.h. */
#include "compose/local-aws/throttle.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *operation;
    double per_second, burst;
} limits[] = {
    {"StartDICOMImportJob", 1, 2}, {"GetDICOMImportJob", 25, 50}, {"ListDICOMImportJobs", 10, 20}, {"GetDatastore", 10, 20},
    {"ListDatastores", 10, 20},    {"SearchImageSets", 25, 50},   {"GetImageSet", 25, 50},
};
enum { LIMITS = sizeof limits / sizeof limits[0] };

struct throttle {
    pthread_mutex_t lock;
    struct bucket buckets[LIMITS];
};

bool bucket_take(struct bucket *b, int64_t now_ms)
{
    if (b->per_second <= 0) {
        return true;
    }
    if (b->at_ms == 0) {
        b->tokens = b->burst;
    } else if (now_ms > b->at_ms) {
        b->tokens += (double)(now_ms - b->at_ms) * b->per_second / 1000;
        b->tokens = b->tokens > b->burst ? b->burst : b->tokens;
    }
    b->at_ms = now_ms > b->at_ms ? now_ms : b->at_ms;
    if (b->tokens < 1) {
        return false;
    }
    b->tokens -= 1;
    return true;
}

struct throttle *throttle_new(void)
{
    struct throttle *t = calloc(1, sizeof *t);
    if (t) {
        (void)pthread_mutex_init(&t->lock, NULL);
        for (int i = 0; i < LIMITS; i++) {
            t->buckets[i].per_second = limits[i].per_second;
            t->buckets[i].burst = limits[i].burst;
        }
    }
    return t;
}

void throttle_free(struct throttle *t)
{
    if (t) {
        (void)pthread_mutex_destroy(&t->lock);
        free(t);
    }
}

bool throttle_set(struct throttle *t, const char *operation, double per_second, double burst)
{
    bool found = false;
    for (int i = 0; i < LIMITS; i++) {
        if (!operation || strcmp(operation, limits[i].operation) == 0) {
            t->buckets[i].per_second = per_second;
            t->buckets[i].burst = burst;
            found = true;
        }
    }
    return found;
}

bool throttle_take(struct throttle *t, const char *operation, int64_t now_ms)
{
    bool ok = true;
    for (int i = 0; i < LIMITS; i++) {
        if (strcmp(operation, limits[i].operation) == 0) {
            (void)pthread_mutex_lock(&t->lock);
            ok = bucket_take(&t->buckets[i], now_ms);
            (void)pthread_mutex_unlock(&t->lock);
        }
    }
    return ok;
}
