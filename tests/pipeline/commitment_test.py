#!/usr/bin/env python3
"""Storage commitment through the real processes: reports on the association of the request and on a new one, each reason of failure, each status of
an N-ACTION, waiting for what is under way, peers that are away or misbehave, kill -9 of the receiver between answer and report."""
import os
import signal
import sqlite3
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import commitment  # noqa: E402
import scu  # noqa: E402
from harness import Installation, LeftOut, check, free_port, main, make_study, run_tool, same, say, until  # noqa: E402

CT = '1.2.840.10008.5.1.4.1.1.2'
number = iter(range(1, 10000))


def transaction():
    return f'2.25.4711.{os.getpid()}.{next(number)}'


def send(it, paths, calling='CT1'):
    """Stores the files on one association -> references"""
    parts = [scu.read_part10(p) for p in paths]
    a = scu.Association('127.0.0.1', it.port, sorted({(p.sop_class, p.syntax) for p in parts}), calling=calling)
    for p in parts:
        same(a.store(p), 0, 'C-STORE')
    a.release()
    return [(p.sop_class, p.sop_instance) for p in parts]


def states(it):
    return dict(it.query('SELECT state, count(*) FROM commitment GROUP BY state'))


def on_the_association(it, references):
    for syntax in (commitment.EXPLICIT_LE, commitment.IMPLICIT_LE):
        a, t = commitment.connect(it.port, 'CT1', syntax, [(scu.VERIFICATION, scu.IMPLICIT_LE)]), transaction()
        same(commitment.ask(a, t, references, syntax), 0, 'N-ACTION')
        same(it.one('SELECT count(*) FROM commitment WHERE transaction_uid = ?', t), 1, 'recorded before the answer')
        report = commitment.hear(a, syntax)
        same((report.type, report.transaction, report.sop_class, report.sop_instance), (1, t, commitment.CLASS, commitment.INSTANCE), 'the report')
        same(sorted(report.committed), sorted(i for _, i in references), 'committed')
        same(report.failed, {}, 'failed')
        until(lambda: it.one('SELECT state FROM commitment WHERE transaction_uid = ?', t) == 'reported', 5, 'it is marked')
        a.socket.settimeout(10)
        same(a.echo(), 0, 'the association goes on after the report')
        a.release()
    # another request comes before the answer to the report; and two requests of one association get their reports one after the other
    a, t = commitment.connect(it.port, 'CT1', more=[(scu.VERIFICATION, scu.IMPLICIT_LE)]), transaction()
    same(commitment.ask(a, t, references), 0, 'N-ACTION')
    a.socket.settimeout(20)
    context, command, data = commitment.read_message(a)
    same(commitment.Report(command, data, True).transaction, t, 'the report')
    same(a.echo(), 0, 'C-ECHO while the report waits for its answer')
    commitment.answer(a, context, command, 0)
    until(lambda: it.one('SELECT state FROM commitment WHERE transaction_uid = ?', t) == 'reported', 5, 'it is marked')
    t = sorted((transaction(), transaction()))
    for one in t:
        same(commitment.ask(a, one, references), 0, 'N-ACTION')
    same(sorted(commitment.hear(a).transaction for _ in t), t, 'two reports')
    a.release()
    say('reports on the association of the request: ok')


