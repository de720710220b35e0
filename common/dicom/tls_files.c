/* tls_files - see tls_files.h. */
#include "common/dicom/tls_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const enum config_key keys[TLS_PARTS] = {CFG_TLS_CERTIFICATE, CFG_TLS_KEY, CFG_TLS_CA, CFG_TLS_CRL};

int tls_settings_read(struct tls_settings *out, const struct config *config, struct err *e)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < TLS_PARTS; i++) {
        const char *text = config_text(config, keys[i]);
        int n = text[0] == '/' || !text[0] ? snprintf(out->path[i], TLS_PATH_SIZE, "%s", text)
                                           : snprintf(out->path[i], TLS_PATH_SIZE, "%s/%s", config_home(config), text);
        if (n < 0 || n >= TLS_PATH_SIZE) {
            return err_set(e, ERR_CONFIG, 0, "%s: the path is too long", config_describe(keys[i])->name);
        }
    }
    if (!out->path[TLS_KEY][0]) {
        memcpy(out->path[TLS_KEY], out->path[TLS_CERTIFICATE], TLS_PATH_SIZE);
    }
    const char *client = config_text(config, CFG_TLS_CLIENT);
    const char *profile = config_text(config, CFG_TLS_PROFILE);
    (void)snprintf(out->password, sizeof out->password, "%s", config_text(config, CFG_TLS_KEY_PASSWORD));
    out->client = strcmp(client, "none") == 0 ? TLS_CLIENT_NONE : strcmp(client, "request") == 0 ? TLS_CLIENT_REQUEST : TLS_CLIENT_REQUIRE;
    out->profile = strcmp(profile, "bcp195") == 0 ? TLS_BCP195 : strcmp(profile, "bcp195-extended") == 0 ? TLS_BCP195_EXTENDED : TLS_BCP195_ND;
    out->only_13 = strcmp(config_text(config, CFG_TLS_MINIMUM), "1.3") == 0;
    if (out->only_13 && out->profile == TLS_BCP195_EXTENDED) {
        return err_set(e, ERR_CONFIG, 0, "tls_profile bcp195-extended is for TLS 1.2 only and tls_minimum asks for 1.3: change one of them");
    }
    return 0;
}

/* ---- reading ------------------------------------------------------------------------------------------------------------------ */

struct look { /* one reading of all files */
    const struct tls_settings *settings;
    struct tls_bundle *out;
    tls_say say;
    void *ctx;
    struct err *e;
    X509 *leaf;
    EVP_PKEY *key;
    int usable_ca, counted;
};

static void tell(const struct look *l, bool serious, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void tell(const struct look *l, bool serious, const char *format, ...)
{
    char text[600];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (l->say) {
        l->say(l->ctx, serious, text);
    }
}

static int fault(const struct look *l, int part, const char *path, int sys, const char *what)
{
    return err_set(l->e, ERR_CONFIG, sys, "%s: %.150s %s", config_describe(keys[part])->name, path, what);
}

/* The whole file, at most TLS_FILE_BYTES_MAX. NULL with errno. */
static unsigned char *slurp(const char *path, size_t *length)
{
    struct stat st;
    unsigned char *bytes = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd == -1 || fstat(fd, &st) != 0) {
        goto out;
    }
    if (!S_ISREG(st.st_mode) || st.st_size > TLS_FILE_BYTES_MAX) {
        errno = S_ISREG(st.st_mode) ? EFBIG : EINVAL;
        goto out;
    }
    bytes = malloc((size_t)st.st_size + 1);
    if (!bytes) {
        goto out;
    }
    size_t have = 0;
    while (have < (size_t)st.st_size) {
        ssize_t n = read(fd, bytes + have, (size_t)st.st_size - have);
        if (n <= 0) {
            if (n == -1 && errno == EINTR) {
                continue;
            }
            errno = n == 0 ? EAGAIN : errno; /* it shrank while we read: somebody writes it */
            OPENSSL_clear_free(bytes, (size_t)st.st_size);
            bytes = NULL;
            goto out;
        }
        have += (size_t)n;
    }
    bytes[have] = '\0';
    *length = have;
out:
    if (fd != -1) {
        int kept = errno;
        (void)close(fd);
        errno = kept;
    }
    return bytes;
}

