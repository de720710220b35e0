/*
 * edit_files_test - the element editor on every shared file: nothing changes but what was asked for.
 *
 * The proof is a round trip: what a rule changed is changed back, and the file must be what it was, byte for byte. A parser that re-encodes what it does
 * not touch (lengths, padding, private representations) cannot pass. Hostile files end in a verdict, and what comes out can be read again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/edit_bytes.h"

#include <dirent.h>

#define DEFLATED "1.2.840.10008.1.2.1.99"

static void same(const char *path, const char *what, const struct bytes *a, const struct bytes *b)
{
    if (a->count != b->count || memcmp(a->at, b->at, a->count) != 0) {
        print_message("%s: %s\n", path, what);
    }
    assert_true(a->count == b->count && memcmp(a->at, b->at, a->count) == 0);
}

/* The pixel data with its head. */
static struct bytes pixels_of(const struct bytes *b, const struct dicom_scan *scan)
{
    return (struct bytes){.at = b->at + scan->pixels_at, .count = (size_t)(scan->pixels_end - scan->pixels_at)};
}

static void real_file(const char *path, const struct bytes *b)
{
    struct bytes out = {0};
    struct bytes back = {0};
    struct edited d;
    struct err e = {0};
    struct dicom_scan before;
    struct dicom_scan after;
    char rules[400];
    assert_int_equal(dicom_scan_memory(b->at, b->count, &before, &e), 0);
    bool is_deflated = strcmp(before.transfer_syntax_uid, DEFLATED) == 0;
    edit_ok(b, "keep any/0008,0080 | remove 0011,[NOBODY]10", &out, NULL);
    if (!is_deflated) {
        same(path, "a plan that changes nothing changes it", &out, b);
    }
    bytes_clear(&out);
    edit_ok(b, "set 0008,103F/0008,0100=X | set 0054,0220/0008,0104=changed within | set 0010,4000=for the test", &out, &d); /* add, and take back */
    bool had_comment = d.change_count > 0 && d.changes[d.change_count - 1].old_value != NULL && strcmp(d.changes[d.change_count - 1].path, "0010,4000") == 0;
    bool was_inside = d.change_total > 1;
    edit_clear(&d);
    if (!had_comment && !was_inside && !is_deflated) {
        edit_ok(&out, "remove 0010,4000", &back, NULL);
        same(path, "added and removed, it is another file", &back, b);
        bytes_clear(&back);
    }
    bytes_clear(&out);
    if (before.patient_id[0] && !strpbrk(before.patient_id, "|;\"?\\") && !before.duplicated && !is_deflated) {
        edit_ok(b, "hash any/0010,0020", &out, &d);
        bool is_plain = d.change_total == 1;
        edit_clear(&d);
        (void)snprintf(rules, sizeof rules, "set 0010,0020=\"%.260s\"", before.patient_id);
        edit_ok(&out, rules, &back, NULL);
        if (is_plain && back.count == b->count) { /* else it was padded in another way than ours, or stands in sequences too */
            same(path, "hashed and set back, it is another file", &back, b);
        }
        bytes_clear(&out);
        bytes_clear(&back);
    }
    int rc = edit_bytes(b, "", true, &out, &d, &e);
    if (rc == 0) {
        assert_int_equal(dicom_scan_memory(out.at, out.count, &after, &e), 0);
        struct bytes old_pixels = pixels_of(b, &before);
        struct bytes new_pixels = pixels_of(&out, &after);
        assert_int_equal(after.pixels.tag != 0, before.pixels.tag != 0);
        if (before.pixels.tag != 0 && !is_deflated) {
            same(path, "the pixel data was changed", &new_pixels, &old_pixels);
        }
        bool is_standards = strncmp(before.sop_instance_uid, "1.2.840.10008.", 14) == 0; /* a colour palette of the standard */
        assert_true(before.sop_instance_uid[0] == '\0' || is_standards || strcmp(after.sop_instance_uid, before.sop_instance_uid) != 0);
        assert_string_equal(after.accession_number, "");
        edit_clear(&d);
    } else {
        print_message("%s is refused: %s\n", strrchr(path, '/') + 1, e.text);
        assert_int_equal(rc, ERR_DICOM_EDIT);
        assert_true(strlen(e.text) > 20);
    }
    bytes_clear(&out);
}

static void hostile_file(const struct bytes *b)
{
    static const char *const rules[] = {"set 0010,4000=x | hash any/0010,0020 | remove any/0008,0018", "set 0040,0275/0008,0050=1 | empty 0029,[A]01"};
    for (size_t i = 0; i < 3; i++) {
        struct bytes out = {0};
        struct err e = {0};
        struct dicom_scan scan;
        int rc = edit_bytes(b, i < 2 ? rules[i] : "", i == 2, &out, NULL, &e);
        assert_true(rc == 0 || (err_class_of(rc) == ERR_CLASS_REFUSE && strlen(e.text) > 10));
        if (rc == 0) { /* and what comes out can be read again */
            assert_int_equal(dicom_scan_memory(out.at, out.count, &scan, &e), 0);
        }
        bytes_clear(&out);
    }
}

static void shared_files(void **state)
{
    (void)state;
    const char *shared = getenv("SHARED_DIR");
    static const char *const rooms[] = {"open", "made", "hostile"};
    char folder[1024];
    char path[2048];
    int seen = 0;
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(folder, sizeof folder, "%s/dicom/%s/files", shared ? shared : SOURCE_DIR "/../shared", rooms[i]);
        DIR *d = opendir(folder);
        struct dirent *f;
        if (!d) {
            print_message("LEFT OUT: %s is not here\n", folder);
            continue;
        }
        while ((f = readdir(d))) {
            struct bytes b = {0};
            struct dicom_scan s;
            (void)snprintf(path, sizeof path, "%s/%s", folder, f->d_name);
            if (f->d_name[0] == '.' || !stored_file(path, &b)) {
                continue;
            }
            if (dicom_scan_memory(b.at, b.count, &s, NULL) == 0 && i < 2) {
                real_file(path, &b);
                seen++;
            } else if (i == 2) {
                hostile_file(&b);
                seen++;
            }
            bytes_clear(&b);
        }
        (void)closedir(d);
    }
    print_message("%d shared files\n", seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(shared_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
