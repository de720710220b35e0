/* show - `studies`, `stuck` and `show`: what the database knows about a study, an instance, a batch. Read only. */
#include "common/runtime/rule_list.h"
#include "control/control.h"
#include "control/table.h"

enum { SHOW_MAX = 50, LIST_LIMIT = 50 };

/* What a table is made of, and what is said when it is empty. */
struct layout {
    const char *report;
    const char *const *hidden;
    table_detail_fn *detail;
    const char *none;
};

/* An empty `stuck` must not hide that all of them wait: what a living worker waits for stands beside it. */
static void say_who_waits(const struct request *q, struct state *s)
{
    struct table t = {0};
    char clean[900];
    (void)table_load(&t, s, "workers", NULL, 1000, NULL);
    for (size_t r = 0; r < t.rows; r++) {
        const char *name = table_get(&t, r, "name");
        const char *status = table_get(&t, r, "status");
        if (name && status && strncmp(status, "waiting", 7) == 0 && worker_is_living(q->home, name)) {
            char line[1100];
            (void)snprintf(line, sizeof line, "%s is %s", name, text_printable(status, clean, sizeof clean));
            table_print_sentence(line, 0, stdout);
        }
    }
    table_clear(&t);
}

static void say_sentence(void *ctx, const char *sentence)
{
    (void)ctx;
    table_print_sentence(sentence, 0, stdout);
}

/* One report as a table or as JSON. */
static int print_report(const struct request *q, const struct layout *l)
{
    struct err e = {0};
    struct state *state = NULL;
    struct table t = {0};
    int code = EXIT_FINE;
    int rc = open_for_reading(&state, q->home, &e);
    rc = rc == 0 ? table_load(&t, state, l->report, NULL, q->limit ? q->limit : LIST_LIMIT, &e) : rc;
    if (rc != 0) {
        code = complain("%s", e.text);
    } else if (q->json) {
        json_t *all = table_json(&t);
        code = all && json_dumpf(all, stdout, JSON_INDENT(2)) == 0 ? EXIT_FINE : complain("cannot write the answer");
        (void)putchar('\n');
        json_decref(all);
    } else if (t.rows == 0) {
        (void)puts(l->none);
    } else {
        table_print(&t, l->hidden, NULL, l->detail, stdout);
    }
    if (rc == 0 && !q->json && strcmp(l->report, "stuck") == 0) {
        jobs_warn(state, say_sentence, NULL);
        say_who_waits(q, state);
    }
    table_clear(&t);
    state_close(&state);
    return code;
}

static void short_detail_of(const struct table *t, size_t row, const char *reason, FILE *out)
{
    char clean[1000];
    char line[1200];
    (void)snprintf(line, sizeof line, "short by %lld images of %lld: %s", table_number(t, row, "missing"), table_number(t, row, "expected"),
                   text_printable(table_get(t, row, reason), clean, sizeof clean));
    table_print_sentence(line, 2, out);
}

static void short_detail(const struct table *t, size_t row, FILE *out)
{
    short_detail_of(t, row, "reason", out);
}

/* Below a study: how its instances stand, what they are, from whom and when. */
static void study_detail(const struct table *t, size_t row, FILE *out)
{
    static const char *const parts[][2] = {{"imported", "imported"},       {"stored", "stored"}, {"duplicate", "duplicate"}, {"under_way", "under way"},
                                           {"quarantined", "quarantined"}, {"failed", "failed"},       {"dropped", "of them dropped"},
                                           {"not_primary", "of them not in the primary image set"},
                                           {"conflicts", "of them in conflict with the others (`why` with the study tells)"}};
    char clean[120];
    char line[900];
    const char *between = ":";
    long long instances = table_number(t, row, "instances");
    size_t used = (size_t)snprintf(line, sizeof line, "%lld instance%s", instances, instances == 1 ? "" : "s");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        long long count = table_number(t, row, parts[i][0]);
        if (count > 0) {
            used += (size_t)snprintf(line + used, sizeof line - used, "%s %lld %s", between, count, parts[i][1]);
            between = ",";
        }
    }
    used += (size_t)snprintf(line + used, sizeof line - used, "; %s", text_printable(table_get(t, row, "modalities"), clean, sizeof clean));
    used += (size_t)snprintf(line + used, sizeof line - used, " from %s", text_printable(table_get(t, row, "calling_ae"), clean, sizeof clean));
    (void)snprintf(line + used, sizeof line - used, ", last %s UTC", text_printable(table_get(t, row, "last_received_utc"), clean, sizeof clean));
    table_print_sentence(line, 2, out);
    if (table_number(t, row, "missing") > 0) {
        short_detail_of(t, row, "missing_reason", out);
    }
}

