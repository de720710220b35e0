/*
 * message - see message.h.
 *
 * Reading is a stream: whatever recv brought lies in one buffer, PDU and PDV headers are taken from it one after the other, and
 * the bytes of a data set go to store_write from where they lie. Nothing waits for a whole PDU, so receiving, checksum and
 * file go on while the peer still sends.
 */
#include "common/dicom/message.h"

#include "common/dicom/command.h"
#include "common/runtime/runtime.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PDU_DATA = 4, PDU_RELEASE_RQ = 5, PDU_RELEASE_RP = 6, PDU_ABORT = 7 };
enum { PDV_IS_COMMAND = 1, PDV_IS_LAST = 2 };
/* A-ABORT reasons of the service provider (PS3.8 table 9-26) */
enum { REASON_NOT_SPECIFIED = 0, REASON_UNRECOGNIZED_PDU = 1, REASON_UNEXPECTED_PDU = 2, REASON_UNEXPECTED_PARAMETER = 5, REASON_INVALID_PARAMETER = 6 };

enum ending { GOES_ON, RELEASED, PEER_ABORTED, LOST, VIOLATED };

struct reader {
    const struct message_link *link;
    unsigned char *buffer;
    size_t from, until;        /* received and not yet taken */
    size_t pdu_left, pdv_left; /* bytes of the current PDU and PDV that are not yet taken */
    unsigned char context, control;
    bool in_message;         /* some of a message has been taken, not yet all of it */
    int64_t window_began_ms; /* the time in which MESSAGE_PROGRESS_BYTES must come */
    size_t window_bytes;
    int abort_reason;
    struct err why;
};

static enum ending violated(struct reader *r, int reason, const char *what)
{
    r->abort_reason = reason;
    (void)err_set(&r->why, ERR_PROTOCOL, 0, "%s", what);
    return VIOLATED;
}

static uint32_t be32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* ---- bytes ------------------------------------------------------------------------------------------------------------- */

/* Within a message a peer that drips bytes is as bad as a silent one. */
static enum ending check_progress(struct reader *r)
{
    int64_t now = clock_mono_ms();
    if (now - r->window_began_ms < (int64_t)r->link->config->dimse_timeout_s * 1000) {
        return GOES_ON;
    }
    if (r->window_bytes < MESSAGE_PROGRESS_BYTES) {
        (void)err_set(&r->why, ERR_TIMEOUT, 0, "less than %d bytes of a message came within dimse_timeout", MESSAGE_PROGRESS_BYTES);
        return LOST;
    }
    r->window_began_ms = now;
    r->window_bytes = 0;
    return GOES_ON;
}

/* One read, behind what is there already. */
static enum ending fill(struct reader *r)
{
    const struct scp_config *config = r->link->config;
    const struct message_transport *t = &r->link->transport;
    memmove(r->buffer, r->buffer + r->from, r->until - r->from); /* at most five bytes: the beginning of a header */
    r->until -= r->from;
    r->from = 0;
    if (r->in_message) {
        enum ending ending = check_progress(r);
        if (ending != GOES_ON) {
            return ending;
        }
    }
    int timeout_ms = (r->in_message ? config->dimse_timeout_s : config->network_timeout_s) * 1000;
    ssize_t n = t->read(t->ctx, r->buffer + r->until, MESSAGE_BUFFER_BYTES - r->until, timeout_ms);
    if (n > 0) {
        r->until += (size_t)n;
        return GOES_ON;
    }
    const char *where = r->in_message ? "within a message" : "between two messages";
    if (n == 0 || errno == ECONNRESET) {
        (void)err_set(&r->why, ERR_NETWORK, 0, "the peer closed the connection %s, without a release", where);
    } else if (errno == ETIMEDOUT) {
        (void)err_set(&r->why, ERR_TIMEOUT, 0, "the peer was silent %s for %s", where,
                      r->in_message ? "dimse_timeout" : "network_timeout");
    } else {
        (void)err_set(&r->why, ERR_NETWORK, errno, "the connection broke %s", where);
    }
    return LOST;
}

