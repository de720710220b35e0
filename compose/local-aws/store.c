/* store - see store.h. Sealed files are in sealed.c, the start in store_load.c. */
#include "compose/local-aws/store_internal.h"

#include "common/aws/request/sigv4.h"
#include "common/runtime/runtime.h"
#include "compose/local-aws/checksum.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *store_data(const struct store *s)
{
    return s->data;
}

bool store_is_durable(const struct store *s)
{
    return s->durable;
}

bool store_bucket_is_legal(const char *bucket)
{
    size_t length = strlen(bucket);
    return length >= 3 && length <= 63 && strspn(bucket, "abcdefghijklmnopqrstuvwxyz0123456789.-") == length &&
           !strchr(".-", bucket[0]) && !strchr(".-", bucket[length - 1]) && !strstr(bucket, "..");
}

/* ---- buckets; the lock is held ------------------------------------------------------------------------------------------ */

struct bucket *store_find_bucket(struct store *s, const char *name)
{
    for (size_t i = 0; i < s->bucket_count; i++) {
        if (strcmp(s->buckets[i].name, name) == 0) {
            return &s->buckets[i];
        }
    }
    return NULL;
}

int store_add_bucket(struct store *s, const char *name, int64_t made_ms, struct err *e)
{
    if (s->bucket_count == BUCKETS_MAX) {
        return err_set(e, ERR_TOO_LARGE, 0, "more than %d buckets", BUCKETS_MAX);
    }
    struct index *x = index_new();
    if (!x) {
        return err_set(e, ERR_MEMORY, 0, "no memory for a bucket");
    }
    size_t place = s->bucket_count;
    while (place > 0 && strcmp(s->buckets[place - 1].name, name) > 0) {
        s->buckets[place] = s->buckets[place - 1];
        place--;
    }
    memset(&s->buckets[place], 0, sizeof s->buckets[place]);
    (void)snprintf(s->buckets[place].name, sizeof s->buckets[place].name, "%s", name);
    s->buckets[place].made_ms = made_ms;
    s->buckets[place].index = x;
    s->bucket_count++;
    return 0;
}

struct entry store_entry_of(json_t *description)
{
    struct entry entry = {0};
    const char *etag = json_string_value(json_object_get(description, "etag"));
    entry.bytes = json_integer_value(json_object_get(description, "bytes"));
    entry.modified_ms = json_integer_value(json_object_get(description, "modified_ms"));
    entry.key = (char *)(uintptr_t)json_string_value(json_object_get(description, "key"));
    (void)snprintf(entry.etag, sizeof entry.etag, "%s", etag ? etag : "");
    const char *name = json_object_iter_key(json_object_iter(json_object_get(description, "checksums")));
    for (size_t i = 0; name && name[i] && i + 1 < sizeof entry.checksum; i++) {
        entry.checksum[i] = (char)(name[i] >= 'a' && name[i] <= 'z' ? name[i] - 32 : name[i]);
    }
    return entry;
}

/* ---- buckets -------------------------------------------------------------------------------------------------------------- */

