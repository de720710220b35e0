/*
 * state - state.db: one row for every instance, batch, import job; the only place with SQL. docs/states.md is its law.
 *
 * Every function that writes takes the advisory write lock (state/write.lock), runs one BEGIN IMMEDIATE ... COMMIT with
 * synchronous=FULL, and returns 0 only when the commit is durable. It fails with ERR_DATABASE when the file was removed or replaced
 * meanwhile: what is written into a file without a name is promised to nobody. Prepare data first: no network or file work inside.
 * A struct state belongs to one thread of one process; open it after exec, never carry it over fork.
 * Times are wall-clock milliseconds. Texts in result structs are copies inside the struct.
 */
#ifndef STORESCP_STATE_STATE_H
#define STORESCP_STATE_STATE_H

#include "common/runtime/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STATE_ID_SIZE = 27, STATE_UID_SIZE = 72, STATE_WORKER_SIZE = 64, STATE_CLAIM_MAX = 256, STATE_DESTINATION_SIZE = 33, STATE_KEY_SIZE = 1025,
       STATE_BUCKET_SIZE = 64 };
#define STATE_DESTINATION_DEFAULT "default"

/* stages of work: what a worker claims */
enum state_stage { STAGE_RECEIVER, STAGE_VALIDATOR, STAGE_UPLOADER, STAGE_IMPORTER, STAGE_COUNT, STAGE_NOTIFIER /* started by a receiver, scaled by nobody */ };
const char *state_stage_name(enum state_stage s); /* "receiver" ... */

struct state;

/* Opens (creates and migrates under the write lock) <home>/state/state.db. ERR_SCHEMA, and nothing is created, when it is missing but
 * the spool holds files: an empty database would make the pipeline send again what was sent; and while a rebuild is unfinished. */
int state_open(struct state **out, const char *home, struct err *e);
/* For looking only: never creates, never writes. */
int state_open_readonly(struct state **out, const char *home, struct err *e);
void state_close(struct state **s);

/* ---- workers ------------------------------------------------------------------------------------------------------
 * A worker's name is "<stage>-<pid>-<random>"; it never comes again. While the process lives it holds flock() on
 * state/workers/<name>.lock; whoever can take that lock knows that the worker is dead and its claims are free. */
int state_worker_register(struct state *s, enum state_stage stage, struct err *e);
const char *state_worker_name(const struct state *s);
/* The sign of life of a registered worker, seen without the database: touches its lock file, at most twice a second. Every transaction begins with it; a
 * main loop that works for long without one calls it, too. */
void state_worker_turn(struct state *s);
/* What this worker has in hand by itself (<= 26 characters; "": nothing by itself), seen after it has died: its death is charged to that instance, and to
 * nothing else that it had claimed. Without a mark what it had is suspected once, however often that happens. Not durable, costs one write to the lock file. */
void state_worker_mark(struct state *s, const char *id);
int state_worker_beat(struct state *s, const char *status, struct err *e); /* status: "ready", "draining", "waiting: ..." */
int state_worker_unregister(struct state *s, struct err *e);
/* Frees the claims of dead workers and removes their rows and lock files; *freed counts claims. Cheap when none. */
int state_reclaim(struct state *s, int *freed, struct err *e);

/* ---- receiver ------------------------------------------------------------------------------------------------------ */
struct state_received {
    char id[STATE_ID_SIZE];          /* instance id; also spool file name */
    char association[STATE_ID_SIZE]; /* association id */
    char sop_class_uid[STATE_UID_SIZE], sop_instance_uid[STATE_UID_SIZE], transfer_syntax_uid[STATE_UID_SIZE];
    char calling_ae[20], called_ae[20], peer[64];
    int64_t file_bytes, data_bytes; /* whole Part 10 file; data set alone */
    uint32_t file_crc32c, data_crc32c;
    int64_t received_ms; /* when the last byte had come */
    int64_t wait_until_ms; /* its sender waits that long for the import; 0: it does not. Only written, never read back */
    bool urgent;           /* known at reception already. Only written, never read back: state_validated() keeps it */
};
struct state_association { /* one that has ended */
    char id[STATE_ID_SIZE], peer[64], calling_ae[20], called_ae[20], outcome[160], tls[400], user_name[65];
    int64_t began_ms, ended_ms;
    int stored, refused;
    bool user_checked;
};
/* Instances and ended associations in one commit. Existing ids are left alone (idempotent, for adoption). */
int state_record(struct state *s, const struct state_received *r, size_t count, const struct state_association *a, size_t associations,
                 struct err *e);
