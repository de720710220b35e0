/* commitment - action information as senders and attackers write it, and reports that read back (PS3.4 annex J). */
#include "common/dicom/commitment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct set {
    unsigned char at[4096];
    size_t count;
};

static void add(struct set *s, const void *bytes, size_t count)
{
    assert_true(s->count + count <= sizeof s->at);
    memcpy(s->at + s->count, bytes, count);
    s->count += count;
}

/* vr NULL: implicit. */
static void head(struct set *s, uint32_t tag, const char *vr, uint32_t length)
{
    unsigned char b[12] = {(unsigned char)(tag >> 16), (unsigned char)(tag >> 24), (unsigned char)tag, (unsigned char)(tag >> 8)};
    size_t n = 4;
    if (vr) {
        b[n++] = (unsigned char)vr[0];
        b[n++] = (unsigned char)vr[1];
        n += strcmp(vr, "UI") == 0 ? 0 : 2;
    }
    for (size_t i = 0; i < (vr && strcmp(vr, "UI") == 0 ? 2u : 4u); i++) {
        b[n++] = (unsigned char)(length >> (8 * i));
    }
    add(s, b, n);
}

static void uid(struct set *s, uint32_t tag, bool explicit_vr, const char *text)
{
    head(s, tag, explicit_vr ? "UI" : NULL, (uint32_t)(strlen(text) + strlen(text) % 2));
    add(s, text, strlen(text) + strlen(text) % 2);
}

static struct set request(bool explicit_vr, bool has_lengths, int items)
{
    struct set s = {0};
    char name[32];
    uid(&s, 0x00081195, explicit_vr, "1.2.3.4");
    head(&s, 0x00081199, explicit_vr ? "SQ" : NULL, 0xffffffffu);
    for (int i = 0; i < items; i++) {
        struct set item = {0};
        (void)snprintf(name, sizeof name, "1.2.840.99.%d", i);
        uid(&item, 0x00081150, explicit_vr, "1.2.840.10008.5.1.4.1.1.2");
        uid(&item, 0x00081155, explicit_vr, name);
        head(&s, 0xfffee000, NULL, has_lengths ? (uint32_t)item.count : 0xffffffffu);
        add(&s, item.at, item.count);
        if (!has_lengths) {
            head(&s, 0xfffee00d, NULL, 0);
        }
    }
    head(&s, 0xfffee0dd, NULL, 0);
    return s;
}

/* A copy of exactly its size, so that the sanitizer sees a read beyond it. */
static uint16_t read_exactly(const unsigned char *bytes, size_t count, bool explicit_vr, struct commitment_list *list, struct err *e)
{
    unsigned char *copy = malloc(count ? count : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, count);
    uint16_t status = commitment_read(copy, count, explicit_vr, list, e);
    free(copy);
    return status;
}

static void test_requests(void **state)
{
    (void)state;
    for (int form = 0; form < 4; form++) {
        struct set s = request(form & 1, form & 2, 3);
        struct commitment_list list;
        assert_int_equal(read_exactly(s.at, s.count, form & 1, &list, NULL), 0);
        assert_int_equal(list.count, 3);
        assert_string_equal(list.transaction_uid, "1.2.3.4");
        assert_true(commitment_references_are_sound(list.references, list.references_bytes, list.count));
        assert_false(commitment_references_are_sound(list.references, list.references_bytes, 2));
        assert_false(commitment_references_are_sound(list.references, list.references_bytes - 1, 3));
        assert_string_equal(list.references, "1.2.840.10008.5.1.4.1.1.2");
        assert_string_equal(list.references + 26, "1.2.840.99.0");
        commitment_list_clear(&list);
        assert_null(list.references);
    }
}

/* Cut anywhere it is refused, with a reason, and nothing is kept. The other transfer syntax than agreed is refused too. */
static void test_every_cut(void **state)
{
    (void)state;
    for (int form = 0; form < 4; form++) {
        struct set s = request(form & 1, form & 2, 2);
        struct commitment_list list;
        for (size_t n = 0; n < s.count; n++) {
            struct err e = {0};
            assert_int_equal(read_exactly(s.at, n, form & 1, &list, &e), COMMITMENT_INVALID_ARGUMENT);
            assert_null(list.references);
            assert_true(e.text[0] != '\0');
        }
        assert_int_equal(read_exactly(s.at, s.count, !(form & 1), &list, NULL), COMMITMENT_INVALID_ARGUMENT);
    }
}

static void test_what_else_stands_there(void **state)
{
    struct set s = {0};
    struct set tail = request(true, true, 1);
    struct commitment_list list;
    (void)state;
    /* a study reference in front, without lengths, in it a UN without a length that holds implicit VR */
    head(&s, 0x00081111, "SQ", 0xffffffffu);
    head(&s, 0xfffee000, NULL, 0xffffffffu);
    head(&s, 0x00091000, "UN", 0xffffffffu);
    head(&s, 0xfffee000, NULL, 0xffffffffu);
    uid(&s, 0x00081155, false, "1.2");
    head(&s, 0xfffee00d, NULL, 0);
    head(&s, 0xfffee0dd, NULL, 0);
    uid(&s, 0x00081155, true, "1.2");
    head(&s, 0xfffee00d, NULL, 0);
    head(&s, 0xfffee0dd, NULL, 0);
    add(&s, tail.at, tail.count);
    assert_int_equal(read_exactly(s.at, s.count, true, &list, NULL), 0);
    assert_int_equal(list.count, 1);
    commitment_list_clear(&list);
}

