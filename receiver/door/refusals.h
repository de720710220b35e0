/*
 * refusals - what is refused is told once for each peer and reason, and again after an hour with the number of times in between: a
 * modality that tries every second must not fill the log, and its first failure must not be missed.
 *
 * Bounded: REFUSALS_MAX pairs are remembered, the one that was told longest ago makes room; REFUSALS_PER_MINUTE lines in all, so that a
 * thousand addresses do not fill the log either. In the caller's memory, zeroed before its first use. One thread.
 */
#ifndef STORESCP_RECEIVER_REFUSALS_H
#define STORESCP_RECEIVER_REFUSALS_H

#include <stdbool.h>
#include <stdint.h>

enum { REFUSALS_MAX = 512, REFUSALS_PER_MINUTE = 120, REFUSALS_REPEAT_MS = 3600000, REFUSALS_KEY_SIZE = 160 };

struct refusals {
    struct refusal {
        char key[REFUSALS_KEY_SIZE]; /* "" is a free place */
        int64_t told_ms;
        unsigned long untold;
    } places[REFUSALS_MAX];
    int64_t minute_began_ms;
    int told_in_minute;
};

/*
 * True when this refusal is to be logged now; *untold says how many like it were not since the last line (put it into the line).
 * peer: the address; reason: a short fixed word or two, with what distinguishes it (an AE title, a SOP class). now_ms: monotonic.
 */
bool refusals_due(struct refusals *r, int64_t now_ms, const char *peer, const char *reason, unsigned long *untold);

#endif
