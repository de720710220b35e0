/* endpoint - see endpoint.h. */
#include "common/aws/request/endpoint.h"
#include "common/aws/request/sigv4.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_MAX = 1024 };

/* ---- AWS's own endpoints -------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *signing_name, *title, *host;
    bool gov_is_fips; /* in GovCloud the usual endpoint is the FIPS one */
} services[AWS_SERVICE_COUNT] = {
    [AWS_S3] = {"s3", "S3", "s3", false},
    [AWS_MEDICAL_IMAGING] = {"medical-imaging", "HealthImaging", "medical-imaging", false},
    [AWS_RUNTIME_MEDICAL_IMAGING] = {"medical-imaging", "HealthImaging", "runtime-medical-imaging", false},
    [AWS_DICOM_MEDICAL_IMAGING] = {"medical-imaging", "HealthImaging", "dicom-medical-imaging", false},
    [AWS_STS] = {"sts", "STS", "sts", true},
    [AWS_SQS] = {"sqs", "SQS", "sqs", true},
    [AWS_DYNAMODB] = {"dynamodb", "DynamoDB", "dynamodb", true},
};

/* The published partitions (partitions.json of the SDKs). A region belongs to the one whose beginning it has, with a word and a number behind; the rest is
 * the first. Every partition that is published today has FIPS and dual stack, but for S3 in China. */
