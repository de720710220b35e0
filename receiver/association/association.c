/*
 * association - the process that speaks to the network: DCMTK inside, no database, no AWS. It serves one association at a time that
 * the recorder hands to it, fills one spool file at a time, and answers success only after the recorder's verdict.
 * A hostile PDU costs this process and its one association, nothing else.
 */
#include "common/dicom/adapter.h"
#include "common/runtime/config.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "receiver/door/admission.h"
#include "receiver/association/binding.h"
#include "receiver/association/commitment.h"
#include "receiver/association/limits.h"
#include "receiver/association/negotiation.h"
#include "receiver/protocol.h"
#include "receiver/association/report.h"
#include "receiver/association/secure.h"

#include <errno.h>
#include <stddef.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IDLE_ENOUGH_MS = 500 };

struct association {
    struct asker asker; /* the first: the ctx of all callbacks is it as well */
    const struct config *config;
    const char *home;
    int channel;
    struct packet job;
    struct negotiation negotiation;
    struct secure secure;
    struct spool_writer *writer;
    struct err failed; /* the first trouble of this store */
    int64_t written, begun_ms;
    bool is_high; /* this store has priority HIGH */
    struct limits limits;
    struct scp_config scp;
    int fd; /* of the peer; the adapter's */
};

_Static_assert(offsetof(struct association, asker) == 0, "asker_ops and the other callbacks share one ctx");

static void on_request(void *ctx, const struct scp_request *asked, struct scp_decision *decision)
{
    struct association *a = ctx;
    negotiation_title(a->job.calling, sizeof a->job.calling, asked->calling);
    negotiation_title(a->job.called, sizeof a->job.called, asked->called);
    struct scp_request as_named = *asked; /* every rule, here and in the recorder, sees one and the same calling title */
    const struct scp_request *request = &as_named;
    as_named.calling = a->job.calling;
    negotiation_request(&a->negotiation, request, decision);
    const char *unbound = decision->result == 0 ? binding_refusal(a->config, request->calling, a->secure.session ? &a->secure.facts : NULL) : NULL;
    if (unbound) {
        char title[80];
        char subject[700];
        *decision = (struct scp_decision){1, 1, 3, 0, 0}; /* calling AE title not recognized (PS3.8 table 9-21) */
        report_refusal(a->channel, &a->job, "certificate_not_bound", "calling_ae=%s certificate=%s answer=1/1/3 remedy=\"%s\"",
                       log_text(request->calling, title, sizeof title), log_text(a->secure.facts.subject, subject, sizeof subject), unbound);
    }
    limits_begin_association(&a->limits, a->config, a->negotiation.section);
    a->scp.association_s = (int)config_int_for(a->config, a->negotiation.section, CFG_ASSOCIATION_S);
    a->scp.message_s = (int)config_int_for(a->config, a->negotiation.section, CFG_OBJECT_S);
    if (decision->result == 0) {
        admission_ask(a->channel, &a->job, decision);
    }
    if (decision->result == 0) {
        negotiation_user(&a->negotiation, request, decision);
    }
}

static int on_negotiate(void *ctx, const struct scp_context *context)
{
    return negotiation_context(&((struct association *)ctx)->negotiation, context);
}

static void on_negotiated(void *ctx)
{
    negotiation_end(&((struct association *)ctx)->negotiation);
}

static int on_is_storage(void *ctx, const char *sop_class_uid)
{
    (void)ctx;
    return policy_is_storage(sop_class_uid);
}

static void log_refused(struct association *a, const char *status)
{
    char text[700];
    a->job.refused++;
    log_warning("instance_refused", "association=%s peer=%s status=%s code=%s reason=%s", a->job.association, a->job.peer, status,
                err_name(a->failed.code), log_text(a->failed.text, text, sizeof text));
}

/* The trouble in a->failed is told as A700: the sender comes again. */
static uint16_t refuse(struct association *a, char comment[65])
{
    log_refused(a, "A700");
    (void)snprintf(comment, 65, "%s; send again later", err_name(a->failed.code));
    return SCP_OUT_OF_RESOURCES;
}

static uint16_t on_store_begin(void *ctx, const struct scp_store *store, char comment[65])
{
    struct association *a = ctx;
    struct spool_meta meta;
    memset(&meta, 0, sizeof meta);
    memset(&a->failed, 0, sizeof a->failed);
    a->written = 0;
    a->begun_ms = clock_mono_ms();
    a->is_high = store->is_high != 0;
    id_new(meta.id);
    (void)snprintf(meta.sop_class_uid, sizeof meta.sop_class_uid, "%s", store->sop_class_uid);
    (void)snprintf(meta.sop_instance_uid, sizeof meta.sop_instance_uid, "%s", store->sop_instance_uid);
    (void)snprintf(meta.transfer_syntax_uid, sizeof meta.transfer_syntax_uid, "%s", store->transfer_syntax_uid);
    (void)snprintf(meta.calling_ae, sizeof meta.calling_ae, "%s", a->job.calling);
    (void)snprintf(meta.called_ae, sizeof meta.called_ae, "%s", a->job.called);
    if (limits_begin_object(&a->limits, &a->failed) != 0) {
        return refuse(a, comment);
    }
    return spool_begin(&a->writer, a->home, &meta, &a->failed) == 0 ? 0 : refuse(a, comment);
}

