/*
 * importer - what the files of this process share: its things, its three kinds of work, and how a batch is put off.
 * Each *_next() claims at most one batch, does one step with it and gives the claim up; true if there was something to do.
 */
#ifndef STORESCP_IMPORTER_IMPORTER_H
#define STORESCP_IMPORTER_IMPORTER_H

#include "common/aws/client.h"
#include "common/runtime/config.h"
#include "common/state/state.h"
#include "importer/gate.h"

struct importer {
    const struct config *config; /* borrowed, as the next */
    struct state *state;
    struct aws_client *aws;
    struct gate start, poll, results;
    int64_t start_at_ms;  /* monotonic: no token in the bucket before */
    bool store_is_active; /* the data store was seen ACTIVE since the last doubt */
    struct state_start_limits limits;
    struct state_again again;
    bool *is_hinted; /* events of HealthImaging come; shared; NULL: there is no queue for them. outside.h */
    bool broken; /* a claim of ours can neither be worked nor put back */
};

bool start_next(struct importer *m);   /* start.c: CLOSED -> STARTING -> RUNNING, adoption after a crash */
bool poll_next(struct importer *m);    /* follow.c: RUNNING -> RECONCILING */
bool results_next(struct importer *m); /* reconcile.c: RECONCILING -> DONE */

/* Deletes what lies below the batch's prefix and is no instance of it any more; before the intent is stored. See prefix.c. */
int importer_clear_prefix(struct importer *m, const struct state_batch *b, const char *input_uri, struct err *e);
/* Puts a claimed batch back because of an error: an endpoint's trouble closes the gate and is not charged to the batch, everything else
 * lets this batch alone wait, jittered and growing with its attempts, without a limit. A batch that was begun with another data store than
 * the one that is set now never closes a gate by what is wrong with that one. */
void importer_put_off(struct importer *m, struct gate *g, struct state_batch *b, const struct err *why);
/* Gives the claim back as it is, due as before. */
void importer_give_back(struct importer *m, const struct state_batch *b);
/* Looks whether the data store that is set is ACTIVE; closes the gate with the reason if not. */
bool importer_store_is_active(struct importer *m, struct gate *g);
/* Was the batch begun with another data store than the one that is set now? */
bool importer_is_elsewhere(const struct importer *m, const struct state_batch *b);
/* import_poll_ms, or import_poll_hinted_ms while events of HealthImaging come. */
int64_t importer_poll_setting_ms(const struct importer *m);
/* When to look at a running job again: by the setting, but all importers together stay below the 25 calls a second that HealthImaging
 * allows (FACTS: GetDICOMImportJob 25/s), however many jobs run. Pure but for random. */
int64_t importer_poll_ms(int64_t setting_ms, int64_t jobs_count, uint32_t random);

#endif
