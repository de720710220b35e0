/* edit_plan - rules of the element editor as text; see edit.h for the words. */
#include "common/dicom/dictionary.h"
#include "common/dicom/edit_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int edit_plan_new(struct edit_plan **out, struct err *e)
{
    struct edit_plan *plan = calloc(1, sizeof *plan);
    if (!plan) {
        return err_set(e, ERR_MEMORY, 0, "plan of changes");
    }
    *out = plan;
    return 0;
}

void edit_plan_free(struct edit_plan **plan)
{
    if (*plan) {
        explicit_bzero((*plan)->key, sizeof (*plan)->key);
        free((*plan)->rules);
        free(*plan);
        *plan = NULL;
    }
}

void edit_plan_key(struct edit_plan *plan, const unsigned char key[EDIT_KEY_BYTES])
{
    memcpy(plan->key, key, EDIT_KEY_BYTES);
    plan->has_key = true;
}

bool edit_plan_is_empty(const struct edit_plan *plan)
{
    return plan->count == 0 && !plan->deidentify;
}

bool edit_plan_deidentifies(const struct edit_plan *plan)
{
    return plan->deidentify;
}

bool edit_plan_needs_key(const struct edit_plan *plan)
{
    bool needs = plan->deidentify;
    for (size_t i = 0; i < plan->count; i++) {
        needs = needs || plan->rules[i].action == EDIT_HASH;
    }
    return needs;
}

bool edit_plan_levels(const struct edit_plan *plan, unsigned group, unsigned element)
{
    for (size_t i = 0; i < plan->count; i++) {
        const struct edit_rule *r = &plan->rules[i];
        if ((r->action == EDIT_SET || r->action == EDIT_EMPTY || r->action == EDIT_REMOVE) && r->depth == 1 && r->path[0].group == group &&
            r->path[0].element == element) {
            return true;
        }
    }
    return false;
}

/* ---- one rule ------------------------------------------------------------------------------------------------------------------- */

