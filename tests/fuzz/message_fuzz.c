/*
 * message_fuzz - message.c alone, over a transport in memory: what a peer sends on an association that stands. Much faster than
 * association_fuzz, because no library negotiates before.
 *
 * The first byte is how many bytes a read brings (0: all there are), the second the peer's maximum PDU and when writing fails.
 * Contexts 1 (storage), 3 (storage, another class), 5 (verification), 7 and 9 (storage commitment) stand. Demanded beside the sanitizers: the order of the
 * callbacks, whole PDUs within the peer's maximum, and the same end when everything comes in one read.
 */
#include "common/dicom/message.h"
#include "tests/fuzz/serving.h"

#include <errno.h>
#include <stdio.h>

struct line {
    const uint8_t *bytes;
    size_t left, step;
    size_t peer_maximum;
    unsigned writes, writes_until_failure;
    uint32_t answers; /* a sum over everything written */
    bool ended;       /* release or abort was sent: nothing may follow */
};

static ssize_t line_read(void *ctx, void *buffer, size_t size, int timeout_ms)
{
    struct line *l = ctx;
    size_t n = l->step && l->step < l->left ? l->step : l->left;
    n = n < size ? n : size;
    if (size == 0 || timeout_ms <= 0) {
        abort();
    }
    memcpy(buffer, l->bytes, n);
    l->bytes += n;
    l->left -= n;
    return (ssize_t)n;
}

static ssize_t line_write(void *ctx, const void *bytes, size_t count, int timeout_ms)
{
    struct line *l = ctx;
    const uint8_t *p = bytes;
    if (l->ended || count < 10 || timeout_ms <= 0) {
        abort();
    }
    if (l->writes_until_failure && ++l->writes >= l->writes_until_failure) {
        errno = EPIPE;
        return -1;
    }
    size_t length = (size_t)p[2] << 24 | (size_t)p[3] << 16 | (size_t)p[4] << 8 | p[5];
    if (length != count - 6 || (p[0] != 4 && p[0] != 6 && p[0] != 7)) {
        abort();
    }
    size_t least = 22; /* smaller maxima are nobody's: 16 bytes and the PDV's head are sent all the same */
    if (p[0] == 4 && l->peer_maximum && length > (l->peer_maximum > least ? l->peer_maximum : least)) {
        abort();
    }
    l->ended = p[0] != 4;
    for (size_t i = 0; i < count; i++) {
        l->answers = l->answers * 31 + p[i];
    }
    return (ssize_t)count;
}

static int serve(const uint8_t *bytes, size_t count, size_t step, uint8_t how, struct serving *s, struct line *l, char outcome[160])
{
    static const char *const contexts[][2] = {{"1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"},
                                              {"1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2"},
                                              {"1.2.840.10008.1.1", "1.2.840.10008.1.2"},
                                              {COMMITMENT_CLASS, "1.2.840.10008.1.2"},
                                              {COMMITMENT_CLASS, "1.2.840.10008.1.2.1"}};
    static const size_t maxima[] = {0, 16384, 128, 7};
    static const struct scp_config config = {.maximum_pdu_bytes = 16384, .acse_timeout_s = 60, .dimse_timeout_s = 60, .network_timeout_s = 60};
    static struct message_link link;
    memset(s, 0, sizeof *s);
    memset(l, 0, sizeof *l);
    s->sent = count;
    s->refuse_every = 3;
    *l = (struct line){.bytes = bytes, .left = count, .step = step, .peer_maximum = maxima[how & 3], .writes_until_failure = how >> 4};
    link = (struct message_link){.transport = {line_read, line_write, l}, .config = &config, .ops = &serving_ops, .ops_ctx = s, .peer_maximum_pdu = l->peer_maximum};
    for (size_t i = 0; i < sizeof contexts / sizeof contexts[0]; i++) {
        struct message_context *c = &link.contexts[2 * i + 1];
        c->accepted = true;
        (void)snprintf(c->abstract_syntax, sizeof c->abstract_syntax, "%s", contexts[i][0]);
        (void)snprintf(c->transfer_syntax, sizeof c->transfer_syntax, "%s", contexts[i][1]);
    }
    struct err e = {0};
    int rc = message_serve(&link, outcome, 160, &e);
    serving_text(outcome, 160);
    serving_text(e.text, sizeof e.text);
    free(s->event);
    if (s->storing || !outcome[0] || (rc != 0 && rc != ERR_PROTOCOL && rc != ERR_NETWORK)) {
        abort();
    }
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count)
{
    struct serving slow;
    struct serving fast;
    struct line one;
    struct line other;
    char outcome[2][160];
    if (count < 2) {
        return 0;
    }
    int rc = serve(data + 2, count - 2, data[0], data[1], &slow, &one, outcome[0]);
    if (serve(data + 2, count - 2, 0, data[1], &fast, &other, outcome[1]) != rc || strcmp(outcome[0], outcome[1]) != 0 ||
        slow.stored != fast.stored || slow.sum != fast.sum || slow.kept != fast.kept || slow.broken != fast.broken || slow.actions != fast.actions || one.answers != other.answers) {
        abort();
    }
    return 0;
}
