/*
 * writer - one spool file from the first byte to durable.
 *
 * Order (docs/states.md S1 to S2): bytes into a file without a name (O_TMPFILE), head into its reserved room, linkat into obj/, fdatasync,
 * close, fsync of obj/. Of a writer that dies before the link the kernel leaves nothing. Where the file system knows no
 * O_TMPFILE the file is tmp/<id>.part meanwhile, and renamed. The name comes before the fdatasync because then one journal
 * commit of the file system carries both, and the fsync of the directory finds little left to do. A power cut in between
 * leaves a torn file in obj/ without a row: never promised, and the (0002,0102) of its head proves it torn. Write-back starts
 * while bytes still arrive, so fdatasync finds little to do as well.
 *
 * Large pieces are written from where they lie, small ones are gathered first. Whole pages from the second on are given to
 * write-back; the first page gets the head last.
 */
#include "common/spool/internal.h"

#include "common/runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { BUFFER_BYTES = 128 << 10, WRITEBACK_BYTES = 128 << 10, PAGE_BYTES = 4096 };

struct spool_writer {
    int fd;
    char path[SPOOL_PATH_MAX]; /* the name that the file has now, "" while it has none */
    char home[SPOOL_PATH_MAX];
    const char *room; /* where it gets its name */
    struct spool_meta meta;
    unsigned char *buffer;
    size_t used, head_bytes;
    int64_t flushed; /* the file's length so far, the room for the head included */
    int64_t write_back_from;
    struct err failed; /* the first error */
};

static void put_element(unsigned char **p, unsigned element, const char *vr, const void *value, size_t length)
{
    unsigned char *o = *p;
    *o++ = 2;
    *o++ = 0;
    *o++ = (unsigned char)(element & 0xff);
    *o++ = (unsigned char)(element >> 8);
    *o++ = (unsigned char)vr[0];
    *o++ = (unsigned char)vr[1];
    size_t padded = (length + 1) & ~(size_t)1;
    if (strcmp(vr, "OB") == 0) {
        *o++ = 0;
        *o++ = 0;
        for (int i = 0; i < 4; i++) {
            *o++ = (unsigned char)(padded >> (8 * i));
        }
    } else {
        *o++ = (unsigned char)(padded & 0xff);
        *o++ = (unsigned char)(padded >> 8);
    }
    memcpy(o, value, length);
    if (padded != length) {
        o[length] = vr[0] == 'U' && vr[1] == 'I' ? 0 : ' ';
    }
    *p = o + padded;
}

static void put_text(unsigned char **p, unsigned element, const char *vr, const char *text)
{
    if (text[0]) {
        put_element(p, element, vr, text, strlen(text));
    }
}

size_t spool_head(unsigned char head[SPOOL_HEAD_MAX], const struct spool_meta *meta)
{
    char proof[SPOOL_PROOF_BYTES + 1];
    int n = snprintf(proof, sizeof proof, "storescp1 %013lld %014lld %08x%s", (long long)meta->received_ms,
                     (long long)meta->data_bytes, meta->data_crc32c, meta->is_changed ? " changed" : "");
    memset(proof + n, ' ', sizeof proof - (size_t)n);
    memset(head, 0, SPOOL_HEAD_MAX);
    memcpy(head + 128, "DICM", 4);
    unsigned char *p = head + 132 + 12; /* room for the group length */
    put_element(&p, 0x0001, "OB", "\0\1", 2);
    put_text(&p, 0x0002, "UI", meta->sop_class_uid);
    put_text(&p, 0x0003, "UI", meta->sop_instance_uid);
    put_text(&p, 0x0010, "UI", meta->transfer_syntax_uid);
    put_text(&p, 0x0012, "UI", "2.25.271149317349286013574031934712105814523");
    put_text(&p, 0x0013, "SH", "STORESCP_" STORESCP_VERSION);
    put_text(&p, 0x0016, "AE", meta->calling_ae);
    put_text(&p, 0x0018, "AE", meta->called_ae);
    put_text(&p, 0x0100, "UI", "2.25.271149317349286013574031934712105814523");
    put_element(&p, 0x0102, "OB", proof, SPOOL_PROOF_BYTES);
    uint32_t group = (uint32_t)(p - (head + 144));
    unsigned char length[4] = {(unsigned char)group, (unsigned char)(group >> 8), (unsigned char)(group >> 16),
                               (unsigned char)(group >> 24)};
    unsigned char *first = head + 132;
    put_element(&first, 0x0000, "UL", length, 4);
    return (size_t)(p - head);
}

