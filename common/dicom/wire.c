/* wire - see wire.h. */
#include "common/dicom/wire.h"

#include "common/runtime/runtime.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

enum { GOODBYE_MS = 1000, GOODBYE_READS = 256 };

/* True when the socket is ready; else errno says why not (ETIMEDOUT). */
static bool wait_for(int fd, short what, int timeout_ms)
{
    struct pollfd p = {fd, what, 0};
    int n;
    do {
        n = poll(&p, 1, timeout_ms);
    } while (n == -1 && errno == EINTR);
    if (n == 0) {
        errno = ETIMEDOUT;
    }
    return n > 0;
}

/* A sender with Nagle on holds back the last bytes of each PDU until our ACK; the kernel falls back to delayed ACKs (40 ms) by itself, so
 * this is asked for again with every read. */
void wire_acknowledge_soon(int fd)
{
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

static ssize_t wire_read(void *ctx, void *buffer, size_t size, int timeout_ms)
{
    const int fd = *(const int *)ctx;
    for (;;) {
        wire_acknowledge_soon(fd);
        const ssize_t n = recv(fd, buffer, size, MSG_DONTWAIT);
        if (n >= 0) {
            return n;
        }
        if (errno != EINTR && (errno != EAGAIN || !wait_for(fd, POLLIN, timeout_ms))) {
            return -1;
        }
    }
}

static ssize_t wire_write(void *ctx, const void *bytes, size_t count, int timeout_ms)
{
    const int fd = *(const int *)ctx;
    const char *p = bytes;
    for (size_t left = count; left > 0;) {
        const ssize_t n = send(fd, p, left, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0) {
            p += n;
            left -= (size_t)n;
        } else if (errno != EINTR && (errno != EAGAIN || !wait_for(fd, POLLOUT, timeout_ms))) {
            return -1;
        }
    }
    return (ssize_t)count;
}

struct message_transport wire_transport(int *fd)
{
    return (struct message_transport){wire_read, wire_write, fd};
}

void wire_say_goodbye(int fd)
{
    char drained[65536];
    const int64_t until = clock_mono_ms() + GOODBYE_MS;
    (void)shutdown(fd, SHUT_WR);
    for (int i = 0; i < GOODBYE_READS; i++) {
        const int64_t left = until - clock_mono_ms();
        if (left <= 0 || !wait_for(fd, POLLIN, (int)left) || recv(fd, drained, sizeof drained, MSG_DONTWAIT) <= 0) {
            return;
        }
    }
}
