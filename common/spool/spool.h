/*
 * spool - files of instances: create, make durable, adopt, quarantine, release. The only unlinker of instance files.
 *
 *   spool/tmp/<id>.part            being received, where the file system has no nameless files; no promise; swept when its writer is dead
 *   spool/obj/<id>.dcm             complete; durable soon, then a row follows (S2, S3 of docs/states.md)
 *   spool/quarantine/<id>.dcm      quarantined; kept until a person decides
 *   spool/dropped/<id>.dcm         given up by a person; kept for spool_keep_dropped_s
 *   spool/changed/<id>.dcm         the instance as element rules make it, not yet in force
 *   spool/original/<id>.dcm        what the sender sent, of an instance whose file in obj/ is a changed one
 *
 * The file is Part 10: preamble, our file meta information (fixed length, written last into reserved room), then the data set's
 * bytes exactly as they came. (0002,0102) holds "storescp1 <received_ms> <data_bytes> <data_crc32c hex>", with which a file
 * proves itself complete without any database (PS3.10 section 7.1 allows private information there). A changed file says so there, too.
 */
#ifndef STORESCP_SPOOL_SPOOL_H
#define STORESCP_SPOOL_SPOOL_H

#include "common/runtime/crc32c.h"
#include "common/runtime/err.h"

#include <stddef.h>
#include <stdint.h>

struct spool_meta { /* what the head of a spool file tells about it */
    char id[27];
    char sop_class_uid[72], sop_instance_uid[72], transfer_syntax_uid[72];
    char calling_ae[20], called_ae[20];
    int64_t received_ms, file_bytes, data_bytes, data_offset;
    uint32_t file_crc32c, data_crc32c;
    int is_changed; /* by element rules; then it is not what the sender sent */
};

/* Makes the directories (0700) below home. */
int spool_prepare(const char *home, struct err *e);

struct spool_writer;
/* Begins a file without a name (or tmp/<id>.part). meta gives id, UIDs, AE titles (copied). */
int spool_begin(struct spool_writer **out, const char *home, const struct spool_meta *meta, struct err *e);
/* Appends bytes of the data set. After the first error every call repeats it and writes nothing. */
int spool_write(struct spool_writer *w, const void *bytes, size_t count, struct err *e);
/* Head, name in obj/, fdatasync, fsync of obj/. 0: bytes and directory entry are durable. Fills *meta.
 * On error nothing is left behind. Frees the writer in both cases. A failed fsync is never retried. */
int spool_finish(struct spool_writer **w, int64_t received_ms, struct spool_meta *meta, struct err *e);
/* Leaves nothing behind, frees the writer; NULL is fine. */
void spool_abort(struct spool_writer **w);

/* Opens the file of an instance for reading (obj/ or quarantine/); O_CLOEXEC. Returns fd or negative. */
int spool_open(const char *home, const char *id, struct err *e);
/* Reads and checks the head of a spool file. verify != 0: reads it whole and compares CRC32C; ERR_SPOOL_DAMAGED if it lies.
 * file_crc32c is only filled when verify is set. */
int spool_read_meta(const char *home, const char *id, int verify, struct spool_meta *meta, struct err *e);
int spool_quarantine(const char *home, const char *id, struct err *e);   /* obj -> quarantine, as the sender sent it; already there: 0 */
int spool_unquarantine(const char *home, const char *id, struct err *e); /* and back, from dropped/ too */
int spool_drop(const char *home, const char *id, struct err *e);         /* obj or quarantine -> dropped; there or nowhere: 0 */
int spool_release(const char *home, const char *id, struct err *e);      /* unlink wherever it is but in quarantine/; not there: 0 */

/* ---- changed files (element rules) ------------------------------------------------------------------------------------------------
 * While an instance is 'received', 'quarantined' or 'duplicate' its file is what the sender sent; from 'validated' on, if its row says that it was
 * changed, obj/ holds the changed one and original/ what the sender sent. The order that makes it so after a crash at any moment, without a look at any
 * clock: changed/ is complete and durable; the sender's file gets its second name in original/, durable; changed/ takes the name in obj/, durable; only then
 * the row is committed as 'validated'. Whoever claims a 'received' row first calls spool_change_undo(): what stands in original/ takes its place again. */

/* Begins a file in changed/, with spool_write() and spool_finish() as any other; an older one there is replaced. */
int spool_change_begin(struct spool_writer **out, const char *home, const struct spool_meta *meta, struct err *e);
/* Opens what stands in changed/, for reading. */
int spool_open_changed(const char *home, const char *id, struct err *e);
/* changed/ -> obj/, the sender's file -> original/. 0: both are durable. */
int spool_change_switch(const char *home, const char *id, struct err *e);
/* Back to what the sender sent, durable; nothing to undo: 0, at the cost of two looks for a name. */
int spool_change_undo(const char *home, const char *id, struct err *e);
/* Is what the sender sent in original/? */
int spool_is_changed(const char *home, const char *id);
/* spool_open() and spool_read_meta() of what the sender sent, wherever it is. */
int spool_open_received(const char *home, const char *id, struct err *e);
int spool_read_received(const char *home, const char *id, int verify, struct spool_meta *meta, struct err *e);

/* Calls each() for every file in obj/ ("obj") and quarantine/ ("quarantine"); stops on non-zero. */
int spool_each(const char *home, int (*each)(void *ctx, const char *id, const char *room), void *ctx, struct err *e);
/* The same for one room ("obj" or "quarantine"), entry by entry: next gives 1 and an id, or 0 at the end. */
struct spool_walk;
int spool_walk_begin(struct spool_walk **out, const char *home, const char *room, struct err *e);
int spool_walk_next(struct spool_walk *w, char id[27]);
void spool_walk_end(struct spool_walk **w); /* NULL is fine */
/* Removes tmp files older than age_ms; *removed counts. */
int spool_sweep(const char *home, int64_t age_ms, int *removed, struct err *e);
/* Free bytes for us on the spool's file system; negative err on error. */
int64_t spool_free_bytes(const char *home);

#endif
