/* rules_test - each rule broken alone by a made file, what is never a reason, severities as a person sets them. (Real files: verdicts_test.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/stored_file.h"
#include "validator/rules.h"

#define CT "1.2.840.10008.5.1.4.1.1.2"
#define EXPLICIT "1.2.840.10008.1.2.1"
#define JPEG "1.2.840.10008.1.2.4.50"
#define RLE "1.2.840.10008.1.2.5"
#define MPEG2 "1.2.840.10008.1.2.4.100"

/* ---- a file that breaks nothing, and what to change in it ----------------------------------------------------------------------- */

struct made {
    const char *syntax, *class_uid, *instance_uid, *study_uid, *series_uid, *charset, *study_date, *patient_id, *patient_name, *frames, *photometric;
    unsigned rows, columns, bits, samples;
    bool has_no_pixels;
    const char *extra; /* the bytes of elements before the pixel data */
    size_t extra_count;
    size_t pixel_bytes; /* native */
    const unsigned char *items; /* the whole value of encapsulated pixel data, with its delimiter */
    size_t item_bytes;
};

static struct made good(void)
{
    return (struct made){.syntax = EXPLICIT, .class_uid = CT, .instance_uid = "1.2.3", .study_uid = "1.2.4", .series_uid = "1.2.5", .charset = "ISO_IR 100",
                         .study_date = "20260102", .patient_id = "P-1", .patient_name = "A^B", .rows = 4, .columns = 4, .bits = 16, .samples = 1, .pixel_bytes = 32};
}

static void add_us(struct bytes *b, unsigned group, unsigned number, unsigned value)
{
    unsigned char raw[2] = {(unsigned char)value, (unsigned char)(value >> 8)};
    bytes_element(b, group, number, "US", raw, 2, 2);
}

static void add_text(struct bytes *b, unsigned group, unsigned number, const char *vr, const char *text)
{
    if (text) {
        bytes_text(b, group, number, vr, text);
    }
}

static struct bytes make(const struct made *m)
{
    struct bytes b = {0};
    static const unsigned char pixels[4096];
    bytes_head(&b, CT, "1.2.3", m->syntax);
    add_text(&b, 8, 5, "CS", m->charset);
    add_text(&b, 8, 0x16, "UI", m->class_uid);
    add_text(&b, 8, 0x18, "UI", m->instance_uid);
    add_text(&b, 8, 0x20, "DA", m->study_date);
    add_text(&b, 8, 0x60, "CS", "CT");
    add_text(&b, 0x10, 0x10, "PN", m->patient_name);
    add_text(&b, 0x10, 0x20, "LO", m->patient_id);
    add_text(&b, 0x20, 0xd, "UI", m->study_uid);
    add_text(&b, 0x20, 0xe, "UI", m->series_uid);
    if (!m->has_no_pixels) {
        add_us(&b, 0x28, 2, m->samples);
        add_text(&b, 0x28, 4, "CS", m->photometric ? m->photometric : "MONOCHROME2");
        add_text(&b, 0x28, 8, "IS", m->frames);
        add_us(&b, 0x28, 0x10, m->rows);
        add_us(&b, 0x28, 0x11, m->columns);
        add_us(&b, 0x28, 0x100, m->bits);
    }
    bytes_add(&b, m->extra ? m->extra : "", m->extra_count);
    if (m->items) {
        bytes_element(&b, 0x7fe0, 0x10, "OB", "", 0, 0xffffffff);
        bytes_add(&b, m->items, m->item_bytes);
    } else if (!m->has_no_pixels) {
        assert_true(m->pixel_bytes <= sizeof pixels);
        bytes_element(&b, 0x7fe0, 0x10, "OW", pixels, m->pixel_bytes, (uint32_t)m->pixel_bytes);
    }
    return b;
}

static void judge_with(const struct made *m, const char *list, struct rules_verdict *v)
{
    struct bytes b = make(m);
    struct dicom_scan s;
    struct err e = {0};
    struct rule_severities severities;
    rule_severities_preset(&severities);
    assert_int_equal(rule_severities_set(&severities, list, &e), 0);
    int rc = dicom_scan_memory(b.at, b.count, &s, &e);
    rules_judge(&s, rc, e.text, &severities, v);
    bytes_clear(&b);
}

