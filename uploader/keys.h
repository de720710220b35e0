/*
 * keys - under which key an instance goes to S3 (setting s3_key_template), and whether the template may be used at all.
 */
#ifndef STORESCP_UPLOADER_KEYS_H
#define STORESCP_UPLOADER_KEYS_H

#include "common/runtime/config.h"
#include "common/state/state.h"

/* At the start: s3_prefix and s3_key_template. ERR_CONFIG with a sentence. */
int keys_check(const struct config *config, struct err *e);
/* The key of a claim. One of a batch lies in the batch's folder, which the first of its keys has decided, whatever the settings say by now. */
int keys_make(const struct config *config, const struct state_instance *claim, const char *batch_key, char key[STATE_KEY_SIZE], struct err *e);

#endif
