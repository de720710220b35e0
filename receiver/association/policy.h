/*
 * policy - whom and what we accept, by the settings alone. Pure: no I/O, no state. Every refusal says which setting would accept it.
 *
 * Sources: PS3.8 table 9-21 (rejections), PS3.4 annex B (storage), PS3.7 annex D (negotiation), HealthImaging developer guide "supported
 * transfer syntaxes". docs/conformance.md says the same to people.
 */
#ifndef STORESCP_RECEIVER_POLICY_H
#define STORESCP_RECEIVER_POLICY_H

#include "common/dicom/adapter.h"
#include "common/runtime/config.h"

struct policy_refusal {
    char reason[200], remedy[240]; /* for the log; no quotes of their own, other people's text is escaped there */
};

/* Are the lists of the settings made of words that mean something? ERR_CONFIG names setting, section and word. */
int policy_check(const struct config *config, struct err *e);

/* AE titles. 0, or source << 8 | reason of a permanent rejection. */
int policy_request(const struct config *config, const char *calling, const char *called, struct policy_refusal *why);

/* One presentation context of a peer with these settings (config_for_ae; NULL: those for everybody). The index of the transfer syntax to
 * accept, or one of SCP_REFUSE_*. */
int policy_negotiate(const struct config *config, const struct config_section *section, const struct scp_context *context,
                     struct policy_refusal *why);

/* Storage, or a class that nobody knows and that may be storage. */
bool policy_is_storage(const char *sop_class_uid);

#endif
