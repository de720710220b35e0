/*
 * recorder - what the files of the recorder process share: pool.c (listener and association processes), adopt.c (files without a row),
 * recorder.c (rows, answers, the loop). One thread.
 */
#ifndef STORESCP_RECEIVER_RECORDER_H
#define STORESCP_RECEIVER_RECORDER_H

#include "common/runtime/config.h"
#include "common/spool/spool.h"
#include "common/state/state.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PROCESSES_MAX = 2000 };

struct process {
    pid_t pid;
    int channel; /* -1: free slot */
    bool busy;
};

struct pool {
    const struct config *config;
    const char *home;
    int listener, tls_listener; /* -1: no such port */
    struct process processes[PROCESSES_MAX];
    size_t process_count; /* slots in use are below it */
    int busy, alive;
};

int pool_listen(struct pool *p, struct err *e); /* on scp_port and on tls_port */
void pool_stop_listening(struct pool *p);
/* Keeps spare_associations processes ready, never more than maximum_associations in all; a few in each call. */
void pool_fill(struct pool *p);
/* Hands waiting connections of one listener to idle processes; turns them away when maximum_associations are open. */
void pool_accept(struct pool *p, bool is_tls);
void pool_drop(struct pool *p, struct process *process);

/* Looks for complete files without a row, a few at a time, so that nobody waits for it. */
struct adoption {
    const char *home;
    struct state *state;
    int lock;                /* shared by all receivers of this home */
    int64_t dead_before_ms;  /* what was received before this (wall clock) was received by a process that is dead */
    int64_t next_at;         /* monotonic: when the next look at the spool begins */
    struct spool_walk *walk; /* the look that is under way */
};
/* Before the first connection is accepted. When no other receiver of this home lives, everything unfinished is a dead one's: tmp/ is
 * swept now, and files without a row need not grow old to be adopted. */
int adoption_begin(struct adoption *a, const char *home, struct state *state, struct err *e);
/* Some more files; true while the look is not finished. */
bool adoption_step(struct adoption *a);
void adoption_end(struct adoption *a);

/* The row of a spool file; association and peer stay empty. */
void recorder_fill_row(struct state_received *row, const struct spool_meta *meta);

#endif
