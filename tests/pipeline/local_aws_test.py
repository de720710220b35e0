#!/usr/bin/env python3
"""local_aws_test BUILD_DIR - the stand-in itself: it refuses what AWS refuses, keeps what it said it keeps through SIGKILL, imports as
HealthImaging imports, and does wrong what it was ordered to do wrong."""
import base64
import concurrent.futures
import hashlib
import http.client
import json
import os
import random
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from aws import Aws, chunk_signature, code_of, sign, signing_key, trailer_signature  # noqa: E402
from harness import BUCKET, DATASTORE, SHARED, check, main, same, say  # noqa: E402
import make_dicom  # noqa: E402

GONE = (OSError, http.client.HTTPException)


def image(seed, number=1, syntax=None, change=None):
    """A legal file; change: {(group, element): new value} of elements with a short length."""
    study = make_dicom.study_uid(seed)
    _, content = make_dicom.make(study, study + '.1', number, 4000, random.Random(seed * 1000 + number))
    if syntax:
        old = make_dicom.element(2, 0x10, 'UI', make_dicom.EXPLICIT_LE)
        new = make_dicom.element(2, 0x10, 'UI', syntax)
        check(content.count(old) == 1, 'one transfer syntax')
        content = content.replace(old, new)
        length = struct.unpack('<I', content[140:144])[0] + len(new) - len(old)
        content = content[:140] + struct.pack('<I', length) + content[144:]
    for (old, new) in (change or []):
        check(content.count(old) == 1, f'one {old}')
        content = content.replace(old, new)
    return content


def refused(answer, status, code):
    same((answer[0], code_of(answer)), (status, code), 'refusal')


def refusals(aws):
    ok = aws.put('r/one', b'one')
    same(ok[0], 200, 'PutObject')
    refused(aws.get('r/one', secret='wrong'), 403, 'SignatureDoesNotMatch')
    refused(aws.get('r/one', access='NOBODY'), 403, 'InvalidAccessKeyId')
    refused(aws.get('r/one', region='eu-west-1'), 400, 'AuthorizationHeaderMalformed')
    refused(aws.get('r/one', skew=-901), 403, 'RequestTimeTooSkewed')
    refused(aws.get('r/one', skew=901), 403, 'RequestTimeTooSkewed')
    same(aws.get('r/one', skew=-880)[0], 200, 'a clock that is off by less than 15 minutes')
    refused(aws.raw('GET', f'/{BUCKET}/r/one', {'host': 'x'}), 403, 'AccessDenied')
    refused(aws.get('r/one', headers={'x-amz-extra': 'y'}, signed=['host', 'x-amz-date', 'x-amz-content-sha256']), 403, 'AccessDenied')
    refused(aws.get('r/one', signed=['x-amz-date', 'x-amz-content-sha256']), 403, 'AccessDenied')
    refused(aws.put('r/two', b'two', payload_hash='0' * 64), 400, 'XAmzContentSHA256Mismatch')
    refused(aws.put('r/two', b'two', headers={'x-amz-checksum-crc32c': 'AAAAAA=='}), 400, 'BadDigest')
    refused(aws.put('r/two', b'two', headers={'x-amz-checksum-crc32c': 'nonsense'}), 400, 'InvalidRequest')
    refused(aws.put('r/two', b'two', headers={'content-md5': 'AAAAAAAAAAAAAAAAAAAAAA=='}), 400, 'BadDigest')
    refused(aws.put('r/two', b'two', headers={'content-md5': 'x'}), 400, 'InvalidDigest')
    refused(aws.get('r/two'), 404, 'NoSuchKey')
    refused(aws.request('PUT', '/Bad_Bucket/x', body=b'x'), 400, 'InvalidBucketName')
    refused(aws.request('GET', '/..'), 400, 'InvalidBucketName')
    refused(aws.put('k' * 1025, b'x'), 400, 'InvalidURI')
    refused(aws.request('PUT', f'/{BUCKET}/%ff', body=b'x'), 400, 'InvalidURI')
    datastore = f'/datastore/{DATASTORE}'
    refused(aws.imaging('GET', datastore, secret='wrong'), 403, 'InvalidSignatureException')
    refused(aws.imaging('GET', datastore, access='NOBODY'), 403, 'UnrecognizedClientException')
    refused(aws.imaging('GET', '/nothing'), 404, 'UnknownOperationException')
    for wrong in ({'clientToken': 'a b'}, {'inputS3Uri': 'http://x/'}, {'outputS3Uri': 's3://x'}, {'jobName': 'a b'}, {'dataAccessRoleArn': 'role'}, {'importConfiguration': {}},
                  {'inputOwnerAccountId': '999999999999'}):
        refused(aws.start_job('in/', **wrong), 400, 'ValidationException')


