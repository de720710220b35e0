/* keys - see keys.h. */
#include "uploader/keys.h"
#include "common/aws/s3/s3_key.h"

#include <string.h>

int keys_make(const struct config *config, const struct state_instance *claim, const char *batch_key, char key[STATE_KEY_SIZE], struct err *e)
{
    char prefix[S3_KEY_SIZE];
    if (config_destination_kind(config) == KIND_DICOMWEB) {
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
    return s3_key_make(s3_key_template(config), &values, key, e);
}
