/*
 * why - `why ID|UID`: one plain story for support. Where it is, since when, what happened last, who works on it, what to press.
 * The remedy of each error stands in the table below, in words of this program's commands. Read only.
 */
#include "common/runtime/rule_list.h"
#include "common/runtime/runtime.h"
#include "control/control.h"
#include "control/table.h"

#include <ctype.h>

enum { WHY_MAX = 10, STUDY_MAX = 100000, PLACES_MAX = 4 };

static const char ask_doctor[] = "`storescpctl doctor` says which setting or right to correct; after a change in storescp.conf `storescpctl reload`; it goes on "
                                 "by itself then";

/* What a person does about an error; %s is what to give to storescpctl. NULL sentence: the class below says it. */
static const struct {
    int code;
    const char *remedy;
} remedies[] = {
    {ERR_UID_REUSED, "ask the sender which of the two is right; to import this one too: `storescpctl retry %s --accept`"},
    {ERR_UID_ELSEWHERE, "ask the sender where this image belongs; to import this one too: `storescpctl retry %s --accept`"},
    {ERR_SPOOL_MISSING, "the file is lost here: have it sent again by the modality; then this row only tells the story (%s)"},
    {ERR_SPOOL_DAMAGED, "check the disk (dmesg, smartctl) and have it sent again by the modality; this row only tells the story (%s)"},
    {ERR_DICOM_SYNTAX, "have it sent in another transfer syntax (conformance statement); `storescpctl retry %s` judges it again"},
    {ERR_DISK_FULL, "free space or enlarge the spool's disk; it goes on by itself; at once: `storescpctl retry %s`"},
    {ERR_IMPORT_JOB_FAILED, "look at the job: `storescpctl show %s`; when its cause is healed: `storescpctl retry` with the same id"},
    {ERR_IMPORT_REFUSED, "HealthImaging's words are above; when it would take the file now: `storescpctl retry %s`"},
    {ERR_IMPORT_OVERDUE, "look at the job in HealthImaging; it is followed on. To give it up and import its images anew: `storescpctl retry %s --job`"},
    {ERR_AWS_CLOCK, "run a time service (chrony) on this machine; it goes on by itself; ended ones: `storescpctl retry %s`"},
};

static void say_remedy(int code, const char *state, const char *id)
{
    bool has_ended = strcmp(state, "quarantined") == 0 || strcmp(state, "failed") == 0;
    for (size_t i = 0; i < sizeof remedies / sizeof remedies[0]; i++) {
        if (remedies[i].code == code) {
            const char *at = strstr(remedies[i].remedy, "%s");
            (void)printf("To do: %.*s%s%s.\n", (int)(at - remedies[i].remedy), remedies[i].remedy, id, at + 2);
            return;
        }
    }
    if (strcmp(state, "imported") == 0 || strcmp(state, "stored") == 0 || strcmp(state, "duplicate") == 0) {
        (void)printf("To do: nothing.\n");
    } else if (has_ended) {
        (void)printf("To do: heal the cause, then `storescpctl retry %s`. If it cannot be healed, have it sent again.\n", id);
    } else if (err_class_of(code) == ERR_CLASS_CONFIG) {
        (void)printf("To do: %s.\n", ask_doctor);
    } else if (err_class_of(code) == ERR_CLASS_BUG) {
        (void)printf("To do: this must not happen; report it with `storescpctl show %s --json`.\n", id);
    } else {
        (void)printf("To do: nothing; it is tried again without end.\n");
    }
}

static const char *where(const char *state)
{
    static const char *const sentences[][2] = {
        {"received", "is safe in the spool and waits for a validator"},
        {"validated", "is judged good and waits to be uploaded"},
        {"uploaded", "is in S3 and waits for its batch's import job"},
        {"importing", "is in S3, in a batch whose import job is being started or runs"},
        {"imported", "is in HealthImaging: done"},
        {"stored", "is stored at its destination, which imports nothing: done"},
        {"duplicate", "came again with the same content and is not imported twice"},
        {"quarantined", "was set aside: HealthImaging could not take it as it is"},
        {"failed", "could not be imported"},
    };
    for (size_t i = 0; i < sizeof sentences / sizeof sentences[0]; i++) {
        if (strcmp(sentences[i][0], state) == 0) {
            return sentences[i][1];
        }
    }
    return "is in a state this version does not know";
}

