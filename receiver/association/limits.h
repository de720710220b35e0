/*
 * limits - what bounds one association: its objects and bytes, the step of the pressure ladder, the bytes of unfinished objects of all
 * associations together. For an association process; what it needs of the others stands in the recorder's page (told.h).
 */
#ifndef STORESCP_RECEIVER_LIMITS_H
#define STORESCP_RECEIVER_LIMITS_H

#include "common/runtime/config.h"
#include "receiver/protocol.h"
#include "receiver/told.h"

struct limits {
    const struct told *told;
    int slot, channel;
    /* of the peer's settings */
    int64_t object_bytes, association_bytes, association_instances;
    bool is_priority, counts_flight;
    int slow_answer_ms;
    /* of this association */
    int64_t stored_bytes, stored_count;
    /* of this process: the object in hand */
    uint32_t object;
    int64_t reported_bytes;
};

/* For a new association whose AE title is known; section as of config_for_ae(). told, slot and channel stay as they are. */
void limits_begin_association(struct limits *l, const struct config *config, const struct config_section *section);
/* May a new object begin? 0, or ERR_DISK_FULL, ERR_BACKLOG, ERR_LIMIT with the setting. */
int limits_begin_object(struct limits *l, struct err *e);
/* It has this many bytes by now: 0, or ERR_TOO_LARGE, ERR_LIMIT. job: what this association is, for the recorder. */
int limits_grow(struct limits *l, int64_t bytes, const struct packet *job, struct err *e);
/* Its bytes are gone again. */
void limits_abort_object(struct limits *l, const struct packet *job);
/* It is stored. Waits slow_answer_ms when the ladder asks for slower answers, but not longer than the peer is there (fd). */
void limits_end_object(struct limits *l, int64_t bytes, int fd);

#endif
