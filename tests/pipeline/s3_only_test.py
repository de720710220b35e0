#!/usr/bin/env python3
"""s3_only_test BUILD_DIR - an installation without HealthImaging: images go to S3 under the layout YYYY/MM/DD/<time>/<study>/<series>/<sop>.dcm and end in `stored`; no
data store, no role, no job. Two contents under one key both stay, the same content is one object, a changed template or a killed uploader makes no second
one. Success at s3, Storage Commitment, `why`, release of the spool and rebuild say the truth."""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import BUCKET, Installation, check, main, make_study, run_tool, same, say, until  # noqa: E402
import commitment  # noqa: E402
import scu  # noqa: E402

DATED = '{yyyy}/{mm}/{dd}/{time}/{study}/{series}/{sop}.dcm'
FLAT = '{study}/{series}/{sop}.dcm'


class Archive(Installation):
    def objects(self):
        """-> keys that were ever written, in order"""
        return [line[1] for line in self.aws_log('puts.log')]

    def send(self, paths, wait=True):
        """-> the new rows' ids"""
        before = {i for (i,) in self.query('SELECT id FROM instance')}
        code, output = run_tool('storescu', '127.0.0.1', str(self.port), *paths)
        same(code, 0, f'exit code of storescu ({output.strip()[-300:]})')
        new = [i for (i,) in self.query('SELECT id FROM instance ORDER BY id') if i not in before]
        if wait:
            until(lambda: all(self.one('SELECT state FROM instance WHERE id = ?', i) == 'stored' for i in new), 30, f'stored; {self.states()}')
        return new

    def key(self, i):
        return self.one('SELECT s3_key FROM instance WHERE id = ?', i)


def the_dated_layout(it):
    paths = make_study(os.path.join(it.work, 'one'), 4, 5000, 61, 'MR') + make_study(os.path.join(it.work, 'large'), 1, 6 << 20, 65)
    ids = it.send(paths)
    for i in ids:
        key, sop, study, series, received, location, batch = it.query(
            'SELECT s3_key, sop_instance_uid, study_uid, series_uid, strftime("%Y/%m/%d/%H%M%S", received_ms / 1000, "unixepoch"), location, batch FROM instance WHERE id = ?', i)[0]
        same((key, location, batch), (f'{received}/{study}/{series}/{sop}.dcm', f's3://{BUCKET}/{key}', None), 'key, location, batch')
        sent = scu.read_part10(next(p for p in paths if sop in p))
        check(it.s3_get(key).endswith(sent.data), 'the object is what was sent')
        why = it.ctl('why', i)
        check('stored' in why and key in why and 'job' not in why, f'why tells where it is: {why}')
    same((it.one('SELECT count(*) FROM batch'), it.one('SELECT count(*) FROM import_job')), (0, 0), 'batches and jobs')
    say('5 images, one in parts, under date, time, study and series; no batch, no job')


def success_and_commitment(it):
    part = scu.read_part10(make_study(os.path.join(it.work, 'two'), 1, 5000, 62)[0])
    a = scu.Association('127.0.0.1', it.port, [(part.sop_class, part.syntax)], calling='WAITS')
    same(a.store(part), 0, 'status of a sender with success_at = s3')
    a.release()
    same(it.one('SELECT state FROM instance WHERE sop_instance_uid = ?', part.sop_instance), 'stored', 'state when success was sent')
    a = commitment.connect(it.port, 'WAITS')
    same(commitment.ask(a, '2.25.77', [(part.sop_class, part.sop_instance)]), 0, 'N-ACTION')
    report = commitment.hear(a)
    a.release()
    same((report.committed, report.failed), ([part.sop_instance], {}), 'the report')
    say('success at s3 and a commitment report')


def two_contents(it):
    """The same UIDs with another content: both stay; the same content once more is a duplicate."""
    first = make_study(os.path.join(it.work, 'three'), 1, 5000, 63)
    i, = it.send(first)
    other = make_study(os.path.join(it.work, 'four'), 1, 7000, 63)
    j, = it.send(other)
    check(it.key(j) == it.key(i)[:-4] + f'-{j}.dcm', f'keys {it.key(i)} and {it.key(j)}')
    same([len(it.s3_get(k)) for k in (it.key(i), it.key(j))], [it.one('SELECT file_bytes FROM instance WHERE id = ?', k) for k in (i, j)], 'sizes of both objects')
    puts = len(it.objects())
    k, = it.send(first, wait=False)
    until(lambda: it.one('SELECT state FROM instance WHERE id = ?', k) == 'duplicate', 20, 'a duplicate')
    same(len(it.objects()), puts, 'objects written for a duplicate')
    say('another content goes beside the first, the same one is a duplicate')


def key_stays(it):
    """Stored by S3, not answered; killed; another template: no second object."""
    it.fault({'operation': 'PutObject', 'action': 'reset_after'})
    before = len(it.objects())
    paths = make_study(os.path.join(it.work, 'five'), 3, 5000, 64)
    ids = it.send(paths, wait=False)
    until(lambda: len(it.objects()) > before, 20, 'S3 has one')
    for kind, pid in it.processes():
        if kind == 'uploader':
            os.kill(pid, signal.SIGKILL)
    it.stop()
    decided = {i: it.key(i) for i in ids if it.key(i)}
    it.configure(s3_key_template=DATED)
    it.fault()
    it.start_up()
    until(lambda: all(it.one('SELECT state FROM instance WHERE id = ?', i) == 'stored' for i in ids), 30, 'stored')
    same({i: it.key(i) for i in decided}, decided, 'keys that were decided')
    same(len(it.objects()) - before, 3, 'objects written')
    say(f'{len(decided)} keys were decided before; none changed, nothing was put twice')


def rebuilt(it):
    """A lost database: what the spool has is judged again, put again under the same key, and found to be there."""
    total, objects = it.one("SELECT count(*) FROM instance WHERE state = 'stored'"), len(it.objects())
    elsewhere = it.one("SELECT count(*) FROM instance WHERE state = 'stored' AND s3_key NOT LIKE '20__/__/__/%'")
    it.stop()
    for name in os.listdir(os.path.join(it.home, 'state')):
        if name.startswith('state.db'):
            os.remove(os.path.join(it.home, 'state', name))
    it.ctl('rebuild', code=None)
    it.start_up()
    until(lambda: it.count('stored') == total, 40, f'all {total} are stored again; {it.states()}')
    same(len(it.aws_log('parts.log')), 2, 'parts ever sent: the large one was not sent again to be told that it is there')
    same(len(it.objects()) - objects, elsewhere, 'objects written: only those that lay under another template')
    say(f'{total} found again after the database was lost, {total - elsewhere} of them where the template puts them')


def test(build):
    settings = {'destination_kind': 's3', 's3_key_template': DATED, 'same_uid_other_content': 'newer', 'spool_keep_imported_s': 3600, 'multipart_above_mb': 5,
                'multipart_part_mb': 5}
    with Archive(build, 's3only', settings) as it:
        it.need_cloud()
        for name in ('datastore_id', 'data_access_role_arn'):
            del it.settings[name]
        it.sections['ae WAITS'] = {'success_at': 's3', 'success_wait_s': 30, 'commitment_at': 'uploaded'}
        it.configure()
        it.start()
        the_dated_layout(it)
        success_and_commitment(it)
        it.stop()
        it.configure(s3_key_template=FLAT)
        it.start_up()
        two_contents(it)
        key_stays(it)
        rebuilt(it)
        it.stop()
        it.check_log()


main(test)
