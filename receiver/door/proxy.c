/* proxy - see proxy.h. */
#include "receiver/door/proxy.h"

#include <arpa/inet.h>
#include <string.h>

enum { V1_LINE_MAX = 107, V2_HEAD = 16 };

static const unsigned char v1_begin[6] = {'P', 'R', 'O', 'X', 'Y', ' '};
static const unsigned char v2_begin[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

static enum proxy_found broken(struct proxy_header *out, const char *why)
{
    out->wrong = why;
    return PROXY_BROKEN;
}

static enum proxy_found more(struct proxy_header *out, size_t bytes)
{
    out->bytes = bytes;
    return PROXY_MORE;
}

/* ---- version 1 -------------------------------------------------------------------------------------------------------------- */

/* The next word of a line whose words stand one blank apart; NULL when there is none. */
static char *next_word(char **rest)
{
    char *word = *rest;
    if (!word || !*word) {
        return NULL;
    }
    char *blank = strchr(word, ' ');
    if (blank) {
        *blank = '\0';
    }
    *rest = blank ? blank + 1 : NULL;
    return *word ? word : NULL;
}

static bool is_port(const char *text)
{
    size_t length = text ? strlen(text) : 0;
    unsigned value = 0;
    if (length == 0 || length > 5 || strspn(text, "0123456789") != length || (text[0] == '0' && length > 1)) {
        return false;
    }
    for (; *text; text++) {
        value = value * 10 + (unsigned)(*text - '0');
    }
    return value <= 65535;
}

static enum proxy_found read_v1(const unsigned char *bytes, size_t count, struct proxy_header *out)
{
    char line[V1_LINE_MAX + 1];
    size_t length = 0;
    out->version = 1;
    while (length < count && length < V1_LINE_MAX && bytes[length] != '\n') {
        if (bytes[length] == '\0') {
            return broken(out, "a version 1 line with a zero byte");
        }
        length++;
    }
    if (length == V1_LINE_MAX) {
        return broken(out, "a version 1 line without an end in its first 107 bytes");
    }
    if (length == count) {
        return more(out, count + 1);
    }
    if (bytes[length - 1] != '\r') {
        return broken(out, "a version 1 line that does not end in CR LF");
    }
    out->bytes = length + 1;
    memcpy(line, bytes, length - 1);
    line[length - 1] = '\0';
    char *rest = line + sizeof v1_begin;
    const char *family = next_word(&rest);
    if (family && strcmp(family, "UNKNOWN") == 0) {
        return PROXY_WHOLE;
    }
    bool is_four = family && strcmp(family, "TCP4") == 0;
    if (!is_four && !(family && strcmp(family, "TCP6") == 0)) {
        return broken(out, "a version 1 line for something else than TCP4, TCP6 or UNKNOWN");
    }
    const char *source = next_word(&rest);
    const char *target = next_word(&rest);
    const char *source_port = next_word(&rest);
    const char *target_port = next_word(&rest);
    struct cidr_address ignored;
    if (!source || !target || rest || !is_port(source_port) || !is_port(target_port) || (strchr(source, ':') != NULL) == is_four ||
        (strchr(target, ':') != NULL) == is_four || !cidr_read(target, &ignored) || !cidr_read(source, &out->source)) {
        return broken(out, "a version 1 line whose addresses or ports cannot be read");
    }
    out->has_source = true;
    return PROXY_WHOLE;
}

/* ---- version 2 -------------------------------------------------------------------------------------------------------------- */

static enum proxy_found read_v2(const unsigned char *bytes, size_t count, struct proxy_header *out)
{
    static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    out->version = 2;
    if (count < V2_HEAD) {
        return more(out, V2_HEAD);
    }
    const unsigned command = bytes[12];
    const unsigned family = bytes[13];
    const size_t length = (size_t)bytes[14] << 8 | bytes[15];
    if (command >> 4 != 2 || (command & 15) > 1) {
        return broken(out, "a binary header of an unknown version or command");
    }
    if (V2_HEAD + length > PROXY_BYTES_MAX) {
        return broken(out, "a binary header longer than 4,096 bytes");
    }
    const bool is_four = family == 0x11;
    const bool is_six = family == 0x21;
    if ((command & 15) == 1 && ((is_four && length < 12) || (is_six && length < 36))) {
        return broken(out, "a binary header too short for its addresses");
    }
    if ((command & 15) == 1 && (family >> 4 > 3 || (family & 15) > 2)) {
        return broken(out, "a binary header of an unknown address family");
    }
    if ((command & 15) == 1 && (family & 15) == 2) {
        return broken(out, "a binary header for datagrams");
    }
    if (count < V2_HEAD + length) {
        return more(out, V2_HEAD + length);
    }
    out->bytes = V2_HEAD + length;
    if ((command & 15) == 1 && (is_four || is_six)) { /* UNSPEC and UNIX name no address that could be checked */
        if (is_four) {
            memcpy(out->source.bytes, mapped, sizeof mapped);
            memcpy(out->source.bytes + 12, bytes + V2_HEAD, 4);
        } else {
            memcpy(out->source.bytes, bytes + V2_HEAD, 16);
        }
        out->has_source = true;
    }
    return PROXY_WHOLE;
}

enum proxy_found proxy_read(const unsigned char *bytes, size_t count, struct proxy_header *out)
{
    memset(out, 0, sizeof *out);
    if (count == 0) {
        return more(out, 1);
    }
    const bool text = bytes[0] == v1_begin[0];
    const unsigned char *begin = text ? v1_begin : v2_begin;
    const size_t size = text ? sizeof v1_begin : sizeof v2_begin;
    if (memcmp(bytes, begin, count < size ? count : size) != 0) {
        return PROXY_NONE;
    }
    if (count < size) {
        return more(out, size);
    }
    return text ? read_v1(bytes, count, out) : read_v2(bytes, count, out);
}
