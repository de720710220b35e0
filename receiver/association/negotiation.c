/* negotiation - see negotiation.h. */
#include "receiver/association/negotiation.h"

#include "common/dicom/uid.h"
#include "common/runtime/list.h"
#include "common/runtime/log.h"
#include "receiver/association/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { QUOTED = 260, NAMES_EACH = 8, SYNTAXES_TOLD = 4 };

void negotiation_begin(struct negotiation *n, const struct config *config, int channel, struct packet *job)
{
    memset(n, 0, sizeof *n);
    n->config = config;
    n->channel = channel;
    n->job = job;
}

void negotiation_title(char *out, size_t size, const char *title)
{
    (void)snprintf(out, size, "%s", title + strspn(title, " "));
    for (char *p = out; *p; p++) {
        if (*p < 0x20 || *p > 0x7e || *p == '\\') {
            *p = '?';
        }
    }
}

static void reject(struct negotiation *n, struct scp_decision *decision, struct scp_decision how, const struct policy_refusal *why)
{
    char calling[QUOTED];
    char called[QUOTED];
    char user[QUOTED];
    *decision = how;
    report_refusal(n->channel, n->job, "association_rejected", "calling_ae=%s called_ae=%s%s%s answer=%d/%d/%d reason=\"%s\" remedy=\"%s\"",
         log_text(n->job->calling, calling, sizeof calling), log_text(n->job->called, called, sizeof called), n->job->user_name[0] ? " user=" : "",
         n->job->user_name[0] ? log_text(n->job->user_name, user, sizeof user) : "", how.result, how.source, how.reason, why->reason, why->remedy);
}

/* ---- users ----------------------------------------------------------------------------------------------------------------- */

static int refuse(struct policy_refusal *why, const char *reason, const char *remedy)
{
    (void)snprintf(why->reason, sizeof why->reason, "%s", reason);
    (void)snprintf(why->remedy, sizeof why->remedy, "%s", remedy);
    return -1;
}

/* Copies what must be text: not empty, without NUL, shorter than size. */
static bool copy_field(char *out, size_t size, const char *bytes, size_t count)
{
    if (count == 0 || count >= size || memchr(bytes, '\0', count)) {
        return false;
    }
    memcpy(out, bytes, count);
    out[count] = '\0';
    return true;
}

/* Asks user_file; passcode NULL when only the name counts. */
static int check_user(struct negotiation *n, const char *passcode, bool name_is_enough, struct policy_refusal *why)
{
    char path[4352];
    enum users_answer answer = USERS_UNKNOWN;
    struct err e = {0};
    int rc = users_path(n->config, path, sizeof path, &e);
    rc = rc == 0 ? users_check(path, n->job->user_name, passcode, &answer, &e) : rc;
    if (rc != 0) {
        (void)refuse(why, "", "storescpctl user add NAME, or correct owner and mode of user_file");
        (void)snprintf(why->reason, sizeof why->reason, "user_file cannot be read: %.150s", e.text);
        return -1;
    }
    const char *allowed = config_text_for(n->config, n->section, CFG_ALLOWED_USERS);
    if (answer == USERS_UNKNOWN) {
        return refuse(why, "the user is not in user_file", "storescpctl user add NAME");
    }
    if (answer == USERS_WRONG_PASSCODE) {
        return refuse(why, "the passcode is wrong", "correct it on the sender, or storescpctl user add NAME for a new one");
    }
    if (answer == USERS_NAME_ONLY && !name_is_enough) {
        return refuse(why, "the user has no passcode in user_file", "storescpctl user add NAME");
    }
    if (allowed[0] && !list_fits(allowed, n->job->user_name)) {
        return refuse(why, "this user may not send from this AE title", "add the user to allowed_users");
    }
    n->job->user_checked = true;
    return 0;
}

/* 0, or -1 with the reason why the user identity does not do. */
static int identify(struct negotiation *n, const struct scp_identity *identity, struct policy_refusal *why)
{
    const char *required = config_text_for(n->config, n->section, CFG_REQUIRE_USER_IDENTITY);
    bool is_text = identity && (identity->type == SCP_IDENTITY_USERNAME || identity->type == SCP_IDENTITY_PASSCODE);
    bool named = is_text && copy_field(n->job->user_name, sizeof n->job->user_name, identity->primary, identity->primary_bytes) && users_name_is_legal(n->job->user_name);
    if (!named) {
        n->job->user_name[0] = '\0';
    }
    if (strcmp(required, "off") == 0) {
        return 0;
    }
    if (!identity) {
        return refuse(why, "the peer sends no user identity", "set user and passcode on the sender, or require_user_identity = off for this AE title");
    }
    if (!is_text) {
        return refuse(why, "the user identity is of a kind that is not supported (Kerberos, SAML, JWT)", "let the sender use a username and passcode");
    }
    if (!named) {
        return refuse(why, "the username is empty, too long or has illegal characters", "correct the sender");
    }
    char passcode[USERS_PASSCODE_SIZE] = "";
    bool has_passcode = identity->type == SCP_IDENTITY_PASSCODE;
    if (!has_passcode && strcmp(required, "passcode") == 0) {
        return refuse(why, "the peer sends a username without a passcode", "set a passcode on the sender, or require_user_identity = username for this AE title");
    }
    if (has_passcode && !copy_field(passcode, sizeof passcode, identity->secondary, identity->secondary_bytes)) {
        return refuse(why, "the passcode is empty, too long or no text", "correct the sender");
    }
    int rc = check_user(n, has_passcode ? passcode : NULL, strcmp(required, "username") == 0, why);
    explicit_bzero(passcode, sizeof passcode);
    return rc;
}

/* ---- the request ------------------------------------------------------------------------------------------------------------- */

void negotiation_request(struct negotiation *n, const struct scp_request *request, struct scp_decision *decision)
{
    struct policy_refusal why;
    n->section = config_for_ae(n->config, request->calling);
    decision->operations_window = (int)config_int_for(n->config, n->section, CFG_OPERATIONS_WINDOW);
    int refusal = policy_request(n->config, request->calling, request->called, &why);
    if (refusal != 0) {
        reject(n, decision, (struct scp_decision){1, refusal >> 8, refusal & 0xff, 0, 0}, &why);
    }
}

void negotiation_user(struct negotiation *n, const struct scp_request *request, struct scp_decision *decision)
{
    struct policy_refusal why;
    if (identify(n, request->identity, &why) != 0) {
        reject(n, decision, (struct scp_decision){1, 1, 1, 0, 0}, &why); /* PS3.8 has no reason of its own for users */
    } else {
        /* PS3.15 B.4: whoever asks for an answer gets one, also when nobody requires users here */
        decision->identity_confirmed = n->job->user_name[0] != '\0';
        if (n->job->user_name[0]) {
            char user[QUOTED];
            log_info("user_identified", "association=%s peer=%s user=%s checked=%s", n->job->association, n->job->peer,
                     log_text(n->job->user_name, user, sizeof user), n->job->user_checked ? "yes" : "no");
        }
    }
}

/* ---- presentation contexts ----------------------------------------------------------------------------------------------------- */

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
        report_refusal(n->channel, n->job, "contexts_refused", "calling_ae=%s count=%d sop_classes=\"%s%s\" reason=\"%s\" remedy=\"%s\"", calling, g->count, g->names,
             g->count > g->named ? ", ..." : "", g->why.reason, g->why.remedy);
    }
}
