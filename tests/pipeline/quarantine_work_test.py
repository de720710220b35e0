#!/usr/bin/env python3
"""quarantine_work_test BUILD_DIR - quarantine is a working place: `storescpctl quarantine` lists by reason, shows one with its header, accepts what a rule
refused (and only that), gives up with a reason. Nothing of a patient's gets into a log or an event."""
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

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
    spool = os.path.join(it.home, 'spool')  # whoever released it before was ended between the file and the row
    os.rename(os.path.join(spool, 'quarantine', accepted + '.dcm'), os.path.join(spool, 'obj', accepted + '.dcm'))
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


def ordering(it):
    """What cannot be understood or written is said at once, and nothing is ordered; a dry run shows and changes nothing."""
    one, two = ids(it)[SERIES + '.1'], ids(it)[SERIES + '.2']
    for words in (('--set', '0020,000D'), ('--remove', '0008,0050=1'), ('--set', '0020,000Z=1'), ('--set', '0002,0010=1.2'), ('--set', 'NoSuchKeyword=1'),
                  ('--set', '0020,000D=not a uid'), ('--set', '0008,0020=31.12.2026'), ('--set', '0008,0060=' + 'X' * 40), ('--set', '7FE0,0010=1')):
        done = subprocess.run([it.program('storescpctl'), '--home', it.home, 'quarantine', 'fix', one, *words, '--reason', 'r'], capture_output=True, text=True)
        check(done.returncode == 1 and done.stderr.startswith('storescpctl: '), f'{words} is refused with a sentence: {done.returncode} {done.stderr}')
    quarantine(it, 'fix', one, '--set', '0020,000D=1.2.3', code=2)  # not without a reason
    quarantine(it, 'fix', one, '--reason', 'r', code=2)  # nor without words
    quarantine(it, 'fix', one, '--all-of', 'CT1', '--set', 'PatientID=X', '--reason', 'r', code=2)  # one of them
    same(it.one('SELECT count(*) FROM fix_rule'), 0, 'orders so far')
    before = it.query('SELECT * FROM instance ORDER BY id')
    text = quarantine(it, 'fix', one, '--set', 'PatientID=NEW-7', '--remove', '0008,0050', '--empty', 'StudyDate', '--dry-run')
    check('3 elements change' in text and '(0010,0020) LO set: SYN-1 -> NEW-7' in text and 'remove' in text and 'empty' in text, f'dry run: {text}')
    same(it.query('SELECT * FROM instance ORDER BY id'), before, 'rows after a dry run')


def arrived(it, sop):
    """The image as it lies in S3: its header by tag, and the bytes of its pixels."""
    key = it.one("SELECT s3_key FROM instance WHERE sop_instance_uid = ? AND state = ?", sop, it.end_state)
    path = os.path.join(it.work, 'arrived.dcm')
    with open(path, 'wb') as f:
        f.write(it.s3_get(key))
    return scu.read_part10(path)


def fixing(it):
    """One image, a study, and what a sender sends from now on; each is judged again, changed once, and told with who and why."""
    one = ids(it)[SERIES + '.1']
    quarantine(it, 'fix', one, '--set', 'StudyInstanceUID=2.25.4713', '--set', 'PatientID=NEW-7', '--remove', 'AccessionNumber', '--reason', 'the worklist was down')
    quarantine(it, 'fix', one, '--set', 'StudyInstanceUID=2.25.4713', '--reason', 'again', code=1)  # it is on its way
    it.settle(6)
    state, study, patient, accession = it.query('SELECT state, study_uid, patient_id, accession_number FROM instance WHERE id = ?', one)[0]
    same((state, study, patient, accession), (it.end_state, '2.25.4713', 'NEW-7', None), 'the corrected one')
    data, before = arrived(it, SERIES + '.1').data, image(1, '').data
    check(b'NEW-7 ' in data and b'2.25.4713\0' in data and b'SYN-1 ' not in data, 'what arrived is corrected')
    same(data[data.index(b'\xe0\x7f\x10\0'):], before[before.index(b'\xe0\x7f\x10\0'):], 'its pixels')
    same(it.spool_files('original'), [one + '.dcm'], 'what came is kept')
    same([r[0] for r in it.query("SELECT code FROM v_instance_history WHERE instance = ? AND code IN ('FIX_ORDERED', 'FIXED')", one)], ['FIX_ORDERED', 'FIXED'], 'history')
    text = quarantine(it, 'show', one)
    check('the worklist was down' in text and 'of person' in text and 'spool/original/' + one in text, f'show tells it: {text}')
    same(it.one('SELECT count(*) FROM fix_rule WHERE stopped_ms IS NULL'), 0, 'an order for one image ends with it')
    same(it.one("SELECT count(*) FROM event WHERE note LIKE '%NEW-7%'"), 0, 'values in events')

    # a person may be wrong: judged like any new one. Its SOP Instance UID is here already.
    two = ids(it)[SERIES + '.2']
    quarantine(it, 'fix', two, '--set', '0020,000D=2.25.4711', '--set', '0008,0018=' + SERIES + '.3', '--reason', 'a wrong one')
    it.settle(6)
    same(it.query('SELECT state, error_code FROM instance WHERE id = ?', two), [('quarantined', 'SOP_UID_REUSED')], 'a twin by correction')
    quarantine(it, 'fix', two, '--set', '0008,0018=' + SERIES + '.2', '--reason', 'and back')
    it.settle(6)
    same(it.one('SELECT state FROM instance WHERE id = ?', two), it.end_state, 'state after the second correction')

    # a sender, until it is stopped
    order = re.search(r'order (\d+)', quarantine(it, 'fix', '--all-of', 'FIX*', '--set', 'PatientID=FROM-FIX', '--reason', 'its console is broken')).group(1)
    send(it, [image(21)], 'FIX1')
    send(it, [image(22)], 'CT1')
    it.settle(8)
    same(it.query('SELECT patient_id FROM instance WHERE sop_instance_uid = ? OR sop_instance_uid = ? ORDER BY id', SERIES + '.21', SERIES + '.22'),
         [('FROM-FIX',), ('SYN-1',)], 'Patient IDs of two senders')
    check('FIX*' in quarantine(it, 'rules') and json.loads(quarantine(it, 'rules', '--json'))[0]['match'] == 'FIX*', 'rules lists it')
    quarantine(it, 'rules', 'stop', order)
    quarantine(it, 'rules', 'stop', order, code=1)
    send(it, [image(23)], 'FIX1')
    it.settle(9)
    same(it.one('SELECT patient_id FROM instance WHERE sop_instance_uid = ?', SERIES + '.23'), 'SYN-1', 'after the stop')

    # words that this image cannot hold: it is kept until the order is stopped
    order = re.search(r'order (\d+)', quarantine(it, 'fix', '--all-of', 'FIX1', '--set', 'PatientName=\u5c71\u7530', '--reason', 'its name')).group(1)
    send(it, [image(24)], 'FIX1')
    it.settle(10)
    held, code, text = it.query('SELECT id, error_code, error_text FROM instance WHERE sop_instance_uid = ?', SERIES + '.24')[0]
    check(code == 'DICOM_EDIT_FAILED' and f'order {order}' in text and '(0010,0010)' in text and '\u5c71' not in text, f'what cannot be written: {code} {text}')
    quarantine(it, 'rules', 'stop', order)
    it.ctl('retry', held)
    it.settle(10)
    same(it.one('SELECT state FROM instance WHERE id = ?', held), it.end_state, 'after the end of the order')


