/*
 * door - see door.h. One epoll instance holds the listening sockets and all who wait; it is one descriptor in the recorder's poll(), so a
 * thousand silent connections cost a turn nothing. What is there of a request is only looked at (MSG_PEEK); SO_RCVLOWAT keeps the
 * kernel from waking us before there is enough for the next look.
 */
#include "receiver/door/door.h"

#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "receiver/door/door_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 128,
    ACCEPTS_MAX = 64, /* in one turn */
    TIDY_MS = 250,
    JUDGED_SHARE = 4, /* of maximum_associations, for one address */
    JUDGED_MIN = 3,   /* below JUDGING in pool.c, so that one address never has all processes */
    CROWD_MS = 1000
};

/* ---- those who leave --------------------------------------------------------------------------------------------------------- */

static void forget(struct door *d, struct visitor *v, enum farewell farewell)
{
    if (v->is_ready) {
        TAILQ_REMOVE(&d->ready, v, link);
        d->ready_count--;
    } else {
        TAILQ_REMOVE(&d->silent, v, link);
        d->silent_count--;
    }
    if (v->fd != -1) {
        say_farewell(v->fd, farewell);
    }
    free(v);
}

void door_tell(struct door *d, const struct cidr_address *from, const char *reason, const char *format, ...)
{
    char text[CIDR_TEXT_SIZE];
    char remedy[300];
    unsigned long untold = 0;
    va_list args;
    d->turned_away++;
    if (!refusals_due(d->refusals, clock_mono_ms(), cidr_text(from, text), reason, &untold)) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(remedy, sizeof remedy, format, args);
    va_end(args);
    log_warning("connection_refused", "peer=%s reason=\"%s\" remedy=\"%s\" untold=%lu", text, reason, remedy, untold);
}

/* The peer is gone before it was of use. */
static void leave(struct door *d, struct visitor *v)
{
    char text[CIDR_TEXT_SIZE];
    if (!v->spoke) {
        d->probes++;
    }
    log_debug("connection_left", "peer=%s spoke=%d", cidr_text(&v->from, text), v->spoke);
    forget(d, v, FAREWELL_NONE);
}

/* ---- looking ------------------------------------------------------------------------------------------------------------------- */

static void look(struct door *d, struct visitor *v, bool gone)
{
    enum farewell farewell = FAREWELL_NONE;
    switch (look_at(d, v, gone, &farewell)) {
    case LOOK_READY:
        (void)epoll_ctl(d->epoll, EPOLL_CTL_DEL, v->fd, NULL);
        TAILQ_REMOVE(&d->silent, v, link);
        d->silent_count--;
        TAILQ_INSERT_TAIL(&d->ready, v, link);
        d->ready_count++;
        v->is_ready = true;
        v->ready_ms = clock_mono_ms();
        break;
    case LOOK_SHUT:
        forget(d, v, farewell);
        break;
    case LOOK_LEFT:
        leave(d, v);
        break;
    default:
        break;
    }
}

/* ---- arriving ------------------------------------------------------------------------------------------------------------------ */

static void evict(struct door *d, struct visitor *v, const char *setting)
{
    door_tell(d, &v->from, "silent connections made room", "a peer opens many connections and sends nothing; see %s", setting);
    forget(d, v, FAREWELL_NONE);
}

/* Keeps the waiting room within its limits; false when there is no room and nobody silent to make some. */
static bool make_room(struct door *d, const struct visitor *newcomer)
{
    const struct config *config = d->pool->config;
    struct visitor *oldest = NULL;
    struct visitor *v;
    long long alike = 0;
    if (!newcomer->is_balancer && d->silent_count >= (size_t)config_int(config, CFG_WAITING_PER_ADDRESS)) {
        TAILQ_FOREACH(v, &d->silent, link) {
            if (cidr_same(&v->from, &newcomer->from)) {
                oldest = oldest ? oldest : v;
                alike++;
            }
        }
    }
    if (oldest && alike >= config_int(config, CFG_WAITING_PER_ADDRESS)) {
        evict(d, oldest, "waiting_per_address");
    }
    if (d->silent_count + d->ready_count < (size_t)config_int(config, CFG_WAITING_CONNECTIONS)) {
        return true;
    }
    oldest = TAILQ_FIRST(&d->silent);
    if (oldest) {
        evict(d, oldest, "waiting_connections");
    }
    return oldest != NULL;
}

