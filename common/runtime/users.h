/*
 * users - the file of users and hashes of their passcodes, for user identity negotiation (PS3.7 D.3.3.7): a line `name:hash` each, hash as
 * crypt(3) makes it (yescrypt; every method of libcrypt is understood), or `*` for a user that is known by name only. `#` begins a
 * comment line. At most USERS_MAX users in USERS_FILE_BYTES.
 *
 * Writing replaces the file as a whole and durably (a new file, renamed), under <path>.lock; mode 0600, owner of the directory.
 * Passcodes are hashed and forgotten; nothing here prints them. Thread safe. A hash takes some 60 ms and 16 MB, on purpose.
 */
#ifndef STORESCP_RUNTIME_USERS_H
#define STORESCP_RUNTIME_USERS_H

#include "common/runtime/config.h"
#include "common/runtime/err.h"

#include <stdbool.h>

enum { USERS_MAX = 5000, USERS_FILE_BYTES = 1 << 20, USERS_NAME_SIZE = 65, USERS_PASSCODE_SIZE = 257 };

/* user_file as a path. ERR_CONFIG if it does not fit. */
int users_path(const struct config *config, char *buffer, size_t size, struct err *e);

/* 1 to 64 bytes without control characters, ':' and '#' in front, no space at either end. Case counts. */
bool users_name_is_legal(const char *name);

enum users_answer { USERS_UNKNOWN, USERS_WRONG_PASSCODE, USERS_NAME_ONLY, USERS_RIGHT };
/*
 * Is this user in the file, and is it that passcode? passcode NULL: only the name counts.
 * USERS_NAME_ONLY: a passcode was given, but the user has none to compare it with. An unknown user takes as long as a wrong
 * passcode, and hashes are compared in constant time. 0, or why the file cannot be read (ERR_NOT_FOUND: there is none).
 */
int users_check(const char *path, const char *name, const char *passcode, enum users_answer *answer, struct err *e);

/* Adds the user or gives it another passcode (NULL: known by name only). */
int users_set(const char *path, const char *name, const char *passcode, struct err *e);
/* ERR_NOT_FOUND if there is no such user. */
int users_remove(const char *path, const char *name, struct err *e);
/* Every user in the order of the file; stops when each() returns something other than 0, and returns that. */
int users_each(const char *path, int (*each)(void *ctx, const char *name, bool has_passcode), void *ctx, struct err *e);

#endif
