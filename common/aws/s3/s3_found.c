/*
 * s3_found - what lies under our key, what S3 made of what was asked, and words for both. See internal.h.
 *
 * 412 to a conditional write means that something is there. It is ours when an earlier transfer arrived whose answer was lost, and then this is a success;
 * it is another one when two installations share a prefix, when a key template is too short, or when somebody put it there, and then it is not touched.
 * Only size and content decide. Sources: S3 user guide "Conditional writes"; PutObject's answer "x-amz-server-side-encryption"; S3 API reference, ETag:
 * the MD5 of what went up in one PUT without KMS.
 */
#include "common/aws/internal.h"

#include <stdlib.h>
#include <string.h>

enum { KMS_KEY_SIZE = 2100 };

static bool is_as_asked(const struct aws_client *c, const struct http_response *r, char encryption[32])
{
    char key[KMS_KEY_SIZE];
    (void)http_header(r, "x-amz-server-side-encryption", encryption, 32);
    (void)http_header(r, "x-amz-server-side-encryption-aws-kms-key-id", key, sizeof key);
    return s3_options_encrypted(&c->s3, encryption, key);
}

int s3_check_encryption(const struct aws_client *c, const char *operation, const struct http_response *r, struct err *e)
{
    char encryption[32];
    if (is_as_asked(c, r, encryption)) {
        return 0;
    }
    bool same_kind = strcmp(encryption, c->s3.encryption) == 0;
    return err_set(e, ERR_AWS_ENCRYPTION, 0, "S3 %s: s3_encryption = %s was asked for%s, and S3 answered %s. %s", operation, c->s3.encryption,
                   same_kind ? " with s3_kms_key" : "", same_kind ? "another key" : encryption[0] ? encryption : "nothing about it",
                   err_sentence(ERR_AWS_ENCRYPTION));
}

static bool is_md5(const char *etag)
{
    return strlen(etag) == 32 && strspn(etag, "0123456789abcdef") == 32;
}

enum s3_found s3_found_judge(const struct aws_client *c, const struct http_response *head, int64_t bytes, uint32_t crc32c, char etag[80], bool *encrypted)
{
    char text[100];
    char encryption[32];
    uint32_t theirs;
    char *end = NULL;
    *encrypted = is_as_asked(c, head, encryption);
    (void)http_header(head, "etag", text, sizeof text);
    s3_plain_etag(text, etag, 80);
    long long length = http_header(head, "content-length", text, sizeof text) ? strtoll(text, &end, 10) : -1;
    if (!end || end == text || *end != '\0' || length != bytes) {
        return FOUND_OTHER;
    }
    if (http_header(head, "x-amz-checksum-crc32c", text, sizeof text) && s3_crc_read(text, &theirs)) {
        return theirs == crc32c ? FOUND_OURS : FOUND_OTHER;
    }
    return is_md5(etag) && strncmp(encryption, "aws:kms", 7) != 0 ? FOUND_BY_MD5 : FOUND_UNCLEAR;
}

int s3_found_other(const char *operation, const char *path, bool is_unclear, struct err *e)
{
    return err_set(e, ERR_AWS_OTHER_OBJECT, 0, "S3 %s: under %.160s lies %s; it was not overwritten", operation, path,
                   is_unclear ? "an object of the same size, and S3 tells nothing to compare its content by" : "another object");
}

void s3_explain_look(const char *path, struct aws_answer *a)
{
    const struct err said = a->why;
    if (a->rc == ERR_AWS_DENIED) {
        (void)err_set(&a->why, a->rc, 0, "an object lies under %.160s, and we may not look whether it is this image: allow s3:GetObject. %.160s", path, said.text);
    }
}

bool s3_is_taken(const struct aws_answer *a)
{
    return a->rc != 0 && a->http && a->http->rc == 0 && (a->http->status == 412 || strcmp(a->code, "PreconditionFailed") == 0);
}

void s3_explain(const struct aws_client *c, struct aws_answer *a)
{
    const struct s3_options *o = &c->s3;
    if (a->rc == 0 || !a->http || a->http->rc != 0 || (a->http->status != 501 && strcmp(a->code, "NotImplemented") != 0)) {
        return;
    }
    bool more = o->encryption[0] || o->storage_class[0] || o->tagging[0];
    const struct err said = a->why;
    a->rc = err_set(&a->why, ERR_CONFIG, 0, "%.160s. This server does not know %s%s%s: switch it off in storescp.conf", said.text,
                    o->if_none_match ? "If-None-Match (s3_if_none_match = false)" : "", o->if_none_match && more ? " or " : "",
                    more ? "one of s3_encryption, s3_storage_class, s3_tags" : o->if_none_match ? "" : "an operation that is needed");
}
