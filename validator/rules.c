/* rules - see rules.h. Each function below is one line of rule_table.h: it says whether the rule is broken, and where. */
#include "validator/rules.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { SOP_CLASS = 0x00080016, SOP_INSTANCE = 0x00080018, STUDY = 0x0020000d, SERIES = 0x0020000e, SYNTAX = 0x00020010, PATIENT_ID = 0x00100020,
       STUDY_DATE = 0x00080020, CHARSET = 0x00080005, FRAMES = 0x00280008, PIXELS = 0x7fe00010 };

/* Where a rule is broken: the tag, and a sentence in the place of the table's. */
static bool at(struct rule_finding *f, uint32_t tag)
{
    f->tag = tag;
    return true;
}

static bool at_saying(struct rule_finding *f, uint32_t tag, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool at_saying(struct rule_finding *f, uint32_t tag, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(f->text, sizeof f->text, format, args);
    va_end(args);
    return at(f, tag);
}

static bool if_at(struct rule_finding *f, uint32_t tag)
{
    return tag != 0 && at_saying(f, tag, "(%04X,%04X): %s", tag >> 16, tag & 0xffff, rule_at(f->rule)->means);
}

/* ---- identity ---------------------------------------------------------------------------------------------------------------- */

static bool broken_sop_class_missing(const struct dicom_scan *s, struct rule_finding *f)
{
    return s->sop_class_uid[0] == '\0' && at(f, SOP_CLASS);
}

static bool broken_sop_instance_missing(const struct dicom_scan *s, struct rule_finding *f)
{
    return s->sop_instance_uid[0] == '\0' && at(f, SOP_INSTANCE);
}

static bool broken_study_missing(const struct dicom_scan *s, struct rule_finding *f)
{
    return s->study_uid[0] == '\0' && at(f, STUDY);
}

static bool broken_series_missing(const struct dicom_scan *s, struct rule_finding *f)
{
    return s->series_uid[0] == '\0' && at(f, SERIES);
}

struct named_uid {
    uint32_t tag;
    const char *name, *uid;
};
enum { IDENTITY_UIDS = 4 };

static void identity_uids(const struct dicom_scan *s, struct named_uid out[IDENTITY_UIDS])
{
    out[0] = (struct named_uid){SOP_CLASS, "(0008,0016) SOP Class UID", s->sop_class_uid};
    out[1] = (struct named_uid){SOP_INSTANCE, "(0008,0018) SOP Instance UID", s->sop_instance_uid};
    out[2] = (struct named_uid){STUDY, "(0020,000D) Study Instance UID", s->study_uid};
    out[3] = (struct named_uid){SERIES, "(0020,000E) Series Instance UID", s->series_uid};
}

static bool broken_uid_unusable(const struct dicom_scan *s, struct rule_finding *f)
{
    struct named_uid uids[IDENTITY_UIDS];
    identity_uids(s, uids);
    for (size_t i = 0; s->uid_is_odd && i < IDENTITY_UIDS; i++) {
        if (s->odd_tag == uids[i].tag) {
            return at_saying(f, uids[i].tag, "%s has more than 64 characters or a NUL inside", uids[i].name);
        }
    }
    return false;
}

static bool broken_uid_illegal(const struct dicom_scan *s, struct rule_finding *f)
{
    struct named_uid uids[IDENTITY_UIDS];
    identity_uids(s, uids);
    for (size_t i = 0; i < IDENTITY_UIDS; i++) {
        bool is_odd = s->uid_is_odd && s->odd_tag == uids[i].tag; /* that is the rule above */
        if (uids[i].uid[0] && !is_odd && !dicom_uid_is_legal(uids[i].uid)) {
            return at_saying(f, uids[i].tag, "%s is not a UID (digits and dots, 64 characters at most)", uids[i].name);
        }
    }
    return false;
}

static bool broken_same_class(const struct dicom_scan *s, struct rule_finding *f)
{
    return s->sop_class_uid[0] && strcmp(s->sop_class_uid, s->meta_sop_class_uid) != 0 && at(f, SOP_CLASS);
}

static bool broken_same_instance(const struct dicom_scan *s, struct rule_finding *f)
{
    return s->sop_instance_uid[0] && strcmp(s->sop_instance_uid, s->meta_sop_instance_uid) != 0 && at(f, SOP_INSTANCE);
}

static bool broken_transfer_syntax(const struct dicom_scan *s, struct rule_finding *f)
{
    bool is_fine = dicom_ts_is_standard(s->transfer_syntax_uid) && !(s->uid_is_odd && s->odd_tag == SYNTAX);
    return !is_fine && at(f, SYNTAX);
}

static bool broken_transfer_syntax_blob(const struct dicom_scan *s, struct rule_finding *f)
{
    const struct dicom_ts *known = dicom_ts_find(s->transfer_syntax_uid);
    return (!known || !known->imported) && at(f, SYNTAX);
}

static bool broken_uid_leading_zero(const struct dicom_scan *s, struct rule_finding *f)
{
    struct named_uid uids[IDENTITY_UIDS];
    identity_uids(s, uids);
    for (size_t i = 1; i < IDENTITY_UIDS; i++) {
        if (dicom_uid_has_leading_zero(uids[i].uid)) {
            return at(f, uids[i].tag);
        }
    }
    return false;
}

static bool broken_identity_twice(const struct dicom_scan *s, struct rule_finding *f)
{
    (void)f;
    return s->duplicated;
}

/* ---- values and texts -------------------------------------------------------------------------------------------------------- */

static bool broken_value_long(const struct dicom_scan *s, struct rule_finding *f)
{
    return if_at(f, s->long_tag);
}

static bool broken_patient_id_missing(const struct dicom_scan *s, struct rule_finding *f)
{
    return s->patient_id[0] == '\0' && at(f, PATIENT_ID);
}

/* YYYYMMDD, and YYYY.MM.DD of ACR-NEMA's time. */
static bool is_date(const char *text)
{
    int month = 0;
    int day = 0;
    int used = 0;
    size_t length = strlen(text);
    if (length == 8 && strspn(text, "0123456789") == 8) {
        month = (text[4] - '0') * 10 + text[5] - '0';
        day = (text[6] - '0') * 10 + text[7] - '0';
    } else if (length != 10 || strspn(text, "0123456789.") != 10 || sscanf(text, "%*4d.%2d.%2d%n", &month, &day, &used) != 2 || used != 10) {
        return false;
    }
    return month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

static bool broken_date_illegal(const struct dicom_scan *s, struct rule_finding *f)
{
    return s->study_date[0] && !is_date(s->study_date) && at(f, STUDY_DATE);
}

static bool broken_charset_unknown(const struct dicom_scan *s, struct rule_finding *f)
{
    return s->charset_is_unknown && at(f, CHARSET);
}

static bool broken_charset_text(const struct dicom_scan *s, struct rule_finding *f)
{
    return if_at(f, s->undecodable_tag);
}

static bool broken_text_control(const struct dicom_scan *s, struct rule_finding *f)
{
    return if_at(f, s->control_tag);
}

/* ---- pixels ------------------------------------------------------------------------------------------------------------------ */

/* The standard's storage classes whose instances are images: PS3.4 table B.5-1, without the classes whose pixel data may be absent by right
 * (RT Dose, Segmentation of surfaces, presentation states ...). Below 1.2.840.10008.5.1.4.1.1. */
static bool is_image_class(const char *uid)
{
    static const char root[] = "1.2.840.10008.5.1.4.1.1.";
    static const char *const images[] = {
        "1",       "1.1",     "1.1.1",   "1.2",     "1.2.1",   "1.3",     "1.3.1",    "2",        "2.1",      "2.2",      "3.1",      "4",        "4.1",
        "4.3",     "4.4",     "6.1",     "6.2",     "7",       "7.1",     "7.2",      "7.3",      "7.4",      "12.1",     "12.1.1",   "12.2",     "12.2.1",
        "13.1.1",  "13.1.2",  "13.1.3",  "13.1.4",  "13.1.5",  "14.1",    "14.2",     "20",       "30",       "66.4",     "66.7",     "66.8",     "77.1.1",
        "77.1.1.1", "77.1.2", "77.1.2.1", "77.1.3", "77.1.4",  "77.1.4.1", "77.1.5.1", "77.1.5.2", "77.1.5.4", "77.1.5.5", "77.1.5.6", "77.1.5.7", "77.1.5.8",
        "77.1.6",  "77.1.7",  "128",     "128.1",   "130",     "481.1"};
    if (strncmp(uid, root, sizeof root - 1) != 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof images / sizeof images[0]; i++) {
        if (strcmp(uid + sizeof root - 1, images[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_encapsulated_syntax(const struct dicom_scan *s)
{
    return dicom_ts_kind_of(s->transfer_syntax_uid) == DICOM_TS_ENCAPSULATED;
}

static bool broken_pixel_missing(const struct dicom_scan *s, struct rule_finding *f)
{
    const struct dicom_ts *known = dicom_ts_find(s->transfer_syntax_uid);
    bool is_elsewhere = known && known->family == DICOM_TS_REFERENCED;
    return s->pixels.tag == 0 && !is_elsewhere && is_image_class(s->sop_class_uid) && at(f, PIXELS);
}

static bool broken_pixel_empty(const struct dicom_scan *s, struct rule_finding *f)
{
    return s->pixels.tag != 0 && s->pixels.bytes == 0 && at(f, s->pixels.tag);
}

static bool broken_pixel_encoding(const struct dicom_scan *s, struct rule_finding *f)
{
    bool is_wrong = s->pixels.tag == PIXELS && s->pixels.bytes > 0 && dicom_ts_find(s->transfer_syntax_uid) &&
                    s->pixels.is_encapsulated != is_encapsulated_syntax(s);
    return is_wrong && at_saying(f, s->pixels.tag, "(7FE0,0010) Pixel Data is %s, its transfer syntax wants it %s",
                                 s->pixels.is_encapsulated ? "in fragments" : "native", s->pixels.is_encapsulated ? "native" : "in fragments");
}

static bool broken_pixel_description(const struct dicom_scan *s, struct rule_finding *f)
{
    const struct dicom_pixels *p = &s->pixels;
    const struct {
        uint32_t tag;
        int64_t value;
    } needed[] = {{0x00280010, p->rows}, {0x00280011, p->columns}, {0x00280002, p->samples}, {0x00280100, p->bits}};
    for (size_t i = 0; p->tag != 0 && i < 4; i++) {
        if (needed[i].value <= 0) {
            return if_at(f, needed[i].tag);
        }
    }
    return false;
}

static bool broken_frames_illegal(const struct dicom_scan *s, struct rule_finding *f)
{
    return s->pixels.tag != 0 && s->pixels.frames != DICOM_VALUE_MISSING && s->pixels.frames <= 0 && at(f, FRAMES);
}

/* Bytes that native pixel data must have; 0: the description does not tell. No product can overflow: it is bounded on the way. */
static int64_t expected_bytes(const struct dicom_scan *s)
{
    const struct dicom_pixels *p = &s->pixels;
    const int64_t limit = INT64_MAX / 65536;
    int64_t frames = p->frames == DICOM_VALUE_MISSING ? 1 : p->frames;
    if (p->rows <= 0 || p->columns <= 0 || p->samples <= 0 || p->bits <= 0 || frames <= 0) {
        return 0;
    }
    int64_t samples = strcmp(p->photometric, "YBR_FULL_422") == 0 && p->samples == 3 ? 2 : p->samples; /* two of the three are halved (PS3.3 C.7.6.3.1.2) */
    int64_t values = p->rows * p->columns; /* of 16 bits each */
    values = values > limit / samples ? limit : values * samples;
    values = values > limit / frames ? limit : values * frames;
    int64_t bits = values > limit / p->bits ? limit : values * p->bits;
    return (bits + 7) / 8;
}

static bool is_native(const struct dicom_scan *s)
{
    return s->pixels.tag != 0 && s->pixels.bytes > 0 && !s->pixels.is_encapsulated && !(s->pixels.tag == PIXELS && is_encapsulated_syntax(s));
}

static bool broken_pixel_short(const struct dicom_scan *s, struct rule_finding *f)
{
    int64_t expected = expected_bytes(s);
    return is_native(s) && s->pixels.bytes < expected &&
           at_saying(f, s->pixels.tag, "(%04X,%04X) has %lld bytes, rows x columns x samples x bits x frames make %lld", s->pixels.tag >> 16,
                     s->pixels.tag & 0xffff, (long long)s->pixels.bytes, (long long)expected);
}

static bool broken_pixel_long(const struct dicom_scan *s, struct rule_finding *f)
{
    int64_t expected = expected_bytes(s);
    return is_native(s) && expected > 0 && s->pixels.bytes > expected + 1 &&
           at_saying(f, s->pixels.tag, "(%04X,%04X) has %lld bytes, rows x columns x samples x bits x frames make %lld", s->pixels.tag >> 16,
                     s->pixels.tag & 0xffff, (long long)s->pixels.bytes, (long long)expected);
}

static bool is_in_fragments(const struct dicom_scan *s)
{
    return s->pixels.tag != 0 && s->pixels.is_encapsulated;
}

static int64_t frames_of(const struct dicom_scan *s)
{
    return s->pixels.frames == DICOM_VALUE_MISSING ? 1 : s->pixels.frames;
}

static bool broken_fragment_count(const struct dicom_scan *s, struct rule_finding *f)
{
    const struct dicom_ts *known = dicom_ts_find(s->transfer_syntax_uid);
    bool is_video = known && known->family == DICOM_TS_VIDEO; /* one stream for all frames */
    bool is_rle = strcmp(s->transfer_syntax_uid, "1.2.840.10008.1.2.5") == 0;
    int64_t frames = frames_of(s);
    bool is_wrong = is_in_fragments(s) && !is_video && frames > 0 && s->pixels.fragments > 0 &&
                    (s->pixels.fragments < frames || (is_rle && s->pixels.fragments != frames));
    return is_wrong && at_saying(f, s->pixels.tag, "(7FE0,0010) Pixel Data has %lld fragments for %lld frames", (long long)s->pixels.fragments,
                                 (long long)frames);
}

static bool broken_fragment_empty(const struct dicom_scan *s, struct rule_finding *f)
{
    return s->pixels.bytes > 0 && s->pixels.empty_fragments > 0 && at(f, s->pixels.tag);
}

static bool broken_offset_table(const struct dicom_scan *s, struct rule_finding *f)
{
    const struct dicom_pixels *p = &s->pixels;
    int64_t frames = frames_of(s);
    const struct dicom_ts *known = dicom_ts_find(s->transfer_syntax_uid);
    bool is_video = known && known->family == DICOM_TS_VIDEO; /* one stream, whatever the number of frames */
    bool is_other_count = frames > 0 && !is_video && ((p->offsets > 0 && p->offsets != frames) || (p->extended_offsets > 0 && p->extended_offsets != frames));
    return is_in_fragments(s) && (p->offsets_are_wrong || is_other_count) && at(f, p->tag);
}

/* ---- the rest ---------------------------------------------------------------------------------------------------------------- */

static bool broken_odd_length(const struct dicom_scan *s, struct rule_finding *f)
{
    return if_at(f, s->odd_length_tag);
}

static bool broken_tag_twice(const struct dicom_scan *s, struct rule_finding *f)
{
    return if_at(f, s->twice_tag);
}

static bool broken_tag_order(const struct dicom_scan *s, struct rule_finding *f)
{
    return if_at(f, s->order_tag);
}

static bool broken_group_length(const struct dicom_scan *s, struct rule_finding *f)
{
    return if_at(f, s->group_length_tag);
}

static bool broken_private_class(const struct dicom_scan *s, struct rule_finding *f)
{
    return s->sop_class_uid[0] && strncmp(s->sop_class_uid, "1.2.840.10008.", 14) != 0 && at(f, SOP_CLASS);
}

static bool broken_no_frames(const struct dicom_scan *s, struct rule_finding *f)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {{DICOM_DOCUMENT, "a document"}, {DICOM_WAVEFORM, "a waveform"}, {DICOM_REPORT, "a report"},
                 {DICOM_RADIOTHERAPY, "a plan, structure set or record of radiotherapy"}, {DICOM_SPECTROSCOPY, "spectroscopy"}};
    if (s->pixels.tag != 0 || s->sop_class_uid[0] == '\0' || is_image_class(s->sop_class_uid)) {
        return false;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (s->contents & names[i].bit) {
            return at_saying(f, 0, "no image but %s: HealthImaging keeps it without frames", names[i].name);
        }
    }
    return true;
}

/* ---- all of them ------------------------------------------------------------------------------------------------------------- */

static const struct {
    enum rule_id id;
    bool (*is_broken)(const struct dicom_scan *s, struct rule_finding *f);
} judges[] = {
#define RULE_JUDGE(id, ...) {RULE_##id, broken_##id},
    RULE_TABLE_FACTS(RULE_JUDGE)
#undef RULE_JUDGE
};

static void add(struct rules_verdict *out, const struct rule_finding *f)
{
    const struct rule *rule = rule_at(f->rule);
    struct rule_finding *kept = &out->findings[out->count++];
    *kept = *f;
    size_t used = strlen(kept->text);
    if (used == 0) {
        (void)snprintf(kept->text, sizeof kept->text, "%s", rule->means);
        used = strlen(kept->text);
    }
    if (kept->severity == RULE_REJECT && !strstr(kept->text, rule->remedy)) {
        (void)snprintf(kept->text + used, sizeof kept->text - used, ": %s", rule->remedy);
    }
}

void rules_decide(struct rules_verdict *v)
{
    v->code = 0;
    v->because = NULL;
    for (size_t i = 0; i < v->count && v->code == 0; i++) {
        if (v->findings[i].severity == RULE_REJECT) {
            v->because = &v->findings[i];
            v->code = rule_at(v->because->rule)->code;
        }
    }
}

static void add_if(struct rules_verdict *out, enum rule_severity severity, struct rule_finding *f)
{
    f->severity = severity == RULE_ALWAYS ? RULE_REJECT : severity;
    if (f->severity != RULE_OFF) {
        add(out, f);
    }
}

void rules_judge(const struct dicom_scan *scan, int scan_code, const char *scan_text, const struct rule_severities *severities, struct rules_verdict *out)
{
    static const enum rule_id reader[] = {
#define RULE_READER(id, ...) RULE_##id,
        RULE_TABLE_READER(RULE_READER)
#undef RULE_READER
    };
    out->count = 0;
    for (size_t i = 0; scan_code != 0 && i < sizeof reader / sizeof reader[0]; i++) {
        if (rule_at(reader[i])->code == scan_code) {
            struct rule_finding f = {.rule = reader[i]};
            (void)snprintf(f.text, sizeof f.text, "%s", scan_text);
            add_if(out, RULE_ALWAYS, &f);
        }
    }
    /* of what ended too early only the beginning is known: its other faults would be guesses */
    for (size_t i = 0; scan_code == 0 && i < sizeof judges / sizeof judges[0]; i++) {
        struct rule_finding f = {.rule = judges[i].id};
        if (severities->of[f.rule] != RULE_OFF && judges[i].is_broken(scan, &f)) {
            add_if(out, severities->of[f.rule], &f);
        }
    }
    rules_decide(out);
}

enum { WARNING_LEAST = 60 };

void rules_warning(const struct rules_verdict *v, char *buffer, size_t size)
{
    size_t used = 0;
    if (size > 0) {
        buffer[0] = '\0';
    }
    for (size_t i = 0; i < v->count; i++) {
        const struct rule_finding *f = &v->findings[i];
        bool is_cut = used == 0 && size > WARNING_LEAST; /* one at least is told, if need be without its end */
        if (f->severity == RULE_WARN && (is_cut || used + strlen(f->text) + 3 <= size)) {
            (void)snprintf(buffer + used, size - used, "%s%s", used ? "; " : "", f->text);
            used = strlen(buffer);
        }
    }
}
