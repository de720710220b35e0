/*
 * webhook - an event by HTTP POST to whoever listens, signed as the "Standard Webhooks" convention says, so that libraries of many languages can
 * check it:
 *   webhook-id: the event's id, the same in every repetition     webhook-timestamp: seconds since 1970, of this attempt
 *   webhook-signature: v1,<base64 of HMAC-SHA256(key, "<id>.<timestamp>.<body>")>; missing without a secret
 * Nothing of AWS goes to that address: no credentials, no signature of ours. No redirect is followed. Asynchronous, see client.h.
 */
#ifndef STORESCP_AWS_WEBHOOK_H
#define STORESCP_AWS_WEBHOOK_H

#include "common/aws/client.h"

struct webhook {
    const char *url, *secret, *event_id, *body; /* borrowed for the call only; secret "": unsigned */
    int64_t limit_ms;
};
/* rc 0: 2xx. ERR_EVENT_BUSY (5xx, 408, 425, 429), ERR_EVENT_LISTENER (redirects, 401, 403, 404, 405, 410: it takes no events at all), ERR_EVENT_REFUSED
 * (another 4xx: it does not take this one), ERR_NETWORK, ERR_TIMEOUT, ERR_CONFIG (TLS). retry_after_ms: what it asked for, 0 if nothing. */
typedef void (*webhook_done)(void *ctx, int rc, const struct err *why, int64_t retry_after_ms);
int webhook_begin(struct aws_client *c, const struct webhook *w, webhook_done done, void *ctx, struct err *e);

/* The value of webhook-signature, 48 characters with its end. ERR_CONFIG: "whsec_" and then no base64. Pure. */
int webhook_sign(const char *secret, const char *event_id, int64_t seconds, const char *body, char out[64], struct err *e);
/* ERR_CONFIG with the reason: no URL for POSTs, a secret that is none. Pure. */
int webhook_check_url(const char *url, struct err *e);
int webhook_check_secret(const char *secret, struct err *e);

#endif
