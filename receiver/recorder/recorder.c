/*
 * recorder - owns the database: gathers the finished instances of all associations, makes their rows durable with one commit, and only
 * then lets the successes go out. While it works on one group the next one gathers: the busier, the larger the groups.
 */
#include "receiver/recorder/recorder.h"

#include "common/handoff/handoff.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "receiver/door/door.h"
#include "receiver/association/policy.h"
#include "receiver/association/commitment.h"
#include "receiver/recorder/ladder.h"
#include "receiver/protocol.h"
#include "receiver/settings.h"
#include "receiver/recorder/waiting.h"
#include "receiver/door/refusals.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { GROUP_MAX = 128, BEAT_MS = 2000, ENDED_MAX = 64, ENDED_MS = 250, LAST_CALL_MS = 5000 };

struct recorder {
    const char *home;
    struct state *state;
    struct handoff *handoff;
    struct pool pool;
    struct door *door;
    struct adoption adoption;
    struct desk desk;
    struct settings *settings;
    struct ladder ladder;
    struct waiting waiting;
    struct refusals refusals;
    bool looking; /* adoption is not through */
    struct state_association ended[ENDED_MAX]; /* not yet written */
    size_t ended_count;
    int64_t beat_at, ended_at;
};

/* ---- recording --------------------------------------------------------------------------------------------------------------- */

struct group {
    struct state_received rows[GROUP_MAX];
    struct process *from[GROUP_MAX];
    int64_t begun_ms[GROUP_MAX];
    size_t count;
};

void recorder_fill_row(struct state_received *row, const struct spool_meta *m)
{
    memset(row, 0, sizeof *row);
    memcpy(row->id, m->id, sizeof row->id);
    memcpy(row->sop_class_uid, m->sop_class_uid, sizeof row->sop_class_uid);
    memcpy(row->sop_instance_uid, m->sop_instance_uid, sizeof row->sop_instance_uid);
    memcpy(row->transfer_syntax_uid, m->transfer_syntax_uid, sizeof row->transfer_syntax_uid);
    memcpy(row->calling_ae, m->calling_ae, sizeof row->calling_ae);
    memcpy(row->called_ae, m->called_ae, sizeof row->called_ae);
    row->file_bytes = m->file_bytes;
    row->data_bytes = m->data_bytes;
    row->file_crc32c = m->file_crc32c;
    row->data_crc32c = m->data_crc32c;
    row->received_ms = m->received_ms;
}

/* Rows of associations are for people, not for promises: they travel with the next group, or alone when none comes. While the database
 * refuses them they wait; when there are too many they are let go, with a word. */
static void write_ended(struct recorder *r)
{
    struct err e = {0};
    int rc = r->ended_count > 0 ? state_record(r->state, NULL, 0, r->ended, r->ended_count, &e) : 0;
    if (rc != 0 && r->ended_count < ENDED_MAX) {
        return;
    }
    if (rc != 0) {
        log_warning("associations_not_recorded", "count=%zu reason=\"%s\" effect=\"their instances are recorded\"", r->ended_count, e.text);
    }
    r->ended_count = 0;
}

static void end_association(struct recorder *r, struct process *p, const struct packet *packet)
{
    pool_ended(&r->pool, p);
    desk_ended(&r->desk, p);
    if (packet->stored + packet->refused == 0) {
        return;
    }
    if (r->ended_count == ENDED_MAX) {
        write_ended(r);
    }
    struct state_association *a = &r->ended[r->ended_count++];
    memset(a, 0, sizeof *a);
    memcpy(a->id, packet->association, sizeof a->id);
    memcpy(a->peer, packet->peer, sizeof a->peer);
    memcpy(a->calling_ae, packet->calling, sizeof a->calling_ae);
    memcpy(a->called_ae, packet->called, sizeof a->called_ae);
    memcpy(a->outcome, packet->outcome, sizeof a->outcome);
    memcpy(a->tls, packet->tls, sizeof a->tls);
    memcpy(a->user_name, packet->user_name, sizeof a->user_name);
    a->user_checked = packet->user_checked;
    a->began_ms = packet->association_began_ms;
    a->ended_ms = clock_wall_ms();
    a->stored = packet->stored;
    a->refused = packet->refused;
}

