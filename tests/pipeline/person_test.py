#!/usr/bin/env python3
"""person_test BUILD_DIR - what support staff press: hold and release a study, drop with a reason and bring it back, retry --accept; what
`status`, `stuck`, `studies` and `why` say to each. Tables fit 120 columns, every decision is in the history with a name and a reason."""
import json
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from aws import Aws  # noqa: E402
from harness import Installation, check, main, make_study, same, until  # noqa: E402
import scu  # noqa: E402


def send(it, paths, change=None):
    parts = [scu.read_part10(p) for p in paths]
    if change:
        parts = [p._replace(data=change(p.data)) for p in parts]
    association = scu.Association('127.0.0.1', it.port, sorted({(p.sop_class, p.syntax) for p in parts}))
    same({association.store(p) for p in parts}, {0}, 'C-STORE statuses')
    association.release()


def fits(text, command):
    long = [line for line in text.splitlines() if len(line) > 120]
    check(not long, f'`{command}` is wider than 120 columns: {long[:1]}')


def cloud(build):
    """What only shows with S3 and HealthImaging: failed instances and their retry, and what a waiting stage says to each command."""
    with Installation(build, 'person-cloud', {'spool_keep_imported_s': 3600}, aws_options=('--job-ms', '200', '--no-throttle')) as it:
        client = Aws(build, directory=it.aws_directory)  # for the faults only; never started
        client.port = it.aws_port
        it.start()
        client.fault({'operation': 'ImportFile', 'times': 2, 'action': 'customer_error', 'message': 'an odd file'})
        send(it, make_study(os.path.join(it.work, 'one'), 4, 2000, 11))
        it.settle(4)
        same(it.states(), {'imported': 2, 'failed': 2}, 'states')
        failed = [r[0] for r in it.query("SELECT id FROM instance WHERE state = 'failed'")]
        why = it.ctl('why', failed[0])
        check('HealthImaging could not import this file' in why and f'retry {failed[0]}' in why, f'why of a failed one: {why}')
        check('in HealthImaging: done' in it.ctl('why', it.one("SELECT sop_instance_uid FROM instance WHERE state = 'imported' LIMIT 1")), 'why of an imported one')
        check('needs attention' in it.ctl('why', it.one('SELECT study_uid FROM instance LIMIT 1')), 'why of a study')
        check('COMPLETED' in it.ctl('why', it.one('SELECT id FROM batch LIMIT 1')), 'why of a batch')
        it.ctl('hold', failed[0], code=1)
        it.ctl('retry', failed[0])
        it.settle(4)
        same(it.states(), {'imported': 3, 'failed': 1}, 'states after the retry of one')
        it.ctl('retry', 'ALL', '--accept')
        it.settle(4)
        same(it.states(), {'imported': 4}, 'states after the retry of all')

        # a right is missing: uploader, then importer
        for operation, state in (('PutObject', 'validated'), ('StartDICOMImportJob', 'importing')):
            client.fault({'operation': operation, 'action': 'error', 'status': 403, 'code': 'AccessDenied', 'message': 'not allowed'})
            before = it.one('SELECT count(*) FROM instance')
            send(it, make_study(os.path.join(it.work, operation), 2, 2000, 20 + before))
            until(lambda: any('not allowed' in w for w in it.status()['warnings']), 20, f'status warns of {operation}')
            one = it.one('SELECT id FROM instance ORDER BY id DESC LIMIT 1')
            until(lambda: it.one('SELECT state FROM instance WHERE id = ?', one) == state, 20, f'it is {state}')  # noqa: B023
            until(lambda: 'not allowed' in it.ctl('why', one), 20, f'why tells the reason of {operation}')  # noqa: B023
            story = it.ctl('why', it.one('SELECT study_uid FROM instance WHERE id = ?', one))
            check(f'  2 {state} since' in story and 'not allowed' in story and '`storescpctl doctor` says which setting or right' in story,
                  f'why of the study tells where it stands, the reason of {operation} and what to do: {story}')
            same(it.ctl('stuck').count('its batch: HealthImaging'), int(state == 'importing'), 'how often stuck tells the reason of one batch')
            for command in ('status', 'stuck', 'studies'):
                fits('\n'.join(line for line in it.ctl(command).splitlines() if not line.startswith('WARN')), command)
            if state == 'importing':
                check(one in it.ctl('stuck'), 'stuck lists what its batch keeps back')
            client.no_faults()
            it.settle(before + 2, 90)
        same(it.states(), {'imported': 8}, 'states at the end')
        it.stop()
        it.check_invariants()


