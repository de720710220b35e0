/*
 * fix - the corrections that persons ordered (`storescpctl quarantine fix`), as far as they concern an instance in hand. What a person said comes before
 * every other rule that changes an image, and is judged: the corrected file is written to changed/ and stands in the place of the sender's for the rules,
 * the identity and the twins. Recorded with the verdict (struct state_validation, fixes).
 *
 * Done anew, to what the sender sent, whenever the instance is judged again: a crash at any moment repeats it and adds nothing.
 */
#ifndef STORESCP_VALIDATOR_FIX_H
#define STORESCP_VALIDATOR_FIX_H

#include "common/dicom/edit.h"
#include "common/state/quarantine.h"

enum { FIX_MAX = 16 /* orders for one instance */ };

struct fixed { /* lives until the verdict is committed; begins as zeroes */
    struct state_fix *orders; /* oldest first; NULL: nobody ordered anything about it */
    size_t count;
    struct edit_plan *plan;   /* of the orders; the sender's rules may be put behind them */
    struct edited edited;     /* what they make of it */
    int fd;                   /* the corrected file, -1: the sender's is judged. Of an instance with orders */
};

/*
 * Looks for orders about the claim, whose file is open as fd, and what they make of its header. 0, or ERR_DICOM_EDIT: they cannot be done to this file (the
 * reason, with the number of the order), or an error of ours. Before: spool_change_undo(). fix_end() in all cases.
 */
int fix_begin(struct state *s, const struct state_instance *claim, int fd, struct fixed *out, struct err *e);
/* Writes the corrected file, as long as that may take, and opens it. claim: a corrected SOP Instance UID counts from here on. Nothing to correct: 0. */
int fix_write(const char *home, struct state_instance *claim, int fd, struct fixed *f, struct err *e);
void fix_end(struct fixed *f);

#endif
