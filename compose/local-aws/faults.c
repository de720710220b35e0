/* faults - see faults.h. */
#include "compose/local-aws/faults.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { RULES_MAX = 1000, MS_MAX = 600000 };

struct faults {
    pthread_mutex_t lock;
    json_t *rules;
};

static const char *const actions[] = {"error",         "delay",      "hang",    "reset",        "reset_after", "wrong_etag", "wrong_checksum", "late_error",
                                      "expired_token", "clock_skew", "job_failed", "server_error", "customer_error", "drop_result", "failure_reason"};
static const char *const words[] = {"operation", "key", "times", "skip", "action", "status", "code", "message", "ms", "seconds", "partial", "reason", "seen"};

struct faults *faults_new(void)
{
    struct faults *f = calloc(1, sizeof *f);
    if (f) {
        (void)pthread_mutex_init(&f->lock, NULL);
        f->rules = json_array();
    }
    return f;
}

void faults_free(struct faults *f)
{
    if (f) {
        json_decref(f->rules);
        (void)pthread_mutex_destroy(&f->lock);
        free(f);
    }
}

static bool is_among(const char *word, const char *const *list, size_t count)
{
    for (size_t i = 0; word && i < count; i++) {
        if (strcmp(word, list[i]) == 0) {
            return true;
        }
    }
    return false;
}

static const char *string_of(json_t *rule, const char *name, const char *otherwise)
{
    const char *s = json_string_value(json_object_get(rule, name));
    return s ? s : otherwise;
}

static json_int_t number_of(json_t *rule, const char *name, json_int_t otherwise)
{
    json_t *n = json_object_get(rule, name);
    return json_is_integer(n) ? json_integer_value(n) : otherwise;
}

static int check_rule(json_t *rule, struct err *e)
{
    const char *name;
    json_t *value;
    if (!json_is_object(rule)) {
        return err_set(e, ERR_ARGUMENT, 0, "a rule is not a JSON object");
    }
    json_object_foreach(rule, name, value) {
        if (!is_among(name, words, sizeof words / sizeof words[0])) {
            return err_set(e, ERR_ARGUMENT, 0, "a rule has the unknown member %.40s", name);
        }
    }
    const char *action = string_of(rule, "action", NULL);
    if (!is_among(action, actions, sizeof actions / sizeof actions[0])) {
        return err_set(e, ERR_ARGUMENT, 0, "a rule's action is missing or unknown: %.40s", action ? action : "");
    }
    json_int_t ms = number_of(rule, "ms", 0);
    json_int_t status = number_of(rule, "status", 503);
    if (ms < 0 || ms > MS_MAX || status < 400 || status > 599) {
        return err_set(e, ERR_ARGUMENT, 0, "ms must be 0 to %d, status 400 to 599", MS_MAX);
    }
    return 0;
}

int faults_add(struct faults *f, json_t *rules, struct err *e)
{
    json_t *list = json_is_array(rules) ? json_incref(rules) : json_pack("[O]", rules);
    size_t place;
    json_t *rule;
    int rc = 0;
    json_array_foreach(list, place, rule) {
        rc = rc != 0 ? rc : check_rule(rule, e);
    }
    (void)pthread_mutex_lock(&f->lock);
    if (rc == 0 && json_array_size(f->rules) + json_array_size(list) > RULES_MAX) {
        rc = err_set(e, ERR_TOO_LARGE, 0, "more than %d rules", RULES_MAX);
    }
    if (rc == 0) {
        json_array_foreach(list, place, rule) {
            (void)json_object_set_new(rule, "seen", json_integer(0));
            (void)json_array_append(f->rules, rule);
        }
    }
    (void)pthread_mutex_unlock(&f->lock);
    json_decref(list);
    return rc;
}

void faults_clear(struct faults *f)
{
    (void)pthread_mutex_lock(&f->lock);
    (void)json_array_clear(f->rules);
    (void)pthread_mutex_unlock(&f->lock);
}

json_t *faults_show(struct faults *f)
{
    (void)pthread_mutex_lock(&f->lock);
    json_t *copy = json_deep_copy(f->rules);
    (void)pthread_mutex_unlock(&f->lock);
    return copy;
}

static void apply(json_t *rule, struct fault_effect *out)
{
    const char *action = string_of(rule, "action", "");
    int ms = (int)number_of(rule, "ms", 1000);
    if (strcmp(action, "error") == 0) {
        out->status = (unsigned)number_of(rule, "status", 503);
        (void)snprintf(out->code, sizeof out->code, "%s", string_of(rule, "code", "ServiceUnavailable"));
        (void)snprintf(out->message, sizeof out->message, "%s", string_of(rule, "message", "ordered fault"));
    } else if (strcmp(action, "late_error") == 0) {
        out->late_error = true;
        (void)snprintf(out->code, sizeof out->code, "%s", string_of(rule, "code", "InternalError"));
        (void)snprintf(out->message, sizeof out->message, "%s", string_of(rule, "message", "ordered fault"));
    } else if (strcmp(action, "delay") == 0) {
        out->delay_ms += ms;
    } else if (strcmp(action, "hang") == 0) {
        out->hang_ms = ms;
    } else if (strcmp(action, "clock_skew") == 0) {
        out->has_skew = true;
        out->clock_skew_s = (int)number_of(rule, "seconds", 3600);
    } else if (strcmp(action, "job_failed") == 0) {
        out->job_failed = true;
        out->partial = json_is_true(json_object_get(rule, "partial"));
        (void)snprintf(out->message, sizeof out->message, "%s", string_of(rule, "message", "The import job failed: ordered fault"));
    }
    if (strcmp(action, "failure_reason") == 0) {
        out->failure_reason = (int)number_of(rule, "reason", 0x0110);
    }
    out->reset = out->reset || strcmp(action, "reset") == 0;
    out->reset_after = out->reset_after || strcmp(action, "reset_after") == 0;
    out->wrong_etag = out->wrong_etag || strcmp(action, "wrong_etag") == 0;
    out->wrong_checksum = out->wrong_checksum || strcmp(action, "wrong_checksum") == 0;
    out->expired_token = out->expired_token || strcmp(action, "expired_token") == 0;
    out->server_error = out->server_error || strcmp(action, "server_error") == 0;
    out->customer_error = out->customer_error || strcmp(action, "customer_error") == 0;
    out->drop_result = out->drop_result || strcmp(action, "drop_result") == 0;
}

void faults_match(struct faults *f, const char *operation, const char *key, struct fault_effect *out)
{
    size_t place;
    json_t *rule;
    memset(out, 0, sizeof *out);
    (void)pthread_mutex_lock(&f->lock);
    json_array_foreach(f->rules, place, rule) {
        const char *wanted = string_of(rule, "operation", operation);
        json_int_t times = number_of(rule, "times", -1);
        json_int_t skip = number_of(rule, "skip", 0);
        if (strcmp(wanted, operation) != 0 || !strstr(key, string_of(rule, "key", "")) || times == 0) {
            continue;
        }
        if (skip > 0) {
            (void)json_object_set_new(rule, "skip", json_integer(skip - 1));
            continue;
        }
        if (times > 0) {
            (void)json_object_set_new(rule, "times", json_integer(times - 1));
        }
        (void)json_object_set_new(rule, "seen", json_integer(number_of(rule, "seen", 0) + 1));
        apply(rule, out);
    }
    (void)pthread_mutex_unlock(&f->lock);
}
