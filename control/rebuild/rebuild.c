/*
 * rebuild - `rebuild`: state.db is lost, the images are not. Makes a new one from the spool files, S3 and HealthImaging. The table of
 * every case and its answer is in docs/states.md, section "Rebuild".
 *
 * 1. The import jobs: HealthImaging's list and the folders of results. 2. Every object <s3_prefix>/<batch>/<instance>.dcm: its batch is
 * made again (with its job, if it had one), the instance in it. 3. Jobs that scanned more files than S3 still has: their
 * results name what was in them, because objects may have been deleted from S3 since. 4. What is left was never in a job:
 * received, as if it had just come; quarantined ones are judged again. S3 comes before the spool, so that nothing is imported twice.
 * What cannot be known is held or failed with a reason, and said; it is never guessed.
 *
 * The file state/rebuild.unfinished stands from before the first write until all is done: every stage refuses to start while it is
 * there, and a rebuild that was cut off (network, power) is simply run again; every step can be repeated.
 */
#include "control/rebuild/rebuild.h"

#include "common/runtime/runtime.h"

#include <sys/stat.h>
#include <unistd.h>

enum { LEFT_MAX = 50000000, COMPLAINTS_MAX = 50 };

void rebuild_trouble(struct rebuild *r, const char *what, const char *why)
{
    (void)pthread_mutex_lock(&r->trouble);
    if (r->problems++ < COMPLAINTS_MAX) {
        (void)complain("%s: %s", what, why);
    }
    (void)pthread_mutex_unlock(&r->trouble);
}

int rebuild_room(void **array, size_t *room, size_t count, size_t size, size_t most, struct err *e)
{
    if (count < *room) {
        return 0;
    }
    size_t more = *room ? *room * 2 : 256;
    void *grown = more <= 2 * most ? realloc(*array, more * size) : NULL;
    if (!grown) {
        return err_set(e, ERR_MEMORY, 0, "rebuild holds %zu entries and finds no room for more", count);
    }
    *array = grown;
    *room = more;
    return 0;
}

/* Is anything asked but the spool? */
static bool has_cloud(const struct rebuild *r)
{
    bool any = false;
    for (size_t i = 0; i < CONFIG_DESTINATION_LIMIT; i++) {
        any = any || r->clouds[i];
    }
    return any;
}

/* ---- spool -------------------------------------------------------------------------------------------------------------------- */

/* Notes a spool file that S3 does not know. */
static int note_file(void *ctx, const char *id, const char *room)
{
    struct rebuild *r = ctx;
    struct err e = {0};
    struct spool_meta meta;
    bool releasable = false;
    bool is_quarantined = strcmp(room, "quarantine") == 0;
    int known = state_instance_known(r->state, id, &releasable, &e);
    if (known == 1 && is_quarantined) { /* a person had it tried again, and it was set aside again */
        known = spool_unquarantine(r->home, id, &e);
        return known == 0 ? 0 : (complain("%s: %s", id, e.text), known);
    }
    if (known != 0) {
        return known == 1 ? 0 : (complain("%s: %s", id, e.text), known);
    }
    bool is_whole = spool_read_received(r->home, id, 1, &meta, &e) == 0;
    if (!is_whole && spool_read_received(r->home, id, 0, &meta, NULL) != 0) {
        rebuild_trouble(r, id, "this spool file has no head of ours: it was never complete, or is damaged; left where it is, without a row");
        return 0;
    }
    int rc = rebuild_room((void **)&r->left, &r->left_room, r->left_count, sizeof *r->left, LEFT_MAX, &e);
    if (rc != 0) {
        return complain("%s", e.text), rc;
    }
    struct left_file *file = &r->left[r->left_count++];
    memset(file, 0, sizeof *file);
    (void)snprintf(file->id, sizeof file->id, "%s", id);
    file->received_ms = meta.received_ms;
    file->is_quarantined = is_quarantined;
    file->is_damaged = !is_whole;
    return 0;
}

