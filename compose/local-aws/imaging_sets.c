/* imaging - SearchImageSets by one attribute with EQUAL, and GetImageSet. See imaging.h. */
#include "compose/local-aws/image_sets.h"
#include "compose/local-aws/imaging.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *theirs, *ours;
} attributes[] = {
    {"DICOMPatientId", "patient_id"},       {"DICOMAccessionNumber", "accession_number"}, {"DICOMStudyId", "study_id"},
    {"DICOMStudyInstanceUID", "study"}, {"DICOMSeriesInstanceUID", "series"},
};
enum { ATTRIBUTES = sizeof attributes / sizeof attributes[0] };

static json_t *tags_of(json_t *set)
{
    json_t *tags = json_object();
    for (size_t i = 0; i < ATTRIBUTES; i++) {
        (void)json_object_set(tags, attributes[i].theirs, json_object_get(set, attributes[i].ours));
    }
    (void)json_object_set(tags, "DICOMNumberOfStudyRelatedInstances", json_object_get(set, "instances"));
    (void)json_object_set(tags, "DICOMStudyDate", json_object_get(set, "study_date"));
    return tags;
}

static double seconds(json_t *set, const char *name)
{
    return (double)json_integer_value(json_object_get(set, name)) / 1000;
}

struct search {
    const char *ours; /* NULL: all */
    json_t *value;
    json_t *found; /* summaries, by id */
    const char *after;
    int max;
};

static int look_at(void *ctx, json_t *set)
{
    struct search *s = ctx;
    const char *id = json_string_value(json_object_get(set, "id"));
    if (strcmp(id, s->after) <= 0 || (s->ours && !json_equal(json_object_get(set, s->ours), s->value))) {
        return 0;
    }
    json_t *summary = json_pack("{s:s s:O s:O s:o s:f s:f}", "imageSetId", id, "version", json_object_get(set, "version"), "isPrimary",
                                json_object_get(set, "primary"), "DICOMTags", tags_of(set), "createdAt", seconds(set, "created_ms"),
                                "updatedAt", seconds(set, "updated_ms"));
    return json_object_set_new(s->found, id, summary);
}

/* Reads the filter; refuses what is not known here. */
static bool read_filter(struct request *r, json_t *body, struct search *s)
{
    json_t *filters = json_object_get(body, "filters");
    json_t *filter = json_array_get(filters, 0);
    const char *word = json_string_value(json_object_get(filter, "operator"));
    if (json_array_size(filters) == 0) {
        return true;
    }
    json_t *value = json_array_get(json_object_get(filter, "values"), 0);
    const char *name = json_object_iter_key(json_object_iter(value));
    if (json_array_size(filters) == 1 && word && strcmp(word, "EQUAL") == 0 && name) {
        for (size_t i = 0; i < ATTRIBUTES; i++) {
            s->ours = strcmp(attributes[i].theirs, name) == 0 ? attributes[i].ours : s->ours;
        }
        s->ours = strcmp(name, "isPrimary") == 0 ? "primary" : s->ours;
        s->value = json_object_get(value, name);
    }
    if (!s->ours) {
        answer_refuse(r, 400, "ValidationException", "the stand-in searches by one attribute with EQUAL");
    }
    return s->ours != NULL;
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The first max of what was found, in the order of the ids. */
static void answer_found(struct request *r, struct search *s)
{
    size_t count = json_object_size(s->found);
    const char **ids = calloc(count + 1, sizeof *ids);
    json_t *list = json_array();
    size_t n = 0;
    const char *id;
    json_t *summary;
    json_object_foreach(s->found, id, summary) {
        if (ids) {
            ids[n++] = id;
        }
    }
    if (ids) {
        qsort(ids, n, sizeof *ids, compare_ids);
    }
    for (size_t i = 0; i < n && i < (size_t)s->max; i++) {
        (void)json_array_append(list, json_object_get(s->found, ids[i]));
    }
    json_t *answer = json_pack("{s:o}", "imageSetsMetadataSummaries", list);
    if (n > (size_t)s->max) {
        (void)json_object_set_new(answer, "nextToken", json_string(ids[s->max - 1]));
    }
    free(ids);
    answer_json(r, 200, answer);
}

void imaging_search(struct request *r)
{
    char after[40] = "";
    struct search s = {.after = after};
    if (!imaging_may(r) || (s.max = imaging_max_results(r)) == 0) {
        return;
    }
    (void)request_query(r, "nextToken", after, sizeof after);
    json_t *body = r->body.bytes ? json_loadb(r->body.bytes, r->body.used, 0, NULL) : NULL;
    s.found = json_object();
    if (read_filter(r, body, &s)) {
        (void)image_sets_each(r->app->image_sets, look_at, &s);
        answer_found(r, &s);
    }
    json_decref(s.found);
    json_decref(body);
}

void imaging_get_set(struct request *r)
{
    char version[16];
    if (!imaging_may(r)) {
        return;
    }
    json_t *set = image_sets_get(r->app->image_sets, r->ids[1]);
    if (!set) {
        answer_refuse(r, 404, "ResourceNotFoundException", "The image set does not exist.");
        return;
    }
    (void)snprintf(version, sizeof version, "%d", (int)json_integer_value(json_object_get(set, "version")));
    bool is_new = strcmp(version, "1") == 0;
    answer_json(r, 200, json_pack("{s:s s:s s:s s:s s:s s:f s:f s:O}", "datastoreId", r->ids[0], "imageSetId", r->ids[1], "versionId", version,
                                  "imageSetState", "ACTIVE", "imageSetWorkflowStatus", is_new ? "CREATED" : "UPDATED", "createdAt",
                                  seconds(set, "created_ms"), "updatedAt", seconds(set, "updated_ms"), "isPrimary",
                                  json_object_get(set, "primary")));
    json_decref(set);
}