static const struct partition {
    const char *name; /* in ARNs */
    const char *begins, *global; /* "aws-cn-global" is a region, too, for services without one */
    const char *suffix, *dual_suffix;
    bool s3_fips, is_gov;
} partitions[] = {
    {"aws", "", "aws-global", "amazonaws.com", "api.aws", true, false},
    {"aws-cn", "cn-", "aws-cn-global", "amazonaws.com.cn", "api.amazonwebservices.com.cn", false, false},
    {"aws-us-gov", "us-gov-", "aws-us-gov-global", "amazonaws.com", "api.aws", true, true},
    {"aws-eusc", "eusc-de-", "", "amazonaws.eu", "api.amazonwebservices.eu", true, false},
    {"aws-iso", "us-iso-", "aws-iso-global", "c2s.ic.gov", "api.aws.ic.gov", true, false},
    {"aws-iso-b", "us-isob-", "aws-iso-b-global", "sc2s.sgov.gov", "api.aws.scloud", true, false},
    {"aws-iso-e", "eu-isoe-", "aws-iso-e-global", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk", true, false},
    {"aws-iso-f", "us-isof-", "aws-iso-f-global", "csp.hci.ic.gov", "api.aws.hci.ic.gov", true, false},
};

const char *endpoint_service_name(enum aws_service service)
{
    return services[service].signing_name;
}

const char *endpoint_service_title(enum aws_service service)
{
    return services[service].title;
}

/* "west-1": a word, a hyphen, a number. */
static bool is_word_and_number(const char *text)
{
    size_t word = strcspn(text, "-");
    size_t digits = text[word] ? strspn(text + word + 1, "0123456789") : 0;
    return word > 0 && digits > 0 && text[word + 1 + digits] == '\0';
}

static const struct partition *partition_of(const char *region)
{
    for (size_t i = 1; i < sizeof partitions / sizeof partitions[0]; i++) {
        size_t length = strlen(partitions[i].begins);
        if (strcmp(region, partitions[i].global) == 0 ||
            (strncmp(region, partitions[i].begins, length) == 0 && is_word_and_number(region + length))) {
            return &partitions[i];
        }
    }
    return &partitions[0];
}

const char *endpoint_partition(const char *region)
{
    return partition_of(region)->name;
}

int endpoint_resolve(enum aws_service service, const struct endpoint_wish *wish, struct endpoint *out, struct err *e)
{
    const char *region = wish->region;
    if (wish->url && wish->url[0]) {
        return wish->fips || wish->dualstack
                   ? err_set(e, ERR_CONFIG, 0, "\"%.100s\" and %s: that names an endpoint of AWS's own; only one of the two can count", wish->url,
                             wish->fips ? "FIPS" : "dual stack")
                   : endpoint_parse(wish->url, out, e);
    }
    size_t length = strlen(region);
    if (length == 0 || length > 63 || strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-") != length || region[0] == '-' || region[length - 1] == '-') {
        return err_set(e, ERR_CONFIG, 0, "\"%.64s\" is no region; it is like us-east-1", region);
    }
    const struct partition *p = partition_of(region);
    if (service == AWS_S3 && wish->fips && !p->s3_fips) {
        return err_set(e, ERR_CONFIG, 0, "S3 has no FIPS endpoint in %s", region);
    }
    if (service == AWS_S3 && strcmp(region, p->global) == 0) {
        return err_set(e, ERR_CONFIG, 0, "no bucket lies in %s: name its region", region);
    }
    const char *host = services[service].host;
    bool fips = wish->fips && (!p->is_gov || !services[service].gov_is_fips || wish->dualstack);
    memset(out, 0, sizeof *out);
    out->tls = true;
    if (service == AWS_S3) { /* older than the other suffix: dual stack is a word in the name */
        (void)snprintf(out->host, sizeof out->host, "%s%s.%s%s.%s", host, fips ? "-fips" : "", wish->dualstack ? "dualstack." : "", region, p->suffix);
    } else {
        (void)snprintf(out->host, sizeof out->host, "%s%s.%s.%s", host, fips ? "-fips" : "", region, wish->dualstack ? p->dual_suffix : p->suffix);
    }
    return 0;
}

/* ---- custom ones ------------------------------------------------------------------------------------------------------------------ */

static bool is_address(const char *host)
{
    struct in_addr four;
    return host[0] == '[' || inet_pton(AF_INET, host, &four) == 1;
}

static bool host_is_legal(const char *host)
{
    char inner[64];
    struct in6_addr six;
    size_t length = strlen(host);
    if (host[0] == '[') {
        if (length < 4 || length > 62 || host[length - 1] != ']') {
            return false;
        }
        (void)snprintf(inner, sizeof inner, "%.*s", (int)length - 2, host + 1);
        return inet_pton(AF_INET6, inner, &six) == 1;
    }
    return length > 0 && length <= 253 &&
           strspn(host, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_") == length && host[0] != '.';
}

int endpoint_parse(const char *url, struct endpoint *out, struct err *e)
{
    struct endpoint found = {0};
    char host[256];
    long port = 0;
    const char *p = url;
    if (strncmp(p, "https://", 8) == 0) {
        found.tls = true;
        p += 8;
    } else if (strncmp(p, "http://", 7) == 0) {
        p += 7;
    } else {
        return err_set(e, ERR_CONFIG, 0, "endpoint \"%.100s\": must begin with https:// (or http:// for a local server)", url);
    }
    size_t authority = strcspn(p, "/?#");
    const char *colon = NULL;
    for (size_t i = 0; i < authority; i++) {
        colon = p[i] == ':' ? p + i : p[i] == ']' ? NULL : colon;
    }
    size_t length = colon ? (size_t)(colon - p) : authority;
    if (length >= sizeof host) {
        return err_set(e, ERR_CONFIG, 0, "endpoint \"%.100s\": the host name is too long", url);
    }
    (void)snprintf(host, sizeof host, "%.*s", (int)length, p);
    if (!host_is_legal(host)) {
        return err_set(e, ERR_CONFIG, 0, "endpoint \"%.100s\": \"%.60s\" is no host name or address", url, host);
    }
    if (colon) {
        char *end = NULL;
        port = isdigit((unsigned char)colon[1]) ? strtol(colon + 1, &end, 10) : 0;
        if (end != p + authority || port < 1 || port > 65535) {
            return err_set(e, ERR_CONFIG, 0, "endpoint \"%.100s\": the port must be 1 to 65535", url);
        }
    }
    p += authority;
    size_t path = strlen(p);
    while (path > 0 && p[path - 1] == '/') {
        path--;
    }
    if (strcspn(p, "?# ") < path || path >= sizeof found.base) {
        return err_set(e, ERR_CONFIG, 0, "endpoint \"%.100s\": a query or a long path has no place there", url);
    }
    (void)snprintf(found.base, sizeof found.base, "%.*s", (int)path, p);
    found.is_address = is_address(host);
    if (port == 0 || port == (found.tls ? 443 : 80)) {
        (void)snprintf(found.host, sizeof found.host, "%s", host);
    } else {
        (void)snprintf(found.host, sizeof found.host, "%s:%ld", host, port);
    }
    *out = found;
    return 0;
}

/* One label of a host name that may be a bucket: 3-63 of [a-z0-9-], letters or digits at both ends. */
static bool is_plain_label(const char *bucket)
{
    size_t length = strlen(bucket);
    return length >= 3 && length <= 63 && strspn(bucket, "abcdefghijklmnopqrstuvwxyz0123456789-") == length && bucket[0] != '-' &&
           bucket[length - 1] != '-';
}

/* Capitals and underscores: buckets of us-east-1 from before 2018. */
int endpoint_check_bucket(const char *bucket, struct err *e)
{
    size_t length = strlen(bucket);
    if (length < 3 || length > 63 || strstr(bucket, "..") ||
        strspn(bucket, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_") != length) {
        return err_set(e, ERR_CONFIG, 0, "\"%.63s\" is no S3 bucket name: 3 to 63 of a-z 0-9 . -", bucket);
    }
    return 0;
}

int endpoint_s3_place(const struct endpoint *endpoint, bool path_style, const char *bucket, const char *key, struct endpoint_place *out,
                      struct err *e)
{
    char encoded[3 * KEY_MAX + 4];
    size_t length = strlen(bucket);
    if (length == 0) {
        return err_set(e, ERR_CONFIG, 0, "dicom_bucket is not set: name the S3 bucket for the images");
    }
    if (endpoint_check_bucket(bucket, e) != 0) {
        return ERR_CONFIG;
    }
    if (strlen(key) > KEY_MAX || sigv4_uri_encode(key, true, encoded, sizeof encoded) != 0) {
        return err_set(e, ERR_ARGUMENT, 0, "an S3 key has at most %d bytes", KEY_MAX);
    }
    if (path_style || endpoint->is_address || !is_plain_label(bucket)) {
        (void)snprintf(out->host, sizeof out->host, "%s", endpoint->host);
        (void)snprintf(out->path, sizeof out->path, "%s/%s%s%s", endpoint->base, bucket, key[0] ? "/" : "", encoded);
    } else {
        (void)snprintf(out->host, sizeof out->host, "%s.%s", bucket, endpoint->host);
        (void)snprintf(out->path, sizeof out->path, "%s/%s", endpoint->base, encoded);
    }
    return 0;
}
