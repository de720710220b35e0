/* scan - see scan.h. One loop over elements; the open sequences and items stand on a stack of fixed depth. */
#include "common/dicom/scan_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 2 * 64 /* a sequence and its item */, ELEMENTS_MAX = 2000000, META_ELEMENTS_MAX = 1000 };

/* ---- elements ----------------------------------------------------------------------------------------------------------------- */

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
    size_t n = scan_take(s, head, 8);
    if (n == 0) {
        return s->broken || s->too_long || s->io ? err_set(e, ERR_DICOM_UNREADABLE, 0,
                                                           "the deflated data set is damaged or ends too early, at offset %lld",
                                                           (long long)s->at)
                                                 : 0;
    }
    if (n < 8) {
        return err_set(e, ERR_DICOM_TRUNCATED, 0, "the data set ends inside an element's head at offset %lld", (long long)el->at);
    }
    el->group = scan_get16(head, x.big_endian);
    el->number = scan_get16(head + 2, x.big_endian);
    bool delimiter = el->group == 0xfffe;
    if (x.implicit || delimiter) {
        memcpy(el->vr, "UN", 3);
        el->length = scan_get32(head + 4, x.big_endian);
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
        el->length = scan_get16(head + 6, x.big_endian);
        return 1;
    }
    if (scan_take(s, head + 8, 4) < 4) {
        return err_set(e, ERR_DICOM_TRUNCATED, 0, "the data set ends inside an element's head at offset %lld", (long long)el->at);
    }
    el->length = scan_get32(head + 8, x.big_endian);
    return 1;
}

/* Shows an element to the visitor, with the first bytes of its value (with_value), over which it passes then. */
static int show(struct source *s, const struct element *el, bool implicit, int depth, bool with_value, struct err *e)
{
    unsigned char value[DICOM_SHOWN_MAX];
    struct dicom_element seen = {.depth = depth, .group = el->group, .number = el->number, .offset = el->at, .length = el->length == SCAN_UNDEFINED ? -1 : (int64_t)el->length,
                                 .value = value};
    (void)snprintf(seen.vr, sizeof seen.vr, "%s", implicit || el->group == 0xfffe ? "" : el->vr);
    seen.value_count = !with_value ? 0 : el->length < sizeof value ? el->length : sizeof value;
    bool whole = scan_take(s, value, seen.value_count) == seen.value_count && (!with_value || scan_skip(s, (int64_t)el->length - (int64_t)seen.value_count));
    return !whole ? scan_truncated(el, e) : s->visit(s->visit_ctx, &seen) ? err_set(e, ERR_STOPPED, 0, "enough of it was shown") : 0;
}

/* ---- file meta information: always explicit little endian; read by tag, whatever its group length says ------------------------- */

