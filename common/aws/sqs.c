/* sqs - see sqs.h. */
#include "common/aws/sqs.h"

#include "common/aws/internal.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RESPONSE_MAX = 8 << 20, GRACE_MS = 10000, ID_MAX = 128 };

struct waiter {
    sqs_done done;
    sqs_received received;
    void *ctx;
};

static struct waiter *waiter_new(sqs_done done, sqs_received received, void *ctx)
{
    struct waiter *w = calloc(1, sizeof *w);
    if (w) {
        *w = (struct waiter){done, received, ctx};
    }
    return w;
}

static void on_done(void *ctx, struct aws_answer *a)
{
    struct waiter *w = ctx;
    w->done(w->ctx, a->rc, &a->why);
    free(w);
}

/* Takes body. */
static int begin(struct aws_client *c, const char *operation, const char *target, json_t *body, int64_t total_ms, aws_done on_end, struct waiter *w, struct err *e)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    struct aws_call *call = w ? aws_call_new_json(c, AWS_SQS, operation, target, text) : NULL;
    if (!call) {
        if (!w) {
            free(text);
        }
        free(w);
        return err_set(e, text ? ERR_MEMORY : ERR_ARGUMENT, 0, "SQS %s: no memory, or a text that is no UTF-8", operation);
    }
    call->response_max = RESPONSE_MAX;
    call->total_ms = total_ms;
    call->abandon = free;
    int rc = aws_begin(c, call, on_end, w, e);
    if (rc != 0) {
        free(w);
    }
    return rc;
}

bool sqs_is_fifo(const char *queue_url)
{
    size_t length = strlen(queue_url);
    return length > 5 && strcmp(queue_url + length - 5, ".fifo") == 0;
}

/* MessageGroupId and MessageDeduplicationId: 128 of letters, digits and punctuation. */
static void clean_id(const char *from, char to[ID_MAX + 1])
{
    size_t n = 0;
    for (; *from && n < ID_MAX; from++) {
        to[n++] = *from > 0x20 && *from < 0x7f ? *from : '_';
    }
    to[n] = '\0';
}

int sqs_send_begin(struct aws_client *c, const struct sqs_send *send, int64_t limit_ms, sqs_done done, void *ctx, struct err *e)
{
    json_t *body = json_pack("{s:s, s:s}", "QueueUrl", send->queue_url, "MessageBody", send->body);
    if (body && sqs_is_fifo(send->queue_url)) {
        char id[ID_MAX + 1];
        clean_id(send->group_id, id);
        (void)json_object_set_new(body, "MessageGroupId", json_string(id));
        clean_id(send->deduplication_id, id);
        (void)json_object_set_new(body, "MessageDeduplicationId", json_string(id));
    }
    return begin(c, "SendMessage", "AmazonSQS.SendMessage", body, limit_ms, on_done, waiter_new(done, NULL, ctx), e);
}

static void on_messages(void *ctx, struct aws_answer *a)
{
    struct waiter *w = ctx;
    struct sqs_message *messages = NULL;
    json_t *root = a->rc == 0 ? json_loadb(a->http->body, a->http->body_bytes, JSON_ALLOW_NUL, NULL) : NULL;
    const json_t *list = json_object_get(root, "Messages");
    size_t count = 0;
    if (a->rc == 0 && !json_is_object(root)) {
        a->rc = err_set(&a->why, ERR_PROTOCOL, 0, "SQS ReceiveMessage: the answer is no JSON");
    }
    if (json_array_size(list) > 0) {
        messages = calloc(SQS_MESSAGES_MAX, sizeof *messages);
    }
    for (size_t i = 0; messages && i < json_array_size(list) && count < SQS_MESSAGES_MAX; i++) {
        const json_t *one = json_array_get(list, i);
        const char *receipt = json_string_value(json_object_get(one, "ReceiptHandle"));
        const char *id = json_string_value(json_object_get(one, "MessageId"));
        const char *text = json_string_value(json_object_get(one, "Body"));
        struct sqs_message *m = &messages[count++];
        (void)snprintf(m->id, sizeof m->id, "%s", id ? id : "");
        (void)snprintf(m->receipt, sizeof m->receipt, "%s", receipt && strlen(receipt) < sizeof m->receipt ? receipt : "");
        m->body = text ? text : "";
    }
    w->received(w->ctx, a->rc, &a->why, messages, count);
    free(messages);
    json_decref(root);
    free(w);
}

int sqs_receive_begin(struct aws_client *c, const char *queue_url, int wait_s, int visibility_s, int most, sqs_received received, void *ctx, struct err *e)
{
    json_t *body = json_pack("{s:s, s:i, s:i, s:i}", "QueueUrl", queue_url, "MaxNumberOfMessages", most, "WaitTimeSeconds", wait_s, "VisibilityTimeout",
                             visibility_s);
    return begin(c, "ReceiveMessage", "AmazonSQS.ReceiveMessage", body, wait_s * 1000 + GRACE_MS, on_messages, waiter_new(NULL, received, ctx), e);
}

int sqs_delete_begin(struct aws_client *c, const char *queue_url, const char *receipt, int64_t limit_ms, sqs_done done, void *ctx, struct err *e)
{
    return begin(c, "DeleteMessage", "AmazonSQS.DeleteMessage", json_pack("{s:s, s:s}", "QueueUrl", queue_url, "ReceiptHandle", receipt), limit_ms, on_done,
                 waiter_new(done, NULL, ctx), e);
}

int sqs_url_check(const char *name, const char *queue_url, const char *region, struct err *e)
{
    struct endpoint place;
    struct err why = {0};
    if (endpoint_parse(queue_url, &place, &why) != 0) {
        return err_set(e, ERR_CONFIG, 0, "%s: %s", name, why.text);
    }
    const char *slash = strrchr(place.base, '/');
    if (!slash || !slash[1]) {
        return err_set(e, ERR_CONFIG, 0, "%s: \"%.100s\" is no URL of a queue: https://sqs.REGION.amazonaws.com/ACCOUNT/NAME", name, queue_url);
    }
    size_t length = region ? strlen(region) : 0;
    bool is_aws = strncmp(place.host, "sqs.", 4) == 0 && strstr(place.host, ".amazonaws.com");
    if (region && is_aws && (strncmp(place.host + 4, region, length) != 0 || place.host[4 + length] != '.')) {
        return err_set(e, ERR_CONFIG, 0, "%s: the queue is in another region than ours, %s (aws_region)", name, region);
    }
    return 0;
}
