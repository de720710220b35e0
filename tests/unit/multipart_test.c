/* multipart: how files are cut, what S3's answers say (wrong and hostile ones included), the list that completes an upload, and what the database keeps. */
#include "common/aws/internal.h"
#include "common/aws/s3/multipart.h"
#include "common/state/state.h"
#include "tests/unit/state_fixture.h"

#include <stdlib.h>
#include <string.h>

static const int64_t mib = 1 << 20;

static void plan_test(void **state)
{
    static const struct {
        int64_t bytes, wanted, part;
        int count;
    } cases[] = {
        {INT64_C(1), INT64_C(16) << 20, INT64_C(16) << 20, 1},
        {INT64_C(16) << 20, INT64_C(16) << 20, INT64_C(16) << 20, 1},
        {(INT64_C(16) << 20) + 1, INT64_C(16) << 20, INT64_C(16) << 20, 2},
        {INT64_C(40) << 20, 1, INT64_C(5) << 20, 8},                                          /* never below 5 MiB */
        {INT64_C(10000) * (5 << 20), INT64_C(5) << 20, INT64_C(5) << 20, 10000},              /* just fits */
        {INT64_C(10000) * (5 << 20) + 1, INT64_C(5) << 20, INT64_C(6) << 20, 8334},           /* grown by a whole MiB */
        {INT64_C(10000) * (INT64_C(5) << 30), INT64_C(5) << 20, INT64_C(5) << 30, 10000},     /* the largest that S3 takes so */
    };
    struct multipart_plan plan;
    struct err e = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t sum = 0;
        assert_int_equal(multipart_plan(cases[i].bytes, cases[i].wanted, &plan, &e), 0);
        assert_int_equal(plan.part_bytes, cases[i].part);
        assert_int_equal(plan.count, cases[i].count);
        for (int n = 1; n <= plan.count; n++) {
            assert_int_equal(multipart_part_from(&plan, n), sum);
            assert_true(multipart_part_bytes(&plan, cases[i].bytes, n) > 0);
            sum += multipart_part_bytes(&plan, cases[i].bytes, n);
        }
        assert_int_equal(sum, cases[i].bytes);
    }
    assert_int_equal(multipart_plan(INT64_C(10000) * (INT64_C(5) << 30) + 1, 16 * mib, &plan, &e), ERR_TOO_LARGE);
    assert_int_equal(multipart_plan(0, 16 * mib, &plan, &e), ERR_ARGUMENT);
}

static int created(const char *body, char *id)
{
    struct err e = {0};
    return multipart_created_read(body, strlen(body), id, &e);
}

static void created_test(void **state)
{
    char id[S3_UPLOAD_ID_SIZE] = "before";
    char long_body[1300];
    (void)state;
    assert_int_equal(created("<?xml version=\"1.0\"?>\n<InitiateMultipartUploadResult xmlns=\"x\"><Bucket>b</Bucket><Key>k</Key><UploadId>a.b_c-1&amp;2</UploadId>"
                             "</InitiateMultipartUploadResult>", id), 0);
    assert_string_equal(id, "a.b_c-1&2");
    const char *bad[] = {"", "x", "<Error><Code>SlowDown</Code></Error>", "<InitiateMultipartUploadResult/>",
                         "<InitiateMultipartUploadResult><UploadId></UploadId></InitiateMultipartUploadResult>",
                         "<InitiateMultipartUploadResult><UploadId>half",
                         "<InitiateMultipartUploadResult><A><UploadId>deeper</UploadId></A></InitiateMultipartUploadResult>",
                         "<InitiateMultipartUploadResult><UploadId>line\nend</UploadId></InitiateMultipartUploadResult>",
                         "<!DOCTYPE x><InitiateMultipartUploadResult><UploadId>x</UploadId></InitiateMultipartUploadResult>"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(created(bad[i], id), ERR_PROTOCOL);
        assert_string_equal(id, "a.b_c-1&2"); /* untouched */
    }
    for (int length = 1024; length <= 1025; length++) {
        (void)snprintf(long_body, sizeof long_body, "<InitiateMultipartUploadResult><UploadId>%0*d</UploadId></InitiateMultipartUploadResult>", length, 1);
        assert_int_equal(created(long_body, id), length == 1024 ? 0 : ERR_PROTOCOL);
    }
}

