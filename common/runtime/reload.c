/*
 * reload - SIGHUP for a stage whose settings are woven into everything: when the new ones are right it finishes what it has in hand and begins
 * anew in the same process; when they are wrong it goes on with the old ones and says what is wrong.
 */
#include "common/runtime/reload.h"

#include "common/runtime/log.h"
#include "common/runtime/runtime.h"

void reload_complain(const struct config *c)
{
    for (size_t i = 0; config_problem(c, i); i++) {
        char text[700];
        log_error("settings_kept", "problem=%s effect=\"the old settings stay\" remedy=\"correct it, then: storescpctl reload\"",
                  log_text(config_problem(c, i), text, sizeof text));
    }
}

void reload_look(const char *home, int (*check)(const struct config *c, struct err *e))
{
    struct config *c = NULL;
    struct err e = {0};
    if (!reload_taken()) {
        return;
    }
    int rc = config_load(&c, home, &e);
    if (rc == 0 && check) {
        rc = check(c, &e);
        if (rc != 0) {
            log_error("settings_kept", "problem=\"%s\" effect=\"the old settings stay\" remedy=\"correct it, then: storescpctl reload\"", e.text);
        }
    } else if (c) {
        reload_complain(c);
    }
    config_free(&c);
    if (rc == 0) {
        log_info("settings_reloaded", "how=\"this worker finishes what it has in hand and begins anew\"");
        reload_by_restart();
    }
}
