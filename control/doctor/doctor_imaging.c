/* doctor_imaging - data store, import jobs, the role that HealthImaging takes, quotas. See doctor.h. Quotas and regions: HealthImaging developer guide,
 * "Endpoints and quotas" and "Throttling limits". */
#include "common/aws/medical_imaging.h"
#include "common/runtime/runtime.h"
#include "control/doctor/doctor.h"

#include <ctype.h>

static const char *const regions[] = {"us-east-1", "us-west-2", "ap-southeast-2", "eu-west-1", "eu-west-2"};
enum { JOBS_USUAL = 100, GET_JOB_PER_SECOND = 25, START_PER_MINUTE = 60, START_BURST = 2 };

static const struct {
    const char *region;
    int jobs;
} fewer_jobs[] = {{"ap-southeast-2", 20}};

/* The part-th part between colons of an ARN, from 0. */
static void arn_part(const char *arn, int part, char *out, size_t size)
{
    for (; part > 0 && *arn; part--) {
        arn += strcspn(arn, ":");
        arn += *arn == ':';
    }
    (void)snprintf(out, size, "%.*s", (int)strcspn(arn, ":"), arn);
}

static bool is_account(const char *text)
{
    return strlen(text) == 12 && strspn(text, "0123456789") == 12;
}

static void check_datastore(struct doctor *d, struct finding *f)
{
    struct ahi_datastore store;
    struct err e = {0};
    char region[40];
    char account[16];
    const char *id = config_text(d->config, CFG_DATASTORE_ID);
    if (!id[0]) {
        finding_set(f, FOUND_FAILED, "datastore_id is not set");
        finding_advise(f, "make a data store in the HealthImaging console and set datastore_id to its id of 32 letters and digits");
        return;
    }
    if (strlen(id) != 32 || strspn(id, "0123456789abcdefghijklmnopqrstuvwxyz") != 32) {
        finding_set(f, FOUND_FAILED, "datastore_id: \"%s\" is no id of a data store, which has 32 of 0-9 and a-z", id);
        finding_advise(f, "set datastore_id to the id, not to the name or ARN");
        return;
    }
    int rc = ahi_datastore_look(d->client, id, &store, &e);
    if (rc == ERR_AWS_NOT_FOUND) {
        finding_set(f, FOUND_FAILED, "there is no data store %s in %s", id, d->site.region);
        finding_advise(f, "correct datastore_id, or aws_region");
        return;
    }
    if (rc != 0) {
        finding_of_error(f, FOUND_FAILED, &e, MAY_GET_DATASTORE);
        return;
    }
    d->facts |= FACT_DATASTORE;
    arn_part(store.arn, 3, region, sizeof region);
    arn_part(store.arn, 4, account, sizeof account);
    if (strcmp(store.status, "ACTIVE") != 0) {
        finding_set(f, FOUND_FAILED, "data store %s is %s, not ACTIVE", id, store.status);
        finding_advise(f, strcmp(store.status, "CREATING") == 0 ? "wait some minutes" : "set datastore_id to one that is ACTIVE");
        return;
    }
    if (region[0] && strcmp(region, d->site.region) != 0) {
        finding_set(f, FOUND_WARNING, "data store %s is in %s, aws_region is %s", id, region, d->site.region);
        finding_advise(f, "set aws_region = %s, and take a bucket there", region);
        return;
    }
    finding_set(f, FOUND_FINE, "%s (%s) is ACTIVE in %s, account %s, %s%s", id, store.name, region[0] ? region : d->site.region,
                account[0] ? account : "?", store.kms_key_arn[0] ? "key " : "with AWS's own key", store.kms_key_arn);
}

struct one_job {
    char id[40];
};

static int on_job(void *ctx, const struct ahi_job *job)
{
    struct one_job *one = ctx;
    (void)snprintf(one->id, sizeof one->id, "%s", job->job_id);
    return 1;
}

static void check_jobs(struct doctor *d, struct finding *f)
{
    struct one_job one = {"0"};
    struct ahi_job told;
    struct err e = {0};
    const char *store = config_text(d->config, CFG_DATASTORE_ID);
    int rc = ahi_each_job(d->client, store, NULL, on_job, &one, &e);
    if (rc < 0) {
        finding_of_error(f, FOUND_FAILED, &e, MAY_LIST_JOBS);
        return;
    }
    rc = ahi_get_job(d->client, store, one.id, &told, &e); /* "0" when there is no job: who may ask hears that it is not there */
    bool refused_as_id = rc == ERR_AWS_REJECTED && strcmp(one.id, "0") == 0;
    if (rc != 0 && rc != ERR_AWS_NOT_FOUND && !refused_as_id) {
        finding_of_error(f, FOUND_FAILED, &e, MAY_GET_JOB);
        return;
    }
    finding_set(f, FOUND_FINE, "import jobs can be listed and looked at%s%s", rc == 0 ? "; one of them is " : ", there is none yet", rc == 0 ? one.id : "");
}

