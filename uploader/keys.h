/*
 * keys - under which key an instance goes to S3 (setting s3_key_template; common/aws/s3/s3_key.h).
 */
#ifndef STORESCP_UPLOADER_KEYS_H
#define STORESCP_UPLOADER_KEYS_H

#include "common/runtime/config.h"
#include "common/state/state.h"

/* The key of a claim. One of a batch lies in the batch's folder, which the first of its keys has decided, whatever the settings say by now. */
int keys_make(const struct config *config, const struct state_instance *claim, const char *batch_key, char key[STATE_KEY_SIZE], struct err *e);

#endif
