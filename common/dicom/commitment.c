/* commitment - see commitment.h. */
#include "common/dicom/commitment.h"

#include <stdlib.h>
#include <string.h>

#define UNDEFINED 0xffffffffu
#define TAG_TRANSACTION_UID 0x00081195u
#define TAG_FAILED_SEQUENCE 0x00081198u
#define TAG_SOP_SEQUENCE 0x00081199u
#define TAG_CLASS_UID 0x00081150u
#define TAG_INSTANCE_UID 0x00081155u
#define TAG_FAILURE_REASON 0x00081197u
#define TAG_ITEM 0xfffee000u
#define TAG_ITEM_END 0xfffee00du
#define TAG_SEQUENCE_END 0xfffee0ddu

/* ---- reading ------------------------------------------------------------------------------------------------------------- */

struct cursor {
    const unsigned char *at, *end;
    bool explicit_vr;
};

struct element {
    uint32_t tag, length;
    bool is_un;
};

static uint32_t le32(const unsigned char *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static bool vr_is_long(const unsigned char *vr)
{
    static const char longs[] = "OB OD OF OL OV OW SQ UC UN UR UT SV UV";
    for (size_t i = 0; i + 1 < sizeof longs; i += 3) {
        if (longs[i] == vr[0] && longs[i + 1] == vr[1]) {
            return true;
        }
    }
    return false;
}

/* The head of the element at the cursor, which moves to its value. A length that does not fit is an error; UNDEFINED passes. */
static bool next_element(struct cursor *c, bool explicit_vr, struct element *el)
{
    size_t left = (size_t)(c->end - c->at);
    if (left < 8) {
        return false;
    }
    const unsigned char *p = c->at;
    el->tag = ((uint32_t)p[0] | (uint32_t)p[1] << 8) << 16 | ((uint32_t)p[2] | (uint32_t)p[3] << 8);
    el->is_un = false;
    size_t head = 8;
    if (!explicit_vr || el->tag >> 16 == 0xfffe) {
        el->length = le32(p + 4);
    } else if (vr_is_long(p + 4)) {
        if (left < 12) {
            return false;
        }
        head = 12;
        el->is_un = memcmp(p + 4, "UN", 2) == 0;
        el->length = le32(p + 8);
    } else {
        el->length = p[6] | (uint32_t)p[7] << 8;
    }
    c->at += head;
    return el->length == UNDEFINED || el->length <= (size_t)(c->end - c->at);
}

/* Passes over a value, whatever nests in it. Inside a value without a length, sequences and items alternate, so a depth is all that
 * must be known: odd where items stand, even where elements stand. */
static bool skip_value(struct cursor *c, const struct element *el)
{
    if (el->length != UNDEFINED) {
        c->at += el->length;
        return true;
    }
    size_t depth = 1;
    size_t implicit_from = el->is_un ? 1 : 0; /* UN without a length holds implicit VR (PS3.5 section 6.2.2) */
    while (depth > 0) {
        struct element inner;
        if (!next_element(c, c->explicit_vr && implicit_from == 0, &inner)) {
            return false;
        }
        bool items = depth % 2 == 1;
        if (items ? inner.tag == TAG_SEQUENCE_END : inner.tag == TAG_ITEM_END) {
            depth--;
            implicit_from = depth < implicit_from ? 0 : implicit_from;
        } else if (items != (inner.tag == TAG_ITEM)) {
            return false;
        } else if (inner.length == UNDEFINED) {
            depth++;
            implicit_from = implicit_from == 0 && inner.is_un ? depth : implicit_from;
        } else {
            c->at += inner.length;
        }
    }
    return true;
}

/* A UID's text without its padding; false when it is empty, too long or no printable text. */
static bool take_uid(struct cursor *c, const struct element *el, char out[COMMITMENT_UID_SIZE])
{
    if (el->length == UNDEFINED) {
        return false;
    }
    const unsigned char *value = c->at;
    size_t length = el->length;
    c->at += length;
    while (length > 0 && (value[length - 1] == '\0' || value[length - 1] == ' ')) {
        length--;
    }
    if (length == 0 || length >= COMMITMENT_UID_SIZE) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (value[i] <= 0x20 || value[i] > 0x7e) {
            return false;
        }
    }
    memcpy(out, value, length);
    out[length] = '\0';
    return true;
}

static uint16_t invalid(struct err *e, const char *what)
{
    (void)err_set(e, ERR_PROTOCOL, 0, "%s", what);
    return COMMITMENT_INVALID_ARGUMENT;
}

