#!/usr/bin/env python3
"""door_test BUILD_DIR - who may connect: addresses, PROXY headers (raw, and HAProxy with its health checks), limits across associations, and
those who connect and say nothing. Through real sockets on loopback; 127.0.0.2 plays a trusted balancer, 127.0.0.3 one that is not.

Guards: one idle connection held an association process; a health probe every two seconds filled the log; behind a balancer every
association had the balancer's address."""
import ipaddress
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Failure, Installation, check, clean_environment, free_port, main, make_study, run_tool, same, say, until  # noqa: E402
import scu  # noqa: E402

CT, EXPLICIT_LE = '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1'
CONTEXTS = [(CT, EXPLICIT_LE), (scu.VERIFICATION, scu.IMPLICIT_LE)]
BALANCER, STRANGER = '127.0.0.2', '127.0.0.3'
SIGNATURE = b'\r\n\r\n\0\r\nQUIT\n'


# ---- what a balancer puts in front ----------------------------------------------------------------------------------------------------
def v1(source):
    family = 6 if ':' in source else 4
    return f'PROXY TCP{family} {source} {"::1" if family == 6 else "127.0.0.1"} 40000 11112\r\n'.encode()


def v2(source, more=b'', command=1):
    address = ipaddress.ip_address(source)
    target = ipaddress.ip_address('::1' if address.version == 6 else '127.0.0.1')
    body = address.packed + target.packed + struct.pack('>HH', 40000, 11112) + more
    return SIGNATURE + struct.pack('>BBH', 0x20 | command, 0x11 if address.version == 4 else 0x21, len(body)) + body


LOCAL = SIGNATURE + b'\x20\0\0\0'


class Door:
    """One installation with a receiver only, and what was asked of it."""

    def __init__(self, build, name, settings, sections=''):
        self.it = Installation(build, name, dict({'spare_associations': 4, 'acse_timeout': 20}, **settings),
                               {'validator': 0, 'uploader': 0, 'importer': 0})
        self.add_sections(sections)

    def add_sections(self, sections):
        with open(os.path.join(self.it.home, 'storescp.conf'), 'a') as f:
            f.write(sections)

    def __enter__(self):
        self.it.__enter__()
        self.it.start_up()
        self.files = [scu.read_part10(p) for p in make_study(os.path.join(self.it.work, 'study'), 40, 2000, 3)]
        return self

    def __exit__(self, *what):
        return self.it.__exit__(*what)

    def again(self, sections='', **settings):
        """Stops, starts with other settings."""
        self.it.stop()
        self.it.configure(**settings)
        self.add_sections(sections)
        self.it.start_up()

    def associate(self, source=None, preamble=b'', calling='TESTSCU', host='127.0.0.1'):
        return scu.Association(host, self.it.port, CONTEXTS, calling, timeout=20, source=source, preamble=preamble)

    def connect(self, source=None, host='127.0.0.1'):
        s = socket.create_connection((host, self.it.port), 20, (source, 0) if source else None)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def peer_of_store(self, **how):
        """Stores one instance; -> the peer's address in the row of its association."""
        before = self.it.one('SELECT count(*) FROM association')
        association = self.associate(**how)
        same(association.store(self.files[before % len(self.files)]), 0, f'status of a store ({how})')
        association.release()
        until(lambda: self.it.one('SELECT count(*) FROM association') > before, 10, 'the row of the association')
        return self.it.one('SELECT peer FROM association ORDER BY ended_ms DESC, rowid DESC LIMIT 1')

    def closed(self, what, **how):
        """The connection is ended without any answer."""
        try:
            self.associate(**how).close()
        except OSError:
            return
        except scu.Refused as why:
            raise Failure(f'{what}: answered with {why}')
        raise Failure(f'{what}: accepted')

    def rejected(self, answer, what, **how):
        try:
            self.associate(**how).close()
        except scu.Refused as why:
            same(str(why)[-6:], answer, f'rejection of {what}')
            return
        raise Failure(f'{what}: accepted')

    def log(self, pattern):
        with open(self.it.log_path, errors='replace') as f:
            return [line for line in f if re.search(pattern, line)]

    def told_once(self, pattern):
        same(len(self.log(pattern)), 1, f'lines of the log with {pattern}')

    def figures(self):
        """{'associations': 0, 'waiting': 3, ...} from the worker's row"""
        status = self.it.one("SELECT status FROM worker WHERE stage = 'receiver'")
        return {name: int(value) for name, value in re.findall(r'(associations|waiting|probes|turned away) (\d+)', status)}

    def association_processes(self):
        return sorted(pid for kind, pid in self.it.processes() if kind == 'association')

    def receiver(self):
        return next(pid for kind, pid in self.it.processes() if kind == 'receiver')


