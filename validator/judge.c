/* judge - what the validator makes of one file: the header by the rules, its destination, its twin. */
#include "common/dicom/scan.h"
#include "common/runtime/runtime.h"
#include "common/spool/spool.h"
#include "common/state/quarantine.h"
#include "validator/validator.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- twins and destinations ---------------------------------------------------------------------------------------------------- */

/* Compares the data sets of two instances of equal size, byte for byte. *differ stays false when one of the files is gone. */
static int compare_bytes(struct validator *v, const char *id, const char *other, bool *differ, struct err *e)
{
    struct spool_meta ours;
    struct spool_meta theirs;
    char left[65536];
    char right[65536];
    int a = spool_open_received(v->home, id, e);
    int b = a < 0 ? a : spool_open_received(v->home, other, e);
    int rc = b < 0 ? b : spool_read_received(v->home, id, 0, &ours, e);
    rc = rc ? rc : spool_read_received(v->home, other, 0, &theirs, e);
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

/* ---- the header and its rules, in bounded time ----------------------------------------------------------------------------------- */

/* What the handler says, made ready before: it may call hardly anything. */
static struct {
    char line[200];
    size_t count;
} late;

static void on_alarm(int number)
{
    (void)number;
    ssize_t said = write(STDERR_FILENO, late.line, late.count);
    _exit(said < 0 ? 76 : 75); /* as if it had died of the file: the mark tells of which */
}

int judge_install(struct err *e)
{
    struct sigaction action = {.sa_handler = on_alarm};
    (void)sigemptyset(&action.sa_mask);
    return sigaction(SIGALRM, &action, NULL) == 0 ? 0 : err_set(e, ERR_IO, errno, "cannot install the time limit of judge_s");
}

static void judge_began(struct validator *v, const char *id)
{
    int n = snprintf(late.line, sizeof late.line, "instance_not_judged instance=%s judge_s=%lld effect=\"this validator ends; the file is tried again alone\"\n", id,
                     config_int(v->worker.config, CFG_JUDGE_S));
    late.count = n > 0 && n < (int)sizeof late.line ? (size_t)n : 0;
    state_worker_mark(v->state, id);
    (void)alarm((unsigned)config_int(v->worker.config, CFG_JUDGE_S));
}

void judge_over(struct validator *v)
{
    (void)alarm(0);
    state_worker_mark(v->state, "");
}

/* What everybody's settings and those of the sender's section make of the table of rules. */
static const struct rule_severities *severities_for(struct validator *v, const char *calling_ae)
{
    const struct config *c = v->worker.config;
    const struct config_section *section = config_for_ae(c, calling_ae);
    const char *own = NULL;
    const char *origin = NULL;
    size_t i = 0;
    while (i < v->severities_count && v->severities[i].section != section) {
        i++;
    }
    if (i == v->severities_count) {
        i = i < SECTIONS_KEPT ? v->severities_count++ : SECTIONS_KEPT - 1;
        v->severities[i].section = section;
        rule_severities_preset(&v->severities[i].severities);
        (void)rule_severities_set(&v->severities[i].severities, config_text(c, CFG_RULES), NULL); /* config_load() has checked them */
        if (section && config_section_sets(section, CFG_RULES, &own, &origin)) {
            (void)rule_severities_set(&v->severities[i].severities, own, NULL);
        }
    }
    return &v->severities[i].severities;
}

/* What a person accepted for this instance (`storescpctl quarantine release`) does not refuse it again; it is told as a warning. */
static int accept_findings(struct validator *v, const char *id, struct rules_verdict *verdict, struct err *e)
{
    for (size_t i = 0; i < verdict->count; i++) {
        struct rule_finding *f = &verdict->findings[i];
        bool is_accepted = false;
        int rc = f->severity == RULE_REJECT ? state_rule_is_accepted(v->state, id, rule_at(f->rule)->id, &is_accepted, e) : 0;
        if (rc != 0) {
            return rc;
        }
        if (is_accepted) {
            char text[sizeof f->text];
            (void)snprintf(text, sizeof text, "accepted by a person: %.*s", (int)sizeof text - 30, f->text);
            memcpy(f->text, text, sizeof text);
            f->severity = RULE_WARN;
        }
    }
    rules_decide(verdict);
    return 0;
}

/* What refuses it and is no rule of the table: the file's size or that it is gone. Gives rc back, or 0. */
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

/* Reads the header and judges it by the rules: the findings of the verdict after the judged ones. */
static int judge_file(struct validator *v, const struct state_instance *claim, int fd, struct dicom_scan *scan, size_t judged, struct err *e)
{
    struct state_validation *out = &v->verdicts[judged];
    struct judgement *j = &v->judgements[judged];
    int rc = dicom_scan_fd(fd, scan, e);
    if (rc != 0 && err_class_of(rc) != ERR_CLASS_REFUSE) {
        return rc;
    }
    rules_judge(scan, rc, rc ? e->text : "", severities_for(v, claim->r.calling_ae), &j->verdict);
    int asked = accept_findings(v, claim->r.id, &j->verdict, e);
    if (asked != 0) {
        return asked;
    }
    rules_warning(&j->verdict, out->identity.warning, sizeof out->identity.warning);
    for (size_t i = 0; i < j->verdict.count; i++) {
        const struct rule_finding *f = &j->verdict.findings[i];
        j->findings[i] = (struct state_finding){rule_at(f->rule)->id, rule_severity_name(f->severity), f->tag, f->text};
    }
    out->findings = j->findings;
    out->finding_count = j->verdict.count;
    return j->verdict.code ? err_set(e, j->verdict.code, 0, "%s", j->verdict.because->text) : 0;
}

/* Does what persons ordered about it. *fd is the corrected file then. why: of ERR_DICOM_EDIT; the sender's file is judged on, for its identity. */
static int correct(struct validator *v, struct state_instance *claim, size_t judged, int *fd, struct err *why, struct err *e)
{
    struct fixed *f = &v->fixed[judged];
    struct err got = {0};
    int rc = v->any_orders ? fix_begin(v->state, claim, *fd, f, &got) : 0;
    if (rc == 0 && f->count > 0) {
        (void)alarm(0); /* the copy of a large file may take longer, and that is no fault of the file */
        rc = fix_write(v->home, claim, *fd, f, &got);
        (void)alarm((unsigned)config_int(v->worker.config, CFG_JUDGE_S));
        *fd = f->fd >= 0 ? f->fd : *fd;
    }
    if (rc == ERR_DICOM_EDIT) {
        *why = got;
        return 0;
    }
    if (rc != 0) {
        *e = got;
    }
    return rc;
}

/* The verdict on the file as it would go on, but for its sender's rules: corrected by orders, judged by the rules, accepted by persons. */
static int judge_corrected(struct validator *v, struct state_instance *claim, size_t judged, int fd, struct dicom_scan *scan, struct err *e)
{
    struct state_validation *out = &v->verdicts[judged];
    struct fixed *f = &v->fixed[judged];
    struct err why = {0};
    int rc = correct(v, claim, judged, &fd, &why, e);
    rc = rc ? rc : judge_file(v, claim, fd, scan, judged, e);
    if (why.code != 0 && (rc == 0 || err_class_of(rc) == ERR_CLASS_REFUSE)) {
        *e = why;
        rc = why.code;
    }
    rc = unless_accepted(v, claim->r.id, rc, out->identity.warning, sizeof out->identity.warning, e);
    if (why.code != 0 && rc == 0) { /* a person sends it on as it came */
        fix_end(f);
    }
    out->fixes = f->orders;
    out->fix_count = f->count;
    return rc;
}

/* What the rules for its sender, behind what persons ordered, make of a good file, which is judged once more then: *fd and *scan become those of the
 * changed one. Whoever has rules goes on with them or not at all, whatever a person accepts. */
static int change_file(struct validator *v, const struct state_instance *claim, int *fd, struct dicom_scan *scan, size_t judged, struct err *e)
{
    struct edit_plan *plan = v->fixed[judged].count > 0 ? v->fixed[judged].plan : NULL;
    struct state_validation *out = &v->verdicts[judged];
    struct changed_file *changed = &v->changed[judged];
    bool made = false;
    int rc = plan ? change_plan(&v->changer, claim->r.calling_ae, plan, e) : 0;
    rc = rc ? rc : change_make(&v->changer, claim, *fd, plan, changed, &made, e);
    if (rc != 0 || !made) {
        return rc;
    }
    struct dicom_scan received = *scan;
    (void)close(*fd);
    out->changed = &changed->row;
    *fd = spool_open(v->home, claim->r.id, e);
    memset(scan, 0, sizeof *scan);
    rc = *fd < 0 ? *fd : judge_file(v, claim, *fd, scan, judged, e);
    if (changed->is_deidentified) {
        change_keep_identity(scan, &received);
        change_warn(changed, out->identity.warning, sizeof out->identity.warning);
    }
    return rc;
}

int judge(struct validator *v, struct state_instance *claim, size_t judged, struct err *e)
{
    struct dicom_scan scan;
    struct stat info;
    struct state_validation *out = &v->verdicts[judged];
    memset(out, 0, sizeof *out);
    memset(&scan, 0, sizeof scan);
    out->claim = claim;
    out->urgent = config_bool_for(v->worker.config, config_for_ae(v->worker.config, claim->r.calling_ae), CFG_URGENT);
    judge_began(v, claim->r.id);
    fix_end(&v->fixed[judged]);
    change_clear(&v->changed[judged]);
    int rc = spool_change_undo(v->home, claim->r.id, e); /* of a worker that got no further */
    int fd = rc ? -1 : spool_open(v->home, claim->r.id, e);
    rc = rc == 0 && fd < 0 ? fd : rc;
    if (rc == 0 && fstat(fd, &info) == -1) {
        rc = err_set(e, ERR_IO, errno, "size of instance %s", claim->r.id);
    }
    if (rc == 0 && info.st_size != claim->r.file_bytes) {
        rc = err_set(e, ERR_SPOOL_DAMAGED, 0, "the spool file has another size than was received: check the disk; have it sent again");
    }
    rc = rc ? unless_accepted(v, claim->r.id, rc, out->identity.warning, sizeof out->identity.warning, e) : judge_corrected(v, claim, judged, fd, &scan, e);
    (void)alarm(0); /* the bytes of a large twin may take longer, and that is no fault of the file; so may the copy of what rules change */
    rc = rc ? rc : change_file(v, claim, &fd, &scan, judged, e);
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
