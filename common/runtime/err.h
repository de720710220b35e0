/*
 * err - error codes, one table: code -> name, sentence, class of trouble.
 *
 * Functions return 0 or a negative enum err_code. Results go through pointers and stay untouched on error.
 * A struct err (may be NULL everywhere) carries the code, errno and a sentence for people: cause first, remedy after.
 * The class decides what a stage does next; nobody decides it a second time at the place of the call.
 * Text in a struct err goes to logs: identifiers and UIDs yes, patient data never.
 */
#ifndef STORESCP_RUNTIME_ERR_H
#define STORESCP_RUNTIME_ERR_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a stage does about an error. */
enum err_class {
    ERR_CLASS_NONE,
    ERR_CLASS_RETRY_SOON,    /* lost a race, lock busy: try again in milliseconds */
    ERR_CLASS_RETRY_BACKOFF, /* the item may succeed later: jittered backoff, no attempt limit */
    ERR_CLASS_PEER_DOWN,     /* the other side is away or throttles: the whole endpoint waits, items are not charged */
    ERR_CLASS_REFUSE,        /* the item itself is bad: quarantine or fail it, with the reason */
    ERR_CLASS_CONFIG,        /* a person must change a setting, a right or a clock: alarm, wait, keep the work */
    ERR_CLASS_BUG            /* must not happen: our mistake */
};

