/*
 * credentials - who we are to AWS: asked before every request, so that keys may be rotated while the stages run.
 *
 * Order (one table in credentials.c); the first that is configured counts:
 *   1. keys in the settings (storescp.conf, AWS_ACCESS_KEY_ID and its companions)
 *   2. web identity: AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN, through STS; passed over when storescp.conf names a profile
 *   3. the profile (aws_profile) in the SDKs' shared files: keys, role_arn with source_profile, credential_source or web_identity_token_file,
 *      credential_process. AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials "[name]", AWS_CONFIG_FILE or ~/.aws/config "[profile name]"
 *   4. container endpoint: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI
 *   5. instance metadata, version 2 only, unless AWS_EC2_METADATA_DISABLED=true
 *
 * Nothing here waits for a network or a program. Keys that end are renewed while they still hold, 15 minutes before their end (a quarter of their life
 * if that is less): get() starts the fetch and goes on giving the old ones, step() moves it on. Only when there are no keys that
 * hold does get() say CREDENTIALS_WAIT; the request is then kept back until step() says that the fetch has ended, and transfers go on meanwhile.
 * A provider that is down changes nothing until the end of the keys; those of container and instance are used beyond it (AWS decides).
 * The shared files are looked at once a second and read again when they have changed; token files are read at each fetch.
 *
 * Secrets are wiped when they go, and opening a source shields the process (process_shield, unless core_dumps is set).
 * Not thread safe. Sources: SDK reference "Standardized credential providers", STS API model, EC2 user guide "IMDSv2".
 */
#ifndef STORESCP_AWS_CREDENTIALS_H
#define STORESCP_AWS_CREDENTIALS_H

#include "common/aws/request/site.h"
#include "common/runtime/config.h"
#include "common/runtime/err.h"

#include <stdbool.h>
#include <stdint.h>

enum { CREDENTIALS_WAIT = 1 };

struct credentials {
    char access_key_id[129];
    char secret_access_key[257];
    char session_token[8001]; /* "" if none */
    int64_t expires_ms;       /* wall clock of AWS; 0: they do not end */
    char origin[64];          /* "settings", "shared file", "web identity"...: for people */
};

struct credentials_source;

/* config is borrowed, of site the region and STS are kept. ERR_CONFIG if the settings hold only one half of a key. Having no credentials yet is no error here. */
int credentials_open(struct credentials_source **out, const struct config *config, const struct aws_site *site, struct err *e);
void credentials_close(struct credentials_source **s);
/* 0: *out is valid until the next call. CREDENTIALS_WAIT: a fetch is under way. ERR_AWS_CREDENTIALS tells where was looked; ERR_NETWORK and other
 * codes of the provider. */
int credentials_get(struct credentials_source *s, const struct credentials **out, struct err *e);
/* The same, but starts nothing: for a request that was kept back, after step() was true. Never CREDENTIALS_WAIT. */
int credentials_settled(struct credentials_source *s, const struct credentials **out, struct err *e);
/* Moves a fetch on, never waits. True when none is under way (any more). */
bool credentials_step(struct credentials_source *s);
/* AWS refused this key: do not give it again before the sources were asked anew. Nothing happens if it is no longer the one we have. */
void credentials_refused(struct credentials_source *s, const char *access_key_id);
/* The server's clock minus ours: expiry is judged by it. */
void credentials_set_clock(struct credentials_source *s, int64_t offset_ms);

/* The keys of one profile in the two shared files (either path may be ""). 1 found, 0 not there, negative: a file that cannot be read. Pure but for
 * the files. */
int credentials_from_files(const char *credentials_path, const char *config_path, const char *profile, struct credentials *out, struct err *e);

#endif
