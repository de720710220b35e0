/*
 * rebuild_objects - every object <s3_prefix>/<batch>/...<instance>.dcm: its batch and its instance get their rows. What the instance is
 * stands in the head of its spool file, or in the first bytes of the object if that was released.
 *
 * An object takes one or two requests, so THREADS of them are looked at side by side, each with a struct cloud and a desk of its own. This
 * thread lists and fills a queue; what touches the database, the counters or the queue holds pool.lock; requests and files do not.
 */
#include "common/dicom/scan.h"
#include "common/runtime/runtime.h"
#include "control/rebuild/rebuild.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { PROGRESS_EVERY = 10000, THREADS = 16, QUEUE = 64, KEY_MAX = STATE_KEY_SIZE };

/* "<prefix>/<batch>/...<instance>.dcm" -> its parts; false if it is none of ours. */
static bool key_parts(const char *key, const char *prefix, char batch[STATE_ID_SIZE], char id[STATE_ID_SIZE])
{
    size_t n = strlen(prefix);
    size_t length = strlen(key);
    if (strncmp(key, prefix, n) != 0 || key[n] != '/' || length < n + 1 + 26 + 1 + 26 + 4 || key[n + 27] != '/' || strcmp(key + length - 4, ".dcm") != 0) {
        return false;
    }
    (void)snprintf(batch, STATE_ID_SIZE, "%.26s", key + n + 1);
    (void)snprintf(id, STATE_ID_SIZE, "%.26s", key + length - 30);
    return id_is_legal(batch) && id_is_legal(id);
}

/* Lays the head of an object on the desk as a file with a hole of the right size, so that the spool's own reader judges it. */
static int fetch_head(struct cloud *cloud, const char *desk, const char *key, const char *id, int64_t bytes, struct err *e)
{
    char path[PATH_SIZE + 64];
    (void)snprintf(path, sizeof path, "%s/spool/obj/%s.dcm", desk, id);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd == -1) {
        return err_set(e, err_from_errno(errno), errno, "%s", path);
    }
    int rc = cloud_object_head(cloud, key, fd, e);
    if (rc == 0 && ftruncate(fd, bytes) == -1) {
        rc = err_set(e, err_from_errno(errno), errno, "%s", path);
    }
    (void)close(fd);
    return rc;
}

void rebuild_fill(struct state_rebuilt_instance *out, const struct spool_meta *m)
{
    struct state_received *r = &out->i.r;
    (void)snprintf(r->id, sizeof r->id, "%s", m->id);
    (void)snprintf(r->sop_class_uid, sizeof r->sop_class_uid, "%s", m->sop_class_uid);
    (void)snprintf(r->sop_instance_uid, sizeof r->sop_instance_uid, "%s", m->sop_instance_uid);
    (void)snprintf(r->transfer_syntax_uid, sizeof r->transfer_syntax_uid, "%s", m->transfer_syntax_uid);
    (void)snprintf(r->calling_ae, sizeof r->calling_ae, "%s", m->calling_ae);
    (void)snprintf(r->called_ae, sizeof r->called_ae, "%s", m->called_ae);
    r->file_bytes = m->file_bytes;
    r->data_bytes = m->data_bytes;
    r->file_crc32c = m->file_crc32c;
    r->data_crc32c = m->data_crc32c;
    r->received_ms = m->received_ms;
}

void rebuild_identity(const char *home, const char *id, struct state_identity *out)
{
    struct dicom_scan scan;
    memset(out, 0, sizeof *out);
    memset(&scan, 0, sizeof scan);
    int fd = spool_open_received(home, id, NULL);
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
    (void)snprintf(out->study_id, sizeof out->study_id, "%s", scan.study_id);
    if (!dicom_integer(scan.series_number, out->series_number, sizeof out->series_number)) {
        (void)snprintf(out->series_number, sizeof out->series_number, "%s", scan.series_number);
    }
    (void)dicom_integer(scan.instance_number, out->instance_number, sizeof out->instance_number);
}

