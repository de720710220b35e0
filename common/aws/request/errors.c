/* errors - see errors.h. */
#include "common/aws/request/errors.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *code;
    int meaning;
} table[] = {
    {"SlowDown", ERR_AWS_THROTTLED},
    {"ServiceUnavailable", ERR_AWS_THROTTLED},
    {"Throttling", ERR_AWS_THROTTLED},
    {"ThrottlingException", ERR_AWS_THROTTLED},
    {"ThrottledException", ERR_AWS_THROTTLED},
    {"RequestThrottled", ERR_AWS_THROTTLED},
    {"RequestThrottledException", ERR_AWS_THROTTLED},
    {"RequestLimitExceeded", ERR_AWS_THROTTLED},
    {"TooManyRequests", ERR_AWS_THROTTLED},
    {"TooManyRequestsException", ERR_AWS_THROTTLED},
    {"BandwidthLimitExceeded", ERR_AWS_THROTTLED},
    {"LimitExceededException", ERR_AWS_THROTTLED},
    {"PriorRequestNotComplete", ERR_AWS_THROTTLED},
    {"ProvisionedThroughputExceededException", ERR_AWS_THROTTLED},
    {"TransactionInProgressException", ERR_AWS_THROTTLED},
    {"KMS.ThrottlingException", ERR_AWS_THROTTLED},
    {"ServiceQuotaExceededException", ERR_AWS_QUOTA},
    {"InternalError", ERR_AWS_SERVER},
    {"InternalFailure", ERR_AWS_SERVER},
    {"InternalServerError", ERR_AWS_SERVER},
    {"InternalServerException", ERR_AWS_SERVER},
    {"ServiceUnavailableException", ERR_AWS_SERVER},
    {"IDPCommunicationError", ERR_AWS_SERVER},
    {"RequestTimeout", ERR_TIMEOUT},
    {"RequestTimeoutException", ERR_TIMEOUT},
    {"OperationAborted", ERR_AWS_CONFLICT},
    {"ConditionalRequestConflict", ERR_AWS_CONFLICT},
    {"ConflictException", ERR_AWS_CONFLICT},
    {"PreconditionFailed", ERR_AWS_CONFLICT},
    {"BadDigest", ERR_AWS_CHECKSUM},
    {"XAmzContentSHA256Mismatch", ERR_AWS_CHECKSUM},
    {"XAmzContentChecksumMismatch", ERR_AWS_CHECKSUM},
    {"IncompleteBody", ERR_AWS_CHECKSUM},
    {"RequestTimeTooSkewed", ERR_AWS_CLOCK},
    {"RequestExpired", ERR_AWS_CLOCK},
    {"RequestInTheFuture", ERR_AWS_CLOCK},
    {"ExpiredToken", ERR_AWS_CREDENTIALS},
    {"ExpiredTokenException", ERR_AWS_CREDENTIALS},
    {"TokenRefreshRequired", ERR_AWS_CREDENTIALS},
    {"InvalidToken", ERR_AWS_CREDENTIALS},
    {"InvalidAccessKeyId", ERR_AWS_CREDENTIALS},
    {"InvalidClientTokenId", ERR_AWS_CREDENTIALS},
    {"UnrecognizedClientException", ERR_AWS_CREDENTIALS},
    {"SignatureDoesNotMatch", ERR_AWS_CREDENTIALS},
    {"InvalidSignatureException", ERR_AWS_CREDENTIALS},
    {"IncompleteSignature", ERR_AWS_CREDENTIALS},
    {"MissingAuthenticationToken", ERR_AWS_CREDENTIALS},
    {"MissingAuthenticationTokenException", ERR_AWS_CREDENTIALS},
    {"AuthFailure", ERR_AWS_CREDENTIALS},
    {"AccessDenied", ERR_AWS_DENIED},
    {"AccessDeniedException", ERR_AWS_DENIED},
    {"AllAccessDisabled", ERR_AWS_DENIED},
    {"AccountProblem", ERR_AWS_DENIED},
    {"NotSignedUp", ERR_AWS_DENIED},
    {"NotAuthorized", ERR_AWS_DENIED},
    {"OptInRequired", ERR_AWS_DENIED},
    {"InvalidObjectState", ERR_AWS_DENIED},
    {"NoSuchBucket", ERR_AWS_NOT_FOUND},
    {"NoSuchUpload", ERR_AWS_NO_UPLOAD},
    {"InvalidPart", ERR_AWS_NO_UPLOAD}, /* a part that was confirmed is not there: the upload is worth nothing any more */
    {"InvalidPartOrder", ERR_AWS_NO_UPLOAD},
    {"EntityTooSmall", ERR_AWS_NO_UPLOAD},
    {"NoSuchKey", ERR_AWS_NOT_FOUND},
    {"NotFound", ERR_AWS_NOT_FOUND},
    {"ResourceNotFoundException", ERR_AWS_NOT_FOUND},
    {"QueueDoesNotExist", ERR_AWS_NOT_FOUND},
    {"AWS.SimpleQueueService.NonExistentQueue", ERR_AWS_NOT_FOUND},
    {"InvalidAddress", ERR_AWS_NOT_FOUND},
    {"OverLimit", ERR_AWS_THROTTLED},
    {"KmsThrottled", ERR_AWS_THROTTLED},
    {"KmsAccessDenied", ERR_AWS_DENIED},
    {"KmsDisabled", ERR_AWS_DENIED},
    {"KmsNotFound", ERR_AWS_DENIED},
    {"KmsInvalidState", ERR_AWS_DENIED},
    {"KmsOptInRequired", ERR_AWS_DENIED},
    {"InvalidSecurity", ERR_AWS_DENIED},
    {"PermanentRedirect", ERR_AWS_REGION},
    {"TemporaryRedirect", ERR_AWS_REGION},
    {"Redirect", ERR_AWS_REGION},
    {"AuthorizationHeaderMalformed", ERR_AWS_REGION},
    {"IllegalLocationConstraintException", ERR_AWS_REGION},
    {"InvalidBucketName", ERR_CONFIG},
    {"EntityTooLarge", ERR_TOO_LARGE},
    {"RequestEntityTooLargeException", ERR_TOO_LARGE},
    {"KeyTooLongError", ERR_AWS_REJECTED},
    {"InvalidArgument", ERR_AWS_REJECTED},
    {"InvalidRequest", ERR_AWS_REJECTED},
    {"InvalidDigest", ERR_AWS_REJECTED},
    {"InvalidURI", ERR_AWS_REJECTED},
    {"MissingContentLength", ERR_AWS_REJECTED},
    {"MethodNotAllowed", ERR_AWS_REJECTED},
    {"NotImplemented", ERR_AWS_REJECTED},
    {"ValidationException", ERR_AWS_REJECTED},
    {"ValidationError", ERR_AWS_REJECTED},
    {"MalformedHttpRequestException", ERR_AWS_REJECTED},
    {"UnknownOperationException", ERR_AWS_REJECTED},
};

