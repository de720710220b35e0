/*
 * store_load - a C-STORE sender for benchmarks that costs as little CPU as it can: one synthetic CT data set in memory, of which only the
 * SOP Instance UID changes, sent over several associations at once (one thread each), one operation at a time on each.
 *
 *   store_load HOST PORT ASSOCIATIONS INSTANCES DATA_BYTES SEED [PER_ASSOCIATION [CERTIFICATE KEY]]
 *
 * Prints "<seconds> <stored> <refused>": from the first connect to the last release. INSTANCES is the number for all
 * associations together; after PER_ASSOCIATION of them an association is released and another one opened (0, the default: never).
 * With a certificate and its key (PEM files) over TLS; the peer's certificate is not looked at. Exits 1 when an association broke.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { ASSOCIATIONS_MAX = 64, UID_BYTES = 64, TIMEOUT_S = 120 };

static const char sop_class[] = "1.2.840.10008.5.1.4.1.1.2";

struct load {
    struct sockaddr_in address;
    int instances; /* of this thread */
    int per_association;
    int number, seed;
    size_t data_bytes;
    int stored, refused;
    bool broken;
    SSL_CTX *tls; /* NULL: without */
};

struct link {
    int fd;   /* -1: none */
    BIO *tls; /* gathers what is written until it is flushed; NULL: without */
};

static unsigned char *put(unsigned char *p, unsigned group, unsigned element, const char *vr, const void *value, size_t length)
{
    size_t padded = (length + 1) & ~(size_t)1;
    unsigned char head[12] = {(unsigned char)group, (unsigned char)(group >> 8), (unsigned char)element, (unsigned char)(element >> 8)};
    size_t head_bytes = 8;
    if (!vr) { /* implicit VR: a command */
        for (int i = 0; i < 4; i++) {
            head[4 + i] = (unsigned char)(padded >> (8 * i));
        }
    } else {
        memcpy(head + 4, vr, 2);
        if (strcmp(vr, "OW") == 0) {
            head_bytes = 12;
            for (int i = 0; i < 4; i++) {
                head[8 + i] = (unsigned char)(padded >> (8 * i));
            }
        } else {
            head[6] = (unsigned char)padded;
            head[7] = (unsigned char)(padded >> 8);
        }
    }
    memcpy(p, head, head_bytes);
    memset(p + head_bytes, 0, padded);
    memcpy(p + head_bytes, value, length);
    return p + head_bytes + padded;
}

/* The data set without pixels; its length does not depend on the number. */
static size_t make_head(unsigned char *out, const struct load *l, int number, char uid[UID_BYTES])
{
    char study[UID_BYTES];
    (void)snprintf(study, sizeof study, "2.25.%09d.1", l->seed);
    (void)snprintf(uid, UID_BYTES, "2.25.%09d.1.%02d.1%07d", l->seed, l->number + 1, number);
    unsigned char *p = put(out, 8, 0x16, "UI", sop_class, strlen(sop_class));
    p = put(p, 8, 0x18, "UI", uid, strlen(uid));
    p = put(p, 8, 0x60, "CS", "CT", 2);
    p = put(p, 0x10, 0x10, "PN", "SYNTHETIC^LOAD", 14);
    p = put(p, 0x20, 0x0d, "UI", study, strlen(study));
    p = put(p, 0x20, 0x0e, "UI", study, strlen(study));
    return (size_t)(p - out);
}

static bool receive_exactly(const struct link *l, void *out, size_t count)
{
    if (!l->tls) {
        return recv(l->fd, out, count, MSG_WAITALL) == (ssize_t)count;
    }
    for (size_t have = 0; have < count;) {
        int n = BIO_read(l->tls, (char *)out + have, (int)(count - have));
        if (n <= 0) {
            return false;
        }
        have += (size_t)n;
    }
    return true;
}

