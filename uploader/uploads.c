/* uploads - see uploads.h. */
#include "uploader/uploads.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "uploader/share.h"
#include "uploader/transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DRAIN_STEP_MS = 200, TOGETHER_MS = 25 /* while several have transfers: what is no traffic, such as keys that come, is looked for so often */ };

/* ---- open, close ---------------------------------------------------------------------------------------------------------------------- */

static int open_one(struct uploads *all, const struct config *c, struct err *e)
{
    struct err why = {0};
    char words[CONFIG_DESTINATION_SIZE + 20];
    size_t i = all->count;
    struct upload *u = calloc(1, sizeof *u);
    if (!u) {
        return err_set(e, ERR_MEMORY, 0, "uploads");
    }
    all->of[i] = u;
    all->count++;
    int rc = aws_client_open_beside(&all->clients[i], c, i > 0 ? all->clients[0] : NULL, &why);
    if (rc != 0) {
        return err_set(e, rc, 0, "%s%.400s", config_destination_words(c, words, sizeof words), why.text);
    }
    long long connections = config_int(c, CFG_MAX_POOL_CONNECTIONS);
    long long transfers = config_int(c, CFG_UPLOAD_CONCURRENCY);
    all->most[i] = u->concurrency = (int)(transfers < connections ? transfers : connections);
    long long parts = connections / u->concurrency; /* a part that waits for a connection would use up its time limit */
    long long wanted = config_int(c, CFG_MULTIPART_PARALLEL);
    u->part_parallel = (int)(wanted < parts ? wanted : parts);
    u->config = c;
    u->home = all->worker->home;
    u->state = all->worker->state;
    u->handoff = all->worker->handoff;
    u->aws = all->clients[i];
    u->transport = config_destination_kind(c) == KIND_DICOMWEB ? &transport_dicomweb : &transport_s3;
    return 0;
}

int uploads_open(struct uploads *all, struct worker *worker, struct err *e)
{
    const struct config *c;
    int rc = 0;
    all->worker = worker;
    all->places = (int)config_int(worker->config, CFG_UPLOAD_CONCURRENCY);
    for (size_t i = 0; rc == 0 && (c = config_destination_at(worker->config, i)); i++) {
        rc = open_one(all, c, e);
    }
    return rc;
}

void uploads_close(struct uploads *all)
{
    for (size_t i = 0; i < all->count; i++) {
        aws_client_close(&all->clients[i]);
        free(all->of[i]);
        all->of[i] = NULL;
    }
    all->count = 0;
}

/* ---- work ------------------------------------------------------------------------------------------------------------------------------ */

static int sending_of(const struct uploads *all)
{
    int sending = 0;
    for (size_t i = 0; i < all->count; i++) {
        sending += all->of[i]->sending;
    }
    return sending;
}

void uploads_work(struct uploads *all)
{
    all->turn = (all->turn + 1) % all->count;
    for (size_t k = 0; k < all->count; k++) {
        size_t i = (all->turn + k) % all->count;
        struct upload *u = all->of[i];
        int working = 0;
        for (size_t n = 0; n < all->count; n++) {
            working += n == i || all->of[n]->sending > 0 || all->of[n]->queued > 0;
        }
        u->concurrency = share_of(all->places, all->most[i], u->sending, sending_of(all), working);
        upload_claim(u);
        upload_begin(u);
    }
}

/* Each moves on without waiting; true if one of them has something to settle. */
static bool run_all(struct uploads *all)
{
    bool any = false;
    for (size_t i = 0; i < all->count; i++) {
        if (all->of[i]->sending > 0) {
            (void)aws_client_run(all->clients[i], 0, NULL, 0);
        }
        any = any || all->of[i]->ended > 0;
    }
    return any;
}

