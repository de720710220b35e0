/*
 * index - the keys of one bucket in the order of their bytes: a skip list. Not thread safe; the store locks.
 */
#ifndef STORESCP_LOCAL_AWS_INDEX_H
#define STORESCP_LOCAL_AWS_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct entry {
    int64_t bytes, modified_ms;
    char etag[48];     /* without quotes */
    char checksum[24]; /* name of the first additional checksum, upper case; "" if none */
    char *key;         /* owned by the index */
};

struct index;
struct index *index_new(void); /* NULL: no memory */
void index_free(struct index *x);
/* Puts or replaces; e->key is copied. false: no memory. */
bool index_put(struct index *x, const struct entry *e);
bool index_remove(struct index *x, const char *key); /* false: was not there */
/* NULL if there is none. Valid until the next change. */
const struct entry *index_find(const struct index *x, const char *key);
/* The first entry whose key is > key, or >= key if inclusive. */
const struct entry *index_next(const struct index *x, const char *key, bool inclusive);

#endif
