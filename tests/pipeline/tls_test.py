#!/usr/bin/env python3
"""tls_test BUILD_DIR - TLS at the receiver: DCMTK's senders with each profile, openssl s_client, certificates of every kind of wrong, certificates bound
to AE titles, both ports at once, the wrong protocol on either, and certificates replaced while associations are open. What is refused
is named in the log with its remedy."""
import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import Installation, LeftOut, check, clean_environment, free_port, main, make_study, run_tool, same, until  # noqa: E402
import pki  # noqa: E402
import scu  # noqa: E402
from negotiate import connect, read_answer, request  # noqa: E402
from tls_scu import Secure  # noqa: E402


class Place:
    """The authorities, their certificates, and where the receiver finds them."""

    def __init__(self, it):
        self.it, self.directory = it, os.path.join(it.work, 'pki')
        os.mkdir(self.directory)
        self.ca, self.other = pki.Authority(self.directory, 'ours'), pki.Authority(self.directory, 'others')
        self.server = self.ca.issue('receiver', names='DNS:localhost,IP:127.0.0.1')
        self.ct1, self.mr7, self.free = (self.ca.issue(n, names=f'DNS:{n}.example') for n in ('ct1', 'mr7', 'free'))
        self.trusted = os.path.join(it.home, 'ca')
        os.mkdir(self.trusted)
        shutil.copy(self.ca.certificate, self.trusted)
        self.lists = os.path.join(it.home, 'crl')
        os.mkdir(self.lists)
        self.crl = os.path.join(self.lists, 'ours.pem')
        self.ca.list(self.crl)
        self.install(self.server)

    def install(self, pair):
        """As an administrator does it: one file after the other."""
        for source, target in ((pair.certificate, 'server.pem'), (pair.key, 'server.key')):
            path = os.path.join(self.it.home, target)
            shutil.copy(source, path + '.new')
            os.chmod(path + '.new', 0o600)
            os.rename(path + '.new', path)

    def tool(self, name, port, own, *options, calling=None, files=()):
        return run_tool(name, '+tls', own.key, own.certificate, '+cf', self.ca.certificate, *(('-aet', calling) if calling else ()), *options, '127.0.0.1', str(port), *files)


class Log:
    """What the log says from now on."""

    def __init__(self, it):
        self.path = it.log_path
        self.mark()

    def mark(self):
        self.at = os.path.getsize(self.path) if os.path.exists(self.path) else 0

    def text(self):
        with open(self.path, errors='replace') as f:
            f.seek(self.at)
            return f.read()

    def wait(self, *words, seconds=10):
        """One line that holds all the words; then goes on behind what is there."""
        def found():
            return [line for line in self.text().splitlines() if all(w in line for w in words)]
        lines = until(found, seconds, f'a line with {words}')
        self.mark()
        return lines[0]


def refused(own, port, ca, calling='TESTSCU'):
    """True when no association comes about, by whatever way."""
    try:
        Secure(port, own, ca, calling).release()
    except (OSError, ssl.SSLError, scu.Refused):
        return True
    return False


def s_client(port, *words):
    done = subprocess.run(['openssl', 's_client', '-connect', f'127.0.0.1:{port}', *words], input='', capture_output=True, text=True, timeout=30, env=clean_environment())
    return done.returncode, done.stdout + done.stderr


def profiles(place, port, files):
    for profile in ('+py', '+px', '+pz'):
        code, output = place.tool('echoscu', port, place.ct1, profile, calling='CT1')
        same(code, 0, f'echoscu {profile}: {output[-300:]}')
    code, output = place.tool('storescu', port, place.ct1, calling='CT1', files=files[:1])
    same(code, 0, f'storescu +tls: {output[-300:]}')


