#!/usr/bin/env python3
"""import_test BUILD_DIR - the way through HealthImaging goes wrong in every way that the stand-in can be ordered to, and importers are killed in
every phase. Whatever happens: one import job for each batch, an end with evidence or reason for each image, no image imported twice unless the
job gave no word about it; and the spool keeps an image until it is imported."""
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, beside, check, clean_environment, main, make_study, run_tool, same, say, until  # noqa: E402


class Clinic(Installation):
    seeds = itertools.count(501)  # of all installations side by side

    def order(self, *rules):
        """What goes wrong from now on; nothing else than that."""
        url = f'http://127.0.0.1:{self.aws_port}/_local/faults'
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(urllib.request.Request(url, method='DELETE'), timeout=10).read()
        if rules:
            opener.open(urllib.request.Request(url, json.dumps(rules).encode(), {'Content-Type': 'application/json'}), timeout=10).read()

    def seen(self):
        """How often each rule took effect."""
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f'http://127.0.0.1:{self.aws_port}/_local/faults', timeout=10) as answer:
            rules = json.load(answer)
        return [rule['seen'] for rule in (rules['rules'] if isinstance(rules, dict) else rules)]

    def send(self, count):
        """-> SOP Instance UIDs of a new study that was sent"""
        seed = next(Clinic.seeds)
        paths = make_study(os.path.join(self.work, f'study{seed}'), count, 2000, seed)
        code, output = run_tool('dcmsend', '--scan-directories', '127.0.0.1', str(self.port), os.path.dirname(paths[0]))
        same(code, 0, f'dcmsend ({output.strip()[-300:]})')
        return [os.path.basename(p)[:-4] for p in paths]

    def of(self, uids, column='state'):
        """-> {value: count} of a column for these instances"""
        found = {}
        for uid in uids:
            value = self.one(f'SELECT {column} FROM instance WHERE sop_instance_uid = ?', uid)
            found[value] = found.get(value, 0) + 1
        return found

    def ended(self, uids, expected, what, seconds=60):
        marks = ','.join('?' * len(uids))
        until(lambda: self.one(f"SELECT count(*) FROM instance WHERE sop_instance_uid IN ({marks}) AND state IN ('imported', 'failed')", *uids) == len(uids),
              seconds, f'{what}: every image has its end')
        same(self.of(uids), expected, what)
        say(f'ok: {what}')

    def kill_importers(self):
        victims = [pid for stage, pid in self.living() if stage == 'importer']
        check(victims, 'no importer to kill')
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: [p for s, p in self.living() if s == 'importer' and p not in victims], 20, 'a new importer is there')

    def in_state(self, *states):
        return self.one(f"SELECT count(*) FROM batch WHERE state IN ({','.join('?' * len(states))})", *states)

    def jobs(self):
        """Names of all jobs that the stand-in ever made: the other side's word, not ours."""
        directory = os.path.join(self.aws_directory, 'jobs')
        names = []
        for name in os.listdir(directory):
            if name.endswith('.json'):
                with open(os.path.join(directory, name)) as f:
                    job = json.load(f)
                names.append(job.get('jobName') or job['request']['jobName'])
        return names

    def one_job_each(self):
        names = self.jobs()
        check(names, 'the stand-in knows no job')
        same(sorted({n for n in names if names.count(n) > 1}), [], 'batches with two jobs')


def error(operation, status, code, times, **more):
    return dict(operation=operation, action='error', status=status, code=code, times=times, **more)


def setting_is_missing(it):
    """Exit code 78 and a sentence, at once."""
    conf = os.path.join(it.home, 'storescp.conf')
    with open(conf) as f:
        whole = f.readlines()
    for name in ('datastore_id', 'data_access_role_arn', 'dicom_bucket'):
        with open(conf, 'w') as f:
            f.writelines(line for line in whole if not line.startswith(name))
        done = subprocess.run([it.program('storescp-importer'), '--home', it.home], capture_output=True, text=True, timeout=10, env=clean_environment())
        same(done.returncode, 78, f'exit code without {name}')
        check(name in done.stderr and 'set' in done.stderr, f'the importer says nothing of {name}: {done.stderr}')
    it.configure()
    say('ok: a setting that is missing')


