/* rules - see rules.h. Sources: PS3.3 C.12.1, C.7.2.1, C.7.3.1 (UIDs), PS3.10 7.1; HealthImaging developer guide (what must exist). */
#include "validator/rules.h"

#include <stdio.h>
#include <string.h>

static int uid_rule(const char *uid, const char *tag, const char *name, struct err *e)
{
    if (uid[0] == '\0') {
        return err_set(e, ERR_DICOM_MISSING, 0, "%s %s is missing or empty: have the sender fill it and send again", tag, name);
    }
    if (!dicom_uid_is_legal(uid)) {
        return err_set(e, ERR_DICOM_UID, 0, "%s %s is not a UID (digits and dots, 64 characters at most): have the sender correct it",
                       tag, name);
    }
    return 0;
}

int rules_judge(const struct dicom_scan *scan, char *warning, size_t size, struct err *e)
{
    warning[0] = '\0';
    int rc = uid_rule(scan->sop_class_uid, "(0008,0016)", "SOP Class UID", e);
    rc = rc ? rc : uid_rule(scan->sop_instance_uid, "(0008,0018)", "SOP Instance UID", e);
    rc = rc ? rc : uid_rule(scan->study_uid, "(0020,000D)", "Study Instance UID", e);
    rc = rc ? rc : uid_rule(scan->series_uid, "(0020,000E)", "Series Instance UID", e);
    if (rc == 0 && scan->uid_is_odd) {
        rc = err_set(e, ERR_DICOM_UID, 0, "a UID is longer than 64 characters or holds a NUL: have the sender correct it");
    }
    if (rc == 0 && strcmp(scan->sop_class_uid, scan->meta_sop_class_uid) != 0) {
        rc = err_set(e, ERR_DICOM_MISMATCH, 0,
                     "(0008,0016) SOP Class UID of the data set is not that of the C-STORE request: correct the sender");
    }
    if (rc == 0 && strcmp(scan->sop_instance_uid, scan->meta_sop_instance_uid) != 0) {
        rc = err_set(e, ERR_DICOM_MISMATCH, 0,
                     "(0008,0018) SOP Instance UID of the data set is not that of the C-STORE request: correct the sender");
    }
    if (rc == 0 && strncmp(scan->transfer_syntax_uid, "1.2.840.10008.1.2", 17) != 0) {
        rc = err_set(e, ERR_DICOM_SYNTAX, 0, "(0002,0010) Transfer Syntax UID is none of the standard's: convert before sending");
    }
    if (rc == 0 && scan->duplicated) {
        (void)snprintf(warning, size, "an identifying attribute stands twice; the first one counts");
    }
    return rc;
}
