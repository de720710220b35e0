/*
 * upload - the uploader's work: claimed rows become transfers, transfers become commits.
 *
 *   claim (state.db) -> QUEUED -> SENDING (transport.h, aws_client) -> ENDED -> one commit for many -> hint to the importer
 *
 * What each class of error (err.h) does to an instance is decided in one function, end_of(), in upload.c. A crash anywhere leaves the row 'validated'
 * with its batch: the next worker puts the same bytes under the same key. A large file goes in parts (s3_multipart.c); its upload id is in
 * state.db before the first part, so the next worker sends only what S3 has not. An upload that nobody will go on with is aborted. One thread.
 */
#ifndef STORESCP_UPLOADER_UPLOAD_H
#define STORESCP_UPLOADER_UPLOAD_H

#include "common/aws/client.h"
#include "common/aws/s3/s3.h"
#include "common/aws/dicomweb/stow.h"
#include "common/handoff/handoff.h"
#include "common/runtime/config.h"
#include "common/state/state.h"
#include "uploader/breaker.h"

enum { UPLOAD_ITEMS = 512, UPLOAD_LEFTOVER_MS = 5000 };

enum item_step { ITEM_FREE, ITEM_QUEUED, ITEM_SENDING, ITEM_ENDED };

struct upload;
struct transport;
struct item {
    struct upload *upload;
    enum item_step step;
    struct state_instance claim;
    int fd; /* open while SENDING */
    int64_t began_ms, ended_ms;
    struct s3_put_result result;
    struct stow_verdict verdict; /* of a DICOMweb server */
    bool was_there;              /* nothing was sent: the other side has it from before */
};

struct upload {
    const struct config *config; /* these six are borrowed; the settings are those of one destination */
    const char *home;
    struct state *state;
    struct handoff *handoff;
    struct aws_client *aws;
    const struct transport *transport; /* of the kind of destination */
    struct breaker breaker;
    struct item items[UPLOAD_ITEMS];
    size_t queue[UPLOAD_ITEMS]; /* indexes of QUEUED items, oldest first: a ring */
    size_t queue_first, queued;
    int64_t queued_bytes;
    int sending, ended, concurrency /* now, beside the other destinations */, part_parallel;
    int64_t look_at_ms, oldest_end_ms, told_ms, leftovers_at_ms;
    bool broken; /* claims of ours can neither be worked nor put back */
};

/* Claims rows when the queue runs low, there is room, and the breaker lets transfers begin. */
void upload_claim(struct upload *u);
/* Begins transfers as far as there is room. */
void upload_begin(struct upload *u);
/* Records what has ended, when enough of it has gathered or its time has come; all: everything at once. */
void upload_settle(struct upload *u, bool all);
/* Aborts a multipart upload that nobody will go on with, if there is one and S3 answers. One request at most, looked for every few seconds. */
void upload_abort_leftover(struct upload *u);
/* How long the loop may wait for traffic or hints before it calls the three above again, ms. */
int upload_wait_ms(const struct upload *u);
/* Gives back what is queued. */
void upload_give_back_queue(struct upload *u);
/* After aws_client_close(): gives back what was being sent. */
void upload_abandon(struct upload *u);

#endif
