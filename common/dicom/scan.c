/* scan - see scan.h. One loop over elements; the open sequences and items stand on a stack of fixed depth. */
#include "common/dicom/scan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { DEPTH_MAX = 2 * 64 /* a sequence and its item */, ELEMENTS_MAX = 2000000, META_ELEMENTS_MAX = 1000, WINDOW = 64 << 10 };
#define UNDEFINED 0xffffffffu
#define INFLATED_MAX (1LL << 30)

/* ---- bytes: a window over the file, or over its inflated rest -------------------------------------------------------------- */

struct source {
    int fd;
    const unsigned char *memory; /* instead of fd */
    size_t memory_count;
    int64_t at;   /* position in the (inflated) stream of the next byte to give */
    unsigned char window[WINDOW];
    int64_t from; /* stream position of window[0] */
    size_t have;
    bool deflated;
    z_stream z;
    unsigned char packed[WINDOW];
    int64_t packed_at;
    bool ended;
    bool broken;   /* the deflated stream is damaged or ends too early */
    bool too_long; /* inflated more than INFLATED_MAX */
    int io;        /* errno of a failed read */
    uint32_t seen; /* which of the wanted tags came: one bit each */
    dicom_visit *visit; /* who wants to see every element, or NULL */
    void *visit_ctx;
};

/* Up to WINDOW bytes of the file at an offset. */
static size_t read_file(struct source *s, unsigned char *out, int64_t at)
{
    if (s->memory) {
        size_t left = at < (int64_t)s->memory_count ? s->memory_count - (size_t)at : 0;
        size_t n = left < WINDOW ? left : WINDOW;
        if (n > 0) {
            memcpy(out, s->memory + at, n);
        }
        return n;
    }
    ssize_t n = pread(s->fd, out, WINDOW, at);
    if (n < 0) {
        s->io = errno;
        return 0;
    }
    return (size_t)n;
}

