/*
 * rebuild - `rebuild`: state.db is lost, the images are not. Makes a new one from the spool files, S3 and HealthImaging.
 *
 * 1. The import jobs of the data store whose names are batch ids. 2. Every object <s3_prefix>/<batch>/<instance>.dcm: the batch is
 * re-created (with its job, if it had one), the instance in it; the identity comes from the header of the spool file, or from the
 * first bytes of the object if that was released. 3. Every spool file that S3 does not know: received, as if it had just come;
 * quarantined ones are judged again. S3 comes before the spool, so that nothing is imported twice.
 *
 * The file state/rebuild.unfinished stands from before the first write until all is done: `up` refuses while it is there, and a
 * rebuild that was cut off (network, power) is simply run again; every step can be repeated.
 */
#include "common/dicom/scan.h"
#include "common/runtime/runtime.h"
#include "common/spool/spool.h"
#include "control/control.h"
#include "control/rebuild.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GROUP = 100, JOBS_MAX = 1000000, COMPLAINTS_MAX = 50, PROGRESS_EVERY = 10000 };

struct job_entry {
    char batch[STATE_ID_SIZE], job_id[40];
};

struct rebuild {
    struct state *state;
    struct cloud *cloud; /* NULL: no bucket is set */
    const char *home, *prefix;
    char desk[PATH_SIZE]; /* a little spool of its own for the heads of objects */
    struct job_entry *jobs;
    size_t job_count, job_room;
    char batch[STATE_ID_SIZE]; /* the one that was made last */
    struct state_received group[GROUP];
    size_t group_count;
    long long objects, foreign, batches, with_job, instances, released, received, judged_again, known, problems;
};

static void trouble(struct rebuild *r, const char *what, const char *why)
{
    if (r->problems++ < COMPLAINTS_MAX) {
        (void)complain("%s: %s", what, why);
    }
}

/* ---- jobs ------------------------------------------------------------------------------------------------------------------ */

static int by_batch(const void *a, const void *b)
{
    return strcmp(((const struct job_entry *)a)->batch, ((const struct job_entry *)b)->batch);
}

static int keep_job(void *ctx, const struct cloud_job *job)
{
    struct rebuild *r = ctx;
    if (r->job_count == r->job_room) {
        size_t room = r->job_room ? r->job_room * 2 : 256;
        struct job_entry *jobs = room <= 2 * (size_t)JOBS_MAX ? realloc(r->jobs, room * sizeof *jobs) : NULL;
        if (!jobs) {
            return ERR_MEMORY;
        }
        r->jobs = jobs;
        r->job_room = room;
    }
    struct job_entry *entry = &r->jobs[r->job_count++];
    (void)snprintf(entry->batch, sizeof entry->batch, "%s", job->batch);
    (void)snprintf(entry->job_id, sizeof entry->job_id, "%s", job->job_id);
    return 0;
}

/* Re-creates the batch of an object, once for each batch. */
static int make_batch(struct rebuild *r, const char *batch, const char *study_uid, struct err *e)
{
    if (strcmp(r->batch, batch) == 0) {
        return 0;
    }
    struct job_entry key;
    struct cloud_job job;
    memset(&key, 0, sizeof key);
    memset(&job, 0, sizeof job);
    (void)snprintf(key.batch, sizeof key.batch, "%s", batch);
    const struct job_entry *there = r->job_count ? bsearch(&key, r->jobs, r->job_count, sizeof key, by_batch) : NULL;
    int rc = 0;
    if (there) {
        (void)snprintf(job.batch, sizeof job.batch, "%s", there->batch);
        (void)snprintf(job.job_id, sizeof job.job_id, "%s", there->job_id);
        rc = cloud_job_read(r->cloud, &job, e);
    }
    if (rc == 0) {
        rc = state_rebuild_batch(r->state, batch, study_uid, there ? job.job_id : NULL, there ? job.status : NULL,
                                 there ? job.input_uri : NULL, there ? job.output_uri : NULL, e);
    }
    if (rc == 0) {
        (void)snprintf(r->batch, sizeof r->batch, "%s", batch);
        r->batches++;
        r->with_job += there != NULL;
    }
    return rc;
}

