#!/usr/bin/env python3
"""sockets_test BUILD_DIR - every ZeroMQ socket under run/ is deleted again and again while images come in. Messages are only hints: the sweep
finds every row, nothing is lost or done twice."""
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, main, make_study, run_tool, same, say  # noqa: E402


def delete_sockets(run, stop, deleted):
    while not stop.is_set():
        for directory, _, names in os.walk(run):
            for name in names:
                path = os.path.join(directory, name)
                try:
                    if os.stat(path).st_mode & 0o170000 == 0o140000:
                        os.unlink(path)
                        deleted.append(path)
                except FileNotFoundError:
                    pass
        time.sleep(0.1)


def test(build):
    with Installation(build, 'sockets', counts={'validator': 2, 'uploader': 2}) as it:
        it.start()
        directories = []
        for k in range(4):
            directories.append(os.path.join(it.work, f'study{k}'))
            make_study(directories[-1], 50, 20000, 300 + k)
        stop, deleted = threading.Event(), []
        thread = threading.Thread(target=delete_sockets, args=(os.path.join(it.home, 'run'), stop, deleted))
        thread.start()
        try:
            for directory in directories:
                code, output = run_tool('dcmsend', '--scan-directories', '127.0.0.1', str(it.port), directory)
                same(code, 0, f'exit code of dcmsend ({output.strip()[-300:]})')
            it.settle(200)
        finally:
            stop.set()
            thread.join()
        check(deleted, 'no socket was there to be deleted')
        say(f'{len(deleted)} sockets deleted')
        same(it.states(), {it.end_state: 200}, 'states')
        # the control commands work, too: what a deleted socket took with it comes back with a restart
        it.ctl('scale', 'validator', '1')
        it.stop()
        it.check_invariants()


main(test)
