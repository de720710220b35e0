/* certificates - what `config` and `status` say about the receiver's TLS files: the receiver's own judgement, on the files as they are now. */
#include "common/dicom/tls.h"
#include "control/control.h"

#include <string.h>

bool certificates_look_at(const struct config *config, certificates_say say, void *ctx)
{
    struct tls_settings settings;
    struct tls_bundle bundle = {0};
    struct tls *tls = NULL;
    struct err e = {0};
    if (config_int(config, CFG_TLS_PORT) == 0) {
        return true;
    }
    int rc = tls_settings_read(&settings, config, &e);
    rc = rc == 0 ? tls_files_read(&bundle, &settings, say, ctx, &e) : rc;
    rc = rc == 0 ? tls_new(&tls, &bundle, &settings, &e) : rc;
    tls_free(&tls);
    tls_bundle_clear(&bundle);
    explicit_bzero(settings.password, sizeof settings.password);
    if (rc != 0) {
        say(ctx, true, e.text);
    }
    return rc == 0;
}
