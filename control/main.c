/* storescpctl - starts, scales and explains an installation. One table: command -> function, arguments, options, help. */
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "control/control.h"

#include <unistd.h>

static const struct command {
    const char *name;
    int (*run)(struct request *q);
    int arguments_min, arguments_max;
    int options;
    const char *usage, *summary, *help;
} commands[] = {
    {"up", command_up, 0, 0, OPT_COUNTS, "up [--receivers N] [--validators N] [--uploaders N] [--importers N]",
     "start and watch the stages, in the foreground",
     "Prints `ready` when every stage is ready. A stage that dies is started again. SIGTERM or Ctrl-C drains and ends.\n"
     "A new `up` after a crash of the old one takes over the stages that still run."},
    {"scale", command_scale, 2, 2, 0, "scale receiver|validator|uploader|importer N", "change the number of processes of a stage",
     "N is 0 to 64. Fewer: the newest processes finish what they have in hand and end."},
    {"reload", command_reload, 0, 0, 0, "reload", "let the running stages take over changed settings",
     "Receivers do so at once, associations that stand end with the old ones; the other stages finish what they have in hand first.\n"
     "Ports, address and home need a new start. Exit code 1 if a setting is wrong: then nothing changes."},
    {"doctor", command_doctor, 0, 0, OPT_JSON | OPT_POLICY | OPT_DESTINATION, "doctor [--json] [--destination NAME] [--policy]",
     "is everything there that an image will need, here and at AWS?",
     "Run it before the first image. Says for each thing whether it is fine, and if not, what to set or which permission is missing.\n"
     "Works while the stages run and while they do not. It writes one small object below s3_prefix and removes it. --policy prints\n"
     "the IAM policies that are needed instead. Exit code 1 if something FAILED."},
    {"status", command_status, 0, 0, OPT_JSON, "status [--json]", "counts by state, workers, batches, disk, warnings",
     "Works with the pipeline stopped. Lines that begin with WARN want a look. The JSON form is a contract (schema 1)."},
    {"studies", command_studies, 0, 0, OPT_JSON | OPT_LIMIT | OPT_SHORT, "studies [--short] [--json] [--limit N]", "the latest studies and how they stand",
     "--short: only those of which images are known to be missing, and how that is known. 50 unless --limit says otherwise."},
    {"stuck", command_stuck, 0, 0, OPT_JSON | OPT_LIMIT, "stuck [--json] [--limit N]", "instances that want a person or wait too long",
     "Quarantined and failed ones, held ones, those with failed attempts, those that stand for 15 minutes. 50 unless --limit says\n"
     "otherwise."},
    {"commitments", command_commitments, 0, 0, OPT_JSON | OPT_LIMIT, "commitments [--json] [--limit N]", "storage commitments: asked, decided, reported",
     "Those that are not reported first. `show` with an id or Transaction UID tells all about one. 50 unless --limit says otherwise."},
    {"events", command_events, 0, 2, OPT_JSON | OPT_LIMIT, "events [--json] [--limit N] | events drop webhook|sqs|dynamodb", "who is told of studies and jobs, and what waits",
     "`drop` gives up all that waits to be told to one of them. 50 rows unless --limit says otherwise."},
    {"show", command_show, 1, 1, OPT_JSON | OPT_LIMIT, "show ID|UID|ACCESSION|PATIENT_ID|BATCH [--json] [--limit N]",
     "everything known about an instance, study or batch", "An instance with its history. Exit code 1 if nothing matches."},
    {"why", command_why, 1, 1, 0, "why ID|UID|ACCESSION", "one plain story: where it is, what it waits for, what to do",
     "Exit code 1 if nothing matches."},
    {"retry", command_retry, 1, 1, OPT_ACCEPT | OPT_JOB | OPT_REASON, "retry ID|STUDY|ALL [--accept] | BATCH --job [--reason TEXT]",
     "try quarantined and failed instances again",
     "--accept: take them even if another content with the same SOP Instance UID is here.\n"
     "--job: give up the batch's import job, which runs longer than import_job_s: what its results say holds, the other images go into a new\n"
     "job. Look at the job in HealthImaging before: if it still imports them, they are imported twice."},
    {"hold", command_hold, 1, 1, OPT_REASON, "hold ID|STUDY [--reason TEXT]", "let instances wait until `release`",
     "What is not yet in an import job stays where it is; its batch waits too. New instances of the study are not held."},
    {"release", command_release, 1, 1, 0, "release ID|STUDY", "let held instances go on", "Exit code 1 if none was held."},
    {"close", command_close, 1, 1, 0, "close STUDY|BATCH|ID", "import now: do not wait for more, start before others",
     "The batches in which its images wait are closed, uploaded and started before others. What comes later goes into another batch.\n"
     "Exit code 1 if nothing of it waits to be started."},
    {"move", command_move, 2, 2, 0, "move FROM TO", "let what waits at one destination go to another",
     "For a destination that storescp.conf has lost, or that will be away for long. Failed instances go too, when they are retried. What is\n"
     "in an import job stays. New images go where the rules say. Exit code 1 if something is left there."},
    {"drop", command_drop, 1, 1, OPT_REASON, "drop ID|STUDY --reason TEXT", "give up quarantined, failed or held received instances",
     "The rows stay and tell who dropped them and why; the files are kept in spool/dropped for spool_keep_dropped_s, and until then\n"
     "`retry ID` brings one back."},
    {"quarantine", command_quarantine, 1, 3, OPT_QUARANTINE, "quarantine list|show|release|fix|drop|rules ...", "what rules refused: look, accept, correct, give up",
     "  list [--study UID] [--ae AE] [--code CODE] [--since TIME] [--json] [--limit N]   by reason, then one by one, the newest first\n"
     "  show ID [--header] [--json]          reason, rule, remedy, twin; --header: the elements without the pixels (patient data)\n"
     "  release ID|--study UID [--reason T]  send it on although a rule says no: accepts that rule for it, others still count\n"
     "  fix ID|--study UID|--all-of AE --set TAG=VALUE|--remove TAG|--empty TAG ... --reason T [--dry-run]\n"
     "                                       correct elements, then judge again; --all-of: what this AE title (* and ? are wildcards)\n"
     "                                       sends from now on\n"
     "  rules [--json] | rules stop N        the corrections that were ordered; end one\n"
     "  drop ID|--study UID --reason T       give up; kept in spool/dropped for spool_keep_dropped_s\n"
     "TIME is 30min, 12h, 7d or 2026-01-31[T08:00]. TAG is 0010,0020, a keyword such as PatientID, or a path such as 0040,0275/0040,0007.\n"
     "Beside these, `retry` judges again as it is, the command `release` ends a `hold`, and `drop` gives up failed and held ones, too.\n"
     "Who did what is in `show ID`."},
    {"config", command_config, 0, 0, OPT_JSON, "config [--json]", "every setting, where it comes from, what is wrong",
     "Secrets are not shown. Exit code 1 if a setting is wrong."},
    {"user", command_user, 1, 2, OPT_JSON | OPT_NAME_ONLY, "user add NAME [--name-only] | remove NAME | list [--json]",
     "who may send by user identity negotiation",
     "`add` reads the passcode from the terminal or one line from standard input, and keeps a hash of it in user_file; for a user\n"
     "who is there already it is the new passcode. --name-only: known by name, no passcode fits. Takes effect with the next\n"
     "association. Nothing is required of senders until require_user_identity says so."},
    {"rebuild", command_rebuild, 0, 0, OPT_SPOOL_ONLY, "rebuild [--spool-only]", "make a lost state.db again from S3, HealthImaging and the spool",
     "Everything must be stopped and the old state.db moved away. May be run again when it was cut off. Exit code 1 if something could\n"
     "not be known or wants a look. --spool-only: nothing ever left this machine, S3 and HealthImaging are not asked."},
};
enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static int help_all(FILE *out)
{
    (void)fputs("usage: storescpctl [--home DIR] COMMAND ...\n\n", out);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        (void)fprintf(out, "  %-11s %s\n", commands[i].name, commands[i].summary);
    }
    (void)fputs("\nDIR is the installation's directory; otherwise STORESCP_HOME, else /var/lib/storescp.\n"
                "`storescpctl COMMAND --help` tells more. Exit codes: 0 done, 1 problem or nothing found, 2 wrong usage.\n",
                out);
    return out == stdout ? EXIT_FINE : EXIT_USAGE;
}

