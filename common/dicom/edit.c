/*
 * edit - see edit.h: the file around the elements. What stands in front of the pixel data and behind it is read into memory, the pixel data itself stays a
 * range of the old file. A deflated data set is inflated into memory as a whole, and deflated again.
 */
#include "common/dicom/edit.h"
#include "common/dicom/edit_elements.h"
#include "common/dicom/scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

int edit_buffer_reserve(struct edit_buffer *b, size_t count, struct err *e)
{
    if (count > EDIT_BYTES_MAX || b->count > EDIT_BYTES_MAX - count) {
        return err_set(e, ERR_DICOM_LIMIT, 0, "there is more than %d MiB beside the pixel data, too much to be changed here", EDIT_BYTES_MAX >> 20);
    }
    if (b->room - b->count < count) {
        size_t room = b->count + count + b->room / 2 + 256;
        unsigned char *more = realloc(b->at, room);
        if (!more) {
            return err_set(e, ERR_MEMORY, 0, "change of a data set");
        }
        b->at = more;
        b->room = room;
    }
    return 0;
}

static int read_range(int fd, int64_t from, int64_t to, struct edit_buffer *b, struct err *e)
{
    int rc = edit_buffer_reserve(b, to - from > EDIT_BYTES_MAX ? SIZE_MAX : (size_t)(to - from), e);
    while (rc == 0 && from < to) {
        ssize_t n = pread(fd, b->at + b->count, (size_t)(to - from), from);
        if (n == -1 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return err_set(e, ERR_IO, n < 0 ? errno : 0, "read of a spool file");
        }
        b->count += (size_t)n;
        from += n;
    }
    return rc;
}

/* The whole deflated stream. */
static int inflate_all(const struct edit_buffer *packed, struct edit_buffer *b, struct err *e)
{
    z_stream z = {.next_in = packed->at, .avail_in = (uInt)packed->count};
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK) {
        return err_set(e, ERR_MEMORY, 0, "inflate");
    }
    int rc = 0;
    for (int step = Z_OK; rc == 0 && step != Z_STREAM_END;) {
        rc = edit_buffer_reserve(b, 1 << 16, e);
        if (rc == 0) {
            z.next_out = b->at + b->count;
            z.avail_out = (uInt)(b->room - b->count);
            step = inflate(&z, Z_NO_FLUSH);
            b->count = b->room - z.avail_out;
            rc = step == Z_OK || step == Z_STREAM_END ? 0 : err_set(e, ERR_DICOM_UNREADABLE, 0, "the deflated data set is damaged");
        }
    }
    (void)inflateEnd(&z);
    return rc;
}

/* Of even length, as PS3.5 A.5 has it. */
static int deflate_all(const struct edit_buffer *b, struct edit_buffer *packed, struct err *e)
{
    z_stream z = {.next_in = b->at, .avail_in = (uInt)b->count};
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        return err_set(e, ERR_MEMORY, 0, "deflate");
    }
    int rc = edit_buffer_reserve(packed, deflateBound(&z, (uLong)b->count) + 1, e);
    if (rc == 0) {
        z.next_out = packed->at;
        z.avail_out = (uInt)(packed->room - 1);
        rc = deflate(&z, Z_FINISH) == Z_STREAM_END ? 0 : err_set(e, ERR_MEMORY, 0, "deflate");
        packed->count = packed->room - 1 - z.avail_out;
        if (rc == 0 && packed->count % 2 != 0) {
            packed->at[packed->count++] = 0;
        }
    }
    (void)deflateEnd(&z);
    return rc;
}

static void take(struct edit_buffer *b, unsigned char **at, size_t *count)
{
    *at = b->at;
    *count = b->count;
    memset(b, 0, sizeof *b);
}

static int apply_deflated(int fd, int64_t file_bytes, const struct dicom_scan *scan, const struct edit_plan *plan, struct edited *out, struct err *e)
{
    struct edit_buffer packed = {0};
    struct edit_buffer all = {0};
    struct edit_buffer head = {0};
    struct edit_buffer tail = {0};
    struct edit_buffer again = {0};
    const struct edit_syntax syntax = {false, false};
    int rc = read_range(fd, scan->data_offset, file_bytes, &packed, e);
    rc = rc ? rc : inflate_all(&packed, &all, e);
    if (rc == 0) {
        size_t from = scan->pixels.tag != 0 ? (size_t)scan->pixels_at : all.count;
        size_t to = scan->pixels.tag != 0 ? (size_t)scan->pixels_end : all.count;
        rc = edit_elements(plan, syntax, all.at, from, all.at + to, all.count - to, &head, &tail, out, e);
        rc = rc ? rc : edit_buffer_reserve(&head, to - from + tail.count, e);
        if (rc == 0 && to - from + tail.count > 0) {
            memcpy(head.at + head.count, all.at + from, to - from);
            head.count += to - from;
            if (tail.count > 0) {
                memcpy(head.at + head.count, tail.at, tail.count);
                head.count += tail.count;
            }
        }
        rc = rc ? rc : deflate_all(&head, &again, e);
    }
    if (rc == 0) {
        take(&again, &out->head, &out->head_bytes);
    }
    free(packed.at);
    free(all.at);
    free(head.at);
    free(tail.at);
    free(again.at);
    return rc;
}

