/* change - see change.h. */
#include "validator/change.h"
#include "common/dicom/edit_settings.h"
#include "common/runtime/runtime.h"
#include "common/spool/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the key of pseudonyms -------------------------------------------------------------------------------------------------------- */

static int key_path(const struct config *config, char *path, size_t size, struct err *e)
{
    const char *file = config_text(config, CFG_PSEUDONYM_KEY_FILE);
    int n = file[0] == '/' ? snprintf(path, size, "%s", file) : snprintf(path, size, "%s/%s", config_home(config), file);
    return n > 0 && (size_t)n < size ? 0 : err_set(e, ERR_CONFIG, 0, "pseudonym_key_file: the name is too long");
}

/* 64 hexadecimal digits. ERR_NOT_FOUND: there is no file. */
static int key_read(const char *path, unsigned char key[EDIT_KEY_BYTES], struct err *e)
{
    char text[2 * EDIT_KEY_BYTES + 1] = "";
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1) {
        return errno == ENOENT ? ERR_NOT_FOUND : err_set(e, ERR_CONFIG, errno, "pseudonym_key_file %s cannot be read", path);
    }
    ssize_t n = read(fd, text, sizeof text - 1);
    int rc = fstat(fd, &info) == -1 || (info.st_mode & 077) != 0
                 ? err_set(e, ERR_CONFIG, 0, "pseudonym_key_file %s may be read by others: chmod 600", path)
                 : 0;
    (void)close(fd);
    for (size_t i = 0; rc == 0 && i < EDIT_KEY_BYTES; i++) {
        unsigned byte = 0;
        if (n != (ssize_t)sizeof text - 1 || strspn(text + 2 * i, "0123456789abcdef") < 2 || sscanf(text + 2 * i, "%2x", &byte) != 1) {
            rc = err_set(e, ERR_CONFIG, 0, "pseudonym_key_file %s does not begin with %d hexadecimal digits: bring back the one that was used before", path,
                         2 * EDIT_KEY_BYTES);
        }
        key[i] = (unsigned char)byte;
    }
    explicit_bzero(text, sizeof text);
    return rc;
}

/* Several validators may start at one time: the first whose complete file gets the name decides. */
static int key_make(const char *path, struct err *e)
{
    char beside[4400];
    char text[2 * EDIT_KEY_BYTES + 2];
    (void)snprintf(beside, sizeof beside, "%s.%ld", path, (long)getpid());
    for (size_t i = 0; i < EDIT_KEY_BYTES; i += 4) {
        (void)snprintf(text + 2 * i, sizeof text - 2 * i, "%08x", random_u32());
    }
    (void)snprintf(text + 2 * EDIT_KEY_BYTES, 2, "\n");
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd == -1) {
        return err_set(e, ERR_CONFIG, errno, "pseudonym_key_file %s cannot be made", path);
    }
    int rc = write_all(fd, text, sizeof text - 1, e);
    explicit_bzero(text, sizeof text);
    if (rc == 0 && fsync(fd) == -1) {
        rc = err_set(e, ERR_CONFIG, errno, "pseudonym_key_file %s cannot be made", path);
    }
    (void)close(fd);
    if (rc == 0 && link(beside, path) == -1 && errno != EEXIST) {
        rc = err_set(e, ERR_CONFIG, errno, "pseudonym_key_file %s cannot be made", path);
    }
    (void)unlink(beside);
    char *slash = strrchr(beside, '/');
    if (rc == 0 && slash) {
        slash[1] = '\0';
        rc = directory_sync(beside, e);
    }
    return rc;
}

static int need_key(struct changer *c, struct err *e)
{
    char path[4352];
    if (c->has_key) {
        return 0;
    }
    int rc = key_path(c->config, path, sizeof path, e);
    if (rc == 0) {
        rc = key_read(path, c->key, e);
        if (rc == ERR_NOT_FOUND) {
            rc = key_make(path, e);
            rc = rc ? rc : key_read(path, c->key, e);
        }
    }
    c->has_key = rc == 0;
    return rc;
}

/* ---- rules --------------------------------------------------------------------------------------------------------------------------- */

