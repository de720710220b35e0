#!/usr/bin/env python3
"""link_local_test BUILD_DIR - the addresses that only exist on AWS's machines: a task's keys by AWS_CONTAINER_CREDENTIALS_RELATIVE_URI from 169.254.170.2, an
instance's keys and region from its metadata service at 169.254.169.254, with nothing configured. Both play in a network of their own (unshare), so that
nothing of this machine is asked or changed. Left out where one may not do that."""
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from aws import Aws  # noqa: E402
from harness import ACCESS_KEY, BUCKET, DATASTORE, SECRET_KEY, LeftOut, check, clean_environment, main, same, say  # noqa: E402

TASK, INSTANCE, REGION = '169.254.170.2', '169.254.169.254', 'eu-west-1'
INSIDE = 'STORESCP_TEST_INSIDE'


class Agent(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    keys, asked = None, []

    def _answer(self, status, text=''):
        self.send_response(status)
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_PUT(self):
        fits = self.path == '/latest/api/token' and self.headers.get('x-aws-ec2-metadata-token-ttl-seconds')
        self.asked.append(self.path)
        self._answer(200 if fits else 400, 'metadata-token' if fits else '')

    def do_GET(self):
        place = self.server.server_address[0]
        self.asked.append(self.path)
        if place == TASK:
            self._answer(*((200, json.dumps(self.keys)) if self.path == '/v2/credentials/task-7' and self.headers.get('Authorization') == 'of-the-agent' else (404,)))
        elif self.headers.get('x-aws-ec2-metadata-token') != 'metadata-token':
            self._answer(401)
        else:
            answers = {'/latest/meta-data/placement/region': REGION, '/latest/meta-data/iam/security-credentials/': 'images-role\n',
                       '/latest/meta-data/iam/security-credentials/images-role': json.dumps({'Code': 'Success', **self.keys})}
            self._answer(*((200, answers[self.path]) if self.path in answers else (404,)))

    def log_message(self, *_):
        pass


def assumed(aws):
    """Keys that the stand-in knows, in the form of the agents."""
    status, _, body = aws.request('POST', '/', body=b'Action=AssumeRole&Version=2011-06-15&RoleArn=arn:aws:iam::123456789012:role/task&RoleSessionName=task',
                                  headers={'content-type': 'application/x-www-form-urlencoded'}, service='sts', region=REGION)
    same(status, 200, f'AssumeRole {body}')

    def of(name):
        return body.split(f'<{name}>'.encode())[1].split(b'<')[0].decode()
    return {'AccessKeyId': of('AccessKeyId'), 'SecretAccessKey': of('SecretAccessKey'), 'Token': of('SessionToken'), 'Expiration': of('Expiration')}


def calls(build, work, name, settings, wanted, **environment):
    """-> the log of published_calls, and what the agents were asked; the steps `wanted` must have gone well."""
    home = os.path.join(work, name)
    os.makedirs(home)
    conf = {'dicom_bucket': BUCKET, 'datastore_id': DATASTORE, 'data_access_role_arn': 'arn:aws:iam::123456789012:role/local', **settings}
    with open(os.path.join(home, 'storescp.conf'), 'w', encoding='utf-8') as f:
        f.write(''.join(f'{k} = {v}\n' for k, v in conf.items()))
    inside = {n: v for n, v in clean_environment().items() if n != 'AWS_EC2_METADATA_DISABLED'}
    del Agent.asked[:]
    done = subprocess.run([os.path.join(os.path.abspath(build), 'bin', 'published_calls'), home, os.path.join(work, 'file')], capture_output=True, text=True,
                          timeout=60, env={**inside, 'HOME': work, **environment}, check=False)
    same(done.returncode, 0, f'{name}: {done.stderr[-800:]}; exit code')
    steps = {line.split(' ')[0]: line for line in done.stdout.splitlines()}
    for step in wanted:
        check(steps[step].split(' ')[1] == 'OK', f'{name}: {steps[step]}')
    check(SECRET_KEY not in done.stderr and Agent.keys['SecretAccessKey'] not in done.stderr, 'the log holds a secret')
    return done.stderr, list(Agent.asked)


def inside(build):
    for words in (['link', 'set', 'lo', 'up'], ['addr', 'add', TASK + '/32', 'dev', 'lo'], ['addr', 'add', INSTANCE + '/32', 'dev', 'lo']):
        subprocess.run(['ip', *words], check=True, timeout=10)
    for address in (TASK, INSTANCE):
        server = http.server.ThreadingHTTPServer((address, 80), Agent)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    work = tempfile.mkdtemp(prefix='storescp-link.')
    try:
        with open(os.path.join(work, 'file'), 'wb') as f:
            f.write(b'x' * (11 << 20))
        with Aws(build, '--region', REGION, '--job-ms', '50') as aws:
            Agent.keys = assumed(aws)
            check(Agent.keys['AccessKeyId'] != ACCESS_KEY, 'keys of a role')
            local = f'http://127.0.0.1:{aws.port}'
            log, asked = calls(build, work, 'task', {'aws_region': REGION, 'endpoint_url': local}, ('identity', 'put', 'get', 'start'), AWS_EC2_METADATA_DISABLED='true',
                               AWS_CONTAINER_CREDENTIALS_RELATIVE_URI='/v2/credentials/task-7', AWS_CONTAINER_AUTHORIZATION_TOKEN='of-the-agent',
                               http_proxy='http://127.0.0.1:1', no_proxy='127.0.0.1')
            same(asked, ['/v2/credentials/task-7'], 'what the task asked')
            check('origin="container role"' in log, log[-500:])
            say('a task: keys from 169.254.170.2, past the proxy')
            # HealthImaging is AWS's own: the region matters, and only the instance can name it. (It cannot be reached from here.)
            log, asked = calls(build, work, 'instance', {'endpoint_url_s3': local, 'endpoint_url_sts': local, 'aws_max_attempts': 1}, ('identity', 'put', 'get'))
            check('origin="instance role"' in log and f'region={REGION} from="instance metadata"' in log, log[-500:])
            same(asked, ['/latest/api/token', '/latest/meta-data/placement/region', '/latest/api/token', '/latest/meta-data/iam/security-credentials/',
                         '/latest/meta-data/iam/security-credentials/images-role'], 'what the instance asked')
            say('an instance: keys and region from 169.254.169.254')
    finally:
        shutil.rmtree(work, ignore_errors=True)


def test(build):
    if os.environ.get(INSIDE):
        inside(build)
        return
    if not os.path.exists(os.path.join(os.path.abspath(build), 'bin', 'published_calls')):
        raise LeftOut('published_calls is not built')
    if not shutil.which('unshare') or not shutil.which('ip') or subprocess.run(['unshare', '-n', 'true'], stderr=subprocess.DEVNULL, check=False).returncode != 0:
        raise LeftOut('needs root, unshare and ip for a network of its own')
    done = subprocess.run(['unshare', '-n', sys.executable, os.path.abspath(__file__), os.path.abspath(build)], timeout=120, check=False,
                          env=dict(os.environ, **{INSIDE: '1'}))
    same(done.returncode, 0, 'exit code of the part in a network of its own')


main(test)