int command_studies(struct request *q)
{
    static const char *const hidden[] = {"first_received_utc", "last_received_utc", "last_ended_utc", "bytes", "study_date", "calling_ae",
                                         "modalities", "destinations", "instances", "under_way", "imported", "stored", "duplicate", "quarantined", "failed", "dropped",
                                         "not_primary", "conflicts", "expected", "missing", "missing_reason", NULL};
    static const char *const hidden_of_short[] = {"reason", "missing", "expected", "named", "looked_utc", NULL};
    if (q->is_short) {
        return print_report(q, &(struct layout){"short", hidden_of_short, short_detail, "nothing is known to be missing"});
    }
    return print_report(q, &(struct layout){"studies", hidden, study_detail, "no study yet"});
}

/* Below a stuck instance: why, and what to do, both whole. */
static void stuck_detail(const struct table *t, size_t row, FILE *out)
{
    char clean[700];
    char age[32];
    char line[1600];
    const char *text = table_get(t, row, "error_text");
    const char *batch_text = table_get(t, row, "batch_error_text");
    const char *remedy = table_get(t, row, "remedy");
    const char *id = table_get(t, row, "instance");
    size_t used = (size_t)snprintf(line, sizeof line, "for %s", text_age(table_number(t, row, "seconds_in_state") * 1000, age, sizeof age));
    if (table_number(t, row, "held")) {
        used += (size_t)snprintf(line + used, sizeof line - used, "; held, `storescpctl release %.40s` lets it go on", id ? id : "ID");
    }
    if (text && text[0]) {
        used += (size_t)snprintf(line + used, sizeof line - used, ": %s", text_printable(text, clean, sizeof clean));
    }
    const char *batch = table_get(t, row, "batch");
    const char *before = row > 0 ? table_get(t, row - 1, "batch") : NULL;
    if (batch_text && batch_text[0] && batch && before && strcmp(batch, before) == 0) {
        (void)snprintf(line + used, sizeof line - used, "; its batch: as above");
    } else if (batch_text && batch_text[0]) {
        (void)snprintf(line + used, sizeof line - used, "; its batch: %s", text_printable(batch_text, clean, sizeof clean));
    }
    table_print_sentence(line, 2, out);
    if (remedy && remedy[0]) {
        table_print_sentence(remedy_for(remedy, id ? id : "ID", line, sizeof line), 2, out);
    }
}

int command_stuck(struct request *q)
{
    static const char *const hidden[] = {"owner", "study_uid", "batch", "batch_state", "batch_error_text", "calling_ae", "accession_number",
                                         "remedy", "error_text", "seconds_in_state", "held", NULL};
    return print_report(q, &(struct layout){"stuck", hidden, stuck_detail, "no instance is stuck"});
}

/* The reports that tell about one kind of thing: the first gives one row, the second a table, the others (if any) its conflicts and findings. */
static const struct {
    const char *kind, *report, *more, *more_title, *conflicts, *findings;
} kinds[] = {
    {"instance", "instance", "history", "history", "conflicts_of_instance", "findings"},
    {"study", "study", "instances_of_study", "instances", "conflicts_of_study", NULL},
    {"batch", "batch", "instances_of_batch", "instances", NULL, NULL},
    {"commitment", "commitment", "commitment_history", "history", NULL, NULL},
};

/* Below a rule: what is broken, and what a person does about it. */
static void finding_detail(const struct table *t, size_t row, FILE *out)
{
    char clean[400];
    const char *name = table_get(t, row, "rule");
    const struct rule *rule = name ? rule_named(name) : NULL;
    table_print_sentence(text_printable(table_get(t, row, "text"), clean, sizeof clean), 2, out);
    if (rule && !strstr(clean, rule->remedy)) {
        (void)snprintf(clean, sizeof clean, "To do: %s.", rule->remedy);
        table_print_sentence(clean, 2, out);
    }
}

