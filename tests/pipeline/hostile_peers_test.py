#!/usr/bin/env python3
"""hostile_peers_test BUILD_DIR - peers that mean no good, or are broken, cost themselves only: while each of them does its worst a good modality goes on
sending, one association for each image, and every image is answered 0000 without undue delay. At the end no connection is
left, tmp/ is empty, there is no row but the good modality's, and no process has died of a signal.

    idle           1,000 connections from twenty addresses that never say a word
    dripping       an association request byte by byte, and a large one that stops within
    never_ends     a PDU that is announced and does not come; a data set without an end
    wide           128 presentation contexts with 38 transfer syntaxes each; 90,000 empty transfer syntaxes
    lying          lengths that are not true, everywhere in a request, by a fixed seed
    rude           abort between command and data set, reset within the data set, end without release, words of other protocols
    many_at_once   all of them together"""
import contextlib
import os
import random
import resource
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, main, make_study, memory_of, same, say, until  # noqa: E402
import scu  # noqa: E402
from negotiate import connect, propose, read_answer, request  # noqa: E402

CT, EXPLICIT_LE = '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1'
CONTEXTS = [(CT, [EXPLICIT_LE]), (scu.VERIFICATION, [scu.IMPLICIT_LE])]
ACSE_S, DIMSE_S = 3, 3
SLOWEST_S = 3.0  # of one image of the good modality with its association, on a busy machine


class Modality(threading.Thread):
    """Sends image after image, each on an association of its own, until told to stop."""

    def __init__(self, port, image):
        super().__init__(daemon=True)
        self.port, self.image, self.over = port, image, threading.Event()
        self.stored, self.slowest, self.trouble = 0, 0.0, None

    def run(self):
        while not self.over.is_set() and self.trouble is None:
            began = time.monotonic()
            try:
                peer = scu.Association('127.0.0.1', self.port, [(CT, EXPLICIT_LE)], calling='GOOD', timeout=20)
                status = peer.store(self.image._replace(sop_instance=f'2.25.100{self.stored}'))
                peer.release()
                if status != 0:
                    self.trouble = f'status {status:04X}'
                self.stored += 1
            except (OSError, scu.Refused) as trouble:
                self.trouble = f'{type(trouble).__name__} {trouble}'
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.over.wait(0.02)


def closed_within(s, seconds, what):
    """Reads until the receiver closes; how long that took."""
    began = time.monotonic()
    s.settimeout(0.5)
    while time.monotonic() - began < seconds:
        try:
            if not s.recv(65536):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    else:
        check(False, f'{what}: still open after {seconds} s')
    s.close()
    return time.monotonic() - began


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    s.close()


def established(port):
    """Connections to this port that the receiver still holds, from the kernel's table."""
    found = []
    for name in ('tcp', 'tcp6'):
        for line in list(open(f'/proc/net/{name}'))[1:]:
            local, state = line.split()[1], line.split()[3]
            if state in ('01', '08') and int(local.split(':')[1], 16) == port:
                found.append(line)
    return found


# ---- the kinds --------------------------------------------------------------------------------------------------------------------------
def idle(port):
    held = []
    for i in range(1000):
        with contextlib.suppress(OSError):  # being turned away at once is fine too
            held.append(connect(port, source=f'127.0.0.{2 + i % 20}').socket)
    check(len(held) > 900, f'only {len(held)} connections stand')
    time.sleep(ACSE_S + 1)
    for s in held:
        closed_within(s, ACSE_S + 5, 'a connection that never said a word')


def drip(port, whole, already):
    """Sends `already` bytes of whole, then one every 50 ms until the receiver has had enough."""
    peer = connect(port, source='127.0.0.40')
    began = time.monotonic()
    with contextlib.suppress(OSError):
        peer.socket.sendall(whole[:already])
        for i in range(already, len(whole) - 1):
            check(time.monotonic() - began < ACSE_S + 6, f'an association request that drips is still waited for {ACSE_S + 6} s after the connection')
            peer.socket.sendall(whole[i:i + 1])
            time.sleep(0.05)
    peer.close()


