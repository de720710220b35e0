#!/usr/bin/env python3
"""completeness_test BUILD_DIR - a study of which images are missing: nothing is said while it arrives; then the gaps in its numbers and what a storage
commitment request names are told by `studies --short`, `why`, `status --json` and v_study, until the rest has come."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import commitment  # noqa: E402
import scu  # noqa: E402
from harness import Installation, check, main, make_study, same, until  # noqa: E402


def send(it, parts):
    association = scu.Association('127.0.0.1', it.port, sorted({(p.sop_class, p.syntax) for p in parts}), calling='CT1')
    for p in parts:
        same(association.store(p), 0, 'C-STORE status')
    association.release()


def short(it):
    return [(s['missing'], s['expected'], s['reason']) for s in json.loads(it.ctl('studies', '--short', '--json'))]


def test(build):
    with Installation(build, 'completeness', {'completeness_quiet_s': 2, 'commitment_at': 'spooled'}, counts={'validator': 2}) as it:
        parts = [scu.read_part10(p) for p in make_study(os.path.join(it.work, 'in'), 20, 600, 5)]
        parts.sort(key=lambda p: int(p.sop_instance.rsplit('.', 1)[1]))
        study = parts[0].sop_instance.rsplit('.', 2)[0]
        it.start()
        send(it, parts[:8] + parts[11:15])  # 9, 10 and 11 are missing, and after 15 nothing tells that more were meant
        it.settle(12)
        same((short(it), it.one('SELECT missing FROM v_study')), ([], None), 'said while it may still arrive')
        until(lambda: it.one('SELECT missing FROM v_study') == 3, 15, 'the gap is told')
        same(short(it), [(3, 15, 'series 1: 3 numbers missing between 1 and 15')], 'studies --short')
        a, transaction = commitment.connect(it.port, 'CT1'), f'2.25.815.{os.getpid()}'
        same(commitment.ask(a, transaction, [(p.sop_class, p.sop_instance) for p in parts]), 0, 'N-ACTION')
        until(lambda: it.one('SELECT missing FROM v_study') == 8, 15, 'what the commitment names is told')
        a.abort() if hasattr(a, 'abort') else a.socket.close()
        same(short(it), [(8, 20, 'series 1: 3 numbers missing between 1 and 15; the storage commitment of CT1 names 8 that never came')], 'studies --short')
        check('Short by 8 images of 20' in it.ctl('why', study), 'why')
        check('short by 8 images of 20' in ' '.join(it.ctl('studies').split()), 'studies')
        status = it.status()
        same(status['completeness'], {'short': 1, 'missing': 8, 'arriving': 0}, 'status --json')
        check(any('studies --short' in w for w in status['warnings']), 'a warning')
        send(it, parts[8:11] + parts[15:])
        until(lambda: it.one('SELECT missing FROM v_study') == 0, 15, 'nothing is missing any more')
        same(short(it), [], 'studies --short')
        it.settle(20)
        it.stop()
        it.check_invariants()


main(test)
