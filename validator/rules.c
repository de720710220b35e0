/* rules - see rules.h. Sources: PS3.3 C.12.1, C.7.2.1, C.7.3.1 (UIDs), PS3.10 7.1; HealthImaging developer guide (what must exist). */
#include "validator/rules.h"

#include <stdio.h>
#include <string.h>

#define TAG_SOP_CLASS "(0008,0016) SOP Class UID"
#define TAG_SOP_INSTANCE "(0008,0018) SOP Instance UID"
#define TAG_STUDY "(0020,000D) Study Instance UID"
#define TAG_SERIES "(0020,000E) Series Instance UID"
#define TAG_SYNTAX "(0002,0010) Transfer Syntax UID"

/* Present, and legal as PS3.5 section 9 has it. */
static int uid_rule(const struct dicom_scan *scan, const char *uid, uint32_t tag, const char *name, struct err *e)
{
    if (uid[0] == '\0') {
        return err_set(e, ERR_DICOM_MISSING, 0, "%s is missing or empty: have the sender fill it and send again", name);
    }
    if (!dicom_uid_is_legal(uid) || (scan->uid_is_odd && scan->odd_tag == tag)) {
        return err_set(e, ERR_DICOM_UID, 0, "%s is not a UID (digits and dots, 64 characters at most): have the sender correct it", name);
    }
    return 0;
}

static int sop_class(const struct dicom_scan *s, struct err *e)
{
    return uid_rule(s, s->sop_class_uid, 0x00080016, TAG_SOP_CLASS, e);
}

static int sop_instance(const struct dicom_scan *s, struct err *e)
{
    return uid_rule(s, s->sop_instance_uid, 0x00080018, TAG_SOP_INSTANCE, e);
}

static int study(const struct dicom_scan *s, struct err *e)
{
    return uid_rule(s, s->study_uid, 0x0020000d, TAG_STUDY, e);
}

static int series(const struct dicom_scan *s, struct err *e)
{
    return uid_rule(s, s->series_uid, 0x0020000e, TAG_SERIES, e);
}

static int same_class(const struct dicom_scan *s, struct err *e)
{
    return strcmp(s->sop_class_uid, s->meta_sop_class_uid) == 0
               ? 0
               : err_set(e, ERR_DICOM_MISMATCH, 0, TAG_SOP_CLASS " of the data set is not that of the C-STORE request: correct the sender");
}

static int same_instance(const struct dicom_scan *s, struct err *e)
{
    return strcmp(s->sop_instance_uid, s->meta_sop_instance_uid) == 0
               ? 0
               : err_set(e, ERR_DICOM_MISMATCH, 0,
                         TAG_SOP_INSTANCE " of the data set is not that of the C-STORE request: correct the sender");
}

static int syntax(const struct dicom_scan *s, struct err *e)
{
    if (s->transfer_syntax_uid[0] == '\0') {
        return err_set(e, ERR_DICOM_SYNTAX, 0, TAG_SYNTAX " is missing or empty: have the sender send again");
    }
    return dicom_ts_is_standard(s->transfer_syntax_uid) && !(s->uid_is_odd && s->odd_tag == 0x00020010)
               ? 0
               : err_set(e, ERR_DICOM_SYNTAX, 0, TAG_SYNTAX " is none of the standard's: have the sender convert before it sends");
}

static const struct rule table[] = {
    {"sop_class_uid", sop_class}, {"sop_instance_uid", sop_instance},     {"study_uid", study},           {"series_uid", series},
    {"same_class", same_class},   {"same_instance", same_instance}, {"transfer_syntax", syntax},
};

const struct rule *rules_table(size_t *count)
{
    *count = sizeof table / sizeof table[0];
    return table;
}

/* Adds a sentence as long as it fits whole. */
static void warn(char *warning, size_t size, bool is_so, const char *sentence)
{
    size_t used = strlen(warning);
    if (is_so && used + strlen(sentence) + 3 <= size) {
        (void)snprintf(warning + used, size - used, "%s%s", used ? "; " : "", sentence);
    }
}

int rules_judge(const struct dicom_scan *scan, char *warning, size_t size, struct err *e)
{
    if (size > 0) {
        warning[0] = '\0';
    }
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        int rc = table[i].judge(scan, e);
        if (rc != 0) {
            return rc;
        }
    }
    if (size == 0) {
        return 0;
    }
    const struct dicom_ts *known = dicom_ts_find(scan->transfer_syntax_uid);
    warn(warning, size, !known || !known->imported, "HealthImaging keeps this transfer syntax as a blob, without frames");
    warn(warning, size, scan->duplicated, "an identifying attribute stands twice, the first one counts");
    warn(warning, size,
         dicom_uid_has_leading_zero(scan->sop_instance_uid) || dicom_uid_has_leading_zero(scan->series_uid) ||
             dicom_uid_has_leading_zero(scan->study_uid),
         "a UID has a leading zero");
    warn(warning, size, scan->long_value, "a value is longer than HealthImaging searches by");
    warn(warning, size, scan->pixel_data_is_empty, "the pixel data is empty");
    warn(warning, size, scan->odd_length, "a value has an odd length");
    return 0;
}
