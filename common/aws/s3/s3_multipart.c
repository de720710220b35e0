/*
 * s3_multipart - a large file in parts, several at one time, so that a broken line costs one part and not gigabytes. See s3.h, multipart.h.
 *
 *   no upload id:  CreateMultipartUpload -> keep(id), durable -> PARTS -> CompleteMultipartUpload; where nothing may be overwritten HeadObject before,
 *                  because the object may be there already
 *   an id:         ListParts -> PARTS: what S3 has with the right size and CRC-32C is not sent again
 *   NoSuchUpload:  HeadObject: an earlier completion may have worked although its answer was lost; else once more from the beginning
 *
 * PARTS: the file is read once in order; of each part SHA-256 (for the signature) and CRC-32C are taken, then its bytes go out by pread: memory does
 * not grow with the file. Part checksums combine into that of the whole: if it is not the receiver's, the disk has changed bytes, and the upload is not
 * completed. The completion carries the receiver's checksum as FULL_OBJECT, so S3 verifies the whole way from the network to the object.
 * After an error no more parts begin; those under way end first, because what they bring is kept. Which error means what for the instance is the
 * stage's decision; here only an upload that can never be completed is aborted: S3 found another whole than its parts make, lost a part, or encrypts
 * otherwise than was asked. With s3_if_none_match the completion overwrites nothing: on 412 HeadObject tells whether what lies there is this image (an
 * earlier completion, not answered), by its CRC-32C or, where S3 has none, by the ETag that our parts make; the upload is aborted in both cases.
 * 409 ConditionalRequestConflict asks for a new upload. Sources: S3 API, pages of the operations; "Checking object integrity": full-object checksums of
 * multipart uploads; CompleteMultipartUpload may answer 200 and then an error.
 */
#include "common/aws/request/errors.h"
#include "common/aws/s3/multipart_job.h"
#include "common/runtime/crc32c.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"

#include <stdlib.h>
#include <string.h>

enum { LISTING_BYTES = 4 << 20, ANSWER_BYTES = 65536 };

struct step_call { /* what a call under way leads back to */
    struct job *job;
    job_step step;
    int number;
};

static void advance(struct job *job);

static void job_free(struct job *job)
{
    EVP_MD_CTX_free(job->whole);
    free(job->parts);
    free(job);
}

static void release(struct job *job)
{
    if (--job->pending == 0) {
        job_free(job);
    }
}

static void abandon_hash(void *ctx)
{
    release(ctx);
}

static void abandon_call(void *ctx)
{
    struct step_call *s = ctx;
    release(s->job);
    free(s);
}

static void finish(struct job *job)
{
    struct s3_put_result *r = &job->result;
    r->transfer_ms = clock_mono_ms() - job->began_ms;
    r->part_count = job->plan.count;
    job->has_ended = true;
    job->client->ended++;
    job->done(job->ctx, r);
    job_free(job);
}

void job_fail(struct job *job, int rc, const struct err *why)
{
    if (job->result.rc == 0) {
        job->result.rc = rc;
        job->result.why = *why;
        job->result.why.code = rc;
    }
}

/* An answer that is an error. True if it was one. */
bool job_has_failed(struct job *job, const struct aws_answer *a)
{
    if (a->rc != 0 && (strcmp(a->code, "NoSuchUpload") == 0 || strcmp(a->code, "NoSuchKey") == 0)) { /* some servers say the second */
        job->is_gone = true;
    } else if (a->rc != 0) {
        job->result.first_failed_ms = job->result.rc == 0 ? a->first_failed_ms : job->result.first_failed_ms;
        job_fail(job, a->rc, &a->why);
    }
    return a->rc != 0;
}

static void on_answer(void *ctx, struct aws_answer *a)
{
    struct step_call *s = ctx;
    struct job *job = s->job;
    job->client->ended--; /* a step is no end; finish() counts */
    job->pending--;
    s->step(job, s->number, a);
    free(s);
    advance(job);
}

struct aws_call *job_call_new(struct job *job, const char *operation, const char *method)
{
    struct aws_call *call = s3_call_new(job->client, operation, method, &job->place);
    if (call) {
        call->response_max = ANSWER_BYTES;
        call->abandon = abandon_call;
    }
    return call;
}

/* rc: of preparing the call. Takes it. */
void job_begin(struct job *job, struct aws_call *call, int rc, int number, job_step step)
{
    struct err why = {0};
    struct step_call *s = call && rc == 0 ? malloc(sizeof *s) : NULL;
    if (!s) {
        aws_call_free(call);
        rc = rc ? err_set(&why, rc, 0, "a request for a part cannot be made") : err_set(&why, ERR_MEMORY, 0, "no memory for a request");
        job_fail(job, rc, &why);
        return;
    }
    *s = (struct step_call){job, step, number};
    rc = aws_begin(job->client, call, on_answer, s, &why);
    if (rc != 0) {
        free(s);
        job_fail(job, rc, &why);
        return;
    }
    job->pending++;
}

int job_add_upload(struct job *job, struct aws_call *call)
{
    return call ? aws_call_query(call, "uploadId", job->upload_id) : ERR_MEMORY;
}

