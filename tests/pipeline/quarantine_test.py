#!/usr/bin/env python3
"""quarantine_test BUILD_DIR - a validator that died between the commit of `quarantined` and the rename left the file in obj/ for ever; the next
one that starts moves it; and one whose rename failed stayed there until then."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, main, same, until  # noqa: E402
import random  # noqa: E402
import make_dicom  # noqa: E402
import scu  # noqa: E402


def test(build):
    with Installation(build, 'quarantine') as it:
        it.start()
        sop, content = make_dicom.make('', '2.25.4711.1', 1, 2000, random.Random(1))  # no Study Instance UID
        path = os.path.join(it.work, 'bad.dcm')
        with open(path, 'wb') as f:
            f.write(content)
        same(scu.store_file('127.0.0.1', it.port, path), 0, 'answer')
        it.settle(1)
        same(it.states(), {'quarantined': 1}, 'states')
        instance = it.one('SELECT id FROM instance WHERE sop_instance_uid = ?', sop)
        until(lambda: it.spool_files('quarantine') == [instance + '.dcm'], 10, 'the file is in quarantine/')
        it.stop()
        spool = os.path.join(it.home, 'spool')
        os.rename(os.path.join(spool, 'quarantine', instance + '.dcm'), os.path.join(spool, 'obj', instance + '.dcm'))
        it.start()
        until(lambda: it.spool_files('quarantine') == [instance + '.dcm'], 10, 'the file is in quarantine/ again')
        check(not it.spool_files(), 'and not in obj/ any more')
        # the rename fails: it is tried again without another start
        room = os.path.join(spool, 'quarantine')
        os.rename(room, room + '.away')
        with open(room, 'wb'):
            pass
        sop, content = make_dicom.make('', '2.25.4711.2', 2, 2000, random.Random(2))
        with open(path, 'wb') as f:
            f.write(content)
        same(scu.store_file('127.0.0.1', it.port, path), 0, 'answer to the second')
        it.settle(2)
        same(len(it.spool_files()), 1, 'files in obj/ while there is no quarantine/')
        os.unlink(room)
        os.rename(room + '.away', room)
        until(lambda: len(it.spool_files('quarantine')) == 2, 10, 'the second file is in quarantine/, too')
        it.stop()
        it.check_invariants()


main(test)
