/*
 * events - what is said of a finished study and of a refused instance: JSON, docs/events.md and docs/events.schema.json. Pure.
 * No patient data unless with_identity; error sentences of services and rules, which may quote the data set, never.
 */
#ifndef STORESCP_IMPORTER_EVENTS_H
#define STORESCP_IMPORTER_EVENTS_H

#include "common/state/outbox.h"

struct events_style {
    char source[100];   /* our first AE title */
    bool with_identity; /* patient data too */
};
/* For state_studies_announce() and state_outbox_next(); ctx is a struct events_style. Heap, NULL without memory. */
char *events_of_study(void *ctx, const struct state_study *study, const char *event, int64_t now_ms);
char *events_of_refused(void *ctx, const struct state_refused *instance, const char *event);
/* "2026-01-02T03:04:05.678Z"; with_offset: "2026-01-02T03:04:05.678000+00:00", as the AWS CLI prints times. 0: "". */
const char *events_time(int64_t ms, bool with_offset, char buffer[40]);

#endif
