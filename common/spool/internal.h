/* internal - what the files of common/spool share. */
#ifndef STORESCP_SPOOL_INTERNAL_H
#define STORESCP_SPOOL_INTERNAL_H

#include "common/spool/spool.h"

enum { SPOOL_PATH_MAX = 4352, SPOOL_HEAD_MAX = 1024, SPOOL_PROOF_BYTES = 64 };

/* home/spool/<room>/<id><suffix> */
void spool_path(char path[SPOOL_PATH_MAX], const char *home, const char *room, const char *id, const char *suffix);
/* Writes preamble, DICM and file meta information (PS3.10 section 7.1); length depends on the texts only. */
size_t spool_head(unsigned char head[SPOOL_HEAD_MAX], const struct spool_meta *meta);

/* Walks the file in that room; see spool_read_meta(). room NULL: wherever it is. */
int spool_read_room(const char *home, const char *room, const char *id, int verify, struct spool_meta *out, struct err *e);

#endif
