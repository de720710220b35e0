/* call - what a request consists of before it is signed. See internal.h. */
#include "common/aws/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct aws_call *aws_call_new(struct aws_client *c, enum aws_service service, const char *operation, const char *method)
{
    struct aws_call *call = calloc(1, sizeof *call);
    if (!call) {
        return NULL;
    }
    call->service = service;
    call->operation = operation;
    call->method = method;
    call->fd = -1;
    call->response_max = 1 << 20;
    (void)snprintf(call->place.host, sizeof call->place.host, "%s", c->site.endpoints[service].host);
    (void)snprintf(call->place.path, sizeof call->place.path, "%s", c->site.endpoints[service].base);
    sigv4_sha256_hex("", 0, call->payload_hash);
    return call;
}

void aws_call_free(struct aws_call *call)
{
    if (call) {
        free(call->body);
        free(call->query);
        if (call->authorization) {
            explicit_bzero(call->authorization, strlen(call->authorization));
            free(call->authorization);
        }
        free(call);
    }
}

void aws_call_header(struct aws_call *call, const char *name, const char *format, ...)
{
    va_list args;
    size_t i = call->header_count;
    if (i == AWS_HEADERS_MAX) {
        abort(); /* our own mistake: the number is known where the code is written */
    }
    va_start(args, format);
    (void)vsnprintf(call->values[i], sizeof call->values[i], format, args);
    va_end(args);
    call->headers[i].name = name;
    call->headers[i].value = call->values[i];
    call->header_count++;
}

void aws_call_header_text(struct aws_call *call, const char *name, const char *value)
{
    if (!value[0]) {
        return;
    }
    if (call->header_count == AWS_HEADERS_MAX) {
        abort(); /* as above */
    }
    call->headers[call->header_count++] = (struct sigv4_header){name, value};
}

int aws_call_query(struct aws_call *call, const char *name, const char *value)
{
    char encoded[3 * 8192 + 4];
    char *longer = NULL;
    if (sigv4_uri_encode(value, false, encoded, sizeof encoded) != 0) {
        return ERR_ARGUMENT;
    }
    if (asprintf(&longer, "%s%s%s=%s", call->query ? call->query : "", call->query ? "&" : "", name, encoded) == -1) {
        return ERR_MEMORY;
    }
    free(call->query);
    call->query = longer;
    return 0;
}

struct aws_call *aws_call_new_json(struct aws_client *c, enum aws_service service, const char *operation, const char *target, char *body)
{
    struct aws_call *call = body ? aws_call_new(c, service, operation, "POST") : NULL;
    if (!call) {
        free(body);
        return NULL;
    }
    size_t used = strlen(call->place.path);
    (void)snprintf(call->place.path + used, sizeof call->place.path - used, "/");
    call->body = body;
    call->body_bytes = strlen(body);
    sigv4_sha256_hex(body, call->body_bytes, call->payload_hash);
    aws_call_header(call, "content-type", "application/x-amz-json-1.0");
    aws_call_header(call, "x-amz-target", "%s", target);
    return call;
}
