/* local-aws: the parts of the stand-in that need no server - aws-chunked bodies, token buckets, checksums, ordered keys, ordered faults,
 * image sets and their journal. */
#include "compose/local-aws/checksum.h"
#include "compose/local-aws/chunked.h"
#include "compose/local-aws/faults.h"
#include "compose/local-aws/image_sets.h"
#include "compose/local-aws/index.h"
#include "compose/local-aws/store.h"
#include "compose/local-aws/text.h"
#include "compose/local-aws/throttle.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- aws-chunked ------------------------------------------------------------------------------------------------------------------ */

struct seen {
    struct text data, trailers;
    int chunks;
    char last_signature[65];
    int fail_at; /* chunk() fails at this chunk */
};

static int see_data(void *ctx, const char *bytes, size_t count)
{
    text_add_bytes(&((struct seen *)ctx)->data, bytes, count);
    return 0;
}

static int see_chunk(void *ctx, const char *signature)
{
    struct seen *s = ctx;
    (void)snprintf(s->last_signature, sizeof s->last_signature, "%s", signature);
    return ++s->chunks == s->fail_at ? -7 : 0;
}

static int see_trailer(void *ctx, const char *name, const char *value)
{
    text_addf(&((struct seen *)ctx)->trailers, "%s=%s;", name, value);
    return 0;
}

/* Feeds text in pieces of `step` bytes. */
static int feed(const char *text, size_t step, struct seen *s, bool *done, int fail_at)
{
    struct chunked c;
    const struct chunked_events events = {s, see_data, see_chunk, see_trailer};
    int rc = 0;
    memset(s, 0, sizeof *s);
    s->fail_at = fail_at;
    chunked_init(&c, &events);
    for (size_t at = 0, all = strlen(text); at < all; at += step) {
        rc = chunked_feed(&c, text + at, at + step < all ? step : all - at);
    }
    *done = chunked_is_done(&c);
    return rc;
}

static void seen_clear(struct seen *s)
{
    text_clear(&s->data);
    text_clear(&s->trailers);
}

#define SIG64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void chunks_in_any_split(void **state)
{
    (void)state;
    const char *body = "5\r\nhello\r\nB;chunk-signature=" SIG64 "\r\n, all world\r\n0\r\nx-amz-checksum-crc32c:  abc=\r\nother:1\r\n\r\n";
    for (size_t step = 1; step <= strlen(body); step++) {
        struct seen s;
        bool done;
        assert_int_equal(feed(body, step, &s, &done, 0), 0);
        assert_true(done);
        assert_string_equal(s.data.bytes, "hello, all world");
        assert_string_equal(s.trailers.bytes, "x-amz-checksum-crc32c=abc=;other=1;");
        assert_int_equal(s.chunks, 3);
        assert_string_equal(s.last_signature, "");
        seen_clear(&s);
    }
}

static void broken_chunks(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "x\r\n",                                   /* no size */
        "\r\n",                                    /* none either */
        "5 \r\nhello\r\n",                         /* a space */
        "5;chunk-signature=12\r\nhello\r\n",       /* a short signature */
        "5;other=1\r\nhello\r\n",                  /* another extension */
        "5\r\nhelloo\r\n",                         /* more bytes than said */
        "ffffffffff\r\n",                          /* beyond the limit */
        "00000000001\r\nx\r\n",                    /* too many digits */
        "-1\r\n",
        "0\r\nnocolon\r\n",
        "0\r\n:novalue\r\n",
        "0\r\n\r\nx",                              /* bytes after the end */
    };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        struct seen s;
        bool done;
        assert_int_equal(feed(broken[i], 1, &s, &done, 0), CHUNKED_BROKEN);
        assert_false(done);
        seen_clear(&s);
    }
    static const char *const unfinished[] = {"", "5\r\nhel", "5\r\nhello", "5\r\nhello\r\n", "0\r\n", "0\r\na:b\r\n", "0\r\n\r"};
    for (size_t i = 0; i < sizeof unfinished / sizeof unfinished[0]; i++) {
        struct seen s;
        bool done;
        assert_int_equal(feed(unfinished[i], 2, &s, &done, 0), 0);
        assert_false(done);
        seen_clear(&s);
    }
    /* a line without an end is bounded; an event's refusal stays */
    struct seen s;
    bool done;
    char *line = malloc(5000);
    memset(line, 'a', 4999);
    line[4999] = '\0';
    assert_int_equal(feed(line, 100, &s, &done, 0), CHUNKED_BROKEN);
    free(line);
    seen_clear(&s);
    assert_int_equal(feed("1\r\na\r\n1\r\nb\r\n1\r\nc\r\n", 3, &s, &done, 2), -7);
    assert_string_equal(s.data.bytes, "ab");
    seen_clear(&s);
}

