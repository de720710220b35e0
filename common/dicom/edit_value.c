/*
 * edit_value - values of single elements: text to bytes and back, pseudonyms, dummies. See edit_internal.h.
 *
 * Sources: PS3.5 table 6.2-1 (lengths and repertoires of the value representations), PS3.3 table C.12-2 to C.12-5 (character sets), PS3.5 B.2 (UIDs of
 * the form 2.25.<a UUID as a number>; ours are of version 8, RFC 9562), RFC 4648 (base 32). One value is never larger than EDIT_VALUE_MAX here.
 */
#include "common/dicom/edit_internal.h"
#include "common/dicom/uid.h"

#include <errno.h>
#include <iconv.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PSEUDONYM_CHARACTERS = 16 };

/* maximum: characters of one value, 0: any; is_list: backslashes separate values; is_free: takes the data set's character set */
struct vr_rule {
    char vr[3];
    int maximum;
    bool is_list, is_free;
    const char *letters; /* what one value may consist of, NULL: anything printable */
};
#define DIGITS "0123456789"
static const struct vr_rule vr_rules[] = {
    {"AE", 16, true, false, NULL},   {"AS", 4, true, false, DIGITS "DWMY"}, {"CS", 16, true, false, "ABCDEFGHIJKLMNOPQRSTUVWXYZ" DIGITS " _"},
    {"DA", 8, true, false, DIGITS},  {"DS", 16, true, false, DIGITS "+-.eE "}, {"DT", 26, true, false, DIGITS "+-."},
    {"IS", 12, true, false, DIGITS "+- "}, {"LO", 64, true, true, NULL},   {"LT", 1024, false, true, NULL},
    {"PN", 194, true, true, NULL},   {"SH", 16, true, true, NULL},         {"ST", 1024, false, true, NULL},
    {"TM", 14, true, false, DIGITS "."}, {"UC", 0, true, true, NULL},      {"UI", 64, true, false, DIGITS "."},
    {"UR", 0, false, false, NULL},   {"UT", 0, false, true, NULL},
};

static const struct vr_rule *rule_of(const char *vr)
{
    for (size_t i = 0; i < sizeof vr_rules / sizeof vr_rules[0]; i++) {
        if (strcmp(vr_rules[i].vr, vr) == 0) {
            return &vr_rules[i];
        }
    }
    return NULL;
}

bool edit_vr_is_text(const char *vr)
{
    return rule_of(vr) != NULL;
}

bool edit_vr_is_long(const char *vr)
{
    static const char longs[] = "OB OD OF OL OV OW SQ UC UN UR UT SV UV";
    return strlen(vr) == 2 && strstr(longs, vr) != NULL;
}

/* ---- character sets ------------------------------------------------------------------------------------------------------------ */

/* The name for iconv of the character set that a value begins in; NULL: one that we cannot write. Code extensions (ISO 2022) are written without
 * their escape sequences, in what the first value of (0008,0005) says. */
static const char *encoding_of(const char *charset)
{
    static const struct {
        const char *term, *name;
    } sets[] = {
        {"", "ASCII"}, {"6", "ASCII"}, {"100", "ISO-8859-1"}, {"101", "ISO-8859-2"}, {"109", "ISO-8859-3"}, {"110", "ISO-8859-4"}, {"144", "ISO-8859-5"},
        {"127", "ISO-8859-6"}, {"126", "ISO-8859-7"}, {"138", "ISO-8859-8"}, {"148", "ISO-8859-9"}, {"203", "ISO-8859-15"}, {"166", "TIS-620"},
        {"13", "JIS_X0201"}, {"192", "UTF-8"}};
    char first[32];
    size_t length = strcspn(charset, "\\");
    while (length > 0 && charset[length - 1] == ' ') {
        length--;
    }
    if (length >= sizeof first) {
        return NULL;
    }
    (void)snprintf(first, sizeof first, "%.*s", (int)length, charset);
    const char *term = strncmp(first, "ISO_IR ", 7) == 0 ? first + 7 : strncmp(first, "ISO 2022 IR ", 12) == 0 ? first + 12 : first;
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        if (strcmp(sets[i].term, term) == 0 && (term != first || length == 0)) {
            return sets[i].name;
        }
    }
    return strcmp(first, "GB18030") == 0 ? "GB18030" : strcmp(first, "GBK") == 0 ? "GBK" : NULL;
}

