/*
 * config_destinations - the destinations of storescp.conf as settings of their own, and which one an image goes to. See config.h.
 * A view is a whole copy: whoever takes a struct config needs not know that there are several.
 */
#include "common/runtime/config_internal.h"

#include "common/runtime/list.h"

#include <stdlib.h>
#include <string.h>

bool config_is_per_destination(enum config_key key)
{
#define PER_DESTINATION(k) if (key == (k)) { return true; }
    CONFIG_PER_DESTINATION(PER_DESTINATION)
#undef PER_DESTINATION
    return false;
}

static bool copy_value(struct value *to, const struct value *from)
{
    char *text = strdup(from->text ? from->text : "");
    if (!text) {
        return false;
    }
    config_wipe(&to->text);
    *to = *from;
    to->text = text;
    return true;
}

static bool sets(const struct config_section *section, enum config_key key)
{
    const char *value;
    const char *origin;
    return config_section_sets(section, key, &value, &origin);
}

/* What a section does not take over from everybody once it sets one of two keys: a profile or key of its own would be nothing beside everybody's keys,
 * which come first; and a server of its own is not told everybody's password. */
static const struct {
    enum config_key either, or_this;
    enum config_key forgotten[6];
    size_t count;
} own[] = {
    {CFG_AWS_PROFILE, CFG_ACCESS_KEY_ID, {CFG_ACCESS_KEY_ID, CFG_SECRET_ACCESS_KEY, CFG_SESSION_TOKEN}, 3},
    {CFG_DICOMWEB_URL,
     CFG_DICOMWEB_URL,
     {CFG_DICOMWEB_AUTH, CFG_DICOMWEB_USER, CFG_DICOMWEB_PASSWORD, CFG_DICOMWEB_TOKEN_FILE, CFG_DICOMWEB_CERTIFICATE, CFG_DICOMWEB_KEY},
     6},
};

static bool forget(struct value *value, enum config_key key)
{
    char *preset = strdup(config_describe(key)->preset);
    if (!preset) {
        return false;
    }
    config_wipe(&value->text);
    value->text = preset;
    (void)snprintf(value->origin, sizeof value->origin, "default");
    return true;
}

static struct config *make_view(const struct config *c, const struct config_section *section)
{
    struct config *view = calloc(1, sizeof *view);
    bool whole = view && (view->home = strdup(c->home));
    for (size_t i = 0; whole && i < CONFIG_COUNT; i++) {
        whole = copy_value(&view->values[i], &c->values[i]);
    }
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        for (size_t k = 0; whole && (sets(section, own[i].either) || sets(section, own[i].or_this)) && k < own[i].count; k++) {
            whole = forget(&view->values[own[i].forgotten[k]], own[i].forgotten[k]);
        }
    }
    for (const struct section_value *v = section->values; whole && v; v = v->next) {
        whole = !v->value.text || copy_value(&view->values[v->key], &v->value);
    }
    if (!whole) {
        config_free(&view);
        return NULL;
    }
    (void)snprintf(view->destination, sizeof view->destination, "%.*s", CONFIG_DESTINATION_SIZE - 1, section->pattern);
    return view;
}

void config_make_views(struct config *c)
{
    (void)snprintf(c->destination, sizeof c->destination, "default");
    for (const struct config_section *s = c->sections; s; s = s->next) {
        if (!s->is_destination || c->view_count == DESTINATIONS_MAX) {
            continue;
        }
        c->views[c->view_count] = make_view(c, s);
        if (!c->views[c->view_count]) {
            config_complain(c, "out of memory");
            return;
        }
        c->view_count++;
    }
}

const struct config *config_destination_at(const struct config *c, size_t i)
{
    return i == 0 ? c : i <= c->view_count ? c->views[i - 1] : NULL;
}

const struct config *config_destination_named(const struct config *c, const char *name)
{
    const struct config *d = c;
    for (size_t i = 0; (d = config_destination_at(c, i)) && strcmp(d->destination, name) != 0; i++) {
    }
    return d;
}

/* 1 fits, 0 says nothing, -1 does not fit */
static int fits(const struct config *view, enum config_key key, const char *text)
{
    const char *list = config_text(view, key);
    return !list[0] ? 0 : list_fits(list, text) ? 1 : -1;
}

const struct config *config_destination_for(const struct config *c, const char *calling_ae, const char *called_ae, const char *modality)
{
    for (size_t i = 0; i < c->view_count; i++) {
        int calling = fits(c->views[i], CFG_FOR_CALLING_AE, calling_ae);
        int called = fits(c->views[i], CFG_FOR_CALLED_AE, called_ae);
        int kind = fits(c->views[i], CFG_FOR_MODALITY, modality);
        if (calling >= 0 && called >= 0 && kind >= 0 && calling + called + kind > 0) {
            return c->views[i];
        }
    }
    return c;
}

const char *config_destination_name(const struct config *c)
{
    return c->destination;
}

enum config_kind config_destination_kind(const struct config *c)
{
    const char *word = config_text(c, CFG_DESTINATION_KIND);
    return strcmp(word, "s3") == 0 ? KIND_S3 : strcmp(word, "dicomweb") == 0 ? KIND_DICOMWEB : KIND_HEALTHIMAGING;
}

const char *config_output_bucket(const struct config *c)
{
    return config_text(c, config_text(c, CFG_OUTPUT_BUCKET)[0] ? CFG_OUTPUT_BUCKET : CFG_DICOM_BUCKET);
}

const char *config_destination_words(const struct config *c, char *buffer, size_t size)
{
    if (strcmp(c->destination, "default") == 0) {
        return "";
    }
    (void)snprintf(buffer, size, "[destination %s] ", c->destination);
    return buffer;
}

int config_check_destinations(const struct config *c, int (*check)(const struct config *c, struct err *e), struct err *e)
{
    for (size_t i = 0; i <= c->view_count; i++) {
        const struct config *d = config_destination_at(c, i);
        struct err why = {0};
        char words[CONFIG_DESTINATION_SIZE + 20];
        int rc = check(d, &why);
        if (rc != 0) {
            return err_set(e, rc, 0, "%s%.380s", config_destination_words(d, words, sizeof words), why.text);
        }
    }
    return 0;
}
