#!/usr/bin/env python3
"""conformance_test BUILD_DIR - docs/dicom-conformance-statement.md says what the receiver does: its tables are read and tried out. Fails when a row
is not true, when the receiver accepts a SOP class or transfer syntax that the statement refuses (asked for every UID that DCMTK knows), when a
default in the statement is not that of the settings, when the sources know a status that is not listed, and when a listed status, rejection
or abort reason is provoked by no test."""
import fnmatch
import os
import re
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import TOP, Installation, LeftOut, check, main, make_study, same, say, until  # noqa: E402
import commitment  # noqa: E402
import scu  # noqa: E402
from negotiate import connect, propose, request  # noqa: E402

STATEMENT = os.path.join(TOP, 'docs', 'dicom-conformance-statement.md')
KNOWN_UIDS = '/usr/include/dcmtk/dcmdata/dcuid.h'
CT, MR = '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.5.1.4.1.1.4'
EXPLICIT_LE = '1.2.840.10008.1.2.1'

# Which test provokes what the statement lists and this one does not: (file below tests/, a line in it).
ELSEWHERE = {
    ('A-ASSOCIATE-RJ', '2 3 1'): ('pipeline/pressure_test.py', "'020301', 'rejected: transient, temporary congestion'"),
    ('A-ASSOCIATE-RJ', '1 1 1'): ('pipeline/negotiation_test.py', 'NO_USER = (1, 1, 1)'),
    **{('status', s): ('pipeline/commitment_test.py', f'(0x{int(s, 16):x}, dict(') for s in ('0112', '0115', '0118', '0123', '0213')},
    ('failure reason', '0110'): ('pipeline/commitment_test.py', 'odd[1]: commitment.PROCESSING_FAILURE}'),
    ('failure reason', '0112'): ('pipeline/commitment_test.py', "'1.2.3.4.5': commitment.NO_SUCH_INSTANCE"),
    ('failure reason', '0119'): ('pipeline/commitment_test.py', 'references[1][1]: commitment.CLASS_CONFLICT'),
    ('failure reason', '0131'): ('pipeline/commitment_test.py', 'references[0][1]: commitment.DUPLICATE_TRANSACTION}'),
    ('failure reason', '0213'): ('pipeline/commitment_test.py', 'commitment.RESOURCE_LIMITATION'),
    ('A-ABORT', '0'): ('pipeline/protocol_test.py', "return 'abort', 2, 0"),
    ('A-ABORT', '1'): ('pipeline/protocol_test.py', "return 'abort', 2, 1"),
    ('A-ABORT', '2'): ('pipeline/protocol_test.py', "return 'abort', 2, 2"),
    ('A-ABORT', '5'): ('pipeline/protocol_test.py', "return 'abort', 2, 5"),
    ('A-ABORT', '6'): ('pipeline/protocol_test.py', "return 'abort', 2, 6"),
}


# ---- the statement ----------------------------------------------------------------------------------------------------------------------
def sections():
    """{number of the section: [rows of its first table as {column: cell}]}"""
    found, number, columns = {}, None, None
    for line in open(STATEMENT, encoding='utf-8'):
        title = re.match(r'#+ ([\d.]+) ', line)
        if title:
            number, columns = title.group(1), None
            found[number] = []
        elif not line.startswith('|'):
            columns = None
        elif number:
            cells = [c.strip() for c in line.strip().strip('|').split('|')]
            if columns is None:
                columns = cells if not found[number] else ()
            elif columns and not set(cells[0]) <= set('-'):
                found[number].append(dict(zip(columns, cells)))
            elif columns and len(cells[0]) == 1:  # a cell that is a dash
                found[number].append(dict(zip(columns, cells)))
    return found


def presets():
    table = re.sub(r'\s*\\\n\s*', ' ', open(os.path.join(TOP, 'common/runtime/config_table.h')).read())
    return dict(re.findall(r'X\(CFG_\w+, "(\w+)", "[^"]*", \w+, "([^"]*)"', table))