def outages(it):
    it.order(error('StartDICOMImportJob', 429, 'ThrottlingException', 2), error('StartDICOMImportJob', 402, 'ServiceQuotaExceededException', 2, skip=2),
             error('StartDICOMImportJob', 500, 'InternalServerException', 1, skip=4), error('GetDICOMImportJob', 429, 'ThrottlingException', 2),
             error('ListObjectsV2', 503, 'SlowDown', 2), dict(operation='GetObject', action='reset', key='manifest', times=1))
    uids = it.send(4)
    it.ended(uids, {'imported': 4}, 'throttled, at the quota, out of order', 120)
    same(it.seen(), [2, 2, 1, 2, 2, 1], 'how often the ordered errors came')


def lost_answers(it):
    """The job is made and the answer is lost; the importer lives on, or is killed while it waits for it."""
    it.order(dict(operation='StartDICOMImportJob', action='reset_after', times=1))
    uids = it.send(3)
    it.ended(uids, {'imported': 3}, 'the answer to a start was lost')
    same(it.seen(), [1], 'lost answers')
    it.order(dict(operation='StartDICOMImportJob', action='delay', ms=1500, times=1))
    uids = it.send(3)
    until(lambda: it.in_state('starting'), 30, 'a batch is starting')
    it.kill_importers()
    it.ended(uids, {'imported': 3}, 'killed while the start was under way')
    it.one_job_each()


def killed_in_each_phase(it):
    for phase, rule in (('running', dict(operation='GetDICOMImportJob', action='delay', ms=400, times=3)),
                        ('reconciling', dict(operation='GetObject', action='delay', ms=700, key='DicomImport', times=3))):
        it.order(rule)
        uids = it.send(3)
        until(lambda phase=phase: it.in_state(phase), 30, f'a batch is {phase}')
        it.kill_importers()
        it.ended(uids, {'imported': 3}, f'killed while a batch was {phase}')
    it.one_job_each()


def late_results(it):
    it.order(error('GetObject', 404, 'NoSuchKey', 3, key='job-output-manifest'))
    uids = it.send(3)
    it.ended(uids, {'imported': 3}, 'a manifest that is late')
    same(it.seen(), [3], 'looks that came too early')
    same(it.of(uids, 'import_attempts'), {0: 3}, 'nothing was imported again')


def errors_of_files(it):
    it.order(dict(operation='ImportFile', action='server_error', times=3), dict(operation='ImportFile', action='customer_error', times=1, skip=5))
    uids = it.send(8)
    it.ended(uids, {'imported': 7, 'failed': 1}, 'three errors of the service, one of a file')
    same(it.of(uids, 'import_attempts'), {0: 5, 1: 3}, 'jobs that gave no verdict')
    same(it.query("SELECT error_code, error_text FROM instance WHERE state = 'failed'"), [('IMPORT_REFUSED', 'ValidationException: ordered fault')], 'the reason')
    failed = it.one("SELECT id FROM instance WHERE state = 'failed'")
    check('ValidationException: ordered fault' in it.ctl('why', failed), '`why` tells the reason')
    check(failed + '.dcm' in it.spool_files(), 'the spool file of a failed image is kept')
    it.ctl('retry', failed)
    it.ended(uids, {'imported': 8}, 'the failed one was tried again by a person')


def failed_job(it):
    it.order(dict(operation='ImportJob', action='job_failed', partial=True, message='ordered end', times=1))
    uids = it.send(6)
    it.ended(uids, {'imported': 6}, 'a job failed half way')
    same(it.of(uids, 'import_attempts'), {0: 3, 1: 3}, 'images that went into a second job')
    same(it.one("SELECT count(*) FROM event WHERE code = 'IMPORT_JOB_FAILED' AND from_state = 'importing' AND note LIKE '%ordered end%'"), 3, 'the story in the history')
    it.order(dict(operation='ImportJob', action='job_failed', message='ordered end', times=1))
    uids = it.send(2)
    it.ended(uids, {'imported': 2}, 'a job failed and left nothing')
    same(it.of(uids, 'import_attempts'), {1: 2}, 'images that went into a second job')


def refused_start(it):
    it.order(error('StartDICOMImportJob', 400, 'ValidationException', 1, message='the role is not to be assumed'))
    uids = it.send(2)
    it.ended(uids, {'failed': 2}, 'a request that is refused as such')
    code, text, remedy = it.query("SELECT error_code, error_text, remedy FROM instance WHERE state = 'failed' LIMIT 1")[0]
    same(code, 'AWS_REJECTED', 'the code')
    check('the role is not to be assumed' in text and 'storescpctl retry' in remedy, f'reason and remedy: {text}; {remedy}')
    it.ctl('retry', 'ALL')
    it.ended(uids, {'imported': 2}, 'tried again by a person')


