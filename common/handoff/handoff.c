/*
 * handoff - see handoff.h. Facts that shape it: a killed PULL peer takes its queued messages with it, a second bind of an ipc path
 * steals it without a word, and a PUSH connected to a path that nobody bound swallows messages. So messages are hints, the
 * bind happens under a lock of its own, and producers connect only to inboxes whose lock is held.
 */
#include "common/handoff/handoff.h"

#include "common/runtime/log.h"
#include "common/runtime/runtime.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

enum { PEERS_MAX = 64, NAME_MAX_BYTES = 80, MESSAGE_MAX = 200, DRAIN_MAX = 256, RESCAN_MS = 250, CHECK_MS = 500, EXTRA_MAX = 8 };

struct peer {
    char name[NAME_MAX_BYTES];
    void *socket;
    bool seen;
};

struct handoff {
    void *context;
    char inbox_path[4352], lock_path[4352];
    void *inbox;
    int lock;
    ino_t inode; /* of the bound socket file */
    int64_t checked_ms;
    char outbox[4352]; /* directory or "" */
    struct peer peers[PEERS_MAX];
    size_t peer_count, next_peer;
    int64_t scanned_ms;
    uint64_t strange; /* messages of another version or form */
};

static int bind_inbox(struct handoff *h, struct err *e)
{
    char address[4400];
    struct stat info;
    int linger = 0;
    int room = 64;
    if (strlen(h->inbox_path) >= sizeof((struct sockaddr_un *)0)->sun_path) {
        return err_set(e, ERR_CONFIG, 0, "%s is longer than a Unix socket's path may be (107): use a shorter STORESCP_HOME",
                       h->inbox_path);
    }
    if (h->inbox) {
        (void)zmq_close(h->inbox);
        h->inbox = NULL;
    }
    (void)unlink(h->inbox_path);
    h->inbox = zmq_socket(h->context, ZMQ_PULL);
    if (!h->inbox) {
        return err_set(e, ERR_IO, errno, "ZeroMQ socket");
    }
    (void)zmq_setsockopt(h->inbox, ZMQ_LINGER, &linger, sizeof linger);
    (void)zmq_setsockopt(h->inbox, ZMQ_RCVHWM, &room, sizeof room);
    (void)snprintf(address, sizeof address, "ipc://%s", h->inbox_path);
    mode_t old = umask(077);
    int bound = zmq_bind(h->inbox, address);
    int sys = errno;
    (void)umask(old);
    if (bound == -1) {
        return err_set(e, ERR_IO, sys, "cannot bind %s", h->inbox_path);
    }
    h->inode = stat(h->inbox_path, &info) == 0 ? info.st_ino : 0;
    return 0;
}

int handoff_open(struct handoff **out, const char *home, const char *inbox_stage, const char *outbox_stage,
                 const char *worker, struct err *e)
{
    struct handoff *h = calloc(1, sizeof *h);
    if (!h) {
        return err_set(e, ERR_MEMORY, 0, "hand-off");
    }
    h->lock = -1;
    int rc = 0;
    h->context = zmq_ctx_new();
    if (!h->context) {
        rc = err_set(e, ERR_IO, errno, "ZeroMQ context");
    }
    if (rc == 0 && outbox_stage) {
        (void)snprintf(h->outbox, sizeof h->outbox, "%s/run/inbox/%s", home, outbox_stage);
    }
    if (rc == 0 && inbox_stage) {
        char directory[4200];
        (void)snprintf(directory, sizeof directory, "%s/run/inbox/%s", home, inbox_stage);
        rc = directory_make(directory, e);
        (void)snprintf(h->inbox_path, sizeof h->inbox_path, "%s/%s.sock", directory, worker);
        (void)snprintf(h->lock_path, sizeof h->lock_path, "%s/%s.lock", directory, worker);
        if (rc == 0 && (rc = lockfile_take(h->lock_path, &h->lock, e)) == 0) {
            rc = bind_inbox(h, e);
        }
    }
    if (rc != 0) {
        handoff_close(&h);
        return rc;
    }
    *out = h;
    return 0;
}

void handoff_close(struct handoff **out)
{
    struct handoff *h = out ? *out : NULL;
    if (!h) {
        return;
    }
    for (size_t i = 0; i < h->peer_count; i++) {
        (void)zmq_close(h->peers[i].socket);
    }
    if (h->inbox) {
        (void)zmq_close(h->inbox);
        (void)unlink(h->inbox_path);
    }
    if (h->lock != -1) {
        (void)unlink(h->lock_path);
        (void)close(h->lock);
    }
    if (h->context) {
        (void)zmq_ctx_term(h->context);
    }
    free(h);
    *out = NULL;
}

/* ---- sending ----------------------------------------------------------------------------------------------------------- */

static void connect_peer(struct handoff *h, const char *name)
{
    char address[4500];
    int linger = 0;
    int room = 16;
    int immediate = 1;
    if (h->peer_count == PEERS_MAX) {
        return;
    }
    void *socket = zmq_socket(h->context, ZMQ_PUSH);
    if (!socket) {
        return;
    }
    (void)zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    (void)zmq_setsockopt(socket, ZMQ_SNDHWM, &room, sizeof room);
    (void)zmq_setsockopt(socket, ZMQ_IMMEDIATE, &immediate, sizeof immediate);
    (void)snprintf(address, sizeof address, "ipc://%s/%s.sock", h->outbox, name);
    if (zmq_connect(socket, address) == -1) {
        (void)zmq_close(socket);
        return;
    }
    struct peer *p = &h->peers[h->peer_count++];
    (void)snprintf(p->name, sizeof p->name, "%s", name);
    p->socket = socket;
    p->seen = true;
}

