-- Schema version 1 of state.db. Never edited after a release: a change is a new file schema_<n>.sql.
-- Times are milliseconds since 1970 (UTC). docs/states.md explains every state; docs/database.md every column.

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

CREATE TABLE transition (from_state TEXT NOT NULL, to_state TEXT NOT NULL, PRIMARY KEY (from_state, to_state)) STRICT;
INSERT INTO transition VALUES
  ('received', 'validated'), ('received', 'quarantined'), ('received', 'duplicate'),
  ('validated', 'uploaded'), ('validated', 'failed'),
  ('validated', 'stored'), -- its destination imports nothing
  ('uploaded', 'importing'),
  ('uploaded', 'validated'), -- a person moved it to another destination
  ('importing', 'imported'), ('importing', 'failed'), ('importing', 'validated'),
  ('quarantined', 'received'), ('failed', 'validated'), ('failed', 'received'),
  ('failed', 'imported'), -- its object stood in S3 all the same, and the batch's job imported it
  ('duplicate', 'received'); -- the only other copy of its image was lost

CREATE TABLE association (
  id TEXT PRIMARY KEY, peer TEXT, calling_ae TEXT, called_ae TEXT,
  began_ms INTEGER NOT NULL, ended_ms INTEGER, outcome TEXT,
  stored INTEGER NOT NULL DEFAULT 0, refused INTEGER NOT NULL DEFAULT 0,
  tls TEXT, -- NULL: a plain connection
  user_name TEXT, user_checked INTEGER NOT NULL DEFAULT 0) STRICT; -- user identity negotiation

CREATE TABLE instance (
  id TEXT PRIMARY KEY,
  state TEXT NOT NULL DEFAULT 'received' CHECK (state IN
    ('received', 'validated', 'uploaded', 'importing', 'imported', 'stored', 'duplicate', 'quarantined', 'failed')),
  destination TEXT NOT NULL DEFAULT 'default', -- decided by the validator
  held INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,
  import_attempts INTEGER NOT NULL DEFAULT 0, -- import jobs that ended without a verdict on it
  deaths INTEGER NOT NULL DEFAULT 0, -- workers that died while they had it, in this state
  next_attempt_ms INTEGER NOT NULL DEFAULT 0,
  owner TEXT, token INTEGER NOT NULL DEFAULT 0,
  error_code TEXT, error_text TEXT, remedy TEXT, warning TEXT,
  warn_count INTEGER NOT NULL DEFAULT 0, -- findings of severity warn
  association TEXT, peer TEXT, calling_ae TEXT, called_ae TEXT,
  sop_class_uid TEXT NOT NULL, sop_instance_uid TEXT NOT NULL, transfer_syntax_uid TEXT NOT NULL,
  study_uid TEXT, series_uid TEXT, modality TEXT, accession_number TEXT, patient_id TEXT, study_date TEXT,
  study_id TEXT, series_number TEXT, instance_number INTEGER, -- NULL: missing, or no number
  conflicts INTEGER NOT NULL DEFAULT 0, -- rows in conflict
  file_bytes INTEGER NOT NULL, data_bytes INTEGER NOT NULL,
  file_crc32c INTEGER NOT NULL, data_crc32c INTEGER NOT NULL, sha256 TEXT,
  twin TEXT, accept_other_content INTEGER NOT NULL DEFAULT 0,
  wait_until_ms INTEGER, -- until then its sender waits for the import
  urgent INTEGER NOT NULL DEFAULT 0, -- its batch does not wait for others
  batch TEXT, -- NULL of a validated one: its destination imports nothing
  s3_key TEXT, bucket TEXT, etag TEXT, location TEXT, -- key and bucket are decided together
  job_id TEXT, image_set_id TEXT, image_set_version INTEGER, is_primary INTEGER,
  received_ms INTEGER NOT NULL, validated_ms INTEGER, uploaded_ms INTEGER, importing_ms INTEGER, ended_ms INTEGER,
  changed_ms INTEGER NOT NULL, released_ms INTEGER,
  dropped_ms INTEGER, -- a person gave it up; only of quarantined and failed ones
  -- what its file is now, where element rules changed it; the columns above keep what the sender sent
  change_bytes INTEGER, change_crc32c INTEGER, change_sop_instance_uid TEXT, change_study_uid TEXT, change_series_uid TEXT,
  change_by TEXT) STRICT;

