/* limits - see limits.h. */
#include "receiver/association/limits.h"

#include "receiver/recorder/pressure.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

enum { MB = 1000000, REPORT_BYTES = 1 << 20 };

void limits_begin_association(struct limits *l, const struct config *config, const struct config_section *section)
{
    l->object_bytes = config_int_for(config, section, CFG_MAXIMUM_OBJECT_MB) * MB;
    l->association_bytes = config_int_for(config, section, CFG_ASSOCIATION_MB) * MB;
    l->association_instances = config_int_for(config, section, CFG_ASSOCIATION_INSTANCES);
    l->is_priority = config_bool_for(config, section, CFG_PRIORITY);
    l->counts_flight = config_int(config, CFG_IN_FLIGHT_MB) > 0;
    l->slow_answer_ms = (int)config_int(config, CFG_SLOW_ANSWER_MS);
    l->stored_bytes = l->stored_count = 0;
}

static int step_for(const struct limits *l)
{
    bool passes = l->is_priority && atomic_load(&l->told->reserve_is_left);
    return passes ? PRESSURE_NONE : atomic_load(&l->told->step);
}

int limits_begin_object(struct limits *l, struct err *e)
{
    l->object++;
    l->reported_bytes = 0;
    if (step_for(l) >= PRESSURE_REFUSE) {
        return atomic_load(&l->told->is_backlog)
                   ? err_set(e, ERR_BACKLOG, 0, "too much waits to be uploaded (backlog_refuse_count, backlog_refuse_mb); storescpctl status tells why")
                   : err_set(e, ERR_DISK_FULL, 0, "less than spool_free_mb is free on the spool's disk: free space or enlarge it");
    }
    if (l->association_instances > 0 && l->stored_count >= l->association_instances) {
        return err_set(e, ERR_LIMIT, 0, "this association has sent association_instances: the rest must come on another one");
    }
    if (l->association_bytes > 0 && l->stored_bytes >= l->association_bytes) {
        return err_set(e, ERR_LIMIT, 0, "this association has sent association_mb: the rest must come on another one");
    }
    if (l->counts_flight && atomic_load(&l->told->is_flight_full)) {
        return err_set(e, ERR_LIMIT, 0, "unfinished objects of all associations have reached in_flight_mb");
    }
    return 0;
}

/* One way: nobody waits for an answer. When the recorder is gone, the verdict will miss. */
static void report(struct limits *l, const struct packet *job, int64_t bytes)
{
    struct packet p = *job;
    ssize_t n;
    p.kind = PACKET_GROWS;
    p.meta.data_bytes = bytes;
    p.object = l->object;
    do {
        n = send(l->channel, &p, sizeof p, MSG_NOSIGNAL);
    } while (n == -1 && errno == EINTR);
    l->reported_bytes = bytes;
}

int limits_grow(struct limits *l, int64_t bytes, const struct packet *job, struct err *e)
{
    if (bytes > l->object_bytes) {
        return err_set(e, ERR_TOO_LARGE, 0, "the data set is larger than maximum_object_mb");
    }
    if (l->association_bytes > 0 && l->stored_bytes + bytes > l->association_bytes) {
        return err_set(e, ERR_LIMIT, 0, "with this data set the association would exceed association_mb");
    }
    if (l->counts_flight && bytes - l->reported_bytes >= REPORT_BYTES) {
        report(l, job, bytes);
    }
    if (l->reported_bytes > 0 && atomic_load(&l->told->over[l->slot]) == l->object) {
        return err_set(e, ERR_LIMIT, 0, "with this data set the unfinished objects of all associations exceed in_flight_mb");
    }
    return 0;
}

void limits_abort_object(struct limits *l, const struct packet *job)
{
    if (l->reported_bytes > 0) {
        report(l, job, 0);
    }
}

void limits_end_object(struct limits *l, int64_t bytes, int fd)
{
    l->stored_count++;
    l->stored_bytes += bytes;
    l->reported_bytes = 0; /* the recorder counts it no longer since it is stored */
    if (step_for(l) >= PRESSURE_SLOW) {
        struct pollfd peer = {fd, POLLRDHUP, 0};
        (void)poll(&peer, 1, l->slow_answer_ms);
    }
}