int state_add_received(struct state *s, const struct state_received *r, size_t count, struct err *e); /* instances only */
/* 1 if the instance has a row, 0 if not, negative on error. *releasable: terminal and spool may go. */
int state_instance_known(struct state *s, const char *id, bool *releasable, struct err *e);

/* How far an instance has come; of a duplicate: how far its twin has. */
struct state_progress {
    char id[STATE_ID_SIZE];        /* in */
    bool is_uploaded, is_imported; /* S3 has confirmed it (at some time); HealthImaging has it, or it is stored where nothing is imported */
    bool is_refused;               /* quarantined or failed */
    char error_code[32];           /* of a refused one: an err_name() */
};
/* Fills the answers of count instances with one cheap query, unless nobody has committed since the last call: then *news is false and
 * nothing is touched. */
int state_progress(struct state *s, struct state_progress *p, size_t count, bool *news, struct err *e);
/* Instances that are not yet uploaded, and their bytes; bytes may be NULL, then only an index is read. Costs what waits. */
int state_backlog(struct state *s, int64_t *count, int64_t *bytes, struct err *e);

/* ---- claims (validator, uploader) ---------------------------------------------------------------------------------- */
struct state_instance {
    struct state_received r;
    int64_t token; /* fencing: every later call about this claim gives it back */
    int attempts;
    int deaths; /* workers that died while they had it */
    char study_uid[STATE_UID_SIZE], series_uid[STATE_UID_SIZE];
    char modality[20];
    char batch[STATE_ID_SIZE]; /* "" of a validated one: its destination imports nothing */
    char s3_key[STATE_KEY_SIZE]; /* "" until an uploader has claimed it: state_make_keys() */
    char bucket[STATE_BUCKET_SIZE]; /* decided with the key; "": it has no key */
    char sha256[65];
    char destination[STATE_DESTINATION_SIZE]; /* the validator decides it: before it looks for a twin */
};
/* Claims up to limit (<= STATE_CLAIM_MAX) due rows of the stage ('received' for the validator, 'validated' for the uploader),
 * oldest first. *count may be 0. Of the uploader those that go to `default`. */
int state_claim(struct state *s, enum state_stage stage, struct state_instance *out, size_t limit, size_t *count,
                struct err *e);
/* May an earlier transfer of this claim of an uploader have begun, by whatever process? The claim's token tells: the validator's and this one are two. */
bool state_may_have_been_sent(const struct state_instance *claim);
/* The uploader's claim of those that go to that destination. */
int state_claim_for(struct state *s, const char *destination, struct state_instance *out, size_t limit, size_t *count, struct err *e);
/* Gives claims back unworked (drain). */
int state_unclaim(struct state *s, const struct state_instance *claims, size_t count, struct err *e);
/* Puts a claim back with the error, due again at next_ms. Counts an attempt. */
int state_defer(struct state *s, const struct state_instance *claim, const struct err *why, int64_t next_ms, struct err *e);
/* Ends a claim in 'quarantined' (validator) or 'failed' (uploader) with code, sentence and remedy (remedy may be NULL). When its spool file
 * is lost, its duplicates whose files are still there go back to 'received': one of them takes its place. */
int state_refuse(struct state *s, const struct state_instance *claim, const struct err *why, const char *remedy,
                 struct err *e);

