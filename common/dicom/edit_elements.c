/*
 * edit_elements - see edit_elements.h.
 *
 * The walk goes over one level after the other (the data set, the items of a sequence). A sequence that something may be changed in is written to the
 * output item by item; if nothing was changed, the output is taken back and the sequence copied as it came, so an encoding that we would not choose
 * survives. Each level is looked through once before it is written: for its character set, and for what `set` must add. Every read is checked against
 * the end of the level; recursion ends at EDIT_LEVELS_MAX.
 */
#include "common/dicom/edit_elements.h"
#include "common/dicom/dictionary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NOTES_ROOM = 64 };

/* ---- the report ------------------------------------------------------------------------------------------------------------------------ */

static void write_path(const struct edit_walk *w, const struct edit_tag *tag, char *out, size_t size)
{
    size_t used = 0;
    for (int d = 0; d < w->depth && used < size; d++) {
        int n = snprintf(out + used, size - used, "%04X,%04X[%d]/", w->path[d].tag.group, w->path[d].tag.element, w->path[d].item);
        used += n > 0 ? (size_t)n : 0;
    }
    if (used < size) {
        (void)snprintf(out + used, size - used, "%04X,%04X%s%.40s%s", tag->group, tag->element, tag->creator[0] ? " [" : "", tag->creator,
                       tag->creator[0] ? "]" : "");
    }
}

static int note(struct edit_walk *w, const struct edit_level *l, const struct edit_tag *tag, const char *vr, const char *by, const char *action,
                const struct edit_element *old, const unsigned char *value, size_t count)
{
    struct edited *d = w->result;
    d->change_total++;
    if (d->change_count == EDIT_CHANGES_MAX) {
        return 0;
    }
    if (d->change_count % NOTES_ROOM == 0) {
        struct edit_change *more = reallocarray(d->changes, d->change_count + NOTES_ROOM, sizeof *more);
        if (!more) {
            return err_set(w->e, ERR_MEMORY, 0, "report of changes");
        }
        d->changes = more;
    }
    struct edit_change *c = &d->changes[d->change_count];
    memset(c, 0, sizeof *c);
    write_path(w, tag, c->path, sizeof c->path);
    (void)snprintf(c->by, sizeof c->by, "%s", by);
    c->action = action;
    (void)snprintf(c->vr, sizeof c->vr, "%s", vr);
    c->old_value = old ? edit_value_show(vr, w->in + old->value, old->end - old->value, l->charset, l->x.big_endian) : NULL;
    c->new_value = value ? edit_value_show(vr, value, count, l->charset, l->x.big_endian) : NULL;
    d->change_count++;
    return (old && !c->old_value) || (value && !c->new_value) ? err_set(w->e, ERR_MEMORY, 0, "report of changes") : 0;
}

/* ---- writing ---------------------------------------------------------------------------------------------------------------------------- */

static int copy(struct edit_walk *w, size_t from, size_t to)
{
    int rc = edit_buffer_reserve(w->out, to - from, w->e);
    if (rc == 0 && to > from) {
        memcpy(w->out->at + w->out->count, w->in + from, to - from);
        w->out->count += to - from;
    }
    return rc;
}

static int put_element(struct edit_walk *w, struct edit_syntax x, unsigned group, unsigned number, const char *vr, const unsigned char *value, size_t count)
{
    unsigned char head[12] = {0};
    bool is_long = x.implicit || edit_vr_is_long(vr);
    size_t n = !x.implicit && is_long ? 12 : 8;
    if (!is_long && count > 0xfffe) {
        return err_set(w->e, ERR_DICOM_EDIT, 0, "(%04X,%04X) would be longer than %s may be", group, number, vr);
    }
    for (unsigned i = 0; i < 2; i++) {
        head[x.big_endian ? 1 - i : i] = (unsigned char)(group >> (8 * i));
        head[x.big_endian ? 3 - i : 2 + i] = (unsigned char)(number >> (8 * i));
    }
    if (!x.implicit) {
        head[4] = (unsigned char)vr[0];
        head[5] = (unsigned char)vr[1];
    }
    if (is_long) {
        edit_put32(head + n - 4, (uint32_t)count, x.big_endian);
    } else {
        head[x.big_endian ? 7 : 6] = (unsigned char)count;
        head[x.big_endian ? 6 : 7] = (unsigned char)(count >> 8);
    }
    int rc = edit_buffer_reserve(w->out, n + count, w->e);
    if (rc == 0) {
        memcpy(w->out->at + w->out->count, head, n);
        if (count > 0) {
            memcpy(w->out->at + w->out->count + n, value, count);
        }
        w->out->count += n + count;
    }
    return rc;
}