def known_uids():
    if not os.path.exists(KNOWN_UIDS):
        raise LeftOut(f'the list of known UIDs is not here ({KNOWN_UIDS})')
    return dict(re.findall(r'#define (UID_\w+)\s+"([\d.]+)"', open(KNOWN_UIDS).read()))


def first_row(rows, column, value):
    return next((i for i, row in enumerate(rows) if fnmatch.fnmatchcase(value, row[column])), None)


# ---- what is negotiated -----------------------------------------------------------------------------------------------------------------
def sop_classes(it, rows):
    uids = {u for u in known_uids().values()} | {r['abstract syntax'].replace('*', '') + s for r in rows for s in ('', '.9', '9')} | {'1.2.3.4.5.6', '2.25.77'}
    uids = sorted(u.strip('.') for u in uids if u.strip('.'))
    decided, wrong = set(), []
    for at in range(0, len(uids), 128):
        part = uids[at:at + 128]
        answer = propose(it.port, [(u, [scu.IMPLICIT_LE]) for u in part])
        same(answer.kind, 'accepted', 'an association with 128 contexts')
        for uid, (result, _) in zip(part, answer.contexts):
            row = first_row(rows, 'abstract syntax', uid)
            decided.add(row)
            expected = {'accepted': 0, 'refused': 3}[rows[row]['answer']]
            if result != expected:
                wrong.append(f'{uid} ({rows[row]["name"]}): the statement says {expected}, the receiver {result}')
        answer.close()
    same(wrong[:5], [], 'SOP classes that are answered differently')
    same(sorted(set(range(len(rows))) - decided), [], 'rows of the table of SOP classes that decide nothing')
    say(f'{len(uids)} abstract syntaxes asked')


def transfer_syntaxes(it, rows):
    listed = [r['transfer syntax'] for r in rows if r['accepted'] == 'yes']
    others = sorted({u for name, u in known_uids().items() if 'TransferSyntax' in name} - set(listed)) + ['1.2.3.4.5']
    check(len(listed) > 20 and any(r['transfer syntax'] == '*' for r in rows), 'the table of transfer syntaxes is not understood')

    def chosen(*proposed):
        answer = propose(it.port, [(CT, list(proposed))])
        same(answer.kind, 'accepted', f'an association with {proposed}')
        answer.close()
        return answer.contexts[0]
    for syntax in listed + others:
        same(chosen(syntax), (0, syntax), f'transfer syntax {syntax} alone')
    for syntax in others:
        same(chosen(syntax, listed[0]), (0, listed[0]), f'{syntax} before one that HealthImaging imports')
    for a, b in zip(listed, listed[1:] + listed[:1]):
        same(chosen(a, b), (0, a), 'the first one proposed of two that are accepted')
    say(f'{len(listed)} transfer syntaxes listed, {len(others)} others')


