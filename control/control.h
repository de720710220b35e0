/*
 * control - what the commands of storescpctl share: the request, the stages, the living workers, the counts of processes.
 *
 * Exit codes of every command: 0 done, 1 a problem was found or nothing was found, 2 the command line is wrong.
 * Answers go to standard output, problems to standard error.
 */
#ifndef STORESCP_CONTROL_CONTROL_H
#define STORESCP_CONTROL_CONTROL_H

#include "common/runtime/config.h"
#include "common/state/state.h"

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

enum { EXIT_FINE = 0, EXIT_PROBLEM = 1, EXIT_USAGE = 2 };
enum { PATH_SIZE = 4352, PROCESSES_MAX = 64, WORKERS_MAX = 512 };

/* What a command takes; struct request has the values. */
enum {
    OPT_JSON = 1, OPT_LIMIT = 2, OPT_ACCEPT = 4, OPT_COUNTS = 8, OPT_SPOOL_ONLY = 16, OPT_REASON = 32, OPT_NAME_ONLY = 64, OPT_JOB = 128,
    OPT_POLICY = 256, OPT_DESTINATION = 512, OPT_STUDY = 1024, OPT_FILTER = 2048, OPT_HEADER = 4096, OPT_EDIT = 8192, OPT_ALL_OF = 16384,
    OPT_DRY_RUN = 32768, OPT_SHORT = 65536,
    OPT_QUARANTINE = OPT_JSON | OPT_LIMIT | OPT_REASON | OPT_STUDY | OPT_FILTER | OPT_HEADER | OPT_EDIT | OPT_ALL_OF | OPT_DRY_RUN
};

/* The command line, taken apart. */
enum { EDITS_MAX = 32 };
struct edit_words { /* --set 0010,0020=VALUE */
    const char *verb, *text;
};
struct request {
    struct config *config; /* always there; may have problems */
    const char *home;
    bool config_is_bad;
    bool json, accept, spool_only, name_only, job, policy, header, dry_run, is_short;
    int used; /* OPT_... that were given */
    const char *study, *ae, *code, *since, *all_of; /* or NULL */
    struct edit_words edits[EDITS_MAX];
    int edit_count;
    const char *destination; /* or NULL */
    const char *reason;      /* or NULL */
    long long limit;         /* 0: not given */
    int counts[STAGE_COUNT]; /* --receivers N ...; -1: not given */
    const char *args[3];
    int arg_count;
};

int command_up(struct request *q);
int command_scale(struct request *q);
int command_reload(struct request *q);
int command_config(struct request *q);
int command_doctor(struct request *q);
int command_status(struct request *q);
int command_studies(struct request *q);
int command_stuck(struct request *q);
int command_commitments(struct request *q);
int command_events(struct request *q);
int command_show(struct request *q);
int command_why(struct request *q);
int command_retry(struct request *q);
int command_hold(struct request *q);
int command_move(struct request *q);
int command_release(struct request *q);
int command_drop(struct request *q);
int command_close(struct request *q);
int command_rebuild(struct request *q);
int command_quarantine(struct request *q);
/* Its parts that have a file of their own. */
int quarantine_show(struct request *q);
int quarantine_fix(struct request *q);
int quarantine_rules(struct request *q);
/* Calls one() for each quarantined instance that the command means: args[1] or --study; moves its file back to obj/ before, if wanted. *count: how often
 * one() said that it did something. */
int quarantine_each(struct request *q, struct state *s, int (*one)(void *ctx, struct state *s, const char *id, const char *code, bool *did, struct err *e),
                    void *ctx, long long *count, struct err *e);
int command_user(struct request *q);

/* Says what is wrong with the lists of SOP classes, transfer syntaxes, AE titles and users. */
void lists_look_at(const struct request *q, void (*say)(void *ctx, bool serious, const char *sentence), void *ctx);

/* Prints "storescpctl: sentence" on standard error; returns EXIT_PROBLEM. */
int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Tells what is wrong (serious) or should be seen to with the files of tls_certificate, tls_key, tls_ca and tls_crl; nothing without tls_port.
 * False if a receiver could not use them. */
typedef void (*certificates_say)(void *ctx, bool serious, const char *sentence);
bool certificates_look_at(const struct config *config, certificates_say say, void *ctx);

/* 0 if the receivers of this home have scp_port and tls_port or could have them alone, else an error that says what to do. */
int ports_look_at(const struct config *config, const char *home, struct err *e);

