/*
 * breaker - when S3 is away, throttles, or refuses us, all transfers pause together and no instance is charged for it. Pure: time and chance are
 * parameters; times are monotonic milliseconds.
 *
 * Closed: transfers flow. A failure opens it for a growing, jittered time; then one transfer at a time may try (the probe): its success closes the
 * breaker, its failure opens it for longer. Transfers that began before it opened tell nothing new: their failures are counted once.
 *
 * One instance may fail as if the endpoint were down while all others pass (a proxy that drops one content, a server's error on one object). It would
 * be the oldest row for ever and hold up all others. So each failure is remembered: an instance that failed before, while a transfer that began after
 * that failure went well, is the trouble itself (breaker_blames()), and is put back by itself with a delay of its own. A transfer may consist of several
 * attempts: the failure of its first one, first_failed_ms (0: there was only one), counts like a failure before.
 */
#ifndef STORESCP_UPLOADER_BREAKER_H
#define STORESCP_UPLOADER_BREAKER_H

#include "common/runtime/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BREAKER_SUSPECTS = 32, BREAKER_STABLE = 16, BREAKER_FORGET_MS = 30000 };

struct breaker {
    bool open;
    int openings;  /* in a row: the exponent of the delay */
    int successes; /* since it closed; BREAKER_STABLE of them, or BREAKER_FORGET_MS without a failure, forget the openings */
    int64_t opened_ms, closed_ms, until_ms;
    int64_t good_began_ms; /* the latest begin of a transfer that went well; 0: none yet */
    int64_t good_ended_ms;
    struct err why; /* of the last opening */
    struct {
        char id[27];
        int64_t failed_ms;
    } suspects[BREAKER_SUSPECTS];
    size_t next_suspect;
};

/* How many more transfers may begin: up to most - busy while closed; one, when nothing is busy and the time is over; else 0. */
int breaker_room(const struct breaker *b, int64_t now_ms, int busy, int most);
/* Until the next probe may begin; 0 if now. */
int64_t breaker_wait_ms(const struct breaker *b, int64_t now_ms);
/* The endpoint failed on this instance. Returns true if the breaker opened (again), false if the transfer began before it was open. */
bool breaker_failed(struct breaker *b, const char *id, const struct err *why, int64_t began_ms, int64_t now_ms, int64_t first_failed_ms,
                    uint32_t random);
/* Is it this instance and not the endpoint? Ask before breaker_failed(). */
bool breaker_blames(const struct breaker *b, const char *id, int64_t first_failed_ms);
/* A transfer went well. Returns true if that closed the breaker. */
bool breaker_succeeded(struct breaker *b, const char *id, int64_t began_ms, int64_t now_ms);

#endif
