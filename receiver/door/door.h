/*
 * door - the listening sockets and the waiting room: who connected and has not yet sent a whole association request waits here, as one
 * descriptor in the recorder, without a process. Only whoever has spoken is handed to an association process.
 *
 * In the order of time: the peer's address against allowed_addresses, before a byte is read; a PROXY header, taken off from those in
 * proxy_trusted; the true address against allowed_addresses; the first byte (an association request, a TLS greeting, rubbish); then the
 * rest of the request, up to 16 KiB of it, within acse_timeout; then a process. Nothing is consumed from the socket but the PROXY header.
 *
 * Who connects and leaves without a byte (a health probe), or sends only a PROXY header that speaks for the balancer itself, costs no
 * process and no log line above debug; it is counted. What is refused is told once for each peer and reason (refusals.h).
 * Bounded: waiting_connections in all, waiting_per_address; when there are more, the one that has been silent longest makes room. Limits count
 * for this receiver; others on the same port count for themselves. Settings are read when they are needed, from pool->config. One thread.
 */
#ifndef STORESCP_RECEIVER_DOOR_H
#define STORESCP_RECEIVER_DOOR_H

#include "common/runtime/err.h"

#include <stddef.h>

struct config;
struct door;
struct pool;
struct process;
struct packet;
struct refusals;

/* Settings that contradict each other: ERR_CONFIG with a sentence. */
int door_check(const struct config *config, struct err *e);
/* Listens on scp_port and tls_port. ERR_CONFIG when it cannot. pool and refusals must outlive the door. */
int door_open(struct door **out, struct pool *pool, struct refusals *refusals, struct err *e);
/* Stops listening and closes those who wait; associations that stand may still ask. */
void door_shut(struct door *d);
void door_close(struct door **d);

/* For poll(): readable when door_turn() has something to do. */
int door_fd(const struct door *d);
/* How long the loop may sleep, at most most_ms: short while somebody who has spoken waits for a process or an answer. */
int door_sleep_ms(const struct door *d, int most_ms);
/* Accepts, looks, hands over; does not wait. */
void door_turn(struct door *d);

/* PACKET_ADMIT came from this process. */
void door_asked(struct door *d, struct process *p, const struct packet *packet);
/* Answers all who asked. Once in each turn and after all packets were read: an association that has ended must not count any more. */
void door_answer(struct door *d);
/* "associations 12, waiting 3, probes 512, turned away 4" for the worker's row. */
void door_describe(const struct door *d, char *text, size_t size);

#endif
