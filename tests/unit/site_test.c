/* Where the region and the endpoints come from: published rules as a table of our own, the order of settings, environment and shared files, and the
 * instance's metadata by a scripted server. The whole rule set of HealthImaging is compared by tests/pipeline/endpoint_rules_test.py. */
#include "common/aws/request/site.h"
#include "common/runtime/config.h"
#include "tests/unit/scripted_server.h"

#include <stdlib.h>

static char home[64];

/* ---- the rules ------------------------------------------------------------------------------------------------------------------- */

/* Source: the ids of the published list of partitions. */
static void partitions_of_arns(void **unused)
{
    static const char *const cases[][2] = {{"us-east-1", "aws"}, {"eu-west-2", "aws"}, {"cn-north-1", "aws-cn"}, {"us-gov-west-1", "aws-us-gov"},
                                           {"us-gov-west", "aws"}, {"eusc-de-east-1", "aws-eusc"}, {"us-iso-east-1", "aws-iso"},
                                           {"us-isob-east-1", "aws-iso-b"}, {"eu-isoe-west-1", "aws-iso-e"}, {"us-isof-south-1", "aws-iso-f"}};
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_string_equal(endpoint_partition(cases[i][0]), cases[i][1]);
    }
}

/* Source: endpoint tests published with the SDKs. "" as host: there is none. */
static void endpoints_of_aws(void **unused)
{
    static const struct {
        enum aws_service service;
        const char *region;
        bool fips, dualstack;
        const char *host;
    } cases[] = {
        {AWS_S3, "us-west-2", false, false, "s3.us-west-2.amazonaws.com"},
        {AWS_S3, "us-west-2", false, true, "s3.dualstack.us-west-2.amazonaws.com"},
        {AWS_S3, "us-west-2", true, false, "s3-fips.us-west-2.amazonaws.com"},
        {AWS_S3, "us-west-2", true, true, "s3-fips.dualstack.us-west-2.amazonaws.com"},
        {AWS_S3, "cn-north-1", false, false, "s3.cn-north-1.amazonaws.com.cn"},
        {AWS_S3, "cn-north-1", false, true, "s3.dualstack.cn-north-1.amazonaws.com.cn"},
        {AWS_S3, "cn-north-1", true, false, ""},
        {AWS_S3, "cn-northwest-1", true, true, ""},
        {AWS_S3, "us-gov-west-1", true, false, "s3-fips.us-gov-west-1.amazonaws.com"},
        {AWS_S3, "af-south-1", false, true, "s3.dualstack.af-south-1.amazonaws.com"},
        {AWS_S3, "aws-global", false, false, ""},
        {AWS_S3, "us east/1", false, false, ""},
        {AWS_S3, "", false, false, ""},
        {AWS_S3, "-east-1", false, false, ""},
        {AWS_MEDICAL_IMAGING, "eu-west-1", false, false, "medical-imaging.eu-west-1.amazonaws.com"},
        {AWS_MEDICAL_IMAGING, "us-east-1", true, false, "medical-imaging-fips.us-east-1.amazonaws.com"},
        {AWS_MEDICAL_IMAGING, "us-east-1", true, true, "medical-imaging-fips.us-east-1.api.aws"},
        {AWS_MEDICAL_IMAGING, "cn-north-1", false, true, "medical-imaging.cn-north-1.api.amazonwebservices.com.cn"},
        {AWS_MEDICAL_IMAGING, "eusc-de-east-1", false, false, "medical-imaging.eusc-de-east-1.amazonaws.eu"},
        {AWS_MEDICAL_IMAGING, "eusc-de-east", false, false, "medical-imaging.eusc-de-east.amazonaws.com"},
        {AWS_RUNTIME_MEDICAL_IMAGING, "us-east-1", true, false, "runtime-medical-imaging-fips.us-east-1.amazonaws.com"},
        {AWS_DICOM_MEDICAL_IMAGING, "ap-southeast-2", false, false, "dicom-medical-imaging.ap-southeast-2.amazonaws.com"},
        {AWS_STS, "us-east-1", true, false, "sts-fips.us-east-1.amazonaws.com"},
        {AWS_STS, "us-gov-east-1", true, false, "sts.us-gov-east-1.amazonaws.com"},
        {AWS_STS, "us-iso-east-1", false, false, "sts.us-iso-east-1.c2s.ic.gov"},
        {AWS_SQS, "us-east-2", false, true, "sqs.us-east-2.api.aws"},
        {AWS_SQS, "cn-northwest-1", true, true, "sqs-fips.cn-northwest-1.api.amazonwebservices.com.cn"},
        {AWS_SQS, "us-gov-west-1", true, false, "sqs.us-gov-west-1.amazonaws.com"},
        {AWS_SQS, "us-isob-east-1", true, false, "sqs-fips.us-isob-east-1.sc2s.sgov.gov"},
        {AWS_DYNAMODB, "us-gov-east-1", true, true, "dynamodb-fips.us-gov-east-1.api.aws"},
        {AWS_DYNAMODB, "us-gov-east-1", false, true, "dynamodb.us-gov-east-1.api.aws"},
        {AWS_DYNAMODB, "us-isob-east-1", true, false, "dynamodb-fips.us-isob-east-1.sc2s.sgov.gov"},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct endpoint out = {.host = "untouched"};
        struct err e = {0};
        struct endpoint_wish wish = {.region = cases[i].region, .fips = cases[i].fips, .dualstack = cases[i].dualstack};
        int rc = endpoint_resolve(cases[i].service, &wish, &out, &e);
        if (strcmp(rc ? "" : out.host, cases[i].host) != 0) {
            print_error("case %zu: %d %s\n", i, rc, rc ? e.text : out.host);
        }
        assert_int_equal(rc, cases[i].host[0] ? 0 : ERR_CONFIG);
        assert_string_equal(out.host, rc ? "untouched" : cases[i].host);
        assert_true(rc || (out.tls && !out.is_address && !out.base[0]));
    }
}

