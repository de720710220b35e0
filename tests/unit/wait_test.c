/*
 * wait: v_wait says how long images wait in each step, by the oldest that stands there and by the newest that came through; with 200,000 rows it reads a
 * few thousand of them.
 */
#include "common/state/internal.h"
#include "tests/unit/state_fixture.h"

#include <time.h>

enum { MANY = 200000, LOOK_MS = 100 };

static void sql(struct fixture *f, const char *text)
{
    char *problem = NULL;
    if (sqlite3_exec(f->uploader->db, text, NULL, NULL, &problem) != SQLITE_OK) {
        fail_msg("%s: %s", text, problem);
    }
}

/* count instances of a state that they entered age_s ago and, when they have ended, after i ms in each of the steps; i counts from 1. */
static void fill(struct fixture *f, const char *state, int count, int age_s)
{
    char text[1200];
    long long now = clock_wall_ms();
    (void)snprintf(text, sizeof text,
                   "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
                   "INSERT INTO instance (id, state, sop_class_uid, sop_instance_uid, transfer_syntax_uid, file_bytes, data_bytes, file_crc32c, data_crc32c, "
                   "received_ms, validated_ms, uploaded_ms, importing_ms, ended_ms, changed_ms) SELECT '%s%d.' || i, '%s', '1', '1', '1', 1, 1, 0, 0, "
                   "t - 14 * i, t - 13 * i, t - 11 * i, t - 7 * i, t, t FROM (SELECT i, %lld - %d * 1000 AS t FROM n)",
                   count, state, age_s, state, now, age_s);
    sql(f, text);
}

struct row {
    char oldest[24], recent[24], half[24], p95[24], longest[24];
};

static int on_row(void *ctx, int columns, const char *const *names, const char *const *values)
{
    struct row *r = (struct row *)ctx;
    assert_int_equal(columns, 7);
    assert_string_equal(names[0], "step");
    static const char *const steps[] = {"received", "validated", "uploaded", "importing", "all"};
    for (size_t i = 0; i < 5; i++) {
        if (strcmp(values[0], steps[i]) == 0) {
            char *const out[] = {r[i].oldest, r[i].recent, r[i].half, r[i].p95, r[i].longest};
            for (int c = 0; c < 5; c++) {
                (void)snprintf(out[c], 24, "%s", values[c + 2] ? values[c + 2] : "-");
            }
        }
    }
    return 0;
}

static void look(struct fixture *f, struct row rows[5])
{
    struct err e = {0};
    memset(rows, 0, 5 * sizeof rows[0]);
    assert_int_equal(state_report(f->uploader, "wait", NULL, 10, on_row, rows, &e), 0);
}

static void is_as(const struct row *r, const char *recent, const char *half, const char *p95, const char *longest)
{
    assert_string_equal(r->recent, recent);
    assert_string_equal(r->half, half);
    assert_string_equal(r->p95, p95);
    assert_string_equal(r->longest, longest);
}

static void each_step_has_its_times(void **in)
{
    struct fixture *f = *in;
    struct row rows[5];
    look(f, rows);
    for (int i = 0; i < 5; i++) {
        assert_string_equal(rows[i].oldest, "-");
        is_as(&rows[i], "0", "-", "-", "-");
    }
    fill(f, "imported", 100, 60);
    fill(f, "imported", 50, 90000); /* yesterday's do not count */
    fill(f, "received", 3, 700);
    fill(f, "importing", 2, 40);
    look(f, rows);
    assert_in_range(atoi(rows[0].oldest), 699, 710);
    assert_string_equal(rows[1].oldest, "-");
    assert_in_range(atoi(rows[3].oldest), 39, 50);
    is_as(&rows[0], "100", "0.05", "0.095", "0.1");
    is_as(&rows[1], "100", "0.1", "0.19", "0.2");
    is_as(&rows[2], "100", "0.2", "0.38", "0.4");
    is_as(&rows[3], "100", "0.35", "0.665", "0.7");
    is_as(&rows[4], "100", "0.7", "1.33", "1.4");
    /* the way of one that went into a second job was no wait for a validator; a clock that was set back makes no negative time */
    sql(f, "UPDATE instance SET import_attempts = 1 WHERE id = 'imported60.100'; UPDATE instance SET ended_ms = importing_ms - 5000 WHERE id = 'imported60.1'");
    look(f, rows);
    is_as(&rows[0], "99", "0.05", "0.095", "0.099");
    is_as(&rows[3], "100", "0.35", "0.665", "0.7");
}

static void many_rows_cost_nothing(void **in)
{
    struct fixture *f = *in;
    struct row rows[5];
    sqlite3_stmt *q = NULL;
    int lines = 0;
    fill(f, "imported", MANY, 30);
    fill(f, "validated", 10000, 30);
    clock_t begun = clock(); /* of the processor: others may keep the machine busy */
    look(f, rows);
    int64_t took = (int64_t)(clock() - begun) * 1000 / CLOCKS_PER_SEC;
    print_message("v_wait with %d rows: %lld ms\n", MANY, (long long)took);
    assert_in_range(took, 0, LOOK_MS);
    assert_string_equal(rows[4].recent, "1000");
    assert_int_equal(sqlite3_prepare_v2(f->uploader->db, "EXPLAIN QUERY PLAN SELECT * FROM v_wait", -1, &q, NULL), SQLITE_OK);
    while (sqlite3_step(q) == SQLITE_ROW) {
        const char *detail = (const char *)sqlite3_column_text(q, 3);
        bool reads = strncmp(detail, "SCAN instance", 13) == 0 || strncmp(detail, "SEARCH instance", 15) == 0;
        lines += reads;
        if (reads && !strstr(detail, "SEARCH instance USING INDEX instance_state (state=") && !strstr(detail, "SEARCH instance USING COVERING INDEX instance_state (state=")) {
            fail_msg("reads more than a stretch of an index: %s", detail);
        }
    }
    (void)sqlite3_finalize(q);
    assert_int_equal(lines, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_step_has_its_times, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_rows_cost_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