/* Makes the list of peers what the directory says: new inboxes are connected, dead ones dropped and swept away. */
static void rescan(struct handoff *h)
{
    int64_t now = clock_mono_ms();
    if (h->scanned_ms != 0 && now - h->scanned_ms < RESCAN_MS) {
        return;
    }
    h->scanned_ms = now;
    for (size_t i = 0; i < h->peer_count; i++) {
        h->peers[i].seen = false;
    }
    DIR *directory = opendir(h->outbox);
    struct dirent *entry;
    while (directory && (entry = readdir(directory)) != NULL) {
        char name[NAME_MAX_BYTES];
        char path[4700];
        size_t length = strlen(entry->d_name);
        if (length < 6 || length - 5 >= sizeof name || strcmp(entry->d_name + length - 5, ".lock") != 0) {
            continue;
        }
        (void)snprintf(name, sizeof name, "%.*s", (int)(length - 5), entry->d_name);
        (void)snprintf(path, sizeof path, "%s/%s", h->outbox, entry->d_name);
        if (lockfile_is_free(path, NULL)) {
            /* its worker is dead; names never come again, so nobody misses the files. A lock file younger than its flock
             * is safe: its owner sees the changed inode and makes a new one. */
            (void)unlink(path);
            (void)snprintf(path, sizeof path, "%s/%s.sock", h->outbox, name);
            (void)unlink(path);
            continue;
        }
        size_t i = 0;
        while (i < h->peer_count && strcmp(h->peers[i].name, name) != 0) {
            i++;
        }
        if (i < h->peer_count) {
            h->peers[i].seen = true;
        } else {
            connect_peer(h, name);
        }
    }
    if (directory) {
        (void)closedir(directory);
    }
    for (size_t i = 0; i < h->peer_count;) {
        if (h->peers[i].seen) {
            i++;
        } else {
            (void)zmq_close(h->peers[i].socket);
            h->peers[i] = h->peers[--h->peer_count];
        }
    }
}

void handoff_send(struct handoff *h, const char *id, int64_t bytes, uint32_t crc32c)
{
    char message[MESSAGE_MAX];
    if (!h->outbox[0]) {
        return;
    }
    rescan(h);
    int length = snprintf(message, sizeof message, "storescp1 %s %lld %08x", id, (long long)bytes, crc32c);
    for (size_t tried = 0; tried < h->peer_count; tried++) {
        struct peer *p = &h->peers[h->next_peer++ % h->peer_count];
        /* In a burst ZeroMQ looks for returned room only once a millisecond and says "full" to an idle inbox; asking for the
         * events makes it look. */
        for (int again = 0; again < 2; again++) {
            int events = 0;
            size_t size = sizeof events;
            if (zmq_send(p->socket, message, (size_t)length, ZMQ_DONTWAIT) != -1) {
                return;
            }
            if (zmq_getsockopt(p->socket, ZMQ_EVENTS, &events, &size) == -1 || !(events & ZMQ_POLLOUT)) {
                break;
            }
        }
    }
}

/* ---- receiving ----------------------------------------------------------------------------------------------------------- */

static void check_inbox(struct handoff *h)
{
    struct stat info;
    int64_t now = clock_mono_ms();
    if (now - h->checked_ms < CHECK_MS) {
        return;
    }
    h->checked_ms = now;
    bool socket_gone = stat(h->inbox_path, &info) == -1 || info.st_ino != h->inode;
    bool lock_gone = stat(h->lock_path, &info) == -1;
    if (!socket_gone && !lock_gone) {
        return;
    }
    struct err e = {0};
    char *slash = strrchr(h->inbox_path, '/');
    *slash = '\0';
    int rc = directory_make(h->inbox_path, &e);
    *slash = '/';
    if (rc == 0 && lock_gone) {
        (void)close(h->lock);
        h->lock = -1;
        rc = lockfile_take(h->lock_path, &h->lock, &e);
    }
    if (rc == 0) {
        rc = bind_inbox(h, &e);
    }
    if (rc == 0) {
        log_warning("inbox_bound_again", "path=%s reason=\"its files had been removed\"", h->inbox_path);
    } else {
        log_warning("inbox_lost", "reason=\"%s\" effect=\"work is found by sweeping until the directory is writable\"", e.text);
    }
}

static int drain(struct handoff *h)
{
    int hints = 0;
    while (h->inbox && hints < DRAIN_MAX) {
        char message[MESSAGE_MAX + 1];
        int n = zmq_recv(h->inbox, message, MESSAGE_MAX, ZMQ_DONTWAIT);
        if (n == -1) {
            break;
        }
        message[n < MESSAGE_MAX ? n : MESSAGE_MAX] = '\0';
        if (n >= MESSAGE_MAX || strncmp(message, "storescp1 ", 10) != 0) {
            /* still a reason to look, and no reason to believe it */
            if (h->strange++ == 0) {
                log_warning("hint_strange", "reason=\"a message of another version or form; rows are found by claim anyway\"");
            }
        }
        hints++;
    }
    return hints;
}

int handoff_wait(struct handoff *h, int wait_ms, const int *extra_fds, size_t extra_count)
{
    zmq_pollitem_t items[EXTRA_MAX + 1];
    int count = 0;
    memset(items, 0, sizeof items);
    if (h->inbox_path[0]) {
        check_inbox(h);
        int hints = drain(h);
        if (hints > 0) {
            return hints;
        }
    }
    if (h->inbox) {
        items[count].socket = h->inbox;
        items[count++].events = ZMQ_POLLIN;
    }
    for (size_t i = 0; i < extra_count && i < EXTRA_MAX; i++) {
        items[count].fd = extra_fds[i];
        items[count++].events = ZMQ_POLLIN;
    }
    (void)zmq_poll(items, count, wait_ms);
    return drain(h);
}