def versions(place, port, log):
    own = ['-cert', place.ct1.certificate, '-key', place.ct1.key, '-CAfile', place.ca.certificate]
    for version, name in (('-tls1_2', 'TLSv1.2'), ('-tls1_3', 'TLSv1.3')):
        code, output = s_client(port, version, *own)
        check(code == 0 and re.search(rf'{name.replace(".", "[.]")}', output) and 'Verify return code: 0' in output, f'{version}: {code} {output[-800:]}')
    log.mark()
    code, output = s_client(port, '-tls1_1', '-cipher', 'DEFAULT@SECLEVEL=0', *own)
    check('alert protocol version' in output, f'TLS 1.1 is refused by an alert: {output[-500:]}')
    log.wait('tls_refused', 'tls_minimum', 'update the peer')
    log.mark()
    code, output = s_client(port, '-tls1_2', '-cipher', 'AES128-SHA', *own)
    check('alert handshake failure' in output, f'a cipher of the AES profile is refused: {output[-500:]}')
    log.wait('tls_refused', 'no shared cipher suite', 'tls_profile')
    # a peer that keeps sessions gets a new handshake each time, and no error
    code, output = s_client(port, '-tls1_2', '-reconnect', *own)
    check(code == 0 and 'Reused' not in output and output.count('New, TLSv1.2') >= 5, f'reconnects: {code} {output[-400:]}')
    code, output = s_client(port, '-tls1_3', *own, '-sess_out', os.path.join(place.directory, 'session'))
    same(code, 0, 'a TLS 1.3 session')


def wrong_certificates(place, port, log):
    expired, early = place.ca.issue('expired', days=(-30, -2)), place.ca.issue('early', days=(2, 30))
    server_only = place.ca.issue('serveronly', usage='serverAuth')
    foreign = place.other.issue('foreign')
    weak = place.ca.issue('weak', key='rsa:1024')
    for own, words in ((expired, 'has expired'), (early, 'not valid yet'), (foreign, 'does not lead to a CA in tls_ca'), (server_only, 'clientAuth'),
                       (None, 'shows no certificate')):
        log.mark()
        check(refused(own, port, place.ca.certificate), f'refused: {words}')
        line = log.wait('tls_refused', words)
        check(own is None or f'CN={own.certificate.split("/")[-1][:-4]}' in line, f'the certificate is named: {line}')
    log.mark()
    code, output = s_client(port, '-tls1_2', '-cert', weak.certificate, '-key', weak.key, '-cipher', 'DEFAULT@SECLEVEL=0', '-CAfile', place.ca.certificate)
    log.wait('tls_refused', 'too short')
    # the other way round: a peer that does not know our CA says so, and the log says what to do
    log.mark()
    check(refused(place.ct1, port, place.other.certificate), 'the peer does not trust us')
    log.wait('tls_refused', 'the peer does not know the CA of tls_certificate')


def revocation(place, port, log):
    stolen = place.ca.issue('stolen')
    Secure(port, stolen, place.ca.certificate).release()
    place.ca.revoke(stolen)
    place.ca.list(place.crl)
    log.mark()
    check(refused(stolen, port, place.ca.certificate), 'a revoked certificate, right after its list was replaced')
    log.wait('tls_refused', 'is revoked', 'CN=stolen')
    Secure(port, place.ct1, place.ca.certificate, 'CT1').release()
    place.ca.list(place.crl, days=-2)
    log.mark()
    check(refused(place.ct1, port, place.ca.certificate, 'CT1'), 'a list out of date: nobody is let in')
    log.wait('tls_trouble', 'out of date', 'fetch the new one')
    place.ca.list(place.crl)
    Secure(port, place.ct1, place.ca.certificate, 'CT1').release()


