"""crowd - senders for crash tests: many associations at once, everything sent again until it is acknowledged, and a ledger of what was.

The images are made on the way from the seed: small and large, many studies, some planned twice. The ledger knows for each
SOP Instance UID how many stores were acknowledged (the peer promised), refused (0xA7xx: the peer promised to keep nothing) or left
without an answer (nobody knows, the peer may have kept it). Nothing here ends a process; see chaos.py.
"""
import collections
import hashlib
import os
import queue
import random
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import make_dicom  # noqa: E402
import scu  # noqa: E402
from harness import Failure  # noqa: E402

Item = collections.namedtuple('Item', 'study number pixel_bytes modality')
CONTEXTS = [(make_dicom.SOP_CLASS[m], make_dicom.EXPLICIT_LE) for m in ('CT', 'MR')]
BURST = 24  # pieces of studies that come at once


class SlowAssociation(scu.Association):
    """As a real modality: a pause before each PDU. slow_s: the longest."""
    slow_s, rng = 0, random

    def _send(self, kind, body):
        if self.slow_s:
            time.sleep(self.rng.uniform(0, self.slow_s))
        super()._send(kind, body)


class Ledger:
    def __init__(self):
        self.lock = threading.Lock()
        self.acknowledged, self.refused, self.unanswered = collections.Counter(), collections.Counter(), collections.Counter()
        self.digest = {}  # SOP Instance UID -> SHA-256 of its data set
        self.size = {}
        self.no_association = 0

    def note(self, counter, sop):
        with self.lock:
            counter[sop] += 1


def plan(seed, instances, again=0.06):
    """-> list of studies, each a list of Items; about `again` of the instances stand in it a second time."""
    rng = random.Random(seed)
    studies, left, number = [], instances, 0
    while left > 0:
        size = min(left, rng.choice((1, 2, 5, 20, 40, 80, 150)))
        number += 1
        modality = rng.choice(('CT', 'MR'))
        items = []
        for k in range(size):
            pixels = rng.choices((512, 8 << 10, 64 << 10, 512 << 10, rng.randrange(1 << 20, 4 << 20)), (30, 30, 25, 12, 3))[0]
            items.append(Item(f'2.25.{seed + 1}{number:05}', k + 1, pixels, modality))
        studies.append(items)
        left -= size
    for _ in range(int(instances * again / 10)):  # runs of ten at the most, as a modality repeats them
        items = rng.choice(studies)
        begin = rng.randrange(len(items))
        studies.insert(rng.randrange(len(studies) + 1), items[begin:begin + 10])
    return studies


def make(item, seed):
    """-> scu.Part10; the same item gives the same bytes."""
    rng = random.Random(f'{seed} {item.study} {item.number}')
    sop, content = make_dicom.make(item.study, item.study + '.1', item.number, item.pixel_bytes, rng, item.modality)
    head = 132 + 12 + int.from_bytes(content[140:144], 'little')
    return scu.Part10(make_dicom.SOP_CLASS[item.modality], sop, make_dicom.EXPLICIT_LE, content[head:])


class Crowd:
    """`associations` threads that share one list of pieces of studies and spread it over `seconds`. before_store(): called before each
    store, from any of the threads."""

    def __init__(self, port, seed, instances, associations, seconds, before_store=lambda: None, limit_s=400):
        self.port, self.seed, self.ledger, self.before_store = port, seed, Ledger(), before_store
        self.failure = None
        self.limit = time.monotonic() + limit_s
        rng = random.Random(seed + 1)
        self.pieces = queue.Queue()
        pieces = []
        for items in plan(seed, instances):
            while items:
                size = rng.choice((1, 3, 10, 30))
                pieces.append(items[:size])
                items = items[size:]
        self.planned = sum(len(p) for p in pieces)
        begun = time.monotonic()
        for k, piece in enumerate(pieces):
            self.pieces.put((begun + seconds * (k // BURST * BURST) / len(pieces), piece))
        self.threads = [threading.Thread(target=self._run, args=(random.Random(seed * 100 + k),), daemon=True) for k in range(associations)]
        for thread in self.threads:
            thread.start()

    def busy(self):
        return any(thread.is_alive() for thread in self.threads)

    def join(self):
        for thread in self.threads:
            thread.join(max(0.1, self.limit + 60 - time.monotonic()))
        if self.failure:
            raise self.failure
        if self.busy():
            raise Failure('a sender does not come to its end')

    def _run(self, rng):
        try:
            while True:
                due, piece = self.pieces.get_nowait()
                time.sleep(max(0, due - time.monotonic()))
                todo = collections.deque(piece)
                while todo:
                    self._associate(todo, rng)
                    if todo:
                        if time.monotonic() > self.limit:
                            raise Failure(f'not acknowledged in time: {len(todo)} instances of {todo[0].study}')
                        time.sleep(rng.uniform(0.05, 0.4))
        except queue.Empty:
            pass
        except Failure as why:
            self.failure = why
        except Exception as why:  # a sender that dies silently would make the test pass for nothing
            self.failure = Failure(f'sender: {type(why).__name__}: {why}')

    def _associate(self, todo, rng):
        """One association; takes from `todo` what was acknowledged. Comes back when it broke or all was refused once."""
        ledger = self.ledger
        try:
            association = SlowAssociation('127.0.0.1', self.port, CONTEXTS, timeout=60)
        except (OSError, scu.Refused):
            ledger.no_association += 1
            return
        association.rng, association.slow_s = rng, rng.choice((0, 0.01, 0.1))
        try:
            for _ in range(len(todo)):
                part = make(todo[0], self.seed)
                sop = part.sop_instance
                with ledger.lock:
                    ledger.digest[sop], ledger.size[sop] = hashlib.sha256(part.data).hexdigest(), len(part.data)
                self.before_store()
                try:
                    status = association.store(part, max(1024, len(part.data) // 8 * 2))
                except (OSError, scu.Refused):
                    ledger.note(ledger.unanswered, sop)
                    return
                if status == 0:
                    ledger.note(ledger.acknowledged, sop)
                    todo.popleft()
                elif status >> 8 == 0xa7:
                    ledger.note(ledger.refused, sop)
                    todo.rotate(-1)
                else:
                    raise Failure(f'{sop} was answered with {status:04x}')
            association.release()
        finally:
            association.close()