/* 0, or -1: some character has no place in `to`, or the result is too long. */
static int convert(const char *from, const char *to, const char *in, size_t in_bytes, char *out, size_t size, size_t *count)
{
    iconv_t converter = iconv_open(to, from);
    if (converter == (iconv_t)-1) {
        return -1;
    }
    char *source = (char *)(uintptr_t)in;
    char *target = out;
    size_t left = size;
    size_t lost = iconv(converter, &source, &in_bytes, &target, &left);
    (void)iconv_close(converter);
    *count = size - left;
    return lost == 0 && in_bytes == 0 ? 0 : -1;
}

/* ---- text to value ------------------------------------------------------------------------------------------------------------- */

static size_t characters_of(const char *text, size_t bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    }
    return n;
}

/* One value of a text representation. */
static int check_value(const struct vr_rule *rule, const char *text, size_t bytes, struct err *e)
{
    char uid[65];
    size_t characters = characters_of(text, bytes);
    if (rule->maximum > 0 && characters > (size_t)rule->maximum) {
        return err_set(e, ERR_DICOM_EDIT, 0, "the value has %zu characters, %s takes %d", characters, rule->vr, rule->maximum);
    }
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        bool is_line = (c == '\n' || c == '\r' || c == '\f' || c == '\t') && !rule->is_list;
        if ((c < 0x20 && !is_line) || c == 0x7f || (rule->letters && !strchr(rule->letters, c)) || (!rule->is_free && c >= 0x80)) {
            return err_set(e, ERR_DICOM_EDIT, 0, "the value has a character that %s does not take", rule->vr);
        }
    }
    (void)snprintf(uid, sizeof uid, "%.*s", (int)(bytes < 64 ? bytes : 64), text);
    if (bytes > 0 && ((strcmp(rule->vr, "UI") == 0 && !dicom_uid_is_legal(uid)) || (strcmp(rule->vr, "DA") == 0 && bytes != 8) ||
                      (strcmp(rule->vr, "AS") == 0 && (bytes != 4 || strchr(DIGITS, text[3]))))) {
        return err_set(e, ERR_DICOM_EDIT, 0, "the value is none of %s", rule->vr);
    }
    return 0;
}

static int set_text(const struct vr_rule *rule, const char *text, const char *charset, unsigned char *out, size_t size, size_t *count, struct err *e)
{
    for (const char *p = text;;) {
        size_t length = rule->is_list ? strcspn(p, "\\") : strlen(p);
        int rc = check_value(rule, p, length, e);
        if (rc != 0) {
            return rc;
        }
        if (p[length] == '\0') {
            break;
        }
        p += length + 1;
    }
    const char *to = rule->is_free ? encoding_of(charset) : "ASCII";
    size_t bytes = strlen(text);
    bool is_ascii = true;
    for (size_t i = 0; i < bytes; i++) {
        is_ascii = is_ascii && (unsigned char)text[i] < 0x80;
    }
    if (is_ascii && bytes < size) { /* every character set of the standard begins with ASCII */
        memcpy(out, text, bytes);
        *count = bytes;
    } else if (!to || convert("UTF-8", to, text, bytes, (char *)out, size - 1, count) != 0) {
        return err_set(e, ERR_DICOM_EDIT, 0,
                       "the value has characters that the data set's (0008,0005) Specific Character Set does not have, or that cannot be written in "
                       "it: write it in ASCII");
    }
    if (*count % 2 != 0) {
        out[(*count)++] = strcmp(rule->vr, "UI") == 0 ? '\0' : ' ';
    }
    return 0;
}

static void put_number(unsigned char *out, size_t width, uint64_t value, bool big)
{
    for (size_t i = 0; i < width; i++) {
        out[big ? width - 1 - i : i] = (unsigned char)(value >> (8 * i));
    }
}

