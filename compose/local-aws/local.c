/* local - /_local/faults: ordering what goes wrong. From this machine only, without a signature. See faults.h, README.md. */
#include "compose/local-aws/request.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <string.h>

static void show(struct request *r)
{
    answer_json(r, 200, faults_show(r->app->faults));
}

static void order(struct request *r)
{
    struct err e = {0};
    json_t *rules = r->body.bytes ? json_loadb(r->body.bytes, r->body.used, 0, NULL) : NULL;
    if (!rules) {
        answer_refuse(r, 400, "BadRequest", "the body is no JSON");
    } else if (faults_add(r->app->faults, rules, &e) != 0) {
        answer_refuse(r, 400, "BadRequest", "%s", e.text);
    } else {
        show(r);
    }
    json_decref(rules);
}

static void clear(struct request *r)
{
    faults_clear(r->app->faults);
    r->status = 204;
}

static const struct operation operations[] = {
    {"GET", show, false, true}, {"POST", order, false, true}, {"DELETE", clear, false, true}};

static bool is_near(const struct request *r)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (!info || !info->client_addr) {
        return false;
    }
    if (info->client_addr->sa_family == AF_INET) {
        const struct sockaddr_in *a = (const void *)info->client_addr;
        return ntohl(a->sin_addr.s_addr) >> 24 == 127;
    }
    if (info->client_addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const void *)info->client_addr;
        return IN6_IS_ADDR_LOOPBACK(&a->sin6_addr) || (IN6_IS_ADDR_V4MAPPED(&a->sin6_addr) && a->sin6_addr.s6_addr[12] == 127);
    }
    return false;
}

const struct operation *local_route(struct request *r)
{
    if (!is_near(r)) {
        answer_refuse(r, 403, "Forbidden", "only from this machine");
        return NULL;
    }
    for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
        if (strcmp(r->path, "/_local/faults") == 0 && strcmp(r->method, operations[i].name) == 0) {
            return &operations[i];
        }
    }
    answer_refuse(r, 404, "NotFound", "there is /_local/faults with GET, POST and DELETE");
    return NULL;
}
