/*
 * follow - looks at running jobs. COMPLETED and FAILED both only say that the job is over: what became of the files stands in the results.
 * A job that HealthImaging does not know may be too young to be seen, or older than the 90 days for which jobs are listed.
 */
#include "common/aws/medical_imaging.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "importer/importer.h"

#include <string.h>

enum {
    HINT_LATE_MS = 15000,         /* after the end of a job its event is no longer awaited */
    UNKNOWN_MAX = 10,             /* answers "no such job", over several minutes, before the job counts as gone */
    SLOWER = 12, SLOW_MS = 600000 /* how much more seldom an overdue job is looked at, and how seldom at most */
};

static void job_ended(struct importer *m, struct state_batch *b, const struct ahi_job *job)
{
    struct err e = {0};
    int64_t ended = job->ended_ms ? job->ended_ms : clock_wall_ms();
    int rc = state_batch_ended(m->state, b, job->status, job->message, job->output_s3_uri[0] ? job->output_s3_uri : NULL, ended, &e);
    if (rc != 0) {
        log_error("record_failed", "batch=%s job=%s reason=\"%s\" effect=\"the job is looked at again\"", b->id, b->job_id, e.text);
        if (rc != ERR_FENCED) {
            importer_give_back(m, b);
        }
        return;
    }
    bool failed = strcmp(job->status, "COMPLETED") != 0;
    log_write(failed ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "import_job_ended", "batch=%s job=%s status=%s took_ms=%lld%s%s%s", b->id, b->job_id,
              job->status, (long long)(ended - (b->submitted_ms ? b->submitted_ms : ended)), failed ? " remedy=\"the job's message: storescpctl show " : "",
              failed ? b->id : "", failed ? "\"" : "");
    if (m->is_hinted && *m->is_hinted && b->hinted_ms == 0 && clock_wall_ms() > ended + HINT_LATE_MS) {
        *m->is_hinted = false;
        log_warning("hint_missed", "batch=%s job=%s effect=\"running jobs are looked at every import_poll_ms until the next event comes\" "
                    "remedy=\"once is nothing; else see the EventBridge rule and the policy of the queue in hints_sqs_queue_url\"", b->id, b->job_id);
    }
    if (m->start.why.code == ERR_AWS_QUOTA) { /* a place is free */
        m->start.until_ms = 0;
    }
}

/* A job that does not end is neither ended (HealthImaging has no call for that) nor started again by itself: it may still import, and a second
 * import costs money and makes versions. A person is told, once, and decides: `storescpctl retry BATCH --job`. */
static bool is_overdue(const struct importer *m, const struct state_batch *b)
{
    int64_t since = b->submitted_ms ? b->submitted_ms : b->called_ms;
    return since > 0 && clock_wall_ms() - since > config_int(m->config, CFG_IMPORT_JOB_S) * 1000;
}

static void overdue(struct importer *m, struct state_batch *b, const struct ahi_job *job)
{
    struct err e = {0};
    struct err why = {0};
    bool first = false;
    int64_t now = clock_wall_ms();
    int64_t setting = config_int(m->config, CFG_IMPORT_POLL_MS);
    int64_t slow = setting * SLOWER < SLOW_MS ? setting * SLOWER : SLOW_MS;
    int64_t since = b->submitted_ms ? b->submitted_ms : b->called_ms;
    (void)err_set(&why, ERR_IMPORT_OVERDUE, 0, "import job %s is still %s after %lld s, longer than import_job_s (%lld s); it keeps one of the "
                  "%d places of import_running_max", b->job_id, job->status, (long long)((now - since) / 1000),
                  config_int(m->config, CFG_IMPORT_JOB_S), m->limits.running_max);
    int64_t next = now + importer_poll_ms(slow > setting ? slow : setting, b->jobs_count, random_u32());
    int rc = state_batch_overdue(m->state, b, job->status, &why, next, &first, &e);
    if (rc == 0 && first) {
        log_error("import_job_overdue", "batch=%s job=%s status=%s instances=%lld reason=\"%s\" effect=\"it is looked at more seldom, nothing else\" "
                  "remedy=\"look at the job in HealthImaging; to give it up and import its images anew: storescpctl retry %s --job\"",
                  b->id, b->job_id, job->status, (long long)b->instance_count, why.text, b->id);
    } else if (rc != 0 && rc != ERR_FENCED) {
        importer_give_back(m, b);
    }
}

static void still_running(struct importer *m, struct state_batch *b, const struct ahi_job *job)
{
    struct err e = {0};
    if (is_overdue(m, b)) {
        overdue(m, b, job);
        return;
    }
    int64_t wait = importer_poll_ms(importer_poll_setting_ms(m), b->jobs_count, random_u32());
    int rc = state_batch_defer(m->state, b, job->status, NULL, clock_wall_ms() + wait, &e);
    if (rc != 0 && rc != ERR_FENCED) {
        importer_give_back(m, b);
    }
}

/* The data store may be the one that is gone: then every batch waits, and a person is told. */
static void unknown_job(struct importer *m, struct state_batch *b)
{
    struct err e = {0};
    m->store_is_active = false;
    if (!importer_is_elsewhere(m, b) && !importer_store_is_active(m, &m->poll)) {
        importer_give_back(m, b);
        return;
    }
    if (b->attempts + 1 < UNKNOWN_MAX) {
        (void)err_set(&e, ERR_PROTOCOL, 0, "HealthImaging does not know job %s of this batch (yet)", b->job_id);
        importer_put_off(m, &m->poll, b, &e);
        return;
    }
    struct ahi_job gone = {.status = "GONE", .message = "HealthImaging does not know this job any more"};
    job_ended(m, b, &gone);
}

bool poll_next(struct importer *m)
{
    struct state_batch b;
    struct ahi_job job;
    struct err e = {0};
    bool found = false;
    if (!gate_is_open(&m->poll, clock_mono_ms())) {
        return false;
    }
    if (state_batch_claim_for(m->state, config_destination_name(m->config), WORK_POLL, &b, &found, &e) != 0) {
        log_error("claim_failed", "reason=\"%s\"", e.text);
        return false;
    }
    if (!found) {
        gate_rest(&m->poll, clock_mono_ms());
        return false;
    }
    memset(&job, 0, sizeof job);
    const char *datastore_id = b.datastore_id[0] ? b.datastore_id : config_text(m->config, CFG_DATASTORE_ID);
    int rc = ahi_get_job(m->aws, datastore_id, b.job_id, &job, &e);
    if (rc == ERR_AWS_NOT_FOUND) {
        unknown_job(m, &b);
    } else if (rc != 0) {
        importer_put_off(m, &m->poll, &b, &e);
    } else {
        gate_passed(&m->poll);
        bool ended = strcmp(job.status, "COMPLETED") == 0 || strcmp(job.status, "FAILED") == 0;
        (ended ? job_ended : still_running)(m, &b, &job);
    }
    return true;
}
