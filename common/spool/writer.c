/*
 * writer - one spool file from the first byte to durable.
 *
 * Order (docs/states.md S1 to S2): bytes to tmp/, head into its reserved room, rename to obj/, fdatasync, close. The rename comes
 * before the fdatasync because then one journal commit of the file system carries both; the fsync of the directory follows
 * for a whole group and finds nothing left to do. A power cut in between leaves a torn file in obj/ without a row: never promised,
 * and the (0002,0102) of its head proves it torn. Write-back starts while bytes still arrive, so fdatasync finds little to do.
 */
#include "common/spool/internal.h"

#include "common/runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER_BYTES = 256 << 10, WRITEBACK_BYTES = 1 << 20 };

struct spool_writer {
    int fd;
    char path[SPOOL_PATH_MAX]; /* the name that the file has now */
    char home[SPOOL_PATH_MAX];
    struct spool_meta meta;
    unsigned char *buffer;
    size_t used, head_bytes;
    int64_t flushed; /* bytes handed to the kernel, head included */
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
    int n = snprintf(proof, sizeof proof, "storescp1 %013lld %014lld %08x", (long long)meta->received_ms,
                     (long long)meta->data_bytes, meta->data_crc32c);
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

int spool_begin(struct spool_writer **out, const char *home, const struct spool_meta *meta, struct err *e)
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
    w->meta = *meta;
    (void)snprintf(w->home, sizeof w->home, "%s", home);
    spool_path(w->path, home, "tmp", meta->id, ".part");
    w->fd = open(w->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (w->fd == -1) {
        int rc = err_set(e, err_from_errno(errno), errno, "cannot create %s", w->path);
        free(w->buffer);
        free(w);
        return rc;
    }
    w->head_bytes = spool_head(head, &w->meta);
    memset(w->buffer, 0, w->head_bytes);
    w->used = w->head_bytes;
    w->meta.data_offset = (int64_t)w->head_bytes;
    w->meta.data_bytes = 0;
    w->meta.data_crc32c = 0;
    *out = w;
    return 0;
}

static int flush(struct spool_writer *w)
{
    if (w->failed.code == 0 && w->used > 0 && write_all(w->fd, w->buffer, w->used, &w->failed) == 0) {
        w->flushed += (int64_t)w->used;
        if (w->flushed - w->write_back_from >= WRITEBACK_BYTES) {
            /* only a hint to the kernel to begin; durability is fdatasync's */
            (void)sync_file_range(w->fd, w->write_back_from, w->flushed - w->write_back_from, SYNC_FILE_RANGE_WRITE);
            w->write_back_from = w->flushed;
        }
    }
    w->used = 0;
    return w->failed.code;
}

int spool_write(struct spool_writer *w, const void *bytes, size_t count, struct err *e)
{
    const unsigned char *p = bytes;
    w->meta.data_crc32c = crc32c_update(w->meta.data_crc32c, bytes, count);
    w->meta.data_bytes += (int64_t)count;
    while (count > 0 && w->failed.code == 0) {
        size_t part = BUFFER_BYTES - w->used < count ? BUFFER_BYTES - w->used : count;
        memcpy(w->buffer + w->used, p, part);
        w->used += part;
        p += part;
        count -= part;
        if (w->used == BUFFER_BYTES) {
            (void)flush(w);
        }
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
    (void)unlink(w->path);
    free(w->buffer);
    free(w);
    *out = NULL;
}

int spool_finish(struct spool_writer **out, int64_t received_ms, struct spool_meta *meta, struct err *e)
{
    struct spool_writer *w = *out;
    unsigned char head[SPOOL_HEAD_MAX];
    char final[SPOOL_PATH_MAX];
    w->meta.received_ms = received_ms;
    size_t length = spool_head(head, &w->meta);
    int rc = flush(w);
    if (rc == 0 && length != w->head_bytes) {
        rc = err_set(&w->failed, ERR_ARGUMENT, 0, "the head of a spool file changed its length");
    }
    if (rc == 0 && pwrite(w->fd, head, length, 0) != (ssize_t)length) {
        rc = err_set(&w->failed, err_from_errno(errno), errno, "write of the head");
    }
    spool_path(final, w->home, "obj", w->meta.id, ".dcm");
    if (rc == 0 && rename(w->path, final) == -1) {
        rc = err_set(&w->failed, err_from_errno(errno), errno, "rename to %s", final);
    }
    if (rc == 0) {
        memcpy(w->path, final, sizeof final);
        if (fdatasync(w->fd) == -1) {
            rc = err_set(&w->failed, err_from_errno(errno), errno, "fdatasync of %s", final);
        }
    }
    if (rc == 0) {
        int fd = w->fd;
        w->fd = -1;
        if (close(fd) == -1) {
            rc = err_set(&w->failed, err_from_errno(errno), errno, "close of %s", final);
        }
    }
    if (rc != 0) {
        if (e) {
            *e = w->failed;
        }
        spool_abort(out);
        return rc;
    }
    w->meta.file_bytes = (int64_t)length + w->meta.data_bytes;
    w->meta.file_crc32c =
        crc32c_combine(crc32c_update(0, head, length), w->meta.data_crc32c, (uint64_t)w->meta.data_bytes);
    *meta = w->meta;
    free(w->buffer);
    free(w);
    *out = NULL;
    return 0;
}
