/*
 * config: default < storescp.conf < environment; every wrong value is named with its line and its bounds.
 * Guards two bugs: a value longer than 200 characters was cut without a word (a list of SOP classes lost its end), and an indented line
 * was taken for the continuation of the one before.
 */
#include "common/runtime/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

struct fixture {
    char home[64];
    struct config *config;
};

static int set_up(void **out)
{
    struct fixture *f = calloc(1, sizeof *f);
    (void)snprintf(f->home, sizeof f->home, "/tmp/config_test.XXXXXX");
    *out = f;
    for (size_t i = 0; i < CONFIG_COUNT; i++) { /* whatever the caller's shell has set */
        char name[80] = "STORESCP_";
        const struct config_setting *s = config_describe((enum config_key)i);
        for (size_t k = 0; s->name[k] && k + 10 < sizeof name; k++) {
            name[9 + k] = (char)(s->name[k] >= 'a' && s->name[k] <= 'z' ? s->name[k] - 32 : s->name[k]);
        }
        (void)unsetenv(name);
        if (s->alias[0]) {
            (void)unsetenv(s->alias);
        }
    }
    (void)unsetenv("AWS_DEFAULT_REGION");
    return mkdtemp(f->home) ? 0 : -1;
}

static int tear_down(void **in)
{
    struct fixture *f = *in;
    char path[128];
    config_free(&f->config);
    (void)snprintf(path, sizeof path, "%s/storescp.conf", f->home);
    (void)unlink(path);
    (void)rmdir(f->home);
    free(f);
    return 0;
}

static int load(struct fixture *f, const char *text, struct err *e)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/storescp.conf", f->home);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    config_free(&f->config);
    return config_load(&f->config, f->home, e);
}

static void defaults_without_a_file(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    assert_int_equal(config_load(&f->config, f->home, &e), 0);
    assert_string_equal(config_home(f->config), f->home);
    for (size_t i = 0; i < CONFIG_COUNT; i++) {
        const struct config_setting *s = config_describe((enum config_key)i);
        assert_string_equal(config_text(f->config, (enum config_key)i), s->preset);
        assert_string_equal(config_origin(f->config, (enum config_key)i), "default");
        assert_true(s->help[0] != '\0');
    }
    assert_int_equal(config_int(f->config, CFG_SCP_PORT), 11112);
}

static void the_environment_wins_and_the_line_is_named(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    (void)setenv("SCP_PORT", "12000", 1);
    (void)setenv("STORESCP_SWEEP_MS", "70", 1);
    (void)setenv("AWS_DEFAULT_REGION", "eu-west-2", 1);
    assert_int_equal(load(f,
                          "# a comment\n[receiver]\nscp_port = 11113\n\n   AE_Title = TWO ; the second\nsweep_ms=90\n"
                          "require_called_ae_title = Yes\n",
                          &e),
                     0);
    assert_int_equal(config_int(f->config, CFG_SCP_PORT), 12000);
    assert_string_equal(config_origin(f->config, CFG_SCP_PORT), "environment SCP_PORT");
    assert_int_equal(config_int(f->config, CFG_SWEEP_MS), 70);
    assert_string_equal(config_text(f->config, CFG_AE_TITLE), "TWO");
    assert_string_equal(config_origin(f->config, CFG_AE_TITLE), "storescp.conf line 5");
    assert_true(config_bool(f->config, CFG_REQUIRE_CALLED_AE_TITLE));
    assert_string_equal(config_text(f->config, CFG_AWS_REGION), "eu-west-2");
    /* our own name wins over the alias; an empty variable sets nothing */
    (void)setenv("STORESCP_SCP_PORT", "12001", 1);
    (void)setenv("AWS_REGION", "", 1);
    assert_int_equal(load(f, "", &e), 0);
    assert_int_equal(config_int(f->config, CFG_SCP_PORT), 12001);
    (void)unsetenv("STORESCP_SCP_PORT");
    (void)unsetenv("SCP_PORT");
    (void)unsetenv("STORESCP_SWEEP_MS");
    (void)unsetenv("AWS_DEFAULT_REGION");
    (void)unsetenv("AWS_REGION");
}

