/*
 * published_calls HOME FILE - for tests/pipeline/published_model_test.py: makes every request to S3, HealthImaging and STS that the product knows, each by
 * the function that the stages call, with the settings of HOME. FILE has more than 11 MiB. One line for each step: its name and the error's code.
 * Exits 0 whatever AWS answered: what counts is what went over the wire.
 */
#include "common/aws/inspect.h"
#include "common/aws/medical_imaging.h"
#include "common/aws/s3/s3.h"
#include "common/runtime/crc32c.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PART = 5 << 20, PIECE = 1 << 16, TURNS = 600 };

static const char key[] = "storescp/published/i 1+.dcm"; /* what has to be encoded in a path */
static char upload_id[S3_UPLOAD_ID_SIZE];

static void told(const char *step, int rc, const struct err *e)
{
    (void)printf("%s %s %s\n", step, err_name(rc), rc ? e->text : "");
    (void)fflush(stdout);
}

static int keep(void *ctx, const char *id, struct err *e)
{
    (void)ctx;
    (void)e;
    (void)snprintf(upload_id, sizeof upload_id, "%s", id);
    return 0;
}

static void on_done(void *ctx, const struct s3_put_result *result)
{
    *(struct s3_put_result *)ctx = *result;
    ((struct s3_put_result *)ctx)->transfer_ms = -1; /* ended */
}

static void wait_for(struct aws_client *c, const char *step, int rc, struct s3_put_result *result, struct err *e)
{
    for (int i = 0; rc == 0 && result->transfer_ms != -1 && i < TURNS; i++) {
        (void)aws_client_run(c, 100, NULL, 0);
    }
    told(step, rc ? rc : result->rc, rc ? e : &result->why);
}

static int one_key(void *ctx, const char *name, int64_t bytes)
{
    (void)ctx;
    (void)name;
    (void)bytes;
    return 0;
}

static int one_job(void *ctx, const struct ahi_job *job)
{
    (void)ctx;
    (void)job;
    return 0;
}

static void put_and_read(struct aws_client *c, const struct s3_put *put)
{
    struct s3_put_result result = {0};
    struct s3_head head;
    struct err e = {0};
    char *body = NULL;
    size_t size = 0;
    wait_for(c, "put", s3_put_begin(c, put, on_done, &result, &e), &result, &e);
    told("head", s3_head(c, NULL, key, &head, &e), &e);
    int rc = s3_get(c, NULL, key, 1, 100, &body, &size, &e);
    told("get", rc, &e);
    free(rc == 0 ? body : NULL);
    told("list", s3_list(c, NULL, "storescp/published/", one_key, NULL, &e), &e);
    told("delete", s3_delete(c, NULL, key, &e), &e);
}

static void in_parts(struct aws_client *c, const struct s3_put *put)
{
    struct s3_put_result result = {0};
    struct err e = {0};
    struct s3_multipart m = {.put = *put, .part_bytes = PART, .parallel = 2, .keep = keep};
    wait_for(c, "parts", s3_multipart_begin(c, &m, on_done, &result, &e), &result, &e); /* the test lets a part fail */
    m.upload_id = upload_id;
    memset(&result, 0, sizeof result);
    wait_for(c, "resumed", s3_multipart_begin(c, &m, on_done, &result, &e), &result, &e);
    told("parts_begin", s3_parts_begin(c, NULL, "storescp/published/given-up", upload_id, &e), &e);
    told("parts_look", s3_parts_look(c, NULL, "storescp/published/given-up", upload_id, &e), &e);
    told("abort", s3_multipart_abort(c, NULL, "storescp/published/given-up", upload_id, &e), &e);
}

static void import(struct aws_client *c, const struct config *config)
{
    struct ahi_job job = {.job_id = ""};
    struct err e = {0};
    char status[24];
    const char *datastore = config_text(config, CFG_DATASTORE_ID);
    char in[200];
    char out[200];
    (void)snprintf(in, sizeof in, "s3://%s/storescp/published/", config_text(config, CFG_DICOM_BUCKET));
    (void)snprintf(out, sizeof out, "s3://%s/storescp-results/", config_text(config, CFG_DICOM_BUCKET));
    struct ahi_start start = {datastore, "published-0", "storescp/published", config_text(config, CFG_DATA_ACCESS_ROLE_ARN), in, out};
    told("start", ahi_start_job(c, &start, &job, &e), &e);
    told("job", ahi_get_job(c, datastore, job.job_id, &job, &e), &e);
    told("jobs", ahi_each_job(c, datastore, "IN_PROGRESS", one_job, NULL, &e), &e);
    told("datastore", ahi_datastore_status(c, datastore, status, &e), &e);
    told("no_job", ahi_get_job(c, datastore, "0123456789abcdef", &job, &e), &e);
}

static void look(struct aws_client *c)
{
    struct aws_identity identity;
    struct s3_encryption encryption;
    struct err e = {0};
    char region[48];
    told("identity", aws_caller_identity(c, &identity, &e), &e);
    told("bucket", s3_bucket_look(c, NULL, NULL, region, &e), &e);
    told("encryption", s3_bucket_encryption(c, NULL, &encryption, &e), &e);
}

static int checksum(int fd, int64_t *bytes, uint32_t *crc)
{
    char piece[PIECE];
    struct stat info;
    *crc = 0;
    if (fd == -1 || fstat(fd, &info) != 0) {
        return -1;
    }
    *bytes = info.st_size;
    for (int64_t at = 0; at < *bytes;) {
        ssize_t n = pread(fd, piece, sizeof piece, at);
        if (n <= 0) {
            return -1;
        }
        *crc = crc32c_update(*crc, piece, (size_t)n);
        at += n;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct config *config = NULL;
    struct aws_client *c = NULL;
    struct err e = {0};
    if (argc != 3) {
        return 2;
    }
    int fd = open(argv[2], O_RDONLY | O_CLOEXEC);
    struct s3_put put = {.key = key, .fd = fd};
    if (checksum(fd, &put.bytes, &put.crc32c) != 0 || config_load(&config, argv[1], &e) != 0 || aws_client_open(&c, config, &e) != 0) {
        (void)fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    look(c);
    put_and_read(c, &put);
    in_parts(c, &put);
    import(c, config);
    aws_client_close(&c);
    config_free(&config);
    (void)close(fd);
    return 0;
}
