#!/usr/bin/env python3
"""change_test BUILD_DIR - element rules of a sender (`coerce`, `deidentify`) through the running stages: what arrives in S3 has the changed header and the same
pixels, what the sender sent stays in spool/original until the release, each change has its row, duplicates are judged by what was sent, nobody who has rules
is uploaded without them. A validator that is ended at any operation on files leaves either the one file or the other, and the next one ends the work."""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from faultlib import KILL, Control  # noqa: E402
from harness import Installation, beside, check, clean_environment, main, make_study, run_tool, same, say, shared_dicom, until  # noqa: E402
import scu  # noqa: E402

COERCE = 'set InstitutionName="Klinik | Nord" | remove 0010,0040 | hash 0010,0020 | set 0008,1030=by rule'


def pixels(data):
    """The value of a native pixel data element in explicit little endian."""
    at = data.index(b'\xe0\x7f\x10\x00OW\0\0')
    return data[at + 12:at + 12 + int.from_bytes(data[at + 8:at + 12], 'little')]


def header(path_or_bytes, work):
    """-> {tag: value} as dcmdump reads it: another program than ours"""
    path = path_or_bytes
    if isinstance(path_or_bytes, bytes):
        path = os.path.join(work, 'object.dcm')
        with open(path, 'wb') as f:
            f.write(path_or_bytes)
    code, text = run_tool('dcmdump', '+L', '-M', path)
    same(code, 0, f'dcmdump: {text[-300:]}')
    return {tag: value.strip() for tag, value in re.findall(r'^\(([0-9a-f]{4},[0-9a-f]{4})\) \w\w (?:\[(?=[^\n]*\])|=|\()?([^\n]*?)[\])]?\s+#', text, re.M)}


def send(it, calling, *paths):
    """-> ids of the new rows"""
    before = {i for (i,) in it.query('SELECT id FROM instance')}
    code, output = run_tool('storescu', '-aet', calling, '127.0.0.1', str(it.port), *paths)
    same(code, 0, f'storescu {output[-300:]}')
    return [i for (i,) in it.query('SELECT id FROM instance ORDER BY id') if i not in before]


def state(it, i):
    return it.one('SELECT state FROM instance WHERE id = ?', i)


def wait(it, ids, word):
    until(lambda: all(state(it, i) == word for i in ids), 30, f'{word}; {it.states()}')


def spool(it, room, i):
    try:
        with open(os.path.join(it.home, 'spool', room, i + '.dcm'), 'rb') as f:
            return f.read()
    except FileNotFoundError:
        return None