def wrong_settings(it):
    """One alarm, a status that says it, nothing lost, and it goes on by itself."""
    it.order(error('StartDICOMImportJob', 403, 'AccessDeniedException', 3))
    before = open(it.log_path, errors='replace').read().count('import_waits')
    uids = it.send(2)
    until(lambda: any('AWS_ACCESS_DENIED' in row[0] for row in it.query("SELECT status FROM worker WHERE stage = 'importer'")), 30, 'the status says why it waits')
    same(it.of(uids), {'importing': 2}, 'meanwhile')
    check(set(it.spool_files()), 'the spool file of an image that is not imported is kept')
    it.ended(uids, {'imported': 2}, 'access was denied for a while', 90)
    until(lambda: {row[0] for row in it.query("SELECT status FROM worker WHERE stage = 'importer'")} == {'ready'}, 30, 'the status is ready again')
    check(open(it.log_path, errors='replace').read().count('import_waits') - before in (1, 2), 'not one alarm of each importer that found out')


def drained(it):
    """SIGTERM in the middle: nothing is half done, and a start goes on."""
    it.order(dict(operation='GetDICOMImportJob', action='delay', ms=500))
    uids = it.send(3)
    until(lambda: it.in_state('starting', 'running'), 30, 'a batch is under way')
    it.supervisor.send_signal(signal.SIGTERM)
    same(it.supervisor.wait(30), 0, 'exit code of up')
    it.supervisor = None
    same(it.one('SELECT count(*) FROM batch WHERE owner IS NOT NULL'), 0, 'claims after SIGTERM')
    it.order()
    it.start_up()
    it.ended(uids, {'imported': 3}, 'stopped in the middle')
    it.one_job_each()


def no_word(it):
    """Lines of the results are missing: the images are not assumed imported. They go again, and that is the one case of a second import."""
    it.order(dict(operation='ImportFile', action='drop_result', times=2))
    uids = it.send(5)
    it.ended(uids, {'imported': 5}, 'no word about two images', 120)
    same(it.of(uids, 'import_attempts'), {0: 3, 1: 2}, 'images that went into a second job')
    imports = [line[-1] for line in it.aws_log('imports.log')]
    same(sorted(imports.count(i) for i in set(imports)), [1, 1, 1, 2, 2], 'imports of each image')


def rates(it):
    """HealthImaging's own limits: one start a second, burst two, by all importers together; nothing is throttled when we keep to it."""
    begun = time.monotonic()
    uids = [uid for _ in range(6) for uid in it.send(1)]
    it.ended(uids, {'imported': 6}, 'six studies at one start a second')
    check(time.monotonic() - begun >= 3, 'six starts took less than four seconds in spite of the rate')
    log = open(it.log_path, errors='replace').read()
    same(log.count('AWS_THROTTLED'), 0, 'throttled calls')
    it.one_job_each()


def goes_wrong(build, name, parts):
    with Clinic(build, name, {'batch_quiet_ms': 300}, {'importer': 2}, ('--job-ms', '300', '--start-per-second', '20')) as it:
        it.start()
        for part in parts:
            part(it)
            it.order()
        it.settle()
        until(lambda: not it.spool_files(), 20, 'what is imported is released')
        it.one_job_each()
        it.stop()
        it.check_invariants()


def goes_twice(build):
    with Clinic(build, 'import-no-word', {'batch_quiet_ms': 300}) as it:
        it.start()
        no_word(it)
        it.one_job_each()
        it.stop()


def keeps_to_rates(build):
    with Clinic(build, 'import-rates', {'batch_quiet_ms': 100, 'import_start_per_minute': 60, 'import_start_burst': 2}, {'importer': 3}, ('--job-ms', '200')) as it:
        it.start()
        rates(it)
        it.stop()
        it.check_invariants()


def test(build):
    with Clinic(build, 'import-settings') as it:
        it.need_cloud()
        setting_is_missing(it)
    beside(lambda: goes_wrong(build, 'import-1', (lost_answers, killed_in_each_phase, drained, late_results, errors_of_files)),
           lambda: goes_wrong(build, 'import-2', (outages, failed_job, refused_start, wrong_settings)),
           lambda: goes_twice(build), lambda: keeps_to_rates(build))


main(test)
