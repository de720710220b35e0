/* status - `status`: what waits where, who works on it, what a person should look at. Works with the pipeline stopped. */
#include "common/spool/spool.h"
#include "control/control.h"
#include "control/table.h"

#include <stdarg.h>
#include <unistd.h>

enum { WARNINGS_MAX = 24 };

static const char *const states[] = {"received", "validated", "uploaded", "importing", "imported", "stored", "duplicate", "quarantined", "failed"};
static const char *const batch_states[] = {"open", "closed", "starting", "running", "reconciling", "done"};
enum { STATES = sizeof states / sizeof states[0], BATCH_STATES = sizeof batch_states / sizeof batch_states[0] };

struct picture {
    struct table status, workers, batches, destinations, overdue, waits, rules; /* as the database tells */
    json_t *events, *conflicts, *completeness; /* NULL: not known */
    struct living living[WORKERS_MAX];
    size_t living_count;
    size_t alive[STAGE_COUNT];
    int wanted[STAGE_COUNT]; /* -1: nobody wants any number */
    bool supervisor;
    int64_t free_bytes;
    char warnings[WARNINGS_MAX][900];
    size_t warning_count;
};

static void warn(struct picture *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void warn(struct picture *p, const char *format, ...)
{
    if (p->warning_count < WARNINGS_MAX) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(p->warnings[p->warning_count], sizeof p->warnings[0], format, args);
        va_end(args);
        p->warning_count++;
    }
}

static void warn_sentence(void *ctx, const char *sentence)
{
    warn(ctx, "%s", sentence);
}

static long long value_of(const struct table *t, const char *key_column, const char *key, const char *column)
{
    for (size_t r = 0; r < t->rows; r++) {
        const char *k = table_get(t, r, key_column);
        if (k && strcmp(k, key) == 0) {
            return table_number(t, r, column);
        }
    }
    return 0;
}

static long long count_of(const struct picture *p, const char *state)
{
    return value_of(&p->status, "state", state, "count");
}

/* The row of a living worker in the database, or rows if it has none. */
static size_t row_of(const struct picture *p, const char *name)
{
    size_t r = 0;
    while (r < p->workers.rows) {
        const char *there = table_get(&p->workers, r, "name");
        if (there && strcmp(there, name) == 0) {
            break;
        }
        r++;
    }
    return r;
}

static const char *worker_status(const struct picture *p, const char *name)
{
    const char *status = table_get(&p->workers, row_of(p, name), "status");
    return status ? status : "unknown";
}

static void warn_of_certificates(void *ctx, bool serious, const char *sentence)
{
    warn(ctx, "%s%s", serious ? "TLS: " : "", sentence);
}

/* One line for each destination that a worker waits with. */
static void warn_of_waiting(struct picture *p, const struct request *q, const char *name, const char *status)
{
    char place[CONFIG_DESTINATION_SIZE];
    char why[400];
    char clean[400];
    while (waiting_part(&status, place, sizeof place, why, sizeof why)) {
        if (place[0] && !config_destination_named(q->config, place)) {
            continue; /* warn_of_orphans() tells it */
        }
        warn(p, "%s is waiting%s%s: %s. To do: %s", name, place[0] ? " with destination " : "", place, text_printable(why, clean, sizeof clean),
             waiting_remedy(why));
    }
}

/* What waits for a destination that storescp.conf does not have. */
static void warn_of_orphans(struct picture *p, const struct request *q)
{
    for (size_t r = 0; r < p->destinations.rows; r++) {
        const char *name = table_get(&p->destinations, r, "destination");
        if (name && !config_destination_named(q->config, name)) {
            warn(p, "%lld instances wait for the destination %s, and storescp.conf has no [destination %s]: put it back, or `storescpctl move %s NAME`; nothing is lost",
                 table_number(&p->destinations, r, "validated") + table_number(&p->destinations, r, "uploaded") + table_number(&p->destinations, r, "importing"),
                 name, name, name);
        }
    }
}

