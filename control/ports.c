/*
 * ports - whether somebody else has the DICOM ports. Receivers share a port (SO_REUSEPORT), and the kernel lets a receiver of another
 * installation of the same user join in: each would then get some of the other one's images, and nobody would notice. So `up` asks for
 * the port without sharing, before the first receiver of its home starts.
 */
#include "common/runtime/runtime.h"
#include "control/control.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_MS = 5000, PAUSE_MS = 100 }; /* receivers that are just ending, of an `up` that was killed */

static bool is_taken(const struct config *config, long long port)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    const char *text = config_text(config, CFG_SCP_ADDRESS);
    char mapped[80];
    int on = 1;
    int off = 0;
    (void)snprintf(mapped, sizeof mapped, "%s%s", strchr(text, ':') || !text[0] ? "" : "::ffff:", text[0] ? text : "::");
    int fd = inet_pton(AF_INET6, mapped, &address.sin6_addr) == 1 ? socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    if (fd == -1) {
        return false; /* the receiver says what is wrong */
    }
    (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* ended connections do not count */
    bool taken = bind(fd, (struct sockaddr *)&address, sizeof address) == -1 && errno == EADDRINUSE;
    (void)close(fd);
    return taken;
}

int ports_look_at(const struct config *config, const char *home, struct err *e)
{
    static const enum config_key keys[] = {CFG_SCP_PORT, CFG_TLS_PORT};
    static struct living found[WORKERS_MAX];
    size_t count = workers_living(home, found, WORKERS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (found[i].stage == STAGE_RECEIVER) {
            return 0; /* the port is ours */
        }
    }
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        long long port = config_int(config, keys[i]);
        bool taken = port > 0 && is_taken(config, port);
        while (taken && clock_mono_ms() < until) {
            (void)poll(NULL, 0, PAUSE_MS);
            taken = is_taken(config, port);
        }
        if (taken) {
            return err_set(e, ERR_CONFIG, 0, "port %lld is in use by another program or another installation: stop that one, or choose another %s",
                           port, config_describe(keys[i])->name);
        }
    }
    return 0;
}
