/*
 * rebuild_objects - every object <s3_prefix>/<batch>/<instance>.dcm: its batch and its instance get their rows. What the instance is
 * stands in the head of its spool file, or in the first bytes of the object if that was released.
 */
#include "common/dicom/scan.h"
#include "common/runtime/runtime.h"
#include "control/rebuild.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { PROGRESS_EVERY = 10000 };

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
    int rc = cloud_object_head(r->cloud, key, fd, e);
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

/* What the object is. The spool file tells when it is there and whole, otherwise the object's own first bytes. ERR_SPOOL_DAMAGED: it is
 * no file of ours. */
static int describe(struct rebuild *r, const char *key, const char *id, int64_t bytes, struct state_rebuilt_instance *out, struct err *e)
{
    struct spool_meta meta;
    struct cloud_object object;
    memset(&object, 0, sizeof object);
    int file = spool_open(r->home, id, NULL);
    out->has_spool = file >= 0;
    if (file >= 0) {
        (void)close(file);
    }
    int rc = cloud_object_look(r->cloud, key, &object, e);
    bool is_whole = rc == 0 && out->has_spool && spool_read_meta(r->home, id, 1, &meta, e) == 0;
    if (rc == 0 && out->has_spool && !is_whole) {
        rebuild_trouble(r, id, "its spool file is damaged; the object in S3 is what counts");
    }
    if (rc == 0 && is_whole && (meta.file_bytes != bytes || (object.has_crc32c && object.crc32c != meta.file_crc32c))) {
        rebuild_trouble(r, key, "the object is not what its spool file is (size or CRC32C): compare them; after deleting the object and the "
                                "state.db run `rebuild` again");
    }
    if (rc == 0 && !is_whole) {
        rc = fetch_head(r, key, id, bytes, e);
        rc = rc == 0 ? spool_read_meta(r->desk, id, 0, &meta, e) : rc;
        meta.file_crc32c = rc == 0 && object.has_crc32c ? object.crc32c : 0;
    }
    if (rc == 0) {
        rebuild_identity(is_whole ? r->home : r->desk, id, &out->identity);
        rebuild_fill(out, &meta);
        (void)snprintf(out->etag, sizeof out->etag, "%s", object.etag);
    }
    if (!is_whole) {
        (void)spool_release(r->desk, id, NULL);
    }
    return rc;
}

static int take_object(void *ctx, const char *key, int64_t bytes)
{
    struct rebuild *r = ctx;
    struct err e = {0};
    struct state_rebuilt_instance one;
    enum state_rebuilt_place place = PLACE_SAME;
    memset(&one, 0, sizeof one);
    char id[STATE_ID_SIZE];
    if (!key_parts(key, r->prefix, one.i.batch, id)) {
        r->foreign++;
        return 0;
    }
    if (++r->objects % PROGRESS_EVERY == 0) {
        (void)fprintf(stderr, "storescpctl: %lld objects so far\n", r->objects);
    }
    if (strcmp(key, r->key) <= 0) { /* the listing broke off and begins anew */
        r->batch[0] = '\0';
    }
    (void)snprintf(r->key, sizeof r->key, "%s", key);
    (void)snprintf(one.i.s3_key, sizeof one.i.s3_key, "%s", key);
    int known = state_rebuild_knows(r->state, id, one.i.batch, &e);
    int rc = known < 0 ? known : 0;
    if (known == 0) {
        rc = describe(r, key, id, bytes, &one, &e);
        if (rc == ERR_AWS_NOT_FOUND) {
            return 0; /* deleted since it was listed */
        }
        if (rc == ERR_SPOOL_DAMAGED) {
            rebuild_trouble(r, key, "is no file of ours, or another one than its head says; left alone, but an import job of its batch takes "
                                    "everything below its prefix");
            return 0;
        }
    }
    rc = rc == 0 ? rebuild_batch(r, one.i.batch, one.identity.study_uid, &e) : rc;
    if (rc == 0 && r->job) {
        r->job->seen_count++; /* also for a known one */
    }
    if (rc == 0 && known == 0) {
        rc = state_rebuild_instance(r->state, &one, &place, &e);
        if (rc == 0 && place == PLACE_AMBIGUOUS) {
            rebuild_trouble(r, key, "the same instance stands under another batch that was not started either, and both would import it: delete "
                                    "this object before `storescpctl up`");
        }
    }
    if (rc != 0) {
        return complain("%s: %s", key, e.text), rc;
    }
    r->instances += place == PLACE_NEW || known == 1;
    r->released += place == PLACE_NEW && !one.has_spool;
    return 0;
}

int rebuild_read_objects(struct rebuild *r, struct err *e)
{
    return cloud_each_object(r->cloud, take_object, r, e);
}