/* ---- settings, environment, shared files -------------------------------------------------------------------------------------------- */

static const char *const variables[] = {"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS",
                                        "AWS_ENDPOINT_URL_MEDICAL_IMAGING", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_USE_FIPS_ENDPOINT",
                                        "AWS_USE_DUALSTACK_ENDPOINT", "AWS_PROFILE", "AWS_EC2_METADATA_SERVICE_ENDPOINT"};

static void put_file(const char *name, const char *text)
{
    char path[96];
    (void)snprintf(path, sizeof path, "%s/%s", home, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int before_each(void **unused)
{
    char path[96];
    (void)unused;
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        (void)unsetenv(variables[i]);
    }
    (void)snprintf(path, sizeof path, "%s/config", home);
    (void)setenv("AWS_CONFIG_FILE", path, 1);
    (void)snprintf(path, sizeof path, "%s/credentials", home);
    (void)setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
    (void)setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    put_file("storescp.conf", "");
    put_file("config", "");
    put_file("credentials", "");
    return 0;
}

static int choose(struct aws_site *out, struct err *e)
{
    struct config *config = NULL;
    struct err why = {0};
    int rc = config_load(&config, home, &why);
    if (rc != 0) {
        print_error("%s\n", why.text);
    }
    assert_int_equal(rc, 0);
    rc = aws_site_choose(config, out, e);
    config_free(&config);
    return rc;
}

static void has_region(const char *region, const char *origin)
{
    struct aws_site site;
    struct err e = {0};
    int rc = choose(&site, &e);
    if (rc != 0 || strcmp(site.region, region) != 0 || strcmp(site.region_origin, origin) != 0) {
        print_error("wanted %s by %s, not %s by %s: %s\n", region, origin, site.region, site.region_origin, e.text);
    }
    assert_int_equal(rc, 0);
    assert_string_equal(site.region, region);
    assert_string_equal(site.region_origin, origin);
}

static void has_host(enum aws_service service, const char *host)
{
    struct aws_site site;
    struct err e = {0};
    int rc = choose(&site, &e);
    if (rc != 0 || strcmp(site.endpoints[service].host, host) != 0) {
        print_error("wanted %s, not %s: %s\n", host, rc ? "" : site.endpoints[service].host, e.text);
    }
    assert_int_equal(rc, 0);
    assert_string_equal(site.endpoints[service].host, host);
}

static void is_refused(const char *text)
{
    struct aws_site site;
    struct err e = {0};
    assert_int_equal(choose(&site, &e), ERR_CONFIG);
    if (!strstr(e.text, text)) {
        print_error("\"%s\" is not in \"%s\"\n", text, e.text);
    }
    assert_non_null(strstr(e.text, text));
}

static void where_the_region_comes_from(void **unused)
{
    (void)unused;
    is_refused("aws_region is not set");
    put_file("credentials", "[default]\nregion = eu-west-3\n");
    has_region("eu-west-3", "profile [default]");
    put_file("config", "[default]\nregion = eu-west-1\n[profile clinic]\nregion = ap-southeast-2\ns3 =\n  region = nested\n");
    has_region("eu-west-1", "profile [default]");
    (void)setenv("AWS_PROFILE", "clinic", 1);
    has_region("ap-southeast-2", "profile [clinic]");
    (void)setenv("AWS_DEFAULT_REGION", "us-west-2", 1);
    has_region("us-west-2", "environment AWS_DEFAULT_REGION");
    (void)setenv("AWS_REGION", "us-east-2", 1);
    has_region("us-east-2", "environment AWS_REGION");
    (void)unsetenv("AWS_REGION");
    (void)unsetenv("AWS_DEFAULT_REGION");
    put_file("storescp.conf", "aws_region = eu-west-2\n");
    has_region("eu-west-2", "storescp.conf line 1");
    put_file("storescp.conf", "aws_region = Frankfurt\n");
    is_refused("aws_region (storescp.conf line 1): \"Frankfurt\" is no region");
}

/* A local server has no region: none is asked for. One endpoint of AWS's own, and it matters again. */
static void without_a_region(void **unused)
{
    (void)unused;
    put_file("storescp.conf", "endpoint_url = http://127.0.0.1:9000\n");
    has_region("us-east-1", "usual with an endpoint_url");
    put_file("storescp.conf", "endpoint_url_s3 = http://127.0.0.1:9000\n");
    is_refused("aws_region is not set");
}

static void the_instance_names_the_region(void **unused)
{
    static const struct answer script[] = {{ANSWER, "HTTP/1.1 200 OK\r\n\r\ntoken-1", 0}, {ANSWER, "HTTP/1.1 200 OK\r\n\r\neu-west-1", 0},
                                           {ANSWER, "HTTP/1.1 403 Forbidden\r\n\r\n", 0}};
    char url[64];
    (void)unused;
    serve(script, 3);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d", server.port);
    (void)setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url, 1);
    (void)unsetenv("AWS_EC2_METADATA_DISABLED");
    has_region("eu-west-1", "instance metadata");
    assert_int_equal(server.request_count, 2);
    assert_int_equal(strncmp(server.heads[0], "PUT /latest/api/token HTTP", 26), 0);
    assert_int_equal(strncmp(server.heads[1], "GET /latest/meta-data/placement/region HTTP", 43), 0);
    assert_non_null(strcasestr(server.heads[1], "\r\nx-aws-ec2-metadata-token: token-1\r\n"));
    is_refused("403");
    stop_serving();
    (void)setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
}