static void test_faults(void **state)
{
    struct set s = {0};
    struct commitment_list list;
    (void)state;
    uid(&s, 0x00081195, false, "1.2.3.4"); /* no references */
    assert_int_equal(read_exactly(s.at, s.count, false, &list, NULL), COMMITMENT_INVALID_ARGUMENT);
    struct set two = request(false, true, 1);
    assert_int_equal(read_exactly(two.at + 16, two.count - 16, false, &list, NULL), COMMITMENT_INVALID_ARGUMENT); /* no transaction */
    head(&s, 0x00081199, NULL, 0); /* an empty sequence */
    assert_int_equal(read_exactly(s.at, s.count, false, &list, NULL), COMMITMENT_INVALID_ARGUMENT);
    s.count -= 8;
    head(&s, 0x00081199, NULL, 8 + 8 + 4); /* an item without an instance UID */
    head(&s, 0xfffee000, NULL, 12);
    uid(&s, 0x00081150, false, "1.2");
    assert_int_equal(read_exactly(s.at, s.count, false, &list, NULL), COMMITMENT_INVALID_ARGUMENT);
    struct set bad = request(false, true, 1);
    bad.at[8] = ' '; /* a blank inside the transaction UID */
    bad.at[9] = '\n';
    assert_int_equal(read_exactly(bad.at, bad.count, false, &list, NULL), COMMITMENT_INVALID_ARGUMENT);
    /* 500 sequences in each other end nobody */
    struct set deep = {0};
    for (int i = 0; i < 250; i++) {
        head(&deep, 0x00081111, NULL, 0xffffffffu);
        head(&deep, 0xfffee000, NULL, 0xffffffffu);
    }
    assert_int_equal(read_exactly(deep.at, deep.count, false, &list, NULL), COMMITMENT_INVALID_ARGUMENT);
}

static void test_too_many(void **state)
{
    enum { EACH = 8 + 8 + 4 + 8 + 4, MANY = COMMITMENT_ITEMS_MAX + 1 };
    struct set item = {0};
    struct set front = {0};
    struct commitment_list list;
    (void)state;
    uid(&front, 0x00081195, false, "1.2.3.4");
    head(&front, 0x00081199, NULL, EACH * MANY);
    head(&item, 0xfffee000, NULL, EACH - 8);
    uid(&item, 0x00081150, false, "1.2");
    uid(&item, 0x00081155, false, "1.2");
    assert_int_equal(item.count, EACH);
    unsigned char *all = malloc(front.count + (size_t)EACH * MANY);
    assert_non_null(all);
    memcpy(all, front.at, front.count);
    for (size_t i = 0; i < MANY; i++) {
        memcpy(all + front.count + i * EACH, item.at, EACH);
    }
    assert_int_equal(commitment_read(all, front.count + (size_t)EACH * MANY, false, &list, NULL), COMMITMENT_RESOURCE_LIMITATION);
    for (int i = 0; i < 4; i++) {
        all[front.count - 4 + (size_t)i] = (unsigned char)((EACH * (MANY - 1)) >> (8 * i));
    }
    assert_int_equal(commitment_read(all, front.count + (size_t)EACH * (MANY - 1), false, &list, NULL), 0);
    assert_int_equal(list.count, COMMITMENT_ITEMS_MAX);
    commitment_list_clear(&list);
    free(all);
}

/* What is written can be read: the committed ones come back as a request's references, the failed ones stand in a sequence of their own. */
static void test_reports(void **state)
{
    static const char references[] = "1.2.840.1\0" "1.5.66\0" "1.2.840.1\0" "1.5.777\0" "1.2.840.12\0" "1.5.8";
    static const uint16_t good[3] = {0, 0, 0};
    static const uint16_t mixed[3] = {0, 0x0112, 0};
    static const uint16_t bad[3] = {0x0110, 0x0112, 0x0119};
    (void)state;
    for (int explicit_vr = 0; explicit_vr < 2; explicit_vr++) {
        struct commitment_list list;
        size_t bytes = 0;
        uint16_t type = 0;
        unsigned char *set = commitment_write("1.2.3.4.5", references, good, 3, explicit_vr, &bytes, &type);
        assert_int_equal(type, COMMITMENT_COMPLETE);
        assert_int_equal(read_exactly(set, bytes, explicit_vr, &list, NULL), 0);
        assert_int_equal(list.references_bytes, sizeof references);
        assert_memory_equal(list.references, references, sizeof references);
        assert_string_equal(list.transaction_uid, "1.2.3.4.5");
        assert_null(memmem(set, bytes, "\x08\x00\x98\x11", 4));
        commitment_list_clear(&list);
        free(set);
        set = commitment_write("1.2.3.4.5", references, mixed, 3, explicit_vr, &bytes, &type);
        assert_int_equal(type, COMMITMENT_FAILED);
        assert_int_equal(read_exactly(set, bytes, explicit_vr, &list, NULL), 0);
        assert_int_equal(list.count, 2);
        assert_non_null(memmem(set, bytes, explicit_vr ? "\x08\x00\x97\x11US\x02\x00\x12\x01" : "\x08\x00\x97\x11\x02\x00\x00\x00\x12\x01", 10));
        commitment_list_clear(&list);
        free(set);
        set = commitment_write("1.2.3.4.5", references, bad, 3, explicit_vr, &bytes, &type);
        assert_int_equal(type, COMMITMENT_FAILED);
        assert_null(memmem(set, bytes, "\x08\x00\x99\x11", 4)); /* no empty sequence */
        free(set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_requests), cmocka_unit_test(test_every_cut), cmocka_unit_test(test_what_else_stands_there),
                                       cmocka_unit_test(test_faults),   cmocka_unit_test(test_too_many),  cmocka_unit_test(test_reports)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
