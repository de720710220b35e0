/*
 * uploads - the uploads to all destinations of one uploader. Each has an upload (upload.h) with its own queue, breaker, credentials and connections, so that
 * a blocked one holds up no other: it keeps no places but its own, and its claims are its own.
 *
 * Places: upload_concurrency in front of all sections are shared. Who has work gets an equal part at least, who has more work what the others leave;
 * upload_concurrency of a section limits that destination. All connections are waited for together.
 */
#ifndef STORESCP_UPLOADER_UPLOADS_H
#define STORESCP_UPLOADER_UPLOADS_H

#include "common/worker/worker.h"
#include "uploader/upload.h"

struct uploads {
    struct worker *worker; /* borrowed */
    struct upload *of[CONFIG_DESTINATION_LIMIT];
    struct aws_client *clients[CONFIG_DESTINATION_LIMIT];
    int most[CONFIG_DESTINATION_LIMIT]; /* transfers of each at one time */
    size_t count;
    int places; /* of all together */
    size_t turn; /* who begins: each in turn */
    struct worker_orphan orphan;
};

int uploads_open(struct uploads *all, struct worker *worker, struct err *e);
/* Claims and begins, as far as places and breakers let it. */
void uploads_work(struct uploads *all);
/* Waits for transfers while there are some, for hints otherwise. */
void uploads_wait(struct uploads *all, int stop);
/* Records what has ended; aborts what was given up; looks for destinations that are gone. */
void uploads_settle(struct uploads *all);
bool uploads_are_broken(const struct uploads *all);
/* "ready" or "waiting: CODE: why", with "[destination] " in front of the code when there are several. */
void uploads_status(const struct uploads *all, char *buffer, size_t size);
/* Finishes the transfers in hand within drain_s, gives the rest back, closes all. step() is called in between. */
void uploads_drain(struct uploads *all, void (*step)(void *ctx), void *ctx);
void uploads_close(struct uploads *all);

#endif
