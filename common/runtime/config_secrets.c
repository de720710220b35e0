/* config_secrets - secrets that a process does not work with are not in its memory. See config.h. */
#include "common/runtime/config_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void config_wipe(char **text)
{
    if (*text) {
        explicit_bzero(*text, strlen(*text));
        free(*text);
        *text = NULL;
    }
}

static bool is_forgotten(size_t key, unsigned keep)
{
    return config_describe((enum config_key)key)->type == CONFIG_SECRET && !(keep & (key == CFG_TLS_KEY_PASSWORD ? SECRETS_RECEIVER : SECRETS_CLOUD));
}

static void empty(struct value *value)
{
    if (value->text) { /* emptied in place: nobody has to find memory for it */
        explicit_bzero(value->text, strlen(value->text));
    }
}

void config_forget_secrets(struct config *c, unsigned keep)
{
    for (size_t i = 0; i < CONFIG_COUNT; i++) {
        if (is_forgotten(i, keep)) {
            empty(&c->values[i]);
        }
    }
    for (struct config_section *s = c->sections; s; s = s->next) {
        for (struct section_value *v = s->values; v; v = v->next) {
            if (is_forgotten(v->key, keep)) {
                empty(&v->value);
            }
        }
    }
    for (size_t i = 0; i < c->view_count; i++) {
        config_forget_secrets(c->views[i], keep);
    }
}

/* ---- the text of the file ----------------------------------------------------------------------------------------------------------- */

/* Is what stands in front of a line's '=' or ':' the name of such a setting? As ini_file reads it. */
static bool names_secret(const char *name, size_t length, unsigned keep)
{
    while (length > 0 && isspace((unsigned char)name[length - 1])) {
        length--;
    }
    while (length > 0 && isspace((unsigned char)*name)) {
        name++;
        length--;
    }
    for (size_t i = 0; i < CONFIG_COUNT; i++) {
        const struct config_setting *s = config_describe((enum config_key)i);
        bool fits = (strlen(s->name) == length && strncasecmp(s->name, name, length) == 0) ||
                    (s->alias[0] && strlen(s->alias) == length && strncmp(s->alias, name, length) == 0);
        if (fits && is_forgotten(i, keep)) {
            return true;
        }
    }
    return false;
}

void config_blank_secrets(char *text, size_t bytes, unsigned keep)
{
    static const char mark[] = "\xef\xbb\xbf"; /* of UTF-8, at the beginning */
    char *end = text + bytes;
    char *line = bytes >= 3 && memcmp(text, mark, 3) == 0 ? text + 3 : text;
    while (line < end) {
        char *after = memchr(line, '\n', (size_t)(end - line));
        after = after ? after : end;
        char *value = line;
        while (value < after && *value != '=' && *value != ':') {
            value++;
        }
        if (value < after && names_secret(line, (size_t)(value - line), keep)) {
            memset(value + 1, ' ', (size_t)(after - value - 1));
        }
        line = after + 1;
    }
}

/* ---- the environment ---------------------------------------------------------------------------------------------------------------- */

static void forget_variable(const char *name)
{
    char *value = getenv(name);
    if (value) {
        explicit_bzero(value, strlen(value)); /* /proc/PID/environ shows this very memory */
        (void)unsetenv(name);
    }
}

void config_forget_environment(unsigned keep)
{
    for (size_t i = 0; i < CONFIG_COUNT; i++) {
        const struct config_setting *s = config_describe((enum config_key)i);
        if (is_forgotten(i, keep)) {
            char name[80];
            int n = snprintf(name, sizeof name, "STORESCP_%s", s->name);
            for (int k = 0; k < n; k++) {
                name[k] = (char)toupper((unsigned char)name[k]);
            }
            forget_variable(name);
            if (s->alias[0]) {
                forget_variable(s->alias);
            }
        }
    }
    if (!(keep & SECRETS_CLOUD)) {
        forget_variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    }
}