static bool send_parts(const struct link *l, struct iovec *parts, int count)
{
    if (l->tls) {
        bool ok = true;
        for (int i = 0; ok && i < count; i++) {
            ok = BIO_write(l->tls, parts[i].iov_base, (int)parts[i].iov_len) == (int)parts[i].iov_len;
        }
        return ok && BIO_flush(l->tls) == 1;
    }
    while (count > 0) {
        ssize_t n = writev(l->fd, parts, count);
        if (n <= 0) {
            return false;
        }
        while (count > 0 && (size_t)n >= parts->iov_len) {
            n -= (ssize_t)parts->iov_len;
            parts++;
            count--;
        }
        if (count > 0) {
            parts->iov_base = (char *)parts->iov_base + n;
            parts->iov_len -= (size_t)n;
        }
    }
    return true;
}

static size_t pdu_head(unsigned char out[12], size_t content, int control)
{
    size_t body = content + 6;
    size_t pdv = content + 2;
    unsigned char head[12] = {4, 0, (unsigned char)(body >> 24), (unsigned char)(body >> 16), (unsigned char)(body >> 8), (unsigned char)body,
                              (unsigned char)(pdv >> 24), (unsigned char)(pdv >> 16), (unsigned char)(pdv >> 8), (unsigned char)pdv, 1, (unsigned char)control};
    memcpy(out, head, 12);
    return 12;
}

/* Returns the peer's maximum PDU, 0 when there is no association. */
static size_t associate(const struct link *l)
{
    static const unsigned char fixed[] = {
        0x10, 0, 0, 21,  '1', '.', '2', '.', '8', '4', '0', '.', '1', '0', '0', '0', '8', '.', '3', '.', '1', '.', '1', '.', '1', /* application context */
        0x20, 0, 0, 56,  1, 0, 0, 0, 0x30, 0, 0, 25, '1', '.', '2', '.', '8', '4', '0', '.', '1', '0', '0', '0', '8', '.', '5', '.', '1', '.', '4', '.', '1', '.', '1', '.', '2',
        0x40, 0, 0, 19,  '1', '.', '2', '.', '8', '4', '0', '.', '1', '0', '0', '0', '8', '.', '1', '.', '2', '.', '1',
        0x50, 0, 0, 18,  0x51, 0, 0, 4, 0, 2, 0, 0, 0x52, 0, 0, 6, '2', '.', '2', '5', '.', '7'};
    unsigned char request[6 + 68 + sizeof fixed] = {1, 0, 0, 0, 0, 68 + sizeof fixed, 0, 1};
    unsigned char answer[4096];
    memcpy(request + 10, "ANY-SCP         STORE_LOAD      ", 32);
    memcpy(request + 74, fixed, sizeof fixed);
    struct iovec part = {request, sizeof request};
    if (!send_parts(l, &part, 1) || !receive_exactly(l, answer, 6) || answer[0] != 2) {
        return 0;
    }
    size_t length = (size_t)answer[4] << 8 | answer[5];
    if (length > sizeof answer || !receive_exactly(l, answer, length)) {
        return 0;
    }
    for (size_t p = 68; p + 12 <= length; p += 4 + ((size_t)answer[p + 2] << 8 | answer[p + 3])) {
        if (answer[p] == 0x50) {
            return (size_t)answer[p + 8] << 24 | (size_t)answer[p + 9] << 16 | (size_t)answer[p + 10] << 8 | answer[p + 11];
        }
    }
    return 0;
}

/* -> status, or -1 */
static int receive_status(const struct link *l)
{
    unsigned char head[12];
    unsigned char set[4096];
    if (!receive_exactly(l, head, 12) || head[0] != 4) {
        return -1;
    }
    size_t length = ((size_t)head[8] << 8 | head[9]) - 2;
    if (length > sizeof set || !receive_exactly(l, set, length)) {
        return -1;
    }
    for (size_t p = 0; p + 10 <= length; p += 8 + (set[p + 4] | (size_t)set[p + 5] << 8)) {
        if (set[p] == 0 && set[p + 1] == 0 && set[p + 2] == 0 && set[p + 3] == 9) {
            return set[p + 8] | set[p + 9] << 8;
        }
    }
    return -1;
}

