/* tls_bundle - the bundle of tls_files.h on its way from process to process, and what tells that its files have changed. */
#include "common/dicom/tls_files.h"

#include "common/runtime/runtime.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void tls_bundle_clear(struct tls_bundle *b)
{
    for (size_t i = 0; i < TLS_PARTS; i++) {
        OPENSSL_cleanse(b->bytes[i], b->length[i]);
        free(b->bytes[i]);
    }
    memset(b, 0, sizeof *b);
}

/* ---- has anything changed? ---------------------------------------------------------------------------------------------------- */

static uint64_t mixed(uint64_t h, uint64_t value)
{
    for (int i = 0; i < 8; i++) {
        h = (h ^ (value >> (8 * i) & 0xff)) * 0x100000001b3u; /* FNV-1a */
    }
    return h;
}

static uint64_t signature_of(const char *path, struct stat *st)
{
    uint64_t h = 0xcbf29ce484222325u;
    if (stat(path, st) != 0) {
        memset(st, 0, sizeof *st);
        return mixed(h, (uint64_t)errno);
    }
    h = mixed(mixed(mixed(h, st->st_dev), st->st_ino), (uint64_t)st->st_size);
    h = mixed(mixed(h, (uint64_t)st->st_mtim.tv_sec), (uint64_t)st->st_mtim.tv_nsec);
    return mixed(mixed(h, (uint64_t)st->st_ctim.tv_sec), (uint64_t)st->st_ctim.tv_nsec);
}

uint64_t tls_files_signature(const struct tls_settings *s)
{
    uint64_t all = 0;
    for (size_t i = 0; i < TLS_PARTS; i++) {
        struct stat st;
        uint64_t h = s->path[i][0] ? signature_of(s->path[i], &st) : 0;
        all = mixed(all, h);
        DIR *directory = s->path[i][0] && S_ISDIR(st.st_mode) ? opendir(s->path[i]) : NULL;
        struct dirent *entry;
        uint64_t sum = 0; /* the order of the entries does not count */
        for (int files = 0; directory && files <= TLS_DIRECTORY_FILES_MAX && (entry = readdir(directory)); files++) {
            char one[TLS_PATH_SIZE + 300];
            (void)snprintf(one, sizeof one, "%s/%s", s->path[i], entry->d_name);
            sum += entry->d_name[0] == '.' ? 0 : signature_of(one, &st);
        }
        if (directory) {
            (void)closedir(directory);
        }
        all = mixed(all, sum);
    }
    return all;
}

/* ---- from process to process ---------------------------------------------------------------------------------------------------- */

int tls_bundle_share(const struct tls_bundle *b, int *fd, struct err *e)
{
    int file = memfd_create("storescp-tls", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (file == -1) {
        return err_set(e, err_from_errno(errno), errno, "memory file for certificates");
    }
    uint64_t length[TLS_PARTS];
    for (size_t i = 0; i < TLS_PARTS; i++) {
        length[i] = b->length[i];
    }
    int rc = write_all(file, length, sizeof length, e);
    for (size_t i = 0; rc == 0 && i < TLS_PARTS; i++) {
        rc = write_all(file, b->bytes[i], b->length[i], e);
    }
    if (rc == 0 && fcntl(file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
        rc = err_set(e, ERR_IO, errno, "sealing the memory file for certificates");
    }
    if (rc != 0) {
        (void)close(file);
        return rc;
    }
    *fd = file;
    return 0;
}

static int take_bytes(int fd, void *bytes, size_t count, off_t at, struct err *e)
{
    for (size_t have = 0; have < count;) {
        ssize_t n = pread(fd, (unsigned char *)bytes + have, count - have, at + (off_t)have);
        if (n <= 0) {
            return err_set(e, ERR_IO, n == 0 ? 0 : errno, "memory file for certificates");
        }
        have += (size_t)n;
    }
    return 0;
}

int tls_bundle_take(struct tls_bundle *out, int fd, struct err *e)
{
    uint64_t length[TLS_PARTS];
    off_t at = sizeof length;
    memset(out, 0, sizeof *out);
    int rc = take_bytes(fd, length, sizeof length, 0, e);
    for (size_t i = 0; rc == 0 && i < TLS_PARTS; i++) {
        out->bytes[i] = length[i] <= TLS_FILE_BYTES_MAX ? malloc(length[i] + 1) : NULL;
        if (!out->bytes[i]) {
            rc = err_set(e, ERR_MEMORY, 0, "certificates");
            break;
        }
        out->length[i] = length[i];
        rc = take_bytes(fd, out->bytes[i], length[i], at, e);
        at += (off_t)length[i];
    }
    if (rc != 0) {
        tls_bundle_clear(out);
    }
    return rc;
}
