/*
 * http - requests over libcurl: kept-alive connections, many at one time in one thread, every one with limits. The only file with curl.
 *
 * http_begin() starts, http_step() moves all on and calls done() of those that ended, http_poll() waits. HTTP/1.1, no redirects, no "Expect:",
 * path as it is, TCP_NODELAY, no signals; proxies by the usual environment variables (http_proxy, https_proxy, no_proxy).
 * A body comes from memory or from a file descriptor by pread, with some bytes of memory before and after it if wanted; a repeat after a stale connection
 * reads it again from the start.
 * An answer is kept up to response_max bytes; a longer one is an error, or is cut if cut_is_fine.
 */
#ifndef STORESCP_AWS_HTTP_H
#define STORESCP_AWS_HTTP_H

#include "common/runtime/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http;

struct http_limits {
    const char *ca_bundle; /* file or "" */
    const char *client_certificate, *client_key, *client_key_password; /* files, PEM, and its password; NULL or "": none */
    long connections;      /* at one time, and kept */
    long connect_ms;
    long stall_s; /* a transfer without a byte for this long ends */
};

struct http_request {
    const char *method, *url;
    const char *const *headers; /* "Name: value" */
    size_t header_count;
    const void *body; /* borrowed until done(); NULL: no body or body_fd */
    size_t body_bytes;
    int body_fd; /* -1: none */
    int64_t body_fd_from, body_fd_bytes;
    const void *before, *after; /* sent before and after the file's bytes; borrowed until done() */
    size_t before_bytes, after_bytes;
    bool no_repeat; /* never sent twice by this layer: body_fd of a request that the other side may count */
    size_t response_max;
    bool cut_is_fine;
    bool fresh_connection;
    bool direct; /* past any proxy: addresses that mean this machine */
    int64_t total_ms;
};

struct http_response {
    int rc; /* 0: an answer came, whatever its status; ERR_NETWORK, ERR_TIMEOUT, ERR_TOO_LARGE, ERR_CONFIG (TLS), ERR_SPOOL_DAMAGED (body_fd ended early) */
    struct err why;
    long status;
    char *body; /* ends in a NUL beyond body_bytes; done() may take it by setting this to NULL */
    size_t body_bytes;
    bool was_cut;
    bool out_of_time;      /* rc is ERR_TIMEOUT or ERR_NETWORK because a time limit of ours has passed */
    bool stale_connection; /* rc is ERR_NETWORK because a kept connection had died: worth one repeat at once */
    int64_t date_ms;       /* of the Date header, 0 if none or an Age header stands beside it */
    int64_t took_ms;
    char peer[80]; /* address and port that answered (a proxy's, if one was used), "" if none did */
    const char *header_block; /* for http_header() */
};
typedef void (*http_done)(void *ctx, struct http_response *response);

/* After exec, once; ERR_MEMORY, ERR_CONFIG (the CA bundle cannot be read). */
int http_open(struct http **out, const struct http_limits *limits, struct err *e);
/* The same, beside another one: both share connections and waiting, and moving on either moves on both. other NULL: as http_open(). */
int http_open_beside(struct http **out, const struct http_limits *limits, struct http *other, struct err *e);
/* Ends what is under way without done(). */
void http_close(struct http **h);
int http_begin(struct http *h, const struct http_request *request, http_done done, void *ctx, struct err *e);
/* Moves on and delivers. Returns how many are under way. done() may begin others. */
int http_step(struct http *h);
/* Waits for traffic, an extra fd, or wait_ms. True if an extra fd is readable. */
bool http_poll(struct http *h, int wait_ms, const int *extra_fds, size_t extra_count);
/* A header of the answer by its lower-case name into buffer ("" if it is not there); false if absent or too long. */
bool http_header(const struct http_response *response, const char *name, char *buffer, size_t size);

#endif
