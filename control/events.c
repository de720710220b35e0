/* events - what others are to be told (docs/events.md), for a person: who is told, what waits and why, and to give up what waits. */
#include "common/runtime/runtime.h"
#include "common/state/outbox.h"
#include "control/control.h"
#include "control/table.h"

enum { LIST_LIMIT = 50, UNSEEN_MS = 300000, WEEK_MS = 604800000 };

static int drop(const struct request *q)
{
    struct err e = {0};
    struct state *state = NULL;
    struct table t = {0};
    int64_t count = 0;
    const char *name = q->args[1];
    bool known = false;
    int rc = open_for_person(&state, q, &e);
    rc = rc ? rc : table_load(&t, state, "outbox_targets", NULL, 100, &e);
    for (size_t r = 0; rc == 0 && r < t.rows; r++) {
        known = known || strcmp(table_get(&t, r, "target"), name) == 0;
    }
    rc = rc == 0 && known ? state_outbox_drop(state, name, &count, &e) : rc;
    table_clear(&t);
    state_close(&state);
    if (rc != 0) {
        return complain("%s", e.text);
    }
    if (!known) {
        return complain("nobody called %s is told; `storescpctl events` has the names", name);
    }
    (void)printf("%lld given up. An importer that has %s in its settings tells what comes from now on.\n", (long long)count, name);
    return EXIT_FINE;
}

int command_events(struct request *q)
{
    static const char *const spare[] = {"subject", "next_attempt_utc", "instance", NULL};
    struct err e = {0};
    struct state *state = NULL;
    struct table targets = {0};
    struct table waiting = {0};
    int code = EXIT_FINE;
    if (q->arg_count > 0) {
        return q->arg_count == 2 && strcmp(q->args[0], "drop") == 0 ? drop(q) : complain("events, or events drop webhook|sqs|dynamodb");
    }
    int rc = open_for_reading(&state, q->home, &e);
    rc = rc ? rc : table_load(&targets, state, "outbox_targets", NULL, 100, &e);
    rc = rc ? rc : table_load(&waiting, state, "outbox", NULL, q->limit ? q->limit : LIST_LIMIT, &e);
    if (rc != 0) {
        code = complain("%s", e.text);
    } else if (q->json) {
        json_t *all = json_pack("{s:o, s:o}", "targets", table_json(&targets), "waiting", table_json(&waiting));
        code = all && json_dumpf(all, stdout, JSON_INDENT(2)) == 0 ? EXIT_FINE : complain("cannot write the answer");
        (void)putchar('\n');
        json_decref(all);
    } else if (targets.rows == 0) {
        (void)puts("nobody is told of anything: events_webhook_url, events_sqs_queue_url, dynamodb_table");
    } else {
        for (size_t r = 0; r < targets.rows; r++) {
            (void)printf("%-9s %lld wait%s\n", table_get(&targets, r, "target"), table_number(&targets, r, "waiting"),
                         table_get(&targets, r, "error_code") ? ", the first one in vain" : "");
        }
        (void)putchar('\n');
        if (waiting.rows > 0) {
            table_print(&waiting, NULL, spare, NULL, stdout);
        }
    }
    table_clear(&targets);
    table_clear(&waiting);
    state_close(&state);
    return code;
}

/* One target's line of trouble; false if there is none. */
static bool trouble(const struct table *t, size_t r, char *sentence, size_t size)
{
    const char *name = table_get(t, r, "target");
    const char *code = table_get(t, r, "error_code");
    long long waiting = table_number(t, r, "waiting");
    int64_t now = clock_wall_ms();
    char clean[330]; /* all of it: the remedy stands at its end */
    char age[32];
    if (waiting > 0 && now - table_number(t, r, "seen_ms") > UNSEEN_MS) {
        (void)snprintf(sentence, size, "%lld wait to be told to %s, and no importer that runs has it in its settings: put it back, or "
                       "`storescpctl events drop %s`", waiting, name, name);
        return true;
    }
    if (waiting > 0 && code) {
        bool person = err_class_of(err_code_of(code)) == ERR_CLASS_CONFIG || err_class_of(err_code_of(code)) == ERR_CLASS_REFUSE;
        (void)snprintf(sentence, size, "%lld wait to be told to %s, for %s: %s: %s. %s", waiting, name,
                       text_age(now - table_number(t, r, "oldest_ms"), age, sizeof age), code,
                       text_printable(table_get(t, r, "error_text"), clean, sizeof clean),
                       person ? "Correct that; it goes on by itself. `storescpctl events`" : "It goes on by itself. `storescpctl events`");
        return true;
    }
    return false;
}

void events_warn(struct state *s, void (*warn)(void *ctx, const char *sentence), void *ctx)
{
    struct table t = {0};
    char sentence[700];
    if (table_load(&t, s, "outbox_targets", NULL, 100, NULL) == 0) {
        for (size_t r = 0; r < t.rows; r++) {
            if (trouble(&t, r, sentence, sizeof sentence)) {
                warn(ctx, sentence);
            }
            long long given_up = table_number(&t, r, "given_up");
            if (given_up > 0 && clock_wall_ms() - table_number(&t, r, "given_up_ms") < WEEK_MS) {
                (void)snprintf(sentence, sizeof sentence, "%lld could not be told to %s and were given up, the last in this week (events_keep_s, "
                               "events_keep_count): `storescpctl studies` shows what became of them", given_up, table_get(&t, r, "target"));
                warn(ctx, sentence);
            }
        }
    }
    table_clear(&t);
}

json_t *events_json(struct state *s)
{
    static const char *const numbers[] = {"waiting", "oldest_ms", "given_up"};
    struct table t = {0};
    json_t *all = json_object();
    if (s && table_load(&t, s, "outbox_targets", NULL, 100, NULL) == 0) {
        for (size_t r = 0; r < t.rows; r++) {
            json_t *one = json_object();
            for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
                (void)json_object_set_new(one, numbers[i], json_integer(table_number(&t, r, numbers[i])));
            }
            if (table_get(&t, r, "error_code")) {
                (void)json_object_set_new(one, "error_code", json_string(table_get(&t, r, "error_code")));
            }
            (void)json_object_set_new(all, table_get(&t, r, "target"), one);
        }
    }
    table_clear(&t);
    return all;
}
