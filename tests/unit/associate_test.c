/*
 * associate: the window and the roles are found in a request and put into an answer; torn, lying and foreign bytes are no request, and no
 * byte outside is read (the buffers are as long as they say: AddressSanitizer sees).
 */
#include "common/dicom/associate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define CT "1.2.840.10008.5.1.4.1.1.2"

struct pdu {
    unsigned char bytes[600];
    size_t count, user; /* where the user information begins */
};

static void put(struct pdu *p, const void *bytes, size_t count)
{
    memcpy(p->bytes + p->count, bytes, count);
    p->count += count;
}

static void put_item(struct pdu *p, unsigned char type, const void *content, size_t count)
{
    unsigned char head[4] = {type, 0, (unsigned char)(count >> 8), (unsigned char)count};
    put(p, head, sizeof head);
    put(p, content, count);
}

static void put_role(struct pdu *p, const char *uid, unsigned char scu, unsigned char scp)
{
    unsigned char content[80] = {0, (unsigned char)strlen(uid)};
    memcpy(content + 2, uid, strlen(uid));
    content[2 + strlen(uid)] = scu;
    content[3 + strlen(uid)] = scp;
    put_item(p, 0x54, content, strlen(uid) + 4);
}

static void begin(struct pdu *p, unsigned char type)
{
    memset(p, 0, sizeof *p);
    p->bytes[0] = type;
    p->count = 74;
    put_item(p, 0x10, "1.2.840.10008.3.1.1.1", 21);
    p->user = p->count;
    put_item(p, 0x50, "", 0);
    put_item(p, 0x51, "\0\0\100\0", 4);
}

/* Fills in the lengths. */
static void end(struct pdu *p)
{
    size_t user = p->count - p->user - 4;
    p->bytes[p->user + 2] = (unsigned char)(user >> 8);
    p->bytes[p->user + 3] = (unsigned char)user;
    p->bytes[4] = (unsigned char)((p->count - 6) >> 8);
    p->bytes[5] = (unsigned char)(p->count - 6);
}

/* Asks a copy that ends where it ends. */
static bool window_of(const unsigned char *bytes, size_t count, struct associate_window *w)
{
    unsigned char *copy = malloc(count ? count : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, count);
    bool found = associate_read_window(copy, count, w);
    (void)associate_selects_no_role(copy, count, CT);
    free(copy);
    return found;
}

static void windows(void **state)
{
    struct pdu p;
    struct associate_window w = {9, 9};
    (void)state;
    begin(&p, 1);
    end(&p);
    assert_false(window_of(p.bytes, p.count, &w));
    put_item(&p, 0x53, "\1\2\0\7", 4);
    end(&p);
    assert_true(window_of(p.bytes, p.count, &w));
    assert_int_equal(w.invoked, 258);
    assert_int_equal(w.performed, 7);
    for (size_t n = 0; n < p.count; n++) { /* torn anywhere */
        assert_false(window_of(p.bytes, n, &w));
    }
    begin(&p, 1);
    put_item(&p, 0x53, "\1\2\0", 3);
    end(&p);
    assert_false(window_of(p.bytes, p.count, &w));
    begin(&p, 1);
    put_item(&p, 0x53, "\0\0\0\0", 4);
    end(&p);
    p.bytes[p.user + 3]--; /* the sub-item is longer than what it stands in */
    assert_false(window_of(p.bytes, p.count, &w));
}

static void roles(void **state)
{
    struct pdu p;
    (void)state;
    begin(&p, 1);
    put_role(&p, CT ".1", 0, 0);
    put_role(&p, CT, 1, 0);
    put_role(&p, CT, 0, 0);
    put_role(&p, "1.2", 0, 1);
    end(&p);
    assert_true(associate_selects_no_role(p.bytes, p.count, CT ".1"));
    assert_false(associate_selects_no_role(p.bytes, p.count, CT));
    assert_false(associate_selects_no_role(p.bytes, p.count, "1.2"));
    assert_false(associate_selects_no_role(p.bytes, p.count, "1.2.3"));
    assert_false(associate_selects_no_role(p.bytes, p.count, ""));
}

static void answers(void **state)
{
    struct pdu p;
    struct associate_window w = {16, 1};
    struct associate_window got;
    (void)state;
    begin(&p, 2);
    end(&p);
    size_t before = p.count;
    p.count = associate_add_window(p.bytes, p.count, &w);
    assert_int_equal(p.count, before + ASSOCIATE_WINDOW_BYTES);
    assert_int_equal((size_t)p.bytes[4] << 8 | p.bytes[5], p.count - 6);
    assert_true(window_of(p.bytes, p.count, &got)); /* as a requestor reads it */
    assert_int_equal(got.invoked, 16);
    assert_int_equal(got.performed, 1);
    begin(&p, 1);
    end(&p);
    assert_int_equal(associate_add_window(p.bytes, p.count, &w), 0); /* no answer */
    begin(&p, 2);
    end(&p);
    put_item(&p, 0x60, "", 0); /* something follows */
    assert_int_equal(associate_add_window(p.bytes, p.count, &w), 0);
    begin(&p, 2);
    end(&p);
    assert_int_equal(associate_add_window(p.bytes, p.count - 1, &w), 0);
    assert_int_equal(associate_add_window(p.bytes, 10, &w), 0);
    static unsigned char large[80 + 0xffff + ASSOCIATE_WINDOW_BYTES] = {2};
    large[74] = 0x50;
    large[76] = 0xff;
    large[77] = 0xff;
    assert_int_equal(associate_add_window(large, 78 + 0xffff, &w), 0); /* no room in the item */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(windows), cmocka_unit_test(roles), cmocka_unit_test(answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
