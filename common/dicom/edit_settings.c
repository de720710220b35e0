/* edit_settings - see edit_settings.h. */
#include "common/dicom/edit_settings.h"

#include <stdio.h>
#include <string.h>

int edit_plan_add_settings(const struct config *config, const struct config_section *section, struct edit_plan *plan, struct err *e)
{
    char by[64];
    struct err why = {0};
    const char *name = section ? config_section_name(section) : "";
    (void)snprintf(by, sizeof by, "coerce%s%.40s%s", name[0] ? " [" : "", name, name[0] ? "]" : "");
    bool is_alone = edit_plan_is_empty(plan); /* no person's order about one image stands in front */
    int rc = edit_plan_add(plan, config_text_for(config, section, CFG_COERCE), by, &why);
    if (rc == 0 && is_alone && edit_plan_levels(plan, 0x0008, 0x0018)) { /* twins are told apart by what was sent: nobody would notice that one overwrites the other */
        rc = err_set(&why, ERR_CONFIG, 0, "(0008,0018) SOP Instance UID must differ from image to image: use hash or keep, not set, empty or remove");
    }
    if (rc == 0 && strcmp(config_text_for(config, section, CFG_DEIDENTIFY), "basic") == 0) {
        rc = edit_plan_deidentify(plan, &why);
    }
    return rc ? err_set(e, rc, 0, "%s: %.250s", by, why.text) : 0;
}

static int check_one(const struct config *config, const struct config_section *section, struct err *e)
{
    struct edit_plan *plan = NULL;
    struct err why = {0};
    const char *value;
    const char *origin = config_origin(config, CFG_COERCE);
    int rc = edit_plan_new(&plan, &why);
    rc = rc ? rc : edit_plan_add_settings(config, section, plan, &why);
    edit_plan_free(&plan);
    if (section && !config_section_sets(section, CFG_COERCE, &value, &origin)) {
        origin = config_section_name(section);
    }
    return rc ? err_set(e, rc, 0, "%.300s (%s)", why.text, origin) : 0;
}

int edit_settings_check(const struct config *config, struct err *e)
{
    const struct config_section *section = NULL;
    size_t i = 0;
    int rc = check_one(config, NULL, e);
    while (rc == 0 && (section = config_section_at(config, i++))) {
        rc = check_one(config, section, e);
    }
    return rc;
}
