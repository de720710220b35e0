/* list - see list.h. */
#include "common/runtime/list.h"

#include "common/runtime/config.h"

#include <stdio.h>
#include <string.h>

enum { WORD_MAX = 512 };

static size_t trimmed(const char **text, size_t length, const char *blanks)
{
    while (length > 0 && strchr(blanks, **text)) {
        (*text)++;
        length--;
    }
    while (length > 0 && strchr(blanks, (*text)[length - 1])) {
        length--;
    }
    return length;
}

bool list_next(const char **at, char *word, size_t size)
{
    while (**at) {
        const char *begin = *at;
        size_t length = strcspn(begin, ",");
        *at += length + (begin[length] == ',');
        length = trimmed(&begin, length, " \t");
        if (length > 0) {
            (void)snprintf(word, size, "%.*s", (int)length, begin);
            return true;
        }
    }
    return false;
}

bool list_fits(const char *list, const char *text)
{
    char word[WORD_MAX];
    char bare[WORD_MAX];
    const char *begin = text;
    size_t length = trimmed(&begin, strlen(text), " "); /* of a peer: no other blank is padding */
    if (length >= sizeof bare) {
        return false;
    }
    (void)snprintf(bare, sizeof bare, "%.*s", (int)length, begin);
    while (list_next(&list, word, sizeof word)) {
        if (config_fits(word, bare)) {
            return true;
        }
    }
    return false;
}
