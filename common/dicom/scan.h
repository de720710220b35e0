/*
 * scan - a bounded reader of a Part 10 file's header: finds what support searches by and what the rules judge; never the pixels.
 *
 * No recursion, no allocation by a length from the file, every element counted: 10,000 nested sequences, which kill stock parsers,
 * are an error here, at most 64 pass. A deflated data set is inflated through one window, 1 GiB at most, and never stored.
 * The pixel data is passed over by its length or fragment by fragment, so a file that ends too early is found.
 * Elements are found by tag, whatever their order; group 0000, group lengths and the length of the meta information do not count.
 * Sources: PS3.10 section 7.1 (file meta information), PS3.5 section 7 (data elements, sequences), 6.2.2 (UN without length, CP-246),
 * 6.1 (character sets), A.4 (encapsulated pixel data), A.5 (deflate). Thread safe; no state.
 * scan.c walks over the elements, scan_source.c gives the bytes, scan_value.c reads values, scan_text.c tries their character set,
 * scan_pixels.c looks at fragments and offset tables.
 */
#ifndef STORESCP_DICOM_SCAN_H
#define STORESCP_DICOM_SCAN_H

#include "common/dicom/uid.h"
#include "common/runtime/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DICOM_VALUE_MISSING = -1, DICOM_VALUE_ODD = -2 /* there, but no such number */ };

/* The first pixel data of the top level: (7FE0,0010), (7FE0,0008) float or (7FE0,0009) double float, and what describes it. */
struct dicom_pixels {
    uint32_t tag;         /* group << 16 | element; 0: there is none */
    bool is_encapsulated; /* without a length: in fragments */
    int64_t bytes;        /* of the value, or of all fragments */
    int64_t rows, columns, samples, bits, frames; /* or DICOM_VALUE_MISSING, DICOM_VALUE_ODD */
    char photometric[20];
    int64_t fragments, empty_fragments; /* without the offset table */
    int64_t offsets, extended_offsets;  /* entries of the basic and the extended offset table */
    bool offsets_are_wrong;             /* an entry of either does not point to the beginning of a fragment, or they do not rise */
};

/* What an instance without pixel data holds, as bits. */
enum dicom_contents { DICOM_DOCUMENT = 1, DICOM_WAVEFORM = 2, DICOM_REPORT = 4, DICOM_RADIOTHERAPY = 8, DICOM_SPECTROSCOPY = 16 };

/* Tags are group << 16 | element; 0: there was none. */
struct dicom_scan {
    /* file meta information */
    char meta_sop_class_uid[72], meta_sop_instance_uid[72], transfer_syntax_uid[72];
    /* data set, top level; "" when missing or empty. Text is printable UTF-8, other bytes are '?'; cut at the size */
    char sop_class_uid[72], sop_instance_uid[72], study_uid[72], series_uid[72];
    char modality[20], accession_number[260], patient_id[260], study_date[20], study_id[260], series_number[20], instance_number[20];
    bool uid_is_odd;  /* a UID held a NUL inside or was cut: not a legal one */
    uint32_t odd_tag; /* of the first such UID */
    bool duplicated;  /* one of the above came twice; the first counts, also when it is empty */
    uint32_t long_tag; /* the first value longer than HealthImaging takes whole (element constraints; the UIDs excepted) */
    uint32_t undecodable_tag; /* the first identifying text that is not in the data set's character set */
    uint32_t control_tag;     /* the first identifying text with control characters */
    bool charset_is_unknown;  /* (0008,0005) holds a term that is none of the standard's */
    uint32_t odd_length_tag;  /* the first value of odd length (PS3.5 section 7.1.1) */
    uint32_t twice_tag;       /* the first element of the top level that came again right after itself */
    uint32_t order_tag;       /* the first one of the top level that stands behind a larger tag */
    uint32_t group_length_tag; /* the first group length of the top level that is not true */
    unsigned contents;         /* of enum dicom_contents, top level */
    struct dicom_pixels pixels;
    int64_t data_offset; /* of the data set, in the file */
    int64_t pixels_at, pixels_end; /* the first pixel data element at the top level with its head; in a deflated data set of the inflated one. 0: none */
};

/*
 * Reads an open file from its beginning (pread: the offset does not move). 0, or with tag and offset in e->text
 *   ERR_DICOM_UNREADABLE  no Part 10 file, damaged, or evidently not in the transfer syntax that it states
 *   ERR_DICOM_TRUNCATED   it ends inside an element, a sequence or the pixel data
 *   ERR_DICOM_LIMIT       more than 64 nested sequences, 2,000,000 elements and items, 1,000 meta elements, or 1 GiB inflated
 *   ERR_DICOM_SYNTAX      it cannot be read, and its transfer syntax is none of the standard's
 * or ERR_IO, ERR_MEMORY. Offsets in a deflated data set count its inflated bytes. *out holds what was found also on error.
 */
int dicom_scan_fd(int fd, struct dicom_scan *out, struct err *e);
/*
 * Shows every element to visit() on the way, the file meta information too; the pixel data without its value and fragments. Elements of a sequence follow
 * it and its items, one deeper. visit() returns 0 to go on, else the scan ends with ERR_STOPPED. Errors as above: what stood before them was shown.
 */
enum { DICOM_SHOWN_MAX = 256 };
struct dicom_element {
    int depth; /* sequences around it */
    unsigned group, number;
    char vr[3];     /* "": implicit, or an item */
    int64_t length; /* -1: undefined */
    int64_t offset; /* of its head; in a deflated data set of the inflated bytes */
    const unsigned char *value; /* its first bytes, as they are */
    size_t value_count;
};
typedef int dicom_visit(void *ctx, const struct dicom_element *el);
int dicom_scan_elements(int fd, dicom_visit *visit, void *ctx, struct err *e);
/* The same as dicom_scan_fd() for a file that is in memory. */
int dicom_scan_memory(const void *bytes, size_t count, struct dicom_scan *out, struct err *e);

#endif
