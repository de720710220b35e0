/*
 * storescp-validator - judges what was received: claim, scan, rules, duplicates, batch; one commit for a whole round. It never takes back
 * the success that the modality got: what cannot be imported is quarantined with tag, rule and remedy.
 * In idle moments it also frees the claims of dead workers, releases spool files by policy and checkpoints the database.
 */
#include "common/dicom/scan.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "common/spool/spool.h"
#include "common/state/quarantine.h"
#include "common/worker/worker.h"
#include "validator/rules.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROUND = 64, RELEASE_MAX = 200, RELEASE_MS = 500, DEATHS_ALONE = 2, DEATHS_MAX = 5, UNFINISHED_MAX = 1024 };

struct validator {
    struct worker worker;
    const char *home;    /* these two are the worker's */
    struct state *state;
    struct state_batch_limits limits;
    struct state_batch_limits limits_for[CONFIG_DESTINATION_LIMIT]; /* of each destination */
    struct state_policy policy_for[CONFIG_DESTINATION_LIMIT];
    struct state_instance claims[ROUND];
    struct state_validation verdicts[ROUND];
    bool broken; /* claims of ours can neither be worked nor put back */
};

/* Compares the data sets of two instances of equal size, byte for byte. *differ stays false when one of the files is gone. */
static int compare_bytes(struct validator *v, const char *id, const char *other, bool *differ, struct err *e)
{
    struct spool_meta ours;
    struct spool_meta theirs;
    char left[65536];
    char right[65536];
    int a = spool_open(v->home, id, e);
    int b = a < 0 ? a : spool_open(v->home, other, e);
    int rc = b < 0 ? b : spool_read_meta(v->home, id, 0, &ours, e);
    rc = rc ? rc : spool_read_meta(v->home, other, 0, &theirs, e);
    for (int64_t at = 0; rc == 0 && !*differ && at < ours.data_bytes; at += (int64_t)sizeof left) {
        int64_t rest = ours.data_bytes - at;
        ssize_t want = rest < (int64_t)sizeof left ? (ssize_t)rest : (ssize_t)sizeof left;
        if (pread(a, left, (size_t)want, ours.data_offset + at) != want || pread(b, right, (size_t)want, theirs.data_offset + at) != want) {
            rc = err_set(e, ERR_IO, errno, "comparison of instances %s and %s", id, other);
        } else {
            *differ = memcmp(left, right, (size_t)want) != 0;
        }
    }
    if (a >= 0) {
        (void)close(a);
    }
    if (b >= 0) {
        (void)close(b);
    }
    return rc == ERR_SPOOL_MISSING ? 0 : rc;
}

/* Same SOP Instance UID, size and CRC32C: while both files are here, only equal bytes make a duplicate. The twin may have been judged
 * before, or stand earlier in this very round. A CRC32C is no proof: anybody can make two data sets that share one. */
static int bytes_differ(struct validator *v, const struct state_instance *claim, size_t judged, struct state_validation *out, struct err *e)
{
    bool *differ = &out->content_differs;
    struct state_instance twin;
    bool same = false;
    int rc = state_find_twin(v->state, claim, &twin, &same, e);
    if (rc < 0) {
        return rc;
    }
    if (rc == 1 && same) {
        rc = compare_bytes(v, claim->r.id, twin.r.id, differ, e);
        (void)snprintf(out->compared_with, sizeof out->compared_with, "%s", twin.r.id);
    } else {
        rc = 0;
    }
    for (size_t i = 0; rc == 0 && !*differ && i < judged; i++) {
        const struct state_received *other = &v->verdicts[i].claim->r;
        if (v->verdicts[i].refuse_code == 0 && strcmp(v->verdicts[i].claim->destination, claim->destination) == 0 && other->data_bytes == claim->r.data_bytes && other->data_crc32c == claim->r.data_crc32c &&
            strcmp(other->sop_instance_uid, claim->r.sop_instance_uid) == 0 &&
            strcmp(other->transfer_syntax_uid, claim->r.transfer_syntax_uid) == 0) {
            rc = compare_bytes(v, claim->r.id, other->id, differ, e);
        }
    }
    return rc;
}

