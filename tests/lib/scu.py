"""scu - a small C-STORE sender (pure Python) that sends files byte for byte and knows exactly what was acknowledged.

DCMTK's senders parse what they send, refuse malformed files, and give up a whole list when one association breaks; a crash test
needs the opposite. One Association is one TCP connection and belongs to one thread. Every wait has a limit.
"""
import collections
import socket
import struct

VERIFICATION = '1.2.840.10008.1.1'
SECONDARY_CAPTURE = '1.2.840.10008.5.1.4.1.1.7'
IMPLICIT_LE = '1.2.840.10008.1.2'

Part10 = collections.namedtuple('Part10', 'sop_class sop_instance syntax data')


class Refused(Exception):
    """The peer said no: association rejected, context refused, or aborted. transient: the same may work a moment later."""

    def __init__(self, text, transient=False):
        super().__init__(text)
        self.transient = transient


def read_part10(path):
    """Reads the file meta information only; what it lacks gets a harmless default so that the data set can still be sent."""
    with open(path, 'rb') as f:
        b = f.read()
    found, p = {}, 0
    if b[128:132] == b'DICM':
        p = 132
        while p + 8 <= len(b):
            group, number = struct.unpack('<HH', b[p:p + 4])
            if group != 2:
                break
            if b[p + 4:p + 6] in (b'OB', b'UN', b'OW', b'SQ', b'UT'):
                n, p = struct.unpack('<I', b[p + 8:p + 12])[0], p + 12
            else:
                n, p = struct.unpack('<H', b[p + 6:p + 8])[0], p + 8
            found[number] = b[p:p + n].rstrip(b'\0 ').decode('latin1')
            p += n
    return Part10(found.get(2) or SECONDARY_CAPTURE, found.get(3) or '1.2.3.4.5', found.get(0x10) or IMPLICIT_LE, b[p:])


def _item(kind, value):
    return struct.pack('>BBH', kind, 0, len(value)) + value


def _element(number, value):
    if len(value) % 2:
        value += b'\0'
    return struct.pack('<HHI', 0, number, len(value)) + value


class Association:
    """contexts: list of (abstract syntax, transfer syntax), at most 128. Raises Refused or OSError (EOFError is turned into it).
    source: the address to come from; preamble: bytes that go in front of everything."""

    def __init__(self, host, port, contexts, calling='TESTSCU', called='STORESCP', timeout=30, source=None, preamble=b''):
        self.socket = socket.create_connection((host, port), timeout, (source, 0) if source else None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(preamble)
        self.message, self.comment = 0, ''  # comment: (0000,0902) of the last answer
        try:
            self._associate(contexts, calling, called)
        except BaseException:
            self.socket.close()
            raise

    def _associate(self, contexts, calling, called):
        body = struct.pack('>HH', 1, 0) + called.ljust(16).encode('latin1') + calling.ljust(16).encode('latin1') + bytes(32)
        body += _item(0x10, b'1.2.840.10008.3.1.1.1')
        for i, (abstract, syntax) in enumerate(contexts):
            body += _item(0x20, bytes((2 * i + 1, 0, 0, 0)) + _item(0x30, abstract.encode('latin1')) + _item(0x40, syntax.encode('latin1')))
        body += _item(0x50, _item(0x51, struct.pack('>I', 131072)) + _item(0x52, b'2.25.7') + _item(0x55, b'TESTSCU'))
        self._send(1, body)
        kind, answer = self._receive()
        if kind == 3:
            raise Refused(f'association rejected: {answer[:4].hex()}', transient=answer[1] == 2)
        if kind != 2:
            raise Refused(f'no association: PDU {kind}', transient=True)
        self.accepted, self.maximum, p = {}, 16384, 68
        while p + 4 <= len(answer):
            item, n = answer[p], struct.unpack('>H', answer[p + 2:p + 4])[0]
            value = answer[p + 4:p + 4 + n]
            if item == 0x21 and value[2] == 0:
                self.accepted[contexts[(value[0] - 1) // 2]] = value[0]
            if item == 0x50 and value[:1] == b'\x51':
                self.maximum = struct.unpack('>I', value[4:8])[0] or 131072
            p += 4 + n

    def _send(self, kind, body):
        self.socket.sendall(struct.pack('>BBI', kind, 0, len(body)) + body)

    def _exactly(self, n):
        parts = bytearray()
        while len(parts) < n:
            got = self.socket.recv(n - len(parts))
            if not got:
                raise ConnectionResetError('the peer closed the connection')
            parts += got
        return bytes(parts)

    def _receive(self):
        kind, _, n = struct.unpack('>BBI', self._exactly(6))
        if n > 1 << 20:
            raise OSError(f'PDU of {n} bytes')
        return kind, self._exactly(n)

    def _command(self, context, elements):
        body = b''.join(_element(*e) for e in elements)
        body = _element(0, struct.pack('<I', len(body))) + body
        self._send(4, struct.pack('>IBB', len(body) + 2, context, 3) + body)

    def _status(self):
        kind, answer = self._receive()
        if kind == 7:
            raise Refused('association aborted by the peer', transient=True)
        if kind != 4:
            raise Refused(f'PDU {kind} instead of an answer', transient=True)
        p, status, self.comment = 6, None, ''
        while p + 8 <= len(answer):
            group, number, n = struct.unpack('<HHI', answer[p:p + 8])
            if (group, number) == (0, 0x900):
                status = struct.unpack('<H', answer[p + 8:p + 10])[0]
            if (group, number) == (0, 0x902):
                self.comment = answer[p + 8:p + 8 + n].decode('latin1').rstrip('\0 ')
            p += 8 + n
        if status is None:
            raise OSError('an answer without a status')
        return status

    def echo(self):
        self.message = self.message % 65535 + 1
        context = self.accepted[VERIFICATION, IMPLICIT_LE]
        self._command(context, [(2, VERIFICATION.encode()), (0x100, b'\x30\0'), (0x110, struct.pack('<H', self.message)), (0x800, b'\1\1')])
        return self._status()

    def store(self, part10, pdv_bytes=None, priority=0):
        """-> C-STORE status; 0 means that the peer promised to keep it. priority: 0 medium, 1 high, 2 low."""
        context = self.accepted.get((part10.sop_class, part10.syntax))
        if context is None:
            raise Refused(f'presentation context refused: {part10.sop_class} {part10.syntax}')
        self.message = self.message % 65535 + 1
        self._command(context, [(2, part10.sop_class.encode('latin1')), (0x100, b'\1\0'), (0x110, struct.pack('<H', self.message)),
                                (0x700, struct.pack('<H', priority)), (0x800, b'\1\0'), (0x1000, part10.sop_instance.encode('latin1'))])
        room = min(pdv_bytes or self.maximum - 6, self.maximum - 6)
        for p in range(0, max(1, len(part10.data)), room):
            piece = part10.data[p:p + room]
            last = p + room >= len(part10.data)
            self._send(4, struct.pack('>IBB', len(piece) + 2, context, 2 if last else 0) + piece)
        return self._status()

    def release(self):
        try:
            self._send(5, bytes(4))
            self._receive()
        except OSError:
            pass
        self.close()

    def close(self):
        self.socket.close()


def store_file(host, port, path, timeout=30):
    """One file on an association of its own -> status."""
    part10 = read_part10(path)
    association = Association(host, port, [(part10.sop_class, part10.syntax)], timeout=timeout)
    try:
        status = association.store(part10)
        association.release()
        return status
    finally:
        association.close()
