/* runtime - see runtime.h. */
#include "common/runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* ---- clock ------------------------------------------------------------------------------------------------------------- */

static int64_t clock_ms(clockid_t which)
{
    struct timespec t;
    (void)clock_gettime(which, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t clock_wall_ms(void)
{
    return clock_ms(CLOCK_REALTIME);
}

int64_t clock_mono_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

/* ---- ids --------------------------------------------------------------------------------------------------------------- */

static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

static void random_bytes(void *out, size_t count)
{
    unsigned char *p = out;
    while (count > 0) {
        ssize_t n = getrandom(p, count, 0);
        if (n == -1 && errno != EINTR) {
            abort(); /* no kernel we run on lets this fail; ids must never repeat */
        }
        if (n > 0) {
            p += n;
            count -= (size_t)n;
        }
    }
}

uint32_t random_u32(void)
{
    uint32_t value;
    random_bytes(&value, sizeof value);
    return value;
}

void id_new(char out[27])
{
    unsigned char chance[10];
    uint64_t now = (uint64_t)clock_wall_ms();
    random_bytes(chance, sizeof chance);
    for (int i = 9; i >= 0; i--, now >>= 5) {
        out[i] = alphabet[now & 31];
    }
    for (int half = 0; half < 2; half++) {
        uint64_t bits = 0;
        for (int i = 0; i < 5; i++) {
            bits = bits << 8 | chance[half * 5 + i];
        }
        for (int i = 7; i >= 0; i--, bits >>= 5) {
            out[10 + half * 8 + i] = alphabet[bits & 31];
        }
    }
    out[26] = '\0';
}

bool id_is_legal(const char *id)
{
    return id && strlen(id) == 26 && strspn(id, alphabet) == 26;
}

int64_t id_time_ms(const char *id)
{
    int64_t ms = 0;
    for (int i = 0; id_is_legal(id) && i < 10; i++) {
        ms = ms << 5 | (int64_t)(strchr(alphabet, id[i]) - alphabet);
    }
    return ms;
}

void id_first_at(int64_t ms, char out[27])
{
    uint64_t now = ms > 0 ? (uint64_t)ms : 0;
    memset(out, alphabet[0], 26);
    out[26] = '\0';
    for (int i = 9; i >= 0; i--, now >>= 5) {
        out[i] = alphabet[now & 31];
    }
}

int64_t backoff_ms(int attempt, int64_t base_ms, int64_t ceiling_ms, uint32_t random)
{
    int64_t delay = base_ms > 0 ? base_ms : 1;
    for (int i = 0; i < attempt && delay < ceiling_ms; i++) {
        delay *= 2;
    }
    if (delay > ceiling_ms) {
        delay = ceiling_ms;
    }
    int64_t half = delay / 2;
    return half + (half > 0 ? (int64_t)(random % (uint64_t)(half + 1)) : 0);
}

/* ---- locks and files --------------------------------------------------------------------------------------------------- */

int lockfile_take(const char *path, int *fd, struct err *e)
{
    for (int tries = 0; tries < 100; tries++) {
        int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (lock == -1) {
            return err_set(e, err_from_errno(errno), errno, "%s", path);
        }
        if (flock(lock, LOCK_EX | LOCK_NB) == -1) {
            int sys = errno;
            (void)close(lock);
            if (sys == EWOULDBLOCK && tries < 20) {
                /* perhaps only a look by lockfile_is_free(): it lasts microseconds */
                struct timespec moment = {0, 2000000};
                (void)nanosleep(&moment, NULL);
                continue;
            }
            return sys == EWOULDBLOCK ? err_set(e, ERR_BUSY, 0, "%s is held by another process", path)
                                      : err_set(e, ERR_IO, sys, "%s", path);
        }
        /* somebody may have unlinked it between open and flock: then our lock protects nothing */
        struct stat ours;
        struct stat there;
        if (fstat(lock, &ours) == 0 && stat(path, &there) == 0 && ours.st_ino == there.st_ino && ours.st_dev == there.st_dev) {
            char text[24];
            int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
            if (ftruncate(lock, 0) == -1 || pwrite(lock, text, (size_t)n, 0) != n) {
                int sys = errno;
                (void)close(lock);
                return err_set(e, err_from_errno(sys), sys, "%s", path);
            }
            *fd = lock;
            return 0;
        }
        (void)close(lock);
    }
    return err_set(e, ERR_BUSY, 0, "%s is created and removed all the time", path);
}

bool lockfile_is_free(const char *path, pid_t *pid)
{
    if (pid) {
        *pid = 0;
    }
    int lock = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (lock == -1) {
        return errno == ENOENT;
    }
    char text[24] = "";
    if (pid && pread(lock, text, sizeof text - 1, 0) > 0) {
        *pid = (pid_t)strtol(text, NULL, 10);
    }
    /* a shared look: two lookers do not mistake each other for the holder */
    bool is_free = flock(lock, LOCK_SH | LOCK_NB) == 0;
    (void)close(lock);
    return is_free;
}

int directory_make(const char *path, struct err *e)
{
    char part[4352];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part) {
        return err_set(e, ERR_ARGUMENT, 0, "a path is longer than 4,351 characters");
    }
    for (char *p = part + 1;; p++) {
        if (*p == '/' || *p == '\0') {
            char kept = *p;
            *p = '\0';
            if (mkdir(part, 0700) == -1 && errno != EEXIST) {
                return err_set(e, err_from_errno(errno), errno, "cannot make the directory %s", part);
            }
            *p = kept;
            if (kept == '\0') {
                return 0;
            }
        }
    }
}

int directory_sync(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd == -1) {
        return err_set(e, err_from_errno(errno), errno, "%s", path);
    }
    int rc = fsync(fd) == -1 ? err_set(e, err_from_errno(errno), errno, "fsync of %s", path) : 0;
    (void)close(fd);
    return rc;
}