/* The group length before the elements just written grows by as much as they did. */
static void close_length(struct edit_walk *w, struct edit_level *l, size_t in_at)
{
    if (l->length.is_open) {
        unsigned char *p = w->out->at + l->length.out_at;
        size_t was = in_at - l->length.in_from;
        size_t is = w->out->count - l->length.out_from;
        edit_put32(p, edit_get32(p, l->x.big_endian) + (uint32_t)is - (uint32_t)was, l->x.big_endian);
        l->length.is_open = false;
    }
}

/* An item of a code sequence (PS3.3 table 8.8-1), from "VALUE\SCHEME\MEANING": only what deidentify.c asks for. */
static int code_item(const char *text, struct edit_syntax x, unsigned char *out, size_t size, size_t *count, struct err *e)
{
    static const unsigned numbers[] = {0x100, 0x102, 0x104};
    static const char *const vrs[] = {"SH", "SH", "LO"};
    struct edit_buffer b = {0};
    struct edit_walk w = {.out = &b, .e = e};
    unsigned char value[128];
    size_t bytes = 0;
    int rc = put_element(&w, (struct edit_syntax){true, x.big_endian}, 0xfffe, 0xe000, "UN", NULL, 0);
    for (size_t i = 0; rc == 0 && i < 3; i++) {
        char part[65];
        size_t n = strcspn(text, "\\");
        (void)snprintf(part, sizeof part, "%.*s", (int)n, text);
        text += n + (text[n] != '\0');
        rc = edit_value_set(vrs[i], part, "", x.big_endian, value, sizeof value, &bytes, e);
        rc = rc ? rc : put_element(&w, x, 8, numbers[i], vrs[i], value, bytes);
    }
    if (rc == 0 && b.count <= size) {
        edit_put32(b.at + 4, (uint32_t)b.count - 8, x.big_endian);
        memcpy(out, b.at, b.count);
        *count = b.count;
    }
    free(b.at);
    return rc;
}

/* The value that a rule or the profile gives to an element of this representation; old may be NULL. */
static int make_value(struct edit_walk *w, const struct edit_level *l, enum edit_action action, const struct edit_rule *rule, const struct edit_tag *tag,
                      const char *vr, const struct edit_element *old, unsigned char *out, size_t size, size_t *count)
{
    struct err why = {0};
    const unsigned char *value = old ? w->in + old->value : NULL;
    size_t bytes = old ? old->length : 0;
    bool is_code = strcmp(vr, "SQ") == 0 && action == EDIT_SET && !old;
    int rc = is_code               ? code_item(rule->value, l->x, out, size, count, &why)
             : action == EDIT_SET  ? edit_value_set(vr, rule->value, l->charset, l->x.big_endian, out, size, count, &why)
             : action == EDIT_HASH ? edit_value_hash(w->plan, vr, value, bytes, out, size, count, &why)
                                   : edit_value_dummy(w->plan, vr, value, bytes, out, size, count, &why);
    return rc == 0 ? 0 : err_set(w->e, rc, 0, "(%04X,%04X) cannot be changed: %.240s", tag->group, tag->element, why.text);
}

static const char *name_of(enum edit_action action)
{
    static const char *const names[] = {"", "keep", "set", "empty", "remove", "hash", "dummy", "refuse"};
    return names[action];
}

static int edit_level(struct edit_walk *w, struct edit_level *l, unsigned long from_tag, unsigned long to_tag);

/* The representation that a new value is written in: that of the file, unless it does not say. */
static const char *written_vr(const struct edit_element *el)
{
    return strcmp(el->vr, "UN") == 0 ? el->known : el->vr;
}

