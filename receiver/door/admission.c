/* admission - the recorder's rules; see admission.h. */
#include "receiver/door/admission.h"

#include "common/runtime/config.h"
#include "receiver/recorder/pressure.h"

#include <stdarg.h>
#include <stdio.h>

enum { PERMANENT = 1, TRANSIENT = 2 };
/* sources and reasons of PS3.8 table 9-21 */
enum { BY_USER = 1, BY_PRESENTATION = 3 };
enum { CALLING_TITLE_NOT_RECOGNIZED = 3, TEMPORARY_CONGESTION = 1, LOCAL_LIMIT_EXCEEDED = 2 };

__attribute__((format(printf, 6, 7)))
static void reject(struct admission_verdict *out, int result, int source, int reason, const char *setting, const char *format, ...)
{
    va_list args;
    out->result = result;
    out->source = source;
    out->reason = reason;
    out->is_limit = result == TRANSIENT && reason == LOCAL_LIMIT_EXCEEDED;
    out->setting = setting;
    va_start(args, format);
    (void)vsnprintf(out->sentence, sizeof out->sentence, format, args);
    va_end(args);
}

void admission_judge(const struct config *config, const struct admission_facts *f, struct admission_verdict *out)
{
    *out = (struct admission_verdict){0};
    const struct config_section *section = config_for_ae(config, f->calling);
    const char *networks = config_text_for(config, section, CFG_ALLOWED_ADDRESSES);
    const long long most = config_int(config, CFG_MAXIMUM_ASSOCIATIONS);
    const long long kept = config_bool_for(config, section, CFG_PRIORITY) ? 0 : config_int(config, CFG_PRIORITY_RESERVE);
    const long long of_ae = config_int_for(config, section, CFG_ASSOCIATIONS_PER_AE);
    const long long of_address = config_int(config, CFG_ASSOCIATIONS_PER_ADDRESS);
    if (networks[0] && !cidr_holds(networks, &f->from)) {
        reject(out, PERMANENT, BY_USER, CALLING_TITLE_NOT_RECOGNIZED, "allowed_addresses", "this AE title may not come from this address");
    } else if (f->step == PRESSURE_REJECT && !(f->reserve_is_left && config_bool_for(config, section, CFG_PRIORITY))) {
        reject(out, TRANSIENT, BY_PRESENTATION, TEMPORARY_CONGESTION, f->is_backlog ? "backlog_reject_count or backlog_reject_mb" : "spool_reject_free_mb",
               "%s", f->is_backlog ? "too much waits to be uploaded" : "the spool's disk is nearly full");
    } else if (f->open >= most) {
        reject(out, TRANSIENT, BY_PRESENTATION, LOCAL_LIMIT_EXCEEDED, "maximum_associations", "%lld associations are open", most);
    } else if (f->open >= most - kept) {
        reject(out, TRANSIENT, BY_PRESENTATION, LOCAL_LIMIT_EXCEEDED, "priority_reserve",
               "%d associations are open, the rest is kept for AE titles with priority", f->open);
    } else if (of_ae > 0 && f->of_ae >= of_ae) {
        reject(out, TRANSIENT, BY_PRESENTATION, LOCAL_LIMIT_EXCEEDED, "associations_per_ae", "this AE title has %lld associations", of_ae);
    } else if (of_address > 0 && f->of_address >= of_address) {
        reject(out, TRANSIENT, BY_PRESENTATION, LOCAL_LIMIT_EXCEEDED, "associations_per_address", "this address has %lld associations", of_address);
    }
}