def on_a_new_one(it, listener, references):
    a, t = commitment.connect(it.port, 'CT1'), transaction()
    same(commitment.ask(a, t, references), 0, 'N-ACTION')
    a.release()
    report = listener.next()
    same((report.type, report.transaction, len(report.committed)), (1, t, len(references)), 'the report')
    same(listener.titles[-1], ('CT1', 'STORESCP'), 'called and calling AE title of the new association')
    same(listener.roles[-1], b'\0\1', 'roles proposed: not SCU, but SCP')
    until(lambda: it.one('SELECT state FROM commitment WHERE transaction_uid = ?', t) == 'reported', 5, 'it is marked')
    # the same request again after its end: reported again; under way: once
    a = commitment.connect(it.port, 'CT1')
    same(commitment.ask(a, t, references), 0, 'the same N-ACTION again')
    a.release()
    same(listener.next().transaction, t, 'reported again')
    same(it.one('SELECT count(*) FROM commitment WHERE transaction_uid = ?', t), 1, 'one row')
    # heard on its own association and not answered: it comes again on a new one
    a, t2 = commitment.connect(it.port, 'CT1', more=[(scu.VERIFICATION, scu.IMPLICIT_LE)]), transaction()
    same(commitment.ask(a, t2, references), 0, 'N-ACTION')
    same(commitment.hear(a, status=None).transaction, t2, 'heard, not answered')
    same(listener.next().transaction, t2, 'again on a new association')
    same(a.echo(), 0, 'the first association stands')
    a.release()
    # another list under the same UID fails for that
    a = commitment.connect(it.port, 'CT1')
    same(commitment.ask(a, t, references[:1]), 0, 'another list')
    report = commitment.hear(a)
    same(report.failed, {references[0][1]: commitment.DUPLICATE_TRANSACTION}, 'failed')
    a.release()
    say('reports on a new association: ok')


def failures(it, paths, references):
    """Every reason but the duplicate Transaction UID, in one request; type 2, and the good one stands among the committed."""
    it.ctl('config', code=None)
    quarantined = os.path.join(it.work, 'odd.dcm')
    with open(paths[0], 'rb') as f:
        content = bytearray(f.read())
    study = content.rindex(b'\x20\0\x0d\0UI')
    content[study + 8:study + 10] = b'ab'  # a Study Instance UID that is none
    uid = references[0][1].encode()
    other = (uid[:-1] + (b'8' if uid[-1:] != b'8' else b'9'))
    content = bytes(content).replace(uid, other)
    with open(quarantined, 'wb') as f:
        f.write(content)
    odd = send(it, [quarantined], 'CT1')[0]
    until(lambda: it.one("SELECT count(*) FROM instance WHERE state = 'quarantined'") == 1, 20, 'quarantined')
    t = transaction()
    a = commitment.connect(it.port, 'CT1')
    asked = [references[0], (CT, '1.2.3.4.5'), ('1.2.840.10008.5.1.4.1.1.4', references[1][1]), odd]
    same(commitment.ask(a, t, asked), 0, 'N-ACTION')
    report = commitment.hear(a)
    same(report.type, 2, 'event type')
    same(report.committed, [references[0][1]], 'committed')
    same(report.failed, {'1.2.3.4.5': commitment.NO_SUCH_INSTANCE, references[1][1]: commitment.CLASS_CONFLICT, odd[1]: commitment.PROCESSING_FAILURE}, 'failed')
    a.release()
    say('reasons of failure: ok')


def refused(it, references):
    """Every status of an N-ACTION; each leaves the association usable and no row."""
    before = it.one('SELECT count(*) FROM commitment')
    a = commitment.connect(it.port, 'CT1', more=[(scu.VERIFICATION, scu.IMPLICIT_LE), (CT, commitment.EXPLICIT_LE)])
    good = commitment.action_information(transaction(), references, True)
    many = commitment.action_information(transaction(), [(CT, f'1.2.3.{i}') for i in range(50001)], True)
    cases = [(0x118, dict(sop_class=CT)), (0x112, dict(sop_instance='1.2.3')), (0x123, dict(action=2)), (0x115, dict(data_type=b'\1\1')),
             (0x115, dict(data=b'')), (0x115, dict(data=good[:-4])), (0x115, dict(data=good[30:])), (0x115, dict(data=os.urandom(5000))),
             (0x115, dict(data=commitment.action_information(transaction(), references, False))),
             (0x115, dict(data=commitment.action_information(transaction(), [], True))),
             (0x115, dict(data=commitment.action_information(transaction(), [(CT, '')], True))),
             (0x115, dict(data=commitment.action_information('1.2 3', references, True))),
             (0x115, dict(data=b'\x08\0\x11\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff' * 20000)),
             (0x213, dict(data=many)), (0x213, dict(data=bytes(9000000)))]
    for status, options in cases:
        same(f'{commitment.ask(a, transaction(), references, **options):04x}', f'{status:04x}', f'status of {str(options)[:80]}')
    os.rename(it.database, it.database + '.away')  # what cannot be recorded is not answered with success
    for status, options in [(0x110, dict(data=good))]:
        same(f'{commitment.ask(a, transaction(), references, **options):04x}', f'{status:04x}', 'status without the database')
    os.rename(it.database + '.away', it.database)
    same(a.echo(), 0, 'echo on the same association')
    context = a.accepted[CT, commitment.EXPLICIT_LE]  # N-ACTION on a storage context
    a._command(context, [(3, commitment.CLASS.encode()), (0x100, b'\x30\1'), (0x110, b'\x63\0'), (0x800, b'\1\1'), (0x1001, commitment.INSTANCE.encode()), (0x1008, b'\1\0')])
    same(f'{a._status():04x}', '0211', 'N-ACTION on another context')
    context = a.accepted[commitment.CLASS, commitment.EXPLICIT_LE]  # C-STORE on ours
    a._command(context, [(2, commitment.CLASS.encode()), (0x100, b'\1\0'), (0x110, b'\x64\0'), (0x700, b'\0\0'), (0x800, b'\1\0'), (0x1000, b'1.2.3')])
    a._send(4, b'\0\0\0\x04' + bytes((context, 2)) + b'xx')
    same(f'{a._status():04x}', '0211', 'C-STORE on the commitment context')
    a.release()
    same(it.one('SELECT count(*) FROM commitment'), before, 'rows')
    say(f'{len(cases) + 3} requests refused with their status: ok')


