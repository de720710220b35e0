/*
 * client - see client.h. A call is signed with the server's time as last seen, sent, and its answer mapped by errors.h. Three errors are tried once
 * more at once, each for its own reason, and never twice: a kept connection that had died (the request did not arrive), a clock that was off
 * (the Date header of the refusal corrects it; 240 s is far beyond delays and far below what AWS allows), credentials that were refused while newer ones wait.
 * What else passes by itself (the network, 5xx, throttling) is tried again after a short wait, a few times and as far as the bucket of retry.h allows, with
 * a body from its beginning; while a call waits, all others go on. Of calls that must not be done twice (no_repeat) only those that were throttled.
 * A call that finds no credentials because they are being fetched is held, not refused: aws_client_run() sends it when they are there, and moves all
 * others on meanwhile. It is held once, for as long as one fetch takes; how it ended is then its own end.
 */
#include "common/aws/client.h"
#include "common/aws/credentials/credentials.h"
#include "common/aws/bodies.h"
#include "common/aws/request/errors.h"
#include "common/aws/internal.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CLOCK_NOISE_MS = 3000, AGE_MAX_MS = 900000, WAIT_SLICE_MS = 1000, FETCH_SLICE_MS = 10 };
enum { SLOW_BYTES_PER_MS = 64 };

struct in_flight {
    struct aws_client *client;
    struct aws_call *call;
    aws_done done;
    void *ctx;
    struct in_flight *previous, *next;
    int64_t signed_offset_ms;
    char signed_key[129];
    bool tried_connection, tried_clock, tried_credentials;
    int attempts;     /* sent so often, apart from what was tried again at once */
    int cost;         /* tokens of the last repeat */
    int64_t first_failed_ms;
    int64_t again_ms; /* monotonic: waits until then; 0: does not wait */
    bool is_held; /* until the credentials are there */
    bool resumed; /* was held once: it is not held again */
    struct err refused; /* held because AWS refused the keys it was signed with: what AWS said */
    char refused_code[80], refused_id[64];
};

/* ---- open, close --------------------------------------------------------------------------------------------------------------- */

int aws_client_open(struct aws_client **out, const struct config *config, struct err *e)
{
    return aws_client_open_beside(out, config, NULL, e);
}

int aws_client_open_beside(struct aws_client **out, const struct config *config, struct aws_client *other, struct err *e)
{
    struct aws_client *c = calloc(1, sizeof *c);
    if (!c) {
        return err_set(e, ERR_MEMORY, 0, "AWS client");
    }
    c->config = config;
    c->attempts_max = (int)config_int(config, CFG_AWS_MAX_ATTEMPTS);
    retry_bucket_fill(&c->bucket);
    c->path_style = config_bool(config, CFG_S3_PATH_STYLE);
    c->hash_buffer = malloc(AWS_HASH_BUFFER);
    struct http_limits limits = {.ca_bundle = config_text(config, CFG_CA_BUNDLE),
                                 .connections = (long)config_int(config, CFG_MAX_POOL_CONNECTIONS),
                                 .connect_ms = (long)config_int(config, CFG_AWS_CONNECT_MS),
                                 .stall_s = (long)config_int(config, CFG_AWS_STALL_S)};
    char certificate[2][STOW_PATH_MAX];
    stow_certificate(config, &limits, certificate);
    int rc = c->hash_buffer ? aws_client_check(config, e) : err_set(e, ERR_MEMORY, 0, "AWS client");
    rc = rc ? rc : aws_site_choose(config, &c->site, e);
    rc = rc ? rc : stow_endpoint(config, &c->site.endpoints[AWS_DICOM_MEDICAL_IMAGING], e);
    rc = rc ? rc : s3_options_read(config, &c->s3, e);
    rc = rc ? rc : credentials_open(&c->credentials, config, &c->site, e);
    rc = rc ? rc : http_open_beside(&c->http, &limits, other ? other->http : NULL, e);
    if (rc != 0) {
        aws_client_close(&c);
        return rc;
    }
    if (config_destination_kind(config) == KIND_DICOMWEB) {
        log_info("dicomweb_server", "host=%s path=%s/studies", c->site.endpoints[AWS_DICOM_MEDICAL_IMAGING].host,
                 c->site.endpoints[AWS_DICOM_MEDICAL_IMAGING].base);
        *out = c;
        return 0;
    }
    log_info("aws_region", "region=%s from=\"%s\" s3=%s", c->site.region, c->site.region_origin, c->site.endpoints[AWS_S3].host);
    *out = c;
    return 0;
}