-- Picking work costs what waits, not what was done: one partial index for each work state.
CREATE INDEX work_received  ON instance (next_attempt_ms, id) WHERE state = 'received'  AND owner IS NULL AND held = 0;
CREATE INDEX work_validated ON instance (destination, next_attempt_ms, id) WHERE state = 'validated' AND owner IS NULL AND held = 0;
CREATE INDEX instance_owner ON instance (owner) WHERE owner IS NOT NULL;
CREATE INDEX instance_release ON instance (ended_ms) WHERE released_ms IS NULL AND state IN ('imported', 'stored', 'duplicate');
CREATE INDEX instance_dropped ON instance (dropped_ms) WHERE released_ms IS NULL AND dropped_ms IS NOT NULL;
-- Batches that somebody waits for close at once.
CREATE INDEX instance_waited ON instance (wait_until_ms) WHERE state = 'uploaded' AND wait_until_ms IS NOT NULL;
-- What may hold up the others of its batch.
CREATE INDEX instance_late ON instance (batch) WHERE state = 'validated' AND (attempts > 0 OR held = 1);
CREATE INDEX instance_held ON instance (batch) WHERE held = 1;
CREATE INDEX instance_sop ON instance (sop_instance_uid);
-- What a new row does not have yet costs its insert nothing.
CREATE INDEX instance_study ON instance (study_uid) WHERE study_uid IS NOT NULL;
CREATE INDEX instance_batch ON instance (batch, state) WHERE batch IS NOT NULL;
CREATE INDEX instance_accession ON instance (accession_number) WHERE accession_number IS NOT NULL;
CREATE INDEX instance_patient ON instance (patient_id) WHERE patient_id IS NOT NULL;
CREATE INDEX instance_state ON instance (state, changed_ms);
CREATE INDEX instance_conflict ON instance (conflicts) WHERE conflicts > 0 AND dropped_ms IS NULL;

-- The working place of what is quarantined: newest first, and counted by reason without touching a row.
CREATE INDEX instance_quarantined ON instance (changed_ms) WHERE state = 'quarantined' AND dropped_ms IS NULL;
CREATE INDEX instance_refusal ON instance (error_code, calling_ae, changed_ms) WHERE state = 'quarantined' AND dropped_ms IS NULL;

CREATE TRIGGER instance_transition BEFORE UPDATE OF state ON instance WHEN OLD.state <> NEW.state
  AND NOT EXISTS (SELECT 1 FROM transition WHERE from_state = OLD.state AND to_state = NEW.state)
BEGIN SELECT RAISE(ABORT, 'illegal transition of an instance; see docs/states.md'); END;

-- Rules that a person accepted for one instance (`storescpctl quarantine release`): they do not quarantine it again.
CREATE TABLE acceptance (
  instance TEXT NOT NULL, rule TEXT NOT NULL, at_ms INTEGER NOT NULL, who TEXT NOT NULL, reason TEXT, PRIMARY KEY (instance, rule)) STRICT, WITHOUT ROWID;

-- Corrections that a person ordered (`storescpctl quarantine fix`); the validator applies them before it judges.
CREATE TABLE fix_rule (
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL CHECK (kind IN ('instance', 'study', 'ae')), match TEXT NOT NULL, -- an id, a study UID, an AE title with wildcards
  actions TEXT NOT NULL, reason TEXT NOT NULL, who TEXT NOT NULL, at_ms INTEGER NOT NULL,
  since_ms INTEGER NOT NULL, -- of an AE title: what was received before stays as it is
  stopped_ms INTEGER, stopped_by TEXT) STRICT; -- of one instance: when it was applied
CREATE INDEX fix_rule_active ON fix_rule (kind, match) WHERE stopped_ms IS NULL;
-- Which of them became part of which instance: done anew whenever it is judged again.
CREATE TABLE fix_applied (
  instance TEXT NOT NULL, fix INTEGER NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (instance, fix)) STRICT, WITHOUT ROWID;

-- How the studies and series of each destination were described so far, by what went on: one row for each different description, the first has the
-- lowest seq. "" is a missing value.
CREATE TABLE study_seen (
  seq INTEGER PRIMARY KEY, destination TEXT NOT NULL, study_uid TEXT NOT NULL, patient_id TEXT NOT NULL, accession_number TEXT NOT NULL,
  study_id TEXT NOT NULL, study_date TEXT NOT NULL, instance TEXT NOT NULL,
  UNIQUE (destination, study_uid, patient_id, accession_number, study_id, study_date)) STRICT;
CREATE INDEX study_seen_first ON study_seen (destination, study_uid);
CREATE TABLE series_seen (
  seq INTEGER PRIMARY KEY, destination TEXT NOT NULL, series_uid TEXT NOT NULL, study_uid TEXT NOT NULL, series_number TEXT NOT NULL, instance TEXT NOT NULL,
  UNIQUE (destination, series_uid, study_uid, series_number)) STRICT;
CREATE INDEX series_seen_first ON series_seen (destination, series_uid);

-- An element of an instance that is not what it was in `other`, the first of its study or series: HealthImaging will not keep both in one image set.
CREATE TABLE conflict (
  instance TEXT NOT NULL, rule TEXT NOT NULL, severity TEXT NOT NULL CHECK (severity IN ('warn', 'hold')), tag TEXT NOT NULL, sentence TEXT NOT NULL,
  other TEXT NOT NULL, PRIMARY KEY (instance, rule)) STRICT, WITHOUT ROWID;

