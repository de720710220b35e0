/*
 * rule_list - the rules' names and severities: what the setting `rules` says over rule_table.h. Pure words; the validator judges.
 *
 * `rules = uid_illegal=warn, pixel_short=reject`: pairs of an id and one of reject, warn, note, off, separated by commas. A rule that is ALWAYS
 * rejects whatever is set: without it nobody could say which image it is.
 */
#ifndef STORESCP_RUNTIME_RULE_LIST_H
#define STORESCP_RUNTIME_RULE_LIST_H

#include "common/runtime/err.h"
#include "common/runtime/rule_table.h"

#include <stdbool.h>
#include <stddef.h>

enum rule_severity { RULE_OFF, RULE_NOTE, RULE_WARN, RULE_REJECT, RULE_ALWAYS };

enum rule_id {
#define RULE_ENUM(id, ...) RULE_##id,
    RULE_TABLE(RULE_ENUM)
#undef RULE_ENUM
    RULE_COUNT
};

struct rule {
    const char *id, *source;
    enum rule_severity severity; /* as delivered */
    int code;                    /* an err_code */
    const char *means, *remedy;
};

/* Never NULL for id < RULE_COUNT. Static storage. */
const struct rule *rule_at(enum rule_id id);
/* NULL: there is none of that name. */
const struct rule *rule_named(const char *id);
const char *rule_severity_name(enum rule_severity s); /* "reject" (of ALWAYS, too), "warn", "note", "off" */

struct rule_severities {
    enum rule_severity of[RULE_COUNT];
};
void rule_severities_preset(struct rule_severities *s);
/* Sets what the list says over what is there. s may be NULL: then it is only checked. ERR_CONFIG names the pair, and the nearest id. */
int rule_severities_set(struct rule_severities *s, const char *list, struct err *e);

#endif