static size_t living_of(const char *home, enum state_stage stage)
{
    static struct living found[WORKERS_MAX];
    size_t count = workers_living(home, found, WORKERS_MAX);
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        n += found[i].stage == stage;
    }
    return n;
}

const char *waiting_remedy(const char *why)
{
    char name[48] = "";
    const char *colon = why && islower((unsigned char)why[0]) ? strstr(why, ": ") : NULL; /* an importer says first what it was doing */
    int code = why && sscanf(colon ? colon + 2 : why, "%47[A-Z0-9_]:", name) == 1 ? err_code_of(name) : 0;
    if (code == ERR_NETWORK || code == ERR_TIMEOUT) {
        return "nothing while it recovers, it goes on by itself; if it lasts: check network, proxy and endpoint_url";
    }
    if (code == 0 || code == ERR_CONFIG) {
        return "correct what it says in storescp.conf, then `storescpctl reload`";
    }
    if (err_class_of(code) == ERR_CLASS_CONFIG) {
        return ask_doctor;
    }
    return "nothing; it goes on by itself";
}

bool waiting_part(const char **at, char *destination, size_t destination_size, char *why, size_t why_size)
{
    const char *p = *at;
    destination[0] = '\0';
    if (strncmp(p, "waiting: ", 9) == 0) {
        p += 9;
    } else if (strncmp(p, "; [", 3) == 0) {
        p += 2;
    } else {
        return false;
    }
    if (*p == '[' && strchr(p, ']')) {
        size_t length = strcspn(p + 1, "]");
        (void)snprintf(destination, destination_size, "%.*s", (int)length, p + 1);
        p += length + 2;
        p += *p == ' ';
    }
    const char *end = strstr(p, "; [");
    size_t length = end ? (size_t)(end - p) : strlen(p);
    (void)snprintf(why, why_size, "%.*s", (int)length, p);
    *at = p + length;
    return true;
}

/* What the living workers of the stage wait for with instances of that destination, if they say so. True if one did. */
static bool say_waiting(struct state *s, const char *stage, const char *destination)
{
    struct table t = {0};
    char name[100];
    char clean[400];
    char why[400];
    char place[60];
    bool found = false;
    (void)table_load(&t, s, "workers", NULL, 1000, NULL);
    for (size_t r = 0; r < t.rows && !found; r++) {
        const char *of = table_get(&t, r, "stage");
        const char *status = table_get(&t, r, "status");
        bool is_ours = of && status && strcmp(of, stage) == 0;
        while (is_ours && !found && waiting_part(&status, place, sizeof place, why, sizeof why)) {
            found = !place[0] || strcmp(place, destination) == 0;
        }
        if (found) {
            (void)printf("Who: nobody at this moment; %s is waiting", text_printable(table_get(&t, r, "name"), name, sizeof name));
            (void)printf("%s%s: %s.\nTo do: %s.\n", place[0] ? " with destination " : "", place, text_printable(why, clean, sizeof clean), waiting_remedy(why));
        }
    }
    table_clear(&t);
    return found;
}

/* Who has it, or who should take it. */
static void say_worker(const struct request *q, struct state *s, const struct table *t, const char *state)
{
    const char *owner = table_get(t, 0, "owner");
    const char *destination = table_get(t, 0, "destination");
    char clean[200];
    int stage = strcmp(state, "received") == 0 ? STAGE_VALIDATOR : strcmp(state, "validated") == 0 ? STAGE_UPLOADER
                : strcmp(state, "uploaded") == 0 || strcmp(state, "importing") == 0 ? STAGE_IMPORTER : -1;
    if (stage < 0) {
        return;
    }
    if (owner && owner[0]) {
        (void)printf("Who: %s works on it%s.\n", text_printable(owner, clean, sizeof clean),
                     worker_is_living(q->home, owner) ? "" : ", but is dead; the next worker takes it over by itself");
    } else if (living_of(q->home, (enum state_stage)stage) == 0) {
        const char *name = state_stage_name((enum state_stage)stage);
        if (supervisor_is_living(q->home)) {
            (void)printf("Who: nobody, no %s is alive. To do: `storescpctl scale %s 1`, and look at the log of `up`.\n", name, name);
        } else {
            (void)printf("Who: nobody, no %s is alive. To do: `storescpctl up`.\n", name);
        }
    } else if (!say_waiting(s, state_stage_name((enum state_stage)stage), destination ? destination : "")) {
        (void)printf("Who: nobody at this moment; %zu %s alive.\n", living_of(q->home, (enum state_stage)stage),
                     state_stage_name((enum state_stage)stage));
    }
}

