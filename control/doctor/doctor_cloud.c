/* doctor_cloud - endpoints, clock, credentials, and who they are. See doctor.h. */
#include "common/aws/request/errors.h"
#include "control/doctor/doctor.h"

#include <stdlib.h>

enum { REACH_LIMIT_MS = 15000, CLOCK_NOTICE_MS = 5000, KEYS_SHORT_MS = 600000 };

static void check_client(struct doctor *d, struct finding *f)
{
    struct err e = {0};
    if (aws_client_open(&d->client, d->config, &e) != 0) {
        finding_set(f, FOUND_FAILED, "%s", e.text);
        finding_advise(f, "correct the setting that the sentence names; `storescpctl config` shows where it comes from");
        return;
    }
    d->facts |= FACT_CLIENT;
    finding_set(f, FOUND_FINE, "region %s (%s), at most %lld connections an uploader", d->site.region, d->site.region_origin,
                config_int(d->config, CFG_MAX_POOL_CONNECTIONS));
}

/* The proxy that the environment names for a URL; libcurl obeys it, apart from what no_proxy takes out. "" if none. */
static const char *proxy_words(const char *url)
{
    const char *upper = getenv("HTTPS_PROXY");
    const char *lower = getenv("https_proxy");
    const char *plain = getenv("http_proxy");
    const char *all = getenv("all_proxy");
    bool tls = strncmp(url, "https", 5) == 0;
    bool is_set = (tls && ((lower && lower[0]) || (upper && upper[0]))) || (!tls && plain && plain[0]) || (all && all[0]);
    return is_set ? " (a proxy is set in the environment; no_proxy takes hosts out)" : "";
}

static void reach(struct doctor *d, struct finding *f, enum aws_service service, enum config_key key, enum fact fact, enum found when_away)
{
    struct aws_reach r;
    struct err e = {0};
    long long connect_ms = config_int(d->config, CFG_AWS_CONNECT_MS) * 2;
    if (aws_reach(d->client, service, connect_ms < REACH_LIMIT_MS ? connect_ms : REACH_LIMIT_MS, &r, &e) != 0) {
        finding_set(f, when_away, "%s%s", e.text, proxy_words(r.url));
        finding_advise(f, e.code == ERR_CONFIG ? "set ca_bundle to the CA that signs for it (a proxy that opens TLS has its own), or correct %s"
                                               : "name service (DNS), route, firewall, proxy (https_proxy, no_proxy); or is %s right?",
                       config_describe(key)->name);
        return;
    }
    d->facts |= fact;
    finding_set(f, FOUND_FINE, "%s: %s answers in %lld ms%s", r.url, r.peer[0] ? r.peer : "it", (long long)r.took_ms, proxy_words(r.url));
}

static void check_reach_s3(struct doctor *d, struct finding *f)
{
    reach(d, f, AWS_S3, CFG_ENDPOINT_S3, FACT_S3, FOUND_FAILED);
}

static void check_reach_imaging(struct doctor *d, struct finding *f)
{
    reach(d, f, AWS_MEDICAL_IMAGING, CFG_ENDPOINT_AHI, FACT_IMAGING, FOUND_FAILED);
}

/* Keys that need no STS upload and import without it. */
static void check_reach_sts(struct doctor *d, struct finding *f)
{
    reach(d, f, AWS_STS, CFG_ENDPOINT_STS, FACT_STS, FOUND_WARNING);
    if (f->found == FOUND_WARNING) {
        finding_advise(f, "only roles and web identity need STS, and this command, to tell who you are; in a network without the Internet it wants an endpoint of its own");
    }
}

static void check_clock(struct doctor *d, struct finding *f)
{
    if (!(d->facts & (FACT_S3 | FACT_IMAGING | FACT_STS))) {
        finding_set(f, FOUND_NOT_CHECKED, "no server has answered");
        return;
    }
    long long off = (long long)aws_client_clock_offset_ms(d->client);
    if (llabs(off) < CLOCK_NOTICE_MS) {
        finding_set(f, FOUND_FINE, "this machine's clock agrees with the servers' (to some seconds)");
        return;
    }
    finding_set(f, llabs(off) < AWS_CLOCK_OFF_MS ? FOUND_WARNING : FOUND_FAILED, "this machine's clock is %lld s %s the servers'", llabs(off) / 1000,
                off > 0 ? "behind" : "before");
    finding_advise(f, "run a time service (systemd-timesyncd, chrony); requests are signed with the servers' time meanwhile, but times in the log and "
                      "database, and the expiry of keys and certificates, are judged wrongly");
}

static void check_keys(struct doctor *d, struct finding *f)
{
    struct aws_keys_facts keys;
    struct err e = {0};
    if (aws_keys_look(d->client, &keys, &e) != 0) {
        finding_set(f, FOUND_FAILED, "%s", e.text);
        finding_advise(f, "the sources and their order stand in docs/operations.md, \"Where the credentials come from\"");
        return;
    }
    d->facts |= FACT_KEYS;
    if (keys.left_ms < 0) {
        finding_set(f, FOUND_FINE, "access key %.16s from the %s, without an end", keys.access_key_id, keys.origin);
        return;
    }
    bool is_short = keys.left_ms < KEYS_SHORT_MS;
    bool is_fixed = strcmp(keys.origin, "settings") == 0 || strcmp(keys.origin, "shared file") == 0;
    finding_set(f, is_short && is_fixed ? FOUND_WARNING : FOUND_FINE, "access key %.16s from the %s, valid for %lld min", keys.access_key_id, keys.origin,
                (long long)(keys.left_ms / 60000));
    if (f->found == FOUND_WARNING) {
        finding_advise(f, "nobody renews keys of this source: use a role, or credential_process in the profile");
    }
}

