/* s3_key_test - templates of keys: which may be used, what they make of an image, and that a key of HealthImaging's can be mapped back. */
#include "common/aws/s3/s3_key.h"
#include "uploader/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define BATCH "01m8ab1fpxbqeza7dq3cy3kwzj"
#define ID "01m8ab1fqgr3pbptbqz6g121vv"

static const struct s3_key_values values = {.prefix = "clinic/north",
                                            .batch = BATCH,
                                            .id = ID,
                                            .study = "1.2.3",
                                            .series = "1.2.3.4",
                                            .sop = "1.2.3.4.5",
                                            .class_uid = "1.2.840.10008.5.1.4.1.1.2",
                                            .modality = "CT",
                                            .calling_ae = "CT 1/\xc3\xa9",
                                            .called_ae = "",
                                            .received_ms = INT64_C(1790000000123)};

static void made(void **unused)
{
    (void)unused;
    static const struct {
        const char *template, *key;
    } cases[] = {
        {"{prefix}/{batch}/{id}.dcm", "clinic/north/" BATCH "/" ID ".dcm"},
        {"{yyyy}/{mm}/{dd}/{time}/{study}/{series}/{sop}.dcm", "2026/09/21/141320/1.2.3/1.2.3.4/1.2.3.4.5.dcm"},
        {"x_{modality}-{class}/{calling_ae}/{called_ae}/{id}", "x_CT-1.2.840.10008.5.1.4.1.1.2/CT_1___/none/" ID},
        {"{prefix}/{batch}/{series}_{id}.dcm", "clinic/north/" BATCH "/1.2.3.4_" ID ".dcm"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char key[S3_KEY_SIZE];
        struct err e = {0};
        assert_int_equal(s3_key_check(cases[i].template, strstr(cases[i].template, "{batch}") != NULL, true, &e), 0);
        assert_int_equal(s3_key_make(cases[i].template, &values, key, &e), 0);
        assert_string_equal(key, cases[i].key);
    }
}

/* No value reaches into another folder, and the longest of them fit. */
static void hostile(void **unused)
{
    (void)unused;
    char key[S3_KEY_SIZE];
    char text[300];
    struct err e = {0};
    struct s3_key_values v = values;
    v.study = "..";
    v.sop = "../../x\n";
    v.calling_ae = ".hidden";
    assert_int_equal(s3_key_make("{study}/{sop}/{calling_ae}.dcm", &v, key, &e), 0);
    assert_string_equal(key, "_./_._.._x_/_hidden.dcm");
    memset(text, '1', sizeof text);
    text[sizeof text - 1] = '\0';
    v.study = v.series = v.sop = text;
    assert_int_equal(s3_key_make("{study}/{series}/{sop}.dcm", &v, key, &e), 0);
    assert_int_equal(strlen(key), 3 * 64 + 2 + 4);
}

static void checked(void **unused)
{
    (void)unused;
    static const struct {
        const char *template;
        bool for_import, no_overwrite, right;
    } cases[] = {
        {"{prefix}/{batch}/{id}.dcm", true, false, true},
        {"{prefix}/{batch}/{study}/{id}.dcm", true, true, true},
        {"{batch}/{id}.dcm", true, true, false},
        {"{prefix}/{batch}/{id}", true, true, false},
        {"{prefix}/{batch}/{sop}.dcm", true, true, false},
        {"{prefix}/{batch}/{id}/{sop}.dcm", true, true, false},
        {"{prefix}/{batch}/x{id}.dcm", true, true, true},
        {"{yyyy}/{mm}/{dd}/{time}/{study}/{series}/{sop}.dcm", false, true, true},
        {"{yyyy}/{mm}/{dd}/{time}/{study}/{series}/{sop}.dcm", false, false, false}, /* would overwrite */
        {"{study}/{series}.dcm", false, true, false},
        {"{study}/{id}.dcm", false, false, true},
        {"{batch}/{id}", false, true, false},
        {"{nothing}/{id}", false, true, false},
        {"{id", false, true, false},
        {"{}/{id}", false, true, false},
        {"a b/{id}", false, true, false},
        {"/{id}", false, true, false},
        {"a//{id}", false, true, false},
        {"a/../{id}", false, true, false},
        {"{id}/", false, true, false},
        {"", false, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err e = {0};
        if ((s3_key_check(cases[i].template, cases[i].for_import, cases[i].no_overwrite, &e) == 0) != cases[i].right) {
            fail_msg("%s: %s", cases[i].template, e.text);
        }
        assert_true(cases[i].right || e.code == ERR_CONFIG);
    }
    char longest[900] = "";
    for (int i = 0; i < 16; i++) {
        (void)snprintf(longest + strlen(longest), sizeof longest - strlen(longest), "{study}/");
    }
    (void)snprintf(longest + strlen(longest), sizeof longest - strlen(longest), "{id}");
    assert_int_equal(s3_key_check(longest, false, true, NULL), ERR_CONFIG);
}

static void beside_and_folder(void **unused)
{
    (void)unused;
    char key[S3_KEY_SIZE];
    assert_true(s3_key_beside("2026/1.2.dcm", ID, key));
    assert_string_equal(key, "2026/1.2-" ID ".dcm");
    assert_true(s3_key_beside("a/b", ID, key));
    assert_string_equal(key, "a/b-" ID);
    assert_false(s3_key_beside("a/" ID ".dcm", ID, key));
    assert_int_equal(s3_key_folder("p/q/" BATCH "/x/" ID ".dcm", BATCH), 4 + 26 + 1);
    assert_int_equal(s3_key_folder(BATCH "/" ID ".dcm", BATCH), 27);
    assert_int_equal(s3_key_folder("px" BATCH "/" ID ".dcm", BATCH), 0);
    assert_int_equal(s3_key_folder("p/" BATCH ".dcm", BATCH), 0);
    assert_int_equal(s3_key_folder("p/" BATCH "/x", ""), 0);
}

/* A batch whose first key was decided keeps its bucket and folder when dicom_bucket and s3_prefix change. */
static void one_folder_for_a_batch(void **unused)
{
    (void)unused;
    char home[] = "/tmp/s3_key_test.XXXXXX";
    struct state_place place;
    const struct state_place none = {"", ""};
    const struct state_place before = {"images-2025", "before/it/" BATCH "/01m8ab1fpxbqeza7dq3cy3kwz0.dcm"};
    struct config *config = NULL;
    struct err e = {0};
    struct state_instance claim;
    assert_non_null(mkdtemp(home));
    assert_int_equal(setenv("DICOM_BUCKET", "images-2026", 1), 0);
    assert_int_equal(config_load(&config, home, &e), 0);
    assert_int_equal(unsetenv("DICOM_BUCKET"), 0);
    assert_int_equal(s3_key_settings(config, &e), 0);
    memset(&claim, 0, sizeof claim);
    (void)snprintf(claim.batch, sizeof claim.batch, "%s", BATCH);
    (void)snprintf(claim.r.id, sizeof claim.r.id, "%s", ID);
    assert_int_equal(keys_make(config, &claim, &none, &place, &e), 0);
    assert_string_equal(place.key, "storescp/" BATCH "/" ID ".dcm");
    assert_string_equal(place.bucket, "images-2026");
    assert_int_equal(keys_make(config, &claim, &before, &place, &e), 0);
    assert_string_equal(place.key, "before/it/" BATCH "/" ID ".dcm");
    assert_string_equal(place.bucket, "images-2025");
    config_free(&config);
    /* without batches the preset is another one */
    assert_int_equal(setenv("STORESCP_DESTINATION_KIND", "s3", 1), 0);
    assert_int_equal(config_load(&config, home, &e), 0);
    assert_int_equal(unsetenv("STORESCP_DESTINATION_KIND"), 0);
    assert_int_equal(s3_key_settings(config, &e), 0);
    claim.batch[0] = '\0';
    (void)snprintf(claim.study_uid, sizeof claim.study_uid, "1.2.3");
    assert_int_equal(keys_make(config, &claim, &none, &place, &e), 0);
    assert_string_equal(place.key, "storescp/1.2.3/" ID ".dcm");
    assert_string_equal(place.bucket, "");
    config_free(&config);
    assert_int_equal(rmdir(home), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(made), cmocka_unit_test(hostile), cmocka_unit_test(checked), cmocka_unit_test(beside_and_folder),
                                       cmocka_unit_test(one_folder_for_a_batch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
