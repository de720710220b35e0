#!/usr/bin/env python3
"""quarantine_work_test BUILD_DIR - quarantine is a working place: `storescpctl quarantine` lists by reason, shows one with its header, accepts what a rule
refused (and only that), gives up with a reason. Nothing of a patient's gets into a log or an event."""
import json
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, main, same, until  # noqa: E402
import make_dicom  # noqa: E402
import scu  # noqa: E402

SERIES = '2.25.4711.1'


def image(number, study='2.25.4711', change=None):
    """-> one image as sent; change: of its data set"""
    _, content = make_dicom.make(study, SERIES, number, 600, random.Random(number))
    path = os.path.join(WORK, f'{number}.dcm')
    with open(path, 'wb') as f:
        f.write(content)
    part = scu.read_part10(path)
    return part._replace(data=change(part.data)) if change else part


def send(it, parts, calling='CT1'):
    association = scu.Association('127.0.0.1', it.port, sorted({(p.sop_class, p.syntax) for p in parts}), calling=calling)
    same({association.store(p) for p in parts}, {0}, 'C-STORE statuses')
    association.release()


def other_class(data):
    """SOP Class UID of the data set is not the request's: a rule refuses it, a person may accept it."""
    return data.replace(b'1.2.840.10008.5.1.4.1.1.2\0', b'1.2.840.10008.5.1.4.1.1.4\0', 1)


def quarantine(it, *words, code=0):
    return it.ctl('quarantine', *words, code=code)


def listed(it, *words):
    return json.loads(quarantine(it, 'list', '--json', *words))


def ids(it, state='quarantined'):
    return {row[1]: row[0] for row in it.query('SELECT id, sop_instance_uid FROM instance WHERE state = ?', state)}


def looking(it):
    everything = listed(it)
    same({r['code']: r['instances'] for r in everything['reasons']}, {'DICOM_ATTRIBUTE_MISSING': 2, 'DICOM_UID_MISMATCH': 3}, 'reasons')
    same(len(everything['instances']), 5, 'listed one by one')
    same({i['code'] for i in listed(it, '--ae', 'MR1')['instances']}, {'DICOM_UID_MISMATCH'}, 'those of one sender')
    same(len(listed(it, '--code', 'DICOM_UID_MISMATCH', '--limit', '2')['instances']), 2, 'bounded')
    same(len(listed(it, '--study', '2.25.4711')['instances']), 2, 'those of one study')
    same(len(listed(it, '--since', '1h')['instances']), 5, 'those of the last hour')
    same(len(listed(it, '--since', '2099-01-01')['instances']), 0, 'those of later')
    quarantine(it, 'list', '--since', 'yesterday', code=2)
    quarantine(it, 'show', code=2)
    quarantine(it, 'frobnicate', code=2)
    quarantine(it, 'show', ids(it)[SERIES + '.1'], '--dry-run', code=2)
    text = quarantine(it, 'list')
    check('3 DICOM_UID_MISMATCH' in text and '(0008,0016)' in text and 'To do:' in text, f'list: {text}')
    check(not [line for line in text.splitlines() if len(line) > 120], 'the list fits 120 columns')
    one = ids(it)[SERIES + '.11']
    text = quarantine(it, 'show', one)
    check('DICOM_UID_MISMATCH' in text and 'spool/quarantine/' + one in text and 'SYNTHETIC^ONE' not in text, f'show: {text}')
    text = quarantine(it, 'show', one, '--header')
    check('(0010,0010) PN SYNTHETIC^ONE' in text and '(0028,0011) US 256' in text and '(7FE0,0010) OW' in text and 'not shown' in text, f'show --header: {text}')
    header = json.loads(quarantine(it, 'show', one, '--header', '--json'))['header']
    same([e['value'] for e in header if e['tag'] == '0010,0020'], ['SYN-1'], 'the header as JSON')


def deciding(it):
    accepted, dropped, no_uid = ids(it)[SERIES + '.11'], ids(it)[SERIES + '.12'], ids(it)[SERIES + '.1']
    quarantine(it, 'drop', dropped, code=2)  # not without a reason
    quarantine(it, 'release', accepted, '--reason', 'the modality cannot be changed')
    it.settle(6)
    same(it.one('SELECT state FROM instance WHERE id = ?', accepted), it.end_state, 'state of the accepted one')
    same(it.query('SELECT rule, reason FROM acceptance WHERE instance = ?', accepted), [('same_class', 'the modality cannot be changed')], 'what was accepted')
    check('accepted by a person' in it.one('SELECT warning FROM instance WHERE id = ?', accepted), 'its warning')
    who, note = it.query("SELECT who, note FROM v_instance_history WHERE instance = ? AND code = 'ACCEPTED'", accepted)[0]
    check(who.startswith('person ') and 'the modality cannot be changed' in note, f'its history: {who} {note}')
    check('Accepted: same_class by person' in quarantine(it, 'show', accepted), 'show tells it')
    quarantine(it, 'release', accepted, code=1)  # it is not quarantined any more
    quarantine(it, 'release', no_uid, code=1)  # nobody could say which image it is
    same(it.one('SELECT state FROM instance WHERE id = ?', no_uid), 'quarantined', 'state of the one without a UID')
    quarantine(it, 'drop', dropped, '--reason', 'a phantom')
    same(it.spool_files('dropped'), [dropped + '.dcm'], 'dropped files')
    check('a phantom' in quarantine(it, 'show', dropped), 'show tells why it was dropped')
    same(len(listed(it)['instances']), 3, 'what is left')
    quarantine(it, 'release', '--study', '2.25.4712')
    it.settle(6)
    same(it.one("SELECT count(*) FROM instance WHERE study_uid = '2.25.4712' AND state = ?", it.end_state), 1, 'a study released as a whole')


def test(build):
    global WORK
    with Installation(build, 'quarantine-work', {'spool_keep_imported_s': 3600}) as it:
        WORK = it.work
        it.start()
        send(it, [image(1, ''), image(2, ''), image(3), image(11, change=other_class), image(12, change=other_class)])
        send(it, [image(13, '2.25.4712', other_class)], 'MR1')
        it.settle(6)
        same(it.states(), {it.end_state: 1, 'quarantined': 5}, 'states')
        until(lambda: len(it.spool_files('quarantine')) == 5, 10, 'their files are in quarantine/')
        looking(it)
        deciding(it)
        same(it.log_lines('SYNTHETIC^ONE') + it.log_lines('SYN-1'), [], 'values of a patient in the log')
        it.stop()
        it.check_invariants()


main(test)
