#!/usr/bin/env python3
"""negotiation_test BUILD_DIR - what the receiver answers to association requests: AE titles, SOP classes and transfer syntaxes by the settings for
everybody and for single peers, roles, extended negotiation, user identity; by requests written by hand and by DCMTK's storescu, dcmsend and echoscu.
What is refused stands in the log once, with the setting that would accept it; no passcode stands anywhere."""
import json
import os
import re
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, check, clean_environment, main, make_study, run_tool, same, say, until  # noqa: E402
import scu  # noqa: E402
from negotiate import propose  # noqa: E402

CT, MR, US, SR = ('1.2.840.10008.5.1.4.1.1.' + n for n in ('2', '4', '6.1', '88.11'))
PRIVATE, COMMITMENT = '1.3.12.2.1107.5.9.1', '1.2.840.10008.1.20.1'
IMPLICIT, EXPLICIT, DEFLATED, JPEG, LOSSLESS, H264 = ('1.2.840.10008.1.2' + s for s in ('', '.1', '.1.99', '.4.50', '.4.70', '.4.102'))
CALLED_WRONG = (1, 1, 7)
CALLING_WRONG = (1, 1, 3)
NO_USER = (1, 1, 1)
ACCEPTED, USER_REJECTION, NO_ABSTRACT, NO_SYNTAX = 0, 1, 3, 4


def configure(it, sections='', **settings):
    """New settings (None takes one out) and sections, and a new start."""
    if it.supervisor:
        it.stop()
    for name in [n for n, v in settings.items() if v is None]:
        it.settings.pop(name, None)
        settings.pop(name)
    it.configure(**settings)
    with open(os.path.join(it.home, 'storescp.conf'), 'a') as f:
        f.write(sections)
    open(it.log_path, 'w').close()
    it.start()


def log_lines(it, event):
    return [line for line in open(it.log_path, errors='replace') if f' {event} ' in line]


def logged(it, event, *words, count=1):
    """That many lines of this event hold all the words; -> the last of them."""
    def found():
        return [line for line in log_lines(it, event) if all(w in line for w in words)]
    until(lambda: len(found()) >= count, 5, f'{count} lines {event} with {words}')
    time.sleep(0.1)
    same(len(found()), count, f'lines {event} with {words}')
    return found()[-1]


def outcome(it, **how):
    answer = propose(it.port, [(CT, [EXPLICIT])], **how)
    if answer.kind == 'accepted':
        answer.close()
        return 'accepted'
    return answer.rejection


# ---- AE titles ----------------------------------------------------------------------------------------------------------------------------
def titles(it):
    configure(it, ae_title='ONE, TWO TWO ,THREE', require_called_ae_title='true', require_calling_ae_title='CT1, MR ROOM 2, US*')
    for called, calling, expected in (
            ('ONE', 'CT1', 'accepted'), ('TWO TWO', 'CT1', 'accepted'), ('  THREE', 'CT1', 'accepted'), ('TWO', 'CT1', CALLED_WRONG),
            ('one', 'CT1', CALLED_WRONG), ('', 'CT1', CALLED_WRONG), ('ONE', 'MR ROOM 2', 'accepted'), ('ONE', ' CT1', 'accepted'),
            ('ONE', 'MR', CALLING_WRONG), ('ONE', 'ROOM', CALLING_WRONG), ('ONE', 'US', 'accepted'), ('ONE', 'USXYZ', 'accepted'), ('ONE', '', CALLING_WRONG),
            ('FOUR', 'MR', CALLED_WRONG)):
        same(outcome(it, called=called, calling=calling), expected, f'{calling!r} calls {called!r}')
    for _ in range(3):
        same(outcome(it, called='ONE', calling='CT"2\\'), CALLING_WRONG, 'a title that tries to spoil the log')
    line = logged(it, 'association_rejected', r'calling_ae="CT\"2?"', 'answer=1/1/3', 'require_calling_ae_title')
    check('peer=127.0.0.1' in line, f'the line names the peer: {line}')
    logged(it, 'association_rejected', 'calling_ae="MR"', 'called_ae="ONE"')
    logged(it, 'association_rejected', 'called_ae="FOUR"', 'ae_title', 'require_called_ae_title')
    logged(it, 'association_rejected', 'called_ae="one"', 'capital and small letters')
    for tool in ('echoscu', 'storescu'):
        files = [it.study[0]] if tool == 'storescu' else []
        code, _ = run_tool(tool, '-aet', 'CT1', '-aec', 'TWO TWO', '127.0.0.1', str(it.port), *files)
        same(code, 0, f'{tool} with a title that has a space')
        code, output = run_tool(tool, '-aet', 'CT1', '-aec', 'STORESCP', '127.0.0.1', str(it.port), *files)
        check(code != 0 and 'Called AE Title Not Recognized' in output, f'{tool} hears why: {output[-300:]}')
    code, output = run_tool('echoscu', '-aet', 'XA1', '-aec', 'ONE', '127.0.0.1', str(it.port))
    check(code != 0 and 'Calling AE Title Not Recognized' in output, f'echoscu hears why: {output[-300:]}')
    configure(it, ae_title=None, require_called_ae_title=None, require_calling_ae_title=None)
    same(outcome(it, called='ANY', calling='ANY'), 'accepted', 'any titles by default')
    answer = propose(it.port, [(CT, [EXPLICIT])], calling=' M\xdcNCHEN\n1')  # no legal title; what is kept of it is text
    same(answer.peer.store(scu.read_part10(it.study[0])), 0, 'C-STORE from a title with a letter that is none')
    answer.peer.release()
    same(it.query("SELECT calling_ae FROM instance WHERE calling_ae LIKE 'M%'"), [('M?NCHEN?1',)], 'the title in the row')
    check(it.ctl('status', '--json'), 'status')
    answer = propose(it.port, [('1.2.' + '3' * 80, [EXPLICIT])])
    same(answer.kind, 'aborted', 'a UID of 84 characters')
    logged(it, 'association_ended', 'outcome="no association: ', 'length')


