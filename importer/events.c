/* events - see events.h. A number that means "not known" is left out. */
#include "importer/events.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

const char *events_time(int64_t ms, bool with_offset, char buffer[40])
{
    struct tm parts;
    time_t seconds = (time_t)(ms / 1000);
    buffer[0] = '\0';
    if (ms > 0 && gmtime_r(&seconds, &parts)) {
        size_t n = strftime(buffer, 24, "%Y-%m-%dT%H:%M:%S", &parts);
        (void)snprintf(buffer + n, 40 - n, with_offset ? ".%03d000+00:00" : ".%03dZ", (int)(ms % 1000));
    }
    return buffer;
}

/* A text; nothing for "", and for bytes that are no UTF-8. */
static void add_text(json_t *object, const char *name, const char *text)
{
    json_t *value = text[0] ? json_string(text) : NULL;
    if (value) {
        (void)json_object_set_new(object, name, value);
    }
}

static void add_time(json_t *object, const char *name, int64_t ms)
{
    char text[40];
    add_text(object, name, events_time(ms, false, text));
}

static void add_number(json_t *object, const char *name, int64_t number)
{
    (void)json_object_set_new(object, name, json_integer((json_int_t)number));
}

static json_t *head(const struct events_style *style, const char *type, const char *event, int64_t at_ms, const char *destination)
{
    json_t *root = json_object();
    add_number(root, "version", 1);
    add_text(root, "type", type);
    add_text(root, "id", event);
    add_time(root, "time", at_ms);
    add_text(root, "source", style->source);
    add_text(root, "destination", destination);
    return root;
}

static void add_identity(const struct events_style *style, json_t *root, const struct state_identity_told *identity)
{
    if (style->with_identity) {
        json_t *object = json_object();
        add_text(object, "accession_number", identity->accession_number);
        add_text(object, "patient_id", identity->patient_id);
        add_text(object, "study_date", identity->study_date);
        add_text(object, "modalities", identity->modalities);
        (void)json_object_set_new(root, "identity", object);
    }
}

static char *print(json_t *root)
{
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}

/* ---- a study ---------------------------------------------------------------------------------------------------------------------- */

static json_t *counts(const struct state_study *t)
{
    const struct {
        const char *name;
        int64_t count;
    } all[] = {{"imported", t->imported}, {"stored", t->stored},   {"duplicate", t->duplicate},     {"quarantined", t->quarantined},
               {"failed", t->failed},     {"dropped", t->dropped}, {"not_primary", t->not_primary}, {"with_warning", t->warned}};
    json_t *object = json_object();
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        add_number(object, all[i].name, all[i].count);
    }
    return object;
}

static json_t *image_sets(const struct state_study *t)
{
    json_t *list = json_array();
    for (size_t i = 0; i < t->set_count; i++) {
        json_t *one = json_object();
        add_text(one, "id", t->sets[i].id);
        if (t->sets[i].version > 0) {
            add_number(one, "version", t->sets[i].version);
        }
        if (t->sets[i].is_primary >= 0) {
            (void)json_object_set_new(one, "primary", json_boolean(t->sets[i].is_primary));
        }
        add_number(one, "instances", t->sets[i].instances);
        (void)json_array_append_new(list, one);
    }
    return list;
}

static json_t *failure(const char *id, const char *sop_instance_uid, const char *state, const char *code, const char *remedy)
{
    json_t *one = json_object();
    add_text(one, "id", id);
    add_text(one, "sop_instance_uid", sop_instance_uid);
    add_text(one, "state", state);
    add_text(one, "code", code);
    add_text(one, "sentence", err_sentence(err_code_of(code)));
    add_text(one, "remedy", remedy);
    return one;
}

char *events_of_study(void *ctx, const struct state_study *t, const char *event, int64_t now_ms)
{
    const struct events_style *style = ctx;
    bool is_bad = t->quarantined + t->failed > t->dropped;
    json_t *root = head(style, "study.finished", event, now_ms, t->destination);
    json_t *study = json_object();
    json_t *jobs = json_array();
    json_t *failures = json_array();
    add_text(study, "study_instance_uid", t->study_uid);
    add_number(study, "revision", t->revision);
    add_text(study, "outcome", is_bad ? "needs attention" : t->dropped > 0 ? "complete but for dropped" : "complete");
    (void)json_object_set_new(study, "instances", counts(t));
    add_number(study, "bytes", t->bytes);
    add_time(study, "first_received", t->first_received_ms);
    add_time(study, "last_received", t->last_received_ms);
    add_time(study, "ended", t->ended_ms);
    for (size_t i = 0; i < t->job_count; i++) {
        (void)json_array_append_new(jobs, json_string(t->jobs[i]));
    }
    for (size_t i = 0; i < t->failure_count; i++) {
        const struct state_study_failure *f = &t->failures[i];
        (void)json_array_append_new(failures, failure(f->id, f->sop_instance_uid, f->state, f->code, f->remedy));
    }
    (void)json_object_set_new(study, "jobs", jobs);
    (void)json_object_set_new(study, "image_sets", image_sets(t));
    (void)json_object_set_new(study, "failures", failures);
    (void)json_object_set_new(study, "truncated", json_boolean(t->is_cut));
    (void)json_object_set_new(root, "study", study);
    add_identity(style, root, &t->identity);
    return print(root);
}

/* ---- an instance ---------------------------------------------------------------------------------------------------------------------- */

char *events_of_refused(void *ctx, const struct state_refused *r, const char *event)
{
    const struct events_style *style = ctx;
    char type[40];
    (void)snprintf(type, sizeof type, "instance.%s", r->state);
    json_t *root = head(style, type, event, r->at_ms, r->destination);
    json_t *instance = failure(r->id, r->sop_instance_uid, r->state, r->code, r->remedy);
    add_text(instance, "sop_class_uid", r->sop_class_uid);
    add_text(instance, "study_instance_uid", r->study_uid);
    add_text(instance, "series_instance_uid", r->series_uid);
    add_text(instance, "job", r->job_id);
    (void)json_object_set_new(root, "instance", instance);
    add_identity(style, root, &r->identity);
    return print(root);
}
