/* importer - see importer.h. */
#include "importer/importer.h"

#include "common/aws/medical_imaging.h"
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"

#include <string.h>

enum { ITEM_BASE_MS = 1000, ITEM_CEILING_MS = 300000, ELSEWHERE_MS = 60000, POLLS_PER_S = 20 };

void importer_give_back(struct importer *m, const struct state_batch *b)
{
    struct err e = {0};
    if (state_batch_unclaim(m->state, b, &e) != 0) { /* it would be ours as long as we live: end, and the lock that drops frees it */
        log_error("claim_stuck", "batch=%s reason=\"%s\" effect=\"this process ends; another one takes it\"", b->id, e.text);
        m->broken = true;
    }
}

void importer_put_off(struct importer *m, struct gate *g, struct state_batch *b, const struct err *why)
{
    struct err e = {0};
    int64_t wait_ms;
    bool elsewhere = importer_is_elsewhere(m, b) && err_class_of(why->code) == ERR_CLASS_CONFIG;
    if (gate_concerns(why) && !elsewhere) {
        int64_t now = clock_mono_ms();
        gate_close(g, why, now);
        wait_ms = g->until_ms - now;
    } else {
        char text[640];
        wait_ms = elsewhere ? ELSEWHERE_MS : backoff_ms(b->attempts, ITEM_BASE_MS, ITEM_CEILING_MS, random_u32());
        log_warning("batch_deferred", "batch=%s job=%s code=%s attempts=%d retry_ms=%lld reason=%s", b->id, b->job_id[0] ? b->job_id : "-",
                    err_name(why->code), b->attempts + 1, (long long)wait_ms, log_text(why->text, text, sizeof text));
    }
    int rc = state_batch_defer(m->state, b, NULL, why, clock_wall_ms() + wait_ms, &e);
    if (rc != 0 && rc != ERR_FENCED) {
        importer_give_back(m, b);
    }
}

bool importer_is_elsewhere(const struct importer *m, const struct state_batch *b)
{
    return b->datastore_id[0] && strcmp(b->datastore_id, config_text(m->config, CFG_DATASTORE_ID)) != 0;
}

bool importer_store_is_active(struct importer *m, struct gate *g)
{
    const char *datastore_id = config_text(m->config, CFG_DATASTORE_ID);
    char status[24] = "";
    struct err e = {0};
    if (m->store_is_active) {
        return true;
    }
    int rc = ahi_datastore_status(m->aws, datastore_id, status, &e);
    if (rc == 0 && strcmp(status, "ACTIVE") != 0) {
        rc = err_set(&e, ERR_CONFIG, 0, "the data store %s is %s, not ACTIVE: set datastore_id to one that is, or wait until it is", datastore_id, status);
    }
    if (rc != 0) {
        gate_close(g, &e, clock_mono_ms());
        return false;
    }
    m->store_is_active = true;
    return true;
}

int64_t importer_poll_setting_ms(const struct importer *m)
{
    int64_t usual = config_int(m->config, CFG_IMPORT_POLL_MS);
    int64_t hinted = m->is_hinted && *m->is_hinted ? config_int(m->config, CFG_IMPORT_POLL_HINTED_MS) : usual;
    return hinted > usual ? hinted : usual;
}

int64_t importer_poll_ms(int64_t setting_ms, int64_t jobs_count, uint32_t random)
{
    int64_t least = jobs_count * 1000 / POLLS_PER_S;
    int64_t wait = setting_ms > least ? setting_ms : least;
    return wait - wait / 8 + (int64_t)(random % (uint32_t)(wait / 4 + 1));
}