static int apply_plain(int fd, int64_t file_bytes, const struct dicom_scan *scan, struct edit_syntax syntax, const struct edit_plan *plan,
                       struct edited *out, struct err *e)
{
    struct edit_buffer front = {0};
    struct edit_buffer behind = {0};
    struct edit_buffer head = {0};
    struct edit_buffer tail = {0};
    int64_t from = scan->pixels.tag != 0 ? scan->pixels_at : file_bytes;
    int64_t to = scan->pixels.tag != 0 ? scan->pixels_end : file_bytes;
    int rc = read_range(fd, scan->data_offset, from, &front, e);
    rc = rc ? rc : read_range(fd, to, file_bytes, &behind, e);
    rc = rc ? rc : edit_elements(plan, syntax, front.at, front.count, behind.at, behind.count, &head, &tail, out, e);
    if (rc == 0) {
        take(&head, &out->head, &out->head_bytes);
        take(&tail, &out->tail, &out->tail_bytes);
        out->pixels_at = from;
        out->pixels_bytes = to - from;
    }
    free(front.at);
    free(behind.at);
    free(head.at);
    free(tail.at);
    return rc;
}

int edit_apply(int fd, const struct edit_plan *plan, struct edited *out, struct err *e)
{
    struct dicom_scan scan;
    struct stat info;
    memset(out, 0, sizeof *out);
    int rc = dicom_scan_fd(fd, &scan, e);
    if (rc != 0) {
        return rc;
    }
    if (fstat(fd, &info) == -1) {
        return err_set(e, ERR_IO, errno, "size of a spool file");
    }
    enum dicom_ts_kind kind = dicom_ts_kind_of(scan.transfer_syntax_uid);
    const struct edit_syntax syntax = {kind == DICOM_TS_IMPLICIT, kind == DICOM_TS_BIG_ENDIAN};
    rc = kind == DICOM_TS_DEFLATED ? apply_deflated(fd, info.st_size, &scan, plan, out, e)
                                   : apply_plain(fd, info.st_size, &scan, syntax, plan, out, e);
    out->bytes = (int64_t)(out->head_bytes + out->tail_bytes) + out->pixels_bytes;
    return rc;
}

int edit_write(const struct edited *d, int fd, int (*write)(void *ctx, const void *bytes, size_t count, struct err *e), void *ctx, struct err *e)
{
    enum { CHUNK = 256 << 10 };
    int rc = d->head_bytes ? write(ctx, d->head, d->head_bytes, e) : 0;
    unsigned char *chunk = rc == 0 && d->pixels_bytes > 0 ? malloc(CHUNK) : NULL;
    if (rc == 0 && d->pixels_bytes > 0 && !chunk) {
        rc = err_set(e, ERR_MEMORY, 0, "copy of pixel data");
    }
    for (int64_t done = 0; rc == 0 && done < d->pixels_bytes;) {
        int64_t left = d->pixels_bytes - done;
        ssize_t n = pread(fd, chunk, left < CHUNK ? (size_t)left : CHUNK, d->pixels_at + done);
        if (n == -1 && errno == EINTR) {
            continue;
        }
        rc = n <= 0 ? err_set(e, ERR_IO, n < 0 ? errno : 0, "read of a spool file") : write(ctx, chunk, (size_t)n, e);
        done += n;
    }
    free(chunk);
    return rc == 0 && d->tail_bytes ? write(ctx, d->tail, d->tail_bytes, e) : rc;
}

void edit_clear(struct edited *d)
{
    for (size_t i = 0; i < d->change_count; i++) {
        free(d->changes[i].old_value);
        free(d->changes[i].new_value);
    }
    free(d->changes);
    free(d->head);
    free(d->tail);
    memset(d, 0, sizeof *d);
}