static void drop(struct in_flight *f)
{
    struct aws_client *c = f->client;
    if (f->previous) {
        f->previous->next = f->next;
    } else {
        c->first = f->next;
    }
    if (f->next) {
        f->next->previous = f->previous;
    }
    aws_call_free(f->call);
    free(f);
}

void aws_client_close(struct aws_client **c)
{
    if (!c || !*c) {
        return;
    }
    http_close(&(*c)->http);
    while ((*c)->first) {
        struct in_flight *f = (*c)->first;
        if (f->call->abandon) {
            f->call->abandon(f->ctx);
        }
        drop(f);
    }
    webhook_drop_all(*c);
    s3_hash_drop_all(*c);
    credentials_close(&(*c)->credentials);
    free((*c)->hash_buffer);
    free(*c);
    *c = NULL;
}

/* ---- sign and send ------------------------------------------------------------------------------------------------------------------ */

static void on_response(void *ctx, struct http_response *r);

static void stamp(int64_t ms, char out[17])
{
    struct tm parts;
    time_t seconds = (time_t)(ms / 1000);
    (void)gmtime_r(&seconds, &parts);
    (void)strftime(out, 17, "%Y%m%dT%H%M%SZ", &parts);
}

/* The lines that go out: everything that is signed but Host, which libcurl writes from the URL exactly as we signed it, and the signature (NULL: none). */
static int send_lines(struct in_flight *f, const struct sigv4_header *headers, size_t count, const char *authorization, struct err *e)
{
    struct aws_call *call = f->call;
    struct aws_client *c = f->client;
    char *lines[AWS_HEADERS_MAX + 5] = {0};
    char *url = NULL;
    size_t used = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i <= count; i++) {
        if (i < count && strcmp(headers[i].name, "host") == 0) {
            continue;
        }
        bool last = i == count;
        if (last && !authorization) {
            break;
        }
        if (asprintf(&lines[used], "%s: %s", last ? "Authorization" : headers[i].name, last ? authorization : headers[i].value) == -1) {
            lines[used] = NULL;
            rc = ERR_MEMORY;
        } else {
            used++;
        }
    }
    if (rc == 0 && asprintf(&url, "%s://%s%s%s%s", c->site.endpoints[call->service].tls ? "https" : "http", call->place.host, call->place.path,
                            call->query ? "?" : "", call->query ? call->query : "") == -1) {
        url = NULL;
        rc = ERR_MEMORY;
    }
    struct http_request q = {.method = call->method,
                             .url = url,
                             .headers = (const char *const *)lines,
                             .header_count = used,
                             .body = call->body,
                             .body_bytes = call->body_bytes,
                             .body_fd = call->fd,
                             .body_fd_from = call->fd_from,
                             .body_fd_bytes = call->fd_bytes,
                             .before = call->before,
                             .before_bytes = strlen(call->before),
                             .after = call->after,
                             .after_bytes = strlen(call->after),
                             .no_repeat = call->no_repeat,
                             .response_max = call->response_max,
                             .cut_is_fine = call->cut_is_fine,
                             .fresh_connection = f->tried_connection || (call->no_repeat && call->fd < 0)}; /* libcurl repeats a body in memory by itself */
    q.total_ms = call->total_ms > 0 ? call->total_ms
                                    : config_int(c->config, CFG_AWS_CALL_S) * 1000 + (call->fd_bytes + (int64_t)call->response_max) / SLOW_BYTES_PER_MS;
    rc = rc ? err_set(e, rc, 0, "no memory for a request") : http_begin(c->http, &q, on_response, f, e);
    for (size_t i = 0; i < used; i++) {
        explicit_bzero(lines[i], strlen(lines[i]));
        free(lines[i]);
    }
    free(url);
    return rc;
}

