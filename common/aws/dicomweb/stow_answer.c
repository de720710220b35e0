/* stow_answer - see stow_answer.h. jansson for JSON, whose nesting it bounds; expat for XML with no DTD and no deep nesting. */
#include "common/aws/dicomweb/stow_answer.h"

#include <expat.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 24, TEXT_MAX = STOW_URL_SIZE, PART_BYTES = 1 << 16 };

static const char failed_sequence[] = "00081198";
static const char referenced_sequence[] = "00081199";
static const char instance_uid[] = "00081155";
static const char failure_reason[] = "00081197";
static const char warning_reason[] = "00081196";
static const char retrieve_url[] = "00081190";

/* ---- what the numbers mean ------------------------------------------------------------------------------------------------------ */

/* The first row that holds the number counts. What nobody has published may pass: it is tried again, a limited number of times. */
static const struct {
    int first, last, code;
    const char *words;
} reasons[] = {
    {0xA700, 0xA7FF, ERR_STORE_BUSY, "out of resources"},
    {0xA900, 0xA9FF, ERR_STORE_REFUSED, "data set does not match SOP class"},
    {0xC122, 0xC122, ERR_STORE_REFUSED, "transfer syntax not supported"},
    {0xC000, 0xCFFF, ERR_STORE_REFUSED, "cannot understand"},
    {0x0110, 0x0110, ERR_STORE_FAILED, "processing failure"},
    {0x0111, 0x0111, ERR_STORE_EXISTS, "duplicate SOP instance"},
    {0x0117, 0x0117, ERR_STORE_REFUSED, "invalid SOP instance"},
    {0x0122, 0x0122, ERR_STORE_REFUSED, "SOP class not supported"},
    {0x0124, 0x0124, ERR_STORE_FAILED, "not authorised"},
    {0xB000, 0xB000, ERR_STORE_FAILED, "coercion of data elements"}, /* from here on: warnings */
    {0xB006, 0xB006, ERR_STORE_FAILED, "elements discarded"},
    {0xB007, 0xB007, ERR_STORE_FAILED, "data set does not match SOP class"},
    {0xB100, 0xB100, ERR_STORE_FAILED, "pixel data could not be transcoded"},
    {0xB110, 0xB110, ERR_STORE_FAILED, "frames could not be extracted"},
    {0xB111, 0xB111, ERR_STORE_FAILED, "number of frames does not match"},
};
enum { REASONS = sizeof reasons / sizeof reasons[0] };

int stow_reason_code(int reason)
{
    for (size_t i = 0; i < REASONS; i++) {
        if (reason >= reasons[i].first && reason <= reasons[i].last) {
            return reasons[i].code;
        }
    }
    return ERR_STORE_FAILED;
}

const char *stow_reason_words(int reason)
{
    for (size_t i = 0; i < REASONS; i++) {
        if (reason >= reasons[i].first && reason <= reasons[i].last) {
            return reasons[i].words;
        }
    }
    return "";
}

/* ---- one item of a sequence -------------------------------------------------------------------------------------------------------- */

struct item {
    char uid[72], url[STOW_URL_SIZE];
    int reason, warning; /* -1: none */
};

static void item_clear(struct item *item)
{
    memset(item, 0, sizeof *item);
    item->reason = item->warning = -1;
}

/* "42752" -> 42752; -1 if it is no unsigned 16 bit number. */
static int number_of(const char *text)
{
    char *end = NULL;
    long n = strtol(text, &end, 10);
    return end != text && *end == '\0' && n >= 0 && n <= 65535 ? (int)n : -1;
}

static bool is_url(const char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p <= ' ' || *p > '~' || *p == '"') {
            return false;
        }
    }
    return strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0;
}

/* A value of an attribute of the item. */
static void item_take(struct item *item, const char *tag, const char *value)
{
    if (strcmp(tag, instance_uid) == 0) {
        size_t length = strlen(value);
        while (length > 0 && (value[length - 1] == ' ' || value[length - 1] == '\n')) {
            length--;
        }
        (void)snprintf(item->uid, sizeof item->uid, "%.*s", (int)(length < sizeof item->uid ? length : 0), value);
    } else if (strcmp(tag, failure_reason) == 0) {
        item->reason = number_of(value);
    } else if (strcmp(tag, warning_reason) == 0) {
        item->warning = number_of(value);
    } else if (strcmp(tag, retrieve_url) == 0 && strlen(value) < sizeof item->url && is_url(value)) {
        (void)snprintf(item->url, sizeof item->url, "%s", value);
    }
}

