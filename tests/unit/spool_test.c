/* spool - files of instances: what is there after each call, what a damaged file is called, and that nothing is left behind. */
#include "common/runtime/runtime.h"
#include "common/spool/spool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

static char home[64];

static int make_home(void **state)
{
    (void)state;
    (void)snprintf(home, sizeof home, "/tmp/spool_test.XXXXXX");
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

static void path_of(char path[256], const char *room, const char *id, const char *suffix)
{
    (void)snprintf(path, 256, "%s/spool/%s/%s%s", home, room, id, suffix);
}

static int files_in(const char *room)
{
    char path[256];
    int count = 0;
    path_of(path, room, "", "");
    DIR *directory = opendir(path);
    assert_non_null(directory);
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        count += entry->d_name[0] != '.';
    }
    (void)closedir(directory);
    return count;
}

static struct spool_meta meta_new(void)
{
    struct spool_meta m;
    memset(&m, 0, sizeof m);
    id_new(m.id);
    (void)snprintf(m.sop_class_uid, sizeof m.sop_class_uid, "1.2.840.10008.5.1.4.1.1.2");
    (void)snprintf(m.sop_instance_uid, sizeof m.sop_instance_uid, "2.25.123");
    (void)snprintf(m.transfer_syntax_uid, sizeof m.transfer_syntax_uid, "1.2.840.10008.1.2.1");
    (void)snprintf(m.calling_ae, sizeof m.calling_ae, "SENDER");
    return m;
}

/* Writes size bytes in pieces of `piece` bytes; the content is a function of the position. */
static struct spool_meta write_file(size_t size, size_t piece)
{
    struct spool_meta m = meta_new();
    struct spool_writer *w = NULL;
    struct spool_meta done;
    unsigned char *bytes = malloc(size + 1);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (unsigned char)(i * 7 + i / 251);
    }
    assert_int_equal(spool_begin(&w, home, &m, NULL), 0);
    for (size_t at = 0; at < size; at += piece) {
        assert_int_equal(spool_write(w, bytes + at, size - at < piece ? size - at : piece, NULL), 0);
    }
    int before = files_in("obj");
    assert_int_equal(spool_finish(&w, 1700000000123, &done, NULL), 0);
    assert_null(w);
    assert_int_equal(files_in("obj"), before + 1);
    assert_int_equal(done.data_bytes, size);
    assert_int_equal(done.data_crc32c, crc32c_update(0, bytes, size));
    free(bytes);
    return done;
}

/* Whatever the pieces: the head reads back, the bytes are those, both checksums are those of the file, nothing else is there. */
static void test_write_and_read_back(void **state)
{
    static const size_t sizes[][2] = {{0, 1},           {1, 1},           {777, 10},         {4096, 4096},        {131072, 131072},
                                      {131073, 131073}, {300000, 70000},  {1048576, 524288}, {1048577, 1000},     {3000001, 200000},
                                      {600, 599},       {262144, 131071}, {400000, 399999},  {2000000, 2000000}};
    (void)state;
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        struct spool_meta done = write_file(sizes[k][0], sizes[k][1]);
        struct spool_meta back;
        assert_int_equal(spool_read_meta(home, done.id, 1, &back, NULL), 0);
        assert_memory_equal(&back, &done, sizeof back);
        char path[256];
        struct stat info;
        path_of(path, "obj", done.id, ".dcm");
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_size, done.file_bytes);
        assert_int_equal(info.st_mode & 0777, 0600);
        unsigned char *whole = malloc((size_t)info.st_size);
        int fd = spool_open(home, done.id, NULL);
        assert_true(fd >= 0);
        assert_int_equal(read(fd, whole, (size_t)info.st_size), info.st_size);
        (void)close(fd);
        assert_int_equal(crc32c_update(0, whole, (size_t)info.st_size), done.file_crc32c);
        assert_memory_equal(whole + 128, "DICM", 4);
        for (int64_t i = 0; i < done.data_bytes; i++) {
            if (whole[done.data_offset + i] != (unsigned char)((size_t)i * 7 + (size_t)i / 251)) {
                fail_msg("size %zu pieces %zu: byte %lld is another", sizes[k][0], sizes[k][1], (long long)i);
            }
        }
        free(whole);
        assert_int_equal(files_in("obj"), 1);
        assert_int_equal(files_in("tmp"), 0);
        assert_int_equal(spool_release(home, done.id, NULL), 0);
        assert_int_equal(spool_release(home, done.id, NULL), 0); /* twice is as good as once */
        assert_int_equal(spool_read_meta(home, done.id, 0, &back, NULL), ERR_SPOOL_MISSING);
    }
}

