/*
 * verdicts_test - verdict and findings of every shared file against tests/pipeline/expected_verdicts.tsv, where each line says why.
 * `verdicts_test --print` writes the table anew, without its reasons, to be read before it is kept. tests/real/verdicts asks other programs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/stored_file.h"
#include "validator/rules.h"

#include <dirent.h>

static const char *shared_folder(void)
{
    const char *shared = getenv("SHARED_DIR");
    return shared ? shared : SOURCE_DIR "/../shared";
}

/* Verdict and findings ("rule rule ...", "-") of one file as our receiver would store it. Also: no sentence holds a value of the data set. */
static int judge_file(const char *relative, char *found, size_t size)
{
    char path[2048];
    struct bytes b = {0};
    struct dicom_scan s;
    struct err e = {0};
    struct rule_severities severities;
    static struct rules_verdict v;
    (void)snprintf(path, sizeof path, "%s/dicom/%s", shared_folder(), relative);
    if (!stored_file(path, &b)) {
        return ERR_NOT_FOUND;
    }
    rule_severities_preset(&severities);
    int rc = dicom_scan_memory(b.at, b.count, &s, &e);
    rules_judge(&s, rc, e.text, &severities, &v);
    bytes_clear(&b);
    (void)snprintf(found, size, "%s", v.count ? "" : "-");
    for (size_t i = 0; i < v.count; i++) {
        size_t used = strlen(found);
        (void)snprintf(found + used, size - used, "%s%s", i ? " " : "", rule_at(v.findings[i].rule)->id);
        assert_true(strlen(s.patient_id) < 5 || !strstr(v.findings[i].text, s.patient_id));
    }
    return v.code;
}

static void shared_files(void **state)
{
    (void)state;
    char line[1200];
    char found[800];
    int judged = 0;
    int wrong = 0;
    FILE *f = fopen(SOURCE_DIR "/tests/pipeline/expected_verdicts.tsv", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        char relative[400];
        char verdict[40];
        char name[60] = "";
        char findings[600] = "";
        char reason[600] = "";
        if (line[0] == '#') {
            continue;
        }
        assert_int_equal(sscanf(line, "%399[^\t\n]\t%39[^\t\n]\t%59[^\t\n]\t%599[^\t\n]\t%599[^\t\n]", relative, verdict, name, findings, reason), 5);
        assert_true(strlen(reason) > 3);
        int rc = judge_file(relative, found, sizeof found);
        if (rc == ERR_NOT_FOUND) {
            continue;
        }
        judged++;
        if (strcmp(verdict, rc ? "quarantined" : "validated") != 0 || (rc != 0 && strcmp(name, err_name(rc)) != 0) || strcmp(findings, found) != 0) {
            print_message("%s: expected %s %s (%s), got %s (%s)\n", relative, verdict, name, findings, err_name(rc), found);
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
    for (size_t i = 0; i < 3; i++) {
        char folder[1024];
        char found[800];
        struct dirent **names;
        (void)snprintf(folder, sizeof folder, "%s/dicom/%s/files", shared_folder(), rooms[i]);
        int n = scandir(folder, &names, NULL, by_name);
        for (int k = 0; k < n; k++) {
            char relative[1024];
            (void)snprintf(relative, sizeof relative, "%s/files/%s", rooms[i], names[k]->d_name);
            int rc = names[k]->d_name[0] == '.' ? ERR_NOT_FOUND : judge_file(relative, found, sizeof found);
            if (rc != ERR_NOT_FOUND) {
                (void)printf("%s\t%s\t%s\t%s\n", relative, rc ? "quarantined" : "validated", rc ? err_name(rc) : "-", found);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(shared_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
