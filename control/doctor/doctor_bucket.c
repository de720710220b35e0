/*
 * doctor_bucket - buckets, their encryption, and one small object that is put, read, listed and removed with the settings of real uploads. See doctor.h.
 *
 * The marker stands directly below s3_prefix, never below a batch's prefix: what lies there is imported. It is put in parts, too, but that upload is never
 * completed. What cannot be removed is named.
 */
#include "common/runtime/crc32c.h"
#include "common/runtime/runtime.h"
#include "control/doctor/doctor.h"

#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

static const char content[] = "written by storescpctl doctor, which removes it again\n";

/* HeadBucket answers without words: what a status means stands here. */
static void look_at(struct doctor *d, struct finding *f, const char *bucket, const char *setting, enum fact fact, char region[48])
{
    struct err e = {0};
    int rc = s3_bucket_look(d->client, bucket, NULL, region, &e);
    if (rc == ERR_AWS_NOT_FOUND) {
        finding_set(f, FOUND_FAILED, "there is no bucket %s (S3 HeadBucket: 404)", bucket);
        finding_advise(f, "make it, or correct %s", setting);
    } else if (rc == ERR_AWS_DENIED) {
        finding_set(f, FOUND_FAILED, "bucket %s: S3 HeadBucket is denied (403): it belongs to somebody else, or listing it is not allowed", bucket);
        finding_advise(f, "is %s right%s? Else allow this:", setting, config_text(d->config, CFG_S3_EXPECTED_OWNER)[0] ? ", and s3_expected_owner" : "");
        f->missing = MAY_LIST;
    } else if (rc != 0) {
        finding_of_error(f, FOUND_FAILED, &e, MAY_LIST);
    } else {
        d->facts |= fact;
        finding_set(f, FOUND_FINE, "%s is there%s%s", bucket, region[0] ? ", in " : "", region);
    }
    if ((rc == 0 || rc == ERR_AWS_REGION) && region[0] && strcmp(region, d->site.region) != 0) {
        finding_set(f, FOUND_FAILED, "bucket %s is in %s, aws_region is %s", bucket, region, d->site.region);
        finding_advise(f, "set aws_region = %s, or take a bucket of that region: HealthImaging reads from buckets of its own region", region);
    }
}

static void check_bucket(struct doctor *d, struct finding *f)
{
    const char *bucket = config_text(d->config, CFG_DICOM_BUCKET);
    if (!bucket[0]) {
        finding_set(f, FOUND_FAILED, "dicom_bucket is not set");
        finding_advise(f, "set dicom_bucket to the name of a bucket in %s", d->site.region);
        return;
    }
    look_at(d, f, bucket, "dicom_bucket", FACT_BUCKET, d->bucket_region);
}

/* The same question once more, with the owner that we expect. */
static void check_owner(struct doctor *d, struct finding *f)
{
    char region[48];
    struct err e = {0};
    const char *expected = config_text(d->config, CFG_S3_EXPECTED_OWNER);
    if (expected[0]) { /* every request asks for it: the one before, too */
        finding_set(f, FOUND_FINE, "%s belongs to account %s, as s3_expected_owner says", config_text(d->config, CFG_DICOM_BUCKET), expected);
        return;
    }
    if (!d->identity.account[0]) {
        finding_set(f, FOUND_NOT_CHECKED, "our own account is not known");
        return;
    }
    int rc = s3_bucket_look(d->client, NULL, d->identity.account, region, &e);
    if (rc == ERR_AWS_DENIED) {
        finding_set(f, FOUND_WARNING, "bucket %s does not belong to account %s, to which the credentials belong", config_text(d->config, CFG_DICOM_BUCKET),
                    d->identity.account);
        finding_advise(f, "if that is not meant, anybody may read the images: correct dicom_bucket; if it is, set s3_expected_owner to the owner's account");
    } else if (rc != 0) {
        finding_of_error(f, FOUND_WARNING, &e, NO_PERMISSION);
    } else {
        finding_set(f, FOUND_FINE, "%s belongs to account %s, as the credentials do", config_text(d->config, CFG_DICOM_BUCKET), d->identity.account);
    }
}

void doctor_note_key(struct doctor *d, const struct s3_encryption *told)
{
    const char *wish = config_text(d->config, CFG_S3_ENCRYPTION);
    bool by_us = strcmp(wish, "none") != 0;
    const char *algorithm = by_us ? wish : told->algorithm;
    const char *key = by_us ? config_text(d->config, CFG_S3_KMS_KEY) : told->key;
    if (strncasecmp(algorithm, "aws:kms", 7) == 0) { /* a policy names a key by its ARN only */
        (void)snprintf(d->kms_key, sizeof d->kms_key, "%.390s", strncmp(key, "arn:", 4) == 0 ? key : "KMS_KEY_ARN");
    }
}