static void test_abort_leaves_nothing(void **state)
{
    struct spool_meta m = meta_new();
    struct spool_writer *w = NULL;
    static const unsigned char bytes[300000];
    (void)state;
    assert_int_equal(spool_begin(&w, home, &m, NULL), 0);
    assert_int_equal(spool_write(w, bytes, sizeof bytes, NULL), 0);
    spool_abort(&w);
    assert_null(w);
    spool_abort(&w);
    spool_abort(NULL);
    assert_int_equal(files_in("tmp") + files_in("obj"), 0);
}

/* The name is taken: nobody's file is overwritten, the error says so, and nothing of the second one is left. */
static void test_a_name_is_never_taken_twice(void **state)
{
    struct spool_meta m = meta_new();
    struct spool_meta done;
    struct spool_writer *w = NULL;
    struct err e = {0};
    (void)state;
    assert_int_equal(spool_begin(&w, home, &m, NULL), 0);
    assert_int_equal(spool_write(w, "first", 5, NULL), 0);
    assert_int_equal(spool_finish(&w, 1, &done, NULL), 0);
    assert_int_equal(spool_begin(&w, home, &m, NULL), 0);
    assert_int_equal(spool_write(w, "second", 6, NULL), 0);
    assert_true(spool_finish(&w, 1, &done, &e) < 0);
    assert_true(e.text[0] != '\0');
    assert_null(w);
    assert_int_equal(spool_read_meta(home, m.id, 1, &done, NULL), 0);
    assert_int_equal(done.data_bytes, 5);
    assert_int_equal(files_in("tmp"), 0);
}

static void damage(const char *id, off_t at, const char *bytes, size_t count, off_t length)
{
    char path[256];
    path_of(path, "obj", id, ".dcm");
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    if (count > 0) {
        assert_int_equal(pwrite(fd, bytes, count, at), count);
    }
    if (length >= 0) {
        assert_int_equal(ftruncate(fd, length), 0);
    }
    (void)close(fd);
}

static void test_damaged_files(void **state)
{
    struct spool_meta back;
    struct err e = {0};
    (void)state;
    struct spool_meta cut = write_file(10000, 10000);
    damage(cut.id, 0, NULL, 0, cut.file_bytes - 1);
    assert_int_equal(spool_read_meta(home, cut.id, 0, &back, &e), ERR_SPOOL_DAMAGED);
    damage(cut.id, 0, NULL, 0, 0);
    assert_int_equal(spool_read_meta(home, cut.id, 0, &back, &e), ERR_SPOOL_DAMAGED);
    assert_int_equal(spool_release(home, cut.id, NULL), 0);
    struct spool_meta longer = write_file(10000, 10000);
    damage(longer.id, longer.file_bytes, "x", 1, -1);
    assert_int_equal(spool_read_meta(home, longer.id, 0, &back, &e), ERR_SPOOL_DAMAGED);
    assert_int_equal(spool_release(home, longer.id, NULL), 0);
    struct spool_meta other = write_file(10000, 10000);
    damage(other.id, other.data_offset + 5000, "\xff\xff\xff", 3, -1);
    assert_int_equal(spool_read_meta(home, other.id, 0, &back, &e), 0); /* its head is sound ... */
    assert_int_equal(spool_read_meta(home, other.id, 1, &back, &e), ERR_SPOOL_DAMAGED); /* ... its bytes are not */
    assert_int_equal(spool_release(home, other.id, NULL), 0);
    struct spool_meta torn = write_file(10000, 10000); /* as after a power cut: the length is there, the head is not */
    char zeros[1024] = "";
    damage(torn.id, 0, zeros, (size_t)torn.data_offset, -1);
    assert_int_equal(spool_read_meta(home, torn.id, 0, &back, &e), ERR_SPOOL_DAMAGED);
    /* any single byte of the head: never a crash, and never another content than was received under verify */
    struct spool_meta m = write_file(100, 100);
    for (off_t at = 132; at < (off_t)m.data_offset; at++) {
        damage(m.id, at, "\xff", 1, -1);
        (void)spool_read_meta(home, m.id, 1, &back, &e);
    }
}

static void test_quarantine_and_back(void **state)
{
    struct spool_meta back;
    (void)state;
    struct spool_meta m = write_file(5000, 5000);
    for (int i = 0; i < 2; i++) { /* repeating is harmless: a crash between move and record repeats it */
        assert_int_equal(spool_quarantine(home, m.id, NULL), 0);
        assert_int_equal(files_in("obj"), 0);
        assert_int_equal(files_in("quarantine"), 1);
        assert_int_equal(spool_read_meta(home, m.id, 1, &back, NULL), 0);
    }
    assert_int_equal(spool_unquarantine(home, m.id, NULL), 0);
    assert_int_equal(spool_unquarantine(home, m.id, NULL), 0);
    assert_int_equal(files_in("obj"), 1);
    char unknown[27];
    id_new(unknown);
    assert_true(spool_quarantine(home, unknown, NULL) < 0);
}

