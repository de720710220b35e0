/*
 * recorder - owns the listening socket, the pool of association processes and the database. It gathers the finished instances of all
 * associations, makes their rows durable with one commit, and only then lets the successes go out. While it works on one group the next one gathers: the busier, the larger the groups.
 */
#include "common/handoff/handoff.h"
#include "common/runtime/config.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "common/state/state.h"
#include "receiver/protocol.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES_MAX = 2000, GROUP_MAX = 128, BACKLOG = 512, ORPHAN_AGE_MS = 30000, ADOPT_EVERY_MS = 60000, BEAT_MS = 2000 };

struct process {
    pid_t pid;
    int channel; /* -1: free slot */
    bool busy;
};

struct recorder {
    const struct config *config;
    const char *home;
    struct state *state;
    struct handoff *handoff;
    int listener;
    struct process processes[PROCESSES_MAX];
    size_t process_count; /* slots in use are below it */
    int busy, alive;
    int64_t beat_at, adopt_at;
};

extern char **environ;

/* ---- the pool ------------------------------------------------------------------------------------------------------------- */

static void spawn_process(struct recorder *r)
{
    int pair[2];
    char number[16];
    size_t slot = 0;
    while (slot < r->process_count && r->processes[slot].channel != -1) {
        slot++;
    }
    if (slot == PROCESSES_MAX || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1) {
        return;
    }
    posix_spawn_file_actions_t actions;
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, pair[1], 3);
    (void)snprintf(number, sizeof number, "3");
    char self[] = "storescp-receiver";
    char flag[] = "--association";
    char home_flag[] = "--home";
    char *home = strdup(r->home);
    char *argv[] = {self, home_flag, home, flag, number, NULL};
    pid_t pid = -1;
    int failed = !home || posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ) != 0;
    (void)posix_spawn_file_actions_destroy(&actions);
    free(home);
    (void)close(pair[1]);
    if (failed) {
        (void)close(pair[0]);
        log_error("association_process_not_started", "remedy=\"check limits of processes and memory\"");
        return;
    }
    r->processes[slot] = (struct process){pid, pair[0], false};
    if (slot == r->process_count) {
        r->process_count++;
    }
    r->alive++;
}

static void drop_process(struct recorder *r, struct process *p)
{
    (void)close(p->channel);
    p->channel = -1;
    r->alive--;
    r->busy -= p->busy;
}

/* Keeps spare_associations processes ready, never more than maximum_associations in all. */
static void fill_pool(struct recorder *r)
{
    int most = (int)config_int(r->config, CFG_MAXIMUM_ASSOCIATIONS);
    int spare = (int)config_int(r->config, CFG_SPARE_ASSOCIATIONS);
    for (int i = 0; i < 4 && r->alive - r->busy < spare && r->alive < most; i++) {
        spawn_process(r);
    }
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

/* ---- accepting -------------------------------------------------------------------------------------------------------------- */

static int open_listener(const struct config *config, int *out, struct err *e)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)config_int(config, CFG_SCP_PORT))};
    const char *text = config_text(config, CFG_SCP_ADDRESS);
    char mapped[80];
    int on = 1;
    int off = 0;
    (void)snprintf(mapped, sizeof mapped, "%s%s", strchr(text, ':') || !text[0] ? "" : "::ffff:", text[0] ? text : "::");
    if (inet_pton(AF_INET6, mapped, &address.sin6_addr) != 1) {
        return err_set(e, ERR_CONFIG, 0, "scp_address \"%s\" is not an IP address", text);
    }
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd == -1) {
        return err_set(e, ERR_IO, errno, "socket");
    }
    (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on); /* several receivers share the port */
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == -1 || listen(fd, BACKLOG) == -1) {
        int rc = err_set(e, ERR_CONFIG, errno, "cannot listen on port %lld; is another program on it?",
                         config_int(config, CFG_SCP_PORT));
        (void)close(fd);
        return rc;
    }
    *out = fd;
    return 0;
}

