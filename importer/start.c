/*
 * start - gives a closed batch to HealthImaging as one import job, and never twice: a second import of an image costs money and makes a
 * version of its image set, because HealthImaging does not recognise duplicates.
 *
 * Intent before effect: token, job name (the batch id), both URIs and the role are committed before the call; every repetition sends the
 * same bytes. A batch found in 'starting' whose last call may have had an effect (a crash, a lost answer) is looked for among the jobs by
 * its name first, and the job that is found is adopted. Listings may lag, so "not there" counts only some time after the call; behind
 * that the client token protects. Whether a job is ours is decided by its input URI, which only this batch has.
 */
#include "common/aws/medical_imaging.h"
#include "common/aws/s3/s3.h"
#include "common/aws/s3/s3_key.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "importer/importer.h"

#include <stdio.h>
#include <string.h>

enum { FOUND = 1, PASSED = 2, NEWEST_FIRST_AFTER = 200, CLOCKS_APART_MS = 86400000, SETTLE_MAX_MS = 30000 };

/* ---- looking for a job ------------------------------------------------------------------------------------------------------- */

struct lookup {
    const struct state_batch *batch;
    char job_id[40];
    int seen, out_of_order;
    int64_t last_ms;
};

/* Listings have no promised order. One that has shown itself newest first need not be read beyond the time of our first call: jobs are
 * listed for 90 days, and a hospital starts thousands of them. */
static int compare_job(void *ctx, const struct ahi_job *job)
{
    struct lookup *l = ctx;
    if (stop_requested()) {
        return ERR_STOPPED;
    }
    if (strcmp(job->job_name, l->batch->id) == 0) {
        (void)snprintf(l->job_id, sizeof l->job_id, "%s", job->job_id);
        return FOUND;
    }
    l->out_of_order += l->seen > 0 && job->submitted_ms > l->last_ms;
    l->seen++;
    l->last_ms = job->submitted_ms;
    bool newest_first = l->seen > NEWEST_FIRST_AFTER && l->out_of_order == 0 && job->submitted_ms > 0;
    return newest_first && job->submitted_ms < l->batch->starting_ms - CLOCKS_APART_MS ? PASSED : 0;
}

/* FOUND with the whole job, 0 if there is none, negative on error. A job moves only forward through the states in this order, so that
 * one that moves on meanwhile is met in the next listing. */
static int find_job(struct importer *m, const struct state_batch *b, struct ahi_job *job, struct err *e)
{
    static const char *const statuses[] = {"SUBMITTED", "IN_PROGRESS", "COMPLETED", "FAILED"};
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        struct lookup l = {.batch = b};
        int rc = ahi_each_job(m->aws, b->datastore_id, statuses[i], compare_job, &l, e);
        if (rc == ERR_STOPPED) {
            return err_set(e, ERR_STOPPED, 0, "told to stop while looking for the job of batch %s", b->id);
        }
        if (rc < 0) {
            return rc;
        }
        if (rc != FOUND) {
            continue;
        }
        memset(job, 0, sizeof *job);
        rc = ahi_get_job(m->aws, b->datastore_id, l.job_id, job, e);
        if (rc != 0) {
            return rc == ERR_AWS_NOT_FOUND ? err_set(e, ERR_PROTOCOL, 0, "job %s is listed, but cannot be read yet", l.job_id) : rc;
        }
        if (strcmp(job->input_s3_uri, b->input_s3_uri) == 0) {
            return FOUND;
        }
        log_warning("job_of_another", "batch=%s job=%s reason=\"it has the name of this batch, but another input; it is left alone\"", b->id, l.job_id);
    }
    return 0;
}

/* ---- the call ------------------------------------------------------------------------------------------------------------------- */

static void job_accepted(struct importer *m, struct state_batch *b, const struct ahi_job *job, const char *how)
{
    struct err e = {0};
    int64_t now = clock_wall_ms();
    int64_t next = now + importer_poll_ms(importer_poll_setting_ms(m), b->jobs_count, random_u32());
    gate_passed(&m->start);
    int rc = state_batch_running(m->state, b, job->job_id, job->status, job->submitted_ms ? job->submitted_ms : now, next, &e);
    if (rc == 0) {
        log_info("import_job_started", "batch=%s job=%s how=%s instances=%lld bytes=%lld status=%s", b->id, job->job_id, how,
                 (long long)b->instance_count, (long long)b->bytes, job->status);
        return;
    }
    log_error("record_failed", "batch=%s job=%s reason=\"%s\" effect=\"the job will be found by its name\"", b->id, job->job_id, e.text);
    if (rc != ERR_FENCED) {
        importer_give_back(m, b);
    }
}

