/* door_internal - what the files of the door share: door.c (the waiting room), look.c (what a visitor's first bytes are), admit.c (limits
 * across associations), listen.c (sockets, last words). Nobody else includes it. */
#ifndef STORESCP_RECEIVER_DOOR_INTERNAL_H
#define STORESCP_RECEIVER_DOOR_INTERNAL_H

#include "common/runtime/cidr.h"
#include "common/runtime/config.h"
#include "receiver/door/door.h"
#include "receiver/recorder/recorder.h"
#include "receiver/door/refusals.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

enum { GRACE_MS = 300 }; /* so long somebody who has spoken waits for an association that is just ending */

struct visitor {
    TAILQ_ENTRY(visitor) link;
    int fd;
    struct cidr_address from; /* the true one, as far as it is known */
    int64_t since_ms, ready_ms;
    int looks;
    bool is_tls;      /* came to tls_port */
    bool is_balancer; /* may send a PROXY header */
    bool past_header; /* there is none, or it was taken off */
    bool is_checked;  /* against allowed_addresses */
    bool spoke;       /* a byte of its own came */
    bool is_ready;    /* its request is there: a process may have it */
};
TAILQ_HEAD(visitors, visitor);

struct door {
    struct pool *pool;
    int epoll, plain, tls;         /* descriptors, -1: none */
    struct visitors silent, ready; /* in the order in which they came */
    size_t silent_count, ready_count;
    struct refusals *refusals;
    bool asking; /* somebody asked and has no answer yet */
    unsigned long long probes, turned_away;
    int64_t tidy_at;
};

/* The last PDU to a peer without an association. */
enum farewell {
    FAREWELL_NONE,      /* just closes */
    FAREWELL_FULL,      /* A-ASSOCIATE-RJ, transient, local limit exceeded (PS3.8 table 9-21) */
    FAREWELL_NOT_HERE,  /* A-ASSOCIATE-RJ, permanent, no reason given */
    FAREWELL_NO_REQUEST, /* A-ABORT, unrecognized PDU (PS3.8 table 9-26) */
    FAREWELL_NO_TLS     /* a fatal alert, handshake_failure (RFC 8446 section 6): what a TLS client can read */
};
/* Sends it without waiting and closes fd. */
void say_farewell(int fd, enum farewell farewell);
/* A listening socket on scp_address and the port of this setting. */
int listen_on(const struct config *config, enum config_key port_key, int *out, struct err *e);
/* Room for descriptors: raises the soft limit to the hard one, warns when `wanted` do not fit. */
void listen_make_room(long long wanted);

enum look { LOOK_AGAIN, LOOK_WAIT, LOOK_READY, LOOK_SHUT, LOOK_LEFT };
/* What is to be done with a visitor, by what lies in its socket. gone: it will send no more. */
enum look look_at(struct door *d, struct visitor *v, bool gone, enum farewell *farewell);
/* Its address against allowed_addresses: LOOK_AGAIN or LOOK_SHUT. */
enum look look_at_address(struct door *d, struct visitor *v);

/* Counts, and logs once for each peer and reason; format: the remedy. */
void door_tell(struct door *d, const struct cidr_address *from, const char *reason, const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
