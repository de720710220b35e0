/* tls - see tls.h. */
#include "common/dicom/tls.h"

#include "common/dicom/wire.h"
#include "common/runtime/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READ_AHEAD_BYTES = 128 << 10, CHAIN_DEPTH_MAX = 8, NAMED_CA_MAX = 100 };

/* PS3.15 annex B.9 to B.11 by way of RFC 7525; the fast key exchange first. */
#define MODERN "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:" \
               "DHE-RSA-AES256-GCM-SHA384:DHE-RSA-AES128-GCM-SHA256"
/* What the extended profile adds for TLS 1.2, and what the downgrading one keeps of the AES profile. */
#define EXTENDED ":ECDHE-ECDSA-AES256-CCM:ECDHE-ECDSA-AES128-CCM:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:DHE-RSA-AES256-CCM:DHE-RSA-AES128-CCM"
#define OLDER ":AES128-SHA"

struct tls {
    SSL_CTX *context;
};

struct tls_session {
    SSL *ssl;
    int fd;
    int verify_code; /* of the first certificate of the peer's chain that was not accepted, else X509_V_OK */
    struct tls_facts *facts; /* during the handshake */
};

/* ---- the context -------------------------------------------------------------------------------------------------------------------- */

static void note_certificate(struct tls_facts *f, X509 *certificate);

/* The list that would say something about a CA, and that is not there or not to be judged. Many CAs publish one for their leaves only; and
 * who issued a CA that is trusted as it stands in tls_ca may be unknown. */
static bool is_no_list_of_a_ca(X509_STORE_CTX *store, int code)
{
    int depth = X509_STORE_CTX_get_error_depth(store);
    bool is_anchor = depth == sk_X509_num(X509_STORE_CTX_get0_chain(store)) - 1;
    return depth > 0 && (code == X509_V_ERR_UNABLE_TO_GET_CRL ||
                         (is_anchor && (code == X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER || code == X509_V_ERR_CRL_SIGNATURE_FAILURE)));
}

/* Called for every certificate of a chain and for every trouble with one. */
static int on_verify(int ok, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_session *s = SSL_get_app_data(ssl);
    int code = X509_STORE_CTX_get_error(store);
    if (X509_STORE_CTX_get_error_depth(store) == 0 || !ok) {
        X509 *leaf = X509_STORE_CTX_get0_cert(store);
        if (leaf && s->facts && !s->facts->subject[0]) {
            note_certificate(s->facts, leaf);
        }
    }
    if (!ok && is_no_list_of_a_ca(store, code)) {
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return 1;
    }
    if (!ok && s->verify_code == X509_V_OK) {
        s->verify_code = code;
    }
    return ok;
}

static int from_openssl(struct err *e, const char *what)
{
    char text[160];
    ERR_error_string_n(ERR_peek_error(), text, sizeof text);
    ERR_clear_error();
    return err_set(e, ERR_CONFIG, 0, "%s: %s", what, text);
}

static int use_own(SSL_CTX *c, const struct tls_bundle *b, struct err *e)
{
    const unsigned char *p = b->bytes[TLS_CERTIFICATE];
    const unsigned char *end = p + b->length[TLS_CERTIFICATE];
    for (bool is_leaf = true; p < end; is_leaf = false) {
        X509 *certificate = d2i_X509(NULL, &p, (long)(end - p));
        int ok = certificate && (is_leaf ? SSL_CTX_use_certificate(c, certificate) == 1 : SSL_CTX_add1_chain_cert(c, certificate) == 1);
        int reason = ERR_GET_REASON(ERR_peek_error());
        X509_free(certificate);
        if (!ok) {
            return reason == SSL_R_EE_KEY_TOO_SMALL  ? err_set(e, ERR_CONFIG, 0, "tls_certificate: its key is too short, RSA needs 2048 bits at least: get a new one")
                   : reason == SSL_R_CA_MD_TOO_WEAK ? err_set(e, ERR_CONFIG, 0, "tls_certificate: signed with a hash that is no longer safe (MD5 or SHA-1): get a new one")
                                                    : from_openssl(e, "tls_certificate cannot be used");
        }
    }
    p = b->bytes[TLS_KEY];
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &p, (long)b->length[TLS_KEY]);
    int ok = key && SSL_CTX_use_PrivateKey(c, key) == 1;
    EVP_PKEY_free(key);
    return ok ? 0 : from_openssl(e, "tls_key cannot be used");
}

