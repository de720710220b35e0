"""aws - a client of the stand-in with a signer of its own, written from the specification and not from our C, and the stand-in as a process.

    with Aws(build, '--job-ms', '300') as aws:
        aws.put('key', b'bytes'); aws.start_job('in/b1/'); aws.fault(...)

Answers are (status, headers in lower case, body). A connection that ends without an answer raises an OSError or http.client exception."""
import datetime
import hashlib
import hmac
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

from harness import ACCESS_KEY, BUCKET, DATASTORE, REGION, SECRET_KEY, LeftOut, check, clean_environment, free_port, until

EMPTY = hashlib.sha256(b'').hexdigest()
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signing_key(secret, scope):
    key = ('AWS4' + secret).encode()
    for word in scope.split('/'):
        key = mac(key, word)
    return key


def quote_twice(path, service):
    return path if service == 's3' else urllib.parse.quote(path, safe='/-._~')


def sign(method, path, query, headers, payload_hash, service, now, access=ACCESS_KEY, secret=SECRET_KEY, region=REGION, signed=None):
    """-> (Authorization, signature, signing key, scope); headers in lower case, all of them signed unless `signed` names some."""
    names = sorted(signed if signed is not None else headers)
    canonical = '\n'.join([method, quote_twice(path, service), '&'.join(sorted(p if '=' in p else p + '=' for p in query.split('&') if p)),
                           *(f'{n}:{" ".join(headers[n].split())}' for n in names), '', ';'.join(names), payload_hash])
    scope = f'{now[:8]}/{region}/{service}/aws4_request'
    key = signing_key(secret, scope)
    signature = mac(key, f'AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}').hex()
    return f'AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={";".join(names)}, Signature={signature}', signature, key, scope


def chunk_signature(key, now, scope, previous, piece):
    return mac(key, f'AWS4-HMAC-SHA256-PAYLOAD\n{now}\n{scope}\n{previous}\n{EMPTY}\n{hashlib.sha256(piece).hexdigest()}').hex()


def trailer_signature(key, now, scope, previous, line):
    return mac(key, f'AWS4-HMAC-SHA256-TRAILER\n{now}\n{scope}\n{previous}\n{hashlib.sha256((line + chr(10)).encode()).hexdigest()}').hex()


def code_of(answer):
    """The service's word for an error."""
    _, headers, body = answer
    if 'x-amzn-errortype' in headers:
        return headers['x-amzn-errortype']
    found = re.search(rb'<Code>([^<]*)</Code>', body)
    return found.group(1).decode() if found else None