# ---- presentation contexts ----------------------------------------------------------------------------------------------------------------
def results(it, contexts, **how):
    answer = propose(it.port, contexts, **how)
    same(answer.kind, 'accepted', 'the association')
    answer.close()
    return [c[0] for c in answer.contexts]


def sop_classes(it):
    configure(it, '[ae MR*]\nsupported_sop_class_uids = MRImageStorage, private\n[ae OPEN]\nsupported_sop_class_uids =\nrefused_sop_classes =\n',
              supported_sop_class_uids='CTImageStorage, 1.2.840.10008.5.1.4.1.1.88.*, 1.3.*', refused_sop_classes='private')
    wanted = [(u, [IMPLICIT]) for u in (scu.VERIFICATION, CT, MR, SR, PRIVATE, '1.2.840.10008.5.1.4.1.2.1.1', '')]
    for calling, expected in (('ANY', (0, 0, 3, 0, 3, 3, 3)), ('MR7', (0, 3, 0, 3, 3, 3, 3)), ('OPEN', (0, 0, 0, 0, 0, 3, 3))):
        same(results(it, wanted, calling=calling), list(expected), f'SOP classes for {calling}')
    line = logged(it, 'contexts_refused', 'calling_ae="ANY"', 'supported_sop_class_uids', 'count=1')
    check('sop_classes="MRImageStorage"' in line, f'the class has its name: {line}')
    logged(it, 'contexts_refused', 'calling_ae="MR7"', 'refused_sop_classes', 'count=1')
    for _ in range(5):
        results(it, wanted, calling='ANY')
    logged(it, 'contexts_refused', 'calling_ae="ANY"', 'supported_sop_class_uids')  # still one line
    results(it, [(US, [IMPLICIT])], calling='ANY')
    logged(it, 'contexts_refused', 'calling_ae="ANY"', 'UltrasoundImageStorage')  # something else is another line
    many = [(f'1.2.840.10008.5.1.4.1.1.{i}', [IMPLICIT]) for i in range(1000, 1128)]
    same(set(results(it, many, calling='ANY')), {NO_ABSTRACT}, '128 contexts that are refused')
    logged(it, 'contexts_refused', 'count=128', ', ..."')
    code, output = run_tool('dcmsend', '-v', '-aet', 'US7', '127.0.0.1', str(it.port), it.study[0])
    same(code, 0, f'dcmsend of a CT image: {output[-300:]}')
    code, output = run_tool('storescu', '-v', '-R', '-aet', 'MR7', '127.0.0.1', str(it.port), it.study[0])
    check(code != 0 and 'No Acceptable Presentation Contexts' in output, f'storescu of a CT image as MR7: {output[-300:]}')
    configure(it, supported_sop_class_uids=None, refused_sop_classes=None)


