#!/usr/bin/env python3
"""upload_test BUILD_DIR - the uploader as a process against the stand-in, which is told to misbehave in every way that S3 does, one after the other. What
can heal heals by itself and charges nobody; what a person must do is one alarm and a word in `status`; one bad image holds up no other; what is
uploaded was written under one key with one content, however often it had to be sent."""
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, SECRET_KEY, check, clean_environment, main, make_study, run_tool, same, say, until  # noqa: E402

EACH = 24


class Case:
    """Studies that are sent while something is wrong."""

    def __init__(self, it):
        self.it, self.total = it, 0

    def order(self, *rules):
        request = urllib.request.Request(f'http://127.0.0.1:{self.it.aws_port}/_local/faults', method='POST' if rules else 'DELETE',
                                         data=json.dumps([dict(rule, operation='PutObject') for rule in rules]).encode() if rules else None)
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()

    def send(self, count=EACH, pixels=70000):
        paths = make_study(os.path.join(self.it.work, f'study{self.total}'), count, pixels, 1000 + self.total)
        code, output = run_tool('storescu', '127.0.0.1', str(self.it.port), *paths)
        same(code, 0, f'exit code of storescu ({output.strip()[-300:]})')
        self.total += count
        return paths

    def uploaded(self, count=None, seconds=60):
        count = self.total if count is None else count
        try:
            until(lambda: self.it.count('uploaded') == count, seconds, f'{count} instances are `uploaded`')
        finally:
            if self.it.count('uploaded') != count:
                say(f'states: {self.it.states()}; {self.it.query("SELECT instance, error_code, error_text, attempts FROM v_stuck LIMIT 5")}')

    def charged(self):
        """How many failed attempts are told of instances, ever."""
        return self.it.one("SELECT count(*) FROM event WHERE code IS NOT NULL AND to_state IS NULL AND who LIKE 'uploader%'")

    def status(self):
        return [status for (status,) in self.it.query("SELECT status FROM worker WHERE stage = 'uploader'")]

    def lines(self, event):
        with open(self.it.log_path, errors='replace') as log:
            return [line for line in log if f' {event} ' in line]


def heals(case):
    """Endpoint trouble: nobody is charged."""
    for name, rule in (
            ('503 SlowDown', {'action': 'error', 'status': 503, 'code': 'SlowDown', 'times': 4}),
            ('500 InternalError', {'action': 'error', 'status': 500, 'code': 'InternalError', 'times': 4}),
            ('502 without any AWS code', {'action': 'error', 'status': 502, 'times': 3}),
            ('the connection is reset before an answer', {'action': 'reset', 'times': 4})):
        before = case.charged()
        case.order(rule)
        case.send()
        case.uploaded()
        case.order()
        same(case.charged(), before, f'attempts charged: {name}')
        say(f'{name}: all {EACH} uploaded, none charged')


def is_charged(case):
    """Trouble of a single transfer: a retry with a delay of its own."""
    for name, rule, code in (
            ('the answer names another checksum', {'action': 'wrong_checksum', 'times': 3}, 'AWS_CHECKSUM'),
            ('400 BadDigest', {'action': 'error', 'status': 400, 'code': 'BadDigest', 'times': 3}, 'AWS_CHECKSUM'),
            ('409 OperationAborted', {'action': 'error', 'status': 409, 'code': 'OperationAborted', 'times': 3}, 'AWS_CONFLICT')):
        before = case.charged()
        case.order(rule)
        case.send()
        case.uploaded()
        case.order()
        same(case.charged() - before, 3, f'attempts charged: {name}')
        same(case.it.one('SELECT code FROM event WHERE to_state IS NULL AND code IS NOT NULL ORDER BY id DESC LIMIT 1'), code, name)
        say(f'{name}: three attempts, then uploaded')


def stored_but_not_answered(case):
    """S3 has the object, the answer never came: the next attempt overwrites nothing and finds that it is there, by size and checksum."""
    puts = len(case.it.aws_log('puts.log'))
    case.order({'action': 'reset_after', 'times': 5})
    case.send()
    case.uploaded()
    case.order()
    same(len(case.it.aws_log('puts.log')) - puts, EACH, 'objects written')
    with open(case.it.log_path, errors='replace') as log:
        check('upload_was_there' in log.read(), 'an object was found that was there')
    say('stored but not answered: put again under the same key')


def silence(case):
    """A server that takes the bytes and says nothing: time limit, and the other transfers are not charged for it."""
    case.order({'action': 'hang', 'ms': 60000, 'times': 3})
    begun = time.monotonic()
    case.send()
    case.uploaded(seconds=40)
    case.order()
    say(f'three transfers without an answer: all uploaded after {time.monotonic() - begun:.0f} s')


def clock(case):
    case.order({'action': 'clock_skew', 'seconds': 3600, 'times': 1})
    case.send()
    case.uploaded()
    case.order()
    check(not any('AWS_CLOCK' in line for line in case.lines('uploads_paused')), 'a clock that is off is corrected by the answer')
    say('a clock one hour off: corrected by the Date of the refusal')