void rebuild_fill_file(const char *home, const struct spool_meta *current, struct state_rebuilt_instance *out)
{
    struct spool_meta received;
    struct dicom_scan scan;
    rebuild_identity(home, current->id, &out->identity);
    rebuild_fill(out, current);
    memset(&scan, 0, sizeof scan);
    if (!current->is_changed || !spool_is_changed(home, current->id) || spool_read_received(home, current->id, 1, &received, NULL) != 0) {
        return;
    }
    int fd = spool_open(home, current->id, NULL);
    if (fd >= 0) {
        (void)dicom_scan_fd(fd, &scan, NULL);
        (void)close(fd);
    }
    rebuild_fill(out, &received);
    out->is_changed = true;
    out->changed.file_bytes = current->file_bytes;
    out->changed.file_crc32c = current->file_crc32c;
    (void)snprintf(out->changed.sop_instance_uid, sizeof out->changed.sop_instance_uid, "%s", current->sop_instance_uid);
    (void)snprintf(out->changed.study_uid, sizeof out->changed.study_uid, "%s", scan.study_uid);
    (void)snprintf(out->changed.series_uid, sizeof out->changed.series_uid, "%s", scan.series_uid);
    (void)snprintf(out->changed.by, sizeof out->changed.by, "rules before the rebuild");
}

/* What the object is. The spool file tells when it is there and whole, otherwise the object's own first bytes. ERR_SPOOL_DAMAGED: it is
 * no file of ours. */
static int describe(struct rebuild *r, struct cloud *cloud, const char *desk, const char *key, const char *id, int64_t bytes,
                    struct state_rebuilt_instance *out, struct err *e)
{
    struct spool_meta meta;
    struct cloud_object object;
    memset(&object, 0, sizeof object);
    int file = spool_open(r->home, id, NULL);
    out->has_spool = file >= 0;
    if (file >= 0) {
        (void)close(file);
    }
    int rc = cloud_object_look(cloud, key, &object, e);
    bool is_whole = rc == 0 && out->has_spool && spool_read_meta(r->home, id, 1, &meta, e) == 0;
    if (rc == 0 && out->has_spool && !is_whole) {
        rebuild_trouble(r, id, "its spool file is damaged; the object in S3 is what counts");
    }
    if (rc == 0 && is_whole && (meta.file_bytes != bytes || (object.has_crc32c && object.crc32c != meta.file_crc32c))) {
        rebuild_trouble(r, key, "the object is not what its spool file is (size or CRC32C): compare them; after deleting the object and the "
                                "state.db run `rebuild` again");
    }
    if (rc == 0 && !is_whole) {
        rc = fetch_head(cloud, desk, key, id, bytes, e);
        rc = rc == 0 ? spool_read_meta(desk, id, 0, &meta, e) : rc;
        meta.file_crc32c = rc == 0 && object.has_crc32c ? object.crc32c : 0;
    }
    if (rc == 0) {
        rebuild_fill_file(is_whole ? r->home : desk, &meta, out);
        (void)snprintf(out->etag, sizeof out->etag, "%s", object.etag);
    }
    if (!is_whole) {
        (void)spool_release(desk, id, NULL);
    }
    return rc;
}

/* ---- side by side ---------------------------------------------------------------------------------------------------------- */

struct item {
    char key[KEY_MAX];
    int64_t bytes;
};
struct pool {
    struct rebuild *r;
    pthread_mutex_t lock;
    pthread_cond_t is_filled, has_room;
    struct item queue[QUEUE];
    size_t first, count;
    bool is_closed; /* nothing comes any more */
    int rc;         /* the first error: everybody ends */
    struct err why;
    /* the listing's own, not shared */
    char key[KEY_MAX], batch[STATE_ID_SIZE];
    struct job_entry *job;
};
struct worker {
    struct pool *pool;
    struct cloud *cloud;
    char desk[PATH_SIZE + 16];
    pthread_t thread;
};

