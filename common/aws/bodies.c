/* bodies - see bodies.h. expat with no DTD, no deep nesting, and texts of bounded length; jansson for JSON. */
#include "common/aws/bodies.h"

#include <ctype.h>
#include <expat.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 16, TEXT_MAX = 3200, KEY_MAX = 1024, PART_BYTES = 1 << 16 };

struct reader {
    XML_Parser parser;
    int depth;
    char root[40];
    char names[DEPTH_MAX + 1][40];
    char text[TEXT_MAX];
    size_t used;
    bool too_long;
    /* an error */
    struct error_body *error;
    /* single texts */
    const struct xml_wanted *wanted;
    size_t wanted_count;
    /* a listing */
    struct s3_page *page;
    int (*each)(void *ctx, const char *key, int64_t bytes);
    void *ctx;
    char key[TEXT_MAX];
    int64_t bytes;
    bool encoded, bad;
    int rc;
};

static void cleaned(char *to, size_t size, const char *from)
{
    size_t n = 0;
    for (; *from && n + 1 < size; from++) {
        unsigned char c = (unsigned char)*from;
        to[n++] = c == '"' ? '\'' : c < 0x20 || c == 0x7f ? ' ' : (char)c;
    }
    to[n] = '\0';
}

static void XMLCALL on_doctype(void *ctx, const XML_Char *name, const XML_Char *system_id, const XML_Char *public_id, int internal)
{
    struct reader *r = ctx;
    (void)name;
    (void)system_id;
    (void)public_id;
    (void)internal;
    r->bad = true;
    (void)XML_StopParser(r->parser, XML_FALSE);
}

static void XMLCALL on_begin(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
    struct reader *r = ctx;
    (void)attributes;
    if (++r->depth > DEPTH_MAX) {
        r->bad = true;
        (void)XML_StopParser(r->parser, XML_FALSE);
        return;
    }
    (void)snprintf(r->names[r->depth], sizeof r->names[0], "%s", name);
    if (r->depth == 1) {
        (void)snprintf(r->root, sizeof r->root, "%s", name);
    }
    if (r->depth == 2 && strcmp(name, "Contents") == 0) {
        r->key[0] = '\0';
        r->bytes = -1;
    }
    r->used = 0;
    r->too_long = false;
    r->text[0] = '\0';
}

static void XMLCALL on_text(void *ctx, const XML_Char *text, int length)
{
    struct reader *r = ctx;
    size_t room = sizeof r->text - 1 - r->used;
    size_t take = (size_t)length < room ? (size_t)length : room;
    r->too_long = r->too_long || take < (size_t)length;
    memcpy(r->text + r->used, text, take);
    r->used += take;
    r->text[r->used] = '\0';
}

static void error_end(struct reader *r, const char *name)
{
    bool of_s3 = r->depth == 2 && strcmp(r->root, "Error") == 0;
    bool of_sts = r->depth == 3 && strcmp(r->root, "ErrorResponse") == 0 && strcmp(r->names[2], "Error") == 0;
    if (!of_s3 && !of_sts) {
        return;
    }
    if (strcmp(name, "Code") == 0) {
        cleaned(r->error->code, sizeof r->error->code, r->text);
    } else if (strcmp(name, "Message") == 0) {
        cleaned(r->error->message, sizeof r->error->message, r->text);
    } else if (strcmp(name, "Region") == 0) {
        cleaned(r->error->region, sizeof r->error->region, r->text);
    }
}

static void wanted_end(struct reader *r, const char *name)
{
    for (size_t i = 0; i < r->wanted_count; i++) {
        const struct xml_wanted *w = &r->wanted[i];
        if (strcmp(w->name, name) == 0 && !w->place[0]) {
            r->bad = r->bad || r->too_long || r->used >= w->size;
            cleaned(w->place, w->size, r->text);
        }
    }
}

