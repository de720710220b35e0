/*
 * handoff: a hint wakes a worker; a dead worker, a full or a deleted inbox costs a hint at most, never a wait and never the next hints.
 * Each wait has a limit of LIMIT_MS, far above what is needed.
 */
#include "common/handoff/handoff.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"

#include <dirent.h>
#include <fcntl.h>
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

enum { LIMIT_MS = 10000 };

struct fixture {
    char home[64];
    struct handoff *producer, *consumer;
};

static int set_up(void **out)
{
    struct fixture *f = calloc(1, sizeof *f);
    (void)snprintf(f->home, sizeof f->home, "/tmp/handoff_test.XXXXXX");
    *out = f;
    return mkdtemp(f->home) ? 0 : -1;
}

static void remove_tree(const char *path)
{
    pid_t child = fork();
    if (child == 0) {
        (void)execlp("rm", "rm", "-rf", path, (char *)NULL);
        _exit(1);
    }
    (void)waitpid(child, NULL, 0);
}

static int tear_down(void **in)
{
    struct fixture *f = *in;
    handoff_close(&f->producer);
    handoff_close(&f->consumer);
    remove_tree(f->home);
    free(f);
    return 0;
}

static void open_pair(struct fixture *f)
{
    struct err e = {0};
    assert_int_equal(handoff_open(&f->consumer, f->home, "validator", NULL, "validator-1-a", &e), 0);
    assert_int_equal(handoff_open(&f->producer, f->home, NULL, "validator", "receiver-1-a", &e), 0);
}

/* Sends until a hint arrives; -> how long that took, or LIMIT_MS. */
static int64_t until_hint(struct handoff *producer, struct handoff *consumer)
{
    int64_t begun = clock_mono_ms();
    while (clock_mono_ms() - begun < LIMIT_MS) {
        handoff_send(producer, "01m8aaz1k10andq239m4cg4ck4", 1000, 7);
        if (handoff_wait(consumer, 20, NULL, 0) > 0) {
            return clock_mono_ms() - begun;
        }
    }
    return LIMIT_MS;
}

static int files_in(const char *home, const char *ending)
{
    char path[128];
    int count = 0;
    (void)snprintf(path, sizeof path, "%s/run/inbox/validator", home);
    DIR *directory = opendir(path);
    struct dirent *entry;
    while (directory && (entry = readdir(directory)) != NULL) {
        size_t length = strlen(entry->d_name);
        count += length > strlen(ending) && strcmp(entry->d_name + length - strlen(ending), ending) == 0;
    }
    if (directory) {
        (void)closedir(directory);
    }
    return count;
}

static void a_hint_wakes(void **in)
{
    struct fixture *f = *in;
    struct stat info;
    char path[128];
    open_pair(f);
    assert_in_range(until_hint(f->producer, f->consumer), 0, LIMIT_MS - 1);
    while (handoff_wait(f->consumer, 500, NULL, 0) > 0) { /* those that were sent until the first one came are still under way */
    }
    /* nothing there: it waits as long as it was told */
    int64_t begun = clock_mono_ms();
    assert_int_equal(handoff_wait(f->consumer, 60, NULL, 0), 0);
    assert_in_range(clock_mono_ms() - begun, 50, LIMIT_MS);
    /* closed to others */
    (void)snprintf(path, sizeof path, "%s/run/inbox/validator/validator-1-a.sock", f->home);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 077, 0);
    handoff_close(&f->consumer);
    assert_int_equal(files_in(f->home, ".sock") + files_in(f->home, ".lock"), 0);
}

