/* http - see http.h. */
#include "common/aws/request/http.h"
#include "common/runtime/runtime.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { HEADERS_MAX = 16384, SPARE_MAX = 64, EXTRA_MAX = 8, UPLOAD_BUFFER = 256 * 1024 };

struct transfer {
    struct http *http;
    struct transfer *previous, *next;
    CURL *easy;
    struct curl_slist *headers;
    http_done done;
    void *ctx;
    /* what is sent */
    int fd;
    int64_t fd_from, fd_bytes;
    const char *before, *after;
    int64_t before_bytes, after_bytes, at; /* at counts from the first byte of the body */
    bool fd_short;
    int fd_errno;
    /* what came */
    char *body;
    size_t used, room, maximum;
    bool cut_is_fine, was_cut, too_large, no_memory;
    char head[HEADERS_MAX];
    size_t head_used;
    int64_t began_ms;
    char origin[112]; /* scheme and host, for error texts */
};

/* What those share that were opened beside each other. */
struct http_pool {
    CURLM *multi;
    int users;
    long connections; /* of all users */
};

struct http {
    struct http_pool *pool;
    CURLM *multi; /* the pool's */
    struct http_limits limits;
    char ca_bundle[1001], client_certificate[1001], client_key[1001], client_key_password[257];
    struct transfer *first;
    int busy;
    CURL *spare[SPARE_MAX];
    size_t spare_count;
};

/* ---- what libcurl calls --------------------------------------------------------------------------------------------------- */

static size_t on_body(char *bytes, size_t one, size_t count, void *ctx)
{
    struct transfer *t = ctx;
    size_t length = one * count;
    size_t take = length;
    if (t->used + take > t->maximum) {
        take = t->maximum - t->used;
        t->was_cut = t->cut_is_fine;
        t->too_large = !t->cut_is_fine;
    }
    if (t->used + take + 1 > t->room) {
        size_t room = (t->used + take + 1) * 2;
        room = room > t->maximum + 1 ? t->maximum + 1 : room;
        char *grown = realloc(t->body, room);
        if (!grown) {
            t->no_memory = true;
            return 0;
        }
        t->body = grown;
        t->room = room;
    }
    memcpy(t->body + t->used, bytes, take);
    t->used += take;
    t->body[t->used] = '\0';
    return take == length ? length : 0;
}

static size_t on_header(char *bytes, size_t one, size_t count, void *ctx)
{
    struct transfer *t = ctx;
    size_t length = one * count;
    if (length >= 5 && strncmp(bytes, "HTTP/", 5) == 0) { /* "100 Continue" or a proxy's answer came before: only the last head counts */
        t->head_used = 0;
    }
    if (t->head_used + length + 1 > sizeof t->head) {
        return 0;
    }
    memcpy(t->head + t->head_used, bytes, length);
    t->head_used += length;
    t->head[t->head_used] = '\0';
    return length;
}

static size_t read_memory(const char *from, int64_t bytes, int64_t at, char *buffer, size_t want)
{
    size_t take = (int64_t)want < bytes - at ? want : (size_t)(bytes - at);
    memcpy(buffer, from + at, take);
    return take;
}

static size_t on_read(char *buffer, size_t one, size_t count, void *ctx)
{
    struct transfer *t = ctx;
    const int64_t file_end = t->before_bytes + t->fd_bytes;
    size_t want = one * count;
    ssize_t n = 0;
    if (t->at < t->before_bytes) {
        n = (ssize_t)read_memory(t->before, t->before_bytes, t->at, buffer, want);
    } else if (t->at < file_end) {
        want = (int64_t)want < file_end - t->at ? want : (size_t)(file_end - t->at);
        do {
            n = pread(t->fd, buffer, want, t->fd_from + t->at - t->before_bytes);
        } while (n == -1 && errno == EINTR);
        if (n <= 0) {
            t->fd_errno = n == -1 ? errno : 0;
            t->fd_short = n == 0;
            return CURL_READFUNC_ABORT;
        }
    } else if (t->at < file_end + t->after_bytes) {
        n = (ssize_t)read_memory(t->after, t->after_bytes, t->at - file_end, buffer, want);
    }
    t->at += n;
    return (size_t)n;
}

