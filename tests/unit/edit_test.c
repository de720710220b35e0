/*
 * edit_test - the element editor: each kind of rule on each kind of encoding, the profile, pseudonyms. What is expected is a whole file, made by other code.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/dicom/uid.h"
#include "tests/unit/edit_bytes.h"

#include <zlib.h>

#define CT "1.2.840.10008.5.1.4.1.1.2"
#define IMPLICIT "1.2.840.10008.1.2"
#define EXPLICIT "1.2.840.10008.1.2.1"
#define BIG "1.2.840.10008.1.2.2"
#define DEFLATED "1.2.840.10008.1.2.1.99"

static void expect_rule_error(const char *rules, const char *word)
{
    struct edit_plan *plan = NULL;
    struct err e = {0};
    assert_int_equal(edit_plan_new(&plan, &e), 0);
    assert_int_equal(edit_plan_add(plan, rules, "test", &e), ERR_CONFIG);
    if (!strstr(e.text, word)) {
        print_message("\"%s\": %s\n", rules, e.text);
    }
    assert_non_null(strstr(e.text, word));
    assert_true(edit_plan_is_empty(plan));
    edit_plan_free(&plan);
}

static void rules_are_checked(void **state)
{
    (void)state;
    expect_rule_error("change 0008,0080=x", "begins with none of");
    expect_rule_error("set 0008,0080", "needs a value");
    expect_rule_error("set NoSuchKeyword=1", "must be a tag");
    expect_rule_error("set 0008,0080=x ; remove 0010,4000", "separated by |");
    expect_rule_error("remove 0010,4000 remove 0010,0010", "stands behind it");
    expect_rule_error("set 0008,0080=\"x", "quote does not end");
    expect_rule_error("set 0008,0020=2026-1-1", "does not take");
    expect_rule_error("set 0008,0020=202601", "is none of DA");
    expect_rule_error("set 0020,000D=1..2", "is none of UI");
    expect_rule_error("set 0008,0060=ct", "does not take");
    expect_rule_error("set 0008,0050=12345678901234567", "takes 16");
    expect_rule_error("set 0028,0010=65536", "no number");
    expect_rule_error("set 0028,0010=-1", "no number");
    expect_rule_error("set 0040,0275=x", "sequence");
    expect_rule_error("hash 0008,0020", "cannot be hashed");
    expect_rule_error("hash 0028,0010", "cannot be hashed");
    expect_rule_error("remove 0002,0010", "not an element that may be changed");
    expect_rule_error("remove 7FE0,0010", "not an element that may be changed");
    expect_rule_error("set any/0008,0080=x", "names many");
    expect_rule_error("remove any/0040,0275/0008,0080", "one tag");
    expect_rule_error("remove 0028,[ACME]10", "must be a tag"); /* an even group */
}

static struct bytes begin(const char *syntax)
{
    struct bytes b = {0};
    bytes_head(&b, CT, "1.2.3", syntax);
    return b;
}

static void expect_bytes(const struct bytes *got, const struct bytes *want)
{
    if (got->count != want->count || memcmp(got->at, want->at, want->count) != 0) {
        size_t i = 0;
        while (i < got->count && i < want->count && got->at[i] == want->at[i]) {
            i++;
        }
        print_message("%zu bytes, %zu wanted, different from offset %zu\n", got->count, want->count, i);
    }
    assert_int_equal(got->count, want->count);
    assert_memory_equal(got->at, want->at, want->count);
}

/* Edits in, compares with want, and clears all three. */
static void expect_edit(struct bytes *in, const char *rules, struct bytes *want, size_t changes)
{
    struct bytes out = {0};
    struct edited report;
    edit_ok(in, rules, &out, &report);
    expect_bytes(&out, want);
    assert_int_equal(report.change_total, changes);
    edit_clear(&report);
    bytes_clear(in);
    bytes_clear(want);
    bytes_clear(&out);
}

