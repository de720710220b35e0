/* array_cloud - a cloud made of arrays, in the place of control/rebuild/cloud.c: what rebuild asks (control/rebuild/rebuild.h). For one test program. */
#ifndef STORESCP_TESTS_ARRAY_CLOUD_H
#define STORESCP_TESTS_ARRAY_CLOUD_H

#include "common/runtime/runtime.h"
#include "control/rebuild/rebuild.h"
#include "tests/unit/stored_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define FIRST_STORE "12345678901234567890123456789012"

enum { OBJECTS_MAX = 32, JOBS_MAX = 16 };
static struct {
    struct {
        char key[200];
        char bucket[64]; /* "": in */
        struct bytes content;
    } objects[OBJECTS_MAX];
    size_t object_count;
    struct cloud_job listed[JOBS_MAX], folders[JOBS_MAX];
    const char *stores[JOBS_MAX]; /* that list the jobs; NULL: the first one */
    const char *texts[JOBS_MAX]; /* results of folders[i]; NULL: gone */
    size_t listed_count, folder_count;
    int fail_after; /* objects until the listing breaks off; -1: never */
    int opened;
} aws;

struct cloud {
    char bucket[64], store[40];
};

int cloud_open(struct cloud **out, const struct config *c, struct err *e)
{
    (void)e;
    aws.opened++;
    *out = calloc(1, sizeof **out);
    assert_non_null(*out);
    (void)snprintf((*out)->bucket, sizeof (*out)->bucket, "%s", config_text(c, CFG_DICOM_BUCKET));
    (void)snprintf((*out)->store, sizeof (*out)->store, "%s", config_text(c, CFG_DATASTORE_ID));
    return 0;
}

void cloud_close(struct cloud **c)
{
    free(*c);
    *c = NULL;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(a, b); /* the key is the first member */
}

int cloud_each_object(struct cloud *c, int (*each)(void *ctx, const char *key, int64_t bytes), void *ctx, struct err *e)
{
    int rc = 0;
    qsort(aws.objects, aws.object_count, sizeof aws.objects[0], by_key);
    for (size_t i = 0; rc == 0 && i < aws.object_count; i++) {
        if (aws.fail_after == (int)i) {
            return err_set(e, ERR_NETWORK, 0, "the network is gone");
        }
        bool is_here = strcmp(aws.objects[i].bucket[0] ? aws.objects[i].bucket : "in", c->bucket) == 0;
        rc = is_here ? each(ctx, aws.objects[i].key, (int64_t)aws.objects[i].content.count) : 0;
    }
    return rc;
}

int cloud_each_job(struct cloud *c, int (*each)(void *ctx, const struct cloud_job *job), void *ctx, struct err *e)
{
    int rc = 0;
    (void)e;
    for (size_t i = 0; rc == 0 && i < aws.listed_count; i++) {
        rc = strcmp(aws.stores[i] ? aws.stores[i] : FIRST_STORE, c->store) == 0 ? each(ctx, &aws.listed[i]) : 0;
    }
    return rc;
}

int cloud_each_result(struct cloud *c, int (*each)(void *ctx, const struct cloud_job *job), void *ctx, struct err *e)
{
    int rc = 0;
    (void)c;
    (void)e;
    for (size_t i = 0; rc == 0 && i < aws.folder_count; i++) {
        rc = each(ctx, &aws.folders[i]);
    }
    return rc;
}

static const struct bytes *object(const char *key)
{
    for (size_t i = 0; i < aws.object_count; i++) {
        if (strcmp(aws.objects[i].key, key) == 0) {
            return &aws.objects[i].content;
        }
    }
    return NULL;
}

int cloud_object_look(struct cloud *c, const char *key, struct cloud_object *out, struct err *e)
{
    const struct bytes *content = object(key);
    (void)c;
    if (!content) {
        return err_set(e, ERR_AWS_NOT_FOUND, 0, "no such key");
    }
    (void)snprintf(out->etag, sizeof out->etag, "etag");
    out->has_crc32c = true;
    out->crc32c = crc32c_update(0, content->at, content->count);
    return 0;
}

int cloud_object_head(struct cloud *c, const char *key, int fd, struct err *e)
{
    const struct bytes *content = object(key);
    (void)c;
    return content ? write_all(fd, content->at, content->count < CLOUD_HEAD_BYTES ? content->count : CLOUD_HEAD_BYTES, e) : ERR_AWS_NOT_FOUND;
}

int cloud_results_count(struct cloud *c, const struct cloud_job *job, int64_t *scanned, struct err *e)
{
    (void)c;
    for (size_t i = 0; i < aws.folder_count; i++) {
        if (strcmp(aws.folders[i].job_id, job->job_id) == 0 && aws.texts[i]) {
            *scanned = 0;
            for (const char *p = strstr(aws.texts[i], ".dcm"); p; p = strstr(p + 1, ".dcm")) {
                (*scanned)++;
            }
            return 0;
        }
    }
    return err_set(e, ERR_AWS_NOT_FOUND, 0, "no manifest");
}

int cloud_results_text(struct cloud *c, const struct cloud_job *job, int (*each)(void *ctx, const char *text), void *ctx, struct err *e)
{
    (void)c;
    for (size_t i = 0; i < aws.folder_count; i++) {
        if (strcmp(aws.folders[i].job_id, job->job_id) == 0 && aws.texts[i]) {
            return each(ctx, aws.texts[i]);
        }
    }
    return err_set(e, ERR_AWS_NOT_FOUND, 0, "no results");
}

#endif
