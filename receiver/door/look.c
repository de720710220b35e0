/*
 * look - what a visitor's first bytes are: a PROXY header, an association request, a TLS greeting, or nothing for us. They are only looked
 * at (MSG_PEEK); SO_RCVLOWAT keeps the kernel from waking us before there is enough for the next look.
 */
#include "receiver/door/door_internal.h"

#include "receiver/door/proxy.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum {
    REQUEST_BYTES_MAX = 16384, /* of a request that is waited for here; the rest of a larger one is read by the process */
    LOOKS_MAX = 400            /* at one visitor: a header of single bytes takes 107 */
};

static enum look wait_for(struct visitor *v, size_t bytes)
{
    int enough = (int)bytes;
    (void)setsockopt(v->fd, SOL_SOCKET, SO_RCVLOWAT, &enough, sizeof enough);
    return LOOK_WAIT;
}

static bool is_allowed(const struct door *d, const struct cidr_address *from)
{
    const char *networks = config_text(d->pool->config, CFG_ALLOWED_ADDRESSES);
    return !networks[0] || cidr_holds(networks, from);
}

enum look look_at_address(struct door *d, struct visitor *v)
{
    v->is_checked = true;
    if (is_allowed(d, &v->from)) {
        return LOOK_AGAIN;
    }
    door_tell(d, &v->from, "address not allowed", "add it to allowed_addresses if it may send");
    return LOOK_SHUT;
}

static enum look look_at_header(struct door *d, struct visitor *v, const unsigned char *bytes, size_t count)
{
    struct proxy_header h;
    unsigned char taken[PROXY_BYTES_MAX];
    enum proxy_found found = proxy_read(bytes, count, &h);
    const char *mode = config_text(d->pool->config, CFG_PROXY_PROTOCOL);
    if (found == PROXY_NONE) {
        v->past_header = true;
        if (v->is_balancer && strcmp(mode, "required") == 0) {
            door_tell(d, &v->from, "a balancer without PROXY header", "let it send one (HAProxy: send-proxy-v2), or set proxy_protocol = optional");
            return LOOK_SHUT;
        }
        return LOOK_AGAIN;
    }
    if (h.version != 0 && !v->is_balancer) {
        door_tell(d, &v->from, "PROXY header not expected", "add the balancer to proxy_trusted and set proxy_protocol = optional, if it is one");
        return LOOK_SHUT;
    }
    if (found == PROXY_MORE) {
        return wait_for(v, h.bytes);
    }
    if (found == PROXY_BROKEN) {
        door_tell(d, &v->from, "PROXY header broken", "the balancer sent %s", h.wrong);
        return LOOK_SHUT;
    }
    if (recv(v->fd, taken, h.bytes, MSG_DONTWAIT) != (ssize_t)h.bytes) {
        return LOOK_SHUT; /* they were there a moment ago: the connection broke */
    }
    v->past_header = true;
    if (h.has_source) {
        v->from = h.source;
        return look_at_address(d, v);
    }
    return LOOK_AGAIN;
}

/* On the port without TLS: PS3.8 section 9.3.1, PDU type 1 and a length of four bytes. */
static enum look look_at_plain(struct door *d, struct visitor *v, const unsigned char *bytes, size_t count, enum farewell *farewell)
{
    if (bytes[0] == 0x16) {
        door_tell(d, &v->from, "TLS on the port without TLS", config_int(d->pool->config, CFG_TLS_PORT) > 0
             ? "point the sender at tls_port %lld, or switch its TLS off" : "tls_port is %lld: set it, or switch the sender's TLS off",
             config_int(d->pool->config, CFG_TLS_PORT));
        *farewell = FAREWELL_NO_TLS;
        return LOOK_SHUT;
    }
    if (bytes[0] != 1) {
        door_tell(d, &v->from, "no DICOM association request", "it began with the byte %02X; is it meant for this port?", bytes[0]);
        *farewell = FAREWELL_NO_REQUEST;
        return LOOK_SHUT;
    }
    if (count < 6) {
        return wait_for(v, 6);
    }
    size_t length = (size_t)bytes[2] << 24 | (size_t)bytes[3] << 16 | (size_t)bytes[4] << 8 | bytes[5];
    size_t needed = length > REQUEST_BYTES_MAX - 6 ? REQUEST_BYTES_MAX : length + 6;
    int there = 0;
    return ioctl(v->fd, FIONREAD, &there) == 0 && there >= 0 && (size_t)there < needed ? wait_for(v, needed) : LOOK_READY;
}

/* On the port with TLS: RFC 8446 section 5.1, a handshake record and its length. */
static enum look look_at_tls(struct door *d, struct visitor *v, const unsigned char *bytes, size_t count, enum farewell *farewell)
{
    if (bytes[0] != 0x16) {
        if (bytes[0] == 1) {
            door_tell(d, &v->from, "no TLS on the port with TLS", config_int(d->pool->config, CFG_SCP_PORT) > 0
                 ? "switch the sender's TLS on, or point it at scp_port %lld" : "switch the sender's TLS on; scp_port is %lld",
                 config_int(d->pool->config, CFG_SCP_PORT));
            *farewell = FAREWELL_NOT_HERE;
        } else {
            door_tell(d, &v->from, "no TLS greeting", "it began with the byte %02X; is it meant for this port?", bytes[0]);
        }
        return LOOK_SHUT;
    }
    if (count < 5) {
        return wait_for(v, 5);
    }
    size_t needed = 5 + ((size_t)bytes[3] << 8 | bytes[4]);
    needed = needed > REQUEST_BYTES_MAX ? REQUEST_BYTES_MAX : needed;
    int there = 0;
    return ioctl(v->fd, FIONREAD, &there) == 0 && there >= 0 && (size_t)there < needed ? wait_for(v, needed) : LOOK_READY;
}

enum look look_at(struct door *d, struct visitor *v, bool gone, enum farewell *farewell)
{
    unsigned char bytes[PROXY_BYTES_MAX];
    enum look next = LOOK_AGAIN;
    while (next == LOOK_AGAIN) {
        (void)wait_for(v, 1);
        ssize_t n = recv(v->fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
        if (n == -1 && (errno == EAGAIN || errno == EINTR) && !gone) {
            return LOOK_WAIT;
        }
        if (n <= 0) {
            return LOOK_LEFT;
        }
        if (!v->past_header) {
            next = look_at_header(d, v, bytes, (size_t)n);
            continue;
        }
        v->spoke = true;
        next = v->is_checked ? LOOK_AGAIN : look_at_address(d, v);
        if (next == LOOK_AGAIN) {
            next = v->is_tls ? look_at_tls(d, v, bytes, (size_t)n, farewell) : look_at_plain(d, v, bytes, (size_t)n, farewell);
        }
    }
    return next == LOOK_WAIT && (gone || ++v->looks > LOOKS_MAX) ? LOOK_LEFT : next;
}
