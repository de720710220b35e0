/*
 * store_internal - what store.c and store_load.c share. The functions here want the lock to be held, or nobody else to be there yet.
 */
#ifndef STORESCP_LOCAL_AWS_STORE_INTERNAL_H
#define STORESCP_LOCAL_AWS_STORE_INTERNAL_H

#include "compose/local-aws/store.h"

#include <pthread.h>

enum { BUCKETS_MAX = 100 };

struct bucket {
    char name[64];
    int64_t made_ms;
    struct index *index;
};

struct store {
    char data[512];
    bool durable;
    int puts_fd;
    pthread_mutex_t lock; /* over everything below, and over rename and unlink of objects */
    struct bucket buckets[BUCKETS_MAX];
    size_t bucket_count;
};

/* NULL: there is none. */
struct bucket *store_find_bucket(struct store *s, const char *name);
int store_add_bucket(struct store *s, const char *name, int64_t made_ms, struct err *e);
/* An index entry from a description, whose key it borrows. */
struct entry store_entry_of(json_t *description);

#endif
