/* worker - see worker.h. */
#include "common/worker/worker.h"

#include "common/runtime/log.h"
#include "common/runtime/reload.h"
#include "common/runtime/runtime.h"
#include "common/spool/spool.h"

#include <stdio.h>
#include <string.h>

enum { CHORES_MS = 1000 };

int worker_arguments(const struct worker_kind *kind, int argc, char **argv, const char **home)
{
    const char *name = state_stage_name(kind->stage);
    *home = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--home") == 0 && i + 1 < argc) {
            *home = argv[++i];
        } else if (strcmp(argv[i], "--version") == 0) {
            return printf("storescp-%s %s\n", name, STORESCP_VERSION) < 0;
        } else {
            (void)printf("usage: storescp-%s [--home DIR] [--version]\n%s; any number may run.\n", name, kind->sentence);
            return strcmp(argv[i], "--help") == 0 ? 0 : 2;
        }
    }
    return WORKER_GOES_ON;
}

int worker_start(struct worker *w, const struct worker_kind *kind, const char *home, struct err *e)
{
    const char *name = state_stage_name(kind->stage);
    enum log_level level = LOG_LEVEL_INFO;
    w->kind = kind;
    int rc = config_load(&w->config, home, e);
    config_forget_environment(kind->secrets);
    if (w->config) {
        config_forget_secrets(w->config, kind->secrets);
        process_shield(config_bool(w->config, CFG_CORE_DUMPS));
        (void)log_level_parse(config_text(w->config, CFG_LOG_LEVEL), &level);
        w->home = config_home(w->config);
    }
    log_init(name, level);
    rc = rc == 0 && kind->check ? kind->check(w->config, e) : rc;
    rc = rc ? rc : stop_install(e);
    rc = rc ? rc : reload_install(e);
    rc = rc ? rc : spool_prepare(w->home, e);
    rc = rc ? rc : state_open(&w->state, w->home, e);
    rc = rc ? rc : state_worker_register(w->state, kind->stage, e);
    return rc ? rc : handoff_open(&w->handoff, w->home, name, kind->wakes, state_worker_name(w->state), e);
}

static void close_all(struct worker *w)
{
    struct err e = {0};
    if (w->state && state_worker_name(w->state)[0] && state_worker_unregister(w->state, &e) != 0) {
        log_warning("not_unregistered", "reason=\"%s\" effect=\"the lock drops with this process; another one takes what it had\"", e.text);
    }
    handoff_close(&w->handoff);
    state_close(&w->state);
    config_free(&w->config);
}

int worker_not_started(struct worker *w, int rc, const struct err *e)
{
    log_error("not_started", "code=%s reason=\"%s\"", err_name(rc), e->text);
    close_all(w);
    return err_class_of(rc) == ERR_CLASS_CONFIG ? WORKER_SETTINGS_WRONG : 1;
}

void worker_ready(const struct worker *w)
{
    log_info("started", "worker=%s", state_worker_name(w->state));
    ready_tell();
}

void worker_turn(struct worker *w)
{
    int64_t now = clock_mono_ms();
    if (now - w->turned_ms >= CHORES_MS) {
        w->turned_ms = now;
        state_worker_turn(w->state);
        watchdog_tell();
    }
}

bool worker_chores(struct worker *w, const char *status)
{
    struct err e = {0};
    int freed = 0;
    if (clock_mono_ms() < w->chores_at_ms) {
        return false;
    }
    w->chores_at_ms = clock_mono_ms() + CHORES_MS;
    watchdog_tell();
    if (state_reclaim(w->state, &freed, &e) != 0 || state_worker_beat(w->state, status, &e) != 0 || state_housekeep(w->state, &e) != 0) {
        log_warning("chores_failed", "reason=\"%s\"", e.text);
    }
    return true;
}

void worker_look_for_reload(const struct worker *w)
{
    reload_look(w->home, w->kind->check);
}

int worker_end(struct worker *w, char **argv, bool is_broken)
{
    log_info("stopped", "worker=%s", state_worker_name(w->state));
    close_all(w);
    reload_exec(argv);
    return is_broken ? 1 : 0;
}
