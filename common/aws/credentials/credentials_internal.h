/*
 * credentials_internal - a plan (where keys come from), and the fetch that carries it out without blocking. Only the credentials_*.c files include it.
 *
 *   a row of the chain (credentials.c) makes a plan: one base, and the roles that are taken one after the other with what came before
 *   the fetch (credentials_fetch.c) asks the base's provider, then STS for each role; every provider is one file, begin() and step()
 *
 * begin() and step() never wait: PROVIDER_WAITS means "call step() again", PROVIDER_HAS that s->next is filled, negative is an error. What a
 * provider remembers between two calls is s->phase (0 at begin) and the reply. Every request and every program has a time limit, so a fetch ends.
 */
#ifndef STORESCP_AWS_CREDENTIALS_INTERNAL_H
#define STORESCP_AWS_CREDENTIALS_INTERNAL_H

#include "common/aws/credentials/credentials.h"
#include "common/aws/request/endpoint.h"
#include "common/aws/request/http.h"

#include <stdbool.h>
#include <sys/types.h>

enum { PROVIDER_NOTHING = 0, PROVIDER_HAS = 1, PROVIDER_WAITS = 2 };
enum { CREDENTIALS_PATH_MAX = SHARED_PATH_MAX, ROLES_MAX = 4, REPLY_MAX = 65536, TOKEN_MAX = 16384 };

enum base { BASE_KEYS, BASE_WEB_IDENTITY, BASE_PROCESS, BASE_CONTAINER, BASE_IMDS, BASE_COUNT };

struct role {
    char arn[2049], session_name[65], external_id[1225];
    int duration_s; /* 0: what STS takes by itself */
};

struct plan {
    enum base base;
    struct credentials keys; /* BASE_KEYS */
    char text[CREDENTIALS_PATH_MAX]; /* BASE_PROCESS: the command line; BASE_WEB_IDENTITY: path of the token file */
    struct role web;                 /* BASE_WEB_IDENTITY */
    struct role roles[ROLES_MAX];    /* the last is taken first */
    size_t role_count;
};

struct reply {
    bool waits; /* a request is under way */
    int rc;
    struct err why;
    long status;
    char *body; /* heap, ends in a NUL; wiped by reply_clear() */
    size_t bytes;
};

struct stamp { /* tells whether a file has changed */
    int64_t seconds, nanoseconds, bytes;
    uint64_t inode;
};

struct credentials_source {
    const struct config *config;
    char credentials_path[CREDENTIALS_PATH_MAX], config_path[CREDENTIALS_PATH_MAX];
    struct endpoint sts;
    char region[64];
    int64_t offset_ms; /* server clock minus ours */
    /* what we have */
    struct credentials now;
    bool have, refused;
    bool is_stable;          /* a provider that is trusted to be back: its keys go on being used */
    int64_t got_ms, next_ms; /* monotonic: when they came, when the next look is due at the earliest */
    int64_t stretched_ms;    /* monotonic: used until then, whatever their expiry says; 0: no */
    int failures;            /* in a row */
    int last_rc;
    struct err last;
    /* the shared files */
    int64_t looked_ms;
    struct stamp stamps[2];
    bool files_changed;
    /* the fetch under way */
    bool fetching, begun;
    struct plan plan;
    size_t roles_left;
    int attempts, phase;
    int64_t again_ms; /* monotonic; 0: at once */
    struct credentials next;
    struct http *http; /* its own connections: never behind transfers. Opened when first needed */
    struct reply reply;
    char *sent; /* body of the request under way */
    bool clock_tried;
    char imds_token[TOKEN_MAX];
    int64_t imds_token_until_ms;
    pid_t child;
    int child_fd;
    int64_t child_until_ms;
};

/* ---- plans: 1 made, 0 not configured, negative: configured, and wrong -------------------------------------------------------------- */
int plan_profile(struct credentials_source *s, struct plan *out, struct err *e);
int plan_web_identity(struct credentials_source *s, struct plan *out, struct err *e);
int plan_container(struct credentials_source *s, struct plan *out, struct err *e);
int plan_imds(struct credentials_source *s, struct plan *out, struct err *e);

/* ---- the fetch ------------------------------------------------------------------------------------------------------------------------ */
struct provider {
    const char *name; /* for people: credentials.origin */
    int attempts;     /* when the other side is away, one second apart */
    bool is_stable;
    int (*begin)(struct credentials_source *s, struct err *e);
    int (*step)(struct credentials_source *s, struct err *e);
};
extern const struct provider provider_assume_role, provider_web_identity, provider_container, provider_imds, provider_process;

/* Carries s->plan out from its beginning. */
void fetch_begin(struct credentials_source *s);
int fetch_move(struct credentials_source *s, struct err *e);
/* Ends whatever is under way and wipes it. */
void fetch_clear(struct credentials_source *s);
const struct provider *fetch_base(enum base base); /* NULL for BASE_KEYS */

/* A request whose answer comes into s->reply. headers: "Name: value". body: heap, taken (NULL: none). PROVIDER_WAITS or negative. */
int fetch_send(struct credentials_source *s, const char *method, const char *url, const char *const *headers, size_t header_count, char *body,
               int64_t limit_ms, bool direct, struct err *e);
/* PROVIDER_WAITS, PROVIDER_HAS when an answer of any status is there, negative when none came. */
int fetch_reply(struct credentials_source *s, struct err *e);
void reply_clear(struct credentials_source *s);

/* {"AccessKeyId", "SecretAccessKey", token_name, "Expiration"} -> out. who: for the error text, which never holds what was read. */
int keys_from_json(const char *text, size_t bytes, const char *token_name, const char *who, struct credentials *out, struct err *e);
/* 2030-01-02T03:04:05[.6][Z|+00:00] -> ms; false if it is none. */
bool time_from_iso(const char *text, int64_t *ms);
/* A small file of one secret, white space at its end cut. *out ends in a NUL. */
int secret_from_file(const char *path, char *out, size_t size, struct err *e);
/* "" if the variable is not set. */
const char *environment(const char *name);

#endif
