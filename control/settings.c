/* settings - `config`: every setting, its effective value, where that comes from, and what is wrong in words. */
#include "common/aws/client.h"
#include "common/aws/dicomweb/stow.h"
#include "common/aws/listeners.h"
#include "common/aws/medical_imaging.h"
#include "common/aws/s3/s3_key.h"
#include "common/aws/s3/s3_options.h"
#include "common/aws/request/site.h"
#include "common/dicom/edit_settings.h"
#include "control/control.h"

#include <jansson.h>

#include <string.h>

enum { SHOWN_SIZE = 1100 };

/* The value as it may be shown, in buffer or as it is. Of the webhook's URL the path may be its key (as many chat services have it). */
static const char *shown(enum config_key key, const char *value, char buffer[SHOWN_SIZE])
{
    if (config_describe(key)->type == CONFIG_SECRET && value[0]) {
        return "********";
    }
    const char *host = key == CFG_EVENTS_WEBHOOK_URL ? strstr(value, "://") : NULL;
    if (!host) {
        return key == CFG_EVENTS_WEBHOOK_URL && value[0] ? "********" : value;
    }
    host += 3;
    const char *user = host + strcspn(host, "/?#");
    size_t length = (size_t)(user - value);
    if (memchr(host, '@', (size_t)(user - host))) {
        return "********";
    }
    (void)snprintf(buffer, SHOWN_SIZE, "%.*s%s", (int)length, value, user[0] && strcmp(user, "/") != 0 ? "/********" : user);
    return buffer;
}

static json_t *sections_json(const struct config *c)
{
    json_t *all = json_array();
    const struct config_section *section;
    for (size_t i = 0; (section = config_section_at(c, i)); i++) {
        json_t *set = json_array();
        for (size_t k = 0; k < CONFIG_COUNT; k++) {
            const char *value;
            const char *origin;
            if (config_section_sets(section, (enum config_key)k, &value, &origin)) {
                char buffer[SHOWN_SIZE];
                json_t *one = json_pack("{s:s, s:s?, s:s}", "name", config_describe((enum config_key)k)->name, "value",
                                        shown((enum config_key)k, value, buffer), "origin", origin);
                (void)json_array_append_new(set, one ? one : json_object());
            }
        }
        json_t *one = json_pack("{s:s?, s:o}", "section", config_section_name(section), "settings", set);
        (void)json_array_append_new(all, one ? one : json_object());
    }
    return all;
}

static void print_sections(const struct config *c)
{
    const struct config_section *section;
    for (size_t i = 0; (section = config_section_at(c, i)); i++) {
        (void)printf("\n[%s]\n", config_section_name(section));
        for (size_t k = 0; k < CONFIG_COUNT; k++) {
            const char *value;
            const char *origin;
            if (config_section_sets(section, (enum config_key)k, &value, &origin)) {
                const struct config_setting *s = config_describe((enum config_key)k);
                char buffer[SHOWN_SIZE];
                (void)printf("%s = %s   # %s\n", s->name, shown((enum config_key)k, value, buffer), origin);
            }
        }
    }
}

struct tls_words { /* for --json: sentences about the TLS files */
    json_t *problems, *notices;
};

static void keep_words(void *ctx, bool serious, const char *sentence)
{
    struct tls_words *w = ctx;
    (void)json_array_append_new(serious ? w->problems : w->notices, json_string(sentence));
}

static void print_words(void *ctx, bool serious, const char *sentence)
{
    *(size_t *)ctx += serious;
    (void)complain("%s", sentence);
}

