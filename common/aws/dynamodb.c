/* dynamodb - see dynamodb.h. Attribute names go as placeholders: some of them are reserved words. */
#include "common/aws/dynamodb.h"

#include "common/aws/internal.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXPRESSION_MAX = 2000, RESPONSE_MAX = 1 << 20 };

struct waiter {
    dynamodb_done done;
    void *ctx;
};

static void on_done(void *ctx, struct aws_answer *a)
{
    struct waiter *w = ctx;
    if (strcmp(a->code, "ConditionalCheckFailedException") == 0) {
        a->rc = 0;
    } else if (a->rc == ERR_AWS_REJECTED) { /* what we send differs in texts only: then it is the table that does not fit */
        char said[sizeof a->why.text];
        (void)snprintf(said, sizeof said, "%s", a->why.text);
        a->rc = err_set(&a->why, ERR_CONFIG, 0, "%.240s; does dynamodb_table have the key jobId (String) alone?", said);
    }
    w->done(w->ctx, a->rc, &a->why);
    free(w);
}

static json_t *text_value(const char *value)
{
    return json_pack("{s:s}", "S", value);
}

/* One more "#n=:n" and what they stand for. */
static void add_set(char *expression, size_t i, const struct dynamodb_attribute *a, json_t *names, json_t *values)
{
    char name[16];
    char value[16];
    size_t used = strlen(expression);
    (void)snprintf(name, sizeof name, "#a%u", (unsigned)(i % 100));
    (void)snprintf(value, sizeof value, ":a%u", (unsigned)(i % 100));
    (void)snprintf(expression + used, EXPRESSION_MAX - used, "%s%s = %s", used ? ", " : "SET ", name, value);
    (void)json_object_set_new(names, name, json_string(a->name));
    (void)json_object_set_new(values, value, text_value(a->value));
}

static void add_guard(char *expression, const struct dynamodb_update *u, json_t *names, json_t *values)
{
    (void)snprintf(expression, EXPRESSION_MAX, "attribute_not_exists(#g)");
    (void)json_object_set_new(names, "#g", json_string(u->guard));
    for (size_t i = 0; i < u->guard_count; i++) {
        char value[16];
        size_t used = strlen(expression);
        (void)snprintf(value, sizeof value, ":g%u", (unsigned)(i % 100));
        (void)snprintf(expression + used, EXPRESSION_MAX - used, " OR #g = %s", value);
        (void)json_object_set_new(values, value, text_value(u->guard_values[i]));
    }
}

static char *make_body(const struct dynamodb_update *u)
{
    char set[EXPRESSION_MAX] = "";
    char guard[EXPRESSION_MAX] = "";
    json_t *names = json_object();
    json_t *values = json_object();
    for (size_t i = 0; i < u->set_count; i++) {
        if (u->set[i].value && u->set[i].value[0]) {
            add_set(set, i, &u->set[i], names, values);
        }
    }
    if (u->guard) {
        add_guard(guard, u, names, values);
    }
    json_t *body = json_pack("{s:s, s:{s:o}, s:s, s:O, s:O}", "TableName", u->table, "Key", u->key.name, text_value(u->key.value), "UpdateExpression", set,
                             "ExpressionAttributeNames", names, "ExpressionAttributeValues", values);
    if (body && guard[0]) {
        (void)json_object_set_new(body, "ConditionExpression", json_string(guard));
    }
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    json_decref(names);
    json_decref(values);
    return text;
}

int dynamodb_update_begin(struct aws_client *c, const struct dynamodb_update *update, int64_t limit_ms, dynamodb_done done, void *ctx, struct err *e)
{
    struct waiter *w = calloc(1, sizeof *w);
    struct aws_call *call = w ? aws_call_new_json(c, AWS_DYNAMODB, "UpdateItem", "DynamoDB_20120810.UpdateItem", make_body(update)) : NULL;
    if (!call) {
        free(w);
        return err_set(e, ERR_MEMORY, 0, "DynamoDB UpdateItem: no memory, or a text that is no UTF-8");
    }
    *w = (struct waiter){done, ctx};
    call->response_max = RESPONSE_MAX;
    call->total_ms = limit_ms;
    call->abandon = free;
    int rc = aws_begin(c, call, on_done, w, e);
    if (rc != 0) {
        free(w);
    }
    return rc;
}