def chains(it, place, port, log):
    """A peer and ourselves below a CA that is not the root."""
    sub = pki.Authority(place.directory, 'radiology', parent=place.ca)
    peer = sub.issue('us5')
    alone = pki.Pair(peer.certificate, peer.key, peer.subject)
    whole = pki.Pair(os.path.join(place.directory, 'us5-chain.pem'), peer.key, peer.subject)
    with open(whole.certificate, 'w') as f:
        f.write(open(peer.certificate).read() + open(sub.certificate).read())
    check(refused(whole, port, place.ca.certificate), 'without a revocation list of its CA')
    log.wait('tls_refused', 'no revocation list of the CA', 'CN=us5')
    sub.list(os.path.join(place.lists, 'radiology.pem'))
    Secure(port, whole, place.ca.certificate).release()
    log.mark()
    check(refused(alone, port, place.ca.certificate), 'a peer that does not send the CA between')
    log.wait('tls_refused', 'does not lead to a CA in tls_ca')
    shutil.copy(sub.certificate, os.path.join(place.trusted, 'radiology.pem'))
    Secure(port, alone, place.ca.certificate).release()
    os.remove(os.path.join(place.trusted, 'ca.pem'))
    Secure(port, alone, place.ca.certificate).release()  # without its root it is trusted as it is
    shutil.copy(place.ca.certificate, place.trusted)
    place.ca.revoke(pki.Pair(sub.certificate, sub.key, ''))
    place.ca.list(place.crl)
    log.mark()
    check(refused(alone, port, place.ca.certificate), 'below a CA that was revoked, though it stands in tls_ca beside its root')
    log.wait('tls_refused', 'is revoked')
    os.remove(os.path.join(place.trusted, 'radiology.pem'))
    other = pki.Authority(place.directory, 'machines', parent=place.ca)
    server = other.issue('receiver-below', names='IP:127.0.0.1')
    chain = pki.Pair(os.path.join(place.directory, 'receiver-chain.pem'), server.key, server.subject)
    with open(chain.certificate, 'w') as f:
        f.write(open(server.certificate).read() + open(other.certificate).read())
    place.install(chain)
    log.wait('certificates_replaced')
    Secure(port, place.ct1, place.ca.certificate, 'CT1').release()  # it knows the root only
    place.install(place.server)
    log.wait('certificates_replaced')


def binding(it, place, port, log):
    ca = place.ca.certificate
    for own, calling in ((place.ct1, 'CT1'), (place.mr7, 'MR7'), (place.free, 'ANYBODY'), (place.mr7, 'MR7B')):
        Secure(port, own, ca, calling).release()
    for own, calling, words in ((place.mr7, 'CT1', 'none of those in tls_subject'), (place.free, 'MR7', 'none of those in tls_subject'),
                                (place.ct1, 'ANYBODY', 'bound to other AE titles')):
        log.mark()
        try:
            Secure(port, own, ca, calling)
            check(False, f'{calling} with the certificate {own.subject} is accepted')
        except scu.Refused as why:
            check('00010103' in str(why), f'{calling}: {why}')
        log.wait('certificate_not_bound', words, own.subject)
    for calling, words in (('CT1', 'bound to a certificate'), ('PT3', 'tls_required')):
        log.mark()
        try:
            scu.Association('127.0.0.1', it.port, [(scu.VERIFICATION, scu.IMPLICIT_LE)], calling=calling)
            check(False, f'{calling} is accepted without TLS')
        except scu.Refused as why:
            check('00010103' in str(why), f'{calling}: {why}')
        log.wait('certificate_not_bound', words)
    Secure(port, place.free, ca, 'PT3').release()