static enum ending need(struct reader *r, size_t count)
{
    enum ending ending = GOES_ON;
    while (ending == GOES_ON && r->until - r->from < count) {
        ending = fill(r);
    }
    return ending;
}

/* ---- PDUs and PDVs -------------------------------------------------------------------------------------------------------- */

/* The header of the next P-DATA-TF; every other PDU ends the association. */
static enum ending next_pdu(struct reader *r)
{
    enum ending ending = need(r, 6);
    if (ending != GOES_ON) {
        return ending;
    }
    const unsigned char *head = r->buffer + r->from;
    uint32_t length = be32(head + 2);
    if (head[0] == PDU_ABORT) {
        (void)err_set(&r->why, ERR_NETWORK, 0, "the peer aborted the association");
        return PEER_ABORTED;
    }
    if (head[0] == PDU_RELEASE_RQ) {
        return r->in_message ? violated(r, REASON_UNEXPECTED_PDU, "a release request within a message") : RELEASED;
    }
    if (head[0] != PDU_DATA) {
        return head[0] >= 1 && head[0] <= 6 ? violated(r, REASON_UNEXPECTED_PDU, "a PDU that does not belong here")
                                            : violated(r, REASON_UNRECOGNIZED_PDU, "a PDU of a type that does not exist");
    }
    if (length < 6 || length > r->link->config->maximum_pdu_bytes) {
        return violated(r, REASON_INVALID_PARAMETER, length < 6 ? "a P-DATA PDU without a presentation data value"
                                                                : "a PDU longer than the agreed maximum");
    }
    r->from += 6;
    r->pdu_left = length;
    return GOES_ON;
}

/* The header of the next PDV (PS3.8 section 9.3.5.1); its bytes follow in the buffer. */
static enum ending next_pdv(struct reader *r)
{
    enum ending ending = GOES_ON;
    if (r->pdu_left == 0) {
        ending = next_pdu(r);
    }
    if (ending == GOES_ON && r->pdu_left < 6) {
        ending = violated(r, REASON_INVALID_PARAMETER, "bytes after the last presentation data value of a PDU");
    }
    if (ending == GOES_ON) {
        ending = need(r, 6);
    }
    if (ending != GOES_ON) {
        return ending;
    }
    const unsigned char *head = r->buffer + r->from;
    uint32_t length = be32(head);
    if (length < 2 || length > r->pdu_left - 4) {
        return violated(r, REASON_INVALID_PARAMETER, "a presentation data value that does not fit into its PDU");
    }
    unsigned char context = head[4];
    if (r->in_message && context != r->context) {
        return violated(r, REASON_UNEXPECTED_PARAMETER, "the presentation context changes within a message");
    }
    if (!r->link->contexts[context].accepted) {
        return violated(r, REASON_INVALID_PARAMETER, "a message on a presentation context that was not accepted");
    }
    if (!r->in_message) {
        r->in_message = true;
        r->window_began_ms = clock_mono_ms();
        r->window_bytes = 0;
    }
    r->context = context;
    r->control = head[5];
    r->from += 6;
    r->pdu_left -= length + 4;
    r->pdv_left = length - 2;
    return GOES_ON;
}

/* Some bytes of the current PDV, at least one: *bytes lives until the next read. */
static enum ending take(struct reader *r, const unsigned char **bytes, size_t *count)
{
    enum ending ending = need(r, 1);
    if (ending != GOES_ON) {
        return ending;
    }
    *count = r->until - r->from < r->pdv_left ? r->until - r->from : r->pdv_left;
    *bytes = r->buffer + r->from;
    r->from += *count;
    r->pdv_left -= *count;
    r->window_bytes += *count;
    return GOES_ON;
}

