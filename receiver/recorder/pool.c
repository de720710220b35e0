/*
 * pool - the association processes. A process serves one association at a time and is used again; spare ones stand ready, because
 * starting one costs 20 ms. Connections are handed over as descriptors.
 */
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "receiver/protocol.h"
#include "receiver/recorder/recorder.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* JUDGING: processes above maximum_associations, so that one more request can be read, and refused or given the place that is kept for it.
 * When none can be started, it is tried again after SPAWN_AGAIN_MS. */
enum { JUDGING = 4, SPAWN_AGAIN_MS = 1000, RETIRE_MS = 1000, BURY_MS = 250, SPOKE_MAX = 128 };

extern char **environ;

/* ---- the pool ------------------------------------------------------------------------------------------------------------- */

static void spawn_process(struct pool *pool)
{
    int pair[2];
    char number[16];
    size_t slot = 0;
    while (slot < pool->process_count && pool->processes[slot].channel != -1) {
        slot++;
    }
    if (slot == PROCESSES_MAX || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1) {
        pool->spawn_at = clock_mono_ms() + SPAWN_AGAIN_MS;
        log_error("association_process_not_started", "remedy=\"raise the limit of open files (ulimit -n, LimitNOFILE)\"");
        return;
    }
    posix_spawn_file_actions_t actions;
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, pair[1], ASSOCIATION_CHANNEL);
    (void)posix_spawn_file_actions_adddup2(&actions, pool->told_fd, ASSOCIATION_TOLD);
    (void)posix_spawn_file_actions_adddup2(&actions, pool->settings_fd, ASSOCIATION_SETTINGS);
    (void)snprintf(number, sizeof number, "%zu", slot);
    char self[] = "storescp-receiver";
    char flag[] = "--association";
    char home_flag[] = "--home";
    char *home = strdup(pool->home);
    char *argv[] = {self, home_flag, home, flag, number, NULL};
    pid_t pid = -1;
    int failed = !home || posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ) != 0;
    (void)posix_spawn_file_actions_destroy(&actions);
    free(home);
    (void)close(pair[1]);
    if (failed) {
        (void)close(pair[0]);
        pool->spawn_at = clock_mono_ms() + SPAWN_AGAIN_MS;
        log_error("association_process_not_started", "remedy=\"check limits of processes and memory\"");
        return;
    }
    pool->processes[slot] = (struct process){.pid = pid, .channel = pair[0]};
    atomic_store(&pool->told->over[slot], 0);
    if (slot == pool->process_count) {
        pool->process_count++;
    }
    pool->alive++;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &pool->processes[slot]};
    if (epoll_ctl(pool->epoll, EPOLL_CTL_ADD, pair[0], &event) == -1) {
        log_error("association_process_not_started", "reason=\"epoll\" remedy=\"check the limits of memory\"");
        pool->spawn_at = clock_mono_ms() + SPAWN_AGAIN_MS;
        pool_drop(pool, &pool->processes[slot]);
    }
}

void pool_drop(struct pool *pool, struct process *p)
{
    (void)close(p->channel);
    p->channel = -1;
    pool->alive--;
    pool_ended(pool, p);
}

/* An association process that a signal ended cost its peer the association: people should hear of it. */
static void bury(struct pool *pool)
{
    int status;
    pid_t pid;
    int64_t now = clock_mono_ms();
    if (now < pool->bury_at) {
        return; /* the kernel looks at each child in every call */
    }
    pool->bury_at = now + BURY_MS;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (WIFSIGNALED(status)) {
            log_error("association_process_died", "pid=%d signal=%d effect=\"its association ended without an answer\" remedy=\"keep its log lines and the core\"",
                      (int)pid, WTERMSIG(status));
        }
    }
}

int pool_open(struct pool *p, struct err *e)
{
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    return p->epoll == -1 ? err_set(e, ERR_IO, errno, "epoll") : 0;
}

size_t pool_spoke(struct pool *p, struct process **out, size_t most)
{
    struct epoll_event events[SPOKE_MAX];
    int n = epoll_wait(p->epoll, events, most < SPOKE_MAX ? (int)most : SPOKE_MAX, 0);
    for (int i = 0; i < n; i++) {
        out[i] = events[i].data.ptr;
    }
    return n > 0 ? (size_t)n : 0;
}

/* A rush leaves processes over, 1.5 MB each. They go slowly, a part of them each second: the next rush may come soon. */
static void retire(struct pool *pool, int spare)
{
    int over = pool->alive - pool->busy - 2 * spare;
    int64_t now = clock_mono_ms();
    if (over <= 0 || now < pool->retire_at) {
        return;
    }
    pool->retire_at = now + RETIRE_MS;
    int count = over / 8 + 1;
    for (size_t i = pool->process_count; i-- > 0 && count > 0;) {
        struct process *p = &pool->processes[i];
        if (p->channel != -1 && !p->busy) {
            pool_drop(pool, p); /* it sees its channel closed and ends */
            count--;
        }
    }
    while (pool->process_count > 0 && pool->processes[pool->process_count - 1].channel == -1) {
        pool->process_count--;
    }
}

void pool_fill(struct pool *pool)
{
    int spare = (int)config_int(pool->config, CFG_SPARE_ASSOCIATIONS);
    for (int i = 0; i < 4 && pool->alive - pool->busy < spare && pool_can_grow(pool) && clock_mono_ms() >= pool->spawn_at; i++) {
        spawn_process(pool);
    }
    retire(pool, spare);
    bury(pool);
}

struct process *pool_idle(struct pool *pool)
{
    for (size_t i = 0; i < pool->process_count; i++) {
        if (pool->processes[i].channel != -1 && !pool->processes[i].busy) {
            return &pool->processes[i];
        }
    }
    return NULL;
}

bool pool_can_grow(const struct pool *pool)
{
    return pool->alive < config_int(pool->config, CFG_MAXIMUM_ASSOCIATIONS) + JUDGING;
}

bool pool_hand_over(struct pool *pool, struct process *p, int fd, const struct cidr_address *from, bool is_tls)
{
    struct packet job;
    if (is_tls) {
        certificates_look(&pool->certificates);
    }
    int fds[2] = {fd, is_tls ? pool->certificates.file : -1};
    size_t bytes = is_tls ? sizeof fds : sizeof fd;
    char control[CMSG_SPACE(sizeof fds)];
    char peer[CIDR_TEXT_SIZE];
    struct iovec part = {&job, sizeof job};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(bytes)};
    memset(&job, 0, sizeof job);
    memset(control, 0, sizeof control);
    job.kind = PACKET_JOB;
    job.is_tls = is_tls;
    job.generation = pool->certificates.generation;
    id_new(job.association);
    (void)snprintf(job.peer, sizeof job.peer, "%s", cidr_text(from, peer));
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(c), fds, bytes);
    if (sendmsg(p->channel, &message, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)sizeof job) {
        pool_drop(pool, p); /* it has died meanwhile; the connection has not */
        return false;
    }
    p->busy = true;
    p->from = *from;
    pool->busy++;
    (void)close(fd);
    return true;
}

void pool_ended(struct pool *pool, struct process *p)
{
    flight_ends(pool, p);
    pool->busy -= p->busy;
    p->busy = p->is_admitted = p->asks = false;
    if (p->is_outdated && p->channel != -1) {
        pool_drop(pool, p);
    }
}

void pool_renew(struct pool *pool)
{
    for (size_t i = 0; i < pool->process_count; i++) {
        struct process *p = &pool->processes[i];
        if (p->channel != -1) {
            p->is_outdated = true;
            if (!p->busy) {
                pool_drop(pool, p);
            }
        }
    }
}