static void welcome(struct door *d, int fd, const struct sockaddr *address, bool is_tls)
{
    const struct config *config = d->pool->config;
    struct visitor *v = calloc(1, sizeof *v);
    int on = 1;
    if (!v || !cidr_from_socket(address, &v->from)) {
        free(v);
        (void)close(fd);
        return;
    }
    v->fd = fd;
    v->is_tls = is_tls;
    v->since_ms = clock_mono_ms();
    v->is_balancer = strcmp(config_text(config, CFG_PROXY_PROTOCOL), "off") != 0 && cidr_holds(config_text(config, CFG_PROXY_TRUSTED), &v->from);
    if (!v->is_balancer && look_at_address(d, v) == LOOK_SHUT) {
        (void)close(fd);
        free(v);
        return;
    }
    if (!make_room(d, v)) {
        door_tell(d, &v->from, "waiting room full", "raise maximum_associations or waiting_connections, or add a receiver");
        say_farewell(fd, is_tls ? FAREWELL_NONE : FAREWELL_FULL);
        free(v);
        return;
    }
    /* Without this every C-STORE waits for a delayed ACK, 45 ms. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = v};
    if (epoll_ctl(d->epoll, EPOLL_CTL_ADD, fd, &event) == -1) {
        (void)close(fd);
        free(v);
        return;
    }
    TAILQ_INSERT_TAIL(&d->silent, v, link);
    d->silent_count++;
}

static void accept_some(struct door *d, int listener, bool is_tls)
{
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        struct sockaddr_in6 address;
        socklen_t length = sizeof address;
        int fd = accept4(listener, (struct sockaddr *)&address, &length, SOCK_CLOEXEC);
        if (fd == -1 && (errno == EMFILE || errno == ENFILE) && !TAILQ_EMPTY(&d->silent)) {
            evict(d, TAILQ_FIRST(&d->silent), "the limit of open files (ulimit -n)");
        } else if (fd == -1 && errno != ECONNABORTED && errno != EINTR) {
            return;
        } else if (fd != -1) {
            welcome(d, fd, (struct sockaddr *)&address, is_tls);
        }
    }
}

/* ---- going in -------------------------------------------------------------------------------------------------------------------- */

static int count_from(const struct pool *pool, const struct cidr_address *from)
{
    int count = 0;
    for (size_t i = 0; i < pool->process_count; i++) {
        const struct process *p = &pool->processes[i];
        count += p->channel != -1 && p->busy && cidr_same(&p->from, from);
    }
    return count;
}

/* How many of its requests are being read, and are not admitted yet. */
static int count_judged(const struct pool *pool, const struct cidr_address *from)
{
    int count = 0;
    for (size_t i = 0; i < pool->process_count; i++) {
        const struct process *p = &pool->processes[i];
        count += p->channel != -1 && p->busy && !p->is_admitted && cidr_same(&p->from, from);
    }
    return count;
}

/* So many processes may read requests of one address: half a handshake, or half of a large request, holds one for acse_timeout, and whoever
 * sends many of them must leave the others room. */
static int most_judged(const struct pool *pool)
{
    int share = (int)config_int(pool->config, CFG_MAXIMUM_ASSOCIATIONS) / JUDGED_SHARE;
    return share > JUDGED_MIN ? share : JUDGED_MIN;
}

/* Lets one in who has spoken, or turns it away, or leaves it waiting a little. One address cannot fill the pool with requests that are not admitted. */
static void let_in(struct door *d, struct visitor *v)
{
    long long of_address = config_int(d->pool->config, CFG_ASSOCIATIONS_PER_ADDRESS);
    /* a TLS peer can be answered only by a process, so a few more of them may ask */
    bool is_over = of_address > 0 && count_from(d->pool, &v->from) >= of_address + (v->is_tls ? 2 : 0);
    bool is_crowd = !is_over && count_judged(d->pool, &v->from) >= most_judged(d->pool);
    struct process *p;
    while (!is_over && !is_crowd && (p = pool_idle(d->pool)) != NULL) { /* ends: a process that cannot take it is dropped */
        if (pool_hand_over(d->pool, p, v->fd, &v->from, v->is_tls)) {
            v->fd = -1;
            forget(d, v, FAREWELL_NONE);
            return;
        }
    }
    if ((!is_over && !is_crowd && pool_can_grow(d->pool)) || clock_mono_ms() - v->ready_ms < (is_crowd ? CROWD_MS : GRACE_MS)) {
        return;
    }
    if (is_crowd) {
        door_tell(d, &v->from, "many requests of this address do not come whole", "look for a peer that stops amid a TLS handshake or a request");
    } else if (is_over) {
        door_tell(d, &v->from, "too many associations from this address", "raise associations_per_address (%lld)", of_address);
    } else {
        door_tell(d, &v->from, "maximum_associations are open", "raise it or add a receiver");
    }
    forget(d, v, v->is_tls ? FAREWELL_NONE : FAREWELL_FULL);
}

static void let_ready_in(struct door *d)
{
    struct visitor *next;
    for (struct visitor *v = TAILQ_FIRST(&d->ready); v; v = next) {
        next = TAILQ_NEXT(v, link);
        let_in(d, v);
    }
}

/* Ends the patience with those who waited for acse_timeout. */
static void tidy(struct door *d)
{
    int64_t now = clock_mono_ms();
    int64_t patience = config_int(d->pool->config, CFG_ACSE_TIMEOUT) * 1000;
    struct visitor *v;
    if (now < d->tidy_at) {
        return;
    }
    d->tidy_at = now + TIDY_MS;
    while ((v = TAILQ_FIRST(&d->silent)) != NULL && now - v->since_ms >= patience) {
        if (v->spoke) {
            door_tell(d, &v->from, "the association request did not come whole", "it had acse_timeout (%lld s)", (long long)patience / 1000);
        }
        leave(d, v);
    }
    while ((v = TAILQ_FIRST(&d->ready)) != NULL && now - v->since_ms >= patience) {
        door_tell(d, &v->from, "no association process in time", "see the limits of processes and memory");
        forget(d, v, v->is_tls ? FAREWELL_NONE : FAREWELL_FULL);
    }
}

void door_turn(struct door *d)
{
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(d->epoll, events, EVENTS_MAX, 0);
    bool arrivals[2] = {false, false};
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr == &d->plain || events[i].data.ptr == &d->tls) {
            arrivals[events[i].data.ptr == &d->tls] = true;
        } else {
            look(d, events[i].data.ptr, (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
        }
    }
    /* after all looks: to make room for an arrival may end a visitor that an event of this turn points to */
    if (arrivals[0]) {
        accept_some(d, d->plain, false);
    }
    if (arrivals[1]) {
        accept_some(d, d->tls, true);
    }
    tidy(d);
    let_ready_in(d);
}

/* ---- opening and closing --------------------------------------------------------------------------------------------------------------- */

int door_check(const struct config *config, struct err *e)
{
    long long plain = config_int(config, CFG_SCP_PORT);
    if (plain == config_int(config, CFG_TLS_PORT)) { /* two sockets on one port would share its connections by chance */
        return err_set(e, ERR_CONFIG, 0, plain == 0 ? "scp_port and tls_port are both 0: nobody could connect"
                                                    : "scp_port and tls_port are the same: give tls_port another one, such as 2762");
    }
    if (strcmp(config_text(config, CFG_PROXY_PROTOCOL), "off") != 0 && !config_text(config, CFG_PROXY_TRUSTED)[0]) {
        return err_set(e, ERR_CONFIG, 0, "proxy_protocol is %s and proxy_trusted names no balancer", config_text(config, CFG_PROXY_PROTOCOL));
    }
    return 0;
}

int door_open(struct door **out, struct pool *pool, struct refusals *refusals, struct err *e)
{
    const struct config *config = pool->config;
    int rc = door_check(config, e);
    if (rc != 0) {
        return rc;
    }
    struct door *d = calloc(1, sizeof *d);
    if (!d) {
        return err_set(e, ERR_MEMORY, 0, "the door");
    }
    *d = (struct door){.pool = pool, .refusals = refusals, .plain = -1, .tls = -1, .epoll = epoll_create1(EPOLL_CLOEXEC)};
    TAILQ_INIT(&d->silent);
    TAILQ_INIT(&d->ready);
    rc = d->epoll == -1 ? err_set(e, ERR_IO, errno, "epoll") : 0;
    rc = rc == 0 && config_int(config, CFG_SCP_PORT) > 0 ? listen_on(config, CFG_SCP_PORT, &d->plain, e) : rc;
    rc = rc == 0 && config_int(config, CFG_TLS_PORT) > 0 ? listen_on(config, CFG_TLS_PORT, &d->tls, e) : rc;
    int *both[] = {&d->plain, &d->tls};
    for (size_t i = 0; rc == 0 && i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = both[i]};
        if (*both[i] != -1 && epoll_ctl(d->epoll, EPOLL_CTL_ADD, *both[i], &event) == -1) {
            rc = err_set(e, ERR_IO, errno, "epoll");
        }
    }
    if (rc != 0) {
        door_close(&d);
        return rc;
    }
    listen_make_room(config_int(config, CFG_MAXIMUM_ASSOCIATIONS) + config_int(config, CFG_WAITING_CONNECTIONS) + 64);
    *out = d;
    return 0;
}

void door_shut(struct door *d)
{
    struct visitor *v;
    while ((v = TAILQ_FIRST(&d->ready)) != NULL) {
        forget(d, v, v->is_tls ? FAREWELL_NONE : FAREWELL_FULL); /* for now: another receiver or the next start takes it */
    }
    while ((v = TAILQ_FIRST(&d->silent)) != NULL) {
        forget(d, v, FAREWELL_NONE);
    }
    int *all[] = {&d->plain, &d->tls, &d->epoll};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (*all[i] != -1) {
            (void)close(*all[i]);
            *all[i] = -1;
        }
    }
}

void door_close(struct door **d)
{
    if (*d) {
        door_shut(*d);
        free(*d);
        *d = NULL;
    }
}

int door_fd(const struct door *d)
{
    return d->epoll;
}

int door_sleep_ms(const struct door *d, int most_ms)
{
    return (TAILQ_EMPTY(&d->ready) && !d->asking) || most_ms < 5 ? most_ms : 5;
}

void door_describe(const struct door *d, char *text, size_t size)
{
    (void)snprintf(text, size, "associations %d, waiting %zu, probes %llu, turned away %llu", d->pool->busy, d->silent_count + d->ready_count,
                   d->probes, d->turned_away);
}
