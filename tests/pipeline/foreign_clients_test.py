#!/usr/bin/env python3
"""foreign_clients_test BUILD_DIR - clients that are not DCMTK's tools: dcmjs-dimse (an implementation of its own, from npm) sends the same image in
every transfer syntax that it and DCMTK's converters know, on one association; Orthanc, as
SCU by its REST API, echoes and sends what it holds. Every image goes its whole way. A client that is not here is left out and named."""
import json
import os
import shutil
import subprocess
import sys
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import TOP, Installation, LeftOut, check, clean_environment, free_port, main, make_study, run_tool, same, say, until  # noqa: E402
from node import need  # noqa: E402

CLIENT = os.path.join(TOP, 'tests', 'dimse')
FORMS = {  # transfer syntax -> how DCMTK makes it
    '1.2.840.10008.1.2': ('dcmconv', '+ti'), '1.2.840.10008.1.2.1': ('dcmconv', '+te'), '1.2.840.10008.1.2.2': ('dcmconv', '+tb'),
    '1.2.840.10008.1.2.5': ('dcmcrle',), '1.2.840.10008.1.2.4.70': ('dcmcjpeg',), '1.2.840.10008.1.2.4.80': ('dcmcjpls',)}


def images(it, name, seed):
    """One synthetic image in every form, each an instance of its own -> {transfer syntax: path}"""
    source = make_study(os.path.join(it.work, name), len(FORMS), 20000, seed)
    made = {}
    for (syntax, words), path in zip(FORMS.items(), source):
        made[syntax] = path + '.' + syntax
        code, output = run_tool(*words, path, made[syntax])
        same(code, 0, f'{words[0]} makes {syntax}: {output}')
    return made


def look(it, calling, made):
    """What came from this client stands there in the transfer syntaxes that it holds."""
    rows = [r[0] for r in it.query('SELECT transfer_syntax_uid FROM instance WHERE calling_ae = ? ORDER BY 1', calling)]
    same(rows, sorted(made), f'transfer syntaxes of what {calling} sent')


def dcmjs(it):
    node = need(CLIENT)
    made = images(it, 'dcmjs', 21)
    del made['1.2.840.10008.1.2.1']  # it proposes both little endian syntaxes in one context and converts to the one that is accepted
    done = subprocess.run([node, 'client.mjs'], cwd=CLIENT, input=json.dumps({'port': it.port, 'calling': 'DCMJS', 'echo': 1, 'files': list(made.values())}),
                          capture_output=True, text=True, timeout=120, env=clean_environment())
    told = json.loads(done.stdout[done.stdout.rfind('\n') + 1:] or '{}')
    same((told.get('accepted'), told.get('statuses')), (True, [0] * (len(made) + 1)), f'what dcmjs-dimse got {done.stderr[-300:]}')
    look(it, 'DCMJS', made)
    say(f'dcmjs-dimse: an echo and {len(made)} images in {len(made)} transfer syntaxes on one association')


def orthanc(it):
    program = shutil.which('Orthanc') or '/usr/sbin/Orthanc'
    if not os.path.exists(program):
        raise LeftOut('Orthanc is not here: apt-get install orthanc')
    directory, port = os.path.join(it.work, 'orthanc'), free_port()
    os.mkdir(directory)
    with open(os.path.join(directory, 'orthanc.json'), 'w') as f:
        json.dump({'Name': 'test', 'StorageDirectory': directory, 'IndexDirectory': directory, 'HttpPort': port, 'HttpBindAddresses': ['127.0.0.1'],
                   'DicomServerEnabled': False, 'RemoteAccessAllowed': False, 'AuthenticationEnabled': False, 'Plugins': [], 'DicomAet': 'ORTHANC',
                   'DicomModalities': {'store': ['STORESCP', '127.0.0.1', it.port]}}, f)

    def post(path, body):
        request = urllib.request.Request(f'http://127.0.0.1:{port}{path}', data=body, method='POST')
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return json.loads(answer.read() or b'{}')

    with open(os.path.join(directory, 'log'), 'wb') as log:
        process = subprocess.Popen([program, os.path.join(directory, 'orthanc.json')], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=directory)
    try:
        def is_up():
            try:
                return post('/tools/find', b'{"Level": "Patient", "Query": {}}') == []
            except OSError:
                check(process.poll() is None, f'Orthanc ended: {open(os.path.join(directory, "log"), errors="replace").read()[-500:]}')
                return False
        until(is_up, 90, 'Orthanc answers')
        post('/modalities/store/echo', b'{}')
        made = images(it, 'orthanc-images', 22)
        ids = [post('/instances', open(path, 'rb').read())['ID'] for path in made.values()]
        result = post('/modalities/store/store', json.dumps({'Resources': ids, 'Synchronous': True}).encode())
        same((result.get('InstancesCount'), result.get('FailedInstancesCount')), (len(made), 0), f'what Orthanc says of its C-STOREs: {result}')
        look(it, 'ORTHANC', made)
        say(f'Orthanc: an echo and {len(made)} images in {len(made)} transfer syntaxes')
    finally:
        process.terminate()
        process.wait(20)


def test(build):
    with Installation(build, 'foreign') as it:
        it.start()
        missing = []
        for client in (dcmjs, orthanc):
            try:
                client(it)
            except LeftOut as why:
                missing.append(f'{client.__name__}: {why}')
                say(f'left out: {missing[-1]}')
        if len(missing) == 2:
            raise LeftOut('; '.join(missing))
        it.settle(len(FORMS) - 1, 90)
        same(sorted(it.states()), [it.end_state], 'states of what foreign clients sent')
        it.stop()
        it.check_invariants()


main(test)
