#!/usr/bin/env python3
"""full_disk_test BUILD_DIR - the disk of STORESCP_HOME, state.db included, is full to the last block while images come in: 0xA700, nothing left
behind, what was promised before stays, nobody runs hot or judges an image by the disk's fault; when there is space again all goes on by
itself. The disk is a small tmpfs, so this needs the right to mount (else 77)."""
import contextlib
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, LeftOut, check, main, make_study, same, say, until  # noqa: E402
import scu  # noqa: E402


def fill(path, leave_bytes):
    """Takes the free space of the disk except leave_bytes."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        if leave_bytes:
            info = os.statvfs(path)
            os.posix_fallocate(fd, 0, max(1, info.f_bavail * info.f_frsize - leave_bytes))
            return
        for piece in (1 << 16, 4096, 1):
            with contextlib.suppress(OSError):
                while os.write(fd, bytes(piece)):
                    pass
    finally:
        os.close(fd)


def send(it, paths):
    """-> status of each: one association for all of them; None without an answer."""
    answers, association = [], None
    for path in paths:
        part = scu.read_part10(path)
        try:
            association = association or scu.Association('127.0.0.1', it.port, [(part.sop_class, part.syntax)])
            answers.append(association.store(part))
        except (OSError, scu.Refused):
            association = None
            answers.append(None)
    if association:
        association.release()
    return answers


def look(it, sent, answers, what):
    """Success has its row and its file, a refusal has neither."""
    rows = {sop for (sop,) in it.query('SELECT sop_instance_uid FROM instance')}
    for path, answer in zip(sent, answers):
        check(answer in (0, None) or answer >> 8 == 0xa7, f'{what}: answered {answer}')
        check(answer is None or (os.path.basename(path)[:-4] in rows) == (answer == 0), f'{what}: answered {answer}, but the row says otherwise')
    named = {i for (i,) in it.query('SELECT id FROM instance')}
    loose = {n[:-4] for n in it.spool_files()} - named
    check(len(loose) <= answers.count(None), f'{what}: files left behind: {sorted(loose)}')
    if None not in answers:
        same(it.spool_files('tmp'), [], f'{what}: unfinished files')


def lines(it):
    with open(it.log_path, 'rb') as f:
        return f.read().count(b'\n')


def quiet(it, what):
    before = lines(it)
    time.sleep(3)
    check(lines(it) - before < 150, f'{what}: {lines(it) - before} log lines in 3 s')


def scenario(it, disk):
    ballast = os.path.join(disk, 'ballast')
    it.start()
    small = make_study(os.path.join(it.work, 'small'), 12, 2000, 900)
    large = make_study(os.path.join(it.work, 'large'), 12, 400000, 901)
    same(set(send(it, small[:4] + large[:4])), {0}, 'answers with space')

    # room for two or three of the large ones: the spool's write fails in the middle of a file
    fill(ballast, 1000000)
    answers = send(it, large[4:])
    check(0xa700 in answers, f'large instances on a disk with 1 MB: {answers}')
    look(it, large[4:], answers, 'nearly full')
    refused = [p for p, a in zip(large[4:], answers) if a != 0]

    # not a block: database and spool cannot grow any more
    fill(ballast, 0)
    answers = send(it, small[4:] + refused)
    check(0 not in answers or answers.count(0) < 3, f'answers on a full disk: {answers}')
    check(0xa700 in answers, f'nothing was refused on a full disk: {answers}')
    look(it, small[4:] + refused, answers, 'full')
    refused = [p for p, a in zip(small[4:] + refused, answers) if a != 0]
    quiet(it, 'full')
    same(it.one("SELECT count(*) FROM instance WHERE state IN ('quarantined', 'failed')"), 0, 'instances judged by the disk')

    # a stage that dies now comes back when it can
    for kind in ('validator', 'receiver'):
        for name, pid in it.processes():
            if name == kind:
                os.kill(pid, 9)
    time.sleep(2)
    os.unlink(ballast)

    def again():
        nonlocal refused
        refused = [p for p, a in zip(refused, send(it, refused)) if a != 0]
        return not refused
    until(again, 40, 'with space again everything is taken')
    it.settle(24)
    same(it.one('SELECT count(DISTINCT sop_instance_uid) FROM instance WHERE state = ?', it.end_state), 24, f'{it.end_state} SOP instances')
    same(it.count('quarantined', 'failed'), 0, 'refused instances')
    it.stop()
    it.check_invariants()


def test(build):
    if os.geteuid() != 0:
        raise LeftOut('only root may mount a tmpfs')
    with Installation(build, 'full-disk-work', {'spool_free_mb': 0, 'drain_s': 5}) as outer:
        disk = os.path.join(outer.work, 'disk')
        os.makedirs(disk)
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=24m', 'none', disk], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            raise LeftOut('no right to mount a tmpfs here')
        try:
            with Installation(build, 'full-disk', {'spool_free_mb': 0, 'drain_s': 5}, home=os.path.join(disk, 'home')) as it:
                scenario(it, disk)
        finally:
            subprocess.run(['umount', '-l', disk], check=False)
        say('nothing was lost and nothing was left behind')


main(test)
