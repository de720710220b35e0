/* requestor - see requestor.h. */
#include "common/dicom/requestor.h"

#include "common/runtime/runtime.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ACCEPTANCE_MAX = 65536, OURS_MAX_PDU = 16384, RQ = 1, AC = 2, RJ = 3, ABORT = 7 };

static const char implementation_class[] = "2.25.271149317349286013574031934712105814523";
static const char explicit_little[] = "1.2.840.10008.1.2.1";
static const char implicit_little[] = "1.2.840.10008.1.2";

/* ---- the request --------------------------------------------------------------------------------------------------------- */

struct builder {
    unsigned char at[1024];
    size_t count;
};

static void put(struct builder *b, const void *bytes, size_t count)
{
    memcpy(b->at + b->count, bytes, count); /* the whole request is far below its room: every text has a limit */
    b->count += count;
}

static void put16(struct builder *b, size_t n)
{
    unsigned char bytes[2] = {(unsigned char)(n >> 8), (unsigned char)n};
    put(b, bytes, 2);
}

static void put_text(struct builder *b, unsigned char item, const char *text)
{
    unsigned char head[2] = {item, 0};
    size_t length = strnlen(text, 64);
    put(b, head, 2);
    put16(b, length);
    put(b, text, length);
}

static void put_title(struct builder *b, const char *title)
{
    char padded[17];
    (void)snprintf(padded, sizeof padded, "%-16.16s", title);
    put(b, padded, 16);
}

/* Opens an item whose length is written when it closes. */
static size_t open_item(struct builder *b, unsigned char item)
{
    unsigned char head[4] = {item, 0, 0, 0};
    put(b, head, 4);
    return b->count;
}

static void close_item(struct builder *b, size_t begin)
{
    b->at[begin - 2] = (unsigned char)((b->count - begin) >> 8);
    b->at[begin - 1] = (unsigned char)(b->count - begin);
}

static void build_request(struct builder *b, const struct requestor *r)
{
    static const unsigned char begin[10] = {RQ, 0, 0, 0, 0, 0, 0, 1, 0, 0}; /* type, length (below), protocol version 1 */
    static const unsigned char zeroes[32] = {0};
    static const unsigned char context_head[4] = {1, 0, 0, 0};
    static const unsigned char maximum[8] = {0x51, 0, 0, 4, 0, 0, OURS_MAX_PDU >> 8, OURS_MAX_PDU & 0xff};
    static const unsigned char roles[2] = {0, 1}; /* not SCU, but SCP */
    b->count = 0;
    put(b, begin, sizeof begin);
    put_title(b, r->called);
    put_title(b, r->calling);
    put(b, zeroes, sizeof zeroes);
    put_text(b, 0x10, "1.2.840.10008.3.1.1.1");
    size_t context = open_item(b, 0x20);
    put(b, context_head, sizeof context_head);
    put_text(b, 0x30, r->abstract_syntax);
    put_text(b, 0x40, explicit_little);
    put_text(b, 0x40, implicit_little);
    close_item(b, context);
    size_t user = open_item(b, 0x50);
    put(b, maximum, sizeof maximum);
    put_text(b, 0x52, implementation_class);
    size_t role = open_item(b, 0x54);
    put16(b, strlen(r->abstract_syntax));
    put(b, r->abstract_syntax, strlen(r->abstract_syntax));
    put(b, roles, sizeof roles);
    close_item(b, role);
    put_text(b, 0x55, "STORESCP");
    close_item(b, user);
    size_t length = b->count - 6;
    b->at[4] = (unsigned char)(length >> 8);
    b->at[5] = (unsigned char)length;
}

/* ---- the answer ------------------------------------------------------------------------------------------------------------ */

static int read_all(const struct message_transport *t, unsigned char *out, size_t count, int64_t until_ms, struct err *e)
{
    for (size_t done = 0; done < count;) {
        int64_t left = until_ms - clock_mono_ms();
        ssize_t n = left > 0 ? t->read(t->ctx, out + done, count - done, (int)left) : -1;
        if (left <= 0 || (n == -1 && errno == ETIMEDOUT)) {
            return err_set(e, ERR_TIMEOUT, 0, "no answer to the association request within acse_timeout");
        }
        if (n <= 0) {
            return err_set(e, ERR_NETWORK, n == 0 ? 0 : errno, "the peer closed the connection instead of an answer to the association request");
        }
        done += (size_t)n;
    }
    return 0;
}

static size_t be16(const unsigned char *p)
{
    return (size_t)p[0] << 8 | p[1];
}

/* The item at *at: its value and length; moves on. False when it does not fit. */
static bool next_item(const unsigned char *body, size_t count, size_t *at, unsigned char *type, const unsigned char **value, size_t *length)
{
    if (count - *at < 4) {
        return false;
    }
    *type = body[*at];
    *length = be16(body + *at + 2);
    *value = body + *at + 4;
    *at += 4;
    if (*length > count - *at) {
        return false;
    }
    *at += *length;
    return true;
}

static int damaged(struct err *e)
{
    return err_set(e, ERR_PROTOCOL, 0, "the peer's A-ASSOCIATE-AC cannot be read");
}