static void give_up(struct association *a)
{
    spool_abort(&a->writer);
    limits_abort_object(&a->limits, &a->job);
}

static void on_store_write(void *ctx, const void *bytes, size_t count)
{
    struct association *a = ctx;
    a->written += (int64_t)count;
    if (a->failed.code == 0 && limits_grow(&a->limits, a->written, &a->job, &a->failed) == 0) {
        (void)spool_write(a->writer, bytes, count, &a->failed);
    }
    if (a->failed.code != 0) {
        give_up(a); /* at once: others may need the room */
    }
}

/* The verdict, which may take long (success_at); a peer that leaves meanwhile is told to the recorder, whose verdict comes at once then.
 * False: the recorder is gone. */
static bool await_verdict(struct association *a, struct packet *out)
{
    struct pollfd ends[2] = {{a->channel, POLLIN, 0}, {a->fd, POLLRDHUP, 0}};
    for (;;) {
        if (poll(ends, 2, -1) == -1 && errno != EINTR) {
            return false;
        }
        if (ends[0].revents) {
            ssize_t n = recv(a->channel, out, sizeof *out, 0);
            if (n == (ssize_t)sizeof *out || n != -1 || errno != EINTR) {
                return n == (ssize_t)sizeof *out && out->kind == PACKET_VERDICT;
            }
        } else if (ends[1].revents) {
            struct packet gone = a->job;
            gone.kind = PACKET_GONE;
            (void)send(a->channel, &gone, sizeof gone, MSG_NOSIGNAL);
            ends[1].fd = -1;
        }
    }
}

/* The recorder's word. If it died we do not know whether its commit happened: no answer to the sender, and the file stays. */
static bool ask_recorder(struct association *a, const struct spool_meta *meta, struct packet *verdict)
{
    struct packet p = a->job;
    p.kind = PACKET_STORED;
    p.meta = *meta;
    p.begun_ms = a->begun_ms;
    p.is_high = a->is_high;
    ssize_t n;
    do {
        n = send(a->channel, &p, sizeof p, MSG_NOSIGNAL);
    } while (n == -1 && errno == EINTR);
    return n == (ssize_t)sizeof p && await_verdict(a, verdict);
}

static uint16_t on_store_end(void *ctx, int complete, const char *reason, char comment[65])
{
    struct association *a = ctx;
    struct spool_meta meta;
    if (!complete) {
        give_up(a);
        (void)err_set(&a->failed, ERR_NETWORK, 0, "the data set did not come whole: %s", reason);
        log_refused(a, "none");
        return 0; /* nobody is there to hear it */
    }
    if (a->failed.code != 0) {
        give_up(a);
        return refuse(a, comment);
    }
    if (spool_finish(&a->writer, clock_wall_ms(), &meta, &a->failed) != 0) {
        give_up(a);
        return refuse(a, comment);
    }
    struct packet verdict;
    if (!ask_recorder(a, &meta, &verdict)) {
        _exit(1); /* no answer is the honest one: the sender repeats, the orphan is adopted or already has its row */
    }
    if (verdict.status == 0) {
        a->job.stored++;
        limits_end_object(&a->limits, meta.data_bytes, a->fd);
        return SCP_SUCCESS;
    }
    limits_abort_object(&a->limits, &a->job);
    if (verdict.is_kept) { /* the recorder's log has the reason */
        a->job.refused++;
        (void)snprintf(comment, 65, "%s", verdict.comment);
        return (uint16_t)verdict.status;
    }
    (void)spool_release(a->home, meta.id, NULL);
    (void)err_set(&a->failed, ERR_DATABASE, 0, "the record could not be written; see the recorder's log");
    return refuse(a, comment);
}

static void on_store_refused(void *ctx, uint16_t status, const char *comment)
{
    struct association *a = ctx;
    char text[8];
    memset(&a->failed, 0, sizeof a->failed);
    (void)err_set(&a->failed, ERR_PROTOCOL, 0, "%s", comment);
    (void)snprintf(text, sizeof text, "%04X", status);
    log_refused(a, text);
}

