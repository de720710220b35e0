/* The providers of credentials, each against a scripted endpoint or program: what is asked, what becomes of wrong, slow and missing answers, when keys are
 * renewed, and that nothing here ever waits. */
#include "common/aws/credentials/credentials.h"
#include "common/runtime/runtime.h"
#include "tests/unit/scripted_server.h"

#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>

static char home[64];
static const char *const names[] = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
                                    "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                    "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                                    "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "AWS_ENDPOINT_URL_STS",
                                    "AWS_ENDPOINT_URL", "STORESCP_AWS_ACCESS_KEY_ID", "http_proxy", "https_proxy"};
static const char *const files[] = {"config", "credentials", "token", "program", "storescp.conf"};

static const char *file(const char *name, const char *text)
{
    static char paths[8][120];
    static int next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", home, name);
    (void)unlink(path);
    if (text) {
        FILE *f = fopen(path, "we");
        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
    }
    return path;
}

static int before_each(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)unsetenv(names[i]);
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        (void)file(files[i], NULL);
    }
    (void)setenv("AWS_SHARED_CREDENTIALS_FILE", file("credentials", NULL), 1);
    (void)setenv("AWS_CONFIG_FILE", file("config", NULL), 1);
    (void)setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    (void)setenv("AWS_REGION", "us-east-1", 1);
    return 0;
}

struct fixture {
    struct config *config;
    struct credentials_source *source;
    const struct credentials *keys;
    struct err e;
};

static void open_source(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    assert_int_equal(config_load(&f->config, home, &f->e), 0);
    struct aws_site site;
    assert_int_equal(aws_site_choose(f->config, &site, &f->e), 0);
    assert_int_equal(credentials_open(&f->source, f->config, &site, &f->e), 0);
}

static void close_source(struct fixture *f)
{
    credentials_close(&f->source);
    config_free(&f->config);
}

static void nap(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    (void)nanosleep(&t, NULL);
}

/* Until a fetch has ended; no single call may take long. */
static int fetched(struct fixture *f)
{
    int64_t longest = 0;
    int64_t begun = clock_mono_ms();
    int rc = credentials_get(f->source, &f->keys, &f->e);
    for (bool over = rc != CREDENTIALS_WAIT; !over && clock_mono_ms() - begun < 20000;) {
        nap(2);
        int64_t now = clock_mono_ms();
        over = credentials_step(f->source);
        int64_t took = clock_mono_ms() - now;
        longest = took > longest ? took : longest;
        rc = over ? credentials_settled(f->source, &f->keys, &f->e) : rc;
    }
    assert_true(longest < 500); /* far above what a step takes, far below any limit of a provider */
    return rc;
}

static void expect(struct fixture *f, int rc, const char *word)
{
    int got = fetched(f);
    if (got != rc || !strstr(rc == 0 ? f->keys->access_key_id : f->e.text, word)) {
        print_error("%d, expected %d and \"%s\": %s\n", got, rc, word, f->e.text);
    }
    assert_int_equal(got, rc);
    assert_non_null(strstr(rc == 0 ? f->keys->access_key_id : f->e.text, word));
    assert_null(strstr(f->e.text, "SECRET"));
    assert_null(strstr(f->e.text, "T0KEN"));
}

static const char *json(const char *id, int seconds, const char *token_name)
{
    static char text[4][600];
    static int next;
    char *out = text[next++ % 4];
    char when[40];
    time_t end = time(NULL) + seconds;
    struct tm parts;
    (void)gmtime_r(&end, &parts);
    (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &parts);
    (void)snprintf(out, sizeof text[0], "HTTP/1.1 200 OK\r\n\r\n{\"Version\": 1, \"Code\": \"Success\", \"AccessKeyId\": \"%s\", \"SecretAccessKey\": \"SECRET\", "
                                        "\"%s\": \"T0KEN\", \"Expiration\": \"%s\"}", id, token_name, when);
    return out;
}

