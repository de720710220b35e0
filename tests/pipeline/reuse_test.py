#!/usr/bin/env python3
"""reuse_test BUILD_DIR - an association process that has served its number of associations is replaced, and no connection is lost on the way.

Guards: the recorder gave connections to a process that had ended its last association and was about to exit; the peer saw a reset."""
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, main, same  # noqa: E402
import scu  # noqa: E402


def test(build):
    with Installation(build, 'reuse', {'association_reuse': 1, 'spare_associations': 3}, counts={'validator': 0, 'uploader': 0, 'importer': 0}) as it:
        it.start_up()
        failed, served = [], []

        def sender():
            for _ in range(60):
                try:
                    a = scu.Association('127.0.0.1', it.port, [(scu.VERIFICATION, scu.IMPLICIT_LE)])
                    served.append(a.echo())
                    a.release()
                except (OSError, scu.Refused) as why:
                    failed.append(repr(why))

        threads = [threading.Thread(target=sender) for _ in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(100)
        same(failed, [], 'connections that were lost')
        same(served, [0] * 180, 'C-ECHO statuses')
        it.stop()
        check(len({line.split('association[')[1].split(']')[0] for line in open(it.log_path) if 'association_ended' in line}) == 180, 'each has got a process of its own')


main(test)
