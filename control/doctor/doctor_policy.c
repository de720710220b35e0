/*
 * doctor_policy - what AWS must allow, in one table: the credentials of the stages, and the role that HealthImaging takes. See doctor.h.
 * Sources: HealthImaging developer guide "Setting up" (role, trust, PassRole), S3 user guide "Required permissions for S3 API operations", "Uploading with
 * SSE-KMS". Rows of one resource become one statement.
 */
#include "control/doctor/doctor.h"

enum resource { ON_BUCKETS, ON_IMAGES, ON_RESULTS, ON_KEY, ON_DATASTORE, ON_ROLE, ON_EVENTS, ON_HINTS, ON_TABLE, RESOURCE_COUNT };

static const struct {
    bool of_role; /* else of the credentials */
    enum resource on;
    unsigned kinds;
    const char *actions[3];
} permissions[PERMISSION_COUNT] = {
    [MAY_LIST] = {false, ON_BUCKETS, OF_AWS, {"s3:ListBucket"}},
    [MAY_SEE_ENCRYPTION] = {false, ON_BUCKETS, OF_AWS, {"s3:GetEncryptionConfiguration"}},
    [MAY_PUT] = {false, ON_IMAGES, OF_AWS, {"s3:PutObject"}},
    [MAY_TAG] = {false, ON_IMAGES, OF_AWS, {"s3:PutObjectTagging"}},
    [MAY_GET] = {false, ON_IMAGES, OF_AWS, {"s3:GetObject"}},
    [MAY_DELETE] = {false, ON_IMAGES, OF_AWS, {"s3:DeleteObject"}},
    [MAY_LIST_PARTS] = {false, ON_IMAGES, OF_AWS, {"s3:ListMultipartUploadParts"}},
    [MAY_ABORT] = {false, ON_IMAGES, OF_AWS, {"s3:AbortMultipartUpload"}},
    [MAY_GET_RESULTS] = {false, ON_RESULTS, OF_IMAGING, {"s3:GetObject"}},
    [MAY_USE_KEY] = {false, ON_KEY, OF_AWS, {"kms:GenerateDataKey", "kms:Decrypt"}},
    [MAY_START_JOB] = {false, ON_DATASTORE, OF_IMAGING, {"medical-imaging:StartDICOMImportJob"}},
    [MAY_GET_JOB] = {false, ON_DATASTORE, OF_IMAGING, {"medical-imaging:GetDICOMImportJob"}},
    [MAY_LIST_JOBS] = {false, ON_DATASTORE, OF_IMAGING, {"medical-imaging:ListDICOMImportJobs"}},
    [MAY_GET_DATASTORE] = {false, ON_DATASTORE, OF_IMAGING, {"medical-imaging:GetDatastore"}},
    [MAY_PASS_ROLE] = {false, ON_ROLE, OF_IMAGING, {"iam:PassRole"}},
    [MAY_STORE] = {false, ON_DATASTORE, OF_DICOMWEB, {"medical-imaging:StoreDICOM"}},
    [MAY_SEARCH] = {false, ON_DATASTORE, OF_DICOMWEB, {"medical-imaging:SearchDICOMInstances"}},
    [MAY_SEND_EVENTS] = {false, ON_EVENTS, OF_ANY, {"sqs:SendMessage"}},
    [MAY_TAKE_HINTS] = {false, ON_HINTS, OF_ANY, {"sqs:ReceiveMessage", "sqs:DeleteMessage"}},
    [MAY_WRITE_TABLE] = {false, ON_TABLE, OF_ANY, {"dynamodb:UpdateItem"}},
    [ROLE_MAY_LIST] = {true, ON_BUCKETS, OF_IMAGING, {"s3:ListBucket"}},
    [ROLE_MAY_GET] = {true, ON_IMAGES, OF_IMAGING, {"s3:GetObject"}},
    [ROLE_MAY_PUT] = {true, ON_RESULTS, OF_IMAGING, {"s3:PutObject"}},
    [ROLE_MAY_USE_KEY] = {true, ON_KEY, OF_IMAGING, {"kms:Decrypt", "kms:GenerateDataKey"}},
};

static const char *or_word(const char *value, const char *word)
{
    return value[0] ? value : word;
}

/* The setting that names it, of what is for the whole installation. */
static enum config_key setting_of(enum resource on)
{
    return on == ON_EVENTS ? CFG_EVENTS_SQS_QUEUE_URL : on == ON_HINTS ? CFG_HINTS_SQS_QUEUE_URL : CFG_DYNAMODB_TABLE;
}

/* https://host/ACCOUNT/NAME */
static json_t *queue_arn(const char *partition, const char *region, const char *url)
{
    const char *name = strrchr(url, '/');
    const char *account = name;
    while (account && account > url && account[-1] != '/') {
        account--;
    }
    return name && account ? json_sprintf("arn:%s:sqs:%s:%.*s:%s", partition, region, (int)(name - account), account, name + 1) : json_string(url);
}

