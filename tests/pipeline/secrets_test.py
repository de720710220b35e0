#!/usr/bin/env python3
"""secrets: who needs a secret has it, and nobody else. As a user that is not root, all of it.

- The memory of receiver, associations, validator and `up`, and the files that they hold in memory, are searched for the keys of the cloud; the
  uploader's is, too, so that the search is known to find something. After a reload again.
- Keys in the environment are gone from that of receiver and validator.
- No process can be dumped or debugged by its own user; with core_dumps it can.
- The story behind the last part: a shielded process hides /proc/PID/exe from its own user, and `up` that was started anew, and `reload`, took
  uploaders and importers for strangers."""
import contextlib
import os
import re
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, LeftOut, SECRET_KEY, check, clean_environment, main, make_study, run_tool, same, until

USER = 65534
AS_USER = ['setpriv', '--reuid', str(USER), '--regid', str(USER), '--clear-groups', '--']
PASSWORD = 'password-of-the-key-that-nobody-else-may-know'


class OfUser(Installation):
    extra = {}  # environment

    def _spawn(self, arguments, wait_s):
        subprocess.run(['chown', '-R', f'{USER}:{USER}', self.home], check=True)
        words = [f'{k}={v}' for k, v in self.extra.items()]
        if 'local-aws' in arguments[0]:
            return super()._spawn(arguments, wait_s)
        return super()._spawn([*AS_USER, 'env', *words, *arguments], wait_s)

    def ctl_as_user(self, *words):
        done = subprocess.run([*AS_USER, self.program('storescpctl'), '--home', self.home, *words], capture_output=True, text=True, timeout=60, env=clean_environment())
        same(done.returncode, 0, f'exit code of {words}: {done.stderr}')
        return done.stdout


def memory_holds(pid, words):
    """Which of the words stand in the memory of a process, or in a file without a place on a disk that it has open."""
    found = set()
    with open(f'/proc/{pid}/maps') as maps, open(f'/proc/{pid}/mem', 'rb', 0) as memory:
        for line in maps:
            match = re.match(r'([0-9a-f]+)-([0-9a-f]+) r', line)
            if not match or '[v' in line:
                continue
            low, high = (int(x, 16) for x in match.groups())
            if high - low > 1 << 30:  # the shadow of a sanitizer: terabytes of nothing
                continue
            with contextlib.suppress(OSError, OverflowError):
                memory.seek(low)
                block = memory.read(high - low)
                found |= {w for w in words if w.encode() in block}
    for fd in os.listdir(f'/proc/{pid}/fd'):
        with contextlib.suppress(OSError):
            if 'memfd:' in os.readlink(f'/proc/{pid}/fd/{fd}'):
                with open(f'/proc/{pid}/fd/{fd}', 'rb') as f:
                    block = f.read()
                found |= {w for w in words if w.encode() in block}
    return found


def look_at_all(it, when):
    allowed = {'uploader': {SECRET_KEY}, 'importer': {SECRET_KEY}, 'receiver': {PASSWORD}, 'association': {PASSWORD}, 'notifier': {PASSWORD},
               'validator': set(), 'up': set()}
    seen = {}
    for kind, pid in it.processes():
        if kind == 'local-aws':
            continue
        found = memory_holds(pid, [SECRET_KEY, PASSWORD])
        check(found <= allowed[kind], f'{when}: {kind} {pid} knows {found}')
        seen.setdefault(kind, set()).update(found)
    same(seen['uploader'], {SECRET_KEY}, f'{when}: what the uploader knows (else the search finds nothing at all)')
    same(seen['receiver'], {PASSWORD}, f'{when}: what the receiver knows')
    check({'receiver', 'association', 'validator', 'up', 'importer'} <= seen.keys(), f'{when}: processes {sorted(seen)}')


def owners(it):
    """uid of /proc/PID/environ: root's for what is shielded"""
    return {(kind, os.stat(f'/proc/{pid}/environ').st_uid) for kind, pid in it.processes() if kind != 'local-aws'}


def core_limit(pid):
    with open(f'/proc/{pid}/limits') as f:
        return re.search(r'Max core file size +(\S+)', f.read()).group(1)


def test(build):
    if os.geteuid() != 0:
        raise LeftOut('needs root, to be another user and to read the memory of others')
    if subprocess.run([*AS_USER, os.path.join(os.path.abspath(build), 'bin', 'storescpctl'), '--version'], capture_output=True).returncode != 0:
        raise LeftOut('another user may not start the programs here')
    with OfUser(build, 'secrets', {'tls_key_password': PASSWORD}) as it:
        it.need_cloud()
        os.chmod(it.work, 0o755)
        it.start()
        study = make_study(os.path.join(it.work, 'study'), 2, 1000, 9)
        run_tool('storescu', '-aec', 'STORESCP', '127.0.0.1', str(it.port), *study)
        it.settle(2)
        look_at_all(it, 'at work')
        same({uid for _, uid in owners(it)}, {0}, 'whose /proc/PID is: a shielded process belongs to nobody but root')
        same({core_limit(pid) for kind, pid in it.processes() if kind != 'local-aws'}, {'0'}, 'largest core dump')

        told = it.ctl_as_user('reload')
        until(lambda: len(it.log_lines('settings_reloaded')) >= 4, 15, f'every stage takes the settings over again: {told}')
        until(lambda: len(it.living()) == 4, 15, 'every stage is there after the reload')
        run_tool('echoscu', '-aec', 'STORESCP', '127.0.0.1', str(it.port))
        look_at_all(it, 'after a reload')

        os.kill(it.supervisor.pid, signal.SIGKILL)
        it.supervisor.wait()
        before = sorted(pid for _, pid in it.living())
        it.start_up()
        until(lambda: len(it.log_lines('stage_adopted')) >= 4, 10, 'the new `up` takes all four stages over')
        same(sorted(pid for _, pid in it.living()), before, 'processes before and after')
        it.stop()

        it.configure(core_dumps='true')
        del it.settings['aws_secret_access_key']
        it.configure()
        OfUser.extra = {'AWS_SECRET_ACCESS_KEY': SECRET_KEY, 'STORESCP_DICOMWEB_PASSWORD': PASSWORD + '2'}
        it.start_up()
        same({uid for _, uid in owners(it)}, {USER}, 'whose /proc/PID is with core_dumps')
        for kind, pid in it.processes():
            with open(f'/proc/{pid}/environ', 'rb') as f:
                content = f.read()
            knows = SECRET_KEY.encode() in content or PASSWORD.encode() in content
            same(knows, kind in ('up', 'uploader', 'importer', 'local-aws'), f'secrets in the environment of {kind}')
        run_tool('storescu', '-aec', 'STORESCP', '127.0.0.1', str(it.port), *make_study(os.path.join(it.work, 'more'), 1, 1000, 10))
        it.settle(3)
        it.stop()
        it.check_invariants()


if __name__ == '__main__':
    main(test)
