/*
 * internal - what the files of common/state share; nobody outside includes it.
 *
 * A write is: state_begin() (write lock, BEGIN IMMEDIATE) ... statements ... state_end(rc) (COMMIT if rc is 0, otherwise
 * ROLLBACK; releases the lock; returns rc or the error of the COMMIT). Nothing between them waits for anything.
 */
#ifndef STORESCP_STATE_INTERNAL_H
#define STORESCP_STATE_INTERNAL_H

#include "common/state/state.h"

#include <sqlite3.h>

enum { STATE_STATEMENTS_MAX = 160 };

struct state {
    sqlite3 *db;
    char home[4096];
    char worker[STATE_WORKER_SIZE]; /* "" until registered */
    char worker_lock_path[4352];
    int worker_lock; /* fd or -1 */
    int64_t turned_ms;
    int write_lock;  /* fd of state/write.lock, or -1 when read-only */
    bool readonly;
    int log_frames; /* length of the write-ahead log after our last commit */
    int log_warned_frames; /* its length when it was last complained of, 0: not */
    int64_t checkpoint_at_ms; /* not before (monotonic) */
    uint64_t device, inode; /* of state.db when it was opened */
    state_key_maker key_maker; /* state_make_keys() */
    void *key_ctx;
    int64_t progress_version; /* state_progress(): PRAGMA data_version of the last look */
    /* prepared once per text, found by the address of the literal */
    struct {
        const char *sql;
        sqlite3_stmt *statement;
    } statements[STATE_STATEMENTS_MAX];
    size_t statement_count;
};

/* The columns that state_read_claim() reads, in its order. */
#define STATE_CLAIM_COLUMNS                                                                                            \
    "id, association, sop_class_uid, sop_instance_uid, transfer_syntax_uid, calling_ae, called_ae, peer, file_bytes,"  \
    " data_bytes, file_crc32c, data_crc32c, received_ms, token, attempts, study_uid, series_uid, batch, s3_key, sha256, deaths, destination, modality, bucket"
void state_read_claim(sqlite3_stmt *q, struct state_instance *i);

/* What a batch's client token is made of: derived, so that a repeated start is the same start. */
#define STATE_CLIENT_TOKEN "storescp-%s"

/* state_open() without its refusals: for rebuild. */
int state_open_always(struct state **out, const char *home, struct err *e);

int state_begin(struct state *s, struct err *e);
int state_end(struct state *s, int rc, struct err *e);
/* Makes due what a clock that ran ahead has put off; see clock.c. */
int state_clock_heal(struct state *s, struct err *e);
/* The prepared statement of this literal, reset and unbound; NULL with *e set on error. */
sqlite3_stmt *state_prepare(struct state *s, const char *literal, struct err *e);
/* Binds arguments by a format of one letter each: t text (NULL ok), e text where "" means NULL, i int64_t, n null,
 * d double. ?1, ?2 ... in order. */
int state_bind(sqlite3_stmt *q, const char *format, ...);
/* Steps a statement that returns no row (or whose rows do not matter); resets it. *changed (may be NULL): rows changed. */
int state_step(struct state *s, sqlite3_stmt *q, int *changed, struct err *e);
/* prepare + bind + step in one: state_run(s, &changed, e, "UPDATE ... ?1", "ti", text, (int64_t)1) */
int state_run(struct state *s, int *changed, struct err *e, const char *literal, const char *format, ...);
/* First column of the first row as integer; fallback if there is no row. Negative return on error. */
int state_number(struct state *s, int64_t *out, int64_t fallback, struct err *e, const char *literal, const char *format, ...);
int state_sql_error(struct state *s, struct err *e, const char *what);
/* Copies a text column (NULL: "") into a buffer. */
void state_column(sqlite3_stmt *q, int column, char *buffer, size_t size);

/*
 * The one place where an instance changes its state (docs/states.md). Checks the state it leaves and, if token >= 0, the claim
 * (token and owner); clears the claim; writes times and the event. Returns 0, ERR_FENCED (nothing changed), or an error.
 * code/note may be NULL. Inside state_begin/state_end. Other columns are updated by the caller in the same transaction.
 */
int state_move(struct state *s, const char *id, int64_t token, const char *from, const char *to, int64_t now_ms,
               const char *code, const char *note, struct err *e);
/* How an instance agrees with what went on of its study and series before; see conflicts.c. All three inside a transaction. */
struct state_conflict_found {
    int count;                    /* elements that differ */
    bool hold;                    /* it is to be held for that; then text and remedy say why */
    char text[320], remedy[320];  /* tags and ids, never a value */
};
/* Writes its rows in `conflict`. may_hold: a person has to decide, unless one like it went on before. */
int state_conflicts_find(struct state *s, const struct state_instance *c, const struct state_identity *d, bool may_hold, struct state_conflict_found *out,
                         struct err *e);