-- What the rules (docs/rules.md) found at an instance, written with the verdict.
CREATE TABLE finding (
  instance TEXT NOT NULL, rule TEXT NOT NULL, severity TEXT NOT NULL CHECK (severity IN ('reject', 'warn', 'note')),
  tag TEXT NOT NULL DEFAULT '', text TEXT NOT NULL, PRIMARY KEY (instance, rule, tag)) STRICT, WITHOUT ROWID;
-- How often each rule was broken since the database began, judged again included.
CREATE TABLE rule_count (
  rule TEXT NOT NULL, severity TEXT NOT NULL, found INTEGER NOT NULL, last_ms INTEGER NOT NULL, PRIMARY KEY (rule, severity)) STRICT, WITHOUT ROWID;

-- Is all of a study here? Looked at when it has been quiet for completeness_quiet_s; looked_ms is NULL until then, and again when something of it comes.
CREATE TABLE completeness (
  study_uid TEXT PRIMARY KEY, news_ms INTEGER NOT NULL, looked_ms INTEGER, here INTEGER NOT NULL DEFAULT 0,
  missing INTEGER NOT NULL DEFAULT 0, named INTEGER NOT NULL DEFAULT 0, -- of the missing ones, named by a storage commitment request
  reason TEXT) STRICT, WITHOUT ROWID;
CREATE INDEX completeness_due ON completeness (news_ms) WHERE looked_ms IS NULL;
CREATE INDEX completeness_short ON completeness (news_ms, missing, named) WHERE missing > 0;

-- Multipart uploads that S3 keeps open for us: written before the first part, gone when S3 has the object or has forgotten the upload.
CREATE TABLE multipart (
  s3_key TEXT NOT NULL, bucket TEXT NOT NULL DEFAULT '', destination TEXT NOT NULL, instance TEXT NOT NULL, batch TEXT, upload_id TEXT NOT NULL, began_ms INTEGER NOT NULL,
  next_attempt_ms INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (s3_key, bucket, destination, instance)) STRICT;