def wrong_protocol(it, place, port, log):
    log.mark()
    code, output = run_tool('echoscu', '127.0.0.1', str(port))
    check(code != 0 and 'Rejected' in output, f'a plain peer on the TLS port is rejected: {output[-300:]}')
    log.wait('connection_refused', 'no TLS on the port with TLS', 'TLS on')
    code, output = place.tool('echoscu', it.port, place.ct1)
    check(code != 0, f'TLS on the plain port: {output[-300:]}')
    log.wait('connection_refused', 'TLS on the port without TLS', f'tls_port {port}')
    code, output = s_client(it.port)
    check('alert handshake failure' in output, f'TLS on the plain port is told so: {output[-300:]}')
    with socket.create_connection(('127.0.0.1', port), 20) as s:
        s.sendall(b'GET / HTTP/1.0\r\n\r\n')
        s.recv(100)
    log.wait('connection_refused', 'no TLS greeting')
    greeting, nowhere = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(nowhere, greeting, server_hostname='localhost').do_handshake()
    greeting = greeting.read()
    for bytes_sent, event in ((greeting[:-1], 'connection_refused'), (greeting, 'tls_refused')):  # a handshake that does not go on
        with socket.create_connection(('127.0.0.1', port), 20) as s:
            s.sendall(bytes_sent)
            begun = time.monotonic()
            with contextlib.suppress(ConnectionResetError):
                while s.recv(4096):
                    pass
            check(2 < time.monotonic() - begun < 6, f'a silent peer is let go after acse_timeout: {time.monotonic() - begun:.1f} s')
        log.wait(event, 'acse_timeout')
    # a peer that drips its request byte by byte costs acse_timeout and no more
    rules = ssl.create_default_context(cafile=place.ca.certificate)
    rules.check_hostname = False
    rules.load_cert_chain(place.ct1.certificate, place.ct1.key)
    with rules.wrap_socket(socket.create_connection(('127.0.0.1', port), 20)) as s:
        begun = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in (b'\1\0\0\0\0\xf0' + b'\0' * 200):
                s.sendall(bytes((byte,)))
                time.sleep(0.1)
        check(time.monotonic() - begun < 9, f'a dripping peer is let go after acse_timeout, not after {time.monotonic() - begun:.0f} s')


def window(place, port, files):
    """An asynchronous operations window: the answer is written beside DCMTK, on this connection too."""
    rules = ssl.create_default_context(cafile=place.ca.certificate)
    rules.check_hostname = False
    rules.load_cert_chain(place.ct1.certificate, place.ct1.key)
    peer = connect(port)
    peer.socket = rules.wrap_socket(peer.socket)
    contexts = [(scu.read_part10(files[0]).sop_class, [scu.read_part10(files[0]).syntax])]
    peer.socket.sendall(request(contexts, calling='CT1', user=[(0x53, bytes((0, 3, 0, 3)))]))
    answer = read_answer(peer, contexts)
    same((answer.kind, answer.items.get(0x53)), ('accepted', [bytes((0, 3, 0, 1))]), 'the window over TLS')
    same(peer.store(scu.read_part10(files[0])), 0, 'C-STORE after it')
    peer.release()


