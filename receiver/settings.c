/* settings - see settings.h. */
#include "receiver/settings.h"

#include "common/runtime/log.h"
#include "common/runtime/reload.h"
#include "common/runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FILE_MAX = 4 << 20, DESCRIPTOR_MIN = 10 };

/* storescp.conf into memory, the secrets of others blanked out; a missing one is an empty one. */
static int copy_file(const char *path, int to, struct err *e)
{
    size_t total = 0;
    ssize_t n = 0;
    int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from == -1) {
        return errno == ENOENT ? 0 : err_set(e, ERR_CONFIG, errno, "%s cannot be read", path);
    }
    char *text = malloc(FILE_MAX + 1);
    int rc = text ? 0 : err_set(e, ERR_MEMORY, 0, "no memory for the settings");
    while (rc == 0 && total <= FILE_MAX && (n = read(from, text + total, FILE_MAX + 1 - total)) != 0) {
        total += n > 0 ? (size_t)n : 0;
        if (n < 0 && errno != EINTR) {
            rc = err_set(e, ERR_CONFIG, errno, "%s cannot be read", path);
        }
    }
    if (rc == 0 && total > FILE_MAX) {
        rc = err_set(e, ERR_CONFIG, 0, "%s is larger than %d bytes", path, FILE_MAX);
    }
    if (rc == 0) {
        config_blank_secrets(text, total, SECRETS_RECEIVER);
        rc = write_all(to, text, total, e);
    }
    if (text) {
        explicit_bzero(text, total);
        free(text);
    }
    (void)close(from);
    return rc;
}

int settings_load_copy(struct config **out, const char *home, int fd, struct err *e)
{
    char path[48];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int rc = config_load_from(out, home, path, e);
    if (*out) { /* of the environment, too */
        config_forget_secrets(*out, SECRETS_RECEIVER);
    }
    return rc;
}

int settings_load(struct settings *out, const char *home, struct err *e)
{
    char path[4352];
    (void)snprintf(path, sizeof path, "%s/storescp.conf", config_find_home(home));
    int first = memfd_create("storescp.conf", MFD_CLOEXEC);
    out->fd = first == -1 ? -1 : fcntl(first, F_DUPFD_CLOEXEC, DESCRIPTOR_MIN);
    if (first != -1) {
        (void)close(first);
    }
    if (out->fd == -1) {
        return err_set(e, ERR_MEMORY, errno, "no memory for the settings");
    }
    int rc = copy_file(path, out->fd, e);
    return rc == 0 ? settings_load_copy(&out->config, home, out->fd, e) : rc;
}

void settings_clear(struct settings *s)
{
    config_free(&s->config);
    if (s->fd != -1) {
        (void)close(s->fd);
        s->fd = -1;
    }
}

/* What a socket that stands cannot follow. */
static void name_what_stays(const struct config *was, const struct config *is)
{
    static const enum config_key fixed[] = {CFG_SCP_PORT, CFG_SCP_ADDRESS, CFG_TLS_PORT};
    char names[200] = "";
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        size_t used = strlen(names);
        if (strcmp(config_text(was, fixed[i]), config_text(is, fixed[i])) != 0) {
            (void)snprintf(names + used, sizeof names - used, "%s%s", used ? " " : "", config_describe(fixed[i])->name);
        }
    }
    if (names[0]) {
        log_warning("settings_need_restart", "settings=\"%s\" effect=\"they stay as they were\" remedy=\"start the receiver again\"", names);
    }
}

bool settings_reload(struct settings *s, int (*check)(void *ctx, const struct config *c, struct err *e), void *ctx)
{
    struct settings new = {NULL, -1};
    struct err e = {0};
    int rc = settings_load(&new, config_home(s->config), &e);
    bool is_read = rc == 0;
    rc = rc == 0 ? check(ctx, new.config, &e) : rc;
    if (rc != 0) {
        if (new.config && !is_read) {
            reload_complain(new.config);
        } else {
            log_error("settings_kept", "problem=\"%s\" effect=\"the old settings stay\"", e.text);
        }
        settings_clear(&new);
        return false;
    }
    name_what_stays(s->config, new.config);
    settings_clear(s);
    *s = new;
    return true;
}