/* The plan of the sender's section; made once. NULL with *e set. */
static struct edit_plan *plan_of(struct changer *c, const char *calling_ae, struct err *e)
{
    const struct config_section *section = config_for_ae(c->config, calling_ae);
    size_t i = 0;
    while (i < c->plan_count && c->plans[i].section != section) {
        i++;
    }
    if (i < c->plan_count) {
        return c->plans[i].plan;
    }
    struct edit_plan *plan = NULL;
    int rc = edit_plan_new(&plan, e);
    rc = rc ? rc : edit_plan_add_settings(c->config, section, plan, e);
    rc = rc == 0 && edit_plan_needs_key(plan) ? need_key(c, e) : rc;
    if (rc != 0) {
        edit_plan_free(&plan);
        return NULL;
    }
    if (c->has_key) {
        edit_plan_key(plan, c->key);
    }
    if (c->plan_count == CHANGE_PLANS_MAX) { /* more sections than that: the last place is used by turns */
        edit_plan_free(&c->plans[--c->plan_count].plan);
    }
    c->plans[c->plan_count].section = section;
    c->plans[c->plan_count].plan = plan;
    return c->plans[c->plan_count++].plan;
}

int change_start(struct changer *c, const struct config *config, const char *home, struct err *e)
{
    struct edit_plan *plan = NULL;
    memset(c, 0, sizeof *c);
    c->config = config;
    c->home = home;
    int rc = edit_plan_new(&plan, e); /* all together tell whether a key is needed: a site hears of a wrong one now, not with the first image */
    rc = rc ? rc : edit_plan_add_settings(config, NULL, plan, e);
    for (size_t i = 0; rc == 0 && config_section_at(config, i); i++) {
        if (!edit_plan_needs_key(plan)) {
            edit_plan_free(&plan);
            rc = edit_plan_new(&plan, e);
            rc = rc ? rc : edit_plan_add_settings(config, config_section_at(config, i), plan, e);
        }
    }
    rc = rc == 0 && edit_plan_needs_key(plan) ? need_key(c, e) : rc;
    edit_plan_free(&plan);
    return rc;
}

void change_end(struct changer *c)
{
    while (c->plan_count > 0) {
        edit_plan_free(&c->plans[--c->plan_count].plan);
    }
    explicit_bzero(c->key, sizeof c->key);
}

int change_plan(struct changer *c, const char *calling_ae, struct edit_plan *plan, struct err *e)
{
    int rc = edit_plan_add_settings(c->config, config_for_ae(c->config, calling_ae), plan, e);
    rc = rc == 0 && edit_plan_needs_key(plan) ? need_key(c, e) : rc;
    if (rc == 0 && c->has_key) {
        edit_plan_key(plan, c->key);
    }
    return rc;
}

bool change_has_rules(struct changer *c, const char *calling_ae)
{
    const struct config_section *section = config_for_ae(c->config, calling_ae);
    return config_text_for(c->config, section, CFG_COERCE)[0] || strcmp(config_text_for(c->config, section, CFG_DEIDENTIFY), "off") != 0;
}

/* ---- one file ------------------------------------------------------------------------------------------------------------------------- */

static int put(void *ctx, const void *bytes, size_t count, struct err *e)
{
    return spool_write(ctx, bytes, count, e);
}

/* Writes what was edited beside the sender's file and puts it in its place. A de-identified file does not name the sender either. */
static int write_changed(struct changer *c, const struct state_instance *claim, int fd, bool is_deidentified, struct changed_file *f, struct err *e)
{
    struct spool_meta meta;
    struct spool_writer *w = NULL;
    const struct state_received *r = &claim->r;
    const struct edited *d = &f->edited;
    memset(&meta, 0, sizeof meta);
    (void)snprintf(meta.id, sizeof meta.id, "%s", r->id);
    (void)snprintf(meta.sop_class_uid, sizeof meta.sop_class_uid, "%s", d->sop_class_uid[0] ? d->sop_class_uid : r->sop_class_uid);
    (void)snprintf(meta.sop_instance_uid, sizeof meta.sop_instance_uid, "%s", d->sop_instance_uid[0] ? d->sop_instance_uid : r->sop_instance_uid);
    (void)snprintf(meta.transfer_syntax_uid, sizeof meta.transfer_syntax_uid, "%s", r->transfer_syntax_uid);
    if (!is_deidentified) {
        (void)snprintf(meta.calling_ae, sizeof meta.calling_ae, "%s", r->calling_ae);
        (void)snprintf(meta.called_ae, sizeof meta.called_ae, "%s", r->called_ae);
    }
    int rc = spool_change_begin(&w, c->home, &meta, e);
    if (rc != 0) {
        return rc;
    }
    rc = edit_write(d, fd, put, w, e);
    if (rc != 0) {
        spool_abort(&w);
        return rc;
    }
    rc = spool_finish(&w, is_deidentified ? 0 : r->received_ms, &meta, e);
    rc = rc ? rc : spool_change_switch(c->home, r->id, e);
    if (rc == 0) {
        f->row.file_bytes = meta.file_bytes;
        f->row.file_crc32c = meta.file_crc32c;
        (void)snprintf(f->row.sop_instance_uid, sizeof f->row.sop_instance_uid, "%s", meta.sop_instance_uid);
        (void)snprintf(f->row.study_uid, sizeof f->row.study_uid, "%s", d->study_uid);
        (void)snprintf(f->row.series_uid, sizeof f->row.series_uid, "%s", d->series_uid);
    }
    return rc;
}

