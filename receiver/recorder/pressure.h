/*
 * pressure - the ladder of back-pressure: as the disk fills or the backlog grows, first slower answers, then 0xA700 for each instance, then a
 * transient rejection of associations. pressure_judge() is pure; the recorder looks several times a second.
 */
#ifndef STORESCP_RECEIVER_PRESSURE_H
#define STORESCP_RECEIVER_PRESSURE_H

#include "common/runtime/config.h"

#include <stdbool.h>
#include <stdint.h>

enum pressure_step { PRESSURE_NONE, PRESSURE_SLOW, PRESSURE_REFUSE, PRESSURE_REJECT, PRESSURE_STEPS };

struct pressure_limits { /* by step; 0: that step is never entered for this reason */
    int64_t free_bytes[PRESSURE_STEPS], backlog_count[PRESSURE_STEPS], backlog_bytes[PRESSURE_STEPS];
};
struct pressure_seen {
    int64_t free_bytes; /* negative: not known */
    int64_t backlog_count, backlog_bytes;
};

void pressure_read_limits(const struct config *config, struct pressure_limits *out);
/* The step after now. A step is entered at its threshold and left only with 10 percent more room than that. why (160 bytes): what presses, with
 * the setting, "" for PRESSURE_NONE; *is_backlog: it is the backlog, not the disk. */
enum pressure_step pressure_judge(enum pressure_step now, const struct pressure_limits *limits, const struct pressure_seen *seen, char why[160],
                                  bool *is_backlog);
/* "slow", "refuse", "reject"; "none". */
const char *pressure_name(enum pressure_step step);

#endif
