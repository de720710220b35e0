/* users - see users.h. */
#include "common/runtime/users.h"

#include "common/runtime/runtime.h"

#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* For unknown users: a hash that nothing matches, with the cost of a real one. */
static const char nobody[] = "$y$j9T$Kq0mUqYJzdWl3cQeV2Rn41$";

int users_path(const struct config *config, char *buffer, size_t size, struct err *e)
{
    const char *file = config_text(config, CFG_USER_FILE);
    int rc = file[0] == '/' ? 0 : config_path(config, file, buffer, size);
    if (rc == 0 && file[0] == '/') {
        rc = snprintf(buffer, size, "%s", file) >= (int)size ? ERR_CONFIG : 0;
    }
    return rc == 0 ? 0 : err_set(e, ERR_CONFIG, 0, "user_file is too long a path");
}

bool users_name_is_legal(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length >= USERS_NAME_SIZE || name[0] == '#' || name[0] == ' ' || name[length - 1] == ' ') {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f || name[i] == ':') {
            return false;
        }
    }
    return true;
}

/* ---- the file ------------------------------------------------------------------------------------------------------------------ */

/* The whole file, terminated; the caller frees. */
static int read_file(const char *path, char **out, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd == -1) {
        return err_set(e, err_from_errno(errno), errno, "%s", path);
    }
    char *text = malloc(USERS_FILE_BYTES + 1);
    int rc = text ? 0 : err_set(e, ERR_MEMORY, 0, "%s", path);
    size_t used = 0;
    while (rc == 0) {
        ssize_t n = read(fd, text + used, USERS_FILE_BYTES + 1 - used);
        if (n == -1 && errno == EINTR) {
            continue;
        }
        if (n == -1) {
            rc = err_set(e, ERR_IO, errno, "%s", path);
        } else if (n == 0) {
            break;
        } else if ((used += (size_t)n) > USERS_FILE_BYTES) {
            rc = err_set(e, ERR_CONFIG, 0, "%s is larger than %d bytes", path, USERS_FILE_BYTES);
        }
    }
    (void)close(fd);
    if (rc != 0) {
        free(text);
        return rc;
    }
    text[used] = '\0';
    *out = text;
    return 0;
}

/* Takes the next user of the text apart, in place: lines are ended by '\0' then. False at the end. Lines that are none are passed over. */
static bool next_user(char **at, char **name, char **hash)
{
    while (**at) {
        char *line = *at;
        size_t length = strcspn(line, "\n");
        *at += length + (line[length] == '\n');
        line[length] = '\0';
        if (length > 0 && line[length - 1] == '\r') {
            line[length - 1] = '\0';
        }
        char *colon = strchr(line, ':');
        if (line[0] != '#' && colon) {
            *colon = '\0';
            *name = line;
            *hash = colon + 1;
            return true;
        }
    }
    return false;
}

/* ---- checking ------------------------------------------------------------------------------------------------------------------- */

/* In a time that does not tell where they differ; the length is no secret, it belongs to the method. */
static bool same_text(const char *a, const char *b)
{
    size_t length = strlen(a);
    volatile unsigned char differs = 0;
    if (length != strlen(b)) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        differs = (unsigned char)(differs | (a[i] ^ b[i]));
    }
    return differs == 0;
}

/* The hash of passcode in the way that setting asks for; the caller frees. NULL: no memory, or a setting that is none. */
static char *hash_of(const char *passcode, const char *setting)
{
    struct crypt_data *data = calloc(1, sizeof *data);
    const char *hash = data ? crypt_r(passcode, setting, data) : NULL;
    char *copy = hash && hash[0] != '*' ? strdup(hash) : NULL;
    if (data) {
        explicit_bzero(data, sizeof *data);
    }
    free(data);
    return copy;
}

int users_check(const char *path, const char *name, const char *passcode, enum users_answer *answer, struct err *e)
{
    char *text = NULL;
    int rc = read_file(path, &text, e);
    if (rc != 0) {
        return rc;
    }
    char *user = NULL;
    char *hash = NULL;
    bool found = false;
    for (char *at = text; !found && users_name_is_legal(name) && next_user(&at, &user, &hash);) {
        found = strcmp(user, name) == 0;
    }
    *answer = found ? USERS_RIGHT : USERS_UNKNOWN;
    if (passcode) {
        bool usable = found && hash[0] == '$';
        char *got = hash_of(passcode, usable ? hash : nobody);
        if (found && !(usable && got && same_text(got, hash))) {
            *answer = strcmp(hash, "*") == 0 ? USERS_NAME_ONLY : USERS_WRONG_PASSCODE;
        }
        free(got);
    }
    explicit_bzero(text, strlen(text));
    free(text);
    return 0;
}

int users_each(const char *path, int (*each)(void *ctx, const char *name, bool has_passcode), void *ctx, struct err *e)
{
    char *text = NULL;
    int rc = read_file(path, &text, e);
    char *name = NULL;
    char *hash = NULL;
    for (char *at = text; rc == 0 && next_user(&at, &name, &hash);) {
        rc = each(ctx, name, hash[0] == '$');
    }
    free(text);
    return rc;
}

