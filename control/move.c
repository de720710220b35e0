/* move - `move FROM TO`: what waits at one destination goes to another: because the first is gone from storescp.conf, or will be away for long. */
#include "control/control.h"

int command_move(struct request *q)
{
    struct err e = {0};
    struct state *state = NULL;
    int64_t count = 0;
    int64_t left = 0;
    const char *from = q->args[0];
    const char *to = q->args[1];
    const struct config *d = config_destination_named(q->config, to);
    if (!d) {
        return complain("there is no [destination %.60s]: `storescpctl config` shows those that are, and `default` are the settings in front of them", to);
    }
    if (strcmp(from, to) == 0) {
        return complain("%.60s is where they are", to);
    }
    const struct state_move_order order = {.from = from,
                                           .to = to,
                                           .with_batch = config_destination_kind(d) == KIND_HEALTHIMAGING,
                                           .limits = {.max_count = (int)config_int(d, CFG_BATCH_MAX_COUNT),
                                                      .max_bytes = config_int(d, CFG_BATCH_MAX_MB) * 1000000}};
    int rc = open_for_person(&state, q, &e);
    rc = rc ? rc : state_move_destination(state, &order, &count, &left, &e);
    state_close(&state);
    if (rc != 0) {
        return complain("%s", e.text);
    }
    if (count > 0) {
        (void)printf("%lld instances go to %s now\n", (long long)count, to);
    }
    if (left > 0) {
        return complain("%lld are left at %.40s: in a worker's hand or in an import job. Those in hand: once more; a job is followed when [destination %.40s] is there",
                        (long long)left, from, from);
    }
    return count > 0 ? EXIT_FINE : complain("nothing waits at %.60s", from);
}
