/* credentials - see credentials.h: the chain, when keys are renewed, and what counts when a provider is down. How keys are fetched is
 * in credentials_fetch.c and the files of the providers. */
#include "common/aws/credentials/credentials_internal.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    LOOK_MS = 1000,          /* between two looks at the shared files */
    EARLY_MS = 15 * 60000,   /* renewed so long before the end, or a quarter of the life */
    LEAST_GAP_MS = 500,      /* between two fetches while the keys still hold */
    MOST_GAP_MS = 60000,
    STRETCH_MS = 120000,     /* so long at a time keys are used beyond their end when their provider is in trouble ... */
    STRETCH_CHANCE_MS = 480000 /* ... and up to so much longer, so that not all machines wait for it at one time */
};

/* ---- the chain --------------------------------------------------------------------------------------------------------------------------- */

static int plan_settings(struct credentials_source *s, struct plan *out, struct err *e)
{
    const char *id = config_text(s->config, CFG_ACCESS_KEY_ID);
    const char *secret = config_text(s->config, CFG_SECRET_ACCESS_KEY);
    if (!id[0] && !secret[0]) {
        return 0;
    }
    if (!id[0] || !secret[0]) {
        return err_set(e, ERR_CONFIG, 0, "%s is set and %s is not: both or none", id[0] ? "aws_access_key_id" : "aws_secret_access_key",
                       id[0] ? "aws_secret_access_key" : "aws_access_key_id");
    }
    out->base = BASE_KEYS;
    (void)snprintf(out->keys.access_key_id, sizeof out->keys.access_key_id, "%s", id);
    (void)snprintf(out->keys.secret_access_key, sizeof out->keys.secret_access_key, "%s", secret);
    (void)snprintf(out->keys.session_token, sizeof out->keys.session_token, "%s", config_text(s->config, CFG_SESSION_TOKEN));
    (void)snprintf(out->keys.origin, sizeof out->keys.origin, "settings");
    return 1;
}

static int (*const chain[])(struct credentials_source *s, struct plan *out, struct err *e) = {plan_settings, plan_web_identity, plan_profile,
                                                                                              plan_container, plan_imds};

/* ---- open, close -------------------------------------------------------------------------------------------------------------------------- */

int credentials_open(struct credentials_source **out, const struct config *config, const struct aws_site *site, struct err *e)
{
    struct credentials_source *s = calloc(1, sizeof *s);
    if (!s) {
        return err_set(e, ERR_MEMORY, 0, "credentials");
    }
    s->config = config;
    s->child_fd = -1;
    s->sts = site->endpoints[AWS_STS];
    (void)snprintf(s->region, sizeof s->region, "%s", site->region);
    aws_shared_paths(s->credentials_path, s->config_path);
    process_shield(config_bool(config, CFG_CORE_DUMPS));
    int rc = plan_settings(s, &s->plan, e);
    if (rc < 0) {
        credentials_close(&s);
        return rc;
    }
    *out = s;
    return 0;
}

void credentials_close(struct credentials_source **s)
{
    if (s && *s) {
        fetch_clear(*s);
        http_close(&(*s)->http);
        explicit_bzero(*s, sizeof **s);
        free(*s);
        *s = NULL;
    }
}

/* ---- when ---------------------------------------------------------------------------------------------------------------------------------- */

static struct stamp stamp_of(const char *path)
{
    struct stat info;
    struct stamp stamp = {0};
    if (path[0] && stat(path, &info) == 0) {
        stamp = (struct stamp){info.st_mtim.tv_sec, info.st_mtim.tv_nsec, info.st_size, info.st_ino};
    }
    return stamp;
}

static void look_at_files(struct credentials_source *s)
{
    int64_t now = clock_mono_ms();
    if (s->looked_ms != 0 && now - s->looked_ms < LOOK_MS) {
        return;
    }
    struct stamp stamps[2] = {stamp_of(s->credentials_path), stamp_of(s->config_path)};
    s->files_changed = s->files_changed || memcmp(stamps, s->stamps, sizeof stamps) != 0;
    memcpy(s->stamps, stamps, sizeof stamps);
    s->looked_ms = now;
}

static int64_t left_ms(const struct credentials_source *s)
{
    return s->now.expires_ms - clock_wall_ms() - s->offset_ms;
}

static bool holds(const struct credentials_source *s)
{
    return s->have && !s->refused && (s->now.expires_ms == 0 || left_ms(s) > 0 || clock_mono_ms() < s->stretched_ms);
}

/* Keys that hold are renewed in good time; how early, depends on how long they lived. */
static bool renewal_is_due(const struct credentials_source *s)
{
    int64_t now = clock_mono_ms();
    if (s->now.expires_ms == 0 || now < s->next_ms) {
        return false;
    }
    int64_t left = left_ms(s);
    int64_t quarter = (left + now - s->got_ms) / 4;
    return left < (quarter < EARLY_MS ? quarter : EARLY_MS);
}

static int64_t between(int64_t value, int64_t least, int64_t most)
{
    return value < least ? least : value > most ? most : value;
}

/* ---- the end of a fetch -------------------------------------------------------------------------------------------------------------------- */

/* Beyond their end, too, the keys are used, and their provider is asked once a minute. */
static void stretch(struct credentials_source *s)
{
    int64_t now = clock_mono_ms();
    s->stretched_ms = now + STRETCH_MS + random_u32() % STRETCH_CHANCE_MS;
    s->next_ms = now + MOST_GAP_MS;
}

