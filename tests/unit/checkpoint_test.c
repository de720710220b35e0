/*
 * state: the write-ahead log while somebody reads in a transaction that does not end (a forgotten sqlite3 shell). It can then only grow; that
 * was told to nobody before the disk was full. Now a warning names it, and when the reader is gone the log is used anew.
 */
#include "tests/unit/state_fixture.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

enum { STEP_BYTES = 1000000, STEPS = 75 };

static void grow(struct state *s, int step)
{
    char *text = malloc(STEP_BYTES + 1);
    struct err e = {0};
    memset(text, 'a' + step % 26, STEP_BYTES); /* SQLite writes only pages that change */
    text[STEP_BYTES] = '\0';
    assert_int_equal(state_worker_beat(s, text, &e), 0);
    free(text);
}

/* What state_checkpoint() logs, "" if nothing. */
static void checkpoint(struct fixture *f, char *said, size_t size)
{
    char path[128];
    struct err e = {0};
    (void)snprintf(path, sizeof path, "%s/said", f->home);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int kept = dup(2);
    assert_true(fd != -1 && kept != -1 && dup2(fd, 2) == 2);
    int rc = state_checkpoint(f->importer, &e);
    assert_int_equal(dup2(kept, 2), 2);
    (void)close(kept);
    ssize_t n = pread(fd, said, size - 1, 0);
    said[n > 0 ? n : 0] = '\0';
    (void)close(fd);
    assert_int_equal(rc, 0);
}

static void a_log_that_a_reader_keeps_growing_is_named(void **in)
{
    struct fixture *f = *in;
    char path[128];
    char said[2000];
    struct stat before;
    struct stat after;
    sqlite3 *reader = NULL;
    (void)snprintf(path, sizeof path, "%s/state/state.db", f->home);
    assert_int_equal(sqlite3_open_v2(path, &reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    grow(f->importer, 1);
    assert_int_equal(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM worker", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < STEPS; i++) {
        grow(f->importer, i);
    }
    checkpoint(f, said, sizeof said);
    assert_non_null(strstr(said, "log_grows file=state.db-wal"));
    checkpoint(f, said, sizeof said); /* not again at once */
    assert_string_equal(said, "");
    assert_int_equal(sqlite3_close(reader), SQLITE_OK);
    (void)snprintf(path, sizeof path, "%s/state/state.db-wal", f->home);
    for (int i = 0; i < 55; i++) { /* the pause after a reader in the way is 5 s */
        (void)usleep(100000);
        checkpoint(f, said, sizeof said);
        assert_string_equal(said, "");
    }
    assert_int_equal(stat(path, &before), 0);
    for (int i = 0; i < 3; i++) {
        grow(f->importer, i);
    }
    assert_int_equal(stat(path, &after), 0);
    assert_true(after.st_size <= before.st_size); /* from its beginning again */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(a_log_that_a_reader_keeps_growing_is_named, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
