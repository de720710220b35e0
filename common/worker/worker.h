/*
 * worker - the frame around a stage that claims its work (validator, uploader, importer): command line, settings, log, signals, the row
 * and lock in state.db, the inbox, the chores that every such stage shares, the end. What a stage does lies in its own folder.
 *
 *     const char *home;
 *     int code = worker_arguments(&kind, argc, argv, &home);
 *     if (code != WORKER_GOES_ON) return code;
 *     int rc = worker_start(&w, &kind, home, &e);
 *     ... what the stage itself opens ...
 *     if (rc != 0) return worker_not_started(&w, rc, &e);
 *     worker_ready(&w);
 *     while (!stop_requested()) { ...; worker_chores(&w, "ready"); }
 *     return worker_end(&w, argv, is_broken);
 *
 * One worker a process, one thread.
 */
#ifndef STORESCP_WORKER_WORKER_H
#define STORESCP_WORKER_WORKER_H

#include "common/handoff/handoff.h"
#include "common/runtime/config.h"
#include "common/runtime/err.h"
#include "common/state/state.h"

#include <stdbool.h>
#include <stdint.h>

enum { WORKER_GOES_ON = -1, WORKER_SETTINGS_WRONG = 78 /* EX_CONFIG: the supervisor waits longer before it tries again */ };

struct worker_kind {
    enum state_stage stage;
    const char *wakes;    /* the stage that gets our hints, or NULL */
    unsigned secrets;     /* of enum config_secrets: those that it works with; all others are forgotten */
    const char *sentence; /* for --help: what it does */
    int (*check)(const struct config *config, struct err *e); /* of the settings that this stage cannot do without; may be NULL */
};

struct worker {
    const struct worker_kind *kind;
    struct config *config;
    const char *home;
    struct state *state;
    struct handoff *handoff;
    int64_t chores_at_ms, turned_ms;
};

/* Reads --home DIR, --version, --help. WORKER_GOES_ON, or the exit code. *home NULL: as config_load() decides. */
int worker_arguments(const struct worker_kind *kind, int argc, char **argv, const char **home);
/* Settings, log, signals, spool, state.db with our row, inbox. On error call worker_not_started(). */
int worker_start(struct worker *w, const struct worker_kind *kind, const char *home, struct err *e);
/* Says why, closes what is open; returns the exit code. */
int worker_not_started(struct worker *w, int rc, const struct err *e);
/* Logs `started` and tells the supervisor. */
void worker_ready(const struct worker *w);
/* At most once a second: frees the claims of dead workers, beats with status ("ready", "draining", "waiting: ..."), checkpoints. True when it did. */
bool worker_chores(struct worker *w, const char *status);
/* The sign of life between chores, for a round of work that may take long: to be called after each piece of it. */
void worker_turn(struct worker *w);
/* Did SIGHUP bring new and right settings? Then the stop is requested, and worker_end() begins this process again. */
void worker_look_for_reload(const struct worker *w);
/* A destination that something waits for at this stage, and that the settings do not have (any more), or not for this stage: nobody would ever serve
 * it. Looked for every few seconds; told once. */
struct worker_orphan {
    int64_t look_at_ms;
    char name[STATE_DESTINATION_SIZE]; /* "": there is none */
    char text[300];                    /* cause and remedy */
};
/* is_served: is a destination that the settings do have served by this stage? */
void worker_look_for_orphan(struct worker *w, struct worker_orphan *o, bool (*is_served)(const struct config *destination));
/* Gives up row, lock, inbox; after a reload it does not return but begins anew with argv. Returns the exit code, 1 when broken. */
int worker_end(struct worker *w, char **argv, bool is_broken);

#endif
