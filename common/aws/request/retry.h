/*
 * retry - whether and when one call is tried again inside itself. Pure.
 *
 * What passes by itself within a second is healed here and troubles nobody; what lasts is the stage's, which waits longer, in the database and without a limit
 * of attempts. The bucket keeps an outage from multiplying requests: every repeat costs tokens, only success brings them back, and without tokens a call
 * has one attempt. Shared by all calls of a client.
 * Source: SDK reference "Retry behavior", the behaviour of 2026: base 50 ms (1 s when throttled), doubled with each attempt up to 20 s, times a random part; the
 * server's own hint within 5 s above that; 500 tokens, 14 for a repeat (5 when throttled), given back when it succeeds, one for each plain success.
 */
#ifndef STORESCP_AWS_RETRY_H
#define STORESCP_AWS_RETRY_H

#include <stdbool.h>
#include <stdint.h>

enum retry_kind { RETRY_NOT, RETRY_TRANSIENT, RETRY_THROTTLED };
struct retry_bucket {
    int tokens;
};

void retry_bucket_fill(struct retry_bucket *b);
/* Of an err_code that an answer or the network gave. A time limit that has passed is RETRY_NOT: it has cost enough, the stage decides. */
enum retry_kind retry_kind_of(int rc, bool out_of_time);
/* Takes the tokens of one repeat: their number, or 0 if there are not enough. */
int retry_take(struct retry_bucket *b, enum retry_kind kind);
/* A call has succeeded; cost: what its last repeat took, 0 if it had none. */
void retry_give_back(struct retry_bucket *b, int cost);
/* How long to wait after attempt (from 1). server_ms: the server's hint, negative if it gave none. */
int64_t retry_delay_ms(enum retry_kind kind, int attempt, uint32_t random, int64_t server_ms);

#endif