static void look_for_trouble(struct picture *p, const struct request *q)
{
    static const char *const waits_for[STAGE_COUNT] = {NULL, "received", "validated", "uploaded"};
    char number[32];
    for (size_t i = 0; config_problem(q->config, i); i++) {
        warn(p, "a setting is wrong: %s", config_problem(q->config, i));
    }
    (void)certificates_look_at(q->config, warn_of_certificates, p);
    for (int i = 0; i < STAGE_COUNT; i++) {
        const char *name = state_stage_name((enum state_stage)i);
        long long waiting = waits_for[i] ? count_of(p, waits_for[i]) : 0;
        waiting += i == STAGE_IMPORTER ? count_of(p, "importing") : 0;
        if (waiting > 0 && p->alive[i] == 0) {
            warn(p, "%lld instances wait for the %s and none is alive: %s`storescpctl %s`", waiting, name,
                 p->supervisor ? "" : "start its container or unit, or ",
                 !p->supervisor ? "up" : i == STAGE_VALIDATOR ? "scale validator 1" : i == STAGE_UPLOADER ? "scale uploader 1"
                                                                                                       : "scale importer 1");
        } else if (p->wanted[i] > 0 && p->alive[i] < (size_t)p->wanted[i]) {
            warn(p, "%d %s wanted, %zu alive: `storescpctl config`, then its last lines in the log of `storescpctl up`", p->wanted[i], name, p->alive[i]);
        }
    }
    for (size_t i = 0; i < p->living_count; i++) {
        const char *status = worker_status(p, p->living[i].name);
        char clean[200];
        if (strncmp(status, "waiting", 7) == 0) {
            warn_of_waiting(p, q, p->living[i].name, status);
        } else if (strncmp(status, "pressed", 7) == 0 || strncmp(status, "ready, but", 10) == 0) {
            warn(p, "%s is %s", p->living[i].name, text_printable(status, clean, sizeof clean));
        }
    }
    warn_of_orphans(p, q);
    hung_warn(q->home, p->living, p->living_count, warn_sentence, p);
    static const char *const refused[][2] = {{"quarantined", "are quarantined: `storescpctl quarantine list`"},
                                             {"failed", "failed: `storescpctl stuck`, then `storescpctl why ID`"}};
    for (size_t i = 0; i < 2; i++) {
        long long count = count_of(p, refused[i][0]) - value_of(&p->status, "state", refused[i][0], "dropped");
        if (count > 0) {
            warn(p, "%lld instances %s", count, refused[i][1]);
        }
    }
    long long held = 0;
    for (size_t r = 0; r < p->status.rows; r++) {
        held += table_number(&p->status, r, "held");
    }
    if (held > 0) {
        warn(p, "%lld instances are held: `storescpctl stuck` shows them, `storescpctl release ID|STUDY` lets them go on", held);
    }
    if (p->free_bytes >= 0 && p->free_bytes < config_int(q->config, CFG_SPOOL_FREE_MB) * 1000000) {
        warn(p, "the spool has %s left, less than spool_free_mb: instances are refused; free space or enlarge the disk",
             text_bytes(p->free_bytes, number, sizeof number));
    }
}

int open_for_reading(struct state **state, const char *home, struct err *e)
{
    char path[PATH_SIZE];
    (void)snprintf(path, sizeof path, "%s/state/state.db", home);
    return access(path, F_OK) == 0 ? state_open_readonly(state, home, e)
                                   : err_set(e, ERR_NOT_FOUND, 0, "there is no %s: is --home (STORESCP_HOME) right? `storescpctl up` makes "
                                             "a new one, `storescpctl rebuild` restores a lost one", path);
}

