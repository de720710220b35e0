/* listen - listening sockets, and the last PDU to those who get no association. See door_internal.h. */
#include "receiver/door/door_internal.h"

#include "common/runtime/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 4096, DRAIN_READS = 16 }; /* the kernel cuts the backlog to net.core.somaxconn */

int listen_on(const struct config *config, enum config_key port_key, int *out, struct err *e)
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

void listen_make_room(long long wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == -1) {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && (long long)limit.rlim_cur < wanted) {
        log_warning("few_descriptors", "limit=%lld wanted=%lld remedy=\"raise the limit of open files (ulimit -n, LimitNOFILE) or lower "
                    "maximum_associations and waiting_connections\"", (long long)limit.rlim_cur, wanted);
    }
}

void say_farewell(int fd, enum farewell farewell)
{
    static const struct {
        size_t count;
        unsigned char bytes[10];
    } last_words[] = {[FAREWELL_FULL] = {10, {3, 0, 0, 0, 0, 4, 0, 2, 3, 2}},
                      [FAREWELL_NOT_HERE] = {10, {3, 0, 0, 0, 0, 4, 0, 1, 1, 1}},
                      [FAREWELL_NO_REQUEST] = {10, {7, 0, 0, 0, 0, 4, 0, 0, 2, 1}},
                      [FAREWELL_NO_TLS] = {7, {0x15, 3, 1, 0, 2, 2, 40}}};
    char drained[8192];
    if (farewell != FAREWELL_NONE) {
        ssize_t n = send(fd, last_words[farewell].bytes, last_words[farewell].count, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)n;
        (void)shutdown(fd, SHUT_WR);
    }
    for (int i = 0; i < DRAIN_READS && recv(fd, drained, sizeof drained, MSG_DONTWAIT) > 0; i++) {
        /* unread bytes would turn the close into a reset, and the peer would lose our last PDU */
    }
    (void)close(fd);
}
