/* commitments - storage commitments for a person: the list, what `status` warns of, what `why` tells of one instance. Read only. */
#include "control/control.h"
#include "control/table.h"

enum { LIST_LIMIT = 50, TOLD_MAX = 3 };

int command_commitments(struct request *q)
{
    static const char *const spare[] = {"ended_utc", "point", "requested_utc", "error_code", NULL};
    struct err e = {0};
    struct state *state = NULL;
    struct table t = {0};
    int code = EXIT_FINE;
    int rc = open_for_reading(&state, q->home, &e);
    rc = rc == 0 ? table_load(&t, state, "commitments", NULL, q->limit ? q->limit : LIST_LIMIT, &e) : rc;
    if (rc != 0) {
        code = complain("%s", e.text);
    } else if (q->json) {
        json_t *all = table_json(&t);
        code = all && json_dumpf(all, stdout, JSON_INDENT(2)) == 0 ? EXIT_FINE : complain("cannot write the answer");
        (void)putchar('\n');
        json_decref(all);
    } else if (t.rows == 0) {
        (void)puts("nobody asked for storage commitment yet");
    } else {
        table_print(&t, NULL, spare, NULL, stdout);
    }
    table_clear(&t);
    state_close(&state);
    return code;
}

void commitments_warn(struct state *s, void (*warn)(void *ctx, const char *sentence), void *ctx)
{
    struct table t = {0};
    char sentence[400];
    char clean[200];
    if (table_load(&t, s, "commitment_trouble", NULL, 1, NULL) == 0 && t.rows > 0) {
        long long undelivered = table_number(&t, 0, "undelivered");
        long long given_up = table_number(&t, 0, "given_up");
        if (undelivered > 0) {
            (void)snprintf(sentence, sizeof sentence, "%lld storage commitments could not be reported yet: %s; `storescpctl commitments`", undelivered,
                           text_printable(table_get(&t, 0, "example"), clean, sizeof clean));
            warn(ctx, sentence);
        }
        if (given_up > 0) {
            (void)snprintf(sentence, sizeof sentence, "%lld storage commitments were given up in the last week: the senders must ask again; `storescpctl "
                           "commitments`, and correct commitment_address", given_up);
            warn(ctx, sentence);
        }
    }
    table_clear(&t);
}

/* Failure Reason (0008,1197), PS3.3 section C.14.1.1. */
static const char *reason_text(long long reason)
{
    static const struct {
        long long reason;
        const char *text;
    } all[] = {{0, "committed"},
               {0x110, "failed: it was refused here"},
               {0x112, "failed: it had not come"},
               {0x119, "failed: asked for under another SOP class"},
               {0x131, "failed: the Transaction UID was in use"},
               {0x213, "failed: it had not got so far in commitment_wait_s"}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (all[i].reason == reason) {
            return all[i].text;
        }
    }
    return "failed";
}

int commitments_say(struct state *s, const char *sop_instance_uid, struct err *e)
{
    struct table t = {0};
    char text[400];
    int rc = table_load(&t, s, "commitments_of", sop_instance_uid, TOLD_MAX, e);
    for (size_t r = 0; rc == 0 && r < t.rows; r++) {
        const char *state = table_get(&t, r, "state");
        (void)printf("Storage commitment: asked by %s", text_printable(table_get(&t, r, "calling_ae"), text, sizeof text));
        (void)printf(" %s; ", text_time(table_number(&t, r, "requested_ms"), text, sizeof text));
        (void)printf("%s; ", table_get(&t, r, "reason") ? reason_text(table_number(&t, r, "reason")) : "not decided yet");
        if (state && strcmp(state, "reported") == 0) {
            (void)printf("reported %s", text_time(table_number(&t, r, "ended_ms"), text, sizeof text));
        } else {
            (void)printf("%s", state && strcmp(state, "given_up") == 0 ? "the report was given up" : "not reported yet");
        }
        const char *error = table_get(&t, r, "error_text");
        (void)printf("%s%s.\n", error ? ": " : "", error ? text_printable(error, text, sizeof text) : "");
    }
    table_clear(&t);
    return rc;
}
