/* ini_file and credentials: the shared files of the AWS SDKs, rotated while we run, and lines far longer than libinih's 200 bytes (it cut a session
 * token of 900 characters to 191 and said nothing). */
#include "common/aws/credentials/credentials.h"
#include "common/runtime/ini_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static char directory[64];

static const char *file(const char *name, const char *text)
{
    static char path[4][160];
    static int next;
    char *p = path[next++ % 4];
    (void)snprintf(p, sizeof path[0], "%s/%s", directory, name);
    (void)unlink(p); /* a new inode, as a careful writer's rename makes it */
    if (text) {
        FILE *f = fopen(p, "we");
        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
    }
    return p;
}

static int set_up(void **unused)
{
    (void)unused;
    (void)snprintf(directory, sizeof directory, "/tmp/storescp-credentials.XXXXXX");
    static const char *const names[] = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
                                        "STORESCP_AWS_ACCESS_KEY_ID", "STORESCP_AWS_SECRET_ACCESS_KEY", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)unsetenv(names[i]);
    }
    (void)setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **unused)
{
    (void)unused;
    static const char *const names[] = {"a", "c", "credentials", "config", "storescp.conf"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)file(names[i], NULL);
    }
    return rmdir(directory);
}

static int collect(void *ctx, const struct ini_line *line)
{
    char *all = ctx;
    size_t used = strlen(all);
    (void)snprintf(all + used, 4000 - used, "%d[%s]%s%s=%s|", line->number, line->section, line->nested ? ">" : "", line->name, line->value);
    return strcmp(line->name, "stop") == 0 ? 7 : 0;
}

static void lines_of_a_file(void **unused)
{
    char all[4000] = "";
    int bad = -1;
    struct err e;
    (void)unused;
    const char *path = file("a", "\xef\xbb\xbf" "first = 1\r\n\n# comment\n; comment\n[ s ] \nname=a=b\ncolour : red ; said so\nkey = x#y;z # c\nempty =\n  nested = 2\n"
                                 "s3 =\nlast = end");
    assert_int_equal(ini_file_read(path, collect, all, &bad, &e), 0);
    assert_string_equal(all, "1[]first=1|6[s]name=a=b|7[s]colour=red|8[s]key=x#y;z|9[s]empty=|10[s]>nested=2|11[s]s3=|12[s]last=end|");
    assert_int_equal(bad, 0);
    all[0] = '\0';
    path = file("a", "a = 1\nwhat is this\nb = 2\n[open\n= 3\n");
    assert_int_equal(ini_file_read(path, collect, all, &bad, &e), ERR_PROTOCOL);
    assert_int_equal(bad, 2);
    assert_string_equal(all, "1[]a=1|3[]b=2|"); /* what can be read is read */
    all[0] = '\0';
    assert_int_equal(ini_file_read(file("a", "a=1\nstop=1\nb=2\n"), collect, all, &bad, &e), 7);
    assert_string_equal(all, "1[]a=1|2[]stop=1|");
    assert_int_equal(ini_file_read(file("a", NULL), collect, all, &bad, &e), ERR_NOT_FOUND);
    /* a line of 40,000 bytes is refused whole, the next one is read */
    char *text = malloc(50000);
    assert_non_null(text);
    memset(text, 'x', 40000);
    (void)snprintf(text + 40000, 100, "\nafter = 1\n");
    memcpy(text, "long = ", 7);
    all[0] = '\0';
    assert_int_equal(ini_file_read(file("a", text), collect, all, &bad, &e), ERR_PROTOCOL);
    assert_int_equal(bad, 1);
    assert_string_equal(all, "2[]after=1|");
    free(text);
    /* zero bytes, as a disk leaves them that died: no line of them is a setting, nor is a file of nothing else an empty one */
    static const char damaged[] = "a = 1\nb = 2\0 and more\nc = 3\n\0\0\0";
    const char *name = file("a", "");
    const size_t sizes[] = {sizeof damaged - 1, 1, 4096, 32766, 32767, 32768, 70000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *bytes = calloc(1, 70000);
        FILE *f = fopen(name, "we");
        assert_true(f && bytes);
        memcpy(bytes, damaged, i == 0 ? sizes[0] : 0);
        assert_int_equal(fwrite(bytes, 1, sizes[i], f), sizes[i]);
        assert_int_equal(fclose(f), 0);
        free(bytes);
        all[0] = '\0';
        assert_int_equal(ini_file_read(name, collect, all, &bad, &e), ERR_PROTOCOL);
        assert_int_equal(bad, i == 0 ? 2 : 1);
        assert_string_equal(all, i == 0 ? "1[]a=1|3[]c=3|" : "");
    }
}