/* Exactly this rule (NULL: none) is broken, with the severity that it is delivered with. */
static void expect(const struct made *m, const char *rule)
{
    struct rules_verdict v;
    judge_with(m, "", &v);
    if (v.count != (rule != NULL) || (rule && strcmp(rule_at(v.findings[0].rule)->id, rule) != 0)) {
        print_message("expected %s, found", rule ? rule : "nothing");
        for (size_t i = 0; i < v.count; i++) {
            print_message(" %s (%s)", rule_at(v.findings[i].rule)->id, v.findings[i].text);
        }
        print_message("\n");
    }
    assert_int_equal(v.count, rule ? 1 : 0);
    if (!rule) {
        assert_int_equal(v.code, 0);
        return;
    }
    const struct rule *r = rule_named(rule);
    assert_non_null(r);
    assert_string_equal(rule_at(v.findings[0].rule)->id, rule);
    assert_int_equal(v.findings[0].severity, r->severity == RULE_ALWAYS ? RULE_REJECT : r->severity);
    assert_int_equal(v.code, r->severity >= RULE_REJECT ? r->code : 0);
    assert_true((v.because != NULL) == (v.code != 0));
    if (v.code != 0) {
        assert_non_null(strstr(v.findings[0].text, ": ")); /* a remedy follows */
    }
}

/* ---- identity ---------------------------------------------------------------------------------------------------------------- */

static void identity(void **state)
{
    (void)state;
    struct made m = good();
    expect(&m, NULL);
    const struct {
        const char **field, *missing;
    } uids[] = {{&m.class_uid, "sop_class_missing"}, {&m.instance_uid, "sop_instance_missing"}, {&m.study_uid, "study_missing"}, {&m.series_uid, "series_missing"}};
    static const char long_uid[] = "1.2345678901234567890.1234567890123456789.1234567890123456789.1234";
    for (size_t i = 0; i < 4; i++) {
        m = good();
        *uids[i].field = NULL;
        expect(&m, uids[i].missing);
        *uids[i].field = "";
        expect(&m, uids[i].missing);
    }
    for (size_t i = 2; i < 4; i++) { /* of the first two, same_class and same_instance are broken as well */
        m = good();
        *uids[i].field = "../../1";
        expect(&m, "uid_illegal");
        *uids[i].field = long_uid;
        expect(&m, "uid_unusable");
        *uids[i].field = "1.02.3";
        expect(&m, "uid_leading_zero");
    }
    m = good();
    m.class_uid = "1.2.840.10008.5.1.4.1.1.4";
    expect(&m, "same_class");
    m = good();
    m.instance_uid = "1.2.33";
    expect(&m, "same_instance");
    m = good();
    m.patient_id = NULL;
    expect(&m, "patient_id_missing");
    m = good();
    m.study_date = "20261399";
    expect(&m, "date_illegal");
    m.study_date = "yesterda";
    expect(&m, "date_illegal");
    m.study_date = "2026.01.02";
    expect(&m, NULL);
    m.study_date = "";
    expect(&m, NULL);
    m = good();
    m.extra = "\x20\0\x0d\0UI\6\0""1.2.9\0";
    m.extra_count = 14;
    struct rules_verdict v;
    judge_with(&m, "", &v); /* it also stands in the wrong place */
    assert_int_equal(v.count, 2);
    assert_string_equal(rule_at(v.findings[0].rule)->id, "identity_twice");
}

static void syntaxes(void **state)
{
    (void)state;
    struct rules_verdict v;
    struct made m = good();
    static const char *const foreign[] = {"", "1.2.840.113619.5.2", "1.2.840.10008.1.20", "1.2.840.10008.1.2..4"};
    for (size_t i = 0; i < 4; i++) {
        m.syntax = foreign[i];
        judge_with(&m, "", &v);
        assert_int_equal(v.code, ERR_DICOM_SYNTAX);
        assert_int_equal(v.because->tag, 0x00020010);
    }
    m.syntax = "1.2.840.10008.1.2.4.110"; /* of the standard, and HealthImaging does not read it */
    static const unsigned char items[] = {0xfe, 0xff, 0, 0xe0, 0, 0, 0, 0, 0xfe, 0xff, 0, 0xe0, 2, 0, 0, 0, 1, 2, 0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0};
    m.items = items;
    m.item_bytes = sizeof items;
    expect(&m, "transfer_syntax_blob");
}

/* ---- texts ------------------------------------------------------------------------------------------------------------------- */

