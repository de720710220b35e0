/* certificates - see certificates.h. */
#include "receiver/recorder/certificates.h"

#include "common/dicom/tls.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LOOK_MS = 1000, SETTLE_MS = 2000, NOTICE_MS = 86400000 };

static void say(void *ctx, bool serious, const char *sentence)
{
    char text[700];
    (void)ctx;
    log_write(serious ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, serious ? "tls_trouble" : "tls_notice", "reason=%s", log_text(sentence, text, sizeof text));
}

/* Reads the files and builds what an association process will build, so that they are judged as they will be used. */
static int read_set(const struct tls_settings *settings, struct tls_bundle *bundle, tls_say told, struct err *e)
{
    struct tls *tls = NULL;
    int rc = tls_files_read(bundle, settings, told, NULL, e);
    rc = rc == 0 ? tls_new(&tls, bundle, settings, e) : rc;
    tls_free(&tls);
    return rc;
}

static int take_set(struct certificates *c, const struct tls_bundle *bundle, struct err *e)
{
    int file = -1;
    int rc = tls_bundle_share(bundle, &file, e);
    if (rc != 0) {
        return rc;
    }
    if (c->file != -1) {
        (void)close(c->file);
    }
    c->file = file;
    c->generation++;
    c->is_valid = bundle->is_valid_now;
    c->is_broken = c->is_told = false;
    return 0;
}

/* The files as they are now, with the settings that count from now on. */
static int change(struct certificates *c, const struct tls_settings *settings, struct err *e)
{
    struct tls_bundle bundle;
    uint64_t signature = tls_files_signature(settings); /* before the reading: what changes meanwhile is seen the next time */
    int rc = read_set(settings, &bundle, NULL, e);
    if (rc == 0 && c->file != -1 && c->is_valid && !bundle.is_valid_now) {
        rc = err_set(e, ERR_CONFIG, 0, "tls_certificate: the new certificate in %.150s has expired or is not valid yet", settings->path[TLS_CERTIFICATE]);
    }
    rc = rc == 0 ? take_set(c, &bundle, e) : rc;
    tls_bundle_clear(&bundle);
    c->signature = signature;
    return rc;
}

static void notice(struct certificates *c)
{
    struct tls_bundle bundle;
    c->notice_at_ms = clock_mono_ms() + NOTICE_MS;
    (void)tls_files_read(&bundle, &c->settings, say, NULL, NULL);
    tls_bundle_clear(&bundle);
}

int certificates_begin(struct certificates *c, const struct config *config, struct err *e)
{
    *c = (struct certificates){.file = -1};
    if (config_int(config, CFG_TLS_PORT) == 0) {
        return 0;
    }
    int rc = tls_settings_read(&c->settings, config, e);
    rc = rc == 0 ? change(c, &c->settings, e) : rc;
    if (rc == 0) {
        notice(c);
    }
    return rc;
}

int certificates_reconfigure(struct certificates *c, const struct config *config, struct err *e)
{
    struct tls_settings settings;
    if (c->file == -1) {
        return 0; /* the ports do not change while we run */
    }
    int rc = tls_settings_read(&settings, config, e);
    rc = rc == 0 ? change(c, &settings, e) : rc;
    if (rc == 0) {
        c->settings = settings;
        log_info("certificates_read", "generation=%lld", (long long)c->generation);
        notice(c);
    }
    return rc;
}

void certificates_look(struct certificates *c)
{
    struct err e = {0};
    if (c->file == -1) {
        return;
    }
    int64_t now = clock_mono_ms();
    if (tls_files_signature(&c->settings) != c->signature) {
        if (change(c, &c->settings, &e) == 0) {
            log_info("certificates_replaced", "generation=%lld", (long long)c->generation);
            notice(c);
            return;
        }
        c->broken_since_ms = now; /* anew with every write */
        c->is_broken = true;
        c->is_told = false;
    }
    if (c->is_broken && !c->is_told && now - c->broken_since_ms >= SETTLE_MS) {
        certificates_reload(c);
    }
}

void certificates_reload(struct certificates *c)
{
    struct err e = {0};
    if (c->file == -1) {
        return;
    }
    if (change(c, &c->settings, &e) == 0) {
        log_info("certificates_read", "generation=%lld", (long long)c->generation);
        notice(c);
        return;
    }
    char text[700];
    log_error("certificates_refused", "reason=%s effect=\"the ones that were read before stay in use\"", log_text(e.text, text, sizeof text));
    c->is_broken = c->is_told = true;
}

void certificates_housekeeping(struct certificates *c)
{
    int64_t now = clock_mono_ms();
    if (c->file == -1) {
        return;
    }
    if (now >= c->look_at_ms) {
        c->look_at_ms = now + LOOK_MS;
        certificates_look(c);
    }
    if (now >= c->notice_at_ms) {
        notice(c);
    }
}

void certificates_end(struct certificates *c)
{
    if (c->file != -1) {
        (void)close(c->file);
        c->file = -1;
    }
}
