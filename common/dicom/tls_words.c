/* tls_words - what OpenSSL's codes mean for those who run the receiver and its peers. */
#include "common/dicom/tls.h"

#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

struct words {
    int code;
    const char *text;
};

static const struct words verify[] = {
    {X509_V_ERR_CERT_HAS_EXPIRED, "the peer's certificate or one of its CAs has expired: renew it at the peer"},
    {X509_V_ERR_CERT_NOT_YET_VALID, "the peer's certificate is not valid yet: check the clocks of both machines, or the certificate's dates"},
    {X509_V_ERR_CERT_REVOKED, "the peer's certificate is revoked (tls_crl): the peer needs a new one"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, "the peer's certificate does not lead to a CA in tls_ca: add its CA certificate there"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "the peer's certificate does not lead to a CA in tls_ca: add its CA certificate there"},
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, "the peer's certificate does not lead to a CA in tls_ca: add its CA certificate there"},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "the peer's certificate leads to a CA that is not in tls_ca: add that CA's certificate there"},
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "the peer's certificate is signed by itself: put it into tls_ca, if it is to be trusted"},
    {X509_V_ERR_CERT_SIGNATURE_FAILURE, "the signature of the peer's certificate is wrong: another CA of the same name has issued it"},
    {X509_V_ERR_UNABLE_TO_GET_CRL, "tls_crl has no revocation list of the CA of the peer's certificate: add it there"},
    {X509_V_ERR_CRL_HAS_EXPIRED, "the revocation list in tls_crl is out of date: fetch the CA's new one"},
    {X509_V_ERR_CRL_NOT_YET_VALID, "the revocation list in tls_crl is not valid yet: check this machine's clock"},
    {X509_V_ERR_CRL_SIGNATURE_FAILURE, "the revocation list in tls_crl is not signed by the CA of the peer's certificate: fetch the right one"},
    {X509_V_ERR_INVALID_PURPOSE, "the peer's certificate is not meant for clients: its extended key usage needs clientAuth"},
    {X509_V_ERR_INVALID_CA, "a certificate that is no CA's has signed the peer's: correct the peer's chain"},
    {X509_V_ERR_CERT_CHAIN_TOO_LONG, "the peer's chain of certificates is too long"},
    {X509_V_ERR_EE_KEY_TOO_SMALL, "the key of the peer's certificate is too short: RSA needs 2048 bits at least"},
    {X509_V_ERR_CA_KEY_TOO_SMALL, "the key of the peer's CA is too short: RSA needs 2048 bits at least"},
    {X509_V_ERR_CA_MD_TOO_WEAK, "the peer's certificate or its CA's is signed with a hash that is no longer safe (MD5 or SHA-1): renew it"},
};

static const struct words handshake[] = {
    {SSL_R_NO_SHARED_CIPHER, "no shared cipher suite: the peer offers none of tls_profile; update the peer, or set tls_profile = bcp195"},
    {SSL_R_UNSUPPORTED_PROTOCOL, "the peer offers an older TLS version than tls_minimum: update the peer; versions below 1.2 are never accepted"},
    {SSL_R_WRONG_VERSION_NUMBER, "the peer does not speak TLS 1.2 or newer here"},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "the peer shows no certificate: give it one of a CA in tls_ca, or set tls_client = request"},
    {SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, "no signature algorithm in common: our key or the peer's is of a kind the other does not know"},
    {SSL_R_NO_SHARED_GROUPS, "no elliptic curve in common"},
    {SSL_R_HTTP_REQUEST, "the peer speaks HTTP: this is a DICOM port"},
    {SSL_R_TLSV1_ALERT_UNKNOWN_CA, "the peer does not know the CA of tls_certificate: install the CA's certificate at the peer, or our whole chain here"},
    {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "the peer refuses tls_certificate as bad: compare its names and usage with what the peer expects"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, "the peer does not accept tls_certificate: install the CA's certificate at the peer"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, "the peer says that tls_certificate has expired: renew it, or correct the peer's clock"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, "the peer says that tls_certificate is revoked: put a new one there"},
    {SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, "the peer does not take tls_certificate: check its extended key usage (serverAuth)"},
    {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, "the peer found no common ground: compare its TLS versions and cipher suites with tls_profile"},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "the peer does not take our TLS version: see tls_minimum and tls_profile"},
    {SSL_R_TLSV1_ALERT_ACCESS_DENIED, "the peer's own rules forbid the connection"},
    {SSL_R_UNEXPECTED_EOF_WHILE_READING, "the peer closed the connection within the handshake; it may not trust tls_certificate: see the peer's log"},
};

const char *tls_verify_words(int code)
{
    for (size_t i = 0; i < sizeof verify / sizeof verify[0]; i++) {
        if (verify[i].code == code) {
            return verify[i].text;
        }
    }
    return NULL;
}

const char *tls_handshake_words(int reason)
{
    for (size_t i = 0; i < sizeof handshake / sizeof handshake[0]; i++) {
        if (handshake[i].code == reason) {
            return handshake[i].text;
        }
    }
    return NULL;
}
