"""commitment - the sender's side of Storage Commitment (PS3.4 annex J) in pure Python: asks on an association of scu.py, hears the report there, or
listens for it on a port of its own. It can misbehave on purpose. Every wait has a limit."""
import queue
import socket
import struct
import threading
import time

import scu

CLASS, INSTANCE = '1.2.840.10008.1.20.1', '1.2.840.10008.1.20.1.1'
IMPLICIT_LE, EXPLICIT_LE = '1.2.840.10008.1.2', '1.2.840.10008.1.2.1'
PROCESSING_FAILURE, NO_SUCH_INSTANCE, CLASS_CONFLICT, DUPLICATE_TRANSACTION, RESOURCE_LIMITATION = 0x110, 0x112, 0x119, 0x131, 0x213


def element(group, number, vr, value, explicit):
    if len(value) % 2:
        value += b'\0'
    head = struct.pack('<HH', group, number)
    if not explicit:
        return head + struct.pack('<I', len(value)) + value
    if vr == b'SQ':
        return head + vr + struct.pack('<HI', 0, len(value)) + value
    return head + vr + struct.pack('<H', len(value)) + value


def action_information(transaction, references, explicit):
    items = []
    for sop_class, sop_instance in references:
        item = element(8, 0x1150, b'UI', sop_class.encode(), explicit) + element(8, 0x1155, b'UI', sop_instance.encode(), explicit)
        items += [struct.pack('<HHI', 0xfffe, 0xe000, len(item)), item]
    return element(8, 0x1195, b'UI', transaction.encode(), explicit) + element(8, 0x1199, b'SQ', b''.join(items), explicit)


def read_elements(b, explicit):
    """-> {(group, number): value}; a sequence is a list of such"""
    found, p = {}, 0
    while p + 8 <= len(b):
        group, number = struct.unpack('<HH', b[p:p + 4])
        if explicit and b[p + 4:p + 6] in (b'SQ', b'OB', b'OW', b'UN'):
            n, p = struct.unpack('<I', b[p + 8:p + 12])[0], p + 12
        elif explicit:
            n, p = struct.unpack('<H', b[p + 6:p + 8])[0], p + 8
        else:
            n, p = struct.unpack('<I', b[p + 4:p + 8])[0], p + 8
        value, p = b[p:p + n], p + n
        if number in (0x1198, 0x1199):
            items, q = [], 0
            while q + 8 <= n:
                length = struct.unpack('<I', value[q + 4:q + 8])[0]
                items.append(read_elements(value[q + 8:q + 8 + length], explicit))
                q += 8 + length
            value = items
        found[group, number] = value
    return found


def text(value):
    return value.rstrip(b'\0 ').decode()


class Report:
    """What an N-EVENT-REPORT says: type, transaction, committed (list of instance UIDs), failed ({instance UID: reason})."""

    def __init__(self, command, data, explicit):
        found = read_elements(data, explicit)
        self.type = struct.unpack('<H', command[0, 0x1002])[0]
        self.sop_class, self.sop_instance = text(command[0, 2]), text(command[0, 0x1000])
        self.transaction = text(found[8, 0x1195])
        self.committed = [text(i[8, 0x1155]) for i in found.get((8, 0x1199), [])]
        self.failed = {text(i[8, 0x1155]): struct.unpack('<H', i[8, 0x1197])[0] for i in found.get((8, 0x1198), [])}


def read_message(association):
    """One DIMSE message from an object with _receive() -> (context, command elements, data)"""
    command, data, context, done = b'', b'', None, False
    while not done:
        kind, body = association._receive()
        if kind in (5, 6, 7):
            raise EOFError(f'PDU {kind} instead of a message')
        p = 0
        while p < len(body):
            n, context, control = struct.unpack('>IBB', body[p:p + 6])
            piece, p = body[p + 6:p + 4 + n], p + 4 + n
            if control & 1:
                command += piece
                if control & 2:
                    elements = read_elements(command, False)
                    done = elements[0, 0x800] == b'\1\1'
            else:
                data += piece
                done = bool(control & 2)
    return context, elements, data