def waits(it, listener, directory):
    """A request for what is under way is answered when it has arrived; what has not in commitment_wait_s fails as a resource limitation."""
    it.need_cloud()
    it.stop_aws()
    paths = make_study(os.path.join(directory, 'waits'), 2, 1000, 77)
    late = send(it, paths[:1], 'LATE')
    fine = send(it, paths[1:], 'CT1')
    a = commitment.connect(it.port, 'LATE')
    same(commitment.ask(a, transaction(), late), 0, 'N-ACTION')
    same(commitment.hear(a, seconds=20).failed, {late[0][1]: commitment.RESOURCE_LIMITATION}, 'S3 was away for commitment_wait_s')
    a.release()
    a, t = commitment.connect(it.port, 'CT1'), transaction()
    same(commitment.ask(a, t, fine), 0, 'N-ACTION')
    a.release()
    spooled = commitment.connect(it.port, 'SPOOLER')  # the same instance counts for a sender that is content with the spool
    same(commitment.ask(spooled, transaction(), fine), 0, 'N-ACTION')
    same(commitment.hear(spooled).type, 1, 'spooled is enough for SPOOLER')
    spooled.release()
    time.sleep(1)
    same(it.one('SELECT state FROM commitment WHERE transaction_uid = ?', t), 'waiting', 'nothing is said before it is true')
    same(it.one('SELECT undecided FROM v_commitment WHERE transaction_uid = ?', t), 1, 'undecided')
    it.start_aws()
    report = listener.next(60)
    same((report.transaction, report.type), (t, 1), 'reported when it was uploaded')
    imported = commitment.connect(it.port, 'IMPORTER')
    same(commitment.ask(imported, transaction(), fine), 0, 'N-ACTION')
    same(commitment.hear(imported, seconds=60).type, 1, 'imported')
    same(it.one('SELECT state FROM instance WHERE sop_instance_uid = ?', fine[0][1]), 'imported', 'and it is true')
    imported.release()
    say('waiting for what is under way: ok')


