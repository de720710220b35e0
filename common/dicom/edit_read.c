/* edit_read - heads, ends and items of elements in memory; see edit_elements.h. Every read is checked against the end of its level. */
#include "common/dicom/dictionary.h"
#include "common/dicom/edit_elements.h"

#include <string.h>

static unsigned get16(const unsigned char *p, bool big)
{
    return big ? (unsigned)p[0] << 8 | p[1] : p[0] | (unsigned)p[1] << 8;
}

uint32_t edit_get32(const unsigned char *p, bool big)
{
    return big ? (uint32_t)get16(p, true) << 16 | get16(p + 2, true) : get16(p, false) | (uint32_t)get16(p + 2, false) << 16;
}

void edit_put32(unsigned char *p, uint32_t value, bool big)
{
    for (unsigned i = 0; i < 4; i++) {
        p[big ? 3 - i : i] = (unsigned char)(value >> (8 * i));
    }
}

static int unreadable(struct edit_walk *w, size_t at)
{
    return err_set(w->e, ERR_DICOM_EDIT, 0, "the elements at offset %zu of the data set cannot be read, so they cannot be changed: have the sender correct it", at);
}

static int find_end(struct edit_walk *w, struct edit_element *el, size_t to, struct edit_syntax x, int level);

/* The head at an offset; end is not yet known. */
int edit_read_head(struct edit_walk *w, size_t at, size_t to, struct edit_syntax x, struct edit_element *el)
{
    const unsigned char *p = w->in + at;
    if (to - at < 8) {
        return unreadable(w, at);
    }
    el->at = at;
    el->group = get16(p, x.big_endian);
    el->number = get16(p + 2, x.big_endian);
    memcpy(el->vr, "UN", 3);
    el->value = at + 8;
    if (x.implicit || el->group == 0xfffe) {
        el->length = edit_get32(p + 4, x.big_endian);
    } else {
        el->vr[0] = (char)p[4];
        el->vr[1] = (char)p[5];
        bool is_long = edit_vr_is_long(el->vr);
        if (is_long && to - at < 12) {
            return unreadable(w, at);
        }
        el->length = is_long ? edit_get32(p + 8, x.big_endian) : get16(p + 6, x.big_endian);
        el->value += is_long ? 4 : 0;
    }
    memcpy(el->known, el->vr, 3);
    if (strcmp(el->vr, "UN") == 0 && el->group % 2 == 1) {
        memcpy(el->known, el->number >= 0x10 && el->number <= 0xff ? "LO" : "UN", 3);
    } else if (strcmp(el->vr, "UN") == 0 && el->group != 0xfffe) {
        (void)dictionary_vr(el->group, el->number, el->known);
    }
    return 0;
}

/* How the items of a sequence are encoded: below UN implicit little endian (PS3.5 6.2.2). */
struct edit_syntax edit_syntax_below(const struct edit_element *el, struct edit_syntax x)
{
    bool is_unknown = !x.implicit && strcmp(el->vr, "UN") == 0;
    return is_unknown ? (struct edit_syntax){true, false} : x;
}

/* The end of the item whose head is read, or of the elements up to its delimiter. */
int edit_end_of_item(struct edit_walk *w, const struct edit_element *item, size_t to, struct edit_syntax x, int level, size_t *end)
{
    if (item->length != EDIT_UNDEFINED) {
        *end = item->value + item->length;
        return item->length > to - item->value ? unreadable(w, item->at) : 0;
    }
    for (size_t at = item->value;;) {
        struct edit_element el;
        int rc = edit_read_head(w, at, to, x, &el);
        if (rc == 0 && el.group == 0xfffe) {
            *end = at + 8;
            return el.number == 0xe00d ? 0 : unreadable(w, at);
        }
        rc = rc ? rc : find_end(w, &el, to, x, level + 1);
        if (rc != 0) {
            return rc;
        }
        at = el.end;
    }
}

static bool is_encapsulated(const struct edit_element *el)
{
    return el->vr[0] == 'O' || (el->group == 0x7fe0 && el->number == 0x10);
}

static int find_end(struct edit_walk *w, struct edit_element *el, size_t to, struct edit_syntax x, int level)
{
    if (level > EDIT_LEVELS_MAX) {
        return err_set(w->e, ERR_DICOM_LIMIT, 0, "sequences nest deeper than %d levels", EDIT_LEVELS_MAX);
    }
    if (el->length != EDIT_UNDEFINED) {
        el->end = el->value + el->length;
        return el->length > to - el->value ? unreadable(w, el->at) : 0;
    }
    const struct edit_syntax below = edit_syntax_below(el, x);
    for (size_t at = el->value;;) {
        struct edit_element item;
        int rc = edit_read_head(w, at, to, (struct edit_syntax){true, below.big_endian}, &item);
        if (rc == 0 && item.group == 0xfffe && item.number == 0xe0dd) {
            el->end = at + 8;
            return 0;
        }
        if (rc == 0 && (item.group != 0xfffe || item.number != 0xe000 || (is_encapsulated(el) && item.length == EDIT_UNDEFINED))) {
            rc = unreadable(w, at);
        }
        rc = rc ? rc : edit_end_of_item(w, &item, to, below, level, &at);
        if (rc != 0) {
            return rc;
        }
    }
}

int edit_read_element(struct edit_walk *w, size_t at, size_t to, struct edit_syntax x, struct edit_element *el)
{
    int rc = edit_read_head(w, at, to, x, el);
    if (rc == 0 && el->group == 0xfffe) {
        rc = unreadable(w, at);
    }
    return rc ? rc : find_end(w, el, to, x, w->depth);
}

/* Do items stand in a value of known length, all of them readable? An encoding that only looks so is no sequence. */
static bool holds_items(struct edit_walk *w, const struct edit_element *el, struct edit_syntax below)
{
    struct err *kept = w->e;
    bool good = el->length >= 8;
    w->e = NULL;
    for (size_t at = el->value; good && at < el->end;) {
        struct edit_element item;
        good = edit_read_head(w, at, el->end, (struct edit_syntax){true, below.big_endian}, &item) == 0 && item.group == 0xfffe && item.number == 0xe000 &&
               edit_end_of_item(w, &item, el->end, below, w->depth + 1, &at) == 0;
        size_t inner_end = good && item.length == EDIT_UNDEFINED ? at - 8 : at;
        for (size_t inner = item.value; good && inner < inner_end;) {
            struct edit_element in;
            good = edit_read_element(w, inner, inner_end, below, &in) == 0;
            inner = in.end;
        }
    }
    w->e = kept;
    return good;
}

bool edit_is_sequence(struct edit_walk *w, const struct edit_element *el, struct edit_syntax x)
{
    if (el->length == EDIT_UNDEFINED) {
        return !is_encapsulated(el);
    }
    bool may_be = strcmp(el->known, "SQ") == 0 || strcmp(el->known, "UN") == 0;
    return may_be && el->length > 0 && holds_items(w, el, edit_syntax_below(el, x));
}