def malformed(aws):
    """Nothing of it may end the server or store anything."""
    date = time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())
    scope = f'LOCALACCESSKEY/{date[:8]}/us-east-1/s3/aws4_request'
    for authorization in ('', 'AWS4-HMAC-SHA256', 'AWS4-HMAC-SHA256 ', 'Basic abc', 'AWS4-HMAC-SHA256 Credential=,SignedHeaders=,Signature=',
                          'AWS4-HMAC-SHA256 Credential=////, SignedHeaders=host, Signature=1', f'AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host',
                          f'AWS4-HMAC-SHA256 Credential={"a" * 500}/{scope}, SignedHeaders=host, Signature=1',
                          f'AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={";".join(["host"] * 150)}, Signature={"0" * 64}',
                          f'AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;;;, Signature={"f" * 5000}'):
        answer = aws.raw('PUT', f'/{BUCKET}/m/one', {'host': 'x', 'x-amz-date': date, 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD', 'authorization': authorization,
                                                     'content-length': '3'}, b'abc')
        check(answer[0] in (400, 403) and code_of(answer) in ('AccessDenied', 'AuthorizationHeaderMalformed', 'SignatureDoesNotMatch'), f'{authorization[:80]}: {answer}')
    for stamp in ('', 'now', '20260101T000000', '99999999T999999Z', '2026-01-01T00:00:00Z'):
        answer = aws.raw('GET', f'/{BUCKET}/m/one', {'host': 'x', 'x-amz-date': stamp, 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD',
                                                     'authorization': f'AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={"0" * 64}'})
        check(answer[0] in (400, 403), f'x-amz-date {stamp}: {answer}')
    mode = 'STREAMING-UNSIGNED-PAYLOAD-TRAILER'
    for body, code in ((b'zz\r\n', 'IncompleteBody'), (b'3\r\nabcd\r\n0\r\n\r\n', 'IncompleteBody'), (b'3\r\nabc\r\n', 'IncompleteBody'),
                       (b'3\r\nabc\r\n0\r\n', 'IncompleteBody'), (b'3\r\nabc\r\n0\r\n\r\n', 'MalformedTrailerError'), (b'4\r\nabcd\r\n0\r\n\r\n', 'IncompleteBody'),
                       (b'3\r\nabc\r\n0\r\nx-amz-checksum-crc32c:AAAAAA==\r\n\r\n', 'BadDigest')):
        refused(aws.put('m/two', body, payload_hash=mode, headers={'x-amz-decoded-content-length': '3', 'x-amz-trailer': 'x-amz-checksum-crc32c'}), 400, code)
    refused(aws.put('m/two', b'0\r\n\r\n', payload_hash='STREAMING-SOMETHING', headers={'x-amz-decoded-content-length': '0'}), 400, 'InvalidArgument')
    refused(aws.put('m/two', b'0\r\n\r\n', payload_hash=mode), 411, 'MissingContentLength')
    for text in (b'\r\n\r\n', b'GET\r\n\r\n', b'GET / HTTP/9.9\r\n\r\n', b'\x00' * 100 + b'\r\n\r\n', b'GET /' + b'a' * 300000, b'GET / HTTP/1.1\r\n' + b'a: b\r\n' * 40000,
                 b'PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n', b'PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
                 b'GET /%00%ff%zz?&&==&%=%zz HTTP/1.1\r\nHost: [::\r\n\r\n', b'POST /_local/faults HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n[1]'):
        try:
            got = aws.line(text, 5)
            check(not got.startswith(b'HTTP/1.1 200'), f'{text[:40]}: {got[:100]}')
        except GONE:
            pass
    chance, answered = random.Random(7), 0
    for _ in range(300):  # a good request with some bytes changed
        good = bytearray(f'PUT /{BUCKET}/m/three?x-id=PutObject HTTP/1.1\r\nHost: a\r\nx-amz-date: {date}\r\nx-amz-content-sha256: {mode}\r\nx-amz-decoded-content-length: 3\r\n'
                         f'Authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={"0" * 64}\r\n'
                         f'Content-Length: 13\r\n\r\n3\r\nabc\r\n0\r\n\r\n'.encode())
        for _ in range(chance.randint(1, 6)):
            good[chance.randrange(len(good))] = chance.randrange(256)
        try:
            got = aws.line(bytes(good) + b'\r\n\r\n', 0.3)
            check(not got.startswith(b'HTTP/1.1 200'), f'stored: {good}')
            answered += got.startswith(b'HTTP/1.1 4')
        except GONE:
            pass
    check(answered > 200, f'only {answered} of 300 changed requests were answered')
    for key in ('m/one', 'm/two', 'm/three'):
        refused(aws.get(key), 404, 'NoSuchKey')
    check(aws.process.poll() is None, 'the stand-in died of a malformed request')