/* ---- throttle ------------------------------------------------------------------------------------------------------------------------ */

static void buckets(void **state)
{
    (void)state;
    struct bucket b = {.per_second = 1, .burst = 2};
    assert_true(bucket_take(&b, 1000));
    assert_true(bucket_take(&b, 1000));
    assert_false(bucket_take(&b, 1000));
    assert_false(bucket_take(&b, 1999));
    assert_true(bucket_take(&b, 2001));
    assert_false(bucket_take(&b, 2001));
    assert_false(bucket_take(&b, 500)); /* a clock that went back gives nothing */
    assert_true(bucket_take(&b, 100000));
    assert_true(bucket_take(&b, 100000));
    assert_false(bucket_take(&b, 100000)); /* no more than the burst, however long it rested */
    struct bucket none = {0};
    for (int i = 0; i < 1000; i++) {
        assert_true(bucket_take(&none, 1));
    }

    struct throttle *t = throttle_new();
    assert_true(throttle_take(t, "StartDICOMImportJob", 10));
    assert_true(throttle_take(t, "StartDICOMImportJob", 10));
    assert_false(throttle_take(t, "StartDICOMImportJob", 10));
    assert_true(throttle_take(t, "GetDICOMImportJob", 10));
    assert_true(throttle_take(t, "PutObject", 10)); /* has no limit */
    assert_true(throttle_set(t, "StartDICOMImportJob", 0, 0));
    assert_true(throttle_take(t, "StartDICOMImportJob", 10));
    assert_false(throttle_set(t, "PutObject", 1, 1));
    throttle_free(t);
}

/* ---- checksums -------------------------------------------------------------------------------------------------------------------------- */