/* A region that no setting names comes from elsewhere: which, and from where? */
static void region_look_at(const struct config *d, void (*say)(void *ctx, bool serious, const char *sentence), void *ctx)
{
    struct aws_site site;
    struct err e = {0};
    char words[CONFIG_DESTINATION_SIZE + 20];
    char sentence[sizeof e.text + 100];
    if (config_text(d, CFG_AWS_REGION)[0]) {
        return;
    }
    const char *whose = config_destination_words(d, words, sizeof words);
    if (aws_site_choose(d, &site, &e) != 0) {
        (void)snprintf(sentence, sizeof sentence, "%s%s", whose, e.text);
    } else {
        (void)snprintf(sentence, sizeof sentence, "%saws_region is not set: it is %s (%s)", whose, site.region, site.region_origin);
    }
    say(ctx, false, sentence);
}

static int s3_options_check(const struct config *d, struct err *e)
{
    struct s3_options options;
    return s3_options_read(d, &options, e);
}

/* Without aws_region region_look_at() has the word. */
static int site_check(const struct config *d, struct err *e)
{
    struct aws_site site;
    return config_text(d, CFG_AWS_REGION)[0] ? aws_site_choose(d, &site, e) : 0;
}

/* What the uploader and the importer will say at their start. */
static void destination_look_at(const struct config *d, void (*say)(void *ctx, bool serious, const char *sentence), void *ctx)
{
    static int (*const of_s3[])(const struct config *, struct err *) = {aws_client_check, s3_key_settings, s3_options_check, ahi_settings_check, site_check};
    static int (*const of_dicomweb[])(const struct config *, struct err *) = {aws_client_check, stow_check_settings, site_check};
    char words[CONFIG_DESTINATION_SIZE + 20];
    bool is_web = config_destination_kind(d) == KIND_DICOMWEB;
    for (size_t i = 0; i < (is_web ? sizeof of_dicomweb : sizeof of_s3) / sizeof of_s3[0]; i++) {
        struct err e = {0};
        char sentence[sizeof e.text + 100];
        if ((is_web ? of_dicomweb[i] : of_s3[i])(d, &e) != 0) {
            (void)snprintf(sentence, sizeof sentence, "%s%s", config_destination_words(d, words, sizeof words), e.text);
            say(ctx, true, sentence);
        }
    }
}

static void rules_look_at(const struct config *c, void (*say)(void *ctx, bool serious, const char *sentence), void *ctx)
{
    struct err e = {0};
    if (edit_settings_check(c, &e) != 0) {
        say(ctx, true, e.text);
    }
}

static void listeners_look_at(const struct config *c, void (*say)(void *ctx, bool serious, const char *sentence), void *ctx)
{
    struct err e = {0};
    const char *region = config_text(c, CFG_AWS_REGION);
    if (aws_listeners_check(c, region[0] ? region : NULL, &e) != 0) {
        say(ctx, true, e.text);
    }
}

/* What is wrong with the settings beyond what loading tells (serious: a stage would stop over it, or keep the old ones), and what AWS needs and nobody
 * has set (no mistake: a receiver may stand before there is an account). */
static void settings_look_at(const struct config *c, void (*say)(void *ctx, bool serious, const char *sentence), void *ctx)
{
    static const struct {
        enum config_key key;
        const char *who;
        bool is_for_import; /* of no use where nothing is imported */
    } needed[] = {{CFG_DICOM_BUCKET, "uploader and importer do", false},
                  {CFG_DATASTORE_ID, "the importer does", true},
                  {CFG_DATA_ACCESS_ROLE_ARN, "the importer does", true}};
    const struct config *d;
    rules_look_at(c, say, ctx);
    listeners_look_at(c, say, ctx);
    for (size_t n = 0; (d = config_destination_at(c, n)); n++) {
        enum config_kind to = config_destination_kind(d);
        char words[CONFIG_DESTINATION_SIZE + 20];
        char sentence[300];
        for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
            if (!config_text(d, needed[i].key)[0] && to != KIND_DICOMWEB && (to == KIND_HEALTHIMAGING || !needed[i].is_for_import)) {
                (void)snprintf(sentence, sizeof sentence, "%s%s is not set: %s not start without it", config_destination_words(d, words, sizeof words),
                               config_describe(needed[i].key)->name, needed[i].who);
                say(ctx, false, sentence);
            }
        }
        destination_look_at(d, say, ctx);
        if (to != KIND_DICOMWEB) {
            region_look_at(d, say, ctx);
        }
        if (n > 0 && !config_text(d, CFG_FOR_CALLING_AE)[0] && !config_text(d, CFG_FOR_CALLED_AE)[0] && !config_text(d, CFG_FOR_MODALITY)[0]) {
            (void)snprintf(sentence, sizeof sentence, "%ssets none of for_calling_ae, for_called_ae, for_modality: nothing goes there by itself",
                           config_destination_words(d, words, sizeof words));
            say(ctx, false, sentence);
        }
    }
}

