/*
 * config - the settings of an installation: built-in default < storescp.conf < environment.
 *
 * One installation lives under one directory, STORESCP_HOME: spool/, state/state.db, run/, storescp.conf.
 * Every setting stands in config_table.h with unit, default, minimum and maximum; a value outside is an error that names
 * the setting, where it was set, and what it may be. Unknown names in the file are errors too: a typo must not be silent.
 * Not thread safe while loading; read-only afterwards.
 */
#ifndef STORESCP_RUNTIME_CONFIG_H
#define STORESCP_RUNTIME_CONFIG_H

#include "common/runtime/config_table.h"
#include "common/runtime/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum config_key {
#define CONFIG_ENUM(key, ...) key,
    CONFIG_TABLE(CONFIG_ENUM)
#undef CONFIG_ENUM
    CONFIG_COUNT
};

enum config_type { CONFIG_TEXT, CONFIG_INT, CONFIG_BOOL, CONFIG_SECRET };

struct config_setting {
    const char *name;  /* in storescp.conf */
    const char *alias; /* second environment name or "" */
    enum config_type type;
    const char *preset; /* default as text */
    long long minimum, maximum;
    const char *unit;
    const char *help;
};

struct config;

/*
 * Loads the settings of `home` (NULL: environment STORESCP_HOME, else /var/lib/storescp). A missing storescp.conf is fine.
 * All problems are collected: on ERR_CONFIG e->text holds the first and config_problem() gives each of them; *out is set then
 * too, so that `storescpctl config` can show everything. Free with config_free().
 */
int config_load(struct config **out, const char *home, struct err *e);
/* The same with the file at path (NULL: that of home) in the place of storescp.conf; in sentences it is still called so. */
int config_load_from(struct config **out, const char *home, const char *path, struct err *e);
/* The directory that home means, see config_load(); valid as long as home and the environment are. */
const char *config_find_home(const char *home);
void config_free(struct config **c);

const char *config_home(const struct config *c); /* absolute or as given; no trailing slash */
const char *config_text(const struct config *c, enum config_key key);
long long config_int(const struct config *c, enum config_key key);
bool config_bool(const struct config *c, enum config_key key);

/* ---- rules for single peers: a section [ae PATTERN] of storescp.conf ---------------------------------------------------------
 * Within it every setting of CONFIG_PER_AE counts for associations whose calling AE title fits the pattern (* and ? are wildcards,
 * spaces at both ends do not count). A section without wildcards wins over those with, else the first in the file. What a
 * section does not set is as it is for everybody. Other sections group settings for people and mean nothing. */
struct config_section;
/* The section for a calling AE title, NULL if there is none; lives as long as c. */
const struct config_section *config_for_ae(const struct config *c, const char *calling_ae);
/* section NULL: for everybody. */
const char *config_text_for(const struct config *c, const struct config_section *section, enum config_key key);
long long config_int_for(const struct config *c, const struct config_section *section, enum config_key key);
bool config_bool_for(const struct config *c, const struct config_section *section, enum config_key key);
/* "ae CT*" and where it begins; NULL beyond the last. config_section_sets: whether it sets that key itself, and where. */
const struct config_section *config_section_at(const struct config *c, size_t i);
const char *config_section_name(const struct config_section *section);
bool config_section_sets(const struct config_section *section, enum config_key key, const char **value, const char **origin);
/* May a section set it? */
bool config_is_per_ae(enum config_key key);

/* ---- destinations: sections [destination NAME] ---------------------------------------------------------------------------------
 * A destination is where instances of some senders go: a bucket, a data store, a role, a region ... The settings in front of all sections are the
 * destination `default`; a section sets those of CONFIG_PER_DESTINATION over them. Each is seen as a struct config of its own: what the section
 * sets, else what everybody has. A section that names a profile or an access key has none of everybody's keys. */
enum { CONFIG_DESTINATION_SIZE = 33, CONFIG_DESTINATION_LIMIT = 65 /* with `default` */ };
enum config_kind { KIND_HEALTHIMAGING, KIND_S3, KIND_DICOMWEB };
/* The i-th one in the order of the file, 0 is `default` and c itself; NULL beyond the last. They live as long as c. */
const struct config *config_destination_at(const struct config *c, size_t i);
/* NULL: storescp.conf has no such section (any more). */
const struct config *config_destination_named(const struct config *c, const char *name);
/* Where an image goes: the first section whose for_calling_ae, for_called_ae and for_modality, as far as it sets them and at least one, all fit;
 * else `default`. Spaces at both ends do not count. Never NULL. */
const struct config *config_destination_for(const struct config *c, const char *calling_ae, const char *called_ae, const char *modality);
/* "default" of settings that are no section's. */
const char *config_destination_name(const struct config *c);
enum config_kind config_destination_kind(const struct config *c);
/* "" of `default`, else "[destination NAME] ": what a sentence about its settings begins with. */
const char *config_destination_words(const struct config *c, char *buffer, size_t size);
/* The bucket for the results of import jobs: output_bucket, or dicom_bucket where it is not set. */
const char *config_output_bucket(const struct config *c);
/* Runs check() on each destination; the first error gets the section's name in front. */
int config_check_destinations(const struct config *c, int (*check)(const struct config *c, struct err *e), struct err *e);
bool config_is_per_destination(enum config_key key);

/* Does text fit the pattern? '*' is any run of characters, '?' is one; case counts. Bounded, pure. */
bool config_fits(const char *pattern, const char *text);

/* "default", "storescp.conf line 12" or "environment SCP_PORT". */
const char *config_origin(const struct config *c, enum config_key key);
const struct config_setting *config_describe(enum config_key key);
/* The i-th problem as a sentence, or NULL. */
const char *config_problem(const struct config *c, size_t i);

/* ---- secrets: every setting of type SECRET ------------------------------------------------------------------------------------------
 * A process keeps those that it works with and forgets the others right after it has loaded the settings: a hole in the process that talks to
 * the hospital's network must not give away the keys of the cloud. What is freed is wiped, what was read through is wiped. */
enum config_secrets { SECRETS_NONE = 0, SECRETS_RECEIVER = 1 /* tls_key_password */, SECRETS_CLOUD = 2 /* all others */, SECRETS_ALL = 3 };
/* Wipes the secrets that are not in keep, of sections and destinations too: they are "" from then on. */
void config_forget_secrets(struct config *c, unsigned keep);
/* Overwrites them with blanks in the text of a storescp.conf; its lines stay. Pure. */
void config_blank_secrets(char *text, size_t bytes, unsigned keep);
/* Overwrites them in the environment of this process and takes them out of it, so that processes that it starts have none. */
void config_forget_environment(unsigned keep);

/* home + "/" + relative into buffer. ERR_ARGUMENT if it does not fit. */
int config_path(const struct config *c, const char *relative, char *buffer, size_t size);

#endif