-- Every destination that an image or batch ever had: storescp.conf may have lost it meanwhile.
CREATE TABLE destination (name TEXT PRIMARY KEY, first_ms INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO destination (name) VALUES ('default');

CREATE TABLE event (
  id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, instance TEXT, batch TEXT,
  from_state TEXT, to_state TEXT, who TEXT, code TEXT, note TEXT) STRICT;
CREATE INDEX event_instance ON event (instance) WHERE instance IS NOT NULL;
CREATE INDEX event_batch ON event (batch) WHERE instance IS NULL;

-- Elements that rules changed in an instance's file. Values are patient data; NULL where there is none, or change_values = false.
CREATE TABLE change (
  id INTEGER PRIMARY KEY, instance TEXT NOT NULL, at_ms INTEGER NOT NULL, path TEXT NOT NULL, vr TEXT NOT NULL, action TEXT NOT NULL,
  who TEXT NOT NULL, old_value TEXT, new_value TEXT) STRICT;
CREATE INDEX change_instance ON change (instance);

CREATE TABLE batch (
  id TEXT PRIMARY KEY, study_uid TEXT, -- NULL: small studies share it, see v_batch_study
  destination TEXT NOT NULL DEFAULT 'default',
  state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed', 'starting', 'running', 'reconciling', 'done')),
  urgent INTEGER NOT NULL DEFAULT 0, -- closes soon, starts before others
  split_of TEXT, -- takes a part of what was in that batch, whose job failed, and nothing else
  held_left INTEGER NOT NULL DEFAULT 0, -- held instances that left it after they were uploaded
  overdue_ms INTEGER, -- its job runs longer than import_job_s: noticed then
  instance_count INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0,
  opened_ms INTEGER NOT NULL, last_added_ms INTEGER NOT NULL, closed_ms INTEGER, ended_ms INTEGER,
  attempts INTEGER NOT NULL DEFAULT 0, next_attempt_ms INTEGER NOT NULL DEFAULT 0,
  owner TEXT, token INTEGER NOT NULL DEFAULT 0, error_code TEXT, error_text TEXT) STRICT;
-- one partial index for each kind of work on batches, as for instances; each holds only what waits for it
CREATE INDEX batch_open ON batch (study_uid, destination) WHERE state = 'open';
CREATE INDEX batch_closed ON batch (destination, next_attempt_ms, id) WHERE state = 'closed' AND owner IS NULL;
CREATE INDEX batch_starting ON batch (destination, next_attempt_ms, id) WHERE state = 'starting' AND owner IS NULL;
CREATE INDEX batch_running ON batch (destination, next_attempt_ms, id) WHERE state = 'running' AND owner IS NULL;
CREATE INDEX batch_reconciling ON batch (destination, next_attempt_ms, id) WHERE state = 'reconciling' AND owner IS NULL;
CREATE INDEX batch_job ON batch (state) WHERE state IN ('starting', 'running'); -- what counts against HealthImaging's quota
CREATE INDEX batch_owner ON batch (owner) WHERE owner IS NOT NULL;
CREATE INDEX batch_overdue ON batch (overdue_ms) WHERE state = 'running' AND overdue_ms IS NOT NULL;
CREATE INDEX batch_split ON batch (split_of) WHERE split_of IS NOT NULL;
CREATE INDEX batch_urgent ON batch (last_added_ms) WHERE state = 'open' AND urgent = 1;

-- How many instances of each study an open shared batch has taken; gone when it closes.
CREATE TABLE shared_study (
  batch TEXT NOT NULL, study_uid TEXT NOT NULL, instance_count INTEGER NOT NULL, PRIMARY KEY (batch, study_uid)) STRICT, WITHOUT ROWID;
CREATE TRIGGER shared_batch_closed AFTER UPDATE OF state ON batch WHEN OLD.state = 'open' AND NEW.state <> 'open' AND NEW.study_uid IS NULL
BEGIN DELETE FROM shared_study WHERE batch = NEW.id; END;

-- One row for each import job: the columns of the commercial product's job table live on under their own names.
CREATE TABLE import_job (
  batch TEXT PRIMARY KEY REFERENCES batch (id),
  clientToken TEXT NOT NULL UNIQUE, jobName TEXT NOT NULL,
  jobId TEXT UNIQUE, jobStatus TEXT, submittedAt INTEGER, endedAt INTEGER,
  inputS3Uri TEXT NOT NULL, outputS3Uri TEXT NOT NULL, datastoreId TEXT, dataAccessRoleArn TEXT, message TEXT,
  hinted_ms INTEGER) STRICT; -- an event of HealthImaging named it last

CREATE INDEX job_completed ON import_job (endedAt) WHERE jobStatus = 'COMPLETED'; -- does anything succeed?

CREATE TABLE start_bucket (datastore TEXT PRIMARY KEY, tokens REAL NOT NULL, filled_ms INTEGER NOT NULL) STRICT;

CREATE TABLE worker (
  name TEXT PRIMARY KEY, stage TEXT NOT NULL, pid INTEGER NOT NULL,
  started_ms INTEGER NOT NULL, beat_ms INTEGER NOT NULL, status TEXT NOT NULL) STRICT;

-- Storage commitment (PS3.4 annex J): a row for each request, one for each instance that it asks about, one for each step.
CREATE TABLE commitment (
  id TEXT PRIMARY KEY, transaction_uid TEXT NOT NULL, calling_ae TEXT NOT NULL, called_ae TEXT, peer TEXT, association TEXT,
  state TEXT NOT NULL CHECK (state IN ('waiting', 'reporting', 'reported', 'given_up')),
  point TEXT NOT NULL CHECK (point IN ('spooled', 'uploaded', 'imported')),
  offered_to TEXT, -- the receiver that has the association open on which the report may go
  items INTEGER NOT NULL, failed INTEGER,
  attempts INTEGER NOT NULL DEFAULT 0, next_attempt_ms INTEGER NOT NULL,
  owner TEXT, token INTEGER NOT NULL DEFAULT 0, error_code TEXT, error_text TEXT,
  requested_ms INTEGER NOT NULL, wait_until_ms INTEGER NOT NULL, give_up_ms INTEGER NOT NULL,
  decided_ms INTEGER, ended_ms INTEGER) STRICT;
CREATE INDEX commitment_waiting ON commitment (next_attempt_ms, id) WHERE state = 'waiting' AND owner IS NULL;
CREATE INDEX commitment_reporting ON commitment (next_attempt_ms, id) WHERE state = 'reporting' AND owner IS NULL AND offered_to IS NULL;
CREATE INDEX commitment_offered ON commitment (offered_to, association) WHERE offered_to IS NOT NULL;
CREATE INDEX commitment_owner ON commitment (owner) WHERE owner IS NOT NULL;
CREATE INDEX commitment_transaction ON commitment (transaction_uid, calling_ae);
CREATE INDEX commitment_given_up ON commitment (ended_ms) WHERE state = 'given_up';
CREATE INDEX commitment_ended ON commitment (ended_ms) WHERE ended_ms IS NOT NULL;

CREATE TABLE commitment_item (
  commitment TEXT NOT NULL, position INTEGER NOT NULL, sop_class_uid TEXT NOT NULL, sop_instance_uid TEXT NOT NULL,
  reason INTEGER, -- NULL: not decided, 0: committed, else (0008,1197)
  instance TEXT, PRIMARY KEY (commitment, position)) STRICT, WITHOUT ROWID;
CREATE INDEX commitment_item_sop ON commitment_item (sop_instance_uid);

CREATE TABLE commitment_event (
  id INTEGER PRIMARY KEY, commitment TEXT NOT NULL, at_ms INTEGER NOT NULL, who TEXT, code TEXT, note TEXT) STRICT;
CREATE INDEX commitment_event_of ON commitment_event (commitment);

-- ---- what outside systems are told (docs/events.md) ----------------------------------------------------------------------
-- Who is told; without a row nothing below is written. An importer that has one in its settings says so once a minute.
CREATE TABLE outbox_target (
  name TEXT PRIMARY KEY, takes TEXT NOT NULL CHECK (takes IN ('events', 'jobs')), quiet_ms INTEGER NOT NULL DEFAULT 0,
  since_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL,
  given_up INTEGER NOT NULL DEFAULT 0, given_up_ms INTEGER) STRICT;

-- A study of which something was or will be told: revision counts announcements, due_ms is the next look (NULL: no news).
CREATE TABLE outbox_study (
  study_uid TEXT NOT NULL, destination TEXT NOT NULL, revision INTEGER NOT NULL DEFAULT 0, looks INTEGER NOT NULL DEFAULT 0,
  due_ms INTEGER, PRIMARY KEY (study_uid, destination)) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_study_due ON outbox_study (due_ms) WHERE due_ms IS NOT NULL;

-- What is not yet delivered, a row for each target; seq is the order within a subject. A job has one row, whose version counts changes.
CREATE TABLE outbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('study', 'instance', 'job')), subject TEXT NOT NULL,
  event TEXT, instance TEXT, state TEXT, code TEXT, payload TEXT, version INTEGER NOT NULL DEFAULT 1,
  at_ms INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, next_attempt_ms INTEGER NOT NULL,
  owner TEXT, error_code TEXT, error_text TEXT) STRICT;
