/*
 * tls_test - TLS on one connection, against OpenSSL's client in a thread of this process: bytes, ends and time limits of the transport; and the
 * files: what is read, what is refused in words, what changes the signature, and the way to another process.
 */
#include "common/dicom/tls.h"
#include "common/runtime/runtime.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- certificates ------------------------------------------------------------------------------------------------------------------ */

struct fixture {
    char directory[64], ca[96], leaf[96], key[96];
    X509 *certificate;
    EVP_PKEY *pair;
    struct tls_settings settings;
};

static X509 *sign(EVP_PKEY *key, const char *name, EVP_PKEY *signer, X509 *issuer, long from_s, long until_s)
{
    X509 *x = X509_new();
    assert_non_null(x);
    assert_int_equal(X509_set_version(x, 2), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(x), issuer ? 2 : 1), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(x), from_s));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(x), until_s));
    X509_NAME *subject = X509_get_subject_name(x);
    assert_int_equal(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0), 1);
    assert_int_equal(X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer) : subject), 1);
    assert_int_equal(X509_set_pubkey(x, key), 1);
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer ? issuer : x, x, NULL, NULL, 0);
    X509_EXTENSION *extension = issuer ? X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, "DNS:a.example,IP:10.0.0.7")
                                       : X509V3_EXT_conf_nid(NULL, &ctx, NID_basic_constraints, "critical,CA:TRUE");
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(x, extension, -1), 1);
    X509_EXTENSION_free(extension);
    assert_true(X509_sign(x, signer, EVP_sha256()) > 0);
    return x;
}

static void write_pem(const char *path, X509 *a, X509 *b, EVP_PKEY *key)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(!a || PEM_write_X509(f, a) == 1);
    assert_true(!b || PEM_write_X509(f, b) == 1);
    assert_true(!key || PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static void write_text(const char *path, const void *bytes, size_t count)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, count, f), count);
    assert_int_equal(fclose(f), 0);
}

static int set_up(void **out)
{
    struct fixture *f = calloc(1, sizeof *f);
    EVP_PKEY *signer = EVP_EC_gen("P-256");
    f->pair = EVP_EC_gen("P-256");
    X509 *authority = sign(signer, "authority", signer, NULL, -3600, 86400L * 365);
    f->certificate = sign(f->pair, "leaf", signer, authority, -3600, 86400L * 90);
    (void)snprintf(f->directory, sizeof f->directory, "/tmp/tls_test.XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    (void)snprintf(f->ca, sizeof f->ca, "%s/ca.pem", f->directory);
    (void)snprintf(f->leaf, sizeof f->leaf, "%s/leaf.pem", f->directory);
    (void)snprintf(f->key, sizeof f->key, "%s/leaf.key", f->directory);
    write_pem(f->ca, authority, NULL, NULL);
    write_pem(f->leaf, f->certificate, NULL, NULL);
    write_pem(f->key, NULL, NULL, f->pair);
    (void)snprintf(f->settings.path[TLS_CERTIFICATE], TLS_PATH_SIZE, "%s", f->leaf);
    (void)snprintf(f->settings.path[TLS_KEY], TLS_PATH_SIZE, "%s", f->key);
    (void)snprintf(f->settings.path[TLS_CA], TLS_PATH_SIZE, "%s", f->ca);
    f->settings.profile = TLS_BCP195_ND;
    X509_free(authority);
    EVP_PKEY_free(signer);
    *out = f;
    return 0;
}

static int tear_down(void **in)
{
    struct fixture *f = *in;
    const char *paths[] = {f->ca, f->leaf, f->key};
    for (size_t i = 0; i < 3; i++) {
        (void)unlink(paths[i]);
    }
    (void)rmdir(f->directory);
    X509_free(f->certificate);
    EVP_PKEY_free(f->pair);
    free(f);
    return 0;
}

/* ---- a client ------------------------------------------------------------------------------------------------------------------------ */

struct client {
    struct fixture *f;
    int fd;
    void (*then)(SSL *ssl, int fd);
    bool without_certificate;
    pthread_t thread;
};

static void *run_client(void *arg)
{
    struct client *c = arg;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!c->without_certificate) {
        (void)SSL_CTX_use_certificate(context, c->f->certificate);
        (void)SSL_CTX_use_PrivateKey(context, c->f->pair);
    }
    SSL *ssl = SSL_new(context);
    (void)SSL_set_fd(ssl, c->fd);
    if (SSL_connect(ssl) == 1 && c->then) {
        c->then(ssl, c->fd);
    }
    SSL_free(ssl);
    SSL_CTX_free(context);
    (void)close(c->fd);
    return NULL;
}

