/* queues - see queues.h. One lock; lists are short in a stand-in. */
#include "compose/local-aws/queues.h"

#include "common/runtime/runtime.h"
#include "compose/local-aws/text.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DEDUPLICATE_MS = 300000, REMEMBER_MAX = 1000, STEP_MS = 20 };

struct message {
    struct message *next;
    char id[37], receipt[80], group[129];
    char *body;
    int64_t visible_at_ms; /* monotonic */
    int receives;
};
struct seen { /* a deduplication id */
    char id[129], message[37];
    int64_t until_ms;
};
struct queue {
    char name[QUEUE_NAME_MAX + 1];
    bool is_fifo;
    struct message *first, *last;
    int count;
    struct seen seen[REMEMBER_MAX];
    size_t seen_next;
};
struct queues {
    pthread_mutex_t lock;
    struct queue *all[QUEUES_MAX];
    size_t count;
};

struct queues *queues_new(void)
{
    struct queues *q = calloc(1, sizeof *q);
    if (q) {
        (void)pthread_mutex_init(&q->lock, NULL);
    }
    return q;
}

void queues_free(struct queues *q)
{
    for (size_t i = 0; q && i < q->count; i++) {
        while (q->all[i]->first) {
            struct message *m = q->all[i]->first;
            q->all[i]->first = m->next;
            free(m->body);
            free(m);
        }
        free(q->all[i]);
    }
    if (q) {
        (void)pthread_mutex_destroy(&q->lock);
    }
    free(q);
}

static struct queue *find(struct queues *q, const char *name)
{
    for (size_t i = 0; i < q->count; i++) {
        if (strcmp(q->all[i]->name, name) == 0) {
            return q->all[i];
        }
    }
    return NULL;
}

static bool is_fifo_name(const char *name)
{
    size_t length = strlen(name);
    return length > 5 && strcmp(name + length - 5, ".fifo") == 0;
}

int queues_make(struct queues *q, const char *name)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    size_t length = strlen(name);
    size_t stem = is_fifo_name(name) ? length - 5 : length;
    int rc = 0;
    if (stem == 0 || length > QUEUE_NAME_MAX || strspn(name, letters) != stem) {
        return ERR_ARGUMENT;
    }
    (void)pthread_mutex_lock(&q->lock);
    if (!find(q, name)) {
        struct queue *one = q->count < QUEUES_MAX ? calloc(1, sizeof *one) : NULL;
        rc = one ? 0 : ERR_ARGUMENT;
        if (one) {
            (void)snprintf(one->name, sizeof one->name, "%s", name);
            one->is_fifo = is_fifo_name(name);
            q->all[q->count++] = one;
        }
    }
    (void)pthread_mutex_unlock(&q->lock);
    return rc;
}

bool queues_exists(struct queues *q, const char *name)
{
    (void)pthread_mutex_lock(&q->lock);
    bool there = find(q, name) != NULL;
    (void)pthread_mutex_unlock(&q->lock);
    return there;
}