def dripping(port):
    wide_request = request([(f'{CT}.{i}', [f'{EXPLICIT_LE}.{k}' for k in range(38)]) for i in range(128)])
    check(len(wide_request) > 100000, 'the large request is not large')
    everyone([lambda: drip(port, request(CONTEXTS), 0), lambda: drip(port, request(CONTEXTS), 100), lambda: drip(port, wide_request, 60000)] * 4)


def never_ends(port):
    def pdu_without_end():
        peer = propose(port, CONTEXTS, source='127.0.0.41').peer
        peer.socket.sendall(struct.pack('>BBIIBB', 4, 0, 100000, 99996, 1, 3) + bytes(50))
        closed_within(peer.socket, DIMSE_S * 2 + 5, 'a PDU that does not end')

    def data_set_without_end():
        peer = propose(port, CONTEXTS, source='127.0.0.42').peer
        begin_store(peer)
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while True:
                peer._send(4, struct.pack('>IBB', 12, 1, 0) + bytes(10))
                time.sleep(0.05)
                check(time.monotonic() - began < DIMSE_S * 3 + 5, 'a data set that drips is still taken')
        peer.close()

    def answer_not_read():
        """Echo after echo, and no answer is ever read: what waits to be sent is bounded."""
        peer = connect(port, source='127.0.0.43')
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.socket.sendall(request(CONTEXTS))
        read_answer(peer, CONTEXTS)
        peer.socket.settimeout(1)
        with contextlib.suppress(OSError):
            for _ in range(5000):
                peer._command(3, [(2, scu.VERIFICATION.encode()), (0x100, b'\x30\0'), (0x110, b'\1\0'), (0x800, b'\1\1')])
        reset(peer.socket)
    everyone([pdu_without_end, data_set_without_end, answer_not_read] * 4)


def wide(port):
    contexts = [(f'{CT}.{i}', [f'{EXPLICIT_LE}.{k}' for k in range(37)] + [EXPLICIT_LE]) for i in range(128)]
    for _ in range(20):
        answer = propose(port, contexts, source='127.0.0.44')
        same([c for c in answer.contexts if c != (0, EXPLICIT_LE)], [], 'what was not accepted of 128 contexts with 38 transfer syntaxes')
        answer.close()
    for _ in range(20):  # ninety thousand transfer syntaxes of no bytes: much more memory than bytes
        propose(port, [(CT, [''] * 15000)] * 6, source='127.0.0.44').close()


def lying(port):
    chance, whole = random.Random(11), request(CONTEXTS, user=[(0x53, b'\0\1\0\1'), (0x54, struct.pack('>H', len(CT)) + CT.encode() + b'\1\0')])
    for i in range(300):
        mutated = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 5))):
            at = chance.randrange(2, len(mutated)) if chance.random() < 0.8 else chance.randrange(2, 6)
            mutated[at] = chance.choice((0, 1, 0x7f, 0x80, 0xff, chance.randrange(256)))
        peer = connect(port, source='127.0.0.45', timeout=10)
        with contextlib.suppress(OSError):
            peer.socket.sendall(mutated)
            peer.socket.shutdown(socket.SHUT_WR)
        closed_within(peer.socket, ACSE_S + 5, f'association request {i} with lengths that are not true')