/* Command and data set in as few system calls as the peer's maximum PDU allows; ours are 128 KiB at the most. */
static int store(const struct link *l, size_t maximum, int message, const unsigned char *command, size_t command_bytes, unsigned char *data, size_t data_bytes)
{
    unsigned char heads[512][12];
    struct iovec parts[1024];
    int count = 0;
    (void)message;
    size_t room = maximum - 6;
    parts[count++] = (struct iovec){heads[0], pdu_head(heads[0], command_bytes, 3)};
    parts[count++] = (struct iovec){(void *)(uintptr_t)command, command_bytes};
    for (size_t at = 0, k = 1; at < data_bytes; at += room, k++) {
        size_t part = data_bytes - at < room ? data_bytes - at : room;
        if (count + 2 > 1000) { /* a small maximum and a large object: more than one call */
            if (!send_parts(l, parts, count)) {
                return -1;
            }
            count = 0;
            k = 0;
        }
        parts[count++] = (struct iovec){heads[k], pdu_head(heads[k], part, at + part == data_bytes ? 2 : 0)};
        parts[count++] = (struct iovec){data + at, part};
    }
    return send_parts(l, parts, count) ? receive_status(l) : -1;
}

static void close_link(struct link *link)
{
    BIO_free_all(link->tls);
    if (link->fd != -1) {
        (void)close(link->fd);
    }
    *link = (struct link){-1, NULL};
}

/* The handshake, when there is to be one. */
static bool secure(struct link *link, const struct load *l)
{
    if (!l->tls) {
        return true;
    }
    link->tls = BIO_new_ssl(l->tls, 1);
    BIO *buffer = BIO_new(BIO_f_buffer());
    if (!link->tls || !buffer || BIO_set_write_buffer_size(buffer, 16384) != 1) {
        return false;
    }
    (void)BIO_push(link->tls, BIO_new_socket(link->fd, BIO_NOCLOSE));
    link->tls = BIO_push(buffer, link->tls);
    return BIO_do_handshake(link->tls) == 1;
}