static void character_sets(void **state)
{
    (void)state;
    static const struct {
        const char *charset, *name, *rule;
    } cases[] = {
        {NULL, "Plain^Name", NULL},
        {NULL, "M\xfcller", "charset_text"}, /* without the attribute only ASCII */
        {"", "M\xfcller", "charset_text"},
        {"ISO_IR 6", "M\xfcller", "charset_text"},
        {"ISO_IR 100", "M\xfcller", NULL},
        {"ISO_IR 192", "M\xc3\xbcller", NULL},
        {"ISO_IR 192", "M\xfcller", "charset_text"},
        {"ISO_IR 192", "half\xc3", "charset_text"},
        {"ISO_IR 127", "\xe2\xc8\xc7\xe6\xea", NULL},
        {"ISO_IR 127", "\xa1\xa2", "charset_text"}, /* ISO 8859-6 has no letters there */
        {"ISO_IR 126", "\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", NULL},
        {"ISO_IR 144", "\xbb\xee\xda\x63\xe0", NULL},
        {"ISO_IR 166", "\xb9\xd2", NULL},
        {"ISO_IR 13", "\xd4\xcf\xc0\xde^\xc0\xdb\xb3", NULL},
        {"GB18030", "Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", NULL},
        {"GB18030", "Wang\xff\xff", "charset_text"},
        {"GBK", "\xcd\xf5", NULL},
        {"\\ISO 2022 IR 87", "Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", NULL},
        {"\\ISO 2022 IR 87", "Yamada=\x1b$B;3ED", "charset_text"}, /* does not return to ASCII */
        {"\\ISO 2022 IR 87", "Yamada=\x1b$B;3E\x1b(B", "charset_text"}, /* half a letter */
        {"ISO 2022 IR 13\\ISO 2022 IR 87", "\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J", NULL},
        {"\\ISO 2022 IR 149", "Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", NULL},
        {"\\ISO 2022 IR 149", "Hong^Gildong=\xfb\xf3", "charset_text"}, /* nothing says what the upper half means */
        {"\\ISO 2022 IR 58", "Zhang^=\x1b$)A\xd5\xc5", NULL},
        {"\\ISO 2022 IR 159", "\x1b$(D\x3b\x21\x1b(B", NULL},
        {"ISO 2022 IR 100\\ISO 2022 IR 144", "M\xfcller=\x1b-L\xbb\xee", NULL},
        {"ISO 2022 IR 6\\ISO 2022 IR 100", "\x1b-AM\xfcller", NULL},
        {"\\ISO 2022 IR 87", "odd\x1b%G", "charset_text"},
        {"iso_ir 100", "Plain", "charset_unknown"},
        {"ISO-IR 100", "M\xfcller", "charset_unknown"}, /* and nothing is said against the text */
        {"LATIN1", "Plain", "charset_unknown"},
        {"ISO_IR 100", "tab\there", "text_control"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct made m = good();
        m.charset = cases[i].charset;
        m.patient_name = cases[i].name;
        expect(&m, cases[i].rule);
    }
    struct made m = good(); /* the character set behind the text that needs it: the order is no excuse */
    m.charset = NULL;
    m.patient_name = "M\xfcller";
    m.extra = "\x08\0\5\0CS\x0a\0ISO_IR 100";
    m.extra_count = 18;
    struct rules_verdict v;
    judge_with(&m, "tag_order=off", &v);
    assert_int_equal(v.count, 0);
}

static void lengths(void **state)
{
    (void)state;
    char text[300];
    memset(text, 'x', sizeof text - 1);
    text[257] = '\0';
    struct made m = good();
    m.patient_name = text;
    expect(&m, "value_long");
    text[256] = '\0';
    expect(&m, NULL);
    m = good();
    m.extra = "\x32\0\x32\x10LO\3\0abc";
    m.extra_count = 11;
    expect(&m, "odd_length");
    m.extra = "\x32\0\x32\x10LO\4\0abcd\x32\0\x32\x10LO\4\0efgh";
    m.extra_count = 24;
    expect(&m, "tag_twice");
    m.extra = "\x32\0\x33\x10LO\4\0abcd\x32\0\x32\x10LO\4\0efgh";
    expect(&m, "tag_order");
    m.extra = "\x32\0\0\0UL\4\0\x0c\0\0\0\x32\0\x32\x10LO\4\0efgh";
    expect(&m, NULL);
    m.extra = "\x32\0\0\0UL\4\0\x0d\0\0\0\x32\0\x32\x10LO\4\0efgh";
    expect(&m, "group_length");
}

/* ---- pixels ------------------------------------------------------------------------------------------------------------------ */

static void native_pixels(void **state)
{
    (void)state;
    struct made m = good();
    m.has_no_pixels = true;
    expect(&m, "pixel_missing");
    m = good();
    m.pixel_bytes = 0;
    expect(&m, "pixel_empty");
    m.pixel_bytes = 30;
    expect(&m, "pixel_short");
    m.pixel_bytes = 34;
    expect(&m, "pixel_long");
    m = good();
    m.rows = 0;
    expect(&m, "pixel_description");
    m = good();
    m.frames = "-1";
    expect(&m, "frames_illegal");
    m.frames = "0";
    expect(&m, "frames_illegal");
    m.frames = "many";
    expect(&m, "frames_illegal");
    m.frames = "2";
    expect(&m, "pixel_short");
    m.frames = " 1 ";
    expect(&m, NULL);
    m = good(); /* no product overflows */
    m.frames = "2147483647";
    m.rows = m.columns = 65535;
    expect(&m, "pixel_short");
    m.frames = "999999999999";
    m.bits = m.samples = 65535;
    expect(&m, "pixel_short");
    m = good(); /* one bit a pixel, padded to an even length */
    m.bits = 1;
    m.pixel_bytes = 2;
    expect(&m, NULL);
    m.rows = 3;
    m.columns = 3; /* 9 bits: 2 bytes */
    expect(&m, NULL);
    m = good(); /* 3 x 3 of 8 bits: 9 bytes and one of padding */
    m.rows = m.columns = 3;
    m.bits = 8;
    m.pixel_bytes = 10;
    expect(&m, NULL);
    m = good(); /* two of three samples are halved */
    m.samples = 3;
    m.bits = 8;
    m.photometric = "YBR_FULL_422";
    expect(&m, NULL);
    m = good();
    m.syntax = JPEG;
    expect(&m, "pixel_encoding");
    m = good(); /* Rows as UL */
    m.extra = "\x28\0\x10\0UL\4\0\4\0\0\0";
    m.extra_count = 12;
    m.rows = 4;
    struct rules_verdict v;
    judge_with(&m, "tag_order=off, identity_twice=off", &v);
    assert_int_equal(v.count, 0); /* the first one counts */
}

enum { ITEM = 0, END = 1 };
static void add_item(struct bytes *b, int kind, const void *value, size_t count)
{
    unsigned char head[8] = {0xfe, 0xff, kind == END ? 0xdd : 0, 0xe0, (unsigned char)count, (unsigned char)(count >> 8)};
    bytes_add(b, head, sizeof head);
    bytes_add(b, value, count);
}

/* Offset table (NULL: empty), then fragments of two bytes. */
static void expect_items(const char *syntax, const char *frames, const uint32_t *table, size_t entries, size_t fragments, const char *rule)
{
    struct bytes b = {0};
    struct made m = good();
    unsigned char raw[256];
    for (size_t i = 0; i < entries; i++) {
        for (size_t k = 0; k < 4; k++) {
            raw[i * 4 + k] = (unsigned char)(table[i] >> (8 * k));
        }
    }
    add_item(&b, ITEM, raw, entries * 4);
    for (size_t i = 0; i < fragments; i++) {
        add_item(&b, ITEM, "zz", 2);
    }
    add_item(&b, END, "", 0);
    m.syntax = syntax;
    m.frames = frames;
    m.items = b.at;
    m.item_bytes = b.count;
    expect(&m, rule);
    bytes_clear(&b);
}

static void encapsulated_pixels(void **state)
{
    (void)state;
    static const uint32_t right[] = {0, 10, 20};
    static const uint32_t sparse[] = {0, 20};
    static const uint32_t shifted[] = {2, 12, 22};
    static const uint32_t falling[] = {10, 0, 20};
    static const uint32_t beyond[] = {0, 10, 200};
    static const uint32_t garbage[] = {0xffffffff, 0xffffffff, 0xffffffff};
    expect_items(JPEG, "3", NULL, 0, 3, NULL);
    expect_items(JPEG, "3", right, 3, 3, NULL);
    expect_items(JPEG, "2", sparse, 2, 3, NULL); /* the first frame has two fragments */
    expect_items(JPEG, "2", NULL, 0, 3, NULL);
    expect_items(JPEG, NULL, NULL, 0, 3, NULL);
    expect_items(JPEG, "4", NULL, 0, 3, "fragment_count");
    expect_items(RLE, "3", NULL, 0, 3, NULL);
    expect_items(RLE, "2", NULL, 0, 3, "fragment_count"); /* RLE: one for each frame */
    expect_items(MPEG2, "250", NULL, 0, 1, NULL);          /* one stream for all */
    expect_items(JPEG, "3", shifted, 3, 3, "offset_table");
    expect_items(JPEG, "3", falling, 3, 3, "offset_table");
    expect_items(JPEG, "3", beyond, 3, 3, "offset_table");
    expect_items(JPEG, "3", garbage, 3, 3, "offset_table");
    expect_items(JPEG, "3", right, 2, 3, "offset_table"); /* not one for each frame */
    expect_items(JPEG, "1", NULL, 0, 0, "pixel_empty");
    expect_items(EXPLICIT, "1", NULL, 0, 1, "pixel_encoding");
    struct made m = good();
    struct bytes b = {0};
    add_item(&b, ITEM, "", 0);
    add_item(&b, ITEM, "zz", 2);
    add_item(&b, ITEM, "", 0);
    add_item(&b, END, "", 0);
    m.syntax = JPEG;
    m.items = b.at;
    m.item_bytes = b.count;
    expect(&m, "fragment_empty");
    m.extra = "\xe0\x7f\1\0OV\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0"; /* the extended table */
    m.extra_count = 28;
    m.frames = "2";
    struct rules_verdict v;
    judge_with(&m, "fragment_empty=off", &v);
    assert_int_equal(v.count, 0);
    m.extra = "\xe0\x7f\1\0OV\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\x0b\0\0\0\0\0\0\0";
    judge_with(&m, "fragment_empty=off", &v);
    assert_int_equal(v.count, 1);
    assert_string_equal(rule_at(v.findings[0].rule)->id, "offset_table");
    bytes_clear(&b);
}

/* A table longer than the piece of it that is read at a time. */
static void long_offset_table(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    for (int broken = 0; broken < 2; broken++) {
        struct bytes table = {0};
        struct bytes b = {0};
        for (uint32_t i = 0; i < MANY; i++) {
            uint32_t offset = i * 10 + (broken && i == MANY - 2 ? 1 : 0);
            unsigned char raw[4] = {(unsigned char)offset, (unsigned char)(offset >> 8), (unsigned char)(offset >> 16), 0};
            bytes_add(&table, raw, 4);
        }
        add_item(&b, ITEM, table.at, table.count);
        for (int i = 0; i < MANY; i++) {
            add_item(&b, ITEM, "zz", 2);
        }
        add_item(&b, END, "", 0);
        struct made m = good();
        m.syntax = JPEG;
        m.frames = "5000";
        m.items = b.at;
        m.item_bytes = b.count;
        expect(&m, broken ? "offset_table" : NULL);
        bytes_clear(&b);
        bytes_clear(&table);
    }
}

/* What is no image needs no pixels, and a private class is only noted. */
static void other_objects(void **state)
{
    (void)state;
    static const struct {
        const char *class_uid, *extra;
        size_t count;
        const char *rule, *word;
    } cases[] = {
        {"1.2.840.10008.5.1.4.1.1.104.1", "\x42\0\x11\0OB\0\0\2\0\0\0%P", 14, "no_frames", "a document"},
        {"1.2.840.10008.5.1.4.1.1.9.1.1", "\0\x54\0\1SQ\0\0\0\0\0\0", 12, "no_frames", "a waveform"},
        {"1.2.840.10008.5.1.4.1.1.88.33", "\x40\0\x30\xa7SQ\0\0\0\0\0\0", 12, "no_frames", "a report"},
        {"1.2.840.10008.5.1.4.1.1.481.5", "\x0a\x30\x70\0SQ\0\0\0\0\0\0", 12, "no_frames", "radiotherapy"},
        {"1.2.840.10008.5.1.4.1.1.11.1", "", 0, "no_frames", "without frames"},
        {"1.3.12.2.1107.5.9.1", "", 0, "private_class", "private"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rules_verdict v;
        struct made m = good();
        m.class_uid = cases[i].class_uid;
        m.extra = cases[i].extra;
        m.extra_count = cases[i].count;
        m.has_no_pixels = true;
        judge_with(&m, "same_class=off", &v);
        assert_int_equal(v.code, 0);
        bool found = false;
        for (size_t k = 0; k < v.count; k++) {
            found = found || (strcmp(rule_at(v.findings[k].rule)->id, cases[i].rule) == 0 && strstr(v.findings[k].text, cases[i].word));
            assert_int_equal(v.findings[k].severity, RULE_NOTE);
        }
        assert_true(found);
    }
}

/* ---- severities -------------------------------------------------------------------------------------------------------------- */

static void severities(void **state)
{
    (void)state;
    struct rules_verdict v;
    char warning[200];
    struct made m = good();
    m.pixel_bytes = 30;
    m.study_uid = "1.2.x";
    judge_with(&m, "", &v);
    assert_int_equal(v.code, ERR_DICOM_UID);
    assert_int_equal(v.count, 2); /* both are told, the first that rejects decides */
    judge_with(&m, "uid_illegal=warn, pixel_short=reject", &v);
    assert_int_equal(v.code, ERR_DICOM_RULE);
    assert_string_equal(rule_at(v.because->rule)->id, "pixel_short");
    judge_with(&m, "uid_illegal = warn pixel_short = NOTE", &v);
    assert_int_equal(v.code, 0);
    rules_warning(&v, warning, sizeof warning);
    assert_string_equal(warning, "(0020,000D) Study Instance UID is not a UID (digits and dots, 64 characters at most)");
    rules_warning(&v, warning, 20); /* whole or not at all */
    assert_string_equal(warning, "");
    judge_with(&m, "uid_illegal=off,pixel_short=off", &v);
    assert_int_equal(v.count, 0);
    static const struct {
        const char *list, *says;
    } wrong[] = {{"pixel_shrt=off", "\"pixel_short\""}, {"uid_ilegal=warn", "\"uid_illegal\""}, {"pixel_short=loud", "none of reject, warn, note, off"},
                 {"pixel_short", "no pair"}, {"study_missing=warn", "always rejects"}, {"readable=off", "always rejects"}, {"pixel_short=off;x=warn", "no pair"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct err e = {0};
        assert_int_equal(rule_severities_set(NULL, wrong[i].list, &e), ERR_CONFIG);
        if (!strstr(e.text, wrong[i].says)) {
            fail_msg("%s: %s", wrong[i].list, e.text);
        }
    }
    assert_int_equal(rule_severities_set(NULL, " study_missing = reject , ", NULL), 0);
}

/* Of a file that could not be read to its end only that is told. */
static void unreadable(void **state)
{
    (void)state;
    struct made m = good();
    struct bytes b = make(&m);
    struct dicom_scan s;
    struct err e = {0};
    struct rule_severities severities;
    struct rules_verdict v;
    rule_severities_preset(&severities);
    int rc = dicom_scan_memory(b.at, b.count - 1, &s, &e);
    rules_judge(&s, rc, e.text, &severities, &v);
    assert_int_equal(v.code, ERR_DICOM_TRUNCATED);
    assert_int_equal(v.count, 1);
    assert_string_equal(rule_at(v.because->rule)->id, "complete");
    assert_non_null(strstr(v.because->text, "(7FE0,0010)"));
    assert_non_null(strstr(v.because->text, "sent again"));
    bytes_clear(&b);
}

static void rules_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < RULE_COUNT; i++) {
        const struct rule *r = rule_at((enum rule_id)i);
        assert_ptr_equal(rule_named(r->id), r);
        assert_true(strlen(r->id) > 3 && strlen(r->source) > 3 && strlen(r->means) > 10 && strlen(r->remedy) > 6);
        assert_int_equal(err_class_of(r->code), ERR_CLASS_REFUSE);
    }
    assert_null(rule_named("no_such_rule"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity), cmocka_unit_test(syntaxes), cmocka_unit_test(character_sets), cmocka_unit_test(lengths),
        cmocka_unit_test(native_pixels), cmocka_unit_test(encapsulated_pixels), cmocka_unit_test(long_offset_table), cmocka_unit_test(other_objects),
        cmocka_unit_test(severities), cmocka_unit_test(unreadable), cmocka_unit_test(rules_are_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
