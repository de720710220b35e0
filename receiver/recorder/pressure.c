/* pressure - see pressure.h. */
#include "receiver/recorder/pressure.h"

#include <stdio.h>

enum { MB = 1000000 };

static const struct {
    enum config_key free_mb, count, mb;
} keys[PRESSURE_STEPS] = {{CFG_SPOOL_FREE_MB, CFG_BACKLOG_REFUSE_COUNT, CFG_BACKLOG_REFUSE_MB}, /* not used */
                          {CFG_SPOOL_SLOW_FREE_MB, CFG_BACKLOG_SLOW_COUNT, CFG_BACKLOG_SLOW_MB},
                          {CFG_SPOOL_FREE_MB, CFG_BACKLOG_REFUSE_COUNT, CFG_BACKLOG_REFUSE_MB},
                          {CFG_SPOOL_REJECT_FREE_MB, CFG_BACKLOG_REJECT_COUNT, CFG_BACKLOG_REJECT_MB}};

void pressure_read_limits(const struct config *config, struct pressure_limits *out)
{
    for (int i = PRESSURE_NONE + 1; i < PRESSURE_STEPS; i++) {
        out->free_bytes[i] = config_int(config, keys[i].free_mb) * MB;
        out->backlog_count[i] = config_int(config, keys[i].count);
        out->backlog_bytes[i] = config_int(config, keys[i].mb) * MB;
    }
    if (out->free_bytes[PRESSURE_REJECT] > out->free_bytes[PRESSURE_REFUSE]) { /* the steps keep their order when somebody sets only one */
        out->free_bytes[PRESSURE_REJECT] = out->free_bytes[PRESSURE_REFUSE];
    }
}

static bool is_short(int64_t room, int64_t limit, bool is_entered)
{
    return limit > 0 && room >= 0 && room < limit + (is_entered ? limit / 10 : 0);
}

static bool is_full(int64_t amount, int64_t limit, bool is_entered)
{
    return limit > 0 && amount >= limit - (is_entered ? limit / 10 : 0);
}

enum pressure_step pressure_judge(enum pressure_step now, const struct pressure_limits *limits, const struct pressure_seen *seen, char why[160],
                                  bool *is_backlog)
{
    for (int i = PRESSURE_REJECT; i > PRESSURE_NONE; i--) {
        bool is_entered = now >= (enum pressure_step)i;
        *is_backlog = false;
        if (is_short(seen->free_bytes, limits->free_bytes[i], is_entered)) {
            (void)snprintf(why, 160, "%lld MB are free on the spool's disk, %s is %lld", (long long)(seen->free_bytes / MB),
                           config_describe(keys[i].free_mb)->name, (long long)(limits->free_bytes[i] / MB));
            return (enum pressure_step)i;
        }
        *is_backlog = true;
        if (is_full(seen->backlog_count, limits->backlog_count[i], is_entered)) {
            (void)snprintf(why, 160, "%lld instances wait to be uploaded, %s is %lld", (long long)seen->backlog_count,
                           config_describe(keys[i].count)->name, (long long)limits->backlog_count[i]);
            return (enum pressure_step)i;
        }
        if (is_full(seen->backlog_bytes, limits->backlog_bytes[i], is_entered)) {
            (void)snprintf(why, 160, "%lld MB wait to be uploaded, %s is %lld", (long long)(seen->backlog_bytes / MB),
                           config_describe(keys[i].mb)->name, (long long)(limits->backlog_bytes[i] / MB));
            return (enum pressure_step)i;
        }
    }
    why[0] = '\0';
    *is_backlog = false;
    return PRESSURE_NONE;
}

const char *pressure_name(enum pressure_step step)
{
    static const char *const names[PRESSURE_STEPS] = {"none", "slow", "refuse", "reject"};
    return step < PRESSURE_STEPS ? names[step] : "?";
}
