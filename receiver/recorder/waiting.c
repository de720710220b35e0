/* waiting - see waiting.h. */
#include "receiver/recorder/waiting.h"

#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "receiver/protocol.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static enum success_point point_for(const struct config *config, const struct config_section *section)
{
    const char *word = config_text_for(config, section, CFG_SUCCESS_AT);
    return strcmp(word, "s3") == 0 ? SUCCESS_AT_S3 : strcmp(word, "imported") == 0 ? SUCCESS_AT_IMPORTED : SUCCESS_AT_SPOOL;
}

enum success_point waiting_point(const struct config *config, struct state_received *row)
{
    const struct config_section *section = config_for_ae(config, row->calling_ae);
    enum success_point point = point_for(config, section);
    if (point == SUCCESS_AT_IMPORTED) {
        row->wait_until_ms = clock_wall_ms() + config_int_for(config, section, CFG_SUCCESS_WAIT_S) * 1000;
    }
    return point;
}

static bool has_arrived(const struct waiter *one, const struct state_progress *p)
{
    return one->point == SUCCESS_AT_S3 ? p->is_uploaded : p->is_imported;
}

/* The DIMSE status for one that will not arrive: the data set contradicts its request, or nobody can do anything with it. */
static int status_of_refusal(const struct state_progress *p)
{
    return strcmp(p->error_code, err_name(ERR_DICOM_MISMATCH)) == 0 ? 0xa900 : 0xc000;
}

static void send_verdict(const struct waiter *one, int status, const char *why, const char *comment)
{
    struct packet answer;
    if (one->process->channel == -1 || one->process->pid != one->pid) {
        return; /* the process is gone, and its association with it */
    }
    memset(&answer, 0, sizeof answer);
    answer.kind = PACKET_VERDICT;
    answer.status = status;
    answer.is_kept = true;
    (void)snprintf(answer.comment, sizeof answer.comment, "%s", comment);
    (void)send(one->process->channel, &answer, sizeof answer, MSG_NOSIGNAL | MSG_DONTWAIT);
    log_write(status == 0 ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, "answer_sent", "instance=%s status=%04X waited_ms=%lld point=%s why=\"%s\"", one->id,
              (unsigned)status, (long long)(clock_mono_ms() - one->since_ms), one->point == SUCCESS_AT_S3 ? "s3" : "imported", why);
}

bool waiting_begin(struct waiting *w, const struct config *config, struct process *p, const struct state_received *row)
{
    const struct config_section *section = config_for_ae(config, row->calling_ae);
    enum success_point point = point_for(config, section);
    if (point == SUCCESS_AT_SPOOL) {
        return false;
    }
    struct waiter one = {.process = p, .pid = p->pid, .point = point, .since_ms = clock_mono_ms()};
    memcpy(one.id, row->id, sizeof one.id);
    one.until_ms = one.since_ms + config_int_for(config, section, CFG_SUCCESS_WAIT_S) * 1000;
    one.is_success_at_end = strcmp(config_text_for(config, section, CFG_SUCCESS_TIMEOUT), "success") == 0;
    if (w->count == WAITERS_MAX) { /* those of processes that died a moment ago are still there */
        send_verdict(&one, 0xa700, "too many wait", "kept, but too many wait");
        return true;
    }
    memset(&w->progress[w->count], 0, sizeof w->progress[0]);
    memcpy(w->progress[w->count].id, row->id, sizeof row->id);
    w->waiters[w->count++] = one;
    return true;
}

/* Sends the verdict if there is one. */
static bool settle(const struct waiting *w, size_t i, int64_t now)
{
    const struct waiter *one = &w->waiters[i];
    const struct state_progress *p = &w->progress[i];
    char comment[65];
    if (one->process->channel == -1 || one->process->pid != one->pid) {
        return true;
    }
    if (has_arrived(one, p)) {
        send_verdict(one, 0, "it has arrived", "");
    } else if (p->is_refused) {
        (void)snprintf(comment, sizeof comment, "%.34s: see %s", p->error_code, one->id);
        send_verdict(one, status_of_refusal(p), p->error_code, comment);
    } else if (now < one->until_ms) {
        return false;
    } else if (one->is_success_at_end && !w->is_draining) {
        send_verdict(one, 0, "success_wait_s has passed, success_timeout is success", "");
    } else {
        (void)snprintf(comment, sizeof comment, "kept as %s, not yet %s", one->id, one->point == SUCCESS_AT_S3 ? "in S3" : "imported");
        send_verdict(one, 0xa700, w->is_draining ? "the receiver stops" : "success_wait_s has passed", comment);
    }
    return true;
}

static void forget(struct waiting *w, size_t i)
{
    w->count--;
    w->waiters[i] = w->waiters[w->count];
    w->progress[i] = w->progress[w->count];
}

void waiting_look(struct waiting *w, struct state *state)
{
    int64_t now = clock_mono_ms();
    bool news = false;
    struct err e = {0};
    if (w->count == 0 || now < w->look_at) {
        return;
    }
    w->look_at = now + WAITING_LOOK_MS;
    if (state_progress(state, w->progress, w->count, &news, &e) != 0) {
        log_warning("progress_not_read", "waiting=%zu reason=\"%s\" effect=\"their answers wait on\"", w->count, e.text);
    }
    for (size_t i = w->count; i > 0; i--) {
        if (settle(w, i - 1, now)) {
            forget(w, i - 1);
        }
    }
}

void waiting_end(struct waiting *w, const struct process *p)
{
    for (size_t i = w->count; i > 0; i--) {
        if (w->waiters[i - 1].process == p) {
            send_verdict(&w->waiters[i - 1], 0xa700, "its sender has gone", "");
            forget(w, i - 1);
        }
    }
}

void waiting_drain(struct waiting *w, int64_t until_ms)
{
    w->is_draining = true;
    for (size_t i = 0; i < w->count; i++) {
        w->waiters[i].until_ms = w->waiters[i].until_ms < until_ms ? w->waiters[i].until_ms : until_ms;
    }
}
