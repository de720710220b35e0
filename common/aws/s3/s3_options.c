/* s3_options - see s3_options.h. */
#include "common/aws/s3/s3_options.h"
#include "common/aws/request/sigv4.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { TAG_KEY_MAX = 128, TAG_VALUE_MAX = 256 };

static int complain(const struct config *c, enum config_key key, struct err *e, const char *what)
{
    return err_set(e, ERR_CONFIG, 0, "%s (%s): %s", config_describe(key)->name, config_origin(c, key), what);
}

/* Settings that are a choice come in small letters. */
static const char *encryption_word(const char *setting)
{
    static const char *const words[] = {"AES256", "aws:kms", "aws:kms:dsse"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(words[i], setting) == 0) {
            return words[i];
        }
    }
    return "";
}

static bool is_kms(const struct s3_options *o)
{
    return strncmp(o->encryption, "aws:kms", 7) == 0;
}

static int read_context(const struct config *c, struct s3_options *o, struct err *e)
{
    static const char wanted[] = "must be a JSON object whose values are texts, such as {\"department\": \"radiology\"}";
    const char *text = config_text(c, CFG_S3_KMS_CONTEXT);
    const char *name;
    json_t *value;
    int rc = 0;
    if (!text[0]) {
        return 0;
    }
    json_t *context = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(context) || json_object_size(context) == 0) {
        rc = complain(c, CFG_S3_KMS_CONTEXT, e, wanted);
    }
    json_object_foreach(context, name, value) {
        rc = rc == 0 && !json_is_string(value) ? complain(c, CFG_S3_KMS_CONTEXT, e, wanted) : rc;
    }
    char *plain = rc == 0 ? json_dumps(context, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    size_t length = plain ? strlen(plain) : 0;
    if (rc == 0 && (!plain || (length + 2) / 3 * 4 >= sizeof o->kms_context)) {
        rc = complain(c, CFG_S3_KMS_CONTEXT, e, "is too long for a header");
    }
    if (rc == 0) {
        (void)EVP_EncodeBlock((unsigned char *)o->kms_context, (const unsigned char *)plain, (int)length);
    }
    free(plain);
    json_decref(context);
    return rc;
}

static int read_encryption(const struct config *c, struct s3_options *o, struct err *e)
{
    static const enum config_key only_kms[] = {CFG_S3_KMS_KEY, CFG_S3_KMS_CONTEXT, CFG_S3_BUCKET_KEY};
    const char *key = config_text(c, CFG_S3_KMS_KEY);
    const char *bucket_key = config_text(c, CFG_S3_BUCKET_KEY);
    o->encryption = encryption_word(config_text(c, CFG_S3_ENCRYPTION));
    o->bucket_key = strcmp(bucket_key, "true") == 0 ? "true" : strcmp(bucket_key, "false") == 0 ? "false" : "";
    for (size_t i = 0; !is_kms(o) && i < sizeof only_kms / sizeof only_kms[0]; i++) {
        const char *value = config_text(c, only_kms[i]);
        if (value[0] && strcmp(value, "unset") != 0) {
            return complain(c, only_kms[i], e, "means something only with s3_encryption = aws:kms or aws:kms:dsse; set that, or take this line out");
        }
    }
    if (o->bucket_key[0] && strcmp(o->encryption, "aws:kms:dsse") == 0) {
        return complain(c, CFG_S3_BUCKET_KEY, e, "S3 knows no bucket keys with s3_encryption = aws:kms:dsse; take this line out");
    }
    if (strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:/_-") != strlen(key) ||
        (strncmp(key, "arn:", 4) == 0 && (!strstr(key, ":kms:") || (!strstr(key, ":key/") && !strstr(key, ":alias/"))))) {
        return complain(c, CFG_S3_KMS_KEY, e, "must be a key id, alias/NAME, or the ARN of a key or alias (arn:aws:kms:REGION:ACCOUNT:key/ID)");
    }
    (void)snprintf(o->kms_key, sizeof o->kms_key, "%s", key);
    return read_context(c, o, e);
}

static bool is_tag_text(const char *text, size_t length, size_t most)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char ch = (unsigned char)text[i];
        if (ch < 0x80 && !strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 +-=._:/@", ch)) {
            return false;
        }
    }
    return length <= most;
}

struct tag {
    const char *key, *value;
    size_t key_length, value_length;
};

/* The next of "k=v, k=v"; *text goes on behind it. Spaces around a key and behind a value do not count. */
static struct tag next_tag(const char **text)
{
    struct tag t = {0};
    const char *p = *text + strspn(*text, " \t");
    size_t length = strcspn(p, ",");
    *text = p + length + (p[length] == ',');
    while (length > 0 && (p[length - 1] == ' ' || p[length - 1] == '\t')) {
        length--;
    }
    const char *equals = memchr(p, '=', length);
    t.key = p;
    t.key_length = equals ? (size_t)(equals - p) : 0;
    t.value = equals ? equals + 1 : p;
    t.value_length = equals ? length - t.key_length - 1 : 0;
    return t;
}

