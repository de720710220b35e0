/*
 * quarantine - `quarantine list|release|drop`: what rules refused, by reason and one by one; accepted as it is, or given up. (`show`, `fix` and `rules` have
 * files of their own.) Every decision is an event with the person's login name.
 *
 * Files and rows as in act.c: the file goes back to obj/ (or to dropped/) first, the row follows; a crash between leaves a file that the next press of
 * the same command finds, and that a validator which starts puts back.
 */
#include "common/runtime/rule_list.h"
#include "common/runtime/runtime.h"
#include "common/spool/spool.h"
#include "common/state/quarantine.h"
#include "control/control.h"
#include "control/table.h"

#include <time.h>

enum { LIST_LIMIT = 50, REASONS_MAX = 100, STUDY_MAX = TABLE_ROWS_MAX, ROWS_OF_ONE = 100 };

/* ---- list -------------------------------------------------------------------------------------------------------------------- */

/* "30min", "12h", "7d", or a local date with or without a time -> milliseconds since 1970; 0: it is none of these. */
static int64_t parse_since(const char *text)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"s", 1000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *end = NULL;
    long long n = strtoll(text, &end, 10);
    for (size_t i = 0; end != text && n >= 0 && n < 1000000 && i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(end, units[i].unit) == 0) {
            return clock_wall_ms() - n * units[i].ms;
        }
    }
    static const char *const forms[] = {"%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct tm local = {.tm_isdst = -1};
        const char *rest = strptime(text, forms[i], &local);
        if (rest && !*rest) {
            time_t at = mktime(&local);
            return at > 0 ? (int64_t)at * 1000 : 0;
        }
    }
    return 0;
}

/* What the reports of quarantined instances take as their argument: free() it. NULL: --since is wrong, or out of memory. */
static char *filter_of(const struct request *q)
{
    int64_t since = q->since ? parse_since(q->since) : 0;
    if (q->since && since == 0) {
        (void)complain("--since wants a time such as 30min, 12h, 7d or 2026-01-31T08:00");
        return NULL;
    }
    json_t *filter = json_pack("{s:s?, s:s?, s:s?, s:o}", "study", q->study, "ae", q->ae, "code", q->code, "since", q->since ? json_integer(since) : json_null());
    char *text = filter ? json_dumps(filter, JSON_COMPACT) : NULL;
    json_decref(filter);
    if (!text) {
        (void)complain("these filters cannot be used: no UTF-8, or out of memory");
    }
    return text;
}

/* Below a reason: what it means, one of them with its text, and what to do. */
static void print_reason(struct state *s, const struct table *reasons, size_t row)
{
    struct table one = {0};
    char clean[700];
    char line[1600];
    char age[40];
    const char *code = table_get(reasons, row, "code");
    const char *example = table_get(reasons, row, "example_id");
    size_t used = (size_t)snprintf(line, sizeof line, "%lld %s: ", table_number(reasons, row, "instances"), text_printable(code, clean, sizeof clean));
    used += (size_t)snprintf(line + used, sizeof line - used, "%s. Last %s", err_sentence(code ? err_code_of(code) : 0),
                             text_time(table_number(reasons, row, "last_ms"), age, sizeof age));
    (void)snprintf(line + used, sizeof line - used, ", from %.400s.", text_printable(table_get(reasons, row, "senders"), clean, sizeof clean));
    table_print_sentence(line, 0, stdout);
    if (example && table_load(&one, s, "instance", example, 1, NULL) == 0 && one.rows > 0) {
        const char *remedy = table_get(&one, 0, "remedy");
        (void)snprintf(line, sizeof line, "For example %s: %s", example, text_printable(table_get(&one, 0, "error_text"), clean, sizeof clean));
        table_print_sentence(line, 2, stdout);
        if (remedy && remedy[0]) {
            table_print_sentence(remedy_for(remedy, example, line, sizeof line), 2, stdout);
        }
    }
    table_clear(&one);
}

static int print_json(const struct table *reasons, const struct table *all)
{
    json_t *answer = json_pack("{s:o, s:o}", "reasons", table_json(reasons), "instances", table_json(all));
    bool is_written = answer && json_dumpf(answer, stdout, JSON_INDENT(2)) == 0;
    (void)putchar('\n');
    json_decref(answer);
    return is_written ? EXIT_FINE : complain("cannot write the answer");
}

