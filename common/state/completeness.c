/* completeness - see completeness.h. Each look reads the study's rows and writes one, unless something of the study has come meanwhile. */
#include "common/state/completeness.h"

#include "common/runtime/runtime.h"
#include "common/state/internal.h"

#include <stdio.h>
#include <string.h>

enum { STUDIES_MAX = 32, SERIES_TOLD = 5, REASON_SIZE = 1000, COUNTED_MAX = 16, ROWS_MAX = 100000, CLOCK_SLACK_MS = 600000 };

struct look {
    char study_uid[STATE_UID_SIZE];
    int64_t news_ms, here, by_numbers, by_commitments, by_associations;
    char reason[REASON_SIZE];
};

/* ---- news ---------------------------------------------------------------------------------------------------------------------- */

int state_completeness_news(struct state *s, const char *study_uid, int64_t now_ms, struct err *e)
{
    return !study_uid[0] ? 0 /* written at most once a second for each study */
                         : state_run(s, NULL, e,
                                     "INSERT INTO completeness (study_uid, news_ms) VALUES (?1, ?2) ON CONFLICT (study_uid) DO UPDATE SET news_ms = ?2,"
                                     " looked_ms = NULL, missing = 0, named = 0, reason = NULL WHERE looked_ms IS NOT NULL OR news_ms < ?2 - 1000 OR news_ms > ?2",
                                     "ti", study_uid, now_ms);
}

int state_completeness_named(struct state *s, const char *commitment, int64_t now_ms, struct err *e)
{
    return state_run(s, NULL, e,
                     "INSERT INTO completeness (study_uid, news_ms) SELECT DISTINCT i.study_uid, ?2 FROM commitment_item c JOIN instance i INDEXED BY instance_sop "
                     "ON i.sop_instance_uid = c.sop_instance_uid WHERE c.commitment = ?1 AND i.study_uid IS NOT NULL "
                     "ON CONFLICT (study_uid) DO UPDATE SET news_ms = ?2, looked_ms = NULL, missing = 0, named = 0, reason = NULL",
                     "ti", commitment, now_ms);
}

/* ---- one study ------------------------------------------------------------------------------------------------------------------- */

static void tell(struct look *l, const char *sentence)
{
    size_t used = strlen(l->reason);
    if (used + strlen(sentence) + 3 <= sizeof l->reason) {
        (void)snprintf(l->reason + used, sizeof l->reason - used, "%s%s", used ? "; " : "", sentence);
    }
}

/* A series counts when its numbers are consecutive somewhere (those of 10, 20, 30 lack nothing) and more of them are here than not. An image without a
 * number may be any of those that lack. */
static const char gaps[] =
    "WITH numbers AS (SELECT series_uid, instance_number AS n, count(*) AS instances, min(series_number) AS name FROM instance INDEXED BY instance_study "
    "WHERE study_uid = ?1 AND series_uid IS NOT NULL GROUP BY series_uid, instance_number),"
    " steps AS (SELECT series_uid, n, instances, name, n - lag(n) OVER (PARTITION BY series_uid ORDER BY n) AS step FROM numbers),"
    " series AS (SELECT series_uid, min(name) AS name, min(n) AS first, max(n) AS last, count(n) AS here, min(step) AS step,"
    " max(n) - min(n) + 1 - count(n) - sum(CASE WHEN n IS NULL THEN instances ELSE 0 END) AS missing FROM steps GROUP BY series_uid)"
    " SELECT name, series_uid, first, last, missing FROM series WHERE step = 1 AND missing > 0 AND missing < here ORDER BY missing DESC";

