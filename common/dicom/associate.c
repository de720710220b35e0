/* associate - see associate.h. */
#include "common/dicom/associate.h"

#include <string.h>

enum { PDU_ACCEPT = 2, HEAD_BYTES = 74 /* of the PDU, before its items */, ITEM_USER_INFORMATION = 0x50, SUB_ITEM_WINDOW = 0x53, SUB_ITEM_ROLE = 0x54 };

static size_t be16(const unsigned char *p)
{
    return (size_t)p[0] << 8 | p[1];
}

/* The item of that type from *at on, which is moved behind it; NULL when there is none or an item does not fit. *length: of its content. */
static const unsigned char *find_item(const unsigned char *bytes, size_t count, size_t *at, unsigned char type, size_t *length)
{
    while (*at <= count && count - *at >= 4) {
        const unsigned char *item = bytes + *at;
        *length = be16(item + 2);
        if (*length > count - *at - 4) {
            return NULL;
        }
        *at += 4 + *length;
        if (item[0] == type) {
            return item;
        }
    }
    return NULL;
}

/* The next sub-item of that type in the user information. */
static const unsigned char *find_sub_item(const unsigned char *pdu, size_t bytes, size_t *at, unsigned char type, size_t *length)
{
    size_t item_at = HEAD_BYTES;
    size_t room = 0;
    const unsigned char *user = bytes > HEAD_BYTES ? find_item(pdu, bytes, &item_at, ITEM_USER_INFORMATION, &room) : NULL;
    return user ? find_item(user + 4, room, at, type, length) : NULL;
}

bool associate_read_window(const unsigned char *pdu, size_t bytes, struct associate_window *out)
{
    size_t at = 0;
    size_t length = 0;
    const unsigned char *item = find_sub_item(pdu, bytes, &at, SUB_ITEM_WINDOW, &length);
    if (!item || length != 4) {
        return false;
    }
    out->invoked = (unsigned)be16(item + 4);
    out->performed = (unsigned)be16(item + 6);
    return true;
}

bool associate_selects_no_role(const unsigned char *pdu, size_t bytes, const char *sop_class_uid)
{
    size_t at = 0;
    size_t length = 0;
    size_t uid = strlen(sop_class_uid);
    const unsigned char *item;
    while ((item = find_sub_item(pdu, bytes, &at, SUB_ITEM_ROLE, &length))) {
        if (length == uid + 4 && be16(item + 4) == uid && memcmp(item + 6, sop_class_uid, uid) == 0) {
            return item[6 + uid] == 0 && item[7 + uid] == 0; /* the first counts, as it does for DCMTK */
        }
    }
    return false;
}

size_t associate_add_window(unsigned char *pdu, size_t bytes, const struct associate_window *window)
{
    size_t at = HEAD_BYTES;
    size_t length = 0;
    size_t start = at;
    if (bytes <= HEAD_BYTES || pdu[0] != PDU_ACCEPT) {
        return 0;
    }
    const unsigned char *user = find_item(pdu, bytes, &at, ITEM_USER_INFORMATION, &length);
    start = user ? (size_t)(user - pdu) : 0;
    if (!user || at != bytes || length + ASSOCIATE_WINDOW_BYTES > 0xffff) {
        return 0; /* the user information is the last item */
    }
    const unsigned char item[ASSOCIATE_WINDOW_BYTES] = {SUB_ITEM_WINDOW, 0, 0, 4, (unsigned char)(window->invoked >> 8), (unsigned char)window->invoked,
                                                        (unsigned char)(window->performed >> 8), (unsigned char)window->performed};
    memcpy(pdu + bytes, item, sizeof item);
    length += sizeof item;
    pdu[start + 2] = (unsigned char)(length >> 8);
    pdu[start + 3] = (unsigned char)length;
    size_t body = bytes + sizeof item - 6;
    pdu[2] = (unsigned char)(body >> 24);
    pdu[3] = (unsigned char)(body >> 16);
    pdu[4] = (unsigned char)(body >> 8);
    pdu[5] = (unsigned char)body;
    return bytes + sizeof item;
}