static void page_test(void **state)
{
    static const char body[] =
        "<ListPartsResult><UploadId>u</UploadId><Initiator><ID>arn</ID></Initiator><NextPartNumberMarker>4</NextPartNumberMarker><IsTruncated>true</IsTruncated>"
        "<Part><PartNumber>1</PartNumber><ETag>&quot;e1&quot;</ETag><Size>5242880</Size><ChecksumCRC32C>AAAAAQ==</ChecksumCRC32C></Part>"
        "<Part><PartNumber>2</PartNumber><ETag>\"e2\"</ETag><Size>5242880</Size></Part>"
        "<Part><PartNumber>3</PartNumber><Size>7</Size></Part>"                      /* no tag: not there */
        "<Part><PartNumber>4</PartNumber><ETag>e4</ETag><Size>-7</Size></Part>"      /* no size */
        "<Part><PartNumber>5</PartNumber><ETag>e5</ETag><Size>7</Size></Part>"       /* beyond the plan */
        "<Part><PartNumber>99999999999</PartNumber><ETag>e</ETag><Size>7</Size></Part><Part><ETag>e</ETag><Size>7</Size></Part></ListPartsResult>";
    struct multipart_part parts[4] = {{0}};
    struct multipart_page page;
    struct err e = {0};
    (void)state;
    assert_int_equal(multipart_page_read(body, sizeof body - 1, parts, 4, &page, &e), 0);
    assert_true(page.truncated);
    assert_int_equal(page.next_marker, 4);
    assert_string_equal(parts[0].etag, "e1");
    assert_true(parts[0].has_crc32c);
    assert_int_equal(parts[0].crc32c, 1);
    assert_int_equal(parts[0].bytes, 5242880);
    assert_string_equal(parts[1].etag, "e2");
    assert_false(parts[1].has_crc32c);
    assert_string_equal(parts[2].etag, "");
    assert_string_equal(parts[3].etag, "");
    assert_int_equal(multipart_page_read("<ListBucketResult/>", 19, parts, 4, &page, &e), ERR_PROTOCOL);
    assert_int_equal(multipart_page_read(body, sizeof body - 20, parts, 4, &page, &e), ERR_PROTOCOL);
}

static void completed_test(void **state)
{
    struct multipart_completed said;
    struct err e = {0};
    (void)state;
    const char good[] = "  \n<?xml version=\"1.0\"?><CompleteMultipartUploadResult><ETag>\"x-3\"</ETag><ChecksumCRC32C>AAAAAg==</ChecksumCRC32C></CompleteMultipartUploadResult>";
    assert_int_equal(multipart_completed_read(good, sizeof good - 1, &said, &e), 0);
    assert_string_equal(said.etag, "x-3");
    assert_true(said.has_crc32c);
    assert_int_equal(said.crc32c, 2);
    assert_string_equal(said.error.code, "");
    const char error[] = "\n\n<?xml version=\"1.0\"?><Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>";
    assert_int_equal(multipart_completed_read(error, sizeof error - 1, &said, &e), 0);
    assert_string_equal(said.error.code, "InternalError");
    assert_string_equal(said.etag, "");
    const char without_etag[] = "<CompleteMultipartUploadResult><ETag></ETag></CompleteMultipartUploadResult>"; /* as Ceph's gateway answers */
    assert_int_equal(multipart_completed_read(without_etag, sizeof without_etag - 1, &said, &e), 0);
    assert_string_equal(said.etag, "");
    const char *bad[] = {"", "   ", "<html/>", "<Error/>", "<CompleteMultipartUploadResult><ETag>x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(multipart_completed_read(bad[i], strlen(bad[i]), &said, &e), ERR_PROTOCOL);
    }
}

