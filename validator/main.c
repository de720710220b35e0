/*
 * storescp-validator - judges what was received: claim, scan, rules, duplicates, batch; one commit for a whole round. It never takes back
 * the success that the modality got: what cannot be imported is quarantined with tag, rule and remedy.
 * In idle moments it also frees the claims of dead workers, releases spool files by policy and checkpoints the database.
 */
#include "common/dicom/edit_settings.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "common/spool/spool.h"
#include "common/state/completeness.h"
#include "validator/validator.h"

#include <stdio.h>
#include <string.h>

enum { DEATHS_MAX = 3 /* at the first attempt and at two more, alone in a fresh process */ };

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
        v->is_move_left = spool_quarantine(v->home, d->claim->r.id, &e) != 0 || v->is_move_left;
    } else if (d->changed) {
        (void)spool_change_undo(v->home, d->claim->r.id, &e);
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

/* The first claim that workers have died with, or count. */
static size_t find_suspect(const struct state_instance *claims, size_t count)
{
    size_t i = 0;
    while (i < count && claims[i].deaths == 0) {
        i++;
    }
    return i;
}

/* A suspect is judged while nothing else is in our hands, so that its next death is charged to it alone; after DEATHS_MAX it is
 * quarantined unread. Otherwise one file that kills or stops whoever reads it would stop all validators for ever. */
static void work_suspect(struct validator *v, struct state_instance *claim)
{
    struct err why = {0};
    log_warning("instance_suspected", "instance=%s deaths=%d", claim->r.id, claim->deaths);
    if (claim->deaths >= DEATHS_MAX) {
        struct state_validation *out = &v->verdicts[0];
        memset(out, 0, sizeof *out);
        out->claim = claim;
        out->refuse_code = ERR_WORKER_DIED;
        (void)snprintf(out->refuse_text, sizeof out->refuse_text,
                       "%d validators died of this file or needed more than judge_s for it, the last two with nothing else in hand", claim->deaths);
    } else if (judge(v, claim, 0, &why) != 0) {
        defer(v, claim, &why);
        judge_over(v);
        return;
    }
    record(v, 1);
    judge_over(v); /* until here: whatever it may break, it was this one */
}

/* Those above suspicion, one commit for all. */
static void work_good(struct validator *v, size_t good)
{
    size_t count = 0;
    size_t i;
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
    judge_over(v);
    if (i < good) { /* told to stop: what is judged is recorded, the rest is for others */
        give_back(v, &v->claims[i], good - i);
    }
    record(v, count);
}

/* One round of work. Returns how many instances were claimed; ROUND when more are known to wait. */
static size_t work(struct validator *v)
{
    struct err e = {0};
    size_t claimed = 0;
    if (state_fix_any(v->state, &v->any_orders, &e) != 0 || state_claim(v->state, STAGE_VALIDATOR, v->claims, ROUND, &claimed, &e) != 0) {
        log_error("claim_failed", "reason=\"%s\"", e.text);
        return 0;
    }
    size_t suspect = find_suspect(v->claims, claimed);
    if (suspect == claimed) {
        work_good(v, claimed);
        return claimed;
    }
    struct state_instance alone = v->claims[suspect]; /* first, and everything else out of our hands */
    v->claims[suspect] = v->claims[claimed - 1];
    if (claimed > 1) {
        give_back(v, v->claims, claimed - 1);
    }
    if (!v->broken) {
        v->claims[0] = alone;
        work_suspect(v, &v->claims[0]);
    }
    return claimed > 1 ? ROUND : claimed;
}

/* Studies that are quiet now: is all of them here? What is missing is told to people; it is no verdict on what is here. */
static void look_at_studies(struct validator *v)
{
    enum { LOOKS = 8 };
    struct err e = {0};
    int looked = 0;
    if (state_completeness_look(v->state, config_int(v->worker.config, CFG_COMPLETENESS_QUIET_S) * 1000, LOOKS, &looked, &e) != 0) {
        log_warning("completeness_not_looked_at", "reason=\"%s\"", e.text);
    }
}

static const struct worker_kind kind = {STAGE_VALIDATOR, "uploader", SECRETS_NONE, "Judges received instances", edit_settings_check};

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
    rc = change_start(&v->changer, c, v->home, e);
    return rc ? rc : judge_install(e);
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
            look_at_studies(&v);
            if (v.is_move_left) {
                finish_quarantine(&v);
            }
        }
        worker_look_for_reload(&v.worker);
    }
    if (v.is_move_left) {
        finish_quarantine(&v);
    }
    change_end(&v.changer);
    return worker_end(&v.worker, argv, v.broken);
}
