/*
 * storescp-validator - judges what was received: claim, scan, rules, duplicates, batch; one commit for a whole round. It never takes back
 * the success that the modality got: what cannot be imported is quarantined with tag, rule and remedy.
 * In idle moments it also frees the claims of dead workers, releases spool files by policy and checkpoints the database.
 */
#include "common/dicom/scan.h"
#include "common/handoff/handoff.h"
#include "common/runtime/config.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "common/spool/spool.h"
#include "common/state/state.h"
#include "validator/rules.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROUND = 64, CHORES_MS = 1000, RELEASE_MAX = 200 };

struct validator {
    struct config *config;
    const char *home;
    struct state *state;
    struct handoff *handoff;
    struct state_batch_limits limits;
    struct state_instance claims[ROUND];
    struct state_validation verdicts[ROUND];
    int64_t chores_at;
};

/* Same SOP Instance UID, size and CRC32C: while both files are here, only equal bytes make a duplicate. */
static bool bytes_differ(struct validator *v, const struct state_instance *claim)
{
    struct state_instance twin;
    struct spool_meta ours;
    struct spool_meta theirs;
    bool same = false;
    bool differ = false;
    if (state_find_twin(v->state, claim, &twin, &same, NULL) != 1 || !same) {
        return false;
    }
    int a = spool_open(v->home, claim->r.id, NULL);
    int b = spool_open(v->home, twin.r.id, NULL);
    if (a >= 0 && b >= 0 && spool_read_meta(v->home, claim->r.id, 0, &ours, NULL) == 0 &&
        spool_read_meta(v->home, twin.r.id, 0, &theirs, NULL) == 0) {
        char left[65536];
        char right[65536];
        for (int64_t at = 0; at < ours.data_bytes && !differ; at += (int64_t)sizeof left) {
            ssize_t n = pread(a, left, sizeof left, ours.data_offset + at);
            ssize_t m = pread(b, right, sizeof right, theirs.data_offset + at);
            differ = n > 0 && m > 0 && (n != m || memcmp(left, right, (size_t)n) != 0);
        }
    }
    if (a >= 0) {
        (void)close(a);
    }
    if (b >= 0) {
        (void)close(b);
    }
    return differ;
}

/* Fills one verdict. Returns 0, or an error of ours (not of the file) for which the claim is put back. */
static int judge(struct validator *v, const struct state_instance *claim, struct state_validation *out, struct err *e)
{
    struct dicom_scan scan;
    struct stat info;
    memset(out, 0, sizeof *out);
    memset(&scan, 0, sizeof scan);
    out->claim = claim;
    int fd = spool_open(v->home, claim->r.id, e);
    int rc = fd < 0 ? fd : 0;
    if (rc == 0 && (fstat(fd, &info) == -1 || info.st_size != claim->r.file_bytes)) {
        rc = err_set(e, ERR_SPOOL_DAMAGED, 0, "the spool file has another size than was received: check the disk; have it sent again");
    }
    rc = rc ? rc : dicom_scan_fd(fd, &scan, e);
    rc = rc ? rc : rules_judge(&scan, out->identity.warning, sizeof out->identity.warning, e);
    if (fd >= 0) {
        (void)close(fd);
    }
    (void)snprintf(out->identity.study_uid, sizeof out->identity.study_uid, "%s", scan.study_uid);
    (void)snprintf(out->identity.series_uid, sizeof out->identity.series_uid, "%s", scan.series_uid);
    (void)snprintf(out->identity.modality, sizeof out->identity.modality, "%s", scan.modality);
    (void)snprintf(out->identity.accession_number, sizeof out->identity.accession_number, "%s", scan.accession_number);
    (void)snprintf(out->identity.patient_id, sizeof out->identity.patient_id, "%s", scan.patient_id);
    (void)snprintf(out->identity.study_date, sizeof out->identity.study_date, "%s", scan.study_date);
    if (rc != 0 && err_class_of(rc) != ERR_CLASS_REFUSE) {
        return rc;
    }
    if (rc != 0) {
        out->refuse_code = rc;
        (void)snprintf(out->refuse_text, sizeof out->refuse_text, "%s", e->text);
    } else {
        out->content_differs = bytes_differ(v, claim);
    }
    return 0;
}

static void after_commit(struct validator *v, const struct state_validation *d)
{
    static const char *const words[] = {"validated", "duplicate", "quarantined"};
    struct err e = {0};
    const char *word = d->refuse_code ? "quarantined" : words[d->verdict];
    if (d->fenced) {
        return;
    }
    if (d->refuse_code == 0 && d->verdict == VERDICT_VALIDATED) {
        handoff_send(v->handoff, d->claim->r.id, d->claim->r.file_bytes, d->claim->r.file_crc32c);
    } else if (d->refuse_code || d->verdict == VERDICT_UID_REUSED) {
        (void)spool_quarantine(v->home, d->claim->r.id, &e);
    }
    int code = d->refuse_code ? d->refuse_code : d->verdict == VERDICT_UID_REUSED ? ERR_UID_REUSED : 0;
    log_write(code ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "instance_judged",
              "instance=%s state=%s code=%s wait_ms=%lld remedy=\"%s%s\"", d->claim->r.id, word, err_name(code),
              (long long)(clock_wall_ms() - d->claim->r.received_ms), code ? "storescpctl why " : "", code ? d->claim->r.id : "");
}

