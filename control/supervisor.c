/*
 * supervisor - `up`: starts the stages, watches them, replaces the dead, follows `scale`, drains on SIGTERM.
 *
 * Its death harms nobody: the stages are in process groups of their own, know nothing of it but a readiness pipe, and the next
 * `up` finds the living ones by their locks in state/workers/ and adopts them. An adopted process is not our child: it is watched
 * through its lock and, like a child, gets SIGTERM when it is too many. One supervisor for a home: run/supervisor.lock.
 * A stage that dies is started again after 0.2 s, doubled up to 10 s while it dies within 5 s of its start; exit code 78 says that
 * a person must change a setting: 10 s. One that lives and does nothing for watchdog_s is killed (watch.c).
 */
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "common/spool/spool.h"
#include "control/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SLOTS = 2 * PROCESSES_MAX, /* draining ones stand beside their successors */
    TICK_MS = 50,
    TICK_CALM_MS = 200, /* when nobody waits for `ready` */
    SCALE_LOOK_MS = 300,
    WATCH_LOOK_MS = 2000,
    ADOPTED_LOOK_MS = 500,
    ADOPTION_MS = 30000, /* a process that had not registered when its supervisor died shows up within this time */
    DELAY_FIRST_MS = 200,
    DELAY_LAST_MS = 10000,
    QUICK_DEATH_MS = 5000,
    KILL_GRACE_MS = 5000,
    READY_FD = 3,
    EXIT_CONFIGURATION = 78
};

struct process {
    pid_t pid;
    bool adopted, ready, stopping, killed;
    char name[STATE_WORKER_SIZE]; /* adopted only */
    int ready_fd;                 /* -1: none */
    int64_t started_ms, stop_ms;
};

struct stage {
    enum state_stage which;
    int wanted;
    struct process slots[SLOTS];
    int count;
    int64_t delay_ms, next_start_ms;
};

struct supervisor {
    const char *home;
    char programs[PATH_SIZE]; /* the directory of our own program */
    struct stage stages[STAGE_COUNT];
    int64_t drain_ms, began_ms, next_scale_ms, next_adopted_ms, next_watch_ms, watchdog_ms;
    struct watch watch;
    unsigned long long began_ticks; /* our own start in /proc's clock */
    struct timespec scale_mtime;
    ino_t scale_inode;
    bool told_ready;
};

static const char *stage_name(const struct stage *g)
{
    return state_stage_name(g->which);
}

static int program_path(const struct supervisor *s, const struct stage *g, char *path, size_t size)
{
    return snprintf(path, size, "%s/storescp-%s", s->programs, stage_name(g)) < (int)size ? 0 : ERR_ARGUMENT;
}

/* Field 22 of /proc/<pid>/stat: when the process began; 0 if it is gone. */
static unsigned long long process_began(pid_t pid)
{
    char path[64];
    char text[1024];
    (void)snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd == -1 ? -1 : read(fd, text, sizeof text - 1);
    if (fd != -1) {
        (void)close(fd);
    }
    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    char *p = strrchr(text, ')'); /* the name before it may hold anything */
    for (int field = 2; p && field < 22; field++) {
        p = strchr(p + 1, ' ');
    }
    return p ? strtoull(p + 1, NULL, 10) : 0;
}

/* ---- processes --------------------------------------------------------------------------------------------------------- */

static int start(struct supervisor *s, struct stage *g)
{
    char path[PATH_SIZE];
    char *argv[] = {path, NULL};
    int ends[2];
    pid_t pid = -1;
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t usual;
    if (program_path(s, g, path, sizeof path) != 0 || pipe2(ends, O_CLOEXEC) == -1) {
        return ERR_IO;
    }
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    (void)sigemptyset(&none);
    (void)sigemptyset(&usual);
    (void)sigaddset(&usual, SIGTERM);
    (void)sigaddset(&usual, SIGINT);
    (void)sigaddset(&usual, SIGPIPE);
    (void)posix_spawn_file_actions_init(&files);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_adddup2(&files, 2, 1); /* our standard output is for `ready` alone */
    (void)posix_spawn_file_actions_adddup2(&files, ends[1], READY_FD);
    /* a group of its own: Ctrl-C reaches us, and we say SIGTERM once */
    (void)posix_spawnattr_setpgroup(&attributes, 0);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &usual);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int sys = posix_spawn(&pid, path, &files, &attributes, argv, environ);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&files);
    (void)close(ends[1]);
    if (sys != 0) {
        char reason[96];
        (void)close(ends[0]);
        log_error("stage_not_started", "stage=%s program=%s reason=\"%s\"", stage_name(g), path,
                  strerror_r(sys, reason, sizeof reason));
        return ERR_IO;
    }
    struct process *p = &g->slots[g->count++];
    memset(p, 0, sizeof *p);
    p->pid = pid;
    p->ready_fd = ends[0];
    p->started_ms = clock_mono_ms();
    log_info("stage_started", "stage=%s pid=%ld", stage_name(g), (long)pid);
    return 0;
}

