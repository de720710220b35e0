/* multipart_bodies - S3's answers about multipart uploads. See multipart.h. expat with no DTD, no deep nesting, texts of bounded length. */
#include "common/aws/internal.h"
#include "common/aws/s3/multipart.h"

#include <ctype.h>
#include <expat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 8, TEXT_MAX = 1200, NAME_MAX_BYTES = 40, FEED_BYTES = 1 << 16 };

/* Called at the end of every element: its name, depth (the root has 1), and its own text, cut at TEXT_MAX. */
struct walk {
    XML_Parser parser;
    int depth;
    bool bad, too_long;
    char root[NAME_MAX_BYTES];
    char text[TEXT_MAX];
    size_t used;
    void (*leaf)(struct walk *w, const char *name);
    /* what the leaves fill */
    char *upload_id;
    struct multipart_part *parts, part;
    int count, number;
    struct multipart_page *page;
    struct multipart_completed *completed;
};

static void XMLCALL on_doctype(void *ctx, const XML_Char *name, const XML_Char *system_id, const XML_Char *public_id, int internal)
{
    struct walk *w = ctx;
    (void)name;
    (void)system_id;
    (void)public_id;
    (void)internal;
    w->bad = true;
    (void)XML_StopParser(w->parser, XML_FALSE);
}

static void XMLCALL on_begin(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
    struct walk *w = ctx;
    (void)attributes;
    if (++w->depth > DEPTH_MAX) {
        w->bad = true;
        (void)XML_StopParser(w->parser, XML_FALSE);
        return;
    }
    if (w->depth == 1) {
        (void)snprintf(w->root, sizeof w->root, "%s", name);
    }
    if (w->depth == 2) {
        memset(&w->part, 0, sizeof w->part);
        w->number = 0;
    }
    w->used = 0;
    w->too_long = false;
    w->text[0] = '\0';
}

static void XMLCALL on_text(void *ctx, const XML_Char *text, int length)
{
    struct walk *w = ctx;
    size_t room = sizeof w->text - 1 - w->used;
    size_t take = (size_t)length < room ? (size_t)length : room;
    w->too_long = w->too_long || take < (size_t)length;
    memcpy(w->text + w->used, text, take);
    w->used += take;
    w->text[w->used] = '\0';
}

static void XMLCALL on_end(void *ctx, const XML_Char *name)
{
    struct walk *w = ctx;
    w->leaf(w, name);
    w->depth--;
    w->used = 0;
    w->text[0] = '\0';
}

/* True if the document was well-formed to its end and its root has that name (or the other, if not NULL). */
static bool walk(struct walk *w, const char *body, size_t bytes, const char *root, const char *other)
{
    bool fine = true;
    while (bytes > 0 && isspace((unsigned char)*body)) { /* an XML declaration must be the first of a document for expat, but not for S3 */
        body++;
        bytes--;
    }
    w->parser = XML_ParserCreate(NULL);
    if (!w->parser) {
        return false;
    }
    XML_SetUserData(w->parser, w);
    XML_SetElementHandler(w->parser, on_begin, on_end);
    XML_SetCharacterDataHandler(w->parser, on_text);
    XML_SetStartDoctypeDeclHandler(w->parser, on_doctype);
    for (size_t at = 0; fine && !w->bad && at < bytes;) {
        size_t part = bytes - at > FEED_BYTES ? FEED_BYTES : bytes - at;
        fine = XML_Parse(w->parser, body + at, (int)part, at + part == bytes) == XML_STATUS_OK;
        at += part;
    }
    XML_ParserFree(w->parser);
    return fine && !w->bad && bytes > 0 && (strcmp(w->root, root) == 0 || (other && strcmp(w->root, other) == 0));
}

/* ---- CreateMultipartUpload -------------------------------------------------------------------------------------------------------- */

static void created_leaf(struct walk *w, const char *name)
{
    if (w->depth == 2 && strcmp(name, "UploadId") == 0) {
        w->bad = w->bad || w->too_long || w->used == 0 || w->used >= S3_UPLOAD_ID_SIZE;
        for (size_t i = 0; i < w->used; i++) {
            w->bad = w->bad || (unsigned char)w->text[i] < 0x20;
        }
        if (!w->bad) {
            memcpy(w->upload_id, w->text, w->used + 1);
        }
    }
}