class Aws:
    def __init__(self, build, *options, directory=None):
        self.program = os.path.join(os.path.abspath(build), 'bin', 'storescp-local-aws')
        if not os.path.exists(self.program):
            raise LeftOut('storescp-local-aws is not built')
        self.own = directory is None
        self.directory = directory or tempfile.mkdtemp(prefix='storescp-aws.')
        self.data = os.path.join(self.directory, 'data')
        self.options = list(options)
        self.port = free_port()
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, error, trace):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if kind is not None:
            print(open(os.path.join(self.directory, 'log'), errors='replace').read()[-3000:])
        if self.own:
            shutil.rmtree(self.directory, ignore_errors=True)

    def start(self):
        out = os.path.join(self.directory, 'out')
        with open(out, 'wb') as stdout, open(os.path.join(self.directory, 'log'), 'ab') as log:
            self.process = subprocess.Popen([self.program, '--port', str(self.port), '--data', self.data, '--bucket', BUCKET, *self.options],
                                            stdout=stdout, stderr=log, env=clean_environment())
        until(lambda: b'ready' in open(out, 'rb').read() or self.process.poll() is not None, 20, 'the stand-in says ready')
        check(self.process.poll() is None, f'the stand-in ended with {self.process.poll()} instead of `ready`')

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        return self.process.wait(20)

    # ---- requests ----------------------------------------------------------------------------------------------------------
    def raw(self, method, target, headers, body=None, timeout=30):
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=timeout)
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def request(self, method, path, query='', body=b'', headers=None, service='s3', payload_hash=None, skew=0, timeout=30, **how):
        """Signed as it should be, unless `how` (access, secret, region, signed) says otherwise."""
        now = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=skew)).strftime('%Y%m%dT%H%M%SZ')
        payload_hash = payload_hash or hashlib.sha256(body).hexdigest()
        all_headers = {'host': f'127.0.0.1:{self.port}', 'x-amz-date': now}
        if service == 's3':
            all_headers['x-amz-content-sha256'] = payload_hash
        all_headers.update(headers or {})
        all_headers['authorization'] = sign(method, path, query, all_headers, payload_hash, service, now, **how)[0]
        if body or method in ('PUT', 'POST'):
            all_headers['content-length'] = str(len(body))
        return self.raw(method, path + ('?' + query if query else ''), all_headers, body or None, timeout)

    def put(self, key, body, headers=None, **more):
        return self.request('PUT', f'/{BUCKET}/' + urllib.parse.quote(key), body=body, headers=headers, **more)

    def get(self, key, headers=None, **more):
        return self.request('GET', f'/{BUCKET}/' + urllib.parse.quote(key), headers=headers, **more)

    def put_signed_chunks(self, key, pieces, checksum=None, spoil=None):
        """STREAMING-AWS4-HMAC-SHA256-PAYLOAD, with checksum (base64 CRC32C) ...-TRAILER. spoil: 'chunk' or 'trailer' signature is wrong."""
        now = datetime.datetime.now(datetime.timezone.utc).strftime('%Y%m%dT%H%M%SZ')
        mode = 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD' + ('-TRAILER' if checksum else '')
        path = f'/{BUCKET}/' + urllib.parse.quote(key)
        headers = {'host': f'127.0.0.1:{self.port}', 'x-amz-date': now, 'x-amz-content-sha256': mode, 'content-encoding': 'aws-chunked',
                   'x-amz-decoded-content-length': str(sum(map(len, pieces)))}
        if checksum:
            headers['x-amz-trailer'] = 'x-amz-checksum-crc32c'
        headers['authorization'], previous, key_bytes, scope = sign('PUT', path, '', headers, mode, 's3', now)
        body = b''
        for number, piece in enumerate([*pieces, b'']):
            previous = chunk_signature(key_bytes, now, scope, previous, piece)
            shown = '0' * 64 if spoil == 'chunk' and number == 1 else previous
            body += f'{len(piece):x};chunk-signature={shown}\r\n'.encode() + piece + (b'\r\n' if piece else b'')
        if checksum:
            line = f'x-amz-checksum-crc32c:{checksum}'
            signature = trailer_signature(key_bytes, now, scope, previous, line) if spoil != 'trailer' else '0' * 64
            body += f'{line}\r\nx-amz-trailer-signature:{signature}\r\n'.encode()
        body += b'\r\n'
        headers['content-length'] = str(len(body))
        return self.raw('PUT', path, headers, body)

    def line(self, text, seconds=10):
        """Bytes as they are; -> everything that comes back until the other side closes or pauses."""
        with socket.create_connection(('127.0.0.1', self.port), timeout=seconds) as s:
            s.sendall(text)
            s.shutdown(socket.SHUT_WR)
            got = b''
            try:
                while True:
                    part = s.recv(65536)
                    if not part:
                        break
                    got += part
                    if b'\r\n\r\n' in got:
                        s.settimeout(0.3)
            except (socket.timeout, ConnectionResetError):
                pass
            return got

    # ---- import jobs -------------------------------------------------------------------------------------------------------
    def imaging(self, method, path, query='', body=None, **more):
        status, headers, answer = self.request(method, path, query, json.dumps(body).encode() if body is not None else b'', service='medical-imaging', **more)
        return status, headers, answer

    def start_job(self, prefix, token=None, name='job', output='out/', **more):
        body = {'clientToken': token or f'token-{time.monotonic_ns()}', 'jobName': name, 'dataAccessRoleArn': 'arn:aws:iam::123456789012:role/local',
                'inputS3Uri': f's3://{BUCKET}/{prefix}', 'outputS3Uri': f's3://{BUCKET}/{output}'}
        body.update(more)
        return self.imaging('POST', f'/startDICOMImportJob/datastore/{DATASTORE}', body=body)

    def job(self, job_id):
        return json.loads(self.imaging('GET', f'/getDICOMImportJob/datastore/{DATASTORE}/job/{job_id}')[2])['jobProperties']

    def finished(self, job_id, seconds=20):
        return until(lambda: (lambda j: j if j['jobStatus'] in ('COMPLETED', 'FAILED') else None)(self.job(job_id)), seconds, f'job {job_id} has ended')

    def run_job(self, prefix, **more):
        """-> the ended job."""
        status, _, body = self.start_job(prefix, **more)
        check(status == 200, f'StartDICOMImportJob: {status} {body}')
        return self.finished(json.loads(body)['jobId'])

    def results(self, job):
        """-> (manifest or None, {kind: lines})"""
        folder = job['outputS3Uri'].split('/', 3)[3]
        status, _, body = self.get(folder + 'job-output-manifest.json')
        manifest = json.loads(body)['jobSummary'] if status == 200 else None
        lines = {}
        for kind in ('SUCCESS', 'FAILURE', 'WARNING'):
            status, _, body = self.get(f'{folder}{kind}/{kind.lower()}.ndjson')
            lines[kind] = [json.loads(line) for line in body.splitlines()] if status == 200 else []
        return manifest, lines

    # ---- the stand-in's own ----------------------------------------------------------------------------------------------------
    def fault(self, *rules):
        request = urllib.request.Request(f'http://127.0.0.1:{self.port}/_local/faults', data=json.dumps(rules).encode(), method='POST')
        with NO_PROXY.open(request, timeout=10) as answer:
            return json.loads(answer.read())

    def faults(self):
        with NO_PROXY.open(f'http://127.0.0.1:{self.port}/_local/faults', timeout=10) as answer:
            return json.loads(answer.read())

    def no_faults(self):
        NO_PROXY.open(urllib.request.Request(f'http://127.0.0.1:{self.port}/_local/faults', method='DELETE'), timeout=10).close()

    def log(self, name):
        with open(os.path.join(self.data, name)) as f:
            return [line.split() for line in f]
