/*
 * hints - one long poll at hints_sqs_queue_url is always under way. A message that names a job of ours that has ended makes it due at once; the
 * call that then looks at the job is as without hints, so a message that lies costs one call. The rule for the rest: the queue is ours alone, so every message
 * is deleted (events of other things, of other installations' jobs, what is no event), except one whose batch somebody has in hand at that
 * moment: it comes again after VISIBLE_S.
 * While events come (is_hinted), running jobs are looked at every import_poll_hinted_ms only; follow.c takes that back when a job ends without one.
 */
#include "common/aws/sqs.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "importer/hint.h"
#include "importer/outside.h"

#include <string.h>

enum { WAIT_S = 20, VISIBLE_S = 5 };

static void deleted(void *ctx, int rc, const struct err *why)
{
    struct outside *o = ctx;
    char text[640];
    o->deletes--;
    if (rc != 0) {
        log_debug("hint_not_deleted", "reason=%s effect=\"it comes again\"", log_text(why->text, text, sizeof text));
    }
}

/* True if the message has had its say. */
static bool take(struct outside *o, const struct sqs_message *m)
{
    struct hint hint;
    struct err e = {0};
    enum state_hint meaning = HINT_FOREIGN;
    enum hint_kind kind = hint_read(m->body, strlen(m->body), &hint);
    if (kind != HINT_JOB_ENDED) {
        log_write(kind == HINT_UNREADABLE ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, "hint_ignored", "message=%s reason=\"%s\"", m->id,
                  kind == HINT_UNREADABLE ? "it is no event of an import job; is hints_sqs_queue_url a queue for these alone?" : "nothing has ended");
        return true;
    }
    if (state_job_hint(o->state, hint.job_id, hint.job_name, &meaning, &e) != 0) {
        log_warning("hint_failed", "job=%s reason=\"%s\" effect=\"it comes again\"", hint.job_id, e.text);
        return false;
    }
    o->is_hinted = o->is_hinted || meaning != HINT_FOREIGN;
    o->is_stirred = o->is_stirred || meaning == HINT_TAKEN;
    log_debug("hint", "job=%s meaning=%s", hint.job_id, meaning == HINT_FOREIGN ? "foreign" : meaning == HINT_TAKEN ? "taken" : "early");
    return meaning != HINT_EARLY;
}

static void received(void *ctx, int rc, const struct err *why, const struct sqs_message *messages, size_t count)
{
    struct outside *o = ctx;
    o->is_listening = false;
    if (rc == ERR_TOO_LARGE && o->most > 1) {
        o->most = 1; /* a message of a megabyte among them: one at a time */
        return;
    }
    if (rc != 0) {
        o->is_hinted = false;
        gate_close(&o->hints_gate, why, clock_mono_ms());
        return;
    }
    o->most = SQS_MESSAGES_MAX;
    gate_passed(&o->hints_gate);
    for (size_t i = 0; i < count; i++) {
        struct err e = {0};
        if (take(o, &messages[i]) && messages[i].receipt[0] &&
            sqs_delete_begin(o->aws, o->hints_url, messages[i].receipt, config_int(o->config, CFG_EVENTS_CALL_MS), deleted, o, &e) == 0) {
            o->deletes++;
        }
    }
}

void hints_move(struct outside *o)
{
    struct err e = {0};
    int wait_s = (int)config_int(o->config, CFG_AWS_STALL_S) / 2; /* a silent connection ends after that setting */
    if (!o->hints_url || o->is_listening || o->is_ending || !gate_is_open(&o->hints_gate, clock_mono_ms())) {
        return;
    }
    o->most = o->most ? o->most : SQS_MESSAGES_MAX;
    o->is_listening = true;
    if (sqs_receive_begin(o->aws, o->hints_url, wait_s < WAIT_S ? wait_s : WAIT_S, VISIBLE_S, o->most, received, o, &e) != 0) {
        o->is_listening = false;
        gate_close(&o->hints_gate, &e, clock_mono_ms());
    }
}
