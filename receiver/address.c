/* address - see address.h. */
#include "receiver/address.h"

#include "common/runtime/runtime.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int address_parse(const char *text, struct address *out, struct err *e)
{
    const char *at = strchr(text, '@');
    const char *host = at ? at + 1 : text;
    const char *colon = strrchr(host, ':');
    char *end = NULL;
    memset(out, 0, sizeof *out);
    if (!text[0]) {
        return err_set(e, ERR_CONFIG, 0, "commitment_address is not set for this calling AE title: set it in a section [ae TITLE] of storescp.conf");
    }
    size_t length = colon ? (size_t)(colon - host) : 0;
    bool bracketed = length > 2 && host[0] == '[' && host[length - 1] == ']';
    unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 0;
    if (port < 1 || port > 65535 || *end != '\0' || length == 0 || length >= sizeof out->host || (at && (at == text || at - text > 16)) ||
        (!bracketed && (host[0] == '[' || memchr(host, ':', length)))) {
        return err_set(e, ERR_CONFIG, 0, "commitment_address \"%.80s\" is not host:port or AETITLE@host:port", text);
    }
    (void)snprintf(out->ae_title, sizeof out->ae_title, "%.*s", at ? (int)(at - text) : 0, text);
    (void)snprintf(out->host, sizeof out->host, "%.*s", (int)(bracketed ? length - 2 : length), host + bracketed);
    (void)snprintf(out->port, sizeof out->port, "%lu", port);
    return 0;
}

/* 0 when connected. The socket is non-blocking. */
static int wait_connected(int fd, int timeout_ms, int stop, struct err *e)
{
    struct pollfd fds[2] = {{fd, POLLOUT, 0}, {stop, POLLIN, 0}};
    int64_t until = clock_mono_ms() + timeout_ms;
    int failed = 0;
    socklen_t size = sizeof failed;
    int n;
    do {
        int64_t left = until - clock_mono_ms();
        n = left > 0 ? poll(fds, 2, (int)left) : 0;
    } while (n == -1 && errno == EINTR);
    if (n > 0 && fds[1].revents) {
        return err_set(e, ERR_STOPPED, 0, "told to stop");
    }
    if (n == 0) {
        return err_set(e, ERR_TIMEOUT, 0, "no connection within acse_timeout");
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size) == -1 || failed != 0) {
        return err_set(e, ERR_NETWORK, failed ? failed : errno, "no connection");
    }
    return 0;
}

int address_connect(const struct address *to, int timeout_ms, int stop, int *fd, struct err *e)
{
    const struct addrinfo wanted = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    struct err why = {0};
    int on = 1;
    int bad = getaddrinfo(to->host, to->port, &wanted, &found);
    if (bad != 0) {
        return err_set(e, ERR_NETWORK, 0, "%s: %s", to->host, gai_strerror(bad));
    }
    int rc = err_set(&why, ERR_NETWORK, 0, "there is no address");
    for (const struct addrinfo *a = found; a && rc != 0 && rc != ERR_STOPPED; a = a->ai_next) {
        int s = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (s == -1) {
            rc = err_set(&why, ERR_IO, errno, "socket");
            continue;
        }
        (void)setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        rc = connect(s, a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno == EINPROGRESS ? wait_connected(s, timeout_ms, stop, &why)
                                                                                   : err_set(&why, ERR_NETWORK, errno, "no connection");
        if (rc == 0) {
            *fd = s;
        } else {
            (void)close(s);
        }
    }
    freeaddrinfo(found);
    return rc == 0 ? 0 : err_set(e, rc, 0, "%s port %s: %s", to->host, to->port, why.text);
}
