/*
 * desk - the recorder's part of Storage Commitment; see commitment.h. A request is recorded in a commit of its own at once: they are rare, and
 * one of 50,000 references takes some tenths of a second, in which no image is answered. So the desk rests nine times as long as its last
 * piece of work took; what comes meanwhile waits, and a peer that asks without end slows down itself and leaves nine tenths of the time
 * to the images. Among those who wait another address than the last one goes first; lists of more than 64 MiB in all do not wait but are
 * refused as a resource limitation, so that a crowd of such peers does not fill the memory. What association processes say is checked here.
 */
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "common/state/commitments.h"
#include "receiver/association/commitment.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOOK_MS = 1000, DELAY_FIRST_MS = 500, DELAY_LAST_MS = 10000, LIVED_WELL_MS = 5000, FINISH_MS = 8000, RETRY_MS = 1000, REST = 9, WAITING_BYTES_MAX = 64 << 20 };

extern char **environ;

void desk_begin(struct desk *d, const struct config *config, struct state *state)
{
    memset(d, 0, sizeof *d);
    TAILQ_INIT(&d->requests);
    d->config = config;
    d->home = config_home(config);
    d->state = state;
    d->notifier = -1;
    d->notifier_pid = -1;
    d->delay_ms = DELAY_FIRST_MS;
}

/* ---- requests ------------------------------------------------------------------------------------------------------------------- */

static int record_request(struct desk *d, struct process *p, const struct packet *packet, int fd, bool *on_association)
{
    const struct config_section *section = config_for_ae(d->config, packet->calling);
    struct state_commitment c;
    struct err e = {0};
    enum state_commitment_added added = COMMITMENT_NEW;
    int64_t now = clock_wall_ms();
    size_t bytes = packet->list_bytes;
    char *references = fd != -1 && bytes <= COMMITMENT_BYTES_MAX ? memory_file_read(fd, bytes) : NULL;
    if (!references || !commitment_references_are_sound(references, bytes, packet->list_count)) {
        free(references);
        log_error("commitment_not_recorded", "association=%s reason=\"its list is damaged\"", packet->association);
        return COMMITMENT_PROCESSING_FAILURE;
    }
    memset(&c, 0, sizeof c);
    memcpy(c.transaction_uid, packet->transaction_uid, sizeof packet->transaction_uid);
    memcpy(c.calling_ae, packet->calling, sizeof c.calling_ae);
    memcpy(c.called_ae, packet->called, sizeof c.called_ae);
    memcpy(c.peer, packet->peer, sizeof c.peer);
    memcpy(c.association, packet->association, sizeof c.association);
    (void)state_point_parse(config_text_for(d->config, section, CFG_COMMITMENT_AT), &c.point);
    c.items = (int64_t)packet->list_count;
    c.wait_until_ms = now + config_int_for(d->config, section, CFG_COMMITMENT_WAIT_S) * 1000;
    c.give_up_ms = c.wait_until_ms + config_int_for(d->config, section, CFG_COMMITMENT_GIVE_UP_S) * 1000;
    *on_association = config_bool_for(d->config, section, CFG_COMMITMENT_SAME_ASSOCIATION);
    int rc = state_commitment_add(d->state, &c, references, *on_association, &added, &e);
    free(references);
    char text[700];
    if (rc != 0) {
        log_error("commitment_not_recorded", "association=%s code=%s reason=%s", packet->association, err_name(rc), log_text(e.text, text, sizeof text));
        return COMMITMENT_PROCESSING_FAILURE;
    }
    if (*on_association) {
        memcpy(p->commitment_association, c.association, sizeof p->commitment_association);
    }
    log_info("commitment_requested", "commitment=%s association=%s peer=%s transaction=%s items=%lld point=%s%s", c.id, c.association, c.peer,
             log_text(c.transaction_uid, text, sizeof text), (long long)c.items, config_text_for(d->config, section, CFG_COMMITMENT_AT),
             added == COMMITMENT_AGAIN ? " again=true" : added == COMMITMENT_UID_IN_USE ? " transaction_uid_in_use=true" : "");
    d->look_at = d->look_at == INT64_MAX ? INT64_MAX : 0;
    return 0;
}

static void rest_after(struct desk *d, int64_t begun_ms)
{
    int64_t now = clock_mono_ms();
    d->free_at = now + (now - begun_ms) * REST;
}

static void answer_request(struct desk *d, struct process *p, const struct packet *packet, int fd)
{
    struct packet answer;
    bool on_association = false;
    int64_t begun = clock_mono_ms();
    memset(&answer, 0, sizeof answer);
    answer.kind = PACKET_VERDICT;
    answer.status = record_request(d, p, packet, fd, &on_association);
    answer.list_count = on_association;
    d->last_from = p->from;
    rest_after(d, begun);
    (void)packet_send(p->channel, &answer, -1);
}

