/* changes - what element rules made of a file, and the audit of it; see struct state_changed in state.h. */
#include "common/state/internal.h"

#include <stdio.h>

int state_change_record(struct state *s, const char *id, const struct state_changed *c, int64_t now_ms, struct err *e)
{
    char note[300];
    int rc = state_run(s, NULL, e,
                       "UPDATE instance SET change_bytes = ?2, change_crc32c = ?3, change_sop_instance_uid = ?4, change_study_uid = ?5,"
                       " change_series_uid = ?6, change_by = ?7 WHERE id = ?1",
                       "tiieeet", id, c->file_bytes, (int64_t)c->file_crc32c, c->sop_instance_uid, c->study_uid, c->series_uid, c->by);
    for (size_t i = 0; rc == 0 && i < c->count; i++) {
        const struct state_change *one = &c->changes[i];
        rc = state_run(s, NULL, e, "INSERT INTO change (instance, at_ms, path, vr, action, who, old_value, new_value) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                       "titttttt", id, now_ms, one->path, one->vr, one->action, one->by, one->old_value, one->new_value);
    }
    (void)snprintf(note, sizeof note, "%zu elements changed by %.200s%s", c->total, c->by, c->total > c->count ? "; not all of them are kept as changes" : "");
    return rc ? rc
              : state_run(s, NULL, e, "INSERT INTO event (at_ms, instance, who, code, note) VALUES (?1, ?2, ?3, 'CHANGED', ?4)", "ittt", now_ms, id, s->worker,
                          note);
}
