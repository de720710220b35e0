/*
 * uid - words of DICOM that are judged by their letters alone: UIDs, AE titles, transfer syntaxes. Pure: no I/O, no state, no globals.
 *
 * Sources: PS3.5 section 9.1 (UIDs), PS3.5 section 6.2 and PS3.8 table 9-11 (AE titles), PS3.6 annex A (transfer syntaxes),
 * HealthImaging developer guide "supported transfer syntaxes".
 */
#ifndef STORESCP_DICOM_UID_H
#define STORESCP_DICOM_UID_H

#include <stdbool.h>
#include <stddef.h>

/* PS3.5 section 9.1: components of digits, 64 characters at most, no empty component. Leading zeros are common in the field and pass. */
bool dicom_uid_is_legal(const char *uid);
/* A component of more than one digit begins with 0: against PS3.5 section 9.1, but imported. */
bool dicom_uid_has_leading_zero(const char *uid);
/* 1 to 16 characters of the default repertoire, no backslash, no control characters, not only spaces. */
bool dicom_ae_is_legal(const char *title);

/* The number of an IS value (PS3.5 section 6.2) in its shortest form: "+007" is "7"; false, and out is "", if it is none or has more than 12 characters. */
bool dicom_integer(const char *text, char *out, size_t size);

/* How the data set is encoded (PS3.5 section 10 and annex A). */
enum dicom_ts_kind { DICOM_TS_IMPLICIT, DICOM_TS_EXPLICIT, DICOM_TS_BIG_ENDIAN, DICOM_TS_DEFLATED, DICOM_TS_ENCAPSULATED };

/* What becomes of the pixels. A syntax that may hold both counts as lossy. */
enum dicom_ts_family { DICOM_TS_UNCOMPRESSED, DICOM_TS_LOSSLESS, DICOM_TS_LOSSY, DICOM_TS_VIDEO, DICOM_TS_REFERENCED };

struct dicom_ts {
    const char *uid, *name, *keyword; /* keyword: PS3.6 table A-1 */
    enum dicom_ts_kind kind;
    enum dicom_ts_family family;
    bool imported; /* HealthImaging reads its frames; otherwise it keeps the pixel data as a blob and warns (0xB120) */
};

/* The entry of a transfer syntax, NULL if it is none that we know by name. Static storage. */
const struct dicom_ts *dicom_ts_find(const char *uid);
/* By its keyword, in any case; NULL if it is none. */
const struct dicom_ts *dicom_ts_find_keyword(const char *keyword);
/* Known or not: a legal UID that is 1.2.840.10008.1.2 or below it, as every transfer syntax of the standard is. */
bool dicom_ts_is_standard(const char *uid);
/* How to read a data set in that syntax; one that nobody knows is taken as explicit little endian (PS3.5 section A.4). */
enum dicom_ts_kind dicom_ts_kind_of(const char *uid);

#endif
