/*
 * prefix - before a batch's job is started, nothing lies below its prefix but what the job shall import: HealthImaging imports every object
 * there. What may be too much is an object whose upload did not count: S3 stored it, the answer was lost, and later the instance failed or a
 * person retried it into another batch or dropped it. It would be imported although its row says otherwise, and a retry would import it twice.
 *
 * Looked for only when instances have left the batch: only then can there be one. An object that is the last copy of an image (the spool
 * file is lost) is left where it is: an image that is imported unexpectedly is better than one that is nowhere; the results say so then.
 * What lies there and was never ours is left alone; the results count it.
 */
#include "common/aws/s3/s3.h"
#include "common/runtime/log.h"
#include "common/spool/spool.h"
#include "importer/importer.h"
#include "importer/results.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STRAYS_MAX = 256 }; /* of one listing; more are found by the next */

struct strays {
    struct importer *m;
    const struct state_batch *b;
    struct err *e;
    char keys[STRAYS_MAX][STATE_KEY_SIZE];
    size_t count;
};

static bool has_spool_file(const struct importer *m, const char *id)
{
    int fd = spool_open(config_home(m->config), id, NULL);
    if (fd >= 0) {
        (void)close(fd);
    }
    return fd != ERR_SPOOL_MISSING; /* in doubt there is one */
}

static int look_at(void *ctx, const char *key, int64_t bytes)
{
    struct strays *s = ctx;
    char id[STATE_ID_SIZE];
    (void)bytes;
    if (!results_instance_of(key, s->b->id, id) || strlen(key) >= sizeof s->keys[0]) {
        return 0;
    }
    int member = state_batch_member(s->m->state, s->b, id, s->e);
    if (member < 0 || member == MEMBER_UPLOADED) {
        return member < 0 ? member : 0;
    }
    if (member == MEMBER_UNKNOWN || (member == MEMBER_LEFT && !has_spool_file(s->m, id))) {
        log_warning("object_left", "batch=%s instance=%s reason=\"%s\" effect=\"the job will import it\"", s->b->id, id,
                    member == MEMBER_UNKNOWN ? "there is no row of it" : "its spool file is lost: this is the last copy of the image");
        return 0;
    }
    (void)snprintf(s->keys[s->count++], sizeof s->keys[0], "%s", key);
    return s->count == STRAYS_MAX ? 1 : 0;
}

int importer_clear_prefix(struct importer *m, const struct state_batch *b, const char *input_uri, struct err *e)
{
    char bucket[64];
    char folder[1025];
    struct strays *s = calloc(1, sizeof *s);
    int rc = s ? s3_uri_split(input_uri, bucket, sizeof bucket, folder, sizeof folder) : ERR_MEMORY;
    if (rc != 0) {
        free(s);
        return err_set(e, rc, 0, "cannot look what lies below %.200s", input_uri);
    }
    s->m = m;
    s->b = b;
    s->e = e;
    do {
        s->count = 0;
        rc = s3_list(m->aws, bucket, folder, look_at, s, e);
        bool more = rc == 1;
        rc = rc > 0 ? 0 : rc;
        for (size_t i = 0; rc == 0 && i < s->count; i++) {
            rc = s3_delete(m->aws, bucket, s->keys[i], e);
            if (rc == 0) {
                log_warning("object_deleted", "batch=%s key=%s reason=\"its instance is not in this batch any more; the job would have imported it\"", b->id,
                            s->keys[i]);
            }
        }
        if (!more) {
            break;
        }
    } while (rc == 0);
    free(s);
    if (rc == ERR_AWS_DENIED && b->held_left > 0) { /* a person said that it must not be imported */
        return err_set(e, ERR_AWS_CONFLICT, 0, "%lld held instances left this batch, and their objects cannot be removed: allow s3:ListBucket and s3:DeleteObject "
                       "for the images' prefix", (long long)b->held_left);
    }
    if (rc == ERR_AWS_DENIED) { /* healthy images do not wait for a right that hardly ever matters; the results tell what happened */
        log_warning("prefix_not_looked_at", "batch=%s reason=\"%s\" effect=\"the job is started all the same; an object of an instance that failed may be "
                    "imported\" remedy=\"grant s3:ListBucket and s3:DeleteObject for the images' prefix\"", b->id, e->text);
        return 0;
    }
    return rc;
}
