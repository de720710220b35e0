/* runtime: ids that never repeat and sort by time, backoff within its bounds, locks that end with their process, one table of errors. */
#include "common/runtime/runtime.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static int compare_ids(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void ids_are_unique_legal_and_sorted_by_time(void **in)
{
    enum { COUNT = 20000 };
    static char ids[COUNT][27];
    (void)in;
    int64_t before = clock_wall_ms();
    for (int i = 0; i < COUNT; i++) {
        id_new(ids[i]);
        assert_true(id_is_legal(ids[i]));
    }
    int64_t after = clock_wall_ms();
    assert_in_range(id_time_ms(ids[0]), before, after);
    assert_in_range(id_time_ms(ids[COUNT - 1]), before, after);
    for (int i = 1; i < COUNT; i++) {
        assert_true(id_time_ms(ids[i]) >= id_time_ms(ids[i - 1]) || after < before); /* unless somebody sets the clock now */
    }
    qsort(ids, COUNT, sizeof ids[0], compare_ids);
    for (int i = 1; i < COUNT; i++) {
        assert_string_not_equal(ids[i], ids[i - 1]);
    }
}

static void what_is_no_id_is_refused(void **in)
{
    static const char *const wrong[] = {"", "01m8aaz1k10andq239m4cg4ck", "01m8aaz1k10andq239m4cg4ck44", "01M8AAZ1K10ANDQ239M4CG4CK4",
                                        "../8aaz1k10andq239m4cg4ck4", "01m8aaz1k10andq239m4cg4ci4", "01m8aaz1k10andq239m4cg4c/4",
                                        "01m8aaz1k10andq239m4cg4ck\n"};
    (void)in;
    assert_false(id_is_legal(NULL));
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(id_is_legal(wrong[i]));
        assert_int_equal(id_time_ms(wrong[i]), 0);
    }
}

static void backoff_grows_to_its_ceiling(void **in)
{
    static const uint32_t randoms[] = {0, 1, 77777, UINT32_MAX};
    (void)in;
    for (int attempt = 0; attempt < 70; attempt++) {
        int64_t whole = attempt < 10 ? 1000LL << attempt : 600000;
        whole = whole > 600000 ? 600000 : whole;
        for (size_t i = 0; i < sizeof randoms / sizeof randoms[0]; i++) {
            assert_in_range(backoff_ms(attempt, 1000, 600000, randoms[i]), whole / 2, whole);
        }
    }
    assert_in_range(backoff_ms(1000000, 1, INT64_MAX / 4, 1), 1, INT64_MAX / 4);
    assert_in_range(backoff_ms(3, 0, 10, 1), 0, 10);
    /* jitter: not everybody comes back at the same moment */
    assert_int_not_equal(backoff_ms(5, 1000, 600000, 1), backoff_ms(5, 1000, 600000, 2));
}

static void a_lock_ends_with_its_process(void **in)
{
    char directory[] = "/tmp/runtime_test.XXXXXX";
    char path[64];
    struct err e = {0};
    int fd = -1;
    int ready[2];
    pid_t holder = 0;
    (void)in;
    assert_non_null(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/lock", directory);
    assert_true(lockfile_is_free(path, NULL)); /* a missing file is free */
    assert_int_equal(access(path, F_OK), -1);  /* and looking does not make it */
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        if (lockfile_take(path, &fd, &e) != 0 || write(ready[1], "x", 1) != 1) {
            _exit(1);
        }
        (void)pause();
        _exit(1);
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_false(lockfile_is_free(path, &holder));
    assert_int_equal(holder, child);
    assert_int_equal(lockfile_take(path, &fd, &e), ERR_BUSY);
    assert_int_equal(fd, -1);
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    assert_true(lockfile_is_free(path, NULL));
    assert_int_equal(lockfile_take(path, &fd, &e), 0);
    assert_int_not_equal(fd, -1);
    /* unlinked behind its back: the next one makes a new file and gets it */
    assert_int_equal(unlink(path), 0);
    int second = -1;
    assert_int_equal(lockfile_take(path, &second, &e), 0);
    (void)close(fd);
    (void)close(second);
    (void)close(ready[0]);
    (void)close(ready[1]);
    assert_int_equal(lockfile_take("/tmp/there/is/no/such/directory/lock", &fd, &e), ERR_NOT_FOUND);
    (void)unlink(path);
    (void)rmdir(directory);
}

static void directories_are_made_closed(void **in)
{
    char directory[] = "/tmp/runtime_test.XXXXXX";
    char path[64];
    struct stat info;
    struct err e = {0};
    (void)in;
    assert_non_null(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/a/b/c", directory);
    assert_int_equal(directory_make(path, &e), 0);
    assert_int_equal(directory_make(path, &e), 0);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    assert_int_equal(directory_sync(path, &e), 0);
    assert_int_equal(directory_make("/proc/there/is/none", &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "/proc/there"));
    for (int i = 0; i < 3; i++) {
        (void)rmdir(path);
        path[strlen(path) - 2] = '\0';
    }
    (void)rmdir(directory);
}

static void every_error_has_a_name_a_sentence_and_a_class(void **in)
{
    static const int codes[] = {
#define CODE(code, number, name, class, sentence) code,
        ERR_TABLE(CODE)
#undef CODE
    };
    (void)in;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        assert_true(codes[i] < 0);
        assert_int_equal(err_code_of(err_name(codes[i])), codes[i]); /* the name leads back: it is unique */
        assert_true(strlen(err_sentence(codes[i])) > 5);
        assert_int_not_equal(err_class_of(codes[i]), ERR_CLASS_NONE);
        for (size_t k = 0; k < i; k++) {
            assert_int_not_equal(codes[i], codes[k]);
        }
    }
    assert_string_equal(err_name(0), "OK");
    assert_string_equal(err_name(-9999), "UNKNOWN");
    assert_int_equal(err_code_of("NO_SUCH_ERROR"), 0);
    assert_int_equal(err_code_of("OK"), 0);
}

static void err_set_tells_the_story_and_keeps_its_bounds(void **in)
{
    struct err e = {0};
    char long_text[1000];
    (void)in;
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    assert_int_equal(err_set(&e, ERR_IO, ENOENT, "open of %s", "here"), ERR_IO);
    assert_int_equal(e.code, ERR_IO);
    assert_int_equal(e.sys, ENOENT);
    assert_non_null(strstr(e.text, "open of here"));
    assert_non_null(strstr(e.text, strerror(ENOENT)));
    assert_int_equal(err_set(&e, ERR_IO, 0, "%s", long_text), ERR_IO);
    assert_true(strlen(e.text) < sizeof e.text);
    assert_int_equal(err_set(NULL, ERR_BUSY, 0, "nobody listens"), ERR_BUSY);
    assert_int_equal(err_from_errno(ENOSPC), ERR_DISK_FULL);
    assert_int_equal(err_from_errno(EDQUOT), ERR_DISK_FULL);
    assert_int_equal(err_from_errno(ENOENT), ERR_NOT_FOUND);
    assert_int_equal(err_from_errno(ENOMEM), ERR_MEMORY);
    assert_int_equal(err_from_errno(EACCES), ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_unique_legal_and_sorted_by_time),
        cmocka_unit_test(what_is_no_id_is_refused),
        cmocka_unit_test(backoff_grows_to_its_ceiling),
        cmocka_unit_test(a_lock_ends_with_its_process),
        cmocka_unit_test(directories_are_made_closed),
        cmocka_unit_test(every_error_has_a_name_a_sentence_and_a_class),
        cmocka_unit_test(err_set_tells_the_story_and_keeps_its_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