/* From the last to the first: each wins over those before it. */
static void where_endpoints_come_from(void **unused)
{
    (void)unused;
    (void)setenv("AWS_REGION", "us-east-1", 1);
    has_host(AWS_S3, "s3.us-east-1.amazonaws.com");
    put_file("config", "[default]\nendpoint_url = https://profile.example\n");
    has_host(AWS_S3, "profile.example");
    put_file("config", "[default]\nendpoint_url = https://profile.example\nservices = site\n[services site]\ns3 =\n  endpoint_url = https://service.example\n"
                       "sqs =\n  endpoint_url = https://queue.example\n[services other]\nsts =\n  endpoint_url = https://other.example\n");
    has_host(AWS_S3, "service.example");
    has_host(AWS_SQS, "queue.example");
    has_host(AWS_STS, "profile.example");
    (void)setenv("AWS_ENDPOINT_URL", "https://environment.example", 1);
    has_host(AWS_S3, "environment.example");
    has_host(AWS_DYNAMODB, "environment.example");
    (void)setenv("AWS_ENDPOINT_URL_S3", "https://s3environment.example:8443/base/", 1);
    has_host(AWS_S3, "s3environment.example:8443");
    has_host(AWS_MEDICAL_IMAGING, "environment.example");
    (void)setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true", 1);
    has_host(AWS_S3, "s3.us-east-1.amazonaws.com");
    has_host(AWS_STS, "sts.us-east-1.amazonaws.com");
    put_file("storescp.conf", "endpoint_url_s3 = https://conf.example\n");
    has_host(AWS_S3, "conf.example");
    has_host(AWS_MEDICAL_IMAGING, "medical-imaging.us-east-1.amazonaws.com");
}