static void forget(struct stage *g, int at)
{
    if (g->slots[at].ready_fd != -1) {
        (void)close(g->slots[at].ready_fd);
    }
    g->count--;
    for (int i = at; i < g->count; i++) {
        g->slots[i] = g->slots[i + 1];
    }
}

static void look_ready(const struct stage *g, struct process *p)
{
    char byte;
    ssize_t n = p->ready_fd == -1 ? -1 : read(p->ready_fd, &byte, 1);
    if (n == 1) {
        p->ready = true;
        log_info("stage_ready", "stage=%s pid=%ld ms=%lld", stage_name(g), (long)p->pid,
                 (long long)(clock_mono_ms() - p->started_ms));
    }
    if (n >= 0) {
        (void)close(p->ready_fd);
        p->ready_fd = -1;
    }
}

static void signal_one(const struct supervisor *s, const struct stage *g, const struct process *p, int signal_number)
{
    /* an adopted number is only used while its lock is held: nobody else can have it then */
    if (!p->adopted || (worker_is_living(s->home, p->name) && process_is_stage(p->pid, g->which))) {
        (void)kill(p->pid, signal_number);
    }
}

static void stop_one(const struct supervisor *s, const struct stage *g, struct process *p)
{
    p->stopping = true;
    p->stop_ms = clock_mono_ms();
    log_info("stage_draining", "stage=%s pid=%ld", stage_name(g), (long)p->pid);
    signal_one(s, g, p, SIGTERM);
}

/* What the death of a process means for the next start. status: of waitpid, -1 for an adopted one. */
static void buried(struct stage *g, const struct process *p, int status)
{
    int64_t now = clock_mono_ms();
    if (p->stopping) {
        log_info("stage_ended", "stage=%s pid=%ld drained_ms=%lld", stage_name(g), (long)p->pid, (long long)(now - p->stop_ms));
        return;
    }
    bool is_configuration = status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_CONFIGURATION;
    if (is_configuration) {
        g->delay_ms = DELAY_LAST_MS;
    } else if (status == -1 || now - p->started_ms >= QUICK_DEATH_MS || g->delay_ms == 0) {
        g->delay_ms = DELAY_FIRST_MS;
    } else {
        g->delay_ms = g->delay_ms * 2 < DELAY_LAST_MS ? g->delay_ms * 2 : DELAY_LAST_MS;
    }
    g->next_start_ms = now + g->delay_ms;
    if (is_configuration) {
        log_error("stage_misconfigured", "stage=%s pid=%ld restart_ms=%lld remedy=\"its line above names the setting; see also "
                  "storescpctl config\"", stage_name(g), (long)p->pid, (long long)g->delay_ms);
    } else {
        log_warning("stage_died", "stage=%s pid=%ld %s=%d restart_ms=%lld", stage_name(g), (long)p->pid,
                    status == -1 ? "adopted" : WIFSIGNALED(status) ? "signal" : "exit",
                    status == -1 ? 1 : WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), (long long)g->delay_ms);
    }
}

/* Has an adopted process ended? After `reload` it is the same process with a new worker's name. */
static bool adopted_is_dead(const struct supervisor *s, const struct stage *g, struct process *p)
{
    static struct living found[WORKERS_MAX];
    if (worker_is_living(s->home, p->name)) {
        return false;
    }
    size_t count = workers_living(s->home, found, WORKERS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (found[i].pid == p->pid && found[i].stage == g->which) {
            memcpy(p->name, found[i].name, sizeof p->name);
            return false;
        }
    }
    return !process_is_stage(p->pid, g->which); /* it may be between the two names */
}