bool rebuild_is_same_place(const struct config *a, const struct config *b)
{
    static const enum config_key keys[] = {CFG_DICOM_BUCKET, CFG_S3_PREFIX, CFG_AWS_REGION, CFG_ENDPOINT_S3, CFG_ENDPOINT};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(config_text(a, keys[i]), config_text(b, keys[i])) != 0) {
            return false;
        }
    }
    return true;
}

/* Where an object's batch goes if it had no job: by the rules for its sender, if they lead to where it lies; else to the destination whose bucket it is. */
static const struct config *place_of(const struct rebuild *r, const struct state_rebuilt_instance *one)
{
    const struct config *c = config_destination_for(r->config, one->i.r.calling_ae, one->i.r.called_ae, one->identity.modality);
    return config_destination_kind(c) == KIND_HEALTHIMAGING && rebuild_is_same_place(c, r->place) ? c : r->place;
}

/* Rows of one object. Holds the lock. */
static int record(struct rebuild *r, const char *key, const struct state_rebuilt_instance *one, struct err *e)
{
    enum state_rebuilt_place place = PLACE_SAME;
    int rc = rebuild_batch(r, one->i.batch, one->identity.study_uid, place_of(r, one), e);
    rc = rc == 0 ? state_rebuild_instance(r->state, one, &place, e) : rc;
    if (rc == 0 && place == PLACE_AMBIGUOUS) {
        rebuild_trouble(r, key, "the same instance stands under another batch that was not started either, and both would import it: delete "
                                "this object before `storescpctl up`");
    }
    r->instances += rc == 0 && place == PLACE_NEW;
    r->released += rc == 0 && place == PLACE_NEW && !one->has_spool;
    return rc;
}

static int take_object(struct worker *w, const struct item *item, struct err *e)
{
    struct rebuild *r = w->pool->r;
    struct state_rebuilt_instance one;
    char id[STATE_ID_SIZE];
    memset(&one, 0, sizeof one);
    (void)key_parts(item->key, r->prefix, one.i.batch, id); /* the listing has seen that it is one of ours */
    (void)snprintf(one.i.s3_key, sizeof one.i.s3_key, "%s", item->key);
    (void)snprintf(one.i.bucket, sizeof one.i.bucket, "%s", config_text(r->place, CFG_DICOM_BUCKET));
    (void)pthread_mutex_lock(&w->pool->lock);
    int known = state_rebuild_knows(r->state, id, one.i.batch, e);
    r->instances += known == 1;
    (void)pthread_mutex_unlock(&w->pool->lock);
    if (known != 0) {
        return known < 0 ? known : 0;
    }
    int rc = describe(r, w->cloud, w->desk, item->key, id, item->bytes, &one, e);
    if (rc == ERR_AWS_NOT_FOUND) {
        return 0; /* deleted since it was listed */
    }
    if (rc == ERR_SPOOL_DAMAGED) {
        rebuild_trouble(r, item->key, "is no file of ours, or another one than its head says; left alone, but an import job of its batch takes "
                                      "everything below its prefix");
        return 0;
    }
    if (rc == 0) {
        (void)pthread_mutex_lock(&w->pool->lock);
        rc = record(r, item->key, &one, e);
        (void)pthread_mutex_unlock(&w->pool->lock);
    }
    return rc;
}

