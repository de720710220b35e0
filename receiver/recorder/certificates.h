/*
 * certificates - the recorder's side of TLS: keeps the certificates in use, looks whether their files changed, and hands them to association
 * processes. A set that cannot be used, or that has expired while the one in use has not, is not taken: the old one stays in use and an
 * error line says what is wrong with the new one. Files are often replaced one after the other, so trouble is told only when it lasts.
 */
#ifndef STORESCP_RECEIVER_CERTIFICATES_H
#define STORESCP_RECEIVER_CERTIFICATES_H

#include "common/dicom/tls_files.h"

struct certificates {
    struct tls_settings settings;
    int file;             /* sealed memory file of the set in use; -1: there is no TLS port */
    int64_t generation;   /* of that set; 1 is the first */
    uint64_t signature;   /* of the files that were looked at last */
    bool is_valid, is_broken, is_told;
    int64_t broken_since_ms, look_at_ms, notice_at_ms; /* monotonic */
};

/* Without tls_port nothing is read. ERR_CONFIG: the files cannot be used; nothing is kept. */
int certificates_begin(struct certificates *c, const struct config *config, struct err *e);
/* Takes replaced files; cheap when there are none. From time to time, before a connection is handed over, and now for SIGHUP: then the
 * result is told either way. */
void certificates_look(struct certificates *c);
void certificates_reload(struct certificates *c);
/* Other settings: as certificates_begin, but the set in use stays when the new ones do not work. */
int certificates_reconfigure(struct certificates *c, const struct config *config, struct err *e);
/* Once a while: looks, and tells once a day what expires or has expired. */
void certificates_housekeeping(struct certificates *c);
void certificates_end(struct certificates *c);

#endif
