/* hint - see hint.h. */
#include "importer/hint.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_MAX = 1 << 20 };

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

/* The event itself, also out of a notification of SNS; NULL: neither. New reference. */
static json_t *read_event(const char *text, size_t bytes)
{
    json_t *root = bytes <= TEXT_MAX ? json_loadb(text, bytes, 0, NULL) : NULL;
    if (root && strcmp(text_of(root, "Type"), "Notification") == 0) {
        json_t *inner = json_loads(text_of(root, "Message"), 0, NULL);
        json_decref(root);
        root = inner;
    }
    if (root && !json_is_object(root)) {
        json_decref(root);
        root = NULL;
    }
    return root;
}

/* 1 to size - 1 of these characters */
static bool take(const char *text, const char *allowed, char *out, size_t size)
{
    size_t length = strlen(text);
    if (length == 0 || length >= size || strspn(text, allowed) != length) {
        return false;
    }
    (void)snprintf(out, size, "%s", text);
    return true;
}

enum hint_kind hint_read(const char *text, size_t bytes, struct hint *out)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/#-";
    memset(out, 0, sizeof *out);
    json_t *event = read_event(text, bytes);
    if (!event || !text_of(event, "source")[0]) {
        json_decref(event);
        return HINT_UNREADABLE;
    }
    const char *type = text_of(event, "detail-type");
    const json_t *detail = json_object_get(event, "detail");
    enum hint_kind kind = HINT_OTHER;
    if (strcmp(text_of(event, "source"), "aws.medical-imaging") == 0 && strncmp(type, "Import Job ", 11) == 0) {
        const char *status = text_of(detail, "jobStatus");
        bool ended = strcmp(status, "COMPLETED") == 0 || strcmp(status, "FAILED") == 0 || strcmp(type, "Import Job Completed") == 0 ||
                     strcmp(type, "Import Job Failed") == 0;
        kind = !take(text_of(detail, "jobId"), "abcdefghijklmnopqrstuvwxyz0123456789", out->job_id, sizeof out->job_id) ? HINT_UNREADABLE : ended ? HINT_JOB_ENDED : HINT_JOB_MOVES;
        (void)take(text_of(detail, "jobName"), letters, out->job_name, sizeof out->job_name);
    }
    json_decref(event);
    return kind;
}
