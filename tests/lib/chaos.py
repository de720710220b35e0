"""chaos - ends processes of an Installation with SIGKILL again and again at random moments, by a seeded plan.

Targets come in rounds, so that every program is hit: receivers (recorders), association processes, validators, uploaders, importer, in
some rounds `storescpctl up` (which is started again here, as an init system would) and the stand-in for AWS. Between two kills lies a
pause of random length; then the moment is any, or a few milliseconds after a sender began a store (poke()), or when a file has just
come into obj/, because those are where it hurts.
"""
import collections
import os
import random
import signal
import threading
import time

ROUND = ('receiver', 'association', 'validator', 'uploader', 'importer', 'association', 'receiver')


def sockets(pid):
    """How many sockets a process has: an association process that serves somebody has one more than its channel."""
    count = 0
    try:
        for fd in os.listdir(f'/proc/{pid}/fd'):
            count += os.readlink(f'/proc/{pid}/fd/{fd}').startswith('socket:')
    except OSError:
        pass
    return count


class Chaos:
    def __init__(self, installation, seed, mean_s):
        self.it, self.rng, self.mean_s = installation, random.Random(seed), mean_s
        self.kills = collections.Counter()
        self.missed = 0
        self.poked, self.stopping = threading.Event(), threading.Event()
        self.failure = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def poke(self):
        self.poked.set()

    def stop(self):
        """No kill after this; whatever was killed last is there again."""
        self.stopping.set()
        self.thread.join(120)
        if self.failure:
            raise self.failure
        if self.it.supervisor is None:
            self.it.start_up(60)
        self.it.start_aws()

    def _targets(self):
        number = 0
        while True:
            kinds = list(ROUND) + (['up'] if number % 2 else []) + (['local-aws'] if number % 3 == 2 else [])
            self.rng.shuffle(kinds)
            yield from kinds
            number += 1

    def _run(self):
        try:
            for kind in self._targets():
                self.stopping.wait(self.rng.expovariate(1 / self.mean_s))
                if self.stopping.is_set():
                    return
                self._kill(kind)
        except Exception as why:  # e.g. `up` does not come back: the test must hear of it
            self.failure = why

    def _moment(self):
        """Waits for the moment, a second at the most."""
        which, spool = self.rng.random(), os.path.join(self.it.home, 'spool', 'obj')
        if which < 0.4:
            self.poked.clear()
            self.poked.wait(1)
            time.sleep(self.rng.uniform(0, 0.005))
        elif which < 0.7:
            before, end = os.stat(spool).st_mtime_ns, time.monotonic() + 1
            while os.stat(spool).st_mtime_ns == before and time.monotonic() < end:
                time.sleep(0.0002)
            time.sleep(self.rng.uniform(0, 0.002))

    def _kill(self, kind):
        if kind == 'up':
            self.it.supervisor.kill()
            self.it.supervisor.wait()
            self.it.supervisor = None
            self.kills[kind] += 1
            time.sleep(self.rng.uniform(0, 1))
            self.it.start_up(60)
        elif kind == 'local-aws':
            if self.it.aws:
                self.it.stop_aws()
                self.kills[kind] += 1
                time.sleep(self.rng.uniform(0, 2))
                self.it.start_aws()
        else:
            pids = sorted(pid for name, pid in self.it.processes() if name == kind)
            if kind == 'association':
                pids = [pid for pid in pids if sockets(pid) > 1] or pids
            pid = self.rng.choice(pids) if pids else None
            self._moment()
            if pid is None or (kind, pid) not in self.it.processes_of([pid]):
                self.missed += 1  # on its way back from the last kill
                return
            os.kill(pid, signal.SIGKILL)
            self.kills[kind] += 1
