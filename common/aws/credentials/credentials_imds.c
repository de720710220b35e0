/* credentials_imds - the role of an EC2 instance, by its metadata service, version 2 only: a session token by PUT, then the name of the role, then its
 * keys. A token holds six hours and is kept; a 401 throws it away. Source: EC2 user guide "Use the Instance Metadata Service", SDK reference
 * "IMDS credential provider". Only one attempt: on a machine that is no instance nobody answers, and a request waits for it. */
#include "common/aws/credentials/credentials_internal.h"
#include "common/aws/request/site.h"
#include "common/runtime/runtime.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LIMIT_MS = 1500, TOKEN_LIFE_S = 21600, TOKEN_EARLY_S = 60 };
enum { GET_TOKEN, GET_ROLE, GET_KEYS, WHICH = 3, RENEWED = 4 /* a 401 has been answered once */ };

static const char token_life_header[] = "x-aws-ec2-metadata-token-ttl-seconds: 21600";

int plan_imds(struct credentials_source *s, struct plan *out, struct err *e)
{
    (void)s;
    (void)e;
    out->base = BASE_IMDS;
    return strcasecmp(environment("AWS_EC2_METADATA_DISABLED"), "true") == 0 ? 0 : 1;
}

int imds_base_url(char *url, size_t size, struct err *e)
{
    const char *named = environment("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    bool six = strcasecmp(environment("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"), "ipv6") == 0;
    struct endpoint place;
    struct err why = {0};
    if (!named[0]) {
        named = six ? "http://[fd00:ec2::254]" : "http://169.254.169.254";
    }
    if (endpoint_parse(named, &place, &why) != 0) {
        return err_set(e, ERR_CONFIG, 0, "AWS_EC2_METADATA_SERVICE_ENDPOINT: %s", why.text);
    }
    (void)snprintf(url, size, "%s://%s%s", place.tls ? "https" : "http", place.host, place.base);
    return 0;
}

static int ask(struct credentials_source *s, int phase, const char *role, struct err *e)
{
    char base[600];
    char url[800];
    char line[TOKEN_MAX + 40];
    int rc = imds_base_url(base, sizeof base, e);
    if (rc != 0) {
        return rc;
    }
    (void)snprintf(url, sizeof url, "%s%s%s", base, phase == GET_TOKEN ? "/latest/api/token" : "/latest/meta-data/iam/security-credentials/", role);
    (void)snprintf(line, sizeof line, "x-aws-ec2-metadata-token: %s", s->imds_token);
    const char *headers[] = {phase == GET_TOKEN ? token_life_header : line};
    rc = fetch_send(s, phase == GET_TOKEN ? "PUT" : "GET", url, headers, 1, NULL, LIMIT_MS, true, e);
    explicit_bzero(line, sizeof line);
    s->phase = (s->phase & RENEWED) | phase;
    return rc;
}

static int begin(struct credentials_source *s, struct err *e)
{
    bool holds = s->imds_token[0] && clock_mono_ms() < s->imds_token_until_ms;
    return ask(s, holds ? GET_ROLE : GET_TOKEN, "", e);
}

static int take_token(struct credentials_source *s, struct err *e)
{
    size_t length = strcspn(s->reply.body, "\r\n");
    if (length == 0 || length >= sizeof s->imds_token || s->reply.body[length + strspn(s->reply.body + length, "\r\n")] != '\0') {
        return err_set(e, ERR_PROTOCOL, 0, "the instance metadata service gave no token that can be used");
    }
    memcpy(s->imds_token, s->reply.body, length);
    s->imds_token[length] = '\0';
    s->imds_token_until_ms = clock_mono_ms() + (TOKEN_LIFE_S - TOKEN_EARLY_S) * 1000LL;
    return ask(s, GET_ROLE, "", e);
}

/* The first line names the role. What cannot be a role's name is not put into a URL. */
static int take_role(struct credentials_source *s, struct err *e)
{
    static const char legal[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+=,.@_-";
    char role[129];
    size_t length = strcspn(s->reply.body, "\r\n");
    if (length == 0 || length >= sizeof role || strspn(s->reply.body, legal) != length) {
        return err_set(e, ERR_AWS_CREDENTIALS, 0, "the instance metadata service names no role: attach an instance profile");
    }
    (void)snprintf(role, sizeof role, "%.*s", (int)length, s->reply.body);
    return ask(s, GET_KEYS, role, e);
}

static int step(struct credentials_source *s, struct err *e)
{
    int rc = fetch_reply(s, e);
    if (rc != PROVIDER_HAS) {
        return rc;
    }
    if (s->reply.status == 401) {
        explicit_bzero(s->imds_token, sizeof s->imds_token);
        if (s->phase == GET_TOKEN || (s->phase & RENEWED)) {
            return err_set(e, ERR_PROTOCOL, 0, "the instance metadata service refused its own token");
        }
        s->phase = RENEWED;
        return ask(s, GET_TOKEN, "", e);
    }
    int which = s->phase & WHICH;
    if (s->reply.status == 404 && which != GET_TOKEN) {
        return err_set(e, ERR_AWS_CREDENTIALS, 0, "this instance has no role: attach an instance profile");
    }
    if (s->reply.status == 403) {
        return err_set(e, ERR_AWS_CREDENTIALS, 0, "the instance metadata service is switched off for this instance");
    }
    if (s->reply.status != 200) {
        return err_set(e, s->reply.status >= 500 ? ERR_AWS_SERVER : ERR_PROTOCOL, 0, "the instance metadata service answered %ld", s->reply.status);
    }
    return which == GET_TOKEN  ? take_token(s, e)
           : which == GET_ROLE ? take_role(s, e)
                                  : keys_from_json(s->reply.body, s->reply.bytes, "Token", "instance metadata", &s->next, e);
}

const struct provider provider_imds = {"instance role", 1, true, begin, step};
