"""pki - certificate authorities of a test, made by the openssl program.

    ca = Authority(directory, 'hospital')
    ct1 = ca.issue('ct1', names='DNS:ct1.example', days=(-1, 365), usage='clientAuth,serverAuth', key='rsa:2048')
    ct1.certificate, ct1.key, ct1.subject, ct1.fingerprint()
    ca.revoke(ct1); ca.list(path)      # a CRL
"""
import collections
import os
import re
import subprocess
import time

Pair = collections.namedtuple('Pair', 'certificate key subject')
CONFIG = """[ca]
default_ca = main
[main]
database = {0}/index
serial = {0}/serial
crlnumber = {0}/crlnumber
new_certs_dir = {0}
default_md = sha256
unique_subject = no
policy = any
[any]
commonName = supplied
organizationName = optional
"""


def openssl(*words, text=None, code=0):
    done = subprocess.run(['openssl', *words], input=text, capture_output=True, text=True, timeout=60)
    if code is not None and done.returncode != code:
        raise RuntimeError(f'openssl {" ".join(words)}: {done.stderr}')
    return done.stdout


def fingerprint(path):
    """SHA-256 as openssl prints it: capitals with colons"""
    return openssl('x509', '-in', path, '-noout', '-fingerprint', '-sha256').split('=')[1].strip()


def moment(days):
    return time.strftime('%Y%m%d%H%M%SZ', time.gmtime(time.time() + days * 86400))


class Authority:
    """parent: another Authority that signs this one; else it signs itself."""

    def __init__(self, directory, name, days=3650, parent=None):
        self.directory, self.name = os.path.join(directory, name), name
        os.makedirs(self.directory)
        self.certificate, self.key = os.path.join(self.directory, 'ca.pem'), os.path.join(self.directory, 'ca.key')
        self.config = os.path.join(self.directory, 'config')
        for file, content in (('config', CONFIG.format(self.directory)), ('index', ''), ('serial', '1000\n'), ('crlnumber', '01\n')):
            with open(os.path.join(self.directory, file), 'w') as f:
                f.write(content)
        if parent:
            self._under(parent)
            return
        openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', self.key, '-out', self.certificate, '-days', str(days), '-subj', f'/O=Hospital/CN={name}',
                '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign')

    def _under(self, parent):
        request, extensions = self.certificate + '.csr', self.certificate + '.ext'
        openssl('req', '-newkey', 'rsa:2048', '-nodes', '-keyout', self.key, '-out', request, '-subj', f'/O=Hospital/CN={self.name}')
        with open(extensions, 'w') as f:
            f.write('basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n')
        openssl('ca', '-batch', '-notext', '-config', parent.config, '-cert', parent.certificate, '-keyfile', parent.key, '-in', request, '-out', self.certificate,
                '-extfile', extensions, '-days', '1000')

    def issue(self, name, names=None, days=(-1, 365), usage='clientAuth,serverAuth', key='rsa:2048'):
        base = os.path.join(self.directory, name)
        kind = ['-newkey', 'ec', '-pkeyopt', f'ec_paramgen_curve:{key[3:]}'] if key.startswith('ec:') else ['-newkey', key]
        openssl('req', *kind, '-nodes', '-keyout', base + '.key', '-out', base + '.csr', '-subj', f'/O=Hospital/CN={name}')
        with open(base + '.ext', 'w') as f:
            f.write(f'basicConstraints=CA:FALSE\nextendedKeyUsage={usage}\n' + (f'subjectAltName={names}\n' if names else ''))
        openssl('ca', '-batch', '-notext', '-config', self.config, '-cert', self.certificate, '-keyfile', self.key, '-in', base + '.csr', '-out', base + '.pem',
                '-extfile', base + '.ext', '-startdate', moment(days[0]), '-enddate', moment(days[1]))
        os.chmod(base + '.key', 0o600)
        subject = openssl('x509', '-in', base + '.pem', '-noout', '-subject', '-nameopt', 'RFC2253')
        return Pair(base + '.pem', base + '.key', re.sub(r'^subject\s*=\s*', '', subject.strip()))

    def revoke(self, pair):
        openssl('ca', '-config', self.config, '-cert', self.certificate, '-keyfile', self.key, '-revoke', pair.certificate)

    def list(self, path, days=30):
        """The revocation list of this moment; days < 0: out of date."""
        dates = ['-crl_lastupdate', moment(days - 1), '-crl_nextupdate', moment(days)] if days < 0 else ['-crldays', str(days)]
        openssl('ca', '-gencrl', '-config', self.config, '-cert', self.certificate, '-keyfile', self.key, '-out', path + '.new', *dates)
        os.rename(path + '.new', path)
