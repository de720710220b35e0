/* findings - what the rules found at an instance: rows of `finding`, written in the transaction of the verdict, and how often each rule was broken. */
#include "common/state/internal.h"

#include <stdio.h>

int state_findings_write(struct state *s, const struct state_instance *claim, const struct state_finding *findings, size_t count, int64_t now_ms,
                         struct err *e)
{
    int64_t warnings = 0;
    /* judged again: what was found before is not true any more */
    int rc = claim->token > 1 ? state_run(s, NULL, e, "DELETE FROM finding WHERE instance = ?1", "t", claim->r.id) : 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        char tag[12] = "";
        if (findings[i].tag != 0) {
            (void)snprintf(tag, sizeof tag, "%04X,%04X", findings[i].tag >> 16, findings[i].tag & 0xffff);
        }
        warnings += findings[i].severity[0] == 'w';
        rc = state_run(s, NULL, e,
                       "INSERT INTO finding (instance, rule, severity, tag, text) VALUES (?1, ?2, ?3, ?4, ?5) "
                       "ON CONFLICT (instance, rule, tag) DO UPDATE SET severity = excluded.severity, text = excluded.text",
                       "ttttt", claim->r.id, findings[i].rule, findings[i].severity, tag, findings[i].text);
        rc = rc ? rc
                : state_run(s, NULL, e,
                            "INSERT INTO rule_count (rule, severity, found, last_ms) VALUES (?1, ?2, 1, ?3) "
                            "ON CONFLICT (rule, severity) DO UPDATE SET found = found + 1, last_ms = excluded.last_ms",
                            "tti", findings[i].rule, findings[i].severity, now_ms);
    }
    return rc || (warnings == 0 && claim->token <= 1) ? rc : state_run(s, NULL, e, "UPDATE instance SET warn_count = ?2 WHERE id = ?1", "ti", claim->r.id, warnings);
}