/* Takes the next job with its socket and, for TLS, the certificates. Returns 0, or -1 when the recorder has closed the channel. */
static int receive_job(struct association *a, int fds[2])
{
    char control[CMSG_SPACE(2 * sizeof(int))];
    struct iovec part = {&a->job, sizeof a->job};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t n;
    do {
        n = recvmsg(a->channel, &message, MSG_CMSG_CLOEXEC);
    } while (n == -1 && errno == EINTR);
    struct cmsghdr *c = n == (ssize_t)sizeof a->job ? CMSG_FIRSTHDR(&message) : NULL;
    if (!c || c->cmsg_type != SCM_RIGHTS || a->job.kind != PACKET_JOB) {
        return -1;
    }
    memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0) <= 2 * sizeof(int) ? c->cmsg_len - CMSG_LEN(0) : 0);
    return 0;
}

/* The recorder drains: who pauses ends, and near the end of drain_s everybody does behind the message in hand. */
static int on_should_end(void *ctx, int64_t idle_ms)
{
    int64_t end = atomic_load(&((struct association *)ctx)->limits.told->drain_end_ms);
    return end != 0 && (idle_ms >= IDLE_ENOUGH_MS || clock_mono_ms() >= end);
}

/* One connection, from its first byte to its last; closes fds. */
static void serve(struct association *a, const int fds[2])
{
    static const struct scp_ops ops = {.request = on_request,
                                       .negotiate = on_negotiate,
                                       .negotiated = on_negotiated,
                                       .is_storage = on_is_storage,
                                       .store_begin = on_store_begin,
                                       .store_write = on_store_write,
                                       .store_end = on_store_end,
                                       .store_refused = on_store_refused,
                                       .commitment = &asker_ops,
                                       .should_end = on_should_end};
    a->fd = fds[0];
    if (secure_begin(&a->secure, fds[0], fds[1], &a->job, a->job.outcome, sizeof a->job.outcome) == 0) {
        a->scp.tls = a->secure.session;
        secure_describe(&a->secure, a->job.tls, sizeof a->job.tls);
        (void)scp_serve_fd(fds[0], &a->scp, &ops, a, a->job.outcome, sizeof a->job.outcome, NULL);
        spool_abort(&a->writer);
    } else {
        (void)close(fds[0]);
    }
    if (fds[1] != -1) {
        (void)close(fds[1]);
    }
    secure_end(&a->secure);
}

int association_main(const struct config *config, int slot)
{
    const int channel = ASSOCIATION_CHANNEL;
    struct association a = {.config = config, .home = config_home(config), .channel = channel, .secure = {.config = config, .channel = channel}, .fd = -1};
    a.scp = (struct scp_config){.maximum_pdu_bytes = (unsigned)config_int(config, CFG_MAXIMUM_PDU_SIZE),
                                .acse_timeout_s = (int)config_int(config, CFG_ACSE_TIMEOUT),
                                .dimse_timeout_s = (int)config_int(config, CFG_DIMSE_TIMEOUT),
                                .network_timeout_s = (int)config_int(config, CFG_NETWORK_TIMEOUT)};
    if (a.scp.maximum_pdu_bytes < 4096) {
        a.scp.maximum_pdu_bytes = 131072;
    }
    a.limits.told = told_open(ASSOCIATION_TOLD);
    a.limits.slot = slot;
    a.limits.channel = channel;
    if (!a.limits.told || slot < 0 || slot >= TOLD_SLOTS) {
        log_error("not_started", "reason=\"an association process is started by the receiver only\"");
        return 1;
    }
    (void)signal(SIGHUP, SIG_IGN); /* the recorder's business */
    long long reuse = config_int(config, CFG_ASSOCIATION_REUSE);
    for (long long served = 1; served <= reuse; served++) {
        int fds[2] = {-1, -1};
        if (receive_job(&a, fds) != 0) {
            break;
        }
        int64_t begun = clock_mono_ms();
        negotiation_begin(&a.negotiation, config, channel, &a.job);
        asker_begin(&a.asker, channel, &a.job);
        a.job.association_began_ms = clock_wall_ms();
        serve(&a, fds);
        asker_end(&a.asker);
        char outcome[520];
        char tls[700];
        log_info("association_ended", "association=%s peer=%s outcome=%s stored=%d refused=%d duration_ms=%lld%s%s",
                 a.job.association, a.job.peer, log_text(a.job.outcome, outcome, sizeof outcome), a.job.stored, a.job.refused,
                 (long long)(clock_mono_ms() - begun), a.job.tls[0] ? " tls=" : "", a.job.tls[0] ? log_text(a.job.tls, tls, sizeof tls) : "");
        a.job.kind = PACKET_ENDED;
        a.job.leaving = served == reuse;
        if (send(channel, &a.job, sizeof a.job, MSG_NOSIGNAL) != (ssize_t)sizeof a.job) {
            break;
        }
    }
    secure_clear(&a.secure);
    return 0;
}
