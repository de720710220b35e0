#!/usr/bin/env python3
"""multipart_test BUILD_DIR - files above multipart_above_mb go to the stand-in in parts: byte for byte, verified by the receiver's own checksum, one key.
The uploader is killed in the middle and the next one sends only what S3 has not; S3 misbehaves at every step of an upload; what is given up is aborted."""
import base64
import hashlib
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from aws import Aws  # noqa: E402
from harness import BUCKET, Installation, beside, check, main, make_study, run_tool, same, say, until  # noqa: E402

MIB = 1 << 20
PART = 5 * MIB


class Case:
    def __init__(self, it):
        self.it, self.total = it, 0
        self.aws = Aws.__new__(Aws)
        self.aws.port = it.aws_port

    def send(self, *mib):
        """One file of so many MiB of pixels each -> their instance ids, oldest first."""
        it = self.it
        before = {i for (i,) in it.query('SELECT id FROM instance')}
        for size in mib:
            paths = make_study(os.path.join(it.work, f'study{self.total}'), 1, size * MIB, 5000 + self.total)
            code, output = run_tool('storescu', '127.0.0.1', str(it.port), *paths)
            same(code, 0, f'exit code of storescu ({output.strip()[-300:]})')
            self.total += 1
        return [i for (i,) in it.query('SELECT id FROM instance ORDER BY id') if i not in before]

    def uploaded(self, ids, seconds=60):
        until(lambda: all(self.it.one('SELECT state FROM instance WHERE id = ?', i) == 'uploaded' for i in ids), seconds, 'all are `uploaded`')
        for i in ids:
            self.verify(i)
        same(self.open_uploads(), [], 'multipart uploads that S3 still has open')

    def verify(self, i):
        """What S3 has is what the spool has, and S3 knows the receiver's checksum of the whole."""
        it = self.it
        key, size, crc, sha256 = it.query('SELECT s3_key, file_bytes, file_crc32c, sha256 FROM instance WHERE id = ?', i)[0]
        status, headers, body = self.aws.get(key, {'x-amz-checksum-mode': 'ENABLED'})
        same((status, len(body)), (200, size), 'the object')
        with open(self.spool_path(i), 'rb') as f:
            check(f.read() == body, 'the object is the spool file, byte for byte')
        same(hashlib.sha256(body).hexdigest(), sha256, 'the SHA-256 of the row')
        same(headers.get('x-amz-checksum-crc32c'), base64.b64encode(int(crc).to_bytes(4, 'big')).decode(), 'the checksum that S3 has verified')

    def spool_path(self, i):
        for directory, _, names in os.walk(os.path.join(self.it.home, 'spool')):
            for name in names:
                if name.startswith(i):
                    return os.path.join(directory, name)
        raise AssertionError(f'no spool file of {i}')

    def parts(self, i):
        """-> the parts that S3 was given for an instance, in order of time: (upload id, number)"""
        return [(line[2], int(line[3])) for line in self.it.aws_log('parts.log') if i in line[1]]

    def puts(self, i):
        return len([1 for line in self.it.aws_log('puts.log') if i in line[1]])

    def open_uploads(self):
        directory = os.path.join(self.it.aws_directory, 'multipart')
        return os.listdir(directory) if os.path.isdir(directory) else []

    def kill_uploaders(self):
        for program, pid in self.it.processes():
            if program == 'storescp-uploader':
                os.kill(pid, signal.SIGKILL)

    def charged(self):
        return self.it.one("SELECT count(*) FROM event WHERE code IS NOT NULL AND to_state IS NULL AND who LIKE 'uploader%'")


def goes_well(case):
    ids = case.send(4, 12, 40)
    case.uploaded(ids)
    same([len(case.parts(i)) for i in ids], [0, 3, 9], 'parts of files of 4, 12, 40 MiB (and a head)')
    same([case.puts(i) for i in ids], [1, 1, 1], 'objects written')
    small, large = (case.it.one('SELECT etag FROM instance WHERE id = ?', i) for i in ids[:2])
    check('-' not in small and large.endswith('-3'), f'entity tags {small} {large}')
    same(case.it.one('SELECT count(*) FROM multipart'), 0, 'uploads that the database remembers')
    say('4, 12, 40 MiB: one PUT, 3 parts, 9 parts; the objects are the files, checksums verified')


