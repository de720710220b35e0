#!/usr/bin/env python3
"""success_test BUILD_DIR - when success is sent: success_at = spool, s3, imported for different senders. While S3 is away only those who wait for it
wait; what is refused later ends the wait with its reason; the end of success_wait_s does what success_timeout says, and the image is kept
either way; a re-send becomes a duplicate whose answer waits for its twin; a sender that leaves, and a receiver that dies, lose nothing."""
import os
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, main, make_study, same, say, until  # noqa: E402
import scu  # noqa: E402

AWAY = {'operation': 'PutObject', 'action': 'error', 'status': 503, 'code': 'ServiceUnavailable'}
SECTIONS = {'ae S3': {'success_at': 's3', 'success_wait_s': 60},
            'ae HASTY': {'success_at': 's3', 'success_wait_s': 1},
            'ae TRUSTING': {'success_at': 's3', 'success_wait_s': 1, 'success_timeout': 'success'},
            'ae IMPORTED': {'success_at': 'imported', 'success_wait_s': 60}}


def send(it, title, part, timeout=90):
    """-> (status, comment, seconds)"""
    a = scu.Association('127.0.0.1', it.port, [(part.sop_class, part.syntax)], calling=title, timeout=timeout)
    begun = time.monotonic()
    status = a.store(part)
    seconds = time.monotonic() - begun
    a.release()
    return status, a.comment, seconds


class Background(threading.Thread):
    def __init__(self, *arguments):
        super().__init__(daemon=True)
        self.arguments, self.answer = arguments, None
        self.start()

    def run(self):
        try:
            self.answer = send(*self.arguments)
        except (OSError, scu.Refused) as why:
            self.answer = (None, str(why), 0)


def state_of(it, part):
    rows = it.query('SELECT state FROM instance WHERE sop_instance_uid = ? ORDER BY id', part.sop_instance)
    return [state for (state,) in rows]


def the_point_is_reached(it, parts):
    status, _, _ = send(it, 'S3', parts[0])
    same(status, 0, 'status at s3')
    check(state_of(it, parts[0])[0] in ('uploaded', 'importing', 'imported'), f'success was sent for {state_of(it, parts[0])}')
    status, _, seconds = send(it, 'IMPORTED', parts[1])
    same((status, state_of(it, parts[1])), (0, ['imported']), 'status and state at imported')
    check(seconds < 15, f'imported took {seconds:.1f} s: the batch did not close for its sender (batch_quiet_ms is 60 s)')
    # several that wait for one study share a job
    waiting = [Background(it, 'IMPORTED', part) for part in parts[2:6]]
    for one in waiting:
        one.join(60)
        same(one.answer and one.answer[0], 0, 'status of one of several')
    say('success comes when the point is reached')


def outage(it, parts):
    it.fault(AWAY)
    waits = Background(it, 'S3', parts[6])
    status, _, seconds = send(it, 'ANYBODY', parts[7])
    check(status == 0 and seconds < 5, f'a sender with the default waited {seconds:.1f} s, status {status:04x}')
    status, comment, seconds = send(it, 'HASTY', parts[8])
    same(status, 0xa700, 'status at the end of success_wait_s')
    check(0.9 < seconds < 5, f'success_wait_s of 1 took {seconds:.1f} s')
    row = it.one('SELECT id FROM instance WHERE sop_instance_uid = ?', parts[8].sop_instance)
    check(row in comment, f'the comment names the instance: {comment!r}')
    same(send(it, 'TRUSTING', parts[9])[0], 0, 'status with success_timeout = success')
    gone = scu.Association('127.0.0.1', it.port, [(parts[10].sop_class, parts[10].syntax)], calling='S3')
    gone.socket.settimeout(1)
    try:
        gone.store(parts[10])
        check(False, 'an answer while S3 is away')
    except OSError:
        gone.close()
    until(lambda: it.log_lines('answer_sent', 'its sender has gone'), 10, 'a sender that leaves is noticed')
    check(waits.is_alive(), f'answered while S3 was away: {waits.answer}')
    # sent again while the first one still waits: a duplicate, which waits for its twin
    twin = Background(it, 'S3', parts[8])
    until(lambda: state_of(it, parts[8]).count('duplicate') == 1, 20, 'the re-send is a duplicate')
    time.sleep(0.3)
    check(twin.is_alive(), f'the duplicate was answered before its twin was in S3: {twin.answer}')
    it.fault()
    for one in (waits, twin):
        one.join(90)
        same(one.answer and one.answer[0], 0, 'status when S3 is back')
    check(it.one('SELECT uploaded_ms FROM instance WHERE sop_instance_uid = ? AND state <> ?', parts[8].sop_instance, 'duplicate') is not None, 'the twin is in S3')
    say('an outage of S3: who waits, waits; nothing is lost')


def refused(it, parts):
    wrong = parts[11]._replace(sop_instance='2.25.99')  # the data set names another one
    status, comment, _ = send(it, 'S3', wrong)
    same((status, comment.split(':')[0]), (0xa900, 'DICOM_UID_MISMATCH'), 'a data set that contradicts its request')
    broken = parts[11]._replace(sop_instance='2.25.98', data=b'\x08\0\x05\0CS' + b'\xff' * 8)
    status, comment, _ = send(it, 'S3', broken)
    same(status, 0xc000, 'a data set that cannot be read')
    check(comment.startswith('DICOM_'), f'the comment says why: {comment!r}')
    same(it.count('quarantined'), 2, 'both are kept, in quarantine')
    say('what is quarantined ends the wait with the reason')


def listens(it):
    try:
        scu.Association('127.0.0.1', it.port, [(scu.VERIFICATION, scu.IMPLICIT_LE)], timeout=5).release()
        return True
    except (OSError, scu.Refused):
        return False


def deaths(it, parts):
    it.fault(AWAY)
    waits = Background(it, 'S3', parts[12])
    until(lambda: state_of(it, parts[12]), 10, 'it has its row')
    for kind, pid in it.processes():
        if kind == 'receiver':
            os.kill(pid, signal.SIGKILL)
    waits.join(20)
    same(waits.answer and waits.answer[0], None, 'no answer from a receiver that died')
    until(lambda: listens(it), 20, 'the receiver is back')
    # SIGTERM: no success that is not true, and no wait beyond drain_s
    patient = Background(it, 'S3', parts[14])
    until(lambda: state_of(it, parts[14]), 10, 'it has its row')
    begun = time.monotonic()
    it.stop()
    patient.join(5)
    check(time.monotonic() - begun < it.settings['drain_s'] + 6, 'the drain took longer than drain_s')
    same(patient.answer and patient.answer[0], 0xa700, 'who waits is answered A700 when the receiver stops')
    it.fault()
    it.start_up()
    it.settle()
    same(it.one("SELECT count(*) FROM instance WHERE state NOT IN ('imported', 'duplicate', 'quarantined')"), 0, 'instances without their end')
    say('deaths and a stop while somebody waits lose nothing')


def test(build):
    with Installation(build, 'success', {'batch_quiet_ms': 60000, 'drain_s': 6}) as it:
        it.need_cloud()
        it.sections = SECTIONS
        it.configure()
        it.start()
        parts = [scu.read_part10(p) for p in make_study(os.path.join(it.work, 'study'), 16, 2000, 77)]
        the_point_is_reached(it, parts)
        outage(it, parts)
        refused(it, parts)
        it.configure(batch_quiet_ms=1000)
        deaths(it, parts)
        it.stop()
        it.check_invariants()


main(test)
