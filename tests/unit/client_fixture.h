/*
 * client_fixture - an AWS client against the scripted server, with settings in a storescp.conf of its own: what the tests of S3, HealthImaging, DICOMweb and
 * of repeated requests begin and end with.
 */
#ifndef STORESCP_TESTS_CLIENT_FIXTURE_H
#define STORESCP_TESTS_CLIENT_FIXTURE_H

#include "common/aws/client.h"
#include "tests/unit/scripted_server.h"

struct fixture {
    struct config *config;
    struct aws_client *client;
};

/* first, more: lines of storescp.conf; endpoint and keys stand between them. check: what must be right before; may be NULL. */
static struct fixture fixture_open(const char *home, const char *first, const char *more, int (*check)(const struct config *, struct err *))
{
    struct fixture f = {NULL, NULL};
    struct err e = {0};
    char path[96];
    (void)snprintf(path, sizeof path, "%s/storescp.conf", home);
    FILE *conf = fopen(path, "we");
    assert_non_null(conf);
    assert_true(fprintf(conf, "%sendpoint_url = http://127.0.0.1:%d\naws_access_key_id = AKIATEST\naws_secret_access_key = verysecretkey\naws_stall_s = 1\n%s", first,
                        server.port, more) > 0);
    assert_int_equal(fclose(conf), 0);
    int rc = config_load(&f.config, home, &e);
    rc = rc || !check ? rc : check(f.config, &e);
    rc = rc ? rc : aws_client_open(&f.client, f.config, &e);
    if (rc != 0) {
        print_error("%s\n", e.text);
    }
    assert_int_equal(rc, 0);
    return f;
}

static void close_client(struct fixture *f)
{
    aws_client_close(&f->client);
    config_free(&f->config);
    stop_serving();
}

#endif
