/*
 * commitment - what the Storage Commitment Push Model says over the network (PS3.4 annex J, PS3.3 section C.14): reading the action
 * information of a request, writing the event information of a report. Pure: no I/O, no state, no globals.
 *
 * The bytes of a request come from the network: every length is checked, nothing recurses, what is not needed is passed over.
 * A list of references travels inside the product as text: class UID, NUL, instance UID, NUL, for each of them.
 */
#ifndef STORESCP_DICOM_COMMITMENT_H
#define STORESCP_DICOM_COMMITMENT_H

#include "common/runtime/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define COMMITMENT_CLASS "1.2.840.10008.1.20.1"      /* Storage Commitment Push Model */
#define COMMITMENT_INSTANCE "1.2.840.10008.1.20.1.1" /* its well-known SOP instance */

/* The longest list of a real study is a tenth of this; an item takes up to 168 bytes. */
enum { COMMITMENT_ITEMS_MAX = 50000, COMMITMENT_BYTES_MAX = 8400000, COMMITMENT_UID_SIZE = 65 };
enum { COMMITMENT_REQUEST = 1 };                       /* action type (PS3.4 table J.3-1) */
enum { COMMITMENT_COMPLETE = 1, COMMITMENT_FAILED = 2 }; /* event types (PS3.4 table J.3-2) */

/* DIMSE status of an N-ACTION (PS3.7 section 10.1.4.1.10 and annex C) */
enum {
    COMMITMENT_NO_SUCH_INSTANCE = 0x0112,
    COMMITMENT_PROCESSING_FAILURE = 0x0110,
    COMMITMENT_INVALID_ARGUMENT = 0x0115,
    COMMITMENT_NO_SUCH_CLASS = 0x0118,
    COMMITMENT_NO_SUCH_ACTION = 0x0123,
    COMMITMENT_RESOURCE_LIMITATION = 0x0213
};

struct commitment_list {
    char transaction_uid[COMMITMENT_UID_SIZE];
    char *references; /* as above; free with commitment_list_clear() */
    size_t references_bytes, count;
};

/*
 * Reads action information in implicit or explicit VR little endian. Returns 0, or the status to answer with the reason in e->text:
 * INVALID_ARGUMENT (cannot be read, or lacks Transaction UID, references or one of their UIDs), RESOURCE_LIMITATION (more than
 * COMMITMENT_ITEMS_MAX), PROCESSING_FAILURE (memory). UIDs are 1 to 64 printable characters: what a C-STORE may carry can be asked for.
 */
uint16_t commitment_read(const unsigned char *bytes, size_t count, bool explicit_vr, struct commitment_list *out, struct err *e);
void commitment_list_clear(struct commitment_list *list);
/* Are these count references in that form, complete and within the limits? For what another process hands over. */
bool commitment_references_are_sound(const char *references, size_t bytes, size_t count);

/* The event information of a report; reasons[i] is 0 (committed) or the failure reason of reference i. Returns the data set, to be freed,
 * or NULL when there is no memory. *event_type: COMMITMENT_COMPLETE or COMMITMENT_FAILED. */
unsigned char *commitment_write(const char *transaction_uid, const char *references, const uint16_t *reasons, size_t count, bool explicit_vr,
                                size_t *bytes, uint16_t *event_type);

/* ---- on an association: what message.c asks whoever does storage commitment (see struct scp_ops) ----------------------------------- */
struct commitment_event {
    uint16_t type;
    const unsigned char *bytes; /* the callee's, until event_ended() */
    size_t count;
};
struct commitment_ops {
    /* A whole N-ACTION request of action type 1. Returns the status; comment as in store_begin. */
    uint16_t (*action)(void *ctx, const unsigned char *bytes, size_t count, bool explicit_vr, char comment[65]);
    /* An N-ACTION was answered with status before action(). Only to be counted and told. */
    void (*action_refused)(void *ctx, uint16_t status, const char *comment);
    /* Between two messages: is there a report to send? */
    bool (*event)(void *ctx, bool explicit_vr, struct commitment_event *out);
    /* After how many ms of silence event() is asked again; -1: nothing is expected. */
    int (*event_wait_ms)(void *ctx);
    /* The report's response came with this status, or -1: none came. True: nothing more is to be done on this association, and it
     * is ours to release. */
    bool (*event_ended)(void *ctx, int status);
};

#ifdef __cplusplus
}
#endif
#endif