static int edit_items(struct edit_walk *w, struct edit_level *l, const struct edit_element *el, const struct edit_tag *tag, bool *changed)
{
    const struct edit_syntax below = edit_syntax_below(el, l->x);
    const size_t start = w->out->count;
    const size_t notes = w->result->change_count;
    size_t end = el->length == EDIT_UNDEFINED ? el->end - 8 : el->end;
    struct edit_level *inner = calloc(1, sizeof *inner);
    int rc = !inner                      ? err_set(w->e, ERR_MEMORY, 0, "change of a sequence")
             : w->depth == EDIT_LEVELS_MAX - 1 ? err_set(w->e, ERR_DICOM_LIMIT, 0, "sequences nest deeper than %d levels", EDIT_LEVELS_MAX)
                                         : copy(w, el->at, el->value);
    w->path[w->depth].tag = *tag;
    w->path[w->depth].item = 0;
    w->depth++;
    for (size_t at = el->value; rc == 0 && at < end;) {
        struct edit_element item;
        size_t next = 0;
        w->path[w->depth - 1].item++;
        rc = edit_read_head(w, at, end, (struct edit_syntax){true, below.big_endian}, &item);
        rc = rc ? rc : edit_end_of_item(w, &item, end, below, w->depth, &next);
        if (rc != 0) {
            break;
        }
        size_t inner_end = item.length == EDIT_UNDEFINED ? next - 8 : next;
        memset(inner, 0, sizeof *inner);
        *inner = (struct edit_level){.from = item.value, .to = inner_end, .x = below};
        (void)snprintf(inner->charset, sizeof inner->charset, "%s", l->charset);
        size_t head_at = w->out->count;
        rc = copy(w, item.at, item.value);
        rc = rc ? rc : edit_level(w, inner, 0, 0x100000000UL);
        if (rc == 0 && item.length != EDIT_UNDEFINED && inner->changed) {
            edit_put32(w->out->at + head_at + 4, (uint32_t)(w->out->count - head_at - 8), below.big_endian);
        }
        rc = rc ? rc : copy(w, inner_end, next);
        *changed = *changed || inner->changed;
        at = next;
    }
    w->depth--;
    free(inner);
    if (rc == 0 && !*changed && w->result->change_count == notes) { /* as it came */
        w->out->count = start;
        return copy(w, el->at, el->end);
    }
    if (rc == 0 && el->length != EDIT_UNDEFINED) {
        size_t head = el->value - el->at;
        edit_put32(w->out->at + start + head - 4, (uint32_t)(w->out->count - start - head), l->x.big_endian);
    }
    return rc ? rc : copy(w, end, el->end);
}

/* What becomes of one element. *written: its value in the output, if it has one there. */
static int edit_element(struct edit_walk *w, struct edit_level *l, const struct edit_element *el)
{
    const struct edit_rule *rule;
    unsigned char value[8 * EDIT_VALUE_MAX];
    size_t count = 0;
    struct edit_tag tag = edit_tag_of(w, l, el);
    enum edit_action action = edit_decide(w, el, &tag, &rule);
    bool is_items = (action != EDIT_KEEP && action != EDIT_REMOVE) && edit_is_sequence(w, el, l->x);
    const char *by = rule ? rule->by : DEIDENTIFY_BY;
    const char *vr = is_items ? "SQ" : written_vr(el);
    bool is_named = strcmp(el->known, "SQ") == 0;
    if (action == EDIT_NOTHING && w->plan->deidentify && is_named && !is_items && el->length > 0) {
        action = EDIT_EMPTY; /* a sequence that cannot be read hides what it holds */
    }
    if (action == EDIT_DUMMY && (is_items || is_named)) {
        action = EDIT_EMPTY;
    }
    if (action == EDIT_REFUSE) {
        return err_set(w->e, ERR_DICOM_EDIT, 0,
                       "(%04X,%04X) holds a document, which nobody can de-identify by rules: send it elsewhere, or say what to do with a rule for this element",
                       el->group, el->number);
    }
    if ((action == EDIT_SET || action == EDIT_HASH) && (is_items || is_named) && !(action == EDIT_SET && is_named && rule && rule->depth == 1 && w->plan->deidentify)) {
        return err_set(w->e, ERR_DICOM_EDIT, 0, "(%04X,%04X) is a sequence, which takes no value: use remove or empty", el->group, el->number);
    }
    if (action == EDIT_KEEP || action == EDIT_NOTHING) {
        bool goes_in = action == EDIT_NOTHING && is_items && edit_reaches_below(w, &tag);
        return goes_in ? edit_items(w, l, el, &tag, &l->changed) : copy(w, el->at, el->end);
    }
    if (action == EDIT_REMOVE) {
        l->changed = true;
        return note(w, l, &tag, vr, by, name_of(action), el, NULL, 0);
    }
    int rc = action == EDIT_EMPTY ? 0 : make_value(w, l, action, rule, &tag, is_named ? "SQ" : vr, is_named ? NULL : el, value, sizeof value, &count);
    if (rc != 0) {
        return rc;
    }
    if (el->length == count && (count == 0 || memcmp(w->in + el->value, value, count) == 0)) { /* it is so already */
        return copy(w, el->at, el->end);
    }
    l->changed = true;
    rc = put_element(w, l->x, el->group, el->number, !l->x.implicit && strcmp(el->vr, "UN") != 0 ? el->vr : vr, value, count);
    return rc ? rc : note(w, l, &tag, vr, by, name_of(action), el, value, count);
}

