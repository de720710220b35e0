/*
 * tls - the server side of TLS on one connection: handshake, facts about the peer, bytes, with limits in time. Plain C over OpenSSL.
 *
 * Cipher suites as in PS3.15 annex B (profiles of BCP 195, RFC 7525), TLS 1.2 at least whatever the profile once allowed (RFC 8996), suites
 * with elliptic curve certificates always, forward secrecy first. No renegotiation, no compression, no resumption: every association is
 * checked against today's certificates and revocation lists. One thread.
 */
#ifndef STORESCP_DICOM_TLS_H
#define STORESCP_DICOM_TLS_H

#include "common/dicom/message.h"
#include "common/dicom/tls_files.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tls;         /* certificates and rules, for any number of connections */
struct tls_session; /* one connection */

struct tls_facts { /* empty texts: no certificate */
    char version[12], cipher[48];
    char subject[256];     /* RFC 2253: "CN=ct1,O=Hospital" */
    char names[512];       /* its other names, "DNS:ct1.example|IP Address:10.0.0.7" */
    char fingerprint[65];  /* SHA-256, lower case */
};

/* ERR_CONFIG with a sentence when OpenSSL does not take the bundle (a key too short for its rules, for instance). */
int tls_new(struct tls **out, const struct tls_bundle *bundle, const struct tls_settings *settings, struct err *e);
void tls_free(struct tls **t);

/*
 * The handshake, within timeout_ms in all. fd becomes non-blocking and stays the caller's. facts are filled as far as they are known, on
 * failure too. ERR_PROTOCOL: e->text says in words what did not fit and what to do; ERR_TIMEOUT, ERR_NETWORK.
 */
int tls_accept(struct tls_session **out, struct tls *t, int fd, int timeout_ms, struct tls_facts *facts, struct err *e);
/* Bytes can be read at once, or will be within timeout_ms. */
bool tls_wait(struct tls_session *s, int timeout_ms);
struct message_transport tls_transport(struct tls_session *s);
/* Tells the peer that nothing more will come (close_notify); it may still send. */
void tls_say_goodbye(struct tls_session *s);
void tls_session_free(struct tls_session **s);

/* What an X509_V_ERR_ code of a peer's certificate means, and the remedy; NULL for rare ones. Pure. */
const char *tls_verify_words(int code);
/* What the reason of a failed handshake means; NULL for rare ones. Pure. */
const char *tls_handshake_words(int reason);

#ifdef __cplusplus
}
#endif
#endif
