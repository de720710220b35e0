/*
 * scan_text - do the identifying texts decode in the data set's character set?
 *
 * (0008,0005) names one set, or several with code extensions (PS3.3 section C.12.1.1.2): then escape sequences switch what the lower
 * (G0) and the upper half (G1) of the bytes mean (PS3.5 section 6.1.2.5, ISO 2022), which is followed here; the letters themselves are tried
 * by the C library's iconv. Without the attribute only ASCII is right. A text must end with G0 as it began. Where the library lacks
 * a set, nothing is said against a text in it.
 */
#include "common/dicom/scan_internal.h"

#include <errno.h>
#include <iconv.h>
#include <string.h>

enum half { HALF_ASCII, HALF_SINGLE, HALF_DOUBLE };

/* A set of letters: one or two bytes each, and as what iconv knows it when its bytes have the upper bit set. */
struct letters {
    const char *term, *old_term; /* of (0008,0005), with and without code extensions */
    const char *escape[2];       /* that choose it, "" if there is none; [0] for G0, [1] for G1 */
    enum half half;
    const char *codec;
    unsigned char prefix; /* a byte in front of each letter, or 0 */
};

static const struct letters sets[] = {
    {"ISO 2022 IR 6", "ISO_IR 6", {"(B", ""}, HALF_ASCII, NULL, 0},
    {"ISO 2022 IR 100", "ISO_IR 100", {"", "-A"}, HALF_SINGLE, "ISO-8859-1", 0},
    {"ISO 2022 IR 101", "ISO_IR 101", {"", "-B"}, HALF_SINGLE, "ISO-8859-2", 0},
    {"ISO 2022 IR 109", "ISO_IR 109", {"", "-C"}, HALF_SINGLE, "ISO-8859-3", 0},
    {"ISO 2022 IR 110", "ISO_IR 110", {"", "-D"}, HALF_SINGLE, "ISO-8859-4", 0},
    {"ISO 2022 IR 144", "ISO_IR 144", {"", "-L"}, HALF_SINGLE, "ISO-8859-5", 0},
    {"ISO 2022 IR 127", "ISO_IR 127", {"", "-G"}, HALF_SINGLE, "ISO-8859-6", 0},
    {"ISO 2022 IR 126", "ISO_IR 126", {"", "-F"}, HALF_SINGLE, "ISO-8859-7", 0},
    {"ISO 2022 IR 138", "ISO_IR 138", {"", "-H"}, HALF_SINGLE, "ISO-8859-8", 0},
    {"ISO 2022 IR 148", "ISO_IR 148", {"", "-M"}, HALF_SINGLE, "ISO-8859-9", 0},
    {"ISO 2022 IR 203", "ISO_IR 203", {"", "-b"}, HALF_SINGLE, "ISO-8859-15", 0},
    {"ISO 2022 IR 166", "ISO_IR 166", {"", "-T"}, HALF_SINGLE, "TIS-620", 0},
    {"ISO 2022 IR 13", "ISO_IR 13", {"(J", ")I"}, HALF_SINGLE, "JIS_X0201", 0},
    {"ISO 2022 IR 87", "", {"$B", ""}, HALF_DOUBLE, "EUC-JP", 0},
    {"ISO 2022 IR 159", "", {"$(D", ""}, HALF_DOUBLE, "EUC-JP", 0x8f},
    {"ISO 2022 IR 149", "", {"", "$)C"}, HALF_DOUBLE, "EUC-KR", 0},
    {"ISO 2022 IR 58", "", {"", "$)A"}, HALF_DOUBLE, "EUC-CN", 0},
};
enum { SETS = sizeof sets / sizeof sets[0] };

/* Sets that stand alone, without code extensions. */
static const struct {
    const char *term, *codec;
} wholes[] = {{"ISO_IR 192", "UTF-8"}, {"GB18030", "GB18030"}, {"GBK", "GBK"}};

struct charset {
    const char *whole; /* codec, or NULL */
    const struct letters *g0, *g1; /* at the beginning of a text; g1 NULL: the upper half means nothing */
    bool is_extended, is_unknown;
};

static const char *whole_named(const char *term)
{
    for (size_t i = 0; i < sizeof wholes / sizeof wholes[0]; i++) {
        if (strcmp(wholes[i].term, term) == 0) {
            return wholes[i].codec;
        }
    }
    return NULL;
}

static const struct letters *set_named(const char *term)
{
    for (size_t i = 0; i < SETS; i++) {
        if (strcmp(sets[i].term, term) == 0 || (sets[i].old_term[0] && strcmp(sets[i].old_term, term) == 0)) {
            return &sets[i];
        }
    }
    return NULL;
}

/* One value of (0008,0005); count of those before it. */
static void add_term(struct charset *c, const char *term, size_t before)
{
    const struct letters *set = set_named(term);
    if (term[0] == '\0' && before == 0) {
        return; /* the default repertoire comes first */
    }
    if (before == 0) {
        c->whole = whole_named(term);
    }
    if (!set && !c->whole) {
        c->is_unknown = true;
    }
    if (set && before == 0 && set->half == HALF_SINGLE) {
        c->g1 = set;
    }
    c->is_extended = c->is_extended || before > 0 || strncmp(term, "ISO 2022", 8) == 0;
}