static int sign_and_send(struct in_flight *f, struct err *e)
{
    struct aws_call *call = f->call;
    struct aws_client *c = f->client;
    const struct credentials *keys = NULL;
    struct sigv4_header headers[AWS_HEADERS_MAX + 4];
    struct sigv4_result result = {0};
    char date[17];
    size_t n = 0;
    if (call->is_plain) {
        return send_lines(f, call->headers, call->header_count, call->authorization, e);
    }
    int rc = f->resumed ? credentials_settled(c->credentials, &keys, e) : credentials_get(c->credentials, &keys, e);
    if (rc == CREDENTIALS_WAIT) {
        f->is_held = true;
        return 0;
    }
    if (rc != 0) {
        return rc;
    }
    f->signed_offset_ms = c->offset_ms;
    (void)snprintf(f->signed_key, sizeof f->signed_key, "%s", keys->access_key_id);
    stamp(clock_wall_ms() + c->offset_ms, date);
    headers[n++] = (struct sigv4_header){"host", call->place.host};
    headers[n++] = (struct sigv4_header){"x-amz-date", date};
    if (call->service == AWS_S3 || call->sends_hash) {
        headers[n++] = (struct sigv4_header){"x-amz-content-sha256", call->payload_hash};
    }
    if (keys->session_token[0]) {
        headers[n++] = (struct sigv4_header){"x-amz-security-token", keys->session_token};
    }
    for (size_t i = 0; i < call->header_count; i++) {
        headers[n++] = call->headers[i];
    }
    struct sigv4_request request = {.method = call->method,
                                    .path = call->place.path,
                                    .query = call->query ? call->query : "",
                                    .headers = headers,
                                    .header_count = n,
                                    .payload_hash = call->payload_hash,
                                    .double_encode = call->service != AWS_S3,
                                    .normalize = call->service != AWS_S3};
    struct sigv4_scope scope = {.access_key_id = keys->access_key_id,
                                .secret_access_key = keys->secret_access_key,
                                .region = c->site.region,
                                .service = endpoint_service_name(call->service),
                                .amz_date = date};
    rc = sigv4_sign(&request, &scope, &result, e);
    rc = rc ? rc : send_lines(f, headers, n, result.authorization, e);
    sigv4_result_clear(&result);
    return rc;
}

int aws_begin(struct aws_client *c, struct aws_call *call, aws_done done, void *ctx, struct err *e)
{
    struct in_flight *f = calloc(1, sizeof *f);
    if (!f) {
        aws_call_free(call);
        return err_set(e, ERR_MEMORY, 0, "no memory for a request");
    }
    f->client = c;
    f->call = call;
    f->done = done;
    f->ctx = ctx;
    f->attempts = 1;
    f->next = c->first;
    if (f->next) {
        f->next->previous = f;
    }
    c->first = f;
    int rc = sign_and_send(f, e);
    if (rc != 0) {
        drop(f);
    }
    return rc;
}

/* ---- the answer ------------------------------------------------------------------------------------------------------------------------- */

void aws_client_learn_clock(struct aws_client *c, const struct http_response *r)
{
    if (r->rc != 0 || r->date_ms == 0 || r->took_ms > AGE_MAX_MS) {
        return;
    }
    int64_t offset = r->date_ms + 500 - clock_wall_ms();
    c->offset_ms = offset > -CLOCK_NOISE_MS && offset < CLOCK_NOISE_MS ? 0 : offset;
    credentials_set_clock(c->credentials, c->offset_ms);
    bool off = llabs(c->offset_ms) >= AWS_CLOCK_OFF_MS;
    if (off && !c->clock_told) {
        log_warning("clock_off", "offset_s=%lld effect=\"requests are signed with the server's time\" remedy=\"run a time service\"",
                    (long long)(c->offset_ms / 1000));
    }
    c->clock_told = off;
}

