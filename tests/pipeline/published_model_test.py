#!/usr/bin/env python3
"""published_model_test BUILD_DIR - every request that the product makes to S3, HealthImaging and STS, and every answer of the stand-in to it, against the API
models that AWS publishes (tests/lib/published.py). published_calls makes them by the functions that the stages use, three times: plain, with every option
for objects and keys by web identity, and with a role from a profile. Then the stages themselves: their keys, names, tokens and prefixes, a file in parts, a
start whose answer was lost, the doctor. Left out without the models."""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from aws import Aws  # noqa: E402
from harness import ACCESS_KEY, BUCKET, DATASTORE, REGION, SECRET_KEY, Failure, Installation, LeftOut, check, clean_environment, main, make_study, run_tool, same, say  # noqa: E402
from published import Exchange, Models, Recorder  # noqa: E402

OPERATIONS = {'PutObject', 'GetObject', 'HeadObject', 'HeadBucket', 'ListObjectsV2', 'DeleteObject', 'CreateMultipartUpload', 'UploadPart', 'CompleteMultipartUpload',
              'AbortMultipartUpload', 'ListParts', 'StartDICOMImportJob', 'GetDICOMImportJob', 'ListDICOMImportJobs', 'GetDatastore', 'GetCallerIdentity'}
NOT_IN_MODEL = ('?encryption=',)  # GetBucketEncryption: not among the saved operations
EXPECTED = {'resumed', 'put', 'head', 'get', 'list', 'delete', 'abort', 'parts_begin', 'parts_look', 'start', 'job', 'jobs', 'datastore', 'identity', 'bucket'}


def write(path, text):
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)


def run(build, aws, recorder, work, name, settings, environment, keys):
    """-> (operations seen, steps of the program)"""
    home = os.path.join(work, name)
    os.mkdir(home)
    conf = {'dicom_bucket': BUCKET, 'datastore_id': DATASTORE, 'data_access_role_arn': 'arn:aws:iam::123456789012:role/local', 'aws_region': REGION,
            'endpoint_url': f'http://127.0.0.1:{recorder.port}', **settings}
    if keys:
        conf.update(aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY)
    write(os.path.join(home, 'storescp.conf'), ''.join(f'{k} = {v}\n' for k, v in conf.items()))
    aws.no_faults()
    aws.fault({'operation': 'UploadPart', 'action': 'error', 'status': 400, 'code': 'InvalidRequest', 'skip': 1, 'times': 1})
    del recorder.exchanges[:]
    done = subprocess.run([os.path.join(os.path.abspath(build), 'bin', 'published_calls'), home, os.path.join(work, 'file')], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=120, env={**clean_environment(), 'HOME': work, **environment}, check=False)
    check(done.returncode == 0, f'{name}: published_calls exits {done.returncode}: {done.stderr[-500:]}')
    steps = {line.split(' ')[0]: line.split(' ', 2)[1:] for line in done.stdout.splitlines()}
    for step in EXPECTED:
        check(steps.get(step, [None])[0] == 'OK', f'{name}: {step}: {steps.get(step)}')
    same(steps['no_job'][0], 'AWS_NOT_FOUND', f'{name}: a job that is not there')
    check(steps['parts'][0] != 'OK', f'{name}: a part was to fail')
    return recorder.exchanges[:]


def judge(models, exchanges, name):
    seen = {}
    for x in exchanges:
        if any(x.target.endswith(end) for end in NOT_IN_MODEL) or (x.method, x.target, 'authorization' in x.headers) == ('GET', '/', False):
            continue  # the second: the doctor asks whether anybody is there
        try:
            operation = models.check(x)
        except Failure as why:
            raise Failure(f'{name}: {x.method} {x.target}: {why}') from None
        seen[operation] = seen.get(operation, 0) + 1
    return seen


