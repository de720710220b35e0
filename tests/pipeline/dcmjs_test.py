#!/usr/bin/env python3
"""dcmjs_test BUILD_DIR - the receiver and a client that shares no code with its library (dcmjs-dimse from npm): C-ECHO and C-STORE, many requests on
one association, an asynchronous operations window, user identity with its response, refused contexts and rejections as that client reads them.
Left out without node 18 or later, without npm, or when npm cannot fetch the client."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import TOP, Installation, check, clean_environment, main, make_study, same, until  # noqa: E402
from node import need  # noqa: E402

CLIENT = os.path.join(TOP, 'tests', 'dimse')
CT, VERIFICATION, EXPLICIT = '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.1', '1.2.840.10008.1.2.1'


def test(build):
    node = need(CLIENT)
    with Installation(build, 'dcmjs', counts={'validator': 0, 'uploader': 0, 'importer': 0}) as it:
        study = make_study(os.path.join(it.work, 'study'), 30, 5000, 5)
        with open(os.path.join(it.home, 'storescp.conf'), 'a') as f:
            f.write('[ae SAFE]\nrequire_user_identity = passcode\n[ae NARROW]\nrefused_sop_classes = CTImageStorage\n')
        it.start()
        subprocess.run([it.program('storescpctl'), '--home', it.home, 'user', 'add', 'anna'], input='correct horse\n', text=True, check=True, timeout=30, env=clean_environment())

        def run(**task):
            done = subprocess.run([node, 'client.mjs'], cwd=CLIENT, input=json.dumps(dict(task, port=it.port)), capture_output=True, text=True, timeout=60)
            last = done.stdout[done.stdout.rfind('\n') + 1:]  # before it: what the client's library has to say
            check(done.returncode == 0 and last.startswith('{'), f'the client: {done.stdout[-500:]} {done.stderr[-500:]}')
            return json.loads(last)

        told = run(echo=3)
        same((told['accepted'], told['statuses']), (True, [0, 0, 0]), 'C-ECHO')
        told = run(files=study[:10])
        same((told['accepted'], told['statuses']), (True, [0] * 10), 'C-STORE')
        until(lambda: it.one('SELECT count(*) FROM instance') == 10, 5, 'ten rows')
        told = run(files=study[10:30], options={'asyncOps': {'maxAsyncOpsInvoked': 5, 'maxAsyncOpsPerformed': 5}})
        same((told['accepted'], told['async'], told['statuses']), (True, [5, 1], [0] * 20), 'C-STORE with a window of five')
        until(lambda: it.one('SELECT count(*) FROM instance') == 30, 5, 'thirty rows')

        def identity(kind, passcode='', response=True):
            return {'userIdentity': {'type': kind, 'positiveResponseRequested': response, 'primaryField': 'anna', 'secondaryField': passcode}}
        told = run(calling='SAFE', echo=1, options=identity(2, 'correct horse'))
        same((told['accepted'], told['identity_response'], told['statuses']), (True, True, [0]), 'user and passcode')
        told = run(calling='SAFE', echo=1, options=identity(2, 'correct horse', response=False))
        same((told['accepted'], told['identity_response']), (True, False), 'a response that was not asked for')
        told = run(calling='SAFE', echo=1, options=identity(2, 'battery staple'))
        same((told['accepted'], told.get('rejected')), (False, [1, 1, 1]), 'a wrong passcode')
        told = run(calling='SAFE', echo=1, options=identity(5, ''))
        same((told['accepted'], told.get('rejected')), (False, [1, 1, 1]), 'a JSON web token')
        told = run(calling='SAFE', echo=1)
        same((told['accepted'], told.get('rejected')), (False, [1, 1, 1]), 'no user')
        told = run(calling='NARROW', echo=1, files=study[:1])
        same(sorted([c[0], c[1]] for c in told['contexts']), sorted([[VERIFICATION, 0], [CT, 3]]), 'a refused context')
        it.stop()


if __name__ == '__main__':
    main(test)
