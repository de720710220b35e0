/* edit_internal - what the files of the element editor share; nobody outside includes it. */
#ifndef STORESCP_DICOM_EDIT_INTERNAL_H
#define STORESCP_DICOM_EDIT_INTERNAL_H

#include "common/dicom/edit.h"

enum { EDIT_PATH_MAX = 8, EDIT_RULES_MAX = 500, EDIT_VALUE_MAX = 1024, EDIT_CREATOR_MAX = 65, EDIT_SHOWN_MAX = 250 };

enum edit_action { EDIT_NOTHING, EDIT_KEEP, EDIT_SET, EDIT_EMPTY, EDIT_REMOVE, EDIT_HASH, EDIT_DUMMY, EDIT_REFUSE };

struct edit_tag {
    unsigned group, element;         /* with a creator: the element within its block, 00 to FF */
    char creator[EDIT_CREATOR_MAX]; /* "": none named */
};

struct edit_rule {
    enum edit_action action;
    bool anywhere; /* at every depth; path has one tag then */
    int depth;
    struct edit_tag path[EDIT_PATH_MAX];
    char value[EDIT_VALUE_MAX + 1];
    char by[64];
};

struct edit_plan {
    struct edit_rule *rules;
    size_t count, room;
    bool deidentify;
    bool has_key;
    unsigned char key[EDIT_KEY_BYTES];
};

/* Another rule behind the others, all zeroes but for `by`. */
int edit_plan_push(struct edit_plan *plan, const char *by, struct edit_rule **rule, struct err *e);

/* ---- values (edit_value.c): pure but for the key ------------------------------------------------------------------------------ */
/* The new value of an element, padded to an even length. charset: (0008,0005) as it stands in the data set, "" if absent. ERR_DICOM_EDIT: why it
 * cannot be written so (without the tag). */
int edit_value_set(const char *vr, const char *text, const char *charset, bool big_endian, unsigned char *out, size_t size, size_t *count, struct err *e);
/* Pseudonym of a text or a UID value, of each part between backslashes. */
int edit_value_hash(const struct edit_plan *plan, const char *vr, const unsigned char *value, size_t bytes, unsigned char *out, size_t size, size_t *count,
                    struct err *e);
/* What stands in the place of a value that must be there: PS3.15 action D. */
int edit_value_dummy(const struct edit_plan *plan, const char *vr, const unsigned char *value, size_t bytes, unsigned char *out, size_t size, size_t *count,
                     struct err *e);
/* For people: UTF-8 without control characters, cut. Heap memory, NULL without memory. */
char *edit_value_show(const char *vr, const unsigned char *value, size_t bytes, const char *charset, bool big_endian);
bool edit_vr_is_text(const char *vr);
/* The length field has 32 bits (PS3.5 table 7.1-1). */
bool edit_vr_is_long(const char *vr);

/* ---- the profile (deidentify.c) -------------------------------------------------------------------------------------------------- */
/* What the Basic Application Level Confidentiality Profile does with an element; EDIT_NOTHING: it says nothing. */
enum edit_action deidentify_action(unsigned group, unsigned element, const char *vr);
#define DEIDENTIFY_BY "deidentify basic"

#endif