/* Appends one encoding to a part. der is what an i2d function allocated; it is freed. */
static int append(struct look *l, int part, unsigned char *der, int length)
{
    struct tls_bundle *b = l->out;
    int rc = 0;
    if (length <= 0 || b->length[part] + (size_t)length > TLS_FILE_BYTES_MAX) {
        rc = err_set(l->e, ERR_CONFIG, 0, "%s: more than %d bytes", config_describe(keys[part])->name, TLS_FILE_BYTES_MAX);
    } else {
        unsigned char *grown = realloc(b->bytes[part], b->length[part] + (size_t)length);
        if (grown) {
            memcpy(grown + b->length[part], der, (size_t)length);
            b->bytes[part] = grown;
            b->length[part] += (size_t)length;
        } else {
            rc = err_set(l->e, ERR_MEMORY, 0, "certificates");
        }
    }
    OPENSSL_free(der);
    return rc;
}

/* Nobody sits at a terminal: without a password there is none. */
static int password(char *buffer, int size, int writing, void *ctx)
{
    (void)writing;
    const char *text = ctx;
    int n = text ? snprintf(buffer, (size_t)size, "%s", text) : 0;
    return n > 0 && n < size ? n : -1;
}

static long long days_until(const ASN1_TIME *t, bool *is_past)
{
    int days = 0;
    int seconds = 0;
    if (ASN1_TIME_diff(&days, &seconds, NULL, t) != 1) {
        *is_past = true;
        return 0;
    }
    *is_past = days < 0 || seconds < 0;
    return days;
}

/* "2027-01-31" */
static const char *date_of(const ASN1_TIME *t, char out[16])
{
    struct tm tm;
    memset(&tm, 0, sizeof tm);
    if (ASN1_TIME_to_tm(t, &tm) != 1 || strftime(out, 16, "%Y-%m-%d", &tm) == 0) {
        (void)snprintf(out, 16, "?");
    }
    return out;
}

static int take_certificate(struct look *l, int part, X509 *certificate)
{
    bool is_past = false;
    unsigned char *der = NULL;
    int length = i2d_X509(certificate, &der);
    (void)days_until(X509_get0_notAfter(certificate), &is_past);
    l->counted++;
    l->usable_ca += part == TLS_CA && !is_past;
    if (part == TLS_CERTIFICATE && !l->leaf && X509_up_ref(certificate) == 1) {
        l->leaf = certificate;
    }
    return append(l, part, der, length);
}

static int take_list(struct look *l, const char *path, X509_CRL *list)
{
    bool is_past = false;
    char date[16];
    unsigned char *der = NULL;
    int length = i2d_X509_CRL(list, &der);
    const ASN1_TIME *next = X509_CRL_get0_nextUpdate(list);
    if (next) {
        (void)days_until(next, &is_past);
    }
    if (is_past) {
        tell(l, true, "tls_crl: a revocation list in %s is out of date since %s, so every certificate of its CA is refused: fetch the new one", path,
             date_of(next, date));
    }
    l->counted++;
    return append(l, TLS_CRL, der, length);
}

