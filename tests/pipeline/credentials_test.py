#!/usr/bin/env python3
"""credentials_test BUILD_DIR - uploader and importer live on keys that end every few seconds while transfers run: by web identity, by a role from a profile,
by a program. STS goes away for a while; a token file is replaced. Nothing fails, nobody is charged, no secret stands in the log or in the list of processes."""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import ACCESS_KEY, SECRET_KEY, Installation, check, main, make_study, run_tool, same, say, until  # noqa: E402

LIFE_S = 3
TOKEN = 'web-identity-token-of-a-test'


def write(path, text):
    with open(path + '.new', 'w') as f:
        f.write(text)
    os.rename(path + '.new', path)


class Case:
    def __init__(self, it):
        self.it, self.total = it, 0

    def send(self, count=16):
        paths = make_study(os.path.join(self.it.work, f'study{self.total}'), count, 70000, 4000 + self.total)
        code, output = run_tool('storescu', '127.0.0.1', str(self.it.port), *paths)
        same(code, 0, f'exit code of storescu ({output.strip()[-300:]})')
        self.total += count

    def flow(self, seconds):
        """Studies come in, transfers take longer than the time in which keys are renewed."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.send()
            time.sleep(0.3)

    def arrived(self):
        self.it.settle(self.total, 60)
        same(self.it.states(), {'imported': self.total}, 'states')

    def charged(self):
        return self.it.one("SELECT count(*) FROM event WHERE code IS NOT NULL AND to_state IS NULL")

    def fetched(self):
        return len(self.it.log_lines(' credentials_fetched '))

    def by(self, name, config, origin):
        it = self.it
        write(os.path.join(it.work, '.aws', 'config'), config)
        before = self.fetched()
        it.fault({'operation': 'PutObject', 'action': 'delay', 'ms': 400, 'times': -1})
        it.start_up()
        self.flow(8)
        fetched = self.fetched() - before
        check(fetched >= 4, f'{name}: keys were fetched {fetched} times only')
        check(any(f'origin="{origin}"' in line for line in it.log_lines(' credentials_fetched ')), f'{name}: the log names {origin}')
        it.fault()
        self.arrived()
        same(it.log_lines(' uploads_paused '), [], f'{name}: pauses')
        same(self.charged(), 0, f'{name}: attempts charged')
        listed = subprocess.run(['ps', '-eo', 'args'], capture_output=True, text=True, check=True).stdout
        words = '\n'.join(line for line in listed.splitlines() if 'storescp-local-aws' not in line)  # the test itself gives the stand-in its key there
        check(SECRET_KEY not in words and TOKEN not in words, f'{name}: a secret stands in ps')
        it.stop()
        say(f'{name}: keys fetched {fetched} times while images came in, none charged')


def sts_goes_away(case):
    """The keys end meanwhile: a pause, nobody charged, and it heals by itself."""
    it = case.it
    it.start_up()
    case.send()
    case.arrived()
    it.fault({'operation': 'AssumeRole', 'action': 'error', 'status': 500, 'code': 'InternalFailure', 'times': -1})
    time.sleep(LIFE_S + 1)
    case.send()
    until(lambda: it.log_lines(' uploads_paused '), 20, 'the uploader pauses')
    same(case.charged(), 0, 'attempts charged while STS was away')
    until(lambda: any('AssumeRole' in status for (status,) in it.query("SELECT status FROM worker WHERE stage = 'uploader'")), 10, 'the status names what it waits for')
    it.fault()
    case.arrived()
    same(case.charged(), 0, 'attempts charged')
    it.stop()
    say('STS away beyond the end of the keys: paused, then imported, none charged')


def test(build):
    with Installation(build, 'credentials', {'batch_quiet_ms': 300, 'aws_access_key_id': '', 'aws_secret_access_key': ''}, aws_options=('--job-ms', '200', '--no-throttle')) as it:
        it.need_cloud()
        kept = os.environ.get('HOME')
        os.environ['HOME'] = it.work  # the processes find their shared files there
        try:
            os.makedirs(os.path.join(it.work, '.aws'))
            token, base = os.path.join(it.work, 'token'), os.path.join(it.work, '.aws', 'credentials')
            write(token, TOKEN)
            write(base, f'[base]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n')
            program = os.path.join(it.work, 'print keys')
            with open(program, 'w') as f:
                f.write(f'#!/bin/sh\necho \'{{"Version": 1, "AccessKeyId": "{ACCESS_KEY}", "SecretAccessKey": "{SECRET_KEY}"}}\'\n')
            os.chmod(program, 0o700)
            role = 'role_arn = arn:aws:iam::123456789012:role/uploads'
            it.start_aws()
            case = Case(it)
            case.by('web identity', f'[default]\n{role}\nweb_identity_token_file = {token}\nduration_seconds = {LIFE_S}\n', 'web identity')
            case.by('a program, then a role',
                    f'[default]\n{role}\nsource_profile = made\nduration_seconds = {LIFE_S}\n[profile made]\ncredential_process = "{program}"\n', 'assumed role')
            case.by('a role from a profile', f'[default]\n{role}\nsource_profile = base\nduration_seconds = {LIFE_S}\n', 'assumed role')
            sts_goes_away(case)
            it.check_invariants()
            with open(it.log_path, errors='replace') as log:
                text = log.read()
            check(SECRET_KEY not in text and TOKEN not in text, 'the log holds a secret')
        finally:
            if kept is not None:
                os.environ['HOME'] = kept


main(test)