static void an_extra_fd_ends_the_wait(void **in)
{
    struct fixture *f = *in;
    int ends[2];
    open_pair(f);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    int64_t begun = clock_mono_ms();
    assert_int_equal(handoff_wait(f->consumer, LIMIT_MS, &ends[0], 1), 0);
    assert_in_range(clock_mono_ms() - begun, 0, LIMIT_MS / 2);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void nobody_there_or_nobody_reading_never_blocks(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    int64_t begun = clock_mono_ms();
    assert_int_equal(handoff_open(&f->producer, f->home, NULL, "validator", "receiver-1-a", &e), 0);
    for (int i = 0; i < 2000; i++) {
        handoff_send(f->producer, "01m8aaz1k10andq239m4cg4ck4", 1000, 7);
    }
    assert_int_equal(handoff_open(&f->consumer, f->home, "validator", NULL, "validator-1-a", &e), 0);
    (void)usleep(300000); /* until the producer looks at the directory again */
    for (int i = 0; i < 20000; i++) {
        handoff_send(f->producer, "01m8aaz1k10andq239m4cg4ck4", 1000, 7);
    }
    assert_in_range(clock_mono_ms() - begun, 300, LIMIT_MS);
    /* what was queued is bounded, and the one that reads again gets new hints */
    int hints = 0;
    for (int n = 1; n > 0; hints += n) {
        n = handoff_wait(f->consumer, 100, NULL, 0);
    }
    assert_in_range(hints, 0, 19999);
    assert_in_range(until_hint(f->producer, f->consumer), 0, LIMIT_MS - 1);
}

/* A worker killed with its inbox full: its files are swept, the next hints go to the living one. */
static void a_dead_inbox_is_swept(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork(); /* before there is any ZeroMQ context here */
    if (child == 0) {
        struct handoff *mine = NULL;
        if (handoff_open(&mine, f->home, "validator", NULL, "validator-2-b", &e) != 0 || write(ready[1], "x", 1) != 1) {
            _exit(1);
        }
        (void)pause();
        _exit(1);
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    open_pair(f);
    assert_in_range(until_hint(f->producer, f->consumer), 0, LIMIT_MS - 1); /* both get hints */
    assert_int_equal(files_in(f->home, ".sock"), 2);
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    int64_t begun = clock_mono_ms();
    while (files_in(f->home, ".sock") > 1 && clock_mono_ms() - begun < LIMIT_MS) {
        handoff_send(f->producer, "01m8aaz1k10andq239m4cg4ck4", 1000, 7);
        (void)usleep(10000);
    }
    assert_int_equal(files_in(f->home, ".sock"), 1);
    assert_int_equal(files_in(f->home, ".lock"), 1);
    while (handoff_wait(f->consumer, 100, NULL, 0) > 0) {
    }
    /* Every single one arrives now. They come faster than ZeroMQ looks for room by itself: the 17th within a millisecond was lost. */
    for (int i = 0; i < 100; i++) {
        handoff_send(f->producer, "01m8aaz1k10andq239m4cg4ck4", 1000, 7);
        assert_int_equal(handoff_wait(f->consumer, LIMIT_MS, NULL, 0), 1);
    }
    (void)close(ready[0]);
    (void)close(ready[1]);
}

/* run/ may be deleted by a rash hand or a cleaner of temporary files. */
static void a_deleted_inbox_comes_back(void **in)
{
    struct fixture *f = *in;
    char path[128];
    char run[100];
    open_pair(f);
    assert_in_range(until_hint(f->producer, f->consumer), 0, LIMIT_MS - 1);
    (void)snprintf(path, sizeof path, "%s/run/inbox/validator/validator-1-a.sock", f->home);
    assert_int_equal(unlink(path), 0);
    (void)usleep(600000); /* the worker looks after its inbox every half second */
    assert_in_range(until_hint(f->producer, f->consumer), 0, LIMIT_MS - 1);
    assert_int_equal(access(path, F_OK), 0);
    (void)snprintf(run, sizeof run, "%s/run", f->home);
    remove_tree(run);
    (void)usleep(600000);
    assert_in_range(until_hint(f->producer, f->consumer), 0, LIMIT_MS - 1);
    assert_int_equal(access(path, F_OK), 0);
}

static void a_name_in_use_or_too_long_is_refused(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    struct handoff *second = NULL;
    char name[120];
    open_pair(f);
    assert_int_equal(handoff_open(&second, f->home, "validator", NULL, "validator-1-a", &e), ERR_BUSY); /* a second bind would steal it */
    assert_null(second);
    assert_in_range(until_hint(f->producer, f->consumer), 0, LIMIT_MS - 1);
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(handoff_open(&second, f->home, "validator", NULL, name, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, "shorter STORESCP_HOME"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_hint_wakes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_extra_fd_ends_the_wait, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_there_or_nobody_reading_never_blocks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_dead_inbox_is_swept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_deleted_inbox_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_name_in_use_or_too_long_is_refused, set_up, tear_down),
    };
    log_init("handoff_test", LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
