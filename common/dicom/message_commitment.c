/*
 * message_commitment - the messages of the Storage Commitment Push Model on an association: an N-ACTION request is gathered in memory (up to
 * COMMITMENT_BYTES_MAX) and given to commitment->action(); a report goes out between two messages, and its response is awaited
 * while other requests are served.
 */
#include "common/dicom/message_internal.h"
#include "common/runtime/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct action_sink {
    unsigned char *bytes;
    size_t count, room;
    bool too_large, no_memory;
};

static void take_action(void *ctx, const void *bytes, size_t count)
{
    struct action_sink *s = ctx;
    if (s->too_large || s->no_memory) {
        return;
    }
    if (count > COMMITMENT_BYTES_MAX - s->count) {
        s->too_large = true;
        return;
    }
    if (count > s->room - s->count) {
        size_t room = (s->count + count) * 2;
        unsigned char *grown = realloc(s->bytes, room);
        if (!grown) {
            s->no_memory = true;
            return;
        }
        s->bytes = grown;
        s->room = room;
    }
    memcpy(s->bytes + s->count, bytes, count);
    s->count += count;
}

/* What is wrong with the command itself (PS3.7 section 10.1.4), 0 if nothing is. */
static uint16_t judge_action(const struct reader *r, const struct command *request, char comment[65])
{
    static const struct {
        uint16_t status;
        const char *comment;
    } faults[] = {{SCP_UNRECOGNIZED, "N-ACTION is served for storage commitment only"},
                  {COMMITMENT_NO_SUCH_CLASS, "the class is not the storage commitment push model"},
                  {COMMITMENT_NO_SUCH_INSTANCE, "the instance is not the well-known one"},
                  {COMMITMENT_NO_SUCH_ACTION, "the only action type is 1"},
                  {COMMITMENT_INVALID_ARGUMENT, "there is no action information"}};
    const struct message_link *l = r->link;
    int fault = !l->ops->commitment || strcmp(l->contexts[r->context].abstract_syntax, COMMITMENT_CLASS) != 0 ? 0
                : strcmp(request->sop_class_uid, COMMITMENT_CLASS) != 0                                       ? 1
                : strcmp(request->sop_instance_uid, COMMITMENT_INSTANCE) != 0                                 ? 2
                : request->action_type != COMMITMENT_REQUEST                                                  ? 3
                : !request->has_data_set                                                                      ? 4
                                                                                                              : -1;
    if (fault < 0) {
        return 0;
    }
    (void)snprintf(comment, 65, "%s", faults[fault].comment);
    return faults[fault].status;
}

static bool context_is_explicit(const struct reader *r, unsigned char context)
{
    return strcmp(r->link->contexts[context].transfer_syntax, "1.2.840.10008.1.2") != 0;
}

enum ending message_act(struct reader *r, const struct command *request)
{
    const struct message_link *l = r->link;
    struct action_sink sink = {0};
    char comment[65] = "";
    uint16_t status = judge_action(r, request, comment);
    bool keep = status == 0;
    enum ending ending = request->has_data_set ? message_read_data_set(r, keep ? take_action : NULL, &sink) : GOES_ON;
    if (keep && (sink.too_large || sink.no_memory)) {
        status = sink.too_large ? COMMITMENT_RESOURCE_LIMITATION : COMMITMENT_PROCESSING_FAILURE;
        (void)snprintf(comment, sizeof comment, sink.too_large ? "the action information is too large" : "out of memory");
    }
    if (ending == GOES_ON && status != 0 && l->ops->commitment) {
        l->ops->commitment->action_refused(l->ops_ctx, status, comment);
    } else if (ending == GOES_ON && status == 0) {
        status = l->ops->commitment->action(l->ops_ctx, sink.bytes ? sink.bytes : (const unsigned char *)"", sink.count,
                                            context_is_explicit(r, r->context), comment);
    }
    free(sink.bytes);
    return ending == GOES_ON ? message_respond(r, request, status, comment) : ending;
}

enum ending message_end_event(struct reader *r, int status)
{
    const struct message_link *l = r->link;
    r->event_is_open = false;
    return l->ops->commitment->event_ended(l->ops_ctx, status) && l->is_requestor ? FINISHED : GOES_ON;
}

enum ending message_look_for_events(struct reader *r)
{
    const struct message_link *l = r->link;
    struct commitment_event event;
    unsigned char set[COMMAND_RESPONSE_MAX];
    if (!l->ops->commitment || r->commitment_context == 0) {
        return GOES_ON;
    }
    if (r->event_is_open) {
        if (clock_mono_ms() < r->event_until_ms) {
            return GOES_ON;
        }
        (void)message_end_event(r, -1);
        if (!l->is_requestor) {
            return GOES_ON; /* the peer's association goes on */
        }
        (void)err_set(&r->why, ERR_TIMEOUT, 0, "the peer did not answer the report within dimse_timeout");
        return LOST;
    }
    if (!l->ops->commitment->event(l->ops_ctx, context_is_explicit(r, r->commitment_context), &event)) {
        return l->is_requestor ? FINISHED : GOES_ON;
    }
    r->event_id++;
    r->event_is_open = true;
    size_t length = command_event_report(set, r->event_id, COMMITMENT_CLASS, COMMITMENT_INSTANCE, event.type);
    enum ending ending = message_send(r, r->commitment_context, PDV_IS_COMMAND, set, length);
    ending = ending == GOES_ON ? message_send(r, r->commitment_context, 0, event.bytes, event.count) : ending;
    r->event_until_ms = clock_mono_ms() + (int64_t)l->config->dimse_timeout_s * 1000;
    return ending;
}