/* ---- objects ----------------------------------------------------------------------------------------------------------------- */

/* "<prefix>/<batch>/<instance>.dcm" -> its parts; false if it is none of ours. */
static bool key_parts(const char *key, const char *prefix, char batch[STATE_ID_SIZE], char id[STATE_ID_SIZE])
{
    size_t n = strlen(prefix);
    if (strncmp(key, prefix, n) != 0 || key[n] != '/' || strlen(key) != n + 1 + 26 + 1 + 26 + 4 || key[n + 27] != '/' ||
        strcmp(key + n + 54, ".dcm") != 0) {
        return false;
    }
    (void)snprintf(batch, STATE_ID_SIZE, "%.26s", key + n + 1);
    (void)snprintf(id, STATE_ID_SIZE, "%.26s", key + n + 28);
    return id_is_legal(batch) && id_is_legal(id);
}

/* Lays the head of an object on the desk as a file with a hole of the right size, so that the spool's own reader judges it. */
static int fetch_head(struct rebuild *r, const char *key, const char *id, int64_t bytes, struct err *e)
{
    char path[PATH_SIZE + 64];
    (void)snprintf(path, sizeof path, "%s/spool/obj/%s.dcm", r->desk, id);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd == -1) {
        return err_set(e, err_from_errno(errno), errno, "%s", path);
    }
    int rc = cloud_object_head(r->cloud, key, bytes, fd, e);
    if (rc == 0 && ftruncate(fd, bytes) == -1) {
        rc = err_set(e, err_from_errno(errno), errno, "%s", path);
    }
    (void)close(fd);
    return rc;
}

static void fill_received(struct state_received *out, const struct spool_meta *m)
{
    memset(out, 0, sizeof *out);
    (void)snprintf(out->id, sizeof out->id, "%s", m->id);
    (void)snprintf(out->sop_class_uid, sizeof out->sop_class_uid, "%s", m->sop_class_uid);
    (void)snprintf(out->sop_instance_uid, sizeof out->sop_instance_uid, "%s", m->sop_instance_uid);
    (void)snprintf(out->transfer_syntax_uid, sizeof out->transfer_syntax_uid, "%s", m->transfer_syntax_uid);
    (void)snprintf(out->calling_ae, sizeof out->calling_ae, "%s", m->calling_ae);
    (void)snprintf(out->called_ae, sizeof out->called_ae, "%s", m->called_ae);
    out->file_bytes = m->file_bytes;
    out->data_bytes = m->data_bytes;
    out->file_crc32c = m->file_crc32c;
    out->data_crc32c = m->data_crc32c;
    out->received_ms = m->received_ms;
}

static void read_identity(const char *home, const char *id, struct state_identity *out)
{
    struct dicom_scan scan;
    memset(out, 0, sizeof *out);
    memset(&scan, 0, sizeof scan);
    int fd = spool_open(home, id, NULL);
    if (fd < 0) {
        return;
    }
    (void)dicom_scan_fd(fd, &scan, NULL); /* it was judged before it went to S3; what can be read is enough */
    (void)close(fd);
    (void)snprintf(out->study_uid, sizeof out->study_uid, "%s", scan.study_uid);
    (void)snprintf(out->series_uid, sizeof out->series_uid, "%s", scan.series_uid);
    (void)snprintf(out->modality, sizeof out->modality, "%s", scan.modality);
    (void)snprintf(out->accession_number, sizeof out->accession_number, "%s", scan.accession_number);
    (void)snprintf(out->patient_id, sizeof out->patient_id, "%s", scan.patient_id);
    (void)snprintf(out->study_date, sizeof out->study_date, "%s", scan.study_date);
}

/* The spool file and the object should be the same bytes. */
static int compare(struct rebuild *r, const char *key, int64_t bytes, const struct spool_meta *m, struct err *e)
{
    uint32_t crc = 0;
    bool is_told = false;
    if (m->file_bytes != bytes) {
        trouble(r, key, "the object has another size than its spool file; look at both before the batch is imported");
        return 0;
    }
    int rc = cloud_object_crc(r->cloud, key, &crc, &is_told, e);
    if (rc == 0 && is_told && crc != m->file_crc32c) {
        trouble(r, key, "the object has another CRC32C than its spool file; look at both before the batch is imported");
    }
    return rc;
}