static void check_values(void **state)
{
    (void)state;
    /* the catalogue's check values of "123456789": cbf43926, e3069283, ae8b14860a799888; FIPS 180 for the hashes of "abc" */
    for (size_t step = 1; step <= 9; step++) {
        struct digest d;
        struct hashes *h = hashes_new(31, true);
        for (size_t at = 0; at < 9; at += step) {
            hashes_update(h, "123456789" + at, at + step < 9 ? step : 9 - at);
        }
        hashes_end(h, &d);
        hashes_free(h);
        assert_string_equal(d.value[CHECKSUM_CRC32], "y/Q5Jg==");
        assert_string_equal(d.value[CHECKSUM_CRC32C], "4waSgw==");
        assert_string_equal(d.value[CHECKSUM_CRC64NVME], "rosUhgp5mIg=");
        assert_string_equal(d.etag, "25f9e794323b453885f5181f1b624d0b");
        assert_int_equal(d.bytes, 9);
    }
    struct digest d;
    struct hashes *h = hashes_new(1u << CHECKSUM_SHA1, false);
    hashes_update(h, "abc", 3);
    hashes_end(h, &d);
    hashes_free(h);
    assert_string_equal(d.value[CHECKSUM_SHA1], "qZk+NkcGgWq6PiVxeFDCbJzQ2J0=");
    assert_string_equal(d.sha256_hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_string_equal(d.value[CHECKSUM_CRC32], "");
    assert_int_equal(checksum_find("X-Amz-Checksum-CRC32C"), CHECKSUM_CRC32C);
    assert_int_equal(checksum_find("sha256"), CHECKSUM_SHA256);
    assert_int_equal(checksum_find("x-amz-checksum-type"), CHECKSUM_NONE);
}

static void texts(void **state)
{
    (void)state;
    char out[64];
    unsigned char bytes[8];
    struct text t = {0};
    text_add_element(&t, "A", "<&>\"\x01\xc3\xa9");
    assert_string_equal(t.bytes, "<A>&lt;&amp;&gt;&quot;?\xc3\xa9</A>");
    text_clear(&t);
    assert_true(text_decode("a%2Fb+c", 7, false, out, sizeof out));
    assert_string_equal(out, "a/b+c");
    assert_true(text_decode("a+b", 3, true, out, sizeof out));
    assert_string_equal(out, "a b");
    assert_false(text_decode("a%2", 3, false, out, sizeof out));
    assert_false(text_decode("a%zz", 4, false, out, sizeof out));
    assert_false(text_decode("a%00", 4, false, out, sizeof out));
    assert_false(text_decode("abcd", 4, false, out, 4));
    assert_int_equal(text_base64_decode("4waSgw==", bytes, sizeof bytes), 4);
    assert_int_equal(text_base64_decode("4waSgw=", bytes, sizeof bytes), -1);
    assert_int_equal(text_base64_decode("rosUhgp5mIg=", bytes, 4), -1);
    text_time_iso(1767323045678, out);
    assert_string_equal(out, "2026-01-02T03:04:05.678Z");
    text_time_http(1767323045678, out);
    assert_string_equal(out, "Fri, 02 Jan 2026 03:04:05 GMT");
}

/* ---- keys in order ---------------------------------------------------------------------------------------------------------------------- */

static void keys_in_order(void **state)
{
    (void)state;
    struct index *x = index_new();
    char key[16];
    for (int i = 0; i < 1000; i++) { /* 7 and 1000 have no common divisor: every number once, out of order */
        (void)snprintf(key, sizeof key, "k%03d", i * 7 % 1000);
        assert_true(index_put(x, &(struct entry){.key = key, .bytes = i * 7 % 1000}));
    }
    assert_true(index_put(x, &(struct entry){.key = (char[]){"k500"}, .bytes = -5}));
    assert_int_equal(index_find(x, "k500")->bytes, -5);
    assert_true(index_remove(x, "k501"));
    assert_false(index_remove(x, "k501"));
    assert_null(index_find(x, "k501"));
    int count = 0;
    (void)snprintf(key, sizeof key, "%s", "");
    for (const struct entry *e = index_next(x, key, true); e; e = index_next(x, key, false)) {
        assert_true(strcmp(e->key, key) > 0);
        (void)snprintf(key, sizeof key, "%s", e->key);
        count++;
    }
    assert_int_equal(count, 999);
    assert_string_equal(index_next(x, "k50", true)->key, "k500");
    assert_string_equal(index_next(x, "k500", true)->key, "k500");
    assert_string_equal(index_next(x, "k500", false)->key, "k502");
    assert_null(index_next(x, "k999", false));
    index_free(x);
}

/* ---- ordered faults ---------------------------------------------------------------------------------------------------------------------- */

static void faults_are_counted(void **state)
{
    (void)state;
    struct faults *f = faults_new();
    struct fault_effect effect;
    struct err e = {0};
    json_t *rules = json_loads("[{\"operation\": \"PutObject\", \"key\": \"in/\", \"skip\": 1, \"times\": 2, \"action\": \"error\", \"status\": 500,"
                               " \"code\": \"InternalError\"}, {\"action\": \"delay\", \"ms\": 5}]", 0, NULL);
    assert_int_equal(faults_add(f, rules, &e), 0);
    json_decref(rules);
    const unsigned expected[] = {0, 500, 500, 0};
    for (size_t i = 0; i < 4; i++) {
        faults_match(f, "PutObject", "in/a", &effect);
        assert_int_equal(effect.status, expected[i]);
        assert_int_equal(effect.delay_ms, 5);
    }
    faults_match(f, "GetObject", "in/a", &effect);
    assert_int_equal(effect.status, 0);
    json_t *shown = faults_show(f);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(shown, 0), "seen")), 2);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(shown, 1), "seen")), 5);
    json_decref(shown);
    static const char *const wrong[] = {"[1]", "{\"action\": \"explode\"}", "{}", "{\"action\": \"delay\", \"ms\": -1}",
                                        "{\"action\": \"error\", \"status\": 200}", "{\"action\": \"reset\", \"time\": 1}"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        rules = json_loads(wrong[i], 0, NULL);
        assert_int_equal(faults_add(f, rules, &e), ERR_ARGUMENT);
        json_decref(rules);
    }
    faults_clear(f);
    faults_match(f, "PutObject", "in/a", &effect);
    assert_int_equal(effect.delay_ms, 0);
    faults_free(f);
}

