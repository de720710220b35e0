/* http - see http.h. */
#include "compose/local-aws/http.h"

#include "common/aws/request/sigv4.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "compose/local-aws/auth.h"
#include "compose/local-aws/request.h"
#include "compose/local-aws/upload.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { BODY_MAX = 4 << 20, CONNECTIONS_MAX = 1000, CONNECTION_MEMORY = 256 << 10, IDLE_S = 60, TARGET_MAX = 16 << 10 };

struct http {
    struct MHD_Daemon *daemon;
};

/* ---- a request begins and ends --------------------------------------------------------------------------------------------- */

static void *request_new(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct request *r = calloc(1, sizeof *r);
    if (r) {
        r->app = cls;
        r->connection = connection;
        r->out_fd = -1;
        r->target = strlen(uri) <= TARGET_MAX ? strdup(uri) : NULL;
        text_random_hex(16, r->id);
    }
    return r;
}

static void request_end(void *cls, struct MHD_Connection *connection, void **con_cls, enum MHD_RequestTerminationCode code)
{
    struct request *r = *con_cls;
    (void)cls, (void)connection, (void)code;
    if (!r) {
        return;
    }
    for (size_t i = 0; i < r->header_count; i++) {
        free(r->headers[i].value);
    }
    if (r->out_fd >= 0) {
        (void)close(r->out_fd);
    }
    upload_free(r->upload);
    text_clear(&r->body);
    text_clear(&r->out);
    free(r->key);
    free(r->target);
    free(r);
    *con_cls = NULL;
}

/* Sleeps in small steps: false when the server ends meanwhile. */
static bool wait_ms(const struct request *r, int ms)
{
    for (; ms > 0 && !atomic_load(&r->app->stopping); ms -= 20) {
        (void)usleep((useconds_t)(ms < 20 ? ms : 20) * 1000);
    }
    return !atomic_load(&r->app->stopping);
}

