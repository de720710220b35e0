#!/usr/bin/env python3
"""end_to_end_test BUILD_DIR - what a hospital does on a good day: DCMTK's senders, several associations at once, a study sent twice, stages
scaled while images come in, a stop in the middle. Every image has its end with evidence, none is there twice, nothing is left over."""
import concurrent.futures
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, main, make_study, run_tool, same, say, until  # noqa: E402
import scu  # noqa: E402


def send_by_scu(port, paths):
    parts = [scu.read_part10(p) for p in paths]
    association = scu.Association('127.0.0.1', port, sorted({(p.sop_class, p.syntax) for p in parts}))
    answers = [association.store(p) for p in parts]
    association.release()
    return answers


def test(build):
    with Installation(build, 'end-to-end', {'spool_keep_imported_s': 3600}) as it:
        it.start()
        code, output = run_tool('echoscu', '127.0.0.1', str(it.port))
        same(code, 0, f'C-ECHO ({output.strip()})')

        studies = [make_study(os.path.join(it.work, f'study{k}'), 30, (2000, 70000, 524288)[k % 3], 100 + k, ('CT', 'MR')[k % 2]) for k in range(6)]
        directory = [os.path.dirname(paths[0]) for paths in studies]
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            jobs = [pool.submit(run_tool, 'storescu', '+sd', '127.0.0.1', str(it.port), directory[0]),
                    pool.submit(run_tool, 'dcmsend', '--scan-directories', '127.0.0.1', str(it.port), directory[1]),
                    *(pool.submit(send_by_scu, it.port, paths) for paths in studies[2:])]
            if it.cloud:
                it.ctl('scale', 'uploader', '3')
            it.ctl('scale', 'validator', '3')
            results = [job.result(60) for job in jobs]
        for code, output in results[:2]:
            same(code, 0, f'exit code of the sender ({output.strip()[-300:]})')
        for answers in results[2:]:
            same(set(answers), {0}, 'C-STORE statuses')
        it.settle(180)
        same(it.states(), {it.end_state: 180}, 'states of 180 instances')
        say(f'180 instances of 6 studies are `{it.end_state}`')

        # bytes: what is kept is what was sent
        for path in (studies[0][0], studies[1][3], studies[2][7], studies[5][29]):
            sent = scu.read_part10(path)
            instance = it.one('SELECT id FROM instance WHERE sop_instance_uid = ?', sent.sop_instance)
            check(it.stored_data_set(instance) == sent.data, f'the data set of {sent.sop_instance} is not what was sent')

        # a study sent again is known, and imported once only
        same(set(send_by_scu(it.port, studies[2])), {0}, 'C-STORE statuses of the second time')
        it.settle(210)
        same(it.states(), {it.end_state: 180, 'duplicate': 30}, 'states after a study came twice')

        # support staff's view, in a plain shell
        for view in ('v_study', 'v_stuck', 'v_queue', 'v_instance_history'):
            done = subprocess.run(['sqlite3', '-readonly', it.database, f'SELECT * FROM {view}'], capture_output=True, text=True, timeout=20, check=False)
            same((done.returncode, done.stderr), (0, ''), f'sqlite3 -readonly on {view}')
        same(it.query('SELECT count(*), sum(instances) FROM v_study'), [(6, 210)], 'studies and instances of v_study')
        same(it.status()['states'][it.end_state], 180, 'status --json')
        check(str(30) in it.ctl('studies'), '`studies` names 30 instances')
        history = it.query("SELECT from_state, to_state FROM v_instance_history WHERE sop_instance_uid = ? ORDER BY at_ms", os.path.basename(studies[0][0])[:-4])
        same(history[:2], [(None, 'received'), ('received', 'validated')], 'the first steps in the history')

        # a stop in the middle of receiving leaves no claim behind, and a start goes on
        late = make_study(os.path.join(it.work, 'late'), 60, 70000, 200)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            job = pool.submit(run_tool, 'dcmsend', '--scan-directories', '127.0.0.1', str(it.port), os.path.dirname(late[0]))
            it.stop()
            job.result(60)
        same(it.one('SELECT count(*) FROM instance WHERE owner IS NOT NULL'), 0, 'claims after SIGTERM')
        it.start()
        code, output = run_tool('dcmsend', '--scan-directories', '127.0.0.1', str(it.port), os.path.dirname(late[0]))
        same(code, 0, f'dcmsend after the restart ({output.strip()[-300:]})')
        it.settle()
        same(it.count(it.end_state), 240, f'`{it.end_state}` after the restart')
        if it.cloud:
            it.configure(spool_keep_imported_s=0)
            it.stop()
            it.start()
            it.settle()
            until(lambda: not it.spool_files(), 30, 'the spool is empty')
        it.stop()
        it.check_invariants()
        with open(it.log_path, errors='replace') as log:
            check('SYNTHETIC' not in log.read(), 'the log holds the name of a patient')


main(test)
