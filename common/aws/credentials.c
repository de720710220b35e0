/* credentials - see credentials.h. */
#include "common/aws/credentials.h"
#include "common/runtime/ini_file.h"
#include "common/runtime/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LOOK_MS = 1000, FILE_PATH_MAX = 4096 };

struct stamp { /* tells whether a file has changed */
    int64_t seconds, nanoseconds, bytes;
    uint64_t inode;
};

struct credentials_source {
    const struct config *config;
    char credentials_path[FILE_PATH_MAX], config_path[FILE_PATH_MAX];
    struct credentials now;
    bool have;
    int64_t looked_ms;
    struct stamp stamps[2];
};

/* ---- the shared files ---------------------------------------------------------------------------------------------------- */

struct file_pass {
    const char *section;
    struct credentials *out;
    bool too_long;
};

static void take(struct file_pass *pass, char *place, size_t size, const char *value)
{
    pass->too_long = pass->too_long || snprintf(place, size, "%s", value) >= (int)size;
}

static int on_line(void *ctx, const struct ini_line *line)
{
    struct file_pass *pass = ctx;
    struct credentials *c = pass->out;
    if (line->nested || strcmp(line->section, pass->section) != 0) {
        return 0;
    }
    if (strcmp(line->name, "aws_access_key_id") == 0) {
        take(pass, c->access_key_id, sizeof c->access_key_id, line->value);
    } else if (strcmp(line->name, "aws_secret_access_key") == 0) {
        take(pass, c->secret_access_key, sizeof c->secret_access_key, line->value);
    } else if (strcmp(line->name, "aws_session_token") == 0) {
        take(pass, c->session_token, sizeof c->session_token, line->value);
    }
    return 0;
}

static int from_file(const char *path, const char *section, struct credentials *out, struct err *e)
{
    struct file_pass pass = {section, out, false};
    memset(out, 0, sizeof *out);
    int rc = path[0] ? ini_file_read(path, on_line, &pass, NULL, e) : ERR_NOT_FOUND;
    if (rc == ERR_NOT_FOUND) {
        return 0;
    }
    if (rc == ERR_IO || rc == ERR_MEMORY) {
        return rc;
    }
    if (pass.too_long) {
        return err_set(e, ERR_AWS_CREDENTIALS, 0, "%.200s: a value of [%.60s] is longer than any key", path, section);
    }
    bool id = out->access_key_id[0] != '\0';
    bool secret = out->secret_access_key[0] != '\0';
    if (id != secret) {
        return err_set(e, ERR_AWS_CREDENTIALS, 0, "%.200s: [%.60s] has only one of aws_access_key_id and aws_secret_access_key", path,
                       section);
    }
    (void)snprintf(out->origin, sizeof out->origin, "shared file");
    return id;
}

int credentials_from_files(const char *credentials_path, const char *config_path, const char *profile, struct credentials *out, struct err *e)
{
    char section[160];
    int rc = from_file(credentials_path, profile, out, e);
    if (rc == 0) {
        (void)snprintf(section, sizeof section, "profile %s", profile);
        rc = from_file(config_path, strcmp(profile, "default") == 0 ? profile : section, out, e);
    }
    if (rc == 0 && strcmp(profile, "default") == 0) {
        rc = from_file(config_path, section, out, e);
    }
    return rc;
}

/* ---- the sources, in their order ------------------------------------------------------------------------------------------ */

static int from_settings(struct credentials_source *s, struct credentials *out, struct err *e)
{
    const char *id = config_text(s->config, CFG_ACCESS_KEY_ID);
    const char *secret = config_text(s->config, CFG_SECRET_ACCESS_KEY);
    if (!id[0] && !secret[0]) {
        return 0;
    }
    if (!id[0] || !secret[0]) {
        return err_set(e, ERR_CONFIG, 0, "%s is set and %s is not: both or none", id[0] ? "aws_access_key_id" : "aws_secret_access_key",
                       id[0] ? "aws_secret_access_key" : "aws_access_key_id");
    }
    (void)snprintf(out->access_key_id, sizeof out->access_key_id, "%s", id);
    (void)snprintf(out->secret_access_key, sizeof out->secret_access_key, "%s", secret);
    (void)snprintf(out->session_token, sizeof out->session_token, "%s", config_text(s->config, CFG_SESSION_TOKEN));
    (void)snprintf(out->origin, sizeof out->origin, "settings");
    return 1;
}