struct state_identity { /* what support staff search by; from the data set, already cleaned to printable UTF-8 */
    char study_uid[STATE_UID_SIZE], series_uid[STATE_UID_SIZE];
    char modality[20], accession_number[260], patient_id[260], study_date[20];
    char study_id[260], series_number[20];
    char instance_number[20]; /* digits, perhaps after a minus; "" if there is no such number */
    char warning[200]; /* "" or what was odd, without patient data */
};
struct state_batch_limits {
    int max_count;
    int64_t max_bytes;
    int share_above_count; /* small studies share a batch while more batches than that are not yet started; 0: never */
    int share_max_count;   /* instances of one study in a shared batch */
};
/* What a destination wants to become of an image that is like another one, and not the same. */
enum state_conflict_policy { CONFLICT_WARN, CONFLICT_HOLD, CONFLICT_OFF };
struct state_policy {
    bool newer_goes_on; /* same SOP Instance UID, other content: the later one goes on once the older one has ended (true), or is held (false) */
    enum state_conflict_policy conflicts; /* patient, study or series described otherwise than before */
};
/* VERDICT_UID_REUSED, _ELSEWHERE (in another study or series) and _CONFLICT are kept in quarantine for a person; VERDICT_AGAIN: put back, because a twin came in between
 * whose bytes nobody has compared, or because an older twin has to be judged or to come to its end before. */
enum state_verdict { VERDICT_VALIDATED, VERDICT_DUPLICATE, VERDICT_UID_REUSED, VERDICT_ELSEWHERE, VERDICT_CONFLICT, VERDICT_AGAIN };
/* The earlier instance with the same SOP Instance UID and destination that is not refused, if any. same_content: size, syntax and CRC32C of
 * the data set are equal. Returns 1, 0 or negative. */
int state_find_twin(struct state *s, const struct state_instance *claim, struct state_instance *twin, bool *same_content,
                    struct err *e);
struct state_finding { /* a rule that an instance breaks */
    const char *rule, *severity; /* rule: one word; "reject", "warn" or "note". Static storage */
    uint32_t tag;                /* group << 16 | element; 0: none */
    const char *text;            /* cause; of a reject with the remedy. Never a value of the data set */
};
/* What element rules changed in an instance's file: the audit, written by the commit that makes the changed file the instance's, never later. Values are
 * patient data: they stand in the database only. The row of a changed instance keeps what the sender sent (sop_instance_uid, file_bytes ...), by which
 * duplicates and commitments are judged; its columns change_* say what its file is now, and a claim of an uploader gives these. */
struct state_change { /* one element */
    const char *path, *vr, *action, *by; /* "0040,0275[1]/0040,0007", "LO", "set", whose rule */
    const char *old_value, *new_value; /* NULL: no such element, or not to be kept */
};

struct state_changed { /* a changed file */
    int64_t file_bytes;
    uint32_t file_crc32c;
    char sop_instance_uid[STATE_UID_SIZE], study_uid[STATE_UID_SIZE], series_uid[STATE_UID_SIZE];
    char by[200]; /* all of them, for people */
    const struct state_change *changes;
    size_t count;
    size_t total; /* with those that had no room in changes */
};
struct state_fix; /* an ordered correction: quarantine.h */
struct state_validation {
    const struct state_instance *claim;
    struct state_identity identity;
    const struct state_finding *findings; /* the caller's; written in the same commit, in the place of what was found before */
    size_t finding_count;
    bool without_batch;   /* the destination (claim->destination) imports nothing: no batch, the uploader ends it in 'stored' */
    const struct state_batch_limits *limits; /* of its destination; NULL: those of the call */
    const struct state_policy *policy;       /* of its destination; NULL: hold other contents, warn of conflicts */
    int refuse_code;      /* 0, or an err_code: quarantine with refuse_text */
    char refuse_text[320];
    char compared_with[STATE_ID_SIZE]; /* the twin of the same size and CRC32C whose bytes the caller compared, or "" */
    const struct state_changed *changed; /* the file is in its place already (spool_change_switch()); recorded if the verdict is VERDICT_VALIDATED,
                                          * otherwise the caller undoes it. NULL: it is as the sender sent it */
    const struct state_fix *fixes; /* the orders that are done to its file with this verdict; of a refusal with ERR_DICOM_EDIT: that could not be done */
    size_t fix_count;
    bool content_differs;              /* the bytes are different although CRC32C agrees */
    bool urgent;                       /* or was received as such: uploaded and imported before others; its batch closes soon */
    enum state_verdict verdict; /* out */
    int code;                   /* out: with which it was quarantined; 0: it was not */
    bool fenced;                /* out: the claim was lost, nothing was done */
};
/* Ends many validator claims in one commit: identity, duplicate check, batch assignment (opening one, closing full ones).
 * A claim is called a duplicate only of a twin that was compared: compared_with, or a claim that stands before it in v (the caller
 * compares those too). Another validator may have committed a twin since the comparison; then the verdict is VERDICT_AGAIN. */
