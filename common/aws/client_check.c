/* client_check - settings over which opening a client would stop, told before. See client.h. */
#include "common/aws/client.h"

#include <errno.h>
#include <unistd.h>

int aws_client_check(const struct config *config, struct err *e)
{
    bool has_id = config_text(config, CFG_ACCESS_KEY_ID)[0] != '\0';
    bool has_secret = config_text(config, CFG_SECRET_ACCESS_KEY)[0] != '\0';
    const char *bundle = config_text(config, CFG_CA_BUNDLE);
    if (has_id != has_secret) {
        enum config_key one = has_id ? CFG_ACCESS_KEY_ID : CFG_SECRET_ACCESS_KEY;
        return err_set(e, ERR_CONFIG, 0, "%s (%s) is set and %s is not set: set both, or none for keys from a profile or a role", config_describe(one)->name,
                       config_origin(config, one), config_describe(has_id ? CFG_SECRET_ACCESS_KEY : CFG_ACCESS_KEY_ID)->name);
    }
    if (bundle[0] && access(bundle, R_OK) == -1) {
        return err_set(e, ERR_CONFIG, errno, "ca_bundle (%s): %.200s cannot be read: name a file of CA certificates (PEM), or take the line out for those of the system",
                       config_origin(config, CFG_CA_BUNDLE), bundle);
    }
    return 0;
}
