/* site_imds - the region of an EC2 instance from its metadata service, version 2: a token by PUT, then placement/region. See site.h. */
#include "common/aws/credentials/credentials_internal.h"
#include "common/aws/request/site.h"
#include "common/runtime/runtime.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LIMIT_MS = 1000, SLICE_MS = 100 };

struct question {
    bool ended;
    int rc;
    struct err why;
    long status;
    char text[TOKEN_MAX];
};

static void on_answer(void *ctx, struct http_response *r)
{
    struct question *q = ctx;
    q->ended = true;
    q->rc = r->rc;
    q->why = r->why;
    q->status = r->status;
    if (r->rc == 0) {
        (void)snprintf(q->text, sizeof q->text, "%.*s", (int)strcspn(r->body, "\r\n"), r->body);
    }
}

static int ask(struct http *h, const char *method, const char *base, const char *path, const char *header, struct question *q, struct err *e)
{
    char url[700];
    (void)snprintf(url, sizeof url, "%s%s", base, path);
    struct http_request request = {.method = method, .url = url, .headers = &header, .header_count = 1, .body_fd = -1, .response_max = TOKEN_MAX,
                                   .total_ms = LIMIT_MS, .direct = true};
    memset(q, 0, sizeof *q);
    int rc = http_begin(h, &request, on_answer, q, e);
    int64_t end = clock_mono_ms() + 2 * LIMIT_MS;
    while (rc == 0 && !q->ended && clock_mono_ms() < end) {
        (void)http_poll(h, SLICE_MS, NULL, 0);
        (void)http_step(h);
    }
    if (rc == 0 && (!q->ended || q->rc != 0)) {
        rc = err_set(e, q->ended ? q->rc : ERR_TIMEOUT, 0, "%.150s", q->ended ? q->why.text : "no answer");
    } else if (rc == 0 && (q->status != 200 || !q->text[0])) {
        rc = err_set(e, ERR_PROTOCOL, 0, "instance metadata answered %ld", q->status);
    }
    return rc;
}

int imds_region(const struct config *config, char region[64], struct err *e)
{
    char base[600];
    char header[TOKEN_MAX + 40];
    struct http *h = NULL;
    struct http_limits limits = {.ca_bundle = config_text(config, CFG_CA_BUNDLE), .connections = 1, .connect_ms = LIMIT_MS, .stall_s = 1};
    if (strcasecmp(environment("AWS_EC2_METADATA_DISABLED"), "true") == 0) {
        return err_set(e, ERR_NETWORK, 0, "AWS_EC2_METADATA_DISABLED=true");
    }
    struct question *q = calloc(1, sizeof *q);
    int rc = q ? imds_base_url(base, sizeof base, e) : err_set(e, ERR_MEMORY, 0, "instance metadata");
    rc = rc ? rc : http_open(&h, &limits, e);
    rc = rc ? rc : ask(h, "PUT", base, "/latest/api/token", "x-aws-ec2-metadata-token-ttl-seconds: 60", q, e);
    if (rc == 0) {
        (void)snprintf(header, sizeof header, "x-aws-ec2-metadata-token: %s", q->text);
        rc = ask(h, "GET", base, "/latest/meta-data/placement/region", header, q, e);
        explicit_bzero(header, sizeof header);
    }
    if (rc == 0 && strlen(q->text) > 63) {
        rc = err_set(e, ERR_PROTOCOL, 0, "instance metadata names no region");
    }
    if (rc == 0) {
        (void)snprintf(region, 64, "%s", q->text);
    }
    http_close(&h);
    free(q);
    return rc;
}