/* A file that was never in a job: received. silent: a job of which nothing is left may have had it. */
static int take_file(struct rebuild *r, const struct left_file *file, const struct job_entry *silent, struct err *e)
{
    static const char remedy[] = "look for its study in HealthImaging; if the image is there: storescpctl drop ID --reason ...; if not: "
                                 "storescpctl release ID";
    struct spool_meta meta;
    struct state_rebuilt_instance one;
    struct err damaged = {0};
    char why[300] = "";
    int rc = spool_change_undo(r->home, file->id, e); /* it is judged, and changed, as if it had just come */
    rc = rc ? rc : spool_read_meta(r->home, file->id, !file->is_damaged, &meta, e);
    if (rc != 0) {
        return rc;
    }
    memset(&one, 0, sizeof one);
    rebuild_fill(&one, &meta);
    if (silent && file->received_ms <= silent->submitted_ms) {
        (void)snprintf(why, sizeof why, "import job %s of batch %s has neither objects nor results left: it may have imported this image",
                       silent->job_id, silent->batch);
    }
    if (file->is_damaged) {
        (void)err_set(&damaged, ERR_SPOOL_DAMAGED, 0, "the spool file has other bytes than were received");
        rc = file->is_quarantined ? 0 : spool_quarantine(r->home, file->id, e);
        rc = rc == 0 ? state_rebuild_received(r->state, &one.i.r, NULL, &damaged, "check the disk; have the image sent again", e) : rc;
        r->refused += rc == 0;
        return rc;
    }
    rc = file->is_quarantined ? spool_unquarantine(r->home, file->id, e) : 0;
    rc = rc == 0 ? state_rebuild_received(r->state, &one.i.r, why[0] ? why : NULL, NULL, why[0] ? remedy : NULL, e) : rc;
    r->received += rc == 0;
    r->judged_again += rc == 0 && file->is_quarantined;
    r->held += rc == 0 && why[0];
    return rc;
}

static int take_files(struct rebuild *r, struct err *e)
{
    int rc = spool_each(r->home, note_file, r, e);
    rc = rc == 0 && has_cloud(r) ? rebuild_read_results(r, e) : rc;
    const struct job_entry *silent = rc == 0 && r->left_count ? rebuild_silent_job(r) : NULL;
    for (size_t i = 0; rc == 0 && i < r->left_count; i++) {
        rc = r->left[i].is_taken ? 0 : take_file(r, &r->left[i], silent, e);
    }
    return rc;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------------ */

/* Nobody may run. Takes the supervisor's lock. */
static int may_begin(struct rebuild *r, int *lock, struct err *e)
{
    static struct living found[WORKERS_MAX];
    char path[PATH_SIZE];
    size_t alive = workers_living(r->home, found, WORKERS_MAX);
    if (alive > 0) {
        return err_set(e, ERR_BUSY, 0, "%zu workers are alive (%s ...): stop the pipeline first", alive, found[0].name);
    }
    (void)snprintf(path, sizeof path, "%s/spool/obj", r->home);
    if (access(path, F_OK) != 0) {
        return err_set(e, ERR_NOT_FOUND, 0, "%s is not there: is the home directory right? If the spool is lost too, make it and run again", path);
    }
    (void)snprintf(path, sizeof path, "%s/run", r->home);
    int rc = directory_make(path, e);
    (void)snprintf(path, sizeof path, "%s/run/supervisor.lock", r->home);
    rc = rc == 0 ? lockfile_take(path, lock, e) : rc;
    if (rc == 0 && snprintf(r->desk, sizeof r->desk, "%s/run/rebuild", r->home) >= (int)sizeof r->desk - 128) {
        rc = err_set(e, ERR_ARGUMENT, 0, "the path of the home directory is too long");
    }
    return rc;
}

/* Without the cloud nobody can tell what was imported: a setting that is only missing in this shell must not send everything again. */
static int open_cloud(struct rebuild *r, size_t place, struct err *e)
{
    static const enum config_key needed[] = {CFG_DICOM_BUCKET, CFG_DATASTORE_ID};
    char words[CONFIG_DESTINATION_SIZE + 20];
    const struct config *c = config_destination_at(r->config, place);
    if (config_destination_kind(c) != KIND_HEALTHIMAGING) {
        return 0; /* where nothing is imported an image is put again under the same key, and what lies there is found by its size and checksum */
    }
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (!config_text(c, needed[i])[0]) {
            return err_set(e, ERR_CONFIG, 0, "%s%s is not set: without S3 and HealthImaging nobody can tell what was imported already; give it "
                           "the settings of the pipeline, or --spool-only if nothing ever left this machine", config_destination_words(c, words, sizeof words),
                           config_describe(needed[i])->name);
        }
    }
    return cloud_open(&r->clouds[place], c, e);
}

static int open_clouds(struct rebuild *r, bool spool_only, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && !spool_only && config_destination_at(r->config, i); i++) {
        rc = open_cloud(r, i, e);
    }
    return rc;
}

/* Each bucket and prefix once. */
static int read_objects(struct rebuild *r, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < CONFIG_DESTINATION_LIMIT; i++) {
        bool was_read = false;
        for (size_t k = 0; k < i && r->clouds[i]; k++) {
            was_read = was_read || (r->clouds[k] && rebuild_is_same_place(config_destination_at(r->config, k), config_destination_at(r->config, i)));
        }
        if (r->clouds[i] && !was_read) {
            rebuild_enter(r, i);
            rc = rebuild_read_objects(r, e);
        }
    }
    return rc;
}

