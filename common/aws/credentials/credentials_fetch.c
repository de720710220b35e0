/* credentials_fetch - carries a plan out: the base's provider, then a role after the other. See credentials_internal.h. */
#include "common/aws/credentials/credentials_internal.h"
#include "common/aws/request/errors.h"
#include "common/runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { AGAIN_MS = 1000, CONNECTIONS = 2 };

const struct provider *fetch_base(enum base base)
{
    static const struct provider *const providers[BASE_COUNT] = {[BASE_WEB_IDENTITY] = &provider_web_identity,
                                                                 [BASE_PROCESS] = &provider_process,
                                                                 [BASE_CONTAINER] = &provider_container,
                                                                 [BASE_IMDS] = &provider_imds};
    return providers[base];
}

void fetch_begin(struct credentials_source *s)
{
    fetch_clear(s);
    s->fetching = true;
    s->begun = false;
    s->attempts = 0;
    s->again_ms = 0;
    s->clock_tried = false;
    s->roles_left = s->plan.role_count + 1;
    if (!fetch_base(s->plan.base)) {
        s->next = s->plan.keys;
        s->roles_left--;
    }
}

static bool may_heal(int rc)
{
    enum err_class kind = err_class_of(rc);
    return kind == ERR_CLASS_PEER_DOWN || kind == ERR_CLASS_RETRY_BACKOFF || kind == ERR_CLASS_RETRY_SOON;
}

/* s->roles_left counts the base, too, as long as it is not there. */
int fetch_move(struct credentials_source *s, struct err *e)
{
    if (s->http) {
        (void)http_step(s->http);
    }
    for (;;) {
        if (s->roles_left == 0) {
            return PROVIDER_HAS;
        }
        const struct provider *p = s->roles_left > s->plan.role_count ? fetch_base(s->plan.base) : &provider_assume_role;
        int rc;
        if (s->begun) {
            rc = p->step(s, e);
        } else if (clock_mono_ms() < s->again_ms) {
            return PROVIDER_WAITS;
        } else {
            s->begun = true;
            s->phase = 0;
            rc = p->begin(s, e);
        }
        if (rc == PROVIDER_WAITS) {
            return rc;
        }
        s->begun = false;
        reply_clear(s);
        if (rc == PROVIDER_HAS) {
            s->attempts = 0;
            s->roles_left--;
            (void)snprintf(s->next.origin, sizeof s->next.origin, "%s", p->name);
            continue;
        }
        s->again_ms = clock_mono_ms() + AGAIN_MS;
        if (rc == ERR_AWS_CLOCK && !s->clock_tried) { /* the answer's Date has corrected the offset */
            s->clock_tried = true;
            s->again_ms = 0;
        } else if (!may_heal(rc) || ++s->attempts >= p->attempts) {
            return rc;
        }
    }
}

void fetch_clear(struct credentials_source *s)
{
    if (s->child > 0) {
        (void)kill(-s->child, SIGKILL);
        (void)waitpid(s->child, NULL, 0); /* at once: SIGKILL */
        s->child = 0;
    }
    if (s->child_fd != -1) {
        (void)close(s->child_fd);
        s->child_fd = -1;
    }
    if (s->reply.waits) {
        http_close(&s->http); /* its done() will not come */
    }
    reply_clear(s);
    explicit_bzero(&s->next, sizeof s->next);
    s->fetching = false;
}

/* ---- requests ------------------------------------------------------------------------------------------------------------------------- */

static void wipe(char **text)
{
    if (*text) {
        explicit_bzero(*text, strlen(*text));
        free(*text);
        *text = NULL;
    }
}

void reply_clear(struct credentials_source *s)
{
    if (s->reply.body) {
        explicit_bzero(s->reply.body, s->reply.bytes);
        free(s->reply.body);
    }
    wipe(&s->sent);
    memset(&s->reply, 0, sizeof s->reply);
}

static void on_reply(void *ctx, struct http_response *r)
{
    struct credentials_source *s = ctx;
    s->reply.waits = false;
    s->reply.rc = r->rc;
    s->reply.why = r->why;
    s->reply.status = r->status;
    s->reply.body = r->body;
    s->reply.bytes = r->body_bytes;
    r->body = NULL;
    wipe(&s->sent);
    if (r->rc == 0 && r->date_ms != 0) {
        int64_t offset = r->date_ms + 500 - clock_wall_ms();
        s->offset_ms = llabs(offset) >= AWS_CLOCK_OFF_MS ? offset : s->offset_ms;
    }
}

