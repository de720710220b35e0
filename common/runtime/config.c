/* config - see config.h. The file is read by ini_file; this module owns names, origins, bounds and sentences. */
#include "common/runtime/config_internal.h"
#include "common/runtime/rule_list.h"

#include "common/runtime/cidr.h"
#include "common/runtime/ini_file.h"

#include <ctype.h>
#include <stdarg.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct config_setting settings[CONFIG_COUNT] = {
#define CONFIG_ROW(key, name, alias, type, preset, min, max, unit, help)                                               \
    {name, alias, CONFIG_##type, preset, min, max, unit, help},
    CONFIG_TABLE(CONFIG_ROW)
#undef CONFIG_ROW
};

void config_complain(struct config *c, const char *format, ...)
{
    if (c->problem_count == PROBLEMS_MAX) {
        return;
    }
    va_list args;
    va_start(args, format);
    char *text = NULL;
    if (vasprintf(&text, format, args) != -1) {
        c->problems[c->problem_count++] = text;
    }
    va_end(args);
}

/* A choice: the unit lists the words, separated by '|'. Any case will do. */
static bool is_choice(const char *unit, const char *text)
{
    size_t length = strlen(text);
    for (const char *w = unit; w; w = strchr(w, '|')) {
        w += *w == '|';
        if (strcspn(w, "|") == length && strncasecmp(w, text, length) == 0) {
            return true;
        }
    }
    return false;
}

/* Accepts the value when it is legal; a wrong one leaves what was there and is reported. */
void config_set(struct config *c, size_t key, struct value *out, const char *text, const char *origin)
{
    const struct config_setting *s = &settings[key];
    long long number = 0;
    if (s->type == CONFIG_INT) {
        char *end = NULL;
        errno = 0;
        number = strtoll(text, &end, 10);
        if (end == text || *end != '\0' || errno == ERANGE || number < s->minimum || number > s->maximum) {
            config_complain(c, "%s (%s): \"%s\" is not a whole number from %lld to %lld (%s)", s->name, origin, text, s->minimum,
                    s->maximum, s->unit);
            return;
        }
    } else if (s->type == CONFIG_BOOL) {
        static const char *const yes[] = {"true", "yes", "on", "1"};
        static const char *const no[] = {"false", "no", "off", "0", ""};
        bool known = false;
        for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
            if (strcasecmp(text, yes[i]) == 0) {
                number = 1;
                known = true;
            }
        }
        for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
            known = known || strcasecmp(text, no[i]) == 0;
        }
        if (!known) {
            config_complain(c, "%s (%s): \"%s\" is neither true nor false", s->name, origin, text);
            return;
        }
    } else {
        size_t length = strlen(text);
        char word[AE_TITLE_MAX];
        if (s->unit[0] && strchr(s->unit, '|') && !is_choice(s->unit, text)) {
            config_complain(c, "%s (%s): \"%.100s\" is none of %s", s->name, origin, text, s->unit);
            return;
        }
        if ((long long)length < s->minimum || (long long)length > s->maximum) {
            config_complain(c, "%s (%s): %zu characters, must be %lld to %lld", s->name, origin, length, s->minimum, s->maximum);
            return;
        }
        const char *title = key == CFG_FOR_CALLING_AE || key == CFG_FOR_CALLED_AE ? config_long_title(text, word) : NULL;
        if (title) {
            config_complain(c, "%s (%s): \"%.40s\" fits nobody: AE titles have up to 16 characters; shorten it, or use * as at their senders", s->name, origin, title);
            return;
        }
        struct err why = {0};
        if (strcmp(s->unit, "networks") == 0 && cidr_check(text, &why) != 0) {
            config_complain(c, "%s (%s): %s", s->name, origin, why.text);
            return;
        }
        if (strcmp(s->unit, "rules") == 0 && rule_severities_set(NULL, text, &why) != 0) {
            config_complain(c, "%s (%s): %s", s->name, origin, why.text);
            return;
        }
    }
    char *copy = strdup(text);
    if (!copy) {
        config_complain(c, "out of memory");
        return;
    }
    if (strchr(s->unit, '|')) { /* whoever reads it compares with the words of the table */
        for (char *p = copy; *p; p++) {
            *p = (char)tolower((unsigned char)*p);
        }
    }
    config_wipe(&out->text);
    out->text = copy;
    out->number = number;
    (void)snprintf(out->origin, sizeof out->origin, "%s", origin);
}

/* ---- reading ----------------------------------------------------------------------------------------------------------- */

static void set_for_all(struct config *c, size_t key, const char *text, const char *origin)
{
    if (key == CFG_FOR_CALLING_AE || key == CFG_FOR_CALLED_AE || key == CFG_FOR_MODALITY) {
        config_complain(c, "%s (%s) says who goes to one destination: move it below a line [destination NAME]", settings[key].name, origin);
        return;
    }
    config_set(c, key, &c->values[key], text, origin);
}