/* A file without a name, or where there is no such thing tmp/<id>.part. */
static int create_file(struct spool_writer *w)
{
    char directory[SPOOL_PATH_MAX];
    spool_path(directory, w->home, w->room, "", "");
    w->fd = open(directory, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    if (w->fd == -1 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
        spool_path(w->path, w->home, "tmp", w->meta.id, ".part");
        w->fd = open(w->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    }
    return w->fd != -1 ? 0
                       : err_set(&w->failed, err_from_errno(errno), errno, "cannot create a file in %s/spool for %s", w->home, w->meta.id);
}

static int begin(struct spool_writer **out, const char *home, const char *room, const struct spool_meta *meta, struct err *e)
{
    struct spool_writer *w = calloc(1, sizeof *w);
    unsigned char head[SPOOL_HEAD_MAX];
    if (w) {
        w->buffer = malloc(BUFFER_BYTES);
    }
    if (!w || !w->buffer) {
        free(w);
        return err_set(e, ERR_MEMORY, 0, "spool file");
    }
    w->room = room;
    w->meta = *meta;
    (void)snprintf(w->home, sizeof w->home, "%s", home);
    int rc = create_file(w);
    if (rc != 0) {
        if (e) {
            *e = w->failed;
        }
        free(w->buffer);
        free(w);
        return rc;
    }
    w->head_bytes = spool_head(head, &w->meta);
    w->flushed = (int64_t)w->head_bytes;
    w->write_back_from = PAGE_BYTES;
    w->meta.data_offset = (int64_t)w->head_bytes;
    w->meta.data_bytes = 0;
    w->meta.data_crc32c = 0;
    *out = w;
    return 0;
}

int spool_begin(struct spool_writer **out, const char *home, const struct spool_meta *meta, struct err *e)
{
    return begin(out, home, "obj", meta, e);
}

int spool_change_begin(struct spool_writer **out, const char *home, const struct spool_meta *meta, struct err *e)
{
    char path[SPOOL_PATH_MAX];
    struct spool_meta changed = *meta;
    changed.is_changed = 1;
    spool_path(path, home, "changed", "", "");
    int rc = directory_make(path, e); /* a spool of an older version has none */
    spool_path(path, home, "changed", meta->id, ".dcm");
    if (rc == 0 && unlink(path) == -1 && errno != ENOENT) {
        rc = err_set(e, err_from_errno(errno), errno, "unlink of %s", path);
    }
    return rc ? rc : begin(out, home, "changed", &changed, e);
}

/* Writes all parts at an offset; the parts are used up. */
static int write_parts(struct spool_writer *w, struct iovec *parts, int count, int64_t offset)
{
    while (count > 0) {
        if (parts->iov_len == 0) {
            parts++;
            count--;
            continue;
        }
        ssize_t n = pwritev(w->fd, parts, count, offset);
        if (n == -1 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            int sys = n == 0 ? ENOSPC : errno;
            return err_set(&w->failed, err_from_errno(sys), sys, "write of spool file %s", w->meta.id);
        }
        offset += n;
        while (count > 0 && (size_t)n >= parts->iov_len) {
            n -= (ssize_t)parts->iov_len;
            parts++;
            count--;
        }
        if (count > 0) {
            parts->iov_base = (char *)parts->iov_base + n;
            parts->iov_len -= (size_t)n;
        }
    }
    return 0;
}

/* Appends what was gathered, and bytes after it. */
static void flush(struct spool_writer *w, const void *bytes, size_t count)
{
    struct iovec parts[2] = {{w->buffer, w->used}, {(void *)(uintptr_t)bytes, count}};
    if (w->failed.code == 0 && w->used + count > 0 && write_parts(w, parts, 2, w->flushed) == 0) {
        w->flushed += (int64_t)(w->used + count);
        int64_t pages_end = w->flushed & ~(int64_t)(PAGE_BYTES - 1);
        if (pages_end - w->write_back_from >= WRITEBACK_BYTES) {
            /* only a hint to the kernel to begin; durability is fdatasync's */
            (void)sync_file_range(w->fd, w->write_back_from, pages_end - w->write_back_from, SYNC_FILE_RANGE_WRITE);
            w->write_back_from = pages_end;
        }
    }
    w->used = 0;
}

int spool_write(struct spool_writer *w, const void *bytes, size_t count, struct err *e)
{
    w->meta.data_crc32c = crc32c_update(w->meta.data_crc32c, bytes, count);
    w->meta.data_bytes += (int64_t)count;
    if (count > BUFFER_BYTES - w->used) {
        flush(w, bytes, count);
    } else if (count > 0) {
        memcpy(w->buffer + w->used, bytes, count);
        w->used += count;
    }
    if (w->failed.code != 0 && e) {
        *e = w->failed;
    }
    return w->failed.code;
}

void spool_abort(struct spool_writer **out)
{
    struct spool_writer *w = out ? *out : NULL;
    if (!w) {
        return;
    }
    if (w->fd != -1) {
        (void)close(w->fd);
    }
    if (w->path[0]) {
        (void)unlink(w->path);
    }
    free(w->buffer);
    free(w);
    *out = NULL;
}

/* The rest of the bytes and the head; in one call when nothing was written before. */
static int complete_file(struct spool_writer *w)
{
    unsigned char head[SPOOL_HEAD_MAX];
    size_t length = spool_head(head, &w->meta);
    if (length != w->head_bytes) {
        return err_set(&w->failed, ERR_ARGUMENT, 0, "the head of a spool file changed its length");
    }
    w->meta.file_bytes = (int64_t)length + w->meta.data_bytes;
    w->meta.file_crc32c = crc32c_combine(crc32c_update(0, head, length), w->meta.data_crc32c, (uint64_t)w->meta.data_bytes);
    struct iovec parts[2] = {{head, length}, {NULL, 0}};
    if (w->flushed == (int64_t)length) {
        parts[1] = (struct iovec){w->buffer, w->used};
        return write_parts(w, parts, 2, 0);
    }
    flush(w, NULL, 0);
    return w->failed.code != 0 ? w->failed.code : write_parts(w, parts, 1, 0);
}

/* Gives the file its name in its room. */
static int publish(struct spool_writer *w)
{
    char final[SPOOL_PATH_MAX];
    char nameless[48];
    spool_path(final, w->home, w->room, w->meta.id, ".dcm");
    (void)snprintf(nameless, sizeof nameless, "/proc/self/fd/%d", w->fd);
    if (w->path[0] ? rename(w->path, final) == -1 : linkat(AT_FDCWD, nameless, AT_FDCWD, final, AT_SYMLINK_FOLLOW) == -1) {
        return err_set(&w->failed, err_from_errno(errno), errno, "no name in %s/ for spool file %s", w->room, w->meta.id);
    }
    memcpy(w->path, final, sizeof final);
    return 0;
}

static int make_durable(struct spool_writer *w)
{
    char directory[SPOOL_PATH_MAX];
    int fd = w->fd;
    if (fdatasync(fd) == -1) {
        return err_set(&w->failed, err_from_errno(errno), errno, "fdatasync of spool file %s", w->meta.id);
    }
    w->fd = -1;
    if (close(fd) == -1) {
        return err_set(&w->failed, err_from_errno(errno), errno, "close of spool file %s", w->meta.id);
    }
    spool_path(directory, w->home, w->room, "", "");
    return directory_sync(directory, &w->failed);
}

int spool_finish(struct spool_writer **out, int64_t received_ms, struct spool_meta *meta, struct err *e)
{
    struct spool_writer *w = *out;
    w->meta.received_ms = received_ms;
    int rc = w->failed.code != 0 ? w->failed.code : complete_file(w);
    rc = rc != 0 ? rc : publish(w);
    rc = rc != 0 ? rc : make_durable(w);
    if (rc != 0) {
        if (e) {
            *e = w->failed;
        }
        spool_abort(out);
        return rc;
    }
    *meta = w->meta;
    free(w->buffer);
    free(w);
    *out = NULL;
    return 0;
}