/* Is there a CA whose issuer is not there? It is trusted as it is, and so is a peer's own certificate. Otherwise chains go up to their root. */
static bool has_loose_end(STACK_OF(X509) *all)
{
    for (int i = 0; i < sk_X509_num(all); i++) {
        bool has_issuer = false;
        for (int k = 0; !has_issuer && k < sk_X509_num(all); k++) { /* itself, if it is a root */
            has_issuer = X509_check_issued(sk_X509_value(all, k), sk_X509_value(all, i)) == X509_V_OK;
        }
        if (!has_issuer) {
            return true;
        }
    }
    return false;
}

static int use_authorities(SSL_CTX *c, const struct tls_bundle *b, bool *loose, struct err *e)
{
    X509_STORE *store = SSL_CTX_get_cert_store(c);
    STACK_OF(X509) *all = sk_X509_new_null();
    const unsigned char *p = b->bytes[TLS_CA];
    const unsigned char *end = p + b->length[TLS_CA];
    bool ok = all != NULL;
    while (ok && p < end) {
        X509 *certificate = d2i_X509(NULL, &p, (long)(end - p));
        ok = certificate && X509_STORE_add_cert(store, certificate) == 1;
        if (ok && sk_X509_num(all) < NAMED_CA_MAX) { /* peers with several certificates choose by these names */
            ok = SSL_CTX_add_client_CA(c, certificate) == 1;
        }
        if (!ok || sk_X509_push(all, certificate) == 0) {
            X509_free(certificate);
            ok = false;
        }
    }
    *loose = ok && has_loose_end(all);
    sk_X509_pop_free(all, X509_free);
    return ok ? 0 : from_openssl(e, "tls_ca cannot be used");
}

static int use_trusted(SSL_CTX *c, const struct tls_bundle *b, struct err *e)
{
    bool loose = false;
    int rc = use_authorities(c, b, &loose, e);
    const unsigned char *p = b->bytes[TLS_CRL];
    const unsigned char *end = p + b->length[TLS_CRL];
    while (rc == 0 && p < end) {
        X509_CRL *list = d2i_X509_CRL(NULL, &p, (long)(end - p));
        if (!list || X509_STORE_add_crl(SSL_CTX_get_cert_store(c), list) != 1) {
            rc = from_openssl(e, "tls_crl cannot be used");
        }
        X509_CRL_free(list);
    }
    unsigned long flags = (loose ? X509_V_FLAG_PARTIAL_CHAIN : 0) | (b->length[TLS_CRL] ? X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL : 0);
    return rc != 0 || X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(c), flags) == 1 ? rc : from_openssl(e, "tls_ca cannot be used");
}

static int use_rules(SSL_CTX *c, const struct tls_settings *s, struct err *e)
{
    static const char *const suites[] = {[TLS_BCP195] = MODERN OLDER, [TLS_BCP195_ND] = MODERN, [TLS_BCP195_EXTENDED] = MODERN EXTENDED};
    int highest = s->profile == TLS_BCP195_EXTENDED ? TLS1_2_VERSION : TLS1_3_VERSION;
    int mode = s->client == TLS_CLIENT_NONE ? SSL_VERIFY_NONE : s->client == TLS_CLIENT_REQUEST ? SSL_VERIFY_PEER
                                                                                               : SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_num_tickets(c, 0);
    SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(c, 1); /* one system call for several records */
    SSL_CTX_set_default_read_buffer_len(c, READ_AHEAD_BYTES);
    SSL_CTX_set_verify(c, mode, on_verify);
    SSL_CTX_set_verify_depth(c, CHAIN_DEPTH_MAX);
    bool ok = SSL_CTX_set_min_proto_version(c, s->only_13 ? TLS1_3_VERSION : TLS1_2_VERSION) == 1 && SSL_CTX_set_max_proto_version(c, highest) == 1 &&
              SSL_CTX_set_cipher_list(c, suites[s->profile]) == 1 && SSL_CTX_set_dh_auto(c, 1) == 1;
    return ok ? 0 : from_openssl(e, "tls_profile cannot be used");
}