def transfer_syntaxes(it):
    configure(it, '[ae STRICT]\ntransfer_syntaxes = uncompressed\n[ae VIDEO]\ntransfer_syntaxes = video, JPEGBaseline8Bit\n[ae PROPOSED]\ntransfer_syntaxes = as-proposed\n',
              transfer_syntaxes='lossless, uncompressed, as-proposed')
    offered = [JPEG, IMPLICIT, LOSSLESS, DEFLATED, H264, EXPLICIT]
    for calling, proposed, expected in (
            ('ANY', offered, (0, LOSSLESS)), ('ANY', [IMPLICIT, EXPLICIT], (0, IMPLICIT)), ('ANY', [JPEG, H264], (0, JPEG)), ('ANY', ['1.2.3.4'], (0, '1.2.3.4')),
            ('STRICT', offered, (0, IMPLICIT)), ('STRICT', [JPEG, LOSSLESS], (NO_SYNTAX, '')), ('VIDEO', offered, (0, H264)), ('VIDEO', [EXPLICIT, JPEG], (0, JPEG)),
            ('PROPOSED', offered, (0, JPEG)), ('ANY', [f'1.2.3.{i}' for i in range(400)] + [LOSSLESS], (0, LOSSLESS))):
        answer = propose(it.port, [(CT, proposed), (scu.VERIFICATION, proposed)], calling=calling)
        got = answer.contexts[0]
        same((got[0], got[1] if got[0] == 0 else ''), expected, f'{calling} proposes {proposed[:6]}')
        same(answer.contexts[1], (0, proposed[0]), 'an echo with any transfer syntax')
        answer.close()
    line = logged(it, 'contexts_refused', 'calling_ae="STRICT"', 'transfer_syntaxes')
    check('CTImageStorage with JPEGBaseline8Bit JPEGLosslessSV1' in line, f'the line names what was proposed: {line}')
    code, output = run_tool('storescu', '-v', '+C', '-xs', '-aet', 'STRICT', '127.0.0.1', str(it.port), it.study[0])
    same(code, 0, f'storescu that proposes JPEG lossless first, to whom only uncompressed is accepted: {output[-300:]}')
    code, output = run_tool('storescu', '-v', '-R', '-xv', '-aet', 'VIDEO', '127.0.0.1', str(it.port), it.study[0])
    check(code != 0 and 'No Acceptable Presentation Contexts' in output, f'storescu to whom only video is accepted: {output[-300:]}')
    configure(it, transfer_syntaxes=None)


def numbers(it):
    """Context ids: odd, once, 128 at most; the rest of the association request may be as strange as it is."""
    same(propose(it.port, [(CT, [EXPLICIT], 1), (MR, [EXPLICIT], 1)]).kind, 'aborted', 'a context id that comes twice')
    same(propose(it.port, [(CT, [EXPLICIT], 2)]).kind, 'aborted', 'an even context id')
    same(propose(it.port, [(CT, [EXPLICIT], 255)]).contexts, [(0, EXPLICIT)], 'context id 255')
    began = time.monotonic()
    syntaxes = [f'2.25.{i}' for i in range(37)] + [EXPLICIT]
    answer = propose(it.port, [(f'{CT}.{i}', syntaxes) for i in range(128)])
    same([c for c in answer.contexts if c != (0, EXPLICIT)], [], '128 contexts with 38 transfer syntaxes')
    took = time.monotonic() - began
    check(took < 5, f'they took {took:.1f} s')
    answer.close()
    same(propose(it.port, []).kind, 'aborted', 'no context at all')
    same(propose(it.port, [(CT, [EXPLICIT])], version=2).rejection, (1, 2, 2), 'another protocol version')


# ---- roles and extended negotiation -------------------------------------------------------------------------------------------------------
def role(uid, as_scu, as_scp):
    return 0x54, struct.pack('>H', len(uid)) + uid.encode() + bytes((as_scu, as_scp))


def extended(uid, information):
    return 0x56, struct.pack('>H', len(uid)) + uid.encode() + information


