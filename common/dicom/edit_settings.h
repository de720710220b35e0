/*
 * edit_settings - the element rules of the settings (`coerce`, `deidentify`) as a plan of edit.h: for the validator that applies them, and for who
 * tells of wrong ones before. Thread safe.
 */
#ifndef STORESCP_DICOM_EDIT_SETTINGS_H
#define STORESCP_DICOM_EDIT_SETTINGS_H

#include "common/dicom/edit.h"
#include "common/runtime/config.h"

/* What a section says (NULL: everybody's settings), behind the rules that are in the plan; without a key. ERR_CONFIG names the section. */
int edit_plan_add_settings(const struct config *config, const struct config_section *section, struct edit_plan *plan, struct err *e);
/* Are the rules of everybody and of all sections right? ERR_CONFIG with the first that is not, and where it was set. */
int edit_settings_check(const struct config *config, struct err *e);

#endif
