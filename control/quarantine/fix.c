/*
 * fix - `quarantine fix`: a person corrects named elements of an instance, of a study's instances, or of what an AE title sends from now on. `quarantine
 * rules`: what was ordered, and its end.
 *
 * An order is a row of fix_rule; the validator applies it before it judges (validator/fix.c), so this program may be killed at any moment: there is an
 * order or there is none. Before it is written the correction is tried on the file (--dry-run: on up to TRIED_MAX of a study, and shown): what cannot be
 * written so is said now and not in a log of tomorrow. Old and new values are shown on the terminal of whoever asks, and nowhere else.
 */
#include "common/dicom/edit.h"
#include "common/dicom/scan.h"
#include "common/runtime/runtime.h"
#include "common/spool/spool.h"
#include "common/state/quarantine.h"
#include "control/control.h"
#include "control/table.h"

#include <unistd.h>

enum { TRIED_MAX = 20, RULES_LIMIT = 50 };

struct order {
    const struct request *q;
    struct edit_plan *plan;
    struct state_fix fix;
    long long tried;
};

/* The words of the command line as common/dicom/edit.h reads them: set 0010,0020="..." | remove 0008,0050. */
static int write_actions(const struct request *q, char *out, size_t size, struct err *e)
{
    size_t used = 0;
    for (int i = 0; i < q->edit_count; i++) {
        const struct edit_words *w = &q->edits[i];
        const char *value = strchr(w->text, '=');
        bool is_set = strcmp(w->verb, "set") == 0;
        if (is_set != (value != NULL) || strcspn(w->text, "|\"=") < (value ? (size_t)(value - w->text) : strlen(w->text))) {
            return err_set(e, ERR_CONFIG, 0, "--%s %.100s: want --set TAG=VALUE, --remove TAG or --empty TAG", w->verb, w->text);
        }
        used += (size_t)snprintf(out + used, size - used, "%s%s %.*s", i ? " | " : "", w->verb, value ? (int)(value - w->text) : 200, w->text);
        if (used + 8 < size && value) {
            used += (size_t)snprintf(out + used, size - used, "=\"");
            for (const char *p = value + 1; *p && used + 8 < size; p++) {
                out[used++] = *p;
                if (*p == '"') {
                    out[used++] = '"';
                }
            }
            used += (size_t)snprintf(out + used, size - used, "\"");
        }
        if (used + 8 >= size) {
            return err_set(e, ERR_CONFIG, 0, "these corrections are longer than %zu characters: order them one after the other", size);
        }
    }
    return 0;
}

/* What becomes of one file, on the terminal. */
static void show_changes(const struct edited *d, const char *id)
{
    char old_value[400];
    char new_value[400];
    (void)printf("%s: %zu elements change\n", id, d->change_total);
    for (size_t i = 0; i < d->change_count; i++) {
        const struct edit_change *c = &d->changes[i];
        (void)printf("  (%s) %s %s: %s -> ", c->path, c->vr, c->action, c->old_value ? text_printable(c->old_value, old_value, sizeof old_value) : "not there");
        (void)printf("%s\n", c->new_value ? text_printable(c->new_value, new_value, sizeof new_value) : "not there");
    }
}

/* Tries the correction on the file of an instance; nothing is written. */
static int try_one(void *ctx, struct state *s, const char *id, const char *code, bool *did, struct err *e)
{
    struct order *o = ctx;
    struct edited d = {0};
    struct dicom_scan scan;
    (void)s;
    (void)code;
    *did = true;
    if (o->tried++ >= TRIED_MAX) {
        return 0;
    }
    int fd = spool_open(o->q->home, id, e);
    int rc = fd < 0 ? fd : dicom_scan_fd(fd, &scan, e); /* what the bounded reader does not pass is not for the editor */
    rc = rc ? rc : edit_apply(fd, o->plan, &d, e);
    if (rc == 0 && o->q->dry_run) {
        show_changes(&d, id);
    }
    edit_clear(&d);
    if (fd >= 0) {
        (void)close(fd);
    }
    return rc;
}

static int move_file(void *ctx, struct state *s, const char *id, const char *code, bool *did, struct err *e)
{
    const struct order *o = ctx;
    (void)s;
    (void)code;
    *did = true;
    return spool_unquarantine(o->q->home, id, e);
}

/* A person's words, an order: the plan and what is written into the row. */
static int prepare(struct request *q, struct order *o, struct err *e)
{
    o->q = q;
    o->fix.kind = q->all_of ? FIX_AE : q->study ? FIX_STUDY : FIX_INSTANCE;
    o->fix.since_ms = clock_wall_ms();
    (void)snprintf(o->fix.match, sizeof o->fix.match, "%s", q->all_of ? q->all_of : q->study ? q->study : q->args[1]);
    (void)snprintf(o->fix.reason, sizeof o->fix.reason, "%s", q->reason ? q->reason : "");
    int rc = write_actions(q, o->fix.actions, sizeof o->fix.actions, e);
    rc = rc ? rc : edit_plan_new(&o->plan, e);
    return rc ? rc : edit_plan_add(o->plan, o->fix.actions, "a person", e);
}