/* ---- levels -------------------------------------------------------------------------------------------------------------------------------- */

static unsigned long tag_number(unsigned group, unsigned number)
{
    return (unsigned long)group << 16 | number;
}

/* Character set of the level, and which rules add something to it: `set` at this place, without private ones. */
static int look_through(struct edit_walk *w, struct edit_level *l, size_t from, size_t to, bool is_first)
{
    const struct edit_plan *plan = w->plan;
    for (size_t i = 0; is_first && i < plan->count; i++) {
        const struct edit_rule *r = &plan->rules[i];
        l->adds[i] = r->action == EDIT_SET && r->depth == w->depth + 1 && edit_path_fits(w, r) && r->path[w->depth].group % 2 == 0;
        for (size_t k = 0; l->adds[i] && k < i; k++) { /* an earlier rule has had its word */
            const struct edit_rule *earlier = &plan->rules[k];
            if (earlier->anywhere ? edit_tag_fits(&earlier->path[0], &r->path[w->depth])
                                  : earlier->depth == r->depth && edit_path_fits(w, earlier) && edit_tag_fits(&earlier->path[w->depth], &r->path[w->depth])) {
                l->adds[i] = false;
            }
        }
    }
    for (size_t at = from; at < to;) {
        struct edit_element el;
        int rc = edit_read_element(w, at, to, l->x, &el);
        if (rc != 0) {
            return rc;
        }
        if (el.group == 8 && el.number == 5) {
            (void)snprintf(l->charset, sizeof l->charset, "%.*s", (int)(el.length < sizeof l->charset - 1 ? el.length : sizeof l->charset - 1),
                           (const char *)w->in + el.value);
        }
        for (size_t i = 0; i < plan->count; i++) {
            const struct edit_tag *last = &plan->rules[i].path[plan->rules[i].depth - 1];
            l->adds[i] = l->adds[i] && (last->group != el.group || last->element != el.number);
        }
        at = el.end;
    }
    for (size_t i = 0; w->depth == 0 && i < plan->count; i++) { /* a new character set is that of new values */
        if (plan->rules[i].action == EDIT_SET && !plan->rules[i].path[0].creator[0] && tag_number(plan->rules[i].path[0].group, plan->rules[i].path[0].element) == 0x00080005UL) {
            (void)snprintf(l->charset, sizeof l->charset, "%.127s", plan->rules[i].value);
            break;
        }
    }
    return 0;
}

/* Adds what is missing with a tag in [from, to), in order. */
static int add_missing(struct edit_walk *w, struct edit_level *l, unsigned long from, unsigned long to, size_t in_at)
{
    for (;;) {
        size_t best = w->plan->count;
        unsigned long best_tag = to;
        for (size_t i = 0; i < w->plan->count; i++) {
            const struct edit_tag *last = &w->plan->rules[i].path[w->plan->rules[i].depth - 1];
            unsigned long tag = tag_number(last->group, last->element);
            if (l->adds[i] && tag >= from && tag < best_tag) {
                best = i;
                best_tag = tag;
            }
        }
        if (best == w->plan->count) {
            return 0;
        }
        const struct edit_rule *rule = &w->plan->rules[best];
        const struct edit_tag *tag = &rule->path[rule->depth - 1];
        unsigned char value[8 * EDIT_VALUE_MAX];
        size_t count = 0;
        char vr[3];
        (void)dictionary_vr(tag->group, tag->element, vr);
        l->adds[best] = false;
        l->changed = true;
        if (l->length.is_open && l->length.group != tag->group) {
            close_length(w, l, in_at);
        }
        int rc = make_value(w, l, EDIT_SET, rule, tag, vr, NULL, value, sizeof value, &count);
        rc = rc ? rc : put_element(w, l->x, tag->group, tag->element, vr, value, count);
        rc = rc ? rc : note(w, l, tag, vr, rule->by, name_of(EDIT_SET), NULL, value, count);
        if (rc != 0) {
            return rc;
        }
    }
}