/* libcurl repeats a request of its own accord when a kept connection turns out to be dead. */
static int on_seek(void *ctx, curl_off_t offset, int origin)
{
    struct transfer *t = ctx;
    if (origin != SEEK_SET || offset < 0 || offset > t->before_bytes + t->fd_bytes + t->after_bytes) {
        return CURL_SEEKFUNC_FAIL;
    }
    t->at = offset;
    return CURL_SEEKFUNC_OK;
}

/* A request that must not be sent twice: without a way back libcurl ends with CURLE_SEND_FAIL_REWIND instead. */
static int on_seek_refused(void *ctx, curl_off_t offset, int origin)
{
    (void)ctx, (void)offset, (void)origin;
    return CURL_SEEKFUNC_FAIL;
}

/* ---- open, close ------------------------------------------------------------------------------------------------------------ */

static void keep_text(char *to, size_t size, const char *from)
{
    (void)snprintf(to, size, "%s", from ? from : "");
}

static void keep_certificate(struct http *h, const struct http_limits *limits)
{
    keep_text(h->client_certificate, sizeof h->client_certificate, limits->client_certificate);
    keep_text(h->client_key, sizeof h->client_key, limits->client_key);
    keep_text(h->client_key_password, sizeof h->client_key_password, limits->client_key_password);
}

static struct http_pool *pool_take(struct http *other)
{
    struct http_pool *pool = other ? other->pool : calloc(1, sizeof *pool);
    if (pool && !other && (pool->multi = curl_multi_init()) == NULL) {
        free(pool);
        return NULL;
    }
    if (pool) {
        pool->users++;
    }
    return pool;
}

static void pool_limit(struct http_pool *pool, long change)
{
    pool->connections += change;
    (void)curl_multi_setopt(pool->multi, CURLMOPT_MAXCONNECTS, pool->connections);
    (void)curl_multi_setopt(pool->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, pool->connections);
}

static void pool_give(struct http_pool *pool)
{
    if (--pool->users == 0) {
        (void)curl_multi_cleanup(pool->multi);
        free(pool);
    }
}

int http_open(struct http **out, const struct http_limits *limits, struct err *e)
{
    return http_open_beside(out, limits, NULL, e);
}