/* text of the file, and what the problem must say */
static const struct {
    const char *text, *says[3];
} wrong[] = {
    {"scp_port = -1\n", {"scp_port", "storescp.conf line 1", "0 to 65535"}},
    {"\nscp_port = 12x\n", {"scp_port", "line 2", "whole number"}},
    {"scp_port = 99999999999999999999\n", {"scp_port", "line 1", "65535"}},
    {"scp_port =\n", {"scp_port", "line 1", "whole number"}},
    {"s3_path_style = maybe\n", {"s3_path_style", "line 1", "neither true nor false"}},
    {"log_level = loud\n", {"log_level", "line 1", "debug|info|warning|error"}},
    {"log_level = warn\n", {"log_level", "line 1", "debug|info|warning|error"}},
    {"log_level = info|\n", {"log_level", "line 1", "debug|info|warning|error"}},
    {"datastore_id = 0123456789abcdef0123456789abcdef0\n", {"datastore_id", "line 1", "0 to 32"}},
    {"a = 1\nscp_prot = 1\n", {"line 1", "there is no setting \"a\"", ""}},
    {"scp_port = 1\nnonsense\n", {"storescp.conf line 2", "name = value", ""}},
};

static void what_is_wrong_is_said_in_words(void **in)
{
    struct fixture *f = *in;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct err e = {0};
        assert_int_equal(load(f, wrong[i].text, &e), ERR_CONFIG);
        assert_non_null(f->config);
        for (size_t k = 0; k < 3; k++) {
            if (!strstr(config_problem(f->config, 0), wrong[i].says[k])) {
                fail_msg("\"%s\" does not say \"%s\"", config_problem(f->config, 0), wrong[i].says[k]);
            }
        }
        assert_string_equal(e.text, config_problem(f->config, 0));
    }
    struct err e = {0};
    assert_int_equal(load(f, "scp_port = -1\nbatch_max_count = 5001\n", &e), ERR_CONFIG);
    assert_int_equal(config_int(f->config, CFG_SCP_PORT), 11112); /* a wrong one leaves the default */
    assert_non_null(config_problem(f->config, 1));
    assert_null(config_problem(f->config, 2));
}

static void choices_are_compared_in_any_case(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    assert_int_equal(load(f, "log_level = Warning\nsame_uid_other_content = NEWER\n", &e), 0);
    assert_string_equal(config_text(f->config, CFG_LOG_LEVEL), "warning");
    assert_string_equal(config_text(f->config, CFG_SAME_UID_OTHER_CONTENT), "newer");
}

static void a_long_list_is_kept_whole(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    static char text[40000] = "supported_sop_class_uids = ";
    size_t used = strlen(text);
    while (used < 27 + 15900) {
        used += (size_t)snprintf(text + used, sizeof text - used, "1.2.840.10008.5.1.4.1.1.2,");
    }
    (void)snprintf(text + used, sizeof text - used, "1.9\n  scp_port = 4000\n");
    assert_int_equal(load(f, text, &e), 0);
    assert_int_equal(strlen(config_text(f->config, CFG_SUPPORTED_SOP_CLASS_UIDS)), used - 27 + 3);
    assert_string_equal(config_origin(f->config, CFG_SCP_PORT), "storescp.conf line 2");
    /* what does not fit is a problem, not a cut, and the next line is still line 2 */
    memset(text + 27, '1', 33000);
    (void)snprintf(text + 33027, sizeof text - 33027, "\nscp_port = 4000\n");
    assert_int_equal(load(f, text, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, "line 1 is longer than"));
    assert_null(config_problem(f->config, 1));
    assert_string_equal(config_origin(f->config, CFG_SCP_PORT), "storescp.conf line 2");
}

