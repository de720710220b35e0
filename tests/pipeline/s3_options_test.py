#!/usr/bin/env python3
"""s3_options_test BUILD_DIR - what is asked of S3 beside storing: encryption with a KMS key, storage class, tags, owner of the bucket, no overwriting; each as the
stand-in has it in the end, for one PUT and for parts. What is wrong with KMS, encryption, owner or an old server pauses the stage with one alarm that
says what to do, and charges nobody; a foreign object under our key is never touched."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from aws import Aws  # noqa: E402
from harness import BUCKET, Installation, check, main, make_study, run_tool, same, say, until  # noqa: E402

KEY_ID = '01234567-89ab-cdef-0123-456789abcdef'
KEY_ARN = f'arn:aws:kms:us-east-1:123456789012:key/{KEY_ID}'
OPTIONS = {'s3_encryption': 'aws:kms', 's3_kms_key': KEY_ID, 's3_kms_context': '{"site": "north"}', 's3_bucket_key': 'true',
           's3_expected_owner': '123456789012', 's3_storage_class': 'INTELLIGENT_TIERING', 's3_tags': 'site=north, retention class=10 years'}
DENIED = {'action': 'error', 'status': 403, 'code': 'AccessDenied',
          'message': f'User: arn:aws:sts::123456789012:assumed-role/up/loader is not authorized to perform: kms:GenerateDataKey on resource: {KEY_ARN}'}


class Case:
    def __init__(self, it):
        self.it, self.studies = it, 0
        self.aws = Aws.__new__(Aws)
        self.aws.port = it.aws_port

    def send(self, pixel_bytes=3000, count=1):
        """-> ids of the new instances"""
        self.studies += 1
        before = {i for (i,) in self.it.query('SELECT id FROM instance')}
        paths = make_study(os.path.join(self.it.work, f'study{self.studies}'), count, pixel_bytes, 9100 + self.studies)
        code, output = run_tool('storescu', '127.0.0.1', str(self.it.port), *paths)
        same(code, 0, f'exit code of storescu ({output.strip()[-300:]})')
        return [i for (i,) in self.it.query('SELECT id FROM instance ORDER BY id') if i not in before]

    def state(self, i):
        return self.it.one('SELECT state FROM instance WHERE id = ?', i)

    def uploaded(self, ids, seconds=40):
        until(lambda: all(self.state(i) == 'uploaded' for i in ids), seconds, 'uploaded')

    def head(self, i):
        key = self.it.one('SELECT s3_key FROM instance WHERE id = ?', i)
        status, headers, _ = self.aws.request('HEAD', f'/{BUCKET}/{key}')
        same(status, 200, f'HEAD of {key}')
        return headers

    def puts(self, i):
        return len([1 for line in self.it.aws_log('puts.log') if i in line[1]])

    def charged(self):
        return self.it.one("SELECT count(*) FROM event WHERE code IS NOT NULL AND to_state IS NULL AND who LIKE 'uploader%'")

    def pauses(self, rule, words, name):
        """The stage waits and says these words; then all is well again."""
        charged, alarms = self.charged(), len(self.it.log_lines('uploads_paused'))
        self.it.fault(rule)
        ids = self.send(count=3)
        until(lambda: f'waiting: {words[0]}' in self.it.ctl('status'), 20, f'status says {words[0]}')
        lines = self.it.log_lines('uploads_paused')[alarms:]
        same(len(lines), 1, f'alarms: {lines}')
        for word in words:
            check(word in lines[0], f'the alarm says {word!r}: {lines[0]}')
        check(' error ' in lines[0], f'an alarm and no warning: {lines[0]}')
        self.it.fault()
        self.uploaded(ids)
        same(self.charged(), charged, 'attempts charged')
        say(f'{name}: one alarm, nobody charged, then uploaded')
        return ids


def stored_as_asked(case):
    small, = case.send()
    large, = case.send(6 << 20)
    case.uploaded([small, large])
    for i in (small, large):
        h = case.head(i)
        same([h.get(f'x-amz-server-side-encryption{more}') for more in ('', '-aws-kms-key-id', '-bucket-key-enabled')], ['aws:kms', KEY_ARN, 'true'], 'encryption')
        same((h.get('x-amz-storage-class'), h.get('x-local-tagging')), ('INTELLIGENT_TIERING', 'site=north&retention%20class=10%20years'), 'class and tags')
    check('-2' in case.it.one('SELECT etag FROM instance WHERE id = ?', large), 'the large one went in parts')
    say('one PUT and two parts: encrypted with the key, classed and tagged as set')


def encrypted_otherwise(case):
    ids = case.pauses({'operation': 'PutObject', 'action': 'other_encryption', 'times': 1}, ('AWS_ENCRYPTION', 'aws:kms', 'AES256', 's3_encryption'),
                      'S3 encrypts otherwise')
    for i in ids:
        same(case.head(i)['x-amz-server-side-encryption'], 'aws:kms', 'encryption in the end')
    same(sorted(case.puts(i) for i in ids), [1, 1, 2], 'the one that was encrypted otherwise is put again over itself')


def completed_twice(case):
    """The completion was done and not answered, and then the upload is begun anew: the object that is there is found, the second upload aborted."""
    it = case.it
    it.fault({'operation': 'CompleteMultipartUpload', 'action': 'reset_after', 'times': 1},
             {'operation': 'ListParts', 'action': 'error', 'status': 404, 'code': 'NoSuchUpload', 'times': 1},
             {'operation': 'HeadObject', 'action': 'error', 'status': 404, 'code': 'NoSuchKey', 'times': 2})
    i, = case.send(6 << 20)
    case.uploaded([i])
    it.fault()
    same((case.puts(i), it.one('SELECT count(*) FROM multipart')), (1, 0), 'objects written, uploads remembered')
    left = os.path.join(it.aws_directory, 'multipart')
    same(os.listdir(left) if os.path.isdir(left) else [], [], 'uploads that S3 still has open')
    check(any(i in line for line in it.log_lines('upload_was_there')), 'found to be there')
    say('a second completion overwrites nothing')


def in_the_way(case):
    """Somebody else's object under our key: refused, left alone; after it was taken away a retry goes well."""
    it = case.it
    it.ctl('scale', 'uploader', '0')
    until(lambda: not [s for s, _ in it.living() if s == 'uploader'], 20, 'no uploader')
    i, = case.send()
    until(lambda: case.state(i) == 'validated', 20, 'validated')
    key = f"storescp/{it.one('SELECT batch FROM instance WHERE id = ?', i)}/{i}.dcm"
    same(case.aws.put(key, b'not ours')[0], 200, 'a foreign object')
    it.ctl('scale', 'uploader', '1')
    until(lambda: case.state(i) == 'failed', 20, 'failed')
    same(it.query('SELECT error_code, s3_key FROM instance WHERE id = ?', i), [('AWS_OTHER_OBJECT', key)], 'why, and where')
    check('take the object away' in it.ctl('why', i), 'why says what to do')
    same(case.aws.get(key)[2], b'not ours', 'the foreign object')
    same(case.aws.request('DELETE', f'/{BUCKET}/{key}')[0], 204, 'it is taken away')
    it.ctl('retry', i)
    case.uploaded([i])
    say('a foreign object under our key is not overwritten')