def ask(association, transaction, references, syntax=EXPLICIT_LE, data=None, action=1, sop_class=CLASS, sop_instance=INSTANCE, data_type=b'\1\0'):
    """N-ACTION on an open association -> status. data: action information of one's own."""
    context = association.accepted[CLASS, syntax]
    association.message = association.message % 65535 + 1
    association._command(context, [(3, sop_class.encode()), (0x100, b'\x30\1'), (0x110, struct.pack('<H', association.message)), (0x800, data_type),
                                   (0x1001, sop_instance.encode()), (0x1008, struct.pack('<H', action))])
    if data is None:
        data = action_information(transaction, references, syntax == EXPLICIT_LE)
    if data_type != b'\1\1':
        room = association.maximum - 6
        for p in range(0, max(1, len(data)), room):
            piece = data[p:p + room]
            association._send(4, struct.pack('>IBB', len(piece) + 2, context, 2 if p + room >= len(data) else 0) + piece)
    _, command, _ = read_message(association)
    assert command[0, 0x100] == b'\x30\x81', command
    return struct.unpack('<H', command[0, 0x900])[0]


def answer(association, context, command, status):
    association._command(context, [(2, CLASS.encode()), (0x100, b'\0\x81'), (0x120, command[0, 0x110]), (0x800, b'\1\1'),
                                   (0x900, struct.pack('<H', status)), (0x1000, INSTANCE.encode())])


def hear(association, syntax=EXPLICIT_LE, status=0, seconds=30):
    """Waits for a report on the association and answers it."""
    association.socket.settimeout(seconds)
    context, command, data = read_message(association)
    assert command[0, 0x100] == b'\0\1', command
    if status is not None:
        answer(association, context, command, status)
    return Report(command, data, syntax == EXPLICIT_LE)


def connect(port, calling, syntax=EXPLICIT_LE, more=()):
    return scu.Association('127.0.0.1', port, [(CLASS, syntax), *more], calling=calling)


class _Accepted:
    def __init__(self, sock):
        self.socket = sock
        sock.settimeout(30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    _send, _exactly, _receive, _command = scu.Association._send, scu.Association._exactly, scu.Association._receive, scu.Association._command


class Listener:
    """The port on which a sender hears reports; each is put into .reports with the association's titles in .titles. manner: what it does wrong:
    'reject', 'refuse' (the context), 'no-role', 'silent' (no answer to the report), 'abort', 'mute' (no answer to the association)."""

    def __init__(self, port=0, syntax=EXPLICIT_LE, status=0, manner=None, maximum=16384):
        self.syntax, self.status, self.manner, self.maximum = syntax, status, manner, maximum
        self.reports, self.titles, self.associations = queue.Queue(), [], 0
        self.listener = socket.create_server(('127.0.0.1', port))
        self.port = self.listener.getsockname()[1]
        self.roles = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.associations += 1
            try:
                self._serve(_Accepted(sock))
            except (OSError, EOFError):
                pass
            sock.close()

    def _serve(self, a):
        kind, body = a._receive()
        assert kind == 1, kind
        self.titles.append((body[4:20].decode().strip(), body[20:36].decode().strip()))
        self.roles.append(body[body.index(b'\x54\0') + 4:][2 + len(CLASS):][:2])
        assert CLASS.encode() in body
        if self.manner == 'mute':
            time.sleep(30)
        if self.manner == 'reject':
            return a._send(3, bytes((0, 1, 1, 3)))
        result = 3 if self.manner == 'refuse' else 0
        user = scu._item(0x51, struct.pack('>I', self.maximum)) + scu._item(0x52, b'2.25.8')
        role = struct.pack('>H', len(CLASS)) + CLASS.encode() + (b'\0\0' if self.manner == 'no-role' else b'\0\1')
        user += scu._item(0x54, role) if self.manner != 'no-word-of-roles' else b''
        a._send(2, body[:68] + scu._item(0x10, b'1.2.840.10008.3.1.1.1') +
                scu._item(0x21, bytes((1, 0, result, 0)) + scu._item(0x40, self.syntax.encode())) + scu._item(0x50, user))
        context, command, data = read_message(a)
        report = Report(command, data, self.syntax == EXPLICIT_LE)
        if self.manner == 'abort':
            return a._send(7, bytes(4))
        if self.manner == 'silent':
            time.sleep(30)
        answer(a, context, command, self.status)
        self.reports.put(report)
        kind, _ = a._receive()
        assert kind == 5, kind
        a._send(6, bytes(4))

    def next(self, seconds=30):
        try:
            return self.reports.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError(f'no report within {seconds} s') from None

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)  # close() alone leaves the port open while accept() waits
        self.listener.close()
