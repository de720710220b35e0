/* secure - see secure.h. */
#include "receiver/association/secure.h"

#include "common/dicom/wire.h"
#include "common/runtime/log.h"
#include "receiver/protocol.h"
#include "receiver/association/report.h"

#include <stdio.h>
#include <string.h>

static int take_certificates(struct secure *s, int certificates, int64_t generation, struct err *e)
{
    struct tls_settings settings;
    struct tls_bundle bundle = {0};
    struct tls *tls = NULL;
    if (s->tls && s->generation == generation) {
        return 0;
    }
    int rc = certificates == -1 ? err_set(e, ERR_ARGUMENT, 0, "a TLS connection without certificates") : tls_settings_read(&settings, s->config, e);
    rc = rc == 0 ? tls_bundle_take(&bundle, certificates, e) : rc;
    rc = rc == 0 ? tls_new(&tls, &bundle, &settings, e) : rc;
    tls_bundle_clear(&bundle);
    if (rc == 0) {
        tls_free(&s->tls);
        s->tls = tls;
        s->generation = generation;
    }
    return rc;
}

int secure_begin(struct secure *s, int fd, int certificates, const struct packet *job, char *outcome, size_t outcome_size)
{
    struct err e = {0};
    if (!job->is_tls) {
        return 0;
    }
    int timeout_ms = (int)config_int(s->config, CFG_ACSE_TIMEOUT) * 1000;
    int rc = take_certificates(s, certificates, job->generation, &e);
    rc = rc == 0 ? tls_accept(&s->session, s->tls, fd, timeout_ms, &s->facts, &e) : rc;
    if (rc != 0) {
        char text[700];
        char subject[700];
        (void)snprintf(outcome, outcome_size, "failed: no TLS: %s", e.text);
        report_refusal(s->channel, job, "tls_refused", "certificate=%s reason=%s", log_text(s->facts.subject, subject, sizeof subject),
                       log_text(e.text, text, sizeof text));
        wire_say_goodbye(fd);
    }
    return rc;
}

void secure_describe(const struct secure *s, char *text, size_t size)
{
    text[0] = '\0';
    if (s->session) {
        (void)snprintf(text, size, "%s %s%s%s", s->facts.version, s->facts.cipher, s->facts.subject[0] ? " " : "", s->facts.subject);
    }
}

void secure_end(struct secure *s)
{
    tls_session_free(&s->session);
    memset(&s->facts, 0, sizeof s->facts);
}

void secure_clear(struct secure *s)
{
    secure_end(s);
    tls_free(&s->tls);
}
