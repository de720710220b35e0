/*
 * outbox - what outside systems are told: written in the transaction of the change that it follows (triggers of the schema), delivered later by
 * the importers, at least once and in order for each subject. docs/events.md is the contract with those who listen.
 *
 * A target is one who is told ("webhook", "sqs", "dynamodb"). Nothing is written while there is no target. Kinds of rows:
 *   instance  one was quarantined or failed; at once
 *   study     a study has come to an end: every instance that is known has one, and nothing came for quiet_ms. Again when that was so once more
 *   job       an import job changed; one row for each job, however often it changed: what is told is how it stands at that moment
 * The payload of an event is made once and kept, so that a repetition is the same bytes under the same id.
 *
 * A claim takes a whole subject (a study, a job): its rows go one after the other. The claim ends with the process (state_reclaim()).
 */
#ifndef STORESCP_STATE_OUTBOX_H
#define STORESCP_STATE_OUTBOX_H

#include "common/state/state.h"

enum { STATE_SUBJECT_SIZE = 160, STATE_EVENT_SIZE = 64 };
enum { STATE_STUDY_JOBS = 200, STATE_STUDY_SETS = 1000, STATE_STUDY_FAILURES = 50 };

/* ---- targets ---------------------------------------------------------------------------------------------------------------- */
struct state_target {
    const char *name;
    bool takes_jobs;  /* jobs, or else events */
    int64_t quiet_ms; /* of events: see above */
};
/* From now on these are told. A new one that takes jobs is told the newest 10,000 that are known. To be repeated once a minute. */
int state_targets(struct state *s, const struct state_target *targets, size_t count, struct err *e);
struct state_given_up {
    char target[32];
    int64_t count;
    bool is_gone; /* no importer has had this target in its settings for keep_ms: it is a target no more */
};
/* Gives up what waits for longer than keep_ms, and the oldest beyond keep_count for each target; counted in outbox_target. *count entries are
 * filled. Costs an index look-up for each target. */
int state_outbox_trim(struct state *s, int64_t keep_ms, int64_t keep_count, struct state_given_up *out, size_t room, size_t *count, struct err *e);
/* A person's decision: forgets what waits for a target, and the target itself (an importer that still has it in its settings makes it one again). */
int state_outbox_drop(struct state *s, const char *target, int64_t *count, struct err *e);

/* ---- studies -------------------------------------------------------------------------------------------------------------------- */
struct state_identity_told { /* patient data */
    char accession_number[260], patient_id[260], study_date[20], modalities[200];
};
struct state_study_set {
    char id[40];
    int64_t version; /* 0: not told */
    int is_primary;  /* 1, 0, -1: not told */
    int64_t instances;
};
struct state_study_failure {
    char id[STATE_ID_SIZE], sop_instance_uid[STATE_UID_SIZE], state[16], code[40], remedy[300];
};
struct state_study {
    char study_uid[STATE_UID_SIZE], destination[64];
    int64_t revision; /* 1: told for the first time */
    int64_t imported, stored, duplicate, quarantined, failed, dropped, not_primary, warned;
    int64_t bytes, first_received_ms, last_received_ms, ended_ms;
    struct state_identity_told identity;
    char jobs[STATE_STUDY_JOBS][40];
    struct state_study_set sets[STATE_STUDY_SETS];
    struct state_study_failure failures[STATE_STUDY_FAILURES];
    size_t job_count, set_count, failure_count;
    bool is_cut; /* there are more than the arrays hold */
};
/* Makes the payload of an event, on the heap; NULL without memory. Called inside a transaction: no network, no files. */
typedef char *(*state_compose_study)(void *ctx, const struct state_study *study, const char *event, int64_t now_ms);
/* Looks at studies that are due and records an event for every one that has come to its end, with what an undelivered earlier revision of it said
 * thrown away. At most a few for each call; *announced counts them. room: memory for one study. Costs one index look-up when none is due. */
int state_studies_announce(struct state *s, int64_t quiet_ms, struct state_study *room, state_compose_study compose, void *ctx, int *announced,
                           struct err *e);

/* ---- delivery -------------------------------------------------------------------------------------------------------------------- */
struct state_refused {
    char id[STATE_ID_SIZE], sop_class_uid[STATE_UID_SIZE], sop_instance_uid[STATE_UID_SIZE], study_uid[STATE_UID_SIZE], series_uid[STATE_UID_SIZE];
    char destination[64], state[16], code[40], remedy[300], job_id[40];
    int64_t at_ms;
    struct state_identity_told identity;
};
typedef char *(*state_compose_refused)(void *ctx, const struct state_refused *instance, const char *event);
struct state_job_told { /* as it stands now */
    char job_id[40], status[24], input_s3_uri[1025], output_s3_uri[1025], datastore_id[40], role_arn[2049], message[513];
    int64_t submitted_ms, ended_ms;
    int64_t studies, series, instances; /* distinct ones of its batch */
    char study_uid[STATE_UID_SIZE], series_uid[STATE_UID_SIZE], sop_instance_uid[STATE_UID_SIZE], study_date[20]; /* where there is one only */
};
struct state_told { /* one row */
    int64_t seq, version, at_ms;
    int attempts;
    bool is_job;
    char target[32], subject[STATE_SUBJECT_SIZE], event[STATE_EVENT_SIZE];
    char *payload; /* of an event; heap, the caller's */
    struct state_job_told job;
};
/* Claims the subject of that target that has been due longest. */
int state_outbox_claim(struct state *s, const char *target, char subject[STATE_SUBJECT_SIZE], bool *found, struct err *e);
/* The next row of a claimed subject. A payload that is not there yet is made and kept before this returns. *found false: the claim has ended. */
int state_outbox_next(struct state *s, const char *target, const char *subject, state_compose_refused compose, void *ctx, struct state_told *out,
                      bool *found, struct err *e);
/* It arrived: forgotten, unless the job has changed meanwhile. */
int state_outbox_delivered(struct state *s, const struct state_told *row, struct err *e);
/* The subject waits until next_ms, with the reason at its first row. why NULL: given back as it is. charged: counts as an attempt of that row. */
int state_outbox_defer(struct state *s, const struct state_told *row, const struct err *why, bool charged, int64_t next_ms, struct err *e);

/* ---- hints ------------------------------------------------------------------------------------------------------------------------ */
enum state_hint { HINT_FOREIGN /* no job of ours */, HINT_TAKEN /* due now, or ended already */, HINT_EARLY /* its batch is in hand: again in some seconds */ };
/* Somebody says that this job has changed: it is looked at next. job_name: the batch id; counts while the job id is not yet recorded. */
int state_job_hint(struct state *s, const char *job_id, const char *job_name, enum state_hint *out, struct err *e);

#endif
