/*
 * outside - what an importer does beside importing: it tells others of finished studies, refused instances and import jobs (publish.c), and listens
 * to HealthImaging's events as hints (hints.c). It has connections of its own, waits for nothing, and never holds up an import for longer than the
 * writing of a row. Any number of importers may do it; claims in the outbox decide who tells what.
 */
#ifndef STORESCP_IMPORTER_OUTSIDE_H
#define STORESCP_IMPORTER_OUTSIDE_H

#include "common/aws/client.h"
#include "common/handoff/handoff.h"
#include "common/runtime/config.h"
#include "common/state/outbox.h"
#include "common/state/state.h"
#include "importer/events.h"
#include "importer/gate.h"

enum outside_target { TARGET_WEBHOOK, TARGET_SQS, TARGET_DYNAMODB, TARGET_COUNT };
enum { OUTSIDE_SLOTS = 4 /* subjects of one target in hand at one time */ };

struct outside;

struct publish_slot {
    struct outside *o;
    enum outside_target target;
    bool used, is_under_way;
    struct state_told row;
    int64_t begun_ms;
};

struct outside {
    const struct config *config; /* borrowed, as the state */
    struct state *state;
    struct aws_client *aws; /* NULL: nobody is told and nobody tells us */
    /* publish.c */
    bool is_told[TARGET_COUNT];
    struct gate gates[TARGET_COUNT];
    int64_t closed_at_ms[TARGET_COUNT]; /* monotonic */
    struct publish_slot slots[TARGET_COUNT][OUTSIDE_SLOTS];
    struct events_style style;
    struct state_study *room;
    int64_t register_at_ms, trim_at_ms, announce_at_ms, claim_at_ms;
    bool is_ending;
    /* hints.c */
    const char *hints_url; /* NULL: none */
    struct gate hints_gate;
    bool is_listening, is_hinted, is_stirred /* something may be due that was not */;
    int most, deletes;
};

/* Opens nothing over the network. ERR_CONFIG as in aws_client_open(). */
int outside_open(struct outside *o, const struct config *config, struct state *state, struct err *e);
/* To be called often: moves on what is under way and begins what is due. Milliseconds. */
void outside_move(struct outside *o);
/* Waits up to wait_ms for hints of uploaders, for stop_fd, and for what is under way here. */
void outside_wait(struct outside *o, struct handoff *handoff, int wait_ms, int stop_fd);
/* Begins nothing more; what is under way gets up to three seconds to be recorded. */
void outside_close(struct outside *o);

/* ---- its parts --------------------------------------------------------------------------------------------------------------- */
int publish_open(struct outside *o, struct err *e);
void publish_move(struct outside *o);
bool publish_is_busy(const struct outside *o);
void publish_close(struct outside *o);
void hints_move(struct outside *o);

#endif