int http_open_beside(struct http **out, const struct http_limits *limits, struct http *other, struct err *e)
{
    const char *files[] = {limits->client_certificate, limits->client_key};
    for (size_t i = 0; i < 2; i++) {
        if (files[i] && files[i][0] && access(files[i], R_OK) == -1) {
            return err_set(e, ERR_CONFIG, errno, "client %s: %.200s", i == 0 ? "certificate" : "key", files[i]);
        }
    }
    if (limits->ca_bundle[0] && access(limits->ca_bundle, R_OK) == -1) {
        return err_set(e, ERR_CONFIG, errno, "ca_bundle: %.200s", limits->ca_bundle);
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return err_set(e, ERR_MEMORY, 0, "libcurl does not start");
    }
    struct http *h = calloc(1, sizeof *h);
    struct http_pool *pool = h ? pool_take(other) : NULL;
    if (!pool) {
        free(h);
        curl_global_cleanup();
        return err_set(e, ERR_MEMORY, 0, "libcurl does not start");
    }
    h->pool = pool;
    h->multi = pool->multi;
    h->limits = *limits;
    (void)snprintf(h->ca_bundle, sizeof h->ca_bundle, "%s", limits->ca_bundle);
    h->limits.ca_bundle = h->ca_bundle;
    keep_certificate(h, limits);
    pool_limit(pool, limits->connections);
    (void)curl_multi_setopt(h->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
    *out = h;
    return 0;
}

static void transfer_free(struct transfer *t)
{
    struct http *h = t->http;
    (void)curl_multi_remove_handle(h->multi, t->easy);
    if (h->spare_count < SPARE_MAX) {
        curl_easy_reset(t->easy);
        h->spare[h->spare_count++] = t->easy;
    } else {
        curl_easy_cleanup(t->easy);
    }
    curl_slist_free_all(t->headers);
    if (t->previous) {
        t->previous->next = t->next;
    } else {
        h->first = t->next;
    }
    if (t->next) {
        t->next->previous = t->previous;
    }
    h->busy--;
    free(t->body);
    free(t);
}

void http_close(struct http **h)
{
    if (!h || !*h) {
        return;
    }
    while ((*h)->first) {
        transfer_free((*h)->first);
    }
    for (size_t i = 0; i < (*h)->spare_count; i++) {
        curl_easy_cleanup((*h)->spare[i]);
    }
    pool_limit((*h)->pool, -(*h)->limits.connections);
    pool_give((*h)->pool);
    curl_global_cleanup();
    explicit_bzero((*h)->client_key_password, sizeof (*h)->client_key_password);
    free(*h);
    *h = NULL;
}

/* ---- begin ------------------------------------------------------------------------------------------------------------------ */

static int add_headers(struct transfer *t, const struct http_request *q)
{
    static const char *const never[] = {"Expect:", "Accept:"};
    for (size_t i = 0; i < q->header_count + 2; i++) {
        struct curl_slist *longer = curl_slist_append(t->headers, i < q->header_count ? q->headers[i] : never[i - q->header_count]);
        if (!longer) {
            return ERR_MEMORY;
        }
        t->headers = longer;
    }
    return 0;
}

static void set_body(struct transfer *t, const struct http_request *q)
{
    CURL *c = t->easy;
    if (q->body_fd >= 0) {
        (void)curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
        (void)curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)(t->before_bytes + t->fd_bytes + t->after_bytes));
        (void)curl_easy_setopt(c, CURLOPT_READFUNCTION, on_read);
        (void)curl_easy_setopt(c, CURLOPT_READDATA, t);
        (void)curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, q->no_repeat ? on_seek_refused : on_seek);
        (void)curl_easy_setopt(c, CURLOPT_SEEKDATA, t);
        (void)curl_easy_setopt(c, CURLOPT_UPLOAD_BUFFERSIZE, (long)UPLOAD_BUFFER);
    } else if (q->body || strcmp(q->method, "POST") == 0) {
        (void)curl_easy_setopt(c, CURLOPT_POST, 1L);
        (void)curl_easy_setopt(c, CURLOPT_POSTFIELDS, q->body ? q->body : "");
        (void)curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body_bytes);
    } else if (strcmp(q->method, "HEAD") == 0) {
        (void)curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    }
    if (strcmp(q->method, "HEAD") != 0) {
        (void)curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, q->method);
    }
}

static void set_rules(struct transfer *t, const struct http_request *q)
{
    CURL *c = t->easy;
    const struct http_limits *limits = &t->http->limits;
    (void)curl_easy_setopt(c, CURLOPT_URL, q->url);
    (void)curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    (void)curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(c, CURLOPT_TCP_NODELAY, 1L);
    (void)curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    (void)curl_easy_setopt(c, CURLOPT_USERAGENT, "storescp/" STORESCP_VERSION);
    (void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, t->headers);
    (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    (void)curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    (void)curl_easy_setopt(c, CURLOPT_PRIVATE, t);
    (void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, limits->connect_ms);
    (void)curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)q->total_ms);
    (void)curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, limits->stall_s);
    (void)curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, q->fresh_connection ? 1L : 0L);
    if (q->direct) {
        (void)curl_easy_setopt(c, CURLOPT_PROXY, "");
    }
    if (limits->ca_bundle[0]) {
        (void)curl_easy_setopt(c, CURLOPT_CAINFO, limits->ca_bundle);
    }
    if (t->http->client_certificate[0]) {
        (void)curl_easy_setopt(c, CURLOPT_SSLCERT, t->http->client_certificate);
        (void)curl_easy_setopt(c, CURLOPT_SSLKEY, t->http->client_key[0] ? t->http->client_key : t->http->client_certificate);
        if (t->http->client_key_password[0]) {
            (void)curl_easy_setopt(c, CURLOPT_KEYPASSWD, t->http->client_key_password);
        }
    }
}

