/* site - see site.h. */
#include "common/aws/request/site.h"
#include "common/aws/credentials/credentials_internal.h"
#include "common/runtime/ini_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { URL_MAX = 501, NAME_MAX_CHARS = 129, FILES = 2 };

/* What belongs to a service: its setting, and its word in a `services` section. HealthImaging's three share the SDKs' one; DICOMweb, which no SDK
 * knows, has a setting of its own, because behind a private endpoint it has a name of its own. */
static const struct {
    enum config_key own;
    const char *word;
} names[AWS_SERVICE_COUNT] = {
    [AWS_S3] = {CFG_ENDPOINT_S3, "s3"},
    [AWS_MEDICAL_IMAGING] = {CFG_ENDPOINT_AHI, "medical_imaging"},
    [AWS_RUNTIME_MEDICAL_IMAGING] = {CFG_ENDPOINT_AHI, "medical_imaging"},
    [AWS_DICOM_MEDICAL_IMAGING] = {CFG_ENDPOINT_DICOMWEB, "dicom_medical_imaging"},
    [AWS_STS] = {CFG_ENDPOINT_STS, "sts"},
    [AWS_SQS] = {CFG_ENDPOINT_SQS, "sqs"},
    [AWS_DYNAMODB] = {CFG_ENDPOINT_DYNAMODB, "dynamodb"},
};

/* ---- the shared files ----------------------------------------------------------------------------------------------------------- */

struct shared {
    char region[64], url[URL_MAX], fips[8], dualstack[8], ignore[8], services[NAME_MAX_CHARS];
    char service_urls[AWS_SERVICE_COUNT][URL_MAX];
};

struct pass {
    const char *section;
    struct shared *out;
    bool of_services;
    char word[64]; /* the service whose indented lines follow */
};

static void keep(char *place, size_t size, const char *value)
{
    if (strlen(value) < size) { /* what is longer is no region and no URL */
        (void)snprintf(place, size, "%s", value);
    }
}

static void on_service_line(struct pass *pass, const struct ini_line *line)
{
    if (!line->nested) {
        (void)snprintf(pass->word, sizeof pass->word, "%.63s", line->name);
    } else if (strcmp(line->name, "endpoint_url") == 0) {
        for (size_t i = 0; i < AWS_SERVICE_COUNT; i++) {
            if (strcmp(names[i].word, pass->word) == 0) {
                keep(pass->out->service_urls[i], URL_MAX, line->value);
            }
        }
    }
}

static int on_line(void *ctx, const struct ini_line *line)
{
    struct pass *pass = ctx;
    struct shared *s = pass->out;
    const struct {
        const char *name;
        char *place;
        size_t size;
    } places[] = {{"region", s->region, sizeof s->region},
                  {"endpoint_url", s->url, sizeof s->url},
                  {"use_fips_endpoint", s->fips, sizeof s->fips},
                  {"use_dualstack_endpoint", s->dualstack, sizeof s->dualstack},
                  {"ignore_configured_endpoint_urls", s->ignore, sizeof s->ignore},
                  {"services", s->services, sizeof s->services}};
    if (strcmp(line->section, pass->section) != 0) {
        return 0;
    }
    if (pass->of_services) {
        on_service_line(pass, line);
        return 0;
    }
    for (size_t i = 0; !line->nested && i < sizeof places / sizeof places[0]; i++) {
        if (strcmp(places[i].name, line->name) == 0) {
            keep(places[i].place, places[i].size, line->value);
        }
    }
    return 0;
}

/* A file that is not there or cannot be read says nothing: whoever needs keys from it will tell. */
static void read_section(const char *path, const char *section, bool of_services, struct shared *out)
{
    struct pass pass = {.section = section, .out = out, .of_services = of_services};
    struct err ignored = {0};
    if (path[0]) {
        (void)ini_file_read(path, on_line, &pass, NULL, &ignored);
    }
}

static void read_shared(const char *profile, struct shared *out)
{
    char paths[FILES][SHARED_PATH_MAX];
    char section[NAME_MAX_CHARS + 16];
    memset(out, 0, sizeof *out);
    aws_shared_paths(paths[0], paths[1]);
    read_section(paths[0], profile, false, out);
    if (strcmp(profile, "default") == 0) {
        read_section(paths[1], profile, false, out);
    }
    (void)snprintf(section, sizeof section, "profile %s", profile);
    read_section(paths[1], section, false, out);
    if (out->services[0]) {
        (void)snprintf(section, sizeof section, "services %s", out->services);
        read_section(paths[1], section, true, out);
    }
}

static void shared_path(char *path, const char *variable, const char *below_home)
{
    const char *named = environment(variable);
    const char *home = environment("HOME");
    int n = named[0]  ? snprintf(path, SHARED_PATH_MAX, "%s", named)
            : home[0] ? snprintf(path, SHARED_PATH_MAX, "%s/%s", home, below_home)
                      : 0;
    if (n <= 0 || n >= SHARED_PATH_MAX) {
        path[0] = '\0';
    }
}

void aws_shared_paths(char credentials_path[SHARED_PATH_MAX], char config_path[SHARED_PATH_MAX])
{
    shared_path(credentials_path, "AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials");
    shared_path(config_path, "AWS_CONFIG_FILE", ".aws/config");
}

/* ---- the choice ---------------------------------------------------------------------------------------------------------------- */

static bool is_default(const struct config *c, enum config_key key)
{
    return strcmp(config_origin(c, key), "default") == 0;
}

