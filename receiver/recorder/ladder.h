/* ladder - the recorder's look at disk and backlog; the rules are in pressure.h. One thread. */
#ifndef STORESCP_RECEIVER_LADDER_H
#define STORESCP_RECEIVER_LADDER_H

#include "common/spool/spool.h"
#include "common/state/state.h"
#include "receiver/recorder/pressure.h"
#include "receiver/told.h"

struct ladder { /* zeroed before its first use */
    struct pressure_limits limits;
    struct pressure_seen seen;
    enum pressure_step step;
    bool is_backlog;
    char why[160];
    int64_t disk_at, backlog_at; /* monotonic: the next looks */
};

/* Looks when it is time, writes the page, logs a change. True if the step has changed. Cheap to call often. */
bool ladder_look(struct ladder *l, const struct config *config, const char *home, struct state *state, struct told *told);
/* For the worker's row: "ready", or "pressed: images are refused: <why>". */
void ladder_status(const struct ladder *l, char *out, size_t size);

#endif
