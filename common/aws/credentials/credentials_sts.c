/* credentials_sts - AssumeRole (signed with the keys of the step before) and AssumeRoleWithWebIdentity (not signed: the token is the proof, read from its
 * file each time). The regional endpoint, or endpoint_url_sts. Source: STS API model, version 2011-06-15. */
#include "common/aws/credentials/credentials_internal.h"
#include "common/aws/request/errors.h"
#include "common/aws/request/sigv4.h"
#include "common/runtime/runtime.h"

#include <expat.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LIMIT_MS = 5000, DEPTH_MAX = 16, TEXT_MAX = 8200 };

int plan_web_identity(struct credentials_source *s, struct plan *out, struct err *e)
{
    const char *file = environment("AWS_WEB_IDENTITY_TOKEN_FILE");
    const char *arn = environment("AWS_ROLE_ARN");
    const char *session = environment("AWS_ROLE_SESSION_NAME");
    bool is_passed_over = strncmp(config_origin(s->config, CFG_AWS_PROFILE), "storescp.conf", 13) == 0; /* it says whose keys count, a destination's above all */
    if (!file[0] || is_passed_over) {
        return 0; /* a role alone says nothing: other tools use that variable, too */
    }
    if (!arn[0]) {
        return err_set(e, ERR_CONFIG, 0, "AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not: both or none");
    }
    out->base = BASE_WEB_IDENTITY;
    bool fits = snprintf(out->text, sizeof out->text, "%s", file) < (int)sizeof out->text &&
                snprintf(out->web.arn, sizeof out->web.arn, "%s", arn) < (int)sizeof out->web.arn &&
                snprintf(out->web.session_name, sizeof out->web.session_name, "%s", session) < (int)sizeof out->web.session_name;
    return fits ? 1 : err_set(e, ERR_CONFIG, 0, "AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN or AWS_ROLE_SESSION_NAME is longer than any");
}

/* ---- the form ------------------------------------------------------------------------------------------------------------------------- */

struct form {
    char *text; /* heap */
    size_t used, room;
    bool bad;
};

static void add(struct form *f, const char *name, const char *value)
{
    if (f->bad || !value[0]) {
        return;
    }
    int n = snprintf(f->text + f->used, f->room - f->used, "%s%s=", f->used ? "&" : "", name);
    f->bad = n < 0 || (size_t)n >= f->room - f->used;
    f->used += f->bad ? 0 : (size_t)n;
    f->bad = f->bad || sigv4_uri_encode(value, false, f->text + f->used, f->room - f->used) != 0;
    f->used += f->bad ? 0 : strlen(f->text + f->used);
}

static char *make_form(const char *action, const struct role *role, const char *token)
{
    struct form f = {.room = 3 * (TOKEN_MAX + 4096) + 512};
    char seconds[16] = "";
    char usual[64];
    f.text = calloc(1, f.room);
    if (!f.text) {
        return NULL;
    }
    if (role->duration_s > 0) {
        (void)snprintf(seconds, sizeof seconds, "%d", role->duration_s);
    }
    (void)snprintf(usual, sizeof usual, "storescp-%lld", (long long)(clock_wall_ms() / 1000));
    add(&f, "Action", action);
    add(&f, "Version", "2011-06-15");
    add(&f, "RoleArn", role->arn);
    add(&f, "RoleSessionName", role->session_name[0] ? role->session_name : usual);
    add(&f, "ExternalId", role->external_id);
    add(&f, "DurationSeconds", seconds);
    add(&f, "WebIdentityToken", token);
    if (f.bad) {
        explicit_bzero(f.text, f.room);
        free(f.text);
        return NULL;
    }
    return f.text;
}

static int send_form(struct credentials_source *s, char *form, const char *const *headers, size_t count, struct err *e)
{
    char url[600];
    (void)snprintf(url, sizeof url, "%s://%s%s/", s->sts.tls ? "https" : "http", s->sts.host, s->sts.base);
    return fetch_send(s, "POST", url, headers, count, form, LIMIT_MS, false, e);
}

static const char form_type[] = "application/x-www-form-urlencoded; charset=utf-8";