int write_all(int fd, const void *bytes, size_t count, struct err *e)
{
    const char *p = bytes;
    while (count > 0) {
        ssize_t n = write(fd, p, count);
        if (n == -1 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return err_set(e, err_from_errno(n == 0 ? ENOSPC : errno), n == 0 ? ENOSPC : errno, "write");
        }
        p += n;
        count -= (size_t)n;
    }
    return 0;
}

/* ---- signals and readiness ------------------------------------------------------------------------------------------------ */

static volatile sig_atomic_t stop_flag;
static volatile sig_atomic_t reload_flag;
static volatile sig_atomic_t restart_flag;
static volatile sig_atomic_t end_flag; /* SIGTERM or SIGINT came: nothing starts anew */
static int stop_pipe[2] = {-1, -1};

static void on_stop(int signal_number)
{
    int kept = errno;
    end_flag = end_flag || signal_number != SIGHUP;
    stop_flag = 1;
    ssize_t n = write(stop_pipe[1], "x", 1);
    (void)n;
    errno = kept;
}

/* how: SIG_BLOCK, SIG_UNBLOCK */
static void hold_stop(int how)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(how, &set, NULL);
}

int stop_install(struct err *e)
{
    if (pipe2(stop_pipe, O_CLOEXEC | O_NONBLOCK) == -1) {
        return err_set(e, ERR_IO, errno, "pipe");
    }
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_stop;
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    action.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
    hold_stop(SIG_UNBLOCK); /* a restart held it back until here */
    return 0;
}

static void on_reload(int signal_number)
{
    (void)signal_number;
    reload_flag = 1;
}

int reload_install(struct err *e)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_reload; /* without SA_RESTART: a wait ends with EINTR */
    return sigaction(SIGHUP, &action, NULL) == -1 ? err_set(e, ERR_IO, errno, "SIGHUP") : 0;
}

bool reload_taken(void)
{
    bool taken = reload_flag != 0;
    reload_flag = 0;
    return taken;
}

void reload_by_restart(void)
{
    on_stop(SIGHUP);
    restart_flag = 1;
}

void reload_exec(char **argv)
{
    hold_stop(SIG_BLOCK); /* what comes from here on waits for the new program's handler: it must not be lost between the two */
    if (restart_flag && !end_flag) {
        (void)signal(SIGHUP, SIG_IGN); /* the new one is not ready for another yet */
        (void)execv("/proc/self/exe", argv);
    }
    hold_stop(SIG_UNBLOCK);
}

bool stop_requested(void)
{
    return stop_flag != 0;
}

int stop_fd(void)
{
    return stop_pipe[0];
}

void process_shield(bool allowed)
{
    struct rlimit limit;
    if (allowed) {
        return;
    }
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* fails for no value that we give */
    if (getrlimit(RLIMIT_CORE, &limit) == 0) {
        limit.rlim_cur = 0;
        (void)setrlimit(RLIMIT_CORE, &limit);
    }
}

void watchdog_tell(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    const char *who = getenv("WATCHDOG_PID");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (!path || !getenv("WATCHDOG_USEC") || (who && strtol(who, NULL, 10) != (long)getpid())) {
        return;
    }
    size_t length = strlen(path);
    int fd = length > 1 && length < sizeof to.sun_path ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
    if (fd == -1) {
        return;
    }
    memcpy(to.sun_path, path, length);
    if (to.sun_path[0] == '@') { /* an abstract name */
        to.sun_path[0] = '\0';
    }
    (void)sendto(fd, "WATCHDOG=1", 10, MSG_NOSIGNAL, (const struct sockaddr *)&to, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
    (void)close(fd);
}

void ready_tell(void)
{
    const char *text = getenv("STORESCP_READY_FD");
    if (!text) {
        return;
    }
    int fd = (int)strtol(text, NULL, 10);
    (void)unsetenv("STORESCP_READY_FD");
    if (fd > 2) {
        ssize_t n = write(fd, "\n", 1);
        (void)n;
        (void)close(fd);
    }
}