void job_keep(struct job *job, const char *upload_id)
{
    struct err why = {0};
    int rc = job->keep(job->ctx, upload_id, &why);
    if (rc != 0) {
        job_fail(job, rc, &why);
    }
}

/* ---- create, list ------------------------------------------------------------------------------------------------------------- */

static void on_create(struct job *job, int number, struct aws_answer *a)
{
    struct err why = {0};
    (void)number;
    if (job_has_failed(job, a)) {
        return;
    }
    int rc = multipart_created_read(a->http->body, a->http->body_bytes, job->upload_id, &why);
    if (rc != 0) {
        job_fail(job, rc, &why);
        return;
    }
    rc = s3_check_encryption(job->client, "CreateMultipartUpload", a->http, &why);
    if (rc != 0) { /* before anything lies there otherwise than was asked */
        job_fail(job, rc, &why);
        job->must_abort = true;
        return;
    }
    job_keep(job, job->upload_id);
    job->must_abort = job->result.rc != 0; /* nobody would know of it */
    job->is_sending = job->result.rc == 0;
}

void job_create(struct job *job)
{
    struct aws_call *call = job_call_new(job, "CreateMultipartUpload", "POST");
    int rc = call ? aws_call_query(call, "uploads", "") : 0;
    if (call) {
        aws_call_header(call, "x-amz-checksum-algorithm", "CRC32C");
        aws_call_header(call, "x-amz-checksum-type", "FULL_OBJECT");
        aws_call_header(call, "content-type", "application/dicom");
        s3_add_options(job->client, call);
    }
    job_begin(job, call, rc, 0, on_create);
}

static void list(struct job *job, int marker);

static void on_list(struct job *job, int marker, struct aws_answer *a)
{
    struct multipart_page page;
    struct err why = {0};
    if (a->rc == ERR_AWS_DENIED) { /* who may put but not list sends all parts once more, under the same upload */
        log_warning("parts_not_listed", "reason=\"%s\" effect=\"every part is sent again\" remedy=\"allow s3:ListMultipartUploadParts\"", a->why.text);
        job->is_sending = true;
        return;
    }
    if (job_has_failed(job, a)) {
        return;
    }
    int rc = multipart_page_read(a->http->body, a->http->body_bytes, job->parts, job->plan.count, &page, &why);
    if (rc == 0 && page.truncated && page.next_marker <= marker) {
        rc = err_set(&why, ERR_PROTOCOL, 0, "S3 ListParts: the listing does not go on after part %d", marker);
    }
    if (rc != 0) {
        job_fail(job, rc, &why);
    } else if (page.truncated) {
        list(job, page.next_marker);
    } else {
        job->is_sending = true;
    }
}

static void list(struct job *job, int marker)
{
    char text[16];
    struct aws_call *call = job_call_new(job, "ListParts", "GET");
    int rc = job_add_upload(job, call);
    (void)snprintf(text, sizeof text, "%d", marker);
    rc = rc || marker == 0 ? rc : aws_call_query(call, "part-number-marker", text);
    if (call) {
        call->response_max = LISTING_BYTES;
    }
    job_begin(job, call, call ? rc : 0, marker, on_list);
}

/* ---- parts ------------------------------------------------------------------------------------------------------------------------ */

static void on_part(struct job *job, int number, struct aws_answer *a)
{
    struct multipart_part *part = &job->parts[number - 1];
    struct err why = {0};
    char etag[80];
    char theirs[16];
    uint32_t crc;
    if (job_has_failed(job, a)) {
        return;
    }
    if (!http_header(a->http, "etag", etag, sizeof etag) || strlen(etag) >= sizeof part->etag || !etag[0]) {
        job_fail(job, err_set(&why, ERR_PROTOCOL, 0, "S3 UploadPart: the answer has no ETag (request %s)", a->request_id), &why);
    } else if (http_header(a->http, "x-amz-checksum-crc32c", theirs, sizeof theirs) && (!s3_crc_read(theirs, &crc) || crc != part->crc32c)) {
        job_fail(job, err_set(&why, ERR_AWS_CHECKSUM, 0, "S3 UploadPart: part %d was answered with another checksum than it has (request %s)", number,
                          a->request_id), &why);
    } else {
        s3_plain_etag(etag, part->etag, sizeof part->etag);
        part->is_done = true;
        if (job->progress) {
            job->progress(job->ctx);
        }
    }
}

static void send_part(struct job *job, int number)
{
    char text[16];
    struct multipart_part *part = &job->parts[number - 1];
    struct aws_call *call = job_call_new(job, "UploadPart", "PUT");
    (void)snprintf(text, sizeof text, "%d", number);
    int rc = call ? aws_call_query(call, "partNumber", text) : 0;
    rc = rc || !call ? rc : job_add_upload(job, call);
    if (call) {
        s3_crc_text(part->crc32c, text);
        aws_call_header(call, "x-amz-checksum-crc32c", "%s", text);
        (void)snprintf(call->payload_hash, sizeof call->payload_hash, "%s", job->hash.hex);
        call->fd = job->fd;
        call->fd_from = multipart_part_from(&job->plan, number);
        call->fd_bytes = multipart_part_bytes(&job->plan, job->bytes, number);
    }
    job_begin(job, call, rc, number, on_part);
}

