/* edit_elements - one data set in memory, walked once: what the plan changes is written anew, all else is copied. Only for the editor's own files. */
#ifndef STORESCP_DICOM_EDIT_ELEMENTS_H
#define STORESCP_DICOM_EDIT_ELEMENTS_H

#include "common/dicom/edit_internal.h"

struct edit_syntax {
    bool implicit, big_endian;
};

struct edit_buffer { /* grows up to EDIT_BYTES_MAX */
    unsigned char *at;
    size_t count, room;
};
enum { EDIT_BYTES_MAX = 64 << 20 };

/* Makes room for count more bytes. */
int edit_buffer_reserve(struct edit_buffer *b, size_t count, struct err *e);

/* The elements in front of the pixel data and those behind it (either may be empty) -> head and tail; out gets UIDs and changes. */
int edit_elements(const struct edit_plan *plan, struct edit_syntax syntax, const unsigned char *front, size_t front_bytes, const unsigned char *behind,
                  size_t behind_bytes, struct edit_buffer *head, struct edit_buffer *tail, struct edited *out, struct err *e);

enum { EDIT_LEVELS_MAX = 66 };
#define EDIT_UNDEFINED 0xffffffffu

struct edit_element {
    unsigned group, number;
    char vr[3];     /* as it is written, "UN" in implicit */
    char known[3];  /* the same, looked up where the file does not say */
    uint32_t length;
    size_t at, value; /* offsets of its head and its value */
    size_t end;       /* behind it, with its delimiter */
};

struct edit_place { /* a sequence that is open */
    struct edit_tag tag;
    int item; /* from 1 */
};

struct edit_walk {
    const struct edit_plan *plan;
    const unsigned char *in;
    struct edit_buffer *out;
    struct edited *result;
    struct err *e;
    struct edit_place path[EDIT_LEVELS_MAX];
    int depth;
    bool needs_values; /* of sequences: the plan has rules for every depth */
};

struct edit_level { /* the elements of the data set or of one item */
    size_t from, to;
    struct edit_syntax x;
    char charset[128];
    bool adds[EDIT_RULES_MAX]; /* rules that add an element that is missing here */
    bool changed;
    struct { /* the group length that stands in front of the elements that are being written */
        bool is_open;
        unsigned group;
        size_t out_at, in_from, out_from;
    } length;
};

/* ---- edit_read.c: errors are told in w->e ------------------------------------------------------------------------------------- */
uint32_t edit_get32(const unsigned char *p, bool big);
void edit_put32(unsigned char *p, uint32_t value, bool big);
/* The head at an offset below `to`; end is not yet known. */
int edit_read_head(struct edit_walk *w, size_t at, size_t to, struct edit_syntax x, struct edit_element *el);
/* The whole element, no delimiter. */
int edit_read_element(struct edit_walk *w, size_t at, size_t to, struct edit_syntax x, struct edit_element *el);
/* Behind the item whose head was read, with its delimiter. */
int edit_end_of_item(struct edit_walk *w, const struct edit_element *item, size_t to, struct edit_syntax x, int level, size_t *end);
/* How the items of a sequence are encoded: below UN implicit little endian (PS3.5 6.2.2). */
struct edit_syntax edit_syntax_below(const struct edit_element *el, struct edit_syntax x);
/* Does it hold items, all of them readable? */
bool edit_is_sequence(struct edit_walk *w, const struct edit_element *el, struct edit_syntax x);

/* ---- edit_match.c --------------------------------------------------------------------------------------------------------------- */
struct edit_tag edit_tag_of(struct edit_walk *w, const struct edit_level *l, const struct edit_element *el);
bool edit_tag_fits(const struct edit_tag *rule, const struct edit_tag *tag);
/* Do the sequences that are open fit the first tags of the rule? */
bool edit_path_fits(const struct edit_walk *w, const struct edit_rule *rule);
/* rule: whose word it is; NULL: the profile's, or nobody's. */
enum edit_action edit_decide(struct edit_walk *w, const struct edit_element *el, const struct edit_tag *tag, const struct edit_rule **rule);
/* May some rule change something below this sequence? */
bool edit_reaches_below(struct edit_walk *w, const struct edit_tag *tag);

#endif
