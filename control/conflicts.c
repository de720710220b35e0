/*
 * conflicts - what is odd about a study as a whole, in words, for `why`, `studies`, `show` and `status`: images that are described differently, and images
 * that are missing. Read only. Of a conflict both values are shown; which of them is right is not ours to say, only which was here first and how many
 * images each has.
 */
#include "control/control.h"
#include "control/table.h"

enum { CONFLICTS_MAX = 50 };

static const char *value_text(const char *value, char *buffer, size_t size)
{
    char clean[280];
    if (!value || !value[0]) {
        return "empty";
    }
    (void)snprintf(buffer, size, "\"%s\"", text_printable(value, clean, sizeof clean));
    return buffer;
}

int conflicts_say(struct state *s, const char *study, struct err *e)
{
    struct table t = {0};
    int rc = table_load(&t, s, "conflicts_of_study", study, CONFLICTS_MAX, e);
    for (size_t r = 0; rc == 0 && r < t.rows; r++) {
        char first[300];
        char other[300];
        char line[1400];
        char place[200] = "";
        char clean[100];
        const char *series = table_get(&t, r, "series_uid");
        const char *destination = table_get(&t, r, "destination");
        long long held = table_number(&t, r, "held");
        if (series) {
            (void)snprintf(place, sizeof place, " of series %s", text_printable(series, clean, sizeof clean));
        }
        size_t used = (size_t)snprintf(line, sizeof line, "Conflict: %s%s is %s in %lld instances (from %.26s on, which was here first)", table_get(&t, r, "element"), place,
                                       value_text(table_get(&t, r, "first_value"), first, sizeof first), table_number(&t, r, "first_instances"),
                                       table_get(&t, r, "first_instance"));
        used += (size_t)snprintf(line + used, sizeof line - used, " and %s in %lld (from %.26s on)", value_text(table_get(&t, r, "value"), other, sizeof other),
                                 table_number(&t, r, "instances"), table_get(&t, r, "instance"));
        if (held > 0) {
            used += (size_t)snprintf(line + used, sizeof line - used, ", %lld of them in quarantine", held);
        }
        if (destination && strcmp(destination, STATE_DESTINATION_DEFAULT) != 0) {
            used += (size_t)snprintf(line + used, sizeof line - used, ", destination %s", destination);
        }
        (void)snprintf(line + used, sizeof line - used, ".");
        table_print_sentence(line, 0, stdout);
    }
    if (rc == 0 && t.rows > 0) {
        table_print_sentence("To do: find out which is right. HealthImaging keeps the two apart, and its searches find only one: correct the other at its source and have it "
                             "sent again, or correct the image sets there.", 0, stdout);
    }
    table_clear(&t);
    return rc;
}

int conflicts_say_instance(struct state *s, const char *id, struct err *e)
{
    struct table t = {0};
    char clean[300];
    int rc = table_load(&t, s, "conflicts_of_instance", id, CONFLICTS_MAX, e);
    for (size_t r = 0; rc == 0 && r < t.rows; r++) {
        (void)printf("Conflict: %s.\n", text_printable(table_get(&t, r, "sentence"), clean, sizeof clean));
    }
    if (rc == 0 && t.rows > 0) {
        (void)printf("Both values: `storescpctl why %s`.\n", text_printable(table_get(&t, 0, "study_uid"), clean, sizeof clean));
    }
    table_clear(&t);
    return rc;
}

json_t *conflicts_json(struct state *s)
{
    struct table t = {0};
    json_t *out = NULL;
    if (table_load(&t, s, "conflicts", NULL, 1, NULL) == 0 && t.rows > 0) {
        out = json_pack("{s:I, s:I}", "instances", (json_int_t)table_number(&t, 0, "instances"), "held", (json_int_t)table_number(&t, 0, "held"));
    }
    table_clear(&t);
    return out;
}

json_t *completeness_json(struct state *s, void (*warn)(void *ctx, const char *sentence), void *ctx)
{
    struct table t = {0};
    json_t *out = NULL;
    if (table_load(&t, s, "completeness", NULL, 1, NULL) == 0 && t.rows > 0) {
        long long named = table_number(&t, 0, "named_recently");
        if (named > 0) {
            char line[200];
            (void)snprintf(line, sizeof line, "%lld studies of the last 7 days lack images that their senders say they sent: `storescpctl studies --short`", named);
            warn(ctx, line);
        }
        out = json_pack("{s:I, s:I, s:I}", "short", (json_int_t)table_number(&t, 0, "short"), "missing", (json_int_t)table_number(&t, 0, "missing"), "arriving",
                        (json_int_t)table_number(&t, 0, "arriving"));
    }
    table_clear(&t);
    return out;
}