/* The item has ended: is it about our instance? */
static void item_judge(const struct item *item, bool failed, const char *wanted, struct stow_verdict *out)
{
    if (strcmp(item->uid, wanted) != 0 || out->kind == STOW_FAILED) {
        return;
    }
    out->kind = failed ? STOW_FAILED : STOW_STORED;
    out->reason = failed ? item->reason : -1;
    out->warning = item->warning > 0 ? item->warning : 0;
    (void)snprintf(out->retrieve_url, sizeof out->retrieve_url, "%s", failed ? "" : item->url);
}

/* ---- JSON -------------------------------------------------------------------------------------------------------------------------------- */

/* The first value of an attribute as text into buffer; "" if it has none or it does not fit. */
static void first_value(json_t *object, const char *tag, char *buffer, size_t size)
{
    json_t *value = json_array_get(json_object_get(json_object_get(object, tag), "Value"), 0);
    const char *text = json_string_value(value);
    buffer[0] = '\0';
    if (json_is_integer(value)) {
        (void)snprintf(buffer, size, "%lld", (long long)json_integer_value(value));
    } else if (text && strlen(text) < size) {
        (void)snprintf(buffer, size, "%s", text);
    }
}

static void read_items(json_t *module, const char *sequence, const char *wanted, struct stow_verdict *out)
{
    static const char *const tags[] = {instance_uid, failure_reason, warning_reason, retrieve_url};
    json_t *items = json_object_get(json_object_get(module, sequence), "Value");
    char value[STOW_URL_SIZE];
    size_t place;
    json_t *entry;
    json_array_foreach(items, place, entry) {
        struct item item;
        item_clear(&item);
        for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++) {
            first_value(entry, tags[i], value, sizeof value);
            item_take(&item, tags[i], value);
        }
        item_judge(&item, sequence == failed_sequence, wanted, out);
    }
}

static int read_json(const char *body, size_t bytes, const char *wanted, struct stow_verdict *out, struct err *e)
{
    json_t *root = json_loadb(body, bytes, 0, NULL);
    json_t *module = json_is_array(root) ? json_array_get(root, 0) : root; /* some servers send a list with the one module */
    int rc = 0;
    if (json_is_object(module) && (json_object_get(module, failed_sequence) || json_object_get(module, referenced_sequence))) {
        read_items(module, failed_sequence, wanted, out);
        read_items(module, referenced_sequence, wanted, out);
    } else {
        rc = err_set(e, ERR_PROTOCOL, 0, "the answer is no response to a store request");
    }
    json_decref(root);
    return rc;
}

int stow_query_read(const char *body, size_t bytes, const char *sop_instance_uid, bool *found, struct err *e)
{
    json_t *root = json_loadb(body, bytes, 0, NULL);
    char uid[72];
    size_t place;
    json_t *entry;
    if (!json_is_array(root)) {
        json_decref(root);
        return err_set(e, ERR_PROTOCOL, 0, "the answer to a query is no list of instances");
    }
    *found = false;
    json_array_foreach(root, place, entry) {
        first_value(entry, "00080018", uid, sizeof uid);
        *found = *found || strcmp(uid, sop_instance_uid) == 0;
    }
    json_decref(root);
    return 0;
}

/* ---- XML --------------------------------------------------------------------------------------------------------------------------------- */

/*
 * NativeDicomModel / DicomAttribute tag=<sequence> / Item / DicomAttribute tag=<attribute> / Value
 *       1                       2                     3                   4                    5
 */
struct reader {
    XML_Parser parser;
    int depth;
    bool is_model, bad, in_sequence, failed;
    char tag[12]; /* of the attribute at depth 4 */
    char text[TEXT_MAX];
    size_t used;
    bool too_long, has_value;
    struct item item;
    const char *wanted;
    struct stow_verdict *out;
};

