/*
 * runtime - the small things that every process needs: clock, ids, locks, signals, readiness, backoff.
 */
#ifndef STORESCP_RUNTIME_RUNTIME_H
#define STORESCP_RUNTIME_RUNTIME_H

#include "common/runtime/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

int64_t clock_wall_ms(void); /* since 1970 */
int64_t clock_mono_ms(void); /* for durations */

/* A new id: 26 lower-case letters and digits, 48 bits of time and 80 of chance, sorts by time (ULID). Never repeats. */
void id_new(char out[27]);
/* Exactly 26 characters of the alphabet: safe as a file name, an S3 key part and an SQL value. */
bool id_is_legal(const char *id);

/* The time that an id tells; 0 for what is no id. */
int64_t id_time_ms(const char *id);
/* The lowest id of that millisecond: bounds of a range of ids. Negative counts as 0. */
void id_first_at(int64_t ms, char out[27]);

/* Jittered exponential backoff: a random time in [delay/2, delay], delay = min(base * 2^attempt, ceiling). Pure but for the random
 * number: random is any 32-bit value. */
int64_t backoff_ms(int attempt, int64_t base_ms, int64_t ceiling_ms, uint32_t random);
uint32_t random_u32(void);

/* flock()ed file, O_CLOEXEC, whose content is our pid. lockfile_take never waits: ERR_BUSY. The lock ends with the process. */
int lockfile_take(const char *path, int *fd, struct err *e);
/* True if nobody holds it (a missing file counts as free). *pid: what the file says, 0 if unknown (may be NULL). */
bool lockfile_is_free(const char *path, pid_t *pid);

/* mkdir -p with mode 0700. */
int directory_make(const char *path, struct err *e);
int directory_sync(const char *path, struct err *e);
int write_all(int fd, const void *bytes, size_t count, struct err *e);

/* SIGTERM and SIGINT set the stop flag; SIGPIPE and SIGHUP are ignored. stop_fd() becomes readable then, for poll(). */
int stop_install(struct err *e);
bool stop_requested(void);
int stop_fd(void);

/* From here on SIGHUP asks for new settings; it interrupts waiting. After stop_install(). */
int reload_install(struct err *e);
/* True once after one or more SIGHUP. */
bool reload_taken(void);
/* For a stage whose settings are woven into everything: ends like SIGTERM, and reload_exec() at the end of main starts the same program in
 * this process again; a SIGTERM that comes meanwhile wins. reload_exec() returns when no restart was asked for, or it failed. */
void reload_by_restart(void);
void reload_exec(char **argv);

/* No core dump, and no debugger but root's: this process holds images and perhaps secrets. Nothing with allowed (setting core_dumps). Each program
 * calls it as soon as it knows its settings; exec takes it away. */
void process_shield(bool allowed);

/* Tells systemd, where it asks for it (WatchdogSec), that the main loop turns. Call it every second or two. Nothing without
 * NOTIFY_SOCKET, or when another process is meant. */
void watchdog_tell(void);

/* Tells a supervisor "up and ready": a newline on the descriptor named by STORESCP_READY_FD, which is then closed. Once. */
void ready_tell(void);

#ifdef __cplusplus
}
#endif

#endif
