/* config_sections - [ae PATTERN] and [destination NAME] of storescp.conf: what they set. See config.h; destinations go on in config_destinations.c. */
#include "common/runtime/config_internal.h"

#include "common/runtime/list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool config_is_per_ae(enum config_key key)
{
#define PER_AE(k) if (key == (k)) { return true; }
    CONFIG_PER_AE(PER_AE)
#undef PER_AE
    return false;
}

/* "ae CT1" -> "CT1", "destination MR" -> "MR"; NULL for a section that only groups. */
static const char *pattern_of(const char *section, bool *is_destination)
{
    static const char *const words[] = {"ae", "destination"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t n = strlen(words[i]);
        if (strncasecmp(section, words[i], n) == 0 && (section[n] == ' ' || section[n] == '\t' || section[n] == '\0')) {
            *is_destination = i == 1;
            return section + n + strspn(section + n, " \t");
        }
    }
    return NULL;
}

bool config_section_rules(const char *name)
{
    bool is_destination;
    return pattern_of(name, &is_destination) != NULL;
}

/* '*' may stand for nothing. */
static bool fits_no_title(const char *pattern)
{
    size_t most = 0;
    for (; *pattern; pattern++) {
        most += *pattern != '*';
    }
    return most > 16;
}

const char *config_long_title(const char *list, char word[AE_TITLE_MAX])
{
    while (list_next(&list, word, AE_TITLE_MAX)) {
        if (fits_no_title(word)) {
            return word;
        }
    }
    return NULL;
}

/* Is the name of a new section legal? */
static bool is_legal(struct config *c, const char *name, const char *pattern, bool is_destination, const char *origin)
{
    size_t length = strlen(pattern);
    size_t destinations = 0;
    if (!is_destination) {
        if (strlen(name) >= SECTION_NAME_MAX || length >= AE_TITLE_MAX || length == 0 || fits_no_title(pattern)) {
            config_complain(c, "%s: [%.60s] needs one AE title or a pattern of it, up to 16 characters", origin, name);
            return false;
        }
        return true;
    }
    if (length == 0 || length >= CONFIG_DESTINATION_SIZE || strlen(name) >= SECTION_NAME_MAX ||
        strspn(pattern, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != length) {
        config_complain(c, "%s: [%.60s] needs a name of up to %d characters A-Z a-z 0-9 _ -", origin, name, CONFIG_DESTINATION_SIZE - 1);
        return false;
    }
    if (strcasecmp(pattern, "default") == 0) {
        config_complain(c, "%s: the destination `default` is what stands in front of all sections; give this one another name", origin);
        return false;
    }
    for (const struct config_section *s = c->sections; s; s = s->next) {
        destinations += s->is_destination;
        if (s->is_destination && strcasecmp(s->pattern, pattern) == 0) { /* the same in another case */
            config_complain(c, "%s: there is a [destination %s] already; names differ in more than case", origin, s->pattern);
            return false;
        }
    }
    if (destinations == DESTINATIONS_MAX) {
        config_complain(c, "%s: more than %d destinations", origin, DESTINATIONS_MAX);
        return false;
    }
    return true;
}

/* The section of a line, made when it is new; NULL when there are too many or the name is wrong. */
static struct config_section *section_of(struct config *c, const struct ini_line *line, const char *origin)
{
    const char *name = line->section;
    bool is_destination = false;
    const char *pattern = pattern_of(name, &is_destination);
    struct config_section **at = &c->sections;
    while (*at && ((*at)->is_destination != is_destination || strcmp((*at)->pattern, pattern) != 0)) {
        at = &(*at)->next;
    }
    if (!*at) {
        if (!is_legal(c, name, pattern, is_destination, origin)) {
            return NULL;
        }
        if (c->section_count == SECTIONS_MAX || !(*at = calloc(1, sizeof **at))) {
            config_complain(c, "%s: more than %d sections", origin, SECTIONS_MAX);
            return NULL;
        }
        c->section_count++;
        (*at)->line = line->section_number;
        (*at)->is_destination = is_destination;
        (void)snprintf((*at)->name, sizeof (*at)->name, "%s", name);
        (void)snprintf((*at)->pattern, sizeof (*at)->pattern, "%s", pattern);
    }
    if ((*at)->line != line->section_number && (*at)->twin_line != line->section_number) {
        (*at)->twin_line = line->section_number;
        config_complain(c, "storescp.conf line %d: [%s] stands in line %d already: put its settings there, or give this one another name", line->section_number,
                        (*at)->name, (*at)->line);
    }
    return *at;
}

static struct value *section_value(struct config_section *section, enum config_key key)
{
    struct section_value *v = section->values;
    while (v && v->key != key) {
        v = v->next;
    }
    if (!v && (v = calloc(1, sizeof *v))) {
        v->key = key;
        v->next = section->values;
        section->values = v;
    }
    return v ? &v->value : NULL;
}

void config_set_in_section(struct config *c, const struct ini_line *line, size_t key, const char *text, const char *origin)
{
    bool is_destination = false;
    (void)pattern_of(line->section, &is_destination);
    if (!(is_destination ? config_is_per_destination : config_is_per_ae)((enum config_key)key)) {
        config_complain(c, "%s: %s cannot be set for single %s; move it in front of the sections", origin, config_describe((enum config_key)key)->name,
                        is_destination ? "destinations" : "AE titles");
        return;
    }
    struct config_section *section = section_of(c, line, origin);
    struct value *value = section ? section_value(section, (enum config_key)key) : NULL;
    if (value) {
        config_set(c, key, value, text, origin);
    }
}

bool config_fits(const char *pattern, const char *text)
{
    const char *star = NULL; /* the last '*' and the text that it has taken so far */
    const char *taken = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = pattern++;
            taken = text;
        } else if (*pattern == '?' || *pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star + 1;
            text = ++taken;
        } else {
            return false;
        }
    }
    pattern += strspn(pattern, "*");
    return *pattern == '\0';
}

