/* reports - what storescpctl may read, by name. */
#include "common/runtime/runtime.h"
#include "common/state/internal.h"

#include <stdio.h>
#include <string.h>

#define QUARANTINED                                                                                                    \
    "state = 'quarantined' AND dropped_ms IS NULL AND (?1 ->> 'code' IS NULL OR error_code = ?1 ->> 'code') "             \
    "AND (?1 ->> 'ae' IS NULL OR calling_ae = ?1 ->> 'ae') AND (?1 ->> 'since' IS NULL OR changed_ms >= ?1 ->> 'since') "
#define OF_STUDY "AND study_uid = ?1 ->> 'study' "
#define QUARANTINED_COLUMNS "id, error_code AS code, error_text AS text, remedy, calling_ae, study_uid, received_ms, changed_ms, file_bytes, twin "

/* ?1: the argument, ?2: the limit. Every report names ?2 so that both can be bound. */
static const struct {
    const char *name, *sql;
} reports[] = {
    {"status", "SELECT state, count(*) AS count, sum(file_bytes) AS bytes, min(changed_ms) AS oldest_ms, sum(held) AS held, "
               "sum(dropped_ms IS NOT NULL) AS dropped FROM instance "
               "GROUP BY state LIMIT ?2"},
    {"workers", "SELECT name, stage, pid, started_ms, beat_ms, status FROM worker ORDER BY stage, started_ms LIMIT ?2"},
    {"batches", "SELECT state, count(*) AS count FROM batch GROUP BY state LIMIT ?2"},
    {"destinations", "SELECT * FROM v_destination LIMIT ?2"},
    {"queue", "SELECT * FROM v_queue LIMIT ?2"},
    {"studies", "SELECT * FROM v_study ORDER BY last_received_utc DESC LIMIT ?2"},
    {"study", "SELECT * FROM v_study WHERE study_uid = ?1 LIMIT ?2"},
    {"stuck", "SELECT * FROM v_stuck LIMIT ?2"},
    {"short", "SELECT * FROM v_short LIMIT ?2"},
    {"completeness", "SELECT (SELECT count(*) FROM completeness INDEXED BY completeness_short WHERE missing > 0) AS short,"
                     " (SELECT ifnull(sum(missing), 0) FROM completeness INDEXED BY completeness_short WHERE missing > 0) AS missing,"
                     " (SELECT count(*) FROM completeness INDEXED BY completeness_due WHERE looked_ms IS NULL) AS arriving,"
                     " (SELECT count(*) FROM completeness INDEXED BY completeness_short WHERE missing > 0 AND named > 0 AND news_ms > "
                     "CAST(strftime('%s', 'now') AS INTEGER) * 1000 - 604800000) AS named_recently LIMIT ?2"},
    {"conflicts_of_study", "SELECT * FROM v_conflict WHERE study_uid = ?1 ORDER BY instances DESC LIMIT ?2"},
    {"conflicts_of_instance", "SELECT c.*, i.study_uid FROM conflict c JOIN instance i ON i.id = c.instance WHERE c.instance = ?1 LIMIT ?2"},
    {"conflicts", "SELECT count(*) AS instances, sum(state = 'quarantined') AS held FROM instance INDEXED BY instance_conflict WHERE conflicts > 0 AND "
                  "dropped_ms IS NULL LIMIT ?2"},
    {"instance", "SELECT i.*, b.state AS batch_state, j.jobStatus, j.inputS3Uri, j.outputS3Uri FROM instance i "
                 "LEFT JOIN batch b ON b.id = i.batch LEFT JOIN import_job j ON j.batch = i.batch WHERE i.id = ?1 LIMIT ?2"},
    {"history", "SELECT at_ms, from_state, to_state, who, code, note FROM event WHERE instance = ?1 ORDER BY id LIMIT ?2"},
    {"findings", "SELECT severity, rule, tag, text FROM finding WHERE instance = ?1 "
                 "ORDER BY CASE severity WHEN 'reject' THEN 0 WHEN 'warn' THEN 1 ELSE 2 END, rule LIMIT ?2"},
    {"rules", "SELECT rule, severity, found, last_ms FROM rule_count ORDER BY rule, severity LIMIT ?2"},
    {"refused", "SELECT id FROM instance WHERE (id = ?1 OR study_uid = ?1) AND dropped_ms IS NULL "
                "AND (state IN ('quarantined', 'failed') OR (state = 'received' AND held = 1 AND owner IS NULL)) LIMIT ?2"},
    /* What is quarantined. ?1: a JSON object of filters {"study", "ae", "code", "since"}, each may be absent. */
    {"quarantine_reasons", "SELECT error_code AS code, count(*) AS instances, min(changed_ms) AS first_ms, max(changed_ms) AS last_ms, "
                           "group_concat(DISTINCT calling_ae) AS senders, max(id) AS example_id FROM instance INDEXED BY instance_refusal WHERE "
                           QUARANTINED "GROUP BY error_code ORDER BY instances DESC LIMIT ?2"},
    {"quarantine_reasons_of_study", "SELECT error_code AS code, count(*) AS instances, min(changed_ms) AS first_ms, max(changed_ms) AS last_ms, "
                                    "group_concat(DISTINCT calling_ae) AS senders, max(id) AS example_id FROM instance INDEXED BY instance_study WHERE "
                                    QUARANTINED OF_STUDY "GROUP BY error_code ORDER BY instances DESC LIMIT ?2"},
    {"quarantine", "SELECT " QUARANTINED_COLUMNS "FROM instance INDEXED BY instance_quarantined WHERE " QUARANTINED "ORDER BY changed_ms DESC, id DESC LIMIT ?2"},
    {"quarantine_of_study", "SELECT " QUARANTINED_COLUMNS "FROM instance INDEXED BY instance_study WHERE " QUARANTINED OF_STUDY "ORDER BY changed_ms DESC, id DESC LIMIT ?2"},
    {"quarantined_one", "SELECT " QUARANTINED_COLUMNS "FROM instance WHERE id = ?1 AND state = 'quarantined' AND dropped_ms IS NULL LIMIT ?2"},
    {"acceptances", "SELECT rule, at_ms, who, reason FROM acceptance WHERE instance = ?1 ORDER BY at_ms LIMIT ?2"},
    {"fixes_of", "SELECT f.id, a.at_ms AS applied_ms, f.who, f.reason, f.actions FROM fix_applied a JOIN fix_rule f ON f.id = a.fix WHERE a.instance = ?1 "
                 "ORDER BY f.id LIMIT ?2"},
    {"changes", "SELECT at_ms, path, vr, action, who, old_value, new_value FROM change WHERE instance = ?1 ORDER BY id DESC LIMIT ?2"},
    {"fix_rules", "SELECT id, kind, match, actions, reason, who, at_ms, (SELECT count(*) FROM fix_applied a WHERE a.fix = fix_rule.id) AS applied_to, "
                  "stopped_ms, stopped_by FROM fix_rule ORDER BY stopped_ms IS NOT NULL, id DESC LIMIT ?2"},
    {"instances_of_study", "SELECT id, state, sop_instance_uid, error_code, batch, image_set_id FROM instance WHERE study_uid = ?1 "
                           "ORDER BY id LIMIT ?2"},
    {"study_waits", "SELECT state, destination, held, count(*) AS instances, min(changed_ms) AS since_ms, id FROM instance WHERE study_uid = ?1 "
                    "AND state IN ('received', 'validated', 'uploaded', 'importing') GROUP BY state, destination, held ORDER BY since_ms LIMIT ?2"},
    {"instances_of_batch", "SELECT id, state, sop_instance_uid, error_code, held, image_set_id FROM instance WHERE batch = ?1 ORDER BY id LIMIT ?2"},
    {"batch_waits", "SELECT sum(state = 'validated') AS not_uploaded, sum(held = 1) AS held, max(CASE WHEN held = 1 THEN id END) AS held_id, "
                    "max(CASE WHEN state = 'validated' AND held = 0 THEN id END) AS not_uploaded_id FROM instance WHERE batch = ?1 LIMIT ?2"},
    {"batch", "SELECT b.*, (SELECT count(DISTINCT i.study_uid) FROM instance i WHERE i.batch = b.id) AS studies, j.jobId, j.jobStatus, j.inputS3Uri, j.outputS3Uri, j.message FROM batch b "
              "LEFT JOIN import_job j ON j.batch = b.id WHERE b.id = ?1 LIMIT ?2"},
    {"wait", "SELECT * FROM v_wait LIMIT ?2"},
    {"overdue", "SELECT * FROM v_overdue ORDER BY running_seconds DESC LIMIT ?2"},
    {"last_received", "SELECT received_ms FROM instance ORDER BY id DESC LIMIT ?2"},
    {"jobs", "SELECT * FROM import_job ORDER BY submittedAt DESC LIMIT ?2"},
    {"find", "SELECT * FROM (SELECT 'instance' AS kind, id FROM instance WHERE id = ?1 "
             "UNION SELECT 'instance', id FROM instance WHERE sop_instance_uid = ?1 "
             "UNION SELECT 'study', study_uid FROM instance WHERE study_uid = ?1 "
             "UNION SELECT 'study', study_uid FROM instance WHERE accession_number = ?1 AND study_uid IS NOT NULL "
             "UNION SELECT 'study', study_uid FROM instance WHERE patient_id = ?1 AND study_uid IS NOT NULL "
             "UNION SELECT 'commitment', id FROM commitment WHERE id = ?1 "
             "UNION SELECT 'commitment', id FROM commitment INDEXED BY commitment_transaction WHERE transaction_uid = ?1 "
             "UNION SELECT 'batch', id FROM batch WHERE id = ?1) LIMIT ?2"},
    {"outbox_targets", "SELECT t.name AS target, t.takes, t.seen_ms, t.given_up, t.given_up_ms,"
                       " (SELECT count(*) FROM outbox o INDEXED BY outbox_subject WHERE o.target = t.name) AS waiting,"
                       " (SELECT min(o.at_ms) FROM outbox o WHERE o.target = t.name) AS oldest_ms,"
                       " (SELECT o.error_code FROM outbox o WHERE o.target = t.name AND o.error_code IS NOT NULL ORDER BY o.next_attempt_ms DESC LIMIT 1) AS error_code,"
                       " (SELECT o.error_text FROM outbox o WHERE o.target = t.name AND o.error_code IS NOT NULL ORDER BY o.next_attempt_ms DESC LIMIT 1) AS error_text "
                       "FROM outbox_target t ORDER BY t.name LIMIT ?2"},
    {"outbox", "SELECT target, kind, event, subject, instance, attempts, error_code, error_text, at_utc, next_attempt_utc FROM v_outbox "
               "ORDER BY seq LIMIT ?2"},
    {"commitments", "SELECT commitment, state, calling_ae, point, items, undecided, failed, attempts, error_code, error_text, transaction_uid,"
                    " requested_utc, ended_utc FROM v_commitment ORDER BY state = 'reported', commitment DESC LIMIT ?2"},
    {"commitment", "SELECT * FROM commitment WHERE id = ?1 LIMIT ?2"},
    {"commitment_history", "SELECT at_ms, who, code, note FROM commitment_event WHERE commitment = ?1 ORDER BY id LIMIT ?2"},
    {"commitment_trouble", "SELECT (SELECT count(*) FROM commitment INDEXED BY commitment_reporting WHERE state = 'reporting' AND owner IS NULL AND "
                           "offered_to IS NULL AND error_code IS NOT NULL) AS undelivered, (SELECT error_text FROM commitment INDEXED BY "
                           "commitment_reporting WHERE state = 'reporting' AND owner IS NULL AND offered_to IS NULL AND error_code IS NOT NULL LIMIT 1) "
                           "AS example, (SELECT count(*) FROM commitment INDEXED BY commitment_given_up WHERE state = 'given_up' AND ended_ms > "
                           "CAST(strftime('%s', 'now') AS INTEGER) * 1000 - 604800000) AS given_up LIMIT ?2"},
    {"commitments_of", "SELECT c.id, c.state, c.calling_ae, i.reason, c.requested_ms, c.ended_ms, c.error_text FROM commitment_item i "
                       "JOIN commitment c ON c.id = i.commitment WHERE i.sop_instance_uid = ?1 ORDER BY c.id DESC LIMIT ?2"},
};

