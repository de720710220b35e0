#!/usr/bin/env python3
"""release_test BUILD_DIR - spool files that may go do go, as fast as they come: 700 duplicates at once (there was a limit of 200 a second, less
than a receiver takes), and one that cannot be removed does not hold up the others (it held up all that ended after it)."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, main, make_study, run_tool, same, say, until  # noqa: E402

COUNT = 700


def test(build):
    with Installation(build, 'release', {'spool_keep_imported_s': 3600}) as it:
        it.start()
        directory = os.path.join(it.work, 'study')
        make_study(directory, COUNT, 600, 42)
        for _ in range(2):
            code, output = run_tool('dcmsend', '--scan-directories', '127.0.0.1', str(it.port), directory)
            same(code, 0, f'exit code of dcmsend ({output.strip()[-300:]})')
        it.settle(2 * COUNT, 90)
        same(it.count('duplicate'), COUNT, 'duplicates')
        same(len(it.spool_files()), 2 * COUNT, 'files that are kept')
        it.stop()
        first = it.one("SELECT id FROM instance WHERE state = 'duplicate' ORDER BY ended_ms LIMIT 1")
        path = os.path.join(it.home, 'spool', 'obj', first + '.dcm')
        os.unlink(path)
        os.mkdir(path)  # unlink() fails on it, for root too
        it.configure(spool_keep_imported_s=0)
        it.start()
        begun = time.monotonic()
        going = "SELECT count(*) FROM instance WHERE state IN ('duplicate', 'imported') AND released_ms IS NULL"
        until(lambda: it.one(going) == 1, 20, 'all but one are released')
        took = time.monotonic() - begun
        say(f'{it.count("duplicate", "imported") - 1} files released {took:.1f} s after the start')
        check(took < 5, 'the release is slower than reception')
        with open(it.log_path, errors='replace') as log:
            check(f'file_not_released instance={first}' in log.read(), 'the log does not name the file that cannot be removed')
        os.rmdir(path)
        until(lambda: it.one(going) == 0, 10, 'the last one is released')
        it.stop()
        it.check_invariants()


main(test)