/* All objects of one file, PEM or DER. */
static int take_file(struct look *l, int part, const char *path)
{
    size_t length = 0;
    unsigned char *bytes = slurp(path, &length);
    if (!bytes) {
        return fault(l, part, path, errno, "cannot be read: check that it is there, and its owner and mode");
    }
    int rc = 0;
    const unsigned char *p = bytes;
    bool is_pem = memmem(bytes, length, "-----BEGIN ", 11) != NULL;
    BIO *pem = is_pem ? BIO_new_mem_buf(bytes, (int)length) : NULL;
    l->counted = 0;
    ERR_clear_error();
    for (bool more = true; rc == 0 && more;) {
        if (part == TLS_CRL) {
            X509_CRL *list = is_pem ? PEM_read_bio_X509_CRL(pem, NULL, password, NULL) : d2i_X509_CRL(NULL, &p, (long)(bytes + length - p));
            more = list != NULL;
            rc = list ? take_list(l, path, list) : 0;
            X509_CRL_free(list);
        } else {
            X509 *certificate = is_pem ? PEM_read_bio_X509(pem, NULL, password, NULL) : d2i_X509(NULL, &p, (long)(bytes + length - p));
            more = certificate != NULL;
            rc = certificate ? take_certificate(l, part, certificate) : 0;
            X509_free(certificate);
        }
        more = more && (is_pem || p < bytes + length);
    }
    /* PEM ends with "no more begin line"; whatever else ended it is a damaged object */
    bool is_whole = is_pem ? ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE : p == bytes + length;
    if (rc == 0 && (l->counted == 0 || !is_whole)) {
        rc = fault(l, part, path, 0, l->counted ? "holds something that is damaged" : part == TLS_CRL ? "holds no revocation list" : "holds no certificate");
    }
    ERR_clear_error();
    BIO_free(pem);
    OPENSSL_clear_free(bytes, length);
    return rc;
}

/* A file, or every file of a directory; those in it that are something else are told. */
static int take_path(struct look *l, int part)
{
    const char *path = l->settings->path[part];
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        return take_file(l, part, path);
    }
    DIR *directory = opendir(path);
    struct dirent *entry;
    int files = 0;
    int good = 0;
    int rc = directory ? 0 : fault(l, part, path, errno, "cannot be read: check its owner and mode");
    while (rc == 0 && directory && (entry = readdir(directory))) {
        char one[TLS_PATH_SIZE + 300];
        (void)snprintf(one, sizeof one, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] == '.' || stat(one, &st) != 0 || !S_ISREG(st.st_mode)) {
            continue; /* mounted secrets keep their versions in hidden directories */
        }
        if (++files > TLS_DIRECTORY_FILES_MAX) {
            rc = fault(l, part, path, 0, "holds more files than can be read: join them");
        } else if (take_file(l, part, one) == 0) {
            good++;
        } else {
            tell(l, false, "%s; the file is not used", l->e ? l->e->text : one);
        }
    }
    if (directory) {
        (void)closedir(directory);
    }
    return rc == 0 && good == 0 ? fault(l, part, path, 0, part == TLS_CRL ? "is a directory without revocation lists" : "is a directory without certificates") : rc;
}

static int take_key(struct look *l)
{
    const char *path = l->settings->path[TLS_KEY];
    struct stat st;
    size_t length = 0;
    unsigned char *bytes = slurp(path, &length);
    if (!bytes) {
        return fault(l, TLS_KEY, path, errno, "cannot be read: check that it is there, and its owner and mode");
    }
    bool is_encrypted = memmem(bytes, length, "ENCRYPTED", 9) != NULL;
    BIO *pem = BIO_new_mem_buf(bytes, (int)length);
    l->key = PEM_read_bio_PrivateKey(pem, NULL, password, (void *)(uintptr_t)l->settings->password);
    BIO_free(pem);
    OPENSSL_clear_free(bytes, length);
    ERR_clear_error();
    if (!l->key) {
        return fault(l, TLS_KEY, path, 0, !is_encrypted ? "holds no private key in PEM" : l->settings->password[0] ? "is encrypted, and tls_key_password does not open it"
                                                                                                        : "is encrypted: set tls_key_password");
    }
    if (stat(path, &st) == 0 && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        tell(l, false, "tls_key: %s can be read by others than its owner (mode %o): chmod 600", path, (unsigned)(st.st_mode & 07777));
    }
    unsigned char *der = NULL;
    int n = i2d_PrivateKey(l->key, &der);
    return append(l, TLS_KEY, der, n);
}