/* Is it one of the three errors that one more try may heal? */
static bool try_again(struct in_flight *f, const struct http_response *r, struct aws_answer *a)
{
    struct aws_client *c = f->client;
    if (r->rc == ERR_NETWORK && r->stale_connection && !f->tried_connection && !f->call->no_repeat) {
        f->tried_connection = true;
        return true;
    }
    if (r->rc != 0) {
        return false;
    }
    if (aws_error_may_be_clock(r->status, a->code) && !f->tried_clock && llabs(c->offset_ms - f->signed_offset_ms) >= AWS_CLOCK_OFF_MS) {
        f->tried_clock = true;
        return true;
    }
    if (aws_error_may_be_credentials(a->code) && !f->tried_credentials) {
        const struct credentials *keys = NULL;
        f->tried_credentials = true;
        f->resumed = false;
        credentials_refused(c->credentials, f->signed_key);
        int rc = credentials_get(c->credentials, &keys, NULL);
        if (rc == CREDENTIALS_WAIT) {
            f->refused = a->why;
            memcpy(f->refused_code, a->code, sizeof f->refused_code);
            memcpy(f->refused_id, a->request_id, sizeof f->refused_id);
        }
        return rc == CREDENTIALS_WAIT || (rc == 0 && strcmp(keys->access_key_id, f->signed_key) != 0);
    }
    return false;
}

/* Is it worth waiting for? Then it is sent again by aws_client_run(). */
static bool wait_and_try(struct in_flight *f, const struct http_response *r, const struct aws_answer *a)
{
    struct aws_client *c = f->client;
    char hint[24];
    enum retry_kind kind = retry_kind_of(a->rc, r->out_of_time);
    if (kind == RETRY_NOT || (f->call->no_repeat && kind != RETRY_THROTTLED) || f->attempts >= c->attempts_max) {
        return false;
    }
    int cost = retry_take(&c->bucket, kind);
    if (cost == 0) {
        return false;
    }
    int64_t server_ms = -1;
    if (http_header(r, "x-amz-retry-after", hint, sizeof hint) && hint[0] >= '0' && hint[0] <= '9') {
        server_ms = strtoll(hint, NULL, 10);
    }
    int64_t wait_ms = retry_delay_ms(kind, f->attempts, random_u32(), server_ms);
    f->cost = cost;
    f->first_failed_ms = f->first_failed_ms ? f->first_failed_ms : clock_mono_ms();
    f->again_ms = clock_mono_ms() + wait_ms;
    f->resumed = false;
    f->refused.code = 0;
    log_debug("aws_waits", "operation=%s code=%s attempt=%d wait_ms=%lld", f->call->operation, err_name(a->rc), f->attempts, (long long)wait_ms);
    return true;
}

static void map_error(const struct in_flight *f, const struct http_response *r, const struct error_body *said, struct aws_answer *a)
{
    const char *service = endpoint_service_title(f->call->service);
    char sentence[200];
    char missing[64] = "";
    char found[48] = "";
    a->rc = aws_error_code(r->status, a->code);
    bool elsewhere = http_header(r, "x-amz-bucket-region", found, sizeof found) && strcmp(found, f->client->site.region) != 0;
    if (elsewhere && r->status == 400 && !a->code[0]) { /* HEAD: no body says why */
        a->rc = ERR_AWS_REGION;
    }
    if (a->rc == 0) {
        return;
    }
    if (f->call->service == AWS_S3 && a->rc == ERR_AWS_DENIED && aws_error_kms_permission(said->message, missing, sizeof missing)) {
        a->rc = ERR_AWS_KMS;
    }
    char region[64] = "";
    if (a->rc == ERR_AWS_REGION) {
        if (!found[0]) {
            (void)snprintf(found, sizeof found, "%.40s", said->region);
        }
        (void)snprintf(region, sizeof region, "%s%s", found[0] ? "; set aws_region = " : "", found);
    }
    char often[24] = "";
    if (f->attempts > 1) {
        (void)snprintf(often, sizeof often, ", attempt %d", f->attempts);
    }
    bool remedy = err_class_of(a->rc) == ERR_CLASS_CONFIG && !region[0];
    if (missing[0]) {
        (void)snprintf(sentence, sizeof sentence, "the role lacks %s", missing);
    } else {
        (void)snprintf(sentence, sizeof sentence, "%.*s", remedy ? 110 : 160, said->message);
    }
    a->why.code = a->rc;
    (void)err_set(&a->why, a->rc, 0, "%s %s: %ld %s%s%s (request %.63s%s)%s%s%s", service, f->call->operation, r->status,
                  a->code[0] ? a->code : "without an error code", sentence[0] ? ": " : "", sentence, a->request_id[0] ? a->request_id : "-",
                  often, remedy ? ". " : "", remedy ? err_sentence(a->rc) : "", region);
}

