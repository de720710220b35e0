/* upload - see upload.h. */
#include "uploader/upload.h"
#include "common/aws/s3/s3_key.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "common/spool/spool.h"
#include "uploader/transport.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CLAIM_ROWS = 128,           /* in one commit */
    PROBE_CHOICE = 8,           /* the probe is drawn from so many: one bad instance must not be every probe */
    GROUP_ROWS = 64,            /* ends in one commit */
    GROUP_MS = 20,              /* or after this time */
    LOOK_MS = 20,               /* how often a worker with spare room looks for rows */
    TELL_MS = 10000,            /* a pause is told at most so often */
    RETRY_FIRST_MS = 1000,
    RETRY_LONGEST_MS = 600000
};
static const int64_t queue_bytes = 256 << 20; /* rows beyond what can begin at once are kept only up to this: others may have room now */

/* ---- claims given back ------------------------------------------------------------------------------------------------------ */

/* When even that fails they would be ours as long as we live: end, and the lock that drops frees them. */
static void give_back(struct upload *u, const struct state_instance *claims, size_t count)
{
    struct err e = {0};
    if (count > 0 && state_unclaim(u->state, claims, count, &e) != 0) {
        log_error("claims_stuck", "count=%zu reason=\"%s\" effect=\"this process ends; another one takes them\"", count, e.text);
        u->broken = true;
    }
}

void upload_give_back_queue(struct upload *u)
{
    struct state_instance claims[CLAIM_ROWS];
    while (u->queued > 0) {
        size_t count = 0;
        while (u->queued > 0 && count < CLAIM_ROWS) {
            struct item *item = &u->items[u->queue[u->queue_first]];
            u->queue_first = (u->queue_first + 1) % UPLOAD_ITEMS;
            u->queued--;
            u->queued_bytes -= item->claim.r.file_bytes;
            item->step = ITEM_FREE;
            claims[count++] = item->claim;
        }
        give_back(u, claims, count);
    }
}

void upload_abandon(struct upload *u)
{
    for (size_t i = 0; i < UPLOAD_ITEMS; i++) {
        struct item *item = &u->items[i];
        if (item->step == ITEM_SENDING) {
            (void)close(item->fd);
            give_back(u, &item->claim, 1);
            item->step = ITEM_FREE;
            u->sending--;
        }
    }
}

/* ---- claims ------------------------------------------------------------------------------------------------------------------- */

static void enqueue(struct upload *u, const struct state_instance *claim)
{
    size_t i = 0;
    while (u->items[i].step != ITEM_FREE) { /* upload_claim() asked for no more than there is room for */
        i++;
    }
    struct item *item = &u->items[i];
    item->upload = u;
    item->step = ITEM_QUEUED;
    item->claim = *claim;
    item->fd = -1;
    u->queue[(u->queue_first + u->queued++) % UPLOAD_ITEMS] = i;
    u->queued_bytes += claim->r.file_bytes;
}

static struct state_batch_limits batch_limits(const struct upload *u)
{
    return (struct state_batch_limits){.max_count = (int)config_int(u->config, CFG_BATCH_MAX_COUNT),
                                       .max_bytes = config_int(u->config, CFG_BATCH_MAX_MB) * 1000000};
}

/* A batch is what becomes an import job: the settings may say by now that the destination imports, or that it does not. Such claims are given back as they
 * must be; the others are kept. */
static size_t keep_fitting(struct upload *u, struct state_instance *claims, size_t count)
{
    bool with_batch = config_destination_kind(u->config) == KIND_HEALTHIMAGING;
    const struct state_batch_limits limits = batch_limits(u);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        struct err e = {0};
        if ((claims[i].batch[0] != '\0') == with_batch) {
            claims[kept++] = claims[i];
            continue;
        }
        int rc = state_refit(u->state, &claims[i], with_batch, &limits, &e);
        if (rc != 0 && rc != ERR_FENCED) {
            log_error("refit_failed", "instance=%s reason=\"%s\"", claims[i].r.id, e.text);
            give_back(u, &claims[i], 1);
        }
    }
    return kept;
}

