#!/usr/bin/env python3
"""rebuild_test BUILD_DIR - everything is killed at a moment, state.db is deleted, `storescpctl rebuild`, `up`: every image that was answered
ends imported exactly once (or refused, as before), with evidence, whatever the moment was: batch open, half uploaded, start made and its
answer lost, job running, job ended, imported and released, retried into a second batch, objects deleted from S3, no network, twice."""
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from aws import Aws  # noqa: E402
from harness import Installation, check, clean_environment, main, make_study, run_tool, same, say, until  # noqa: E402
import scu  # noqa: E402

QUIET = 600000  # ms: a batch that nobody closes


class Site(Installation):
    seed = 700

    def __init__(self, build, **settings):
        super().__init__(build, 'rebuild', dict({'spool_keep_imported_s': 3600}, **settings), aws_options=('--job-ms', '300', '--no-throttle'))
        self.need_cloud()
        self.client = Aws(build, directory=self.aws_directory)  # for its signer only; never started
        self.client.port = self.aws_port
        self.uids = []

    def again(self, **settings):
        """Everything gone in an instant; then the database too."""
        self.kill_all()
        for name in os.listdir(os.path.join(self.home, 'state')):
            if name.startswith('state.db'):
                os.remove(os.path.join(self.home, 'state', name))
        self.configure(**settings)

    def send(self, count, change=None):
        Site.seed += 1
        paths = make_study(os.path.join(self.work, f'study{Site.seed}'), count, 2000, Site.seed)
        if change:
            association = scu.Association('127.0.0.1', self.port, [('1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1')])
            for path in paths:
                part = scu.read_part10(path)
                same(association.store(part._replace(data=change(part.data))), 0, 'C-STORE status')
            association.release()
        else:
            code, output = run_tool('dcmsend', '--scan-directories', '127.0.0.1', str(self.port), os.path.dirname(paths[0]))
            same(code, 0, f'dcmsend ({output.strip()[-300:]})')
        uids = [os.path.basename(p)[:-4] for p in paths]
        self.uids += uids
        return paths, uids

    def among(self, uids, state):
        marks = ','.join('?' * len(uids))
        return self.one(f'SELECT count(*) FROM instance WHERE state = ? AND sop_instance_uid IN ({marks})', state, *uids)

    def reach(self, uids, state, seconds=30):
        until(lambda: self.among(uids, state) == len(uids), seconds, f'{len(uids)} instances are {state}')

    def rebuild(self, code=0):
        """-> what it prints; the stand-in runs, nothing else."""
        self.start_aws()
        done = subprocess.run([self.program('storescpctl'), '--home', self.home, 'rebuild'], capture_output=True, text=True, timeout=120, env=clean_environment())
        check(done.returncode == code, f'rebuild ended with {done.returncode}: {done.stdout}{done.stderr}')
        return done.stdout

    def goes_on(self, what, code=0):
        """Rebuilds, starts, waits for every end, stops, and looks whether each image was imported once."""
        text = self.rebuild(code)
        self.start()
        self.settle(seconds=90)
        self.stop()
        self.check_invariants()
        same(self.among(self.uids, 'imported'), len(self.uids), f'{what}: imported of {len(self.uids)}\n{text}')
        same(len({line[-1] for line in self.aws_log('imports.log')} & {r[0] for r in self.query("SELECT id FROM instance WHERE state = 'imported'")}),
             self.count('imported'), f'{what}: what the stand-in imported')
        say(f'ok: {what}')


