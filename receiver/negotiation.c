/* negotiation - see negotiation.h. */
#include "receiver/negotiation.h"

#include "common/dicom/uid.h"
#include "common/runtime/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { QUOTED = 260, NAMES_EACH = 8, SYNTAXES_TOLD = 4 };

void negotiation_begin(struct negotiation *n, const struct config *config, int channel, const struct packet *job)
{
    memset(n, 0, sizeof *n);
    n->config = config;
    n->channel = channel;
    n->job = job;
}

/* To the recorder's log. When it is not there any more, the association ends soon and nothing is lost but a line. */
static void tell(struct negotiation *n, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void tell(struct negotiation *n, const char *event, const char *format, ...)
{
    struct packet p = *n->job;
    va_list args;
    p.kind = PACKET_REFUSED;
    (void)snprintf(p.refusal_event, sizeof p.refusal_event, "%s", event);
    va_start(args, format);
    (void)vsnprintf(p.refusal_text, sizeof p.refusal_text, format, args);
    va_end(args);
    ssize_t sent;
    do {
        sent = send(n->channel, &p, sizeof p, MSG_NOSIGNAL);
    } while (sent == -1 && errno == EINTR);
}

static void reject(struct negotiation *n, struct scp_decision *decision, struct scp_decision how, const struct policy_refusal *why)
{
    char calling[QUOTED];
    char called[QUOTED];
    *decision = how;
    tell(n, "association_rejected", "calling_ae=%s called_ae=%s answer=%d/%d/%d reason=\"%s\" remedy=\"%s\"",
         log_text(n->job->calling, calling, sizeof calling), log_text(n->job->called, called, sizeof called), how.result, how.source,
         how.reason, why->reason, why->remedy);
}

void negotiation_request(struct negotiation *n, const struct scp_request *request, struct scp_decision *decision)
{
    struct policy_refusal why;
    n->section = config_for_ae(n->config, request->calling);
    int refusal = policy_request(n->config, request->calling, request->called, &why);
    if (refusal != 0) {
        reject(n, decision, (struct scp_decision){1, refusal >> 8, refusal & 0xff, 0}, &why);
    }
}

static void add_text(char *out, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void add_text(char *out, size_t size, const char *format, ...)
{
    va_list args;
    size_t used = strlen(out);
    va_start(args, format);
    (void)vsnprintf(out + used, size - used, format, args);
    va_end(args);
}

/* A UID by its name; what is no UID is only called so, because it may hold anything. */
static const char *named(const char *uid)
{
    const char *name = scp_name_of_uid(uid);
    return name ? name : dicom_uid_is_legal(uid) ? uid : "no UID";
}

static void remember(struct negotiation *n, const struct scp_context *context, const struct policy_refusal *why, bool with_syntaxes)
{
    size_t i = 0;
    while (i < n->group_count && strcmp(n->groups[i].why.reason, why->reason) != 0) {
        i++;
    }
    if (i == NEGOTIATION_GROUPS) {
        return; /* there are fewer reasons than that */
    }
    struct refused_group *g = &n->groups[i];
    if (i == n->group_count) {
        n->group_count++;
        g->why = *why;
    }
    g->count++;
    if (g->named == NAMES_EACH || strlen(g->names) > sizeof g->names - 200) {
        return;
    }
    add_text(g->names, sizeof g->names, "%s%s", g->named++ > 0 ? ", " : "", named(context->abstract_syntax));
    for (int k = 0; with_syntaxes && k < context->transfer_syntax_count && k < SYNTAXES_TOLD; k++) {
        const struct dicom_ts *ts = dicom_ts_find(context->transfer_syntaxes[k]);
        add_text(g->names, sizeof g->names, "%s%s", k == 0 ? " with " : " ", ts ? ts->keyword : named(context->transfer_syntaxes[k]));
    }
}

int negotiation_context(struct negotiation *n, const struct scp_context *context)
{
    struct policy_refusal why;
    int chosen = policy_negotiate(n->config, n->section, context, &why);
    if (chosen < 0) {
        remember(n, context, &why, chosen == SCP_REFUSE_TRANSFER_SYNTAXES);
    }
    return chosen;
}

void negotiation_end(struct negotiation *n)
{
    char calling[QUOTED];
    (void)log_text(n->job->calling, calling, sizeof calling);
    for (size_t i = 0; i < n->group_count; i++) {
        const struct refused_group *g = &n->groups[i];
        tell(n, "contexts_refused", "calling_ae=%s count=%d sop_classes=\"%s%s\" reason=\"%s\" remedy=\"%s\"", calling, g->count, g->names,
             g->count > g->named ? ", ..." : "", g->why.reason, g->why.remedy);
    }
}