static void on_response(void *ctx, struct http_response *r)
{
    struct in_flight *f = ctx;
    struct aws_client *c = f->client;
    struct aws_answer a = {.http = r};
    struct error_body said = {0};
    bool s3 = f->call->service == AWS_S3;
    const char *who = f->call->is_plain ? "DICOMweb server" : endpoint_service_title(f->call->service);
    if (!f->call->is_plain) {
        aws_client_learn_clock(c, r);
    }
    if (!http_header(r, s3 ? "x-amz-request-id" : "x-amzn-requestid", a.request_id, sizeof a.request_id)) {
        a.request_id[0] = '\0';
    }
    if (r->rc == ERR_TOO_LARGE && f->call->service != AWS_SQS) { /* no word on what was asked; a queue's messages may be that long (sqs.h) */
        a.rc = err_set(&a.why, ERR_NETWORK, 0, "%s %s: %s: has a proxy in between answered?", who, f->call->operation, r->why.text);
    } else if (r->rc != 0) {
        a.rc = err_set(&a.why, r->rc, 0, "%s %s: %s", who, f->call->operation, r->why.text);
    } else if (!f->call->is_plain && (r->status < 200 || r->status > 299)) {
        char type[120];
        (s3 || f->call->service == AWS_STS ? error_body_xml : error_body_json)(r->body, r->body_bytes, &said);
        aws_error_plain_code(!s3 && http_header(r, "x-amzn-errortype", type, sizeof type) ? type : said.code, a.code, sizeof a.code);
        map_error(f, r, &said, &a);
    }
    if (a.rc != 0 && try_again(f, r, &a)) {
        struct err why = {0};
        log_debug("aws_again", "operation=%s code=%s offset_ms=%lld", f->call->operation, err_name(a.rc), (long long)c->offset_ms);
        if (sign_and_send(f, &why) == 0) {
            return;
        }
    } else if (a.rc != 0 && wait_and_try(f, r, &a)) {
        return;
    } else if (a.rc == 0) {
        retry_give_back(&c->bucket, f->cost);
    }
    a.first_failed_ms = f->first_failed_ms;
    c->ended++;
    f->done(f->ctx, &a);
    drop(f);
}

/* A call that could not even be sent ends with the reason. */
static void end_unsent(struct in_flight *f, struct aws_answer *a)
{
    struct http_response none = {.header_block = ""};
    a->http = &none;
    a->first_failed_ms = f->first_failed_ms;
    f->client->ended++;
    f->done(f->ctx, a);
    drop(f);
}

/* Sends what has waited long enough. Milliseconds until the next one is due, -1 if none waits. */
static int64_t send_due(struct aws_client *c)
{
    int64_t now = clock_mono_ms();
    int64_t next = -1;
    for (struct in_flight *f = c->first; f;) {
        struct aws_answer a = {.rc = 0};
        if (f->again_ms == 0 || f->again_ms > now) {
            next = f->again_ms != 0 && (next < 0 || f->again_ms - now < next) ? f->again_ms - now : next;
            f = f->next;
            continue;
        }
        f->again_ms = 0;
        f->attempts++;
        a.rc = sign_and_send(f, &a.why);
        if (a.rc == 0) {
            f = f->next;
        } else {
            end_unsent(f, &a);
            f = c->first; /* done() may have begun or ended others */
            next = -1;
        }
    }
    return next;
}

