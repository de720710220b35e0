/*
 * ini_file - reads "name = value" files with [sections]: storescp.conf and the shared files of the AWS SDKs.
 *
 * Why not libinih: Debian builds it with lines of 200 bytes and cuts longer ones; a session token has a thousand.
 * White space around name and value goes. A line that begins with '#' or ';' is a comment, and so is " #..." or " ;..." behind a value;
 * '#' and ';' without white space in front belong to the value. "name: value" is taken too. An indented line without a section of
 * its own is a plain setting (`nested` tells). A UTF-8 byte order mark in front is skipped. Lines hold up to 32,767 bytes.
 */
#ifndef STORESCP_RUNTIME_INI_FILE_H
#define STORESCP_RUNTIME_INI_FILE_H

#include "common/runtime/err.h"

#include <stdbool.h>

struct ini_line {
    const char *section, *name, *value; /* "" as section before the first; valid during the call */
    int number;                         /* from 1 */
    int section_number;                 /* of the section's own line; 0 before the first */
    bool nested;                        /* the line is indented */
};

/* Calls each() for every setting; a non-zero value ends the reading and is returned. ERR_NOT_FOUND: no such file; ERR_IO; ERR_PROTOCOL with
 * *bad_line (may be NULL) = the first line that is neither setting, section nor comment, or is too long; the lines after it are read as well. */
int ini_file_read(const char *path, int (*each)(void *ctx, const struct ini_line *line), void *ctx, int *bad_line, struct err *e);

#endif