int state_report(struct state *s, const char *name, const char *arg1, long long limit,
                 int (*row)(void *ctx, int columns, const char *const *names, const char *const *values), void *ctx,
                 struct err *e)
{
    enum { COLUMNS_MAX = 80 };
    const char *names[COLUMNS_MAX];
    const char *values[COLUMNS_MAX];
    const char *sql = NULL;
    for (size_t i = 0; i < sizeof reports / sizeof reports[0]; i++) {
        if (strcmp(reports[i].name, name) == 0) {
            sql = reports[i].sql;
        }
    }
    sqlite3_stmt *q = sql ? state_prepare(s, sql, e) : NULL;
    if (!q) {
        return sql ? ERR_DATABASE : err_set(e, ERR_ARGUMENT, 0, "there is no report \"%s\"", name);
    }
    if (arg1) {
        (void)sqlite3_bind_text(q, 1, arg1, -1, SQLITE_TRANSIENT);
    }
    (void)sqlite3_bind_int64(q, 2, limit > 0 ? limit : 1000);
    int columns = sqlite3_column_count(q);
    int rc = columns > COLUMNS_MAX ? err_set(e, ERR_ARGUMENT, 0, "report \"%s\" has too many columns", name) : 0;
    int step = SQLITE_DONE;
    while (rc == 0 && (step = sqlite3_step(q)) == SQLITE_ROW) {
        for (int i = 0; i < columns; i++) {
            names[i] = sqlite3_column_name(q, i);
            values[i] = (const char *)sqlite3_column_text(q, i);
        }
        rc = row(ctx, columns, names, values);
    }
    if (rc == 0 && step != SQLITE_DONE) {
        rc = state_sql_error(s, e, name);
    }
    (void)sqlite3_reset(q);
    return rc;
}
