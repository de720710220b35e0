/* text - see text.h. */
#include "compose/local-aws/text.h"

#include "common/runtime/runtime.h"

#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void text_add_bytes(struct text *t, const void *bytes, size_t count)
{
    if (t->failed) {
        return;
    }
    if (count > TEXT_MAX || t->used + count + 1 > TEXT_MAX) {
        t->failed = true;
        return;
    }
    if (t->used + count + 1 > t->room) {
        size_t room = (t->used + count + 1) * 2;
        char *grown = realloc(t->bytes, room);
        if (!grown) {
            t->failed = true;
            return;
        }
        t->bytes = grown;
        t->room = room;
    }
    if (count > 0) {
        memcpy(t->bytes + t->used, bytes, count);
    }
    t->used += count;
    t->bytes[t->used] = '\0';
}

void text_add(struct text *t, const char *s)
{
    text_add_bytes(t, s, strlen(s));
}

void text_addf(struct text *t, const char *format, ...)
{
    char *made = NULL;
    va_list list;
    va_start(list, format);
    int n = vasprintf(&made, format, list);
    va_end(list);
    if (n < 0) {
        t->failed = true;
        return;
    }
    text_add_bytes(t, made, (size_t)n);
    free(made);
}

void text_add_xml(struct text *t, const char *s)
{
    for (const unsigned char *p = (const unsigned char *)s; *p; p++) {
        switch (*p) {
        case '<': text_add(t, "&lt;"); break;
        case '>': text_add(t, "&gt;"); break;
        case '&': text_add(t, "&amp;"); break;
        case '"': text_add(t, "&quot;"); break;
        case '\r': text_add(t, "&#13;"); break;
        default:
            if (*p < 0x20 && *p != '\t' && *p != '\n') {
                text_add(t, "?");
            } else {
                text_add_bytes(t, p, 1);
            }
        }
    }
}

void text_add_element(struct text *t, const char *name, const char *value)
{
    text_addf(t, "<%s>", name);
    text_add_xml(t, value);
    text_addf(t, "</%s>", name);
}

void text_clear(struct text *t)
{
    free(t->bytes);
    memset(t, 0, sizeof *t);
}

void text_time_iso(int64_t wall_ms, char out[32])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    char head[24];
    (void)gmtime_r(&seconds, &tm);
    (void)strftime(head, sizeof head, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out, 32, "%.20s.%03dZ", head, (int)(wall_ms % 1000));
}

void text_time_http(int64_t wall_ms, char out[32])
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    (void)gmtime_r(&seconds, &tm);
    (void)snprintf(out, 32, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday], tm.tm_mday % 100, months[tm.tm_mon],
                   (tm.tm_year + 1900) % 10000, tm.tm_hour % 100, tm.tm_min % 100, tm.tm_sec % 100);
}

static int digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool text_decode(const char *s, size_t count, bool plus_is_space, char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        int c = (unsigned char)s[i];
        if (c == '%') {
            if (i + 2 >= count || digit(s[i + 1]) < 0 || digit(s[i + 2]) < 0) {
                return false;
            }
            c = digit(s[i + 1]) * 16 + digit(s[i + 2]);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c == 0 || used + 1 >= size) {
            return false;
        }
        out[used++] = (char)c;
    }
    if (size == 0) {
        return false;
    }
    out[used] = '\0';
    return true;
}

void text_base64(const unsigned char *bytes, size_t count, char *out)
{
    (void)EVP_EncodeBlock((unsigned char *)out, bytes, (int)count);
}

int text_base64_decode(const char *s, unsigned char *out, size_t size)
{
    unsigned char room[256];
    size_t length = strlen(s);
    if (length == 0 || length % 4 != 0 || length > 4 * sizeof room / 3) {
        return -1;
    }
    int n = EVP_DecodeBlock(room, (const unsigned char *)s, (int)length);
    if (n < 0) {
        return -1;
    }
    n -= (s[length - 1] == '=') + (s[length - 2] == '=');
    if (n < 0 || (size_t)n > size) {
        return -1;
    }
    memcpy(out, room, (size_t)n);
    return n;
}

void text_hex(const unsigned char *bytes, size_t count, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < count; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * count] = '\0';
}

void text_random_hex(size_t count, char *out)
{
    uint32_t four = 0;
    for (size_t i = 0; i < count; i++) {
        four = i % 4 == 0 ? random_u32() : four >> 8;
        unsigned char byte = (unsigned char)four;
        text_hex(&byte, 1, out + 2 * i);
    }
}