int state_validated(struct state *s, struct state_validation *v, size_t count, const struct state_batch_limits *limits,
                    struct err *e);
/* Where in S3 something lies; both "": nowhere. */
struct state_place {
    char bucket[STATE_BUCKET_SIZE], key[STATE_KEY_SIZE];
};
/* Intent before effect: bucket and key under which an instance will be put are decided once, in the commit that claims it for the first upload, by make(),
 * and stay what they are until the instance goes to another batch, however the settings change. of_batch: the place of another instance of its batch, empty
 * if there is none yet: all of a batch lie in one folder of one bucket. make() only computes; an empty place: it needs none; an error of it undoes the claim. state_claim() for the uploader calls it. */
typedef int (*state_key_maker)(void *ctx, const struct state_instance *claim, const struct state_place *of_batch, struct state_place *out, struct err *e);
void state_make_keys(struct state *s, state_key_maker make, void *ctx);
/* Another object lies under the key of this claim: it goes under that one instead, due at once; ends the claim. Not an attempt. */
int state_key_changed(struct state *s, const struct state_instance *claim, const char *key, const struct err *why, struct err *e);
/* The bucket that was decided for this claim takes nothing any more (why), and the settings name another one by now: the instance leaves its batch, which
 * takes nothing else, for the study's next one, and its place is decided anew. Ends the claim, due at once. Not an attempt. ERR_FENCED. */
int state_bucket_left(struct state *s, const struct state_instance *claim, const struct state_batch_limits *limits, const struct err *why, struct err *e);
struct state_uploaded {
    const struct state_instance *claim; /* its s3_key is where the object is */
    char etag[80], sha256[65];
    char location[1200]; /* of one without a batch: where it is to be found now (s3://bucket/key, an URL); evidence for people */
    char warning[256];   /* "" or what the server had to say about it */
    bool fenced; /* out */
};
/* validated -> uploaded, of a claim without a batch -> stored, in one commit. */
int state_uploaded(struct state *s, struct state_uploaded *u, size_t count, struct err *e);

/* ---- multipart uploads (uploader) --------------------------------------------------------------------------------------- */
enum { STATE_UPLOAD_ID_SIZE = 1025 };
/* The upload that an earlier attempt began for this claim under its key; "" if none is known. */
int state_multipart_find(struct state *s, const struct state_instance *claim, char upload_id[STATE_UPLOAD_ID_SIZE], struct err *e);
/* Keeps the id, durable before the first part is sent; "": S3 has forgotten the upload. ERR_FENCED: the claim is not ours any more. state_uploaded()
 * forgets it in its own commit. */
int state_multipart_keep(struct state *s, const struct state_instance *claim, const char *upload_id, struct err *e);
struct state_multipart {
    char s3_key[STATE_KEY_SIZE], bucket[STATE_BUCKET_SIZE], destination[STATE_DESTINATION_SIZE], instance[STATE_ID_SIZE], upload_id[STATE_UPLOAD_ID_SIZE];
};
/* One at that destination that nobody will go on with: its instance is failed, dropped, in another batch, elsewhere, or uploaded under another key.
 * Costs the uploads that are open. */
int state_multipart_leftover(struct state *s, const char *destination, struct state_multipart *out, bool *found, struct err *e);
/* next_ms 0: S3 has forgotten it; else it is to be tried again then. */
int state_multipart_aborted(struct state *s, const struct state_multipart *m, int64_t next_ms, struct err *e);

/* ---- destinations ----------------------------------------------------------------------------------------------------------------------- */
/* A claim of the uploader whose destination imports now and did not when it was judged, or the other way round: it gets a batch or leaves its own, and is
 * given back. ERR_FENCED. */
