/*
 * admit - the recorder's answer to a request that was read: limits across all associations of this receiver. See door.h; the rules
 * themselves are in admission.c.
 */
#include "receiver/door/door_internal.h"

#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "receiver/door/admission.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static void log_rejected(struct door *d, const struct process *p, const struct admission_verdict *v)
{
    char peer[CIDR_TEXT_SIZE];
    char calling[240];
    char called[240];
    char key[120];
    unsigned long untold = 0;
    (void)snprintf(key, sizeof key, "%s %s", v->setting, p->calling);
    if (refusals_due(d->refusals, clock_mono_ms(), cidr_text(&p->from, peer), key, &untold)) {
        log_warning("association_rejected", "peer=%s calling_ae=%s called_ae=%s answer=%d/%d/%d reason=\"%s\" remedy=\"see the setting %s\" untold=%lu",
                    peer, log_text(p->calling, calling, sizeof calling), log_text(p->called, called, sizeof called), v->result, v->source,
                    v->reason, v->sentence, v->setting, untold);
    }
}

static void answer(struct door *d, struct process *p)
{
    struct admission_facts facts = {.calling = p->calling, .from = p->from, .step = atomic_load(&d->pool->told->step),
                                    .is_backlog = atomic_load(&d->pool->told->is_backlog),
                                    .reserve_is_left = atomic_load(&d->pool->told->reserve_is_left)};
    struct admission_verdict verdict;
    struct packet told;
    for (size_t i = 0; i < d->pool->process_count; i++) {
        const struct process *other = &d->pool->processes[i];
        if (other->channel != -1 && other->is_admitted) {
            facts.open++;
            facts.of_ae += strcmp(other->calling, p->calling) == 0;
            facts.of_address += cidr_same(&other->from, &p->from);
        }
    }
    admission_judge(d->pool->config, &facts, &verdict);
    if (verdict.is_limit && clock_mono_ms() - p->asked_ms < GRACE_MS) {
        d->asking = true; /* the same sender's last association is perhaps just ending */
        return;
    }
    p->asks = false;
    memset(&told, 0, sizeof told);
    told.kind = PACKET_VERDICT;
    told.admission.result = verdict.result;
    told.admission.source = verdict.source;
    told.admission.reason = verdict.reason;
    p->is_admitted = verdict.result == 0;
    if (verdict.result != 0) {
        d->turned_away++;
        log_rejected(d, p, &verdict);
    }
    (void)send(p->channel, &told, sizeof told, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void door_asked(struct door *d, struct process *p, const struct packet *packet)
{
    /* spaces at both ends are no part of a title (PS3.5 table 6.2-1), and the same sender must not count twice */
    const char *calling = packet->calling + strspn(packet->calling, " ");
    size_t length = strlen(calling);
    while (length > 0 && calling[length - 1] == ' ') {
        length--;
    }
    (void)snprintf(p->calling, sizeof p->calling, "%.*s", (int)length, calling);
    (void)snprintf(p->called, sizeof p->called, "%s", packet->called);
    d->asking = true;
    p->asks = true;
    p->asked_ms = clock_mono_ms();
}

void door_answer(struct door *d)
{
    if (!d->asking) {
        return;
    }
    d->asking = false;
    for (size_t i = 0; i < d->pool->process_count; i++) {
        struct process *p = &d->pool->processes[i];
        if (p->channel != -1 && p->asks) {
            answer(d, p);
        }
    }
}