void upload_claim(struct upload *u)
{
    static struct state_instance claims[CLAIM_ROWS];
    struct err e = {0};
    size_t count = 0;
    size_t kept = 0;
    const int64_t now = clock_mono_ms();
    const int room = breaker_room(&u->breaker, now, u->sending, u->concurrency);
    const size_t free_items = UPLOAD_ITEMS - u->queued - (size_t)u->sending - (size_t)u->ended;
    size_t want = u->breaker.open ? PROBE_CHOICE : CLAIM_ROWS;
    want = want < free_items ? want : free_items;
    if (u->broken || want == 0 || u->queued >= (size_t)u->concurrency || (u->breaker.open && room == 0) || now < u->look_at_ms) {
        return;
    }
    if (state_claim_for(u->state, config_destination_name(u->config), claims, want, &count, &e) != 0) {
        log_error("claim_failed", "reason=\"%s\"", e.text);
        count = 0;
    }
    u->look_at_ms = count == want ? now : now + LOOK_MS;
    if (u->breaker.open && count > 1) {
        size_t chosen = random_u32() % count;
        struct state_instance probe = claims[chosen];
        claims[chosen] = claims[0];
        claims[0] = probe;
    }
    count = keep_fitting(u, claims, count);
    while (kept < count && (u->breaker.open ? kept < 1 : u->queued < (size_t)room || u->queued_bytes < queue_bytes)) {
        enqueue(u, &claims[kept++]);
    }
    give_back(u, &claims[kept], count - kept);
}

/* ---- transfers ------------------------------------------------------------------------------------------------------------------ */

void upload_item_ended(struct item *item)
{
    struct upload *u = item->upload;
    (void)close(item->fd);
    item->fd = -1;
    item->step = ITEM_ENDED;
    item->ended_ms = clock_mono_ms();
    u->oldest_end_ms = u->ended++ == 0 ? item->ended_ms : u->oldest_end_ms;
    u->sending--;
}

static int begin(struct upload *u, struct item *item, struct err *e)
{
    const struct state_received *r = &item->claim.r;
    struct stat info;
    item->fd = spool_open(u->home, r->id, e);
    if (item->fd < 0) {
        return item->fd;
    }
    int rc = 0;
    if (fstat(item->fd, &info) == -1) {
        rc = err_set(e, ERR_IO, errno, "size of instance %s", r->id);
    } else if (info.st_size != r->file_bytes) {
        rc = err_set(e, ERR_SPOOL_DAMAGED, 0, "the spool file has %lld bytes, %lld were received", (long long)info.st_size,
                     (long long)r->file_bytes);
    }
    rc = rc ? rc : u->transport->begin(u, item, e);
    if (rc != 0) {
        (void)close(item->fd);
        item->fd = -1;
    }
    return rc;
}

void upload_begin(struct upload *u)
{
    int room = breaker_room(&u->breaker, clock_mono_ms(), u->sending, u->concurrency);
    for (; room > 0 && u->queued > 0 && !u->broken; room--) {
        struct item *item = &u->items[u->queue[u->queue_first]];
        struct err e = {0};
        u->queue_first = (u->queue_first + 1) % UPLOAD_ITEMS;
        u->queued--;
        u->queued_bytes -= item->claim.r.file_bytes;
        memset(&item->result, 0, sizeof item->result);
        memset(&item->verdict, 0, sizeof item->verdict);
        item->was_there = false;
        item->began_ms = clock_mono_ms();
        item->step = ITEM_SENDING;
        u->sending++;
        int rc = begin(u, item, &e);
        if (rc != 0) {
            item->result.rc = rc;
            item->result.why = e;
            item->step = ITEM_ENDED;
            item->ended_ms = clock_mono_ms();
            u->sending--;
            u->oldest_end_ms = u->ended++ == 0 ? item->ended_ms : u->oldest_end_ms;
        }
    }
}

/* ---- ends ----------------------------------------------------------------------------------------------------------------------- */

