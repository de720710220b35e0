/* orphan - what waits for a destination that storescp.conf has no more. See worker.h. */
#include "common/worker/worker.h"

#include "common/runtime/log.h"
#include "common/runtime/runtime.h"

#include <stdio.h>
#include <string.h>

enum { LOOK_MS = 5000 };

static void tell(struct worker_orphan *o, const char *name, bool is_known)
{
    if (is_known) {
        (void)snprintf(o->text, sizeof o->text, "[destination %s] imports nothing (destination_kind) and batches wait there for their import: correct it, or "
                       "storescpctl move %s NAME", name, name);
    } else {
        (void)snprintf(o->text, sizeof o->text, "instances wait for the destination %s, and storescp.conf has no section [destination %s]: put it back, or "
                       "storescpctl move %s NAME", name, name, name);
    }
    if (strcmp(o->name, name) != 0) {
        (void)snprintf(o->name, sizeof o->name, "%s", name);
        log_error("destination_missing", "destination=%s reason=\"%s\" effect=\"nothing is lost; it waits\"", name, o->text);
    }
}

void worker_look_for_orphan(struct worker *w, struct worker_orphan *o, bool (*is_served)(const struct config *destination))
{
    struct err e = {0};
    char name[STATE_DESTINATION_SIZE];
    bool found = true;
    bool any = false;
    int64_t now = clock_mono_ms();
    if (now < o->look_at_ms) {
        return;
    }
    o->look_at_ms = now + LOOK_MS;
    for (size_t i = 0; !any; i++) {
        bool waits = false;
        if (state_destination_at(w->state, i, name, &found, &e) != 0 || !found) {
            break;
        }
        const struct config *d = config_destination_named(w->config, name);
        if (d && is_served(d)) {
            continue;
        }
        if (state_destination_waits(w->state, name, w->kind->stage, &waits, &e) == 0 && waits) {
            any = true;
            tell(o, name, d != NULL);
        }
    }
    if (!any && o->name[0]) {
        log_info("destination_served", "destination=%s", o->name);
        o->name[0] = o->text[0] = '\0';
    }
}
