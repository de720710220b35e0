/*
 * notify - the notifier: a process that a recorder keeps while storage commitments are under way. It judges requests whose instances may have
 * arrived, and reports decided ones on an association that it opens to the sender's commitment_address. Claims are those of every
 * worker (docs/states.md), so several receivers' notifiers share the work and a dead one's claims are free at once.
 *
 * A report is marked after the peer has answered it. A crash in between repeats it: a sender hears the same verdict on the same
 * Transaction UID twice, which the standard leaves open and which harms nobody.
 * One report at a time; connecting, each answer and the end of the recorder are bounded or noticed. A peer that is away costs one
 * attempt for all its reports. It ends by itself when nothing has been open for a while.
 */
#include "common/dicom/requestor.h"
#include "common/dicom/wire.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "common/state/commitments.h"
#include "receiver/address.h"
#include "receiver/association/commitment.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BEAT_MS = 2000,
    RECLAIM_MS = 5000,
    PRUNE_MS = 600000,
    IDLE_END_MS = 15000,
    BACKOFF_BASE_MS = 5000,
    BACKOFF_LAST_MS = 1800000,
    JUDGE_AT_ONCE = 20,
    PRUNE_AT_ONCE = 20
};

struct notifier {
    const struct config *config;
    struct state *state;
    int channel; /* ends with the recorder */
    int64_t beat_at, reclaim_at, prune_at, busy_ms;
};

bool report_is_accepted(int status)
{
    return status == 0 || status == 0x0001 || status == 0x0107 || status == 0x0116 || (status > 0 && status >> 12 == 0xb);
}

void report_explain(int status, struct err *why)
{
    if (status == -1) {
        (void)err_set(why, ERR_TIMEOUT, 0, "the peer did not answer the report");
    } else {
        (void)err_set(why, ERR_PROTOCOL, 0, "the peer answered the report with status %04X", (unsigned)status);
    }
}

/* Is the recorder gone, or were we told to stop? */
static bool must_end(const struct notifier *n)
{
    char byte;
    ssize_t got = recv(n->channel, &byte, 1, MSG_DONTWAIT);
    return stop_requested() || got == 0 || (got == -1 && errno != EAGAIN && errno != EINTR);
}

/* ---- one report ------------------------------------------------------------------------------------------------------------- */

struct delivery {
    const struct state_commitment *commitment;
    const char *references;
    const uint16_t *reasons;
    unsigned char *bytes;
    int status; /* of the answer, -1: none */
    bool sent;
};

static bool next_event(void *ctx, bool explicit_vr, struct commitment_event *out)
{
    struct delivery *d = ctx;
    if (d->sent) {
        return false;
    }
    d->sent = true;
    d->bytes = commitment_write(d->commitment->transaction_uid, d->references, d->reasons, (size_t)d->commitment->items, explicit_vr, &out->count,
                                &out->type);
    out->bytes = d->bytes;
    return d->bytes != NULL;
}

static int event_wait_ms(void *ctx)
{
    (void)ctx;
    return -1;
}

static bool event_ended(void *ctx, int status)
{
    ((struct delivery *)ctx)->status = status;
    return true;
}

static uint16_t no_action(void *ctx, const unsigned char *bytes, size_t count, bool explicit_vr, char comment[65])
{
    (void)ctx, (void)bytes, (void)count, (void)explicit_vr;
    (void)snprintf(comment, 65, "requests are taken on scp_port only");
    return COMMITMENT_PROCESSING_FAILURE;
}

static void no_matter(void *ctx, uint16_t status, const char *comment)
{
    (void)ctx, (void)status, (void)comment;
}

static const struct commitment_ops delivery_commitment = {no_action, no_matter, next_event, event_wait_ms, event_ended};
/* A peer that stores on this association is refused before any other callback: its context is not a storage class. */
static const struct scp_ops delivery_ops = {.store_refused = no_matter, .commitment = &delivery_commitment};

/* The wire, but a read ends when the recorder does. */
struct leash {
    int fd, channel;
    struct message_transport wire;
};