static int look_at_numbers(struct state *s, struct look *l, struct err *e)
{
    int step = SQLITE_DONE;
    int series = 0;
    int64_t untold = 0;
    char line[200];
    sqlite3_stmt *q = state_prepare(s, gaps, e);
    if (!q || state_bind(q, "t", l->study_uid) != 0) {
        return ERR_DATABASE;
    }
    while ((step = sqlite3_step(q)) == SQLITE_ROW) {
        char name[80];
        int64_t missing = sqlite3_column_int64(q, 4);
        l->by_numbers += missing;
        if (++series > SERIES_TOLD) {
            untold += missing;
            continue;
        }
        state_column(q, sqlite3_column_type(q, 0) == SQLITE_NULL ? 1 : 0, name, sizeof name);
        (void)snprintf(line, sizeof line, "series %.64s: %lld numbers missing between %lld and %lld", name, (long long)missing, (long long)sqlite3_column_int64(q, 2),
                       (long long)sqlite3_column_int64(q, 3));
        tell(l, line);
    }
    int rc = step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for gaps of a study");
    (void)sqlite3_reset(q);
    if (untold > 0) {
        (void)snprintf(line, sizeof line, "%d more series: %lld numbers missing", series - SERIES_TOLD, (long long)untold);
        tell(l, line);
    }
    return rc;
}

/* A request may name several studies, and of what never came nobody knows which: it counts for the one of which it names most. */
static const char never_came[] =
    "WITH named AS MATERIALIZED (SELECT DISTINCT c.commitment FROM instance i INDEXED BY instance_study JOIN commitment_item c INDEXED BY commitment_item_sop "
    "ON c.sop_instance_uid = i.sop_instance_uid WHERE i.study_uid = ?1),"
    " ours AS MATERIALIZED (SELECT commitment FROM named WHERE ?1 = (SELECT x.study_uid FROM commitment_item c JOIN instance x INDEXED BY instance_sop "
    "ON x.sop_instance_uid = c.sop_instance_uid WHERE c.commitment = named.commitment AND x.study_uid IS NOT NULL GROUP BY x.study_uid "
    "ORDER BY count(*) DESC, x.study_uid LIMIT 1))"
    " SELECT count(DISTINCT c.sop_instance_uid), min(k.calling_ae) FROM ours JOIN commitment k ON k.id = ours.commitment JOIN commitment_item c "
    "ON c.commitment = k.id WHERE NOT EXISTS (SELECT 1 FROM instance x INDEXED BY instance_sop WHERE x.sop_instance_uid = c.sop_instance_uid)";

static int look_at_commitments(struct state *s, struct look *l, struct err *e)
{
    char line[200];
    char ae[20] = "";
    sqlite3_stmt *q = state_prepare(s, never_came, e);
    if (!q || state_bind(q, "t", l->study_uid) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW) {
        l->by_commitments = sqlite3_column_int64(q, 0);
        state_column(q, 1, ae, sizeof ae);
    }
    int rc = step == SQLITE_ROW ? 0 : state_sql_error(s, e, "look at what commitments name of a study");
    (void)sqlite3_reset(q);
    if (l->by_commitments > 0) {
        (void)snprintf(line, sizeof line, "the storage commitment of %s names %lld that never came", ae, (long long)l->by_commitments);
        tell(l, line);
    }
    return rc;
}

struct counted {
    char association[STATE_ID_SIZE];
    int64_t began_ms, ended_ms, stored;
};

/* The associations of the study that stored more than its images: they brought other studies, too, or rows are missing. */
static int find_counted(struct state *s, const struct look *l, struct counted *out, int *count, struct err *e)
{
    int step = SQLITE_DONE;
    sqlite3_stmt *q = state_prepare(s,
                                    "WITH here AS MATERIALIZED (SELECT association, count(*) AS rows FROM instance INDEXED BY instance_study WHERE study_uid = ?1 GROUP BY 1)"
                                    " SELECT a.id, a.began_ms, a.ended_ms, a.stored FROM here JOIN association a ON a.id = here.association"
                                    " WHERE a.stored > here.rows AND a.ended_ms IS NOT NULL ORDER BY a.ended_ms DESC LIMIT ?2",
                                    e);
    *count = 0;
    if (!q || state_bind(q, "ti", l->study_uid, (int64_t)COUNTED_MAX) != 0) {
        return ERR_DATABASE;
    }
    while (*count < COUNTED_MAX && (step = sqlite3_step(q)) == SQLITE_ROW) {
        struct counted *c = &out[(*count)++];
        state_column(q, 0, c->association, sizeof c->association);
        c->began_ms = sqlite3_column_int64(q, 1);
        c->ended_ms = sqlite3_column_int64(q, 2);
        c->stored = sqlite3_column_int64(q, 3);
    }
    (void)sqlite3_reset(q);
    return step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for the associations of a study");
}

