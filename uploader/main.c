/*
 * storescp-uploader - puts what was validated where it goes: claim, transfer, commit, hint; many transfers at one time, many ends in one commit. Nothing is
 * "uploaded" before S3 confirmed the whole object with the checksum that the receiver took from the network. Any number may run.
 * When a destination is away or refuses us it pauses and the status says so; its instances wait in the spool and are not charged (breaker.h); the others go
 * on. In between it also frees the claims of dead workers and checkpoints the database.
 */
#include "common/aws/s3/s3_key.h"
#include "common/aws/s3/s3_options.h"
#include "common/aws/dicomweb/stow.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "common/worker/worker.h"
#include "uploader/keys.h"
#include "uploader/uploads.h"


struct uploader {
    struct worker worker;
    struct uploads uploads;
};

static void chores(struct uploader *m)
{
    char status[900];
    uploads_status(&m->uploads, status, sizeof status);
    (void)worker_chores(&m->worker, status);
}

static void draining(void *ctx)
{
    struct uploader *m = ctx;
    (void)worker_chores(&m->worker, "draining");
}

static int check_destination(const struct config *c, struct err *e)
{
    struct s3_options options;
    int rc = aws_client_check(c, e); /* again when the client is opened; but a reload with wrong ones must not get that far */
    if (rc != 0) {
        return rc;
    }
    if (config_destination_kind(c) == KIND_DICOMWEB) {
        return stow_check_settings(c, e);
    }
    if (!config_text(c, CFG_DICOM_BUCKET)[0]) {
        return err_set(e, ERR_CONFIG, 0, "dicom_bucket is not set: name the S3 bucket for the images in storescp.conf (or DICOM_BUCKET)");
    }
    rc = s3_key_settings(c, e);
    return rc ? rc : s3_options_read(c, &options, e);
}

static int check_settings(const struct config *c, struct err *e)
{
    return config_check_destinations(c, check_destination, e);
}

static int make_key(void *ctx, const struct state_instance *claim, const struct state_place *of_batch, struct state_place *out, struct err *e)
{
    const struct uploader *m = ctx;
    const struct config *c = config_destination_named(m->worker.config, claim->destination);
    if (!c || (claim->batch[0] != '\0') != (config_destination_kind(c) == KIND_HEALTHIMAGING)) {
        return 0; /* it will be refitted (upload.c) */
    }
    return keys_make(c, claim, of_batch, out, e);
}

static const struct worker_kind kind = {STAGE_UPLOADER, "importer", SECRETS_CLOUD, "Puts validated instances into S3", check_settings};

static int start(struct uploader *m, const char *home, struct err *e)
{
    int rc = worker_start(&m->worker, &kind, home, e);
    if (rc == 0) {
        state_make_keys(m->worker.state, make_key, m);
        rc = uploads_open(&m->uploads, &m->worker, e);
    }
    return rc;
}

int main(int argc, char **argv)
{
    static struct uploader m;
    struct err e = {0};
    const char *home;
    int code = worker_arguments(&kind, argc, argv, &home);
    if (code != WORKER_GOES_ON) {
        return code;
    }
    int rc = start(&m, home, &e);
    if (rc != 0) {
        uploads_close(&m.uploads);
        return worker_not_started(&m.worker, rc, &e);
    }
    worker_ready(&m.worker);
    const int stop = stop_fd();
    while (!stop_requested() && !uploads_are_broken(&m.uploads)) {
        uploads_work(&m.uploads);
        uploads_wait(&m.uploads, stop);
        uploads_settle(&m.uploads);
        chores(&m);
        worker_look_for_reload(&m.worker);
    }
    uploads_drain(&m.uploads, draining, &m);
    bool is_broken = uploads_are_broken(&m.uploads);
    uploads_close(&m.uploads);
    return worker_end(&m.worker, argv, is_broken);
}
