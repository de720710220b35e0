"""published - requests and answers as they went over the wire, compared with the API models that AWS publishes ($SHARED_DIR/aws/models).

    with Recorder(port) as recorder: ...        a server that passes HTTP on to `port` and keeps every exchange
    models = Models(); models.check(exchange)   -> the operation's name; a Failure says what does not fit

What fits: method, URI template, query and headers that the operation knows, required members, types, patterns, lengths, enumerations, nothing unknown, in
JSON, XML and forms; of the answer status, headers and body, or an error that the operation may give."""
import contextlib
import json
import os
import re
import socket
import threading
import urllib.parse
import xml.etree.ElementTree as ET

from harness import SHARED, Failure, LeftOut, check

# Signing and transport: no model names them, nor x-local-*, which the stand-in tells the tests.
ALWAYS = {'host', 'content-length', 'authorization', 'x-amz-date', 'x-amz-content-sha256', 'x-amz-security-token', 'content-type', 'user-agent', 'date',
          'connection', 'x-amz-request-id', 'x-amz-id-2', 'x-amzn-requestid', 'server', 'last-modified', 'etag', 'accept-ranges', 'amz-sdk-invocation-id',
          'amz-sdk-request', 'accept-encoding', 'accept', 'x-amz-user-agent', 'expect'}
COMMON_ERRORS = {'AccessDeniedException', 'ThrottlingException', 'ValidationException', 'InternalServerException', 'UnrecognizedClientException',
                 'InvalidSignatureException', 'IncompleteSignatureException', 'MissingAuthenticationTokenException', 'ExpiredTokenException',
                 'UnknownOperationException', 'ResourceNotFoundException', 'ServiceUnavailableException'}
S3_SPACE = 'http://s3.amazonaws.com/doc/2006-03-01/'


class Exchange:
    def __init__(self, method, target, headers, body):
        self.method, self.target, self.headers, self.body = method, target, headers, body
        self.status, self.answer_headers, self.answer = None, None, None


def read_head(stream):
    """-> (first line, headers in lower case), or None at the end of the connection."""
    first = stream.readline()
    if not first:
        return None
    headers = {}
    while True:
        line = stream.readline().rstrip(b'\r\n')
        if not line:
            return first.rstrip(b'\r\n').decode('latin-1'), headers
        name, _, value = line.partition(b':')
        headers[name.decode('latin-1').lower()] = value.strip().decode('latin-1')


class Recorder:
    def __init__(self, port):
        self.target, self.exchanges, self.lock = port, [], threading.Lock()

    def __enter__(self):
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        with contextlib.suppress(OSError), peer, socket.create_connection(('127.0.0.1', self.target)) as there:
            ours, theirs = peer.makefile('rb'), there.makefile('rb')
            while self._one(peer, ours, there, theirs):
                pass

    def _one(self, peer, ours, there, theirs):
        head = read_head(ours)
        if head is None:
            return False
        method, target, _ = head[0].split(' ', 2)
        if head[1].get('expect'):
            peer.sendall(b'HTTP/1.1 100 Continue\r\n\r\n')
        exchange = Exchange(method, target, head[1], ours.read(int(head[1].get('content-length', 0))))
        kept = {n: v for n, v in head[1].items() if n != 'expect'}
        there.sendall(b'\r\n'.join([head[0].encode('latin-1'), *(f'{n}: {v}'.encode('latin-1') for n, v in kept.items()), b'', b'']) + exchange.body)
        answer = read_head(theirs)
        if answer is None:
            return False
        exchange.status, exchange.answer_headers = int(answer[0].split(' ')[1]), answer[1]
        none = method == 'HEAD' or exchange.status in (204, 304)
        exchange.answer = b'' if none else self._body(theirs, answer[1])
        with self.lock:
            self.exchanges.append(exchange)
        framed = {n: v for n, v in answer[1].items() if n != 'transfer-encoding'}
        if not none:
            framed['content-length'] = str(len(exchange.answer))
        peer.sendall(b'\r\n'.join([answer[0].encode('latin-1'), *(f'{n}: {v}'.encode('latin-1') for n, v in framed.items()), b'', b'']) + exchange.answer)
        return answer[1].get('connection', '').lower() != 'close'

    @staticmethod
    def _body(stream, headers):
        if headers.get('transfer-encoding', '').lower() != 'chunked':
            return stream.read(int(headers.get('content-length', 0)))
        body = b''
        while True:
            size = int(stream.readline().split(b';')[0], 16)
            body += stream.read(size)
            stream.readline()
            if size == 0:
                return body


