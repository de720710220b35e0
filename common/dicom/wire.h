/* wire - the bytes of an association over a connected TCP socket, with limits in time. Plain C. */
#ifndef STORESCP_DICOM_WIRE_H
#define STORESCP_DICOM_WIRE_H

#include "common/dicom/message.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A transport over *fd, which stays the caller's and must outlive it. */
struct message_transport wire_transport(int *fd);
/* Before every read: the kernel is to acknowledge at once what comes. */
void wire_acknowledge_soon(int fd);
/* After the last PDU: ends our direction and takes what still comes, bounded in time and bytes. Unread bytes would turn the close
 * into a reset, and the peer would lose our last PDU. */
void wire_say_goodbye(int fd);

#ifdef __cplusplus
}
#endif
#endif
