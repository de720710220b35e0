#!/usr/bin/env python3
"""requests_test BUILD_DIR - association requests that no modality should send: each gets an answer (PS3.8 section 9.2.3), and the one after it is served.
The bug: a request that the protocol library could not read (no transfer syntax, a UID over 64 characters, an item longer than the PDU) was
answered by nothing but the end of the connection, and the sender's support had nothing to go by."""
import os
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, main, same, say  # noqa: E402
import scu  # noqa: E402

IMPLICIT, VERIFICATION, LONG_UID = b'1.2.840.10008.1.2', b'1.2.840.10008.1.1', b'1.' + b'2' * 100
item = scu._item
USER = item(0x50, item(0x51, struct.pack('>I', 16384)) + item(0x52, b'2.25.7') + item(0x55, b'T'))
ACCEPTED, TITLE_OF_APPLICATION, VERSION = '02', '030000000004' + '00010102', '030000000004' + '00010202'
ABORTED, UNREADABLE, UNEXPECTED = '070000000004' + '00000000', '070000000004' + '00000206', '070000000004' + '00000201'


def context(number, abstract, syntaxes):
    parts = b'' if abstract is None else item(0x30, abstract)
    return item(0x20, bytes((number, 0, 0, 0)) + parts + b''.join(item(0x40, t) for t in syntaxes))


def request(contexts=context(1, VERIFICATION, [IMPLICIT]), called=b'STORESCP', calling=b'T', version=1, application=item(0x10, b'1.2.840.10008.3.1.1.1'),
            user=USER, extra=b'', cut=0):
    body = struct.pack('>HH', version, 0) + called.ljust(16) + calling.ljust(16) + bytes(32) + application + contexts + user + extra
    body = body[:len(body) - cut]
    return struct.pack('>BBI', 1, 0, len(body)) + body


CASES = [  # what, bytes, the answer begins with
    ('a good request', request(), ACCEPTED),
    ('an item of an unknown type', request(extra=item(0x77, b'xx')), ACCEPTED),
    ('no user information', request(user=b''), ACCEPTED),
    ('protocol versions 1 and 2', request(version=3), ACCEPTED),
    ('no presentation context', request(contexts=b''), ABORTED),
    ('a blank called AE title', request(called=b''), ABORTED),
    ('a blank calling AE title', request(calling=b''), ABORTED),
    ('an even context id', request(contexts=context(2, VERIFICATION, [IMPLICIT])), ABORTED),
    ('no transfer syntax', request(contexts=context(1, VERIFICATION, [])), UNREADABLE),
    ('an abstract syntax of 102 characters', request(contexts=context(1, LONG_UID, [IMPLICIT])), UNREADABLE),
    ('a transfer syntax of 102 characters', request(contexts=context(1, VERIFICATION, [LONG_UID])), UNREADABLE),
    ('an implementation class UID of 102 characters', request(user=item(0x50, item(0x51, struct.pack('>I', 16384)) + item(0x52, LONG_UID))), UNREADABLE),
    ('an item longer than the request', request(extra=struct.pack('>BBH', 0x20, 0, 5000)), UNREADABLE),
    ('a request that ends inside its last item', request(cut=5), UNREADABLE),
    ('another protocol version', request(version=2), VERSION),
    ('another application context', request(application=item(0x10, b'1.2.3')), TITLE_OF_APPLICATION),
    ('no application context', request(application=b''), TITLE_OF_APPLICATION),
    ('a data PDU first', struct.pack('>BBI', 4, 0, 6) + bytes(6), UNEXPECTED),
    ('a PDU of an unknown type', struct.pack('>BBI', 9, 0, 4) + bytes(4), UNEXPECTED),
    ('a web browser', b'GET / HTTP/1.1\r\n\r\n', UNEXPECTED)]


def answer_to(port, sent):
    with socket.create_connection(('127.0.0.1', port), 10) as s:
        s.sendall(sent)
        got = b''
        while len(got) < 10:
            part = s.recv(10 - len(got))
            if not part:
                break
            got += part
        return got.hex()


def test(build):
    with Installation(build, 'requests') as it:
        it.start()
        for what, sent, expected in CASES:
            got = answer_to(it.port, sent)
            check(got.startswith(expected), f'{what}: answered {got or "by nothing"}, expected {expected}')
            association = scu.Association('127.0.0.1', it.port, [(scu.VERIFICATION, scu.IMPLICIT_LE)])
            same(association.echo(), 0, f'C-ECHO after {what}')
            association.release()
        say(f'{len(CASES)} association requests, each answered')
        it.stop()
        it.check_invariants()


main(test)