static int look(struct picture *p, const struct request *q)
{
    struct err e = {0};
    struct state *state = NULL;
    int rc = open_for_reading(&state, q->home, &e);
    if (rc == 0) {
        rc = table_load(&p->status, state, "status", NULL, 100, &e);
        rc = rc == 0 ? table_load(&p->workers, state, "workers", NULL, 10000, &e) : rc;
        rc = rc == 0 ? table_load(&p->batches, state, "batches", NULL, 100, &e) : rc;
        rc = rc == 0 ? table_load(&p->destinations, state, "destinations", NULL, 1000, &e) : rc;
        commitments_warn(state, warn_sentence, p);
        events_warn(state, warn_sentence, p);
        p->events = events_json(state);
        p->conflicts = conflicts_json(state);
        p->completeness = completeness_json(state, warn_sentence, p);
        jobs_warn(state, warn_sentence, p);
        rc = rc == 0 ? table_load(&p->waits, state, "wait", NULL, 10, &e) : rc;
        rc = rc == 0 ? table_load(&p->rules, state, "rules", NULL, 1000, &e) : rc;
        rc = rc == 0 ? table_load(&p->overdue, state, "overdue", NULL, 10000, &e) : rc;
    }
    state_close(&state);
    if (rc != 0) {
        warn(p, "no look into the database: %s", e.text);
    }
    p->living_count = workers_living(q->home, p->living, WORKERS_MAX);
    for (size_t i = 0; i < p->living_count; i++) {
        p->alive[p->living[i].stage]++;
    }
    for (int i = 0; i < STAGE_COUNT; i++) {
        p->wanted[i] = -1;
    }
    p->supervisor = supervisor_is_living(q->home);
    if (p->supervisor) {
        (void)counts_read(q->home, COUNTS_WANTED, p->wanted);
    }
    p->free_bytes = spool_free_bytes(q->home);
    look_for_trouble(p, q);
    return rc;
}

static json_t *number_or_null(const struct table *t, size_t row, const char *column)
{
    const char *value = table_get(t, row, column);
    return value ? json_real(strtod(value, NULL)) : json_null();
}

static json_t *waits_json(const struct picture *p)
{
    json_t *all = json_object();
    for (size_t r = 0; r < p->waits.rows; r++) {
        const struct table *t = &p->waits;
        json_t *one = json_pack("{s:o, s:I, s:o, s:o, s:o}", "oldest_s", number_or_null(t, r, "oldest_seconds"), "recent", (json_int_t)table_number(t, r, "recent"),
                                "half_s", number_or_null(t, r, "half_seconds"), "p95_s", number_or_null(t, r, "p95_seconds"), "longest_s",
                                number_or_null(t, r, "longest_seconds"));
        (void)json_object_set_new(all, table_get(t, r, "step"), one);
    }
    return all;
}

/* "0.4 s", "12 s", "5 min"; "-" if there is none */
static const char *seconds_text(const struct table *t, size_t row, const char *column, char *buffer, size_t size)
{
    const char *value = table_get(t, row, column);
    double seconds = value ? strtod(value, NULL) : 0;
    if (!value) {
        (void)snprintf(buffer, size, "-");
    } else if (seconds < 10) {
        (void)snprintf(buffer, size, "%.1f s", seconds);
    } else {
        (void)text_age((int64_t)(seconds * 1000), buffer, size);
    }
    return buffer;
}

static void print_waits(const struct picture *p)
{
    static const char *const columns[] = {"oldest_seconds", "half_seconds", "p95_seconds", "longest_seconds"};
    if (p->waits.rows == 0) {
        return;
    }
    (void)printf("\n%-12s %10s %10s %10s %10s  %s\n", "waits in", "oldest", "half <", "95 % <", "longest", "of the newest (24 h)");
    for (size_t r = 0; r < p->waits.rows; r++) {
        (void)printf("%-12s", table_get(&p->waits, r, "step"));
        for (size_t c = 0; c < sizeof columns / sizeof columns[0]; c++) {
            char text[32];
            (void)printf(" %10s", seconds_text(&p->waits, r, columns[c], text, sizeof text));
        }
        (void)printf("  %lld\n", table_number(&p->waits, r, "recent"));
    }
}