static bool read_hex(const char *text, size_t digits, unsigned *out)
{
    *out = 0;
    for (size_t i = 0; i < digits; i++) {
        static const char hex[] = "0123456789abcdef";
        char c = text[i];
        const char *at = c ? strchr(hex, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;
        if (!at) {
            return false;
        }
        *out = *out << 4 | (unsigned)(at - hex);
    }
    return true;
}

/* "0008,0080", "0029,[CREATOR]10" or a keyword at *at, which moves behind it. False: it is none of them. */
static bool read_tag(const char **at, struct edit_tag *tag)
{
    char keyword[65];
    const char *p = *at;
    memset(tag, 0, sizeof *tag);
    if (read_hex(p, 4, &tag->group) && p[4] == ',' && p[5] == '[') {
        const char *end = strchr(p + 6, ']');
        size_t length = end ? (size_t)(end - p) - 6 : 0;
        if (!end || length == 0 || length >= sizeof tag->creator || tag->group % 2 == 0 || !read_hex(end + 1, 2, &tag->element)) {
            return false;
        }
        (void)snprintf(tag->creator, sizeof tag->creator, "%.*s", (int)length, p + 6);
        *at = end + 3;
        return true;
    }
    if (read_hex(p, 4, &tag->group) && p[4] == ',' && read_hex(p + 5, 4, &tag->element)) {
        *at = p + 9;
        return true;
    }
    size_t length = strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
    if (length == 0 || length >= sizeof keyword) {
        return false;
    }
    (void)snprintf(keyword, sizeof keyword, "%.*s", (int)length, p);
    *at = p + length;
    return dictionary_find(keyword, &tag->group, &tag->element) == 1;
}

static int read_path(const char **at, struct edit_rule *rule, const char *whole, struct err *e)
{
    if (strncmp(*at, "any/", 4) == 0) {
        rule->anywhere = true;
        *at += 4;
    }
    for (;;) {
        if (rule->depth == EDIT_PATH_MAX) {
            return err_set(e, ERR_CONFIG, 0, "rule \"%.80s\": more than %d levels", whole, EDIT_PATH_MAX);
        }
        if (!read_tag(at, &rule->path[rule->depth++])) {
            return err_set(e, ERR_CONFIG, 0,
                           "rule \"%.80s\": where \"%.40s\" stands must be a tag (0008,0080), a private one (0029,[CREATOR]10) or a keyword of the "
                           "dictionary (InstitutionName)",
                           whole, *at);
        }
        if (**at != '/') {
            break;
        }
        (*at)++;
    }
    if (rule->anywhere && rule->depth > 1) {
        return err_set(e, ERR_CONFIG, 0, "rule \"%.80s\": behind any/ stands one tag", whole);
    }
    return 0;
}

/* The value behind '=': up to the '|', or in quotes. */
static int read_value(const char **at, struct edit_rule *rule, const char *whole, struct err *e)
{
    size_t used = 0;
    const char *p = *at + strspn(*at, " \t");
    bool is_quoted = *p == '"';
    p += is_quoted;
    for (; *p && (is_quoted ? *p != '"' || p[1] == '"' : *p != '|'); p++) {
        if (used == EDIT_VALUE_MAX) {
            return err_set(e, ERR_CONFIG, 0, "rule \"%.80s\": the value is longer than %d bytes", whole, EDIT_VALUE_MAX);
        }
        if (!is_quoted && *p == ';') {
            return err_set(e, ERR_CONFIG, 0, "rule \"%.80s\": rules are separated by |; put a value with ; in quotes", whole);
        }
        p += is_quoted && *p == '"';
        rule->value[used++] = *p;
    }
    if (is_quoted && *p != '"') {
        return err_set(e, ERR_CONFIG, 0, "rule \"%.80s\": the quote does not end", whole);
    }
    p += is_quoted;
    while (!is_quoted && used > 0 && (rule->value[used - 1] == ' ' || rule->value[used - 1] == '\t')) {
        used--;
    }
    rule->value[used] = '\0';
    *at = p;
    return 0;
}

/* What can be said without a data set. */
static int check_rule(const struct edit_rule *rule, const char *whole, struct err *e)
{
    const struct edit_tag *last = &rule->path[rule->depth - 1];
    unsigned char bytes[4 * EDIT_VALUE_MAX];
    size_t count;
    char vr[3];
    struct err why = {0};
    bool is_known = dictionary_vr(last->group, last->element, vr) == 1;
    for (int i = 0; i < rule->depth; i++) {
        const struct edit_tag *t = &rule->path[i];
        bool is_creator = t->group % 2 == 1 && !t->creator[0] && t->element >= 0x10 && t->element <= 0xff;
        if (t->group < 8 || t->group == 0xfffe || (t->group == 0x7fe0 && rule->depth == 1 && !rule->anywhere) || (t->element == 0 && !t->creator[0]) ||
            (is_creator && rule->action != EDIT_KEEP && rule->action != EDIT_REMOVE)) {
            return err_set(e, ERR_CONFIG, 0, "rule \"%.80s\": (%04X,%04X) is not an element that may be changed", whole, t->group, t->element);
        }
    }
    if (rule->action == EDIT_SET && rule->depth == 1 && rule->anywhere) {
        return err_set(e, ERR_CONFIG, 0, "rule \"%.80s\": set needs one place, any/ names many", whole);
    }
    if (!is_known || last->creator[0]) {
        return 0;
    }
    int rc = strcmp(vr, "SQ") == 0 && (rule->action == EDIT_SET || rule->action == EDIT_HASH)
                 ? err_set(&why, ERR_DICOM_EDIT, 0, "a sequence takes remove, empty or keep, or name an element in it")
             : rule->action == EDIT_SET ? edit_value_set(vr, rule->value, "ISO_IR 192", false, bytes, sizeof bytes, &count, &why)
             : rule->action == EDIT_HASH
                 ? edit_value_hash(&(struct edit_plan){.has_key = true}, vr, (const unsigned char *)"1", 1, bytes, sizeof bytes, &count, &why)
                 : 0;
    return rc == 0 ? 0 : err_set(e, ERR_CONFIG, 0, "rule \"%.80s\": %.200s", whole, why.text);
}

static int read_rule(const char **at, struct edit_rule *rule, struct err *e)
{
    static const struct {
        const char *word;
        enum edit_action action;
    } words[] = {{"set", EDIT_SET}, {"remove", EDIT_REMOVE}, {"empty", EDIT_EMPTY}, {"hash", EDIT_HASH}, {"keep", EDIT_KEEP}};
    const char *whole = *at;
    char shown[81]; /* the value may be a patient's: the sentence goes to the log */
    (void)snprintf(shown, sizeof shown, "%.*s", (int)strcspn(whole, "=|"), whole);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t n = strlen(words[i].word);
        if (strncmp(*at, words[i].word, n) == 0 && ((*at)[n] == ' ' || (*at)[n] == '\t')) {
            rule->action = words[i].action;
            *at += n + strspn(*at + n, " \t");
            break;
        }
    }
    if (rule->action == EDIT_NOTHING) {
        return err_set(e, ERR_CONFIG, 0, "rule \"%.80s\" begins with none of set, remove, empty, hash, keep", shown);
    }
    int rc = read_path(at, rule, shown, e);
    if (rc != 0) {
        return rc;
    }
    *at += strspn(*at, " \t");
    if (rule->action == EDIT_SET) {
        if (**at != '=') {
            return err_set(e, ERR_CONFIG, 0, "rule \"%.80s\": set needs a value: set 0008,0080=VALUE", shown);
        }
        (*at)++;
        rc = read_value(at, rule, shown, e);
        *at += strspn(*at, " \t");
    }
    if (rc == 0 && **at != '\0' && **at != '|') {
        return err_set(e, ERR_CONFIG, 0, "rule \"%.80s\": something stands behind it; rules are separated by |", shown);
    }
    return rc ? rc : check_rule(rule, shown, e);
}

int edit_plan_push(struct edit_plan *plan, const char *by, struct edit_rule **rule, struct err *e)
{
    if (plan->count == EDIT_RULES_MAX) {
        return err_set(e, ERR_CONFIG, 0, "more than %d rules for elements", EDIT_RULES_MAX);
    }
    if (plan->count == plan->room) {
        size_t room = plan->room ? plan->room * 2 : 8;
        struct edit_rule *more = reallocarray(plan->rules, room, sizeof *more);
        if (!more) {
            return err_set(e, ERR_MEMORY, 0, "rules for elements");
        }
        plan->rules = more;
        plan->room = room;
    }
    *rule = &plan->rules[plan->count++];
    memset(*rule, 0, sizeof **rule);
    (void)snprintf((*rule)->by, sizeof (*rule)->by, "%s", by);
    return 0;
}

int edit_plan_add(struct edit_plan *plan, const char *rules, const char *by, struct err *e)
{
    const char *at = rules + strspn(rules, " \t|");
    if (*at && !dictionary_is_there()) {
        return err_set(e, ERR_CONFIG, 0, "DCMTK does not find its dictionary (dicom.dic), which rules for elements need: install it, or set DCMDICTPATH");
    }
    while (*at) {
        struct edit_rule *rule = NULL;
        int rc = edit_plan_push(plan, by, &rule, e);
        rc = rc ? rc : read_rule(&at, rule, e);
        if (rc != 0) {
            plan->count -= rule != NULL;
            return rc;
        }
        at += strspn(at, " \t|");
    }
    return 0;
}