/* One line of storescp.conf. */
static int on_setting(void *ctx, const struct ini_line *line)
{
    struct config *c = ctx;
    char origin[48];
    (void)snprintf(origin, sizeof origin, "storescp.conf line %d", line->number);
    for (size_t i = 0; i < CONFIG_COUNT; i++) {
        if (strcasecmp(settings[i].name, line->name) == 0 || (settings[i].alias[0] && strcmp(settings[i].alias, line->name) == 0)) {
            if (config_section_rules(line->section)) {
                config_set_in_section(c, line, i, line->value, origin);
            } else {
                set_for_all(c, i, line->value, origin);
            }
            return 0;
        }
    }
    config_complain(c, "%s: there is no setting \"%.60s\"; `storescpctl config` lists all", origin, line->name);
    return 0;
}

static void read_environment(struct config *c)
{
    for (size_t i = 0; i < CONFIG_COUNT; i++) {
        char name[80];
        char origin[96];
        int n = snprintf(name, sizeof name, "STORESCP_%s", settings[i].name);
        for (int k = 0; k < n; k++) {
            name[k] = (char)toupper((unsigned char)name[k]);
        }
        const char *value = getenv(name);
        const char *used = name;
        if (!value && settings[i].alias[0]) {
            used = settings[i].alias;
            value = getenv(used);
        }
        if (value && used == settings[i].alias && strncmp(used, "AWS_ENDPOINT_URL", 16) == 0 && config_bool(c, CFG_IGNORE_ENDPOINTS)) {
            continue; /* that row stands before these */
        }
        /* the AWS SDKs' second name for the region */
        if (!value && i == CFG_AWS_REGION) {
            used = "AWS_DEFAULT_REGION";
            value = getenv(used);
        }
        if (value && value[0] != '\0') {
            (void)snprintf(origin, sizeof origin, "environment %s", used);
            set_for_all(c, i, value, origin);
        }
    }
}

const char *config_find_home(const char *home)
{
    if (!home || !home[0]) {
        home = getenv("STORESCP_HOME");
    }
    return home && home[0] ? home : "/var/lib/storescp";
}

int config_load(struct config **out, const char *home, struct err *e)
{
    return config_load_from(out, home, NULL, e);
}

int config_load_from(struct config **out, const char *home, const char *file, struct err *e)
{
    struct config *c = calloc(1, sizeof *c);
    if (!c) {
        return err_set(e, ERR_MEMORY, 0, "cannot load the settings");
    }
    c->home = strdup(config_find_home(home));
    if (!c->home) {
        free(c);
        return err_set(e, ERR_MEMORY, 0, "cannot load the settings");
    }
    for (size_t n = strlen(c->home); n > 1 && c->home[n - 1] == '/'; n--) {
        c->home[n - 1] = '\0';
    }
    for (size_t i = 0; i < CONFIG_COUNT; i++) {
        config_set(c, i, &c->values[i], settings[i].preset, "default");
    }
    char path[4096];
    if (config_path(c, "storescp.conf", path, sizeof path) == 0) {
        struct err why = {0};
        int bad_line = 0;
        int rc = ini_file_read(file ? file : path, on_setting, c, &bad_line, &why);
        if (bad_line > 0) {
            config_complain(c, "storescp.conf %s", why.text);
        } else if (rc != 0 && rc != ERR_NOT_FOUND) {
            config_complain(c, "storescp.conf cannot be read: %s; check its owner and mode", why.text);
        }
    } else {
        config_complain(c, "STORESCP_HOME is too long a path");
    }
    read_environment(c);
    config_check_sections(c);
    config_make_views(c);
    *out = c;
    if (c->problem_count > 0) {
        return err_set(e, ERR_CONFIG, 0, "%s", c->problems[0]);
    }
    return 0;
}

void config_free(struct config **c)
{
    if (!c || !*c) {
        return;
    }
    for (size_t i = 0; i < CONFIG_COUNT; i++) {
        config_wipe(&(*c)->values[i].text);
    }
    for (size_t i = 0; i < (*c)->problem_count; i++) {
        free((*c)->problems[i]);
    }
    for (size_t i = 0; i < (*c)->view_count; i++) {
        config_free(&(*c)->views[i]);
    }
    config_sections_free(*c);
    free((*c)->home);
    free(*c);
    *c = NULL;
}

const char *config_home(const struct config *c)
{
    return c->home;
}

const char *config_text(const struct config *c, enum config_key key)
{
    return c->values[key].text ? c->values[key].text : "";
}

long long config_int(const struct config *c, enum config_key key)
{
    return c->values[key].number;
}

bool config_bool(const struct config *c, enum config_key key)
{
    return c->values[key].number != 0;
}

const char *config_origin(const struct config *c, enum config_key key)
{
    return c->values[key].origin;
}

const struct config_setting *config_describe(enum config_key key)
{
    return &settings[key];
}

const char *config_problem(const struct config *c, size_t i)
{
    return i < c->problem_count ? c->problems[i] : NULL;
}

int config_path(const struct config *c, const char *relative, char *buffer, size_t size)
{
    int n = snprintf(buffer, size, "%s/%s", c->home, relative);
    return n < 0 || (size_t)n >= size ? ERR_ARGUMENT : 0;
}