def peers(it, listener, references):
    """A peer that is away, rejects, refuses, is silent: kept and tried again, each attempt told; it comes back and hears."""
    port = listener.port
    listener.close()
    a, t = commitment.connect(it.port, 'CT1'), transaction()
    same(commitment.ask(a, t, references), 0, 'N-ACTION')
    a.release()
    row = lambda column: it.one(f'SELECT {column} FROM commitment WHERE transaction_uid = ?', t)  # noqa: E731
    until(lambda: row('attempts') >= 1, 20, 'one attempt')
    same((row('state'), row('error_code')), ('reporting', 'NETWORK'), 'away')
    check('commitment' in it.ctl('status').lower(), 'status has a WARN line about it')
    shown = it.ctl('commitments')
    check(t in shown and 'reporting' in shown, f'`commitments` shows it: {shown}')
    check('NETWORK' in it.ctl('commitments', '--json') and 'DECIDED' in it.ctl('show', t), 'its error and its history are shown')

    def due_now():
        with sqlite3.connect(it.database, timeout=10) as db:
            db.execute("UPDATE commitment SET next_attempt_ms = 0 WHERE state = 'reporting'")
        db.close()

    attempts = row('attempts')
    for manner, words in (('reject', 'rejects'), ('refuse', 'refuses the presentation context'), ('no-role', 'role'), ('abort', 'answer'), ('status', '0110'),
                          ('mute', 'acse_timeout'), ('silent', 'did not answer')):
        bad = commitment.Listener(port, manner=manner, status=0x110 if manner == 'status' else 0)
        due_now()
        attempts += 1
        until(lambda: row('attempts') >= attempts, 20, f'an attempt against {manner}')
        check(words in row('error_text'), f'{manner}: {row("error_text")}')
        bad.close()
        attempts = row('attempts')
    back = commitment.Listener(port, commitment.IMPLICIT_LE, manner='no-word-of-roles', maximum=512)
    due_now()
    same(back.next(20).transaction, t, 'it came back')
    until(lambda: row('state') == 'reported', 5, 'marked')
    history = [code for (code,) in it.query('SELECT code FROM commitment_event JOIN commitment c ON c.id = commitment WHERE c.transaction_uid = ? ORDER BY commitment_event.id', t)]
    check(history[:2] == ['REQUESTED', 'DECIDED'] and history[-1] == 'REPORTED' and len(history) >= 8, f'history {history}')
    check('torage commitment' in it.ctl('why', references[0][1]), '`why` tells about it')
    # nobody said where to report: kept, with the setting's name; given up after commitment_give_up_s
    a, t = commitment.connect(it.port, 'NOWHERE'), transaction()
    same(commitment.ask(a, t, references), 0, 'N-ACTION')
    a.release()
    until(lambda: it.one('SELECT state FROM commitment WHERE transaction_uid = ?', t) == 'given_up', 20, 'given up')
    check('commitment_address' in it.one('SELECT error_text FROM commitment WHERE transaction_uid = ?', t), 'the setting is named')
    check('given up' in it.ctl('status'), 'status tells')
    say('peers that are away or misbehave: ok')
    return back


def killed(it, listener, references):
    """kill -9 of the receiver between answer and report; the report comes after the restart."""
    a, t = commitment.connect(it.port, 'CT1'), transaction()
    same(commitment.ask(a, t, references), 0, 'N-ACTION')
    for kind, pid in it.processes():
        if kind in ('receiver', 'notifier'):
            os.kill(pid, signal.SIGKILL)
    same(listener.next(60).transaction, t, 'reported after the restart')
    until(lambda: it.one('SELECT state FROM commitment WHERE transaction_uid = ?', t) == 'reported', 10, 'marked')
    a.close()
    say('kill -9 between answer and report: ok')


def never_enough(it, references, paths):
    """Guards a bug: a peer that sent one request of 50,000 references after the other took half of the recorder's time, and each image
    waited most of a second. Now the desk rests nine times as long as it worked, and another peer's request goes first."""
    whole = commitment.action_information('1.2', [(CT, f'1.2.3.{i}') for i in range(50000)], True)
    tail = whole[len(commitment.element(8, 0x1195, b'UI', b'1.2', True)):]
    took, stop = [], threading.Event()

    def greedy():
        a = commitment.connect(it.port, 'NOWHERE')
        while not stop.is_set():
            begun = time.monotonic()
            same(commitment.ask(a, '', [], data=commitment.element(8, 0x1195, b'UI', transaction().encode(), True) + tail), 0, 'status of a large request')
            took.append(time.monotonic() - begun)
        a.socket.close()

    thread = threading.Thread(target=greedy, daemon=True)
    thread.start()
    until(lambda: len(took) >= 2, 60, 'two large requests')
    part10 = scu.read_part10(paths[0])
    a, waits = scu.Association('127.0.0.1', it.port, [(part10.sop_class, part10.syntax)], 'CT1'), []
    end = time.monotonic() + 6
    while time.monotonic() < end:
        begun = time.monotonic()
        same(a.store(part10), 0, 'status of a store beside large requests')
        waits.append(time.monotonic() - begun)
        time.sleep(0.02)
    a.release()
    stop.set()
    thread.join(60)
    late = sum(1 for w in waits if w > 0.2)
    say(f'large requests: {len(took)} answered, the longest wait {max(took):.1f} s; {len(waits)} stores beside them, {late} took more than 0.2 s, the longest {max(waits):.2f} s')
    check(late * 5 < len(waits), f'{late} of {len(waits)} stores had to wait for large requests')
    until(lambda: sum(n for s, n in states(it).items() if s in ('waiting', 'reporting')) == 0, 60, 'the large requests have ended')