struct connection {
    struct client client;
    int fd;
    struct tls *tls;
    struct tls_session *session;
    struct tls_facts facts;
    struct message_transport transport;
};

static int accept_client(struct fixture *f, struct connection *c, void (*then)(SSL *, int), bool without_certificate, struct err *e)
{
    int pair[2];
    struct tls_bundle bundle;
    memset(c, 0, sizeof *c);
    assert_int_equal(tls_files_read(&bundle, &f->settings, NULL, NULL, e), 0);
    assert_int_equal(tls_new(&c->tls, &bundle, &f->settings, e), 0);
    tls_bundle_clear(&bundle);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    c->fd = pair[0];
    c->client = (struct client){.f = f, .fd = pair[1], .then = then, .without_certificate = without_certificate};
    assert_int_equal(pthread_create(&c->client.thread, NULL, run_client, &c->client), 0);
    int rc = tls_accept(&c->session, c->tls, c->fd, 5000, &c->facts, e);
    if (rc == 0) {
        c->transport = tls_transport(c->session);
    }
    return rc;
}

static void end(struct connection *c)
{
    tls_session_free(&c->session);
    (void)close(c->fd);
    (void)pthread_join(c->client.thread, NULL);
    tls_free(&c->tls);
}

/* ---- the connection ------------------------------------------------------------------------------------------------------------------- */

enum { MANY = 3 << 20 };

static unsigned char byte_at(size_t i)
{
    return (unsigned char)(i * 2654435761u >> 24);
}

static void send_many_and_echo_one(SSL *ssl, int fd)
{
    unsigned char part[20000];
    (void)fd;
    for (size_t at = 0, size = 1; at < MANY; at += size) {
        size = size * 7 % sizeof part + 1;
        size = at + size > MANY ? MANY - at : size;
        for (size_t i = 0; i < size; i++) {
            part[i] = byte_at(at + i);
        }
        if (SSL_write(ssl, part, (int)size) <= 0) {
            return;
        }
    }
    if (SSL_read(ssl, part, 1) == 1) {
        (void)SSL_write(ssl, part, 1);
    }
    (void)SSL_shutdown(ssl);
}

static void bytes_come_whole_and_in_order(void **in)
{
    struct connection c;
    struct err e = {0};
    assert_int_equal(accept_client(*in, &c, send_many_and_echo_one, false, &e), 0);
    assert_string_equal(c.facts.version, "TLSv1.3");
    assert_string_equal(c.facts.subject, "CN=leaf");
    assert_string_equal(c.facts.names, "DNS:a.example|IP Address:10.0.0.7");
    assert_int_equal(strlen(c.facts.fingerprint), 64);
    static unsigned char buffer[100000];
    size_t have = 0;
    while (have < MANY) {
        assert_true(tls_wait(c.session, 5000));
        ssize_t n = c.transport.read(c.transport.ctx, buffer, sizeof buffer, 5000);
        assert_true(n > 0);
        for (ssize_t i = 0; i < n; i++) {
            if (buffer[i] != byte_at(have + (size_t)i)) {
                fail_msg("byte %zu is another", have + (size_t)i);
            }
        }
        have += (size_t)n;
    }
    assert_int_equal(have, MANY);
    assert_int_equal(c.transport.write(c.transport.ctx, "x", 1, 5000), 1);
    assert_int_equal(c.transport.read(c.transport.ctx, buffer, sizeof buffer, 5000), 1);
    assert_int_equal(buffer[0], 'x');
    assert_int_equal(c.transport.read(c.transport.ctx, buffer, sizeof buffer, 5000), 0); /* close_notify */
    end(&c);
}

