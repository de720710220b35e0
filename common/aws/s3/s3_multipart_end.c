/*
 * s3_multipart_end - how a file in parts ends: the completion and what S3 says to it, what lies under the key already, an upload that is gone or must go.
 * See s3_multipart.c, which tells the whole way.
 */
#include "common/aws/request/errors.h"
#include "common/aws/s3/multipart_job.h"
#include "common/runtime/log.h"

#include <stdlib.h>
#include <string.h>

/* ---- complete ------------------------------------------------------------------------------------------------------------------------ */

/* The object is there; only its name for this content was not told. */
static void on_etag(struct job *job, int number, struct aws_answer *a)
{
    char etag[80];
    (void)number;
    if (a->rc == 0 && http_header(a->http, "etag", etag, sizeof etag)) {
        s3_plain_etag(etag, job->result.etag, sizeof job->result.etag);
    }
}

static void head(struct job *job, job_step step)
{
    struct aws_call *call = job_call_new(job, "HeadObject", "HEAD");
    if (call) {
        aws_call_header(call, "x-amz-checksum-mode", "ENABLED");
    }
    job_begin(job, call, 0, 0, step);
}

/* What lies there is this image: no more to do than to abort an upload that was begun for it. */
static void is_there(struct job *job, const char *etag)
{
    log_info("upload_was_there", "path=%s reason=\"an earlier completion had arrived; size and content are the same\"", job->place.path);
    (void)snprintf(job->result.etag, sizeof job->result.etag, "%s", etag);
    job->must_abort = job->upload_id[0] != '\0';
    job->is_ours_there = true;
}

/* Before gigabytes are sent: is it there already? Whoever may not look, or gets no clear answer, finds out at the end. */
static void on_first(struct job *job, int number, struct aws_answer *a)
{
    struct err why = {0};
    char etag[80];
    bool encrypted = true;
    (void)number;
    enum s3_found found = a->rc == 0 ? s3_found_judge(job->client, a->http, job->bytes, job->crc32c, etag, &encrypted) : FOUND_UNCLEAR;
    if (found == FOUND_OURS && encrypted) {
        is_there(job, etag);
    } else if (found == FOUND_OTHER) {
        job_fail(job, s3_found_other("HeadObject", job->place.path, false, &why), &why);
    } else {
        job_create(job);
    }
}

void job_look_first(struct job *job)
{
    head(job, on_first);
}

/* Something lies under the key. */
static void on_taken(struct job *job, int number, struct aws_answer *a)
{
    struct err why = {0};
    char etag[80];
    char made[80];
    bool encrypted = true;
    (void)number;
    if (a->rc == ERR_AWS_DENIED && job->is_only_ours) {
        log_warning("upload_not_compared", "path=%s reason=\"%s\" effect=\"the object there is overwritten by this instance's\" remedy=\"allow s3:GetObject\"",
                    job->place.path, a->why.text);
        job->overwrites = true; /* advance() completes once more */
        return;
    }
    if (a->rc != 0) {
        s3_explain_look(job->place.path, a);
        job_fail(job, a->rc == ERR_AWS_NOT_FOUND ? ERR_AWS_CONFLICT : a->rc, &a->why);
        return;
    }
    enum s3_found found = s3_found_judge(job->client, a->http, job->bytes, job->crc32c, etag, &encrypted);
    if (found == FOUND_UNCLEAR) { /* an ETag of the same parts says as much as a checksum */
        multipart_etag(job->parts, job->plan.count, made);
        found = strcmp(etag, made) == 0 ? FOUND_OURS : FOUND_UNCLEAR;
    }
    job->must_abort = true;
    if (found != FOUND_OURS) {
        job_fail(job, s3_found_other("CompleteMultipartUpload", job->place.path, found != FOUND_OTHER, &why), &why);
        return;
    }
    if (!encrypted) {
        job_fail(job, s3_check_encryption(job->client, "HeadObject", a->http, &why), &why);
        return;
    }
    is_there(job, etag);
}

static void on_complete(struct job *job, int number, struct aws_answer *a)
{
    struct multipart_completed said;
    struct err why = {0};
    int rc = a->rc;
    (void)number;
    (void)snprintf(job->result.request_id, sizeof job->result.request_id, "%s", a->request_id);
    if (rc == 0) {
        rc = multipart_completed_read(a->http->body, a->http->body_bytes, &said, &why);
        if (rc != 0) {
            job_fail(job, rc, &why);
            return;
        }
        if (!said.error.code[0]) {
            if (said.has_crc32c && said.crc32c != job->crc32c) {
                job_fail(job, err_set(&why, ERR_AWS_CHECKSUM, 0, "S3 CompleteMultipartUpload: answered with another checksum than was received (request %s)",
                                  a->request_id), &why);
                return;
            }
            (void)snprintf(job->result.etag, sizeof job->result.etag, "%s", said.etag);
            job->has_ended = true;
            if (!said.etag[0]) {
                head(job, on_etag);
            }
            return;
        }
        (void)snprintf(a->code, sizeof a->code, "%s", said.error.code);
        a->rc = aws_error_code(a->http->status, said.error.code);
        (void)err_set(&a->why, a->rc, 0, "S3 CompleteMultipartUpload: 200, and then %s: %.150s (request %s)", said.error.code, said.error.message,
                      a->request_id);
    }
    if (s3_is_taken(a) && !job->overwrites) {
        head(job, on_taken);
        return;
    }
    s3_explain(job->client, a);
    bool is_conflict = strcmp(a->code, "ConditionalRequestConflict") == 0;
    (void)job_has_failed(job, a);
    job->must_abort = !job->is_gone && (a->rc == ERR_AWS_CHECKSUM || a->rc == ERR_AWS_NO_UPLOAD || is_conflict);
}

