#!/usr/bin/env python3
"""outage_test BUILD_DIR - AWS is away while images come in. Reception goes on, everything waits on the spool as `validated`, the uploader says what
it waits for, nobody runs hot, no instance is charged an attempt; when AWS is back all is imported by itself. Then AWS goes away
once more while import jobs run."""
import concurrent.futures
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, main, make_study, run_tool, same, say, until  # noqa: E402

COUNT, STUDIES, CPU_SHARE = 300, 6, 0.15


def cpu_seconds(it):
    total = 0
    for kind, pid in it.processes():
        try:
            with open(f'/proc/{pid}/stat') as f:
                fields = f.read().rsplit(')', 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return total / os.sysconf('SC_CLK_TCK')


def lines(it):
    with open(it.log_path, 'rb') as f:
        return f.read().count(b'\n')


def waiting(it, stage):
    return [status for (status,) in it.query('SELECT status FROM worker WHERE stage = ?', stage) if status.startswith('waiting')]


def send(it, directories):
    with concurrent.futures.ThreadPoolExecutor(len(directories)) as pool:
        for code, output in pool.map(lambda d: run_tool('dcmsend', '--scan-directories', '127.0.0.1', str(it.port), d), directories):
            same(code, 0, f'exit code of dcmsend ({output.strip()[-300:]})')


def test(build):
    with Installation(build, 'outage', {'batch_quiet_ms': 500}, {'uploader': 2}, aws_options=('--job-ms', '1500', '--start-per-second', '50')) as it:
        it.need_cloud()
        it.start()
        directories = []
        for k in range(STUDIES):
            directories.append(os.path.join(it.work, f'study{k}'))
            make_study(directories[-1], COUNT // STUDIES, 30000, 700 + k)
        it.stop_aws()
        send(it, directories)
        until(lambda: it.count('validated') == COUNT, 30, f'{COUNT} instances wait as validated')
        until(lambda: len(waiting(it, 'uploader')) == 2, 30, 'both uploaders say that they wait')
        say(f'uploader: {waiting(it, "uploader")[0]}')
        check('waiting' in it.ctl('status'), '`status` does not say that the uploader waits')
        check('if it lasts: check network' in it.ctl('status'), '`status` does not say what to do about it')
        check('is waiting' in it.ctl('stuck'), '`stuck` hides that the uploader waits')
        why = it.ctl('why', it.one("SELECT id FROM instance WHERE state = 'validated' AND owner IS NULL LIMIT 1"))
        check('if it lasts: check network' in why, f'`why` does not say what to do: {why}')

        before, lines_before, begun = cpu_seconds(it), lines(it), time.monotonic()
        time.sleep(6)
        share = (cpu_seconds(it) - before) / (time.monotonic() - begun)
        say(f'CPU of all stages during the outage: {share:.1%} of a core; {lines(it) - lines_before} log lines in 6 s')
        check(share < CPU_SHARE, f'the stages use {share:.0%} of a core while there is nothing to do')
        check(lines(it) - lines_before < 120, 'the outage fills the log')
        same(it.states(), {'validated': COUNT}, 'states during the outage')
        same(len(it.spool_files()), COUNT, 'spool files during the outage')
        same(it.one('SELECT sum(attempts) FROM instance'), 0, 'attempts charged to instances')

        it.start_aws()
        begun = time.monotonic()
        until(lambda: it.count('importing', 'imported') > 0, 60, 'the first instances go on')
        say(f'{time.monotonic() - begun:.1f} s after AWS was back the first instances went on')
        until(lambda: it.one("SELECT count(*) FROM batch WHERE state = 'running'") > 0, 60, 'an import job runs')
        it.stop_aws()
        time.sleep(3)
        same(it.count('failed', 'quarantined'), 0, 'refused instances during the second outage')
        it.start_aws()
        it.settle(COUNT, 120)
        same(it.states(), {'imported': COUNT}, 'states after the outages')
        same(it.one('SELECT count(*) FROM event WHERE instance IS NOT NULL AND code IS NOT NULL'), 0, 'troubles in the histories of instances')
        until(lambda: not it.spool_files(), 30, 'the spool is empty')
        it.stop()
        it.check_invariants()


main(test)
