/*
 * credentials_profile - one profile of the SDKs' shared files becomes a plan. Of each name the credentials file wins over the config file.
 *
 * Within a profile: role_arn (with source_profile, credential_source or web_identity_token_file), else keys, else credential_process. A source
 * profile may itself take a role, up to ROLES_MAX of them; one that names itself gives its keys. SSO and login sessions are not
 * supported, nor is MFA: nobody is there to type. Source: SDK reference "Shared config and credentials files", "Assume role credential provider".
 */
#include "common/aws/credentials/credentials_internal.h"
#include "common/runtime/ini_file.h"

#include <stdlib.h>
#include <string.h>

struct profile {
    struct credentials keys;
    struct role role;
    char source_profile[129], credential_source[32], token_file[CREDENTIALS_PATH_MAX], process[CREDENTIALS_PATH_MAX], mfa_serial[256],
        sso[256], duration[16];
};

struct file_pass {
    const char *section;
    struct profile *out;
    bool too_long;
};

static int on_line(void *ctx, const struct ini_line *line)
{
    struct file_pass *pass = ctx;
    struct profile *p = pass->out;
    const struct {
        const char *name;
        char *place;
        size_t size;
    } places[] = {{"aws_access_key_id", p->keys.access_key_id, sizeof p->keys.access_key_id},
                  {"aws_secret_access_key", p->keys.secret_access_key, sizeof p->keys.secret_access_key},
                  {"aws_session_token", p->keys.session_token, sizeof p->keys.session_token},
                  {"role_arn", p->role.arn, sizeof p->role.arn},
                  {"role_session_name", p->role.session_name, sizeof p->role.session_name},
                  {"external_id", p->role.external_id, sizeof p->role.external_id},
                  {"duration_seconds", p->duration, sizeof p->duration},
                  {"source_profile", p->source_profile, sizeof p->source_profile},
                  {"credential_source", p->credential_source, sizeof p->credential_source},
                  {"web_identity_token_file", p->token_file, sizeof p->token_file},
                  {"credential_process", p->process, sizeof p->process},
                  {"mfa_serial", p->mfa_serial, sizeof p->mfa_serial},
                  {"sso_session", p->sso, sizeof p->sso},
                  {"sso_start_url", p->sso, sizeof p->sso}};
    if (line->nested || strcmp(line->section, pass->section) != 0) {
        return 0;
    }
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (strcmp(places[i].name, line->name) == 0) {
            pass->too_long = pass->too_long || snprintf(places[i].place, places[i].size, "%s", line->value) >= (int)places[i].size;
        }
    }
    return 0;
}

/* Adds to *out what the section says; a file that is not there says nothing. */
static int read_section(const char *path, const char *section, struct profile *out, struct err *e)
{
    struct file_pass pass = {section, out, false};
    int rc = path[0] ? ini_file_read(path, on_line, &pass, NULL, e) : 0;
    if (rc == ERR_IO || rc == ERR_MEMORY) {
        return rc;
    }
    return pass.too_long ? err_set(e, ERR_AWS_CREDENTIALS, 0, "%.150s: a value of [%.60s] is too long", path, section) : 0;
}

/* 1 found something, 0 nothing, negative: cannot be read, or half a key. */
static int read_profile(const char *credentials_path, const char *config_path, const char *name, struct profile *out, struct err *e)
{
    char section[160];
    struct profile own;
    memset(out, 0, sizeof *out);
    memset(&own, 0, sizeof own);
    (void)snprintf(section, sizeof section, "profile %s", name);
    int rc = strcmp(name, "default") == 0 ? read_section(config_path, name, out, e) : 0;
    rc = rc ? rc : read_section(config_path, section, out, e);
    rc = rc ? rc : read_section(credentials_path, name, &own, e);
    if (rc == 0 && (own.keys.access_key_id[0] || own.keys.secret_access_key[0])) {
        explicit_bzero(&out->keys, sizeof out->keys); /* a key is never put together from two files */
    }
    rc = rc ? rc : read_section(credentials_path, name, out, e);
    explicit_bzero(&own, sizeof own);
    if (rc != 0) {
        return rc;
    }
    bool id = out->keys.access_key_id[0] != '\0';
    bool secret = out->keys.secret_access_key[0] != '\0';
    if (id != secret) {
        return err_set(e, ERR_AWS_CREDENTIALS, 0, "profile [%.60s] has only one of aws_access_key_id and aws_secret_access_key", name);
    }
    (void)snprintf(out->keys.origin, sizeof out->keys.origin, "shared file");
    return id || out->role.arn[0] || out->process[0] || out->sso[0];
}

int credentials_from_files(const char *credentials_path, const char *config_path, const char *profile, struct credentials *out, struct err *e)
{
    struct profile p;
    int rc = read_profile(credentials_path, config_path, profile, &p, e);
    rc = rc == 1 && !p.keys.access_key_id[0] ? 0 : rc;
    if (rc == 1) {
        *out = p.keys;
    }
    explicit_bzero(&p, sizeof p);
    return rc;
}

