/*
 * rules - what HealthImaging needs of an instance, judged on a scan. Pure: no I/O, no clock, no globals.
 *
 * IOD conformance is never a reason: most real files fail it. What HealthImaging imports with a warning passes here with a warning.
 * Texts name tag, rule and remedy; they never hold a value of the data set.
 */
#ifndef STORESCP_VALIDATOR_RULES_H
#define STORESCP_VALIDATOR_RULES_H

#include "common/dicom/scan.h"

#include <stddef.h>

/* The rules in the order in which they are judged; the first that is broken decides. Static storage; *count of them. */
struct rule {
    const char *id; /* one word, stable */
    int (*judge)(const struct dicom_scan *scan, struct err *e); /* 0 or the error */
};
const struct rule *rules_table(size_t *count);

/* 0, or an ERR_DICOM_* code with tag, rule and remedy in e->text (e is needed). warning (size bytes) receives what is odd but passes. */
int rules_judge(const struct dicom_scan *scan, char *warning, size_t size, struct err *e);

#endif
