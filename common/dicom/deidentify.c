/*
 * deidentify - the Basic Application Level Confidentiality Profile (PS3.15 annex E.2) as rules of the element editor, without options.
 *
 * At every depth: what the table names gets its action (X removed, Z emptied, D a dummy of its value representation, U another UID by the same key, and
 * Patient ID a pseudonym by it);
 * private elements, curves and the data and comments of overlays are removed. A sequence with action D or Z is emptied; sequences that the table does
 * not name are gone through. (0012,0062), (0012,0063), (0012,0064) and (0028,0303) say what was done. The pixel data is not touched: what is burned
 * into it stays, which is why (0028,0301) is reported. Rules before the profile win, so `keep` makes exceptions.
 */
#include "common/dicom/deidentify_table.h"
#include "common/dicom/edit_internal.h"

#include <stdio.h>
#include <string.h>

struct profile_entry {
    uint32_t tag;
    enum edit_action action;
};

static const struct profile_entry profile[] = {
#define D EDIT_DUMMY
#define Z EDIT_EMPTY
#define X EDIT_REMOVE
#define U EDIT_HASH
#define R EDIT_REFUSE
#define H EDIT_HASH
#define PROFILE_ENTRY(tag, action) {tag, action},
    DEIDENTIFY_TABLE(PROFILE_ENTRY)
#undef D
#undef Z
#undef X
#undef U
#undef R
#undef H
#undef PROFILE_ENTRY
};

enum edit_action deidentify_action(unsigned group, unsigned element, const char *vr)
{
    uint32_t tag = (uint32_t)group << 16 | element;
    size_t from = 0;
    size_t to = sizeof profile / sizeof profile[0];
    if (group % 2 == 1 || (group & 0xff00) == 0x5000 || ((group & 0xff00) == 0x6000 && (element == 0x3000 || element == 0x4000))) {
        return EDIT_REMOVE;
    }
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (profile[middle].tag == tag) { /* a UID that is none, or is written as another kind of value, goes */
            bool is_odd = profile[middle].action == EDIT_HASH && strcmp(vr, tag == 0x00100020 ? "LO" : "UI") != 0;
            return is_odd ? EDIT_REMOVE : profile[middle].action;
        }
        if (profile[middle].tag < tag) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return EDIT_NOTHING;
}

int edit_plan_deidentify(struct edit_plan *plan, struct err *e)
{
    static const char what[] = "set 0012,0062=YES | set 0012,0063=Basic Application Confidentiality Profile | set 0028,0303=REMOVED";
    static const char code[] = "113100\\DCM\\Basic Application Confidentiality Profile";
    struct edit_rule *rule = NULL;
    int rc = edit_plan_add(plan, what, DEIDENTIFY_BY, e);
    rc = rc ? rc : edit_plan_push(plan, DEIDENTIFY_BY, &rule, e);
    if (rc == 0) { /* a sequence, which rules as text cannot write */
        rule->action = EDIT_SET;
        rule->depth = 1;
        rule->path[0] = (struct edit_tag){.group = 0x0012, .element = 0x0064};
        (void)snprintf(rule->value, sizeof rule->value, "%s", code);
        plan->deidentify = true;
    }
    return rc;
}
