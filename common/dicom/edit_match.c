/* edit_match - which rule of the plan decides about an element; see edit_elements.h. */
#include "common/dicom/edit_elements.h"

#include <string.h>

/* The creator of the block that a private element lies in; "" when there is none. */
static void creator_of(struct edit_walk *w, const struct edit_level *l, unsigned group, unsigned block, char out[EDIT_CREATOR_MAX])
{
    struct edit_element el;
    out[0] = '\0';
    for (size_t at = l->from; at < l->to && edit_read_element(w, at, l->to, l->x, &el) == 0; at = el.end) {
        if (el.group == group && el.number == block) {
            size_t n = el.length < EDIT_CREATOR_MAX - 1 ? el.length : EDIT_CREATOR_MAX - 1;
            while (n > 0 && (w->in[el.value + n - 1] == ' ' || w->in[el.value + n - 1] == '\0')) {
                n--;
            }
            memcpy(out, w->in + el.value, n);
            out[n] = '\0';
            return;
        }
    }
}

/* Fills the creator only where some rule asks for one. */
struct edit_tag edit_tag_of(struct edit_walk *w, const struct edit_level *l, const struct edit_element *el)
{
    struct edit_tag tag = {.group = el->group, .element = el->number};
    for (size_t i = 0; el->group % 2 == 1 && el->number > 0xff && i < w->plan->count; i++) {
        const struct edit_rule *rule = &w->plan->rules[i];
        for (int d = 0; d < rule->depth; d++) {
            if (rule->path[d].creator[0] && rule->path[d].group == el->group) {
                creator_of(w, l, el->group, el->number >> 8, tag.creator);
                return tag;
            }
        }
    }
    return tag;
}

bool edit_tag_fits(const struct edit_tag *rule, const struct edit_tag *tag)
{
    if (rule->creator[0]) {
        return rule->group == tag->group && tag->element > 0xff && rule->element == (tag->element & 0xff) && strcmp(rule->creator, tag->creator) == 0;
    }
    return rule->group == tag->group && rule->element == tag->element;
}

/* Do the sequences that are open fit the first tags of the rule? */
bool edit_path_fits(const struct edit_walk *w, const struct edit_rule *rule)
{
    for (int d = 0; d < w->depth && d < rule->depth; d++) {
        if (!edit_tag_fits(&rule->path[d], &w->path[d].tag)) {
            return false;
        }
    }
    return true;
}

/* A private creator goes with the last of what it stands for: it stays while a rule leaves an element of its block. */
static bool creator_stays(struct edit_walk *w, const struct edit_element *el)
{
    for (size_t i = 0; i < w->plan->count; i++) {
        const struct edit_rule *rule = &w->plan->rules[i];
        const struct edit_tag *last = &rule->path[rule->depth - 1];
        size_t n = strlen(last->creator);
        if (n > 0 && rule->action != EDIT_REMOVE && last->group == el->group && el->length >= n && memcmp(w->in + el->value, last->creator, n) == 0) {
            return true;
        }
    }
    return false;
}

/* rule: whose word it is; NULL: the profile's, or nobody's. */
enum edit_action edit_decide(struct edit_walk *w, const struct edit_element *el, const struct edit_tag *tag, const struct edit_rule **rule)
{
    *rule = NULL;
    for (size_t i = 0; i < w->plan->count; i++) {
        const struct edit_rule *r = &w->plan->rules[i];
        if (r->anywhere ? edit_tag_fits(&r->path[0], tag) : r->depth == w->depth + 1 && edit_path_fits(w, r) && edit_tag_fits(&r->path[w->depth], tag)) {
            *rule = r;
            return r->action;
        }
    }
    if (!w->plan->deidentify) {
        return EDIT_NOTHING;
    }
    bool is_creator = el->group % 2 == 1 && el->number >= 0x10 && el->number <= 0xff;
    return is_creator && creator_stays(w, el) ? EDIT_NOTHING : deidentify_action(el->group, el->number, el->known);
}

/* May some rule change something below this sequence? */
bool edit_reaches_below(struct edit_walk *w, const struct edit_tag *tag)
{
    bool reaches = w->needs_values;
    for (size_t i = 0; !reaches && i < w->plan->count; i++) {
        const struct edit_rule *r = &w->plan->rules[i];
        reaches = r->depth > w->depth + 1 && edit_path_fits(w, r) && edit_tag_fits(&r->path[w->depth], tag);
    }
    return reaches;
}
