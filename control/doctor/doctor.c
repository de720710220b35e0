/* doctor - the command: which checks run in which order, and how their findings are told. See doctor.h. */
#include "control/doctor/doctor.h"
#include "control/table.h"

#include <stdarg.h>

static const char *const words[] = {"ok", "warning", "FAILED", "not checked"};
static const char *const json_words[] = {"ok", "warning", "failed", "not_checked"};

void finding_set(struct finding *f, enum found found, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    f->found = found;
    (void)vsnprintf(f->sentence, sizeof f->sentence, format, args);
    va_end(args);
}

void finding_advise(struct finding *f, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(f->remedy, sizeof f->remedy, format, args);
    va_end(args);
}

void finding_of_error(struct finding *f, enum found found, const struct err *e, enum permission missing)
{
    finding_set(f, found, "%s", e->text);
    if (e->code == ERR_AWS_KMS) { /* the sentence says the remedy */
        f->missing = MAY_USE_KEY;
    } else if (e->code == ERR_AWS_DENIED) {
        f->missing = missing;
        finding_advise(f, missing == NO_PERMISSION ? "a policy forbids it" : "allow this (in the credentials' policy; a policy of bucket or key, or an organisation's, may forbid it, too):");
    } else if (e->code == ERR_NETWORK || e->code == ERR_TIMEOUT || e->code == ERR_AWS_SERVER || e->code == ERR_AWS_THROTTLED) {
        finding_advise(f, "try again; the stages do so by themselves");
    }
}

/* ---- run ------------------------------------------------------------------------------------------------------------------------- */

struct telling {
    bool json;
    json_t *all;
    int counts[4];
};

static void tell(struct telling *t, const struct doctor *d, const char *place, const char *name, const struct finding *f)
{
    char clean[3 * sizeof f->sentence];
    t->counts[f->found]++;
    json_t *statement = f->missing != NO_PERMISSION ? doctor_statement(d, f->missing) : NULL;
    if (t->json) {
        json_t *one = json_pack("{s:s, s:s, s:s, s:s}", "destination", place, "check", name, "finding", json_words[f->found], "sentence",
                                text_printable(f->sentence, clean, sizeof clean));
        if (f->remedy[0]) {
            (void)json_object_set_new(one, "remedy", json_string(text_printable(f->remedy, clean, sizeof clean)));
        }
        if (statement) {
            (void)json_object_set(one, "statement", statement);
        }
        (void)json_array_append_new(t->all, one ? one : json_object());
    } else {
        (void)printf("  %-11s  %s: %s\n", words[f->found], name, text_printable(f->sentence, clean, sizeof clean));
        if (f->remedy[0]) {
            table_print_sentence(text_printable(f->remedy, clean, sizeof clean), 15, stdout);
        }
        if (statement) {
            char *text = json_dumps(statement, 0);
            (void)printf("%17s%s\n", "", text ? text : "");
            free(text);
        }
    }
    json_decref(statement);
}

/* What a check lacks, in words: the first that is not there. */
static const char *lacking(unsigned facts, unsigned needs)
{
    static const struct {
        enum fact fact;
        const char *sentence;
    } reasons[] = {{FACT_CLIENT, "the settings of AWS are wrong"},   {FACT_S3, "S3 cannot be reached"},
                   {FACT_IMAGING, "HealthImaging cannot be reached"}, {FACT_KEYS, "there are no credentials that AWS takes"},
                   {FACT_BUCKET, "the bucket cannot be used"},         {FACT_MARKER, "no object could be put"},
                   {FACT_DATASTORE, "the data store cannot be seen"},  {FACT_OUTPUT, "the bucket for results cannot be used"}};
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if ((needs & reasons[i].fact) && !(facts & reasons[i].fact)) {
            return reasons[i].sentence;
        }
    }
    return "something before it failed";
}

static void run(struct doctor *d, const struct check *checks, const char *place, struct telling *t)
{
    for (const struct check *c = checks; c->name; c++) {
        struct finding f = {.missing = NO_PERMISSION};
        if (!(c->kinds & d->kind)) {
            continue;
        }
        if ((d->facts & c->needs) == c->needs) {
            c->run(d, &f);
        } else {
            finding_set(&f, FOUND_NOT_CHECKED, "%s", lacking(d->facts, c->needs));
        }
        tell(t, d, place, c->name, &f);
    }
}