def roles(it):
    def ask(contexts, *items):
        answer = propose(it.port, [(u, [EXPLICIT]) for u in contexts], user=items)
        same(answer.kind, 'accepted', 'an association with roles')
        peer, told = answer.peer, answer.items.get(0x54, [])
        if answer.contexts[0][0] == 0 and contexts[0] == CT:
            part10 = scu.read_part10(it.study[1])
            same(peer.store(part10), 0, 'C-STORE after role selection')
        answer.close()
        return [c[0] for c in answer.contexts], told
    scu_only = [role(CT, 1, 0)[1]]
    same(ask([CT]), ([0], []), 'no role proposed')
    same(ask([CT], role(CT, 1, 0)), ([0], scu_only), 'role SCU')
    same(ask([CT], role(CT, 1, 1)), ([0], scu_only), 'both roles: SCP is turned down')
    same(ask([CT], role(CT, 0, 1)), ([USER_REJECTION], []), 'role SCP alone')
    same(ask([CT, CT, MR], role(CT, 1, 1)), ([0, 0, 0], scu_only), 'one answer for a SOP class with two contexts')
    same(ask([CT, MR], role(MR, 0, 1)), ([0, USER_REJECTION], []), 'the role SCP of another class')
    same(ask([CT], role(US, 1, 1)), ([0], []), 'the role of a class that is not proposed')
    same(ask([CT], role(CT, 0, 0)), ([0], []), 'neither role: as if none were proposed')
    same(ask([CT, MR], role(CT, 0, 0), role(MR, 1, 1)), ([0, 0], [role(MR, 1, 0)[1]]), 'neither role for one class, both for another')
    logged(it, 'contexts_refused', 'sop_classes="CTImageStorage"', 'SCP', count=1)


def extended_negotiation(it):
    answer = propose(it.port, [(CT, [EXPLICIT]), (CT, [IMPLICIT]), (MR, [EXPLICIT]), (scu.VERIFICATION, [IMPLICIT]), ('1.2.840.10008.5.1.4.1.2.1.1', [IMPLICIT])],
                     user=[extended(CT, b'\3\0\0\0\2\0'), extended(scu.VERIFICATION, b'\1'), extended('1.2.840.10008.5.1.4.1.2.1.1', b'\1'), extended(US, b''),
                           (0x57, struct.pack('>H', len(MR)) + MR.encode() + struct.pack('>H', 15) + b'1.2.840.10008.4' + b'\0\0'), (0x53, b'\0\7\0\7'), (0x77, b'who knows')])
    same(answer.items.get(0x56), [extended(CT, b'\2\0\0\0\0\0')[1]], 'the answer of storage: level 2')
    same([k for k in (0x54, 0x57, 0x59, 0x77) if k in answer.items], [], 'items that are not answered')
    same(answer.items.get(0x53), [b'\0\7\0\1'], 'the window')
    same([c[0] for c in answer.contexts], [0, 0, 0, 0, NO_ABSTRACT], 'its contexts')
    part10 = scu.read_part10(it.study[2])
    same(answer.peer.store(part10), 0, 'C-STORE after extended negotiation')
    answer.close()


def window(it):
    configure(it, '[ae NARROW]\noperations_window = 4\n[ae SYNC]\noperations_window = 1\n')
    for calling, proposed, expected in (('ANY', (5, 3), (5, 1)), ('ANY', (0, 0), (16, 1)), ('ANY', (1, 1), (1, 1)), ('ANY', (500, 1), (16, 1)), ('NARROW', (0, 7), (4, 1)), ('NARROW', (3, 1), (3, 1))):
        answer = propose(it.port, [(CT, [EXPLICIT])], calling=calling, user=[(0x53, struct.pack('>HH', *proposed))])
        same([struct.unpack('>HH', w) for w in answer.items.get(0x53, [])], [expected], f'{calling} proposes a window of {proposed}')
        same(answer.peer.store(scu.read_part10(it.study[0])), 0, 'C-STORE in a window')
        answer.close()
    for calling, item in (('SYNC', (0x53, b'\0\5\0\5')), ('ANY', (0x53, b'\0\5')), ('ANY', (0x55, b'TESTSCU'))):
        answer = propose(it.port, [(CT, [EXPLICIT])], calling=calling, user=[item])
        same((answer.kind, answer.items.get(0x53)), ('accepted', None), f'no window for {calling} with {item}')
        answer.close()