static int help_one(const struct command *c, FILE *out)
{
    size_t length = strlen(c->summary);
    const char *end = length > 0 && c->summary[length - 1] == '?' ? "" : ".";
    (void)fprintf(out, "usage: storescpctl [--home DIR] %s\n\n%s%s\n%s\n", c->usage, c->summary, end, c->help);
    return out == stdout ? EXIT_FINE : EXIT_USAGE;
}

static bool whole_number(const char *text, long long maximum, long long *out)
{
    char *end = NULL;
    long long n = text ? strtoll(text, &end, 10) : -1;
    if (!text || end == text || *end != '\0' || n < 0 || n > maximum) {
        return false;
    }
    *out = n;
    return true;
}

/* Every option but the counts of `up`: where its value goes in struct request. */
static const struct option {
    const char *name;
    int bit;
    enum { TAKES_NOTHING, TAKES_TEXT, TAKES_EDIT } takes;
    size_t at;
} options[] = {
    {"--json", OPT_JSON, TAKES_NOTHING, offsetof(struct request, json)},
    {"--accept", OPT_ACCEPT, TAKES_NOTHING, offsetof(struct request, accept)},
    {"--job", OPT_JOB, TAKES_NOTHING, offsetof(struct request, job)},
    {"--name-only", OPT_NAME_ONLY, TAKES_NOTHING, offsetof(struct request, name_only)},
    {"--policy", OPT_POLICY, TAKES_NOTHING, offsetof(struct request, policy)},
    {"--spool-only", OPT_SPOOL_ONLY, TAKES_NOTHING, offsetof(struct request, spool_only)},
    {"--short", OPT_SHORT, TAKES_NOTHING, offsetof(struct request, is_short)},
    {"--header", OPT_HEADER, TAKES_NOTHING, offsetof(struct request, header)},
    {"--dry-run", OPT_DRY_RUN, TAKES_NOTHING, offsetof(struct request, dry_run)},
    {"--reason", OPT_REASON, TAKES_TEXT, offsetof(struct request, reason)},
    {"--destination", OPT_DESTINATION, TAKES_TEXT, offsetof(struct request, destination)},
    {"--study", OPT_STUDY, TAKES_TEXT, offsetof(struct request, study)},
    {"--ae", OPT_FILTER, TAKES_TEXT, offsetof(struct request, ae)},
    {"--code", OPT_FILTER, TAKES_TEXT, offsetof(struct request, code)},
    {"--since", OPT_FILTER, TAKES_TEXT, offsetof(struct request, since)},
    {"--all-of", OPT_ALL_OF, TAKES_TEXT, offsetof(struct request, all_of)},
    {"--set", OPT_EDIT, TAKES_EDIT, 0},
    {"--remove", OPT_EDIT, TAKES_EDIT, 0},
    {"--empty", OPT_EDIT, TAKES_EDIT, 0},
};