def rotation(it, place, port, log, files):
    """Associations store all the time while certificates are replaced; an open one stays, new ones see the new certificate."""
    parts, over, failed, served = [scu.read_part10(f) for f in files], threading.Event(), [], []
    stays = Secure(port, place.ct1, place.ca.certificate, 'CT1')
    old = stays.peer_certificate()

    def sender(number):
        mine = parts[number::3]
        for i in range(100000):
            if over.is_set():
                return
            try:
                a = Secure(port, place.free, place.ca.certificate)
                served.append(a.peer_certificate())
                part = mine[i % len(mine)]
                if a.store(part._replace(sop_instance=f'2.25.{number + 1}{i + 1}')) != 0:
                    failed.append('refused')
                a.release()
            except (OSError, scu.Refused) as why:
                failed.append(repr(why))

    threads = [threading.Thread(target=sender, args=(n,)) for n in range(3)]
    for t in threads:
        t.start()
    try:
        newer = [place.ca.issue(f'receiver{i}', names='DNS:localhost,IP:127.0.0.1', key='ec:P-256' if i == 1 else 'rsa:2048') for i in range(3)]
        for pair in newer:
            place.install(pair)
            want = ssl.PEM_cert_to_DER_cert(open(pair.certificate).read())
            until(lambda: served and served[-1] == want, 10, f'{pair.subject} is in use')
        # broken ones: the one in use stays, and an error line says why
        log.mark()
        with open(os.path.join(it.home, 'server.key'), 'w') as f:
            f.write('-----BEGIN PRIVATE KEY-----\nnothing\n-----END PRIVATE KEY-----\n')
        log.wait('certificates_refused', 'server.key', 'stay in use')
        shutil.copy(place.server.key, os.path.join(it.home, 'server.key'))
        log.wait('certificates_refused', 'is not the key of the first certificate')
        place.install(place.ca.issue('gone', days=(-30, -2)))
        log.wait('certificates_refused', 'has expired')
        same(set(served[-5:]), {want}, 'the certificate in use after broken ones')
        os.remove(os.path.join(it.home, 'server.pem'))
        log.wait('certificates_refused', 'server.pem', 'cannot be read')
        a = Secure(port, place.ct1, place.ca.certificate, 'CT1')
        same(a.peer_certificate(), want, 'the certificate while the file is away')
        a.release()
        soon = place.ca.issue('soon', names='IP:127.0.0.1', days=(-1, 12))
        place.install(soon)
        log.wait('tls_notice', 'expires on', 'no restart is needed')
        check('expires on' in it.ctl('status', code=None), 'status warns of the expiry')
        same(stays.store(parts[0]._replace(sop_instance='2.25.999')), 0, 'the association that was open all the time')
        check(stays.peer_certificate() == old, 'it is still the old one')
    finally:
        over.set()
        for t in threads:
            t.join(60)
    stays.release()
    same(failed, [], f'associations that failed of {len(served)}')
    check(len(served) > 50, f'only {len(served)} associations came about')


def reload(it, place, port, log):
    """SIGHUP: other rules for new associations; settings that do not work are not taken."""
    path = os.path.join(it.home, 'storescp.conf')
    text = open(path).read()
    stays = Secure(port, place.free, place.ca.certificate)
    check(refused(None, port, place.ca.certificate), 'a peer without a certificate, before')
    for change, words in (('tls_ca = /nowhere.pem', '/nowhere.pem'), ('tls_certificate = ca/ca.pem', 'is not the key of')):
        with open(path, 'w') as f:
            f.write(change + '\n' + re.sub(rf'^{change.split()[0]} = .*\n', '', text, flags=re.M))
        log.mark()
        it.ctl('reload')
        log.wait('settings_kept', words)
        Secure(port, place.free, place.ca.certificate).release()
    with open(path, 'w') as f:
        f.write('tls_client = request\n[ae FREE]\n' + f'tls_subject = {place.free.subject}\n[all]\n' + text)
    log.mark()
    it.ctl('reload')
    log.wait('settings_reloaded')
    until(lambda: not refused(None, port, place.ca.certificate), 10, 'a peer without a certificate is let in')
    check(refused(place.free, port, place.ca.certificate, 'ANYBODY') and not refused(place.free, port, place.ca.certificate, 'FREE'), 'the new binding')
    same(stays.echo(), 0, 'an association that was open all the time')
    stays.release()