static int list(struct request *q)
{
    static const char *const hidden[] = {"text", "remedy", "twin", "received_ms", NULL};
    static const char *const spare[] = {"file_bytes", "study_uid", NULL};
    struct err e = {0};
    struct state *state = NULL;
    struct table reasons = {0};
    struct table all = {0};
    int code = EXIT_FINE;
    long long total = 0;
    char *filter = filter_of(q);
    if (!filter) {
        return EXIT_USAGE;
    }
    int rc = open_for_reading(&state, q->home, &e);
    rc = rc ? rc : table_load(&reasons, state, q->study ? "quarantine_reasons_of_study" : "quarantine_reasons", filter, REASONS_MAX, &e);
    rc = rc ? rc : table_load(&all, state, q->study ? "quarantine_of_study" : "quarantine", filter, q->limit ? q->limit : LIST_LIMIT, &e);
    for (size_t i = 0; i < reasons.rows; i++) {
        total += table_number(&reasons, i, "instances");
    }
    if (rc != 0) {
        code = complain("%s", e.text);
    } else if (q->json) {
        code = print_json(&reasons, &all);
    } else if (all.rows == 0) {
        (void)puts(q->used & (OPT_STUDY | OPT_FILTER) ? "nothing of that kind is quarantined" : "nothing is quarantined");
    } else {
        for (size_t i = 0; i < reasons.rows; i++) {
            print_reason(state, &reasons, i);
        }
        (void)putchar('\n');
        table_print(&all, hidden, spare, NULL, stdout);
        if ((long long)all.rows < total) {
            (void)printf("(the newest %zu of %lld; --limit N shows more)\n", all.rows, total);
        }
        (void)puts("One of them: `storescpctl quarantine show ID`. What can be done: `storescpctl quarantine --help`.");
    }
    free(filter);
    table_clear(&reasons);
    table_clear(&all);
    state_close(&state);
    return code;
}

/* ---- decisions ------------------------------------------------------------------------------------------------------------------ */

int quarantine_each(struct request *q, struct state *s, int (*one)(void *ctx, struct state *s, const char *id, const char *code, bool *did, struct err *e),
                    void *ctx, long long *count, struct err *e)
{
    struct table t = {0};
    json_t *filter = json_pack("{s:s?}", "study", q->study);
    char *text = filter ? json_dumps(filter, JSON_COMPACT) : NULL;
    int rc = !text ? err_set(e, ERR_MEMORY, 0, "a study UID that is no text") : table_load(&t, s, q->study ? "quarantine_of_study" : "quarantined_one", q->study ? text : q->args[1], STUDY_MAX, e);
    *count = 0;
    for (size_t i = 0; rc == 0 && i < t.rows; i++) {
        const char *id = table_get(&t, i, "id");
        const char *code = table_get(&t, i, "code");
        bool did = false;
        rc = id && code ? one(ctx, s, id, code, &did, e) : 0;
        *count += did;
    }
    free(text);
    json_decref(filter);
    table_clear(&t);
    return rc;
}