/* Looks after every process of a stage: readiness, death, a drain that takes too long. */
static void look_after(struct supervisor *s, struct stage *g, bool look_at_adopted)
{
    int64_t now = clock_mono_ms();
    for (int i = 0; i < g->count; i++) {
        struct process *p = &g->slots[i];
        int status = -1;
        look_ready(g, p);
        bool is_dead = p->adopted ? look_at_adopted && adopted_is_dead(s, g, p) : waitpid(p->pid, &status, WNOHANG) == p->pid;
        if (is_dead) {
            buried(g, p, status);
            forget(g, i--);
        } else if (p->stopping && !p->killed && now - p->stop_ms > s->drain_ms + KILL_GRACE_MS) {
            log_warning("stage_killed", "stage=%s pid=%ld reason=\"it did not end within drain_s; its work goes to others\"",
                        stage_name(g), (long)p->pid);
            signal_one(s, g, p, SIGKILL);
            p->killed = true;
        }
    }
}

/* Starts what is missing, drains what is too many: the newest first. */
static void match_wanted(struct supervisor *s, struct stage *g)
{
    int working = 0;
    int newest = -1;
    for (int i = 0; i < g->count; i++) {
        if (!g->slots[i].stopping) {
            working++;
            newest = i; /* slots stand in the order of their start */
        }
    }
    if (working > g->wanted) {
        stop_one(s, g, &g->slots[newest]);
    } else if (working < g->wanted && g->count < SLOTS && clock_mono_ms() >= g->next_start_ms && start(s, g) != 0) {
        g->next_start_ms = clock_mono_ms() + DELAY_LAST_MS;
    }
}

/* Ends a process that lives and does nothing; look_after() starts another. One that others wait for is not ours to end if we have not started it. */
static void watch_over(struct supervisor *s)
{
    struct hung h;
    if (!watch_look(&s->watch, s->home, s->watchdog_ms, &h)) {
        return;
    }
    for (int i = 0; i < STAGE_COUNT; i++) {
        for (int k = 0; k < s->stages[i].count; k++) {
            if (s->stages[i].slots[k].pid == h.pid) {
                log_error("stage_hung", "stage=%s pid=%ld quiet_s=%lld stopped=%d holds_write_lock=%d effect=\"it is killed and replaced, its work goes to others\"",
                          stage_name(&s->stages[i]), (long)h.pid, (long long)(h.quiet_ms / 1000), process_is_stopped(h.pid), h.has_lock);
                signal_one(s, &s->stages[i], &s->stages[i].slots[k], SIGKILL);
                return;
            }
        }
    }
    log_error("process_hung", "pid=%ld stopped=%d holds_write_lock=%d effect=\"%s\" remedy=\"it was not started here: end it (kill -9)\"", (long)h.pid,
              process_is_stopped(h.pid), h.has_lock, h.has_lock ? "every stage waits for it" : "it does nothing");
}

/* ---- adoption, scaling --------------------------------------------------------------------------------------------------- */

/* Takes over processes that an earlier supervisor started; those that began after us belong to somebody else. */
static int adopt(struct supervisor *s)
{
    static struct living found[WORKERS_MAX];
    size_t count = workers_living(s->home, found, WORKERS_MAX);
    int adopted = 0;
    for (size_t i = 0; i < count; i++) {
        struct stage *g = &s->stages[found[i].stage];
        bool is_known = false;
        for (int k = 0; k < g->count; k++) {
            is_known = is_known || g->slots[k].pid == found[i].pid;
        }
        unsigned long long began = process_began(found[i].pid);
        if (is_known || g->count == SLOTS || began == 0 || began > s->began_ticks || !process_is_stage(found[i].pid, g->which)) {
            continue;
        }
        memmove(&g->slots[1], &g->slots[0], (size_t)g->count * sizeof g->slots[0]); /* older than our own children */
        g->count++;
        struct process *p = &g->slots[0];
        memset(p, 0, sizeof *p);
        p->pid = found[i].pid;
        p->adopted = p->ready = true;
        p->ready_fd = -1;
        p->started_ms = s->began_ms;
        memcpy(p->name, found[i].name, sizeof p->name);
        log_info("stage_adopted", "stage=%s pid=%ld worker=%s", stage_name(g), (long)p->pid, p->name);
        adopted++;
    }
    return adopted;
}

static void tell_wanted(const struct supervisor *s)
{
    int counts[STAGE_COUNT];
    struct err e = {0};
    for (int i = 0; i < STAGE_COUNT; i++) {
        counts[i] = s->stages[i].wanted;
    }
    if (counts_write(s->home, COUNTS_WANTED, counts, &e) != 0) {
        log_warning("wanted_not_written", "reason=\"%s\"", e.text); /* only `status` misses it */
    }
}