static int print_json(const struct request *q)
{
    json_t *all = json_array();
    json_t *problems = json_array();
    for (size_t i = 0; i < CONFIG_COUNT; i++) {
        enum config_key key = (enum config_key)i;
        const struct config_setting *s = config_describe(key);
        char buffer[SHOWN_SIZE];
        json_t *one = json_pack("{s:s, s:s?, s:s?, s:s, s:s?}", "name", s->name, "value", shown(key, config_text(q->config, key), buffer), "origin",
                                config_origin(q->config, key), "unit", s->unit, "help", s->help);
        (void)json_array_append_new(all, one ? one : json_object());
    }
    size_t count = 0;
    for (const char *p; (p = config_problem(q->config, count)); count++) {
        (void)json_array_append_new(problems, json_string(p));
    }
    struct tls_words words = {problems, json_array()};
    (void)certificates_look_at(q->config, keep_words, &words);
    lists_look_at(q, keep_words, &words);
    settings_look_at(q->config, keep_words, &words);
    count = json_array_size(problems);
    json_t *root = json_pack("{s:i, s:s, s:o, s:o, s:o, s:o}", "schema", 1, "home", q->home, "settings", all, "sections",
                             sections_json(q->config), "problems", problems, "notices", words.notices);
    if (!root || json_dumpf(root, stdout, JSON_INDENT(2)) != 0) {
        return complain("cannot write the answer");
    }
    (void)putchar('\n');
    json_decref(root);
    return count ? EXIT_PROBLEM : EXIT_FINE;
}

int command_config(struct request *q)
{
    if (q->json) {
        return print_json(q);
    }
    size_t widest = 0;
    for (size_t i = 0; i < CONFIG_COUNT; i++) {
        size_t n = strlen(config_describe((enum config_key)i)->name);
        widest = n > widest ? n : widest;
    }
    (void)printf("# home %s\n", q->home);
    for (size_t i = 0; i < 2 * CONFIG_COUNT; i++) { /* first what somebody has set, then the defaults: else it drowns among them */
        enum config_key key = (enum config_key)(i % CONFIG_COUNT);
        const struct config_setting *s = config_describe(key);
        bool is_default = strcmp(config_origin(q->config, key), "default") == 0;
        if (i == CONFIG_COUNT) {
            (void)printf("\n# the defaults of all others\n");
        }
        if (is_default != (i >= CONFIG_COUNT)) {
            continue;
        }
        char buffer[SHOWN_SIZE];
        (void)printf("%-*s = %s%s%s%s   # %s; %s\n", (int)widest, s->name, shown(key, config_text(q->config, key), buffer),
                     s->type == CONFIG_INT ? " (" : "", s->type == CONFIG_INT ? s->unit : "", s->type == CONFIG_INT ? ")" : "",
                     config_origin(q->config, key), s->help);
    }
    print_sections(q->config);
    size_t count = 0;
    for (const char *p; (p = config_problem(q->config, count)); count++) {
        (void)complain("%s", p);
    }
    (void)certificates_look_at(q->config, print_words, &count);
    lists_look_at(q, print_words, &count);
    settings_look_at(q->config, print_words, &count);
    return count ? EXIT_PROBLEM : EXIT_FINE;
}
