/*
 * lists - what the receiver thinks of the lists in the settings: names of SOP classes and transfer syntaxes, patterns of AE titles. Only the
 * receiver knows them, so `storescp-receiver --check` beside this program is asked; it opens nothing and writes nothing.
 */
#include "control/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHECK_MS = 10000 };

extern char **environ;

static int receiver_path(char *path, size_t size)
{
    char own[PATH_SIZE];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
    if (n <= 0) {
        return -1;
    }
    own[n] = '\0';
    char *slash = strrchr(own, '/');
    return slash && snprintf(path, size, "%.*s/storescp-receiver", (int)(slash - own), own) < (int)size ? 0 : -1;
}

/* All that comes from fd within CHECK_MS, cut at size - 1. */
static void read_words(int fd, char *out, size_t size)
{
    size_t used = 0;
    struct pollfd p = {fd, POLLIN, 0};
    while (used + 1 < size && poll(&p, 1, CHECK_MS) > 0) {
        ssize_t n = read(fd, out + used, size - 1 - used);
        if (n == -1 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            break;
        }
        used += (size_t)n;
    }
    out[used] = '\0';
}

void lists_look_at(const struct request *q, void (*say)(void *ctx, bool serious, const char *sentence), void *ctx)
{
    char path[PATH_SIZE];
    char words[2000];
    int ends[2];
    pid_t pid;
    char home[PATH_SIZE];
    char self[] = "storescp-receiver";
    char home_flag[] = "--home";
    char check_flag[] = "--check";
    char *argv[] = {self, home_flag, home, check_flag, NULL};
    (void)snprintf(home, sizeof home, "%s", q->home);
    if (q->config_is_bad || receiver_path(path, sizeof path) != 0 || access(path, X_OK) == -1 || pipe2(ends, O_CLOEXEC) == -1) {
        return; /* what is wrong already is told already; without the program nobody knows */
    }
    posix_spawn_file_actions_t actions;
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    int failed = posix_spawn(&pid, path, &actions, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(ends[1]);
    if (failed == 0) {
        read_words(ends[0], words, sizeof words);
        (void)kill(pid, SIGKILL); /* it has ended, or it never will */
        while (waitpid(pid, NULL, 0) == -1 && errno == EINTR) {
        }
        for (char *line = words; *line;) {
            size_t n = strcspn(line, "\n");
            bool more = line[n] != '\0';
            line[n] = '\0';
            say(ctx, true, line);
            line += n + more;
        }
    }
    (void)close(ends[0]);
}
