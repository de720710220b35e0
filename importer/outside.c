/* outside - see outside.h. */
#include "importer/outside.h"

#include "common/aws/listeners.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"

#include <poll.h>
#include <string.h>

enum { SLICE_MS = 100, END_MS = 3000 };

int outside_open(struct outside *o, const struct config *config, struct state *state, struct err *e)
{
    const char *url = config_text(config, CFG_HINTS_SQS_QUEUE_URL);
    o->config = config;
    o->state = state;
    o->hints_url = url[0] ? url : NULL;
    o->hints_gate.name = "listening to hints_sqs_queue_url";
    o->hints_gate.word = "hints";
    int rc = publish_open(o, e);
    bool any = o->hints_url != NULL;
    for (int i = 0; i < TARGET_COUNT; i++) {
        any = any || o->is_told[i];
    }
    rc = rc == 0 && any ? aws_client_open(&o->aws, config, e) : rc;
    return rc == 0 && any ? aws_listeners_check(config, aws_client_region(o->aws), e) : rc;
}

void outside_move(struct outside *o)
{
    if (o->aws) {
        (void)aws_client_run(o->aws, 0, NULL, 0);
        hints_move(o);
    }
    publish_move(o);
}

void outside_wait(struct outside *o, struct handoff *handoff, int wait_ms, int stop_fd)
{
    int64_t end = clock_mono_ms() + wait_ms;
    while (!o->is_stirred && o->aws && aws_client_busy(o->aws) > 0) {
        int64_t left = end - clock_mono_ms();
        struct pollfd stop = {.fd = stop_fd, .events = POLLIN};
        if (left <= 0 || handoff_wait(handoff, 0, NULL, 0) > 0 || poll(&stop, 1, 0) > 0) {
            return;
        }
        (void)aws_client_run(o->aws, (int)(left < SLICE_MS ? left : SLICE_MS), &stop_fd, 1);
        publish_move(o);
    }
    if (o->is_stirred) {
        o->is_stirred = false;
        return;
    }
    int64_t left = end - clock_mono_ms();
    (void)handoff_wait(handoff, (int)(left > 0 ? left : 0), &stop_fd, 1);
}

void outside_close(struct outside *o)
{
    int64_t end = clock_mono_ms() + END_MS;
    o->is_ending = true;
    while (o->aws && publish_is_busy(o) && clock_mono_ms() < end) {
        (void)aws_client_run(o->aws, SLICE_MS, NULL, 0);
    }
    aws_client_close(&o->aws);
    publish_close(o);
}
