/*
 * user - `user add|remove|list`: the users of user identity negotiation (common/runtime/users.h). A passcode is read from the terminal
 * without echo, or from standard input for scripts; never from the command line, which every account of the machine can see.
 */
#include "common/runtime/users.h"
#include "control/control.h"

#include <jansson.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

/* One line of standard input without its end; false when it is empty, too long or not there. */
static bool read_line(char *out, size_t size)
{
    if (!fgets(out, (int)size, stdin)) {
        return false;
    }
    size_t n = strcspn(out, "\r\n");
    bool whole = out[n] != '\0' || feof(stdin);
    out[n] = '\0';
    return whole && n > 0;
}

/* A line that is typed blindly. Ctrl-C is a character then, so the terminal never stays without echo. */
static bool read_blindly(const char *prompt, char *out, size_t size)
{
    struct termios before;
    if (tcgetattr(STDIN_FILENO, &before) == -1) {
        return false;
    }
    struct termios blind = before;
    blind.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
    (void)fputs(prompt, stderr);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &blind);
    bool got = read_line(out, size);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    (void)fputc('\n', stderr);
    return got && !strchr(out, 3);
}

static int read_passcode(char out[USERS_PASSCODE_SIZE])
{
    char again[USERS_PASSCODE_SIZE] = "";
    int code = EXIT_FINE;
    if (!isatty(STDIN_FILENO)) {
        if (!read_line(out, USERS_PASSCODE_SIZE)) {
            code = complain("standard input gave no passcode of 1 to %d bytes", USERS_PASSCODE_SIZE - 1);
        }
    } else if (!read_blindly("passcode: ", out, USERS_PASSCODE_SIZE) || !read_blindly("again: ", again, sizeof again)) {
        code = complain("no passcode of 1 to %d bytes was typed", USERS_PASSCODE_SIZE - 1);
    } else if (strcmp(out, again) != 0) {
        code = complain("the two are not the same; nothing was changed");
    }
    explicit_bzero(again, sizeof again);
    return code;
}

static int add(struct request *q, const char *path)
{
    char passcode[USERS_PASSCODE_SIZE] = "";
    struct err e = {0};
    if (!users_name_is_legal(q->args[1])) {
        return complain("a user's name has 1 to 64 bytes, no ':', no control characters, no '#' in front, no space at its ends");
    }
    int code = q->name_only ? EXIT_FINE : read_passcode(passcode);
    if (code == EXIT_FINE && users_set(path, q->args[1], q->name_only ? NULL : passcode, &e) != 0) {
        code = complain("%s", e.text);
    }
    explicit_bzero(passcode, sizeof passcode);
    return code;
}

static int print_user(void *ctx, const char *name, bool has_passcode)
{
    json_t *all = ctx;
    if (!all) {
        (void)printf("%-32s %s\n", name, has_passcode ? "passcode" : "name only");
        return 0;
    }
    json_t *one = json_pack("{s:s?, s:b}", "name", name, "passcode", has_passcode);
    return one && json_array_append_new(all, one) == 0 ? 0 : ERR_MEMORY;
}

static int list(struct request *q, const char *path)
{
    struct err e = {0};
    json_t *all = q->json ? json_array() : NULL;
    int rc = users_each(path, print_user, all, &e);
    if (all && (rc == 0 || rc == ERR_NOT_FOUND)) {
        (void)json_dumpf(all, stdout, JSON_INDENT(1));
        (void)putchar('\n');
    }
    json_decref(all);
    return rc == 0 || rc == ERR_NOT_FOUND ? EXIT_FINE : complain("%s", e.text);
}

int command_user(struct request *q)
{
    char path[PATH_SIZE];
    struct err e = {0};
    const char *what = q->args[0];
    if (users_path(q->config, path, sizeof path, &e) != 0) {
        return complain("%s", e.text);
    }
    if (strcmp(what, "list") == 0 && q->arg_count == 1) {
        return list(q, path);
    }
    if (strcmp(what, "add") == 0 && q->arg_count == 2) {
        return add(q, path);
    }
    if (strcmp(what, "remove") == 0 && q->arg_count == 2) {
        return users_remove(path, q->args[1], &e) == 0 ? EXIT_FINE : complain("%s", e.text);
    }
    (void)complain("user add NAME, user remove NAME or user list");
    return EXIT_USAGE;
}
