/*
 * watch - workers that live and do nothing. A worker touches its lock file whenever its main loop turns or it begins a transaction
 * (state_worker_turn); the time of that file is its sign of life, which needs no database. See control.h.
 *
 * One that stops inside a transaction holds state/write.lock, and everybody else waits for it: they look hung, too, and are innocent. So the
 * holder of a lock that is never free goes first, and the others get their whole time again.
 */
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "control/control.h"
#include "control/table.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOCK_LOOKS = 15, LOCK_PAUSE_MS = 20, BEAT_OLD_MS = 120000, QUIET_MS = 10000 /* worth a second look */ };

bool process_is_stopped(pid_t pid)
{
    char path[64];
    char text[512];
    (void)snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd == -1 ? -1 : read(fd, text, sizeof text - 1);
    if (fd != -1) {
        (void)close(fd);
    }
    text[n > 0 ? n : 0] = '\0';
    const char *end = strrchr(text, ')'); /* of the name, which may hold anything */
    return end && (strncmp(end, ") T", 3) == 0 || strncmp(end, ") t", 3) == 0);
}

/* Who holds a lock on the file with this inode, as /proc/locks tells; 0: nobody that can be seen from here. */
static pid_t holder_of(ino_t inode)
{
    char line[256];
    char kind[16];
    char place[64];
    long pid = 0;
    long found = 0;
    FILE *locks = fopen("/proc/locks", "re");
    while (locks && fgets(line, sizeof line, locks)) { /* "1: FLOCK  ADVISORY  WRITE 4573 08:01:1234567 0 EOF" */
        const char *last = NULL;
        if (sscanf(line, "%*d: %15s %*s WRITE %ld %63s", kind, &pid, place) == 3 && strcmp(kind, "FLOCK") == 0 && (last = strrchr(place, ':')) &&
            strtoull(last + 1, NULL, 10) == (unsigned long long)inode) {
            found = pid;
        }
    }
    if (locks) {
        (void)fclose(locks);
    }
    return (pid_t)found;
}

bool write_lock_is_stuck(const char *home, pid_t *pid)
{
    char path[PATH_SIZE];
    struct stat info = {0};
    pid_t first = -1;
    bool stuck = true;
    (void)snprintf(path, sizeof path, "%s/state/write.lock", home);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1 || fstat(fd, &info) == -1) {
        stuck = false;
    }
    for (int i = 0; stuck && i < LOCK_LOOKS; i++) {
        if (flock(fd, LOCK_SH | LOCK_NB) == 0) {
            (void)flock(fd, LOCK_UN);
            stuck = false;
        }
        pid_t now = stuck ? holder_of(info.st_ino) : 0;
        stuck = stuck && (i == 0 || now == first); /* else it goes from hand to hand */
        first = now;
        (void)poll(NULL, 0, stuck ? LOCK_PAUSE_MS : 0);
    }
    if (fd != -1) {
        (void)close(fd);
    }
    *pid = stuck ? first : 0;
    return stuck;
}

/* Notes who has turned since the last look. Returns how many stand still for too long, and the first of them. */
static size_t note_turns(struct watch *w, const struct living *living, size_t count, int64_t now, int64_t limit_ms, size_t *first)
{
    struct watched old[WORKERS_MAX];
    size_t still = 0;
    memcpy(old, w->seen, w->count * sizeof old[0]);
    size_t old_count = w->count;
    for (size_t i = 0; i < count; i++) {
        struct watched *s = &w->seen[i];
        *s = (struct watched){living[i].pid, living[i].turned_ms, now};
        for (size_t k = 0; k < old_count; k++) {
            if (old[k].pid == s->pid && old[k].turned_ms == s->turned_ms) {
                s->since_ms = old[k].since_ms;
            }
        }
        if (now - s->since_ms >= limit_ms && still++ == 0) {
            *first = i;
        }
    }
    w->count = count;
    return still;
}

bool watch_look(struct watch *w, const char *home, int64_t limit_ms, struct hung *out)
{
    static struct living living[WORKERS_MAX];
    const int64_t now = clock_mono_ms();
    size_t count = workers_living(home, living, WORKERS_MAX);
    size_t hung = 0;
    pid_t holder = 0;
    if (note_turns(w, living, count, now, limit_ms, &hung) == 0) {
        return false;
    }
    bool stuck = write_lock_is_stuck(home, &holder);
    bool is_worker = !stuck || holder == 0; /* nobody to be seen: whoever stands still */
    for (size_t i = 0; stuck && i < count; i++) {
        if (living[i].pid == holder) {
            hung = i;
            is_worker = true;
        } else {
            w->seen[i].since_ms = now;
        }
    }
    *out = (struct hung){.pid = is_worker ? living[hung].pid : holder, .is_worker = is_worker, .has_lock = stuck && holder != 0};
    out->quiet_ms = is_worker ? now - w->seen[hung].since_ms : limit_ms;
    w->seen[hung].since_ms = now; /* told once, and again when it takes as long once more */
    return true;
}

/* ---- status ------------------------------------------------------------------------------------------------------------------------- */

static void say(void (*warn)(void *ctx, const char *sentence), void *ctx, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void say(void (*warn)(void *ctx, const char *sentence), void *ctx, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    warn(ctx, text);
}

void hung_warn(const char *home, const struct living *living, size_t count, void (*warn)(void *ctx, const char *sentence), void *ctx)
{
    const int64_t now = clock_wall_ms();
    pid_t holder = 0;
    bool stuck = false;
    for (size_t i = 0; i < count && !stuck; i++) {
        stuck = now - living[i].turned_ms > QUIET_MS && write_lock_is_stuck(home, &holder);
    }
    for (size_t i = 0; i < count; i++) {
        const struct living *w = &living[i];
        int64_t quiet = now - w->turned_ms;
        bool is_ours = process_is_stage(w->pid, w->stage); /* else its number is of another pid namespace: a container's */
        bool is_stopped = is_ours && quiet > QUIET_MS && process_is_stopped(w->pid);
        bool has_lock = stuck && holder == w->pid;
        char age[32];
        char what[64];
        if (!has_lock && !is_stopped && (stuck || quiet <= BEAT_OLD_MS)) {
            continue;
        }
        (void)snprintf(what, sizeof what, "kill -9 %ld", (long)w->pid);
        say(warn, ctx, "%s lives but gave no sign for %s%s%s: %s, it is replaced and loses nothing", w->name, text_age(quiet, age, sizeof age),
            is_stopped ? ", it is stopped (SIGSTOP)" : "", has_lock ? ", and every stage waits for it, because it holds the write lock of state.db" : "",
            is_ours ? what : "restart its container or unit");
        holder = has_lock ? -1 : holder;
    }
    if (stuck && holder > 0) {
        say(warn, ctx, "process %ld, which is no worker, holds the write lock of state.db all the time, and every stage waits for it: end it (kill -9 %ld)",
            (long)holder, (long)holder);
    } else if (stuck && holder == 0) {
        say(warn, ctx, "somebody who cannot be seen from here holds the write lock of state.db all the time, and every stage waits: restart the container that "
                       "does nothing");
    }
}