/* X(code, number, name, class, sentence). Numbers are stable: they stand in the database. */
#define ERR_TABLE(X)                                                                                                   \
    X(ERR_MEMORY, 1, "NO_MEMORY", ERR_CLASS_RETRY_BACKOFF, "out of memory")                                            \
    X(ERR_IO, 2, "IO_ERROR", ERR_CLASS_RETRY_BACKOFF, "a file operation failed; see the system error")                 \
    X(ERR_DISK_FULL, 3, "DISK_FULL", ERR_CLASS_RETRY_BACKOFF, "the spool's disk is full: free space or enlarge it")    \
    X(ERR_BUSY, 4, "BUSY", ERR_CLASS_RETRY_SOON, "another process holds the lock")                                     \
    X(ERR_FENCED, 5, "FENCED", ERR_CLASS_RETRY_SOON, "the claim is no longer ours; another worker has the item")       \
    X(ERR_NOT_FOUND, 6, "NOT_FOUND", ERR_CLASS_REFUSE, "not found")                                                    \
    X(ERR_EXISTS, 7, "EXISTS", ERR_CLASS_REFUSE, "exists already")                                                     \
    X(ERR_CONFIG, 8, "CONFIGURATION", ERR_CLASS_CONFIG, "a setting is missing or wrong")                               \
    X(ERR_DATABASE, 9, "DATABASE", ERR_CLASS_RETRY_BACKOFF, "the state database refused an operation")                 \
    X(ERR_SCHEMA, 10, "SCHEMA_VERSION", ERR_CLASS_CONFIG, "state.db was written by another version of the schema")     \
    X(ERR_TRANSITION, 11, "ILLEGAL_TRANSITION", ERR_CLASS_BUG, "the state machine does not allow this step")           \
    X(ERR_TIMEOUT, 12, "TIMEOUT", ERR_CLASS_RETRY_BACKOFF, "the time limit passed")                                    \
    X(ERR_NETWORK, 13, "NETWORK", ERR_CLASS_PEER_DOWN, "the endpoint cannot be reached")                               \
    X(ERR_PROTOCOL, 14, "PROTOCOL", ERR_CLASS_RETRY_BACKOFF, "the other side answered something that cannot be read")  \
    X(ERR_ARGUMENT, 15, "ARGUMENT", ERR_CLASS_BUG, "a function was called with an argument it does not take")          \
    X(ERR_STOPPED, 16, "STOPPED", ERR_CLASS_RETRY_SOON, "the process was told to stop")                                \
    X(ERR_TOO_LARGE, 17, "TOO_LARGE", ERR_CLASS_REFUSE, "larger than the limit")                                       \
    X(ERR_SPOOL_MISSING, 18, "SPOOL_FILE_MISSING", ERR_CLASS_REFUSE, "the row is there, its spool file is not")        \
    X(ERR_SPOOL_DAMAGED, 19, "SPOOL_FILE_DAMAGED", ERR_CLASS_REFUSE, "the spool file is not what was received")        \
    X(ERR_COMMIT_UNKNOWN, 20, "COMMIT_UNKNOWN", ERR_CLASS_RETRY_BACKOFF,                                               \
      "the sync of a commit failed: after a crash it may be there or not")                                             \
    X(ERR_WORKER_DIED, 21, "WORKER_DIED", ERR_CLASS_REFUSE,                                                            \
      "process after process died or stood still while it had this file")                                              \
    X(ERR_BACKLOG, 22, "BACKLOG", ERR_CLASS_RETRY_BACKOFF, "too much waits to be uploaded")                            \
    X(ERR_LIMIT, 23, "LIMIT_REACHED", ERR_CLASS_RETRY_BACKOFF, "a limit of this association or of all is reached")                                                             \
    /* AWS: what the endpoint said (shared by S3 and HealthImaging) */                                                 \
    X(ERR_AWS_THROTTLED, 40, "AWS_THROTTLED", ERR_CLASS_PEER_DOWN, "AWS asks to slow down")                            \
    X(ERR_AWS_SERVER, 41, "AWS_SERVER_ERROR", ERR_CLASS_PEER_DOWN, "AWS had an internal error")                        \
    X(ERR_AWS_QUOTA, 42, "AWS_QUOTA", ERR_CLASS_PEER_DOWN, "an AWS service quota is used up for now")                  \
    X(ERR_AWS_CREDENTIALS, 43, "AWS_CREDENTIALS", ERR_CLASS_CONFIG,                                                    \
      "AWS refused the credentials: check the keys, their expiry and the role")                                        \
    X(ERR_AWS_DENIED, 44, "AWS_ACCESS_DENIED", ERR_CLASS_CONFIG, "AWS denied access: check the policy of the role")    \
    X(ERR_AWS_CLOCK, 45, "AWS_CLOCK_SKEW", ERR_CLASS_CONFIG, "this machine's clock is wrong: run a time service")      \
    X(ERR_AWS_NOT_FOUND, 46, "AWS_NOT_FOUND", ERR_CLASS_CONFIG, "AWS does not know that bucket, key, data store, queue or table")    \
    X(ERR_AWS_CONFLICT, 47, "AWS_CONFLICT", ERR_CLASS_RETRY_BACKOFF, "AWS reports a conflicting state")                \
    X(ERR_AWS_CHECKSUM, 48, "AWS_CHECKSUM", ERR_CLASS_RETRY_BACKOFF, "S3 found other bytes than were received")        \
    X(ERR_AWS_REJECTED, 49, "AWS_REJECTED", ERR_CLASS_REFUSE, "AWS refused the request as such")                       \
    X(ERR_AWS_REGION, 50, "AWS_REGION", ERR_CLASS_CONFIG, "the bucket is in another region: set aws_region")           \
    X(ERR_AWS_NO_UPLOAD, 51, "AWS_NO_UPLOAD", ERR_CLASS_RETRY_BACKOFF, "S3 does not know that multipart upload any more")  \
    X(ERR_AWS_ENCRYPTION, 55, "AWS_ENCRYPTION", ERR_CLASS_CONFIG,                                                      \
      "S3 encrypts otherwise than was asked: check s3_encryption and the bucket's policy")                             \
    X(ERR_AWS_KMS, 56, "AWS_KMS", ERR_CLASS_CONFIG,                                                                    \
      "KMS does not serve us: allow kms:GenerateDataKey and kms:Decrypt on s3_kms_key, and look whether it is enabled") \
    X(ERR_AWS_OTHER_OBJECT, 57, "AWS_OTHER_OBJECT", ERR_CLASS_REFUSE,                                                  \
      "another object lies under that key in S3; it was not overwritten")                                              \
    /* the validator's verdicts: err.text names tag and rule */                                                        \
    X(ERR_DICOM_UNREADABLE, 60, "DICOM_UNREADABLE", ERR_CLASS_REFUSE, "the data set cannot be read")                   \
    X(ERR_DICOM_TRUNCATED, 61, "DICOM_TRUNCATED", ERR_CLASS_REFUSE, "the data set ends inside an element")             \
    X(ERR_DICOM_LIMIT, 62, "DICOM_LIMIT", ERR_CLASS_REFUSE, "the data set nests deeper or holds more than any image")  \
    X(ERR_DICOM_MISSING, 63, "DICOM_ATTRIBUTE_MISSING", ERR_CLASS_REFUSE, "a required attribute is missing or empty")  \
    X(ERR_DICOM_UID, 64, "DICOM_UID_ILLEGAL", ERR_CLASS_REFUSE, "a UID is not a UID (PS3.5 section 9)")                \
    X(ERR_DICOM_MISMATCH, 65, "DICOM_UID_MISMATCH", ERR_CLASS_REFUSE, "C-STORE request and data set disagree")         \
    X(ERR_DICOM_SYNTAX, 66, "DICOM_TRANSFER_SYNTAX", ERR_CLASS_REFUSE, "HealthImaging cannot import this syntax")      \
    X(ERR_DUPLICATE, 67, "DUPLICATE", ERR_CLASS_REFUSE, "the same SOP instance with the same content is here already") \
    X(ERR_DICOM_EDIT, 76, "DICOM_EDIT_FAILED", ERR_CLASS_REFUSE, "the element rules cannot be applied to this data set") \
    X(ERR_UID_REUSED, 68, "SOP_UID_REUSED", ERR_CLASS_REFUSE,                                                          \
      "another content with this SOP Instance UID is here already")                                                    \
    X(ERR_UID_ELSEWHERE, 86, "SOP_UID_ELSEWHERE", ERR_CLASS_REFUSE,                                                    \
      "the same SOP Instance UID is here already, in another study or series")                                         \
    X(ERR_IDENTITY_CONFLICT, 87, "IDENTITY_CONFLICT", ERR_CLASS_REFUSE,                                                \
      "its patient, study or series is described otherwise than by what came before")                                  \
    X(ERR_VERSION_WAITS, 88, "OLDER_VERSION_FIRST", ERR_CLASS_RETRY_BACKOFF,                                           \
      "an older version of the same image is still under way: this one goes after it")                                 \
    X(ERR_DICOM_RULE, 69, "DICOM_RULE", ERR_CLASS_REFUSE, "a rule that this installation has set to reject is broken") \
    /* a DICOMweb server: what it answered to a store request */                                                       \
    X(ERR_STORE_REFUSED, 90, "STORE_REFUSED", ERR_CLASS_REFUSE, "the DICOMweb server refused this instance")           \
    X(ERR_STORE_EXISTS, 91, "STORE_EXISTS", ERR_CLASS_REFUSE, "the DICOMweb server has an instance of that UID already") \
    X(ERR_STORE_FAILED, 92, "STORE_FAILED", ERR_CLASS_PEER_DOWN, "the DICOMweb server failed on this instance")        \
    X(ERR_STORE_UNCONFIRMED, 93, "STORE_UNCONFIRMED", ERR_CLASS_PEER_DOWN,                                             \
      "the DICOMweb server's answer does not mention the instance")                                                    \
    X(ERR_STORE_BUSY, 94, "STORE_SERVER_BUSY", ERR_CLASS_PEER_DOWN, "the DICOMweb server has no resources for now")    \
    X(ERR_STORE_SERVER, 95, "STORE_SERVER_ERROR", ERR_CLASS_PEER_DOWN, "the DICOMweb server had an internal error")    \
    X(ERR_STORE_DENIED, 96, "STORE_DENIED", ERR_CLASS_CONFIG,                                                          \
      "the DICOMweb server refused us: check dicomweb_user, dicomweb_password, the token or the client certificate")   \
    X(ERR_STORE_NO_SERVICE, 97, "STORE_NO_SERVICE", ERR_CLASS_CONFIG,                                                  \
      "dicomweb_url is no DICOMweb service that stores: correct it")  \
    /* the importer's verdicts */                                                                                      \
    X(ERR_IMPORT_REFUSED, 80, "IMPORT_REFUSED", ERR_CLASS_REFUSE, "HealthImaging could not import this file")          \
    X(ERR_IMPORT_SERVER, 81, "IMPORT_SERVER_ERROR", ERR_CLASS_RETRY_BACKOFF, "HealthImaging failed on this file")      \
    X(ERR_IMPORT_JOB_FAILED, 82, "IMPORT_JOB_FAILED", ERR_CLASS_RETRY_BACKOFF, "the import job failed")                \
    X(ERR_IMPORT_UNKNOWN, 83, "IMPORT_RESULT_UNKNOWN", ERR_CLASS_RETRY_BACKOFF,                                        \
      "the job ended and its results do not mention this file")                                                        \
    X(ERR_IMPORT_OVERDUE, 84, "IMPORT_OVERDUE", ERR_CLASS_PEER_DOWN, "the import job runs longer than import_job_s")                    \
    /* those who are told of finished and failed studies */                                                            \
    X(ERR_EVENT_REFUSED, 100, "EVENT_REFUSED", ERR_CLASS_REFUSE, "the listener refused this event as such: see its log") \
    X(ERR_EVENT_LISTENER, 101, "EVENT_LISTENER", ERR_CLASS_CONFIG,                                                      \
      "the listener takes no events: correct its URL, its secret or its rights")                                       \
    X(ERR_EVENT_BUSY, 102, "EVENT_LISTENER_BUSY", ERR_CLASS_PEER_DOWN, "the listener had an error or asks for patience")

enum err_code {
#define ERR_ENUM(code, number, name, class, sentence) code = -(number),
    ERR_TABLE(ERR_ENUM)
#undef ERR_ENUM
};

struct err {
    int code;       /* 0 or a negative enum err_code */
    int sys;        /* errno at that moment, 0 if none */
    char text[320]; /* the story; never patient data */
};

/* Fills e (if not NULL) and returns code, so that callers write `return err_set(e, ERR_IO, errno, "...")`. */
int err_set(struct err *e, int code, int sys, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The name in logs, SQL and CLI ("DISK_FULL"); "OK" for 0, "UNKNOWN" for foreign numbers. Static storage. */
const char *err_name(int code);
/* One sentence for people. Static storage. */
const char *err_sentence(int code);
enum err_class err_class_of(int code);
/* The code for a stored name, or 0. */
int err_code_of(const char *name);
/* errno -> ERR_DISK_FULL for ENOSPC/EDQUOT, ERR_NOT_FOUND for ENOENT, ERR_MEMORY, otherwise ERR_IO. */
int err_from_errno(int sys);

#ifdef __cplusplus
}
#endif

#endif
