#!/usr/bin/env python3
"""doctor: each thing that can be wrong is made wrong, and `storescpctl doctor` has to name it, with the setting or the permission that is missing.

The stand-in knows no policies: a denied operation is an ordered fault. What depends on a thing that is wrong is "not checked", never a second failure."""
import json
import os
import re
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import BUCKET, DATASTORE, Failure, Installation, LeftOut, TOP, check, clean_environment, free_port, main, make_study, run_tool, same, say, until

OURS = ('stages', 'spool_space', 'database', 'start_job')  # not "ok" on a home where nothing has run


class Patient:
    def __init__(self, it):
        self.it = it
        self.healthy = dict(it.settings)
        self.file_mode(0o600)

    def file_mode(self, mode):
        os.chmod(os.path.join(self.it.home, 'storescp.conf'), mode)

    def settings(self, **changed):
        """The healthy ones with these changed; None takes one out."""
        self.it.settings = {k: v for k, v in {**self.healthy, **changed}.items() if v is not None}
        self.it.configure()

    def look(self, *words, home=None, environment=None, code=None):
        """-> {check: (finding, sentence, remedy, actions of the missing statement)}"""
        done = subprocess.run([self.it.program('storescpctl'), '--home', home or self.it.home, 'doctor', '--json', *words], capture_output=True, text=True,
                              timeout=60, env={**clean_environment(), 'AWS_EC2_METADATA_DISABLED': 'true', **(environment or {})})
        try:
            checks = json.loads(done.stdout)['checks']
        except ValueError:
            raise Failure(f'doctor --json: exit code {done.returncode}, {done.stdout[:300]!r} {done.stderr[:300]!r}')
        failed = any(c['finding'] == 'failed' for c in checks)
        same(done.returncode, 1 if failed else 0, 'exit code')
        if code is not None:
            same(done.returncode, code, 'exit code')
        self.checks = {c['check']: (c['finding'], c['sentence'], c.get('remedy', ''), c.get('statement', {}).get('Action')) for c in checks}
        same(len(self.checks), len(checks), 'checks of different names')
        return self.checks

    def expect(self, name, finding, words='', remedy='', actions=None, **how):
        """Looks, and finds this about that check."""
        got = self.look(*how.pop('words_', ()), **how)[name]
        check(got[0] == finding and words in got[1] and remedy in got[2] and (actions is None or got[3] == actions),
              f'{name}: expected {finding}, "{words}", "{remedy}", {actions}: got {got}')
        others = {k: v for k, v in self.checks.items() if v[0] == 'failed' and k != name}
        return others

    def only(self, name, finding, *more, **how):
        """The same, and nothing else fails."""
        same(self.expect(name, finding, *more, **how), {}, f'what else fails beside {name}')

    def denied(self, operation, name, finding, action, **rule):
        self.it.fault({'operation': operation, 'action': 'error', 'status': 403, 'code': 'AccessDenied', 'message': 'no identity-based policy allows it', **rule})
        try:
            self.only(name, finding, operation, '', [action] if isinstance(action, str) else action)
        finally:
            self.it.fault()


def objects(it):
    return [line for line in it.aws_log('puts.log')]


def healthy(p):
    p.settings()
    p.file_mode(0o600)
    found = p.look(code=0)
    same({k: v for k, v in found.items() if v[0] != 'ok' and k not in OURS}, {}, 'what is not fine although nothing is wrong')
    same([found[k][0] for k in OURS], ['warning', 'not_checked', 'not_checked', 'not_checked'], 'what is not known on a home where nothing ran')
    keys = [line[1] for line in objects(p.it)]
    same(len(keys), 1, 'markers that were put')
    check(keys[0].startswith('storescp/doctor-'), f'the marker stands below no batch: {keys[0]}')
    same(b'<Key>' in p.it.signed_get('s3', '/' + BUCKET, [('list-type', 2)]), False, 'anything is left in the bucket')
    same(b'<Upload>' in p.it.signed_get('s3', '/' + BUCKET, [('uploads', '')]), False, 'an upload in parts is left')
    same(os.path.exists(os.path.join(p.it.home, 'spool')), False, 'doctor made directories')
    text = p.it.ctl('doctor')
    check('0 FAILED' in text and 'destination default' in text, f'the words for people: {text[-300:]}')


