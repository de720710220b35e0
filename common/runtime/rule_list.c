/* rule_list - see rule_list.h. */
#include "common/runtime/rule_list.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define OFF RULE_OFF
#define NOTE RULE_NOTE
#define WARN RULE_WARN
#define REJECT RULE_REJECT
#define ALWAYS RULE_ALWAYS
static const struct rule table[] = {
#define RULE_ROW(id, source, severity, code, means, remedy) {#id, source, severity, code, means, remedy},
    RULE_TABLE(RULE_ROW)
#undef RULE_ROW
};

static const char *const words[] = {"off", "note", "warn", "reject"};

const struct rule *rule_at(enum rule_id id)
{
    return &table[id];
}

const struct rule *rule_named(const char *id)
{
    for (size_t i = 0; i < RULE_COUNT; i++) {
        if (strcmp(table[i].id, id) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

const char *rule_severity_name(enum rule_severity s)
{
    return words[s == RULE_ALWAYS ? RULE_REJECT : s];
}

void rule_severities_preset(struct rule_severities *s)
{
    for (size_t i = 0; i < RULE_COUNT; i++) {
        s->of[i] = table[i].severity;
    }
}

/* How many letters must be put in, taken out or changed; both words are short. */
static size_t distance(const char *a, const char *b)
{
    enum { LENGTH_MAX = 40 };
    size_t row[LENGTH_MAX + 1];
    size_t width = strnlen(b, LENGTH_MAX);
    for (size_t k = 0; k <= width; k++) {
        row[k] = k;
    }
    for (size_t i = 0; i < LENGTH_MAX && a[i]; i++) {
        size_t corner = row[0];
        row[0] = i + 1;
        for (size_t k = 1; k <= width; k++) {
            size_t changed = corner + (a[i] != b[k - 1]);
            size_t shorter = (row[k] < row[k - 1] ? row[k] : row[k - 1]) + 1;
            corner = row[k];
            row[k] = changed < shorter ? changed : shorter;
        }
    }
    return row[width];
}

static const char *nearest(const char *id)
{
    size_t best = 0;
    for (size_t i = 1; i < RULE_COUNT; i++) {
        if (distance(id, table[i].id) < distance(id, table[best].id)) {
            best = i;
        }
    }
    return table[best].id;
}

static int set_one(struct rule_severities *s, const char *id, const char *word, struct err *e)
{
    const struct rule *rule = rule_named(id);
    enum rule_severity severity = RULE_OFF;
    if (!rule) {
        return err_set(e, ERR_CONFIG, 0, "there is no rule \"%s\"; the nearest is \"%s\" (all: docs/rules.md)", id, nearest(id));
    }
    while (severity < RULE_ALWAYS && strcasecmp(words[severity], word) != 0) {
        severity++;
    }
    if (severity == RULE_ALWAYS) {
        return err_set(e, ERR_CONFIG, 0, "\"%s\" of rule %s is none of reject, warn, note, off", word, id);
    }
    if (rule->severity == RULE_ALWAYS && severity != RULE_REJECT) {
        return err_set(e, ERR_CONFIG, 0, "rule %s always rejects: without it nobody could say which image it is, or read it", id);
    }
    if (s && rule->severity != RULE_ALWAYS) {
        s->of[rule - table] = severity;
    }
    return 0;
}

int rule_severities_set(struct rule_severities *s, const char *list, struct err *e)
{
    const char *p = list;
    while (*p) {
        char id[41];
        char word[12];
        int used = 0;
        p += strspn(p, " \t,");
        if (*p == '\0') {
            break;
        }
        if (sscanf(p, "%40[A-Za-z0-9_] = %11[A-Za-z]%n", id, word, &used) != 2 || used == 0 || !strchr(", \t", p[used])) {
            return err_set(e, ERR_CONFIG, 0, "\"%.*s\" is no pair rule=severity", (int)strcspn(p, ",") < 60 ? (int)strcspn(p, ",") : 60, p);
        }
        int rc = set_one(s, id, word, e);
        if (rc != 0) {
            return rc;
        }
        p += used;
    }
    return 0;
}
