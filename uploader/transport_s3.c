/*
 * transport_s3 - one PutObject, or a multipart upload for a large file; the end is 'uploaded', without a batch 'stored'. Bucket and key were decided when the
 * instance was claimed for the first time (keys.h).
 */
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "uploader/transport.h"

#include <stdio.h>
#include <string.h>

enum { AGAIN_MS = 600000 /* an upload that S3 did not abort */ };

static void on_end(void *ctx, const struct s3_put_result *result)
{
    struct item *item = ctx;
    item->result = *result;
    upload_item_ended(item);
}

static int keep_upload(void *ctx, const char *upload_id, struct err *e)
{
    struct item *item = ctx;
    return state_multipart_keep(item->upload->state, &item->claim, upload_id, e);
}

/* A probe of gigabytes need not end before the others may go on. */
static void on_part(void *ctx)
{
    struct item *item = ctx;
    struct breaker *b = &item->upload->breaker;
    if (b->open && breaker_succeeded(b, "", item->began_ms, clock_mono_ms())) {
        log_info("uploads_resumed", "destination=%s after_ms=%lld", config_destination_name(item->upload->config), (long long)(clock_mono_ms() - b->opened_ms));
        item->upload->look_at_ms = 0;
    }
}

/* The one that was decided with its key, whatever the settings say by now. */
static const char *bucket_of(const struct item *item)
{
    return item->claim.bucket[0] ? item->claim.bucket : NULL;
}

static int begin_parts(struct upload *u, struct item *item, const struct s3_put *put, struct err *e)
{
    char upload_id[STATE_UPLOAD_ID_SIZE];
    int rc = state_multipart_find(u->state, &item->claim, upload_id, e);
    struct s3_multipart m = {.put = *put,
                             .part_bytes = config_int(u->config, CFG_MULTIPART_PART_MB) << 20,
                             .parallel = u->part_parallel,
                             .upload_id = upload_id,
                             .keep = keep_upload,
                             .progress = on_part};
    return rc ? rc : s3_multipart_begin(u->aws, &m, on_end, item, e);
}

static int begin(struct upload *u, struct item *item, struct err *e)
{
    const struct state_received *r = &item->claim.r;
    const char *key = item->claim.s3_key;
    struct s3_put put = {.bucket = bucket_of(item), .key = key, .fd = item->fd, .bytes = r->file_bytes, .crc32c = r->file_crc32c,
                         .is_only_ours = strstr(key, r->id) != NULL};
    bool in_parts = r->file_bytes > config_int(u->config, CFG_MULTIPART_ABOVE_MB) << 20;
    return in_parts ? begin_parts(u, item, &put, e) : s3_put_begin(u->aws, &put, on_end, item, e);
}

/* 1 only if S3 has exactly what was received. */
static int look(struct upload *u, struct item *item, struct err *why)
{
    struct s3_head head;
    struct err e = {0};
    int rc = s3_head(u->aws, bucket_of(item), item->claim.s3_key, &head, &e);
    if (rc == ERR_AWS_NOT_FOUND || rc == ERR_AWS_DENIED) { /* who may only put learns nothing here; the importer looks as well */
        return 0;
    }
    if (rc != 0) {
        *why = e;
        return rc;
    }
    if (!head.has_crc32c || head.crc32c != item->claim.r.file_crc32c || head.bytes != item->claim.r.file_bytes) {
        return 0;
    }
    memset(&item->result, 0, sizeof item->result);
    (void)snprintf(item->result.etag, sizeof item->result.etag, "%s", head.etag);
    return 1;
}

static void evidence(const struct upload *u, const struct item *item, struct state_uploaded *out)
{
    (void)snprintf(out->etag, sizeof out->etag, "%s", item->result.etag);
    if (!item->claim.batch[0]) {
        (void)snprintf(out->location, sizeof out->location, "s3://%s/%s",
                       item->claim.bucket[0] ? item->claim.bucket : config_text(u->config, CFG_DICOM_BUCKET), item->claim.s3_key);
    }
}

/* ---- multipart uploads that were given up ------------------------------------------------------------------------------------------ */

void upload_abort_leftover(struct upload *u)
{
    struct state_multipart m;
    struct err e = {0};
    bool found = false;
    const int64_t now = clock_mono_ms();
    if (!u->transport->has_leftovers || u->breaker.open || u->broken || now < u->leftovers_at_ms) {
        return;
    }
    u->leftovers_at_ms = now + UPLOAD_LEFTOVER_MS;
    int rc = state_multipart_leftover(u->state, config_destination_name(u->config), &m, &found, &e);
    if (rc != 0) {
        log_error("leftovers_not_read", "reason=\"%s\"", e.text);
    }
    if (rc != 0 || !found) {
        return;
    }
    rc = s3_multipart_abort(u->aws, m.bucket[0] ? m.bucket : NULL, m.s3_key, m.upload_id, &e);
    if (rc == ERR_AWS_NOT_FOUND && strcmp(m.bucket, config_text(u->config, CFG_DICOM_BUCKET)) != 0) {
        rc = 0; /* an older bucket that is gone, and its uploads with it */
    }
    if (rc == 0) {
        log_info("multipart_aborted", "instance=%s reason=\"nobody will go on with it\"", m.instance);
        u->leftovers_at_ms = 0;
    } else {
        log_warning("multipart_not_aborted", "instance=%s code=%s retry_ms=%d reason=\"%s\" remedy=\"allow s3:AbortMultipartUpload; a lifecycle rule of the "
                    "bucket (AbortIncompleteMultipartUpload) removes what is left\"", m.instance, err_name(rc), AGAIN_MS, e.text);
    }
    if (state_multipart_aborted(u->state, &m, rc == 0 ? 0 : clock_wall_ms() + AGAIN_MS, &e) != 0) {
        log_error("abort_not_recorded", "instance=%s reason=\"%s\"", m.instance, e.text);
        u->leftovers_at_ms = now + UPLOAD_LEFTOVER_MS;
    }
}

const struct transport transport_s3 = {
    .service = "S3", .event = "uploaded", .begin = begin, .look = look, .evidence = evidence, .has_leftovers = true};