def killing(it):
    """Validators are killed while they correct a study: every image is corrected once and arrives."""
    count = 30
    it.ctl('scale', 'validator', '2')
    send(it, [image(n, '2.25.4714', other_class) for n in range(101, 101 + count)])
    it.settle()
    same(it.one("SELECT count(*) FROM instance WHERE study_uid = '2.25.4714' AND state = 'quarantined'"), count, 'quarantined')
    quarantine(it, 'fix', '--study', '2.25.4714', '--set', 'SOPClassUID=1.2.840.10008.5.1.4.1.1.2', '--set', 'PatientID=MANY', '--reason', 'killed on the way')
    for _ in range(2):  # three deaths would be charged to the image
        for stage, pid in it.living():
            if stage == 'validator':
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.3)
    it.settle(seconds=60)
    same(it.query("SELECT state, patient_id, count(*) FROM instance WHERE study_uid = '2.25.4714' GROUP BY 1, 2"), [(it.end_state, 'MANY', count)], 'all are corrected')
    same(it.one("SELECT count(*) FROM fix_applied a JOIN instance i ON i.id = a.instance WHERE i.study_uid = '2.25.4714'"), count, 'each once')
    it.ctl('scale', 'validator', '1')


def racing(it):
    """Several persons decide about the same image at one time: one decision counts, and the file lies where that one puts it."""
    send(it, [image(n, '2.25.4715', other_class) for n in range(201, 213)])
    it.settle()
    racers = [i for (i,) in it.query("SELECT id FROM instance WHERE study_uid = '2.25.4715' AND state = 'quarantined'")]
    same(len(racers), 12, 'quarantined')
    for i in racers:
        words = [['release', i], ['drop', i], ['fix', i, '--set', 'SOPClassUID=1.2.840.10008.5.1.4.1.1.2']]
        random.shuffle(words)
        running = [subprocess.Popen([it.program('storescpctl'), '--home', it.home, 'quarantine', *w, '--reason', 'all at once'], stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL) for w in words]
        same(sorted(process.wait(30) for process in running), [0, 1, 1], f'exit codes of {[w[0] for w in words]}')
    it.settle(seconds=60)
    same(it.query("SELECT id, state, error_code FROM instance WHERE study_uid = '2.25.4715' AND dropped_ms IS NULL AND state <> ?", it.end_state), [], 'lost their file')
    dropped = {i for (i,) in it.query("SELECT id FROM instance WHERE study_uid = '2.25.4715' AND dropped_ms IS NOT NULL")}
    same(dropped - {name[:-4] for name in it.spool_files('dropped')}, set(), 'dropped ones whose file is elsewhere')


def test(build):
    global WORK
    with Installation(build, 'quarantine-work', {'spool_keep_imported_s': 3600, 'batch_quiet_ms': 300}) as it:
        WORK = it.work
        it.start()
        send(it, [image(1, ''), image(2, ''), image(3), image(11, change=other_class), image(12, change=other_class)])
        send(it, [image(13, '2.25.4712', other_class)], 'MR1')
        it.settle(6)
        same(it.states(), {it.end_state: 1, 'quarantined': 5}, 'states')
        until(lambda: len(it.spool_files('quarantine')) == 5, 10, 'their files are in quarantine/')
        looking(it)
        ordering(it)
        deciding(it)
        fixing(it)
        killing(it)
        racing(it)
        same(it.log_lines('SYNTHETIC^ONE') + it.log_lines('SYN-1'), [], 'values of a patient in the log')
        it.stop()
        it.check_invariants()


main(test)
