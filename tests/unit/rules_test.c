/*
 * rules_test - each rule broken alone; what is never a reason; and the verdict on every shared file against
 * tests/pipeline/expected_verdicts.tsv. `rules_test --print` writes that table anew, to be read before it is kept.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/stored_file.h"
#include "validator/rules.c" /* the unit tests are linked with the common rooms only */

#include <dirent.h>

static struct dicom_scan good(void)
{
    struct dicom_scan s = {.meta_sop_class_uid = "1.2.840.10008.5.1.4.1.1.2",
                           .meta_sop_instance_uid = "1.2.3",
                           .transfer_syntax_uid = "1.2.840.10008.1.2.1",
                           .sop_class_uid = "1.2.840.10008.5.1.4.1.1.2",
                           .sop_instance_uid = "1.2.3",
                           .study_uid = "1.2.4",
                           .series_uid = "1.2.5"};
    return s;
}

static void expect(const struct dicom_scan *s, int code, const char *tag)
{
    struct err e = {0};
    char warning[200];
    assert_int_equal(rules_judge(s, warning, sizeof warning, &e), code);
    if (code != 0) {
        assert_non_null(strstr(e.text, tag));
        assert_non_null(strstr(e.text, ": ")); /* a remedy follows */
    } else {
        assert_string_equal(warning, tag);
    }
}

static void each_rule(void **state)
{
    (void)state;
    struct dicom_scan s = good();
    struct {
        char *field;
        const char *tag;
    } uids[] = {{s.sop_class_uid, "(0008,0016)"}, {s.sop_instance_uid, "(0008,0018)"}, {s.study_uid, "(0020,000D)"}, {s.series_uid, "(0020,000E)"}};
    expect(&s, 0, "");
    for (size_t i = 0; i < 4; i++) {
        s = good();
        uids[i].field[0] = '\0';
        expect(&s, ERR_DICOM_MISSING, uids[i].tag);
        s = good();
        (void)snprintf(uids[i].field, 72, "../../1");
        expect(&s, ERR_DICOM_UID, uids[i].tag);
    }
    s = good();
    s.uid_is_odd = true;
    s.odd_tag = 0x0020000d;
    expect(&s, ERR_DICOM_UID, "(0020,000D)");
    s = good();
    (void)snprintf(s.meta_sop_class_uid, 72, "1.2.840.10008.5.1.4.1.1.4");
    expect(&s, ERR_DICOM_MISMATCH, "(0008,0016)");
    s = good();
    (void)snprintf(s.meta_sop_instance_uid, 72, "1.2.33");
    expect(&s, ERR_DICOM_MISMATCH, "(0008,0018)");
    static const char *const foreign[] = {"", "1.2.840.113619.5.2", "1.2.840.10008.1.20", "1.2.840.10008.1.2..4"};
    for (size_t i = 0; i < 4; i++) {
        s = good();
        (void)snprintf(s.transfer_syntax_uid, 72, "%s", foreign[i]);
        expect(&s, ERR_DICOM_SYNTAX, "(0002,0010)");
    }
}

static void what_only_warns(void **state)
{
    (void)state;
    struct dicom_scan s = good();
    (void)snprintf(s.transfer_syntax_uid, 72, "1.2.840.10008.1.2.4.110");
    expect(&s, 0, "HealthImaging keeps this transfer syntax as a blob, without frames");
    s = good();
    (void)snprintf(s.study_uid, 72, "1.02.3");
    expect(&s, 0, "a UID has a leading zero");
    s = good();
    s.duplicated = s.long_value = true;
    expect(&s, 0, "an identifying attribute stands twice, the first one counts; a value is longer than HealthImaging searches by");
    /* no modality, no patient, no pixels: the IOD is never a reason */
    char small[20];
    struct err e = {0};
    assert_int_equal(rules_judge(&s, small, sizeof small, &e), 0);
    assert_string_equal(small, "");
    assert_int_equal(rules_judge(&s, NULL, 0, &e), 0);
}

static void rules_are_named(void **state)
{
    (void)state;
    size_t count = 0;
    const struct rule *rules = rules_table(&count);
    assert_int_equal(count, 7);
    for (size_t i = 0; i < count; i++) {
        assert_true(strlen(rules[i].id) > 3);
        assert_non_null(rules[i].judge);
    }
}

static const char *shared_folder(void)
{
    const char *shared = getenv("SHARED_DIR");
    return shared ? shared : SOURCE_DIR "/../shared";
}

/* The verdict on one file as our receiver would store it. Also: no sentence holds a value of the data set. */
static int judge_file(const char *relative)
{
    char path[2048];
    char warning[200];
    struct bytes b = {0};
    struct dicom_scan s;
    struct err e = {0};
    (void)snprintf(path, sizeof path, "%s/dicom/%s", shared_folder(), relative);
    if (!stored_file(path, &b)) {
        return ERR_NOT_FOUND;
    }
    int rc = dicom_scan_memory(b.at, b.count, &s, &e);
    rc = rc ? rc : rules_judge(&s, warning, sizeof warning, &e);
    assert_true(strlen(s.patient_id) < 5 || !strstr(e.text, s.patient_id));
    bytes_clear(&b);
    return rc;
}

static void shared_files(void **state)
{
    (void)state;
    char line[600];
    int judged = 0;
    int wrong = 0;
    FILE *f = fopen(SOURCE_DIR "/tests/pipeline/expected_verdicts.tsv", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        char relative[400];
        char verdict[40];
        char name[60] = "";
        if (line[0] == '#' || sscanf(line, "%399[^\t\n]\t%39[^\t\n]\t%59[^\t\n]", relative, verdict, name) < 2) {
            continue;
        }
        int rc = judge_file(relative);
        if (rc == ERR_NOT_FOUND) {
            continue;
        }
        judged++;
        if (strcmp(verdict, rc ? "quarantined" : "validated") != 0 || (rc != 0 && strcmp(name, err_name(rc)) != 0)) {
            print_message("%s: expected %s %s, got %s\n", relative, verdict, name, err_name(rc));
            wrong++;
        }
    }
    (void)fclose(f);
    if (judged == 0) {
        print_message("LEFT OUT: no file of the table is in %s/dicom\n", shared_folder());
    }
    assert_int_equal(wrong, 0);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void print_table(void)
{
    static const char *const rooms[] = {"open", "made", "hostile"};
    (void)puts("# file below shared/dicom\tstate\terror (each file sent alone by tools/rawstore.py; duplicates are not judged; what cannot be delivered has no row)");
    for (size_t i = 0; i < 3; i++) {
        char folder[1024];
        struct dirent **names;
        (void)snprintf(folder, sizeof folder, "%s/dicom/%s/files", shared_folder(), rooms[i]);
        int n = scandir(folder, &names, NULL, by_name);
        for (int k = 0; k < n; k++) {
            char relative[1024];
            (void)snprintf(relative, sizeof relative, "%s/files/%s", rooms[i], names[k]->d_name);
            int rc = names[k]->d_name[0] == '.' ? ERR_NOT_FOUND : judge_file(relative);
            if (rc != ERR_NOT_FOUND) {
                (void)printf("%s\t%s\t%s\n", relative, rc ? "quarantined" : "validated", rc ? err_name(rc) : "-");
            }
            free(names[k]);
        }
        if (n >= 0) {
            free(names);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--print") == 0) {
        print_table();
        return 0;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_rule), cmocka_unit_test(what_only_warns), cmocka_unit_test(rules_are_named),
                                       cmocka_unit_test(shared_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
