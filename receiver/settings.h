/*
 * settings - the settings that the receiver works with, together with the text they came from: association processes that are started later read that
 * text, not the file as it is by then. So a file that is being edited, or is wrong, changes nothing before SIGHUP. One thread.
 */
#ifndef STORESCP_RECEIVER_SETTINGS_H
#define STORESCP_RECEIVER_SETTINGS_H

#include "common/runtime/config.h"

struct settings {
    struct config *config;
    int fd; /* a copy of storescp.conf in memory; -1 before the first load */
};

/* As config_load(); on ERR_CONFIG out->config is set too. The caller has zeroed *out (fd -1) and clears it in any case. */
int settings_load(struct settings *out, const char *home, struct err *e);
void settings_clear(struct settings *s);
/* For an association process: the settings in the copy that stands at fd. */
int settings_load_copy(struct config **out, const char *home, int fd, struct err *e);

/* After SIGHUP: takes over the new settings of the same home, or keeps the old ones and says why. True if they were taken over: s->config is another
 * one then, and the old one is gone. check: what must hold besides. */
bool settings_reload(struct settings *s, int (*check)(void *ctx, const struct config *c, struct err *e), void *ctx);

#endif