static void say_line(const struct table *t, const char *column, const char *title)
{
    char clean[700];
    const char *value = table_get(t, 0, column);
    if (value && value[0]) {
        (void)printf("%s: %s\n", title, text_printable(value, clean, sizeof clean));
    }
}

const char *remedy_for(const char *remedy, const char *id, char *buffer, size_t size)
{
    static const char *const verbs[] = {"retry ID", "release ID", "fix ID", "show ID", "drop ID"}; /* written before the id was known */
    char clean[700];
    size_t used = (size_t)snprintf(buffer, size, "To do: ");
    const char *at = text_printable(remedy, clean, sizeof clean);
    while (*at && used + 1 < size) {
        size_t verb = 0;
        for (size_t i = 0; i < sizeof verbs / sizeof verbs[0] && !verb; i++) {
            verb = strncmp(at, verbs[i], strlen(verbs[i])) == 0 ? strlen(verbs[i]) - 2 : 0;
        }
        if (verb) {
            int n = snprintf(buffer + used, size - used, "%.*s%s", (int)verb, at, id);
            used = n >= 0 && (size_t)n < size - used ? used + (size_t)n : size - 1;
            at += verb + 2;
        } else {
            buffer[used++] = *at++;
        }
    }
    buffer[used] = '\0';
    return buffer;
}

static void say_error(const struct table *t, const char *name_column, const char *text_column, const char *state, const char *id)
{
    const char *name = table_get(t, 0, name_column);
    char clean[700];
    if (name && name[0]) {
        int code = err_code_of(name);
        (void)printf("Because: %s (%s).\n", code ? err_sentence(code) : "an error this version does not know",
                     text_printable(name, clean, sizeof clean));
        say_line(t, text_column, "In detail");
        const char *remedy = table_get(t, 0, "remedy");
        if (remedy && remedy[0]) {
            char line[800];
            (void)puts(remedy_for(remedy, id, line, sizeof line));
            return;
        }
        say_remedy(code, state, id);
    }
}

/* What a closed batch waits for: it starts when everything in it is uploaded and nothing is held. */
static int say_what_holds_up(struct state *s, const char *batch, struct err *e)
{
    struct table t = {0};
    char clean[80];
    int rc = table_load(&t, s, "batch_waits", batch, 1, e);
    if (rc == 0 && t.rows > 0 && table_number(&t, 0, "held") > 0) {
        (void)printf("It waits for %lld held instances of this batch. To do: ", table_number(&t, 0, "held"));
        (void)printf("`storescpctl release %s`", text_printable(table_get(&t, 0, "held_id"), clean, sizeof clean));
        (void)printf(" (all: `storescpctl show %s`).\n", batch);
    } else if (rc == 0 && t.rows > 0 && table_number(&t, 0, "not_uploaded") > 0) {
        (void)printf("It waits for %lld instances of this batch that are not yet in S3, ", table_number(&t, 0, "not_uploaded"));
        (void)printf("for example %s: `storescpctl why` with this id.\n", text_printable(table_get(&t, 0, "not_uploaded_id"), clean, sizeof clean));
    }
    table_clear(&t);
    return rc;
}

