/*
 * credentials_process - credential_process of a profile: a program that prints keys as JSON. Started without a shell, in a process group of its own that
 * is killed when its time (20 s, or aws_call_s if that is less) is over; standard input and error are /dev/null (what it complains about may hold secrets). Its words are split at blanks;
 * "..." and '...' hold blanks, a backslash takes the next character as it is. Source: SDK reference "Process credential provider".
 */
#include "common/aws/credentials/credentials_internal.h"
#include "common/runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS_MAX = 64, LIMIT_S = 20 };

/* Splits text in its place; NULL ends words. ERR_CONFIG: no word, too many, or an open quote. */
static int split(char *text, char *words[WORDS_MAX + 1], struct err *e)
{
    size_t count = 0;
    char *to = text;
    char *p = text;
    char quote = '\0';
    while (*(p += strspn(p, " \t")) != '\0') {
        if (count == WORDS_MAX) {
            return err_set(e, ERR_CONFIG, 0, "credential_process has more than %d words", WORDS_MAX);
        }
        words[count++] = to;
        for (; *p && (quote || !strchr(" \t", *p)); p++) {
            if (quote ? *p == quote : *p == '"' || *p == '\'') {
                quote = quote ? '\0' : *p;
            } else {
                p += *p == '\\' && quote != '\'' && p[1] != '\0';
                *to++ = *p;
            }
        }
        p += *p != '\0'; /* before the end of the word is written: it may be the same place */
        *to++ = '\0';
    }
    words[count] = NULL;
    return count > 0 && !quote ? 0 : err_set(e, ERR_CONFIG, 0, "credential_process is empty or has an open quotation mark");
}

static int start(char *words[], int out, pid_t *child)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    sigset_t none;
    sigset_t all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int sys = posix_spawn_file_actions_init(&files);
    if (sys != 0) {
        return sys;
    }
    if ((sys = posix_spawnattr_init(&how)) != 0) {
        (void)posix_spawn_file_actions_destroy(&files);
        return sys;
    }
    sys = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    sys = sys ? sys : posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    sys = sys ? sys : posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    sys = sys ? sys : posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    sys = sys ? sys : posix_spawnattr_setsigmask(&how, &none);
    sys = sys ? sys : posix_spawnattr_setsigdefault(&how, &all);
    sys = sys ? sys : posix_spawnp(child, words[0], &files, &how, words, environ);
    (void)posix_spawnattr_destroy(&how);
    (void)posix_spawn_file_actions_destroy(&files);
    return sys;
}

static long long limit_s(const struct credentials_source *s)
{
    long long call_s = config_int(s->config, CFG_AWS_CALL_S);
    return call_s < LIMIT_S ? call_s : LIMIT_S;
}

static int begin(struct credentials_source *s, struct err *e)
{
    char text[CREDENTIALS_PATH_MAX];
    char *words[WORDS_MAX + 1];
    int ends[2];
    (void)snprintf(text, sizeof text, "%s", s->plan.text);
    int rc = split(text, words, e);
    if (rc != 0) {
        return rc;
    }
    if (pipe2(ends, O_CLOEXEC) == -1) {
        return err_set(e, ERR_IO, errno, "pipe for credential_process");
    }
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    int sys = start(words, ends[1], &s->child);
    (void)close(ends[1]);
    if (sys != 0) {
        (void)close(ends[0]);
        s->child = 0;
        return err_set(e, ERR_AWS_CREDENTIALS, sys, "credential_process: %.120s cannot be started", words[0]);
    }
    s->child_fd = ends[0];
    s->child_until_ms = clock_mono_ms() + limit_s(s) * 1000;
    s->reply.body = calloc(1, REPLY_MAX + 1);
    return s->reply.body ? PROVIDER_WAITS : err_set(e, ERR_MEMORY, 0, "credential_process");
}

/* Kills what is left of the program and closes its pipe. */
static int give_up(struct credentials_source *s, int rc)
{
    (void)kill(-s->child, SIGKILL);
    (void)waitpid(s->child, NULL, 0);
    s->child = 0;
    (void)close(s->child_fd);
    s->child_fd = -1;
    return rc;
}

static int judge(struct credentials_source *s, int status, struct err *e)
{
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return err_set(e, ERR_AWS_CREDENTIALS, 0, "credential_process ended with %s %d: run its command by hand to see why",
                       WIFEXITED(status) ? "exit code" : "signal", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    }
    json_t *root = json_loadb(s->reply.body, s->reply.bytes, 0, NULL);
    bool known = json_integer_value(json_object_get(root, "Version")) == 1;
    json_decref(root);
    return known ? keys_from_json(s->reply.body, s->reply.bytes, "SessionToken", "credential_process", &s->next, e)
                 : err_set(e, ERR_AWS_CREDENTIALS, 0, "credential_process printed no JSON with \"Version\": 1");
}

static int step(struct credentials_source *s, struct err *e)
{
    while (s->phase == 0) { /* until its output ends; at most REPLY_MAX + 1 bytes */
        ssize_t n = read(s->child_fd, s->reply.body + s->reply.bytes, REPLY_MAX - s->reply.bytes);
        if (n > 0) {
            s->reply.bytes += (size_t)n;
        }
        if (s->reply.bytes == REPLY_MAX) {
            return give_up(s, err_set(e, ERR_AWS_CREDENTIALS, 0, "credential_process printed more than %d bytes", REPLY_MAX - 1));
        }
        if (n == 0) {
            s->phase = 1;
        } else if (n == -1 && errno != EINTR) {
            break;
        }
    }
    int status = 0;
    pid_t ended = s->phase == 1 ? waitpid(s->child, &status, WNOHANG) : 0;
    if (ended == s->child) {
        s->child = 0;
        (void)close(s->child_fd);
        s->child_fd = -1;
        return judge(s, status, e);
    }
    if (clock_mono_ms() >= s->child_until_ms) {
        return give_up(s, err_set(e, ERR_TIMEOUT, 0, "credential_process did not end within %lld s", limit_s(s)));
    }
    return PROVIDER_WAITS;
}

const struct provider provider_process = {"credential_process", 1, false, begin, step};