def settings_and_local(p):
    it = p.it
    p.settings(batch_max_count=99999)
    p.only('settings', 'failed', 'batch_max_count', 'storescpctl config')
    os.makedirs(os.path.join(it.home, 'spool', 'obj'))
    p.settings(spool_free_mb=90000000)
    p.only('spool_space', 'failed', 'spool_free_mb', 'free space')
    p.settings(spool_free_mb=1, spool_slow_free_mb=90000000, spool_reject_free_mb=0)
    p.only('spool_space', 'warning', 'spool_slow_free_mb')
    os.removedirs(os.path.join(it.home, 'spool', 'obj'))
    p.settings()
    p.file_mode(0o644)
    p.only('secrets', 'warning', 'mode 644', 'chmod 600')
    p.file_mode(0o600)
    p.only('secrets', 'warning', 'environment', environment={'AWS_SECRET_ACCESS_KEY': 'local-secret-key'})
    found = p.look(home=os.path.join(it.work, 'nowhere'), code=1, environment={'AWS_ENDPOINT_URL': f'http://127.0.0.1:{it.aws_port}'})
    for name in ('spool_directory', 'state_directory'):
        check(found[name][0] == 'failed' and 'cannot be written' in found[name][1], f'{name}: {found[name]}')
    with socket.socket() as s:
        s.bind(('127.0.0.1', it.port))
        s.listen(1)
        p.only('port', 'failed', str(it.port))
    p.settings(tls_port=free_port(), tls_certificate='no-such-file.pem', tls_ca='no-such-file.pem')
    p.only('certificates', 'failed', 'no-such-file.pem', 'tls_port')
    p.settings()
    os.makedirs(os.path.join(it.home, 'state'))
    with open(os.path.join(it.home, 'state', 'state.db'), 'w') as f:
        f.write('this is no database, and longer than its head would be' * 50)
    p.only('database', 'failed')
    with open(os.path.join(it.home, 'state', 'rebuild.unfinished'), 'w'):
        pass
    p.only('database', 'failed', 'rebuild', 'rebuild')
    os.unlink(os.path.join(it.home, 'state', 'rebuild.unfinished'))
    os.unlink(os.path.join(it.home, 'state', 'state.db'))
    os.rmdir(os.path.join(it.home, 'state'))