static int count_one(void *ctx, const char *id, const char *room)
{
    int *counts = ctx;
    assert_true(id_is_legal(id));
    counts[strcmp(room, "obj") != 0]++;
    return 0;
}

static void test_walk_and_sweep(void **state)
{
    char path[256];
    char id[27];
    int counts[2] = {0, 0};
    int removed = 0;
    int walked = 0;
    struct spool_walk *walk = NULL;
    (void)state;
    for (int i = 0; i < 5; i++) {
        struct spool_meta m = write_file(10, 10);
        if (i < 2) {
            assert_int_equal(spool_quarantine(home, m.id, NULL), 0);
        }
    }
    path_of(path, "obj", "README", ""); /* what is not ours is not touched and not told */
    (void)close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(spool_each(home, count_one, counts, NULL), 0);
    assert_int_equal(counts[0], 3);
    assert_int_equal(counts[1], 2);
    assert_int_equal(spool_walk_begin(&walk, home, "obj", NULL), 0);
    while (spool_walk_next(walk, id)) {
        walked++;
    }
    spool_walk_end(&walk);
    spool_walk_end(&walk);
    assert_int_equal(walked, 3);
    static const char *const parts[] = {"old.part", "young.part", "foreign"};
    for (size_t i = 0; i < 3; i++) {
        path_of(path, "tmp", parts[i], "");
        (void)close(open(path, O_CREAT | O_WRONLY, 0600));
        if (i != 1) {
            struct timeval before[2] = {{1000000, 0}, {1000000, 0}};
            assert_int_equal(utimes(path, before), 0);
        }
    }
    assert_int_equal(spool_sweep(home, 60000, &removed, NULL), 0);
    assert_int_equal(removed, 1);
    assert_int_equal(files_in("tmp"), 2);
    assert_int_equal(spool_sweep(home, 0, &removed, NULL), 0);
    assert_int_equal(removed, 1);
    assert_true(spool_free_bytes(home) > 0);
    assert_true(spool_free_bytes("/nowhere") < 0);
}

static void test_checksum_combines(void **state)
{
    unsigned char bytes[5000];
    (void)state;
    assert_int_equal(crc32c_update(0, "123456789", 9), 0xe3069283u); /* the check value of CRC-32C */
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)(i * 31);
    }
    uint32_t whole = crc32c_update(0, bytes, sizeof bytes);
    for (size_t cut = 0; cut <= sizeof bytes; cut += 617) {
        uint32_t a = crc32c_update(0, bytes, cut);
        uint32_t b = crc32c_update(0, bytes + cut, sizeof bytes - cut);
        assert_int_equal(crc32c_combine(a, b, sizeof bytes - cut), whole);
        assert_int_equal(crc32c_update(a, bytes + cut, sizeof bytes - cut), whole);
    }
}

/* The spool's file system was not mounted for a while: instance after instance failed for good, "its spool file is missing". */
static void test_a_spool_that_is_away_is_no_missing_file(void **state)
{
    (void)state;
    char id[27];
    char obj[256];
    char away[300];
    struct err e = {0};
    id_new(id);
    assert_int_equal(spool_open(home, id, &e), ERR_SPOOL_MISSING);
    path_of(obj, "obj", "", "");
    obj[strlen(obj) - 1] = '\0';
    (void)snprintf(away, sizeof away, "%s.away", obj);
    assert_int_equal(rename(obj, away), 0);
    assert_int_equal(spool_open(home, id, &e), ERR_IO);
    assert_non_null(strstr(e.text, "mounted"));
    assert_int_equal(err_class_of(ERR_IO), ERR_CLASS_RETRY_BACKOFF);
    assert_int_equal(rename(away, obj), 0);
    assert_int_equal(spool_open(home, id, &e), ERR_SPOOL_MISSING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_write_and_read_back, make_home, remove_home),
        cmocka_unit_test_setup_teardown(test_abort_leaves_nothing, make_home, remove_home),
        cmocka_unit_test_setup_teardown(test_a_name_is_never_taken_twice, make_home, remove_home),
        cmocka_unit_test_setup_teardown(test_a_spool_that_is_away_is_no_missing_file, make_home, remove_home),
        cmocka_unit_test_setup_teardown(test_damaged_files, make_home, remove_home),
        cmocka_unit_test_setup_teardown(test_quarantine_and_back, make_home, remove_home),
        cmocka_unit_test_setup_teardown(test_walk_and_sweep, make_home, remove_home),
        cmocka_unit_test(test_checksum_combines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