def pipelined(it):
    """A sender that does not wait: requests are answered in order, more of them than the window allows, too."""
    answer = propose(it.port, [(CT, [EXPLICIT])], user=[(0x53, struct.pack('>HH', 0, 0))])
    peer, part10 = answer.peer, scu.read_part10(it.study[0])
    for number in range(1, 21):
        peer._command(1, [(2, CT.encode()), (0x100, b'\1\0'), (0x110, struct.pack('<H', number)), (0x700, b'\0\0'), (0x800, b'\1\0'),
                          (0x1000, f'2.25.7.{number}'.encode())])
        peer._send(4, struct.pack('>IBB', len(part10.data) + 2, 1, 2) + part10.data)
    for number in range(1, 21):
        _, body = peer._receive()
        fields = {struct.unpack('<H', body[p + 2:p + 4])[0]: p for p in element_starts(body)}
        same(struct.unpack('<H', body[fields[0x120] + 8:fields[0x120] + 10])[0], number, 'message id of the answer')
        same(struct.unpack('<H', body[fields[0x900] + 8:fields[0x900] + 10])[0], 0, 'its status')
    peer.release()


def element_starts(body):
    p = 6
    while p + 8 <= len(body):
        yield p
        p += 8 + struct.unpack('<I', body[p + 4:p + 8])[0]


# ---- user identity ------------------------------------------------------------------------------------------------------------------------
def identity(kind, response, primary, secondary=b''):
    return 0x58, bytes((kind, response)) + struct.pack('>H', len(primary)) + primary + struct.pack('>H', len(secondary)) + secondary


def user(it, calling, *items):
    """-> 'accepted', 'confirmed' or the rejection"""
    answer = propose(it.port, [(CT, [EXPLICIT])], calling=calling, user=items)
    if answer.kind == 'accepted':
        answer.close()
        same(answer.items.get(0x59, [b'\0\0']), [b'\0\0'], 'the positive response is empty')
        return 'confirmed' if 0x59 in answer.items else 'accepted'
    same(answer.kind, 'rejected', 'what is not accepted is rejected')
    return answer.rejection


def add_user(it, name, passcode):
    done = subprocess.run([it.program('storescpctl'), '--home', it.home, 'user', 'add', name] + ([] if passcode else ['--name-only']), text=True,
                          input=(passcode or '') + '\n', capture_output=True, timeout=30, env=clean_environment())
    same((done.returncode, done.stdout, done.stderr), (0, '', ''), f'storescpctl user add {name}')