def wrong_owner(case):
    it = case.it
    it.stop()
    it.configure(s3_expected_owner='999999999999')
    it.start_up()
    i, = case.send()
    until(lambda: 'waiting: AWS_ACCESS_DENIED' in it.ctl('status'), 20, 'status says that S3 refuses')
    same(case.puts(i), 0, 'objects written into the bucket of somebody else')
    it.stop()
    it.configure(s3_expected_owner='123456789012')
    it.start_up()
    case.uploaded([i])
    say('a bucket of another account gets nothing')


def key_stays(case):
    """A key is decided before the first byte is sent; settings that change meanwhile make no second object."""
    it = case.it
    it.fault({'operation': 'PutObject', 'action': 'reset_after'})
    i, = case.send()
    until(lambda: case.puts(i) == 1 and it.one('SELECT s3_key FROM instance WHERE id = ?', i), 20, 'S3 has it, we do not know')
    key = it.one('SELECT s3_key FROM instance WHERE id = ?', i)
    it.stop()
    it.configure(s3_prefix='elsewhere', s3_key_template='{prefix}/{batch}/{modality}/{id}.dcm')
    it.fault()
    it.start_up()
    case.uploaded([i])
    same((it.one('SELECT s3_key FROM instance WHERE id = ?', i), case.puts(i)), (key, 1), 'key and objects written')
    j, = case.send()
    case.uploaded([j])
    check(re.fullmatch(r'elsewhere/[0-9a-z]{26}/CT/' + j + r'\.dcm', it.one('SELECT s3_key FROM instance WHERE id = ?', j)), 'the new layout')
    say('a changed template moves nothing that was decided')


def all_imported(case):
    """HealthImaging's results are mapped back whatever folders the template makes."""
    it = case.it
    it.stop()
    it.configure(importers=1, batch_quiet_ms=100)
    it.start_up()
    total = it.one('SELECT count(*) FROM instance')
    it.settle(total)
    same(it.states(), {'imported': total}, 'states at the end')
    same(sorted(line[-1] for line in it.aws_log('imports.log')), sorted(i for (i,) in it.query('SELECT id FROM instance')), 'imported once each')
    it.stop()
    say(f'{total} imported')


def wrong_settings(it):
    for setting, value, words in (('s3_key_template', '{batch}/{id}.dcm', 'must begin with'), ('s3_tags', 'x', 'KEY=VALUE'),
                                  ('s3_kms_key', 'alias/x', 's3_encryption'), ('s3_expected_owner', '12', '12 digits')):
        it.configure(**{setting: value})
        code, output = run_tool(it.program('storescp-uploader'), '--home', it.home)
        same(code, 78, f'exit code with {setting} = {value}')
        check(setting in output and words in output, f'the sentence names {setting} and says {words!r}: {output}')
        code, output = run_tool(it.program('storescpctl'), '--home', it.home, 'config')
        check(code != 0 and f'storescpctl: {setting} (' in output and words in output, f'storescpctl config says it, too ({code}): {output[-600:]}')
        del it.settings[setting]
    say('wrong settings: exit code 78 and a sentence')


def test(build):
    settings = {'importers': 0, 'batch_quiet_ms': 3600000, 'multipart_above_mb': 5, 'multipart_part_mb': 5, 'spool_keep_imported_s': 3600}
    with Installation(build, 's3options', settings) as it:
        it.need_cloud()
        it.start_aws()
        wrong_settings(it)
        it.configure(**OPTIONS)
        it.start_up()
        case = Case(it)
        stored_as_asked(case)
        case.pauses(dict(DENIED, operation='PutObject'), ('AWS_KMS', 'lacks kms:GenerateDataKey', 'kms:Decrypt'), 'a missing right on the key')
        case.pauses({'operation': 'PutObject', 'action': 'error', 'status': 501, 'code': 'NotImplemented'}, ('CONFIGURATION', 's3_if_none_match = false'),
                    'a server that does not know If-None-Match')
        encrypted_otherwise(case)
        completed_twice(case)
        in_the_way(case)
        wrong_owner(case)
        key_stays(case)
        all_imported(case)


main(test)