def one_bad_image(case):
    """S3 fails on one object only, again and again, and it is the oldest: it must not look like an outage for ever."""
    it = case.it
    it.ctl('scale', 'uploader', '0')
    until(lambda: not case.status(), 20, 'no uploader')
    case.send()
    until(lambda: it.count('validated') == EACH, 20, 'all wait')
    bad = it.one("SELECT id FROM instance WHERE state = 'validated' ORDER BY next_attempt_ms, id LIMIT 1")
    case.order({'action': 'error', 'status': 500, 'code': 'InternalError', 'key': bad, 'times': -1})
    it.ctl('scale', 'uploader', '1')
    case.uploaded(case.total - 1)
    until(lambda: it.one('SELECT attempts FROM instance WHERE id = ?', bad) >= 1, 30, 'the bad one is charged')
    more = case.send()
    case.uploaded(case.total - 1)
    check('InternalError' in it.ctl('why', bad), '`why` names the error')
    case.order()
    case.uploaded(seconds=90)
    say(f'one bad image: {EACH - 1 + len(more)} others passed, it followed when S3 had recovered')


def a_person_must_act(case):
    it = case.it
    for name, settings, code in (('a wrong secret', {'aws_secret_access_key': 'wrong'}, 'AWS_CREDENTIALS'),
                                 ('a wrong bucket', {'dicom_bucket': 'no-such-bucket'}, 'AWS_NOT_FOUND')):
        before, right = case.charged(), {key: it.settings[key] for key in settings}
        it.stop()
        it.configure(**settings)
        it.start_up()
        alarms = len(case.lines('uploads_paused'))
        case.send()
        until(lambda: any(code in status for status in case.status()), 20, f'status says {code}')
        check(f'waiting: {code}' in it.ctl('status'), '`storescpctl status` shows it')
        time.sleep(6)  # several probes
        same(len(case.lines('uploads_paused')) - alarms, 1, f'alarms: {name}')
        same((case.charged(), it.count('failed')), (before, 0), f'instances charged or failed: {name}')
        it.stop()
        it.configure(**right)
        it.start_up()
        case.uploaded()
        say(f'{name}: one alarm, nobody charged, healed by the setting')
    # the session's keys run out and AWS says so
    case.order({'action': 'expired_token', 'times': 2})
    case.send()
    case.uploaded()
    case.order()


def killed_and_stopped(case):
    it = case.it
    case.order({'action': 'delay', 'ms': 300, 'times': -1})
    case.send(60)
    for _ in range(4):
        time.sleep(0.7)
        for program, pid in it.processes():
            if program == 'storescp-uploader':
                os.kill(pid, signal.SIGKILL)
    case.uploaded()
    case.send(60)
    time.sleep(0.5)
    it.stop()  # SIGTERM with transfers in hand: they end, the rest is given back
    same(it.one('SELECT count(*) FROM instance WHERE owner IS NOT NULL'), 0, 'claims left after SIGTERM')
    case.order()
    it.start_up()
    case.uploaded()
    say('killed four times, stopped once: all uploaded')
    # S3 says nothing while the stage is told to stop: after drain_s the transfers are given up, the claims given back
    it.stop()
    it.configure(drain_s=2, aws_stall_s=60)
    it.start_up()
    case.order({'action': 'hang', 'ms': 60000, 'times': -1})
    case.send(8)
    until(lambda: it.one("SELECT count(*) FROM instance WHERE state = 'validated' AND owner IS NOT NULL") > 0, 20, 'a transfer hangs')
    begun = time.monotonic()
    it.stop()
    check(time.monotonic() - begun < 6, 'the stop kept to drain_s')
    same(it.one('SELECT count(*) FROM instance WHERE owner IS NOT NULL'), 0, 'claims left after a drain that was cut')
    check(case.lines('drain_cut'), 'the log says that transfers were given up')
    case.order()
    it.configure(drain_s=10, aws_stall_s=3)
    it.start_up()
    case.uploaded()
    say('stopped while S3 says nothing: claims given back in time, uploaded after the next start')


def wrong_settings(it):
    for settings, word in (({'dicom_bucket': ''}, 'dicom_bucket'), ({'s3_prefix': 'a b'}, 's3_prefix'), ({'s3_prefix': 'a/'}, 's3_prefix'),
                           ({'endpoint_url': 'ftp://x'}, 'endpoint_url'), ({'aws_secret_access_key': ''}, 'aws_secret_access_key')):
        right = {key: it.settings.get(key, 'storescp') for key in settings}
        it.configure(**settings)
        done = subprocess.run([it.program('storescp-uploader'), '--home', it.home], capture_output=True, text=True, timeout=20, env=clean_environment())
        it.configure(**right)
        same(done.returncode, 78, f'exit code with {settings}')
        check(word in done.stderr, f'the sentence names {word}: {done.stderr}')
    say('wrong settings: exit code 78 and the name of the setting')


def test(build):
    with Installation(build, 'upload', {'importers': 0, 'aws_stall_s': 3, 'batch_quiet_ms': 3600000, 'spool_keep_imported_s': 3600}) as it:
        it.need_cloud()
        wrong_settings(it)
        it.start()
        case = Case(it)
        case.send()
        case.uploaded()
        for step in (heals, is_charged, stored_but_not_answered, silence, clock, one_bad_image, a_person_must_act, killed_and_stopped):
            step(case)
        # and all of it can be imported
        it.stop()
        it.configure(importers=1, batch_quiet_ms=100)
        it.start_up()
        it.settle(case.total, 120)
        same(it.states(), {'imported': case.total}, 'states at the end')
        it.stop()
        it.check_invariants()
        with open(it.log_path, errors='replace') as log:
            check(SECRET_KEY not in log.read(), 'the log holds the secret')


main(test)
