/* spool - the rooms of the spool and what happens to complete files. See spool.h. */
#include "common/spool/spool.h"

#include "common/runtime/runtime.h"
#include "common/spool/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

void spool_path(char path[SPOOL_PATH_MAX], const char *home, const char *room, const char *id, const char *suffix)
{
    (void)snprintf(path, SPOOL_PATH_MAX, "%s/spool/%s/%s%s", home, room, id, suffix);
}

int spool_prepare(const char *home, struct err *e)
{
    static const char *const rooms[] = {"tmp", "obj", "quarantine", "dropped", "changed", "original"};
    char path[SPOOL_PATH_MAX];
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof rooms / sizeof rooms[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/spool/%s", home, rooms[i]);
        rc = directory_make(path, e);
    }
    return rc;
}

int spool_open(const char *home, const char *id, struct err *e)
{
    char path[SPOOL_PATH_MAX];
    static const char *const rooms[] = {"obj", "quarantine"};
    for (size_t i = 0; i < 2; i++) {
        spool_path(path, home, rooms[i], id, ".dcm");
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd != -1) {
            return fd;
        }
        if (errno != ENOENT) {
            return err_set(e, ERR_IO, errno, "%s", path);
        }
    }
    spool_path(path, home, "obj", "", "");
    if (access(path, F_OK) == -1) { /* every file would be missing, and every instance would fail for good */
        return err_set(e, ERR_IO, errno, "%s is gone: is the spool's file system mounted?", path);
    }
    return err_set(e, ERR_SPOOL_MISSING, 0, "there is no spool file of instance %s", id);
}

/* Walks the head that spool_head() wrote; a foreign one is ERR_SPOOL_DAMAGED. */
static int parse_head(const unsigned char *head, size_t count, struct spool_meta *meta)
{
    size_t p = 132;
    bool proven = false;
    if (count < 144 || memcmp(head + 128, "DICM", 4) != 0) {
        return ERR_SPOOL_DAMAGED;
    }
    while (p + 8 <= count && head[p] == 2 && head[p + 1] == 0) {
        unsigned element = head[p + 2] | (unsigned)head[p + 3] << 8;
        bool ob = head[p + 4] == 'O' && head[p + 5] == 'B';
        size_t length = ob ? 0 : head[p + 6] | (size_t)head[p + 7] << 8;
        size_t value = p + (ob ? 12 : 8);
        if (ob && p + 12 <= count) {
            length = head[p + 8] | (size_t)head[p + 9] << 8 | (size_t)head[p + 10] << 16 | (size_t)head[p + 11] << 24;
        }
        if (value > count || length > count - value) {
            return ERR_SPOOL_DAMAGED;
        }
        char text[128];
        size_t taken = length < sizeof text - 1 ? length : sizeof text - 1;
        memcpy(text, head + value, taken);
        while (taken > 0 && (text[taken - 1] == ' ' || text[taken - 1] == '\0')) {
            taken--;
        }
        text[taken] = '\0';
        switch (element) {
        case 0x0002:
            (void)snprintf(meta->sop_class_uid, sizeof meta->sop_class_uid, "%.71s", text);
            break;
        case 0x0003:
            (void)snprintf(meta->sop_instance_uid, sizeof meta->sop_instance_uid, "%.71s", text);
            break;
        case 0x0010:
            (void)snprintf(meta->transfer_syntax_uid, sizeof meta->transfer_syntax_uid, "%.71s", text);
            break;
        case 0x0016:
            (void)snprintf(meta->calling_ae, sizeof meta->calling_ae, "%.19s", text);
            break;
        case 0x0018:
            (void)snprintf(meta->called_ae, sizeof meta->called_ae, "%.19s", text);
            break;
        case 0x0102: {
            long long received = 0;
            long long bytes = 0;
            unsigned crc = 0;
            proven = sscanf(text, "storescp1 %13lld %14lld %8x", &received, &bytes, &crc) == 3;
            meta->received_ms = received;
            meta->data_bytes = bytes;
            meta->data_crc32c = crc;
            meta->is_changed = strstr(text, " changed") != NULL;
            meta->data_offset = (int64_t)(value + length);
            return proven ? 0 : ERR_SPOOL_DAMAGED; /* the last of ours */
        }
        default:
            break;
        }
        p = value + length;
    }
    return ERR_SPOOL_DAMAGED;
}

