/* reload - new settings while running; see reload.c. reload_install() of runtime.h comes first. */
#ifndef STORESCP_RUNTIME_RELOAD_H
#define STORESCP_RUNTIME_RELOAD_H

#include "common/runtime/config.h"

/* Call now and then, between two pieces of work: after a SIGHUP it loads the settings of home, and if they are right, for check() (may be NULL) as
 * well, asks for the restart of reload_by_restart(). */
void reload_look(const char *home, int (*check)(const struct config *c, struct err *e));
/* One log line for each problem of settings that are not taken over. */
void reload_complain(const struct config *c);

#endif