static const char *sts(const char *id, int seconds)
{
    static char text[4][900];
    static int next;
    char *out = text[next++ % 4];
    char when[40];
    time_t end = time(NULL) + seconds;
    struct tm parts;
    (void)gmtime_r(&end, &parts);
    (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S.000Z", &parts);
    (void)snprintf(out, sizeof text[0], "HTTP/1.1 200 OK\r\n\r\n<R xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><X><Credentials><AccessKeyId>%s</AccessKeyId>"
                                        "<SecretAccessKey>SECRET</SecretAccessKey><SessionToken>T0KEN</SessionToken><Expiration>%s</Expiration></Credentials>"
                                        "<AssumedRoleUser><Arn>a</Arn></AssumedRoleUser></X></R>", id, when);
    return out;
}

static const char sts_error[] = "HTTP/1.1 400 Bad\r\n\r\n<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>no</Message></Error></ErrorResponse>";
#define SERVE(script) serve(script, sizeof script / sizeof script[0])

static void at(const char *variable, const char *path)
{
    char url[160];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d%s", server.port, path);
    (void)setenv(variable, url, 1);
}

static void has(const char *text, const char *part)
{
    if (!strcasestr(text, part)) {
        print_error("\"%s\" is not in:\n%s\n", part, text);
    }
    assert_non_null(strcasestr(text, part));
}

static void instance(void)
{
    (void)setenv("AWS_EC2_METADATA_DISABLED", "false", 1);
    at("AWS_EC2_METADATA_SERVICE_ENDPOINT", "/");
}

static const char imds_token[] = "HTTP/1.1 200 OK\r\n\r\nmetadata-token";
static const char imds_role[] = "HTTP/1.1 200 OK\r\n\r\nmy-role\n";
static const char refused_401[] = "HTTP/1.1 401 Unauthorized\r\n\r\n";
static const char missing_404[] = "HTTP/1.1 404 Not Found\r\n\r\nno";
static const char broken_500[] = "HTTP/1.1 500 Error\r\n\r\n";

static void instance_role(void **unused)
{
    const struct answer script[] = {{ANSWER, imds_token, 0}, {ANSWER, imds_role, 0}, {ANSWER, json("ONE", 3600, "Token"), 0},
                                    {ANSWER, refused_401, 0}, {ANSWER, imds_token, 0}, {ANSWER, imds_role, 0}, {ANSWER, json("TWO", 3600, "Token"), 0}};
    struct fixture f;
    (void)unused;
    SERVE(script);
    instance();
    (void)setenv("http_proxy", "http://127.0.0.1:9", 1); /* not for addresses of this machine */
    open_source(&f);
    expect(&f, 0, "ONE");
    assert_string_equal(f.keys->session_token, "T0KEN");
    assert_string_equal(f.keys->origin, "instance role");
    assert_int_equal(strncmp(server.heads[0], "PUT /latest/api/token ", 22), 0);
    has(server.heads[0], "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n");
    assert_int_equal(strncmp(server.heads[1], "GET /latest/meta-data/iam/security-credentials/ ", 48), 0);
    has(server.heads[1], "x-aws-ec2-metadata-token: metadata-token\r\n");
    assert_int_equal(strncmp(server.heads[2], "GET /latest/meta-data/iam/security-credentials/my-role ", 55), 0);
    expect(&f, 0, "ONE");
    assert_int_equal(server.request_count, 3);
    credentials_refused(f.source, "ANOTHER"); /* an answer to a request that was signed with keys of the past */
    expect(&f, 0, "ONE");
    assert_int_equal(server.request_count, 3);
    credentials_refused(f.source, "ONE"); /* the metadata token is still there; a 401 asks for another */
    expect(&f, 0, "TWO");
    assert_int_equal(server.request_count, 7);
    assert_int_equal(strncmp(server.heads[3], "GET ", 4), 0);
    assert_int_equal(strncmp(server.heads[4], "PUT ", 4), 0);
    close_source(&f);
    stop_serving();
}

static void instance_answers_wrongly(void **unused)
{
    static const struct {
        struct answer answers[3];
        size_t count;
        const char *word;
    } cases[] = {
        {{{ANSWER, missing_404, 0}}, 1, "404"}, /* only version 1: it is not used */
        {{{ANSWER, refused_401, 0}}, 1, "refused its own token"},
        {{{ANSWER, "HTTP/1.1 200 OK\r\n\r\nto\nken", 0}}, 1, "no token"},
        {{{ANSWER, imds_token, 0}, {ANSWER, missing_404, 0}}, 2, "attach an instance profile"},
        {{{ANSWER, imds_token, 0}, {ANSWER, "HTTP/1.1 200 OK\r\n\r\n../../x y", 0}}, 2, "names no role"},
        {{{ANSWER, imds_token, 0}, {ANSWER, imds_role, 0}, {ANSWER, "HTTP/1.1 200 OK\r\n\r\n{\"AccessKeyId\": \"A\"", 0}}, 3, "no JSON"},
        {{{ANSWER, imds_token, 0}, {ANSWER, imds_role, 0}, {ANSWER, "HTTP/1.1 200 OK\r\n\r\n{\"AccessKeyId\": \"A\"}", 0}}, 3, "lacks"},
        {{{ANSWER, imds_token, 0}, {ANSWER, imds_role, 0}, {CLOSE_WITHOUT_ANSWER, NULL, 0}}, 3, "no instance metadata"},
        {{{SAY_NOTHING, NULL, 0}}, 1, "no instance metadata"},
    };
    struct fixture f;
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        serve(cases[i].answers, cases[i].count);
        instance();
        open_source(&f);
        int64_t begun = clock_mono_ms();
        expect(&f, ERR_AWS_CREDENTIALS, cases[i].word);
        assert_true(clock_mono_ms() - begun < 4000);
        assert_int_equal(server.request_count, cases[i].count);
        close_source(&f);
        stop_serving();
    }
}