static void leave_without_a_word(SSL *ssl, int fd)
{
    (void)ssl;
    (void)shutdown(fd, SHUT_RDWR);
}

static void an_end_without_close_notify_is_an_end(void **in)
{
    struct connection c;
    struct err e = {0};
    char byte;
    assert_int_equal(accept_client(*in, &c, leave_without_a_word, false, &e), 0);
    assert_int_equal(c.transport.read(c.transport.ctx, &byte, 1, 5000), 0);
    end(&c);
}

static void drip_a_record(SSL *ssl, int fd)
{
    (void)ssl;
    unsigned char record[200] = {23, 3, 3, 0, 195}; /* never comes whole */
    for (size_t i = 0; i < 20; i++) {
        if (send(fd, record + i, 1, MSG_NOSIGNAL) != 1) {
            return;
        }
        (void)usleep(50000);
    }
}

static void a_record_that_drips_is_silence(void **in)
{
    struct connection c;
    struct err e = {0};
    char byte;
    assert_int_equal(accept_client(*in, &c, drip_a_record, false, &e), 0);
    int64_t begun = clock_mono_ms();
    assert_int_equal(c.transport.read(c.transport.ctx, &byte, 1, 300), -1);
    assert_int_equal(errno, ETIMEDOUT);
    assert_in_range(clock_mono_ms() - begun, 290, 800);
    end(&c);
}

static void read_nothing(SSL *ssl, int fd)
{
    (void)ssl;
    (void)fd;
    (void)usleep(700000);
}

static void a_peer_that_does_not_read_stops_a_write_in_time(void **in)
{
    struct connection c;
    struct err e = {0};
    static char much[4 << 20];
    assert_int_equal(accept_client(*in, &c, read_nothing, false, &e), 0);
    int64_t begun = clock_mono_ms();
    assert_int_equal(c.transport.write(c.transport.ctx, much, sizeof much, 300), -1);
    assert_int_equal(errno, ETIMEDOUT);
    assert_in_range(clock_mono_ms() - begun, 290, 800);
    end(&c);
}

static void a_handshake_has_a_limit_in_all(void **in)
{
    struct fixture *f = *in;
    struct connection c = {.fd = -1};
    struct err e = {0};
    struct tls_bundle bundle;
    int pair[2];
    assert_int_equal(tls_files_read(&bundle, &f->settings, NULL, NULL, &e), 0);
    assert_int_equal(tls_new(&c.tls, &bundle, &f->settings, &e), 0);
    tls_bundle_clear(&bundle);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(send(pair[1], "\x16\x03\x01\x01", 4, 0), 4);
    int64_t begun = clock_mono_ms();
    assert_int_equal(tls_accept(&c.session, c.tls, pair[0], 200, &c.facts, &e), ERR_TIMEOUT);
    assert_in_range(clock_mono_ms() - begun, 190, 700);
    (void)close(pair[1]); /* and a peer that leaves in the middle */
    assert_int_equal(tls_accept(&c.session, c.tls, pair[0], 5000, &c.facts, &e), ERR_PROTOCOL);
    assert_non_null(strstr(e.text, "closed the connection within the handshake"));
    assert_null(c.session);
    (void)close(pair[0]);
    tls_free(&c.tls);
}

static void a_peer_without_a_certificate_is_named_so(void **in)
{
    struct fixture *f = *in;
    struct connection c;
    struct err e = {0};
    assert_int_equal(accept_client(f, &c, NULL, true, &e), ERR_PROTOCOL);
    assert_non_null(strstr(e.text, "shows no certificate"));
    end(&c);
    f->settings.client = TLS_CLIENT_REQUEST;
    assert_int_equal(accept_client(f, &c, NULL, true, &e), 0);
    assert_string_equal(c.facts.subject, "");
    end(&c);
}