def general(it, rows):
    value = {r['property']: r['value'] for r in rows}
    answer = propose(it.port, [(scu.VERIFICATION, [scu.IMPLICIT_LE])], application=value['application context'])
    same(answer.kind, 'accepted', 'the application context')
    maximum = int(value['maximum PDU size offered'].split()[0])
    same(struct.unpack('>I', answer.items[0x51][0])[0], maximum, 'maximum PDU size offered')
    longest = int(value['longest command set'].split()[0])

    def echo(size):  # a command set of that many bytes
        elements = [(2, scu.VERIFICATION.encode()), (0x100, b'\x30\0'), (0x110, b'\1\0'), (0x800, b'\1\1'), (0x5130, b'')]
        body = b''.join(scu._element(*e) for e in elements[:-1])
        return elements[:-1] + [(0x5130, bytes(size - 12 - len(body) - 8))]
    answer.peer._command(1, echo(longest))
    same(answer.peer._status(), 0, f'a command set of {longest} bytes')
    answer.peer._command(1, echo(longest + 2))
    same(answer.peer._receive()[0], 7, f'a command set of {longest + 2} bytes')
    answer.close()
    most = int(value['presentation contexts of an association'].split(';')[0])
    answer = propose(it.port, [(f'{CT}.{i}', [EXPLICIT_LE]) for i in range(most)])
    same([c[0] for c in answer.contexts], [0] * most, f'{most} presentation contexts')
    answer.close()
    same(propose(it.port, [(f'{CT}.{i}', [EXPLICIT_LE], (2 * i + 1) % 256) for i in range(most + 1)]).kind, 'aborted', 'a context too many')
    room = int(value['longest association request'].split()[0])
    syntaxes = [f'2.25.{10 ** 58 + i}' for i in range(38)] + [EXPLICIT_LE]
    contexts = [(f'{CT}.{i:038d}', syntaxes) for i in range(most)]
    size = len(request(contexts)) - 6
    check(size > room * 0.85, f'128 contexts with 39 long transfer syntaxes are only {size} bytes')
    answer = propose(it.port, contexts)
    same([c for c in answer.contexts if c != (0, EXPLICIT_LE)], [], '128 contexts with 39 of the longest transfer syntaxes each')
    answer.close()
    same(propose(it.port, contexts, user=[(0x77, bytes(room - size))]).kind, 'aborted', f'an association request over {room} bytes')


def items(it, rows):
    """Section 3.3.5: each feature is proposed, and answered as its row says."""
    uid = struct.pack('>H', len(CT)) + CT.encode()

    def answered(kind, content, to):
        answer = propose(it.port, [(CT, [EXPLICIT_LE]), (scu.VERIFICATION, [scu.IMPLICIT_LE])], user=[(kind, content)])
        same((answer.kind, [c[0] for c in answer.contexts]), ('accepted', [0, 0]), f'an association with the item {kind:02X}H')
        answer.close()
        return answer.items.get(to, [])
    known = {
        '54H': lambda: same(answered(0x54, uid + b'\1\1', 0x54), [uid + b'\1\0'], 'roles: SCU yes, SCP no'),
        '56H': lambda: (same(answered(0x56, uid + bytes((1, 0, 3, 0, 1, 0)), 0x56), [uid + bytes((2, 0, 0, 0, 0, 0))], 'extended negotiation of a storage class'),
                        same(answered(0x56, struct.pack('>H', 17) + scu.VERIFICATION.encode() + b'\1\0', 0x56), [], 'extended negotiation of another class')),
        '57H': lambda: same(answered(0x57, uid + struct.pack('>H', 17) + b'1.2.840.10008.4.2' + bytes(2), 0x57), [], 'common extended negotiation'),
        '53H': lambda: (same(answered(0x53, struct.pack('>HH', 8, 8), 0x53), [struct.pack('>HH', 8, 1)], 'asynchronous operations window'),
                        same(answered(0x53, bytes(4), 0x53), [struct.pack('>HH', int(presets()['operations_window']), 1)], 'a window without limit')),
        '58H': lambda: (same(answered(0x58, b'\1\1\0\4user\0\0', 0x59), [b'\0\0'], 'a user\'s name, response asked for'),
                        same(answered(0x58, b'\2\0\0\4user\0\6secret', 0x59), [], 'name and passcode, no response asked for'),
                        same(answered(0x58, b'\5\1\0\5a.b.c\0\0', 0x59), [], 'a JSON web token')),
    }
    listed = {m for r in rows for m in re.findall(r'\((5[0-9A-F]H)\)', r['feature'])}
    same(sorted(listed ^ set(known)), [], 'user information items of section 3.3.5 and those that are tried')
    for number in sorted(listed):
        known[number]()
    answer = propose(it.port, [(CT, [EXPLICIT_LE]), (scu.VERIFICATION, [scu.IMPLICIT_LE])], user=[(0x54, uid + b'\0\1')])
    same([c[0] for c in answer.contexts], [1, 0], 'a context for which only the role SCP was proposed')
    answer.close()


