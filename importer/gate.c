/* gate - see gate.h. */
#include "importer/gate.h"

#include "common/runtime/log.h"
#include "common/runtime/runtime.h"

#include <stdio.h>
#include <string.h>

enum { DOWN_BASE_MS = 1000, DOWN_CEILING_MS = 30000, ALARM_BASE_MS = 2000, ALARM_CEILING_MS = 60000, REST_MS = 10000 };

bool gate_is_open(const struct gate *g, int64_t now_ms)
{
    return now_ms >= g->until_ms;
}

bool gate_concerns(const struct err *why)
{
    enum err_class class = err_class_of(why->code);
    return class == ERR_CLASS_PEER_DOWN || class == ERR_CLASS_CONFIG || why->code == ERR_TIMEOUT;
}

bool gate_is_alarmed(const struct gate *g)
{
    return g->why.code != 0 && err_class_of(g->why.code) == ERR_CLASS_CONFIG && !g->is_resting;
}

void gate_rest(struct gate *g, int64_t now_ms)
{
    g->is_resting = g->is_resting || (g->why.code != 0 && now_ms >= g->until_ms + REST_MS);
}

static const char *line_name(const struct gate *g, const char *what, char buffer[40])
{
    (void)snprintf(buffer, 40, "%s_%s", g->word ? g->word : "import", what);
    return buffer;
}

void gate_close(struct gate *g, const struct err *why, int64_t now_ms)
{
    char text[640];
    char line[40];
    bool alarm = err_class_of(why->code) == ERR_CLASS_CONFIG;
    bool known = g->why.code == why->code;
    const char *remedy = strstr(why->text, err_sentence(why->code)) ? "as it says" : err_sentence(why->code);
    int64_t wait_ms = backoff_ms(g->failures, alarm ? ALARM_BASE_MS : DOWN_BASE_MS, alarm ? ALARM_CEILING_MS : DOWN_CEILING_MS, random_u32());
    if (alarm && !known) {
        log_error(line_name(g, "waits", line), "what=\"%s\" code=%s reason=%s effect=\"nothing is lost; it goes on by itself when this is corrected\" remedy=\"%s\"",
                  g->name, err_name(why->code), log_text(why->text, text, sizeof text), remedy);
    } else {
        log_write(alarm ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING, line_name(g, "postponed", line), "what=\"%s\" code=%s retry_ms=%lld failures=%d reason=%s",
                  g->name, err_name(why->code), (long long)wait_ms, g->failures + 1, log_text(why->text, text, sizeof text));
    }
    g->failures += g->failures < 1000;
    g->until_ms = now_ms + wait_ms;
    g->is_resting = false;
    g->why = *why;
}

void gate_passed(struct gate *g)
{
    char line[40];
    if (g->why.code != 0 && err_class_of(g->why.code) == ERR_CLASS_CONFIG) {
        log_info(line_name(g, "goes_on", line), "what=\"%s\"", g->name);
    }
    g->failures = 0;
    g->until_ms = 0;
    g->is_resting = false;
    memset(&g->why, 0, sizeof g->why);
}