static int order(struct request *q, struct order *o, struct state *s, struct err *e)
{
    long long count = 0;
    int64_t id = 0;
    int64_t sent = 0;
    int rc = o->fix.kind == FIX_AE ? 0 : quarantine_each(q, s, try_one, o, &count, e);
    if (rc == 0 && o->fix.kind != FIX_AE && count == 0 && (q->dry_run || o->fix.kind == FIX_INSTANCE)) {
        return err_set(e, ERR_NOT_FOUND, 0, "nothing is quarantined under %.80s", o->fix.match);
    }
    if (rc != 0 || q->dry_run) {
        if (rc == 0) {
            (void)puts(o->fix.kind == FIX_AE ? "the words can be understood; nothing was ordered (--dry-run)" : "nothing was written (--dry-run)");
        }
        return rc;
    }
    rc = o->fix.kind == FIX_AE ? 0 : quarantine_each(q, s, move_file, o, &count, e);
    rc = rc ? rc : state_fix_add(s, &o->fix, &id, &sent, e);
    if (rc == 0 && o->fix.kind == FIX_INSTANCE && sent == 0) {
        return err_set(e, ERR_NOT_FOUND, 0, "it is not quarantined any more");
    }
    if (rc == 0) {
        (void)printf("order %lld: ", (long long)id);
        (void)printf(o->fix.kind == FIX_AE ? "what %s sends from now on is corrected, until `storescpctl quarantine rules stop %lld`\n" : "", o->fix.match, (long long)id);
        if (o->fix.kind == FIX_STUDY) {
            (void)printf("%lld instances are corrected and judged again, and what comes of the study, until `storescpctl quarantine rules stop %lld`\n", (long long)sent,
                         (long long)id);
        } else if (o->fix.kind == FIX_INSTANCE) {
            (void)puts("it is corrected and judged again; `storescpctl quarantine show` with its id tells how it went");
        }
    }
    return rc;
}

int quarantine_fix(struct request *q)
{
    static struct order o;
    struct err e = {0};
    struct state *state = NULL;
    if (q->edit_count == 0 || (!q->reason && !q->dry_run)) {
        (void)complain("quarantine fix wants --set TAG=VALUE, --remove TAG or --empty TAG, and --reason TEXT: whoever asks in a year shall find it");
        return EXIT_USAGE;
    }
    int rc = prepare(q, &o, &e);
    rc = rc ? rc : q->dry_run ? open_for_reading(&state, q->home, &e) : open_for_person(&state, q, &e);
    rc = rc ? rc : order(q, &o, state, &e);
    state_close(&state);
    edit_plan_free(&o.plan);
    return rc == 0 ? EXIT_FINE : complain("%s", e.text);
}

static int list_rules(const struct request *q, struct state *s, struct err *e)
{
    static const char *const spare[] = {"stopped_by", "at_ms", NULL};
    struct table t = {0};
    int rc = table_load(&t, s, "fix_rules", NULL, q->limit ? q->limit : RULES_LIMIT, e);
    if (rc == 0 && q->json) {
        json_t *all = table_json(&t);
        rc = all && json_dumpf(all, stdout, JSON_INDENT(2)) == 0 ? 0 : err_set(e, ERR_IO, 0, "cannot write the answer");
        (void)putchar('\n');
        json_decref(all);
    } else if (rc == 0 && t.rows == 0) {
        (void)puts("nobody ordered a correction yet");
    } else if (rc == 0) {
        table_print(&t, NULL, spare, NULL, stdout);
    }
    table_clear(&t);
    return rc;
}

int quarantine_rules(struct request *q)
{
    struct err e = {0};
    struct state *state = NULL;
    bool done = false;
    char *end = NULL;
    long long id = q->arg_count == 3 ? strtoll(q->args[2], &end, 10) : 0;
    if (q->arg_count == 1) {
        int rc = open_for_reading(&state, q->home, &e);
        rc = rc ? rc : list_rules(q, state, &e);
        state_close(&state);
        return rc == 0 ? EXIT_FINE : complain("%s", e.text);
    }
    if (q->arg_count != 3 || strcmp(q->args[1], "stop") != 0 || end == q->args[2] || *end || id < 1) {
        (void)complain("quarantine rules, or quarantine rules stop N");
        return EXIT_USAGE;
    }
    int rc = open_for_person(&state, q, &e);
    rc = rc ? rc : state_fix_stop(state, id, &done, &e);
    state_close(&state);
    if (rc != 0) {
        return complain("%s", e.text);
    }
    return done ? printf("order %lld applies to nothing more\n", id) > 0 ? EXIT_FINE : EXIT_PROBLEM : complain("there is no order %lld that still applies", id);
}
