/*
 * rebuild - what the files of `rebuild` share, and what they ask of the cloud. The cloud is a seam: rebuild*.c know no HTTP, tests
 * answer in its place (cloud.c is the real one). Every function returns 0 or an error code; a callback that returns non-zero ends
 * the listing with that value.
 */
#ifndef STORESCP_CONTROL_REBUILD_H
#define STORESCP_CONTROL_REBUILD_H

#include "common/runtime/config.h"
#include "common/spool/spool.h"
#include "common/state/state.h"
#include "control/control.h"

#include <pthread.h>
#include <stdbool.h>

/* ---- the cloud ------------------------------------------------------------------------------------------------------------ */
struct cloud;
struct cloud_job {
    char batch[STATE_ID_SIZE]; /* its jobName, or the folder of its results */
    char job_id[40], status[24];
    int64_t submitted_ms;  /* 0: not told */
    char output_uri[1025]; /* the folder with its results, ending in '/'; "" if not told */
};
struct cloud_object {
    char etag[80];
    bool has_crc32c;
    uint32_t crc32c; /* of the whole object */
};

enum { CLOUD_HEAD_BYTES = 256 * 1024 };

/* A struct cloud belongs to one thread at a time; several may be open. */
int cloud_open(struct cloud **out, const struct config *c, struct err *e);
void cloud_close(struct cloud **c);
/* Every object below <s3_prefix>/, in the order of the keys. */
int cloud_each_object(struct cloud *c, int (*each)(void *ctx, const char *key, int64_t bytes), void *ctx, struct err *e);
/* Every import job of the data store whose name is a batch id; HealthImaging lists them for 90 days. */
int cloud_each_job(struct cloud *c, int (*each)(void *ctx, const struct cloud_job *job), void *ctx, struct err *e);
/* Every folder of results of this data store below <output_prefix>/ that has its manifest. */
int cloud_each_result(struct cloud *c, int (*each)(void *ctx, const struct cloud_job *job), void *ctx, struct err *e);
/* ETag and CRC32C. ERR_AWS_NOT_FOUND: there is no such object. */
int cloud_object_look(struct cloud *c, const char *key, struct cloud_object *out, struct err *e);
/* Writes the first CLOUD_HEAD_BYTES (or less) of the object to fd. */
int cloud_object_head(struct cloud *c, const char *key, int fd, struct err *e);
/* How many files the job scanned, by its manifest. ERR_AWS_NOT_FOUND: it has none (any more, or yet). */
int cloud_results_count(struct cloud *c, const struct cloud_job *job, int64_t *scanned, struct err *e);
/* Gives the text of the job's result files, whole lines at a time. ERR_AWS_NOT_FOUND: it has none (any more, or yet). */
int cloud_results_text(struct cloud *c, const struct cloud_job *job, int (*each)(void *ctx, const char *text), void *ctx,
                       struct err *e);

/* ---- inside ----------------------------------------------------------------------------------------------------------------- */
struct job_entry {
    char batch[STATE_ID_SIZE], job_id[40], status[24];
    int64_t submitted_ms;
    bool is_listed;   /* by HealthImaging; otherwise only its results are left */
    bool has_results;
    int64_t seen_count; /* objects of its batch in S3 */
    char *output_uri;   /* heap, "" if not told */
    size_t place;       /* number of the destination whose data store knows it */
};
struct left_file { /* a file of the spool that S3 does not know */
    char id[STATE_ID_SIZE];
    int64_t received_ms;
    bool is_quarantined, is_damaged, is_taken;
};
struct rebuild {
    struct state *state;
    struct cloud *clouds[CONFIG_DESTINATION_LIMIT]; /* one for each destination that imports; none: only the spool is read */
    const struct config *config; /* all settings */
    struct cloud *cloud; /* these three are of the destination that is being read: rebuild_enter() */
    const struct config *place;
    const char *prefix;
    const char *home;
    int64_t started_ms;
    char desk[PATH_SIZE]; /* a little spool of its own for the heads of objects */
    struct job_entry *jobs; /* by batch, later starts last */
    size_t job_count, job_room;
    struct left_file *left; /* by id */
    size_t left_count, left_room;
    char batch[STATE_ID_SIZE]; /* the one that was made last */
    pthread_mutex_t trouble;   /* guards problems */
    long long objects, foreign, instances, released, received, judged_again, held, refused, problems;
};

/* Says what a person should know; counts as a problem. Any thread. */
void rebuild_trouble(struct rebuild *r, const char *what, const char *why);
/* Grows an array of `size`-byte entries for one more; ERR_MEMORY beyond `most`. */
int rebuild_room(void **array, size_t *room, size_t count, size_t size, size_t most, struct err *e);
/* The job of a batch, or NULL. */
struct job_entry *rebuild_job(const struct rebuild *r, const char *batch);
/* Makes the row of a batch, with the job that belongs to it; cheap when it was the last one. place: where it goes if it had no job. */
int rebuild_batch(struct rebuild *r, const char *batch, const char *study_uid, const struct config *place, struct err *e);
/* From here on it is about that destination. */
void rebuild_enter(struct rebuild *r, size_t place);
/* Is what lies there under the same bucket and prefix? */
bool rebuild_is_same_place(const struct config *a, const struct config *b);
void rebuild_fill(struct state_rebuilt_instance *out, const struct spool_meta *m);
/* Fills out from the file that is current and, where rules changed it, from what the sender sent. */
void rebuild_fill_file(const char *home, const struct spool_meta *current, struct state_rebuilt_instance *out);
void rebuild_identity(const char *home, const char *id, struct state_identity *out);

int rebuild_read_jobs(struct rebuild *r, struct err *e);    /* rebuild_jobs.c: fills jobs, of all destinations */
int rebuild_read_objects(struct rebuild *r, struct err *e); /* rebuild_objects.c: of the one that was entered */
/* rebuild_jobs.c: what the results of jobs tell whose objects S3 has no more: instances that were in them. Needs `left`. */
int rebuild_read_results(struct rebuild *r, struct err *e);
/* The youngest ended job that has neither objects nor results: what came before it may have been in it. NULL: there is none. */
const struct job_entry *rebuild_silent_job(const struct rebuild *r);

#endif
