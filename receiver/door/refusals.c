/* refusals - see refusals.h. */
#include "receiver/door/refusals.h"

#include <stdio.h>
#include <string.h>

/* The place of this key: its own, a free one, or that of the one told longest ago. */
static struct refusal *place_of(struct refusals *r, const char *key)
{
    struct refusal *found = &r->places[0];
    for (int i = 0; i < REFUSALS_MAX; i++) {
        struct refusal *p = &r->places[i];
        if (!p->key[0]) {
            return p; /* places fill from the front and are never freed: no key stands behind a free one */
        }
        if (strcmp(p->key, key) == 0) {
            return p;
        }
        if (p->told_ms < found->told_ms) {
            found = p;
        }
    }
    return found;
}

bool refusals_due(struct refusals *r, int64_t now_ms, const char *peer, const char *reason, unsigned long *untold)
{
    char key[REFUSALS_KEY_SIZE];
    *untold = 0;
    (void)snprintf(key, sizeof key, "%s %s", peer, reason);
    if (r->minute_began_ms == 0 || now_ms - r->minute_began_ms >= 60000) {
        r->minute_began_ms = now_ms;
        r->told_in_minute = 0;
    }
    struct refusal *p = place_of(r, key);
    bool is_known = strcmp(p->key, key) == 0;
    if (is_known && now_ms - p->told_ms < REFUSALS_REPEAT_MS) {
        p->untold++;
        return false;
    }
    if (r->told_in_minute >= REFUSALS_PER_MINUTE) {
        p->untold += is_known;
        return false;
    }
    r->told_in_minute++;
    if (!is_known) {
        memcpy(p->key, key, sizeof p->key);
        p->untold = 0;
    }
    *untold = p->untold;
    p->untold = 0;
    p->told_ms = now_ms;
    return true;
}
