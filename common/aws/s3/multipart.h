/*
 * multipart - the pure parts of a multipart upload: how a file is cut, what S3's answers say, the list that completes it. Hostile input is bounded.
 * Sources: S3 user guide "Amazon S3 multipart upload limits"; S3 API CreateMultipartUpload, ListParts, CompleteMultipartUpload.
 */
#ifndef STORESCP_AWS_MULTIPART_H
#define STORESCP_AWS_MULTIPART_H

#include "common/aws/bodies.h"
#include "common/aws/s3/s3.h"

enum { MULTIPART_PARTS_MAX = 10000, MULTIPART_PART_MIN = 5 << 20 };

struct multipart_plan {
    int64_t part_bytes; /* of every part but the last */
    int count;
};
/* Cuts a file of bytes > 0 into parts of wanted bytes, at least 5 MiB, grown in whole MiB until 10,000 of them hold the file. ERR_TOO_LARGE: even parts
 * of 5 GiB do not. */
int multipart_plan(int64_t bytes, int64_t wanted, struct multipart_plan *out, struct err *e);
/* Where part number (from 1) begins and how long it is. */
int64_t multipart_part_from(const struct multipart_plan *plan, int number);
int64_t multipart_part_bytes(const struct multipart_plan *plan, int64_t bytes, int number);

/* What is known of a part. */
struct multipart_part {
    int64_t bytes; /* as S3 has it; 0: it has not */
    uint32_t crc32c;
    bool has_crc32c, is_done; /* done: goes into the list that completes the upload */
    char etag[72];            /* without quotes */
};

/* CreateMultipartUpload's answer. ERR_PROTOCOL: it names no upload, or one whose name does not fit. */
int multipart_created_read(const char *body, size_t bytes, char upload_id[S3_UPLOAD_ID_SIZE], struct err *e);

struct multipart_page { /* one page of ListParts */
    bool truncated;
    int next_marker;
};
/* Fills the parts that the page lists into parts[number - 1]; others than 1 to count are passed over. ERR_PROTOCOL: no listing. */
int multipart_page_read(const char *body, size_t bytes, struct multipart_part *parts, int count, struct multipart_page *page, struct err *e);

struct multipart_completed {
    struct error_body error; /* code not empty: it was refused although the status says 200 */
    char etag[80]; /* "" where the server leaves it out: Ceph's gateway does */
    bool has_crc32c;
    uint32_t crc32c;
};
/* CompleteMultipartUpload's answer with status 200: a result, or an <Error>, with blanks before it that kept the connection alive. ERR_PROTOCOL: neither. */
int multipart_completed_read(const char *body, size_t bytes, struct multipart_completed *out, struct err *e);
/* The ETag that S3 gives to an object of these parts: MD5 over their MD5s, and their number. "" if a part's ETag is no MD5. */
void multipart_etag(const struct multipart_part *parts, int count, char out[80]);
/* The list of parts 1 to count as XML, on the heap; NULL without memory. */
char *multipart_list_write(const struct multipart_part *parts, int count, size_t *bytes);

#endif
