/* scan_source - the bytes of a scan: a window over the file, or over its inflated rest. */
#include "common/dicom/scan_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INFLATED_MAX (1LL << 30)

size_t scan_read_file(struct source *s, void *out, size_t count, int64_t at)
{
    if (s->memory) {
        size_t left = at < (int64_t)s->memory_count ? s->memory_count - (size_t)at : 0;
        size_t n = left < count ? left : count;
        if (n > 0) {
            memcpy(out, s->memory + at, n);
        }
        return n;
    }
    ssize_t n = pread(s->fd, out, count, at);
    if (n < 0) {
        s->io = errno;
        return 0;
    }
    return (size_t)n;
}

/* Loads the window that begins at s->at: much where bytes are read one after the other, little behind a jump over pixels. Inflated
 * streams only go forward. */
static void load(struct source *s)
{
    if (!s->deflated) {
        bool goes_on = s->at == s->from + (int64_t)s->have;
        s->want = s->want == 0 ? SCAN_FIRST : !goes_on ? SCAN_NEXT : s->want < SCAN_WINDOW ? s->want * 2 : SCAN_WINDOW;
        s->have = scan_read_file(s, s->window, s->want, s->at);
        s->from = s->at;
        return;
    }
    while (!s->ended && s->from + (int64_t)s->have <= s->at) {
        if (s->from >= INFLATED_MAX) {
            s->ended = s->too_long = true;
            return;
        }
        s->from += (int64_t)s->have;
        s->z.next_out = s->window;
        s->z.avail_out = SCAN_WINDOW;
        while (s->z.avail_out > 0 && !s->ended) {
            if (s->z.avail_in == 0) {
                size_t n = scan_read_file(s, s->packed, SCAN_WINDOW, s->packed_at);
                if (n == 0) {
                    s->ended = s->broken = true;
                    break;
                }
                s->packed_at += (int64_t)n;
                s->z.next_in = s->packed;
                s->z.avail_in = (uInt)n;
            }
            int step = inflate(&s->z, Z_NO_FLUSH);
            if (step != Z_OK) {
                s->ended = true;
                s->broken = s->broken || step != Z_STREAM_END;
            }
        }
        s->have = SCAN_WINDOW - s->z.avail_out;
    }
}

size_t scan_take(struct source *s, void *out, size_t count)
{
    size_t done = 0;
    while (done < count) {
        if (s->at < s->from || s->at >= s->from + (int64_t)s->have) {
            load(s);
            if (s->at >= s->from + (int64_t)s->have) {
                break;
            }
        }
        size_t offset = (size_t)(s->at - s->from);
        size_t part = s->have - offset < count - done ? s->have - offset : count - done;
        memcpy((unsigned char *)out + done, s->window + offset, part);
        done += part;
        s->at += (int64_t)part;
    }
    return done;
}

bool scan_skip(struct source *s, int64_t count)
{
    unsigned char last;
    if (count == 0) {
        return true;
    }
    s->at += count - 1;
    return scan_take(s, &last, 1) == 1;
}

bool scan_inflate(struct source *s)
{
    s->packed = malloc(SCAN_WINDOW);
    if (!s->packed || inflateInit2(&s->z, -MAX_WBITS) != Z_OK) {
        return false;
    }
    s->packed_at = s->at;
    s->at = s->from = 0;
    s->have = 0;
    s->deflated = true;
    return true;
}

void scan_source_clear(struct source *s)
{
    if (s->deflated) {
        (void)inflateEnd(&s->z);
    }
    free(s->packed);
    s->packed = NULL;
}
