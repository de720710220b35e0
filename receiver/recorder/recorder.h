/*
 * recorder - what the files of the recorder process share: pool.c (association processes), adopt.c (files without a row),
 * recorder.c (rows, answers, the loop). One thread.
 */
#ifndef STORESCP_RECEIVER_RECORDER_H
#define STORESCP_RECEIVER_RECORDER_H

#include "common/runtime/cidr.h"
#include "common/runtime/config.h"
#include "common/spool/spool.h"
#include "common/state/state.h"
#include "receiver/recorder/certificates.h"
#include "receiver/told.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PROCESSES_MAX = 2100 };

struct state_commitment;
struct desk_request;

struct process {
    pid_t pid;
    int channel; /* -1: free slot */
    bool busy;
    bool asks, is_admitted;    /* its request waits for an answer; its association counts against the limits */
    struct cidr_address from;  /* whom it serves */
    int64_t asked_ms;          /* monotonic */
    char calling[20], called[20];
    char commitment_association[STATE_ID_SIZE]; /* its association, if reports may go there; see commitment.h */
    struct state_commitment *report;            /* the one that it was given */
    struct desk_request *request;               /* one that waits for its turn at the desk */
    bool is_outdated; /* it has old settings and ends behind its association */
    int64_t flight_bytes; /* of its unfinished object, as it says */
};
_Static_assert((int)PROCESSES_MAX <= (int)TOLD_SLOTS, "each process has its place in the page");

struct pool {
    const struct config *config;
    const char *home;
    struct certificates certificates;
    struct process processes[PROCESSES_MAX];
    size_t process_count; /* slots in use are below it */
    int busy, alive;
    int64_t spawn_at, retire_at, bury_at; /* monotonic: not before */
    int epoll; /* holds every channel: readable when a process has something to say */
    struct told *told;
    int told_fd, settings_fd; /* for association processes */
    int64_t flight_bytes;     /* of all unfinished objects */
};

int pool_open(struct pool *p, struct err *e);
/* Processes that have something to say, at most `most` (up to 128) of them, each in its turn; their number. Does not wait. */
size_t pool_spoke(struct pool *p, struct process **out, size_t most);

/* Keeps spare_associations processes ready, a few in each call; ends some of those that a rush has left over, once a second. */
void pool_fill(struct pool *p);
/* A process without an association, or NULL; then whether pool_fill() may start another one. */
struct process *pool_idle(struct pool *p);
bool pool_can_grow(const struct pool *p);
/* Gives a connection to an idle process and closes our end; false when the process was dead: it is dropped, fd stays open. */
bool pool_hand_over(struct pool *pool, struct process *p, int fd, const struct cidr_address *from, bool is_tls);
/* Its association has ended; the process is idle or will be closed. */
void pool_ended(struct pool *p, struct process *process);
void pool_drop(struct pool *p, struct process *process);
/* The settings have changed: idle processes end now, busy ones behind their association. */
void pool_renew(struct pool *p);

/* in_flight_mb: PACKET_GROWS came; the object of this process is stored or gone. */
enum { FLIGHT_MB_MAX = 10000 };
#define FLIGHT_OBJECT_MAX ((int64_t)FLIGHT_MB_MAX * 1000000 + (64 << 20)) /* maximum_object_mb at most, and a read more */
struct packet;
void flight_grows(struct pool *p, struct process *process, const struct packet *packet);
void flight_ends(struct pool *p, struct process *process);

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
