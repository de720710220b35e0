"""chaos - ends processes of an Installation with SIGKILL again and again at random moments, by a seeded plan.

Targets come in rounds, so that every program is hit: receivers (recorders), association processes, validators, uploaders, importer, in
some rounds `storescpctl up` (which is started again here, as an init system would) and the stand-in for AWS. Between two kills lies a
pause of random length; then the moment is any, or a few milliseconds after a sender began a store (poke()), or just after an effect of
the target is seen outside and perhaps not yet recorded: a file in obj/, an object in S3, a job. Those are where it hurts. Between
kills the stand-in is told to make trouble: lost answers, errors, jobs that fail.
"""
import collections
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request

TROUBLES = (  # of AWS, each a few times; all of them heal, and none makes a second import right
    {'operation': 'PutObject', 'action': 'reset_after'}, {'operation': 'PutObject', 'action': 'error', 'status': 503, 'code': 'SlowDown'},
    {'operation': 'PutObject', 'action': 'hang', 'ms': 300}, {'operation': 'PutObject', 'action': 'delay', 'ms': 400},
    {'operation': 'PutObject', 'action': 'wrong_checksum'},
    {'operation': 'StartDICOMImportJob', 'action': 'reset_after'}, {'operation': 'StartDICOMImportJob', 'action': 'reset_after'},
    {'operation': 'StartDICOMImportJob', 'action': 'error', 'status': 500, 'code': 'InternalServerException'},
    {'operation': 'GetDICOMImportJob', 'action': 'error', 'status': 429, 'code': 'ThrottlingException'}, {'operation': 'GetDICOMImportJob', 'action': 'reset'},
    {'operation': 'ListDICOMImportJobs', 'action': 'error', 'status': 500, 'code': 'InternalServerException'},
    {'operation': 'GetObject', 'key': 'job-output-manifest.json', 'action': 'error', 'status': 404, 'code': 'NoSuchKey'},
    {'operation': 'GetObject', 'key': 'ndjson', 'action': 'reset'},
    {'operation': 'ImportJob', 'action': 'job_failed'}, {'operation': 'ImportJob', 'action': 'job_failed', 'partial': True},
    {'operation': 'ImportFile', 'action': 'server_error'})
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
    def __init__(self, installation, seed, mean_s, calm_aws=False):
        self.it, self.rng, self.mean_s = installation, random.Random(seed), mean_s
        self.kills = collections.Counter()
        self.missed, self.troubles, self.calm_aws = 0, 0, calm_aws
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
            kinds = list(ROUND) + (['up'] if number % 2 else []) + (['local-aws'] if number % 3 == 2 else []) + (['trouble'] if self.it.cloud and not self.calm_aws else [])
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

    def _effect(self, kind):
        """What changes outside when a process of this kind has done something and not yet recorded it."""
        path = {'uploader': (self.it.aws_directory, 'puts.log'), 'importer': (self.it.aws_directory, 'jobs'),
                'validator': (self.it.home, 'state', 'state.db-wal')}.get(kind, (self.it.home, 'spool', 'obj'))
        return os.path.join(*path)

    def _shoot(self, fd, kind):
        """Ends the process behind fd at some moment, two seconds from now at the latest."""
        which = self.rng.random()
        if which < 0.55 or (which < 0.8 and kind == 'importer'):
            words = (str(fd), '2' if kind == 'importer' else '1', str(self.rng.choice((0, 0, self.rng.uniform(0, 0.002)))), self._effect(kind))
            code = subprocess.run([sys.executable, '-I', os.path.abspath(__file__), *words], pass_fds=[fd], timeout=20, check=False).returncode
            if code != 0:
                raise ProcessLookupError
            return
        if which < 0.8:
            self.poked.clear()
            self.poked.wait(1)
            time.sleep(self.rng.uniform(0, 0.005))
        signal.pidfd_send_signal(fd, signal.SIGKILL)

    def _kill(self, kind):
        if kind == 'up':
            self.it.supervisor.kill()
            self.it.supervisor.wait()
            self.it.supervisor = None
            self.kills[kind] += 1
            time.sleep(self.rng.uniform(0, 1))
            self.it.start_up(60)
        elif kind == 'trouble':
            rules = [dict(rule, times=self.rng.randrange(1, 4)) for rule in self.rng.sample(TROUBLES, 4)]
            url = f'http://127.0.0.1:{self.it.aws_port}/_local/faults'
            request = urllib.request.Request(url, data=json.dumps(rules).encode(), method='POST')
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30).close()
            self.troubles += len(rules)
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
            try:
                fd = os.pidfd_open(self.rng.choice(pids))  # names this very process, whoever gets its number later
            except (ProcessLookupError, IndexError):
                self.missed += 1  # on its way back from the last kill
                return
            try:
                self._shoot(fd, kind)
                self.kills[kind] += 1
            except ProcessLookupError:
                self.missed += 1
            finally:
                os.close(fd)


def watch_and_shoot(fd, limit_s, delay_s, path):
    """A process of its own, because the threads of the senders would take the interpreter away for longer than the moment lasts."""
    def look():
        try:
            if os.path.basename(path) == 'jobs':  # a new one; old ones change all the time
                return sum(name.endswith('.json') for name in os.listdir(path))
            info = os.stat(path)
            return info.st_mtime_ns, info.st_size
        except FileNotFoundError:
            return None
    before, end = look(), time.monotonic() + limit_s
    while look() == before and time.monotonic() < end:
        time.sleep(0.00005)
    time.sleep(delay_s)
    try:
        signal.pidfd_send_signal(fd, signal.SIGKILL)
    except ProcessLookupError:
        return 3
    return 0


if __name__ == '__main__':
    sys.exit(watch_and_shoot(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), sys.argv[4]))
