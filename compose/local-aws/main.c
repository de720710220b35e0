/*
 * storescp-local-aws - a local stand-in for S3, HealthImaging's import jobs and STS. README.md is its manual.
 *
 * main: options -> what is on disk -> jobs -> http -> `ready` -> until SIGTERM or SIGINT.
 */
#include "common/runtime/log.h"
#include "common/runtime/runtime.h"
#include "compose/local-aws/faults.h"
#include "compose/local-aws/http.h"
#include "compose/local-aws/image_sets.h"
#include "compose/local-aws/jobs.h"
#include "compose/local-aws/queues.h"

#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum { PORT = 256, ADDRESS, DATA, ACCESS_KEY, SECRET_KEY, REGION, DATASTORE, BUCKET, ACCOUNT, DOMAIN, BUCKET_KMS_KEY, DATASTORE_STATUS, JOB_MS, JOBS_MAX, FILES_MAX,
       JOB_BYTES_MAX, NO_THROTTLE, START_PER_SECOND, FSYNC, FAST_ETAG, QUEUE, EVENTS, LOG_LEVEL, HELP };

static const struct option long_options[] = {
    {"port", required_argument, NULL, PORT},
    {"address", required_argument, NULL, ADDRESS},
    {"data", required_argument, NULL, DATA},
    {"access-key", required_argument, NULL, ACCESS_KEY},
    {"secret-key", required_argument, NULL, SECRET_KEY},
    {"region", required_argument, NULL, REGION},
    {"datastore", required_argument, NULL, DATASTORE},
    {"bucket", required_argument, NULL, BUCKET},
    {"account", required_argument, NULL, ACCOUNT},
    {"domain", required_argument, NULL, DOMAIN},
    {"bucket-kms-key", required_argument, NULL, BUCKET_KMS_KEY},
    {"datastore-status", required_argument, NULL, DATASTORE_STATUS},
    {"job-ms", required_argument, NULL, JOB_MS},
    {"jobs-max", required_argument, NULL, JOBS_MAX},
    {"files-max", required_argument, NULL, FILES_MAX},
    {"job-bytes-max", required_argument, NULL, JOB_BYTES_MAX},
    {"no-throttle", no_argument, NULL, NO_THROTTLE},
    {"start-per-second", required_argument, NULL, START_PER_SECOND},
    {"fsync", no_argument, NULL, FSYNC},
    {"fast-etag", no_argument, NULL, FAST_ETAG},
    {"queue", required_argument, NULL, QUEUE},
    {"events", required_argument, NULL, EVENTS},
    {"log-level", required_argument, NULL, LOG_LEVEL},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

static const char usage[] =
    "storescp-local-aws: S3, HealthImaging import jobs, STS and SQS on this machine, for the quick start and for tests\n"
    "  --data DIRECTORY        where everything is kept (needed)\n"
    "  --address A --port N    where it listens (127.0.0.1, 9000)\n"
    "  --access-key K --secret-key S --region R   whose signatures it accepts (LOCALACCESSKEY, local-secret-key, us-east-1)\n"
    "  --bucket B              made at the start if it is not there; may be given several times\n"
    "  --datastore ID          32 of 0-9 a-z (0123456789abcdef0123456789abcdef)\n"
    "  --account N             12 digits (123456789012)\n"
    "  --queue Q               an SQS queue, made at the start; may be given several times; ends in .fifo for a FIFO queue\n"
    "  --events Q              such a queue gets HealthImaging's events when an import job changes\n"
    "  --domain D              BUCKET.D names a bucket (virtual-host style); BUCKET.localhost always does\n"
    "  --bucket-kms-key ARN    what GetBucketEncryption tells (SSE-S3)\n"
    "  --datastore-status S    what GetDatastore tells (ACTIVE)\n"
    "  --job-ms N              how long an import job takes (2000)\n"
    "  --jobs-max N --files-max N --job-bytes-max N   quotas (100, 5000, 10000000000)\n"
    "  --start-per-second N    rate of StartDICOMImportJob (1, burst twice that)\n"
    "  --no-throttle           no rates at all, for benchmarks\n"
    "  --fsync                 what was stored survives a power cut, too\n"
    "  --fast-etag             ETags that are no MD5, for benchmarks\n"
    "  --log-level L           debug, info, warning (the usual), error\n";

/* -1: not a number within the limits; says so. */
static int64_t number(const char *text, const char *name, int64_t least, int64_t most)
{
    char *end;
    long long n = strtoll(text, &end, 10);
    if (end == text || *end || n < least || n > most) {
        (void)fprintf(stderr, "--%s takes a number from %lld to %lld, not %s\n", name, (long long)least, (long long)most, text);
        return -1;
    }
    return n;
}

struct start {
    struct options options;
    const char *buckets[16];
    size_t bucket_count;
    const char *queues[QUEUES_MAX];
    size_t queue_count;
    double start_per_second; /* < 0: as HealthImaging has it */
    bool no_throttle;
    enum log_level level;
};

static bool take_number(struct options *o, int which, const char *text, const char *name)
{
    int64_t most = which == PORT ? 65535 : which == JOB_BYTES_MAX ? INT64_MAX / 2 : 10000000;
    int64_t n = number(text, name, which == JOB_MS ? 0 : 1, most);
    switch (which) {
    case PORT: o->port = (int)n; break;
    case JOB_MS: o->job_ms = (int)n; break;
    case JOBS_MAX: o->jobs_max = (int)n; break;
    case FILES_MAX: o->files_max = (int)n; break;
    default: o->job_bytes_max = n; break;
    }
    return n >= 0;
}

static bool take_option(struct start *s, int which, const char *value, const char *name)
{
    struct options *o = &s->options;
    switch (which) {
    case PORT: case JOB_MS: case JOBS_MAX: case FILES_MAX: case JOB_BYTES_MAX: return take_number(o, which, value, name);
    case ADDRESS: o->address = value; return true;
    case DATA: o->data = value; return true;
    case ACCESS_KEY: o->access_key = value; return true;
    case SECRET_KEY: o->secret_key = value; return true;
    case REGION: o->region = value; return true;
    case DATASTORE: o->datastore = value; return true;
    case ACCOUNT: o->account = value; return true;
    case DOMAIN: o->domain = value; return true;
    case BUCKET_KMS_KEY: o->bucket_kms_key = value; return true;
    case DATASTORE_STATUS: o->datastore_status = value; return true;
    case NO_THROTTLE: s->no_throttle = true; return true;
    case START_PER_SECOND: s->start_per_second = atof(value); return s->start_per_second > 0;
    case FSYNC: o->durable = true; return true;
    case FAST_ETAG: o->fast_etag = true; return true;
    case EVENTS: o->events_queue = value; /* and a queue */
        /* fall through */
    case QUEUE:
        if (s->queue_count == QUEUES_MAX) {
            return false;
        }
        s->queues[s->queue_count++] = value;
        return true;
    case LOG_LEVEL: return log_level_parse(value, &s->level);
    case BUCKET:
        if (s->bucket_count == sizeof s->buckets / sizeof s->buckets[0] || !store_bucket_is_legal(value)) {
            (void)fprintf(stderr, "--bucket takes a legal bucket name, at most 16 times, not %s\n", value);
            return false;
        }
        s->buckets[s->bucket_count++] = value;
        return true;
    default: return false;
    }
}

/* 0 go on, 1 help was given, 2 wrong */
static int read_options(int argc, char **argv, struct start *s)
{
    int which;
    int place = 0;
    while ((which = getopt_long(argc, argv, "", long_options, &place)) != -1) {
        if (which == HELP) {
            (void)fputs(usage, stdout);
            return 1;
        }
        if (which == '?' || !take_option(s, which, optarg, long_options[place].name)) {
            return 2;
        }
    }
    if (optind < argc || !s->options.data) {
        (void)fprintf(stderr, optind < argc ? "storescp-local-aws takes options only\n" : "--data is needed\n");
        return 2;
    }
    if (strlen(s->options.datastore) != 32 || strspn(s->options.datastore, "0123456789abcdefghijklmnopqrstuvwxyz") != 32) {
        (void)fprintf(stderr, "--datastore takes 32 characters of 0-9 and a-z\n");
        return 2;
    }
    return 0;
}

static int open_all(struct standin *app, const struct start *s, struct err *e)
{
    app->throttle = throttle_new();
    app->faults = faults_new();
    app->queues = queues_new();
    if (!app->throttle || !app->faults || !app->queues) {
        return err_set(e, ERR_MEMORY, 0, "no memory");
    }
    if (s->start_per_second > 0) {
        (void)throttle_set(app->throttle, "StartDICOMImportJob", s->start_per_second, 2 * s->start_per_second);
    }
    if (s->no_throttle) {
        (void)throttle_set(app->throttle, NULL, 0, 0);
    }
    for (size_t i = 0; i < s->queue_count; i++) {
        if (queues_make(app->queues, s->queues[i]) != 0) {
            return err_set(e, ERR_CONFIG, 0, "--queue %s: letters, digits, - and _, and perhaps .fifo; at most %d queues", s->queues[i], QUEUES_MAX);
        }
    }
    int rc = store_open(&app->store, s->options.data, s->options.durable, e);
    for (size_t i = 0; rc == 0 && i < s->bucket_count; i++) {
        rc = store_bucket_exists(app->store, s->buckets[i]) ? 0 : store_bucket_make(app->store, s->buckets[i], e);
    }
    if (rc == 0) {
        rc = image_sets_open(&app->image_sets, s->options.data, s->options.durable, e);
    }
    if (rc == 0) {
        rc = jobs_open(&app->jobs, app, e);
    }
    return rc != 0 ? rc : jobs_begin(app->jobs, e);
}

static int serve(struct standin *app, struct err *e)
{
    struct http *http = NULL;
    int rc = http_start(&http, app, e);
    if (rc != 0) {
        return rc;
    }
    (void)printf("ready http://%s:%d\n", app->options.address, app->options.port);
    (void)fflush(stdout);
    struct pollfd stop = {.fd = stop_fd(), .events = POLLIN};
    while (!stop_requested()) {
        (void)poll(&stop, 1, 1000);
    }
    atomic_store(&app->stopping, true);
    http_stop(http);
    return 0;
}

int main(int argc, char **argv)
{
    struct start s = {.options = {.address = "127.0.0.1", .port = 9000, .access_key = "LOCALACCESSKEY", .secret_key = "local-secret-key",
                                  .region = "us-east-1", .datastore = "0123456789abcdef0123456789abcdef", .account = "123456789012",
                                  .job_ms = 2000, .jobs_max = 100, .files_max = 5000, .job_bytes_max = 10000000000},
                      .start_per_second = -1, .level = LOG_LEVEL_WARNING};
    struct standin app = {.started_ms = clock_wall_ms()};
    struct err e = {0};
    int code = read_options(argc, argv, &s);
    if (code != 0) {
        return code == 1 ? 0 : 2;
    }
    app.options = s.options;
    log_init("local-aws", s.level);
    int rc = stop_install(&e);
    if (rc == 0) {
        rc = open_all(&app, &s, &e);
    }
    if (rc == 0) {
        rc = serve(&app, &e);
    }
    if (rc != 0) {
        (void)fprintf(stderr, "storescp-local-aws: %s%s%s\n", e.text, e.sys ? ": " : "", e.sys ? strerror(e.sys) : "");
    }
    jobs_close(app.jobs);
    image_sets_close(app.image_sets);
    queues_free(app.queues);
    store_close(app.store);
    faults_free(app.faults);
    throttle_free(app.throttle);
    return rc == 0 ? 0 : 1;
}
