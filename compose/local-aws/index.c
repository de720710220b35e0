/* index - see index.h. */
#include "compose/local-aws/index.h"

#include "common/runtime/runtime.h"

#include <stdlib.h>
#include <string.h>

enum { LEVELS = 20 };

struct node {
    struct entry entry;
    int levels;
    struct node *next[];
};

struct index {
    struct node *head;
};

static struct node *node_new(int levels)
{
    struct node *n = calloc(1, sizeof *n + (size_t)levels * sizeof n->next[0]);
    if (n) {
        n->levels = levels;
    }
    return n;
}

struct index *index_new(void)
{
    struct index *x = calloc(1, sizeof *x);
    if (x) {
        x->head = node_new(LEVELS);
        if (!x->head) {
            free(x);
            x = NULL;
        }
    }
    return x;
}

void index_free(struct index *x)
{
    if (!x) {
        return;
    }
    struct node *n = x->head;
    while (n) {
        struct node *next = n->next[0];
        free(n->entry.key);
        free(n);
        n = next;
    }
    free(x);
}

/* The last node before key on every level. */
static void find_before(const struct index *x, const char *key, bool inclusive, struct node *before[LEVELS])
{
    struct node *n = x->head;
    for (int level = LEVELS - 1; level >= 0; level--) {
        while (n->next[level]) {
            int order = strcmp(n->next[level]->entry.key, key);
            if (order > 0 || (order == 0 && inclusive)) {
                break;
            }
            n = n->next[level];
        }
        before[level] = n;
    }
}

const struct entry *index_next(const struct index *x, const char *key, bool inclusive)
{
    struct node *before[LEVELS];
    find_before(x, key, inclusive, before);
    return before[0]->next[0] ? &before[0]->next[0]->entry : NULL;
}

const struct entry *index_find(const struct index *x, const char *key)
{
    const struct entry *e = index_next(x, key, true);
    return e && strcmp(e->key, key) == 0 ? e : NULL;
}

bool index_put(struct index *x, const struct entry *e)
{
    struct node *before[LEVELS];
    find_before(x, e->key, true, before);
    struct node *there = before[0]->next[0];
    if (there && strcmp(there->entry.key, e->key) == 0) {
        char *key = there->entry.key;
        there->entry = *e;
        there->entry.key = key;
        return true;
    }
    int levels = 1;
    for (uint32_t chance = random_u32(); levels < LEVELS && (chance & 3) == 0; chance >>= 2) {
        levels++;
    }
    struct node *n = node_new(levels);
    char *key = strdup(e->key);
    if (!n || !key) {
        free(n);
        free(key);
        return false;
    }
    n->entry = *e;
    n->entry.key = key;
    for (int level = 0; level < levels; level++) {
        n->next[level] = before[level]->next[level];
        before[level]->next[level] = n;
    }
    return true;
}

bool index_remove(struct index *x, const char *key)
{
    struct node *before[LEVELS];
    find_before(x, key, true, before);
    struct node *n = before[0]->next[0];
    if (!n || strcmp(n->entry.key, key) != 0) {
        return false;
    }
    for (int level = 0; level < n->levels; level++) {
        before[level]->next[level] = n->next[level];
    }
    free(n->entry.key);
    free(n);
    return true;
}
