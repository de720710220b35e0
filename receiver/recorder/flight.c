/*
 * flight - the recorder's sum of the bytes of unfinished objects (in_flight_mb). Association processes report each MB that their object grows by;
 * the one whose report exceeds the limit is refused, the others go on, and no object begins while the limit is reached.
 */
#include "receiver/recorder/recorder.h"

#include "receiver/protocol.h"

static void set(struct pool *pool, struct process *p, int64_t bytes)
{
    pool->flight_bytes += bytes - p->flight_bytes;
    p->flight_bytes = bytes;
    int64_t most = config_int(pool->config, CFG_IN_FLIGHT_MB) * 1000000;
    atomic_store(&pool->told->is_flight_full, most > 0 && pool->flight_bytes >= most);
}

void flight_grows(struct pool *pool, struct process *p, const struct packet *packet)
{
    int64_t most = config_int(pool->config, CFG_IN_FLIGHT_MB) * 1000000;
    int64_t bytes = packet->meta.data_bytes;
    if (bytes < 0 || bytes > FLIGHT_OBJECT_MAX) {
        return; /* no object is that large: this process lies */
    }
    set(pool, p, bytes);
    if (most > 0 && bytes > 0 && pool->flight_bytes > most) {
        atomic_store(&pool->told->over[p - pool->processes], packet->object);
    }
}

void flight_ends(struct pool *pool, struct process *p)
{
    if (p->flight_bytes > 0) {
        set(pool, p, 0);
    }
}