static void on_hash(void *ctx, int rc, const struct err *why)
{
    struct job *job = ctx;
    job->pending--;
    job->is_hashing = false;
    if (rc != 0) {
        job_fail(job, rc, why);
        advance(job);
        return;
    }
    int number = job->next++;
    struct multipart_part *part = &job->parts[number - 1];
    job->whole_crc32c = crc32c_combine(job->whole_crc32c, job->hash.crc32c, (uint64_t)job->hash.bytes);
    if (part->etag[0] && part->bytes == job->hash.bytes && part->has_crc32c && part->crc32c == job->hash.crc32c) {
        part->is_done = true;
        job->result.kept_count++;
    } else if (job->result.rc == 0 && !job->is_gone) {
        part->crc32c = job->hash.crc32c;
        part->has_crc32c = true;
        send_part(job, number);
    }
    advance(job);
}

static void hash_next(struct job *job)
{
    struct err why = {0};
    job->hash = (struct s3_hash){.fd = job->fd,
                                 .from = multipart_part_from(&job->plan, job->next),
                                 .bytes = multipart_part_bytes(&job->plan, job->bytes, job->next),
                                 .whole_digest = job->whole,
                                 .wants_crc32c = true,
                                 .done = on_hash,
                                 .abandon = abandon_hash,
                                 .ctx = job};
    int rc = s3_hash_begin(job->client, &job->hash, &why);
    if (rc != 0) {
        job_fail(job, rc, &why);
        return;
    }
    job->is_hashing = true;
    job->pending++;
}

/* After every event: what is next? Ends the job when nothing is. */
static void advance(struct job *job)
{
    if (job->has_ended) {
        if (job->pending == 0) {
            job->result.rc = 0; /* the object is there, whatever became of the question for its ETag */
            finish(job);
        }
        return;
    }
    if (job->is_ours_there && job->pending == 0) {
        if (job->must_abort) {
            job->must_abort = false;
            job_abort(job);
        }
        if (job->pending == 0) {
            job->has_ended = true;
            job->result.rc = 0;
            finish(job);
        }
        return;
    }
    if (job->result.rc == 0 && job->is_gone && job->pending == 0) {
        job->is_gone = false;
        job->is_sending = false;
        job_look_for_object(job);
    } else if (job->result.rc == 0 && !job->is_gone && job->is_sending) {
        if (!job->is_hashing && job->next <= job->plan.count && job->pending < job->parallel) {
            hash_next(job);
        } else if (job->pending == 0 && job->next > job->plan.count) {
            job_complete(job);
        }
    }
    if (job->result.rc != 0 && job->must_abort && job->pending == 0) {
        job->must_abort = false;
        job_abort(job);
    }
    if (job->pending == 0) {
        finish(job);
    }
}

int s3_multipart_begin(struct aws_client *c, const struct s3_multipart *m, s3_put_done done, void *ctx, struct err *e)
{
    struct multipart_plan plan;
    const char *id = m->upload_id ? m->upload_id : "";
    if (m->put.fd < 0 || m->parallel < 1 || strlen(id) >= S3_UPLOAD_ID_SIZE) {
        return err_set(e, ERR_ARGUMENT, 0, "a multipart upload without a file, without a part at a time, or with an upload id of %zu bytes", strlen(id));
    }
    int rc = multipart_plan(m->put.bytes, m->part_bytes, &plan, e);
    struct job *job = rc == 0 ? calloc(1, sizeof *job) : NULL;
    if (!job) {
        return rc ? rc : err_set(e, ERR_MEMORY, 0, "no memory for a transfer");
    }
    job->client = c;
    job->done = done;
    job->keep = m->keep;
    job->progress = m->progress;
    job->ctx = ctx;
    job->fd = m->put.fd;
    job->parallel = m->parallel;
    job->is_only_ours = m->put.is_only_ours;
    job->bytes = m->put.bytes;
    job->crc32c = m->put.crc32c;
    job->plan = plan;
    job->began_ms = clock_mono_ms();
    job->parts = calloc((size_t)plan.count, sizeof *job->parts);
    job->whole = EVP_MD_CTX_new();
    rc = job->parts && job->whole ? job_restart(job, e) : err_set(e, ERR_MEMORY, 0, "no memory for a transfer");
    rc = rc ? rc : endpoint_s3_place(&c->site.endpoints[AWS_S3], c->path_style, s3_bucket_of(c, m->put.bucket), m->put.key, &job->place, e);
    if (rc == 0) {
        (void)snprintf(job->upload_id, sizeof job->upload_id, "%s", id);
        if (id[0]) {
            list(job, 0);
        } else if (c->s3.if_none_match) {
            job_look_first(job);
        } else {
            job_create(job);
        }
        rc = job->result.rc;
        if (rc != 0 && e) {
            *e = job->result.why;
        }
    }
    if (rc != 0) {
        job_free(job);
    }
    return rc;
}