static void peer_text(int fd, char *out, size_t size)
{
    struct sockaddr_in6 address;
    socklen_t length = sizeof address;
    char text[INET6_ADDRSTRLEN] = "unknown";
    if (getpeername(fd, (struct sockaddr *)&address, &length) == 0) {
        (void)inet_ntop(AF_INET6, &address.sin6_addr, text, sizeof text);
    }
    (void)snprintf(out, size, "%s", strncmp(text, "::ffff:", 7) == 0 ? text + 7 : text);
}

/* A-ASSOCIATE-RJ, transient, local limit exceeded (PS3.8 9.3.4): the sender comes again. */
static void turn_away(int fd)
{
    static const unsigned char rejection[10] = {3, 0, 0, 0, 0, 4, 0, 2, 3, 2};
    char drained[4096];
    ssize_t n = send(fd, rejection, sizeof rejection, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)shutdown(fd, SHUT_WR);
    n = recv(fd, drained, sizeof drained, MSG_DONTWAIT); /* unread bytes would turn the close into a reset */
    (void)n;
    (void)close(fd);
}

static void hand_over(struct recorder *r, struct process *p, int fd)
{
    struct packet job;
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec part = {&job, sizeof job};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    memset(&job, 0, sizeof job);
    memset(control, 0, sizeof control);
    job.kind = PACKET_JOB;
    id_new(job.association);
    peer_text(fd, job.peer, sizeof job.peer);
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    if (sendmsg(p->channel, &message, MSG_NOSIGNAL) == (ssize_t)sizeof job) {
        p->busy = true;
        r->busy++;
    }
    (void)close(fd);
}

static void accept_all(struct recorder *r)
{
    for (int i = 0; i < 64; i++) {
        struct process *p = NULL;
        for (size_t k = 0; k < r->process_count && !p; k++) {
            if (r->processes[k].channel != -1 && !r->processes[k].busy) {
                p = &r->processes[k];
            }
        }
        if (!p && r->alive < config_int(r->config, CFG_MAXIMUM_ASSOCIATIONS)) {
            return; /* the pool grows in this turn; the connection waits in the backlog */
        }
        int fd = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd == -1) {
            return;
        }
        int on = 1;
        /* Without this every C-STORE waits for a delayed ACK, 45 ms. */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        if (p) {
            hand_over(r, p, fd);
        } else {
            log_warning("association_turned_away", "reason=\"maximum_associations are open\" remedy=\"raise it or add a receiver\"");
            turn_away(fd);
        }
    }
}

/* ---- recording --------------------------------------------------------------------------------------------------------------- */

struct group {
    struct state_received rows[GROUP_MAX];
    struct process *from[GROUP_MAX];
    int64_t begun_ms[GROUP_MAX];
    size_t count;
};

static void fill_row(struct state_received *row, const struct spool_meta *m)
{
    memset(row, 0, sizeof *row);
    memcpy(row->id, m->id, sizeof row->id);
    memcpy(row->sop_class_uid, m->sop_class_uid, sizeof row->sop_class_uid);
    memcpy(row->sop_instance_uid, m->sop_instance_uid, sizeof row->sop_instance_uid);
    memcpy(row->transfer_syntax_uid, m->transfer_syntax_uid, sizeof row->transfer_syntax_uid);
    memcpy(row->calling_ae, m->calling_ae, sizeof row->calling_ae);
    memcpy(row->called_ae, m->called_ae, sizeof row->called_ae);
    row->file_bytes = m->file_bytes;
    row->data_bytes = m->data_bytes;
    row->file_crc32c = m->file_crc32c;
    row->data_crc32c = m->data_crc32c;
    row->received_ms = m->received_ms;
}

static void end_association(struct recorder *r, struct process *p, const struct packet *packet)
{
    p->busy = false;
    r->busy--;
    if (packet->stored + packet->refused > 0) {
        struct err e = {0};
        if (state_association_begin(r->state, packet->association, packet->peer, packet->calling, packet->called,
                                    clock_wall_ms(), &e) != 0 ||
            state_association_end(r->state, packet->association, packet->outcome, packet->stored, packet->refused, &e) != 0) {
            log_warning("association_not_recorded", "association=%s reason=\"%s\"", packet->association, e.text);
        }
    }
}