/* One little endian data set in both of its states. */
static void explicit_example(struct bytes *b, bool changed)
{
    *b = begin(EXPLICIT);
    bytes_text(b, 8, 5, "CS", "ISO_IR 100");
    bytes_text(b, 8, 0x18, "UI", "1.2.3");
    bytes_text(b, 8, 0x80, "LO", changed ? "Klinik K\xf6ln" : "Old Name");
    if (changed) {
        bytes_text(b, 8, 0x1030, "LO", "a|b");
    } else {
        bytes_text(b, 0x10, 0x4000, "LT", "a comment");
    }
    bytes_text(b, 0x10, 0x10, "PN", changed ? "" : "Doe^Jane");
    bytes_element(b, 0x28, 0x10, "US", changed ? "\x01\x02" : "\x10\x00", 2, 2);
    bytes_element(b, 0x7fe0, 0x10, "OW", "\1\2\3\4", 4, 4);
    if (changed) {
        bytes_element(b, 0xfffc, 0xfffc, "OB", "", 0, 0);
    } else {
        bytes_element(b, 0xfffc, 0xfffc, "OB", "\0\0", 2, 2);
    }
}

static void sets_removes_empties(void **state)
{
    (void)state;
    struct bytes in;
    struct bytes want;
    struct bytes out = {0};
    struct edited report;
    explicit_example(&in, false);
    explicit_example(&want, true);
    static const char rules[] = "set InstitutionName=Klinik K\xc3\xb6ln | set 0008,1030=\"a|b\" | remove 0010,4000 | empty 0010,0010 | set 0028,0010=513 | empty FFFC,FFFC";
    edit_ok(&in, rules, &out, &report);
    expect_bytes(&out, &want);
    assert_int_equal(report.change_total, 6);
    assert_string_equal(report.changes[0].path, "0008,0080");
    assert_string_equal(report.changes[0].action, "set");
    assert_string_equal(report.changes[0].by, "test");
    assert_string_equal(report.changes[0].old_value, "Old Name");
    assert_string_equal(report.changes[0].new_value, "Klinik K\xc3\xb6ln");
    assert_null(report.changes[1].old_value);
    assert_string_equal(report.sop_instance_uid, "1.2.3");
    edit_clear(&report);
    bytes_clear(&out);
    edit_ok(&want, rules, &out, &report); /* once more: nothing is left to do */
    expect_bytes(&out, &want);
    assert_int_equal(report.change_total, 0);
    edit_clear(&report);
    bytes_clear(&out);
    expect_edit(&in, "keep any/0010,0010 | empty 0010,0010 | remove 0009,0010", &(struct bytes){.at = memcpy(malloc(in.count), in.at, in.count), .count = in.count}, 0);
    bytes_clear(&want);
}

static void characters_that_do_not_fit(void **state)
{
    (void)state;
    struct bytes in;
    struct bytes out = {0};
    struct err e;
    explicit_example(&in, false);
    assert_int_equal(edit_bytes(&in, "set 0008,0080=\xe6\x97\xa5\xe6\x9c\xac", false, &out, NULL, &e), ERR_DICOM_EDIT); /* Japanese in Latin 1 */
    assert_non_null(strstr(e.text, "(0008,0080)"));
    assert_null(strstr(e.text, "\xe6"));
    assert_int_equal(edit_bytes(&in, "set 0008,0005=ISO_IR 192 | set 0008,0080=\xe6\x97\xa5\xe6\x9c\xac", false, &out, NULL, &e), 0);
    assert_non_null(memmem(out.at, out.count, "\xe6\x97\xa5\xe6\x9c\xac", 6));
    bytes_clear(&out);
    bytes_clear(&in);
}

/* A head in implicit little endian (big: false), or tags and lengths of explicit big endian. */
static void head(struct bytes *b, unsigned group, unsigned number, const char *vr, uint32_t length, bool big)
{
    unsigned char h[8] = {(unsigned char)group, (unsigned char)(group >> 8), (unsigned char)number, (unsigned char)(number >> 8)};
    if (big) {
        unsigned char swapped[4] = {h[1], h[0], h[3], h[2]};
        memcpy(h, swapped, 4);
    }
    if (vr) {
        memcpy(h + 4, vr, 2);
        h[big ? 7 : 6] = (unsigned char)length;
        h[big ? 6 : 7] = (unsigned char)(length >> 8);
    } else {
        for (unsigned i = 0; i < 4; i++) {
            h[big ? 7 - i : 4 + i] = (unsigned char)(length >> (8 * i));
        }
    }
    bytes_add(b, h, 8);
}