static void call_refused(struct importer *m, struct state_batch *b, const struct err *why)
{
    struct err e = {0};
    char text[640];
    int count = 0;
    int rc = state_batch_refused(m->state, b, why,
                                 "correct what the sentence names (role, bucket, prefix, data store), then: storescpctl retry ID (or ALL)",
                                 &count, &e);
    log_error("import_refused", "batch=%s instances=%d code=%s reason=%s remedy=\"correct it, then: storescpctl retry ALL\"", b->id, count,
              err_name(why->code), log_text(why->text, text, sizeof text));
    if (rc != 0 && rc != ERR_FENCED) {
        log_error("record_failed", "batch=%s reason=\"%s\"", b->id, e.text);
        importer_give_back(m, b);
    }
}

static void call_start(struct importer *m, struct state_batch *b, const char *how)
{
    struct ahi_job job;
    struct err e = {0};
    const struct ahi_start start = {b->datastore_id, b->client_token, b->id, b->role_arn, b->input_s3_uri, b->output_s3_uri};
    memset(&job, 0, sizeof job);
    int rc = ahi_start_job(m->aws, &start, &job, &e);
    if (rc == 0 && !job.job_id[0]) {
        rc = err_set(&e, ERR_PROTOCOL, 0, "HealthImaging accepted a job and named no id");
    }
    if (rc == 0) {
        job_accepted(m, b, &job, how);
    } else if (err_class_of(rc) == ERR_CLASS_REFUSE) {
        call_refused(m, b, &e);
    } else {
        m->store_is_active = m->store_is_active && err_class_of(rc) != ERR_CLASS_CONFIG && rc != ERR_AWS_CONFLICT;
        importer_put_off(m, &m->start, b, &e);
    }
}

/* No token: the whole kind of work waits, the batch keeps its place. */
static void no_token(struct importer *m, const struct state_batch *b, int64_t wait_ms)
{
    m->start_at_ms = clock_mono_ms() + wait_ms + (int64_t)(random_u32() % 50);
    importer_give_back(m, b);
}

/* ---- a closed batch ---------------------------------------------------------------------------------------------------------------- */

/* The bucket and the prefix in which its instances were put: what was decided with their keys, so that a change of dicom_bucket or s3_prefix meanwhile does no
 * harm. */
static int input_uri(struct importer *m, const struct state_batch *b, char *out, size_t size, struct err *e)
{
    size_t length = s3_key_folder(b->s3_key, b->id);
    if (length == 0) {
        return err_set(e, ERR_ARGUMENT, 0, "key %s of batch %s does not lie in the batch's folder", b->s3_key, b->id);
    }
    int n = snprintf(out, size, "s3://%s/%.*s", b->bucket[0] ? b->bucket : config_text(m->config, CFG_DICOM_BUCKET), (int)length, b->s3_key);
    return n < 0 || (size_t)n >= size ? err_set(e, ERR_CONFIG, 0, "bucket and prefix are longer than 1,024 characters: shorten s3_prefix") : 0;
}

static int first_key(void *ctx, const char *key, int64_t bytes)
{
    (void)ctx;
    (void)key;
    (void)bytes;
    return 1;
}

/* dicom_bucket was changed after these were uploaded: is the old one still there? If not, this batch waits, and no other. */
static int old_bucket(struct importer *m, const struct state_batch *b, const char *input, struct err *e)
{
    const char *now = config_text(m->config, CFG_DICOM_BUCKET);
    struct err why = {0};
    char bucket[STATE_BUCKET_SIZE];
    char folder[1025];
    if (!b->bucket[0] || strcmp(b->bucket, now) == 0 || s3_uri_split(input, bucket, sizeof bucket, folder, sizeof folder) != 0) {
        return 0;
    }
    int rc = s3_list(m->aws, bucket, folder, first_key, NULL, &why);
    return rc == ERR_AWS_NOT_FOUND || rc == ERR_AWS_REGION
               ? err_set(e, ERR_AWS_CONFLICT, 0, "its %lld images lie in bucket %s, which was dicom_bucket when they were uploaded (now %s) and cannot be used any more "
                         "(%.200s): bring it back, or have them uploaded again: storescpctl move %s OTHER_DESTINATION", (long long)b->uploaded_count, b->bucket,
                         now, why.text, b->destination)
               : 0; /* in doubt HealthImaging has the word */
}