static enum ending read_command(struct reader *r, struct command *command)
{
    unsigned char set[COMMAND_BYTES_MAX];
    size_t used = 0;
    r->in_message = false;
    do {
        enum ending ending = next_pdv(r);
        if (ending == GOES_ON && !(r->control & PDV_IS_COMMAND)) {
            ending = violated(r, REASON_UNEXPECTED_PARAMETER, "a data set where a command was due");
        }
        if (ending == GOES_ON && r->pdv_left > sizeof set - used) {
            ending = violated(r, REASON_INVALID_PARAMETER, "a command set longer than any request");
        }
        while (ending == GOES_ON && r->pdv_left > 0) {
            const unsigned char *bytes;
            size_t count;
            ending = take(r, &bytes, &count);
            if (ending == GOES_ON) {
                memcpy(set + used, bytes, count);
                used += count;
            }
        }
        if (ending != GOES_ON) {
            return ending;
        }
    } while (!(r->control & PDV_IS_LAST));
    if (command_parse(set, used, command, &r->why) != 0) {
        r->abort_reason = REASON_INVALID_PARAMETER;
        return VIOLATED;
    }
    return GOES_ON;
}

/* Reads the data set of the current message; keep: give it to store_write. */
static enum ending read_data_set(struct reader *r, bool keep)
{
    const struct message_link *l = r->link;
    do {
        enum ending ending = next_pdv(r);
        if (ending == GOES_ON && (r->control & PDV_IS_COMMAND)) {
            ending = violated(r, REASON_UNEXPECTED_PARAMETER, "a command where a data set was due");
        }
        while (ending == GOES_ON && r->pdv_left > 0) {
            const unsigned char *bytes;
            size_t count;
            ending = take(r, &bytes, &count);
            if (ending == GOES_ON && keep) {
                l->ops->store_write(l->ops_ctx, bytes, count);
            }
        }
        if (ending != GOES_ON) {
            return ending;
        }
    } while (!(r->control & PDV_IS_LAST));
    return GOES_ON;
}

/* ---- answers --------------------------------------------------------------------------------------------------------------- */

static enum ending send_bytes(struct reader *r, const void *bytes, size_t count)
{
    const struct message_transport *t = &r->link->transport;
    if (t->write(t->ctx, bytes, count, r->link->config->network_timeout_s * 1000) == (ssize_t)count) {
        return GOES_ON;
    }
    (void)err_set(&r->why, ERR_NETWORK, errno, "the answer could not be sent");
    return LOST;
}

/* A response, in as many PDUs as the peer's maximum asks for. */
static enum ending respond(struct reader *r, const struct command *request, uint16_t status, const char *comment)
{
    unsigned char set[COMMAND_RESPONSE_MAX];
    size_t length = command_response(set, request, status, comment);
    size_t room = r->link->peer_maximum_pdu;
    room = room == 0 || room > sizeof set + 6 ? sizeof set : room > 6 + 16 ? room - 6 : 16;
    enum ending ending = GOES_ON;
    for (size_t at = 0; ending == GOES_ON && at < length; at += room) {
        unsigned char pdu[12 + COMMAND_RESPONSE_MAX];
        size_t part = length - at < room ? length - at : room;
        size_t pdv = part + 2;
        size_t body = pdv + 4;
        unsigned char head[12] = {PDU_DATA, 0, 0, 0, (unsigned char)(body >> 8), (unsigned char)body, 0, 0, (unsigned char)(pdv >> 8), (unsigned char)pdv,
                                  r->context, PDV_IS_COMMAND | (at + part == length ? PDV_IS_LAST : 0)};
        memcpy(pdu, head, sizeof head);
        memcpy(pdu + sizeof head, set + at, part);
        ending = send_bytes(r, pdu, sizeof head + part);
    }
    return ending;
}

static void send_control(struct reader *r, unsigned char type, unsigned char source, unsigned char reason)
{
    unsigned char pdu[10] = {type, 0, 0, 0, 0, 4, 0, 0, source, reason};
    const struct message_transport *t = &r->link->transport;
    (void)t->write(t->ctx, pdu, sizeof pdu, 1000); /* the association ends anyway */
}

