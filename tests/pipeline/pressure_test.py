#!/usr/bin/env python3
"""pressure_test BUILD_DIR - the ladder of back-pressure, by the disk (a small tmpfs: needs the right to mount, else that part is left out) and by the
backlog: slower answers, A700, transient rejection, each left only with 10 percent more room; senders with priority use the reserve; status and
log say what presses. Then the limits of associations and objects: instances, bytes, time, bytes of unfinished objects."""
import contextlib
import os
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, LeftOut, check, main, make_study, same, say, until  # noqa: E402
import scu  # noqa: E402

CT, EXPLICIT_LE = '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1'


class Sender:
    def __init__(self, it, directory, bytes_each=2000):
        self.it, self.number = it, 0
        self.part = scu.read_part10(make_study(os.path.join(it.work, directory), 1, bytes_each, 5 + bytes_each)[0])

    def connect(self, title='ANY', timeout=30):
        return scu.Association('127.0.0.1', self.it.port, [(self.part.sop_class, self.part.syntax)], calling=title, timeout=timeout)

    def next(self):
        """The same image under another UID of the same length, in request and data set."""
        self.number += 1
        uid = f'{self.part.sop_instance[:-7]}.{self.number:06d}'
        return self.part._replace(sop_instance=uid, data=self.part.data.replace(self.part.sop_instance.encode(), uid.encode()))

    def send(self, title='ANY'):
        """-> (answer, seconds); answer: a status, or result, source and reason of a rejection as text"""
        try:
            a = self.connect(title)
        except scu.Refused as why:
            return str(why)[-6:], 0
        begun = time.monotonic()
        status = a.store(self.next())
        self.comment = a.comment
        seconds = time.monotonic() - begun
        a.release()
        return status, seconds


def disk(it, sender, directory):
    ballast = os.path.join(directory, 'ballast')

    def leave(mb, step):
        """Leaves so much free, and waits until the receiver says that step. Never more or less in between: it may look at any moment."""
        info = os.statvfs(directory)
        with open(ballast, 'ab') as f:
            size = max(1, os.fstat(f.fileno()).st_blocks * 512 + info.f_bavail * info.f_frsize - mb * 1000000)
            os.ftruncate(f.fileno(), min(size, os.fstat(f.fileno()).st_size))
            os.posix_fallocate(f.fileno(), 0, size)
        time.sleep(0.6)
        got = [line.split(' step=')[1].split()[0] for line in it.log_lines(' pressure_')]
        same(got[-1] if got else 'none', step, f'step with {mb} MB free')

    leave(58, 'none')
    status, seconds = sender.send()
    check(status == 0 and seconds < 1.1, f'with room: {status}, {seconds:.1f} s')
    leave(46, 'slow')
    status, seconds = sender.send()
    check(status == 0 and seconds >= 1.2, f'slow: {status}, {seconds:.1f} s')
    status, seconds = sender.send('PRIO')
    check(status == 0 and seconds < 1.1, f'slow, with priority: {status}, {seconds:.1f} s')
    leave(35, 'refuse')
    same(sender.send()[0], 0xa700, 'refused')
    check(sender.comment.startswith('DISK_FULL'), f'comment: {sender.comment!r}')
    same(sender.send('PRIO')[0], 0, 'with priority, from the reserve')
    status = it.ctl('status')
    check('WARN receiver' in status and 'pressed: images are refused' in status and 'spool_free_mb is 40' in status, f'status tells: {status}')
    leave(27, 'refuse')
    same(sender.send('PRIO')[0], 0xa700, 'with priority, the reserve is used up')
    leave(15, 'reject')
    same(sender.send()[0], '020301', 'rejected: transient, temporary congestion')
    leave(21, 'reject')
    leave(25, 'refuse')
    leave(42, 'refuse')
    leave(48, 'slow')
    leave(58, 'none')
    same(sender.send()[0], 0, 'all is as before')
    check(all('remedy=' in line for line in it.log_lines('pressure_grows')), 'each step up says what to do')
    it.settle()
    it.stop()
    it.check_invariants()
    say('disk: four steps up and down')


def by_disk(build):
    if os.geteuid() != 0:
        say('left out: the ladder by the disk; only root may mount a tmpfs')
        return
    with Installation(build, 'pressure-work') as outer:
        directory = os.path.join(outer.work, 'disk')
        os.makedirs(directory)
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=66m', 'none', directory], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            say('left out: the ladder by the disk; no right to mount a tmpfs here')
            return
        try:
            with Installation(build, 'pressure', {'spool_slow_free_mb': 50, 'spool_free_mb': 40, 'spool_reject_free_mb': 20, 'priority_reserve_mb': 10,
                                                  'slow_answer_ms': 1200}, home=os.path.join(directory, 'home')) as it:
                it.sections = {'ae PRIO': {'priority': 'true'}}
                it.configure()
                it.start()
                disk(it, Sender(it, 'image'), directory)
        finally:
            subprocess.run(['umount', '-l', directory], check=False)


