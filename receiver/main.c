/*
 * storescp-receiver - takes C-ECHO and C-STORE on a TCP port. One program, two mistrusting halves: the recorder (this process) and
 * the association processes that it starts from the same file with --association.
 */
#include "common/runtime/config.h"
#include "common/runtime/log.h"
#include "receiver/protocol.h"
#include "receiver/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    const char *home = NULL;
    int slot = -1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--home") == 0 && i + 1 < argc) {
            home = argv[++i];
        } else if (strcmp(argv[i], "--association") == 0 && i + 1 < argc) {
            slot = (int)strtol(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--version") == 0) {
            return puts("storescp-receiver " STORESCP_VERSION) < 0;
        } else {
            (void)puts("usage: storescp-receiver [--home DIR] [--version]\n"
                       "Receives DICOM instances on scp_port; the settings are in DIR/storescp.conf and the environment.");
            return strcmp(argv[i], "--help") == 0 ? 0 : 2;
        }
    }
    struct settings settings = {NULL, -1};
    struct err e = {0};
    int rc = slot == -1 ? settings_load(&settings, home, &e) : settings_load_copy(&settings.config, home, ASSOCIATION_SETTINGS, &e);
    enum log_level level = LOG_LEVEL_INFO;
    if (settings.config) {
        (void)log_level_parse(config_text(settings.config, CFG_LOG_LEVEL), &level);
    }
    log_init(slot == -1 ? "receiver" : "association", level);
    if (rc != 0) {
        log_error("not_started", "code=%s reason=\"%s\"", err_name(rc), e.text);
        settings_clear(&settings);
        return 78;
    }
    int code = slot == -1 ? recorder_main(&settings) : association_main(settings.config, slot);
    settings_clear(&settings);
    return code;
}