static void check_encryption(struct doctor *d, struct finding *f)
{
    struct s3_encryption told;
    struct err e = {0};
    int rc = s3_bucket_encryption(d->client, NULL, &told, &e);
    if (rc == ERR_AWS_DENIED) {
        finding_set(f, FOUND_NOT_CHECKED, "%s", e.text);
        finding_advise(f, "images are uploaded without this permission, too; to see here how the bucket encrypts, allow this:");
        f->missing = MAY_SEE_ENCRYPTION;
        return;
    }
    if (rc != 0) {
        finding_of_error(f, FOUND_NOT_CHECKED, &e, NO_PERMISSION);
        return;
    }
    doctor_note_key(d, &told);
    const char *wish = config_text(d->config, CFG_S3_ENCRYPTION);
    bool by_us = strcmp(wish, "none") != 0;
    const char *key = config_text(d->config, CFG_S3_KMS_KEY);
    finding_set(f, FOUND_FINE, "the bucket encrypts by default with %s%s%s%s%s%s%s%s", told.algorithm, told.key[0] ? ", key " : "", told.key,
                by_us ? "; images are asked to be encrypted with " : "", by_us ? wish : "", by_us && key[0] ? ", key " : "", by_us ? key : "",
                d->kms_key[0] ? "; credentials and role need that key (`storescpctl doctor --policy`)" : "");
    if (strcasecmp(wish, "AES256") == 0 && strncmp(told.algorithm, "aws:kms", 7) == 0) {
        f->found = FOUND_WARNING;
        finding_advise(f, "s3_encryption = AES256 is less than the bucket asks for: set it to none, unless that is meant");
    }
}

static void check_output(struct doctor *d, struct finding *f)
{
    char region[48];
    if (strcmp(config_output_bucket(d->config), config_text(d->config, CFG_DICOM_BUCKET)) == 0) {
        d->facts |= FACT_OUTPUT;
        finding_set(f, FOUND_FINE, "results go to the same bucket, below %s/", config_text(d->config, CFG_OUTPUT_PREFIX));
        return;
    }
    look_at(d, f, config_output_bucket(d->config), "output_bucket", FACT_OUTPUT, region);
}

/* ---- the marker ------------------------------------------------------------------------------------------------------------------- */

struct transfer {
    bool ended;
    struct s3_put_result result;
};

static void on_end(void *ctx, const struct s3_put_result *result)
{
    struct transfer *t = ctx;
    t->ended = true;
    t->result = *result;
}