static const char *remedy_of(const struct upload *u, int code)
{
    const char *own = u->transport->remedy ? u->transport->remedy(code) : NULL;
    if (own) {
        return own;
    }
    switch (code) {
    case ERR_SPOOL_MISSING:
        return "look for the file in a backup of the spool and put it back into spool/obj, then storescpctl retry ID; or have the image sent again";
    case ERR_SPOOL_DAMAGED:
        return "check the disk; have the image sent again, or put the whole file back from a backup of the spool, then storescpctl retry ID";
    case ERR_TOO_LARGE:
        return "S3 does not take objects of this size: lower maximum_object_mb so that the sender is told, and import this one by other means from spool/obj";
    case ERR_AWS_OTHER_OBJECT:
        return "compare the object with the spool file; take the object away, or set another s3_prefix or s3_key_template, then storescpctl retry ID";
    default:
        return "correct what S3 names (settings, policy of the bucket), then storescpctl retry ID; the spool file is kept";
    }
}

static void defer(struct upload *u, struct item *item, const struct err *why)
{
    struct err e = {0};
    int64_t wait_ms = backoff_ms(item->claim.attempts, RETRY_FIRST_MS, RETRY_LONGEST_MS, random_u32());
    log_warning("upload_deferred", "instance=%s batch=%s attempt=%d code=%s retry_ms=%lld reason=\"%s\"", item->claim.r.id, item->claim.batch,
                item->claim.attempts + 1, err_name(why->code), (long long)wait_ms, why->text);
    int rc = state_defer(u->state, &item->claim, why, clock_wall_ms() + wait_ms, &e);
    if (rc != 0 && rc != ERR_FENCED) {
        give_back(u, &item->claim, 1);
    }
}

static void refuse(struct upload *u, struct item *item, const struct err *why)
{
    struct err e = {0};
    log_error("upload_refused", "instance=%s batch=%s state=failed code=%s reason=\"%s\" remedy=\"%s\"", item->claim.r.id, item->claim.batch,
              err_name(why->code), why->text, remedy_of(u, why->code));
    int rc = state_refuse(u->state, &item->claim, why, remedy_of(u, why->code), &e);
    if (rc != 0 && rc != ERR_FENCED) {
        log_error("refusal_not_recorded", "instance=%s reason=\"%s\"", item->claim.r.id, e.text);
        give_back(u, &item->claim, 1);
    }
}

/* The endpoint's trouble, or a setting: nobody's instance is charged, everything waits. */
static void pause_all(struct upload *u, struct item *item, const struct err *why)
{
    struct breaker *b = &u->breaker;
    bool is_same = b->why.code == why->code; /* as at the last pause */
    bool known = b->open && is_same;
    give_back(u, &item->claim, 1);
    if (!breaker_failed(b, item->claim.r.id, why, item->began_ms, item->ended_ms, item->result.first_failed_ms, random_u32())) {
        return;
    }
    upload_give_back_queue(u);
    if (known || (is_same && u->told_ms != 0 && item->ended_ms - u->told_ms < TELL_MS)) {
        log_debug("uploads_still_paused", "code=%s retry_ms=%lld", err_name(why->code), (long long)breaker_wait_ms(b, item->ended_ms));
        return;
    }
    u->told_ms = item->ended_ms;
    bool config = err_class_of(why->code) == ERR_CLASS_CONFIG;
    log_write(config ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, "uploads_paused",
              "destination=%s code=%s reason=\"%s\" effect=\"instances wait in the spool, nothing is lost\" retry_ms=%lld remedy=\"%s\"",
              config_destination_name(u->config), err_name(why->code), why->text, (long long)breaker_wait_ms(b, item->ended_ms),
              config ? err_sentence(why->code) : "none needed while the endpoint recovers; else check network, proxy and endpoint");
}

/* S3 found other bytes than were received: did the disk change them, or the way? */
static int examine(struct upload *u, const struct item *item, struct err *why)
{
    struct spool_meta meta;
    struct err e = {0};
    int rc = spool_read_meta(u->home, item->claim.r.id, 1, &meta, &e);
    if (rc == ERR_SPOOL_DAMAGED || rc == ERR_SPOOL_MISSING) {
        *why = e;
    } else if (rc == 0 && meta.file_crc32c != item->claim.r.file_crc32c) {
        (void)err_set(why, ERR_SPOOL_DAMAGED, 0, "the spool file has another CRC-32C than was received");
    }
    return why->code;
}