static void patterns_fit_whole_titles(void **in)
{
    (void)in;
    static const struct {
        const char *pattern, *text;
        bool fits;
    } cases[] = {{"CT1", "CT1", true},     {"CT1", "CT12", false}, {"CT*", "CT", true},    {"CT*", "MCT", false},      {"*CT", "XCT", true},
                 {"?T?", "CT1", true},     {"?T?", "CT", false},   {"*", "", true},        {"a*b*c", "aXbXbYc", true}, {"a*b*c", "aXbXbY", false},
                 {"***x", "aaaaax", true}, {"ct1", "CT1", false},  {"A B*", "A B C", true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(config_fits(cases[i].pattern, cases[i].text), cases[i].fits);
    }
}

static void sections_rule_single_peers(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    const char *value = NULL;
    const char *origin = NULL;
    assert_int_equal(load(f, "maximum_object_mb = 100\n[ae CT*]\nmaximum_object_mb = 200\n[AE CT7]\nsupported_sop_class_uids = 1.2\n"
                             "[ae CT?]\nmaximum_object_mb = 300\n[the network]\nscp_port = 4000\n", &e), 0);
    const struct config_section *ct1 = config_for_ae(f->config, " CT1  ");
    const struct config_section *ct7 = config_for_ae(f->config, "CT7");
    assert_non_null(ct1);
    assert_int_equal(config_int_for(f->config, ct1, CFG_MAXIMUM_OBJECT_MB), 200);
    assert_string_equal(config_text_for(f->config, ct1, CFG_SUPPORTED_SOP_CLASS_UIDS), "");
    /* without wildcards wins, and what it does not set is as it is for everybody */
    assert_string_equal(config_section_name(ct7), "AE CT7");
    assert_int_equal(config_int_for(f->config, ct7, CFG_MAXIMUM_OBJECT_MB), 100);
    assert_string_equal(config_text_for(f->config, ct7, CFG_SUPPORTED_SOP_CLASS_UIDS), "1.2");
    /* a title that looks like a pattern does not name its section: the first that it fits is its own */
    assert_string_equal(config_section_name(config_for_ae(f->config, "CT?")), "ae CT*");
    assert_null(config_for_ae(f->config, "MR1"));
    assert_int_equal(config_int_for(f->config, NULL, CFG_MAXIMUM_OBJECT_MB), 100);
    assert_int_equal(config_int(f->config, CFG_SCP_PORT), 4000);
    assert_true(config_section_sets(ct1, CFG_MAXIMUM_OBJECT_MB, &value, &origin));
    assert_string_equal(origin, "storescp.conf line 3");
    assert_false(config_section_sets(ct1, CFG_SUPPORTED_SOP_CLASS_UIDS, &value, &origin));
    assert_null(config_section_at(f->config, 3));

    assert_int_equal(load(f, "[ae CT1]\nscp_port = 4000\nmaximum_object_mb = many\n[ae]\nmaximum_object_mb = 1\n", &e), ERR_CONFIG);
    assert_non_null(strstr(config_problem(f->config, 0), "line 2: scp_port cannot be set for single AE titles"));
    assert_non_null(strstr(config_problem(f->config, 1), "line 3): \"many\" is not a whole number"));
    assert_non_null(strstr(config_problem(f->config, 2), "line 5: [ae] needs one AE title"));
    assert_null(config_problem(f->config, 3));
}

/* A section with a server of its own does not show everybody's user and password there. */
static void a_server_of_its_own_has_its_own_password(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    assert_int_equal(load(f, "dicomweb_url = https://a/x\ndicomweb_auth = basic\ndicomweb_user = u\ndicomweb_password = p\n"
                             "[destination b]\ndestination_kind = dicomweb\ndicomweb_url = https://b/x\nfor_modality = CT\n"
                             "[destination c]\ndestination_kind = dicomweb\nfor_modality = MR\n", &e), 0);
    const struct config *b = config_destination_named(f->config, "b");
    const struct config *c = config_destination_named(f->config, "c");
    assert_string_equal(config_text(b, CFG_DICOMWEB_AUTH), "none");
    assert_string_equal(config_text(b, CFG_DICOMWEB_USER), "");
    assert_string_equal(config_text(b, CFG_DICOMWEB_PASSWORD), "");
    assert_string_equal(config_text(c, CFG_DICOMWEB_PASSWORD), "p");
    assert_string_equal(config_text(c, CFG_DICOMWEB_URL), "https://a/x");
}

static void destinations_are_settings_of_their_own(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    char words[60];
    (void)setenv("AWS_ACCESS_KEY_ID", "EVERYBODY", 1);
    assert_int_equal(load(f, "dicom_bucket = all\naws_secret_access_key = s\n[destination MR]\nfor_calling_ae = MR*, XA1\nfor_modality = MR\ndicom_bucket = mr\n"
                             "aws_profile = mr\n[ae MR1]\nmaximum_object_mb = 3\n[Destination archive]\nfor_called_ae = ARCHIVE\n"
                             "destination_kind = S3\n[destination spare]\ndicom_bucket = spare\n", &e), 0);
    const struct config *c = f->config;
    assert_ptr_equal(config_destination_at(c, 0), c);
    assert_string_equal(config_destination_name(c), "default");
    assert_null(config_destination_at(c, 4));
    const struct config *mr = config_destination_named(c, "MR");
    assert_ptr_equal(mr, config_destination_at(c, 1));
    assert_string_equal(config_text(mr, CFG_DICOM_BUCKET), "mr");
    assert_string_equal(config_origin(mr, CFG_DICOM_BUCKET), "storescp.conf line 6");
    assert_string_equal(config_text(mr, CFG_S3_PREFIX), "storescp");
    assert_string_equal(config_text(mr, CFG_ACCESS_KEY_ID), ""); /* its profile would be nothing beside everybody's keys */
    assert_string_equal(config_text(mr, CFG_SECRET_ACCESS_KEY), "");
    assert_string_equal(config_text(c, CFG_ACCESS_KEY_ID), "EVERYBODY");
    assert_string_equal(config_home(mr), config_home(c));
    assert_int_equal(config_destination_kind(mr), KIND_HEALTHIMAGING);
    assert_int_equal(config_destination_kind(config_destination_named(c, "archive")), KIND_S3);
    assert_string_equal(config_text(config_destination_named(c, "archive"), CFG_ACCESS_KEY_ID), "EVERYBODY");
    assert_string_equal(config_destination_words(mr, words, sizeof words), "[destination MR] ");
    assert_string_equal(config_destination_words(c, words, sizeof words), "");
    assert_null(config_destination_named(c, "mr"));
    /* all that a section gives must fit; the first that fits; a section that says nothing gets nothing */
    assert_string_equal(config_destination_name(config_destination_for(c, " MR7 ", "STORESCP", "MR")), "MR");
    assert_string_equal(config_destination_name(config_destination_for(c, "XA1", "ARCHIVE", "MR")), "MR");
    assert_string_equal(config_destination_name(config_destination_for(c, "MR7", "ARCHIVE", "CT")), "archive");
    assert_string_equal(config_destination_name(config_destination_for(c, "MR7", "STORESCP", "")), "default");
    /* a destination is no rule for AE titles */
    assert_null(config_for_ae(c, "archive"));
    assert_non_null(config_for_ae(c, "MR1"));
    (void)unsetenv("AWS_ACCESS_KEY_ID");
}

static void wrong_destinations_are_named_by_their_line(void **in)
{
    struct fixture *f = *in;
    struct err e = {0};
    static const char *const says[] = {"line 1) says who goes to one destination", "line 3: the destination `default`", "line 5: [destination a b] needs a name",
                                       "line 7: scp_port cannot be set for single destinations", "line 11: there is a [destination x] already",
                                       "line 12: [destination x] stands in line 8 already", "line 13): \"ftp\" is none of", "line 15: [destination] needs a name"};
    assert_int_equal(load(f, "for_modality = CT\n[destination Default]\ns3_prefix = a\n[destination a b]\ns3_prefix = b\n[destination y]\nscp_port = 1\n"
                             "[destination x]\ns3_prefix = q\n[destination X]\ns3_prefix = c\n[destination x]\ndestination_kind = ftp\n[destination]\ns3_prefix = d\n",
                          &e), ERR_CONFIG);
    for (size_t i = 0; i < sizeof says / sizeof says[0]; i++) {
        if (!config_problem(f->config, i) || !strstr(config_problem(f->config, i), says[i])) {
            fail_msg("\"%s\" does not say \"%s\"", config_problem(f->config, i) ? config_problem(f->config, i) : "", says[i]);
        }
    }
    assert_null(config_problem(f->config, sizeof says / sizeof says[0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(defaults_without_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_environment_wins_and_the_line_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_said_in_words, set_up, tear_down),
        cmocka_unit_test_setup_teardown(choices_are_compared_in_any_case, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_long_list_is_kept_whole, set_up, tear_down),
        cmocka_unit_test(patterns_fit_whole_titles),
        cmocka_unit_test_setup_teardown(sections_rule_single_peers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(destinations_are_settings_of_their_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_server_of_its_own_has_its_own_password, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_destinations_are_named_by_their_line, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