class Models:
    def __init__(self):
        self.services = {}
        for name, path in (('s3', 's3-subset/service-2.subset.json'), ('sts', 'sts-subset/service-2.subset.json'),
                           ('medical-imaging', 'medical-imaging/service-2.json')):
            whole = os.path.join(SHARED, 'aws', 'models', path)
            if not os.path.exists(whole):
                raise LeftOut(f'{whole} is not here')
            with open(whole, encoding='utf-8') as f:
                self.services[name] = json.load(f)
        self.values = 0  # how many were looked at

    # ---- which operation? ---------------------------------------------------------------------------------------------------
    def check(self, x):
        scope = re.search(r'Credential=[^/]+/\d{8}/[^/]+/([^/]+)/aws4_request', x.headers.get('authorization', ''))
        service = scope.group(1) if scope else 'sts'  # AssumeRoleWithWebIdentity is not signed
        check(service in self.services, f'a request to {service}')
        self.model = self.services[service]
        self.shapes = self.model['shapes']
        operation, uri, query = self._sts_operation(x) if service == 'sts' else self._operation(x)
        self.where = operation['name']
        if service == 'sts':
            self._form(operation, x)
        else:
            self._request(service, operation, uri, query, x)
        self._answer(service, operation, x)
        return operation['name']

    def _sts_operation(self, x):
        check(x.method == 'POST' and x.target == '/', f'STS: {x.method} {x.target}')
        action = dict(urllib.parse.parse_qsl(x.body.decode(), keep_blank_values=True, strict_parsing=True)).get('Action')
        check(action in self.model['operations'], f'STS: {action}')
        return self.model['operations'][action], {}, []

    def _operation(self, x):
        path, _, text = x.target.partition('?')
        query = urllib.parse.parse_qsl(text, keep_blank_values=True, strict_parsing=True) if text else []
        best = None
        for operation in self.model['operations'].values():
            template, _, literal = operation['http']['requestUri'].partition('?')
            wanted = urllib.parse.parse_qsl(literal, keep_blank_values=True)
            shape = self.shapes[operation['input']['shape']]
            needed = [self.shapes[operation['input']['shape']]['members'][m]['locationName'] for m in shape.get('required', ())
                      if shape['members'][m].get('location') == 'querystring']
            match = re.fullmatch(re.sub(r'\\\{(\w+)(\\\+)?\\\}', lambda m: f'(?P<{m.group(1)}>{".+" if m.group(2) else "[^/]+"})', re.escape(template)), path)
            if (operation['http']['method'] == x.method and match and all(w in query for w in wanted) and all(n in dict(query) for n in needed)):
                rank = len(wanted) + len(needed)
                if best is None or rank > best[0]:
                    best = rank, operation, {n: urllib.parse.unquote(v) for n, v in match.groupdict().items()}, [q for q in query if q not in wanted]
        check(best is not None, f'no operation is asked like {x.method} {x.target}')
        return best[1:]

    # ---- the request ----------------------------------------------------------------------------------------------------------
    def _request(self, service, operation, uri, query, x):
        shape = self.shapes[operation['input']['shape']]
        members, seen = shape['members'], set()
        at = {(m.get('location'), m.get('locationName', name).lower() if m.get('location') == 'header' else m.get('locationName', name)): name for name, m in members.items()}
        for place, pairs in (('uri', uri.items()), ('querystring', query), ('header', x.headers.items())):
            for name, value in pairs:
                member = at.get((place, name))
                if member is None:
                    check(place == 'header' and (name in ALWAYS or self._is_prefixed(members, name)), f'{self.where}: {place} {name} is unknown to the model')
                    continue
                seen.add(member)
                self._text(members[member]['shape'], value, f'{place} {name}')
        payload = shape.get('payload')
        if service == 'medical-imaging':
            body = {n: m for n, m in members.items() if 'location' not in m}
            given = json.loads(x.body) if x.body else {}
            check(bool(x.body) == bool(body), f'{self.where}: a body of {len(x.body)} bytes')
            check(not x.body or x.headers.get('content-type') == 'application/json', f'{self.where}: content type')
            self._structure(body, [], given, 'body')
            seen.update(given)
        elif payload and self.shapes[members[payload]['shape']]['type'] == 'structure':
            self._xml_body(members[payload], x.body)
            seen.add(payload)
        elif not payload:
            check(not x.body, f'{self.where}: a body of {len(x.body)} bytes')
        for name in shape.get('required', ()):
            check(name in seen, f'{self.where}: {name} is missing')

    @staticmethod
    def _is_prefixed(members, name):
        return any(m.get('location') == 'headers' and name.startswith(m['locationName']) for m in members.values())

    def _form(self, operation, x):
        check(x.headers.get('content-type', '').startswith('application/x-www-form-urlencoded'), f'{self.where}: content type')
        given = dict(urllib.parse.parse_qsl(x.body.decode(), keep_blank_values=True, strict_parsing=True))
        check(given.pop('Version', None) == self.model['metadata']['apiVersion'], f'{self.where}: version')
        given.pop('Action')
        shape = self.shapes[operation['input']['shape']]
        for name, value in given.items():
            check(name in shape['members'], f'{self.where}: {name} is unknown to the model')
            self._text(shape['members'][name]['shape'], value, name)
        for name in shape.get('required', ()):
            check(name in given, f'{self.where}: {name} is missing')

    def _xml_body(self, member, body):
        root = ET.fromstring(body)
        space = '{' + member['xmlNamespace']['uri'] + '}' if 'xmlNamespace' in member else ''
        check(root.tag == space + member['locationName'], f'{self.where}: the root is {root.tag}')
        self._xml(member['shape'], root, 'body')

    # ---- the answer -----------------------------------------------------------------------------------------------------------
    def _answer(self, service, operation, x):
        self.where += ' answer'
        if x.status >= 300:
            self._error(service, operation, x)
            return
        wanted = {operation['http'].get('responseCode', 200)} | ({206} if 'range' in x.headers else set()) | ({204} if x.method == 'DELETE' else set())
        check(x.status in wanted, f'{self.where}: status {x.status}')
        if 'output' not in operation:
            check(not x.answer, f'{self.where}: a body of {len(x.answer)} bytes')
            return
        shape = self.shapes[operation['output']['shape']]
        members = shape['members']
        at = {m['locationName'].lower(): name for name, m in members.items() if m.get('location') == 'header'}
        for name, value in x.answer_headers.items():
            if name in at:
                self._text(members[at[name]]['shape'], value, f'header {name}')
            else:
                check(name in ALWAYS or name.startswith('x-local-') or self._is_prefixed(members, name), f'{self.where}: header {name} is unknown to the model')
        body = {n: m for n, m in members.items() if 'location' not in m}
        if service == 'medical-imaging':
            self._structure(body, shape.get('required', ()), json.loads(x.answer), 'body')
        elif service == 'sts':
            root = ET.fromstring(x.answer)
            check(root.tag == '{' + self.model['metadata']['xmlNamespace'] + '}' + operation['name'] + 'Response', f'{self.where}: the root is {root.tag}')
            check({self._name(e) for e in root} == {operation['output']['resultWrapper'], 'ResponseMetadata'}, f'{self.where}: {[e.tag for e in root]}')
            self._xml(operation['output']['shape'], next(e for e in root if self._name(e) == operation['output']['resultWrapper']), 'body')
        elif 'payload' not in shape and body:
            root = ET.fromstring(x.answer)
            check(root.tag.startswith('{' + S3_SPACE + '}'), f'{self.where}: the root is {root.tag}')
            self._xml(operation['output']['shape'], root, 'body')
        elif 'payload' not in shape:
            check(not x.answer, f'{self.where}: a body of {len(x.answer)} bytes')

    def _error(self, service, operation, x):
        if service == 'medical-imaging':
            code = x.answer_headers.get('x-amzn-errortype', '').partition(':')[0]
            known = {e['shape'] for e in operation.get('errors', ())} | COMMON_ERRORS
            check(code in known, f'{self.where}: {x.status} {code!r} is none of {sorted(known)}')
            shape = self.shapes.get(code)
            if shape and 'httpStatusCode' in shape.get('error', {}):
                check(shape['error']['httpStatusCode'] == x.status, f'{self.where}: {code} with status {x.status}')
            check(isinstance(json.loads(x.answer).get('message'), str), f'{self.where}: {code} says nothing')
        elif x.method != 'HEAD':
            names = {self._name(e) for e in ET.fromstring(x.answer).iter()}
            check({'Code', 'Message', 'RequestId'} <= names, f'{self.where}: an error of {sorted(names)}')

    # ---- values -----------------------------------------------------------------------------------------------------------------
    def _structure(self, members, required, value, where):
        check(isinstance(value, dict), f'{self.where}: {where} is no object')
        for name, inner in value.items():
            check(name in members, f'{self.where}: {where}.{name} is unknown to the model')
            if inner is not None:
                self._json(members[name]['shape'], inner, f'{where}.{name}')
        for name in required:
            check(value.get(name) is not None, f'{self.where}: {where}.{name} is missing')

    def _json(self, shape_name, value, where):
        shape = self.shapes[shape_name]
        kind = shape['type']
        if kind == 'structure':
            self._structure(shape['members'], shape.get('required', ()), value, where)
        elif kind == 'list':
            check(isinstance(value, list), f'{self.where}: {where} is no list')
            self._length(shape, len(value), where)
            for inner in value:
                self._json(shape['member']['shape'], inner, where + '[]')
        elif kind == 'string':
            check(isinstance(value, str), f'{self.where}: {where} is no text')
            self._text(shape_name, value, where)
        elif kind == 'boolean':
            check(isinstance(value, bool), f'{self.where}: {where} is no boolean')
        elif kind in ('integer', 'long'):
            check(isinstance(value, int) and not isinstance(value, bool), f'{self.where}: {where} is no whole number')
            self._length(shape, value, where)
        elif kind in ('timestamp', 'double', 'float'):
            check(isinstance(value, (int, float)) and not isinstance(value, bool), f'{self.where}: {where} is no number')
        else:
            raise Failure(f'{self.where}: {where} is a {kind}')
        self.values += 1

    @staticmethod
    def _name(element):
        return element.tag.rpartition('}')[2]

    def _xml(self, shape_name, element, where):
        shape = self.shapes[shape_name]
        if shape['type'] != 'structure':
            self._text(shape_name, element.text or '', where)
            return
        at = {}
        for name, member in shape['members'].items():
            inner = self.shapes[member['shape']]
            if 'location' not in member:
                at[member.get('locationName', name if not inner.get('flattened') else inner['member'].get('locationName', name))] = member
        for child in element:
            name = self._name(child)
            check(name in at, f'{self.where}: {where}.{name} is unknown to the model')
            inner = self.shapes[at[name]['shape']]
            if inner['type'] == 'list' and inner.get('flattened'):
                self._xml(inner['member']['shape'], child, f'{where}.{name}')
            elif inner['type'] == 'list':
                for one in child:
                    self._xml(inner['member']['shape'], one, f'{where}.{name}[]')
            else:
                self._xml(at[name]['shape'], child, f'{where}.{name}')
        for name in shape.get('required', ()):
            check(shape['members'][name].get('locationName', name) in {self._name(c) for c in element}, f'{self.where}: {where}.{name} is missing')

    def _length(self, shape, length, where):
        check(shape.get('min', length) <= length <= shape.get('max', length), f'{self.where}: {where} has {length}, may have {shape.get("min")} to {shape.get("max")}')

    def _text(self, shape_name, value, where):
        shape = self.shapes[shape_name]
        kind = shape['type']
        if kind == 'string':
            self._length(shape, len(value), where)
            if 'pattern' in shape:
                check(re.search(self._pattern(shape['pattern']), value), f'{self.where}: {where} {value!r} does not fit {shape["pattern"]}')
            check(value in shape.get('enum', (value,)), f'{self.where}: {where} {value!r} is none of {shape.get("enum")}')
        elif kind in ('integer', 'long'):
            check(re.fullmatch(r'-?\d+', value), f'{self.where}: {where} {value!r} is no whole number')
            self._length(shape, int(value), where)
        elif kind == 'boolean':
            check(value in ('true', 'false'), f'{self.where}: {where} {value!r} is no boolean')
        elif kind == 'timestamp':
            check(re.match(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d|\w{3}, \d\d \w{3} \d{4} ', value), f'{self.where}: {where} {value!r} is no time')
        elif kind != 'blob':
            raise Failure(f'{self.where}: {where} is a {kind}')
        self.values += 1

    @staticmethod
    def _pattern(text):
        """The models' expressions are Java's; Python needs its own words for classes of characters."""
        text = text.replace(r'\p{L}', 'a-zA-Z\u00c0-\uffff').replace(r'\p{Z}', r'\s').replace(r'\p{N}', '0-9')
        return text if text.startswith('^') or text.startswith('[\\u') else f'^(?:{text})$'
