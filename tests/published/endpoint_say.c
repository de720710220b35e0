/* endpoint_say - for tests/pipeline/endpoint_rules_test.py: lines "SERVICE REGION FIPS DUALSTACK URL" ("-": none) come in, for each one line goes out: the URL
 * that endpoint_resolve() chooses, or "error" and why. */
#include "common/aws/request/endpoint.h"

#include <stdio.h>
#include <string.h>

int main(void)
{
    static const char *const words[AWS_SERVICE_COUNT] = {
        [AWS_S3] = "s3",   [AWS_MEDICAL_IMAGING] = "medical-imaging", [AWS_RUNTIME_MEDICAL_IMAGING] = "runtime-medical-imaging",
        [AWS_STS] = "sts", [AWS_DICOM_MEDICAL_IMAGING] = "dicom-medical-imaging", [AWS_SQS] = "sqs", [AWS_DYNAMODB] = "dynamodb",
    };
    char line[1200];
    while (fgets(line, sizeof line, stdin)) {
        char service[40], region[80], url[900];
        int fips = 0;
        int dualstack = 0;
        struct endpoint out;
        struct err e = {0};
        enum aws_service which = 0;
        if (sscanf(line, "%39s %79s %d %d %899s", service, region, &fips, &dualstack, url) != 5) {
            return 2;
        }
        while (which < AWS_SERVICE_COUNT && strcmp(words[which], service) != 0) {
            which++;
        }
        if (which == AWS_SERVICE_COUNT) {
            return 3;
        }
        struct endpoint_wish wish = {strcmp(region, "-") == 0 ? "" : region, strcmp(url, "-") == 0 ? "" : url, fips != 0, dualstack != 0};
        int rc = endpoint_resolve(which, &wish, &out, &e);
        if (rc != 0) {
            (void)printf("error %s\n", e.text);
        } else {
            (void)printf("%s://%s%s\n", out.tls ? "https" : "http", out.host, out.base);
        }
    }
    return 0;
}
