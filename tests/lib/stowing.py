"""stowing - what the tests of DICOMweb destinations share."""
import os

from harness import make_study, run_tool, same
import scu

KEEP = {'spool_keep_imported_s': 3600, 'destination_kind': 'dicomweb', 'dicom_bucket': ''}


def send(it, seed, count, pixels=20000):
    paths = make_study(os.path.join(it.work, f'study{seed}'), count, pixels, seed)
    code, output = run_tool('storescu', '127.0.0.1', str(it.port), *paths)
    same(code, 0, f'exit code of storescu ({output.strip()[-300:]})')
    return [scu.read_part10(path) for path in paths]


def settled(it, states, seconds=30):
    """Waits until nobody is under way; -> nothing if the states are these."""
    it.settle(sum(states.values()), seconds)
    same(it.states(), states, 'states')


def status_of_uploader(it):
    return it.one("SELECT group_concat(status, ' | ') FROM worker WHERE stage = 'uploader'") or ''
