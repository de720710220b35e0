/* stages - names, living workers, files of counts; see control.h. */
#include "common/runtime/runtime.h"
#include "control/control.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

int complain(const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)fprintf(stderr, "storescpctl: %s\n", text);
    return EXIT_PROBLEM;
}

int stage_parse(const char *word)
{
    for (int i = 0; i < STAGE_COUNT; i++) {
        const char *name = state_stage_name((enum state_stage)i);
        size_t n = strlen(name);
        if (strncmp(word, name, n) == 0 && (word[n] == '\0' || strcmp(word + n, "s") == 0)) {
            return i;
        }
    }
    return -1;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct living *)a)->name, ((const struct living *)b)->name);
}

size_t workers_living(const char *home, struct living *out, size_t limit)
{
    char path[PATH_SIZE];
    (void)snprintf(path, sizeof path, "%s/state/workers", home);
    DIR *directory = opendir(path);
    size_t count = 0;
    struct dirent *entry;
    while (directory && count < limit && (entry = readdir(directory))) {
        struct living *w = &out[count];
        const char *dash = strchr(entry->d_name, '-');
        size_t length = strlen(entry->d_name);
        if (!dash || length < 6 || length - 5 >= sizeof w->name || strcmp(entry->d_name + length - 5, ".lock") != 0) {
            continue;
        }
        char stage[24];
        (void)snprintf(stage, sizeof stage, "%.*s", (int)(dash - entry->d_name), entry->d_name);
        int known = stage_parse(stage);
        char file[PATH_SIZE];
        if (known < 0 || snprintf(file, sizeof file, "%s/state/workers/%s", home, entry->d_name) >= (int)sizeof file) {
            continue;
        }
        if (!lockfile_is_free(file, &w->pid)) {
            struct stat info;
            w->turned_ms = stat(file, &info) == 0 ? (int64_t)info.st_mtim.tv_sec * 1000 + info.st_mtim.tv_nsec / 1000000 : 0;
            w->stage = (enum state_stage)known;
            (void)snprintf(w->name, sizeof w->name, "%.*s", (int)(length - 5), entry->d_name);
            count++;
        }
    }
    if (directory) {
        (void)closedir(directory);
    }
    qsort(out, count, sizeof *out, by_name);
    return count;
}

bool process_is_stage(pid_t pid, enum state_stage stage)
{
    char link[64];
    char target[PATH_SIZE];
    char wanted[64];
    (void)snprintf(link, sizeof link, "/proc/%ld/exe", (long)pid);
    ssize_t n = readlink(link, target, sizeof target - 1);
    if (n == -1 && errno == EACCES) { /* a shielded process shows this to root alone; its command line stays to be seen */
        (void)snprintf(link, sizeof link, "/proc/%ld/cmdline", (long)pid);
        int fd = open(link, O_RDONLY | O_CLOEXEC);
        n = fd == -1 ? -1 : read(fd, target, sizeof target - 1);
        if (fd != -1) {
            (void)close(fd);
        }
    }
    if (n <= 0) {
        return false;
    }
    target[n] = '\0';
    const char *base = strrchr(target, '/'); /* of the first word, where several stand there */
    base = base ? base + 1 : target;
    int length = snprintf(wanted, sizeof wanted, "storescp-%s", state_stage_name(stage));
    /* after an upgrade the old program reads "... (deleted)" */
    return strncmp(base, wanted, (size_t)length) == 0 && (base[length] == '\0' || base[length] == ' ');
}

bool worker_is_living(const char *home, const char *name)
{
    char path[PATH_SIZE];
    int n = snprintf(path, sizeof path, "%s/state/workers/%s.lock", home, name);
    return n < (int)sizeof path && !lockfile_is_free(path, NULL);
}

bool supervisor_is_living(const char *home)
{
    char path[PATH_SIZE];
    int n = snprintf(path, sizeof path, "%s/run/supervisor.lock", home);
    return n < (int)sizeof path && !lockfile_is_free(path, NULL);
}

bool rebuild_is_unfinished(const char *home)
{
    char path[PATH_SIZE];
    int n = snprintf(path, sizeof path, "%s/state/rebuild.unfinished", home);
    return n < (int)sizeof path && access(path, F_OK) == 0;
}

int counts_write(const char *home, const char *file, const int counts[STAGE_COUNT], struct err *e)
{
    char path[PATH_SIZE];
    char temporary[PATH_SIZE];
    char text[256];
    size_t used = 0;
    for (int i = 0; i < STAGE_COUNT; i++) {
        if (counts[i] >= 0) {
            used += (size_t)snprintf(text + used, sizeof text - used, "%s=%d\n", state_stage_name((enum state_stage)i), counts[i]);
        }
    }
    if (snprintf(path, sizeof path, "%s/run/%s", home, file) >= (int)sizeof path ||
        snprintf(temporary, sizeof temporary, "%s/run/%s.%ld", home, file, (long)getpid()) >= (int)sizeof temporary) {
        return err_set(e, ERR_ARGUMENT, 0, "the path of the home directory is too long");
    }
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd == -1) {
        return err_set(e, err_from_errno(errno), errno, "%s", temporary);
    }
    int rc = write_all(fd, text, used, e);
    if (close(fd) == -1 && rc == 0) {
        rc = err_set(e, err_from_errno(errno), errno, "%s", temporary);
    }
    if (rc == 0 && rename(temporary, path) == -1) {
        rc = err_set(e, err_from_errno(errno), errno, "%s", path);
    }
    if (rc != 0) {
        (void)unlink(temporary);
    }
    return rc;
}

bool counts_read(const char *home, const char *file, int counts[STAGE_COUNT])
{
    char path[PATH_SIZE];
    char line[128];
    (void)snprintf(path, sizeof path, "%s/run/%s", home, file);
    FILE *in = fopen(path, "re");
    if (!in) {
        return false;
    }
    for (int lines = 0; lines < 64 && fgets(line, sizeof line, in); lines++) {
        char *equals = strchr(line, '=');
        if (equals) {
            *equals = '\0';
            int stage = stage_parse(line);
            long n = strtol(equals + 1, NULL, 10);
            if (stage >= 0 && n >= 0 && n <= PROCESSES_MAX) {
                counts[stage] = (int)n;
            }
        }
    }
    (void)fclose(in);
    return true;
}