/* The audit: rows that point into f->edited, and all who had a say in one line. */
static int fill_rows(struct changer *c, struct changed_file *f, struct err *e)
{
    const struct edited *d = &f->edited;
    bool keep = config_bool(c->config, CFG_CHANGE_VALUES);
    f->rows = calloc(d->change_count, sizeof *f->rows);
    if (!f->rows) {
        return err_set(e, ERR_MEMORY, 0, "audit of changes");
    }
    for (size_t i = 0; i < d->change_count; i++) {
        const struct edit_change *one = &d->changes[i];
        size_t used = strlen(f->row.by);
        f->rows[i] = (struct state_change){one->path, one->vr, one->action, one->by, keep ? one->old_value : NULL, keep ? one->new_value : NULL};
        if (!strstr(f->row.by, one->by) && used + strlen(one->by) + 3 < sizeof f->row.by) {
            (void)snprintf(f->row.by + used, sizeof f->row.by - used, "%s%s", used ? ", " : "", one->by);
        }
    }
    f->row.changes = f->rows;
    f->row.count = d->change_count;
    f->row.total = d->change_total;
    return 0;
}

int change_make(struct changer *c, const struct state_instance *claim, int fd, struct edit_plan *plan, struct changed_file *out, bool *made, struct err *e)
{
    *made = false;
    memset(out, 0, sizeof *out);
    if (!plan && !change_has_rules(c, claim->r.calling_ae)) {
        return 0;
    }
    const struct edit_plan *use = plan ? plan : plan_of(c, claim->r.calling_ae, e);
    if (!use) {
        return e->code;
    }
    int rc = edit_plan_is_empty(use) ? 0 : edit_apply(fd, use, &out->edited, e);
    if (rc != 0 || out->edited.change_total == 0) {
        return rc;
    }
    out->is_deidentified = edit_plan_deidentifies(use);
    rc = write_changed(c, claim, fd, out->is_deidentified, out, e);
    free(out->edited.head);
    free(out->edited.tail);
    out->edited.head = out->edited.tail = NULL;
    rc = rc ? rc : fill_rows(c, out, e);
    *made = rc == 0;
    return rc;
}

void change_clear(struct changed_file *f)
{
    edit_clear(&f->edited);
    free(f->rows);
    memset(f, 0, sizeof *f);
}

/* An identifier that a rule put into an empty place counts. */
static void keep(char *changed, const char *received, size_t size)
{
    if (received[0]) {
        (void)snprintf(changed, size, "%s", received);
    }
}

void change_keep_identity(struct dicom_scan *changed, const struct dicom_scan *received)
{
    keep(changed->study_uid, received->study_uid, sizeof changed->study_uid);
    keep(changed->series_uid, received->series_uid, sizeof changed->series_uid);
    keep(changed->accession_number, received->accession_number, sizeof changed->accession_number);
    keep(changed->patient_id, received->patient_id, sizeof changed->patient_id);
    keep(changed->study_date, received->study_date, sizeof changed->study_date);
    keep(changed->study_id, received->study_id, sizeof changed->study_id);
}

void change_warn(const struct changed_file *f, char *warning, size_t size)
{
    size_t used = strlen(warning);
    if (strcmp(f->edited.burned_in, "NO") != 0 && used < size) {
        (void)snprintf(warning + used, size - used, "%sde-identified, but (0028,0301) does not say that nothing is burned into the pixels", used ? "; " : "");
    }
}
