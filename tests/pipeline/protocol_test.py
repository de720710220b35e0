#!/usr/bin/env python3
"""protocol_test BUILD_DIR - the receiver on an association that stands, PDU by PDU: what PS3.8 allows and senders seldom do is stored byte for
byte; what it forbids costs the sender its own association and nobody else anything. After each case an association that was open
all the time stores an instance, no process has died, and neither tmp/ nor obj/ holds a file without a row.

Guards: DCMTK's reader aborted on fragments of odd length and on command and data in one PDU, and waited for ever for a data set that
the command did not announce or that had no bytes."""
import fcntl
import os
import random
import socket
import struct
import sys
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, main, make_study, same, say, until  # noqa: E402
import scu  # noqa: E402

CT, EXPLICIT_LE = '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1'
CONTEXTS = [(CT, EXPLICIT_LE), ('1.2.840.10008.5.1.4.1.1.4', EXPLICIT_LE), (scu.VERIFICATION, scu.IMPLICIT_LE)]
COMMAND, DATA, LAST = 1, 0, 2
ABORT = 7


class Peer(scu.Association):
    """An association that sends whatever it is told; the first context (id 1) is CT, the second (3) MR, the third (5) verification."""

    def __init__(self, port):
        super().__init__('127.0.0.1', port, CONTEXTS, timeout=20)
        self.sop = f'2.25.{random.getrandbits(90)}'

    def pdv(self, content, control, context=1):
        return struct.pack('>IBB', len(content) + 2, context, control) + content

    def pdu(self, *pdvs):
        self._send(4, b''.join(pdvs))

    def command(self, field=1, data_set=b'\0\0', sop_class=CT, sop=None, extra=()):
        elements = [(2, sop_class.encode()), (0x100, struct.pack('<H', field)), (0x110, b'\7\0'), (0x700, b'\0\0'), (0x800, data_set)]
        if field == 1:
            elements.append((0x1000, (self.sop if sop is None else sop).encode('latin1')))
        body = b''.join(scu._element(*e) for e in elements + list(extra))
        return scu._element(0, struct.pack('<I', len(body))) + body

    def end(self):
        """How the receiver ended it: ('abort', source, reason) or ('closed',)."""
        try:
            kind, body = self._receive()
        except ConnectionResetError:
            return ('closed',)
        return ('abort', body[2], body[3]) if kind == ABORT else ('PDU', kind)


def data(size, seed=1):
    return random.Random(seed).randbytes(size)


# ---- what is allowed: each returns the data set that must be kept ---------------------------------------------------------------------
def odd_fragments(p):
    content = data(10001)
    p.pdu(p.pdv(p.command(), COMMAND | LAST))
    for at in range(0, len(content), 333):
        p.pdu(p.pdv(content[at:at + 333], DATA | (LAST if at + 333 >= len(content) else 0)))
    return content


def command_and_data_in_one_pdu(p):
    content = data(20000)
    p.pdu(p.pdv(p.command(), COMMAND | LAST), p.pdv(content[:777], DATA), p.pdv(content[777:], DATA | LAST))
    return content


def no_bytes_at_all(p):
    p.pdu(p.pdv(p.command(), COMMAND | LAST))
    p.pdu(p.pdv(b'', DATA | LAST))
    return b''


def last_fragment_empty(p):
    content = data(5000)
    p.pdu(p.pdv(p.command(), COMMAND | LAST))
    p.pdu(p.pdv(content, DATA))
    p.pdu(p.pdv(b'', DATA | LAST))
    return content


def many_tiny_fragments(p):
    content = data(30000)
    p.pdu(p.pdv(p.command(), COMMAND | LAST))
    pieces = [p.pdv(content[i:i + 1], DATA) for i in range(len(content) - 1)] + [p.pdv(content[-1:], DATA | LAST)]
    for at in range(0, len(pieces), 5000):
        p.pdu(*pieces[at:at + 5000])
    return content


def command_in_fragments(p):
    command, content = p.command(), data(3000)
    for at in range(0, len(command) - 1, 7):
        p.pdu(p.pdv(command[at:min(at + 7, len(command) - 1)], COMMAND))
    p.pdu(p.pdv(command[-1:], COMMAND | LAST), p.pdv(content, DATA | LAST))
    return content


