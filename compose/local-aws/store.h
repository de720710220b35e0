/*
 * store - buckets and objects on disk, safe against SIGKILL at any moment.
 *
 *   <data>/objects/<bucket>/<2 hex>/<hex SHA-256 of the key>     an object
 *   <data>/tmp/<id>                                              being written; swept at the start
 *   <data>/puts.log                                              one line for each object that was to become visible by a request
 *
 * An object is one file: its bytes, then a JSON text that describes it (key, size, ETag, checksums, headers), then 16 bytes that give
 * the length of the text and a magic word. It is written below tmp/ and renamed: it is there whole, or not at all. A line of puts.log
 * is written just before the rename, so what was ever visible is in the log: "<time ms> <key> <bytes> <SHA-256>".
 * With `durable` the file is fdatasync()ed before and the directory after the rename; without, only a crash of the machine can lose.
 * Which keys there are is kept in memory, too, in their order; it is read from the files at the start. Thread safe.
 */
#ifndef STORESCP_LOCAL_AWS_STORE_H
#define STORESCP_LOCAL_AWS_STORE_H

#include "common/runtime/err.h"
#include "compose/local-aws/index.h"

#include <jansson.h>

enum { STORE_PATH = 1024, STORE_KEY_MAX = 1024 };

struct store;
int store_open(struct store **out, const char *data, bool durable, struct err *e);
void store_close(struct store *s);

/* 3 to 63 of [a-z0-9.-], the first and the last no dot or hyphen. */
bool store_bucket_is_legal(const char *bucket);
/* ERR_EXISTS */
int store_bucket_make(struct store *s, const char *bucket, struct err *e);
bool store_bucket_exists(struct store *s, const char *bucket);
/* ERR_EXISTS: it is not empty; ERR_NOT_FOUND */
int store_bucket_remove(struct store *s, const char *bucket, struct err *e);
/* The place-th bucket in order of names: false if there are not so many. */
bool store_bucket_at(struct store *s, size_t place, char bucket[64], int64_t *made_ms);

/* A new file below tmp/: -> fd (read and write), its path. Negative error. */
int store_temp(struct store *s, char path[STORE_PATH], struct err *e);
/* Appends description and closing bytes to the open file and makes it durable if that was asked for. */
int store_seal(struct store *s, int fd, json_t *description, struct err *e);
/*
 * Makes a sealed file the object bucket/key. Takes path away in any case. only_new: ERR_EXISTS if the key is there.
 * log_sha256: the content's hash for puts.log, NULL for what the service writes itself. ERR_NOT_FOUND: no such bucket.
 */
int store_commit(struct store *s, const char *path, json_t *description, const char *bucket, const char *key, bool only_new,
                 const char *log_sha256, struct err *e);
/* A whole small object in one call, as the service writes its results. */
int store_write(struct store *s, const char *bucket, const char *key, const char *content_type, const void *bytes, size_t count,
                struct err *e);

/* Opens a sealed file: -> fd, *bytes of content and *description (json_decref). ERR_NOT_FOUND, ERR_PROTOCOL: not sealed. */
int store_open_sealed(const char *path, int64_t *bytes, json_t **description, struct err *e);
/* The same for an object. ERR_NOT_FOUND: no such key or bucket. */
int store_open_object(struct store *s, const char *bucket, const char *key, int64_t *bytes, json_t **description, struct err *e);
/* ERR_NOT_FOUND */
int store_remove(struct store *s, const char *bucket, const char *key, struct err *e);
/* The first object whose key is > key, or >= key if inclusive; false: none. entry->key is copied into room. */
bool store_next(struct store *s, const char *bucket, const char *key, bool inclusive, struct entry *entry, char room[STORE_KEY_MAX + 1]);

/* Writes a small JSON file anew: below tmp/, then renamed to path; durable if that was asked for. */
int store_save_json(struct store *s, json_t *json, const char *path, struct err *e);
/* Makes the entry of a file in its directory durable, if that was asked for. */
int store_sync_entry(const struct store *s, const char *path, struct err *e);

const char *store_data(const struct store *s);
bool store_is_durable(const struct store *s);

#endif