static bool chosen(const struct config *c, enum config_key key, const char *in_profile)
{
    return is_default(c, key) ? strcasecmp(in_profile, "true") == 0 : config_bool(c, key);
}

/* The custom endpoint of a service, "" if there is none; *where names its origin. */
static const char *custom_url(const struct config *c, const struct shared *s, enum aws_service service, char *where, size_t size)
{
    const char *profile = config_text(c, CFG_AWS_PROFILE);
    const enum config_key keys[] = {names[service].own, CFG_ENDPOINT};
    for (size_t i = 0; i < 2; i++) {
        if (config_text(c, keys[i])[0]) {
            (void)snprintf(where, size, "%s (%s)", config_describe(keys[i])->name, config_origin(c, keys[i]));
            return config_text(c, keys[i]);
        }
    }
    if (chosen(c, CFG_IGNORE_ENDPOINTS, s->ignore)) {
        return "";
    }
    if (s->service_urls[service][0]) {
        (void)snprintf(where, size, "endpoint_url of [services %.40s] (profile [%.40s])", s->services, profile);
        return s->service_urls[service];
    }
    (void)snprintf(where, size, "endpoint_url of profile [%.40s]", profile);
    return s->url;
}

/* "" if nobody says one. */
static void known_region(const struct config *c, const struct shared *s, struct aws_site *out)
{
    const char *set = config_text(c, CFG_AWS_REGION);
    (void)snprintf(out->region, sizeof out->region, "%s", set[0] ? set : s->region);
    if (set[0]) {
        (void)snprintf(out->region_origin, sizeof out->region_origin, "%s", config_origin(c, CFG_AWS_REGION));
    } else if (s->region[0]) {
        (void)snprintf(out->region_origin, sizeof out->region_origin, "profile [%.100s]", config_text(c, CFG_AWS_PROFILE));
    }
}

/* Nobody says one: the instance does, or it does not matter because no endpoint of AWS's own is asked. */
static int find_region(const struct config *c, bool matters, struct aws_site *out, struct err *e)
{
    struct err why = {0};
    if (!matters) {
        (void)snprintf(out->region, sizeof out->region, "us-east-1");
        (void)snprintf(out->region_origin, sizeof out->region_origin, "usual with an endpoint_url");
        return 0;
    }
    if (imds_region(c, out->region, &why) == 0) {
        (void)snprintf(out->region_origin, sizeof out->region_origin, "instance metadata");
        return 0;
    }
    return err_set(e, ERR_CONFIG, 0, "aws_region is not set, nor is it by AWS_REGION or profile [%.40s], and no instance metadata names it (%.100s)",
                   config_text(c, CFG_AWS_PROFILE), why.text);
}

/* A region that is none is told first and once, under the name of where it came from. */
static int check_region(const struct aws_site *site, struct err *e)
{
    struct endpoint any;
    struct err why = {0};
    int rc = endpoint_resolve(AWS_STS, &(struct endpoint_wish){.region = site->region}, &any, &why);
    return rc ? err_set(e, rc, 0, "aws_region (%s): %s", site->region_origin, why.text) : 0;
}

static int choose_all(const struct config *c, const struct shared *s, struct aws_site *out, struct err *e)
{
    struct endpoint_wish wish = {.region = out->region,
                                 .fips = chosen(c, CFG_USE_FIPS, s->fips),
                                 .dualstack = chosen(c, CFG_USE_DUALSTACK, s->dualstack)};
    for (enum aws_service i = 0; i < AWS_SERVICE_COUNT; i++) {
        char where[160] = "";
        struct err why = {0};
        wish.url = custom_url(c, s, i, where, sizeof where);
        int rc = endpoint_resolve(i, &wish, &out->endpoints[i], &why);
        if (rc != 0) {
            return wish.url[0] ? err_set(e, rc, 0, "%s: %s%s", where, why.text,
                                         wish.fips ? " (use_fips is set)" : wish.dualstack ? " (use_dualstack is set)" : "")
                               : err_set(e, rc, 0, "%s: %s", wish.fips ? "use_fips" : "aws_region", why.text);
        }
    }
    return 0;
}

/* Which of AWS's endpoints the work of a destination needs: none at all for somebody else's DICOMweb server. */
static bool is_asked(const struct config *config, enum aws_service service)
{
    if (config_destination_kind(config) != KIND_DICOMWEB) {
        return service == AWS_S3 || service == AWS_MEDICAL_IMAGING;
    }
    return service == AWS_DICOM_MEDICAL_IMAGING && strcmp(config_text(config, CFG_DICOMWEB_AUTH), "sigv4") == 0 &&
           !config_text(config, CFG_DICOMWEB_URL)[0];
}

int aws_site_choose(const struct config *config, struct aws_site *out, struct err *e)
{
    struct shared *s = calloc(1, sizeof *s);
    bool matters = false;
    char where[160];
    if (!s) {
        return err_set(e, ERR_MEMORY, 0, "the region");
    }
    memset(out, 0, sizeof *out);
    read_shared(config_text(config, CFG_AWS_PROFILE), s);
    for (enum aws_service i = AWS_S3; i <= AWS_DICOM_MEDICAL_IMAGING; i++) {
        matters = matters || (is_asked(config, i) && !custom_url(config, s, i, where, sizeof where)[0]);
    }
    known_region(config, s, out);
    int rc = out->region[0] ? 0 : find_region(config, matters, out, e);
    rc = rc ? rc : check_region(out, e);
    rc = rc ? rc : choose_all(config, s, out, e);
    free(s);
    return rc;
}