static int from_profile(struct credentials_source *s, struct credentials *out, struct err *e)
{
    return credentials_from_files(s->credentials_path, s->config_path, config_text(s->config, CFG_AWS_PROFILE), out, e);
}

/* 1: *out is filled; 0: nothing here, ask the next; negative: here, and wrong. */
static int (*const sources[])(struct credentials_source *s, struct credentials *out, struct err *e) = {from_settings, from_profile};

/* ---- the interface --------------------------------------------------------------------------------------------------------- */

static void shared_path(char *path, const char *variable, const char *below_home)
{
    const char *named = getenv(variable);
    const char *home = getenv("HOME");
    int n = named && named[0]  ? snprintf(path, FILE_PATH_MAX, "%s", named)
            : home && home[0] ? snprintf(path, FILE_PATH_MAX, "%s/%s", home, below_home)
                               : 0;
    if (n <= 0 || n >= FILE_PATH_MAX) {
        path[0] = '\0';
    }
}

int credentials_open(struct credentials_source **out, const struct config *config, struct err *e)
{
    struct credentials_source *s = calloc(1, sizeof *s);
    if (!s) {
        return err_set(e, ERR_MEMORY, 0, "credentials");
    }
    s->config = config;
    shared_path(s->credentials_path, "AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials");
    shared_path(s->config_path, "AWS_CONFIG_FILE", ".aws/config");
    int rc = from_settings(s, &s->now, e);
    if (rc < 0) {
        credentials_close(&s);
        return rc;
    }
    *out = s;
    return 0;
}

void credentials_close(struct credentials_source **s)
{
    if (s && *s) {
        explicit_bzero(*s, sizeof **s);
        free(*s);
        *s = NULL;
    }
}

static struct stamp stamp_of(const char *path)
{
    struct stat info;
    struct stamp stamp = {0};
    if (path[0] && stat(path, &info) == 0) {
        stamp = (struct stamp){info.st_mtim.tv_sec, info.st_mtim.tv_nsec, info.st_size, info.st_ino};
    }
    return stamp;
}

/* True if what we have may be kept. */
static bool still_good(struct credentials_source *s)
{
    int64_t now = clock_mono_ms();
    if (s->have && now - s->looked_ms < LOOK_MS) {
        return true;
    }
    struct stamp stamps[2] = {stamp_of(s->credentials_path), stamp_of(s->config_path)};
    bool same = s->have && memcmp(stamps, s->stamps, sizeof stamps) == 0;
    memcpy(s->stamps, stamps, sizeof stamps);
    s->looked_ms = now;
    return same;
}

int credentials_get(struct credentials_source *s, const struct credentials **out, struct err *e)
{
    if (!still_good(s)) {
        s->have = false;
        for (size_t i = 0; !s->have && i < sizeof sources / sizeof sources[0]; i++) {
            explicit_bzero(&s->now, sizeof s->now);
            int rc = sources[i](s, &s->now, e);
            if (rc < 0) {
                return rc == ERR_IO ? err_set(e, ERR_AWS_CREDENTIALS, 0, "the shared credentials cannot be read by this user: %s or %s",
                                              s->credentials_path, s->config_path)
                                    : rc;
            }
            s->have = rc == 1;
        }
    }
    if (!s->have) {
        return err_set(e, ERR_AWS_CREDENTIALS, 0,
                       "there are no AWS credentials: set aws_access_key_id and aws_secret_access_key, or put profile [%.60s] into %.100s",
                       config_text(s->config, CFG_AWS_PROFILE), s->credentials_path[0] ? s->credentials_path : "~/.aws/credentials");
    }
    *out = &s->now;
    return 0;
}

void credentials_refused(struct credentials_source *s)
{
    s->have = false;
}