/* Another image lies under the key, and the key does not name this one: both are kept, this one goes beside it. False: the key cannot change. */
static bool goes_beside(struct upload *u, struct item *item, const struct err *why)
{
    struct err e = {0};
    char key[S3_KEY_SIZE];
    if (!s3_key_beside(item->claim.s3_key, item->claim.r.id, key)) {
        return false;
    }
    log_info("key_changed", "instance=%s reason=\"%s\" effect=\"it goes under a key with its id\"", item->claim.r.id, why->text);
    int rc = state_key_changed(u->state, &item->claim, key, why, &e);
    if (rc != 0 && rc != ERR_FENCED) {
        log_error("key_not_recorded", "instance=%s reason=\"%s\"", item->claim.r.id, e.text);
        give_back(u, &item->claim, 1);
    }
    u->look_at_ms = 0;
    return true;
}

/* Bucket and key were decided together, and dicom_bucket names another bucket by now. What the old one refuses goes to the new one; what it still takes stays
 * there. False: it is about the bucket of the settings, or no refusal. */
static bool leaves_bucket(struct upload *u, struct item *item, const struct err *why)
{
    const struct state_batch_limits limits = batch_limits(u);
    const char *now = config_text(u->config, CFG_DICOM_BUCKET);
    const char *old = item->claim.bucket;
    struct err told = {0};
    struct err e = {0};
    if (!old[0] || strcmp(old, now) == 0 || (why->code != ERR_AWS_NOT_FOUND && why->code != ERR_AWS_DENIED && why->code != ERR_AWS_REGION)) {
        return false;
    }
    (void)err_set(&told, why->code, 0, "bucket %s, decided before dicom_bucket was changed, cannot be used any more (%.300s); it goes to %s", old, why->text, now);
    log_warning("bucket_left", "instance=%s batch=%s bucket=%s code=%s reason=\"%s\"", item->claim.r.id, item->claim.batch, old, err_name(why->code), told.text);
    int rc = state_bucket_left(u->state, &item->claim, &limits, &told, &e);
    if (rc != 0 && rc != ERR_FENCED) {
        log_error("key_not_recorded", "instance=%s reason=\"%s\"", item->claim.r.id, e.text);
        give_back(u, &item->claim, 1);
    }
    u->look_at_ms = 0;
    return true;
}

/* The one place that says what an error does to an instance. true: it is uploaded all the same. */
static bool end_of(struct upload *u, struct item *item)
{
    struct err why = item->result.why;
    int code = item->result.rc;
    why.code = code;
    if (code == ERR_AWS_CHECKSUM) {
        code = examine(u, item, &why);
    }
    if (code == ERR_AWS_OTHER_OBJECT && goes_beside(u, item, &why)) {
        return false;
    }
    if (leaves_bucket(u, item, &why)) {
        return false;
    }
    if (u->transport->judge) {
        code = u->transport->judge(u, item, &why);
    }
    if (err_class_of(code) == ERR_CLASS_REFUSE && code != ERR_AWS_OTHER_OBJECT) {
        int there = u->aws ? u->transport->look(u, item, &why) : err_set(&why, ERR_STOPPED, 0, "told to stop");
        if (there == 1) { /* whatever became of its spool file since */
            log_warning("upload_found", "instance=%s batch=%s reason=\"%s, but %s has it already\"", item->claim.r.id, item->claim.batch, why.text,
                        u->transport->service);
            return true;
        }
        code = there < 0 ? there : code;
        why.code = code;
    }
    /* silence is the endpoint's if nothing else went through meanwhile */
    bool silent = code == ERR_TIMEOUT && u->breaker.good_ended_ms < item->began_ms;
    bool alone = breaker_blames(&u->breaker, item->claim.r.id, item->result.first_failed_ms) && code != ERR_AWS_THROTTLED && code != ERR_AWS_QUOTA;
    switch (err_class_of(code)) {
    case ERR_CLASS_REFUSE:
        refuse(u, item, &why);
        break;
    case ERR_CLASS_CONFIG: /* a right that only this one needs, such as to look at what lies under its key, holds up nobody else */
    case ERR_CLASS_PEER_DOWN:
        if (alone) {
            defer(u, item, &why);
        } else {
            pause_all(u, item, &why);
        }
        break;
    default:
        if (silent) {
            pause_all(u, item, &why);
        } else {
            defer(u, item, &why);
        }
        break;
    }
    return false;
}

