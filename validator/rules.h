/*
 * rules - what HealthImaging needs of an instance, judged on a scan. Pure: no I/O, no clock, no globals.
 *
 * The table of rules is common/runtime/rule_table.h, what a person may change of it rule_list.h; here they are judged. IOD conformance is never a
 * reason: most real files fail it. What HealthImaging imports with a warning is a warning here, what it could not place is rejected.
 * Texts name tag and rule; they never hold a value of the data set. The verdict depends on the scan and the severities alone.
 */
#ifndef STORESCP_VALIDATOR_RULES_H
#define STORESCP_VALIDATOR_RULES_H

#include "common/dicom/scan.h"
#include "common/runtime/rule_list.h"

#include <stddef.h>

struct rule_finding {
    enum rule_id rule;
    enum rule_severity severity; /* NOTE, WARN or REJECT */
    uint32_t tag;                /* group << 16 | element; 0: the text tells */
    char text[320];              /* of a reject with the remedy behind it */
};

struct rules_verdict {
    int code;                           /* 0, or that of the first finding that rejects */
    const struct rule_finding *because; /* that finding, or NULL */
    size_t count;
    struct rule_finding findings[RULE_COUNT]; /* in the order of the table */
};

/* scan_code and scan_text: what the reader said, 0 if it read to the end; then the facts are judged as far as it came. */
void rules_judge(const struct dicom_scan *scan, int scan_code, const char *scan_text, const struct rule_severities *severities, struct rules_verdict *out);
/* Findings were changed since: which of them decides now? */
void rules_decide(struct rules_verdict *v);
/* The warnings, one sentence after the other as far as they fit whole; the first is cut if it must be. */
void rules_warning(const struct rules_verdict *v, char *buffer, size_t size);

#endif