# ---- what is answered -------------------------------------------------------------------------------------------------------------------
def rejections(it):
    """-> every (result, source, reason) that was provoked"""
    contexts, seen = [(scu.VERIFICATION, [scu.IMPLICIT_LE])], set()

    def rejected(what, **how):
        answer = propose(it.port, contexts, **how)
        same(answer.kind, 'rejected', what)
        seen.add(answer.rejection)
    rejected('another application context', application='1.2.3')
    restart(it, require_called_ae_title='true', require_calling_ae_title='CT1, CT2', maximum_associations=3)
    rejected('a called AE title that is not ours', calling='CT1', called='OTHER')
    rejected('a calling AE title that is not listed', calling='CT3')
    held = [propose(it.port, contexts, calling='CT1') for _ in range(3)]
    same([a.kind for a in held], ['accepted'] * 3, 'associations up to the limit')
    rejected('one more than maximum_associations', calling='CT2')
    for a in held:
        a.close()
    return {tuple(map(str, s)) for s in seen}


def statuses(it, study):
    """-> every C-STORE status that was provoked"""
    it.settings.pop('require_called_ae_title')
    it.settings.pop('require_calling_ae_title')
    restart(it, maximum_associations=20, maximum_object_mb=1, acse_timeout=2)
    small = scu.read_part10(study[0])
    answer = propose(it.port, [(CT, [EXPLICIT_LE]), (MR, [EXPLICIT_LE])])
    peer, seen = answer.peer, set()

    def sent(what, content=b'', last=True, **changes):
        fields = {2: CT.encode(), 0x100: b'\1\0', 0x110: b'\5\0', 0x700: b'\0\0', 0x800: b'\1\0', 0x1000: b'2.25.42'}
        fields.update({int(k[1:], 16): v for k, v in changes.items()})
        peer._command(1, sorted(fields.items()))
        for at in range(0, len(content), 100000):
            piece = content[at:at + 100000]
            peer._send(4, struct.pack('>IBB', len(piece) + 2, 1, 2 if at + 100000 >= len(content) else 0) + piece)
        seen.add(f'{peer._status():04X}')
        say(f'{what}: {sorted(seen)}')
    sent('an instance', small.data, x1000=small.sop_instance.encode())
    sent('an instance over maximum_object_mb', bytes(1100000))
    sent('the SOP class of another context', small.data, x2=MR.encode())
    sent('no data set', x800=b'\1\1')
    sent('no SOP Instance UID', small.data, x1000=b'')
    sent('C-FIND', small.data, x100=b'\x20\0')
    peer.release()
    return seen


def unrecorded(it, study):
    """The database has lost its name: nothing can be recorded, and nothing is promised -> the statuses."""
    image = scu.read_part10(study[1])
    a = commitment.connect(it.port, 'CT1', more=[(CT, EXPLICIT_LE)])
    os.rename(it.database, it.database + '.away')
    seen = {f'{commitment.ask(a, "2.25.8", [(CT, "2.25.9")]):04X}', f'{a.store(image):04X}'}
    os.rename(it.database + '.away', it.database)
    same(seen, {'0110', 'A700'}, 'statuses of N-ACTION and C-STORE that cannot be recorded')
    until(lambda: a.store(image) == 0, 5, 'an image is stored when the database is there again')
    a.release()
    return seen


def restart(it, **settings):
    it.stop()
    it.configure(**settings)
    it.start()


def times(it):
    began = time.monotonic()
    silent = connect(it.port)
    silent.socket.settimeout(10)
    same(silent.socket.recv(1), b'', 'what a silent connection gets after acse_timeout')
    check(1.5 < time.monotonic() - began < 6, f'a silent connection ended after {time.monotonic() - began:.1f} s, acse_timeout is 2')
    silent.close()


def provoked(kind, wanted, seen):
    """Every listed code was seen here, or stands in ELSEWHERE with a test that holds."""
    for code in sorted(wanted - seen):
        place = ELSEWHERE.get((kind, code))
        check(place, f'{kind} {code} is in the statement, but no test provokes it: add it to ELSEWHERE in tests/pipeline/conformance_test.py')
        path = os.path.join(TOP, 'tests', place[0])
        check(os.path.exists(path) and place[1] in open(path).read(), f'{kind} {code}: tests/{place[0]} has no line "{place[1]}"')
    same(sorted(seen - wanted), [], f'{kind} that the statement does not list')