/* Where it goes, by who sent it to whom and by its modality; before its twin is looked for, because the same image may go to two destinations. */
static void route(struct validator *v, struct state_instance *claim, const char *modality, struct state_validation *out)
{
    const struct config *all = v->worker.config;
    const struct config *to = config_destination_for(all, claim->r.calling_ae, claim->r.called_ae, modality);
    size_t i = 0;
    while (config_destination_at(all, i) != to) {
        i++;
    }
    (void)snprintf(claim->destination, sizeof claim->destination, "%s", config_destination_name(to));
    out->without_batch = config_destination_kind(to) != KIND_HEALTHIMAGING;
    out->limits = &v->limits_for[i];
    out->policy = &v->policy_for[i];
}

/* What a person accepted for this instance does not refuse it again; it is told as a warning. Gives rc back, or 0. */
static int unless_accepted(struct validator *v, const char *id, int rc, char *warning, size_t size, struct err *e)
{
    bool is_accepted = false;
    struct err asked = {0};
    if (rc == 0 || err_class_of(rc) != ERR_CLASS_REFUSE) {
        return rc;
    }
    if (state_rule_is_accepted(v->state, id, err_name(rc), &is_accepted, &asked) != 0) {
        *e = asked;
        return asked.code;
    }
    if (is_accepted) {
        (void)snprintf(warning, size, "accepted by a person: %.170s", e->text);
    }
    return is_accepted ? 0 : rc;
}

/* Fills the verdict after the judged ones. Returns 0, or an error of ours (not of the file) for which the claim is put back. */
static int judge(struct validator *v, struct state_instance *claim, size_t judged, struct err *e)
{
    struct dicom_scan scan;
    struct stat info;
    struct state_validation *out = &v->verdicts[judged];
    memset(out, 0, sizeof *out);
    memset(&scan, 0, sizeof scan);
    out->claim = claim;
    out->urgent = config_bool_for(v->worker.config, config_for_ae(v->worker.config, claim->r.calling_ae), CFG_URGENT);
    int fd = spool_open(v->home, claim->r.id, e);
    int rc = fd < 0 ? fd : 0;
    if (rc == 0 && fstat(fd, &info) == -1) {
        rc = err_set(e, ERR_IO, errno, "size of instance %s", claim->r.id);
    }
    if (rc == 0 && info.st_size != claim->r.file_bytes) {
        rc = err_set(e, ERR_SPOOL_DAMAGED, 0, "the spool file has another size than was received: check the disk; have it sent again");
    }
    rc = rc ? rc : dicom_scan_fd(fd, &scan, e);
    rc = rc ? rc : rules_judge(&scan, out->identity.warning, sizeof out->identity.warning, e);
    rc = unless_accepted(v, claim->r.id, rc, out->identity.warning, sizeof out->identity.warning, e);
    if (fd >= 0) {
        (void)close(fd);
    }
    (void)snprintf(out->identity.study_uid, sizeof out->identity.study_uid, "%s", scan.study_uid);
    (void)snprintf(out->identity.series_uid, sizeof out->identity.series_uid, "%s", scan.series_uid);
    (void)snprintf(out->identity.modality, sizeof out->identity.modality, "%s", scan.modality);
    (void)snprintf(out->identity.accession_number, sizeof out->identity.accession_number, "%s", scan.accession_number);
    (void)snprintf(out->identity.patient_id, sizeof out->identity.patient_id, "%s", scan.patient_id);
    (void)snprintf(out->identity.study_date, sizeof out->identity.study_date, "%s", scan.study_date);
    (void)snprintf(out->identity.study_id, sizeof out->identity.study_id, "%s", scan.study_id);
    if (!dicom_integer(scan.series_number, out->identity.series_number, sizeof out->identity.series_number)) {
        (void)snprintf(out->identity.series_number, sizeof out->identity.series_number, "%s", scan.series_number);
    }
    (void)dicom_integer(scan.instance_number, out->identity.instance_number, sizeof out->identity.instance_number);
    route(v, claim, scan.modality, out);
    rc = rc ? rc : bytes_differ(v, claim, judged, out, e);
    if (rc != 0 && err_class_of(rc) != ERR_CLASS_REFUSE) {
        return rc;
    }
    if (rc != 0) {
        const char *remedy = rc == ERR_SPOOL_MISSING ? ": look for it in a backup of the spool, or have the image sent again" : "";
        out->refuse_code = rc;
        (void)snprintf(out->refuse_text, sizeof out->refuse_text, "%.*s%s", rc == ERR_SPOOL_MISSING ? 200 : 319, e->text, remedy);
    }
    return 0;
}