/* Our own certificate: does it fit the key, is it of use today? */
static int judge(struct look *l)
{
    const char *path = l->settings->path[TLS_CERTIFICATE];
    char date[16];
    bool is_over = false;
    bool has_begun = false;
    if (X509_check_private_key(l->leaf, l->key) != 1) {
        ERR_clear_error();
        return err_set(l->e, ERR_CONFIG, 0,
                       "tls_key: %.110s is not the key of the first certificate in %.110s: put both files of one pair there, our certificate first",
                       l->settings->path[TLS_KEY], path);
    }
    long long days = days_until(X509_get0_notAfter(l->leaf), &is_over);
    (void)days_until(X509_get0_notBefore(l->leaf), &has_begun);
    l->out->is_valid_now = has_begun && !is_over;
    struct tm tm;
    memset(&tm, 0, sizeof tm);
    l->out->expires_ms = ASN1_TIME_to_tm(X509_get0_notAfter(l->leaf), &tm) == 1 ? (int64_t)timegm(&tm) * 1000 : 0;
    if (is_over) {
        tell(l, true, "tls_certificate: %s has expired on %s, peers will refuse us: put a new one there", path, date_of(X509_get0_notAfter(l->leaf), date));
    } else if (!has_begun) {
        tell(l, true, "tls_certificate: %s is valid only from %s on, peers will refuse us: check this machine's clock or the certificate", path,
             date_of(X509_get0_notBefore(l->leaf), date));
    } else if (days < TLS_EXPIRY_NOTICE_DAYS) {
        tell(l, false, "tls_certificate: %s expires on %s, in %lld days: put a new one there, no restart is needed", path,
             date_of(X509_get0_notAfter(l->leaf), date), days);
    }
    if (X509_check_purpose(l->leaf, X509_PURPOSE_SSL_SERVER, 0) != 1) {
        tell(l, false, "tls_certificate: %s is not meant for servers (extended key usage), peers may refuse us", path);
    }
    return 0;
}

int tls_files_read(struct tls_bundle *out, const struct tls_settings *s, tls_say say, void *ctx, struct err *e)
{
    struct err own = {0};
    struct look l = {.settings = s, .out = out, .say = say, .ctx = ctx, .e = e ? e : &own};
    memset(out, 0, sizeof *out);
    int rc = 0;
    if (!s->path[TLS_CERTIFICATE][0]) {
        rc = err_set(l.e, ERR_CONFIG, 0, "tls_certificate is not set: tls_port needs the file of our certificate");
    } else if (!s->path[TLS_CA][0] && s->client != TLS_CLIENT_NONE) {
        rc = err_set(l.e, ERR_CONFIG, 0, "tls_ca is not set: peers' certificates are checked against it (or set tls_client = none)");
    }
    rc = rc == 0 ? take_file(&l, TLS_CERTIFICATE, s->path[TLS_CERTIFICATE]) : rc;
    rc = rc == 0 ? take_key(&l) : rc;
    rc = rc == 0 ? judge(&l) : rc;
    rc = rc == 0 && s->client != TLS_CLIENT_NONE ? take_path(&l, TLS_CA) : rc;
    rc = rc == 0 && s->client != TLS_CLIENT_NONE && s->path[TLS_CRL][0] ? take_path(&l, TLS_CRL) : rc;
    if (rc == 0 && s->client != TLS_CLIENT_NONE && l.usable_ca == 0) {
        tell(&l, true, "tls_ca: every certificate in %s has expired, all peers are refused: put the CA's new one there", s->path[TLS_CA]);
    }
    X509_free(l.leaf);
    EVP_PKEY_free(l.key);
    return rc;
}
