"""bench - a receiver under measurement: ours or another one, started for each measurement, loaded by store_load, its processes' CPU time and memory
taken from /proc."""
import os
import subprocess
import sys
import threading
import time

from harness import clean_environment, free_port, until

TICK = os.sysconf('SC_CLK_TCK')
PAGE = os.sysconf('SC_PAGE_SIZE')


def stat_of(pid):
    with open(f'/proc/{pid}/stat') as f:
        return f.read().rsplit(')', 1)[1].split()


def family(root):
    """root and its descendants"""
    children = {}
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            children.setdefault(int(stat_of(pid)[1]), []).append(int(pid))
        except OSError:
            pass
    found, left = [], [root]
    while left:
        pid = left.pop()
        found.append(pid)
        left += children.get(pid, [])
    return found


def cpu_seconds(root):
    """of the living, and of the dead that were waited for"""
    total = 0
    for pid in family(root):
        try:
            fields = stat_of(pid)
            total += sum(int(fields[i]) for i in (11, 12, 13, 14))
        except OSError:
            pass
    return total / TICK


class Memory(threading.Thread):
    def __init__(self, root):
        super().__init__(daemon=True)
        self.root, self.peak, self.over = root, 0, threading.Event()

    def run(self):
        while not self.over.wait(0.02):
            total = 0
            for pid in family(self.root):
                try:
                    total += int(stat_of(pid)[21]) * PAGE
                except OSError:
                    pass
            self.peak = max(self.peak, total)


class Receiver:
    def __init__(self, name, start, fresh):
        self.name, self.start, self.fresh = name, start, fresh

    def measure(self, build, associations, instances, data_bytes, seed, per_association=0):
        """-> (instances/s, CPU seconds, peak memory in bytes)"""
        self.fresh()
        port = free_port()
        process = subprocess.Popen(self.start(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(clean_environment(), TCP_NODELAY='1'))
        try:
            until(lambda: subprocess.run(['echoscu', '127.0.0.1', str(port)], stderr=subprocess.DEVNULL, check=False).returncode == 0, 10, f'{self.name} answers')
            time.sleep(0.3)  # the pool of association processes fills
            os.sync()
            memory, cpu = Memory(process.pid), cpu_seconds(process.pid)
            memory.start()
            done = subprocess.run([os.path.join(build, 'bin', 'store_load'), '127.0.0.1', str(port), str(associations), str(instances), str(data_bytes), str(seed),
                                   str(per_association)],
                                  capture_output=True, text=True, timeout=300, check=False)
            if done.returncode != 0:
                sys.exit(f'{self.name}: the sender ended with {done.returncode} {done.stdout} {done.stderr}')
            seconds, stored, refused = done.stdout.split()
            if int(stored) != instances:
                sys.exit(f'{self.name}: {stored} stored and {refused} refused of {instances}')
            time.sleep(0.1)  # children of storescp --fork are waited for
            memory.over.set()
            return instances / float(seconds), cpu_seconds(process.pid) - cpu, memory.peak
        finally:
            process.terminate()
            process.wait()