static void after_commit(struct validator *v, const struct state_validation *d)
{
    static const char *const words[] = {"validated", "duplicate", "quarantined", "quarantined", "quarantined", "received"};
    struct err e = {0};
    const int code = d->code;
    const char *word = code ? "quarantined" : words[d->verdict];
    if (d->fenced || (code == 0 && d->verdict == VERDICT_AGAIN)) {
        return; /* somebody else has it, or the next round will: nothing was decided */
    }
    if (code == 0 && d->verdict == VERDICT_VALIDATED) {
        handoff_send(v->worker.handoff, d->claim->r.id, d->claim->r.file_bytes, d->claim->r.file_crc32c);
    } else if (code) {
        (void)spool_quarantine(v->home, d->claim->r.id, &e);
    }
    log_write(code ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "instance_judged",
              "instance=%s state=%s destination=%s code=%s wait_ms=%lld%s%s%s", d->claim->r.id, word, d->claim->destination, err_name(code),
              (long long)(clock_wall_ms() - d->claim->r.received_ms), code ? " remedy=\"storescpctl why " : "", code ? d->claim->r.id : "", code ? "\"" : "");
}

/* Puts claims back unworked. When even that fails they would be ours as long as we live: end, and the lock that drops frees them. */
static void give_back(struct validator *v, const struct state_instance *claims, size_t count)
{
    struct err e = {0};
    if (state_unclaim(v->state, claims, count, &e) != 0) {
        log_error("claims_stuck", "count=%zu reason=\"%s\" effect=\"this process ends; another one takes them\"", count, e.text);
        v->broken = true;
    }
}

/* Puts a claim back until its error may have healed. */
static void defer(struct validator *v, const struct state_instance *claim, const struct err *why)
{
    struct err e = {0};
    int64_t wait_ms = backoff_ms(claim->attempts, 1000, 600000, random_u32());
    log_warning("instance_deferred", "instance=%s code=%s retry_ms=%lld reason=\"%s\"", claim->r.id, err_name(why->code),
                (long long)wait_ms, why->text);
    int rc = state_defer(v->state, claim, why, clock_wall_ms() + wait_ms, &e);
    if (rc != 0 && rc != ERR_FENCED) {
        give_back(v, claim, 1);
    }
}

/* One commit for the whole round. If it fails, one for each, so that no single instance holds up the others. */
static void record(struct validator *v, size_t count)
{
    struct err e = {0};
    bool whole = count == 0 || state_validated(v->state, v->verdicts, count, &v->limits, &e) == 0;
    if (!whole) {
        log_error("record_failed", "count=%zu reason=\"%s\" effect=\"recorded one by one\"", count, e.text);
    }
    for (size_t i = 0; i < count; i++) {
        if (whole || state_validated(v->state, &v->verdicts[i], 1, &v->limits, &e) == 0) {
            after_commit(v, &v->verdicts[i]);
        } else {
            defer(v, v->verdicts[i].claim, &e);
        }
    }
}

/* Brings the claims that are above suspicion to the front; returns how many. Suspects are those that several workers died with. */
static size_t set_apart(struct state_instance *claims, size_t count)
{
    size_t good = 0;
    for (size_t i = 0; i < count; i++) {
        if (claims[i].deaths < DEATHS_ALONE) {
            struct state_instance kept = claims[good];
            claims[good++] = claims[i];
            claims[i] = kept;
        }
    }
    return good;
}

