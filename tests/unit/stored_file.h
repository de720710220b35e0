/*
 * stored_file - for tests: a DICOM file as our receiver would store it after shared/dicom/tools/rawstore.py had sent it.
 *
 * rawstore.py reads the UIDs and the transfer syntax of the file's own meta information (or takes its defaults), sends the rest byte for
 * byte, and the receiver writes new meta information from the C-STORE request. Here both steps happen in memory.
 */
#ifndef STORESCP_TESTS_STORED_FILE_H
#define STORESCP_TESTS_STORED_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct bytes { /* grows; for tests only, so running out of memory aborts */
    unsigned char *at;
    size_t count, room;
};

static inline void bytes_add(struct bytes *b, const void *more, size_t count)
{
    if (b->count + count > b->room) {
        b->room = (b->count + count) * 2 + 64;
        b->at = realloc(b->at, b->room);
        if (!b->at) {
            abort();
        }
    }
    if (count > 0) {
        memcpy(b->at + b->count, more, count);
    }
    b->count += count;
}

static inline void bytes_clear(struct bytes *b)
{
    free(b->at);
    memset(b, 0, sizeof *b);
}

/* One explicit little endian element; the length is written as given, also when it is a lie. */
static inline void bytes_element(struct bytes *b, unsigned group, unsigned number, const char *vr, const void *value, size_t count,
                                 uint32_t length)
{
    unsigned char head[12] = {(unsigned char)group, (unsigned char)(group >> 8), (unsigned char)number, (unsigned char)(number >> 8),
                              (unsigned char)vr[0], (unsigned char)vr[1]};
    bool is_long = strstr("OB OD OF OL OV OW SQ UC UN UR UT SV UV", vr) != NULL;
    size_t at = is_long ? 8 : 6;
    for (size_t i = 0; i < (is_long ? 4u : 2u); i++) {
        head[at + i] = (unsigned char)(length >> (8 * i));
    }
    bytes_add(b, head, is_long ? 12 : 8);
    bytes_add(b, value, count);
}

/* A text element of correct length, padded with a NUL for UI and a space otherwise. */
static inline void bytes_text(struct bytes *b, unsigned group, unsigned number, const char *vr, const char *text)
{
    size_t length = strlen(text);
    size_t padded = (length + 1) & ~(size_t)1;
    bytes_element(b, group, number, vr, text, length, (uint32_t)padded);
    if (padded != length) {
        bytes_add(b, strcmp(vr, "UI") == 0 ? "" : " ", 1);
    }
}

/* Preamble and file meta information as the receiver writes them. */
static inline void bytes_head(struct bytes *b, const char *class_uid, const char *instance_uid, const char *syntax)
{
    static const unsigned char preamble[128];
    bytes_add(b, preamble, sizeof preamble);
    bytes_add(b, "DICM", 4);
    bytes_element(b, 2, 0, "UL", "\0\0\0\0", 4, 4);
    bytes_element(b, 2, 1, "OB", "\0\1", 2, 2);
    if (class_uid[0]) {
        bytes_text(b, 2, 2, "UI", class_uid);
    }
    if (instance_uid[0]) {
        bytes_text(b, 2, 3, "UI", instance_uid);
    }
    if (syntax[0]) {
        bytes_text(b, 2, 0x10, "UI", syntax);
    }
}

/* A descriptor that reads these bytes; the caller closes it. */
static inline int bytes_fd(const struct bytes *b)
{
    int fd = memfd_create("bytes", MFD_CLOEXEC);
    if (fd == -1 || (b->count > 0 && write(fd, b->at, b->count) != (ssize_t)b->count)) {
        abort();
    }
    return fd;
}

/* meta() of rawstore.py, word by word. Returns the offset of the data set. */
static inline size_t rawstore_meta(const struct bytes *file, char class_uid[72], char instance_uid[72], char syntax[72])
{
    char *const out[3] = {class_uid, instance_uid, syntax};
    static const unsigned numbers[3] = {2, 3, 0x10};
    size_t p = 132;
    (void)snprintf(class_uid, 72, "1.2.840.10008.5.1.4.1.1.7");
    (void)snprintf(instance_uid, 72, "1.2.3.4.5");
    (void)snprintf(syntax, 72, "1.2.840.10008.1.2");
    if (file->count < 132 || memcmp(file->at + 128, "DICM", 4) != 0) {
        return 0;
    }
    while (p + 8 <= file->count) {
        const unsigned char *h = file->at + p;
        if (h[0] != 2 || h[1] != 0) {
            break;
        }
        char vr[3] = {(char)h[4], (char)h[5], 0};
        size_t length = h[6] | (size_t)h[7] << 8;
        p += 8;
        if (strcmp(vr, "OB") == 0 || strcmp(vr, "UN") == 0 || strcmp(vr, "OW") == 0 || strcmp(vr, "SQ") == 0 || strcmp(vr, "UT") == 0) {
            if (p + 4 > file->count) {
                break;
            }
            length = h[8] | (size_t)h[9] << 8 | (size_t)h[10] << 16 | (size_t)h[11] << 24;
            p += 4;
        }
        for (size_t i = 0; i < 3; i++) {
            if ((h[2] | (unsigned)h[3] << 8) == numbers[i] && p + length <= file->count) {
                size_t n = length;
                while (n > 0 && (file->at[p + n - 1] == 0 || file->at[p + n - 1] == ' ')) {
                    n--;
                }
                if (n > 0) {
                    (void)snprintf(out[i], 72, "%.*s", (int)n, (const char *)file->at + p);
                }
            }
        }
        p += length;
    }
    return p < file->count ? p : file->count;
}

/* Reads path and rebuilds it as stored; false if it cannot be read. */
static inline bool stored_file(const char *path, struct bytes *out)
{
    struct bytes file = {0};
    char class_uid[72], instance_uid[72], syntax[72];
    char chunk[65536];
    FILE *f = fopen(path, "rb");
    if (!f) {
        return false;
    }
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0) {
        bytes_add(&file, chunk, n);
    }
    (void)fclose(f);
    size_t offset = rawstore_meta(&file, class_uid, instance_uid, syntax);
    bytes_head(out, class_uid, instance_uid, syntax);
    bytes_add(out, file.at ? file.at + offset : (const unsigned char *)"", file.count - offset);
    bytes_clear(&file);
    return true;
}

#endif
