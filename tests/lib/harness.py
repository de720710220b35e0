"""harness - a whole installation in a directory of its own on free loopback ports, for pipeline tests, crash tests and benchmarks.

    def test(build):
        with Installation(build, 'name') as it:
            it.start(); ...; it.settle(); it.stop()
    main(test)

What is not built is left out and named: without uploader, importer or local-aws a good instance's way ends at 'validated' (END_STATE of
the installation), and what needs the cloud calls need_cloud(), which ends the test with 77. Every wait has a limit. Leaving the
`with` ends every process of this installation by its number; the directory goes too, unless STORESCP_KEEP is set.
"""
import concurrent.futures
import contextlib
import datetime
import fcntl
import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

STAGES = ('receiver', 'validator', 'uploader', 'importer')
UNDER_WAY = ('received', 'validated', 'uploaded', 'importing')
LIB = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(LIB))
SHARED = os.environ.get('SHARED_DIR') or os.path.join(TOP, '..', 'shared')
ACCESS_KEY, SECRET_KEY, REGION, BUCKET = 'LOCALACCESSKEY', 'local-secret-key', 'us-east-1', 'storescp-local'
DATASTORE = '0123456789abcdef0123456789abcdef'
FAST = {  # what a test does not want to wait for
    'scp_address': '127.0.0.1', 'sweep_ms': 200, 'drain_s': 10, 'batch_quiet_ms': 1000, 'import_poll_ms': 200,
    'import_start_per_minute': 6000, 'import_start_burst': 50, 'spool_free_mb': 1, 'spool_slow_free_mb': 0}


class Failure(Exception):
    pass


class LeftOut(Exception):
    pass


def check(truth, text):
    if not truth:
        raise Failure(text)


def same(got, expected, what):
    check(got == expected, f'{what}: expected {expected!r}, got {got!r}')


def say(text):
    print(text, flush=True)


def until(truth, seconds, text):
    """Waits until truth() is true; its value."""
    end = time.monotonic() + seconds
    while True:
        value = truth()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f'after {seconds} s still not: {text}')
        time.sleep(0.05)


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def clean_environment():
    """Without settings of ours or of the AWS SDK that the caller's shell may hold: the environment wins over storescp.conf; and the machine that runs the tests
    is no instance whose keys and region count."""
    kept = ('PATH', 'HOME', 'LANG', 'TMPDIR', 'ASAN_OPTIONS', 'UBSAN_OPTIONS', 'LSAN_OPTIONS')
    leaks = {'LSAN_OPTIONS': f'suppressions={os.path.join(LIB, "leaks.supp")}'}  # for a build with sanitizers
    return {'AWS_EC2_METADATA_DISABLED': 'true', **leaks, **{name: os.environ[name] for name in kept if name in os.environ}}


def shared_dicom():
    directory = os.path.join(SHARED, 'dicom')
    if not os.path.isdir(directory):
        raise LeftOut(f'real images are not here ({directory})')
    return directory


def make_study(directory, count, pixel_bytes, seed, modality='CT'):
    """-> paths of the files of one synthetic study"""
    subprocess.run([sys.executable, os.path.join(LIB, 'make_dicom.py'), directory, str(count), str(pixel_bytes), str(seed), modality], check=True)
    return sorted(os.path.join(directory, name) for name in os.listdir(directory))