def test(build):
    with Installation(build, 'person', {'spool_keep_dropped_s': 2592000, 'spool_keep_imported_s': 3600}, counts={'validator': 0}) as it:
        it.start()
        held = make_study(os.path.join(it.work, 'held'), 3, 2000, 1)
        other = make_study(os.path.join(it.work, 'other'), 2, 2000, 2, 'MR')
        send(it, held + other)
        ids = {row[1]: row[0] for row in it.query('SELECT id, sop_instance_uid FROM instance')}
        one = ids[os.path.basename(held[0])[:-4]]

        # hold before anybody judged: by id, for nothing else is known yet
        check('1 instances are held' in it.ctl('hold', one, '--reason', 'wrong patient?'), 'hold says how many')
        it.ctl('hold', one, code=1)  # it is held already
        it.ctl('scale', 'validator', '2')
        until(lambda: it.count('received') == 1, 20, 'all but the held one are judged')
        time.sleep(0.5)
        same(it.one('SELECT state FROM instance WHERE id = ?', one), 'received', 'state of the held one')
        why = it.ctl('why', one)
        check('It is held' in why and f'release {one}' in why, f'why of a held one: {why}')
        check(any('are held' in w for w in it.status()['warnings']), 'status warns of held ones')
        check(one in it.ctl('stuck'), 'stuck lists the held one')
        it.ctl('release', one)
        it.ctl('release', one, code=1)
        it.settle(5)
        same(it.count(it.end_state), 5, f'`{it.end_state}` after the release')
        history = it.query('SELECT code, note, who FROM v_instance_history WHERE instance = ? AND code IN (\'HELD\', \'RELEASED\')', one)
        same([h[0] for h in history], ['HELD', 'RELEASED'], 'the decisions in the history')
        same(history[0][1], 'wrong patient?', 'the reason in the history')
        check(all(re.match(r'person \w', h[2]) for h in history), f'the name in the history: {history}')
        study = it.one('SELECT study_uid FROM instance WHERE id = ?', one)
        if not it.cloud:  # the whole study, while it waits for an uploader
            check('3 instances are held' in it.ctl('hold', study), 'hold of a study')
            same(it.one("SELECT sum(held) FROM v_queue"), 3, 'held in v_queue')
            check('3 instances go on' in it.ctl('release', study), 'release of a study')
        else:  # what has its end cannot be held
            it.ctl('hold', study, code=1)

        # another content under known UIDs: quarantined; dropped with a reason; brought back; accepted
        send(it, held[:2], lambda data: data[:-2] + b'\1\1')
        it.settle(7)
        bad = [row[0] for row in it.query("SELECT id FROM instance WHERE state = 'quarantined' ORDER BY id")]
        same(len(bad), 2, 'quarantined')
        check(all('--accept' in it.ctl('why', b) for b in bad), 'why names what to press')
        studies, stuck = it.ctl('studies'), ' '.join(it.ctl('stuck').split())  # the lines are broken between words
        check('needs attention' in studies and study in studies and '2 quarantined' in studies, f'studies: {studies}')
        for b, (text,) in zip(bad, it.query("SELECT error_text FROM instance WHERE state = 'quarantined' ORDER BY id")):
            check(text in stuck and f'retry {b} --accept' in stuck, f'stuck has reason and remedy, whole: {stuck}')
        it.ctl('drop', bad[0], code=2)  # not without a reason
        it.ctl('drop', one, '--reason', 'x', code=1)  # not a good one
        it.ctl('drop', bad[0], '--reason', 'sent by mistake')
        same(it.query('SELECT state, dropped_ms IS NOT NULL FROM instance WHERE id = ?', bad[0]), [('quarantined', 1)], 'the dropped one')
        same((it.spool_files('dropped'), it.spool_files('quarantine')), ([bad[0] + '.dcm'], [bad[1] + '.dcm']), 'files after drop')
        check(bad[0] not in it.ctl('stuck') and bad[1] in it.ctl('stuck'), 'stuck without the dropped one')
        check(any(w.startswith('1 instances are quarantined') for w in it.status()['warnings']), f'status: {it.status()["warnings"]}')
        check('given up' in it.ctl('why', bad[0]), 'why of a dropped one')
        check('sent by mistake' in it.ctl('show', bad[0]), 'show tells the reason')
        check('1 instances are tried again' in it.ctl('retry', 'ALL'), 'ALL leaves dropped ones alone')
        it.settle(7)  # refused again
        same(it.count('quarantined'), 2, 'quarantined after a retry that healed nothing')
        it.ctl('retry', bad[0], '--accept')
        it.settle(7)
        same(it.query('SELECT state, dropped_ms FROM instance WHERE id = ?', bad[0]), [(it.end_state, None)], 'the accepted one')
        same(it.spool_files('dropped'), [], 'spool/dropped')
        it.ctl('drop', study, '--reason', 'the other one too')
        same(it.one('SELECT dropped FROM v_study WHERE study_uid = ?', study), 1, 'dropped in v_study')
        check(it.one('SELECT verdict FROM v_study WHERE study_uid = ?', study) != 'needs attention', 'a dropped one needs no attention')

        for command in ('studies', 'stuck', 'status'):
            fits(it.ctl(command), command)
        same({row['study_uid'] for row in json.loads(it.ctl('studies', '--json'))}, {study, it.one('SELECT study_uid FROM instance WHERE study_uid <> ? LIMIT 1', study)},
             'studies --json')
        # a held one holds up its batch, and whoever asks about another one of the batch is told
        if it.cloud:
            it.ctl('scale', 'uploader', '0')
            until(lambda: not [s for s, _ in it.living() if s == 'uploader'], 20, 'no uploader')
            two = make_study(os.path.join(it.work, 'two'), 2, 2000, 3)
            send(it, two)
            until(lambda: it.count('validated') == 2, 20, 'two are judged')
            kept, free = [row[0] for row in it.query("SELECT id FROM instance WHERE state = 'validated' ORDER BY id")]
            batch = it.one('SELECT batch FROM instance WHERE id = ?', kept)
            it.ctl('hold', kept, '--reason', 'ask the ward')
            check('ask the ward' in it.ctl('why', kept), 'why tells the reason of the hold')
            it.ctl('scale', 'uploader', '1')
            until(lambda: it.count('uploaded') == 1 and it.one('SELECT state FROM batch WHERE id = ?', batch) == 'closed', 20, 'the other one is uploaded')
            for question in (free, batch):
                check('1 held instances' in it.ctl('why', question) and f'release {kept}' in it.ctl('why', question), f'why {question}: {it.ctl("why", question)}')
            check(kept in it.ctl('show', batch) and free in it.ctl('show', batch), 'show of a batch lists its instances')
            send(it, two[:1])
            until(lambda: it.count('duplicate') == 1, 20, 'a duplicate')
            same_one = it.one("SELECT id FROM instance WHERE state = 'duplicate'")
            check(f'{kept} is validated' in it.ctl('why', same_one), f'why of a duplicate tells of its twin: {it.ctl("why", same_one)}')
            # not for ever: after batch_max_age_ms the batch goes without it
            it.configure(batch_max_age_ms=1000)
            it.stop()
            it.start()
            until(lambda: it.one('SELECT state FROM instance WHERE id = ?', free) == 'imported', 30, 'the other one is imported while one is held')
            same(it.query('SELECT state, held, batch = ? FROM instance WHERE id = ?', batch, kept), [('validated', 1, 0)], 'the held one has left the batch')
            it.ctl('release', kept)
            it.settle(10)
            same(it.query('SELECT state, batch = ? FROM instance WHERE id IN (?, ?) ORDER BY id', batch, kept, free), [('imported', 0), ('imported', 1)],
                 'after the release')

        # the file of a dropped one goes when its time is over
        it.configure(spool_keep_dropped_s=0)
        it.stop()
        it.start()
        it.ctl('scale', 'validator', '1')
        until(lambda: not it.spool_files('dropped'), 20, 'the dropped file is released')
        it.stop()
        it.check_invariants()
        has_cloud = it.cloud
    if has_cloud:
        cloud(build)


main(test)