int tls_new(struct tls **out, const struct tls_bundle *bundle, const struct tls_settings *settings, struct err *e)
{
    struct tls *t = calloc(1, sizeof *t);
    if (!t) {
        return err_set(e, ERR_MEMORY, 0, "TLS");
    }
    ERR_clear_error();
    t->context = SSL_CTX_new(TLS_server_method());
    int rc = t->context ? use_rules(t->context, settings, e) : from_openssl(e, "TLS cannot be used");
    rc = rc == 0 ? use_own(t->context, bundle, e) : rc;
    rc = rc == 0 ? use_trusted(t->context, bundle, e) : rc;
    if (rc != 0) {
        tls_free(&t);
        return rc;
    }
    *out = t;
    return 0;
}

void tls_free(struct tls **t)
{
    if (*t) {
        SSL_CTX_free((*t)->context);
        free(*t);
        *t = NULL;
    }
}

/* ---- the peer's certificate ---------------------------------------------------------------------------------------------------------- */

static void note_names(struct tls_facts *f, X509 *certificate)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    size_t used = 0;
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
        BIO *memory = BIO_new(BIO_s_mem());
        char *text = NULL;
        long n = memory && GENERAL_NAME_print(memory, sk_GENERAL_NAME_value(names, i)) == 1 ? BIO_get_mem_data(memory, &text) : 0;
        /* whole names only: a cut one could be taken for another's. The separator cannot be smuggled in either. */
        if (n > 0 && used + (size_t)n + 2 < sizeof f->names && !memchr(text, '|', (size_t)n)) {
            used += (size_t)snprintf(f->names + used, sizeof f->names - used, "%s%.*s", used ? "|" : "", (int)n, text);
        }
        BIO_free(memory);
    }
    GENERAL_NAMES_free(names);
}

static void note_certificate(struct tls_facts *f, X509 *certificate)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    BIO *memory = BIO_new(BIO_s_mem());
    char *text = NULL;
    if (memory && X509_NAME_print_ex(memory, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
        long n = BIO_get_mem_data(memory, &text);
        if (n > 0 && n < (long)sizeof f->subject) { /* a cut subject would be another's */
            (void)snprintf(f->subject, sizeof f->subject, "%.*s", (int)n, text);
        }
    }
    BIO_free(memory);
    if (!f->subject[0]) {
        (void)snprintf(f->subject, sizeof f->subject, "(none or too long)");
    }
    if (X509_digest(certificate, EVP_sha256(), digest, &length) == 1 && length == 32) {
        for (unsigned i = 0; i < length; i++) {
            (void)snprintf(f->fingerprint + 2 * (size_t)i, 3, "%02x", digest[i]);
        }
    }
    note_names(f, certificate);
}

/* ---- one connection -------------------------------------------------------------------------------------------------------------------- */

/* After a call that wants more: waits for it. False with errno (ETIMEDOUT) when it does not come until the deadline. */
static bool wait_for(int fd, int wanted, int64_t deadline)
{
    struct pollfd p = {fd, wanted == SSL_ERROR_WANT_WRITE ? POLLOUT : POLLIN, 0};
    int64_t left = deadline - clock_mono_ms();
    int n;
    do {
        n = left > 0 ? poll(&p, 1, left > INT_MAX ? INT_MAX : (int)left) : 0;
        left = deadline - clock_mono_ms();
    } while (n == -1 && errno == EINTR);
    if (n == 0) {
        errno = ETIMEDOUT;
    }
    return n > 0;
}

static int explain(const struct tls_session *s, int sslerror, int sys, struct err *e)
{
    unsigned long code = ERR_peek_last_error();
    int reason = ERR_GET_REASON(code);
    const char *words = s->verify_code != X509_V_OK ? tls_verify_words(s->verify_code) : code ? tls_handshake_words(reason) : NULL;
    char text[160];
    if (sslerror == SSL_ERROR_SYSCALL && !code) {
        return err_set(e, ERR_NETWORK, sys, "%s", sys ? "the connection broke within the handshake" : tls_handshake_words(SSL_R_UNEXPECTED_EOF_WHILE_READING));
    }
    if (!words && s->verify_code != X509_V_OK) {
        words = X509_verify_cert_error_string(s->verify_code);
    }
    if (!words) {
        const char *told = code ? ERR_reason_error_string(code) : NULL;
        (void)snprintf(text, sizeof text, "the handshake failed: %s", told ? told : "unknown reason");
        words = text;
    }
    return err_set(e, ERR_PROTOCOL, 0, "%s", words);
}

