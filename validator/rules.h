/*
 * rules - what HealthImaging needs of an instance, judged on a scan. Pure. IOD conformance is never a reason: most real files fail it.
 */
#ifndef STORESCP_VALIDATOR_RULES_H
#define STORESCP_VALIDATOR_RULES_H

#include "common/dicom/scan.h"

/* 0, or an ERR_DICOM_* code with tag, rule and remedy in e->text. warning (size bytes) receives what is odd but passes. */
int rules_judge(const struct dicom_scan *scan, char *warning, size_t size, struct err *e);

#endif
