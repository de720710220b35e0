/*
 * adapter - DCMTK behind a plain C header: serves one association on a socket that was accepted elsewhere.
 *
 * DCMTK reads and answers the association request; the messages after it are read by message.c. Everything that matters is decided and
 * done in the callbacks. No file is written here and no data set is built (10,000 nested sequences would end DCMTK). One association
 * at a time in a process: DCMTK takes the socket through a global. Not thread safe.
 */
#ifndef STORESCP_DICOM_ADAPTER_H
#define STORESCP_DICOM_ADAPTER_H

#include "common/dicom/commitment.h"
#include "common/runtime/err.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tls_session;

/* The callbacks may change it while they run: limits depend on who calls. */
struct scp_config {
    unsigned maximum_pdu_bytes; /* 4096 to 131072 */
    int acse_timeout_s, dimse_timeout_s, network_timeout_s;
    int message_s;     /* time of one message from its first byte to its last; 0: any */
    int association_s; /* time of the association without that of store_end(); it ends between two messages; 0: any */
    struct tls_session *tls; /* its handshake is done; it stays the caller's. NULL: a plain connection */
};

/* DIMSE status (PS3.7 annex C, PS3.4 table B.2-1) */
enum {
    SCP_SUCCESS = 0x0000,
    SCP_UNRECOGNIZED = 0x0211,
    SCP_OUT_OF_RESOURCES = 0xa700,
    SCP_CLASS_MISMATCH = 0xa900,
    SCP_CANNOT_UNDERSTAND = 0xc000
};

struct scp_store { /* one C-STORE request; texts live during the callbacks of this store only */
    const char *sop_class_uid, *sop_instance_uid, *transfer_syntax_uid;
    int is_high; /* its priority (0000,0700) is HIGH */
};

/* User identity (PS3.7 D.3.3.7). The secondary field of type 2 is the passcode in the clear: never logged, never kept. */
enum { SCP_IDENTITY_USERNAME = 1, SCP_IDENTITY_PASSCODE = 2, SCP_IDENTITY_KERBEROS = 3, SCP_IDENTITY_SAML = 4, SCP_IDENTITY_JWT = 5 };
struct scp_identity {
    int type; /* one of the above; 6 for all that the standard does not know */
    int response_requested;
    const char *primary, *secondary; /* not terminated */
    size_t primary_bytes, secondary_bytes;
};

struct scp_request { /* an A-ASSOCIATE-RQ; everything lives during the call only */
    const char *calling, *called; /* as they came, without spaces at the end */
    const char *implementation_class_uid, *implementation_version; /* the peer's; "" when absent */
    const struct scp_identity *identity; /* NULL: none was sent */
    int context_count;
};

struct scp_decision { /* zeroes: accept */
    int result; /* 0 accept, 1 reject for good, 2 reject for now (PS3.8 table 9-21) */
    int source, reason;
    int identity_confirmed; /* the user identity was checked: the positive response is sent if it was asked for */
    int operations_window;  /* operations that the peer may have outstanding if it asks; below 2: no window is negotiated */
};

enum { SCP_REFUSE_ABSTRACT_SYNTAX = -1, SCP_REFUSE_TRANSFER_SYNTAXES = -2, SCP_REFUSE_USER = -3 };
/* SCP_REQUEST_BYTES_MAX: of an association request; 128 contexts with 38 transfer syntaxes each need 130 KiB, 340 KiB with the longest UIDs. */
enum { SCP_REQUEST_BYTES_MAX = 384 << 10, SCP_CONTEXTS_MAX = 128, SCP_TRANSFER_SYNTAXES_MAX = 512 };

struct scp_context { /* one proposed presentation context */
    int id;
    const char *abstract_syntax;
    const char *const *transfer_syntaxes;
    int transfer_syntax_count;
    int only_as_scp; /* the peer proposed the role SCP for itself and not SCU (PS3.7 D.3.3.4) */
};

struct scp_ops {
    /* The association request, before anything of it is answered. *decision is all zeroes: accept. */
    void (*request)(void *ctx, const struct scp_request *request, struct scp_decision *decision);
    /* Returns the index of the transfer syntax to accept, or one of SCP_REFUSE_*. We are SCP of whatever is accepted; the roles are
     * answered accordingly. */
    int (*negotiate)(void *ctx, const struct scp_context *context);
    /* Every context has been answered and the association stands. NULL: not told. */
    void (*negotiated)(void *ctx);
    /* Is this SOP class a storage class, whose extended negotiation is answered (PS3.4 B.3.1)? */
    int (*is_storage)(void *ctx, const char *sop_class_uid);
    /* Before the data set. Returns 0 or the status to answer; the data set is drained then, and store_end is not called.
     * comment: (0000,0902), up to 64 characters, for a status other than 0. */
    uint16_t (*store_begin)(void *ctx, const struct scp_store *store, char comment[65]);
    /* Bytes of the data set as they come, any number at a time. Errors are kept by the callee and told in store_end. */
    void (*store_write)(void *ctx, const void *bytes, size_t count);
    /* complete: the last fragment came. Otherwise leave nothing behind; the status is not sent then, and reason says in a sentence
     * what ended the message. */
    uint16_t (*store_end)(void *ctx, int complete, const char *reason, char comment[65]);
    /* A C-STORE was answered with status before store_begin: the request itself is wrong. Only to be counted and told. */
    void (*store_refused)(void *ctx, uint16_t status, const char *comment);
    /* Storage commitment, with the same ctx; NULL: N-ACTION is answered 0211H. */
    const struct commitment_ops *commitment;
    /* Asked between two messages, when nothing has come for idle_ms, about once a second: is the association to be aborted because this process
     * is to end? NULL: never. */
    int (*should_end)(void *ctx, int64_t idle_ms);
};

/*
 * Serves the association until it ends; closes fd. outcome receives "released", "aborted", "rejected", "no association: <reason>" or
 * "failed: <reason>". Returns 0 after an orderly end, ERR_PROTOCOL or ERR_NETWORK otherwise.
 */
int scp_serve_fd(int fd, const struct scp_config *config, const struct scp_ops *ops, void *ctx, char *outcome, size_t outcome_size,
                 struct err *e);

/* The name of a UID as DCMTK knows it ("CTImageStorage"), or NULL; and the other way round, case counts. Retired ones begin with "RETIRED_". Static
 * storage, thread safe. */
const char *scp_name_of_uid(const char *uid);
const char *scp_uid_of_name(const char *name);

#ifdef __cplusplus
}
#endif
#endif