def byte_by_byte(p):
    """The TCP stream in pieces of one byte: headers come torn."""
    content = data(40)
    whole = struct.pack('>BBI', 4, 0, 0)
    body = p.pdv(p.command(), COMMAND | LAST) + p.pdv(content, DATA | LAST)
    whole = struct.pack('>BBI', 4, 0, len(body)) + body
    for i in range(len(whole)):
        p.socket.sendall(whole[i:i + 1])
    return content


def largest_pdu(p):
    content = data(131072 - 6)
    p.pdu(p.pdv(p.command(), COMMAND | LAST))
    p.pdu(p.pdv(content, DATA | LAST))
    return content


def reserved_bits_set(p):  # PS3.8 annex E.2: bits 2 to 7 are not checked by the receiver
    content = data(2000)
    p.pdu(p.pdv(p.command(), COMMAND | LAST | 0xf0))
    p.pdu(p.pdv(content, DATA | LAST | 0x80))
    return content


ALLOWED = [odd_fragments, command_and_data_in_one_pdu, no_bytes_at_all, last_fragment_empty, many_tiny_fragments, command_in_fragments, byte_by_byte,
           largest_pdu, reserved_bits_set]


# ---- what is answered and not kept: each returns the status ---------------------------------------------------------------------------
def no_data_set_announced(p):
    p.pdu(p.pdv(p.command(data_set=b'\1\1'), COMMAND | LAST))
    return 0xc000


def no_instance_uid(p):
    p.pdu(p.pdv(p.command(sop=''), COMMAND | LAST), p.pdv(data(100), DATA | LAST))
    return 0xc000


def control_characters_in_uid(p):
    p.pdu(p.pdv(p.command(sop='1.2\n3'), COMMAND | LAST), p.pdv(data(100), DATA | LAST))
    return 0xc000


def class_of_another_context(p):
    p.pdu(p.pdv(p.command(sop_class=CONTEXTS[1][0]), COMMAND | LAST), p.pdv(data(100), DATA | LAST))
    return 0xa900


def store_on_verification(p):
    p.pdu(p.pdv(p.command(), COMMAND | LAST, 5), p.pdv(data(100), DATA | LAST, 5))
    return 0xa900


def verification_stored(p):  # was answered with success, and quarantined
    p.pdu(p.pdv(p.command(sop_class=scu.VERIFICATION), COMMAND | LAST, 5), p.pdv(data(100), DATA | LAST, 5))
    return 0x0211


def another_service(p):
    p.pdu(p.pdv(p.command(field=0x20), COMMAND | LAST), p.pdv(data(100), DATA | LAST))
    return 0x0211


ANSWERED = [no_data_set_announced, no_instance_uid, control_characters_in_uid, class_of_another_context, store_on_verification, verification_stored, another_service]


# ---- what ends the association: each returns how ----------------------------------------------------------------------------------------
def context_changes(p):
    p.pdu(p.pdv(p.command(), COMMAND | LAST), p.pdv(data(100), DATA, 3))
    return 'abort', 2, 5


def context_changes_within_data(p):
    p.pdu(p.pdv(p.command(), COMMAND | LAST), p.pdv(data(100000), DATA))
    p.pdu(p.pdv(data(100), DATA | LAST, 3))
    return 'abort', 2, 5


def context_never_accepted(p):
    p.pdu(p.pdv(p.command(), COMMAND | LAST, 77))
    return 'abort', 2, 6


def data_without_command(p):
    p.pdu(p.pdv(data(100), DATA | LAST))
    return 'abort', 2, 5


def data_after_the_last_fragment(p):
    p.pdu(p.pdv(p.command(), COMMAND | LAST), p.pdv(data(100), DATA | LAST), p.pdv(data(100), DATA | LAST))
    same(p._status(), 0, 'status of the store before it')
    return 'abort', 2, 5


def second_command(p):
    p.pdu(p.pdv(p.command(), COMMAND | LAST), p.pdv(data(100), DATA))
    p.pdu(p.pdv(p.command(), COMMAND | LAST))
    return 'abort', 2, 5