/* ---- store and image sets ------------------------------------------------------------------------------------------------------------------ */

static void remove_tree(const char *path)
{
    char below[2048];
    DIR *d = opendir(path);
    struct dirent *n;
    while (d && (n = readdir(d))) {
        if (strcmp(n->d_name, ".") != 0 && strcmp(n->d_name, "..") != 0) {
            (void)snprintf(below, sizeof below, "%s/%s", path, n->d_name);
            remove_tree(below);
        }
    }
    if (d) {
        (void)closedir(d);
        (void)rmdir(path);
    } else {
        (void)unlink(path);
    }
}

static void objects_survive(void **state)
{
    char *data = *state;
    char temp[STORE_PATH];
    char key[STORE_KEY_MAX + 1];
    struct store *s;
    struct err e = {0};
    struct entry entry;
    int64_t bytes;
    json_t *description;
    assert_int_equal(store_open(&s, data, true, &e), 0);
    assert_int_equal(store_bucket_make(s, "one-bucket", &e), 0);
    assert_int_equal(store_bucket_make(s, "one-bucket", &e), ERR_EXISTS);
    assert_int_equal(store_write(s, "one-bucket", "a/b", "text/plain", "content", 7, &e), 0);
    assert_int_equal(store_write(s, "one-bucket", "a/c", "text/plain", "", 0, &e), 0);
    assert_int_equal(store_write(s, "no-bucket", "a", "text/plain", "", 0, &e), ERR_NOT_FOUND);
    int fd = store_temp(s, temp, &e); /* a process that died in the middle */
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "half", 4), 4);
    (void)close(fd);
    store_close(s);

    assert_int_equal(store_open(&s, data, false, &e), 0);
    assert_int_not_equal(access(temp, F_OK), 0);
    assert_true(store_next(s, "one-bucket", "", true, &entry, key));
    assert_string_equal(key, "a/b");
    assert_int_equal(entry.bytes, 7);
    assert_string_equal(entry.etag, "9a0364b9e99bb480dd25e1f0284c8555");
    assert_string_equal(entry.checksum, "CRC64NVME");
    fd = store_open_object(s, "one-bucket", "a/b", &bytes, &description, &e);
    assert_true(fd >= 0 && bytes == 7);
    assert_int_equal(pread(fd, key, 7, 0), 7);
    assert_memory_equal(key, "content", 7);
    (void)close(fd);
    json_decref(description);
    assert_int_equal(store_open_object(s, "one-bucket", "a", &bytes, &description, &e), ERR_NOT_FOUND);
    assert_int_equal(store_bucket_remove(s, "one-bucket", &e), ERR_EXISTS);
    assert_int_equal(store_remove(s, "one-bucket", "a/b", &e), 0);
    assert_int_equal(store_remove(s, "one-bucket", "a/b", &e), ERR_NOT_FOUND);
    assert_int_equal(store_remove(s, "one-bucket", "a/c", &e), 0);
    assert_int_equal(store_bucket_remove(s, "one-bucket", &e), 0);
    assert_false(store_bucket_exists(s, "one-bucket"));
    store_close(s);
    assert_false(store_bucket_is_legal("..") || store_bucket_is_legal("a..b") || store_bucket_is_legal("Ab1") || store_bucket_is_legal("ab"));
}

static struct dicom_scan image(const char *series, const char *sop, const char *patient)
{
    struct dicom_scan s = {.study_uid = "1.2", .study_date = "20260102"};
    (void)snprintf(s.series_uid, sizeof s.series_uid, "%s", series);
    (void)snprintf(s.sop_instance_uid, sizeof s.sop_instance_uid, "%s", sop);
    (void)snprintf(s.patient_id, sizeof s.patient_id, "%s", patient);
    return s;
}

/* One job with one file; -> where it went. */
static struct import_place import_one(struct image_sets *s, const char *job, struct dicom_scan scan, const char *where, bool commit)
{
    struct import_place place;
    struct err e = {0};
    struct import *i = import_begin(s, job);
    json_t *outcome = json_pack("{s:s s:s s:i}", "status", "COMPLETED", "message", "", "ended_ms", 5);
    assert_int_equal(import_add(i, &scan, where, &place, &e), 0);
    if (commit) {
        assert_int_equal(import_commit(i, outcome, &e), 0);
    }
    json_decref(outcome);
    import_free(i);
    return place;
}