int state_refit(struct state *s, const struct state_instance *claim, bool with_batch, const struct state_batch_limits *limits, struct err *e);
/* The i-th of all destinations that anything ever went to. */
int state_destination_at(struct state *s, size_t i, char name[STATE_DESTINATION_SIZE], bool *found, struct err *e);
/* Does anything wait there for an uploader (STAGE_UPLOADER) or an importer? Index look-ups. */
int state_destination_waits(struct state *s, const char *name, enum state_stage stage, bool *waits, struct err *e);
/* A person moves what waits at one destination to another: validated, uploaded (its job not announced; it is uploaded again) and failed instances.
 * *left: what still is there, in a worker's hand or in an import job. One whose image is there already fails as DUPLICATE. state_person() first. */
struct state_move_order {
    const char *from, *to;
    bool with_batch; /* `to` imports */
    struct state_batch_limits limits;
};
int state_move_destination(struct state *s, const struct state_move_order *o, int64_t *count, int64_t *left, struct err *e);

/* ---- batches and import jobs (importer) ----------------------------------------------------------------------------- */
enum state_batch_state { BATCH_OPEN, BATCH_CLOSED, BATCH_STARTING, BATCH_RUNNING, BATCH_RECONCILING, BATCH_DONE };
struct state_batch {
    char id[STATE_ID_SIZE];
    char study_uid[STATE_UID_SIZE];
    char destination[STATE_DESTINATION_SIZE];
    enum state_batch_state state;
    int64_t token;
    int attempts;   /* errors of this batch in this state; outages and settings that are wrong do not count */
    int error_code; /* of the last defer, 0 if none or none since the last call was announced */
    int64_t instance_count, bytes;
    int64_t uploaded_count; /* instances that are 'uploaded' in it now; fewer than instance_count: some have left it */
    char s3_key[STATE_KEY_SIZE]; /* of one instance of it: shows under which prefix they were put */
    char bucket[STATE_BUCKET_SIZE]; /* in which they were put, whatever the settings say by now */
    int64_t held_left; /* held ones that left it after they were uploaded: it must not start before their objects are gone */
    int64_t jobs_count; /* batches that are starting or running now, of all importers */
    /* of its import job; empty while CLOSED */
    char client_token[65];
    char job_id[40], job_status[24], job_message[513];
    char input_s3_uri[1025], output_s3_uri[1025];
    char datastore_id[40], role_arn[2049];
    int64_t starting_ms, called_ms; /* when the first call and the last one were announced */
    int64_t submitted_ms, ended_ms; /* job accepted, job ended; 0 if not yet */
    int64_t hinted_ms; /* an event of HealthImaging named its job last; 0: none did */
};
/* Batches belong to a study and a destination. What names no destination is about all of them. */
/* Closes open batches of a destination that were quiet since quiet_ms or are older than max_age_ms; *closed counts them. A full one closes when the next
 * instance of its study comes. */
int state_batches_close_for(struct state *s, const char *destination, int64_t quiet_ms, int64_t max_age_ms, int *closed, struct err *e);
/* Closes open batches with an urgent instance in them that were quiet since quiet_ms, up to 64. Costs one index look-up when there are none. */
int state_batches_close_urgent(struct state *s, int64_t quiet_ms, int *closed, struct err *e);
/* Closes open batches that a sender waits for (success_at = imported) as soon as every instance of it that is waited for is uploaded; others of
 * it still delay its start, not its closing. Costs one index look-up when nobody waits. */
int state_batches_close_waited(struct state *s, int *closed, struct err *e);
/* A batch that has been closed for wait_ms goes without those that keep the others waiting: 'validated' ones whose own upload failed again and again,
 * or that are held. They go to the study's next batch; *moved counts them. Costs one index look-up when there are none. */
int state_batches_leave_late_for(struct state *s, const char *destination, int64_t wait_ms, const struct state_batch_limits *limits, int *moved,
                                 struct err *e);
/* A batch that has been closed for wait_ms goes without the uploaded instances that a person holds: back to 'validated', into the study's next batch; *moved
 * counts them. Those whose spool file is gone stay. Costs what is held. */
int state_batches_leave_held(struct state *s, int64_t wait_ms, const struct state_batch_limits *limits, int *moved, struct err *e);
/* What an importer may do next. WORK_START: a STARTING batch, else the CLOSED one that waits longest and has every instance uploaded or
 * out of it; WORK_POLL: RUNNING; WORK_RESULTS: RECONCILING. */
