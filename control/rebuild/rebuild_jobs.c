/*
 * rebuild_jobs - which import jobs there were: HealthImaging's list (90 days) and the folders of results in S3 (as long as they are
 * kept). A batch with a job is followed or read, never started again.
 */
#include "common/runtime/runtime.h"
#include "control/rebuild/rebuild.h"

enum { JOBS_MAX = 2000000 };
/* Jobs are listed for 90 days; nearer to that edge nobody can tell "never started" from "no longer listed". */
#define LISTED_MS (85LL * 86400000)

static int keep(struct rebuild *r, const struct cloud_job *job, bool is_listed)
{
    struct err e = {0};
    int rc = rebuild_room((void **)&r->jobs, &r->job_room, r->job_count, sizeof *r->jobs, JOBS_MAX, &e);
    if (rc != 0) {
        return rc;
    }
    struct job_entry *entry = &r->jobs[r->job_count];
    memset(entry, 0, sizeof *entry);
    entry->output_uri = strdup(job->output_uri);
    if (!entry->output_uri) {
        return ERR_MEMORY;
    }
    (void)snprintf(entry->batch, sizeof entry->batch, "%s", job->batch);
    (void)snprintf(entry->job_id, sizeof entry->job_id, "%s", job->job_id);
    (void)snprintf(entry->status, sizeof entry->status, "%s", job->status);
    entry->submitted_ms = job->submitted_ms > 0 ? job->submitted_ms : id_time_ms(job->batch);
    entry->is_listed = is_listed;
    while (config_destination_at(r->config, entry->place) != r->place) {
        entry->place++;
    }
    r->job_count++;
    return 0;
}

static int keep_listed(void *ctx, const struct cloud_job *job)
{
    return keep(ctx, job, true);
}

static int keep_result(void *ctx, const struct cloud_job *job)
{
    return keep(ctx, job, false);
}

static int by_batch(const void *a, const void *b)
{
    const struct job_entry *x = a;
    const struct job_entry *y = b;
    int order = strcmp(x->batch, y->batch);
    order = order != 0 ? order : strcmp(x->job_id, y->job_id);
    order = order != 0 ? order : y->is_listed - x->is_listed; /* the listed one first */
    return order != 0 ? order : (x->place > y->place) - (x->place < y->place);
}

void rebuild_enter(struct rebuild *r, size_t place)
{
    r->cloud = r->clouds[place];
    r->place = config_destination_at(r->config, place);
    r->prefix = config_text(r->place, CFG_S3_PREFIX);
}

int rebuild_read_jobs(struct rebuild *r, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < CONFIG_DESTINATION_LIMIT; i++) {
        if (r->clouds[i]) {
            rebuild_enter(r, i);
            rc = cloud_each_job(r->cloud, keep_listed, r, e);
            rc = rc == 0 ? cloud_each_result(r->cloud, keep_result, r, e) : rc;
        }
    }
    if (rc != 0 || r->job_count == 0) {
        return rc;
    }
    qsort(r->jobs, r->job_count, sizeof *r->jobs, by_batch);
    size_t kept = 0;
    for (size_t i = 0; i < r->job_count; i++) {
        struct job_entry *last = kept ? &r->jobs[kept - 1] : NULL;
        if (last && strcmp(last->batch, r->jobs[i].batch) == 0) {
            if (strcmp(last->job_id, r->jobs[i].job_id) != 0) {
                char text[300];
                (void)snprintf(text, sizeof text, "has two import jobs, %s and %s; the one with results counts, else the first", last->job_id,
                               r->jobs[i].job_id);
                rebuild_trouble(r, last->batch, text);
            }
            if (!last->output_uri[0] && r->jobs[i].output_uri[0]) { /* listed, and these are its results */
                char *unused = last->output_uri;
                last->output_uri = r->jobs[i].output_uri;
                r->jobs[i].output_uri = unused;
                (void)snprintf(last->job_id, sizeof last->job_id, "%s", r->jobs[i].job_id);
            }
            free(r->jobs[i].output_uri);
        } else {
            r->jobs[kept++] = r->jobs[i];
        }
    }
    r->job_count = kept;
    return 0;
}