static int open_in(const char *home, const char *room, const char *id, struct err *e)
{
    char path[SPOOL_PATH_MAX];
    spool_path(path, home, room, id, ".dcm");
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd != -1          ? fd
           : errno == ENOENT ? err_set(e, ERR_SPOOL_MISSING, 0, "there is no file of instance %s in %s/", id, room)
                             : err_set(e, ERR_IO, errno, "%s", path);
}

int spool_read_room(const char *home, const char *room, const char *id, int verify, struct spool_meta *out, struct err *e)
{
    struct spool_meta meta;
    unsigned char head[SPOOL_HEAD_MAX];
    struct stat info;
    memset(&meta, 0, sizeof meta);
    (void)snprintf(meta.id, sizeof meta.id, "%s", id);
    int fd = room ? open_in(home, room, id, e) : spool_open(home, id, e);
    if (fd < 0) {
        return fd;
    }
    ssize_t n = pread(fd, head, sizeof head, 0);
    int rc = n < 0 || fstat(fd, &info) == -1 ? err_set(e, ERR_IO, errno, "read of instance %s", id) : 0;
    if (rc == 0 && (parse_head(head, (size_t)n, &meta) != 0 || info.st_size != meta.data_offset + meta.data_bytes)) {
        rc = err_set(e, ERR_SPOOL_DAMAGED, 0, "the spool file of instance %s is torn: its head does not prove it complete", id);
    }
    meta.file_bytes = rc == 0 ? info.st_size : 0;
    if (rc == 0 && verify) {
        enum { CHUNK = 1 << 20 };
        unsigned char *chunk = malloc(CHUNK);
        uint32_t crc = 0;
        int64_t at = meta.data_offset;
        while (chunk && rc == 0 && at < info.st_size) {
            n = pread(fd, chunk, CHUNK, at);
            if (n <= 0) {
                rc = err_set(e, ERR_IO, n < 0 ? errno : 0, "read of instance %s", id);
                break;
            }
            crc = crc32c_update(crc, chunk, (size_t)n);
            at += n;
        }
        if (!chunk) {
            rc = err_set(e, ERR_MEMORY, 0, "check of a spool file");
        }
        free(chunk);
        if (rc == 0 && crc != meta.data_crc32c) {
            rc = err_set(e, ERR_SPOOL_DAMAGED, 0, "the spool file of instance %s has other bytes than were received", id);
        }
        meta.file_crc32c = crc32c_combine(crc32c_update(0, head, (size_t)meta.data_offset), crc, (uint64_t)meta.data_bytes);
    }
    (void)close(fd);
    if (rc == 0) {
        *out = meta;
    }
    return rc;
}

int spool_read_meta(const char *home, const char *id, int verify, struct spool_meta *out, struct err *e)
{
    return spool_read_room(home, NULL, id, verify, out, e);
}

int spool_open_changed(const char *home, const char *id, struct err *e)
{
    return open_in(home, "changed", id, e);
}

int spool_open_received(const char *home, const char *id, struct err *e)
{
    int fd = open_in(home, "original", id, e);
    return fd == ERR_SPOOL_MISSING ? spool_open(home, id, e) : fd;
}

static int move(const char *home, const char *id, const char *from, const char *to, struct err *e)
{
    char old[SPOOL_PATH_MAX];
    char new[SPOOL_PATH_MAX];
    char directory[SPOOL_PATH_MAX];
    spool_path(old, home, from, id, ".dcm");
    spool_path(new, home, to, id, ".dcm");
    if (rename(old, new) == -1) {
        if (errno == ENOENT && access(new, F_OK) == 0) {
            return 0;
        }
        return err_set(e, err_from_errno(errno), errno, "rename of %s", old);
    }
    (void)snprintf(directory, sizeof directory, "%s/spool/%s", home, to);
    return directory_sync(directory, e);
}

int spool_quarantine(const char *home, const char *id, struct err *e)
{
    int rc = spool_change_undo(home, id, e);
    return rc ? rc : move(home, id, "obj", "quarantine", e);
}