const struct config_section *config_for_ae(const struct config *c, const char *calling_ae)
{
    char title[AE_TITLE_MAX];
    const struct config_section *found = NULL;
    calling_ae += strspn(calling_ae, " ");
    (void)snprintf(title, sizeof title, "%s", calling_ae);
    for (size_t n = strlen(title); n > 0 && title[n - 1] == ' '; n--) {
        title[n - 1] = '\0';
    }
    for (const struct config_section *s = c->sections; s; s = s->next) {
        if (s->is_destination) {
            continue;
        }
        if (strcmp(s->pattern, title) == 0 && !strpbrk(title, "*?")) { /* a peer may not choose a section by naming its pattern */
            return s;
        }
        if (!found && config_fits(s->pattern, title)) {
            found = s;
        }
    }
    return found;
}

/* Does a title that fits `one` get that section instead of `other`? Told from the patterns alone: "CT1" and "CT1*" are taken out of "CT*". */
static bool takes_from(const struct config_section *one, const struct config_section *other, bool is_before)
{
    return !one->is_destination && !other->is_destination && one != other && config_fits(other->pattern, one->pattern) &&
           (is_before || !strpbrk(one->pattern, "*?"));
}

void config_check_sections(struct config *c)
{
    static const enum config_key kept[] = {CFG_DEIDENTIFY, CFG_COERCE};
    const char *value;
    const char *origin;
    for (const struct config_section *other = c->sections; other; other = other->next) {
        bool is_before = true;
        for (const struct config_section *one = c->sections; one; one = one->next) {
            is_before = is_before && one != other;
            for (size_t i = 0; takes_from(one, other, is_before) && i < sizeof kept / sizeof kept[0]; i++) {
                if (config_section_sets(other, kept[i], &value, &origin) && !config_section_sets(one, kept[i], &value, &origin)) {
                    const char *name = config_describe(kept[i])->name;
                    config_complain(c, "storescp.conf line %d: [%s] takes its senders out of [%s], which sets %s, and does not say %s itself: their images would go on "
                                       "without it; write it there as well, or `%s = %s` if that is meant", one->line, one->name, other->name, name, name, name,
                                    kept[i] == CFG_DEIDENTIFY ? "off" : "");
                }
            }
        }
    }
}

static const struct value *value_for(const struct config *c, const struct config_section *section, enum config_key key)
{
    for (const struct section_value *v = section ? section->values : NULL; v; v = v->next) {
        if (v->key == key && v->value.text) {
            return &v->value;
        }
    }
    return &c->values[key];
}

const char *config_text_for(const struct config *c, const struct config_section *section, enum config_key key)
{
    const struct value *v = value_for(c, section, key);
    return v->text ? v->text : "";
}

long long config_int_for(const struct config *c, const struct config_section *section, enum config_key key)
{
    return value_for(c, section, key)->number;
}

bool config_bool_for(const struct config *c, const struct config_section *section, enum config_key key)
{
    return value_for(c, section, key)->number != 0;
}

const struct config_section *config_section_at(const struct config *c, size_t i)
{
    const struct config_section *s = c->sections;
    for (; s && i > 0; i--) {
        s = s->next;
    }
    return s;
}

const char *config_section_name(const struct config_section *section)
{
    return section->name;
}

bool config_section_sets(const struct config_section *section, enum config_key key, const char **value, const char **origin)
{
    for (const struct section_value *v = section->values; v; v = v->next) {
        if (v->key == key && v->value.text) {
            *value = v->value.text;
            *origin = v->value.origin;
            return true;
        }
    }
    return false;
}

void config_sections_free(struct config *c)
{
    while (c->sections) {
        struct config_section *s = c->sections;
        c->sections = s->next;
        while (s->values) {
            struct section_value *v = s->values;
            s->values = v->next;
            config_wipe(&v->value.text);
            free(v);
        }
        free(s);
    }
}