def published_signatures():
    """Our second signer against S3's published examples, so that it and the stand-in cannot agree on a mistake."""
    path = os.path.join(SHARED, 'aws', 'sigv4-tests', 's3-doc-examples.json')
    if not os.path.exists(path):
        say(f'left out: {path} is not here, the signer of the test was not checked against the published examples')
        return
    with open(path) as f:
        published = json.load(f)
    now, secret = published['timestamp'], published['secret_key']
    for case in published['single_chunk']:
        target, _, query = case['target'].partition('?')
        got = sign(case['method'], target, query, {n.lower(): v for n, v in case['headers']}, case['payload_hash'], 's3', now, published['access_key'], secret)[1]
        same(got, case['signature'], case['name'])
    case, scope = published['trailer_example'], f'{now[:8]}/{published["region"]}/s3/aws4_request'
    key, previous = signing_key(secret, scope), case['seed']
    for size, expected in zip(case['chunk_sizes'], case['chunk_signatures']):
        previous = chunk_signature(key, now, scope, previous, case['chunk_byte'].encode() * size)
        same(previous, expected, f'chunk of {size} bytes')
    same(trailer_signature(key, now, scope, previous, case['trailer']), case['trailer_signature'], 'trailer')


def streaming(aws):
    pieces = [b'a' * 70000, b'b' * 65536, b'c']
    content = b''.join(pieces)
    same(aws.put_signed_chunks('s/one', pieces)[0], 200, 'signed chunks')
    same(aws.get('s/one')[2], content, 'what was stored')
    check('content-encoding' not in aws.get('s/one')[1], 'aws-chunked is how it travelled, not what it is')
    crc = aws.put('s/ref', content, headers={'x-amz-sdk-checksum-algorithm': 'CRC32C'})[1]['x-amz-checksum-crc32c']
    answer = aws.put_signed_chunks('s/two', pieces, checksum=crc)
    same((answer[0], answer[1]['x-amz-checksum-crc32c']), (200, crc), 'signed chunks and trailer')
    refused(aws.put_signed_chunks('s/three', pieces, spoil='chunk'), 403, 'SignatureDoesNotMatch')
    refused(aws.put_signed_chunks('s/three', pieces, checksum=crc, spoil='trailer'), 403, 'SignatureDoesNotMatch')
    refused(aws.put_signed_chunks('s/three', pieces, checksum='AAAAAA=='), 400, 'BadDigest')
    refused(aws.get('s/three'), 404, 'NoSuchKey')
    for host in (f'{BUCKET}.localhost:{aws.port}', f'{BUCKET}.s3.us-east-1.amazonaws.com', f'{BUCKET}.aws.test'):
        same(aws.request('GET', '/s/one', headers={'host': host})[2], content, f'virtual-host style, {host}')


