/* scale - `scale STAGE N`: leaves the wish in run/scale; the supervisor reads it within a second. */
#include "common/runtime/runtime.h"
#include "control/control.h"

#include <unistd.h>

int command_scale(struct request *q)
{
    int stage = stage_parse(q->args[0]);
    char *end = NULL;
    long n = strtol(q->args[1], &end, 10);
    if (stage < 0 || end == q->args[1] || *end != '\0' || n < 0 || n > PROCESSES_MAX) {
        (void)complain("usage: scale receiver|validator|uploader|importer 0..%d", PROCESSES_MAX);
        return EXIT_USAGE;
    }
    if (!supervisor_is_living(q->home)) {
        return complain("no `storescpctl up` runs on %s, so there is nothing to scale; start it, or set the counts in storescp.conf",
                        q->home);
    }
    char path[PATH_SIZE];
    struct err e = {0};
    int fd = -1;
    int rc = snprintf(path, sizeof path, "%s/run/scale.lock", q->home) >= (int)sizeof path
                 ? err_set(&e, ERR_ARGUMENT, 0, "the path of the home directory is too long")
                 : lockfile_take(path, &fd, &e);
    for (int tries = 0; rc == ERR_BUSY && tries < 50; tries++) {
        rc = lockfile_take(path, &fd, &e); /* waits some 40 ms itself */
    }
    if (rc == 0) {
        int counts[STAGE_COUNT] = {-1, -1, -1, -1};
        (void)counts_read(q->home, COUNTS_SCALE, counts);
        counts[stage] = (int)n;
        rc = counts_write(q->home, COUNTS_SCALE, counts, &e);
        (void)close(fd);
    }
    if (rc != 0) {
        return complain("%s", e.text);
    }
    (void)printf("%s: %ld wanted\n", state_stage_name((enum state_stage)stage), n);
    return EXIT_FINE;
}