/* What waits, by destination. */
static json_t *destinations_json(const struct picture *p)
{
    static const char *const columns[] = {"validated", "uploaded", "importing"};
    json_t *all = json_object();
    for (size_t r = 0; r < p->destinations.rows; r++) {
        const char *name = table_get(&p->destinations, r, "destination");
        json_t *one = json_object();
        for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
            (void)json_object_set_new(one, columns[i], json_integer(table_number(&p->destinations, r, columns[i])));
        }
        (void)json_object_set_new(all, name ? name : "", one);
    }
    return all;
}

/* How often which rule was broken, since state.db began. */
static json_t *rules_json(const struct picture *p)
{
    json_t *all = json_array();
    for (size_t r = 0; r < p->rules.rows; r++) {
        const char *rule = table_get(&p->rules, r, "rule");
        const char *severity = table_get(&p->rules, r, "severity");
        (void)json_array_append_new(all, json_pack("{s:s, s:s, s:I, s:I}", "rule", rule ? rule : "", "severity", severity ? severity : "", "found",
                                                   (json_int_t)table_number(&p->rules, r, "found"), "last_ms", (json_int_t)table_number(&p->rules, r, "last_ms")));
    }
    return all;
}

static int print_json(const struct picture *p, const struct request *q)
{
    json_t *root = json_pack("{s:i, s:s, s:{}, s:{}, s:{}, s:{s:I}, s:b, s:[]}", "schema", 1, "home", q->home, "states", "stages",
                             "batches", "spool", "free_bytes", (json_int_t)(p->free_bytes < 0 ? 0 : p->free_bytes), "supervisor",
                             (int)p->supervisor, "warnings");
    if (!root) {
        return complain("out of memory, or the path of the home directory is not UTF-8");
    }
    for (size_t i = 0; i < STATES; i++) {
        (void)json_object_set_new(json_object_get(root, "states"), states[i], json_integer(count_of(p, states[i])));
    }
    for (size_t i = 0; i < BATCH_STATES; i++) {
        (void)json_object_set_new(json_object_get(root, "batches"), batch_states[i],
                                  json_integer(value_of(&p->batches, "state", batch_states[i], "count")));
    }
    (void)json_object_set_new(root, "waits", waits_json(p));
    (void)json_object_set_new(root, "jobs", json_pack("{s:I, s:I}", "running", (json_int_t)(value_of(&p->batches, "state", "starting", "count") +
                                                      value_of(&p->batches, "state", "running", "count")), "overdue", (json_int_t)p->overdue.rows));
    for (int i = 0; i < STAGE_COUNT; i++) {
        json_t *alive = json_array();
        for (size_t k = 0; k < p->living_count; k++) {
            const struct living *w = &p->living[k];
            char clean[200];
            if (w->stage == (enum state_stage)i) {
                (void)json_array_append_new(alive, json_pack("{s:s, s:I, s:s}", "name", w->name, "pid", (json_int_t)w->pid, "status",
                                                             text_printable(worker_status(p, w->name), clean, sizeof clean)));
            }
        }
        json_t *one = json_pack("{s:I, s:o}", "workers", (json_int_t)p->alive[i], "alive", alive);
        if (one && p->wanted[i] >= 0) {
            (void)json_object_set_new(one, "wanted", json_integer(p->wanted[i]));
        }
        (void)json_object_set_new(json_object_get(root, "stages"), state_stage_name((enum state_stage)i), one);
    }
    (void)json_object_set_new(root, "events", p->events ? json_incref(p->events) : json_object());
    (void)json_object_set_new(root, "conflicts", p->conflicts ? json_incref(p->conflicts) : json_object());
    (void)json_object_set_new(root, "completeness", p->completeness ? json_incref(p->completeness) : json_object());
    (void)json_object_set_new(root, "destinations", destinations_json(p));
    (void)json_object_set_new(root, "rules", rules_json(p));
    for (size_t i = 0; i < p->warning_count; i++) {
        (void)json_array_append_new(json_object_get(root, "warnings"), json_string(p->warnings[i]));
    }
    int rc = json_dumpf(root, stdout, JSON_INDENT(2));
    (void)putchar('\n');
    json_decref(root);
    return rc == 0 ? EXIT_FINE : complain("cannot write the answer");
}