static void start_closed(struct importer *m, struct state_batch *b)
{
    struct err e = {0};
    char input[1025];
    char output[1025];
    int64_t wait_ms = 0;
    int rc = input_uri(m, b, input, sizeof input, &e);
    (void)snprintf(output, sizeof output, "s3://%s/%s/%s/", config_output_bucket(m->config), config_text(m->config, CFG_OUTPUT_PREFIX), b->id);
    rc = rc ? rc : old_bucket(m, b, input, &e);
    if (rc == 0 && b->uploaded_count != b->instance_count) { /* some have left it; their objects may be there all the same */
        rc = importer_clear_prefix(m, b, input, &e);
    }
    rc = rc ? rc
            : state_batch_starting(m->state, b, &m->limits, input, output, config_text(m->config, CFG_DATASTORE_ID),
                                   config_text(m->config, CFG_DATA_ACCESS_ROLE_ARN), &wait_ms, &e);
    if (rc == ERR_FENCED) {
        return;
    }
    if (rc != 0) {
        importer_put_off(m, &m->start, b, &e);
    } else if (wait_ms > 0) {
        no_token(m, b, wait_ms);
    } else {
        call_start(m, b, "new");
    }
}

/* ---- a batch whose call was announced before ------------------------------------------------------------------------------------- */

/* Errors that say: this call had no effect. Every other one, and none at all (a crash), may hide a job. */
static bool had_no_effect(int code)
{
    return code == ERR_AWS_THROTTLED || code == ERR_AWS_QUOTA || code == ERR_AWS_CREDENTIALS || code == ERR_AWS_DENIED || code == ERR_AWS_CLOCK ||
           code == ERR_AWS_NOT_FOUND || code == ERR_AWS_REGION || code == ERR_CONFIG;
}

static void start_again(struct importer *m, struct state_batch *b)
{
    struct err e = {0};
    struct ahi_job job;
    int64_t wait_ms = 0;
    int64_t now = clock_wall_ms();
    int64_t settle_ms = 2 * config_int(m->config, CFG_IMPORT_POLL_MS);
    int64_t settled = b->called_ms + (settle_ms < SETTLE_MAX_MS ? settle_ms : SETTLE_MAX_MS);
    int rc = had_no_effect(b->error_code) ? 0 : find_job(m, b, &job, &e);
    if (rc == FOUND) {
        job_accepted(m, b, &job, "adopted");
        return;
    }
    if (rc == ERR_STOPPED) {
        importer_give_back(m, b);
        return;
    }
    if (rc != 0 && gate_concerns(&e)) {
        /* what is stored must go on saying that the last call may have had an effect: nothing is recorded */
        gate_close(&m->start, &e, clock_mono_ms());
        importer_give_back(m, b);
        return;
    }
    if (rc != 0) {
        importer_put_off(m, &m->start, b, &e);
        return;
    }
    if (!had_no_effect(b->error_code) && now >= b->called_ms && now < settled) { /* a call in the future: the clock was set back */
        rc = state_batch_defer(m->state, b, NULL, NULL, settled, &e);
        if (rc != 0 && rc != ERR_FENCED) {
            importer_give_back(m, b);
        }
        return;
    }
    rc = state_batch_starting_again(m->state, b, &m->limits, &wait_ms, &e);
    if (rc == ERR_FENCED) {
        return;
    }
    if (rc != 0) {
        importer_put_off(m, &m->start, b, &e);
    } else if (wait_ms > 0) {
        no_token(m, b, wait_ms);
    } else {
        call_start(m, b, "again");
    }
}

bool start_next(struct importer *m)
{
    struct state_batch b;
    struct err e = {0};
    bool found = false;
    int64_t now = clock_mono_ms();
    /* no new job while nobody can follow it or read its results */
    if (!gate_is_open(&m->start, now) || now < m->start_at_ms || gate_is_alarmed(&m->poll) || gate_is_alarmed(&m->results)) {
        return false;
    }
    if (state_batch_claim_for(m->state, config_destination_name(m->config), WORK_START, &b, &found, &e) != 0) {
        log_error("claim_failed", "reason=\"%s\"", e.text);
        return false;
    }
    if (!found) {
        gate_rest(&m->start, clock_mono_ms());
        return false;
    }
    if (!importer_store_is_active(m, &m->start)) {
        importer_give_back(m, &b);
        return true;
    }
    (b.state == BATCH_STARTING ? start_again : start_closed)(m, &b);
    return true;
}