CREATE INDEX outbox_due ON outbox (target, next_attempt_ms, seq) WHERE owner IS NULL;
CREATE INDEX outbox_next ON outbox (next_attempt_ms) WHERE owner IS NULL;
CREATE INDEX outbox_subject ON outbox (target, subject, seq);
CREATE INDEX outbox_owner ON outbox (owner) WHERE owner IS NOT NULL;
CREATE UNIQUE INDEX outbox_job ON outbox (target, subject) WHERE kind = 'job';

-- In the transaction of the change, whoever makes it.
CREATE TRIGGER outbox_refused AFTER UPDATE OF state ON instance WHEN NEW.state IN ('quarantined', 'failed') AND OLD.state <> NEW.state
  AND EXISTS (SELECT 1 FROM outbox_target WHERE takes = 'events')
BEGIN
  INSERT INTO outbox (target, kind, subject, event, instance, state, code, at_ms, next_attempt_ms)
  SELECT name, 'instance', ifnull(NEW.study_uid || ' ' || NEW.destination, NEW.id), NEW.id || '-' || NEW.changed_ms, NEW.id, NEW.state,
    NEW.error_code, NEW.changed_ms, NEW.changed_ms FROM outbox_target WHERE takes = 'events';
END;

CREATE TRIGGER outbox_news AFTER UPDATE OF state, dropped_ms ON instance WHEN NEW.study_uid IS NOT NULL
  AND ((NEW.state IN ('imported', 'stored', 'quarantined', 'failed') AND OLD.state <> NEW.state) OR NEW.dropped_ms IS NOT OLD.dropped_ms)
  AND EXISTS (SELECT 1 FROM outbox_target WHERE takes = 'events')
BEGIN
  INSERT INTO outbox_study (study_uid, destination, due_ms)
  VALUES (NEW.study_uid, NEW.destination, NEW.changed_ms + (SELECT max(quiet_ms) FROM outbox_target WHERE takes = 'events'))
  ON CONFLICT (study_uid, destination) DO UPDATE SET due_ms = excluded.due_ms, looks = 0;
END;

CREATE TRIGGER outbox_job_news AFTER UPDATE OF jobId, jobStatus, submittedAt, endedAt, outputS3Uri, message ON import_job
  WHEN NEW.jobId IS NOT NULL AND (NEW.jobId IS NOT OLD.jobId OR NEW.jobStatus IS NOT OLD.jobStatus OR NEW.submittedAt IS NOT OLD.submittedAt
    OR NEW.endedAt IS NOT OLD.endedAt OR NEW.outputS3Uri IS NOT OLD.outputS3Uri OR NEW.message IS NOT OLD.message)
  AND EXISTS (SELECT 1 FROM outbox_target WHERE takes = 'jobs')
BEGIN
  INSERT INTO outbox (target, kind, subject, at_ms, next_attempt_ms)
  SELECT name, 'job', NEW.batch, CAST(strftime('%s', 'now') AS INTEGER) * 1000, CAST(strftime('%s', 'now') AS INTEGER) * 1000
  FROM outbox_target WHERE takes = 'jobs'
  ON CONFLICT (target, subject) WHERE kind = 'job' DO UPDATE SET version = version + 1;