/* One item of the sequence: its two UIDs; item.end is where it ends at the latest. */
static uint16_t read_item(struct cursor *item, bool has_length, char class_uid[COMMITMENT_UID_SIZE], char instance_uid[COMMITMENT_UID_SIZE],
                          struct err *e)
{
    class_uid[0] = instance_uid[0] = '\0';
    for (;;) {
        struct element el;
        if (has_length && item->at == item->end) {
            break;
        }
        if (!next_element(item, item->explicit_vr, &el)) {
            return invalid(e, "the action information ends inside a reference");
        }
        if (el.tag == TAG_ITEM_END && !has_length) {
            break;
        }
        if (el.tag == TAG_CLASS_UID || el.tag == TAG_INSTANCE_UID) {
            if (!take_uid(item, &el, el.tag == TAG_CLASS_UID ? class_uid : instance_uid)) {
                return invalid(e, "a UID of a reference cannot be one");
            }
        } else if (el.tag >> 16 == 0xfffe || !skip_value(item, &el)) {
            return invalid(e, "a reference cannot be read");
        }
    }
    return class_uid[0] && instance_uid[0] ? 0 : invalid(e, "a reference lacks a UID (0008,1150) or (0008,1155)");
}

static uint16_t add_reference(struct commitment_list *list, size_t *room, const char *class_uid, const char *instance_uid, struct err *e)
{
    size_t c = strlen(class_uid) + 1;
    size_t i = strlen(instance_uid) + 1;
    if (list->count == COMMITMENT_ITEMS_MAX) {
        (void)err_set(e, ERR_TOO_LARGE, 0, "more than %d references in one request", COMMITMENT_ITEMS_MAX);
        return COMMITMENT_RESOURCE_LIMITATION;
    }
    if (*room - list->references_bytes < c + i) {
        size_t larger = *room * 2 + 8192;
        char *grown = realloc(list->references, larger);
        if (!grown) {
            (void)err_set(e, ERR_MEMORY, 0, "no memory for the references");
            return COMMITMENT_PROCESSING_FAILURE;
        }
        list->references = grown;
        *room = larger;
    }
    memcpy(list->references + list->references_bytes, class_uid, c);
    memcpy(list->references + list->references_bytes + c, instance_uid, i);
    list->references_bytes += c + i;
    list->count++;
    return 0;
}

static uint16_t read_sequence(struct cursor *c, const struct element *sequence, struct commitment_list *list, struct err *e)
{
    char class_uid[COMMITMENT_UID_SIZE];
    char instance_uid[COMMITMENT_UID_SIZE];
    bool sized = sequence->length != UNDEFINED;
    struct cursor in = {c->at, sized ? c->at + sequence->length : c->end, c->explicit_vr};
    size_t room = 0;
    uint16_t status = 0;
    while (status == 0 && !(sized && in.at == in.end)) {
        struct element el;
        if (!next_element(&in, in.explicit_vr, &el)) {
            return invalid(e, "the action information ends inside its references");
        }
        if (el.tag == TAG_SEQUENCE_END && !sized) {
            break;
        }
        if (el.tag != TAG_ITEM) {
            return invalid(e, "something else than an item among the references");
        }
        bool has_length = el.length != UNDEFINED;
        struct cursor item = {in.at, has_length ? in.at + el.length : in.end, in.explicit_vr};
        status = read_item(&item, has_length, class_uid, instance_uid, e);
        in.at = item.at;
        status = status ? status : add_reference(list, &room, class_uid, instance_uid, e);
    }
    c->at = in.at;
    return status;
}

uint16_t commitment_read(const unsigned char *bytes, size_t count, bool explicit_vr, struct commitment_list *out, struct err *e)
{
    struct cursor c = {bytes, bytes + count, explicit_vr};
    uint16_t status = 0;
    memset(out, 0, sizeof *out);
    while (status == 0 && c.at < c.end) {
        struct element el;
        if (!next_element(&c, explicit_vr, &el)) {
            status = invalid(e, "the action information ends inside an element");
        } else if (el.tag == TAG_TRANSACTION_UID) {
            status = take_uid(&c, &el, out->transaction_uid) ? 0 : invalid(e, "Transaction UID (0008,1195) cannot be one");
        } else if (el.tag == TAG_SOP_SEQUENCE && out->count == 0) {
            status = read_sequence(&c, &el, out, e);
        } else if (el.tag >> 16 == 0xfffe || !skip_value(&c, &el)) {
            status = invalid(e, "the action information cannot be read");
        }
    }
    if (status == 0 && !out->transaction_uid[0]) {
        status = invalid(e, "there is no Transaction UID (0008,1195)");
    }
    if (status == 0 && out->count == 0) {
        status = invalid(e, "Referenced SOP Sequence (0008,1199) is empty");
    }
    if (status != 0) {
        commitment_list_clear(out);
    }
    return status;
}

void commitment_list_clear(struct commitment_list *list)
{
    free(list->references);
    memset(list, 0, sizeof *list);
}

