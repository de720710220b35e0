/* address - where a peer listens: "host:port", "[::1]:port" or either with "AETITLE@" in front; and a connection to it. */
#ifndef STORESCP_RECEIVER_ADDRESS_H
#define STORESCP_RECEIVER_ADDRESS_H

#include "common/runtime/err.h"

struct address {
    char ae_title[17]; /* "" when none is named */
    char host[256], port[8];
};

/* ERR_CONFIG with a sentence when text is empty or none of those. Pure. */
int address_parse(const char *text, struct address *out, struct err *e);
/* Tries each address of the host. ERR_TIMEOUT, ERR_NETWORK, or ERR_STOPPED when the descriptor stop (may be -1) becomes readable or ends
 * meanwhile. Looking up a name takes as long as the system's resolver lets it. */
int address_connect(const struct address *to, int timeout_ms, int stop, int *fd, struct err *e);

#endif
