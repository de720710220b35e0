/*
 * stow_settings - what the settings of a DICOMweb destination mean: where it is, how we show who we are, what of it cannot work. See stow.h.
 * Files are named seen from the installation's directory. Secrets stand in memory only as long as a request is made of them.
 */
#include "common/aws/credentials/credentials_internal.h"
#include "common/aws/internal.h"
#include "common/aws/dicomweb/stow.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- settings ----------------------------------------------------------------------------------------------------------------------- */

static bool is_auth(const struct config *config, const char *word)
{
    return strcmp(config_text(config, CFG_DICOMWEB_AUTH), word) == 0;
}

bool stow_counts_repeats(const struct config *config)
{
    return is_auth(config, "sigv4");
}

/* "" stays "". */
static void file_of(const struct config *config, enum config_key key, char out[STOW_PATH_MAX])
{
    const char *file = config_text(config, key);
    out[0] = '\0';
    if (file[0] == '/') {
        (void)snprintf(out, STOW_PATH_MAX, "%s", file);
    } else if (file[0]) {
        (void)snprintf(out, STOW_PATH_MAX, "%s/%s", config_home(config), file);
    }
}

void stow_certificate(const struct config *config, struct http_limits *limits, char paths[2][STOW_PATH_MAX])
{
    if (config_destination_kind(config) == KIND_DICOMWEB) {
        file_of(config, CFG_DICOMWEB_CERTIFICATE, paths[0]);
        file_of(config, CFG_DICOMWEB_KEY, paths[1]);
        limits->client_certificate = paths[0];
        limits->client_key = paths[1];
        limits->client_key_password = config_text(config, CFG_DICOMWEB_KEY_PASSWORD);
    }
}

int stow_endpoint(const struct config *config, struct endpoint *at, struct err *e)
{
    const char *url = config_text(config, CFG_DICOMWEB_URL);
    struct err why = {0};
    if (config_destination_kind(config) != KIND_DICOMWEB) {
        return 0;
    }
    if (!url[0]) {
        size_t used = strlen(at->base);
        (void)snprintf(at->base + used, sizeof at->base - used, "/datastore/%s", config_text(config, CFG_DATASTORE_ID));
        return 0;
    }
    int rc = endpoint_parse(url, at, &why);
    return rc ? err_set(e, rc, 0, "dicomweb_url (%s): %s", config_origin(config, CFG_DICOMWEB_URL), why.text) : 0;
}

static int check_file(const struct config *config, enum config_key key, struct err *e)
{
    char path[STOW_PATH_MAX];
    file_of(config, key, path);
    if (path[0] && access(path, R_OK) == -1) {
        return err_set(e, ERR_CONFIG, errno, "%s (%s): %.200s", config_describe(key)->name, config_origin(config, key), path);
    }
    return 0;
}

int stow_check_settings(const struct config *config, struct err *e)
{
    static const enum config_key files[] = {CFG_DICOMWEB_TOKEN_FILE, CFG_DICOMWEB_CERTIFICATE, CFG_DICOMWEB_KEY};
    struct endpoint place;
    if (config_destination_kind(config) != KIND_DICOMWEB) {
        return 0;
    }
    if (!config_text(config, CFG_DICOMWEB_URL)[0] && !is_auth(config, "sigv4")) {
        return err_set(e, ERR_CONFIG, 0, "dicomweb_url is not set: name the DICOMweb service, such as https://pacs.example/dicom-web");
    }
    if (!config_text(config, CFG_DICOMWEB_URL)[0] && !config_text(config, CFG_DATASTORE_ID)[0]) {
        return err_set(e, ERR_CONFIG, 0, "datastore_id is not set: name the HealthImaging data store, or set dicomweb_url");
    }
    if (is_auth(config, "basic") && !config_text(config, CFG_DICOMWEB_USER)[0]) {
        return err_set(e, ERR_CONFIG, 0, "dicomweb_auth = basic needs dicomweb_user and dicomweb_password");
    }
    if (is_auth(config, "basic") && strchr(config_text(config, CFG_DICOMWEB_USER), ':')) {
        return err_set(e, ERR_CONFIG, 0, "dicomweb_user (%s): a user's name holds no colon", config_origin(config, CFG_DICOMWEB_USER));
    }
    if (is_auth(config, "bearer") && !config_text(config, CFG_DICOMWEB_TOKEN_FILE)[0]) {
        return err_set(e, ERR_CONFIG, 0, "dicomweb_auth = bearer needs dicomweb_token_file, a file with the token");
    }
    if (config_text(config, CFG_DICOMWEB_KEY)[0] && !config_text(config, CFG_DICOMWEB_CERTIFICATE)[0]) {
        return err_set(e, ERR_CONFIG, 0, "dicomweb_client_key is nothing without dicomweb_client_certificate");
    }
    int rc = config_text(config, CFG_DICOMWEB_URL)[0] ? stow_endpoint(config, &place, e) : 0;
    for (size_t i = 0; rc == 0 && i < sizeof files / sizeof files[0]; i++) {
        rc = check_file(config, files[i], e);
    }
    return rc;
}

/* ---- who we are -------------------------------------------------------------------------------------------------------------------------- */

static int keep(struct aws_call *call, char *line, struct err *e)
{
    call->authorization = line;
    return line ? 0 : err_set(e, ERR_MEMORY, 0, "no memory for a request");
}

static int authorize_basic(const struct config *config, struct aws_call *call, struct err *e)
{
    unsigned char encoded[4 * ((256 + 1 + 256 + 2) / 3) + 1];
    char pair[256 + 1 + 256 + 1];
    char *line = NULL;
    int n = snprintf(pair, sizeof pair, "%s:%s", config_text(config, CFG_DICOMWEB_USER), config_text(config, CFG_DICOMWEB_PASSWORD));
    (void)EVP_EncodeBlock(encoded, (const unsigned char *)pair, n);
    int rc = keep(call, asprintf(&line, "Basic %s", (const char *)encoded) == -1 ? NULL : line, e);
    explicit_bzero(pair, sizeof pair);
    explicit_bzero(encoded, sizeof encoded);
    return rc;
}

static int authorize_bearer(const struct config *config, struct aws_call *call, struct err *e)
{
    char path[STOW_PATH_MAX];
    char token[TOKEN_MAX];
    char *line = NULL;
    struct err why = {0};
    file_of(config, CFG_DICOMWEB_TOKEN_FILE, path);
    if (secret_from_file(path, token, sizeof token, &why) != 0) {
        return err_set(e, ERR_STORE_DENIED, why.sys, "dicomweb_token_file: %s", why.text);
    }
    if (strcspn(token, "\r\n") != strlen(token)) {
        explicit_bzero(token, sizeof token);
        return err_set(e, ERR_STORE_DENIED, 0, "dicomweb_token_file: %.200s holds more than one line", path);
    }
    int rc = keep(call, asprintf(&line, "Bearer %s", token) == -1 ? NULL : line, e);
    explicit_bzero(token, sizeof token);
    return rc;
}

int stow_authorize(const struct config *config, struct aws_call *call, struct err *e)
{
    return is_auth(config, "basic") ? authorize_basic(config, call, e) : is_auth(config, "bearer") ? authorize_bearer(config, call, e) : 0;
}