static uint64_t get_number(const unsigned char *in, size_t width, bool big)
{
    uint64_t value = 0;
    for (size_t i = 0; i < width; i++) {
        value |= (uint64_t)in[big ? width - 1 - i : i] << (8 * i);
    }
    return value;
}

struct number_rule {
    char vr[3];
    size_t width;
    bool is_signed, is_float;
};
static const struct number_rule number_rules[] = {{"US", 2, false, false}, {"SS", 2, true, false}, {"UL", 4, false, false}, {"SL", 4, true, false},
                                                  {"UV", 8, false, false}, {"SV", 8, true, false}, {"FL", 4, false, true},  {"FD", 8, false, true}};

static const struct number_rule *number_rule_of(const char *vr)
{
    for (size_t i = 0; i < sizeof number_rules / sizeof number_rules[0]; i++) {
        if (strcmp(number_rules[i].vr, vr) == 0) {
            return &number_rules[i];
        }
    }
    return NULL;
}

/* Text of one number to its bytes; *end where it stops. False: it does not fit. */
static bool set_number(const struct number_rule *rule, const char *text, char **end, bool big, unsigned char *out)
{
    errno = 0;
    if (rule->is_float) {
        double value = strtod(text, end);
        float small = (float)value;
        uint64_t bits = 0;
        if (rule->width == 4) {
            uint32_t half;
            memcpy(&half, &small, 4);
            bits = half;
        } else {
            memcpy(&bits, &value, 8);
        }
        put_number(out, rule->width, bits, big);
        return errno == 0;
    }
    int bits = (int)rule->width * 8;
    if (rule->is_signed) {
        long long value = strtoll(text, end, 10);
        put_number(out, rule->width, (uint64_t)value, big);
        return errno == 0 && (bits == 64 || (value >= -(1LL << (bits - 1)) && value < 1LL << (bits - 1)));
    }
    unsigned long long value = strtoull(text, end, 10);
    put_number(out, rule->width, value, big);
    return errno == 0 && !strchr(text, '-') && (bits == 64 || value < 1ULL << bits);
}

int edit_value_set(const char *vr, const char *text, const char *charset, bool big_endian, unsigned char *out, size_t size, size_t *count, struct err *e)
{
    const struct vr_rule *rule = rule_of(vr);
    const struct number_rule *number = number_rule_of(vr);
    *count = 0;
    if (rule) {
        return set_text(rule, text, charset, out, size, count, e);
    }
    if (!number) {
        return err_set(e, ERR_DICOM_EDIT, 0, "a value of %s cannot be written as text: use remove or empty", strcmp(vr, "UN") == 0 ? "unknown representation" : vr);
    }
    for (const char *p = text; *p;) {
        char *end = NULL;
        if (*count + number->width > size || !set_number(number, p, &end, big_endian, out + *count) || end == p || (*end != '\0' && *end != '\\')) {
            return err_set(e, ERR_DICOM_EDIT, 0, "the value is no number that %s takes", vr);
        }
        *count += number->width;
        p = *end ? end + 1 : end;
    }
    return 0;
}

/* ---- pseudonyms ---------------------------------------------------------------------------------------------------------------- */

static int digest(const struct edit_plan *plan, const char *kind, const unsigned char *value, size_t bytes, unsigned char out[32], struct err *e)
{
    unsigned char text[EDIT_VALUE_MAX + 16];
    unsigned length = 0;
    size_t used = strlen(kind) + 1;
    if (!plan->has_key) {
        return err_set(e, ERR_CONFIG, 0, "there is no key for hash: set pseudonym_key_file");
    }
    if (bytes > EDIT_VALUE_MAX) {
        return err_set(e, ERR_DICOM_EDIT, 0, "the value is longer than %d bytes: use remove or empty", EDIT_VALUE_MAX);
    }
    memcpy(text, kind, used);
    memcpy(text + used, value, bytes);
    return HMAC(EVP_sha256(), plan->key, EDIT_KEY_BYTES, text, used + bytes, out, &length) && length == 32 ? 0 : err_set(e, ERR_MEMORY, 0, "HMAC");
}