static void follow_scale(struct supervisor *s)
{
    char path[PATH_SIZE];
    struct stat there;
    int counts[STAGE_COUNT] = {-1, -1, -1, -1};
    (void)snprintf(path, sizeof path, "%s/run/" COUNTS_SCALE, s->home);
    if (stat(path, &there) == -1 || (there.st_ino == s->scale_inode && there.st_mtim.tv_sec == s->scale_mtime.tv_sec &&
                                     there.st_mtim.tv_nsec == s->scale_mtime.tv_nsec)) {
        return;
    }
    s->scale_inode = there.st_ino;
    s->scale_mtime = there.st_mtim;
    if (!counts_read(s->home, COUNTS_SCALE, counts)) {
        return;
    }
    for (int i = 0; i < STAGE_COUNT; i++) {
        struct stage *g = &s->stages[i];
        if (counts[i] >= 0 && counts[i] != g->wanted) {
            log_info("stage_scaled", "stage=%s from=%d to=%d", stage_name(g), g->wanted, counts[i]);
            g->wanted = counts[i];
        }
    }
    tell_wanted(s);
}

static void look_all_ready(struct supervisor *s)
{
    for (int i = 0; i < STAGE_COUNT; i++) {
        int ready = 0;
        for (int k = 0; k < s->stages[i].count; k++) {
            ready += s->stages[i].slots[k].ready && !s->stages[i].slots[k].stopping;
        }
        if (ready < s->stages[i].wanted) {
            return;
        }
    }
    s->told_ready = true;
    (void)puts("ready");
    (void)fflush(stdout);
}

/* ---- the life of `up` ------------------------------------------------------------------------------------------------------ */

static void watch(struct supervisor *s)
{
    while (!stop_requested()) {
        struct pollfd stop = {.fd = stop_fd(), .events = POLLIN};
        int64_t now = clock_mono_ms();
        bool look_at_adopted = now >= s->next_adopted_ms;
        if (now >= s->next_scale_ms) {
            follow_scale(s);
            s->next_scale_ms = now + SCALE_LOOK_MS;
        }
        if (look_at_adopted) {
            if (now - s->began_ms < ADOPTION_MS) {
                (void)adopt(s);
            }
            s->next_adopted_ms = now + ADOPTED_LOOK_MS;
        }
        if (s->watchdog_ms > 0 && now >= s->next_watch_ms) {
            watch_over(s);
        }
        if (now >= s->next_watch_ms) {
            s->next_watch_ms = now + WATCH_LOOK_MS;
            watchdog_tell();
        }
        for (int i = 0; i < STAGE_COUNT; i++) {
            look_after(s, &s->stages[i], look_at_adopted);
            match_wanted(s, &s->stages[i]);
        }
        if (!s->told_ready) {
            look_all_ready(s);
        }
        (void)poll(&stop, 1, s->told_ready ? TICK_CALM_MS : TICK_MS);
    }
}

static void drain_all(struct supervisor *s)
{
    int left = 1;
    int64_t deadline = clock_mono_ms() + s->drain_ms + 2 * KILL_GRACE_MS;
    (void)adopt(s); /* one that registered a moment ago */
    for (int i = 0; i < STAGE_COUNT; i++) {
        for (int k = 0; k < s->stages[i].count; k++) {
            if (!s->stages[i].slots[k].stopping) {
                stop_one(s, &s->stages[i], &s->stages[i].slots[k]);
            }
        }
    }
    while (left > 0 && clock_mono_ms() < deadline) {
        left = 0;
        for (int i = 0; i < STAGE_COUNT; i++) {
            look_after(s, &s->stages[i], true);
            left += s->stages[i].count;
        }
        if (left > 0) {
            (void)poll(NULL, 0, TICK_MS);
        }
    }
    log_info("stopped", "left=%d", left);
}