enum state_batch_work { WORK_START, WORK_POLL, WORK_RESULTS };
/* Claims the due batch of that kind that has been due longest; *found false if there is none. A CLOSED batch with no instance left in it
 * ends as DONE on the way. Costs one index look-up when there is nothing. */
int state_batch_claim_for(struct state *s, const char *destination, enum state_batch_work work, struct state_batch *out, bool *found, struct err *e);
/* What an object below the batch's prefix is, by its instance: one that the batch's job shall import, one that left the batch (failed, retried
 * into another batch), one that a person dropped, or one without a row. Negative on error. */
enum state_member { MEMBER_UPLOADED, MEMBER_LEFT, MEMBER_DROPPED, MEMBER_UNKNOWN };
int state_batch_member(struct state *s, const struct state_batch *b, const char *id, struct err *e);
/* Gives a claim back unworked; due as before. */
int state_batch_unclaim(struct state *s, const struct state_batch *b, struct err *e);
/* The bucket of starts that all importers share, one for each data store: tokens fill at per_minute up to burst; at most running_max jobs of it
 * at one time. */
struct state_start_limits {
    int per_minute, burst, running_max;
};
/* CLOSED -> STARTING, in one commit with the token from the bucket: stores client token, job name (the batch id) and URIs, marks its
 * instances 'importing'. Before the call. *wait_ms: 0, or nothing was done and there is no token (or no free job) for that time. */
int state_batch_starting(struct state *s, struct state_batch *b, const struct state_start_limits *limits, const char *input_uri,
                         const char *output_uri, const char *datastore_id, const char *role_arn, int64_t *wait_ms, struct err *e);
/* Announces another call for a STARTING batch: token from the bucket, error_code cleared: from now on the call may have been made. */
int state_batch_starting_again(struct state *s, struct state_batch *b, const struct state_start_limits *limits, int64_t *wait_ms,
                               struct err *e);
/* STARTING -> RUNNING with the job id. */
int state_batch_running(struct state *s, struct state_batch *b, const char *job_id, const char *job_status,
                        int64_t submitted_ms, int64_t next_ms, struct err *e);
/* STARTING -> DONE: HealthImaging refused the request as such; its instances end in 'failed' with why and remedy. */
int state_batch_refused(struct state *s, struct state_batch *b, const struct err *why, const char *remedy, int *count, struct err *e);
/* Records a look at the job; keeps the state, frees the claim, due at next_ms. why may be NULL; it counts as an attempt unless its class
 * is RETRY_SOON, PEER_DOWN or CONFIG, or time ran out. job_status may be NULL. */
int state_batch_defer(struct state *s, struct state_batch *b, const char *job_status, const struct err *why,
                      int64_t next_ms, struct err *e);
/* Records a look at a job that runs longer than it should: as state_batch_defer(), but charges nothing and makes one event, the first time:
 * then *first is true. */
int state_batch_overdue(struct state *s, struct state_batch *b, const char *job_status, const struct err *why, int64_t next_ms, bool *first,
                        struct err *e);
/* A person gives up a job that is overdue: RUNNING -> RECONCILING, as if the job had ended without success: what its results say holds, the rest goes
 * into new batches. ERR_NOT_FOUND: no such batch runs, or it is not overdue; ERR_BUSY: an importer has it in hand for a moment. */
int state_job_give_up(struct state *s, const char *batch, const char *reason, struct err *e);
/* RUNNING -> RECONCILING: the job ended. output_uri: where AHI says the results are. */
int state_batch_ended(struct state *s, struct state_batch *b, const char *job_status, const char *message,
                      const char *output_uri, int64_t ended_ms, struct err *e);
