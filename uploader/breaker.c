/* breaker - see breaker.h. */
#include "uploader/breaker.h"
#include "common/runtime/runtime.h"

#include <string.h>

enum { FIRST_MS = 500, FIRST_CONFIG_MS = 2000, LONGEST_MS = 30000, LONGEST_CONFIG_MS = 60000 };

int breaker_room(const struct breaker *b, int64_t now_ms, int busy, int most)
{
    if (b->open) {
        return busy == 0 && now_ms >= b->until_ms;
    }
    return busy < most ? most - busy : 0;
}

int64_t breaker_wait_ms(const struct breaker *b, int64_t now_ms)
{
    return b->open && b->until_ms > now_ms ? b->until_ms - now_ms : 0;
}

static size_t find(const struct breaker *b, const char *id)
{
    size_t i = 0;
    while (i < BREAKER_SUSPECTS && strcmp(b->suspects[i].id, id) != 0) {
        i++;
    }
    return i;
}

bool breaker_blames(const struct breaker *b, const char *id, int64_t first_failed_ms)
{
    size_t i = find(b, id);
    int64_t failed_ms = i < BREAKER_SUSPECTS ? b->suspects[i].failed_ms : first_failed_ms;
    return failed_ms > 0 && b->good_began_ms > failed_ms;
}

bool breaker_failed(struct breaker *b, const char *id, const struct err *why, int64_t began_ms, int64_t now_ms, int64_t first_failed_ms,
                    uint32_t random)
{
    size_t i = find(b, id);
    if (i == BREAKER_SUSPECTS) {
        i = b->next_suspect++ % BREAKER_SUSPECTS;
    }
    (void)snprintf(b->suspects[i].id, sizeof b->suspects[i].id, "%s", id);
    b->suspects[i].failed_ms = first_failed_ms > 0 ? first_failed_ms : now_ms;
    if (b->open && began_ms < b->opened_ms) {
        return false;
    }
    if (!b->open && now_ms - b->closed_ms >= BREAKER_FORGET_MS) {
        b->openings = 0;
    }
    b->open = true;
    b->opened_ms = now_ms;
    bool config = err_class_of(why->code) == ERR_CLASS_CONFIG;
    b->until_ms = now_ms + backoff_ms(b->openings, config ? FIRST_CONFIG_MS : FIRST_MS, config ? LONGEST_CONFIG_MS : LONGEST_MS, random);
    b->openings += b->openings < 20;
    b->successes = 0;
    b->why = *why;
    return true;
}

bool breaker_succeeded(struct breaker *b, const char *id, int64_t began_ms, int64_t now_ms)
{
    size_t i = find(b, id);
    if (i < BREAKER_SUSPECTS) {
        b->suspects[i].id[0] = '\0';
    }
    b->good_began_ms = began_ms > b->good_began_ms ? began_ms : b->good_began_ms;
    b->good_ended_ms = now_ms;
    if (b->open) {
        if (began_ms < b->opened_ms) {
            return false;
        }
        b->open = false;
        b->closed_ms = now_ms;
        return true;
    }
    if (++b->successes >= BREAKER_STABLE) {
        b->openings = 0;
    }
    return false;
}