static void after_commit(struct upload *u, const struct item *item, bool fenced)
{
    const struct state_received *r = &item->claim.r;
    if (fenced) {
        return;
    }
    handoff_send(u->handoff, r->id, r->file_bytes, r->file_crc32c);
    log_info(u->transport->event, "instance=%s batch=%s bytes=%lld attempt=%d age_ms=%lld hash_ms=%lld transfer_ms=%lld parts=%d parts_kept=%d request=%s", r->id,
             item->claim.batch, (long long)r->file_bytes, item->claim.attempts + 1, (long long)(clock_wall_ms() - r->received_ms),
             (long long)item->result.hash_ms, (long long)item->result.transfer_ms, item->result.part_count, item->result.kept_count,
             item->result.request_id);
}

/* One commit for all that went well. If it fails, one for each, so that no single instance holds up the others. */
static void record(struct upload *u, struct item **items, size_t count)
{
    static struct state_uploaded done[GROUP_ROWS];
    struct err e = {0};
    for (size_t i = 0; i < count; i++) {
        memset(&done[i], 0, sizeof done[i]);
        done[i].claim = &items[i]->claim;
        u->transport->evidence(u, items[i], &done[i]);
        (void)snprintf(done[i].sha256, sizeof done[i].sha256, "%s", items[i]->result.sha256);
    }
    bool whole = state_uploaded(u->state, done, count, &e) == 0;
    if (!whole) {
        log_error("record_failed", "count=%zu reason=\"%s\" effect=\"recorded one by one\"", count, e.text);
    }
    for (size_t i = 0; i < count; i++) {
        if (whole || state_uploaded(u->state, &done[i], 1, &e) == 0) {
            after_commit(u, items[i], done[i].fenced);
        } else {
            defer(u, items[i], &e);
        }
    }
}

void upload_settle(struct upload *u, bool all)
{
    struct item *good[GROUP_ROWS];
    size_t count = 0;
    const int64_t now = clock_mono_ms();
    if (u->ended == 0 || (!all && u->ended < GROUP_ROWS && u->sending > 0 && now - u->oldest_end_ms < GROUP_MS)) {
        return;
    }
    for (size_t i = 0; i < UPLOAD_ITEMS; i++) {
        struct item *item = &u->items[i];
        if (item->step != ITEM_ENDED) {
            continue;
        }
        u->ended--; /* not all at once at the end: a look at S3 lets other transfers end meanwhile */
        if (item->result.rc == 0) {
            good[count++] = item;
            if (breaker_succeeded(&u->breaker, item->claim.r.id, item->began_ms, item->ended_ms)) {
                log_info("uploads_resumed", "destination=%s after_ms=%lld", config_destination_name(u->config), (long long)(item->ended_ms - u->breaker.opened_ms));
                u->look_at_ms = 0;
            }
        } else if (end_of(u, item)) {
            good[count++] = item;
        }
        item->step = ITEM_FREE; /* its content stays until the next claim, after this function */
        if (count == GROUP_ROWS) {
            record(u, good, count);
            count = 0;
        }
    }
    if (count > 0) {
        record(u, good, count);
    }
}

/* ---- for the loop ------------------------------------------------------------------------------------------------------------------ */

int upload_wait_ms(const struct upload *u)
{
    const int64_t now = clock_mono_ms();
    int64_t wait = config_int(u->config, CFG_SWEEP_MS);
    if (u->ended > 0) {
        int64_t left = u->oldest_end_ms + GROUP_MS - now;
        wait = left < wait ? left : wait;
    }
    if (!u->breaker.open && u->sending > 0 && u->sending < u->concurrency) {
        wait = LOOK_MS < wait ? LOOK_MS : wait;
    }
    if (u->breaker.open && u->sending == 0) {
        int64_t left = breaker_wait_ms(&u->breaker, now); /* 0: a probe may go, there was no row for it; the usual sweep */
        wait = left > 0 && left < wait ? left : wait;
    }
    return wait > 0 ? (int)wait : 0;
}