class Installation:
    def __init__(self, build, name, settings=None, counts=None, aws_options=('--job-ms', '200', '--start-per-second', '50'), home=None):
        self.bin = os.path.join(os.path.abspath(build), 'bin')
        self.work = tempfile.mkdtemp(prefix=f'storescp-{name}.')
        self.home = home or os.path.join(self.work, 'home')
        self.aws_directory = os.path.join(self.work, 'aws')
        self.log_path = os.path.join(self.work, 'log')
        self.port, self.aws_port = free_port(), free_port()
        self.aws_options = list(aws_options)
        self.supervisor = self.aws = None
        missing = [p for p in ('storescp-uploader', 'storescp-importer', 'storescp-local-aws') if not os.path.exists(self.program(p))]
        self.cloud = not missing
        self.end_state = 'imported' if self.cloud else 'validated'
        if missing:
            say(f'left out: the way ends at `validated`, not built: {" ".join(missing)}')
        self.settings = dict(FAST, scp_port=self.port, dicom_bucket=BUCKET, datastore_id=DATASTORE, s3_path_style='true',
                             data_access_role_arn='arn:aws:iam::123456789012:role/local', endpoint_url=f'http://127.0.0.1:{self.aws_port}',
                             aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, aws_region=REGION)
        for stage in STAGES:
            built = os.path.exists(self.program(f'storescp-{stage}')) and (self.cloud or stage in STAGES[:2])
            self.settings[stage + 's'] = (counts or {}).get(stage, 1) if built else 0
        self.settings.update(settings or {})
        self.sections = {}  # 'ae CT*': {setting: value}; written by configure()
        os.makedirs(self.home, exist_ok=True)
        self.configure()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.kill_all()
        if kind is not None and kind is not LeftOut:
            with contextlib.suppress(OSError):
                say('---- last lines of the log')
                say(''.join(open(self.log_path, errors='replace').readlines()[-25:]))
        if os.environ.get('STORESCP_KEEP'):
            say(f'kept: {self.work}')
        else:
            shutil.rmtree(self.work, ignore_errors=True)

    # ---- processes ------------------------------------------------------------------------------------------------------
    def program(self, name):
        return os.path.join(self.bin, name)

    def need_cloud(self):
        if not self.cloud:
            raise LeftOut('needs uploader, importer and local-aws')

    def configure(self, **settings):
        self.settings.update(settings)
        with open(os.path.join(self.home, 'storescp.conf'), 'w') as f:
            f.writelines(f'{name} = {value}\n' for name, value in self.settings.items())
            for section, settings in self.sections.items():
                f.writelines([f'[{section}]\n'] + [f'{name} = {value}\n' for name, value in settings.items()])

    def _spawn(self, arguments, wait_s):
        """Starts a program that prints `ready`; -> process."""
        out_path = os.path.join(self.work, f'out.{os.path.basename(arguments[0])}')
        with open(out_path, 'wb') as out, open(self.log_path, 'ab') as log:
            process = subprocess.Popen(arguments, stdout=out, stderr=log, stdin=subprocess.DEVNULL, env=clean_environment(), start_new_session=True)

        def is_ready():
            if process.poll() is not None:
                raise Failure(f'{os.path.basename(arguments[0])} ended with {process.returncode} instead of `ready`')
            return b'ready' in open(out_path, 'rb').read()
        try:
            until(is_ready, wait_s, f'{os.path.basename(arguments[0])} says ready')
        except Failure:
            if process.poll() is None:
                process.kill()
                process.wait()
            raise
        return process

    def start_aws(self):
        if self.cloud and self.aws is None:
            self.aws = self._spawn([self.program('storescp-local-aws'), '--port', str(self.aws_port), '--address', '127.0.0.1', '--data', self.aws_directory,
                                    '--access-key', ACCESS_KEY, '--secret-key', SECRET_KEY, '--region', REGION, '--datastore', DATASTORE,
                                    '--bucket', BUCKET, *self.aws_options], 10)

    def stop_aws(self, how=signal.SIGKILL):
        if self.aws:
            self.aws.send_signal(how)
            self.aws.wait(10)
            self.aws = None

    def start_up(self, wait_s=20):
        self.supervisor = self._spawn([self.program('storescpctl'), '--home', self.home, 'up'], wait_s)

    def start(self):
        self.start_aws()
        self.start_up()

    def stop(self):
        """SIGTERM: drains. Exit code 0 and nobody left, or it is a failure."""
        self.supervisor.send_signal(signal.SIGTERM)
        code = self.supervisor.wait(self.settings['drain_s'] + 15)
        self.supervisor = None
        same(code, 0, 'exit code of up after SIGTERM')
        same(self.living(), [], 'processes left after SIGTERM')
        self.check_log()

    def check_log(self):
        """A sanitizer ends one process, which is replaced: only the log tells. With a crash of our own code it is the same."""
        with open(self.log_path, errors='replace') as log:
            bad = [line.strip() for line in log if re.search(r'AddressSanitizer|LeakSanitizer|runtime error:|UndefinedBehavior|stack smashing|free\(\): ', line)]
        same(bad[:3], [], 'words of a sanitizer in the log')

    def living(self):
        """(stage, pid) of every worker whose lock is held: the kernel's word, not the database's."""
        directory, found = os.path.join(self.home, 'state', 'workers'), []
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(directory)):
                path = os.path.join(directory, name)
                if name.endswith('.lock') and subprocess.run(['flock', '-n', '-s', path, 'true'], stderr=subprocess.DEVNULL).returncode == 1:
                    with contextlib.suppress(OSError, ValueError):
                        found.append((name.split('-')[0], int(open(path).read().split()[0])))
        return found

    def processes(self):
        """(kind, pid) of every living process of this home, from /proc; kind: a stage, 'association', 'notifier' or 'up'. The home stands in the
        arguments of some and only in the environment of those that `up` started."""
        found = []
        for pid in filter(str.isdigit, os.listdir('/proc')):
            with contextlib.suppress(OSError):
                words = open(f'/proc/{pid}/cmdline', 'rb').read().decode(errors='replace').split('\0')
                name = os.path.basename(words[0])
                if not name.startswith('storescp'):
                    continue
                variables = open(f'/proc/{pid}/environ', 'rb').read().decode(errors='replace').split('\0')
                home = words[words.index('--home') + 1] if '--home' in words[:-1] else ''.join(v[14:] for v in variables if v.startswith('STORESCP_HOME='))
                if home == self.home:
                    kind = 'association' if '--association' in words else 'notifier' if '--notify' in words else 'up' if name == 'storescpctl' else name.replace('storescp-', '')
                    found.append((kind, int(pid)))
        return found

    def kill_all(self):
        for process in (self.supervisor, self.aws):
            if process and process.poll() is None:
                process.kill()
                process.wait()
        self.supervisor = self.aws = None
        for _ in range(5):
            for _, pid in self.processes():
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            if not self.processes():
                return
            time.sleep(0.1)

    def ctl(self, *words, code=0):
        """Runs storescpctl; -> its standard output. code None: any."""
        done = subprocess.run([self.program('storescpctl'), '--home', self.home, *words], capture_output=True, text=True, timeout=120, env=clean_environment())
        if code is not None:
            check(done.returncode == code, f'storescpctl {" ".join(words)}: exit code {done.returncode}, {done.stderr.strip()}')
        return done.stdout

    # ---- looking --------------------------------------------------------------------------------------------------------
    def status(self):
        return json.loads(self.ctl('status', '--json'))

    @property
    def database(self):
        return os.path.join(self.home, 'state', 'state.db')

    def query(self, sql, *values):
        connection = sqlite3.connect(f'file:{urllib.parse.quote(self.database)}?mode=ro', uri=True, timeout=10)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def one(self, sql, *values):
        return self.query(sql, *values)[0][0]

    def count(self, *states):
        return self.one(f'SELECT count(*) FROM instance WHERE state IN ({",".join("?" * len(states))})', *states)

    def settle(self, instances=None, seconds=60):
        """Waits until there are `instances` rows (None: any number) and none of them is under way."""
        open_states = [s for s in UNDER_WAY if s != self.end_state]
        try:
            until(lambda: (instances is None or self.one('SELECT count(*) FROM instance') >= instances) and self.count(*open_states) == 0, seconds,
                  f'every instance has its end ({instances or "any number"} expected)')
        except Failure:
            say(f'states: {self.states()}')
            for row in self.query('SELECT instance, state, error_code, error_text, attempts, owner, batch_state, batch_error_text FROM v_stuck LIMIT 10'):
                say(f'stuck: {row}')
            raise

    def states(self):
        return dict(self.query('SELECT state, count(*) FROM instance GROUP BY state'))

    def spool_files(self, room='obj'):
        return sorted(os.listdir(os.path.join(self.home, 'spool', room)))

    # ---- what must hold after every test, whatever happened -------------------------------------------------------------
    def check_invariants(self):
        """With the pipeline stopped: database sound, no claims or workers left, no orphan file, no orphan row, evidence complete."""
        self.check_log()
        same(self.one('PRAGMA integrity_check'), 'ok', 'integrity_check')
        same(self.one('SELECT count(*) FROM instance WHERE owner IS NOT NULL'), 0, 'claimed instances')
        same(self.one('SELECT count(*) FROM batch WHERE owner IS NOT NULL'), 0, 'claimed batches')
        same(self.one('SELECT count(*) FROM worker'), 0, 'rows of workers')
        rows = dict(self.query('SELECT id, state FROM instance'))
        files = {room: {n[:-4] for n in self.spool_files(room)} for room in ('obj', 'quarantine')}
        same(sorted((files['obj'] | files['quarantine']) - rows.keys()), [], 'orphan files')
        released = {r[0] for r in self.query('SELECT id FROM instance WHERE released_ms IS NOT NULL')}
        dropped = {r[0] for r in self.query('SELECT id FROM instance WHERE dropped_ms IS NOT NULL')}
        for state_name in UNDER_WAY + ('failed',):
            same(sorted(i for i, s in rows.items() if s == state_name and i not in files['obj'] | dropped), [], f'{state_name} rows without a file')
        same(sorted(i for i, s in rows.items() if s == 'quarantined' and i not in files['quarantine'] | dropped), [], 'quarantined rows without a file')
        same(sorted(dropped & (files['quarantine'] | files['obj'])), [], 'dropped rows whose file is not set aside')
        same(sorted(released & files['obj']), [], 'released rows with a file')
        same(self.one("SELECT count(*) FROM instance WHERE state IN ('quarantined', 'failed') AND (error_code IS NULL OR error_text IS NULL OR error_text = '')"),
             0, 'refused without a reason')
        same(self.one("SELECT count(*) FROM instance WHERE state = 'duplicate' AND twin IS NULL"), 0, 'duplicates without a twin')
        same(self.one("SELECT count(*) FROM instance WHERE state = 'imported' AND (batch IS NULL OR s3_key IS NULL OR etag IS NULL OR job_id IS NULL "
                      "OR image_set_id IS NULL)"), 0, 'imported without evidence')
        if self.cloud:
            self.check_cloud()

    def check_cloud(self):
        """Each key was written with one content only, no batch started two jobs, no instance was imported twice."""
        contents = {}
        for line in self.aws_log('puts.log'):
            _, key, _, digest = line
            contents.setdefault(key, set()).add(digest)
        same(sorted(k for k, d in contents.items() if len(d) > 1), [], 'keys written with different contents')
        jobs = {job['jobId']: job['jobName'] for job in self.stored_jobs()}
        names = list(jobs.values())
        same(sorted({n for n in names if names.count(n) > 1}), [], 'batches with two jobs')
        known = dict(self.query('SELECT jobId, batch FROM import_job WHERE jobId IS NOT NULL'))
        same(sorted(j for j, b in jobs.items() if known.get(j) != b), [], 'jobs that no batch knows as its own')
        for job, name, key in self.query('SELECT i.job_id, i.batch, i.s3_key FROM instance i WHERE i.state = ? AND i.released_ms IS NULL LIMIT 50', 'imported'):
            check(jobs.get(job) == name and f'/{name}/' in key, f'evidence that names a job of another batch: {job} {name} {key}')
        imports = [line[-1] for line in self.aws_log('imports.log')]
        accepted = {r[0] for r in self.query("SELECT id FROM instance WHERE twin IS NOT NULL AND state <> 'duplicate'")}  # another content, by order
        same(sorted({line[-1] for line in self.aws_log('imports.log') if line[5] == 'again'} - accepted)[:5], [], 'images imported again from another instance')
        same(sorted({i for i in imports if imports.count(i) > 1})[:5], [], 'instances imported twice')

    def stored_jobs(self):
        """What the stand-in has on its disk of every job that it was told to start, however it stands."""
        directory = os.path.join(self.aws_directory, 'jobs')
        jobs = []
        for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
            with open(os.path.join(directory, name)) as f:
                jobs.append(json.load(f))
        return jobs

    def aws_log(self, name):
        with contextlib.suppress(FileNotFoundError):
            with open(os.path.join(self.aws_directory, name)) as f:
                return [line.split() for line in f if line.strip()]
        return []

    def fault(self, *rules):
        """Orders faults from the stand-in (compose/local-aws/README.md); none: takes all back."""
        request = urllib.request.Request(f'http://127.0.0.1:{self.aws_port}/_local/faults', data=json.dumps(rules).encode() if rules else None,
                                         method='POST' if rules else 'DELETE')
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()

    def log_lines(self, *words):
        with contextlib.suppress(FileNotFoundError):
            with open(self.log_path, errors='replace') as f:
                return [line.rstrip() for line in f if all(word in line for word in words)]
        return []

    # ---- the stand-in ---------------------------------------------------------------------------------------------------
    def signed_get(self, service, path, query=()):
        """GET with a signature of our own. path: encoded; query: pairs."""
        now = datetime.datetime.now(datetime.timezone.utc).strftime('%Y%m%dT%H%M%SZ')
        host, empty = f'127.0.0.1:{self.aws_port}', hashlib.sha256(b'').hexdigest()
        words = '&'.join(f'{urllib.parse.quote(k, safe="")}={urllib.parse.quote(str(v), safe="")}' for k, v in sorted(query))
        canonical = f'GET\n{path}\n{words}\nhost:{host}\nx-amz-content-sha256:{empty}\nx-amz-date:{now}\n\nhost;x-amz-content-sha256;x-amz-date\n{empty}'
        scope = f'{now[:8]}/{REGION}/{service}/aws4_request'
        signing = ('AWS4' + SECRET_KEY).encode()
        for word in scope.split('/'):
            signing = hmac.new(signing, word.encode(), hashlib.sha256).digest()
        text = f'AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}'
        signature = hmac.new(signing, text.encode(), hashlib.sha256).hexdigest()
        request = urllib.request.Request(f'http://{host}{path}' + ('?' + words if words else ''), headers={
            'x-amz-date': now, 'x-amz-content-sha256': empty, 'Authorization':
            f'AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={signature}'})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            return answer.read()

    def s3_get(self, key):
        return self.signed_get('s3', '/' + BUCKET + '/' + urllib.parse.quote(key))

    def ahi_jobs(self):
        """Every import job that the stand-in knows, as ListDICOMImportJobs tells it."""
        jobs, query = [], [('maxResults', 50)]
        for _ in range(1000):
            answer = json.loads(self.signed_get('medical-imaging', f'/listDICOMImportJobs/datastore/{DATASTORE}', query))
            jobs += answer['jobSummaries']
            if not answer.get('nextToken'):
                return jobs
            query = [('maxResults', 50), ('nextToken', answer['nextToken'])]
            time.sleep(0.11)  # List is throttled
        raise Failure('the list of jobs does not end')

    def stored_data_set(self, instance):
        """The data set's bytes as they are kept: from S3 where they were uploaded, else from the spool."""
        key, size, room = self.query("SELECT s3_key, data_bytes, CASE state WHEN 'quarantined' THEN 'quarantine' ELSE 'obj' END FROM instance WHERE id = ?", instance)[0]
        if self.cloud and key:
            content = self.s3_get(key)
        else:
            with open(os.path.join(self.home, 'spool', room, instance + '.dcm'), 'rb') as f:
                content = f.read()
        return content[len(content) - size:]