def importing(aws):
    for number in (1, 2, 3):
        aws.put(f'i/a/{number}.dcm', image(1, number))
    job = aws.run_job('i/a/')
    manifest, lines = aws.results(job)
    same((job['jobStatus'], manifest['numberOfScannedFiles'], manifest['numberOfImportedFiles'], len(lines['SUCCESS'])), ('COMPLETED', 3, 3, 3), 'a series')
    first = manifest['imageSetsSummary'][0]
    same((first['isPrimary'], first['imageSetVersion'], first['numberOfMatchedSOPInstances']), (True, 1, 3), 'its image set')
    aws.put('i/b/4.dcm', image(1, 4))
    more = aws.results(aws.run_job('i/b/'))[0]['imageSetsSummary'][0]
    same((more['imageSetId'], more['imageSetVersion']), (first['imageSetId'], 2), 'the series grew')
    aws.put('i/c/5.dcm', image(1, 5, change=[(b'SYN-1 ', b'SYN-2 ')]))
    manifest, lines = aws.results(aws.run_job('i/c/'))
    conflict = manifest['imageSetsSummary'][0]
    check(conflict['imageSetId'] != first['imageSetId'] and conflict['isPrimary'] is False and lines['SUCCESS'][0]['importResponse']['isPrimary'] is False, 'another patient: not primary')
    aws.run_job('i/a/')
    again = [line for line in aws.log('imports.log') if line[5] == 'again']
    same(sorted(line[-1] for line in again), ['1', '2', '3'], 'imported a second time')

    # verdicts
    aws.put('i/d/jxl.dcm', image(2, 1, syntax='1.2.840.10008.1.2.4.110'))
    aws.put('i/d/jpip.dcm', image(2, 2, syntax='1.2.840.10008.1.2.4.94'))
    aws.put('i/d/nouid.dcm', image(2, 3, change=[(b'\x20\x00\x0d\x00UI', b'\x21\x00\x0d\x00UI')]))
    aws.put('i/d/noclass.dcm', image(2, 4, change=[(b'\x08\x00\x16\x00UI', b'\x08\x00\x17\x00UI')]))
    aws.put('i/d/empty.dcm', b'')
    aws.put('i/d/cut.dcm', image(2, 5)[:-10])
    long_patient = make_dicom.element(0x10, 0x20, 'LO', 'p' * 300)
    aws.put('i/d/long.dcm', image(3, 1, change=[(make_dicom.element(0x10, 0x20, 'LO', 'SYN-1'), long_patient)]))
    manifest, lines = aws.results(aws.run_job('i/d/'))
    messages = {line['inputFile'][4:-4]: line['exception']['message'] for line in lines['FAILURE']}
    warned = {line['inputFile'][4:-4]: line['importResponse']['warnings'][0]['warning_reason_code'] for line in lines['WARNING']}
    same(warned, {'jxl': 45344, 'jpip': 45344, 'long': 45571}, 'warnings')
    same(messages, {'nouid': 'DICOM attribute StudyInstanceUID does not exist', 'noclass': 'DICOM attribute SOPClassUID does not exist',
                    'empty': 'DICOM attribute TransferSyntaxUID does not exist', 'cut': 'DICOM file cannot be read'}, 'failures')
    same(manifest['numberOfScannedFiles'], manifest['numberOfImportedFiles'] + manifest['numberOfFilesWithCustomerError'], 'the sum')

    # pages
    refused(aws.imaging('GET', f'/listDICOMImportJobs/datastore/{DATASTORE}', 'nextToken=nobody'), 400, 'ValidationException')
    jobs, token = [], ''
    while True:
        answer = json.loads(aws.imaging('GET', f'/listDICOMImportJobs/datastore/{DATASTORE}', f'maxResults=2{token}')[2])
        jobs += [j['jobId'] for j in answer['jobSummaries']]
        if 'nextToken' not in answer:
            break
        token = f'&nextToken={answer["nextToken"]}'
    same((len(jobs), len(set(jobs))), (5, 5), 'jobs in pages of two')


