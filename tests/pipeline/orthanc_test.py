#!/usr/bin/env python3
"""orthanc_test BUILD_DIR - destination_kind = dicomweb with a server that is none of ours: Orthanc and its DICOMweb plug-in. Real files arrive with the data sets
that were sent; it is restarted in the middle, the password is wrong for a while, its disk is full for a while: everything arrives, nobody is charged."""
import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from harness import SHARED, Installation, LeftOut, check, main, make_study, run_tool, same, say, until  # noqa: E402
from orthanc import Gate, Orthanc  # noqa: E402
from pki import Authority  # noqa: E402
from stowing import KEEP, send, settled, status_of_uploader  # noqa: E402
import scu  # noqa: E402


def real_files():
    """A handful of different SOP classes and transfer syntaxes, whole enough for any server."""
    names = ('PACSMAN_data__slice0.dcm', 'dcmjs-dimse__pdf.dcm', 'dcmjs-dimse__sr.dcm', 'dicomParser__CT0012.not_fragmented_bot_rle.dcm',
             'dicomParser__IM00001.fragmented_no_bot_jpeg_baseline.50.dcm', 'highdicom__seg_image_ct_binary_overlap.dcm', 'highdicom__sm_image_jpegls_nobot.dcm',
             'dicom-utils__jpeg2k_3d.dcm')
    folder = os.path.join(SHARED, 'dicom', 'open', 'files')
    found = [os.path.join(folder, name) for name in names if os.path.exists(os.path.join(folder, name))]
    if not found:
        say('left out: real files, they are not here; made ones are sent all the same')
    return found


def arrived(it, server, parts):
    for part in parts:
        kept = server.file_of(part.sop_instance)
        check(kept is not None, f'{part.sop_instance} is not at Orthanc')
        same(hashlib.sha256(kept[len(kept) - len(part.data):]).hexdigest(), hashlib.sha256(part.data).hexdigest(), f'data set of {part.sop_instance}')


def arrives(it, server):
    paths = real_files()
    for path in paths:
        same(scu.store_file('127.0.0.1', it.port, path, timeout=60), 0, f'C-STORE of {path}')
    parts = [scu.read_part10(path) for path in paths] + send(it, 21, 10)
    settled(it, {'stored': len(parts)})
    arrived(it, server, parts)
    same(server.count(), len(parts), 'instances at Orthanc')
    same(it.one(f"SELECT count(*) FROM instance WHERE location LIKE '{server.url}/studies/%/instances/' || sop_instance_uid"), len(parts), 'locations')


def restarted(it, server):
    before = it.count('stored')
    parts = send(it, 22, 20, 300000)
    until(lambda: it.count('stored') > before, 20, 'some are stored')
    server.stop()
    parts += send(it, 25, 10)
    until(lambda: 'waiting: NETWORK' in status_of_uploader(it), 20, 'the uploader waits')
    same(it.count('failed'), 0, 'failed')
    server.start()
    until(lambda: it.count('stored') == before + 30, 40, 'all are stored after the restart')
    arrived(it, server, parts)
    same(server.count(), before + 30, 'instances at Orthanc')


def wrong_password(it, server):
    before = it.count('stored')
    it.configure(dicomweb_password='not-the-secret')
    it.ctl('reload')
    time.sleep(0.5)
    parts = send(it, 23, 3)
    until(lambda: 'STORE_DENIED' in status_of_uploader(it), 15, 'the uploader says what it waits for')
    same(it.count('stored'), before, 'stored')
    same(it.one("SELECT sum(attempts) FROM instance WHERE state = 'validated'"), 0, 'attempts charged')
    it.configure(dicomweb_password=server.password)
    it.ctl('reload')
    until(lambda: it.count('stored') == before + 3, 20, 'stored with the right password')
    arrived(it, server, parts)
    with open(it.log_path, errors='replace') as log:
        same([line for line in log if 'not-the-secret' in line or server.password in line], [], 'passwords in the log')


