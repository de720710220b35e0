/*
 * storescp-receiver - takes C-ECHO, C-STORE and storage commitment on a TCP port. One program, two mistrusting halves: the recorder (this process) and
 * the association processes that it starts from the same file with --association;
 * while storage commitments are under way, with --notify, also the notifier.
 */
#include "common/runtime/config.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "receiver/association/commitment.h"
#include "receiver/association/policy.h"
#include "receiver/protocol.h"
#include "receiver/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    const char *home = NULL;
    int slot = -1;
    int channel = -1;
    bool check = false;
    bool notify = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--home") == 0 && i + 1 < argc) {
            home = argv[++i];
        } else if (strcmp(argv[i], "--association") == 0 && i + 1 < argc) {
            slot = (int)strtol(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--check") == 0) {
            check = true;
        } else if (strcmp(argv[i], "--notify") == 0 && i + 1 < argc) {
            channel = (int)strtol(argv[++i], NULL, 10);
            notify = true;
        } else if (strcmp(argv[i], "--version") == 0) {
            return puts("storescp-receiver " STORESCP_VERSION) < 0;
        } else {
            (void)puts("usage: storescp-receiver [--home DIR] [--check] [--version]\n"
                       "--check: only says what is wrong with the settings (exit code 78)\n"
                       "Receives DICOM instances on scp_port; the settings are in DIR/storescp.conf and the environment.");
            return strcmp(argv[i], "--help") == 0 ? 0 : 2;
        }
    }
    struct settings settings = {NULL, -1};
    struct err e = {0};
    int rc = slot == -1 ? settings_load(&settings, home, &e) : settings_load_copy(&settings.config, home, ASSOCIATION_SETTINGS, &e);
    enum log_level level = LOG_LEVEL_INFO;
    config_forget_environment(SECRETS_RECEIVER);
    if (settings.config) {
        process_shield(config_bool(settings.config, CFG_CORE_DUMPS));
        (void)log_level_parse(config_text(settings.config, CFG_LOG_LEVEL), &level);
    }
    if (check) {
        rc = rc == 0 ? policy_check(settings.config, &e) : rc;
        settings_clear(&settings);
        return rc == 0 ? 0 : puts(e.text) < 0 ? 1 : 78;
    }
    log_init(slot == -1 && !notify ? "receiver" : notify ? "notifier" : "association", level);
    if (rc != 0) {
        log_error("not_started", "code=%s reason=\"%s\"", err_name(rc), e.text);
        settings_clear(&settings);
        return 78;
    }
    int code = notify ? notify_main(settings.config, channel) : slot == -1 ? recorder_main(&settings) : association_main(settings.config, slot);
    settings_clear(&settings);
    return code;
}