static void make_id(char id[37])
{
    char hex[33];
    text_random_hex(16, hex);
    (void)snprintf(id, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

/* The message that an id was taken for before, or NULL. The lock is held. */
static const char *known(struct queue *one, const char *deduplication, int64_t now)
{
    for (size_t i = 0; i < REMEMBER_MAX; i++) {
        if (one->seen[i].until_ms > now && strcmp(one->seen[i].id, deduplication) == 0) {
            return one->seen[i].message;
        }
    }
    return NULL;
}

int queues_send(struct queues *q, const char *name, const char *body, const char *group, const char *deduplication, char id[37])
{
    int64_t now = clock_mono_ms();
    (void)pthread_mutex_lock(&q->lock);
    struct queue *one = find(q, name);
    const char *before = one && deduplication ? known(one, deduplication, now) : NULL;
    struct message *m = one && !before && one->count < QUEUE_MESSAGES_MAX ? calloc(1, sizeof *m) : NULL;
    int rc = !one ? ERR_NOT_FOUND : before || m ? 0 : ERR_TOO_LARGE;
    if (before) {
        (void)snprintf(id, 37, "%s", before);
    } else if (m && (m->body = strdup(body)) != NULL) {
        make_id(m->id);
        (void)snprintf(m->group, sizeof m->group, "%s", group ? group : "");
        (void)snprintf(id, 37, "%s", m->id);
        *(one->last ? &one->last->next : &one->first) = m;
        one->last = m;
        one->count++;
        if (deduplication) {
            struct seen *s = &one->seen[one->seen_next++ % REMEMBER_MAX];
            (void)snprintf(s->id, sizeof s->id, "%s", deduplication);
            (void)snprintf(s->message, sizeof s->message, "%s", m->id);
            s->until_ms = now + DEDUPLICATE_MS;
        }
    } else if (m) {
        free(m);
        rc = ERR_TOO_LARGE;
    }
    (void)pthread_mutex_unlock(&q->lock);
    return rc;
}

void queues_md5(const char *text, char out[33])
{
    unsigned char digest[16];
    unsigned length = 0;
    (void)EVP_Digest(text, strlen(text), digest, &length, EVP_md5(), NULL);
    for (size_t i = 0; i < 16; i++) {
        (void)snprintf(out + 2 * i, 3, "%02x", digest[i]);
    }
}

static json_t *told(const struct message *m)
{
    char hex[33];
    queues_md5(m->body, hex);
    return json_pack("{s:s s:s s:s s:s s:{s:o}}", "MessageId", m->id, "ReceiptHandle", m->receipt, "Body", m->body, "MD5OfBody", hex, "Attributes",
                     "ApproximateReceiveCount", json_sprintf("%d", m->receives));
}

/* Is an earlier message of its group out? The lock is held. */
static bool is_blocked(const struct queue *one, const struct message *m, int64_t now)
{
    for (const struct message *earlier = one->first; one->is_fifo && earlier != m; earlier = earlier->next) {
        if (strcmp(earlier->group, m->group) == 0 && earlier->visible_at_ms > now) {
            return true;
        }
    }
    return false;
}

static json_t *take(struct queues *q, const char *name, int most, int64_t visible_ms)
{
    json_t *list = json_array();
    int64_t now = clock_mono_ms();
    (void)pthread_mutex_lock(&q->lock);
    struct queue *one = find(q, name);
    for (struct message *m = one ? one->first : NULL; m && (int)json_array_size(list) < most; m = m->next) {
        if (m->visible_at_ms <= now && !is_blocked(one, m, now)) { /* messages of one group may go together in one answer, in order */
            char hex[33];
            text_random_hex(16, hex);
            m->receives++;
            (void)snprintf(m->receipt, sizeof m->receipt, "%s:%s", m->id, hex);
            (void)json_array_append_new(list, told(m));
        }
    }
    size_t i;
    json_t *row;
    json_array_foreach(list, i, row) {
        for (struct message *m = one->first; m; m = m->next) {
            if (strcmp(m->receipt, json_string_value(json_object_get(row, "ReceiptHandle"))) == 0) {
                m->visible_at_ms = now + visible_ms;
            }
        }
    }
    (void)pthread_mutex_unlock(&q->lock);
    return list;
}

json_t *queues_receive(struct queues *q, const char *name, int most, int64_t visible_ms, int64_t wait_ms, atomic_bool *stopping)
{
    int64_t end = clock_mono_ms() + wait_ms;
    for (;;) {
        json_t *list = take(q, name, most, visible_ms);
        if (json_array_size(list) > 0 || clock_mono_ms() >= end || atomic_load(stopping)) {
            return list;
        }
        json_decref(list);
        (void)nanosleep(&(struct timespec){0, STEP_MS * 1000000L}, NULL);
    }
}

bool queues_delete(struct queues *q, const char *name, const char *receipt)
{
    char id[37];
    if (strlen(receipt) != 36 + 1 + 32 || receipt[36] != ':') {
        return false;
    }
    (void)snprintf(id, sizeof id, "%.36s", receipt);
    (void)pthread_mutex_lock(&q->lock);
    struct queue *one = find(q, name);
    struct message *before = NULL;
    for (struct message *m = one ? one->first : NULL; m; before = m, m = m->next) {
        if (strcmp(m->id, id) == 0) {
            *(before ? &before->next : &one->first) = m->next;
            one->last = one->last == m ? before : one->last;
            one->count--;
            free(m->body);
            free(m);
            break;
        }
    }
    (void)pthread_mutex_unlock(&q->lock);
    return true;
}

json_t *queues_counts(struct queues *q, const char *name)
{
    int64_t now = clock_mono_ms();
    int visible = 0;
    int in_flight = 0;
    (void)pthread_mutex_lock(&q->lock);
    struct queue *one = find(q, name);
    for (struct message *m = one ? one->first : NULL; m; m = m->next) {
        visible += m->visible_at_ms <= now;
        in_flight += m->visible_at_ms > now;
    }
    (void)pthread_mutex_unlock(&q->lock);
    return json_pack("{s:i s:i}", "visible", visible, "in_flight", in_flight);
}