static void print_text(const struct picture *p, const struct request *q)
{
    char number[32];
    char when[80];
    (void)printf("home        %s\nsupervisor  %s\nspool       %s free\n\n", q->home, p->supervisor ? "runs" : "does not run",
                 p->free_bytes < 0 ? "?" : text_bytes(p->free_bytes, number, sizeof number));
    (void)printf("%-12s %10s %10s  %s\n", "state", "instances", "bytes", "oldest");
    for (size_t i = 0; i < STATES; i++) {
        long long oldest = value_of(&p->status, "state", states[i], "oldest_ms");
        (void)printf("%-12s %10lld %10s  %s\n", states[i], count_of(p, states[i]),
                     text_bytes(value_of(&p->status, "state", states[i], "bytes"), number, sizeof number),
                     oldest > 0 ? text_time(oldest, when, sizeof when) : "-");
    }
    print_waits(p);
    (void)printf("\n%-10s %6s %6s  %s\n", "stage", "wanted", "alive", "workers");
    for (int i = 0; i < STAGE_COUNT; i++) {
        if (p->wanted[i] >= 0) {
            (void)printf("%-10s %6d %6zu", state_stage_name((enum state_stage)i), p->wanted[i], p->alive[i]);
        } else {
            (void)printf("%-10s %6s %6zu", state_stage_name((enum state_stage)i), "-", p->alive[i]);
        }
        bool is_first = true;
        for (size_t k = 0; k < p->living_count; k++) {
            char clean[200];
            if (p->living[k].stage == (enum state_stage)i) {
                (void)text_printable(worker_status(p, p->living[k].name), clean, sizeof clean);
                bool is_whole = strlen(clean) <= 60; /* else WARN has it whole */
                (void)printf("%*s%s %.*s%s\n", is_first ? 2 : 27, "", p->living[k].name, is_whole ? 60 : 57, clean, is_whole ? "" : "...");
                is_first = false;
            }
        }
        if (is_first) {
            (void)printf("  -\n");
        }
    }
    for (size_t r = 0; r < p->destinations.rows && (p->destinations.rows > 1 || config_destination_at(q->config, 1)); r++) {
        char clean[80];
        (void)printf("%s%-32s %lld validated, %lld uploaded, %lld importing\n", r == 0 ? "\nwhat waits for destination\n" : "",
                     text_printable(table_get(&p->destinations, r, "destination"), clean, sizeof clean), table_number(&p->destinations, r, "validated"),
                     table_number(&p->destinations, r, "uploaded"), table_number(&p->destinations, r, "importing"));
    }
    (void)printf("\nbatches ");
    for (size_t i = 0; i < BATCH_STATES; i++) {
        (void)printf(" %s %lld%s", batch_states[i], value_of(&p->batches, "state", batch_states[i], "count"),
                     i + 1 < BATCH_STATES ? "," : "\n");
    }
    const char *name;
    json_t *one;
    json_object_foreach(p->events, name, one) {
        (void)printf("told     %s: %lld wait\n", name, (long long)json_integer_value(json_object_get(one, "waiting")));
    }
    for (size_t i = 0; i < p->warning_count; i++) {
        (void)printf("WARN %s\n", p->warnings[i]);
    }
}

int command_status(struct request *q)
{
    static struct picture p; /* large, one */
    int rc = look(&p, q);
    int code = EXIT_FINE;
    if (q->json) {
        code = print_json(&p, q);
    } else {
        print_text(&p, q);
    }
    json_decref(p.events);
    json_decref(p.conflicts);
    json_decref(p.completeness);
    table_clear(&p.status);
    table_clear(&p.workers);
    table_clear(&p.batches);
    table_clear(&p.destinations);
    table_clear(&p.overdue);
    table_clear(&p.rules);
    table_clear(&p.waits);
    /* a home where nothing ran yet is no problem; a database that cannot be read is one */
    return rc != 0 && rc != ERR_NOT_FOUND ? EXIT_PROBLEM : code;
}
