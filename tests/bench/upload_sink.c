/*
 * upload_sink - the S3 server of tests/bench/upload that costs as little as it can, so that the clients are measured and not the server: it takes every
 * object, drops its bytes inside the kernel, and answers as S3 would. It checks nothing and keeps nothing.
 *
 *   upload_sink PORT_FILE          listens on a free port of 127.0.0.1, writes its number to PORT_FILE, ends with SIGTERM
 *
 * PutObject and UploadPart: 200; the ETag is the Content-MD5 of the request where there is one (rclone compares it), the CRC-32C is the one sent.
 * CreateMultipartUpload, CompleteMultipartUpload: what the request needs to go on. Listings are empty, HEAD and GET of an object: 404. One thread for
 * each connection. Prints "<objects> <bytes>" at its end.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_MAX = 32 << 10, DROP_AT_ONCE = 4 << 20 };

static atomic_llong objects, total_bytes;

struct link {
    int fd;
    size_t used; /* bytes in head: a request's head and the beginning of its body */
    char head[HEAD_MAX + 1];
};

static bool send_all(int fd, const char *bytes, size_t count)
{
    while (count > 0) {
        ssize_t n = send(fd, bytes, count, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        bytes += n;
        count -= (size_t)n;
    }
    return true;
}

/* The value of a header line in head[0..end), cut to size; false: not there. */
static bool header_of(const char *head, const char *name, char *out, size_t size)
{
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, length) == 0 && line[2 + length] == ':') {
            const char *value = line + 3 + length;
            value += strspn(value, " ");
            (void)snprintf(out, size, "%.*s", (int)strcspn(value, "\r"), value);
            return true;
        }
    }
    return false;
}

/* Base64 of an MD5 -> hex; anything else gives zeros. */
static void etag_of(const char *md5, char out[33])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned bits = 0;
    unsigned kept = 0;
    int n = 0;
    for (; *md5 && *md5 != '=' && n < 16; md5++) {
        const char *at = strchr(letters, *md5);
        bits = bits << 6 | (unsigned)(at ? at - letters : 0);
        kept += 6;
        if (kept >= 8) {
            kept -= 8;
            (void)snprintf(out + 2 * n, 3, "%02x", bits >> kept & 255);
            n++;
        }
    }
    for (; n < 16; n++) {
        (void)snprintf(out + 2 * n, 3, "00");
    }
}

static bool drop_body(struct link *l, size_t head_bytes, long long body_bytes)
{
    size_t there = l->used - head_bytes;
    if ((long long)there > body_bytes) { /* the next request's beginning: no client here sends one before our answer */
        return false;
    }
    long long left = body_bytes - (long long)there;
    l->used = 0;
    while (left > 0) {
        ssize_t n = recv(l->fd, NULL, (size_t)(left < DROP_AT_ONCE ? left : DROP_AT_ONCE), MSG_TRUNC);
        if (n <= 0) {
            return false;
        }
        left -= n;
    }
    return true;
}

/* The answer to a request whose head is in l->head; sent when its body is gone. */
static bool answer(struct link *l, size_t head_bytes)
{
    char method[16] = "";
    char target[2048] = "";
    char text[64] = "0";
    char md5[64] = "";
    char crc[32] = "";
    char etag[33];
    char body[600] = "";
    char out[1400];
    int status = 200;
    (void)sscanf(l->head, "%15s %2047s", method, target);
    (void)header_of(l->head, "content-length", text, sizeof text);
    (void)header_of(l->head, "content-md5", md5, sizeof md5);
    bool has_crc = header_of(l->head, "x-amz-checksum-crc32c", crc, sizeof crc);
    long long bytes = atoll(text);
    if (header_of(l->head, "expect", text, sizeof text) && !send_all(l->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25)) {
        return false;
    }
    etag_of(md5, etag);
    bool put = strcmp(method, "PUT") == 0;
    bool post = strcmp(method, "POST") == 0;
    if (post && strstr(target, "?uploads")) {
        (void)snprintf(body, sizeof body, "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>sink</UploadId></InitiateMultipartUploadResult>");
    } else if (post) {
        (void)snprintf(body, sizeof body, "<CompleteMultipartUploadResult><Location>l</Location><Bucket>b</Bucket><Key>k</Key><ETag>&quot;%s-1&quot;</ETag>"
                       "</CompleteMultipartUploadResult>", etag);
    } else if (strcmp(method, "GET") == 0 && strstr(target, "list-type")) {
        (void)snprintf(body, sizeof body, "<ListBucketResult><Name>b</Name><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>");
    } else if (!put) {
        status = strcmp(method, "DELETE") == 0 ? 204 : 404;
    }
    if (!drop_body(l, head_bytes, bytes)) {
        return false;
    }
    if (put && bytes > 0) {
        (void)atomic_fetch_add(&objects, 1);
        (void)atomic_fetch_add(&total_bytes, bytes);
    }
    int n = snprintf(out, sizeof out, "HTTP/1.1 %d %s\r\nContent-Length: %zu\r\nContent-Type: application/xml\r\nx-amz-request-id: sink\r\nETag: \"%s\"\r\n%s%s%s\r\n%s", status,
                     status == 200 ? "OK" : "Other", strlen(body), etag, has_crc ? "x-amz-checksum-crc32c: " : "", crc, has_crc ? "\r\n" : "", body);
    return send_all(l->fd, out, (size_t)n);
}

static void *serve(void *arg)
{
    struct link *l = arg;
    int on = 1;
    (void)setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    for (;;) {
        l->head[l->used] = '\0';
        char *end = strstr(l->head, "\r\n\r\n");
        if (end) {
            if (!answer(l, (size_t)(end + 4 - l->head))) {
                break;
            }
            continue;
        }
        ssize_t n = l->used < HEAD_MAX ? recv(l->fd, l->head + l->used, HEAD_MAX - l->used, 0) : 0;
        if (n <= 0) {
            break;
        }
        l->used += (size_t)n;
    }
    (void)close(l->fd);
    free(l);
    return NULL;
}

static void stop(int number)
{
    char text[64];
    (void)number;
    int n = snprintf(text, sizeof text, "%lld %lld\n", atomic_load(&objects), atomic_load(&total_bytes));
    (void)!write(1, text, (size_t)n);
    _exit(0);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    FILE *f = argc == 2 ? fopen(argv[1], "w") : NULL;
    if (!f || listener == -1 || bind(listener, (struct sockaddr *)&address, sizeof address) == -1 || listen(listener, 256) == -1 ||
        getsockname(listener, (struct sockaddr *)&address, &size) == -1) {
        (void)fprintf(stderr, "usage: upload_sink PORT_FILE; or no port is free\n");
        return 1;
    }
    (void)signal(SIGTERM, stop);
    (void)fprintf(f, "%d\n", ntohs(address.sin_port));
    (void)fclose(f);
    for (;;) {
        pthread_t thread;
        struct link *l = calloc(1, sizeof *l);
        if (!l || (l->fd = accept(listener, NULL, NULL)) == -1 || pthread_create(&thread, NULL, serve, l) != 0) {
            free(l);
            return 1;
        }
        (void)pthread_detach(thread);
    }
}
