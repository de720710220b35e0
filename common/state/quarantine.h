/*
 * quarantine - what a person does with quarantined instances: accept what a rule says no to, order a correction, stop one. The same rules as in state.h:
 * one short transaction a call, 0 only when it is durable; state_person() first, so that each decision bears a name.
 *
 *   release   the rules that refused an instance are accepted for it, with who and why; quarantined -> received, and the validator judges it again:
 *             an accepted rule does not quarantine it any more, every other one still does
 *   fix       a row of fix_rule says which elements become what, for one instance, a study or what an AE title sends from now on; quarantined -> received;
 *             the validator applies it before it judges. Values live in fix_rule only, never in an event or a log
 *
 * Dropping is state_drop(). Files are the caller's business: spool_unquarantine() before these.
 */
#ifndef STORESCP_STATE_QUARANTINE_H
#define STORESCP_STATE_QUARANTINE_H

#include "common/state/state.h"

enum { STATE_RULE_SIZE = 40, STATE_ACTIONS_MAX = 4000 };

/* Accepts, for a quarantined instance that is not dropped, every rule that refuses it, and gives it back to the validator. *done false: it is not
 * (or no longer) quarantined for the reason `code`, which the person saw; nothing happened. */
int state_quarantine_release(struct state *s, const char *id, const char *code, const char *reason, bool *done, struct err *e);
/* Did a person accept this rule for this instance? rule: a rule's id, or the err_name() of a refusal that is none of a rule's. */
int state_rule_is_accepted(struct state *s, const char *id, const char *rule, bool *accepted, struct err *e);

enum state_fix_kind { FIX_INSTANCE, FIX_STUDY, FIX_AE };
struct state_fix {
    int64_t id;
    enum state_fix_kind kind;
    char match[80];  /* an instance id, a study UID, or an AE title with wildcards */
    char actions[STATE_ACTIONS_MAX + 1]; /* as common/dicom/edit.h reads them */
    char reason[256], who[STATE_WORKER_SIZE];
    int64_t since_ms; /* FIX_AE: of what was received from then on */
    bool was_done;    /* with an earlier verdict on this instance. Only read */
};
/* Orders a correction. FIX_INSTANCE and FIX_STUDY: what is quarantined of it goes back to the validator, in the same commit if it is one instance; *count
 * tells how many did. FIX_INSTANCE: *count 0 means that it is not quarantined, and nothing was ordered. id receives the number of the order. */
int state_fix_add(struct state *s, const struct state_fix *f, int64_t *id, int64_t *count, struct err *e);
/* It applies to nothing that comes from now on; what it changed stays changed. *done false: there is no such order, or it was stopped before. */
int state_fix_stop(struct state *s, int64_t id, bool *done, struct err *e);

/* ---- for the validator ------------------------------------------------------------------------------------------------------------ */
/* Was there ever any order? One look, so that nobody pays who never orders. */
int state_fix_any(struct state *s, bool *any, struct err *e);
/* The orders for this instance, oldest first, up to limit; study_uid as it stands in its file. Whenever it is judged again everything is done anew to what
 * the sender sent, so those that were done before are among them, stopped or not. ERR_LIMIT: there are more. Costs the orders for its id, its study, and
 * for any AE title. */
int state_fix_find(struct state *s, const struct state_instance *claim, const char *study_uid, struct state_fix *out, size_t limit, size_t *count,
                   struct err *e);
/* state_validated() records them with the verdict: struct state_validation, fixes. */

#endif