/* What an association process did not accept: once for each peer and reason. */
static void log_refusal(struct recorder *r, const struct packet *p)
{
    char reason[64];
    unsigned long untold = 0;
    uint64_t sum = 0xcbf29ce484222325u; /* FNV-1a: the text is the reason, and longer than a key may be */
    for (const char *c = p->refusal_text; *c; c++) {
        sum = (sum ^ (unsigned char)*c) * 0x100000001b3u;
    }
    (void)snprintf(reason, sizeof reason, "%s %016llx", p->refusal_event, (unsigned long long)sum);
    if (refusals_due(&r->refusals, clock_mono_ms(), p->peer, reason, &untold)) {
        log_warning(p->refusal_event, "peer=%s %s untold=%lu", p->peer, p->refusal_text, untold);
    }
}

static void drop_process(struct recorder *r, struct process *p)
{
    desk_ended(&r->desk, p);
    pool_drop(&r->pool, p);
}

/* Takes what one process says; returns without waiting. */
static void read_process(struct recorder *r, struct process *p, struct group *g)
{
    struct packet packet;
    int fd = -1;
    ssize_t n = packet_receive(p->channel, &packet, MSG_DONTWAIT, &fd);
    if (n == (ssize_t)sizeof packet && (packet.kind == PACKET_COMMIT || packet.kind == PACKET_ASK || packet.kind == PACKET_REPORTED)) {
        desk_take(&r->desk, p, &packet, fd);
        return;
    }
    if (fd != -1) {
        (void)close(fd);
    }
    if (n == (ssize_t)sizeof packet && packet.kind == PACKET_STORED) {
        struct state_received *row = &g->rows[g->count];
        recorder_fill_row(row, &packet.meta);
        (void)snprintf(row->association, sizeof row->association, "%s", packet.association);
        (void)snprintf(row->peer, sizeof row->peer, "%s", packet.peer);
        row->urgent = packet.is_high && config_bool_for(r->pool.config, config_for_ae(r->pool.config, row->calling_ae), CFG_URGENT_BY_PRIORITY);
        (void)waiting_point(r->pool.config, row);
        flight_ends(&r->pool, p);
        g->from[g->count] = p;
        g->begun_ms[g->count++] = packet.begun_ms;
    } else if (n == (ssize_t)sizeof packet && packet.kind == PACKET_ENDED) {
        end_association(r, p, &packet);
        if (packet.leaving && p->channel != -1) { /* a job that it would not read any more would be a lost connection */
            pool_drop(&r->pool, p);
        }
    } else if (n == (ssize_t)sizeof packet && packet.kind == PACKET_ADMIT) {
        door_asked(r->door, p, &packet);
    } else if (n == (ssize_t)sizeof packet && packet.kind == PACKET_REFUSED) {
        log_refusal(r, &packet);
    } else if (n == (ssize_t)sizeof packet && packet.kind == PACKET_GROWS) {
        flight_grows(&r->pool, p, &packet);
    } else if (n == (ssize_t)sizeof packet && packet.kind == PACKET_GONE) {
        waiting_end(&r->waiting, p);
    } else if (n != -1 || (errno != EAGAIN && errno != EINTR)) {
        drop_process(r, p);
    }
}

