/*
 * scan - a bounded reader of a Part 10 file's header: finds what support searches by and what the rules judge; never the pixels.
 *
 * No recursion, no allocation by a length from the file, every element counted: 10,000 nested sequences, which kill stock parsers,
 * are an error here. Sources: PS3.10 section 7.1 (file meta information), PS3.5 section 7 (data elements, sequences), A.4 (encapsulated
 * pixel data), A.5 (deflate). Thread safe; no state.
 */
#ifndef STORESCP_DICOM_SCAN_H
#define STORESCP_DICOM_SCAN_H

#include "common/runtime/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dicom_scan {
    /* file meta information */
    char meta_sop_class_uid[72], meta_sop_instance_uid[72], transfer_syntax_uid[72];
    /* data set; "" when missing or empty. Text is printable ASCII or UTF-8, other bytes are '?' */
    char sop_class_uid[72], sop_instance_uid[72], study_uid[72], series_uid[72];
    char modality[20], accession_number[260], patient_id[260], study_date[20];
    bool uid_is_odd; /* a UID held a NUL inside or was cut: not a legal one */
    bool duplicated; /* one of the above came twice; the first counts */
    int64_t data_offset;
};

/* Reads an open file from its beginning (pread: the offset does not move). 0, or ERR_DICOM_UNREADABLE, ERR_DICOM_TRUNCATED,
 * ERR_DICOM_LIMIT with the tag and offset in e->text, ERR_IO, ERR_MEMORY. *out holds what was found also on error. */
int dicom_scan_fd(int fd, struct dicom_scan *out, struct err *e);

/* PS3.5 section 9.1: components of digits, 64 characters at most. Leading zeros are common in the field and pass. */
bool dicom_uid_is_legal(const char *uid);

#endif
