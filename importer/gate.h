/*
 * gate - whether a kind of calls goes out at the moment. An outage, throttling or a setting that is wrong closes the gate for a jittered,
 * growing time, so that one batch finds out and not thousands; the first call after it is the probe. No attempt limit.
 */
#ifndef STORESCP_IMPORTER_GATE_H
#define STORESCP_IMPORTER_GATE_H

#include "common/runtime/err.h"

#include <stdbool.h>
#include <stdint.h>

struct gate {
    const char *name; /* for logs: what waits */
    const char *word; /* the log lines begin with it; NULL: "import" */
    int failures;     /* since the last success */
    int64_t until_ms; /* monotonic */
    struct err why;   /* of the last failure; code 0: none since the last success */
    bool is_resting;  /* nothing was there to probe with since it opened: nothing waits */
};

bool gate_is_open(const struct gate *g, int64_t now_ms);
/* True if the error says something about the endpoint or a setting, not about the batch in hand. */
bool gate_concerns(const struct err *why);
/* Closes the gate. A setting, a right or a clock that is wrong is alarmed once, not with each probe. */
void gate_close(struct gate *g, const struct err *why, int64_t now_ms);
/* A call went through: opens the gate, takes the alarm back. */
void gate_passed(struct gate *g);
/* The gate is open and there is no work for it. After some seconds of that nothing waits any more: what it was closed for holds up nothing
 * else then (another importer may have done the work that would have been the probe). The next failure of the same kind is no new alarm. */
void gate_rest(struct gate *g, int64_t now_ms);
/* Does a person have to do something? */
bool gate_is_alarmed(const struct gate *g);

#endif