static void check_role(struct doctor *d, struct finding *f)
{
    const char *arn = config_text(d->config, CFG_DATA_ACCESS_ROLE_ARN);
    char part[5][40];
    if (!arn[0]) {
        finding_set(f, FOUND_FAILED, "data_access_role_arn is not set");
        finding_advise(f, "make a role that HealthImaging may take (`storescpctl doctor --policy` prints its policies) and set its ARN");
        return;
    }
    for (int i = 0; i < 5; i++) {
        arn_part(arn, i, part[i], sizeof part[i]);
    }
    const char *rest = strstr(arn, ":role/");
    bool fine = strcmp(part[0], "arn") == 0 && strncmp(part[1], "aws", 3) == 0 && strcmp(part[2], "iam") == 0 && !part[3][0] && is_account(part[4]) && rest &&
                rest[6];
    if (!fine) {
        finding_set(f, FOUND_FAILED, "data_access_role_arn: \"%.200s\" is no ARN of a role", arn);
        finding_advise(f, "it is like arn:aws:iam::123456789012:role/NAME; not the instance profile, not the assumed-role ARN of STS");
        return;
    }
    if (d->identity.account[0] && strcmp(part[4], d->identity.account) != 0) {
        finding_set(f, FOUND_FAILED, "the role %s belongs to account %s, the credentials to %s: iam:PassRole does not reach into another account", rest + 6, part[4],
                    d->identity.account);
        finding_advise(f, "take a role of account %s", d->identity.account);
        return;
    }
    finding_set(f, FOUND_FINE, "%s is written like a role%s", rest + 6, d->identity.account[0] ? " of our account" : "; whose, cannot be told");
}

/* Nobody is asked: the answer would cost a job. */
static void check_start(struct doctor *d, struct finding *f)
{
    (void)d;
    finding_set(f, FOUND_NOT_CHECKED, "only the start of a job shows whether medical-imaging:StartDICOMImportJob and iam:PassRole are allowed, and whether the role may "
                                      "read the images and write the results");
    finding_advise(f, "`storescpctl doctor --policy` prints all of it. What is missing shows after the first study: `status` says `waiting: AWS_ACCESS_DENIED` for "
                      "PassRole, an import job that ends FAILED for the role's own policy or trust");
}

static int jobs_of_region(const char *region)
{
    for (size_t i = 0; i < sizeof fewer_jobs / sizeof fewer_jobs[0]; i++) {
        if (strcmp(fewer_jobs[i].region, region) == 0) {
            return fewer_jobs[i].jobs;
        }
    }
    return JOBS_USUAL;
}

static void check_quotas(struct doctor *d, struct finding *f)
{
    const char *region = d->site.region;
    long long running = config_int(d->config, CFG_IMPORT_RUNNING_MAX);
    long long poll_ms = config_int(d->config, CFG_IMPORT_POLL_MS);
    int jobs = jobs_of_region(region);
    if (running > jobs) {
        finding_set(f, FOUND_WARNING, "import_running_max = %lld, the usual quota of concurrent import jobs in %s is %d", running, region, jobs);
        finding_advise(f, "set import_running_max = %d, unless AWS has raised your quota; what exceeds it is refused (AWS_QUOTA) and waits", jobs);
    } else if (config_int(d->config, CFG_IMPORT_START_PER_MINUTE) > START_PER_MINUTE || config_int(d->config, CFG_IMPORT_START_BURST) > START_BURST) {
        finding_set(f, FOUND_WARNING, "import_start_per_minute = %lld and import_start_burst = %lld, the usual rate of StartDICOMImportJob is %d a minute with a burst of %d",
                    config_int(d->config, CFG_IMPORT_START_PER_MINUTE), config_int(d->config, CFG_IMPORT_START_BURST), START_PER_MINUTE, START_BURST);
        finding_advise(f, "lower them, unless AWS has raised your rate; what exceeds it is refused (AWS_THROTTLED) and waits");
    } else if (running * 1000 > GET_JOB_PER_SECOND * poll_ms) {
        finding_set(f, FOUND_WARNING, "%lld running jobs, each looked at every %lld ms, are more than %d GetDICOMImportJob a second", running, poll_ms, GET_JOB_PER_SECOND);
        finding_advise(f, "set import_poll_ms = %lld or more", (running * 1000 + GET_JOB_PER_SECOND - 1) / GET_JOB_PER_SECOND);
    } else {
        finding_set(f, FOUND_FINE, "%lld jobs at one time, %lld starts a minute, up to %lld files and %lld MB a job: within AWS's defaults", running,
                    config_int(d->config, CFG_IMPORT_START_PER_MINUTE), config_int(d->config, CFG_BATCH_MAX_COUNT), config_int(d->config, CFG_BATCH_MAX_MB));
    }
}

static void check_region(struct doctor *d, struct finding *f)
{
    const char *region = d->site.region;
    char known[200] = "";
    if (!region[0]) {
        finding_set(f, FOUND_NOT_CHECKED, "the region is not known");
        return;
    }
    for (size_t i = 0; i < sizeof regions / sizeof regions[0]; i++) {
        if (strcmp(regions[i], region) == 0) {
            finding_set(f, FOUND_FINE, "HealthImaging is offered in %s", region);
            return;
        }
        size_t used = strlen(known);
        (void)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", regions[i]);
    }
    finding_set(f, FOUND_WARNING, "HealthImaging was not offered in %s when this program was written", region);
    finding_advise(f, "known are %s: is aws_region right?", known);
}

#define NEED_IMAGING (FACT_CLIENT | FACT_IMAGING | FACT_KEYS)
const struct check doctor_imaging_checks[] = {
    {"region", OF_IMAGING, 0, check_region},
    {"datastore", OF_IMAGING, NEED_IMAGING, check_datastore},
    {"import_jobs", OF_IMAGING, NEED_IMAGING | FACT_DATASTORE, check_jobs},
    {"role", OF_IMAGING, 0, check_role},
    {"start_job", OF_IMAGING, 0, check_start},
    {"quotas", OF_IMAGING, 0, check_quotas},
    {NULL, 0, 0, NULL},
};
