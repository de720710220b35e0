/* binding - see binding.h. */
#include "receiver/association/binding.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { ENTRY_SIZE = 512 };

/* The next entry of a list, without spaces at its ends; false at the end of the list. One that is too long fits nothing. */
static bool next_entry(const char **list, char separator, char entry[ENTRY_SIZE])
{
    const char *p = *list;
    while (*p == separator || isspace((unsigned char)*p)) {
        p++;
    }
    if (!*p) {
        return false;
    }
    const char *end = strchr(p, separator);
    size_t n = end ? (size_t)(end - p) : strlen(p);
    *list = p + n;
    while (n > 0 && isspace((unsigned char)p[n - 1])) {
        n--;
    }
    if (n >= ENTRY_SIZE) {
        n = 0;
    }
    memcpy(entry, p, n);
    entry[n] = '\0';
    return true;
}

/* Does the subject or one of the other names fit one of the patterns? */
static bool fits_subject(const char *list, const struct tls_facts *f)
{
    char pattern[ENTRY_SIZE];
    while (next_entry(&list, '|', pattern)) {
        const char *names = f->names;
        char name[ENTRY_SIZE];
        if (f->subject[0] && config_fits(pattern, f->subject)) {
            return true;
        }
        while (next_entry(&names, '|', name)) {
            if (config_fits(pattern, name)) {
                return true;
            }
        }
    }
    return false;
}

/* Colons, spaces and the case of the digits do not count. */
static bool fits_fingerprint(const char *list, const struct tls_facts *f)
{
    char entry[ENTRY_SIZE];
    while (f->fingerprint[0] && next_entry(&list, ',', entry)) {
        size_t n = 0;
        for (const char *p = entry; *p; p++) {
            if (isxdigit((unsigned char)*p)) {
                entry[n++] = (char)tolower((unsigned char)*p);
            } else if (*p != ':' && *p != ' ') {
                n = 0;
                break;
            }
        }
        entry[n] = '\0';
        if (strcmp(entry, f->fingerprint) == 0) {
            return true;
        }
    }
    return false;
}

/* Is the certificate named by a section that is not this one? */
static bool belongs_elsewhere(const struct config *config, const struct config_section *own, const struct tls_facts *f)
{
    const struct config_section *section;
    for (size_t i = 0; (section = config_section_at(config, i)); i++) {
        const char *value;
        const char *origin;
        if (section != own && ((config_section_sets(section, CFG_TLS_SUBJECT, &value, &origin) && fits_subject(value, f)) ||
                               (config_section_sets(section, CFG_TLS_FINGERPRINT, &value, &origin) && fits_fingerprint(value, f)))) {
            return true;
        }
    }
    return false;
}

/* Does the section itself name the certificate? */
static bool belongs_here(const struct config_section *own, const struct tls_facts *f)
{
    const char *value;
    const char *origin;
    return own && ((config_section_sets(own, CFG_TLS_SUBJECT, &value, &origin) && fits_subject(value, f)) ||
                   (config_section_sets(own, CFG_TLS_FINGERPRINT, &value, &origin) && fits_fingerprint(value, f)));
}

const char *binding_refusal(const struct config *config, const char *calling_ae, const struct tls_facts *facts)
{
    const struct config_section *own = config_for_ae(config, calling_ae);
    const char *subjects = config_text_for(config, own, CFG_TLS_SUBJECT);
    const char *fingerprints = config_text_for(config, own, CFG_TLS_FINGERPRINT);
    bool is_bound = subjects[0] || fingerprints[0];
    if (!facts) {
        return config_bool_for(config, own, CFG_TLS_REQUIRED) ? "this calling AE title may come over TLS only (tls_required): let it use tls_port"
               : is_bound ? "this calling AE title is bound to a certificate (tls_subject, tls_fingerprint), so it may come over TLS only: let it use tls_port"
                          : NULL;
    }
    if (is_bound && !facts->fingerprint[0]) {
        return "this calling AE title is bound to a certificate (tls_subject, tls_fingerprint), and the peer shows none";
    }
    if (is_bound && !fits_subject(subjects, facts) && !fits_fingerprint(fingerprints, facts)) {
        return "the certificate is none of those in tls_subject and tls_fingerprint of this calling AE title: add it there, or correct the peer's AE title";
    }
    if (facts->fingerprint[0] && !belongs_here(own, facts) && belongs_elsewhere(config, own, facts)) {
        return "the certificate is bound to other AE titles (tls_subject, tls_fingerprint): correct the peer's AE title, or name the certificate in its section too";
    }
    return NULL;
}
