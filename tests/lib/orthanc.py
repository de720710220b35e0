"""orthanc - Orthanc with its DICOMweb plug-in as a process of its own on a free loopback port: a DICOMweb server that is none of ours.

    with Orthanc(user='u', password='p') as server:
        server.url; server.count(); server.file_of(sop_instance_uid); server.stop(); server.start()

Left out (77) where Debian's packages orthanc and orthanc-dicomweb are not installed and cannot be."""
import base64
import contextlib
import http.client
import http.server
import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request

from harness import LeftOut, clean_environment, free_port, installing, until

PLUGIN = '/usr/share/orthanc/plugins/libOrthancDicomWeb.so'
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def need_orthanc():
    """Installs it if it is not there: a few seconds."""
    with installing():
        if not (shutil.which('Orthanc') and os.path.exists(PLUGIN)):
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(['apt-get', 'install', '-y', '--no-install-recommends', 'orthanc', 'orthanc-dicomweb'], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, timeout=120, env=dict(os.environ, DEBIAN_FRONTEND='noninteractive', RUNLEVEL='1'))
    if not (shutil.which('Orthanc') and os.path.exists(PLUGIN)):
        raise LeftOut('Orthanc with its DICOMweb plug-in is not installed (Debian: orthanc, orthanc-dicomweb)')


class Orthanc:
    def __init__(self, user='sender', password='secret'):
        need_orthanc()
        self.directory = tempfile.mkdtemp(prefix='storescp-orthanc.')
        self.user, self.password, self.port = user, password, free_port()
        self.storage = os.path.join(self.directory, 'storage')
        self.process = None

    @property
    def url(self):
        return f'http://127.0.0.1:{self.port}/dicom-web'

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, error, trace):
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self):
        path = os.path.join(self.directory, 'orthanc.json')
        with open(path, 'w') as f:
            json.dump({'Name': 'ARCHIVE', 'StorageDirectory': self.storage, 'IndexDirectory': os.path.join(self.directory, 'index'), 'HttpPort': self.port,
                       'DicomServerEnabled': False, 'RemoteAccessAllowed': False, 'AuthenticationEnabled': True,
                       'RegisteredUsers': {self.user: self.password}, 'Plugins': [PLUGIN], 'DicomWeb': {'Enable': True, 'Root': '/dicom-web/'}}, f)
        with open(os.path.join(self.directory, 'log'), 'ab') as log:
            self.process = subprocess.Popen(['Orthanc', path], stdout=log, stderr=log, env=clean_environment(), start_new_session=True)
        until(self.answers, 90, 'Orthanc answers')

    def stop(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(20)
        self.process = None

    def get(self, path, body=None):
        word = base64.b64encode(f'{self.user}:{self.password}'.encode()).decode()
        request = urllib.request.Request(self.url[:-len('/dicom-web')] + path, data=body, headers={'Authorization': f'Basic {word}'})
        with NO_PROXY.open(request, timeout=20) as answer:
            return answer.read()

    def answers(self):
        with contextlib.suppress(OSError, urllib.error.URLError):
            return bool(self.get('/system'))
        return False

    def count(self):
        return json.loads(self.get('/statistics'))['CountInstances']

    def file_of(self, sop_instance_uid):
        """The file as it is kept; None: it is not there."""
        found = [entry for entry in json.loads(self.get('/tools/lookup', sop_instance_uid.encode())) if entry['Type'] == 'Instance']
        return self.get(found[0]['Path'] + '/file') if found else None


class Gate:
    """An HTTPS server in front of another one, as hospitals have it: it demands a client certificate and passes requests on. (Orthanc 1.10 of Debian can demand one
    itself, but its process dies of the first.)"""

    def __init__(self, port, pair, clients):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
        self.shown = set()  # subjects of the certificates
        gate = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def pass_on(self):
                gate.shown.add(dict(part[0] for part in self.connection.getpeercert()['subject'])['commonName'])
                inner = http.client.HTTPConnection('127.0.0.1', port, timeout=20)
                inner.request(self.command, self.path, self.rfile.read(int(self.headers.get('Content-Length', 0))), dict(self.headers))
                answer = inner.getresponse()
                body = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() in ('content-type', 'www-authenticate'):
                        self.send_header(name, value)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                inner.close()

            do_GET = do_POST = pass_on

            def log_message(self, *words):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass

            def get_request(self):
                connection, address = super().get_request()
                connection.settimeout(20)
                return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

        self.server = Server(('127.0.0.1', 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