int spool_unquarantine(const char *home, const char *id, struct err *e)
{
    char path[SPOOL_PATH_MAX];
    spool_path(path, home, "dropped", id, ".dcm");
    return move(home, id, access(path, F_OK) == 0 ? "dropped" : "quarantine", "obj", e);
}

int spool_drop(const char *home, const char *id, struct err *e)
{
    static const char *const rooms[] = {"quarantine", "obj"};
    char path[SPOOL_PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/spool/dropped", home);
    int rc = directory_make(path, e);
    for (size_t i = 0; rc == 0 && i < sizeof rooms / sizeof rooms[0]; i++) {
        spool_path(path, home, rooms[i], id, ".dcm");
        if (access(path, F_OK) == 0) {
            rc = move(home, id, rooms[i], "dropped", e);
        }
    }
    return rc;
}

int spool_release(const char *home, const char *id, struct err *e)
{
    static const char *const rooms[] = {"obj", "dropped", "changed", "original"};
    char path[SPOOL_PATH_MAX];
    for (size_t i = 0; i < sizeof rooms / sizeof rooms[0]; i++) {
        spool_path(path, home, rooms[i], id, ".dcm");
        if (unlink(path) == -1 && errno != ENOENT) {
            return err_set(e, ERR_IO, errno, "unlink of %s", path);
        }
    }
    return 0;
}

struct spool_walk {
    DIR *directory;
};

int spool_walk_begin(struct spool_walk **out, const char *home, const char *room, struct err *e)
{
    char path[SPOOL_PATH_MAX];
    struct spool_walk *w = calloc(1, sizeof *w);
    spool_path(path, home, room, "", "");
    if (!w) {
        return err_set(e, ERR_MEMORY, 0, "walk over the spool");
    }
    w->directory = opendir(path);
    if (!w->directory) {
        int rc = err_set(e, err_from_errno(errno), errno, "%s", path);
        free(w);
        return rc;
    }
    *out = w;
    return 0;
}

int spool_walk_next(struct spool_walk *w, char id[27])
{
    struct dirent *entry;
    while ((entry = readdir(w->directory)) != NULL) {
        if (strlen(entry->d_name) == 30 && strcmp(entry->d_name + 26, ".dcm") == 0) {
            (void)snprintf(id, 27, "%.26s", entry->d_name);
            if (id_is_legal(id)) {
                return 1;
            }
        }
    }
    return 0;
}

void spool_walk_end(struct spool_walk **w)
{
    if (*w) {
        (void)closedir((*w)->directory);
        free(*w);
        *w = NULL;
    }
}

int spool_each(const char *home, int (*each)(void *ctx, const char *id, const char *room), void *ctx, struct err *e)
{
    static const char *const rooms[] = {"obj", "quarantine"};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < 2; i++) {
        struct spool_walk *walk = NULL;
        char id[27];
        rc = spool_walk_begin(&walk, home, rooms[i], e);
        while (rc == 0 && spool_walk_next(walk, id)) {
            rc = each(ctx, id, rooms[i]);
        }
        spool_walk_end(&walk);
    }
    return rc;
}

int spool_sweep(const char *home, int64_t age_ms, int *removed, struct err *e)
{
    char path[SPOOL_PATH_MAX];
    *removed = 0;
    (void)snprintf(path, sizeof path, "%s/spool/tmp", home);
    DIR *directory = opendir(path);
    struct dirent *entry;
    if (!directory) {
        return err_set(e, err_from_errno(errno), errno, "%s", path);
    }
    while ((entry = readdir(directory)) != NULL) {
        struct stat info;
        size_t length = strlen(entry->d_name);
        if (length > 5 && strcmp(entry->d_name + length - 5, ".part") == 0 &&
            fstatat(dirfd(directory), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
            (int64_t)info.st_mtim.tv_sec * 1000 + age_ms <= clock_wall_ms() &&
            unlinkat(dirfd(directory), entry->d_name, 0) == 0) {
            (*removed)++;
        }
    }
    (void)closedir(directory);
    return 0;
}

int64_t spool_free_bytes(const char *home)
{
    char path[SPOOL_PATH_MAX];
    struct statvfs info;
    (void)snprintf(path, sizeof path, "%s/spool/obj", home);
    if (statvfs(path, &info) == -1) {
        return ERR_IO;
    }
    return (int64_t)info.f_bavail * (int64_t)info.f_frsize;
}
