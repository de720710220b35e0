"""tls_scu - scu's Association over TLS (Python's ssl)."""
import socket
import ssl

import scu

CONTEXTS = (('1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1'), (scu.VERIFICATION, scu.IMPLICIT_LE))


class Secure(scu.Association):
    """scu's Association over TLS; own: a pki.Pair to show, ca: the file that our peer must lead to; first: what is sent before
    TLS begins."""

    def __init__(self, port, own, ca, calling='TESTSCU', contexts=CONTEXTS, first=b''):
        rules = ssl.create_default_context(cafile=ca)
        rules.check_hostname = False
        if own:
            rules.load_cert_chain(own.certificate, own.key)
        raw = socket.create_connection(('127.0.0.1', port), 30)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            raw.sendall(first)
            self.socket = rules.wrap_socket(raw)
            self.message = 0
            self._associate(list(contexts), calling, 'STORESCP')
        except BaseException:
            raw.close()
            raise

    def peer_certificate(self):
        return self.socket.getpeercert(True)
