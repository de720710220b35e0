/* doctor_local - this machine: settings, disk, database, stages, certificates. See doctor.h. */
#include "common/aws/sqs.h"
#include "common/dicom/tls.h"
#include "common/runtime/runtime.h"
#include "common/spool/spool.h"
#include "control/doctor/doctor.h"
#include "control/table.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PROBE_COUNT = 5, PROBE_BYTES = 64 * 1024, SLOW_US = 50000, MB = 1000000, QUIET_MS = 24 * 3600000 };

static void check_settings(struct doctor *d, struct finding *f)
{
    size_t count = 0;
    while (config_problem(d->q->config, count)) {
        count++;
    }
    if (count > 0) {
        finding_set(f, FOUND_FAILED, "%s%s", config_problem(d->q->config, 0), count > 1 ? " (and more)" : "");
        finding_advise(f, "correct it: no stage starts; `storescpctl config` shows all of them");
        return;
    }
    finding_set(f, FOUND_FINE, "every setting is legal");
}

/* Who may read the file may read its secrets. */
static void check_secrets(struct doctor *d, struct finding *f)
{
    char path[PATH_SIZE];
    struct stat info;
    const struct config *c = d->q->config;
    bool in_file = false;
    bool in_environment = false;
    for (int i = 0; i < CONFIG_COUNT; i++) {
        if (config_describe((enum config_key)i)->type == CONFIG_SECRET && strcmp(config_origin(c, (enum config_key)i), "default") != 0) {
            bool of_file = strncmp(config_origin(c, (enum config_key)i), "storescp.conf", 13) == 0;
            in_file = in_file || of_file;
            in_environment = in_environment || !of_file;
        }
    }
    if (in_file && config_path(c, "storescp.conf", path, sizeof path) == 0 && stat(path, &info) == 0 && (info.st_mode & 077) != 0) {
        finding_set(f, FOUND_WARNING, "storescp.conf holds a secret, and others than its owner may read it (mode %03o)", (unsigned)(info.st_mode & 0777));
        finding_advise(f, "chmod 600 %s", path);
    } else if (in_environment) {
        finding_set(f, FOUND_WARNING, "a secret comes from the environment, which every process of this user can see");
        finding_advise(f, "a role (instance, task, pod), a profile of the shared files or storescp.conf with mode 600 is better");
    } else {
        finding_set(f, FOUND_FINE, in_file ? "storescp.conf is its owner's alone" : "no secret stands in storescp.conf or the environment");
    }
}

/* A file without a name, so that nothing of it can stay: written and made durable some times. Microseconds of the median in *us; 0 or errno. */
static int probe_directory(const char *path, long long *us)
{
    static const char block[PROBE_BYTES];
    long long took[PROBE_COUNT];
    int fd = open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd == -1 && (errno == EOPNOTSUPP || errno == EISDIR)) {
        char name[PATH_SIZE + 16];
        (void)snprintf(name, sizeof name, "%s/doctor.XXXXXX", path);
        fd = mkostemp(name, O_CLOEXEC);
        if (fd != -1) {
            (void)unlink(name);
        }
    }
    if (fd == -1) {
        return errno;
    }
    int sys = 0;
    for (int i = 0; sys == 0 && i < PROBE_COUNT; i++) {
        struct timespec from;
        struct timespec to;
        (void)clock_gettime(CLOCK_MONOTONIC, &from);
        ssize_t n = pwrite(fd, block, sizeof block, (off_t)i * PROBE_BYTES);
        sys = n == (ssize_t)sizeof block ? 0 : n == -1 ? errno : ENOSPC;
        if (sys == 0 && fdatasync(fd) == -1) {
            sys = errno;
        }
        (void)clock_gettime(CLOCK_MONOTONIC, &to);
        long long t = (to.tv_sec - from.tv_sec) * 1000000LL + (to.tv_nsec - from.tv_nsec) / 1000;
        int at = i; /* sorted as they come */
        for (; at > 0 && took[at - 1] > t; at--) {
            took[at] = took[at - 1];
        }
        took[at] = t;
    }
    (void)close(fd);
    *us = sys == 0 ? took[PROBE_COUNT / 2] : 0;
    return sys;
}

static void look_at_directory(struct doctor *d, struct finding *f, const char *name)
{
    char path[PATH_SIZE];
    struct stat info;
    long long us = 0;
    (void)snprintf(path, sizeof path, "%s/%s", d->q->home, name);
    if (stat(path, &info) == -1 && errno == ENOENT) {
        (void)snprintf(path, sizeof path, "%s", d->q->home); /* the first start makes it there */
    }
    int sys = probe_directory(path, &us);
    if (sys != 0) {
        finding_set(f, FOUND_FAILED, "%s cannot be written to: %s", path, strerror(sys));
        finding_advise(f, sys == ENOENT ? "make it (mkdir -p), or is --home (STORESCP_HOME) right?" : sys == ENOSPC ? "free space" : "owner and mode: the stages' user has to own it");
        return;
    }
    finding_set(f, us < SLOW_US ? FOUND_FINE : FOUND_WARNING, "%s: 64 KiB are written and durable in %lld.%lld ms", path, us / 1000, us / 100 % 10);
    if (us >= SLOW_US) {
        finding_advise(f, "every image waits for this once: take a local SSD, or a controller with a write cache that survives a power cut");
    }
}

