/* credentials_container - the role of an ECS task or an EKS pod, by the endpoint that its agent names in the environment. A full URI without TLS is
 * only asked on this machine or at the agents' own addresses: the answer is a secret, and so is the token that is sent. The token file is
 * read at each fetch. Source: SDK reference "Container credential provider". */
#include "common/aws/credentials/credentials_internal.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT_MS = 2000 };

static const char relative[] = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
static const char full[] = "AWS_CONTAINER_CREDENTIALS_FULL_URI";

int plan_container(struct credentials_source *s, struct plan *out, struct err *e)
{
    (void)s;
    (void)e;
    out->base = BASE_CONTAINER;
    return environment(relative)[0] || environment(full)[0];
}

static bool host_is_near(const char *host_and_port)
{
    static const char *const agents[] = {"localhost", "169.254.170.2", "169.254.170.23", "::1", "fd00:ec2::23"};
    char host[264];
    struct in_addr four;
    bool six = host_and_port[0] == '[';
    (void)snprintf(host, sizeof host, "%.*s", (int)strcspn(host_and_port + six, six ? "]" : ":"), host_and_port + six);
    for (size_t i = 0; i < sizeof agents / sizeof agents[0]; i++) {
        if (strcmp(host, agents[i]) == 0) {
            return true;
        }
    }
    return !six && inet_pton(AF_INET, host, &four) == 1 && ntohl(four.s_addr) >> 24 == 127;
}

/* 0, or what is wrong with it. *direct: no proxy on the way. */
static int choose_url(char *url, size_t size, bool *direct, struct err *e)
{
    const char *path = environment(relative);
    const char *whole = environment(full);
    struct endpoint place;
    struct err why = {0};
    char authority[400];
    *direct = true;
    if (path[0]) {
        return path[0] == '/' && strcspn(path, " \r\n") == strlen(path) && snprintf(url, size, "http://169.254.170.2%s", path) < (int)size
                   ? 0
                   : err_set(e, ERR_CONFIG, 0, "%s must begin with a slash, hold no blank, and be short", relative);
    }
    size_t scheme = strncmp(whole, "https://", 8) == 0 ? 8 : 7;
    size_t length = strlen(whole) < scheme ? strlen(whole) : scheme + strcspn(whole + scheme, "/?#");
    if (snprintf(authority, sizeof authority, "%.*s", (int)length, whole) >= (int)sizeof authority || strcspn(whole, " \r\n") != strlen(whole) ||
        snprintf(url, size, "%s", whole) >= (int)size || endpoint_parse(authority, &place, &why) != 0) {
        return err_set(e, ERR_CONFIG, 0, "%s is no URL that can be used: %s", full, why.text);
    }
    bool near = host_is_near(place.host);
    *direct = near;
    return place.tls || near ? 0
                             : err_set(e, ERR_CONFIG, 0, "%s: without https only this machine, 169.254.170.2, 169.254.170.23 and [fd00:ec2::23] are asked",
                                       full);
}

static int begin(struct credentials_source *s, struct err *e)
{
    char url[2100];
    char token[TOKEN_MAX] = "";
    char line[TOKEN_MAX + 20];
    bool direct = true;
    const char *file = environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *given = environment("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    int rc = choose_url(url, sizeof url, &direct, e);
    if (rc == 0 && file[0]) {
        rc = secret_from_file(file, token, sizeof token, e);
    } else if (rc == 0 && snprintf(token, sizeof token, "%s", given) >= (int)sizeof token) {
        rc = err_set(e, ERR_CONFIG, 0, "AWS_CONTAINER_AUTHORIZATION_TOKEN is longer than any token");
    }
    if (rc == 0 && strpbrk(token, "\r\n")) {
        rc = err_set(e, ERR_AWS_CREDENTIALS, 0, "the container's authorization token holds a line break");
    }
    (void)snprintf(line, sizeof line, "Authorization: %s", token);
    const char *headers[] = {line};
    rc = rc ? rc : fetch_send(s, "GET", url, headers, token[0] ? 1 : 0, NULL, LIMIT_MS, direct, e);
    explicit_bzero(token, sizeof token);
    explicit_bzero(line, sizeof line);
    return rc;
}

static int step(struct credentials_source *s, struct err *e)
{
    int rc = fetch_reply(s, e);
    if (rc != PROVIDER_HAS) {
        return rc;
    }
    long status = s->reply.status;
    if (status != 200) {
        return err_set(e, status >= 500 || status == 429 ? ERR_AWS_SERVER : ERR_AWS_CREDENTIALS, 0, "the container's credentials endpoint answered %ld%s",
                       status, status < 500 ? ": check the task's or pod's role and the token" : "");
    }
    return keys_from_json(s->reply.body, s->reply.bytes, "Token", "container endpoint", &s->next, e);
}

const struct provider provider_container = {"container role", 3, true, begin, step};