/* In implicit VR the dictionary says what may stand there; a sequence of known length is found by it. */
static void implicit_little(void **state)
{
    (void)state;
    struct bytes file[2];
    for (int changed = 0; changed < 2; changed++) {
        struct bytes *b = &file[changed];
        *b = begin(IMPLICIT);
        head(b, 8, 0x18, NULL, 4, false);
        bytes_add(b, "1.2\0", 4);
        head(b, 8, 0x1115, NULL, changed ? 18 : 24, false); /* Referenced Series Sequence of known length */
        head(b, 0xfffe, 0xe000, NULL, changed ? 10 : 16, false);
        head(b, 0x20, 0xe, NULL, changed ? 2 : 8, false);
        bytes_add(b, changed ? "9\0" : "1.2.3.4\0", changed ? 2 : 8);
        head(b, 0x28, 0x10, NULL, 2, false);
        bytes_add(b, changed ? "\2\1" : "\1\0", 2);
    }
    expect_edit(&file[0], "set 0008,1115/0020,000E=9 | set 0028,0010=258", &file[1], 2);
}

static void explicit_big(void **state)
{
    (void)state;
    struct bytes file[2];
    for (int changed = 0; changed < 2; changed++) {
        struct bytes *b = &file[changed];
        *b = begin(BIG);
        head(b, 8, 0x18, "UI", 4, true);
        bytes_add(b, "1.2\0", 4);
        if (changed) {
            head(b, 8, 0x80, "LO", 2, true);
            bytes_add(b, "A ", 2);
        }
        head(b, 0x18, 0x6020, "SL", changed ? 4 : 0, true);
        bytes_add(b, "\xff\xff\xff\xfe", changed ? 4 : 0);
        head(b, 0x28, 0x10, "US", 2, true);
        bytes_add(b, changed ? "\1\2" : "\0\1", 2);
    }
    expect_edit(&file[0], "set 0028,0010=258 | set 0008,0080=A | set 0018,6020=-2", &file[1], 3);
}

static void add_delimiter(struct bytes *b, unsigned number)
{
    head(b, 0xfffe, number, NULL, 0, false);
}

/* Lengths around the change are corrected, undefined ones stay; an untouched item keeps its encoding. */
static void sequences(void **state)
{
    (void)state;
    struct bytes file[2];
    for (int changed = 0; changed < 2; changed++) {
        struct bytes inner = {0};
        struct bytes items = {0};
        struct bytes *b = &file[changed];
        *b = begin(EXPLICIT);
        if (changed) {
            bytes_text(&inner, 8, 0x50, "SH", "NEW 1");
        }
        bytes_text(&inner, 0x40, 7, "LO", changed ? "x" : "longer text");
        head(&items, 0xfffe, 0xe000, NULL, (uint32_t)inner.count, false);
        bytes_add(&items, inner.at, inner.count);
        head(&items, 0xfffe, 0xe000, NULL, 0xffffffff, false);
        if (changed) {
            bytes_text(&items, 8, 0x50, "SH", "NEW 1");
            bytes_text(&items, 0x40, 7, "LO", "x");
        }
        bytes_text(&items, 0x40, 9, "SH", "S");
        add_delimiter(&items, 0xe00d);
        bytes_element(b, 0x40, 0x275, "SQ", items.at, items.count, (uint32_t)items.count);
        bytes_clear(&inner);
        bytes_clear(&items);
        bytes_element(b, 0x5200, 0x9229, "SQ", "", 0, 0xffffffff);
        head(b, 0xfffe, 0xe000, NULL, 0xffffffff, false);
        bytes_text(b, 0x40, 7, "LO", "not this one");
        if (!changed) {
            bytes_text(b, 0x40, 0x100, "LO", "secret");
        }
        add_delimiter(b, 0xe00d);
        add_delimiter(b, 0xe0dd);
        bytes_element(b, 0x7fe0, 0x10, "OB", "", 0, 0xffffffff);
        head(b, 0xfffe, 0xe000, NULL, 0, false);
        head(b, 0xfffe, 0xe000, NULL, 2, false);
        bytes_add(b, "\xff\xd8", 2);
        add_delimiter(b, 0xe0dd);
    }
    expect_edit(&file[0], "set 0040,0275/0040,0007=x | set 0040,0275/0008,0050=NEW 1 | remove any/0040,0100", &file[1], 5);
}

