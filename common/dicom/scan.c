/* scan - see scan.h. One loop over elements; the open sequences and items stand on a stack of fixed depth. */
#include "common/dicom/scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { DEPTH_MAX = 64, ELEMENTS_MAX = 2000000, META_ELEMENTS_MAX = 1000, WINDOW = 64 << 10 };
#define UNDEFINED 0xffffffffu
#define INFLATED_MAX (1LL << 30)

/* ---- bytes: a window over the file, or over its inflated rest -------------------------------------------------------------- */

struct source {
    int fd;
    int64_t at;   /* position in the (inflated) stream of the next byte to give */
    unsigned char window[WINDOW];
    int64_t from; /* stream position of window[0] */
    size_t have;
    bool deflated;
    z_stream z;
    unsigned char packed[WINDOW];
    int64_t packed_at;
    bool ended, broken;
};

/* Loads the window that begins at s->at. Inflated streams only go forward. */
static void load(struct source *s)
{
    if (!s->deflated) {
        ssize_t n = pread(s->fd, s->window, WINDOW, s->at);
        s->from = s->at;
        s->have = n > 0 ? (size_t)n : 0;
        s->broken = s->broken || n < 0;
        return;
    }
    while (!s->ended && s->from + (int64_t)s->have <= s->at && s->from < INFLATED_MAX) {
        s->from += (int64_t)s->have;
        s->z.next_out = s->window;
        s->z.avail_out = WINDOW;
        while (s->z.avail_out > 0 && !s->ended) {
            if (s->z.avail_in == 0) {
                ssize_t n = pread(s->fd, s->packed, WINDOW, s->packed_at);
                if (n <= 0) {
                    s->ended = true;
                    break;
                }
                s->packed_at += n;
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
        return s->broken ? err_set(e, ERR_DICOM_UNREADABLE, 0, "the deflated data set is damaged at offset %lld", (long long)s->at)
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

/* Value -> text: padding off, unprintable bytes to '?', cut at the size. Consumes the value. */
static int read_text(struct source *s, const struct element *el, char *out, size_t size, bool uid, struct dicom_scan *scan,
                     struct err *e)
{
    char raw[260];
    size_t want = el->length < sizeof raw ? el->length : sizeof raw;
    if (take(s, raw, want) < want || !skip(s, (int64_t)el->length - (int64_t)want)) {
        return err_set(e, ERR_DICOM_TRUNCATED, 0, "element (%04X,%04X) at offset %lld says %u bytes, the data set ends before",
                       el->group, el->number, (long long)el->at, el->length);
    }
    while (want > 0 && (raw[want - 1] == '\0' || raw[want - 1] == ' ')) {
        want--;
    }
    size_t skipped = 0;
    while (skipped < want && raw[skipped] == ' ') {
        skipped++;
    }
    if (out[0] != '\0') {
        scan->duplicated = true;
        return 0;
    }
    size_t kept = want - skipped < size - 1 ? want - skipped : size - 1;
    if (uid && (el->length > 66 || memchr(raw, '\0', want))) {
        scan->uid_is_odd = true;
    }
    for (size_t i = 0; i < kept; i++) {
        unsigned char c = (unsigned char)raw[skipped + i];
        out[i] = (char)(c < 0x20 || c >= 0x7f ? '?' : c);
    }
    out[kept] = '\0';
    return 0;
}

/* Where the text of a tag goes; NULL: not wanted. */
static char *wanted(struct dicom_scan *o, unsigned group, unsigned number, size_t *size, bool *uid)
{
    const struct {
        uint32_t tag;
        char *out;
        size_t size;
        bool uid;
    } table[] = {
        {0x00020002, o->meta_sop_class_uid, sizeof o->meta_sop_class_uid, true},
        {0x00020003, o->meta_sop_instance_uid, sizeof o->meta_sop_instance_uid, true},
        {0x00020010, o->transfer_syntax_uid, sizeof o->transfer_syntax_uid, true},
        {0x00080016, o->sop_class_uid, sizeof o->sop_class_uid, true},
        {0x00080018, o->sop_instance_uid, sizeof o->sop_instance_uid, true},
        {0x0020000d, o->study_uid, sizeof o->study_uid, true},
        {0x0020000e, o->series_uid, sizeof o->series_uid, true},
        {0x00080060, o->modality, sizeof o->modality, false},
        {0x00080050, o->accession_number, sizeof o->accession_number, false},
        {0x00100020, o->patient_id, sizeof o->patient_id, false},
        {0x00080020, o->study_date, sizeof o->study_date, false},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].tag == ((uint32_t)group << 16 | number)) {
            *size = table[i].size;
            *uid = table[i].uid;
            return table[i].out;
        }
    }
    return NULL;
}

static int truncated(const struct element *el, struct err *e)
{
    return err_set(e, ERR_DICOM_TRUNCATED, 0, "element (%04X,%04X) at offset %lld says %u bytes, the data set ends before", el->group,
                   el->number, (long long)el->at, el->length);
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
        size_t size = 0;
        bool uid = false;
        char *text = wanted(out, el.group, el.number, &size, &uid);
        rc = text ? read_text(s, &el, text, size, uid, out, e) : skip(s, el.length) ? 0 : truncated(&el, e);
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
    struct level item = {el->length == UNDEFINED ? -1 : s->at + el->length, true, top->implicit, false};
    return push(stack, depth, item, el, e);
}

static int scan_element(struct source *s, const struct element *el, bool implicit, struct dicom_scan *out, struct level *stack,
                        int *depth, struct err *e)
{
    bool pixels = el->group == 0x7fe0 && (el->number == 0x10 || el->number == 8 || el->number == 9);
    if (el->length == UNDEFINED) {
        bool unknown = strcmp(el->vr, "UN") == 0;
        if (!unknown && strcmp(el->vr, "SQ") != 0 && strcmp(el->vr, "OB") != 0 && strcmp(el->vr, "OW") != 0) {
            return err_set(e, ERR_DICOM_UNREADABLE, 0, "(%04X,%04X) %s at offset %lld has no length", el->group, el->number, el->vr,
                           (long long)el->at);
        }
        /* UN without a length is a sequence in implicit VR (PS3.5 section 6.2.2, CP-246) */
        struct level sequence = {-1, false, implicit || unknown, pixels || el->vr[0] == 'O'};
        return push(stack, depth, sequence, el, e);
    }
    if (strcmp(el->vr, "SQ") == 0 && el->length > 0) {
        struct level sequence = {s->at + el->length, false, implicit, false};
        return push(stack, depth, sequence, el, e);
    }
    size_t size = 0;
    bool uid = false;
    char *text = *depth == 0 && el->group != 2 ? wanted(out, el->group, el->number, &size, &uid) : NULL;
    if (text) {
        return read_text(s, el, text, size, uid, out, e);
    }
    return skip(s, el->length) ? 0 : truncated(el, e);
}

static int scan_data(struct source *s, struct syntax syntax, struct dicom_scan *out, struct err *e)
{
    struct level stack[DEPTH_MAX];
    int depth = 0;
    for (int count = 0; count < ELEMENTS_MAX; count++) {
        while (depth > 0 && stack[depth - 1].end >= 0 && s->at >= stack[depth - 1].end) {
            depth--;
        }
        bool items = depth > 0 && !stack[depth - 1].item;
        struct syntax x = syntax;
        x.implicit = x.implicit || (depth > 0 && stack[depth - 1].implicit);
        struct element el;
        int rc = next_element(s, x, &el, e);
        if (rc == 0) {
            return depth == 0 ? 0
                              : err_set(e, ERR_DICOM_TRUNCATED, 0, "the data set ends inside %s",
                                        items && stack[depth - 1].encapsulated ? "the encapsulated pixel data" : "a sequence");
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
            rc = scan_element(s, &el, x.implicit, out, stack, &depth, e);
        }
        if (rc != 0) {
            return rc;
        }
    }
    return err_set(e, ERR_DICOM_LIMIT, 0, "more than %d elements and items", ELEMENTS_MAX);
}

int dicom_scan_fd(int fd, struct dicom_scan *out, struct err *e)
{
    struct source *s = calloc(1, sizeof *s);
    if (!s) {
        return err_set(e, ERR_MEMORY, 0, "scan of a data set");
    }
    memset(out, 0, sizeof *out);
    s->fd = fd;
    int rc = scan_meta(s, out, e);
    if (rc == 0) {
        struct syntax x = {strcmp(out->transfer_syntax_uid, "1.2.840.10008.1.2") == 0,
                           strcmp(out->transfer_syntax_uid, "1.2.840.10008.1.2.2") == 0};
        if (strcmp(out->transfer_syntax_uid, "1.2.840.10008.1.2.1.99") == 0) {
            s->deflated = true;
            s->packed_at = out->data_offset;
            s->at = s->from = 0;
            s->have = 0;
            if (inflateInit2(&s->z, -MAX_WBITS) != Z_OK) {
                free(s);
                return err_set(e, ERR_MEMORY, 0, "inflate");
            }
        }
        rc = scan_data(s, x, out, e);
    }
    if (rc != 0 && s->broken && !s->deflated) {
        rc = err_set(e, ERR_IO, errno, "read of a spool file");
    }
    if (s->deflated) {
        (void)inflateEnd(&s->z);
    }
    free(s);
    return rc;
}

bool dicom_uid_is_legal(const char *uid)
{
    size_t length = strlen(uid);
    if (length == 0 || length > 64 || strspn(uid, "0123456789.") != length || uid[0] == '.' || uid[length - 1] == '.') {
        return false;
    }
    return strstr(uid, "..") == NULL;
}
