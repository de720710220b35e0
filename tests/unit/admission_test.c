/* Tests of receiver/admission: a table of settings and facts, and what each is answered with. */
#include "receiver/door/admission.h"

#include "common/runtime/config.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char settings[] = "maximum_associations = 10\npriority_reserve = 3\nassociations_per_ae = 4\nassociations_per_address = 5\n"
                               "[ae STAT*]\npriority = true\n"
                               "[ae MANY]\nassociations_per_ae = 0\n"
                               "[ae ONE]\nassociations_per_ae = 1\nallowed_addresses = 10.1.0.0/16 2001:db8::7\n";

static struct config *config;

static int load(void **state)
{
    char home[] = "/tmp/admission_test.XXXXXX";
    char path[64];
    struct err e = {0};
    (void)state;
    assert_non_null(mkdtemp(home));
    (void)snprintf(path, sizeof path, "%s/storescp.conf", home);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(settings, f) >= 0);
    assert_int_equal(fclose(f), 0);
    if (config_load(&config, home, &e) != 0) {
        fail_msg("%s", e.text);
    }
    (void)unlink(path);
    (void)rmdir(home);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    config_free(&config);
    return 0;
}

static void each_row_is_answered(void **state)
{
    static const struct {
        const char *calling, *from;
        int open, of_ae, of_address;
        int result, source, reason;
        const char *setting;
    } rows[] = {
        {"CT1", "10.9.0.1", 0, 0, 0, 0, 0, 0, NULL},
        {"CT1", "10.9.0.1", 6, 3, 4, 0, 0, 0, NULL},
        {"CT1", "10.9.0.1", 6, 4, 0, 2, 3, 2, "associations_per_ae"},
        {"CT1", "10.9.0.1", 6, 3, 5, 2, 3, 2, "associations_per_address"},
        {"CT1", "10.9.0.1", 7, 0, 0, 2, 3, 2, "priority_reserve"},
        {"CT1", "10.9.0.1", 10, 0, 0, 2, 3, 2, "maximum_associations"},
        {"STAT1", "10.9.0.1", 7, 0, 0, 0, 0, 0, NULL},
        {"STAT1", "10.9.0.1", 9, 3, 4, 0, 0, 0, NULL},
        {"STAT1", "10.9.0.1", 9, 4, 0, 2, 3, 2, "associations_per_ae"},
        {"STAT1", "10.9.0.1", 10, 0, 0, 2, 3, 2, "maximum_associations"},
        {"MANY", "10.9.0.1", 6, 6, 0, 0, 0, 0, NULL},
        {"MANY", "10.9.0.1", 6, 6, 5, 2, 3, 2, "associations_per_address"},
        {"ONE", "10.1.2.3", 0, 0, 0, 0, 0, 0, NULL},
        {"  ONE ", "10.1.2.3", 1, 1, 0, 2, 3, 2, "associations_per_ae"},
        {"ONE", "::ffff:10.1.2.3", 0, 0, 0, 0, 0, 0, NULL},
        {"ONE", "2001:db8::7", 0, 0, 0, 0, 0, 0, NULL},
        {"ONE", "10.2.0.0", 0, 0, 0, 1, 1, 3, "allowed_addresses"},
        {"ONE", "2001:db8::8", 10, 9, 9, 1, 1, 3, "allowed_addresses"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct admission_facts facts = {.calling = rows[i].calling, .open = rows[i].open, .of_ae = rows[i].of_ae, .of_address = rows[i].of_address};
        struct admission_verdict v;
        assert_true(cidr_read(rows[i].from, &facts.from));
        admission_judge(config, &facts, &v);
        if (v.result != rows[i].result || v.source != rows[i].source || v.reason != rows[i].reason) {
            fail_msg("row %zu: %d/%d/%d", i, v.result, v.source, v.reason);
        }
        if (v.result != 0) {
            assert_string_equal(v.setting, rows[i].setting);
            assert_true(v.sentence[0] != '\0');
            assert_int_equal(v.is_limit, v.result == 2);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_row_is_answered)};
    return cmocka_run_group_tests(tests, load, unload);
}