int multipart_created_read(const char *body, size_t bytes, char upload_id[S3_UPLOAD_ID_SIZE], struct err *e)
{
    char found[S3_UPLOAD_ID_SIZE] = "";
    struct walk w = {.leaf = created_leaf, .upload_id = found};
    if (!walk(&w, body, bytes, "InitiateMultipartUploadResult", NULL) || !found[0]) {
        return err_set(e, ERR_PROTOCOL, 0, "S3 CreateMultipartUpload: the answer names no upload");
    }
    memcpy(upload_id, found, sizeof found);
    return 0;
}

/* ---- ListParts ---------------------------------------------------------------------------------------------------------------------- */

/* A number of digits only; -1: none. */
static int64_t number_of(const char *text)
{
    char *end = NULL;
    int64_t n = isdigit((unsigned char)text[0]) && strlen(text) <= 18 ? strtoll(text, &end, 10) : -1;
    return n >= 0 && *end == '\0' ? n : -1;
}

static void page_leaf(struct walk *w, const char *name)
{
    if (w->depth == 3) { /* of a <Part>; of <Owner> and <Initiator> none of these */
        if (strcmp(name, "PartNumber") == 0) {
            int64_t n = number_of(w->text);
            w->number = n >= 1 && n <= MULTIPART_PARTS_MAX ? (int)n : 0;
        } else if (strcmp(name, "Size") == 0) {
            w->part.bytes = number_of(w->text);
        } else if (strcmp(name, "ETag") == 0) {
            s3_plain_etag(w->used < sizeof w->part.etag ? w->text : "", w->part.etag, sizeof w->part.etag);
        } else if (strcmp(name, "ChecksumCRC32C") == 0) {
            w->part.has_crc32c = s3_crc_read(w->text, &w->part.crc32c);
        }
    } else if (w->depth == 2 && strcmp(name, "Part") == 0) {
        if (w->number >= 1 && w->number <= w->count && w->part.bytes > 0 && w->part.etag[0]) {
            w->parts[w->number - 1] = w->part;
        }
    } else if (w->depth == 2 && strcmp(name, "IsTruncated") == 0) {
        w->page->truncated = strcmp(w->text, "true") == 0;
    } else if (w->depth == 2 && strcmp(name, "NextPartNumberMarker") == 0) {
        int64_t n = number_of(w->text);
        w->page->next_marker = n >= 0 && n <= MULTIPART_PARTS_MAX ? (int)n : 0;
    }
}

int multipart_page_read(const char *body, size_t bytes, struct multipart_part *parts, int count, struct multipart_page *page, struct err *e)
{
    struct walk w = {.leaf = page_leaf, .parts = parts, .count = count, .page = page};
    memset(page, 0, sizeof *page);
    if (!walk(&w, body, bytes, "ListPartsResult", NULL)) {
        return err_set(e, ERR_PROTOCOL, 0, "S3 ListParts: the answer is no listing that can be read");
    }
    return 0;
}

/* ---- CompleteMultipartUpload ------------------------------------------------------------------------------------------------------------ */

static void completed_leaf(struct walk *w, const char *name)
{
    if (w->depth != 2 || strcmp(w->root, "CompleteMultipartUploadResult") != 0) {
        return;
    }
    if (strcmp(name, "ETag") == 0) {
        s3_plain_etag(w->text, w->completed->etag, sizeof w->completed->etag);
    } else if (strcmp(name, "ChecksumCRC32C") == 0) {
        w->completed->has_crc32c = s3_crc_read(w->text, &w->completed->crc32c);
    }
}

int multipart_completed_read(const char *body, size_t bytes, struct multipart_completed *out, struct err *e)
{
    struct walk w = {.leaf = completed_leaf, .completed = out};
    memset(out, 0, sizeof *out);
    while (bytes > 0 && isspace((unsigned char)*body)) {
        body++;
        bytes--;
    }
    bool readable = walk(&w, body, bytes, "CompleteMultipartUploadResult", "Error");
    if (readable && strcmp(w.root, "Error") == 0) {
        error_body_xml(body, bytes, &out->error);
    }
    if (!readable || (strcmp(w.root, "Error") == 0 && !out->error.code[0])) {
        return err_set(e, ERR_PROTOCOL, 0, "S3 CompleteMultipartUpload: the answer says neither that the object is there nor why not");
    }
    return 0;
}