void uploads_wait(struct uploads *all, int stop)
{
    int wait_ms = upload_wait_ms(all->of[0]);
    int sending = sending_of(all);
    bool has_ended = false;
    size_t busy = 0;
    size_t one = 0;
    for (size_t i = 0; i < all->count; i++) {
        int own = upload_wait_ms(all->of[i]);
        wait_ms = own < wait_ms ? own : wait_ms;
        has_ended = has_ended || all->of[i]->ended > 0;
        if (all->of[i]->sending > 0) {
            busy++;
            one = i;
        }
    }
    if (busy > 0 || !has_ended) {
        bool hinted = sending == 0 || (sending < all->places && handoff_wait(all->worker->handoff, 0, NULL, 0) > 0);
        for (size_t i = 0; i < all->count && hinted; i++) {
            all->of[i]->look_at_ms = 0;
        }
    }
    if (busy == 1) {
        (void)aws_client_run(all->clients[one], wait_ms, &stop, 1);
    } else if (busy > 1) {
        if (!run_all(all) && wait_ms > 0) {
            aws_client_wait(all->clients[0], wait_ms < TOGETHER_MS ? wait_ms : TOGETHER_MS, &stop, 1);
            (void)run_all(all);
        }
    } else if (!has_ended) {
        (void)handoff_wait(all->worker->handoff, wait_ms, &stop, 1);
    }
}

static bool is_served(const struct config *destination)
{
    (void)destination;
    return true;
}

void uploads_settle(struct uploads *all)
{
    for (size_t i = 0; i < all->count; i++) {
        upload_settle(all->of[i], false);
        upload_abort_leftover(all->of[i]);
    }
    worker_look_for_orphan(all->worker, &all->orphan, is_served);
}

bool uploads_are_broken(const struct uploads *all)
{
    for (size_t i = 0; i < all->count; i++) {
        if (all->of[i]->broken) {
            return true;
        }
    }
    return false;
}

void uploads_status(const struct uploads *all, char *buffer, size_t size)
{
    size_t used = 0;
    (void)snprintf(buffer, size, "ready");
    for (size_t i = 0; i < all->count && used + 1 < size; i++) {
        const struct breaker *b = &all->of[i]->breaker;
        if (b->open) {
            used += (size_t)snprintf(buffer + used, size - used, "%s%s%s%s%s: %.200s", used ? "; " : "waiting: ", all->count > 1 ? "[" : "",
                                     all->count > 1 ? config_destination_name(all->of[i]->config) : "", all->count > 1 ? "] " : "", err_name(b->why.code),
                                     b->why.text);
        }
    }
    if (all->orphan.name[0] && used + 1 < size) {
        (void)snprintf(buffer + used, size - used, "%s[%s] %s: %s", used ? "; " : "waiting: ", all->orphan.name, err_name(ERR_CONFIG), all->orphan.text);
    }
}

/* ---- the end ---------------------------------------------------------------------------------------------------------------------------- */

void uploads_drain(struct uploads *all, void (*step)(void *ctx), void *ctx)
{
    const int64_t end = clock_mono_ms() + config_int(all->worker->config, CFG_DRAIN_S) * 1000;
    for (size_t i = 0; i < all->count; i++) {
        upload_give_back_queue(all->of[i]);
    }
    while (sending_of(all) > 0 && !uploads_are_broken(all) && clock_mono_ms() < end) {
        if (!run_all(all)) {
            aws_client_wait(all->clients[0], all->count > 1 ? TOGETHER_MS : DRAIN_STEP_MS, NULL, 0);
            (void)run_all(all);
        }
        for (size_t i = 0; i < all->count; i++) {
            upload_settle(all->of[i], false);
        }
        step(ctx);
    }
    int sending = sending_of(all);
    if (sending > 0) {
        log_warning("drain_cut", "transfers=%d effect=\"they are put again after the next start; of a file in parts, what S3 has not\"", sending);
    }
    for (size_t i = 0; i < all->count; i++) {
        upload_settle(all->of[i], true);
        aws_client_close(&all->clients[i]);
        all->of[i]->aws = NULL;
        upload_settle(all->of[i], true);
        upload_abandon(all->of[i]);
    }
}