/* The service is in trouble and gives keys that have ended, then says nothing useful: AWS decides whether they count. */
static void keys_outlive_a_provider_that_is_down(void **unused)
{
    const struct answer script[] = {{ANSWER, imds_token, 0}, {ANSWER, imds_role, 0}, {ANSWER, json("OLD", -30, "Token"), 0}, {ANSWER, broken_500, 0}};
    const struct answer short_script[] = {{ANSWER, json("SHORT", 2, "Token"), 0}};
    struct fixture f;
    (void)unused;
    SERVE(script);
    instance();
    open_source(&f);
    expect(&f, 0, "OLD");
    expect(&f, 0, "OLD");
    assert_int_equal(server.request_count, 3); /* it is not asked again at once */
    credentials_refused(f.source, "OLD"); /* but when AWS says no, they are not given again */
    expect(&f, ERR_AWS_SERVER, "500");
    close_source(&f);
    stop_serving();
    before_each(NULL);
    SERVE(short_script); /* then nothing but closed connections */
    at("AWS_CONTAINER_CREDENTIALS_FULL_URI", "/keys");
    open_source(&f);
    expect(&f, 0, "SHORT");
    for (int i = 0; i < 30; i++) { /* the end of the keys comes and goes */
        nap(100);
        (void)fetched(&f);
    }
    expect(&f, 0, "SHORT");
    assert_true(server.request_count > 1);
    close_source(&f);
    stop_serving();
}

