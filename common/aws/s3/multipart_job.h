/*
 * multipart_job - one file on its way in parts, as s3_multipart.c (create, list, parts) and s3_multipart_end.c (completion, what lies there already, uploads
 * that are gone or must go) share it. Only these two include it.
 *
 * Every answer leads to a step; after each step job_advance() looks what is next and ends the job when nothing is. A step begins calls or sets what the
 * job has become; it never frees it.
 */
#ifndef STORESCP_AWS_MULTIPART_JOB_H
#define STORESCP_AWS_MULTIPART_JOB_H

#include "common/aws/internal.h"
#include "common/aws/s3/multipart.h"

#include <openssl/evp.h>

struct job {
    struct aws_client *client;
    s3_put_done done;
    s3_multipart_keep keep;
    void (*progress)(void *ctx);
    void *ctx;
    int fd, parallel;
    int64_t bytes;
    uint32_t crc32c, whole_crc32c;
    EVP_MD_CTX *whole;
    struct endpoint_place place;
    char upload_id[S3_UPLOAD_ID_SIZE];
    struct multipart_plan plan;
    struct multipart_part *parts;
    struct s3_hash hash;
    int next;    /* the part to be hashed next, or being hashed */
    int pending; /* calls under way, and the hash */
    bool is_hashing, is_sending; /* sending: the upload exists, parts may go */
    bool is_gone;                /* NoSuchUpload */
    bool was_restarted, must_abort, has_ended, is_ours_there;
    bool is_only_ours, overwrites; /* overwrites: nobody else writes under this key, and we may not look what lies there */
    int64_t began_ms;
    struct s3_put_result result;
};

typedef void (*job_step)(struct job *job, int number, struct aws_answer *a);

/* ---- s3_multipart.c */
/* The first error stays. */
void job_fail(struct job *job, int rc, const struct err *why);
/* An answer that is an error. True if it was one. */
bool job_has_failed(struct job *job, const struct aws_answer *a);
struct aws_call *job_call_new(struct job *job, const char *operation, const char *method);
/* rc: of preparing the call. Takes it. */
void job_begin(struct job *job, struct aws_call *call, int rc, int number, job_step step);
int job_add_upload(struct job *job, struct aws_call *call);
void job_keep(struct job *job, const char *upload_id);
void job_create(struct job *job);

/* ---- s3_multipart_end.c */
/* Looks whether the object is there already; else creates the upload. */
void job_look_first(struct job *job);
void job_complete(struct job *job);
/* The upload is gone: is its object there? Else from the beginning. */
void job_look_for_object(struct job *job);
void job_abort(struct job *job);
int job_restart(struct job *job, struct err *e);

#endif