int store_bucket_make(struct store *s, const char *bucket, struct err *e)
{
    char path[STORE_PATH];
    (void)snprintf(path, sizeof path, "%s/objects/%s", s->data, bucket);
    (void)pthread_mutex_lock(&s->lock);
    int rc = store_find_bucket(s, bucket) ? err_set(e, ERR_EXISTS, 0, "the bucket %s is there", bucket) : directory_make(path, e);
    if (rc == 0) {
        rc = store_add_bucket(s, bucket, clock_wall_ms(), e);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

bool store_bucket_exists(struct store *s, const char *bucket)
{
    (void)pthread_mutex_lock(&s->lock);
    bool found = store_find_bucket(s, bucket) != NULL;
    (void)pthread_mutex_unlock(&s->lock);
    return found;
}

int store_bucket_remove(struct store *s, const char *bucket, struct err *e)
{
    char path[STORE_PATH];
    int rc = 0;
    (void)pthread_mutex_lock(&s->lock);
    struct bucket *b = store_find_bucket(s, bucket);
    if (!b) {
        rc = err_set(e, ERR_NOT_FOUND, 0, "no bucket %s", bucket);
    } else if (index_next(b->index, "", true)) {
        rc = err_set(e, ERR_EXISTS, 0, "the bucket %s is not empty", bucket);
    } else {
        for (int i = 0; i < 256; i++) {
            (void)snprintf(path, sizeof path, "%s/objects/%s/%02x", s->data, bucket, (unsigned)i);
            (void)rmdir(path);
        }
        (void)snprintf(path, sizeof path, "%s/objects/%s", s->data, bucket);
        rc = rmdir(path) == 0 ? 0 : err_set(e, err_from_errno(errno), errno, "cannot remove %s", path);
    }
    if (rc == 0) {
        index_free(b->index);
        memmove(b, b + 1, (size_t)(&s->buckets[s->bucket_count] - (b + 1)) * sizeof *b);
        s->bucket_count--;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

bool store_bucket_at(struct store *s, size_t place, char bucket[64], int64_t *made_ms)
{
    (void)pthread_mutex_lock(&s->lock);
    bool found = place < s->bucket_count;
    if (found) {
        (void)snprintf(bucket, 64, "%s", s->buckets[place].name);
        *made_ms = s->buckets[place].made_ms;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return found;
}

/* ---- objects -------------------------------------------------------------------------------------------------------------- */

static void object_path(const struct store *s, const char *bucket, const char *key, char path[STORE_PATH], size_t *directory)
{
    char hex[65];
    sigv4_sha256_hex(key, strlen(key), hex);
    int n = snprintf(path, STORE_PATH, "%s/objects/%s/%.2s", s->data, bucket, hex);
    (void)snprintf(path + n, STORE_PATH - (size_t)n, "/%s", hex);
    *directory = (size_t)n;
}

int store_temp(struct store *s, char path[STORE_PATH], struct err *e)
{
    char id[27];
    id_new(id);
    (void)snprintf(path, STORE_PATH, "%s/tmp/%s", s->data, id);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return fd >= 0 ? fd : err_set(e, err_from_errno(errno), errno, "cannot create %s", path);
}

static int log_put(struct store *s, json_t *description, const char *sha256, struct err *e)
{
    char line[STORE_KEY_MAX * 3 + 200];
    char key[STORE_KEY_MAX * 3 + 4];
    if (sigv4_uri_encode(json_string_value(json_object_get(description, "key")), true, key, sizeof key) != 0) {
        return err_set(e, ERR_ARGUMENT, 0, "the key is too long");
    }
    int n = snprintf(line, sizeof line, "%lld %s %lld %s\n", (long long)clock_wall_ms(), key,
                     (long long)json_integer_value(json_object_get(description, "bytes")), sha256);
    int rc = write_all(s->puts_fd, line, (size_t)n, e);
    if (rc == 0 && s->durable && fdatasync(s->puts_fd) != 0) {
        rc = err_set(e, err_from_errno(errno), errno, "fdatasync of puts.log failed");
    }
    return rc;
}

/* The lock is held. */
static int place_object(struct store *s, const char *path, json_t *description, struct bucket *b, const char *key, struct err *e)
{
    char final[STORE_PATH];
    size_t directory;
    struct entry entry = store_entry_of(description);
    object_path(s, b->name, key, final, &directory);
    int rc = rename(path, final) == 0 ? 0 : errno;
    if (rc == ENOENT) { /* the first object of its directory */
        final[directory] = '\0';
        rc = directory_make(final, e);
        final[directory] = '/';
        if (rc != 0) {
            return rc;
        }
        rc = rename(path, final) == 0 ? 0 : errno;
    }
    if (rc != 0) {
        return err_set(e, err_from_errno(rc), rc, "cannot rename to %s", final);
    }
    rc = store_sync_entry(s, final, e);
    if (rc != 0) {
        return rc;
    }
    return index_put(b->index, &entry) ? 0 : err_set(e, ERR_MEMORY, 0, "no memory for the index");
}

int store_commit(struct store *s, const char *path, json_t *description, const char *bucket, const char *key, bool only_new,
                 const char *log_sha256, struct err *e)
{
    int rc = 0;
    (void)pthread_mutex_lock(&s->lock);
    struct bucket *b = store_find_bucket(s, bucket);
    if (!b) {
        rc = err_set(e, ERR_NOT_FOUND, 0, "no bucket %s", bucket);
    } else if (only_new && index_find(b->index, key)) {
        rc = err_set(e, ERR_EXISTS, 0, "the key is there already");
    }
    if (rc == 0 && log_sha256) {
        rc = log_put(s, description, log_sha256, e);
    }
    if (rc == 0) {
        rc = place_object(s, path, description, b, key, e);
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (rc != 0) {
        (void)unlink(path);
    }
    return rc;
}

int store_open_object(struct store *s, const char *bucket, const char *key, int64_t *bytes, json_t **description, struct err *e)
{
    char path[STORE_PATH];
    size_t directory;
    if (!store_bucket_is_legal(bucket)) {
        return err_set(e, ERR_NOT_FOUND, 0, "no such bucket");
    }
    object_path(s, bucket, key, path, &directory);
    return store_open_sealed(path, bytes, description, e);
}

int store_remove(struct store *s, const char *bucket, const char *key, struct err *e)
{
    char path[STORE_PATH];
    size_t directory;
    int rc = 0;
    (void)pthread_mutex_lock(&s->lock);
    struct bucket *b = store_find_bucket(s, bucket);
    if (!b || !index_find(b->index, key)) {
        rc = err_set(e, ERR_NOT_FOUND, 0, "no such key");
    } else {
        object_path(s, bucket, key, path, &directory);
        rc = unlink(path) == 0 ? 0 : err_set(e, err_from_errno(errno), errno, "cannot remove %s", path);
    }
    if (rc == 0) {
        (void)index_remove(b->index, key);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

bool store_next(struct store *s, const char *bucket, const char *key, bool inclusive, struct entry *entry, char room[STORE_KEY_MAX + 1])
{
    (void)pthread_mutex_lock(&s->lock);
    const struct bucket *b = store_find_bucket(s, bucket);
    const struct entry *found = b ? index_next(b->index, key, inclusive) : NULL;
    if (found) {
        *entry = *found;
        (void)snprintf(room, STORE_KEY_MAX + 1, "%s", found->key);
        entry->key = room;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return found != NULL;
}
