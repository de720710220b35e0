/* err - see err.h. */
#include "common/runtime/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int code;
    const char *name;
    enum err_class class;
    const char *sentence;
} table[] = {
#define ERR_ROW(code, number, name, class, sentence) {code, name, class, sentence},
    ERR_TABLE(ERR_ROW)
#undef ERR_ROW
};

enum { TABLE_COUNT = sizeof table / sizeof table[0] };

/* Two errors with one number do not compile. */
__attribute__((unused)) static void numbers_are_different(int number)
{
    switch (number) {
#define ERR_CASE(code, value, name, class, sentence) case value:
        ERR_TABLE(ERR_CASE)
#undef ERR_CASE
    default:
        break;
    }
}

int err_set(struct err *e, int code, int sys, const char *format, ...)
{
    if (e) {
        va_list args;
        e->code = code;
        e->sys = sys;
        va_start(args, format);
        (void)vsnprintf(e->text, sizeof e->text, format, args);
        va_end(args);
        if (sys != 0) {
            size_t used = strlen(e->text);
            char reason[96];
            (void)snprintf(e->text + used, sizeof e->text - used, ": %s", strerror_r(sys, reason, sizeof reason));
        }
    }
    return code;
}

const char *err_name(int code)
{
    if (code == 0) {
        return "OK";
    }
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        if (table[i].code == code) {
            return table[i].name;
        }
    }
    return "UNKNOWN";
}

const char *err_sentence(int code)
{
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        if (table[i].code == code) {
            return table[i].sentence;
        }
    }
    return code == 0 ? "no error" : "an error this version does not know";
}

enum err_class err_class_of(int code)
{
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        if (table[i].code == code) {
            return table[i].class;
        }
    }
    return code == 0 ? ERR_CLASS_NONE : ERR_CLASS_BUG;
}

int err_code_of(const char *name)
{
    for (size_t i = 0; name && i < TABLE_COUNT; i++) {
        if (strcmp(table[i].name, name) == 0) {
            return table[i].code;
        }
    }
    return 0;
}

int err_from_errno(int sys)
{
    switch (sys) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ERR_DISK_FULL;
    case ENOENT:
        return ERR_NOT_FOUND;
    case ENOMEM:
        return ERR_MEMORY;
    default:
        return ERR_IO;
    }
}