static void list_test(void **state)
{
    struct multipart_part parts[2] = {{.etag = "abc", .crc32c = 1}, {.etag = "a<b>&\"'c", .crc32c = 0xffffffff}};
    size_t bytes = 0;
    char *list = multipart_list_write(parts, 2, &bytes);
    (void)state;
    assert_non_null(list);
    assert_int_equal(strlen(list), bytes);
    assert_string_equal(list, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                              "<Part><PartNumber>1</PartNumber><ETag>&#34;abc&#34;</ETag><ChecksumCRC32C>AAAAAQ==</ChecksumCRC32C></Part>"
                              "<Part><PartNumber>2</PartNumber><ETag>&#34;a&#60;b&#62;&#38;&#34;&#39;c&#34;</ETag><ChecksumCRC32C>/////w==</ChecksumCRC32C></Part>"
                              "</CompleteMultipartUpload>");
    free(list);
    struct multipart_part *many = calloc(MULTIPART_PARTS_MAX, sizeof *many); /* the longest list that there is */
    assert_non_null(many);
    for (int i = 0; i < MULTIPART_PARTS_MAX; i++) {
        memset(many[i].etag, '&', sizeof many[i].etag - 1);
    }
    list = multipart_list_write(many, MULTIPART_PARTS_MAX, &bytes);
    assert_non_null(list);
    assert_int_equal(strlen(list), bytes);
    assert_non_null(strstr(list, "<PartNumber>10000</PartNumber>"));
    free(list);
    free(many);
}

/* ---- what the database keeps --------------------------------------------------------------------------------------------------------- */

static bool leftover(struct fixture *f, struct state_multipart *m)
{
    bool found = false;
    struct err e = {0};
    assert_int_equal(state_multipart_leftover(f->uploader, "default", m, &found, &e), 0);
    return found;
}

static void claim_one(struct fixture *f, const char *sop, struct state_instance *claim)
{
    char id[27];
    size_t count = 0;
    struct err e = {0};
    receive(f, sop, 7, id);
    assert_int_equal(validate_one(f, id), VERDICT_VALIDATED);
    assert_int_equal(state_claim(f->uploader, STAGE_UPLOADER, claim, 1, &count, &e), 0);
    assert_int_equal(count, 1);
}

static void kept_until_uploaded_test(void **in)
{
    struct fixture *f = *in;
    struct state_instance claim;
    struct state_multipart m;
    char id[STATE_UPLOAD_ID_SIZE] = "x";
    struct err e = {0};
    claim_one(f, "1.2.3", &claim);
    assert_int_equal(state_multipart_find(f->uploader, &claim, id, &e), 0);
    assert_string_equal(id, "");
    assert_int_equal(state_multipart_keep(f->uploader, &claim, "first", &e), 0);
    assert_int_equal(state_multipart_keep(f->uploader, &claim, "second", &e), 0);
    assert_int_equal(state_multipart_find(f->importer, &claim, id, &e), 0);
    assert_string_equal(id, "second");
    assert_false(leftover(f, &m)); /* it is being worked on */
    /* who has lost the claim neither keeps nor forgets */
    struct state_instance old = claim;
    struct state_instance older = claim;
    (void)snprintf(older.s3_key, sizeof older.s3_key, "older/k");
    old.token--;
    assert_int_equal(state_multipart_keep(f->uploader, &old, "third", &e), ERR_FENCED);
    assert_int_equal(state_multipart_keep(f->uploader, &old, "", &e), 0);
    assert_int_equal(state_multipart_find(f->uploader, &claim, id, &e), 0);
    assert_string_equal(id, "second");
    /* 'uploaded' forgets it in its own commit; one under another key is a leftover */
    assert_int_equal(state_multipart_keep(f->uploader, &older, "old", &e), 0);
    assert_true(leftover(f, &m));
    assert_string_equal(m.s3_key, "older/k");
    struct state_uploaded u = {.claim = &claim};
    assert_int_equal(state_uploaded(f->uploader, &u, 1, &e), 0);
    assert_int_equal(state_multipart_find(f->uploader, &claim, id, &e), 0);
    assert_string_equal(id, "");
    assert_true(leftover(f, &m));
    assert_string_equal(m.s3_key, "older/k");
    assert_string_equal(m.upload_id, "old");
    assert_string_equal(m.instance, claim.r.id);
    assert_int_equal(state_multipart_aborted(f->uploader, &m, clock_wall_ms() + 60000, &e), 0);
    assert_false(leftover(f, &m)); /* not before its time */
    assert_int_equal(state_multipart_aborted(f->uploader, &m, 1, &e), 0);
    assert_true(leftover(f, &m));
    assert_int_equal(state_multipart_aborted(f->uploader, &m, 0, &e), 0);
    assert_false(leftover(f, &m));
}

