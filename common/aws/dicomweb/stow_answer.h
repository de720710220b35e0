/*
 * stow_answer - what a DICOMweb server says to a store request or a query, about one instance. Pure; hostile bodies are bounded.
 *
 * Both forms of the Store Instances Response Module are read: the DICOM JSON model (PS3.18 annex F) and the Native DICOM Model in XML (PS3.19
 * annex A). Only the top-level Referenced SOP Sequence (0008,1199) and Failed SOP Sequence (0008,1198) count. An instance that stands in both has failed.
 * Source: PS3.18 section 10.5.3 and annex I (response module, reasons); HealthImaging developer guide "Warning codes".
 */
#ifndef STORESCP_AWS_STOW_ANSWER_H
#define STORESCP_AWS_STOW_ANSWER_H

#include "common/runtime/err.h"

#include <stdbool.h>
#include <stddef.h>

enum { STOW_URL_SIZE = 1024 };

enum stow_kind { STOW_NOT_NAMED, STOW_STORED, STOW_FAILED };

struct stow_verdict {
    enum stow_kind kind;
    int reason;  /* Failure Reason (0008,1197); -1: none was given */
    int warning; /* Warning Reason (0008,1196); 0: none */
    char retrieve_url[STOW_URL_SIZE]; /* (0008,1190) of the instance; "" if none, or one that does not fit or is no URL */
};

/* ERR_PROTOCOL: neither form. A body that names other instances only, or none, is STOW_NOT_NAMED. */
int stow_answer_read(const char *body, size_t bytes, const char *sop_instance_uid, struct stow_verdict *out, struct err *e);

/* Does the answer to a query for instances (a list of DICOM JSON objects) hold that one? ERR_PROTOCOL: it is no such list. */
int stow_query_read(const char *body, size_t bytes, const char *sop_instance_uid, bool *found, struct err *e);

/* The err_code that a failed instance's reason means; reason -1: none was given. */
int stow_reason_code(int reason);
/* A few words about a reason or a warning for people, "" if it is nobody's published one. Static storage. */
const char *stow_reason_words(int reason);

#endif