def configuration(build, it, place):
    """`config` says in words what is wrong; a receiver with it does not start."""
    def problems(start=False, **settings):
        home = os.path.join(it.work, 'config')
        os.makedirs(home, exist_ok=True)
        with open(os.path.join(home, 'storescp.conf'), 'w') as f:
            f.write(f'scp_address = 127.0.0.1\nscp_port = {free_port()}\ntls_port = {free_port()}\n' + ''.join(f'{k} = {v}\n' for k, v in settings.items()))
        shown = subprocess.run([it.program('storescpctl'), '--home', home, 'config'], capture_output=True, text=True, timeout=30, env=clean_environment())
        started = subprocess.run([it.program('storescp-receiver'), '--home', home], capture_output=True, text=True, timeout=10, env=clean_environment()) if start else None
        return shown, started
    good = {'tls_certificate': place.server.certificate, 'tls_key': place.server.key, 'tls_ca': place.ca.certificate}
    encrypted = os.path.join(place.directory, 'encrypted.key')
    pki.openssl('pkey', '-in', place.server.key, '-aes256', '-passout', 'pass:a secret', '-out', encrypted)
    os.chmod(encrypted, 0o600)
    shown, _ = problems(**good)
    same(shown.returncode, 0, f'good settings: {shown.stderr}')
    shown, _ = problems(**dict(good, tls_key=encrypted, tls_key_password='a secret'))
    same(shown.returncode, 0, f'an encrypted key: {shown.stderr}')
    check('a secret' not in shown.stdout + shown.stderr, 'the password is not shown')
    both = os.path.join(place.directory, 'both.pem')
    with open(both, 'w') as f:
        f.write(open(place.server.certificate).read() + open(place.server.key).read())
    os.chmod(both, 0o644)
    shown, _ = problems(tls_certificate=both, tls_ca=place.ca.certificate)
    check(shown.returncode == 0 and 'chmod 600' in shown.stderr, f'key in the same file, readable by others: {shown.stderr}')
    for change, words in (({'tls_certificate': '/nowhere.pem'}, 'tls_certificate: /nowhere.pem cannot be read'), ({'tls_certificate': ''}, 'tls_certificate is not set'),
                          ({'tls_ca': ''}, 'tls_ca is not set'), ({'tls_ca': place.server.key}, 'holds no certificate'), ({'tls_key': place.ct1.key}, 'is not the key of'),
                          ({'tls_key': encrypted}, 'set tls_key_password'), ({'tls_key': encrypted, 'tls_key_password': 'x'}, 'does not open it'),
                          ({'tls_crl': place.ca.certificate}, 'holds no revocation list'), ({'tls_profile': 'bcp195-extended', 'tls_minimum': '1.3'}, 'change one of them')):
        shown, started = problems(True, **dict(good, **change))
        check(shown.returncode == 1 and words in shown.stderr, f'{change}: {shown.returncode} {shown.stderr}')
        check(started.returncode == 78 and words in started.stderr.replace('\\"', '"'), f'the receiver with {change}: {started.returncode} {started.stderr}')
    shown, _ = problems(**dict(good, tls_certificate=place.ca.issue('late', days=(-9, -1)).certificate, tls_key=os.path.join(place.ca.directory, 'late.key')))
    check(shown.returncode == 1 and 'has expired' in shown.stderr, f'an expired certificate: {shown.stderr}')


def other_settings(build, place, file):
    """Receivers with other rules, side by side on one home each."""
    def serve(name, **settings):
        port = free_port()
        base = {'tls_port': port, 'tls_certificate': place.server.certificate, 'tls_key': place.server.key, 'tls_ca': place.ca.certificate}
        return port, Installation(build, f'tls-{name}', dict(base, **settings), counts={'validator': 0, 'uploader': 0, 'importer': 0})
    port, one = serve('older', tls_profile='bcp195', tls_client='request', scp_port=0)
    with one:
        one.start_up()
        # DCMTK's AES profile without a certificate of its own, by way of s_client
        code, output = s_client(port, '-tls1_2', '-cipher', 'AES128-SHA', '-CAfile', place.ca.certificate)
        check(code == 0 and 'Cipher is AES128-SHA' in output, f'bcp195 takes the AES profile: {output[-300:]}')
        code, output = place.tool('echoscu', port, place.ct1, '+pa')
        same(code, 0, f'echoscu +pa: {output[-300:]}')
        Secure(port, None, place.ca.certificate).release()
        check(refused(place.other.issue('stranger'), port, place.ca.certificate), 'a certificate that is shown must be good')
        one.stop()
    port, one = serve('balancer', proxy_protocol='optional', proxy_trusted='127.0.0.1')
    with one:
        one.start_up()
        part = scu.read_part10(file)
        a = Secure(port, place.ct1, place.ca.certificate, first=b'PROXY TCP4 10.9.8.7 127.0.0.1 4711 2762\r\n')
        same(a.store(part), 0, 'TLS behind a balancer that speaks the PROXY protocol')
        a.release()
        until(lambda: one.query('SELECT peer FROM association WHERE tls IS NOT NULL') == [('10.9.8.7',)], 10, 'the address of the PROXY header in the row')
        for kind, pid in one.processes():
            ignored = int(re.search(r'^SigIgn:\s*(\w+)', open(f'/proc/{pid}/status').read(), re.M).group(1), 16)
            check(kind != 'association' or ignored >> 12 & 1, 'a peer that breaks off must not end the process by SIGPIPE')
        one.stop()
    port, one = serve('strict', tls_minimum='1.3', tls_client='none', tls_ca='')
    with one:
        one.start_up()
        Secure(port, None, place.ca.certificate).release()
        code, output = s_client(port, '-tls1_2')
        check('alert protocol version' in output, f'tls_minimum 1.3 refuses 1.2: {output[-300:]}')
        one.stop()
    port, one = serve('extended', tls_profile='bcp195-extended')
    with one:
        one.start_up()
        code, output = place.tool('echoscu', port, place.ct1, '+pz')
        same(code, 0, f'echoscu +pz on the extended profile: {output[-300:]}')
        a = Secure(port, place.ct1, place.ca.certificate, 'CT1')
        same(a.socket.version(), 'TLSv1.2', 'version of the extended profile')
        a.release()
        one.stop()


