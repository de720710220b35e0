/*
 * keys - in which bucket and under which key an instance goes to S3 (settings dicom_bucket and s3_key_template; common/aws/s3/s3_key.h).
 */
#ifndef STORESCP_UPLOADER_KEYS_H
#define STORESCP_UPLOADER_KEYS_H

#include "common/runtime/config.h"
#include "common/state/state.h"

/* The place of a claim. One of a batch lies in the batch's bucket and folder, which the first of its keys has decided, whatever the settings say by now. */
int keys_make(const struct config *config, const struct state_instance *claim, const struct state_place *of_batch, struct state_place *out, struct err *e);

#endif