/* Takes what one process says; returns without waiting. */
static void read_process(struct recorder *r, struct process *p, struct group *g)
{
    struct packet packet;
    ssize_t n = recv(p->channel, &packet, sizeof packet, MSG_DONTWAIT);
    if (n == (ssize_t)sizeof packet && packet.kind == PACKET_STORED) {
        struct state_received *row = &g->rows[g->count];
        fill_row(row, &packet.meta);
        (void)snprintf(row->association, sizeof row->association, "%s", packet.association);
        (void)snprintf(row->peer, sizeof row->peer, "%s", packet.peer);
        g->from[g->count] = p;
        g->begun_ms[g->count++] = packet.begun_ms;
    } else if (n == (ssize_t)sizeof packet && packet.kind == PACKET_ENDED) {
        end_association(r, p, &packet);
    } else if (n != -1 || (errno != EAGAIN && errno != EINTR)) {
        drop_process(r, p);
    }
}

static void record(struct recorder *r, struct group *g)
{
    struct err e = {0};
    int64_t begun = clock_mono_ms();
    /* The instant of the promise: files and their entries are durable, with this commit their rows are. */
    int rc = state_add_received(r->state, g->rows, g->count, &e);
    struct packet answer;
    memset(&answer, 0, sizeof answer);
    answer.kind = PACKET_VERDICT;
    answer.status = rc == 0 ? 0 : 0xa700;
    if (rc != 0) {
        log_error("record_failed", "count=%zu code=%s reason=\"%s\" effect=\"%s\"", g->count, err_name(rc), e.text,
                  rc == ERR_COMMIT_UNKNOWN ? "no answer, the files stay for adoption" : "answered A700, nothing kept");
    }
    for (size_t i = 0; i < g->count; i++) {
        if (g->from[i]->channel != -1 && rc == ERR_COMMIT_UNKNOWN) {
            /* The row may come back after a crash: neither success nor refusal is true, and the file must stay. The closed channel
             * ends the association process without an answer; the sender repeats. */
            drop_process(r, g->from[i]);
        } else if (g->from[i]->channel != -1) {
            (void)send(g->from[i]->channel, &answer, sizeof answer, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
    }
    int64_t now = clock_mono_ms();
    for (size_t i = 0; rc == 0 && i < g->count; i++) {
        const struct state_received *row = &g->rows[i];
        handoff_send(r->handoff, row->id, row->file_bytes, row->file_crc32c);
        log_info("instance_received", "instance=%s association=%s sop_instance=%s bytes=%lld group=%zu receive_ms=%lld record_ms=%lld",
                 row->id, row->association, row->sop_instance_uid, (long long)row->file_bytes, g->count,
                 (long long)(begun - g->begun_ms[i]), (long long)(now - begun));
    }
    g->count = 0;
}

/* ---- adoption (docs/states.md S2): a complete file without a row was not promised, and is not thrown away ------------------------- */

static int adopt_one(void *ctx, const char *id, const char *room)
{
    struct recorder *r = ctx;
    bool releasable = false;
    struct err e = {0};
    struct spool_meta meta;
    struct state_received row;
    if (strcmp(room, "obj") != 0 || state_instance_known(r->state, id, &releasable, &e) != 0) {
        return 0;
    }
    int rc = spool_read_meta(r->home, id, 1, &meta, &e);
    if (rc == ERR_SPOOL_DAMAGED) {
        /* no row, so hardly promised; but a program throws nothing away on its own judgement */
        log_warning("torn_file_set_aside", "instance=%s room=quarantine remedy=\"look at it, then remove it by hand\"", id);
        (void)spool_quarantine(r->home, id, &e);
    } else if (rc == 0 && clock_wall_ms() - meta.received_ms > ORPHAN_AGE_MS) {
        fill_row(&row, &meta);
        rc = state_add_received(r->state, &row, 1, &e);
        log_info("instance_adopted", "instance=%s result=%s", id, err_name(rc));
    }
    return 0;
}

static void housekeeping(struct recorder *r)
{
    int64_t now = clock_mono_ms();
    struct err e = {0};
    if (now >= r->beat_at) {
        r->beat_at = now + BEAT_MS;
        if (state_worker_beat(r->state, stop_requested() ? "draining" : "ready", &e) != 0) {
            log_warning("beat_failed", "reason=\"%s\"", e.text);
        }
    }
    if (now >= r->adopt_at && r->busy == 0) {
        int removed = 0;
        r->adopt_at = now + ADOPT_EVERY_MS;
        (void)spool_sweep(r->home, 86400000, &removed, &e);
        (void)spool_each(r->home, adopt_one, r, &e);
    }
}

/* ---- the loop ------------------------------------------------------------------------------------------------------------------------ */

static void turn(struct recorder *r, struct group *g, bool accepting)
{
    static struct pollfd fds[PROCESSES_MAX + 2];
    static struct process *owner[PROCESSES_MAX + 2];
    nfds_t count = 0;
    fds[count++] = (struct pollfd){stop_fd(), (short)(accepting ? POLLIN : 0), 0};
    fds[count++] = (struct pollfd){accepting ? r->listener : -1, POLLIN, 0};
    for (size_t i = 0; i < r->process_count; i++) {
        if (r->processes[i].channel != -1) {
            owner[count] = &r->processes[i];
            fds[count++] = (struct pollfd){r->processes[i].channel, POLLIN, 0};
        }
    }
    if (poll(fds, count, 500) > 0) {
        for (nfds_t i = 2; i < count && g->count < GROUP_MAX; i++) {
            if (fds[i].revents) {
                read_process(r, owner[i], g);
            }
        }
    }
    if (g->count > 0) {
        record(r, g);
    }
    if (accepting) {
        fill_pool(r);
        if (fds[1].revents) {
            accept_all(r);
        }
    }
    housekeeping(r);
}

int recorder_main(const struct config *config)
{
    static struct recorder r;
    static struct group g;
    struct err e = {0};
    r.config = config;
    r.home = config_home(config);
    r.listener = -1;
    int rc = stop_install(&e);
    rc = rc == 0 ? spool_prepare(r.home, &e) : rc;
    rc = rc == 0 ? state_open(&r.state, r.home, &e) : rc;
    rc = rc == 0 ? state_worker_register(r.state, STAGE_RECEIVER, &e) : rc;
    rc = rc == 0 ? handoff_open(&r.handoff, r.home, NULL, "validator", state_worker_name(r.state), &e) : rc;
    rc = rc == 0 ? open_listener(config, &r.listener, &e) : rc;
    if (rc != 0) {
        log_error("not_started", "code=%s reason=\"%s\"", err_name(rc), e.text);
        state_close(&r.state);
        return rc == ERR_CONFIG || rc == ERR_SCHEMA ? 78 : 1;
    }
    fill_pool(&r);
    log_info("started", "worker=%s port=%lld", state_worker_name(r.state), config_int(config, CFG_SCP_PORT));
    ready_tell();
    while (!stop_requested()) {
        turn(&r, &g, true);
    }
    (void)close(r.listener);
    int64_t until = clock_mono_ms() + config_int(config, CFG_DRAIN_S) * 1000;
    while (r.busy > 0 && clock_mono_ms() < until) {
        turn(&r, &g, false);
    }
    for (size_t i = 0; i < r.process_count; i++) {
        if (r.processes[i].channel != -1) {
            (void)close(r.processes[i].channel);
        }
    }
    log_info("stopped", "associations_cut=%d", r.busy);
    (void)state_worker_unregister(r.state, &e);
    handoff_close(&r.handoff);
    state_close(&r.state);
    return 0;
}
