/* message_internal - what the files of message share: message.c (bytes, PDUs, messages), message_commitment.c (N-ACTION, N-EVENT-REPORT).
 * Nobody else includes it. */
#ifndef STORESCP_DICOM_MESSAGE_INTERNAL_H
#define STORESCP_DICOM_MESSAGE_INTERNAL_H

#include "common/dicom/command.h"
#include "common/dicom/message.h"

enum { PDU_DATA = 4, PDU_RELEASE_RQ = 5, PDU_RELEASE_RP = 6, PDU_ABORT = 7 };
enum { PDV_IS_COMMAND = 1, PDV_IS_LAST = 2 };
/* A-ABORT reasons of the service provider (PS3.8 table 9-26) */
enum { REASON_NOT_SPECIFIED = 0, REASON_UNRECOGNIZED_PDU = 1, REASON_UNEXPECTED_PDU = 2, REASON_UNEXPECTED_PARAMETER = 5, REASON_INVALID_PARAMETER = 6 };

enum ending { GOES_ON, RELEASED, FINISHED, PEER_ABORTED, LOST, VIOLATED };

struct reader {
    const struct message_link *link;
    unsigned char *buffer;
    size_t from, until;        /* received and not yet taken */
    size_t pdu_left, pdv_left; /* bytes of the current PDU and PDV that are not yet taken */
    unsigned char context, control;
    bool in_message;         /* some of a message has been taken, not yet all of it */
    int64_t window_began_ms; /* the time in which MESSAGE_PROGRESS_BYTES must come */
    size_t window_bytes;
    int64_t began_ms, message_began_ms, paused_ms; /* the association, the message; the time that store_end() took so far */
    unsigned char commitment_context; /* where reports go; 0: nowhere */
    uint16_t event_id;                /* message id of the last report */
    bool event_is_open;               /* its response has not come */
    int64_t event_until_ms;
    int abort_reason;
    struct err why;
};

/* Reads the data set of the current message and gives it to sink (NULL: to nobody). */
enum ending message_read_data_set(struct reader *r, void (*sink)(void *ctx, const void *bytes, size_t count), void *ctx);
/* Sends a command set (kind PDV_IS_COMMAND) or data set (0) in as many PDUs as the peer's maximum asks for. */
enum ending message_send(struct reader *r, unsigned char context, unsigned char kind, const unsigned char *bytes, size_t length);
enum ending message_respond(struct reader *r, const struct command *request, uint16_t status, const char *comment);

/* Serves an N-ACTION request. */
enum ending message_act(struct reader *r, const struct command *request);
/* Between two messages: sends a report that is due, gives up waiting for the response of one. FINISHED: there is nothing more to do. */
enum ending message_look_for_events(struct reader *r);
/* The open report is over: with the status of its response, or -1. */
enum ending message_end_event(struct reader *r, int status);

#endif
