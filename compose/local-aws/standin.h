/*
 * standin - what the whole server shares: its options, the store, the jobs, the ordered faults. Made in main(), passed down.
 */
#ifndef STORESCP_LOCAL_AWS_STANDIN_H
#define STORESCP_LOCAL_AWS_STANDIN_H

#include "compose/local-aws/store.h"
#include "compose/local-aws/throttle.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct jobs;
struct faults;
struct image_sets;
struct queues;

struct options {
    const char *address, *data, *access_key, *secret_key, *region, *datastore, *bucket, *account, *domain;
    const char *bucket_kms_key, *datastore_status; /* NULL: none, ACTIVE */
    const char *events_queue; /* NULL: none */
    int port, job_ms, jobs_max, files_max;
    int64_t job_bytes_max;
    bool durable, fast_etag;
};

struct standin {
    struct options options;
    int64_t started_ms; /* wall clock */
    struct store *store;
    struct throttle *throttle;
    struct faults *faults;
    struct jobs *jobs;
    struct image_sets *image_sets;
    struct queues *queues;
    atomic_bool stopping;
};

#endif
