/*
 * admission - may this association stand? Asked by the association process once it has read the A-ASSOCIATE-RQ and found nothing wrong with
 * the titles; answered by the recorder, which alone sees all associations of this receiver.
 */
#ifndef STORESCP_RECEIVER_ADMISSION_H
#define STORESCP_RECEIVER_ADMISSION_H

#include "common/runtime/cidr.h"
#include "receiver/protocol.h"

#include <stdbool.h>

struct config;
struct scp_decision;

struct admission_facts {
    const char *calling; /* spaces at the ends do not count */
    struct cidr_address from;
    int step;             /* enum pressure_step */
    bool is_backlog, reserve_is_left;
    int open, of_ae, of_address; /* admitted associations: all, of this calling AE title, from this address; without this one */
};

struct admission_verdict { /* result 0: welcome; else result, source and reason of PS3.8 table 9-21 */
    int result, source, reason;
    bool is_limit;       /* an association that ends may make it pass */
    const char *setting; /* which one would accept it; static */
    char sentence[200];
};

/* Pure. Permanent for an address that the AE title may not come from, transient for limits: the sender comes again. */
void admission_judge(const struct config *config, const struct admission_facts *facts, struct admission_verdict *out);

/* ---- in an association process ------------------------------------------------------------------------------------------------- */

/* Asks the recorder about job (peer, calling, called, TLS facts); waits for it. *decision stays as it is when the association is welcome. */
void admission_ask(int channel, const struct packet *job, struct scp_decision *decision);

#endif
