/* s3_options_test - what requests ask of S3 as settings say it, the sentences for wrong settings, and what counts as the encryption that was asked for. */
#include "common/aws/s3/s3_options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static int read_options(const char *lines, struct s3_options *out, struct err *e)
{
    char home[] = "/tmp/s3_options_test.XXXXXX";
    char path[64];
    struct config *config = NULL;
    assert_non_null(mkdtemp(home));
    (void)snprintf(path, sizeof path, "%s/storescp.conf", home);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(lines, f) >= 0);
    assert_int_equal(fclose(f), 0);
    int rc = config_load(&config, home, e);
    rc = rc ? rc : s3_options_read(config, out, e);
    config_free(&config);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(home), 0);
    return rc;
}

static void right_ones(void **unused)
{
    (void)unused;
    struct s3_options o;
    struct err e = {0};
    assert_int_equal(read_options("", &o, &e), 0);
    assert_string_equal(o.encryption, "");
    assert_string_equal(o.tagging, "");
    assert_string_equal(o.storage_class, "");
    assert_true(o.if_none_match);
    assert_int_equal(read_options("s3_encryption = aes256\ns3_if_none_match = false\ns3_storage_class = intelligent_tiering\ns3_expected_owner = 012345678901\n", &o, &e), 0);
    assert_string_equal(o.encryption, "AES256");
    assert_string_equal(o.storage_class, "INTELLIGENT_TIERING");
    assert_string_equal(o.owner, "012345678901");
    assert_false(o.if_none_match);
    assert_int_equal(read_options("destination_kind = s3\ns3_storage_class = DEEP_ARCHIVE\n", &o, &e), 0);
    assert_int_equal(read_options("s3_encryption = aws:kms\ns3_kms_key = arn:aws:kms:us-east-1:123456789012:alias/images\ns3_bucket_key = true\n"
                                  "s3_kms_context = {\"site\": \"north\", \"b\": \"c\"}\ns3_tags = site = x, a b=1/2 + 3@c , empty=\n", &o, &e), 0);
    assert_string_equal(o.kms_key, "arn:aws:kms:us-east-1:123456789012:alias/images");
    assert_string_equal(o.bucket_key, "true");
    assert_string_equal(o.kms_context, "eyJiIjoiYyIsInNpdGUiOiJub3J0aCJ9"); /* {"b":"c","site":"north"} */
    assert_string_equal(o.tagging, "site%20=%20x&a%20b=1%2F2%20%2B%203%40c&empty=");
}

static void wrong_ones(void **unused)
{
    (void)unused;
    static const struct {
        const char *lines, *word;
    } cases[] = {
        {"s3_encryption = aws:fsx\n", "s3_encryption"},
        {"s3_kms_key = alias/x\n", "s3_kms_key"}, /* without KMS */
        {"s3_encryption = AES256\ns3_bucket_key = true\n", "s3_bucket_key"},
        {"s3_encryption = aws:kms:dsse\ns3_bucket_key = true\n", "s3_bucket_key"},
        {"s3_encryption = aws:kms\ns3_kms_key = my key\n", "s3_kms_key"},
        {"s3_encryption = aws:kms\ns3_kms_key = arn:aws:s3:::bucket\n", "s3_kms_key"},
        {"s3_encryption = aws:kms\ns3_kms_context = {\"a\": 1}\n", "s3_kms_context"},
        {"s3_encryption = aws:kms\ns3_kms_context = []\n", "s3_kms_context"},
        {"s3_encryption = aws:kms\ns3_kms_context = {\"a\"\n", "s3_kms_context"},
        {"s3_expected_owner = 12345\n", "s3_expected_owner"},
        {"s3_expected_owner = 12345678901x\n", "s3_expected_owner"},
        {"s3_storage_class = COLD\n", "s3_storage_class"},
        {"s3_storage_class = GLACIER\n", "s3_storage_class"}, /* HealthImaging could not read it */
        {"s3_tags = a\n", "s3_tags"},
        {"s3_tags = =b\n", "s3_tags"},
        {"s3_tags = a=1,a=2\n", "s3_tags"},
        {"s3_tags = aws:x=1\n", "s3_tags"},
        {"s3_tags = a=1?\n", "s3_tags"},
        {"s3_tags = a=,b=,c=,d=,e=,f=,g=,h=,i=,j=,k=\n", "s3_tags"},
        {"s3_bucket_key = maybe\n", "s3_bucket_key"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct s3_options o;
        struct err e = {0};
        if (read_options(cases[i].lines, &o, &e) != ERR_CONFIG || strncmp(e.text, cases[i].word, strlen(cases[i].word)) != 0) {
            fail_msg("%s: %d %s", cases[i].lines, e.code, e.text);
        }
        assert_non_null(strstr(e.text, "storescp.conf line"));
    }
}

static void long_tags(void **unused)
{
    (void)unused;
    struct s3_options o;
    struct err e = {0};
    char lines[700];
    char text[300];
    memset(text, 'x', sizeof text);
    (void)snprintf(lines, sizeof lines, "s3_tags = %.128s=%.256s\n", text, text);
    assert_int_equal(read_options(lines, &o, &e), 0);
    assert_int_equal(strlen(o.tagging), 128 + 1 + 256);
    (void)snprintf(lines, sizeof lines, "s3_tags = %.129s=\n", text);
    assert_int_equal(read_options(lines, &o, &e), ERR_CONFIG);
    (void)snprintf(lines, sizeof lines, "s3_tags = a=%.257s\n", text);
    assert_int_equal(read_options(lines, &o, &e), ERR_CONFIG);
}

static void answers(void **unused)
{
    (void)unused;
    static const char id[] = "01234567-89ab-cdef-0123-456789abcdef";
    static const char arn[] = "arn:aws:kms:us-east-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef";
    struct s3_options o;
    memset(&o, 0, sizeof o);
    o.encryption = "";
    assert_true(s3_options_encrypted(&o, "", ""));
    assert_true(s3_options_encrypted(&o, "aws:kms", arn)); /* the bucket's default is what it is */
    o.encryption = "AES256";
    assert_true(s3_options_encrypted(&o, "AES256", ""));
    assert_false(s3_options_encrypted(&o, "", ""));
    assert_false(s3_options_encrypted(&o, "aws:kms", arn));
    o.encryption = "aws:kms";
    assert_true(s3_options_encrypted(&o, "aws:kms", arn)); /* the account's own key */
    assert_false(s3_options_encrypted(&o, "aws:kms:dsse", arn));
    (void)snprintf(o.kms_key, sizeof o.kms_key, "%s", id);
    assert_true(s3_options_encrypted(&o, "aws:kms", arn));
    assert_true(s3_options_encrypted(&o, "aws:kms", id));
    assert_false(s3_options_encrypted(&o, "aws:kms", "arn:aws:kms:us-east-1:123456789012:key/11234567-89ab-cdef-0123-456789abcdef"));
    (void)snprintf(o.kms_key, sizeof o.kms_key, "%s", arn);
    assert_true(s3_options_encrypted(&o, "aws:kms", arn));
    assert_true(s3_options_encrypted(&o, "aws:kms", id));
    assert_false(s3_options_encrypted(&o, "aws:kms", "arn:aws:kms:us-east-1:999999999999:key/01234567-89ab-cdef-0123-456789abcdef"));
    (void)snprintf(o.kms_key, sizeof o.kms_key, "alias/images"); /* nobody can tell */
    assert_true(s3_options_encrypted(&o, "aws:kms", arn));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(right_ones), cmocka_unit_test(wrong_ones), cmocka_unit_test(long_tags), cmocka_unit_test(answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
