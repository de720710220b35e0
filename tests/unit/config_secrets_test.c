/* config_secrets: what a process forgets is gone from its settings, from the text that it hands on, and from its environment; the rest stays. */
#include "common/runtime/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void lines_keep_their_places(void **unused)
{
    char text[] = "\xef\xbb\xbf" "aws_secret_access_key=abc\n"
                  "scp_port = 104\n"
                  "  AWS_Secret_Access_Key : de;f # note\r\n"
                  "AWS_SESSION_TOKEN = t=t\n"
                  "tls_key_password = ours\n"
                  "# aws_secret_access_key is set elsewhere\n"
                  "no line at all\n"
                  "[destination MR]\n"
                  "dicomweb_password = last, without an end";
    const char wanted[] = "\xef\xbb\xbf" "aws_secret_access_key=   \n"
                          "scp_port = 104\n"
                          "  AWS_Secret_Access_Key :             \n"
                          "AWS_SESSION_TOKEN =    \n"
                          "tls_key_password = ours\n"
                          "# aws_secret_access_key is set elsewhere\n"
                          "no line at all\n"
                          "[destination MR]\n"
                          "dicomweb_password =                     ";
    (void)unused;
    config_blank_secrets(text, sizeof text - 1, SECRETS_RECEIVER);
    for (size_t i = 0; i < sizeof text - 1; i++) {
        assert_int_equal(text[i], wanted[i]);
    }
    assert_int_equal(sizeof text, sizeof wanted);
    config_blank_secrets(text, sizeof text - 1, SECRETS_NONE);
    assert_null(strstr(text, "ours"));
    config_blank_secrets(text, 0, SECRETS_NONE);
}

static void settings_and_sections_forget(void **unused)
{
    char home[] = "/tmp/config_secrets_test.XXXXXX";
    char path[64];
    struct config *c = NULL;
    struct err e = {0};
    (void)unused;
    (void)unsetenv("AWS_SECRET_ACCESS_KEY");
    (void)setenv("STORESCP_TLS_KEY_PASSWORD", "ours", 1);
    assert_non_null(mkdtemp(home));
    (void)snprintf(path, sizeof path, "%s/storescp.conf", home);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs("aws_access_key_id = AKID\naws_secret_access_key = first\n[destination MR]\nfor_modality = MR\naws_access_key_id = AKID2\n"
                      "aws_secret_access_key = second\n", f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(config_load(&c, home, &e), 0);
    const struct config *mr = config_destination_named(c, "MR");
    assert_string_equal(config_text(c, CFG_SECRET_ACCESS_KEY), "first");
    assert_string_equal(config_text(mr, CFG_SECRET_ACCESS_KEY), "second");
    config_forget_secrets(c, SECRETS_RECEIVER);
    assert_string_equal(config_text(c, CFG_SECRET_ACCESS_KEY), "");
    assert_string_equal(config_text(mr, CFG_SECRET_ACCESS_KEY), "");
    assert_string_equal(config_text(mr, CFG_ACCESS_KEY_ID), "AKID2");
    assert_string_equal(config_text(c, CFG_TLS_KEY_PASSWORD), "ours");
    const char *value = "?";
    const char *origin = "?";
    assert_true(config_section_sets(config_section_at(c, 0), CFG_SECRET_ACCESS_KEY, &value, &origin));
    assert_string_equal(value, "");
    config_forget_secrets(c, SECRETS_CLOUD);
    assert_string_equal(config_text(c, CFG_TLS_KEY_PASSWORD), "");
    config_free(&c);
    (void)unlink(path);
    (void)rmdir(home);
}

static void the_environment_forgets_in_place(void **unused)
{
    (void)unused;
    (void)setenv("AWS_SECRET_ACCESS_KEY", "cloud", 1);
    (void)setenv("STORESCP_TLS_KEY_PASSWORD", "ours", 1);
    (void)setenv("AWS_REGION", "eu-west-1", 1);
    const char *place = getenv("AWS_SECRET_ACCESS_KEY");
    config_forget_environment(SECRETS_RECEIVER);
    assert_string_equal(place, "");
    assert_null(getenv("AWS_SECRET_ACCESS_KEY"));
    assert_string_equal(getenv("STORESCP_TLS_KEY_PASSWORD"), "ours");
    assert_string_equal(getenv("AWS_REGION"), "eu-west-1");
    (void)unsetenv("AWS_REGION");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(lines_keep_their_places), cmocka_unit_test(settings_and_sections_forget),
                                       cmocka_unit_test(the_environment_forgets_in_place)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