/* A value of UN that holds items is a sequence in implicit VR, and stays UN. */
static void unknown_sequences(void **state)
{
    (void)state;
    struct bytes file[2];
    for (int changed = 0; changed < 2; changed++) {
        struct bytes items = {0};
        struct bytes *b = &file[changed];
        *b = begin(EXPLICIT);
        head(&items, 0xfffe, 0xe000, NULL, changed ? 10 : 14, false);
        head(&items, 0x10, 0x20, NULL, changed ? 2 : 6, false);
        bytes_add(&items, changed ? "P " : "ID 123", changed ? 2 : 6);
        bytes_element(b, 0x0040, 0x0275, "UN", items.at, items.count, (uint32_t)items.count);
        bytes_clear(&items);
    }
    expect_edit(&file[0], "set 0040,0275/0010,0020=P", &file[1], 1);
}

static void group_lengths(void **state)
{
    (void)state;
    struct bytes file[2];
    for (int changed = 0; changed < 2; changed++) {
        struct bytes *b = &file[changed];
        *b = begin(EXPLICIT);
        bytes_element(b, 8, 0, "UL", changed ? "\x18\0\0\0" : "\x0c\0\0\0", 4, 4);
        bytes_text(b, 8, 0x50, "SH", "ABCD");
        if (changed) {
            bytes_text(b, 8, 0x80, "LO", "ABCD");
        }
        bytes_element(b, 0x10, 0, "UL", changed ? "\0\0\0\0" : "\x0a\0\0\0", 4, 4);
        if (!changed) {
            bytes_text(b, 0x10, 0x20, "LO", "P1");
        }
        bytes_element(b, 0x28, 0, "UL", "\x0a\0\0\0", 4, 4);
        bytes_element(b, 0x28, 0x10, "US", "\1\0", 2, 2);
    }
    expect_edit(&file[0], "set 0008,0080=ABCD | remove 0010,0020", &file[1], 2);
}

/* By the creator, wherever its block lies; a private element without that creator stays. */
static void private_elements(void **state)
{
    (void)state;
    struct bytes file[2];
    for (int changed = 0; changed < 2; changed++) {
        struct bytes *b = &file[changed];
        *b = begin(EXPLICIT);
        bytes_text(b, 0x29, 0x10, "LO", "OTHER");
        bytes_text(b, 0x29, 0x12, "LO", "ACME 1.1");
        bytes_text(b, 0x29, 0x1010, "LO", "other's");
        if (!changed) {
            bytes_text(b, 0x29, 0x1210, "LO", "ours");
        }
        bytes_text(b, 0x29, 0x1211, "LO", changed ? "NEW" : "ours too");
    }
    expect_edit(&file[0], "remove 0029,[ACME 1.1]10 | set 0029,[ACME 1.1]11=NEW", &file[1], 2);
}

static const char *value_of(const struct edited *d, const char *path)
{
    for (size_t i = 0; i < d->change_count; i++) {
        if (strcmp(d->changes[i].path, path) == 0) {
            return d->changes[i].new_value;
        }
    }
    return NULL;
}

static void pseudonyms(void **state)
{
    (void)state;
    struct bytes b = begin(EXPLICIT);
    struct bytes out = {0};
    struct edited d;
    bytes_text(&b, 8, 0x18, "UI", "1.2.3");
    bytes_text(&b, 8, 0x1155, "UI", "1.2.3\\1.2.840.10008.1.4.1.1");
    bytes_text(&b, 0x10, 0x20, "LO", "PAT-1");
    bytes_text(&b, 0x10, 0x1000, "LO", "PAT-2\\PAT-1 ");
    bytes_text(&b, 0x10, 0x1090, "LO", "");
    edit_ok(&b, "hash 0008,0018 | hash 0008,1155 | hash 0010,0020 | hash 0010,1000 | hash 0010,1090", &out, &d);
    const char *uid = value_of(&d, "0008,0018");
    const char *id = value_of(&d, "0010,0020");
    assert_true(dicom_uid_is_legal(uid) && strncmp(uid, "2.25.", 5) == 0);
    assert_string_equal(uid, d.sop_instance_uid);
    assert_true(strncmp(value_of(&d, "0008,1155"), uid, strlen(uid)) == 0);
    assert_string_equal(value_of(&d, "0008,1155") + strlen(uid), "\\1.2.840.10008.1.4.1.1");
    assert_int_equal(strlen(id), 16);
    assert_string_equal(value_of(&d, "0010,1000") + 17, id);
    assert_true(strncmp(value_of(&d, "0010,1000"), id, 16) != 0);
    assert_null(value_of(&d, "0010,1090"));
    /* by the key, and only by it: what another run of the programs makes is the same. Computed apart from the editor's own code:
     * m = hmac.new(key, b"text\0PAT-1", "sha256"); base64.b32encode(m.digest()[:10]) */
    assert_string_equal(id, "P2ZVO5A47OFOVYQH");
    assert_string_equal(uid, "2.25.214182762252014105900538474239049292398");
    edit_clear(&d);
    bytes_clear(&b);
    bytes_clear(&out);
}