/* The fetch has ended that a call was held for: it is sent, or ends with the reason. */
static void resume(struct in_flight *f)
{
    struct aws_client *c = f->client;
    const struct credentials *keys = NULL;
    struct aws_answer a = {.rc = 0};
    f->is_held = false;
    f->resumed = true;
    a.rc = credentials_settled(c->credentials, &keys, &a.why);
    if (a.rc == 0 && f->refused.code != 0 && strcmp(keys->access_key_id, f->signed_key) == 0) {
        a.rc = f->refused.code; /* nothing new: what AWS said stands */
        a.why = f->refused;
        memcpy(a.code, f->refused_code, sizeof a.code);
        memcpy(a.request_id, f->refused_id, sizeof a.request_id);
    } else if (a.rc == 0) {
        a.rc = sign_and_send(f, &a.why);
    }
    if (a.rc != 0) {
        end_unsent(f, &a);
    }
}

/* Moves the credentials on; true while calls wait for them or a fetch is under way. */
static bool move_credentials(struct aws_client *c)
{
    if (!credentials_step(c->credentials)) {
        return true;
    }
    for (struct in_flight *f = c->first; f;) {
        struct in_flight *held = f;
        f = held->next;
        if (held->is_held) {
            resume(held);
            f = c->first; /* done() may have begun or ended others */
        }
        if (!credentials_step(c->credentials)) {
            return true; /* one that began meanwhile waits for another fetch */
        }
    }
    return false;
}

/* ---- run --------------------------------------------------------------------------------------------------------------------------------- */

int aws_client_run(struct aws_client *c, int wait_ms, const int *extra_fds, size_t extra_count)
{
    const int64_t end = clock_mono_ms() + wait_ms;
    const unsigned before = c->ended;
    for (;;) {
        s3_hash_slice(c);
        (void)http_step(c->http);
        bool fetching = move_credentials(c);
        int64_t due = send_due(c);
        int64_t left = end - clock_mono_ms();
        if (c->ended != before || left < 0) {
            break;
        }
        int wait = c->hashing > 0 ? 0 : fetching && left > FETCH_SLICE_MS ? FETCH_SLICE_MS : (int)left; /* a fetch has connections of its own */
        wait = due >= 0 && due < wait ? (int)due : wait;
        if (http_poll(c->http, wait, extra_fds, extra_count) || left == 0) {
            (void)http_step(c->http);
            break;
        }
    }
    return aws_client_busy(c);
}

void aws_client_wait(struct aws_client *c, int wait_ms, const int *extra_fds, size_t extra_count)
{
    (void)http_poll(c->http, wait_ms, extra_fds, extra_count);
}

int aws_client_busy(const struct aws_client *c)
{
    int busy = c->hashing + webhook_busy(c);
    for (const struct in_flight *f = c->first; f; f = f->next) {
        busy++;
    }
    return busy;
}

const char *aws_client_region(const struct aws_client *c)
{
    return c->site.region;
}

int64_t aws_client_clock_offset_ms(const struct aws_client *c)
{
    return c->offset_ms;
}

struct blocking {
    bool ended;
    struct aws_result *out;
    struct err *e;
};

static void on_blocking(void *ctx, struct aws_answer *a)
{
    struct blocking *b = ctx;
    b->ended = true;
    b->out->rc = a->rc;
    if (a->rc != 0 && b->e) {
        *b->e = a->why;
    }
    b->out->status = a->http->status;
    (void)http_header(a->http, "etag", b->out->etag, sizeof b->out->etag);
    (void)http_header(a->http, "x-amz-checksum-crc32c", b->out->crc32c, sizeof b->out->crc32c);
    (void)http_header(a->http, "x-amz-bucket-region", b->out->bucket_region, sizeof b->out->bucket_region);
    (void)http_header(a->http, "content-length", b->out->content_length, sizeof b->out->content_length);
    b->out->body = a->http->body;
    b->out->body_bytes = a->http->body_bytes;
    a->http->body = NULL;
}

int aws_call_blocking(struct aws_client *c, struct aws_call *call, struct aws_result *out, struct err *e)
{
    struct blocking b = {.out = out, .e = e};
    memset(out, 0, sizeof *out);
    int rc = aws_begin(c, call, on_blocking, &b, e);
    if (rc != 0) {
        return rc;
    }
    while (!b.ended) { /* every request has a time limit, so this ends */
        (void)aws_client_run(c, WAIT_SLICE_MS, NULL, 0);
    }
    if (out->rc != 0) {
        free(out->body);
        out->body = NULL;
    }
    return out->rc;
}