static void refuse_request(const struct process *p, int status)
{
    struct packet answer;
    memset(&answer, 0, sizeof answer);
    answer.kind = PACKET_VERDICT;
    answer.status = status;
    (void)packet_send(p->channel, &answer, -1);
}

/* Takes a request out of the queue, and fd with it. */
static void forget_request(struct desk *d, struct desk_request *r)
{
    TAILQ_REMOVE(&d->requests, r, link);
    d->waiting_bytes -= r->packet.list_bytes;
    r->process->request = NULL;
    if (r->fd != -1) {
        (void)close(r->fd);
    }
    free(r);
}

/* Now, or when it is its turn. fd becomes the queue's; false when it stays the caller's. */
static bool take_request(struct desk *d, struct process *p, const struct packet *packet, int fd)
{
    struct desk_request *r = NULL;
    if (!p->request && packet->list_bytes > WAITING_BYTES_MAX - d->waiting_bytes) {
        refuse_request(p, COMMITMENT_RESOURCE_LIMITATION);
        return false;
    }
    if (!p->request && (clock_mono_ms() < d->free_at || !TAILQ_EMPTY(&d->requests)) && (r = malloc(sizeof *r)) != NULL) {
        *r = (struct desk_request){.process = p, .packet = *packet, .fd = fd};
        p->request = r;
        TAILQ_INSERT_TAIL(&d->requests, r, link);
        d->waiting_bytes += packet->list_bytes;
        return true;
    }
    if (!p->request) { /* a second one before the answer to the first: no process of ours does that */
        answer_request(d, p, packet, fd);
    }
    return false;
}

static void next_request(struct desk *d)
{
    struct desk_request *r = TAILQ_FIRST(&d->requests);
    if (!r || clock_mono_ms() < d->free_at) {
        return;
    }
    struct desk_request *other = r;
    while (other && cidr_same(&other->process->from, &d->last_from)) {
        other = TAILQ_NEXT(other, link);
    }
    r = other ? other : r;
    answer_request(d, r->process, &r->packet, r->fd);
    forget_request(d, r);
}

/* ---- reports on the association ----------------------------------------------------------------------------------------------------- */

/* A report that is ready for that process's association as a file, or -1. */
static int find_report(struct desk *d, struct process *p, struct packet *answer)
{
    struct state_commitment c;
    struct err e = {0};
    bool found = false;
    int64_t begun = clock_mono_ms();
    if (!p->commitment_association[0] || p->report || begun < d->free_at ||
        state_commitment_take(d->state, p->commitment_association, &c, &found, &e) != 0 || !found) {
        return -1;
    }
    char *references = NULL;
    uint16_t *reasons = NULL;
    size_t bytes = 0;
    int fd = -1;
    p->report = malloc(sizeof *p->report);
    if (p->report && state_commitment_load(d->state, &c, &references, &bytes, &reasons, &e) == 0) {
        fd = memory_file_new(reasons, (size_t)c.items * sizeof *reasons, references, bytes);
    }
    free(references);
    free(reasons);
    rest_after(d, begun);
    if (fd == -1) {
        free(p->report);
        p->report = NULL;
        (void)state_commitment_unclaim(d->state, &c, &e);
        return -1;
    }
    *p->report = c;
    answer->list_count = (size_t)c.items;
    answer->list_bytes = bytes;
    (void)snprintf(answer->transaction_uid, sizeof answer->transaction_uid, "%.64s", c.transaction_uid);
    return fd;
}

static void end_report(struct desk *d, struct process *p, int status)
{
    struct err e = {0};
    struct err why = {0};
    bool given_up = false;
    struct state_commitment *c = p->report;
    if (!c) {
        return;
    }
    p->report = NULL;
    int rc;
    if (report_is_accepted(status)) {
        rc = state_commitment_reported(d->state, c, "on the association of the request", &e);
        log_info("commitment_reported", "commitment=%s items=%lld failed=%lld on=\"the association of the request\"", c->id, (long long)c->items,
                 (long long)c->failed);
    } else {
        report_explain(status, &why);
        rc = state_commitment_defer(d->state, c, &why, clock_wall_ms() + RETRY_MS, false, &given_up, &e);
        log_warning("commitment_not_reported", "commitment=%s on=\"the association of the request\" reason=\"%s\" effect=\"tried on a new one\"",
                    c->id, why.text);
    }
    if (rc != 0 && rc != ERR_FENCED) { /* the claim ends with the association; the report may be repeated, which harms nobody */
        log_warning("commitment_not_written", "commitment=%s code=%s reason=\"%s\"", c->id, err_name(rc), e.text);
    }
    free(c);
}