/* Presentation context item: id, result and the transfer syntax. */
static int read_context(const unsigned char *value, size_t length, struct message_link *link, const char *abstract_syntax, struct err *e)
{
    size_t at = 4;
    unsigned char type;
    const unsigned char *text;
    size_t n;
    if (length < 4) {
        return damaged(e);
    }
    if (value[0] != 1) {
        return 0; /* not ours */
    }
    if (value[2] != 0) {
        return err_set(e, ERR_PROTOCOL, 0, "the peer refuses the presentation context of storage commitment (result %d)", value[2]);
    }
    struct message_context *c = &link->contexts[1];
    while (at < length) {
        if (!next_item(value, length, &at, &type, &text, &n)) {
            return damaged(e);
        }
        if (type == 0x40 && n < sizeof c->transfer_syntax) {
            memcpy(c->transfer_syntax, text, n);
            c->transfer_syntax[n] = '\0';
            c->transfer_syntax[strcspn(c->transfer_syntax, " ")] = '\0';
        }
    }
    if (strcmp(c->transfer_syntax, explicit_little) != 0 && strcmp(c->transfer_syntax, implicit_little) != 0) {
        return err_set(e, ERR_PROTOCOL, 0, "the peer accepts a transfer syntax that was not proposed");
    }
    (void)snprintf(c->abstract_syntax, sizeof c->abstract_syntax, "%s", abstract_syntax);
    c->accepted = true;
    return 0;
}

static int read_user(const unsigned char *value, size_t length, struct message_link *link, const char *abstract_syntax, struct err *e)
{
    size_t at = 0;
    unsigned char type;
    const unsigned char *v;
    size_t n;
    while (at < length) {
        if (!next_item(value, length, &at, &type, &v, &n)) {
            return damaged(e);
        }
        if (type == 0x51 && n == 4) {
            link->peer_maximum_pdu = be16(v) << 16 | be16(v + 2);
        }
        /* A peer that says nothing about roles is taken at its word that it accepted the context. */
        if (type == 0x54 && n >= 4 && be16(v) + 4 == n && be16(v) == strlen(abstract_syntax) && memcmp(v + 2, abstract_syntax, n - 4) == 0 &&
            v[n - 1] != 1) {
            return err_set(e, ERR_PROTOCOL, 0, "the peer does not accept us as SCP of storage commitment (role selection)");
        }
    }
    return 0;
}

int requestor_read_acceptance(const unsigned char *body, size_t count, struct message_link *link, const char *abstract_syntax, struct err *e)
{
    size_t at = 68; /* version, titles, reserved */
    int rc = count < at ? damaged(e) : 0;
    while (rc == 0 && at < count) {
        unsigned char type;
        const unsigned char *value;
        size_t length;
        if (!next_item(body, count, &at, &type, &value, &length)) {
            return damaged(e);
        }
        rc = type == 0x21 ? read_context(value, length, link, abstract_syntax, e)
             : type == 0x50 ? read_user(value, length, link, abstract_syntax, e)
                            : 0;
    }
    return rc || link->contexts[1].accepted ? rc : err_set(e, ERR_PROTOCOL, 0, "the peer answers without a presentation context");
}

/* The peer's PDU after the request. */
static int read_answer(const struct message_link *link, const char *abstract_syntax, struct message_link *out, struct err *e)
{
    unsigned char head[6];
    int64_t until = clock_mono_ms() + (int64_t)link->config->acse_timeout_s * 1000;
    int rc = read_all(&link->transport, head, sizeof head, until, e);
    if (rc != 0) {
        return rc;
    }
    size_t length = be16(head + 2) << 16 | be16(head + 4);
    if (length > ACCEPTANCE_MAX || (head[0] != AC && head[0] != RJ && head[0] != ABORT) || (head[0] != AC && length != 4)) {
        return err_set(e, ERR_PROTOCOL, 0, "the peer answers the association request with a PDU of type %d and %zu bytes", head[0], length);
    }
    unsigned char *body = malloc(length + 1);
    if (!body) {
        return err_set(e, ERR_MEMORY, 0, "answer to an association request");
    }
    rc = read_all(&link->transport, body, length, until, e);
    if (rc == 0 && head[0] == RJ) {
        rc = err_set(e, ERR_PROTOCOL, 0, "the peer rejects the association: result %d, source %d, reason %d (PS3.8 table 9-21)%s", body[1], body[2],
                     body[3], body[2] == 1 && body[3] == 3 ? ", our AE title is not known there" : body[2] == 1 && body[3] == 7 ? ", it has another AE title" : "");
    } else if (rc == 0 && head[0] == ABORT) {
        rc = err_set(e, ERR_PROTOCOL, 0, "the peer aborts instead of an answer to the association request");
    } else if (rc == 0) {
        rc = requestor_read_acceptance(body, length, out, abstract_syntax, e);
    }
    free(body);
    return rc;
}

int requestor_serve(const struct message_transport *transport, const struct requestor *r, const struct scp_config *config,
                    const struct scp_ops *ops, void *ctx, char *outcome, size_t outcome_size, struct err *e)
{
    static const unsigned char abort_pdu[10] = {ABORT, 0, 0, 0, 0, 4, 0, 0, 0, 0}; /* source: service user */
    struct builder b;
    struct message_link *link = calloc(1, sizeof *link);
    (void)snprintf(outcome, outcome_size, "no association");
    if (!link) {
        return err_set(e, ERR_MEMORY, 0, "an association");
    }
    link->transport = *transport;
    link->config = config;
    link->ops = ops;
    link->ops_ctx = ctx;
    link->is_requestor = true;
    build_request(&b, r);
    int rc = 0;
    if (transport->write(transport->ctx, b.at, b.count, config->acse_timeout_s * 1000) != (ssize_t)b.count) {
        rc = err_set(e, ERR_NETWORK, errno, "the association request could not be sent");
    }
    rc = rc ? rc : read_answer(link, r->abstract_syntax, link, e);
    if (rc == 0) {
        rc = message_serve(link, outcome, outcome_size, e);
    } else if (rc == ERR_PROTOCOL) {
        (void)transport->write(transport->ctx, abort_pdu, sizeof abort_pdu, 1000);
    }
    free(link);
    return rc;
}