static int hex_digit(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

/* encoding-type=url: percent-encoded, a blank may be '+'. False for a NUL or a half sequence. */
static bool decode_url(char *text)
{
    char *to = text;
    for (const char *p = text; *p; p++) {
        if (*p == '%') {
            int high = hex_digit(p[1]);
            int low = high < 0 ? -1 : hex_digit(p[2]);
            if (low < 0 || high * 16 + low == 0) {
                return false;
            }
            *to++ = (char)(high * 16 + low);
            p += 2;
        } else {
            *to++ = *p == '+' ? ' ' : *p;
        }
    }
    *to = '\0';
    return true;
}

static void contents_end(struct reader *r)
{
    if ((r->encoded && !decode_url(r->key)) || r->key[0] == '\0' || strlen(r->key) > KEY_MAX || r->bytes < 0) {
        r->bad = true;
    } else {
        r->rc = r->each(r->ctx, r->key, r->bytes);
    }
    if (r->bad || r->rc != 0) {
        (void)XML_StopParser(r->parser, XML_FALSE);
    }
}

static void page_end(struct reader *r, const char *name)
{
    if (r->depth == 3 && strcmp(r->names[2], "Contents") == 0) {
        if (strcmp(name, "Key") == 0) {
            r->bad = r->bad || r->too_long;
            memcpy(r->key, r->text, r->used + 1);
        } else if (strcmp(name, "Size") == 0) {
            char *end = NULL;
            r->bytes = isdigit((unsigned char)r->text[0]) ? strtoll(r->text, &end, 10) : -1;
        }
    } else if (r->depth == 2 && strcmp(name, "Contents") == 0) {
        contents_end(r);
    } else if (r->depth == 2 && strcmp(name, "IsTruncated") == 0) {
        r->page->truncated = strcmp(r->text, "true") == 0;
    } else if (r->depth == 2 && strcmp(name, "EncodingType") == 0) {
        r->encoded = strcmp(r->text, "url") == 0;
    } else if (r->depth == 2 && strcmp(name, "NextContinuationToken") == 0) {
        if (r->too_long || r->used >= sizeof r->page->next_token) {
            r->bad = true;
        } else {
            memcpy(r->page->next_token, r->text, r->used + 1);
        }
    }
}

static void XMLCALL on_end(void *ctx, const XML_Char *name)
{
    struct reader *r = ctx;
    if (r->error) {
        error_end(r, name);
    } else if (r->wanted) {
        wanted_end(r, name);
    } else {
        page_end(r, name);
    }
    r->depth--;
    r->used = 0;
    r->text[0] = '\0';
}

/* True if the document was well-formed to its end, or each() ended it. */
static bool parse(struct reader *r, const char *body, size_t bytes)
{
    bool fine = true;
    r->parser = XML_ParserCreate(NULL);
    if (!r->parser) {
        return false;
    }
    XML_SetUserData(r->parser, r);
    XML_SetElementHandler(r->parser, on_begin, on_end);
    XML_SetCharacterDataHandler(r->parser, on_text);
    XML_SetStartDoctypeDeclHandler(r->parser, on_doctype);
    for (size_t at = 0; fine && !r->bad && r->rc == 0;) {
        size_t part = bytes - at > PART_BYTES ? PART_BYTES : bytes - at;
        fine = XML_Parse(r->parser, body + at, (int)part, at + part == bytes) == XML_STATUS_OK;
        at += part;
        if (at == bytes) {
            break;
        }
    }
    XML_ParserFree(r->parser);
    return (fine && !r->bad) || r->rc != 0;
}

void error_body_xml(const char *body, size_t bytes, struct error_body *out)
{
    struct reader r = {.error = out};
    memset(out, 0, sizeof *out);
    (void)parse(&r, body, bytes); /* what came before a fault is still worth telling */
}

bool xml_texts_read(const char *body, size_t bytes, const struct xml_wanted *wanted, size_t count)
{
    struct reader r = {.wanted = wanted, .wanted_count = count};
    for (size_t i = 0; i < count; i++) {
        wanted[i].place[0] = '\0';
    }
    return parse(&r, body, bytes) && !r.bad;
}

int s3_page_read(const char *body, size_t bytes, struct s3_page *page, int (*each)(void *ctx, const char *key, int64_t bytes), void *ctx,
                 struct err *e)
{
    struct reader r = {.page = page, .each = each, .ctx = ctx};
    memset(page, 0, sizeof *page);
    /* EncodingType may stand behind the contents: it has to be known before them */
    const char mark[] = "<EncodingType>url</EncodingType>";
    r.encoded = memmem(body, bytes, mark, sizeof mark - 1) != NULL;
    bool fine = parse(&r, body, bytes);
    if (r.rc != 0) {
        return r.rc;
    }
    if (!fine || strcmp(r.root, "ListBucketResult") != 0 || (page->truncated && !page->next_token[0])) {
        return err_set(e, ERR_PROTOCOL, 0, "S3 ListObjectsV2: the answer is no listing that can be read");
    }
    return 0;
}

void error_body_json(const char *body, size_t bytes, struct error_body *out)
{
    static const char *const codes[] = {"__type", "code", "Code"};
    static const char *const messages[] = {"message", "Message"};
    memset(out, 0, sizeof *out);
    json_t *root = json_loadb(body, bytes, 0, NULL);
    for (size_t i = 0; !out->code[0] && i < sizeof codes / sizeof codes[0]; i++) {
        const char *text = json_string_value(json_object_get(root, codes[i]));
        cleaned(out->code, sizeof out->code, text ? text : "");
    }
    for (size_t i = 0; !out->message[0] && i < sizeof messages / sizeof messages[0]; i++) {
        const char *text = json_string_value(json_object_get(root, messages[i]));
        cleaned(out->message, sizeof out->message, text ? text : "");
    }
    json_decref(root);
}
