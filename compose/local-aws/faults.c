/* faults - see faults.h. */
#include "compose/local-aws/faults.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { RULES_MAX = 1000, MS_MAX = 600000, KIB_MAX = 16384 };

struct faults {
    pthread_mutex_t lock;
    json_t *rules;
};

/* Actions that are a mere yes. */
static const struct {
    const char *name;
    size_t offset;
} flags[] = {{"reset", offsetof(struct fault_effect, reset)},
             {"reset_after", offsetof(struct fault_effect, reset_after)},
             {"cut_answer", offsetof(struct fault_effect, cut_answer)},
             {"strange_answer", offsetof(struct fault_effect, strange_answer)},
             {"wrong_etag", offsetof(struct fault_effect, wrong_etag)},
             {"wrong_checksum", offsetof(struct fault_effect, wrong_checksum)},
             {"other_encryption", offsetof(struct fault_effect, other_encryption)},
             {"expired_token", offsetof(struct fault_effect, expired_token)},
             {"server_error", offsetof(struct fault_effect, server_error)},
             {"customer_error", offsetof(struct fault_effect, customer_error)},
             {"drop_result", offsetof(struct fault_effect, drop_result)},
             {"skip_file", offsetof(struct fault_effect, skip_file)},
             {"strange_line", offsetof(struct fault_effect, strange_line)}};
enum { FLAGS = sizeof flags / sizeof flags[0] };
static const char *const actions[] = {"error", "delay", "hang", "late_error", "clock_skew", "job_failed", "slow_answer", "short_page", "failure_reason"};
static const char *const words[] = {"operation", "key", "times", "skip", "action", "status", "code", "message", "ms", "seconds", "partial", "reason", "entries", "kib", "seen"};

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

/* Index into flags, FLAGS if the action is none of them. */
static size_t flag_of(const char *action)
{
    size_t i = 0;
    while (i < FLAGS && (!action || strcmp(flags[i].name, action) != 0)) {
        i++;
    }
    return i;
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
    if (flag_of(action) == FLAGS && !is_among(action, actions, sizeof actions / sizeof actions[0])) {
        return err_set(e, ERR_ARGUMENT, 0, "a rule's action is missing or unknown: %.40s", action ? action : "");
    }
    json_int_t ms = number_of(rule, "ms", 0);
    json_int_t status = number_of(rule, "status", 503);
    json_int_t entries = number_of(rule, "entries", 1);
    json_int_t kib = number_of(rule, "kib", 0);
    if (ms < 0 || ms > MS_MAX || status < 300 || status > 599 || entries < 1 || entries > 1000 || kib < 0 || kib > KIB_MAX) {
        return err_set(e, ERR_ARGUMENT, 0, "ms must be 0 to %d, status 300 to 599, entries 1 to 1000, kib 0 to %d", MS_MAX, KIB_MAX);
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
    size_t flag = flag_of(action);
    if (flag < FLAGS) {
        *(bool *)((char *)out + flags[flag].offset) = true;
    } else if (strcmp(action, "error") == 0) {
        out->status = (unsigned)number_of(rule, "status", 503);
        (void)snprintf(out->code, sizeof out->code, "%s", string_of(rule, "code", "ServiceUnavailable"));
        (void)snprintf(out->message, sizeof out->message, "%s", string_of(rule, "message", "ordered fault"));
    } else if (strcmp(action, "strange_answer") == 0) {
        out->strange_kib = (int)number_of(rule, "kib", 0);
    } else if (strcmp(action, "late_error") == 0) {
        out->late_error = true;
        (void)snprintf(out->code, sizeof out->code, "%s", string_of(rule, "code", "InternalError"));
        (void)snprintf(out->message, sizeof out->message, "%s", string_of(rule, "message", "ordered fault"));
    } else if (strcmp(action, "delay") == 0) {
        out->delay_ms += ms;
    } else if (strcmp(action, "hang") == 0) {
        out->hang_ms = ms;
    } else if (strcmp(action, "slow_answer") == 0) {
        out->slow_ms = ms;
    } else if (strcmp(action, "short_page") == 0) {
        out->page = (int)number_of(rule, "entries", 1);
    } else if (strcmp(action, "clock_skew") == 0) {
        out->has_skew = true;
        out->clock_skew_s = (int)number_of(rule, "seconds", 3600);
    } else if (strcmp(action, "job_failed") == 0) {
        out->job_failed = true;
        out->partial = json_is_true(json_object_get(rule, "partial"));
        (void)snprintf(out->message, sizeof out->message, "%s", string_of(rule, "message", "The import job failed: ordered fault"));
    } else if (strcmp(action, "failure_reason") == 0) {
        out->failure_reason = (int)number_of(rule, "reason", 0x0110);
    }
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