static void record(struct recorder *r, struct group *g)
{
    struct err e = {0};
    int64_t begun = clock_mono_ms();
    /* The instant of the promise: files and their entries are durable, with this commit their rows are. */
    int rc = state_record(r->state, g->rows, g->count, r->ended, r->ended_count, &e);
    if (rc == 0) {
        r->ended_count = 0;
    }
    struct packet answer;
    memset(&answer, 0, sizeof answer);
    answer.kind = PACKET_VERDICT;
    answer.status = rc == 0 ? 0 : 0xa700;
    if (rc != 0) {
        log_error("record_failed", "count=%zu code=%s reason=\"%s\" effect=\"%s\"", g->count, err_name(rc), e.text,
                  rc == ERR_COMMIT_UNKNOWN ? "no answer, the files stay for adoption" : "answered A700, nothing kept");
    }
    for (size_t i = 0; i < g->count; i++) {
        bool releasable = false;
        if (rc != 0 && rc != ERR_COMMIT_UNKNOWN) {
            /* another receiver's adoption may have been faster than a commit that took very long */
            answer.status = state_instance_known(r->state, g->rows[i].id, &releasable, NULL) == 0 ? 0xa700 : 0;
        }
        if (g->from[i]->channel != -1 && rc == ERR_COMMIT_UNKNOWN) {
            /* The row may come back after a crash: neither success nor refusal is true, and the file must stay. The closed channel
             * ends the association process without an answer; the sender repeats. */
            drop_process(r, g->from[i]);
        } else if (g->from[i]->channel != -1 && (answer.status != 0 || !waiting_begin(&r->waiting, r->pool.config, g->from[i], &g->rows[i]))) {
            (void)send(g->from[i]->channel, &answer, sizeof answer, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
    }
    int64_t now = clock_mono_ms();
    for (size_t i = 0; rc == 0 && i < g->count; i++) {
        const struct state_received *row = &g->rows[i];
        char uid[240];
        handoff_send(r->handoff, row->id, row->file_bytes, row->file_crc32c);
        log_info("instance_received", "instance=%s association=%s sop_instance=%s bytes=%lld group=%zu receive_ms=%lld record_ms=%lld",
                 row->id, row->association, log_text(row->sop_instance_uid, uid, sizeof uid), (long long)row->file_bytes, g->count,
                 (long long)(begun - g->begun_ms[i]), (long long)(now - begun));
    }
    g->count = 0;
    if (rc == 0 && state_checkpoint(r->state, &e) != 0) {
        log_warning("checkpoint_failed", "reason=\"%s\" effect=\"state.db-wal grows\"", e.text);
    }
}

static void housekeeping(struct recorder *r)
{
    int64_t now = clock_mono_ms();
    struct err e = {0};
    if (now >= r->beat_at) {
        r->beat_at = now + BEAT_MS;
        watchdog_tell();
        char status[340];
        char door[120];
        char ladder[210];
        door_describe(r->door, door, sizeof door);
        ladder_status(&r->ladder, ladder, sizeof ladder);
        (void)snprintf(status, sizeof status, "%s; %s", stop_requested() ? "draining" : ladder, door);
        if (state_worker_beat(r->state, status, &e) != 0) {
            log_warning("beat_failed", "reason=\"%s\"", e.text);
        }
    }
    certificates_housekeeping(&r->pool.certificates);
    if (now >= r->ended_at) {
        r->ended_at = now + ENDED_MS;
        write_ended(r);
    }
}

/* ---- the loop ------------------------------------------------------------------------------------------------------------------------ */

static void turn(struct recorder *r, struct group *g, bool accepting)
{
    static struct process *spoke[GROUP_MAX];
    struct pollfd fds[] = {{stop_fd(), (short)(accepting ? POLLIN : 0), 0}, {accepting ? door_fd(r->door) : -1, POLLIN, 0}, {r->pool.epoll, POLLIN, 0}};
    int sleep_ms = r->looking ? 5 : r->waiting.count > 0 ? WAITING_LOOK_MS : 200;
    if (poll(fds, sizeof fds / sizeof fds[0], door_sleep_ms(r->door, sleep_ms)) > 0) {
        size_t count = pool_spoke(&r->pool, spoke, GROUP_MAX);
        for (size_t i = 0; i < count; i++) {
            if (spoke[i]->channel != -1) {
                read_process(r, spoke[i], g);
            }
        }
    }
    if (g->count > 0) {
        record(r, g);
    }
    waiting_look(&r->waiting, r->state);
    if (ladder_look(&r->ladder, r->pool.config, r->home, r->state, r->pool.told)) {
        r->beat_at = 0;
    }
    door_answer(r->door);
    if (accepting) {
        pool_fill(&r->pool);
        door_turn(r->door);
    }
    r->looking = adoption_step(&r->adoption);
    desk_step(&r->desk);
    housekeeping(r);
}

/* What new settings must fulfil besides being right one by one. The last step takes over: nothing may fail after it. */
static int check_settings(void *ctx, const struct config *config, struct err *e)
{
    int rc = policy_check(config, e);
    rc = rc == 0 ? door_check(config, e) : rc;
    return rc == 0 ? certificates_reconfigure(&((struct recorder *)ctx)->pool.certificates, config, e) : rc;
}

/* After SIGHUP. What is read when it is needed is new at once; association processes are replaced. */
static void reload(struct recorder *r)
{
    enum log_level level = LOG_LEVEL_INFO;
    if (!settings_reload(r->settings, check_settings, r)) {
        certificates_reload(&r->pool.certificates); /* replaced files do not wait for settings */
        return;
    }
    r->pool.config = r->settings->config;
    r->pool.settings_fd = r->settings->fd;
    r->home = r->pool.home = r->adoption.home = config_home(r->pool.config);
    (void)log_level_parse(config_text(r->pool.config, CFG_LOG_LEVEL), &level);
    log_init("receiver", level);
    desk_renew(&r->desk, r->pool.config);
    pool_renew(&r->pool);
    log_info("settings_reloaded", "busy=%d how=\"associations that stand end with the old settings\"", r->pool.busy);
}

/* Nobody new comes; who is there finishes what it has in hand, at most drain_s. */
static void drain(struct recorder *r, struct group *g)
{
    int64_t drain_ms = config_int(r->pool.config, CFG_DRAIN_S) * 1000;
    int64_t now = clock_mono_ms();
    int64_t last_call = now + drain_ms - (drain_ms / 3 < LAST_CALL_MS ? drain_ms / 3 : LAST_CALL_MS);
    door_shut(r->door);
    desk_stop(&r->desk);
    atomic_store(&r->pool.told->drain_end_ms, last_call);
    waiting_drain(&r->waiting, last_call);
    while (r->pool.busy > 0 && clock_mono_ms() < now + drain_ms) {
        turn(r, g, false);
    }
}

int recorder_main(struct settings *settings)
{
    const struct config *config = settings->config;
    static struct recorder r;
    static struct group g;
    struct err e = {0};
    r.home = config_home(config);
    r.pool.config = config;
    r.pool.home = r.home;
    r.settings = settings;
    r.pool.settings_fd = settings->fd;
    r.adoption.lock = -1;
    int rc = stop_install(&e);
    rc = rc == 0 ? reload_install(&e) : rc;
    rc = rc == 0 ? told_make(&r.pool.told, &r.pool.told_fd, &e) : rc;
    rc = rc == 0 ? policy_check(config, &e) : rc;
    rc = rc == 0 ? certificates_begin(&r.pool.certificates, config, &e) : rc;
    rc = rc == 0 ? spool_prepare(r.home, &e) : rc;
    rc = rc == 0 ? state_open(&r.state, r.home, &e) : rc;
    rc = rc == 0 ? state_worker_register(r.state, STAGE_RECEIVER, &e) : rc;
    rc = rc == 0 ? handoff_open(&r.handoff, r.home, NULL, "validator", state_worker_name(r.state), &e) : rc;
    rc = rc == 0 ? adoption_begin(&r.adoption, r.home, r.state, &e) : rc;
    rc = rc == 0 ? pool_open(&r.pool, &e) : rc;
    rc = rc == 0 ? door_open(&r.door, &r.pool, &r.refusals, &e) : rc;
    if (rc != 0) {
        log_error("not_started", "code=%s reason=\"%s\"", err_name(rc), e.text);
        adoption_end(&r.adoption);
        certificates_end(&r.pool.certificates);
        state_close(&r.state);
        return rc == ERR_CONFIG || rc == ERR_SCHEMA ? 78 : 1;
    }
    desk_begin(&r.desk, config, r.state);
    (void)ladder_look(&r.ladder, config, r.home, r.state, r.pool.told);
    pool_fill(&r.pool);
    log_info("started", "worker=%s port=%lld tls_port=%lld", state_worker_name(r.state), config_int(config, CFG_SCP_PORT),
             config_int(config, CFG_TLS_PORT));
    ready_tell();
    while (!stop_requested()) {
        turn(&r, &g, true);
        if (reload_taken()) {
            reload(&r);
        }
    }
    drain(&r, &g);
    for (size_t i = 0; i < r.pool.process_count; i++) {
        if (r.pool.processes[i].channel != -1) {
            (void)close(r.pool.processes[i].channel);
        }
    }
    for (size_t i = 0; i < r.pool.process_count; i++) {
        desk_ended(&r.desk, &r.pool.processes[i]);
    }
    desk_end(&r.desk);
    write_ended(&r);
    door_close(&r.door);
    log_info("stopped", "associations_cut=%d", r.pool.busy);
    (void)state_worker_unregister(r.state, &e);
    handoff_close(&r.handoff);
    certificates_end(&r.pool.certificates);
    adoption_end(&r.adoption);
    state_close(&r.state);
    return 0;
}