static void deflated(void **state)
{
    (void)state;
    struct bytes plain = {0};
    struct bytes b = begin(DEFLATED);
    struct bytes changed = {0};
    struct bytes back = {0};
    struct err e;
    struct dicom_scan scan;
    unsigned char packed[4096];
    bytes_text(&plain, 8, 0x18, "UI", "1.2.3");
    bytes_text(&plain, 8, 0x80, "LO", "OLD");
    bytes_element(&plain, 0x7fe0, 0x10, "OW", "\1\2\3\4", 4, 4);
    bytes_text(&plain, 0xfffc, 0xfffc, "OB", "");
    z_stream z = {.next_in = plain.at, .avail_in = (uInt)plain.count, .next_out = packed, .avail_out = sizeof packed};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    bytes_add(&b, packed, sizeof packed - z.avail_out);
    (void)deflateEnd(&z);
    edit_ok(&b, "set 0008,0018=9.9 | set 0008,0080=NEW", &changed, NULL);
    assert_int_equal(dicom_scan_memory(changed.at, changed.count, &scan, &e), 0);
    assert_string_equal(scan.sop_instance_uid, "9.9");
    assert_true(scan.pixels.tag != 0);
    edit_ok(&changed, "set 0008,0018=1.2.3 | set 0008,0080=OLD", &back, NULL);
    unsigned char plain_again[4096];
    assert_int_equal(dicom_scan_memory(back.at, back.count, &scan, &e), 0);
    z_stream y = {.next_in = back.at + scan.data_offset, .avail_in = (uInt)(back.count - (size_t)scan.data_offset), .next_out = plain_again,
                  .avail_out = sizeof plain_again};
    assert_int_equal(inflateInit2(&y, -MAX_WBITS), Z_OK);
    assert_int_equal(inflate(&y, Z_FINISH), Z_STREAM_END);
    (void)inflateEnd(&y);
    assert_int_equal(sizeof plain_again - y.avail_out, plain.count);
    assert_memory_equal(plain_again, plain.at, plain.count);
    bytes_clear(&plain);
    bytes_clear(&b);
    bytes_clear(&changed);
    bytes_clear(&back);
}

/* ---- the profile ------------------------------------------------------------------------------------------------------------- */