/* A nameless file with the marker's content; -1: none. */
static int open_content(void)
{
    int fd = memfd_create("storescp-doctor", MFD_CLOEXEC);
    if (fd != -1 && write(fd, content, sizeof content - 1) != (ssize_t)(sizeof content - 1)) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

static int put(struct doctor *d, int fd, struct err *e)
{
    struct transfer t = {0};
    struct s3_put put = {.key = d->marker, .fd = fd, .bytes = sizeof content - 1, .crc32c = crc32c_update(0, content, sizeof content - 1)};
    int rc = s3_put_begin(d->client, &put, on_end, &t, e);
    while (rc == 0 && !t.ended) { /* every request has its limit */
        (void)aws_client_run(d->client, 100, NULL, 0);
    }
    if (rc == 0 && t.result.rc != 0) {
        *e = t.result.why;
        rc = t.result.rc;
    }
    return rc;
}

static void check_put(struct doctor *d, struct finding *f)
{
    struct err e = {0};
    char id[27];
    id_new(id);
    (void)snprintf(d->marker, sizeof d->marker, "%s/doctor-%s", config_text(d->config, CFG_S3_PREFIX), id);
    int fd = open_content();
    int rc = fd == -1 ? err_set(&e, ERR_MEMORY, 0, "no memory for the marker") : put(d, fd, &e);
    if (fd != -1) {
        (void)close(fd);
    }
    if (rc != 0) {
        finding_of_error(f, FOUND_FAILED, &e, strstr(e.text, "PutObjectTagging") ? MAY_TAG : MAY_PUT);
        return;
    }
    d->facts |= FACT_MARKER;
    finding_set(f, FOUND_FINE, "%s was put, S3 has verified its checksum", d->marker);
}

static void check_get(struct doctor *d, struct finding *f)
{
    char *body = NULL;
    size_t size = 0;
    struct err e = {0};
    if (s3_get(d->client, NULL, d->marker, 0, 4096, &body, &size, &e) != 0) {
        finding_of_error(f, FOUND_WARNING, &e, MAY_GET);
        finding_advise(f, "without it an upload whose answer was lost cannot be recognised, and is sent again. Allow this:");
    } else if (size != sizeof content - 1 || memcmp(body, content, size) != 0) {
        finding_set(f, FOUND_FAILED, "%s reads differently than it was written", d->marker);
        finding_advise(f, "something between here and S3 changes contents: look at the proxy");
    } else {
        finding_set(f, FOUND_FINE, "it reads as it was written");
    }
    free(body);
}

static int on_key(void *ctx, const char *key, int64_t bytes)
{
    (void)bytes;
    return strcmp(key, ctx) == 0;
}

static void check_list(struct doctor *d, struct finding *f)
{
    struct err e = {0};
    int rc = s3_list(d->client, NULL, d->marker, on_key, d->marker, &e);
    if (rc < 0) {
        finding_of_error(f, FOUND_FAILED, &e, MAY_LIST);
        finding_advise(f, "`storescpctl rebuild` lists, and without this right S3 says 403 for what is not there. Allow this:");
    } else {
        finding_set(f, rc == 1 ? FOUND_FINE : FOUND_FAILED, rc == 1 ? "it is listed" : "the bucket can be listed, but %s is not there", d->marker);
    }
}

/* An upload in parts is begun, looked at and aborted. */
static void check_parts(struct doctor *d, struct finding *f)
{
    char upload_id[S3_UPLOAD_ID_SIZE];
    struct err e = {0};
    struct err stop = {0};
    int rc = s3_parts_begin(d->client, NULL, d->marker, upload_id, &e);
    if (rc != 0) {
        finding_of_error(f, FOUND_FAILED, &e, MAY_PUT);
        return;
    }
    rc = s3_parts_look(d->client, NULL, d->marker, upload_id, &e);
    int aborted = s3_multipart_abort(d->client, NULL, d->marker, upload_id, &stop);
    if (aborted != 0) {
        finding_of_error(f, FOUND_WARNING, &stop, MAY_ABORT);
        finding_advise(f, "an upload in parts of %s stays open, without parts (upload id %.60s); uploads that are given up would stay and cost. Allow this:",
                       d->marker, upload_id);
    } else if (rc != 0) {
        finding_of_error(f, FOUND_WARNING, &e, MAY_LIST_PARTS);
        finding_advise(f, "without it a large file whose upload broke off is sent again from its beginning. Allow this:");
    } else {
        finding_set(f, FOUND_FINE, "an upload in parts can be begun, looked at and aborted");
    }
}

static void check_delete(struct doctor *d, struct finding *f)
{
    struct err e = {0};
    if (s3_delete(d->client, NULL, d->marker, &e) != 0) {
        finding_of_error(f, FOUND_WARNING, &e, MAY_DELETE);
        finding_advise(f, "the object %s is left behind, remove it. Without the right the object of an image that failed meanwhile may be imported. Allow this:", d->marker);
        return;
    }
    finding_set(f, FOUND_FINE, "it is removed again");
}

/* A key that is not there: NoSuchKey only for those who may read it. */
static void check_results(struct doctor *d, struct finding *f)
{
    char key[300];
    char *body = NULL;
    size_t size = 0;
    struct err e = {0};
    (void)snprintf(key, sizeof key, "%s/doctor-asks-for-nothing", config_text(d->config, CFG_OUTPUT_PREFIX));
    int rc = s3_get(d->client, config_output_bucket(d->config), key, 0, 4096, &body, &size, &e);
    free(body);
    if (rc == 0 || rc == ERR_AWS_NOT_FOUND) {
        finding_set(f, FOUND_FINE, "results of import jobs can be read below s3://%s/%s/", config_output_bucket(d->config), config_text(d->config, CFG_OUTPUT_PREFIX));
        return;
    }
    finding_of_error(f, FOUND_FAILED, &e, MAY_GET_RESULTS);
}

#define NEED_S3 (FACT_CLIENT | FACT_S3 | FACT_KEYS)
const struct check doctor_bucket_checks[] = {
    {"bucket", OF_AWS, NEED_S3, check_bucket},
    {"owner", OF_AWS, NEED_S3 | FACT_BUCKET, check_owner},
    {"encryption", OF_AWS, NEED_S3 | FACT_BUCKET, check_encryption},
    {"put", OF_AWS, NEED_S3 | FACT_BUCKET, check_put},
    {"get", OF_AWS, NEED_S3 | FACT_BUCKET | FACT_MARKER, check_get},
    {"list", OF_AWS, NEED_S3 | FACT_BUCKET | FACT_MARKER, check_list},
    {"multipart", OF_AWS, NEED_S3 | FACT_BUCKET | FACT_MARKER, check_parts},
    {"delete", OF_AWS, NEED_S3 | FACT_BUCKET | FACT_MARKER, check_delete},
    {"output_bucket", OF_IMAGING, NEED_S3, check_output},
    {"results", OF_IMAGING, NEED_S3 | FACT_OUTPUT, check_results},
    {NULL, 0, 0, NULL},
};
