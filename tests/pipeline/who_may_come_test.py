#!/usr/bin/env python3
"""who_may_come_test BUILD_DIR - settings of the door in combination: addresses, PROXY headers, AE titles, certificates and users. Each row is a
peer; where one setting says no, no other one lets it in."""
import os
import socket
import ssl
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, free_port, main, make_study, same, say  # noqa: E402
import pki  # noqa: E402
import scu  # noqa: E402

CONTEXTS = [('1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1')]
BALANCER, STRANGER = '127.0.0.2', '127.0.0.3'
SIGNATURE = b'\r\n\r\n\0\r\nQUIT\n'
LOCAL = SIGNATURE + b'\x20\0\0\0'


def v2(source):
    return SIGNATURE + b'\x21\x11\0\x0c' + socket.inet_aton(source) + socket.inet_aton('127.0.0.1') + struct.pack('>HH', 40000, 11112)


def arrive(place, port, certificate, calling, source, preamble):
    """Associates and stores; -> its status, or why not."""
    sock = socket.create_connection(('127.0.0.1', port), 20, (source, 0))
    try:
        sock.sendall(preamble)
        if port == place.tls_port:
            rules = ssl.create_default_context(cafile=place.ca.certificate)
            rules.check_hostname = False
            if certificate:
                rules.load_cert_chain(certificate.certificate, certificate.key)
            sock = rules.wrap_socket(sock)
        a = scu.Association.__new__(scu.Association)
        a.socket, a.message, a.comment = sock, 0, ''
        a._associate(CONTEXTS, calling, 'STORESCP')
        place.sent += 1
        status = a.store(place.part._replace(sop_instance=f'1.2.3.{place.sent}'))
        a.release()
        return status
    except (OSError, scu.Refused) as why:
        return str(why)
    finally:
        sock.close()


class Place:
    def __init__(self, directory):
        os.mkdir(directory)
        self.ca, self.sent = pki.Authority(directory, 'ours'), 0
        self.server = self.ca.issue('server', names='DNS:localhost', usage='serverAuth')
        self.ct1, self.mr = self.ca.issue('ct1', names='DNS:ct1.example'), self.ca.issue('mr', names='DNS:mr.example')
        self.forged = pki.Authority(directory, 'others').issue('ct1', names='DNS:ct1.example')
        self.tls_port = free_port()


def test(build):
    with Installation(build, 'who-may-come', {}, {'validator': 0, 'uploader': 0, 'importer': 0}) as it:
        p = Place(os.path.join(it.work, 'pki'))
        p.part = scu.read_part10(make_study(os.path.join(it.work, 'study'), 1, 2000, 3)[0])
        it.configure(tls_port=p.tls_port, tls_certificate=p.server.certificate, tls_key=p.server.key, tls_ca=p.ca.certificate, acse_timeout=10,
                     proxy_protocol='required', proxy_trusted=BALANCER, require_calling_ae_title='CT1, MR*, US1')
        with open(os.path.join(it.home, 'storescp.conf'), 'a') as f:
            f.write(f'[ae CT1]\ntls_subject = {p.ct1.subject}\nallowed_addresses = 192.0.2.0/24\n[ae MR*]\ntls_required = true\n'
                    '[ae US1]\nallowed_addresses = 127.0.0.0/8\nrequire_user_identity = passcode\n')
        it.start_up()
        here, there = v2('192.0.2.5'), v2('192.0.3.5')
        rows = [  # is it let in, port, certificate, calling AE title, source, what goes before
            (True, p.tls_port, p.ct1, 'CT1', BALANCER, here), (True, p.tls_port, p.mr, 'MR1', BALANCER, there),
            (False, p.tls_port, p.ct1, 'CT1', BALANCER, there), (False, p.tls_port, p.ct1, 'CT1', STRANGER, here),
            (False, p.tls_port, p.ct1, 'CT1', STRANGER, b''), (False, p.tls_port, p.ct1, 'CT1', BALANCER, b''),
            (False, p.tls_port, p.ct1, 'CT1', BALANCER, LOCAL), (False, p.tls_port, p.ct1, 'CT1', BALANCER, there + here),
            (False, p.tls_port, p.mr, 'CT1', BALANCER, here), (False, p.tls_port, None, 'CT1', BALANCER, here),
            (False, p.tls_port, p.forged, 'CT1', BALANCER, here), (False, p.tls_port, p.ct1, 'MR1', BALANCER, here),
            (False, p.tls_port, None, 'MR1', BALANCER, here), (False, p.tls_port, p.ct1, 'CT2', BALANCER, here),
            (False, it.port, None, 'CT1', BALANCER, b'PROXY UNKNOWN\r\n'), (False, it.port, None, 'MR', BALANCER, b'PROXY TCP4 192.0.2.5 127.0.0.1 1 2\r\n')]
        rows += [(False, it.port, None, title, BALANCER, here) for title in ('CT1', 'CT1\t', '\tCT1', 'CT1\0', 'ct1', 'MR1', 'US1', 'US*', '*', '?S1', '')]
        for wanted, port, certificate, calling, source, preamble in rows:
            got = arrive(p, port, certificate, calling, source, preamble)
            same(got == 0, wanted, f'{"TLS" if port == p.tls_port else "plain"}, {certificate and certificate.subject}, {calling!r} from {source} '
                                   f'after {preamble!r} is let in ({got})')
        say(f'{len(rows)} peers: {sum(r[0] for r in rows)} let in, the others not')
        it.stop()
        it.check_invariants()
        same(it.one('SELECT count(*) FROM instance'), sum(r[0] for r in rows), 'instances')


main(test)
