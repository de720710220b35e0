/* keys - see keys.h. */
#include "uploader/keys.h"
#include "common/aws/s3_key.h"

#include <string.h>

/* Keys hold nothing but [A-Za-z0-9._/-]: HealthImaging's result files name them, and nobody has promised how they escape others. */
static int check_prefix(const struct config *c, struct err *e)
{
    const char *prefix = config_text(c, CFG_S3_PREFIX);
    size_t length = strlen(prefix);
    if (strspn(prefix, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-") != length || prefix[0] == '/' ||
        prefix[length - 1] == '/' || strstr(prefix, "//") || strstr(prefix, "..")) {
        return err_set(e, ERR_CONFIG, 0, "s3_prefix (%s): \"%.60s\" may hold A-Z a-z 0-9 . _ - and single slashes between", config_origin(c, CFG_S3_PREFIX),
                       prefix);
    }
    return 0;
}

static bool is_imported(const struct config *c)
{
    return strcmp(config_text(c, CFG_DESTINATION_KIND), "healthimaging") == 0;
}

/* The preset is for batches; where there are none, an image lies in its study's folder. */
static const char *template_of(const struct config *c)
{
    const char *template = config_text(c, CFG_S3_KEY_TEMPLATE);
    bool is_preset = strcmp(template, config_describe(CFG_S3_KEY_TEMPLATE)->preset) == 0;
    return is_preset && !is_imported(c) ? "{prefix}/{study}/{id}.dcm" : template;
}

int keys_check(const struct config *config, struct err *e)
{
    struct err why = {0};
    int rc = check_prefix(config, e);
    if (rc == 0 && s3_key_check(template_of(config), is_imported(config), config_bool(config, CFG_S3_IF_NONE_MATCH), &why) != 0) {
        rc = err_set(e, ERR_CONFIG, 0, "s3_key_template (%s): %s", config_origin(config, CFG_S3_KEY_TEMPLATE), why.text);
    }
    return rc;
}

int keys_make(const struct config *config, const struct state_instance *claim, const char *batch_key, char key[STATE_KEY_SIZE], struct err *e)
{
    char prefix[S3_KEY_SIZE];
    if (strcmp(config_text(config, CFG_DESTINATION_KIND), "dicomweb") == 0) {
        key[0] = '\0'; /* the server has names of its own */
        return 0;
    }
    size_t folder = claim->batch[0] ? s3_key_folder(batch_key, claim->batch) : 0;
    size_t length = strlen(claim->batch) + 2; /* "/<batch>/" */
    (void)snprintf(prefix, sizeof prefix, "%s", config_text(config, CFG_S3_PREFIX));
    if (folder > length) {
        (void)snprintf(prefix, sizeof prefix, "%.*s", (int)(folder - length), batch_key);
    }
    const struct s3_key_values values = {.prefix = prefix,
                                         .batch = claim->batch,
                                         .id = claim->r.id,
                                         .study = claim->study_uid,
                                         .series = claim->series_uid,
                                         .sop = claim->r.sop_instance_uid,
                                         .class_uid = claim->r.sop_class_uid,
                                         .modality = claim->modality,
                                         .calling_ae = claim->r.calling_ae,
                                         .called_ae = claim->r.called_ae,
                                         .received_ms = claim->r.received_ms};
    return s3_key_make(template_of(config), &values, key, e);
}