/* One round of work. Returns how many instances were claimed. */
static size_t work(struct validator *v)
{
    struct err e = {0};
    size_t claimed = 0;
    size_t count = 0;
    if (state_claim(v->state, STAGE_VALIDATOR, v->claims, ROUND, &claimed, &e) != 0) {
        log_error("claim_failed", "reason=\"%s\"", e.text);
        return 0;
    }
    for (size_t i = 0; i < claimed; i++) {
        struct err why = {0};
        int rc = judge(v, &v->claims[i], &v->verdicts[count], &why);
        if (rc == 0) {
            count++;
            continue;
        }
        int64_t next = clock_wall_ms() + backoff_ms(v->claims[i].attempts, 1000, 600000, random_u32());
        (void)state_defer(v->state, &v->claims[i], &why, next, &e);
        log_warning("instance_deferred", "instance=%s code=%s reason=\"%s\"", v->claims[i].r.id, err_name(rc), why.text);
    }
    if (state_validated(v->state, v->verdicts, count, &v->limits, &e) != 0) {
        log_error("record_failed", "count=%zu reason=\"%s\" effect=\"the claims are put back\"", count, e.text);
        (void)state_unclaim(v->state, v->claims, claimed, &e);
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        after_commit(v, &v->verdicts[i]);
    }
    return claimed;
}

/* Spool files of imported and duplicate instances: unlink first, then the mark; a crash between repeats the unlink. */
static void release_files(struct validator *v)
{
    static char ids[RELEASE_MAX][STATE_ID_SIZE];
    struct err e = {0};
    size_t count = 0;
    if (state_releasable(v->state, config_int(v->config, CFG_SPOOL_KEEP_IMPORTED_S) * 1000, ids, RELEASE_MAX, &count, &e) != 0) {
        return;
    }
    size_t done = 0;
    while (done < count && spool_release(v->home, ids[done], &e) == 0) {
        done++;
    }
    (void)state_released(v->state, ids, done, &e);
}

static void chores(struct validator *v)
{
    struct err e = {0};
    int freed = 0;
    if (clock_mono_ms() < v->chores_at) {
        return;
    }
    v->chores_at = clock_mono_ms() + CHORES_MS;
    if (state_reclaim(v->state, &freed, &e) != 0 || state_worker_beat(v->state, "ready", &e) != 0 ||
        state_housekeep(v->state, &e) != 0) {
        log_warning("chores_failed", "reason=\"%s\"", e.text);
    }
    release_files(v);
}

static int start(struct validator *v, const char *home, struct err *e)
{
    int rc = config_load(&v->config, home, e);
    enum log_level level = LOG_LEVEL_INFO;
    if (v->config) {
        (void)log_level_parse(config_text(v->config, CFG_LOG_LEVEL), &level);
    }
    log_init("validator", level);
    if (rc != 0) {
        return rc;
    }
    v->home = config_home(v->config);
    v->limits.max_count = (int)config_int(v->config, CFG_BATCH_MAX_COUNT);
    v->limits.max_bytes = config_int(v->config, CFG_BATCH_MAX_MB) * 1000000;
    v->limits.import_other_content = strcmp(config_text(v->config, CFG_SAME_UID_OTHER_CONTENT), "import") == 0;
    rc = stop_install(e);
    rc = rc ? rc : spool_prepare(v->home, e);
    rc = rc ? rc : state_open(&v->state, v->home, e);
    rc = rc ? rc : state_worker_register(v->state, STAGE_VALIDATOR, e);
    return rc ? rc : handoff_open(&v->handoff, v->home, "validator", "uploader", state_worker_name(v->state), e);
}

int main(int argc, char **argv)
{
    static struct validator v;
    struct err e = {0};
    const char *home = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--home") == 0 && i + 1 < argc) {
            home = argv[++i];
        } else if (strcmp(argv[i], "--version") == 0) {
            return puts("storescp-validator " STORESCP_VERSION) < 0;
        } else {
            (void)puts("usage: storescp-validator [--home DIR] [--version]\nJudges received instances; any number may run.");
            return strcmp(argv[i], "--help") == 0 ? 0 : 2;
        }
    }
    int rc = start(&v, home, &e);
    if (rc != 0) {
        log_error("not_started", "code=%s reason=\"%s\"", err_name(rc), e.text);
        state_close(&v.state);
        config_free(&v.config);
        return err_class_of(rc) == ERR_CLASS_CONFIG ? 78 : 1;
    }
    log_info("started", "worker=%s", state_worker_name(v.state));
    ready_tell();
    const int stop = stop_fd();
    while (!stop_requested()) {
        if (work(&v) < ROUND) {
            (void)handoff_wait(v.handoff, (int)config_int(v.config, CFG_SWEEP_MS), &stop, 1);
        }
        chores(&v);
    }
    log_info("stopped", "worker=%s", state_worker_name(v.state));
    (void)state_worker_unregister(v.state, &e);
    handoff_close(&v.handoff);
    state_close(&v.state);
    config_free(&v.config);
    return 0;
}