int fetch_send(struct credentials_source *s, const char *method, const char *url, const char *const *headers, size_t header_count, char *body,
               int64_t limit_ms, bool direct, struct err *e)
{
    reply_clear(s);
    s->sent = body;
    int rc = 0;
    if (!s->http) {
        struct http_limits limits = {.ca_bundle = config_text(s->config, CFG_CA_BUNDLE), .connections = CONNECTIONS, .connect_ms = (long)limit_ms,
                                     .stall_s = (long)config_int(s->config, CFG_AWS_STALL_S)};
        rc = http_open(&s->http, &limits, e);
    }
    struct http_request q = {.method = method, .url = url, .headers = headers, .header_count = header_count, .body = body,
                             .body_bytes = body ? strlen(body) : 0, .body_fd = -1, .response_max = REPLY_MAX, .total_ms = limit_ms, .direct = direct,
                             .fresh_connection = true};
    rc = rc ? rc : http_begin(s->http, &q, on_reply, s, e);
    s->reply.waits = rc == 0;
    return rc ? rc : PROVIDER_WAITS;
}

int fetch_reply(struct credentials_source *s, struct err *e)
{
    if (s->reply.waits) {
        return PROVIDER_WAITS;
    }
    if (s->reply.rc != 0) {
        return err_set(e, s->reply.rc == ERR_TOO_LARGE ? ERR_PROTOCOL : s->reply.rc, 0, "%s", s->reply.why.text);
    }
    return PROVIDER_HAS;
}

/* ---- what answers hold ---------------------------------------------------------------------------------------------------------------- */

bool time_from_iso(const char *text, int64_t *ms)
{
    struct tm parts = {0};
    const char *p = strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);
    if (!p) {
        return false;
    }
    if (*p == '.') {
        p += 1 + strspn(p + 1, "0123456789");
    }
    int minutes = 0;
    if ((*p == '+' || *p == '-') && strlen(p) == 6 && p[3] == ':') {
        minutes = (int)(strtol(p + 1, NULL, 10) * 60 + strtol(p + 4, NULL, 10)) * (*p == '-' ? -1 : 1);
    } else if (strcmp(p, "Z") != 0 && *p != '\0') {
        return false;
    }
    *ms = ((int64_t)timegm(&parts) - minutes * 60) * 1000;
    return *ms > 0;
}

static bool take(json_t *root, const char *name, char *place, size_t size)
{
    const char *text = json_string_value(json_object_get(root, name));
    return snprintf(place, size, "%s", text ? text : "") < (int)size;
}

int keys_from_json(const char *text, size_t bytes, const char *token_name, const char *who, struct credentials *out, struct err *e)
{
    char expires[40] = "";
    json_t *root = json_loadb(text, bytes, 0, NULL);
    int rc = 0;
    memset(out, 0, sizeof *out);
    if (!json_is_object(root)) {
        rc = err_set(e, ERR_PROTOCOL, 0, "%s: the answer is no JSON object", who);
    } else if (!take(root, "AccessKeyId", out->access_key_id, sizeof out->access_key_id) ||
               !take(root, "SecretAccessKey", out->secret_access_key, sizeof out->secret_access_key) ||
               !take(root, token_name, out->session_token, sizeof out->session_token) || !take(root, "Expiration", expires, sizeof expires)) {
        rc = err_set(e, ERR_PROTOCOL, 0, "%s: a value is longer than any key", who);
    } else if (!out->access_key_id[0] || !out->secret_access_key[0]) {
        rc = err_set(e, ERR_PROTOCOL, 0, "%s: the answer lacks AccessKeyId or SecretAccessKey", who);
    } else if (expires[0] && !time_from_iso(expires, &out->expires_ms)) {
        rc = err_set(e, ERR_PROTOCOL, 0, "%s: Expiration is no time of ISO 8601", who);
    }
    json_decref(root);
    return rc ? rc : PROVIDER_HAS;
}

int secret_from_file(const char *path, char *out, size_t size, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd == -1 ? -1 : read(fd, out, size);
    int sys = errno;
    if (fd != -1) {
        (void)close(fd);
    }
    if (n < 0) {
        return err_set(e, ERR_AWS_CREDENTIALS, sys, "the token file %.200s cannot be read", path);
    }
    if ((size_t)n == size) {
        return err_set(e, ERR_AWS_CREDENTIALS, 0, "the token file %.200s holds more than %zu bytes", path, size - 1);
    }
    out[n] = '\0';
    while (n > 0 && strchr(" \t\r\n", out[n - 1])) {
        out[--n] = '\0';
    }
    return n > 0 && strlen(out) == (size_t)n ? 0 : err_set(e, ERR_AWS_CREDENTIALS, 0, "the token file %.200s is empty or no text", path);
}

const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value ? value : "";
}