enum state_result_kind { RESULT_IMPORTED, RESULT_REFUSED, RESULT_RETRY };
struct state_result { /* one line of the result files, mapped to an instance id by its key */
    char id[STATE_ID_SIZE];
    enum state_result_kind kind;
    char image_set_id[40];
    int image_set_version; /* 0: not told */
    int is_primary;        /* 1, 0, -1: not told */
    char warning[256];     /* "" or the warnings */
    struct err why;        /* REFUSED, RETRY; may hold words of the service about the file: for the database, not for logs */
};
/* What becomes of instances that a job left without a verdict: a new batch within limits, 'failed' after attempts_max jobs. */
struct state_again {
    int attempts_max;
    struct state_batch_limits limits;
};
/* Writes evidence, failure or "back to a new batch" to each instance of the batch; idempotent, chunked commits; the first verdict holds.
 * A line about an instance that the batch did not give to HealthImaging (its upload counted as failed, or it was retried into another
 * batch) is an event and a warning on that instance; a failed one that was imported is 'imported'. */
int state_batch_results(struct state *s, struct state_batch *b, const struct state_result *r, size_t count,
                        const struct state_again *again, struct err *e);
/* RECONCILING -> DONE. Instances of the batch that no result mentioned go back with why_left. *left_count tells how many. */
int state_batch_done(struct state *s, struct state_batch *b, const struct state_again *again, const struct err *why_left,
                     int *left_count, struct err *e);
/* How many instances of the batch still are 'importing'. */
int state_batch_open_count(struct state *s, const char *batch, int64_t *count, struct err *e);

/* ---- spool release --------------------------------------------------------------------------------------------------- */
/* Up to limit instance ids whose spool file may go (imported, stored, or duplicate of one that is imported or was dropped, ended longer than keep_ms
 * ago); mark afterwards. A duplicate's file stays as long as its twin may still need it. */
int state_releasable(struct state *s, int64_t keep_ms, char (*ids)[STATE_ID_SIZE], size_t limit, size_t *count,
                     struct err *e);
/* The same for what a person dropped longer than keep_ms ago. */
int state_releasable_dropped(struct state *s, int64_t keep_ms, char (*ids)[STATE_ID_SIZE], size_t limit, size_t *count,
                             struct err *e);
int state_released(struct state *s, char (*ids)[STATE_ID_SIZE], size_t count, struct err *e);

/* The newest quarantined instances, up to limit: a crash may have left their files in obj/. */
int state_quarantined_last(struct state *s, char (*ids)[STATE_ID_SIZE], size_t limit, size_t *count, struct err *e);

/* ---- housekeeping ------------------------------------------------------------------------------------------------------ */
/* RESTART checkpoint under the write lock when the WAL is larger than 16 MiB; next to nothing otherwise. The receiver calls it after a
 * commit, so that the log keeps its size when no other stage runs. */
int state_checkpoint(struct state *s, struct err *e);
/* Makes due what a clock that was set back had put off, then state_checkpoint(). Once a second or so from the other stages. */
int state_housekeep(struct state *s, struct err *e);

/* ---- for storescpctl ------------------------------------------------------------------------------------------------------
 * Runs one of the named read-only reports, the table in reports.c, and calls row() with column names and text values (NULL: null).
 * arg1 fills ?1 (an id, UID, accession number or patient id), may be NULL. */
int state_report(struct state *s, const char *name, const char *arg1, long long limit,
                 int (*row)(void *ctx, int columns, const char *const *names, const char *const *values), void *ctx,
                 struct err *e);

/* ---- what a person does --------------------------------------------------------------------------------------------------
 * who: an instance id, a study UID, or "ALL". Each change is an event with the person's name. *count: instances that were changed.
 * Chunked commits: a large study holds up nobody for long; cut off, it is pressed again. */
/* The name that events get, "person <name>". */
void state_person(struct state *s, const char *name);
/* Quarantined -> received, failed -> validated (new batch; received, if it was never judged). accept: skip the duplicate rule once. Dropped
 * ones only by their own id. */
int state_retry(struct state *s, const char *who, bool accept, int64_t *count, struct err *e);
/* Received, validated and uploaded ones stay where they are until state_unhold(); a worker that has one in hand finishes that step. Their
 * batch waits. *late: those that are in an import job already, or whose batch an importer has in hand. */
int state_hold(struct state *s, const char *who, const char *reason, int64_t *count, int64_t *late, struct err *e);
int state_unhold(struct state *s, const char *who, int64_t *count, struct err *e);
/* The batch (id), the batch of an instance (id) or the batches of a study that are not yet started: closed now, uploaded and started before others.
 * *count: batches. */