/* The batch and job of an instance that waits for HealthImaging. */
static int say_batch(struct state *s, const char *batch, const char *id, struct err *e)
{
    struct table t = {0};
    char clean[200];
    char when[80];
    int rc = table_load(&t, s, "batch", batch, 1, e);
    if (rc == 0 && t.rows > 0) {
        const char *state = table_get(&t, 0, "state");
        const char *job = table_get(&t, 0, "jobId");
        (void)printf("Batch: %s", text_printable(batch, clean, sizeof clean));
        (void)printf(" is %s", text_printable(state, clean, sizeof clean));
        (void)printf(", import job %s", job ? text_printable(job, clean, sizeof clean) : "not started yet");
        const char *status = table_get(&t, 0, "jobStatus");
        (void)printf("%s%s.\n", status ? " " : "", status ? text_printable(status, clean, sizeof clean) : "");
        say_line(&t, "message", "HealthImaging says");
        const char *error = table_get(&t, 0, "error_code");
        bool is_overdue = error && err_code_of(error) == ERR_IMPORT_OVERDUE; /* what a person does is about the batch then */
        say_error(&t, "error_code", "error_text", "", is_overdue ? batch : id);
        if (table_number(&t, 0, "studies") > 1) {
            (void)printf("It is shared by %lld studies: more batches waited for the start of their job than batch_share_above_s allows.\n", table_number(&t, 0, "studies"));
        }
        if (state && strcmp(state, "open") == 0 && !table_get(&t, 0, "study_uid")) {
            (void)printf("It takes more of small studies until it is batch_quiet_ms old; it was opened %s. Then its job starts (at once: `storescpctl close %s`).\n",
                         text_time(table_number(&t, 0, "opened_ms"), when, sizeof when), batch);
        } else if (state && strcmp(state, "open") == 0) {
            (void)printf("It takes more of its study until batch_%squiet_ms have passed without one; the last came %s. Then its job starts (at once: "
                         "`storescpctl close %s`).\n", table_number(&t, 0, "urgent") ? "urgent_" : "", text_time(table_number(&t, 0, "last_added_ms"), when, sizeof when), batch);
        }
        rc = state && strcmp(state, "closed") == 0 ? say_what_holds_up(s, batch, e) : 0;
    }
    table_clear(&t);
    return rc;
}

/* The other instance of the same SOP Instance UID, and how it stands: of a duplicate that is the whole story. */
static int say_twin(struct state *s, const struct table *t, struct err *e)
{
    struct table twin = {0};
    char clean[80];
    const char *id = table_get(t, 0, "twin");
    int rc = id && id[0] ? table_load(&twin, s, "instance", id, 1, e) : 0;
    if (rc == 0 && id && id[0]) {
        const char *state = twin.rows > 0 ? table_get(&twin, 0, "state") : NULL;
        bool is_refused = state && (strcmp(state, "quarantined") == 0 || strcmp(state, "failed") == 0);
        (void)printf("The other one: %s is %s.\n", text_printable(id, clean, sizeof clean), state ? state : "not known any more");
        if (is_refused) {
            (void)printf("To do: `storescpctl why %s`.\n", clean);
        }
    }
    table_clear(&twin);
    return rc;
}

/* The rules that were broken, but for the one that is told as the reason. */
static int say_findings(struct state *s, const struct table *t, const char *id, struct err *e)
{
    struct table found = {0};
    char clean[400];
    const char *told = table_get(t, 0, "error_text");
    int rc = table_load(&found, s, "findings", id, 100, e);
    for (size_t r = 0; rc == 0 && r < found.rows; r++) {
        const char *name = table_get(&found, r, "rule");
        const char *text = table_get(&found, r, "text");
        const struct rule *rule = name ? rule_named(name) : NULL;
        if (text && (!told || strcmp(text, told) != 0)) {
            (void)printf("Rule %s (%s): %s.", name ? name : "-", table_get(&found, r, "severity"), text_printable(text, clean, sizeof clean));
            (void)printf("%s%s%s\n", rule && !strstr(text, rule->remedy) ? " To do: " : "", rule && !strstr(text, rule->remedy) ? rule->remedy : "",
                         rule && !strstr(text, rule->remedy) ? "." : "");
        }
    }
    table_clear(&found);
    return rc;
}