/* It goes on: what comes later is compared with it. */
int state_conflicts_seen(struct state *s, const struct state_instance *c, const struct state_identity *d, struct err *e);
/* It is judged anew: what was found before does not count. */
int state_conflicts_forget(struct state *s, const struct state_instance *c, struct err *e);
/* Something of a study has come, or a storage commitment request has named something of it: whether it is complete is looked at anew, see completeness.c.
 * Inside a transaction. */
int state_completeness_news(struct state *s, const char *study_uid, int64_t now_ms, struct err *e);
int state_completeness_named(struct state *s, const char *commitment, int64_t now_ms, struct err *e);
/* After a rebuild: what is there went on. */
int state_conflicts_seed(struct state *s, struct err *e);
/* The findings of a verdict. Inside its transaction. */
int state_findings_write(struct state *s, const struct state_instance *claim, const struct state_finding *findings, size_t count, int64_t now_ms,
                         struct err *e);
/* The instance has that file now. Inside a transaction. */
int state_change_record(struct state *s, const char *id, const struct state_changed *c, int64_t now_ms, struct err *e);
/* The orders of a verdict are done to its instance, or could not be: rows, event, the end of those for one instance. Inside its transaction. */
int state_fix_done(struct state *s, const struct state_validation *v, int64_t now_ms, struct err *e);
/* Puts an instance whose row is (or is just becoming) 'validated' into the open batch of its study and destination; closes a full one and opens
 * the next. now_ms is the clock of the transaction. Inside a transaction. batch receives the id. */
int state_assign_batch(struct state *s, const char *id, const char *study_uid, int64_t bytes,
                       const struct state_batch_limits *limits, int64_t now_ms, char batch[STATE_ID_SIZE], struct err *e);
/* Finds or opens the batch that the instance shall share with other studies; batch "": it shares none. Inside a transaction; see sharing.c. */
int state_share_batch(struct state *s, const char *id, const char *study_uid, int64_t bytes, const struct state_batch_limits *limits, int64_t now_ms,
                      char batch[STATE_ID_SIZE], struct err *e);
/* Out of its batch, without another one. Inside a transaction. */
int state_leave_batch(struct state *s, const char *id, struct err *e);
/* Remembers that there is such a destination. Inside a transaction. */
int state_destination_note(struct state *s, const char *name, int64_t now_ms, struct err *e);
/* Decides the keys of claims that have none, by the maker that was set. Inside the transaction of the claim. */
int state_decide_keys(struct state *s, struct state_instance *claims, size_t count, struct err *e);
/* Takes a token from the data store's bucket of starts, and for a new job looks at the running ones too. *wait_ms as in state_batch_starting().
 * Inside a transaction that must be committed in both cases. */
int state_take_start(struct state *s, const char *datastore_id, const struct state_start_limits *limits, bool new_job, int64_t now_ms,
                     int64_t *wait_ms, struct err *e);
/* What is urgent counts as due that much longer: it goes before others, and nobody who has waited longer than that starves. */
enum { STATE_URGENT_AHEAD_MS = 3600000 };
/* A received instance that is just becoming 'validated' is urgent, or was received as such; before state_assign_batch(). Inside a transaction. */
int state_urge_instance(struct state *s, const char *id, bool urgent, int64_t now_ms, struct err *e);
/* The batch is urgent if the instance, which was just put into it, is. Inside a transaction. */
int state_urge_batch(struct state *s, const char *id, const char *batch, struct err *e);
/* What becomes of the instances that a failed job left; see split.c. */
struct state_split {
    int64_t piece_max; /* of the new batches; 0: they go to the study's open batch */
    bool charged;      /* the job counts as one of their import_attempts */
    char piece[STATE_ID_SIZE]; /* that is being filled, "" at first */
    int64_t in_piece;
};
int state_split_decide(struct state *s, const struct state_batch *b, const struct err *why, struct state_split *out, struct err *e);
/* Puts an instance that is just becoming 'validated' into a piece of b. Inside a transaction. */
int state_split_take(struct state *s, const struct state_batch *b, struct state_split *split, const char *id, int64_t bytes, int64_t now_ms, struct err *e);
/* Closes the pieces of b. Inside the transaction that ends b; before a crash of which they close by their quiet time. */
int state_split_end(struct state *s, const struct state_batch *b, int64_t now_ms, struct err *e);
/* open -> closed, with why as the note of the event; nothing when it is not open any more. Inside a transaction. */
int state_batch_close(struct state *s, const char *batch, const char *why, int64_t now_ms, struct err *e);
/* An event that belongs to a batch. Inside a transaction. */
int state_batch_event(struct state *s, const char *batch, const char *from, const char *to, const char *code,
                      const char *note, int64_t now_ms, struct err *e);

#endif