END;

-- ---- views: a contract with support staff; open with `sqlite3 -readonly state.db` ---------------------------------------
CREATE VIEW v_study AS
SELECT study_uid, max(accession_number) AS accession_number, max(patient_id) AS patient_id, max(study_date) AS study_date,
  group_concat(DISTINCT modality) AS modalities, max(calling_ae) AS calling_ae,
  group_concat(DISTINCT destination) AS destinations, count(*) AS instances,
  sum(state IN ('received', 'validated', 'uploaded', 'importing')) AS under_way,
  sum(state = 'imported') AS imported, sum(state = 'stored') AS stored, sum(state = 'duplicate') AS duplicate,
  sum(state = 'quarantined') AS quarantined, sum(state = 'failed') AS failed, sum(dropped_ms IS NOT NULL) AS dropped,
  sum(state = 'imported' AND is_primary = 0) AS not_primary, sum(conflicts > 0 AND dropped_ms IS NULL) AS conflicts,
  sum(warn_count) AS warnings,
  (SELECT c.here + c.missing FROM completeness c WHERE c.study_uid = instance.study_uid AND c.looked_ms IS NOT NULL) AS expected,
  (SELECT c.missing FROM completeness c WHERE c.study_uid = instance.study_uid AND c.looked_ms IS NOT NULL) AS missing,
  (SELECT c.reason FROM completeness c WHERE c.study_uid = instance.study_uid) AS missing_reason,
  sum(file_bytes) AS bytes,
  datetime(min(received_ms) / 1000, 'unixepoch') AS first_received_utc,
  datetime(max(received_ms) / 1000, 'unixepoch') AS last_received_utc,
  datetime(max(ended_ms) / 1000, 'unixepoch') AS last_ended_utc,
  CASE WHEN sum(state IN ('quarantined', 'failed') AND dropped_ms IS NULL) > 0 THEN 'needs attention'
       WHEN sum(state IN ('received', 'validated', 'uploaded', 'importing')) > 0 THEN 'under way'
       ELSE CASE WHEN sum(state = 'stored') = 0 THEN 'imported' WHEN sum(state = 'imported') = 0 THEN 'stored' ELSE 'imported and stored' END
         || CASE WHEN sum(dropped_ms IS NOT NULL) > 0 THEN ' but for dropped' ELSE '' END END AS verdict
FROM instance WHERE study_uid IS NOT NULL GROUP BY study_uid;

-- Studies of which something is known to be missing, the latest first.
CREATE VIEW v_short AS
SELECT c.study_uid, c.missing, c.here + c.missing AS expected, c.named, c.reason,
  (SELECT accession_number FROM instance i WHERE i.study_uid = c.study_uid AND accession_number IS NOT NULL LIMIT 1) AS accession_number,
  (SELECT patient_id FROM instance i WHERE i.study_uid = c.study_uid AND patient_id IS NOT NULL LIMIT 1) AS patient_id,
  (SELECT calling_ae FROM instance i WHERE i.study_uid = c.study_uid LIMIT 1) AS calling_ae,
  datetime(c.news_ms / 1000, 'unixepoch') AS last_news_utc, datetime(c.looked_ms / 1000, 'unixepoch') AS looked_utc
FROM completeness c INDEXED BY completeness_short WHERE c.missing > 0 ORDER BY c.news_ms DESC;

-- Both sides of a conflict: what came before, and what is described otherwise.
CREATE VIEW v_conflict AS
WITH side AS (
  SELECT c.rule, c.tag, c.other, i.id, i.study_uid, i.destination, i.state, o.study_uid AS first_study,
    CASE WHEN c.rule IN ('conflict_study_uid', 'conflict_series_number') THEN i.series_uid END AS series_uid,
    ifnull(CASE c.rule WHEN 'conflict_patient_id' THEN i.patient_id WHEN 'conflict_accession_number' THEN i.accession_number WHEN 'conflict_study_id'
      THEN i.study_id WHEN 'conflict_study_date' THEN i.study_date WHEN 'conflict_study_uid' THEN i.study_uid ELSE i.series_number END, '') AS value,
    ifnull(CASE c.rule WHEN 'conflict_patient_id' THEN o.patient_id WHEN 'conflict_accession_number' THEN o.accession_number WHEN 'conflict_study_id'
      THEN o.study_id WHEN 'conflict_study_date' THEN o.study_date WHEN 'conflict_study_uid' THEN o.study_uid ELSE o.series_number END, '') AS first_value
  FROM conflict c JOIN instance i ON i.id = c.instance JOIN instance o ON o.id = c.other WHERE i.dropped_ms IS NULL),
