/* s3 - CompleteMultipartUpload: the list of parts is checked, the parts are put together in a new file, which is checked and committed
 * like any other object. Nothing of the upload is removed before. See s3.h, multipart.h. */
#include "common/runtime/runtime.h"
#include "compose/local-aws/multipart.h"
#include "compose/local-aws/s3.h"

#include <errno.h>
#include <expat.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

struct part {
    int number;
    char etag[64];
    enum checksum which; /* as the list names it; CHECKSUM_NONE if it does not */
    char checksum[96];
};

/* ---- <CompleteMultipartUpload><Part><PartNumber/><ETag/></Part>... ------------------------------------------------------------ */

struct reading {
    struct part *parts; /* PARTS_MAX */
    int count;
    bool in_part, broken;
    char text[256];
    size_t used;
};

static void begin_element(void *data, const XML_Char *name, const XML_Char **attributes)
{
    struct reading *x = data;
    (void)attributes;
    x->used = 0;
    x->text[0] = '\0';
    if (strcmp(name, "Part") == 0) {
        x->broken = x->broken || x->in_part || x->count == PARTS_MAX;
        x->in_part = !x->broken;
        if (x->in_part) {
            memset(&x->parts[x->count], 0, sizeof x->parts[0]);
            x->parts[x->count].which = CHECKSUM_NONE;
        }
    }
}

static void end_element(void *data, const XML_Char *name)
{
    struct reading *x = data;
    if (!x->in_part) {
        return;
    }
    struct part *p = &x->parts[x->count];
    if (strcmp(name, "PartNumber") == 0) {
        p->number = atoi(x->text);
    } else if (strcmp(name, "ETag") == 0) {
        const char *from = x->text + (x->text[0] == '"');
        (void)snprintf(p->etag, sizeof p->etag, "%.*s", (int)strcspn(from, "\""), from);
    } else if (strncmp(name, "Checksum", 8) == 0) {
        p->which = checksum_find(name + 8);
        (void)snprintf(p->checksum, sizeof p->checksum, "%.95s", x->text);
    } else if (strcmp(name, "Part") == 0) {
        x->in_part = false;
        x->count++;
    }
}

static void take_text(void *data, const XML_Char *text, int count)
{
    struct reading *x = data;
    size_t n = (size_t)count;
    if (x->used + n >= sizeof x->text) {
        n = sizeof x->text - 1 - x->used;
    }
    memcpy(x->text + x->used, text, n);
    x->used += n;
    x->text[x->used] = '\0';
}

/* -> number of parts in parts; negative: no legal list */
static int read_parts(const struct request *r, struct part *parts)
{
    struct reading x = {.parts = parts};
    XML_Parser parser = XML_ParserCreate(NULL);
    if (!parser) {
        return -1;
    }
    XML_SetUserData(parser, &x);
    XML_SetElementHandler(parser, begin_element, end_element);
    XML_SetCharacterDataHandler(parser, take_text);
    bool ok = XML_Parse(parser, r->body.bytes ? r->body.bytes : "", (int)r->body.used, 1) == XML_STATUS_OK;
    XML_ParserFree(parser);
    return ok && !x.broken && x.count > 0 ? x.count : -1;
}

/* ---- the parts become one ----------------------------------------------------------------------------------------------------------- */

struct whole {
    int fd;
    char path[STORE_PATH];
    struct hashes *hashes;
    EVP_MD_CTX *etags;   /* MD5 over the parts' MD5s */
    struct hashes *sums; /* checksum over the parts' checksums, for a composite one */
    enum checksum which;
};

static int copy_bytes(struct whole *w, int fd, int64_t bytes, struct err *e)
{
    char buffer[64 << 10];
    for (int64_t at = 0; at < bytes;) {
        size_t want = bytes - at < (int64_t)sizeof buffer ? (size_t)(bytes - at) : sizeof buffer;
        ssize_t n = pread(fd, buffer, want, at);
        if (n <= 0) {
            return err_set(e, ERR_IO, errno, "cannot read a part");
        }
        hashes_update(w->hashes, buffer, (size_t)n);
        if (write_all(w->fd, buffer, (size_t)n, e) != 0) {
            return ERR_IO;
        }
        at += n;
    }
    return 0;
}

