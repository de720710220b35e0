/*
 * users: names and hashes of passcodes in a file. What is written can be checked, other tools' hashes too; a file that a person spoiled lets
 * nobody in; writing replaces the whole file or nothing.
 */
#include "common/runtime/users.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

struct fixture {
    char directory[40], path[64];
};

static int set_up(void **out)
{
    struct fixture *f = calloc(1, sizeof *f);
    (void)snprintf(f->directory, sizeof f->directory, "/tmp/users_test.XXXXXX");
    *out = f;
    if (!mkdtemp(f->directory)) {
        return -1;
    }
    (void)snprintf(f->path, sizeof f->path, "%s/users", f->directory);
    return 0;
}

static int tear_down(void **in)
{
    struct fixture *f = *in;
    char path[80];
    (void)unlink(f->path);
    (void)snprintf(path, sizeof path, "%s.lock", f->path);
    (void)unlink(path);
    int rc = rmdir(f->directory); /* nothing else may be left */
    free(f);
    return rc;
}

static void write_file(const struct fixture *f, const char *text)
{
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static enum users_answer ask(const struct fixture *f, const char *name, const char *passcode)
{
    struct err e = {0};
    enum users_answer answer = (enum users_answer)-1;
    assert_int_equal(users_check(f->path, name, passcode, &answer, &e), 0);
    return answer;
}

static void added_changed_removed(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    struct stat st;
    enum users_answer answer;
    assert_int_equal(users_check(f->path, "anna", "x", &answer, &e), ERR_NOT_FOUND);
    assert_int_equal(users_set(f->path, "anna", "first passcode", &e), 0);
    assert_int_equal(users_set(f->path, "Jörg Müller", "zweites", &e), 0);
    assert_int_equal(users_set(f->path, "station", NULL, &e), 0);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(ask(f, "anna", "first passcode"), USERS_RIGHT);
    assert_int_equal(ask(f, "anna", "first passcodE"), USERS_WRONG_PASSCODE);
    assert_int_equal(ask(f, "anna", ""), USERS_WRONG_PASSCODE);
    assert_int_equal(ask(f, "anna", NULL), USERS_RIGHT);
    assert_int_equal(ask(f, "Anna", "first passcode"), USERS_UNKNOWN);
    assert_int_equal(ask(f, "ann", NULL), USERS_UNKNOWN);
    assert_int_equal(ask(f, "", NULL), USERS_UNKNOWN);
    assert_int_equal(ask(f, "Jörg Müller", "zweites"), USERS_RIGHT);
    assert_int_equal(ask(f, "station", NULL), USERS_RIGHT);
    assert_int_equal(ask(f, "station", "*"), USERS_NAME_ONLY);
    assert_int_equal(users_set(f->path, "anna", "second", &e), 0);
    assert_int_equal(ask(f, "anna", "first passcode"), USERS_WRONG_PASSCODE);
    assert_int_equal(ask(f, "anna", "second"), USERS_RIGHT);
    assert_int_equal(ask(f, "Jörg Müller", "zweites"), USERS_RIGHT);
    assert_int_equal(users_remove(f->path, "anna", &e), 0);
    assert_int_equal(ask(f, "anna", "second"), USERS_UNKNOWN);
    assert_int_equal(users_remove(f->path, "anna", &e), ERR_NOT_FOUND);
}

/* Hashes made elsewhere (`openssl passwd -6`), comments, blank lines, CRLF; lines that are none. */
static void files_of_others(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    write_file(f, "# our scanners\n\nct:$6$abcdefgh$Nl/9arLGcPieL.zsePZiPUuu4d4RpmCqdHrD8Fz4lg.vTPwofcDIxZTJEjMzeU5at//RVxv7HP9mc1jgsBxJo/\r\n"
                  "no colon here\nmr:plain text\nus:$y$broken\nxa:\n#ct2:$6$a$b");
    assert_int_equal(ask(f, "ct", "right one"), USERS_RIGHT);
    assert_int_equal(ask(f, "ct", "wrong one"), USERS_WRONG_PASSCODE);
    assert_int_equal(ask(f, "mr", "plain text"), USERS_WRONG_PASSCODE);
    assert_int_equal(ask(f, "mr", NULL), USERS_RIGHT);
    assert_int_equal(ask(f, "us", "x"), USERS_WRONG_PASSCODE);
    assert_int_equal(ask(f, "xa", ""), USERS_WRONG_PASSCODE);
    assert_int_equal(ask(f, "no colon here", NULL), USERS_UNKNOWN);
    assert_int_equal(ask(f, "#ct2", NULL), USERS_UNKNOWN);
    assert_int_equal(users_set(f->path, "new", NULL, &e), 0); /* keeps what it does not understand */
    assert_int_equal(ask(f, "ct", NULL), USERS_RIGHT);
    char text[400] = "";
    FILE *file = fopen(f->path, "r");
    assert_non_null(file);
    assert_true(fread(text, 1, sizeof text - 1, file) > 0);
    assert_int_equal(fclose(file), 0);
    assert_non_null(strstr(text, "# our scanners\n\nct:"));
    assert_non_null(strstr(text, "no colon here\n"));
    assert_non_null(strstr(text, "#ct2:$6$a$b\nnew:*\n"));
}

static void illegal_and_too_large(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    static const char *const names[] = {"", "a:b", "a\nb", "#a", " a", "a ", "a\tb",
                                        "12345678901234567890123456789012345678901234567890123456789012345"};
    char passcode[400];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(users_set(f->path, names[i], "x", &e), ERR_ARGUMENT);
        assert_false(users_name_is_legal(names[i]));
    }
    memset(passcode, 'x', sizeof passcode - 1);
    passcode[sizeof passcode - 1] = '\0';
    assert_int_equal(users_set(f->path, "a", passcode, &e), ERR_ARGUMENT);
    passcode[USERS_PASSCODE_SIZE - 1] = '\0';
    assert_int_equal(users_set(f->path, "a", passcode, &e), 0);
    assert_int_equal(ask(f, "a", passcode), USERS_RIGHT);
    passcode[USERS_PASSCODE_SIZE - 2] = '\0';
    assert_int_equal(ask(f, "a", passcode), USERS_WRONG_PASSCODE);
    assert_int_equal(users_set(f->path, "a", "", &e), ERR_ARGUMENT);

    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    for (int i = 0; i < USERS_MAX; i++) {
        assert_true(fprintf(file, "user%d:*\n", i) > 0);
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(ask(f, "user4999", NULL), USERS_RIGHT);
    assert_int_equal(users_set(f->path, "one more", NULL, &e), ERR_TOO_LARGE);
    assert_int_equal(users_set(f->path, "user0", "x", &e), 0);
    file = fopen(f->path, "a");
    assert_non_null(file);
    assert_int_equal(fseek(file, USERS_FILE_BYTES, SEEK_SET), 0);
    assert_int_equal(ftruncate(fileno(file), USERS_FILE_BYTES + 1), 0);
    assert_int_equal(fclose(file), 0);
    enum users_answer answer;
    assert_int_equal(users_check(f->path, "user0", NULL, &answer, &e), ERR_CONFIG);
}

static int count_users(void *ctx, const char *name, bool has_passcode)
{
    int *counts = ctx;
    counts[0]++;
    counts[1] += has_passcode;
    return strcmp(name, "stop") == 0 ? 7 : 0;
}

static void listing(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    int counts[2] = {0, 0};
    write_file(f, "a:$y$x\nb:*\nstop:*\nd:*\n");
    assert_int_equal(users_each(f->path, count_users, counts, &e), 7);
    assert_int_equal(counts[0], 3);
    assert_int_equal(counts[1], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(added_changed_removed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_of_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(illegal_and_too_large, set_up, tear_down),
        cmocka_unit_test_setup_teardown(listing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
