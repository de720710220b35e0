/* outside - see outside.h. */
#include "importer/outside.h"

#include "common/aws/sqs.h"
#include "common/aws/webhook.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"

#include <poll.h>
#include <string.h>

enum { SLICE_MS = 100, END_MS = 3000 };

/* region NULL: any */
static int check_queues(const struct config *c, const char *region, struct err *e)
{
    static const enum config_key queues[] = {CFG_EVENTS_SQS_QUEUE_URL, CFG_HINTS_SQS_QUEUE_URL};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof queues / sizeof queues[0]; i++) {
        const char *queue = config_text(c, queues[i]);
        rc = queue[0] ? sqs_url_check(config_describe(queues[i])->name, queue, region, e) : 0;
    }
    return rc;
}

int outside_check(const struct config *c, struct err *e)
{
    const char *url = config_text(c, CFG_EVENTS_WEBHOOK_URL);
    const char *table = config_text(c, CFG_DYNAMODB_TABLE);
    int rc = url[0] ? webhook_check(url, config_text(c, CFG_EVENTS_WEBHOOK_SECRET), e) : 0;
    rc = rc ? rc : check_queues(c, NULL, e);
    if (rc == 0 && config_text(c, CFG_HINTS_SQS_QUEUE_URL)[0] &&
        strcmp(config_text(c, CFG_HINTS_SQS_QUEUE_URL), config_text(c, CFG_EVENTS_SQS_QUEUE_URL)) == 0) {
        rc = err_set(e, ERR_CONFIG, 0, "hints_sqs_queue_url and events_sqs_queue_url are the same queue: we would take away what we tell others");
    }
    if (rc == 0 && table[0] && (strlen(table) < 3 || strspn(table, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") != strlen(table))) {
        rc = err_set(e, ERR_CONFIG, 0, "dynamodb_table: the name of a table has 3 to 255 of A-Z a-z 0-9 _ . -");
    }
    return rc;
}

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
    return rc == 0 && any ? check_queues(config, aws_client_region(o->aws), e) : rc;
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
