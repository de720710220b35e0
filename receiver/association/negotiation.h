/*
 * negotiation - an association process answers one association request: policy.c says what is accepted, here users are checked
 * (PS3.7 D.3.3.7; the slow hash runs in this process and delays nobody else) and refusals are remembered and told.
 * What was refused goes to the recorder in few packets, which logs it once for each peer and reason (refusals.h).
 */
#ifndef STORESCP_RECEIVER_NEGOTIATION_H
#define STORESCP_RECEIVER_NEGOTIATION_H

#include "common/runtime/users.h"
#include "receiver/association/policy.h"
#include "receiver/protocol.h"

enum { NEGOTIATION_GROUPS = 8 };

struct refused_group { /* presentation contexts that were refused for one reason */
    struct policy_refusal why;
    char names[420];
    int named, count;
};

struct negotiation {
    const struct config *config;
    int channel;
    struct packet *job;                   /* this association's; user_name and user_checked are filled here */
    const struct config_section *section; /* the peer's own settings; NULL: those for everybody. Known after negotiation_request */
    struct refused_group groups[NEGOTIATION_GROUPS];
    size_t group_count;
};

/* An AE title as it is kept and told: in the file, in state.db, in the log. What PS3.5 does not allow in one becomes '?': other bytes would
 * be no text for whoever reads them. */
void negotiation_title(char *out, size_t size, const char *title);

/* For a new association. job lives as long as it does. */
void negotiation_begin(struct negotiation *n, const struct config *config, int channel, struct packet *job);
/* AE titles; job's calling and called are filled already. A rejection is told to the recorder. */
void negotiation_request(struct negotiation *n, const struct scp_request *request, struct scp_decision *decision);
/* The user identity. Costs time and memory: only for a peer whose address and number of associations are right. */
void negotiation_user(struct negotiation *n, const struct scp_request *request, struct scp_decision *decision);
/* One presentation context; as scp_ops.negotiate. */
int negotiation_context(struct negotiation *n, const struct scp_context *context);
/* After the last context: tells the recorder what was refused. */
void negotiation_end(struct negotiation *n);

#endif