/* ---- writing -------------------------------------------------------------------------------------------------------------------- */

/* The old text without that user, and its line at the end. *found: was there one? */
static int compose(FILE *out, const char *old, const char *name, const char *hash, bool *found, struct err *e)
{
    size_t users = 0;
    size_t length = strlen(name);
    *found = false;
    for (const char *line = old; *line;) {
        size_t n = strcspn(line, "\n");
        bool is_user = line[0] != '#' && memchr(line, ':', n);
        if (is_user && n > length && strncmp(line, name, length) == 0 && line[length] == ':') {
            *found = true;
        } else {
            users += is_user;
            (void)fprintf(out, "%.*s\n", (int)n, line);
        }
        line += n + (line[n] == '\n');
    }
    if (hash) {
        users++;
        (void)fprintf(out, "%s:%s\n", name, hash);
    }
    return users > USERS_MAX ? err_set(e, ERR_TOO_LARGE, 0, "more than %d users", USERS_MAX) : 0;
}

/* The directory of path, into out. */
static void directory_of(const char *path, char *out, size_t size)
{
    const char *slash = strrchr(path, '/');
    (void)snprintf(out, size, "%.*s", slash == path ? 1 : slash ? (int)(slash - path) : 1, slash ? path : ".");
}

/* Replaces the file by text, durably. */
static int replace(const char *path, const char *text, size_t bytes, struct err *e)
{
    char new[4300];
    char directory[4300];
    struct stat room;
    directory_of(path, directory, sizeof directory);
    (void)snprintf(new, sizeof new, "%s.new", path);
    (void)unlink(new); /* of a writer that died; we hold the lock */
    int fd = open(new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd == -1) {
        return err_set(e, err_from_errno(errno), errno, "%s", new);
    }
    int rc = write_all(fd, text, bytes, e);
    /* root writes it for the receiver's account */
    if (rc == 0 && stat(directory, &room) == 0 && geteuid() == 0 && fchown(fd, room.st_uid, room.st_gid) == -1) {
        rc = err_set(e, ERR_IO, errno, "%s", new);
    }
    if (rc == 0 && fsync(fd) == -1) {
        rc = err_set(e, ERR_IO, errno, "%s", new);
    }
    if (close(fd) == -1 && rc == 0) {
        rc = err_set(e, ERR_IO, errno, "%s", new);
    }
    if (rc == 0 && rename(new, path) == -1) {
        rc = err_set(e, ERR_IO, errno, "%s", path);
    }
    if (rc != 0) {
        (void)unlink(new);
        return rc;
    }
    return directory_sync(directory, e);
}

/* hash NULL: takes the user out. */
static int change(const char *path, const char *name, const char *hash, struct err *e)
{
    char lock[4300];
    char *old = NULL;
    char *text = NULL;
    size_t bytes = 0;
    int fd = -1;
    bool found = false;
    if (snprintf(lock, sizeof lock, "%s.lock", path) >= 4200) {
        return err_set(e, ERR_ARGUMENT, 0, "too long a path");
    }
    int rc = lockfile_take(lock, &fd, e);
    if (rc != 0) {
        return rc;
    }
    rc = read_file(path, &old, e);
    if (rc == ERR_NOT_FOUND && hash) {
        old = strdup("");
        rc = old ? 0 : err_set(e, ERR_MEMORY, 0, "%s", path);
    }
    FILE *out = rc == 0 ? open_memstream(&text, &bytes) : NULL;
    if (rc == 0) {
        rc = out ? compose(out, old, name, hash, &found, e) : err_set(e, ERR_MEMORY, 0, "%s", path);
    }
    if (out && fclose(out) != 0 && rc == 0) {
        rc = err_set(e, ERR_MEMORY, 0, "%s", path);
    }
    if (rc == 0 && !hash && !found) {
        rc = err_set(e, ERR_NOT_FOUND, 0, "there is no such user in %s", path);
    }
    if (rc == 0) {
        rc = replace(path, text, bytes, e);
    }
    free(text);
    free(old);
    (void)close(fd);
    return rc;
}

int users_set(const char *path, const char *name, const char *passcode, struct err *e)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    if (!users_name_is_legal(name)) {
        return err_set(e, ERR_ARGUMENT, 0, "a user's name has 1 to 64 bytes, no ':', no control characters, no '#' in front, no space at its ends");
    }
    if (!passcode) {
        return change(path, name, "*", e);
    }
    if (!passcode[0] || strlen(passcode) >= USERS_PASSCODE_SIZE) {
        return err_set(e, ERR_ARGUMENT, 0, "a passcode has 1 to %d bytes", USERS_PASSCODE_SIZE - 1);
    }
    char *hash = crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof setting) ? hash_of(passcode, setting) : NULL;
    int rc = hash ? change(path, name, hash, e) : err_set(e, ERR_MEMORY, 0, "the passcode could not be hashed");
    free(hash);
    return rc;
}

int users_remove(const char *path, const char *name, struct err *e)
{
    return change(path, name, NULL, e);
}
