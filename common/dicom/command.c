/* command - see command.h. */
#include "common/dicom/command.h"

#include <string.h>

static unsigned u16(const unsigned char *p)
{
    return p[0] | (unsigned)p[1] << 8;
}

static uint32_t u32(const unsigned char *p)
{
    return u16(p) | (uint32_t)u16(p + 2) << 16;
}

/* Padding is NUL by PS3.5 section 9.1; senders that pad with spaces are understood as well. */
static void take_uid(struct command *c, char out[COMMAND_UID_SIZE], const unsigned char *value, size_t length)
{
    while (length > 0 && (value[length - 1] == '\0' || value[length - 1] == ' ')) {
        length--;
    }
    if (length >= COMMAND_UID_SIZE) {
        c->uid_unusable = true;
        length = COMMAND_UID_SIZE - 1;
    }
    for (size_t i = 0; i < length; i++) {
        if (value[i] < 0x20 || value[i] > 0x7e) {
            c->uid_unusable = true;
            length = i;
        }
    }
    memcpy(out, value, length);
    out[length] = '\0';
}

int command_parse(const unsigned char *bytes, size_t count, struct command *out, struct err *e)
{
    struct command c;
    bool has_field = false;
    bool has_id = false;
    bool has_type = false;
    size_t p = 0;
    memset(&c, 0, sizeof c);
    while (p < count) {
        if (count - p < 8 || u16(bytes + p) != 0) {
            return err_set(e, ERR_PROTOCOL, 0, "the command set holds something that is no command element");
        }
        unsigned element = u16(bytes + p + 2);
        uint32_t length = u32(bytes + p + 4);
        const unsigned char *value = bytes + p + 8;
        if (length > count - p - 8) {
            return err_set(e, ERR_PROTOCOL, 0, "the command set ends inside element (0000,%04x)", element);
        }
        if ((element == 0x0100 || element == 0x0110 || element == 0x0120 || element == 0x0800 || element == 0x0900 || element == 0x1008) &&
            length != 2) {
            return err_set(e, ERR_PROTOCOL, 0, "element (0000,%04x) of the command set has %u bytes instead of 2", element, length);
        }
        switch (element) {
        case 0x0002:
        case 0x0003: /* requested, in the N- services */
            take_uid(&c, c.sop_class_uid, value, length);
            break;
        case 0x0100:
            c.field = (uint16_t)u16(value);
            has_field = true;
            break;
        case 0x0110: /* message id; responses and C-CANCEL carry the one they belong to in 0120 */
        case 0x0120:
            c.message_id = (uint16_t)u16(value);
            has_id = true;
            break;
        case 0x0700:
            c.priority = length == 2 ? (uint16_t)u16(value) : 0; /* nobody is refused for that */
            break;
        case 0x0800:
            c.has_data_set = u16(value) != 0x0101;
            has_type = true;
            break;
        case 0x0900:
            c.status = (uint16_t)u16(value);
            break;
        case 0x1000:
        case 0x1001:
            take_uid(&c, c.sop_instance_uid, value, length);
            break;
        case 0x1008:
            c.action_type = (uint16_t)u16(value);
            break;
        default:
            break;
        }
        p += 8 + length;
    }
    if (!has_field || !has_id || !has_type) {
        return err_set(e, ERR_PROTOCOL, 0, "the command set lacks its %s",
                       !has_field ? "command field (0000,0100)" : !has_id ? "message id (0000,0110)" : "data set type (0000,0800)");
    }
    *out = c;
    return 0;
}

static void put(unsigned char **p, unsigned element, const void *value, size_t length, unsigned char padding)
{
    unsigned char *o = *p;
    size_t padded = (length + 1) & ~(size_t)1;
    *o++ = 0;
    *o++ = 0;
    *o++ = (unsigned char)element;
    *o++ = (unsigned char)(element >> 8);
    for (int i = 0; i < 4; i++) {
        *o++ = (unsigned char)(padded >> (8 * i));
    }
    memcpy(o, value, length);
    if (padded != length) {
        o[length] = padding;
    }
    *p = o + padded;
}

static void put_u16(unsigned char **p, unsigned element, uint16_t value)
{
    unsigned char bytes[2] = {(unsigned char)value, (unsigned char)(value >> 8)};
    put(p, element, bytes, 2, 0);
}

/* Closes a command set whose elements end at p and begin behind the room for (0000,0000). */
static size_t put_group_length(unsigned char *out, const unsigned char *p)
{
    uint32_t group = (uint32_t)(p - (out + 12));
    unsigned char length[4] = {(unsigned char)group, (unsigned char)(group >> 8), (unsigned char)(group >> 16),
                               (unsigned char)(group >> 24)};
    unsigned char *first = out;
    put(&first, 0x0000, length, 4, 0);
    return (size_t)(p - out);
}

size_t command_response(unsigned char out[COMMAND_RESPONSE_MAX], const struct command *request, uint16_t status, const char *comment)
{
    unsigned char *p = out + 12; /* room for the group length */
    if (request->sop_class_uid[0]) {
        put(&p, 0x0002, request->sop_class_uid, strlen(request->sop_class_uid), 0);
    }
    put_u16(&p, 0x0100, request->field | COMMAND_IS_RESPONSE);
    put_u16(&p, 0x0120, request->message_id);
    put_u16(&p, 0x0800, 0x0101);
    put_u16(&p, 0x0900, status);
    if (comment && comment[0]) {
        put(&p, 0x0902, comment, strnlen(comment, 64), ' ');
    }
    if (request->sop_instance_uid[0] && request->field != COMMAND_C_ECHO_RQ) {
        put(&p, 0x1000, request->sop_instance_uid, strlen(request->sop_instance_uid), 0);
    }
    return put_group_length(out, p);
}

size_t command_event_report(unsigned char out[COMMAND_RESPONSE_MAX], uint16_t message_id, const char *sop_class_uid,
                            const char *sop_instance_uid, uint16_t event_type)
{
    unsigned char *p = out + 12;
    put(&p, 0x0002, sop_class_uid, strnlen(sop_class_uid, 64), 0);
    put_u16(&p, 0x0100, COMMAND_N_EVENT_REPORT_RQ);
    put_u16(&p, 0x0110, message_id);
    put_u16(&p, 0x0800, 0x0001);
    put(&p, 0x1000, sop_instance_uid, strnlen(sop_instance_uid, 64), 0);
    put_u16(&p, 0x1002, event_type);
    return put_group_length(out, p);
}
