/* s3 - buckets, and ListObjectsV2. See s3.h. */
#include "common/aws/request/sigv4.h"
#include "compose/local-aws/s3.h"

#include <stdlib.h>
#include <string.h>

/* ---- ListObjectsV2 ---------------------------------------------------------------------------------------------------------------- */

struct listing {
    struct request *r;
    char prefix[STORE_KEY_MAX + 1], delimiter[64], after[STORE_KEY_MAX + 1], token[2 * STORE_KEY_MAX + 4];
    bool url_encoding, inclusive, truncated;
    int max, count;
    struct text contents, prefixes;
    char last[STORE_KEY_MAX + 1]; /* of this page: a key, or a common prefix */
    bool last_is_prefix;
};

static void add_name(struct listing *l, struct text *t, const char *tag, const char *name)
{
    char encoded[3 * STORE_KEY_MAX + 4];
    bool encode = l->url_encoding && sigv4_uri_encode(name, true, encoded, sizeof encoded) == 0;
    text_add_element(t, tag, encode ? encoded : name);
}

static void add_object(struct listing *l, const struct entry *entry)
{
    char time[32];
    struct text *t = &l->contents;
    text_time_iso(entry->modified_ms, time);
    text_add(t, "<Contents>");
    add_name(l, t, "Key", entry->key);
    text_add_element(t, "LastModified", time);
    text_addf(t, "<ETag>&quot;%s&quot;</ETag>", entry->etag);
    if (entry->checksum[0]) {
        text_add_element(t, "ChecksumAlgorithm", entry->checksum);
        text_add_element(t, "ChecksumType", "FULL_OBJECT");
    }
    text_addf(t, "<Size>%lld</Size><StorageClass>STANDARD</StorageClass></Contents>", (long long)entry->bytes);
}

/* The least text above every text that begins with s: its last byte that can be, incremented. false: there is none. */
static bool step_over(char *s)
{
    for (size_t n = strlen(s); n > 0; n--) {
        if ((unsigned char)s[n - 1] != 0xff) {
            s[n - 1] = (char)((unsigned char)s[n - 1] + 1);
            s[n] = '\0';
            return true;
        }
    }
    return false;
}

static void walk(struct listing *l)
{
    struct entry entry;
    char key[STORE_KEY_MAX + 1];
    char from[STORE_KEY_MAX + 1];
    bool inclusive = l->inclusive;
    size_t prefix = strlen(l->prefix);
    (void)snprintf(from, sizeof from, "%s", l->after);
    if (strcmp(from, l->prefix) < 0) {
        (void)snprintf(from, sizeof from, "%s", l->prefix);
        inclusive = true;
    }
    while (store_next(l->r->app->store, l->r->bucket, from, inclusive, &entry, key) && strncmp(key, l->prefix, prefix) == 0) {
        const char *cut = l->delimiter[0] ? strstr(key + prefix, l->delimiter) : NULL;
        if (l->count == l->max) {
            l->truncated = true;
            return;
        }
        l->count++;
        l->last_is_prefix = cut != NULL;
        if (!cut) {
            add_object(l, &entry);
            (void)snprintf(l->last, sizeof l->last, "%s", key);
            (void)snprintf(from, sizeof from, "%s", key);
            inclusive = false;
            continue;
        }
        key[(size_t)(cut - key) + strlen(l->delimiter)] = '\0';
        text_add(&l->prefixes, "<CommonPrefixes>");
        add_name(l, &l->prefixes, "Prefix", key);
        text_add(&l->prefixes, "</CommonPrefixes>");
        (void)snprintf(l->last, sizeof l->last, "%s", key);
        (void)snprintf(from, sizeof from, "%s", key);
        inclusive = true;
        if (!step_over(from)) {
            return;
        }
    }
}

/* A token is the hex of "k" or "p" and the last key or common prefix. */
static bool read_token(struct listing *l)
{
    size_t length = strlen(l->token);
    char text[STORE_KEY_MAX + 2];
    if (length % 2 != 0 || length / 2 >= sizeof text || length < 4) {
        return false;
    }
    for (size_t i = 0; i < length / 2; i++) {
        char pair[3] = {l->token[2 * i], l->token[2 * i + 1], '\0'};
        char *end;
        text[i] = (char)strtol(pair, &end, 16);
        if (*end) {
            return false;
        }
    }
    text[length / 2] = '\0';
    (void)snprintf(l->after, sizeof l->after, "%s", text + 1);
    l->inclusive = text[0] == 'p';
    return text[0] == 'k' || (text[0] == 'p' && step_over(l->after));
}

static bool read_parameters(struct request *r, struct listing *l)
{
    char number[16] = "1000";
    char word[8] = "";
    (void)request_query(r, "prefix", l->prefix, sizeof l->prefix);
    (void)request_query(r, "delimiter", l->delimiter, sizeof l->delimiter);
    (void)request_query(r, "start-after", l->after, sizeof l->after);
    (void)request_query(r, "max-keys", number, sizeof number);
    (void)request_query(r, "encoding-type", word, sizeof word);
    char *end;
    long max = strtol(number, &end, 10);
    if (*end || max < 0) {
        answer_refuse(r, 400, "InvalidArgument", "max-keys must be a number that is not negative");
        return false;
    }
    l->max = max > 1000 ? 1000 : (int)max;
    if (r->effect.page > 0 && l->max > r->effect.page) {
        l->max = r->effect.page;
    }
    l->url_encoding = strcmp(word, "url") == 0;
    if (request_query(r, "continuation-token", l->token, sizeof l->token) && !read_token(l)) {
        answer_refuse(r, 400, "InvalidArgument", "The continuation token provided is incorrect");
        return false;
    }
    return true;
}