static void check_spool(struct doctor *d, struct finding *f)
{
    look_at_directory(d, f, "spool");
}

static void check_state(struct doctor *d, struct finding *f)
{
    look_at_directory(d, f, "state");
}

static void check_space(struct doctor *d, struct finding *f)
{
    char number[32];
    char path[PATH_SIZE];
    const struct config *c = d->q->config;
    (void)snprintf(path, sizeof path, "%s/spool/obj", d->q->home);
    if (access(path, F_OK) == -1) {
        finding_set(f, FOUND_NOT_CHECKED, "there is no spool yet: the first start makes it");
        return;
    }
    long long free_bytes = spool_free_bytes(d->q->home);
    if (free_bytes < 0) {
        finding_set(f, FOUND_FAILED, "the free space of %s cannot be read", path);
        return;
    }
    (void)text_bytes(free_bytes, number, sizeof number);
    if (free_bytes < config_int(c, CFG_SPOOL_FREE_MB) * MB) {
        finding_set(f, FOUND_FAILED, "the spool has %s left, less than spool_free_mb = %lld: every image is refused", number, config_int(c, CFG_SPOOL_FREE_MB));
        finding_advise(f, "free space or enlarge the disk; do not delete files of the spool");
    } else if (free_bytes < config_int(c, CFG_SPOOL_SLOW_FREE_MB) * MB) {
        finding_set(f, FOUND_WARNING, "the spool has %s left, less than spool_slow_free_mb = %lld: answers are delayed", number, config_int(c, CFG_SPOOL_SLOW_FREE_MB));
        finding_advise(f, "free space or enlarge the disk");
    } else {
        finding_set(f, FOUND_FINE, "%s free, images are refused below %lld MB", number, config_int(c, CFG_SPOOL_FREE_MB));
    }
}

static void check_database(struct doctor *d, struct finding *f)
{
    char path[PATH_SIZE];
    char when[80];
    struct state *state = NULL;
    struct table t = {0};
    struct err e = {0};
    (void)snprintf(path, sizeof path, "%s/state/state.db", d->q->home);
    if (rebuild_is_unfinished(d->q->home)) {
        finding_set(f, FOUND_FAILED, "a rebuild of the database was cut off");
        finding_advise(f, "run `storescpctl rebuild` again");
        return;
    }
    if (access(path, F_OK) == -1) {
        finding_set(f, FOUND_NOT_CHECKED, "there is no state.db yet: the first start makes it");
        return;
    }
    int rc = state_open_readonly(&state, d->q->home, &e);
    rc = rc == 0 ? table_load(&t, state, "last_received", NULL, 1, &e) : rc;
    state_close(&state);
    if (rc != 0) {
        finding_set(f, FOUND_FAILED, "%s", e.text);
        finding_advise(f, rc == ERR_SCHEMA ? "is this storescpctl of the same version as the stages? The newest one migrates the database at its start"
                                           : "is the disk well? docs/operations.md, \"The database is lost\"");
    } else if (t.rows == 0) {
        finding_set(f, FOUND_FINE, "state.db can be read and is of this version; no image has come yet");
    } else {
        long long last = table_number(&t, 0, "received_ms");
        bool quiet = clock_wall_ms() - last > QUIET_MS;
        finding_set(f, quiet ? FOUND_WARNING : FOUND_FINE, "state.db can be read and is of this version; the last image came %s", text_time(last, when, sizeof when));
        if (quiet) {
            finding_advise(f, "if more were expected: do the senders reach this machine? `echoscu -aec %.40s HOST %lld` from there", config_text(d->q->config, CFG_AE_TITLE),
                           config_int(d->q->config, CFG_SCP_PORT));
        }
    }
    table_clear(&t);
}

static void check_stages(struct doctor *d, struct finding *f)
{
    static struct living living[WORKERS_MAX];
    size_t count = workers_living(d->q->home, living, WORKERS_MAX);
    size_t alive[STAGE_COUNT] = {0};
    char missing[100] = "";
    for (size_t i = 0; i < count; i++) {
        alive[living[i].stage]++;
    }
    for (int i = 0; i < STAGE_COUNT; i++) {
        if (alive[i] == 0) {
            size_t used = strlen(missing);
            (void)snprintf(missing + used, sizeof missing - used, "%s%s", used ? ", " : "", state_stage_name((enum state_stage)i));
        }
    }
    if (count == 0) {
        finding_set(f, FOUND_WARNING, "nothing runs");
        finding_advise(f, "`storescpctl up`, the systemd units or the containers start it");
    } else if (missing[0]) {
        finding_set(f, FOUND_FAILED, "these stages do not run: %s", missing);
        finding_advise(f, "`storescpctl status`, and the last lines of the log");
    } else {
        finding_set(f, FOUND_FINE, "every stage runs, %zu processes", count);
    }
}