def by_backlog(build):
    with Installation(build, 'backlog', {'backlog_slow_mb': 1, 'backlog_refuse_count': 3, 'backlog_reject_count': 5}, counts={'uploader': 0, 'importer': 0}) as it:
        it.sections = {'ae PRIO': {'priority': 'true'}}
        it.configure()
        it.start()
        sender = Sender(it, 'image')
        for _ in range(3):
            same(sender.send()[0], 0, 'below the backlog')
        until(lambda: it.log_lines('pressure_grows', 'step=refuse', 'backlog_refuse_count is 3'), 10, 'the backlog presses')
        same(sender.send()[0], 0xa700, 'refused')
        check(sender.comment.startswith('BACKLOG'), f'comment: {sender.comment!r}')
        for _ in range(2):
            same(sender.send('PRIO')[0], 0, 'with priority')
        until(lambda: it.log_lines('pressure_grows', 'step=reject'), 10, 'the backlog presses more')
        same(sender.send()[0], '020301', 'rejected: transient, temporary congestion')
        same(sender.send('PRIO')[0], 0, 'with priority')
        it.stop()
        say('backlog: refused and rejected, priority excepted')


def begin_object(association, part, bytes_now):
    """A C-STORE request and some bytes of its data set, not the last."""
    context = association.accepted[part.sop_class, part.syntax]
    association.message += 1
    association._command(context, [(2, part.sop_class.encode()), (0x100, b'\1\0'), (0x110, struct.pack('<H', association.message)), (0x700, b'\0\0'),
                                   (0x800, b'\1\0'), (0x1000, part.sop_instance.encode())])
    for at in range(0, bytes_now, 100000):
        piece = part.data[at:min(at + 100000, bytes_now)]
        association._send(4, struct.pack('>IBB', len(piece) + 2, context, 0) + piece)
    return context


def end_object(association, part, bytes_sent, context):
    for at in range(bytes_sent, len(part.data), 100000):
        piece = part.data[at:at + 100000]
        association._send(4, struct.pack('>IBB', len(piece) + 2, context, 2 if at + 100000 >= len(part.data) else 0) + piece)
    return association._status()


def ended_after(association, most):
    """Seconds until the receiver ends it by A-ABORT of the service provider."""
    begun = time.monotonic()
    association.socket.settimeout(most + 10)
    kind, body = association._receive()
    same((kind, body[2:4]), (7, b'\2\0'), 'A-ABORT, source service provider')
    association.close()
    return time.monotonic() - begun


def limits(build):
    with Installation(build, 'limits', {'in_flight_mb': 5}, counts={'uploader': 0, 'importer': 0}) as it:
        it.sections = {'ae COUNT': {'association_instances': 2}, 'ae BYTES': {'association_mb': 5}, 'ae LONG': {'association_s': 2}, 'ae DRIP': {'object_s': 2}}
        it.configure()
        it.start()
        small, large = Sender(it, 'small'), Sender(it, 'large', 3000000)
        huge = Sender(it, 'huge', 12000000)
        a = small.connect('COUNT')
        same([a.store(small.next()) for _ in range(3)], [0, 0, 0xa700], 'association_instances = 2')
        check(a.comment.startswith('LIMIT_REACHED'), f'comment: {a.comment!r}')
        a.release()
        same(small.send('COUNT')[0], 0, 'on another association')
        a = large.connect('BYTES')
        same([a.store(large.next()), a.store(large.next()), a.store(small.next()._replace(sop_class=large.part.sop_class))], [0, 0xa700, 0], 'association_mb = 5')
        a.release()
        seconds = ended_after(small.connect('LONG'), 2)
        check(1.5 < seconds < 4.5, f'association_s = 2 took {seconds:.1f} s')
        a, part = large.connect('DRIP'), large.next()
        begun = time.monotonic()
        context = begin_object(a, part, 100000)
        with contextlib.suppress(OSError):
            for at in range(100000, 200000, 5000):  # more than the least that dimse_timeout asks for
                a._send(4, struct.pack('>IBB', 5002, context, 0) + part.data[at:at + 5000])
                time.sleep(0.25)
        ended_after(a, 2)
        check(1.5 < time.monotonic() - begun < 7, f'object_s = 2 took {time.monotonic() - begun:.1f} s')
        until(lambda: it.log_lines('instance_refused', 'object_s'), 5, 'the log names object_s')
        # 3 MB stand unfinished; 12 MB more are too many, and the first may go on
        first, part = large.connect(), large.next()
        context = begin_object(first, part, 2900000)
        time.sleep(0.3)
        second = huge.connect()
        same(second.store(huge.next()), 0xa700, 'in_flight_mb = 5')
        check(second.comment.startswith('LIMIT_REACHED'), f'comment: {second.comment!r}')
        same(end_object(first, part, 2900000, context), 0, 'the first of the two')
        same(second.store(large.next()._replace(sop_class=huge.part.sop_class)), 0, 'and then the second')
        first.release()
        second.release()
        same(it.spool_files('tmp'), [], 'unfinished files')
        it.stop()
        say('limits of associations and objects')


def test(build):
    limits(build)
    by_backlog(build)
    by_disk(build)
    if os.geteuid() != 0:
        raise LeftOut('the ladder by the disk')


main(test)