bool commitment_references_are_sound(const char *references, size_t bytes, size_t count)
{
    size_t at = 0;
    if (count == 0 || count > COMMITMENT_ITEMS_MAX) {
        return false;
    }
    for (size_t i = 0; i < count * 2; i++) {
        const char *end = memchr(references + at, '\0', bytes - at);
        size_t length = end ? (size_t)(end - (references + at)) : 0;
        if (length == 0 || length >= COMMITMENT_UID_SIZE) {
            return false;
        }
        for (size_t k = 0; k < length; k++) {
            if (references[at + k] <= 0x20 || references[at + k] > 0x7e) {
                return false;
            }
        }
        at += length + 1;
    }
    return at == bytes;
}

/* ---- writing ------------------------------------------------------------------------------------------------------------- */

static unsigned char *put32(unsigned char *p, uint32_t n)
{
    for (int i = 0; i < 4; i++) {
        *p++ = (unsigned char)(n >> (8 * i));
    }
    return p;
}

static unsigned char *put_head(unsigned char *p, uint32_t tag, const char *vr, uint32_t length)
{
    *p++ = (unsigned char)(tag >> 16);
    *p++ = (unsigned char)(tag >> 24);
    *p++ = (unsigned char)tag;
    *p++ = (unsigned char)(tag >> 8);
    if (!vr) {
        return put32(p, length);
    }
    *p++ = (unsigned char)vr[0];
    *p++ = (unsigned char)vr[1];
    *p++ = vr[0] == 'S' ? 0 : (unsigned char)length; /* SQ: two reserved bytes, then four of length */
    *p++ = vr[0] == 'S' ? 0 : (unsigned char)(length >> 8);
    return vr[0] == 'S' ? put32(p, length) : p;
}

static size_t even(size_t n)
{
    return (n + 1) & ~(size_t)1;
}

static unsigned char *put_uid(unsigned char *p, uint32_t tag, bool explicit_vr, const char *uid)
{
    size_t length = strlen(uid);
    p = put_head(p, tag, explicit_vr ? "UI" : NULL, (uint32_t)even(length));
    memcpy(p, uid, length);
    if (length % 2) {
        p[length] = '\0';
    }
    return p + even(length);
}

/* One of the two sequences: the references that failed, or those that did not. */
static unsigned char *put_sequence(unsigned char *p, bool failed, const char *references, const uint16_t *reasons, size_t count, bool explicit_vr)
{
    unsigned char *head = p;
    p = put_head(p, failed ? TAG_FAILED_SEQUENCE : TAG_SOP_SEQUENCE, explicit_vr ? "SQ" : NULL, 0);
    unsigned char *begin = p;
    const char *at = references;
    for (size_t i = 0; i < count; i++) {
        const char *class_uid = at;
        const char *instance_uid = class_uid + strlen(class_uid) + 1;
        at = instance_uid + strlen(instance_uid) + 1;
        if ((reasons[i] != 0) != failed) {
            continue;
        }
        uint32_t length = (uint32_t)(16 + even(strlen(class_uid)) + even(strlen(instance_uid)) + (failed ? 10 : 0));
        p = put_head(p, TAG_ITEM, NULL, length);
        p = put_uid(p, TAG_CLASS_UID, explicit_vr, class_uid);
        p = put_uid(p, TAG_INSTANCE_UID, explicit_vr, instance_uid);
        if (failed) {
            p = put_head(p, TAG_FAILURE_REASON, explicit_vr ? "US" : NULL, 2);
            *p++ = (unsigned char)reasons[i];
            *p++ = (unsigned char)(reasons[i] >> 8);
        }
    }
    if (p == begin) {
        return head; /* a sequence without items is left out */
    }
    (void)put32(begin - 4, (uint32_t)(p - begin));
    return p;
}

unsigned char *commitment_write(const char *transaction_uid, const char *references, const uint16_t *reasons, size_t count, bool explicit_vr,
                                size_t *bytes, uint16_t *event_type)
{
    *event_type = COMMITMENT_COMPLETE;
    const char *end = references;
    for (size_t i = 0; i < count * 2; i++) {
        end += strlen(end) + 1;
    }
    for (size_t i = 0; i < count; i++) {
        *event_type = reasons[i] != 0 ? COMMITMENT_FAILED : *event_type;
    }
    /* heads: 8 for the UID and 12 for each sequence; 8 + 8 + 8 + 10 for each item, a byte of padding for each UID */
    size_t room = 8 + COMMITMENT_UID_SIZE + 2 * 12 + (size_t)(end - references) + count * (8 + 8 + 8 + 10 + 2);
    unsigned char *out = malloc(room);
    if (!out) {
        return NULL;
    }
    unsigned char *p = put_uid(out, TAG_TRANSACTION_UID, explicit_vr, transaction_uid);
    p = put_sequence(p, true, references, reasons, count, explicit_vr);
    p = put_sequence(p, false, references, reasons, count, explicit_vr);
    *bytes = (size_t)(p - out);
    return out;
}
