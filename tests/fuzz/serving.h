/*
 * serving - what the fuzz targets of an association put behind scp_ops: a store in memory that keeps nothing and trusts nobody. It
 * demands the order of adapter.h (begin, write, end, one store at a time), texts that end, and no more bytes than the peer sent.
 */
#ifndef STORESCP_FUZZ_SERVING_H
#define STORESCP_FUZZ_SERVING_H

#include "common/dicom/adapter.h"

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
    unsigned stores, kept, broken;
};

static void serving_text(const char *text, size_t size)
{
    if (!text || strnlen(text, size) == size) {
        abort();
    }
}

static int serving_request(void *ctx, const char *calling, const char *called)
{
    (void)ctx;
    serving_text(calling, 17);
    serving_text(called, 17);
    return strncmp(called, "NOBODY", 6) == 0 ? 1 << 8 | 7 : 0;
}

static int serving_negotiate(void *ctx, const char *abstract_syntax, const char *const *transfer_syntaxes, int count)
{
    (void)ctx;
    serving_text(abstract_syntax, 65);
    for (int i = 0; i < count; i++) {
        serving_text(transfer_syntaxes[i], 65);
        if (strcmp(transfer_syntaxes[i], "1.2.840.10008.1.2.1") == 0) {
            return i;
        }
    }
    return strncmp(abstract_syntax, "1.2.840.10008.5.1.1.", 20) == 0 ? -1 : count > 0 ? 0 : -2;
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
    for (size_t i = 0; i < count; i++) { /* every byte is ours to read */
        s->sum = s->sum * 31 + ((const unsigned char *)bytes)[i];
    }
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

static const struct scp_ops serving_ops = {
    .request = serving_request,
    .negotiate = serving_negotiate,
    .store_begin = serving_begin,
    .store_write = serving_write,
    .store_end = serving_end,
    .store_refused = serving_refused,
};

#endif