def release_within_store(p):
    p.pdu(p.pdv(p.command(), COMMAND | LAST), p.pdv(data(100), DATA))
    p._send(5, bytes(4))
    return 'abort', 2, 2


def association_request_again(p):
    p._send(1, bytes(68))
    return 'abort', 2, 2


def unknown_pdu(p):
    p._send(0x50, b'PROXY')
    return 'abort', 2, 1


def pdu_too_long(p):
    p.pdu(p.pdv(p.command(), COMMAND | LAST))
    p.socket.sendall(struct.pack('>BBI', 4, 0, 131073))
    return 'abort', 2, 6


def pdu_of_four_gigabytes(p):
    p.socket.sendall(struct.pack('>BBI', 4, 0, 0xffffffff) + data(1000))
    return 'abort', 2, 6


def empty_pdu(p):
    p._send(4, b'')
    return 'abort', 2, 6


def pdv_beyond_its_pdu(p):
    p._send(4, struct.pack('>IBB', 1000, 1, COMMAND | LAST) + data(100))
    return 'abort', 2, 6


def pdv_of_no_length(p):
    p._send(4, struct.pack('>IBB', 0, 1, COMMAND | LAST))
    return 'abort', 2, 6


def bytes_after_the_last_pdv(p):
    p._send(4, p.pdv(p.command(), COMMAND | LAST) + b'\0\0\0')
    return 'abort', 2, 6


def command_too_long(p):
    for _ in range(3):
        p.pdu(p.pdv(data(4000), COMMAND))
    return 'abort', 2, 6


def command_of_noise(p):
    p.pdu(p.pdv(b'\0\0' + data(300), COMMAND | LAST))
    return 'abort', 2, 6


def command_cut(p):
    p.pdu(p.pdv(p.command()[:-3], COMMAND | LAST))
    return 'abort', 2, 6


def command_without_field(p):
    p.pdu(p.pdv(scu._element(0x110, b'\1\0') + scu._element(0x800, b'\1\1'), COMMAND | LAST))
    return 'abort', 2, 6


def response_unasked(p):
    p.pdu(p.pdv(p.command(field=0x8001, data_set=b'\1\1'), COMMAND | LAST))
    return 'abort', 2, 5


def abort_between_command_and_data(p):
    p.pdu(p.pdv(p.command(), COMMAND | LAST))
    p._send(ABORT, bytes(4))
    return ('closed',)


def abort_within_data(p):
    p.pdu(p.pdv(p.command(), COMMAND | LAST), p.pdv(data(100000), DATA))
    p._send(ABORT, bytes(4))
    return ('closed',)


def end_of_stream_within_data(p):
    p.pdu(p.pdv(p.command(), COMMAND | LAST), p.pdv(data(100000), DATA))
    p.socket.shutdown(socket.SHUT_WR)
    return 'abort', 2, 0


def reset_within_data(p):
    p.pdu(p.pdv(p.command(), COMMAND | LAST), p.pdv(data(100000), DATA))
    p.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    p.close()
    return None


def reset_before_the_answer(p):
    """The one case in which the sender cannot know: the instance is kept, a second sending is a duplicate."""
    p.pdu(p.pdv(p.command(), COMMAND | LAST), p.pdv(data(100000), DATA | LAST))
    until(lambda: struct.unpack('i', fcntl.ioctl(p.socket, termios.TIOCOUTQ, bytes(4)))[0] == 0, 10, 'the kernel has delivered everything')
    p.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    p.close()
    return None


def silent_within_data(p):
    p.pdu(p.pdv(p.command(), COMMAND | LAST), p.pdv(data(100), DATA))
    return 'abort', 2, 0


def dripping_within_data(p):
    """A byte now and then keeps no association alive."""
    p.pdu(p.pdv(p.command(), COMMAND | LAST), p.pdv(data(100), DATA))
    end = time.monotonic() + 15
    try:
        while time.monotonic() < end and not _readable(p.socket):
            p.pdu(p.pdv(b'.', DATA))
            time.sleep(0.2)
    except OSError:
        pass
    check(time.monotonic() < end, 'a peer that drips bytes is still served after 15 s')
    return 'abort', 2, 0


