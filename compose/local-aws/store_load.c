/* store: the start - what a crash left below tmp/ goes, the keys of every bucket are read from the objects. See store.h. */
#include "compose/local-aws/store_internal.h"

#include "common/runtime/runtime.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Calls each() for the names of a directory. */
static int each_name(const char *path, int (*each)(struct store *s, const char *path, const char *name, void *ctx, struct err *e),
                     struct store *s, void *ctx, struct err *e)
{
    DIR *directory = opendir(path);
    if (!directory) {
        return err_set(e, err_from_errno(errno), errno, "cannot read %s", path);
    }
    int rc = 0;
    struct dirent *d;
    while (rc == 0 && (d = readdir(directory)) != NULL) {
        if (d->d_name[0] != '.') {
            rc = each(s, path, d->d_name, ctx, e);
        }
    }
    (void)closedir(directory);
    return rc;
}

static int sweep(struct store *s, const char *path, const char *name, void *ctx, struct err *e)
{
    (void)s, (void)ctx, (void)e;
    char file[STORE_PATH];
    (void)snprintf(file, sizeof file, "%s/%s", path, name);
    (void)unlink(file);
    return 0;
}

static int load_object(struct store *s, const char *path, const char *name, void *ctx, struct err *e)
{
    char file[STORE_PATH];
    int64_t bytes;
    json_t *description = NULL;
    (void)snprintf(file, sizeof file, "%s/%s", path, name);
    int fd = store_open_sealed(file, &bytes, &description, e);
    if (fd < 0) {
        return fd;
    }
    (void)close(fd);
    struct entry entry = store_entry_of(description);
    int rc = entry.key && index_put(store_find_bucket(s, ctx)->index, &entry) ? 0 : err_set(e, ERR_MEMORY, 0, "cannot index %s", file);
    json_decref(description);
    return rc;
}

static int load_part(struct store *s, const char *path, const char *name, void *ctx, struct err *e)
{
    char below[STORE_PATH];
    (void)snprintf(below, sizeof below, "%s/%s", path, name);
    return each_name(below, load_object, s, ctx, e);
}

static int load_bucket(struct store *s, const char *path, const char *name, void *ctx, struct err *e)
{
    (void)ctx;
    char below[STORE_PATH];
    struct stat st;
    if (!store_bucket_is_legal(name)) {
        return 0;
    }
    (void)snprintf(below, sizeof below, "%s/%s", path, name);
    if (stat(below, &st) != 0) {
        return err_set(e, err_from_errno(errno), errno, "cannot look at %s", below);
    }
    int rc = store_add_bucket(s, name, (int64_t)st.st_mtim.tv_sec * 1000, e);
    return rc != 0 ? rc : each_name(below, load_part, s, (void *)(uintptr_t)name, e);
}

int store_open(struct store **out, const char *data, bool durable, struct err *e)
{
    static const char *const rooms[] = {"objects", "tmp", "multipart", "jobs"};
    char path[STORE_PATH];
    int rc = 0;
    struct store *s = calloc(1, sizeof *s);
    if (!s) {
        return err_set(e, ERR_MEMORY, 0, "no memory for the store");
    }
    (void)pthread_mutex_init(&s->lock, NULL);
    s->puts_fd = -1;
    s->durable = durable;
    if (snprintf(s->data, sizeof s->data, "%s", data) >= (int)sizeof s->data) {
        rc = err_set(e, ERR_ARGUMENT, 0, "the path of the data directory is longer than %zu", sizeof s->data - 1);
    }
    for (size_t i = 0; rc == 0 && i < sizeof rooms / sizeof rooms[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", data, rooms[i]);
        rc = directory_make(path, e);
    }
    if (rc == 0) {
        (void)snprintf(path, sizeof path, "%s/puts.log", data);
        s->puts_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        rc = s->puts_fd >= 0 ? 0 : err_set(e, err_from_errno(errno), errno, "cannot open %s", path);
    }
    if (rc == 0) {
        (void)snprintf(path, sizeof path, "%s/tmp", data);
        rc = each_name(path, sweep, s, NULL, e);
    }
    if (rc == 0) {
        (void)snprintf(path, sizeof path, "%s/objects", data);
        rc = each_name(path, load_bucket, s, NULL, e);
    }
    if (rc != 0) {
        store_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void store_close(struct store *s)
{
    if (s) {
        for (size_t i = 0; i < s->bucket_count; i++) {
            index_free(s->buckets[i].index);
        }
        if (s->puts_fd >= 0) {
            (void)close(s->puts_fd);
        }
        (void)pthread_mutex_destroy(&s->lock);
        free(s);
    }
}
