/* chunked - see chunked.h. */
#include "compose/local-aws/chunked.h"

#include <ctype.h>
#include <string.h>

enum { SIZE_LINE, DATA, DATA_END, TRAILER_LINE, DONE };

#define CHUNK_BYTES_MAX (5LL << 30)

void chunked_init(struct chunked *c, const struct chunked_events *events)
{
    memset(c, 0, sizeof *c);
    c->events = *events;
}

bool chunked_is_done(const struct chunked *c)
{
    return c->rc == 0 && c->state == DONE;
}

static int read_size(struct chunked *c)
{
    static const char extension[] = ";chunk-signature=";
    const char *p = c->line;
    int64_t size = 0;
    int digits = 0;
    for (; isxdigit((unsigned char)*p); p++) {
        size = size * 16 + (isdigit((unsigned char)*p) ? *p - '0' : (*p | 0x20) - 'a' + 10);
        if (++digits > 10 || size > CHUNK_BYTES_MAX) {
            return CHUNKED_BROKEN;
        }
    }
    if (digits == 0) {
        return CHUNKED_BROKEN;
    }
    c->signature[0] = '\0';
    if (strncmp(p, extension, sizeof extension - 1) == 0) {
        p += sizeof extension - 1;
        if (strlen(p) != 64) {
            return CHUNKED_BROKEN;
        }
        memcpy(c->signature, p, 65);
    } else if (*p != '\0') {
        return CHUNKED_BROKEN;
    }
    c->left = size;
    c->state = size > 0 ? DATA : TRAILER_LINE;
    return size > 0 ? 0 : c->events.chunk(c->events.ctx, c->signature);
}

static int read_trailer(struct chunked *c)
{
    if (c->line[0] == '\0') {
        c->state = DONE;
        return 0;
    }
    char *colon = strchr(c->line, ':');
    if (!colon || colon == c->line || ++c->trailers > CHUNKED_TRAILERS_MAX) {
        return CHUNKED_BROKEN;
    }
    *colon = '\0';
    char *value = colon + 1 + strspn(colon + 1, " \t");
    return c->events.trailer(c->events.ctx, c->line, value);
}

static int read_line(struct chunked *c)
{
    if (c->line_used > 0 && c->line[c->line_used - 1] == '\r') {
        c->line_used--;
    }
    c->line[c->line_used] = '\0';
    if (strlen(c->line) != c->line_used) {
        return CHUNKED_BROKEN;
    }
    c->line_used = 0;
    if (c->state == SIZE_LINE) {
        return read_size(c);
    }
    if (c->state == TRAILER_LINE) {
        return read_trailer(c);
    }
    c->state = SIZE_LINE; /* DATA_END: nothing but the line's end may stand here */
    return c->line[0] == '\0' ? c->events.chunk(c->events.ctx, c->signature) : CHUNKED_BROKEN;
}

int chunked_feed(struct chunked *c, const char *bytes, size_t count)
{
    while (count > 0 && c->rc == 0) {
        if (c->state == DATA) {
            size_t part = (int64_t)count < c->left ? count : (size_t)c->left;
            c->left -= (int64_t)part;
            c->decoded += (int64_t)part;
            c->rc = c->events.data(c->events.ctx, bytes, part);
            bytes += part;
            count -= part;
            if (c->left == 0) {
                c->state = DATA_END;
            }
        } else if (c->state == DONE) {
            c->rc = CHUNKED_BROKEN;
        } else if (*bytes == '\n') {
            bytes++;
            count--;
            c->rc = read_line(c);
        } else if (c->line_used + 1 >= sizeof c->line) {
            c->rc = CHUNKED_BROKEN;
        } else {
            c->line[c->line_used++] = *bytes++;
            count--;
        }
    }
    return c->rc;
}