/* Why nobody can accept it as it is; NULL: one can. What a rule says that cannot be changed is not accepted either: buffer gets its words. */
static const char *why_not(struct state *s, const char *id, int code, char *buffer, size_t size)
{
    static const struct {
        int code;
        const char *why;
    } reasons[] = {
        {ERR_SPOOL_MISSING, "its file is lost: have it sent again"},
        {ERR_SPOOL_DAMAGED, "its file is not what was received: have it sent again"},
        {ERR_WORKER_DIED, "no validator survived reading it; after an update of the programs: `storescpctl retry`"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (reasons[i].code == code) {
            return reasons[i].why;
        }
    }
    struct table t = {0};
    const char *why = NULL;
    (void)table_load(&t, s, "findings", id, ROWS_OF_ONE, NULL);
    for (size_t i = 0; !why && i < t.rows; i++) {
        const char *severity = table_get(&t, i, "severity");
        const struct rule *rule = rule_named(table_get(&t, i, "rule"));
        if (severity && rule && strcmp(severity, "reject") == 0 && rule->severity == RULE_ALWAYS) {
            (void)snprintf(buffer, size, "%s; %s, or `storescpctl quarantine fix`", rule->means, rule->remedy);
            why = buffer;
        }
    }
    table_clear(&t);
    return why;
}

struct decision {
    const struct request *q;
    long long refused;
};

static int release_one(void *ctx, struct state *s, const char *id, const char *code, bool *did, struct err *e)
{
    struct decision *d = ctx;
    char buffer[400];
    const char *why = why_not(s, id, err_code_of(code), buffer, sizeof buffer);
    if (why) {
        d->refused++;
        (void)complain("%s cannot be sent on (%s): %s", id, code, why);
        return 0;
    }
    int rc = spool_unquarantine(d->q->home, id, e);
    return rc ? rc : state_quarantine_release(s, id, code, d->q->reason, did, e);
}

static int drop_one(void *ctx, struct state *s, const char *id, const char *code, bool *did, struct err *e)
{
    struct decision *d = ctx;
    int64_t count = 0;
    (void)code;
    int rc = spool_drop(d->q->home, id, e);
    rc = rc ? rc : state_drop(s, id, d->q->reason, &count, e);
    *did = count > 0;
    return rc;
}

static int decide(struct request *q, int (*one)(void *ctx, struct state *s, const char *id, const char *code, bool *did, struct err *e), const char *done)
{
    struct err e = {0};
    struct state *state = NULL;
    struct decision d = {.q = q};
    long long count = 0;
    int rc = open_for_person(&state, q, &e);
    rc = rc ? rc : quarantine_each(q, state, one, &d, &count, &e);
    state_close(&state);
    if (count > 0) {
        (void)printf("%lld instances %s\n", count, done);
    }
    if (rc != 0) {
        return complain("%s", e.text);
    }
    return count > 0 && d.refused == 0 ? EXIT_FINE : d.refused ? EXIT_PROBLEM : complain("nothing is quarantined under %.200s", q->study ? q->study : q->args[1]);
}

static int release(struct request *q)
{
    return decide(q, release_one, "go on as they are; `storescpctl status` shows how it goes");
}

static int drop(struct request *q)
{
    if (!q->reason) {
        (void)complain("quarantine drop wants --reason TEXT: whoever asks in a year shall find it");
        return EXIT_USAGE;
    }
    return decide(q, drop_one, "are dropped; their files are kept in spool/dropped for a while");
}

/* ---- which one ---------------------------------------------------------------------------------------------------------------------- */

int command_quarantine(struct request *q)
{
    static const struct {
        const char *name;
        int (*run)(struct request *q);
        bool wants_one; /* an id, or --study, or --all-of */
        int options;
    } parts[] = {
        {"list", list, false, OPT_JSON | OPT_LIMIT | OPT_STUDY | OPT_FILTER},
        {"show", quarantine_show, true, OPT_JSON | OPT_HEADER | OPT_LIMIT},
        {"release", release, true, OPT_REASON | OPT_STUDY},
        {"fix", quarantine_fix, true, OPT_REASON | OPT_STUDY | OPT_ALL_OF | OPT_EDIT | OPT_DRY_RUN},
        {"drop", drop, true, OPT_REASON | OPT_STUDY},
        {"rules", quarantine_rules, false, OPT_JSON | OPT_LIMIT},
    };
    size_t i = 0;
    while (i < sizeof parts / sizeof parts[0] && strcmp(parts[i].name, q->args[0]) != 0) {
        i++;
    }
    if (i == sizeof parts / sizeof parts[0]) {
        (void)complain("quarantine has no %.100s: list, show, release, fix, drop or rules; `storescpctl quarantine --help`", q->args[0]);
        return EXIT_USAGE;
    }
    int meant = (q->arg_count == 2) + (q->study != NULL) + (q->all_of != NULL);
    bool has_words = parts[i].wants_one ? meant == 1 && q->arg_count <= 2 : q->arg_count == 1 || parts[i].run == quarantine_rules;
    if ((q->used & ~parts[i].options) || !has_words) {
        (void)complain("quarantine %s %s: see `storescpctl quarantine --help`", parts[i].name,
                       parts[i].wants_one ? "wants one instance id or one --study UID, and its own options" : "takes its own options only");
        return EXIT_USAGE;
    }
    if (parts[i].wants_one && q->arg_count == 2 && !id_is_legal(q->args[1])) {
        return complain("%.200s is no instance id: `storescpctl quarantine list` shows them, `storescpctl show` finds one by its UID", q->args[1]);
    }
    return parts[i].run(q);
}