static void run_destination(struct doctor *d, struct telling *t)
{
    static const struct check *const tables[] = {doctor_cloud_checks, doctor_bucket_checks, doctor_imaging_checks};
    if (!t->json) {
        (void)printf("\ndestination %s\n", d->destination);
    }
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        run(d, tables[i], d->destination, t);
    }
    aws_client_close(&d->client);
}

static void print_end(const struct telling *t)
{
    (void)printf("\n%d ok, %d warnings, %d FAILED, %d not checked\n", t->counts[FOUND_FINE], t->counts[FOUND_WARNING], t->counts[FOUND_FAILED], t->counts[FOUND_NOT_CHECKED]);
}

/* For the ARNs of a policy: what can be learned without a question that is logged as denied. */
static void learn(struct doctor *d)
{
    struct err e = {0};
    struct s3_encryption told = {0};
    struct aws_reach r;
    if (aws_client_open(&d->client, d->config, &e) != 0) {
        return;
    }
    if (aws_reach(d->client, AWS_STS, 5000, &r, &e) == 0 && aws_caller_identity(d->client, &d->identity, &e) != 0) {
        memset(&d->identity, 0, sizeof d->identity);
    }
    if (config_text(d->config, CFG_DICOM_BUCKET)[0] && aws_reach(d->client, AWS_S3, 5000, &r, &e) == 0 &&
        s3_bucket_encryption(d->client, NULL, &told, &e) != 0) {
        memset(&told, 0, sizeof told);
    }
    doctor_note_key(d, &told);
    aws_client_close(&d->client);
}

static struct doctor at(const struct request *q, const struct config *config)
{
    static const unsigned kinds[] = {[KIND_HEALTHIMAGING] = OF_IMAGING, [KIND_S3] = OF_S3, [KIND_DICOMWEB] = OF_DICOMWEB};
    struct doctor d = {.q = q, .config = config, .destination = config_destination_name(config), .kind = kinds[config_destination_kind(config)]};
    struct err e = {0};
    if ((d.kind != OF_DICOMWEB || stow_counts_repeats(config)) && aws_site_choose(config, &d.site, &e) != 0) { /* the first check tells why */
        (void)snprintf(d.site.region, sizeof d.site.region, "%s", config_text(config, CFG_AWS_REGION));
    }
    return d;
}

static bool is_wanted(const struct request *q, const struct doctor *d)
{
    return !q->destination || strcmp(q->destination, d->destination) == 0;
}

static int print_policies(struct request *q)
{
    json_t *told = json_array();
    bool is_written = true;
    const struct config *config;
    for (size_t i = 0; (config = config_destination_at(q->config, i)); i++) {
        struct doctor d = at(q, config);
        if (is_wanted(q, &d)) {
            learn(&d);
            json_t *policies = doctor_policies(&d);
            is_written = (q->json || doctor_print_policies(policies)) && is_written;
            (void)json_array_append_new(told, policies);
        }
    }
    if (q->json) {
        json_t *root = json_pack("{s:i, s:O}", "schema", 1, "destinations", told);
        is_written = root && json_dumpf(root, stdout, JSON_INDENT(2)) == 0 && putchar('\n') != EOF;
        json_decref(root);
    }
    json_decref(told);
    return is_written ? EXIT_FINE : complain("cannot write the policies");
}

int command_doctor(struct request *q)
{
    struct telling t = {.json = q->json, .all = json_array()};
    struct doctor here = {.q = q, .config = q->config, .destination = "", .kind = OF_ANY};
    const struct config *config;
    int code = EXIT_FINE;
    if (q->destination && !config_destination_named(q->config, q->destination)) {
        json_decref(t.all);
        return complain("there is no [destination %s]: `storescpctl config` shows those that are", q->destination);
    }
    if (q->policy) {
        json_decref(t.all);
        return print_policies(q);
    }
    if (!q->json) {
        (void)printf("home %s\n", q->home);
    }
    run(&here, doctor_local_checks, "", &t);
    for (size_t i = 0; (config = config_destination_at(q->config, i)); i++) {
        struct doctor d = at(q, config);
        if (is_wanted(q, &d)) {
            run_destination(&d, &t);
        }
    }
    if (q->json) {
        json_t *root = json_pack("{s:i, s:s, s:O}", "schema", 1, "home", q->home, "checks", t.all);
        code = root && json_dumpf(root, stdout, JSON_INDENT(2)) == 0 ? code : complain("cannot write the answer");
        (void)putchar('\n');
        json_decref(root);
    } else {
        print_end(&t);
    }
    json_decref(t.all);
    return t.counts[FOUND_FAILED] > 0 ? EXIT_PROBLEM : code;
}