static int why_instance(const struct request *q, struct state *s, const char *id, struct err *e)
{
    struct table t = {0};
    struct table past = {0};
    char text[700];
    int rc = table_load(&t, s, "instance", id, 1, e);
    rc = rc == 0 ? table_load(&past, s, "history", id, 1000, e) : rc;
    if (rc == 0 && t.rows > 0) {
        const char *state = table_get(&t, 0, "state");
        const char *batch = table_get(&t, 0, "batch");
        state = state ? state : "";
        bool waits_for_import = strcmp(state, "uploaded") == 0 || strcmp(state, "importing") == 0;
        (void)printf("Instance %s %s (%s", id, where(state), state);
        (void)printf(" since %s).\n", text_time(table_number(&t, 0, "changed_ms"), text, sizeof text));
        if (config_destination_at(q->config, 1) && strcmp(state, "received") != 0) {
            say_line(&t, "destination", "Destination");
        }
        if (past.rows > 0) {
            size_t r = past.rows - 1;
            (void)printf("Last: %s", text_time(table_number(&past, r, "at_ms"), text, sizeof text));
            const char *to = table_get(&past, r, "to_state");
            const char *code = table_get(&past, r, "code");
            if (to && to[0]) {
                (void)printf(", %s", text_printable(table_get(&past, r, "from_state"), text, sizeof text));
                (void)printf(" -> %s", text_printable(to, text, sizeof text));
            } else { /* no step: an attempt that failed, or a person's decision */
                (void)printf(", %s", text_printable(code ? code : "", text, sizeof text));
            }
            (void)printf(" by %s", text_printable(table_get(&past, r, "who"), text, sizeof text));
            const char *note = table_get(&past, r, "note");
            const char *told = table_get(&t, 0, "error_text"); /* "In detail" below says it */
            note = note && told && strcmp(note, told) == 0 ? NULL : note;
            (void)printf("%s%s\n", note && note[0] ? ": " : "", note ? text_printable(note, text, sizeof text) : "");
        }
        if (table_number(&t, 0, "held")) {
            (void)printf("It is held; nobody works on it. To do: `storescpctl release %s`.\n", id);
        }
        bool is_dropped = table_number(&t, 0, "dropped_ms") > 0;
        if (is_dropped) {
            (void)printf("It was given up (dropped) %s.", text_time(table_number(&t, 0, "dropped_ms"), text, sizeof text));
            if (table_number(&t, 0, "released_ms") > 0) {
                (void)printf(" Its file is gone.\n");
            } else {
                (void)printf(" `storescpctl retry %s` brings it back.\n", id);
            }
        }
        if (!table_number(&t, 0, "held")) {
            say_worker(q, s, &t, state);
        }
        if (table_number(&t, 0, "attempts") > 0) {
            long long next = table_number(&t, 0, "next_attempt_ms");
            (void)printf("Attempts so far: %lld", table_number(&t, 0, "attempts"));
            (void)printf("%s%s.\n", next > clock_wall_ms() ? "; the next one " : "",
                         next > clock_wall_ms() ? text_time(next, text, sizeof text) : "");
        }
        if (is_dropped) {
            say_line(&t, "error_text", "It had been refused");
        } else if (strcmp(state, "duplicate") != 0) { /* of a duplicate the other one tells */
            say_error(&t, "error_code", "error_text", state, id);
        }
        say_line(&t, "warning", "Note");
        rc = say_findings(s, &t, id, e);
        rc = rc ? rc : say_twin(s, &t, e);
        rc = rc == 0 ? conflicts_say_instance(s, id, e) : rc;
        say_line(&t, "location", "It lies at");
        if (strcmp(state, "imported") == 0) {
            say_line(&t, "image_set_id", "Image set");
            say_line(&t, "image_set_version", "Version");
            if (table_get(&t, 0, "is_primary") && table_number(&t, 0, "is_primary") == 0) {
                (void)printf("It is not in the study's primary image set: its identity disagrees with what HealthImaging had.\n");
            }
        }
        const char *sop = table_get(&t, 0, "sop_instance_uid");
        rc = rc == 0 && sop ? commitments_say(s, sop, e) : rc;
        if (rc == 0 && batch && batch[0] && waits_for_import) {
            rc = say_batch(s, batch, id, e);
        }
        (void)putchar('\n');
    }
    table_clear(&t);
    table_clear(&past);
    return rc;
}

/* What of a study is under way: how many wait where and since when, and the story of the one that has stood still longest. */
static int say_what_waits(const struct request *q, struct state *s, const char *uid, struct err *e)
{
    struct table t = {0};
    char text[100];
    bool several = config_destination_at(q->config, 1) != NULL;
    int rc = table_load(&t, s, "study_waits", uid, PLACES_MAX, e);
    for (size_t r = 0; rc == 0 && r < t.rows; r++) {
        const char *state = table_get(&t, r, "state");
        const char *destination = table_get(&t, r, "destination");
        bool is_known = several && destination && strcmp(state ? state : "", "received") != 0;
        (void)printf("  %lld %s", table_number(&t, r, "instances"), text_printable(state, text, sizeof text));
        (void)printf("%s%s", is_known ? " for destination " : "", is_known ? text_printable(destination, text, sizeof text) : "");
        (void)printf("%s since %s", table_number(&t, r, "held") ? ", held," : "", text_time(table_number(&t, r, "since_ms"), text, sizeof text));
        (void)printf(", for example %s\n", table_get(&t, r, "id"));
    }
    if (rc == 0 && t.rows > 0) {
        (void)printf("The one that has stood still longest:\n");
        rc = why_instance(q, s, table_get(&t, 0, "id"), e);
    }
    table_clear(&t);
    return rc;
}

