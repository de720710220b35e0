#!/usr/bin/env python3
"""watchdog: a worker that lives and does nothing is named by `status` and replaced by `up`; and so is the right one when everybody waits for the one that
was stopped inside a transaction. The others stay as they are. systemd is told that the main loop turns."""
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Failure, Installation, check, clean_environment, main, make_study, run_tool, same, say, until


def age_lock_files(it, pid, seconds=60):
    """As if this worker had stood still for a minute."""
    directory = os.path.join(it.home, 'state', 'workers')
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if open(path).read().split()[0] == str(pid):
            os.utime(path, (time.time() - seconds, time.time() - seconds))


def warnings(it):
    return '\n'.join(it.status()['warnings'])


def pid_of(it, stage):
    return dict(it.living())[stage]


def held(it):
    with open(os.path.join(it.home, 'state', 'write.lock')) as f:
        try:
            fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def named(it):
    """Without the watchdog: only `status` tells."""
    it.configure(watchdog_s=0)
    it.start_up()
    same([w for w in it.status()['warnings'] if 'gave no sign' in w], [], 'warnings while everybody works')
    importer = pid_of(it, 'importer')
    os.kill(importer, signal.SIGSTOP)
    age_lock_files(it, importer)
    words = warnings(it)
    check(f'importer-{importer}-' in words and 'gave no sign for' in words and 'stopped' in words and f'kill -9 {importer}' in words, f'the importer is named: {words}')
    check('write lock' not in words, f'nobody waits for it: {words}')
    os.kill(importer, signal.SIGCONT)
    until(lambda: 'gave no sign' not in warnings(it), 5, 'it works again')

    holder = subprocess.Popen([sys.executable, '-c', 'import fcntl, sys, time\nf = open(sys.argv[1])\nfcntl.flock(f, fcntl.LOCK_EX)\nprint("held", flush=True)\ntime.sleep(60)',
                               os.path.join(it.home, 'state', 'write.lock')], stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        time.sleep(1.2)  # everybody has come to it
        age_lock_files(it, importer)
        words = warnings(it)
        check(f'process {holder.pid}, which is no worker, holds the write lock' in words, f'who holds the lock is named: {words}')
        check('gave no sign' not in words, f'those who wait are not blamed: {words}')
    finally:
        holder.kill()
        holder.wait()
    it.stop()


def stop_inside_a_transaction(it, stage):
    """-> its process number: it holds the write lock, and is stopped."""
    pid = pid_of(it, stage)
    for _ in range(4000):
        os.kill(pid, signal.SIGSTOP)
        if held(it):
            time.sleep(0.02)
            if held(it):  # not another one's, which would have let it go
                return pid
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.001)
    raise Failure(f'the {stage} was never caught inside a transaction')


def replaced(it):
    it.configure(watchdog_s=2)
    it.start_up()
    importer = pid_of(it, 'importer')
    before = dict(it.living())
    os.kill(importer, signal.SIGSTOP)
    until(lambda: it.log_lines('stage_hung', 'stage=importer', f'pid={importer}', 'stopped=1', 'holds_write_lock=0'), 12, 'the stopped importer is noticed')
    until(lambda: dict(it.living()).get('importer', importer) != importer, 10, 'another importer works')
    same({k: v for k, v in it.living() if k != 'importer'}, {k: v for k, v in before.items() if k != 'importer'}, 'the other stages')

    study = make_study(os.path.join(it.work, 'study'), 60, 1000, 3)
    sender = subprocess.Popen(['storescu', '-aec', 'STORESCP', '127.0.0.1', str(it.port), *study], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              env=dict(clean_environment(), TCP_NODELAY='1'))
    try:
        receiver = stop_inside_a_transaction(it, 'receiver')
        before = dict(it.living())
        until(lambda: it.log_lines('stage_hung', f'pid={receiver}', 'holds_write_lock=1'), 15, 'the receiver that holds the lock is noticed')
    finally:
        sender.wait(60)
    until(lambda: dict(it.living()).get('receiver', receiver) != receiver, 15, 'another receiver works')
    same({k: v for k, v in it.living() if k != 'receiver'}, {k: v for k, v in before.items() if k != 'receiver'}, 'those who only waited')
    same(len(it.log_lines('stage_hung')), 2, 'processes that were taken for hung')
    run_tool('storescu', '-aec', 'STORESCP', '127.0.0.1', str(it.port), *study)  # the sender sends again
    it.settle(60)
    it.stop()
    it.check_invariants()


def told_to_systemd(it):
    path = os.path.join(it.work, 'notify')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(10)
        worker = subprocess.Popen([it.program('storescp-validator'), '--home', it.home], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  env={**clean_environment(), 'NOTIFY_SOCKET': path, 'WATCHDOG_USEC': '5000000'})
        try:
            same([s.recv(100) for _ in range(2)], [b'WATCHDOG=1'] * 2, 'what systemd hears')
        finally:
            worker.terminate()
            worker.wait(20)


def test(build):
    with Installation(build, 'watchdog') as it:
        it.need_cloud()
        it.start_aws()
        for part in (named, replaced, told_to_systemd):
            part(it)
            say(f'{part.__name__}: ok')


if __name__ == '__main__':
    main(test)