/* ---- the files -------------------------------------------------------------------------------------------------------------------------- */

static void sentences(void *ctx, bool serious, const char *sentence)
{
    char *all = ctx;
    size_t used = strlen(all);
    (void)snprintf(all + used, 4000 - used, "%s%s\n", serious ? "! " : "", sentence);
}

static void expect_refusal(struct fixture *f, const char *words)
{
    struct tls_bundle bundle;
    struct tls *tls = NULL;
    struct err e = {0};
    int rc = tls_files_read(&bundle, &f->settings, NULL, NULL, &e);
    rc = rc == 0 ? tls_new(&tls, &bundle, &f->settings, &e) : rc;
    tls_free(&tls);
    tls_bundle_clear(&bundle);
    assert_int_equal(rc, ERR_CONFIG);
    if (!strstr(e.text, words)) {
        fail_msg("\"%s\" does not say \"%s\"", e.text, words);
    }
}

static void damaged_files_are_refused_in_words(void **in)
{
    struct fixture *f = *in;
    char bytes[4096];
    FILE *file = fopen(f->leaf, "r");
    assert_non_null(file);
    size_t n = fread(bytes, 1, sizeof bytes, file);
    (void)fclose(file);
    for (size_t cut = 1; cut < n - 26; cut += 37) { /* somebody is just writing it; without END there is no object */
        write_text(f->leaf, bytes, cut);
        struct tls_bundle bundle;
        assert_int_equal(tls_files_read(&bundle, &f->settings, NULL, NULL, NULL), ERR_CONFIG);
        tls_bundle_clear(&bundle);
    }
    write_text(f->leaf, "nothing at all", 14);
    expect_refusal(f, "leaf.pem holds no certificate");
    write_text(f->leaf, "", 0);
    expect_refusal(f, "holds no certificate");
    assert_int_equal(unlink(f->leaf), 0);
    expect_refusal(f, "cannot be read");
    assert_int_equal(mkdir(f->leaf, 0700), 0);
    expect_refusal(f, "cannot be read");
    assert_int_equal(rmdir(f->leaf), 0);
    EVP_PKEY *weak = EVP_RSA_gen(1024);
    X509 *certificate = sign(weak, "weak", weak, NULL, -3600, 86400);
    write_pem(f->leaf, certificate, NULL, weak);
    (void)snprintf(f->settings.path[TLS_KEY], TLS_PATH_SIZE, "%s", f->leaf); /* both in one file */
    expect_refusal(f, "too short");
    X509_free(certificate);
    EVP_PKEY_free(weak);
}