static void container_role(void **unused)
{
    const struct answer script[] = {{ANSWER, broken_500, 0}, {ANSWER, json("ONE", 3600, "Token"), 0}, {ANSWER, json("TWO", 3600, "Token"), 0},
                                    {ANSWER, refused_401, 0}};
    struct fixture f;
    (void)unused;
    SERVE(script);
    at("AWS_CONTAINER_CREDENTIALS_FULL_URI", "/v2/keys?x=1");
    (void)setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "not this one", 1);
    (void)setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file("token", "first\n"), 1);
    open_source(&f);
    expect(&f, 0, "ONE"); /* after a second attempt */
    assert_int_equal(strncmp(server.heads[1], "GET /v2/keys?x=1 ", 17), 0);
    has(server.heads[1], "Authorization: first\r\n");
    (void)file("token", "second");
    credentials_refused(f.source, "ONE");
    expect(&f, 0, "TWO");
    has(server.heads[2], "Authorization: second\r\n");
    (void)file("token", "T0KEN\r\nX-Other: y");
    credentials_refused(f.source, "TWO");
    expect(&f, ERR_AWS_CREDENTIALS, "line break");
    (void)file("token", NULL);
    expect(&f, ERR_AWS_CREDENTIALS, "cannot be read");
    assert_int_equal(server.request_count, 3);
    (void)file("token", "third");
    expect(&f, ERR_AWS_CREDENTIALS, "401");
    close_source(&f);
    stop_serving();
}

