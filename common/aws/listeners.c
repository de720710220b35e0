/* listeners - see listeners.h. */
#include "common/aws/listeners.h"
#include "common/aws/sqs.h"
#include "common/aws/webhook.h"

#include <stdio.h>
#include <string.h>

/* "events_webhook_url (storescp.conf line 3)" */
static const char *named(const struct config *c, enum config_key key, char words[200])
{
    (void)snprintf(words, 200, "%s (%.120s)", config_describe(key)->name, config_origin(c, key));
    return words;
}

static int check_webhook(const struct config *c, struct err *e)
{
    struct err why = {0};
    char words[200];
    const char *url = config_text(c, CFG_EVENTS_WEBHOOK_URL);
    const char *secret = config_text(c, CFG_EVENTS_WEBHOOK_SECRET);
    if (url[0] && webhook_check_url(url, &why) != 0) {
        return err_set(e, ERR_CONFIG, 0, "%s: %s", named(c, CFG_EVENTS_WEBHOOK_URL, words), why.text);
    }
    if (secret[0] && webhook_check_secret(secret, &why) != 0) {
        return err_set(e, ERR_CONFIG, 0, "%s: %s", named(c, CFG_EVENTS_WEBHOOK_SECRET, words), why.text);
    }
    return 0;
}

static int check_queues(const struct config *c, const char *region, struct err *e)
{
    static const enum config_key queues[] = {CFG_EVENTS_SQS_QUEUE_URL, CFG_HINTS_SQS_QUEUE_URL};
    const char *hints = config_text(c, CFG_HINTS_SQS_QUEUE_URL);
    char words[200];
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof queues / sizeof queues[0]; i++) {
        const char *queue = config_text(c, queues[i]);
        rc = queue[0] ? sqs_url_check(named(c, queues[i], words), queue, region, e) : 0;
    }
    if (rc == 0 && hints[0] && strcmp(hints, config_text(c, CFG_EVENTS_SQS_QUEUE_URL)) == 0) {
        rc = err_set(e, ERR_CONFIG, 0, "%s is the queue of events_sqs_queue_url: we would take away what we tell others; name another one",
                     named(c, CFG_HINTS_SQS_QUEUE_URL, words));
    }
    return rc;
}

int aws_listeners_check(const struct config *c, const char *region, struct err *e)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    const char *table = config_text(c, CFG_DYNAMODB_TABLE);
    char words[200];
    int rc = check_webhook(c, e);
    rc = rc ? rc : check_queues(c, region, e);
    if (rc == 0 && table[0] && (strlen(table) < 3 || strspn(table, letters) != strlen(table))) {
        rc = err_set(e, ERR_CONFIG, 0, "%s: the name of a table has 3 to 255 of A-Z a-z 0-9 _ . -", named(c, CFG_DYNAMODB_TABLE, words));
    }
    return rc;
}
