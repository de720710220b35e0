#!/usr/bin/env python3
"""sdk_test BUILD_DIR - the official AWS SDK for JavaScript drives the stand-in (tests/sdk/main.mjs) and finds nothing strange; what AWS
refuses, the stand-in refuses with the same code. node and npm come from Debian if they are not there and root runs this.
Left out without node 18 or later, without npm, or when npm cannot fetch the SDK."""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import (ACCESS_KEY, BUCKET, DATASTORE, REGION, SECRET_KEY, TOP, LeftOut, clean_environment, free_port, main, make_study,  # noqa: E402
                     same, say, until)
from node import need  # noqa: E402

SDK = os.path.join(TOP, 'tests', 'sdk')


def test(build):
    program = os.path.join(os.path.abspath(build), 'bin', 'storescp-local-aws')
    if not os.path.exists(program):
        raise LeftOut('storescp-local-aws is not built')
    node = need(SDK)
    work = tempfile.mkdtemp(prefix='storescp-sdk.')
    port = free_port()
    out = os.path.join(work, 'out')
    aws = None
    try:
        image = make_study(os.path.join(work, 'study'), 1, 20000, 77)[0]
        with open(out, 'wb') as f:
            aws = subprocess.Popen([program, '--port', str(port), '--data', os.path.join(work, 'aws'), '--access-key', ACCESS_KEY, '--secret-key', SECRET_KEY,
                                    '--region', REGION, '--datastore', DATASTORE, '--bucket', BUCKET, '--job-ms', '300', '--events', 'job-events'], stdout=f, env=clean_environment())
        until(lambda: b'ready' in open(out, 'rb').read(), 10, 'the stand-in says ready')
        environment = dict(clean_environment(), ENDPOINT=f'http://127.0.0.1:{port}', ACCESS_KEY=ACCESS_KEY, SECRET_KEY=SECRET_KEY, REGION=REGION,
                           BUCKET=BUCKET, DATASTORE=DATASTORE, DICOM_FILE=image, AWS_EC2_METADATA_DISABLED='true', NODE_NO_WARNINGS='1')
        done = subprocess.run([node, 'main.mjs'], cwd=SDK, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240)
        say(done.stdout.rstrip())
        same(done.returncode, 0, 'exit code of the program with the SDK')
        aws.terminate()
        same(aws.wait(20), 0, 'exit code of the stand-in after SIGTERM')
    finally:
        if aws and aws.poll() is None:
            aws.kill()
            aws.wait()
        shutil.rmtree(work, ignore_errors=True)


main(test)
