/* s3_key - see s3_key.h. */
#include "common/aws/s3/s3_key.h"
#include "common/aws/request/endpoint.h"

#include <string.h>
#include <time.h>

#define PLAIN "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

enum variable { PREFIX, BATCH, ID, STUDY, SERIES, SOP, CLASS, MODALITY, CALLING_AE, CALLED_AE, YEAR, MONTH, DAY, TIME, VARIABLES };

static const struct {
    const char *name;
    size_t longest;
} variables[VARIABLES] = {
    [PREFIX] = {"prefix", 200},        [BATCH] = {"batch", 26},         [ID] = {"id", 26},      [STUDY] = {"study", 64},   [SERIES] = {"series", 64},
    [SOP] = {"sop", 64},               [CLASS] = {"class", 64},         [MODALITY] = {"modality", 16}, [CALLING_AE] = {"calling_ae", 16},
    [CALLED_AE] = {"called_ae", 16},   [YEAR] = {"yyyy", 4},            [MONTH] = {"mm", 2},    [DAY] = {"dd", 2},         [TIME] = {"time", 6},
};

/* The variable at "{...}", its length with the braces in *length. VARIABLES: there is no such variable. */
static enum variable variable_at(const char *text, size_t *length)
{
    size_t n = strcspn(text, "}");
    *length = n + (text[n] == '}');
    for (size_t i = 0; text[n] == '}' && i < VARIABLES; i++) {
        if (strlen(variables[i].name) == n - 1 && memcmp(variables[i].name, text + 1, n - 1) == 0) {
            return (enum variable)i;
        }
    }
    return VARIABLES;
}

int s3_key_check(const char *template, bool for_import, bool no_overwrite, struct err *e)
{
    static const char begin[] = "{prefix}/{batch}/";
    static const char end[] = "{id}.dcm";
    size_t longest = 27; /* what s3_key_beside() adds */
    size_t length = strlen(template);
    bool has[VARIABLES] = {false};
    for (const char *p = template; *p;) {
        size_t n = strspn(p, PLAIN "/");
        if (n > 0) {
            longest += n;
            p += n;
            continue;
        }
        enum variable v = *p == '{' ? variable_at(p, &n) : VARIABLES;
        if (v == VARIABLES) {
            return err_set(e, ERR_CONFIG, 0, "\"%.40s\" is no variable, and no character of A-Z a-z 0-9 . _ - /", p);
        }
        has[v] = true;
        longest += variables[v].longest;
        p += n;
    }
    if (template[0] == '/' || template[0] == '.' || length == 0 || template[length - 1] == '/' || strstr(template, "//") || strstr(template, "/.")) {
        return err_set(e, ERR_CONFIG, 0, "a key begins and ends with a name, and no name in it is empty or begins with a dot");
    }
    if (longest >= S3_KEY_SIZE) {
        return err_set(e, ERR_CONFIG, 0, "it may make keys of %zu bytes, S3 takes %d", longest, S3_KEY_SIZE - 1);
    }
    if (for_import && (strncmp(template, begin, strlen(begin)) != 0 || length < strlen(begin) + strlen(end) || strcmp(template + length - strlen(end), end) != 0)) {
        return err_set(e, ERR_CONFIG, 0, "for HealthImaging it must begin with %s and end with %s: an import job reads one folder, and its results name keys",
                       begin, end);
    }
    if (!for_import && has[BATCH]) {
        return err_set(e, ERR_CONFIG, 0, "an image that is not imported has no {batch}; {study} tells what belongs together");
    }
    if (!has[ID] && (!has[SOP] || !no_overwrite)) {
        return err_set(e, ERR_CONFIG, 0, "two images could get one key: put {id} into it, or {sop} and s3_if_none_match = true");
    }
    return 0;
}

static size_t add_clean(char *out, size_t used, const char *value, size_t longest)
{
    const char *text = value && value[0] ? value : "none";
    for (size_t i = 0; text[i] && i < longest && used + 1 < S3_KEY_SIZE; i++) {
        bool plain = strchr(PLAIN, text[i]) && (i > 0 || text[i] != '.');
        out[used++] = plain ? text[i] : '_';
    }
    return used;
}

static size_t add_variable(char *out, size_t used, enum variable v, const struct s3_key_values *values, const struct tm *at)
{
    char number[16];
    const char *const texts[VARIABLES] = {[BATCH] = values->batch,   [ID] = values->id,           [STUDY] = values->study,
                                          [SERIES] = values->series, [SOP] = values->sop,         [CLASS] = values->class_uid,
                                          [MODALITY] = values->modality, [CALLING_AE] = values->calling_ae, [CALLED_AE] = values->called_ae};
    switch (v) {
    case PREFIX:
        for (size_t i = 0; values->prefix[i] && used + 1 < S3_KEY_SIZE; i++) {
            out[used++] = values->prefix[i];
        }
        return used;
    case YEAR:
        (void)strftime(number, sizeof number, "%Y", at);
        return add_clean(out, used, number, 4);
    case MONTH:
        (void)strftime(number, sizeof number, "%m", at);
        return add_clean(out, used, number, 2);
    case DAY:
        (void)strftime(number, sizeof number, "%d", at);
        return add_clean(out, used, number, 2);
    case TIME:
        (void)strftime(number, sizeof number, "%H%M%S", at);
        return add_clean(out, used, number, 6);
    default:
        return add_clean(out, used, texts[v], variables[v].longest);
    }
}