/* Loads the window that begins at s->at. Inflated streams only go forward. */
static void load(struct source *s)
{
    if (!s->deflated) {
        s->have = read_file(s, s->window, s->at);
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
        s->z.avail_out = WINDOW;
        while (s->z.avail_out > 0 && !s->ended) {
            if (s->z.avail_in == 0) {
                size_t n = read_file(s, s->packed, s->packed_at);
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
        s->have = WINDOW - s->z.avail_out;
    }
}

/* Up to count bytes at s->at, which moves on. Returns how many there were. */
static size_t take(struct source *s, void *out, size_t count)
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

/* Passes over count bytes; false if the stream ends before. */
static bool skip(struct source *s, int64_t count)
{
    unsigned char last;
    if (count == 0) {
        return true;
    }
    s->at += count - 1;
    return take(s, &last, 1) == 1;
}

/* ---- elements ----------------------------------------------------------------------------------------------------------------- */

struct syntax {
    bool implicit, big_endian;
};

struct element {
    unsigned group, number;
    char vr[3];
    uint32_t length;
    int64_t at;
};

static unsigned get16(const unsigned char *p, bool big)
{
    return big ? (unsigned)p[0] << 8 | p[1] : p[0] | (unsigned)p[1] << 8;
}

static uint32_t get32(const unsigned char *p, bool big)
{
    return big ? (uint32_t)get16(p, true) << 16 | get16(p + 2, true) : get16(p, false) | (uint32_t)get16(p + 2, false) << 16;
}

static bool vr_is_known(const char *vr, bool *is_long)
{
    static const char longs[] = "OB OD OF OL OV OW SQ UC UN UR UT SV UV";
    static const char shorts[] = "AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US";
    for (size_t i = 0; i + 1 < sizeof longs; i += 3) {
        if (longs[i] == vr[0] && longs[i + 1] == vr[1]) {
            *is_long = true;
            return true;
        }
    }
    for (size_t i = 0; i + 1 < sizeof shorts; i += 3) {
        if (shorts[i] == vr[0] && shorts[i + 1] == vr[1]) {
            *is_long = false;
            return true;
        }
    }
    return false;
}

/* 1: read; 0: the stream ended cleanly before it; negative: an error. */
static int next_element(struct source *s, struct syntax x, struct element *el, struct err *e)
{
    unsigned char head[12];
    el->at = s->at;
    size_t n = take(s, head, 8);
    if (n == 0) {
        return s->broken || s->too_long || s->io ? err_set(e, ERR_DICOM_UNREADABLE, 0,
                                                           "the deflated data set is damaged or ends too early, at offset %lld",
                                                           (long long)s->at)
                                                 : 0;
    }
    if (n < 8) {
        return err_set(e, ERR_DICOM_TRUNCATED, 0, "the data set ends inside an element's head at offset %lld", (long long)el->at);
    }
    el->group = get16(head, x.big_endian);
    el->number = get16(head + 2, x.big_endian);
    bool delimiter = el->group == 0xfffe;
    if (x.implicit || delimiter) {
        memcpy(el->vr, "UN", 3);
        el->length = get32(head + 4, x.big_endian);
        return 1;
    }
    bool is_long = false;
    el->vr[0] = (char)head[4];
    el->vr[1] = (char)head[5];
    el->vr[2] = '\0';
    if (!vr_is_known(el->vr, &is_long)) {
        return err_set(e, ERR_DICOM_UNREADABLE, 0,
                       "element (%04X,%04X) at offset %lld has no value representation of the standard: the data set is not in its "
                       "transfer syntax or is damaged",
                       el->group, el->number, (long long)el->at);
    }
    if (!is_long) {
        el->length = get16(head + 6, x.big_endian);
        return 1;
    }
    if (take(s, head + 8, 4) < 4) {
        return err_set(e, ERR_DICOM_TRUNCATED, 0, "the data set ends inside an element's head at offset %lld", (long long)el->at);
    }
    el->length = get32(head + 8, x.big_endian);
    return 1;
}

static int truncated(const struct element *el, struct err *e)
{
    return err_set(e, ERR_DICOM_TRUNCATED, 0, "element (%04X,%04X) at offset %lld says %u bytes, the data set ends before", el->group,
                   el->number, (long long)el->at, el->length);
}

/* Bytes of the printable UTF-8 character at p, 0 if there is none (overlong forms, surrogates, control characters are none). */
static size_t utf8_length(const unsigned char *p, size_t count)
{
    if (p[0] < 0x80) {
        return p[0] >= 0x20 && p[0] < 0x7f;
    }
    size_t n = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;
    if (n == 0 || n > count) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool bad = (p[0] == 0xc2 && p[1] < 0xa0) || (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
               (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f);
    return bad ? 0 : n;
}

/* Printable UTF-8, other bytes '?', cut at a character's border. */
static void clean_text(const unsigned char *raw, size_t count, char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < count;) {
        size_t n = utf8_length(raw + i, count - i);
        size_t width = n ? n : 1;
        if (used + width >= size) {
            break;
        }
        if (n) {
            memcpy(out + used, raw + i, n);
        } else {
            out[used] = '?';
        }
        used += width;
        i += width;
    }
    out[used] = '\0';
}

/* Shows an element to the visitor, with the first bytes of its value (with_value), over which it passes then. */
static int show(struct source *s, const struct element *el, bool implicit, int depth, bool with_value, struct err *e)
{
    unsigned char value[DICOM_SHOWN_MAX];
    struct dicom_element seen = {.depth = depth, .group = el->group, .number = el->number, .offset = el->at, .length = el->length == UNDEFINED ? -1 : (int64_t)el->length,
                                 .value = value};
    (void)snprintf(seen.vr, sizeof seen.vr, "%s", implicit || el->group == 0xfffe ? "" : el->vr);
    seen.value_count = !with_value ? 0 : el->length < sizeof value ? el->length : sizeof value;
    bool whole = take(s, value, seen.value_count) == seen.value_count && (!with_value || skip(s, (int64_t)el->length - (int64_t)seen.value_count));
    return !whole ? truncated(el, e) : s->visit(s->visit_ctx, &seen) ? err_set(e, ERR_STOPPED, 0, "enough of it was shown") : 0;
}

/* A wanted tag: where its text goes. */
struct wish {
    uint32_t tag;
    char *out;
    size_t size;
    bool uid;
};

/* Value -> text, padding off. Consumes the value. */
static int read_text(struct source *s, const struct element *el, const struct wish *wish, bool again, struct dicom_scan *scan,
                     struct err *e)
{
    enum { SEARCHED_MAX = 256 };
    unsigned char raw[SEARCHED_MAX + 4];
    size_t want = el->length < sizeof raw ? el->length : sizeof raw;
    if (take(s, raw, want) < want || !skip(s, (int64_t)el->length - (int64_t)want)) {
        return truncated(el, e);
    }
    if (again) {
        scan->duplicated = true;
        return 0;
    }
    while (want > 0 && (raw[want - 1] == '\0' || raw[want - 1] == ' ')) {
        want--;
    }
    size_t first = 0;
    while (first < want && raw[first] == ' ') {
        first++;
    }
    if (wish->uid && !scan->uid_is_odd && (want - first > 64 || el->length > sizeof raw || memchr(raw, '\0', want))) {
        scan->uid_is_odd = true;
        scan->odd_tag = wish->tag;
    }
    scan->long_value = scan->long_value || (!wish->uid && wish->size > SEARCHED_MAX && (want > SEARCHED_MAX || el->length > sizeof raw));
    clean_text(raw + first, want - first, wish->out, wish->size);
    return 0;
}

/* Reads the value of an element if its tag is wanted; otherwise passes over it. */
static int read_value(struct source *s, const struct element *el, struct dicom_scan *o, struct err *e)
{
    const struct wish wishes[] = {
        {0x00020002, o->meta_sop_class_uid, sizeof o->meta_sop_class_uid, true},
        {0x00020003, o->meta_sop_instance_uid, sizeof o->meta_sop_instance_uid, true},
        {0x00020010, o->transfer_syntax_uid, sizeof o->transfer_syntax_uid, true},
        {0x00080016, o->sop_class_uid, sizeof o->sop_class_uid, true},
        {0x00080018, o->sop_instance_uid, sizeof o->sop_instance_uid, true},
        {0x0020000d, o->study_uid, sizeof o->study_uid, true},
        {0x0020000e, o->series_uid, sizeof o->series_uid, true},
        {0x00080060, o->modality, sizeof o->modality, false}, {0x00080050, o->accession_number, sizeof o->accession_number, false},
        {0x00100020, o->patient_id, sizeof o->patient_id, false},
        {0x00080020, o->study_date, sizeof o->study_date, false},
        {0x00200010, o->study_id, sizeof o->study_id, false}, {0x00200011, o->series_number, sizeof o->series_number, false},
        {0x00200013, o->instance_number, sizeof o->instance_number, false},
    };
    for (size_t i = 0; i < sizeof wishes / sizeof wishes[0]; i++) {
        if (wishes[i].tag == ((uint32_t)el->group << 16 | el->number)) {
            bool again = (s->seen >> i & 1) != 0;
            s->seen |= UINT32_C(1) << i;
            return read_text(s, el, &wishes[i], again, o, e);
        }
    }
    return skip(s, el->length) ? 0 : truncated(el, e);
}

/* ---- file meta information: always explicit little endian; read by tag, whatever its group length says ------------------------- */

static int scan_meta(struct source *s, struct dicom_scan *out, struct err *e)
{
    unsigned char head[132];
    const struct syntax explicit_little = {false, false};
    if (take(s, head, sizeof head) < sizeof head || memcmp(head + 128, "DICM", 4) != 0) {
        return err_set(e, ERR_DICOM_UNREADABLE, 0, "not a Part 10 file: no DICM after the preamble");
    }
    for (int count = 0; count <= META_ELEMENTS_MAX; count++) {
        struct element el;
        unsigned char peek[2];
        int64_t before = s->at;
        if (take(s, peek, 2) < 2 || get16(peek, false) != 2) {
            s->at = out->data_offset = before;
            return 0;
        }
        s->at = before;
        int rc = next_element(s, explicit_little, &el, e);
        if (rc <= 0) {
            return rc;
        }
        int64_t value_at = s->at;
        rc = s->visit ? show(s, &el, false, 0, true, e) : 0;
        s->at = value_at; /* what stands before a deflated data set is not deflated */
        rc = rc ? rc : read_value(s, &el, out, e);
        if (rc != 0) {
            return rc;
        }
    }
    return err_set(e, ERR_DICOM_LIMIT, 0, "more than %d elements of file meta information", META_ELEMENTS_MAX);
}

/* ---- the data set ---------------------------------------------------------------------------------------------------------------- */

struct level {
    int64_t end; /* stream position, or -1: until its delimiter */
    bool item;   /* an item's elements; otherwise a sequence's items */
    bool implicit, encapsulated;
    bool little; /* below a UN without length: little endian whatever the transfer syntax says */
    unsigned group, number; /* of the sequence */
};

static int push(struct level *stack, int *depth, struct level l, const struct element *el, struct err *e)
{
    if (*depth == DEPTH_MAX) {
        return err_set(e, ERR_DICOM_LIMIT, 0, "sequences nest deeper than %d levels at (%04X,%04X), offset %lld", DEPTH_MAX / 2,
                       el->group, el->number, (long long)el->at);
    }
    stack[(*depth)++] = l;
    return 0;
}

/* What stands where items must stand: an item, the end of the sequence, or nonsense. */
static int scan_item(struct source *s, const struct element *el, struct level *stack, int *depth, struct err *e)
{
    struct level *top = &stack[*depth - 1];
    if (el->group == 0xfffe && el->number == 0xe0dd) {
        (*depth)--;
        return 0;
    }
    if (el->group != 0xfffe || el->number != 0xe000) {
        return err_set(e, ERR_DICOM_UNREADABLE, 0, "(%04X,%04X) at offset %lld where an item must stand", el->group, el->number,
                       (long long)el->at);
    }
    if (top->encapsulated) {
        return el->length != UNDEFINED && skip(s, el->length) ? 0 : truncated(el, e);
    }
    if (s->visit) {
        int rc = show(s, el, false, *depth / 2, false, e);
        if (rc != 0) {
            return rc;
        }
    }
    struct level item = *top;
    item.end = el->length == UNDEFINED ? -1 : s->at + el->length;
    item.item = true;
    return push(stack, depth, item, el, e);
}

static int scan_element(struct source *s, const struct element *el, struct syntax x, struct dicom_scan *out, struct level *stack,
                        int *depth, struct err *e)
{
    bool pixels = el->group == 0x7fe0 && (el->number == 0x10 || el->number == 8 || el->number == 9);
    bool little = *depth > 0 && stack[*depth - 1].little;
    if (pixels && *depth == 0) {
        out->pixels_at = out->has_pixel_data ? out->pixels_at : el->at;
        out->has_pixel_data = true;
        out->pixel_data_is_empty = el->length == 0;
    }
    if (s->visit) {
        bool is_whole = el->length != UNDEFINED && (strcmp(el->vr, "SQ") != 0 || el->length == 0) && !pixels;
        int rc = show(s, el, x.implicit, *depth / 2, is_whole, e);
        if (rc != 0 || is_whole) {
            return rc;
        }
    }
    if (el->length == UNDEFINED) {
        bool unknown = strcmp(el->vr, "UN") == 0;
        if (!unknown && strcmp(el->vr, "SQ") != 0 && strcmp(el->vr, "OB") != 0 && strcmp(el->vr, "OW") != 0) {
            return err_set(e, ERR_DICOM_UNREADABLE, 0, "(%04X,%04X) %s at offset %lld has no length", el->group, el->number, el->vr,
                           (long long)el->at);
        }
        /* UN without a length is a sequence in implicit VR (PS3.5 section 6.2.2, CP-246) */
        struct level sequence = {
            -1, false, x.implicit || unknown, pixels || el->vr[0] == 'O', little || (unknown && !x.implicit), el->group, el->number};
        return push(stack, depth, sequence, el, e);
    }
    out->odd_length = out->odd_length || el->length % 2 != 0;
    if (strcmp(el->vr, "SQ") == 0 && el->length > 0) {
        struct level sequence = {s->at + el->length, false, x.implicit, false, little, el->group, el->number};
        return push(stack, depth, sequence, el, e);
    }
    if (*depth == 0 && el->group != 2) {
        return read_value(s, el, out, e);
    }
    return skip(s, el->length) ? 0 : truncated(el, e);
}

/* Do two explicit elements stand here, one after the other (or one and the end)? */
static bool looks_explicit(struct source *s, bool big_endian)
{
    struct element el;
    const struct syntax x = {false, big_endian};
    int64_t start = s->at;
    bool yes = next_element(s, x, &el, NULL) == 1 && el.group != 0xfffe && el.length < WINDOW / 2 && skip(s, el.length) &&
               next_element(s, x, &el, NULL) >= 0;
    s->at = start;
    return yes;
}

/* The first elements tell when a data set is evidently in another encoding than the transfer syntax says. */
static int check_syntax(struct source *s, struct syntax x, struct err *e)
{
    unsigned char head[4];
    int64_t start = s->at;
    size_t n = take(s, head, sizeof head);
    s->at = start;
    if (n < sizeof head) {
        return 0;
    }
    unsigned group = get16(head, x.big_endian);
    const char *is = NULL;
    if (group == 0x0800 || group == 0x0200) {
        is = x.big_endian ? "little endian" : "big endian";
    } else if (x.implicit && looks_explicit(s, false)) {
        is = "explicit VR";
    }
    return is ? err_set(e, ERR_DICOM_UNREADABLE, 0,
                        "the data set is %s, (0002,0010) Transfer Syntax UID says otherwise: have the sender send it in the transfer "
                        "syntax that it negotiated",
                        is)
              : 0;
}

static int scan_data(struct source *s, struct syntax syntax, struct dicom_scan *out, struct err *e)
{
    struct level stack[DEPTH_MAX];
    int depth = 0;
    for (int count = 0; count < ELEMENTS_MAX; count++) {
        while (depth > 0 && stack[depth - 1].end >= 0 && s->at >= stack[depth - 1].end) {
            depth--;
        }
        if (depth == 0 && out->has_pixel_data && out->pixels_end == 0) {
            out->pixels_end = s->at;
        }
        bool items = depth > 0 && !stack[depth - 1].item;
        struct syntax x = syntax;
        if (depth > 0) {
            x.implicit = items || stack[depth - 1].implicit;
            x.big_endian = x.big_endian && !stack[depth - 1].little;
        }
        struct element el;
        int rc = next_element(s, x, &el, e);
        if (rc == 0) {
            return depth == 0 ? 0
                              : err_set(e, ERR_DICOM_TRUNCATED, 0, "the data set ends inside %s (%04X,%04X) at offset %lld",
                                        items && stack[depth - 1].encapsulated ? "the encapsulated pixel data" : "the sequence",
                                        stack[depth - 1].group, stack[depth - 1].number, (long long)s->at);
        }
        if (rc < 0) {
            return rc;
        }
        if (items) {
            rc = scan_item(s, &el, stack, &depth, e);
        } else if (el.group == 0xfffe) {
            if (depth == 0 || el.number != 0xe00d) {
                return err_set(e, ERR_DICOM_UNREADABLE, 0, "a delimiter (FFFE,%04X) at offset %lld that ends nothing", el.number,
                               (long long)el.at);
            }
            depth--;
            rc = 0;
        } else {
            rc = scan_element(s, &el, x, out, stack, &depth, e);
        }
        if (rc != 0) {
            return rc;
        }
    }
    return err_set(e, ERR_DICOM_LIMIT, 0, "more than %d elements and items", ELEMENTS_MAX);
}

static int scan(struct source *s, struct dicom_scan *out, struct err *e)
{
    memset(out, 0, sizeof *out);
    int rc = scan_meta(s, out, e);
    if (rc == 0) {
        enum dicom_ts_kind kind = dicom_ts_kind_of(out->transfer_syntax_uid);
        struct syntax x = {kind == DICOM_TS_IMPLICIT, kind == DICOM_TS_BIG_ENDIAN};
        if (kind == DICOM_TS_DEFLATED) {
            s->packed_at = out->data_offset;
            s->at = s->from = 0;
            s->have = 0;
            if (inflateInit2(&s->z, -MAX_WBITS) != Z_OK) {
                return err_set(e, ERR_MEMORY, 0, "inflate");
            }
            s->deflated = true;
        }
        rc = check_syntax(s, x, e);
        rc = rc ? rc : scan_data(s, x, out, e);
        if (rc != 0 && out->transfer_syntax_uid[0] && !dicom_ts_is_standard(out->transfer_syntax_uid)) {
            rc = err_set(e, ERR_DICOM_SYNTAX, 0,
                         "(0002,0010) Transfer Syntax UID is none of the standard's and the data set cannot be read: have it sent in a "
                         "transfer syntax of the standard");
        }
    }
    if (s->deflated) {
        (void)inflateEnd(&s->z);
    }
    if (rc != 0 && s->too_long) {
        rc = err_set(e, ERR_DICOM_LIMIT, 0, "the deflated data set inflates to more than %lld bytes", INFLATED_MAX);
    }
    return s->io ? err_set(e, ERR_IO, s->io, "read of a spool file") : rc;
}

static int scan_from(int fd, const void *memory, size_t count, dicom_visit *visit, void *ctx, struct dicom_scan *out, struct err *e)
{
    struct source *s = calloc(1, sizeof *s);
    if (!s) {
        return err_set(e, ERR_MEMORY, 0, "scan of a data set");
    }
    s->fd = fd;
    s->memory = memory;
    s->memory_count = count;
    s->visit = visit;
    s->visit_ctx = ctx;
    int rc = scan(s, out, e);
    free(s);
    return rc;
}

int dicom_scan_fd(int fd, struct dicom_scan *out, struct err *e)
{
    return scan_from(fd, NULL, 0, NULL, NULL, out, e);
}

int dicom_scan_elements(int fd, dicom_visit *visit, void *ctx, struct err *e)
{
    struct dicom_scan found;
    return scan_from(fd, NULL, 0, visit, ctx, &found, e);
}

int dicom_scan_memory(const void *bytes, size_t count, struct dicom_scan *out, struct err *e)
{
    return scan_from(-1, count > 0 ? bytes : "", count, NULL, NULL, out, e);
}