static json_t *resources(const struct doctor *d, enum resource on)
{
    const struct config *c = d->config;
    const char *region = or_word(d->site.region, "REGION");
    const char *partition = endpoint_partition(region);
    const char *bucket = or_word(config_text(c, CFG_DICOM_BUCKET), "DICOM_BUCKET");
    const char *output = or_word(config_output_bucket(c), "DICOM_BUCKET");
    json_t *list = json_array();
    switch (on) {
    case ON_BUCKETS:
        (void)json_array_append_new(list, json_sprintf("arn:%s:s3:::%s", partition, bucket));
        if (d->kind == OF_IMAGING && strcmp(bucket, output) != 0) {
            (void)json_array_append_new(list, json_sprintf("arn:%s:s3:::%s", partition, output));
        }
        break;
    case ON_IMAGES:
        if (strncmp(config_text(c, CFG_S3_KEY_TEMPLATE), "{prefix}/", 9) == 0) {
            (void)json_array_append_new(list, json_sprintf("arn:%s:s3:::%s/%s/*", partition, bucket, config_text(c, CFG_S3_PREFIX)));
        } else { /* keys may be anything */
            (void)json_array_append_new(list, json_sprintf("arn:%s:s3:::%s/*", partition, bucket));
        }
        break;
    case ON_RESULTS:
        (void)json_array_append_new(list, json_sprintf("arn:%s:s3:::%s/%s/*", partition, output, config_text(c, CFG_OUTPUT_PREFIX)));
        break;
    case ON_KEY:
        (void)json_array_append_new(list, json_string(or_word(d->kms_key, "KMS_KEY_ARN")));
        break;
    case ON_DATASTORE:
        (void)json_array_append_new(list, json_sprintf("arn:%s:medical-imaging:%s:%s:datastore/%s", partition, region, or_word(d->identity.account, "ACCOUNT"),
                                                       or_word(config_text(c, CFG_DATASTORE_ID), "DATASTORE_ID")));
        break;
    case ON_EVENTS:
    case ON_HINTS:
        (void)json_array_append_new(list, queue_arn(partition, region, config_text(c, setting_of(on))));
        break;
    case ON_TABLE:
        (void)json_array_append_new(list, json_sprintf("arn:%s:dynamodb:%s:%s:table/%s", partition, region, or_word(d->identity.account, "ACCOUNT"),
                                                       config_text(c, CFG_DYNAMODB_TABLE)));
        break;
    default:
        (void)json_array_append_new(list, json_string(or_word(config_text(c, CFG_DATA_ACCESS_ROLE_ARN), "DATA_ACCESS_ROLE_ARN")));
        break;
    }
    return list;
}

static bool applies(const struct doctor *d, enum permission p)
{
    enum resource on = permissions[p].on;
    if (on == ON_EVENTS || on == ON_HINTS || on == ON_TABLE) { /* told of with the keys of `default` */
        return strcmp(d->destination, "default") == 0 && config_text(d->config, setting_of(on))[0];
    }
    return (permissions[p].kinds & d->kind) && (permissions[p].on != ON_KEY || d->kms_key[0]) &&
           (p != MAY_TAG || config_text(d->config, CFG_S3_TAGS)[0]);
}

static json_t *statement(const struct doctor *d, json_t *actions, enum resource on)
{
    json_t *s = json_pack("{s:s, s:o, s:o}", "Effect", "Allow", "Action", actions, "Resource", resources(d, on));
    if (on == ON_ROLE) {
        (void)json_object_set_new(s, "Condition", json_pack("{s:{s:s}}", "StringEquals", "iam:PassedToService", "medical-imaging.amazonaws.com"));
    }
    return s;
}

static void add_actions(json_t *actions, enum permission p)
{
    for (size_t i = 0; i < 3 && permissions[p].actions[i]; i++) {
        (void)json_array_append_new(actions, json_string(permissions[p].actions[i]));
    }
}

json_t *doctor_statement(const struct doctor *d, enum permission p)
{
    json_t *actions = json_array();
    add_actions(actions, p);
    return statement(d, actions, permissions[p].on);
}

static json_t *policy(const struct doctor *d, bool of_role)
{
    json_t *statements = json_array();
    for (int on = 0; on < RESOURCE_COUNT; on++) {
        json_t *actions = json_array();
        for (int p = 0; p < PERMISSION_COUNT; p++) {
            if (permissions[p].of_role == of_role && (int)permissions[p].on == on && applies(d, (enum permission)p)) {
                add_actions(actions, (enum permission)p);
            }
        }
        if (json_array_size(actions) > 0) {
            (void)json_array_append_new(statements, statement(d, actions, (enum resource)on));
        } else {
            json_decref(actions);
        }
    }
    return json_pack("{s:s, s:o}", "Version", "2012-10-17", "Statement", statements);
}

static json_t *trust(void)
{
    return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s}]}", "Version", "2012-10-17", "Statement", "Effect", "Allow", "Principal", "Service",
                     "medical-imaging.amazonaws.com", "Action", "sts:AssumeRole");
}

static const char *const names[] = {"credentials", "role", "role_trust"};
static const char *const titles[] = {"policy of the credentials that uploader, importer and storescpctl use", "policy of data_access_role_arn",
                                     "trust policy of data_access_role_arn"};

json_t *doctor_policies(const struct doctor *d)
{
    json_t *all = json_pack("{s:s}", "destination", d->destination);
    if (d->kind == OF_DICOMWEB && !stow_counts_repeats(d->config)) {
        return all; /* no AWS there */
    }
    (void)json_object_set_new(all, names[0], policy(d, false));
    if (d->kind == OF_IMAGING) {
        (void)json_object_set_new(all, names[1], policy(d, true));
        (void)json_object_set_new(all, names[2], trust());
    }
    return all;
}

bool doctor_print_policies(const json_t *all)
{
    const char *destination = json_string_value(json_object_get(all, "destination"));
    bool is_written = true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const json_t *document = json_object_get(all, names[i]);
        if (document) {
            is_written = printf("# destination %s: %s\n", destination, titles[i]) > 0 && json_dumpf(document, stdout, JSON_INDENT(2)) == 0 &&
                         putchar('\n') != EOF && is_written;
        }
    }
    if (json_object_size(all) == 1) {
        is_written = printf("# destination %s: no AWS policy, it is a DICOMweb server\n", destination) > 0;
    }
    return is_written;
}