static const char *local_name(const char *name)
{
    const char *colon = strchr(name, ':');
    return colon ? colon + 1 : name;
}

static const char *attribute(const XML_Char **attributes, const char *name)
{
    for (size_t i = 0; attributes[i] && attributes[i + 1]; i += 2) {
        if (strcmp(attributes[i], name) == 0) {
            return attributes[i + 1];
        }
    }
    return "";
}

static void stop(struct reader *r)
{
    r->bad = true;
    (void)XML_StopParser(r->parser, XML_FALSE);
}

static void XMLCALL on_doctype(void *ctx, const XML_Char *name, const XML_Char *system_id, const XML_Char *public_id, int internal)
{
    (void)name, (void)system_id, (void)public_id, (void)internal;
    stop(ctx);
}

static void XMLCALL on_begin(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
    struct reader *r = ctx;
    const char *local = local_name(name);
    if (++r->depth > DEPTH_MAX) {
        stop(r);
        return;
    }
    bool is_attribute = strcmp(local, "DicomAttribute") == 0;
    const char *tag = is_attribute ? attribute(attributes, "tag") : "";
    switch (r->depth) {
    case 1:
        r->is_model = strcmp(local, "NativeDicomModel") == 0;
        break;
    case 2:
        r->failed = strcmp(tag, failed_sequence) == 0;
        r->in_sequence = r->failed || strcmp(tag, referenced_sequence) == 0;
        break;
    case 3:
        item_clear(&r->item);
        break;
    case 4:
        (void)snprintf(r->tag, sizeof r->tag, "%s", tag);
        r->has_value = false;
        break;
    default:
        break;
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

static void XMLCALL on_end(void *ctx, const XML_Char *name)
{
    struct reader *r = ctx;
    if (r->in_sequence && r->depth == 5 && strcmp(local_name(name), "Value") == 0 && !r->too_long && !r->has_value) {
        item_take(&r->item, r->tag, r->text);
        r->has_value = true;
    } else if (r->in_sequence && r->depth == 3) {
        item_judge(&r->item, r->failed, r->wanted, r->out);
    }
    r->depth--;
}

static int read_xml(const char *body, size_t bytes, const char *wanted, struct stow_verdict *out, struct err *e)
{
    struct reader *r = calloc(1, sizeof *r);
    XML_Parser parser = r ? XML_ParserCreate(NULL) : NULL;
    if (!parser) {
        free(r);
        return err_set(e, ERR_MEMORY, 0, "no memory for an answer");
    }
    r->parser = parser;
    r->wanted = wanted;
    r->out = out;
    XML_SetUserData(parser, r);
    XML_SetElementHandler(parser, on_begin, on_end);
    XML_SetCharacterDataHandler(parser, on_text);
    XML_SetStartDoctypeDeclHandler(parser, on_doctype);
    bool fine = true;
    for (size_t at = 0; fine && at <= bytes; at += PART_BYTES) {
        size_t part = bytes - at < PART_BYTES ? bytes - at : PART_BYTES;
        fine = XML_Parse(parser, body + at, (int)part, at + part == bytes && part < PART_BYTES) == XML_STATUS_OK && !r->bad;
    }
    fine = fine && r->is_model;
    XML_ParserFree(parser);
    free(r);
    return fine ? 0 : err_set(e, ERR_PROTOCOL, 0, "the answer is no response to a store request");
}

int stow_answer_read(const char *body, size_t bytes, const char *sop_instance_uid, struct stow_verdict *out, struct err *e)
{
    struct stow_verdict found = {.reason = -1};
    size_t at = 0;
    while (at < bytes && (body[at] == ' ' || body[at] == '\t' || body[at] == '\r' || body[at] == '\n' || (unsigned char)body[at] >= 0xBB)) {
        at++; /* blanks and a byte order mark */
    }
    int rc = at < bytes && body[at] == '<' ? read_xml(body + at, bytes - at, sop_instance_uid, &found, e)
                                            : read_json(body + at, bytes - at, sop_instance_uid, &found, e);
    if (rc == 0) {
        *out = found;
    }
    return rc;
}
