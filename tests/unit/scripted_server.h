/*
 * scripted_server - a small HTTP server in a thread of the test, on a free port of loopback: gives the answers of a script in the order in which requests
 * arrive, on whatever connection, and keeps the requests for the checks. serve() ... stop_serving(); one at a time.
 */
#ifndef STORESCP_TESTS_SCRIPTED_SERVER_H
#define STORESCP_TESTS_SCRIPTED_SERVER_H

#include <stdint.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <stdbool.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REQUESTS_MAX = 64, CONNECTIONS_MAX = 16, HEAD_MAX = 8192 };
enum action { ANSWER, ANSWER_AND_CLOSE, CLOSE_WITHOUT_ANSWER, SAY_NOTHING };

struct answer {
    enum action action;
    const char *text; /* head without Date and Content-Length, an empty line, the body */
    int date_offset_s;
};

struct server {
    int listener, port;
    pthread_t thread, connections[CONNECTIONS_MAX];
    int sockets[CONNECTIONS_MAX];
    size_t connection_count;
    pthread_mutex_t lock;
    const struct answer *script;
    size_t script_count, request_count;
    char heads[REQUESTS_MAX][HEAD_MAX];
    char bodies[REQUESTS_MAX][600]; /* the beginning */
    long long body_bytes[REQUESTS_MAX];
    bool stopping;
};

static struct server server;
/* ---- the server ---------------------------------------------------------------------------------------------------------------- */

static bool send_all(int s, const char *bytes, size_t count)
{
    while (count > 0) {
        ssize_t n = send(s, bytes, count, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        bytes += n;
        count -= (size_t)n;
    }
    return true;
}

static bool give(int s, const struct answer *a, bool head_only)
{
    char out[8192];
    char date[64];
    time_t now = time(NULL) + a->date_offset_s;
    struct tm parts;
    const char *split = strstr(a->text, "\r\n\r\n");
    assert_non_null(split);
    (void)gmtime_r(&now, &parts);
    (void)strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    bool told = strcasestr(a->text, "content-length:") != NULL;
    int n = snprintf(out, sizeof out, "%.*s\r\nDate: %s\r\n", (int)(split - a->text), a->text, date);
    n += told ? 0 : snprintf(out + n, sizeof out - (size_t)n, "Content-Length: %zu\r\n", strlen(split + 4));
    n += snprintf(out + n, sizeof out - (size_t)n, "\r\n%s", head_only ? "" : split + 4);
    return send_all(s, out, (size_t)n);
}

/* One request: head and the beginning of its body are kept. False when the peer has closed. */
static bool take(int s, char *head, char *body, long long *bytes)
{
    size_t have = 0;
    char *end = NULL;
    while (!end) {
        ssize_t n = have + 1 < HEAD_MAX ? recv(s, head + have, HEAD_MAX - 1 - have, 0) : 0;
        if (n <= 0) {
            return false;
        }
        have += (size_t)n;
        head[have] = '\0';
        end = strstr(head, "\r\n\r\n");
    }
    const char *length = strcasestr(head, "content-length:");
    long long left = length ? atoll(length + 15) : 0;
    size_t early = have - (size_t)(end + 4 - head);
    size_t used = early < 599 ? early : 599;
    *bytes = left;
    memcpy(body, end + 4, used);
    left -= (long long)early;
    *(end + 4) = '\0';
    while (left > 0) {
        char chunk[65536];
        ssize_t n = recv(s, chunk, left > (long long)sizeof chunk ? sizeof chunk : (size_t)left, 0);
        if (n <= 0) {
            return false;
        }
        size_t keep = used + (size_t)n < 599 ? (size_t)n : 599 - used;
        memcpy(body + used, chunk, keep);
        used += keep;
        left -= n;
    }
    body[used] = '\0';
    return true;
}

static void *connection(void *ctx)
{
    int s = (int)(intptr_t)ctx;
    char head[HEAD_MAX];
    char body[600];
    long long bytes;
    while (take(s, head, body, &bytes)) {
        (void)pthread_mutex_lock(&server.lock);
        size_t i = server.request_count < REQUESTS_MAX - 1 ? server.request_count++ : REQUESTS_MAX - 1;
        (void)snprintf(server.heads[i], HEAD_MAX, "%s", head);
        (void)snprintf(server.bodies[i], sizeof server.bodies[i], "%s", body);
        server.body_bytes[i] = bytes;
        const struct answer *a = i < server.script_count ? &server.script[i] : NULL;
        (void)pthread_mutex_unlock(&server.lock);
        if (!a || a->action == CLOSE_WITHOUT_ANSWER) {
            break;
        }
        if (a->action == SAY_NOTHING) {
            continue;
        }
        if (!give(s, a, strncmp(head, "HEAD ", 5) == 0) || a->action == ANSWER_AND_CLOSE) {
            break;
        }
    }
    (void)shutdown(s, SHUT_RDWR);
    return NULL;
}

static void *accept_all(void *unused)
{
    (void)unused;
    for (;;) {
        int s = accept(server.listener, NULL, NULL);
        if (s == -1 || server.stopping || server.connection_count == CONNECTIONS_MAX) {
            if (s != -1) {
                (void)close(s);
            }
            return NULL;
        }
        server.sockets[server.connection_count] = s;
        (void)pthread_create(&server.connections[server.connection_count++], NULL, connection, (void *)(intptr_t)s);
    }
}

static void serve(const struct answer *script, size_t count)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    memset(&server, 0, sizeof server);
    (void)pthread_mutex_init(&server.lock, NULL);
    server.script = script;
    server.script_count = count;
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server.listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(server.listener, 16), 0);
    assert_int_equal(getsockname(server.listener, (struct sockaddr *)&address, &size), 0);
    server.port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&server.thread, NULL, accept_all, NULL), 0);
}

static void stop_serving(void)
{
    server.stopping = true;
    (void)shutdown(server.listener, SHUT_RDWR);
    (void)pthread_join(server.thread, NULL);
    for (size_t i = 0; i < server.connection_count; i++) {
        (void)shutdown(server.sockets[i], SHUT_RDWR);
        (void)pthread_join(server.connections[i], NULL);
        (void)close(server.sockets[i]);
    }
    (void)close(server.listener);
}

#endif
