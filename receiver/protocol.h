/*
 * protocol - what recorder and association process say to each other over a SOCK_SEQPACKET pair: fixed structs, one a packet.
 * Both ends are the same binary. The accepted socket travels with JOB (SCM_RIGHTS).
 */
#ifndef STORESCP_RECEIVER_PROTOCOL_H
#define STORESCP_RECEIVER_PROTOCOL_H

#include "common/spool/spool.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum packet_kind {
    PACKET_JOB = 1, /* recorder -> association: serve this socket */
    PACKET_STORED,  /* association -> recorder: the file's bytes are durable; make entry and record durable */
    PACKET_VERDICT, /* recorder -> association: status is 0 when both are */
    PACKET_ENDED,   /* association -> recorder: idle again */
    PACKET_ADMIT,   /* association -> recorder: the request was read; VERDICT answers whether it may stand */
    PACKET_REFUSED, /* association -> recorder: for the log; no answer */
    PACKET_COMMIT,  /* association -> recorder: record a storage commitment request, with its list; VERDICT follows */
    PACKET_ASK,     /* association -> recorder: is there a report for this association? VERDICT follows, with the report if there is */
    PACKET_REPORTED, /* association -> recorder: the report was answered with status, -1: was not answered; no answer */
    PACKET_GROWS,   /* association -> recorder: the object in hand has meta.data_bytes by now (in_flight_mb); no answer */
    PACKET_GONE     /* association -> recorder: the peer left while its verdict was awaited; the verdict comes at once */
};

struct packet {
    int kind;
    int status; /* VERDICT: DIMSE status */
    bool is_kept;     /* VERDICT with another status than 0: row and file stay, only the answer is no success */
    char comment[65]; /* VERDICT, is_kept: (0000,0902) */
    uint32_t object;  /* GROWS: number of the object in that process */
    struct {
        int result, source, reason;
    } admission; /* VERDICT on ADMIT: PS3.8 table 9-21, result 0 is welcome */
    char association[27];
    char peer[64];
    struct spool_meta meta; /* STORED */
    bool is_high;           /* STORED: the request had priority HIGH */
    int64_t begun_ms;       /* STORED: when the request came (monotonic) */
    int64_t association_began_ms; /* ENDED (wall clock) */
    int stored, refused;    /* ENDED */
    bool leaving;           /* ENDED: this process takes no further job */
    char outcome[160];      /* ENDED */
    char calling[20], called[20];
    char user_name[65];     /* ENDED: user identity negotiation */
    bool user_checked;
    char refusal_event[32], refusal_text[900]; /* REFUSED: logfmt pairs, nothing that differs from one attempt to the next */
    bool is_tls;            /* JOB: accepted on tls_port; the certificates travel with it as a second descriptor */
    int64_t generation;     /* JOB: of the certificates */
    char tls[400];          /* ENDED: version, cipher suite and certificate's subject, or empty */
    char transaction_uid[65];       /* COMMIT; VERDICT with a report */
    size_t list_count, list_bytes;  /* COMMIT, VERDICT with a report: references, and their bytes. VERDICT on COMMIT: 1 if it may be reported here */
};

/* One packet, with a descriptor unless fd is -1 (it stays the caller's). False when the other end is gone or does not listen. */
bool packet_send(int channel, const struct packet *p, int fd);
/* recvmsg()'s answer, with every text of a whole packet ended; *fd: what came with it, now the caller's, or -1. flags: 0 or MSG_DONTWAIT. */
ssize_t packet_receive(int channel, struct packet *p, int flags, int *fd);
/* A file in memory with these bytes, -1 if there is none to be had. */
int memory_file_new(const void *first, size_t first_bytes, const void *second, size_t second_bytes);
/* A copy of its first bytes (to be freed), NULL if it has less or there is no memory. */
void *memory_file_read(int fd, size_t bytes);

/* Where an association process finds what it was started with. */
enum { ASSOCIATION_CHANNEL = 3, ASSOCIATION_TOLD = 4, ASSOCIATION_SETTINGS = 5 };

struct config;
struct settings;
/* The body of an association process; slot: its place in the recorder's table. Returns the exit code. */
int association_main(const struct config *config, int slot);
/* The body of the recorder. Returns the exit code. */
int recorder_main(struct settings *settings);

#endif