static void profile(void **state)
{
    (void)state;
    struct bytes b = begin(EXPLICIT);
    struct bytes items = {0};
    struct bytes out = {0};
    struct edited d;
    struct err e;
    bytes_text(&b, 8, 0x18, "UI", "1.2.3");
    bytes_text(&b, 8, 0x20, "DA", "20260102");
    bytes_text(&b, 8, 0x21, "DA", "20260103");
    bytes_text(&b, 8, 0x50, "SH", "ACCESSION");
    bytes_text(&b, 8, 0x60, "CS", "CT");
    bytes_text(&b, 8, 0x80, "LO", "HOSPITAL");
    bytes_text(&items, 8, 0x1150, "UI", CT);
    bytes_text(&items, 8, 0x1155, "UI", "1.2.3");
    bytes_text(&items, 0x10, 0x10, "PN", "INNER^NAME");
    bytes_text(&items, 9, 0x10, "LO", "ACME");
    bytes_text(&items, 9, 0x1001, "LO", "PRIVATE");
    struct bytes item = {0};
    head(&item, 0xfffe, 0xe000, NULL, (uint32_t)items.count, false);
    bytes_add(&item, items.at, items.count);
    bytes_element(&b, 8, 0x1140, "SQ", item.at, item.count, (uint32_t)item.count); /* Referenced Image Sequence */
    bytes_text(&b, 0x10, 0x10, "PN", "OUTER^NAME");
    bytes_text(&b, 0x10, 0x20, "LO", "PAT-1");
    bytes_text(&b, 0x18, 0x1030, "LO", "PROTOCOL");
    bytes_text(&b, 0x20, 0xd, "UI", "1.2.4");
    bytes_text(&b, 0x20, 0xe, "UI", "1.2.5");
    bytes_text(&b, 0x20, 0x13, "IS", "17");
    bytes_text(&b, 0x29, 0x10, "LO", "ACME");
    bytes_text(&b, 0x29, 0x1001, "LO", "PRIVATE");
    bytes_text(&b, 0x29, 0x1002, "LO", "WANTED");
    bytes_text(&b, 0x6000, 0x4000, "LT", "OVERLAY");
    bytes_element(&b, 0x7fe0, 0x10, "OW", "\1\2\3\4", 4, 4);
    bytes_text(&b, 0x7fe1, 0x10, "LO", "BEHIND");
    bytes_element(&b, 0xfffa, 0xfffa, "SQ", "", 0, 0);
    assert_int_equal(edit_bytes(&b, "keep 0029,[ACME]02 | keep 0018,1030", true, &out, &d, &e), 0);
    static const char *const gone[] = {"1.2.3", "1.2.4", "1.2.5", "2026010", "ACCESSION", "HOSPITAL", "INNER", "OUTER", "PAT-1", "PRIVATE", "OVERLAY", "BEHIND"};
    static const char *const there[] = {"WANTED", "ACME", "PROTOCOL", "17", "YES ", "113100", "DCM ", "Basic Application Confidentiality Profile", "REMOVED ", CT};
    struct dicom_scan scan;
    assert_int_equal(dicom_scan_memory(out.at, out.count, &scan, &e), 0);
    const unsigned char *data = out.at + scan.data_offset; /* the old meta information stands before it here */
    size_t count = out.count - (size_t)scan.data_offset;
    for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++) {
        if (memmem(data, count, gone[i], strlen(gone[i]))) {
            print_message("%s is still there\n", gone[i]);
        }
        assert_null(memmem(data, count, gone[i], strlen(gone[i])));
    }
    for (size_t i = 0; i < sizeof there / sizeof there[0]; i++) {
        if (!memmem(data, count, there[i], strlen(there[i]))) {
            print_message("%s is missing\n", there[i]);
        }
        assert_non_null(memmem(data, count, there[i], strlen(there[i])));
    }
    assert_string_equal(scan.sop_instance_uid, d.sop_instance_uid);
    assert_string_equal(scan.study_uid, d.study_uid);
    assert_string_equal(value_of(&d, "0008,1140[1]/0008,1155"), d.sop_instance_uid); /* references still lead there */
    assert_string_equal(d.burned_in, "");
    assert_string_equal(scan.modality, "CT");
    size_t tail = (size_t)scan.pixels_end;
    assert_memory_equal(out.at + tail - 4, "\1\2\3\4", 4);
    assert_int_equal(tail, out.count);
    edit_clear(&d);
    bytes_clear(&out);
    bytes_clear(&b);
    bytes_clear(&items);
    bytes_clear(&item);
    b = begin(EXPLICIT); /* a document cannot be de-identified by rules */
    bytes_element(&b, 0x42, 0x11, "OB", "%PDF", 4, 4);
    assert_int_equal(edit_bytes(&b, "", true, &out, NULL, &e), ERR_DICOM_EDIT);
    assert_non_null(strstr(e.text, "(0042,0011)"));
    bytes_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_are_checked), cmocka_unit_test(sets_removes_empties), cmocka_unit_test(characters_that_do_not_fit),
        cmocka_unit_test(implicit_little),   cmocka_unit_test(explicit_big),         cmocka_unit_test(sequences),
        cmocka_unit_test(unknown_sequences), cmocka_unit_test(group_lengths),        cmocka_unit_test(private_elements),
        cmocka_unit_test(pseudonyms),        cmocka_unit_test(deflated),             cmocka_unit_test(profile)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