/* ---- the plan ------------------------------------------------------------------------------------------------------------------------- */

static int plan_source(struct credentials_source *s, const char *name, const char *source, struct plan *out, struct err *e)
{
    int rc = 0;
    if (strcmp(source, "Environment") == 0) {
        out->base = BASE_KEYS;
        (void)snprintf(out->keys.access_key_id, sizeof out->keys.access_key_id, "%.128s", environment("AWS_ACCESS_KEY_ID"));
        (void)snprintf(out->keys.secret_access_key, sizeof out->keys.secret_access_key, "%.256s", environment("AWS_SECRET_ACCESS_KEY"));
        (void)snprintf(out->keys.session_token, sizeof out->keys.session_token, "%.8000s", environment("AWS_SESSION_TOKEN"));
        rc = out->keys.access_key_id[0] && out->keys.secret_access_key[0];
    } else if (strcmp(source, "EcsContainer") == 0) {
        rc = plan_container(s, out, e);
    } else if (strcmp(source, "Ec2InstanceMetadata") == 0) {
        rc = plan_imds(s, out, e);
    } else {
        return err_set(e, ERR_AWS_CREDENTIALS, 0, "profile [%.60s]: credential_source is Environment, EcsContainer or Ec2InstanceMetadata", name);
    }
    return rc ? rc : err_set(e, ERR_AWS_CREDENTIALS, 0, "profile [%.60s]: credential_source = %.30s, and it is not there", name, source);
}

static int take_role(const char *name, struct profile *p, struct role *out, struct err *e)
{
    *out = p->role;
    if (p->duration[0]) {
        char *end = NULL;
        long seconds = strtol(p->duration, &end, 10);
        if (*end != '\0' || seconds < 1 || seconds > 43200) {
            return err_set(e, ERR_AWS_CREDENTIALS, 0, "profile [%.60s]: duration_seconds is 900 to 43200", name);
        }
        out->duration_s = (int)seconds;
    }
    return p->mfa_serial[0] ? err_set(e, ERR_AWS_CREDENTIALS, 0, "profile [%.60s]: a role with mfa_serial needs a person", name) : 0;
}

/* One profile after the other along source_profile. */
static int follow(struct credentials_source *s, struct profile *p, struct plan *out, struct err *e)
{
    char name[129];
    bool keys_only = false; /* the profile named itself as its source */
    (void)snprintf(name, sizeof name, "%s", config_text(s->config, CFG_AWS_PROFILE));
    for (size_t depth = 0;; depth++) {
        int rc = read_profile(s->credentials_path, s->config_path, name, p, e);
        if (rc <= 0) {
            return rc == 0 && depth > 0 ? err_set(e, ERR_AWS_CREDENTIALS, 0, "source_profile [%.60s] is not there, or empty", name) : rc;
        }
        if (p->role.arn[0] && !keys_only && p->token_file[0]) {
            out->base = BASE_WEB_IDENTITY;
            (void)snprintf(out->text, sizeof out->text, "%s", p->token_file);
            rc = take_role(name, p, &out->web, e);
            return rc ? rc : 1;
        }
        if (p->role.arn[0] && !keys_only) {
            if (out->role_count == ROLES_MAX) {
                return err_set(e, ERR_AWS_CREDENTIALS, 0, "profile [%.60s]: more than %d roles one after the other", name, ROLES_MAX);
            }
            rc = take_role(name, p, &out->roles[out->role_count], e);
            if (rc != 0) {
                return rc;
            }
            out->role_count++;
            if (p->credential_source[0]) {
                return plan_source(s, name, p->credential_source, out, e);
            }
            if (!p->source_profile[0]) {
                return err_set(e, ERR_AWS_CREDENTIALS, 0, "profile [%.60s]: role_arn needs source_profile, credential_source or web_identity_token_file", name);
            }
            keys_only = strcmp(p->source_profile, name) == 0;
            (void)snprintf(name, sizeof name, "%s", p->source_profile);
            continue;
        }
        if (p->keys.access_key_id[0]) {
            out->base = BASE_KEYS;
            out->keys = p->keys;
            return 1;
        }
        if (p->process[0]) {
            out->base = BASE_PROCESS;
            (void)snprintf(out->text, sizeof out->text, "%s", p->process);
            return 1;
        }
        return err_set(e, ERR_AWS_CREDENTIALS, 0, "profile [%.60s] holds no keys%s", name, p->sso[0] ? ": SSO is not supported, nobody is there to log in" : "");
    }
}

int plan_profile(struct credentials_source *s, struct plan *out, struct err *e)
{
    struct profile *p = calloc(1, sizeof *p);
    if (!p) {
        return err_set(e, ERR_MEMORY, 0, "shared files");
    }
    int rc = follow(s, p, out, e);
    explicit_bzero(p, sizeof *p);
    free(p);
    return rc == ERR_IO ? err_set(e, ERR_AWS_CREDENTIALS, 0, "the shared credentials cannot be read by this user: %s or %s", s->credentials_path,
                                  s->config_path)
                        : rc;
}