static void write_listing(struct request *r, struct listing *l)
{
    char tag[2] = {l->last_is_prefix ? 'p' : 'k', '\0'};
    char start[STORE_KEY_MAX + 1] = "";
    answer_xml(r, 200);
    text_add(&r->out, "<ListBucketResult xmlns=\"" S3_XMLNS "\">");
    text_add_element(&r->out, "Name", r->bucket);
    add_name(l, &r->out, "Prefix", l->prefix);
    if (l->delimiter[0]) {
        add_name(l, &r->out, "Delimiter", l->delimiter);
    }
    if (request_query(r, "start-after", start, sizeof start)) {
        add_name(l, &r->out, "StartAfter", start);
    }
    if (l->url_encoding) {
        text_add_element(&r->out, "EncodingType", "url");
    }
    text_addf(&r->out, "<MaxKeys>%d</MaxKeys><KeyCount>%d</KeyCount><IsTruncated>%s</IsTruncated>", l->max, l->count,
              l->truncated && l->max > 0 ? "true" : "false");
    if (l->token[0]) {
        text_add_element(&r->out, "ContinuationToken", l->token);
    }
    if (l->truncated && l->max > 0) {
        char hex[2 * STORE_KEY_MAX + 8];
        text_hex((const unsigned char *)tag, 1, hex);
        text_hex((const unsigned char *)l->last, strlen(l->last), hex + 2);
        text_add_element(&r->out, "NextContinuationToken", hex);
    }
    text_add(&r->out, l->contents.bytes ? l->contents.bytes : "");
    text_add(&r->out, l->prefixes.bytes ? l->prefixes.bytes : "");
    text_add(&r->out, "</ListBucketResult>");
}

void s3_list_objects(struct request *r)
{
    struct err e = {0};
    if (!s3_need_bucket(r)) {
        return;
    }
    struct listing *l = calloc(1, sizeof *l);
    if (!l) {
        (void)err_set(&e, ERR_MEMORY, 0, "no memory for a listing");
        answer_trouble(r, &e);
        return;
    }
    l->r = r;
    if (read_parameters(r, l)) {
        walk(l);
        write_listing(r, l);
        if (l->contents.failed || l->prefixes.failed || r->out.failed) {
            (void)err_set(&e, ERR_MEMORY, 0, "no memory for a listing");
            answer_trouble(r, &e);
        }
    }
    text_clear(&l->contents);
    text_clear(&l->prefixes);
    free(l);
}

/* ---- buckets ---------------------------------------------------------------------------------------------------------------------------- */

void s3_list_buckets(struct request *r)
{
    char name[64];
    int64_t made_ms;
    answer_xml(r, 200);
    text_add(&r->out, "<ListAllMyBucketsResult xmlns=\"" S3_XMLNS "\"><Owner>");
    text_add_element(&r->out, "ID", r->app->options.account);
    text_add(&r->out, "</Owner><Buckets>");
    for (size_t i = 0; store_bucket_at(r->app->store, i, name, &made_ms); i++) {
        char time[32];
        text_time_iso(made_ms, time);
        text_add(&r->out, "<Bucket>");
        text_add_element(&r->out, "Name", name);
        text_add_element(&r->out, "CreationDate", time);
        text_add(&r->out, "</Bucket>");
    }
    text_add(&r->out, "</Buckets></ListAllMyBucketsResult>");
}

void s3_create_bucket(struct request *r)
{
    struct err e = {0};
    int rc = store_bucket_make(r->app->store, r->bucket, &e);
    if (rc == ERR_EXISTS) {
        answer_refuse(r, 409, "BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.");
    } else if (rc == ERR_TOO_LARGE) {
        answer_refuse(r, 400, "TooManyBuckets", "You have attempted to create more buckets than allowed");
    } else if (rc != 0) {
        answer_trouble(r, &e);
    } else {
        r->status = 200;
        answer_headerf(r, "Location", "/%s", r->bucket);
    }
}

void s3_head_bucket(struct request *r)
{
    if (s3_need_bucket(r)) {
        r->status = 200;
        answer_header(r, "x-amz-bucket-region", r->app->options.region);
    }
}

void s3_delete_bucket(struct request *r)
{
    struct err e = {0};
    if (!s3_need_bucket(r)) {
        return;
    }
    int rc = store_bucket_remove(r->app->store, r->bucket, &e);
    if (rc == ERR_EXISTS) {
        answer_refuse(r, 409, "BucketNotEmpty", "The bucket you tried to delete is not empty");
    } else if (rc != 0) {
        answer_trouble(r, &e);
    } else {
        r->status = 204;
    }
}

void s3_get_bucket_location(struct request *r)
{
    if (!s3_need_bucket(r)) {
        return;
    }
    const char *region = r->app->options.region;
    answer_xml(r, 200);
    text_add(&r->out, "<LocationConstraint xmlns=\"" S3_XMLNS "\">");
    text_add_xml(&r->out, strcmp(region, "us-east-1") == 0 ? "" : region);
    text_add(&r->out, "</LocationConstraint>");
}

/* One setting for all buckets (--bucket-kms-key). It is told and never obeyed: nothing here is encrypted. */
void s3_get_bucket_encryption(struct request *r)
{
    if (!s3_need_bucket(r)) {
        return;
    }
    const char *key = r->app->options.bucket_kms_key;
    answer_xml(r, 200);
    text_add(&r->out, "<ServerSideEncryptionConfiguration xmlns=\"" S3_XMLNS "\"><Rule><ApplyServerSideEncryptionByDefault>");
    text_add_element(&r->out, "SSEAlgorithm", key ? "aws:kms" : "AES256");
    if (key) {
        text_add_element(&r->out, "KMSMasterKeyID", key);
    }
    text_add(&r->out, "</ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>");
}