static void fips_and_dual_stack(void **unused)
{
    (void)unused;
    (void)setenv("AWS_REGION", "us-east-1", 1);
    put_file("config", "[default]\nuse_fips_endpoint = true\nuse_dualstack_endpoint = true\n");
    has_host(AWS_S3, "s3-fips.dualstack.us-east-1.amazonaws.com");
    put_file("storescp.conf", "use_fips = false\n"); /* a setting wins over the profile, also one that says no */
    has_host(AWS_S3, "s3.dualstack.us-east-1.amazonaws.com");
    put_file("config", "");
    put_file("storescp.conf", "");
    (void)setenv("AWS_USE_FIPS_ENDPOINT", "true", 1);
    has_host(AWS_STS, "sts-fips.us-east-1.amazonaws.com");
    (void)setenv("AWS_REGION", "cn-north-1", 1);
    is_refused("use_fips: S3 has no FIPS endpoint in cn-north-1");
    (void)setenv("AWS_REGION", "us-east-1", 1);
    put_file("storescp.conf", "endpoint_url_s3 = https://conf.example\n");
    is_refused("endpoint_url_s3 (storescp.conf line 1): \"https://conf.example\" and FIPS");
    (void)unsetenv("AWS_USE_FIPS_ENDPOINT");
    (void)setenv("AWS_USE_DUALSTACK_ENDPOINT", "true", 1);
    is_refused("dual stack");
    (void)unsetenv("AWS_USE_DUALSTACK_ENDPOINT");
    put_file("storescp.conf", "endpoint_url_s3 = conf.example\n");
    is_refused("endpoint_url_s3 (storescp.conf line 1): endpoint \"conf.example\": must begin with https://");
    put_file("storescp.conf", "");
    put_file("config", "[default]\nendpoint_url = conf.example\n");
    is_refused("endpoint_url of profile [default]");
}

int main(void)
{
    (void)snprintf(home, sizeof home, "/tmp/storescp-site.XXXXXX");
    if (!mkdtemp(home)) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partitions_of_arns),
        cmocka_unit_test(endpoints_of_aws),
        cmocka_unit_test_setup(where_the_region_comes_from, before_each),
        cmocka_unit_test_setup(without_a_region, before_each),
        cmocka_unit_test_setup(the_instance_names_the_region, before_each),
        cmocka_unit_test_setup(where_endpoints_come_from, before_each),
        cmocka_unit_test_setup(fips_and_dual_stack, before_each),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    static const char *const files[] = {"storescp.conf", "config", "credentials"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[96];
        (void)snprintf(path, sizeof path, "%s/%s", home, files[i]);
        (void)unlink(path);
    }
    (void)rmdir(home);
    return failed;
}
