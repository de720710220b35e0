/* batch - what a person decides about a batch, and what is told of jobs that do not end. */
#include "common/runtime/runtime.h"
#include "control/control.h"
#include "control/table.h"

#include <time.h>

enum { TRIES = 30, TRY_MS = 100, TOLD_MAX = 5, FOUND_MAX = 5000 };

int give_up_job(struct request *q)
{
    struct err e = {0};
    struct state *state = NULL;
    int rc = open_for_person(&state, q, &e);
    if (rc == 0) {
        rc = ERR_BUSY;
        for (int i = 0; rc == ERR_BUSY && i < TRIES; i++) { /* an importer has it in hand while it asks for the job */
            (void)nanosleep(&(struct timespec){0, i ? TRY_MS * 1000000L : 0}, NULL);
            rc = state_job_give_up(state, q->args[0], q->reason, &e);
        }
    }
    state_close(&state);
    if (rc != 0) {
        return complain("%s", e.text);
    }
    (void)printf("the import job of batch %s is given up: its results are looked at for some seconds, then what is not imported goes into a new job\n",
                 q->args[0]);
    return EXIT_FINE;
}

int command_close(struct request *q)
{
    struct err e = {0};
    struct state *state = NULL;
    struct table found = {0};
    long long batches = 0;
    int rc = open_for_person(&state, q, &e);
    rc = rc == 0 ? table_load(&found, state, "find", q->args[0], FOUND_MAX, &e) : rc;
    for (size_t i = 0; rc == 0 && i < found.rows; i++) {
        const char *kind = table_get(&found, i, "kind");
        const char *id = table_get(&found, i, "id");
        int count = 0;
        rc = kind && id && strcmp(kind, "commitment") != 0 ? state_import_now(state, id, &count, &e) : 0;
        batches += count;
    }
    table_clear(&found);
    state_close(&state);
    if (rc != 0) {
        return complain("%s", e.text);
    }
    if (batches == 0) {
        return complain("nothing under %.200s waits for the start of its import job: `storescpctl why` tells where it is", q->args[0]);
    }
    (void)printf("%lld batch%s closed and goes before others; `storescpctl why %.200s` shows it\n", batches, batches == 1 ? " is" : "es are", q->args[0]);
    return EXIT_FINE;
}

void jobs_warn(struct state *s, void (*warn)(void *ctx, const char *sentence), void *ctx)
{
    struct table t = {0};
    char line[400];
    char age[32];
    if (table_load(&t, s, "overdue", NULL, 1000, NULL) == 0) {
        for (size_t r = 0; r < t.rows && r < TOLD_MAX; r++) {
            const char *batch = table_get(&t, r, "batch");
            const char *job = table_get(&t, r, "job");
            const char *status = table_get(&t, r, "job_status");
            (void)snprintf(line, sizeof line, "import job %.40s of batch %.30s is %.20s for %s, longer than import_job_s; it keeps one of import_running_max places. "
                           "Look at it in HealthImaging; `storescpctl retry %.30s --job` gives it up", job ? job : "-", batch ? batch : "-",
                           status ? status : "running", text_age(table_number(&t, r, "running_seconds") * 1000, age, sizeof age), batch ? batch : "BATCH");
            warn(ctx, line);
        }
        if (t.rows > TOLD_MAX) {
            (void)snprintf(line, sizeof line, "%zu more import jobs run longer than import_job_s: view v_overdue", t.rows - TOLD_MAX);
            warn(ctx, line);
        }
    }
    table_clear(&t);
}