pair AS (
  SELECT study_uid, destination, rule, series_uid, first_value, value, min(tag) AS tag, min(other) AS first_instance, min(first_study) AS first_study,
    min(id) AS instance, count(*) AS instances, sum(state = 'quarantined') AS held FROM side GROUP BY study_uid, destination, rule, series_uid, first_value, value)
SELECT study_uid, destination, series_uid, tag AS element, first_value, first_instance,
  (SELECT count(*) FROM instance f WHERE f.study_uid = first_study AND f.destination = pair.destination AND f.state NOT IN ('quarantined', 'failed')
    AND (pair.series_uid IS NULL OR f.series_uid = pair.series_uid) AND ifnull(CASE rule WHEN 'conflict_patient_id' THEN f.patient_id
      WHEN 'conflict_accession_number' THEN f.accession_number WHEN 'conflict_study_id' THEN f.study_id WHEN 'conflict_study_date' THEN f.study_date
      WHEN 'conflict_study_uid' THEN f.study_uid ELSE f.series_number END, '') = first_value) AS first_instances,
  value, instance, instances, held
FROM pair;

CREATE VIEW v_stuck AS
SELECT i.id AS instance, i.state, i.error_code, i.error_text, i.remedy, i.attempts + i.import_attempts AS attempts, i.owner, i.study_uid, i.accession_number,
  i.calling_ae, i.destination, i.held, i.batch, b.state AS batch_state, b.error_code AS batch_error_code, b.error_text AS batch_error_text,
  datetime(i.received_ms / 1000, 'unixepoch') AS received_utc,
  (CAST(strftime('%s', 'now') AS INTEGER) * 1000 - i.changed_ms) / 1000 AS seconds_in_state
FROM instance i LEFT JOIN batch b ON b.id = i.batch
WHERE (i.state IN ('quarantined', 'failed') AND i.dropped_ms IS NULL)
   OR (i.state IN ('received', 'validated', 'uploaded', 'importing')
       AND (i.held = 1 OR i.attempts > 0 OR i.import_attempts > 0 OR b.attempts > 0 OR b.error_code IS NOT NULL
            OR i.changed_ms < CAST(strftime('%s', 'now') AS INTEGER) * 1000 - 900000));

-- A conflict is a finding too: its rule is about the study that the instance comes into.
CREATE VIEW v_finding AS
SELECT f.instance, f.rule, f.severity, f.tag, f.text, i.state, i.calling_ae, i.study_uid, i.sop_instance_uid,
  datetime(i.received_ms / 1000, 'unixepoch') AS received_utc
FROM (SELECT instance, rule, severity, tag, text FROM finding UNION ALL
  SELECT instance, rule, CASE severity WHEN 'hold' THEN 'reject' ELSE severity END, substr(tag, 2, 9), sentence FROM conflict) f JOIN instance i ON i.id = f.instance;

CREATE VIEW v_queue AS
SELECT state, count(*) AS instances, sum(file_bytes) AS bytes, sum(owner IS NOT NULL) AS in_work, sum(attempts > 0) AS retrying,
  sum(held) AS held, datetime(min(changed_ms) / 1000, 'unixepoch') AS oldest_utc,
  (CAST(strftime('%s', 'now') AS INTEGER) * 1000 - min(changed_ms)) / 1000 AS oldest_seconds
FROM instance WHERE state IN ('received', 'validated', 'uploaded', 'importing') GROUP BY state;

-- Import jobs that run longer than import_job_s: each keeps one of import_running_max places.
CREATE VIEW v_overdue AS
SELECT b.id AS batch, j.jobId AS job, j.jobStatus AS job_status, b.study_uid, b.instance_count AS instances, j.datastoreId AS datastore,
  datetime(j.submittedAt / 1000, 'unixepoch') AS submitted_utc, datetime(b.overdue_ms / 1000, 'unixepoch') AS noticed_utc,
  (CAST(strftime('%s', 'now') AS INTEGER) * 1000 - j.submittedAt) / 1000 AS running_seconds
FROM batch b INDEXED BY batch_overdue JOIN import_job j ON j.batch = b.id WHERE b.state = 'running' AND b.overdue_ms IS NOT NULL;

-- The studies of a batch, of a shared one too.
CREATE VIEW v_batch_study AS
SELECT batch, study_uid, count(*) AS instances FROM instance WHERE batch IS NOT NULL GROUP BY batch, study_uid;

