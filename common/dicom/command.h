/*
 * command - DIMSE command sets (PS3.7 section 6.3 and annex E): implicit VR little endian, group 0000. Pure: no I/O, no state, no
 * globals. Bytes come from the network; every length is checked, the size is bounded by COMMAND_BYTES_MAX.
 */
#ifndef STORESCP_DICOM_COMMAND_H
#define STORESCP_DICOM_COMMAND_H

#include "common/runtime/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A C-STORE request needs less than 400 bytes; a longer command set than this comes from no modality. UIDs have up to 64
 * characters; some more are kept as they came, so that the validator can judge them. */
enum { COMMAND_BYTES_MAX = 8192, COMMAND_UID_SIZE = 72, COMMAND_RESPONSE_MAX = 512 };

enum {
    COMMAND_PRIORITY_HIGH = 0x0001, /* PS3.7 section 9.3.1.1 */
    COMMAND_C_STORE_RQ = 0x0001,
    COMMAND_C_ECHO_RQ = 0x0030,
    COMMAND_N_EVENT_REPORT_RQ = 0x0100,
    COMMAND_N_ACTION_RQ = 0x0130,
    COMMAND_C_CANCEL_RQ = 0x0fff,
    COMMAND_IS_RESPONSE = 0x8000
};

struct command {
    uint16_t field, message_id;
    uint16_t status;                       /* of a response; 0 when absent */
    uint16_t action_type;                  /* of an N-ACTION; 0 when absent */
    uint16_t priority;                     /* (0000,0700) of a C-STORE: COMMAND_PRIORITY_HIGH, or something else; 0, medium, when absent or odd */
    bool has_data_set;                     /* (0000,0800) is not 0101H */
    bool uid_unusable;                     /* longer than we keep, or with bytes that are no printable ASCII */
    char sop_class_uid[COMMAND_UID_SIZE];  /* affected or requested; without padding; "" when absent */
    char sop_instance_uid[COMMAND_UID_SIZE];
};

/* Returns 0, or ERR_PROTOCOL with the reason: not a command set, or without command field, message id (where it is needed) or data set type. */
int command_parse(const unsigned char *bytes, size_t count, struct command *out, struct err *e);
/* The response to request: no data set. comment: (0000,0902), NULL or "" for none, cut at 64 characters. Returns its length. */
size_t command_response(unsigned char out[COMMAND_RESPONSE_MAX], const struct command *request, uint16_t status, const char *comment);
/* A request to report an event, with a data set (PS3.7 section 10.1.1). Returns its length. */
size_t command_event_report(unsigned char out[COMMAND_RESPONSE_MAX], uint16_t message_id, const char *sop_class_uid,
                            const char *sop_instance_uid, uint16_t event_type);

#endif
