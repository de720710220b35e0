/* binding_test - which certificate may come under which calling AE title. */
#include "receiver/association/binding.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIGITS_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DIGITS_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define COLONS_A "AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA"

static const struct tls_facts certificate_a = {.subject = "O=Hospital,CN=ct1", .names = "DNS:ct1.example|IP Address:10.0.0.7", .fingerprint = DIGITS_A};
static const struct tls_facts certificate_b = {.subject = "O=Hospital,CN=mr7", .names = "", .fingerprint = DIGITS_B};
static const struct tls_facts no_certificate = {.version = "TLSv1.3"};

static struct config *settings(const char *text)
{
    char directory[] = "/tmp/binding_test.XXXXXX";
    char path[64];
    struct config *config = NULL;
    struct err e = {0};
    assert_non_null(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/storescp.conf", directory);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(config_load(&config, directory, &e), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(directory), 0);
    return config;
}

/* refusal: a part of the sentence, NULL when it is let in */
static void expect(const struct config *config, const char *calling, const struct tls_facts *facts, const char *refusal)
{
    const char *got = binding_refusal(config, calling, facts);
    if (!refusal != !got || (got && !strstr(got, refusal))) {
        fail_msg("%s with %s: got \"%s\", expected \"%s\"", calling, !facts ? "no TLS" : facts->subject[0] ? facts->subject : "no certificate", got ? got : "welcome",
                 refusal ? refusal : "welcome");
    }
}

static void without_settings_everybody_may_come(void **in)
{
    (void)in;
    struct config *c = settings("");
    expect(c, "CT1", NULL, NULL);
    expect(c, "CT1", &no_certificate, NULL);
    expect(c, "CT1", &certificate_a, NULL);
    config_free(&c);
}

static void tls_may_be_asked_of_all_or_of_one(void **in)
{
    (void)in;
    struct config *c = settings("tls_required = true\n[ae OLD*]\ntls_required = false\n");
    expect(c, "CT1", NULL, "tls_required");
    expect(c, "CT1", &no_certificate, NULL);
    expect(c, "OLD9", NULL, NULL);
    config_free(&c);
}

static void a_title_takes_its_certificates_only(void **in)
{
    (void)in;
    struct config *c = settings("[ae CT1]\ntls_subject = CN=nobody | *,CN=ct1\n[ae CT2]\ntls_subject = DNS:ct1.*\n"
                                "[ae CT3]\ntls_fingerprint = 00, " COLONS_A " ,11\n[ae CT4]\ntls_subject = CN=ct1\n[ae CT5]\ntls_fingerprint = " DIGITS_A "00\n");
    static const char *const right[] = {"CT1", "CT2", "CT3", " CT1 "};
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        expect(c, right[i], &certificate_a, NULL);
        expect(c, right[i], &certificate_b, "none of those in tls_subject and tls_fingerprint");
        expect(c, right[i], &no_certificate, "the peer shows none");
        expect(c, right[i], NULL, "it may come over TLS only");
    }
    expect(c, "CT4", &certificate_a, "none of those"); /* a pattern fits the whole subject or nothing */
    expect(c, "CT5", &certificate_a, "none of those");
    config_free(&c);
}

static void a_named_certificate_takes_its_titles_only(void **in)
{
    (void)in;
    struct config *c = settings("[ae CT*]\ntls_fingerprint = " DIGITS_A "\n[ae PET1]\ntls_fingerprint = " COLONS_A "," DIGITS_B "\n");
    expect(c, "CT1", &certificate_a, NULL);
    expect(c, "PET1", &certificate_a, NULL);
    expect(c, "PET1", &certificate_b, NULL);
    expect(c, "OTHER", &certificate_a, "bound to other AE titles");
    expect(c, "OTHER", &certificate_b, "bound to other AE titles");
    expect(c, "OTHER", &no_certificate, NULL);
    config_free(&c);
}

static void a_list_for_everybody_binds_everybody(void **in)
{
    (void)in;
    struct config *c = settings("tls_subject = O=Hospital,*\n[ae CT1]\ntls_fingerprint = " DIGITS_A "\n");
    struct tls_facts stranger = {.subject = "O=Elsewhere,CN=x", .fingerprint = DIGITS_B};
    expect(c, "ANY", &certificate_b, NULL);
    expect(c, "ANY", &stranger, "none of those");
    expect(c, "ANY", NULL, "it may come over TLS only");
    expect(c, "CT1", &certificate_b, NULL); /* what the section does not set is as for everybody: its subject is allowed */
    config_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_settings_everybody_may_come),    cmocka_unit_test(tls_may_be_asked_of_all_or_of_one),
        cmocka_unit_test(a_title_takes_its_certificates_only),    cmocka_unit_test(a_named_certificate_takes_its_titles_only),
        cmocka_unit_test(a_list_for_everybody_binds_everybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
