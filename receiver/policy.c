/* policy - whom and what we accept. Pure. */
#include "common/runtime/config.h"
#include "receiver/protocol.h"

#include <string.h>

/* What HealthImaging imports (developer guide, "supported transfer syntaxes"). */
static const char *const importable[] = {
    "1.2.840.10008.1.2.1",     "1.2.840.10008.1.2",       "1.2.840.10008.1.2.2",     "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5",     "1.2.840.10008.1.2.4.50",  "1.2.840.10008.1.2.4.51",  "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",  "1.2.840.10008.1.2.4.80",  "1.2.840.10008.1.2.4.81",  "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",  "1.2.840.10008.1.2.4.92",  "1.2.840.10008.1.2.4.93",  "1.2.840.10008.1.2.4.112",
    "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203", "1.2.840.10008.1.2.4.100",
    "1.2.840.10008.1.2.4.101", "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.103", "1.2.840.10008.1.2.4.104",
    "1.2.840.10008.1.2.4.105", "1.2.840.10008.1.2.4.106", "1.2.840.10008.1.2.4.107", "1.2.840.10008.1.2.4.108",
    "1.2.840.10008.1.2.4.100.1", "1.2.840.10008.1.2.4.101.1", "1.2.840.10008.1.2.4.102.1", "1.2.840.10008.1.2.4.103.1",
    "1.2.840.10008.1.2.4.104.1", "1.2.840.10008.1.2.4.105.1", "1.2.840.10008.1.2.4.106.1"};

/* Services under the DICOM root that are not storage; everything else, private and unknown, is taken as storage. */
static const char *const other_services[] = {"1.2.840.10008.5.1.4.1.2.", "1.2.840.10008.5.1.4.31", "1.2.840.10008.5.1.4.32",
                                             "1.2.840.10008.5.1.4.33",   "1.2.840.10008.5.1.4.34", "1.2.840.10008.5.1.4.37",
                                             "1.2.840.10008.5.1.4.38",   "1.2.840.10008.5.1.4.39", "1.2.840.10008.5.1.4.41",
                                             "1.2.840.10008.5.1.1.",     "1.2.840.10008.3.1.2.",   "1.2.840.10008.1.20.",
                                             "1.2.840.10008.1.9",        "1.2.840.10008.1.40",     "1.2.840.10008.1.42"};

/* Is word one of the comma-separated words of list? Spaces around words do not count. */
static bool listed(const char *list, const char *word)
{
    size_t length = strlen(word);
    while (*list) {
        list += strspn(list, ", \t");
        size_t n = strcspn(list, ", \t");
        if (n == length && strncmp(list, word, n) == 0) {
            return true;
        }
        list += n;
    }
    return false;
}

bool policy_is_storage(const char *sop_class_uid)
{
    if (strcmp(sop_class_uid, "1.2.840.10008.1.1") == 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof other_services / sizeof other_services[0]; i++) {
        if (strncmp(sop_class_uid, other_services[i], strlen(other_services[i])) == 0) {
            return false;
        }
    }
    return true;
}

int policy_negotiate(const struct config *config, const char *abstract_syntax, const char *const *transfer_syntaxes, int count)
{
    if (strcmp(abstract_syntax, "1.2.840.10008.1.1") != 0) {
        const char *only = config_text(config, CFG_SUPPORTED_SOP_CLASS_UIDS);
        if (only[0] && !listed(only, abstract_syntax)) {
            return -1;
        }
        if (!policy_is_storage(abstract_syntax)) {
            return -1;
        }
    }
    for (int i = 0; i < count; i++) {
        for (size_t k = 0; k < sizeof importable / sizeof importable[0]; k++) {
            if (strcmp(transfer_syntaxes[i], importable[k]) == 0) {
                return i;
            }
        }
    }
    /* HealthImaging keeps other syntaxes as a blob, with a warning; refusing them would help nobody. */
    return count > 0 ? 0 : -2;
}

int policy_request(const struct config *config, const char *calling, const char *called)
{
    const char *only = config_text(config, CFG_REQUIRE_CALLING_AE_TITLE);
    if (config_bool(config, CFG_REQUIRE_CALLED_AE_TITLE) && strcmp(called, config_text(config, CFG_AE_TITLE)) != 0) {
        return 1 << 8 | 7; /* called AE title not recognized */
    }
    if (only[0] && !listed(only, calling)) {
        return 1 << 8 | 3; /* calling AE title not recognized */
    }
    return 0;
}
