/*
 * adapter - DCMTK behind a plain C header: serves one association on a socket that was accepted elsewhere.
 *
 * DCMTK reads and answers the association request; the messages after it are read by message.c. Everything that matters is decided and
 * done in the callbacks. No file is written here and no data set is built (10,000 nested sequences would end DCMTK). One association
 * at a time in a process: DCMTK takes the socket through a global. Not thread safe.
 */
#ifndef STORESCP_DICOM_ADAPTER_H
#define STORESCP_DICOM_ADAPTER_H

#include "common/runtime/err.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct scp_config {
    unsigned maximum_pdu_bytes; /* 4096 to 131072 */
    int acse_timeout_s, dimse_timeout_s, network_timeout_s;
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
};

struct scp_ops {
    /* The association request. Returns 0 to accept, else reject: source << 8 | reason, permanent (PS3.8 table 9-21). */
    int (*request)(void *ctx, const char *calling, const char *called);
    /* One presentation context. Returns the index of the transfer syntax to accept, -1 to refuse the abstract syntax, -2 to refuse
     * the transfer syntaxes. */
    int (*negotiate)(void *ctx, const char *abstract_syntax, const char *const *transfer_syntaxes, int count);
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
};

/*
 * Serves the association until it ends; closes fd. outcome receives "released", "aborted", "rejected", "no association" or
 * "failed: <reason>". Returns 0 after an orderly end, ERR_PROTOCOL or ERR_NETWORK otherwise.
 */
int scp_serve_fd(int fd, const struct scp_config *config, const struct scp_ops *ops, void *ctx, char *outcome, size_t outcome_size,
                 struct err *e);

#ifdef __cplusplus
}
#endif
#endif
