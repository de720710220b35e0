#!/usr/bin/env python3
"""commitment_clients_test BUILD_DIR - storage commitment with clients that share no code with us: dcmjs-dimse (npm) asks and hears the report on its own
association and on one that we open to its server; Orthanc (Debian) stores, asks by its REST interface, and hears the report on its port. Each is left out when it
is not here and cannot be fetched; with none of them the test is."""
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, LeftOut, TOP, check, clean_environment, free_port, installing, main, make_study, same, say, until  # noqa: E402
from node import need  # noqa: E402
import scu  # noqa: E402

CLIENT = os.path.join(TOP, 'tests', 'dimse')


def quiet_port():
    """A free port below those that the kernel gives to connections: the client listens on it later, and on every address."""
    for _ in range(100):
        port = random.randrange(20000, 32000)
        try:
            socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True).close()
            return port
        except OSError:
            continue
    raise LeftOut('no free port')


def dcmjs(it, node, references, port):
    number = iter(range(1, 100))

    def run(**task):
        task = dict(dict(port=it.port, calling='DCMJS', listen=0, linger_ms=20000, references=references, transaction=f'2.25.815.{os.getpid()}.{next(number)}'), **task)
        done = subprocess.run([node, 'commitment.mjs'], cwd=CLIENT, input=json.dumps(task), capture_output=True, text=True, timeout=60)
        last = done.stdout[done.stdout.rfind('\n') + 1:]
        check(done.returncode == 0 and last.startswith('{'), f'the client: {done.stdout[-700:]} {done.stderr[-500:]}')
        told = json.loads(last)
        same((told['status'], len(told['reports'])), (0, 1), 'N-ACTION and reports')
        same(told['reports'][0]['transaction'], task['transaction'], 'Transaction UID of the report')
        return told['reports'][0]
    everything = sorted(i for _, i in references)
    report = run()
    same((report['where'], report['type'], sorted(report['committed']), report['failed']), ('same', 1, everything, {}), 'on its own association')
    report = run(linger_ms=0, listen=port)
    same((report['where'], report['calling'], report['type'], sorted(report['committed'])), ('new', 'STORESCP', 1, everything), 'on a new association')
    report = run(linger_ms=0, listen=port, references=[references[0], [references[0][0], '1.2.3.99']])
    same((report['where'], report['type'], report['committed'], report['failed']), ('new', 2, [references[0][1]], {'1.2.3.99': 0x112}), 'a failure')
    say('dcmjs-dimse hears reports both ways')


class Orthanc:
    def __init__(self, it, dicom_port):
        with installing():
            self.program = shutil.which('Orthanc')
            if not self.program and os.geteuid() == 0 and shutil.which('apt-get'):
                subprocess.run(['apt-get', 'install', '-y', '-qq', '--no-install-recommends', 'orthanc'], env=dict(os.environ, DEBIAN_FRONTEND='noninteractive'),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300, check=False)
                self.program = shutil.which('Orthanc')
        if not self.program:
            raise LeftOut('Orthanc is not here: as root, apt-get install orthanc')
        self.http = free_port()
        home = os.path.join(it.work, 'orthanc')
        os.makedirs(home)
        with open(os.path.join(home, 'orthanc.json'), 'w') as f:
            json.dump({'Name': 'ORTHANC', 'DicomAet': 'ORTHANC', 'DicomPort': dicom_port, 'HttpPort': self.http, 'StorageDirectory': home, 'IndexDirectory': home,
                       'RemoteAccessAllowed': False, 'AuthenticationEnabled': False, 'DicomCheckCalledAet': True, 'HttpServerEnabled': True, 'Plugins': [],
                       'DicomModalities': {'storescp': {'AET': 'STORESCP', 'Host': '127.0.0.1', 'Port': it.port, 'AllowStorageCommitment': True,
                                                        'AllowEventReport': True}}}, f)
        self.log = open(os.path.join(home, 'log'), 'wb')
        self.process = subprocess.Popen([self.program, os.path.join(home, 'orthanc.json')], stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL, env=clean_environment())
        until(self.answers, 90, 'Orthanc answers')

    def ask(self, path, body=None):
        request = urllib.request.Request(f'http://127.0.0.1:{self.http}{path}', data=body if body is None or isinstance(body, bytes) else json.dumps(body).encode())
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            return json.loads(answer.read())

    def answers(self):
        check(self.process.poll() is None, f'Orthanc ended with {self.process.returncode}')
        try:
            return self.ask('/system')
        except OSError:
            return None

    def end(self):
        self.process.kill()
        self.process.wait(10)
        self.log.close()


def orthanc(it, files, port):
    server = Orthanc(it, port)
    try:
        for path in files:
            with open(path, 'rb') as f:
                server.ask('/instances', f.read())
        answer = server.ask('/modalities/storescp/store', {'Resources': server.ask('/instances'), 'StorageCommitment': True, 'Synchronous': True})
        transaction = answer['StorageCommitmentTransactionUID']
        report = until(lambda: (lambda r: r if r['Status'] != 'Pending' else None)(server.ask(f'/storage-commitment/{transaction}')), 40, 'Orthanc hears the report')
        same((report['Status'], len(report['Success']), report['Failures']), ('Success', len(files), []), 'what Orthanc heard')
        missing = server.ask('/modalities/storescp/storage-commitment', {'DicomInstances': [['1.2.840.10008.5.1.4.1.1.2', '1.2.3.98']]})
        report = until(lambda: (lambda r: r if r['Status'] != 'Pending' else None)(server.ask(missing['Path'])), 40, 'Orthanc hears of the failure')
        same((report['Status'], [f['SOPInstanceUID'] for f in report['Failures']]), ('Failure', ['1.2.3.98']), 'what Orthanc heard')
        same(report['Failures'][0]['FailureReason'], 0x112, 'failure reason')
        say('Orthanc stores, asks, and hears reports')
    finally:
        server.end()


def test(build):
    left_out = []
    with Installation(build, 'commitment-clients') as it:
        js_port, orthanc_port = quiet_port(), quiet_port()
        with open(os.path.join(it.home, 'storescp.conf'), 'a') as f:
            f.write(f'commitment_at = {"uploaded" if it.cloud else "spooled"}\n[ae DCMJS]\ncommitment_address = 127.0.0.1:{js_port}\n'
                    f'[ae ORTHANC]\ncommitment_address = 127.0.0.1:{orthanc_port}\ncommitment_same_association = false\n')
        it.start()
        files = make_study(os.path.join(it.work, 'study'), 4, 2000, 815)
        references = []
        for path in files[:3]:
            same(scu.store_file('127.0.0.1', it.port, path), 0, 'C-STORE')
            part = scu.read_part10(path)
            references.append([part.sop_class, part.sop_instance])
        for step in (lambda: dcmjs(it, need(CLIENT), references, js_port), lambda: orthanc(it, files, orthanc_port)):
            try:
                step()
            except LeftOut as why:
                say(f'left out: {why}')
                left_out.append(str(why))
        it.stop()
        it.check_invariants()
    if len(left_out) == 2:
        raise LeftOut('; '.join(left_out))


if __name__ == '__main__':
    main(test)
