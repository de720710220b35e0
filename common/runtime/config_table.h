/*
 * config_table - every setting of the product: one line each, and the source of the manual (docs/settings.md).
 *
 * X(KEY, "file_name", "ENV_ALIAS", type, default, minimum, maximum, unit, help)
 *   file_name   the name in storescp.conf; in the environment STORESCP_<FILE_NAME IN CAPITALS>
 *   ENV_ALIAS   another environment variable with the same meaning ("" = none): the commercial product's and the AWS SDK's
 *   type        TEXT (minimum/maximum are lengths), INT, BOOL, SECRET (TEXT whose value is never printed)
 */
#ifndef STORESCP_RUNTIME_CONFIG_TABLE_H
#define STORESCP_RUNTIME_CONFIG_TABLE_H

#define CONFIG_TABLE(X)                                                                                                \
    /* the network side */                                                                                             \
    X(CFG_SCP_PORT, "scp_port", "SCP_PORT", INT, "11112", 0, 65535, "port",                                            \
      "TCP port of the DICOM listener; 0: none, when only tls_port is wanted")                                         \
    X(CFG_SCP_ADDRESS, "scp_address", "", TEXT, "::", 0, 63, "address",                                                \
      "address to listen on; :: is every IPv6 and IPv4 address")                                                       \
    X(CFG_AE_TITLE, "ae_title", "AE_TITLE", TEXT, "STORESCP", 1, 1000, "list",                                         \
      "our own AE titles, separated by commas; with the first we name ourselves")                                      \
    X(CFG_REQUIRE_CALLED_AE_TITLE, "require_called_ae_title", "REQUIRE_CALLED_AE_TITLE", BOOL, "false", 0, 0, "",      \
      "refuse associations that call another AE title than one of ours")                                               \
    X(CFG_REQUIRE_CALLING_AE_TITLE, "require_calling_ae_title", "REQUIRE_CALLING_AE_TITLE", TEXT, "", 0, 4000,         \
      "list", "AE titles that may send, separated by commas, * and ? are wildcards; empty: anybody")                   \
    X(CFG_SUPPORTED_SOP_CLASS_UIDS, "supported_sop_class_uids", "SUPPORTED_SOP_CLASS_UIDS", TEXT, "", 0, 16000,        \
      "list", "SOP classes to accept, separated by commas: UIDs, names such as CTImageStorage, 1.2.3.*, standard, "    \
      "private; empty: every storage SOP class, private ones too")                                                     \
    X(CFG_REFUSED_SOP_CLASSES, "refused_sop_classes", "", TEXT, "", 0, 16000, "list",                                  \
      "SOP classes not to accept, even if supported_sop_class_uids names them; written like these")                    \
    X(CFG_TRANSFER_SYNTAXES, "transfer_syntaxes", "", TEXT, "as-proposed", 1, 4000, "list",                            \
      "transfer syntaxes to accept in the order of preference: UIDs, keywords such as JPEGLosslessSV1, uncompressed, " \
      "lossless, lossy, video, importable; as-proposed: the sender's order, what HealthImaging imports first")         \
    X(CFG_OPERATIONS_WINDOW, "operations_window", "", INT, "16", 1, 65535, "count",                                    \
      "operations that a sender may have outstanding on an association if it asks for a window; 1: none is negotiated") \
    X(CFG_REQUIRE_USER_IDENTITY, "require_user_identity", "", TEXT, "off", 1, 16, "off|username|passcode",             \
      "refuse associations without a user of user_file: named, or with the right passcode, too")                       \
    X(CFG_ALLOWED_USERS, "allowed_users", "", TEXT, "", 0, 4000, "list",                                               \
      "users that may send, separated by commas, * and ? are wildcards; empty: every user of user_file")               \
    X(CFG_USER_FILE, "user_file", "", TEXT, "users", 1, 1000, "file",                                                  \
      "users and hashes of their passcodes (storescpctl user), relative to the installation's directory")              \
    X(CFG_MAXIMUM_ASSOCIATIONS, "maximum_associations", "MAXIMUM_ASSOCIATIONS", INT, "300", 1, 2000, "count",          \
      "associations at one time; more are refused as transient")                                                       \
    X(CFG_ASSOCIATIONS_PER_AE, "associations_per_ae", "", INT, "0", 0, 2000, "count",                                  \
      "associations of one calling AE title at one time; 0: no limit of its own")                                      \
    X(CFG_ASSOCIATIONS_PER_ADDRESS, "associations_per_address", "", INT, "0", 0, 2000, "count",                        \
      "associations from one address at one time; 0: no limit of its own")                                             \
    X(CFG_PRIORITY_RESERVE, "priority_reserve", "", INT, "0", 0, 2000, "count",                                        \
      "of maximum_associations, how many are kept for AE titles with priority")                                        \
    X(CFG_ALLOWED_ADDRESSES, "allowed_addresses", "", TEXT, "", 0, 4000, "networks",                                   \
      "networks that may connect (10.1.0.0/16, 2001:db8::/32, ::1), separated by commas; empty: any. In a section: "   \
      "where its AE titles may come from, within what everybody may")                                                  \
    X(CFG_PROXY_PROTOCOL, "proxy_protocol", "", TEXT, "off", 3, 8, "off|optional|required",                            \
      "PROXY headers, versions 1 and 2, from the balancers in proxy_trusted: not understood, taken when there, or "    \
      "needed")                                                                                                        \
    X(CFG_PROXY_TRUSTED, "proxy_trusted", "", TEXT, "", 0, 4000, "networks",                                           \
      "networks of the balancers whose PROXY headers are believed")                                                    \
    X(CFG_WAITING_CONNECTIONS, "waiting_connections", "", INT, "1000", 1, 10000, "count",                              \
      "connections at one time that have not sent an association request; the one that waited longest makes room")     \
    X(CFG_WAITING_PER_ADDRESS, "waiting_per_address", "", INT, "200", 1, 10000, "count",                               \
      "the same for one address, balancers in proxy_trusted excepted")                                                 \
    X(CFG_SPARE_ASSOCIATIONS, "spare_associations", "", INT, "4", 1, 100, "count",                                     \
      "association processes that stand ready")                                                                        \
    X(CFG_ASSOCIATION_REUSE, "association_reuse", "", INT, "500", 1, 1000000, "count",                                 \
      "associations that one process serves before it is replaced")                                                    \
    X(CFG_MAXIMUM_PDU_SIZE, "maximum_pdu_size", "MAXIMUM_PDU_SIZE", INT, "0", 0, 131072, "bytes",                      \
      "largest PDU we offer to receive; 0: the largest possible, 131072")                                              \
    X(CFG_NETWORK_TIMEOUT, "network_timeout", "NETWORK_TIMEOUT", INT, "90", 1, 86400, "s",                             \
      "an association without any traffic ends after this time")                                                       \
    X(CFG_DIMSE_TIMEOUT, "dimse_timeout", "DIMSE_TIMEOUT", INT, "60", 1, 86400, "s",                                   \
      "time for one DIMSE message once it began")                                                                      \
    X(CFG_ACSE_TIMEOUT, "acse_timeout", "", INT, "30", 1, 3600, "s", "time for the association request to arrive")     \
    X(CFG_MAXIMUM_OBJECT_MB, "maximum_object_mb", "", INT, "5000", 1, 10000, "MB",                                     \
      "largest data set; a larger one is answered 0xA700")                                                             \
    /* TLS at the receiver */                                                                                          \
    X(CFG_TLS_PORT, "tls_port", "", INT, "0", 0, 65535, "port",                                                        \
      "TCP port of the DICOM listener with TLS; 0: none (the registered one is 2762)")                                 \
    X(CFG_TLS_CERTIFICATE, "tls_certificate", "", TEXT, "", 0, 1000, "file",                                           \
      "our certificate and the ones that lead to its CA, PEM; like all tls files seen from the installation's directory") \
    X(CFG_TLS_KEY, "tls_key", "", TEXT, "", 0, 1000, "file", "private key, PEM; empty: it stands in tls_certificate")  \
    X(CFG_TLS_KEY_PASSWORD, "tls_key_password", "", SECRET, "", 0, 256, "", "password of an encrypted tls_key")        \
    X(CFG_TLS_CA, "tls_ca", "", TEXT, "", 0, 1000, "file",                                                             \
      "CA certificates that peers' certificates must lead to, PEM or DER; a file or a directory of files")             \
    X(CFG_TLS_CRL, "tls_crl", "", TEXT, "", 0, 1000, "file",                                                           \
      "revocation lists, PEM or DER, a file or a directory; empty: no certificate counts as revoked")                  \
    X(CFG_TLS_CLIENT, "tls_client", "", TEXT, "require", 4, 7, "require|request|none",                                 \
      "what a peer must show: a certificate, one if it has one, or nothing")                                           \
    X(CFG_TLS_PROFILE, "tls_profile", "", TEXT, "bcp195-nd", 6, 15, "bcp195|bcp195-nd|bcp195-extended",                \
      "cipher suites of PS3.15 annex B: with those of older peers, without, or the extended list (TLS 1.2 only)")      \
    X(CFG_TLS_MINIMUM, "tls_minimum", "", TEXT, "1.2", 3, 3, "1.2|1.3", "lowest TLS version")                          \
    X(CFG_TLS_REQUIRED, "tls_required", "", BOOL, "false", 0, 0, "", "refuse associations without TLS")                \
    X(CFG_TLS_SUBJECT, "tls_subject", "", TEXT, "", 0, 4000, "list",                                                   \
      "subjects (as the log shows them) or names (DNS:ct1.example) of the certificates that may come, separated by "   \
      "vertical bars, with * and ?; empty: any that tls_ca stands for")                                                \
    X(CFG_TLS_FINGERPRINT, "tls_fingerprint", "", TEXT, "", 0, 16000, "list",                                          \
      "SHA-256 fingerprints of the certificates that may come, separated by commas; empty: any that tls_ca stands for") \
    /* storage commitment */                                                                                           \
    X(CFG_COMMITMENT_AT, "commitment_at", "", TEXT, "uploaded", 7, 8, "spooled|uploaded|imported",                     \
      "what an instance must have reached to count as committed")                                                      \
    X(CFG_COMMITMENT_WAIT_S, "commitment_wait_s", "", INT, "86400", 0, 2592000, "s",                                   \
      "time for instances to get there; what has not by then is reported as failed (resource limitation)")             \
    X(CFG_COMMITMENT_SAME_ASSOCIATION, "commitment_same_association", "", BOOL, "true", 0, 0, "",                      \
      "report on the association of the request while it is open; otherwise on a new one only")                        \
    X(CFG_COMMITMENT_ADDRESS, "commitment_address", "", TEXT, "", 0, 300, "host:port",                                 \
      "where the sender hears reports on new associations: host:port, or AETITLE@host:port when it has another AE "    \
      "title there")                                                                                                   \
    X(CFG_COMMITMENT_GIVE_UP_S, "commitment_give_up_s", "", INT, "604800", 0, 31536000, "s",                           \
      "time after commitment_wait_s in which a report is tried again before it is given up")                           \
    X(CFG_COMMITMENT_KEEP_S, "commitment_keep_s", "", INT, "7776000", 0, 315360000, "s",                               \
      "time that ended requests stay in the database")                                                                 \
    /* spool */                                                                                                        \
    X(CFG_SPOOL_FREE_MB, "spool_free_mb", "", INT, "512", 0, 100000000, "MB",                                          \
      "free space below which instances are refused with 0xA700; 0: never")                                            \
    X(CFG_SPOOL_KEEP_IMPORTED_S, "spool_keep_imported_s", "", INT, "0", 0, 315360000, "s",                             \
      "time that the spool file of an imported or duplicate instance is kept")                                         \
    X(CFG_SPOOL_KEEP_DROPPED_S, "spool_keep_dropped_s", "", INT, "2592000", 0, 315360000, "s",                         \
      "time that the spool file of an instance that a person dropped is kept")                                         \
    /* when success is sent */                                                                                         \
    X(CFG_SUCCESS_AT, "success_at", "", TEXT, "spool", 2, 8, "spool|s3|imported",                                      \
      "success of C-STORE is sent when the image is safe on our disk, when S3 has confirmed it, or when "              \
      "HealthImaging has imported it (of a destination that imports nothing: when it has confirmed it)")               \
    X(CFG_SUCCESS_WAIT_S, "success_wait_s", "", INT, "300", 1, 86400, "s",                                             \
      "longest time that the answer waits for s3 or imported")                                                         \
    X(CFG_SUCCESS_TIMEOUT, "success_timeout", "", TEXT, "refuse", 6, 7, "success|refuse",                              \
      "what is answered when success_wait_s has passed: success (the image is on our disk), or 0xA700 (it "            \
      "is kept all the same; when it is sent again it becomes a duplicate)")                                           \
    /* back-pressure and limits */                                                                                     \
    X(CFG_SPOOL_SLOW_FREE_MB, "spool_slow_free_mb", "", INT, "1024", 0, 100000000, "MB",                               \
      "free space below which each success is sent slow_answer_ms later; 0: never")                                    \
    X(CFG_SPOOL_REJECT_FREE_MB, "spool_reject_free_mb", "", INT, "256", 0, 100000000, "MB",                            \
      "free space below which associations are rejected as transient, at most spool_free_mb; 0: never")               \
    X(CFG_BACKLOG_SLOW_COUNT, "backlog_slow_count", "", INT, "0", 0, 1000000000, "count",                              \
      "instances that are not yet uploaded, from which each success is sent slow_answer_ms later; 0: never")           \
    X(CFG_BACKLOG_SLOW_MB, "backlog_slow_mb", "", INT, "0", 0, 1000000000, "MB",                                       \
      "the same by their bytes")                                                                                       \
    X(CFG_BACKLOG_REFUSE_COUNT, "backlog_refuse_count", "", INT, "0", 0, 1000000000, "count",                          \
      "instances that are not yet uploaded, from which new ones are refused with 0xA700; 0: never")                    \
    X(CFG_BACKLOG_REFUSE_MB, "backlog_refuse_mb", "", INT, "0", 0, 1000000000, "MB",                                   \
      "the same by their bytes")                                                                                       \
    X(CFG_BACKLOG_REJECT_COUNT, "backlog_reject_count", "", INT, "0", 0, 1000000000, "count",                          \
      "instances that are not yet uploaded, from which associations are rejected as transient; 0: never")              \
    X(CFG_BACKLOG_REJECT_MB, "backlog_reject_mb", "", INT, "0", 0, 1000000000, "MB",                                   \
      "the same by their bytes")                                                                                       \
    X(CFG_SLOW_ANSWER_MS, "slow_answer_ms", "", INT, "250", 1, 10000, "ms",                                            \
      "how much later a success is sent when space or backlog ask for slower answers")                                 \
    X(CFG_URGENT, "urgent", "", BOOL, "false", 0, 0, "",                                                               \
      "in a section: its images are uploaded and imported before others, and their batches close after "               \
      "batch_urgent_quiet_ms")                                                                                         \
    X(CFG_URGENT_BY_PRIORITY, "urgent_by_priority", "", BOOL, "false", 0, 0, "",                                       \
      "an image whose C-STORE has priority HIGH (0000,0700) is urgent; off, because some senders give it to all")      \
    X(CFG_PRIORITY, "priority", "", BOOL, "false", 0, 0, "",                                                           \
      "these senders may use the associations of priority_reserve, and their images are taken without delay, whatever " \
      "the backlog, until only spool_free_mb less priority_reserve_mb is free")                                                                                   \
    X(CFG_PRIORITY_RESERVE_MB, "priority_reserve_mb", "", INT, "256", 0, 100000000, "MB",                              \
      "part of spool_free_mb that only senders with priority may use")                                                 \
    X(CFG_ASSOCIATION_INSTANCES, "association_instances", "", INT, "0", 0, 1000000000, "count",                        \
      "instances of one association; more are refused with 0xA700; 0: any number")                                     \
    X(CFG_ASSOCIATION_MB, "association_mb", "", INT, "0", 0, 1000000000, "MB",                                         \
      "bytes of one association; instances beyond are refused with 0xA700; 0: any number")                             \
    X(CFG_ASSOCIATION_S, "association_s", "", INT, "0", 0, 31536000, "s",                                              \
      "an association ends after this time, at the end of the message that is under way; the waiting for s3 "          \
      "or imported does not count; 0: never")                                                                          \
    X(CFG_OBJECT_S, "object_s", "", INT, "7200", 0, 31536000, "s",                                                     \
      "time for one DIMSE message from its first byte to its last; 0: any time as long as dimse_timeout is "           \
      "kept")                                                                                                          \
    X(CFG_IN_FLIGHT_MB, "in_flight_mb", "", INT, "0", 0, 1000000000, "MB",                                             \
      "bytes of unfinished objects, all associations together; what exceeds them is refused with 0xA700; 0: "          \
      "any number")                                                                                                    \
    /* validator */                                                                                                    \
    X(CFG_COERCE, "coerce", "", TEXT, "", 0, 16000, "elements",                                                          \
      "changes elements before the upload, rules separated by |: set 0008,0080=Hospital A | remove 0010,4000 | "        \
      "empty 0008,0090 | hash 0010,0020 | keep 0018,1030; docs/operations.md has the whole grammar")                     \
    X(CFG_DEIDENTIFY, "deidentify", "", TEXT, "off", 3, 5, "off|basic",                                                \
      "basic: the Basic Application Level Confidentiality Profile of PS3.15, behind the rules of coerce, which win")     \
    X(CFG_PSEUDONYM_KEY_FILE, "pseudonym_key_file", "", TEXT, "pseudonym.key", 1, 1000, "file",                        \
      "key of hash and deidentify, made at the first use; who loses it gets other pseudonyms. Seen from the "            \
      "installation's directory; only the programs' user may read it")                                                   \
    X(CFG_CHANGE_VALUES, "change_values", "", BOOL, "true", 0, 0, "",                                                  \
      "keep the old and the new value of each changed element in the database (patient data); false: only which one")    \
    X(CFG_SAME_UID_OTHER_CONTENT, "same_uid_other_content", "", TEXT, "hold", 4, 5, "hold|newer",                      \
      "what happens to a SOP Instance UID that comes again with another content: the later one is kept in quarantine " \
      "for a person, or goes on when the older one has come to its end; in another study or series it is always held") \
    X(CFG_CONFLICT_SEVERITY, "conflict_severity", "", TEXT, "warn", 3, 4, "warn|hold|off",                             \
      "what happens to an image whose patient, study or series is described otherwise than in the images before it: "  \
      "it goes on with a warning, or is kept in quarantine for a person")                                              \
    X(CFG_RULES, "rules", "", TEXT, "", 0, 4000, "rules",                                                              \
      "severities other than those of docs/rules.md: pairs such as pixel_short=reject, separated by commas; reject, "  \
      "warn, note or off. In a section: over everybody's")                                                             \
    X(CFG_JUDGE_S, "judge_s", "", INT, "60", 1, 3600, "s",                                                             \
      "time for one file's header: a validator that needs longer ends itself, and the file is tried twice more before " \
      "it is quarantined")                                                                                             \
    X(CFG_COMPLETENESS_QUIET_S, "completeness_quiet_s", "", INT, "300", 2, 86400, "s",                                 \
      "a study of which nothing has come for this time is looked at: is something of it missing?")                     \
    /* batches and import jobs */                                                                                      \
    X(CFG_BATCH_QUIET_MS, "batch_quiet_ms", "", INT, "30000", 0, 86400000, "ms",                                       \
      "a study's batch closes after this time without a new instance")                                                 \
    X(CFG_BATCH_URGENT_QUIET_MS, "batch_urgent_quiet_ms", "", INT, "3000", 0, 86400000, "ms",                          \
      "the same for a study of a sender that is urgent")                                                               \
    X(CFG_BATCH_MAX_AGE_MS, "batch_max_age_ms", "", INT, "600000", 100, 86400000, "ms",                                \
      "a batch closes at this age even if instances keep coming; a closed one waits so long for an instance that is late") \
    X(CFG_BATCH_MAX_COUNT, "batch_max_count", "", INT, "5000", 1, 5000, "count",                                       \
      "instances in a batch (HealthImaging's quota of files per import job)")                                          \
    X(CFG_BATCH_MAX_MB, "batch_max_mb", "", INT, "10000", 1, 10000, "MB",                                              \
      "bytes in a batch (HealthImaging's quota of 10 GB per import job)")                                              \
    X(CFG_BATCH_SHARE_ABOVE_S, "batch_share_above_s", "", INT, "60", 0, 86400, "s",                                    \
      "when so many batches wait that the last would be started later than this, new small studies share a batch; 0: " \
      "never")                                                                                                         \
    X(CFG_BATCH_SHARE_MAX_COUNT, "batch_share_max_count", "", INT, "20", 1, 5000, "count",                             \
      "instances of one study in a shared batch; the next ones go into a batch of its own")                            \
    X(CFG_IMPORT_START_PER_MINUTE, "import_start_per_minute", "", INT, "60", 1, 60000, "count",                        \
      "import jobs started per minute, by all importers together")                                                     \
    X(CFG_IMPORT_START_BURST, "import_start_burst", "", INT, "2", 1, 1000, "count", "burst of job starts")             \
    X(CFG_IMPORT_RUNNING_MAX, "import_running_max", "", INT, "100", 1, 10000, "count",                                 \
      "import jobs that run at one time (HealthImaging's quota per data store)")                                       \
    X(CFG_IMPORT_POLL_MS, "import_poll_ms", "", INT, "5000", 50, 3600000, "ms",                                        \
      "time between two looks at a running job, before jitter")                                                        \
    X(CFG_IMPORT_JOB_S, "import_job_s", "", INT, "14400", 1, 31536000, "s",                                            \
      "an import job that runs longer is told to a person and looked at more seldom; it is neither ended nor repeated")  \
    X(CFG_IMPORT_ATTEMPTS, "import_attempts", "", INT, "5", 1, 1000, "count",                                          \
      "import jobs that may fail on an instance before it counts as failed")                                           \
    /* destinations */                                                                                                 \
    X(CFG_DESTINATION_KIND, "destination_kind", "", TEXT, "healthimaging", 2, 13, "healthimaging|s3|dicomweb",         \
      "where images go: into a HealthImaging data store by way of S3, into S3 and no further, to a DICOMweb server")   \
    X(CFG_FOR_CALLING_AE, "for_calling_ae", "", TEXT, "", 0, 4000, "list",                                             \
      "only in a [destination] section: calling AE titles whose images go there, separated by commas, * and ? are "    \
      "wildcards")                                                                                                     \
    X(CFG_FOR_CALLED_AE, "for_called_ae", "", TEXT, "", 0, 4000, "list",                                               \
      "only in a [destination] section: the AE titles of ours that were called")                                       \
    X(CFG_FOR_MODALITY, "for_modality", "", TEXT, "", 0, 1000, "list",                                                 \
      "only in a [destination] section: modalities (0008,0060) whose images go there")                                 \
    /* events: who is told, and who tells us (events.md) */                                                            \
    X(CFG_EVENTS_WEBHOOK_URL, "events_webhook_url", "", TEXT, "", 0, 1000, "URL",                                      \
      "where finished studies and refused instances are told by POST; empty: nowhere")                                 \
    X(CFG_EVENTS_WEBHOOK_SECRET, "events_webhook_secret", "", SECRET, "", 0, 500, "",                                  \
      "key of the signature of each POST (HMAC-SHA256); with the prefix whsec_ the rest is base64; empty: not signed") \
    X(CFG_EVENTS_SQS_QUEUE_URL, "events_sqs_queue_url", "", TEXT, "", 0, 500, "URL",                                   \
      "the same to an SQS queue, FIFO or not, in aws_region; empty: to none")                                          \
    X(CFG_EVENTS_QUIET_MS, "events_quiet_ms", "", INT, "10000", 0, 3600000, "ms",                                      \
      "a study is finished when every instance of it has its end and none came or ended for this time")                \
    X(CFG_EVENTS_WITH_IDENTITY, "events_with_identity", "", BOOL, "false", 0, 0, "",                                   \
      "events and job table carry accession number, patient id, study date and modalities: patient data")              \
    X(CFG_EVENTS_CALL_MS, "events_call_ms", "", INT, "10000", 100, 60000, "ms",                                        \
      "time for a listener to answer")                                                                                 \
    X(CFG_EVENTS_KEEP_S, "events_keep_s", "", INT, "1209600", 60, 31536000, "s",                                       \
      "what could not be told for this time is given up, and said so")                                                 \
    X(CFG_EVENTS_KEEP_COUNT, "events_keep_count", "", INT, "100000", 1, 10000000, "count",                             \
      "what may wait to be told to one listener; the oldest beyond are given up, and said so")                         \
    X(CFG_HINTS_SQS_QUEUE_URL, "hints_sqs_queue_url", "", TEXT, "", 0, 500, "URL",                                     \
      "SQS queue in aws_region that gets HealthImaging's events of import jobs: they are looked at as soon as they end; " \
      "a queue of this installation alone; empty: polling only")                                                       \
    X(CFG_IMPORT_POLL_HINTED_MS, "import_poll_hinted_ms", "", INT, "60000", 50, 3600000, "ms",                         \
      "import_poll_ms as long as such events come")                                                                    \
    X(CFG_DYNAMODB_TABLE, "dynamodb_table", "", TEXT, "", 0, 255, "table",                                             \
      "DynamoDB table in aws_region, key jobId, that is told of every import job; empty: none")                        \
    /* AWS */                                                                                                          \
    X(CFG_AWS_REGION, "aws_region", "AWS_REGION", TEXT, "", 0, 63, "region",                                           \
      "AWS region; empty: that of the profile, else that of the EC2 instance")                                         \
    X(CFG_DICOM_BUCKET, "dicom_bucket", "DICOM_BUCKET", TEXT, "", 0, 63, "bucket", "S3 bucket for the images")         \
    X(CFG_S3_PREFIX, "s3_prefix", "", TEXT, "storescp", 1, 200, "prefix", "key prefix of all batches")                 \
    X(CFG_S3_KEY_TEMPLATE, "s3_key_template", "", TEXT, "{prefix}/{batch}/{id}.dcm", 1, 900, "template",               \
      "the key of an image's object, made of {prefix} {batch} {id} {study} {series} {sop} {class} {modality} "         \
      "{calling_ae} {called_ae} {yyyy} {mm} {dd} {time}; for HealthImaging it begins with {prefix}/{batch}/ and "      \
      "ends with {id}.dcm; the default of destination_kind = s3 is {prefix}/{study}/{id}.dcm")                         \
    X(CFG_S3_IF_NONE_MATCH, "s3_if_none_match", "", BOOL, "true", 0, 0, "",                                            \
      "never overwrite an object of S3 (If-None-Match); false only for servers that do not know it")                   \
    X(CFG_S3_ENCRYPTION, "s3_encryption", "", TEXT, "none", 1, 16, "none|AES256|aws:kms|aws:kms:dsse",                 \
      "encryption to ask S3 for; none: the bucket's own default")                                                      \
    X(CFG_S3_KMS_KEY, "s3_kms_key", "", TEXT, "", 0, 2048, "key",                                                      \
      "KMS key id, ARN or alias for s3_encryption = aws:kms and aws:kms:dsse; empty: the account's key for S3")        \
    X(CFG_S3_KMS_CONTEXT, "s3_kms_context", "", TEXT, "", 0, 2000, "JSON",                                             \
      "encryption context for KMS, a JSON object of texts; it is written to the account's audit log: no patient data") \
    X(CFG_S3_BUCKET_KEY, "s3_bucket_key", "", TEXT, "unset", 1, 8, "unset|true|false",                                 \
      "an S3 bucket key (fewer requests to KMS) with s3_encryption = aws:kms; unset: as the bucket has it")            \
    X(CFG_S3_EXPECTED_OWNER, "s3_expected_owner", "", TEXT, "", 0, 12, "account",                                      \
      "account that owns the buckets; S3 refuses every request to a bucket of somebody else; empty: not checked")      \
    X(CFG_S3_STORAGE_CLASS, "s3_storage_class", "", TEXT, "none", 1, 24,                                               \
      "none|STANDARD|REDUCED_REDUNDANCY|STANDARD_IA|ONEZONE_IA|INTELLIGENT_TIERING|GLACIER|DEEP_ARCHIVE|OUTPOSTS|GLACIER_IR|SNOW|EXPRESS_ONEZONE|FSX_OPENZFS|FSX_ONTAP|AWS_BACKUP_WARM|AWS_BACKUP_LOW_COST_WARM",                \
      "storage class of the images; none: S3's default. HealthImaging cannot read GLACIER and DEEP_ARCHIVE")           \
    X(CFG_S3_TAGS, "s3_tags", "", TEXT, "", 0, 4000, "list",                                                           \
      "tags of every object, KEY=VALUE separated by commas, at most 10 (needs s3:PutObjectTagging)")                   \
    X(CFG_OUTPUT_BUCKET, "output_bucket", "", TEXT, "", 0, 63, "bucket",                                               \
      "S3 bucket for HealthImaging's results; empty: dicom_bucket")                                                    \
    X(CFG_OUTPUT_PREFIX, "output_prefix", "", TEXT, "storescp-results", 1, 200, "prefix", "key prefix of results")     \
    X(CFG_DATASTORE_ID, "datastore_id", "DATASTORE_ID", TEXT, "", 0, 32, "id", "HealthImaging data store")             \
    X(CFG_DATA_ACCESS_ROLE_ARN, "data_access_role_arn", "DATA_ACCESS_ROLE_ARN", TEXT, "", 0, 2048, "ARN",              \
      "role that HealthImaging takes to read the images and write its results")                                        \
    X(CFG_MAX_POOL_CONNECTIONS, "max_pool_connections", "MAX_POOL_CONNECTIONS", INT, "50", 1, 1000, "count",           \
      "connections of one uploader to S3")                                                                             \
    X(CFG_UPLOAD_CONCURRENCY, "upload_concurrency", "", INT, "8", 1, 256, "count",                                     \
      "transfers of one uploader at one time")                                                                         \
    X(CFG_MULTIPART_ABOVE_MB, "multipart_above_mb", "", INT, "100", 5, 5120, "MiB",                                    \
      "files larger than this go to S3 in parts")                                                                      \
    X(CFG_MULTIPART_PART_MB, "multipart_part_mb", "", INT, "16", 5, 5120, "MiB",                                       \
      "size of a part; larger where a file would need more than 10,000")                                               \
    X(CFG_MULTIPART_PARALLEL, "multipart_parallel", "", INT, "4", 1, 64, "count",                                      \
      "parts of one file at one time, as far as max_pool_connections allow")                                           \
    X(CFG_AWS_CONNECT_MS, "aws_connect_ms", "", INT, "5000", 100, 120000, "ms", "time to reach an AWS endpoint")       \
    X(CFG_AWS_STALL_S, "aws_stall_s", "", INT, "30", 1, 3600, "s",                                                     \
      "a request to AWS ends after this time without a byte in either direction")                                      \
    X(CFG_AWS_CALL_S, "aws_call_s", "", INT, "60", 1, 3600, "s",                                                       \
      "a request to AWS ends after this time; large bodies get more, 64 kB a second")                                  \
    X(CFG_AWS_MAX_ATTEMPTS, "aws_max_attempts", "AWS_MAX_ATTEMPTS", INT, "3", 1, 10, "count",                          \
      "attempts within one call to AWS when it is away, throttles or has an error of its own; the stages try again "   \
      "without limit, later")                                                                                          \
    X(CFG_S3_PATH_STYLE, "s3_path_style", "", BOOL, "false", 0, 0, "",                                                 \
      "put the bucket into the path instead of the host name (local servers)")                                         \
    X(CFG_USE_FIPS, "use_fips", "AWS_USE_FIPS_ENDPOINT", BOOL, "false", 0, 0, "", "ask the FIPS endpoints of AWS's services")\
    X(CFG_USE_DUALSTACK, "use_dualstack", "AWS_USE_DUALSTACK_ENDPOINT", BOOL, "false", 0, 0, "",                       \
      "ask the endpoints that have IPv6 as well as IPv4")                                                              \
    X(CFG_IGNORE_ENDPOINTS, "ignore_configured_endpoint_urls", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", BOOL, "false", 0,\
      0, "", "of custom endpoints only those of storescp.conf count, not AWS_ENDPOINT_URL* and the shared files")      \
    X(CFG_ENDPOINT_S3, "endpoint_url_s3", "AWS_ENDPOINT_URL_S3", TEXT, "", 0, 500, "URL", "S3 endpoint")               \
    X(CFG_ENDPOINT_AHI, "endpoint_url_medical_imaging", "AWS_ENDPOINT_URL_MEDICAL_IMAGING", TEXT, "", 0, 500, "URL",   \
      "HealthImaging endpoint")                                                                                        \
    X(CFG_ENDPOINT_DICOMWEB, "endpoint_url_dicom_medical_imaging", "AWS_ENDPOINT_URL_DICOM_MEDICAL_IMAGING", TEXT, "", \
      0, 500, "URL", "HealthImaging endpoint for DICOMweb")                                                            \
    X(CFG_ENDPOINT_STS, "endpoint_url_sts", "AWS_ENDPOINT_URL_STS", TEXT, "", 0, 500, "URL", "STS endpoint")           \
    X(CFG_ENDPOINT_SQS, "endpoint_url_sqs", "AWS_ENDPOINT_URL_SQS", TEXT, "", 0, 500, "URL", "SQS endpoint")           \
    X(CFG_ENDPOINT_DYNAMODB, "endpoint_url_dynamodb", "AWS_ENDPOINT_URL_DYNAMODB", TEXT, "", 0, 500, "URL",            \
      "DynamoDB endpoint")                                                                                             \
    X(CFG_ENDPOINT, "endpoint_url", "AWS_ENDPOINT_URL", TEXT, "", 0, 500, "URL",                                       \
      "endpoint of every AWS service; without it and its companions the profile's, else AWS's own")                    \
    X(CFG_CA_BUNDLE, "ca_bundle", "AWS_CA_BUNDLE", TEXT, "", 0, 1000, "file", "CA certificates for AWS endpoints")     \
    X(CFG_ACCESS_KEY_ID, "aws_access_key_id", "AWS_ACCESS_KEY_ID", TEXT, "", 0, 128, "", "access key")                 \
    X(CFG_SECRET_ACCESS_KEY, "aws_secret_access_key", "AWS_SECRET_ACCESS_KEY", SECRET, "", 0, 256, "", "secret key")   \
    X(CFG_SESSION_TOKEN, "aws_session_token", "AWS_SESSION_TOKEN", SECRET, "", 0, 8000, "", "session token")           \
    X(CFG_AWS_PROFILE, "aws_profile", "AWS_PROFILE", TEXT, "default", 1, 128, "", "profile in the shared files")       \
    /* DICOMweb servers */                                                                                             \
    X(CFG_DICOMWEB_URL, "dicomweb_url", "", TEXT, "", 0, 500, "URL",                                                   \
      "destination_kind = dicomweb: the service to whose /studies images are posted (STOW-RS), such as "               \
      "https://pacs.example/dicom-web; empty with dicomweb_auth = sigv4: HealthImaging's in aws_region, for datastore_id") \
    X(CFG_DICOMWEB_AUTH, "dicomweb_auth", "", TEXT, "none", 4, 6, "none|basic|bearer|sigv4",                           \
      "how we show who we are: not at all, user and password, a token, or signed with the AWS credentials (HealthImaging)") \
    X(CFG_DICOMWEB_USER, "dicomweb_user", "", TEXT, "", 0, 256, "", "user for basic")                                  \
    X(CFG_DICOMWEB_PASSWORD, "dicomweb_password", "", SECRET, "", 0, 256, "", "password for basic")                    \
    X(CFG_DICOMWEB_TOKEN_FILE, "dicomweb_token_file", "", TEXT, "", 0, 1000, "file",                                   \
      "file with the token for bearer, read again for every request; like the two below seen from the installation's directory") \
    X(CFG_DICOMWEB_CERTIFICATE, "dicomweb_client_certificate", "", TEXT, "", 0, 1000, "file",                          \
      "our certificate for servers that ask for one, PEM; ca_bundle says whose certificates we trust")                 \
    X(CFG_DICOMWEB_KEY, "dicomweb_client_key", "", TEXT, "", 0, 1000, "file",                                          \
      "its private key, PEM; empty: it stands in dicomweb_client_certificate")                                         \
    X(CFG_DICOMWEB_KEY_PASSWORD, "dicomweb_client_key_password", "", SECRET, "", 0, 256, "", "password of an encrypted key") \
    X(CFG_DICOMWEB_PAYLOAD, "dicomweb_payload", "", TEXT, "streaming", 6, 9, "streaming|sha256",                       \
      "sigv4: what is signed for the body: the words that AWS's guide shows, or its SHA-256, for which the file is read twice") \
    X(CFG_DICOMWEB_ATTEMPTS, "dicomweb_attempts", "", INT, "10", 1, 1000, "count",                                     \
      "times that a server may fail on an instance without a reason that tells (0110H, or none) before it counts as failed") \
    /* the supervisor: storescpctl up */                                                                               \
    X(CFG_RECEIVERS, "receivers", "", INT, "1", 0, 64, "count", "receiver processes under storescpctl up")             \
    X(CFG_VALIDATORS, "validators", "", INT, "1", 0, 64, "count", "validator processes under storescpctl up")          \
    X(CFG_UPLOADERS, "uploaders", "", INT, "1", 0, 64, "count", "uploader processes under storescpctl up")             \
    X(CFG_IMPORTERS, "importers", "", INT, "1", 0, 64, "count", "importer processes under storescpctl up")             \
    X(CFG_SWEEP_MS, "sweep_ms", "", INT, "1000", 20, 60000, "ms",                                                      \
      "how often an idle worker looks for rows whose hint was lost")                                                   \
    X(CFG_DRAIN_S, "drain_s", "", INT, "30", 1, 3600, "s", "time to finish work in hand after SIGTERM")                \
    X(CFG_WATCHDOG_S, "watchdog_s", "", INT, "900", 0, 86400, "s",                                                     \
      "a worker whose main loop stands still for this time is hung: `up` kills and replaces it; 0: never")             \
    X(CFG_CORE_DUMPS, "core_dumps", "", BOOL, "false", 0, 0, "",                                                       \
      "processes may write core dumps and be looked into by a debugger of their user, for development: they hold "     \
      "images and secrets")                                                                                            \
    X(CFG_LOG_LEVEL, "log_level", "LOG_LEVEL", TEXT, "info", 1, 16, "debug|info|warning|error", "what is logged")

/* What a section [ae PATTERN] may set for single calling AE titles. */
#define CONFIG_PER_AE(X)                                                                                               \
    X(CFG_SUPPORTED_SOP_CLASS_UIDS)                                                                                    \
    X(CFG_REFUSED_SOP_CLASSES)                                                                                         \
    X(CFG_TRANSFER_SYNTAXES)                                                                                           \
    X(CFG_OPERATIONS_WINDOW)                                                                                           \
    X(CFG_REQUIRE_USER_IDENTITY)                                                                                       \
    X(CFG_ALLOWED_USERS)                                                                                               \
    X(CFG_MAXIMUM_OBJECT_MB)                                                                                           \
    X(CFG_SUCCESS_AT)                                                                                                  \
    X(CFG_SUCCESS_WAIT_S)                                                                                              \
    X(CFG_SUCCESS_TIMEOUT)                                                                                             \
    X(CFG_COERCE)                                                                                                      \
    X(CFG_DEIDENTIFY)                                                                                                  \
    X(CFG_URGENT)                                                                                                      \
    X(CFG_RULES)                                                                                                       \
    X(CFG_URGENT_BY_PRIORITY)                                                                                          \
    X(CFG_PRIORITY)                                                                                                    \
    X(CFG_ASSOCIATION_INSTANCES)                                                                                       \
    X(CFG_ASSOCIATION_MB)                                                                                              \
    X(CFG_ASSOCIATION_S)                                                                                               \
    X(CFG_OBJECT_S)                                                                                                    \
    X(CFG_ASSOCIATIONS_PER_AE)                                                                                         \
    X(CFG_ALLOWED_ADDRESSES)                                                                                           \
    X(CFG_TLS_REQUIRED)                                                                                                \
    X(CFG_TLS_SUBJECT)                                                                                                 \
    X(CFG_TLS_FINGERPRINT)                                                                                             \
    X(CFG_COMMITMENT_AT)                                                                                               \
    X(CFG_COMMITMENT_WAIT_S)                                                                                           \
    X(CFG_COMMITMENT_SAME_ASSOCIATION)                                                                                 \
    X(CFG_COMMITMENT_ADDRESS)                                                                                          \
    X(CFG_COMMITMENT_GIVE_UP_S)

/* What a section [destination NAME] may set for the instances that go there. */
#define CONFIG_PER_DESTINATION(X)                                                                                      \
    X(CFG_DESTINATION_KIND)                                                                                            \
    X(CFG_FOR_CALLING_AE)                                                                                              \
    X(CFG_FOR_CALLED_AE)                                                                                               \
    X(CFG_FOR_MODALITY)                                                                                                \
    X(CFG_SAME_UID_OTHER_CONTENT)                                                                                      \
    X(CFG_CONFLICT_SEVERITY)                                                                                           \
    X(CFG_BATCH_QUIET_MS)                                                                                              \
    X(CFG_BATCH_MAX_AGE_MS)                                                                                            \
    X(CFG_BATCH_MAX_COUNT)                                                                                             \
    X(CFG_BATCH_MAX_MB)                                                                                                \
    X(CFG_BATCH_SHARE_ABOVE_S)                                                                                         \
    X(CFG_BATCH_SHARE_MAX_COUNT)                                                                                       \
    X(CFG_IMPORT_START_PER_MINUTE)                                                                                     \
    X(CFG_IMPORT_START_BURST)                                                                                          \
    X(CFG_IMPORT_RUNNING_MAX)                                                                                          \
    X(CFG_IMPORT_POLL_MS)                                                                                              \
    X(CFG_IMPORT_JOB_S)                                                                                                \
    X(CFG_IMPORT_ATTEMPTS)                                                                                             \
    X(CFG_AWS_REGION)                                                                                                  \
    X(CFG_DICOM_BUCKET)                                                                                                \
    X(CFG_S3_PREFIX)                                                                                                   \
    X(CFG_S3_KEY_TEMPLATE)                                                                                             \
    X(CFG_S3_IF_NONE_MATCH)                                                                                            \
    X(CFG_S3_ENCRYPTION)                                                                                               \
    X(CFG_S3_KMS_KEY)                                                                                                  \
    X(CFG_S3_KMS_CONTEXT)                                                                                              \
    X(CFG_S3_BUCKET_KEY)                                                                                               \
    X(CFG_S3_EXPECTED_OWNER)                                                                                           \
    X(CFG_S3_STORAGE_CLASS)                                                                                            \
    X(CFG_S3_TAGS)                                                                                                     \
    X(CFG_OUTPUT_BUCKET)                                                                                               \
    X(CFG_OUTPUT_PREFIX)                                                                                               \
    X(CFG_DATASTORE_ID)                                                                                                \
    X(CFG_DATA_ACCESS_ROLE_ARN)                                                                                        \
    X(CFG_MAX_POOL_CONNECTIONS)                                                                                        \
    X(CFG_UPLOAD_CONCURRENCY)                                                                                          \
    X(CFG_MULTIPART_ABOVE_MB)                                                                                          \
    X(CFG_MULTIPART_PART_MB)                                                                                           \
    X(CFG_MULTIPART_PARALLEL)                                                                                          \
    X(CFG_AWS_CONNECT_MS)                                                                                              \
    X(CFG_AWS_STALL_S)                                                                                                 \
    X(CFG_AWS_CALL_S)                                                                                                  \
    X(CFG_AWS_MAX_ATTEMPTS)                                                                                            \
    X(CFG_S3_PATH_STYLE)                                                                                               \
    X(CFG_USE_FIPS)                                                                                                    \
    X(CFG_USE_DUALSTACK)                                                                                               \
    X(CFG_IGNORE_ENDPOINTS)                                                                                            \
    X(CFG_ENDPOINT_S3)                                                                                                 \
    X(CFG_ENDPOINT_AHI)                                                                                                \
    X(CFG_ENDPOINT_DICOMWEB)                                                                                           \
    X(CFG_ENDPOINT_STS)                                                                                                \
    X(CFG_ENDPOINT)                                                                                                    \
    X(CFG_CA_BUNDLE)                                                                                                   \
    X(CFG_ACCESS_KEY_ID)                                                                                               \
    X(CFG_SECRET_ACCESS_KEY)                                                                                           \
    X(CFG_SESSION_TOKEN)                                                                                               \
    X(CFG_DICOMWEB_URL)                                                                                                \
    X(CFG_DICOMWEB_AUTH)                                                                                               \
    X(CFG_DICOMWEB_USER)                                                                                               \
    X(CFG_DICOMWEB_PASSWORD)                                                                                           \
    X(CFG_DICOMWEB_TOKEN_FILE)                                                                                         \
    X(CFG_DICOMWEB_CERTIFICATE)                                                                                        \
    X(CFG_DICOMWEB_KEY)                                                                                                \
    X(CFG_DICOMWEB_KEY_PASSWORD)                                                                                       \
    X(CFG_DICOMWEB_PAYLOAD)                                                                                            \
    X(CFG_DICOMWEB_ATTEMPTS)                                                                                           \
    X(CFG_AWS_PROFILE)

#endif