/* 2.25. and a version 8 UUID as a decimal number. */
static void uid_of(unsigned char mac[16], char uid[65])
{
    char digits[48];
    size_t at = sizeof digits;
    unsigned char number[16];
    mac[6] = (unsigned char)(0x80 | (mac[6] & 0x0f));
    mac[8] = (unsigned char)(0x80 | (mac[8] & 0x3f));
    memcpy(number, mac, 16);
    digits[--at] = '\0';
    for (bool more = true; more && at > 0;) {
        unsigned rest = 0;
        more = false;
        for (size_t i = 0; i < 16; i++) {
            unsigned part = rest << 8 | number[i];
            number[i] = (unsigned char)(part / 10);
            rest = part % 10;
            more = more || number[i] != 0;
        }
        digits[--at] = (char)('0' + rest);
    }
    (void)snprintf(uid, 65, "2.25.%s", digits + at);
}

static int hash_one(const struct edit_plan *plan, bool is_uid, const unsigned char *value, size_t bytes, char out[65], struct err *e)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    unsigned char mac[32];
    while (bytes > 0 && (value[bytes - 1] == ' ' || value[bytes - 1] == '\0')) {
        bytes--;
    }
    while (bytes > 0 && value[0] == ' ') {
        value++;
        bytes--;
    }
    if (bytes == 0 || (is_uid && bytes >= 14 && bytes <= 64 && memcmp(value, "1.2.840.10008.", 14) == 0)) { /* the standard's own name nobody */
        (void)snprintf(out, 65, "%.*s", (int)bytes, (const char *)value);
        return 0;
    }
    int rc = digest(plan, is_uid ? "uid" : "text", value, bytes, mac, e);
    if (rc == 0 && is_uid) {
        uid_of(mac, out);
    } else if (rc == 0) {
        for (int i = 0; i < PSEUDONYM_CHARACTERS; i++) {
            unsigned bit = (unsigned)i * 5;
            unsigned pair = (unsigned)mac[bit / 8] << 8 | mac[bit / 8 + 1];
            out[i] = alphabet[pair >> (11 - bit % 8) & 31];
        }
        out[PSEUDONYM_CHARACTERS] = '\0';
    }
    return rc;
}

int edit_value_hash(const struct edit_plan *plan, const char *vr, const unsigned char *value, size_t bytes, unsigned char *out, size_t size, size_t *count,
                    struct err *e)
{
    const struct vr_rule *rule = rule_of(vr);
    *count = 0;
    if (!rule || rule->maximum == 0 || (rule->maximum < PSEUDONYM_CHARACTERS) || (rule->letters && strcmp(vr, "UI") != 0 && strcmp(vr, "CS") != 0)) {
        return err_set(e, ERR_DICOM_EDIT, 0, "%s cannot be hashed, only names, identifiers and UIDs: use set, empty or remove", vr);
    }
    for (size_t from = 0; from <= bytes;) {
        char one[65];
        const unsigned char *cut = rule->is_list ? memchr(value + from, '\\', bytes - from) : NULL;
        size_t length = cut ? (size_t)(cut - value) - from : bytes - from;
        int rc = hash_one(plan, strcmp(vr, "UI") == 0, value + from, length, one, e);
        size_t n = rc == 0 ? strlen(one) : 0;
        if (rc == 0 && *count + n + 2 > size) {
            rc = err_set(e, ERR_DICOM_EDIT, 0, "it has too many values to be hashed: use empty or remove");
        }
        if (rc != 0) {
            return rc;
        }
        memcpy(out + *count, one, n);
        *count += n;
        if (!cut) {
            break;
        }
        out[(*count)++] = '\\';
        from += length + 1;
    }
    if (*count % 2 != 0) {
        out[(*count)++] = strcmp(vr, "UI") == 0 ? '\0' : ' ';
    }
    return 0;
}