static int begin_web_identity(struct credentials_source *s, struct err *e)
{
    char token[TOKEN_MAX];
    char type[80];
    int rc = secret_from_file(s->plan.text, token, sizeof token, e);
    if (rc != 0) {
        return rc;
    }
    char *form = make_form("AssumeRoleWithWebIdentity", &s->plan.web, token);
    explicit_bzero(token, sizeof token);
    (void)snprintf(type, sizeof type, "Content-Type: %s", form_type);
    const char *headers[] = {type};
    return form ? send_form(s, form, headers, 1, e) : err_set(e, ERR_MEMORY, 0, "AssumeRoleWithWebIdentity");
}

static int begin_assume_role(struct credentials_source *s, struct err *e)
{
    const struct role *role = &s->plan.roles[s->roles_left - 1];
    char date[17];
    char path[264];
    char hash[65];
    char lines[4][8200];
    struct tm parts;
    time_t seconds = (time_t)((clock_wall_ms() + s->offset_ms) / 1000);
    char *form = make_form("AssumeRole", role, "");
    if (!form) {
        return err_set(e, ERR_MEMORY, 0, "AssumeRole");
    }
    (void)gmtime_r(&seconds, &parts);
    (void)strftime(date, sizeof date, "%Y%m%dT%H%M%SZ", &parts);
    (void)snprintf(path, sizeof path, "%s/", s->sts.base);
    sigv4_sha256_hex(form, strlen(form), hash);
    struct sigv4_header signs[] = {{"content-type", form_type}, {"host", s->sts.host}, {"x-amz-date", date}, {"x-amz-security-token", s->next.session_token}};
    size_t count = s->next.session_token[0] ? 4 : 3;
    struct sigv4_request request = {.method = "POST", .path = path, .query = "", .headers = signs, .header_count = count, .payload_hash = hash,
                                    .double_encode = true, .normalize = true};
    struct sigv4_scope scope = {s->next.access_key_id, s->next.secret_access_key, s->region, "sts", date};
    struct sigv4_result result = {0};
    int rc = sigv4_sign(&request, &scope, &result, e);
    if (rc != 0) {
        free(form);
        return rc;
    }
    const char *headers[4] = {lines[0], lines[1], lines[2], lines[3]};
    (void)snprintf(lines[0], sizeof lines[0], "Content-Type: %s", form_type);
    (void)snprintf(lines[1], sizeof lines[1], "X-Amz-Date: %s", date);
    (void)snprintf(lines[2], sizeof lines[2], "Authorization: %s", result.authorization);
    (void)snprintf(lines[3], sizeof lines[3], "X-Amz-Security-Token: %s", s->next.session_token);
    rc = send_form(s, form, headers, count, e);
    sigv4_result_clear(&result);
    explicit_bzero(lines, sizeof lines);
    return rc;
}

/* ---- the answer ----------------------------------------------------------------------------------------------------------------------- */

struct reader {
    XML_Parser parser;
    int depth;
    bool in_credentials, bad;
    char text[TEXT_MAX];
    size_t used;
    struct credentials keys;
    char expires[40], code[80], message[160];
};

static void XMLCALL on_doctype(void *ctx, const XML_Char *name, const XML_Char *system_id, const XML_Char *public_id, int internal)
{
    struct reader *r = ctx;
    (void)name, (void)system_id, (void)public_id, (void)internal;
    r->bad = true;
    (void)XML_StopParser(r->parser, XML_FALSE);
}

static void XMLCALL on_begin(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
    struct reader *r = ctx;
    (void)attributes;
    r->used = 0;
    r->in_credentials = r->in_credentials || strcmp(name, "Credentials") == 0;
    if (++r->depth > DEPTH_MAX) {
        r->bad = true;
        (void)XML_StopParser(r->parser, XML_FALSE);
    }
}

static void XMLCALL on_text(void *ctx, const XML_Char *text, int length)
{
    struct reader *r = ctx;
    if (r->used + (size_t)length >= sizeof r->text) {
        r->bad = true;
        (void)XML_StopParser(r->parser, XML_FALSE);
        return;
    }
    memcpy(r->text + r->used, text, (size_t)length);
    r->used += (size_t)length;
}

