/*
 * ladder - looks at disk and backlog, tells association processes the step (told.h), and people each change of it.
 *
 * The disk is looked at every DISK_MS: what comes in between fits into the room between two thresholds, and where it does not a full disk is
 * still answered 0xA700. The backlog is counted only when a setting asks for it, and so that counting takes at most a twentieth of the time.
 */
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "receiver/recorder/ladder.h"

#include <stdio.h>

enum { DISK_MS = 200, BACKLOG_MS = 500, BACKLOG_SHARE = 20, MB = 1000000 };

static void count_backlog(struct ladder *l, struct state *state, int64_t now)
{
    struct err e = {0};
    bool by_count = false;
    bool by_bytes = false;
    for (int i = PRESSURE_NONE + 1; i < PRESSURE_STEPS; i++) {
        by_count = by_count || l->limits.backlog_count[i] > 0;
        by_bytes = by_bytes || l->limits.backlog_bytes[i] > 0;
    }
    if (!by_count && !by_bytes) {
        l->seen.backlog_count = l->seen.backlog_bytes = 0;
        return;
    }
    if (now < l->backlog_at) {
        return;
    }
    if (state_backlog(state, &l->seen.backlog_count, by_bytes ? &l->seen.backlog_bytes : NULL, &e) != 0) {
        log_warning("backlog_not_counted", "reason=\"%s\"", e.text);
    }
    int64_t after = clock_mono_ms();
    l->backlog_at = after + BACKLOG_MS + (after - now) * BACKLOG_SHARE;
}

static void tell_change(enum pressure_step from, const struct ladder *l, const struct config *config)
{
    static const char *const effects[PRESSURE_STEPS] = {
        "everything is taken as usual", "each success is sent slow_answer_ms later", "images are refused with A700, senders with priority excepted",
        "associations are rejected as transient, senders with priority excepted"};
    if (l->step == PRESSURE_NONE) {
        log_info("pressure_gone", "step=none from=%s effect=\"%s\" free_mb=%lld", pressure_name(from), effects[l->step],
                 (long long)(l->seen.free_bytes / MB));
        return;
    }
    log_write(l->step > from ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, l->step > from ? "pressure_grows" : "pressure_eases",
              "step=%s from=%s reason=\"%s\" effect=\"%s\" free_mb=%lld reserve_mb=%lld remedy=\"%s\"", pressure_name(l->step), pressure_name(from),
              l->why, effects[l->step], (long long)(l->seen.free_bytes / MB), config_int(config, CFG_PRIORITY_RESERVE_MB),
              l->is_backlog ? "storescpctl status tells what the uploaders wait for; more of them: storescpctl scale uploader N"
                            : "free space on the spool's disk or enlarge it; storescpctl status tells what waits");
}

bool ladder_look(struct ladder *l, const struct config *config, const char *home, struct state *state, struct told *told)
{
    int64_t now = clock_mono_ms();
    if (now < l->disk_at) {
        return false;
    }
    l->disk_at = now + DISK_MS;
    enum pressure_step from = l->step;
    int64_t free_bytes = spool_free_bytes(home);
    int64_t reserve_ends = (config_int(config, CFG_SPOOL_FREE_MB) - config_int(config, CFG_PRIORITY_RESERVE_MB)) * MB;
    if (free_bytes >= 0) {
        l->seen.free_bytes = free_bytes;
    }
    pressure_read_limits(config, &l->limits);
    count_backlog(l, state, now);
    l->step = pressure_judge(from, &l->limits, &l->seen, l->why, &l->is_backlog);
    atomic_store(&told->step, l->step);
    atomic_store(&told->is_backlog, l->is_backlog);
    atomic_store(&told->reserve_is_left, l->seen.free_bytes >= reserve_ends);
    if (l->step != from) {
        tell_change(from, l, config);
    }
    return l->step != from;
}

void ladder_status(const struct ladder *l, char *out, size_t size)
{
    static const char *const words[PRESSURE_STEPS] = {"", "answers are slowed", "images are refused", "associations are rejected"};
    if (l->step == PRESSURE_NONE) {
        (void)snprintf(out, size, "ready");
    } else {
        (void)snprintf(out, size, "pressed: %s: %s", words[l->step], l->why);
    }
}
