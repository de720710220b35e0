#!/usr/bin/env python3
"""endpoint_test BUILD_DIR - the ways to AWS that differ from site to site: HTTPS with a certificate of one's own and the bucket in the host name, a certificate
that cannot be trusted (the stage waits and names the setting), a proxy from the environment, keys in the SDKs' shared file that are replaced while everything runs.
The relay in front of the stand-in passes bytes on and knows nothing of S3."""
import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import ACCESS_KEY, BUCKET, Installation, LeftOut, SECRET_KEY, check, clean_environment, main, make_study, run_tool, same, say, until  # noqa: E402


class Relay:
    """Takes TLS (context) or plain connections on a free port and passes their bytes to `port`; as a proxy it takes the request line's host away."""

    def __init__(self, port, context=None, proxy=False):
        self.target, self.context, self.proxy, self.connections = port, context, proxy, 0
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            with contextlib.suppress(OSError):
                peer, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        with contextlib.suppress(OSError):
            if self.context:
                peer = self.context.wrap_socket(peer, server_side=True)
            self.connections += 1
            there = socket.create_connection(('127.0.0.1', self.target))
            threading.Thread(target=self._pump, args=(there, peer, False), daemon=True).start()
            self._pump(peer, there, self.proxy)

    @staticmethod
    def _pump(source, sink, cut):
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(65536)
                if not data:
                    break
                if cut and b' http://' in data[:20]:  # "PUT http://host/path" -> "PUT /path"
                    method, _, rest = data.partition(b' http://')
                    data = method + b' /' + rest.partition(b'/')[2]
                sink.sendall(data)
        for s in (source, sink):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)


class Sender:
    def __init__(self, it):
        self.it, self.total = it, 0

    def send(self, count=20):
        paths = make_study(os.path.join(self.it.work, f'study{self.total}'), count, 70000, 3000 + self.total)
        code, output = run_tool('storescu', '127.0.0.1', str(self.it.port), *paths)
        same(code, 0, f'exit code of storescu ({output.strip()[-300:]})')
        self.total += count

    def uploaded(self, seconds=30):
        until(lambda: self.it.count('uploaded') == self.total, seconds, f'{self.total} instances are `uploaded`; {self.it.states()}')

    def waits(self, word):
        until(lambda: word in self.it.ctl('status'), 20, f'status says "{word}"')


def certificate(directory):
    key, cert = os.path.join(directory, 'key.pem'), os.path.join(directory, 'cert.pem')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=test', '-keyout', key, '-out', cert,
                    '-addext', f'subjectAltName=DNS:localhost,DNS:{BUCKET}.localhost'], check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert, context


def over_tls(it, sender):
    cert, context = certificate(it.work)
    relay = Relay(it.aws_port, context)
    it.configure(endpoint_url=f'https://localhost:{relay.port}', s3_path_style='false')
    it.start_up()
    sender.send()
    sender.waits('waiting: CONFIGURATION')
    sender.waits('certificate cannot be trusted')
    same(it.one("SELECT count(*) FROM instance WHERE attempts > 0 OR state = 'failed'"), 0, 'instances charged for a certificate')
    it.stop()
    it.configure(ca_bundle=cert)
    it.start_up()
    sender.uploaded()
    check(1 <= relay.connections <= 60, f'{relay.connections} connections for 20 transfers')
    it.stop()
    say('HTTPS with a certificate of its own and the bucket in the host name')


def over_a_proxy(it, sender):
    relay = Relay(it.aws_port, proxy=True)
    it.configure(endpoint_url=f'http://127.0.0.1:{it.aws_port}', s3_path_style='true', ca_bundle='', uploaders=0)
    it.start_up()
    process = subprocess.Popen([it.program('storescp-uploader'), '--home', it.home], stderr=open(it.log_path, 'ab'),
                               env=dict(clean_environment(), http_proxy=f'http://127.0.0.1:{relay.port}'))
    try:
        sender.send()
        sender.uploaded()
        check(relay.connections > 0, 'the proxy was used')
    finally:
        process.terminate()
        same(process.wait(20), 0, 'exit code of the uploader')
    it.stop()
    say('a proxy from the environment')


def keys_replaced(it, sender):
    """The uploader starts without any keys, gets wrong ones, then right ones; nobody restarts it."""
    home = os.path.join(it.work, 'user')
    os.makedirs(os.path.join(home, '.aws'), exist_ok=True)
    path = os.path.join(home, '.aws', 'credentials')

    def write(secret):
        with open(path + '.new', 'w') as f:
            f.write(f'[default]\naws_access_key_id = nobody\naws_secret_access_key = x\n[clinic]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {secret}\n')
        os.rename(path + '.new', path)

    it.configure(aws_access_key_id='', aws_secret_access_key='', aws_profile='clinic')
    it.start_up()
    process = subprocess.Popen([it.program('storescp-uploader'), '--home', it.home], stderr=open(it.log_path, 'ab'), env=dict(clean_environment(), HOME=home))
    try:
        sender.send()
        sender.waits('there are no AWS credentials')
        write('wrong')
        sender.waits('SignatureDoesNotMatch')
        write(SECRET_KEY)
        sender.uploaded()
        same(it.one("SELECT count(*) FROM instance WHERE attempts > 0 OR state = 'failed'"), 0, 'instances charged for keys')
    finally:
        process.terminate()
        same(process.wait(20), 0, 'exit code of the uploader')
    it.stop()
    say('keys in the shared file, replaced while the uploader runs')


def test(build):
    if not shutil.which('openssl'):
        raise LeftOut('needs the openssl program')
    with Installation(build, 'endpoint', {'importers': 0, 'batch_quiet_ms': 3600000}) as it:
        it.need_cloud()
        it.start_aws()
        sender = Sender(it)
        over_tls(it, sender)
        over_a_proxy(it, sender)
        keys_replaced(it, sender)
        it.check_invariants()
        with open(it.log_path, errors='replace') as log:
            check(SECRET_KEY not in log.read(), 'the log holds the secret')


main(test)