def defaults(text):
    """`setting` (value) in the text and the table of times say what config_table.h says."""
    preset = presets()
    pairs = re.findall(r'`([a-z][a-z_0-9]+)` \(([\w.]+)\)', text)
    check(len(pairs) >= 3, 'no `setting` (default) is in the statement')
    pairs += [(s, d) for s, d in re.findall(r'\| `(\w+)` \| (\d+) \w+ \|', text)]
    for name, value in pairs:
        same(value, preset.get(name), f'default of {name} in the statement')
    for name in set(re.findall(r'`([a-z]+(?:_[a-z]+)+)`', text)):
        check(name in preset, f'the statement speaks of a setting {name}, which does not exist')


def choices(text):
    """A table whose first column is a `setting` has a row for each of its values."""
    table = re.sub(r'\s*\\\n\s*', ' ', open(os.path.join(TOP, 'common/runtime/config_table.h')).read())
    found = 0
    for name, rows in re.findall(r'^\| `(\w+)` \|[^\n]*\n\|[-|]+\n((?:\|[^\n]*\n)+)', text, flags=re.M):
        known = re.search(rf'"{name}", "[^"]*", TEXT, "[^"]*", \d+, \d+, "([^"]*)"', table).group(1).split('|')
        same(sorted(re.findall(r'^\| `([^`]+)`', rows, flags=re.M)), sorted(known), f'values of {name} in the statement and in the settings')
        found += 1
    check(found >= 2, 'the tables of tls_profile and tls_client are not found')


def test(build):
    text = open(STATEMENT, encoding='utf-8').read()
    tables = sections()
    defaults(text)
    choices(text)
    status_rows = {r['status']: r for number in tables for r in tables[number] if 'status' in r}
    reasons = {r['failure reason'] for r in tables['3.7.2']}
    headers = ''.join(open(os.path.join(TOP, 'common', name)).read() for name in ('dicom/adapter.h', 'dicom/commitment.h', 'state/commitments.h'))
    in_sources = {kind: {f'{int(c, 16):04X}' for k, c in re.findall(r'\b([A-Z]+)_[A-Z_]+ = 0x([0-9a-f]{4})\b', headers) if k == kind}
                  for kind in ('SCP', 'COMMITMENT', 'REASON')}
    check(min(map(len, in_sources.values())) > 3, 'the status codes in the headers are not understood')
    same(sorted((in_sources['SCP'] | in_sources['COMMITMENT']) - set(status_rows)), [], 'status codes of common/dicom that the statement does not list')
    same(sorted(in_sources['REASON'] ^ reasons), [], 'failure reasons of common/state and of the statement')
    with Installation(build, 'conformance', {'spool_free_mb': 1}, counts={'validator': 0, 'uploader': 0, 'importer': 0}) as it:
        study = make_study(os.path.join(it.work, 'study'), 2, 2000, 3)
        it.start()
        sop_classes(it, tables['3.1'])
        transfer_syntaxes(it, tables['3.2'])
        general(it, tables['3.3.1'])
        items(it, tables['3.3.5'])
        seen = rejections(it)
        provoked('A-ASSOCIATE-RJ', {' '.join(r[c].split()[0] for c in ('result', 'source', 'reason')) for r in tables['3.5.1']}, {' '.join(s) for s in seen})
        provoked('status', set(status_rows), statuses(it, study) | unrecorded(it, study))
        provoked('failure reason', reasons, set())
        provoked('A-ABORT', {r['reason'].split()[0] for r in tables['3.5.5']}, set())
        times(it)
        until(lambda: it.one("SELECT count(*) FROM instance WHERE state = 'received'") >= 2, 5, 'two instances were stored')
        it.stop()


main(test)
