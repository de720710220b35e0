/* log - see log.h. The only state of the whole library that is not passed down: a program has one standard error. */
#include "common/runtime/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

static char program[48] = "storescp";
static enum log_level lowest_level = LOG_LEVEL_INFO;

void log_init(const char *name, enum log_level lowest)
{
    (void)snprintf(program, sizeof program, "%s", name);
    lowest_level = lowest;
}

bool log_level_parse(const char *word, enum log_level *out)
{
    static const struct {
        const char *word;
        enum log_level level;
    } words[] = {{"debug", LOG_LEVEL_DEBUG},
                 {"info", LOG_LEVEL_INFO},
                 {"warning", LOG_LEVEL_WARNING},
                 {"warn", LOG_LEVEL_WARNING},
                 {"error", LOG_LEVEL_ERROR}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(word, words[i].word) == 0) {
            *out = words[i].level;
            return true;
        }
    }
    return false;
}

bool log_enabled(enum log_level level)
{
    return level >= lowest_level;
}

void log_write(enum log_level level, const char *event, const char *format, ...)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    if (level < lowest_level) {
        return;
    }
    char line[1400];
    struct timespec now;
    struct tm parts;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &parts);
    size_t used = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &parts);
    int n = snprintf(line + used, sizeof line - used, ".%03ldZ %s %s[%ld] %s ", now.tv_nsec / 1000000, names[level],
                     program, (long)getpid(), event);
    used += (size_t)n;
    va_list args;
    va_start(args, format);
    n = vsnprintf(line + used, sizeof line - used - 1, format, args);
    va_end(args);
    if (n > 0) {
        size_t room = sizeof line - used - 2;
        used += (size_t)n < room ? (size_t)n : room;
    }
    for (size_t i = 0; i < used; i++) {
        if (line[i] == '\n' || line[i] == '\r') {
            line[i] = ' ';
        }
    }
    line[used++] = '\n';
    /* A log that cannot be written must not stop the work. */
    ssize_t written = write(STDERR_FILENO, line, used);
    (void)written;
}

const char *log_text(const char *text, char *buffer, unsigned long size)
{
    size_t used = 0;
    unsigned taken = 0;
    if (size < 3) {
        return "";
    }
    buffer[used++] = '"';
    for (const unsigned char *p = (const unsigned char *)text; *p && taken < 200 && used + 6 < size; p++, taken++) {
        if (*p == '"' || *p == '\\') {
            buffer[used++] = '\\';
            buffer[used++] = (char)*p;
        } else if (*p < 0x20 || *p == 0x7f) {
            used += (size_t)snprintf(buffer + used, size - used, "\\x%02x", *p);
        } else {
            buffer[used++] = (char)*p;
        }
    }
    buffer[used++] = '"';
    buffer[used] = '\0';
    return buffer;
}
