/* scan_value - the values that a scan wants: what support searches by, what describes the pixels, what the rules judge. */
#include "common/dicom/scan_internal.h"

#include <string.h>

int scan_truncated(const struct element *el, struct err *e)
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

enum wish_kind {
    WISH_UID,
    WISH_TEXT,   /* kept; identifies */
    WISH_WORD,   /* kept: a code or a date */
    WISH_LOOKED, /* identifies, and is only looked at */
    WISH_LENGTH, /* only its length is judged */
    WISH_NUMBER, /* US */
    WISH_COUNT,  /* IS */
    WISH_CHARSET
};

enum { NOWHERE = 0 };
#define TO(member) offsetof(struct dicom_scan, member), sizeof((struct dicom_scan *)0)->member

/* A wanted tag. Lengths are those of HealthImaging's element constraints; 0: it has none. Sorted by tag. */
static const struct wish {
    uint32_t tag;
    enum wish_kind kind;
    unsigned length_max;
    size_t offset, size;
} wishes[] = {
    {0x00020002, WISH_UID, 0, TO(meta_sop_class_uid)},
    {0x00020003, WISH_UID, 0, TO(meta_sop_instance_uid)},
    {0x00020010, WISH_UID, 0, TO(transfer_syntax_uid)},
    {0x00080005, WISH_CHARSET, 0, NOWHERE, NOWHERE},
    {0x00080016, WISH_UID, 0, TO(sop_class_uid)},
    {0x00080018, WISH_UID, 0, TO(sop_instance_uid)},
    {0x00080020, WISH_WORD, 18, TO(study_date)},
    {0x00080030, WISH_LENGTH, 28, NOWHERE, NOWHERE}, /* Study Time */
    {0x00080050, WISH_TEXT, 256, TO(accession_number)},
    {0x00080060, WISH_WORD, 0, TO(modality)},
    {0x00081030, WISH_LOOKED, 256, NOWHERE, NOWHERE}, /* Study Description */
    {0x00100010, WISH_LOOKED, 256, NOWHERE, NOWHERE}, /* Patient's Name */
    {0x00100020, WISH_TEXT, 256, TO(patient_id)},
    {0x00100030, WISH_LENGTH, 18, NOWHERE, NOWHERE}, /* Patient's Birth Date */
    {0x00100040, WISH_LENGTH, 16, NOWHERE, NOWHERE}, /* Patient's Sex */
    {0x0020000d, WISH_UID, 0, TO(study_uid)},
    {0x0020000e, WISH_UID, 0, TO(series_uid)},
    {0x00200010, WISH_TEXT, 256, TO(study_id)},
    {0x00200011, WISH_WORD, 0, TO(series_number)},
    {0x00200013, WISH_WORD, 0, TO(instance_number)},
    {0x00280002, WISH_NUMBER, 0, TO(pixels.samples)},
    {0x00280004, WISH_WORD, 0, TO(pixels.photometric)},
    {0x00280008, WISH_COUNT, 0, TO(pixels.frames)},
    {0x00280010, WISH_NUMBER, 0, TO(pixels.rows)},
    {0x00280011, WISH_NUMBER, 0, TO(pixels.columns)},
    {0x00280100, WISH_NUMBER, 0, TO(pixels.bits)},
};
enum { WISHES = sizeof wishes / sizeof wishes[0] };
_Static_assert(WISHES <= 64, "a bit of source.seen for each");

static const struct wish *find(uint32_t tag)
{
    size_t low = 0;
    size_t high = WISHES;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (wishes[middle].tag < tag) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < WISHES && wishes[low].tag == tag ? &wishes[low] : NULL;
}

unsigned scan_content_bit(uint32_t tag)
{
    switch (tag) {
    case 0x0040a730: /* Content Sequence */
        return DICOM_REPORT;
    case 0x00420011: /* Encapsulated Document */
        return DICOM_DOCUMENT;
    case 0x30060020: /* Structure Set ROI Sequence */
    case 0x300a0070: /* Fraction Group Sequence */
    case 0x300a03a2: /* Ion Beam Sequence */
    case 0x30080020: /* Treatment Session Fraction Group Sequence */
        return DICOM_RADIOTHERAPY;
    case 0x54000100: /* Waveform Sequence */
        return DICOM_WAVEFORM;
    case 0x56000020: /* Spectroscopy Data */
        return DICOM_SPECTROSCOPY;
    default:
        return 0;
    }
}

