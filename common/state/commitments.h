/*
 * commitments - storage commitment in state.db (PS3.4 annex J): requests, what they ask about, how far the report is. docs/states.md, section
 * "A storage commitment". The same rules as in state.h: one short transaction a call, 0 only when it is durable.
 *
 *   waiting ──▶ reporting ──▶ reported
 *                   └──────▶ given_up
 *
 * A request may be judged and reported more than once; the peer hears the same or a newer truth.
 */
#ifndef STORESCP_STATE_COMMITMENTS_H
#define STORESCP_STATE_COMMITMENTS_H

#include "common/state/state.h"

/* What an instance must have reached to count as committed. */
enum state_point { POINT_SPOOLED, POINT_UPLOADED, POINT_IMPORTED };
bool state_point_parse(const char *word, enum state_point *out); /* "spooled" ... */

/* Failure Reason (0008,1197) of one instance (PS3.3 section C.14.1.1) */
enum {
    REASON_PROCESSING_FAILURE = 0x0110,
    REASON_NO_SUCH_INSTANCE = 0x0112,
    REASON_CLASS_CONFLICT = 0x0119,
    REASON_DUPLICATE_TRANSACTION = 0x0131,
    REASON_RESOURCE_LIMITATION = 0x0213
};

struct state_commitment {
    char id[STATE_ID_SIZE], transaction_uid[STATE_UID_SIZE];
    char calling_ae[20], called_ae[20], peer[64], association[STATE_ID_SIZE];
    enum state_point point;
    int64_t items, failed; /* failed: of a decided one */
    int64_t requested_ms;
    int64_t wait_until_ms; /* what has not arrived by then counts as failed */
    int64_t give_up_ms;    /* what could not be reported by then is given up */
    int attempts;          /* reports that failed */
    int64_t token;         /* of the claim */
};

enum state_commitment_added { COMMITMENT_NEW, COMMITMENT_AGAIN, COMMITMENT_UID_IN_USE };
/*
 * Records a request; c->items references lie in `references` as common/dicom/commitment.h says. on_association: the report may go to the
 * association c->association, which this receiver has open, until state_commitment_leave(). The same list under a Transaction UID that
 * the calling AE title used before is the same request (AGAIN: c->id becomes its id; one that had ended is judged and reported anew).
 * Another list under it (UID_IN_USE) is recorded too, and every instance of it fails for that.
 */
int state_commitment_add(struct state *s, struct state_commitment *c, const char *references, bool on_association,
                         enum state_commitment_added *added, struct err *e);

/* Is there a request that has not ended? */
int state_commitment_any(struct state *s, bool *any, struct err *e);

/* Claims the due request that has been due longest; looks before it locks. */
enum state_commitment_work { COMMITMENT_JUDGE, COMMITMENT_REPORT };
int state_commitment_claim(struct state *s, enum state_commitment_work work, struct state_commitment *out, bool *found, struct err *e);
int state_commitment_unclaim(struct state *s, const struct state_commitment *c, struct err *e);
/* Decides every reference that can be decided now, all of them after wait_until_ms; ends the claim. *decided: none is open, the report is due. */
int state_commitment_judge(struct state *s, const struct state_commitment *c, bool *decided, struct err *e);

/* The references and their reasons (0 or a failure reason), in the order of the request; free both. */
int state_commitment_load(struct state *s, const struct state_commitment *c, char **references, size_t *bytes, uint16_t **reasons,
                          struct err *e);
/* Ends a claim: the peer has answered the report with success. how: a sentence for the history. */
int state_commitment_reported(struct state *s, const struct state_commitment *c, const char *how, struct err *e);
/* Ends a claim: it could not be reported; due again at next_ms or, beyond give_up_ms, given up (*given_up). The other reports to the same
 * calling AE title wait as long when all_of_peer is set: what cannot be reached costs one attempt, not one for each. */
int state_commitment_defer(struct state *s, const struct state_commitment *c, const struct err *why, int64_t next_ms, bool all_of_peer,
                           bool *given_up, struct err *e);

/* For the receiver that has the association open: claims a decided report for it; *found false if there is none. */
int state_commitment_take(struct state *s, const char *association, struct state_commitment *out, bool *found, struct err *e);
/* The association has ended: what was not reported on it goes another way, at once. */
int state_commitment_leave(struct state *s, const char *association, struct err *e);

/* Removes requests that ended longer than keep_ms ago, up to limit of them, with all that belongs to them. */
int state_commitment_prune(struct state *s, int64_t keep_ms, int limit, int *count, struct err *e);

#endif
