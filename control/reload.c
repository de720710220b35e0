/*
 * reload - `reload`: tells every living worker by SIGHUP to take over the settings as they are now. Wrong settings are not even told: the
 * workers would keep the old ones, each with a line in its log, and nobody looks there first.
 */
#include "common/dicom/edit_settings.h"
#include "control/control.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

int command_reload(struct request *q)
{
    static struct living found[WORKERS_MAX];
    char reason[96];
    struct err e = {0};
    int told = 0;
    int code = EXIT_FINE;
    if (q->config_is_bad) {
        for (size_t i = 0; config_problem(q->config, i); i++) {
            (void)complain("%s", config_problem(q->config, i));
        }
        return complain("nothing was told to the workers: they go on with the settings that they have");
    }
    if (edit_settings_check(q->config, &e) != 0) {
        (void)complain("%s", e.text);
        return complain("nothing was told to the workers: they go on with the settings that they have");
    }
    size_t count = workers_living(q->home, found, WORKERS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (!process_is_stage(found[i].pid, found[i].stage) || !worker_is_living(q->home, found[i].name)) {
            code = complain("%s is no process that can be seen from here: send SIGHUP to its container or unit", found[i].name);
        } else if (kill(found[i].pid, SIGHUP) == -1) {
            code = complain("%s: %s", found[i].name, strerror_r(errno, reason, sizeof reason));
        } else {
            (void)printf("%s\n", found[i].name);
            told++;
        }
    }
    if (count == 0) {
        return complain("no worker lives on %s; settings are read when one starts", q->home);
    }
    (void)printf("%d workers were told; what cannot change while they run is named in the log (settings_need_restart)\n", told);
    return code;
}
