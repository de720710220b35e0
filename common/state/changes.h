/*
 * changes - what element rules changed in an instance's file: the audit. Written by the commit that makes the changed file the instance's (state_validated()),
 * never later. Old and new values are patient data: they stand in the database only.
 *
 * The row of a changed instance keeps what the sender sent (sop_instance_uid, file_bytes, file_crc32c ...), by which duplicates and commitments are judged;
 * the columns change_* say what its file is now. A claim of an uploader gives these.
 */
#ifndef STORESCP_STATE_CHANGES_H
#define STORESCP_STATE_CHANGES_H

#include "common/state/state.h"

struct state_change { /* one element */
    const char *path, *vr, *action, *by; /* "0040,0275[1]/0040,0007", "LO", "set", whose rule */
    const char *old_value, *new_value; /* NULL: no such element, or not to be kept */
};

struct state_changed { /* a changed file */
    int64_t file_bytes;
    uint32_t file_crc32c;
    char sop_instance_uid[STATE_UID_SIZE], study_uid[STATE_UID_SIZE], series_uid[STATE_UID_SIZE];
    char by[200]; /* all of them, for people */
    const struct state_change *changes;
    size_t count;
    size_t total; /* with those that had no room in changes */
};

#endif