static void container_addresses(void **unused)
{
    static const struct {
        const char *variable, *value, *word;
    } cases[] = {{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/keys", "only this machine"},
                 {"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.169.254/keys", "only this machine"},
                 {"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1.example.com/keys", "only this machine"},
                 {"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1@example.com/keys", "no URL"},
                 {"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://[fd00:ec2::254]/keys", "only this machine"},
                 {"AWS_CONTAINER_CREDENTIALS_FULL_URI", "ftp://127.0.0.1/keys", "no URL"},
                 {"AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/a\r\nb", "no URL"},
                 {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@example.com/keys", "begin with a slash"}};
    struct fixture f;
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        before_each(NULL);
        (void)setenv(cases[i].variable, cases[i].value, 1);
        open_source(&f);
        expect(&f, ERR_CONFIG, cases[i].word);
        close_source(&f);
    }
}

static void slow_container(void **unused)
{
    static const struct answer script[] = {{SAY_NOTHING, NULL, 0}, {SAY_NOTHING, NULL, 0}, {SAY_NOTHING, NULL, 0}};
    struct fixture f;
    (void)unused;
    SERVE(script);
    at("AWS_CONTAINER_CREDENTIALS_FULL_URI", "/");
    open_source(&f);
    int64_t begun = clock_mono_ms();
    expect(&f, ERR_TIMEOUT, "time limit");
    assert_true(clock_mono_ms() - begun < 9500); /* three times two seconds, and two between */
    assert_int_equal(credentials_get(f.source, &f.keys, &f.e), CREDENTIALS_WAIT);
    close_source(&f); /* in the middle of a fetch */
    stop_serving();
}

static void web_identity(void **unused)
{
    char refused[300];
    char denied[300];
    struct fixture f;
    (void)unused;
    (void)snprintf(refused, sizeof refused, sts_error, "InvalidIdentityToken");
    (void)snprintf(denied, sizeof denied, sts_error, "AccessDenied");
    const struct answer script[] = {{ANSWER, refused, 0}, {ANSWER, sts("ONE", 3600), 0}, {ANSWER, denied, 0},
                                    {ANSWER, "HTTP/1.1 200 OK\r\n\r\n<a><Credentials><AccessKeyId>A</AccessKeyId>", 0},
                                    {ANSWER, "HTTP/1.1 200 OK\r\n\r\n<!DOCTYPE a [<!ENTITY b \"c\">]><a/>", 0}};
    SERVE(script);
    at("AWS_ENDPOINT_URL_STS", "");
    (void)setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file("token", "web/T0KEN=\n"), 1);
    open_source(&f);
    expect(&f, ERR_CONFIG, "AWS_ROLE_ARN");
    (void)setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/a b", 1);
    (void)setenv("AWS_ROLE_SESSION_NAME", "me", 1);
    expect(&f, 0, "ONE");
    assert_int_equal(server.request_count, 2);
    assert_int_equal(strncmp(server.heads[1], "POST / ", 7), 0);
    assert_null(strcasestr(server.heads[1], "authorization:"));
    assert_string_equal(server.bodies[1], "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa%20b&RoleSessionName=me"
                                          "&WebIdentityToken=web%2FT0KEN%3D");
    credentials_refused(f.source, "ONE");
    expect(&f, ERR_AWS_DENIED, "AccessDenied");
    close_source(&f);
    /* a destination that names a profile means that one */
    (void)file("storescp.conf", "[destination other]\naws_profile = other\n");
    (void)file("credentials", "[other]\naws_access_key_id = OTHER\naws_secret_access_key = SECRET\n");
    open_source(&f);
    struct aws_site site;
    const struct config *other = config_destination_named(f.config, "other");
    credentials_close(&f.source);
    assert_int_equal(aws_site_choose(other, &site, &f.e), 0);
    assert_int_equal(credentials_open(&f.source, other, &site, &f.e), 0);
    expect(&f, 0, "OTHER");
    close_source(&f);
    (void)file("storescp.conf", NULL);
    (void)file("credentials", NULL);
    stop_serving();
    static const struct answer wrong[] = {{ANSWER, "HTTP/1.1 200 OK\r\n\r\n<a><Credentials><AccessKeyId>A</AccessKeyId>", 0},
                                          {ANSWER, "HTTP/1.1 200 OK\r\n\r\n<!DOCTYPE a [<!ENTITY b \"c\">]><a/>", 0}, {ANSWER, missing_404, 0}};
    SERVE(wrong);
    at("AWS_ENDPOINT_URL_STS", "");
    open_source(&f);
    expect(&f, ERR_AWS_CREDENTIALS, "404");
    assert_int_equal(server.request_count, 3);
    close_source(&f);
    stop_serving();
}

static void roles_of_a_profile(void **unused)
{
    const struct answer script[] = {{ANSWER, sts("MIDDLE", 3600), 0}, {ANSWER, sts("LAST", 3600), 0}, {ANSWER, sts("SELF", 3600), 0}};
    struct fixture f;
    (void)unused;
    SERVE(script);
    at("AWS_ENDPOINT_URL_STS", "");
    (void)file("config", "[profile work]\nrole_arn = arn:aws:iam::1:role/last\nsource_profile = middle\nexternal_id = x1\nduration_seconds = 900\n"
                         "[profile middle]\nrole_arn = arn:aws:iam::1:role/middle\nsource_profile = base\nrole_session_name = mid\n"
                         "[profile self]\nrole_arn = arn:aws:iam::1:role/self\nsource_profile = self\n"
                         "[profile lost]\nrole_arn = arn:aws:iam::1:role/lost\nsource_profile = nobody\n"
                         "[profile ring]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = gnir\n[profile gnir]\nrole_arn = r\nsource_profile = ring\n"
                         "[profile none]\nrole_arn = arn:aws:iam::1:role/r\n[profile mfa]\nrole_arn = r\nsource_profile = base\nmfa_serial = m\n"
                         "[profile sso]\nsso_session = s\n[profile odd]\nrole_arn = r\ncredential_source = Elsewhere\n");
    (void)file("credentials", "[base]\naws_access_key_id = BASE\naws_secret_access_key = SECRET\n[self]\naws_access_key_id = OWN\naws_secret_access_key = SECRET\n");
    (void)setenv("AWS_PROFILE", "work", 1);
    open_source(&f);
    expect(&f, 0, "LAST");
    assert_string_equal(f.keys->origin, "assumed role");
    has(server.heads[0], "Credential=BASE/");
    has(server.bodies[0], "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fmiddle&RoleSessionName=mid");
    has(server.heads[1], "Credential=MIDDLE/");
    has(server.heads[1], "/us-east-1/sts/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token,");
    has(server.bodies[1], "&ExternalId=x1&DurationSeconds=900");
    close_source(&f);
    (void)setenv("AWS_PROFILE", "self", 1);
    open_source(&f);
    expect(&f, 0, "SELF");
    has(server.heads[2], "Credential=OWN/");
    close_source(&f);
    static const char *const wrong[][2] = {{"lost", "[nobody] is not there"}, {"ring", "more than 4 roles"}, {"none", "needs source_profile"},
                                           {"mfa", "mfa_serial"}, {"sso", "SSO is not supported"}, {"odd", "credential_source is"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        (void)setenv("AWS_PROFILE", wrong[i][0], 1);
        open_source(&f);
        expect(&f, ERR_AWS_CREDENTIALS, wrong[i][1]);
        close_source(&f);
    }
    stop_serving();
}

/* The base of a role may be what the container gives. */
static void role_of_a_container(void **unused)
{
    const struct answer script[] = {{ANSWER, json("TASK", 3600, "Token"), 0}, {ANSWER, sts("ROLE", 3600), 0}};
    struct fixture f;
    (void)unused;
    SERVE(script);
    at("AWS_ENDPOINT_URL_STS", "");
    at("AWS_CONTAINER_CREDENTIALS_FULL_URI", "/task");
    (void)file("config", "[default]\nrole_arn = arn:aws:iam::1:role/r\ncredential_source = EcsContainer\n[profile env]\nrole_arn = r\ncredential_source = Environment\n");
    open_source(&f);
    expect(&f, 0, "ROLE");
    assert_string_equal(f.keys->origin, "assumed role");
    has(server.heads[0], "GET /task HTTP/1.1");
    has(server.heads[1], "Credential=TASK/");
    has(server.heads[1], "x-amz-security-token: T0KEN");
    close_source(&f);
    (void)setenv("AWS_PROFILE", "env", 1);
    open_source(&f);
    expect(&f, ERR_AWS_CREDENTIALS, "credential_source = Environment, and it is not there");
    close_source(&f);
    stop_serving();
}

/* A clock that is an hour off: STS refuses, its Date corrects us, and the next request is right. Only once: a second refusal is the answer. */
static void clock_that_is_off_at_sts(void **unused)
{
    char refused[300];
    char expected[40];
    struct fixture f;
    struct tm parts;
    (void)unused;
    (void)snprintf(refused, sizeof refused, sts_error, "SignatureDoesNotMatch");
    const struct answer script[] = {{ANSWER, refused, 3600}, {ANSWER, sts("RIGHT", 3 * 3600), 3600}, {ANSWER, refused, 3600}, {ANSWER, refused, 3600}};
    SERVE(script);
    at("AWS_ENDPOINT_URL_STS", "");
    (void)file("config", "[default]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = default\n");
    (void)file("credentials", "[default]\naws_access_key_id = BASE\naws_secret_access_key = SECRET\n");
    open_source(&f);
    int64_t begun = clock_mono_ms();
    expect(&f, 0, "RIGHT");
    assert_true(clock_mono_ms() - begun < 900); /* at once, not after the second between two attempts */
    assert_int_equal(server.request_count, 2);
    time_t there = time(NULL) + 3600;
    (void)gmtime_r(&there, &parts);
    (void)strftime(expected, sizeof expected, "x-amz-date: %Y%m%dT%H", &parts);
    has(server.heads[1], expected);
    close_source(&f);
    open_source(&f);
    expect(&f, ERR_AWS_CREDENTIALS, "SignatureDoesNotMatch");
    assert_int_equal(server.request_count, 4);
    close_source(&f);
    stop_serving();
}

static void process_case(const char *program, int rc, const char *word)
{
    struct fixture f;
    char config[400];
    const char *path = file("program", program);
    assert_int_equal(chmod(path, 0700), 0);
    (void)snprintf(config, sizeof config, "[default]\ncredential_process = \"%s\" 'two words' a\\ b\n", path);
    (void)file("config", config);
    (void)file("storescp.conf", "aws_call_s = 1\n");
    open_source(&f);
    expect(&f, rc, word);
    close_source(&f);
}

static void process_of_a_profile(void **unused)
{
    (void)unused;
    process_case("#!/bin/sh\n[ \"$1\" = 'two words' ] && [ \"$2\" = 'a b' ] && echo '{\"Version\": 1, \"AccessKeyId\": \"P1\", \"SecretAccessKey\": \"SECRET\"}'\n", 0, "P1");
    process_case("#!/bin/sh\necho '{\"AccessKeyId\": \"P1\", \"SecretAccessKey\": \"SECRET\"}'\n", ERR_AWS_CREDENTIALS, "Version");
    process_case("#!/bin/sh\necho SECRET; echo SECRET >&2; exit 3\n", ERR_AWS_CREDENTIALS, "exit code 3");
    process_case("#!/bin/sh\nkill -9 $$\n", ERR_AWS_CREDENTIALS, "signal 9");
    process_case("#!/bin/sh\nyes SECRET\n", ERR_AWS_CREDENTIALS, "more than 65535 bytes");
    process_case("#!/bin/sh\nsleep 100\n", ERR_TIMEOUT, "within 1 s");
    process_case("#!/bin/sh\nexec >&-\nsleep 100\n", ERR_TIMEOUT, "within 1 s");
    process_case("#!/no/such/program\n", ERR_AWS_CREDENTIALS, "cannot be started");
}

/* Renewed while they still hold: nobody waits. */
static void renewed_before_the_end(void **unused)
{
    const struct answer script[] = {{ANSWER, json("ONE", 5, "Token"), 0}, {ANSWER, json("TWO", 3600, "Token"), 0}};
    struct fixture f;
    int waits = 0;
    (void)unused;
    SERVE(script);
    at("AWS_CONTAINER_CREDENTIALS_FULL_URI", "/");
    open_source(&f);
    expect(&f, 0, "ONE");
    assert_int_equal(prctl(PR_GET_DUMPABLE), 0);
    int64_t begun = clock_mono_ms();
    while (strcmp(f.keys->access_key_id, "ONE") == 0 && clock_mono_ms() - begun < 8000) {
        waits += credentials_get(f.source, &f.keys, &f.e) != 0;
        nap(10);
    }
    assert_string_equal(f.keys->access_key_id, "TWO");
    assert_true(clock_mono_ms() - begun < 4900);
    assert_int_equal(waits, 0);
    assert_int_equal(server.request_count, 2);
    close_source(&f);
    stop_serving();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(instance_role, before_each),
        cmocka_unit_test_setup(instance_answers_wrongly, before_each),
        cmocka_unit_test_setup(keys_outlive_a_provider_that_is_down, before_each),
        cmocka_unit_test_setup(container_role, before_each),
        cmocka_unit_test_setup(container_addresses, before_each),
        cmocka_unit_test_setup(slow_container, before_each),
        cmocka_unit_test_setup(web_identity, before_each),
        cmocka_unit_test_setup(roles_of_a_profile, before_each),
        cmocka_unit_test_setup(role_of_a_container, before_each),
        cmocka_unit_test_setup(clock_that_is_off_at_sts, before_each),
        cmocka_unit_test_setup(process_of_a_profile, before_each),
        cmocka_unit_test_setup(renewed_before_the_end, before_each),
    };
    (void)snprintf(home, sizeof home, "/tmp/storescp-providers.XXXXXX");
    if (!mkdtemp(home)) {
        return 1;
    }
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    (void)before_each(NULL);
    (void)rmdir(home);
    return rc;
}