static void dates_and_modes_are_told(void **in)
{
    struct fixture *f = *in;
    static const struct {
        long from_s, until_s;
        mode_t mode;
        const char *says;
        bool is_valid;
    } cases[] = {{-3600, 86400L * 31, 0600, NULL, true},
                 {-3600, 86400L * 29, 0600, "expires on", true},
                 {-86400, -60, 0600, "! tls_certificate", false},
                 {3600, 86400L * 90, 0600, "valid only from", false},
                 {-3600, 86400L * 90, 0640, "chmod 600", true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char said[4000] = "";
        struct tls_bundle bundle;
        struct err e = {0};
        X509 *certificate = sign(f->pair, "dates", f->pair, NULL, cases[i].from_s, cases[i].until_s);
        write_pem(f->leaf, certificate, NULL, NULL);
        X509_free(certificate);
        assert_int_equal(chmod(f->key, cases[i].mode), 0);
        assert_int_equal(tls_files_read(&bundle, &f->settings, sentences, said, &e), 0);
        assert_int_equal(bundle.is_valid_now, cases[i].is_valid);
        if (cases[i].says ? !strstr(said, cases[i].says) : said[0] != '\0') {
            fail_msg("case %zu: \"%s\"", i, said);
        }
        tls_bundle_clear(&bundle);
    }
}

static void der_and_directories_are_read(void **in)
{
    struct fixture *f = *in;
    struct tls_bundle bundle;
    struct err e = {0};
    unsigned char *der = NULL;
    int n = i2d_X509(f->certificate, &der);
    write_text(f->leaf, der, (size_t)n);
    assert_int_equal(tls_files_read(&bundle, &f->settings, NULL, NULL, &e), 0);
    assert_int_equal(bundle.length[TLS_CERTIFICATE], n);
    assert_memory_equal(bundle.bytes[TLS_CERTIFICATE], der, (size_t)n);
    size_t of_one = bundle.length[TLS_CA];
    tls_bundle_clear(&bundle);
    OPENSSL_free(der);
    char said[4000] = "";
    (void)snprintf(f->settings.path[TLS_CA], TLS_PATH_SIZE, "%s", f->directory); /* it holds a key, too, which is told and left out */
    assert_int_equal(tls_files_read(&bundle, &f->settings, sentences, said, &e), 0);
    assert_int_equal(bundle.length[TLS_CA], of_one + (size_t)n);
    assert_non_null(strstr(said, "leaf.key holds no certificate; the file is not used"));
    tls_bundle_clear(&bundle);
}

static void the_signature_sees_every_change(void **in)
{
    struct fixture *f = *in;
    uint64_t before = tls_files_signature(&f->settings);
    assert_true(before == tls_files_signature(&f->settings));
    write_text(f->key, "x", 1);
    uint64_t written = tls_files_signature(&f->settings);
    assert_true(written != before);
    assert_int_equal(unlink(f->key), 0);
    uint64_t gone = tls_files_signature(&f->settings);
    assert_true(gone != written);
    (void)snprintf(f->settings.path[TLS_CA], TLS_PATH_SIZE, "%s", f->directory);
    uint64_t directory = tls_files_signature(&f->settings);
    write_pem(f->ca, f->certificate, NULL, NULL); /* a file in a directory, in place */
    assert_true(tls_files_signature(&f->settings) != directory);
}

static void a_bundle_goes_to_another_process_and_stays_as_it_is(void **in)
{
    struct fixture *f = *in;
    struct tls_bundle bundle;
    struct tls_bundle back;
    struct err e = {0};
    int fd = -1;
    assert_int_equal(tls_files_read(&bundle, &f->settings, NULL, NULL, &e), 0);
    assert_int_equal(tls_bundle_share(&bundle, &fd, &e), 0);
    assert_int_equal(write(fd, "x", 1), -1);
    assert_int_equal(ftruncate(fd, 10), -1);
    for (int round = 0; round < 2; round++) { /* many processes read the same file */
        assert_int_equal(tls_bundle_take(&back, fd, &e), 0);
        for (size_t i = 0; i < TLS_PARTS; i++) {
            assert_int_equal(back.length[i], bundle.length[i]);
            assert_true(bundle.length[i] == 0 || memcmp(back.bytes[i], bundle.bytes[i], bundle.length[i]) == 0);
        }
        tls_bundle_clear(&back);
    }
    (void)close(fd);
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(tls_bundle_take(&back, fd, &e), ERR_IO);
    (void)close(fd);
    tls_bundle_clear(&bundle);
}

int main(void)
{
#define WITH_FILES(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_FILES(bytes_come_whole_and_in_order),
        WITH_FILES(an_end_without_close_notify_is_an_end),
        WITH_FILES(a_record_that_drips_is_silence),
        WITH_FILES(a_peer_that_does_not_read_stops_a_write_in_time),
        WITH_FILES(a_handshake_has_a_limit_in_all),
        WITH_FILES(a_peer_without_a_certificate_is_named_so),
        WITH_FILES(damaged_files_are_refused_in_words),
        WITH_FILES(dates_and_modes_are_told),
        WITH_FILES(der_and_directories_are_read),
        WITH_FILES(the_signature_sees_every_change),
        WITH_FILES(a_bundle_goes_to_another_process_and_stays_as_it_is),
    };
    (void)signal(SIGPIPE, SIG_IGN); /* as in every process of the receiver */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