def faults(aws):
    same(aws.faults(), [], 'no rules at the start')
    for number in range(4):
        aws.put(f'f/{number}.dcm', image(20, number + 1))
    aws.fault({'operation': 'ImportFile', 'key': 'f/1', 'action': 'server_error', 'times': 1}, {'operation': 'ImportFile', 'key': 'f/2', 'action': 'drop_result'})
    manifest, lines = aws.results(aws.run_job('f/'))
    same((manifest['numberOfFilesWithServerError'], manifest['numberOfImportedFiles'], len(lines['SUCCESS'])), (1, 3, 2), 'server error and a line left out')
    same(lines['FAILURE'][0]['exception']['exceptionType'], 'InternalServerException', 'its type')
    same([rule['seen'] for rule in aws.faults()], [1, 1], 'rules that took effect')
    aws.no_faults()
    aws.fault({'operation': 'ImportJob', 'key': 'fails', 'action': 'job_failed', 'times': 1, 'message': 'ordered'})
    job = aws.run_job('f/', name='fails')
    same((job['jobStatus'], job['message'], aws.results(job)[0]), ('FAILED', 'ordered', None), 'a failed job')
    aws.fault({'operation': 'ImportJob', 'key': 'halves', 'action': 'job_failed', 'partial': True, 'times': 1})
    job = aws.run_job('f/', name='halves')
    same((job['jobStatus'], aws.results(job)[0]['numberOfImportedFiles']), ('FAILED', 2), 'a failed job that imported something')
    job = aws.run_job('f/', name='late')
    aws.fault({'operation': 'GetObject', 'key': 'job-output-manifest.json', 'action': 'error', 'status': 404, 'code': 'NoSuchKey', 'times': 2})
    same([aws.results(job)[0] is None for _ in range(3)], [True, True, False], 'a manifest that lags')

    aws.fault({'operation': 'PutObject', 'key': 'f/x', 'action': 'reset', 'times': 1}, {'operation': 'PutObject', 'key': 'f/y', 'action': 'reset_after', 'times': 1},
              {'operation': 'PutObject', 'key': 'f/z', 'action': 'hang', 'ms': 30000, 'times': 1}, {'operation': 'GetObject', 'key': 'f/0', 'action': 'delay', 'ms': 400, 'times': 1},
              {'operation': 'HeadObject', 'action': 'clock_skew', 'seconds': 7200, 'times': 1}, {'operation': 'PutObject', 'key': 'f/sum', 'action': 'wrong_checksum', 'times': 1})
    for key in ('f/x', 'f/y'):
        try:
            aws.put(key, b'x')
            check(False, f'{key} was answered')
        except GONE:
            pass
    begun = time.monotonic()
    try:
        aws.put('f/z', b'x', timeout=0.7)
        check(False, 'f/z was answered')
    except GONE:
        check(time.monotonic() - begun > 0.6, 'f/z did not hang')
    same([aws.get(key)[0] for key in ('f/x', 'f/y', 'f/z')], [404, 200, 404], 'stored or not')
    begun = time.monotonic()
    same(aws.get('f/0.dcm')[0], 200, 'a late answer')
    check(time.monotonic() - begun > 0.39, 'it was not late')
    date = aws.request('HEAD', f'/{BUCKET}/f/0.dcm')[1]['date']
    off = time.mktime(time.strptime(date, '%a, %d %b %Y %H:%M:%S %Z')) - time.mktime(time.gmtime())
    check(abs(off - 7200) < 30, f'Date is off by {off} s')
    same(aws.put('f/sum', b'x')[1]['x-amz-checksum-crc64nvme'], 'AAAAAA==', 'a wrong checksum')
    aws.no_faults()


def killed_while_storing(aws):
    """Whatever was acknowledged is there, whole, and what is there is whole."""
    acknowledged, sent = {}, {}

    def store(worker):
        chance = random.Random(worker)
        for number in range(100000):
            key, content = f'k/{worker}/{number % 40}', chance.randbytes(chance.choice((10, 3000, 400000)))
            sent.setdefault(key, []).append(content)
            try:
                if aws.put(key, content)[0] == 200:
                    acknowledged[key] = content
            except GONE:
                return
    for _ in range(4):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(store, worker) for worker in range(4)]
            time.sleep(0.6)
            aws.kill()
            for job in jobs:
                job.result(30)
        aws.start()
        for key, content in acknowledged.items():
            got = aws.get(key)
            check(got[0] == 200 and (got[2] == content or got[2] in sent[key][sent[key].index(content):]), f'{key} is lost or not whole')
        token, listed = '', 0
        while True:
            body = aws.request('GET', f'/{BUCKET}', 'list-type=2&max-keys=50&prefix=k%2F' + token)[2].decode()
            listed += body.count('<Key>')
            if '<NextContinuationToken>' not in body:
                break
            token = '&continuation-token=' + body.split('<NextContinuationToken>')[1].split('<')[0]
        check(len(acknowledged) <= listed <= len(sent), f'{listed} listed, {len(acknowledged)} acknowledged, {len(sent)} sent')
        for key in sent:
            got = aws.get(key)
            check(got[0] == 404 or got[2] in sent[key], f'{key} holds what nobody sent')
    same(os.listdir(os.path.join(aws.data, 'tmp')), [], 'left over below tmp')
    say(f'{sum(map(len, sent.values()))} sent, {len(acknowledged)} keys acknowledged, 4 kills')


