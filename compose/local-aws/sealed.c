/* store, the files themselves: content, description, closing bytes. See store.h. */
#include "common/runtime/runtime.h"
#include "compose/local-aws/checksum.h"
#include "compose/local-aws/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char magic[8] = {'S', 'C', 'P', 'O', 'B', 'J', '0', '1'};
enum { DESCRIPTION_MAX = 1 << 20 };

int store_seal(struct store *s, int fd, json_t *description, struct err *e)
{
    unsigned char closing[16];
    char *text = json_dumps(description, JSON_COMPACT);
    if (!text) {
        return err_set(e, ERR_MEMORY, 0, "cannot describe an object");
    }
    size_t length = strlen(text);
    for (int i = 0; i < 8; i++) {
        closing[i] = (unsigned char)((uint64_t)length >> (8 * i));
    }
    memcpy(closing + 8, magic, sizeof magic);
    int rc = write_all(fd, text, length, e);
    if (rc == 0) {
        rc = write_all(fd, closing, sizeof closing, e);
    }
    free(text);
    if (rc == 0 && store_is_durable(s) && fdatasync(fd) != 0) {
        rc = err_set(e, err_from_errno(errno), errno, "fdatasync of an object failed");
    }
    return rc;
}

int store_sync_entry(const struct store *s, const char *path, struct err *e)
{
    char directory[STORE_PATH];
    const char *slash = strrchr(path, '/');
    if (!store_is_durable(s) || !slash) {
        return 0;
    }
    (void)snprintf(directory, sizeof directory, "%.*s", (int)(slash - path), path);
    return directory_sync(directory, e);
}

int store_save_json(struct store *s, json_t *json, const char *path, struct err *e)
{
    char temp[STORE_PATH];
    char *text = json_dumps(json, JSON_COMPACT);
    if (!text) {
        return err_set(e, ERR_MEMORY, 0, "cannot write down %s", path);
    }
    int fd = store_temp(s, temp, e);
    int rc = fd < 0 ? fd : write_all(fd, text, strlen(text), e);
    free(text);
    if (rc == 0 && store_is_durable(s) && fdatasync(fd) != 0) {
        rc = err_set(e, err_from_errno(errno), errno, "fdatasync of %s failed", path);
    }
    if (fd >= 0 && close(fd) != 0 && rc == 0) {
        rc = err_set(e, err_from_errno(errno), errno, "cannot close %s", temp);
    }
    if (rc == 0 && rename(temp, path) != 0) {
        rc = err_set(e, err_from_errno(errno), errno, "cannot rename to %s", path);
    }
    if (rc != 0 && fd >= 0) {
        (void)unlink(temp);
    }
    return rc != 0 ? rc : store_sync_entry(s, path, e);
}

static int read_description(int fd, const char *path, int64_t *bytes, json_t **description, struct err *e)
{
    struct stat st;
    unsigned char closing[16];
    uint64_t length = 0;
    if (fstat(fd, &st) != 0 || st.st_size < 16 || pread(fd, closing, 16, st.st_size - 16) != 16 ||
        memcmp(closing + 8, magic, sizeof magic) != 0) {
        return err_set(e, ERR_PROTOCOL, 0, "%s is no object of this store", path);
    }
    for (int i = 7; i >= 0; i--) {
        length = length << 8 | closing[i];
    }
    if (length > DESCRIPTION_MAX || (int64_t)length > st.st_size - 16) {
        return err_set(e, ERR_PROTOCOL, 0, "%s has no legal description", path);
    }
    char *text = malloc(length + 1);
    if (!text) {
        return err_set(e, ERR_MEMORY, 0, "no memory for a description");
    }
    int64_t from = st.st_size - 16 - (int64_t)length;
    json_t *found = pread(fd, text, length, from) == (ssize_t)length ? json_loadb(text, length, 0, NULL) : NULL;
    free(text);
    if (!json_is_object(found)) {
        json_decref(found);
        return err_set(e, ERR_PROTOCOL, 0, "%s has no readable description", path);
    }
    *bytes = from;
    *description = found;
    return 0;
}

int store_open_sealed(const char *path, int64_t *bytes, json_t **description, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_set(e, err_from_errno(errno), errno, "cannot open %s", path);
    }
    int rc = read_description(fd, path, bytes, description, e);
    if (rc != 0) {
        (void)close(fd);
        return rc;
    }
    return fd;
}

/* {"key", "bytes", "modified_ms", "etag", "checksums": {}, "headers": {}} of bytes in memory */
static json_t *describe(const char *key, const char *content_type, const void *bytes, size_t count)
{
    struct digest d;
    struct hashes *h = hashes_new(1u << CHECKSUM_CRC64NVME, true);
    if (!h) {
        return NULL;
    }
    hashes_update(h, bytes, count);
    hashes_end(h, &d);
    hashes_free(h);
    return json_pack("{s:s s:I s:I s:s s:{s:s} s:s s:{s:s}}", "key", key, "bytes", (json_int_t)count, "modified_ms",
                     (json_int_t)clock_wall_ms(), "etag", d.etag, "checksums", "crc64nvme", d.value[CHECKSUM_CRC64NVME], "checksum_type",
                     "FULL_OBJECT", "headers", "content-type", content_type);
}

int store_write(struct store *s, const char *bucket, const char *key, const char *content_type, const void *bytes, size_t count,
                struct err *e)
{
    char path[STORE_PATH];
    json_t *description = describe(key, content_type, bytes, count);
    if (!description) {
        return err_set(e, ERR_MEMORY, 0, "cannot describe an object");
    }
    int fd = store_temp(s, path, e);
    int rc = fd;
    if (fd >= 0) {
        rc = write_all(fd, bytes, count, e);
        if (rc == 0) {
            rc = store_seal(s, fd, description, e);
        }
        if (close(fd) != 0 && rc == 0) {
            rc = err_set(e, err_from_errno(errno), errno, "cannot close %s", path);
        }
        if (rc == 0) {
            rc = store_commit(s, path, description, bucket, key, false, NULL, e);
        } else {
            (void)unlink(path);
        }
    }
    json_decref(description);
    return rc;
}