def test(build):
    with Site(build, batch_quiet_ms=QUIET) as it:
        # an empty database is not begun beside a full spool: no stage, no `up`
        it.start()
        _, uids = it.send(12)
        it.reach(uids, 'uploaded')
        it.again(batch_quiet_ms=500)
        for words in (['storescpctl', '--home', it.home, 'up'], ['storescp-receiver', '--home', it.home]):
            done = subprocess.run([it.program(words[0]), *words[1:]], capture_output=True, text=True, timeout=20, env=clean_environment())
            check(done.returncode not in (0, -9) and 'rebuild' in done.stderr, f'{words[0]}: {done.returncode} {done.stderr}')
        check(not os.path.exists(it.database), 'a new database was begun beside a full spool')
        it.goes_on('batch open, all uploaded')

        # half uploaded; some quarantined, a duplicate
        it.configure(batch_quiet_ms=QUIET)
        it.start()
        it.client.fault({'operation': 'PutObject', 'skip': 5, 'action': 'error', 'status': 503, 'code': 'SlowDown'})
        _, uids = it.send(12)
        until(lambda: it.among(uids, 'uploaded') == 5, 30, 'five are uploaded')
        paths, _ = it.send(1)
        code, output = run_tool('storescu', '127.0.0.1', str(it.port), paths[0])  # a duplicate
        same(code, 0, f'storescu ({output.strip()})')
        _, bad = it.send(2, lambda data: data[:200])  # cut off: quarantined
        it.uids = [u for u in it.uids if u not in bad]
        until(lambda: it.among(bad, 'quarantined') == 2 and it.count('duplicate') == 1, 30, 'quarantined and duplicate')
        it.again(batch_quiet_ms=500)
        it.goes_on('batch half uploaded, quarantined ones, a duplicate')
        same((it.count('quarantined'), it.count('duplicate')), (2, 1), 'refused ones are refused again')
        same(len(it.spool_files('quarantine')), 2, 'their files')

        # the start was made, its answer never came
        it.start()
        it.client.fault({'operation': 'StartDICOMImportJob', 'action': 'reset_after'}, {'operation': 'ListDICOMImportJobs', 'action': 'error'})
        _, uids = it.send(10)
        until(lambda: it.one("SELECT count(*) FROM batch WHERE state = 'starting'") == 1, 30, 'a batch is starting')
        until(lambda: [r for r in it.client.faults() if r['seen'] and r['operation'] == 'StartDICOMImportJob'], 30, 'the start was made')
        it.again()
        it.goes_on('job started, answer lost')

        # the start was never made
        it.start()
        it.client.fault({'operation': 'StartDICOMImportJob', 'action': 'reset'})
        _, uids = it.send(10)
        until(lambda: it.one("SELECT count(*) FROM batch WHERE state = 'starting'") == 1, 30, 'a batch is starting')
        it.again()
        it.goes_on('intent stored, job not started')

        # running
        it.aws_options[1] = '8000'
        it.start()
        _, uids = it.send(10)
        until(lambda: it.one("SELECT count(*) FROM batch WHERE state = 'running'") == 1, 30, 'a job runs')
        it.again()
        it.goes_on('job running')
        it.aws_options[1] = '300'

        # ended, results not read
        it.start()
        it.client.fault({'operation': 'GetObject', 'key': 'job-output-manifest.json', 'action': 'error', 'status': 404, 'code': 'NoSuchKey'})
        _, uids = it.send(10)
        until(lambda: it.one("SELECT count(*) FROM batch WHERE state = 'reconciling'") == 1, 30, 'a job has ended')
        it.again()
        it.goes_on('results not read')

        # retried into a second batch that cannot be started: objects under two prefixes
        it.start()
        it.client.fault({'operation': 'ImportFile', 'times': 3, 'action': 'server_error'},
                        {'operation': 'StartDICOMImportJob', 'skip': 1, 'action': 'error', 'status': 503, 'code': 'ServiceUnavailable'})
        _, uids = it.send(10)
        until(lambda: it.among(uids, 'imported') == 7 and it.among(uids, 'validated') == 0, 60, 'seven imported, three uploaded again')
        it.again()
        it.goes_on('three retried into a second batch')

        # all is done, spool files kept; then the objects of half of them are gone from S3
        keys = [r[0] for r in it.query("SELECT s3_key FROM instance WHERE state = 'imported' ORDER BY id")]
        imports = len(it.aws_log('imports.log'))
        it.again()
        it.goes_on('all imported, spool files kept')
        it.start_aws()
        for key in keys[::2]:
            status, _, _ = it.client.request('DELETE', f'/storescp-local/{key}')
            same(status, 204, f'DeleteObject of {key}')
        it.again()
        it.start_aws()
        text = it.rebuild()
        it.start()
        it.settle()
        it.stop()
        same(it.count('imported'), len(it.uids), f'imported after objects were deleted\n{text}')
        same(len(it.aws_log('imports.log')), imports, 'imports after objects were deleted')
        say('ok: all imported, half of the objects deleted from S3')

    # released: only S3 and HealthImaging know them; the network goes away in the middle, and rebuild is run again
    with Site(build, batch_quiet_ms=500, spool_keep_imported_s=0) as it:
        it.start()
        for _ in range(3):
            it.send(8)
        it.settle(24)
        until(lambda: not it.spool_files(), 30, 'the spool is empty')
        before = it.query("SELECT id, sop_instance_uid, study_uid, batch, s3_key, job_id, image_set_id, is_primary, etag, file_crc32c FROM instance ORDER BY id")
        imports = len(it.aws_log('imports.log'))
        it.again()
        it.start_aws()
        it.client.fault({'operation': 'HeadObject', 'skip': 10, 'times': 1, 'action': 'error', 'status': 403, 'code': 'AccessDenied'})
        it.rebuild(code=1)
        done = subprocess.run([it.program('storescp-validator'), '--home', it.home], capture_output=True, text=True, timeout=20, env=clean_environment())
        same(done.returncode, 78, 'exit code of a stage on an unfinished rebuild')
        it.goes_on('imported and released; rebuild cut off and run again')
        after = it.query("SELECT id, sop_instance_uid, study_uid, batch, s3_key, job_id, image_set_id, is_primary, etag, file_crc32c FROM instance ORDER BY id")
        same(after, before, 'evidence before and after')
        same(len(it.aws_log('imports.log')), imports, 'imports before and after')
        check('imported' in it.ctl('why', before[0][0]), 'why of a rebuilt one')

        # at random moments, three times
        chance = random.Random(5)
        for turn in range(3):
            it.configure(spool_keep_imported_s=chance.choice((0, 3600)))
            it.start()
            it.send(15)
            _, uids = it.send(15)
            part = chance.randrange(15)
            until(lambda: it.among(uids, 'received') + it.among(uids, 'validated') <= 15 - part, 30, 'some progress')  # noqa: B023
            it.again()
            it.goes_on(f'random moment {turn + 1}')

        # deleted under the running pipeline: nothing is answered with success that no database remembers
        it.start()
        os.remove(it.database)
        paths = make_study(os.path.join(it.work, 'late'), 3, 2000, 999)
        parts = [scu.read_part10(p) for p in paths]
        association = scu.Association('127.0.0.1', it.port, sorted({(p.sop_class, p.syntax) for p in parts}))
        try:
            answers = [association.store(p) for p in parts]
        except (scu.Refused, OSError):
            answers = []
        check(all(a >> 8 == 0xa7 for a in answers), f'C-STORE statuses without a database: {answers}')
        it.again()
        it.goes_on('state.db deleted while all ran')
        it.start()
        code, output = run_tool('dcmsend', '--scan-directories', '127.0.0.1', str(it.port), os.path.dirname(paths[0]))
        same(code, 0, f'dcmsend ({output.strip()[-300:]})')
        it.uids += [os.path.basename(p)[:-4] for p in paths]
        it.settle()
        same(it.among(it.uids, 'imported'), len(it.uids), 'imported in the end')
        it.stop()
        it.check_invariants()


main(test)