int tls_accept(struct tls_session **out, struct tls *t, int fd, int timeout_ms, struct tls_facts *facts, struct err *e)
{
    memset(facts, 0, sizeof *facts);
    int64_t deadline = clock_mono_ms() + timeout_ms;
    struct tls_session *s = calloc(1, sizeof *s);
    int flags = fcntl(fd, F_GETFL);
    int rc = 0;
    if (s) {
        *s = (struct tls_session){.ssl = SSL_new(t->context), .fd = fd, .facts = facts};
    }
    if (!s || !s->ssl || SSL_set_fd(s->ssl, fd) != 1 || SSL_set_app_data(s->ssl, s) != 1 || flags == -1 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1) {
        rc = err_set(e, ERR_MEMORY, 0, "TLS connection");
    }
    while (rc == 0) {
        ERR_clear_error();
        errno = 0;
        int done = SSL_accept(s->ssl);
        int sys = errno;
        if (done == 1) {
            break;
        }
        int wanted = SSL_get_error(s->ssl, done);
        if (wanted != SSL_ERROR_WANT_READ && wanted != SSL_ERROR_WANT_WRITE) {
            rc = explain(s, wanted, sys, e);
        } else if (!wait_for(fd, wanted, deadline)) {
            rc = err_set(e, ERR_TIMEOUT, errno, "the handshake did not end within acse_timeout");
        }
    }
    ERR_clear_error();
    if (rc != 0) {
        tls_session_free(&s);
        return rc;
    }
    (void)snprintf(facts->version, sizeof facts->version, "%s", SSL_get_version(s->ssl));
    (void)snprintf(facts->cipher, sizeof facts->cipher, "%s", SSL_CIPHER_standard_name(SSL_get_current_cipher(s->ssl)));
    s->facts = NULL;
    *out = s;
    return 0;
}

bool tls_wait(struct tls_session *s, int timeout_ms)
{
    return SSL_has_pending(s->ssl) || wait_for(s->fd, SSL_ERROR_WANT_READ, clock_mono_ms() + timeout_ms);
}

/* The result of a read or write that did not do its work: true to try again; else errno says why not, 0 for the peer's orderly end. */
static bool try_again(struct tls_session *s, int result, int64_t deadline)
{
    int sys = errno;
    int wanted = SSL_get_error(s->ssl, result);
    if (wanted == SSL_ERROR_WANT_READ || wanted == SSL_ERROR_WANT_WRITE) {
        return wait_for(s->fd, wanted, deadline);
    }
    bool is_end = wanted == SSL_ERROR_ZERO_RETURN || (wanted == SSL_ERROR_SSL && ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING);
    errno = is_end ? 0 : wanted == SSL_ERROR_SYSCALL && sys ? sys : EPROTO;
    return false;
}

static ssize_t transport_read(void *ctx, void *buffer, size_t size, int timeout_ms)
{
    struct tls_session *s = ctx;
    const int64_t deadline = clock_mono_ms() + timeout_ms;
    for (;;) {
        ERR_clear_error();
        if (!SSL_has_pending(s->ssl)) {
            wire_acknowledge_soon(s->fd);
        }
        errno = 0;
        int n = SSL_read(s->ssl, buffer, size > INT_MAX ? INT_MAX : (int)size);
        if (n > 0) {
            return n;
        }
        if (!try_again(s, n, deadline)) {
            /* whether the end was orderly on the level of TLS is of no weight: DICOM says itself where a message ends */
            return errno == 0 ? 0 : -1;
        }
    }
}

static ssize_t transport_write(void *ctx, const void *bytes, size_t count, int timeout_ms)
{
    struct tls_session *s = ctx;
    const int64_t deadline = clock_mono_ms() + timeout_ms;
    for (;;) {
        ERR_clear_error();
        errno = 0;
        int n = SSL_write(s->ssl, bytes, (int)count); /* all of it: partial writes are not enabled */
        if (n > 0) {
            return n;
        }
        if (!try_again(s, n, deadline)) {
            errno = errno == 0 ? ECONNRESET : errno;
            return -1;
        }
    }
}

struct message_transport tls_transport(struct tls_session *s)
{
    return (struct message_transport){transport_read, transport_write, s};
}

void tls_say_goodbye(struct tls_session *s)
{
    ERR_clear_error();
    (void)SSL_shutdown(s->ssl);
    ERR_clear_error();
}

void tls_session_free(struct tls_session **s)
{
    if (*s) {
        SSL_free((*s)->ssl);
        free(*s);
        *s = NULL;
    }
}