def test(build):
    if not shutil.which('openssl'):
        raise LeftOut('the openssl program is not here')
    port = free_port()
    with Installation(build, 'tls', {'tls_port': port, 'tls_certificate': 'server.pem', 'tls_key': 'server.key', 'tls_ca': 'ca', 'tls_crl': 'crl', 'acse_timeout': 3,
                                     'spare_associations': 3, 'association_reuse': 20}, counts={'validator': 0, 'uploader': 0, 'importer': 0}) as it:
        place = Place(it)
        with open(os.path.join(it.home, 'storescp.conf'), 'a') as f:
            f.write(f'[ae CT1]\ntls_subject = CN=nobody,* | {place.ct1.subject}\n[ae MR*]\ntls_fingerprint = {pki.fingerprint(place.mr7.certificate)}\n'
                    '[ae PT3]\ntls_required = true\n')
        same(it.ctl('config').count('tls_fingerprint'), 2, 'config shows the sections')
        it.start_up()
        log = Log(it)
        files = make_study(os.path.join(it.work, 'study'), 12, 200000, 5)
        profiles(place, port, files)
        same(scu.store_file('127.0.0.1', it.port, files[2]), 0, 'the plain port beside it')
        until(lambda: it.one('SELECT count(*) FROM association WHERE stored = 1') >= 2, 10, 'rows of the associations')
        told = it.one("SELECT tls FROM association WHERE tls IS NOT NULL LIMIT 1")
        check(told.startswith('TLSv1.') and place.ct1.subject in told and ' TLS_' in told, f'TLS in the row of the association: {told}')
        check(it.one('SELECT count(*) FROM association WHERE tls IS NULL') >= 1, 'the plain association has none')
        check(f'tls="TLSv1.3 TLS_AES_256_GCM_SHA384 {place.ct1.subject}"' in log.text(), 'TLS in the log')
        for step in (lambda: versions(place, port, log), lambda: wrong_certificates(place, port, log), lambda: revocation(place, port, log),
                     lambda: chains(it, place, port, log),
                     lambda: binding(it, place, port, log), lambda: wrong_protocol(it, place, port, log), lambda: window(place, port, files),
                     lambda: rotation(it, place, port, log, files),
                     lambda: place.install(place.server), lambda: reload(it, place, port, log)):
            step()
        it.stop()
        it.check_invariants()
        check('PRIVATE KEY' not in open(it.log_path, errors='replace').read(), 'no key in the log')
        configuration(build, it, place)
        other_settings(build, place, files[0])


main(test)