static int why_study(const struct request *q, struct state *s, const char *uid, struct err *e)
{
    static const char *const parts[] = {"imported", "stored", "duplicate", "under_way", "quarantined", "failed"};
    struct table t = {0};
    struct table all = {0};
    char text[300];
    int rc = table_load(&t, s, "study", uid, 1, e);
    rc = rc == 0 ? table_load(&all, s, "instances_of_study", uid, STUDY_MAX, e) : rc;
    if (rc == 0 && t.rows > 0) {
        (void)printf("Study %s: ", text_printable(uid, text, sizeof text));
        (void)printf("%s.\n%lld instances:", text_printable(table_get(&t, 0, "verdict"), text, sizeof text),
                     table_number(&t, 0, "instances"));
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            long long n = table_number(&t, 0, parts[i]);
            if (n > 0) {
                (void)printf(" %lld %s", n, strcmp(parts[i], "under_way") == 0 ? "under way" : parts[i]);
            }
        }
        (void)printf("\n");
        if (config_destination_at(q->config, 1)) {
            say_line(&t, "destinations", "Destinations");
        }
        if (table_number(&t, 0, "missing") > 0) {
            char reason[1000];
            (void)printf("Short by %lld images of %lld: %s.\nTo do: have its sender send it again; what is here already is kept once.\n", table_number(&t, 0, "missing"),
                         table_number(&t, 0, "expected"), text_printable(table_get(&t, 0, "missing_reason"), reason, sizeof reason));
        }
        rc = rc == 0 ? conflicts_say(s, uid, e) : rc;
        int shown = 0;
        for (size_t r = 0; r < all.rows && shown < WHY_MAX; r++) {
            const char *state = table_get(&all, r, "state");
            const char *error = table_get(&all, r, "error_code");
            bool has_ended_well = state && (strcmp(state, "imported") == 0 || strcmp(state, "stored") == 0 || strcmp(state, "duplicate") == 0);
            if (error && error[0] && !has_ended_well) {
                (void)printf("  %s", text_printable(table_get(&all, r, "id"), text, sizeof text));
                (void)printf(" %s %s", state ? state : "-", text_printable(error, text, sizeof text));
                (void)printf(": %s\n", err_sentence(err_code_of(error)));
                shown++;
            }
        }
        if (shown > 0) {
            (void)printf("To do: `storescpctl why` with one of these ids.%s\n", shown == WHY_MAX ? " There may be more." : "");
        }
        if (table_number(&t, 0, "under_way") > 0) { /* the story closes with an empty line itself */
            rc = say_what_waits(q, s, uid, e);
        } else {
            (void)putchar('\n');
        }
    }
    table_clear(&t);
    table_clear(&all);
    return rc;
}

int command_why(struct request *q)
{
    struct err e = {0};
    struct state *state = NULL;
    struct table found = {0};
    int code = EXIT_FINE;
    int rc = open_for_reading(&state, q->home, &e);
    rc = rc == 0 ? table_load(&found, state, "find", q->args[0], WHY_MAX, &e) : rc;
    for (size_t i = 0; rc == 0 && i < found.rows; i++) {
        const char *kind = table_get(&found, i, "kind");
        const char *id = table_get(&found, i, "id");
        if (kind && id && strcmp(kind, "instance") == 0) {
            rc = why_instance(q, state, id, &e);
        } else if (kind && id && strcmp(kind, "study") == 0) {
            rc = why_study(q, state, id, &e);
        } else if (kind && id && strcmp(kind, "batch") == 0) {
            rc = say_batch(state, id, id, &e);
        }
    }
    if (rc != 0) {
        code = complain("%s", e.text);
    } else if (found.rows == 0) {
        code = complain("nothing is known under %.200s: it did not arrive here, or under another id", q->args[0]);
    }
    table_clear(&found);
    state_close(&state);
    return code;
}