/* Directories, the one lock, the database, the counts. 0 or an error code. */
static int prepare(struct supervisor *s, const struct request *q, int *lock, struct err *e)
{
    static const enum config_key keys[STAGE_COUNT] = {CFG_RECEIVERS, CFG_VALIDATORS, CFG_UPLOADERS, CFG_IMPORTERS};
    static char home[PATH_SIZE]; /* lives as long as the process */
    char path[PATH_SIZE + 64];
    int rc = directory_make(q->home, e);
    char *absolute = rc == 0 ? realpath(q->home, NULL) : NULL;
    if (rc != 0 || !absolute || snprintf(home, sizeof home, "%s", absolute) >= (int)sizeof home - 128) {
        free(absolute);
        return rc != 0 ? rc : err_set(e, ERR_ARGUMENT, 0, "the path of the home directory cannot be used");
    }
    free(absolute);
    s->home = home;
    static const char *const directories[] = {"run", "state", "state/workers"};
    for (size_t i = 0; rc == 0 && i < sizeof directories / sizeof directories[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", home, directories[i]);
        rc = directory_make(path, e);
    }
    rc = rc == 0 ? spool_prepare(home, e) : rc;
    (void)snprintf(path, sizeof path, "%s/run/supervisor.lock", home);
    rc = rc == 0 ? lockfile_take(path, lock, e) : rc;
    if (rc == ERR_BUSY) {
        pid_t pid = 0;
        (void)lockfile_is_free(path, &pid);
        return err_set(e, ERR_BUSY, 0, "another `storescpctl up` runs on %s already (process %ld)", home, (long)pid);
    }
    if (rc == 0 && rebuild_is_unfinished(home)) {
        rc = err_set(e, ERR_CONFIG, 0, "a rebuild of the database was cut off: run `storescpctl rebuild` again");
    }
    if (rc != 0) {
        return rc;
    }
    ssize_t n = readlink("/proc/self/exe", s->programs, sizeof s->programs - 1);
    char *slash = n > 0 ? strrchr(s->programs, '/') : NULL;
    if (!slash) {
        return err_set(e, ERR_IO, errno, "/proc/self/exe");
    }
    *slash = '\0';
    for (int i = 0; i < STAGE_COUNT; i++) {
        struct stage *g = &s->stages[i];
        g->which = (enum state_stage)i;
        g->wanted = q->counts[i] >= 0 ? q->counts[i] : (int)config_int(q->config, keys[i]);
        if (g->wanted > 0 && (program_path(s, g, path, sizeof path) != 0 || access(path, X_OK) == -1)) {
            return err_set(e, ERR_NOT_FOUND, errno, "%s: the program of the stage is not beside storescpctl", path);
        }
    }
    rc = s->stages[STAGE_RECEIVER].wanted > 0 ? ports_look_at(q->config, home, e) : 0;
    if (rc != 0) {
        return rc;
    }
    struct state *state = NULL; /* creates and migrates once, before many stages want to */
    rc = state_open(&state, home, e);
    state_close(&state);
    return rc;
}

int command_up(struct request *q)
{
    static struct supervisor s; /* large, one */
    struct err e = {0};
    int lock = -1;
    char path[PATH_SIZE + 64];
    enum log_level level = LOG_LEVEL_INFO;
    for (size_t i = 0; config_problem(q->config, i); i++) {
        (void)complain("%s", config_problem(q->config, i));
    }
    if (q->config_is_bad) {
        return complain("not started: the settings above are wrong");
    }
    (void)log_level_parse(config_text(q->config, CFG_LOG_LEVEL), &level);
    log_init("supervisor", level);
    (void)umask(077);
    if (stop_install(&e) != 0 || prepare(&s, q, &lock, &e) != 0) {
        return complain("not started: %s", e.text);
    }
    char number[16];
    (void)snprintf(number, sizeof number, "%d", READY_FD);
    if (setenv("STORESCP_HOME", s.home, 1) == -1 || setenv("STORESCP_READY_FD", number, 1) == -1) {
        return complain("not started: out of memory");
    }
    s.drain_ms = config_int(q->config, CFG_DRAIN_S) * 1000;
    s.watchdog_ms = config_int(q->config, CFG_WATCHDOG_S) * 1000;
    s.began_ms = clock_mono_ms();
    s.began_ticks = process_began(getpid());
    if (adopt(&s) == 0) {
        (void)snprintf(path, sizeof path, "%s/run/" COUNTS_SCALE, s.home);
        (void)unlink(path); /* a fresh start follows the settings */
    }
    tell_wanted(&s);
    watch(&s);
    drain_all(&s);
    (void)snprintf(path, sizeof path, "%s/run/" COUNTS_SCALE, s.home);
    (void)unlink(path);
    (void)snprintf(path, sizeof path, "%s/run/" COUNTS_WANTED, s.home);
    (void)unlink(path);
    (void)close(lock);
    return EXIT_FINE;
}