class Untrusted:
    """A TLS server whose certificate nobody has signed."""

    def __init__(self, directory):
        pem = os.path.join(directory, 'untrusted.pem')
        done = subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=127.0.0.1',
                               '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', pem, '-out', pem + '.crt'], capture_output=True)
        if done.returncode != 0:
            raise LeftOut('openssl makes no certificate')
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pem + '.crt', pem)
        self.socket = socket.create_server(('127.0.0.1', 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
                connection.settimeout(5)
                self.context.wrap_socket(connection, server_side=True).close()
            except ssl.SSLError:
                pass
            except OSError:
                if self.socket.fileno() == -1:
                    return


def reach_clock_and_keys(p):
    it = p.it
    nobody = free_port()
    p.settings(endpoint_url_s3=f'http://127.0.0.1:{nobody}')
    p.only('reach_s3', 'failed', f'127.0.0.1:{nobody}', 'endpoint_url_s3')
    same({p.checks[k][:2] for k in ('bucket', 'put', 'delete', 'output_bucket')}, {('not_checked', 'S3 cannot be reached')}, 'what needs S3')
    p.settings(endpoint_url_medical_imaging='http://no-such-host.invalid', aws_connect_ms=300)
    p.only('reach_healthimaging', 'failed', 'no-such-host.invalid', 'DNS')
    same(p.checks['datastore'][0], 'not_checked', 'what needs HealthImaging')
    p.settings(endpoint_url_sts=f'http://127.0.0.1:{nobody}')
    p.only('reach_sts', 'warning', f'127.0.0.1:{nobody}', 'STS')
    same(p.checks['identity'][0], 'not_checked', 'who we are, without STS')
    same(p.checks['put'][0], 'ok', 'keys that need no STS work')
    untrusted = Untrusted(it.work)
    p.settings(endpoint_url_s3=f'https://127.0.0.1:{untrusted.port}')
    p.only('reach_s3', 'failed', 'certificate', 'ca_bundle')
    untrusted.socket.close()
    p.settings(endpoint_url='ftp://example.org')
    p.only('client', 'failed', 'endpoint_url')
    same(p.checks['reach_s3'][0], 'not_checked', 'without a client')
    p.settings(aws_secret_access_key=None)
    p.only('client', 'failed', 'aws_secret_access_key')
    p.settings()
    it.fault({'operation': 'ListBuckets', 'action': 'clock_skew', 'seconds': 3600})
    p.only('clock', 'failed', 's behind the servers', 'time service')
    it.fault()
    it.fault({'operation': 'ListBuckets', 'action': 'clock_skew', 'seconds': -60})
    p.only('clock', 'warning', 's before', 'time service')
    it.fault()
    p.settings(aws_access_key_id=None, aws_secret_access_key=None)
    p.only('credentials', 'failed', 'no AWS credentials', 'credentials come from', environment={'HOME': it.work})
    same({p.checks[k][0] for k in ('identity', 'bucket', 'put', 'datastore')}, {'not_checked'}, 'what needs credentials')
    p.settings(aws_secret_access_key='another-secret')
    p.only('identity', 'failed', 'SignatureDoesNotMatch', 'does not belong to the access key')
    p.settings(aws_access_key_id='NOBODYKNOWSTHIS')
    p.only('identity', 'failed', 'STS GetCallerIdentity', 'does not know these keys')
    same({p.checks[k][0] for k in ('bucket', 'put', 'datastore')}, {'not_checked'}, 'what needs credentials that are taken')
    p.settings()


def buckets(p):
    it = p.it
    p.settings(dicom_bucket='no-such-bucket')
    found = p.look(code=1)
    check(found['bucket'][0] == 'failed' and 'no-such-bucket' in found['bucket'][1] and 'dicom_bucket' in found['bucket'][2], f'bucket: {found["bucket"]}')
    same(found['put'][:2], ('not_checked', 'the bucket cannot be used'), 'put without a bucket')
    p.settings(dicom_bucket=None)
    same(p.look(code=1)['bucket'][:2], ('failed', 'dicom_bucket is not set'), 'without dicom_bucket')
    p.settings(output_bucket='no-such-bucket')
    p.only('output_bucket', 'failed', 'no-such-bucket', 'output_bucket')
    same(p.checks['results'][0], 'not_checked', 'results without their bucket')
    p.settings()
    p.settings(aws_region='eu-west-1')
    found = p.look(code=1)
    check(found['bucket'][0] == 'failed' and 'is in us-east-1' in found['bucket'][1] and 'aws_region = us-east-1' in found['bucket'][2], f'{found["bucket"]}')
    p.settings()
    p.denied('HeadBucket', 'bucket', 'failed', 's3:ListBucket', times=1)
    it.fault({'operation': 'HeadBucket', 'action': 'error', 'status': 403, 'code': 'AccessDenied', 'skip': 1, 'times': 1})
    p.only('owner', 'warning', 'does not belong to account 123456789012', 'dicom_bucket')
    it.fault()
    p.denied('GetBucketEncryption', 'encryption', 'not_checked', 's3:GetEncryptionConfiguration')
    p.denied('PutObject', 'put', 'failed', 's3:PutObject')
    same({p.checks[k][0] for k in ('get', 'list', 'multipart', 'delete')}, {'not_checked'}, 'what needs the marker')
    it.fault({'operation': 'PutObject', 'action': 'error', 'status': 403, 'code': 'AccessDenied', 'message': 'not authorized to perform: kms:GenerateDataKey'})
    p.only('put', 'failed', 'kms:GenerateDataKey', '', ['kms:GenerateDataKey', 'kms:Decrypt'])
    it.fault()
    p.denied('GetObject', 'get', 'warning', 's3:GetObject', key='storescp/doctor-')
    p.denied('GetObject', 'results', 'failed', 's3:GetObject', key='storescp-results/')
    p.denied('ListObjectsV2', 'list', 'failed', 's3:ListBucket')
    p.denied('CreateMultipartUpload', 'multipart', 'failed', 's3:PutObject')
    p.denied('ListParts', 'multipart', 'warning', 's3:ListMultipartUploadParts')
    p.denied('AbortMultipartUpload', 'multipart', 'warning', 's3:AbortMultipartUpload')
    check('storescp/doctor-' in p.checks['multipart'][2], f'the open upload is named: {p.checks["multipart"]}')
    p.denied('DeleteObject', 'delete', 'warning', 's3:DeleteObject')
    left = objects(it)[-1][1]
    check(left in p.checks['delete'][2], f'the object that is left is named: {p.checks["delete"]}')
    same(it.s3_get(left)[:8], b'written ', 'it is really left')


def options(p):
    """What S3 is asked for beside storing the bytes."""
    it = p.it
    p.settings(s3_expected_owner='123456789012', s3_tags='clinic=north', s3_encryption='aws:kms', s3_kms_key='arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555')
    found = p.look()
    same({k: v for k, v in found.items() if v[0] == 'failed'}, {}, 'what fails with all options')
    check('s3_expected_owner' in found['owner'][1] and 'asked to be encrypted with aws:kms, key arn:aws:kms' in found['encryption'][1], f'{found["encryption"]}')
    policy = json.loads(it.ctl('doctor', '--policy', '--json'))['destinations'][0]['credentials']['Statement']
    check(any('s3:PutObjectTagging' in s['Action'] for s in policy) and any(s['Resource'] == ['arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555'] for s in policy), f'{policy}')
    it.fault({'operation': 'PutObject', 'action': 'error', 'status': 403, 'code': 'AccessDenied', 'message': 'not authorized to perform: s3:PutObjectTagging'})
    p.only('put', 'failed', 'PutObjectTagging', '', ['s3:PutObjectTagging'])
    it.fault()
    p.settings(s3_expected_owner='999999999999')
    p.expect('bucket', 'failed', 'denied', 's3_expected_owner')
    p.settings()


def destinations(p):
    """Each is looked at by itself; a DICOMweb server is asked a question, and nothing of AWS."""
    it = p.it
    nobody = free_port()
    it.sections = {'destination archive': {'destination_kind': 's3', 'for_modality': 'MR', 'dicom_bucket': 'no-such-bucket'},
                   'destination pacs': {'destination_kind': 'dicomweb', 'for_modality': 'US', 'dicomweb_url': f'http://127.0.0.1:{nobody}/dicom-web'}}
    p.settings()
    p.only('bucket', 'failed', 'no-such-bucket', words_=('--destination', 'archive'))
    same({'datastore', 'role', 'dicomweb'} & p.checks.keys(), set(), 'checks of HealthImaging for a bucket')
    p.only('dicomweb_query', 'failed', f'127.0.0.1:{nobody}', 'dicomweb_url', words_=('--destination', 'pacs'))
    same({'bucket', 'identity'} & p.checks.keys(), set(), 'checks of AWS for a DICOMweb server')
    it.sections['destination pacs']['dicomweb_url'] = f'http://127.0.0.1:{it.aws_port}/dicom-web'
    p.settings()
    p.look('--destination', 'pacs')
    check(p.checks['dicomweb_query'][0] != 'ok', f'the stand-in answers no queries: {p.checks["dicomweb_query"]}')
    p.look('--destination', 'default', code=0)
    told = json.loads(it.ctl('doctor', '--policy', '--json'))['destinations']
    same([(d['destination'], sorted(d.keys() - {'destination'})) for d in told],
         [('default', ['credentials', 'role', 'role_trust']), ('archive', ['credentials']), ('pacs', [])], 'policies of all destinations in one answer')
    check('destination pacs: no AWS policy' in it.ctl('doctor', '--policy'), 'a DICOMweb server needs no policy')
    text = it.ctl('doctor', code=1)
    check(all(f'destination {n}' in text for n in ('default', 'archive', 'pacs')) and text.count('FAILED') >= 1, f'all of them in one: {text}')
    check('no [destination nowhere]' in subprocess.run([it.program('storescpctl'), '--home', it.home, 'doctor', '--destination', 'nowhere'], capture_output=True,
                                                       text=True, env=clean_environment()).stderr, 'a name that is not there')
    it.sections = {}
    p.settings()


def listeners(p):
    it = p.it
    p.settings(events_sqs_queue_url='https://sqs.eu-west-1.amazonaws.com/123456789012/told')
    p.only('events', 'failed', 'events_sqs_queue_url', 'aws_region')
    p.settings(events_sqs_queue_url='https://sqs.us-east-1.amazonaws.com/123456789012/told', dynamodb_table='Jobs')
    p.only('events', 'not_checked', 'events_sqs_queue_url, dynamodb_table')
    policy = json.loads(it.ctl('doctor', '--policy', '--json'))['destinations'][0]['credentials']['Statement']
    pairs = [(s['Action'], s['Resource']) for s in policy]
    check((['sqs:SendMessage'], ['arn:aws:sqs:us-east-1:123456789012:told']) in pairs and
          (['dynamodb:UpdateItem'], ['arn:aws:dynamodb:us-east-1:123456789012:table/Jobs']) in pairs, f'{pairs}')
    p.settings()


def imaging(p):
    it = p.it
    p.denied('GetDatastore', 'datastore', 'failed', 'medical-imaging:GetDatastore')
    same(p.checks['import_jobs'][0], 'not_checked', 'jobs of a data store that cannot be seen')
    p.denied('ListDICOMImportJobs', 'import_jobs', 'failed', 'medical-imaging:ListDICOMImportJobs')
    p.denied('GetDICOMImportJob', 'import_jobs', 'failed', 'medical-imaging:GetDICOMImportJob')
    p.settings(datastore_id='f' * 32)
    p.only('datastore', 'failed', 'there is no data store', 'datastore_id')
    p.settings(datastore_id='my-data-store')
    p.only('datastore', 'failed', 'my-data-store', 'datastore_id')
    p.settings(datastore_id=None)
    p.only('datastore', 'failed', 'datastore_id is not set')
    p.settings(data_access_role_arn=None)
    p.only('role', 'failed', 'data_access_role_arn is not set', '--policy')
    p.settings(data_access_role_arn='arn:aws:sts::123456789012:assumed-role/x/y')
    p.only('role', 'failed', 'no ARN of a role')
    p.settings(data_access_role_arn='arn:aws:iam::999999999999:role/other')
    p.only('role', 'failed', 'belongs to account 999999999999', '123456789012')
    p.settings(import_running_max=150)
    p.only('quotas', 'warning', '100', 'import_running_max')
    p.settings(import_poll_ms=200, import_running_max=100)
    p.only('quotas', 'warning', 'GetDICOMImportJob', 'import_poll_ms = 4000')
    p.settings(import_start_burst=50)
    p.only('quotas', 'warning', 'StartDICOMImportJob')
    p.settings(aws_region='ap-southeast-2')
    same(p.look()['quotas'][0], 'warning', 'fewer jobs in one region')
    check('20' in p.checks['quotas'][2] and p.checks['region'][0] == 'ok', f'{p.checks["quotas"]}')
    p.settings(aws_region='eu-north-1')
    same(p.look()['region'][0], 'warning', 'a region without HealthImaging')
    p.settings()
    it.stop_aws()
    it.aws_options += ['--datastore-status', 'CREATING', '--bucket-kms-key', 'arn:aws:kms:us-east-1:123456789012:key/k1']
    it.start_aws()
    p.only('datastore', 'failed', 'CREATING', 'wait')
    check('aws:kms' in p.checks['encryption'][1] and 'key/k1' in p.checks['encryption'][1], f'{p.checks["encryption"]}')
    policy = json.loads(it.ctl('doctor', '--policy', '--json'))['destinations'][0]
    actions = {part: {a for s in policy[part]['Statement'] for a in s['Action']} for part in ('credentials', 'role')}
    check({'kms:GenerateDataKey', 'kms:Decrypt', 's3:PutObject', 'iam:PassRole', 'medical-imaging:StartDICOMImportJob'} <= actions['credentials'], f'{actions}')
    same(actions['role'], {'s3:ListBucket', 's3:GetObject', 's3:PutObject', 'kms:GenerateDataKey', 'kms:Decrypt'}, 'what the role needs')
    resources = {r for s in policy['credentials']['Statement'] for r in s['Resource']}
    check({f'arn:aws:s3:::{BUCKET}', f'arn:aws:s3:::{BUCKET}/storescp/*', f'arn:aws:medical-imaging:us-east-1:123456789012:datastore/{DATASTORE}',
           'arn:aws:kms:us-east-1:123456789012:key/k1'} <= resources, f'{resources}')
    same(policy['role_trust']['Statement'][0]['Principal'], {'Service': 'medical-imaging.amazonaws.com'}, 'who may take the role')
    it.stop_aws()
    it.aws_options = it.aws_options[:-4]
    it.start_aws()


def documented(p):
    """docs/iam.md is what the command prints where nothing is set."""
    empty = os.path.join(p.it.work, 'empty')
    os.makedirs(empty)
    done = subprocess.run([p.it.program('storescpctl'), '--home', empty, 'doctor', '--policy', '--json'], capture_output=True, text=True, timeout=60,
                          env={**clean_environment(), 'AWS_EC2_METADATA_DISABLED': 'true', 'AWS_ENDPOINT_URL': f'http://127.0.0.1:{free_port()}'})
    printed = json.loads(done.stdout)['destinations'][0]
    with open(os.path.join(TOP, 'docs', 'iam.md')) as f:
        blocks = [json.loads(b) for b in re.findall(r'```json\n(.*?)```', f.read(), re.S)]
    same(blocks, [printed['credentials'], printed['role'], printed['role_trust']], 'policies of docs/iam.md')


def running(p):
    """With the stages, and an image that came; a stage that is missing; no image for days."""
    it = p.it
    p.settings()
    it.start_up()
    same(p.look(code=0)['stages'][0], 'ok', 'every stage runs')
    check('no image' in p.checks['database'][1], f'{p.checks["database"]}')
    same(p.checks['port'][1].split()[1], 'receiver', 'whose the port is')
    run_tool('storescu', '-aec', 'STORESCP', '127.0.0.1', str(it.port), *make_study(os.path.join(it.work, 'study'), 2, 1000, 5))
    it.settle(2)
    check('the last image came' in p.look(code=0)['database'][1], f'{p.checks["database"]}')
    same(it.one('SELECT count(*) FROM import_job WHERE jobId IS NOT NULL'), 1, 'jobs: the marker was in none')
    check('one of them is' in p.checks['import_jobs'][1], f'{p.checks["import_jobs"]}')
    same({k for k, v in p.checks.items() if v[0] != 'ok'}, {'start_job'}, 'what is not fine while all runs')
    it.ctl('scale', 'importer', '0')
    until(lambda: 'importer' not in [s for s, _ in it.living()], 15, 'no importer')
    p.only('stages', 'failed', 'importer', 'status')
    it.stop()
    with sqlite3.connect(it.database) as c:
        c.execute('UPDATE instance SET received_ms = received_ms - 3 * 86400000')
    p.only('database', 'warning', 'the last image came', 'echoscu')


def test(build):
    with Installation(build, 'doctor', {'import_poll_ms': 5000, 'import_start_per_minute': 60, 'import_start_burst': 2}, aws_options=('--job-ms', '200', '--no-throttle')) as it:
        it.need_cloud()
        it.start_aws()
        p = Patient(it)
        for part in (healthy, settings_and_local, reach_clock_and_keys, buckets, options, destinations, listeners, imaging, documented, running):
            part(p)
            say(f'{part.__name__}: ok')


if __name__ == '__main__':
    main(test)
