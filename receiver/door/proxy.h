/*
 * proxy - the header that a balancer puts in front of a connection to tell whose it is: PROXY protocol versions 1 (one line of text) and
 * 2 (binary), as HAProxy's proxy-protocol.txt has them. Whether a peer may send one is not decided here. Pure.
 */
#ifndef STORESCP_RECEIVER_PROXY_H
#define STORESCP_RECEIVER_PROXY_H

#include "common/runtime/cidr.h"

#include <stdbool.h>
#include <stddef.h>

/* Longest header that is read: 16 bytes and the rest of version 2, additional fields (TLVs) included. */
enum { PROXY_BYTES_MAX = 4096 };

enum proxy_found {
    PROXY_NONE,  /* the bytes are no such header */
    PROXY_MORE,  /* so far they may be one: out->bytes says how many are needed to know more */
    PROXY_WHOLE, /* out is filled; the connection's own bytes begin after out->bytes */
    PROXY_BROKEN /* begins like one and is none: out->wrong says why */
};

struct proxy_header {
    size_t bytes;
    int version;               /* 1 or 2 once that is sure, else 0 */
    bool has_source;           /* false: the balancer speaks for itself (LOCAL, UNKNOWN), the connection's own address counts */
    struct cidr_address source;
    const char *wrong;         /* PROXY_BROKEN: a sentence, static */
};

enum proxy_found proxy_read(const unsigned char *bytes, size_t count, struct proxy_header *out);

#endif
