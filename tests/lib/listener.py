"""listener - who is told: an HTTP server of its own that checks every POST and does as it is told, an SQS client, and the part of JSON schema that
docs/events.schema.json uses.

    with Listener('key') as hook: hook.url; hook.mode = 'ok'; hook.heard -> [(id, event, seconds)]
modes: 'ok', a status (410), a function of the event giving a status, 'slow' (answers after hook.slow_s), 'hold' (never answers)"""
import base64
import contextlib
import datetime
import hashlib
import hmac
import http.client
import http.server
import json
import os
import re
import socket
import threading
import time

from aws import sign
from harness import TOP, Failure, check, free_port

with open(os.path.join(TOP, 'docs', 'events.schema.json')) as schema_file:
    SCHEMA = json.load(schema_file)
TYPES = {'object': dict, 'array': list, 'string': str, 'integer': int, 'boolean': bool}


def valid(value, schema=SCHEMA, where='event'):
    """Raises Failure where value is not as schema says."""
    known = {'$schema', 'title', '$defs', '$ref', 'type', 'const', 'enum', 'required', 'properties', 'additionalProperties', 'items', 'oneOf', 'pattern',
             'minLength', 'maxLength', 'minimum', 'maxItems'}
    check(set(schema) <= known, f'the schema has a word that this check does not know: {set(schema) - known}')
    if '$ref' in schema:
        return valid(value, SCHEMA['$defs'][schema['$ref'].split('/')[-1]], where)
    if 'type' in schema:
        check(isinstance(value, TYPES[schema['type']]) and (schema['type'] == 'boolean') == isinstance(value, bool), f'{where}: {value!r} is no {schema["type"]}')
    check('const' not in schema or value == schema['const'], f'{where}: {value!r}')
    check('enum' not in schema or value in schema['enum'], f'{where}: {value!r}')
    check('pattern' not in schema or re.search(schema['pattern'], value), f'{where}: {value!r}')
    check(schema.get('minLength', 0) <= len(value) <= schema.get('maxLength', 1 << 30) if isinstance(value, str) else True, f'{where}: length of {value!r}')
    check('minimum' not in schema or value >= schema['minimum'], f'{where}: {value!r}')
    for name in schema.get('required', ()):
        check(name in value, f'{where}: {name} is missing')
    for name, inner in value.items() if isinstance(value, dict) else ():
        check(name in schema.get('properties', {}) or schema.get('additionalProperties', True), f'{where}: {name} is not in the schema')
        if name in schema.get('properties', {}):
            valid(inner, schema['properties'][name], f'{where}.{name}')
    if isinstance(value, list):
        check(len(value) <= schema.get('maxItems', 1 << 30), f'{where}: {len(value)} items')
        for number, inner in enumerate(value):
            valid(inner, schema['items'], f'{where}[{number}]')
    if 'oneOf' in schema:
        check(sum(all(name in value for name in one['required']) for one in schema['oneOf']) == 1, f'{where}: not exactly one of {schema["oneOf"]}')
    return None


class Listener:
    def __init__(self, secret):
        self.secret, self.port = secret, free_port()
        self.mode, self.slow_s, self.seen, self.heard, self.bad, self.sockets, self.server = 'ok', 2, [], [], [], [], None
        self.url = f'http://127.0.0.1:{self.port}/hook?for=tests'

    def __enter__(self):
        self.open()
        return self

    def __exit__(self, *_):
        self.close()

    def open(self):
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def setup(self):
                listener.sockets.append(self.request)
                super().setup()

            def do_POST(self):
                listener.post(self)

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', self.port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        """Nobody listens any more."""
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None
            for one in self.sockets:  # kept connections, too
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self.sockets = []

    def post(self, request):
        body = request.rfile.read(int(request.headers['Content-Length']))
        event_id, at, signature = (request.headers.get(name, '') for name in ('webhook-id', 'webhook-timestamp', 'webhook-signature'))
        event = None
        try:
            event = json.loads(body)
            valid(event)
            check(event['id'] == event_id, 'webhook-id is not the id of the event')
            check(abs(int(at) - time.time()) < 60, f'webhook-timestamp {at}')
            mac = hmac.new(self.secret, f'{event_id}.{at}.'.encode() + body, hashlib.sha256).digest()
            check(signature == 'v1,' + base64.b64encode(mac).decode(), f'the signature {signature}')
            check(request.headers['Content-Type'] == 'application/json' and request.path == '/hook?for=tests', 'path or type')
            check(not [n for n in request.headers if n.lower().startswith('x-amz') or n.lower() == 'authorization'], 'something of AWS went to the webhook')
        except (Failure, ValueError) as why:
            self.bad.append(str(why))
        self.seen.append((event_id, event, body))
        mode = self.mode(event) if callable(self.mode) else self.mode
        if mode == 'hold':
            time.sleep(60)
            return
        if mode == 'slow':
            time.sleep(self.slow_s)
        status = mode if isinstance(mode, int) else 200
        if status == 200:
            self.heard.append((event_id, event, time.monotonic()))
        try:
            request.send_response(status)
            request.send_header('Content-Length', '0')
            request.end_headers()
        except OSError:
            pass  # it did not wait for us

    def of(self, study=None, kind=None):
        """The events that were answered with 200, in order."""
        def about(event):
            return (event.get('study') or event['instance']).get('study_instance_uid')
        return [e for _, e, _ in self.heard if (study is None or about(e) == study) and (kind is None or e['type'] == kind)]


class Queue:
    """One SQS queue of the stand-in."""
    def __init__(self, port, name):
        self.port, self.url = port, f'http://127.0.0.1:{port}/123456789012/{name}'

    def call(self, operation, **body):
        now = datetime.datetime.now(datetime.timezone.utc).strftime('%Y%m%dT%H%M%SZ')
        data = json.dumps(dict(body, QueueUrl=self.url)).encode()
        headers = {'host': f'127.0.0.1:{self.port}', 'x-amz-date': now, 'x-amz-target': f'AmazonSQS.{operation}', 'content-type': 'application/x-amz-json-1.0'}
        headers['authorization'] = sign('POST', '/', '', headers, hashlib.sha256(data).hexdigest(), 'sqs', now)[0]
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=30)
        try:
            connection.request('POST', '/', data, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b'{}')
        finally:
            connection.close()

    def send(self, text, **more):
        status, answer = self.call('SendMessage', MessageBody=text, **more)
        check(status == 200, f'SendMessage: {status} {answer}')

    def take(self):
        """Receives and deletes what is there; -> bodies in order."""
        bodies = []
        while True:
            status, answer = self.call('ReceiveMessage', MaxNumberOfMessages=10)
            check(status == 200, f'ReceiveMessage: {status} {answer}')
            if not answer.get('Messages'):
                return bodies
            for message in answer['Messages']:
                check(hashlib.md5(message['Body'].encode()).hexdigest() == message['MD5OfBody'], 'MD5OfBody')
                bodies.append(message['Body'])
                same_status, _ = self.call('DeleteMessage', ReceiptHandle=message['ReceiptHandle'])
                check(same_status == 200, 'DeleteMessage')

    def counts(self):
        """-> (waiting, out)"""
        attributes = self.call('GetQueueAttributes')[1]['Attributes']
        return int(attributes['ApproximateNumberOfMessages']), int(attributes['ApproximateNumberOfMessagesNotVisible'])