def killed_and_resumed(case):
    case.it.fault({'operation': 'UploadPart', 'action': 'delay', 'ms': 400, 'times': -1})
    (i,) = case.send(40)
    until(lambda: len(case.parts(i)) >= 4, 30, 'some parts are there')
    case.kill_uploaders()
    time.sleep(0.6)  # what was under way at S3 ends
    done = case.parts(i)
    check(0 < len(done) < 9, f'{len(done)} of 9 parts before the kill')
    case.it.fault()
    case.uploaded([i])
    parts = case.parts(i)
    same(len({upload for upload, _ in parts}), 1, 'uploads begun')
    twice = {n for _, n in parts if [m for _, m in parts].count(n) > 1}
    check(not twice & {n for _, n in done}, f'parts {sorted(twice)} were sent twice although {sorted(done)} were there before the next uploader began')
    same((sorted({n for _, n in parts}), case.puts(i)), (list(range(1, 10)), 1), 'parts, and objects written')
    say(f'killed after {len(done)} of 9 parts: the next uploader sent the other {9 - len(done)}')


def a_part_fails(case):
    before = case.charged()
    case.it.fault({'operation': 'UploadPart', 'action': 'error', 'status': 500, 'code': 'InternalError', 'times': 1, 'skip': 3})
    (i,) = case.send(40)
    case.uploaded([i])
    case.it.fault()
    same((len(case.parts(i)), len(set(case.parts(i))), case.charged()), (9, 9, before), 'parts sent, each once, attempts charged')
    say('500 on a part: the others are kept, nobody is charged')


def completion_fails(case):
    for name, rule, charges in (
            ('200 and then InternalError', {'action': 'late_error', 'code': 'InternalError', 'times': 2}, None),
            ('503 SlowDown', {'action': 'error', 'status': 503, 'code': 'SlowDown', 'times': 2}, 0)):
        before = case.charged()
        case.it.fault(dict(rule, operation='CompleteMultipartUpload'))
        (i,) = case.send(12)
        case.uploaded([i])
        case.it.fault()
        same((case.parts(i), case.puts(i)), (sorted(set(case.parts(i)), key=lambda p: case.parts(i).index(p)), 1), f'each part once, one object: {name}')
        check(charges is None or case.charged() - before == charges, f'attempts charged: {name}')
        say(f'completion: {name}: completed later, no part sent again')


def completion_is_not_answered(case):
    case.it.fault({'operation': 'CompleteMultipartUpload', 'action': 'reset_after', 'times': 1})
    (i,) = case.send(12)
    case.uploaded([i])
    case.it.fault()
    same((len(case.parts(i)), case.puts(i)), (3, 1), 'parts sent, objects written')
    say('completed but not answered: found by its checksum, nothing sent again')


def upload_is_forgotten(case):
    """S3 says NoSuchUpload: a lifecycle rule has aborted it while the uploader was away."""
    case.it.fault({'operation': 'UploadPart', 'action': 'error', 'status': 503, 'code': 'SlowDown', 'skip': 2, 'times': -1})
    (i,) = case.send(40)
    until(lambda: len(case.parts(i)) >= 2, 30, 'some parts are there')
    until(lambda: case.it.one('SELECT upload_id FROM multipart WHERE instance = ?', i), 10, 'the upload id is in the database')
    key, upload = case.it.query('SELECT s3_key, upload_id FROM multipart WHERE instance = ?', i)[0]
    same(case.aws.request('DELETE', f'/{BUCKET}/{key}', f'uploadId={upload}')[0], 204, 'AbortMultipartUpload')
    case.it.fault()
    case.uploaded([i])
    parts = case.parts(i)
    same((len({u for u, _ in parts}), sorted(n for u, n in parts if u != upload), case.puts(i)), (2, list(range(1, 10)), 1), 'begun anew under the same key')
    # and in the middle of an attempt, on a part and on the completion
    for operation, skip in (('UploadPart', 2), ('CompleteMultipartUpload', 0)):
        case.it.fault({'operation': operation, 'action': 'error', 'status': 404, 'code': 'NoSuchUpload', 'times': 1, 'skip': skip})
        (i,) = case.send(12)
        until(lambda i=i: case.it.one('SELECT state FROM instance WHERE id = ?', i) == 'uploaded', 60, 'uploaded all the same')
        case.it.fault()
        same((len({u for u, _ in case.parts(i)}), case.puts(i)), (2, 1), f'begun anew after {operation} did not know it')
        key = case.it.one('SELECT s3_key FROM instance WHERE id = ?', i)
        for left in case.open_uploads():  # the fault only said that it was gone
            same(case.aws.request('DELETE', f'/{BUCKET}/{key}', f'uploadId={left}')[0], 204, 'AbortMultipartUpload')
        case.uploaded([i])
    say('NoSuchUpload: begun anew, the same key, one object')