static void adopt(struct credentials_source *s)
{
    const struct provider *p = fetch_base(s->plan.base);
    int64_t now = clock_mono_ms();
    bool changed = !s->have || strcmp(s->now.access_key_id, s->next.access_key_id) != 0;
    s->now = s->next;
    s->have = true;
    s->refused = false;
    s->is_stable = p && p->is_stable && s->plan.role_count == 0;
    s->failures = 0;
    s->last_rc = 0;
    s->stretched_ms = 0;
    s->got_ms = changed || s->got_ms == 0 ? now : s->got_ms;
    s->next_ms = now + between(left_ms(s) / 10, LEAST_GAP_MS, MOST_GAP_MS);
    if (s->now.expires_ms != 0 && left_ms(s) <= 0) {
        if (s->is_stable) { /* the service is in trouble and gives what it has; AWS decides whether they still count */
            stretch(s);
        } else {
            s->last_rc = err_set(&s->last, ERR_AWS_CREDENTIALS, 0, "%s: the keys that it gives have expired", s->now.origin);
        }
    }
    if (changed && s->now.expires_ms != 0) {
        log_info("credentials_fetched", "origin=\"%s\" hold_s=%lld", s->now.origin, (long long)(left_ms(s) / 1000));
    }
}

static void failed(struct credentials_source *s, int rc, const struct err *why)
{
    char sentence[3 * 200 + 8];
    int64_t now = clock_mono_ms();
    s->last_rc = rc;
    s->last = *why;
    s->next_ms = now + (s->have && s->now.expires_ms != 0 ? between(left_ms(s) / 10, LEAST_GAP_MS, MOST_GAP_MS) : LOOK_MS);
    if (s->have && !s->refused && s->is_stable && s->now.expires_ms != 0 && left_ms(s) < MOST_GAP_MS) {
        stretch(s);
    }
    if (s->failures++ == 0 && holds(s)) { /* otherwise the request that needs them tells it */
        log_warning("credentials_kept", "reason=%s effect=\"the keys that we have are used on\"", log_text(why->text, sentence, sizeof sentence));
    }
}

static void no_source(struct credentials_source *s)
{
    struct err why = {0};
    if (s->now.expires_ms == 0) { /* their file is gone, and nothing stands in its place */
        s->have = false;
    }
    failed(s, err_set(&why, ERR_AWS_CREDENTIALS, 0,
                      "there are no AWS credentials: set aws_access_key_id and aws_secret_access_key, or put profile [%.60s] into %.100s",
                      config_text(s->config, CFG_AWS_PROFILE), s->credentials_path[0] ? s->credentials_path : "~/.aws/credentials"), &why);
}

bool credentials_step(struct credentials_source *s)
{
    if (!s->fetching) {
        return true;
    }
    struct err why = {0};
    int rc = fetch_move(s, &why);
    if (rc == PROVIDER_WAITS) {
        return false;
    }
    if (rc == PROVIDER_HAS) {
        adopt(s);
    } else if (s->plan.base == BASE_IMDS && s->plan.role_count == 0 && !s->have) { /* the last of the chain: perhaps this is no instance at all */
        struct err all = {0};
        bool away = rc == ERR_NETWORK || rc == ERR_TIMEOUT;
        rc = err_set(&all, ERR_AWS_CREDENTIALS, 0,
                     "there are no AWS credentials: set aws_access_key_id and aws_secret_access_key, or put profile [%.40s] into %.80s; %.100s%s",
                     config_text(s->config, CFG_AWS_PROFILE), s->credentials_path[0] ? s->credentials_path : "~/.aws/credentials",
                     away ? "no instance metadata: " : "", why.text);
        failed(s, rc, &all);
    } else {
        failed(s, rc, &why);
    }
    fetch_clear(s);
    explicit_bzero(&s->plan, sizeof s->plan);
    return true;
}

static void begin_fetch(struct credentials_source *s)
{
    struct err why = {0};
    s->files_changed = false;
    for (size_t i = 0; i < sizeof chain / sizeof chain[0]; i++) {
        memset(&s->plan, 0, sizeof s->plan);
        int rc = chain[i](s, &s->plan, &why);
        if (rc < 0) {
            failed(s, rc, &why);
            return;
        }
        if (rc > 0) {
            fetch_begin(s);
            (void)credentials_step(s); /* keys that are here need no waiting */
            return;
        }
    }
    no_source(s);
}

/* ---- the interface ------------------------------------------------------------------------------------------------------------------------- */

int credentials_settled(struct credentials_source *s, const struct credentials **out, struct err *e)
{
    if (holds(s)) {
        *out = &s->now;
        return 0;
    }
    int rc = s->last_rc ? s->last_rc : ERR_AWS_CREDENTIALS;
    return err_set(e, rc, 0, "%s", s->last_rc ? s->last.text : "AWS has refused the keys that we have");
}

int credentials_get(struct credentials_source *s, const struct credentials **out, struct err *e)
{
    (void)credentials_step(s);
    look_at_files(s);
    if (!s->fetching && (!holds(s) || s->files_changed || renewal_is_due(s))) {
        begin_fetch(s);
    }
    return s->fetching && !holds(s) ? CREDENTIALS_WAIT : credentials_settled(s, out, e);
}

void credentials_refused(struct credentials_source *s, const char *access_key_id)
{
    if (s->have && strcmp(s->now.access_key_id, access_key_id) == 0) {
        s->refused = true;
    }
}

void credentials_set_clock(struct credentials_source *s, int64_t offset_ms)
{
    s->offset_ms = offset_ms;
}