-- How long images wait in each step: the oldest that stands there, and the newest thousand (of each end, of one day) that came through. Costs two
-- stretches of an index and one end of it for each state, however many rows there are.
CREATE VIEW v_wait AS
WITH recent AS MATERIALIZED (
  SELECT * FROM (SELECT received_ms, validated_ms, uploaded_ms, importing_ms, ended_ms, import_attempts FROM instance INDEXED BY instance_state
    WHERE state = 'imported' AND changed_ms > CAST(strftime('%s', 'now') AS INTEGER) * 1000 - 86400000 ORDER BY changed_ms DESC LIMIT 1000)
  UNION ALL
  SELECT * FROM (SELECT received_ms, validated_ms, uploaded_ms, importing_ms, ended_ms, import_attempts FROM instance INDEXED BY instance_state
    WHERE state = 'stored' AND changed_ms > CAST(strftime('%s', 'now') AS INTEGER) * 1000 - 86400000 ORDER BY changed_ms DESC LIMIT 1000)),
trip (step, ms) AS (
  SELECT 'received', validated_ms - received_ms FROM recent WHERE import_attempts = 0
  UNION ALL SELECT 'validated', uploaded_ms - validated_ms FROM recent
  UNION ALL SELECT 'uploaded', importing_ms - uploaded_ms FROM recent
  UNION ALL SELECT 'importing', ended_ms - importing_ms FROM recent
  UNION ALL SELECT 'all', ended_ms - received_ms FROM recent),
ranked AS (
  SELECT step, max(ms, 0) AS ms, row_number() OVER (PARTITION BY step ORDER BY ms) AS place, count(*) OVER (PARTITION BY step) AS n
  FROM trip WHERE ms IS NOT NULL),
standing (position, step, oldest_ms) AS (
  SELECT 1, 'received', (SELECT min(changed_ms) FROM instance INDEXED BY instance_state WHERE state = 'received')
  UNION ALL SELECT 2, 'validated', (SELECT min(changed_ms) FROM instance INDEXED BY instance_state WHERE state = 'validated')
  UNION ALL SELECT 3, 'uploaded', (SELECT min(changed_ms) FROM instance INDEXED BY instance_state WHERE state = 'uploaded')
  UNION ALL SELECT 4, 'importing', (SELECT min(changed_ms) FROM instance INDEXED BY instance_state WHERE state = 'importing')
  UNION ALL SELECT 5, 'all', NULL)
SELECT s.step, datetime(s.oldest_ms / 1000, 'unixepoch') AS oldest_utc,
  max(0, CAST(strftime('%s', 'now') AS INTEGER) - s.oldest_ms / 1000) AS oldest_seconds, count(r.ms) AS recent,
  min(CASE WHEN r.place * 2 >= r.n THEN r.ms END) / 1000.0 AS half_seconds,
  min(CASE WHEN r.place * 100 >= r.n * 95 THEN r.ms END) / 1000.0 AS p95_seconds, max(r.ms) / 1000.0 AS longest_seconds
FROM standing s LEFT JOIN ranked r ON r.step = s.step GROUP BY s.position ORDER BY s.position;

CREATE VIEW v_destination AS
SELECT destination, sum(state = 'validated') AS validated, sum(state = 'uploaded') AS uploaded, sum(state = 'importing') AS importing,
  sum(file_bytes) AS bytes, datetime(min(changed_ms) / 1000, 'unixepoch') AS oldest_utc
FROM instance WHERE state IN ('validated', 'uploaded', 'importing') GROUP BY destination;

CREATE VIEW v_instance_history AS
SELECT e.instance, i.sop_instance_uid, i.study_uid, datetime(e.at_ms / 1000, 'unixepoch') AS at_utc, e.at_ms,
  e.from_state, e.to_state, e.who, e.code, e.note
FROM event e JOIN instance i ON i.id = e.instance ORDER BY e.id;

CREATE VIEW v_change AS
SELECT c.instance, i.study_uid, i.sop_instance_uid, i.change_sop_instance_uid, datetime(c.at_ms / 1000, 'unixepoch') AS at_utc, c.path, c.vr, c.action,
  c.who, c.old_value, c.new_value
FROM change c JOIN instance i ON i.id = c.instance ORDER BY c.id;

CREATE VIEW v_outbox AS
SELECT o.seq, o.target, o.kind, o.event, o.subject, o.instance, o.attempts, o.error_code, o.error_text,
  datetime(o.at_ms / 1000, 'unixepoch') AS at_utc, datetime(o.next_attempt_ms / 1000, 'unixepoch') AS next_attempt_utc
FROM outbox o;

CREATE VIEW v_commitment AS
SELECT c.id AS commitment, c.state, c.calling_ae, c.point, c.items, c.failed, c.attempts, c.error_code, c.error_text, c.transaction_uid,
  datetime(c.requested_ms / 1000, 'unixepoch') AS requested_utc, datetime(c.decided_ms / 1000, 'unixepoch') AS decided_utc,
  datetime(c.ended_ms / 1000, 'unixepoch') AS ended_utc,
  CASE c.state WHEN 'waiting' THEN (SELECT count(*) FROM commitment_item i WHERE i.commitment = c.id AND i.reason IS NULL) ELSE 0 END AS undecided
FROM commitment c;