static void check_identity(struct doctor *d, struct finding *f)
{
    struct err e = {0};
    if (!(d->facts & FACT_STS)) {
        finding_set(f, FOUND_NOT_CHECKED, "STS cannot be reached");
        return;
    }
    if (aws_caller_identity(d->client, &d->identity, &e) != 0) {
        memset(&d->identity, 0, sizeof d->identity);
        if (e.code == ERR_AWS_CREDENTIALS && !strstr(e.text, "scope")) { /* signed for another region: that may be STS's alone */
            d->facts &= ~(unsigned)FACT_KEYS; /* refused here, refused everywhere */
        }
        finding_of_error(f, FOUND_FAILED, &e, NO_PERMISSION);
        if (e.code == ERR_AWS_CREDENTIALS) {
            bool is_secret = strstr(e.text, "SignatureDoesNotMatch") != NULL;
            finding_advise(f, is_secret ? "the secret key does not belong to the access key: mistyped, or not copied whole? (aws_secret_access_key, or where the keys come from)"
                              : "AWS does not know these keys: are they deleted, deactivated, mistyped, of another partition (China, GovCloud)?");
        }
        return;
    }
    finding_set(f, FOUND_FINE, "%s", d->identity.arn);
    size_t length = strlen(d->identity.arn);
    if (length > 5 && strcmp(d->identity.arn + length - 5, ":root") == 0) {
        f->found = FOUND_WARNING;
        finding_advise(f, "these are the keys of the account's root user: make a role or user with the policy of `storescpctl doctor --policy`");
    }
}

static void check_dicomweb(struct doctor *d, struct finding *f)
{
    struct err e = {0};
    if (stow_check_settings(d->config, &e) != 0 || aws_client_open(&d->client, d->config, &e) != 0) {
        finding_set(f, FOUND_FAILED, "%s", e.text);
        finding_advise(f, "correct the setting that the sentence names");
        return;
    }
    d->facts |= FACT_CLIENT;
    finding_set(f, FOUND_FINE, "%s, %s", config_text(d->config, CFG_DICOMWEB_URL)[0] ? config_text(d->config, CFG_DICOMWEB_URL) : "HealthImaging's own service",
                strcmp(config_text(d->config, CFG_DICOMWEB_AUTH), "none") == 0 ? "without saying who we are" : config_text(d->config, CFG_DICOMWEB_AUTH));
}

/* A question for an instance that nobody has: name service, route, TLS, and who we are, without storing anything. */
static void check_dicomweb_query(struct doctor *d, struct finding *f)
{
    struct stow_put nothing = {.sop_instance_uid = "2.25.1", .study_uid = "2.25.1", .series_uid = "2.25.1", .fd = -1};
    bool found = false;
    struct err e = {0};
    int rc = stow_find(d->client, &nothing, &found, &e);
    if (rc == 0) {
        finding_set(f, FOUND_FINE, "the server answers queries (QIDO-RS)");
    } else if (rc == ERR_NETWORK || rc == ERR_TIMEOUT || rc == ERR_AWS_CREDENTIALS || rc == ERR_AWS_DENIED || err_class_of(rc) == ERR_CLASS_CONFIG) {
        finding_set(f, rc == ERR_AWS_NOT_FOUND ? FOUND_WARNING : FOUND_FAILED, "%s", e.text);
        finding_advise(f, "dicomweb_url, dicomweb_auth and what belongs to it; name service (DNS), route, proxy, ca_bundle");
    } else { /* it may store all the same */
        finding_set(f, FOUND_WARNING, "%s", e.text);
        finding_advise(f, "a server that only stores (STOW-RS) need not answer queries; if this one does, something is wrong there");
    }
}

static void check_dicomweb_store(struct doctor *d, struct finding *f)
{
    (void)d;
    finding_set(f, FOUND_NOT_CHECKED, "only an image shows whether the server stores");
    finding_advise(f, "`storescpctl status` says what an uploader waits for, `storescpctl stuck` what was refused");
}

const struct check doctor_cloud_checks[] = {
    {"dicomweb", OF_DICOMWEB, 0, check_dicomweb},
    {"dicomweb_query", OF_DICOMWEB, FACT_CLIENT, check_dicomweb_query},
    {"dicomweb_store", OF_DICOMWEB, 0, check_dicomweb_store},
    {"client", OF_AWS, 0, check_client},
    {"reach_s3", OF_AWS, FACT_CLIENT, check_reach_s3},
    {"reach_healthimaging", OF_IMAGING, FACT_CLIENT, check_reach_imaging},
    {"reach_sts", OF_AWS, FACT_CLIENT, check_reach_sts},
    {"clock", OF_AWS, FACT_CLIENT, check_clock},
    {"credentials", OF_AWS, FACT_CLIENT, check_keys},
    {"identity", OF_AWS, FACT_CLIENT | FACT_KEYS, check_identity},
    {NULL, 0, 0, NULL},
};
