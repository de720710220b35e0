/*
 * tls_files - certificates, keys and revocation lists from their files: read, judged in words, and carried to other processes.
 *
 * One process reads the files and judges them (the recorder); association processes get the result in a sealed memory file. So all of them
 * use the same set, a set that is broken is nobody's, and no association process needs a right to the files. Relative paths are
 * seen from the installation's directory. Every file is bounded; nobody is ever asked for a password. Not thread safe.
 */
#ifndef STORESCP_DICOM_TLS_FILES_H
#define STORESCP_DICOM_TLS_FILES_H

#include "common/runtime/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { TLS_CERTIFICATE, TLS_KEY, TLS_CA, TLS_CRL, TLS_PARTS };
enum { TLS_PATH_SIZE = 4096, TLS_FILE_BYTES_MAX = 16 << 20, TLS_DIRECTORY_FILES_MAX = 512, TLS_EXPIRY_NOTICE_DAYS = 30 };

enum tls_client { TLS_CLIENT_REQUIRE, TLS_CLIENT_REQUEST, TLS_CLIENT_NONE };
enum tls_profile { TLS_BCP195, TLS_BCP195_ND, TLS_BCP195_EXTENDED };

struct tls_settings {
    char path[TLS_PARTS][TLS_PATH_SIZE]; /* "" for what is not set */
    char password[257];                  /* of the key; "": none */
    enum tls_client client;
    enum tls_profile profile;
    bool only_13; /* TLS 1.2 is refused */
};

/* DER encodings, one behind the other, of each part: our chain (the leaf first), our key, CA certificates, revocation lists. */
struct tls_bundle {
    unsigned char *bytes[TLS_PARTS];
    size_t length[TLS_PARTS];
    bool is_valid_now;  /* our certificate's dates */
    int64_t expires_ms; /* wall clock */
};

/* What the tls_ settings say. ERR_CONFIG: a path is too long, or two settings contradict each other. */
int tls_settings_read(struct tls_settings *out, const struct config *config, struct err *e);

/* Told about what can be used and yet should be seen to. serious: peers will refuse us, or we all of them. */
typedef void (*tls_say)(void *ctx, bool serious, const char *sentence);

/* Reads and judges all files. ERR_CONFIG with a sentence (setting, file, remedy) when they cannot be used at all. Clear the bundle then too. */
int tls_files_read(struct tls_bundle *out, const struct tls_settings *s, tls_say say, void *ctx, struct err *e);
void tls_bundle_clear(struct tls_bundle *b);

/* A number that changes when any of the files is replaced, written, removed or comes back. Costs one stat each. */
uint64_t tls_files_signature(const struct tls_settings *s);

/* A sealed memory file of the bundle, for SCM_RIGHTS; close it. And back. */
int tls_bundle_share(const struct tls_bundle *b, int *fd, struct err *e);
int tls_bundle_take(struct tls_bundle *out, int fd, struct err *e);

#ifdef __cplusplus
}
#endif

#endif