int http_begin(struct http *h, const struct http_request *q, http_done done, void *ctx, struct err *e)
{
    struct transfer *t = calloc(1, sizeof *t);
    CURL *easy = !t ? NULL : h->spare_count > 0 ? h->spare[--h->spare_count] : curl_easy_init();
    if (!easy) {
        free(t);
        return err_set(e, ERR_MEMORY, 0, "no memory for a request");
    }
    t->http = h;
    t->easy = easy;
    t->done = done;
    t->ctx = ctx;
    t->fd = q->body_fd;
    t->fd_from = q->body_fd_from;
    t->fd_bytes = q->body_fd_bytes;
    t->before = q->before;
    t->before_bytes = (int64_t)q->before_bytes;
    t->after = q->after;
    t->after_bytes = (int64_t)q->after_bytes;
    t->maximum = q->response_max;
    t->cut_is_fine = q->cut_is_fine;
    t->began_ms = clock_mono_ms();
    size_t scheme = strcspn(q->url, ":") + 3;
    (void)snprintf(t->origin, sizeof t->origin, "%.*s", (int)(scheme + (scheme < strlen(q->url) ? strcspn(q->url + scheme, "/") : 0)), q->url);
    int rc = add_headers(t, q);
    if (rc == 0) {
        set_rules(t, q);
        set_body(t, q);
        rc = curl_multi_add_handle(h->multi, easy) == CURLM_OK ? 0 : ERR_MEMORY;
    }
    if (rc != 0) {
        curl_slist_free_all(t->headers);
        curl_easy_cleanup(easy);
        free(t);
        return err_set(e, rc, 0, "no memory for a request");
    }
    t->next = h->first;
    if (t->next) {
        t->next->previous = t;
    }
    h->first = t;
    h->busy++;
    return 0;
}

/* ---- the end of a transfer ----------------------------------------------------------------------------------------------------- */

static int network_error(struct transfer *t, CURLcode code, struct http_response *r)
{
    long fresh = 1;
    double connected = 0;
    (void)curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &fresh);
    (void)curl_easy_getinfo(t->easy, CURLINFO_CONNECT_TIME, &connected);
    const char *what = curl_easy_strerror(code);
    switch (code) {
    case CURLE_ABORTED_BY_CALLBACK:
        return t->fd_short ? err_set(&r->why, ERR_SPOOL_DAMAGED, 0, "the file is shorter than was received")
                           : err_set(&r->why, ERR_IO, t->fd_errno, "read of the file to send");
    case CURLE_OUT_OF_MEMORY:
        return err_set(&r->why, ERR_MEMORY, 0, "libcurl: %s", what);
    case CURLE_OPERATION_TIMEDOUT:
        r->out_of_time = true;
        return connected > 0 || fresh == 0 ? err_set(&r->why, ERR_TIMEOUT, 0, "%s: no progress within the time limit", t->origin)
                             : err_set(&r->why, ERR_NETWORK, 0, "%s: no connection within the time limit", t->origin);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        return err_set(&r->why, ERR_CONFIG, 0, "%s: its certificate cannot be trusted (%s): set ca_bundle, or correct the endpoint",
                       t->origin, what);
    case CURLE_SEND_FAIL_REWIND: /* of a request that is not to be sent twice */
        return err_set(&r->why, ERR_NETWORK, 0, "%s: the connection ended without an answer", t->origin);
    case CURLE_SSL_CERTPROBLEM:
        return err_set(&r->why, ERR_CONFIG, 0, "%s: our client certificate or its key cannot be used (%s)", t->origin, what);
    case CURLE_UNSUPPORTED_PROTOCOL:
        if (connected > 0 || fresh == 0) { /* it was asked, and what it said has no head */
            return err_set(&r->why, ERR_NETWORK, 0, "%s: the answer is no HTTP: does another service listen there?", t->origin);
        }
        return err_set(&r->why, ERR_CONFIG, 0, "%s: %s", t->origin, what);
    case CURLE_URL_MALFORMAT:
        return err_set(&r->why, ERR_CONFIG, 0, "%s: %s", t->origin, what);
    default:
        r->stale_connection = fresh == 0 && t->head_used == 0 &&
                              (code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING);
        return err_set(&r->why, ERR_NETWORK, 0, "%s: %s", t->origin, what);
    }
}