static void given_up_test(void **in)
{
    struct fixture *f = *in;
    struct state_instance claim;
    struct state_multipart m;
    int64_t count = 0;
    struct err e = {0};
    struct err why = {.code = ERR_SPOOL_DAMAGED, .text = "damaged"};
    claim_one(f, "1.2.3", &claim);
    assert_int_equal(state_multipart_keep(f->uploader, &claim, "id", &e), 0);
    assert_int_equal(state_refuse(f->uploader, &claim, &why, NULL, &e), 0);
    assert_true(leftover(f, &m)); /* failed */
    assert_int_equal(state_retry(f->uploader, claim.r.id, false, &count, &e), 0);
    assert_int_equal(count, 1);
    char batch[STATE_ID_SIZE];
    size_t claimed = 0;
    (void)snprintf(batch, sizeof batch, "%s", claim.batch);
    assert_int_equal(state_claim(f->uploader, STAGE_UPLOADER, &claim, 1, &claimed, &e), 0);
    assert_int_equal(claimed, 1);
    /* the same batch was still open: the upload goes on; in another one it is given up */
    assert_int_equal(leftover(f, &m), strcmp(batch, claim.batch) != 0);
}

/* The settings name another bucket, and the one that was decided refuses: another batch, another place, and the upload is aborted where it was begun. */
static void bucket_left_test(void **in)
{
    struct fixture *f = *in;
    struct state_instance claim;
    struct state_instance next;
    struct state_multipart m;
    size_t count = 0;
    struct err e = {0};
    struct err why = {.code = ERR_AWS_NOT_FOUND, .text = "no such bucket"};
    const struct state_batch_limits limits = {.max_count = 100, .max_bytes = 1000000};
    claim_one(f, "1.2.3", &claim);
    assert_string_equal(claim.bucket, "bucket");
    assert_int_equal(state_multipart_keep(f->uploader, &claim, "id", &e), 0);
    struct state_instance old = claim;
    old.token--;
    assert_int_equal(state_bucket_left(f->uploader, &old, &limits, &why, &e), ERR_FENCED);
    assert_false(leftover(f, &m));
    assert_int_equal(state_bucket_left(f->uploader, &claim, &limits, &why, &e), 0);
    assert_true(leftover(f, &m));
    assert_string_equal(m.bucket, "bucket");
    assert_int_equal(state_claim(f->uploader, STAGE_UPLOADER, &next, 1, &count, &e), 0);
    assert_int_equal(count, 1);
    assert_string_equal(next.r.id, claim.r.id);
    assert_string_not_equal(next.batch, claim.batch); /* whatever else was uploaded in that one has another bucket */
    assert_string_not_equal(next.s3_key, claim.s3_key);
    assert_int_equal(next.attempts, 0);
    /* one of the same key in another bucket is another one */
    (void)snprintf(next.bucket, sizeof next.bucket, "new");
    (void)snprintf(next.s3_key, sizeof next.s3_key, "%s", claim.s3_key);
    char id[STATE_UPLOAD_ID_SIZE] = "x";
    assert_int_equal(state_multipart_find(f->uploader, &next, id, &e), 0);
    assert_string_equal(id, "");
    assert_int_equal(state_multipart_keep(f->uploader, &next, "other", &e), 0);
    assert_int_equal(state_multipart_aborted(f->uploader, &m, 0, &e), 0);
    assert_int_equal(state_multipart_find(f->uploader, &next, id, &e), 0);
    assert_string_equal(id, "other");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_test),
        cmocka_unit_test(created_test),
        cmocka_unit_test(page_test),
        cmocka_unit_test(completed_test),
        cmocka_unit_test(list_test),
        cmocka_unit_test_setup_teardown(kept_until_uploaded_test, set_up, tear_down),
        cmocka_unit_test_setup_teardown(given_up_test, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bucket_left_test, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("multipart", tests, NULL, NULL);
}