def crowd(it):
    """Large requests at one time: some wait for their turn, those that would fill the memory are refused, and nobody is answered late at the stop."""
    whole = commitment.action_information('1.2', [(CT, f'1.2.3.{10 ** 50 + i}.{10 ** 5}') for i in range(50000)], True)
    tail = whole[len(commitment.element(8, 0x1195, b'UI', b'1.2', True)):]
    answers = []

    def ask(n):
        a = commitment.connect(it.port, 'NOWHERE')
        a.socket.settimeout(60)
        answers.append(commitment.ask(a, '', [], data=commitment.element(8, 0x1195, b'UI', transaction().encode(), True) + tail))
        a.socket.close()

    threads = [threading.Thread(target=ask, args=(n,), daemon=True) for n in range(20)]
    for thread in threads:
        thread.start()
    until(lambda: 0x213 in answers, 30, 'one that is refused because too many wait')
    begun = time.monotonic()
    it.stop()
    for thread in threads:
        thread.join(20)
    say(f'20 large requests at one time: {sorted(f"{a:04x}" for a in answers)}, stopped after {time.monotonic() - begun:.1f} s')
    same(len(answers), 20, 'answers')
    same(set(answers) - {0, 0x110, 0x213}, set(), 'other answers')
    check(0x110 in answers, 'those that wait are answered at the stop')


def test(build):
    with Installation(build, 'commitment', {'acse_timeout': 3, 'dimse_timeout': 3}) as it:
        port = free_port()
        listener = commitment.Listener(port)
        it.configure()
        with open(os.path.join(it.home, 'storescp.conf'), 'a') as f:
            at = f'commitment_address = 127.0.0.1:{port}\n'
            f.write(f'commitment_at = spooled\n[ae CT1]\n{at}commitment_at = {"uploaded" if it.cloud else "spooled"}\n[ae LATE]\ncommitment_wait_s = 2\n'
                    'commitment_at = imported\n[ae IMPORTER]\ncommitment_at = imported\n[ae NOWHERE]\ncommitment_give_up_s = 0\ncommitment_wait_s = 0\n')
        conf = os.path.join(it.home, 'storescp.conf')
        good = open(conf).read()
        with open(conf, 'a') as f:
            f.write('[ae TYPO]\ncommitment_address = nowhere\n')
        code, told = run_tool(it.program('storescp-receiver'), '--home', it.home, '--check')
        check(code == 78 and 'commitment_address "nowhere"' in told, f'an address that is none: {code} {told}')
        with open(conf, 'w') as f:
            f.write(good)
        it.start()
        directory = os.path.join(it.work, 'study')
        paths = make_study(directory, 5, 1000, 42)
        references = send(it, paths)
        on_the_association(it, references)
        on_a_new_one(it, listener, references)
        failures(it, paths, references)
        refused(it, references)
        try:
            waits(it, listener, it.work)
        except LeftOut as why:
            say(f'left out: {why}')
        listener = peers(it, listener, references)
        listener.manner, listener.syntax, listener.maximum = None, commitment.EXPLICIT_LE, 16384
        killed(it, listener, references)
        never_enough(it, references, paths)
        same(sum(n for s, n in states(it).items() if s in ('waiting', 'reporting')), 0, 'open requests at the end')
        crowd(it)
        it.check_invariants()
        same(it.one('SELECT count(*) FROM commitment WHERE owner IS NOT NULL OR offered_to IS NOT NULL'), 0, 'claims left')


main(test)