/* Rows of an association lie between its first and last moment, as ids sort by time: no index on the column that every reception would pay for. What is
 * too long to be counted so proves nothing. Of what is missing nobody knows the study: it counts for the one of which the association brought most. */
static int count_rows(struct state *s, struct look *l, const struct counted *c, struct err *e)
{
    char first[STATE_ID_SIZE];
    char last[STATE_ID_SIZE];
    id_first_at(c->began_ms - CLOCK_SLACK_MS, first);
    id_first_at(c->ended_ms + CLOCK_SLACK_MS, last);
    sqlite3_stmt *q = state_prepare(s,
                                    "WITH near AS MATERIALIZED (SELECT association, study_uid FROM instance WHERE id >= ?1 AND id < ?2 LIMIT ?3),"
                                    " ours AS MATERIALIZED (SELECT study_uid FROM near WHERE association = ?4)"
                                    " SELECT (SELECT count(*) FROM near), (SELECT count(*) FROM ours),"
                                    " ?5 = (SELECT study_uid FROM ours WHERE study_uid IS NOT NULL GROUP BY study_uid ORDER BY count(*) DESC, study_uid LIMIT 1)",
                                    e);
    if (!q || state_bind(q, "ttitt", first, last, (int64_t)ROWS_MAX, c->association, l->study_uid) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW && sqlite3_column_int64(q, 0) < ROWS_MAX && sqlite3_column_int(q, 2) && sqlite3_column_int64(q, 1) < c->stored) {
        l->by_associations += c->stored - sqlite3_column_int64(q, 1);
    }
    int rc = step == SQLITE_ROW ? 0 : state_sql_error(s, e, "count what an association stored");
    (void)sqlite3_reset(q);
    return rc;
}

static int look_at_counts(struct state *s, struct look *l, struct err *e)
{
    struct counted counted[COUNTED_MAX];
    int count = 0;
    int rc = find_counted(s, l, counted, &count, e);
    for (int i = 0; rc == 0 && i < count; i++) {
        rc = count_rows(s, l, &counted[i], e);
    }
    if (rc == 0 && l->by_associations > 0) {
        char line[200];
        (void)snprintf(line, sizeof line, "its associations stored %lld of which there is no row: was the database lost or put back? storescpctl rebuild finds them in the spool",
                       (long long)l->by_associations);
        tell(l, line);
    }
    return rc;
}

static int64_t most_of(const struct look *l)
{
    int64_t most = l->by_numbers > l->by_commitments ? l->by_numbers : l->by_commitments;
    return most > l->by_associations ? most : l->by_associations;
}

/* Only beside what is missing: what was refused may have come again, on that association or on a later one. */
static int look_at_associations(struct state *s, struct look *l, struct err *e)
{
    char line[200];
    int64_t refused = 0;
    int64_t broken = 0;
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT ifnull(sum(a.refused), 0), ifnull(sum(a.outcome NOT LIKE 'released%'), 0) FROM association a WHERE a.id IN "
                                    "(SELECT association FROM instance INDEXED BY instance_study WHERE study_uid = ?1)",
                                    e);
    if (!q || state_bind(q, "t", l->study_uid) != 0) {
        return ERR_DATABASE;
    }
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW) {
        refused = sqlite3_column_int64(q, 0);
        broken = sqlite3_column_int64(q, 1);
    }
    int rc = step == SQLITE_ROW ? 0 : state_sql_error(s, e, "look at the associations of a study");
    (void)sqlite3_reset(q);
    if (refused > 0) {
        (void)snprintf(line, sizeof line, "%lld C-STORE requests were refused on its associations", (long long)refused);
        tell(l, line);
    }
    if (broken > 0) {
        (void)snprintf(line, sizeof line, "%lld of its associations were not released", (long long)broken);
        tell(l, line);
    }
    return rc;
}