static int scan_meta(struct source *s, struct dicom_scan *out, struct err *e)
{
    unsigned char head[132];
    const struct syntax explicit_little = {false, false};
    if (scan_take(s, head, sizeof head) < sizeof head || memcmp(head + 128, "DICM", 4) != 0) {
        return err_set(e, ERR_DICOM_UNREADABLE, 0, "not a Part 10 file: no DICM after the preamble");
    }
    for (int count = 0; count <= META_ELEMENTS_MAX; count++) {
        struct element el;
        unsigned char peek[2];
        int64_t before = s->at;
        if (scan_take(s, peek, 2) < 2 || scan_get16(peek, false) != 2) {
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
        rc = rc ? rc : scan_read_value(s, &el, explicit_little, out, e);
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
    bool pixels; /* the fragments of the pixel data that counts */
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
static int scan_item(struct source *s, const struct element *el, struct dicom_scan *out, struct level *stack, int *depth, struct err *e)
{
    struct level *top = &stack[*depth - 1];
    if (el->group == 0xfffe && el->number == 0xe0dd) {
        if (top->pixels) {
            scan_fragments_end(s, out);
        }
        (*depth)--;
        return 0;
    }
    if (el->group != 0xfffe || el->number != 0xe000) {
        return err_set(e, ERR_DICOM_UNREADABLE, 0, "(%04X,%04X) at offset %lld where an item must stand", el->group, el->number,
                       (long long)el->at);
    }
    if (top->encapsulated) {
        if (top->pixels && el->length != SCAN_UNDEFINED) {
            scan_fragment(s, el, out);
        }
        return el->length != SCAN_UNDEFINED && scan_skip(s, el->length) ? 0 : scan_truncated(el, e);
    }
    if (s->visit) {
        int rc = show(s, el, false, *depth / 2, false, e);
        if (rc != 0) {
            return rc;
        }
    }
    struct level item = *top;
    item.end = el->length == SCAN_UNDEFINED ? -1 : s->at + el->length;
    item.item = true;
    return push(stack, depth, item, el, e);
}

/* Order, repetition, group lengths and contents, of the top level. */
static void look_at_place(struct source *s, const struct element *el, struct dicom_scan *out)
{
    uint32_t tag = scan_tag(el);
    if (!out->order_tag && tag < s->last_tag) {
        out->order_tag = tag;
    }
    if (!out->twice_tag && tag == s->last_tag && tag != 0) {
        out->twice_tag = tag;
    }
    s->last_tag = tag;
    if (s->length_group != 0 && el->group != s->length_group) {
        if (!out->group_length_tag && el->at != s->length_end) {
            out->group_length_tag = (uint32_t)s->length_group << 16;
        }
        s->length_group = 0;
    }
    out->contents |= scan_content_bit(tag);
}

/* The value of (gggg,0000): where it says that its group ends. It is checked there, and never used (PS3.5 section 7.2). */
static int read_group_length(struct source *s, const struct element *el, struct syntax x, struct err *e)
{
    unsigned char value[4];
    if (scan_take(s, value, sizeof value) < sizeof value) {
        return scan_truncated(el, e);
    }
    s->length_group = el->group;
    s->length_end = s->at + scan_get32(value, x.big_endian);
    return 0;
}

static bool begins_pixels(const struct element *el, int depth, struct dicom_scan *out)
{
    bool is_first = depth == 0 && el->group == 0x7fe0 && (el->number == 0x10 || el->number == 8 || el->number == 9) && out->pixels.tag == 0;
    if (is_first) {
        out->pixels.tag = scan_tag(el);
        out->pixels_at = el->at;
        out->pixels.is_encapsulated = el->length == SCAN_UNDEFINED;
        out->pixels.bytes = out->pixels.is_encapsulated ? 0 : el->length;
    }
    return is_first;
}

static int scan_element(struct source *s, const struct element *el, struct syntax x, struct dicom_scan *out, struct level *stack,
                        int *depth, struct err *e)
{
    bool pixels = el->group == 0x7fe0 && (el->number == 0x10 || el->number == 8 || el->number == 9);
    bool little = *depth > 0 && stack[*depth - 1].little;
    bool counts = begins_pixels(el, *depth, out);
    if (*depth == 0) {
        look_at_place(s, el, out);
    }
    if (s->visit) {
        bool is_whole = el->length != SCAN_UNDEFINED && (strcmp(el->vr, "SQ") != 0 || el->length == 0) && !pixels;
        int rc = show(s, el, x.implicit, *depth / 2, is_whole, e);
        if (rc != 0 || is_whole) {
            return rc;
        }
    }
    if (el->length == SCAN_UNDEFINED) {
        bool unknown = strcmp(el->vr, "UN") == 0;
        if (!unknown && strcmp(el->vr, "SQ") != 0 && strcmp(el->vr, "OB") != 0 && strcmp(el->vr, "OW") != 0) {
            return err_set(e, ERR_DICOM_UNREADABLE, 0, "(%04X,%04X) %s at offset %lld has no length", el->group, el->number, el->vr,
                           (long long)el->at);
        }
        /* UN without a length is a sequence in implicit VR (PS3.5 section 6.2.2, CP-246) */
        struct level sequence = {
            -1, false, x.implicit || unknown, pixels || el->vr[0] == 'O', little || (unknown && !x.implicit), counts, el->group, el->number};
        return push(stack, depth, sequence, el, e);
    }
    if (!out->odd_length_tag && el->length % 2 != 0) {
        out->odd_length_tag = scan_tag(el);
    }
    if (*depth == 0 && el->group == 0x7fe0 && el->number == 1) {
        scan_extended_offsets(s, el, out);
    }
    if (strcmp(el->vr, "SQ") == 0 && el->length > 0) {
        struct level sequence = {s->at + el->length, false, x.implicit, false, little, false, el->group, el->number};
        return push(stack, depth, sequence, el, e);
    }
    if (*depth == 0 && el->number == 0 && el->length == 4 && el->group > 2) {
        return read_group_length(s, el, x, e);
    }
    if (*depth == 0 && el->group != 2) {
        return scan_read_value(s, el, x, out, e);
    }
    return scan_skip(s, el->length) ? 0 : scan_truncated(el, e);
}

/* Do two explicit elements stand here, one after the other (or one and the end)? */
static bool looks_explicit(struct source *s, bool big_endian)
{
    struct element el;
    const struct syntax x = {false, big_endian};
    int64_t start = s->at;
    bool yes = next_element(s, x, &el, NULL) == 1 && el.group != 0xfffe && el.length < SCAN_WINDOW / 2 && scan_skip(s, el.length) &&
               next_element(s, x, &el, NULL) >= 0;
    s->at = start;
    return yes;
}

/* The first elements tell when a data set is evidently in another encoding than the transfer syntax says. */
static int check_syntax(struct source *s, struct syntax x, struct err *e)
{
    unsigned char head[4];
    int64_t start = s->at;
    size_t n = scan_take(s, head, sizeof head);
    s->at = start;
    if (n < sizeof head) {
        return 0;
    }
    unsigned group = scan_get16(head, x.big_endian);
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
        if (depth == 0 && out->pixels.tag != 0 && out->pixels_end == 0) {
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
            if (depth == 0 && s->length_group != 0 && !out->group_length_tag && s->at != s->length_end) {
                out->group_length_tag = (uint32_t)s->length_group << 16; /* of the last group */
            }
            return depth == 0 ? 0
                              : err_set(e, ERR_DICOM_TRUNCATED, 0, "the data set ends inside %s (%04X,%04X) at offset %lld",
                                        items && stack[depth - 1].encapsulated ? "the encapsulated pixel data" : "the sequence",
                                        stack[depth - 1].group, stack[depth - 1].number, (long long)s->at);
        }
        if (rc < 0) {
            return rc;
        }
        if (items) {
            rc = scan_item(s, &el, out, stack, &depth, e);
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
    out->pixels.rows = out->pixels.columns = out->pixels.samples = out->pixels.bits = out->pixels.frames = DICOM_VALUE_MISSING;
    int rc = scan_meta(s, out, e);
    if (rc == 0) {
        enum dicom_ts_kind kind = dicom_ts_kind_of(out->transfer_syntax_uid);
        struct syntax x = {kind == DICOM_TS_IMPLICIT, kind == DICOM_TS_BIG_ENDIAN};
        if (kind == DICOM_TS_DEFLATED && !scan_inflate(s)) {
            return err_set(e, ERR_MEMORY, 0, "inflate");
        }
        rc = check_syntax(s, x, e);
        rc = rc ? rc : scan_data(s, x, out, e);
        if (rc != 0 && out->transfer_syntax_uid[0] && !dicom_ts_is_standard(out->transfer_syntax_uid)) {
            rc = err_set(e, ERR_DICOM_SYNTAX, 0,
                         "(0002,0010) Transfer Syntax UID is none of the standard's and the data set cannot be read: have it sent in a "
                         "transfer syntax of the standard");
        }
    }
    if (rc != 0 && s->too_long) {
        rc = err_set(e, ERR_DICOM_LIMIT, 0, "the deflated data set inflates to more than 1 GiB");
    }
    return s->io ? err_set(e, ERR_IO, s->io, "read of a spool file") : rc;
}

static int scan_from(int fd, const void *memory, size_t count, dicom_visit *visit, void *ctx, struct dicom_scan *out, struct err *e)
{
    struct source *s = malloc(sizeof *s);
    if (!s) {
        return err_set(e, ERR_MEMORY, 0, "scan of a data set");
    }
    memset(s, 0, offsetof(struct source, window)); /* all but the window */
    s->fd = fd;
    s->memory = memory;
    s->memory_count = count;
    s->visit = visit;
    s->visit_ctx = ctx;
    int rc = scan(s, out, e);
    scan_judge_texts(s, out);
    scan_source_clear(s);
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