struct job_entry *rebuild_job(const struct rebuild *r, const char *batch)
{
    size_t low = 0;
    size_t high = r->job_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(r->jobs[middle].batch, batch);
        if (order == 0) {
            return &r->jobs[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

int rebuild_batch(struct rebuild *r, const char *batch, const char *study_uid, const struct config *place, struct err *e)
{
    char input[1025];
    char output[1025];
    if (strcmp(r->batch, batch) == 0) {
        return 0;
    }
    const struct job_entry *job = rebuild_job(r, batch);
    const struct config *c = job ? config_destination_at(r->config, job->place) : place;
    const char *bucket = config_text(c, CFG_DICOM_BUCKET);
    (void)snprintf(input, sizeof input, "s3://%s/%s/%s/", bucket, config_text(c, CFG_S3_PREFIX), batch);
    (void)snprintf(output, sizeof output, "s3://%s/%s/%s/", config_output_bucket(c), config_text(c, CFG_OUTPUT_PREFIX), batch);
    struct state_rebuilt_batch b = {.id = batch, .study_uid = study_uid, .input_uri = input, .output_uri = output,
                                    .destination = config_destination_name(c),
                                    .datastore_id = config_text(c, CFG_DATASTORE_ID),
                                    .role_arn = config_text(c, CFG_DATA_ACCESS_ROLE_ARN)};
    if (job) {
        b.job = job->is_listed ? REBUILT_JOB_LISTED : REBUILT_JOB_RESULTS;
        b.job_id = job->job_id;
        b.job_status = job->is_listed ? job->status : "COMPLETED";
        b.submitted_ms = job->submitted_ms;
        b.output_uri = job->output_uri[0] ? job->output_uri : output;
    } else {
        b.job = r->started_ms - id_time_ms(batch) < LISTED_MS ? REBUILT_NO_JOB : REBUILT_JOB_UNKNOWN;
    }
    int rc = state_rebuild_batch(r->state, &b, e);
    if (rc == 0) {
        (void)snprintf(r->batch, sizeof r->batch, "%s", batch);
    }
    return rc;
}

/* ---- results ---------------------------------------------------------------------------------------------------------------- */

struct reading {
    struct rebuild *r;
    struct job_entry *job;
    char start[300]; /* "<prefix>/<batch>/" */
};

static int left_by_id(const void *a, const void *b)
{
    return strcmp(((const struct left_file *)a)->id, ((const struct left_file *)b)->id);
}

/* The results tell that the instance was in the job: it stands under the job's batch, as if its object were there. */
static int take_mentioned(struct reading *g, const char *s3_key, const char *id, struct err *e)
{
    struct rebuild *r = g->r;
    struct spool_meta meta;
    struct state_rebuilt_instance one;
    struct left_file key;
    enum state_rebuilt_place place = PLACE_SAME;
    bool releasable = false;
    int rc = 0;
    memset(&one, 0, sizeof one);
    memset(&key, 0, sizeof key);
    (void)snprintf(key.id, sizeof key.id, "%s", id);
    struct left_file *file = r->left_count ? bsearch(&key, r->left, r->left_count, sizeof key, left_by_id) : NULL;
    if (file && !file->is_damaged) {
        rc = spool_read_meta(r->home, id, 1, &meta, e);
        rc = rc == ERR_SPOOL_DAMAGED ? spool_read_meta(r->home, id, 0, &meta, e) : rc; /* a changed one, whose original is whole */
        if (rc == 0) {
            rebuild_fill_file(r->home, &meta, &one);
            one.has_spool = true;
        }
    } else {
        int known = state_instance_known(r->state, id, &releasable, e);
        if (known != 1) {
            return known; /* neither object nor file: nothing tells what it was */
        }
        (void)snprintf(one.i.r.id, sizeof one.i.r.id, "%s", id);
    }
    (void)snprintf(one.i.batch, sizeof one.i.batch, "%s", g->job->batch);
    (void)snprintf(one.i.s3_key, sizeof one.i.s3_key, "%s", s3_key);
    (void)snprintf(one.i.bucket, sizeof one.i.bucket, "%s", config_text(r->place, CFG_DICOM_BUCKET));
    rc = rc == 0 ? rebuild_batch(r, g->job->batch, one.identity.study_uid, r->place, e) : rc;
    rc = rc == 0 ? state_rebuild_instance(r->state, &one, &place, e) : rc;
    if (rc == 0 && file && file->is_quarantined) {
        rc = spool_unquarantine(r->home, id, e);
    }
    r->instances += rc == 0 && place == PLACE_NEW;
    if (rc == 0 && file && !file->is_damaged) {
        file->is_taken = true;
    }
    return rc;
}

/* Looks for "<prefix>/<batch>/...<id>.dcm" wherever it stands: no line can be so broken that its name is missed. */
static int look_into(void *ctx, const char *text)
{
    struct reading *g = ctx;
    size_t length = strlen(g->start);
    for (const char *p = strstr(text, g->start); p; p = strstr(p + length, g->start)) {
        char id[STATE_ID_SIZE] = "";
        char s3_key[STATE_KEY_SIZE];
        struct err e = {0};
        size_t n = strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-");
        if (n >= length + 30 && n < sizeof s3_key && strncmp(p + n - 4, ".dcm", 4) == 0) {
            (void)snprintf(s3_key, sizeof s3_key, "%.*s", (int)n, p);
            (void)snprintf(id, sizeof id, "%.26s", p + n - 30);
        }
        int rc = id[0] && id_is_legal(id) ? take_mentioned(g, s3_key, id, &e) : 0;
        if (rc != 0) {
            return complain("%s: %s", id, e.text), rc;
        }
    }
    return 0;
}

/* Reads the results of a job if they name more files than S3 still has. */
static int read_results(struct rebuild *r, struct job_entry *job, struct err *e)
{
    struct cloud_job asked;
    struct reading g = {.r = r, .job = job};
    int64_t scanned = 0;
    bool goes_on = strcmp(job->status, "SUBMITTED") == 0 || strcmp(job->status, "IN_PROGRESS") == 0;
    if (goes_on && job->is_listed) {
        return 0;
    }
    rebuild_enter(r, job->place);
    memset(&asked, 0, sizeof asked);
    (void)snprintf(asked.batch, sizeof asked.batch, "%s", job->batch);
    (void)snprintf(asked.job_id, sizeof asked.job_id, "%s", job->job_id);
    (void)snprintf(asked.output_uri, sizeof asked.output_uri, "%s", job->output_uri);
    (void)snprintf(g.start, sizeof g.start, "%s/%s/", r->prefix, job->batch);
    int rc = cloud_results_count(r->cloud, &asked, &scanned, e);
    if (rc == 0 && scanned > job->seen_count) {
        rc = cloud_results_text(r->cloud, &asked, look_into, &g, e);
    }
    job->has_results = rc == 0;
    return rc == ERR_AWS_NOT_FOUND ? 0 : rc;
}

int rebuild_read_results(struct rebuild *r, struct err *e)
{
    int rc = 0;
    if (r->left_count) {
        qsort(r->left, r->left_count, sizeof *r->left, left_by_id);
    }
    r->batch[0] = '\0';
    for (size_t i = 0; rc == 0 && i < r->job_count; i++) {
        rc = read_results(r, &r->jobs[i], e);
    }
    return rc;
}

const struct job_entry *rebuild_silent_job(const struct rebuild *r)
{
    const struct job_entry *found = NULL;
    for (size_t i = 0; i < r->job_count; i++) {
        const struct job_entry *job = &r->jobs[i];
        if (job->seen_count == 0 && !job->has_results && (!found || job->submitted_ms > found->submitted_ms)) {
            found = job;
        }
    }
    return found;
}
