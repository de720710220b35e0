/* commitment - the association process's part of Storage Commitment; see commitment.h. */
#include "receiver/association/commitment.h"

#include "common/runtime/log.h"
#include "common/runtime/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ASK_FIRST_MS = 100, ASK_LAST_MS = 1000 };

void asker_begin(struct asker *a, int channel, const struct packet *job)
{
    memset(a, 0, sizeof *a);
    a->channel = channel;
    a->job = job;
}

void asker_end(struct asker *a)
{
    free(a->event);
    a->event = NULL;
    a->expected = 0;
}

/* Says something to the recorder and takes its answer. When it died nobody knows what it did: no answer to the peer is the honest one. */
static struct packet ask(const struct asker *a, const struct packet *p, int fd, int *fd_back)
{
    struct packet answer;
    *fd_back = -1;
    if (!packet_send(a->channel, p, fd) || packet_receive(a->channel, &answer, 0, fd_back) != (ssize_t)sizeof answer ||
        answer.kind != PACKET_VERDICT) {
        _exit(1);
    }
    return answer;
}

static void refused(void *ctx, uint16_t status, const char *comment)
{
    const struct asker *a = ctx;
    char text[300];
    log_warning("commitment_refused", "association=%s peer=%s status=%04X reason=%s", a->job->association, a->job->peer, status,
                log_text(comment, text, sizeof text));
}

static uint16_t action(void *ctx, const unsigned char *bytes, size_t count, bool explicit_vr, char comment[65])
{
    struct asker *a = ctx;
    struct commitment_list list;
    struct err e = {0};
    uint16_t status = commitment_read(bytes, count, explicit_vr, &list, &e);
    if (status != 0) {
        (void)snprintf(comment, 65, "%.64s", e.text);
        refused(a, status, e.text);
        return status;
    }
    int fd = memory_file_new(list.references, list.references_bytes, "", 0);
    int none = -1;
    struct packet p = *a->job;
    p.kind = PACKET_COMMIT;
    p.list_count = list.count;
    p.list_bytes = list.references_bytes;
    (void)snprintf(p.transaction_uid, sizeof p.transaction_uid, "%s", list.transaction_uid);
    commitment_list_clear(&list);
    p.status = COMMITMENT_PROCESSING_FAILURE;
    if (fd != -1) {
        p = ask(a, &p, fd, &none);
        (void)close(fd);
    }
    if (none != -1) {
        (void)close(none);
    }
    if (p.status != 0) {
        (void)snprintf(comment, 65, "the request could not be recorded; ask again later");
        refused(a, (uint16_t)p.status, comment);
        return (uint16_t)p.status;
    }
    a->expected += p.list_count > 0; /* may be reported here */
    a->pause_ms = ASK_FIRST_MS;
    a->ask_at = clock_mono_ms() + a->pause_ms;
    return 0;
}

/* The recorder's file: the reasons, two bytes each, then the references. */
static bool read_report(struct asker *a, const struct packet *p, int fd, bool explicit_vr, struct commitment_event *out)
{
    size_t reasons_bytes = (size_t)p->list_count * sizeof(uint16_t);
    char *all = p->list_count <= COMMITMENT_ITEMS_MAX && p->list_bytes <= COMMITMENT_BYTES_MAX ? memory_file_read(fd, reasons_bytes + p->list_bytes) : NULL;
    if (!all) {
        return false;
    }
    uint16_t *reasons = malloc(reasons_bytes + 1);
    if (reasons && commitment_references_are_sound(all + reasons_bytes, p->list_bytes, p->list_count)) {
        memcpy(reasons, all, reasons_bytes);
        a->event = commitment_write(p->transaction_uid, all + reasons_bytes, reasons, p->list_count, explicit_vr, &out->count, &out->type);
        out->bytes = a->event;
    }
    free(reasons);
    free(all);
    return a->event != NULL;
}

static bool event(void *ctx, bool explicit_vr, struct commitment_event *out)
{
    struct asker *a = ctx;
    int64_t now = clock_mono_ms();
    int fd = -1;
    if (a->expected == 0 || now < a->ask_at) {
        return false;
    }
    a->pause_ms = a->pause_ms * 2 < ASK_LAST_MS ? a->pause_ms * 2 : ASK_LAST_MS;
    a->ask_at = now + a->pause_ms;
    struct packet p = *a->job;
    p.kind = PACKET_ASK;
    p = ask(a, &p, -1, &fd);
    if (fd == -1) {
        return false;
    }
    a->report = p;
    bool ready = read_report(a, &p, fd, explicit_vr, out);
    (void)close(fd);
    if (!ready) {
        a->report.kind = PACKET_REPORTED;
        a->report.status = -1;
        (void)packet_send(a->channel, &a->report, -1);
    }
    return ready;
}

static int event_wait_ms(void *ctx)
{
    const struct asker *a = ctx;
    int64_t left = a->ask_at - clock_mono_ms();
    return a->expected == 0 ? -1 : left > 0 ? (int)left : 0;
}

static bool event_ended(void *ctx, int status)
{
    struct asker *a = ctx;
    free(a->event);
    a->event = NULL;
    a->expected--;
    a->report.kind = PACKET_REPORTED;
    a->report.status = status;
    if (!packet_send(a->channel, &a->report, -1)) {
        _exit(1);
    }
    return false;
}

const struct commitment_ops asker_ops = {action, refused, event, event_wait_ms, event_ended};