static int show_one(struct state *s, const char *kind, const char *id, json_t *all, struct err *e)
{
    size_t k = 0;
    while (k < sizeof kinds / sizeof kinds[0] && strcmp(kinds[k].kind, kind) != 0) {
        k++;
    }
    if (k == sizeof kinds / sizeof kinds[0]) {
        return 0; /* a kind that this version does not know */
    }
    struct table one = {0};
    struct table more = {0};
    struct table conflicts = {0};
    struct table findings = {0};
    char clean[300];
    int rc = table_load(&one, s, kinds[k].report, id, 10, e);
    rc = rc == 0 ? table_load(&more, s, kinds[k].more, id, 1000, e) : rc;
    rc = rc == 0 && kinds[k].conflicts ? table_load(&conflicts, s, kinds[k].conflicts, id, 1000, e) : rc;
    rc = rc == 0 && kinds[k].findings ? table_load(&findings, s, kinds[k].findings, id, 1000, e) : rc;
    if (rc == 0 && all) {
        json_t *row = json_pack("{s:s, s:s, s:o}", "kind", kind, "id", id, kind, one.rows ? table_json_row(&one, 0) : json_null());
        if (row) {
            (void)json_object_set_new(row, kinds[k].more_title, table_json(&more));
        }
        if (row && kinds[k].conflicts) {
            (void)json_object_set_new(row, "conflicts", table_json(&conflicts));
        }
        if (row && kinds[k].findings) {
            (void)json_object_set_new(row, "findings", table_json(&findings));
        }
        (void)json_array_append_new(all, row);
    } else if (rc == 0) {
        (void)printf("%s %s\n", kind, text_printable(id, clean, sizeof clean));
        for (size_t r = 0; r < one.rows; r++) {
            table_print_row(&one, r, stdout);
        }
        if (conflicts.rows > 0) {
            (void)printf("\nconflicts");
        }
        for (size_t r = 0; r < conflicts.rows; r++) {
            (void)putchar('\n');
            table_print_row(&conflicts, r, stdout);
        }
        if (findings.rows > 0) {
            static const char *const hidden[] = {"text", NULL};
            (void)printf("\nfindings\n");
            table_print(&findings, hidden, NULL, finding_detail, stdout);
        }
        if (more.rows > 0) {
            (void)printf("\n%s\n", kinds[k].more_title);
            static const char *const spare[] = {"image_set_id", "batch", NULL};
            table_print(&more, NULL, spare, NULL, stdout);
        }
        (void)putchar('\n');
    }
    table_clear(&one);
    table_clear(&findings);
    table_clear(&more);
    table_clear(&conflicts);
    return rc;
}

int command_show(struct request *q)
{
    struct err e = {0};
    struct state *state = NULL;
    struct table found = {0};
    json_t *all = q->json ? json_array() : NULL;
    long long limit = q->limit ? q->limit : SHOW_MAX;
    int code = EXIT_FINE;
    int rc = open_for_reading(&state, q->home, &e);
    rc = rc == 0 ? table_load(&found, state, "find", q->args[0], limit, &e) : rc;
    for (size_t i = 0; rc == 0 && i < found.rows && (long long)i < limit; i++) {
        const char *kind = table_get(&found, i, "kind");
        const char *id = table_get(&found, i, "id");
        rc = kind && id ? show_one(state, kind, id, all, &e) : 0;
    }
    if (rc != 0) {
        code = complain("%s", e.text);
    } else if (found.rows == 0) {
        code = complain("nothing is known under %.200s: give an instance id, a UID, an accession number, a patient id or a batch id",
                        q->args[0]);
    } else if ((long long)found.rows >= limit && !q->json) {
        (void)printf("(the first %lld; --limit N shows more)\n", limit);
    }
    if (rc == 0 && all) {
        if (json_dumpf(all, stdout, JSON_INDENT(2)) != 0) {
            code = complain("cannot write the answer");
        }
        (void)putchar('\n');
    }
    json_decref(all);
    table_clear(&found);
    state_close(&state);
    return code;
}