def killed_while_importing(aws):
    """A job that was under way goes on after a restart, and no file of it is imported twice."""
    for number in range(300):
        aws.put(f'j/{number % 6}/{number}.dcm', image(30 + number % 6, number + 1))
    jobs = [json.loads(aws.start_job(f'j/{n}/', name=f'j{n}', token=f'kill-{n}')[2])['jobId'] for n in range(6)]
    chance = random.Random(3)
    for _ in range(12):
        time.sleep(chance.uniform(0.0, 0.12))
        aws.kill()
        aws.start()
    same([aws.finished(job)['jobStatus'] for job in jobs], ['COMPLETED'] * 6, 'jobs after 12 kills')
    stems = [line[-1] for line in aws.log('imports.log') if line[6].startswith(f'{BUCKET}/j/')]
    same((len(stems), len(set(stems))), (300, 300), 'files imported, each once')
    for n, job in enumerate(jobs):
        manifest, lines = aws.results(aws.job(job))
        logged = {line[2] for line in aws.log('imports.log') if line[1] == job}
        same({s['imageSetId'] for s in manifest['imageSetsSummary']}, logged, 'image sets of manifest and log')
        same((manifest['numberOfImportedFiles'], len(lines['SUCCESS'])), (50, 50), 'results')
        same(json.loads(aws.start_job(f'j/{n}/', name=f'j{n}', token=f'kill-{n}')[2])['jobId'], job, 'the token gives the same job after restarts')
    refused(aws.start_job('j/9/', token='kill-1'), 409, 'ConflictException')


def dicomweb(aws):
    """StoreDICOM: read like a job's files, answered like any DICOMweb server."""
    studies, kind = f'/datastore/{DATASTORE}/studies', 'multipart/related; type="application/dicom"; boundary=b0undary'
    good = [image(40, n) for n in (1, 2, 3)]

    def wrap(*files, closing=b'--b0undary--\r\n'):
        return b''.join(b'--b0undary\r\nContent-Type: application/dicom\r\n\r\n' + f + b'\r\n' for f in files) + closing

    def store(body, kind=kind, path=studies, how='sha256', **more):
        headers = {'content-type': kind, 'accept': 'application/dicom+json'}
        words = 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD'
        headers['x-amz-content-sha256'] = words if how == 'words' else hashlib.sha256(body).hexdigest()
        if how == 'words':
            headers['x-amz-decoded-content-length'] = str(len(body))
        return aws.request('POST', path, body=body, headers=dict(headers, **more.pop('extra', {})), service='medical-imaging',
                           payload_hash=headers['x-amz-content-sha256'], **more)

    def uids(answer, tag):
        return [item['00081155']['Value'][0] for item in json.loads(answer[2]).get(tag, {}).get('Value', []) if '00081155' in item]

    def there(sop):
        status, _, body = aws.request('GET', f'/datastore/{DATASTORE}/instances', f'SOPInstanceUID={sop}', service='medical-imaging')
        return status == 200 and len(json.loads(body)) == 1

    answer = store(good[0], kind='application/dicom', how='words')
    same((answer[0], answer[1]['content-type'], len(uids(answer, '00081199'))), (200, 'application/dicom+json', 1), 'one file, signed as the guide shows')
    sop = uids(answer, '00081199')[0]
    check(there(sop) and not there(sop + '0'), 'the query tells what is there')
    answer = store(wrap(*good[1:], b'hello'))
    same((answer[0], len(uids(answer, '00081199')), json.loads(answer[2])['00081198']['Value'][0]['00081197']['Value']), (202, 2, [0xC000]), 'two of three')
    same(store(wrap(b'hello'))[0], 409, 'nothing stored')
    same(store(wrap(good[0]), path=studies + '/1.2.3')[0], 409, 'StoreDICOMStudy of another study')
    aws.fault({'operation': 'StoreInstance', 'key': sop, 'action': 'failure_reason', 'reason': 0xA700})
    same(json.loads(store(good[0], kind='application/dicom')[2])['00081198']['Value'][0]['00081197']['Value'], [0xA700], 'an ordered reason')
    aws.no_faults()
    for name, answer in (('no closing boundary', store(wrap(good[0], closing=b''))), ('another type', store(good[0], kind='text/plain')),
                         ('no parts', store(wrap())), ('a length that is not the body\'s', store(good[0], 'application/dicom', how='words',
                                                                                           extra={'x-amz-decoded-content-length': '1'}))):
        same((answer[0], code_of(answer)), (400, 'ValidationException'), name)
    refused(store(good[0], 'application/dicom', secret='wrong'), 403, 'InvalidSignatureException')
    before = len(aws.log('stores.log'))
    same(before, 3, 'lines of stores.log')
    check([line[3] for line in aws.log('stores.log')] == [hashlib.sha256(f).hexdigest() for f in good], 'the bytes that were stored')
    aws.kill()
    aws.start()
    check(there(sop), 'there after SIGKILL')
    same([line[5] for line in aws.log('imports.log') if line[1].startswith('stow-')], ['first'] * 3, 'imported once')
    store(good[0], kind='application/dicom')
    same([line[5] for line in aws.log('imports.log') if line[1].startswith('stow-')][3:], ['again'], 'the same once more is another version')


