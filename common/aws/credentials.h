/*
 * credentials - who we are to AWS: asked before every request, so that keys may be rotated while the stages run.
 *
 * Order: keys in the settings (storescp.conf, AWS_ACCESS_KEY_ID and its companions), then the profile (aws_profile) in the SDKs' shared files:
 * AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials "[name]", AWS_CONFIG_FILE or ~/.aws/config "[profile name]" or "[default]". The files are
 * looked at again when they have changed, at most once a second. Each source is one row of a table in credentials.c.
 * Secrets are wiped when they go. Not thread safe.
 */
#ifndef STORESCP_AWS_CREDENTIALS_H
#define STORESCP_AWS_CREDENTIALS_H

#include "common/runtime/config.h"
#include "common/runtime/err.h"

struct credentials {
    char access_key_id[129];
    char secret_access_key[257];
    char session_token[8001]; /* "" if none */
    char origin[64];          /* "settings", "shared file": for people */
};

struct credentials_source;

/* config is borrowed. ERR_CONFIG if the settings hold only one half of a key. Having no credentials yet is no error here. */
int credentials_open(struct credentials_source **out, const struct config *config, struct err *e);
void credentials_close(struct credentials_source **s);
/* Valid until the next call. ERR_AWS_CREDENTIALS tells where was looked. */
int credentials_get(struct credentials_source *s, const struct credentials **out, struct err *e);
/* AWS refused what was given: forget it, so that the next get() looks again. */
void credentials_refused(struct credentials_source *s);

/* One profile of the two shared files (either path may be ""). 1 found, 0 not there, negative: a file that cannot be read. Pure but for the files. */
int credentials_from_files(const char *credentials_path, const char *config_path, const char *profile, struct credentials *out, struct err *e);

#endif