/* A suspect is judged while nothing else is in our hands, so that its next death is charged to it alone; after DEATHS_MAX it is
 * quarantined unread. Otherwise one file that kills whoever reads it would stop all validators for ever. */
static void work_suspect(struct validator *v, struct state_instance *claim)
{
    struct err why = {0};
    log_warning("instance_suspected", "instance=%s deaths=%d", claim->r.id, claim->deaths);
    if (claim->deaths >= DEATHS_MAX) {
        struct state_validation *out = &v->verdicts[0];
        memset(out, 0, sizeof *out);
        out->claim = claim;
        out->refuse_code = ERR_WORKER_DIED;
        (void)snprintf(out->refuse_text, sizeof out->refuse_text, "%d validators died while they had this file, the last %d with nothing else", claim->deaths,
                       DEATHS_MAX - DEATHS_ALONE);
    } else if (judge(v, claim, 0, &why) != 0) {
        defer(v, claim, &why);
        return;
    }
    record(v, 1);
}

/* One round of work. Returns how many instances were claimed; ROUND when more are known to wait. */
static size_t work(struct validator *v)
{
    struct err e = {0};
    size_t claimed = 0;
    size_t count = 0;
    size_t i;
    if (state_claim(v->state, STAGE_VALIDATOR, v->claims, ROUND, &claimed, &e) != 0) {
        log_error("claim_failed", "reason=\"%s\"", e.text);
        return 0;
    }
    size_t good = set_apart(v->claims, claimed);
    for (i = 0; i < good && !stop_requested(); i++) {
        struct err why = {0};
        int rc = judge(v, &v->claims[i], count, &why);
        worker_turn(&v->worker);
        if (rc == 0) {
            count++;
            continue;
        }
        defer(v, &v->claims[i], &why);
    }
    if (i < good) { /* told to stop: what is judged is recorded, the rest is for others */
        give_back(v, &v->claims[i], good - i);
    }
    record(v, count);
    if (claimed - good > 1) {
        give_back(v, &v->claims[good + 1], claimed - good - 1);
    }
    if (claimed > good) {
        work_suspect(v, &v->claims[good]);
    }
    return claimed - good > 1 ? ROUND : claimed;
}

/* Unlink first, then the mark; a crash between repeats the unlink. Goes on while there are more, for RELEASE_MS: otherwise a
 * fast site would fill its disk with what may go. A file that cannot be removed does not hold up the others. */
static void release_kind(struct validator *v, bool is_dropped)
{
    static char ids[RELEASE_MAX][STATE_ID_SIZE];
    struct err e = {0};
    int64_t end = clock_mono_ms() + RELEASE_MS;
    int64_t keep_ms = config_int(v->worker.config, is_dropped ? CFG_SPOOL_KEEP_DROPPED_S : CFG_SPOOL_KEEP_IMPORTED_S) * 1000;
    size_t count = RELEASE_MAX;
    size_t done = 1;
    while (count == RELEASE_MAX && done > 0 && clock_mono_ms() < end && !stop_requested()) {
        if ((is_dropped ? state_releasable_dropped : state_releasable)(v->state, keep_ms, ids, RELEASE_MAX, &count, &e) != 0) {
            return;
        }
        done = 0;
        for (size_t i = 0; i < count; i++) {
            if (spool_release(v->home, ids[i], &e) == 0) {
                memmove(ids[done++], ids[i], sizeof ids[i]); /* may be the same place */
            } else {
                log_warning("file_not_released", "instance=%s reason=\"%s\"", ids[i], e.text);
            }
        }
        if (state_released(v->state, ids, done, &e) != 0) {
            return;
        }
    }
}

/* Spool files of imported and duplicate instances, and of what a person dropped. */
static void release_files(struct validator *v)
{
    release_kind(v, false);
    release_kind(v, true);
}