static ssize_t read_on_leash(void *ctx, void *buffer, size_t size, int timeout_ms)
{
    struct leash *l = ctx;
    struct pollfd fds[2] = {{l->fd, POLLIN, 0}, {l->channel, POLLIN, 0}};
    int n;
    do {
        n = poll(fds, 2, timeout_ms);
    } while (n == -1 && errno == EINTR);
    if (n <= 0 || fds[1].revents) {
        errno = n == 0 ? ETIMEDOUT : ECANCELED;
        return -1;
    }
    return l->wire.read(l->wire.ctx, buffer, size, timeout_ms);
}

static ssize_t write_on_leash(void *ctx, const void *bytes, size_t count, int timeout_ms)
{
    struct leash *l = ctx;
    return l->wire.write(l->wire.ctx, bytes, count, timeout_ms);
}

/* Connects, reports, releases. 0 only when the peer has accepted the report. */
static int deliver(struct notifier *n, const struct state_commitment *c, const struct address *to, struct delivery *d, struct err *e)
{
    const struct scp_config limits = {.maximum_pdu_bytes = 16384,
                                      .acse_timeout_s = (int)config_int(n->config, CFG_ACSE_TIMEOUT),
                                      .dimse_timeout_s = (int)config_int(n->config, CFG_DIMSE_TIMEOUT),
                                      .network_timeout_s = (int)config_int(n->config, CFG_NETWORK_TIMEOUT)};
    const struct requestor request = {c->called_ae, to->ae_title[0] ? to->ae_title : c->calling_ae, COMMITMENT_CLASS};
    char outcome[400];
    struct leash leash = {.fd = -1, .channel = n->channel};
    int rc = address_connect(to, limits.acse_timeout_s * 1000, n->channel, &leash.fd, e);
    if (rc != 0) {
        return rc;
    }
    leash.wire = wire_transport(&leash.fd);
    const struct message_transport transport = {read_on_leash, write_on_leash, &leash};
    rc = requestor_serve(&transport, &request, &limits, &delivery_ops, d, outcome, sizeof outcome, e);
    (void)close(leash.fd);
    if (d->sent && report_is_accepted(d->status)) {
        return 0; /* however the association ended: it was answered */
    }
    if (must_end(n)) {
        return err_set(e, ERR_STOPPED, 0, "told to stop");
    }
    if (d->sent && (rc == 0 || d->status >= 0)) {
        report_explain(d->status, e);
        return e->code;
    }
    return rc ? rc : err_set(e, ERR_PROTOCOL, 0, "the peer ended the association before the report");
}

static void put_off(struct notifier *n, const struct state_commitment *c, const struct err *why, bool all_of_peer)
{
    struct err e = {0};
    bool given_up = false;
    char text[700];
    int64_t pause = backoff_ms(c->attempts, BACKOFF_BASE_MS, BACKOFF_LAST_MS, random_u32());
    int rc = state_commitment_defer(n->state, c, why, clock_wall_ms() + pause, all_of_peer, &given_up, &e);
    log_warning(given_up ? "commitment_given_up" : "commitment_not_reported", "commitment=%s attempt=%d code=%s reason=%s %s", c->id, c->attempts + 1,
                err_name(why->code), log_text(why->text, text, sizeof text),
                given_up ? "remedy=\"the sender must ask again; storescpctl commitments\"" : "effect=\"tried again with growing pauses\"");
    if (rc != 0) {
        log_warning("commitment_not_written", "commitment=%s code=%s reason=\"%s\"", c->id, err_name(rc), e.text);
    }
}

static void report(struct notifier *n, const struct state_commitment *c)
{
    const struct config_section *section = config_for_ae(n->config, c->calling_ae);
    struct delivery d = {.commitment = c, .status = -1};
    struct address to;
    struct err e = {0};
    char *references = NULL;
    uint16_t *reasons = NULL;
    size_t bytes = 0;
    int64_t begun = clock_mono_ms();
    int rc = address_parse(config_text_for(n->config, section, CFG_COMMITMENT_ADDRESS), &to, &e);
    bool reachable = rc == 0;
    rc = rc ? rc : state_commitment_load(n->state, c, &references, &bytes, &reasons, &e);
    if (rc == 0) {
        d.references = references;
        d.reasons = reasons;
        rc = deliver(n, c, &to, &d, &e);
        reachable = d.sent;
    }
    free(references);
    free(reasons);
    free(d.bytes);
    if (rc == ERR_STOPPED) {
        (void)state_commitment_unclaim(n->state, c, &e);
        return;
    }
    if (rc != 0) {
        put_off(n, c, &e, !reachable);
        return;
    }
    char how[400];
    (void)snprintf(how, sizeof how, "on a new association to %s port %s", to.host, to.port);
    rc = state_commitment_reported(n->state, c, how, &e);
    log_info("commitment_reported", "commitment=%s items=%lld failed=%lld on=\"%s\" attempt=%d ms=%lld", c->id, (long long)c->items,
             (long long)c->failed, how, c->attempts + 1, (long long)(clock_mono_ms() - begun));
    if (rc != 0) {
        log_warning("commitment_not_written", "commitment=%s code=%s reason=\"%s\" effect=\"it may be reported again\"", c->id, err_name(rc), e.text);
    }
}

