/*
 * handoff - hints between stages over ZeroMQ: "there is work". Never truth: the claim in state.db decides.
 *
 * Each consumer binds a PULL inbox run/inbox/<stage>/<worker>.sock and holds flock() on <worker>.lock beside it; producers
 * connect a PUSH to every inbox whose lock is held and send to one that has room. Losing, doubling, delaying every message is
 * harmless: every consumer sweeps state.db as well. Message: one frame of text
 * "storescp1 <instance id> <bytes> <crc32c hex>", less than 200 bytes. One thread per handle; create after exec.
 */
#ifndef STORESCP_HANDOFF_HANDOFF_H
#define STORESCP_HANDOFF_HANDOFF_H

#include "common/runtime/err.h"

#include <stddef.h>
#include <stdint.h>

struct handoff;
/* inbox_stage: the stage whose hints we take ("validator"), or NULL; outbox_stage: whom we wake, or NULL. worker: unique name. */
int handoff_open(struct handoff **out, const char *home, const char *inbox_stage, const char *outbox_stage,
                 const char *worker, struct err *e);
void handoff_close(struct handoff **h);
/* Never blocks, never fails: a hint that finds no room is dropped. */
void handoff_send(struct handoff *h, const char *id, int64_t bytes, uint32_t crc32c);
/* Waits up to wait_ms for a hint or for one of extra_fds (poll, POLLIN) and drains the inbox (bounded). Returns the number of
 * hints; 0: time passed, a signal came, or an extra fd is readable. Re-binds the inbox when its socket file has vanished. */
int handoff_wait(struct handoff *h, int wait_ms, const int *extra_fds, size_t extra_count);

#endif
