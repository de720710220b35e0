/* config_internal - what the files of config share; nobody else includes it. */
#ifndef STORESCP_RUNTIME_CONFIG_INTERNAL_H
#define STORESCP_RUNTIME_CONFIG_INTERNAL_H

#include "common/runtime/config.h"
#include "common/runtime/ini_file.h"

enum { PROBLEMS_MAX = 64, SECTIONS_MAX = 1000, DESTINATIONS_MAX = CONFIG_DESTINATION_LIMIT - 1 /* without `default` */, SECTION_NAME_MAX = 128, AE_TITLE_MAX = 64 };

struct value {
    char *text;
    char origin[64];
    long long number;
};

struct section_value {
    enum config_key key;
    struct value value;
    struct section_value *next;
};

struct config_section {
    char name[SECTION_NAME_MAX], pattern[AE_TITLE_MAX]; /* "ae CT*", "CT*"; "destination MR", "MR" */
    bool is_destination;
    int line, twin_line; /* where it begins; where it was seen to begin again */
    struct section_value *values;
    struct config_section *next;
};

struct config {
    char *home;
    struct value values[CONFIG_COUNT];
    struct config_section *sections; /* in the order of the file */
    size_t section_count;
    char *problems[PROBLEMS_MAX];
    size_t problem_count;
    char destination[CONFIG_DESTINATION_SIZE]; /* whose view this is */
    struct config *views[DESTINATIONS_MAX];    /* of the [destination] sections, in the order of the file; a view has none */
    size_t view_count;
};

/* A problem as a sentence, kept for config_problem(). */
void config_complain(struct config *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Accepts the value when it is legal; a wrong one leaves what was there and is a problem. */
void config_set(struct config *c, size_t key, struct value *out, const char *text, const char *origin);
/* Does this section hold settings of its own (rules for AE titles, a destination), and not just group? */
bool config_section_rules(const char *name);
/* One setting of such a section. */
void config_set_in_section(struct config *c, const struct ini_line *line, size_t key, const char *text, const char *origin);
/* The first pattern of a list that no AE title can fit (PS3.5 VR AE: up to 16 characters), in word; NULL: there is none. */
const char *config_long_title(const char *list, char word[AE_TITLE_MAX]);
/* A sender has one section: one that takes it out of another's changes of the images must say them itself. After everything was read. */
void config_check_sections(struct config *c);
void config_sections_free(struct config *c);
/* Wipes and frees a value's text, which may be a secret; NULL is fine. */
void config_wipe(char **text);
/* Makes the view of each destination, after everything was read. */
void config_make_views(struct config *c);

#endif
