"""negotiate - association requests written by hand and what was answered, item by item (PS3.8 section 9.3, PS3.7 annex D).

    answer = propose(port, [(abstract syntax, [transfer syntax, ...]), ...], user=[(0x53, b'...')])
    answer.kind       'accepted', 'rejected', 'aborted' or 'closed'
    answer.rejection  (result, source, reason)
    answer.contexts   what each proposed context was answered, in the order of the proposal: (result, transfer syntax)
    answer.items      user information: {item type: [content, ...]}
An accepted association is answer.peer, a scu.Association for what follows; answer.close() ends it without a word.
"""
import socket
import struct

import scu

APPLICATION = '1.2.840.10008.3.1.1.1'


class Answer:
    def __init__(self):
        self.kind, self.rejection, self.contexts, self.items, self.peer = 'closed', None, [], {}, None
        self.abort = None

    def close(self):
        self.peer.close()

    def accepted(self, index=0):
        return self.kind == 'accepted' and self.contexts[index][0] == 0


def request(contexts, calling='TESTSCU', called='STORESCP', application=APPLICATION, user=(), maximum=131072, version=1):
    """-> the bytes of an A-ASSOCIATE-RQ. contexts: (abstract, [syntaxes]) or (abstract, [syntaxes], id)."""
    body = struct.pack('>HH', version, 0) + called.ljust(16).encode('latin1') + calling.ljust(16).encode('latin1') + bytes(32)
    body += scu._item(0x10, application.encode())
    for i, (abstract, syntaxes, *number) in enumerate(contexts):
        inner = bytes(((number[0] if number else 2 * i + 1), 0, 0, 0)) + scu._item(0x30, abstract.encode())
        body += scu._item(0x20, inner + b''.join(scu._item(0x40, s.encode()) for s in syntaxes))
    body += scu._item(0x50, scu._item(0x51, struct.pack('>I', maximum)) + scu._item(0x52, b'2.25.7') + b''.join(scu._item(*u) for u in user))
    return struct.pack('>BBI', 1, 0, len(body)) + body


def connect(port, host='127.0.0.1', source=None, timeout=20):
    """A peer that is connected and has said nothing yet."""
    peer = scu.Association.__new__(scu.Association)
    peer.socket = socket.create_connection((host, port), timeout, source_address=(source, 0) if source else None)
    peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.message, peer.accepted, peer.maximum = 0, {}, 16384
    return peer


def _items(content):
    p = 0
    while p + 4 <= len(content):
        n = struct.unpack('>H', content[p + 2:p + 4])[0]
        yield content[p], content[p + 4:p + 4 + n]
        p += 4 + n


def read_answer(peer, contexts):
    a = Answer()
    a.peer = peer
    try:
        kind, body = peer._receive()
    except ConnectionResetError:
        peer.close()
        return a
    if kind == 3:
        a.kind, a.rejection = 'rejected', tuple(body[1:4])
    elif kind == 7:
        a.kind, a.abort = 'aborted', tuple(body[2:4])
    elif kind == 2:
        a.kind, found = 'accepted', {}
        for item, content in _items(body[68:]):
            if item == 0x21:
                syntax = next((c for i, c in _items(content[4:]) if i == 0x40), b'').rstrip(b'\0 ').decode('latin1')
                found[content[0]] = (content[2], syntax)
            elif item == 0x50:
                for kind, value in _items(content):
                    a.items.setdefault(kind, []).append(value)
        for i, (abstract, syntaxes, *number) in enumerate(contexts):
            number = number[0] if number else 2 * i + 1
            a.contexts.append(found.get(number))
            if found.get(number, (1,))[0] == 0:
                peer.accepted[abstract, found[number][1]] = number
        peer.maximum = struct.unpack('>I', a.items[0x51][0])[0] or 131072
    if a.kind != 'accepted':
        peer.close()
    return a


def propose(port, contexts, host='127.0.0.1', source=None, timeout=20, **how):
    peer = connect(port, host, source, timeout)
    try:
        peer.socket.sendall(request(contexts, **how))
        return read_answer(peer, contexts)
    except BaseException:
        peer.close()
        raise
