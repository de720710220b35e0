/*
 * text - a growing text for answers and results. An error (memory, more than TEXT_MAX bytes) sticks: check failed once, at the end.
 * Bytes are always followed by a NUL once anything was added.
 */
#ifndef STORESCP_LOCAL_AWS_TEXT_H
#define STORESCP_LOCAL_AWS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TEXT_MAX = 64 << 20 };

struct text {
    char *bytes; /* heap; text_clear() */
    size_t used, room;
    bool failed;
};

void text_add_bytes(struct text *t, const void *bytes, size_t count);
void text_add(struct text *t, const char *s);
void text_addf(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Escaped for XML character data and attributes; what XML 1.0 cannot hold becomes '?'. */
void text_add_xml(struct text *t, const char *s);
/* <name>value</name>, the value escaped. */
void text_add_element(struct text *t, const char *name, const char *value);
void text_clear(struct text *t);

/* "2026-01-02T03:04:05.678Z" */
void text_time_iso(int64_t wall_ms, char out[32]);
/* "Fri, 02 Jan 2026 03:04:05 GMT" */
void text_time_http(int64_t wall_ms, char out[32]);
/* Percent-decodes count characters of s into out (NUL terminated); plus_is_space for queries. false: a broken or NUL escape, or it
 * does not fit. */
bool text_decode(const char *s, size_t count, bool plus_is_space, char *out, size_t size);
/* Base64 of bytes; out needs 4 * ((count + 2) / 3) + 1. */
void text_base64(const unsigned char *bytes, size_t count, char *out);
/* -> number of bytes, negative if it is no base64 or does not fit */
int text_base64_decode(const char *s, unsigned char *out, size_t size);
void text_hex(const unsigned char *bytes, size_t count, char *out);
/* count random bytes as 2 * count lower-case hex digits and a NUL. */
void text_random_hex(size_t count, char *out);

#endif