enum { TABLE_COUNT = sizeof table / sizeof table[0] };

void aws_error_plain_code(const char *code, char *out, size_t size)
{
    const char *hash = code ? strrchr(code, '#') : NULL;
    const char *begin = hash ? hash + 1 : code ? code : "";
    while (*begin == ' ') {
        begin++;
    }
    (void)snprintf(out, size, "%.*s", (int)strcspn(begin, ": \t\r\n"), begin);
}

/* Without a code that we know. known: AWS sent some code, so it was AWS that answered. */
static int by_status(long status, bool known)
{
    switch (status) {
    case 301:
    case 302:
    case 307:
    case 308:
        return ERR_AWS_REGION;
    case 401:
        return ERR_AWS_CREDENTIALS;
    case 402:
        return ERR_AWS_QUOTA;
    case 403:
        return ERR_AWS_DENIED;
    case 404:
        return ERR_AWS_NOT_FOUND;
    case 408:
        return ERR_TIMEOUT;
    case 409:
    case 412:
        return ERR_AWS_CONFLICT;
    case 413:
        return known ? ERR_TOO_LARGE : ERR_PROTOCOL;
    case 429:
        return ERR_AWS_THROTTLED;
    default:
        break;
    }
    if (status >= 500 && status <= 599) {
        return ERR_AWS_SERVER;
    }
    return status >= 400 && status <= 499 && known ? ERR_AWS_REJECTED : ERR_PROTOCOL;
}

int aws_error_code(long status, const char *code)
{
    char plain[80];
    aws_error_plain_code(code, plain, sizeof plain);
    for (size_t i = 0; plain[0] && i < TABLE_COUNT; i++) {
        if (strcmp(table[i].code, plain) == 0) {
            return table[i].meaning;
        }
    }
    if (strncmp(plain, "KMS.", 4) == 0) {
        return ERR_AWS_KMS;
    }
    return status >= 200 && status <= 299 && !plain[0] ? 0 : by_status(status, plain[0] != '\0');
}

bool aws_error_may_be_clock(long status, const char *code)
{
    static const char *const codes[] = {"RequestTimeTooSkewed",  "RequestExpired",        "RequestInTheFuture", "InvalidSignatureException",
                                        "SignatureDoesNotMatch", "AccessDeniedException", "AuthFailure"};
    char plain[80];
    aws_error_plain_code(code, plain, sizeof plain);
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (strcmp(codes[i], plain) == 0) {
            return true;
        }
    }
    return status == 403 && !plain[0]; /* HEAD: no body says why */
}

bool aws_error_kms_permission(const char *sentence, char *out, size_t size)
{
    const char *at = strstr(sentence, "kms:");
    size_t length = at ? 4 + strspn(at + 4, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz*") : 0;
    if (length <= 4 || length >= size || (at > sentence && strchr(":/", at[-1]))) { /* not the kms of an ARN */
        return false;
    }
    (void)snprintf(out, size, "%.*s", (int)length, at);
    return true;
}

bool aws_error_may_be_credentials(const char *code)
{
    return aws_error_code(403, code) == ERR_AWS_CREDENTIALS;
}