def _readable(s):
    s.settimeout(0.001)
    try:
        return len(s.recv(1, socket.MSG_PEEK)) > 0
    except TimeoutError:
        return False
    finally:
        s.settimeout(20)


ENDED = [context_changes, context_changes_within_data, context_never_accepted, data_without_command, data_after_the_last_fragment, second_command,
         release_within_store, association_request_again, unknown_pdu, pdu_too_long, pdu_of_four_gigabytes, empty_pdu, pdv_beyond_its_pdu, pdv_of_no_length,
         bytes_after_the_last_pdv, command_too_long, command_of_noise, command_cut, command_without_field, response_unasked,
         abort_between_command_and_data, abort_within_data, end_of_stream_within_data, reset_within_data, reset_before_the_answer, silent_within_data,
         dripping_within_data]
KEPT_ANYWAY = {data_after_the_last_fragment: 1, reset_before_the_answer: 1}


def rows(it):
    return it.one('SELECT count(*) FROM instance')


def nothing_left(it, name):
    until(lambda: not it.spool_files('tmp'), 5, f'tmp/ is empty after {name}')
    known = {r[0] for r in it.query('SELECT id FROM instance')}
    same(sorted({f[:-4] for room in ('obj', 'quarantine') for f in it.spool_files(room)} - known), [], f'files without a row after {name}')


def test(build):
    # no validator: rows stay `received`, so files and rows can be compared at any moment
    with Installation(build, 'protocol', {'dimse_timeout': 2, 'network_timeout': 20, 'spare_associations': 3}, counts={'validator': 0}) as it:
        it.start()
        paths = [scu.read_part10(p) for p in make_study(os.path.join(it.work, 'good'), 60, 3000, 7)]
        witness = scu.Association('127.0.0.1', it.port, [(CT, EXPLICIT_LE), (scu.VERIFICATION, scu.IMPLICIT_LE)])
        same(witness.store(paths.pop()), 0, 'status of the first store')
        until(lambda: len(it.processes()) >= 5, 10, 'the pool stands')
        expected, processes = 1, set(it.processes())
        say(f'{len(ALLOWED)} allowed, {len(ANSWERED)} answered, {len(ENDED)} ending cases')

        def after(name):
            nonlocal expected
            nothing_left(it, name)
            same(rows(it), expected, f'rows after {name}')
            same(witness.store(paths.pop()), 0, f'the other association stores after {name}')
            expected += 1
            check(processes <= set(it.processes()), f'a process died of {name}')

        for case in ALLOWED:
            peer = Peer(it.port)
            content = case(peer)
            same(peer._status(), 0, f'status of {case.__name__}')
            same(peer.store(paths[0]._replace(sop_instance=peer.sop + '.1')), 0, f'the same association stores after {case.__name__}')
            peer.release()
            expected += 2
            instance = it.one('SELECT id FROM instance WHERE sop_instance_uid = ?', peer.sop)
            check(it.stored_data_set(instance) == content if content else it.one('SELECT data_bytes FROM instance WHERE id = ?', instance) == 0,
                  f'{case.__name__}: the data set is kept differently')
            after(case.__name__)
        for case in ANSWERED:
            peer = Peer(it.port)
            same(hex(case(peer) ^ peer._status()), '0x0', f'difference to the status of {case.__name__}')
            same(peer.store(paths[0]._replace(sop_instance=peer.sop + '.1')), 0, f'the same association stores after {case.__name__}')
            peer.release()
            expected += 1
            after(case.__name__)
        for case in ENDED:
            peer = Peer(it.port)
            ending = case(peer)
            if ending is not None:
                same(peer.end(), ending, f'end of {case.__name__}')
            peer.close()
            expected += KEPT_ANYWAY.get(case, 0)
            if case is reset_before_the_answer:
                until(lambda: rows(it) == expected, 5, f'the row of {case.__name__}')
            after(case.__name__)
        same(witness.echo(), 0, 'C-ECHO on an association that stores')
        witness.release()
        it.stop()
        same(it.one('SELECT sum(stored) FROM association'), expected, 'stored instances in the rows of associations')
        refused = it.one('SELECT sum(refused) FROM association')
        check(refused >= len(ANSWERED) - 1, f'refused instances in the rows of associations: {refused}')
        it.check_invariants()


main(test)