static bool open_association(struct link *link, const struct load *l, size_t *maximum)
{
    int on = 1;
    struct timeval limit = {TIMEOUT_S, 0};
    *link = (struct link){socket(AF_INET, SOCK_STREAM, 0), NULL};
    if (link->fd == -1 || connect(link->fd, (const struct sockaddr *)&l->address, sizeof l->address) == -1) {
        return false;
    }
    (void)setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(link->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    (void)setsockopt(link->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    *maximum = secure(link, l) ? associate(link) : 0;
    return *maximum >= 1024;
}

/* Released? It is closed in any case. */
static bool end_association(struct link *link)
{
    unsigned char release[10] = {5, 0, 0, 0, 0, 4};
    struct iovec part = {release, sizeof release};
    bool ended = send_parts(link, &part, 1) && receive_exactly(link, release, 10) && release[0] == 6;
    close_link(link);
    return ended;
}

static void *run(void *argument)
{
    struct load *l = argument;
    size_t maximum = 0;
    unsigned char *data = malloc(l->data_bytes + 1024);
    struct link link = {-1, NULL};
    l->broken = true;
    if (!data || !open_association(&link, l, &maximum)) {
        goto out;
    }
    char uid[UID_BYTES];
    size_t head = make_head(data, l, 0, uid);
    size_t pixels = (l->data_bytes - head - 12) & ~(size_t)1;
    unsigned char *p = put(data + head, 0x7fe0, 0x10, "OW", "", 0);
    for (int i = 0; i < 4; i++) {
        p[i - 4] = (unsigned char)(pixels >> (8 * i));
    }
    uint32_t noise = (uint32_t)l->seed * 2654435761u + 1;
    for (size_t i = 0; i < pixels; i++) {
        noise = noise * 1664525u + 1013904223u;
        p[i] = i % 2 ? noise >> 28 : noise >> 24;
    }
    size_t data_bytes = (size_t)(p - data) + pixels;
    for (int i = 0; i < l->instances; i++) {
        unsigned char command[512];
        if (i > 0 && l->per_association > 0 && i % l->per_association == 0 && (!end_association(&link) || !open_association(&link, l, &maximum))) {
            goto out;
        }
        (void)make_head(data, l, i, uid);
        unsigned char id[2] = {(unsigned char)(i + 1), (unsigned char)((i + 1) >> 8)};
        unsigned char *c = put(command + 12, 0, 2, NULL, sop_class, strlen(sop_class));
        c = put(c, 0, 0x100, NULL, "\1\0", 2);
        c = put(c, 0, 0x110, NULL, id, 2);
        c = put(c, 0, 0x700, NULL, "\0\0", 2);
        c = put(c, 0, 0x800, NULL, "\1\0", 2);
        c = put(c, 0, 0x1000, NULL, uid, strlen(uid));
        unsigned char length[4] = {(unsigned char)(c - command - 12), 0, 0, 0};
        (void)put(command, 0, 0, NULL, length, 4);
        int status = store(&link, maximum > 131072 ? 131072 : maximum, i + 1, command, (size_t)(c - command), data, data_bytes);
        if (status == -1) {
            goto out;
        }
        l->stored += status == 0;
        l->refused += status != 0;
    }
    l->broken = !end_association(&link);
out:
    close_link(&link);
    free(data);
    return NULL;
}

int main(int argc, char **argv)
{
    static struct load loads[ASSOCIATIONS_MAX];
    pthread_t threads[ASSOCIATIONS_MAX];
    struct timespec begun;
    struct timespec ended;
    int associations = argc == 7 || argc == 8 || argc == 10 ? atoi(argv[3]) : 0;
    if (associations < 1 || associations > ASSOCIATIONS_MAX || atoi(argv[4]) < associations || atol(argv[5]) < 1000) {
        (void)fprintf(stderr, "usage: store_load HOST PORT ASSOCIATIONS(1-64) INSTANCES DATA_BYTES(>=1000) SEED [PER_ASSOCIATION [CERTIFICATE KEY]]\n");
        return 2;
    }
    SSL_CTX *tls = argc == 10 ? SSL_CTX_new(TLS_client_method()) : NULL;
    if (argc == 10 && (!tls || SSL_CTX_use_certificate_chain_file(tls, argv[8]) != 1 || SSL_CTX_use_PrivateKey_file(tls, argv[9], SSL_FILETYPE_PEM) != 1)) {
        (void)fprintf(stderr, "store_load: %s or %s cannot be used\n", argv[8], argv[9]);
        return 2;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    int stored = 0;
    int refused = 0;
    int broken = 0;
    (void)clock_gettime(CLOCK_MONOTONIC, &begun);
    for (int i = 0; i < associations; i++) {
        struct load *l = &loads[i];
        l->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
        (void)inet_pton(AF_INET, argv[1], &l->address.sin_addr);
        l->instances = atoi(argv[4]) / associations + (i < atoi(argv[4]) % associations);
        l->number = i;
        l->per_association = argc >= 8 ? atoi(argv[7]) : 0;
        l->seed = atoi(argv[6]);
        l->data_bytes = (size_t)atol(argv[5]);
        l->tls = tls;
        if (pthread_create(&threads[i], NULL, run, l) != 0) {
            return 1;
        }
    }
    for (int i = 0; i < associations; i++) {
        (void)pthread_join(threads[i], NULL);
        stored += loads[i].stored;
        refused += loads[i].refused;
        broken += loads[i].broken;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &ended);
    (void)printf("%.6f %d %d\n", (double)(ended.tv_sec - begun.tv_sec) + (double)(ended.tv_nsec - begun.tv_nsec) / 1e9, stored, refused);
    SSL_CTX_free(tls);
    return broken > 0;
}
