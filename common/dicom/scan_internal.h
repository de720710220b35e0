/* scan_internal - what the files of scan share; nobody else includes it. */
#ifndef STORESCP_DICOM_SCAN_INTERNAL_H
#define STORESCP_DICOM_SCAN_INTERNAL_H

#include "common/dicom/scan.h"

#include <zlib.h>

enum { SCAN_WINDOW = 64 << 10, SCAN_FIRST = 16 << 10, SCAN_NEXT = 4 << 10, SCAN_TEXT = 260, SCAN_TEXTS = 8 };
#define SCAN_UNDEFINED 0xffffffffu

/* An offset table of encapsulated pixel data, read a piece at a time beside the fragments that it points to. */
struct scan_offsets {
    int64_t at;    /* of the first entry in the file; 0: there is none */
    int64_t count; /* of entries */
    size_t width;  /* of an entry: 4 or 8 bytes */
    int64_t next;  /* the entry that the next fragment may have */
    int64_t from, have; /* entries that are in the piece */
    unsigned char piece[2048];
};

/* An identifying text whose bytes are not all ASCII: tried when the character set is known, which may stand behind it. */
struct scan_text {
    uint32_t tag;
    size_t count;
    bool is_cut;
    unsigned char raw[SCAN_TEXT];
};

/* The bytes, and what is remembered while they pass. window is the last member: it is not cleared. */
struct source {
    int fd;
    const unsigned char *memory; /* instead of fd */
    size_t memory_count;
    int64_t at;   /* position in the (inflated) stream of the next byte to give */
    int64_t from; /* stream position of window[0] */
    size_t have, want; /* bytes in the window; how many to load next */
    bool deflated;
    z_stream z;
    unsigned char *packed; /* of the deflated stream, SCAN_WINDOW bytes */
    int64_t packed_at;
    bool ended;
    bool broken;   /* the deflated stream is damaged or ends too early */
    bool too_long; /* inflated more than 1 GiB */
    int io;        /* errno of a failed read */
    uint64_t seen; /* which of the wanted tags came: one bit each */
    dicom_visit *visit; /* who wants to see every element, or NULL */
    void *visit_ctx;
    /* top level */
    uint32_t last_tag;        /* of the element before */
    unsigned length_group;    /* of the group length that is being checked; 0: none */
    int64_t length_end;       /* where it says that its group ends */
    int64_t pixels_begin;     /* of the first fragment; 0: not in the pixel data, or behind it */
    bool has_table_item;      /* the first item of the pixel data, its offset table, has passed */
    struct scan_offsets basic, extended;
    char charset[SCAN_TEXT]; /* raw, "" when missing */
    bool charset_is_cut;
    struct scan_text texts[SCAN_TEXTS];
    size_t text_count;
    unsigned char window[SCAN_WINDOW];
};

struct syntax {
    bool implicit, big_endian;
};

struct element {
    unsigned group, number;
    char vr[3];
    uint32_t length;
    int64_t at;
};

static inline unsigned scan_get16(const unsigned char *p, bool big)
{
    return big ? (unsigned)p[0] << 8 | p[1] : p[0] | (unsigned)p[1] << 8;
}

static inline uint32_t scan_get32(const unsigned char *p, bool big)
{
    return big ? (uint32_t)scan_get16(p, true) << 16 | scan_get16(p + 2, true) : scan_get16(p, false) | (uint32_t)scan_get16(p + 2, false) << 16;
}

static inline uint32_t scan_tag(const struct element *el)
{
    return (uint32_t)el->group << 16 | el->number;
}

/* scan_source.c */
/* Up to count (<= SCAN_WINDOW) bytes of the file itself at an offset. */
size_t scan_read_file(struct source *s, void *out, size_t count, int64_t at);
/* Up to count bytes at s->at, which moves on. Returns how many there were. */
size_t scan_take(struct source *s, void *out, size_t count);
/* Passes over count bytes; false if the stream ends before. */
bool scan_skip(struct source *s, int64_t count);
/* From here on the stream is what the file's rest inflates to. False: no memory. */
bool scan_inflate(struct source *s);
void scan_source_clear(struct source *s);

/* scan_value.c */
/* Reads the value of an element of the top level or of the meta information if its tag is wanted; otherwise passes over it. */
int scan_read_value(struct source *s, const struct element *el, struct syntax x, struct dicom_scan *out, struct err *e);
/* The bit of enum dicom_contents that an element of the top level stands for, or 0. */
unsigned scan_content_bit(uint32_t tag);
int scan_truncated(const struct element *el, struct err *e);

/* scan_text.c: do the texts that were kept decode in the character set? At the end of the data set, read whole or not. */
void scan_judge_texts(struct source *s, struct dicom_scan *out);

/* scan_pixels.c */
/* The value of (7FE0,0001) begins at s->at. */
void scan_extended_offsets(struct source *s, const struct element *el, struct dicom_scan *out);
/* An item of the pixel data, whose value begins at s->at: its offset table, then its fragments. */
void scan_fragment(struct source *s, const struct element *el, struct dicom_scan *out);
/* The pixel data's last fragment has passed. */
void scan_fragments_end(struct source *s, struct dicom_scan *out);

#endif