static bool is_plain(const unsigned char *raw, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (raw[i] < 0x20 || raw[i] >= 0x7f) {
            return false;
        }
    }
    return true;
}

static void keep_text(struct source *s, uint32_t tag, const unsigned char *raw, size_t count, bool is_cut)
{
    if (s->text_count < SCAN_TEXTS && !is_plain(raw, count)) {
        struct scan_text *t = &s->texts[s->text_count++];
        t->tag = tag;
        t->count = count < sizeof t->raw ? count : sizeof t->raw;
        t->is_cut = is_cut || count > sizeof t->raw;
        memcpy(t->raw, raw, t->count);
    }
}

static int64_t count_of(const unsigned char *raw, size_t count)
{
    int64_t value = 0;
    size_t i = count > 0 && raw[0] == '+';
    if (i == count || count - i > 12) {
        return DICOM_VALUE_ODD;
    }
    for (; i < count; i++) {
        if (raw[i] < '0' || raw[i] > '9') {
            return DICOM_VALUE_ODD;
        }
        value = value * 10 + (raw[i] - '0');
    }
    return value;
}

/* What the bytes of a value, padding off, are to the wish. */
static void take_value(struct source *s, const struct element *el, const struct wish *w, struct syntax x, const unsigned char *raw, size_t count,
                       bool is_cut, struct dicom_scan *out)
{
    void *to = (char *)out + w->offset;
    int64_t number = DICOM_VALUE_MISSING;
    if (!out->long_tag && w->length_max > 0 && (is_cut || count > w->length_max)) {
        out->long_tag = w->tag;
    }
    switch (w->kind) {
    case WISH_UID:
        if (!out->uid_is_odd && (count > 64 || is_cut || memchr(raw, '\0', count))) {
            out->uid_is_odd = true;
            out->odd_tag = w->tag;
        }
        clean_text(raw, count, to, w->size);
        break;
    case WISH_TEXT:
    case WISH_WORD:
        clean_text(raw, count, to, w->size);
        if (w->kind == WISH_TEXT) {
            keep_text(s, w->tag, raw, count, is_cut);
        }
        break;
    case WISH_LOOKED:
        keep_text(s, w->tag, raw, count, is_cut);
        break;
    case WISH_NUMBER:
        number = el->length == 2 && (x.implicit || memcmp(el->vr, "US", 2) == 0) ? (int64_t)scan_get16(raw, x.big_endian) : DICOM_VALUE_ODD;
        memcpy(to, &number, sizeof number);
        break;
    case WISH_COUNT:
        number = count == 0 ? DICOM_VALUE_MISSING : count_of(raw, count);
        memcpy(to, &number, sizeof number);
        break;
    case WISH_CHARSET:
        s->charset_is_cut = is_cut || count >= sizeof s->charset;
        memcpy(s->charset, raw, s->charset_is_cut ? sizeof s->charset - 1 : count);
        break;
    case WISH_LENGTH:
        break;
    }
}

int scan_read_value(struct source *s, const struct element *el, struct syntax x, struct dicom_scan *out, struct err *e)
{
    unsigned char raw[SCAN_TEXT + 4];
    const struct wish *w = find(scan_tag(el));
    if (!w) {
        return scan_skip(s, el->length) ? 0 : scan_truncated(el, e);
    }
    size_t want = el->length < sizeof raw ? el->length : sizeof raw;
    if (scan_take(s, raw, want) < want || !scan_skip(s, (int64_t)el->length - (int64_t)want)) {
        return scan_truncated(el, e);
    }
    uint64_t bit = UINT64_C(1) << (w - wishes);
    if (s->seen & bit) {
        out->duplicated = out->duplicated || (w->kind != WISH_LENGTH && w->kind != WISH_NUMBER && w->kind != WISH_COUNT);
        return 0;
    }
    s->seen |= bit;
    if (w->kind == WISH_NUMBER) {
        take_value(s, el, w, x, raw, want, false, out);
        return 0;
    }
    size_t first = 0;
    while (want > 0 && (raw[want - 1] == '\0' || raw[want - 1] == ' ')) {
        want--;
    }
    while (w->kind != WISH_CHARSET && first < want && raw[first] == ' ') {
        first++;
    }
    take_value(s, el, w, x, raw + first, want - first, el->length > sizeof raw, out);
    return 0;
}