/* The elements of l->from to l->to, and those that are added with tags in [from_tag, to_tag). */
static int edit_range(struct edit_walk *w, struct edit_level *l, unsigned long from_tag, unsigned long to_tag)
{
    int rc = 0;
    for (size_t at = l->from; rc == 0 && at < l->to;) {
        struct edit_element el;
        rc = edit_read_element(w, at, l->to, l->x, &el);
        if (rc != 0) {
            break;
        }
        unsigned long tag = tag_number(el.group, el.number);
        rc = add_missing(w, l, from_tag, tag < to_tag ? tag : to_tag, at);
        if (l->length.is_open && l->length.group != el.group) {
            close_length(w, l, at);
        }
        size_t before = w->out->count;
        rc = rc ? rc : edit_element(w, l, &el);
        if (rc == 0 && el.number == 0 && el.length == 4 && w->out->count - before == el.end - el.at) {
            l->length.is_open = true;
            l->length.group = el.group;
            l->length.out_at = w->out->count - 4;
            l->length.out_from = w->out->count;
            l->length.in_from = el.end;
        }
        at = el.end;
    }
    rc = rc ? rc : add_missing(w, l, from_tag, to_tag, l->to);
    if (rc == 0) {
        close_length(w, l, l->to);
    }
    return rc;
}

static int edit_level(struct edit_walk *w, struct edit_level *l, unsigned long from_tag, unsigned long to_tag)
{
    int rc = look_through(w, l, l->from, l->to, true);
    return rc ? rc : edit_range(w, l, from_tag, to_tag);
}

/* ---- the data set ---------------------------------------------------------------------------------------------------------------------------- */

static void take_text(const struct edit_buffer *b, const struct edit_element *el, char *out, size_t size)
{
    size_t n = el->length < size - 1 ? el->length : size - 1;
    (void)snprintf(out, size, "%.*s", (int)n, (const char *)b->at + el->value);
    for (n = strlen(out); n > 0 && out[n - 1] == ' '; n--) {
        out[n - 1] = '\0';
    }
}

/* What the new data set says of itself; the first element of a tag counts, as for the scanner. */
static int take_identity(struct edit_walk *w, const struct edit_buffer *b, struct edit_syntax x)
{
    struct edited *d = w->result;
    const struct {
        unsigned long tag;
        char *out;
        size_t size;
    } wishes[] = {{0x00080016UL, d->sop_class_uid, sizeof d->sop_class_uid}, {0x00080018UL, d->sop_instance_uid, sizeof d->sop_instance_uid},
                  {0x0020000dUL, d->study_uid, sizeof d->study_uid}, {0x0020000eUL, d->series_uid, sizeof d->series_uid},
                  {0x00280301UL, d->burned_in, sizeof d->burned_in}};
    bool seen[sizeof wishes / sizeof wishes[0]] = {false};
    w->in = b->at;
    for (size_t at = 0; at < b->count;) {
        struct edit_element el;
        int rc = edit_read_element(w, at, b->count, x, &el);
        if (rc != 0) {
            return rc;
        }
        for (size_t i = 0; i < sizeof wishes / sizeof wishes[0]; i++) {
            if (wishes[i].tag == tag_number(el.group, el.number) && !seen[i] && el.length != EDIT_UNDEFINED) {
                seen[i] = true;
                take_text(b, &el, wishes[i].out, wishes[i].size);
            }
        }
        at = el.end;
    }
    return 0;
}

int edit_elements(const struct edit_plan *plan, struct edit_syntax syntax, const unsigned char *front, size_t front_bytes, const unsigned char *behind,
                  size_t behind_bytes, struct edit_buffer *head, struct edit_buffer *tail, struct edited *out, struct err *e)
{
    static const unsigned long pixels = 0x7fe00010UL;
    struct edit_walk *w = calloc(1, sizeof *w);
    struct edit_level *l = calloc(1, sizeof *l);
    int rc = w && l ? 0 : err_set(e, ERR_MEMORY, 0, "change of a data set");
    if (rc == 0) {
        w->plan = plan;
        w->result = out;
        w->e = e;
        w->needs_values = plan->deidentify;
        for (size_t i = 0; i < plan->count; i++) {
            w->needs_values = w->needs_values || plan->rules[i].anywhere;
        }
        l->x = syntax;
        w->in = front;
        rc = look_through(w, l, 0, front_bytes, true);
        w->in = behind;
        rc = rc ? rc : look_through(w, l, 0, behind_bytes, false);
        w->in = front;
        w->out = head;
        l->to = front_bytes;
        rc = rc ? rc : edit_range(w, l, 0, pixels);
        w->in = behind;
        w->out = tail;
        l->to = behind_bytes;
        rc = rc ? rc : edit_range(w, l, pixels, 0x100000000UL);
        rc = rc ? rc : take_identity(w, head, syntax);
    }
    free(w);
    free(l);
    return rc;
}
