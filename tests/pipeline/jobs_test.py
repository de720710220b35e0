#!/usr/bin/env python3
"""jobs_test BUILD_DIR - import jobs that do not end, studies that are urgent, small studies that share a job, images that are held: what a hospital
meets beside the plain way. The stand-in's word (jobs, imports) is compared with ours."""
import concurrent.futures
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import scu  # noqa: E402
from harness import Installation, check, main, make_study, run_tool, same, say, until  # noqa: E402


class Clinic(Installation):
    seed = 7000

    def send(self, count, calling='CT1'):
        """-> SOP Instance UIDs of a new study that was sent"""
        Clinic.seed += 1
        paths = make_study(os.path.join(self.work, f'study{Clinic.seed}'), count, 2000, Clinic.seed)
        code, output = run_tool('dcmsend', '-aet', calling, '--scan-directories', '127.0.0.1', str(self.port), os.path.dirname(paths[0]))
        same(code, 0, f'dcmsend ({output.strip()[-300:]})')
        return [os.path.basename(p)[:-4] for p in paths]

    def all_are_done(self):
        """Is every batch done?"""
        return self.one("SELECT count(*) FROM batch WHERE state <> 'done'") == 0

    def restart_aws(self, job_ms):
        self.stop_aws()
        self.aws_options = ['--job-ms', str(job_ms)]
        self.start_aws()


def a_job_that_does_not_end(build):
    """Told once, by log, status, stuck and why, with the place that it keeps; it is not repeated, and ends when HealthImaging ends it. The second is
    given up by a person: one new job, and the images are imported."""
    with Clinic(build, 'jobs-overdue', {'batch_quiet_ms': 200, 'import_job_s': 1}, aws_options=('--job-ms', '600000')) as it:
        it.need_cloud()
        it.start()
        it.send(2)
        until(lambda: it.query('SELECT 1 FROM v_overdue'), 15, 'the job is noticed')
        batch, job = it.query('SELECT batch, job FROM v_overdue')[0]
        status = it.status()
        same(status['jobs'], {'running': 1, 'overdue': 1}, 'jobs in status --json')
        told = [w for w in status['warnings'] if job in w and 'import_running_max' in w and f'retry {batch} --job' in w]
        same(len(told), 1, f'warnings about the job {status["warnings"]}')
        for text in (it.ctl('stuck'), it.ctl('why', batch), it.ctl('why', it.one('SELECT id FROM instance LIMIT 1'))):
            check(f'retry {batch} --job' in re.sub(r'\s+', ' ', text), f'no remedy in: {text}')
        it.restart_aws(300)
        it.settle(2)
        waits = it.status()['waits']
        same([waits[step]['recent'] for step in ('received', 'validated', 'uploaded', 'importing', 'all')], [2] * 5, f'images that came through {waits}')
        check(waits['importing']['longest_s'] > 1 and waits['all']['half_s'] >= waits['importing']['half_s'], f'how long they waited: {waits}')
        check(re.search(r'^waits in .*\n.*\n.*\n.*\nimporting  ', it.ctl('status'), re.M), 'times in status')
        same(len(it.log_lines('import_job_overdue')), 1, 'lines in the log')
        it.ctl('retry', batch, '--job', code=1)
        it.restart_aws(600000)
        it.send(1)
        until(lambda: it.query('SELECT 1 FROM v_overdue'), 15, 'the second job is noticed')
        batch = it.one('SELECT batch FROM v_overdue')
        it.restart_aws(300)
        it.fault({'operation': 'GetDICOMImportJob', 'action': 'error', 'times': 1})  # the person is sooner than the next look
        it.ctl('retry', batch, '--job', '--reason', 'support said so')
        it.settle(3)
        same(it.one('SELECT jobStatus FROM import_job WHERE batch = ?', batch), 'GIVEN_UP', 'status of the job that was given up')
        check('support said so' in it.one("SELECT note FROM event WHERE batch = ? AND instance IS NULL AND to_state = 'reconciling'", batch), 'who and why')
        it.stop()
        say('ok: a job that does not end')