static int look_at(struct state *s, struct look *l, struct err *e)
{
    int rc = state_number(s, &l->here, 0, e, "SELECT count(DISTINCT sop_instance_uid) FROM instance INDEXED BY instance_study WHERE study_uid = ?1", "t", l->study_uid);
    rc = rc ? rc : look_at_numbers(s, l, e);
    rc = rc ? rc : look_at_commitments(s, l, e);
    rc = rc ? rc : look_at_counts(s, l, e);
    return rc || !l->reason[0] ? rc : look_at_associations(s, l, e);
}

/* ---- the round ------------------------------------------------------------------------------------------------------------------------- */

static int find_due(struct state *s, int64_t until_ms, int limit, struct look *out, int *count, struct err *e)
{
    int step = SQLITE_DONE;
    sqlite3_stmt *q = state_prepare(s,
                                    "SELECT study_uid, news_ms FROM completeness INDEXED BY completeness_due WHERE looked_ms IS NULL AND news_ms <= ?1 "
                                    "ORDER BY news_ms LIMIT ?2",
                                    e);
    *count = 0;
    if (!q || state_bind(q, "ii", until_ms, (int64_t)limit) != 0) {
        return ERR_DATABASE;
    }
    while (*count < limit && (step = sqlite3_step(q)) == SQLITE_ROW) {
        struct look *l = &out[(*count)++];
        memset(l, 0, sizeof *l);
        state_column(q, 0, l->study_uid, sizeof l->study_uid);
        l->news_ms = sqlite3_column_int64(q, 1);
    }
    (void)sqlite3_reset(q);
    return step == SQLITE_ROW || step == SQLITE_DONE ? 0 : state_sql_error(s, e, "look for quiet studies");
}

int state_completeness_look(struct state *s, int64_t quiet_ms, int limit, int *looked, struct err *e)
{
    struct look looks[STUDIES_MAX];
    int64_t now = clock_wall_ms();
    int64_t waits = 0;
    int count = 0;
    *looked = 0;
    int rc = find_due(s, now - quiet_ms, limit < STUDIES_MAX ? limit : STUDIES_MAX, looks, &count, e);
    if (rc != 0 || count == 0) {
        return rc;
    }
    rc = state_number(s, &waits, 0, e,
                      "SELECT 1 FROM instance INDEXED BY work_received WHERE state = 'received' AND owner IS NULL AND held = 0 AND next_attempt_ms <= ?1 LIMIT 1", "i", now);
    if (rc != 0 || waits) {
        return rc;
    }
    for (int i = 0; rc == 0 && i < count; i++) {
        rc = look_at(s, &looks[i], e);
    }
    rc = rc ? rc : state_begin(s, e);
    if (rc != 0) {
        return rc;
    }
    for (int i = 0; rc == 0 && i < count; i++) { /* the same image may be missing in several ways */
        const struct look *l = &looks[i];
        rc = state_run(s, NULL, e,
                       "UPDATE completeness SET looked_ms = ?3, here = ?4, missing = ?5, named = ?6, reason = ?7 WHERE study_uid = ?1 AND news_ms = ?2 AND looked_ms IS NULL",
                       "tiiiiie", l->study_uid, l->news_ms, now, l->here, most_of(l), l->by_commitments, l->reason);
    }
    rc = state_end(s, rc, e);
    *looked = rc == 0 ? count : 0;
    return rc;
}