def limits(build):
    with Aws(build, '--job-ms', '1500', '--jobs-max', '2', '--files-max', '3', '--job-bytes-max', '100000', '--no-throttle') as aws:
        for number in range(4):
            aws.put(f'l/many/{number}', b'x')
        aws.put('l/large/1', b'x' * 100001)
        many, large = (json.loads(aws.start_job(f'l/{which}/')[2])['jobId'] for which in ('many', 'large'))
        refused(aws.start_job('l/'), 402, 'ServiceQuotaExceededException')
        for job in (many, large):
            ended = aws.finished(job)
            check(ended['jobStatus'] == 'FAILED' and 'limited to 3 files and 100000 bytes' in ended['message'], f'{ended}')
        same(aws.start_job('l/')[0], 200, 'room again')
        same(aws.kill(15), 0, 'exit code after SIGTERM with a job under way')
    with Aws(build, '--job-ms', '0', '--fsync') as aws:
        same(aws.put('d/1.dcm', image(9))[0], 200, 'PutObject with --fsync')
        same(aws.results(aws.run_job('d/'))[0]['numberOfImportedFiles'], 1, 'a job with --fsync')
        time.sleep(1.1)
        codes = [aws.start_job('none/')[0] for _ in range(4)]
        same((codes[:2], 429 in codes[2:]), ([200, 200], True), 'one a second, burst two')
        refused(aws.imaging('POST', f'/startDICOMImportJob/datastore/{DATASTORE}', body={}), 429, 'ThrottlingException')
        gets = [aws.imaging('GET', f'/datastore/{DATASTORE}') for _ in range(40)]
        check(gets[0][0] == 200 and any(code_of(g) == 'ThrottlingException' for g in gets), 'GetDatastore: 10 a second, burst 20')
        time.sleep(1.1)
        job = aws.run_job('x/', output='out/', outputS3Uri='s3://no-such-bucket-here/x/')
        check(job['jobStatus'] == 'FAILED' and 'output bucket' in job['message'], f'{job}')


def test(build):
    published_signatures()
    with Aws(build, '--job-ms', '100', '--no-throttle', '--domain', 'aws.test') as aws:
        for part in (refusals, malformed, streaming, importing, faults, killed_while_storing, killed_while_importing, dicomweb):
            begun = time.monotonic()
            part(aws)
            say(f'{part.__name__}: ok, {time.monotonic() - begun:.1f} s')
        same(aws.kill(15), 0, 'exit code after SIGTERM')
    limits(build)


main(test)
