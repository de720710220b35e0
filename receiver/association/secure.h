/*
 * secure - the association process's side of TLS: does the handshake with the recorder's current certificates, and knows the peer's
 * certificate afterwards. One connection at a time.
 */
#ifndef STORESCP_RECEIVER_SECURE_H
#define STORESCP_RECEIVER_SECURE_H

#include "common/dicom/tls.h"

struct packet;

struct secure {
    const struct config *config;
    int channel; /* to the recorder, for its log */
    struct tls *tls;      /* of the generation below */
    int64_t generation;   /* 0: none yet */
    struct tls_session *session; /* NULL: a plain connection */
    struct tls_facts facts;
};

/*
 * Before the protocol library sees the connection of this job. certificates: the recorder's memory file, or -1; stays the caller's.
 * Returns 0 when the association may begin (session is set for TLS). Otherwise the recorder is told for its log, outcome
 * says what happened, and fd is still open.
 */
int secure_begin(struct secure *s, int fd, int certificates, const struct packet *job, char *outcome, size_t outcome_size);
/* "TLSv1.3 TLS_AES_256_GCM_SHA384 CN=ct1,O=Hospital", or "" for a plain connection. */
void secure_describe(const struct secure *s, char *text, size_t size);
/* After the connection. */
void secure_end(struct secure *s);
void secure_clear(struct secure *s);

#endif
