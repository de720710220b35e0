/*
 * told - one page of facts that the recorder shows to all association processes: they read it whenever they want to know, nobody is asked.
 * The recorder writes, association processes map it read-only. Every member stands for itself; none is protected by another.
 */
#ifndef STORESCP_RECEIVER_TOLD_H
#define STORESCP_RECEIVER_TOLD_H

#include "common/runtime/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { TOLD_SLOTS = 2100 };

struct told {
    _Atomic int step;               /* enum pressure_step */
    _Atomic bool is_backlog;        /* what presses: the backlog, or else the disk */
    _Atomic bool reserve_is_left;   /* priority senders pass over the steps */
    _Atomic bool is_flight_full;    /* in_flight_mb is reached: no new object */
    _Atomic int64_t drain_end_ms;   /* monotonic; 0: nobody drains. From then on an association ends behind its message */
    _Atomic uint32_t over[TOLD_SLOTS]; /* number of the object of this process that is one too many for in_flight_mb */
};

/* For the recorder: the page, and a descriptor of it that is to be given to association processes; neither ends before the process does. */
int told_make(struct told **out, int *fd, struct err *e);
/* For an association process: the page behind fd, NULL if it cannot be had. */
const struct told *told_open(int fd);

#endif