def urgent_studies(build):
    """An emergency room's study does not wait for the end of others; what a person presses `close` for does not, either."""
    with Clinic(build, 'jobs-urgent', {'batch_quiet_ms': 600000, 'batch_urgent_quiet_ms': 300}) as it:
        it.sections['ae ER*'] = {'urgent': 'true'}
        it.sections['ae TESTSCU'] = {'urgent_by_priority': 'true'}
        it.configure()
        it.start()
        plain = it.send(2)
        it.send(2, 'ER7')
        until(lambda: it.count('imported') == 2, 20, 'the urgent study is imported')
        same(it.query("SELECT count(*), calling_ae FROM instance WHERE state = 'imported' AND urgent = 1 GROUP BY calling_ae"), [(2, 'ER7')], 'who went first')
        study = it.one('SELECT study_uid FROM instance WHERE sop_instance_uid = ?', plain[0])
        until(lambda: it.count('uploaded') == 2, 10, 'the other one waits for more')
        check('storescpctl close' in it.ctl('why', it.one("SELECT id FROM instance WHERE state = 'uploaded'")), '`why` says what to press')
        it.ctl('close', '1.2.3.4.5.6', code=1)
        check('1 batch is closed' in it.ctl('close', study), 'what `close` answers')
        it.settle(4)
        it.ctl('close', study, code=1)
        paths = make_study(os.path.join(it.work, 'priorities'), 3, 2000, 7500)
        for priority, path in enumerate(paths):  # medium, high, low: the one that is high takes the others of its study along
            part10 = scu.read_part10(path)
            association = scu.Association('127.0.0.1', it.port, [(part10.sop_class, part10.syntax)])
            same(association.store(part10, priority=priority), 0, 'status of a C-STORE with a priority')
            association.release()
        it.settle(7)
        same(it.query("SELECT urgent, count(*) FROM instance WHERE sop_instance_uid IN (?, ?, ?) GROUP BY urgent", *[os.path.basename(p)[:-4] for p in paths]), [(0, 2), (1, 1)],
             'urgent by priority')
        it.stop()
        it.check_invariants()
        say('ok: urgent studies')


def failed_jobs_and_held_images(build):
    """A job that fails as a whole comes again as a whole, then in halves; an image that a person holds lets its batch go, and follows when it is released."""
    with Clinic(build, 'jobs-halves', {'batch_quiet_ms': 500, 'batch_max_age_ms': 1500}) as it:
        it.start()
        it.fault({'operation': 'ImportJob', 'action': 'job_failed', 'partial': True, 'times': 2, 'message': 'ordered end'})
        it.send(9)
        it.settle(9)
        same(it.states(), {'imported': 9}, 'states after two failed jobs')
        same(it.query('SELECT instance_count, count(*), split_of IS NOT NULL FROM batch GROUP BY 1, 3 ORDER BY 1'), [(1, 2, 1), (4, 1, 0), (9, 1, 0)], 'batches')
        same(sorted(row[0] for row in it.query('SELECT import_attempts FROM instance')), [0] * 5 + [1, 1, 2, 2], 'jobs that gave no verdict')
        uids = it.send(3)
        until(lambda: it.count('uploaded') == 3, 10, 'three images are in S3')
        held = it.one('SELECT id FROM instance WHERE sop_instance_uid = ?', uids[1])
        it.ctl('hold', held, '--reason', 'wrong patient?')
        until(lambda: it.count('imported') == 11, 20, 'the others are imported')
        same(it.query('SELECT state, held, s3_key FROM instance WHERE id = ?', held), [('validated', 1, None)], 'the one that is held')
        same(len(it.log_lines('held_left', 'count=1')), 1, 'told in the log')
        it.ctl('release', held)
        it.settle(12)
        same(it.states(), {'imported': 12}, 'states in the end')
        it.stop()
        it.check_invariants()
        say('ok: failed jobs and held images')


def small_studies_share(build):
    """At one start a second, sixty studies of one image: in a few jobs instead of sixty, each image imported once. A lone study goes alone."""
    with Clinic(build, 'jobs-shared', {'batch_quiet_ms': 1500, 'batch_share_above_s': 1, 'import_start_per_minute': 60, 'import_start_burst': 1}) as it:
        it.start()
        it.send(2)
        directory = os.path.join(it.work, 'small')
        for i in range(60):
            make_study(os.path.join(directory, str(i)), 1, 2000, 9000 + i)
        code, output = run_tool('dcmsend', '--scan-directories', '--recurse', '127.0.0.1', str(it.port), directory)
        same(code, 0, f'dcmsend ({output.strip()[-300:]})')
        until(lambda: it.query('SELECT 1 FROM batch WHERE study_uid IS NULL'), 10, 'there is a shared batch')
        shared = it.one('SELECT id FROM batch WHERE study_uid IS NULL')
        it.settle(62)
        same(it.states(), {'imported': 62}, 'states')
        jobs = len(it.stored_jobs())
        say(f'61 studies in {jobs} jobs')
        check(3 <= jobs <= 12, f'{jobs} jobs for 61 studies')
        same(it.one('SELECT count(*) FROM (SELECT DISTINCT study_uid FROM v_batch_study)'), 61, 'studies of all batches')
        check('studies' in it.ctl('show', shared) and 'shared by' in it.ctl('why', shared), 'show and why tell that it is shared')
        same(it.one('SELECT count(*) FROM shared_study'), 0, 'what is counted while a batch is open')
        until(it.all_are_done, 10, 'every batch is done')
        it.send(1)
        it.settle(63)
        same(it.one("SELECT study_uid IS NOT NULL AND instance_count = 1 FROM batch ORDER BY opened_ms DESC LIMIT 1"), 1, 'a lone study goes alone')
        it.stop()
        it.check_invariants()
        say('ok: small studies share jobs')


def test(build):
    parts = (small_studies_share, failed_jobs_and_held_images, a_job_that_does_not_end, urgent_studies)
    with concurrent.futures.ThreadPoolExecutor(len(parts)) as pool:  # they mostly wait, each for an installation of its own
        for done in [pool.submit(part, build) for part in parts]:
            done.result()


main(test)
