/*
 * site - the region of some settings and where each service is for them: settings, then the SDKs' shared files, then the instance.
 *
 * Region, the first that is there: aws_region (storescp.conf, AWS_REGION, AWS_DEFAULT_REGION), `region` of the profile, and of an EC2 instance its own, asked
 * from the metadata service: that is the one question over the network, two seconds at most, and only where an endpoint of AWS's own is needed.
 * Endpoint of a service, the first that is there: its own setting (AWS_ENDPOINT_URL_S3 ...), endpoint_url (AWS_ENDPOINT_URL), the profile's
 * `services` section, `endpoint_url` of the profile, AWS's own. ignore_configured_endpoint_urls leaves out all but what storescp.conf says.
 * use_fips and use_dualstack may come from the profile, too (use_fips_endpoint, use_dualstack_endpoint).
 * Sources: SDK reference "Service-specific endpoints", "Dual-stack and FIPS endpoints", "AWS Region"; EC2 user guide, instance metadata "placement/region".
 */
#ifndef STORESCP_AWS_SITE_H
#define STORESCP_AWS_SITE_H

#include "common/aws/request/endpoint.h"
#include "common/runtime/config.h"

enum { SHARED_PATH_MAX = 4096 };

struct aws_site {
    char region[64];
    char region_origin[128]; /* "storescp.conf line 3", "profile [clinic]", "instance metadata": for people */
    struct endpoint endpoints[AWS_SERVICE_COUNT];
};

/* ERR_CONFIG names the setting that is wrong or missing. Reads nothing later: what changes in the shared files counts at the next start or reload. */
int aws_site_choose(const struct config *config, struct aws_site *out, struct err *e);

/* AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials, AWS_CONFIG_FILE or ~/.aws/config; "" if there is no home. */
void aws_shared_paths(char credentials_path[SHARED_PATH_MAX], char config_path[SHARED_PATH_MAX]);
/* "https://host/base" of the instance metadata service. ERR_CONFIG. */
int imds_base_url(char *url, size_t size, struct err *e);
/* The region of this instance: blocks up to two seconds. ERR_NETWORK: it is none. */
int imds_region(const struct config *config, char region[64], struct err *e);

#endif
