#!/usr/bin/env python3
"""reload_test BUILD_DIR - settings that change while everything runs: `storescpctl reload` and SIGHUP. New rules hold for new associations, those that
stand end with the old ones; wrong settings are named and change nothing, not even for processes that are started meanwhile; what cannot change is
said; no stage dies of it; images under way are not disturbed. Then SIGTERM: an object in the middle is finished, who is idle is let go, exit 0."""
import concurrent.futures
import os
import signal
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, free_port, main, make_study, run_tool, same, say, until  # noqa: E402
import scu  # noqa: E402


def connect(it, part, title):
    return scu.Association('127.0.0.1', it.port, [(part.sop_class, part.syntax)], calling=title, timeout=30)


def may_come(it, part, title):
    try:
        connect(it, part, title).release()
        return True
    except scu.Refused:
        return False


def receiver(it):
    return next(pid for kind, pid in it.processes() if kind == 'receiver')


def rules(it, parts):
    stands = connect(it, parts[0], 'OLD')
    same(stands.store(parts[0]), 0, 'before')
    check(may_come(it, parts[0], 'NEW'), 'anybody may come at first')
    before = sorted(pid for kind, pid in it.processes() if kind in ('receiver', 'validator', 'uploader', 'importer'))
    names = {name for (name,) in it.query('SELECT name FROM worker')}
    port = it.port
    it.configure(require_calling_ae_title='NEW', scp_port=free_port())
    check(may_come(it, parts[0], 'OLD'), 'a changed file alone changes nothing')
    it.ctl('reload')
    until(lambda: not may_come(it, parts[0], 'OLD'), 5, 'the new rule holds')
    check(may_come(it, parts[0], 'NEW'), 'and lets the other one in')
    until(lambda: it.log_lines('settings_need_restart', 'scp_port'), 5, 'the log says what cannot change')
    same(stands.store(parts[1]), 0, 'an association that stands goes on with the old ones')
    stands.release()
    until(lambda: len({name for (name,) in it.query('SELECT name FROM worker')} - names) == 3, 15, 'validator, uploader and importer have begun anew')
    same(sorted(pid for kind, pid in it.processes() if kind in ('receiver', 'validator', 'uploader', 'importer')), before, 'processes of the stages')
    same(it.log_lines('stage_died'), [], 'stages that died')
    it.configure(scp_port=port, require_calling_ae_title='')
    it.ctl('reload')
    until(lambda: may_come(it, parts[0], 'OLD'), 5, 'the rule is gone again')
    say('new settings hold for new associations')


def wrong(it, parts):
    it.configure(association_reuse=1)
    it.ctl('reload')
    time.sleep(0.5)
    good = len(it.log_lines('settings_reloaded'))
    with open(os.path.join(it.home, 'storescp.conf'), 'a') as f:
        f.write('scp_prot = 1\n')
    it.ctl('reload', code=1)
    for kind, pid in it.processes():
        if kind in ('receiver', 'validator', 'uploader', 'importer'):
            os.kill(pid, signal.SIGHUP)
    line = len(it.settings) + 1
    for stage in ('receiver', 'validator', 'uploader', 'importer'):
        until(lambda s=stage: it.log_lines(f'error {s}[', 'settings_kept', f'line {line}', 'scp_prot'), 10, f'the {stage} names the line')
    same(len(it.log_lines('settings_reloaded')), good, 'nothing was taken over')
    for i in range(12):  # each on a process that was started while the file was wrong
        a = connect(it, parts[2], 'ANY')
        same(a.store(parts[2 + i]), 0, 'a new process knows the good settings')
        a.release()
    it.configure(association_reuse=500)
    same(it.log_lines('stage_died'), [], 'stages that died')
    say('wrong settings are named and change nothing')


def under_load(it):
    directories = []
    for i in range(4):
        directories.append(os.path.join(it.work, f'load{i}'))
        make_study(directories[-1], 60, 200000, 500 + i)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(run_tool, 'dcmsend', '--scan-directories', '127.0.0.1', str(it.port), d) for d in directories]
        for i in range(5):
            it.configure(maximum_object_mb=100 + i)
            it.ctl('reload')
            time.sleep(0.3)
        for job in jobs:
            code, output = job.result()
            same(code, 0, f'dcmsend while settings change ({output[-300:]})')
    it.settle(14 + 240, seconds=90)
    same(it.one("SELECT count(*) FROM instance WHERE state NOT IN ('imported', 'duplicate')"), 0, 'instances that were not imported')
    say('240 images while settings changed five times')


def drain(it, parts):
    """SIGTERM in the middle of an object."""
    it.configure(drain_s=8)
    it.ctl('reload')
    time.sleep(0.5)
    idle, busy, part = connect(it, parts[15], 'IDLE'), connect(it, parts[15], 'BUSY'), parts[15]
    context = busy.accepted[part.sop_class, part.syntax]
    busy._command(context, [(2, part.sop_class.encode()), (0x100, b'\1\0'), (0x110, struct.pack('<H', 1)), (0x700, b'\0\0'), (0x800, b'\1\0'),
                            (0x1000, part.sop_instance.encode())])
    busy._send(4, struct.pack('>IBB', 1002, context, 0) + part.data[:1000])
    time.sleep(0.3)
    begun = time.monotonic()
    it.supervisor.send_signal(signal.SIGTERM)
    same(idle._receive()[0], 7, 'who is idle is aborted')
    check(time.monotonic() - begun < 4, 'and soon')
    try:
        connect(it, part, 'LATE').release()
        check(False, 'somebody came in while the receiver stops')
    except (OSError, scu.Refused):
        pass
    busy._send(4, struct.pack('>IBB', len(part.data) - 1000 + 2, context, 2) + part.data[1000:])
    same(busy._status(), 0, 'the object in the middle')
    same(busy._receive()[0], 7, 'and then its association ends')
    same(it.supervisor.wait(20), 0, 'exit code')
    check(time.monotonic() - begun < 9, f'the stop took {time.monotonic() - begun:.1f} s')
    it.supervisor = None
    same(it.one('SELECT count(*) FROM instance WHERE sop_instance_uid = ?', part.sop_instance), 1, 'rows of the object')
    it.start_up()
    it.settle()
    say('SIGTERM: the object in hand is finished, idle ones go, nobody comes in')


def stop_while_reloading(it):
    """A SIGTERM that came while the stages were starting anew used to be lost between the two programs: `up` waited for its whole time and killed them."""
    it.ctl('reload')
    begun = time.monotonic()
    it.stop()
    check(time.monotonic() - begun < 5, f'the stop took {time.monotonic() - begun:.1f} s')
    say('SIGTERM right after a reload: all go at once')


def test(build):
    with Installation(build, 'reload') as it:
        it.need_cloud()
        it.start()
        parts = [scu.read_part10(p) for p in make_study(os.path.join(it.work, 'study'), 16, 2000, 88)]
        rules(it, parts)
        wrong(it, parts)
        under_load(it)
        drain(it, parts)
        stop_while_reloading(it)
        it.check_invariants()


main(test)