/* What this rebuild reads, as one line: an unfinished one of something else must not be gone on with. The others than `default` by a sum (FNV-1a). */
static void describe_source(const struct rebuild *r, bool spool_only, char *out, size_t size)
{
    static const enum config_key keys[] = {CFG_DESTINATION_KIND, CFG_DICOM_BUCKET, CFG_S3_PREFIX, CFG_DATASTORE_ID};
    const struct config *c;
    uint64_t sum = 14695981039346656037u;
    char others[40] = "";
    for (size_t i = 1; (c = config_destination_at(r->config, i)); i++) {
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
            for (const char *p = config_text(c, keys[k]); *p; p++) {
                sum = (sum ^ (unsigned char)*p) * 1099511628211u;
            }
        }
        (void)snprintf(others, sizeof others, " and %zu others %016llx", i, (unsigned long long)sum);
    }
    (void)snprintf(out, size, "%s/%s %s%s%s", config_text(r->config, CFG_DICOM_BUCKET), config_text(r->config, CFG_S3_PREFIX),
                   config_text(r->config, CFG_DATASTORE_ID), others, spool_only ? " spool only" : "");
}

static void say(const struct rebuild *r, const struct state_rebuilt *out)
{
    (void)printf("jobs known: %zu\n"
                 "from S3: %lld instances in %lld batches (%lld with an import job), %lld without a spool file\n"
                 "  %lld wait for their job's results or end, %lld for results that are there, %lld will be imported\n"
                 "from the spool: %lld instances that were in no job, %lld of them were quarantined and are judged again\n",
                 r->job_count, r->instances, (long long)out->batches, (long long)out->with_job, r->released, (long long)out->to_follow, (long long)out->to_read,
                 (long long)out->to_start, r->received, r->judged_again);
    if (out->unknown) {
        (void)printf("failed: %lld instances whose import nobody can tell; see `storescpctl stuck`\n", (long long)out->unknown);
    }
    if (r->held) {
        (void)printf("held: %lld instances that may have been imported; see `storescpctl stuck`\n", r->held);
    }
    if (r->refused) {
        (void)printf("quarantined: %lld damaged spool files\n", r->refused);
    }
    (void)printf("left alone: %lld foreign keys; %lld problems\n", r->foreign, r->problems);
}

int command_rebuild(struct request *q)
{
    struct rebuild *r = calloc(1, sizeof *r);
    struct err e = {0};
    struct state_rebuilt out = {0};
    char source[700];
    int lock = -1;
    if (!r || q->config_is_bad) {
        free(r);
        return complain("the settings are wrong, see `storescpctl config`");
    }
    (void)umask(077);
    (void)pthread_mutex_init(&r->trouble, NULL);
    r->config = q->config;
    r->home = q->home;
    rebuild_enter(r, 0);
    r->started_ms = clock_wall_ms();
    describe_source(r, q->spool_only, source, sizeof source);
    int rc = may_begin(r, &lock, &e);
    rc = rc == 0 ? open_clouds(r, q->spool_only, &e) : rc;
    rc = rc == 0 ? rebuild_read_jobs(r, &e) : rc; /* before the first write: wrong credentials show here */
    rc = rc == 0 ? state_rebuild_open(&r->state, q->home, source, &e) : rc;
    rc = rc == 0 ? read_objects(r, &e) : rc;
    rc = rc == 0 ? take_files(r, &e) : rc;
    rc = rc == 0 ? state_rebuild_end(r->state, &out, &e) : rc;
    int code = EXIT_FINE;
    if (rc != 0) {
        code = complain("rebuild did not end: %s%s", e.text[0] ? e.text : err_sentence(rc),
                        rebuild_is_unfinished(q->home) ? "; run it again when that is healed" : "");
    } else {
        say(r, &out);
        code = r->problems || out.unknown || r->held || r->refused ? EXIT_PROBLEM : EXIT_FINE;
    }
    for (size_t i = 0; i < CONFIG_DESTINATION_LIMIT; i++) {
        cloud_close(&r->clouds[i]);
    }
    state_close(&r->state);
    for (size_t i = 0; i < r->job_count; i++) {
        free(r->jobs[i].output_uri);
    }
    free(r->jobs);
    free(r->left);
    (void)pthread_mutex_destroy(&r->trouble);
    free(r);
    if (lock != -1) {
        (void)close(lock);
    }
    return code;
}