def users(it):
    secret, wrong = 'correct horse', 'battery staple'
    configure(it, '[ae NAMED]\nrequire_user_identity = username\n[ae CHECKED]\nrequire_user_identity = passcode\n'
                  '[ae BOUND]\nrequire_user_identity = passcode\nallowed_users = ot*, anna\n')
    for calling in ('NAMED', 'CHECKED'):
        same(user(it, calling, identity(2, 1, b'anna', secret.encode())), NO_USER, 'a user while there is no user_file')
    logged(it, 'association_rejected', 'calling_ae="NAMED"', 'user_file cannot be read', 'storescpctl user add')
    add_user(it, 'anna', secret)  # takes effect at once
    add_user(it, 'otto', secret)
    add_user(it, 'Jörg Müller', secret)
    add_user(it, 'station', None)
    path = os.path.join(it.home, 'users')
    same(os.stat(path).st_mode & 0o777, 0o600, 'mode of user_file')
    check(secret not in open(path).read(), 'no passcode stands in user_file')
    same(it.ctl('user', 'list').split('\n')[:1], ['anna'.ljust(33) + 'passcode'], 'storescpctl user list')
    anna, ask = secret.encode(), 1
    for calling, item, expected in (
            ('ANY', None, 'accepted'), ('ANY', identity(1, 0, b'anybody'), 'accepted'), ('ANY', identity(1, ask, b'anybody'), 'confirmed'),
            ('ANY', identity(2, ask, b'anna', wrong.encode()), 'confirmed'), ('ANY', identity(3, ask, b'ticket'), 'accepted'), ('ANY', identity(77, ask, b'x'), 'accepted'),
            ('ANY', identity(1, ask, b''), 'accepted'),
            ('NAMED', None, NO_USER), ('NAMED', identity(1, 0, b'anna'), 'accepted'), ('NAMED', identity(1, ask, b'anna'), 'confirmed'),
            ('NAMED', identity(1, ask, b'nobody'), NO_USER), ('NAMED', identity(1, ask, 'Jörg Müller'.encode()), 'confirmed'), ('NAMED', identity(2, ask, b'anna', anna), 'confirmed'),
            ('NAMED', identity(2, ask, b'anna', wrong.encode()), NO_USER), ('NAMED', identity(1, ask, b'station'), 'confirmed'), ('NAMED', identity(2, ask, b'station', b'x'), 'confirmed'),
            ('CHECKED', None, NO_USER), ('CHECKED', identity(1, ask, b'anna'), NO_USER), ('CHECKED', identity(2, ask, b'anna', anna), 'confirmed'),
            ('CHECKED', identity(2, 0, b'anna', anna), 'accepted'), ('CHECKED', identity(2, ask, b'anna', anna + b'x'), NO_USER), ('CHECKED', identity(2, ask, b'anna', anna[:-1]), NO_USER),
            ('CHECKED', identity(2, ask, b'anna', b''), NO_USER), ('CHECKED', identity(2, ask, b'anna', anna + b'\0'), NO_USER), ('CHECKED', identity(2, ask, b'Anna', anna), NO_USER),
            ('CHECKED', identity(2, ask, b'anna\0', anna), NO_USER), ('CHECKED', identity(2, ask, b'station', b'*'), NO_USER), ('CHECKED', identity(2, ask, b'', anna), NO_USER),
            ('CHECKED', identity(2, ask, b'a' * 5000, b'b' * 5000), NO_USER), ('CHECKED', identity(2, ask, b'anna:x', anna), NO_USER),
            ('CHECKED', identity(3, ask, b'ticket'), NO_USER), ('CHECKED', identity(4, ask, b'<saml/>'), NO_USER), ('CHECKED', identity(5, ask, b'a.b.c'), NO_USER),
            ('CHECKED', identity(9, ask, b'x'), NO_USER),
            ('BOUND', identity(2, ask, b'anna', anna), 'confirmed'), ('BOUND', identity(2, ask, b'otto', anna), 'confirmed'),
            ('BOUND', identity(2, ask, 'Jörg Müller'.encode(), anna), NO_USER)):
        same(user(it, calling, *([item] if item else [])), expected, f'{calling}: {item[1][:40] if item else "no user identity"}')
    for calling, word in (('CHECKED', 'Kerberos'), ('CHECKED', 'the passcode is wrong'), ('CHECKED', 'a username without a passcode'), ('CHECKED', 'no user identity'), ('BOUND', 'allowed_users'),
                          ('NAMED', 'the user is not in user_file'), ('CHECKED', 'the user has no passcode')):
        until(lambda: any(word in line and f'calling_ae="{calling}"' in line and 'answer=1/1/1' in line for line in log_lines(it, 'association_rejected')), 5, f'a line about {word}')
    logged(it, 'association_rejected', 'calling_ae="CHECKED"', 'user="anna"', 'the passcode is wrong')  # twice tried, told once
    it.ctl('user', 'remove', 'otto')
    same(user(it, 'BOUND', identity(2, ask, b'otto', anna)), NO_USER, 'a user who was removed')
    it.ctl('user', 'remove', 'otto', code=1)
    it.ctl('user', 'add', 'a:b', code=1)
    done = subprocess.run([it.program('storescpctl'), '--home', it.home, 'user', 'add', 'empty'], input='\n', text=True, capture_output=True, timeout=30, env=clean_environment())
    same(done.returncode, 1, 'an empty passcode')
    with_dcmtk(it, secret, wrong)
    slow_hashes(it, anna)
    text = open(it.log_path, errors='replace').read()
    same([s for s in (secret, wrong) if s in text], [], 'passcodes in the log')
    same([s for s in (secret, wrong) if s.encode() in open(it.database, 'rb').read()], [], 'passcodes in state.db')