/* COMMIT of `quarantined` first, then the rename: a validator that died in between left the file in obj/. It can only be one of the newest. */
static void finish_quarantine(struct validator *v)
{
    static char ids[UNFINISHED_MAX][STATE_ID_SIZE];
    struct err e = {0};
    size_t count = 0;
    if (state_quarantined_last(v->state, ids, UNFINISHED_MAX, &count, &e) != 0) {
        log_warning("quarantine_not_looked_at", "reason=\"%s\"", e.text);
    }
    for (size_t i = 0; i < count; i++) {
        int rc = spool_quarantine(v->home, ids[i], &e);
        if (rc != 0 && rc != ERR_NOT_FOUND) {
            log_warning("file_not_quarantined", "instance=%s reason=\"%s\"", ids[i], e.text);
        }
    }
}

static const struct worker_kind kind = {STAGE_VALIDATOR, "uploader", SECRETS_NONE, "Judges received instances", NULL};

/* So many starts fit into the quiet time, in which what is open now closes, and the time that may pass until the last of them. */
static int share_above_count(const struct config *c)
{
    long long share_ms = config_int(c, CFG_BATCH_SHARE_ABOVE_S) * 1000;
    long long starts = (share_ms + config_int(c, CFG_BATCH_QUIET_MS)) * config_int(c, CFG_IMPORT_START_PER_MINUTE) / 60000;
    return share_ms == 0 ? 0 : starts < 1 ? 1 : starts > 100000 ? 100000 : (int)starts;
}

static struct state_batch_limits limits_of(const struct config *c)
{
    return (struct state_batch_limits){.max_count = (int)config_int(c, CFG_BATCH_MAX_COUNT),
                                       .max_bytes = config_int(c, CFG_BATCH_MAX_MB) * 1000000,
                                       .share_above_count = share_above_count(c),
                                       .share_max_count = (int)config_int(c, CFG_BATCH_SHARE_MAX_COUNT)};
}

static struct state_policy policy_of(const struct config *c)
{
    const char *conflicts = config_text(c, CFG_CONFLICT_SEVERITY);
    return (struct state_policy){.newer_goes_on = strcmp(config_text(c, CFG_SAME_UID_OTHER_CONTENT), "newer") == 0,
                                 .conflicts = strcmp(conflicts, "hold") == 0 ? CONFLICT_HOLD : strcmp(conflicts, "off") == 0 ? CONFLICT_OFF : CONFLICT_WARN};
}

static int start(struct validator *v, const char *home, struct err *e)
{
    int rc = worker_start(&v->worker, &kind, home, e);
    if (rc != 0) {
        return rc;
    }
    const struct config *c = v->worker.config;
    v->home = v->worker.home;
    v->state = v->worker.state;
    v->limits = limits_of(c);
    for (size_t i = 0; i < CONFIG_DESTINATION_LIMIT && config_destination_at(c, i); i++) {
        v->limits_for[i] = limits_of(config_destination_at(c, i));
        v->policy_for[i] = policy_of(config_destination_at(c, i));
    }
    return 0;
}

int main(int argc, char **argv)
{
    static struct validator v;
    struct err e = {0};
    const char *home;
    int code = worker_arguments(&kind, argc, argv, &home);
    if (code != WORKER_GOES_ON) {
        return code;
    }
    int rc = start(&v, home, &e);
    if (rc != 0) {
        return worker_not_started(&v.worker, rc, &e);
    }
    finish_quarantine(&v);
    worker_ready(&v.worker);
    const int stop = stop_fd();
    while (!stop_requested() && !v.broken) {
        if (work(&v) < ROUND && !v.broken) {
            (void)handoff_wait(v.worker.handoff, (int)config_int(v.worker.config, CFG_SWEEP_MS), &stop, 1);
        }
        if (worker_chores(&v.worker, "ready")) {
            release_files(&v);
        }
        worker_look_for_reload(&v.worker);
    }
    return worker_end(&v.worker, argv, v.broken);
}
