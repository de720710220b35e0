/*
 * hint_fuzz - libFuzzer on the reader of messages from the queue of hints, which anybody who may write into that queue can fill. Beside the sanitizers it
 * demands that an id is one, and that only what names a job counts as its end.
 */
#include "importer/hint.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hint h;
    enum hint_kind kind = hint_read((const char *)data, size, &h);
    size_t id = strnlen(h.job_id, sizeof h.job_id);
    size_t name = strnlen(h.job_name, sizeof h.job_name);
    if (id == sizeof h.job_id || name == sizeof h.job_name || strspn(h.job_id, "abcdefghijklmnopqrstuvwxyz0123456789") != id ||
        ((kind == HINT_JOB_ENDED || kind == HINT_JOB_MOVES) && id == 0)) {
        abort();
    }
    return 0;
}