def with_dcmtk(it, secret, wrong):
    def send(calling, *words):
        return run_tool('storescu', '-v', '-R', '-aet', calling, *words, '127.0.0.1', str(it.port), it.study[3])
    code, output = send('CHECKED', '-usr', 'anna', '-pwd', secret, '-rsp')
    same(code, 0, f'storescu with user, passcode and a demand for the response: {output[-400:]}')
    until(lambda: it.query("SELECT user_name, user_checked FROM association WHERE calling_ae = 'CHECKED'"), 5, 'the row of the association')
    same(it.query("SELECT DISTINCT user_name, user_checked FROM association WHERE calling_ae = 'CHECKED'"), [('anna', 1)], 'user in the row of the association')
    code, output = send('NAMED', '-usr', 'station', '-rsp')
    same(code, 0, f'storescu with a username: {output[-400:]}')
    code, output = send('CHECKED', '-usr', 'anna', '-pwd', wrong, '-rsp')
    check(code != 0 and 'Association Rejected' in output, f'storescu with a wrong passcode: {output[-400:]}')
    code, output = send('ANY', '-usr', 'stranger', '-rsp')
    same(code, 0, f'storescu with a name where none is required: {output[-400:]}')
    until(lambda: it.query("SELECT user_name, user_checked FROM association WHERE calling_ae = 'ANY' AND user_name = 'stranger'") == [('stranger', 0)], 5, 'a name that was not checked')
    ticket = os.path.join(it.work, 'ticket')
    with open(ticket, 'wb') as f:
        f.write(bytes(range(256)) * 8)
    for words in (('-kt', ticket), ('--saml', ticket), ('--jwt', ticket)):
        code, output = send('CHECKED', *words)
        check(code != 0 and 'Association Rejected' in output, f'storescu with {words[0]}: {output[-400:]}')
        same(send('ANY', *words)[0], 0, f'storescu with {words[0]} where no user is required')


def slow_hashes(it, passcode):
    """Passcodes that are being checked delay nobody else: an open association answers while eight of them are under way."""
    answer = propose(it.port, [(scu.VERIFICATION, [IMPLICIT])])
    peer, delays, done = answer.peer, [], threading.Event()
    asking = [threading.Thread(target=lambda: [user(it, 'CHECKED', identity(2, 1, b'anna', passcode)) for _ in range(3)]) for _ in range(8)]
    for thread in asking:
        thread.start()
    threading.Thread(target=lambda: ([t.join() for t in asking], done.set())).start()
    while not done.wait(0.02):
        began = time.monotonic()
        same(peer.echo(), 0, 'C-ECHO while passcodes are checked')
        delays.append(time.monotonic() - began)
    peer.release()
    check(delays, 'no echo was asked meanwhile')
    check(sorted(delays)[len(delays) // 2] < 0.5, f'half of the echoes took {sorted(delays)[len(delays) // 2]:.2f} s or more')
    say(f'{len(delays)} echoes while 24 passcodes were checked, the slowest {max(delays) * 1000:.0f} ms')


# ---- settings -----------------------------------------------------------------------------------------------------------------------------
def wrong_settings(it):
    it.stop()
    it.ctl('config')  # nothing is wrong yet
    for line, words in (('transfer_syntaxes = lossles', ('transfer_syntaxes', 'lossles')), ('supported_sop_class_uids = CTImage', ('supported_sop_class_uids', 'CTImage')),
                        ('[ae X]\nrefused_sop_classes = CTImageStorage, what', ('refused_sop_classes', 'what')), ('ae_title = A, SEVENTEEN_LETTERS', ('ae_title', 'SEVENTEEN_LETTERS'))):
        it.configure()
        with open(os.path.join(it.home, 'storescp.conf'), 'a') as f:
            f.write(line + '\n')
        done = subprocess.run([it.program('storescp-receiver'), '--home', it.home], capture_output=True, text=True, timeout=20, env=clean_environment())
        same(done.returncode, 78, f'exit code with {line!r}')
        told = subprocess.run([it.program('storescpctl'), '--home', it.home, 'config'], capture_output=True, text=True, timeout=20, env=clean_environment())
        check(told.returncode == 1 and all(w in told.stderr for w in words), f'what storescpctl config says about {line!r}: {told.stderr}')
        problems = json.loads(it.ctl('config', '--json', code=1))['problems']
        check(len(problems) == 1 and all(w in problems[0] for w in words), f'problems of storescpctl config: {problems}')
        check(all(w in done.stderr for w in words) and re.search(r'storescp\.conf line \d+', done.stderr), f'what is said about {line!r}: {done.stderr}')


def test(build):
    with Installation(build, 'negotiation', counts={'validator': 0, 'uploader': 0, 'importer': 0}) as it:
        it.study = make_study(os.path.join(it.work, 'study'), 4, 2000, 3)
        for part in (titles, sop_classes, transfer_syntaxes, numbers, roles, extended_negotiation, window, pipelined, users, wrong_settings):
            began = time.monotonic()
            part(it)
            say(f'{part.__name__}: {time.monotonic() - began:.1f} s')


if __name__ == '__main__':
    main(test)