/* "receiver", "receivers" ... -> stage, -1 if it is none. */
int stage_parse(const char *word);

/* A worker whose lock state/workers/<name>.lock is held: it lives. */
struct living {
    char name[STATE_WORKER_SIZE];
    enum state_stage stage;
    pid_t pid;
    int64_t turned_ms; /* wall clock: when its main loop turned last */
};
/* Fills out with up to limit living workers sorted by name; returns the count. A missing directory has none. */
size_t workers_living(const char *home, struct living *out, size_t limit);
/* A number in a lock file is only a hint: is that process a program of this stage? Guards against foreign pid namespaces. */
bool process_is_stage(pid_t pid, enum state_stage stage);
/* Is it stopped by SIGSTOP, SIGTSTP or a debugger? */
bool process_is_stopped(pid_t pid);
/* Is state/write.lock in one hand all the time (a third of a second long)? *pid: whose, 0 if that cannot be seen from here (another container). */
bool write_lock_is_stuck(const char *home, pid_t *pid);

/* Looks for a worker whose main loop has stood still for limit_ms, by this process's own clock: call it every few seconds with the same struct, zeroed at
 * first. True: out names who should be ended, at most one at a time: whoever holds the write lock that all others wait for, else one that stands still. */
struct watched {
    pid_t pid;
    int64_t turned_ms, since_ms;
};
struct watch {
    struct watched seen[WORKERS_MAX];
    size_t count;
};
struct hung {
    pid_t pid;
    bool is_worker; /* else: some other program that holds the write lock */
    bool has_lock;
    int64_t quiet_ms;
};
bool watch_look(struct watch *w, const char *home, int64_t limit_ms, struct hung *out);
/* The same for `status`, which looks once: sentences about those who stand still, and about whoever makes all others wait. */
void hung_warn(const char *home, const struct living *living, size_t count, void (*warn)(void *ctx, const char *sentence), void *ctx);

/* True while the lock of that worker is held. */
bool worker_is_living(const char *home, const char *name);
/* True if `up` runs on this home. */
bool supervisor_is_living(const char *home);

/* True between a rebuild that was cut off and the one that ends. */
bool rebuild_is_unfinished(const char *home);

/* state_open_readonly(), or a sentence that says which home has no database. */
int open_for_reading(struct state **state, const char *home, struct err *e);
/* The database, for writing, in the name of the person who called; an installation that is not there is not made. */
int open_for_person(struct state **state, const struct request *q, struct err *e);
/* `retry BATCH --job`: the import job of a batch that does not end is given up. Returns an exit code. */
int give_up_job(struct request *q);
/* The conflicts of a study with both values, and what of an instance is not as in the first of its study: sentences on standard output. */
int conflicts_say(struct state *s, const char *study, struct err *e);
int conflicts_say_instance(struct state *s, const char *id, struct err *e);
/* What a person should know of import jobs that do not end, as sentences. */
void jobs_warn(struct state *s, void (*warn)(void *ctx, const char *sentence), void *ctx);

/* Takes the next part of a worker's status "waiting: [destination] why; [destination] why" and moves *at behind it; false when there is none. */
bool waiting_part(const char **at, char *destination, size_t destination_size, char *why, size_t why_size);
/* What to do about such a why, "CODE: ...". */
const char *waiting_remedy(const char *why);

/* "To do: " and the remedy of an instance, its id in the place of the word ID. Fills buffer and returns it. */
const char *remedy_for(const char *remedy, const char *id, char *buffer, size_t size);

/* What a person should know of storage commitments, as sentences. */
void commitments_warn(struct state *s, void (*warn)(void *ctx, const char *sentence), void *ctx);
/* Prints a line for each of the last requests that asked about an instance. */
int commitments_say(struct state *s, const char *sop_instance_uid, struct err *e);

/* The same of those who are told of studies and jobs. */
void events_warn(struct state *s, void (*warn)(void *ctx, const char *sentence), void *ctx);

/* Files below run/ with lines `stage=N`. Writing replaces the file as one step; a count of -1 writes no line. Reading leaves
 * counts that have no line untouched; false if the file is not there. */
int counts_write(const char *home, const char *file, const int counts[STAGE_COUNT], struct err *e);
bool counts_read(const char *home, const char *file, int counts[STAGE_COUNT]);
#define COUNTS_SCALE "scale"   /* what `scale` asked for */
#define COUNTS_WANTED "wanted" /* what the supervisor works for now */

#endif