def wrong_checksums(case):
    """S3 finds another whole than the parts make: that upload is worth nothing, the next one is."""
    for rule in ({'operation': 'CompleteMultipartUpload', 'action': 'error', 'status': 400, 'code': 'BadDigest', 'times': 1},
                 {'operation': 'UploadPart', 'action': 'wrong_checksum', 'times': 1}):
        case.it.fault(rule)
        before = case.charged()
        (i,) = case.send(12)
        case.uploaded([i])
        case.it.fault()
        same((case.charged() - before, case.puts(i)), (1, 1), f'attempts charged, objects written: {rule["action"]}')
    say('wrong checksums: one attempt charged, then uploaded')


def given_up(case):
    """The spool file changes on the disk: the instance fails, and its parts do not stay at S3."""
    it = case.it
    it.fault({'operation': 'UploadPart', 'action': 'error', 'status': 503, 'code': 'SlowDown', 'skip': 3, 'times': -1})
    (i,) = case.send(40)
    until(lambda: len(case.parts(i)) >= 2 and it.one('SELECT count(*) FROM multipart WHERE instance = ?', i) == 1, 30, 'some parts are there')
    path = case.spool_path(i)
    with open(path, 'r+b') as f:
        f.seek(30 * MIB)
        byte = f.read(1)
        f.seek(30 * MIB)
        f.write(bytes([byte[0] ^ 1]))
    it.fault()
    until(lambda: it.one('SELECT state FROM instance WHERE id = ?', i) == 'failed', 60, 'failed')
    same(it.one('SELECT error_code FROM instance WHERE id = ?', i), 'SPOOL_FILE_DAMAGED', 'why')
    until(lambda: it.one('SELECT count(*) FROM multipart') == 0 and not case.open_uploads(), 30, 'the upload is aborted')
    same(case.puts(i), 0, 'objects written')
    with open(path, 'r+b') as f:  # as from a backup
        f.seek(30 * MIB)
        f.write(byte)
    it.ctl('retry', i)
    case.uploaded([i])
    say('damaged in between: failed, the upload aborted; after a repair and retry uploaded')


def run(build, name, steps):
    settings = {'importers': 0, 'aws_stall_s': 5, 'batch_quiet_ms': 3600000, 'spool_keep_imported_s': 3600, 'multipart_above_mb': 5,
                'multipart_part_mb': 5, 'multipart_parallel': 2}
    with Installation(build, name, settings) as it:
        it.need_cloud()
        it.start()
        case = Case(it)
        for step in steps:
            step(case)
        it.stop()
        it.configure(importers=1, batch_quiet_ms=100)
        it.start_up()
        it.settle(case.total, 120)
        same(it.states(), {'imported': case.total}, 'states at the end')
        it.stop()
        it.check_invariants()


def test(build):
    beside(lambda: run(build, 'multipart-1', (goes_well, killed_and_resumed, a_part_fails, completion_fails, completion_is_not_answered)),
           lambda: run(build, 'multipart-2', (upload_is_forgotten, wrong_checksums, given_up)))


main(test)
