/*
 * pool - the listening socket and the association processes. A process serves one association at a time and is used again; spare ones
 * stand ready, because starting one costs 20 ms. Connections are accepted here and handed over as descriptors.
 */
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "receiver/protocol.h"
#include "receiver/recorder.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BACKLOG = 512 };

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
        return;
    }
    posix_spawn_file_actions_t actions;
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, pair[1], 3);
    (void)snprintf(number, sizeof number, "3");
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
        log_error("association_process_not_started", "remedy=\"check limits of processes and memory\"");
        return;
    }
    pool->processes[slot] = (struct process){pid, pair[0], false};
    if (slot == pool->process_count) {
        pool->process_count++;
    }
    pool->alive++;
}

void pool_drop(struct pool *pool, struct process *p)
{
    (void)close(p->channel);
    p->channel = -1;
    pool->alive--;
    pool->busy -= p->busy;
}

void pool_fill(struct pool *pool)
{
    int most = (int)config_int(pool->config, CFG_MAXIMUM_ASSOCIATIONS);
    int spare = (int)config_int(pool->config, CFG_SPARE_ASSOCIATIONS);
    for (int i = 0; i < 4 && pool->alive - pool->busy < spare && pool->alive < most; i++) {
        spawn_process(pool);
    }
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

/* ---- accepting -------------------------------------------------------------------------------------------------------------- */

static int listen_on(const struct config *config, enum config_key port_key, int *out, struct err *e)
{
    long long port = config_int(config, port_key);
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
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
        int rc = err_set(e, ERR_CONFIG, errno, "cannot listen on port %lld (%s); is another program on it?", port, config_describe(port_key)->name);
        (void)close(fd);
        return rc;
    }
    *out = fd;
    return 0;
}

int pool_listen(struct pool *p, struct err *e)
{
    long long plain = config_int(p->config, CFG_SCP_PORT);
    long long tls = config_int(p->config, CFG_TLS_PORT);
    if (plain == tls) { /* two sockets on one port would share its connections by chance */
        return err_set(e, ERR_CONFIG, 0, plain == 0 ? "scp_port and tls_port are both 0: nobody could connect"
                                                    : "scp_port and tls_port are the same: give tls_port another one, such as 2762");
    }
    int rc = plain > 0 ? listen_on(p->config, CFG_SCP_PORT, &p->listener, e) : 0;
    return rc == 0 && tls > 0 ? listen_on(p->config, CFG_TLS_PORT, &p->tls_listener, e) : rc;
}

void pool_stop_listening(struct pool *p)
{
    int *both[] = {&p->listener, &p->tls_listener};
    for (size_t i = 0; i < 2; i++) {
        if (*both[i] != -1) {
            (void)close(*both[i]);
            *both[i] = -1;
        }
    }
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

static void hand_over(struct pool *pool, struct process *p, int fd, bool is_tls)
{
    struct packet job;
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec part = {&job, sizeof job};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    memset(&job, 0, sizeof job);
    memset(control, 0, sizeof control);
    job.kind = PACKET_JOB;
    job.is_tls = is_tls;
    id_new(job.association);
    peer_text(fd, job.peer, sizeof job.peer);
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    if (sendmsg(p->channel, &message, MSG_NOSIGNAL) == (ssize_t)sizeof job) {
        p->busy = true;
        pool->busy++;
    }
    (void)close(fd);
}

void pool_accept(struct pool *pool, bool is_tls)
{
    for (int i = 0; i < 64; i++) {
        struct process *p = NULL;
        for (size_t k = 0; k < pool->process_count && !p; k++) {
            if (pool->processes[k].channel != -1 && !pool->processes[k].busy) {
                p = &pool->processes[k];
            }
        }
        if (!p && pool->alive < config_int(pool->config, CFG_MAXIMUM_ASSOCIATIONS)) {
            return; /* the pool grows in this turn; the connection waits in the backlog */
        }
        int fd = accept4(is_tls ? pool->tls_listener : pool->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd == -1) {
            return;
        }
        int on = 1;
        /* Without this every C-STORE waits for a delayed ACK, 45 ms. */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        if (p) {
            hand_over(pool, p, fd, is_tls);
        } else {
            log_warning("association_turned_away", "reason=\"maximum_associations are open\" remedy=\"raise it or add a receiver\"");
            turn_away(fd);
        }
    }
}