static void *work(void *ctx)
{
    struct worker *w = ctx;
    struct pool *p = w->pool;
    (void)pthread_mutex_lock(&p->lock);
    while (p->rc == 0) {
        while (p->count == 0 && !p->is_closed && p->rc == 0) {
            (void)pthread_cond_wait(&p->is_filled, &p->lock);
        }
        if (p->count == 0 || p->rc != 0) {
            break;
        }
        struct item item = p->queue[p->first];
        struct err e = {0};
        p->first = (p->first + 1) % QUEUE;
        p->count--;
        (void)pthread_cond_signal(&p->has_room);
        (void)pthread_mutex_unlock(&p->lock);
        int rc = take_object(w, &item, &e);
        (void)pthread_mutex_lock(&p->lock);
        if (rc != 0 && p->rc == 0) {
            p->rc = rc;
            (void)err_set(&p->why, rc, 0, "%.120s: %.190s", item.key, e.text);
        }
    }
    (void)pthread_cond_broadcast(&p->is_filled);
    (void)pthread_cond_broadcast(&p->has_room);
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* For the listing: counts the object and puts it into the queue. */
static int put(void *ctx, const char *key, int64_t bytes)
{
    struct pool *p = ctx;
    struct rebuild *r = p->r;
    char batch[STATE_ID_SIZE];
    char id[STATE_ID_SIZE];
    if (strlen(key) >= KEY_MAX || !key_parts(key, r->prefix, batch, id)) {
        r->foreign++;
        return 0;
    }
    if (++r->objects % PROGRESS_EVERY == 0) {
        (void)fprintf(stderr, "storescpctl: %lld objects so far\n", r->objects);
    }
    /* Objects come batch by batch; a listing that broke off begins anew. */
    if (strcmp(key, p->key) <= 0 || strcmp(batch, p->batch) != 0) {
        (void)snprintf(p->batch, sizeof p->batch, "%s", batch);
        p->job = rebuild_job(r, batch);
        if (p->job) {
            p->job->seen_count = 0;
        }
    }
    (void)snprintf(p->key, sizeof p->key, "%s", key);
    if (p->job) {
        p->job->seen_count++;
    }
    (void)pthread_mutex_lock(&p->lock);
    while (p->count == QUEUE && p->rc == 0) {
        (void)pthread_cond_wait(&p->has_room, &p->lock);
    }
    int rc = p->rc;
    if (rc == 0) {
        struct item *item = &p->queue[(p->first + p->count++) % QUEUE];
        (void)snprintf(item->key, sizeof item->key, "%s", key);
        item->bytes = bytes;
        (void)pthread_cond_signal(&p->is_filled);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return rc;
}

static int begin(struct worker *w, struct pool *p, size_t number, struct err *e)
{
    w->pool = p;
    (void)snprintf(w->desk, sizeof w->desk, "%s/%zu", p->r->desk, number);
    int rc = spool_prepare(w->desk, e);
    rc = rc == 0 ? cloud_open(&w->cloud, p->r->place, e) : rc;
    if (rc == 0 && pthread_create(&w->thread, NULL, work, w) != 0) {
        rc = err_set(e, ERR_MEMORY, 0, "rebuild cannot start a thread");
        cloud_close(&w->cloud);
    }
    return rc;
}

int rebuild_read_objects(struct rebuild *r, struct err *e)
{
    struct pool *p = calloc(1, sizeof *p);
    struct worker *workers = calloc(THREADS, sizeof *workers);
    size_t count = 0;
    int rc = p && workers ? 0 : err_set(e, ERR_MEMORY, 0, "rebuild");
    if (rc == 0) {
        p->r = r;
        (void)pthread_mutex_init(&p->lock, NULL);
        (void)pthread_cond_init(&p->is_filled, NULL);
        (void)pthread_cond_init(&p->has_room, NULL);
        while (rc == 0 && count < THREADS) {
            rc = begin(&workers[count], p, count, e);
            count += rc == 0;
        }
        rc = rc == 0 ? cloud_each_object(r->cloud, put, p, e) : rc;
        (void)pthread_mutex_lock(&p->lock);
        p->is_closed = true;
        p->count = rc == 0 ? p->count : 0; /* what is left counts only if the listing was whole */
        (void)pthread_cond_broadcast(&p->is_filled);
        (void)pthread_mutex_unlock(&p->lock);
        for (size_t i = 0; i < count; i++) {
            (void)pthread_join(workers[i].thread, NULL);
            cloud_close(&workers[i].cloud);
        }
        if (p->rc != 0) { /* the listing ended because of this */
            rc = err_set(e, p->rc, 0, "%s", p->why.text);
        }
        (void)pthread_cond_destroy(&p->has_room);
        (void)pthread_cond_destroy(&p->is_filled);
        (void)pthread_mutex_destroy(&p->lock);
    }
    free(workers);
    free(p);
    return rc;
}