static void add_digests(struct whole *w, json_t *description)
{
    unsigned char md5[16] = {0};
    unsigned char sum[64];
    const char *etag = json_string_value(json_object_get(description, "etag"));
    for (int i = 0; i < 16 && etag && strlen(etag) == 32; i++) {
        char pair[3] = {etag[2 * i], etag[2 * i + 1], '\0'};
        md5[i] = (unsigned char)strtol(pair, NULL, 16);
    }
    (void)EVP_DigestUpdate(w->etags, md5, sizeof md5);
    if (w->which != CHECKSUM_NONE) {
        const char *value = json_string_value(json_object_get(json_object_get(description, "checksums"), checksum_name(w->which)));
        int n = value ? text_base64_decode(value, sum, sizeof sum) : 0;
        hashes_update(w->sums, sum, n > 0 ? (size_t)n : 0);
    }
}

/* Refuses what does not fit. */
static bool add_part(struct request *r, struct whole *w, const char *id, const struct part *part, bool is_last)
{
    char path[STORE_PATH];
    int64_t bytes;
    struct err e = {0};
    json_t *description = NULL;
    multipart_part_path(r, id, part->number, path);
    int fd = part->number >= 1 && part->number <= PARTS_MAX ? store_open_sealed(path, &bytes, &description, NULL) : -1;
    const char *etag = json_string_value(json_object_get(description, "etag"));
    const char *kept = part->which == CHECKSUM_NONE ? NULL : json_string_value(json_object_get(json_object_get(description, "checksums"), checksum_name(part->which)));
    if (fd < 0 || !etag || strcmp(etag, part->etag) != 0 || (kept && strcmp(kept, part->checksum) != 0)) {
        answer_refuse(r, 400, "InvalidPart", "Part %d could not be found, or its entity tag or checksum is another one.", part->number);
    } else if (!is_last && bytes < PART_BYTES_MIN) {
        answer_refuse(r, 400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size");
    } else if (copy_bytes(w, fd, bytes, &e) != 0) {
        answer_trouble(r, &e);
    } else {
        add_digests(w, description);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    json_decref(description);
    return r->status == 0;
}

/* Checksum and type of the whole; refuses one that the client states otherwise. */
static bool take_checksum(struct request *r, struct whole *w, json_t *upload, const struct digest *d, int count, char value[80], const char **type)
{
    struct digest sums;
    char name[40];
    const char *asked = json_string_value(json_object_get(upload, "type"));
    hashes_end(w->sums, &sums);
    bool full = w->which == CHECKSUM_NONE || w->which == CHECKSUM_CRC64NVME || (asked && strcasecmp(asked, "FULL_OBJECT") == 0);
    enum checksum kept = w->which == CHECKSUM_NONE ? CHECKSUM_CRC64NVME : w->which;
    *type = full ? "FULL_OBJECT" : "COMPOSITE";
    if (full) {
        (void)snprintf(value, 80, "%s", d->value[kept]);
    } else {
        (void)snprintf(value, 80, "%s-%d", sums.value[kept], count);
    }
    (void)snprintf(name, sizeof name, "x-amz-checksum-%s", checksum_name(kept));
    const char *said = request_header(r, name);
    if (said && strcmp(said, value) != 0) {
        answer_refuse(r, 400, "BadDigest", "The %s you specified did not match the calculated checksum.", checksum_name(kept));
    }
    return r->status == 0;
}

static void answer_complete(struct request *r, const char *etag, enum checksum which, const char *value, const char *type)
{
    char tag[32] = "Checksum";
    const char *name = checksum_name(which == CHECKSUM_NONE ? CHECKSUM_CRC64NVME : which);
    for (size_t i = 0; name[i]; i++) {
        tag[8 + i] = (char)(name[i] >= 'a' && name[i] <= 'z' ? name[i] - 32 : name[i]);
    }
    answer_xml(r, 200);
    text_add(&r->out, "<CompleteMultipartUploadResult xmlns=\"" S3_XMLNS "\">");
    text_addf(&r->out, "<Location>http://local/%s/", r->bucket);
    text_add_xml(&r->out, r->key);
    text_add(&r->out, "</Location>");
    text_add_element(&r->out, "Bucket", r->bucket);
    text_add_element(&r->out, "Key", r->key);
    text_addf(&r->out, "<ETag>&quot;%s&quot;</ETag>", etag);
    text_add_element(&r->out, tag, value);
    text_add_element(&r->out, "ChecksumType", type);
    text_add(&r->out, "</CompleteMultipartUploadResult>");
}

/* All parts are in the file: seal, commit, answer. */
static void finish(struct request *r, struct whole *w, json_t *upload, const char *id, int count)
{
    struct digest d;
    struct err e = {0};
    unsigned char md5[16];
    char etag[48];
    char value[80];
    const char *type;
    hashes_end(w->hashes, &d);
    if (!take_checksum(r, w, upload, &d, count, value, &type)) {
        return;
    }
    (void)EVP_DigestFinal_ex(w->etags, md5, NULL);
    text_hex(md5, sizeof md5, etag);
    (void)snprintf(etag + 32, sizeof etag - 32, "-%d", count);
    json_t *description = json_pack("{s:s s:I s:I s:s s:{s:s} s:s s:O}", "key", r->key, "bytes", (json_int_t)d.bytes, "modified_ms",
                                    (json_int_t)clock_wall_ms(), "etag", etag, "checksums",
                                    checksum_name(w->which == CHECKSUM_NONE ? CHECKSUM_CRC64NVME : w->which), value, "checksum_type", type,
                                    "headers", json_object_get(upload, "headers"));
    if (!description || store_seal(r->app->store, w->fd, description, &e) != 0) {
        answer_trouble(r, &e);
    } else if (s3_commit(r, w->path, description, d.sha256_hex)) {
        w->path[0] = '\0';
        multipart_remove(r, id);
        s3_answer_encryption(r, json_object_get(upload, "headers"));
        answer_complete(r, r->effect.wrong_etag ? "00000000000000000000000000000000-1" : etag, w->which, r->effect.wrong_checksum ? "AAAAAA==" : value,
                        type);
    }
    json_decref(description);
}

static bool whole_begin(struct request *r, struct whole *w, json_t *upload)
{
    struct err e = {0};
    const char *algorithm = json_string_value(json_object_get(upload, "algorithm"));
    w->which = algorithm ? checksum_find(algorithm) : CHECKSUM_NONE;
    unsigned wanted = 1u << (w->which == CHECKSUM_NONE ? CHECKSUM_CRC64NVME : w->which);
    w->hashes = hashes_new(wanted, false);
    w->sums = hashes_new(wanted, false);
    w->etags = EVP_MD_CTX_new();
    w->fd = -1;
    if (!w->hashes || !w->sums || !w->etags || EVP_DigestInit_ex(w->etags, EVP_md5(), NULL) != 1) {
        (void)err_set(&e, ERR_MEMORY, 0, "no memory to put parts together");
    } else {
        w->fd = store_temp(r->app->store, w->path, &e);
    }
    if (w->fd < 0) {
        answer_trouble(r, &e);
    }
    return w->fd >= 0;
}

static void whole_end(struct whole *w)
{
    if (w->fd >= 0) {
        (void)close(w->fd);
    }
    if (w->path[0]) {
        (void)unlink(w->path);
    }
    hashes_free(w->hashes);
    hashes_free(w->sums);
    EVP_MD_CTX_free(w->etags);
}

void s3_complete_multipart(struct request *r)
{
    char id[32];
    struct whole w = {.fd = -1};
    if (r->effect.late_error) { /* the status has gone out, blanks have kept the connection alive, and then it failed */
        answer_xml(r, 200);
        text_clear(&r->out);
        text_add(&r->out, "\n \n<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
        text_add_element(&r->out, "Code", r->effect.code);
        text_add_element(&r->out, "Message", r->effect.message);
        text_add(&r->out, "</Error>");
        return;
    }
    json_t *upload = multipart_need(r, id);
    struct part *parts = upload ? calloc(PARTS_MAX, sizeof *parts) : NULL;
    int count = parts ? read_parts(r, parts) : 0;
    if (upload && count <= 0) {
        answer_refuse(r, 400, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema");
    }
    for (int i = 1; i < count; i++) {
        if (parts[i].number <= parts[i - 1].number) {
            answer_refuse(r, 400, "InvalidPartOrder", "The list of parts was not in ascending order.");
        }
    }
    if (r->status == 0 && whole_begin(r, &w, upload)) {
        for (int i = 0; i < count && r->status == 0; i++) {
            (void)add_part(r, &w, id, &parts[i], i == count - 1);
        }
        if (r->status == 0) {
            finish(r, &w, upload, id, count);
        }
    }
    whole_end(&w);
    free(parts);
    json_decref(upload);
}