/* Ends the connection as a machine that died would: by a reset. */
static void cut(struct request *r)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct linger now = {1, 0};
    if (info) {
        (void)setsockopt(info->connect_fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    r->cut = true;
}

/* ---- routing ------------------------------------------------------------------------------------------------------------------ */

static bool is_form(const struct request *r)
{
    const char *type = request_header(r, "Content-Type");
    return strcmp(r->method, "POST") == 0 && strcmp(r->path, "/") == 0 && type &&
           strncasecmp(type, "application/x-www-form-urlencoded", 33) == 0;
}

static void route(struct request *r)
{
    static const char *const imaging[] = {"/startDICOMImportJob/", "/getDICOMImportJob/", "/listDICOMImportJobs/"};
    r->service = is_form(r) ? SERVICE_STS : SERVICE_S3;
    for (size_t i = 0; i < sizeof imaging / sizeof imaging[0]; i++) {
        if (strncmp(r->path, imaging[i], strlen(imaging[i])) == 0) {
            r->service = SERVICE_IMAGING;
        }
    }
    const char *target = request_header(r, "X-Amz-Target");
    r->service = target && strncmp(target, "AmazonSQS.", 10) == 0 ? SERVICE_SQS : r->service;
    (void)auth_scope_service(r, &r->service);
    if (strncmp(r->path, "/_local/", 8) == 0) {
        r->service = SERVICE_LOCAL;
    }
    switch (r->service) {
    case SERVICE_S3: r->operation = s3_route(r); break;
    case SERVICE_IMAGING: r->operation = imaging_route(r); break;
    case SERVICE_STS: r->operation = sts_route(r); break;
    case SERVICE_SQS: r->operation = sqs_route(r); break;
    case SERVICE_LOCAL: r->operation = local_route(r); break;
    }
}

/* What was ordered to go wrong before the operation. */
static void apply_faults(struct request *r)
{
    const struct fault_effect *f = &r->effect;
    if (f->delay_ms > 0) {
        (void)wait_ms(r, f->delay_ms);
    }
    if (f->hang_ms > 0 || f->reset) {
        (void)wait_ms(r, f->hang_ms);
        cut(r);
    } else if (f->expired_token) {
        auth_refuse_expired(r);
    } else if (f->status != 0) {
        answer_refuse(r, f->status, f->code, "%s", f->message);
    } else if (f->strange_answer) {
        r->status = 200;
        answer_header(r, "Content-Type", "text/html");
        text_add(&r->out, "<!DOCTYPE html><html><head><title>Welcome</title></head><body>Please accept the terms of use.");
        for (int i = 0; i < 16 * f->strange_kib; i++) {
            text_add(&r->out, "They are long, and nobody reads them: forty words and some more.");
        }
        text_add(&r->out, "</body></html>\n");
    }
}

/* The head is there. */
static void begin(struct request *r, const char *method)
{
    (void)snprintf(r->method, sizeof r->method, "%s", method);
    if (!r->target) {
        r->target = strdup("/");
    }
    if (!r->target) {
        cut(r);
        return;
    }
    r->path = r->target;
    r->query = strchr(r->target, '?');
    if (r->query) {
        *r->query++ = '\0';
    } else {
        r->query = r->target + strlen(r->target);
    }
    route(r);
    if (!r->operation || r->service == SERVICE_LOCAL || r->service == SERVICE_STS) {
        return;
    }
    faults_match(r->app->faults, r->operation->name, r->key ? r->key : "", &r->effect);
    apply_faults(r);
    if (r->cut || r->status != 0 || (r->service != SERVICE_S3 && !r->operation->streams)) {
        return;
    }
    const char *hash = request_header(r, "x-amz-content-sha256");
    if (request_header(r, "Authorization") && !hash) {
        answer_refuse(r, 400, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256");
    } else if (auth_check(r, hash ? hash : "") && r->operation->streams) {
        upload_begin(r);
    }
}

static void take_body(struct request *r, const char *bytes, size_t count)
{
    if (r->status != 0) {
        return; /* refused: the rest is read and dropped */
    }
    if (r->upload) {
        upload_feed(r, bytes, count);
    } else if (r->body.used + count > BODY_MAX) {
        answer_refuse(r, 413, r->service == SERVICE_IMAGING ? "RequestEntityTooLargeException" : "EntityTooLarge",
                      "the body of this operation is limited to %d bytes", BODY_MAX);
    } else {
        text_add_bytes(&r->body, bytes, count);
    }
}

/* A body in memory must have the hash that was signed. */
static bool body_is_signed(struct request *r)
{
    char hash[65];
    const char *body = r->body.bytes ? r->body.bytes : "";
    sigv4_sha256_hex(body, r->body.used, hash);
    if (r->service == SERVICE_IMAGING || r->service == SERVICE_STS || r->service == SERVICE_SQS) {
        return r->operation->unsigned_ || auth_check(r, hash);
    }
    const char *said = request_header(r, "x-amz-content-sha256");
    if (r->service == SERVICE_S3 && said && strlen(said) == 64 && !auth_same(said, hash)) {
        answer_refuse(r, 400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.");
        return false;
    }
    return true;
}

/* Which STS call a form asks for is only known with its body. */
static void run(struct request *r)
{
    r->body_is_there = true;
    if (r->service == SERVICE_STS && !(r->operation = sts_route(r))) {
        return;
    }
    if (r->service == SERVICE_STS) {
        faults_match(r->app->faults, r->operation->name, "", &r->effect);
        apply_faults(r);
    }
    if (!r->cut && r->status == 0 && (r->upload || body_is_signed(r))) {
        r->operation->run(r);
    }
    if (r->effect.reset_after) {
        cut(r);
    }
}

/* ---- the answer goes out --------------------------------------------------------------------------------------------------------- */

/* A body that comes in pieces with pauses, or breaks off in the middle: a copy, because the request may end first. */
struct drip {
    int pause_ms; /* before each piece */
    size_t piece, cut_at;
    char content[];
};
enum { DRIPS = 10, CUT_LEAST = 64 };

static ssize_t drip_read(void *cls, uint64_t position, char *buffer, size_t most)
{
    struct drip *d = cls;
    if (position >= d->cut_at) {
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    size_t count = d->cut_at - (size_t)position;
    count = count < d->piece ? count : d->piece;
    count = count < most ? count : most;
    (void)usleep((useconds_t)d->pause_ms * 1000);
    memcpy(buffer, d->content + position, count);
    return (ssize_t)count;
}

/* NULL: no memory, or the file cannot be read. */
static struct MHD_Response *make_drip(struct request *r)
{
    size_t bytes = r->out_fd >= 0 ? (size_t)r->out_bytes : r->out.used;
    size_t promised = r->effect.cut_answer && bytes < CUT_LEAST ? CUT_LEAST : bytes;
    struct drip *d = calloc(1, sizeof *d + promised + 1);
    if (!d || (r->out_fd >= 0 && pread(r->out_fd, d->content, bytes, (off_t)r->out_from) != (ssize_t)bytes)) {
        free(d);
        return NULL;
    }
    if (r->out_fd < 0 && bytes > 0) {
        memcpy(d->content, r->out.bytes, bytes);
    }
    d->cut_at = r->effect.cut_answer ? bytes / 2 : promised;
    d->piece = bytes / DRIPS + 1;
    d->pause_ms = r->effect.slow_ms / DRIPS;
    struct MHD_Response *response = MHD_create_response_from_callback(promised, d->piece, drip_read, d, free);
    if (!response) {
        free(d);
    }
    return response;
}

static enum MHD_Result send_answer(struct request *r)
{
    struct MHD_Response *response;
    if (r->effect.cut_answer || r->effect.slow_ms > 0) {
        response = make_drip(r);
    } else if (r->out_fd >= 0 && r->status < 400) {
        response = MHD_create_response_from_fd_at_offset64((uint64_t)r->out_bytes, r->out_fd, (uint64_t)r->out_from);
        r->out_fd = -1; /* closed with the response */
    } else {
        response = MHD_create_response_from_buffer(r->out.used, r->out.bytes ? r->out.bytes : "", MHD_RESPMEM_MUST_COPY);
    }
    if (!response) {
        return MHD_NO;
    }
    for (size_t i = 0; i < r->header_count; i++) {
        (void)MHD_add_response_header(response, r->headers[i].name, r->headers[i].value);
    }
    (void)MHD_add_response_header(response, r->service == SERVICE_S3 ? "x-amz-request-id" : "x-amzn-requestid", r->id);
    if (r->service == SERVICE_S3) {
        (void)MHD_add_response_header(response, "x-amz-id-2", "local");
        (void)MHD_add_response_header(response, "Server", "storescp-local-aws");
    }
    if (r->effect.has_skew) {
        char date[32];
        text_time_http(clock_wall_ms() + (int64_t)r->effect.clock_skew_s * 1000, date);
        (void)MHD_add_response_header(response, "Date", date);
    }
    enum MHD_Result ok = MHD_queue_response(r->connection, r->status ? r->status : 500, response);
    MHD_destroy_response(response);
    return ok;
}

static enum MHD_Result handle(void *cls, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                              const char *bytes, size_t *count, void **con_cls)
{
    struct request *r = *con_cls;
    (void)cls, (void)connection, (void)url, (void)version;
    if (!r) {
        return MHD_NO;
    }
    if (!r->begun) {
        r->begun = true;
        begin(r, method);
        const char *expect = request_header(r, "Expect");
        if (!r->cut && r->status != 0 && expect && strcasecmp(expect, "100-continue") == 0) {
            return send_answer(r);
        }
        return r->cut ? MHD_NO : MHD_YES;
    }
    if (*count > 0) {
        take_body(r, bytes, *count);
        *count = 0;
        return MHD_YES;
    }
    if (r->status == 0) {
        run(r);
    }
    return r->cut ? MHD_NO : send_answer(r);
}

/* Paths and names stay as they came on the line: signatures are made over them. */
static size_t keep_escapes(void *cls, struct MHD_Connection *connection, char *text)
{
    (void)cls, (void)connection;
    return strlen(text);
}

/* ---- start and stop ---------------------------------------------------------------------------------------------------------------- */

int http_start(struct http **out, struct standin *app, struct err *e)
{
    char port[16];
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    const struct options *o = &app->options;
    (void)snprintf(port, sizeof port, "%d", o->port);
    if (getaddrinfo(o->address, port, &hints, &found) != 0) {
        return err_set(e, ERR_CONFIG, 0, "--address %s is no IP address", o->address);
    }
    struct http *h = calloc(1, sizeof *h);
    int rc = h ? 0 : err_set(e, ERR_MEMORY, 0, "no memory for the server");
    if (rc == 0) {
        unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL |
                         (found->ai_family == AF_INET6 ? MHD_USE_DUAL_STACK : 0);
        h->daemon = MHD_start_daemon(flags, (uint16_t)o->port, NULL, NULL, handle, app, MHD_OPTION_SOCK_ADDR, found->ai_addr,
                                     MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                     (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
                                     MHD_OPTION_URI_LOG_CALLBACK, request_new, app, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
                                     MHD_OPTION_NOTIFY_COMPLETED, request_end, NULL, MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u, MHD_OPTION_END);
        if (!h->daemon) {
            rc = err_set(e, ERR_CONFIG, errno, "cannot listen on %s port %d: choose another with --address and --port", o->address, o->port);
            free(h);
            h = NULL;
        }
    }
    freeaddrinfo(found);
    if (rc == 0) {
        *out = h;
    }
    return rc;
}

void http_stop(struct http *h)
{
    if (h) {
        MHD_stop_daemon(h->daemon);
        free(h);
    }
}
