#!/usr/bin/env python3
"""destinations_test BUILD_DIR - several destinations: two accounts with a data store each and a bucket where nothing is imported. One that is blocked stops
no other and is named; it heals by itself. One that storescp.conf has lost is told, and a person moves what waits there. Each account's word (puts, imports)
is compared with ours."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, main, make_study, run_tool, same, say, until  # noqa: E402
from aws import Aws  # noqa: E402

OTHER_STORE = 'fedcba9876543210fedcba9876543210'


class Hospital(Installation):
    """`default` and `archive` in one account (the harness's stand-in), `neuro` in another one with keys, bucket and data store of its own."""

    def __init__(self, build, other):
        super().__init__(build, 'destinations', {'batch_quiet_ms': 500, 'spool_keep_imported_s': 3600, 'drain_s': 2},
                         aws_options=('--job-ms', '200', '--bucket', 'the-archive'))
        self.sections = {'destination neuro': {
            'for_calling_ae': 'NEURO*, MR?', 'dicom_bucket': 'neuro-images', 'datastore_id': OTHER_STORE, 'endpoint_url': other,
            'aws_access_key_id': 'NEUROKEY', 'aws_secret_access_key': 'neuro-secret'},
            'destination archive': {'for_called_ae': 'ARCHIVE', 'for_modality': 'CT', 'destination_kind': 's3', 'dicom_bucket': 'the-archive'}}
        self.configure()

    def send(self, paths, calling='CT1', called='STORESCP'):
        code, output = run_tool('storescu', '-aet', calling, '-aec', called, '127.0.0.1', str(self.port), *paths)
        same(code, 0, f'storescu ({output.strip()[-300:]})')

    def study(self, seed, count, modality='CT'):
        return make_study(os.path.join(self.work, f'study{seed}'), count, 2000, seed, modality)

    def at(self, destination):
        return dict(self.query('SELECT state, count(*) FROM instance WHERE destination = ? GROUP BY state', destination))

    def warnings(self):
        return self.status()['warnings']


def blocked_and_healed(it, aws):
    """The other account has no such bucket: only that destination waits, however much lies there, and it is named."""
    it.start()
    halves = it.study(1, 6)
    it.send(halves[:3], 'CT1')
    it.send(halves[3:], 'NEURO1')  # the same study, for two data stores
    it.send(it.study(2, 300, 'MR'), 'MR1')  # more than an uploader takes in hand at one time
    until(lambda: it.count('validated') >= 303 and any('with destination neuro' in w and 'NoSuchBucket' in w for w in it.warnings()), 20, 'neuro is told')
    both = it.study(3, 4)
    it.send(both, 'CT2', 'ARCHIVE')
    it.send(it.study(4, 5), 'CT2')
    it.send(both, 'CT2')  # the same images, for another destination: no duplicates
    it.send(both, 'CT2')  # but now they are
    until(lambda: it.at('archive') == {'stored': 4} and it.at('default') == {'imported': 12, 'duplicate': 4}, 20, 'the others go on')
    same(it.at('neuro'), {'validated': 303}, 'neuro waits')
    same(it.status()['destinations'], {'neuro': {'validated': 303, 'uploaded': 0, 'importing': 0}}, 'what waits, in status --json')
    story = it.ctl('why', it.one("SELECT id FROM instance WHERE destination = 'neuro' LIMIT 1"))
    check('Destination: neuro' in story and 'waiting with destination neuro' in story and 'NoSuchBucket' in story, f'why tells it: {story}')
    story = it.ctl('why', it.one("SELECT study_uid FROM instance WHERE calling_ae = 'NEURO1' LIMIT 1"))
    check('Destinations: default,neuro' in story and '  3 validated for destination neuro since' in story and 'NoSuchBucket' in story,
          f'why of the study tells where it stands and what it waits for: {story}')
    same(it.one("SELECT count(*) FROM instance WHERE state = 'stored' AND batch IS NULL AND location = 's3://the-archive/' || s3_key AND etag IS NOT NULL"), 4,
         'where the stored ones lie')
    same(it.one('SELECT sum(attempts) FROM instance'), 0, 'attempts that instances were charged with')
    same(aws.request('PUT', '/neuro-images', access='NEUROKEY', secret='neuro-secret')[0], 200, 'somebody makes the bucket')
    until(lambda: it.at('neuro') == {'imported': 303}, 40, 'neuro catches up by itself')
    until(lambda: not it.warnings(), 10, 'no warning is left')
    study = it.one("SELECT study_uid FROM instance WHERE destination = 'neuro' AND calling_ae = 'NEURO1' LIMIT 1")
    same(it.query('SELECT destination, instance_count FROM batch WHERE study_uid = ? ORDER BY destination', study), [('default', 3), ('neuro', 3)],
         'batches of the study that goes to two destinations')
    same(it.query('SELECT verdict, destinations FROM v_study WHERE study_uid = ?', study), [('imported', 'default,neuro')], 'its verdict')
    say('ok: blocked, the others go on, healed')


def silent(it, aws):
    """The other account swallows requests: transfers hang, and so do the importer's calls. The others hardly notice."""
    aws.fault(*({'operation': name, 'action': 'hang', 'ms': 60000} for name in ('PutObject', 'StartDICOMImportJob', 'GetDICOMImportJob', 'ListObjectsV2')))
    before = it.at('default')['imported']
    it.send(it.study(11, 40, 'MR'), 'MR1')
    until(lambda: it.at('neuro').get('validated') == 40, 10, 'they are judged')
    begun = time.monotonic()
    it.send(it.study(12, 60), 'CT2', 'STORESCP')
    it.send(it.study(13, 5), 'CT2', 'ARCHIVE')
    until(lambda: it.at('default')['imported'] == before + 60 and it.at('archive')['stored'] == 9, 20, 'the others go on')
    took = time.monotonic() - begun
    check(took < 10, f'the others took {took:.1f} s beside one that hangs')
    aws.no_faults()
    it.ctl('reload')  # transfers that hang end with the old worker, and not only with their time limit
    until(lambda: it.at('neuro') == {'imported': 343}, 30, 'it goes on when the other account answers')
    say(f'ok: silent; the others took {took:.1f} s')


def lost_and_moved(it, aws):
    """Somebody takes the section away while images wait for it."""
    aws.kill()
    it.send(it.study(5, 7, 'MR'), 'MR2')
    until(lambda: it.at('neuro').get('validated') == 7, 10, 'they wait for neuro')
    neuro = it.sections.pop('destination neuro')
    it.configure()
    it.ctl('reload')
    until(lambda: [w for w in it.warnings() if 'no [destination neuro]' in w and 'move neuro NAME' in w], 15, 'status tells it')
    until(lambda: it.log_lines('destination_missing', 'destination=neuro'), 15, 'the log tells it')
    it.send(it.study(6, 2, 'MR'), 'MR2')  # new ones go where the rules say now
    until(lambda: it.at('default').get('imported') == 74, 20, 'new ones go to default')
    it.ctl('move', 'neuro', 'nowhere', code=1)
    it.ctl('move', 'neuro', 'default')
    until(lambda: it.at('default').get('imported') == 81, 20, 'what was moved is imported')
    until(lambda: not it.warnings(), 15, 'no warning is left')
    same(it.one("SELECT count(*) FROM event WHERE code = 'MOVED' AND who LIKE 'person %' AND note = 'from destination neuro to default'"), 7, 'events of the move')
    it.sections['destination neuro'] = neuro
    it.configure()
    say('ok: lost and moved')


def test(build):
    with Aws(build, '--job-ms', '200', '--datastore', OTHER_STORE, '--access-key', 'NEUROKEY', '--secret-key', 'neuro-secret') as aws:
        with Hospital(build, f'http://127.0.0.1:{aws.port}') as it:
            it.need_cloud()
            blocked_and_healed(it, aws)
            silent(it, aws)
            lost_and_moved(it, aws)
            it.stop()
            imported = [line for line in aws.log('imports.log') if line[6].startswith('neuro-images/')]
            same((len(imported), len({line[-1] for line in imported})), (343, 343), 'imports by the other account, and of how many instances')
            same(it.one('SELECT count(*) FROM import_job WHERE datastoreId = ?', OTHER_STORE), len(os.listdir(os.path.join(aws.data, 'jobs'))), 'jobs of the other data store')
            here = [line[1] for line in it.aws_log('puts.log')]
            same(len([key for key in here if 'storescp-results' not in key]), 12 + 4 + 60 + 5 + 2 + 7, 'objects in the first account')
            it.check_log()


main(test)