static bool add_encoded(char *out, size_t size, const char *before, const char *text, size_t length)
{
    char plain[TAG_VALUE_MAX + 1];
    char encoded[3 * TAG_VALUE_MAX + 4];
    size_t used = strlen(out);
    (void)snprintf(plain, sizeof plain, "%.*s", (int)length, text);
    if (sigv4_uri_encode(plain, false, encoded, sizeof encoded) != 0 || used + strlen(before) + strlen(encoded) >= size) {
        return false;
    }
    (void)snprintf(out + used, size - used, "%s%s", before, encoded);
    return true;
}

static int read_tags(const struct config *c, struct s3_options *o, struct err *e)
{
    struct tag tags[S3_TAGS_MAX];
    size_t count = 0;
    for (const char *text = config_text(c, CFG_S3_TAGS); *text;) {
        if (count == S3_TAGS_MAX) {
            return complain(c, CFG_S3_TAGS, e, "S3 takes at most 10 tags of an object");
        }
        struct tag t = next_tag(&text);
        if (t.key_length == 0 || !is_tag_text(t.key, t.key_length, TAG_KEY_MAX) || !is_tag_text(t.value, t.value_length, TAG_VALUE_MAX) ||
            strncasecmp(t.key, "aws:", 4) == 0) {
            return complain(c, CFG_S3_TAGS, e, "must be KEY=VALUE, KEY=VALUE ...: keys of 1 to 128 and values of up to 256 letters, digits, spaces and "
                                               "+ - = . _ : / @; no key begins with aws:");
        }
        for (size_t i = 0; i < count; i++) {
            if (tags[i].key_length == t.key_length && memcmp(tags[i].key, t.key, t.key_length) == 0) {
                return complain(c, CFG_S3_TAGS, e, "names a key twice");
            }
        }
        if (!add_encoded(o->tagging, sizeof o->tagging, count ? "&" : "", t.key, t.key_length) ||
            !add_encoded(o->tagging, sizeof o->tagging, "=", t.value, t.value_length)) {
            return complain(c, CFG_S3_TAGS, e, "is too long for a header");
        }
        tags[count++] = t;
    }
    return 0;
}

int s3_options_read(const struct config *config, struct s3_options *out, struct err *e)
{
    const char *owner = config_text(config, CFG_S3_EXPECTED_OWNER);
    const char *storage_class = config_text(config, CFG_S3_STORAGE_CLASS);
    memset(out, 0, sizeof *out);
    out->if_none_match = config_bool(config, CFG_S3_IF_NONE_MATCH);
    if (owner[0] && (strlen(owner) != 12 || strspn(owner, "0123456789") != 12)) {
        return complain(config, CFG_S3_EXPECTED_OWNER, e, "must be the 12 digits of an AWS account");
    }
    (void)snprintf(out->owner, sizeof out->owner, "%s", owner);
    if (strcmp(storage_class, "none") != 0) {
        for (size_t i = 0; storage_class[i] && i + 1 < sizeof out->storage_class; i++) {
            char ch = storage_class[i];
            out->storage_class[i] = (char)(ch >= 'a' && ch <= 'z' ? ch - 'a' + 'A' : ch);
        }
    }
    if (config_destination_kind(config) == KIND_HEALTHIMAGING && (strcmp(storage_class, "glacier") == 0 || strcmp(storage_class, "deep_archive") == 0)) {
        return complain(config, CFG_S3_STORAGE_CLASS, e, "HealthImaging cannot read from GLACIER and DEEP_ARCHIVE (an object there is to be restored first); "
                                                         "GLACIER_IR can be read at once");
    }
    int rc = read_encryption(config, out, e);
    return rc ? rc : read_tags(config, out, e);
}

bool s3_options_encrypted(const struct s3_options *o, const char *encryption, const char *kms_key)
{
    const char *asked = o->kms_key;
    if (!o->encryption[0]) {
        return true;
    }
    if (strcmp(o->encryption, encryption) != 0) {
        return false;
    }
    if (!is_kms(o) || !asked[0] || !kms_key[0] || strstr(asked, "alias/")) {
        return true;
    }
    size_t a = strlen(asked);
    size_t b = strlen(kms_key);
    if (strncmp(asked, "arn:", 4) == 0) { /* some servers answer the plain id */
        const char *id = strstr(asked, ":key/");
        return strcmp(asked, kms_key) == 0 || (id && strcmp(id + 5, kms_key) == 0);
    }
    return b >= a && strcmp(kms_key + b - a, asked) == 0 && (b == a || kms_key[b - a - 1] == '/');
}
