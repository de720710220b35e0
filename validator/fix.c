/* fix - see fix.h. */
#include "validator/fix.h"

#include "common/dicom/scan.h"
#include "common/runtime/runtime.h"
#include "common/spool/spool.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first rule that fits an element decides: of two orders about it the younger one. */
static int make_plan(struct fixed *f, struct err *e)
{
    char by[64];
    int rc = edit_plan_new(&f->plan, e);
    for (size_t i = f->count; rc == 0 && i > 0; i--) {
        const struct state_fix *order = &f->orders[i - 1];
        (void)snprintf(by, sizeof by, "order %lld of %.40s", (long long)order->id, order->who);
        rc = edit_plan_add(f->plan, order->actions, by, e);
    }
    return rc;
}

static int put(void *ctx, const void *bytes, size_t count, struct err *e)
{
    return spool_write(ctx, bytes, count, e);
}

/* As a file of its own in changed/: what the sender's rules make of it later will stand there in its place. */
int fix_write(const char *home, struct state_instance *claim, int fd, struct fixed *f, struct err *e)
{
    const struct edited *d = &f->edited;
    struct state_received *r = &claim->r;
    struct spool_writer *w = NULL;
    struct spool_meta meta;
    if (d->change_total == 0) {
        return 0;
    }
    memset(&meta, 0, sizeof meta);
    if (d->sop_instance_uid[0]) {
        (void)snprintf(r->sop_instance_uid, sizeof r->sop_instance_uid, "%s", d->sop_instance_uid);
    }
    (void)snprintf(meta.id, sizeof meta.id, "%s", r->id);
    (void)snprintf(meta.sop_class_uid, sizeof meta.sop_class_uid, "%s", d->sop_class_uid[0] ? d->sop_class_uid : r->sop_class_uid);
    (void)snprintf(meta.sop_instance_uid, sizeof meta.sop_instance_uid, "%s", r->sop_instance_uid);
    (void)snprintf(meta.transfer_syntax_uid, sizeof meta.transfer_syntax_uid, "%s", r->transfer_syntax_uid);
    (void)snprintf(meta.calling_ae, sizeof meta.calling_ae, "%s", r->calling_ae);
    (void)snprintf(meta.called_ae, sizeof meta.called_ae, "%s", r->called_ae);
    int rc = spool_change_begin(&w, home, &meta, e);
    if (rc != 0) {
        return rc;
    }
    rc = edit_write(d, fd, put, w, e);
    if (rc != 0) {
        spool_abort(&w);
        return rc;
    }
    rc = spool_finish(&w, r->received_ms, &meta, e);
    f->fd = rc == 0 ? spool_open_changed(home, r->id, e) : -1;
    return rc == 0 && f->fd < 0 ? f->fd : rc;
}

static int could_not(const struct fixed *f, const struct err *why, struct err *e)
{
    return err_set(e, ERR_DICOM_EDIT, 0, "order %lld could not be done: %.200s", (long long)f->orders[f->count - 1].id, why->text);
}

int fix_begin(struct state *s, const struct state_instance *claim, int fd, struct fixed *out, struct err *e)
{
    struct dicom_scan scan;
    struct err why = {0};
    memset(out, 0, sizeof *out);
    out->fd = -1;
    out->orders = calloc(FIX_MAX, sizeof *out->orders);
    if (!out->orders) {
        return err_set(e, ERR_MEMORY, 0, "orders about an instance");
    }
    int scanned = dicom_scan_fd(fd, &scan, &why);
    if (scanned != 0 && err_class_of(scanned) != ERR_CLASS_REFUSE) {
        *e = why;
        return scanned;
    }
    int rc = state_fix_find(s, claim, scan.study_uid, out->orders, FIX_MAX, &out->count, e);
    if (rc != 0 || out->count == 0) {
        return rc;
    }
    if (scanned != 0) {
        return could_not(out, &why, e);
    }
    rc = make_plan(out, &why);
    rc = rc ? rc : edit_apply(fd, out->plan, &out->edited, &why);
    if (rc == ERR_DICOM_EDIT || rc == ERR_DICOM_LIMIT || rc == ERR_CONFIG) {
        return could_not(out, &why, e);
    }
    if (rc != 0) {
        *e = why;
    }
    return rc;
}

void fix_end(struct fixed *f)
{
    if (f->orders && f->fd >= 0) {
        (void)close(f->fd);
    }
    free(f->orders);
    edit_clear(&f->edited);
    edit_plan_free(&f->plan);
    memset(f, 0, sizeof *f);
}