static int take_object(void *ctx, const char *key, int64_t bytes)
{
    struct rebuild *r = ctx;
    struct err e = {0};
    struct spool_meta meta;
    struct state_instance one;
    struct state_identity identity;
    char batch[STATE_ID_SIZE];
    char id[STATE_ID_SIZE];
    if (!key_parts(key, r->prefix, batch, id)) {
        r->foreign++;
        return 0;
    }
    memset(&one, 0, sizeof one);
    bool has_spool = spool_read_meta(r->home, id, 1, &meta, &e) == 0;
    const char *read_from = has_spool ? r->home : r->desk;
    int rc = has_spool ? compare(r, key, bytes, &meta, &e) : fetch_head(r, key, id, bytes, &e);
    if (rc == 0 && !has_spool && spool_read_meta(r->desk, id, 0, &meta, &e) != 0) {
        trouble(r, key, "is no file of ours or another one than its head says; left alone");
        (void)spool_release(r->desk, id, NULL);
        return 0;
    }
    if (rc == 0) {
        read_identity(read_from, id, &identity);
        fill_received(&one.r, &meta);
        (void)snprintf(one.study_uid, sizeof one.study_uid, "%s", identity.study_uid);
        (void)snprintf(one.series_uid, sizeof one.series_uid, "%s", identity.series_uid);
        (void)snprintf(one.batch, sizeof one.batch, "%s", batch);
        (void)snprintf(one.s3_key, sizeof one.s3_key, "%s", key);
        rc = make_batch(r, batch, identity.study_uid, &e);
    }
    rc = rc == 0 ? state_rebuild_instance(r->state, &one, &identity, has_spool, &e) : rc;
    if (!has_spool) {
        (void)spool_release(r->desk, id, NULL);
    }
    if (rc != 0) {
        return complain("%s: %s", key, e.text), rc;
    }
    r->instances++;
    r->released += !has_spool;
    if (++r->objects % PROGRESS_EVERY == 0) {
        (void)fprintf(stderr, "storescpctl: %lld objects so far\n", r->objects);
    }
    return 0;
}

/* ---- spool -------------------------------------------------------------------------------------------------------------------- */

static int flush_group(struct rebuild *r, struct err *e)
{
    int rc = r->group_count ? state_add_received(r->state, r->group, r->group_count, e) : 0;
    r->group_count = 0;
    return rc;
}

