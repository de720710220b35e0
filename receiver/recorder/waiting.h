/*
 * waiting - answers that are kept back: success_at = s3 or imported. Row and file are durable already; the recorder looks into the database every
 * LOOK_MS how far the instances have come, with one query for all and only when somebody has committed, and sends the verdict then. Nothing is
 * held meanwhile, and whatever ends the wait, the instance goes on: its fate is in its row.
 */
#ifndef STORESCP_RECEIVER_WAITING_H
#define STORESCP_RECEIVER_WAITING_H

#include "receiver/recorder/recorder.h"

enum success_point { SUCCESS_AT_SPOOL, SUCCESS_AT_S3, SUCCESS_AT_IMPORTED };

struct waiter {
    struct process *process;
    pid_t pid; /* its process: the place may have another one by now */
    char id[STATE_ID_SIZE];
    enum success_point point;
    int64_t since_ms, until_ms; /* monotonic */
    bool is_success_at_end;
};

/* One for each process, and those that died since the last look. */
enum { WAITERS_MAX = PROCESSES_MAX + 512 };

struct waiting { /* zeroed before its first use */
    struct waiter waiters[WAITERS_MAX];
    struct state_progress progress[WAITERS_MAX]; /* of the waiter at the same place */
    size_t count;
    int64_t look_at;
    bool is_draining;
};

enum { WAITING_LOOK_MS = 50 };

/* What the settings say for a sender; imported: the row gets the time until which it waits. Before the row is written. */
enum success_point waiting_point(const struct config *config, struct state_received *row);
/* After the commit: keeps the verdict for p back. False: there is nothing to wait for, it is to be sent now. */
bool waiting_begin(struct waiting *w, const struct config *config, struct process *p, const struct state_received *row);
/* Sends what is due. Cheap when nobody waits or it is too early. */
void waiting_look(struct waiting *w, struct state *state);
/* The sender of this process is gone: its wait is over. */
void waiting_end(struct waiting *w, const struct process *p);
/* The receiver stops: whoever waits gets its verdict by then (monotonic) at the latest, and success only if it is true. */
void waiting_drain(struct waiting *w, int64_t until_ms);

#endif