static void profiles(void **unused)
{
    struct credentials c;
    struct err e;
    char text[3000];
    char token[1001];
    (void)unused;
    memset(token, 'T', 1000);
    token[1000] = '\0';
    (void)snprintf(text, sizeof text, "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = secret/+=\n\n[other]\n"
                                      "aws_access_key_id=AKIAOTHER\naws_secret_access_key=s2\naws_session_token = %s\n[half]\naws_access_key_id = A\n", token);
    const char *keys = file("c", text);
    const char *config = file("a", "[default]\nregion = eu-west-1\n[profile third]\naws_access_key_id = AKIATHIRD\naws_secret_access_key = s3\n"
                                   "s3 =\n  aws_access_key_id = NESTED\n[other]\naws_access_key_id = no\n");
    assert_int_equal(credentials_from_files(keys, config, "default", &c, &e), 1);
    assert_string_equal(c.access_key_id, "AKIADEFAULT");
    assert_string_equal(c.secret_access_key, "secret/+=");
    assert_string_equal(c.session_token, "");
    assert_int_equal(credentials_from_files(keys, config, "other", &c, &e), 1);
    assert_string_equal(c.session_token, token);
    assert_int_equal(credentials_from_files(keys, config, "third", &c, &e), 1);
    assert_string_equal(c.access_key_id, "AKIATHIRD");
    assert_int_equal(credentials_from_files(keys, config, "nobody", &c, &e), 0);
    assert_int_equal(credentials_from_files(keys, config, "half", &c, &e), ERR_AWS_CREDENTIALS);
    assert_null(strstr(e.text, "secret/"));
    assert_int_equal(credentials_from_files("", "", "default", &c, &e), 0);
}

static void keys_rotated_under_a_running_stage(void **unused)
{
    struct config *config = NULL;
    struct credentials_source *s = NULL;
    const struct credentials *c = NULL;
    const struct aws_site site = {.region = "us-east-1"};
    struct err e;
    (void)unused;
    const char *path = file("credentials", NULL);
    (void)setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
    (void)setenv("AWS_CONFIG_FILE", file("config", NULL), 1);
    assert_int_equal(config_load(&config, directory, &e), 0);
    assert_int_equal(credentials_open(&s, config, &site, &e), 0); /* none yet: no error here */
    assert_int_equal(credentials_get(s, &c, &e), ERR_AWS_CREDENTIALS);
    assert_non_null(strstr(e.text, path));
    (void)file("credentials", "[default]\naws_access_key_id = ONE\naws_secret_access_key = s1\n");
    assert_int_equal(credentials_get(s, &c, &e), 0);
    assert_string_equal(c->access_key_id, "ONE");
    (void)file("credentials", "[default]\naws_access_key_id = TWO\naws_secret_access_key = s2\n");
    credentials_refused(s, "ONE"); /* AWS said no: look again at once */
    assert_int_equal(credentials_get(s, &c, &e), 0);
    assert_string_equal(c->access_key_id, "TWO");
    (void)file("credentials", "[default]\naws_access_key_id = THREE\naws_secret_access_key = s3\n");
    struct timespec second = {1, 100000000};
    (void)nanosleep(&second, NULL);
    assert_int_equal(credentials_get(s, &c, &e), 0);
    assert_string_equal(c->access_key_id, "THREE");
    credentials_close(&s);
    config_free(&config);
    /* settings win over files; half a key is refused at the start */
    (void)setenv("AWS_ACCESS_KEY_ID", "ENVIRONMENT", 1);
    assert_int_equal(config_load(&config, directory, &e), 0);
    assert_int_equal(credentials_open(&s, config, &site, &e), ERR_CONFIG);
    assert_non_null(strstr(e.text, "aws_secret_access_key"));
    config_free(&config);
    (void)setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
    assert_int_equal(config_load(&config, directory, &e), 0);
    assert_int_equal(credentials_open(&s, config, &site, &e), 0);
    assert_int_equal(credentials_get(s, &c, &e), 0);
    assert_string_equal(c->access_key_id, "ENVIRONMENT");
    credentials_close(&s);
    config_free(&config);
}

static void long_settings_are_whole_and_lines_are_named(void **unused)
{
    struct config *config = NULL;
    struct err e;
    char text[3000];
    (void)unused;
    (void)unsetenv("AWS_ACCESS_KEY_ID");
    (void)unsetenv("AWS_SECRET_ACCESS_KEY");
    int n = snprintf(text, sizeof text, "# where\nscp_port = 104\naws_session_token = ");
    memset(text + n, 'T', 1500);
    (void)snprintf(text + n + 1500, 100, "\nbatch_max_count = 0\n");
    (void)file("storescp.conf", text);
    assert_int_equal(config_load(&config, directory, &e), ERR_CONFIG);
    assert_int_equal(strlen(config_text(config, CFG_SESSION_TOKEN)), 1500);
    assert_int_equal(config_int(config, CFG_SCP_PORT), 104);
    assert_string_equal(config_origin(config, CFG_SCP_PORT), "storescp.conf line 2");
    assert_non_null(strstr(config_problem(config, 0), "batch_max_count (storescp.conf line 4)"));
    assert_null(config_problem(config, 1));
    config_free(&config);
    (void)file("storescp.conf", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_a_file),
        cmocka_unit_test(profiles),
        cmocka_unit_test(keys_rotated_under_a_running_stage),
        cmocka_unit_test(long_settings_are_whole_and_lines_are_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