void desk_take(struct desk *d, struct process *p, struct packet *packet, int fd)
{
    struct packet answer;
    int report = -1;
    memset(&answer, 0, sizeof answer);
    answer.kind = PACKET_VERDICT;
    if (packet->kind == PACKET_COMMIT) {
        fd = take_request(d, p, packet, fd) ? -1 : fd;
    } else if (packet->kind == PACKET_ASK) {
        report = find_report(d, p, &answer);
        (void)packet_send(p->channel, &answer, report);
    } else {
        end_report(d, p, packet->status);
    }
    if (report != -1) {
        (void)close(report);
    }
    if (fd != -1) {
        (void)close(fd);
    }
}

/* ---- the end of associations ---------------------------------------------------------------------------------------------------------- */

void desk_ended(struct desk *d, struct process *p)
{
    struct err e = {0};
    free(p->report);
    p->report = NULL;
    if (p->request) {
        forget_request(d, p->request);
    }
    if (!p->commitment_association[0]) {
        return;
    }
    if (state_commitment_leave(d->state, p->commitment_association, &e) != 0) {
        if (d->leaving_count < DESK_LEAVING_MAX) {
            memcpy(d->leaving[d->leaving_count++], p->commitment_association, STATE_ID_SIZE);
        }
        log_warning("commitment_not_written", "association=%s reason=\"%s\" effect=\"its reports wait\"", p->commitment_association, e.text);
    }
    p->commitment_association[0] = '\0';
    d->look_at = d->look_at == INT64_MAX ? INT64_MAX : 0;
}

static void leave_again(struct desk *d)
{
    while (d->leaving_count > 0 && state_commitment_leave(d->state, d->leaving[d->leaving_count - 1], NULL) == 0) {
        d->leaving_count--;
    }
}

/* ---- the notifier ------------------------------------------------------------------------------------------------------------------------ */

static void start_notifier(struct desk *d)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1) {
        return;
    }
    posix_spawn_file_actions_t actions;
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, pair[1], 3);
    char self[] = "storescp-receiver";
    char flag[] = "--notify";
    char number[] = "3";
    char home_flag[] = "--home";
    char *home = strdup(d->home);
    char *argv[] = {self, home_flag, home, flag, number, NULL};
    bool failed = !home || posix_spawn(&d->notifier_pid, "/proc/self/exe", &actions, NULL, argv, environ) != 0;
    (void)posix_spawn_file_actions_destroy(&actions);
    free(home);
    (void)close(pair[1]);
    if (failed) {
        (void)close(pair[0]);
        d->notifier_pid = -1;
        log_error("notifier_not_started", "remedy=\"check limits of processes and memory\"");
        return;
    }
    d->notifier = pair[0];
}

/* It never says anything; its end is all that can be heard. The recorder's pool reaps it. */
static bool notifier_has_ended(const struct desk *d)
{
    char byte;
    ssize_t n = recv(d->notifier, &byte, 1, MSG_DONTWAIT);
    return n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR);
}

void desk_step(struct desk *d)
{
    int64_t now = clock_mono_ms();
    bool any = false;
    next_request(d);
    if (d->notifier != -1 && notifier_has_ended(d)) {
        (void)close(d->notifier);
        d->notifier = -1;
        d->delay_ms = now - d->started_ms > LIVED_WELL_MS ? DELAY_FIRST_MS : d->delay_ms * 2 < DELAY_LAST_MS ? d->delay_ms * 2 : DELAY_LAST_MS;
        d->start_at = now + d->delay_ms;
    }
    if (now < d->look_at) {
        return;
    }
    d->look_at = now + LOOK_MS;
    leave_again(d);
    if (d->notifier == -1 && now >= d->start_at && state_commitment_any(d->state, &any, NULL) == 0 && any) {
        d->started_ms = now;
        start_notifier(d);
    }
}

void desk_stop(struct desk *d)
{
    struct desk_request *r;
    while ((r = TAILQ_FIRST(&d->requests)) != NULL) { /* their turn would come too late */
        refuse_request(r->process, COMMITMENT_PROCESSING_FAILURE);
        forget_request(d, r);
    }
    d->look_at = INT64_MAX; /* no other one is started */
    if (d->notifier != -1) {
        (void)shutdown(d->notifier, SHUT_WR);
    }
}

void desk_renew(struct desk *d, const struct config *config)
{
    d->config = config;
    d->home = config_home(config);
    if (d->notifier != -1) {
        (void)shutdown(d->notifier, SHUT_WR); /* it finishes, and desk_step() starts the next one */
    }
}

void desk_end(struct desk *d)
{
    if (d->notifier == -1) {
        return;
    }
    int64_t until = clock_mono_ms() + FINISH_MS;
    struct pollfd p = {d->notifier, POLLIN, 0};
    while (!notifier_has_ended(d)) {
        int64_t left = until - clock_mono_ms();
        if (left <= 0) {
            (void)kill(d->notifier_pid, SIGKILL); /* it holds its end, so the number is still its own */
            break;
        }
        (void)poll(&p, 1, (int)left);
    }
    (void)close(d->notifier);
    d->notifier = -1;
}