def coerced(it):
    paths = make_study(os.path.join(it.work, 'a'), 2, 3000, 71)
    ids = send(it, 'RULED', *paths)
    wait(it, ids, 'imported')
    pseudonyms = set()
    for i in ids:
        sop, size, change_bytes, key = it.query('SELECT sop_instance_uid, file_bytes, change_bytes, s3_key FROM instance WHERE id = ?', i)[0]
        sent = scu.read_part10(next(p for p in paths if sop in p))
        got = it.s3_get(key)
        same(len(got), change_bytes, 'bytes in S3')
        h = header(got, it.work)
        same((h['0008,0080'], h['0008,1030'], h['0008,0018'], h['0002,0003'], h.get('0010,0040')), ('Klinik | Nord', 'by rule', sop, sop, None), 'elements in S3')
        check(re.fullmatch('[A-Z2-7]{16}', h['0010,0020']), f'pseudonym {h["0010,0020"]}')
        pseudonyms.add(h['0010,0020'])
        check(pixels(got) == pixels(sent.data), 'pixels in S3 are those that were sent')
        check(spool(it, 'original', i).endswith(sent.data) and len(spool(it, 'original', i)) == size, 'what the sender sent is in spool/original')
        same(spool(it, 'obj', i), got, 'spool file and object')
        rows = it.query('SELECT path, action, who, old_value, new_value FROM change WHERE instance = ? ORDER BY path', i)
        same([r[:4] for r in rows], [('0008,0080', 'set', 'coerce [ae RULED]', None), ('0008,1030', 'set', 'coerce [ae RULED]', None),
                                     ('0010,0020', 'hash', 'coerce [ae RULED]', 'SYN-1'), ('0010,0040', 'remove', 'coerce [ae RULED]', 'O')], 'audit')
        check(rows[1][4] == 'by rule' and rows[3][4] is None, f'new values {rows}')
        check('CHANGED' in [c for (c,) in it.query('SELECT code FROM event WHERE instance = ?', i)], 'the history tells of the change')
    same(len(pseudonyms), 1, 'pseudonyms of one patient')
    same(os.stat(os.path.join(it.home, 'pseudonym.key')).st_mode & 0o777, 0o600, 'mode of the key')
    again = send(it, 'RULED', paths[0])
    wait(it, again, 'duplicate')
    check(spool(it, 'original', again[0]) is None and spool(it, 'obj', again[0]).endswith(scu.read_part10(paths[0]).data), 'a duplicate stays as it was sent')
    plain = send(it, 'PLAIN', *make_study(os.path.join(it.work, 'b'), 1, 3000, 72))
    wait(it, plain, 'imported')
    same((it.one('SELECT change_by FROM instance WHERE id = ?', plain[0]), spool(it, 'original', plain[0])), (None, None), 'a sender without rules')
    log = open(it.log_path, errors='replace').read()
    check('Klinik' not in log and 'SYN-1' not in log, 'no value in the log')
    say('two images changed by rules, audited, pixels untouched; a duplicate and another sender as they were')


def deidentified(it):
    paths = make_study(os.path.join(it.work, 'c'), 2, 3000, 73)
    ids = send(it, 'RESEARCH', *paths)
    wait(it, ids, 'imported')
    studies, frames = set(), set()
    for i in ids:
        sop, study, patient, warning, key, changed = it.query('SELECT sop_instance_uid, study_uid, patient_id, warning, s3_key, change_sop_instance_uid FROM instance WHERE id = ?', i)[0]
        sent = scu.read_part10(next(p for p in paths if sop in p))
        got = it.s3_get(key)
        h = header(got, it.work)
        check(h['0008,0018'] == h['0002,0003'] == changed and changed.startswith('2.25.') and changed != sop, f'SOP Instance UIDs {h["0008,0018"]}, {changed}')
        studies.add(h['0020,000d'])
        frames.add(h['0020,0052'])
        same((h['0012,0062'], h['0012,0063'], h['0028,0303']), ('YES', 'Basic Application Confidentiality Profile', 'REMOVED'), 'what was done stands there')
        for secret in (sop, study, 'SYNTHETIC^ONE', 'SYN-1', 'RESEARCH', '20260102', '030405'):
            check(secret.encode() not in got.replace(b'STORESCP_', b''), f'{secret} is still in the object')
        check(pixels(got) == pixels(sent.data), 'pixels in S3 are those that were sent')
        same((study, patient), (sent_value(sent.data, b'\x20\0\x0d\0UI'), 'SYN-1'), 'what support searches by is what was sent')
        check('burned' in warning, f'warning {warning}')
    same((len(studies), len(frames)), (1, 1), 'studies and frames of reference in S3')
    again = send(it, 'RESEARCH', paths[1])
    wait(it, again, 'duplicate')
    say('the profile: no identifier left, one study stays one study, duplicates are recognised')


def sent_value(data, head):
    at = data.index(head)
    return data[at + 8:at + 8 + int.from_bytes(data[at + 6:at + 8], 'little')].rstrip(b'\0 ').decode()


