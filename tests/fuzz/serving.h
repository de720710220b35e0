/*
 * serving - what the fuzz targets of an association put behind scp_ops: a store in memory that keeps nothing and trusts nobody. It
 * demands the order of adapter.h (begin, write, end, one store at a time), texts that end, and no more bytes than the peer sent.
 */
#ifndef STORESCP_FUZZ_SERVING_H
#define STORESCP_FUZZ_SERVING_H

#include "common/dicom/adapter.h"
#include "common/dicom/commitment.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct serving {
    size_t sent;   /* bytes of the whole input */
    size_t stored; /* bytes of data sets so far */
    uint32_t sum;  /* over them */
    bool storing;
    unsigned refuse_every; /* each n-th store is refused before its data set; 0: none */
    unsigned stores, kept, broken, actions;
    unsigned char *event; /* the report that is to be sent, or was */
    size_t event_bytes;
    uint16_t event_type;
    bool event_is_out;
};

static void serving_text(const char *text, size_t size)
{
    if (!text || strnlen(text, size) == size) {
        abort();
    }
}

static void serving_bytes(const char *bytes, size_t count, uint32_t *sum)
{
    for (size_t i = 0; i < count; i++) { /* every byte is ours to read */
        *sum = *sum * 31 + ((const unsigned char *)bytes)[i];
    }
}

static void serving_request(void *ctx, const struct scp_request *request, struct scp_decision *decision)
{
    struct serving *s = ctx;
    serving_text(request->calling, 17);
    serving_text(request->called, 17);
    serving_text(request->implementation_class_uid, 129); /* as the peer sent them, as far as the library keeps them */
    serving_text(request->implementation_version, 129);
    if (request->context_count < 0) {
        abort();
    }
    decision->operations_window = 3;
    if (request->identity) {
        const struct scp_identity *identity = request->identity;
        if (identity->type < 1 || identity->type > 6) {
            abort();
        }
        serving_bytes(identity->primary, identity->primary_bytes, &s->sum);
        serving_bytes(identity->secondary, identity->secondary_bytes, &s->sum);
        decision->identity_confirmed = identity->response_requested;
    }
    if (strncmp(request->called, "NOBODY", 6) == 0) {
        *decision = (struct scp_decision){.result = 1, .source = 1, .reason = 7};
    }
}

static int serving_negotiate(void *ctx, const struct scp_context *context)
{
    (void)ctx;
    serving_text(context->abstract_syntax, 65);
    if (context->id < 1 || context->id > 255 || context->transfer_syntax_count < 0 || context->transfer_syntax_count > SCP_TRANSFER_SYNTAXES_MAX) {
        abort();
    }
    for (int i = 0; i < context->transfer_syntax_count; i++) {
        serving_text(context->transfer_syntaxes[i], 65);
        if (strcmp(context->transfer_syntaxes[i], "1.2.840.10008.1.2.1") == 0) {
            return i;
        }
    }
    if (context->only_as_scp) {
        return SCP_REFUSE_USER;
    }
    return strncmp(context->abstract_syntax, "1.2.840.10008.5.1.1.", 20) == 0 ? SCP_REFUSE_ABSTRACT_SYNTAX
           : context->transfer_syntax_count > 0                              ? 0
                                                                             : SCP_REFUSE_TRANSFER_SYNTAXES;
}

static int serving_is_storage(void *ctx, const char *sop_class_uid)
{
    (void)ctx;
    serving_text(sop_class_uid, 65);
    return strncmp(sop_class_uid, "1.2.840.10008.5.1.4.1.1.", 24) == 0;
}

static uint16_t serving_begin(void *ctx, const struct scp_store *store, char comment[65])
{
    struct serving *s = ctx;
    if (s->storing || comment[0]) {
        abort();
    }
    serving_text(store->sop_class_uid, 72);
    serving_text(store->sop_instance_uid, 72);
    serving_text(store->transfer_syntax_uid, 65);
    s->stores++;
    if (s->refuse_every && s->stores % s->refuse_every == 0) {
        memset(comment, 'x', 64);
        comment[64] = 0;
        return SCP_OUT_OF_RESOURCES;
    }
    s->storing = true;
    return 0;
}

static void serving_write(void *ctx, const void *bytes, size_t count)
{
    struct serving *s = ctx;
    serving_bytes(bytes, count, &s->sum);
    s->stored += count;
    if (!s->storing || count == 0 || s->stored > s->sent) {
        abort();
    }
}

static uint16_t serving_end(void *ctx, int complete, const char *reason, char comment[65])
{
    struct serving *s = ctx;
    if (!s->storing || comment[0]) {
        abort();
    }
    s->storing = false;
    if (!complete) {
        serving_text(reason, 600);
        s->broken++;
        return 0;
    }
    s->kept++;
    return 0;
}

static void serving_refused(void *ctx, uint16_t status, const char *comment)
{
    if (((struct serving *)ctx)->storing || status == 0) {
        abort();
    }
    serving_text(comment, 65);
}

/* ---- storage commitment: every second instance is known; one report for each request, one at a time ---- */

static uint16_t serving_action(void *ctx, const unsigned char *bytes, size_t count, bool explicit_vr, char comment[65])
{
    struct serving *s = ctx;
    struct commitment_list list = {0};
    struct err e = {0};
    uint16_t status = commitment_read(bytes, count, explicit_vr, &list, &e);
    s->actions++;
    if (comment[0] || s->storing || count > s->sent) {
        abort();
    }
    if (status != 0) {
        serving_text(e.text, sizeof e.text);
        return status;
    }
    serving_text(list.transaction_uid, sizeof list.transaction_uid);
    if (!commitment_references_are_sound(list.references, list.references_bytes, list.count)) {
        abort();
    }
    if (!s->event) {
        uint16_t *reasons = calloc(list.count, sizeof *reasons);
        for (size_t i = 0; reasons && i < list.count; i += 2) {
            reasons[i] = COMMITMENT_NO_SUCH_INSTANCE; /* the failure reason has the same number */
        }
        s->event = reasons ? commitment_write(list.transaction_uid, list.references, reasons, list.count, explicit_vr, &s->event_bytes, &s->event_type) : NULL;
        free(reasons);
    }
    commitment_list_clear(&list);
    return 0;
}

static bool serving_event(void *ctx, bool explicit_vr, struct commitment_event *out)
{
    struct serving *s = ctx;
    (void)explicit_vr;
    if (!s->event || s->event_is_out) {
        return false;
    }
    s->event_is_out = true;
    *out = (struct commitment_event){s->event_type, s->event, s->event_bytes};
    return true;
}

static int serving_event_wait(void *ctx)
{
    (void)ctx;
    return -1;
}

static bool serving_event_ended(void *ctx, int status)
{
    struct serving *s = ctx;
    (void)status;
    if (!s->event_is_out) {
        abort();
    }
    free(s->event);
    s->event = NULL;
    s->event_is_out = false;
    return true;
}

static const struct commitment_ops serving_commitment = {
    .action = serving_action,
    .action_refused = serving_refused,
    .event = serving_event,
    .event_wait_ms = serving_event_wait,
    .event_ended = serving_event_ended,
};

static const struct scp_ops serving_ops = {
    .request = serving_request,
    .negotiate = serving_negotiate,
    .is_storage = serving_is_storage,
    .store_begin = serving_begin,
    .store_write = serving_write,
    .store_end = serving_end,
    .store_refused = serving_refused,
    .commitment = &serving_commitment,
};

#endif