int edit_value_dummy(const struct edit_plan *plan, const char *vr, const unsigned char *value, size_t bytes, unsigned char *out, size_t size, size_t *count,
                     struct err *e)
{
    static const struct {
        char vr[3];
        const char *text;
    } dummies[] = {{"DA", "19000101"}, {"TM", "000000"}, {"DT", "19000101000000"}, {"AS", "000Y"}, {"IS", "0"}, {"DS", "0"}, {"CS", "ANONYMIZED"},
                   {"UR", "urn:anonymized"}};
    const struct number_rule *number = number_rule_of(vr);
    const char *text = "ANONYMIZED";
    if (strcmp(vr, "UI") == 0) {
        return edit_value_hash(plan, vr, value, bytes, out, size, count, e);
    }
    for (size_t i = 0; i < sizeof dummies / sizeof dummies[0]; i++) {
        text = strcmp(dummies[i].vr, vr) == 0 ? dummies[i].text : text;
    }
    if (number && number->width <= size) {
        memset(out, 0, number->width);
        *count = number->width;
        return 0;
    }
    if (!rule_of(vr)) { /* OB, UN ...: two bytes of nothing */
        memset(out, 0, 2);
        *count = 2;
        return 0;
    }
    return edit_value_set(vr, text, "", false, out, size, count, e);
}

/* ---- for people ------------------------------------------------------------------------------------------------------------------- */

static void show_text(const unsigned char *value, size_t bytes, const char *charset, char *out, size_t size)
{
    char utf8[4 * EDIT_SHOWN_MAX + 8];
    size_t count = 0;
    while (bytes > 0 && (value[bytes - 1] == ' ' || value[bytes - 1] == '\0')) {
        bytes--;
    }
    bytes = bytes < EDIT_SHOWN_MAX ? bytes : EDIT_SHOWN_MAX;
    const char *from = encoding_of(charset);
    bool readable = from && convert(from, "UTF-8", (const char *)value, bytes, utf8, sizeof utf8, &count) == 0;
    for (size_t i = 0; !readable && i < bytes; i++) {
        utf8[i] = value[i] < 0x80 ? (char)value[i] : '?';
    }
    count = readable ? count : bytes;
    if (count > size - 1) {
        count = size - 1;
        while (count > 0 && ((unsigned char)utf8[count] & 0xc0) == 0x80) {
            count--; /* not through a character */
        }
    }
    for (size_t i = 0; i < count; i++) {
        out[i] = (unsigned char)utf8[i] < 0x20 || utf8[i] == 0x7f ? '?' : utf8[i];
    }
    out[count] = '\0';
}

char *edit_value_show(const char *vr, const unsigned char *value, size_t bytes, const char *charset, bool big_endian)
{
    char text[EDIT_SHOWN_MAX + 64] = "";
    const struct number_rule *number = number_rule_of(vr);
    if (rule_of(vr)) {
        show_text(value, bytes, charset, text, EDIT_SHOWN_MAX + 1);
    } else if (strcmp(vr, "SQ") == 0) {
        (void)snprintf(text, sizeof text, "(sequence, %zu bytes)", bytes);
    } else if (number && bytes >= number->width && bytes <= 16 * number->width) {
        size_t used = 0;
        for (size_t i = 0; i + number->width <= bytes && used < EDIT_SHOWN_MAX; i += number->width) {
            uint64_t raw = get_number(value + i, number->width, big_endian);
            double real = 0;
            float small;
            uint32_t half = (uint32_t)raw;
            memcpy(&small, &half, 4);
            memcpy(&real, &raw, 8);
            int64_t whole = number->width == 2 ? (int16_t)raw : number->width == 4 ? (int32_t)half : (int64_t)raw;
            const char *between = i ? "\\" : "";
            int n = number->is_float    ? snprintf(text + used, sizeof text - used, "%s%.9g", between, number->width == 4 ? (double)small : real)
                    : number->is_signed ? snprintf(text + used, sizeof text - used, "%s%lld", between, (long long)whole)
                                        : snprintf(text + used, sizeof text - used, "%s%llu", between, (unsigned long long)raw);
            used += n > 0 ? (size_t)n : 0;
        }
    } else {
        (void)snprintf(text, sizeof text, "(%zu bytes)", bytes);
    }
    return strdup(text);
}