def the_stages(build, models):
    with Installation(build, 'model', {'multipart_above_mb': 5, 'multipart_part_mb': 5, 's3_tags': 'site=north ward', 's3_encryption': 'AES256'}) as it:
        it.need_cloud()
        it.start_aws()
        it.fault({'operation': 'StartDICOMImportJob', 'action': 'reset_after', 'times': 1})
        with Recorder(it.aws_port) as recorder:
            it.configure(endpoint_url=f'http://127.0.0.1:{recorder.port}')
            it.start_up()
            paths = make_study(os.path.join(it.work, 'small'), 3, 2000, 21) + make_study(os.path.join(it.work, 'large'), 1, 6 << 20, 22)
            code, output = run_tool('storescu', '127.0.0.1', str(it.port), *paths)
            same(code, 0, f'exit code of storescu ({output.strip()[-300:]})')
            it.settle(len(paths), 60)
            same(it.states(), {'imported': len(paths)}, 'states')
            subprocess.run([it.program('storescpctl'), '--home', it.home, 'doctor'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60,
                           env=clean_environment(), check=False)
            it.stop()
        seen = judge(models, recorder.exchanges, 'the stages')
    wanted = {'PutObject', 'CreateMultipartUpload', 'UploadPart', 'CompleteMultipartUpload', 'StartDICOMImportJob', 'ListDICOMImportJobs', 'GetDICOMImportJob',
              'GetObject', 'GetDatastore', 'GetCallerIdentity', 'HeadBucket'}
    check(wanted <= set(seen), f'the stages: not seen {sorted(wanted - set(seen))}')
    return sum(seen.values())


def checker_can_fail(models, exchanges):
    """What is judged above is judged wrong when it is changed a little."""
    start = next(x for x in exchanges if x.target.startswith('/startDICOMImportJob') and x.status == 200)
    put = next(x for x in exchanges if x.method == 'PUT' and '?' not in x.target)
    complete = next(x for x in exchanges if x.method == 'POST' and 'uploadId' in x.target)
    identity = next(x for x in exchanges if b'Action=' in x.body)

    def changed(x, **parts):
        y = Exchange(parts.get('method', x.method), parts.get('target', x.target), {**x.headers, **parts.get('headers', {})}, parts.get('body', x.body))
        y.status, y.answer_headers, y.answer = parts.get('status', x.status), x.answer_headers, parts.get('answer', x.answer)
        return y
    wrong = [changed(start, body=start.body.replace(b'"clientToken"', b'"clientTokens"')), changed(start, body=start.body.replace(b's3://', b'S3://')),
             changed(start, body=b''), changed(start, target=start.target.replace(DATASTORE, 'x')), changed(start, method='PUT'),
             changed(start, answer=start.answer.replace(b'"jobStatus"', b'"state"')), changed(start, answer=b'{}'), changed(start, status=201),
             changed(put, headers={'x-amz-odd': '1'}), changed(put, headers={'x-amz-storage-class': 'CHEAP'}), changed(put, target=put.target + '?odd=1'),
             changed(complete, body=complete.body.replace(b'<PartNumber>', b'<Number>').replace(b'</PartNumber>', b'</Number>')),
             changed(complete, body=complete.body.replace(b'2006-03-01', b'2005-03-01')), changed(complete, answer=complete.answer.replace(b'ETag', b'Tag')),
             changed(identity, body=identity.body.replace(b'2011-06-15', b'2010-01-01')), changed(identity, body=identity.body + b'&Odd=1')]
    for i, x in enumerate(wrong):
        try:
            models.check(x)
        except (Failure, ValueError):
            continue
        raise Failure(f'the check finds nothing wrong with change {i}: {x.method} {x.target} {x.body[:300]}')
    return len(wrong)


def test(build):
    models = Models()
    if not os.path.exists(os.path.join(os.path.abspath(build), 'bin', 'published_calls')):
        raise LeftOut('published_calls is not built')
    work = tempfile.mkdtemp(prefix='storescp-model.')
    try:
        with open(os.path.join(work, 'file'), 'wb') as f:
            f.write(bytes(range(256)) * (45 << 10))
        write(os.path.join(work, 'token'), 'a-token-that-nobody-checks\n')
        os.mkdir(os.path.join(work, '.aws'))
        write(os.path.join(work, '.aws', 'config'), '[profile clinic]\nrole_arn = arn:aws:iam::123456789012:role/clinic\nsource_profile = base\nexternal_id = ward-7\n'
              f'duration_seconds = 900\n[profile base]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n')
        with Aws(build, '--job-ms', '50', '--start-per-second', '50') as aws, Recorder(aws.port) as recorder:
            options = {'s3_encryption': 'aws:kms', 's3_kms_key': 'alias/images', 's3_kms_context': '{"ward": "7"}', 's3_bucket_key': 'true', 's3_tags': 'site=north',
                       's3_expected_owner': '123456789012', 's3_storage_class': 'STANDARD_IA'}
            web = {'AWS_WEB_IDENTITY_TOKEN_FILE': os.path.join(work, 'token'), 'AWS_ROLE_ARN': 'arn:aws:iam::123456789012:role/pod'}
            total = 0
            for name, settings, environment, keys, more in (('plain', {}, {}, True, set()), ('options', options, web, False, {'AssumeRoleWithWebIdentity'}),
                                                            ('role', {'aws_profile': 'clinic'}, {}, False, {'AssumeRole'})):
                exchanges = run(build, aws, recorder, work, name, settings, environment, keys)
                seen = judge(models, exchanges, name)
                same(OPERATIONS | more, set(seen), f'{name}: operations')
                total += sum(seen.values())
            changes = checker_can_fail(models, exchanges)
        total += the_stages(build, models)
        say(f'{total} requests and their answers, {models.values} values: as the published models say; {changes} changed ones are found')
    finally:
        shutil.rmtree(work, ignore_errors=True)


main(test)
