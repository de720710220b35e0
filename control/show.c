/* show - `studies`, `stuck` and `show`: what the database knows about a study, an instance, a batch. Read only. */
#include "control/control.h"
#include "control/table.h"

enum { SHOW_MAX = 50, LIST_LIMIT = 50 };

/* One report as a table or as JSON. */
static int print_report(const struct request *q, const char *report, const char *const *hidden, const char *const *spare, const char *none)
{
    struct err e = {0};
    struct state *state = NULL;
    struct table t = {0};
    int code = EXIT_FINE;
    int rc = state_open_readonly(&state, q->home, &e);
    rc = rc == 0 ? table_load(&t, state, report, NULL, q->limit ? q->limit : LIST_LIMIT, &e) : rc;
    if (rc != 0) {
        code = complain("%s", e.text);
    } else if (q->json) {
        json_t *all = table_json(&t);
        code = all && json_dumpf(all, stdout, JSON_INDENT(2)) == 0 ? EXIT_FINE : complain("cannot write the answer");
        (void)putchar('\n');
        json_decref(all);
    } else if (t.rows == 0) {
        (void)puts(none);
    } else {
        table_print(&t, hidden, spare, stdout);
    }
    table_clear(&t);
    state_close(&state);
    return code;
}

int command_studies(struct request *q)
{
    static const char *const hidden[] = {"first_received_utc", "last_ended_utc", "bytes", NULL};
    static const char *const spare[] = {"study_date", "calling_ae", "last_received_utc", "patient_id", "accession_number", "modalities", "dropped",
                                        "not_primary", NULL};
    return print_report(q, "studies", hidden, spare, "no study yet");
}

int command_stuck(struct request *q)
{
    static const char *const hidden[] = {"owner",       "study_uid",        "batch",  "batch_state", "batch_error_text",
                                         "calling_ae", "accession_number", "remedy", NULL};
    static const char *const spare[] = {"batch_error_code", "received_utc", NULL};
    return print_report(q, "stuck", hidden, spare, "nothing is stuck");
}

/* The reports that tell about one kind of thing: the first gives one row, the second (if any) a table. */
static const struct {
    const char *kind, *report, *more, *more_title;
} kinds[] = {
    {"instance", "instance", "history", "history"},
    {"study", "study", "instances_of_study", "instances"},
    {"batch", "batch", "instances_of_batch", "instances"},
    {"commitment", "commitment", "commitment_history", "history"},
};

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
    char clean[300];
    int rc = table_load(&one, s, kinds[k].report, id, 10, e);
    rc = rc == 0 && kinds[k].more ? table_load(&more, s, kinds[k].more, id, 1000, e) : rc;
    if (rc == 0 && all) {
        json_t *row = json_pack("{s:s, s:s, s:o}", "kind", kind, "id", id, kind, one.rows ? table_json_row(&one, 0) : json_null());
        if (row && kinds[k].more) {
            (void)json_object_set_new(row, kinds[k].more_title, table_json(&more));
        }
        (void)json_array_append_new(all, row);
    } else if (rc == 0) {
        (void)printf("%s %s\n", kind, text_printable(id, clean, sizeof clean));
        for (size_t r = 0; r < one.rows; r++) {
            table_print_row(&one, r, stdout);
        }
        if (more.rows > 0) {
            (void)printf("\n%s\n", kinds[k].more_title);
            static const char *const spare[] = {"image_set_id", "batch", NULL};
            table_print(&more, NULL, spare, stdout);
        }
        (void)putchar('\n');
    }
    table_clear(&one);
    table_clear(&more);
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
    int rc = state_open_readonly(&state, q->home, &e);
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