def beside_healthimaging(build):
    """A section for some images whose server wants TLS and our certificate; all others are imported. Without the certificate only the section waits."""
    with tempfile.TemporaryDirectory(prefix='storescp-pki.') as directory:
        ca, clients = Authority(directory, 'servers'), Authority(directory, 'clients')
        own, ours = ca.issue('server', names='IP:127.0.0.1', usage='serverAuth'), clients.issue('storescp', usage='clientAuth')
        with Orthanc() as server, Installation(build, 'stow-section') as it, contextlib.closing(Gate(server.port, own, clients.certificate)) as gate:
            it.sections['destination pacs'] = {
                'for_modality': 'MR', 'destination_kind': 'dicomweb', 'dicomweb_url': f'https://127.0.0.1:{gate.port}/dicom-web',
                'dicomweb_auth': 'basic', 'dicomweb_user': server.user,
                'dicomweb_password': server.password, 'ca_bundle': ca.certificate, 'dicomweb_client_certificate': ours.certificate,
                'dicomweb_client_key': ours.key}
            it.configure(spool_keep_imported_s=3600)
            it.need_cloud()
            it.start()
            paths = make_study(os.path.join(it.work, 'mr'), 4, 4000, 31, 'MR') + make_study(os.path.join(it.work, 'ct'), 3, 4000, 32)
            same(run_tool('storescu', '127.0.0.1', str(it.port), *paths)[0], 0, 'exit code of storescu')
            settled(it, {'stored': 4, 'imported': 3})
            arrived(it, server, [scu.read_part10(path) for path in paths[:4]])
            same(gate.shown, {'storescp'}, 'whose certificates were shown')
            same(it.query('SELECT DISTINCT destination, state FROM instance ORDER BY 1'), [('default', 'imported'), ('pacs', 'stored')], 'who went where')
            del it.sections['destination pacs']['dicomweb_client_certificate'], it.sections['destination pacs']['dicomweb_client_key']
            it.configure()
            it.ctl('reload')
            time.sleep(0.5)
            paths = make_study(os.path.join(it.work, 'mr2'), 2, 4000, 33, 'MR') + make_study(os.path.join(it.work, 'ct2'), 2, 4000, 34)
            same(run_tool('storescu', '127.0.0.1', str(it.port), *paths)[0], 0, 'exit code of storescu')
            until(lambda: it.count('imported') == 5, 20, 'the others go on')
            same(it.count('stored'), 4, 'stored without a certificate')
            check('pacs' in status_of_uploader(it), f'status: {status_of_uploader(it)}')
            it.stop()
            it.check_invariants()


def orthanc(build):
    with Orthanc() as server:
        settings = dict(KEEP, dicomweb_url=server.url, dicomweb_auth='basic', dicomweb_user=server.user, dicomweb_password=server.password, dicomweb_attempts=3)
        with Installation(build, 'stow-orthanc', settings, counts={'importer': 0}) as it:
            it.need_cloud()
            it.start_up()
            for part in (arrives, restarted, wrong_password):
                begun = time.monotonic()
                it.ctl('reload')
                part(it, server)
                say(f'Orthanc, {part.__name__}: ok, {time.monotonic() - begun:.1f} s')
            it.stop()
            it.check_invariants()


@contextlib.contextmanager
def small_disk(path, size):
    os.makedirs(path, exist_ok=True)
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', path], stderr=subprocess.DEVNULL).returncode != 0:
        raise LeftOut('no right to mount a small disk')
    try:
        yield
    finally:
        subprocess.run(['umount', '-l', path], check=False)


def full_disk(build):
    """Orthanc says 0110H of every image then: nobody is charged, and nothing fails."""
    with Orthanc() as server:
        server.stop()
        with small_disk(server.storage, '1m'):
            filler = os.path.join(server.storage, 'filler')
            server.start()
            fd = os.open(filler, os.O_WRONLY | os.O_CREAT)
            with contextlib.suppress(OSError):
                while os.write(fd, bytes(4096)):
                    pass
            os.close(fd)
            settings = dict(KEEP, dicomweb_url=server.url, dicomweb_auth='basic', dicomweb_user=server.user, dicomweb_password=server.password, dicomweb_attempts=2)
            with Installation(build, 'stow-full', settings, counts={'importer': 0}) as it:
                it.start_up()
                parts = send(it, 24, 6, 20000)
                until(lambda: 'waiting: STORE_' in status_of_uploader(it), 15, 'the uploader waits')
                time.sleep(1.5)
                same((it.states(), it.one('SELECT sum(attempts) FROM instance')), ({'validated': 6}, 0), 'nobody has failed or was charged')
                os.unlink(filler)
                until(lambda: it.count('stored') == 6, 60, 'stored when there is space')
                arrived(it, server, parts)
                it.stop()
            server.stop()


def test(build):
    orthanc(build)
    beside_healthimaging(build)
    try:
        full_disk(build)
    except LeftOut as why:
        say(f'left out: Orthanc with a full disk: {why}')


main(test)