static void series_become_image_sets(void **state)
{
    char *data = *state;
    struct image_sets *s;
    struct err e = {0};
    char path[600];
    assert_int_equal(image_sets_open(&s, data, false, &e), 0);
    struct import_place first = import_one(s, "job1", image("1.2.1", "1.2.1.1", "P1"), "b/in/one.dcm", true);
    assert_true(first.primary && !first.again && first.version == 1 && strlen(first.image_set) == 32);
    struct import_place more = import_one(s, "job2", image("1.2.1", "1.2.1.2", "P1"), "b/in/two.dcm", true);
    assert_string_equal(more.image_set, first.image_set);
    assert_int_equal(more.version, 2);
    struct import_place other = import_one(s, "job3", image("1.2.2", "1.2.2.1", "P1"), "b/in/three.dcm", true);
    assert_string_not_equal(other.image_set, first.image_set);
    /* another patient in the same series: not primary, and the primary stays what it was */
    struct import_place conflict = import_one(s, "job4", image("1.2.1", "1.2.1.3", "P2"), "b/in/four.dcm", true);
    assert_false(conflict.primary);
    assert_int_equal(conflict.version, 1);
    json_t *primary = image_sets_get(s, first.image_set);
    assert_int_equal(json_integer_value(json_object_get(primary, "version")), 2);
    json_decref(primary);
    /* the same instance again is imported again */
    struct import_place again = import_one(s, "job5", image("1.2.1", "1.2.1.1", "P1"), "b/in/five.dcm", true);
    assert_true(again.again && again.primary && again.version == 3);
    /* what was not committed is not there */
    (void)import_one(s, "job6", image("1.2.1", "1.2.1.9", "P1"), "b/in/six.dcm", false);
    image_sets_close(s);

    /* a job whose line was cut by a crash never was, whatever stands before it */
    (void)snprintf(path, sizeof path, "%s/image_sets.ndjson", data);
    int fd = open(path, O_WRONLY | O_APPEND);
    static const char torn[] = "{\"job\":\"job7\",\"sop\":\"9\",\"set\":\"x\",\"where\":\"b/in/seven.dcm\",\"version\":1}\n{\"job\":\"job7\",\"do";
    assert_int_equal(write(fd, torn, sizeof torn - 1), sizeof torn - 1);
    (void)close(fd);
    assert_int_equal(image_sets_open(&s, data, false, &e), 0);
    json_t *outcome = image_sets_outcome(s, "job5");
    assert_string_equal(json_string_value(json_object_get(outcome, "status")), "COMPLETED");
    json_decref(outcome);
    assert_null(image_sets_outcome(s, "job6"));
    assert_null(image_sets_outcome(s, "job7"));
    struct import_place after = import_one(s, "job8", image("1.2.1", "1.2.1.4", "P1"), "b/in/eight.dcm", true);
    assert_string_equal(after.image_set, first.image_set);
    assert_int_equal(after.version, 4);
    image_sets_close(s);

    (void)snprintf(path, sizeof path, "%s/imports.log", data);
    FILE *log = fopen(path, "r");
    char line[600];
    static const char *const stems[] = {"one", "two", "three", "four", "five", "eight"};
    size_t n = 0;
    assert_non_null(log);
    while (fgets(line, sizeof line, log)) {
        line[strcspn(line, "\n")] = '\0';
        assert_true(n < sizeof stems / sizeof stems[0]);
        assert_string_equal(strrchr(line, ' ') + 1, stems[n++]);
    }
    (void)fclose(log);
    assert_int_equal(n, sizeof stems / sizeof stems[0]);
}

static int make_directory(void **state)
{
    char path[] = "/tmp/storescp-local-aws.XXXXXX";
    *state = mkdtemp(path) ? strdup(path) : NULL;
    return *state ? 0 : -1;
}

static int remove_directory(void **state)
{
    remove_tree(*state);
    free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_in_any_split), cmocka_unit_test(broken_chunks), cmocka_unit_test(buckets), cmocka_unit_test(check_values),
        cmocka_unit_test(texts), cmocka_unit_test(keys_in_order), cmocka_unit_test(faults_are_counted),
        cmocka_unit_test_setup_teardown(objects_survive, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(series_become_image_sets, make_directory, remove_directory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