def begin_store(peer, size=None):
    peer._command(1, [(2, CT.encode()), (0x100, b'\1\0'), (0x110, b'\1\0'), (0x700, b'\0\0'), (0x800, b'\0\0'), (0x1000, b'2.25.666')])
    for _ in range((size or 0) // 10000):
        peer._send(4, struct.pack('>IBB', 10002, 1, 0) + bytes(10000))


def rude(port):
    for i in range(30):
        peer = propose(port, CONTEXTS, source='127.0.0.46').peer
        begin_store(peer, size=0 if i % 3 == 0 else 200000)
        if i % 3 == 0:
            peer._send(7, bytes(4))
            peer.close()
        elif i % 3 == 1:
            reset(peer.socket)
        else:
            peer.close()
    for words in (b'GET / HTTP/1.1\r\nHost: x\r\n\r\n', b'EHLO x\r\n', bytes.fromhex('1603010200010001fc0303') + bytes(500), b'SSH-2.0-x\r\n', b'\0' * 1000,
                  b'\xff' * 1000, struct.pack('>BBI', 1, 0, 0xffffffff) + bytes(1000), struct.pack('>BBI', 1, 0, 0), struct.pack('>BBI', 4, 0, 6) + bytes(6)):
        peer = connect(port, source='127.0.0.47')
        with contextlib.suppress(OSError):
            peer.socket.sendall(words)
        closed_within(peer.socket, ACSE_S + 5, f'a peer that says {words[:12]!r}')


def everyone(tasks):
    """All at once; the first trouble is raised."""
    troubles = []

    def one(task):
        try:
            task()
        except Exception as trouble:  # pylint: disable=broad-except
            troubles.append(trouble)
    threads = [threading.Thread(target=one, args=(t,), daemon=True) for t in tasks]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    if troubles:
        raise troubles[0]
    check(not any(t.is_alive() for t in threads), 'a hostile peer is still served after a minute')


def many_at_once(port):
    everyone([lambda k=k: k(port) for k in (idle, dripping, never_ends, wide, lying, rude)])


def test(build):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    settings = {'acse_timeout': ACSE_S, 'dimse_timeout': DIMSE_S, 'network_timeout': 5}
    with Installation(build, 'hostile', settings, counts={'validator': 0, 'uploader': 0, 'importer': 0}) as it:
        it.start()
        image = scu.read_part10(make_study(os.path.join(it.work, 'image'), 1, 20000, 5)[0])
        good = Modality(it.port, image)
        good.start()
        for kind in (idle, dripping, never_ends, wide, lying, rude, many_at_once):
            before, good.slowest, began = good.stored, 0.0, time.monotonic()
            kind(it.port)
            time.sleep(0.3)
            check(good.trouble is None, f'{kind.__name__}: the good modality got {good.trouble}')
            check(good.stored > before, f'{kind.__name__}: the good modality stored nothing')
            check(good.slowest < SLOWEST_S, f'{kind.__name__}: the good modality waited {good.slowest:.1f} s for one image')
            say(f'{kind.__name__}: {time.monotonic() - began:.1f} s, the good modality stored {good.stored - before}, the slowest in {good.slowest * 1000:.0f} ms')
        good.over.set()
        good.join(20)
        check(good.trouble is None, f'the good modality got {good.trouble}')
        until(lambda: len(established(it.port)) == 0, DIMSE_S + 5, 'no association is left')
        same(it.spool_files('tmp'), [], 'unfinished files')
        same(it.one('SELECT count(*) FROM instance'), good.stored, 'rows, all of them the good modality\'s')
        same(it.one("SELECT count(*) FROM instance WHERE calling_ae <> 'GOOD'"), 0, 'rows of others')
        largest = max(memory_of(pid)['Pss'] for kind, pid in it.processes() if kind in ('association', 'receiver'))
        say(f'the largest process of the receiver has {largest / 1024:.1f} MiB')
        check(largest < 20480 or 'asan' in build, 'memory of requests that are over does not go back')
        log = open(it.log_path, errors='replace').read()
        for word in ('association_process_died', 'AddressSanitizer', 'runtime error'):
            check(word not in log, f'the log speaks of "{word}"')
        peer = propose(it.port, CONTEXTS).peer  # that word comes when a process dies
        begin_store(peer, size=200000)
        time.sleep(0.3)
        for kind, pid in it.processes():
            if kind == 'association':
                os.kill(pid, 9)
        closed_within(peer.socket, 5, 'a peer whose process died')
        until(lambda: 'association_process_died' in open(it.log_path, errors='replace').read(), 5, 'the log tells of a process that died')
        same(scu.store_file('127.0.0.1', it.port, os.path.join(it.work, 'image', os.listdir(os.path.join(it.work, 'image'))[0])), 0, 'status after that')
        it.stop()
        it.check_invariants()


main(test)
