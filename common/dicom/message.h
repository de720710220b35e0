/*
 * message - what follows on an association that stands: P-DATA, release and abort (PS3.8 sections 9.3.5 to 9.3.8, annex E) and the
 * DIMSE messages in it (PS3.7). DCMTK negotiates; from then on the bytes are read here, because DCMTK 3.6.7 aborts what real
 * senders do: fragments of odd length, command and data set in one PDU, a data set of no bytes.
 *
 * Liberal: several PDVs in a PDU, any fragment length, empty fragments, bits 2 to 7 of the message control header.
 * Strict, each by A-ABORT: a PDU longer than was agreed; a PDV that does not fit into its PDU; a context that was not accepted
 * or that changes within a message; a command where a data set is due and the other way round; a command set over
 * COMMAND_BYTES_MAX; a release within a message; less than MESSAGE_PROGRESS_BYTES of a message in dimse_timeout_s.
 * The same by A-ABORT: a message that takes longer than message_s, an association longer than association_s (between two messages).
 * On a context of the storage commitment push model N-ACTION is served and, between two messages, N-EVENT-REPORT is sent; its response
 * may come behind other requests, or not at all (dimse_timeout_s). One report at a time.
 * Memory: one buffer of MESSAGE_BUFFER_BYTES, and, for an N-ACTION, its data set of up to COMMITMENT_BYTES_MAX. Plain C, one thread.
 */
#ifndef STORESCP_DICOM_MESSAGE_H
#define STORESCP_DICOM_MESSAGE_H

#include "common/dicom/adapter.h"

#include <stdbool.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { MESSAGE_BUFFER_BYTES = 512 << 10, MESSAGE_PROGRESS_BYTES = 4096 };

/* The bytes' way. read: at least one byte, 0 at the peer's end, -1 with errno (ETIMEDOUT after timeout_ms without a byte).
 * write: all of them or -1 with errno. */
struct message_transport {
    ssize_t (*read)(void *ctx, void *buffer, size_t size, int timeout_ms);
    ssize_t (*write)(void *ctx, const void *bytes, size_t count, int timeout_ms);
    void *ctx;
};

struct message_context { /* what was negotiated for one presentation context id */
    bool accepted;
    char abstract_syntax[65], transfer_syntax[65];
};

struct message_link {
    struct message_transport transport;
    const struct scp_config *config;
    const struct scp_ops *ops;
    void *ops_ctx;
    size_t peer_maximum_pdu; /* what the peer can take; 0: no limit */
    bool is_requestor; /* the association is ours: it is released when commitment->event_ended() says so, or when no event is there */
    struct message_context contexts[256];
};

/*
 * Serves messages until the association ends; sends A-RELEASE-RP or A-ABORT, does not close. outcome receives "released", "aborted" or
 * "failed: <reason>". A store that was begun and did not come whole has got its store_end(complete = 0).
 * Returns 0 after release and after the peer's abort, else ERR_PROTOCOL, ERR_NETWORK, ERR_TIMEOUT or ERR_MEMORY.
 */
int message_serve(const struct message_link *link, char *outcome, size_t outcome_size, struct err *e);

#ifdef __cplusplus
}
#endif
#endif