/* An option of the table above at argv[*i]; moves *i behind its value. False: it is none of them, or its value is missing. */
static bool parse_option(int argc, char **argv, int *i, struct request *q)
{
    for (size_t k = 0; k < sizeof options / sizeof options[0]; k++) {
        const struct option *o = &options[k];
        const char *next = *i + 1 < argc ? argv[*i + 1] : "";
        if (strcmp(argv[*i], o->name) != 0) {
            continue;
        }
        if ((o->takes != TAKES_NOTHING && !next[0]) || (o->takes == TAKES_EDIT && q->edit_count == EDITS_MAX)) {
            return false;
        }
        if (o->takes == TAKES_NOTHING) {
            *(bool *)((char *)q + o->at) = true;
        } else if (o->takes == TAKES_TEXT) {
            *(const char **)((char *)q + o->at) = next;
        } else {
            q->edits[q->edit_count++] = (struct edit_words){o->name + 2, next};
        }
        q->used |= o->bit;
        *i += o->takes != TAKES_NOTHING;
        return true;
    }
    return false;
}

/* Options may stand before or after the command. Fills q, *home and *c; EXIT_FINE, or what main returns (*done set). */
static int parse(int argc, char **argv, struct request *q, const char **home, const struct command **c, bool *done)
{
    bool wants_help = false;
    *done = true;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        long long n = 0;
        if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
            wants_help = true;
        } else if (strcmp(a, "--version") == 0) {
            (void)puts("storescpctl " STORESCP_VERSION);
            return EXIT_FINE;
        } else if (strcmp(a, "--home") == 0 && next && next[0]) {
            *home = argv[++i];
        } else if (parse_option(argc, argv, &i, q)) {
            continue;
        } else if (strcmp(a, "--limit") == 0 && whole_number(next, 1000000, &n) && n > 0) {
            q->limit = n;
            q->used |= OPT_LIMIT;
            i++;
        } else if (strncmp(a, "--", 2) == 0 && a[2] && a[strlen(a) - 1] == 's' && stage_parse(a + 2) >= 0 &&
                   whole_number(next, PROCESSES_MAX, &n)) {
            q->counts[stage_parse(a + 2)] = (int)n;
            q->used |= OPT_COUNTS;
            i++;
        } else if (a[0] == '-') {
            (void)complain("%s is not an option, or its value is missing or wrong", a);
            return *c ? help_one(*c, stderr) : help_all(stderr);
        } else if (!*c) {
            for (size_t k = 0; k < COMMAND_COUNT; k++) {
                if (strcmp(commands[k].name, a) == 0) {
                    *c = &commands[k];
                }
            }
            if (strcmp(a, "help") == 0) {
                return help_all(stdout);
            }
            if (!*c) {
                (void)complain("there is no command %s", a);
                return help_all(stderr);
            }
        } else if (q->arg_count < (*c)->arguments_max) {
            q->args[q->arg_count++] = a;
        } else {
            (void)complain("%s is one argument too many", a);
            return help_one(*c, stderr);
        }
    }
    if (wants_help || !*c) {
        return *c ? help_one(*c, stdout) : help_all(wants_help ? stdout : stderr);
    }
    if (q->arg_count < (*c)->arguments_min || (q->used & ~(*c)->options)) {
        return help_one(*c, stderr);
    }
    *done = false;
    return EXIT_FINE;
}

int main(int argc, char **argv)
{
    struct request q = {.counts = {-1, -1, -1, -1}};
    const struct command *c = NULL;
    const char *home = NULL;
    bool done = false;
    log_init("storescpctl", LOG_LEVEL_WARNING);
    int code = parse(argc, argv, &q, &home, &c, &done);
    if (done) {
        return code;
    }
    struct err e = {0};
    q.config_is_bad = config_load(&q.config, home, &e) != 0;
    if (!q.config) {
        return complain("%s", e.text);
    }
    q.home = config_home(q.config);
    process_shield(config_bool(q.config, CFG_CORE_DUMPS));
    if (c->run != command_config && c->run != command_doctor && c->run != command_rebuild) {
        config_forget_secrets(q.config, c->run == command_up ? SECRETS_NONE : SECRETS_RECEIVER); /* it lives long; the environment it gives on as it is */
    }
    code = c->run(&q);
    if (fflush(stdout) != 0) {
        code = EXIT_PROBLEM;
    }
    config_free(&q.config);
    return code;
}
