/*
 * spool_change_test - files that element rules changed: after a stop between any two steps of the switch, undo brings back what the sender sent, and what
 * is in force is whole. The steps are what spool_change_switch() does, made here one after the other by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/runtime/runtime.h"
#include "common/spool/spool.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static char home[64];

static int make_home(void **state)
{
    (void)state;
    (void)snprintf(home, sizeof home, "/tmp/spool_change.XXXXXX");
    return mkdtemp(home) ? spool_prepare(home, NULL) : -1;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static int remove_home(void **state)
{
    (void)state;
    return nftw(home, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *path_of(char path[256], const char *room, const char *id)
{
    (void)snprintf(path, 256, "%s/spool/%s/%s.dcm", home, room, id);
    return path;
}

static bool is_in(const char *room, const char *id)
{
    char path[256];
    return access(path_of(path, room, id), F_OK) == 0;
}

/* A file as received (changed: false), or the one that rules make of it. */
static struct spool_meta write_file(const char *id, bool changed)
{
    struct spool_meta m;
    struct spool_writer *w = NULL;
    memset(&m, 0, sizeof m);
    if (id) {
        (void)snprintf(m.id, sizeof m.id, "%s", id);
    } else {
        id_new(m.id);
    }
    (void)snprintf(m.sop_class_uid, sizeof m.sop_class_uid, "1.2.840.10008.5.1.4.1.1.2");
    (void)snprintf(m.sop_instance_uid, sizeof m.sop_instance_uid, changed ? "2.25.9" : "1.2.3");
    (void)snprintf(m.transfer_syntax_uid, sizeof m.transfer_syntax_uid, "1.2.840.10008.1.2.1");
    assert_int_equal((changed ? spool_change_begin : spool_begin)(&w, home, &m, NULL), 0);
    assert_int_equal(spool_write(w, changed ? "changed bytes" : "the sender's bytes", changed ? 13 : 18, NULL), 0);
    assert_int_equal(spool_finish(&w, 1700000000000, &m, NULL), 0);
    return m;
}

static void expect_current(const char *id, bool changed)
{
    struct spool_meta m;
    struct err e = {0};
    assert_int_equal(spool_read_meta(home, id, 1, &m, &e), 0);
    assert_int_equal(m.is_changed, changed);
    assert_int_equal(m.data_bytes, changed ? 13 : 18);
    assert_string_equal(m.sop_instance_uid, changed ? "2.25.9" : "1.2.3");
}

static void expect_only_received(const char *id)
{
    expect_current(id, false);
    assert_false(is_in("changed", id) || is_in("original", id) || spool_is_changed(home, id));
}

static void switched_and_back(void **state)
{
    (void)state;
    struct spool_meta m = write_file(NULL, false);
    struct spool_meta received;
    struct err e = {0};
    write_file(m.id, true);
    assert_true(is_in("changed", m.id));
    expect_current(m.id, false);
    assert_int_equal(spool_change_switch(home, m.id, &e), 0);
    expect_current(m.id, true);
    assert_true(spool_is_changed(home, m.id));
    assert_int_equal(spool_read_received(home, m.id, 1, &received, &e), 0);
    assert_int_equal(received.file_crc32c, m.file_crc32c);
    assert_false(received.is_changed);
    int fd = spool_open_received(home, m.id, &e);
    assert_true(fd >= 0);
    char bytes[4096];
    ssize_t n = pread(fd, bytes, sizeof bytes, 0);
    assert_memory_equal(bytes + n - 18, "the sender's bytes", 18);
    (void)close(fd);
    assert_int_equal(spool_change_undo(home, m.id, &e), 0);
    expect_only_received(m.id);
    assert_int_equal(spool_change_undo(home, m.id, &e), 0);
    expect_only_received(m.id);
    fd = spool_open_received(home, m.id, &e); /* never changed: the same call */
    assert_true(fd >= 0);
    (void)close(fd);
}

/* A stop after each step; then whoever claims the row undoes it. */
static void stopped_between_steps(void **state)
{
    (void)state;
    for (int steps = 0; steps <= 3; steps++) {
        char from[256];
        char to[256];
        struct spool_meta m = write_file(NULL, false);
        if (steps >= 1) {
            write_file(m.id, true);
        }
        if (steps >= 2) {
            assert_int_equal(link(path_of(from, "obj", m.id), path_of(to, "original", m.id)), 0);
        }
        if (steps >= 3) {
            assert_int_equal(rename(path_of(from, "changed", m.id), path_of(to, "obj", m.id)), 0);
        }
        expect_current(m.id, steps == 3); /* whole at every moment */
        assert_int_equal(spool_change_undo(home, m.id, NULL), 0);
        expect_only_received(m.id);
        write_file(m.id, true); /* and the change can be made again */
        assert_int_equal(spool_change_switch(home, m.id, NULL), 0);
        expect_current(m.id, true);
    }
}

static void quarantine_holds_what_was_sent(void **state)
{
    (void)state;
    struct spool_meta m = write_file(NULL, false);
    write_file(m.id, true);
    assert_int_equal(spool_change_switch(home, m.id, NULL), 0);
    assert_int_equal(spool_quarantine(home, m.id, NULL), 0);
    assert_true(is_in("quarantine", m.id));
    expect_only_received(m.id);
    assert_int_equal(spool_unquarantine(home, m.id, NULL), 0);
    expect_only_received(m.id);
    assert_true(is_in("obj", m.id));
}

static void release_takes_both(void **state)
{
    (void)state;
    struct spool_meta m = write_file(NULL, false);
    write_file(m.id, true);
    assert_int_equal(spool_change_switch(home, m.id, NULL), 0);
    write_file(m.id, true); /* a leftover */
    assert_int_equal(spool_release(home, m.id, NULL), 0);
    assert_false(is_in("obj", m.id) || is_in("original", m.id) || is_in("changed", m.id));
    assert_int_equal(spool_release(home, m.id, NULL), 0);
}

/* What a changed file would lose is never given away for a second change on top of it: the original must come back first. */
static void no_switch_on_top(void **state)
{
    (void)state;
    struct err e = {0};
    struct spool_meta m = write_file(NULL, false);
    write_file(m.id, true);
    assert_int_equal(spool_change_switch(home, m.id, NULL), 0);
    write_file(m.id, true);
    assert_true(spool_change_switch(home, m.id, &e) < 0);
    assert_int_equal(spool_change_undo(home, m.id, NULL), 0);
    expect_only_received(m.id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(switched_and_back), cmocka_unit_test(stopped_between_steps), cmocka_unit_test(quarantine_holds_what_was_sent),
                                       cmocka_unit_test(release_takes_both), cmocka_unit_test(no_switch_on_top)};
    return cmocka_run_group_tests(tests, make_home, remove_home);
}
