/*
 * message - see message.h.
 *
 * Reading is a stream: whatever recv brought lies in one buffer, PDU and PDV headers are taken from it one after the other, and
 * the bytes of a data set go to store_write from where they lie. Nothing waits for a whole PDU, so receiving, checksum and
 * file go on while the peer still sends.
 */
#include "common/dicom/message_internal.h"

#include "common/runtime/runtime.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOK_MS = 1000, RELEASE_MS = 5000 };

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
    const int message_s = r->link->config->message_s;
    if (message_s > 0 && now - r->message_began_ms >= (int64_t)message_s * 1000) {
        (void)err_set(&r->why, ERR_TIMEOUT, 0, "a message was not complete within object_s");
        return LOST;
    }
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

/* One read, behind what is there already. silent (may be NULL): set, instead of an error, when nothing came in timeout_ms. */
static enum ending fill(struct reader *r, int timeout_ms, bool *silent)
{
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
    ssize_t n = t->read(t->ctx, r->buffer + r->until, MESSAGE_BUFFER_BYTES - r->until, timeout_ms);
    if (n > 0) {
        r->until += (size_t)n;
        return GOES_ON;
    }
    if (n < 0 && errno == ETIMEDOUT && silent) {
        *silent = true;
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
    const struct scp_config *config = r->link->config;
    enum ending ending = GOES_ON;
    while (ending == GOES_ON && r->until - r->from < count) {
        int64_t timeout_ms = (int64_t)(r->in_message ? config->dimse_timeout_s : config->network_timeout_s) * 1000;
        bool silent = false;
        int64_t left = r->in_message && config->message_s > 0 ? r->message_began_ms + (int64_t)config->message_s * 1000 - clock_mono_ms() : timeout_ms;
        left = left > 0 ? left : 0;
        ending = fill(r, (int)(left < timeout_ms ? left : timeout_ms), left < timeout_ms ? &silent : NULL);
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
        r->window_began_ms = r->message_began_ms = clock_mono_ms();
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

enum ending message_read_data_set(struct reader *r, void (*sink)(void *ctx, const void *bytes, size_t count), void *ctx)
{
    do {
        enum ending ending = next_pdv(r);
        if (ending == GOES_ON && (r->control & PDV_IS_COMMAND)) {
            ending = violated(r, REASON_UNEXPECTED_PARAMETER, "a command where a data set was due");
        }
        while (ending == GOES_ON && r->pdv_left > 0) {
            const unsigned char *bytes;
            size_t count;
            ending = take(r, &bytes, &count);
            if (ending == GOES_ON && sink) {
                sink(ctx, bytes, count);
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
enum ending message_send(struct reader *r, unsigned char context, unsigned char kind, const unsigned char *bytes, size_t length)
{
    enum { FRAGMENT_MAX = 16384 };
    unsigned char pdu[12 + FRAGMENT_MAX];
    size_t room = r->link->peer_maximum_pdu;
    room = room == 0 || room > FRAGMENT_MAX + 6 ? FRAGMENT_MAX : room > 6 + 16 ? room - 6 : 16;
    enum ending ending = GOES_ON;
    for (size_t at = 0; ending == GOES_ON && at < length; at += room) {
        size_t part = length - at < room ? length - at : room;
        size_t pdv = part + 2;
        size_t body = pdv + 4;
        unsigned char head[12] = {PDU_DATA, 0, 0, 0, (unsigned char)(body >> 8), (unsigned char)body, 0, 0, (unsigned char)(pdv >> 8), (unsigned char)pdv,
                                  context, kind | (at + part == length ? PDV_IS_LAST : 0)};
        memcpy(pdu, head, sizeof head);
        memcpy(pdu + sizeof head, bytes + at, part);
        ending = send_bytes(r, pdu, sizeof head + part);
    }
    return ending;
}

enum ending message_respond(struct reader *r, const struct command *request, uint16_t status, const char *comment)
{
    unsigned char set[COMMAND_RESPONSE_MAX];
    size_t length = command_response(set, request, status, comment);
    return message_send(r, r->context, PDV_IS_COMMAND, set, length);
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
    struct scp_store told = {request->sop_class_uid, request->sop_instance_uid, context->transfer_syntax,
                             request->priority == COMMAND_PRIORITY_HIGH};
    char comment[65] = "";
    uint16_t status = 0;
    bool keep = false;
    if (!request->has_data_set) {
        status = SCP_CANNOT_UNDERSTAND;
        (void)snprintf(comment, sizeof comment, "the request announces no data set");
    } else if (request->uid_unusable || !request->sop_instance_uid[0]) {
        status = SCP_CANNOT_UNDERSTAND;
        (void)snprintf(comment, sizeof comment, "the request's SOP Instance or Class UID is no UID");
    } else if (strcmp(context->abstract_syntax, COMMITMENT_CLASS) == 0) {
        status = SCP_UNRECOGNIZED;
        (void)snprintf(comment, sizeof comment, "C-STORE is not of the storage commitment context");
    } else if (strcmp(context->abstract_syntax, request->sop_class_uid) != 0) {
        status = SCP_CLASS_MISMATCH;
        (void)snprintf(comment, sizeof comment, "SOP class is not that of the presentation context");
    } else if (!l->ops->is_storage || !l->ops->is_storage(l->ops_ctx, context->abstract_syntax)) { /* verification: no object has that class */
        status = SCP_UNRECOGNIZED;
        (void)snprintf(comment, sizeof comment, "C-STORE is not of the presentation context's service");
    }
    if (status != 0) {
        l->ops->store_refused(l->ops_ctx, status, comment);
    } else {
        status = l->ops->store_begin(l->ops_ctx, &told, comment);
        keep = status == 0;
    }
    enum ending ending = request->has_data_set ? message_read_data_set(r, keep ? l->ops->store_write : NULL, l->ops_ctx) : GOES_ON;
    if (keep) {
        int64_t begun = clock_mono_ms();
        status = l->ops->store_end(l->ops_ctx, ending == GOES_ON, r->why.text, comment);
        r->paused_ms += clock_mono_ms() - begun;
    }
    return ending == GOES_ON ? message_respond(r, request, status, comment) : ending;
}

/* Between two messages: has the association had its time, or is this process to end? */
static enum ending check_end(struct reader *r, int64_t now, int64_t idle_ms)
{
    const struct message_link *l = r->link;
    if (l->config->association_s > 0 && now - r->began_ms - r->paused_ms >= (int64_t)l->config->association_s * 1000) {
        (void)err_set(&r->why, ERR_TIMEOUT, 0, "the association lasted longer than association_s");
        return LOST;
    }
    if (l->ops->should_end && l->ops->should_end(l->ops_ctx, idle_ms)) {
        (void)err_set(&r->why, ERR_STOPPED, 0, "the receiver stops");
        return LOST;
    }
    return GOES_ON;
}

/* Until the first byte of the next message is there; what is to be told meanwhile is told. */
static enum ending await_message(struct reader *r)
{
    const struct message_link *l = r->link;
    const int64_t begun = clock_mono_ms();
    const int64_t until = begun + (int64_t)l->config->network_timeout_s * 1000;
    enum ending ending = check_end(r, begun, 0); /* a peer that never pauses is asked, too */
    r->in_message = false;
    while (ending == GOES_ON && r->pdu_left == 0 && r->from == r->until) {
        ending = message_look_for_events(r);
        int64_t now = clock_mono_ms();
        ending = ending == GOES_ON ? check_end(r, now, now - begun) : ending;
        if (ending == GOES_ON) {
            int64_t left = until > now ? until - now : 0;
            int wait_ms = !l->ops->commitment || r->commitment_context == 0 ? -1 : l->ops->commitment->event_wait_ms(l->ops_ctx);
            int64_t slice = r->event_is_open && r->event_until_ms > now ? r->event_until_ms - now : wait_ms < 0 ? left : wait_ms;
            bool looks = l->ops->should_end || l->config->association_s > 0;
            slice = looks && slice > LOOK_MS ? LOOK_MS : slice;
            bool silent = false;
            ending = fill(r, (int)(slice < left ? slice : left), slice < left ? &silent : NULL);
        }
    }
    return ending;
}

static enum ending perform(struct reader *r, const struct command *request)
{
    if (request->field == COMMAND_C_STORE_RQ) {
        return store(r, request);
    }
    if (request->field == COMMAND_N_ACTION_RQ) {
        return message_act(r, request);
    }
    bool is_report_answer = request->field == (COMMAND_N_EVENT_REPORT_RQ | COMMAND_IS_RESPONSE) && r->event_id > 0;
    if (request->field & COMMAND_IS_RESPONSE && !is_report_answer) {
        return violated(r, REASON_UNEXPECTED_PARAMETER, "a response, though nothing was asked");
    }
    enum ending ending = request->has_data_set ? message_read_data_set(r, NULL, NULL) : GOES_ON;
    if (ending != GOES_ON || request->field == COMMAND_C_CANCEL_RQ) {
        return ending; /* nothing is under way that could be cancelled; C-CANCEL has no response */
    }
    if (is_report_answer) { /* one that came too late counts for nothing: the report is repeated elsewhere */
        return r->event_is_open && request->message_id == r->event_id ? message_end_event(r, request->status) : GOES_ON;
    }
    return request->field == COMMAND_C_ECHO_RQ ? message_respond(r, request, SCP_SUCCESS, NULL)
                                               : message_respond(r, request, SCP_UNRECOGNIZED, "only C-ECHO, C-STORE and N-ACTION are served here");
}

int message_serve(const struct message_link *link, char *outcome, size_t outcome_size, struct err *e)
{
    struct reader r = {.link = link, .buffer = malloc(MESSAGE_BUFFER_BYTES), .began_ms = clock_mono_ms()};
    enum ending ending = GOES_ON;
    if (!r.buffer) {
        (void)snprintf(outcome, outcome_size, "failed: out of memory");
        return err_set(e, ERR_MEMORY, 0, "buffer of an association");
    }
    for (int i = 1; i < 256 && r.commitment_context == 0; i++) {
        if (link->contexts[i].accepted && strcmp(link->contexts[i].abstract_syntax, COMMITMENT_CLASS) == 0) {
            r.commitment_context = (unsigned char)i;
        }
    }
    while (ending == GOES_ON) {
        struct command command;
        ending = await_message(&r);
        ending = ending == GOES_ON ? read_command(&r, &command) : ending;
        if (ending == GOES_ON) {
            ending = perform(&r, &command);
        }
    }
    if (r.event_is_open) {
        (void)message_end_event(&r, -1);
    }
    if (ending == FINISHED) {
        send_control(&r, PDU_RELEASE_RQ, 0, 0);
        while (r.until - r.from < 6 && fill(&r, RELEASE_MS, NULL) == GOES_ON) { /* its release response, or whatever else comes */
        }
    }
    free(r.buffer);
    if (ending == RELEASED || ending == FINISHED) {
        if (ending == RELEASED) {
            send_control(&r, PDU_RELEASE_RP, 0, 0);
        }
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
