/*
 * commitment - Storage Commitment in the receiver (PS3.4 annex J), in three places that share state.db and nothing else:
 *
 *   the association process (asker) reads a request, hands the list to the recorder, and answers 0000 only when it is recorded; while
 *       its association is open it asks the recorder now and then whether a report for it is ready, and sends it between two messages;
 *   the recorder (desk) writes requests, gives reports to associations that are open, and keeps one notifier while there is work;
 *   the notifier (notify.c, `storescp-receiver --notify`) judges what has arrived and reports on new associations, for days if it must.
 *
 * Lists travel between the processes as files in memory with an announced size, which the taker copies and checks.
 */
#ifndef STORESCP_RECEIVER_COMMITMENT_H
#define STORESCP_RECEIVER_COMMITMENT_H

#include "common/dicom/commitment.h"
#include "receiver/protocol.h"
#include "receiver/recorder/recorder.h"

#include <sys/queue.h>

/* ---- association process ---- */
struct asker {
    int channel;
    const struct packet *job;
    unsigned expected; /* requests of this association that may be reported on it */
    int64_t ask_at, pause_ms;
    struct packet report; /* the one that was sent, while event is not NULL */
    unsigned char *event;
};
/* The ctx of these is a struct asker. */
extern const struct commitment_ops asker_ops;
/* For the next association of the process. */
void asker_begin(struct asker *a, int channel, const struct packet *job);
void asker_end(struct asker *a);

/* ---- recorder ---- */
enum { DESK_LEAVING_MAX = 256 };
/* A request that waits: its process waits for the answer, so there is one for each at most. */
struct desk_request {
    TAILQ_ENTRY(desk_request) link;
    struct process *process;
    struct packet packet;
    int fd;
};
TAILQ_HEAD(desk_requests, desk_request);
struct desk {
    struct desk_requests requests;
    size_t waiting_bytes; /* of their lists */
    int64_t free_at; /* monotonic: the next large piece of work not before it */
    struct cidr_address last_from;
    const struct config *config;
    const char *home;
    struct state *state;
    char leaving[DESK_LEAVING_MAX][STATE_ID_SIZE]; /* associations that ended while the database refused to hear it */
    size_t leaving_count;
    int notifier; /* our end of its channel, -1: there is none */
    pid_t notifier_pid;
    int64_t look_at, start_at, started_ms, delay_ms;
};
void desk_begin(struct desk *d, const struct config *config, struct state *state);
/* A packet of one of the three kinds PACKET_COMMIT, PACKET_ASK, PACKET_REPORTED; fd (or -1) came with it and is closed here. */
void desk_take(struct desk *d, struct process *p, struct packet *packet, int fd);
/* The association of that process is over, or the process is. */
void desk_ended(struct desk *d, struct process *p);
/* Once in each turn: takes a request that waits, starts the notifier when there is work for it. */
void desk_step(struct desk *d);
/* Other settings: the notifier is replaced. */
void desk_renew(struct desk *d, const struct config *config);
/* Refuses the requests that wait, tells the notifier to finish; desk_end() waits for that, some seconds at most. */
void desk_stop(struct desk *d);
void desk_end(struct desk *d);

/* Does that status of an N-EVENT-REPORT response mean that the peer has it? -1: none came. */
bool report_is_accepted(int status);
/* Why not, as an error. */
void report_explain(int status, struct err *why);

/* ---- notifier: its whole life; channel ends when the recorder does. Returns the exit code. ---- */
int notify_main(const struct config *config, int channel);

#endif