def refused(it):
    """A document cannot be de-identified: quarantined with the tag, as it was sent, nothing in S3."""
    path = os.path.join(shared_dicom() or '', 'open', 'files', 'dcmjs-dimse__pdf.dcm')
    if not os.path.exists(path):
        say('left out: shared files are not here')
        return
    part = scu.read_part10(path)
    a = scu.Association('127.0.0.1', it.port, [(part.sop_class, part.syntax)], calling='RESEARCH')
    same(a.store(part), 0, 'status')
    a.release()
    i = it.one('SELECT id FROM instance WHERE sop_class_uid = ?', part.sop_class)
    wait(it, [i], 'quarantined')
    code, text, key = it.query('SELECT error_code, error_text, s3_key FROM instance WHERE id = ?', i)[0]
    check(code == 'DICOM_EDIT_FAILED' and '(0042,0011)' in text and key is None, f'{code} {text} {key}')
    check(spool(it, 'quarantine', i).endswith(part.data), 'quarantine has what was sent')
    say('a document is refused, not sent as it is')


def rebuilt(it):
    """state.db is lost: what was uploaded is told apart from what was sent; what was only validated is as it was sent, and is changed once more."""
    before = it.query("SELECT id, sop_instance_uid, file_bytes, change_bytes, change_crc32c, change_sop_instance_uid, change_study_uid FROM instance WHERE state = 'imported' ORDER BY id")
    same(len([r for r in before if r[3]]), 4, 'changed ones')
    it.stop()
    it.configure(uploaders=0)
    it.start_up()
    path, = make_study(os.path.join(it.work, 'd'), 1, 3000, 75)
    i, = send(it, 'RULED', path)
    wait(it, [i], 'validated')
    check(spool(it, 'original', i) is not None, 'changed before the loss')
    it.stop()
    for name in ('state.db', 'state.db-wal', 'state.db-shm'):
        if os.path.exists(os.path.join(it.home, 'state', name)):
            os.remove(os.path.join(it.home, 'state', name))
    it.ctl('rebuild')
    same(state(it, i), 'received', 'state of what nobody but the spool knows')
    check(spool(it, 'original', i) is None and spool(it, 'obj', i).endswith(scu.read_part10(path).data), 'it is as it was sent')
    it.configure(uploaders=1)
    it.start_up()
    wait(it, [i] + [r[0] for r in before], 'imported')
    same(it.query(f"SELECT id, sop_instance_uid, file_bytes, change_bytes, change_crc32c, change_sop_instance_uid, change_study_uid FROM instance WHERE id <= '{before[-1][0]}' "
                  "AND state = 'imported' ORDER BY id"), before, 'what was sent and what it became')
    check(b'by rule' in it.s3_get(it.one('SELECT s3_key FROM instance WHERE id = ?', i)), 'it went to S3 changed')
    say('after a rebuild: what was sent and what it became are told apart, nothing goes without its rules')


def released(it):
    it.configure(spool_keep_imported_s=0)
    it.ctl('reload')
    until(lambda: it.spool_files('original') == [] and it.spool_files('obj') == [], 20, 'released')
    say('original and changed file go together')


def whole_way(build):
    with Installation(build, 'change', {'spool_keep_imported_s': 3600}) as it:
        it.need_cloud()
        it.sections = {'ae RULED': {'coerce': COERCE}, 'ae RESEARCH': {'deidentify': 'basic'}}
        it.configure()
        it.start()
        coerced(it)
        deidentified(it)
        refused(it)
        rebuilt(it)
        released(it)
        it.stop()


