/*
 * associate - what DCMTK 3.6.7 passes over in an association request and cannot put into its answer: the asynchronous operations window (PS3.7
 * D.3.3.3), and role selections with neither role. Pure: bytes of whole A-ASSOCIATE PDUs (PS3.8 sections 9.3.2 and 9.3.3), every length is
 * checked.
 */
#ifndef STORESCP_DICOM_ASSOCIATE_H
#define STORESCP_DICOM_ASSOCIATE_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { ASSOCIATE_WINDOW_BYTES = 8 }; /* of the sub-item */

struct associate_window { /* 0: no limit */
    unsigned invoked, performed; /* operations outstanding, by the requestor and by the acceptor */
};

/* The window that a request proposes; false when it proposes none. */
bool associate_read_window(const unsigned char *pdu, size_t bytes, struct associate_window *out);
/* Does the request select neither role for this SOP class? */
bool associate_selects_no_role(const unsigned char *pdu, size_t bytes, const char *sop_class_uid);
/* Adds the window at the end of an A-ASSOCIATE-AC, in place: room for ASSOCIATE_WINDOW_BYTES more must be there. The new number of bytes, or
 * 0 when it is no such PDU or becomes too long. */
size_t associate_add_window(unsigned char *pdu, size_t bytes, const struct associate_window *window);

#ifdef __cplusplus
}
#endif
#endif
