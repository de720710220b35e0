/*
 * patience - a limit on the whole time that an association request may take. DCMTK has one for each read only, so a peer that sends a byte
 * now and then would keep a process for ever. A process serves one association at a time, so there is one limit; one thread.
 */
#ifndef STORESCP_DICOM_PATIENCE_H
#define STORESCP_DICOM_PATIENCE_H

#ifdef __cplusplus
extern "C" {
#endif

/* After seconds the peer's direction of this socket is shut: whoever reads it sees its end. Uses SIGRTMIN and one timer for
 * the life of the process. */
void patience_begin(int fd, int seconds);
/* The request is there, or fd is about to be closed. */
void patience_end(void);

#ifdef __cplusplus
}
#endif
#endif
