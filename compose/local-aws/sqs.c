/*
 * sqs - SendMessage, ReceiveMessage, DeleteMessage, GetQueueUrl, CreateQueue, GetQueueAttributes (the two counts) in the AWS JSON protocol 1.0, and what
 * EventBridge would bring into a queue when an import job changes. API version 2012-11-05; HealthImaging developer guide "Using EventBridge".
 */
#include "compose/local-aws/sqs.h"

#include "common/runtime/runtime.h"
#include "compose/local-aws/queues.h"

#include <stdlib.h>
#include <string.h>

enum { BODY_BYTES_MAX = 1 << 20, WAIT_S_MAX = 20, VISIBLE_S_USUAL = 30, VISIBLE_S_MAX = 43200, RECEIVE_MAX = 10 };

static const char *text_of(const json_t *object, const char *name)
{
    const char *s = json_string_value(json_object_get(object, name));
    return s ? s : "";
}

/* The body as JSON, its queue's name; NULL: refused. */
static json_t *read_body(struct request *r, bool by_url, char name[QUEUE_NAME_MAX + 1])
{
    json_t *body = r->body.bytes ? json_loadb(r->body.bytes, r->body.used, 0, NULL) : NULL;
    if (!json_is_object(body)) {
        answer_refuse(r, 400, "SerializationException", "The body is no JSON object");
        json_decref(body);
        return NULL;
    }
    const char *text = text_of(body, by_url ? "QueueUrl" : "QueueName");
    const char *slash = by_url ? strrchr(text, '/') : NULL;
    (void)snprintf(name, QUEUE_NAME_MAX + 1, "%.*s", (int)QUEUE_NAME_MAX, slash ? slash + 1 : text);
    if (!name[0]) {
        answer_refuse(r, 400, "MissingParameter", "The request must contain the parameter %s.", by_url ? "QueueUrl" : "QueueName");
    } else if (strcmp(r->operation->name, "CreateQueue") != 0 && !queues_exists(r->app->queues, name)) {
        answer_refuse(r, 400, "com.amazonaws.sqs#QueueDoesNotExist", "The specified queue does not exist.");
        answer_header(r, "x-amzn-query-error", "AWS.SimpleQueueService.NonExistentQueue;Sender");
    }
    if (r->status != 0) {
        json_decref(body);
        return NULL;
    }
    return body;
}

static void answer(struct request *r, json_t *json)
{
    answer_json(r, 200, json);
    answer_header(r, "Content-Type", "application/x-amz-json-1.0");
}

static void answer_url(struct request *r, const char *name)
{
    const char *host = request_header(r, "Host");
    answer(r, json_pack("{s:o}", "QueueUrl", json_sprintf("http://%s/%s/%s", host ? host : "localhost", r->app->options.account, name)));
}

/* A whole number between two; the usual one if it is not there; -1: refused. */
static int number_of(struct request *r, const json_t *body, const char *name, int usual, int least, int most)
{
    const json_t *value = json_object_get(body, name);
    json_int_t n = value ? json_integer_value(value) : usual;
    if ((value && !json_is_integer(value)) || n < least || n > most) {
        answer_refuse(r, 400, "InvalidParameterValue", "Value for parameter %s is invalid. Reason: Must be between %d and %d, if provided.", name, least, most);
        return -1;
    }
    return (int)n;
}

static void send_message(struct request *r)
{
    char name[QUEUE_NAME_MAX + 1];
    char id[37];
    json_t *body = read_body(r, true, name);
    if (!body) {
        return;
    }
    const char *text = text_of(body, "MessageBody");
    const char *group = text_of(body, "MessageGroupId");
    const char *once = text_of(body, "MessageDeduplicationId");
    size_t length = strlen(name);
    bool fifo = length > 5 && strcmp(name + length - 5, ".fifo") == 0;
    if (!text[0] || strlen(text) > BODY_BYTES_MAX) {
        answer_refuse(r, 400, "InvalidParameterValue", "The message must have 1 to %d bytes", BODY_BYTES_MAX);
    } else if (fifo && (!group[0] || !once[0] || strlen(group) > 128 || strlen(once) > 128)) {
        answer_refuse(r, 400, "InvalidParameterValue", "A FIFO queue needs MessageGroupId and MessageDeduplicationId");
    } else if (!fifo && once[0]) {
        answer_refuse(r, 400, "InvalidParameterValue", "The queue is no FIFO queue: MessageDeduplicationId is not allowed");
    } else if (queues_send(r->app->queues, name, text, fifo ? group : NULL, fifo ? once : NULL, id) != 0) {
        answer_refuse(r, 403, "OverLimit", "The stand-in's queue is full");
    } else {
        char md5[33];
        queues_md5(text, md5);
        answer(r, json_pack("{s:s s:s}", "MessageId", id, "MD5OfMessageBody", md5));
    }
    json_decref(body);
}

