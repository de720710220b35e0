/*
 * binding - which certificate may come under which calling AE title (tls_required, tls_subject, tls_fingerprint, for all and in [ae PATTERN]).
 * Pure.
 *
 * An AE title that binds certificates takes only those, and no plain connection. A certificate that some [ae PATTERN] names may use only
 * titles that name it: a modality cannot pass itself off as another one for which nothing was bound.
 */
#ifndef STORESCP_RECEIVER_BINDING_H
#define STORESCP_RECEIVER_BINDING_H

#include "common/dicom/tls.h"

/* facts: NULL for a plain connection. NULL when all is well, else a sentence that names the setting. */
const char *binding_refusal(const struct config *config, const char *calling_ae, const struct tls_facts *facts);

#endif