/* ---- operations ------------------------------------------------------------------------------------------------------------ */

static enum ending store(struct reader *r, const struct command *request)
{
    const struct message_link *l = r->link;
    const struct message_context *context = &l->contexts[r->context];
    struct scp_store told = {request->sop_class_uid, request->sop_instance_uid, context->transfer_syntax};
    char comment[65] = "";
    uint16_t status = 0;
    bool keep = false;
    if (!request->has_data_set) {
        status = SCP_CANNOT_UNDERSTAND;
        (void)snprintf(comment, sizeof comment, "the request announces no data set");
    } else if (request->uid_unusable || !request->sop_instance_uid[0]) {
        status = SCP_CANNOT_UNDERSTAND;
        (void)snprintf(comment, sizeof comment, "the request's SOP Instance or Class UID is no UID");
    } else if (strcmp(context->abstract_syntax, request->sop_class_uid) != 0) {
        status = SCP_CLASS_MISMATCH;
        (void)snprintf(comment, sizeof comment, "SOP class is not that of the presentation context");
    }
    if (status != 0) {
        l->ops->store_refused(l->ops_ctx, status, comment);
    } else {
        status = l->ops->store_begin(l->ops_ctx, &told, comment);
        keep = status == 0;
    }
    enum ending ending = request->has_data_set ? read_data_set(r, keep) : GOES_ON;
    if (keep) {
        status = l->ops->store_end(l->ops_ctx, ending == GOES_ON, r->why.text, comment);
    }
    return ending == GOES_ON ? respond(r, request, status, comment) : ending;
}

static enum ending perform(struct reader *r, const struct command *request)
{
    if (request->field == COMMAND_C_STORE_RQ) {
        return store(r, request);
    }
    if (request->field & COMMAND_IS_RESPONSE) {
        return violated(r, REASON_UNEXPECTED_PARAMETER, "a response, though nothing was asked");
    }
    enum ending ending = request->has_data_set ? read_data_set(r, false) : GOES_ON;
    if (ending != GOES_ON || request->field == COMMAND_C_CANCEL_RQ) {
        return ending; /* nothing is under way that could be cancelled; C-CANCEL has no response */
    }
    return request->field == COMMAND_C_ECHO_RQ ? respond(r, request, SCP_SUCCESS, NULL)
                                               : respond(r, request, SCP_UNRECOGNIZED, "only C-ECHO and C-STORE are served here");
}

int message_serve(const struct message_link *link, char *outcome, size_t outcome_size, struct err *e)
{
    struct reader r = {.link = link, .buffer = malloc(MESSAGE_BUFFER_BYTES)};
    enum ending ending = GOES_ON;
    if (!r.buffer) {
        (void)snprintf(outcome, outcome_size, "failed: out of memory");
        return err_set(e, ERR_MEMORY, 0, "buffer of an association");
    }
    while (ending == GOES_ON) {
        struct command command;
        ending = read_command(&r, &command);
        if (ending == GOES_ON) {
            ending = perform(&r, &command);
        }
    }
    free(r.buffer);
    if (ending == RELEASED) {
        send_control(&r, PDU_RELEASE_RP, 0, 0);
        (void)snprintf(outcome, outcome_size, "released");
        return 0;
    }
    if (ending == PEER_ABORTED) {
        (void)snprintf(outcome, outcome_size, "aborted");
        return 0;
    }
    /* source 2: service provider; it has the reasons */
    send_control(&r, PDU_ABORT, 2, ending == VIOLATED ? (unsigned char)r.abort_reason : REASON_NOT_SPECIFIED);
    (void)snprintf(outcome, outcome_size, "failed: %s", r.why.text);
    if (e) {
        *e = r.why;
    }
    return r.why.code;
}
