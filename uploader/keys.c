/* keys - see keys.h. */
#include "uploader/keys.h"
#include "common/aws/s3/s3_key.h"

#include <string.h>

int keys_make(const struct config *config, const struct state_instance *claim, const struct state_place *of_batch, struct state_place *out, struct err *e)
{
    char prefix[S3_KEY_SIZE];
    memset(out, 0, sizeof *out);
    if (config_destination_kind(config) == KIND_DICOMWEB) {
        return 0; /* the server has names of its own */
    }
    size_t folder = claim->batch[0] ? s3_key_folder(of_batch->key, claim->batch) : 0;
    size_t length = strlen(claim->batch) + 2; /* "/<batch>/" */
    (void)snprintf(prefix, sizeof prefix, "%s", config_text(config, CFG_S3_PREFIX));
    if (folder > length) {
        (void)snprintf(prefix, sizeof prefix, "%.*s", (int)(folder - length), of_batch->key);
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
    (void)snprintf(out->bucket, sizeof out->bucket, "%s", of_batch->bucket[0] ? of_batch->bucket : config_text(config, CFG_DICOM_BUCKET));
    return s3_key_make(s3_key_template(config), &values, out->key, e);
}
