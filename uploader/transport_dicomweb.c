/*
 * transport_dicomweb - a store request for each instance (common/aws/dicomweb/stow.h); its end is 'stored'.
 *
 * One instance in each request: several would share one verdict and one length of waiting, and gain nothing (Orthanc 1.10, one connection, 300 kB: 113 a second
 * one by one, 123 with twenty in a request; upload_concurrency requests run side by side anyway).
 *
 * HealthImaging makes a second version of what comes twice. Whether an instance may have been sent before, by this process or by one that died, is told by its
 * claim (state_may_have_been_sent()): no write before the transfer is needed. Such an instance is looked for first (a query), and what is there is not sent
 * again. Elsewhere a repeat changes nothing and is just sent.
 *
 * Failure reasons: out of resources pauses the destination; what the server cannot use fails the instance. A general failure (0110H), or none that is told,
 * may be either: Orthanc with a full disk says it of every image. So it pauses the destination as an outage does, until others pass and this one does not
 * (breaker.h); then it is tried dicomweb_attempts times by itself, with growing delays, and fails. A duplicate that we may have sent ourselves counts as stored.
 */
#include "common/aws/dicomweb/stow.h"
#include "uploader/transport.h"

#include <stdio.h>
#include <string.h>

static struct stow_put put_of(const struct item *item)
{
    const struct state_instance *c = &item->claim;
    return (struct stow_put){.sop_instance_uid = c->r.sop_instance_uid,
                             .study_uid = c->study_uid,
                             .series_uid = c->series_uid,
                             .fd = item->fd,
                             .bytes = c->r.file_bytes};
}

static void on_end(void *ctx, const struct stow_result *r)
{
    struct item *item = ctx;
    struct s3_put_result *to = &item->result;
    to->rc = r->rc;
    to->why = r->why;
    to->hash_ms = r->hash_ms;
    to->transfer_ms = r->transfer_ms;
    to->first_failed_ms = r->first_failed_ms;
    (void)snprintf(to->sha256, sizeof to->sha256, "%s", r->sha256);
    (void)snprintf(to->request_id, sizeof to->request_id, "%s", r->request_id);
    item->was_there = r->was_there;
    item->verdict = r->verdict;
    upload_item_ended(item);
}

static int begin(struct upload *u, struct item *item, struct err *e)
{
    struct stow_put put = put_of(item);
    put.look_first = stow_counts_repeats(u->config) && state_may_have_been_sent(&item->claim);
    return stow_put_begin(u->aws, &put, on_end, item, e);
}

/* What the server itself has refused is refused: the instance that it has may be another one of the same UID. What is our own trouble, such as a lost spool
 * file, and a duplicate that can be our own may have arrived before. */
static int look(struct upload *u, struct item *item, struct err *why)
{
    struct stow_put put = put_of(item);
    struct err e = {0};
    bool found = false;
    bool is_ours = why->code == ERR_SPOOL_MISSING || why->code == ERR_SPOOL_DAMAGED || why->code == ERR_STORE_EXISTS;
    if (!state_may_have_been_sent(&item->claim) || !is_ours) {
        return 0;
    }
    int rc = stow_find(u->aws, &put, &found, &e);
    if (rc != 0) {
        *why = e;
        return rc;
    }
    item->was_there = found;
    return found;
}

static int judge(const struct upload *u, const struct item *item, struct err *why)
{
    long long most = config_int(u->config, CFG_DICOMWEB_ATTEMPTS);
    if (why->code == ERR_STORE_FAILED && item->claim.attempts + 1 >= most && breaker_blames(&u->breaker, item->claim.r.id, item->result.first_failed_ms)) {
        struct err last = *why;
        (void)err_set(why, ERR_STORE_REFUSED, 0, "%.250s; attempt %d of %lld", last.text, item->claim.attempts + 1, most);
    }
    return why->code;
}

static void evidence(const struct upload *u, const struct item *item, struct state_uploaded *out)
{
    const struct stow_verdict *v = &item->verdict;
    (void)u;
    (void)snprintf(out->location, sizeof out->location, "%s", v->retrieve_url);
    if (item->was_there) {
        (void)snprintf(out->warning, sizeof out->warning, "found at the server by its SOP Instance UID; the answer to its transfer was lost");
    } else if (v->warning != 0) {
        const char *words = stow_reason_words(v->warning);
        (void)snprintf(out->warning, sizeof out->warning, "server's warning %04XH%s%s", (unsigned)v->warning, words[0] ? ", " : "", words);
    }
}

static const char *remedy(int code)
{
    switch (code) {
    case ERR_STORE_REFUSED:
        return "find out from the server why it does not take this image (its log, its conformance statement), correct that, then storescpctl retry ID; "
               "the spool file is kept";
    case ERR_STORE_EXISTS:
        return "the server has another image with this SOP Instance UID and keeps it: compare both; remove it there, then storescpctl retry ID, or "
               "storescpctl drop ID";
    case ERR_TOO_LARGE:
        return "HealthImaging's store request takes 1 GB: send such images to a destination of the kind healthimaging";
    default:
        return NULL;
    }
}

const struct transport transport_dicomweb = {.service = "the DICOMweb server",
                                             .event = "stored",
                                             .begin = begin,
                                             .look = look,
                                             .judge = judge,
                                             .evidence = evidence,
                                             .remedy = remedy};