int s3_key_make(const char *template, const struct s3_key_values *values, char out[S3_KEY_SIZE], struct err *e)
{
    struct tm at;
    time_t seconds = (time_t)(values->received_ms / 1000);
    size_t used = 0;
    (void)gmtime_r(&seconds, &at);
    for (const char *p = template; *p;) {
        size_t n = 1;
        if (*p != '{') {
            out[used] = *p;
            used += used + 1 < S3_KEY_SIZE;
        } else {
            enum variable v = variable_at(p, &n);
            if (v == VARIABLES) {
                return err_set(e, ERR_CONFIG, 0, "s3_key_template: \"%.40s\" is no variable", p);
            }
            used = add_variable(out, used, v, values, &at);
        }
        p += n;
    }
    out[used] = '\0';
    return used + 1 < S3_KEY_SIZE ? 0 : err_set(e, ERR_CONFIG, 0, "s3_key_template makes a key that is longer than %d bytes", S3_KEY_SIZE - 1);
}

bool s3_key_beside(const char *key, const char *id, char out[S3_KEY_SIZE])
{
    size_t length = strlen(key);
    size_t stem = length > 4 && strcmp(key + length - 4, ".dcm") == 0 ? length - 4 : length;
    if (strstr(key, id)) {
        return false;
    }
    int n = snprintf(out, S3_KEY_SIZE, "%.*s-%s%s", (int)stem, key, id, key + stem);
    return n > 0 && n < S3_KEY_SIZE;
}

size_t s3_key_folder(const char *key, const char *batch)
{
    size_t length = strlen(batch);
    for (const char *p = key; length > 0 && (p = strstr(p, batch)) != NULL; p += length) {
        if ((p == key || p[-1] == '/') && p[length] == '/') {
            return (size_t)(p - key) + length + 1;
        }
    }
    return 0;
}

/* ---- settings ------------------------------------------------------------------------------------------------------------------------- */

/* Keys hold nothing but [A-Za-z0-9._/-]: HealthImaging's result files name them, and nobody has promised how they escape others. */
static int check_prefix(const struct config *c, enum config_key key, struct err *e)
{
    const char *prefix = config_text(c, key);
    size_t length = strlen(prefix);
    if (strspn(prefix, PLAIN "/") != length || prefix[0] == '/' ||
        (length > 0 && prefix[length - 1] == '/') || strstr(prefix, "//") || strstr(prefix, "..")) {
        return err_set(e, ERR_CONFIG, 0, "%s (%s): \"%.60s\" may hold A-Z a-z 0-9 . _ - and single slashes between", config_describe(key)->name,
                       config_origin(c, key), prefix);
    }
    return 0;
}

static int check_bucket(const struct config *c, enum config_key key, struct err *e)
{
    struct err why = {0};
    const char *bucket = config_text(c, key);
    return bucket[0] && endpoint_check_bucket(bucket, &why) != 0
               ? err_set(e, ERR_CONFIG, 0, "%s (%s): %s", config_describe(key)->name, config_origin(c, key), why.text)
               : 0;
}

static bool is_imported(const struct config *c)
{
    return config_destination_kind(c) == KIND_HEALTHIMAGING;
}

/* The preset is for batches; where there are none, an image lies in its study's folder. */
const char *s3_key_template(const struct config *c)
{
    const char *template = config_text(c, CFG_S3_KEY_TEMPLATE);
    bool is_preset = strcmp(template, config_describe(CFG_S3_KEY_TEMPLATE)->preset) == 0;
    return is_preset && !is_imported(c) ? "{prefix}/{study}/{id}.dcm" : template;
}

int s3_key_settings(const struct config *config, struct err *e)
{
    struct err why = {0};
    int rc = check_bucket(config, CFG_DICOM_BUCKET, e);
    rc = rc ? rc : check_prefix(config, CFG_S3_PREFIX, e);
    if (rc == 0 && is_imported(config)) {
        rc = check_bucket(config, CFG_OUTPUT_BUCKET, e);
        rc = rc ? rc : check_prefix(config, CFG_OUTPUT_PREFIX, e);
    }
    if (rc == 0 && s3_key_check(s3_key_template(config), is_imported(config), config_bool(config, CFG_S3_IF_NONE_MATCH), &why) != 0) {
        rc = err_set(e, ERR_CONFIG, 0, "s3_key_template (%s): %s", config_origin(config, CFG_S3_KEY_TEMPLATE), why.text);
    }
    return rc;
}