def rss_kb(pid):
    with open(f'/proc/{pid}/status') as f:
        return int(re.search(r'VmRSS:\s+(\d+)', f.read()).group(1))


def cpu_s(pid):
    fields = open(f'/proc/{pid}/stat').read().rsplit(') ', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


# ---- PROXY headers ----------------------------------------------------------------------------------------------------------------------
def proxy_headers(build):
    sections = '[ae CT1]\nallowed_addresses = 192.0.2.0/25\n'
    with Door(build, 'door-proxy', {'proxy_protocol': 'optional', 'proxy_trusted': '127.0.0.2, 2001:db8:ffff::/48',
                                    'allowed_addresses': '127.0.0.0/8, 192.0.2.0/24 2001:db8::/32'}, sections) as d:
        for name, header, peer in (('v1', v1('192.0.2.7'), '192.0.2.7'), ('v1 IPv6', v1('2001:db8::7'), '2001:db8::7'),
                                   ('v1 unknown', b'PROXY UNKNOWN\r\n', BALANCER), ('v2', v2('192.0.2.8'), '192.0.2.8'),
                                   ('v2 IPv6', v2('2001:db8::8'), '2001:db8::8'), ('v2 with TLVs', v2('192.0.2.9', b'\4\x01\x2c' + bytes(300)), '192.0.2.9'),
                                   ('v2 local', LOCAL, BALANCER), ('v2 local with addresses', v2('192.0.2.10', command=0), BALANCER),
                                   ('nothing', b'', BALANCER)):
            same(d.peer_of_store(source=BALANCER, preamble=header), peer, f'peer behind a header {name}')
        same(d.peer_of_store(), '127.0.0.1', 'peer of a direct sender')
        slow(d)
        # not believed, not even answered; the log names it once
        for _ in range(3):
            d.closed('a header from a stranger', source=STRANGER, preamble=v2('192.0.2.7'))
        d.closed('a header from a stranger', source=STRANGER, preamble=v1('192.0.2.7'))
        d.told_once(r'connection_refused peer=127\.0\.0\.3 reason="PROXY header not expected".*proxy_trusted')
        for _ in range(2):
            d.closed('an address that is not allowed', source=BALANCER, preamble=v2('203.0.113.9'))
        d.told_once(r'connection_refused peer=203\.0\.113\.9 reason="address not allowed".*allowed_addresses')
        for header in (SIGNATURE + b'\x21\x11\0\4abcd', SIGNATURE + b'\x21\x11\xff\xff', b'PROXY TCP4 1.2.3.4\r\n', b'PROXY ' + b'A' * 200):
            d.closed(f'a broken header {header[:30]}', source=BALANCER, preamble=header)
        d.told_once(r'connection_refused peer=127\.0\.0\.2 reason="PROXY header broken"')
        # an AE title bound to addresses: the true ones count
        same(d.peer_of_store(source=BALANCER, preamble=v2('192.0.2.7'), calling='CT1'), '192.0.2.7', 'peer of CT1')
        for _ in range(2):
            d.rejected('010103', 'CT1 from an address that is not its own', source=BALANCER, preamble=v2('192.0.2.200'), calling='CT1')
        d.rejected('010103', 'CT1 without the balancer', calling='CT1')
        d.told_once(r'association_rejected peer=192\.0\.2\.200 calling_ae="CT1" .*answer=1/1/3 .*allowed_addresses')

        d.again(proxy_protocol='required')
        d.closed('a balancer without a header', source=BALANCER)
        d.told_once(r'peer=127\.0\.0\.2 reason="a balancer without PROXY header".*send-proxy')
        same(d.peer_of_store(source=BALANCER, preamble=v1('192.0.2.7')), '192.0.2.7', 'peer behind a required header')
        same(d.peer_of_store(source=STRANGER), STRANGER, 'peer of a direct sender while balancers need a header')
        d.again(proxy_protocol='off')
        d.closed('a header while they are off', source=BALANCER, preamble=v1('192.0.2.7'))
        d.told_once(r'peer=127\.0\.0\.2 reason="PROXY header not expected".*proxy_protocol = optional')
        d.again(allowed_addresses='127.0.0.1, 192.0.2.0/24')
        s = d.connect('127.0.0.5')
        same(s.recv(10), b'', 'what a stranger hears before it spoke')
        d.told_once(r'peer=127\.0\.0\.5 reason="address not allowed"')
        # lists are read anew by a reload; contradictions leave what was
        d.it.configure(allowed_addresses='127.0.0.5')
        d.it.ctl('reload')
        until(lambda: d.log('settings_reloaded'), 10, 'the settings are reloaded')
        same(d.peer_of_store(source='127.0.0.5'), '127.0.0.5', 'peer that a reload lets in')
        same(d.connect().recv(10), b'', 'what the address hears that the reload shuts out')
        d.it.configure(allowed_addresses='', proxy_protocol='required', proxy_trusted='')
        d.it.ctl('reload')
        until(lambda: d.log('proxy_trusted names no balancer'), 10, 'the contradiction is told')
        same(d.connect().recv(10), b'', 'what is shut out after a reload that failed')
        d.it.stop()
        d.it.check_invariants()


def slow(d):
    """Header and request byte by byte: they are the balancer's and the peer's right."""
    s = d.connect(BALANCER)
    for byte in v2('192.0.2.11') + b'\1':
        s.sendall(bytes((byte,)))
    association = scu.Association.__new__(scu.Association)
    association.socket, association.message = s, 0

    def send(kind, body, real=association._send):
        if kind != 1:
            return real(kind, body)
        for byte in (struct.pack('>BBI', kind, 0, len(body)) + body)[1:]:
            s.sendall(bytes((byte,)))
    association._send = send
    association._associate(CONTEXTS, 'TESTSCU', 'STORESCP')
    same(association.echo(), 0, 'C-ECHO on an association whose request came byte by byte')
    association.release()


def wrong_settings(build):
    with Installation(build, 'door-wrong', {}) as it:
        for settings, words in (({'allowed_addresses': '10.1.2.3/8'}, '10.1.2.3/8'), ({'allowed_addresses': '10.0.0.0/33'}, '32 bits'),
                                ({'allowed_addresses': '', 'proxy_trusted': 'balancer.example'}, 'balancer.example')):
            it.configure(**settings)
            done = subprocess.run([it.program('storescpctl'), '--home', it.home, 'config'], capture_output=True, text=True, timeout=60, env=clean_environment())
            same(done.returncode, 1, f'exit code of storescpctl config with {settings}')
            check(words in done.stdout + done.stderr, f'storescpctl config does not name {words}: {done.stderr}')
        it.configure(proxy_trusted='', proxy_protocol='required')
        done = subprocess.run([it.program('storescp-receiver'), '--home', it.home], capture_output=True, text=True, timeout=60, env=clean_environment())
        same(done.returncode, 78, 'exit code of a receiver with proxy_protocol and nobody trusted')
        check('proxy_trusted' in done.stderr, 'the setting is not named')


# ---- HAProxy ------------------------------------------------------------------------------------------------------------------------------
def haproxy(build):
    program = shutil.which('haproxy') or ('/usr/sbin/haproxy' if os.path.exists('/usr/sbin/haproxy') else None)
    if not program:
        say('left out: HAProxy is not here (apt-get install haproxy)')
        return
    with Door(build, 'door-haproxy', {'proxy_protocol': 'required', 'proxy_trusted': BALANCER}) as d:
        for option in ('send-proxy-v2', 'send-proxy'):
            balance(d, program, option)
        d.it.stop()
        d.it.check_invariants()


def balance(d, program, option):
    port, path = free_port(), os.path.join(d.it.work, 'haproxy.cfg')
    with open(path, 'w') as f:
        f.write(f'''global
  maxconn 100
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen dicom
  bind 127.0.0.1:{port}
  server one 127.0.0.1:{d.it.port} source {BALANCER} {option} check inter 100ms check-send-proxy
  server two 127.0.0.1:{d.it.port} source {BALANCER} {option} check inter 100ms
''')
    processes, probes, lines = d.association_processes(), d.figures().get('probes', 0), len(d.log(' (info|warning|error) '))
    balancer = subprocess.Popen([program, '-db', '-f', path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: d.figures().get('probes', 0) >= probes + 20, 20, 'health checks are counted')
        same(d.association_processes(), processes, f'association processes after health checks ({option})')
        same(d.log(' (info|warning|error) ')[lines:], [], f'lines of the log about health checks ({option})')
        same(d.figures()['turned away'], 0, 'turned away of health checks')
        before = d.it.one('SELECT count(*) FROM association')
        association = scu.Association('127.0.0.1', port, CONTEXTS, source='127.0.0.9')
        same(association.store(d.files[before % len(d.files)]), 0, 'status through the balancer')
        association.release()
        until(lambda: d.it.one('SELECT count(*) FROM association') == before + 1, 10, 'the row of the association')
        same(d.it.one('SELECT peer FROM association ORDER BY ended_ms DESC LIMIT 1'), '127.0.0.9', f'true address through {option}')
        code, output = run_tool('echoscu', '127.0.0.1', str(port))
        same(code, 0, f'echoscu through the balancer ({output.strip()})')
    finally:
        balancer.terminate()
        balancer.wait(10)
    say(f'HAProxy {option}: {d.figures()["probes"] - probes} health checks, no process, no line')


# ---- limits -----------------------------------------------------------------------------------------------------------------------------------
def limits(build):
    sections = '[ae ONE]\nassociations_per_ae = 1\n[ae STAT*]\npriority = true\n'
    with Door(build, 'door-limits', {'maximum_associations': 6, 'priority_reserve': 2, 'associations_per_ae': 3}, sections) as d:
        one = d.associate(calling='ONE')
        d.rejected('020302', 'a second association of ONE', calling='ONE')
        d.rejected('020302', 'a second association of ONE, title with spaces', calling='  ONE ')
        d.told_once(r'association_rejected .*calling_ae="ONE" .*answer=2/3/2 .*associations_per_ae')
        one.release()
        for k in range(30):  # a place is free as soon as its association has ended
            association = d.associate(calling='ONE')
            same(association.echo(), 0, 'C-ECHO')
            association.release()
        many = [d.associate(calling='A') for _ in range(3)]
        d.rejected('020302', 'a fourth association of A', calling='A')
        many.append(d.associate(calling='B'))
        d.rejected('020302', 'a fifth association, the rest is kept', calling='C')
        d.told_once(r'association_rejected .*calling_ae="C" .*priority_reserve')
        many += [d.associate(calling=f'STAT{k}') for k in range(2)]
        d.rejected('020302', 'a seventh association, with priority', calling='STAT9')
        d.told_once(r'association_rejected .*calling_ae="STAT9" .*maximum_associations')
        same([a.echo() for a in many], [0] * 6, 'C-ECHO on each that stands')
        check(len(d.association_processes()) <= 6 + 4, 'more processes than maximum_associations and four')
        # many at once beyond the limit: each is answered, none hangs
        crowd = [d.connect() for _ in range(40)]
        request = request_bytes('C')
        for s in crowd:
            s.sendall(request)
        same({s.recv(10).hex() for s in crowd}, {'03000000000400020302'}, 'answers beyond the limit')
        for s in crowd:
            s.close()
        for a in many:
            a.release()
        until(lambda: d.figures()['associations'] == 0, 10, 'all have ended')
        d.again(associations_per_address=2, associations_per_ae=0, maximum_associations=300, priority_reserve=0)
        here = [d.associate(source='127.0.0.7') for _ in range(2)]
        d.rejected('020302', 'a third association from one address', source='127.0.0.7')
        d.told_once(r'connection_refused peer=127\.0\.0\.7 .*associations_per_address')
        d.associate(source='127.0.0.8').release()
        here.pop().release()
        for k in range(30):
            d.associate(source='127.0.0.7').release()
        here.pop().release()
        # a rush leaves processes over: they end, and the spare ones stay
        d.again(associations_per_address=0, spare_associations=1)
        many = [d.associate() for _ in range(20)]
        check(len(d.association_processes()) >= 20, 'fewer processes than associations')
        for a in many:
            a.release()
        until(lambda: len(d.association_processes()) <= 2, 30, 'the processes that a rush left over end')
        # idle processes that die take no connection with them
        idle = d.association_processes()
        for pid in idle:
            os.kill(pid, 9)
        until(lambda: not set(idle) & set(d.association_processes()), 10, 'the killed ones are gone')
        for _ in range(10):
            same(d.peer_of_store(), '127.0.0.1', 'peer after the idle processes were killed')
        d.it.stop()
        d.it.check_invariants()


def request_bytes(calling):
    body = struct.pack('>HH', 1, 0) + b'STORESCP'.ljust(16) + calling.ljust(16).encode() + bytes(32) + scu._item(0x10, b'1.2.840.10008.3.1.1.1')
    body += scu._item(0x20, bytes((1, 0, 0, 0)) + scu._item(0x30, CT.encode()) + scu._item(0x40, EXPLICIT_LE.encode()))
    body += scu._item(0x50, scu._item(0x51, struct.pack('>I', 16384)) + scu._item(0x52, b'2.25.7'))
    return struct.pack('>BBI', 1, 0, len(body)) + body


# ---- those who say nothing, or the wrong thing -------------------------------------------------------------------------------------------------
def waiting(build):
    with Door(build, 'door-waiting', {'waiting_connections': 1500, 'waiting_per_address': 1200}) as d:
        until(lambda: len(d.association_processes()) == 4, 10, 'the spare processes stand')
        before = rss_kb(d.receiver())
        idle = [d.connect() for _ in range(1000)]
        until(lambda: d.figures().get('waiting') == 1000, 10, 'a thousand wait')
        cpu, begun = cpu_s(d.receiver()), time.monotonic()
        for k in range(8):
            same(d.peer_of_store(), '127.0.0.1', 'peer of a modality beside a thousand idle connections')
        used = cpu_s(d.receiver()) - cpu
        say(f'1000 idle connections: receiver {rss_kb(d.receiver()) - before} kB more, {used:.2f} s of CPU in {time.monotonic() - begun:.1f} s with 8 stores')
        check(len(d.association_processes()) <= 5, 'more processes than the four spare ones and one that serves')
        check(rss_kb(d.receiver()) - before < 4096, 'a thousand idle connections cost more than 4 MB')
        for s in idle:
            s.close()
        until(lambda: d.figures()['probes'] >= 1000, 10, 'they are counted as probes')
        same(d.log('connection_refused'), [], 'lines about connections that came and left')

        d.again(waiting_connections=60, waiting_per_address=20, acse_timeout=2)
        idle = [d.connect(f'127.0.1.{k}') for k in range(1, 61)]
        late = [d.connect('127.0.2.1') for _ in range(25)]
        same([s.recv(1) for s in late[:5]], [b''] * 5, 'the oldest of one address make room')
        same([s.recv(1) for s in idle[:20]], [b''] * 20, 'the oldest of all make room')
        same(d.peer_of_store(), '127.0.0.1', 'a modality comes through a full waiting room')
        partial = d.connect('127.0.0.6')
        partial.sendall(request_bytes('A')[:50])
        begun = time.monotonic()
        same(partial.recv(1), b'', 'half a request')
        check(1 < time.monotonic() - begun < 4, 'acse_timeout does not hold for half a request')
        d.told_once(r'peer=127\.0\.0\.6 reason="the association request did not come whole"')
        until(lambda: d.figures()['waiting'] == 0, 10, 'the silent ones are gone after acse_timeout')
        same(len(d.log('connection_refused')), len(d.log('made room|did not come whole')), 'lines about silent connections')

        abort, alert = '07000000000400000201', '15030100020228'  # each is told in words that it understands
        for name, content, answer in (('HTTP', b'GET / HTTP/1.1\r\nHost: x\r\n\r\n', abort), ('P-DATA', b'\4\0\0\0\0\4abcd', abort),
                                      ('a greeting of TLS', b'\x16\3\1\0\x20' + bytes(32), alert)):
            for _ in range(2):
                s = d.connect('127.0.0.4')
                s.sendall(content)
                same(s.recv(10).hex(), answer, f'the answer to {name}')
                same(s.recv(1), b'', f'the end after {name}')
        d.told_once(r'peer=127\.0\.0\.4 reason="TLS on the port without TLS".*tls_port')
        d.told_once(r'peer=127\.0\.0\.4 reason="no DICOM association request"')
        same(d.peer_of_store(), '127.0.0.1', 'the next modality')
        # what still waits when the receiver stops is not kept waiting
        silent = d.connect()
        d.it.stop()
        same(silent.recv(1), b'', 'a silent connection at the stop')
        d.it.check_invariants()


def titles(build):
    """Guards a bug: a tab beside a listed title was padding for the list and none for the sections, so the section's rules did not count."""
    with Door(build, 'door-titles', {'require_calling_ae_title': 'CT1'}, '[ae CT1]\nallowed_addresses = 192.0.2.0/25\n') as d:
        for title in ('CT1', ' CT1', '\tCT1', 'CT1\t', '\x0bCT1', 'CT1\x01', 'CT1\r', 'ct1'):
            d.rejected('010103', f'the title {title!r}', calling=title)
        d.it.stop()
        d.it.check_invariants()


def half_requests(build):
    """Guards a bug: 24 requests of one address that stopped in the middle held all 20 places and the four above them for acse_timeout each."""
    with Door(build, 'door-half', {'maximum_associations': 20}) as d:
        stuck = [d.connect(STRANGER) for _ in range(30)]
        for s in stuck:
            s.sendall(b'\1\0' + struct.pack('>I', 200000) + bytes(20000))
        until(lambda: d.figures().get('associations', 0) >= 5, 10, 'some of them are being read')
        for _ in range(5):
            same(d.peer_of_store(), '127.0.0.1', 'a modality beside requests that do not go on')
        until(lambda: d.figures()['turned away'] == 25, 10, 'five have a process, 25 are turned away')
        d.told_once(rf'peer={re.escape(STRANGER)} reason="many requests of this address do not come whole"')
        for s in stuck:
            s.close()
        d.it.stop()
        d.it.check_invariants()


def six(build):
    with Door(build, 'door-six', {'scp_address': '::1', 'allowed_addresses': '::1'}) as d:
        same(d.peer_of_store(host='::1'), '::1', 'peer over IPv6')
        d.again(allowed_addresses='2001:db8::/32')
        s = d.connect(host='::1')
        same(s.recv(1), b'', 'an IPv6 address that is not allowed')
        d.it.stop()
        d.it.check_invariants()


def test(build):
    for part in (wrong_settings, titles, proxy_headers, haproxy, limits, waiting, half_requests, six):
        part(build)


main(test)
