/*
 * scan_pixels - encapsulated pixel data (PS3.5 section A.4): how many fragments, and do the offset tables point to them?
 *
 * The tables are read a piece at a time while the fragments pass, so that a million frames need no more memory than one. The basic table is
 * the first item of the pixel data, offsets of 32 bits; the extended one is (7FE0,0001), offsets of 64 bits (PS3.3 section C.7.6.3.1.8).
 * Both count from the first fragment's item tag; a frame may have several fragments, so not every fragment has an entry.
 */
#include "common/dicom/scan_internal.h"

#include <string.h>

static uint64_t entry_at(const struct scan_offsets *t, int64_t i)
{
    const unsigned char *p = t->piece + (size_t)(i - t->from) * t->width;
    uint64_t value = 0;
    for (size_t k = t->width; k > 0; k--) {
        value = value << 8 | p[k - 1];
    }
    return value;
}

/* The next entry of the table, if there is one. */
static bool next_offset(struct source *s, struct scan_offsets *t, uint64_t *offset)
{
    if (t->next >= t->count) {
        return false;
    }
    if (t->next >= t->from + t->have) {
        int64_t left = t->count - t->next;
        int64_t room = (int64_t)(sizeof t->piece / t->width);
        size_t want = (size_t)(left < room ? left : room) * t->width;
        t->from = t->next;
        t->have = (int64_t)(scan_read_file(s, t->piece, want, t->at + t->next * (int64_t)t->width) / t->width);
        if (t->have == 0) {
            return false; /* the file ends; that is found elsewhere */
        }
    }
    *offset = entry_at(t, t->next);
    return true;
}

/* A fragment begins at that offset: it takes the entry that says so; an entry below it points between fragments. */
static void match(struct source *s, struct scan_offsets *t, int64_t at, struct dicom_scan *out)
{
    uint64_t offset;
    if (out->pixels.offsets_are_wrong || !next_offset(s, t, &offset)) {
        return;
    }
    if (offset == (uint64_t)at) {
        t->next++;
        out->pixels.offsets_are_wrong = next_offset(s, t, &offset) && offset <= (uint64_t)at;
    } else {
        out->pixels.offsets_are_wrong = offset < (uint64_t)at || at == 0; /* the first frame begins with the first fragment */
    }
}

void scan_extended_offsets(struct source *s, const struct element *el, struct dicom_scan *out)
{
    if (s->extended.at == 0 && !s->deflated && el->length != SCAN_UNDEFINED) {
        s->extended = (struct scan_offsets){.at = s->at, .count = el->length / 8, .width = 8};
        out->pixels.extended_offsets = s->extended.count;
    }
}

void scan_fragment(struct source *s, const struct element *el, struct dicom_scan *out)
{
    if (!s->has_table_item) {
        s->has_table_item = true;
        s->pixels_begin = s->at + el->length;
        out->pixels.offsets = el->length / 4;
        if (!s->deflated && out->pixels.offsets > 0) {
            s->basic = (struct scan_offsets){.at = s->at, .count = out->pixels.offsets, .width = 4};
        }
        return;
    }
    out->pixels.fragments++;
    out->pixels.empty_fragments += el->length == 0;
    out->pixels.bytes += el->length;
    match(s, &s->basic, el->at - s->pixels_begin, out);
    match(s, &s->extended, el->at - s->pixels_begin, out);
}

void scan_fragments_end(struct source *s, struct dicom_scan *out)
{
    uint64_t offset;
    out->pixels.offsets_are_wrong = out->pixels.offsets_are_wrong || next_offset(s, &s->basic, &offset) || next_offset(s, &s->extended, &offset);
    s->pixels_begin = 0;
}