static int take_file(void *ctx, const char *id, const char *room)
{
    struct rebuild *r = ctx;
    struct err e = {0};
    struct spool_meta meta;
    bool releasable = false;
    int known = state_instance_known(r->state, id, &releasable, &e);
    if (known != 0) {
        r->known += known == 1;
        return known < 0 ? complain("%s: %s", id, e.text), known : 0;
    }
    if (spool_read_meta(r->home, id, 1, &meta, &e) != 0) {
        trouble(r, id, e.text);
        return 0;
    }
    int rc = 0;
    if (strcmp(room, "quarantine") == 0) {
        rc = spool_unquarantine(r->home, id, &e);
        r->judged_again += rc == 0;
    }
    if (rc == 0) {
        fill_received(&r->group[r->group_count++], &meta);
        r->received++;
        rc = r->group_count == GROUP ? flush_group(r, &e) : 0;
    }
    return rc != 0 ? complain("%s: %s", id, e.text), rc : 0;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------------ */

/* Nobody may run, and a database that is there is not overwritten. Takes the supervisor's lock. */
static int may_begin(struct rebuild *r, int *lock, struct err *e)
{
    static struct living found[WORKERS_MAX];
    char path[PATH_SIZE];
    size_t alive = workers_living(r->home, found, WORKERS_MAX);
    if (alive > 0) {
        return err_set(e, ERR_BUSY, 0, "%zu workers are alive (%s ...): stop the pipeline first", alive, found[0].name);
    }
    (void)snprintf(path, sizeof path, "%s/state/state.db", r->home);
    if (access(path, F_OK) == 0 && !rebuild_is_unfinished(r->home)) {
        return err_set(e, ERR_EXISTS, 0, "%s is there; move it away with its -wal and -shm files if it is beyond help", path);
    }
    (void)snprintf(path, sizeof path, "%s/spool/obj", r->home);
    if (access(path, F_OK) != 0) {
        return err_set(e, ERR_NOT_FOUND, 0, "%s is not there: is the home directory right?", path);
    }
    static const char *const directories[] = {"run", "state", "state/workers"};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof directories / sizeof directories[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", r->home, directories[i]);
        rc = directory_make(path, e);
    }
    (void)snprintf(path, sizeof path, "%s/run/supervisor.lock", r->home);
    rc = rc == 0 ? lockfile_take(path, lock, e) : rc;
    if (rc == 0 && snprintf(r->desk, sizeof r->desk, "%s/run/rebuild", r->home) >= (int)sizeof r->desk - 128) {
        rc = err_set(e, ERR_ARGUMENT, 0, "the path of the home directory is too long");
    }
    return rc;
}

static int set_mark(struct rebuild *r, bool is_set, struct err *e)
{
    char path[PATH_SIZE];
    char directory[PATH_SIZE];
    (void)snprintf(path, sizeof path, "%s/state/rebuild.unfinished", r->home);
    (void)snprintf(directory, sizeof directory, "%s/state", r->home);
    int fd = is_set ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    if ((is_set && (fd == -1 || close(fd) == -1)) || (!is_set && unlink(path) == -1)) {
        return err_set(e, err_from_errno(errno), errno, "%s", path);
    }
    return directory_sync(directory, e);
}

static int from_cloud(struct rebuild *r, const struct config *c, struct err *e)
{
    if (!config_text(c, CFG_DICOM_BUCKET)[0]) {
        (void)complain("dicom_bucket is not set: only the spool is read");
        return 0;
    }
    int rc = spool_prepare(r->desk, e);
    rc = rc == 0 ? cloud_open(&r->cloud, c, e) : rc;
    if (rc == 0 && config_text(c, CFG_DATASTORE_ID)[0]) {
        rc = cloud_each_job(r->cloud, keep_job, r, e);
        if (r->job_count) {
            qsort(r->jobs, r->job_count, sizeof *r->jobs, by_batch);
        }
    }
    return rc == 0 ? cloud_each_object(r->cloud, take_object, r, e) : rc;
}

int command_rebuild(struct request *q)
{
    static struct rebuild r; /* large, one */
    struct err e = {0};
    int lock = -1;
    (void)umask(077);
    r.home = q->home;
    r.prefix = config_text(q->config, CFG_S3_PREFIX);
    if (q->config_is_bad) {
        return complain("the settings are wrong, see `storescpctl config`");
    }
    int rc = may_begin(&r, &lock, &e);
    rc = rc == 0 ? set_mark(&r, true, &e) : rc;
    rc = rc == 0 ? state_open(&r.state, q->home, &e) : rc;
    rc = rc == 0 ? from_cloud(&r, q->config, &e) : rc;
    rc = rc == 0 ? spool_each(q->home, take_file, &r, &e) : rc;
    rc = rc == 0 ? flush_group(&r, &e) : rc;
    rc = rc == 0 ? set_mark(&r, false, &e) : rc;
    cloud_close(&r.cloud);
    state_close(&r.state);
    free(r.jobs);
    if (lock != -1) {
        (void)close(lock);
    }
    if (rc != 0) {
        return complain("rebuild did not end: %s%s", e.text[0] ? e.text : err_sentence(rc),
                        rebuild_is_unfinished(q->home) ? "; run it again when that is healed" : "");
    }
    (void)printf("from S3: %lld instances in %lld batches (%lld with an import job), %lld without a spool file\n"
                 "from the spool: %lld instances that S3 does not know, %lld of them were quarantined and are judged again\n"
                 "left alone: %lld foreign keys; %lld problems\n",
                 r.instances, r.batches, r.with_job, r.released, r.received, r.judged_again, r.foreign, r.problems);
    return r.problems ? EXIT_PROBLEM : EXIT_FINE;
}