void job_complete(struct job *job)
{
    struct err why = {0};
    char crc[12];
    if (job->whole_crc32c != job->crc32c) {
        job_fail(job, err_set(&why, ERR_SPOOL_DAMAGED, 0, "the spool file has another CRC-32C than was received"), &why);
        return;
    }
    int rc = job->result.sha256[0] ? 0 : s3_hash_hex(job->whole, job->result.sha256, &why);
    if (rc != 0) {
        job_fail(job, rc, &why);
        return;
    }
    struct aws_call *call = job_call_new(job, "CompleteMultipartUpload", "POST");
    if (call) {
        s3_crc_text(job->crc32c, crc);
        rc = job_add_upload(job, call);
        aws_call_header(call, "content-type", "application/xml");
        aws_call_header(call, "x-amz-checksum-crc32c", "%s", crc);
        aws_call_header(call, "x-amz-checksum-type", "FULL_OBJECT");
        aws_call_header_text(call, "if-none-match", job->client->s3.if_none_match && !job->overwrites ? "*" : "");
        call->body = multipart_list_write(job->parts, job->plan.count, &call->body_bytes);
        if (call->body) {
            sigv4_sha256_hex(call->body, call->body_bytes, call->payload_hash);
        } else {
            rc = ERR_MEMORY;
        }
    }
    job_begin(job, call, rc, 0, on_complete);
}

/* ---- the upload is gone, or must go ---------------------------------------------------------------------------------------------------- */

int job_restart(struct job *job, struct err *e)
{
    memset(job->parts, 0, (size_t)job->plan.count * sizeof *job->parts);
    job->upload_id[0] = '\0';
    job->next = 1;
    job->whole_crc32c = 0;
    job->result.kept_count = 0;
    job->is_sending = false;
    return EVP_DigestInit_ex(job->whole, EVP_sha256(), NULL) == 1 ? 0 : err_set(e, ERR_MEMORY, 0, "SHA-256");
}

static void on_head(struct job *job, int number, struct aws_answer *a)
{
    char text[80];
    uint32_t crc;
    struct err why = {0};
    (void)number;
    if (a->rc != 0 && a->rc != ERR_AWS_NOT_FOUND && a->rc != ERR_AWS_DENIED) { /* nobody knows: the next attempt asks again */
        job_fail(job, a->rc, &a->why);
        return;
    }
    if (a->rc == 0 && http_header(a->http, "x-amz-checksum-crc32c", text, sizeof text) && s3_crc_read(text, &crc) && crc == job->crc32c &&
        http_header(a->http, "content-length", text, sizeof text) && strtoll(text, NULL, 10) == job->bytes) {
        (void)http_header(a->http, "etag", text, sizeof text);
        s3_plain_etag(text, job->result.etag, sizeof job->result.etag);
        (void)snprintf(job->result.request_id, sizeof job->result.request_id, "%s", a->request_id);
        job->has_ended = true;
        return;
    }
    job_keep(job, "");
    if (job->result.rc == 0 && job->was_restarted) {
        job_fail(job, err_set(&why, ERR_AWS_NO_UPLOAD, 0, "S3 has lost the multipart upload twice in one attempt"), &why);
    }
    int rc = job_restart(job, &why);
    if (rc != 0) {
        job_fail(job, rc, &why);
    }
    job->was_restarted = true;
    if (job->result.rc == 0) {
        job_create(job);
    }
}

static void on_abort(struct job *job, int number, struct aws_answer *a)
{
    (void)number;
    if (a->rc == 0 || a->rc == ERR_AWS_NO_UPLOAD) {
        job_keep(job, ""); /* the error that led here stays the one that is told */
    }
}

void job_abort(struct job *job)
{
    struct aws_call *call = job_call_new(job, "AbortMultipartUpload", "DELETE");
    int rc = job_add_upload(job, call);
    job_begin(job, call, call ? rc : 0, 0, on_abort);
}

void job_look_for_object(struct job *job)
{
    head(job, on_head);
}
