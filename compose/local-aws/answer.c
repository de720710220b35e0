/* request.h: look-ups in the request, and the answer's shapes. */
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "compose/local-aws/request.h"

#include <microhttpd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *request_header(const struct request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

struct each {
    int (*each)(void *ctx, const char *name, const char *value);
    void *ctx;
};

static enum MHD_Result pass_on(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct each *e = cls;
    (void)kind;
    return e->each(e->ctx, name, value ? value : "") == 0 ? MHD_YES : MHD_NO;
}

void request_each_header(const struct request *r, int (*each)(void *ctx, const char *name, const char *value), void *ctx)
{
    struct each e = {each, ctx};
    (void)MHD_get_connection_values(r->connection, MHD_HEADER_KIND, pass_on, &e);
}

bool request_query(const struct request *r, const char *name, char *value, size_t size)
{
    char found[128];
    for (const char *p = r->query; *p;) {
        size_t part = strcspn(p, "&");
        const char *equals = memchr(p, '=', part);
        size_t length = equals ? (size_t)(equals - p) : part;
        if (text_decode(p, length, true, found, sizeof found) && strcmp(found, name) == 0) {
            if (value && (!equals || !text_decode(equals + 1, part - length - 1, true, value, size))) {
                value[0] = '\0';
            }
            return true;
        }
        p += part + (p[part] == '&');
    }
    return false;
}

/* ---- headers of the answer ----------------------------------------------------------------------------------------------- */

void answer_header(struct request *r, const char *name, const char *value)
{
    char *copy = strdup(value);
    size_t i = 0;
    while (i < r->header_count && strcasecmp(r->headers[i].name, name) != 0) {
        i++;
    }
    if (!copy || i == ANSWER_HEADERS) {
        free(copy);
        return;
    }
    if (i == r->header_count) {
        (void)snprintf(r->headers[i].name, sizeof r->headers[i].name, "%s", name);
        r->header_count++;
    } else {
        free(r->headers[i].value);
    }
    r->headers[i].value = copy;
}

void answer_headerf(struct request *r, const char *name, const char *format, ...)
{
    char *value = NULL;
    va_list list;
    va_start(list, format);
    int n = vasprintf(&value, format, list);
    va_end(list);
    if (n >= 0) {
        answer_header(r, name, value);
        free(value);
    }
}

/* ---- bodies ---------------------------------------------------------------------------------------------------------------- */

void answer_xml(struct request *r, unsigned status)
{
    text_clear(&r->out);
    r->status = status;
    answer_header(r, "Content-Type", r->service == SERVICE_STS ? "text/xml" : "application/xml");
    text_add(&r->out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
}

void answer_json(struct request *r, unsigned status, json_t *json)
{
    text_clear(&r->out);
    r->status = status;
    answer_header(r, "Content-Type", "application/json");
    char *made = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(15));
    text_add(&r->out, made ? made : "{}");
    free(made);
    json_decref(json);
}

static void refuse_xml(struct request *r, unsigned status, const char *code, const char *message)
{
    answer_xml(r, status);
    if (r->service == SERVICE_STS) {
        text_add(&r->out, "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>");
        text_add_element(&r->out, "Type", status < 500 ? "Sender" : "Receiver");
        text_add_element(&r->out, "Code", code);
        text_add_element(&r->out, "Message", message);
        text_add(&r->out, "</Error>");
        text_add_element(&r->out, "RequestId", r->id);
        text_add(&r->out, "</ErrorResponse>");
        return;
    }
    text_add(&r->out, "<Error>");
    text_add_element(&r->out, "Code", code);
    text_add_element(&r->out, "Message", message);
    if (strcmp(code, "AuthorizationHeaderMalformed") == 0) {
        text_add_element(&r->out, "Region", r->app->options.region);
    }
    text_add_element(&r->out, "Resource", r->path ? r->path : "/");
    text_add_element(&r->out, "RequestId", r->id);
    text_add_element(&r->out, "HostId", "local");
    text_add(&r->out, "</Error>");
}

void answer_refuse(struct request *r, unsigned status, const char *code, const char *format, ...)
{
    char message[400];
    va_list list;
    if (r->status >= 400) {
        return;
    }
    va_start(list, format);
    (void)vsnprintf(message, sizeof message, format, list);
    va_end(list);
    if (r->out_fd >= 0) { /* the answer was a file: it is closed by who answers, http.c */
        r->out_bytes = 0;
    }
    if (r->service == SERVICE_SQS) {
        answer_json(r, status, json_pack("{s:s s:s%}", "__type", code, "message", message, strlen(message)));
        answer_header(r, "Content-Type", "application/x-amz-json-1.0");
        const char *hash = strrchr(code, '#');
        answer_headerf(r, "x-amzn-query-error", "%s;%s", hash ? hash + 1 : code, status < 500 ? "Sender" : "Receiver"); /* the code of the older protocol */
    } else if (r->service == SERVICE_IMAGING || r->service == SERVICE_LOCAL) {
        answer_json(r, status, json_pack("{s:s%}", "message", message, strlen(message)));
        answer_header(r, "x-amzn-errortype", code);
    } else {
        refuse_xml(r, status, code, message);
    }
    log_info("refused", "operation=%s status=%u code=%s request=%s", r->operation ? r->operation->name : "none", status, code, r->id);
}

void answer_trouble(struct request *r, const struct err *e)
{
    char text[700];
    log_error("trouble", "operation=%s error=%s detail=%s request=%s", r->operation ? r->operation->name : "none", err_name(e->code),
              log_text(e->text, text, sizeof text), r->id);
    answer_refuse(r, 500, r->service == SERVICE_IMAGING || r->service == SERVICE_SQS ? "InternalServerException" : "InternalError",
                  "We encountered an internal error. Please try again.");
}
