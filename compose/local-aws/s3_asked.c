/* s3 - what a request asks for an object beside its bytes: encryption, storage class, tags. Checked as S3 does, kept with the object, told in every answer. See
 * s3.h. There are no keys here: a KMS key is taken for existing when it looks like one of this account and region; `alias/missing` is the one that is not there. */
#include "compose/local-aws/s3.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SSE "x-amz-server-side-encryption"
enum { TAGS_MAX = 10, TAG_KEY_MAX = 128, TAG_VALUE_MAX = 256 };

static bool is_one_of(const char *word, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(word, list[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_kms(const char *encryption)
{
    return encryption && strncmp(encryption, "aws:kms", 7) == 0;
}

/* ---- KMS keys --------------------------------------------------------------------------------------------------------------- */

/* 8-4-4-4-12 hex digits, or mrk- and 32 of them. */
static bool is_key_id(const char *id)
{
    static const char hex[] = "0123456789abcdef";
    if (strncmp(id, "mrk-", 4) == 0) {
        return strlen(id) == 36 && strspn(id + 4, hex) == 32;
    }
    for (size_t i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (id[i] == '\0' || (dash ? id[i] != '-' : !strchr(hex, id[i]))) {
            return false;
        }
    }
    return id[36] == '\0';
}

/* Id, alias/NAME, or the ARN of either -> the key's ARN, as S3 answers it; false: there is none. An alias stands for a key that is made of its length. */
static bool key_arn(const struct request *r, const char *key, char *out, size_t size)
{
    char begin[120];
    int n = snprintf(begin, sizeof begin, "arn:aws:kms:%s:%s:", r->app->options.region, r->app->options.account);
    bool is_arn = strncmp(key, begin, (size_t)n) == 0;
    const char *name = is_arn ? key + n : key;
    if (is_arn && strncmp(name, "key/", 4) == 0) {
        name += 4;
    } else if (strncmp(name, "alias/", 6) == 0 && name[6] != '\0' && strcmp(name, "alias/missing") != 0) {
        (void)snprintf(out, size, "%skey/00000000-0000-0000-0000-%012zx", begin, strlen(name));
        return true;
    }
    (void)snprintf(out, size, "%skey/%s", begin, name);
    return is_key_id(name);
}

static bool context_is_right(const char *context)
{
    unsigned char plain[8192];
    const char *name;
    json_t *value;
    int n = text_base64_decode(context, plain, sizeof plain);
    json_t *object = n > 0 ? json_loadb((const char *)plain, (size_t)n, 0, NULL) : NULL;
    bool right = json_is_object(object);
    json_object_foreach(object, name, value) {
        right = right && json_is_string(value);
    }
    json_decref(object);
    return right;
}

static bool encryption_is_right(struct request *r)
{
    static const char *const known[] = {"AES256", "aws:kms", "aws:kms:dsse"};
    const char *encryption = request_header(r, SSE);
    const char *key = request_header(r, SSE "-aws-kms-key-id");
    const char *context = request_header(r, SSE "-context");
    const char *bucket_key = request_header(r, SSE "-bucket-key-enabled");
    char arn[300];
    if (encryption && !is_one_of(encryption, known, 3)) {
        answer_refuse(r, 400, "InvalidEncryptionAlgorithmError", "The encryption request you specified is not valid.");
    } else if ((key || context) && !is_kms(encryption)) {
        answer_refuse(r, 400, "InvalidArgument", "A KMS key or context needs the HTTP header " SSE ": aws:kms");
    } else if (key && !key_arn(r, key, arn, sizeof arn)) {
        answer_refuse(r, 400, "KMS.NotFoundException", "Invalid keyId %.100s", key);
    } else if (context && !context_is_right(context)) {
        answer_refuse(r, 400, "InvalidArgument", "The header " SSE "-context shall be base64 of a JSON object of texts");
    } else if (bucket_key && strcmp(bucket_key, "true") != 0 && strcmp(bucket_key, "false") != 0) {
        answer_refuse(r, 400, "InvalidArgument", "The header " SSE "-bucket-key-enabled is true or false");
    }
    return r->status == 0;
}

/* ---- storage class, tags ---------------------------------------------------------------------------------------------------------- */

static bool class_is_right(struct request *r)
{
    static const char *const known[] = {"STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE",
                                        "OUTPOSTS", "GLACIER_IR", "SNOW", "EXPRESS_ONEZONE", "FSX_OPENZFS", "FSX_ONTAP", "AWS_BACKUP_WARM",
                                        "AWS_BACKUP_LOW_COST_WARM"};
    const char *class = request_header(r, "x-amz-storage-class");
    if (class && !is_one_of(class, known, sizeof known / sizeof known[0])) {
        answer_refuse(r, 400, "InvalidStorageClass", "The storage class you specified is not valid");
    }
    return r->status == 0;
}

/* "k=v&k=v" -> how many; negative: S3 would refuse it. */
static int count_tags(const char *tagging)
{
    char keys[TAGS_MAX][TAG_KEY_MAX * 4 + 1];
    int count = 0;
    for (const char *p = tagging; *p; count++) {
        char value[TAG_VALUE_MAX * 4 + 1];
        size_t pair = strcspn(p, "&");
        size_t key = strcspn(p, "=&");
        size_t value_at = key < pair ? key + 1 : key;
        if (count == TAGS_MAX || key == 0 || !text_decode(p, key, true, keys[count], sizeof keys[0]) ||
            !text_decode(p + value_at, pair - value_at, true, value, sizeof value) || strlen(keys[count]) > TAG_KEY_MAX || strlen(value) > TAG_VALUE_MAX ||
            strncasecmp(keys[count], "aws:", 4) == 0) {
            return -1;
        }
        for (int i = 0; i < count; i++) {
            if (strcmp(keys[i], keys[count]) == 0) {
                return -1;
            }
        }
        p += pair + (p[pair] == '&');
    }
    return count;
}

static bool tags_are_right(struct request *r)
{
    const char *tagging = request_header(r, "x-amz-tagging");
    if (tagging && count_tags(tagging) < 0) {
        answer_refuse(r, 400, "InvalidArgument",
                      "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates, 10 at most.");
    }
    return r->status == 0;
}

/* ---- for the operations --------------------------------------------------------------------------------------------------------------- */

bool s3_asked_is_right(struct request *r)
{
    return encryption_is_right(r) && class_is_right(r) && tags_are_right(r);
}

void s3_asked_keep(const struct request *r, json_t *headers)
{
    const char *encryption = r->effect.other_encryption ? NULL : request_header(r, SSE);
    const char *key = request_header(r, SSE "-aws-kms-key-id");
    const char *bucket_key = request_header(r, SSE "-bucket-key-enabled");
    const char *class = request_header(r, "x-amz-storage-class");
    const char *tagging = request_header(r, "x-amz-tagging");
    char text[300];
    (void)json_object_set_new(headers, SSE, json_string(encryption ? encryption : "AES256"));
    if (is_kms(encryption) && key_arn(r, key ? key : "alias/aws/s3", text, sizeof text)) {
        (void)json_object_set_new(headers, SSE "-aws-kms-key-id", json_string(text));
    }
    if (is_kms(encryption) && bucket_key && strcmp(bucket_key, "true") == 0) {
        (void)json_object_set_new(headers, SSE "-bucket-key-enabled", json_string("true"));
    }
    if (class && strcmp(class, "STANDARD") != 0) { /* the usual one is not told */
        (void)json_object_set_new(headers, "x-amz-storage-class", json_string(class));
    }
    if (tagging && *tagging) {
        (void)snprintf(text, sizeof text, "%d", count_tags(tagging));
        (void)json_object_set_new(headers, "x-amz-tagging-count", json_string(text));
        (void)json_object_set_new(headers, "x-local-tagging", json_string(tagging));
    }
}

bool s3_is_kms(json_t *headers)
{
    return is_kms(json_string_value(json_object_get(headers, SSE)));
}

void s3_answer_encryption(struct request *r, json_t *headers)
{
    static const char *const names[] = {SSE, SSE "-aws-kms-key-id", SSE "-bucket-key-enabled"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = json_string_value(json_object_get(headers, names[i]));
        if (value || i == 0) {
            answer_header(r, names[i], value ? value : "AES256");
        }
    }
}
