/*
 * listeners - are the settings of events and hints (docs/operations.md, "Events") such as can work? Asks nobody.
 */
#ifndef STORESCP_AWS_LISTENERS_H
#define STORESCP_AWS_LISTENERS_H

#include "common/runtime/config.h"

/* ERR_CONFIG names the setting, its line and what to write. region: where the queues must be, NULL: not known yet. */
int aws_listeners_check(const struct config *config, const char *region, struct err *e);

#endif