static void note_peer(struct transfer *t, struct http_response *r)
{
    char *address = NULL;
    long port = 0;
    if (curl_easy_getinfo(t->easy, CURLINFO_PRIMARY_IP, &address) == CURLE_OK && address && address[0] &&
        curl_easy_getinfo(t->easy, CURLINFO_PRIMARY_PORT, &port) == CURLE_OK) {
        bool six = strchr(address, ':') != NULL;
        (void)snprintf(r->peer, sizeof r->peer, "%s%.46s%s port %ld", six ? "[" : "", address, six ? "]" : "", port);
    }
}

static void finish(struct transfer *t, CURLcode code)
{
    struct http_response r = {0};
    char value[80];
    (void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &r.status);
    r.header_block = t->head;
    r.took_ms = clock_mono_ms() - t->began_ms;
    note_peer(t, &r);
    if (t->too_large) {
        r.rc = err_set(&r.why, ERR_TOO_LARGE, 0, "the answer is larger than %zu bytes", t->maximum);
    } else if (t->no_memory) {
        r.rc = err_set(&r.why, ERR_MEMORY, 0, "no memory for an answer");
    } else if (code != CURLE_OK && !(code == CURLE_WRITE_ERROR && t->was_cut)) {
        r.rc = network_error(t, code, &r);
    }
    if (!t->body && (t->body = calloc(1, 1)) == NULL) {
        r.rc = err_set(&r.why, ERR_MEMORY, 0, "no memory for an answer");
    }
    if (http_header(&r, "date", value, sizeof value) && !http_header(&r, "age", NULL, 0)) {
        time_t date = curl_getdate(value, NULL);
        r.date_ms = date > 0 ? (int64_t)date * 1000 : 0;
    }
    r.body = t->body;
    r.body_bytes = t->used;
    r.was_cut = t->was_cut;
    char *taken = r.body;
    t->done(t->ctx, &r);
    if (taken && !r.body) {
        t->body = NULL; /* it is theirs now */
    }
    transfer_free(t);
}

int http_step(struct http *h)
{
    int running = 0;
    int left = 0;
    CURLMsg *message;
    (void)curl_multi_perform(h->multi, &running);
    while ((message = curl_multi_info_read(h->multi, &left)) != NULL) {
        struct transfer *t = NULL;
        if (message->msg == CURLMSG_DONE && curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t) == CURLE_OK && t) {
            finish(t, message->data.result);
        }
    }
    return h->busy;
}

bool http_poll(struct http *h, int wait_ms, const int *extra_fds, size_t extra_count)
{
    struct curl_waitfd fds[EXTRA_MAX];
    unsigned count = 0;
    memset(fds, 0, sizeof fds);
    for (size_t i = 0; i < extra_count && i < EXTRA_MAX; i++) {
        fds[count].fd = extra_fds[i];
        fds[count++].events = CURL_WAIT_POLLIN;
    }
    (void)curl_multi_poll(h->multi, fds, count, wait_ms, NULL);
    bool readable = false;
    for (unsigned i = 0; i < count; i++) {
        readable = readable || fds[i].revents != 0;
    }
    return readable;
}

bool http_header(const struct http_response *r, const char *name, char *buffer, size_t size)
{
    size_t length = strlen(name);
    if (size > 0) {
        buffer[0] = '\0';
    }
    for (const char *line = r->header_block; line && *line;) {
        size_t whole = strcspn(line, "\r\n");
        if (whole > length && strncasecmp(line, name, length) == 0 && line[length] == ':') {
            const char *value = line + length + 1;
            size_t rest = whole - length - 1;
            while (rest > 0 && (*value == ' ' || *value == '\t')) {
                value++;
                rest--;
            }
            while (rest > 0 && (value[rest - 1] == ' ' || value[rest - 1] == '\t')) {
                rest--;
            }
            if (size == 0) {
                return true;
            }
            if (rest >= size) {
                return false;
            }
            memcpy(buffer, value, rest);
            buffer[rest] = '\0';
            return true;
        }
        line += whole;
        line += strspn(line, "\r\n");
    }
    return false;
}