def memory_of(pid):
    """KiB of a process by kind (Pss, Private_Dirty, ...), from smaps_rollup."""
    with open(f'/proc/{pid}/smaps_rollup') as f:
        return {line.split(':')[0]: int(line.split()[1]) for line in list(f)[1:]}


def run_tool(*words, seconds=120):
    """A DCMTK tool; -> (exit code, its output)."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, env=dict(clean_environment(), TCP_NODELAY='1'))
    return done.returncode, done.stdout.decode(errors='replace')


def statuses(output):
    """C-STORE statuses in what storescu -v or dcmsend -v print."""
    return re.findall(r'(?:Status|status)[^\n]*?(?:\(|: )(?:Status=)?(0x[0-9a-fA-F]{4}|[0-9a-fA-F]{4})\b', output)


@contextlib.contextmanager
def installing():
    """One at a time on this machine: what fetches packages must not meet another test that does (apt's locks, one node_modules for several tests)."""
    with open(os.path.join(tempfile.gettempdir(), f'storescp-tests.{os.getuid()}.install'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def beside(*parts):
    """Runs functions that mostly wait side by side, each with an installation of its own; the first failure is raised when all have ended."""
    with concurrent.futures.ThreadPoolExecutor(len(parts)) as pool:
        running = [pool.submit(part) for part in parts]
    for one in running:
        one.result()


def main(test):
    """Runs test(build directory) and exits: 0 ok, 1 failed, 77 left out (with the reason)."""
    name = os.path.basename(sys.argv[0])
    begun = time.monotonic()
    try:
        test(sys.argv[1] if len(sys.argv) > 1 else os.path.join(TOP, 'build'))
    except LeftOut as why:
        say(f'{name}: left out: {why}')
        sys.exit(77)
    except (Failure, subprocess.TimeoutExpired) as why:
        say(f'{name}: FAILED: {why}')
        sys.exit(1)
    say(f'{name}: ok, {time.monotonic() - begun:.0f} s')
