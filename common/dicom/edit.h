/*
 * edit - changes named elements of an instance's header; everything else of the data set, pixel data and what stands behind it included, keeps its bytes.
 *
 * A plan is a list of rules. For each element the first rule that fits decides: what comes first wins (a person's correction before the sender's
 * rules before the profile). An element that no rule changes is copied byte for byte, and so is a sequence in which nothing changed; lengths around a
 * change (sequences, items, group lengths) are corrected, undefined ones stay undefined. Nothing is reordered or re-encoded.
 *
 * Rules as text, separated by '|':
 *     set 0008,0080=Hospital A | remove 0010,4000 | empty 0008,0090 | hash 0010,0020 | keep 0018,1000
 *     set InstitutionName=...           a keyword of the dictionary in the place of a tag
 *     remove 0040,0275/0040,0007        inside a sequence, in each of its items
 *     remove any/0008,0081              at every depth
 *     remove 0029,[SIEMENS CSA HEADER]10  a private element, by its creator, wherever its block lies
 *   set     gives the value (UTF-8, several with backslashes between them; "..." keeps blanks and '|', "" within it is a quote); written in the character
 *           set of the data set. What is missing is added, private elements and those in absent sequences excepted
 *   remove  takes the element away, empty leaves it without a value, keep leaves it as it is whatever later rules say
 *   hash    texts become a pseudonym of 16 characters, UIDs become 2.25.<number>: keyed (HMAC-SHA256), so the same value always becomes the same one
 *           and nobody without the key finds the way back. UIDs of the standard itself stay
 * Pixel data, group lengths and groups up to 0007 take no rule, nor does the file meta information: who writes the file makes a new one.
 *
 * A deflated data set is inflated, changed, and deflated again. Only what dicom_scan_fd() has passed may come here. No DCMTK but its dictionary (for the
 * value representation of implicit and new elements): a stock parser re-encodes what it does not touch. Bounded: 64 MiB beside the pixel data, 64 levels.
 * Sources: PS3.5 sections 6.2 (value representations), 7.1, 7.5 (sequences), 7.8 (private elements), B.2 (2.25 UIDs); PS3.3 C.12.1.1.2 (character
 * sets). Thread safe; a plan is read only while it is used.
 */
#ifndef STORESCP_DICOM_EDIT_H
#define STORESCP_DICOM_EDIT_H

#include "common/runtime/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EDIT_KEY_BYTES = 32, EDIT_CHANGES_MAX = 1024 };

struct edit_plan;
int edit_plan_new(struct edit_plan **out, struct err *e);
void edit_plan_free(struct edit_plan **plan); /* NULL is fine */
/* Adds rules behind those that are there. by: who says so, up to 63 characters, for the report. ERR_CONFIG with the rule and what is wrong. */
int edit_plan_add(struct edit_plan *plan, const char *rules, const char *by, struct err *e);
/* Adds the Basic Application Level Confidentiality Profile (PS3.15 table E.1-1) behind the rules that are there; see deidentify.c. */
int edit_plan_deidentify(struct edit_plan *plan, struct err *e);
/* The key of `hash` and of the profile; a plan that needs one and has none fails with ERR_CONFIG. */
void edit_plan_key(struct edit_plan *plan, const unsigned char key[EDIT_KEY_BYTES]);
bool edit_plan_is_empty(const struct edit_plan *plan);
bool edit_plan_needs_key(const struct edit_plan *plan);
bool edit_plan_deidentifies(const struct edit_plan *plan);
/* A rule sets, empties or removes this element of the data set itself: the same value, or none, for every instance. */
bool edit_plan_levels(const struct edit_plan *plan, unsigned group, unsigned element);

struct edit_change { /* one element that was changed */
    char path[120];  /* "0008,0080", "0040,0275[1]/0040,0007", "0029,1010 [SIEMENS CSA HEADER]"; items count from 1 */
    char by[64];     /* whose rule */
    const char *action; /* "set", "remove", "empty", "hash", "dummy"; static storage */
    char vr[3];
    char *old_value, *new_value; /* UTF-8, cut at 250 bytes; NULL: there was (is) no element. Patient data: not for logs */
};

struct edited { /* what the instance becomes; heap memory and a range of the old file */
    unsigned char *head, *tail;
    size_t head_bytes, tail_bytes;
    int64_t pixels_at, pixels_bytes; /* copied from the old file between head and tail */
    int64_t bytes;                   /* of the new data set */
    char sop_class_uid[72], sop_instance_uid[72], study_uid[72], series_uid[72]; /* as they are in the new one */
    char burned_in[17]; /* (0028,0301) Burned In Annotation: NO is the only good news for one that was de-identified */
    struct edit_change *changes;
    size_t change_count; /* up to EDIT_CHANGES_MAX */
    size_t change_total; /* also those that had no room any more; 0: nothing changes, the file may stay as it is */
};
/*
 * Applies the plan to an open Part 10 file. 0, or ERR_DICOM_EDIT with tag, reason and remedy in e->text: the file cannot be changed as the plan
 * says (nothing is half done), ERR_DICOM_LIMIT, ERR_IO, ERR_MEMORY, ERR_CONFIG. Free with edit_clear(), also after an error.
 */
int edit_apply(int fd, const struct edit_plan *plan, struct edited *out, struct err *e);
/* Gives the bytes of the new data set to write(), in order. */
int edit_write(const struct edited *d, int fd, int (*write)(void *ctx, const void *bytes, size_t count, struct err *e), void *ctx, struct err *e);
void edit_clear(struct edited *d);

#endif