/* Nothing runs: could the receivers have their ports? */
static void check_ports(struct doctor *d, struct finding *f)
{
    static struct living living[WORKERS_MAX];
    struct err e = {0};
    const struct config *c = d->q->config;
    size_t count = workers_living(d->q->home, living, WORKERS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (living[i].stage == STAGE_RECEIVER) {
            finding_set(f, FOUND_FINE, "a receiver has port %lld", config_int(c, CFG_SCP_PORT) ? config_int(c, CFG_SCP_PORT) : config_int(c, CFG_TLS_PORT));
            return;
        }
    }
    if (ports_look_at(c, d->q->home, &e) != 0) {
        finding_set(f, FOUND_FAILED, "%s", e.text);
        return;
    }
    finding_set(f, FOUND_FINE, "port %lld is free", config_int(c, CFG_SCP_PORT) ? config_int(c, CFG_SCP_PORT) : config_int(c, CFG_TLS_PORT));
}

static void keep_first(void *ctx, bool serious, const char *sentence)
{
    struct finding *f = ctx;
    if (!f->sentence[0] || (serious && f->found != FOUND_FAILED)) {
        finding_set(f, serious ? FOUND_FAILED : FOUND_WARNING, "%s", sentence);
    }
}

static void check_certificates(struct doctor *d, struct finding *f)
{
    struct tls_settings settings;
    struct tls_bundle bundle = {0};
    struct err e = {0};
    if (config_int(d->q->config, CFG_TLS_PORT) == 0) {
        finding_set(f, FOUND_FINE, "no TLS (tls_port is 0)");
        return;
    }
    if (!certificates_look_at(d->q->config, keep_first, f)) {
        finding_advise(f, "receivers do not open tls_port like this");
        return;
    }
    if (f->sentence[0]) {
        finding_advise(f, "docs/operations.md, \"TLS\"");
        return;
    }
    int rc = tls_settings_read(&settings, d->q->config, &e);
    rc = rc == 0 ? tls_files_read(&bundle, &settings, keep_first, f, &e) : rc;
    long long days = (bundle.expires_ms - clock_wall_ms()) / 86400000;
    explicit_bzero(settings.password, sizeof settings.password);
    tls_bundle_clear(&bundle);
    finding_set(f, rc == 0 ? FOUND_FINE : FOUND_FAILED, rc == 0 ? "tls_certificate holds for %lld days" : "tls_certificate cannot be read", days);
}

/* Queues, webhook and table: a question would already be a message, or take one away. */
static void check_events(struct doctor *d, struct finding *f)
{
    static const enum config_key queues[] = {CFG_EVENTS_SQS_QUEUE_URL, CFG_HINTS_SQS_QUEUE_URL};
    static const enum config_key all[] = {CFG_EVENTS_SQS_QUEUE_URL, CFG_HINTS_SQS_QUEUE_URL, CFG_EVENTS_WEBHOOK_URL, CFG_DYNAMODB_TABLE};
    const struct config *c = d->q->config;
    char set[200] = "";
    struct aws_site site;
    struct err e = {0};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        size_t used = strlen(set);
        if (config_text(c, all[i])[0]) {
            (void)snprintf(set + used, sizeof set - used, "%s%s", used ? ", " : "", config_describe(all[i])->name);
        }
    }
    for (size_t i = 0; i < 2; i++) {
        const char *url = config_text(c, queues[i]);
        bool known = url[0] && aws_site_choose(c, &site, &e) == 0;
        if (url[0] && sqs_url_check(config_describe(queues[i])->name, url, known ? site.region : NULL, &e) != 0) {
            finding_set(f, FOUND_FAILED, "%s", e.text);
            finding_advise(f, "take the URL of the queue as the SQS console shows it, of a queue in aws_region");
            return;
        }
    }
    if (!set[0]) {
        finding_set(f, FOUND_FINE, "no listener is set");
        return;
    }
    finding_set(f, FOUND_NOT_CHECKED, "only an event shows whether these listeners can be reached: %s", set);
    finding_advise(f, "`storescpctl doctor --policy` has their permissions; `storescpctl status` says when something could not be told");
}

const struct check doctor_local_checks[] = {
    {"settings", OF_ANY, 0, check_settings},
    {"secrets", OF_ANY, 0, check_secrets},
    {"spool_directory", OF_ANY, 0, check_spool},
    {"state_directory", OF_ANY, 0, check_state},
    {"spool_space", OF_ANY, 0, check_space},
    {"database", OF_ANY, 0, check_database},
    {"stages", OF_ANY, 0, check_stages},
    {"port", OF_ANY, 0, check_ports},
    {"certificates", OF_ANY, 0, check_certificates},
    {"events", OF_ANY, 0, check_events},
    {NULL, 0, 0, NULL},
};
