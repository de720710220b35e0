/* validator - what the files of the validator share; nobody else includes it. One thread. */
#ifndef STORESCP_VALIDATOR_VALIDATOR_H
#define STORESCP_VALIDATOR_VALIDATOR_H

#include "common/worker/worker.h"
#include "validator/change.h"
#include "validator/fix.h"
#include "validator/rules.h"

#include <stdbool.h>

enum { ROUND = 64, SECTIONS_KEPT = 32 };

/* The findings of a round, as state_validated() wants them: texts stay where they are until it has committed. */
struct judgement {
    struct rules_verdict verdict;
    struct state_finding findings[RULE_COUNT];
};

struct validator {
    struct worker worker;
    const char *home;    /* these two are the worker's */
    struct state *state;
    struct state_batch_limits limits;
    struct state_batch_limits limits_for[CONFIG_DESTINATION_LIMIT]; /* of each destination */
    struct state_policy policy_for[CONFIG_DESTINATION_LIMIT];
    struct {
        const struct config_section *section; /* NULL: everybody's */
        struct rule_severities severities;
    } severities[SECTIONS_KEPT]; /* parsed once; the last place is used again when there are more */
    size_t severities_count;
    struct state_instance claims[ROUND];
    struct state_validation verdicts[ROUND];
    struct judgement judgements[ROUND]; /* of verdicts[i] */
    bool any_orders;           /* was a correction ever ordered? Of this round */
    struct fixed fixed[ROUND]; /* what was ordered about verdicts[i] */
    struct changer changer;
    struct changed_file changed[ROUND]; /* what element rules made of the files of verdicts[i] */
    bool is_move_left; /* the file of a quarantined instance could not be moved: it is tried again */
    bool broken; /* claims of ours can neither be worked nor put back */
};

/* judge.c */
/* SIGALRM ends the process: a file that it cannot judge in time must not stop the stage. */
int judge_install(struct err *e);
/* Fills the verdict after the judged ones. Returns 0, or an error of ours (not of the file) for which the claim is put back. The file is marked as
 * being judged: whoever dies from here to judge_over() is charged to it alone. */
int judge(struct validator *v, struct state_instance *claim, size_t judged, struct err *e);
void judge_over(struct validator *v);

/* release.c */
/* Spool files of imported and duplicate instances, and of what a person dropped. */
void release_files(struct validator *v);
/* Moves the files of instances that were quarantined and whose validator could not, or died before it could. */
void finish_quarantine(struct validator *v);

#endif