static struct charset charset_of(const char *value, bool is_cut)
{
    struct charset c = {.g0 = &sets[0]};
    size_t count = 0;
    for (const char *p = value;; p++, count++) {
        char term[40];
        size_t length = strcspn(p, "\\");
        size_t first = 0;
        size_t end = length;
        while (first < end && p[first] == ' ') {
            first++;
        }
        while (end > first && p[end - 1] == ' ') {
            end--;
        }
        if (end - first >= sizeof term) {
            c.is_unknown = true;
        } else {
            memcpy(term, p + first, end - first);
            term[end - first] = '\0';
            add_term(&c, term, count);
        }
        p += length;
        if (*p == '\0') {
            break;
        }
    }
    c.is_unknown = c.is_unknown || is_cut;
    return c;
}

/* False: these bytes are no letters of the codec. An unfinished last letter is none, unless the text was cut. */
static bool decodes(const char *codec, const unsigned char *bytes, size_t count, bool is_cut)
{
    char copy[SCAN_TEXT + 8];
    char out[SCAN_TEXT * 4 + 32];
    iconv_t cd = iconv_open("UTF-8", codec);
    if (cd == (iconv_t)-1 || count > sizeof copy) {
        if (cd != (iconv_t)-1) {
            (void)iconv_close(cd);
        }
        return true;
    }
    memcpy(copy, bytes, count);
    char *from = copy;
    char *to = out;
    size_t left = count;
    size_t room = sizeof out;
    bool fine = iconv(cd, &from, &left, &to, &room) != (size_t)-1 || (errno == EINVAL && is_cut) || errno == E2BIG;
    (void)iconv_close(cd);
    return fine;
}

/* An escape sequence at p: how long it is, and whether it changes G0 or G1; 0: none that is known. */
static size_t escape_at(const unsigned char *p, size_t count, const struct letters **g0, const struct letters **g1)
{
    for (size_t i = 0; i < SETS; i++) {
        for (size_t k = 0; k < 2; k++) {
            size_t length = strlen(sets[i].escape[k]);
            if (length > 0 && count > length && memcmp(p + 1, sets[i].escape[k], length) == 0) {
                if (k == 0) {
                    *g0 = strcmp(sets[i].escape[0], "(J") == 0 ? &sets[0] : &sets[i]; /* JIS X 0201's lower half is ASCII but for two letters */
                } else {
                    *g1 = &sets[i];
                }
                return length + 1;
            }
        }
    }
    return 0;
}

/* One letter of a set at p, in either half; the bytes it takes, 0: it is none. */
static size_t letter_at(const struct letters *set, const unsigned char *p, size_t count)
{
    unsigned char letter[3];
    size_t used = 0;
    size_t width = set->half == HALF_DOUBLE ? 2 : 1;
    if (count < width) {
        return 0;
    }
    if (set->prefix) {
        letter[used++] = set->prefix;
    }
    for (size_t i = 0; i < width; i++) {
        if ((p[i] & 0x7f) < 0x20 || (p[i] < 0x80) != (p[0] < 0x80)) {
            return 0;
        }
        letter[used++] = p[i] | 0x80;
    }
    return decodes(set->codec, letter, used, false) ? width : 0;
}

static bool is_delimiter(unsigned char c)
{
    return c == '\r' || c == '\n' || c == '\f' || c == '\t' || c == '\\' || c == '^' || c == '=';
}

/* Letter by letter, by the escape sequences. */
static bool extended_decodes(const struct charset *c, const struct scan_text *t)
{
    const struct letters *g0 = c->g0;
    const struct letters *g1 = c->g1;
    for (size_t i = 0; i < t->count;) {
        const unsigned char *p = t->raw + i;
        size_t left = t->count - i;
        size_t step = 1;
        if (*p == 0x1b) {
            step = escape_at(p, left, &g0, &g1);
        } else if (g0->half != HALF_DOUBLE && is_delimiter(*p)) {
            g1 = c->g1 ? c->g1 : g1;
        } else if (*p < 0x80 && g0->half == HALF_DOUBLE && *p > 0x20) {
            step = letter_at(g0, p, left);
        } else if (*p >= 0x80) {
            step = g1 ? letter_at(g1, p, left) : 0;
        }
        if (step == 0) {
            return t->is_cut && left < 4;
        }
        i += step;
    }
    return t->is_cut || g0->half == HALF_ASCII;
}

static bool text_decodes(const struct charset *c, const struct scan_text *t)
{
    if (c->whole) {
        return decodes(c->whole, t->raw, t->count, t->is_cut);
    }
    if (c->is_extended) {
        return extended_decodes(c, t);
    }
    for (size_t i = 0; i < t->count; i++) {
        if (t->raw[i] >= 0x80 && !(c->g1 && letter_at(c->g1, t->raw + i, 1))) {
            return false;
        }
    }
    return true;
}

static bool has_control(const struct charset *c, const struct scan_text *t)
{
    for (size_t i = 0; i < t->count; i++) {
        if ((t->raw[i] < 0x20 && !(t->raw[i] == 0x1b && c->is_extended)) || t->raw[i] == 0x7f) {
            return true;
        }
    }
    return false;
}

void scan_judge_texts(struct source *s, struct dicom_scan *out)
{
    if (s->text_count == 0 && s->charset[0] == '\0') {
        return;
    }
    struct charset c = charset_of(s->charset, s->charset_is_cut);
    out->charset_is_unknown = c.is_unknown;
    for (size_t i = 0; i < s->text_count; i++) {
        const struct scan_text *t = &s->texts[i];
        if (!out->control_tag && has_control(&c, t)) {
            out->control_tag = t->tag;
        }
        if (!out->undecodable_tag && !c.is_unknown && !text_decodes(&c, t)) {
            out->undecodable_tag = t->tag;
        }
    }
}