def wrong_rules(build):
    """A rule that cannot be read stops the validator with a sentence, and no image goes on without it."""
    with Installation(build, 'change-wrong') as it:
        it.sections = {'ae RULED': {'coerce': 'remove NoSuchName'}}
        it.configure()
        done = subprocess.run([it.program('storescp-validator'), '--home', it.home], capture_output=True, text=True, timeout=20, env=clean_environment())
        check(done.returncode == 78 and 'coerce [ae RULED]' in done.stderr and 'NoSuchName' in done.stderr, f'{done.returncode} {done.stderr}')
        for rule in ('set 0008,0018=1.2.3', 'remove SOPInstanceUID', 'empty any/0008,0018'):  # one image would take the place of the other
            it.sections = {'ae RULED': {'coerce': rule}}
            it.configure()
            done = subprocess.run([it.program('storescp-validator'), '--home', it.home], capture_output=True, text=True, timeout=20, env=clean_environment())
            check(done.returncode == 78 and 'coerce [ae RULED]' in done.stderr and 'must differ' in done.stderr, f'{rule}: {done.returncode} {done.stderr}')
        say('a wrong rule is told at the start')


def killed_anywhere(build):
    """The validator is ended at its first, second, ... operation on files while it changes an image."""
    with Installation(build, 'change-kill', {'uploaders': 0, 'importers': 0, 'validators': 0}) as it:
        library = os.path.join(it.bin, 'faultlib.so')
        if not os.path.exists(library):
            say('left out: no faultlib in this build')
            return
        it.sections = {'ae RULED': {'coerce': COERCE}}
        it.configure()
        it.start_up()
        control = Control(os.path.join(it.work, 'control'))
        paths = make_study(os.path.join(it.work, 'k'), 60, 1500, 74)
        spooled = ended_at(it, control, library, 'spool', paths[:30], 30)
        check(any(w.startswith('rename') for w in spooled) and any(w.startswith('linkat') for w in spooled) and len(spooled) >= 8, f'ended at {spooled}')
        recorded = ended_at(it, control, library, 'state/state.db', paths[30:], 12)
        check(len(recorded) >= 4, f'ended at {recorded}')
        say(f'ended at each of {len(spooled)} operations in the spool and {len(recorded)} of the database: the sender\'s file or the changed one, never neither')


def ended_at(it, control, library, where, paths, most):
    """One round for each path: the validator that changes it is ended at its first, second, ... operation on files below `where`. -> the operations"""
    environment = dict(clean_environment(), LD_PRELOAD=library, FAULTLIB_FILE=os.path.join(it.work, 'control'), FAULTLIB_HOME=os.path.join(it.home, where))

    def validator():
        process = subprocess.Popen([it.program('storescp-validator'), '--home', it.home], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
        while b' started' not in process.stderr.readline():
            check(process.poll() is None, 'the validator starts')
        return process
    operations, process = [], None
    for number, path in enumerate(paths[:most], 1):
        process = process or validator()
        control.arm(number, KILL, 0)
        i, = send(it, 'RULED', path)
        until(lambda: process.poll() is not None or state(it, i) == 'validated', 20, 'killed or done')
        fired, operation = control.disarm()
        what = f'operation {number} in {where} ({operation})'
        data = scu.read_part10(path).data
        if fired:
            process.wait(10)
            operations.append(operation)
            check((spool(it, 'original', i) or spool(it, 'obj', i)).endswith(data), f'{what}: what was sent is there')
            if state(it, i) == 'validated':
                check(b'by rule' in spool(it, 'obj', i), f'{what}: validated with the changed file')
            process.stderr.close()
            process = validator()
            until(lambda: state(it, i) == 'validated', 20, f'{what}: the next validator ends the work')
        changed, size = spool(it, 'obj', i), it.one('SELECT change_bytes FROM instance WHERE id = ?', i)
        check(b'by rule' in changed and len(changed) == size, f'{what}: the changed file is in force')
        check(spool(it, 'original', i).endswith(data) and spool(it, 'changed', i) is None, f'{what}: what was sent is in original/, nothing in changed/')
        same(it.one('SELECT count(*) FROM change WHERE instance = ?', i), 4, f'{what}: rows of the audit')
        if not fired:
            break
    process.kill()
    process.wait()
    process.stderr.close()
    return operations


main(lambda build: beside(lambda: whole_way(build), lambda: wrong_rules(build), lambda: killed_anywhere(build)))
