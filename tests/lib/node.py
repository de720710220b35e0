"""node - clients from npm for tests: need(directory) -> the node program, with the directory's node_modules as its lock file has them, fetched
once. node and npm come from Debian if they are not there and root runs this. Raises LeftOut without node 18 or later, without npm, or when
npm cannot fetch."""
import hashlib
import os
import shutil
import subprocess

from harness import LeftOut, installing


def need(directory):
    with installing():
        return fetch(directory)


def fetch(directory):
    if not shutil.which('node') or not shutil.which('npm'):
        if os.geteuid() == 0 and shutil.which('apt-get'):
            for words in (('update', '-qq'), ('install', '-y', '-qq', '--no-install-recommends', 'nodejs', 'npm')):
                subprocess.run(['apt-get', *words], env=dict(os.environ, DEBIAN_FRONTEND='noninteractive'), stdout=subprocess.DEVNULL, timeout=300, check=False)
    node, npm = shutil.which('node'), shutil.which('npm')
    if not node or not npm:
        raise LeftOut('node and npm are not here: as root, apt-get install nodejs npm')
    version = subprocess.run([node, '--version'], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip('v').split('.')[0]) < 18:
        raise LeftOut(f'node is {version}, 18 is needed')
    with open(os.path.join(directory, 'package-lock.json'), 'rb') as f:
        wanted = hashlib.sha256(f.read()).hexdigest()
    stamp = os.path.join(directory, 'node_modules', '.fetched')
    if os.path.exists(stamp) and open(stamp).read() == wanted:
        return node
    done = subprocess.run([npm, 'ci', '--no-audit', '--no-fund', '--loglevel=error'], cwd=directory, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise LeftOut(f'npm cannot fetch what {os.path.basename(directory)} needs: {done.stderr.strip()[-300:]}')
    with open(stamp, 'w') as f:
        f.write(wanted)
    return node