static void receive_message(struct request *r)
{
    char name[QUEUE_NAME_MAX + 1];
    json_t *body = read_body(r, true, name);
    if (!body) {
        return;
    }
    int most = number_of(r, body, "MaxNumberOfMessages", 1, 1, RECEIVE_MAX);
    int wait_s = most < 0 ? -1 : number_of(r, body, "WaitTimeSeconds", 0, 0, WAIT_S_MAX);
    int visible_s = wait_s < 0 ? -1 : number_of(r, body, "VisibilityTimeout", VISIBLE_S_USUAL, 0, VISIBLE_S_MAX);
    json_decref(body);
    if (visible_s < 0) {
        return;
    }
    json_t *list = queues_receive(r->app->queues, name, most, (int64_t)visible_s * 1000, (int64_t)wait_s * 1000, &r->app->stopping);
    json_t *all = json_object();
    if (json_array_size(list) > 0) {
        (void)json_object_set(all, "Messages", list);
    }
    json_decref(list);
    answer(r, all);
}

static void delete_message(struct request *r)
{
    char name[QUEUE_NAME_MAX + 1];
    json_t *body = read_body(r, true, name);
    if (!body) {
        return;
    }
    if (!queues_delete(r->app->queues, name, text_of(body, "ReceiptHandle"))) {
        answer_refuse(r, 400, "com.amazonaws.sqs#ReceiptHandleIsInvalid", "The input receipt handle is invalid.");
    } else {
        answer(r, json_object());
    }
    json_decref(body);
}

static void get_queue_url(struct request *r)
{
    char name[QUEUE_NAME_MAX + 1];
    json_t *body = read_body(r, false, name);
    if (body) {
        answer_url(r, name);
    }
    json_decref(body);
}

static void create_queue(struct request *r)
{
    char name[QUEUE_NAME_MAX + 1];
    json_t *body = read_body(r, false, name);
    if (!body) {
        return;
    }
    if (queues_make(r->app->queues, name) != 0) {
        answer_refuse(r, 400, "InvalidParameterValue", "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length");
    } else {
        answer_url(r, name);
    }
    json_decref(body);
}

static void get_attributes(struct request *r)
{
    char name[QUEUE_NAME_MAX + 1];
    json_t *body = read_body(r, true, name);
    if (!body) {
        return;
    }
    json_t *counts = queues_counts(r->app->queues, name);
    answer(r, json_pack("{s:{s:o s:o}}", "Attributes", "ApproximateNumberOfMessages",
                        json_sprintf("%d", (int)json_integer_value(json_object_get(counts, "visible"))), "ApproximateNumberOfMessagesNotVisible",
                        json_sprintf("%d", (int)json_integer_value(json_object_get(counts, "in_flight")))));
    json_decref(counts);
    json_decref(body);
}

static const struct operation operations[] = {
    {"SendMessage", send_message, false, false},   {"ReceiveMessage", receive_message, false, false}, {"DeleteMessage", delete_message, false, false},
    {"GetQueueUrl", get_queue_url, false, false},  {"CreateQueue", create_queue, false, false},       {"GetQueueAttributes", get_attributes, false, false},
};

const struct operation *sqs_route(struct request *r)
{
    const char *target = request_header(r, "X-Amz-Target");
    for (size_t i = 0; target && strncmp(target, "AmazonSQS.", 10) == 0 && i < sizeof operations / sizeof operations[0]; i++) {
        if (strcmp(target + 10, operations[i].name) == 0) {
            return &operations[i];
        }
    }
    answer_refuse(r, 400, "UnknownOperationException", "The stand-in does not know this operation.");
    return NULL;
}

void sqs_tell_of_job(struct standin *app, const json_t *job)
{
    static const struct {
        const char *status, *type;
    } types[] = {{"SUBMITTED", "Import Job Submitted"}, {"IN_PROGRESS", "Import Job In Progress"}, {"COMPLETED", "Import Job Completed"}, {"FAILED", "Import Job Failed"}};
    char id[37];
    char at[32];
    char arn[200];
    const char *type = "";
    if (!app->options.events_queue) {
        return;
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        type = strcmp(text_of(job, "jobStatus"), types[i].status) == 0 ? types[i].type : type;
    }
    text_random_hex(16, id);
    text_time_iso(clock_wall_ms(), at);
    (void)snprintf(arn, sizeof arn, "arn:aws:medical-imaging:%s:%s:datastore/%s", app->options.region, app->options.account, text_of(job, "datastoreId"));
    json_t *event = json_pack("{s:s s:s s:s s:s s:s s:s s:s s:[s] s:{s:s s:s s:s s:s s:s s:s s:s}}", "version", "0", "id", id, "detail-type", type, "source",
                              "aws.medical-imaging", "account", app->options.account, "time", at, "region", app->options.region, "resources", arn, "detail",
                              "imagingVersion", "1.0", "datastoreId", text_of(job, "datastoreId"), "jobId", text_of(job, "jobId"), "jobName",
                              text_of(job, "jobName"), "jobStatus", text_of(job, "jobStatus"), "inputS3Uri", text_of(job, "inputS3Uri"), "outputS3Uri",
                              text_of(job, "outputS3Uri"));
    char *text = event ? json_dumps(event, JSON_COMPACT) : NULL;
    if (text) {
        (void)queues_send(app->queues, app->options.events_queue, text, "events", id, id);
    }
    free(text);
    json_decref(event);
}
