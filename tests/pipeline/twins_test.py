#!/usr/bin/env python3
"""twins_test BUILD_DIR - images that are like others and not the same: another content under a SOP Instance UID, the same UID in another series,
studies that describe their patient in two ways. By default and with the other policies, through two validators, to the end."""
import json
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, main, same, until  # noqa: E402
import make_dicom  # noqa: E402
import scu  # noqa: E402

STUDY, SERIES = '2.25.8151', '2.25.8151.1'


def image(it, number, content=0, study=STUDY, series=SERIES, patient=b'SYN-1', sop=None):
    """-> one image as sent; content: which of several versions, by its pixels"""
    _, whole = make_dicom.make(study, series, number, 600, random.Random(number * 100 + content))
    path = os.path.join(it.work, 'image.dcm')
    with open(path, 'wb') as f:
        f.write(whole)
    part = scu.read_part10(path)
    return part._replace(data=part.data.replace(b'SYN-1', patient, 1))


def send(it, *parts):
    association = scu.Association('127.0.0.1', it.port, sorted({(p.sop_class, p.syntax) for p in parts}), calling='CT1')
    for p in parts:
        same(association.store(p), 0, 'C-STORE status')
    association.release()


def told(it, sop):
    """-> [(state, error code)] of that SOP Instance UID in the order of reception"""
    return it.query('SELECT state, error_code FROM instance WHERE sop_instance_uid = ? ORDER BY id', sop)


def as_delivered(it):
    send(it, *(image(it, n) for n in (1, 2, 3)))
    send(it, image(it, 1), image(it, 2, content=1))                                 # the same once more; another content
    moved = image(it, 3)
    send(it, moved._replace(data=moved.data.replace(SERIES.encode() + b'\0' * (len(SERIES) % 2) + b'\x20\0\x10\0', SERIES[:-1].encode() + b'7' +
                                                    b'\0' * (len(SERIES) % 2) + b'\x20\0\x10\0', 1)))  # the same UID in another series
    send(it, image(it, 4, patient=b'SYN-2'))
    it.settle(7)
    same(told(it, SERIES + '.1'), [('imported', None), ('duplicate', 'DUPLICATE')], 'the same content')
    same(told(it, SERIES + '.2'), [('imported', None), ('quarantined', 'SOP_UID_REUSED')], 'another content')
    same(told(it, SERIES + '.3'), [('imported', None), ('quarantined', 'SOP_UID_ELSEWHERE')], 'in another series')
    same(told(it, SERIES + '.4'), [('imported', None)], 'another patient, with a warning')
    first, second = (i for i, in it.query('SELECT id FROM instance WHERE sop_instance_uid = ? ORDER BY id', SERIES + '.3'))
    why = it.ctl('why', second)
    check(first in why and 'in another series' in why and f'retry {second} --accept' in why, f'both instances and what to do: {why}')
    story = ' '.join(it.ctl('why', STUDY).split())
    check('Patient ID is "SYN-1" in 4 instances' in story and 'and "SYN-2" in 1 (from' in story, f'both values: {story}')
    same(it.query('SELECT element, first_value, value, instances, held FROM v_conflict'), [('(0010,0020) Patient ID', 'SYN-1', 'SYN-2', 1, 0)], 'v_conflict')
    same(it.one('SELECT conflicts FROM v_study'), 1, 'v_study')
    same(it.query("SELECT rule, severity, tag FROM v_finding WHERE rule LIKE 'conflict%'"), [('conflict_patient_id', 'warn', '0010,0020')], 'v_finding')
    same(it.status()['conflicts'], {'instances': 1, 'held': 0}, 'status --json')
    shown = json.loads(it.ctl('show', STUDY, '--json'))[0]
    same([c['value'] for c in shown['conflicts']], ['SYN-2'], 'show --json')
    check(it.query("SELECT 1 FROM event WHERE note LIKE '%SYN-%'") == [] and not it.log_lines('SYN-'), 'a value stands in an event or in the log')
    it.ctl('retry', second, '--accept')
    it.settle(7)
    same(told(it, SERIES + '.3')[1], ('imported', None), 'accepted by a person')


def otherwise(it):
    """The later version goes on by itself, after the older one; who describes the patient otherwise is held."""
    it.configure(same_uid_other_content='newer', conflict_severity='hold', batch_quiet_ms=1500)
    it.ctl('reload')
    until(lambda: len(it.log_lines('started', 'validator-')) >= 4, 20, 'two validators began again')
    sop = SERIES + '.11'
    send(it, image(it, 11), image(it, 11, content=1), image(it, 11, content=2))     # one association: all wait at one time
    send(it, image(it, 12, patient=b'SYN-3'), image(it, 13, patient=b'SYN-3'))
    until(lambda: {c for _, c in told(it, sop)} == {None, 'OLDER_VERSION_FIRST'}, 10, 'later versions wait for the first')
    until(lambda: it.one("SELECT count(*) FROM instance WHERE error_code = 'IDENTITY_CONFLICT'") == 2, 10, 'both are held')
    held = [i for i, in it.query("SELECT id FROM instance WHERE error_code = 'IDENTITY_CONFLICT' ORDER BY id")]
    check(', 2 of them in quarantine' in ' '.join(it.ctl('why', STUDY).split()), 'how many are held')
    it.ctl('quarantine', 'release', held[0], '--reason', 'the name is right')
    until(lambda: it.one('SELECT state FROM instance WHERE id = ?', held[0]) not in ('received', 'quarantined'), 10, 'released')
    it.ctl('retry', held[1])
    it.settle(12)
    same(told(it, sop), [('imported', None)] * 3, 'every version')
    began, ended = zip(*it.query('SELECT importing_ms, ended_ms FROM instance WHERE sop_instance_uid = ? ORDER BY id', sop))
    check(ended[0] <= began[1] and ended[1] <= began[2], f'one after the other: began {began}, ended {ended}')
    same(len({b for b, in it.query('SELECT batch FROM instance WHERE sop_instance_uid = ?', sop)}), 3, 'each in a job of its own')
    same([it.one('SELECT state FROM instance WHERE id = ?', i) for i in held], ['imported'] * 2, 'what a person let go on')


def test(build):
    with Installation(build, 'twins', counts={'validator': 2}) as it:
        it.need_cloud()
        it.start()
        as_delivered(it)
        otherwise(it)
        it.stop()
        it.check_invariants()


main(test)
