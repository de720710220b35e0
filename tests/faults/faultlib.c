/*
 * faultlib - a preloaded library that lets the Nth file operation of a group of processes fail, or ends the process that makes it.
 *
 *   FAULTLIB_FILE  control file, struct control below; shared by all processes that have it, so N counts over all of them
 *   FAULTLIB_HOME  only operations on files below this directory count (not logs, sockets, libraries)
 *
 * Operations that change something or promise something: open with O_CREAT or O_TMPFILE, write, pwrite, pwritev, ftruncate, fsync,
 * fdatasync, rename, linkat, unlink, close of a file. The test writes the control file: what is to happen (mode) at which operation (at), then armed = 1, and
 * reads `fired` and `what` afterwards. A failed write, sync or rename has no effect; a failed close has closed, as in the kernel.
 * MODE_FOR_EVER is a disk that is full and stays full: everything that needs space fails from then on, unlink and close go on.
 * MODE_POISON ends every process that opens the file whose path ends with `what`, as often as one does; with error = 1 it stands still there instead.
 * Not for programs under AddressSanitizer (it wants to be first).
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MODE_FAIL = 1, MODE_KILL = 2, MODE_FOR_EVER = 3, MODE_POISON = 4, WHAT_BYTES = 256 };

struct control { /* written and read by tests/faults/nth, too: struct.pack('<6q') + text */
    int64_t armed, count, at, mode, error, fired;
    char what[WHAT_BYTES];
};

static struct control *control;
static char home[2048];
static size_t home_length;

/* The functions behind ours; looked up at the first call, before main() if need be. */
#define REAL(result, name, ...)                                                                                        \
    static result (*real)(__VA_ARGS__);                                                                                \
    if (!real) {                                                                                                       \
        *(void **)&real = dlsym(RTLD_NEXT, #name);                                                                     \
    }

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("FAULTLIB_FILE");
    const char *below = getenv("FAULTLIB_HOME");
    if (!path || !below || strlen(below) >= sizeof home) {
        return;
    }
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd == -1) {
        return;
    }
    void *memory = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (memory != MAP_FAILED) {
        home_length = strlen(below);
        memcpy(home, below, home_length + 1);
        control = memory; /* last: from here on calls are counted */
    }
}

static void poison(const char *path)
{
    if (control && __atomic_load_n(&control->armed, __ATOMIC_ACQUIRE) && control->mode == MODE_POISON) {
        size_t length = strlen(path);
        size_t end = strnlen(control->what, sizeof control->what);
        if (end > 0 && length >= end && memcmp(path + length - end, control->what, end) == 0) {
            (void)__atomic_add_fetch(&control->fired, 1, __ATOMIC_ACQ_REL);
            while (control->error == 1) {
                (void)pause();
            }
            (void)kill(getpid(), SIGKILL);
        }
    }
}

/* 1: this operation is to fail with errno set. Does not return when the process is to end. */
static int fault(const char *operation, const char *path, int needs_space)
{
    if (!control || !__atomic_load_n(&control->armed, __ATOMIC_ACQUIRE) || control->mode == MODE_POISON || strncmp(path, home, home_length) != 0) {
        return 0;
    }
    int64_t number = __atomic_add_fetch(&control->count, 1, __ATOMIC_ACQ_REL);
    int for_ever = control->mode == MODE_FOR_EVER && number > control->at && needs_space;
    if (number != control->at && !for_ever) {
        return 0;
    }
    if (number == control->at) {
        const char *name = path[home_length] == '/' ? path + home_length + 1 : path + home_length;
        (void)snprintf(control->what, sizeof control->what, "%s %s", operation, name);
        __atomic_store_n(&control->fired, 1, __ATOMIC_RELEASE);
        if (control->mode == MODE_KILL) {
            (void)kill(getpid(), SIGKILL);
        }
        if (control->mode == MODE_FOR_EVER && !needs_space) {
            return 0;
        }
    }
    errno = (int)control->error;
    return 1;
}

static int fault_fd(const char *operation, int fd, int needs_space)
{
    char link[40];
    char path[2304];
    if (!control || !__atomic_load_n(&control->armed, __ATOMIC_ACQUIRE)) {
        return 0;
    }
    int kept = errno;
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    errno = kept;
    if (n <= 0) {
        return 0;
    }
    path[n] = '\0';
    return fault(operation, path, needs_space);
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...)                                                                         \
    {                                                                                                                  \
        REAL(int, name, const char *, int, ...)                                                                        \
        va_list args;                                                                                                  \
        va_start(args, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(args, int) : 0;                                   \
        va_end(args);                                                                                                  \
        poison(path);                                                                                                  \
        return (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) && fault("create", path, 1) ? -1 : real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *bytes, size_t count)
{
    REAL(ssize_t, write, int, const void *, size_t)
    return fault_fd("write", fd, 1) ? -1 : real(fd, bytes, count);
}

#define PWRITE(name)                                                                                                   \
    ssize_t name(int fd, const void *bytes, size_t count, off_t offset)                                                \
    {                                                                                                                  \
        REAL(ssize_t, name, int, const void *, size_t, off_t)                                                          \
        return fault_fd("pwrite", fd, 1) ? -1 : real(fd, bytes, count, offset);                                        \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define PWRITEV(name)                                                                                                  \
    ssize_t name(int fd, const struct iovec *parts, int count, off_t offset)                                           \
    {                                                                                                                  \
        REAL(ssize_t, name, int, const struct iovec *, int, off_t)                                                     \
        return fault_fd("pwritev", fd, 1) ? -1 : real(fd, parts, count, offset);                                       \
    }
PWRITEV(pwritev)
PWRITEV(pwritev64)

#define TRUNCATE(name)                                                                                                 \
    int name(int fd, off_t length)                                                                                     \
    {                                                                                                                  \
        REAL(int, name, int, off_t)                                                                                    \
        return fault_fd("ftruncate", fd, 1) ? -1 : real(fd, length);                                                   \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

int fsync(int fd)
{
    REAL(int, fsync, int)
    return fault_fd("fsync", fd, 1) ? -1 : real(fd);
}

int fdatasync(int fd)
{
    REAL(int, fdatasync, int)
    return fault_fd("fdatasync", fd, 1) ? -1 : real(fd);
}

int rename(const char *from, const char *to)
{
    REAL(int, rename, const char *, const char *)
    return fault("rename", to, 1) ? -1 : real(from, to);
}

int linkat(int from_directory, const char *from, int to_directory, const char *to, int flags)
{
    REAL(int, linkat, int, const char *, int, const char *, int)
    return fault("linkat", to, 1) ? -1 : real(from_directory, from, to_directory, to, flags);
}

int unlink(const char *path)
{
    REAL(int, unlink, const char *)
    return fault("unlink", path, 0) ? -1 : real(path);
}

int close(int fd)
{
    REAL(int, close, int)
    if (fault_fd("close", fd, 0)) {
        int error = errno;
        (void)real(fd);
        errno = error;
        return -1;
    }
    return real(fd);
}