static void XMLCALL on_end(void *ctx, const XML_Char *name)
{
    struct reader *r = ctx;
    const struct {
        const char *name;
        bool of_keys;
        char *place;
        size_t size;
    } places[] = {{"AccessKeyId", true, r->keys.access_key_id, sizeof r->keys.access_key_id},
                  {"SecretAccessKey", true, r->keys.secret_access_key, sizeof r->keys.secret_access_key},
                  {"SessionToken", true, r->keys.session_token, sizeof r->keys.session_token},
                  {"Expiration", true, r->expires, sizeof r->expires},
                  {"Code", false, r->code, sizeof r->code},
                  {"Message", false, r->message, sizeof r->message}};
    r->depth--;
    r->text[r->used] = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (strcmp(places[i].name, name) == 0 && places[i].of_keys == r->in_credentials) {
            bool cut = snprintf(places[i].place, places[i].size, "%s", r->text) >= (int)places[i].size;
            r->bad = r->bad || (cut && places[i].of_keys);
        }
    }
    if (strcmp(name, "Credentials") == 0) {
        r->in_credentials = false;
    }
    r->used = 0;
}

static void read_answer(const char *body, size_t bytes, struct reader *r)
{
    r->parser = XML_ParserCreate(NULL);
    if (!r->parser) {
        r->bad = true;
        return;
    }
    XML_SetUserData(r->parser, r);
    XML_SetElementHandler(r->parser, on_begin, on_end);
    XML_SetCharacterDataHandler(r->parser, on_text);
    XML_SetStartDoctypeDeclHandler(r->parser, on_doctype);
    bool fine = XML_Parse(r->parser, body, (int)bytes, 1) == XML_STATUS_OK;
    r->bad = r->bad || !fine;
    XML_ParserFree(r->parser);
}

/* The token in the file may be replaced just now, or not yet known everywhere: worth another attempt. */
static int meaning(long status, const char *code)
{
    int rc = strcmp(code, "InvalidIdentityToken") == 0 || strcmp(code, "IDPCommunicationError") == 0 ? ERR_AWS_SERVER
             : strcmp(code, "ExpiredTokenException") == 0                                            ? ERR_AWS_CREDENTIALS
                                                                                                     : aws_error_code(status, code);
    return rc == ERR_AWS_REJECTED || rc == ERR_AWS_NOT_FOUND || rc == 0 ? ERR_AWS_CREDENTIALS : rc;
}

static int step_sts(struct credentials_source *s, const char *action, struct err *e)
{
    int rc = fetch_reply(s, e);
    if (rc != PROVIDER_HAS) {
        return rc;
    }
    struct reader *r = calloc(1, sizeof *r);
    if (!r) {
        return err_set(e, ERR_MEMORY, 0, "%s", action);
    }
    read_answer(s->reply.body, s->reply.bytes, r);
    long status = s->reply.status;
    if (status != 200) {
        for (char *p = r->message; *p; p++) {
            *p = (unsigned char)*p < 0x20 || *p == '"' || *p == 0x7f ? ' ' : *p;
        }
        bool may_be_clock = aws_error_may_be_clock(status, r->code) && s->offset_ms != 0 && !s->clock_tried;
        rc = err_set(e, may_be_clock ? ERR_AWS_CLOCK : meaning(status, r->code), 0, "STS %s: %ld %.79s: %.140s", action, status,
                     r->code[0] ? r->code : "without an error code", r->message);
    } else if (r->bad || !r->keys.access_key_id[0] || !r->keys.secret_access_key[0] || !r->keys.session_token[0] ||
               !time_from_iso(r->expires, &r->keys.expires_ms)) {
        rc = err_set(e, ERR_PROTOCOL, 0, "STS %s: the answer holds no whole set of keys", action);
    } else {
        s->next = r->keys;
    }
    explicit_bzero(r, sizeof *r);
    free(r);
    return rc;
}

static int step_web_identity(struct credentials_source *s, struct err *e)
{
    return step_sts(s, "AssumeRoleWithWebIdentity", e);
}

static int step_assume_role(struct credentials_source *s, struct err *e)
{
    return step_sts(s, "AssumeRole", e);
}

const struct provider provider_web_identity = {"web identity", 3, false, begin_web_identity, step_web_identity};
const struct provider provider_assume_role = {"assumed role", 3, false, begin_assume_role, step_assume_role};
