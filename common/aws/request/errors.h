/*
 * errors - what an answer of AWS means: service, HTTP status and error code -> err_code, by one table. Pure.
 *
 * The code decides, the status only where there is no code or none we know: HealthImaging sends one and the same error with different
 * statuses, and HEAD has no body at all. A 4xx without any AWS code is no answer of AWS (a proxy, a captive portal): it is never a reason
 * to give up an instance. Sources: S3 "Error responses", HealthImaging API model and "Common errors", SDK reference "Retry behavior".
 */
#ifndef STORESCP_AWS_ERRORS_H
#define STORESCP_AWS_ERRORS_H

#include "common/runtime/err.h"

#include <stdbool.h>
#include <stddef.h>

/* 0 for 2xx without a code, otherwise a negative err_code. code: "" or NULL if none was sent; a namespace ("ns#Code") and a suffix ("Code:uri")
 * are ignored. */
int aws_error_code(long status, const char *code);
/* A clock is off that differs by this: far beyond the delays of a network, far below the quarter of an hour that AWS allows. */
enum { AWS_CLOCK_OFF_MS = 240000 };
/* May our clock be the reason (then correct it by the Date header and try once more)? */
bool aws_error_may_be_clock(long status, const char *code);
/* May credentials that were replaced meanwhile heal it? */
bool aws_error_may_be_credentials(const char *code);
/* "... is not authorized to perform: kms:GenerateDataKey on resource ..." -> the permission; false if the sentence names none of KMS. */
bool aws_error_kms_permission(const char *sentence, char *out, size_t size);
/* The code without namespace and suffix. */
void aws_error_plain_code(const char *code, char *out, size_t size);

#endif