int state_import_now(struct state *s, const char *who, int *count, struct err *e);
/* Quarantined or failed, and held received ones (-> quarantined first): given up. Keeps the row; it is no longer stuck. One instance. 0 with
 * *count 0: there is nothing of that kind. The file is the caller's business: spool_drop() before this. */
int state_drop(struct state *s, const char *id, const char *reason, int64_t *count, struct err *e);

/* ---- rebuild (database lost): docs/states.md, section "Rebuild" -------------------------------------------------------------
 * Order: state_rebuild_open, then batches and instances in any order, then what only the spool knows, then state_rebuild_end.
 * Every call may be repeated; a rebuild that was cut off is run again from the start and goes over what is there quickly. */

/* Opens a new database, or the one that an unfinished rebuild from the same source (bucket, prefix, data store; a text of one line)
 * left; of another source it is thrown away. The file state/rebuild.unfinished stands from before the first write until
 * state_rebuild_end(): state_open() refuses meanwhile. ERR_EXISTS: there is a database that is no rebuild's. */
int state_rebuild_open(struct state **out, const char *home, const char *source, struct err *e);

enum state_rebuilt_job {
    REBUILT_NO_JOB,      /* nothing was started: -> closed, will be started with the token that it would have had anyway */
    REBUILT_JOB_LISTED,  /* HealthImaging knows the job: -> running, will be followed to its results */
    REBUILT_JOB_RESULTS, /* only its results are left: -> reconciling, they will be read */
    REBUILT_JOB_UNKNOWN  /* too old to be listed, no results: -> done, its instances fail with IMPORT_RESULT_UNKNOWN */
};
struct state_rebuilt_batch {
    const char *id, *study_uid, *destination;
    enum state_rebuilt_job job;
    const char *job_id, *job_status, *input_uri, *output_uri, *datastore_id, *role_arn; /* of the job, if there is one */
    int64_t submitted_ms;
};
/* Makes the batch; one that is there already is left as it is. */
int state_rebuild_batch(struct state *s, const struct state_rebuilt_batch *b, struct err *e);

struct state_rebuilt_instance {
    struct state_instance i; /* r, batch, s3_key, bucket are used; the destination is the batch's */
    bool is_changed;              /* its file was changed by rules and what the sender sent is there: i.r is that. Its audit is lost */
    struct state_changed changed;
    struct state_identity identity;
    char etag[80];  /* or "" */
    bool has_spool; /* its spool file is there; otherwise it counts as released */
};
enum state_rebuilt_place {
    PLACE_NEW,      /* it had no row */
    PLACE_SAME,     /* it is in that batch already */
    PLACE_MOVED,    /* it was in an older batch: retried from there into this one */
    PLACE_OLDER,    /* it is in a younger batch: this one has had its say */
    PLACE_AMBIGUOUS /* it stays in another batch; neither was started, and both would import it */
};
/* Puts an instance into a batch that state_rebuild_batch() made. Its state is 'uploaded' until state_rebuild_end(). An instance that
 * stands under several batches belongs to the one that has no job yet, otherwise to the one whose job was started last. */
int state_rebuild_instance(struct state *s, const struct state_rebuilt_instance *i, enum state_rebuilt_place *place, struct err *e);
/* 1 if the instance has a row in that batch, 0 if not, negative on error. */
int state_rebuild_knows(struct state *s, const char *id, const char *batch, struct err *e);
/* An instance that only the spool knows: 'received'. held_why (may be NULL): it is held, with that sentence for a person.
 * refused (may be NULL): it goes on to 'quarantined' with that reason and remedy. */
int state_rebuild_received(struct state *s, const struct state_received *r, const char *held_why, const struct err *refused,
                           const char *remedy, struct err *e);
struct state_rebuilt {
    int64_t to_start, to_follow, to_read, unknown; /* instances, by the kind of their batch's job */
    int64_t batches, with_job;
};
/* Gives every instance the state that its batch implies, ends empty batches, takes the mark away. */
int state_rebuild_end(struct state *s, struct state_rebuilt *out, struct err *e);

#endif
