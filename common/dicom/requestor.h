/*
 * requestor - an association that we open, with one presentation context, in which we are SCP (PS3.7 D.3.3.4, PS3.8 section 9.3): the way of a
 * storage commitment report when the association of the request is gone (PS3.4 J.3.3). The messages are message.c's. Plain C, no DCMTK:
 * whoever opens it holds the database, and reads a peer's bytes in a bounded buffer.
 */
#ifndef STORESCP_DICOM_REQUESTOR_H
#define STORESCP_DICOM_REQUESTOR_H

#include "common/dicom/message.h"

struct requestor {
    const char *calling, *called; /* AE titles: ours, the peer's; 16 characters are sent */
    const char *abstract_syntax;
};

/*
 * Requests the association over a transport that is connected, serves ops->commitment->event() on it, releases it. Does not close. outcome as
 * of message_serve(). Returns 0 after a release, else ERR_TIMEOUT, ERR_NETWORK or ERR_PROTOCOL with the peer's words: rejected
 * (result, source, reason), context or role refused, aborted.
 */
int requestor_serve(const struct message_transport *transport, const struct requestor *r, const struct scp_config *config,
                    const struct scp_ops *ops, void *ctx, char *outcome, size_t outcome_size, struct err *e);

/* The same, of an A-ASSOCIATE-AC's bytes behind its PDU head: fills the link's context 1 and the peer's maximum. Pure; for tests. */
int requestor_read_acceptance(const unsigned char *body, size_t count, struct message_link *link, const char *abstract_syntax, struct err *e);

#endif