/* ---- the loop ------------------------------------------------------------------------------------------------------------------ */

/* True when something was due. */
static bool work(struct notifier *n)
{
    struct state_commitment c;
    struct err e = {0};
    bool found = true;
    bool decided = false;
    bool any = false;
    for (int i = 0; found && i < JUDGE_AT_ONCE && !must_end(n); i++) {
        int rc = state_commitment_claim(n->state, COMMITMENT_JUDGE, &c, &found, &e);
        if (rc == 0 && found) {
            any = true;
            rc = state_commitment_judge(n->state, &c, &decided, &e);
        }
        if (rc == 0 && found && decided) {
            log_info("commitment_decided", "commitment=%s items=%lld wait_ms=%lld", c.id, (long long)c.items, (long long)(clock_wall_ms() - c.requested_ms));
        }
        if (rc != 0) {
            log_warning("commitment_not_judged", "code=%s reason=\"%s\"", err_name(rc), e.text);
            if (found) {
                (void)state_commitment_unclaim(n->state, &c, &e);
            }
            return false;
        }
    }
    if (!must_end(n) && state_commitment_claim(n->state, COMMITMENT_REPORT, &c, &found, &e) == 0 && found) {
        report(n, &c);
        any = true;
    }
    return any;
}

static void chores(struct notifier *n)
{
    int64_t now = clock_mono_ms();
    struct err e = {0};
    int count = 0;
    if (now >= n->beat_at) {
        n->beat_at = now + BEAT_MS;
        (void)state_worker_beat(n->state, "ready", &e);
    }
    if (now >= n->reclaim_at) {
        n->reclaim_at = now + RECLAIM_MS;
        (void)state_reclaim(n->state, &count, &e);
    }
    if (now >= n->prune_at) {
        n->prune_at = now + PRUNE_MS;
        if (state_commitment_prune(n->state, config_int(n->config, CFG_COMMITMENT_KEEP_S) * 1000, PRUNE_AT_ONCE, &count, &e) == 0 && count > 0) {
            n->prune_at = now; /* there may be more */
            log_info("commitments_removed", "count=%d reason=\"older than commitment_keep_s\"", count);
        }
    }
}

int notify_main(const struct config *config, int channel)
{
    struct notifier n = {.config = config, .channel = channel};
    struct err e = {0};
    int rc = stop_install(&e);
    rc = rc ? rc : state_open(&n.state, config_home(config), &e);
    rc = rc ? rc : state_worker_register(n.state, STAGE_NOTIFIER, &e);
    if (rc != 0) {
        log_error("not_started", "code=%s reason=\"%s\"", err_name(rc), e.text);
        state_close(&n.state);
        return 1;
    }
    n.busy_ms = clock_mono_ms();
    while (!must_end(&n)) {
        bool any = false;
        chores(&n);
        if (work(&n)) {
            n.busy_ms = clock_mono_ms();
            continue;
        }
        if (state_commitment_any(n.state, &any, &e) != 0 || any) {
            n.busy_ms = clock_mono_ms();
        } else if (clock_mono_ms() - n.busy_ms > IDLE_END_MS) {
            break;
        }
        struct pollfd fds[2] = {{n.channel, POLLIN, 0}, {stop_fd(), POLLIN, 0}};
        (void)poll(fds, 2, (int)config_int(config, CFG_SWEEP_MS));
    }
    (void)state_worker_unregister(n.state, &e);
    state_close(&n.state);
    return 0;
}
