/*
 * change - element rules of the settings (`coerce`, `deidentify`) on an instance's file: what they make of it is written beside the sender's file, made durable
 * and put in its place before the verdict is committed; the audit goes with the verdict. See spool.h for what a stop between two steps leaves.
 *
 * An instance whose sender has rules is never uploaded without them: when they cannot be applied, it is quarantined (DICOM_EDIT_FAILED).
 */
#ifndef STORESCP_VALIDATOR_CHANGE_H
#define STORESCP_VALIDATOR_CHANGE_H

#include "common/dicom/edit.h"
#include "common/dicom/scan.h"
#include "common/runtime/config.h"
#include "common/state/state.h"

enum { CHANGE_PLANS_MAX = 64 };

struct changer { /* one for the process; begins as zeroes */
    const struct config *config;
    const char *home;
    bool has_key;
    unsigned char key[EDIT_KEY_BYTES];
    struct {
        const struct config_section *section; /* NULL: everybody's */
        struct edit_plan *plan;
    } plans[CHANGE_PLANS_MAX];
    size_t plan_count;
};

struct changed_file { /* lives until the verdict is committed */
    struct edited edited; /* its changes; the bytes are freed already */
    struct state_changed row;
    struct state_change *rows;
    bool is_deidentified;
};

/* Reads the rules, and makes the key of pseudonyms when some rule needs one and there is none. */
int change_start(struct changer *c, const struct config *config, const char *home, struct err *e);
void change_end(struct changer *c);
/* Puts the rules for this sender behind those that are in the plan. */
int change_plan(struct changer *c, const char *calling_ae, struct edit_plan *plan, struct err *e);
/* Does the sender have rules? */
bool change_has_rules(struct changer *c, const char *calling_ae);
/*
 * Applies the sender's rules, or `plan` when it is not NULL, to the file that is open, and switches. *made false: nothing changes, the file stays. Errors
 * of class REFUSE are the instance's. Before: spool_change_undo(). change_clear() in all cases.
 */
int change_make(struct changer *c, const struct state_instance *claim, int fd, struct edit_plan *plan, struct changed_file *out, bool *made, struct err *e);
void change_clear(struct changed_file *f);
/* By what the sender sent is a de-identified instance found here: its identity goes back into the scan of the changed file. */
void change_keep_identity(struct dicom_scan *changed, const struct dicom_scan *received);
/* Adds what nobody has looked at: names may be burned into the pixels. */
void change_warn(const struct changed_file *f, char *warning, size_t size);

#endif
